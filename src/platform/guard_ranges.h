/* SPDX-License-Identifier: BSD-2-Clause
 *
 * guard_ranges.h - the table of guarded address ranges. The fault handler of every system looks
 * into it. On each platform one file includes this header: the one that implements
 * cm_plat_guard_add(). That file has the lock for writers. The handler reads without the lock.
 *
 * The table is a list of chunks. A chunk that is full gets a successor. Chunks are never freed, so
 * the handler may walk the list at any time. Their number is that of the pools that were open at
 * once, divided by GUARD_RANGES.
 */
#ifndef CM_GUARD_RANGES_H
#define CM_GUARD_RANGES_H

#include <assert.h>

#include "platform/atomic.h"
#include "platform/platform.h"

#define GUARD_RANGES 255u /* in a chunk; with the pointer it fills a page */

struct guard_range {
    uintptr_t base; /* 0: free */
    uintptr_t len;
};

struct guard_chunk {
    struct guard_range range[GUARD_RANGES];
    struct guard_chunk *next; /* atomic; set once */
};

static struct guard_chunk guard_first;

/* Does [addr, addr + span) meet a registered range? Safe in a handler. */
static bool guard_covers(uintptr_t addr, uintptr_t span)
{
    /* Acquire: pairs with the release in guard_grow, so that a thread that sees a chunk sees it
     * zeroed. */
    for (const struct guard_chunk *c = &guard_first; c != NULL; c = at_load_acquire(&c->next)) {
        for (size_t i = 0; i < GUARD_RANGES; i++) {
            /* Acquire: pairs with the release in guard_range_add, so that a thread that sees a base
             * also sees its len. */
            const uintptr_t base = at_load_acquire(&c->range[i].base);
            const uintptr_t len = at_load_relaxed(&c->range[i].len);

            if (base != 0 && addr < base + len && base < addr + span) {
                return true;
            }
        }
    }
    return false;
}

/* The entry of a range, or with base 0 a free entry. NULL: there is none. *last is the last chunk
 * that was looked at. The lock is held. */
static struct guard_range *guard_find(uintptr_t base, struct guard_chunk **last)
{
    for (struct guard_chunk *c = &guard_first; c != NULL; c = at_load_relaxed(&c->next)) {
        *last = c;
        for (size_t i = 0; i < GUARD_RANGES; i++) {
            if (at_load_relaxed(&c->range[i].base) == base) {
                return &c->range[i];
            }
        }
    }
    return NULL;
}

/* All entries are taken: appends a chunk to the last one. A free entry, or NULL: no memory. The
 * lock is held, also while memory() gives zeroed memory. */
static struct guard_range *guard_grow(struct guard_chunk *last, void *(*memory)(size_t))
{
    struct guard_chunk *const c = memory(sizeof *c);

    assert(at_load_relaxed(&last->next) == NULL);
    if (c == NULL) {
        return NULL;
    }
    at_store_release(&last->next, c); /* pairs with guard_covers */
    return &c->range[0];
}

/* The lock is held. CM_ENOMEM: the system has no memory for a longer table. */
static int guard_range_add(const void *base, size_t len, void *(*memory)(size_t))
{
    struct guard_chunk *last = NULL;
    struct guard_range *r = guard_find(0, &last);

    if (r == NULL) {
        r = guard_grow(last, memory);
    }
    if (r == NULL) {
        return CM_ENOMEM;
    }
    at_store_relaxed(&r->len, (uintptr_t)len);
    at_store_release(&r->base, (uintptr_t)base); /* pairs with guard_covers */
    return 0;
}

/* The lock is held. The handlers stay installed: removing them could undo what others installed
 * since. */
static void guard_range_remove(const void *base)
{
    struct guard_chunk *last;
    struct guard_range *const r = guard_find((uintptr_t)base, &last);

    if (base != NULL && r != NULL) {
        at_store_release(&r->base, (uintptr_t)0);
    }
}

#endif
