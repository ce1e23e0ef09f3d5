/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shared.c - a cache that reads a pool which another process owns (CM_OPEN_SHARED).
 *
 * Owns: the judgement whether the blocks of a file may be served, without a word to the owner.
 *
 * How: a reader maps the pool for reading, and has DRAM of its own. A hit is that of an owner:
 * cells, header, copy, the same w0 again. What the header does not say is in two more words of the
 * pool. The record of the file names its incarnation: an owner that gives it up changes this word
 * before its call returns. And the session is another one, or odd, when the owner changes what the
 * whole pool depends on, and when another owner comes. A reader looks at both: of one block before
 * its copy, of several behind the copies (cm_told_holds).
 *
 * A file is attached by its record, with the rules of an owner's attach; but where that would write
 * something, the file is cold here. What a reader knows of a file stays until its two words say
 * something else. docs/decisions/shared-readers.md lists how an owner makes blocks unreachable, and
 * which of the words shows it. tests/spin/shared.pml proves it.
 *
 * Locks: files_lock, then the file's.
 * Who: api/.
 */
#include "state/shared.h"

#include <string.h>

#include "state/attach.h"
#include "state/file_record.h"
#include "state/file_use.h"
#include "state/region.h"

#define TRIES 4 /* looks at something that its owner may be changing */

/* ---- The pool -------------------------------------------------------------------------------- */

/* Has an owner taken the pool in this boot, and has it the pool now? Then its superblock is as it
 * judged it, and the reader need not know the owner's mount. Who has the lock only may not have
 * judged it yet, or may never do so (a resize): the volume may have lost what the last owner left.
 */
static bool is_owned(struct cm_cache *c, const struct cm_super *sb, const struct cm_super_owner *me)
{
    static const uint8_t unknown[16];
    return c->file.handle != -1 && sb->state == CM_SUPER_OPEN &&
           memcmp(me->boot_id, unknown, sizeof(unknown)) != 0 &&
           memcmp(me->boot_id, sb->boot_id, sizeof(sb->boot_id)) == 0 &&
           cm_plat_file_is_taken(&c->file);
}

/* Makes of a superblock what the next owner would make of it. false: it would empty the pool. */
static bool judge_super(struct cm_cache *c, struct cm_super *sb)
{
    struct cm_super_owner me = { .durability = CM_DURABILITY_VOLATILE };
    char volume[PLAT_VOLUME];
    cm_plat_boot_id(me.boot_id);
    if (is_owned(c, sb, &me))
        return true;
    if (c->file.handle != -1) {
        cm_plat_mount_id(&c->file, me.mount_id);
        me.syncs = cm_plat_file_sync_lasts(&c->file, volume);
    } else {
        memset(me.mount_id, 0xff, sizeof(me.mount_id)); /* as in take_pool() */
    }
    if (cm_super_must_empty(sb, &me))
        return false;
    cm_super_count_boot(sb, &me);
    return true;
}

/* The owner may be writing one copy, then the other. */
static int read_super(struct cm_cache *c, struct cm_super *sb)
{
    uint32_t damaged;
    int e = CM_EDAMAGED;
    for (unsigned i = 0; i < TRIES && e < 0; i++)
        e = cm_super_read_sealed(c->media.base, &c->sealing, sb, &damaged);
    return e;
}

/* Is it the pool that was opened? One that has grown is another one: this reader knows neither its
 * index nor its new slots. */
static bool is_same(const struct cm_cache *c, const struct cm_super *sb)
{
    return memcmp(sb->uuid, c->super.now.uuid, sizeof(sb->uuid)) == 0 &&
           memcmp(sb->part, c->super.now.part, sizeof(sb->part)) == 0;
}

/* Files lock held, or the cache is being opened. Learns what the superblock says in the present
 * session. CM_EBUSY: nothing counts now. CM_ENOTPOOL: nor later. CM_ESEAL. */
