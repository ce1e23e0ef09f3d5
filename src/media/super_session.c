/* SPDX-License-Identifier: BSD-2-Clause
 *
 * super_session.c - the session: what readers of other processes look at with each hit.
 *
 * Owns: the word of the session, which is odd while readers are to be served nothing, and what
 * keeps it odd. It never comes to a value again that it has had.
 *
 * Who: api/, media/, state/.
 */
#include "media/superblock.h"

/* In cm_super_kill() the lock is not held: that ends a pool. */
int cm_session_shut(struct cm_superblocks *s)
{
    uint64_t was;
    if (s->zeroed)
        return 0; /* they find no pool, and no session */
    if (cm_guard_load64(cm_super_session_at(s->media), &was))
        return CM_EIO;
    s->served = was % 2 == 0 && was != 0;
    return was % 2 == 1 ? 0 : cm_super_set_session(s, was + 1);
}

int cm_session_reopen(struct cm_superblocks *s)
{
    uint64_t was;
    if (s->silent || s->unforgotten || s->zeroed)
        return 0;
    if (cm_guard_load64(cm_super_session_at(s->media), &was))
        return CM_EIO;
    const uint64_t next = (was | 1) + 1;
    /* Zero is no session: memory may have held all ones. */
    return cm_super_set_session(s, next ? next : 2);
}

/* If the word was odd before, somebody else has made it so: an owner that could not forget, or that
 * was killed. Its number is a new one all the same: each reader looks at the records again. */
int cm_session_take_back(struct cm_superblocks *s)
{
    return s->served ? cm_session_reopen(s) : 0;
}

int cm_super_shut(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const int e = cm_session_shut(s);
    s->unforgotten = true;
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_unshut(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    s->unforgotten = false;
    const int e = cm_session_take_back(s);
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_silence(struct cm_superblocks *s, bool silent)
{
    const bool was = s->silent;
    s->silent = silent;
    return silent ? cm_session_shut(s) : was ? cm_session_reopen(s) : 0;
}
