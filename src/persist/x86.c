/* SPDX-License-Identifier: BSD-2-Clause
 *
 * x86.c - what an x86-64 CPU offers for pool memory.
 *
 * Owns: the tables that lead to the routines of guard_x86.S. Every CPU with x86-64 has SSE2 and
 * CLFLUSH, so there is always a table.
 *
 * Who: persist/, state/.
 */
#include "persist/persist.h"

#include "platform/atomic.h"

#if defined(__x86_64__) && !defined(CM_TSAN)
#include <assert.h>

#include "persist/cpu_x86.h"

/* guard_x86.S */
extern uint32_t cm_guard_avx;
extern const char cm_guard_begin[], cm_guard_end[], cm_guard_landing[];
int cm_x86_store64(void *ctx, uint64_t *p, uint64_t v);
int cm_x86_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired);
int cm_x86_write(void *ctx, void *dst, const void *src, size_t n);
int cm_x86_nt_sse2(void *ctx, void *dst, const void *src, size_t n);
int cm_x86_nt_avx2(void *ctx, void *dst, const void *src, size_t n);
int cm_x86_nt_avx512(void *ctx, void *dst, const void *src, size_t n);
int cm_x86_clwb(void *ctx, const void *p, size_t n);
int cm_x86_clflushopt(void *ctx, const void *p, size_t n);
int cm_x86_clflush(void *ctx, const void *p, size_t n);
void cm_x86_sfence(void *ctx);
int cm_x86_copy_sse2(void *dst, const void *src, size_t n);
int cm_x86_copy_avx2(void *dst, const void *src, size_t n);
int cm_x86_take_sse2(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                     uint64_t w2);
int cm_x86_take_avx2(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                     uint64_t w2);
int cm_x86_take_avx512(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                       uint64_t w2);
#ifndef _WIN32
int cm_x86_copy_rep(void *dst, const void *src, size_t n);
int cm_x86_take_rep(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                    uint64_t w2);
#endif

static int x86_flush_nothing(void *ctx, const void *p, size_t n)
{
    (void)ctx, (void)p, (void)n;
    return 0;
}

/* Every combination of a flush and a non-temporal copy, best first. CLWB leaves the line in the
 * cache. CLFLUSHOPT evicts it, but does not wait for the one before. CLFLUSH waits. */
#define X86_OPS(flush_label, flush_fn, does_flush, copy_label, copy_fn, features)                  \
    {                                                                                              \
        { .flush_name = (flush_label),                                                             \
          .copy_name = (copy_label),                                                               \
          .flushes = (does_flush),                                                                 \
          .store64 = cm_x86_store64,                                                               \
          .cas64 = cm_x86_cas64,                                                                   \
          .write = cm_x86_write,                                                                   \
          .copy = (copy_fn),                                                                       \
          .flush = (flush_fn),                                                                     \
          .fence = cm_x86_sfence },                                                                \
            (features)                                                                             \
    }
#define X86_COPIES(label, fn, flushes, features)                                                   \
    X86_OPS(label, fn, flushes, "avx512-nt", cm_x86_nt_avx512, (features) | CM_X86_AVX512),        \
        X86_OPS(label, fn, flushes, "avx2-nt", cm_x86_nt_avx2, (features) | CM_X86_AVX2),          \
        X86_OPS(label, fn, flushes, "sse2-nt", cm_x86_nt_sse2, (features))

static const struct {
    struct cm_persist_ops ops;
    uint32_t needs;
} x86_tables[] = {
    X86_COPIES("clwb", cm_x86_clwb, true, CM_X86_CLWB),
    X86_COPIES("clflushopt", cm_x86_clflushopt, true, CM_X86_CLFLUSHOPT),
    X86_COPIES("clflush", cm_x86_clflush, true, 0u),
    X86_COPIES("none", x86_flush_nothing, false, 0u),
};

static const struct {
    const char *name;
    cm_guard_copy_fn copy;
    uint32_t needs;
} x86_copies[] = {
#ifndef _WIN32
    { "rep movsb", cm_x86_copy_rep, CM_X86_STRINGS },
#endif
    { "avx2", cm_x86_copy_avx2, CM_X86_AVX2 },
    { "sse2", cm_x86_copy_sse2, 0u },
#ifndef _WIN32
    { "slow rep movsb", cm_x86_copy_rep, 0u }, /* so that tests run it on every CPU */
#endif
};

