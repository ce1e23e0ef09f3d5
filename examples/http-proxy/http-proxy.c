/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http-proxy.c - a caching reverse proxy: what an origin server sends stays in a pool, also through
 * restarts.
 *
 *   cachemax create POOL --size 1G        # once
 *   http-proxy POOL PORT http://ORIGIN    # serves http://127.0.0.1:PORT/; PORT 0: any free one
 *
 * It shows how to cache objects that are no files of the operating system:
 * - The id of an object is the hash of its URL. Its validator is the server's ETag.
 * - max-age is the time to live. While it lasts nobody asks the origin, also not after a restart:
 *   cm_file_lookup() says what the pool knows. After it a HEAD request presents the ETag again.
 * - The size of a chunked object is not known. The short read at its end tells it to the library.
 * - Each piece of a response names the version that it must belong to. So a response never mixes
 *   two versions: if the object changes meanwhile, the connection ends early.
 * - Clients that want the same cold object at the same time wait for one origin read.
 * - If the origin does not answer, an old copy is better than none.
 *
 * Trouble with the cache never fails a request. Without a pool, and for what must not be cached
 * (no-store, no strong ETag), the proxy fetches the whole object for each request.
 *
 * To stay short, it passes on no header fields but the ETag, serves no ranges, and trusts its URLs:
 * its hash is not made to withstand attackers.
 *
 * Read next: origin_read() and piece() are the way of the data, prepare() decides whom to ask.
 * origin.c speaks HTTP with the origin. docs/embedding.md explains the calls of the library.
 */
#include "http-proxy.h"

#include <arpa/inet.h>
#include <cachemax.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Below -1000: the library has no such error. */
#define ORIGIN_FAILED (-1001)
#define ORIGIN_CHANGED (-1002)
#define READ_SIZE_MAX (4u << 20) /* an advised origin read has a quarter of it */
#define RETRY_NS UINT64_C(5000000000)
#define SECOND_NS UINT64_C(1000000000)

/* What to answer a request with; other values are a status of HTTP. */
enum { CACHED = 1, WHOLE = 2 };

/* An object that is being served. It is here as long as a request uses it. */
struct object {
    struct object *next;
    char *uri;
    unsigned users;
    pthread_mutex_t lock; /* for the fields below; held while the origin is asked */
    cm_file *file;        /* NULL: not attached yet */
    bool known;           /* the validator was accepted */
    cm_validator validator;
    char etag[ETAG_BYTES]; /* "": only its hash is known, in the validator */
    uint64_t asked_at;     /* cm_now() before the last HEAD */
    int how;               /* what came out of it */
};

struct request {
    char *uri;
    bool seen;
    struct origin origin;
    struct object *object;
    /* What the object was when this request came: the response is of this version. */
    uint64_t incarnation, size;
    cm_validator validator;
    char etag[ETAG_BYTES];
};

static const char *origin_url;
static cm_cache *cache;
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *objects;

static bool same_version(const cm_validator *v, const char *etag)
{
    cm_validator other = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&other, etag, strlen(etag));
    return memcmp(other.proof, v->proof, sizeof(v->proof)) == 0;
}

/* cm_origin_read_fn. A response of the origin is of one version, and its ETag says of which. */
static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct request *r = ctx;
    struct answer a = { .buf = buf, .room = len };

    if (!origin_get(&r->origin, r->uri, off, r->etag, &a))
        return ORIGIN_FAILED;
    if (a.status == 416 && (a.etag[0] ? same_version(&r->validator, a.etag) : r->etag[0] != 0))
        return 0; /* all of it was read before */
    if ((a.status != 200 && a.status != 206) || !same_version(&r->validator, a.etag))
        return ORIGIN_CHANGED;
    if (a.status == 206 && a.from != off)
        return ORIGIN_FAILED;
    if (a.got < len && a.total != TOTAL_UNKNOWN && off + a.got < a.total)
        return ORIGIN_FAILED; /* only the end of the object may be a short read */
    return (int64_t)a.got;
}

/* Gives libmicrohttpd the next piece of a response. */
static ssize_t piece(void *ctx, uint64_t pos, char *buf, size_t max)
{
    struct request *r = ctx;
    uint64_t version = r->incarnation;
    int64_t n = cm_read_through_version(r->object->file, pos, buf, max, &version, origin_read, r);

    if (n < 0 && n > -1000 && n != CM_EMOVED) /* trouble of the cache */
        n = origin_read(r, pos, buf, max);
    if (n == ORIGIN_CHANGED) /* it is not fresh any more: the next request asks */
        cm_file_set_ttl(r->object->file, 1);
    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static int64_t wall_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * (int64_t)SECOND_NS + t.tv_nsec;
}

