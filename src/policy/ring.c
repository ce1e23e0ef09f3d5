/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.c - the replacement policy S3R over physical slot numbers: CLOCK with 2-bit counts, and
 * probation in place.
 *
 * Owns: the hand, one reference byte for each slot, the line of slots on probation, the ownership
 * bitmap, the bounded stack of free slots and the bounded list of hints. All of it is in DRAM. None
 * of it decides what is a hit.
 *
 * CLOCK is from Corbato 1968, with counts as in "generalized CLOCK", Smith 1978. The line before it
 * and the ghost behind it (ghost.c) are from S3-FIFO, Yang et al., SOSP'23. The queues of S3-FIFO
 * would have to move blocks. Here a slot stays where it is and changes its state. See
 * docs/policy.md.
 *
 * The search for a victim tries, in this order:
 * 1. the hinted slots;
 * 2. slots behind the frontier, which were never used, or not since the pool emptied itself;
 * 3. other slots that became empty, if there are many of them. Their bytes tell;
 * 4. the front of the line, if the line is as long as it may be. A slot that was wanted again
 *    meanwhile has earned its place and stays. The first other slot is the victim;
 * 5. the hand: at most CM_RING_STEPS steps. It passes by slots on probation, and lowers the count
 *    of the others. A slot with count zero is the victim at once. Else it is the slot with the
 *    lowest count that was seen. Kept slots are jumped over, at most CM_RING_PASSES runs of them.
 *
 * The ring does not know which blocks are kept. The caller looks at the victims that it gets, and
 * says of each whether it is (cm_ring_keep); from then on the hand knows. The line does not ask:
 * its slots are soon looked at anyway.
 *
 * Who: api/, protocol/, state/, media/.
 */
#include "policy/ring.h"

#include <string.h>

#define IN_FLIGHT 128u /* several threads nearly always fill fewer slots than this at a time */

uint64_t cm_ring_line(uint64_t slots)
{
    return slots / 2 + slots / 8 + 16; /* half of the slots, and room for stale entries */
}

void cm_ring_grow(struct cm_ring *r, uint64_t slots)
{
    const uint64_t was = at_load_relaxed(&r->slots);
    assert(slots >= was);
    cm_lock_acquire(&r->lock);
    r->free_max = cm_ring_free_max(slots);
    cm_lock_release(&r->lock);
    at_store_relaxed(&r->slots, slots);
    /* The volume had room for the new slots, also if it had none for all of the old ones: but those
     * come first, so it stays as it is then. Release: pairs with the acquire of who takes a slot.
     */
    if (at_load_relaxed(&r->end) == was)
        at_store_release(&r->end, slots);
}

/* ---- States ---------------------------------------------------------------------------------- */

/* Changes the byte of a slot from its present value `was` to (was & keep) | state. Tries again if
 * another thread changes the byte meanwhile. Returns `was`. */
static uint8_t change(struct cm_ring *r, uint64_t slot, uint8_t keep, uint8_t state)
{
    uint8_t was = at_load_relaxed(&r->ref[slot]), next;
    do
        next = (uint8_t)((was & keep) | state);
    while (next != was && !at_cas_acq_rel(&r->ref[slot], &was, next));
    if ((was ^ next) & CM_REF_EMPTY) /* relaxed: a hint; UINT64_MAX is -1 */
        (void)at_add_relaxed(&r->empties, next & CM_REF_EMPTY ? 1 : UINT64_MAX);
    return was;
}

void cm_ring_set(struct cm_ring *r, uint64_t slot, uint8_t state)
{
    uint8_t was = change(r, slot, CM_REF_VERIFIED | CM_REF_GENERATION, state);
    if (was & CM_REF_PROBATION)
        (void)at_add_relaxed(&r->on_probation, UINT64_MAX);
}

/* ---- The line -------------------------------------------------------------------------------- */

/* The lock is held, and the line has room. */
static void push(struct cm_ring *r, uint64_t slot, uint8_t ref)
{
    uint64_t at = r->line_first + r->line_count++;
    at -= at < r->line_max ? 0 : r->line_max;
    uint64_t entry = slot << 2 | (ref & CM_REF_GENERATION) >> 4;
    memcpy(r->line + at * CM_LINE_ENTRY, &entry, CM_LINE_ENTRY); /* little-endian: format.h */
}

