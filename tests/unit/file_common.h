/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_common.h - shared by the tests of attached files.
 */
#ifndef CM_FILE_COMMON_H
#define CM_FILE_COMMON_H

#include "fixture.h"

/* The tests of the other files. */
extern const struct harness_test file_dirty_tests[], file_size_tests[], file_failing_tests[],
    file_record_tests[], file_learn_tests[], file_ttl_tests[], file_regions_tests[],
    file_unwritable_tests[];

/* A pool whose stores the CPU flushes: a crash of the system keeps it, except for dirty files. */
static inline int dax_pool(struct pool *p)
{
    pool_make(p, MIB, 0);
    p->o.memory_durability = CM_DURABILITY_DAX;
    return pool_up(p);
}

#define NEED_DAX                                                                                   \
    if (!cpu_flushes())                                                                            \
    SKIP("no flush instruction in this build")

static inline void crash_and_boot(struct pool *p)
{
    pool_crash(p);
    pool_other_boot(p);
    (void)pool_up(p);
}

/* Attaches with a validator that may keep the file. Checks whether its first blocks were kept, and
 * detaches. (After a power cut a record is kept, and the regions that were written are not.) */
static inline void expect_kept(struct pool *p, uint64_t id, const cm_validator *v, bool kept)
{
    cm_file *f = attach_v(p, id, v, 0);
    CHECK(!kept || info_of(f).kept);
    CHECK_EQ(hits(f, 0, 10, id), kept ? 10 : 0);
    detach(f);
}
#define expect_kept(...) CALL(expect_kept(__VA_ARGS__)) /* its checks say who called */

static inline cm_file *warm(struct pool *p, uint64_t id, const cm_validator *v, uint32_t flags)
{
    cm_file *f = attach_v(p, id, v, flags);
    CHECK_EQ(put_all(f, 0, 10, id), 10);
    return f;
}

/* A new pool, and file 1 warm in it. */
static inline cm_file *warm_pool(struct pool *p, const cm_validator *v, uint32_t flags)
{
    CHECK_EQ(pool_new(p, MIB), 0);
    return warm(p, 1, v, flags);
}

static inline cm_validator fresh(cm_validator v)
{
    v.taken_at = later();
    return v;
}

static inline cm_sync sync_begin(cm_file *f)
{
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    return s;
}

static inline void write_and_end(cm_file *f)
{
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
}
#define write_and_end(...) CALL(write_and_end(__VA_ARGS__)) /* its checks say who called */

#endif
