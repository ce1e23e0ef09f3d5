/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checksum.c - chooses how this CPU sums payloads.
 *
 * Owns: the choice, no state but one function pointer, and the routine that every CPU can run.
 *
 * Who: media/.
 */
#include "media/checksum.h"

#include "platform/atomic.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef CM_CHECKSUM_HAS_AVX2
#include "persist/cpu_x86.h"
#endif

/* NULL until the first sum. Every thread that finds NULL computes the same value, so a relaxed
 * race to store it is harmless; it pairs with nothing. */
static cm_checksum_fn best_sum;

static uint64_t sum_any(const void *data, size_t n)
{
    return XXH3_64bits(data, n);
}

cm_checksum_fn cm_checksum_variant(size_t i)
{
#ifdef CM_CHECKSUM_HAS_AVX2
    if ((cm_x86_features() & CM_X86_AVX2) != 0 && i-- == 0) {
        return cm_checksum_avx2;
    }
#endif
    return i == 0 ? sum_any : NULL;
}

uint64_t cm_checksum(const void *data, size_t n)
{
    cm_checksum_fn sum = at_load_relaxed(&best_sum);

    if (sum == NULL) {
        sum = cm_checksum_variant(0);
        at_store_relaxed(&best_sum, sum);
    }
    return sum(data, n);
}

static XXH3_state_t *state_of(struct cm_checksum_parts *p)
{
    _Static_assert(sizeof(XXH3_state_t) <= sizeof(p->state), "room for the state");
    return (XXH3_state_t *)(void *)p->state;
}

void cm_checksum_begin(struct cm_checksum_parts *p)
{
    (void)XXH3_64bits_reset(state_of(p));
}

void cm_checksum_add(struct cm_checksum_parts *p, const void *data, size_t n)
{
#ifdef CM_CHECKSUM_HAS_AVX2
    if (cm_checksum_variant(0) == cm_checksum_avx2) { /* both keep the same state */
        cm_checksum_add_avx2(p, data, n);
        return;
    }
#endif
    (void)XXH3_64bits_update(state_of(p), data, n);
}

uint64_t cm_checksum_end(const struct cm_checksum_parts *p)
{
    return XXH3_64bits_digest((const XXH3_state_t *)(const void *)p->state);
}
