/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trouble.c - what the log says about a pool in trouble.
 *
 * Owns: the wording of these lines, and when a line is due; and the question whether the pool's
 * file is still whole. What happened was noted by whoever met it: in flags of the cache (broken,
 * failing, older, replaced, suspect, unsettled) and in state/trouble.h. The lines come from here,
 * because log callbacks must run without a lock.
 *
 * Who: api/.
 */
#include "api/cache.h"

#include <stdio.h>

#include "state/object.h"

/* ---- Superblocks ----------------------------------------------------------------------------- */

/* Why an open was refused with CM_EKEY. */
static const char *why_no_key(const cm_cache *c)
{
    struct cm_super sb = { .seq = 0 };
    uint32_t damaged;
    const int e = cm_super_read(c->media.base, &sb, &damaged);
    const uint64_t mine = cm_seal_incompat(&c->sealing.hooks);
    if (!mine)
        return "is sealed, and no seal was given";
    if (e >= 0 && !(sb.incompat & CM_INCOMPAT_SEALED))
        return "is not sealed, and a seal was given: is it the right file? A pool is sealed when "
               "it is made";
    if (e >= 0 && (sb.incompat ^ mine) & CM_INCOMPAT_ENCRYPTED)
        return mine & CM_INCOMPAT_ENCRYPTED
                   ? "is sealed and not encrypted, and the seal encrypts: open it with a seal that "
                     "does not"
                   : "is encrypted, and the seal has no encrypt and decrypt";
    return "is sealed with another key";
}

/* A copy of the superblock that is refused with `code`. */
static bool find_refused(const uint8_t *base, int code, struct cm_super *sb)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        if (cm_guard_copy(sb, base + i * CM_SUPER_STRIDE, sizeof(*sb)) == 0 &&
            cm_format_super_check(sb) == code)
            return true;
    return false;
}

uint32_t cm_other_version(const uint8_t *base)
{
    struct cm_super sb;
    return find_refused(base, CM_EVERSION, &sb) ? sb.version : 0;
}

/* Are both pages of the superblocks zeros? So cm_super_give_up() leaves them. */
static bool begins_with_zeros(const uint8_t *base)
{
    static const uint8_t zero[512];
    uint8_t part[sizeof(zero)];
    for (size_t at = 0; at < CM_STATS_OFFSET; at += sizeof(part))
        if (cm_guard_copy(part, base + at, sizeof(part)) || memcmp(part, zero, sizeof(part)) != 0)
            return false;
    return true;
}

void cm_say_unusable(const cm_cache *c, const char *what, int e)
{
    struct cm_super sb;
    if (e == CM_EVERSION)
        cm_log(c, CM_LOG_ERROR,
               "%s: %s: it has version %u, and this library has %u; delete it and make it anew: "
               "nothing but cached blocks is lost",
               what, cm_strerror(e), (unsigned)cm_other_version(c->media.base),
               (unsigned)CM_FORMAT_VERSION);
    else if (e == CM_EINCOMPAT && find_refused(c->media.base, e, &sb))
        cm_log(c, CM_LOG_ERROR, "%s: %s: features 0x%llx (docs/format.md, \"incompat\")", what,
               cm_strerror(e), (unsigned long long)(sb.incompat & ~CM_INCOMPAT_KNOWN));
    else if (e == CM_ENOTPOOL && begins_with_zeros(c->media.base))
        cm_log(c, CM_LOG_ERROR,
               "%s: %s: the file begins with zeros. A pool is made so when its volume is full "
               "(" CM_COPIES "): if it was one, delete it and make it anew",
               what, cm_strerror(e));
    else
        cm_log(c, CM_LOG_ERROR, "%s: %s", what, e == CM_EKEY ? why_no_key(c) : cm_strerror(e));
}

/* ---- Who has the pool ------------------------------------------------------------------------ */

#define LINE 512u /* as cm_log() writes it */
#define TOLD 16u

/* The last such line about a pool that a log has got, as a number; pools may share a place. */
static uint64_t told_owner[TOLD]; /* atomic */

