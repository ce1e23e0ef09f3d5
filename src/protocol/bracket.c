/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bracket.c - what surrounds a change of the origin.
 *
 * Owns: the order of the steps. Begin puts the bracket in the file's list and makes the intents of
 * its regions durable. Then it goes through the stripes of the range one by one: it counts itself
 * in the stripe (cm_stripe.intents), moves the ticket and kills the copies durably. Only then may
 * the caller write. End takes the bracket out of the list, and out of the counts of the same
 * stripes, and moves their tickets once more.
 *
 * For three kinds of brackets the stripes are not enough. An append does not know its range. But it
 * changes no byte that exists, so nothing has to be forgotten; only fills have to be refused. A
 * truncation reaches from the new size to the last block that may be cached. So does a large range
 * if it reaches further. These kinds count in the file's `stale` while they are open, and move the
 * file's ticket. So fills of the whole file are refused.
 *
 * A range that is large even up to there leaves each stripe at once: it would hold most of the
 * pool's, and refuse fills of other files for as long as it is open. If it leaves no block of the
 * file, or would take too long, the file gets a new incarnation instead.
 *
 * Who: api/.
 */
#include "protocol/bracket.h"

#include "protocol/checkpoint.h"
#include "protocol/forget.h"
#include "state/file_record.h"
#include "state/region.h"
#include "state/settle.h"

#define LARGE_BLOCKS (UINT64_C(64) << 20 >> 12) /* 64 MiB: more does not stay in its stripes */
/* 4 GiB, which no request to a disk exceeds, from and to any byte. To look for so many blocks takes
 * 0.1 s, or 0.2 s if all are cached. More takes a new incarnation. */
#define MOST_BLOCKS ((UINT64_C(4) << 30 >> 12) + 1)

enum bracket_kind {
    ATTRIBUTES, /* content stays as it is */
    RANGE,      /* [first, end) */
    APPEND,     /* at the end, wherever that is */
    MOVES_END   /* [first, end), and the file may end elsewhere behind it */
};

struct plan {
    enum bracket_kind kind;
    uint64_t first, end; /* blocks; RANGE and MOVES_END */
    /* RANGE: where it ends. MOVES_END: where the file will end; UINT64_MAX: not known. APPEND: how
     * many bytes; UINT64_MAX: not known. */
    uint64_t end_byte;
};

/* The first block of the file after the last one that may be cached. */
static uint64_t limit_block(struct cm_object *f)
{
    return cm_blocks_of(at_load_seq_cst(&f->limit)); /* after the ticket has moved: raise_limit */
}

/* May the change move the end of the file? */
static bool moves_end(const struct cm_object *f, const struct plan *p)
{
    return p->kind == APPEND || p->kind == MOVES_END || (p->kind == RANGE && p->end_byte > f->size);
}

/* The regions, a bit each, where after the change a block may be cached that the origin may lose.
 * These are the regions that it writes. If it may move the end of the file, they are also all
 * between the old and the new end, whose blocks become zeros or go, and the region of the old end:
 * its intent makes the recorded size void. */
static uint64_t regions_of(struct cm_object *f, const struct plan *p)
{
    const uint64_t size = f->size, last = size / CM_BLOCK_SIZE;
    uint64_t first = p->first, end = p->end;
    /* Without an origin nothing can be lost there. But in a checkpointed pool what was forgotten
     * may come back, unless an intent says so. */
    if (p->kind == ATTRIBUTES || (f->no_origin && !cm_checkpoint_possible(f->cache)))
        return 0;
    if (size == CM_SIZE_UNKNOWN) /* it may end anywhere, so there may be a hole anywhere */
        return CM_REGIONS_ALL;
    if (!moves_end(f, p))
        return cm_region_mask(f, first, end);
    if (p->kind == APPEND) {
        first = last;
        end = cm_blocks_of(p->end_byte > UINT64_MAX - size ? UINT64_MAX : size + p->end_byte);
    } else if (end == UINT64_MAX) { /* to the end */
        end = cm_blocks_of(p->end_byte > size ? p->end_byte : size);
        const uint64_t limit = limit_block(f);
        end = end > limit ? end : limit;
    }
    const uint64_t low = last > 0 ? last - 1 : 0;
    first = low < first ? low : first;
    end = end > last ? end : last;
    return cm_region_mask(f, first, end < UINT64_MAX ? end + 1 : end);
}

