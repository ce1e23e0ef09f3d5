/* SPDX-License-Identifier: BSD-2-Clause
 *
 * race.h - what the threads of race.c share, which are in several files.
 */
#ifndef RACE_H
#define RACE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/cache_state.h"
#include "../os.h"
#include "origin.h"

#define FILES 3
#define BLOCKS 48
#define BLOCK CM_BLOCK_SIZE
#define WORDS (BLOCK / 8)
#define VISITED 2
#define GROUPS 2u
#define VISITED_MAX (12 * BLOCK)

/* A file that is open only while a visitor uses it. The lock is the origin's. A thread that holds
 * it for reading knows what a read must return. Visitors ask for attributes, open and close without
 * it. */
struct visited {
    pthread_rwlock_t lock;
    cm_file_id id;
    uint64_t size, stamp;
    uint8_t data[VISITED_MAX];
};

struct race {
    struct visited revised; /* every word of it: version << 16 | size in blocks */
    cm_file *revised_file;
    uint64_t revisions, revised_reads; /* atomic */
    struct visited visited[VISITED];
    uint64_t visits, kept;                      /* atomic */
    uint64_t requests, wakes, warmed, verified; /* atomic */
    uint64_t growths, shares;                   /* atomic */
    uint64_t room;                              /* bytes that the pool may have at last */
    cm_cache *cache;
    cm_file *file[FILES];
    cm_file_id id[FILES];
    pthread_mutex_t lock[FILES][BLOCKS]; /* held to read or write a block whole */
    uint64_t version[FILES][BLOCKS];     /* atomic */
    uint32_t stop;                       /* atomic */
    uint64_t reads, hits, writes, pins;  /* atomic */
    uint64_t stamp[FILES];               /* atomic */
};
extern struct race t;

struct worker {
    pthread_t thread;
    struct rng rng;
    uint8_t *buf;
};

static inline void die(const char *what, int f, uint64_t b, uint64_t got, uint64_t low,
                       uint64_t high)
{
    fprintf(stderr, "FAILED: %s: file %d block %llu: got %llx, allowed %llx..%llx\n", what, f,
            (unsigned long long)b, (unsigned long long)got, (unsigned long long)low,
            (unsigned long long)high);
    abort();
}

static inline void must(int64_t e, const char *what)
{
    if (e < 0)
        fprintf(stderr, "FAILED: %s: %s\n", what, cm_errname((int)e)), abort();
}

static inline int64_t visited_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    const struct visited *o = ctx;
    uint64_t n = offset >= o->size ? 0 : o->size - offset < len ? o->size - offset : len;
    memcpy(buf, o->data + offset, n);
    return (int64_t)n;
}

/* race_revised.c. The file that another program changes as a whole. */
void race_revise(uint64_t blocks);
void *race_reviser(void *worker);
void *race_revised_reader(void *worker);

/* race_shares.c */
void *race_sharer(void *worker);
/* All is quiet. What the sharer has said ends, and each group has counted what it has.
 * `buffered`: some blocks may be in the probation buffer, which groups do not count. */
void race_end_shares(bool buffered);

#endif
