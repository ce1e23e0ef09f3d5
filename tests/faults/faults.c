/* SPDX-License-Identifier: BSD-2-Clause
 *
 * faults.c - every call to the system and to the platform fails in turn.
 *
 * A scene is a story of calls of the library (scenes.c). It runs once to count the calls of each
 * kind (inject.h). Then it runs once for each of these calls, in a process of its own: that call
 * fails, or it and all later ones of its kind. Each run is judged:
 *
 * - every result is one that the comment of the call in the header names (codes.py)
 * - every byte that is read is the origin's
 * - when nothing fails any more, the cache works, or has said why not; the next session works
 * - in the end nothing is held: files, memory, mappings, guarded ranges, locked pages
 * - it ends, and within a minute
 *
 * Usage: faults [--every N] [--first N] [--only SCENE [--kind KIND --at N [--forever]]]
 *
 * --every takes each N-th run only, beginning with --first.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "stage.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../os.h"
#include "platform/platform.h"

#define MOST 120u    /* places of loads and stores that fail in a scene */
#define PATIENCE 60u /* seconds for a run of some milliseconds */

/* What the process of the counting run tells the others. */
static struct report {
    uint64_t count[INJECT_COUNT];
} * shared;

static struct {
    uint64_t every, first, number;
    const char *only, *kind;
    uint64_t at;
    bool forever;
    uint64_t scenes, calls, runs, wrong;
} t = { .every = 1 };

/* ---- Boots ----------------------------------------------------------------------------------- */

void __real_cm_plat_boot_id(uint8_t id[16]);
void __wrap_cm_plat_boot_id(uint8_t id[16]);
void __wrap_cm_plat_boot_id(uint8_t id[16])
{
    __real_cm_plat_boot_id(id);
    for (unsigned i = 0; i < 16; i++)
        if (id[i] != 0) { /* unknown stays unknown */
            id[3] = (uint8_t)(id[3] ^ stage.boot);
            return;
        }
}

/* ---- One run --------------------------------------------------------------------------------- */

static void begin_stage(void)
{
    memset(&stage, 0, sizeof(stage));
    /* In memory: so the thousands of syncs wait for no disk. */
    if (!os_make_dir(stage.dir, sizeof(stage.dir), "/dev/shm", "faults") &&
        !os_make_dir(stage.dir, sizeof(stage.dir), NULL, "faults"))
        exit(2);
    (void)snprintf(stage.pool, sizeof(stage.pool), "%s/pool", stage.dir);
    (void)snprintf(stage.other, sizeof(stage.other), "%s/other", stage.dir);
    for (unsigned i = 0; i < FILES; i++) {
        stage.origin[i].number = i + 1;
        stage.origin[i].version = 1;
        stage.origin[i].size = BLOCKS * BLK - 100 - i * 5 * BLK;
    }
}

/* Removes what a run has left. True: there was something that no call should leave. */
static bool end_stage(bool may_leave)
{
    char path[400];
    bool left = false;
    static const char *const names[] = { "pool",
                                         "other",
                                         "origin", /* these may be there */
                                         "pool.cachemax-new",
                                         "pool.cachemax-resize",
                                         "other.cachemax-new",
                                         "pool.cachemax-resize.cachemax-new" };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", stage.dir, names[i]);
        left |= unlink(path) == 0 && i > 2 && !may_leave;
    }
    return rmdir(stage.dir) != 0 || left;
}

static void hangs(int sig)
{
    static const char text[] = "WRONG it hangs\n";
    (void)sig;
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    _exit(1);
}

static const char *leak(const struct scene *s)
{
    return held.files != 0          ? "a file stays open"
           : held.memory != 0       ? "memory is not freed"
           : held.mapped > s->keeps ? "a mapping stays"
           : held.guarded != 0      ? "a guarded range stays"
           : held.locked != 0       ? "pages stay locked"
           : held.hooked != 0       ? "memory of the hook is not freed"
                                    : NULL;
}

