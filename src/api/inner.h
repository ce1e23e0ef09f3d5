/* SPDX-License-Identifier: BSD-2-Clause
 *
 * inner.h - what objects/ asks of a block, and a program cannot: prefetches, and the ticket of a
 * block that it has just forgotten.
 */
#ifndef CM_INNER_H
#define CM_INNER_H

#include <stdbool.h>

#include "cachemax.h"

/* Declares that a file has no origin: the pool alone has its content. Then its brackets need no
 * intents, but in a pool that can be checkpointed. `tested`: who reads it tests what it gets, so
 * what this session stores of it need not be verified at its first hit. */
int cm_inner_no_origin(const cm_file *file, bool tested);
/* Does what a sync bracket does. */
int cm_inner_synced(const cm_file *file);

/* Prefetches what a read of the block, a bracket on it and a fill of it look at, but not its slot.
 */
void cm_inner_prefetch(const cm_file *file, uint64_t offset);

/* Where a block was, as a caller may remember it: its slot's number and one, or 0. It may be wrong
 * at any time. Then some prefetches are in vain. */
typedef uint32_t cm_where;
cm_where cm_inner_where(const cm_file *file, uint64_t offset);
/* Prefetches the header and the first `len` bytes of the slot, as many as pay. */
void cm_inner_prefetch_slot(const cm_file *file, cm_where where, uint32_t len);

/* How many blocks the pool has room for now. */
uint64_t cm_inner_slots(const cm_file *file);

/* One at a time may claim a file, until it gives it back (`claims` is false). CM_EBUSY: somebody
 * else has. */
int cm_inner_claim(const cm_file *file, bool claims);

/* Has the file a record, so that a later session finds what is cached of it? */
bool cm_inner_recorded(const cm_file *file);
/* So many callbacks of the pool's seal have failed. */
uint32_t cm_inner_seal_failures(const cm_file *file);

/* Does the pool grow? Then nothing can be stored, and soon it can be again. */
bool cm_inner_grows(const cm_file *file);
/* May a block be stored in this mode, and of this file? Then only a growth refuses a fill with
 * CM_NOT_STORED_MODE, and it may be offered again. */
bool cm_inner_takes(const cm_file *file);

/* Gives the ticket of a miss of the whole block. The block is not looked for, because the caller
 * has forgotten it; cm_fill() refuses if it is there. 0, or an error of cm_read(). */
int cm_inner_ticket(const cm_file *file, uint64_t offset, cm_miss *miss);

#endif