static const struct {
    const char *name;
    cm_guard_take_fn take;
    uint32_t needs;
} x86_takes[] = {
#ifndef _WIN32
    { "rep movsb", cm_x86_take_rep, CM_X86_STRINGS },
#endif
    { "avx512", cm_x86_take_avx512, CM_X86_AVX512 },
    { "avx2", cm_x86_take_avx2, CM_X86_AVX2 },
    { "sse2", cm_x86_take_sse2, 0u },
#ifndef _WIN32
    { "rep movsb", cm_x86_take_rep, 0u }, /* last where the CPU does not call it fast */
#endif
};

static uint32_t x86_features(void)
{
    const uint32_t features = cm_x86_features();

    /* Set this before any caller can find an AVX routine through these tables. */
    at_store_relaxed(&cm_guard_avx, (features & (CM_X86_AVX2 | CM_X86_AVX512)) != 0 ? 1u : 0u);
    return features;
}

const struct cm_persist_ops *cm_persist_variant(size_t i)
{
    const uint32_t features = x86_features();

    for (size_t t = 0; t < sizeof x86_tables / sizeof x86_tables[0]; t++) {
        if ((x86_tables[t].needs & ~features) == 0 && i-- == 0) {
            return &x86_tables[t].ops;
        }
    }
    return NULL;
}

cm_guard_copy_fn cm_guard_copy_variant(size_t i, const char **name)
{
    const uint32_t features = x86_features();

    for (size_t t = 0; t < sizeof x86_copies / sizeof x86_copies[0]; t++) {
        if ((x86_copies[t].needs & ~features) == 0 && i-- == 0) {
            if (name != NULL) {
                *name = x86_copies[t].name;
            }
            return x86_copies[t].copy;
        }
    }
    return NULL;
}

cm_guard_take_fn cm_guard_take_variant(size_t i, const char **name)
{
    const uint32_t features = x86_features();

    for (size_t t = 0; t < sizeof x86_takes / sizeof x86_takes[0]; t++) {
        if ((x86_takes[t].needs & ~features) == 0 && i-- == 0) {
            if (name != NULL) {
                *name = x86_takes[t].name;
            }
            return x86_takes[t].take;
        }
    }
    return NULL;
}

bool cm_guard_take_waits(cm_guard_take_fn take)
{
#ifdef _WIN32
    (void)take;
    return false;
#else
    return take == cm_x86_take_rep;
#endif
}

/* ---- Copies into a pool that nothing is flushed of ------------------------------------------- */

#ifndef _WIN32
static int x86_cached_rep(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx;
    return cm_x86_copy_rep(dst, src, n);
}
#endif

static int x86_cached_avx2(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx;
    return cm_x86_copy_avx2(dst, src, n);
}

static const struct {
    const char *name;
    cm_persist_copy_fn copy;
    uint32_t needs;
} x86_cached[] = {
#ifndef _WIN32
    { "rep movsb", x86_cached_rep, CM_X86_STRINGS },
#endif
    { "avx2", x86_cached_avx2, CM_X86_AVX2 },
};

/* Is it a table of this file that flushes nothing? */
static bool x86_flushes_nothing(const struct cm_persist_ops *ops)
{
    for (size_t t = 0; t < sizeof x86_tables / sizeof x86_tables[0]; t++) {
        if (&x86_tables[t].ops == ops) {
            return !ops->flushes;
        }
    }
    return false;
}

cm_persist_copy_fn cm_persist_cached_copy(const struct cm_persist_ops *ops, size_t i,
                                          const char **name)
{
    const uint32_t features = x86_features();

    if (!x86_flushes_nothing(ops)) {
        return NULL;
    }
    for (size_t t = 0; t < sizeof x86_cached / sizeof x86_cached[0]; t++) {
        if ((x86_cached[t].needs & ~features) == 0 && i-- == 0) {
            if (name != NULL)
                *name = x86_cached[t].name;
            return x86_cached[t].copy;
        }
    }
    return NULL;
}

bool cm_guard_code(struct cm_plat_guard_code *code)
{
    assert(code != NULL);
    code->begin = (uintptr_t)cm_guard_begin;
    code->end = (uintptr_t)cm_guard_end;
    code->landing = (uintptr_t)cm_guard_landing;
    return true;
}
#else
typedef int persist_x86_is_empty;
#endif
