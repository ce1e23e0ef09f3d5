/* SPDX-License-Identifier: BSD-2-Clause
 *
 * change.c - puts, deletes and clears: what changes a bucket.
 *
 * Owns: the order of the steps. The bucket is read, and its next content is made. A bracket forgets
 * the old content durably. Only then the new one is stored, as a fill. So a crash leaves the old
 * content before the bracket, and nothing or the new content after it, and the old one never comes
 * back. The call returns after both.
 *
 * A put waits for a handful of cache misses. So it asks for all lines that it will need before it
 * looks at any of them (api/inner.h).
 *
 * Which objects leave a full bucket is decided here, too.
 *
 * Locks: that of the bucket, from the read to the fill. Nobody else fills it. cm_objects_clear()
 * takes all of them, in order.
 * Who: users, through cachemax_objects.h.
 */
#include <string.h>

#include "api/cache.h"
#include "objects/bucket.h"
#include "objects/place.h"
#include "objects/values.h"

#define ENTRIES_MAX 228u /* in a bucket: none is shorter than its head */

/* How long a new object lives. */
struct life {
    struct cm_object_now put;
    uint64_t ttl_ns; /* 0: no end */
};

/* A change of one bucket. */
struct change {
    cm_objects *o;
    struct cm_object_place place;
    const void *key;
    const struct cm_entry *add; /* NULL: the key is deleted */
    const struct life *life;    /* with `add` */
    bool there;                 /* the key was there, perhaps expired or damaged */
    bool had;                   /* there was an object to delete */
    bool changed;               /* the old content is gone: also what expired has left with it */
    uint64_t dropped, expired;
    uint64_t *waited;
    /* What is left of the old content, the newest first. */
    unsigned n;
    struct cm_value_ref *gone; /* large values that nothing leads to any more */
    unsigned gone_n;
    uint16_t at[ENTRIES_MAX], size[ENTRIES_MAX]; /* size 0: it is dropped */
    uint8_t old[CM_BLOCK_SIZE], new[CM_BLOCK_SIZE];
};

/* ---- The next content ------------------------------------------------------------------------ */

/* Large values that a change lets go, as many as one remembers: the others leave by themselves. */
#define GONE_MAX 8u

static void let_go(struct change *c, const struct cm_entry *e)
{
    if (e->flags == CM_ENTRY_LARGE && c->gone_n < GONE_MAX && cm_entries_sound(e, c->place.bucket))
        c->gone[c->gone_n++] = cm_entries_ref(e);
}

/* Collects the entries that may stay, and returns their bytes. */
static uint32_t collect(struct change *c)
{
    struct cm_entry e;
    uint32_t bytes = 0;
    struct cm_object_now now;
    bool asked = false;
    c->n = 0;
    for (uint32_t at = 0; cm_entries_next(c->old, &at, &e);) {
        const bool same = cm_entries_has_key(&e, c->key, c->place.key_len);
        if (e.expires_ms && !asked)
            now = cm_objects_now(c->o);
        asked = asked || e.expires_ms;
        const bool over = e.expires_ms && cm_objects_end_of(c->o, &now, &e) <= now.wall_ns;
        c->there = c->there || same;
        c->had = c->had || (same && !over && cm_entries_sound(&e, c->place.bucket));
        if (same || over || c->n == ENTRIES_MAX) {
            c->expired += over && !(same && c->add); /* not what is replaced */
            let_go(c, &e);
            continue;
        }
        c->at[c->n] = (uint16_t)(e.raw - c->old);
        c->size[c->n++] = (uint16_t)e.size;
        bytes += e.size;
    }
    return bytes;
}

/* Makes room for `more` bytes: drops the oldest entries, at first only what was not read lately.
 */
static void make_room(struct change *c, uint32_t more)
{
    uint16_t *hot = &c->o->hint[c->place.bucket].hot;
    const uint16_t read = at_load_relaxed(hot); /* relaxed: a hint */
    struct cm_entry e;
    for (unsigned round = 0; round < 2 && more > 0; round++)
        for (unsigned i = c->n; i-- > 0 && more > 0;) {
            uint32_t at = c->at[i];
            if (c->size[i] == 0 || !cm_entries_next(c->old, &at, &e))
                continue;
            if (round == 0 && (read >> cm_objects_hot_bit(e.key, e.key_len) & 1))
                continue;
            let_go(c, &e);
            c->size[i] = 0;
            c->dropped++;
            more -= e.size < more ? e.size : more;
        }
    at_store_relaxed(hot, (uint16_t)0); /* from here on it counts anew */
}

/* Copies the entries that stay: those that lie one behind the other at once. */
static void copy_rest(struct change *c)
{
    for (unsigned i = 0; i < c->n;) {
        const uint32_t from = c->at[i];
        uint32_t end = from + c->size[i];
        while (++i < c->n && c->at[i] == end)
            end += c->size[i];
        cm_entries_copy(c->new, c->old + from, end - from);
    }
}

