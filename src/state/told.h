/* SPDX-License-Identifier: BSD-2-Clause
 *
 * told.h - what the owner of a pool tells readers in other processes: two words, and a size.
 */
#ifndef CM_TOLD_H
#define CM_TOLD_H

#include "state/object.h"

static inline bool cm_object_is_shared(const struct cm_object *f)
{
    return (at_load_relaxed(&f->gate) & CM_GATE_SHARED) != 0;
}

/* Do the blocks of a file count that are stored under this incarnation? What is copied from then on
 * was the content then or later; so was what was copied before, if the copy ended with an acquire.
 * Both words are in the pool, and the owner stores them. They lie on two lines that all hits of the
 * file share. */
static inline bool cm_told_holds(const struct cm_object *f, uint64_t incarnation)
{
    const uint64_t *const told = at_load_acquire(&f->told);
    uint64_t word, session;
    /* Another thread may be judging the file. It stores the incarnation 0 first, and then the new
     * session. Here the session is loaded (acquire) before the incarnation. So who sees the new
     * session sees the 0, or what came after it. */
    return told && cm_guard_load64(told, &word) == 0 && word == incarnation && incarnation != 0 &&
           cm_guard_load64(cm_super_session_at(&f->cache->media), &session) == 0 &&
           session == at_load_acquire(&f->session) &&
           at_load_relaxed(&f->incarnation) == incarnation;
}

/* The file's size, as the owner knows it now, or CM_SIZE_UNKNOWN. */
uint64_t cm_told_size(struct cm_object *f, uint64_t incarnation);

#endif
