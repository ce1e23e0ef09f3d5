/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file.c - attached origin files.
 *
 * Owns: the table of open objects (one per id), each object's incarnation, validator, dirty mark
 * and list of open brackets, and through file_table.c what survives of them.
 *
 * How: blocks are keyed by the incarnation, a number never reused in a pool, so a new incarnation
 * makes everything old unreachable at once. It takes effect in DRAM only after the record that
 * names it is durable; otherwise a crash would bring the old one back. The incarnation may change
 * while brackets are open; their stripes belong to the old one, so they are counted in `stale`,
 * and while that is not zero nothing is filled.
 *
 * Locks: files_lock for the table and for attaching, then a file's own lock.
 * Who: bracket.c, read_through.c and cache.c.
 */
#include "state/file.h"

#include <string.h>

#include "media/file_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLAB_FILES 63u
/* A file changed later than this before the boot was synced by the shutdown that ended the last
 * boot. Wide, because the wall clock may have been set since. */
#define BOOT_MARGIN_NS (INT64_C(300) * 1000000000)

struct cm_file_slab {
    struct cm_file_slab *next;
    struct cm_object object[SLAB_FILES];
};

/* ---- Objects --------------------------------------------------------------------------------- */

static uint64_t chain_number(const struct cm_cache *c, const cm_file_id *id)
{
    return XXH3_64bits_withSeed(id, sizeof(*id), c->media.hash_seed) % CM_FILE_HASH;
}

static struct cm_object **chain_of(struct cm_cache *c, const cm_file_id *id)
{
    return &c->file_hash[chain_number(c, id)];
}

static struct cm_object *find(struct cm_cache *c, const cm_file_id *id)
{
    for (struct cm_object *f = *chain_of(c, id); f; f = f->next)
        if (f->id.hi == id->hi && f->id.lo == id->lo)
            return f;
    return NULL;
}

/* The memory of objects stays readable until cm_close, so that a handle used after its close is
 * found out rather than followed. One that had all generations is left to cm_close. */
static void put_free(struct cm_cache *c, struct cm_object *f)
{
    at_store_relaxed(&f->handle, 0u);
    if (f->generation == UINT16_MAX)
        return;
    f->next = NULL;
    *c->free_tail = f;
    c->free_tail = &f->next;
}

static struct cm_object *get_free(struct cm_cache *c)
{
    struct cm_object *f = c->free_files;
    c->free_files = f->next;
    if (!c->free_files)
        c->free_tail = &c->free_files;
    uint16_t generation = f->generation;
    memset(f, 0, sizeof(*f));
    f->generation = generation + 1u;
    return f;
}

static cm_file *handle_of(const struct cm_object *f)
{
    return (cm_file *)((uintptr_t)f | (uintptr_t)f->generation << CM_ADDRESS_BITS);
}

/* Sees to it, holding the files lock on return, that get_free finds an object. The allocation hook
 * runs without the lock. CM_ENOMEM: the lock is not held. */
static int lock_with_free(struct cm_cache *c)
{
    for (;;) {
        cm_lock_acquire(&c->files_lock);
        if (c->free_files)
            return 0;
        cm_lock_release(&c->files_lock);
        struct cm_file_slab *s = cm_cache_alloc(c, sizeof(*s));
        if (!s)
            return CM_ENOMEM;
        if ((uintptr_t)(s + 1) >> CM_ADDRESS_BITS) { /* no room for a generation */
            cm_cache_free(c, s, sizeof(*s));
            return CM_ENOMEM;
        }
        cm_lock_acquire(&c->files_lock);
        s->next = c->slabs;
        c->slabs = s;
        for (unsigned i = 0; i < SLAB_FILES; i++)
            put_free(c, &s->object[i]);
        cm_lock_release(&c->files_lock);
    }
}

void cm_files_free(struct cm_cache *c)
{
    while (c->slabs) {
        struct cm_file_slab *s = c->slabs;
        c->slabs = s->next;
        cm_cache_free(c, s, sizeof(*s));
    }
}

