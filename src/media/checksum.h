/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checksum.h - XXH3 of long inputs, with the widest instructions that help on this CPU.
 *
 * xxhash.h uses what the compiler may use in every function, which is SSE2 on x86-64. Wider
 * instructions do not help with short inputs. A payload takes half the time with AVX2.
 */
#ifndef CM_CHECKSUM_H
#define CM_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64. Every variant gives the same sum. */
uint64_t cm_checksum(const void *data, size_t n);

/* The same of data that come in parts. */
struct cm_checksum_parts {
    _Alignas(64) uint64_t state[80];
};
void cm_checksum_begin(struct cm_checksum_parts *p);
void cm_checksum_add(struct cm_checksum_parts *p, const void *data, size_t n);
uint64_t cm_checksum_end(const struct cm_checksum_parts *p);

/* The routines that this CPU can run, best first; NULL after the last one. cm_checksum() uses the
 * first one. */
typedef uint64_t (*cm_checksum_fn)(const void *data, size_t n);
cm_checksum_fn cm_checksum_variant(size_t i);

/* AVX2 is used on x86-64, but not on Windows: gcc spills AVX2 registers there to a stack that is
 * aligned to 16 bytes only (gcc bug 54412). NEON needs no choice: every arm64 CPU has it. */
#if defined(__x86_64__) && !defined(_WIN32)
#define CM_CHECKSUM_HAS_AVX2 1
uint64_t cm_checksum_avx2(const void *data, size_t n);
void cm_checksum_add_avx2(struct cm_checksum_parts *p, const void *data, size_t n);
#endif

#endif
