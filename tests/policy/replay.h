/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay.h - a trace against a policy.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include "policy/size_curve.h"
#include "s3r_policies.h"
#include "trace.h"

struct result {
    uint64_t hits, buffer_hits;     /* the latter are among the former */
    uint64_t late_reads, late_hits; /* of the trace's second half */
    struct tally tally;
};

/* False: not enough memory. `setting` is for policies that have none of their own. */
bool replay(const struct trace *t, const struct policy *policy, const struct s3r_setting *setting,
            uint32_t slots, enum restart restart, struct result *r);

struct curve_result {
    uint32_t slots[CM_CURVE_SIZES];
    double estimate[CM_CURVE_SIZES], truth[CM_CURVE_SIZES]; /* hit ratios */
};

/* A policy of the library, one with a single rule, with the curve beside it; then by itself at each
 * size of the curve. */
bool replay_curve(const struct trace *t, const struct s3r_setting *setting, uint32_t slots,
                  struct curve_result *r);

#endif