bool cm_files_busy(struct cm_cache *c)
{
    bool busy = false;
    cm_lock_acquire(&c->files_lock);
    for (unsigned i = 0; i < CM_FILE_HASH && !busy; i++)
        for (struct cm_object *f = c->file_hash[i]; f && !busy; f = f->next) {
            cm_lock_acquire(&f->lock);
            busy = f->open_brackets > 0;
            cm_lock_release(&f->lock);
        }
    cm_lock_release(&c->files_lock);
    return busy;
}

/* ---- Records --------------------------------------------------------------------------------- */

static bool place_open(const struct cm_cache *c, uint64_t place)
{
    return at_load_acquire(&c->open_places[place / 64]) >> place % 64 & 1;
}

static void open_place(struct cm_cache *c, uint64_t place)
{
    at_or_acq_rel(&c->open_places[place / 64], UINT64_C(1) << place % 64);
}

static void close_place(struct cm_cache *c, uint64_t place)
{
    at_and_release(&c->open_places[place / 64], ~(UINT64_C(1) << place % 64));
}

static bool same_validator(const cm_validator *v, const struct cm_record *r)
{
    return v->size == r->size && v->mtime_ns == r->mtime_ns && v->ctime_ns == r->ctime_ns &&
           v->change == r->change;
}

static int write_record(struct cm_object *f, uint64_t incarnation)
{
    if (f->place == CM_NO_PLACE)
        return 0; /* volatile: after a crash nothing leads to this incarnation anyway */
    struct cm_record r = { .id = f->id, .incarnation = incarnation };
    r.size = f->validator.size;
    r.mtime_ns = f->validator.mtime_ns;
    r.ctime_ns = f->validator.ctime_ns;
    r.change = f->validator.change;
    r.flags = !f->has_validator || f->validator.racy ? CM_RECORD_RACY : 0;
    r.flags |= at_load_relaxed(&f->bypassed) ? CM_RECORD_SYNC_FAILED : 0;
    return cm_record_write(&f->cache->media, f->place, &r);
}

/* The last resort of forgetting. */
static int bump_epoch(struct cm_cache *c)
{
    cm_count(c, CM_STAT_escalations, 1);
    /* Failed: this session serves nothing any more, and says so until a bump succeeds. */
    return cm_super_bump_epoch(&c->super, &c->broken) ? CM_EFORGET : 0;
}

int cm_file_disbelieve(struct cm_cache *c, uint64_t key)
{
    uint32_t unsaid = 0;
    cm_count(c, CM_STAT_escalations, 1);
    (void)at_cas_acq_rel(&c->older, &unsaid, 1);
    return cm_super_disbelieve(&c->super, key, &c->broken) ? CM_EFORGET : 0;
}

/* Reads the records where the file's may be. One with a number that this pool has not given yet
 * empties the pool. */
static int load_records(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *b)
{
    uint64_t key = cm_media_key(&c->media);
    int e = 0;
    cm_record_load(&c->media, id, b);
    for (unsigned i = 0; i < b->n && e == 0; i++)
        if (b->whole[i] && cm_super_is_older(&c->super, b->record[i].incarnation)) {
            e = cm_file_disbelieve(c, key);
            cm_record_load(&c->media, id, b);
        }
    return e;
}

int cm_file_can_forget(struct cm_cache *c)
{
    return at_load_seq_cst(&c->broken) ? bump_epoch(c) : 0;
}

/* The file's record cannot be written: make sure that nothing on the media leads to the old
 * incarnation, and go on without a record. */
