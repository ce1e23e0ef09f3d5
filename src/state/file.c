/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file.c - an attached file: its incarnation, its validator, its open brackets.
 *
 * Owns: the part of an object that changes while it is attached. (object.c has the table of
 * objects, attach.c attaches them, file_record.c has what is durable of a file.)
 *
 * How: blocks are keyed by the incarnation, a number never reused in a pool. So a new incarnation
 * makes everything old unreachable at once. It takes effect in DRAM only after the record that
 * names it is durable; otherwise a crash would bring the old one back. The incarnation may change
 * while brackets are open. Their stripes belong to the old incarnation, so the brackets are counted
 * in `stale`. While `stale` is not zero nothing is filled.
 *
 * Locks: the file's own.
 * Who: api/, protocol/, state/.
 */
#include "state/file.h"

#include "state/ended.h"
#include "state/file_record.h"
#include "state/keep.h"
#include "state/quota.h"
#include "state/region.h"
#include "state/settle.h"
#include "state/told.h"

#include <string.h>

/* ---- Incarnations ---------------------------------------------------------------------------- */

/* Lets lookups and fills use the new incarnation, whose record is durable. */
static void release_incarnation(struct cm_object *f, uint64_t incarnation)
{
    cm_ended_note(f->cache, f->incarnation, at_load_relaxed(&f->limit)); /* about where they end */
    if (at_load_relaxed(&f->keep))
        cm_keep_move(f->cache, f->incarnation, incarnation, f->validator.size);
    if (at_load_relaxed(&f->share))
        cm_quota_move(f->cache, f->incarnation, incarnation, f->share);
    /* Open brackets raised intents on the OLD incarnation's stripes only. Count them as stale
     * before the new incarnation can be seen: a miss loads the incarnation first and `stale` last.
     */
    for (struct cm_open_bracket *b = f->brackets; b; b = b->next)
        b->stale = true;
    at_store_seq_cst(&f->stale, f->open_brackets);
    at_add_seq_cst(&f->ticket, 1);
    at_store_seq_cst(&f->limit, 0);
    at_store_release(&f->incarnation, incarnation); /* pairs with begin() in fill_ticket.c */
    cm_count(f->cache, CM_STAT_incarnations, 1);
}

int cm_file_stop(struct cm_object *f, int e)
{
    assert(e != 0);
    release_incarnation(f, 0);
    /* Readers of other processes look at the record. */
    if (f->place != CM_NO_PLACE && cm_record_stop(&f->cache->media, f->place))
        (void)cm_super_shut(&f->cache->super);
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
        e = cm_file_write_record(f, incarnation);
        if (e)
            e = cm_file_abandon_record(f, e);
        f->recorded = true;
    } else {
        incarnation = 0; /* there is no number: the file is not cached any more */
        e = cm_file_abandon_record(f, e);
    }
    release_incarnation(f, e == 0 ? incarnation : 0);
    return e;
}

int cm_file_renew(struct cm_object *f)
{
    /* Nothing is cached of a bypassed file until the next boot. Its record is not written again: a
     * crash could tear it, and the failed fsync would be forgotten with it. */
    assert(!at_load_relaxed(&f->bypassed) || f->incarnation == 0);
    return at_load_relaxed(&f->bypassed) ? 0 : renew(f);
}

void cm_file_bypass(struct cm_object *f)
{
    at_store_release(&f->bypassed, 1u);
    at_store_release(&f->gate, at_load_relaxed(&f->gate) | CM_GATE_BYPASSED);
}

int cm_file_sync_failed(struct cm_object *f)
{
    /* The bypass stays until the next boot. The system keeps pages that it could not write, takes
     * them for written and reports them only once. A later sync reports other pages. Until those
     * pages are gone, a read may get bytes that are newer than the origin's. */
    struct cm_cache *c = f->cache;
    const bool known = at_load_relaxed(&f->bypassed) != 0;
    cm_file_bypass(f);
    f->data_begun++; /* a sync that runs now proves nothing about the failed pages */
    cm_region_all_unsynced(f);
    int e = cm_file_can_forget(c);
    /* Before the record, which the next bump of the epoch makes void. If the superblock cannot be
     * written, this session knows of the failure all the same. */
    (void)cm_super_sync_failed(&c->super, true);
    /* Blocks read before may be newer than what the origin kept. The record says so from now on.
     * Its state word stamps the failure with this boot. */
    if (e == 0 && !known)
        e = renew(f);
    release_incarnation(f, 0);
    if (f->place == CM_NO_PLACE)
        (void)cm_super_sync_failed(&c->super, false);
    return e;
}

