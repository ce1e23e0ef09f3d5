/* SPDX-License-Identifier: BSD-2-Clause
 *
 * check.h - verifies a pool: cm_check() without its argument checks.
 */
#ifndef CM_CHECK_H
#define CM_CHECK_H

#include "state/cache_state.h"

int cm_check_pool(struct cm_cache *c, uint32_t flags,
                  int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                  cm_check_report *report);

#endif
