/* SPDX-License-Identifier: BSD-2-Clause
 *
 * check.c - verifies a whole pool, online or read-only, and repairs it by dropping.
 *
 * Owns: no state. Every slot, cell and record is looked at once through the same functions that
 * serve reads, so "sound" means what a reader would find. Repair only drops: blocks through
 * cm_step_drop (the full protocol), the rest by clearing it.
 *
 * A pool that was emptied by a new epoch still holds the old epoch's bytes. Their checks are right
 * for an earlier epoch. So they are recognised, and are not damage.
 *
 * Who: users, through cachemax.h.
 */
#include <string.h>

#include "api/cache.h"
#include "protocol/steps.h"
#include "state/file_record.h"
#include "media/file_table.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define OLD_EPOCHS 16u       /* how far back left-overs are recognised */
#define PROGRESS_EVERY 4096u /* records, buckets, pages or slots between two calls of progress */

struct check {
    struct cm_cache *c;
    bool repair, payload;
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx; /* of progress */
    bool canceled;
    cm_check_report *r;
    uint64_t slots; /* to be looked at */
    uint64_t old_key[OLD_EPOCHS];
    unsigned old_keys;
    uint64_t first, each; /* of the index that is looked at: first bucket, buckets of a stripe */
};

/* Before record, bucket, page or slot i. No lock is held. False: the caller has cancelled. */
static bool goes_on(struct check *k, uint64_t i)
{
    if (k->progress && !k->canceled && i % PROGRESS_EVERY == 0)
        k->canceled = k->progress(k->ctx, k->r->slots, k->slots) != 0;
    return !k->canceled;
}

static void learn_old_keys(struct check *k)
{
    const struct cm_super *sb = &k->c->super.now;
    for (uint64_t e = sb->epoch; e > 1 && k->old_keys < OLD_EPOCHS; e--)
        k->old_key[k->old_keys++] = cm_format_check_key(sb->uuid, e - 1);
}

/* Did a crash of the system leave blocks of this epoch? If the pool is only read, what the next
 * open will find counts, too. */
static bool torn_boots(const struct check *k)
{
    const struct cm_super *sb = &k->c->super.now;
    return sb->torn_epoch == sb->epoch ||
           (k->c->readonly && sb->durability == CM_DURABILITY_CHECKPOINT &&
            sb->state != CM_SUPER_CLEAN);
}

/* After an OS crash the bytes of the page cache are in any state. They stay there when the pool is
 * emptied, and also when it is kept. Then bytes whose check is wrong may be old or damaged. They
 * are harmless either way. */
static bool torn_leftovers(const struct check *k)
{
    const struct cm_super *sb = &k->c->super.now;
    return (sb->epoch > 1 && sb->durability != CM_DURABILITY_DAX) || torn_boots(k);
}

static bool old_header(const struct check *k, uint64_t slot, const struct cm_header *h)
{
    if (torn_leftovers(k))
        return true;
    for (unsigned i = 0; i < k->old_keys; i++)
        if (cm_format_header_ok(k->old_key[i], slot, h))
            return true;
    return false;
}

static bool old_record(const struct check *k, uint64_t place, const struct cm_record *r)
{
    if (torn_leftovers(k))
        return true;
    uint64_t sum;
    for (unsigned i = 0; i < k->old_keys; i++)
        if (cm_record_sum(&k->c->media, k->old_key[i], place, r, &sum) || r->xxh3 == sum)
            return true; /* also if a seal failed: it may be an old one */
    return false;
}

/* Does a cell lead from the key to the slot with this header? *second: it is in the second bucket.
 * *twice: another cell leads to a second copy; of two copies, this is said of the one in the higher
 * slot. */