static int abandon_record(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    struct cm_record r;
    bool whole;
    uint64_t place = f->place;
    if (place == CM_NO_PLACE)
        return 0;
    open_place(c, place); /* and never closed: it would be as bad for others */
    f->place = CM_NO_PLACE;
    if (at_load_relaxed(&f->handle) != 0) /* else attach_new counts it */
        cm_count(c, CM_STAT_unrecorded, 1);
    if (cm_record_drop(&c->media, place) == 0)
        return 0;
    /* Never written for this file, and what is there is no record or another file's: nothing can
     * come back. (A hole of a sparse pool on a full volume reads as zeros and cannot be written.)
     */
    if (!f->recorded && (cm_record_is_hole(&c->media, place) ||
                         (cm_record_at(&c->media, place, &r, &whole) == 0 &&
                          (!whole || r.id.hi != f->id.hi || r.id.lo != f->id.lo))))
        return 0;
    return bump_epoch(c);
}

/* A record that cannot be read may be that of the file which is looked for, with an incarnation
 * that is given up now: it must not count when it can be read again. `trust_dax`: with DAX it
 * cannot, the system remembers a lost line until something else is written to it; good enough
 * where validators stand behind it. */
static int void_unreadable(struct cm_cache *c, const struct cm_record_set *b, bool trust_dax)
{
    bool left = false;
    for (unsigned i = 0; i < b->n; i++) {
        uint64_t place = cm_record_place(b, i);
        if (!b->unreadable[i] || place_open(c, place) || cm_record_is_hole(&c->media, place) ||
            cm_record_drop(&c->media, place) == 0 ||
            (trust_dax && c->super.now.durability == CM_DURABILITY_DAX))
            continue;
        open_place(c, place); /* and never closed: dealt with, and no place for others */
        left = true;
    }
    return left ? bump_epoch(c) : 0;
}

/* ---- Dirty marks ----------------------------------------------------------------------------- */

/* Could the origin hold writes that a power cut would take back? */
static bool born_dirty(const struct cm_cache *c, const cm_validator *v)
{
    int64_t boot = cm_plat_boot_wall_ns();
    if (boot > c->boot_wall_ns)
        boot = c->boot_wall_ns; /* the clock was set since: the earlier claim is the safer one */
    if (!v || boot < INT64_MIN + BOOT_MARGIN_NS)
        return true; /* unknown */
    int64_t last = v->mtime_ns > v->ctime_ns ? v->mtime_ns : v->ctime_ns;
    return last > boot - BOOT_MARGIN_NS;
}

int cm_file_mark_dirty(struct cm_object *f)
{
    /* A mark found set is trusted only if this session fenced it: one left in the CPU cache by a
     * crashed owner could still be lost. The lock is held over the fence, so no second writer can
     * slip by while the first is still setting it. */
    if (f->mark_fenced || f->place == CM_NO_PLACE) {
        f->dirty = true;
        return 0;
    }
    struct cm_cache *c = f->cache;
    f->dirty = true;
    if (cm_record_mark(&c->media, f->place, true, c->super.now.boot_number))
        return abandon_record(f);
    f->mark_fenced = true;
    return 0;
}

void cm_file_mark_clean(struct cm_object *f)
{
    f->dirty = false;
    f->mark_fenced = false;
    if (f->place == CM_NO_PLACE)
        return;
    /* Failing leaves DIRTY (or a word that counts as it): the safe side. */
    (void)cm_record_mark(&f->cache->media, f->place, false, f->cache->super.now.boot_number);
}

/* ---- Incarnations ---------------------------------------------------------------------------- */

/* Lets lookups and fills use the new incarnation, whose record is durable. */
static void release_incarnation(struct cm_object *f, uint64_t incarnation)
{
    /* Open brackets raised intents on the OLD incarnation's stripes only. Count them as stale
     * before the new incarnation can be seen: a miss loads the incarnation first and `stale` last.
     */
    for (struct cm_open_bracket *b = f->brackets; b; b = b->next)
        b->stale = true;
    at_store_seq_cst(&f->stale, f->open_brackets);
    at_add_seq_cst(&f->ticket, 1);
    at_store_seq_cst(&f->limit, 0);
    at_store_release(&f->incarnation, incarnation); /* pairs with the acquire in cm_ticket_take */
    cm_count(f->cache, CM_STAT_incarnations, 1);
}

int cm_file_stop(struct cm_object *f, int e)
{
    if (e)
        release_incarnation(f, 0);
    return e;
}

