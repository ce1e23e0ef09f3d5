/* SPDX-License-Identifier: BSD-2-Clause
 *
 * storm.c - clients of a service that read and write the same files while the service is killed.
 *
 *   storm SERVICE [--clients N] [--operations N] [--kills N] [--stalls N] [--no-ring]
 *
 * Makes files, a pool and a configuration in a directory of its own below TMPDIR. Starts the
 * service and the clients, each a process. A block of a file holds one number, again and again: its
 * version. The version is in memory that all clients share, twice: the last write that has begun,
 * and the last one that has ended. A read must not find an older version than the one that had
 * ended when the read began, nor a newer one than had begun when it ended. With --kills the service
 * is killed at random instants and started again, and the clients go on meanwhile. With --stalls it
 * is stopped for longer than every other client waits: those lose their connections and write on
 * their own. Then the service goes on with what it knew, for the others.
 *
 * The last line is "storm: N operations, ... wrong". Exits 0 if nothing was wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachemax_client.h"
#include "place.h"

#define FILES 4u
#define BLOCKS 256u /* of a file */
#define BLOCK 4096u
#define MANY 4u       /* the most blocks of a request */
#define TIMEOUT_MS 50 /* of every other client */
#define PASSES_MAX 100000000u
#define POOL_BYTES (16u << 20)

struct block {
    _Atomic uint32_t writer; /* process; 0: none */
    _Atomic uint64_t begun, ended;
};
static struct shared {
    struct block block[FILES][BLOCKS];
    _Atomic uint64_t operations, reads, hits, passes, writes, outside, wrong;
} * shared;

static const char *service_program;
static unsigned clients = 4, kills, stalls;
static uint64_t operations = 100000;
static uint32_t client_flags;

static uint32_t below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*seed >> 33) % n);
}

static void file_path(char path[700], unsigned file)
{
    snprintf(path, 700, "%s/file%u", place_dir, file);
}

/* ---- A client -------------------------------------------------------------------------------- */

struct client {
    cmc_client *k;
    cmc_file *file[FILES];
    int fd[FILES];
    uint64_t seed;
};

static int identify(void *arg, cm_validator *v)
{
    cm_file_id id;
    char path[700];
    int fd, e;

    file_path(path, *(unsigned *)arg);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return CM_EIO;
    e = cm_identify(fd, &id, v);
    close(fd);
    return e;
}

static void begin_client(struct client *c, uint64_t seed)
{
    static unsigned number[FILES];
    const struct cmc_options o = { .where = place_socket,
                                   .flags = client_flags,
                                   .timeout_ms = seed % 2 ? TIMEOUT_MS : 10000 };
    char why[256], path[700];

    c->seed = seed;
    if (cmc_connect(&o, &c->k, why) != 0) {
        fprintf(stderr, "storm: %s\n", why);
        exit(2);
    }
    for (unsigned f = 0; f < FILES; f++) {
        const cm_file_id id = { .hi = 77, .lo = f + 1 };
        number[f] = f;
        file_path(path, f);
        c->fd[f] = open(path, O_RDWR | O_CLOEXEC);
        if (c->fd[f] < 0)
            place_die(path);
        if (cmc_file_open(c->k, &id, 0, identify, &number[f], &c->file[f]) != 0)
            place_die("cmc_file_open");
    }
}

/* The version of a block: all its numbers must be in [low, high], and equal if nobody wrote. */
static void check(const uint8_t *at, unsigned file, uint32_t block, uint64_t low, uint64_t high,
                  const char *from)
{
    uint64_t v;

    for (unsigned i = 0; i < BLOCK; i += sizeof(v)) {
        memcpy(&v, at + i, sizeof(v));
        if (v >= low && v <= high)
            continue;
        atomic_fetch_add(&shared->wrong, 1);
        fprintf(stderr, "storm: %s: file %u block %u has version %llu, not %llu to %llu\n", from,
                file, block, (unsigned long long)v, (unsigned long long)low,
                (unsigned long long)high);
        return;
    }
}

