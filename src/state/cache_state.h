/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache_state.h - an open cache: the modules of the lower floors put together. The parts that it
 * holds (media/, policy/, pins, the probation buffer, stripes) do not include it.
 */
#ifndef CM_CACHE_STATE_H
#define CM_CACHE_STATE_H

#include "media/memo.h"
#include "platform/callback.h"
#include "state/pin.h"
#include "state/probation_buffer.h"
#include "policy/rate.h"
#include "media/seal.h"
#include "media/slot.h"
#include "media/stats.h"
#include "state/stripe.h"
#include "state/trouble.h"
#include "media/superblock.h"

#define CM_CACHE_MAGIC 0x43616368u
#define CM_CACHE_SHARED_MAGIC 0x43616369u /* of one that only reads a pool of another process */

#define CM_FLIGHTS 256u /* origin reads that others may wait for */

struct cm_flight_table;
struct cm_left_group;
struct cm_record_set;
struct cm_sample;
struct cm_copy_choice;

#define CM_NAME_MAX 128u

enum cm_settling_state {
    CM_SETTLING_OFF = 0,
    CM_SETTLING_BEGUN = 1, /* everybody acts as if it were on; the superblock does not say it yet */
    CM_SETTLING_ON = 2
};
/* What a checkpointed pool has to sync (settle.h). */
struct cm_settling {
    uint32_t on;         /* atomic; enum cm_settling_state */
    uint32_t phase;      /* atomic; grows with each checkpoint */
    uint32_t running[2]; /* atomic; syncs of pages that began in an even phase, in an odd one */
    struct cm_lock lock; /* a checkpoint runs; outermost */
    uint64_t recorded;   /* the check key when all open files had a record; its lock, or a close */
    /* Files lock. For each bucket of records: how many were lost; how many of them may still be on
     * the disk; how many were lost since the checkpoint that runs began (255: that or more); and a
     * Bloom filter of the ids of those that may be on the disk. */
    uint32_t *losses;
    uint8_t *open, *since;
    uint64_t *lost;
    bool found_killed; /* files lock; each bucket without a loss is lost, too */
    uint64_t *quiet;   /* files lock; a bit for each record, while its file is not attached */
    uint64_t *ready;   /* the same, for the checkpoint that runs */
};

/* Incarnations, and what the owner of the table knows of each (incarnations.h). */
struct cm_incarnation {
    uint64_t incarnation; /* its number; 0: an unused cell */
    uint64_t value;       /* what the owner of the table knows of it */
};
/* The owner's lock protects it. */
struct cm_incarnations {
    struct cm_incarnation *cell;
    uint64_t cells, used; /* cells: 0 or a power of two; at most half of them are used */
};

/* Kept files (keep.c). */
struct cm_keeping {
    struct cm_lock lock; /* all of it, and marking slots as kept */
    uint32_t stale;      /* atomic; a file left the table: slots may be marked for nothing */
    struct cm_incarnations table; /* value: blocks that the file may have */
    uint64_t blocks;              /* sum */
    uint64_t files; /* atomic; as table.used, for those who only ask whether there are any */
    uint64_t left;  /* atomic; buckets of records that were not looked at; files lock */
};

/* Groups of files that have a quota (quota.c). */
struct cm_quotas {
    struct cm_lock looking;       /* one thread looks at what earlier sessions left */
    struct cm_lock lock;          /* the table; with `looking` slot, passes and begun */
    uint32_t group[CM_SHARES];    /* of each share; files lock */
    struct cm_incarnations table; /* value: number of the share */
    uint64_t left;                /* atomic; buckets of records that were not looked at */
    uint64_t slot;                /* the next one to look at */
    uint32_t passes;              /* atomic; over the slots, until all blocks are counted */
    bool begun;                   /* a pass runs: slots may be counted already */
    uint32_t counted;             /* atomic; all blocks of earlier sessions were counted once */
};

