/* SPDX-License-Identifier: BSD-2-Clause
 *
 * share.h - what an owner, the readers and their parent share: the origin, and what is known of it.
 *
 * A block of a file is a version number, spread over the block so that no part of it can be taken
 * for that of another file, block or version. Versions of a block only grow.
 */
#ifndef SHARE_H
#define SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "../model/origin.h" /* struct rng */
#include "cachemax.h"

#define FILES 4u
#define BLOCKS 64u
#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define READERS_MAX 16u
#define POOL_SIZE (UINT64_C(2) << 20)
#define POOL_FILES 24u /* records of other files push those of ours out */

/* The origin. All atomic. */
struct file {
    /* Whoever reads the origin gets this version or a later one. A hit that begins now must not be
     * older than `told`: the owner was told of all before it, by a call that has returned. */
    uint64_t version[BLOCKS], told[BLOCKS];
    uint64_t change; /* the validator: another number after each change */
    uint64_t size, size_told;
    uint64_t shrinks; /* odd: a truncation runs */
};

struct counts { /* of a reader; atomic */
    uint64_t operations, hits, misses, ends;
};

struct shared {
    struct file file[FILES];
    uint64_t next; /* the next version */
    uint64_t stop; /* 1: everybody ends */
    uint64_t wrong;
    uint64_t sessions; /* owners that have opened the pool */
    uint64_t owner_operations;
    struct counts counts[READERS_MAX];
    char said[512]; /* of the first wrong byte */
};

extern struct shared *shared;
extern const char *pool_path;
extern const char *owner_doing; /* the owner's present operation, for messages */

static inline uint64_t get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
static inline void set(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}
static inline uint64_t add(uint64_t *p, uint64_t v)
{
    return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST);
}

void make_block(unsigned file, unsigned block, uint64_t version, uint8_t to[CM_BLOCK_SIZE]);
cm_file_id id_of(unsigned file);
/* The validator of now. */
cm_validator validator_of(unsigned file, bool with_size);

/* Both run until the end. */
void be_owner(uint64_t seed);
void be_reader(unsigned number, uint64_t seed);

#endif
