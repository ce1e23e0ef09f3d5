/* SPDX-License-Identifier: BSD-2-Clause
 *
 * share.c - one process owns a pool, others read it (CM_OPEN_SHARED), and each of them is killed or
 * stopped at random instants.
 *
 * usage: share [--operations N] [--readers N] [--kills N] [--seed S] [--dir DIR]
 * Runs until the readers have made N operations (300000), each of them a read of one or more
 * blocks, and N processes (20) were killed: the owner, after whom another one takes over, or a
 * reader. As many readers are stopped for some milliseconds. No read may return a byte that is
 * older than what the origin held when the read began, as far as the owner was told; that is torn;
 * or of another place. Nor may it tell an end of the file that was not. DIR holds the pool
 * (default: a new directory in /dev/shm). The last line is "N passed, N failed, 0 skipped".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "share.h"

struct shared *shared;
const char *pool_path;

static struct {
    uint64_t operations, readers, kills, seed;
    struct rng rng;
    pid_t owner, reader[READERS_MAX];
    uint64_t killed, stopped, failed;
} k = { .operations = 300000, .readers = 8, .kills = 20, .seed = 1 };

/* ---- The origin ------------------------------------------------------------------------------ */

void make_block(unsigned file, unsigned block, uint64_t version, uint8_t to[CM_BLOCK_SIZE])
{
    const uint64_t word = version << 24 | (uint64_t)file << 16 | (uint64_t)block << 8 | 0xa5;
    for (unsigned i = 0; i < CM_BLOCK_SIZE / 8; i++)
        memcpy(to + 8 * i, &word, 8);
}

cm_file_id id_of(unsigned file)
{
    return (cm_file_id){ .hi = 0x5a4e, .lo = file + 1 };
}

cm_validator validator_of(unsigned file, bool with_size)
{
    cm_validator v = CM_VALIDATOR_INIT;
    v.taken_at = cm_now();
    const uint64_t proof[2] = { get(&shared->file[file].change), 1 };
    cm_validator_set_proof(&v, proof, sizeof(proof));
    v.size = with_size ? get(&shared->file[file].size) : CM_SIZE_UNKNOWN;
    if (get(&shared->file[file].change) != proof[0])
        v.size = CM_SIZE_UNKNOWN;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    return v;
}

/* ---- Processes ------------------------------------------------------------------------------- */

static pid_t begin(int number)
{
    const uint64_t seed = rng_next(&k.rng);
    const pid_t pid = fork();
    if (pid < 0)
        perror("fork"), exit(2);
    if (pid == 0 && number < 0)
        be_owner(seed);
    if (pid == 0)
        be_reader((unsigned)number, seed);
    return pid;
}

/* Did the process end as it should? */
static void bury(pid_t pid, bool was_killed)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        perror("waitpid"), exit(2);
    if (was_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    k.failed++;
    printf("FAIL: a process ended with status 0x%x\n", (unsigned)status);
}

static uint64_t operations(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < k.readers; i++)
        sum += get(&shared->counts[i].operations);
    return sum;
}

static void kill_one(void)
{
    const unsigned which = (unsigned)rng_below(&k.rng, 2 * k.readers);
    pid_t *const pid = which < k.readers ? &k.reader[which] : &k.owner;
    (void)kill(*pid, SIGKILL);
    bury(*pid, true);
    *pid = begin(which < k.readers ? (int)which : -1);
    k.killed++;
}

static void stop_one(void)
{
    const pid_t pid = k.reader[rng_below(&k.rng, k.readers)];
    (void)kill(pid, SIGSTOP);
    usleep((useconds_t)rng_below(&k.rng, 20000));
    (void)kill(pid, SIGCONT);
    k.stopped++;
}

