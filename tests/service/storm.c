/* SPDX-License-Identifier: BSD-2-Clause
 *
 * storm.c - clients of a service that read and write the same files while the service is killed.
 *
 *   storm SERVICE [--clients N] [--operations N] [--kills N] [--stalls N] [--no-ring]
 *
 * Makes files, a pool and a configuration in a directory of its own below TMPDIR. Starts the
 * service and the clients, each a process (this program, with "client" as its first argument). A
 * block of a file holds one number, again and again: its version. The version is in memory that all
 * clients share, twice: the last write that has begun, and the last one that has ended. A read must
 * not find an older version than the one that had ended when the read began, nor a newer one than
 * had begun when it ended. One more file has no blocks: it is truncated, gets longer, and is
 * written from any byte on. What a client reads of it through the service must be what the file
 * has, if nobody has changed it meanwhile. With --kills the service is killed at random instants
 * and started again, and the clients go on meanwhile. With --stalls it is stopped for longer than
 * every other client waits: those lose their connections and write on their own. Then the service
 * goes on with what it knew, for the others.
 *
 * The last line is "storm: N operations, ... wrong". Exits 0 if nothing was wrong.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax_client.h"
#include "place.h"

#define FILES 4u               /* with blocks */
#define ODD FILES              /* the other one */
#define ODD_BYTES (200u << 10) /* the most that it has */
#define ODD_READ (100u << 10)
#define ODD_WRITE (20u << 10)
#define BLOCKS 256u /* of a file */
#define BLOCK 4096u
#define MANY 4u       /* the most blocks of a request */
#define TIMEOUT_MS 50 /* of every other client */
#define PASSES_MAX 100000000u
#define POOL_BYTES (16u << 20)
#define CLIENTS_MAX 64u
#define ODD_PARTS 20u /* of 1000 operations */

struct block {
    _Atomic uint32_t writer; /* number of the client; 0: none */
    _Atomic uint64_t begun, ended;
};
static struct shared {
    struct block block[FILES][BLOCKS];
    struct {
        _Atomic uint32_t writer;  /* as above */
        _Atomic uint64_t changes; /* twice as many, and one more while one goes on */
        uint64_t size;            /* of its writer */
    } odd;
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
    cmc_file *file[FILES + 1];
    intptr_t origin[FILES + 1];
    uint32_t number;
    uint64_t seed;
};

static int identify(void *arg, cm_validator *v)
{
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    char path[700];
    intptr_t origin;
    int e;

    file_path(path, *(unsigned *)arg);
    origin = place_open(path, false);
    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    e = cm_identify_with(origin, &sole, &id, v);
    place_close(origin);
    return e;
}

static void begin_client(struct client *c, uint32_t client, uint64_t seed)
{
    static unsigned number[FILES + 1];
    const struct cmc_options o = { .where = place_socket,
                                   .flags = client_flags,
                                   .timeout_ms = client % 2 ? TIMEOUT_MS : 10000 };
    char why[256], path[700];

    c->number = client;
    c->seed = seed;
    if (cmc_connect(&o, &c->k, why) != 0) {
        fprintf(stderr, "storm: %s\n", why);
        exit(2);
    }
    for (unsigned f = 0; f <= FILES; f++) {
        const cm_file_id id = { .hi = 77, .lo = f + 1 };
        number[f] = f;
        file_path(path, f);
        c->origin[f] = place_open(path, true);
        if (cmc_file_open(c->k, &id, CM_SOLE_WRITER, identify, &number[f], &c->file[f]) != 0)
            place_die("cmc_file_open");
    }
}

