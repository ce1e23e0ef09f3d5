/* SPDX-License-Identifier: BSD-2-Clause
 *
 * list.h - doubly linked lists of blocks, each block on one list at most.
 */
#ifndef LIST_H
#define LIST_H

#include <stdlib.h>

#include "policy.h"

#define LISTS 4u
#define NO_LIST 0xffu

/* Node `blocks + l` is the head of list l: its next is the newest block, its prev the oldest. */
struct lists {
    uint32_t *next, *prev, blocks, length[LISTS];
    uint8_t *on; /* the list a block is on, or NO_LIST */
};

static inline void lists_free(struct lists *l)
{
    free(l->next);
    free(l->prev);
    free(l->on);
}

static inline bool lists_init(struct lists *l, uint32_t blocks)
{
    l->blocks = blocks;
    l->next = malloc((blocks + LISTS) * sizeof(*l->next));
    l->prev = malloc((blocks + LISTS) * sizeof(*l->prev));
    l->on = malloc(blocks + 1);
    if (!l->next || !l->prev || !l->on) {
        lists_free(l);
        return false;
    }
    for (uint32_t b = 0; b < blocks; b++)
        l->on[b] = NO_LIST;
    for (uint32_t i = 0; i < LISTS; i++) {
        l->next[blocks + i] = l->prev[blocks + i] = blocks + i;
        l->length[i] = 0;
    }
    return true;
}

static inline void list_remove(struct lists *l, uint32_t block)
{
    l->length[l->on[block]]--;
    l->on[block] = NO_LIST;
    l->next[l->prev[block]] = l->next[block];
    l->prev[l->next[block]] = l->prev[block];
}

static inline void list_push(struct lists *l, uint32_t list, uint32_t block)
{
    uint32_t head = l->blocks + list;
    l->next[block] = l->next[head];
    l->prev[block] = head;
    l->prev[l->next[head]] = block;
    l->next[head] = block;
    l->on[block] = (uint8_t)list;
    l->length[list]++;
}

static inline void list_move(struct lists *l, uint32_t list, uint32_t block)
{
    list_remove(l, block);
    list_push(l, list, block);
}

/* The oldest block of a list that is not empty. */
static inline uint32_t list_oldest(const struct lists *l, uint32_t list)
{
    return l->prev[l->blocks + list];
}

/* Counts a fill when `used` slots hold something before it. */
static inline void count_fill(const struct world *w, uint32_t used)
{
    w->tally->fills++;
    if (used < w->slots && used == w->tally->first_fills)
        w->tally->first_fills++;
}

#endif
