/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects_bench.c - containers of objects beside LMDB, RocksDB and memcached.
 *
 *   objects-bench DIR [--objects N] [--rounds N] [--stores a,b] [--limits]
 *
 * N objects (10^6) with keys of 23 bytes and values of 100 bytes to 64 KiB: half of them are below
 * 200, one in ten above 1 KiB, one in a hundred above 10 KiB (650 bytes on the average). All stores
 * keep their files in DIR. In each round (3) all stores have their turn:
 *   put    all objects are put, in random order; then once more, in another order
 *   get    all are got, in random order, and copied
 *   kill   the process is killed with -9 (memcached: the server); a new one opens the store, gets
 *          all objects and compares every byte
 *   close  it closes the store, and a third one does the same
 * It prints the medians of the rounds, and ratios to LMDB's: of the time that passed, and of the
 * processor time of the process, which other programs disturb less. Values are compared with what
 * was put: a wrong one ends the run. Exit status 1: that, or fewer than 95 % of the objects of
 * cachemax are there after the kill or the close. With --limits also: a get of cachemax takes more
 * than twice LMDB's, or a put more than half of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "objects_bench.h"

enum { ROUNDS_MAX = 15, STORES = 5, SLOW_PUTS = 500 };

struct result {
    double put_new, put_again, get, cpu_new, cpu_again, cpu_get, open_killed, open_closed;
    double warm_killed, warm_closed; /* parts of 1 */
};

static struct store *const stores[STORES] = { &store_cachemax, &store_lmdb, &store_rocksdb,
                                              &store_memcached, &store_lmdb_sync };
static struct result results[STORES][ROUNDS_MAX], median[STORES];
static struct shared *s;
static const char *dir, *only;
static unsigned char bytes[1 << 18]; /* values are parts of it */

_Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "objects-bench: %s: %s\n", what, why);
    exit(2);
}

void path_in(char *path, size_t n, const char *where, const char *name)
{
    if (snprintf(path, n, "%s/%s", where, name) >= (int)n)
        fail(where, "the path is too long");
}

static double clock_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double now(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

/* Both clocks, from here on. */
static struct took begin_timing(void)
{
    return (struct took){ now(), clock_of(CLOCK_PROCESS_CPUTIME_ID) };
}
/* Microseconds for each of n. */
static struct took end_timing(const struct took *began, uint64_t n)
{
    return (struct took){ (now() - began->wall) * 1e6 / (double)n,
                          (clock_of(CLOCK_PROCESS_CPUTIME_ID) - began->cpu) * 1e6 / (double)n };
}

/* ---- Objects --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Pareto: the share of objects above x is 100 / x. */
static size_t length_of(uint64_t id)
{
    const double u = (double)(mix(id) >> 11) * 0x1p-53;
    const double len = 100 / (1 - u * (1 - 100.0 / LONGEST));
    return len < LONGEST ? (size_t)len : LONGEST;
}

static const void *value_of(uint64_t id)
{
    return bytes + mix(id * 7) % (sizeof(bytes) - LONGEST);
}

static size_t key_of(uint64_t id, char key[64])
{
    return (size_t)snprintf(key, 64, "object:%016llx", (unsigned long long)mix(id * 3 + 1));
}

/* The i-th object of an order in which each comes once. */
static uint64_t in_order(uint64_t i, uint64_t order)
{
    const uint64_t n = s->objects;
    uint64_t step = (uint64_t)((double)n * 0.618) + 7919 * order, a = n, b = 0;
    while (a != 1) /* until they have no divisor in common */
        for (a = ++step, b = n; b != 0;) {
            const uint64_t rest = a % b;
            a = b;
            b = rest;
        }
    return (uint64_t)((unsigned __int128)i * step % n);
}

/* ---- Phases, each a process ------------------------------------------------------------------ */

static struct took put_all(const struct store *st, uint64_t n, uint64_t order)
{
    char key[64];
    const struct took began = begin_timing();
    for (uint64_t i = 0, id = 0, step = in_order(1, order); i < n; i++) {
        const size_t key_len = key_of(id, key);
        if (!st->put(key, key_len, value_of(id), length_of(id)))
            fail(st->name, "a value cannot be put");
        id = (id + step) % s->objects;
    }
    return end_timing(&began, n);
}

/* `all`: every byte is compared; else the first ones. */
static struct took get_all(const struct store *st, uint64_t order, bool all)
{
    static unsigned char buf[LONGEST];
    char key[64];
    uint64_t hits = 0, wrong = 0;
    const struct took began = begin_timing();
    for (uint64_t i = 0, id = 0, step = in_order(1, order); i < s->objects; i++) {
        const size_t key_len = key_of(id, key), len = length_of(id);
        const int64_t n = st->get(key, key_len, buf);
        hits += n >= 0;
        wrong += n >= 0 && ((size_t)n != len || memcmp(buf, value_of(id), all ? len : 16) != 0);
        id = (id + step) % s->objects;
    }
    const struct took took = end_timing(&began, s->objects);
    s->hits = hits;
    s->wrong += wrong;
    return took;
}

static void wait_until(const uint32_t *word)
{
    while (!__atomic_load_n(word, __ATOMIC_ACQUIRE))
        usleep(1000);
}

static void fill_and_wait(const struct store *st)
{
    st->open(dir, s);
    const uint64_t n = st->slow_puts && s->objects > SLOW_PUTS ? SLOW_PUTS : s->objects;
    s->put_new = put_all(st, n, 1);
    s->put_again = put_all(st, n, 2);
    if (!st->slow_puts) {
        (void)get_all(st, 3, false);
        s->get = get_all(st, 4, false);
    }
    __atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
    wait_until(&s->go_on); /* which never comes */
}

static void look_and_close(const struct store *st)
{
    const double began = now();
    st->open(dir, s);
    s->opened = (now() - began) * 1e3;
    (void)get_all(st, 5, true);
    st->close();
}

static pid_t start(void (*phase)(const struct store *), const struct store *st)
{
    s->ready = s->go_on = 0;
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        phase(st);
        exit(0);
    }
    if (pid < 0)
        fail("fork", "no process");
    return pid;
}