static bool reachable(struct check *k, const struct cm_key *key, uint64_t slot,
                      const struct cm_header *its, bool *twice, bool *second)
{
    const struct cm_media *m = &k->c->media;
    struct cm_cells cells;
    struct cm_header h;
    bool found = false;
    *twice = *second = false;
    if (cm_index_load(m, key, 0, &cells) || cm_index_load(m, key, 1, &cells))
        return false;
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        if (!cm_index_match(m, key, cells.cell[i]))
            continue;
        uint64_t s = cm_cell_slot(cells.cell[i]);
        if (s == slot && !found) {
            found = cm_slot_leads(cells.cell[i], its, key);
            *second = i >= CM_BUCKET_CELLS;
        } else if (s < slot && cm_slot_header(m, s, &h) == CM_SLOT_HIT &&
                   cm_slot_leads(cells.cell[i], &h, key)) {
            *twice = true;
        }
    }
    return found;
}

static void repair_block(struct check *k, uint64_t slot, const struct cm_key *key, uint64_t w0)
{
    if (!k->repair)
        return;
    cm_step_drop(k->c, slot, key, w0);
    k->r->dropped++;
}

/* May a crash of the system have left the block as it is? */
static bool was_torn(const struct check *k, const struct cm_header *h)
{
    return torn_boots(k) && cm_header_boot(h) != (uint8_t)k->c->super.now.boot_number;
}

static void check_block(struct check *k, uint64_t slot, const struct cm_header *h)
{
    const struct cm_media *m = &k->c->media;
    uint8_t data[CM_BLOCK_SIZE];
    uint32_t got;
    uint64_t w0 = 0;
    struct cm_key key = cm_key_stored(m, h->incarnation, cm_header_block(h));
    bool twice, second;
    if (!reachable(k, &key, slot, h, &twice, &second)) {
        k->r->orphaned++;
        return;
    }
    k->r->valid++;
    k->r->second_bucket += second;
    const bool torn = was_torn(k, h);
    if (twice) {
        *(torn ? &k->r->torn : &k->r->duplicates) += 1;
        repair_block(k, slot, &key, h->w0);
        return;
    }
    if (!k->payload)
        return;
    const struct cm_part whole = { 0, CM_BLOCK_SIZE, data };
    enum cm_slot_verdict v =
        cm_slot_read(m, slot, &key, cm_header_boot(h), &whole, true, &got, &w0);
    if (v == CM_SLOT_UNREADABLE) {
        k->r->unreadable++;
        if (k->repair) /* out of use, not repaired: it stays counted as damage */
            cm_step_quarantine(k->c, slot, &key);
    } else if (v == CM_SLOT_BAD_SUM) {
        *(torn ? &k->r->torn : &k->r->bad_payload) += 1;
        repair_block(k, slot, &key, w0);
    } /* else the block is sound, or it has changed meanwhile and is not judged */
}

/* A block is newer than the superblock: empties the pool. true: the block is void now. */
static bool disbelieve(struct check *k, uint64_t key)
{
    if (k->c->readonly) {
        k->r->would_empty = 1;
        return false;
    }
    if (cm_file_disbelieve(k->c, key))
        return false;
    k->old_keys = 0;
    learn_old_keys(k);
    return true;
}

static void check_slot(struct check *k, uint64_t slot)
{
    const struct cm_media *m = &k->c->media;
    struct cm_header h;
    uint64_t key = cm_media_key(m);
    k->r->slots++;
    enum cm_slot_verdict v = cm_slot_header(m, slot, &h);
    if (v == CM_SLOT_UNREADABLE) {
        k->r->unreadable += !cm_slot_is_hole(m, slot);
        return;
    }
    if (v == CM_SLOT_HIT &&
        !(cm_super_is_older(&k->c->super, cm_incarnation_number(h.incarnation)) &&
          disbelieve(k, key))) {
        check_block(k, slot, &h);
        return;
    }
    if (!(h.w0 & CM_W0_VALID) || old_header(k, slot, &h))
        return;
    /* Online a header may be read between the stores of two of its words: read it again before
     * judging. */
    if (cm_slot_header(m, slot, &h) != CM_SLOT_OTHER || !(h.w0 & CM_W0_VALID))
        return;
    k->r->bad_headers++;
    if (k->repair && cm_slot_invalidate(m, slot, h.w0) == 1 && cm_slot_flush(m, slot) == 0)
        k->r->dropped++; /* no reader believed it, so no cell has to go first */
    /* Repaired or not, no lookup believes the block: it is gone, for the shares and the kept slots
     * as well. */
    cm_ring_vacated(&k->c->policy.ring, slot);
}

