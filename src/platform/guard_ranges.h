/* SPDX-License-Identifier: BSD-2-Clause
 *
 * guard_ranges.h - the table of guarded address ranges. The fault handler of every system looks
 * into it. On each platform one file includes this header: the one that implements
 * cm_plat_guard_add(). That file has the lock for writers. The handler reads without the lock.
 */
#ifndef CM_GUARD_RANGES_H
#define CM_GUARD_RANGES_H

#include "platform/atomic.h"
#include "platform/platform.h"

#define GUARD_RANGES 64u

/* A free entry has base 0. */
static struct {
    uintptr_t base;
    uintptr_t len;
} guard_ranges[GUARD_RANGES];

/* Does [addr, addr + span) meet a registered range? Safe in a handler. */
static bool guard_covers(uintptr_t addr, uintptr_t span)
{
    for (size_t i = 0; i < GUARD_RANGES; i++) {
        /* Acquire: pairs with the release in guard_range_add, so that a thread that sees a base
         * also sees its len. */
        const uintptr_t base = at_load_acquire(&guard_ranges[i].base);
        const uintptr_t len = at_load_relaxed(&guard_ranges[i].len);

        if (base != 0 && addr < base + len && base < addr + span) {
            return true;
        }
    }
    return false;
}

/* The lock is held. CM_ENOMEM: the table is full. */
static int guard_range_add(const void *base, size_t len)
{
    for (size_t i = 0; i < GUARD_RANGES; i++) {
        if (at_load_relaxed(&guard_ranges[i].base) == 0) {
            at_store_relaxed(&guard_ranges[i].len, (uintptr_t)len);
            at_store_release(&guard_ranges[i].base, (uintptr_t)base); /* pairs with guard_covers */
            return 0;
        }
    }
    return CM_ENOMEM;
}

/* The lock is held. The handlers stay installed: removing them could undo what others installed
 * since. */
static void guard_range_remove(const void *base)
{
    for (size_t i = 0; i < GUARD_RANGES; i++) {
        if (at_load_relaxed(&guard_ranges[i].base) == (uintptr_t)base) {
            at_store_release(&guard_ranges[i].base, (uintptr_t)0);
            break;
        }
    }
}

#endif