/* The lock is held. Removes the oldest entry. Returns its slot if the slot is still on probation by
 * this entry, else CM_NO_SLOT. */
static uint64_t pop(struct cm_ring *r, uint8_t *ref)
{
    uint64_t entry = 0;
    memcpy(&entry, r->line + r->line_first * CM_LINE_ENTRY, CM_LINE_ENTRY);
    r->line_first = r->line_first + 1 == r->line_max ? 0 : r->line_first + 1;
    r->line_count--;
    *ref = at_load_relaxed(&r->ref[entry >> 2]);
    return (*ref & CM_REF_PROBATION) && (*ref & CM_REF_GENERATION) >> 4 == (entry & 3) ? entry >> 2
                                                                                       : CM_NO_SLOT;
}

/* The lock is held. `counted`: on_probation includes this many slots that are not in the line yet,
 * or that will not come. `most`: so many slots may be on probation. Returns whether this slot uses
 * one of them. */
static inline bool begin_one(struct cm_ring *r, uint64_t slot, bool ahead, uint64_t counted,
                             uint64_t most)
{
    uint8_t ref = at_load_relaxed(&r->ref[slot]);
    uint8_t next = (uint8_t)((ref + 0x10) & CM_REF_GENERATION);
    if (most == 0 || at_load_relaxed(&r->on_probation) - counted > most) {
        cm_ring_set(r, slot, CM_REF_KNOWN);
        return false;
    }
    if (r->line_count == r->line_max) { /* full of stale entries */
        uint64_t first = pop(r, &ref);
        if (first != CM_NO_SLOT)
            cm_ring_set(r, first, ref & CM_REF_MAX);
    }
    ref = change(r, slot, CM_REF_VERIFIED, next | (ahead ? CM_REF_AHEAD : CM_REF_PROBATION));
    push(r, slot, next);
    return !(ref & CM_REF_PROBATION);
}

void cm_ring_begin_probation(struct cm_ring *r, const uint64_t *slot, unsigned n, uint32_t ahead)
{
    if (n == 0)
        return;
    cm_lock_acquire(&r->lock);
    /* While the pool fills, more blocks come than may be on probation. The surplus is spared
     * probation. Slots that several threads fill at the same time are not surplus: each thread made
     * room for its own slots before. */
    uint64_t most = at_load_relaxed(&r->probation);
    most += most / 2 < IN_FLIGHT ? most / 2 : IN_FLIGHT;
    /* Count first: a thread that ends a slot's probation takes the count back. */
    uint64_t counted = n;
    (void)at_add_relaxed(&r->on_probation, n);
    for (unsigned i = 0; i < n; i++)
        counted -= begin_one(r, slot[i], ahead >> i & 1, counted, most);
    if (counted > 0)
        (void)at_add_relaxed(&r->on_probation, -counted);
    cm_lock_release(&r->lock);
}

/* ---- Kept slots ------------------------------------------------------------------------------ */

bool cm_ring_keep(struct cm_ring *r, uint64_t slot, uint64_t most)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    assert(cm_ring_is_owned(r, slot));
    if (cm_ring_is_kept(r, slot))
        return true;
    if (at_load_relaxed(&r->kept_count) >= most)
        return false;
    (void)at_add_acq_rel(&r->kept_count, 1); /* first: who clears the bit takes it back */
    if (at_or_acq_rel(&r->kept[slot / 64], bit) & bit)
        (void)at_add_relaxed(&r->kept_count, UINT64_MAX);
    return true;
}

void cm_ring_kept_no_more(struct cm_ring *r, uint64_t slot)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    if (at_and_release(&r->kept[slot / 64], ~bit) & bit)
        (void)at_add_relaxed(&r->kept_count, UINT64_MAX);
}

void cm_ring_unkeep_all(struct cm_ring *r)
{
    for (uint64_t word = 0;
         word * 64 < at_load_relaxed(&r->slots) && at_load_relaxed(&r->kept_count) > 0; word++) {
        uint64_t bits = at_load_relaxed(&r->kept[word]), n = 0;
        if (bits == 0)
            continue;
        for (bits = at_and_release(&r->kept[word], UINT64_C(0)); bits; bits &= bits - 1)
            n++;
        (void)at_add_relaxed(&r->kept_count, -n);
    }
}

