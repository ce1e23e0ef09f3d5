/* SPDX-License-Identifier: BSD-2-Clause
 *
 * killed.c - a store that is killed again and again. After a kill each block of an exclusive file
 * hits that was cached and not in an open bracket. Of files of a sole writer the share is told.
 */
#include "store.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A kill leaves the blocks of all sole writers behind. So many fit in a pool, and none that counts
 * is evicted. */
#define KILLS_A_POOL 10

/* What the store tells the one who kills it. */
static struct shared {
    atomic_bool ready;
    struct blocks of[KINDS][FILES]; /* cached, and no bracket has begun there */
} * shared;

static void not_these(struct file *f, uint64_t first, uint64_t end)
{
    struct blocks *b = &shared->of[f->kind][f->number];

    for (uint64_t n = first; n < end && n < BLOCKS; n++)
        take_block(b, n, false);
}

/* The lock keeps brackets from beginning between the look and the note. */
static void note_all(void)
{
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            struct file *f = &files[k][i];
            pthread_mutex_lock(&f->lock);
            cached(f, &shared->of[k][i]);
            pthread_mutex_unlock(&f->lock);
        }
}

static _Noreturn void be_killed(uint64_t seed, bool hot)
{
    const struct work w = { .seed = seed, .hot = hot, .before = not_these };

    open_files();
    open_pool();
    attach_files();
    work_begin(&w);
    for (;;) {
        note_all();
        atomic_store(&shared->ready, true);
        usleep(1000);
    }
}

static void judge_killed(struct result r[KINDS])
{
    char path[600];

    open_pool();
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            path_of(path, sizeof(path), (enum kind)k, i);
            compare(path, (enum kind)k, &shared->of[k][i], &r[k]);
        }
    must(cm_close(cache), "cm_close");
}

/* Ends the program if something is wrong. */
static void kill_once(uint64_t *rng, bool hot, struct result r[KINDS])
{
    const uint64_t seed = next_random(rng);
    int status;
    pid_t child;

    memset(shared, 0, sizeof(*shared));
    fflush(stdout);
    child = fork();
    if (child < 0)
        die("fork");
    if (child == 0)
        be_killed(seed, hot);
    while (!atomic_load(&shared->ready) && waitpid(child, &status, WNOHANG) == 0)
        usleep(1000);
    usleep((useconds_t)(next_random(rng) % 300000));
    if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) {
        printf("FAILED: the store ended before it was killed\n");
        exit(1);
    }
    judge_killed(r);
}

static void remove_pool(void)
{
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    if (unlink(path) != 0)
        die(path);
}

int killed(char **arg)
{
    const unsigned kills = (unsigned)strtoul(arg[1], NULL, 10);
    uint64_t rng = strtoull(arg[2], NULL, 10);
    struct result r[KINDS] = { { 0, 0, 0, 0, 0 } };
    unsigned wrong = 0;

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    (void)snprintf(dir, sizeof(dir), "%s", arg[0]);
    make_files(&rng);
    for (unsigned i = 0; i < kills; i++) {
        if (i % KILLS_A_POOL == 0)
            make_pool(1024);
        kill_once(&rng, strcmp(arg[3], "hot") == 0, r);
        if (i % KILLS_A_POOL == KILLS_A_POOL - 1)
            remove_pool();
    }
    for (unsigned k = 0; k < KINDS; k++) {
        printf("%s: %.2f %% of %u blocks hit that were cached and in no bracket, %u wrong\n",
               kind_name[k], r[k].floor ? 100.0 * r[k].kept / r[k].floor : 0, r[k].floor,
               r[k].wrong);
        wrong += r[k].wrong;
    }
    printf("%u kills\n", kills);
    if (r[OWN].floor < kills * FILES * 100 || r[OWN].kept < r[OWN].floor)
        wrong++;
    return wrong > 0;
}