static int renew(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    uint64_t incarnation;
    int e = cm_file_can_forget(c);
    if (e)
        return cm_file_stop(f, e);
    e = cm_super_incarnation(&c->super, &incarnation);
    if (e == 0) {
        if (write_record(f, incarnation))
            e = abandon_record(f);
        f->recorded = true;
    } else {
        incarnation = 0; /* none to be had: the file is not cached any more */
        e = abandon_record(f);
    }
    release_incarnation(f, e == 0 ? incarnation : 0);
    return e;
}

int cm_file_renew(struct cm_object *f)
{
    /* Nothing is cached of a bypassed file until the next boot. A record that is written may be
     * torn by a crash, and the failed fsync be forgotten with it. */
    assert(!at_load_relaxed(&f->bypassed) || f->incarnation == 0);
    return at_load_relaxed(&f->bypassed) ? 0 : renew(f);
}

int cm_file_sync_failed(struct cm_object *f)
{
    /* Not lifted in this boot: the system keeps pages that it could not write, takes them for
     * written and reports them once. What a later sync says is about other pages; and what is
     * read, until those pages are gone, may be newer than what the origin has. */
    struct cm_cache *c = f->cache;
    const bool known = at_load_relaxed(&f->bypassed) != 0;
    at_store_release(&f->bypassed, 1u);
    f->data_begun++; /* a sync under way proves nothing about it */
    int e = cm_file_can_forget(c);
    /* Before the record, which the next bump of the epoch takes away. If it cannot be written this
     * session knows it all the same. */
    (void)cm_super_sync_failed(&c->super, true);
    if (e == 0)
        e = cm_file_mark_dirty(f); /* also stamps the failure with this boot */
    /* Blocks read before may be newer than what the origin kept. The record says so from now on. */
    if (e == 0 && !known)
        e = renew(f);
    release_incarnation(f, 0);
    if (f->place == CM_NO_PLACE)
        (void)cm_super_sync_failed(&c->super, false);
    return e;
}

/* ---- Validators ------------------------------------------------------------------------------ */

/* Files lock held. What cm_object.floor_ns is for a file at its attach: the object that knew of its
 * brackets may be gone, and an owner before this session may have written until it went. */
static uint64_t floor_at_attach(const struct cm_cache *c, const cm_file_id *id)
{
    uint64_t left = c->file_floor[chain_number(c, id)];
    return left > c->opened_ns ? left : c->opened_ns;
}

/* Files lock held. */
static void leave_floor(struct cm_cache *c, const cm_file_id *id, uint64_t floor_ns)
{
    uint64_t *left = &c->file_floor[chain_number(c, id)];
    if (*left < floor_ns)
        *left = floor_ns;
}

void cm_file_moved(struct cm_object *f)
{
    f->floor_ns = cm_plat_now_ns() + 1;
}

bool cm_file_proves(const struct cm_object *f, const cm_validator *v)
{
    return f->open_brackets == 0 && v->taken_at >= f->floor_ns;
}

bool cm_file_may_adopt(const struct cm_object *f)
{
    return (f->flags & CM_SOLE_WRITER) && !f->disowned;
}

/* From here on only what was taken later counts: two who ask for a file's attributes may come here
 * in the other order. */
static void set_validator(struct cm_object *f, const cm_validator *v)
{
    f->validator = *v;
    f->has_validator = v->size != CM_SIZE_UNKNOWN;
    f->has_version = !f->has_validator;
    f->want = false;
    if (f->floor_ns < v->taken_at)
        f->floor_ns = v->taken_at;
}

void cm_file_drop_validator(struct cm_object *f)
{
    f->has_validator = false;
    f->has_version = false;
    f->want = false;
    at_store_release(&f->size, CM_SIZE_UNKNOWN);
}

