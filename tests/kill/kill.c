/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kill.c - kills an embedding program under mixed load and starts it again, many times.
 *
 * usage: kill [--cycles N] [--seed S] [--dir DIR]
 * Each of N cycles (40; more, until enough was judged) starts the program (child.c). The program
 * first judges what the last kill left. The cycle ends it by SIGKILL at a random instant of its
 * work, of opening and judging, or of closing. Sometimes a file is changed before the next start.
 * Every few cycles the pool is made anew, in turn a large one and a small one that evicts all the
 * time. DIR holds pool and origin (default: a new directory in /dev/shm). truth.h has what the
 * program and its parent share. The last line is "N passed, N failed, 0 skipped".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "truth.h"

#define CYCLES_OF_A_POOL 8u
#define LARGE (UINT64_C(128) << 20)
#define SMALL (UINT64_C(3) << 20)
#define NS_PER_MS UINT64_C(1000000)
#define WAIT_NS                                                                                    \
    (UINT64_C(2000) * NS_PER_MS) /* for the program to do what it is expected to do                \
                                  */

static struct {
    struct truth *t;
    struct setting set;
    struct rng rng;
    uint64_t cycles, killed, failed, kills[DOING_COUNT]; /* by what a thread was doing */
} k = { .cycles = 40, .set.seed = 1 };

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 * NS_PER_MS + (uint64_t)t.tv_nsec;
}

/* Sleeps for most of the time, because the program needs the processors. */
static void wait_until(uint64_t at)
{
    for (uint64_t t = now(); t < at; t = now())
        if (at - t > NS_PER_MS / 2)
            usleep((useconds_t)((at - t - NS_PER_MS / 4) / 1000));
}

/* Chooses the instant. For an instant of opening or closing, the program is told and orders its own
 * kill from the kernel; then this only waits for its end. */
static void wait_for_the_end(pid_t pid, uint64_t kind)
{
    siginfo_t ended = { 0 };
    if (kind >= 3) {
        wait_until(now() + rng_below(&k.rng, 250 * NS_PER_MS));
        return;
    }
    if (kind == 2) {
        wait_until(now() + rng_below(&k.rng, 100 * NS_PER_MS));
        __atomic_store_n(&k.t->kill_closing, 1 + rng_below(&k.rng, k.t->close_ns * 5 / 4 + 1000),
                         __ATOMIC_RELEASE);
    }
    for (uint64_t end = now() + WAIT_NS; now() < end && ended.si_pid == 0; usleep(200))
        if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0)
            perror("waitid"), exit(2);
}

static void new_pool(bool small)
{
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    char path[512];
    truth_path(&k.set, path, sizeof(path), "pool", 0);
    unlink(path);
    c.size = small ? SMALL : LARGE;
    c.flags = CM_CREATE_SPARSE;
    int e = cm_create(path, &c);
    if (e) {
        fprintf(stderr, "%s: %s\n", path, cm_strerror(e));
        exit(2);
    }
    for (unsigned f = 0; f < FILES; f++) {
        k.t->file[f].quiet = 0;
        memset(k.t->file[f].stored, 0, sizeof(k.t->file[f].stored));
    }
    k.t->slack = 0;
}

static pid_t start(bool last)
{
    memset(k.t->doing, 0, sizeof(k.t->doing));
    k.t->session++;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child_run(k.t, &k.set, last);
    if (pid < 0)
        perror("fork"), exit(2);
    return pid;
}

static void cycle(void)
{
    int status;
    uint64_t kind = rng_below(&k.rng, 8);
    k.t->kill_closing = 0;
    k.t->kill_opening = kind == 0   ? 1 + rng_below(&k.rng, 20 * NS_PER_MS) /* and in judging */
                        : kind == 1 ? 1 + rng_below(&k.rng, k.t->open_ns * 5 / 4 + 1000)
                                    : 0;
    pid_t pid = start(false);
    wait_for_the_end(pid, kind);
    if (kill(pid, SIGKILL) != 0 || waitpid(pid, &status, 0) != pid)
        perror("kill"), exit(2);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        printf("FAIL session %llu ended by itself, status %#x (seed %llu)\n",
               (unsigned long long)k.t->session, (unsigned)status, (unsigned long long)k.set.seed);
        k.failed++;
        return;
    }
    k.killed++;
    for (unsigned d = 0; d < DOING_COUNT; d++) {
        bool any = false;
        for (unsigned i = 0; i < THREADS; i++)
            any |= k.t->doing[i] == d && (d != DOING_starting || i == 0);
        k.kills[d] += any;
    }
    if (rng_below(&k.rng, 3) == 0) {
        truth_change_offline(k.t, &k.set, &k.rng);
        usleep(rng_below(&k.rng, 2) ? 30000 : 0); /* then its timestamps are too fresh, or not */
    }
}