/* Gets memory for a bracket: the place in the file object, unless another bracket has it; else new
 * memory. On success the file's lock is held afterwards. The allocation hook runs without it. */
static struct cm_open_bracket *lock_with_room(struct cm_object *f)
{
    cm_lock_acquire(&f->lock);
    if (!f->own_used) {
        f->own_used = true;
        return &f->own;
    }
    cm_lock_release(&f->lock);
    struct cm_open_bracket *b = cm_cache_alloc(f->cache, sizeof(*b));
    if (b)
        cm_lock_acquire(&f->lock);
    return b;
}

/* File lock held. Returns what the caller must free after it releases the lock, or NULL. */
static struct cm_open_bracket *leave_room(struct cm_object *f, struct cm_open_bracket *b)
{
    if (b != &f->own)
        return b;
    f->own_used = false;
    return NULL;
}

/* Ends the bracket on its stripes and frees its memory. The bracket is in no list any more. */
static void release_bracket(struct cm_object *f, struct cm_open_bracket *b)
{
    cm_forget_end(f->cache, b->incarnation, b->first, b->end, &b->home);
    cm_lock_acquire(&f->lock);
    b = leave_room(f, b);
    cm_lock_release(&f->lock);
    cm_cache_free(f->cache, b, sizeof(*b));
}

/* Does the file's `stale` refuse fills while it is open? */
static bool is_stale(const struct plan *p)
{
    return p->kind == APPEND || p->kind == MOVES_END || p->end - p->first > LARGE_BLOCKS;
}

/* Does a new incarnation cost less than to forget the blocks of the bracket? */
static bool goes_at_once(struct cm_object *f, const struct cm_open_bracket *b)
{
    const uint64_t blocks = b->end - b->first;
    return blocks > MOST_BLOCKS ||
           (blocks > LARGE_BLOCKS && b->first == 0 && b->end >= limit_block(f));
}

/* File lock held. Does everything of a begin but the stripes. *linked: the bracket is in the
 * list. */
static int begin_in_file(struct cm_object *f, struct cm_open_bracket *b, const struct plan *p,
                         bool *linked)
{
    *linked = false;
    b->data = p->kind != ATTRIBUTES;
    b->incarnation = at_load_relaxed(&f->incarnation);
    int e = b->data ? cm_file_can_forget(f->cache) : 0;
    if (e)
        return e;
    b->regions = regions_of(f, p);
    cm_file_link(f, b, is_stale(p));
    *linked = true;
    if (b->regions != 0 && cm_region_intend(f, b->regions))
        e = cm_file_abandon_record(f, CM_EIO);
    if (e)
        return e;
    /* If the write may change the size, the size is unknown from here until it is adopted or
     * learned. The record forgets it, too: a crash may come between the write and the validator. */
    if (moves_end(f, p))
        e = cm_file_forget_size(f);
    if (e)
        return e;
    if (p->kind == ATTRIBUTES || p->kind == APPEND || b->incarnation == 0)
        return 0;
    b->first = p->first;
    b->end = p->end;
    if (is_stale(p) && b->end > limit_block(f))
        b->end = limit_block(f);
    if (b->end < b->first)
        b->end = b->first;
    if (!goes_at_once(f, b))
        return 0;
    b->end = b->first; /* no stripes: everything goes at once */
    return cm_file_renew(f);
}

/* The begin has ended. Returns whether the bracket stands: no other thread has aborted it. From
 * here on another thread may end and free it. The file's lock need not be held.
 * Acquire and release: pair with the same in cm_bracket_abort(). Whoever is second frees what both
 * have used. */
static bool stands(struct cm_open_bracket *b)
{
    return at_swap_acq_rel(&b->state, CM_BRACKET_RAISED) != CM_BRACKET_ORPHANED;
}

/* Forgets the blocks of a large bracket, group by group. It does not stay in their stripes: the
 * file's `stale` refuses its fills. */
