/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hits.c - what a hit of 4 KiB costs through a service, beside a bare exchange of the same bytes.
 *
 *   hits SERVICE
 *
 * Prints the median of several rounds, in nanoseconds: cm_read in this process; a bare exchange
 * between two processes by futex and by socket (one side asks, the other one answers with 4 KiB,
 * which are copied once more); and a hit through the service by ring and by socket. Then the bytes
 * a second of four clients at once. Exits 1 if a hit missed.
 */
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "cachemax_client.h"
#include "place.h"

#define BLOCK 4096u
#define BLOCKS 1024u
#define ROUNDS 9u
#define EACH 20000u
#define CLIENTS 4u
#define POOL_BYTES (16u << 20)

static uint8_t buf[BLOCK];

static int by_number(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median time of one call. */
static double measure(void (*once)(void *arg, unsigned i), void *arg)
{
    double ns[ROUNDS];

    for (unsigned r = 0; r < ROUNDS; r++) {
        const uint64_t start = place_now_ns();
        for (unsigned i = 0; i < EACH; i++)
            once(arg, i);
        ns[r] = (double)(place_now_ns() - start) / EACH;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), by_number);
    return ns[ROUNDS / 2];
}

/* ---- Bare exchanges -------------------------------------------------------------------------- */

static struct exchange {
    _Atomic uint32_t asked, answered;
    uint8_t data[BLOCK];
} * exchange;
static int pair[2];

static void futex_wait(_Atomic uint32_t *word, uint32_t is)
{
    while (atomic_load(word) == is)
        (void)syscall(SYS_futex, word, FUTEX_WAIT, is, NULL, NULL, 0);
}

static void futex_set(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store(word, value);
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void by_futex(void *arg, unsigned i)
{
    const uint32_t n = atomic_load(&exchange->asked);

    (void)arg;
    (void)i;
    futex_set(&exchange->asked, n + 1);
    futex_wait(&exchange->answered, n);
    memcpy(buf, exchange->data, BLOCK);
}

static void by_socket(void *arg, unsigned i)
{
    uint8_t in[BLOCK + 64] = { 0 };
    size_t have = 0;

    (void)arg;
    (void)i;
    if (send(pair[0], in, 40, 0) != 40)
        place_die("send");
    while (have < BLOCK + 48) {
        const ssize_t n = recv(pair[0], in + have, sizeof(in) - have, 0);
        if (n <= 0)
            place_die("recv");
        have += (size_t)n;
    }
    memcpy(buf, in + 48, BLOCK);
}

static pid_t answer_by_futex(void)
{
    const pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint32_t n = 0;; n++) {
        futex_wait(&exchange->asked, n);
        memcpy(exchange->data, buf, BLOCK);
        futex_set(&exchange->answered, n + 1);
    }
}

static pid_t answer_by_socket(void)
{
    const pid_t pid = fork();
    uint8_t out[BLOCK + 48], in[64];

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memset(out, 0, sizeof(out));
    while (recv(pair[1], in, sizeof(in), 0) > 0) {
        memcpy(out + 48, buf, BLOCK);
        if (send(pair[1], out, sizeof(out), 0) != (ssize_t)sizeof(out))
            break;
    }
    _exit(0);
}

/* ---- Hits ------------------------------------------------------------------------------------ */

static void must(int64_t got)
{
    if (got == BLOCK)
        return;
    fprintf(stderr, "hits: a hit missed (%lld)\n", (long long)got);
    exit(1);
}

static void hit_directly(void *arg, unsigned i)
{
    must(cm_read(arg, (uint64_t)(i * 7919u % BLOCKS) * BLOCK, buf, BLOCK, NULL));
}

static void hit(void *arg, unsigned i)
{
    cmc_miss miss;

    must(cmc_read(arg, (uint64_t)(i * 7919u % BLOCKS) * BLOCK, buf, BLOCK, &miss));
}

