/* SPDX-License-Identifier: BSD-2-Clause
 *
 * atomic.h - atomic operations that have their order in their name.
 *
 * The only place with raw atomics. docs/orders.md has the reason of every order, and its partner; a
 * comment at the use tells them where they are not plain. Objects are plain fixed-width integers:
 * some of them lie in the pool file, whose layout must not depend on how a compiler lays out
 * _Atomic. A port to MSVC replaces this header only.
 *
 * Do NOT use these for words inside the pool. Use persist.h, which also guards against unreadable
 * media.
 */
#ifndef CM_ATOMIC_H
#define CM_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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
#define at_and_acq_rel(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
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

/* Is *value what was guessed? Then the guess takes its place. The CPU predicts the comparison and
 * goes on with the guess, before the value is loaded. Not on arm64: if the address of a load
 * depends on a value, arm64 keeps the order of both loads. With the guess it would not. x86 keeps
 * the order of all loads. */
static inline bool at_guessed(uint64_t *value, uint64_t guess)
{
#if defined(__x86_64__)
    if (*value != guess)
        return false;
    __asm__ volatile("" : "+r"(guess)); /* else the compiler takes the value: they are equal */
    *value = guess;
    return true;
#else
    (void)value, (void)guess;
    return false;
#endif
}

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

/* Which of eight words are equal to `want` from bit `shift` on: a bit for each. The loads are
 * relaxed: load a word again with the order that it needs. */
static inline unsigned at_matching8(const uint32_t *word, uint32_t want, unsigned shift)
{
#if defined(__SSE2__) && !defined(CM_TSAN)
    /* A CPU loads each aligned word of a vector at once, and no compiler splits these loads. */
    const __m128i *half = (const __m128i *)(const void *)word;
    const __m128i all = _mm_set1_epi32((int)want), from = _mm_cvtsi32_si128((int)shift);
    const __m128i a = _mm_srl_epi32(_mm_xor_si128(_mm_loadu_si128(half), all), from);
    const __m128i b = _mm_srl_epi32(_mm_xor_si128(_mm_loadu_si128(half + 1), all), from);
    const __m128i same = _mm_packs_epi32(_mm_cmpeq_epi32(a, _mm_setzero_si128()),
                                         _mm_cmpeq_epi32(b, _mm_setzero_si128()));
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(same, _mm_setzero_si128()));
#else
    unsigned matching = 0;
    for (unsigned i = 0; i < 8; i++)
        matching |= (unsigned)((at_load_relaxed(&word[i]) ^ want) >> shift == 0) << i;
    return matching;
#endif
}

#endif