static __attribute__((noinline)) int forget_large(struct cm_object *f, struct cm_open_bracket *b)
{
    int e = 0;
    for (uint64_t first = b->first, stop; first < b->end; first = stop) {
        stop = ((first >> CM_GROUP_SHIFT) + 1) << CM_GROUP_SHIFT;
        stop = stop < b->end ? stop : b->end;
        if (cm_forget_begin(f, b->incarnation, first, stop, &b->home))
            e = CM_EIO;
        cm_forget_end(f->cache, b->incarnation, first, stop, &b->home);
    }
    b->end = b->first;
    return e;
}

/* Begins a bracket, which is in its file's list, on its stripes. Then decides whether it stands. */
static int raise_stripes(struct cm_object *f, struct cm_open_bracket *b, int e)
{
    struct cm_cache *c = f->cache;
    const int unreached = b->end - b->first > LARGE_BLOCKS
                              ? forget_large(f, b)
                              : cm_forget_begin(f, b->incarnation, b->first, b->end, &b->home);
    if (e == 0 && !unreached)
        return stands(b) ? 0 : CM_EBRACKET; /* if not, its blocks are forgotten all the same */
    cm_lock_acquire(&f->lock);
    if (e == 0) {
        /* A copy may exist where it cannot be read: escalate to the whole file. */
        cm_count(c, CM_STAT_escalations, 1);
        e = cm_file_renew(f);
    }
    if (!stands(b))
        e = e ? e : CM_EBRACKET;
    else if (e)
        (void)cm_file_unlink(f, b->id);
    cm_lock_release(&f->lock);
    return e;
}

static int begin(struct cm_object *f, const struct plan *p, cm_bracket *w)
{
    struct cm_cache *c = f->cache;
    struct cm_last_home home = { 0 };
    bool linked;
    if (p->kind == RANGE) /* relaxed: it only prefetches */
        cm_forget_prefetch(c, at_load_relaxed(&f->incarnation), p->first, &home);
    struct cm_open_bracket *b = lock_with_room(f);
    if (!b)
        return CM_ENOMEM;
    uint64_t id = at_add_relaxed(&c->bracket_id, 1) + 1; /* relaxed: only unique */
    *b = (struct cm_open_bracket){ .id = id, .home = home };
    int e = begin_in_file(f, b, p, &linked);
    const bool settle = linked && e == 0 && !cm_region_is_settled(f, b->regions);
    if (!linked)
        b = leave_room(f, b);
    cm_lock_release(&f->lock);
    if (!linked) {
        cm_cache_free(c, b, sizeof(*b));
        return e;
    }
    cm_media_count(&c->media, cm_plat_thread(), CM_STAT_brackets, 1);
    if (settle) /* no lock is held: it may take as long as a sync of the disk */
        e = cm_region_settle(f, b);
    e = raise_stripes(f, b, e);
    if (e)
        release_bracket(f, b);
    else /* from here on any thread may end the bracket */
        w->id = id;
    return e;
}

int cm_bracket_write(struct cm_object *f, uint64_t offset, uint64_t len, cm_bracket *w)
{
    struct plan p = { .kind = ATTRIBUTES };
    if (offset == CM_APPEND) {
        p.kind = APPEND;
        p.end_byte = len > 0 ? len : CM_ALL;
    } else if (len == CM_ALL) { /* as far as blocks may be cached; those before it stay */
        p = (struct plan){ MOVES_END, offset / CM_BLOCK_SIZE, UINT64_MAX, UINT64_MAX };
    } else if (len != 0) {
        p = (struct plan){ RANGE, offset / CM_BLOCK_SIZE, cm_blocks_of(offset + len),
                           offset + len };
    }
    return begin(f, &p, w);
}

int cm_bracket_truncate(struct cm_object *f, uint64_t new_size, cm_bracket *w)
{
    struct plan p = { MOVES_END, new_size / CM_BLOCK_SIZE, UINT64_MAX, new_size };
    return begin(f, &p, w);
}

