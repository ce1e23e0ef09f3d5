/* SPDX-License-Identifier: BSD-2-Clause
 *
 * chain.c - the rival that is the limit: the memory accesses that no cache like this one can leave
 * out, and nothing else.
 *
 * A hit has to read a line of the index, which leads to a slot; then the slot's header; then it
 * copies the payload; then it reads the header again. The chain does this on the same pool, with
 * the lines of the pool's own index and headers. It has no checks, no hash of any quality, no
 * counters and no policy. Each address depends on what was read before, as in a real lookup: `none`
 * is zero, which the compiler does not know.
 *
 * Owns the geometry of the pool that is measured. The rows are in reads.c.
 *
 * Who: reads.c, world.c.
 */
#include "tool/bench/bench.h"

#include "media/format.h"

#include <string.h>

static struct cm_geometry geo;
static volatile uint64_t none; /* always 0 */

bool bench_chain_make(struct bench *b)
{
    struct cm_super super;

    memcpy(&super, b->base, sizeof(super));
    return cm_format_geometry(&super, &geo) == 0;
}

/* The line of the index that belongs to a number: spread evenly over all lines. */
static inline const uint64_t *line_of(const struct bench *b, uint32_t number)
{
    const uint64_t lines = geo.stripes * geo.stripe_buckets;
    const uint64_t at = (uint64_t)(number * UINT32_C(0x9e3779b1)) * lines >> 32;

    return (const uint64_t *)(const void *)(b->base + geo.index_offset +
                                            at * sizeof(struct cm_bucket));
}

static inline uint64_t slot_of(const struct bench *b, uint32_t at)
{
    return ((uint64_t)(b->where[at] - b->base) - geo.slot_offset) / BENCH_BLOCK;
}

static inline const volatile uint64_t *header_of(const struct bench *b, uint64_t slot)
{
    return (const volatile uint64_t *)(const volatile void *)(b->base + geo.header_offset +
                                                              slot * sizeof(struct cm_header));
}

/* Copies the payload between two looks at its header. */
static inline void copy_slot(const struct bench *b, uint64_t slot, uint8_t *to)
{
    const volatile uint64_t *header = header_of(b, slot);
    const uint64_t before = header[0];

    (void)bench_copy(to, b->base + geo.slot_offset + slot * BENCH_BLOCK, BENCH_BLOCK);
    if (header[0] != before)
        bench_fail("chain", "a header changed");
}

void bench_chain(struct bench *b, unsigned n)
{
    const uint64_t zero = none;

    while (n--) {
        const uint32_t at = bench_next(b);
        copy_slot(b, slot_of(b, at) + (line_of(b, b->order[at])[0] & zero), b->buffer);
    }
}

void bench_chain_many(struct bench *b, unsigned n)
{
    const uint64_t zero = none;
    uint64_t slot[BENCH_MANY];

    while (n--) {
        for (unsigned i = 0; i < BENCH_MANY; i++) {
            const uint32_t at = bench_next(b);
            slot[i] = slot_of(b, at) + (line_of(b, b->order[at])[0] & zero);
        }
        for (unsigned i = 0; i < BENCH_MANY; i++)
            copy_slot(b, slot[i], b->buffer + i * BENCH_BLOCK);
    }
}

/* Here one lookup waits for the one before: its caller has to know the answer to go on. Without
 * that, a CPU would load the lines of many lookups at the same time. */
void bench_two_lines(struct bench *b, unsigned n)
{
    const uint64_t zero = none;
    uint64_t before = 0;

    while (n--) {
        const uint32_t number = b->order[bench_next(b)] + (uint32_t)before;
        before = (line_of(b, number)[0] | line_of(b, ~number)[0]) & zero;
    }
    none = before; /* so that the compiler keeps the loads */
}