/* Was enough looked at? */
static bool proves(void)
{
    return k.t->sum.judged >= k.cycles / 3 && k.t->sum.covered >= k.cycles * 50;
}

static bool report(void)
{
    static const char *const names[] = {
#define X(name) #name,
        DOING_MAP(X)
#undef X
    };
    static const char *const media[] = { "?", "volatile", "pagecache", "dax" };
    const struct judged *s = &k.t->sum;
    cm_info i = { .struct_size = sizeof(i) };
    char path[512];
    truth_path(&k.set, path, sizeof(path), "pool", 0);
    (void)cm_pool_info(path, &i);
    printf("kill: %llu kills of a program, pool %s, %llu judged, %llu blocks looked at, "
           "%llu hits compared, %llu violations\n",
           (unsigned long long)k.killed, media[i.durability % 4], (unsigned long long)s->judged,
           (unsigned long long)s->looked, (unsigned long long)s->hits,
           (unsigned long long)k.failed);
    printf(
        "kill: %llu blocks cached before, %llu of quiet files (%llu %%; of synced ones %llu %%), "
        "%llu of these evicted, the others hit; %llu checks\n",
        (unsigned long long)s->cached, (unsigned long long)s->covered,
        (unsigned long long)(s->cached ? 100 * s->covered / s->cached : 0),
        (unsigned long long)(s->cached ? 100 * s->clean / s->cached : 0),
        (unsigned long long)s->missing, (unsigned long long)s->checks);
    printf("kill: killed while some thread was");
    for (unsigned d = 0; d < DOING_COUNT; d++)
        printf("%s %s %llu", d ? "," : "", names[d], (unsigned long long)k.kills[d]);
    printf("\n");
    if (!proves())
        printf("FAIL too few judged, or the floor is too low to prove anything\n");
    return proves() && k.failed == 0;
}

static void options(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--cycles") == 0 && *value)
            k.cycles = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0 && *value)
            k.set.seed = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--dir") == 0 && *value)
            k.set.dir = value;
        else
            fprintf(stderr, "usage: kill [--cycles N] [--seed S] [--dir DIR]\n"), exit(2);
    }
}

int main(int argc, char **argv)
{
    char dir[] = "/dev/shm/cachemax-kill.XXXXXX", path[512];
    options(argc, argv);
    if (!k.set.dir && !(k.set.dir = mkdtemp(dir)))
        perror(dir), exit(2);
    k.rng.s = k.set.seed;
    k.t = mmap(NULL, sizeof(*k.t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (k.t == MAP_FAILED)
        perror("mmap"), exit(2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    truth_make(k.t, &k.set);
    /* On a busy machine more kills come while the program starts. So there are more of them then.
     */
    for (uint64_t i = 0; (i < k.cycles || (!proves() && i < 20 * k.cycles)) && k.failed == 0; i++) {
        if (i % CYCLES_OF_A_POOL == 0)
            new_pool(i / CYCLES_OF_A_POOL % 3 == 2);
        cycle();
    }
    int status = -1;
    k.t->kill_opening = k.t->kill_closing = 0;
    if (k.failed == 0 && (waitpid(start(true), &status, 0) < 0 || status != 0)) {
        printf("FAIL the last session: status %#x\n", (unsigned)status);
        k.failed++;
    }
    bool good = report();
    for (unsigned f = 0; f < FILES; f++) {
        truth_path(&k.set, path, sizeof(path), "origin", f);
        unlink(path);
    }
    truth_path(&k.set, path, sizeof(path), "pool", 0);
    unlink(path);
    if (k.set.dir == dir)
        rmdir(dir);
    printf("%d passed, %d failed, 0 skipped\n", good, !good);
    return !good;
}