void cm_file_adopt(struct cm_object *f, const cm_validator *v)
{
    set_validator(f, v);
    at_store_release(&f->size, v->size);
    /* Of a file that is not used nothing is to be kept; and a record that says that an fsync failed
     * stays, for a crash could tear the new one. */
    if (f->incarnation != 0 && write_record(f, f->incarnation))
        (void)abandon_record(f); /* nothing was to be forgotten; the file just is not kept */
}

static bool unchanged(const struct cm_object *f, const cm_validator *v)
{
    const cm_validator *o = &f->validator;
    return (f->has_validator || f->has_version) &&
           (v->size == o->size || v->size == CM_SIZE_UNKNOWN) && v->mtime_ns == o->mtime_ns &&
           v->ctime_ns == o->ctime_ns && v->change == o->change;
}

/* The file is another one than what is cached of it. */
static int begin_version(struct cm_object *f, const cm_validator *v)
{
    set_validator(f, v);
    /* No size before the new incarnation, whose release orders the two; the new size after it. Else
     * a reader could end one version where the other one ends (walk_begin). */
    at_store_relaxed(&f->size, CM_SIZE_UNKNOWN);
    int e = born_dirty(f->cache, f->has_validator ? v : NULL) ? cm_file_mark_dirty(f) : 0;
    e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
    if (e == 0)
        at_store_release(&f->size, v->size); /* pairs with the acquire in walk_begin */
    return e;
}

int cm_file_judge(struct cm_object *f, const cm_validator *v)
{
    if (!cm_file_proves(f, v))
        return CM_IGNORED;
    bool sole = (f->flags & CM_SOLE_WRITER) != 0;
    if (unchanged(f, v) && (sole || (!f->validator.racy && !v->racy))) {
        bool settled = f->validator.racy && !v->racy;
        if (v->size == CM_SIZE_UNKNOWN) /* the same version, and no more is known of it */
            return 0;
        f->want = false;
        if (f->floor_ns < v->taken_at)
            f->floor_ns = v->taken_at;
        at_store_release(&f->size, v->size);
        if (settled)
            cm_file_adopt(f, v);
        return 0;
    }
    if (f->want && cm_file_may_adopt(f)) { /* only we wrote, and every write was bracketed */
        cm_file_adopt(f, v);
        return 0;
    }
    /* Somebody else changed it, or (racy: then or now) could have behind the same timestamps. Not
     * by a bracket, but a sync that began before this proves nothing about it either. */
    f->data_begun++;
    f->disowned = false;
    return begin_version(f, v);
}

/* ---- Brackets -------------------------------------------------------------------------------- */

void cm_file_link(struct cm_object *f, struct cm_open_bracket *b, bool stale)
{
    b->next = f->brackets;
    f->brackets = b;
    f->open_brackets++;
    if (b->data) {
        f->open_data++;
        f->data_begun++;
    }
    b->stale = stale;
    if (stale) {
        /* As in cm_stripe_begin: the intent before the ticket. seq_cst: cm_fill_blocks raises the
         * limit and then looks at the ticket; we move the ticket and then look at the limit. */
        at_add_seq_cst(&f->stale, 1);
        at_add_seq_cst(&f->ticket, 1);
    }
}

struct cm_open_bracket *cm_file_unlink(struct cm_object *f, uint64_t id)
{
    struct cm_open_bracket **p = &f->brackets;
    while (*p && id != 0 && ((*p)->id != id || !(*p)->raised))
        p = &(*p)->next;
    struct cm_open_bracket *b = *p;
    if (!b)
        return NULL;
    *p = b->next;
    f->open_brackets--;
    if (b->data)
        f->open_data--;
    if (b->stale) {
        assert(f->stale > 0);
        at_add_seq_cst(&f->stale, -1u);
        at_add_seq_cst(&f->ticket, 1);
    }
    return b;
}

/* ---- Attaching ------------------------------------------------------------------------------- */

