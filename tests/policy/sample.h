/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sample.h - which blocks a mini-simulation looks at, and how large it is.
 *
 * A block has a place on a circle of 2^32 points, and the sample is an arc of it. The place is not
 * a plain hash: from a file's block to the next it moves by the golden section of the circle, so
 * that of any run of blocks, at any stride, about the sample's share is in the sample. Blocks of a
 * run have much in common; plain hashing would take more of one run and fewer of another (twice the
 * error, measured).
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "s3r.h"
#include "trace.h"

static inline uint32_t sample_place(uint64_t key)
{
    uint32_t file = (uint32_t)(key >> TRACE_BLOCK_BITS), block = (uint32_t)key;
    return (uint32_t)(s3r_hash(file) >> 32) + block * UINT32_C(2654435769);
}

/* Places below this are in the sample; 2^32: all are. */
static inline uint64_t sample_below(uint32_t entries, uint32_t slots)
{
    return entries >= slots ? UINT64_C(1) << 32 : ((uint64_t)entries << 32) / slots;
}

static inline uint32_t sample_scale(uint32_t n, uint64_t below)
{
    uint32_t m = (uint32_t)((n * below + (UINT64_C(1) << 31)) >> 32);
    return n > 0 && m == 0 ? 1 : m;
}

static inline struct s3r_size sample_size(const struct s3r_size *size, uint64_t below)
{
    return (struct s3r_size){ sample_scale(size->slots, below), sample_scale(size->buffer, below),
                              sample_scale(size->window, below),
                              sample_scale(size->probation, below) };
}

static inline struct s3r_rule sample_rule(const struct s3r_rule *rule, uint64_t below)
{
    struct s3r_rule r = *rule;
    r.probation = sample_scale(rule->probation, below);
    r.window = sample_scale(rule->window, below);
    return r;
}

#endif
