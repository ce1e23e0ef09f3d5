/* SPDX-License-Identifier: BSD-2-Clause
 *
 * object.c - objects of the origin in the cache: which of them are fresh, whom to ask, and how they
 * are read. All calls of the library are here, but cm_open() and cm_close().
 */
#include "http-proxy.h"
#include "timed_wait.h"
#include "torn.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
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
#define ORIGIN_NO_ROOM (-1006)  /* here, for what it sends */
#define ORIGIN_UNWANTED (-1007) /* the client has left */
#define ORIGIN_SLOW (-1008)     /* it takes long to send so much: read less */
#define LENGTH "a GET of it has another length than was told before"
#define SECOND_NS UINT64_C(1000000000)
#define RETRY_NS (5 * SECOND_NS)
#define LOOK_EVERY_NS (SECOND_NS / 2)
#define TRIES 3               /* of a read whose version had no time to live left */
#define MEASURED (256u << 10) /* bytes of an object at a time */
/* In a test all objects share one. */
#ifndef LOCKS
#define LOCKS 1024
#endif
#define ETAGS 4 /* of each lock */

cm_cache *cache;

/* Of an object, one request asks the origin at a time, without the mutex. Others that want to know
 * the same wait for it. Objects share a lock if their hashes do. */
static struct lock {
    pthread_mutex_t mutex;
    pthread_cond_t answered;  /* a request asks no more */
    struct request *requests; /* of its objects, from object_open() to object_close() */
    cm_file_id id;            /* the object that the origin was asked for last, ... */
    uint64_t asked_at;        /* ... when cm_now() was this */
    uint64_t fresh_until;     /* end of its time to live, by cm_now() */
    cm_file_id other;  /* the object that was not CACHED last, after the origin was asked, ... */
    uint64_t other_at; /* ... when that turned out, by cm_now() */
    int other_how;     /* ... and what its requests got, ... */
    char *other_field; /* ... with this of the origin's answer; NULL: none */
    int64_t other_failure; /* 0: another try may do; else why it may not, ORIGIN_* */
    struct torn torn;      /* the object whose response broke off last, for another ETag */
    cm_file_id slow;       /* the object that the origin sent slowly last, ... */
    uint64_t most;         /* ... and how much of it is wanted at a time, see struct request */
    /* Long ETags of its objects, by id. The pool has hashes of them only. "": none. */
    char etags[ETAGS][ETAG_BYTES];
} locks[LOCKS];

void object_begin(void)
{
    for (unsigned i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&locks[i].mutex, NULL);
        wait_init(&locks[i].answered);
    }
}

static struct lock *lock_of(const struct request *r)
{
    return &locks[r->id.lo % LOCKS];
}

static bool same_id(const cm_file_id *a, const cm_file_id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
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
    const bool remembered = same_id(&lock->id, id);
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

/* What the answer to a HEAD means. If the result is CACHED, r->validator and *ttl_ns hold from now
 * on. */
static int judge(struct request *r, const struct copy *c, const struct answer *a, uint64_t asked_at,
                 uint64_t *ttl_ns)
{
    if (origin_is_trouble(a->status)) {
        *ttl_ns = RETRY_NS; /* an old copy is better than none; ask again in some seconds */
        if (c->known)
            return CACHED;
        if (a->timed_out)
            return 504;
        return a->reached ? WHOLE : 502; /* it may be trouble with the HEAD only */
    }
    if (a->status == 200 && a->etag[0] == '"' && !a->no_store && !a->coding[0]) {
        r->validator = (cm_validator)CM_VALIDATOR_INIT;
        cm_validator_set_proof(&r->validator, a->etag, strlen(a->etag));
        r->validator.taken_at = asked_at;
        /* Not known if it is chunked. Some servers tell 0 to each HEAD, because it has no body. */
        r->validator.size = a->total ? a->total : CM_SIZE_UNKNOWN;
        r->validator.changed_ns = CM_CHANGED_LONG_AGO;
        strcpy(r->etag, a->etag);
        *ttl_ns = a->fresh * SECOND_NS;
        return CACHED;
    }
    if (c->known) /* it is gone, or must not be cached any more */
        cm_forget(cache, &r->id);
    /* Else the GET decides: some servers know no HEAD, a signed URL is for one method, and of an
     * answer without a body nobody knows what a GET would have. */
    return origin_is_redirection(a->status) ? (int)a->status : WHOLE;
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
    struct lock *lock = lock_of(r);

    pthread_mutex_lock(&lock->mutex);
    torn_note(&lock->torn, &r->id, r->validator.proof, r->other.proof, r->came_at, cm_now());
    pthread_mutex_unlock(&lock->mutex);
}

/* The object is not to be cached now, or cannot be had. So it is for all requests that came before
 * this. */
static void note_other(struct lock *lock, const struct request *r, int how, int64_t failure)
{
    lock->other = r->id;
    lock->other_at = cm_now();
    lock->other_how = how;
    lock->other_failure = failure;
    free(lock->other_field);
    lock->other_field = r->whole.field[0] ? strdup(r->whole.field) : NULL;
}

static bool was_other(const struct lock *lock, const struct request *r, uint64_t since)
{
    return same_id(&lock->other, &r->id) && lock->other_at > since;
}

static bool is_version(const struct request *r, const char *etag)
{
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, etag, strlen(etag));
    return memcmp(v.proof, r->validator.proof, CM_PROOF_BYTES) == 0;
}