/* Runs a scene in this process. */
static void act(const struct scene *s, enum inject_kind kind, uint64_t at, bool forever)
{
    (void)signal(SIGALRM, hangs);
    (void)alarm(PATIENCE);
    held = (struct held){ 0 };
    inject = (struct inject){ .on = true, .kind = kind, .at = at, .forever = forever };
    s->run();
    memcpy(shared->count, inject.count, kind == INJECT_NONE ? sizeof(shared->count) : 0);
    aftermath();
    const char *const left = leak(s);
    if (left)
        wrong(left, "at the end", 0);
}

/* Runs it in a process of its own. False: something was wrong. */
static bool try(const struct scene *s, enum inject_kind kind, uint64_t at, bool forever)
{
    int status;
    begin_stage();
    (void)fflush(stdout);
    pid_t child = s->before ? fork() : 0;
    if (s->before && child == 0) {
        s->before();
        _exit(0); /* it does not close what is open */
    }
    if (s->before && (waitpid(child, &status, 0) != child || status != 0)) {
        printf("WRONG %s: it cannot begin\n", s->name);
        exit(2);
    }
    child = fork();
    if (child == 0) {
        act(s, kind, at, forever);
        (void)fflush(stdout);
        _exit(0);
    }
    bool right = waitpid(child, &status, 0) == child && status == 0;
    if (!right && WIFSIGNALED(status))
        printf("WRONG it ended by signal %d\n", WTERMSIG(status));
    if (end_stage(!right || kind == INJECT_unlink)) {
        printf("WRONG it left a file\n");
        right = false;
    }
    if (!right)
        printf("FAIL --only %s --kind %s --at %" PRIu64 "%s\n", s->name,
               kind == INJECT_NONE ? "none" : inject_name[kind], at, forever ? " --forever" : "");
    t.runs++;
    t.wrong += !right;
    return right;
}

static bool is_turn(void)
{
    return t.number++ % t.every == t.first % t.every;
}

static void one_scene(const struct scene *s)
{
    t.scenes++;
    if (!try(s, INJECT_NONE, 0, false))
        return;
    uint64_t count[INJECT_COUNT];
    memcpy(count, shared->count, sizeof(count));
    if (t.only && !t.kind)
        for (unsigned k = 0; k < INJECT_COUNT; k++)
            if (count[k])
                printf("# %s %s %" PRIu64 "\n", s->name, inject_name[k], count[k]);
    for (unsigned k = 0; k < INJECT_COUNT; k++) {
        t.calls += count[k];
        if (t.kind && strcmp(t.kind, inject_name[k]) != 0)
            continue;
        /* A scene has some thousands of these. */
        const uint64_t step =
            k == INJECT_media_load || k == INJECT_media_store ? 1 + count[k] / MOST : 1;
        for (uint64_t at = 1; at <= count[k]; at += t.at ? 1 : step)
            for (unsigned forever = 0; forever < 2; forever++)
                if ((t.at == 0 || (t.at == at && t.forever == (forever == 1))) && is_turn())
                    (void)try(s, (enum inject_kind)k, at, forever == 1);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *const value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--forever") == 0)
            t.forever = true;
        else if (strcmp(argv[i], "--every") == 0)
            t.every = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--first") == 0)
            t.first = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--only") == 0)
            t.only = value;
        else if (strcmp(argv[i], "--kind") == 0)
            t.kind = value;
        else if (strcmp(argv[i], "--at") == 0)
            t.at = strtoull(value, NULL, 10);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || t.every == 0)
        return 2;
    for (const struct scene *s = scenes; s->name; s++)
        if (!t.only || strcmp(t.only, s->name) == 0)
            one_scene(s);
    printf("faults: %" PRIu64 " scenarios, %" PRIu64 " calls, %" PRIu64 " runs, %" PRIu64
           " wrong\n",
           t.scenes, t.calls, t.runs, t.wrong);
    return t.wrong || !t.scenes;
}
