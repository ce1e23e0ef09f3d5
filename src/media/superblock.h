/* SPDX-License-Identifier: BSD-2-Clause
 *
 * superblock.h - the superblock pair of an open pool: epoch, incarnation ranges, frontier, state.
 */
#ifndef CM_SUPERBLOCK_H
#define CM_SUPERBLOCK_H

#include "platform/lock.h"
#include "media/media.h"

/* Incarnations are handed out from ranges of this size. Each range takes one superblock write. */
#define CM_INCARNATION_RANGE (UINT64_C(1) << 20)
/* At open there is a random gap between the pool's mark and the session's first number. It has this
 * many random bytes. From CM_GAP_END on there is no gap. */
#define CM_GAP_BYTES 5u
#define CM_GAP_END (UINT64_C(1) << 54)

/* Can its mark be one range higher? An owner writes such a mark. */
static inline bool cm_super_has_numbers(const struct cm_super *sb)
{
    return sb->inc_mark <= CM_INCARNATION_MARK_MAX - CM_INCARNATION_RANGE;
}

struct cm_superblocks {
    struct cm_media *media;
    struct cm_plat_file *file;  /* to sync; NULL: memory */
    bool sync;                  /* page cache: a superblock counts only once it was synced */
    struct cm_lock lock;        /* everything below */
    struct cm_super now;        /* what both copies say */
    uint64_t open_mark;         /* mark at load: all numbers in the pool were below it */
    uint64_t first_incarnation; /* of this session; set at open */
    uint64_t next_incarnation;  /* atomic; set at open, and later under the lock */
    uint32_t damaged;           /* copies found damaged at load: 0 or 1 */
    unsigned first; /* copy that is written first: not the one that was chosen at load */
    bool failed;    /* the last write failed: CLEAN and new ranges are refused until one works */
    /* A sync failed since the epoch began. It may have been the only one to tell that the system
     * has lost other pages of the pool. */
    bool lost;
    /* Readers of other processes are to be served nothing: for the owner's mode; or because
     * something could not be forgotten, until an epoch begins. */
    bool silent, unforgotten;
    bool served;       /* readers were, when the session was shut last */
    bool unsaid;       /* a failed fsync may be in no copy yet */
    bool bumped;       /* an epoch began since the open */
    bool full;         /* the volume had no room for a rewrite of a superblock */
    bool zeroed;       /* their pages were made zeros, perhaps not durably: they stay so */
    uint32_t void_now; /* atomic; the same, durably: the file is no pool */
    /* Atomic; changed under the lock, and at open: a copy says of the slots below this that they
     * may be in use. */
    uint64_t covered;
};

/* What is known of the process that opens. It decides whether a crashed pool may be kept. */
struct cm_super_owner {
    enum cm_durability durability;
    bool syncs; /* what was synced on the pool's volume survives a crash of the system */
    uint8_t boot_id[16];
    uint8_t mount_id[16];
    uint32_t pid;
    uint64_t gap; /* numbers left out before this session's first */
};

/* Chooses the copy that counts. `e`: what cm_format_super_check() returned for each. Returns the
 * number of the copy or, if none counts, an error as cm_super_read() does. */
int cm_super_choose(const struct cm_super c[CM_SUPER_COPIES], const int e[CM_SUPER_COPIES]);
/* Reads both copies at `base` (at least two strides readable) and chooses. *damaged: 0 or 1.
 * Returns the number of the copy chosen, or CM_ENOTPOOL CM_EBYTEORDER CM_EVERSION CM_EINCOMPAT
 * CM_EDAMAGED. *sb is set on success only. */
int cm_super_read(const uint8_t *base, struct cm_super *sb, uint32_t *damaged);
/* The same for an open with the seal *s, whose hooks may be NULL: the pool is sealed so, or not at
 * all. `s` NULL: as above. Also CM_EKEY, and CM_ESEAL. A copy with a wrong tag is damaged. */
int cm_super_read_sealed(const uint8_t *base, const struct cm_sealing *s, struct cm_super *sb,
                         uint32_t *damaged);

/* A superblock for a new pool; fills everything but seq and sum. */
void cm_super_init(struct cm_super *sb, const struct cm_geometry *g, const uint8_t uuid[16],
                   uint64_t hash_seed, uint64_t wall_ns);
/* Writes a new pool's superblocks; s->now is what cm_super_init made. */
int cm_super_format(struct cm_superblocks *s);
/* Makes old superblocks unreadable, durably: the first step of formatting. */
int cm_super_kill(struct cm_superblocks *s);

