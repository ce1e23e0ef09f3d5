/* SPDX-License-Identifier: BSD-2-Clause
 *
 * histories_check.h - what threads did to the blocks of one file, and whether a sequential
 * specification allows it. docs/concurrency.md has the specification.
 */
#ifndef CM_TESTS_HISTORIES_CHECK_H
#define CM_TESTS_HISTORIES_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_BLOCKS 6u
#define HISTORY_STAMPS 256u /* reads of the origin in one history, at most */

/* What happens to one block, at one moment between `call` and `ret`. `stamp`: a number of a read of
 * the origin, of 1 up. The bytes that it gave say which it was. */
enum history_kind {
    HISTORY_HIT,    /* bytes of this read were served from the cache */
    HISTORY_MISS,   /* the miss that this read answers */
    HISTORY_STORED, /* its fill said: stored */
    HISTORY_FILLED, /* its fill may have stored it, or not */
    HISTORY_BEGIN,  /* a bracket begins */
    HISTORY_END,    /* a bracket ends */
    HISTORY_CLEAR,  /* the block is forgotten */
    HISTORY_DROP    /* cm_drop: it may come back */
};

void history_reset(void);
/* The time: each call gives another number. Any thread. */
uint32_t history_now(void);
/* Any thread. */
void history_add(enum history_kind kind, unsigned block, unsigned stamp, uint32_t call,
                 uint32_t ret);
/* The size of the file, from this moment on; its bytes are changed in the same moment. */
void history_size(uint32_t at, uint64_t size);
/* A read was told that the file ends there. in_parts: what came before the end may be from moments
 * when the file was longer. */
void history_end_told(uint64_t size, bool in_parts, uint32_t call, uint32_t ret);
/* The version of the file to which a result belongs. */
void history_version(uint64_t incarnation, uint32_t call, uint32_t ret);
/* The version of the miss that this read of the origin answers, and of what is served of it. */
void history_version_of(unsigned stamp, uint64_t incarnation, bool is_miss);

/* After all threads are done. NULL: the specification allows the history. Else what is wrong; the
 * operations of the block are printed. */
const char *history_check(void);

/* How many states were searched so far. */
uint64_t history_states(void);

#endif
