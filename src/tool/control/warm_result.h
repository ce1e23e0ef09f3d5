/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_result.h - what "cachemax warm" and "cachemax pin" have done, and what they say of it at the
 * end.
 */
#ifndef CM_TOOL_WARM_RESULT_H
#define CM_TOOL_WARM_RESULT_H

#include "tool/control/control.h"

struct some {                /* files that are not cached as a whole */
    uint64_t files, limited; /* limited: those of them that a quota keeps out */
};

struct gone {                  /* they were whole when they were warmed, and are not at the end */
    struct some files, nearly; /* nearly: they miss a small share */
    uint64_t nearly_bytes;     /* of the blocks that these miss */
};

struct comparison {                         /* what was compared */
    uint64_t verified, differed, undecided; /* bytes */
    uint64_t files;                         /* that differed */
    uint64_t unable;                        /* that the mount could not compare */
    uint64_t shared;                        /* the same, because their pool is a service's */
    uint64_t bytes;                         /* of both */
};

struct warm {
    struct tool_progress progress;
    bool pin, verify;
    struct comparison compared;
    struct first_files first;
    const char *pool; /* of the first file; NULL: there is none */
    uint64_t rate;
    uint64_t total, passed; /* bytes of all files; of those that are done */
    uint64_t blocks;        /* bytes of all their blocks, when they are counted again */
    uint64_t cached, stored, read;
    uint64_t files, failed;
    uint64_t left_out; /* by the rules of the mount */
    struct some partly;
    struct gone evicted;        /* they had to make room for later ones */
    struct gone changed;        /* the pool has room: they were written, or forgotten */
    struct control_limit limit; /* the first quota of `limited` */
    bool limits;                /* it is not the only one */
    bool asked, has_room;       /* for `evicted` and `changed`: the answer of a mount, */
    size_t asked_mount;         /* this one */
    bool met_limit;             /* a quota is full, so that a file may push out its own begin */
    uint64_t refused, refused_bytes; /* to be pinned; counted as partly, too */
    uint64_t room, most;             /* that may still be pinned; at all */
    uint64_t crowded;                /* not pinned: too many others are; partly, too */
    uint64_t unrecorded; /* not pinned, because the pool does not know them; partly, too */
    int why;             /* the first reason of others that are cached in part */
    int full;            /* why it ended early: a CM_NOT_STORED_* code, or CM_ECANCELED */
};

/* Has the pool of the mount places that were never used? Then it evicts nothing, and what is gone
 * was written or forgotten. Asks the mount; false also if that does not answer. */
bool warm_has_room(const struct os_mount *m);

/* `all`: the files that were named. What is not as it was wanted, and what to do. */
void warm_say_why(const struct warm *w, uint64_t all);
/* The result: lines, or one JSON object. */
void warm_print(const struct warm *w, uint64_t all);
void warm_print_json(const struct warm *w, uint64_t all);

#endif
