/* SPDX-License-Identifier: BSD-2-Clause
 *
 * close.c - closes a pool.
 *
 * Owns: the order of a close: what waits in DRAM is stored, the whole pool is synced, and only then
 * the superblock says CLEAN.
 *
 * Who: users, through cachemax.h; api/.
 */
#include "api/cache.h"
#include "protocol/checkpoint.h"
#include "protocol/fill_buffered.h"
#include "state/keep.h"
#include "state/file_use.h"
#include "state/object.h"
#include "state/policy_sample.h"

static void say_if_deleted(struct cm_cache *c)
{
    uint64_t size;
    bool named = true;
    if (c->file.handle != -1 && cm_plat_file_state(&c->file, &size, &named) == 0 && !named)
        cm_log(c, CM_LOG_WARNING,
               "%s: the pool file was deleted while it was open: nothing of it is left", c->name);
}

/* Syncs the pool at a close. */
static int sync_all(cm_cache *c)
{
    int e;
    if (cm_settling(c))
        cm_checkpoint_begin(c);
    e = cm_plat_file_sync(&c->file, 0, 0);
    /* Did a sync of a superblock fail? The system tells a loss only once. */
    if (e == 0 && cm_super_lost(&c->super))
        e = CM_EIO;
    if (e || !cm_settling(c))
        return e;
    cm_checkpoint_end(c);
    return cm_plat_file_sync(&c->file, 0, 0); /* the intents that were cleared */
}

/* Makes the pool's last state durable. */
static int settle(cm_cache *c)
{
    int e = 0;
    struct cm_super_memo memo;
    if (cm_cache_mode(c) == CM_NORMAL)
        cm_fill_buffered_drain(c);
    cm_media_fence(&c->media); /* all flushes of this thread; other threads fenced their own */
    cm_sample_report(c);
    cm_file_use_note_all(c);
    cm_checkpoint_note_ends(c);
    /* What could not be forgotten must not come back. */
    if (at_load_relaxed(&c->broken))
        e = cm_cache_empty(c);
    /* The memo is a hint: if it cannot be written, the superblock does not name it, and the close
     * goes on. */
    if (e || cm_memo_write(&c->memo, cm_super_generation(&c->super), &memo))
        memset(&memo, 0, sizeof(memo));
    /* Data first, then CLEAN: a crash in between leaves OPEN. */
    if (e == 0 && c->super.sync)
        e = sync_all(c);
    if (cm_cache_whole(c))
        return CM_ETRUNCATED; /* it stays OPEN, and empty */
    cm_keep_end(c);
    if (e == 0)
        return cm_super_close(&c->super, at_load_relaxed(&c->policy.ring.frontier), &memo);
    /* Nobody knows which part was written: nothing may count. If a seal fails, it can be made void
     * all the same. */
    e = cm_cache_empty(c);
    if (e && (c->super.sync || e == CM_ESEAL)) {
        cm_super_void(&c->super);
        at_store_relaxed(&c->broken, CM_SAY_DONE); /* this line has the same advice */
        cm_log(c, CM_LOG_ERROR,
               "%s: what was cached cannot be made durable; the pool is void: delete it and create "
               "it anew",
               c->name);
    }
    return CM_EIO;
}

/* The same, or gives the space back of what is no pool any more: nobody has a block pinned now. */
static int settle_or_void(cm_cache *c)
{
    const int e = cm_super_is_zeroed(&c->super) ? CM_EIO : settle(c);
    if (cm_super_is_zeroed(&c->super)) /* perhaps only now */
        cm_super_void(&c->super);
    return e;
}

int cm_close(cm_cache *c)
{
    int e = cm_enter_cache(c);
    if (e)
        return e;
    if (at_load_acquire(&c->pinned) || at_load_acquire(&c->live) ||
        (!c->readonly && cm_files_busy(c)))
        return CM_EBUSY;
    if (!c->readonly && !c->shared) {
        e = settle_or_void(c);
        if (e == 0)
            cm_stats_end(&c->media, cm_plat_wall_ns());
        say_if_deleted(c);
        cm_report_trouble(c);
        if (e != CM_ETRUNCATED)
            cm_say_damage(c, true);
    }
    cm_cache_destroy(c);
    return e;
}