/* Did an fsync of the file fail in this boot? Its page cache may hold what the origin lost. */
static bool sync_failed(struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    bool dirty;
    uint32_t boot;
    if (!(r->flags & CM_RECORD_SYNC_FAILED))
        return false;
    const struct cm_super_failed failed = cm_super_failed(&c->super);
    if (!cm_format_state_read(cm_media_key(&c->media), place, r->state, &dirty, &boot))
        return failed.any; /* a damaged mark, or one of an earlier epoch */
    return boot == c->super.now.boot_number || failed.unnamed;
}

/* Is there a record whose file nobody can tell, and for which an fsync may have failed? Then it is
 * noted in the superblock, before the record is dropped. */
static bool note_lost(struct cm_cache *c, const struct cm_record_set *b)
{
    if (!cm_super_failed(&c->super).any)
        return false;
    for (unsigned i = 0; i < b->n; i++)
        if (b->unreadable[i] || (!b->whole[i] && b->record[i].xxh3 != 0 &&
                                 (b->record[i].flags & CM_RECORD_SYNC_FAILED))) {
            (void)cm_super_sync_failed(&c->super, false); /* known in this session all the same */
            return true;
        }
    return false;
}

/* Is a file in this boot one that an fsync failed for, as far as anybody knows? `r`: its record, or
 * NULL: then one that cannot be read, or is damaged, may be its own. */
static bool may_have_failed(struct cm_cache *c, const struct cm_record_set *b, uint64_t place,
                            const struct cm_record *r)
{
    if (r)
        return sync_failed(c, place, r);
    return note_lost(c, b) || cm_super_failed(&c->super).unnamed;
}

/* Chooses the record for a file that has none: an unused one, in the bucket that has more of them,
 * else any that no open file owns (not the oldest: reading more files in turn than fit would then
 * forget every one before its turn). */
static uint64_t choose_place(struct cm_cache *c, const struct cm_record_set *b)
{
    uint64_t candidate[CM_RECORD_PLACES], unused[CM_RECORD_CHOICES];
    unsigned n = 0, free[CM_RECORD_CHOICES] = { 0 };
    for (unsigned i = 0; i < b->n; i++) {
        uint64_t place = cm_record_place(b, i);
        unsigned bucket = i / CM_RECORD_WAYS;
        if (place_open(c, place) || b->unreadable[i])
            continue;
        if (b->whole[i] && sync_failed(c, place, &b->record[i]))
            continue; /* it keeps its file out of the cache */
        if (b->whole[i])
            candidate[n++] = place;
        else if (free[bucket]++ == 0)
            unused[bucket] = place;
    }
    if (free[0] > 0 || free[1] > 0)
        return free[0] >= free[1] ? unused[0] : unused[1];
    if (n == 0)
        return CM_NO_PLACE;
    cm_count(c, CM_STAT_records_evicted, 1);
    return candidate[XXH3_64bits(&c->serial, sizeof(c->serial)) % n];
}

/* Finds the file's record. Two of one id prove nothing: both are dropped. */
static int find_record(struct cm_object *f, const struct cm_record_set *b,
                       const struct cm_record **rec)
{
    struct cm_cache *c = f->cache;
    unsigned found = 0;
    *rec = NULL;
    f->place = CM_NO_PLACE;
    for (unsigned i = 0; i < b->n; i++)
        if (cm_record_names(b, i, &f->id)) {
            found++;
            *rec = &b->record[i];
            f->place = cm_record_place(b, i);
            f->recorded = true;
        }
    if (found <= 1)
        return 0;
    *rec = NULL;
    for (unsigned i = 0; i < b->n; i++) {
        if (!cm_record_names(b, i, &f->id))
            continue;
        if (sync_failed(c, cm_record_place(b, i), &b->record[i]))
            (void)cm_super_sync_failed(&c->super, false);
        if (cm_record_drop(&c->media, cm_record_place(b, i)))
            return bump_epoch(c);
    }
    return 0;
}