/* ---- Victims --------------------------------------------------------------------------------- */

/* Takes ownership of `slot`. CM_NO_SLOT if there is none, or if another thread owns it by now. */
static uint64_t take(struct cm_ring *r, uint64_t slot)
{
    return slot != CM_NO_SLOT && cm_ring_own(r, slot) ? slot : CM_NO_SLOT;
}

static uint64_t pop_hint(struct cm_ring *r)
{
    if (at_load_relaxed(&r->hint_count) == 0) /* mostly empty: then take no lock */
        return CM_NO_SLOT;
    cm_lock_acquire(&r->lock);
    uint64_t slot = CM_NO_SLOT;
    if (r->hint_count > 0) {
        at_store_relaxed(&r->hint_count, r->hint_count - 1);
        slot = r->hint[r->hint_count];
    }
    cm_lock_release(&r->lock);
    return slot;
}

static uint64_t next_unused(struct cm_ring *r)
{
    uint64_t f = at_load_relaxed(&r->frontier);
    while (f < at_load_acquire(&r->end)) { /* pairs with the release in cm_ring_grow */
        /* The data does not need acq_rel, because ownership orders it. The swap gives each slot to
         * one thread only. */
        if (at_cas_acq_rel(&r->frontier, &f, f + 1))
            return f;
    }
    return CM_NO_SLOT;
}

/* Is one of the eight slots from `at` on empty? `at` is a multiple of eight. */
static bool has_empty(const struct cm_ring *r, uint64_t at)
{
    const uint64_t *const eight = (const uint64_t *)(const void *)&r->ref[at];
    return at_load_relaxed(eight) & CM_REF_EMPTY * UINT64_C(0x0101010101010101);
}

/* The next slot that became empty, of many. They may lie together, far from here. */
static uint64_t next_empty(struct cm_ring *r)
{
    const uint64_t end = at_load_acquire(&r->end); /* as in next_unused() */
    uint64_t slot = CM_NO_SLOT;
    if (!cm_ring_has_many_empties(r) || end == 0)
        return CM_NO_SLOT;
    uint64_t at = at_load_relaxed(&r->empty_at); /* relaxed: only says where to look */
    for (unsigned i = 0; i < CM_EMPTY_STEPS && slot == CM_NO_SLOT; i++) {
        at = at < end ? at : 0;
        if (at % 8 == 0 && at + 8 <= end && !has_empty(r, at)) {
            at += 8;
            continue;
        }
        if (cm_ring_count(r, at) == CM_REF_EMPTY)
            slot = take(r, at);
        at++;
    }
    at_store_relaxed(&r->empty_at, at);
    return slot;
}

/* Is the line as long as it may be? Most of the slots that wait to be filled will be on probation,
 * so they count, too. `taken`: such slots that are not in the free stack. `ended`: slots that are
 * still counted in on_probation, but no longer in the line. */
static bool line_is_full(const struct cm_ring *r, unsigned taken, uint64_t ended)
{
    uint64_t now = at_load_relaxed(&r->on_probation) - ended;
    return now > 0 &&
           now + at_load_relaxed(&r->free_count) + taken >= at_load_relaxed(&r->probation);
}

/* The lock is held. Returns the first slot in the line that has not earned a place. Slots before it
 * have earned one; they stay as members. */
static uint64_t first_in_line(struct cm_ring *r, uint64_t *ended)
{
    uint64_t victim = CM_NO_SLOT;
    for (unsigned i = 0; i < CM_RING_POPS && r->line_count > 0 && victim == CM_NO_SLOT; i++) {
        uint8_t ref;
        uint64_t slot = pop(r, &ref);
        if (slot == CM_NO_SLOT)
            continue;
        if ((ref & CM_REF_MAX) < at_load_relaxed(&r->earn))
            victim = take(r, slot); /* if another thread owns it, that thread decides */
        *ended += (change(r, slot, CM_REF_VERIFIED | CM_REF_GENERATION, 0) & CM_REF_PROBATION) != 0;
    }
    return victim;
}

