/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slot.h - headers and payload of slots, and the optimistic copy.
 */
#ifndef CM_SLOT_H
#define CM_SLOT_H

#include "media/index.h"

/* What one look at a slot says. */
enum cm_slot_verdict {
    CM_SLOT_HIT,       /* holds the key */
    CM_SLOT_OTHER,     /* empty, or another key's */
    CM_SLOT_CHANGED,   /* changed while being looked at */
    CM_SLOT_BAD_SUM,   /* holds the key, but its payload is wrong */
    CM_SLOT_UNREADABLE /* media error */
};

static inline struct cm_header *cm_slot_at(const struct cm_media *m, uint64_t slot)
{
    assert(slot < cm_media_slots(m));
    return (struct cm_header *)(void *)(m->base + cm_format_header_at(&m->geo, slot));
}
static inline uint8_t *cm_slot_payload(const struct cm_media *m, uint64_t slot)
{
    assert(slot < cm_media_slots(m));
    return m->base + cm_format_payload_at(&m->geo, slot);
}

static inline int cm_slot_load_header(const struct cm_media *m, uint64_t slot, struct cm_header *h)
{
    /* w0 first, acquire: pairs with the release store in cm_slot_publish. If the words below are
     * from another life of the slot, the check over all of them fails. */
    return cm_guard_load_words(&cm_slot_at(m, slot)->w0, &h->w0, 4);
}
/* Loads a header so that its words belong together. CM_SLOT_HIT here: VALID and check right,
 * whatever the key. *h is set for HIT and OTHER (w0 at least). */
static inline enum cm_slot_verdict cm_slot_header(const struct cm_media *m, uint64_t slot,
                                                  struct cm_header *h)
{
    if (cm_slot_load_header(m, slot, h))
        return CM_SLOT_UNREADABLE;
    return cm_format_header_ok(cm_media_key(m), slot, h) ? CM_SLOT_HIT : CM_SLOT_OTHER;
}

/* Where a slot is. Most hits compute it once, and for a slot of the first part only: they ask for
 * that when they compare the slot's number with the number of slots. */
struct cm_spot {
    struct cm_header *header;
    uint8_t *payload;
};
static inline struct cm_spot cm_spot_plain(const struct cm_media *m, uint64_t slot)
{
    assert(slot < m->geo.plain);
    uint8_t *const h = m->base + m->geo.header_offset + slot * sizeof(struct cm_header);
    return (struct cm_spot){ (struct cm_header *)(void *)h,
                             m->base + m->geo.slot_offset + slot * CM_BLOCK_SIZE };
}
static inline struct cm_spot cm_spot_of(const struct cm_media *m, uint64_t slot)
{
    return __builtin_expect(slot < m->geo.plain, 1)
               ? cm_spot_plain(m, slot)
               : (struct cm_spot){ cm_slot_at(m, slot), cm_slot_payload(m, slot) };
}

static inline bool cm_slot_is(const struct cm_header *h, const struct cm_key *k)
{
    return h->incarnation == k->incarnation && cm_header_block(h) == k->block;
}

/* Does the cell lead to this header as the block of k? */
static inline bool cm_slot_leads(uint64_t cell, const struct cm_header *h, const struct cm_key *k)
{
    return cm_slot_is(h, k) && cm_header_boot(h) == cm_cell_boot(cell);
}

/* Is the header unreadable only because a full volume has no room for its page? Then it is empty.
 */
bool cm_slot_is_hole(const struct cm_media *m, uint64_t slot);

/* Has the volume no room for the slot's pages? */
bool cm_slot_has_no_room(const struct cm_media *m, uint64_t slot);

/* Prefetches what cm_slot_read reads first: the header and the first line of the payload. */
void cm_slot_prefetch(const struct cm_media *m, uint64_t slot);
void cm_slot_prefetch_header(const struct cm_media *m, uint64_t slot);
/* Prefetches the header and the first lines of a part of the payload. The caller reads the slot
 * next. How many lines are best depends on the CPU and on the copy: state/copy_choice.c measures
 * it. More than CM_PREFETCH_LINES gained nothing anywhere (docs/performance.md). Unrolled where
 * `lines` is a constant: 23 instructions instead of 90. */