static void check_cell(struct check *k, uint64_t bucket, unsigned i, uint64_t cell)
{
    const struct cm_media *m = &k->c->media;
    uint64_t slot = cm_cell_slot(cell);
    struct cm_header h;
    if (slot >= cm_media_slots(m)) {
        k->r->bad_cells++;
        if (!k->repair)
            return;
        struct cm_stripe *s = cm_stripe_at(k->c, (bucket - k->first) / k->each);
        cm_lock_acquire(&s->lock);
        uint64_t now[CM_BUCKET_CELLS];
        if (cm_index_load_bucket(m, bucket, now) == 0 && now[i] == cell &&
            cm_index_store_bucket(m, bucket, i, 0) == 0 && cm_index_flush_bucket(m, bucket, i) == 0)
            k->r->dropped++;
        cm_lock_release(&s->lock);
        return;
    }
    if (cm_slot_header(m, slot, &h) == CM_SLOT_HIT) {
        struct cm_key key = cm_key_stored(m, h.incarnation, cm_header_block(&h));
        if (key.place.tag == cm_cell_tag(cell) && cm_header_boot(&h) == cm_cell_boot(cell) &&
            (key.place.bucket[0] == bucket || key.place.bucket[1] == bucket))
            return;
    }
    k->r->stale_cells++;
}

static void check_index(struct check *k)
{
    const struct cm_media *m = &k->c->media;
    uint64_t cell[CM_BUCKET_CELLS];
    const uint64_t index = cm_media_index(m); /* if the pool grows meanwhile: what it grew from */
    k->first = cm_index_first(index);
    k->each = cm_index_stripe_buckets(index);
    for (uint64_t i = 0; i < m->geo.stripes * k->each && goes_on(k, i); i++) {
        const uint64_t b = k->first + i;
        if (cm_index_load_bucket(m, b, cell)) {
            k->r->unreadable += !cm_index_is_hole(m, b);
            continue;
        }
        for (unsigned n = 0; n < CM_BUCKET_CELLS; n++)
            if (cell[n] != 0)
                check_cell(k, b, n, cell[n]);
    }
}

/* The record of an attached file may be in the middle of a rewrite. */
static bool in_use(const struct cm_cache *c, uint64_t place)
{
    return c->open_places && cm_file_place_is_open(c, place);
}

static void check_records(struct check *k)
{
    const struct cm_media *m = &k->c->media;
    struct cm_record r;
    bool whole;
    for (uint64_t p = 0; p < m->geo.record_buckets * CM_RECORD_WAYS && goes_on(k, p); p++) {
        const int e = cm_record_at(m, p, &r, &whole);
        if (e == CM_ESEAL) /* check_pool() says so */
            continue;
        if (e) {
            k->r->unreadable += !cm_record_is_hole(m, p);
            continue;
        }
        if (whole)
            k->r->records++;
        /* Sum zero: dropped on purpose. */
        if (whole || (r.id.hi | r.id.lo) == 0 || r.xxh3 == 0 || old_record(k, p, &r))
            continue;
        /* While it is held no file is attached anew, so none takes the place. */
        cm_lock_acquire(&k->c->files_lock);
        if (!in_use(k->c, p)) {
            k->r->torn_records++;
            /* Maybe only this record says that an fsync failed in this boot. */
            if (k->repair && (r.flags & CM_RECORD_SYNC_FAILED) && cm_super_failed(&k->c->super).any)
                (void)cm_super_sync_failed(&k->c->super, false);
            if (k->repair && cm_record_drop(m, p) == 0)
                k->r->dropped++;
        }
        cm_lock_release(&k->c->files_lock);
    }
}

