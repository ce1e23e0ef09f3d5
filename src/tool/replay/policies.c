/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policies.c - simulates LRU and CLOCK, with blocks by number.
 *
 * Owns: no state. Both policies store every block that was missed, and forget a block that is
 * written. CLOCK is the plain one: one bit for each slot, which is clear when the block is stored
 * and set by a hit. Emptied slots are filled first. A pool that holds every block of the trace
 * never evicts, so there are never more slots than blocks.
 *
 *
 * Who: cmd_replay.c.
 */
#include "tool/replay/replay.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct sim {
    uint32_t blocks, slots;
    uint32_t used;         /* LRU: blocks held; CLOCK: emptied or never used slots */
    uint32_t hand;         /* CLOCK */
    uint32_t *next, *prev; /* LRU, by block: towards older, newer; [blocks] is the list itself */
    uint32_t *slot_of;     /* CLOCK, by block */
    uint32_t *block_in;    /* by slot */
    uint32_t *empty;       /* a stack of slots */
    uint8_t *bit;          /* by slot */
};

struct policy {
    bool (*make)(struct sim *s);
    bool (*read)(struct sim *s, uint32_t block); /* true: a hit */
    void (*write)(struct sim *s, uint32_t block);
};

static uint32_t *make_array(uint64_t n)
{
    uint32_t *p = malloc((size_t)n * sizeof(*p));

    if (p)
        memset(p, 0xff, (size_t)n * sizeof(*p)); /* NONE */
    return p;
}

/* ---- LRU ----------------------------------------------------------------------------------- */

static bool lru_make(struct sim *s)
{
    s->next = make_array((uint64_t)s->blocks + 1);
    s->prev = make_array((uint64_t)s->blocks + 1);
    if (!s->next || !s->prev)
        return false;
    s->next[s->blocks] = s->prev[s->blocks] = s->blocks;
    return true;
}

static void lru_write(struct sim *s, uint32_t block)
{
    if (s->next[block] == NONE)
        return;
    s->next[s->prev[block]] = s->next[block];
    s->prev[s->next[block]] = s->prev[block];
    s->next[block] = NONE;
    s->used--;
}

static bool lru_read(struct sim *s, uint32_t block)
{
    const uint32_t list = s->blocks;
    const bool hit = s->next[block] != NONE;

    if (hit)
        lru_write(s, block);
    else if (s->used == s->slots)
        lru_write(s, s->prev[list]);
    s->next[block] = s->next[list];
    s->prev[block] = list;
    s->prev[s->next[list]] = block;
    s->next[list] = block;
    s->used++;
    return hit;
}

/* ---- CLOCK --------------------------------------------------------------------------------- */

static bool clock_make(struct sim *s)
{
    s->slot_of = make_array(s->blocks);
    s->block_in = make_array(s->slots);
    s->empty = make_array(s->slots);
    s->bit = calloc(s->slots, 1);
    if (!s->slot_of || !s->block_in || !s->empty || !s->bit)
        return false;
    for (uint32_t i = 0; i < s->slots; i++)
        s->empty[i] = s->slots - 1 - i;
    s->used = s->slots;
    return true;
}

static uint32_t clock_victim(struct sim *s)
{
    for (;;) {
        uint32_t slot = s->hand;
        s->hand = slot + 1 == s->slots ? 0 : slot + 1;
        if (!s->bit[slot])
            return slot;
        s->bit[slot] = 0;
    }
}

static bool clock_read(struct sim *s, uint32_t block)
{
    uint32_t slot = s->slot_of[block];

    if (slot != NONE) {
        s->bit[slot] = 1;
        return true;
    }
    if (s->used > 0) {
        slot = s->empty[--s->used];
    } else {
        slot = clock_victim(s);
        s->slot_of[s->block_in[slot]] = NONE;
    }
    s->block_in[slot] = block;
    s->slot_of[block] = slot;
    s->bit[slot] = 0;
    return false;
}

static void clock_write(struct sim *s, uint32_t block)
{
    uint32_t slot = s->slot_of[block];

    if (slot == NONE)
        return;
    s->slot_of[block] = NONE;
    s->bit[slot] = 0;
    s->empty[s->used++] = slot;
}

/* ---- Both ---------------------------------------------------------------------------------- */

static const struct policy policies[REPLAY_POLICIES] = {
    [REPLAY_LRU] = { lru_make, lru_read, lru_write },
    [REPLAY_CLOCK] = { clock_make, clock_read, clock_write },
};

static void go_through(const struct replay *r, const struct policy *p, struct sim *s,
                       struct replay_counts *c)
{
    const struct trace *t = r->trace;

    for (uint64_t i = 0; i < t->records; i++) {
        const struct trace_record *rec = &t->record[i];
        uint64_t hits = 0;
        for (uint32_t k = 0; k < rec->blocks; k++) {
            uint32_t block = t->touch[rec->touch + k];
            if (rec->write)
                p->write(s, block);
            else
                hits += p->read(s, block);
        }
        if (rec->write)
            continue;
        c->reads += rec->blocks;
        c->hits += hits;
        if (i >= r->split) {
            c->reads_after += rec->blocks;
            c->hits_after += hits;
        }
    }
}

bool replay_policy(const struct replay *r, unsigned policy, uint64_t slots,
                   struct replay_counts *counts)
{
    const struct policy *p = &policies[policy];
    struct sim s = { .blocks = r->trace->numbers };
    bool made;

    memset(counts, 0, sizeof(*counts));
    s.slots = slots < s.blocks ? (uint32_t)slots : s.blocks;
    made = p->make(&s);
    if (made)
        go_through(r, p, &s, counts);
    free(s.next);
    free(s.prev);
    free(s.slot_of);
    free(s.block_in);
    free(s.empty);
    free(s.bit);
    return made;
}
