/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3r.c - the policy S3R.
 *
 * Owns: which block is in which slot or on probation, a byte a block (two bits of count, two
 * flags), the hand. Every operation is bounded: the hand moves at most HAND_STEPS, at most POPS
 * blocks leave probation.
 *
 * A block read for the first time is on probation: in the buffer in DRAM, or, without one, in a
 * slot. If it is read again often enough before those behind it push it out, it stays in, or moves
 * to, the pool; else its fingerprint goes to the ghost, and when it comes back while the ghost
 * remembers it, it goes straight to the pool. In the pool CLOCK with two-bit counts decides. While
 * there are slots never used, what leaves the buffer goes there. Based on S3-FIFO (Yang et al.,
 * SOSP'23), whose queues would have to move blocks.
 *
 * Who: s3r_policies.c, auto.c, curve.c.
 */
#include "s3r.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 3u
#define COUNT 3u     /* bits of a flag byte */
#define PROBATION 4u /* the slot is on probation */
#define KNOWN 8u     /* it did not come through probation: the ghost shall not remember it */
#define HAND_STEPS 64u
#define POPS 4u

uint64_t s3r_hash(uint32_t key)
{
    uint64_t x = key + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint32_t heads_for(const struct s3r_size *size)
{
    uint32_t n = 16;
    while (n < size->slots + size->buffer)
        n *= 2;
    return n;
}

static uint32_t line_for(const struct s3r_size *size)
{
    return size->probation + size->probation / 4 + 16; /* some are stale */
}

size_t s3r_bytes(const struct s3r_size *size)
{
    size_t entries = (size_t)size->slots + size->buffer;
    return entries * 9 + heads_for(size) * 4u + size->slots * 2u + line_for(size) * 6u +
           (size->buffer + 1u) * 8u + ghost_cells(size->window) * 4u;
}

void s3r_free(struct s3r *s)
{
    free(s->key);
    free(s->next);
    free(s->flag);
    free(s->head);
    free(s->line);
    free(s->line_generation);
    free(s->generation);
    free(s->newer);
    free(s->older);
    free(s->ghost.cell);
}

static void empty_buffer(struct s3r *s)
{
    uint32_t n = s->size.buffer;
    s->newer[n] = s->older[n] = n;
    s->buffer_free = NONE;
    for (uint32_t b = n; b-- > 0;) {
        s->next[s->size.slots + b] = s->buffer_free;
        s->buffer_free = s->size.slots + b;
    }
}

static void empty_all(struct s3r *s)
{
    memset(s->head, 0xff, (s->mask + 1u) * sizeof(*s->head));
    memset(s->flag, 0, s->size.slots + s->size.buffer);
    s->hand = s->frontier = s->line_first = s->line_length = s->on_probation = 0;
    s->free = NONE;
    empty_buffer(s);
}

bool s3r_init(struct s3r *s, const struct s3r_size *size, const struct s3r_rule *rule,
              struct tally *tally)
{
    uint32_t entries = size->slots + size->buffer;
    *s = (struct s3r){ .size = *size, .rule = *rule, .tally = tally };
    s->mask = heads_for(size) - 1;
    s->line_max = line_for(size);
    s->key = malloc(entries * sizeof(*s->key));
    s->next = malloc(entries * sizeof(*s->next));
    s->flag = malloc(entries);
    s->head = malloc((s->mask + 1u) * sizeof(*s->head));
    s->line = malloc((s->line_max + 1u) * sizeof(*s->line));
    s->line_generation = malloc((s->line_max + 1u) * sizeof(*s->line_generation));
    s->generation = calloc(size->slots, sizeof(*s->generation));
    s->newer = malloc((size->buffer + 1u) * sizeof(*s->newer));
    s->older = malloc((size->buffer + 1u) * sizeof(*s->older));
    uint32_t *cells = calloc(ghost_cells(size->window), sizeof(*cells));
    ghost_init(&s->ghost, size->window, cells);
    if (!s->key || !s->next || !s->flag || !s->head || !s->line || !s->line_generation ||
        !s->generation || !s->newer || !s->older || !cells) {
        s3r_free(s);
        return false;
    }
    empty_all(s);
    return true;
}

/* ---- where a key is ----------------------------------------------------------------------------
 */

static uint32_t *head_of(const struct s3r *s, uint32_t key)
{
    return &s->head[s3r_hash(key) >> 16 & s->mask];
}

static uint32_t find(const struct s3r *s, uint32_t key)
{
    uint32_t e = *head_of(s, key);
    while (e != NONE && s->key[e] != key)
        e = s->next[e];
    return e;
}

static void enter(struct s3r *s, uint32_t entry, uint32_t key, uint8_t flag)
{
    uint32_t *head = head_of(s, key);
    s->key[entry] = key;
    s->flag[entry] = flag;
    s->next[entry] = *head;
    *head = entry;
}

static void leave(struct s3r *s, uint32_t entry)
{
    uint32_t *at = head_of(s, s->key[entry]);
    while (*at != entry)
        at = &s->next[*at];
    *at = s->next[entry];
    s->flag[entry] = 0;
}

/* ---- probation in place
 * -------------------------------------------------------------------------- */

static void end_probation(struct s3r *s, uint32_t slot)
{
    s->flag[slot] &= (uint8_t) ~(PROBATION | COUNT);
    s->on_probation--;
}

/* The slot that has been on probation longest, or NONE if that is stale; it is on probation no
 * more. *earned: it has earned its place. */
static uint32_t pop_line(struct s3r *s, bool *earned)
{
    uint32_t at = s->line_first, slot = s->line[at];
    s->line_first = at + 1 == s->line_max ? 0 : at + 1;
    s->line_length--;
    if (s->line_generation[at] != s->generation[slot] || !(s->flag[slot] & PROBATION))
        return NONE;
    *earned = (s->flag[slot] & COUNT) >= s->rule.earn;
    end_probation(s, slot);
    return slot;
}

static void begin_probation(struct s3r *s, uint32_t slot)
{
    bool earned;
    if (s->on_probation > s->rule.probation) { /* while the pool fills: this one is spared it */
        s->flag[slot] = KNOWN;
        return;
    }
    if (s->line_length == s->line_max)
        pop_line(s, &earned); /* full of stale ones */
    uint32_t at = (s->line_first + s->line_length++) % s->line_max;
    s->line[at] = slot;
    s->line_generation[at] = s->generation[slot];
    s->flag[slot] = PROBATION;
    s->on_probation++;
}

/* ---- slots
 * ----------------------------------------------------------------------------------------- */

static uint32_t victim_on_probation(struct s3r *s)
{
    bool earned;
    for (unsigned i = 0; i < POPS && s->line_length > 0 && s->on_probation >= s->rule.probation;
         i++) {
        uint32_t slot = pop_line(s, &earned);
        if (slot != NONE && !earned)
            return slot;
    }
    return NONE;
}

static uint32_t victim_by_hand(struct s3r *s)
{
    uint32_t best = s->hand; /* where all are on probation, any will do */
    unsigned lowest = COUNT_MAX + 1;
    s->searches++;
    for (unsigned i = 0; i < HAND_STEPS; i++) {
        uint32_t slot = s->hand;
        unsigned count = s->flag[slot] & COUNT;
        s->steps++;
        s->hand = slot + 1 == s->size.slots ? 0 : slot + 1;
        if (s->flag[slot] & PROBATION)
            continue;
        if (count == 0)
            return slot;
        if (count < lowest) {
            lowest = count;
            best = slot;
        }
        s->flag[slot]--;
    }
    if (s->flag[best] & PROBATION)
        end_probation(s, best);
    return best;
}

static uint32_t take_slot(struct s3r *s)
{
    uint32_t slot = s->free;
    if (slot != NONE) {
        s->free = s->next[slot];
        return slot;
    }
    if (s->frontier < s->size.slots) {
        s->tally->first_fills++;
        return s->frontier++;
    }
    slot = victim_on_probation(s);
    if (slot == NONE)
        slot = victim_by_hand(s);
    bool remember = !(s->flag[slot] & KNOWN);
    leave(s, slot);
    if (remember)
        ghost_add(&s->ghost, s3r_hash(s->key[slot]));
    return slot;
}

static uint32_t fill(struct s3r *s, uint32_t key, uint8_t flag)
{
    uint32_t slot = take_slot(s);
    s->tally->fills++;
    s->generation[slot]++;
    enter(s, slot, key, flag);
    return slot;
}

/* A slot that was dropped does not count: to fill it is wear, and has to be earned. */
static bool has_unused_slot(const struct s3r *s)
{
    return s->frontier < s->size.slots;
}

/* ---- the buffer
 * -------------------------------------------------------------------------------------- */

static void buffer_remove(struct s3r *s, uint32_t entry)
{
    uint32_t b = entry - s->size.slots;
    leave(s, entry);
    s->older[s->newer[b]] = s->older[b];
    s->newer[s->older[b]] = s->newer[b];
    s->next[entry] = s->buffer_free;
    s->buffer_free = entry;
}

static void buffer_push(struct s3r *s, uint32_t entry)
{
    uint32_t b = entry - s->size.slots, head = s->size.buffer, newest = s->older[head];
    s->older[b] = newest;
    s->newer[b] = head;
    s->newer[newest] = b;
    s->older[head] = b;
}

/* The oldest block leaves the buffer: for the pool if it has earned that, or if there is room; else
 * for good. */
static void buffer_pop(struct s3r *s)
{
    uint32_t entry = s->size.slots + s->newer[s->size.buffer], key = s->key[entry];
    bool earned = (s->flag[entry] & COUNT) >= s->rule.earn;
    buffer_remove(s, entry);
    if (earned || has_unused_slot(s))
        fill(s, key, earned ? 0 : KNOWN);
    else if (s->rule.pass)
        begin_probation(s, fill(s, key, 0));
    else
        ghost_add(&s->ghost, s3r_hash(key));
}

static void hold(struct s3r *s, uint32_t key)
{
    if (s->buffer_free == NONE)
        buffer_pop(s);
    uint32_t entry = s->buffer_free;
    s->buffer_free = s->next[entry];
    buffer_push(s, entry);
    enter(s, entry, key, 0);
}

/* ---- operations
 * ------------------------------------------------------------------------------------------ */

static void miss(struct s3r *s, uint32_t key)
{
    if (ghost_take(&s->ghost, s3r_hash(key), s->rule.window))
        fill(s, key, KNOWN);
    else if (s->size.buffer > 0)
        hold(s, key);
    else if (s->rule.remembered_only && !has_unused_slot(s))
        ghost_add(&s->ghost, s3r_hash(key));
    else
        begin_probation(s, fill(s, key, 0));
}

enum found s3r_read(struct s3r *s, uint32_t key, bool again)
{
    uint32_t entry = find(s, key);
    if (entry == NONE) {
        miss(s, key);
        return MISS;
    }
    if (!again && (s->flag[entry] & COUNT) < COUNT_MAX)
        s->flag[entry]++;
    return entry < s->size.slots ? POOL_HIT : BUFFER_HIT;
}

void s3r_drop(struct s3r *s, uint32_t key)
{
    uint32_t entry = find(s, key);
    if (entry == NONE)
        return;
    if (entry >= s->size.slots) {
        buffer_remove(s, entry);
        return;
    }
    if (s->flag[entry] & PROBATION)
        end_probation(s, entry);
    leave(s, entry);
    s->next[entry] = s->free;
    s->free = entry;
}

/* ---- restart
 * ------------------------------------------------------------------------------------------------
 */

static bool buffer_is_empty(const struct s3r *s)
{
    return s->newer[s->size.buffer] == s->size.buffer;
}

static void empty_buffer_for(struct s3r *s, enum restart how)
{
    while (!buffer_is_empty(s)) {
        if (how == CLEAN)
            buffer_pop(s);
        else
            buffer_remove(s, s->size.slots + s->newer[s->size.buffer]);
    }
}

static void lose_ghost(struct s3r *s)
{
    memset(s->ghost.cell, 0, ghost_cells(s->ghost.window) * sizeof(*s->ghost.cell));
    s->ghost.time = 0;
}

void s3r_restart(struct s3r *s, enum restart how)
{
    if (how == COLD) {
        empty_all(s);
        lose_ghost(s);
        return;
    }
    empty_buffer_for(s, how);
    for (uint32_t slot = 0; slot < s->size.slots; slot++)
        s->flag[slot] = how == CLEAN ? (uint8_t)(s->flag[slot] & ~PROBATION) : 0;
    s->line_length = s->on_probation = 0;
    if (how == CRASH) {
        s->hand = 0;
        lose_ghost(s);
    }
}
