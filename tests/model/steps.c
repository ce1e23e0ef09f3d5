/* SPDX-License-Identifier: BSD-2-Clause
 *
 * steps.c - the steps of turns.h that are not atomic accesses: locks, guarded loads, copies, and
 * stores to the pool. turns_steps.c and schedules_run.c say what happens at a step.
 */
#define TURNS_ITSELF
#include <string.h>

#include "state/cache_state.h"
#include "turns.h"
#include "weak.h"

/* ---- Locks ----------------------------------------------------------------------------------- */

void turns_acquire(struct cm_lock *l)
{
    turns_step();
    while (at_load_relaxed(&l->word) != 0)
        turns_wait_for(&l->word, 1);
    at_store_release(&l->word, 1);
    weak_locked(l);
}

bool turns_try(struct cm_lock *l)
{
    turns_step();
    if (at_load_relaxed(&l->word) != 0)
        return false;
    at_store_release(&l->word, 1);
    weak_locked(l);
    return true;
}

void turns_wait(const uint32_t *word, uint32_t expected)
{
    while (at_load_relaxed(word) == expected)
        turns_wait_for(word, expected);
}

/* ---- Loads and copies ------------------------------------------------------------------------ */

void turns_fence(void)
{
    turns_step();
    turns_did('f');
    at_fence_acquire();
    weak_fence_acquire();
}

void turns_fence_seq_cst(void)
{
    turns_step();
    at_fence_seq_cst();
    weak_fence_seq_cst();
}

static int load64(const uint64_t *p, uint64_t *v)
{
    const int e = cm_guard_load64(p, v);
    if (e == 0)
        weak_loaded(p, v, sizeof(*v), WEAK_GUARDED);
    return e;
}

int turns_load64(const uint64_t *p, uint64_t *v)
{
    turns_step();
    turns_did('l');
    return load64(p, v);
}

int turns_load_words(const uint64_t *p, uint64_t *v, size_t n)
{
    int e = 0;
    for (size_t i = 0; i < n && e == 0; i++) {
        turns_step();
        e = load64(p + i, v + i);
    }
    turns_did('w');
    return e;
}

/* In two steps, as on x86: it looks for the tag, and loads the word once more. */
int turns_find(const uint64_t *line, uint64_t tag, uint64_t *word)
{
    int found = 0;
    turns_step();
    for (unsigned i = 0; i < CM_CACHE_LINE / sizeof(*line); i++) {
        uint64_t v;
        if (load64(line + i, &v))
            return CM_EIO;
        found |= (int)(v >> CM_GUARD_TAG_SHIFT == tag) << i;
    }
    if (found == 0)
        return 0;
    turns_step();
    return load64(line + at_lowest_bit((unsigned)found), word) == 0 ? found : CM_EIO;
}

int turns_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n)
{
    for (size_t i = 0; i < n; i++, line += CM_CACHE_LINE / sizeof(*line)) {
        word[i] = 0;
        if (turns_find(line, hash[i] >> CM_GUARD_TAG_SHIFT, &word[i]) < 0)
            return CM_EIO;
    }
    return 0;
}

int turns_look_before(const uint64_t *header, size_t n, const uint64_t key[2], uint64_t *w0)
{
    size_t i;
    for (i = 0; i < n; i++) {
        uint64_t h[4];
        if (turns_load_words(header + i * 4, h, 4))
            return CM_EIO;
        if (!(h[0] & CM_GUARD_VALID) || h[1] != key[0] || h[2] != key[1] + i * CM_GUARD_NEXT)
            break;
        w0[i] = h[0];
    }
    return (int)i;
}

int turns_look_after(const uint64_t *header, size_t n, const uint64_t *w0)
{
    size_t i;
    for (i = 0; i < n; i++) {
        uint64_t again;
        if (turns_load64(header + i * 4, &again))
            return CM_EIO;
        if (again != w0[i])
            break;
    }
    return (int)i;
}

static int copy_out(void *dst, const void *src, size_t n)
{
    turns_step();
    const int e = cm_guard_copy(dst, src, n);
    if (e == 0)
        weak_copied_from(src, dst, n);
    return e;
}

int turns_copy(void *dst, const void *src, size_t n)
{
    int e = copy_out(dst, src, n / 2);
    if (e == 0)
        e = copy_out((uint8_t *)dst + n / 2, (const uint8_t *)src + n / 2, n - n / 2);
    turns_did('c');
    return e;
}

static const struct cm_persist_ops *real_ops;

static int step_store64(void *ctx, uint64_t *p, uint64_t v)
{
    turns_step();
    weak_storing(p, sizeof(v));
    const int e = real_ops->store64(ctx, p, v);
    weak_stored(p, sizeof(v), WEAK_RELEASE);
    return e;
}

static int step_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    turns_step();
    const uint64_t was = at_load_relaxed(p);
    weak_fence_seq_cst(); /* it is a full barrier */
    const int e = real_ops->cas64(ctx, p, expected, desired);
    weak_updated(p, &was, sizeof(was), WEAK_SEQ_CST);
    weak_fence_seq_cst();
    return e;
}

static int step_write(void *ctx, void *dst, const void *src, size_t n)
{
    turns_step();
    weak_copying_to(dst, n);
    const int e = real_ops->write(ctx, dst, src, n);
    weak_copied_to(dst, n, WEAK_RELAXED);
    return e;
}

static int copy_in(void *ctx, void *dst, const void *src, size_t n)
{
    turns_step();
    weak_copying_to(dst, n);
    const int e = real_ops->copy(ctx, dst, src, n);
    weak_copied_to(dst, n, WEAK_PAST);
    return e;
}

static int step_copy(void *ctx, void *dst, const void *src, size_t n)
{
    const size_t half = n / 2 / 64 * 64;
    int e = copy_in(ctx, dst, src, half);
    if (e == 0)
        e = copy_in(ctx, (uint8_t *)dst + half, (const uint8_t *)src + half, n - half);
    turns_flushed(dst, n); /* a non-temporal copy needs no other write-back */
    return e;
}

static int step_flush(void *ctx, const void *p, size_t n)
{
    turns_step();
    turns_flushed(p, n);
    return real_ops->flush(ctx, p, n);
}

static void step_fence(void *ctx)
{
    turns_step();
    real_ops->fence(ctx);
    weak_fence_release();
    turns_fenced();
}

static struct cm_persist_ops step_ops;

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
}

void turns_end_steps(struct cm_cache *c)
{
    c->media.ops = real_ops;
}