/* Returns false if the service passed. */
static bool read_blocks(struct client *c, unsigned file, uint32_t first, uint32_t n)
{
    static _Alignas(64) uint8_t buf[MANY * BLOCK], origin[(MANY + 64) * BLOCK];
    uint64_t low[MANY];
    const uint64_t offset = (uint64_t)first * BLOCK;
    cmc_miss miss;

    for (uint32_t i = 0; i < n; i++)
        low[i] = atomic_load(&shared->block[file][first + i].ended);
    const int64_t got = cmc_read(c->file[file], offset, buf, n * BLOCK, &miss);
    if (got < 0)
        place_die("cmc_read");
    atomic_fetch_add(&shared->reads, 1);
    if (got == (int64_t)n * BLOCK)
        atomic_fetch_add(&shared->hits, 1);
    else if (miss.flags & CM_MISS_NOFILL)
        atomic_fetch_add(&shared->passes, 1);
    for (uint32_t i = 0; i < n && (i + 1) * BLOCK <= got; i++)
        check(buf + i * BLOCK, file, first + i, low[i],
              atomic_load(&shared->block[file][first + i].begun), "cached");
    if (got == (int64_t)n * BLOCK || miss.ticket == 0)
        return got == (int64_t)n * BLOCK;
    if (miss.len > sizeof(origin))
        miss.len = sizeof(origin);
    const ssize_t r = pread(c->fd[file], origin, miss.len, (off_t)miss.offset);
    if (r < 0)
        place_die("pread");
    if (cmc_fill(c->file[file], &miss, origin, (uint32_t)r, 0) < 0)
        place_die("cmc_fill");
    return true;
}

/* Only one process writes a block at a time: versions go up one by one. */
static bool own(struct block *b, bool wait)
{
    uint32_t none = 0;

    while (!atomic_compare_exchange_strong(&b->writer, &none, (uint32_t)getpid())) {
        if (!wait)
            return false;
        none = 0;
    }
    return true;
}

/* Returns false if the write was outside. */
static bool write_blocks(struct client *c, unsigned file, uint32_t first, uint32_t n)
{
    static _Alignas(64) uint64_t buf[MANY * BLOCK / 8];
    struct block *b = &shared->block[file][first];
    cmc_bracket w;

    for (uint32_t i = 0; i < n; i++)
        if (!own(&b[i], false)) {
            while (i-- > 0)
                atomic_store(&b[i].writer, 0);
            return true;
        }
    if (cmc_write_begin(c->file[file], (uint64_t)first * BLOCK, (uint64_t)n * BLOCK, &w) != 0)
        place_die("cmc_write_begin");
    atomic_fetch_add(&shared->writes, 1);
    atomic_fetch_add(&shared->outside, w.outside);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t v = atomic_fetch_add(&b[i].begun, 1) + 1;
        for (unsigned k = 0; k < BLOCK / 8; k++)
            buf[i * BLOCK / 8 + k] = v;
    }
    if (pwrite(c->fd[file], buf, n * BLOCK, (off_t)first * BLOCK) != (ssize_t)(n * BLOCK))
        place_die("pwrite");
    if (cmc_write_end(c->file[file], &w, NULL) == CM_WANT_VALIDATOR && below(&c->seed, 64) == 0)
        (void)cmc_file_revalidate(c->file[file]);
    /* A reader that begins from here on must find it. */
    for (uint32_t i = 0; i < n; i++) {
        atomic_store(&b[i].ended, atomic_load(&b[i].begun));
        atomic_store(&b[i].writer, 0);
    }
    return w.outside == 0;
}

static void client_main(uint64_t seed, uint64_t share)
{
    struct client c;

    begin_client(&c, seed);
    /* What the service did not answer does not count. */
    for (uint64_t i = 0, passes = 0; i < share;) {
        const unsigned file = below(&c.seed, FILES);
        const uint32_t n = 1 + below(&c.seed, MANY), what = below(&c.seed, 1000);
        const uint32_t first = below(&c.seed, BLOCKS - n);
        bool answered = true;

        if (what < 100)
            answered = write_blocks(&c, file, first, n);
        else if (what == 100)
            (void)cmc_invalidate(c.file[file], (uint64_t)first * BLOCK, CM_ALL);
        else
            answered = read_blocks(&c, file, first, n);
        i += answered;
        atomic_fetch_add(&shared->operations, answered);
        if (!answered && ++passes > PASSES_MAX)
            place_die("the service does not answer any more");
    }
    for (unsigned f = 0; f < FILES; f++)
        cmc_file_close(c.file[f]);
    cmc_disconnect(c.k);
    exit(0);
}

/* ---- The service and the run ----------------------------------------------------------------- */

/* Waits until the service takes clients. */
static void await_service(void)
{
    const struct cmc_options o = { .where = place_socket };
    const uint64_t until = place_now_ns() + UINT64_C(60000000000);
    cmc_client *k;

    if (cmc_connect(&o, &k, NULL) != 0)
        place_die("cmc_connect");
    while (!cmc_is_connected(k)) {
        if (place_now_ns() > until)
            place_die("the service does not come");
        usleep(1000);
    }
    cmc_disconnect(k);
}