/* ---- Time to live ---------------------------------------------------------------------------- */

bool cm_file_serves_gated(const struct cm_object *f, uint32_t gate)
{
    if (gate & CM_GATE_BYPASSED)
        return false;
    if ((gate & CM_GATE_SHARED) && !cm_told_holds(f, at_load_acquire(&f->incarnation)))
        return false;
    return !(gate & CM_GATE_TTL) || (cm_plat_wall_ns() < at_load_relaxed(&f->expires_ns) &&
                                     cm_plat_now_ns() < at_load_relaxed(&f->ends_ns));
}

int cm_file_live(struct cm_object *f, uint64_t ttl_ns)
{
    const int64_t now = cm_plat_wall_ns();
    const uint64_t ticks = cm_plat_now_ns();
    assert(cm_lock_is_held(&f->lock));
    f->ttl_ns = ttl_ns;
    /* A checkpoint that runs may have synced the record before. It clears no intent of the file:
     * with all of them set nobody is served without the end. */
    f->regions.check_incarnation = 0;
    const int64_t left = INT64_MAX - (now > 0 ? now : 0); /* a clock may be before 1970 */
    const bool ends = ttl_ns < (uint64_t)left;            /* else: never, by any clock */
    at_store_relaxed(&f->expires_ns, ends ? now + (int64_t)ttl_ns : INT64_MAX);
    at_store_relaxed(&f->ends_ns, ends ? ticks + ttl_ns : UINT64_MAX);
    const uint32_t gate = at_load_relaxed(&f->gate) & ~(uint32_t)CM_GATE_TTL;
    /* Release: who sees the gate sees the time. */
    at_store_release(&f->gate, ttl_ns > 0 ? gate | CM_GATE_TTL : gate);
    return cm_file_write_expiry(f, ttl_ns > 0 ? f->expires_ns : 0);
}

/* A validator was accepted: the content is that of now, and the time begins again. */
static int live_again(struct cm_object *f)
{
    return f->ttl_ns > 0 ? cm_file_live(f, f->ttl_ns) : 0;
}

/* ---- Validators ------------------------------------------------------------------------------ */

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

/* From here on only validators that were taken later count: two threads may ask for a file's
 * attributes in one order and come here in the other. */
void cm_file_set_validator(struct cm_object *f, const cm_validator *v)
{
    f->validator = *v;
    f->has_validator = cm_file_has_proof(v);
    f->want = false;
    if (f->floor_ns < v->taken_at)
        f->floor_ns = v->taken_at;
}

/* The size is known, or is another one: what a kept file counts follows it. */
static void keep_size(struct cm_object *f)
{
    if (at_load_relaxed(&f->keep)) /* relaxed: it changes under the file's lock */
        cm_keep_move(f->cache, f->incarnation, f->incarnation, f->validator.size);
}

void cm_file_drop_validator(struct cm_object *f)
{
    f->has_validator = false;
    f->validator.size = CM_SIZE_UNKNOWN;
    f->want = false;
    at_store_release(&f->size, CM_SIZE_UNKNOWN);
}

void cm_file_adopt(struct cm_object *f, const cm_validator *v)
{
    const uint64_t known = f->size; /* a change that may move the end has made it unknown */
    cm_file_set_validator(f, v);
    if (v->size == CM_SIZE_UNKNOWN)
        f->validator.size = known;
    at_store_release(&f->size, f->validator.size);
    keep_size(f);
    /* A file without an incarnation has nothing to keep. And a record that says that an fsync
     * failed must stay: a crash could tear the new one. */
    const int e = f->incarnation != 0 ? cm_file_write_record(f, f->incarnation) : 0;
    if (e) /* nothing had to be forgotten; the file is only not kept */
        (void)cm_file_abandon_record(f, e);
}

bool cm_file_has_proof(const cm_validator *v)
{
    static const uint8_t none[CM_PROOF_BYTES];
    return memcmp(v->proof, none, sizeof(none)) != 0;
}

bool cm_file_same(const cm_validator *v, const uint8_t proof[CM_PROOF_BYTES], uint64_t size)
{
    return memcmp(v->proof, proof, CM_PROOF_BYTES) == 0 &&
           (v->size == size || v->size == CM_SIZE_UNKNOWN || size == CM_SIZE_UNKNOWN);
}

static bool unchanged(const struct cm_object *f, const cm_validator *v)
{
    return f->has_validator && cm_file_same(v, f->validator.proof, f->validator.size);
}

void cm_file_set_size(struct cm_object *f, uint64_t size)
{
    const bool news = f->validator.size != size;
    f->validator.size = size;
    at_store_release(&f->size, size); /* pairs with the acquire in walk_begin */
    if (!news)
        return;
    keep_size(f);
    (void)cm_file_write_size(f);
}