static int version(void *arg, cm_validator *v)
{
    (void)arg;
    cm_validator_set_proof(v, "1", 1);
    v->taken_at = cm_now();
    v->size = (uint64_t)BLOCKS * BLOCK;
    return 0;
}

static const cm_file_id file_id = { .hi = 9, .lo = 9 };

/* A client with all blocks cached. */
static cmc_file *warm_client(uint32_t flags)
{
    const struct cmc_options o = { .where = place_socket, .flags = flags };
    cmc_client *k;
    cmc_file *f;
    cmc_miss miss;
    char why[256];

    if (cmc_connect(&o, &k, why) != 0)
        place_die(why);
    for (unsigned tries = 0; !cmc_is_connected(k) && tries < 10000; tries++)
        usleep(1000);
    if (cmc_file_open(k, &file_id, 0, version, NULL, &f) != 0)
        place_die("cmc_file_open");
    for (unsigned b = 0; b < BLOCKS; b++)
        if (cmc_read(f, (uint64_t)b * BLOCK, buf, BLOCK, &miss) == 0 && miss.ticket != 0)
            (void)cmc_fill(f, &miss, buf, BLOCK, 0);
    return f;
}

static double direct(void)
{
    char path[700];
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_cache *c;
    cm_file *f;
    cm_miss miss = CM_MISS_INIT;

    snprintf(path, sizeof(path), "%s/own", place_dir);
    o.size = POOL_BYTES;
    (void)version(NULL, &v);
    if (cm_create(path, &o) != 0 || cm_open(path, NULL, &c) != 0 ||
        cm_file_open(c, &file_id, &v, 0, &f) < 0)
        place_die(path);
    for (unsigned b = 0; b < BLOCKS; b++)
        if (cm_read(f, (uint64_t)b * BLOCK, buf, BLOCK, &miss) == 0)
            (void)cm_fill(f, &miss, buf, BLOCK, 0);
    const double ns = measure(hit_directly, f);
    (void)cm_file_close(f);
    (void)cm_close(c);
    (void)unlink(path);
    return ns;
}

/* Bytes a second of several clients, in GB. */
static double together(uint32_t flags)
{
    const uint64_t start = place_now_ns();
    int status;

    for (unsigned k = 0; k < CLIENTS; k++)
        if (fork() == 0) {
            cmc_file *f = warm_client(flags);
            for (unsigned i = 0; i < 10 * EACH; i++)
                hit(f, i + k * 100);
            _exit(0);
        }
    for (unsigned k = 0; k < CLIENTS; k++)
        if (wait(&status) < 0 || status != 0)
            exit(1);
    return (double)CLIENTS * 10 * EACH * BLOCK / (double)(place_now_ns() - start);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    exchange =
        mmap(NULL, sizeof(*exchange), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (exchange == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        place_die("mmap, socketpair");
    place_make(POOL_BYTES);
    const pid_t service = place_start(argv[1]);
    const pid_t futex = answer_by_futex(), socket = answer_by_socket();
    const double own = direct(), bare_futex = measure(by_futex, NULL);
    const double bare_socket = measure(by_socket, NULL);
    const double ring = measure(hit, warm_client(0));
    const double sock = measure(hit, warm_client(CMC_NO_RING));

    kill(futex, SIGKILL);
    kill(socket, SIGKILL);
    (void)waitpid(futex, NULL, 0);
    (void)waitpid(socket, NULL, 0);
    printf("ns a hit of 4 KiB: %.0f in this process\n", own);
    printf("ring: %.0f, bare futex %.0f, %+.0f\n", ring, bare_futex, ring - bare_futex);
    printf("socket: %.0f, bare socket %.0f, %+.0f\n", sock, bare_socket, sock - bare_socket);
    printf("%u clients: %.2f GB/s by ring, %.2f GB/s by socket\n", CLIENTS, together(0),
           together(CMC_NO_RING));
    kill(service, SIGTERM);
    (void)waitpid(service, NULL, 0);
    place_clean();
    return 0;
}