/* Incarnations that ended in this session (ended.c). */
#define CM_ENDED 512u
#define CM_ENDED_WAYS 16u
struct cm_ended {
    uint32_t hash[CM_ENDED]; /* atomic; of their numbers; 0: none */
    uint64_t noted;          /* atomic; how many have ended, and epochs */
    uint64_t blocks;         /* atomic; that they may have had, since the last search was due */
    uint32_t again;          /* atomic; a search has to look at all slots */
    uint32_t busy;           /* atomic; a thread searches. It owns what follows */
    uint64_t left;           /* atomic; so many slots have to be looked at */
    uint64_t slot;           /* the next one */
};

/* Candidates for the copies of fills, and what was measured of each (fill_choice.h). */
#define CM_FILL_CANDIDATES 3u
struct cm_fill_choice {
    uint32_t over;   /* atomic; nothing is measured any more */
    uint32_t busy;   /* atomic; a thread measures. It owns what follows */
    uint32_t n;      /* candidates; the first is the start value */
    uint32_t turns;  /* that were measured */
    uint32_t tries;  /* that were begun */
    uint32_t chosen; /* atomic; index */
    struct {
        const char *name;
        cm_persist_copy_fn copy;
        uint64_t ns; /* for a block, of all turns */
    } candidate[CM_FILL_CANDIDATES];
};

struct cm_cache {
    /* What every hit loads comes first: copies of blocks push everything else out of the CPU's
     * first cache, and each line that a hit has to wait for costs some twenty nanoseconds. */
    uint32_t magic;
    uint32_t fork_count;   /* cm_plat_fork_count() at open */
    uint32_t mode;         /* atomic, enum cm_mode */
    uint32_t broken;       /* atomic, enum cm_say; forgetting failed: bypass */
    uint64_t judged_key;   /* check key at open; with another key slots are judged again */
    uint64_t sample_below; /* atomic; places below this are in the sample */
    uint64_t known;        /* atomic; slots from here on are verified in each hit: trouble.c */
    /* Loaded at the end of every other call. */
    uint32_t failing;   /* atomic, enum cm_say; many media errors: no more fills */
    uint32_t older;     /* atomic, enum cm_say; the superblock was older than the pool */
    uint32_t suspect;   /* atomic, enum cm_say; a media error: is the file whole? DONE: it is not */
    uint32_t unsettled; /* atomic, enum cm_say; a sync of settling failed, so it was emptied */
    cm_options opts;    /* of which a hit loads `verify` */
    struct cm_media media;
    struct cm_policy_state policy;

    struct cm_superblocks super;
    struct cm_plat_file file; /* handle -1: caller's memory */
    bool guarded;
    bool locked;   /* the pages of the metadata are locked in memory */
    bool directly; /* the pool's memory is the volume itself: no page of it can be out of memory */
    bool readonly;
    bool shared;     /* CM_OPEN_SHARED: another process owns the pool (shared.h) */
    bool sync_lasts; /* what is synced on the pool's volume survives a crash of the system */
    bool torn;       /* a crash of the system may have torn what was stored in an earlier boot */
    bool emptied;
    bool must_empty; /* read-only: the next owner will empty it */

    uint32_t racy_said;  /* atomic; the log told of a validator that is racy each time */
    uint32_t early_said; /* atomic; ... of a validator from before the open */
    uint32_t crowded;    /* atomic, enum cm_say; no record was free for one more file */
    uint32_t lost;       /* atomic; ... of a descriptor of the pool that somebody has closed */
    uint32_t cold;       /* atomic, enum cm_say; a file is cold only because a validator is racy */
    /* Set at open. Slots then, and that it may have while it is open; bytes of memo.reached. */
    uint64_t slots_opened, slots_max, memo_bytes;
    uint32_t grows;         /* atomic; one thread makes the pool larger */
    struct cm_lock end;     /* changing `known` with media.end; no reader waits for it */
    uint32_t growing;       /* atomic; the index is being copied: nothing is stored */
    uint32_t no_checkpoint; /* atomic; 1: there can be none, and the log says so */
    uint32_t unguarded;     /* atomic; 1: the handler of the guard was replaced, as the log says */
    uint64_t media_errors;  /* atomic */
    uint32_t full;          /* atomic, enum cm_say; a sparse pool's volume is full */
    char name[CM_NAME_MAX]; /* for messages: the end of the path of its file */
    int64_t boot_wall_ns;   /* atomic; the earliest that was found: cm_file_boot_wall() */
    uint64_t opened_ns;     /* when it became ours; cm_now() time */

