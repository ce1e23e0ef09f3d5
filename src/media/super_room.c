/* SPDX-License-Identifier: BSD-2-Clause
 *
 * super_room.c - superblocks that cannot be written; and what is asked of them.
 *
 * Owns: the end of a pool that cannot forget otherwise: its file becomes no pool.
 *
 * Why: on a copy-on-write volume each rewrite of a page needs a new block. If the volume is full,
 * neither a header nor a record nor a new epoch can be written, although the file has its space.
 * Reads go on, and so must writes of the origin.
 *
 * Who: api/, media/, protocol/, state/.
 */
#include "media/superblock.h"

#define TRIES 3u /* of a store that found no room where a write finds some */

/* ---- No room --------------------------------------------------------------------------------- */

bool cm_super_has_no_room(const struct cm_superblocks *s)
{
    bool full = false;
    for (unsigned i = 0; s->file && i < CM_SUPER_COPIES; i++)
        full = full || cm_plat_file_has_no_room(s->file, (uint64_t)i * CM_SUPER_STRIDE);
    return full;
}

bool cm_super_try_again(const struct cm_superblocks *s, int e, unsigned *tries)
{
    return e == CM_EIO && s->file && (*tries)++ < TRIES && !cm_super_has_no_room(s);
}

bool cm_super_give_up(struct cm_superblocks *s)
{
    uint64_t word;
    if (!s->zeroed && !cm_super_has_no_room(s))
        return false;
    s->full = true;
    const int e = cm_plat_file_zero(s->file, (uint64_t)CM_SUPER_COPIES * CM_SUPER_STRIDE);
    /* The session's word becomes zero, too, which no reader takes for its session. It must not come
     * to a value that it has had, in this session or a later one. So no superblock comes after
     * these zeros: the next owner would count from zero on. */
    if (e == 0 || e == CM_EIO || cm_guard_load64(cm_super_session_at(s->media), &word) || word == 0)
        s->zeroed = s->failed = true;
    /* Durable before anybody is told that all is forgotten: the origin's next write may outlive a
     * crash that would bring the superblocks back, and with them what is cached. If it is not, the
     * next epoch tries it again. */
    at_store_relaxed(&s->void_now, e == 0);
    return e == 0;
}

void cm_super_void(struct cm_superblocks *s)
{
    (void)cm_super_kill(s);
    if (s->file)
        cm_plat_file_void(s->file);
}

/* ---- Questions ------------------------------------------------------------------------------- */

bool cm_super_lost(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const bool lost = s->lost;
    cm_lock_release(&s->lock);
    return lost;
}

bool cm_super_is_growing(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const bool growing = s->now.growing != 0;
    cm_lock_release(&s->lock);
    return growing;
}

struct cm_super_failed cm_super_failed(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const struct cm_super_failed f = { s->now.failed_boot == s->now.boot_number,
                                       s->now.unnamed_boot == s->now.boot_number };
    cm_lock_release(&s->lock);
    return f;
}

bool cm_super_is_void(struct cm_superblocks *s)
{
    return at_load_relaxed(&s->void_now); /* it stays so, and nothing is read that comes with it */
}

bool cm_super_is_zeroed(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const bool is = s->zeroed;
    cm_lock_release(&s->lock);
    return is;
}

bool cm_super_is_full(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const bool is = s->full;
    cm_lock_release(&s->lock);
    return is;
}
