/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turns_steps.c - two threads take turns: the turn, and what counts as a step.
 *
 * Owns the turn. turns.c says which thread runs which operation and after which step the first one
 * gives the turn away; the library, compiled with turns.h, calls the turns_* functions.
 */
#define TURNS_ITSELF
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "turns_run.h"

/* ---- Turns ----------------------------------------------------------------------------------- */

struct turns t;

_Thread_local int me;

void fail(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "FAILED: %s: %llx, %llx (%s, step %llu)\n", what, (unsigned long long)a,
            (unsigned long long)b, t.where, (unsigned long long)t.switch_at);
    exit(1);
}

void must(int64_t e, const char *what)
{
    if (e < 0)
        fail(what, (uint64_t)-e, 0);
}

void give_turn(void)
{
    pthread_mutex_lock(&t.lock);
    t.turn = !me;
    pthread_cond_broadcast(&t.changed);
    while (t.turn != me)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
}

/* With -Dchecks=full a call ends with a check of all structures. That check waits for no thread. */
static bool looking(void)
{
#ifdef CM_CHECKS_FULL
    return me == FIRST && t.cache && t.cache->inside == CM_INSIDE_LOOKING;
#else
    return false;
#endif
}

void turns_step(void)
{
    if (me != FIRST || !t.armed || looking() || t.step++ != t.switch_at)
        return;
    t.begun = true;
    give_turn();
}

/* This thread cannot go on until the other one has run. */
static void wait_for(const void *what)
{
    if (!t.armed || (me == FIRST ? !t.begun || t.done : false) || t.wanted[!me])
        fail("both wait, or nobody can wake the one that waits", (uint64_t)me, t.step);
    t.wanted[me] = what;
    give_turn();
    t.wanted[me] = NULL;
}

void turns_acquire(struct cm_lock *l)
{
    turns_step();
    while (at_load_relaxed(&l->word) != 0)
        wait_for(l);
    at_store_release(&l->word, 1);
}

bool turns_try(struct cm_lock *l)
{
    turns_step();
    if (at_load_relaxed(&l->word) != 0)
        return false;
    at_store_release(&l->word, 1);
    return true;
}

void turns_release(struct cm_lock *l)
{
    if (at_load_relaxed(&l->word) == 0)
        fail("released a lock that was not held", 0, 0);
    at_store_release(&l->word, 0);
    if (t.wanted[!me] == l)
        give_turn();
}

void turns_wait(const uint32_t *word, uint32_t expected)
{
    while (at_load_relaxed(word) == expected)
        wait_for(word);
}

/* ---- Steps that are not atomic accesses ------------------------------------------------------ */

static void did(char what)
{
    size_t n = strlen(t.trace);
    if (!t.armed && n + 1 < sizeof(t.trace))
        t.trace[n] = what;
}

void turns_fence(void)
{
    turns_step();
    did('f');
    at_fence_acquire();
}

int turns_load64(const uint64_t *p, uint64_t *v)
{
    turns_step();
    did('l');
    return cm_guard_load64(p, v);
}

int turns_load_words(const uint64_t *p, uint64_t *v, size_t n)
{
    int e = 0;
    for (size_t i = 0; i < n && e == 0; i++) {
        turns_step();
        e = cm_guard_load64(p + i, v + i);
    }
    did('w');
    return e;
}

/* In two steps, as on x86: it looks for the tag, and loads the word once more. */
int turns_find(const uint64_t *line, uint64_t tag, uint64_t *word)
{
    uint64_t seen;
    turns_step();
    const int found = cm_guard_find(line, tag, &seen);
    if (found <= 0)
        return found;
    turns_step();
    return cm_guard_load64(line + at_lowest_bit((unsigned)found), word) == 0 ? found : CM_EIO;
}

int turns_copy(void *dst, const void *src, size_t n)
{
    turns_step();
    int e = cm_guard_copy(dst, src, n / 2);
    turns_step();
    if (e == 0)
        e = cm_guard_copy((uint8_t *)dst + n / 2, (const uint8_t *)src + n / 2, n - n / 2);
    did('c');
    return e;
}

static const struct cm_persist_ops *real_ops;

static int step_store64(void *ctx, uint64_t *p, uint64_t v)
{
    turns_step();
    return real_ops->store64(ctx, p, v);
}

static int step_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    turns_step();
    return real_ops->cas64(ctx, p, expected, desired);
}

static int step_write(void *ctx, void *dst, const void *src, size_t n)
{
    turns_step();
    return real_ops->write(ctx, dst, src, n);
}

static int step_copy(void *ctx, void *dst, const void *src, size_t n)
{
    turns_step();
    int e = real_ops->copy(ctx, dst, src, n / 2 / 64 * 64);
    turns_step();
    if (e == 0)
        e = real_ops->copy(ctx, (uint8_t *)dst + n / 2 / 64 * 64,
                           (const uint8_t *)src + n / 2 / 64 * 64, n - n / 2 / 64 * 64);
    return e;
}

static int step_flush(void *ctx, const void *p, size_t n)
{
    turns_step();
    return real_ops->flush(ctx, p, n);
}

static void step_fence(void *ctx)
{
    turns_step();
    real_ops->fence(ctx);
}

static struct cm_persist_ops step_ops;

/* From now on every persistent store, flush and fence of this cache is a step. */
void turns_begin_steps(struct cm_cache *c)
{
    step_ops = *c->media.ops;
    real_ops = c->media.ops;
    step_ops.store64 = step_store64;
    step_ops.cas64 = step_cas64;
    step_ops.write = step_write;
    step_ops.copy = step_copy;
    step_ops.flush = step_flush;
    step_ops.fence = step_fence;
    c->media.ops = &step_ops;
    t.cache = c;
}

void turns_end_steps(struct cm_cache *c)
{
    c->media.ops = real_ops;
    t.cache = NULL;
}
