/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checkpoint.c - makes a pool without DAX survive a crash of the system.
 *
 * Owns: the order of a checkpoint. It notes what is open in each attached file, and which records
 * are quiet. Then it syncs the whole pool. What was forgotten before it began is durable now. So it
 * clears the intents of regions that the origin holds durably, if nothing was open there when it
 * began and nothing has begun since. At last it syncs the file table, so that they are gone for
 * good. Until then an intent may come back, which costs a region and no more.
 *
 * The first checkpoint of a pool begins with the rule that writers sync their intents. Nothing that
 * was stored before is trusted then. The pool says that it is checkpointed when its first sync is
 * done.
 *
 * Locks: its own, which only checkpoints and closes take; then those of the files.
 * Who: api/.
 */
#include "protocol/checkpoint.h"

#include "media/file_table.h"
#include "state/file_record.h"
#include "state/region.h"
#include "state/settle.h"

/* Calls fn for each attached file, with its lock held. The files lock is held for one chain at a
 * time. A file that comes or goes meanwhile may be left out. */
static void each_file(struct cm_cache *c, void (*fn)(struct cm_object *f))
{
    for (uint32_t i = 0; i < c->file_chains; i++) {
        cm_lock_acquire(&c->files_lock);
        for (struct cm_object *f = c->file_hash[i]; f; f = f->next) {
            cm_lock_acquire(&f->lock);
            fn(f);
            cm_lock_release(&f->lock);
        }
        cm_lock_release(&c->files_lock);
    }
}

void cm_checkpoint_note_ends(struct cm_cache *c)
{
    each_file(c, cm_file_note_end);
}

/* ---- Quiet records --------------------------------------------------------------------------- */

static uint64_t record_words(const struct cm_cache *c)
{
    return (c->media.geo.record_buckets * CM_RECORD_WAYS + 63) / 64;
}

/* Files lock held. What is quiet now is forgotten durably after the sync. */
static void take_quiet(struct cm_cache *c)
{
    struct cm_settling *s = &c->settling;
    for (uint64_t i = 0; i < record_words(c); i++)
        if (s->quiet[i] != 0) {
            s->ready[i] |= s->quiet[i];
            s->quiet[i] = 0;
        }
}

/* Files lock held. Clears the intents of a record that nobody has touched since. */
static void clear_record(struct cm_cache *c, uint64_t place)
{
    struct cm_record r;
    bool whole;
    /* If it cannot be written, the intents stay, which is safe. */
    if (cm_record_at(&c->media, place, &r, &whole) == 0 && whole)
        (void)cm_record_write_intents(&c->media, place, r.incarnation, 0);
}

static void clear_ready(struct cm_cache *c)
{
    uint64_t *ready = c->settling.ready;
    for (uint64_t i = 0; i < record_words(c); i++) {
        if (at_load_relaxed(&ready[i]) == 0) /* decided below */
            continue;
        cm_lock_acquire(&c->files_lock);
        for (uint64_t left = ready[i]; left; left &= left - 1)
            clear_record(c, i * 64 + at_lowest_bit64(left));
        ready[i] = 0;
        cm_lock_release(&c->files_lock);
    }
}

/* ---- Steps ----------------------------------------------------------------------------------- */

void cm_checkpoint_begin(struct cm_cache *c)
{
    const uint64_t key = cm_media_key(&c->media);
    /* Now and then: it remembers a clock that is set back for a while. */
    (void)cm_file_boot_wall(c);
    if (c->settling.recorded != key) { /* the pool was emptied, or was just opened */
        each_file(c, cm_file_restore_record);
        c->settling.recorded = key;
    }
    cm_lock_acquire(&c->files_lock);
    cm_settle_check_begin(c);
    take_quiet(c);
    cm_lock_release(&c->files_lock);
    each_file(c, cm_region_check_begin);
}

void cm_checkpoint_end(struct cm_cache *c)
{
    cm_lock_acquire(&c->files_lock);
    cm_settle_check_end(c);
    cm_lock_release(&c->files_lock);
    each_file(c, cm_region_check_end);
    clear_ready(c);
}

/* The pool was never checkpointed. From here on everybody acts as if it had been. */
static void begin_settling(struct cm_cache *c)
{
    cm_lock_acquire(&c->files_lock);
    cm_settle_all_lost(c);
    at_store_relaxed(&c->settling.on, (uint32_t)CM_SETTLING_BEGUN);
    cm_lock_release(&c->files_lock);
    each_file(c, cm_region_unsettle);
}

/* The pool was synced, with result `e`. May that be believed? CM_EIO CM_EFORGET. */
static int judge_sync(struct cm_cache *c, uint64_t key, int e)
{
    cm_settle_drain(c);
    if (e == 0 && !cm_super_lost(&c->super))
        return cm_media_key(&c->media) == key ? 0 : CM_EIO; /* it was emptied meanwhile */
    e = cm_settle_failed(c);
    return e ? e : CM_EIO;
}

/* Syncs a part of the pool, or with 0, 0 all of it. CM_EIO CM_EFORGET. */
static int sync_part(struct cm_cache *c, uint64_t key, uint64_t offset, uint64_t len)
{
    return judge_sync(c, key, cm_plat_file_sync(&c->file, offset, len));
}

static int run(struct cm_cache *c)
{
    const struct cm_geometry *g = &c->media.geo;
    int e = cm_file_can_forget(c);
    if (e == 0 && cm_super_is_void(&c->super))
        e = CM_EIO; /* nothing survives this session */
    if (e)
        return e;
    if (at_load_relaxed(&c->settling.on) == CM_SETTLING_OFF)
        begin_settling(c);
    const uint64_t key = cm_media_key(&c->media);
    cm_checkpoint_begin(c);
    e = sync_part(c, key, 0, 0);
    if (e == 0 && at_load_relaxed(&c->settling.on) == CM_SETTLING_BEGUN) {
        e = cm_super_checkpointed(&c->super);
        if (e == CM_ESEAL)
            return e; /* nothing was written: the next checkpoint says it */
        if (e) {
            e = cm_settle_failed(c);
            return e ? e : CM_EIO;
        }
        at_store_relaxed(&c->settling.on, (uint32_t)CM_SETTLING_ON);
    }
    if (e == 0) {
        cm_checkpoint_end(c);
        e = sync_part(c, key, g->record_offset, g->record_buckets * CM_BLOCK_SIZE);
    }
    if (e == 0)
        cm_count(c, CM_STAT_checkpoints, 1);
    return e;
}

int cm_checkpoint_run(struct cm_cache *c)
{
    cm_lock_acquire(&c->settling.lock);
    const uint64_t began = cm_plat_now_ns();
    const int e = run(c);
    cm_count(c, CM_STAT_checkpoint_us, (cm_plat_now_ns() - began) / 1000);
    cm_lock_release(&c->settling.lock);
    return e;
}