static bool may_keep(const struct cm_object *f, const struct cm_record *r, const cm_validator *v)
{
    struct cm_cache *c = f->cache;
    bool dirty;
    uint32_t boot;
    if (!r || r->incarnation == 0 || !v || v->size == CM_SIZE_UNKNOWN || v->racy ||
        (r->flags & CM_RECORD_RACY) || !same_validator(v, r))
        return false;
    if (cm_record_lost(&c->media, f->place, r->state, c->super.now.boot_number))
        return false;
    (void)cm_format_state_read(cm_media_key(&c->media), f->place, r->state, &dirty, &boot);
    return !(dirty && (f->flags & CM_ORIGIN_VOLATILE));
}

static void keep(struct cm_object *f, const struct cm_record *r, const cm_validator *v)
{
    uint32_t boot;
    set_validator(f, v);
    f->size = v->size; /* not shared yet */
    f->kept = true;
    f->incarnation = r->incarnation;
    f->limit = v->size; /* nothing past the size of an unchanged file was cached */
    (void)cm_format_state_read(cm_media_key(&f->cache->media), f->place, r->state, &f->dirty,
                               &boot);
    cm_count(f->cache, CM_STAT_attach_kept, 1);
}

/* A file that an fsync failed for in this boot: its record stays as it is, and nothing is cached.
 */
static void stay_out(struct cm_object *f, const cm_validator *v)
{
    f->size = CM_SIZE_UNKNOWN;
    if (v) {
        set_validator(f, v);
        f->size = v->size;
    }
    f->dirty = true;
    cm_count(f->cache, CM_STAT_attach_new, 1);
}

/* Must what is at a new record's place be dropped before anything is written there? A torn record
 * that was this very file's may lack just the words that the two have in common: a crash in writing
 * the new one could make the old one whole. */
static bool goes_first(const struct cm_record_set *b, uint64_t place, bool dirty)
{
    uint64_t i = place - b->first[0];
    if (i >= CM_RECORD_WAYS)
        i = CM_RECORD_WAYS + (place - b->first[1]);
    return b->whole[i] ? dirty : b->record[i].xxh3 != 0;
}

static int begin_anew(struct cm_object *f, const struct cm_record_set *b, const cm_validator *v)
{
    struct cm_cache *c = f->cache;
    int e = 0;
    if (f->place == CM_NO_PLACE) {
        e = void_unreadable(c, b, true);
        /* An old record of this file may be seen torn by a crashed owner and still be whole on the
         * media: made durable as it is, it cannot come back as a second one. */
        cm_record_settle_set(&c->media, b);
        f->place = choose_place(c, b);
    }
    f->size = CM_SIZE_UNKNOWN;
    if (v) {
        set_validator(f, v);
        f->size = v->size;
    }
    cm_count(c, CM_STAT_attach_new, 1);
    bool dirty = born_dirty(c, f->has_validator ? v : NULL);
    /* Born dirty: the mark before the record, or a crash between the two leaves a record that
     * claims to be clean; and before the mark the old record goes, whoever's it is: lost writes of
     * an earlier boot must not read "dirty in this boot" because of a mark that is not its own.
     * Proved clean: the record first, or the old record loses its mark. */
    if (e == 0 && f->place != CM_NO_PLACE && goes_first(b, f->place, dirty) &&
        cm_record_drop(&c->media, f->place))
        e = abandon_record(f);
    if (e == 0 && dirty)
        e = cm_file_mark_dirty(f);
    if (e == 0)
        e = cm_file_renew(f);
    if (e == 0 && !dirty)
        cm_file_mark_clean(f);
    return e;
}

