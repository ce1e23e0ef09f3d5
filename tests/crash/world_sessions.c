/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_sessions.c - how sessions end: by a close, with the process, with the power, by a
 * format; and what the next session finds.
 */
#include "world_parts.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "protocol/fill_buffered.h"
#include "protocol/lookup.h"
#include "media/file_table.h"

/* Opens the pool. What was cached durably must be there in the new session. */
static void open_warm(const struct floor *before)
{
    live_arena.used = 0;
    open_pool(before);
    for (int f = 0; f < FILES; f++) {
        if (is_attr_wrong(before, f, cm_object_of(w.file[f])->kept, attr_bit(f)) && !rec_failed())
            w.wrong = "a file is kept, or in a group, as nobody said last";
        for (unsigned i = 0; i < blocks_of(f); i++) {
            struct cm_key k = cm_region_key(
                cm_object_of(w.file[f]), cm_object_of(w.file[f])->incarnation, block_number(f, i));
            if (cm_lookup_cached(w.cache, &k) < before->must[f][i] && !rec_failed()) {
                w.wrong = "a stored block is lost in the next session";
                suspect(w.pool, f, i);
            }
        }
    }
}
static void close_pool(void)
{
    cm_cache *c = w.cache;
    gone();
    must(cm_close(c), "cm_close");
}
/* Stores the blocks that wait in DRAM first, which may evict others. */
static void settle(void)
{
    end_open(false);
    checkpoint();
    cm_fill_buffered_drain(w.cache);
    checkpoint();
}
void op_close(void)
{
    struct floor closed;
    settle();
    world_floor_closed(&closed);
    close_pool();
    checkpoint();
    w.floors[w.checkpoints - 1] = closed;
    open_warm(&closed);
    keep_all();
}
/* Another machine sees of the origin what was synced. *here: what this one sees, to come back to.
 * False: a change does not show in the times. */
static bool see_synced(struct snapshot *here)
{
    bool shows = true;
    copy_snapshot(here, &w.now);
    for (int f = 0; f < WRITTEN; f++) {
        struct ofile *o = &w.now.file[f];
        shows = shows && (!o->unsynced || o->stamp != o->synced_stamp);
        memcpy(o->data, o->synced, o->max);
        o->size = o->synced_size;
        o->stamp = o->synced_stamp;
        o->unsynced = o->failed = false;
    }
    w.now.tick++;
    mark();
    return shows;
}
static void see(struct snapshot *here)
{
    here->tick = w.now.tick;
    copy_snapshot(&w.now, here);
    mark();
    for (int f = 0; f < WRITTEN; f++)
        ofile_free(&here->file[f]);
}
/* What is done there. */
enum there { NOTHING, NAMELESS, FAILED, ATTACHED };
static void be_there(enum there what)
{
    struct snapshot here = { .hash = 0 };
    const int64_t wall = w.boot_wall;
    w.tangled = w.tangled || (w.was_nameless && what == FAILED);
    if (what == FAILED)
        must(cm_super_sync_failed(&w.cache->super, false), "cm_super_sync_failed");
    if (what != ATTACHED)
        return;
    if (see_synced(&here)) {
        w.boot_wall = w.now.tick * TICK_NS;
        attach_all(&nothing); /* stores nothing: the times may still be lost with this system */
        op_pool_checkpoint();
        w.boot_wall = wall;
    }
    see(&here);
}
/* The pool is used on another machine meanwhile. */
static void elsewhere(enum there what)
{
    settle();
    close_pool();
    checkpoint();
    const unsigned here = w.boot;
    const bool nameless = w.nameless;
    w.boot = UINT16_MAX; /* no boot of the sequence */
    w.nameless = false;
    live_arena.used = 0;
    must(open_cache(), "open elsewhere");
    be_there(what);
    close_pool();
    w.boot = here;
    w.nameless = nameless != (what == NAMELESS);
    w.was_nameless = w.was_nameless || w.nameless;
    checkpoint();
    live_arena.used = 0;
    open_pool(&nothing);
    keep_all();
}
void op_elsewhere(void)
{
    elsewhere(NOTHING);
}
/* Back here the system does not tell any more which boot it is, or does again. */
void op_elsewhere_nameless(void)
{
    elsewhere(NAMELESS);
}
/* An fsync of another file fails there. */
void op_elsewhere_failed(void)
{
    elsewhere(FAILED);
}
/* The files are there, too. */
void op_elsewhere_attached(void)
{
    elsewhere(ATTACHED);
}
/* From here on the system does not tell which boot it is, as in a container without /proc; the next
 * time it does again. */
