/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.h - what the two halves of the public API share.
 */
#ifndef CM_CACHE_H
#define CM_CACHE_H

#include "internal.h"

static inline bool cm_cache_valid(const cm_cache *c)
{
    return c && at_load_relaxed(&c->magic) == CM_CACHE_MAGIC;
}
/* May thread t, which is the calling one, call into the cache now? 0, CM_EHANDLE, CM_EFORKED or
 * CM_ECALLBACK. */
static inline int cm_enter_thread(const cm_cache *c, const struct cm_plat_thread *t)
{
    if (!cm_cache_valid(c))
        return CM_EHANDLE;
    if (c->fork_count != cm_plat_fork_count_now())
        return CM_EFORKED;
    for (const struct cm_callback *f = t->callback; f; f = f->outer)
        if (f->cache == c)
            return CM_ECALLBACK;
    return 0;
}
static inline int cm_enter_cache(const cm_cache *c)
{
    return cm_enter_thread(c, cm_plat_thread());
}

#endif
