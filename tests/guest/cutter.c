/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cutter.c - see cutter.h.
 *
 * Linked with --wrap=cm_persist_choose: the production code binds a table whose operations count
 * and then call the CPU's own.
 */
#include "cutter.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

#include "persist/persist.h"

#define PORT 0xf4 /* qemu's isa-debug-exit */

const struct cm_persist_ops *__real_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need);

static struct {
    const struct cm_persist_ops *cpu;
    struct cm_persist_ops table;
    uint64_t count, cut_at, part;
} k;

void cutter_cut(const char *why)
{
    dprintf(1, "cut: operation %llu, %s\n", (unsigned long long)k.count, why);
    tcdrain(1);
    if (ioperm(PORT, 1, 1) == 0)
        outb(1, PORT);
    perror("this is no guest that can be cut");
    _exit(1);
}

/* Is this the operation before, or in, which the power goes? */
static bool now(void)
{
    return ++k.count == k.cut_at;
}

static int cut_store64(void *ctx, uint64_t *p, uint64_t v)
{
    if (now())
        cutter_cut("before a store");
    return k.cpu->store64(ctx, p, v);
}

static int cut_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    if (now())
        cutter_cut("before a compare-and-swap");
    return k.cpu->cas64(ctx, p, expected, desired);
}

static int cut_write(void *ctx, void *dst, const void *src, size_t n)
{
    if (now()) {
        (void)k.cpu->write(ctx, dst, src, k.part % (n / 8) * 8);
        cutter_cut("in a write");
    }
    return k.cpu->write(ctx, dst, src, n);
}

static int cut_copy(void *ctx, void *dst, const void *src, size_t n)
{
    if (now()) {
        (void)k.cpu->copy(ctx, dst, src, k.part % (n / 64) * 64);
        cutter_cut("in a copy");
    }
    return k.cpu->copy(ctx, dst, src, n);
}

static int cut_flush(void *ctx, const void *p, size_t n)
{
    if (now())
        cutter_cut("before a flush");
    return k.cpu->flush(ctx, p, n);
}

static void cut_fence(void *ctx)
{
    if (now())
        cutter_cut("before a fence");
    k.cpu->fence(ctx);
}

const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need)
{
    const struct cm_persist_ops *cpu = __real_cm_persist_choose(need);
    if (k.cpu && k.cpu != cpu) {
        fprintf(stderr, "two kinds of pools in one program\n");
        abort();
    }
    k.cpu = cpu;
    k.table = (struct cm_persist_ops){ .flush_name = cpu->flush_name,
                                       .copy_name = cpu->copy_name,
                                       .flushes = cpu->flushes,
                                       .store64 = cut_store64,
                                       .cas64 = cut_cas64,
                                       .write = cut_write,
                                       .copy = cut_copy,
                                       .flush = cut_flush,
                                       .fence = cut_fence };
    return &k.table;
}

void cutter_arm(uint64_t n, uint64_t part)
{
    k.count = 0;
    k.cut_at = n;
    k.part = part;
}

uint64_t cutter_count(void)
{
    return k.count;
}
