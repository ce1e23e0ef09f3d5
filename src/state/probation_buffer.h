/* SPDX-License-Identifier: BSD-2-Clause
 *
 * probation_buffer.h - the probation buffer: blocks in DRAM that were read once and wait to be
 * wanted again.
 */
#ifndef CM_PROBATION_BUFFER_H
#define CM_PROBATION_BUFFER_H

#include "media/index.h"
#include "platform/lock.h"
#include "media/slot.h"

#define CM_NO_ENTRY UINT32_MAX
#define CM_PROBATION_MAX (UINT32_MAX / 4) /* entries */
#define CM_PROBATION_WAYS 8u
#define CM_PROBATION_COUNT 3u
#define CM_PROBATION_AHEAD 0x80u /* as a count: read ahead, and no reader asked for it yet */

/* What checkpoints know of the block in an entry (`seen`). cm_probation_keep() stores KEPT over any
 * other value, and that stays until the entry gets another block. The other changes are made by
 * compare-and-swap, so that they never replace it. */
enum {
    CM_PROBATION_UNSEEN,  /* new: no checkpoint has found it; cm_probation_is_due() makes it SEEN */
    CM_PROBATION_SEEN,    /* one has, so it may be due; cm_probation_refuse() makes it REFUSED */
    CM_PROBATION_REFUSED, /* the pool had no place for it: it is not due again */
    CM_PROBATION_KEPT     /* a warming has passed it: each checkpoint tries to store it */
};

struct cm_buffered {
    uint64_t version;     /* atomic; odd: live. Each life has its own */
    uint64_t incarnation; /* stable while live, as the next two */
    uint64_t block_valid; /* block << 13 | valid bytes, as in a header */
    uint64_t hash;        /* of the key */
    uint8_t count;        /* atomic; hits, CM_PROBATION_COUNT at most, or CM_PROBATION_AHEAD */
    uint8_t busy;         /* atomic; claimed by a thread that may overwrite it */
    uint8_t pins;         /* pin.h; no entry is ever doomed */
    uint8_t seen;         /* atomic; CM_PROBATION_UNSEEN and so on */
};

struct cm_probation {
    uint64_t entries; /* 0: there is no buffer */
    uint64_t buckets;
    unsigned number_bits; /* that hold the number of any entry, plus one */
    struct cm_buffered *entry;
    uint8_t *data;       /* a block for each entry */
    uint32_t *cell;      /* atomic; buckets of CM_PROBATION_WAYS: entry and tag, or 0 */
    uint64_t *kept;      /* atomic; a bit for each entry: a warming has passed it */
    struct cm_lock lock; /* next */
    uint64_t next;       /* the oldest entry, and the next to be used */
    uint64_t used;       /* entries from here on were never claimed */
};

/* A cell is the number of an entry, plus one, in as many bits as that takes, and a tag of the
 * block's hash in the others. So a lookup of a block that is not here touches no entry, mostly. The
 * tag and the bucket come from different bits of the hash. */
static inline uint32_t cm_probation_number(const struct cm_probation *p, uint32_t cell)
{
    return cell & (uint32_t)((UINT64_C(1) << p->number_bits) - 1);
}
static inline uint32_t cm_probation_tag(const struct cm_probation *p, uint64_t hash)
{
    return (uint32_t)hash << p->number_bits;
}
/* The cell of entry e. */
static inline uint32_t cm_probation_cell(const struct cm_probation *p, uint32_t e)
{
    return (e + 1) | cm_probation_tag(p, p->entry[e].hash);
}

/* Number of entries in the buffer of a pool with `slots` slots. `bytes`: how much data the user
 * wants in it, as cm_options.probation_bytes. Never more than slots. */
uint64_t cm_probation_entries(uint64_t bytes, uint64_t slots);
/* Is the buffer more than 2 % of so many slots, and 64 KiB? */
bool cm_probation_is_large(const struct cm_probation *p, uint64_t slots);
/* Sets the sizes of a buffer of so many entries, before its memory is allocated. */
void cm_probation_size(struct cm_probation *p, uint64_t entries);

/* Copies a part of k's block, if it is here; lock-free. As cm_slot_read(): HIT, OTHER (not here) or
 * CHANGED. part->dst never holds another block's bytes. */
enum cm_slot_verdict cm_probation_read(const struct cm_probation *p, const struct cm_key *k,
                                       const struct cm_part *part, uint32_t *got, uint32_t *entry);
/* The same where cm_probation_find() has found the entry, in this version. HIT or CHANGED. */
enum cm_slot_verdict cm_probation_copy(const struct cm_probation *p, uint32_t e, uint64_t version,
                                       const struct cm_part *part, uint32_t *got);
/* Counts a hit. The first hit on a block that was read ahead does not count: without the read-ahead
 * it would have been the miss. */
static inline void cm_probation_touch(struct cm_probation *p, uint32_t e)
{
    uint8_t count = at_load_relaxed(&p->entry[e].count); /* a hit may get lost, or count wrongly */
    if (count == CM_PROBATION_AHEAD)
        at_store_relaxed(&p->entry[e].count, (uint8_t)0);
    else if (count < CM_PROBATION_COUNT)
        at_store_relaxed(&p->entry[e].count, (uint8_t)(count + 1));
}
/* May the block in this entry leave it with this checkpoint? An earlier one has to have found it
 * there, and if there is no `room`, it has to have had hits since: CM_PROBATION_COUNT in all, and
 * one of them since then. A hint, as all counts are. */
bool cm_probation_is_due(struct cm_probation *p, uint32_t e, bool room);
/* The pool has no place for the block in this claimed entry: it is not due again. One that a
 * warming has passed stays so: each checkpoint tries it. */
