/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.h - what the two halves of the public API share.
 */
#ifndef CM_CACHE_H
#define CM_CACHE_H

#include "internal.h"

/* May this thread call into the cache now? 0, CM_EHANDLE, CM_EFORKED or CM_ECALLBACK. */
int cm_enter_cache(const cm_cache *c);

#endif