int cm_bracket_end(struct cm_object *f, const cm_bracket *w, const cm_validator *after)
{
    struct cm_cache *c = f->cache;
    cm_lock_acquire(&f->lock);
    struct cm_open_bracket *b = w->id ? cm_file_unlink(f, w->id) : NULL;
    if (!b) {
        cm_lock_release(&f->lock);
        return CM_EBRACKET;
    }
    if (after && cm_file_may_adopt(f) && cm_file_proves(f, after)) {
        cm_file_adopt(f, after); /* taken after the write, so it and later validators count */
        if (f->ttl_ns > 0)
            (void)cm_file_live(f, f->ttl_ns);
    } else {
        /* Our writes do not change the proof of an exclusive file. */
        f->want = !(f->flags & CM_EXCLUSIVE);
        cm_file_moved(f);
    }
    bool want = f->want && f->open_brackets == 0;
    const uint64_t incarnation = b->incarnation, first = b->first, end = b->end;
    struct cm_last_home home = b->home;
    b = leave_room(f, b);
    cm_lock_release(&f->lock);
    /* The thread that unlinked the bracket ends it on its stripes. These belong to the bracket's
     * own incarnation. */
    cm_forget_end(c, incarnation, first, end, &home);
    cm_cache_free(c, b, sizeof(*b));
    return want ? CM_WANT_VALIDATOR : 0;
}

int cm_bracket_invalidate(struct cm_object *f, uint64_t offset, uint64_t len)
{
    struct plan p = { MOVES_END, offset / CM_BLOCK_SIZE, UINT64_MAX, UINT64_MAX };
    if (len != CM_ALL)
        p.end = cm_blocks_of(offset + len);
    cm_bracket w;
    int e = begin(f, &p, &w);
    if (e == 0)
        e = cm_bracket_end(f, &w, NULL);
    if (e >= 0 || e == CM_EBRACKET)
        return 0; /* an abort may have ended it, which is as good */
    cm_lock_acquire(&f->lock);
    (void)cm_file_stop(f, e); /* the origin has changed already, whatever we return */
    cm_lock_release(&f->lock);
    return e;
}

int cm_bracket_abort(struct cm_object *f)
{
    struct cm_open_bracket *all = NULL, *b;
    cm_lock_acquire(&f->lock);
    while ((b = cm_file_unlink(f, 0)) != NULL) {
        /* Acquire and release: pair with the same in stands(). */
        if (at_swap_acq_rel(&b->state, CM_BRACKET_ORPHANED) != CM_BRACKET_RAISED)
            continue; /* its begin still runs, and will end it on the stripes */
        b->next = all;
        all = b;
    }
    /* Nobody knows what the lost owners wrote, or still write. So what is cached is forgotten. The
     * next validator begins a new incarnation: it is not adopted for blocks that are cached until
     * then. */
    cm_file_moved(f);
    cm_file_drop_validator(f);
    f->disowned = true;
    int e = cm_file_renew(f);
    cm_lock_release(&f->lock);
    while ((b = all) != NULL) {
        all = b->next;
        release_bracket(f, b);
    }
    return e;
}

/* ---- Sync ------------------------------------------------------------------------------------ */

void cm_bracket_sync_begin(struct cm_object *f, cm_sync *s)
{
    cm_lock_acquire(&f->lock);
    cm_region_sync_begin(f, s);
    cm_lock_release(&f->lock);
}

void cm_bracket_synced(struct cm_object *f)
{
    cm_sync s;
    cm_lock_acquire(&f->lock);
    cm_region_sync_begin(f, &s);
    cm_region_synced(f, &s);
    cm_lock_release(&f->lock);
}

int cm_bracket_sync_end(struct cm_object *f, const cm_sync *s, int ok, const cm_validator *after)
{
    const bool foreign = !s || s->opaque[1] != f->serial;
    if (foreign && ok)
        return CM_EFOREIGN;
    cm_lock_acquire(&f->lock);
    const uint64_t was = f->incarnation;
    int e = ok ? 0 : cm_file_sync_failed(f);
    if (e == 0 && ok && after)
        e = cm_file_judge(f, after);
    if (ok && e >= 0)
        cm_region_synced(f, s);
    cm_lock_release(&f->lock);
    /* The volume may be put back in this boot. Then the record must say that a sync failed. */
    if (!ok && e == 0 && cm_settling(f->cache))
        e = cm_settle_pages(f->cache, &f->id, CM_PAGES_ALL, CM_NO_PLACE);
    else if (ok && e == 0)
        e = cm_region_settle_version(f, was);
    return foreign && e != CM_EFORGET ? CM_EFOREIGN : e; /* "do not write" comes first */
}
