/* SPDX-License-Identifier: BSD-2-Clause
 *
 * block_common.h - shared by the tests of blocks: bytes to fill with.
 */
#ifndef CM_BLOCK_COMMON_H
#define CM_BLOCK_COMMON_H

#include "fixture.h"

/* The tests of the other files. */
extern const struct harness_test block_damage_tests[], block_elsewhere_tests[], block_guess_tests[],
    block_media_tests[], block_slot_tests[], block_trouble_tests[];

static uint8_t data[16 * MIB];

static inline void make_data(uint64_t tag, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        content(tag, first + i, data + i * BLK);
}

static inline int fill(cm_file *f, const cm_miss *m, uint64_t tag, uint64_t len, uint32_t flags)
{
    make_data(tag, m->offset / BLK, (len + BLK - 1) / BLK);
    return cm_fill(f, m, data, (size_t)len, flags);
}

static inline cm_file *open_pool_and_file(struct pool *p, uint64_t bytes)
{
    (void)pool_new(p, bytes);
    return attach(p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
}

#endif
