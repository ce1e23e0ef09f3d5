/* SPDX-License-Identifier: BSD-2-Clause
 *
 * weak.h - a weak memory for threads that run one at a time: a load may give a value that another
 * thread has overwritten, wherever no order of the program forbids that. weak.c says how.
 *
 * Nothing happens before weak_begin(). Then each access that turns.h makes a step is told here,
 * after it was made.
 */
#ifndef CM_TESTS_WEAK_H
#define CM_TESTS_WEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PAST: past the caches, ordered by the thread's next fence only. GUARDED: of persist.h, an acquire
 * that also stays behind the thread's seq_cst operations. */
enum weak_order {
    WEAK_PAST,
    WEAK_RELAXED,
    WEAK_ACQUIRE,
    WEAK_GUARDED,
    WEAK_RELEASE,
    WEAK_ACQ_REL,
    WEAK_SEQ_CST
};

#define WEAK_CHUNK 512u /* a payload is tracked in pieces of this size, by their first words */

/* Begins: all memory is as it is, and all threads know it. The seed decides what loads give. */
void weak_begin(uint64_t seed);
void weak_end(void);
/* The number of the calling thread. */
void weak_thread(unsigned thread);

/* n bytes, 1, 2, 4 or 8, were loaded to *v, which may be changed to an older value. */
void weak_loaded(const void *p, void *v, size_t n, enum weak_order order);
/* Before a store to p, and behind it. */
void weak_storing(const void *p, size_t n);
void weak_stored(const void *p, size_t n, enum weak_order order);
/* *p was *old; if it is the same now, it was not changed (a swap that failed). */
void weak_updated(const void *p, const void *old, size_t n, enum weak_order order);
/* n bytes, any number of words, were copied from p; are copied to p; were copied to p. */
void weak_copied_from(const void *p, void *to, size_t n);
void weak_copying_to(const void *p, size_t n);
void weak_copied_to(const void *p, size_t n, enum weak_order order);

void weak_fence_acquire(void);
void weak_fence_release(void); /* also of stores past the caches */
void weak_fence_seq_cst(void);
void weak_locked(const void *lock);
void weak_unlocked(const void *lock);
/* All that was done before it in any thread is known behind it. */
void weak_synchronize(void);

/* How many loads gave an older value so far. */
uint64_t weak_older(void);

#endif
