/* SPDX-License-Identifier: BSD-2-Clause
 *
 * object.c - objects of the origin in the cache: which of them are fresh, whom to ask, and how they
 * are read. All calls of the library are here, but cm_open() and cm_close().
 */
#include "http-proxy.h"
#include "torn.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Below -1000: the library has no such error. */
#define ORIGIN_FAILED (-1001)
#define ORIGIN_CHANGED (-1002)
#define ORIGIN_OPEN_END (-1003) /* nobody could know whether its body is whole */
#define ORIGIN_TORN (-1004)     /* changed: its GET has another ETag than its HEAD had */
#define ORIGIN_TIMED_OUT (-1005)
#define SECOND_NS UINT64_C(1000000000)
#define RETRY_NS (5 * SECOND_NS)
#define LOCKS 1024

cm_cache *cache;

/* Requests for one object open and close it one after the other: so only one of them asks the
 * origin. Objects share a lock if their hashes do. */
static struct lock {
    pthread_mutex_t mutex;
    cm_file_id id;        /* the object that the origin was asked for last, ... */
    uint64_t asked_at;    /* ... when cm_now() was this */
    uint64_t fresh_until; /* end of its time to live, by cm_now() */
    struct torn torn;     /* the object whose response broke off last, for another ETag */
} locks[LOCKS];

void object_begin(void)
{
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_init(&locks[i].mutex, NULL);
}

static int64_t wall_clock(void)
{
    struct timespec t;

    timespec_get(&t, TIME_UTC);
    return (int64_t)t.tv_sec * (int64_t)SECOND_NS + t.tv_nsec;
}

/* ---- Whom to ask --------------------------------------------------------------------------- */

/* How far the wall clock is ahead of cm_now(), which nobody sets: the most that was seen. */
static int64_t most_ahead(int64_t wall)
{
    static _Atomic int64_t most = INT64_MIN;
    const int64_t ahead = wall - (int64_t)cm_now();
    int64_t seen = atomic_load(&most);

    while (ahead > seen && !atomic_compare_exchange_weak(&most, &seen, ahead))
        ;
    return ahead > seen ? ahead : seen;
}

/* For how long a copy is fresh. The pool knows its end by the wall clock only. If that was set back
 * while the proxy runs, the copy must not live longer: the locks know what was asked last, and all
 * others may be from before. */
static uint64_t time_left(const struct lock *lock, const cm_file_id *id, int64_t expires_ns)
{
    const bool remembered = memcmp(&lock->id, id, sizeof(*id)) == 0;
    const int64_t wall = wall_clock(), ahead = most_ahead(wall), now = (int64_t)cm_now();
    const int64_t left = expires_ns - (remembered ? wall : now + ahead);
    const int64_t left_here = remembered ? (int64_t)lock->fresh_until - now : left;

    if (left <= 0 || left_here <= 0)
        return 0;
    return (uint64_t)(left < left_here ? left : left_here);
}

/* What the pool has of an object, from this session or from one before. */
struct copy {
    bool attached; /* by another request */
    bool known;    /* the validator counts */
    cm_validator validator;
    uint64_t ttl_ns; /* 0: it is not fresh */
};

static struct copy look_up(const struct lock *lock, const cm_file_id *id)
{
    struct copy c = { .validator = CM_VALIDATOR_INIT };
    cm_file_info info = { .struct_size = sizeof(info) };
    uint64_t left;

    if (cm_file_lookup(cache, id, &c.validator, &info) == 0) {
        c.attached = info.attached;
        /* The length of the proof is its last byte. 0: nothing was ever presented. */
        c.known = !c.validator.racy && c.validator.proof[CM_PROOF_BYTES - 1] != 0;
    }
    left = time_left(lock, id, info.expires_ns); /* each request looks at the clock */
    c.ttl_ns = c.known ? left : 0;
    c.validator.taken_at = cm_now(); /* a fresh copy counts as asked now */
    c.validator.changed_ns = CM_CHANGED_LONG_AGO;
    return c;
}

/* It may be over soon: errors of the server, a timeout, too many requests. Not a method that it
 * does not know (501). */
static bool is_trouble(long status)
{
    return (status >= 500 && status != 501) || status == 408 || status == 429;
}

/* Asks the origin about the object. If the result is CACHED, r->validator and *ttl_ns hold from now
 * on. */