/* Where the lock has a long ETag of the object, or one of another object. */
static char *kept_etag(struct lock *lock, const struct request *r)
{
    return lock->etags[r->id.lo / LOCKS % ETAGS];
}

static struct copy look_up_for(struct request *r, struct lock *lock)
{
    const struct copy c = look_up(lock, &r->id);
    const uint8_t length = c.validator.proof[CM_PROOF_BYTES - 1];

    r->validator = c.validator;
    memset(r->etag, 0, sizeof(r->etag));
    if (c.known && length < CM_PROOF_BYTES) /* then the proof is the ETag itself */
        memcpy(r->etag, c.validator.proof, length);
    else if (c.known && is_version(r, kept_etag(lock, r)))
        strcpy(r->etag, kept_etag(lock, r));
    return c;
}

/* Asks the origin, and attaches what is to be cached. Meanwhile the lock is free. */
static int ask(struct request *r, struct lock *lock)
{
    const uint64_t asked_at = cm_now();
    uint64_t ttl_ns = 0;
    struct answer a;
    struct copy c;
    int how;

    r->asks = true;
    pthread_mutex_unlock(&lock->mutex);
    if (!origin_head(r, &a))
        a.status = 0;
    pthread_mutex_lock(&lock->mutex);
    r->asks = false;
    pthread_cond_broadcast(&lock->answered);
    if (a.unwanted) /* this says nothing to those that wait */
        return 502;
    c = look_up_for(r, lock); /* others may have closed the file */
    how = judge(r, &c, &a, asked_at, &ttl_ns);
    if (how != CACHED) {
        r->whole = a;
        note_other(lock, r, how, how == 504 ? ORIGIN_TIMED_OUT : 0);
        return how;
    }
    if (strlen(r->etag) >= CM_PROOF_BYTES)
        strcpy(kept_etag(lock, r), r->etag);
    lock->id = r->id;
    lock->asked_at = r->validator.taken_at;
    lock->fresh_until = lock->asked_at + ttl_ns;
    return attach(r, &c, ttl_ns) == 0 ? CACHED : WHOLE;
}

/* Does another request ask the origin about the object? */
static bool is_asked(const struct lock *lock, const struct request *r)
{
    const struct request *o;

    for (o = lock->requests; o && !(o->asks && same_id(&o->id, &r->id)); o = o->next)
        ;
    return o != NULL;
}

/* Opens the copy if it is fresh, or if another request has asked since this one came. If there is
 * none, asks. */