/* Attaches the object with what the pool knows of it. A session before may have recorded that. */
static bool attach(struct object *o)
{
    char url[URL_BYTES];
    int len = snprintf(url, sizeof(url), "%s%s", origin_url, o->uri);
    XXH128_hash_t h = XXH3_128bits(url, strlen(url));
    cm_file_id id = { h.high64, h.low64 };
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_validator *v = &o->validator;
    int e;

    if (len < 0 || (size_t)len >= sizeof(url))
        return false;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    o->known = cm_file_lookup(cache, &id, v, &info) == 0 && !v->racy &&
               v->proof[CM_PROOF_BYTES - 1] != 0; /* else nothing was ever presented */
    /* The proof of an ETag of up to 31 bytes is the ETag itself, and its length comes last. */
    if (o->known && v->proof[CM_PROOF_BYTES - 1] < CM_PROOF_BYTES)
        memcpy(o->etag, v->proof, v->proof[CM_PROOF_BYTES - 1]);
    v->taken_at = cm_now(); /* an old copy is better than none; prepare() decides */
    v->changed_ns = CM_CHANGED_LONG_AGO;
    e = cm_file_open(cache, &id, o->known ? v : NULL, 0, &o->file);
    if (e < 0)
        return false;
    o->known = o->known && e == 0; /* CM_IGNORED: it is cold */
    cm_file_advise(o->file, CM_ADVISE_SEQUENTIAL);
    if (o->known && info.expires_ns > wall_clock())
        cm_file_set_ttl(o->file, (uint64_t)(info.expires_ns - wall_clock()));
    return true;
}

/* Presents a validator, and says how long it holds. */
static int adopt(struct object *o, const cm_validator *v, uint64_t ttl_ns)
{
    o->known = cm_file_revalidate(o->file, v) == 0 && cm_file_set_ttl(o->file, ttl_ns) == 0;
    return o->known ? CACHED : WHOLE;
}

/* Asks the origin about the object. Returns how to answer the request. */
static int ask(struct request *r, struct object *o)
{
    struct answer a = { 0 };
    cm_validator v = CM_VALIDATOR_INIT;

    o->asked_at = cm_now();
    if (!origin_head(&r->origin, r->uri, &a) || a.status >= 500) {
        if (a.status == 501 || !o->known)
            return a.status == 501 ? WHOLE : 502;
        o->validator.taken_at = cm_now(); /* serve what there is, and ask again in some seconds */
        return adopt(o, &o->validator, RETRY_NS);
    }
    if (a.status == 405)
        return WHOLE;
    if (a.status != 200) {
        cm_invalidate(o->file, 0, CM_ALL);
        o->known = false;
        return (int)a.status;
    }
    if (a.etag[0] != '"' || a.no_store)
        return WHOLE;
    cm_validator_set_proof(&v, a.etag, strlen(a.etag));
    v.taken_at = o->asked_at;
    v.size = a.total; /* unknown if it is chunked */
    v.changed_ns = CM_CHANGED_LONG_AGO;
    o->validator = v;
    memcpy(o->etag, a.etag, sizeof(o->etag));
    return adopt(o, &v, a.max_age * SECOND_NS);
}

static struct object *object_get(const char *uri)
{
    struct object *o;

    pthread_mutex_lock(&objects_lock);
    for (o = objects; o && strcmp(o->uri, uri) != 0; o = o->next)
        ;
    if (!o && (o = calloc(1, sizeof(*o))) != NULL) {
        o->uri = strdup(uri);
        pthread_mutex_init(&o->lock, NULL);
        o->next = objects;
        objects = o->uri ? o : o->next;
        if (!o->uri) {
            free(o);
            o = NULL;
        }
    }
    if (o)
        o->users++;
    pthread_mutex_unlock(&objects_lock);
    return o;
}

static void object_put(struct object *o)
{
    struct object **at = &objects;

    pthread_mutex_lock(&objects_lock);
    if (--o->users == 0) {
        while (*at != o)
            at = &(*at)->next;
        *at = o->next;
        if (o->file)
            cm_file_close(o->file);
        pthread_mutex_destroy(&o->lock);
        free(o->uri);
        free(o);
    }
    pthread_mutex_unlock(&objects_lock);
}

