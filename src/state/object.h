/* SPDX-License-Identifier: BSD-2-Clause
 *
 * object.h - attached files: what an open cache knows of each, and the table of them.
 */
#ifndef CM_OBJECT_H
#define CM_OBJECT_H

#include "state/cache_state.h"

/* What became of a bracket. If it is aborted before its begin has ended, its begin frees it. */
enum cm_bracket_state {
    CM_BRACKET_BEGINS,
    CM_BRACKET_RAISED,  /* its begin has ended */
    CM_BRACKET_ORPHANED /* it was aborted */
};

/* An open bracket. */
struct cm_open_bracket {
    struct cm_open_bracket *next, *newer; /* in the file's list: the one before it, or after it */
    uint64_t id;
    uint64_t incarnation;     /* whose stripes it raised */
    uint64_t first, end;      /* blocks; first == end: no stripes */
    struct cm_last_home home; /* of its last group; of the thread that begins or ends it */
    uint64_t regions;         /* that it may change, a bit each */
    bool data;                /* may change content or size */
    bool stale;               /* counted in cm_object.stale */
    uint32_t state;           /* atomic; enum cm_bracket_state */
};

/* What an attached file knows of its regions (region.h). */
struct cm_regions {
    uint64_t intents;  /* as in the record */
    uint64_t durable;  /* this session has made these of them durable */
    uint64_t unsynced; /* the origin may lose writes of these */
    bool dirty;        /* as in the record */
    bool size_loose;   /* the record's size was written and not made durable */
    bool born;         /* the file began anew, in a checkpointed pool */
    /* Buckets of the file whose page on the disk may hold an older record of it, CM_PAGE_*; until
     * so many losses of the bucket are settled. */
    uint8_t lost;
    uint32_t lost_until[CM_RECORD_CHOICES];
    uint32_t clears; /* how often intents were cleared */
    uint32_t birth;  /* boot from which on `since` counts */
    uint32_t shift;
    uint8_t since[CM_REGIONS]; /* atomic, but it does not change while the file is attached */
    /* Number of the last change that began there (data_begun); and of the last one that began in
     * all regions, which is mostly one of a file whose size is not known. */
    uint64_t begun[CM_REGIONS];
    uint64_t begun_everywhere;
    /* When the last checkpoint began: */
    uint64_t check_incarnation; /* 0: the file was not attached */
    uint64_t check_begun;       /* data_begun */
    uint64_t check_open;        /* regions of open brackets */
};

/* An attached origin file. */
struct cm_object {
    /* What every hit loads comes first, as in struct cm_cache. */
    uint64_t handle; /* atomic; what cm_file_open() gives out, 0: not attached */
    struct cm_cache *cache;
    uint64_t incarnation; /* atomic; 0: none, nothing can be cached */
    uint64_t size;        /* atomic; adopted size or CM_SIZE_UNKNOWN */
    uint32_t raised;      /* atomic; a region has a "since" that is not 0 */
    uint32_t gate;        /* atomic; CM_GATE_*: if not 0, reads take the slow path and ask why */
    /* With CM_GATE_SHARED: the word of the pool that must be the incarnation at each hit, and what
     * the session must be. Atomic. */
    const uint64_t *told;
    uint64_t session;
    /* Atomic hint: the slot of a block, less the number of the block. Blocks that were stored in a
     * row lie in slots in a row, so this is the same for many blocks. */
    uint64_t slot_delta;

    uint32_t refs;          /* files lock */
    uint16_t generation;    /* files lock; part of the handle, another one at each attach */
    struct cm_object *next; /* hash chain or free list */
    cm_file_id id;
    uint64_t serial; /* of this attachment; misses carry it */

    /* Read without lock. */
    uint64_t ticket;    /* atomic; moves when a bracket begins or ends that raises no
                           stripes of the present incarnation, and at a new incarnation */
    uint64_t limit;     /* atomic; no byte from here on was cached in this incarnation */
    uint64_t last_end;  /* atomic hint: where the last read ended; 0 at
                           first, so that reading from the start counts as a sequence */
    uint64_t changes;   /* atomic; changes of content or size that have ended */
    uint32_t stale;     /* atomic; open brackets that the stripes of the present
                           incarnation do not know of: nothing may be filled */
    uint32_t bypassed;  /* atomic; a failed fsync in this boot */
    int64_t expires_ns; /* atomic, wall clock; with CM_GATE_TTL nothing is served from then on */
    uint64_t ends_ns;   /* atomic, cm_now() time; the same, for a wall clock that is set back */
    uint32_t advice;    /* atomic; enum cm_advice */
    uint32_t keep;      /* atomic; its blocks are not evicted: as in the record */
    uint32_t group;     /* atomic; as in the record */
    uint32_t share;     /* atomic; that of the group, 0: none (quota.h) */
    uint32_t window;    /* atomic hint: read_ahead.c */