/* Up to n slots, as long as the line is full. `taken`: slots found already for these fills. */
static unsigned by_line(struct cm_ring *r, struct cm_victim *v, unsigned n, unsigned taken)
{
    unsigned got = 0;
    uint64_t ended = 0;
    if (n == 0 || !line_is_full(r, taken, 0))
        return 0;
    cm_lock_acquire(&r->lock);
    while (got < n && line_is_full(r, taken + got, ended) &&
           (v[got].slot = first_in_line(r, &ended)) != CM_NO_SLOT)
        v[got++].remember = true;
    if (ended > 0)
        (void)at_add_relaxed(&r->on_probation, -ended);
    cm_lock_release(&r->lock);
    return got;
}

/* Moves the hand to the next slot that is not kept, if that is within reach. A large file fills
 * long runs of slots, so it goes by words. */
static void pass_kept(struct cm_ring *r, uint64_t end, unsigned *passes)
{
    while (*passes > 0 && at_load_acquire(&r->kept_count) > 0) { /* as in cm_ring_is_kept */
        const uint64_t slot = at_load_relaxed(&r->hand) % end;
        const uint64_t others = ~at_load_relaxed(&r->kept[slot / 64]) >> slot % 64;
        uint64_t n = others ? at_lowest_bit64(others) : 64 - slot % 64;
        if (n == 0)
            return;
        n = n < end - slot ? n : end - slot;
        (void)at_add_relaxed(&r->hand, n); /* relaxed: only says where to look */
        --*passes;
    }
}

static uint64_t by_hand(struct cm_ring *r, bool *remember)
{
    uint64_t best = CM_NO_SLOT, end = at_load_acquire(&r->end);
    uint8_t best_count = CM_REF_MAX + 1;
    unsigned passes = CM_RING_PASSES;
    if (end > 0)
        pass_kept(r, end, &passes);
    if (r->reach && end > 0) { /* load all that the steps below look at */
        uint64_t hand = at_load_relaxed(&r->hand);
        r->reach(r->reach_ctx, hand % end);
        r->reach(r->reach_ctx, (hand + CM_RING_STEPS) % end);
    }
    for (unsigned i = 0; i < CM_RING_STEPS && end > 0; i++) {
        uint64_t slot = at_add_relaxed(&r->hand, 1) % end; /* relaxed: only says where to look */
        pass_kept(r, end, &passes);
        if (cm_ring_is_owned(r, slot) || cm_ring_is_kept(r, slot))
            continue;
        uint8_t ref = at_load_relaxed(&r->ref[slot]);
        uint8_t count = ref & CM_REF_MAX; /* an empty slot counts as zero */
        if (ref & CM_REF_PROBATION)
            count = CM_REF_MAX; /* passed by; taken if nothing better is found */
        if (count == 0 && cm_ring_own(r, slot)) {
            best = slot;
            *remember = !(ref & CM_REF_KNOWN);
            return best;
        }
        if (count < best_count) {
            best = slot;
            best_count = count;
            *remember = !(ref & CM_REF_KNOWN);
        }
        if (!(ref & CM_REF_PROBATION) && (ref & CM_REF_MAX) > 0)
            /* Or it was touched: fine. */
            (void)at_cas_acq_rel(&r->ref[slot], &ref, (uint8_t)(ref - 1));
    }
    return take(r, best);
}

/* Owns a slot that holds no block. `returned`: it may hold one, see struct cm_victim. */
static uint64_t empty_one(struct cm_ring *r, bool *returned)
{
    uint64_t slot;
    *returned = false;
    while ((slot = pop_hint(r)) != CM_NO_SLOT) /* bounded: there are at most CM_HINTS hints */
        if (cm_ring_count(r, slot) == CM_REF_EMPTY && take(r, slot) != CM_NO_SLOT)
            return slot;
    for (unsigned i = 0; i < CM_RING_STEPS && (slot = next_unused(r)) != CM_NO_SLOT; i++)
        /* Else a reader owns it, because it found it bad; or who took it before the pool emptied
         * itself. */
        if (take(r, slot) != CM_NO_SLOT) {
            *returned = slot < at_load_relaxed(&r->used); /* relaxed: a hint, look at the header */
            return slot;
        }
    return next_empty(r);
}