int cm_file_forget_size(struct cm_object *f)
{
    assert(cm_lock_is_held(&f->lock));
    at_store_release(&f->size, CM_SIZE_UNKNOWN);
    if (f->validator.size == CM_SIZE_UNKNOWN)
        return 0;
    assert(f->regions.unsynced != 0); /* an intent outweighs the old size: cm_record_write_size */
    f->validator.size = CM_SIZE_UNKNOWN;
    return cm_file_write_size(f);
}

void cm_file_learn_size(struct cm_object *f, uint64_t incarnation, uint64_t changes, uint64_t size)
{
    if (at_load_relaxed(&f->size) != CM_SIZE_UNKNOWN) /* mostly; decided below */
        return;
    cm_lock_acquire(&f->lock);
    /* No change is open, and none has ended since the miss was given out. So the size that was read
     * is that of now. A change that begins later makes it unknown again. */
    if (f->incarnation == incarnation && incarnation != 0 && f->open_data == 0 &&
        f->changes == changes && f->size == CM_SIZE_UNKNOWN)
        cm_file_set_size(f, size);
    cm_lock_release(&f->lock);
}

/* The file's content is another one than that which is cached: begins a new version. */
static int begin_version(struct cm_object *f, const cm_validator *v)
{
    cm_file_set_validator(f, v);
    /* The size is unknown before the new incarnation, whose release orders the two. The new size is
     * set after it. Else a reader could end one version where the other one ends (walk_begin). */
    at_store_relaxed(&f->size, CM_SIZE_UNKNOWN);
    /* Lost owners of brackets may have written after a sync. Nothing shows what the origin loses of
     * an exclusive file. */
    if (cm_file_born_dirty(f->cache, v) || f->disowned || (f->flags & CM_EXCLUSIVE))
        cm_region_all_unsynced(f);
    f->disowned = false;
    const int e = cm_file_renew(f);
    if (e == 0)
        at_store_release(&f->size, v->size); /* pairs with the acquire in walk_begin */
    return e;
}

static int judge(struct cm_object *f, const cm_validator *v)
{
    if (!cm_file_proves(f, v))
        return CM_IGNORED;
    bool sole = (f->flags & CM_SOLE_WRITER) != 0;
    if (unchanged(f, v) && (sole || (!f->validator.racy && !v->racy))) {
        bool settled = f->validator.racy && !v->racy;
        f->want = false;
        if (f->floor_ns < v->taken_at)
            f->floor_ns = v->taken_at;
        if (settled)
            cm_file_adopt(f, v);
        else if (v->size != CM_SIZE_UNKNOWN)
            cm_file_set_size(f, v->size);
        return 0;
    }
    if (f->want && cm_file_may_adopt(f)) { /* only we wrote, and every write was bracketed */
        cm_file_adopt(f, v);
        return 0;
    }
    /* Somebody else changed the file, or may have changed it under the same timestamps (a racy
     * validator, then or now). There was no bracket, but a sync that began before this proves
     * nothing about the change either. */
    f->data_begun++;
    return begin_version(f, v);
}

int cm_file_judge(struct cm_object *f, const cm_validator *v)
{
    assert(cm_lock_is_held(&f->lock));
    const int e = judge(f, v);
    return e == 0 ? live_again(f) : e;
}

/* ---- Keeping --------------------------------------------------------------------------------- */

/* The file's lock is held. */
static int set_keep(struct cm_object *f, bool keep)
{
    struct cm_cache *c = f->cache;
    int e = 0;
    assert(cm_lock_is_held(&f->lock));
    if (!keep && !at_load_relaxed(&f->keep))
        return 0;
    if (f->place == CM_NO_PLACE)
        return CM_NOT_RECORDED;
    if (f->incarnation == 0) /* there is nothing to keep */
        return CM_NOT_STORED_MODE;
    if (keep)
        e = cm_keep_enter(c, f->incarnation, f->validator.size);
    if (e || (at_load_relaxed(&f->keep) != 0) == keep)
        return e;
    at_store_relaxed(&f->keep, (uint32_t)keep);
    if (!keep)
        cm_keep_move(c, f->incarnation, 0, 0);
    return cm_file_write_attr(f);
}

