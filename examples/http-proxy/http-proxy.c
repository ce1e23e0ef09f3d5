/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http-proxy.c - a caching reverse proxy: what an origin server sends stays in a pool, also through
 * restarts.
 *
 *   cachemax create POOL --size 1G             # once
 *   http-proxy POOL PORT http://ORIGIN:PORT    # serves http://127.0.0.1:PORT/; 0: any free port
 *
 * It shows how to cache objects that are no files of the operating system:
 * - The id of an object is the hash of its URL. Its validator is the server's ETag.
 * - Of an ETag above 31 bytes the pool has a hash only. The proxy keeps those of some thousand
 *   objects. After a restart, a response has no such ETag until the origin was asked again.
 * - max-age, or s-maxage, less the age (Age, Date) is the time to live. While it lasts nobody asks
 *   the origin, also not after a restart: cm_file_lookup() says what the pool knows. After it a
 *   HEAD request presents the ETag again. A response that has begun before goes on to its end. If
 *   the wall clock is set back meanwhile, it lasts no longer. If the origin refuses the HEAD, the
 *   object is passed on without the cache. So it is if the HEAD fails (5xx, 408, 429, a connection
 *   that breaks) and there is no copy. A redirection (301, 302, 303, 307,
 *   308) is passed on, with its Location as it is: an absolute one leads past the proxy. With any
 * other status but 200 the GET decides.
 * - A HEAD of a client gets what the origin's HEAD says, without a GET, if the status is 200, 401,
 *   404, 410, or of a redirection.
 * - A server may send a body to a HEAD, though it must not, and late. Nobody can tell it from the
 *   answer to the next request on that connection. So a connection has HEADs of one object only.
 *   When a client goes on to another object, the proxy opens a new connection for its HEAD: with
 *   https that is a handshake each. What comes late can still be taken for a later answer for the
 *   same object.
 * - The size of an object in chunks is not known, nor is that of one whose HEAD tells 0. The read
 *   at its end tells it to the library. If the HEAD tells another size than the GET has, the object
 *   is passed on without the cache. Parts whose Content-Range has a star for the size do not tell:
 *   then the last byte is read, once for a response, to see that it is the last one.
 * - HTTP/1.0 knows no chunks: a body without a length would look whole wherever it ends. So for
 *   such a client all of an object is read before the response begins, if its size is not known.
 * - A body that ends with its connection, and nothing else, may be a broken one. It is passed on in
 *   the same way: the client knows as much as the proxy. It is not stored. An answer without a
 *   whole head is none. All other bodies are stored when they have come to their end; if one breaks
 *   off, so does the response.
 * - An origin that knows no ranges sends all of the object when it is asked for a part. It lies in
 *   a temporary file (a small one in memory) until the response ends, and is stored from there. So
 *   the origin sends it once, also for several clients at the same time.
 * - Each piece of a response names the version that it must belong to. So a response never mixes
 *   two versions: if the object changes meanwhile, the connection ends early. The next request gets
 *   the new version, through the cache.
 * - The ETag of an object may depend on which server of the origin answers. Then responses break
 *   off, and an ETag comes back that was out of date before. Such an object is passed on without
 *   the cache: for 10 seconds, and each time for twice as long, up to 5 minutes (torn.h).
 * - Clients that want the same cold object at the same time wait for one origin read, and for one
 *   HEAD. If the HEAD fails, or the read takes too long or finds no room here, that holds for all
 *   of them. If the answer is private, or no-store, each asks for its own. Those of a fresh object
 *   wait for nobody.
 * - An origin that sends less than a byte a second for 20 seconds, also before the first one, has
 *   timed out, and so has one that gives no connection for 5 (origin.c: PATIENCE, CONNECTS_IN). It
 *   is not asked again for that response. If the response has not begun, and there is no copy, the
 *   client gets 504.
 * - An object that the origin sends slowly is read in smaller pieces: as much as comes in some two
 *   seconds. So a client that gives up when nothing comes gets its bytes in time. It costs more
 *   requests, and what came of the first one is thrown away. The pieces grow again when each comes
 *   within a second, from its first byte on. What is fetched as a whole (see below, and all that is
 *   read before the response begins) comes when all of it is there.
 * - What fails at the origin, and what contradicts what it said before, is said on standard error,
 *   with the path, in a line each 5 seconds at most.
 * - If the origin does not answer, an old copy is better than none. (Not if your origin says
 *   must-revalidate, proxy-revalidate or no-cache and means it: then let ask() return 502.)
 *
 * Trouble with the cache never fails a request. Without a pool, and for what must not be cached
 * (no-store, private, no strong ETag, a Content-Encoding), the proxy fetches the whole object for
 * each request: a large one into a file without a name, before it answers. That is in the directory
 * that TMPDIR names, or in /tmp. If there is no room, the client gets 502.
 *
 * The origin is asked for as long as a client waits: one that closes its side of the connection has
 * left. If it waited for what was asked for another one, it gives up its place within a second.
 * SIGINT and SIGTERM end the proxy at once, also while the origin sends.
 *
 * It has at most 250 clients at a time, or fewer if it may not open enough files (ulimit -n). A
 * connection ends if its client sends nothing for 30 seconds while a request is awaited, or takes
 * nothing of a response for 10 minutes. A client that takes a few hundred bytes a second keeps it.
 * The time that the origin takes does not count.
 *
 * It speaks HTTP/1.1 with the origin, also by https: there libcurl always finds out whether a body
 * in chunks is whole. An origin that knows only HTTP/2 cannot be served. It asks the origin
 * directly: http_proxy, https_proxy and all_proxy in the environment do not count.
 *
 * What is no request of HTTP/1 gets 400: without a Host, with two lengths, with a NUL, a blank or a
 * # in its target. If-None-Match and If-Match are compared with the ETag of the response: 304, 412.
 *
 * To stay short, it passes on no header fields but the ETag of what it stores, the Content-Encoding
 * of what it does not store, and those that a status needs: Location, WWW-Authenticate with 401,
 * Allow with 405, Retry-After with 429 and 503. It serves no ranges, and trusts its URLs: its hash
 * is not made to withstand attackers.
 *
 * Read next: object.c, which has all that concerns the cache, but torn.c. origin.c speaks HTTP with
 * the origin. This file speaks it with the clients: libmicrohttpd gives each connection a thread.
 */
