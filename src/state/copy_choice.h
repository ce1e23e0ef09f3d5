/* SPDX-License-Identifier: BSD-2-Clause
 *
 * copy_choice.h - which copy routine hits use, by measurement.
 */
#ifndef CM_COPY_CHOICE_H
#define CM_COPY_CHOICE_H

#include "state/cache_state.h"

#define CM_COPY_CANDIDATES 5u

/* Candidates, and what was measured of each. */
struct cm_copy_choice {
    uint32_t over;  /* atomic; nothing is measured any more */
    uint32_t busy;  /* atomic; a thread measures. It owns what follows */
    uint32_t n;     /* candidates; the first is the start value */
    uint32_t turns; /* that were measured */
    uint32_t tries; /* that were begun */
    uint64_t random;
    struct {
        const char *name;
        cm_guard_take_fn take;
        uint64_t ns; /* of all turns */
    } candidate[CM_COPY_CANDIDATES];
    uint32_t chosen; /* atomic; index */
};

/* Bytes of DRAM for c->copy, zeroed. */
uint64_t cm_copy_choice_bytes(void);
/* Called at an open. Sets c->media.take to the start value. `measure`: else that is all. */
void cm_copy_choice_begin(struct cm_cache *c, bool measure);
/* Measures for some microseconds, and makes the choice when it knows enough. Called beside hits,
 * now and then. No lock is held; the calling thread may touch the pool. */
void cm_copy_choice_measure(struct cm_cache *c);
static inline bool cm_copy_choice_is_over(const struct cm_cache *c)
{
    return !c->copy || at_load_relaxed(&c->copy->over);
}
/* Name of the routine that hits use; "" if they copy in steps. *measured: it was chosen by
 * measurement. */
const char *cm_copy_choice_name(const struct cm_cache *c, bool *measured);

#endif