#define CM_LINES_FEW 1u
#define CM_LINES_SOME 8u
#define CM_PREFETCH_LINES 24u
#define CM_TAKE_MIN (CM_PREFETCH_LINES * CM_CACHE_LINE)
static inline void cm_slot_prefetch_first(const struct cm_spot *at, uint32_t from)
{
    at_prefetch(at->header);
    at_prefetch(at->payload + from);
}
/* The lines behind the first one. */
static inline __attribute__((always_inline)) void
cm_slot_prefetch_rest(const struct cm_spot *at, uint32_t from, size_t len, unsigned lines)
{
    const uint8_t *p = at->payload + from;
    assert(lines <= CM_PREFETCH_LINES);
    if (len < CM_TAKE_MIN)
        return;
#pragma GCC unroll 32
    for (unsigned i = 1; i < lines; i++)
        at_prefetch(p + i * CM_CACHE_LINE);
}
static inline __attribute__((always_inline)) void
cm_slot_prefetch_payload(const struct cm_spot *at, uint32_t from, size_t len, unsigned lines)
{
    cm_slot_prefetch_first(at, from);
    cm_slot_prefetch_rest(at, from, len, lines);
}
/* The rest of one of three numbers of lines, which is not a constant. */
static inline __attribute__((always_inline)) void
cm_slot_prefetch_chosen(const struct cm_spot *at, uint32_t from, size_t len, uint32_t lines)
{
    assert(lines == CM_LINES_FEW || lines == CM_LINES_SOME || lines == CM_PREFETCH_LINES);
    if (lines > CM_LINES_SOME)
        cm_slot_prefetch_rest(at, from, len, CM_PREFETCH_LINES);
    else if (lines > CM_LINES_FEW)
        cm_slot_prefetch_rest(at, from, len, CM_LINES_SOME);
}

/* The part of a block that is wanted. */
struct cm_part {
    uint32_t from, len;
    void *dst;
};
/* The optimistic copy: copies a part of key k's block out of `slot`, without any lock. `boot`: of
 * the cell that leads there. HIT: part->dst holds the part, and it was the block's content during
 * the whole copy. *got (<= part->len) is the number of valid bytes in it; the rest is zeros.
 * `verify`: the payload's checksum is tested as well. *w0 is the header word that the verdict is
 * based on. Any other verdict: part->dst is unspecified, but holds no bytes of another block. */
enum cm_slot_verdict cm_slot_read(const struct cm_media *m, uint64_t slot, const struct cm_key *k,
                                  uint8_t boot, const struct cm_part *part, bool verify,
                                  uint32_t *got, uint64_t *w0);
/* Does a slot hold all of a block now? *w0: the header word that says so. Only for a slot that
 * cm_slot_read() has found right since the pool was opened: see cm_slot_read_known(). */
static inline bool cm_slot_holds_known(const struct cm_spot *at, uint64_t incarnation,
                                       uint64_t block, uint64_t *w0)
{
    struct cm_header h;
    if (cm_guard_load_words(&at->header->w0, &h.w0, 4))
        return false;
    *w0 = h.w0;
    return (h.w0 & CM_W0_VALID) && h.incarnation == incarnation &&
           h.block_valid == (block << CM_VALID_BITS | CM_BLOCK_SIZE);
}
/* The optimistic copy out of a slot that holds all of the block, and that cm_slot_read() has found
 * right since the pool was opened, through a cell of its boot; or that was filled since then. This
 * session wrote every header that the slot has had since then, so its words are those that w0's
 * check covers. w0 is the same before and after the copy. So the check could only find media that
 * changed by itself, and it is left out. The words that are used are compared in full, the length
 * included. (The length of a tail cannot be compared: use cm_slot_read.) false: nothing is known,
 * and part->dst may hold another block's bytes. */