void op_nameless(void)
{
    settle();
    close_pool();
    checkpoint();
    w.nameless = !w.nameless;
    w.was_nameless = true;
    live_arena.used = 0;
    open_pool(&nothing);
    keep_all();
}
/* As a close, but the system cannot write the pool back. Without syncs (DAX) that makes no
 * difference. */
void op_close_unsynced(void)
{
    settle();
    if (w.rules >= RULES_PAGECACHE)
        rec_fail_at(1);
    (void)cm_close(w.cache);
    rec_fail_at(0);
    gone();
    checkpoint();
    live_arena.used = 0;
    open_pool(&nothing);
}
void op_process_crash(void)
{
    struct floor before;
    world_floor_same_boot(&before);
    if (w.bracket && w.written) /* the next validator is of another version */
        memset(before.must[FILE_A], 0, sizeof(before.must[FILE_A]));
    cm_plat_file_close(&w.cache->file); /* the system drops its lock */
    gone();
    open_warm(&before);
}

uint32_t world_choice(struct rng *rng, uint64_t bias, uint32_t choices)
{
    uint32_t choice = (uint32_t)rng_below(rng, choices);
    return bias && rng_below(rng, 4) ? (bias == 1 ? 0 : choices - 1) : choice;
}

/* Sets the pool to what it may be if only a part of what is in doubt reached the media. `pages`:
 * most pages have reached it as a whole or not at all. */
static void lose_writes(struct rng *rng, bool pages)
{
    size_t n;
    const struct doubt *d = rep_doubts(&n);
    rng->s = w.seed ^ rep_hash_guaranteed();
    for (size_t i = 0; i < n; i++)
        rng->s ^= rep_hash_choice(i, d[i].choices - 1);
    uint64_t bias = rng_below(rng, 3), seed = rng->s;
    rep_image_begin(w.pool);
    for (size_t i = 0; i < n; i++) {
        struct rng page = { seed + d[i].at / BLOCK * UINT64_C(0x9e3779b97f4a7c15) };
        uint64_t how = pages ? rng_below(&page, 3) : 2;
        uint32_t choice = how == 0   ? 0
                          : how == 1 ? d[i].choices - 1
                                     : world_choice(rng, bias, d[i].choices);
        rep_choose(w.pool, i, choice);
    }
    rep_reset();
    memset(w.unsure, 0, sizeof(w.unsure)); /* all that is there now is durable */
}

/* Sets the pool to what a power cut may leave of it, and the origin, too. */
static void lose_power(void)
{
    struct rng rng;
    lose_writes(&rng, false);
    for (int f = 0; f < WRITTEN; f++)
        ofile_power_cut(&w.now.file[f], &rng);
    w.now.boot_tick = ++w.now.tick;
    w.boot_wall = w.now.boot_tick * TICK_NS;
    w.boot = ++w.now.boot;
    cm_plat_thread()->number++;
    mark();
}
/* The process crashes, and the system could not write the pool back. The system drops what did not
 * reach the media, and says so at the next sync, once. A process that gets this error from the open
 * tries again. Without syncs (DAX) this is a crash of the process. */