static int ask(struct request *r, const struct copy *c, uint64_t *ttl_ns)
{
    uint64_t asked_at = cm_now();
    struct answer a;

    if (!origin_head(r, &a) || is_trouble(a.status)) {
        *ttl_ns = RETRY_NS; /* an old copy is better than none; ask again in some seconds */
        if (c->known)
            return CACHED;
        if (a.timed_out)
            return 504;
        return a.reached ? WHOLE : 502; /* it may be trouble with the HEAD only */
    }
    if (a.status == 200 && a.etag[0] == '"' && !a.no_store && !a.coding[0]) {
        r->validator = (cm_validator)CM_VALIDATOR_INIT;
        cm_validator_set_proof(&r->validator, a.etag, strlen(a.etag));
        r->validator.taken_at = asked_at;
        /* Not known if it is chunked. Some servers tell 0 to each HEAD, because it has no body. */
        r->validator.size = a.total ? a.total : CM_SIZE_UNKNOWN;
        r->validator.changed_ns = CM_CHANGED_LONG_AGO;
        strcpy(r->etag, a.etag);
        *ttl_ns = a.fresh * SECOND_NS;
        return CACHED;
    }
    if (c->known) /* it is gone, or must not be cached any more */
        cm_forget(cache, &r->id);
    /* The GET decides: some servers know no HEAD, and a signed URL is for one method. */
    return a.status == 200 || (a.status >= 400 && a.status < 500) || a.status == 501
               ? WHOLE
               : (int)a.status;
}

/* Attaches the object with r->validator, for ttl_ns. */
static int attach(struct request *r, const struct copy *c, uint64_t ttl_ns)
{
    bool same = memcmp(c->validator.proof, r->validator.proof, CM_PROOF_BYTES) == 0;
    int e = cm_file_open(cache, &r->id, c->attached ? NULL : &r->validator, 0, &r->file);

    if (e == 0 && c->attached) {
        /* An accepted validator begins the time to live again. So that must not be an old one:
         * after a crash right then the next session would believe it. */
        cm_file_set_ttl(r->file, same ? ttl_ns : 1);
        e = cm_file_revalidate(r->file, &r->validator);
    }
    return e == 0 ? cm_file_set_ttl(r->file, ttl_ns) : e;
}

static void note_torn(const struct request *r)
{
    struct lock *lock = &locks[r->id.lo % LOCKS];

    pthread_mutex_lock(&lock->mutex);
    torn_note(&lock->torn, &r->id, r->validator.proof, r->other.proof, r->came_at, cm_now());
    pthread_mutex_unlock(&lock->mutex);
}

static int open_locked(struct request *r, struct lock *lock)
{
    const struct copy c = look_up(lock, &r->id);
    const uint8_t length = c.validator.proof[CM_PROOF_BYTES - 1];
    cm_file_info info = { .struct_size = sizeof(info) };
    uint64_t ttl_ns = c.ttl_ns;
    int e, how;
    /* Another request has asked since this one came. */
    bool asked = memcmp(&lock->id, &r->id, sizeof(r->id)) == 0 && lock->asked_at > r->came_at;

    r->was_torn = torn_knows(&lock->torn, &r->id);
    if (torn_passes(&lock->torn, &r->id, cm_now()))
        return WHOLE;
    r->validator = c.validator;
    if (c.known && length < CM_PROOF_BYTES) /* then the proof is the ETag itself */
        memcpy(r->etag, c.validator.proof, length);
    if (c.known && c.attached && (c.ttl_ns > 0 || asked)) {
        e = cm_file_open(cache, &r->id, NULL, 0, &r->file); /* as it is */
    } else if (c.known && (c.ttl_ns > 0 || asked)) {
        e = attach(r, &c, ttl_ns);
    } else {
        if ((how = ask(r, &c, &ttl_ns)) != CACHED)
            return how;
        lock->id = r->id;
        lock->asked_at = r->validator.taken_at;
        lock->fresh_until = lock->asked_at + ttl_ns;
        e = attach(r, &c, ttl_ns);
    }
    if (e || cm_file_get_info(r->file, &info) < 0 || info.incarnation == 0)
        return WHOLE; /* also CM_IGNORED: the validator proves nothing */
    r->incarnation = info.incarnation;
    r->size = info.size;
    return CACHED;
}

/* ---- Opening and reading --------------------------------------------------------------------- */

static bool is_version(const struct request *r, const char *etag)
{
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, etag, strlen(etag));
    return memcmp(v.proof, r->validator.proof, CM_PROOF_BYTES) == 0;
}

/* A part of the object, from `at` on. What says not for sure where it belongs may be anything, as
 * an envelope with several parts. */
static bool is_part(const struct request *r, const struct answer *a, uint64_t at)
{
    const bool sizes_agree =
        a->total == CM_SIZE_UNKNOWN || r->size == CM_SIZE_UNKNOWN || a->total == r->size;

    return a->has_part && a->from == at && a->got > 0 && a->got <= a->part && sizes_agree;
}

/* The origin has another version, or wants none of this one to be stored. */
static bool is_other(struct request *r, const struct answer *a)
{
    if (is_version(r, a->etag) && !a->no_store)
        return false;
    cm_validator_set_proof(&r->other, a->etag, strlen(a->etag));
    return true;
}

/* The origin sent the whole object, though it was asked for a part. So all of the response is read
 * from that: nothing is sent twice. */
