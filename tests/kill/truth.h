/* SPDX-License-Identifier: BSD-2-Clause
 *
 * truth.h - the data that survives a kill: the origin's files, and the memory that the killed
 * program shares with its parent.
 *
 * A block of an origin file begins with a version number; the rest of it is a function of (file,
 * block, version). Versions of a file only grow, so old bytes are never taken for new ones.
 */
#ifndef TRUTH_H
#define TRUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "../model/origin.h" /* struct rng */
#include "cachemax.h"

#define FILES 8u
#define BLOCKS 128u /* of one file, at most */
#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define THREADS 4u
/* These files change all the time, two other files often, the rest seldom. */
#define CHANGING 2u
#define FOREIGN (FILES - 1) /* this file has other writers, too */

/* X(name): what a thread of the program is doing. */
#define DOING_MAP(X)                                                                               \
    X(starting)                                                                                    \
    X(opening)                                                                                     \
    X(judging)                                                                                     \
    X(reading)                                                                                     \
    X(filling)                                                                                     \
    X(beginning)                                                                                   \
    X(writing)                                                                                     \
    X(ending)                                                                                      \
    X(syncing)                                                                                     \
    X(forgetting)                                                                                  \
    X(attaching)                                                                                   \
    X(growing)                                                                                     \
    X(closing)
enum doing {
#define X(name) DOING_##name,
    DOING_MAP(X)
#undef X
        DOING_COUNT
};

struct truth_file {
    uint64_t next;            /* the next version */
    uint64_t version[BLOCKS]; /* a read that begins now may see this one or a later one */
    uint32_t quiet; /* the cache has no reason to lose what is stored: nothing is going on, and the
                       file's present validator is recorded */
    uint32_t clean; /* it is also synced, so that P4 would cover it at a power cut, too */
    uint8_t stored[BLOCKS]; /* 1: reported stored, or seen to hit, and not forgotten since */
};

struct truth {
    struct truth_file file[FILES];
    uint64_t slack; /* stored blocks that may have been evicted since the last judging */
    uint64_t session;
    uint64_t open_ns, close_ns; /* how long the last opening and closing took */
    uint64_t grow_ns;           /* how long the last growth took */
    uint64_t kill_opening;      /* ns from the beginning of the next opening to the kill; 0: none */
    uint64_t kill_closing;      /* the same for closing; the program closes the pool soon */
    uint32_t doing[THREADS];    /* enum doing */
    struct judged {
        uint64_t judged, looked, hits, cached, covered, clean, missing, checks;
    } sum;
};

/* The settings of a run. */
struct setting {
    const char *dir; /* of pool and origin */
    uint64_t seed;
};

void truth_path(const struct setting *s, char *to, size_t size, const char *name, unsigned f);
/* Makes the origin's files. Exits on errors. */
void truth_make(struct truth *t, const struct setting *s);

/* Acts as another program that rewrites a block of a file while this program does not run. */
void truth_change_offline(struct truth *t, const struct setting *s, struct rng *r);
/* Does a write leave the file's validator as it is, unless its size changes? */
bool truth_own_validator(unsigned f);

void content_make(unsigned f, uint64_t block, uint64_t version, void *to);
/* The version of the block whose content begins with the n bytes at p; 0: there is none. */
uint64_t content_version(unsigned f, uint64_t block, const void *p, uint64_t n);

/* The program: opens the pool, judges what the last kill left, then works until it is killed. With
 * `last` it closes and checks once more. Exits nonzero if something is wrong. */
_Noreturn void child_run(struct truth *t, const struct setting *s, bool last);

#endif