static int find_copy(struct request *r, struct lock *lock)
{
    struct timespec soon;
    struct copy c;

    for (;;) {
        if (torn_passes(&lock->torn, &r->id, cm_now()))
            return WHOLE;
        c = look_up_for(r, lock);
        if (c.known &&
            (c.ttl_ns > 0 || (same_id(&lock->id, &r->id) && lock->asked_at > r->came_at)))
            break;
        if (was_other(lock, r, r->came_at)) {
            if (lock->other_field)
                strcpy(r->whole.field, lock->other_field);
            return lock->other_how;
        }
        if (!is_asked(lock, r))
            return ask(r, lock);
        if (!request_is_alive(r))
            return 502; /* nobody gets it */
        soon = wait_until(LOOK_EVERY_NS);
        wait_on(&lock->answered, &lock->mutex, &soon);
    }
    if (c.attached) /* as it is */
        return cm_file_open(cache, &r->id, NULL, 0, &r->file) == 0 ? CACHED : WHOLE;
    return attach(r, &c, c.ttl_ns) == 0 ? CACHED : WHOLE;
}

/* With the mutex: until it is free, nobody attaches another version. So r->incarnation is that of
 * r->validator. */
static int open_locked(struct request *r, struct lock *lock)
{
    const int how = find_copy(r, lock);
    cm_file_info info = { .struct_size = sizeof(info) };

    if (how != CACHED)
        return how;
    if (cm_file_get_info(r->file, &info) < 0 || info.incarnation == 0)
        return WHOLE; /* no version: the validator proves nothing */
    r->incarnation = info.incarnation;
    r->size = info.size;
    return CACHED;
}

/* ---- Opening and reading --------------------------------------------------------------------- */

/* A part of the object, from `at` on. What says not for sure where it belongs may be anything, as
 * an envelope with several parts. */
static bool is_part(const struct answer *a, uint64_t at)
{
    return a->has_part && a->from == at && a->got > 0 && a->got <= a->part;
}

/* Is the size of the object the one that is known? It may be of a HEAD, and wrong. Where parts do
 * not tell it, one at the end must end there, though more was wanted. */
static bool is_size(struct request *r, const struct answer *a)
{
    struct answer end;
    char bytes[2];
    bool is_end;

    if (r->size == CM_SIZE_UNKNOWN)
        r->size = a->total;
    if (r->size == CM_SIZE_UNKNOWN || a->total != CM_SIZE_UNKNOWN)
        return r->sized = a->total == r->size;
    if (r->sized)
        return true;
    is_end = origin_get(r, r->etag, r->size - 1, bytes, sizeof(bytes), &end) && end.status == 206 &&
             is_version(r, end.etag) && is_part(&end, r->size - 1) && end.got == 1;
    origin_body_free(end.body);
    return r->sized = is_end;
}

/* So that a caller can return it. */
static int64_t broken(const struct request *r, int64_t how, const char *why)
{
    origin_log(r->uri, "%s", why);
    return how;
}

/* The answer is of another version, or of none. */
static int64_t torn(const struct request *r, const struct answer *a)
{
    return broken(r, ORIGIN_TORN,
                  a->no_store ? "the GET of it must not be stored"
                              : "a GET of it has another ETag");
}

/* The origin refuses a part. What is trouble, it has said itself. */
static int64_t changed(const struct request *r, const struct answer *a)
{
    if (!origin_is_trouble(a->status))
        origin_log(r->uri, "a GET of a part of it has status %ld", a->status);
    return ORIGIN_CHANGED;
}

/* Nothing of the object is there. Not if its size says that there is. */
static bool ends_here(const struct request *r, const struct answer *a, uint64_t at)
{
    return r->size == CM_SIZE_UNKNOWN && (a->total == CM_SIZE_UNKNOWN || at >= a->total);
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
        return torn(r, a);
    if (a->coding[0]) /* the pool has no room for fields */
        return ORIGIN_FAILED;
    /* Of an object with a size, the end is known. If the HEAD told another one than came, nobody
     * knows which is right. */
    if (r->size != CM_SIZE_UNKNOWN && a->body->len != r->size)
        return broken(r, ORIGIN_FAILED, LENGTH);
    if (r->size == CM_SIZE_UNKNOWN && a->open_end)
        return ORIGIN_OPEN_END;
    r->size = a->body->len;
    n = origin_body_read(a->body, at, buf, len);
    return n < 0 ? ORIGIN_FAILED : n;
}

