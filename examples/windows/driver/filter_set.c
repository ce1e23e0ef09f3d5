/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_set.c - the written-set (filter_set.h).
 *
 * An id's place is its hash. It lies there or in the next free slot after it, without a gap. So a
 * search ends at the first free slot, and a removal closes the gap that it makes (Knuth, The Art of
 * Computer Programming 3, 6.4, algorithm R). A quarter of the slots stays free, so that searches
 * are short.
 *
 * Who: filter_core.c.
 */
#include "filter_set.h"

#include <stddef.h>
#include <string.h>

static uint32_t place(const struct fc_set *s, struct fc_id id)
{
    uint64_t h = (id.hi * UINT64_C(0x9e3779b97f4a7c15) ^ id.lo) * UINT64_C(0xbf58476d1ce4e5b9);

    h ^= h >> 32;
    return (uint32_t)h & (s->slots - 1);
}

static bool is_free(const struct fc_set *s, uint32_t at)
{
    return (s->slot[at].hi | s->slot[at].lo) == 0;
}

/* Where the id is, or the free slot where it would be. */
static uint32_t find(const struct fc_set *s, struct fc_id id)
{
    uint32_t at = place(s, id);

    while (!is_free(s, at) && (s->slot[at].hi != id.hi || s->slot[at].lo != id.lo))
        at = (at + 1) & (s->slots - 1);
    return at;
}

void fc_set_init(struct fc_set *s, void *memory, uint32_t slots)
{
    *s = (struct fc_set){ .slot = memory, .slots = slots };
    memset(memory, 0, FC_SET_BYTES(slots));
}

void fc_set_add_all(struct fc_set *s)
{
    s->all = true;
}

void fc_set_add(struct fc_set *s, struct fc_id id)
{
    uint32_t at;

    if (s->all)
        return;
    at = find(s, id);
    if (!is_free(s, at))
        return;
    if (s->used >= s->slots - s->slots / 4) {
        fc_set_add_all(s);
        return;
    }
    s->slot[at] = id;
    s->used++;
}

bool fc_set_has(const struct fc_set *s, struct fc_id id)
{
    return s->all || (s->used > 0 && !is_free(s, find(s, id)));
}

/* Frees a slot, and closes the gap. */
static void free_slot(struct fc_set *s, uint32_t hole)
{
    const uint32_t mask = s->slots - 1;

    for (uint32_t at = (hole + 1) & mask; !is_free(s, at); at = (at + 1) & mask) {
        /* Its place is not behind the hole: then a search would end at the hole. */
        if (((at - place(s, s->slot[at])) & mask) >= ((at - hole) & mask)) {
            s->slot[hole] = s->slot[at];
            hole = at;
        }
    }
    s->slot[hole] = (struct fc_id){ 0, 0 };
    s->used--;
}

bool fc_set_take(struct fc_set *s, struct fc_id *id)
{
    if (s->used == 0 || s->all)
        return false;
    while (is_free(s, s->last & (s->slots - 1)))
        s->last++;
    *id = s->slot[s->last & (s->slots - 1)];
    free_slot(s, s->last & (s->slots - 1));
    return true;
}

void fc_set_clear(struct fc_set *s)
{
    memset(s->slot, 0, FC_SET_BYTES(s->slots));
    s->used = 0;
    s->all = false;
}
