/* SPDX-License-Identifier: BSD-2-Clause
 *
 * block.h - publishing and forgetting blocks: the protocol of docs/concurrency.md, and nothing
 * else. The only place where stripes, index, slots, ring and pins meet.
 */
#ifndef CM_BLOCK_H
#define CM_BLOCK_H

#include "file.h"

/* How a lookup ended. */
enum cm_found {
    CM_FOUND_HIT,
    CM_FOUND_ABSENT,
    CM_FOUND_CONFLICT, /* changed while being read, twice */
    CM_FOUND_CHECKSUM, /* payload wrong; dropped */
    CM_FOUND_MEDIA     /* unreadable; quarantined */
};

/* A lookup on its way, so that those of several blocks can wait for memory side by side: aim asks
 * for the index line, probe reads it and asks for the slot, read copies. */
struct cm_probe {
    struct cm_key key;
    uint64_t slot; /* that probably holds the key, or CM_NO_SLOT */
    bool more;     /* others in the first bucket may hold it, too */
};
void cm_block_aim(const struct cm_cache *c, const struct cm_probe *p);
void cm_block_probe(const struct cm_cache *c, struct cm_probe *p);
void cm_block_soon(const struct cm_cache *c, const struct cm_probe *p);
/* Copies a part of the block to part->dst. HIT: *got bytes of it (possibly 0) are valid. */
enum cm_found cm_block_read(struct cm_cache *c, const struct cm_probe *p,
                            const struct cm_part *part, uint32_t *got);
/* The same for a block that comes alone, as short as can be where all of it was read before, or
 * where no cell carries its tag. HIT: part->dst holds all of the part. ABSENT: not cached.
 * CONFLICT: ask cm_block_read(), with an empty probe. */
enum cm_found cm_block_glance(struct cm_cache *c, const struct cm_key *k,
                              const struct cm_part *part);
/* Asks for both index lines of a block that is probably absent. */
void cm_block_aim_both(const struct cm_cache *c, const struct cm_key *k);
/* How many bytes of the block are cached, judged by the header alone; 0: none. */
uint32_t cm_block_cached(struct cm_cache *c, const struct cm_key *k);

/* Pins the slot that holds the block, or the entry of the probation buffer. HIT: *slot and *valid
 * are set. CONFLICT also when the slot has as many pins as fit (*busy). */
enum cm_found cm_block_pin(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                           uint32_t *valid, bool *busy);
void cm_block_unpin(struct cm_cache *c, uint64_t slot);
/* Where the bytes of what was pinned are. */
const uint8_t *cm_block_data(const struct cm_cache *c, uint64_t slot);

/* Blocks [first, first+n) were wanted and not served: the sample is told. */
void cm_block_missed(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t n);
/* Takes tickets for blocks [first, first+n), cut to CM_MISS_STRIPES groups, into miss->opaque and
 * miss->flags (NOFILL); returns how many blocks they cover. Lock-free. */
uint64_t cm_block_miss(cm_file *f, uint64_t first, uint64_t n, cm_miss *miss);
/* Is the ticket of one block of a miss still good? A hint. */
bool cm_block_fillable(cm_file *f, const cm_miss *miss, uint64_t block);

/* Stores the blocks of `data`, which begins at miss->offset. 0, or the first enum cm_not_stored.
 * Blocks that come for
 * the first time wait in the probation buffer, if there is one, or are refused, if the policy's rule
 * says so, but for what is behind `asked` bytes: that was read ahead of need. `wanted` ones do not
 * wait, and are as hard to evict as any. */
int cm_block_fill(cm_file *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked, bool wanted);

/* Asks for what forgetting a block looks at first. */
void cm_block_aim_forget(const struct cm_cache *c, uint64_t incarnation, uint64_t block);
/* Before the pool is closed: what waits in the probation buffer goes to the pool, where there is
 * room or it was wanted again. */
void cm_block_settle(struct cm_cache *c);

/* Begins a bracket on the stripes of blocks [first, end) under `incarnation`: raises intents,
 * moves tickets, makes every cached copy invalid, durably. CM_EIO: some copy could not be reached
 * (the caller escalates); the intents are raised all the same. */
int cm_block_forget(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end);
/* Ends it. */
void cm_block_release(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end);

/* Drops a slot that cm_check found wrong, if w0 is still the same. */
void cm_block_drop(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0);
/* Takes a slot out of use until the next open. `k`: the key whose block it holds, which is dropped
 * so that it can be stored elsewhere; NULL when even the header cannot be read. */
void cm_block_quarantine(struct cm_cache *c, uint64_t slot, const struct cm_key *k);

#endif
