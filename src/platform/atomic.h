/* SPDX-License-Identifier: BSD-2-Clause
 *
 * atomic.h - atomic operations that have their order in their name.
 *
 * The only place with raw atomics. Every use says in a comment what it pairs with. Objects are
 * plain fixed-width integers: some of them lie in the pool file, whose layout must not depend on
 * how a compiler lays out _Atomic. A port to MSVC replaces this header only.
 *
 * Do NOT use these for words inside the pool. Use persist.h, which also guards against unreadable
 * media.
 */
#ifndef CM_ATOMIC_H
#define CM_ATOMIC_H

#include <stdint.h>

#define at_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define at_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define at_load_seq_cst(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)

#define at_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define at_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define at_store_seq_cst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

/* All of these return the value before the operation. */
#define at_add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define at_add_acq_rel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define at_add_seq_cst(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define at_sub_acq_rel(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define at_or_relaxed(p, v) __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
#define at_or_acq_rel(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define at_and_release(p, v) __atomic_fetch_and((p), (v), __ATOMIC_RELEASE)
#define at_swap_acq_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)

/* *expected is updated on failure; returns nonzero on success. */
#define at_cas_acq_rel(p, expected, desired)                                                       \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define at_cas_seq_cst(p, expected, desired)                                                       \
    __atomic_compare_exchange_n((p), (expected), (desired), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

#define at_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define at_fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* A hint that never faults, wherever p points. */
#define at_prefetch(p) __builtin_prefetch((p), 0, 3)

/* The number of the lowest set bit of a word. The word is not zero. */
#define at_lowest_bit(word) ((unsigned)__builtin_ctz(word))
#define at_lowest_bit64(word) ((unsigned)__builtin_ctzll(word))

#if defined(__x86_64__)
#define at_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define at_pause() __asm__ volatile("yield")
#else
#define at_pause() ((void)0)
#endif

#if defined(__SANITIZE_THREAD__)
#define CM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CM_TSAN 1
#endif
#endif

#endif