static int learn(struct cm_cache *c, uint64_t *session, bool first)
{
    struct cm_super sb = { .seq = 0 };
    int e = cm_guard_load64(cm_super_session_at(&c->media), session);
    if (e == 0)
        e = read_super(c, &sb);
    if (e == CM_ENOTPOOL || (e >= 0 && !first && !is_same(c, &sb))) {
        uint32_t no = CM_SAY_NOTHING;
        if (at_cas_acq_rel(&c->replaced, &no, CM_SAY_DUE))
            cm_suspect(c);
        return CM_ENOTPOOL;
    }
    if (e == CM_ESEAL)
        return e;
    /* Each hit compares the session with this one. So if it changes from here on, or has changed
     * while the superblock was read, nothing of what was learned is used. Zero is no session: an
     * owner without room for a new epoch leaves it (cm_super_give_up). The number of the boot may
     * be another one than at the last look: without an owner it is what this reader expects of the
     * next one, who knows more, or less, of the volume. Each file is judged anew by it. */
    if (e < 0 || *session == 0 || *session % 2 == 1 || !judge_super(c, &sb))
        return CM_EBUSY;
    cm_lock_acquire(&c->super.lock);
    c->super.now = sb;
    cm_lock_release(&c->super.lock);
    /* Relaxed: it only says whether a wrong checksum is damage (cm_cache_tears). */
    at_store_relaxed(&c->media.boot, (uint8_t)sb.boot_number);
    at_store_release(&c->media.check_key, cm_format_check_key(sb.uuid, sb.epoch));
    return 0;
}

int cm_shared_begin(struct cm_cache *c)
{
    uint64_t session, part[CM_PARTS];
    memcpy(part, c->super.now.part, sizeof(part));
    (void)judge_super(c, &c->super.now); /* its number of boots is that of this reader */
    (void)learn(c, &session, true);
    c->super.open_mark = UINT64_MAX; /* whether the superblock is older than the pool, the owner
                                      * finds out (cm_super_is_older) */
    c->torn = true; /* what an earlier boot stored may be torn: no damage, and each is verified */
    if (c->opts.verify == CM_VERIFY_NEVER)
        c->opts.verify = CM_VERIFY_FIRST_HIT;
    c->judged_key = cm_media_key(&c->media);
    at_store_relaxed(&c->mode, (uint32_t)CM_FREEZE);
    return memcmp(part, c->super.now.part, sizeof(part)) == 0 ? 0 : CM_ETRUNCATED;
}

/* ---- A file ---------------------------------------------------------------------------------- */

/* What a record says. */
struct told_record {
    struct cm_record record;
    uint64_t size;
    struct cm_record_regions regions;
    uint64_t place;
};

/* 0, CM_ESEAL, or CM_EABSENT: it is not whole. */
static int load_whole(const struct cm_cache *c, uint64_t place, struct cm_record *r)
{
    bool whole;
    const int e = cm_record_at(&c->media, place, r, &whole);
    return whole ? 0 : e == CM_ESEAL ? e : CM_EABSENT;
}

/* Loads a record until two looks see the same: its words change one by one. Results as above. */
static int load_still(struct cm_cache *c, struct told_record *d)
{
    struct cm_record again;
    int e = 0;
    for (unsigned i = 0; i < TRIES && e == 0; i++) {
        e = load_whole(c, d->place, &d->record);
        at_fence_acquire(); /* the loads of the first look before those of the second */
        if (e == 0)
            e = load_whole(c, d->place, &again);
        if (e == 0 && memcmp(&again, &d->record, offsetof(struct cm_record, words)) == 0)
            return 0;
    }
    return e ? e : CM_EABSENT;
}

/* Files lock held. Finds the record of a file, the only one of its id. 0, CM_EABSENT; CM_ESEAL:
 * nobody knows now. */
