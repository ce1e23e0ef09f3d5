/* SPDX-License-Identifier: BSD-2-Clause
 *
 * arc.c - ARC (Megiddo and Modha, FAST'03), as figure 4 of that paper has it.
 *
 * Owns: T1 (read once lately) and T2 (more often), which hold blocks; B1 and B2, which remember
 * what left them; and the target length of T1, which hits in B1 raise and hits in B2 lower.
 *
 * Who: the simulator, through policy.h.
 */
#include "list.h"

enum { T1, T2, B1, B2 };

struct arc {
    struct world world;
    struct lists lists;
    double target; /* of T1's length */
};

static void *create(const struct world *w, const void *setting)
{
    (void)setting;
    struct arc *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->world = *w;
    if (lists_init(&p->lists, w->blocks))
        return p;
    free(p);
    return NULL;
}

/* Moves one block from T1 or T2 to its ghost list, when the slots are full. */
static void replace(struct arc *p, bool in_b2)
{
    const uint32_t *length = p->lists.length;
    if (length[T1] + length[T2] < p->world.slots)
        return;
    bool from_t1 = length[T1] > 0 && (length[T1] > p->target || length[T2] == 0 ||
                                      (in_b2 && length[T1] == (uint32_t)p->target));
    uint32_t from = from_t1 ? T1 : T2;
    list_move(&p->lists, from_t1 ? B1 : B2, list_oldest(&p->lists, from));
}

static void remember_again(struct arc *p, uint32_t block)
{
    const uint32_t *length = p->lists.length;
    bool in_b2 = p->lists.on[block] == B2;
    double mine = length[in_b2 ? B2 : B1], other = length[in_b2 ? B1 : B2];
    double step = other > mine ? other / mine : 1;
    p->target += in_b2 ? -step : step;
    if (p->target < 0)
        p->target = 0;
    if (p->target > p->world.slots)
        p->target = p->world.slots;
    replace(p, in_b2);
    list_move(&p->lists, T2, block);
}

static void first_time(struct arc *p, uint32_t block)
{
    struct lists *l = &p->lists;
    uint32_t once = l->length[T1] + l->length[B1];
    uint32_t all = once + l->length[T2] + l->length[B2];
    if (once >= p->world.slots && l->length[B1] == 0) {
        list_remove(l, list_oldest(l, T1));
    } else {
        if (once >= p->world.slots)
            list_remove(l, list_oldest(l, B1));
        else if (all >= 2 * p->world.slots && l->length[B2] > 0)
            list_remove(l, list_oldest(l, B2));
        replace(p, false);
    }
    list_push(l, T1, block);
}

static enum found read_block(void *policy, uint32_t block)
{
    struct arc *p = policy;
    uint8_t on = p->lists.on[block];
    if (on == T1 || on == T2) {
        list_move(&p->lists, T2, block);
        return POOL_HIT;
    }
    count_fill(&p->world, p->lists.length[T1] + p->lists.length[T2]);
    if (on == NO_LIST)
        first_time(p, block);
    else
        remember_again(p, block);
    return MISS;
}

static void drop(void *policy, uint32_t block)
{
    struct arc *p = policy;
    if (p->lists.on[block] == T1 || p->lists.on[block] == T2)
        list_remove(&p->lists, block);
}

static void destroy(void *policy)
{
    struct arc *p = policy;
    lists_free(&p->lists);
    free(p);
}

const struct policy policy_arc = { "arc", "ARC", create, read_block, drop, destroy, NULL, NULL };
