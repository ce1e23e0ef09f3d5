/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sieve.c - SIEVE (Zhang et al., NSDI'24).
 *
 * Owns: one list in order of arrival, a bit a block, a hand that moves from old to new and takes
 * the first block without the bit. Nothing moves within the list.
 *
 * Who: the simulator, through policy.h.
 */
#include "list.h"

struct sieve {
    struct world world;
    struct lists lists;
    uint32_t hand; /* NONE: at the oldest */
    uint8_t *visited;
};

static void destroy(void *policy)
{
    struct sieve *p = policy;
    lists_free(&p->lists);
    free(p->visited);
    free(p);
}

static void *create(const struct world *w, const void *setting)
{
    (void)setting;
    struct sieve *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->world = *w;
    p->hand = NONE;
    p->visited = calloc(w->blocks, 1);
    if (lists_init(&p->lists, w->blocks) && p->visited)
        return p;
    free(p->visited);
    free(p);
    return NULL;
}

/* The next newer block, or NONE at the newest one. */
static uint32_t newer(const struct sieve *p, uint32_t block)
{
    uint32_t b = p->lists.prev[block];
    return b < p->world.blocks ? b : NONE;
}

static void evict(struct sieve *p)
{
    uint32_t at = p->hand;
    for (;; at = newer(p, at)) {
        if (at == NONE)
            at = list_oldest(&p->lists, 0);
        if (!p->visited[at])
            break;
        p->visited[at] = 0;
    }
    p->hand = newer(p, at);
    list_remove(&p->lists, at);
}

static enum found read_block(void *policy, uint32_t block)
{
    struct sieve *p = policy;
    if (p->lists.on[block] == 0) {
        p->visited[block] = 1;
        return POOL_HIT;
    }
    count_fill(&p->world, p->lists.length[0]);
    if (p->lists.length[0] == p->world.slots)
        evict(p);
    list_push(&p->lists, 0, block);
    p->visited[block] = 0;
    return MISS;
}

static void drop(void *policy, uint32_t block)
{
    struct sieve *p = policy;
    if (p->lists.on[block] != 0)
        return;
    if (p->hand == block)
        p->hand = newer(p, block);
    list_remove(&p->lists, block);
}

const struct policy policy_sieve = {
    "sieve", "SIEVE", create, read_block, drop, destroy, NULL, NULL
};