#include "http-proxy.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#define READ_SIZE_MAX (4u << 20) /* an advised origin read has a quarter of it */
#define PIECE (256u << 10)       /* of a response */
#define CONNECTIONS 250u
/* Descriptors of each connection: the client's, two to the origin, with two more of libcurl each, a
 * temporary file; and one that the name of the origin may need meanwhile. */
#define FILES 9u
#define OTHER_FILES 40u      /* of the proxy */
#define IDLE 30u             /* seconds */
#define TAKES_NOTHING 600u   /* seconds */
#define SEND_BUF (128 << 10) /* see on_connection() */
#define HEAD_MAX (64u << 10) /* more than libmicrohttpd takes of a client */

/* The client has so many seconds for the next byte that it sends or takes. 0: any number, while the
 * proxy works for it, and waits for the origin. They begin anew after a 0 only. libmicrohttpd 1.0.1
 * leaves it at TAKES_NOTHING all the time where each connection has a thread. */
static void set_patience(struct MHD_Connection *connection, unsigned seconds)
{
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

/* A connection begins or ends. It has its own ones to the origin. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **its_link,
                          enum MHD_ConnectionNotificationCode what)
{
    const int bytes = SEND_BUF;
    struct link *link = *its_link;

    (void)ctx;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *its_link = calloc(1, sizeof(*link)); /* if that fails, so do the requests */
        /* Linux tells of room in the buffer when a third of it is free. Of the megabytes that it
         * may have otherwise, a slow client does not take a third in time. */
        setsockopt(
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
            SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
        set_patience(connection, IDLE);
    } else if (link) {
        curl_easy_cleanup(link->get);
        curl_easy_cleanup(link->head);
        free(link);
    }
}

static atomic_bool ends; /* the proxy does */

/* A client that has closed its side of the connection is gone. Its last bytes may be unread. */
bool request_is_alive(const struct request *r)
{
    struct pollfd client = { .fd = r->client, .events = POLLRDHUP };

    return !atomic_load(&ends) && poll(&client, 1, 0) <= 0;
}

/* A request begins: `uri` is as the client sent it. */
static void *on_begin(void *ctx, const char *uri, struct MHD_Connection *connection)
{
    struct request *r = calloc(1, sizeof(*r));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    (void)ctx;
    if (r && info->socket_context && (r->uri = strdup(uri)) != NULL) {
        r->target = (uintptr_t)uri;
        r->connection = connection;
        r->link = info->socket_context;
        r->client =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        r->came_at = cm_now();
        return r;
    }
    free(r);
    return NULL;
}

static void on_end(void *ctx, struct MHD_Connection *connection, void **request,
                   enum MHD_RequestTerminationCode why)
{
    struct request *r = *request;