    struct cm_stripe *stripes; /* geo.stripes of them */
    struct cm_probation probation;
    struct cm_memo memo;
    uint8_t *pins;         /* one byte for each slot, pin.h */
    uint64_t pinned;       /* atomic; blocks pinned right now */
    uint32_t *pin_sets;    /* CM_PIN_SETS of them */
    uint64_t hole;         /* atomic; the next slot that the last session may have left empty */
    uint64_t holes_end;    /* where those end */
    uint32_t holes_sought; /* atomic; where they begin was looked for */

    struct cm_lock files_lock; /* file_hash, open_places, slabs; attach and detach */
    struct cm_object **file_hash;
    uint32_t file_chains;       /* in file_hash; a power of two, the same while it is open */
    struct cm_left_group *left; /* files that are not attached (object.c) */
    uint64_t *open_places;      /* a bit for each record: an attached file owns it */
    /* files_lock; the records that an attach looks at: too large for the stack of a caller */
    struct cm_record_set *records;
    struct cm_file_slab *slabs;
    struct cm_object *free_files, **free_tail;
    uint64_t serial;
    uint64_t bracket_id; /* atomic */
    struct cm_settling settling;
    struct cm_keeping keeping;
    struct cm_quotas quotas;
    struct cm_ended ended;

    struct cm_rate rate;
    uint64_t sample_skipped;     /* atomic; reads of the sample that found it locked */
    struct cm_sample *sample;    /* policy_sample.c */
    struct cm_copy_choice *copy; /* copy_choice.c; NULL: read-only */
    struct cm_fill_choice fill;  /* which routine fills copy with */
    struct cm_flight_table *flights;
    uint64_t live;  /* atomic; requests, warmings, iterations, checkpoints and growths that run */
    uint8_t *stats; /* shared: statistics of its own */
    uint32_t replaced; /* atomic, enum cm_say; shared: the pool is gone, or another one */
    struct cm_trouble trouble[CM_TROUBLES];
    struct cm_sealing sealing; /* media.seal points to it, if the pool is sealed */
    uint32_t seal_failures;    /* counted by it */
#ifdef CM_CHECKS_FULL
#define CM_INSIDE_LOOKING 0x80000000u
    uint32_t inside; /* atomic; threads in a call, or LOOKING (checked_calls.c) */
    uint64_t calls;  /* atomic */
#endif
};

static inline void cm_count(const struct cm_cache *c, enum cm_stat which, uint64_t n)
{
    cm_stats_add(&c->media, which, n);
}

/* An epoch has begun: nothing leads to what was stored before. */
static inline void cm_cache_emptied(struct cm_cache *c)
{
    /* The frontier comes to the slots that the last session has left empty, too. If they were
     * filled first, which lie far behind, the persisted frontier would call all before them used.
     * Relaxed: a hint. */
    at_store_relaxed(&c->hole, c->holes_end);
    cm_ring_emptied(&c->policy.ring);
    /* Groups look for such slots among theirs (ended.c). Relaxed: a number only. */
    (void)at_add_relaxed(&c->ended.noted, 1);
    /* It is no pool any more: nothing that is stored would outlive this session. Relaxed: what is
     * stored meanwhile is forgotten as usual. */
    if (at_load_relaxed(&c->failing) == CM_SAY_NOTHING && cm_super_is_void(&c->super))
        at_store_relaxed(&c->failing, (uint32_t)CM_SAY_DUE);
}

