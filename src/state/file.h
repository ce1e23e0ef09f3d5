/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file.h - attached origin files: incarnations, validators, dirty marks, open brackets.
 */
#ifndef CM_FILE_H
#define CM_FILE_H

#include "state/cache_state.h"

/* An open bracket. */
struct cm_open_bracket {
    struct cm_open_bracket *next;
    uint64_t id;
    uint64_t incarnation; /* whose stripes it raised */
    uint64_t first, end;  /* blocks; first == end: no stripes */
    bool data;            /* may change content or size */
    bool stale;           /* counted in cm_object.stale */
    bool raised;          /* its begin is through; until then only that may free it */
    bool orphaned;        /* aborted before that */
};

/* An attached origin file. */
struct cm_object {
    uint64_t handle;     /* atomic; what cm_file_open() gives out, 0: not attached */
    uint32_t refs;       /* files lock */
    uint16_t generation; /* files lock; of the handle, another one at each attach */
    struct cm_cache *cache;
    struct cm_object *next; /* hash chain or free list */
    cm_file_id id;
    uint64_t serial; /* of this attachment; misses carry it */

    /* Read without lock. */
    uint64_t incarnation; /* atomic; 0: none, nothing can be cached */
    uint64_t size;        /* atomic; adopted size or CM_SIZE_UNKNOWN */
    uint64_t ticket;      /* atomic; moves when a bracket begins or ends that raises no
                             stripes of the present incarnation, and when that changes */
    uint64_t limit;       /* atomic; no byte from here on was cached in this incarnation */
    uint64_t last_end;    /* atomic hint: where the last read ended; 0 at
                             first, so that reading from the start counts as a sequence */
    uint32_t stale;       /* atomic; open brackets that the stripes of the present
                             incarnation do not know of: nothing may be filled */
    uint32_t bypassed;    /* atomic; a failed fsync in this boot */
    uint32_t advice;      /* atomic; enum cm_advice */
    uint32_t window;      /* atomic hint: blocks to read ahead */

    struct cm_lock lock;    /* everything below, and stores to most of the above */
    uint32_t flags;         /* CM_SOLE_WRITER ... */
    uint64_t place;         /* of the record; CM_NO_PLACE: volatile file */
    bool recorded;          /* the record there may name this file */
    cm_validator validator; /* that stands for the incarnation; taken_at unused */
    bool has_validator;
    bool has_version; /* only its times and change count: it came without a size */
    bool want;        /* own writes moved the origin's validator */
    bool disowned;    /* an aborted owner may still write: no validator is adopted until
                         one has begun a new incarnation */
    bool kept;
    bool dirty;       /* DIRTY is or may be on the media */
    bool mark_fenced; /* ... and this session knows that it is durable */
    struct cm_open_bracket *brackets;
    struct cm_open_bracket own; /* one of them, so that mostly nothing has to be allocated */
    bool own_used;
    uint32_t open_brackets, open_data;
    uint64_t data_begun; /* counts what a sync that began before it does not cover */
    uint64_t floor_ns;   /* a validator taken before this proves nothing; cm_now() time */
};

/* A handle is the address of an object, and the generation in the bits that no address uses. No two
 * attachments share one: an object that had all generations is not used again. So a call on a file
 * that was closed is found out for as long as the cache is open, and never meets another file. */
#define CM_ADDRESS_BITS 48

static inline struct cm_object *cm_object_of(const cm_file *handle)
{
    return (struct cm_object *)((uintptr_t)handle & ((UINT64_C(1) << CM_ADDRESS_BITS) - 1));
}

static inline bool cm_object_attached(const struct cm_object *f, const cm_file *handle)
{
    return f && at_load_relaxed(&f->handle) == (uintptr_t)handle;
}

/* Attaches; see cm_file_open(). Takes the files lock. */
int cm_files_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v, uint32_t flags,
                    cm_file **file);
/* Drops a reference; see cm_file_close(). */
int cm_files_detach(struct cm_object *f);
/* Sees to it that no record and no attached object keeps the old incarnation of `id`. */
int cm_files_forget(struct cm_cache *c, const cm_file_id *id);
/* Any bracket open anywhere? */
bool cm_files_busy(struct cm_cache *c);
/* Frees every object; only cm_close calls it. */
void cm_files_free(struct cm_cache *c);

/* ---- The rest: file lock held by the caller -------------------------------------------------- */

/* Gives the file a new incarnation: everything cached of it is unreachable, durably, when this
 * returns 0. Escalates to the pool's epoch when the record cannot be written. CM_EFORGET. */
int cm_file_renew(struct cm_object *f);
/* e: why something of the file could not be forgotten. If it is an error, nothing of the file that
 * is known now is used any more while it is attached: not when the pool can forget again, either,
 * for the new epoch then reaches neither what waits in DRAM nor tickets that were given out.
 * Returns e. */
int cm_file_stop(struct cm_object *f, int e);
/* 0, or CM_EFORGET while the pool cannot forget: an earlier attempt failed and so does another. */
int cm_file_can_forget(struct cm_cache *c);
/* Something in the pool is newer than its superblock (cm_super_is_older); it was found while `key`
 * was the check key. Empties the pool once. CM_EFORGET. */
int cm_file_disbelieve(struct cm_cache *c, uint64_t key);
/* An fsync failed: forgets the file and bypasses it until the next boot. CM_EFORGET. */
int cm_file_sync_failed(struct cm_object *f);
/* Sets the dirty mark, durably. CM_EFORGET. */
int cm_file_mark_dirty(struct cm_object *f);
/* Clears it: the origin is proved to hold everything. */
void cm_file_mark_clean(struct cm_object *f);

/* The file changed, or may have: validators taken until now prove nothing. */
void cm_file_moved(struct cm_object *f);
/* May `v` be believed: no bracket was open at or after it was taken, and none that was taken later
 * has been believed? */
bool cm_file_proves(const struct cm_object *f, const cm_validator *v);
/* Did only we write, so that a validator that moved is our own doing? */
bool cm_file_may_adopt(const struct cm_object *f);
/* Nothing is known of the file any more, its size neither. */
void cm_file_drop_validator(struct cm_object *f);
/* Takes `v` for the validator of the present incarnation. */
void cm_file_adopt(struct cm_object *f, const cm_validator *v);
/* cm_file_revalidate(). */
int cm_file_judge(struct cm_object *f, const cm_validator *v);

/* Links a bracket. `stale`: it raises no stripes that fills of the present incarnation look at. */
void cm_file_link(struct cm_object *f, struct cm_open_bracket *b, bool stale);
/* Unlinks the bracket `id`, if its begin is through, or any with id 0; NULL: there is none. */
struct cm_open_bracket *cm_file_unlink(struct cm_object *f, uint64_t id);

#endif
