/* SPDX-License-Identifier: BSD-2-Clause
 *
 * superblock.c - the superblock pair.
 *
 * Owns: the two copies at the start of the pool, and what they alone decide: whether a pool may be
 * kept after a crash, the epoch that seeds every check, the incarnation high-water mark.
 *
 * How: a write goes to one copy and is made durable; then it goes to the other. If one copy is
 * torn, its checksum is wrong and the other one counts. Of two good copies the one with the higher
 * sequence counts. Nothing that a superblock says takes effect before BOTH copies hold it:
 * otherwise losing the newer copy to a media error would bring back an old epoch, and with it every
 * slot that was forgotten by bumping it. One exception is the frontier, a hint: it is written to
 * one copy (cm_super_frontier).
 *
 * Who: api/, media/, protocol/, state/.
 */
#include "media/superblock.h"

#include <string.h>

#include "media/seal.h"

static struct cm_super *copy_at(const struct cm_media *m, unsigned i)
{
    return (struct cm_super *)(void *)(m->base + i * CM_SUPER_STRIDE);
}

static int settle_copy(struct cm_superblocks *s, unsigned i)
{
    int e = cm_media_flush(s->media, copy_at(s->media, i), sizeof(struct cm_super));
    /* Before the other copy is touched: one of them is always whole. */
    cm_media_fence(s->media);
    return e;
}

/* Where there is no DAX, the page cache must be synced as well. */
static int sync_copy(struct cm_superblocks *s, unsigned i)
{
    return s->sync && s->file ? cm_plat_file_sync(s->file, i * CM_SUPER_STRIDE, CM_SUPER_STRIDE)
                              : 0;
}

static int write_copy(struct cm_superblocks *s, unsigned i, const struct cm_super *sb)
{
    s->now.seq = sb->seq; /* and no more: other threads read the rest without the lock */
    const int e = cm_super_store(s, copy_at(s->media, i), sb, sizeof(*sb));
    return e ? e : settle_copy(s, i);
}

/* Makes the superblock that comes `later` ones after the last one. CM_ESEAL. */
static int prepare(const struct cm_superblocks *s, unsigned later, struct cm_super *sb)
{
    *sb = s->now;
    sb->seq += later; /* the copies differ in it: it shows which one was written last */
    const int e = s->media->seal ? cm_seal_super(s->media->seal, sb) : 0;
    if (e == 0)
        sb->xxh3 = cm_format_super_sum(sb);
    return e;
}

/* ---- Copies ---------------------------------------------------------------------------------- */

/* Lock held. `one_by_one`: the second copy is not written if the first cannot be. Else it is: a new
 * epoch in one of them forgets more than a new epoch in none. But it is not written if the sync of
 * the first failed: the page cache may still have the first in flight. That copy counts if the
 * process crashes, and a power cut may tear it. CM_ESEAL: neither was written, and the pool is what
 * it was. */
static int write_copies(struct cm_superblocks *s, bool one_by_one)
{
    struct cm_super next[CM_SUPER_COPIES];
    int e = s->zeroed ? CM_EIO : prepare(s, 1, &next[0]);
    if (e == 0)
        e = prepare(s, 2, &next[1]);
    if (e)
        return e;
    e = write_copy(s, s->first, &next[0]);
    int e_sync = sync_copy(s, s->first);
    if (e_sync == 0 && !(e && one_by_one)) {
        int e_second = write_copy(s, 1 - s->first, &next[1]);
        e = e ? e : e_second;
        e_sync = sync_copy(s, 1 - s->first);
        if (e_sync) /* the first is durable, so this one is written first the next time */
            s->first = 1 - s->first;
    }
    e = e ? e : e_sync;
    s->failed = e != 0;
    s->lost = s->lost || e_sync != 0;
    return e;
}

static int write_both(struct cm_superblocks *s)
{
    return write_copies(s, false);
}

static int read_copy(const uint8_t *base, unsigned i, struct cm_super *sb)
{
    int e = cm_guard_copy(sb, base + i * CM_SUPER_STRIDE, sizeof(*sb));
    return e ? CM_EDAMAGED : cm_format_super_check(sb);
}

