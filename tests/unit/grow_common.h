/* SPDX-License-Identifier: BSD-2-Clause
 *
 * grow_common.h - for the tests of pools that grow while they are open.
 */
#ifndef GROW_COMMON_H
#define GROW_COMMON_H

#include "fixture.h"

#include <unistd.h>

#include "../os.h"
#include "media/superblock.h"

#define FILE_BYTES (64 * MIB) /* of every file: more than is stored of most */

extern const struct harness_test grow_failing_tests[], grow_index_tests[], grow_readers_tests[];

/* test_grow.c */
extern char grow_dir[256], path[300], said[512]; /* said: the last line that was logged */
extern int said_level;
/* The same pools in each run: which blocks find their buckets full is no luck. */
extern uint64_t random_state;
/* Runs in the middle of a growth: the index is copied, and does not count yet. */
extern void (*in_the_middle)(struct pool *p, cm_file *f);
extern struct pool *middle_pool;
extern void (*before_part)(void); /* before a part counts */
extern cm_file *middle_file;
extern bool half_the_room; /* the volume has room for a half of what is wanted */
extern bool fail_settle;   /* the sync of the new part's tables fails */

/* Several threads may log. */
static inline void keep_text(void *ctx, int level, const char *text)
{
    static struct cm_lock lock;
    (void)ctx;
    cm_lock_acquire(&lock);
    said_level = level;
    (void)snprintf(said, sizeof(said), "%s", text);
    cm_lock_release(&lock);
}

static inline int try_up(struct pool *p, uint64_t grow_max)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    o.policy = CM_POLICY_GCLOCK; /* every block is stored */
    o.grow_max = grow_max;
    o.log = keep_text;
    p->c = NULL;
    return cm_open(path, &o, &p->c);
}

static inline void up(struct pool *p, uint64_t grow_max)
{
    CHECK_EQ(try_up(p, grow_max), 0);
    if (!p->c)
        exit(1);
}

static inline void make(struct pool *p, uint64_t size, uint64_t grow_max)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    (void)unlink(path);
    random_state = 1;
    o.size = size;
    REQUIRE(cm_create(path, &o) == 0);
    memset(p, 0, sizeof(*p));
    up(p, grow_max);
}

static inline void down(struct pool *p)
{
    CHECK_EQ(cm_close(p->c), 0);
    p->c = NULL;
}
#define down(...) CALL(down(__VA_ARGS__))

static inline void is_sound(struct pool *p)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    CHECK_EQ(cm_check(p->c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.bad_payload + r.duplicates + r.unreadable, 0);
    CHECK_EQ(r.orphaned + r.bad_headers + r.bad_cells + r.torn_records, 0);
    CHECK_EQ(r.slots, cm_media_slots(&p->c->media));
}
#define is_sound(...) CALL(is_sound(__VA_ARGS__))

/* Stores so many blocks of a new file; all of them are there. */
static inline cm_file *fill_file(struct pool *p, uint64_t id, uint64_t blocks)
{
    cm_file *f = attach(p, id, FILE_BYTES, 1, 0);
    (void)put_all(f, 0, blocks, id);
    return f;
}

static inline cm_grow_report grow_to(struct pool *p, uint64_t size)
{
    cm_grow_report r = CM_GROW_REPORT_INIT;
    CHECK_EQ(cm_grow(p->c, size, &r), 0);
    CHECK_EQ(r.new_size, size);
    CHECK_EQ(pool_info(p->c).size, size);
    CHECK_EQ(pool_info(p->c).slots, r.new_slots);
    return r;
}

/* A pool in memory, with room behind it. `p` is the one that was formatted. */
static inline void in_memory_of(struct pool *p, struct pool *big, uint64_t small, uint64_t bytes)
{
    pool_make(p, small, 0);
    memset(big, 0, sizeof(*big));
    big->bytes = bytes;
    big->base = map_bytes(big->bytes);
    memcpy(big->base, p->base, (size_t)p->bytes);
    big->o = p->o;
    big->o.grow_max = bytes;
    CHECK_EQ(cm_open_memory(big->base, p->bytes, &big->o, &big->c), 0);
}

static inline void in_memory(struct pool *p, struct pool *big, uint64_t bytes)
{
    in_memory_of(p, big, 4 * MIB, bytes);
}

#endif
