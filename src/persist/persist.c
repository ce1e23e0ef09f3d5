/* SPDX-License-Identifier: BSD-2-Clause
 *
 * persist.c - chooses how this CPU accesses pool memory.
 *
 * Owns the choice. Its only state is one function pointer. The routines themselves are in the back
 * end of the CPU: x86.c, arm64.c or generic.c. Preprocessing leaves exactly one of these files not
 * empty. That one provides cm_persist_variant(), cm_guard_copy_variant(), cm_guard_code() and the
 * guarded loads of persist.h; x86.c also what finds a tag, and copies behind headers. Every module
 * may call it.
 *
 * Who: api/, protocol/, state/, media/.
 */
#include "persist/persist.h"

#include <assert.h>

#include "platform/atomic.h"

static int choose_copy(void *dst, const void *src, size_t n);

/* Chosen at the first copy. Several threads may choose at the same time. They all choose the same,
 * so a relaxed race to store it is harmless. It pairs with nothing. */
static cm_guard_copy_fn best_copy = choose_copy;

const struct cm_persist_ops *cm_persist_choose(enum cm_flush_need need)
{
    const struct cm_persist_ops *ops;

    assert(need == CM_FLUSH_LINES || need == CM_FLUSH_NONE);
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        if (ops->flushes == (need == CM_FLUSH_LINES)) {
            return ops;
        }
    }
    /* The CPU cannot write lines back. The caller sees in the table that nothing is flushed. */
    ops = cm_persist_variant(0);
    assert(ops != NULL);
    return ops;
}

/* What a process does that only reads the pool. */
static int refuse_store64(void *ctx, uint64_t *p, uint64_t v)
{
    (void)ctx, (void)p, (void)v;
    return CM_EIO;
}

static int refuse_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    (void)ctx, (void)p, (void)expected, (void)desired;
    return CM_EIO;
}

static int refuse_write(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx, (void)dst, (void)src, (void)n;
    return CM_EIO;
}

static int flush_nothing(void *ctx, const void *p, size_t n)
{
    (void)ctx, (void)p, (void)n;
    return 0;
}

static void fence_nothing(void *ctx)
{
    (void)ctx;
}

const struct cm_persist_ops *cm_persist_readonly(void)
{
    static const struct cm_persist_ops readonly = {
        .flush_name = "none",
        .copy_name = "none",
        .flushes = false,
        .store64 = refuse_store64,
        .cas64 = refuse_cas64,
        .write = refuse_write,
        .copy = refuse_write,
        .flush = flush_nothing,
        .fence = fence_nothing,
    };
    return &readonly;
}

/* The first copy. */
static int choose_copy(void *dst, const void *src, size_t n)
{
    cm_guard_copy_fn copy = cm_guard_copy_variant(0, NULL);

    at_store_relaxed(&best_copy, copy);
    return copy(dst, src, n);
}

int cm_guard_copy(void *dst, const void *src, size_t n)
{
    return at_load_relaxed(&best_copy)(dst, src, n);
}

cm_guard_take_fn cm_guard_take_choose(void)
{
    return cm_guard_take_variant(0, NULL);
}

#if !defined(__x86_64__) || defined(CM_TSAN)
/* What these back ends have no routine of their own for. */
int cm_guard_find(const uint64_t *line, uint64_t tag, uint64_t *word)
{
    uint64_t w[CM_CACHE_LINE / sizeof(uint64_t)];
    int found = 0;

    if (cm_guard_load_words(line, w, CM_CACHE_LINE / sizeof(uint64_t)) != 0) {
        return CM_EIO;
    }
    for (unsigned i = CM_CACHE_LINE / sizeof(uint64_t); i-- > 0;) {
        if (w[i] >> CM_GUARD_TAG_SHIFT == tag) {
            found |= 1 << i;
            *word = w[i];
        }
    }
    return found;
}

int cm_guard_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n)
{
    for (size_t i = 0; i < n; i++, line += CM_CACHE_LINE / sizeof(uint64_t)) {
        word[i] = 0;
        if (cm_guard_find(line, hash[i] >> CM_GUARD_TAG_SHIFT, &word[i]) < 0) {
            return CM_EIO;
        }
    }
    return 0;
}

int cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2], uint64_t *w0)
{
    uint64_t h[4];
    size_t i;

    for (i = 0; i < n; i++) {
        if (cm_guard_load_words(header + i * 4, h, 4) != 0) {
            return CM_EIO;
        }
        if ((h[0] & CM_GUARD_VALID) == 0 || h[1] != key[0] || h[2] != key[1] + i * CM_GUARD_NEXT) {
            break;
        }
        w0[i] = h[0];
    }
    return (int)i;
}

int cm_guard_look_after(const uint64_t *header, size_t n, const uint64_t *w0)
{
    uint64_t again;
    size_t i;

    for (i = 0; i < n; i++) {
        if (cm_guard_load64(header + i * 4, &again) != 0) {
            return CM_EIO;
        }
        if (again != w0[i]) {
            break;
        }
    }
    return (int)i;
}

cm_guard_take_fn cm_guard_take_variant(size_t i, const char **name)
{
    (void)i, (void)name;
    return NULL;
}

bool cm_guard_take_waits(cm_guard_take_fn take)
{
    (void)take;
    return false;
}
#endif

bool cm_guard_available(void)
{
    struct cm_plat_guard_code code;

    return cm_guard_code(&code);
}

int cm_guard_add(const void *base, size_t len)
{
    struct cm_plat_guard_code code;

    if (!cm_guard_code(&code)) {
        return 0;
    }
    assert(code.begin <= code.landing && code.landing < code.end);
    return cm_plat_guard_add(base, len, &code);
}

void cm_guard_remove(const void *base)
{
    if (cm_guard_available()) {
        cm_plat_guard_remove(base);
    }
}