unsigned cm_ring_victims(struct cm_ring *r, struct cm_victim *v, unsigned n)
{
    unsigned got = 0;
    while (got < n && (v[got].slot = empty_one(r, &v[got].returned)) != CM_NO_SLOT)
        v[got++].remember = false;
    const unsigned empty = got;
    while (got < n) {
        got += by_line(r, v + got, n - got, got);
        if (got == n || (v[got].slot = by_hand(r, &v[got].remember)) == CM_NO_SLOT)
            break;
        got++;
    }
    for (unsigned i = empty; i < got; i++)
        v[i].returned = false;
    return got;
}

/* ---- Victims of a share ---------------------------------------------------------------------- */

/* A share has a hand of its own, because its slots may lie far apart. The hand goes from one slot
 * of the share to the next (cm_share_next). Probation does not protect a slot here: the hand of a
 * full share is its line. */

struct search {
    uint64_t victim, best; /* `victim` is owned */
    uint8_t best_count;
    bool remember;
    unsigned steps; /* that are left */
};

/* Looks at a slot of the share. */
static void look_at(struct cm_ring *r, struct search *s, uint64_t slot)
{
    s->steps--;
    if (cm_ring_is_owned(r, slot) || cm_ring_is_kept(r, slot))
        return;
    if (r->reach)
        r->reach(r->reach_ctx, slot);
    uint8_t ref = at_load_relaxed(&r->ref[slot]);
    const uint8_t count = ref & CM_REF_MAX;
    if (count < s->best_count) {
        s->best = slot;
        s->best_count = count;
        s->remember = !(ref & CM_REF_KNOWN);
    }
    if (count == 0 && cm_ring_own(r, slot))
        s->victim = slot;
    else if (count > 0)
        (void)at_cas_acq_rel(&r->ref[slot], &ref, (uint8_t)(ref - 1)); /* or it was touched: fine */
}

uint64_t cm_ring_share_victim(struct cm_ring *r, struct cm_share *h, bool *remember)
{
    struct search s = { CM_NO_SLOT, CM_NO_SLOT, CM_REF_MAX + 1, false, CM_SHARE_STEPS };
    const uint64_t begin = at_load_relaxed(&h->hand); /* relaxed: only says where to look */
    uint64_t hand = begin;
    for (bool around = false; s.steps > 0 && s.victim == CM_NO_SLOT;) {
        const uint64_t slot = cm_share_next(h, hand);
        if (around && slot >= begin)
            break; /* it has seen all of them, or there is none */
        around |= slot == CM_NO_SLOT;
        hand = slot == CM_NO_SLOT ? 0 : slot + 1;
        if (slot != CM_NO_SLOT)
            look_at(r, &s, slot);
    }
    at_store_relaxed(&h->hand, hand);
    *remember = s.remember;
    if (s.victim == CM_NO_SLOT && s.best != CM_NO_SLOT && cm_ring_own(r, s.best))
        s.victim = s.best;
    return s.victim;
}

/* ---- Free slots ------------------------------------------------------------------------------ */

unsigned cm_ring_take_free(struct cm_ring *r, uint64_t *slot, unsigned n)
{
    unsigned got = 0;
    cm_lock_acquire(&r->lock);
    for (; got < n && got < r->free_count; got++)
        slot[got] = r->free[r->free_count - 1 - got];
    at_store_relaxed(&r->free_count, r->free_count - got);
    cm_lock_release(&r->lock);
    for (unsigned i = 0; i < got; i++)
        assert(cm_ring_is_owned(r, slot[i]));
    return got;
}

void cm_ring_give_free(struct cm_ring *r, const uint64_t *slot, unsigned n)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++) {
        assert(cm_ring_is_owned(r, slot[i]));
        cm_ring_vacated(r, slot[i]);
        cm_ring_set(r, slot[i], 0);
    }
    /* The first comes out first: blocks that are stored one after the other get neighbours, which a
     * long read copies together. */
    cm_lock_acquire(&r->lock);
    for (; kept < n && r->free_count + kept < r->free_max; kept++)
        r->free[r->free_count + kept] = slot[n - 1 - kept];
    at_store_relaxed(&r->free_count, r->free_count + kept);
    cm_lock_release(&r->lock);
    for (unsigned i = 0; i < n - kept; i++) {
        cm_ring_disown(r, slot[i]);
        cm_ring_hint(r, slot[i]);
    }
}