/* There was no whole answer. What would take as long again, or fail again, is not tried again: not
 * for this response, nor for those that wait for the same object. */
static int64_t give_up(struct request *r, const struct answer *a)
{
    struct lock *lock = lock_of(r);

    if (!a->no_room && !a->timed_out)
        return ORIGIN_FAILED;
    r->failure = a->no_room ? ORIGIN_NO_ROOM : ORIGIN_TIMED_OUT;
    pthread_mutex_lock(&lock->mutex);
    note_other(lock, r, a->no_room ? 502 : 504, r->failure);
    pthread_mutex_unlock(&lock->mutex);
    return r->failure;
}

/* What other requests have learned since this read began: all of the object came, or it cannot be
 * had. What is private, or must not be stored, is for the request that asked for it. */
static void learn(struct request *r)
{
    struct lock *lock = lock_of(r);
    const struct request *o;

    pthread_mutex_lock(&lock->mutex);
    for (o = lock->requests; o && !r->whole.body; o = o->next)
        if (o->whole.body && !o->whole.no_store && same_id(&o->id, &r->id) &&
            o->incarnation == r->incarnation) {
            r->whole = o->whole;
            atomic_fetch_add(&r->whole.body->users, 1);
        }
    if (!r->failure && was_other(lock, r, r->reads_at))
        r->failure = lock->other_failure;
    pthread_mutex_unlock(&lock->mutex);
}

/* All of the object came. Others that read this version may learn it. */
static void share(struct request *r, const struct answer *a)
{
    struct lock *lock = lock_of(r);

    pthread_mutex_lock(&lock->mutex);
    r->whole = *a;
    pthread_mutex_unlock(&lock->mutex);
}

/* How much of the object to ask for at a time, for all its requests, and for those to come until
 * another one of the lock is slow. */
static void set_most(const struct request *r, uint64_t most)
{
    struct lock *lock = lock_of(r);

    pthread_mutex_lock(&lock->mutex);
    for (struct request *o = lock->requests; o; o = o->next)
        if (same_id(&o->id, &r->id))
            atomic_store(&o->most, most);
    if (most)
        lock->slow = r->id;
    if (same_id(&lock->slow, &r->id))
        lock->most = most;
    pthread_mutex_unlock(&lock->mutex);
}

/* The origin was asked for len bytes of the object and sent what the answer says. It is asked for
 * as much next time as it sends in some seconds. The time before the first byte does not count: it
 * is no shorter for fewer bytes. Of reads that end at the same time any may say how much. */
static void note_pace(const struct request *r, uint64_t len, const struct answer *a)
{
    const uint64_t most = atomic_load(&r->most);

    if (a->slow)
        set_most(r, a->got / LEAST * LEAST);
    else if (most && len >= most && a->took_ns < SECOND_NS)
        set_most(r, most < MEASURED ? 2 * most : 0);
}

/* An answer of the origin is of one version, and its ETag says of which. Only the end of the object
 * may be a short read; a server may send less than it is asked for. What it returns is stored. */
static int64_t origin_read(struct request *r, uint64_t off, void *buf, size_t len)
{
    struct answer a;

    learn(r);
    for (size_t done = 0; !r->whole.body; done += a.got) {
        const uint64_t at = off + done;
        if (done == len || at >= r->size)
            return (int64_t)done;
        if (r->failure) /* the library tries again with less */
            return r->failure;
        if (!origin_get(r, r->etag, at, (char *)buf + done, len - done, &a))
            return give_up(r, &a);
        note_pace(r, len - done, &a);
        if (a.slow)
            return ORIGIN_SLOW;
        if (a.body) {
            share(r, &a);
            break;
        }
        /* Without an ETag the If-Match of the request says that the version is still this one. */
        if (a.status == 416 && (a.etag[0] ? is_version(r, a.etag) : r->etag[0] != 0))
            return ends_here(r, &a, at) ? (int64_t)done : broken(r, ORIGIN_FAILED, LENGTH);
        if (a.status != 206 && a.status != 412 && a.status != 416)
            return changed(r, &a);
        if (is_other(r, &a) || a.status != 206)
            return torn(r, &a);
        if (!is_part(&a, at) || a.coding[0])
            return broken(r, ORIGIN_FAILED, "another part of it came than was asked for");
        if (!is_size(r, &a))
            return broken(r, ORIGIN_FAILED, LENGTH);
    }
    return read_whole(r, off, buf, len);
}