/* Begins the next content with the new entry. */
static void begin_new(struct change *c)
{
    cm_entries_begin(c->new, c->place.bucket);
    if (!c->add)
        return;
    const uint64_t check = cm_entries_add(c->new, c->place.bucket, c->add);
    if (c->life->ttl_ns > 0)
        cm_objects_keep_end(c->o, &c->life->put, c->add, check, c->life->ttl_ns);
}

/* Makes the next content. `others`: with the other entries of the old one. False: it is empty. */
static bool make(struct change *c, bool others)
{
    const uint32_t bytes = others ? collect(c) : 0;
    if (!others)
        c->n = 0;
    const uint32_t room = cm_entries_room(c->new);
    if (bytes > room)
        make_room(c, bytes - room);
    copy_rest(c);
    cm_entries_end(c->new);
    return c->add || c->n > 0;
}

/* ---- Storing it ------------------------------------------------------------------------------ */

/* Fills the bucket, which is absent. `was`: the incarnation of the old content; that of another one
 * has been forgotten by somebody, and must not come back. */
static int fill(struct change *c, uint64_t was)
{
    const uint64_t offset = c->place.bucket * CM_BLOCK_SIZE;
    cm_file *file = c->o->buckets_file;
    unsigned i = 0;
    bool failed = false, once_more;
    int e;
    do {
        cm_miss miss;
        e = cm_inner_ticket(file, offset, &miss);
        if (e)
            return e;
        if (was != 0 && miss.incarnation != was) {
            was = 0;
            begin_new(c);
            if (!make(c, false))
                return CM_NOT_STORED_STALE;
        }
        e = cm_fill(file, &miss, c->new, CM_BLOCK_SIZE, 0);
        /* Another slot may take it, or a callback of the seal fails only once. */
        once_more = e == CM_NOT_STORED_MEDIA && !failed;
        failed = failed || once_more;
    } while (once_more || (cm_objects_passes(file, e) && cm_objects_again(i++, c->waited)));
    return e;
}

/* While the pool grows nothing could be stored in place of what is forgotten. False: it still
 * grows. */
static bool wait_for_growth(const struct change *c)
{
    for (unsigned i = 0; cm_inner_grows(c->o->buckets_file); i++)
        if (!cm_objects_again(i, c->waited))
            return false;
    return true;
}

/* Reads the old content. A callback of the seal that fails once is asked once more: what is not
 * read here is lost. */
static int64_t read_old(struct change *c, cm_miss *miss)
{
    const uint32_t failures = cm_inner_seal_failures(c->o->buckets_file);
    const int64_t n = cm_bucket_read(c->o, c->place.bucket, c->old, miss);
    if (n == CM_BLOCK_SIZE || cm_inner_seal_failures(c->o->buckets_file) == failures)
        return n;
    return cm_bucket_read(c->o, c->place.bucket, c->old, miss);
}

/* The bucket's lock is held. Returns what cm_objects_put() or cm_objects_delete() return. */
static int change_locked(struct change *c, struct cm_bucket_lock *l)
{
    const uint64_t bucket = c->place.bucket, offset = bucket * CM_BLOCK_SIZE;
    cm_miss miss = CM_MISS_INIT;
    cm_bracket w;
    const int64_t n = read_old(c, &miss);
    if (n < 0)
        return (int)n;
    const bool whole = n == CM_BLOCK_SIZE && cm_entries_whole(c->old, bucket);
    const bool some = make(c, whole);
    if (whole && !c->add && !c->there)
        return CM_EABSENT; /* what is there without the key is as durable as its absence */
    if (whole && !wait_for_growth(c) && !c->there)
        return CM_NOT_STORED_MODE; /* nothing needs to be forgotten */
    /* Odd: a reader that finds nothing waits for us. Release: before the bracket. */
    at_store_release(&l->turn, l->turn + 1);
    int e = cm_write_begin(c->o->buckets_file, offset, CM_BLOCK_SIZE, &w);
    if (e == 0) {
        (void)cm_write_end(c->o->buckets_file, &w, NULL);
        c->changed = true;
        if (some)
            e = fill(c, whole ? miss.incarnation : 0);
        if (e == 0)
            cm_bucket_remember(c->o, bucket, cm_entries_used(c->new));
        cm_objects_synced(c->o->buckets_file);
    }
    at_store_release(&l->turn, l->turn + 1);
    if (e >= 0 && !c->add)
        return c->had ? 0 : CM_EABSENT;
    return e;
}

