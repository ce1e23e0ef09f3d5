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

void cm_settle_all_lost(struct cm_cache *c)
{
    const uint64_t words = (c->media.geo.record_buckets + 63) / 64;
    memset(c->settling.lost, 0xff, words * sizeof(uint64_t));
}

void cm_settle_lose(struct cm_cache *c, uint64_t place)
{
    assert(cm_lock_is_held(&c->files_lock));
    set_bit(c->settling.lost, bucket_of(place));
    set_bit(c->settling.lost_since, bucket_of(place));
    cm_settle_wake(c, place);
}

uint8_t cm_settle_lost(const struct cm_cache *c, const cm_file_id *id)
{
    uint64_t bucket[CM_RECORD_CHOICES];
    uint8_t pages = 0;
    cm_format_record_buckets(&c->media.geo, c->media.hash_seed, id, bucket);
    for (unsigned i = 0; i < CM_RECORD_CHOICES; i++)
        if (c->settling.lost[bucket[i] / 64] >> bucket[i] % 64 & 1)
            pages |= (uint8_t)(CM_PAGE_FIRST << i);
    return pages;
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
    uint32_t unsaid = 0;
    (void)at_cas_acq_rel(&c->settling.failed, &unsaid, 1);
    cm_count(c, CM_STAT_escalations, 1);
    return cm_super_bump_epoch(&c->super, &c->broken) ? CM_EFORGET : 0;
}

int cm_settle_pages(struct cm_cache *c, const cm_file_id *id, uint8_t pages, uint64_t place)
{
    uint64_t bucket[CM_RECORD_CHOICES + 1];
    unsigned n = 0;
    int e = 0;
    cm_format_record_buckets(&c->media.geo, c->media.hash_seed, id, bucket);
    for (unsigned i = 0; i < CM_RECORD_CHOICES; i++)
        if (pages & CM_PAGE_FIRST << i || (place != CM_NO_PLACE && bucket[i] == bucket_of(place)))
            bucket[n++] = bucket[i];
    const uint32_t phase = enter(&c->settling);
    for (unsigned i = 0; i < n && e == 0; i++)
        if (i == 0 || bucket[i] != bucket[0])
            e = cm_plat_file_sync(&c->file, c->media.geo.record_offset + bucket[i] * CM_BLOCK_SIZE,
                                  CM_BLOCK_SIZE);
    cm_count(c, CM_STAT_page_syncs, n);
    if (e)
        e = cm_settle_failed(c);
    leave(&c->settling, phase);
    return e;
}
