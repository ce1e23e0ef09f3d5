/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_failing.h - media that fail and later work again.
 */
#ifndef CM_FILE_FAILING_H
#define CM_FILE_FAILING_H

#include "file_common.h"

static struct cm_persist_ops ops, real;
static const uint8_t *bad_from, *bad_to; /* writes that touch [bad_from, bad_to) fail */
static inline bool bad(const void *p, size_t n)
{
    return (const uint8_t *)p < bad_to && (const uint8_t *)p + n > bad_from;
}
static inline int bad_write(void *ctx, void *dst, const void *src, size_t n)
{
    return bad(dst, n) ? CM_EIO : real.write(ctx, dst, src, n);
}
static inline int bad_store(void *ctx, uint64_t *p, uint64_t v)
{
    return bad(p, 8) ? CM_EIO : real.store64(ctx, p, v);
}
static inline int bad_cas(void *ctx, uint64_t *p, uint64_t e, uint64_t v)
{
    return bad(p, 8) ? CM_EIO : real.cas64(ctx, p, e, v);
}

static inline void break_range(struct pool *p, uint64_t from, uint64_t to)
{
    ops = real = *p->c->media.ops;
    ops.write = bad_write;
    ops.store64 = bad_store;
    ops.cas64 = bad_cas;
    p->c->media.ops = &ops;
    bad_from = p->base + from;
    bad_to = p->base + to;
}

static inline void heal_elsewhere(struct pool *p)
{
    cm_file *g = attach(p, 9, 10 * BLK, 7, 0);
    cm_bracket w = begin_write(g, 0, BLK);
    CHECK(cm_write_end(g, &w, NULL) >= 0);
    detach(g);
    CHECK_EQ(pool_info(p->c).mode, CM_NORMAL);
}

#endif