static void finish(const struct store *st, pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail(st->name, "its process failed");
}

/* Fills a store; then its process is gone. `how`: a signal for its server. */
static void fill_and_kill(const struct store *st, int how)
{
    int status;
    const pid_t pid = start(fill_and_wait, st);
    while (!__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE)) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            fail(st->name, "its process failed");
        usleep(1000);
    }
    if (s->server && kill(s->server, how) == 0)
        for (unsigned i = 0; i < 30000 && kill(s->server, 0) == 0; i++)
            usleep(1000); /* its parent reaps it */
    s->server = 0;
    kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
}

static void remove_all(void)
{
    char command[700];
    snprintf(command, sizeof(command),
             "cd '%s' && rm -rf pool lmdb lmdb-sync rocksdb memcached memcached.*", dir);
    if (system(command) != 0)
        fail(dir, "cannot be emptied");
}

static void run_store(const struct store *st, struct result *r)
{
    remove_all();
    fill_and_kill(st, SIGKILL);
    r->put_new = s->put_new.wall;
    r->put_again = s->put_again.wall;
    r->get = s->get.wall;
    r->cpu_new = s->put_new.cpu;
    r->cpu_again = s->put_again.cpu;
    r->cpu_get = s->get.cpu;
    if (st->slow_puts)
        return;
    finish(st, start(look_and_close, st));
    r->open_killed = s->opened;
    r->warm_killed = (double)s->hits / (double)s->objects;
    if (s->hits < s->objects / 2) { /* it is cold: what does a proper end leave? */
        remove_all();
        fill_and_kill(st, SIGUSR1);
        sleep(2); /* memcached forgets all if it starts in the second in which it ended */
    }
    finish(st, start(look_and_close, st));
    r->open_closed = s->opened;
    r->warm_closed = (double)s->hits / (double)s->objects;
    if (s->wrong)
        fail(st->name, "it gave wrong values");
}

/* ---- The table ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median of each figure by itself. */
static void medians(unsigned rounds)
{
    for (unsigned i = 0; i < STORES; i++)
        for (size_t k = 0; k < sizeof(struct result) / sizeof(double); k++) {
            double v[ROUNDS_MAX];
            for (unsigned r = 0; r < rounds; r++)
                v[r] = ((const double *)(const void *)&results[i][r])[k];
            qsort(v, rounds, sizeof(*v), compare);
            ((double *)(void *)&median[i])[k] = v[rounds / 2];
        }
}

static bool runs(const struct store *st)
{
    return !st->needs && (!only || strstr(only, st->name));
}