/* A new epoch: nothing that is cached counts any more. CM_EIO, CM_ESEAL: that is not durable, and
 * nothing is served or stored. */
static inline int cm_cache_empty(struct cm_cache *c)
{
    const int e = cm_super_bump_epoch(&c->super, &c->broken);
    if (e == 0)
        cm_cache_emptied(c);
    return e;
}

/* Notes that a part of the pool cannot be read or written. api/trouble.c finds out why, when no
 * lock is held. */
static inline void cm_suspect(struct cm_cache *c)
{
    if (at_load_relaxed(&c->suspect) == CM_SAY_NOTHING)
        /* Release: pairs with the swap in cm_say_trouble(). A thread that asks the system because
         * of this also sees what was noted in c->trouble before. */
        at_store_release(&c->suspect, CM_SAY_DUE);
}

/* This session has found the slot right, or has filled it. */
static inline void cm_cache_judged(struct cm_cache *c, uint64_t slot)
{
    /* Acquire, and the mark is a release: whoever finds the mark of a slot that was in the file's
     * last page also finds where that page is now (cm_end_grow). */
    if (slot < at_load_acquire(&c->known))
        cm_ring_set_verified(&c->policy.ring, slot);
}

/* Allocates memory through the caller's hook. It is zeroed; large memory is zeroed lazily. */
static inline void *cm_cache_alloc(const struct cm_cache *c, size_t bytes)
{
    struct cm_callback frame;
    cm_callback_begin(c, &frame);
    int cancel = cm_plat_cancel_off();
    void *p = c->opts.alloc(c->opts.alloc_ctx, bytes);
    cm_plat_cancel_back(cancel);
    cm_callback_end(&frame);
    return p;
}
static inline void cm_cache_free(const struct cm_cache *c, void *p, size_t bytes)
{
    if (!p)
        return;
    struct cm_callback frame;
    cm_callback_begin(c, &frame);
    int cancel = cm_plat_cancel_off();
    c->opts.free(c->opts.alloc_ctx, p, bytes);
    cm_plat_cancel_back(cancel);
    cm_callback_end(&frame);
}

/* Is it a checkpointed pool, where a sync decides what is durable? */
static inline bool cm_settling(const struct cm_cache *c)
{
    /* Relaxed: it changes while the files lock is held, and then each file's lock is taken. A
     * thread that holds one of these locks afterwards sees it. */
    return at_load_relaxed(&c->settling.on) != CM_SETTLING_OFF;
}

static inline uint32_t cm_cache_mode(const struct cm_cache *c)
{
    uint32_t mode = at_load_relaxed(&c->mode);
    if (at_load_relaxed(&c->broken))
        return CM_BYPASS;
    return at_load_relaxed(&c->failing) && mode == CM_NORMAL ? CM_FREEZE : mode;
}

/* `boot`: of the block's header. May a crash of the system have torn this block? Then a wrong
 * checksum is no damage. */
static inline bool cm_cache_tears(const struct cm_cache *c, uint8_t boot)
{
    return c->torn && boot != at_load_relaxed(&c->media.boot); /* learn() in shared.c */
}

static inline bool cm_cache_bypassed(const struct cm_cache *c)
{
    return at_load_relaxed(&c->broken) != 0 || at_load_relaxed(&c->mode) == CM_BYPASS;
}

/* A bit for each slot, of as many as the pool may grow to. */
static inline size_t cm_cache_marks_bytes(const struct cm_cache *c)
{
    return (size_t)((c->slots_max + 63) / 64 * 8);
}

/* Does an open file own the record at a place? (cm_file_open_place) */
static inline bool cm_file_place_is_open(const struct cm_cache *c, uint64_t place)
{
    return at_load_acquire(&c->open_places[place / 64]) >> place % 64 & 1;
}

static inline struct cm_stripe *cm_stripe_at(const struct cm_cache *c, uint64_t stripe)
{
    assert(stripe < c->media.geo.stripes);
    return &c->stripes[stripe];
}

#endif