static void end_client(struct client *c)
{
    for (unsigned f = 0; f <= FILES; f++) {
        cmc_file_close(c->file[f]);
        place_close(c->origin[f]);
    }
    cmc_disconnect(c->k);
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
    int64_t got = CM_EABSENT;
    if (below(&c->seed, 2) == 0)
        got = cmc_read_whole(c->file[file], offset, buf, n * BLOCK);
    if (got == CM_EABSENT)
        got = cmc_read(c->file[file], offset, buf, n * BLOCK, &miss);
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
    const int64_t r = place_read(c->origin[file], origin, (size_t)miss.len, miss.offset);
    if (r < 0)
        place_die("place_read");
    if (cmc_fill(c->file[file], &miss, origin, (uint32_t)r, 0) < 0)
        place_die("cmc_fill");
    return true;
}

/* Only one client writes a block at a time: versions go up one by one. */
static bool own(const struct client *c, struct block *b)
{
    uint32_t none = 0;

    return atomic_compare_exchange_strong(&b->writer, &none, c->number);
}

/* Returns false if the write was outside. */
static bool write_blocks(struct client *c, unsigned file, uint32_t first, uint32_t n)
{
    static _Alignas(64) uint64_t buf[MANY * BLOCK / 8];
    struct block *b = &shared->block[file][first];
    cmc_bracket w;

    for (uint32_t i = 0; i < n; i++)
        if (!own(c, &b[i])) {
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
    if (place_write(c->origin[file], buf, n * BLOCK, (uint64_t)first * BLOCK) != n * BLOCK)
        place_die("place_write");
    if (cmc_write_end(c->file[file], &w, NULL) == CM_WANT_VALIDATOR && below(&c->seed, 64) == 0)
        (void)cmc_file_revalidate(c->file[file]);
    /* A reader that begins from here on must find it. */
    for (uint32_t i = 0; i < n; i++) {
        atomic_store(&b[i].ended, atomic_load(&b[i].begun));
        atomic_store(&b[i].writer, 0);
    }
    return w.outside == 0;
}

/* ---- The file without blocks ----------------------------------------------------------------- */

static int64_t read_origin(void *origin, uint64_t offset, void *buf, size_t len)
{
    return place_read(*(intptr_t *)origin, buf, len, offset);
}

/* Reads a part of it through the service, or all of it, and looks whether the file has the same. */
static void read_odd(struct client *c, bool all)
{
    static _Alignas(64) uint8_t buf[ODD_BYTES], want[ODD_BYTES];
    const uint64_t offset = all ? 0 : below(&c->seed, ODD_BYTES);
    const size_t len = all ? ODD_BYTES : 1 + below(&c->seed, ODD_READ);
    const uint64_t before = atomic_load(&shared->odd.changes);
    const size_t most = len < ODD_BYTES - offset ? len : (size_t)(ODD_BYTES - offset);
    const int64_t got =
        cmc_read_through(c->file[ODD], offset, buf, most, read_origin, &c->origin[ODD]);
    const int64_t is = place_read(c->origin[ODD], want, most, offset);

    if (got < 0 || is < 0)
        place_die("cmc_read_through");
    atomic_fetch_add(&shared->reads, 1);
    if (before % 2 != 0 || atomic_load(&shared->odd.changes) != before)
        return;
    if (got == is && memcmp(buf, want, (size_t)is) == 0)
        return;
    atomic_fetch_add(&shared->wrong, 1);
    fprintf(stderr,
            "storm: %llu bytes of the file without blocks are wrong, at %llu; %lld of %lld\n",
            (unsigned long long)most, (unsigned long long)offset, (long long)got, (long long)is);
}

/* Truncates it, or makes it longer. */
static bool set_odd_size(const struct client *c, uint64_t size)
{
    cmc_bracket w;

    if (cmc_truncate_begin(c->file[ODD], size, &w) != 0)
        place_die("cmc_truncate_begin");
    if (!place_truncate(c->origin[ODD], size))
        place_die("place_truncate");
    shared->odd.size = size;
    (void)cmc_write_end(c->file[ODD], &w, NULL);
    return w.outside == 0;
}

/* Writes some bytes at any place, or behind its end. */
static bool write_odd(struct client *c, bool append)
{
    static uint8_t buf[ODD_WRITE];
    const uint64_t size = shared->odd.size;
    const uint32_t len = 1 + below(&c->seed, ODD_WRITE);
    const uint64_t at = append ? size : below(&c->seed, ODD_BYTES - ODD_WRITE);
    cmc_bracket w;

    if (at + len > ODD_BYTES)
        return set_odd_size(c, below(&c->seed, ODD_BYTES));
    memset(buf, (int)below(&c->seed, 256), len);
    if (cmc_write_begin(c->file[ODD], append ? CM_APPEND : at, len, &w) != 0)
        place_die("cmc_write_begin");
    if (place_write(c->origin[ODD], buf, len, at) != (int64_t)len)
        place_die("place_write");
    shared->odd.size = at + len > size ? at + len : size;
    if (cmc_write_end(c->file[ODD], &w, NULL) == CM_WANT_VALIDATOR && below(&c->seed, 2) == 0)
        (void)cmc_file_revalidate(c->file[ODD]);
    return w.outside == 0;
}

/* Returns false if the service passed. */
static bool change_odd(struct client *c)
{
    const uint32_t how = below(&c->seed, 4);
    uint32_t none = 0;
    bool told;

    if (!atomic_compare_exchange_strong(&shared->odd.writer, &none, c->number))
        return true;
    atomic_fetch_add(&shared->odd.changes, 1);
    told = how == 0 ? set_odd_size(c, below(&c->seed, ODD_BYTES)) : write_odd(c, how == 1);
    atomic_fetch_add(&shared->writes, 1);
    atomic_fetch_add(&shared->outside, !told);
    atomic_fetch_add(&shared->odd.changes, 1);
    atomic_store(&shared->odd.writer, 0);
    return told;
}

static bool use_odd(struct client *c)
{
    if (below(&c->seed, 4) == 0)
        return change_odd(c);
    read_odd(c, false);
    return cmc_file_refused(c->file[ODD]) == 0;
}

static int client_main(uint32_t client, uint64_t seed, uint64_t share)
{
    struct client c;

    begin_client(&c, client, seed);
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
        else if (what < 100 + ODD_PARTS)
            answered = use_odd(&c);
        else
            answered = read_blocks(&c, file, first, n);
        i += answered;
        atomic_fetch_add(&shared->operations, answered);
        if (!answered && ++passes > PASSES_MAX)
            place_die("the service does not answer any more");
    }
    end_client(&c);
    return 0;
}