static void run(void)
{
    k.owner = begin(-1);
    while (get(&shared->sessions) == 0)
        usleep(1000);
    for (unsigned i = 0; i < k.readers; i++)
        k.reader[i] = begin((int)i);
    while (!get(&shared->wrong) && k.failed == 0 &&
           (operations() < k.operations || k.killed < k.kills)) {
        usleep((useconds_t)rng_below(&k.rng, 20000));
        /* The kills are spread over the run. */
        if (k.killed < k.kills && operations() >= k.operations / (k.kills + 1) * k.killed) {
            stop_one();
            kill_one();
        }
    }
    set(&shared->stop, 1);
    bury(k.owner, false);
    for (unsigned i = 0; i < k.readers; i++)
        bury(k.reader[i], false);
}

static void report(void)
{
    struct counts all = { 0 };
    for (unsigned i = 0; i < k.readers; i++) {
        all.operations += shared->counts[i].operations;
        all.hits += shared->counts[i].hits;
        all.misses += shared->counts[i].misses;
        all.ends += shared->counts[i].ends;
    }
    printf(
        "share: %llu operations of %llu readers, %llu blocks hit, %llu reads without a hit, %llu "
        "ends of files; %llu operations of %llu owners; %llu kills, %llu stops; seed %llu\n",
        (unsigned long long)all.operations, (unsigned long long)k.readers,
        (unsigned long long)all.hits, (unsigned long long)all.misses, (unsigned long long)all.ends,
        (unsigned long long)shared->owner_operations, (unsigned long long)shared->sessions,
        (unsigned long long)k.killed, (unsigned long long)k.stopped, (unsigned long long)k.seed);
    if (shared->wrong) {
        printf("FAIL: %llu wrong reads; the first: %s\n", (unsigned long long)shared->wrong,
               shared->said);
        k.failed++;
    }
    /* A reader that always misses is no reader. */
    if (all.hits < all.operations / 10 || all.ends == 0) {
        printf("FAIL: too few hits or ends of files\n");
        k.failed++;
    }
    printf("%d passed, %d failed, 0 skipped\n", k.failed == 0, k.failed != 0);
}

/* ---- Options --------------------------------------------------------------------------------- */

static const char *options(int argc, char **argv)
{
    const char *dir = NULL;
    for (int i = 1; i < argc; i += 2) {
        uint64_t *const n = !strcmp(argv[i], "--operations") ? &k.operations
                            : !strcmp(argv[i], "--readers")  ? &k.readers
                            : !strcmp(argv[i], "--kills")    ? &k.kills
                            : !strcmp(argv[i], "--seed")     ? &k.seed
                                                             : NULL;
        if (i + 1 == argc || (!n && strcmp(argv[i], "--dir") != 0)) {
            fprintf(stderr, "usage: share [--operations N] [--readers N] [--kills N] [--seed S] "
                            "[--dir DIR]\n");
            exit(2);
        }
        if (n)
            *n = strtoull(argv[i + 1], NULL, 10);
        else
            dir = argv[i + 1];
    }
    if (k.readers < 1 || k.readers > READERS_MAX)
        fprintf(stderr, "share: 1 to %u readers\n", READERS_MAX), exit(2);
    return dir;
}

int main(int argc, char **argv)
{
    char made[] = "/dev/shm/cachemax-share.XXXXXX", path[4096];
    const char *given = options(argc, argv), *dir = given ? given : mkdtemp(made);
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    if (!dir)
        perror(made), exit(2);
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    pool_path = path;
    k.rng.s = k.seed;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        perror("mmap"), exit(2);
    shared->next = 1;
    for (unsigned i = 0; i < FILES; i++) {
        shared->file[i].size = shared->file[i].size_told = 32 * BLOCK + 100 * i;
        for (unsigned b = 0; b < BLOCKS; b++)
            shared->file[i].version[b] = 1;
    }
    create.size = POOL_SIZE;
    create.max_files = POOL_FILES;
    (void)unlink(path);
    const int e = cm_create(path, &create);
    if (e) {
        fprintf(stderr, "share: %s: %s\n", path, cm_strerror(e));
        return 2;
    }
    run();
    report();
    (void)unlink(path);
    if (!given)
        (void)rmdir(dir);
    return k.failed != 0;
}