static int attach_new(struct cm_cache *c, const cm_file_id *id, const cm_validator *v,
                      uint32_t flags, cm_file **file)
{
    struct cm_object *f = get_free(c);
    struct cm_record_set b;
    const struct cm_record *r;
    f->cache = c;
    f->id = *id;
    f->flags = flags;
    f->refs = 1;
    f->serial = ++c->serial;
    f->floor_ns = floor_at_attach(c, id);
    bool ignored = v && !cm_file_proves(f, v);
    if (ignored)
        v = NULL;
    int e = cm_file_can_forget(c);
    if (e == 0)
        e = load_records(c, id, &b);
    if (e == 0)
        e = find_record(f, &b, &r);
    if (e == 0) {
        at_store_relaxed(&f->bypassed, may_have_failed(c, &b, f->place, r));
        if (at_load_relaxed(&f->bypassed))
            stay_out(f, v);
        else if (may_keep(f, r, v) && cm_record_settle(&c->media, f->place) == 0)
            keep(f, r, v);
        else
            e = begin_anew(f, &b, v);
    }
    if (e) {
        put_free(c, f);
        return e;
    }
    if (f->place != CM_NO_PLACE)
        open_place(c, f->place);
    else
        cm_count(c, CM_STAT_unrecorded, 1);
    f->next = *chain_of(c, id);
    *chain_of(c, id) = f;
    *file = handle_of(f);
    at_store_release(&f->handle, (uintptr_t)*file);
    return ignored ? CM_IGNORED : 0;
}

int cm_files_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v, uint32_t flags,
                    cm_file **file)
{
    int e = lock_with_free(c);
    if (e)
        return e;
    struct cm_object *f = find(c, id);
    if (!f) {
        e = attach_new(c, id, v, flags, file);
        cm_lock_release(&c->files_lock);
        return e;
    }
    f->refs++;
    cm_lock_release(&c->files_lock);
    cm_lock_acquire(&f->lock);
    f->flags = (f->flags & flags & CM_SOLE_WRITER) | ((f->flags | flags) & CM_ORIGIN_VOLATILE);
    if (v)
        e = cm_file_judge(f, v);
    cm_lock_release(&f->lock);
    if (e < 0) {
        (void)cm_files_detach(f);
        return e;
    }
    *file = handle_of(f);
    return e;
}

int cm_files_detach(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    int e = 0;
    cm_lock_acquire(&c->files_lock);
    cm_lock_acquire(&f->lock);
    bool last = f->refs == 1;
    if (last && f->open_brackets > 0)
        e = CM_EBUSY;
    else
        f->refs--;
    cm_lock_release(&f->lock);
    if (e == 0 && last) {
        struct cm_object **p = chain_of(c, &f->id);
        while (*p != f)
            p = &(*p)->next;
        *p = f->next;
        leave_floor(c, &f->id, f->floor_ns);
        if (f->place != CM_NO_PLACE)
            close_place(c, f->place);
        put_free(c, f);
    }
    cm_lock_release(&c->files_lock);
    return e;
}

/* Makes the incarnation of a record that nobody has open unreachable, durably. One that says that
 * an fsync failed stays as it is: nothing is cached under it. */
static int forget_record(struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    return sync_failed(c, place, r) ? cm_record_settle(&c->media, place)
                                    : cm_record_drop(&c->media, place);
}

int cm_files_forget(struct cm_cache *c, const cm_file_id *id)
{
    cm_lock_acquire(&c->files_lock);
    int e = cm_file_can_forget(c);
    struct cm_object *f = find(c, id);
    if (f) {
        cm_lock_acquire(&f->lock);
        cm_file_drop_validator(f); /* the id may stand for another file now */
        cm_file_moved(f);
        e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
        cm_lock_release(&f->lock);
    } else if (e == 0) {
        struct cm_record_set b;
        leave_floor(c, id, cm_plat_now_ns() + 1);
        cm_record_load(&c->media, id, &b);
        (void)note_lost(c, &b);
        e = void_unreadable(c, &b, false);
        for (unsigned i = 0; i < b.n && e == 0; i++) {
            uint64_t place = cm_record_place(&b, i);
            bool its = cm_record_names(&b, i, id);
            /* What is no record of the file, or another one's, may be a crashed owner's doing that
             * never reached the media: the file's record would be back after a power cut. */
            if ((its && forget_record(c, place, &b.record[i])) ||
                (!its && !b.unreadable[i] && !cm_record_is_unused(&b, i) &&
                 cm_record_settle(&c->media, place)))
                e = bump_epoch(c);
        }
    }
    cm_lock_release(&c->files_lock);
    return e;
}
