/* SPDX-License-Identifier: BSD-2-Clause
 *
 * files_common.h - shared by the tests of what is cached.
 */
#ifndef CM_FILES_COMMON_H
#define CM_FILES_COMMON_H

#include "fixture.h"

/* The tests of the other files. */
extern const struct harness_test files_ranges_tests[], files_drop_tests[], files_use_tests[],
    files_name_tests[];

#define FAR (UINT64_C(1) << 40) /* a block far behind what a pool has slots for */

/* A file so long that the headers are read, not its blocks looked up. */
static inline cm_file *attach_wide(struct pool *p, uint64_t id)
{
    return attach(p, id, (FAR + 100) * BLK, 7, 0);
}

/* A pool, with a probation buffer or without, and file 1 in it: wide, or of `narrow` bytes. */
static inline cm_file *files_begin(struct pool *p, bool wide, bool buffer, uint64_t narrow)
{
    pool_make(p, MIB, 0);
    if (buffer)
        p->o.probation_bytes = 16 * BLK;
    CHECK_EQ(pool_up(p), 0);
    if (!wide)
        return attach(p, 1, narrow, 7, 0);
    cm_file *f = attach_wide(p, 1);
    CHECK_EQ(put(f, FAR + 9, 1), 0); /* something was cached so far behind */
    cm_bracket w = begin_write(f, (FAR + 9) * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    return f;
}

#endif