    (void)ctx, (void)why;
    set_patience(connection, IDLE);
    if (!r)
        return;
    object_close(r);
    origin_body_free(r->whole.body);
    free(r->uri);
    free(r);
    *request = NULL;
}

/* ---- What a head says ------------------------------------------------------------------------ */

/* Fields that say for whom a request is, and where it ends. */
struct framing {
    unsigned hosts, lengths; /* more than one: it is wrong */
};

static enum MHD_Result on_framing(void *ctx, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct framing *f = ctx;

    (void)kind;
    f->hosts += strcasecmp(name, "Host") == 0;
    f->lengths += strcasecmp(name, "Content-Length") == 0;
    if (strcasecmp(name, "Transfer-Encoding") == 0) /* no other one is known here */
        f->lengths += value && strcasecmp(value, "chunked") == 0 ? 1 : 2;
    return MHD_YES;
}

/* libmicrohttpd makes strings of the parts of the request line where they lie. Between the target
 * and the version is one byte, unless the client has sent a NUL before. */
static bool has_nul(const struct request *r, const char *version)
{
    const uintptr_t gap = (uintptr_t)version - r->target - strlen(r->uri);

    return gap > 1 && gap < HEAD_MAX;
}

/* Is it no request of HTTP/1? Then nobody knows where the next one begins: another server on the
 * way may read it otherwise (RFC 9112, 3.2, 6.1 and 11.2). */
static bool is_wrong(const struct request *r, const char *version)
{
    struct framing f = { 0 };

    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_framing, &f);
    return f.hosts > 1 || (f.hosts == 0 && strcmp(version, MHD_HTTP_VERSION_1_0) != 0) ||
           f.lengths > 1 || strpbrk(r->uri, "# \t\v\f\r") || has_nul(r, version);
}

/* A condition of a client: If-Match, or If-None-Match. */
struct condition {
    const struct request *r;
    const char *name;
    const char *etag; /* of the response; NULL: object.c knows it */
    bool weak;        /* so ETags are compared */
    bool is, holds;
};

static bool is_etag(const struct condition *c, const char *etag)
{
    return c->etag ? strcmp(c->etag, etag) == 0 : object_has_etag(c->r, etag);
}

/* Does a list of ETags, or a star, name that of the response? */
static bool names_etag(const struct condition *c, const char *s)
{
    char etag[ETAG_BYTES];

    while (*(s += strspn(s, ", \t"))) {
        const bool is_weak = strncmp(s, "W/\"", 3) == 0;
        const char *begin = is_weak ? s + 2 : s, *end;
        if (*s == '*')
            return true;
        if (*begin != '"' || (end = strchr(begin + 1, '"')) == NULL)
            return false;
        s = end + 1;
        if ((size_t)snprintf(etag, sizeof(etag), "%.*s", (int)(s - begin), begin) < sizeof(etag) &&
            (c->weak || !is_weak) && is_etag(c, etag))
            return true;
    }
    return false;
}

static enum MHD_Result on_condition(void *ctx, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct condition *c = ctx;

    (void)kind;
    if (strcasecmp(name, c->name) == 0) {
        c->is = true;
        c->holds |= value && names_etag(c, value);
    }
    return MHD_YES;
}

/* The status of a response that would be 200, and has this ETag (RFC 9110, 13.2.2). */
static int status_for(const struct request *r, const char *etag)
{
    const bool is_weak = etag && strncmp(etag, "W/", 2) == 0;
    struct condition match = { .r = r, .name = "If-Match", .etag = etag };
    struct condition none = { .r = r, .name = "If-None-Match", .weak = true };

    none.etag = is_weak ? etag + 2 : etag;
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_condition, &match);
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_condition, &none);
    return match.is && !match.holds ? 412 : none.is && none.holds ? 304 : 200;
}

bool request_wants_body(const struct request *r)
{
    return !(r->is_head && r->size != CM_SIZE_UNKNOWN) && status_for(r, NULL) == 200;
}

/* ---- Responses ------------------------------------------------------------------------------- */

