/* SPDX-License-Identifier: BSD-2-Clause
 *
 * request.h - the steps of a request: cm_request_*() without their argument checks.
 */
#ifndef CM_REQUEST_H
#define CM_REQUEST_H

#include "api/flight.h"

enum cm_out_state { CM_OUT_FREE, CM_OUT_READY, CM_OUT_GIVEN };

/* A piece of the origin that a request reads. */
struct cm_out {
    enum cm_out_state state;
    uint64_t offset, len;    /* bytes; whole blocks */
    uint64_t given_at;       /* cm_now() */
    uint8_t *p;              /* the origin is read to it */
    struct cm_buffer buffer; /* where p lies, or CM_BUFFER_NONE: in the caller's memory */
    uint64_t incarnation;    /* of its misses */
    uint64_t eof;            /* the size of its version if it is known and the piece reaches it */
    struct cm_flight
        *flights; /* its misses in the order of their blocks; NULL: nothing is stored */
};

/* What a cm_request holds in its opaque words. */
struct cm_run {
    uint64_t mark; /* of this address: it has begun */
    cm_file *file;
    struct cm_object *f;
    struct cm_cache *c;
    cm_request *r;
    struct cm_waiter waiter;
    uint64_t pos;       /* all before is served or asked for */
    uint64_t end;       /* of what is wanted; cut at the end of the file once that is known */
    uint64_t ahead;     /* blocks to read past the end */
    uint64_t served;    /* bytes that came from the cache */
    uint64_t counted;   /* a request looks several times, but a miss counts once: cm_range_read */
    uint64_t join_from; /* before this byte it joins no flight */
    uint64_t join_timeout; /* ns */
    uint64_t deadline;     /* of the present wait; cm_now() time */
    uint64_t version;      /* of the parts so far, or the only one that is wanted */
    int64_t error;         /* 0: none */
    uint64_t error_at;     /* the first byte that could not be read */
    uint32_t parts;        /* of which the result consists */
    uint32_t tries;        /* how often it has begun anew */
    bool versioned;        /* `version` is set */
    bool unknown;          /* the first part is of an unknown version */
    bool mixed;            /* the parts are not of one version */
    bool direct;           /* do not use the cache */
    bool warm;             /* cm_warm(): it has no buffer and copies nothing */
    bool hopeless;         /* warm: nothing of the file can be stored now, nor soon */
    bool waits;            /* on its waiter */
    bool poor;             /* ... for memory */
    bool starved;          /* no memory until a piece is completed */
    bool done;
    bool buffered;     /* warm: some of what was skipped waits in the probation buffer */
    int refused;       /* warm: the first reason why a block was not stored, or 0 */
    uint64_t took;     /* warm: bytes that the origin gave */
    uint64_t stored;   /* warm: bytes that this request stored */
    uint64_t left_out; /* warm: bytes before the position that are not cached */
    struct cm_out out[CM_REQUEST_PIECES];
};

static inline struct cm_run *cm_run_of(cm_request *r)
{
    static_assert(sizeof(struct cm_run) <= sizeof(r->opaque), "a request holds its state");
    static_assert(_Alignof(struct cm_run) <= _Alignof(uint64_t), "... at any of its addresses");
    return (struct cm_run *)(void *)r->opaque;
}

/* The mark of a request that has begun. A copy at another address has not. */
static inline uint64_t cm_run_mark(const cm_request *r)
{
    return (uint64_t)(uintptr_t)r ^ UINT64_C(0x72657175657374);
}
static inline bool cm_run_begun(const cm_request *r)
{
    return r->opaque[0] == cm_run_mark(r);
}

/* Of a request that has begun. */
static inline struct cm_cache *cm_run_cache(const cm_request *r)
{
    return ((const struct cm_run *)(const void *)r->opaque)->c;
}

void cm_run_begin(cm_file *file, cm_request *r);
/* The same for cm_warm(): r->buf is not used, r->offset and r->len are multiples of a block. What
 * is cached is skipped, and neither read nor counted. What is not is read from the origin and
 * stored, block by block of any version. What cannot be stored is not read: the request goes on
 * behind it, or ends there if it is hopeless. */
void cm_run_begin_warm(cm_file *file, cm_request *r);
int cm_run_step(struct cm_run *q, cm_piece *piece);
/* CM_EINVAL: the piece is not given out. */
int cm_run_complete(struct cm_run *q, const cm_piece *piece, int64_t result);
/* CM_EBUSY: a piece is given out. */
int64_t cm_run_end(struct cm_run *q);

#endif
