/* SPDX-License-Identifier: BSD-2-Clause
 *
 * super_room.c - superblocks that cannot be written; and what is asked of them.
 *
 * Owns: what is done instead of a store that finds no room: the bytes are written to the file. And
 * the end of a pool that cannot forget otherwise: its file becomes no pool.
 *
 * Why: on a copy-on-write volume each rewrite of a page needs a new block. If the volume is full,
 * neither a header nor a record nor a new epoch can be written, although the file has its space.
 * Reads go on, and so must writes of the origin.
 *
 * Who: api/, media/, protocol/, state/.
 */
#include "media/superblock.h"

/* ---- No room --------------------------------------------------------------------------------- */

bool cm_super_has_no_room(const struct cm_superblocks *s)
{
    bool full = false;
    for (unsigned i = 0; s->file && i < CM_SUPER_COPIES; i++)
        full = full || cm_plat_file_has_no_room(s->file, (uint64_t)i * CM_SUPER_STRIDE);
    return full;
}

/* A store has failed. A write goes to the same page cache, which the caller syncs. With DAX it does
 * not, and a flush does not make a write durable: so that is synced here. */
static int write_instead(const struct cm_superblocks *s, const void *at, const void *src, size_t n)
{
    const uint64_t offset = (uint64_t)((const uint8_t *)at - s->media->base);
    if (!s->file || cm_plat_file_write(s->file, src, n, offset))
        return CM_EIO;
    return s->sync ? 0 : cm_plat_file_sync(s->file, offset, n);
}

int cm_super_store(const struct cm_superblocks *s, void *at, const void *src, size_t n)
{
    return cm_media_write(s->media, at, src, n) ? write_instead(s, at, src, n) : 0;
}

static int store_session(const struct cm_superblocks *s, uint64_t *at, uint64_t v)
{
    const uint64_t odd = v | 1;
    if (cm_media_store64(s->media, at, v) == 0)
        return 0;
    /* A reader may see some bytes of a write before the others. What it sees must be no session
     * that it knows. So the word goes from odd to odd; then one byte makes it even. */
    const int e = write_instead(s, at, &odd, sizeof(odd));
    return e || odd == v ? e : write_instead(s, at, &v, sizeof(v));
}

/* A power cut ends the readers, too, so the word need not be durable. It is written back all the
 * same, so that no later moment has to do it. */
int cm_super_set_session(const struct cm_superblocks *s, uint64_t v)
{
    uint64_t *const at = cm_super_session_at(s->media);
    const int e = store_session(s, at, v);
    if (e == 0)
        (void)cm_media_flush(s->media, at, sizeof(*at));
    cm_media_fence(s->media); /* counts the wear */
    return e;
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
    s->failed = true; /* for who opens: the pool has changed */
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
