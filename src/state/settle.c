/* SPDX-License-Identifier: BSD-2-Clause
 *
 * settle.c - a checkpointed pool: what has to be synced, and when.
 *
 * Owns: which buckets of records are lost, which records are quiet, and the syncs of single pages.
 *
 * How: pages are synced without any lock, by as many threads as want to; the system merges what
 * they wait for. A system tells one sync of a file that it lost pages, and not the next one. So a
 * checkpoint believes its own sync only after all syncs of pages that ran beside it are over, and
 * none of them has failed.
 *
 * Locks: as settle.h says.
 * Who: api/, protocol/, state/.
 */
#include "state/settle.h"

#include <string.h>

#include "media/file_table.h"

static uint64_t bucket_of(uint64_t place)
{
    return place / CM_RECORD_WAYS;
}

static void set_bit(uint64_t *map, uint64_t at)
{
    at_or_relaxed(&map[at / 64], UINT64_C(1) << at % 64);
}

static void drop_bit(uint64_t *map, uint64_t at)
{
    at_and_release(&map[at / 64], ~(UINT64_C(1) << at % 64));
}

/* ---- Lost records ---------------------------------------------------------------------------- */

/* The bits of an id in a Bloom filter: three of 64. With eight ids, one of thirty others is taken
 * for one of them, which costs it a sync. (Bloom 1970, "Space/time trade-offs in hash coding with
 * allowable errors") */