/* A response that has begun may finish its version, through the cache, also when the time to live
 * of it is over. So it has none then. New requests find it not fresh, as before, and ask. False:
 * the object has another version. */
static bool may_finish(struct request *r)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    struct lock *lock = lock_of(r);
    bool same;

    pthread_mutex_lock(&lock->mutex); /* meanwhile nobody has asked, and set another time */
    same = cm_file_get_info(r->file, &info) == 0 && info.incarnation == r->incarnation;
    if (same && time_left(lock, &r->id, info.expires_ns) == 0)
        cm_file_set_ttl(r->file, 0);
    pthread_mutex_unlock(&lock->mutex);
    return same;
}

/* The origin read of another request has ended, for which this one waits. */
struct wake {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool is;
};

static void on_wake(void *ctx, cm_request *q)
{
    struct wake *w = ctx;

    (void)q;
    pthread_mutex_lock(&w->mutex);
    w->is = true;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->mutex);
}

/* How much to read of an object that the origin sends slowly. What is not cached is read in blocks
 * of LEAST bytes. */
static size_t paced(const struct request *r, uint64_t at, size_t len)
{
    const uint64_t most = atomic_load(&r->most), block = at % LEAST;

    return most && len > most - block ? (size_t)(most - block) : len;
}

/* Reads through the cache, as cm_read_through_version(), but in steps: who waits for the read of
 * another request has to look whether its own client is still there. ORIGIN_SLOW: it is to be less,
 * see paced(). */
static int64_t read_through(struct request *r, uint64_t at, void *buf, size_t len)
{
    struct wake w = { .is = false };
    cm_request q = CM_REQUEST_INIT;
    bool alive = true, slow = false;
    cm_piece piece;
    int64_t n;
    int what;

    q.offset = at;
    q.buf = buf;
    q.len = len;
    q.incarnation = r->incarnation;
    q.wake = on_wake;
    q.wake_ctx = &w;
    if ((n = cm_request_begin(r->file, &q)) < 0)
        return n;
    pthread_mutex_init(&w.mutex, NULL);
    wait_init(&w.ended);
    while (alive && !slow && (what = cm_request_step(&q, &piece)) > 0) {
        if (what == CM_REQUEST_READ) {
            const uint64_t most = atomic_load(&r->most);
            n = most && piece.len > most ? ORIGIN_SLOW /* the next piece is without reading ahead */
                                         : origin_read(r, piece.offset, piece.buf, piece.len);
            may_finish(r); /* so that it is stored */
            cm_request_complete(&q, &piece, n);
        } else if (paced(r, at, len) < len) {
            slow = true; /* to wait for one read after the other would take as long */
        } else if ((alive = request_is_alive(r))) {
            const struct timespec soon = wait_until(LOOK_EVERY_NS);
            pthread_mutex_lock(&w.mutex);
            if (!w.is)
                wait_on(&w.ended, &w.mutex, &soon);
            w.is = false;
            pthread_mutex_unlock(&w.mutex);
        }
    }
    n = cm_request_end(&q); /* from here on nobody wakes it */
    pthread_cond_destroy(&w.ended);
    pthread_mutex_destroy(&w.mutex);
    return !alive ? ORIGIN_UNWANTED : slow ? ORIGIN_SLOW : n;
}

/* Up to len bytes of the version of the response, or ORIGIN_SLOW. */
static int64_t read_once(struct request *r, uint64_t at, void *buf, size_t len)
{
    int64_t n = CM_EMOVED;

    for (int i = 0; i < TRIES && n == CM_EMOVED && (i == 0 || may_finish(r)); i++)
        n = read_through(r, at, buf, len);
    /* Trouble of the cache, or another version is there (CM_EMOVED). The ETag decides whether the
     * origin still has this one. */
    return n < 0 && n > -1000 ? origin_read(r, at, buf, len) : n;
}

