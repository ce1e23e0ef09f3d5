/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_verify.h - CM_WARM_VERIFY: what is cached of a range, compared with the origin.
 */
#ifndef CM_WARM_VERIFY_H
#define CM_WARM_VERIFY_H

#include "api/flight.h"
#include "protocol/fill_ticket.h"

#define CM_VERIFY_AHEAD 64u /* runs, at first */
#define CM_VERIFY_PART 64u  /* then one for so many slots of the pool */
#define CM_VERIFY_WORDS (CM_MISS_STRIPES * CM_GROUP_BLOCKS / 64)

/* A comparison. */
struct cm_comparison {
    cm_file *file;
    struct cm_object *f;
    uint64_t pos, end;             /* blocks that nobody has looked at yet */
    cm_range few[CM_VERIFY_AHEAD]; /* room for the first runs */
    cm_range *ahead;               /* runs that were cached when cm_compare_seek() looked */
    size_t room;                   /* for them: `few`, or memory of its own */
    size_t run, runs;              /* the next one of them, and how many there are */
    /* What is being read, or was read last. */
    uint64_t first, n; /* blocks; n 0: nothing is being read */
    cm_miss miss;      /* its tickets */
    struct cm_buffer buffer;
    /* A bit for each block from `base` on. */
    uint64_t base;
    uint64_t again[CM_VERIFY_WORDS]; /* it differed, and the tickets did not hold */
    unsigned tries;                  /* of the first one of these */
    /* What was found since the beginning; bytes, but for the last two. */
    uint64_t verified, differed, undecided;
    uint64_t blocks; /* that differed */
    uint64_t at;     /* the first one */
    bool stuck;      /* some of them, or one that is undecided, could not be forgotten */
};

/* NULL: there is no memory. */
struct cm_comparison *cm_compare_new(cm_file *file, struct cm_object *f);
/* The piece that is being read will not be completed. `v` may be NULL. */
void cm_compare_free(struct cm_comparison *v, cm_cache *c);
/* Goes on with blocks [first, end). The range before is done. */
void cm_compare_begin(struct cm_comparison *v, uint64_t first, uint64_t end);
/* The first byte from `pos` on that is cached, and in *run how many are so from there on;
 * CM_OFFSET_MAX: there is none. Mostly it knows. Else it looks for the next runs: at first for a
 * few, then for so many that CM_VERIFY_PART such looks find all that a pool can hold, if there is
 * memory for that. A look costs what cm_file_ranges() does: mostly one pass over the headers at
 * most, and some more if blocks go meanwhile. What is stored after a look, it may pass over, and
 * seldom the rest of a run whose beginning goes. */
uint64_t cm_compare_seek(struct cm_comparison *v, uint64_t pos, uint64_t *run);
/* Is anything left to compare? Moves the position to it. */
bool cm_compare_more(struct cm_comparison *v);
/* After cm_compare_more(). CM_REQUEST_READ: *piece is to be read from the origin, then
 * cm_compare_complete() to be called. CM_EHANDLE. CM_ENOMEM: there is no buffer now. */
int cm_compare_next(struct cm_comparison *v, cm_piece *piece);
/* The origin gave `got` bytes of the piece; less only at its end. Compares, and forgets what
 * differs. CM_EHANDLE; other errors: it could not be forgotten, and the file is not served. */
int cm_compare_complete(struct cm_comparison *v, uint64_t got);
/* How long to wait before the next piece: others change what it has. 0: not at all. */
uint64_t cm_compare_nap_ns(const struct cm_comparison *v);
/* The piece will not be completed. */
void cm_compare_cancel(struct cm_comparison *v);
/* Logs what was wrong, if anything was. The file need not be open any more. */
void cm_compare_say(const struct cm_comparison *v, const cm_cache *c, const cm_file_id *id);

#endif
