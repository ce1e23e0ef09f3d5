/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checkpoint_common.h - shared by the tests of checkpoints.
 *
 * The pool "file" is memory. A sync copies its range to a second memory, the disk. So a power cut
 * can leave exactly what was synced, or also all that was stored.
 */
#ifndef CM_CHECKPOINT_COMMON_H
#define CM_CHECKPOINT_COMMON_H

#include "fixture.h"

#include <pthread.h>
#include <stdio.h>

#include "../os.h"
#include "state/region.h"
#include "state/settle.h"

#define POOL (2 * MIB)
#define REGION 256u /* blocks, in a file of this size */
#define SIZE (60 * MIB)

struct checkpoint_test {
    struct pool p;
    uint8_t *disk;
    char path[512];
    bool lasts, idle; /* the volume keeps what it syncs; syncs copy nothing */
    bool dead;        /* every sync fails */
    unsigned fail;    /* the n-th sync from now fails */
    unsigned skip;    /* the n-th sync from now copies nothing */
    unsigned syncs, mount;
    void (*at_sync)(uint64_t len); /* before a sync copies */
    void (*after_sync)(uint64_t len);
    void (*at_look)(void); /* once, before a reader looks for an owner */
    char said[512];        /* the last line of the log */
};
extern struct checkpoint_test t;

/* The tests of the other files. */
extern const struct harness_test checkpoint_failing_tests[], checkpoint_versions_tests[];

/* ---- Pools ----------------------------------------------------------------------------------- */

static inline void note_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)snprintf(t.said, sizeof(t.said), "%s", line);
}

static inline int file_up(void)
{
    t.p.o.log = note_log;
    return cm_open(t.path, &t.p.o, &t.p.c);
}

/* A formatted pool that is open, and all of it on the disk. */
static inline void file_pool_of(uint64_t max_files)
{
    memset(&t, 0, sizeof(t));
    t.lasts = true;
    t.mount = 1;
    pool_make(&t.p, POOL, max_files);
    t.disk = map_bytes(POOL);
    memcpy(t.disk, t.p.base, POOL);
    REQUIRE(os_make_file(t.path, sizeof(t.path), "checkpoint"));
    REQUIRE(os_resize(t.path, POOL) == 0);
    REQUIRE(file_up() == 0);
}

static inline void file_pool(void)
{
    file_pool_of(0);
}

/* The same, and checkpointed. */
static inline void checkpointed_pool(void)
{
    file_pool();
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
}

static inline void file_end(void)
{
    t.at_sync = t.after_sync = NULL;
    t.fail = 0;
    if (t.p.c)
        CHECK_EQ(cm_close(t.p.c), 0);
    t.p.c = NULL;
    unmap_bytes(t.disk, POOL);
    unmap_bytes(t.p.base, POOL);
    (void)remove(t.path);
}

/* What a crash leaves. SYNCED: what was synced, and nothing else. STORED: all that was stored. */
enum left { SYNCED, STORED };

static inline void end_owner(enum left left, bool other_boot)
{
    uint8_t *image = map_bytes(POOL);
    memcpy(image, left == SYNCED ? t.disk : t.p.base, POOL);
    t.idle = true; /* frees the session without a trace on the disk */
    for (uint32_t i = 0; i < t.p.c->file_chains; i++)
        for (struct cm_object *f = t.p.c->file_hash[i]; f; f = f->next)
            (void)cm_file_abort((cm_file *)(uintptr_t)f->handle);
    (void)cm_close(t.p.c);
    t.idle = false;
    unmap_bytes(t.p.base, POOL);
    t.p.base = image;
    if (other_boot)
        pool_other_boot(&t.p);
    memcpy(t.disk, image, POOL);
    t.p.c = NULL;
}
static inline void crash(enum left left, bool other_boot)
{
    end_owner(left, other_boot);
    REQUIRE(file_up() == 0);
}
#define power_cut(left) crash(left, true)

static inline int64_t page_syncs(void)
{
    return STAT(t.p.c, page_syncs);
}

/* Two blocks in each of the regions 0 to 2. */
static inline cm_file *three_regions(uint32_t flags)
{
    cm_file *f = attach(&t.p, 1, SIZE, 7, flags);
    CHECK_EQ(UINT64_C(1) << cm_object_of(f)->regions.shift, REGION);
    for (unsigned r = 0; r < 3; r++)
        CHECK_EQ(put_all(f, r * REGION, 2, 1), 2);
    return f;
}

/* A bit for each of the three regions whose blocks hit. */
static inline unsigned regions_hit(cm_file *f)
{
    unsigned hit = 0;
    for (unsigned r = 0; r < 3; r++)
        hit |= (unsigned)(hits(f, r * REGION, 2, 1) == 2) << r;
    return hit;
}

/* The file as its next owner finds it. */
static inline unsigned regions_kept(uint32_t flags)
{
    cm_file *f = attach(&t.p, 1, SIZE, 7, flags);
    const unsigned hit = regions_hit(f);
    detach(f);
    return hit;
}

/* Writes a block of a region, and adopts the same validator again: nobody else has written. */
static inline void write_in(cm_file *f, uint64_t block)
{
    cm_bracket w = begin_write(f, block * BLK, BLK);
    cm_validator v = val(SIZE, 7);
    v.taken_at = later();
    CHECK(cm_write_end(f, &w, &v) >= 0);
}

static inline void sync_origin(cm_file *f)
{
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
}

/* ---- Two threads that wait for each other ---------------------------------------------------- */

struct meeting {
    uint32_t step; /* atomic */
    cm_file *f;
};
extern struct meeting meet;
extern cm_file *changing; /* a file that a hook changes */

static inline void reach(uint32_t step)
{
    at_store_seq_cst(&meet.step, step);
    cm_plat_wake_all(&meet.step);
}
static inline void wait_for(uint32_t step)
{
    uint32_t now;
    while ((now = at_load_seq_cst(&meet.step)) < step)
        cm_plat_wait(&meet.step, now);
}
#endif