static void print_header(unsigned rounds)
{
    char line[400], cpu[200] = "an unknown CPU";
    struct statfs fs;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "model name : %199[^\n]", cpu) == 1)
            break;
    if (f)
        fclose(f);
    const bool known = statfs(dir, &fs) == 0;
    printf("%llu objects of %.0f bytes on the average, %u rounds, on %s, %s (%s)\n",
           (unsigned long long)s->objects, (double)s->bytes / (double)s->objects, rounds, cpu, dir,
           known && fs.f_type == 0x01021994   ? "tmpfs"
           : known && fs.f_type == 0xef53     ? "ext4"
           : known && fs.f_type == 0x58465342 ? "xfs"
                                              : "another file system");
}

static void print_table(void)
{
    printf("%-11s %9s %9s %9s %10s %10s %10s %10s\n", "", "put new", "put again", "get",
           "open, kill", "warm, kill", "open", "warm");
    for (unsigned i = 0; i < STORES; i++) {
        const struct result *r = &median[i];
        if (!runs(stores[i]))
            printf("%-11s %s\n", stores[i]->name, stores[i]->needs ? stores[i]->needs : "left out");
        else if (stores[i]->slow_puts)
            printf("%-11s %6.2f us %6.2f us\n", stores[i]->name, r->put_new, r->put_again);
        else
            printf("%-11s %6.2f us %6.2f us %6.2f us %7.1f ms %8.2f %% %7.1f ms %8.2f %%\n",
                   stores[i]->name, r->put_new, r->put_again, r->get, r->open_killed,
                   r->warm_killed * 100, r->open_closed, r->warm_closed * 100);
    }
    printf("Processor time:\n");
    for (unsigned i = 0; i < STORES; i++) {
        const struct result *r = &median[i];
        if (runs(stores[i]) && stores[i] != &store_memcached && !stores[i]->slow_puts)
            printf("%-11s %6.2f us %6.2f us %6.2f us\n", stores[i]->name, r->cpu_new, r->cpu_again,
                   r->cpu_get); /* memcached's server is another process */
    }
    for (unsigned i = 0; i < STORES; i++)
        if (runs(stores[i]))
            printf("  %s: %s\n", stores[i]->name, stores[i]->what);
}

/* LMDB's figures beside ours. */
static bool within_limits(void)
{
    const struct result *a = &median[0], *b = &median[1];
    const double put_new = b->put_new / a->put_new, put_again = b->put_again / a->put_again;
    const double get = a->get / b->get;
    printf("cachemax beside LMDB: put new %.2f times as fast, put again %.2f times as fast; a get "
           "takes %.2f times as long\n",
           put_new, put_again, get);
    printf("the same in processor time: %.2f and %.2f times as fast; %.2f times as long\n",
           b->cpu_new / a->cpu_new, b->cpu_again / a->cpu_again, a->cpu_get / b->cpu_get);
    return put_new >= 2 && put_again >= 2 && get <= 2;
}

int main(int argc, char **argv)
{
    uint64_t objects = 1000000;
    unsigned rounds = 3;
    bool limits = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--limits") == 0)
            limits = true;
        else if (strcmp(argv[i], "--objects") == 0 && i + 1 < argc)
            objects = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = (unsigned)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--stores") == 0 && i + 1 < argc)
            only = argv[++i];
        else
            fail(argv[i], "unknown");
    }
    if (argc < 2 || objects < 100 || rounds < 1 || rounds > ROUNDS_MAX)
        fail("usage", "objects-bench DIR [--objects N] [--rounds N] [--stores a,b] [--limits]");
    dir = argv[1];
    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        fail("mmap", "no memory");
    s->objects = objects;
    for (uint64_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)mix(i);
    for (uint64_t i = 0; i < objects; i++)
        s->bytes += length_of(i);
    if (system("memcached -h >/dev/null 2>&1") != 0)
        store_memcached.needs = "memcached is not installed";
    print_header(rounds);
    for (unsigned r = 0; r < rounds; r++)
        for (unsigned i = 0; i < STORES; i++)
            if (runs(stores[i]))
                run_store(stores[i], &results[i][r]);
    remove_all();
    medians(rounds);
    print_table();
    const bool both = runs(&store_cachemax) && runs(&store_lmdb);
    const bool fast = both && within_limits();
    if (runs(&store_cachemax) && (median[0].warm_killed < 0.95 || median[0].warm_closed < 0.95))
        return 1;
    return limits && !fast;
}