static int64_t read_whole(struct request *r, uint64_t at, void *buf, size_t len)
{
    const struct answer *a = &r->whole;
    int64_t n;

    if (is_other(r, a))
        return ORIGIN_TORN;
    if (a->coding[0]) /* the pool has no room for fields */
        return ORIGIN_FAILED;
    /* Of an object with a size, the end is known. If the HEAD told another one than came, nobody
     * knows which is right. */
    if (r->size != CM_SIZE_UNKNOWN && a->body->len != r->size)
        return ORIGIN_FAILED;
    if (r->size == CM_SIZE_UNKNOWN && a->open_end)
        return ORIGIN_OPEN_END;
    n = origin_body_read(a->body, at, buf, len);
    return n < 0 ? ORIGIN_FAILED : n;
}

/* An answer of the origin is of one version, and its ETag says of which. Only the end of the object
 * may be a short read; a server may send less than it is asked for. A cm_origin_read_fn:
 * what it returns is stored. */
static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct request *r = ctx;
    struct answer a;

    for (size_t done = 0; !r->whole.body; done += a.got) {
        uint64_t at = off + done;
        if (done == len || (r->size == CM_SIZE_UNKNOWN && r->told > 0 && at >= r->told))
            return (int64_t)done;
        if (r->timed_out) /* the library tries again with less */
            return ORIGIN_TIMED_OUT;
        if (!origin_get(r, r->etag, at, (char *)buf + done, len - done, &a)) {
            r->timed_out = a.timed_out;
            return a.timed_out ? ORIGIN_TIMED_OUT : ORIGIN_FAILED;
        }
        if (a.body) {
            r->whole = a;
            break;
        }
        /* Without an ETag the If-Match of the request says that the version is still this one. */
        if (a.status == 416 && (a.etag[0] ? is_version(r, a.etag) : r->etag[0] != 0))
            return (int64_t)done; /* the object ends here */
        if (a.status != 206 && a.status != 412 && a.status != 416)
            return ORIGIN_CHANGED;
        if (is_other(r, &a) || a.status != 206)
            return ORIGIN_TORN;
        if (!is_part(r, &a, at) || a.coding[0])
            return ORIGIN_FAILED;
        if (a.total != CM_SIZE_UNKNOWN)
            r->told = a.total;
        if (at + a.got == (r->size == CM_SIZE_UNKNOWN ? a.total : r->size))
            return (int64_t)(done + a.got);
    }
    return read_whole(r, off, buf, len);
}

int64_t object_read(struct request *r, uint64_t at, void *buf, size_t len)
{
    uint64_t version = r->incarnation;
    int64_t n = cm_read_through_version(r->file, at, buf, len, &version, origin_read, r);

    /* Trouble of the cache, or the time to live is over in the middle of a response (CM_EMOVED).
     * The ETag decides whether the object is still the same. */
    if (n < 0 && n > -1000)
        n = origin_read(r, at, buf, len);
    if (n == ORIGIN_CHANGED || n == ORIGIN_TORN) /* not fresh any more: a later request asks */
        cm_file_set_ttl(r->file, 1);
    if (n == ORIGIN_TORN)
        note_torn(r);
    return n;
}

/* A response whose end the client cannot check must be known as such before its head is sent. So
 * must one that would break off, and one that the origin refuses to a GET, or does not answer: the
 * client gets 502 or 504 then. So this looks at the first byte. The read fills the cache, if the
 * object can be stored. */
static int how_to_respond(struct request *r)
{
    char byte;
    const int64_t n = object_read(r, 0, &byte, 1);

    if (n == ORIGIN_TIMED_OUT)
        return 504;
    return n == ORIGIN_OPEN_END || n == ORIGIN_TORN || n == ORIGIN_CHANGED || n == ORIGIN_FAILED
               ? WHOLE
               : CACHED;
}

int object_open(struct request *r)
{
    XXH128_hash_t h =
        XXH3_128bits_withSeed(r->uri, strlen(r->uri), XXH3_64bits(origin_url, strlen(origin_url)));
    struct lock *lock = &locks[h.low64 % LOCKS];
    int how;

    if (!cache)
        return WHOLE;
    r->id = (cm_file_id){ h.high64, h.low64 };
    pthread_mutex_lock(&lock->mutex);
    how = open_locked(r, lock);
    pthread_mutex_unlock(&lock->mutex);
    if (r->file)
        cm_file_advise(r->file, CM_ADVISE_SEQUENTIAL);
    return how == CACHED ? how_to_respond(r) : how;
}

bool object_is_wanted(struct request *r)
{
    return request_is_alive(r);
}

void object_close(struct request *r)
{
    struct lock *lock = &locks[r->id.lo % LOCKS];

    pthread_mutex_lock(&lock->mutex); /* open_locked() relies on what it knows to be attached */
    if (r->file)
        cm_file_close(r->file);
    pthread_mutex_unlock(&lock->mutex);
}