static void set_up(void)
{
    static uint64_t zeros[BLOCKS * BLOCK / 8];
    char path[700];
    FILE *f;

    place_make(POOL_BYTES);
    for (unsigned i = 0; i < FILES; i++) {
        file_path(path, i);
        f = fopen(path, "w");
        if (!f || fwrite(zeros, sizeof(zeros), 1, f) != 1 || fclose(f) != 0)
            place_die(path);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        place_die("mmap");
}

static void clean_up(void)
{
    char path[700];

    for (unsigned i = 0; i < FILES; i++) {
        file_path(path, i);
        (void)unlink(path);
    }
    place_clean();
}

static void kill_service(pid_t *service, uint64_t *seed)
{
    kill(*service, SIGKILL);
    (void)waitpid(*service, NULL, 0);
    usleep(below(seed, 20000));
    *service = place_start(service_program);
}

static void stall_service(pid_t service, uint64_t *seed)
{
    kill(service, SIGSTOP);
    /* For so long that a client that looks for the service again does not find it either, and does
     * not look for a while: it writes outside while the service goes on. */
    usleep(TIMEOUT_MS * 3000 + below(seed, 50000));
    kill(service, SIGCONT);
}

/* Kills and stalls the service as often as asked for, until no client is left. Returns how often.
 */
static unsigned storm(pid_t *service, uint64_t *seed)
{
    unsigned left = clients, done = 0;
    int status;
    pid_t pid;

    while (left > 0) {
        const uint64_t most = operations * (done + 1) / (kills + stalls + 1);

        while (left > 0 && (pid = waitpid(-1, &status, WNOHANG)) != 0) {
            if (pid < 0)
                place_die("waitpid");
            if (pid == *service || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fprintf(stderr, "storm: %s ended with status %x\n",
                        pid == *service ? "the service" : "a client", (unsigned)status);
                atomic_fetch_add(&shared->wrong, 1);
            }
            left -= pid != *service;
        }
        usleep(1000 + below(seed, 2000));
        /* Spread over the operations. */
        if (done == kills + stalls || atomic_load(&shared->operations) < most)
            continue;
        /* In turns as long as both are left. */
        if (done < 2 * (kills < stalls ? kills : stalls) ? done % 2 == 0 : kills > stalls)
            kill_service(service, seed);
        else
            stall_service(*service, seed);
        done++;
    }
    return done;
}

/* All is quiet: each block has its last version, from the cache or not. */
static void check_all(void)
{
    struct client c;
    uint8_t buf[BLOCK];
    cmc_miss miss;
    unsigned cached = 0;

    begin_client(&c, 1);
    for (unsigned f = 0; f < FILES; f++)
        for (uint32_t b = 0; b < BLOCKS; b++) {
            const uint64_t v = atomic_load(&shared->block[f][b].ended);
            if (cmc_read(c.file[f], (uint64_t)b * BLOCK, buf, BLOCK, &miss) == BLOCK) {
                check(buf, f, b, v, v, "cached at the end");
                cached++;
            }
            if (pread(c.fd[f], buf, BLOCK, (off_t)b * BLOCK) != BLOCK)
                place_die("pread");
            check(buf, f, b, v, v, "origin at the end");
        }
    printf("storm: %u of %u blocks are cached at the end\n", cached, FILES * BLOCKS);
    for (unsigned f = 0; f < FILES; f++)
        cmc_file_close(c.file[f]);
    cmc_disconnect(c.k);
}

static void options(int argc, char **argv)
{
    if (argc < 2)
        exit(2);
    service_program = argv[1];
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--no-ring") == 0)
            client_flags = CMC_NO_RING;
        else if (i + 1 < argc && strcmp(argv[i], "--clients") == 0)
            clients = (unsigned)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--operations") == 0)
            operations = (uint64_t)atoll(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--kills") == 0)
            kills = (unsigned)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--stalls") == 0)
            stalls = (unsigned)atoi(argv[++i]);
        else
            exit(2);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = place_now_ns(), start;
    unsigned killed;
    pid_t service;

    options(argc, argv);
    set_up();
    service = place_start(service_program);
    await_service();
    start = place_now_ns();
    for (unsigned i = 0; i < clients; i++)
        if (fork() == 0)
            client_main(seed + i, operations / clients);
    killed = storm(&service, &seed);
    const double s = (double)(place_now_ns() - start) / 1e9;
    await_service();
    check_all();
    kill(service, SIGTERM);
    int status = 0;
    (void)waitpid(service, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        atomic_fetch_add(&shared->wrong, 1), fprintf(stderr, "storm: the service failed\n");
    clean_up();
    printf("storm: %llu operations of %u clients in %.1f s, %llu reads, %llu whole hits, %llu "
           "passes, %llu writes (%llu outside), %u kills and stalls, %llu wrong\n",
           (unsigned long long)shared->operations, clients, s, (unsigned long long)shared->reads,
           (unsigned long long)shared->hits, (unsigned long long)shared->passes,
           (unsigned long long)shared->writes, (unsigned long long)shared->outside, killed,
           (unsigned long long)shared->wrong);
    return shared->wrong != 0;
}