static int find(struct cm_cache *c, const cm_file_id *id, struct told_record *d)
{
    struct cm_record_set *b = c->records;
    unsigned n = 0;
    cm_record_load(&c->media, id, b);
    if (b->any_unproved)
        return CM_ESEAL;
    for (unsigned i = 0; i < b->n; i++)
        if (cm_record_names(b, i, id)) {
            d->place = cm_record_place(b, i);
            n++;
        }
    const int e = n == 1 ? load_still(c, d) : CM_EABSENT;
    if (e || d->record.id.hi != id->hi || d->record.id.lo != id->lo)
        return e ? e : CM_EABSENT;
    cm_record_regions(&c->media, d->place, &d->record, &d->regions);
    return cm_region_size(c, d->place, &d->record, &d->size);
}

/* Would an owner's attach keep the file without a change of its record? After a crash of the system
 * it gives regions a new "since"; until an owner has done that, the file is cold. */
static bool is_settled(struct cm_cache *c, const struct told_record *d)
{
    const bool same_boot = d->regions.boot == c->super.now.boot_number;
    return d->regions.known && d->regions.unknown == 0 && (same_boot || d->regions.intents == 0) &&
           d->record.incarnation < c->super.now.inc_mark &&
           !(d->record.flags & CM_RECORD_SYNC_FAILED) && !cm_file_record_hides(c, &d->record);
}

/* Can a file that is attached already go on with this record? What names its blocks does not change
 * while others read it. The regions' size may be another one if no region has a "since", before and
 * now: then keys do not depend on it. */
static bool has_same_keys(const struct cm_object *f, const struct told_record *d)
{
    uint8_t any = 0;
    for (unsigned i = 0; i < CM_REGIONS; i++)
        any |= d->regions.since[i];
    if (any == 0 && !at_load_relaxed(&f->raised))
        return true;
    return memcmp(f->regions.since, d->regions.since, sizeof(d->regions.since)) == 0 &&
           f->regions.shift == d->record.region_shift;
}

/* The object is new, and nobody else knows it yet. */
static void set_keys(struct cm_object *f, const struct told_record *d)
{
    f->regions.birth = d->record.birth;
    f->regions.shift = d->record.region_shift;
    for (unsigned i = 0; i < CM_REGIONS; i++) {
        at_store_relaxed(&f->regions.since[i], d->regions.since[i]);
        if (d->regions.since[i] != 0)
            at_store_relaxed(&f->raised, 1u);
    }
}

/* From here on nothing of the file is served, until a validator says more. */
static void go_cold(struct cm_object *f)
{
    f->kept = false;
    at_store_release(&f->incarnation, UINT64_C(0));
}

/* From here on blocks of the record's incarnation are served, as long as the session lasts. */
static void go_warm(struct cm_object *f, const struct told_record *d, uint64_t session)
{
    struct cm_cache *c = f->cache;
    if (f->incarnation != d->record.incarnation)
        at_store_relaxed(&f->incarnation, UINT64_C(0)); /* first: cm_told_holds */
    at_store_release(&f->session, session);
    at_store_release(&f->told, cm_record_told(&c->media, d->place));
    at_store_release(&f->size, d->size); /* a hint */
    at_store_release(&f->incarnation, d->record.incarnation);
}

/* Both locks held. A validator is presented. 0, CM_IGNORED, CM_ENOTPOOL; CM_ESEAL: the file is
 * cold, and another try may make it warm. `new`: nobody else knows the object yet. */
static int judge(struct cm_object *f, const cm_validator *v, bool new)
{
    struct cm_cache *c = f->cache;
    struct told_record d;
    uint64_t session;
    if (!cm_file_proves(f, v))
        return CM_IGNORED;
    cm_file_set_validator(f, v);
    int e = learn(c, &session, false);
    const int found = e == 0 ? find(c, &f->id, &d) : e;
    const bool fits = found == 0 && is_settled(c, &d) && (new || has_same_keys(f, &d));
    if (fits && cm_files_may_keep(c, d.place, f->flags, &d.record, d.size, v)) {
        if (new)
            set_keys(f, &d);
        f->kept = true;
        go_warm(f, &d, session);
        if (f->ttl_ns > 0)
            e = cm_file_live(f, f->ttl_ns);
        return e;
    }
    if (fits)
        cm_files_note_cold(c, d.place, f->flags, &d.record, d.size, v);
    go_cold(f);
    return found == CM_ENOTPOOL || found == CM_ESEAL ? found : 0;
}

