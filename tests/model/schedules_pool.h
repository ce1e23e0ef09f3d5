/* SPDX-License-Identifier: BSD-2-Clause
 *
 * schedules_pool.h - the memory of the pools that schedules.c and histories.c open, one at a time.
 */
#ifndef CM_TESTS_SCHEDULES_POOL_H
#define CM_TESTS_SCHEDULES_POOL_H

#include "state/cache_state.h"

#define SCHEDULE_POOL_MAX (40u << 20) /* bytes of the wide pool */

/* Once, before all others. */
void schedule_pool_prepare(void);
/* The pool is new: the smallest one, or one of several stripes, whose slots are never all used. */
void schedule_pool_begin(bool wide);
uint8_t *schedule_pool(void);
uint64_t schedule_pool_used(void); /* so many of its bytes are used */
/* Opens the pool as it is. The last cache is closed. */
cm_cache *schedule_pool_open(uint64_t probation_bytes);
/* Fails if the cache has used more of the pool than schedule_pool_used() says. */
void schedule_pool_judge(const cm_cache *c);

#endif
