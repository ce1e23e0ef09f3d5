/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3fifo.c - S3-FIFO (Yang et al., SOSP'23).
 *
 * Owns: a small queue of a tenth of the slots for new blocks, a main one for those read twice while
 * they were in it or remembered by the ghost, and the ghost: what left the small queue, by the
 * number of departures since. It is exact; ghost.c is the one with bounded memory.
 *
 * Who: the simulator, through policy.h.
 */
#include <string.h>

#include "list.h"

enum { SMALL, MAIN };
#define READS_TO_STAY 2u
#define COUNT_MAX 3u

struct s3fifo {
    struct world world;
    struct lists lists;
    uint32_t small_max, window, departures, *departed; /* 0: not remembered */
    uint8_t *count;
};

static void destroy(void *policy)
{
    struct s3fifo *p = policy;
    lists_free(&p->lists);
    free(p->departed);
    free(p->count);
    free(p);
}

static void *create(const struct world *w, const void *setting)
{
    (void)setting;
    struct s3fifo *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->world = *w;
    p->small_max = w->slots < 10 ? 1 : w->slots / 10;
    p->window = w->slots < 2 ? 1 : (uint32_t)((uint64_t)w->slots * 9 / 10); /* as long as main is */
    p->departed = calloc(w->blocks, sizeof(*p->departed));
    p->count = calloc(w->blocks, 1);
    if (lists_init(&p->lists, w->blocks) && p->departed && p->count)
        return p;
    free(p->departed);
    free(p->count);
    free(p);
    return NULL;
}

static void evict_main(struct s3fifo *p)
{
    uint32_t block;
    while (p->count[block = list_oldest(&p->lists, MAIN)] > 0) {
        p->count[block]--;
        list_move(&p->lists, MAIN, block);
    }
    list_remove(&p->lists, block);
}

static void evict_small(struct s3fifo *p)
{
    while (p->lists.length[SMALL] > 0) {
        uint32_t block = list_oldest(&p->lists, SMALL);
        if (p->count[block] < READS_TO_STAY) {
            list_remove(&p->lists, block);
            p->departed[block] = ++p->departures;
            return;
        }
        list_move(&p->lists, MAIN, block);
        p->count[block] = 0;
        if (p->lists.length[MAIN] > p->world.slots - p->small_max) {
            evict_main(p);
            return;
        }
    }
}

static bool remembered(struct s3fifo *p, uint32_t block)
{
    bool yes = p->departed[block] > 0 && p->departures - p->departed[block] < p->window;
    if (yes)
        p->departed[block] = 0;
    return yes;
}

static enum found read_block(void *policy, uint32_t block)
{
    struct s3fifo *p = policy;
    const uint32_t *length = p->lists.length;
    if (p->lists.on[block] != NO_LIST) {
        p->count[block] = (uint8_t)(p->count[block] + (p->count[block] < COUNT_MAX));
        return POOL_HIT;
    }
    uint32_t queue = remembered(p, block) ? MAIN : SMALL;
    count_fill(&p->world, length[SMALL] + length[MAIN]);
    while (length[SMALL] + length[MAIN] >= p->world.slots) {
        if (length[SMALL] >= p->small_max || length[MAIN] == 0)
            evict_small(p);
        else
            evict_main(p);
    }
    p->count[block] = 0;
    list_push(&p->lists, queue, block);
    return MISS;
}

static void drop(void *policy, uint32_t block)
{
    struct s3fifo *p = policy;
    if (p->lists.on[block] != NO_LIST)
        list_remove(&p->lists, block);
}

const struct policy policy_s3fifo = { "s3fifo", "S3-FIFO", create, read_block,
                                      drop,     destroy,   NULL,   NULL };