/* Changes the bucket of the key. */
static int change(cm_objects *o, const struct cm_object_place *p, const void *key,
                  const struct cm_entry *add, const struct life *life, uint64_t *waited)
{
    struct cm_value_ref gone[GONE_MAX];
    struct change c;
    c.o = o;
    c.place = *p;
    c.key = key;
    c.add = add;
    c.life = life;
    c.waited = waited;
    c.there = c.had = c.changed = false;
    c.dropped = c.expired = 0;
    c.gone = gone;
    c.gone_n = c.n = 0;
    struct cm_bucket_lock *l = &o->locks[p->bucket % CM_OBJECT_LOCKS];
    at_prefetch(&o->hint[p->bucket]);
    cm_inner_prefetch(o->buckets_file, p->bucket * CM_BLOCK_SIZE);
    begin_new(&c); /* meanwhile */
    cm_bucket_prefetch(o, p->bucket);
    cm_lock_acquire(&l->lock);
    const int e = change_locked(&c, l);
    cm_lock_release(&l->lock);
    if (!c.changed) /* all entries are where they were, whatever `e` says */
        return e;
    for (unsigned i = 0; i < c.gone_n; i++)
        cm_values_drop(o, &gone[i]);
    if (c.dropped)
        cm_objects_count(o, CM_OBJECT_DROPPED, c.dropped);
    if (c.expired)
        cm_objects_count(o, CM_OBJECT_EXPIRED, c.expired);
    return e;
}

/* ---- The calls ------------------------------------------------------------------------------- */

/* Below a millisecond somebody has taken another unit. Logs it, once. */
static void tell_ttl(cm_objects *o, uint64_t ttl_ns)
{
    if (ttl_ns == 0 || ttl_ns >= 1000000 || at_or_relaxed(&o->told_ttl, 1u) != 0)
        return;
    cm_log(o->cache, CM_LOG_WARNING,
           "%s: objects: %s: an object was put with a ttl_ns of %u: these are nanoseconds, so it "
           "is never found (a second is 1000000000)",
           o->cache->name, o->name, (unsigned)ttl_ns);
}

/* When such an object expires, by the wall clock: later sessions know no other one. Earlier rather
 * than later. */
static int64_t expiry(const struct life *life)
{
    const int64_t now = life->put.wall_ns / 1000000;
    const uint64_t ttl = life->ttl_ns / 1000000;
    if (life->ttl_ns == 0)
        return 0;
    /* Both were nanoseconds in 64 bits, so the sum fits into the 48 bits that an entry has. */
    return now + (int64_t)ttl > 0 ? now + (int64_t)ttl : 1; /* 0 would be no end */
}

int cm_objects_put(cm_objects *o, const void *key, size_t key_len, const void *value, size_t len,
                   uint64_t ttl_ns)
{
    struct cm_object_place p;
    struct cm_value_ref ref;
    uint64_t waited = 0;
    struct life life = { .ttl_ns = ttl_ns };
    struct cm_entry e = { .key = key, .key_len = (uint32_t)key_len, .payload = value };
    int stored = cm_objects_enter(o);
    if (stored)
        return stored;
    if ((!value && len) || !cm_objects_place(o, key, key_len, &p))
        return CM_EINVAL;
    tell_ttl(o, ttl_ns);
    e.n = (uint32_t)len;
    if (ttl_ns > 0)
        life.put = cm_objects_now(o);
    e.expires_ms = expiry(&life);
    if (len > CM_OBJECT_INLINE_MAX) {
        stored = cm_values_store(o, value, len, &ref, &waited);
        e.payload = (const uint8_t *)&ref;
        e.n = sizeof(ref);
        e.flags = CM_ENTRY_LARGE;
    }
    /* What could not be stored takes the old value away all the same. */
    int changed = change(o, &p, key, stored == 0 ? &e : NULL, &life, &waited);
    if (stored == 0 && changed != 0 && e.flags == CM_ENTRY_LARGE)
        cm_values_drop(o, &ref);
    if (stored != 0)
        changed = changed < 0 && changed != CM_EABSENT ? changed : stored;
    cm_objects_count(o, changed == 0 ? CM_OBJECT_PUTS : CM_OBJECT_NOT_STORED, 1);
    return changed;
}

int cm_objects_delete(cm_objects *o, const void *key, size_t key_len)
{
    struct cm_object_place p;
    uint64_t waited = 0;
    int e = cm_objects_enter(o);
    if (e)
        return e;
    if (!cm_objects_place(o, key, key_len, &p))
        return CM_EINVAL;
    e = change(o, &p, key, NULL, NULL, &waited);
    if (e == 0)
        cm_objects_count(o, CM_OBJECT_DELETES, 1);
    return e;
}

int cm_objects_clear(cm_objects *o)
{
    int e = cm_objects_enter(o);
    if (e)
        return e;
    for (unsigned i = 0; i < CM_OBJECT_LOCKS; i++)
        cm_lock_acquire(&o->locks[i].lock);
    e = cm_objects_forget_all(o->buckets_file, o->buckets * CM_BLOCK_SIZE);
    if (e == 0)
        e = cm_values_clear(o);
    for (unsigned i = CM_OBJECT_LOCKS; i-- > 0;)
        cm_lock_release(&o->locks[i].lock);
    return e;
}