static place_process start_client(uint32_t client, uint64_t seed)
{
    char number[16], seed_text[32], share[32], flags[16];
    const char *const args[] = { "client", place_dir, number, seed_text, share, flags, NULL };

    snprintf(number, sizeof(number), "%u", client);
    snprintf(seed_text, sizeof(seed_text), "%llu", (unsigned long long)(seed + client));
    snprintf(share, sizeof(share), "%llu", (unsigned long long)(operations / clients));
    snprintf(flags, sizeof(flags), "%u", client_flags);
    return place_run(NULL, args);
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
        place_sleep_us(1000);
    }
    cmc_disconnect(k);
}

static void set_up(void)
{
    static uint64_t zeros[BLOCKS * BLOCK / 8];
    char path[700];
    FILE *f;

    place_make(POOL_BYTES);
    for (unsigned i = 0; i <= FILES; i++) {
        file_path(path, i);
        f = fopen(path, "wb");
        if (!f || (i != ODD && fwrite(zeros, sizeof(zeros), 1, f) != 1) || fclose(f) != 0)
            place_die(path);
    }
    shared = place_shared("shared", sizeof(*shared));
}

static void clean_up(void)
{
    char path[700];

    for (unsigned i = 0; i <= FILES; i++) {
        file_path(path, i);
        (void)remove(path);
    }
    snprintf(path, sizeof(path), "%s/shared", place_dir);
    place_forget(shared, sizeof(*shared));
    (void)remove(path);
    place_clean();
}

