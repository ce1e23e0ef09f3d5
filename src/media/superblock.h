/* SPDX-License-Identifier: BSD-2-Clause
 *
 * superblock.h - the superblock pair of an open pool: epoch, incarnation ranges, frontier, state.
 */
#ifndef CM_SUPERBLOCK_H
#define CM_SUPERBLOCK_H

#include "platform/lock.h"
#include "media/media.h"

/* Incarnations are handed out from ranges of this size; one superblock write a range. */
#define CM_INCARNATION_RANGE (UINT64_C(1) << 20)
/* Random bytes of the gap between the mark that a pool is opened with and the session's first
 * number, while the numbers are below CM_GAP_END. */
#define CM_GAP_BYTES 5u
#define CM_GAP_END (UINT64_C(1) << 62)

struct cm_superblocks {
    struct cm_media *media;
    struct cm_plat_file *file;  /* to sync; NULL: memory */
    bool sync;                  /* page cache: a superblock counts only once it was synced */
    struct cm_lock lock;        /* everything below */
    struct cm_super now;        /* what both copies say */
    uint64_t open_mark;         /* mark at load: all numbers in the pool were below it */
    uint64_t first_incarnation; /* of this session; */
    uint64_t next_incarnation;  /* atomic; these two set at open, and the second under the lock */
    uint32_t damaged;           /* copies found damaged at load: 0 or 1 */
    unsigned first; /* copy that is written first: not the one that was believed at load */
    bool failed;    /* the last write failed: CLEAN and new ranges are refused until one works */
};

/* Who opens, for the rule that decides whether a crashed pool may be kept. */
struct cm_super_owner {
    enum cm_durability durability;
    uint8_t boot_id[16];
    uint8_t mount_id[16];
    uint32_t pid;
    uint64_t gap; /* numbers left out before this session's first */
};

/* Which copy counts, of two that cm_format_super_check() judged: its number, or a code that says
 * why none does: the errors of cm_super_read(). */
int cm_super_choose(const struct cm_super c[CM_SUPER_COPIES], const int e[CM_SUPER_COPIES]);
/* Reads both copies at `base` (at least two strides readable) and chooses. *damaged: 0 or 1.
 * Returns the number of the copy chosen, or CM_ENOTPOOL CM_EBYTEORDER CM_EVERSION CM_EINCOMPAT
 * CM_EDAMAGED; *sb on success only. */
int cm_super_read(const uint8_t *base, struct cm_super *sb, uint32_t *damaged);

/* A superblock for a new pool; fills everything but seq and sum. */
void cm_super_init(struct cm_super *sb, const struct cm_geometry *g, const uint8_t uuid[16],
                   uint64_t hash_seed, uint64_t wall_ns);
/* Writes a new pool's superblocks; s->now is what cm_super_init made. */
int cm_super_format(struct cm_superblocks *s);
/* Makes old superblocks unreadable, durably: the first step of formatting. */
int cm_super_kill(struct cm_superblocks *s);

/* Would opening by `owner` have to empty the pool? (Not closed cleanly, durability was the page
 * cache's, and this is another boot or mount.) */
bool cm_super_must_empty(const struct cm_super *sb, const struct cm_super_owner *owner);

/* Takes the pool: OPEN, boot, owner and a fresh incarnation range, in both copies, durable before
 * anything else may be stored. s->now was read before. Sets *emptied when the epoch was bumped.
 * CM_EIO: without DAX, the pool is then no pool any more. */
int cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner, bool *emptied);
/* The last resort without DAX, when neither what was stored nor a new epoch can be synced: what the
 * volume holds must not be believed by anybody, in this boot either. The session is at its end. */
void cm_super_void(struct cm_superblocks *s);
/* Leaves the pool clean. The caller synced everything else, so that it may be found either way
 * after CM_EIO: OPEN, or CLEAN where only the superblock's own sync failed. `memo`: what was kept
 * of the policy. */
int cm_super_close(struct cm_superblocks *s, uint64_t frontier, const struct cm_super_memo *memo);
/* A number for what is kept at this close: no earlier one of this pool had it. */
uint64_t cm_super_generation(struct cm_superblocks *s);
/* Empties the pool in O(1) and durably. CM_EIO: may or may not have taken effect. *failed (atomic)
 * tells what the last bump of all came to. */
int cm_super_bump_epoch(struct cm_superblocks *s, uint32_t *failed);
/* An fsync of an origin file failed; `named`: its record says so. Known in this boot's sessions,
 * and of all files without a record once the records are gone. CM_EIO: in this session only. */
int cm_super_sync_failed(struct cm_superblocks *s, bool named);
/* What is known so: did an fsync fail in this boot; of a file that no record names? */
struct cm_super_failed {
    bool any, unnamed;
};
struct cm_super_failed cm_super_failed(struct cm_superblocks *s);
/* A number that is found in the pool, under a right check: does it show that the superblock is
 * older than what is in the pool (a copy put back, or one made up)? Numbers would be given twice
 * then. */
static inline bool cm_super_is_older(const struct cm_superblocks *s, uint64_t incarnation)
{
    if (incarnation < s->open_mark)
        return false;
    /* Relaxed: whoever meets a number of this session met what was published after it. */
    return incarnation < s->first_incarnation ||
           incarnation >= at_load_relaxed(&s->next_incarnation);
}
/* Empties the pool for that reason, unless that was done since `key` was the check key. */
int cm_super_disbelieve(struct cm_superblocks *s, uint64_t key, uint32_t *failed);
/* A number never used in this pool. CM_EIO when no new range can be had. */
int cm_super_incarnation(struct cm_superblocks *s, uint64_t *incarnation);
/* Remembers (a hint, best effort) that slots below `frontier` may be in use. */
void cm_super_frontier(struct cm_superblocks *s, uint64_t frontier);

#endif