static inline bool cm_slot_read_known(const struct cm_spot *at, uint64_t incarnation,
                                      uint64_t block, const struct cm_part *part)
{
    uint64_t w0, again;
    if (!cm_slot_holds_known(at, incarnation, block, &w0) ||
        cm_guard_copy(part->dst, at->payload + part->from, part->len))
        return false;
    at_fence_acquire(); /* THE DELIBERATE RACE: slot.c */
    return cm_guard_load64(&at->header->w0, &again) == 0 && again == w0;
}
/* The same for a slot that cm_slot_prefetch_payload() has prefetched. */
static inline __attribute__((always_inline)) bool
cm_slot_take_known(const struct cm_media *m, const struct cm_spot *at, uint64_t incarnation,
                   uint64_t block, const struct cm_part *part)
{
    /* NOLINTNEXTLINE(misc-redundant-expression): that they are equal is the point. */
    static_assert(CM_W0_VALID == CM_GUARD_VALID, "what cm_guard_take_fn asks of a header");
    static_assert(CM_TAKE_MIN >= CM_GUARD_TAKE_MIN, "and of a length");
    const cm_guard_take_fn take = at_load_relaxed(&m->take);
    if (!take || part->len < CM_TAKE_MIN)
        return cm_slot_read_known(at, incarnation, block, part);
    return take(&at->header->w0, at->payload + part->from, part->dst, part->len, incarnation,
                block << CM_VALID_BITS | CM_BLOCK_SIZE) == 1;
}
/* The same as cm_slot_read_known() for n slots that are neighbours, and for n blocks of a region
 * from `block` on, all of them copied whole and at once to `dst`. Returns how many of the first
 * ones were read; what is behind them in dst may be another block's. None is if they lie in two
 * parts of a pool that grew. */
#define CM_SLOT_NEIGHBOURS 8u
unsigned cm_slot_read_neighbours(const struct cm_media *m, uint64_t slot, unsigned n,
                                 uint64_t incarnation, uint64_t block, void *dst);
/* Tests the payload of a slot that cannot change meanwhile (pinned or owned). Of a sealed pool
 * nothing is pinned, so there only tests call it. */
enum cm_slot_verdict cm_slot_verify(const struct cm_media *m, uint64_t slot,
                                    const struct cm_header *h);

/* Makes the header invalid, keeping its sequence, iff w0 is still `w0`. 1 done, 0 changed,
 * CM_EIO. Durable after cm_slot_flush and a fence. */
static inline int cm_slot_invalidate(const struct cm_media *m, uint64_t slot, uint64_t w0)
{
    return cm_media_cas64(m, &cm_slot_at(m, slot)->w0, w0, w0 & CM_W0_SEQ_MASK);
}
static inline int cm_slot_flush(const struct cm_media *m, uint64_t slot)
{
    static_assert(CM_CACHE_LINE % sizeof(struct cm_header) == 0, "a header lies in one line");
    return cm_media_flush_line(m, cm_slot_at(m, slot), sizeof(struct cm_header));
}

/* Flushes n slots (32 at most). Headers of neighbours are flushed together: they share cache lines,
 * and a second flush of a line would wait for the first. Returns a bit for each slot that
 * failed. */
uint32_t cm_slot_flush_some(const struct cm_media *m, const uint64_t *slot, unsigned n);
static inline uint32_t cm_slot_flush_all(const struct cm_media *m, const uint64_t *slot, unsigned n)
{
    return n == 1 ? cm_slot_flush(m, slot[0]) != 0 : cm_slot_flush_some(m, slot, n);
}

/* Writes payload and key words of an owned, durably invalid slot; the header stays invalid.
 * Durable after cm_slot_flush and a fence. *h is the header to publish. CM_EIO; CM_ESEAL: nothing
 * was written. */
int cm_slot_fill(const struct cm_media *m, uint64_t slot, const struct cm_key *k, const void *data,
                 uint32_t valid, struct cm_header *h);
/* Makes *h visible, as cm_slot_fill() has made it: VALID, next sequence. Durable after
 * cm_slot_flush and a fence. */
static inline int cm_slot_publish(const struct cm_media *m, uint64_t slot,
                                  const struct cm_header *h)
{
    /* Release: pairs with the acquire in cm_slot_header. The caller's fence made payload and key
     * visible and durable before this. */
    return cm_media_store64(m, &cm_slot_at(m, slot)->w0, h->w0);
}

#endif
