/* SPDX-License-Identifier: BSD-2-Clause
 *
 * arm64.c - what a 64-bit ARM CPU offers for pool memory.
 *
 * Owns the detection of CPU features and the tables that lead to the routines of guard_arm64.S.
 *
 * DC CVAP writes a line back to the point of persistence. A CPU without DC CVAP uses DC CVAC, which
 * writes back to the point of coherency. On machines whose memory controller is inside the
 * power-fail domain, that point is the memory itself. Such a CPU can do no more.
 *
 * Who: persist/, state/.
 */
#include "persist/persist.h"

#include "platform/atomic.h"

#if defined(__aarch64__) && !defined(CM_TSAN)
#include <assert.h>

/* guard_arm64.S */
extern uint64_t cm_guard_line;
extern const char cm_guard_begin[], cm_guard_end[], cm_guard_landing[];
int cm_arm64_store64(void *ctx, uint64_t *p, uint64_t v);
int cm_arm64_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired);
int cm_arm64_write(void *ctx, void *dst, const void *src, size_t n);
int cm_arm64_nt(void *ctx, void *dst, const void *src, size_t n);
int cm_arm64_nt_cvap(void *ctx, void *dst, const void *src, size_t n);
int cm_arm64_nt_cvac(void *ctx, void *dst, const void *src, size_t n);
int cm_arm64_cvap(void *ctx, const void *p, size_t n);
int cm_arm64_cvac(void *ctx, const void *p, size_t n);
void cm_arm64_dsb(void *ctx);
void cm_arm64_dmb(void *ctx);
int cm_arm64_copy(void *dst, const void *src, size_t n);

static int arm64_flush_nothing(void *ctx, const void *p, size_t n)
{
    (void)ctx, (void)p, (void)n;
    return 0;
}

#define ARM64_OPS(flush_label, flush_fn, does_flush, copy_fn, fence_fn)                            \
    {                                                                                              \
        .flush_name = flush_label, .copy_name = "stnp", .flushes = does_flush,                     \
        .store64 = cm_arm64_store64, .cas64 = cm_arm64_cas64, .write = cm_arm64_write,             \
        .copy = copy_fn, .flush = flush_fn, .fence = fence_fn                                      \
    }

/* The best one is first. The first one needs PLAT_CPU_DCPOP. */
static const struct cm_persist_ops arm64_tables[] = {
    ARM64_OPS("dc cvap", cm_arm64_cvap, true, cm_arm64_nt_cvap, cm_arm64_dsb),
    ARM64_OPS("dc cvac", cm_arm64_cvac, true, cm_arm64_nt_cvac, cm_arm64_dsb),
    ARM64_OPS("none", arm64_flush_nothing, false, cm_arm64_nt, cm_arm64_dmb),
};

/* Until this call the line size is the architecture's minimum: that is correct, only slower. */
static void arm64_set_line(void)
{
    uint64_t ctr;

    __asm__("mrs %0, ctr_el0" : "=r"(ctr));
    at_store_relaxed(&cm_guard_line, (uint64_t)4 << (ctr >> 16 & 15)); /* DminLine: log2 of words */
}

const struct cm_persist_ops *cm_persist_variant(size_t i)
{
    const size_t first = (cm_plat_cpu_flags() & PLAT_CPU_DCPOP) != 0 ? 0 : 1;
    const size_t count = sizeof arm64_tables / sizeof arm64_tables[0] - first;

    arm64_set_line();
    return i < count ? &arm64_tables[first + i] : NULL;
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
        *name = "ldp";
    }
    return cm_arm64_copy;
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
typedef int persist_arm64_is_empty;
#endif
