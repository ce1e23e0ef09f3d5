/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lru.c - least recently used.
 *
 * Owns: one list in order of use. Every block that misses is stored.
 *
 * Who: the simulator, through policy.h.
 */
#include "list.h"

struct lru {
    struct world world;
    struct lists lists;
};

static void *create(const struct world *w, const void *setting)
{
    (void)setting;
    struct lru *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->world = *w;
    if (lists_init(&p->lists, w->blocks))
        return p;
    free(p);
    return NULL;
}

static enum found read_block(void *policy, uint32_t block)
{
    struct lru *p = policy;
    if (p->lists.on[block] == 0) {
        list_move(&p->lists, 0, block);
        return POOL_HIT;
    }
    count_fill(&p->world, p->lists.length[0]);
    if (p->lists.length[0] == p->world.slots)
        list_remove(&p->lists, list_oldest(&p->lists, 0));
    list_push(&p->lists, 0, block);
    return MISS;
}

static void drop(void *policy, uint32_t block)
{
    struct lru *p = policy;
    if (p->lists.on[block] == 0)
        list_remove(&p->lists, block);
}

static void destroy(void *policy)
{
    struct lru *p = policy;
    lists_free(&p->lists);
    free(p);
}

const struct policy policy_lru = {
    "lru", "least recently used", create, read_block, drop, destroy, NULL, NULL
};