/* FNV-1a (Fowler, Noll, Vo): the engine has no strlen, which XXH3 would need here. */
static uint64_t number_of(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t *told_of(const char *path)
{
    return &told_owner[number_of(path) % TOLD];
}

/* Who has the pool? 0: unknown. *said: whom the superblock names, if it is owned. */
static uint32_t look_at_owner(cm_cache *c, bool *owned, uint32_t *said)
{
    struct cm_super sb;
    *owned = cm_plat_file_is_locked(&c->file) == 1;
    *said = *owned && cm_plat_file_pread(&c->file, &sb, sizeof(sb), 0) == 0 ? sb.owner_pid : 0;
    return cm_plat_file_holder(&c->file, *said);
}

static void describe_owner(cm_cache *c, const char *path, char text[LINE])
{
    bool owned;
    uint32_t said, holder = look_at_owner(c, &owned, &said);
    if (owned && holder == 0) /* perhaps it has ended since it was seen */
        holder = look_at_owner(c, &owned, &said);
    if (owned && said == cm_plat_pid() && holder == said)
        (void)snprintf(text, LINE, "%s: is open in this process already: use that cache", path);
    else if (owned && said == cm_plat_pid() && holder == 0)
        (void)snprintf(text, LINE,
                       "%s: is open in a process with this one's number, in another container (or "
                       "in this one already, where it cannot read /proc)",
                       path);
    else if (!owned && holder == 0) /* the owner in the superblock is gone */
        (void)snprintf(text, LINE,
                       "%s: is being looked at, or was just open, in this process or another",
                       path);
    else if (!owned)
        (void)snprintf(text, LINE, "%s: is being looked at by process %u%s", path, holder,
                       holder == cm_plat_pid() ? ", which is this one" : "");
    else if (holder != 0 && holder != said && said != 0)
        (void)snprintf(
            text, LINE,
            "%s: is held by process %u; its superblock names process %u (a process in a "
            "container has another number there; and a child keeps a pool if it was made by "
            "clone(), without the handlers of fork())",
            path, holder, said);
    else if (holder != 0)
        (void)snprintf(text, LINE, "%s: is open in process %u", path, holder);
    else if (said == 0) /* the owner is just coming or going */
        (void)snprintf(text, LINE, "%s: is open, or was just open, in this process or another",
                       path);
    else
        (void)snprintf(text, LINE, "%s: is open in process %u (or still held by a child of it)",
                       path, said);
}

void cm_say_owner(cm_cache *c, const char *path)
{
    char text[LINE];
    if (!c->opts.log)
        return;
    describe_owner(c, path, text);
    const uint64_t line = number_of(text) + (uint64_t)(uintptr_t)c->opts.log;
    const bool again = at_load_relaxed(told_of(path)) == line;
    at_store_relaxed(told_of(path), line); /* relaxed, both: two threads may tell it */
    cm_log(c, again ? CM_LOG_INFO : CM_LOG_ERROR, "%s", text);
}

void cm_owner_has_gone(const char *path)
{
    at_store_relaxed(told_of(path), UINT64_C(0)); /* relaxed: it orders nothing */
}

/* ---- Damage ---------------------------------------------------------------------------------- */

static const char *const damage_text[CM_TROUBLES] = {
    [CM_TROUBLE_CHECKSUM] = "a cached block has a wrong checksum and was dropped",
    [CM_TROUBLE_MEDIA] = "a part of the pool cannot be read",
    [CM_TROUBLE_QUARANTINE] = "a slot failed and is out of use until the pool is opened again",
};

/* Where it happened: "slot 5, pool offset 81920, block 3 of file ...". */
static void describe_place(cm_cache *c, const struct cm_trouble_place *at, char *text, size_t size)
{
    char slot[32] = "", block[80] = "";
    cm_file_id id;
    if (at->slot != CM_NO_SLOT)
        (void)snprintf(slot, sizeof(slot), "slot %llu, ", (unsigned long long)at->slot);
    if (cm_files_id_of(c, at->incarnation, &id))
        (void)snprintf(block, sizeof(block), ", block %llu of file %016llx%016llx",
                       (unsigned long long)at->block, (unsigned long long)id.hi,
                       (unsigned long long)id.lo);
    (void)snprintf(text, size, "%spool offset %llu%s", slot, (unsigned long long)at->offset, block);
}

/* Is the place unreadable only because the pool is sparse and its volume is full? */
static bool is_full(const struct cm_media *m, const struct cm_trouble_place *at)
{
    if (at->slot != CM_NO_SLOT)
        return cm_slot_has_no_room(m, at->slot);
    return cm_media_is_hole(m, m->base + at->offset, sizeof(struct cm_bucket));
}

static const char *what_to_do(const cm_cache *c, enum cm_trouble_kind kind,
                              const struct cm_trouble_place *at)
{
    if (kind == CM_TROUBLE_MEDIA && is_full(&c->media, at))
        return "The pool is sparse and its volume is full: make room there";
    if (kind == CM_TROUBLE_CHECKSUM && c->sealing.hooks.mac)
        return "Close the pool and run: cachemax check POOL --repair --key-file KEY. If this "
               "happens again, somebody else changes the pool, or its volume fails";
    return "Close the pool and run: cachemax check POOL --repair. If this happens again, replace "
           "the volume";
}

static void say_damage(cm_cache *c, enum cm_trouble_kind kind, const struct cm_trouble_place *at,
                       uint64_t count, bool again)
{
    char place[160], times[64] = "";
    describe_place(c, at, place, sizeof(place));
    if (count > 1)
        (void)snprintf(times, sizeof(times), ", %llu times%s", (unsigned long long)count,
                       again ? " since the last such line" : "");
    cm_log(c, CM_LOG_WARNING, "%s: %s (%s)%s; reads of it go to the origin. %s", c->name,
           damage_text[kind], place, times, what_to_do(c, kind, at));
}

void cm_say_damage(cm_cache *c, bool all)
{
    struct cm_trouble_place at;
    uint64_t count;
    for (unsigned kind = 0; kind < CM_TROUBLES; kind++) {
        const bool again = at_load_relaxed(&c->trouble[kind].said_at) != 0; /* for people */
        if (cm_trouble_take(&c->trouble[kind], cm_plat_now_ns(), all, &at, &count))
            say_damage(c, (enum cm_trouble_kind)kind, &at, count, again);
    }
}

/* ---- Opening --------------------------------------------------------------------------------- */

int cm_say_refused(const cm_cache *c, const char *what, const char *refused, int e)
{
    char refuses[PLAT_WHY] = "";
    if (e == CM_EIO)
        cm_plat_refuses(refuses);
    if (e)
        cm_log(c, CM_LOG_ERROR, "%s: %s: %s%s", what, refused, cm_strerror(e), refuses);
    return e;
}

/* ---- The fault guard ------------------------------------------------------------------------- */

void cm_say_guard(cm_cache *c)
{
    uint32_t was = at_load_relaxed(&c->unguarded);
    const uint32_t now = c->guarded && !cm_plat_guard_stands();
    if (now == was || !at_cas_acq_rel(&c->unguarded, &was, now) || !now)
        return;
    cm_log(c, CM_LOG_WARNING,
           "%s: another handler of SIGBUS or SIGSEGV was installed after that of cm_open(): if it "
           "does not pass on the signals, a damaged page of the pool ends the process; install it "
           "before the first cm_open(), or let it call the handler that it has replaced",
           c->name);
}

/* ---- A file that was truncated --------------------------------------------------------------- */

/* The file cannot be asked. What needs its descriptor fails from here on; hits do not. */
static void say_lost(struct cm_cache *c)
{
    uint32_t no = 0;
    if (at_cas_acq_rel(&c->lost, &no, 1))
        cm_log(c, CM_LOG_ERROR,
               "%s: the program has closed the descriptor of the pool file, which is the library's "
               "(a daemon that closes all of them?): the pool can neither be synced nor grow, and "
               "its close may forget what is cached; open the pool after that",
               c->name);
}

/* If the file was truncated, the part that was cut off may come back as zeros, and the rest may be
 * cut off next. So nothing in it counts any more, in this session and in the file, and nothing more
 * is stored. */
int cm_cache_whole(struct cm_cache *c)
{
    /* A reader may have mapped what a growth has left, and the next owner has cut off. */
    uint64_t whole = c->shared ? c->media.geo.pool_size : at_load_relaxed(&c->file.size);
    uint64_t size = whole, now = whole;
    bool named = true;
    if (at_load_relaxed(&c->suspect) == CM_SAY_DONE)
        return CM_ETRUNCATED;
    const int e = c->file.handle == -1 ? 0 : cm_plat_file_state(&c->file, &size, &named);
    if (!c->shared)
        now = at_load_seq_cst(&c->file.size); /* a growth may have ended, or been taken back */
    whole = now < whole ? now : whole;
    if (e == CM_EHANDLE)
        say_lost(c);
    if (e || size >= whole)
        return 0;
    uint32_t looked = at_load_relaxed(&c->suspect);
    if (looked == CM_SAY_DONE || !at_cas_acq_rel(&c->suspect, &looked, CM_SAY_DONE))
        return CM_ETRUNCATED; /* another thread logs it */
    at_store_seq_cst(&c->failing, CM_SAY_DONE);
    if (c->shared)
        at_store_seq_cst(&c->broken, CM_SAY_DONE);
    else
        (void)cm_cache_empty(c);
    cm_log(c, CM_LOG_ERROR,
           "%s: the pool file was truncated while it was open (%llu of %llu bytes are left): "
           "nothing is cached any more; close it, delete it and make it anew (the cached files "
           "themselves are not affected)",
           c->name, (unsigned long long)size, (unsigned long long)whole);
    return CM_ETRUNCATED;
}

/* ---- The last page of the file -------------------------------------------------------------- */

/* How many slots end at byte `at` of the pool, or before it? Places grow with numbers. */
static uint64_t slots_below(const struct cm_geometry *g, uint64_t slots, uint64_t at)
{
    uint64_t low = 0, high = slots;
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        if (cm_format_payload_at(g, mid) + CM_BLOCK_SIZE <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The first byte of the last page that a file of this geometry has. */
static uint64_t last_page(const struct cm_geometry *g)
{
    const uint64_t page = cm_plat_cut_page();
    return (g->pool_size - 1) / page * page;
}

/* Without a guard nobody looks: a page that cannot be loaded would end the process, though the file
 * may be whole. */
static bool can_be_cut(const struct cm_cache *c)
{
    return c->media.file && !c->media.seal && !c->readonly && cm_plat_cut_page() > 0 &&
           c->guarded && cm_guard_available();
}

/* A page that can be loaded, before the one at `bad`, which cannot; the one behind it cannot,
 * either. The first steps grow; then the search goes on by halves. The superblock is there in any
 * case. */
static uint64_t loadable_end(const struct cm_media *m, uint64_t bad)
{
    const uint64_t page = cm_plat_cut_page();
    uint64_t at = bad;
    for (uint64_t step = page; at > 0 && cm_guard_touch(m->base + at) != 0; step *= 2) {
        bad = at;
        at = at > step ? at - step : 0;
    }
    while (bad - at > page) {
        const uint64_t mid = at + (bad - at) / page / 2 * page;
        if (cm_guard_touch(m->base + mid) == 0)
            at = mid;
        else
            bad = mid;
    }
    return at;
}

/* lower_end() with c->end held: what lies behind the end must not count as known, whoever changes
 * both. */
static void lower_end_locked(struct cm_cache *c)
{
    struct cm_media *const m = &c->media;
    uint64_t at = (uint64_t)(at_load_relaxed(&m->end) - m->base);
    if (at == 0 || cm_guard_touch(m->base + at) == 0)
        return;
    at = loadable_end(m, at);
    const uint64_t known = slots_below(&m->geo, cm_media_slots(m), at);
    /* A thread that judges a slot now may mark it late. For that to matter, the file must be cut,
     * too. */
    at_store_relaxed(&c->known, known);
    for (uint64_t slot = known; slot < cm_media_slots(m); slot++)
        cm_ring_clear_verified(&c->policy.ring, slot);
    at_store_relaxed(&m->end, m->base + at);
}

/* The file is whole, and yet its last page cannot be loaded: it is damaged, or a hole that a full
 * volume cannot fill. Looks for one before it. What lies behind that one is verified in each hit
 * from here on. A reader comes here, so it does not wait: if another thread has the lock, a later
 * call looks. */
static void lower_end(struct cm_cache *c)
{
    if (!cm_lock_try(&c->end))
        return;
    lower_end_locked(c);
    cm_lock_release(&c->end);
}

void cm_end_begin(struct cm_cache *c)
{
    c->known = UINT64_MAX;
    if (!can_be_cut(c))
        return;
    c->media.end = c->media.base + last_page(&c->media.geo);
    c->known = slots_below(&c->media.geo, c->media.geo.slots, last_page(&c->media.geo));
    lower_end(c);
}

void cm_end_grow(struct cm_cache *c, const struct cm_geometry *to)
{
    if (!can_be_cut(c))
        return;
    cm_lock_acquire(&c->end);
    at_store_relaxed(&c->media.end, c->media.base + last_page(to));
    /* Release: pairs with the acquire in cm_cache_judged(). */
    at_store_release(&c->known, slots_below(to, to->slots, last_page(to)));
    cm_lock_release(&c->end);
}

/* ---- The whole pool -------------------------------------------------------------------------- */

bool cm_is_unsaid(uint32_t *flag)
{
    uint32_t due = CM_SAY_DUE;
    return at_load_relaxed(flag) == CM_SAY_DUE && at_cas_acq_rel(flag, &due, CM_SAY_DONE);
}

static void say_full(cm_cache *c)
{
    if (cm_is_unsaid(&c->full))
        cm_log(c, CM_LOG_WARNING,
               "%s: its volume is full: at most %llu of %llu blocks are used until it is opened "
               "again; make room there",
               c->name, (unsigned long long)at_load_relaxed(&c->policy.ring.end),
               (unsigned long long)cm_media_slots(&c->media));
}

void cm_say_trouble(cm_cache *c)
{
    if (cm_is_unsaid(&c->replaced))
        cm_log(c, CM_LOG_ERROR,
               "%s: this file is no pool any more, or another one (was it resized or made anew?): "
               "nothing is served; close it and open it again",
               c->name);
    if (at_load_relaxed(&c->suspect) == CM_SAY_DUE && cm_cache_whole(c) == 0) {
        uint32_t due = CM_SAY_DUE;
        /* Acquire: what was noted before is told now. What is noted from here on is told next. */
        (void)at_cas_acq_rel(&c->suspect, &due, CM_SAY_NOTHING);
        lower_end(c);
        say_full(c);
        cm_say_damage(c, false);
    }
    if (cm_is_unsaid(&c->broken))
        cm_log(
            c, CM_LOG_ERROR,
            "%s: old data could not be forgotten durably%s, so the cache is bypassed: delete the "
            "pool before anything is written",
            c->name, cm_super_is_full(&c->super) ? " (its volume is full: " CM_COPIES ")" : "");
    const bool failing = cm_is_unsaid(&c->failing);
    if (failing && cm_super_is_void(&c->super))
        cm_log(c, CM_LOG_ERROR,
               "%s: its volume is full (" CM_COPIES "), so what was cached was forgotten as a "
               "whole: the file is no pool any more, and nothing more is stored; make room, delete "
               "it and make it anew",
               c->name);
    else if (failing)
        cm_log(c, CM_LOG_ERROR,
               "%s: too many errors writing or reading the pool (volume full, file lost or media "
               "failing): nothing more is stored; make room or replace the volume, then open it "
               "again",
               c->name);
    if (cm_is_unsaid(&c->older))
        cm_log(c, CM_LOG_WARNING,
               "%s: holds blocks that are newer than its superblock (was a part of an older copy "
               "put back?): emptied. Copy a pool as a whole, and while nobody has it open",
               c->name);
    if (cm_is_unsaid(&c->unsettled))
        cm_log(c, CM_LOG_WARNING,
               "%s: its volume failed to write what was cached (a sync failed): emptied. If this "
               "happens again, replace the volume",
               c->name);
}