int cm_super_choose(const struct cm_super c[CM_SUPER_COPIES], const int e[CM_SUPER_COPIES])
{
    if (e[0] && e[1]) {
        /* A code that names the reason beats "damaged", which beats "no pool at all". */
        for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
            if (e[i] != CM_ENOTPOOL && e[i] != CM_EDAMAGED)
                return e[i];
        return e[0] == CM_ENOTPOOL && e[1] == CM_ENOTPOOL ? CM_ENOTPOOL : CM_EDAMAGED;
    }
    return e[0] ? 1 : e[1] ? 0 : c[1].seq > c[0].seq;
}

/* `s`: NULL: whether the pool is sealed does not matter. */
int cm_super_read_sealed(const uint8_t *base, const struct cm_sealing *s, struct cm_super *sb,
                         uint32_t *damaged)
{
    struct cm_super c[CM_SUPER_COPIES];
    int e[CM_SUPER_COPIES];
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        e[i] = read_copy(base, i, &c[i]);
        if (e[i] == 0 && s)
            e[i] = cm_seal_judge(s, &c[i]);
        /* Without a key nobody can tell which of two copies was made up, if one of them says that
         * the pool is sealed. If the callback failed, an older copy must not count. */
        if (s && ((e[i] == CM_EKEY && !s->hooks.mac) || e[i] == CM_ESEAL))
            return e[i];
    }
    int pick = cm_super_choose(c, e);
    if (pick < 0)
        return pick;
    *sb = c[pick];
    *damaged = (e[0] || e[1]) ? 1 : 0;
    return pick;
}

int cm_super_read(const uint8_t *base, struct cm_super *sb, uint32_t *damaged)
{
    return cm_super_read_sealed(base, NULL, sb, damaged);
}

void cm_super_init(struct cm_super *sb, const struct cm_geometry *g, const uint8_t uuid[16],
                   uint64_t hash_seed, uint64_t wall_ns)
{
    memset(sb, 0, sizeof(*sb));
    memcpy(sb->magic, "CACHEMAX", 8);
    sb->byte_order = CM_BYTE_ORDER_MARK;
    sb->version = CM_FORMAT_VERSION;
    sb->incompat = g->incompat;
    memcpy(sb->uuid, uuid, 16);
    sb->pool_size = g->pool_size;
    sb->slots = g->slots;
    sb->record_buckets = g->record_buckets;
    sb->stripes = g->stripes;
    sb->stripe_buckets = g->stripe_buckets;
    sb->data_align = g->data_align;
    sb->hash_seed = hash_seed;
    sb->created_ns = wall_ns;
    sb->epoch = 1;
    sb->inc_mark = 1; /* zero is no incarnation */
    sb->state = CM_SUPER_CLEAN;
    sb->durability = CM_DURABILITY_VOLATILE;
}

int cm_super_kill(struct cm_superblocks *s)
{
    static const uint64_t zero[sizeof(struct cm_super) / 8];
    (void)cm_session_shut(s);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        if (cm_media_write(s->media, copy_at(s->media, i), zero, sizeof(zero)) ||
            cm_media_flush(s->media, copy_at(s->media, i), sizeof(zero)))
            return CM_EIO;
    /* Fence before anything of the new pool is stored: a crash during formatting leaves no pool. */
    cm_media_fence(s->media);
    return 0;
}

int cm_super_format(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    /* Zero is no session (cm_super_give_up). Memory that was a pool goes on from the last one: an
     * idle reader must not find its own again. */
    uint64_t was;
    int e = cm_guard_load64(cm_super_session_at(s->media), &was);
    if (e == 0 && was == 0)
        e = cm_super_set_session(s, 2);
    const int e_both = write_both(s);
    cm_lock_release(&s->lock);
    return e ? e : e_both;
}

/* The records of the old epoch are void. They named the files of failed fsyncs, so no record names
 * these files from now on. */
