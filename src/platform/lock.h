/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lock.h - the one mutex of the library: 4 bytes, so that a stripe fits a cache line.
 *
 * After Drepper 2011, "Futexes Are Tricky", mutex 2. The word: 0 free, 1 held, 2 held and a thread
 * may sleep. The lock first spins a little, because nearly every critical section here is shorter
 * than a system call.
 *
 * Lock order, outermost first: checkpoint or survey of groups, files table, file, one stripe, one
 * leaf. The leaves are the free list, the superblock, the claims of the probation buffer, the
 * simulations, the table of flights, the kept files, the groups and the end of the file.
 * docs/concurrency.md has more.
 */
#ifndef CM_LOCK_H
#define CM_LOCK_H

#include <assert.h>
#include <stdbool.h>

#include "platform/atomic.h"
#include "platform/platform.h"

struct cm_lock {
    uint32_t word;
};

#define CM_LOCK_SPINS 64

static inline void cm_lock_acquire(struct cm_lock *l)
{
    uint32_t seen = 0;
    for (int i = 0; i < CM_LOCK_SPINS; i++) {
        seen = 0;
        /* Acquire: pairs with the swap in cm_lock_release. */
        if (at_cas_acq_rel(&l->word, &seen, 1))
            return;
        at_pause();
    }
    while (at_swap_acq_rel(&l->word, 2) != 0) /* acquire, as above */
        cm_plat_wait(&l->word, 2);
}

/* Never sleeps. False: it was held as long as cm_lock_acquire would spin. */
static inline bool cm_lock_try(struct cm_lock *l)
{
    for (int i = 0; i < CM_LOCK_SPINS; i++) {
        uint32_t seen = 0;
        /* As in cm_lock_acquire. */
        if (at_load_relaxed(&l->word) == 0 && at_cas_acq_rel(&l->word, &seen, 1))
            return true;
        at_pause();
    }
    return false;
}

/* For asserts: is the lock held? */
static inline bool cm_lock_is_held(const struct cm_lock *l)
{
    return at_load_relaxed(&l->word) != 0; /* relaxed: the caller should be the holder */
}

static inline void cm_lock_release(struct cm_lock *l)
{
    /* Release: the next holder sees what was done under the lock. */
    uint32_t was = at_swap_acq_rel(&l->word, 0);
    assert(was != 0 && "released a lock that was not held");
    if (was == 2)
        cm_plat_wake_one(&l->word);
}

#endif
