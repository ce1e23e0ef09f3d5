/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quota_common.h - shared by the tests of quotas.
 */
#ifndef CM_QUOTA_COMMON_H
#define CM_QUOTA_COMMON_H

#include "fixture.h"

/* The tests of the other file. */
extern const struct harness_test quota_full_tests[];

#define G1 UINT32_C(0x80000001) /* numbers of groups are the program's */
#define G2 UINT32_C(7)

static inline void set_quota(struct pool *p, uint32_t group, uint64_t blocks)
{
    CHECK_EQ(cm_group_set_quota(p->c, group, blocks * BLK), 0);
}

static inline cm_file *attach_in(struct pool *p, uint64_t id, uint64_t blocks, uint32_t group)
{
    cm_file *f = attach(p, id, blocks * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(f, group), 0);
    return f;
}

/* Blocks of a group, as the library says. */
static inline uint64_t used(struct pool *p, uint32_t group)
{
    uint64_t has = 0, most = 0;
    CHECK_EQ(cm_group_usage(p->c, group, &has, &most), 0);
    CHECK_EQ(has % BLK, 0);
    return has / BLK;
}

#endif