/* Both locks held. Makes a new object, which is in no list yet. */
static struct cm_object *make(struct cm_cache *c, const cm_file_id *id, uint32_t flags)
{
    struct cm_object *f = cm_object_get_free(c);
    f->cache = c;
    f->id = *id;
    f->flags = flags;
    f->serial = ++c->serial;
    f->floor_ns = cm_object_floor(c, id);
    f->place = CM_NO_PLACE; /* no part of an owner writes to a record, then */
    f->size = f->validator.size = CM_SIZE_UNKNOWN;
    f->gate = CM_GATE_SHARED;
    f->limit = UINT64_MAX; /* not known */
    cm_file_use_begin(f);
    return f;
}

int cm_shared_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v,
                     uint32_t flags, cm_file **file)
{
    int e = cm_object_lock_with_free(c);
    if (e)
        return e;
    struct cm_object *f = cm_object_find(c, id);
    const bool new = !f;
    if (new && (flags & CM_EXCLUSIVE) && (!v || !cm_file_has_proof(v))) {
        cm_lock_release(&c->files_lock);
        return CM_EINVAL;
    }
    if (new)
        f = make(c, id, flags);
    cm_lock_acquire(&f->lock);
    f->flags = (f->flags & flags & (CM_SOLE_WRITER | CM_EXCLUSIVE)) |
               ((f->flags | flags) & CM_ORIGIN_VOLATILE);
    if (v && cm_file_has_proof(v))
        e = judge(f, v, new);
    cm_lock_release(&f->lock);
    if (e >= 0) {
        f->refs++;
        *file = cm_object_handle(f);
    } else if (new) {
        cm_object_put_free(c, f);
    }
    if (e >= 0 && new) {
        f->next = *cm_object_chain(c, id);
        *cm_object_chain(c, id) = f;
        at_store_release(&f->handle, (uintptr_t)*file);
    }
    cm_lock_release(&c->files_lock);
    return e;
}

int cm_shared_revalidate(struct cm_object *f, const cm_validator *v)
{
    struct cm_cache *c = f->cache;
    cm_lock_acquire(&c->files_lock);
    cm_lock_acquire(&f->lock);
    const int e = judge(f, v, false);
    cm_lock_release(&f->lock);
    cm_lock_release(&c->files_lock);
    return e;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* Both locks held. Another session has begun. The file goes on if its record names the incarnation
 * that it had: this number stands for the content that the validator proved, whoever owns the
 * pool. */
static void go_on(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    struct told_record d;
    uint64_t session;
    int e = learn(c, &session, false);
    if (e)
        return;
    e = f->incarnation != 0 ? find(c, &f->id, &d) : CM_EABSENT;
    if (e == CM_ESEAL)
        return; /* it is not served, and the next read tries again */
    if (e == 0 && is_settled(c, &d) && d.record.incarnation == f->incarnation &&
        cm_region_may_keep(c, &d.record) && has_same_keys(f, &d)) {
        go_warm(f, &d, session);
        return;
    }
    go_cold(f);
    at_store_release(&f->session, session); /* after that; once is enough */
}

void cm_shared_look(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    uint64_t session;
    if (cm_guard_load64(cm_super_session_at(&c->media), &session) || session % 2 == 1 ||
        session == at_load_relaxed(&f->session))
        return;
    if (!cm_lock_try(&c->files_lock)) /* another thread does it, or the file is cold for a moment */
        return;
    if (cm_lock_try(&f->lock)) {
        go_on(f);
        cm_lock_release(&f->lock);
    }
    cm_lock_release(&c->files_lock);
}