void op_write_back_failed(void)
{
    if (w.rules < RULES_PAGECACHE) {
        op_process_crash();
        return;
    }
    struct rng rng;
    cm_plat_file_close(&w.cache->file);
    gone();
    lose_writes(&rng, true);
    live_arena.used = 0;
    rec_fail_at(1);
    int e = open_cache();
    rec_fail_at(0);
    if (e) {
        live_arena.used = 0;
        e = open_cache();
    }
    must(e, "open after the error");
    attach_all(&nothing);
    /* Read them here: the images are judged in another boot, which empties the pool. */
    look_at_all();
}
/* The pool's volume loses its power, and is mounted anew in the same boot. The origin is on another
 * one, and loses nothing. */
void op_put_back(void)
{
    if (w.rules < RULES_PAGECACHE) {
        op_process_crash();
        return;
    }
    struct floor before;
    struct rng rng;
    world_floor(&before);
    if (w.bracket && w.written) /* the next validator is of another version */
        memset(before.must[FILE_A], 0, sizeof(before.must[FILE_A]));
    cm_plat_file_close(&w.cache->file);
    gone();
    lose_writes(&rng, false);
    w.mount--;
    cm_plat_thread()->number++;
    open_warm(&before);
    keep_all();
}
void op_power_cut(void)
{
    struct floor before;
    const bool checkpointed = at_load_relaxed(&w.cache->settling.on) == CM_SETTLING_ON;
    world_floor(&before);
    cm_plat_file_close(&w.cache->file);
    gone();
    lose_power();
    open_warm(&before);
    keep_all();
    if (w.rules >= RULES_PAGECACHE && !checkpointed && !w.cache->emptied && !rec_failed())
        w.wrong = "a pool in the page cache is kept after a power cut";
}
/* What is cached survives a power cut from now on, where the origin is synced. All that waits in
 * DRAM is wanted all the time, so it is stored first. */
void op_pool_checkpoint(void)
{
    for (uint32_t e = 0; e < w.cache->probation.entries; e++) {
        cm_probation_keep(&w.cache->probation, e);
        at_store_relaxed(&w.cache->probation.entry[e].seen, (uint8_t)1); /* by an earlier one */
    }
    must(cm_checkpoint(w.cache), "cm_checkpoint");
    if (w.rules >= RULES_PAGECACHE)
        keep_all();
}
static void format(void)
{
    w.now.file[FILE_A].failed = false; /* the new pool does not know of it */
    mark();
    checkpoint();
    w.floors[w.checkpoints - 1].unborn = true; /* until the format is done, there may be no pool */
    if (w.rules >= RULES_PAGECACHE) {
        cm_create_options o = CM_CREATE_OPTIONS_INIT;
        o.seal = seal_of_pools();
        o.size = w.bytes;
        o.flags = CM_CREATE_NAMES;
        rec_media(0, w.bytes, 0); /* a new file */
        (void)unlink(w.path);     /* a failed cm_create leaves no file */
        must(cm_create(w.path, &o), "cm_create");
    } else {
        format_pool();
    }
    checkpoint();
}
/* The pool is formatted over an old one. */
void op_format(void)
{
    end_open(false);
    close_pool();
    format();
    live_arena.used = 0;
    open_pool(&nothing);
}
static void damage(uint64_t offset, uint64_t value)
{
    rec_media(offset, 8, value);
    w.damaged++;
}
/* The media damages headers, cells and records of files that are not attached; then repair. */
void op_damage_repair(void)
{
    const struct cm_media *m = &w.cache->media;
    const struct cm_geometry *g = &m->geo;
    struct cm_key k =
        cm_region_key(cm_object_of(w.file[FILE_A]), cm_object_of(w.file[FILE_A])->incarnation, 0);
    cm_check_report c = { .struct_size = sizeof(c) };
    unsigned before = w.damaged;
    struct cm_cells cells;
    struct cm_header h;
    must(cm_index_load(m, &k, 0, &cells), "cells");
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) {
        uint64_t slot = cm_cell_slot(cells.cell[i]);
        if (cells.cell[i] == 0)
            damage(g->index_offset + (k.place.bucket[0] * CM_BUCKET_CELLS + i) * 8,
                   (UINT64_C(1) << CM_CELL_SLOT_BITS) - 1);
        else if (slot < g->slots && cm_slot_header(m, slot, &h) == CM_SLOT_HIT)
            damage(cm_format_header_at(g, slot) + offsetof(struct cm_header, xxh3), ~h.xxh3);
    }
    for (uint64_t p = 0; p < g->record_buckets * CM_RECORD_WAYS; p++) {
        struct cm_record r;
        bool whole;
        must(cm_record_at(m, p, &r, &whole), "record");
        if (whole && r.id.hi == STRANGERS)
            damage(g->record_offset + p * sizeof(r) + offsetof(struct cm_record, incarnation),
                   ~r.incarnation);
    }
    checkpoint();
    must(cm_check(w.cache, CM_CHECK_REPAIR, NULL, NULL, &c), "cm_check");
    /* In a pool without DAX that a crash has emptied or torn, headers whose check fails count as
     * left over. */
    bool left = w.rules >= RULES_PAGECACHE && (w.cache->super.now.epoch > 1 || w.cache->torn);
    if (c.dropped < w.damaged - before && !left)
        must(CM_EDAMAGED, "damage that repairing does not see");
}
static bool cached_for_sure(const struct cm_key *k)
{
    const struct cm_media *m = &w.cache->media;
    const struct cm_geometry *g = &m->geo;
    struct cm_cells cells;
    struct cm_header h;
    must(cm_index_load(m, k, 0, &cells) | cm_index_load(m, k, 1, &cells), "cells");
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        uint64_t slot = cm_cell_slot(cells.cell[i]);
        uint64_t cell =
            (k->place.bucket[i / CM_BUCKET_CELLS] * CM_BUCKET_CELLS + i % CM_BUCKET_CELLS) * 8;
        if (cm_index_match(m, k, cells.cell[i]) && cm_slot_header(m, slot, &h) == CM_SLOT_HIT &&
            cm_slot_is(&h, k) && !rep_doubtful(g->index_offset + cell, 8) &&
            !rep_doubtful(cm_format_header_at(g, slot), sizeof(h)))
            return true;
    }
    return false;
}

