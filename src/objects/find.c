/* SPDX-License-Identifier: BSD-2-Clause
 *
 * find.c - gets, reads and iterations: what finds objects.
 *
 * Owns: what a reader does when it finds nothing while the bucket is being changed.
 *
 * A reader takes no lock. The pool gives it the whole bucket of one moment, or a miss. If it misses
 * while somebody changes the bucket, the bucket is only away for a moment: then it waits for the
 * lock and looks once more. The same holds for the blocks of a large value that has been replaced.
 *
 * Who: users, through cachemax_objects.h.
 */
#include <string.h>

#include "api/cache.h"
#include "objects/bucket.h"
#include "objects/place.h"
#include "objects/values.h"

#define STEP 256u /* buckets that one step of an iteration looks at */

struct cm_objects_iter {
    cm_objects *o;
    uint64_t next; /* the first bucket that was not looked at */
    uint32_t at;   /* in `block`, which is bucket next - 1 */
    bool inside;
    uint8_t block[CM_BLOCK_SIZE];
};

/* What is wanted of a value, and what was found. */
struct want {
    uint64_t offset;
    uint8_t *buf;
    size_t len;
    cm_object_info info;
};

/* ---- Finding --------------------------------------------------------------------------------- */

/* False: its time is over. *ends: when it will be, in whole milliseconds; 0: never. */
static bool lives(cm_objects *o, const struct cm_entry *e, int64_t *ends)
{
    *ends = 0;
    if (e->expires_ms == 0)
        return true;
    const struct cm_object_now now = cm_objects_now(o);
    const int64_t end = cm_objects_end_of(o, &now, e), half = 500000;
    *ends = end == INT64_MAX ? end : (end + half) / 1000000 * 1000000;
    return end > now.wall_ns;
}

static cm_object_info info_of(const struct cm_entry *e, int64_t ends)
{
    cm_object_info i = { .struct_size = sizeof(i), .size = e->n, .version = e->check };
    i.expires_ns = ends;
    if (e->flags == CM_ENTRY_LARGE)
        i.size = cm_entries_ref(e).len;
    return i;
}

/* Copies what is wanted. False: the value is gone. */
static bool take(cm_objects *o, const struct cm_entry *e, int64_t ends, struct want *w)
{
    w->info = info_of(e, ends);
    const uint64_t left = w->offset < w->info.size ? w->info.size - w->offset : 0;
    if (w->len > left)
        w->len = (size_t)left;
    if (e->flags == CM_ENTRY_LARGE) {
        const struct cm_value_ref ref = cm_entries_ref(e);
        return cm_values_read(o, &ref, w->offset, w->buf, w->len);
    }
    if (w->len > 0)
        memcpy(w->buf, e->payload + w->offset, w->len);
    return true;
}

static void mark_hot(cm_objects *o, const struct cm_object_place *p)
{
    uint16_t *hot = &o->hint[p->bucket].hot;
    const uint16_t bit = (uint16_t)(1u << p->hot);
    if (!(at_load_relaxed(hot) & bit)) /* relaxed: a hint */
        (void)at_or_relaxed(hot, bit);
}

/* Looks once. 0, CM_EABSENT or another error. *gone: what is absent may be there again in a
 * moment. */
static int look(cm_objects *o, const struct cm_object_place *p, const void *key, struct want *w,
                bool *gone)
{
    uint8_t block[CM_BLOCK_SIZE];
    struct cm_entry e;
    int64_t ends;
    cm_bucket_prefetch(o, p->bucket);
    const int64_t n = cm_bucket_read(o, p->bucket, block, NULL);
    if (n != CM_BLOCK_SIZE) {
        *gone = true;
        return n < 0 ? (int)n : CM_EABSENT;
    }
    *gone = false;
    if (cm_entries_whole(block, p->bucket))
        cm_bucket_remember(o, p->bucket, cm_entries_used(block));
    if (!cm_entries_find(block, p->bucket, key, p->key_len, &e) || !lives(o, &e, &ends))
        return CM_EABSENT;
    const size_t len = w->len;
    if (!take(o, &e, ends, w)) {
        w->len = len;
        *gone = true;
        return CM_EABSENT;
    }
    mark_hot(o, p);
    return 0;
}

static int find(cm_objects *o, const void *key, size_t key_len, struct want *w)
{
    struct cm_object_place p;
    bool gone;
    if (!cm_objects_place(o, key, key_len, &p))
        return CM_EINVAL;
    struct cm_bucket_lock *l = &o->locks[p.bucket % CM_OBJECT_LOCKS];
    /* Acquire: pairs with the releases in change_locked(). */
    const uint32_t turn = at_load_acquire(&l->turn);
    int e = look(o, &p, key, w, &gone);
    if (e == CM_EABSENT && gone && (turn % 2 != 0 || at_load_acquire(&l->turn) != turn)) {
        cm_lock_acquire(&l->lock);
        e = look(o, &p, key, w, &gone);
        cm_lock_release(&l->lock);
    }
    if (e == 0 || e == CM_EABSENT)
        cm_objects_count(o, e == 0 ? CM_OBJECT_HITS : CM_OBJECT_MISSES, 1);
    return e;
}