int cm_file_keep(struct cm_object *f, bool keep)
{
    struct cm_cache *c = f->cache;
    if (keep)
        cm_keep_complete(c); /* the share of the others is known */
    int e = keep ? cm_keep_room(c) : 0;
    if (e == 0 && keep)
        e = cm_super_compat(&c->super, CM_COMPAT_KEEP, true); /* durable before a record says so */
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    e = set_keep(f, keep);
    const bool settle = e == 0 && cm_settling(c);
    cm_lock_release(&f->lock);
    return settle ? cm_settle_pages(c, &f->id, CM_PAGES_ALL, CM_NO_PLACE) : e;
}

/* ---- Groups ---------------------------------------------------------------------------------- */

/* The file's lock is held. */
static int set_group(struct cm_object *f, uint32_t group)
{
    struct cm_cache *c = f->cache;
    const uint32_t share = cm_quota_share(c, group);
    assert(cm_lock_is_held(&f->lock));
    if (at_load_relaxed(&f->group) == group)
        return 0;
    if (f->incarnation == 0) /* it has no blocks */
        return CM_NOT_STORED_MODE;
    at_store_relaxed(&f->group, group);
    at_store_relaxed(&f->share, share); /* a fill that runs may count for the other one */
    cm_quota_move(c, f->incarnation, share ? f->incarnation : 0, share);
    if (at_load_relaxed(&f->limit) > 0) /* it may have blocks */
        cm_quota_again(c);
    return f->place == CM_NO_PLACE ? CM_NOT_RECORDED : cm_file_write_attr(f);
}

int cm_file_group(struct cm_object *f, uint32_t group)
{
    struct cm_cache *c = f->cache;
    int e = cm_quota_share(c, group) ? cm_quota_room(c) : 0;
    if (e == 0 && group != 0)
        e = cm_super_compat(&c->super, CM_COMPAT_GROUP, true); /* durable before a record says so */
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    e = set_group(f, group);
    cm_lock_release(&f->lock);
    return e;
}

/* ---- Brackets -------------------------------------------------------------------------------- */

void cm_file_link(struct cm_object *f, struct cm_open_bracket *b, bool stale)
{
    assert(cm_lock_is_held(&f->lock) && b->id != 0);
    b->next = f->brackets;
    b->newer = NULL;
    if (b->next)
        b->next->newer = b;
    else
        f->oldest = b;
    f->brackets = b;
    f->open_brackets++;
    f->open_regions |= b->regions;
    if (b->data) {
        f->open_data++;
        f->data_begun++;
    }
    b->stale = stale;
    if (stale) {
        /* As in cm_stripe_begin: the intent before the ticket. seq_cst: fill.c raises the
         * limit and then looks at the ticket; we move the ticket and then look at the limit. */
        at_add_seq_cst(&f->stale, 1);
        at_add_seq_cst(&f->ticket, 1);
    }
}

/* Has the bracket this id, and has its begin ended? */
static bool is_mine(const struct cm_open_bracket *b, uint64_t id)
{
    /* Relaxed: who knows the id was told by the begin, or holds the lock under which it ends. */
    return b->id == id && at_load_relaxed(&b->state) == CM_BRACKET_RAISED;
}

/* Takes out of the list the bracket with this id, which is not the newest one. It is looked for
 * from both ends: what ends is mostly what began last or first. */
static __attribute__((noinline)) struct cm_open_bracket *take_older(struct cm_object *f,
                                                                    uint64_t id)
{
    struct cm_open_bracket *young = f->brackets, *b = f->oldest;
    uint32_t left = f->open_brackets; /* that were not looked at, but for these two */
    for (; left > 1 && !is_mine(b, id); left -= 2) {
        young = young->next;
        if (is_mine(young, id)) {
            b = young;
            break;
        }
        b = b->newer;
    }
    if (left <= 1)
        return NULL;
    b->newer->next = b->next;
    *(b->next ? &b->next->newer : &f->oldest) = b->newer;
    return b;
}

struct cm_open_bracket *cm_file_unlink(struct cm_object *f, uint64_t id)
{
    struct cm_open_bracket *b = f->brackets;
    if (!b)
        return NULL;
    if (id == 0 || is_mine(b, id)) {
        f->brackets = b->next;
        if (b->next)
            b->next->newer = NULL;
    } else if ((b = take_older(f, id)) == NULL) {
        return NULL;
    }
    assert(cm_lock_is_held(&f->lock) && f->open_brackets > 0);
    f->open_brackets--;
    if (b->data) {
        f->open_data--;
        /* Release: a miss that sees it reads the origin, and looks for blocks, after the change. */
        at_add_acq_rel(&f->changes, 1);
    }
    assert(f->open_data <= f->open_brackets);
    if (b->stale) {
        assert(f->stale > 0);
        at_add_seq_cst(&f->stale, -1u);
        at_add_seq_cst(&f->ticket, 1);
    }
    return b;
}