static uint64_t bits_of(const cm_file_id *id)
{
    const uint64_t h =
        (id->hi ^ id->lo * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
    return UINT64_C(1) << (h >> 58) | UINT64_C(1) << (h >> 52 & 63) | UINT64_C(1) << (h >> 46 & 63);
}

#define MANY 255 /* or more */

static void add_loss(struct cm_settling *s, uint64_t bucket, uint64_t bits)
{
    s->losses[bucket]++;
    if (s->open[bucket] < MANY)
        s->open[bucket]++;
    if (s->since[bucket] < MANY)
        s->since[bucket]++;
    s->lost[bucket] |= bits;
}

/* After a kill, a bucket is lost as soon as somebody looks at it. So an open need not touch all. */
static void look_at(struct cm_settling *s, uint64_t bucket)
{
    if (s->found_killed && s->losses[bucket] == 0)
        add_loss(s, bucket, UINT64_MAX);
}

void cm_settle_found_killed(struct cm_cache *c)
{
    c->settling.found_killed = true;
}

void cm_settle_all_lost(struct cm_cache *c)
{
    assert(cm_lock_is_held(&c->files_lock));
    for (uint64_t b = 0; b < c->media.geo.record_buckets; b++)
        add_loss(&c->settling, b, UINT64_MAX);
}

void cm_settle_lose(struct cm_cache *c, uint64_t place, const cm_file_id *id)
{
    assert(cm_lock_is_held(&c->files_lock));
    look_at(&c->settling, bucket_of(place));
    add_loss(&c->settling, bucket_of(place), id ? bits_of(id) : UINT64_MAX);
    cm_settle_wake(c, place);
}

void cm_settle_look(struct cm_object *f)
{
    struct cm_settling *s = &f->cache->settling;
    const uint64_t bits = bits_of(&f->id);
    uint64_t bucket[CM_RECORD_CHOICES];
    assert(cm_lock_is_held(&f->cache->files_lock));
    cm_format_record_buckets(&f->cache->media.geo, f->cache->media.hash_seed, &f->id, bucket);
    f->regions.lost = 0;
    for (unsigned i = 0; i < CM_RECORD_CHOICES; i++) {
        look_at(s, bucket[i]);
        f->regions.lost_until[i] = s->losses[bucket[i]];
        if ((s->lost[bucket[i]] & bits) == bits)
            f->regions.lost |= (uint8_t)(CM_PAGE_FIRST << i);
    }
}

uint8_t cm_settle_still_lost(struct cm_cache *c, const cm_file_id *id, uint8_t pages,
                             const uint32_t until[CM_RECORD_CHOICES])
{
    uint64_t bucket[CM_RECORD_CHOICES];
    uint8_t still = 0;
    cm_format_record_buckets(&c->media.geo, c->media.hash_seed, id, bucket);
    cm_lock_acquire(&c->files_lock);
    for (unsigned i = 0; i < CM_RECORD_CHOICES; i++) {
        const uint8_t open = c->settling.open[bucket[i]];
        const uint32_t settled = c->settling.losses[bucket[i]] - open;
        /* Signed, because the numbers wrap. */
        if (pages & CM_PAGE_FIRST << i && (open == MANY || (int32_t)(settled - until[i]) < 0))
            still |= (uint8_t)(CM_PAGE_FIRST << i);
    }
    cm_lock_release(&c->files_lock);
    return still;
}

/* So many losses of a bucket are not on the disk any more. */
static void settle_losses(struct cm_settling *s, uint64_t bucket, uint32_t losses)
{
    const uint32_t open = s->losses[bucket] - losses;
    if (open < s->open[bucket])
        s->open[bucket] = (uint8_t)open;
    if (s->open[bucket] == 0)
        s->lost[bucket] = 0;
}

void cm_settle_check_begin(struct cm_cache *c)
{
    assert(cm_lock_is_held(&c->files_lock));
    memset(c->settling.since, 0, c->media.geo.record_buckets);
}

void cm_settle_check_end(struct cm_cache *c)
{
    assert(cm_lock_is_held(&c->files_lock));
    struct cm_settling *s = &c->settling;
    for (uint64_t b = 0; b < c->media.geo.record_buckets; b++)
        if (s->since[b] < MANY)
            settle_losses(s, b, s->losses[b] - s->since[b]);
    s->found_killed = false;
}

/* ---- Quiet records --------------------------------------------------------------------------- */

void cm_settle_quiet(struct cm_cache *c, uint64_t place)
{
    assert(cm_lock_is_held(&c->files_lock));
    set_bit(c->settling.quiet, place);
}

void cm_settle_wake(struct cm_cache *c, uint64_t place)
{
    assert(cm_lock_is_held(&c->files_lock));
    drop_bit(c->settling.quiet, place);
    drop_bit(c->settling.ready, place);
}

/* ---- Syncs ----------------------------------------------------------------------------------- */

/* A sync of a page begins. Returns its phase. */
static uint32_t enter(struct cm_settling *s)
{
    for (;;) {
        const uint32_t phase = at_load_seq_cst(&s->phase);
        /* seq_cst: pairs with cm_settle_drain. Either it sees this count, or the phase that we read
         * next is the new one. */
        at_add_seq_cst(&s->running[phase & 1], 1);
        if (at_load_seq_cst(&s->phase) == phase)
            return phase;
        if (at_sub_acq_rel(&s->running[phase & 1], 1) == 1)
            cm_plat_wake_all(&s->running[phase & 1]);
    }
}

static void leave(struct cm_settling *s, uint32_t phase)
{
    /* Release: a checkpoint that waited for this sync sees the new epoch. */
    if (at_sub_acq_rel(&s->running[phase & 1], 1) == 1)
        cm_plat_wake_all(&s->running[phase & 1]);
}

void cm_settle_drain(struct cm_cache *c)
{
    struct cm_settling *s = &c->settling;
    assert(cm_lock_is_held(&s->lock));
    const uint32_t phase = at_load_seq_cst(&s->phase); /* only the lock's holder changes it */
    at_store_seq_cst(&s->phase, phase + 1);
    uint32_t n;
    while ((n = at_load_seq_cst(&s->running[phase & 1])) != 0)
        cm_plat_wait(&s->running[phase & 1], n);
}

int cm_settle_failed(struct cm_cache *c)
{
    uint32_t no = CM_SAY_NOTHING;
    cm_count(c, CM_STAT_escalations, 1);
    if (cm_cache_empty(c))
        return CM_EFORGET; /* which the log tells instead */
    (void)at_cas_acq_rel(&c->unsettled, &no, CM_SAY_DUE);
    return 0;
}

/* The pages to sync. Returns how many. */
static unsigned choose_pages(const struct cm_cache *c, const cm_file_id *id, uint8_t pages,
                             uint64_t place, uint64_t page[CM_RECORD_CHOICES])
{
    uint64_t bucket[CM_RECORD_CHOICES];
    unsigned n = 0;
    cm_format_record_buckets(&c->media.geo, c->media.hash_seed, id, bucket);
    for (unsigned i = 0; i < CM_RECORD_CHOICES; i++) {
        const bool own = place != CM_NO_PLACE && bucket[i] == bucket_of(place);
        if ((own || pages & CM_PAGE_FIRST << i) && (n == 0 || bucket[i] != page[0]))
            page[n++] = bucket[i];
    }
    return n;
}

/* Syncs n parts of `len` bytes each. CM_EIO: that failed, and the pool was emptied before a
 * checkpoint beside it goes on. CM_EFORGET: not even that. */
static int sync_parts(struct cm_cache *c, const uint64_t *offset, unsigned n, uint64_t len)
{
    const uint32_t phase = enter(&c->settling);
    int e = 0;
    for (unsigned i = 0; i < n && e == 0; i++)
        e = cm_plat_file_sync(&c->file, offset[i], len);
    /* The sync of a superblock may have been told that these pages are lost. */
    if (e != 0 || cm_super_lost(&c->super)) {
        e = cm_settle_failed(c);
        e = e ? e : CM_EIO;
    }
    leave(&c->settling, phase);
    return e;
}

int cm_settle_part(struct cm_cache *c, uint64_t offset, uint64_t len)
{
    return sync_parts(c, &offset, 1, len);
}

int cm_settle_pages(struct cm_cache *c, const cm_file_id *id, uint8_t pages, uint64_t place)
{
    struct cm_settling *s = &c->settling;
    uint64_t page[CM_RECORD_CHOICES];
    uint32_t losses[CM_RECORD_CHOICES];
    const unsigned n = choose_pages(c, id, pages, place, page);
    uint64_t offset[CM_RECORD_CHOICES];
    cm_lock_acquire(&c->files_lock);
    for (unsigned i = 0; i < n; i++) {
        offset[i] = c->media.geo.record_offset + page[i] * CM_BLOCK_SIZE;
        losses[i] = s->losses[page[i]];
    }
    cm_lock_release(&c->files_lock);
    const int e = sync_parts(c, offset, n, CM_BLOCK_SIZE);
    if (e)
        return e == CM_EIO ? 0 : e; /* it was emptied, which is as good */
    cm_count(c, CM_STAT_page_syncs, n);
    cm_lock_acquire(&c->files_lock);
    for (unsigned i = 0; i < n; i++)
        settle_losses(s, page[i], losses[i]);
    cm_lock_release(&c->files_lock);
    return 0;
}
