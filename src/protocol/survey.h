/* SPDX-License-Identifier: BSD-2-Clause
 *
 * survey.h - one pass over all headers: which blocks are cached.
 */
#ifndef CM_SURVEY_H
#define CM_SURVEY_H

#include "state/file.h"

/* A cached block that the pass has found. slot: CM_NO_SLOT for one in the probation buffer. */
struct cm_surveyed {
    struct cm_key key;
    uint64_t slot;
    uint8_t boot;   /* of the slot's header */
    uint32_t valid; /* bytes */
};

struct cm_survey {
    /* Is the block wanted? It is asked first, of every valid header. */
    bool (*wants)(void *ctx, uint64_t incarnation, uint64_t block);
    /* A wanted block was found. A result other than 0 ends the survey. No lock is held. */
    int (*found)(void *ctx, const struct cm_surveyed *block);
    void *ctx;
};

/* Finds all wanted blocks that a lookup would find: in the pool in the order of their slots, then
 * in the probation buffer. A block that moves meanwhile may be found twice or not. Returns what
 * `found` returned. */
int cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s);
/* The same in parts: of the slots from `first` to before `end`, and of the buffer, which is last.
 */
int cm_survey_slots(struct cm_cache *c, const struct cm_survey *s, uint64_t first, uint64_t end);
int cm_survey_buffer(struct cm_cache *c, const struct cm_survey *s);

#endif
