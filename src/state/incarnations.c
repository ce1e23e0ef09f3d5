/* SPDX-License-Identifier: BSD-2-Clause
 *
 * incarnations.c - a table that leads from an incarnation to a number.
 *
 * Owns: the memory of the tables. It is a hash table with open addressing. Memory is allocated
 * while no lock but quotas.looking is held; an entry needs none.
 *
 * Who: state/.
 */
#include "state/incarnations.h"

#define ROOM_MIN 64u

/* The cell of an incarnation, or the empty one where it belongs. There is room. */
static uint64_t cell_of(const struct cm_incarnations *t, uint64_t incarnation)
{
    uint64_t at = (incarnation * UINT64_C(0x9e3779b97f4a7c15)) >> 20;
    assert(t->cells > t->used && (t->cells & (t->cells - 1)) == 0 && incarnation != 0);
    for (;; at++) {
        const uint64_t i = at & (t->cells - 1);
        if (t->cell[i].incarnation == 0 || t->cell[i].incarnation == incarnation)
            return i;
    }
}

struct cm_incarnation *cm_incarnations_find(const struct cm_incarnations *t, uint64_t incarnation)
{
    if (t->used == 0 || incarnation == 0)
        return NULL;
    struct cm_incarnation *at = &t->cell[cell_of(t, incarnation)];
    return at->incarnation != 0 ? at : NULL;
}

struct cm_incarnation *cm_incarnations_add(struct cm_incarnations *t, uint64_t incarnation)
{
    if (incarnation == 0 || 2 * (t->used + 1) > t->cells)
        return NULL;
    struct cm_incarnation *at = &t->cell[cell_of(t, incarnation)];
    assert(at->incarnation == 0);
    *at = (struct cm_incarnation){ incarnation, 0 };
    t->used++;
    return at;
}

/* Those behind it in the same run are entered again, so that they are found. */
void cm_incarnations_drop(struct cm_incarnations *t, struct cm_incarnation *at)
{
    uint64_t i = (uint64_t)(at - t->cell);
    t->used--;
    at->incarnation = 0;
    for (i = (i + 1) & (t->cells - 1); t->cell[i].incarnation != 0; i = (i + 1) & (t->cells - 1)) {
        const struct cm_incarnation again = t->cell[i];
        t->cell[i].incarnation = 0;
        t->cell[cell_of(t, again.incarnation)] = again;
    }
}

int cm_incarnations_room(struct cm_cache *c, struct cm_lock *lock, struct cm_incarnations *t,
                         uint64_t more)
{
    for (;;) {
        cm_lock_acquire(lock);
        const uint64_t had = t->cells;
        const bool room = 2 * (t->used + more) <= had;
        cm_lock_release(lock);
        if (room)
            return 0;
        const uint64_t cells = had ? 2 * had : ROOM_MIN;
        struct cm_incarnation *wide = cm_cache_alloc(c, (size_t)cells * sizeof(*wide)), *old = wide;
        if (!wide)
            return CM_ENOMEM;
        cm_lock_acquire(lock);
        if (t->cells == had) { /* else another thread was faster */
            old = t->cell;
            t->cell = wide;
            t->cells = cells;
            for (uint64_t i = 0; i < had; i++)
                if (old[i].incarnation != 0)
                    t->cell[cell_of(t, old[i].incarnation)] = old[i];
        }
        cm_lock_release(lock);
        cm_cache_free(c, old, (size_t)(old == wide ? cells : had) * sizeof(*wide));
    }
}

void cm_incarnations_free(struct cm_cache *c, struct cm_incarnations *t)
{
    cm_cache_free(c, t->cell, (size_t)t->cells * sizeof(*t->cell));
    *t = (struct cm_incarnations){ .cells = 0 };
}