static void next_epoch(struct cm_super *sb)
{
    sb->epoch++;
    sb->frontier = 0;
    sb->unnamed_boot = sb->failed_boot;
}

static void set_growing(struct cm_super *sb, uint64_t size)
{
    sb->growing = size;
    if (size != 0 || sb->part[0] != 0)
        sb->incompat |= CM_INCOMPAT_GROWN;
    else
        sb->incompat &= ~CM_INCOMPAT_GROWN; /* older libraries can use it */
}

/* The pool goes to a new owner. After a crash of the system, or of the volume alone, a new boot is
 * counted, so that what is stored from now on is told from what the crash left. */
static void take_over(struct cm_super *sb, const struct cm_super_owner *owner, bool emptied)
{
    if (emptied)
        next_epoch(sb);
    else if (cm_super_was_cut(sb, owner))
        sb->torn_epoch = sb->epoch;
    cm_super_count_boot(sb, owner);
    memcpy(sb->boot_id, owner->boot_id, 16);
    memcpy(sb->mount_id, owner->mount_id, 16);
    sb->owner_pid = owner->pid;
    /* A pool that was checkpointed once stays so: nothing is trusted that this session itself has
     * not synced. */
    if (owner->durability != CM_DURABILITY_PAGECACHE || !owner->syncs ||
        sb->durability != CM_DURABILITY_CHECKPOINT)
        sb->durability = owner->durability;
    sb->state = CM_SUPER_OPEN;
    memset(&sb->memo, 0, sizeof(sb->memo)); /* whatever was kept counts for this session alone */
}

/* Lock held, and readers are served nothing. */
static int open_shut(struct cm_superblocks *s, const struct cm_super_owner *owner, bool *emptied)
{
    struct cm_super *sb = &s->now;
    bool lost = false;
    /* The copy that was chosen may come from a crashed owner and not be durable. The other one may
     * be torn. So the chosen copy is made durable first. Then the other one is overwritten, and
     * only then the chosen one. To make it durable, the same bytes are stored again: if an earlier
     * sync of it failed, the system would not write it otherwise. */
    int e = write_copy(s, 1 - s->first, sb);
    if (e == 0)
        lost = sync_copy(s, 1 - s->first) != 0;
    /* The sync failed. If the other copy is whole, it is durable: it is older, and was made durable
     * before the chosen one was written. So it is overwritten last. */
    struct cm_super other;
    if (lost && read_copy(s->media->base, s->first, &other) == 0)
        s->first = 1 - s->first;
    /* The sync covers all that a crashed owner left in the page cache. If it fails, the system has
     * dropped some of that. It says so only this once, and may read old content from now on. So
     * nothing of the pool counts, now or in a later session. */
    *emptied = lost || cm_super_must_empty(sb, owner);
    take_over(sb, owner, *emptied);
    /* The last owner may have used its whole range, so our range begins at its mark or later. There
     * is a random gap in between: this superblock may be an old one that does not know of a later
     * session, and our numbers must not be those of that session (docs/crash.md). */
    if (sb->inc_mark < CM_GAP_END)
        sb->inc_mark += owner->gap;
    s->first_incarnation = s->next_incarnation = sb->inc_mark;
    sb->inc_mark += CM_INCARNATION_RANGE;
    if (e == 0)
        e = write_copies(s, true);
    /* No room, and every sync has succeeded: it is as if this process had been killed before that
     * store. The copies that are there say what the last owner left, or that it was opened. */
    if (e == CM_EIO && !lost && !s->lost && cm_super_has_no_room(s))
        e = CM_ENOSPC;
    /* After CM_ENOSPC one copy may be a new one, or torn, so readers are not served. */
    const bool untouched = (e == CM_ESEAL || e == CM_ENOSPC) && !lost;
    if (e && s->sync && !untouched) { /* the same loss, found at a later sync */
        *emptied = true;
        next_epoch(sb);
        e = write_both(s) ? CM_EIO : 0; /* also if a seal fails: the loss counts */
    }
    s->media->boot = (uint8_t)sb->boot_number; /* before anything is stored */
    s->lost = false;
    if (e == 0)
        at_store_release(&s->media->check_key, cm_format_check_key(sb->uuid, sb->epoch));
    else if (s->sync && !untouched)
        cm_super_void(s);
    if (e == 0)
        (void)cm_session_reopen(s);
    else if (e == CM_ESEAL) /* neither copy has been changed: readers judge as before */
        (void)cm_session_take_back(s);
    return e;
}

int cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner, bool *emptied)
{
    *emptied = false;
    cm_lock_acquire(&s->lock);
    /* Before all else: readers judge by what the last owner wrote. If they cannot be told, nothing
     * else is done. */
    int e = cm_session_shut(s);
    if (e == 0)
        e = open_shut(s, owner, emptied);
    else
        e = cm_super_has_no_room(s) ? CM_ENOSPC : e;
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_close(struct cm_superblocks *s, uint64_t frontier, const struct cm_super_memo *memo)
{
    cm_lock_acquire(&s->lock);
    int e = s->failed ? CM_EIO : 0;
    if (e == 0) {
        s->now.state = CM_SUPER_CLEAN;
        /* After a new epoch slots behind it may be in use. */
        s->now.frontier = s->bumped && s->now.frontier > frontier ? s->now.frontier : frontier;
        s->now.memo = *memo;
        s->now.inc_mark = s->next_incarnation; /* nobody uses the rest of the range now */
        e = write_both(s);
        /* The owner's mode ends with its session. In every mode it has forgotten what it was told
         * to. After CLEAN: if it dies before that, they are served nothing until the next open, as
         * they are if the word cannot be written. */
        if (e == 0)
            (void)cm_super_silence(s, false);
    }
    cm_lock_release(&s->lock);
    return e;
}

uint64_t cm_super_generation(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    uint64_t next = s->now.seq + 1;
    cm_lock_release(&s->lock);
    return next;
}

/* Lock held. */
static int bump(struct cm_superblocks *s, uint32_t *failed)
{
    /* Readers do not compute the check of a header that they have judged. */
    const int unheard = cm_session_shut(s);
    next_epoch(&s->now);
    int e = cm_super_is_void(s) ? 0 : write_both(s);
    s->lost = e == CM_ESEAL ? s->lost : e != 0;
    e = e ? e : unheard;
    if (e == CM_EIO && cm_super_give_up(s)) {
        s->lost = false;
        e = 0;
    }
    /* Release, after both copies are durable: pairs with cm_media_key. If a write failed the old
     * key stays: blocks that are valid on the media must still be found. Otherwise a later bracket
     * would take them for gone. */
    if (e == 0) {
        s->bumped = true;
        at_store_relaxed(&s->covered, 0); /* before the key: see cm_super_covers() */
        at_store_release(&s->media->check_key, cm_format_check_key(s->now.uuid, s->now.epoch));
    }
    at_store_seq_cst(failed, e ? 1u : 0u);
    s->unforgotten = e != 0;
    if (e == 0)
        (void)cm_session_reopen(s);
    return e;
}

int cm_super_checkpointed(struct cm_superblocks *s)
{
    int e = 0;
    cm_lock_acquire(&s->lock);
    const uint32_t was = s->now.durability;
    if (was != CM_DURABILITY_CHECKPOINT) {
        s->now.durability = CM_DURABILITY_CHECKPOINT;
        e = write_both(s);
        if (e)
            s->now.durability = was;
    }
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_compat(struct cm_superblocks *s, uint64_t bit, bool on)
{
    int e = 0;
    cm_lock_acquire(&s->lock);
    const uint64_t was = s->now.compat;
    s->now.compat = on ? was | bit : was & ~bit;
    if (s->now.compat != was)
        e = write_both(s);
    if (e)
        s->now.compat = was; /* not proved durable: the next call writes it again */
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_growing(struct cm_superblocks *s, uint64_t size)
{
    cm_lock_acquire(&s->lock);
    const uint64_t was = s->now.growing;
    set_growing(&s->now, size);
    const int e = write_both(s);
    if (e == CM_ESEAL)
        set_growing(&s->now, was);
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_add_part(struct cm_superblocks *s, unsigned number, uint64_t word)
{
    cm_lock_acquire(&s->lock);
    assert(number < CM_PARTS && s->now.part[number] == 0);
    const uint64_t growing = s->now.growing;
    /* Readers of other processes have the old index, and their mapping ends where the pool did.
     * After this they compare the parts, and find another pool (shared.c). If they cannot be told,
     * nothing changes. */
    int e = cm_session_shut(s);
    if (e == 0) {
        s->now.part[number] = word;
        set_growing(&s->now, 0);
        e = write_both(s);
    }
    if (e) { /* not proved durable: what is written next takes it back */
        s->now.part[number] = 0;
        set_growing(&s->now, growing);
    }
    (void)cm_session_reopen(s); /* if it fails, readers find the pool shut, and serve nothing */
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_bump_epoch(struct cm_superblocks *s, uint32_t *failed)
{
    cm_lock_acquire(&s->lock);
    int e = bump(s, failed);
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_disbelieve(struct cm_superblocks *s, uint64_t key, uint32_t *failed)
{
    cm_lock_acquire(&s->lock);
    int e = cm_media_key(s->media) == key ? bump(s, failed) : 0;
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_sync_failed(struct cm_superblocks *s, bool named)
{
    int e = 0;
    cm_lock_acquire(&s->lock);
    struct cm_super *sb = &s->now;
    if (s->unsaid || sb->failed_boot != sb->boot_number ||
        (!named && sb->unnamed_boot != sb->boot_number) ||
        memcmp(sb->failed_boot_id, sb->boot_id, sizeof(sb->failed_boot_id)) != 0) {
        sb->failed_boot = sb->boot_number;
        memcpy(sb->failed_boot_id, sb->boot_id, sizeof(sb->failed_boot_id));
        sb->unnamed_boot = named ? sb->unnamed_boot : sb->boot_number;
        e = write_both(s);
        s->unsaid = e != 0; /* what is written next says it, or the next call */
    }
    cm_lock_release(&s->lock);
    return e;
}

int cm_super_incarnation(struct cm_superblocks *s, uint64_t *incarnation)
{
    int e = 0;
    cm_lock_acquire(&s->lock);
    if (s->next_incarnation == s->now.inc_mark && !cm_super_has_numbers(&s->now)) {
        e = CM_EIO;
    } else if (s->next_incarnation == s->now.inc_mark) {
        s->now.inc_mark += CM_INCARNATION_RANGE;
        e = s->failed ? CM_EIO : write_both(s);
        if (e)
            s->now.inc_mark -= CM_INCARNATION_RANGE; /* not proved durable: stay below */
    }
    if (e == 0) {
        *incarnation = s->next_incarnation;
        at_store_relaxed(&s->next_incarnation, *incarnation + 1);
    }
    cm_lock_release(&s->lock);
    return e;
}

void cm_super_frontier(struct cm_superblocks *s, uint64_t frontier)
{
    struct cm_super next;
    int e = 0;
    cm_lock_acquire(&s->lock);
    const uint64_t before = s->now.frontier;
    s->now.frontier = before < frontier ? frontier : before;
    if (!s->failed && frontier > before) { /* after a failed write the next one says it */
        /* The frontier is a hint, so it is not synced. Therefore it goes into one copy only: if the
         * page cache had both in flight, a crash could tear both. Without syncs it is durable now,
         * and this copy is the next one to be written last: it alone knows the frontier. */
        e = prepare(s, 1, &next);
        if (e) /* the next call tries again */
            s->now.frontier = before;
        else if (write_copy(s, s->first, &next) == 0 && !s->sync)
            s->first = 1 - s->first;
    }
    /* Release: pairs with the acquire in cm_super_covers(). The superblock comes before it. With
     * the mark first other threads would fill slots that the superblock calls unused, and after a
     * kill the next session would not know of their blocks. */
    if (e == 0 && frontier > at_load_relaxed(&s->covered))
        at_store_release(&s->covered, frontier);
    cm_lock_release(&s->lock);
}
