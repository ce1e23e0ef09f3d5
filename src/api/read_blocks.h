/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_blocks.h - reads of consecutive blocks, as far as they are cached.
 */
#ifndef CM_READ_BLOCKS_H
#define CM_READ_BLOCKS_H

#include "protocol/lookup.h"

/* A read under way. Set the first four, pos = offset, and the rest to zero. */
struct cm_blocks {
    struct cm_object *f;
    uint64_t incarnation; /* of the blocks that are wanted */
    uint64_t offset, end; /* bytes wanted */
    uint64_t pos;         /* what is before it was read */
    uint64_t hits;        /* blocks */
    uint64_t buffered;    /* those of them that came from the probation buffer */
    struct cm_last_home home;
};

/* Reads from run->pos on, as far as the range is cached. `buf`: of byte run->offset. Returns HIT if
 * all was read, else how the lookup of the block at run->pos ended. */
enum cm_found cm_blocks_read(struct cm_blocks *run, uint8_t *buf);
/* The same, but it also stops where it would have to wait for a page of the pool. */
enum cm_found cm_blocks_read_resident(struct cm_blocks *run, uint8_t *buf);

#endif
