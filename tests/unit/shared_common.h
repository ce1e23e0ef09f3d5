/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shared_common.h - shared by the tests of readers of a pool that another cache owns.
 */
#ifndef CM_SHARED_COMMON_H
#define CM_SHARED_COMMON_H

#include "file_common.h"

#include "state/shared.h"

/* The tests of the other files. */
extern const struct harness_test shared_file_tests[], shared_more_tests[];

/* What happens once, before a superblock is read next (test_shared.c). */
extern void (*before_super)(void);

#define SHARED_SIZE (100 * BLK)

/* The owner has file 1 warm, 10 blocks; a reader has it, too. */
struct both {
    struct pool p;
    cm_cache *r;
    cm_file *f, *g; /* the owner's, the reader's */
    cm_validator v;
};

static inline cm_cache *reader_of(struct pool *p)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *r = NULL;
    o.flags = CM_OPEN_SHARED;
    CHECK_EQ(cm_open_memory(p->base, p->bytes, &o, &r), 0);
    return r;
}

static inline cm_file *attach_reader(cm_cache *r, uint64_t id, const cm_validator *v,
                                     uint32_t flags)
{
    struct pool as = { .c = r };
    return attach_v(&as, id, v, flags);
}

static inline bool both_up(struct both *b, uint32_t flags)
{
    memset(b, 0, sizeof(*b));
    b->v = val(SHARED_SIZE, 7);
    if (pool_new(&b->p, MIB))
        return false;
    b->r = reader_of(&b->p);
    b->f = warm(&b->p, 1, &b->v, flags);
    b->g = attach_reader(b->r, 1, &b->v, 0);
    return b->r != NULL;
}

/* The owner goes, whatever is left of it. */
static inline void both_end(struct both *b)
{
    if (b->p.c)
        (void)cm_close(b->p.c);
    b->p.c = NULL;
    pool_end(&b->p);
}

static inline void both_down(struct both *b)
{
    CHECK_EQ(cm_close(b->r), 0);
    pool_end(&b->p);
}

#endif
