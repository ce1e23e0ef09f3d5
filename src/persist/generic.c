/* SPDX-License-Identifier: BSD-2-Clause
 *
 * generic.c - pool memory in plain C, for CPUs without a back end of their own and for
 * ThreadSanitizer, which cannot see into assembly.
 *
 * Owns: the C versions of the guarded routines. They have no guard: a fault ends the process. They
 * cannot write lines back either, so nothing that they store is durable on DAX. The only table is
 * called "none", and the pool reports that name.
 *
 * Every access to the pool is atomic, in words where both sides are aligned and in bytes otherwise.
 * So the deliberate race of an optimistic copy is no data race for the language or the sanitizer.
 * The accesses to the caller's own buffer are plain, so races there are reported.
 *
 * Who: persist.c, and tests, through persist.h.
 */
#include "persist/persist.h"

#include "platform/atomic.h"

#if defined(CM_TSAN) || (!defined(__x86_64__) && !defined(__aarch64__))
#include <assert.h>
#include <string.h>

static bool generic_aligned(const void *p)
{
    return (uintptr_t)p % sizeof(uint64_t) == 0;
}

int cm_guard_load64(const uint64_t *p, uint64_t *v)
{
    *v = at_load_seq_cst(p); /* seq_cst: it stays behind a pin (pin.h) */
    return 0;
}

int cm_guard_touch(const uint8_t *p)
{
    (void)at_load_relaxed(p);
    return 0;
}

int cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v[i] = at_load_seq_cst(&p[i]);
    }
    return 0;
}

int cm_guard_add64(uint64_t *p, uint64_t v)
{
    at_add_relaxed(p, v);
    return 0;
}

int cm_guard_add64_own(uint64_t *p, uint64_t v)
{
    at_store_relaxed(p, at_load_relaxed(p) + v);
    return 0;
}

int cm_guard_add64_own2(uint64_t *p, uint64_t v, uint64_t w)
{
    (void)cm_guard_add64_own(p, v);
    return cm_guard_add64_own(p + 1, w);
}

static int generic_copy_out(void *dst, const void *src, size_t n)
{
    uint8_t *d = dst;
    const uint8_t *s = src;

    for (; n > 0 && !generic_aligned(s); n--) {
        *d++ = at_load_relaxed(s++);
    }
    for (; n >= sizeof(uint64_t); n -= sizeof(uint64_t)) {
        const uint64_t word = at_load_relaxed((const uint64_t *)(const void *)s);

        memcpy(d, &word, sizeof word);
        d += sizeof word;
        s += sizeof word;
    }
    for (; n > 0; n--) {
        *d++ = at_load_relaxed(s++);
    }
    return 0;
}

static int generic_store64(void *ctx, uint64_t *p, uint64_t v)
{
    (void)ctx;
    at_store_release(p, v);
    return 0;
}

static int generic_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    (void)ctx;
    return at_cas_seq_cst(p, &expected, desired) ? 1 : 0;
}

static int generic_write(void *ctx, void *dst, const void *src, size_t n)
{
    const uint8_t *s = src;
    uint64_t *d = dst;
    uint64_t word;

    (void)ctx;
    assert(generic_aligned(dst) && n % sizeof word == 0);
    for (size_t i = 0; i < n / sizeof word; i++) {
        memcpy(&word, s + i * sizeof word, sizeof word);
        at_store_relaxed(&d[i], word);
    }
    return 0;
}

static int generic_copy_in(void *ctx, void *dst, const void *src, size_t n)
{
    assert((uintptr_t)dst % CM_CACHE_LINE == 0 && n % CM_CACHE_LINE == 0);
    return generic_write(ctx, dst, src, n);
}

static int generic_flush(void *ctx, const void *p, size_t n)
{
    (void)ctx, (void)p, (void)n;
    return 0;
}

#if defined(CM_TSAN) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored                                                                     \
    "-Wtsan" /* the sanitizer ignores fences; no proof rests on this one */
#endif
static void generic_fence(void *ctx)
{
    (void)ctx;
    at_fence_seq_cst();
}

static const struct cm_persist_ops generic_ops = {
    .flush_name = "none",
    .copy_name = "generic",
    .flushes = false,
    .store64 = generic_store64,
    .cas64 = generic_cas64,
    .write = generic_write,
    .copy = generic_copy_in,
    .flush = generic_flush,
    .fence = generic_fence,
};

const struct cm_persist_ops *cm_persist_variant(size_t i)
{
    return i == 0 ? &generic_ops : NULL;
}

cm_persist_copy_fn cm_persist_cached_copy(const struct cm_persist_ops *ops, size_t i,
                                          const char **name)
{
    (void)ops, (void)i, (void)name;
    return NULL;
}

cm_guard_copy_fn cm_guard_copy_variant(size_t i, const char **name)
{
    if (i != 0) {
        return NULL;
    }
    if (name != NULL) {
        *name = "generic";
    }
    return generic_copy_out;
}

bool cm_guard_code(struct cm_plat_guard_code *code)
{
    (void)code;
    return false;
}
#else
typedef int persist_generic_is_empty;
#endif
