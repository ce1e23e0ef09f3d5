/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checksum_avx2.c - XXH3 compiled for AVX2.
 *
 * Owns nothing. All that xxhash.h defines is compiled for AVX2 here, and stays in this file. Called
 * by checksum.c, where the CPU has AVX2.
 *
 * Who: media/.
 */
#include "media/checksum.h"

#ifdef CM_CHECKSUM_HAS_AVX2
#if defined(__clang__)
#include <immintrin.h> /* before the attribute: its functions have their own */
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#include <immintrin.h>
#endif

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

uint64_t cm_checksum_avx2(const void *data, size_t n)
{
    return XXH3_64bits(data, n);
}

void cm_checksum_add_avx2(struct cm_checksum_parts *p, const void *data, size_t n)
{
    (void)XXH3_64bits_update((XXH3_state_t *)(void *)p->state, data, n);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int sum_avx2_is_empty;
#endif
