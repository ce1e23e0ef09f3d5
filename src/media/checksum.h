/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checksum.h - XXH3 of long inputs, with the widest instructions that help on this CPU.
 *
 * xxhash.h uses what the compiler may use in every function, which is SSE2 on x86-64. Short inputs
 * gain nothing from more; a payload takes half the time with AVX2.
 */
#ifndef CM_CHECKSUM_H
#define CM_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64. Every variant gives the same. */
uint64_t cm_checksum(const void *data, size_t n);

/* The routines that cm_checksum() chooses from and this CPU can run, best first; NULL beyond them.
 */
typedef uint64_t (*cm_checksum_fn)(const void *data, size_t n);
cm_checksum_fn cm_checksum_variant(size_t i);

/* AVX2 with x86-64, but not on Windows, where gcc puts what AVX2 spills to a stack that is aligned
 * to 16 bytes only (its bug 54412). NEON needs no choice: every CPU with arm64 has it. */
#if defined(__x86_64__) && !defined(_WIN32)
#define CM_CHECKSUM_HAS_AVX2 1
uint64_t cm_checksum_avx2(const void *data, size_t n);
#endif

#endif