/* ---- The session: what readers of other processes look at with each hit ---------------------- */

static inline uint64_t *cm_super_session_at(const struct cm_media *m)
{
    return (uint64_t *)(void *)(m->base + CM_SESSION_OFFSET);
}
/* Lock held. Readers are served nothing from here on. CM_EIO: the word cannot be written. */
int cm_session_shut(struct cm_superblocks *s);
/* Lock held. They may be served again, what they find from now on, if nothing speaks against it.
 * CM_EIO. */
int cm_session_reopen(struct cm_superblocks *s);
/* Lock held. The same, if they were served before cm_session_shut(). Nothing of the pool has
 * changed since then. CM_EIO. */
int cm_session_take_back(struct cm_superblocks *s);
/* From here on readers serve nothing, until an epoch begins or the pool is opened again. CM_EIO:
 * the word cannot be written. */
int cm_super_shut(struct cm_superblocks *s);
/* Takes back the first and only cm_super_shut() of a cache that has changed nothing of the pool,
 * while nobody else could. CM_EIO: readers serve nothing until the pool is opened again. */
int cm_super_unshut(struct cm_superblocks *s);
/* Lock held. The owner's mode: are readers to be served nothing? CM_EIO. */
int cm_super_silence(struct cm_superblocks *s, bool silent);

/* ---- Superblocks ----------------------------------------------------------------------------- */

/* Would opening by `owner` have to empty the pool? (Not closed cleanly, durability was the page
 * cache's, and this is another boot or mount, and it was not checkpointed, or its volume may not
 * keep what it syncs.) */
bool cm_super_must_empty(const struct cm_super *sb, const struct cm_super_owner *owner);

/* Has the volume lost what the last owner stored and did not sync? */
bool cm_super_was_cut(const struct cm_super *sb, const struct cm_super_owner *owner);

/* Counts a boot if this is another one, or if the volume was put back in the same one. Also for a
 * pool that is only looked at, so that intents are judged as the next owner will judge them. */
void cm_super_count_boot(struct cm_super *sb, const struct cm_super_owner *owner);

/* Takes the pool: writes OPEN, boot, owner and a fresh incarnation range to both copies, durably.
 * Nothing else may be stored before that. s->now was read before. Sets *emptied when the epoch was
 * bumped. CM_EIO: nothing has changed, but readers may be served nothing until the next open; or,
 * if s->failed, without DAX, the file is no pool any more.
 * CM_ESEAL: nothing has changed, for readers neither.
 * CM_ENOSPC: a copy-on-write volume has no room for a rewrite; the pool is what the last owner
 * left, or what one leaves that was killed while it opened it. */
int cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner, bool *emptied);
/* The last resort without DAX, when neither the stored bytes nor a new epoch can be synced. It
 * makes the file no pool: nobody may believe what the volume holds, not even in this boot. The
 * session ends. */
void cm_super_void(struct cm_superblocks *s);
/* Does the volume lack the room for a rewrite of a superblock? Only for a store that has failed: it
 * may write. Lock held. */
bool cm_super_has_no_room(const struct cm_superblocks *s);
/* Store to the superblocks, or to the word of the session. A store may find no room where a write
 * finds some. Then the bytes are written to the file. They are durable after the same sync, or at
 * once where the caller does not sync. Lock held, or the pool ends. CM_EIO. */
int cm_super_store(const struct cm_superblocks *s, void *at, const void *src, size_t n);
int cm_super_set_session(const struct cm_superblocks *s, uint64_t v);
/* A new epoch cannot be written. If that is because the volume has no room, makes the file no pool,
 * durably, which needs none. Its other pages stay, for those who read them or have them pinned.
 * Nothing is written to the superblocks afterwards. false: after a crash of the system it may still
 * be a pool; the next call tries it again. Lock held. */
bool cm_super_give_up(struct cm_superblocks *s);
/* Was that done? */
bool cm_super_is_void(struct cm_superblocks *s);
/* Was it done, perhaps not durably? */
bool cm_super_is_zeroed(struct cm_superblocks *s);
/* Was a new epoch not written because the volume had no room? */
bool cm_super_is_full(struct cm_superblocks *s);
/* Makes the pool CLEAN. CM_EIO: it is still OPEN, or it is CLEAN and only the sync of the
 * superblock failed. Either is true, because the caller has synced all else. `memo`: what was kept
 * of the policy. */