/* Finds out how to answer the request, and asks the origin if the object is not fresh. */
static int prepare(struct request *r, uint64_t came_at)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    struct object *o = cache ? object_get(r->uri) : NULL;
    int how = CACHED;

    if (!o)
        return WHOLE;
    r->object = o;
    pthread_mutex_lock(&o->lock);
    if ((!o->file && !attach(o)) || cm_file_get_info(o->file, &info) < 0) {
        how = WHOLE;
    } else if (!o->known || info.expires_ns <= wall_clock()) {
        if (o->asked_at <= came_at) /* else another request has asked since this one came */
            o->how = ask(r, o);
        how = o->how;
    }
    info.struct_size = sizeof(info);
    if (how == CACHED && (cm_file_get_info(o->file, &info) < 0 || info.incarnation == 0))
        how = WHOLE;
    r->incarnation = info.incarnation;
    r->size = info.size;
    r->validator = o->validator;
    memcpy(r->etag, o->etag, sizeof(r->etag));
    pthread_mutex_unlock(&o->lock);
    return how;
}

static struct MHD_Response *respond(struct request *r, int how, unsigned *status)
{
    struct answer a = { .grows = true };
    struct MHD_Response *response;

    *status = 200;
    if (how == CACHED) {
        uint64_t size = r->size == CM_SIZE_UNKNOWN ? MHD_SIZE_UNKNOWN : r->size;
        response = MHD_create_response_from_callback(size, 256 << 10, piece, r, NULL);
        if (response && r->etag[0])
            MHD_add_response_header(response, "ETag", r->etag);
        return response;
    }
    *status = (unsigned)how;
    if (how == WHOLE && origin_get(&r->origin, r->uri, 0, "", &a)) {
        *status = (unsigned)a.status;
    } else if (how == WHOLE) {
        *status = 502;
        a.got = 0; /* what came of it is not all */
    }
    return MHD_create_response_from_buffer(a.got, a.buf, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *len, void **request)
{
    uint64_t came_at = cm_now();
    struct request *r = *request;
    struct MHD_Response *response;
    enum MHD_Result result;
    unsigned status;
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;

    (void)ctx, (void)url, (void)version, (void)data;
    if (!r)
        return MHD_NO; /* no memory when it came */
    if (!r->seen || *len) {
        r->seen = true;
        *len = 0;
        return MHD_YES;
    }
    response = respond(r, reads ? prepare(r, came_at) : 405, &status);
    result = response ? MHD_queue_response(connection, status, response) : MHD_NO;
    if (response)
        MHD_destroy_response(response);
    return result;
}

/* A request begins: `uri` is as the client sent it. */
static void *begin(void *ctx, const char *uri, struct MHD_Connection *connection)
{
    struct request *r = calloc(1, sizeof(*r));

    (void)ctx, (void)connection;
    if (r && (r->uri = strdup(uri)) != NULL)
        return r;
    free(r);
    return NULL;
}

static void completed(void *ctx, struct MHD_Connection *connection, void **request,
                      enum MHD_RequestTerminationCode why)
{
    struct request *r = *request;

    (void)ctx, (void)connection, (void)why;
    if (!r)
        return;
    if (r->object)
        object_put(r->object);
    origin_end(&r->origin);
    free(r->uri);
    free(r);
    *request = NULL;
}

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level;
    fprintf(stderr, "http-proxy: %s\n", text);
}

int main(int argc, char **argv)
{
    cm_options options = CM_OPTIONS_INIT;
    struct sockaddr_in address = { .sin_family = AF_INET };
    const union MHD_DaemonInfo *info;
    struct MHD_Daemon *daemon;
    sigset_t ends;
    int e, number;

    if (argc != 4) {
        fprintf(stderr, "usage: http-proxy POOL PORT http://ORIGIN\n");
        return 2;
    }
    origin_begin(origin_url = argv[3]);
    options.read_size_max = READ_SIZE_MAX;
    options.log = log_line;
    if ((e = cm_open(argv[1], &options, &cache)) < 0) /* go on without the cache */
        fprintf(stderr, "http-proxy: %s: %s\n", argv[1], cm_strerror(e));
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* in all threads: sigwait() below gets them */
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0,
                              NULL, NULL, handle, NULL, MHD_OPTION_SOCK_ADDR,
                              (struct sockaddr *)&address, MHD_OPTION_URI_LOG_CALLBACK, begin, NULL,
                              MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_END);
    info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (info) {
        printf("listening on http://127.0.0.1:%u\n", info->port);
        fflush(stdout);
        sigwait(&ends, &number);
    } else {
        fprintf(stderr, "http-proxy: cannot listen on port %s\n", argv[2]);
    }
    if (daemon)
        MHD_stop_daemon(daemon);
    if (cache && (e = cm_close(cache)) < 0)
        fprintf(stderr, "http-proxy: %s: %s\n", argv[1], cm_strerror(e));
    return info ? 0 : 1;
}