void cm_ring_disown_all(struct cm_ring *r, const uint64_t *slot, unsigned n)
{
    for (unsigned i = 0; i < n;) {
        const uint64_t word = slot[i] / 64;
        uint64_t bits = 0;
        for (; i < n && slot[i] / 64 == word; i++) {
            assert(cm_ring_is_owned(r, slot[i]));
            bits |= UINT64_C(1) << slot[i] % 64;
        }
        at_and_release(&r->owned[word], ~bits); /* release: pairs with cm_ring_own */
    }
}

void cm_ring_emptied(struct cm_ring *r)
{
    /* The frontier comes to these, too. The next slots that are filled are the first ones then, and
     * the persisted frontier says so. */
    cm_lock_acquire(&r->lock);
    for (uint32_t i = 0; i < r->free_count; i++)
        cm_ring_disown(r, r->free[i]);
    at_store_relaxed(&r->free_count, 0u);
    at_store_relaxed(&r->hint_count, 0u);
    cm_lock_release(&r->lock);
    uint64_t frontier = at_load_relaxed(&r->frontier), used = at_load_relaxed(&r->used);
    for (;;) {
        while (used < frontier && !at_cas_acq_rel(&r->used, &used, frontier)) {
        }
        /* Release: pairs with the acquire in cm_ring_used(). If the frontier has moved meanwhile,
         * the other number has to follow first. */
        if (at_cas_acq_rel(&r->frontier, &frontier, 0))
            return;
    }
}

void cm_ring_hint(struct cm_ring *r, uint64_t slot)
{
    cm_ring_set(r, slot, CM_REF_EMPTY);
    cm_lock_acquire(&r->lock);
    if (r->hint_count < CM_HINTS) {
        r->hint[r->hint_count] = slot;
        at_store_relaxed(&r->hint_count, r->hint_count + 1);
    }
    cm_lock_release(&r->lock);
}

/* ---- Kept over a clean close ----------------------------------------------------------------- */

void cm_ring_save(const struct cm_ring *r, uint64_t first, uint64_t n, uint8_t *to)
{
    const uint64_t kept = CM_RING_KEPT * UINT64_C(0x0101010101010101);
    uint64_t i = 0;
    assert(first + n <= at_load_relaxed(&r->slots));
    for (; i + 8 <= n; i += 8) { /* eight bytes become four; little-endian: format.h */
        uint64_t eight;
        memcpy(&eight, &r->ref[first + i], sizeof(eight));
        eight &= kept;
        eight = (eight | eight >> 4) & UINT64_C(0x00ff00ff00ff00ff);
        eight = (eight | eight >> 8) & UINT64_C(0x0000ffff0000ffff);
        eight |= eight >> 16;
        memcpy(to + i / 2, &eight, 4);
    }
    for (; i < n; i++)
        to[i / 2] |= (uint8_t)((r->ref[first + i] & CM_RING_KEPT) << i % 2 * 4);
}

void cm_ring_load(struct cm_ring *r, uint64_t first, uint64_t n, const uint8_t *from)
{
    assert(first + n <= at_load_relaxed(&r->slots));
    for (uint64_t i = 0; i < n; i++) {
        uint8_t kept = (uint8_t)((unsigned)from[i / 2] >> i % 2 * 4 & CM_RING_KEPT);
        uint8_t *ref = &r->ref[first + i], was = at_load_relaxed(ref), next = 0;
        while (kept != 0 && !(was & (CM_REF_EMPTY | CM_REF_PROBATION))) {
            next = (uint8_t)(was | (kept & CM_REF_KNOWN));
            if ((was & CM_REF_MAX) < (kept & CM_REF_MAX))
                next = (uint8_t)((next & ~CM_REF_MAX) | (kept & CM_REF_MAX));
            if (at_cas_acq_rel(ref, &was, next))
                break;
        }
    }
}