int cm_super_close(struct cm_superblocks *s, uint64_t frontier, const struct cm_super_memo *memo);
/* The generation of the memo that this close writes. No earlier close of this pool used it. */
uint64_t cm_super_generation(struct cm_superblocks *s);
/* Has the system booted since the pool counted this boot? A volume that was put back counts as a
 * boot, too, but other volumes have lost nothing then. */
static inline bool cm_super_booted(const struct cm_super *sb, uint32_t boot_number)
{
    const uint32_t mask = 0x7fffffff;
    return ((boot_number - sb->boot_first) & mask) > ((sb->boot_number - sb->boot_first) & mask);
}
static inline bool cm_super_booted_since(const struct cm_superblocks *s, uint32_t boot_number)
{
    return cm_super_booted(&s->now, boot_number); /* they change under the files lock of a reader */
}
/* From now on the records say what a crash of the system leaves: CM_DURABILITY_CHECKPOINT, durably.
 * The whole pool was synced just before. CM_EIO. */
int cm_super_checkpointed(struct cm_superblocks *s);
/* Has the system lost pages of the pool, as a sync of a superblock said in this epoch? */
bool cm_super_lost(struct cm_superblocks *s);
/* May a record of the pool say what the bit CM_COMPAT_* stands for? Durable before the first one
 * says so. CM_EIO. */
int cm_super_compat(struct cm_superblocks *s, uint64_t bit, bool on);
/* Empties the pool in O(1) and durably. 0 also if the file has become no pool instead
 * (cm_super_is_void). CM_EIO: may or may not have taken effect. *failed (atomic)
 * says whether the latest bump failed: 1 (CM_SAY_DUE) or 0. */
int cm_super_bump_epoch(struct cm_superblocks *s, uint32_t *failed);
/* Notes that an fsync of an origin file failed. `named`: the file's record says so, too. All
 * sessions of this boot know it. Once the records are gone, it counts for every file without a
 * record. CM_EIO: only this session knows it. */
int cm_super_sync_failed(struct cm_superblocks *s, bool named);
/* What was noted so. any: an fsync failed in this boot. unnamed: one of a file that no record
 * names. all: one of a file whose record may say nothing of it, because another boot had the pool
 * since. */
struct cm_super_failed {
    bool any, unnamed, all;
};
struct cm_super_failed cm_super_failed_in(const struct cm_super *sb); /* that nobody changes */
struct cm_super_failed cm_super_failed(struct cm_superblocks *s);
/* `incarnation` was found in the pool, under a right check. Does it show that the superblock is
 * older than the rest of the pool (an old copy was put back, or one was made up)? This session
 * would then hand out numbers that are used already. */
static inline bool cm_super_is_older(const struct cm_superblocks *s, uint64_t incarnation)
{
    if (incarnation < s->open_mark)
        return false;
    /* Relaxed: a thread that finds a number of this session has read what was published after the
     * number was handed out. */
    return incarnation < s->first_incarnation ||
           incarnation >= at_load_relaxed(&s->next_incarnation);
}
/* Empties the pool for that reason, unless it was emptied since `key` was the check key. */
int cm_super_disbelieve(struct cm_superblocks *s, uint64_t key, uint32_t *failed);
/* A growth begins: the file may have up to `size` bytes from here on, durably. 0: it has ended, and
 * the file has the pool's bytes. CM_EIO: the pool says one or the other. */
int cm_super_growing(struct cm_superblocks *s, uint64_t size);
bool cm_super_is_growing(struct cm_superblocks *s);
/* The pool has a part more (cm_format_grow), durably: its tables count from here on. CM_EIO:
 * whether it has is not known; then cm_super_growing() takes it back. */
int cm_super_add_part(struct cm_superblocks *s, unsigned number, uint64_t word);
/* Hands out a number that was never used in this pool. CM_EIO: no new range can be written. */
int cm_super_incarnation(struct cm_superblocks *s, uint64_t *incarnation);
/* Remembers (a hint, best effort) that slots below `frontier` may be in use. */
void cm_super_frontier(struct cm_superblocks *s, uint64_t frontier);
/* Is it remembered of the slots below `end`? Asked after cm_slot_fill() and before
 * cm_slot_publish(): a new epoch remembers of none. */
static inline bool cm_super_covers(const struct cm_superblocks *s, uint64_t end)
{
    /* Acquire: pairs with the release in cm_super_frontier(). And it comes after the load of the
     * key in cm_slot_fill(), which is an acquire, too: who has the key of a new epoch sees what
     * bump() has stored here before. With an older key the block will not count. */
    return end <= at_load_acquire(&s->covered);
}

#endif