void cm_probation_refuse(struct cm_probation *p, uint32_t e);
/* The block goes to the pool as soon as it can, as if it had been wanted often. */
static inline void cm_probation_keep(struct cm_probation *p, uint32_t e)
{
    /* Relaxed: who promotes it is this thread, or comes later. If the entry has another block by
     * now, that one stays. The count, which a hit may change, is for blocks that are pushed out. */
    at_store_relaxed(&p->entry[e].count, (uint8_t)CM_PROBATION_COUNT);
    at_store_relaxed(&p->entry[e].seen, (uint8_t)CM_PROBATION_KEPT);
    (void)at_or_relaxed(&p->kept[e / 64], UINT64_C(1) << e % 64); /* relaxed: as above */
}
/* Does a block wait in this entry that cm_probation_keep() was told? */
static inline bool cm_probation_is_kept(const struct cm_probation *p, uint32_t e)
{
    return (at_load_relaxed(&p->entry[e].version) & 1) &&
           at_load_relaxed(&p->entry[e].seen) == CM_PROBATION_KEPT;
}
/* The first entry from e on where that may be so, or CM_NO_ENTRY. It looks at 64 entries at a time:
 * a warming of a small file must not look at all entries of a large buffer. */
uint32_t cm_probation_next_kept(const struct cm_probation *p, uint32_t e);
/* The cells that a lookup compares. */
static inline uint32_t *cm_probation_bucket(const struct cm_probation *p, uint64_t hash)
{
    return p->cell + cm_format_reduce((uint32_t)(hash >> 16), p->buckets) * CM_PROBATION_WAYS;
}
static inline void cm_probation_prefetch(const struct cm_probation *p, uint64_t hash)
{
    if (p->entries > 0)
        at_prefetch(cm_probation_bucket(p, hash));
}
/* The entry that holds k, or CM_NO_ENTRY; lock-free, a snapshot unless k's stripe is locked. */
uint32_t cm_probation_find(const struct cm_probation *p, const struct cm_key *k, uint64_t *version);
static inline uint32_t cm_probation_valid(const struct cm_probation *p, uint32_t e)
{
    return (uint32_t)(at_load_relaxed(&p->entry[e].block_valid) & ((1u << CM_VALID_BITS) - 1));
}
static inline uint8_t *cm_probation_data(const struct cm_probation *p, uint64_t e)
{
    assert(e < p->entries);
    return p->data + e * CM_BLOCK_SIZE;
}
/* What is prefetched before an entry is read: the entry stands for the header. */
static inline struct cm_spot cm_probation_spot(const struct cm_probation *p, uint64_t e)
{
    return (struct cm_spot){ (struct cm_header *)(void *)&p->entry[e], cm_probation_data(p, e) };
}

/* Claims the oldest entry: from now on only the caller may overwrite it. CM_NO_ENTRY: none
 * found. */
uint32_t cm_probation_claim(struct cm_probation *p);
/* Claims this entry, also if it is pinned. false: another thread has claimed it. */
bool cm_probation_claim_at(struct cm_probation *p, uint32_t e);
/* So many entries, the first ones, were ever used. */
uint64_t cm_probation_used(struct cm_probation *p);
/* For asserts: is the entry claimed? */
static inline bool cm_probation_is_claimed(const struct cm_probation *p, uint32_t e)
{
    return e < p->entries && at_load_relaxed(&p->entry[e].busy) != 0;
}
/* Lets the next claim begin with the oldest entry. Returns how many entries were ever used. No
 * other thread uses the buffer. */
uint64_t cm_probation_rewind(struct cm_probation *p);
void cm_probation_release(struct cm_probation *p, uint32_t e);
/* Reads what a claimed entry holds. false: nothing. The entry may be killed at any time, but its
 * content does not change. */
bool cm_probation_peek(const struct cm_probation *p, uint32_t e, struct cm_buffered *h);
/* Reads what any entry holds, lock-free. false: nothing, or it changed meanwhile. `hash` and
 * `count` are not read. */
bool cm_probation_snapshot(const struct cm_probation *p, uint32_t e, struct cm_buffered *h);
/* Fills a claimed entry that is not live and not pinned. `ahead`: nobody asked for it yet. */
void cm_probation_store(struct cm_probation *p, uint32_t e, const struct cm_key *k,
                        const uint8_t *data, uint32_t valid, bool ahead);

/* ---- The stripe of the key is locked by the caller ------------------------------------------- */

/* Makes a filled entry live. false: no cell is free. */
bool cm_probation_publish(struct cm_probation *p, uint32_t e, const struct cm_key *k);
/* Forgets the block. The bytes of a pinned entry stay as they are. */
void cm_probation_kill_entry(struct cm_probation *p, const struct cm_key *k);
static inline void cm_probation_kill(struct cm_probation *p, const struct cm_key *k)
{
    if (p->entries > 0)
        cm_probation_kill_entry(p, k);
}

/* ---- Pins ------------------------------------------------------------------------------------ */

/* Pins the entry that holds k. HIT: *e, *valid are set. CHANGED: it has as many pins as fit. */
enum cm_slot_verdict cm_probation_pin(struct cm_probation *p, const struct cm_key *k, uint32_t *e,
                                      uint32_t *valid);
void cm_probation_unpin(struct cm_probation *p, uint32_t e);
/* Is a dead entry pinned? If it is not, no later pin succeeds. */
static inline bool cm_probation_is_pinned(const struct cm_probation *p, uint32_t e)
{
    /* Pairs with the seq_cst pin and look at the version in cm_probation_pin. */
    return at_load_seq_cst(&p->entry[e].pins) != 0;
}

#endif