int64_t object_read(struct request *r, uint64_t at, void *buf, size_t len)
{
    int64_t n;

    r->reads_at = cm_now();
    while ((n = read_once(r, at, buf, len)) == ORIGIN_SLOW)
        len = paced(r, at, len);
    if (n == ORIGIN_CHANGED || n == ORIGIN_TORN) /* not fresh any more: a later request asks */
        cm_file_set_ttl(r->file, 1);
    if (n == ORIGIN_TORN)
        note_torn(r);
    return n;
}

/* Reads all of it, into the cache. Its size is known then. 0, or an error. */
static int64_t measure(struct request *r)
{
    char *buf = malloc(MEASURED);
    uint64_t at = 0;
    int64_t n;

    while ((n = buf ? object_read(r, at, buf, MEASURED) : ORIGIN_FAILED) > 0)
        at += (uint64_t)n;
    free(buf);
    if (n == 0)
        r->size = at;
    return n;
}

/* A response whose end the client cannot check must be known as such before its head is sent. So
 * must one that would break off, and one that the origin refuses to a GET, or does not answer: the
 * client gets 502 or 504 then. So this looks at the first byte. The read fills the cache, if the
 * object can be stored. */
static int how_to_respond(struct request *r)
{
    char byte;
    int64_t n;

    if (!request_wants_body(r))
        return CACHED;
    n = object_read(r, 0, &byte, 1);
    if (n >= 0 && r->no_chunks && r->size == CM_SIZE_UNKNOWN)
        n = measure(r);
    if (n == ORIGIN_TIMED_OUT)
        return 504;
    if (n == ORIGIN_NO_ROOM || n == ORIGIN_UNWANTED)
        return 502;
    return n == ORIGIN_OPEN_END || n == ORIGIN_TORN || n == ORIGIN_CHANGED || n == ORIGIN_FAILED
               ? WHOLE
               : CACHED;
}

/* Others do not learn from it any more, nor does it want what they want. */
static void unlist(struct lock *lock, const struct request *r)
{
    struct request **place = &lock->requests;

    while (*place && *place != r)
        place = &(*place)->next;
    if (*place)
        *place = r->next;
}

int object_open(struct request *r)
{
    XXH128_hash_t h =
        XXH3_128bits_withSeed(r->uri, strlen(r->uri), XXH3_64bits(origin_url, strlen(origin_url)));
    struct lock *lock;
    int how;

    r->id = (cm_file_id){ h.high64, h.low64 }; /* origin_head() needs it, too */
    if (!cache)
        return WHOLE;
    lock = lock_of(r);
    pthread_mutex_lock(&lock->mutex);
    r->next = lock->requests;
    lock->requests = r;
    atomic_store(&r->most, same_id(&lock->slow, &r->id) ? lock->most : 0);
    how = open_locked(r, lock);
    pthread_mutex_unlock(&lock->mutex);
    if (how == CACHED) {
        cm_file_advise(r->file, CM_ADVISE_SEQUENTIAL);
        how = how_to_respond(r);
    }
    if (how != CACHED) { /* it is for this client alone */
        pthread_mutex_lock(&lock->mutex);
        unlist(lock, r);
        pthread_mutex_unlock(&lock->mutex);
    }
    return how;
}

bool object_has_etag(const struct request *r, const char *etag)
{
    return is_version(r, etag);
}

void object_close(struct request *r)
{
    struct lock *lock = lock_of(r);

    pthread_mutex_lock(&lock->mutex); /* find_copy() relies on what it knows to be attached */
    unlist(lock, r);
    if (r->file)
        cm_file_close(r->file);
    pthread_mutex_unlock(&lock->mutex);
}

bool object_is_wanted(struct request *r)
{
    struct lock *lock = lock_of(r);
    bool listed = false, wanted = false;

    pthread_mutex_lock(&lock->mutex);
    for (const struct request *o = lock->requests; o; o = o->next) {
        listed |= o == r;
        wanted |= same_id(&o->id, &r->id) && request_is_alive(o);
    }
    pthread_mutex_unlock(&lock->mutex);
    return listed ? wanted : request_is_alive(r);
}