    struct cm_lock lock;    /* everything below, and stores to most of the above */
    uint32_t flags;         /* CM_SOLE_WRITER ... */
    uint64_t ttl_ns;        /* begins again with each validator that is accepted; 0: none */
    int64_t recorded_ns;    /* with ttl_ns: the end as it was written last to the record */
    uint64_t place;         /* atomic; of the record; CM_NO_PLACE: volatile file */
    bool recorded;          /* the record there may name this file */
    bool named;             /* ... and have a name for people */
    cm_validator validator; /* of the present incarnation; taken_at is not used */
    bool has_validator;     /* it has a proof */
    bool want;              /* own writes moved the origin's validator */
    bool disowned;          /* an aborted owner may still write: no validator is adopted until
                               one has begun a new incarnation */
    bool kept;              /* the attach found it unchanged: cm_file_info.kept */
    bool no_origin;         /* the pool alone has its content */
    bool tested;            /* who reads it tests the bytes; set before the first fill */
    bool claimed;           /* a container of objects is open, or being opened: cm_inner_claim() */
    struct cm_regions regions;
    /* Statistics: atomic, relaxed, because nothing depends on them. They lie away from what
     * every read loads, of this file and of the next one in the slab. */
    uint64_t hits;       /* blocks; estimated */
    uint64_t misses;     /* blocks, while it is attached */
    uint64_t fills;      /* blocks, while it is attached */
    uint64_t used_ns;    /* when it was used last; cm_now() time */
    uint64_t seen_delta; /* of the last hit that was sampled, as slot_delta */

    struct cm_open_bracket *brackets, *oldest; /* the list's two ends; it begins with the newest */
    uint64_t open_regions;                     /* no open bracket has others; a bit each */
    struct cm_open_bracket own; /* room for one: mostly nothing has to be allocated */
    bool own_used;
    uint32_t open_brackets, open_data;
    uint64_t data_begun; /* counts changes: a sync covers none that begins after it */
    uint64_t floor_ns;   /* a validator taken before this proves nothing; cm_now() time */
};

enum {
    CM_GATE_BYPASSED = 1u << 0, /* as `bypassed` */
    CM_GATE_TTL = 1u << 1,      /* the file has a time to live */
    CM_GATE_SHARED = 1u << 2    /* another process owns the pool (shared.h) */
};

/* Blocks of the file were served, missed or stored. `now`: cm_now() time. */
static inline void cm_object_served(struct cm_object *f, uint64_t blocks, uint64_t now)
{
    (void)at_add_relaxed(&f->hits, blocks);
    at_store_relaxed(&f->used_ns, now);
}
static inline void cm_object_missed(struct cm_object *f, uint64_t blocks, uint64_t now)
{
    (void)at_add_relaxed(&f->misses, blocks);
    at_store_relaxed(&f->used_ns, now);
}
/* A sampled hit found the block in the slot, or in an entry of the probation buffer that stands for
 * one. The hint only changes if the last sampled hit would have changed it in the same way: every
 * hit of every thread loads its line. */
static inline void cm_object_learn(struct cm_object *f, uint64_t block, uint64_t slot)
{
    const uint64_t delta = slot - block;
    if (at_load_relaxed(&f->seen_delta) != delta)
        at_store_relaxed(&f->seen_delta, delta);
    else if (at_load_relaxed(&f->slot_delta) != delta)
        at_store_relaxed(&f->slot_delta, delta);
}
/* The slot where the hint says that the block is. There may be no such slot. */
static inline uint64_t cm_object_guess(const struct cm_object *f, uint64_t block)
{
    return block + at_load_relaxed(&f->slot_delta);
}
static inline void cm_object_filled(struct cm_object *f, uint64_t blocks)
{
    (void)at_add_relaxed(&f->fills, blocks);
}

/* A handle is the address of an object, with the generation in the bits that no address uses. No
 * two attachments have the same handle: an object that has had all generations is not used again.
 * So a call on a closed file is detected as long as the cache is open, and never reaches another
 * file. */
#define CM_ADDRESS_BITS 48

static inline struct cm_object *cm_object_of(const cm_file *handle)
{
    return (struct cm_object *)((uintptr_t)handle & ((UINT64_C(1) << CM_ADDRESS_BITS) - 1));
}

static inline bool cm_object_attached(const struct cm_object *f, const cm_file *handle)
{
    return f && at_load_relaxed(&f->handle) == (uintptr_t)handle;
}

/* ---- The table: files lock held by the caller, unless it says so ----------------------------- */

/* The chain that an id belongs to, and its object there; NULL: the file is not attached. */
struct cm_object **cm_object_chain(struct cm_cache *c, const cm_file_id *id);
struct cm_object *cm_object_find(struct cm_cache *c, const cm_file_id *id);
/* Takes the files lock and ensures that cm_object_get_free finds an object. On success the lock
 * stays held. CM_ENOMEM: it is not held. */
int cm_object_lock_with_free(struct cm_cache *c);
/* Takes a free object, which is zeroed but for its generation; puts one back. */
struct cm_object *cm_object_get_free(struct cm_cache *c);
void cm_object_put_free(struct cm_cache *c, struct cm_object *f);
/* The handle that cm_file_open() gives out. */
cm_file *cm_object_handle(const struct cm_object *f);
/* Returns the floor_ns of a file at its attach; keeps the one that it leaves when it goes. Exact
 * for the files that left last, some two thousand; an older one is taken for later than it was. */
uint64_t cm_object_floor(const struct cm_cache *c, const cm_file_id *id);
void cm_object_leave_floor(struct cm_cache *c, const cm_file_id *id, uint64_t floor_ns);
/* Bytes of their table, cm_cache.left. */
size_t cm_object_left_bytes(void);

/* Any bracket open anywhere? Takes the files lock. */
bool cm_files_busy(struct cm_cache *c);
/* The id of the attached file that has this incarnation. False: none has it. Takes the files lock,
 * and looks at all attached files: for messages only. */
bool cm_files_id_of(struct cm_cache *c, uint64_t incarnation, cm_file_id *id);
/* Frees every object; only cm_close calls it. */
void cm_files_free(struct cm_cache *c);

#endif
