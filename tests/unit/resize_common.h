/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize_common.h - for the tests of cm_resize(): a pool in a file, and what is in that file.
 */
#ifndef CM_RESIZE_COMMON_H
#define CM_RESIZE_COMMON_H

#include "fixture.h"

#include <unistd.h>

#include "../os.h"

extern const struct harness_test resize_carry_tests[], resize_order_tests[];
extern char dir[256], path[300]; /* the pool's directory, and the pool */
extern char made[340];           /* the new file while it has another name */

/* ---- Pools in files -------------------------------------------------------------------------- */

static inline cm_cache *up(void)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    o.probation_bytes = CM_PROBATION_NONE;
    o.policy = CM_POLICY_GCLOCK; /* every block is stored */
    CHECK_EQ(cm_open(path, &o, &c), 0);
    if (!c)
        exit(1);
    return c;
}

static inline void make(struct pool *p, uint64_t size, uint64_t files, uint32_t flags)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    (void)unlink(path);
    o.size = size;
    o.max_files = files;
    o.flags = flags;
    REQUIRE(cm_create(path, &o) == 0);
    memset(p, 0, sizeof(*p));
    p->c = up();
}

static inline void down(struct pool *p)
{
    CHECK_EQ(cm_close(p->c), 0);
    p->c = NULL;
}
#define down(...) CALL(down(__VA_ARGS__))

static inline cm_resize_report resize_to(uint64_t size, int result)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    o.size = size;
    CHECK_EQ(cm_resize(path, &o, &r), result);
    CHECK_EQ(os_size(made), -1);
    if (result == 0)
        CHECK_EQ(os_size(path), (int64_t)size);
    return r;
}

/* The new pool is sound. */
static inline void up_and_check(struct pool *p)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    p->c = up();
    CHECK_EQ(cm_check(p->c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.orphaned + r.stale_cells + r.bad_headers + r.torn_records, 0);
}
#define up_and_check(...) CALL(up_and_check(__VA_ARGS__))

static inline uint64_t count_hits(struct pool *p, uint64_t id, uint64_t blocks)
{
    cm_file *f = attach(p, id, blocks * BLK, 1, 0);
    uint64_t n = 0;
    for (uint64_t b = 0; b < blocks; b++) {
        const int got = look(f, b, id);
        CHECK(got == RIGHT || got == MISS);
        n += got == RIGHT;
    }
    detach(f);
    return n;
}

static inline void fill_file(struct pool *p, uint64_t id, uint64_t blocks)
{
    cm_file *f = attach(p, id, blocks * BLK, 1, 0);
    (void)put_all(f, 0, blocks, id);
    detach(f);
}

/* ---- The bytes of a closed pool ------------------------------------------------------------- */

static inline void patch(uint64_t at, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "rb+");
    CHECK(file && fseek(file, (long)at, SEEK_SET) == 0 && fwrite(bytes, 1, n, file) == n &&
          fclose(file) == 0);
}

/* Changes both superblocks of the closed pool. */
static inline void change_super(void (*change)(struct cm_super *sb))
{
    struct cm_super sb;
    FILE *file = fopen(path, "rb+");
    REQUIRE(file != NULL);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        CHECK_EQ(fseek(file, (long)(i * CM_SUPER_STRIDE), SEEK_SET), 0);
        CHECK_EQ(fread(&sb, 1, sizeof(sb), file), sizeof(sb));
        change(&sb);
        super_seal(&sb);
        CHECK_EQ(fseek(file, (long)(i * CM_SUPER_STRIDE), SEEK_SET), 0);
        CHECK_EQ(fwrite(&sb, 1, sizeof(sb), file), sizeof(sb));
    }
    CHECK_EQ(fclose(file), 0);
}

static inline struct cm_super super_now(void)
{
    struct cm_super sb = { 0 };
    FILE *file = fopen(path, "rb");
    CHECK(file && fread(&sb, 1, sizeof(sb), file) == sizeof(sb) && fclose(file) == 0);
    return sb;
}

#endif