static void kill_service(place_process *service, uint64_t *seed)
{
    place_kill(*service);
    place_sleep_us(below(seed, 20000));
    *service = place_start(service_program);
}

static void stall_service(place_process service, uint64_t *seed)
{
    place_suspend(service);
    /* For so long that a client that looks for the service again does not find it either, and does
     * not look for a while: it writes outside while the service goes on. */
    place_sleep_us(TIMEOUT_MS * 3000 + below(seed, 50000));
    place_resume(service);
}

static void complain(const char *who, int status)
{
    fprintf(stderr, "storm: %s ended with status %x\n", who, (unsigned)status);
    atomic_fetch_add(&shared->wrong, 1);
}

/* Kills and stalls the service as often as asked for, until no client is left. Returns how often.
 */
static unsigned storm(place_process *service, place_process client[CLIENTS_MAX], uint64_t *seed)
{
    unsigned left = clients, done = 0;
    int status;

    while (left > 0) {
        const uint64_t most = operations * (done + 1) / (kills + stalls + 1);

        for (unsigned i = 0; i < left; i++) {
            if (!place_has_ended(client[i], &status))
                continue;
            if (status != 0)
                complain("a client", status);
            client[i--] = client[--left];
        }
        if (place_has_ended(*service, &status)) {
            complain("the service", status);
            *service = place_start(service_program);
        }
        place_sleep_us(1000 + below(seed, 2000));
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

    begin_client(&c, 2, 1); /* one that waits long */
    for (unsigned f = 0; f < FILES; f++)
        for (uint32_t b = 0; b < BLOCKS; b++) {
            const uint64_t v = atomic_load(&shared->block[f][b].ended);
            if (cmc_read(c.file[f], (uint64_t)b * BLOCK, buf, BLOCK, &miss) == BLOCK) {
                check(buf, f, b, v, v, "cached at the end");
                cached++;
            }
            if (place_read(c.origin[f], buf, BLOCK, (uint64_t)b * BLOCK) != BLOCK)
                place_die("place_read");
            check(buf, f, b, v, v, "origin at the end");
        }
    read_odd(&c, true);
    printf("storm: %u of %u blocks are cached at the end\n", cached, FILES * BLOCKS);
    end_client(&c);
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
    if (clients == 0 || clients > CLIENTS_MAX)
        exit(2);
}

int main(int argc, char **argv)
{
    uint64_t seed = place_now_ns(), start;
    place_process service, client[CLIENTS_MAX];
    unsigned killed;
    int status;

    if (argc == 7 && strcmp(argv[1], "client") == 0) {
        place_join(argv[2]);
        shared = place_shared("shared", sizeof(*shared));
        client_flags = (uint32_t)atoi(argv[6]);
        return client_main((uint32_t)atoi(argv[3]), strtoull(argv[4], NULL, 10),
                           strtoull(argv[5], NULL, 10));
    }
    options(argc, argv);
    set_up();
    service = place_start(service_program);
    await_service();
    start = place_now_ns();
    for (unsigned i = 0; i < clients; i++)
        client[i] = start_client(i + 1, seed);
    killed = storm(&service, client, &seed);
    const double s = (double)(place_now_ns() - start) / 1e9;
    await_service();
    check_all();
    place_end(service);
    status = place_await(service);
    if (status != 0)
        complain("the service", status);
    const uint64_t wrong = shared->wrong;
    printf("storm: %llu operations of %u clients in %.1f s, %llu reads, %llu whole hits, %llu "
           "passes, %llu writes (%llu outside), %u kills and stalls, %llu wrong\n",
           (unsigned long long)shared->operations, clients, s, (unsigned long long)shared->reads,
           (unsigned long long)shared->hits, (unsigned long long)shared->passes,
           (unsigned long long)shared->writes, (unsigned long long)shared->outside, killed,
           (unsigned long long)wrong);
    clean_up();
    return wrong != 0;
}