/* ---- The calls ------------------------------------------------------------------------------- */

int64_t cm_objects_read(cm_objects *o, const void *key, size_t key_len, uint64_t offset, void *buf,
                        size_t len, cm_object_info *info)
{
    struct want w = { .offset = offset, .buf = buf, .len = len };
    if (!o)
        return CM_EHANDLE;
    if ((!buf && len) || (info && !cm_can_give_result(info)))
        return CM_EINVAL;
    int e = find(o, key, key_len, &w);
    if (e == 0 && info)
        e = cm_give_result(info, &w.info, sizeof(w.info));
    return e ? e : (int64_t)w.len;
}

int64_t cm_objects_get(cm_objects *o, const void *key, size_t key_len, void *buf, size_t room,
                       cm_object_info *info)
{
    struct want w = { .buf = buf, .len = room };
    if (!o)
        return CM_EHANDLE;
    if ((!buf && room) || (info && !cm_can_give_result(info)))
        return CM_EINVAL;
    int e = find(o, key, key_len, &w);
    if (e == 0 && info)
        e = cm_give_result(info, &w.info, sizeof(w.info));
    return e ? e : (int64_t)w.info.size;
}

/* ---- Going over all of them ------------------------------------------------------------------ */

int cm_objects_begin(cm_objects *o, cm_objects_iter **iter)
{
    if (!o)
        return CM_EHANDLE;
    if (!iter)
        return CM_EINVAL;
    const int refused = cm_objects_enter(o);
    if (refused)
        return refused;
    cm_objects_iter *it = cm_cache_alloc(o->cache, sizeof(*it));
    if (!it)
        return CM_ENOMEM;
    it->o = o;
    (void)at_add_acq_rel(&o->iterations, 1);
    *iter = it;
    return 0;
}

/* Reads the next bucket that there is, within a step. False: there is none. */
static bool next_bucket(cm_objects_iter *it, unsigned *left)
{
    for (; *left > 0 && it->next < it->o->buckets; (*left)--) {
        const uint64_t bucket = it->next++;
        struct cm_bucket_lock *l = &it->o->locks[bucket % CM_OBJECT_LOCKS];
        const uint32_t turn = at_load_acquire(&l->turn); /* as in find() */
        int64_t n = cm_read(it->o->buckets_file, bucket * CM_BLOCK_SIZE, it->block,
                            sizeof(it->block), NULL);
        if (n == 0 && (turn % 2 != 0 || at_load_acquire(&l->turn) != turn)) {
            cm_lock_acquire(&l->lock);
            n = cm_read(it->o->buckets_file, bucket * CM_BLOCK_SIZE, it->block, sizeof(it->block),
                        NULL);
            cm_lock_release(&l->lock);
        }
        it->at = 0;
        it->inside = n == CM_BLOCK_SIZE && cm_entries_whole(it->block, bucket);
        if (it->inside)
            return true;
    }
    return false;
}

int cm_objects_next(cm_objects_iter *it, void *key, size_t *key_len, cm_object_info *info)
{
    struct cm_entry e;
    int64_t ends;
    unsigned left = STEP;
    if (!it || !key || !key_len || (info && !cm_can_give_result(info)))
        return CM_EINVAL;
    const int refused = cm_objects_enter(it->o);
    if (refused)
        return refused;
    for (;;) {
        while (it->inside && cm_entries_next(it->block, &it->at, &e)) {
            if (!cm_entries_sound(&e, it->next - 1) || !lives(it->o, &e, &ends))
                continue;
            const cm_object_info found = info_of(&e, ends);
            memcpy(key, e.key, e.key_len);
            *key_len = e.key_len;
            if (info)
                (void)cm_give_result(info, &found, sizeof(found));
            return 1;
        }
        it->inside = false;
        if (it->next == it->o->buckets)
            return CM_EABSENT;
        if (!next_bucket(it, &left))
            return it->next == it->o->buckets ? CM_EABSENT : 0;
    }
}

void cm_objects_end(cm_objects_iter *it)
{
    if (!it)
        return;
    cm_objects *const o = it->o;
    cm_cache_free(o->cache, it, sizeof(*it));
    (void)at_sub_acq_rel(&o->iterations, 1); /* release: pairs with cm_objects_close() */
}
