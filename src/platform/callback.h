/* SPDX-License-Identifier: BSD-2-Clause
 *
 * callback.h - marks a thread that runs a callback of the program.
 */
#ifndef CM_CALLBACK_H
#define CM_CALLBACK_H

#include "platform/platform.h"

/* A thread is marked while it runs a callback. So a call back into the same cache is refused, also
 * if it comes through a call into another cache. The frames are on the thread's stack, or on those
 * of its coroutines. A program that switches between coroutines in callbacks ends them in any
 * order. So each takes only its own frame out of the list. */
struct cm_callback {
    const struct cm_cache *cache;
    struct cm_callback *outer;
};
static inline void cm_callback_begin(const struct cm_cache *c, struct cm_callback *frame)
{
    struct cm_plat_thread *t = cm_plat_thread();
    frame->cache = c;
    frame->outer = t->callback;
    t->callback = frame;
}
static inline void cm_callback_end(const struct cm_callback *frame)
{
    struct cm_plat_thread *t = cm_plat_thread();
    struct cm_callback *f = t->callback;
    if (f == frame) { /* nearly always */
        t->callback = frame->outer;
        return;
    }
    while (f && f->outer != frame)
        f = f->outer;
    if (f)
        f->outer = frame->outer;
}

#endif