static ssize_t on_piece(void *request, uint64_t at, char *buf, size_t max)
{
    struct request *r = request;
    int64_t n;

    set_patience(r->connection, 0);
    n = object_read(r, at, buf, max);
    set_patience(r->connection, TAKES_NOTHING);
    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static struct MHD_Response *respond_empty(void)
{
    return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
}

static struct MHD_Response *respond_cached(struct request *r, int *status)
{
    uint64_t size = r->size == CM_SIZE_UNKNOWN ? MHD_SIZE_UNKNOWN : r->size;
    struct MHD_Response *response;

    *status = status_for(r, NULL);
    response = *status == 412 ? respond_empty()
                              : MHD_create_response_from_callback(size, PIECE, on_piece, r, NULL);
    if (response && r->etag[0])
        MHD_add_response_header(response, "ETag", r->etag);
    return response;
}

static ssize_t on_body_piece(void *body, uint64_t at, char *buf, size_t max)
{
    const int64_t n = origin_body_read(body, at, buf, max);

    if (n < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

/* The body ends with its connection, and before the length that the HEAD told. */
static bool is_broken(const struct request *r, const struct answer *a)
{
    return a->open_end && r->file && a->body->len < r->size && r->size != CM_SIZE_UNKNOWN &&
           strcmp(a->etag, r->etag) == 0;
}

/* Does the answer to a HEAD say what a GET would get? With other statuses it may be that the origin
 * knows no HEAD, or does not allow it. */
static bool head_tells(long status)
{
    return status == 200 || origin_is_redirection(status) || status == 401 || status == 404 ||
           status == 410;
}

/* Is there an answer to pass on, as r->whole? For a HEAD that of a HEAD does, if nobody knows
 * better. */
static bool ask_whole(struct request *r)
{
    struct answer *a = &r->whole;

    if (a->body)
        return true;
    if (r->is_head && !r->file) {
        if (!a->reached && !origin_head(r, a)) /* object.c may have asked */
            a->status = 0;
        if (head_tells(a->status))
            return true;
    }
    return !a->timed_out && origin_whole(r, a);
}

/* Some servers tell 0 to each HEAD. */
static uint64_t length_of(const struct answer *a)
{
    if (a->body)
        return a->open_end ? MHD_SIZE_UNKNOWN : a->body->len;
    return a->total && a->total != CM_SIZE_UNKNOWN ? a->total : MHD_SIZE_UNKNOWN;
}

/* All that the origin sends. An open end stays one: no length, no chunks, the connection ends. */
static struct MHD_Response *respond_whole(struct request *r, int *status)
{
    const struct answer *a = &r->whole;
    struct MHD_Response *response;

    if (!ask_whole(r)) {
        *status = a->timed_out ? 504 : 502;
        return respond_empty();
    }
    if (a->body && is_broken(r, a)) {
        origin_log(r->uri, "its body ends before the length that its HEAD told");
        *status = 502;
        return respond_empty();
    }
    *status = a->status == 200 ? status_for(r, a->etag) : (int)a->status;
    if (*status == 412)
        return respond_empty();
    response = MHD_create_response_from_callback(length_of(a), PIECE, on_body_piece, a->body, NULL);
    if (response && a->coding[0])
        MHD_add_response_header(response, "Content-Encoding", a->coding);
    if (response && *status == 304 && a->etag[0])
        MHD_add_response_header(response, "ETag", a->etag);
    if (response && a->field[0])
        MHD_add_response_header(response, origin_field(a->status), a->field);
    if (response && a->body && a->open_end)
        MHD_set_response_options(response, MHD_RF_HTTP_VERSION_1_0_ONLY, MHD_RO_END);
    return response;
}

/* A request that is none: no other one of its connection is read. */
static struct MHD_Response *respond_wrong(void)
{
    struct MHD_Response *response = respond_empty();

    if (response)
        MHD_add_response_header(response, "Connection", "close");
    return response;
}

/* It is no answer of the origin, or one without a body. */
static struct MHD_Response *respond_status(const struct request *r, int status)
{
    const char *value = status == 405 ? "GET, HEAD" : r->whole.field;
    struct MHD_Response *response = respond_empty();

    if (response && origin_field(status) && *value)
        MHD_add_response_header(response, origin_field(status), value);
    return response;
}

static struct MHD_Response *respond(struct request *r, const char *method, int *status)
{
    *status = 405;
    if (strcmp(method, "GET") == 0 || r->is_head)
        *status = object_open(r);
    return *status == WHOLE    ? respond_whole(r, status)
           : *status == CACHED ? respond_cached(r, status)
                               : respond_status(r, *status);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **request)
{
    struct request *r = *request;
    struct MHD_Response *response;
    enum MHD_Result result;
    int status = 400;
    bool wrong;

    (void)ctx, (void)url, (void)data;
    if (!r)
        return MHD_NO; /* no memory when it came */
    wrong = !r->seen && is_wrong(r, version);
    if (!wrong && (!r->seen || *len > 0)) { /* the head, a part of a body */
        r->seen = true;
        *len = 0;
        return MHD_YES;
    }
    set_patience(connection, 0);
    r->is_head = strcmp(method, "HEAD") == 0;
    r->no_chunks = strcmp(method, "GET") == 0 && strcmp(version, MHD_HTTP_VERSION_1_1) != 0;
    response = wrong ? respond_wrong() : respond(r, method, &status);
    set_patience(connection, TAKES_NOTHING);
    result = response ? MHD_queue_response(connection, (unsigned)status, response) : MHD_NO;
    if (response)
        MHD_destroy_response(response);
    return result;
}

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level;
    fprintf(stderr, "http-proxy: %s\n", text);
}

/* 0: the system chooses it. */
static bool is_port(const char *text)
{
    const size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits <= 5 && !text[digits] && atoi(text) <= UINT16_MAX;
}

/* What is wrong with an ORIGIN; NULL: nothing. */
static const char *fault_of(const char *origin)
{
    const bool http = strncasecmp(origin, "http://", 7) == 0;
    const char *host = origin + (http ? 7 : 8), *end;
    CURLU *url;
    CURLUcode e;

    if (!http && strncasecmp(origin, "https://", 8) != 0)
        return "it begins neither with http:// nor with https://";
    end = host + strcspn(host, "/?#");
    if (end == host || *host == ':' || end[-1] == '@')
        return "it has no host";
    if (*end && strcmp(end, "/") != 0)
        return "it has a path, which no request would have: give the host and the port only";
    if ((url = curl_url()) == NULL)
        return "no memory";
    e = curl_url_set(url, CURLUPART_URL, origin, 0);
    curl_url_cleanup(url);
    return e ? curl_url_strerror(e) : NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: http-proxy POOL PORT ORIGIN (PORT: 0 to 65535, 0: any; ORIGIN: "
                    "http://HOST[:PORT] or https://HOST[:PORT])\n");
    return 2;
}

/* As many as there may be files for. A process usually has 1024, and may have more if it asks. */
static unsigned connections(void)
{
    const rlim_t wanted = CONNECTIONS * FILES + OTHER_FILES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return CONNECTIONS;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted)
        return CONNECTIONS;
    if (limit.rlim_cur < OTHER_FILES + FILES)
        return 1;
    return (unsigned)(limit.rlim_cur - OTHER_FILES) / FILES;
}

/* Refuse what RFC 9112 wants refused. Before 0.9.77 libmicrohttpd would refuse it without an
 * answer, and is_wrong() does it. Then it takes a line that ends without a CR: that is allowed. */
static struct MHD_OptionItem strict[] = {
#if MHD_VERSION >= 0x00097701
    { MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, NULL },
#endif
    { MHD_OPTION_END, 0, NULL },
};

/* Serves until SIGINT or SIGTERM. */
static int serve(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    const union MHD_DaemonInfo *info;
    struct MHD_Daemon *daemon;
    sigset_t signals;
    int number;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a temporary file above ulimit -f is an error of one request */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* in all threads: sigwait() below gets them */
    address.sin_port = htons((uint16_t)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request,
        NULL, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_begin, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_CONNECTION_LIMIT, connections(),
        MHD_OPTION_CONNECTION_TIMEOUT, TAKES_NOTHING, MHD_OPTION_ARRAY, strict, MHD_OPTION_END);
    if (!daemon) {
        fprintf(stderr, "http-proxy: cannot listen on port %s\n", port);
        return 1;
    }
    info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    printf("listening on http://127.0.0.1:%u\n", info->port);
    fflush(stdout);
    sigwait(&signals, &number);
    atomic_store(&ends, true); /* nobody waits for the origin any more */
    MHD_stop_daemon(daemon);
    return 0;
}

int main(int argc, char **argv)
{
    cm_options options = CM_OPTIONS_INIT;
    const char *fault;
    int e, status;

    if (argc != 4 || !is_port(argv[2]))
        return usage();
    if ((fault = fault_of(argv[3])) != NULL) {
        usage();
        fprintf(stderr, "http-proxy: wrong ORIGIN: %s\n", fault);
        return 2;
    }
    origin_url = argv[3];
    curl_global_init(CURL_GLOBAL_DEFAULT);
    object_begin();
    options.read_size_max = READ_SIZE_MAX;
    options.join_timeout_ns = UINT64_MAX; /* origin.c has the patience for the origin */
    options.log = log_line;
    if ((e = cm_open(argv[1], &options, &cache)) < 0) /* go on without the cache */
        fprintf(stderr, "http-proxy: %s: %s\n", argv[1], cm_strerror(e));
    status = serve(argv[2]);
    if (cache && (e = cm_close(cache)) < 0)
        fprintf(stderr, "http-proxy: %s: %s\n", argv[1], cm_strerror(e));
    return status;
}
