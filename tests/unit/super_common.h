/* SPDX-License-Identifier: BSD-2-Clause
 *
 * super_common.h - a pair of superblocks without a pool.
 */
#ifndef CM_SUPER_COMMON_H
#define CM_SUPER_COMMON_H

#include "fixture.h"

/* The tests of the other files. */
extern const struct harness_test super_boots_tests[], super_steps_tests[];

struct pair {
    uint8_t *base;
    struct cm_media media;
    struct cm_superblocks s;
    uint32_t failed;
};

static inline void pair_make(struct pair *p)
{
    static const uint8_t uuid[16] = { 1, 2, 3 };
    memset(p, 0, sizeof(*p));
    p->base = map_bytes(2 * CM_SUPER_STRIDE);
    p->media.base = p->base;
    p->media.ops = cm_persist_choose(CM_FLUSH_NONE);
    p->s.media = &p->media;
    CHECK_EQ(cm_format_plan(64 * MIB, 0, 0, &p->media.geo), 0);
    cm_super_init(&p->s.now, &p->media.geo, uuid, 11, 12);
    CHECK_EQ(cm_super_format(&p->s), 0);
}

static inline struct cm_super *copy_of(struct pair *p, unsigned i)
{
    return (struct cm_super *)(void *)(p->base + i * CM_SUPER_STRIDE);
}

/* Equal, except for the number of the write and the sum? */
static inline bool same_super(const struct cm_super *a, const struct cm_super *b)
{
    struct cm_super x = *a, y = *b;
    x.seq = y.seq = x.xxh3 = y.xxh3 = 0;
    return memcmp(&x, &y, sizeof(x)) == 0;
}

static inline void pair_end(struct pair *p)
{
    unmap_bytes(p->base, 2 * CM_SUPER_STRIDE);
}

static inline void expect_read(struct pair *p, int code)
{
    struct cm_super sb;
    uint32_t damaged;
    int r = cm_super_read(p->base, &sb, &damaged);
    CHECK_EQ(r < 0 ? r : 0, code);
}

static inline void open_in_boot(struct pair *p, unsigned boot)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_DAX, .pid = 1 };
    bool emptied;
    memset(o.boot_id, (int)boot, sizeof(o.boot_id)); /* 0: unknown */
    CHECK_EQ(cm_super_open(&p->s, &o, &emptied), 0);
}
static inline void expect_failed(struct pair *p, bool any, bool unnamed)
{
    const struct cm_super_failed f = cm_super_failed(&p->s);
    CHECK_EQ(f.any, any);
    CHECK_EQ(f.unnamed, unnamed);
}

#endif
