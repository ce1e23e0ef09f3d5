/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.h - simulated origin files whose state survives a power cut.
 *
 * The state lies in a file of its own beside the pool, mapped with MAP_SYNC, so that the guest's
 * next boot knows what every block held, which of it was synced, and which blocks the cache had
 * reported stored. Content is a function of (file, block, version); a version number is never used
 * twice, so a stale block is never taken for a right one.
 */
#ifndef ORIGIN_H
#define ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "cachemax.h"

#define FILES 6u
#define BLOCKS 96u /* of one file */
#define BLOCK ((uint64_t)CM_BLOCK_SIZE)

/* What the program was doing when the power went. */
enum doing { NOTHING_YET, OPENING, FILLING, BEGINNING, ENDING, SYNCING, CLOSING, OTHER };

struct origin_file {
    uint64_t size, synced_size;
    int64_t stamp, synced_stamp; /* mtime and ctime */
    uint64_t unsynced;           /* something of it may be lost in a power cut */
    uint64_t clean;              /* the cache promised to keep its stored blocks */
    uint64_t version[BLOCKS], synced[BLOCKS];
    uint64_t stored[BLOCKS]; /* 1: the cache reported it stored, and nothing dropped it since */
};

struct origin {
    uint64_t magic; /* last to be written when it is made */
    uint64_t boot;  /* counts the program's starts */
    int64_t tick;   /* of the last stamp */
    uint64_t next_version;
    uint64_t slack;           /* how many stored blocks the cache may be evicting at this moment */
    uint64_t doing, brackets; /* enum doing, and how many brackets are open */
    struct origin_file file[FILES];
};

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* n > 0 */

/* Maps the state in `path`, made if it is missing. Exits when MAP_SYNC is refused. */
struct origin *origin_open(const char *path);
bool origin_ready(const struct origin *o);
/* First use: fills the files. The pool must exist and be empty. */
void origin_init(struct origin *o, struct rng *r);

void origin_block(const struct origin *o, unsigned f, uint64_t block, void *to);
/* Is p what the file holds at [offset, offset+n), and does the file reach that far? */
bool origin_is(const struct origin *o, unsigned f, uint64_t offset, const void *p, uint64_t n);

/* Changes. Each block gets a new version; the stamp moves. */
void origin_write(struct origin *o, unsigned f, uint64_t first, uint64_t blocks, uint64_t size);
void origin_stamp(struct origin *o, unsigned f, int64_t stamp); /* 0: the next tick */
void origin_sync(struct origin *o, unsigned f);
/* What a power cut does to the file: any of what was not synced is lost, with its stamp or not. */
void origin_power_cut(struct origin *o, unsigned f, struct rng *r);

cm_file_id origin_id(unsigned f);
cm_validator origin_validator(const struct origin *o, unsigned f, bool racy);

#endif