/* What the policy keeps is a hint: nothing in it can be wrong, but it can be unreadable. */
static void check_memo(struct check *k)
{
    const struct cm_media *m = &k->c->media;
    const uint64_t pages = at_load_relaxed(&m->geo.memo_pages);
    for (uint64_t i = 0; i < pages && goes_on(k, i); i++)
        k->r->unreadable += !cm_memo_readable(m, i);
}

/* CM_DAMAGED: more is wrong than was dropped. */
static int judge(const struct check *k)
{
    const cm_check_report *r = k->r;
    const uint64_t damage =
        r->bad_headers + r->bad_payload + r->unreadable + r->bad_cells + r->duplicates;
    if (r->would_empty)
        return 0;
    /* A crash may leave a torn record and one torn superblock copy. Neither is used, so they are no
     * damage. But a torn record is among those that were dropped. */
    const uint64_t cut_short = r->torn_records + r->torn;
    const bool left = k->repair ? damage + cut_short > r->dropped : damage > 0;
    return left ? CM_DAMAGED : 0;
}

static int check_pool(struct check *k)
{
    struct cm_cache *c = k->c;
    const uint32_t failures = cm_seal_failures(&c->sealing);
    k->r->superblocks_damaged = c->super.damaged;
    k->r->would_empty = c->must_empty;
    k->slots = cm_media_slots(&c->media);
    learn_old_keys(k);
    check_records(k);
    check_index(k);
    check_memo(k);
    k->slots = cm_media_slots(&c->media); /* the pool may have grown meanwhile */
    for (uint64_t s = 0; s < k->slots && goes_on(k, s); s++)
        check_slot(k, s);
    if (k->progress && !k->canceled)
        (void)k->progress(k->ctx, k->slots, k->slots);
    if (k->repair)
        cm_media_fence(&c->media); /* what was dropped stays dropped */
    if (k->canceled)
        return CM_ECANCELED;
    if (cm_seal_failures(&c->sealing) != failures)
        return CM_ESEAL; /* what it covers was not judged */
    return judge(k);
}

/* ---- The public call ------------------------------------------------------------------------- */

struct check_call {
    struct check check;
    struct cm_callback frame;
    int result;
};

static void run_check(void *arg)
{
    struct check_call *k = arg;
    k->result = check_pool(&k->check);
}

static void end_check(void *arg)
{
    cm_callback_end(&((struct check_call *)arg)->frame);
}

int cm_check(cm_cache *c, uint32_t flags, int (*progress)(void *ctx, uint64_t done, uint64_t total),
             void *ctx, cm_check_report *report)
{
    int e = cm_enter_cache(c);
    if (e)
        return e;
    if ((report && !cm_can_give_result(report)) ||
        (flags & ~(uint32_t)(CM_CHECK_REPAIR | CM_CHECK_METADATA)))
        return CM_EINVAL;
    if (c->readonly && (flags & CM_CHECK_REPAIR))
        return CM_EREADONLY;
    if (c->shared)
        return CM_ENOTSUP; /* the owner changes what it would look at */
    cm_check_report r = { 0 };
    struct check_call k = { .check = { .c = c,
                                       .repair = (flags & CM_CHECK_REPAIR) != 0,
                                       .payload = !(flags & CM_CHECK_METADATA),
                                       .progress = progress,
                                       .ctx = ctx,
                                       .r = &r } };
    if (cm_cache_whole(c))
        return CM_ETRUNCATED; /* what was cut off may read as zeros, which are no damage */
    cm_callback_begin(c, &k.frame);
    cm_plat_call(run_check, &k, end_check, &k); /* progress may end the thread: no lock is held */
    end_check(&k);
    if (report)
        (void)cm_give_result(report, &r, sizeof(r)); /* struct_size was checked above */
    cm_report_trouble(c);
    return cm_cache_whole(c) ? CM_ETRUNCATED : k.result;
}
