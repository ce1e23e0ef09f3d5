/* SPDX-License-Identifier: BSD-2-Clause
 *
 * copy_choice.h - how hits copy a block, by measurement: the routine, and how many lines are
 * prefetched before it begins.
 */
#ifndef CM_COPY_CHOICE_H
#define CM_COPY_CHOICE_H

#include "state/cache_state.h"

#define CM_COPY_CANDIDATES 12u /* routines times numbers of lines */

/* Candidates, and what was measured of each. */
struct cm_copy_choice {
    uint32_t over;   /* atomic; nothing is measured any more */
    uint32_t busy;   /* atomic; a thread measures. It owns what follows */
    uint32_t n;      /* candidates; the first is the start value */
    uint32_t next;   /* the one whose turn it is */
    uint32_t rounds; /* turns that each candidate had which is still in */
    uint32_t tries;  /* turns that were begun */
    uint64_t random;
    struct cm_copy_candidate {
        const char *name;
        cm_guard_take_fn take;
        uint32_t lines; /* CM_LINES_* */
        bool out;       /* others are so much faster that it gets no more turns */
        uint64_t ns;    /* of all turns */
    } candidate[CM_COPY_CANDIDATES];
    uint32_t chosen; /* atomic; index */
};

/* Bytes of DRAM for c->copy, zeroed. */
uint64_t cm_copy_choice_bytes(void);
/* Called at an open. Sets c->media.take and c->media.lines to the start values. `measure`: else
 * that is all. */
void cm_copy_choice_begin(struct cm_cache *c, bool measure);
/* Measures for some microseconds, and makes the choice when it knows enough. Called beside hits,
 * now and then. No lock is held; the calling thread may touch the pool. */
void cm_copy_choice_measure(struct cm_cache *c);
static inline bool cm_copy_choice_is_over(const struct cm_cache *c)
{
    return !c->copy || at_load_relaxed(&c->copy->over);
}
/* Name of the routine that hits use; "" if they copy in steps. *lines: that they prefetch.
 * *measured: both were chosen by measurement. */
const char *cm_copy_choice_name(const struct cm_cache *c, uint32_t *lines, bool *measured);

#endif
