/* SPDX-License-Identifier: BSD-2-Clause
 *
 * count_ops.h - media whose operations are counted, and of which one fails. So a test can let each
 * step of a call fail, in turn, and see that the call says so and stops there.
 */
#ifndef CM_COUNT_OPS_H
#define CM_COUNT_OPS_H

#include "media/media.h"

static struct {
    const struct cm_persist_ops *real;
    struct cm_persist_ops ops;
    unsigned done;  /* operations so far, fences excepted */
    unsigned fails; /* the number of the one that fails, from 1 on; 0: none */
} count_ops;

static inline bool count_op(void)
{
    return ++count_ops.done == count_ops.fails;
}
static inline int count_store64(void *ctx, uint64_t *p, uint64_t v)
{
    return count_op() ? CM_EIO : count_ops.real->store64(ctx, p, v);
}
static inline int count_cas64(void *ctx, uint64_t *p, uint64_t old, uint64_t v)
{
    return count_op() ? CM_EIO : count_ops.real->cas64(ctx, p, old, v);
}
static inline int count_write(void *ctx, void *dst, const void *src, size_t n)
{
    return count_op() ? CM_EIO : count_ops.real->write(ctx, dst, src, n);
}
static inline int count_copy(void *ctx, void *dst, const void *src, size_t n)
{
    return count_op() ? CM_EIO : count_ops.real->copy(ctx, dst, src, n);
}
static inline int count_flush(void *ctx, const void *p, size_t n)
{
    return count_op() ? CM_EIO : count_ops.real->flush(ctx, p, n);
}

/* From here on operations are counted, and number `fails` fails. */
static inline void count_begin(struct cm_media *m, unsigned fails)
{
    count_ops.real = m->ops;
    count_ops.ops = *m->ops;
    count_ops.ops.store64 = count_store64;
    count_ops.ops.cas64 = count_cas64;
    count_ops.ops.write = count_write;
    count_ops.ops.copy = count_copy;
    count_ops.ops.flush = count_flush;
    count_ops.done = 0;
    count_ops.fails = fails;
    m->ops = &count_ops.ops;
}
/* How many there were. */
static inline unsigned count_end(struct cm_media *m)
{
    m->ops = count_ops.real;
    return count_ops.done;
}

#endif