/* Is the record of the file in doubt, but for its intents and its state? The next session may write
 * the same again, which shows nothing. */
static bool record_doubtful(int f)
{
    const struct cm_object *file = cm_object_of(w.file[f]);
    const uint64_t at = w.cache->media.geo.record_offset + file->place * sizeof(struct cm_record);
    return file->place != CM_NO_PLACE &&
           (rep_doubtful(at, CM_RECORD_BODY_BYTES) ||
            rep_doubtful(at + offsetof(struct cm_record, since), CM_SINCE_WORDS * 8));
}

void world_trust_durable(void)
{
    for (int f = 0; f < FILES; f++)
        if (record_doubtful(f))
            memset(&w.kept_record[f], 0xff, sizeof(w.kept_record[f]));
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < blocks_of(f); i++) {
            struct cm_key k = cm_region_key(
                cm_object_of(w.file[f]), cm_object_of(w.file[f])->incarnation, block_number(f, i));
            if (cm_lookup_cached(w.cache, &k) > 0 && !cached_for_sure(&k))
                w.unsure[f][i] = true;
        }
}

void open_or_format(bool unborn)
{
    live_arena.used = 0;
    int e = open_cache();
    if (unborn && e) {
        format();
        live_arena.used = 0;
        e = open_cache();
    }
    must(e, "open after a crash");
}

void world_die(uint64_t m, bool unborn, bool power)
{
    if (w.cache)
        world_trust_durable();
    w.arm = 0;
    cm_plat_thread()->number++;
    copy_snapshot(&w.now, &w.past[m]);
    mark(); /* repeats that mark: the rest of the operation did not happen */
    if (power)
        lose_power();
    if (w.cache)
        cm_plat_file_close(&w.cache->file); /* the system drops its lock */
    gone();
    open_or_format(unborn);
    if (w.forgets)
        forget_closed_b();
    attach_all(&nothing);
    if (power)
        keep_all();
}
