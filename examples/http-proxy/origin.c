/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.c - asks the origin server, with libcurl. It knows nothing of the cache.
 */
#include "http-proxy.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_MEMORY_MAX (256u << 10) /* of a body that is sent as a whole */
#define LOG_EVERY_NS UINT64_C(5000000000)
#define LOG_WHY 300
#define LOG_PATH 200 /* bytes of it at most */
#define LOOK_EVERY_NS UINT64_C(500000000)
/* A part is slow if it comes for so many ticks, and the rest would take twice as many or more. */
#define TICK_NS UINT64_C(500000000)
#define SLOW_TICKS 4u
#define PATIENCE 20L   /* seconds with less than a byte a second, also before the first one */
#define CONNECTS_IN 5L /* seconds */

const char *origin_url;

void origin_log(const char *uri, const char *format, ...)
{
    static _Atomic uint64_t quiet_until; /* by cm_now() */
    const uint64_t now = cm_now();
    uint64_t until = atomic_load(&quiet_until);
    char path[LOG_PATH], why[LOG_WHY];
    va_list list;
    size_t n;

    /* Of threads that come at once, one says it. */
    if (now < until || !atomic_compare_exchange_strong(&quiet_until, &until, now + LOG_EVERY_NS))
        return;
    for (n = 0; n + 1 < sizeof(path) && uri[n] && uri[n] != '?'; n++)
        path[n] = uri[n] > ' ' && uri[n] <= '~' ? uri[n] : '?';
    path[n] = 0;
    va_start(list, format);
    vsnprintf(why, sizeof(why), format, list);
    va_end(list);
    fprintf(stderr, "http-proxy: %s: %s\n", path, why);
}

/* Does the end of the head of an answer come? libcurl takes a connection that ends before it for a
 * whole answer without a body. An answer that is none yet (1xx) has an end, too. */
static size_t on_line(char *line, size_t one, size_t len, void *ctx)
{
    bool *whole = ctx;

    (void)one;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
        *whole = false;
    else if (line[0] == '\r' || line[0] == '\n')
        *whole = true;
    return len;
}

/* What the fields Cache-Control say. */
struct control {
    bool no_store, no_cache;
    uint64_t max_age, s_maxage; /* seconds; UNSAID */
};
#define UNSAID UINT64_MAX

/* Nine digits are enough. */
static uint64_t seconds(const char *text)
{
    uint64_t n = 0;
    for (; *text >= '0' && *text <= '9' && n < 100000000; text++)
        n = 10 * n + (uint64_t)(*text - '0');
    return n;
}

/* A directive has no case (RFC 9111). If it comes twice, the shorter time counts. */
static void read_directive(struct control *c, const char *name, size_t len, const char *value)
{
#define IS(directive) (len == strlen(directive) && strncasecmp(name, directive, len) == 0)
    if (IS("no-store") || IS("private"))
        c->no_store = true;
    else if (IS("no-cache"))
        c->no_cache = true;
    else if (IS("max-age") && seconds(value) < c->max_age)
        c->max_age = seconds(value);
    else if (IS("s-maxage") && seconds(value) < c->s_maxage)
        c->s_maxage = seconds(value);
#undef IS
}

/* NAME, NAME=VALUE and NAME="VALUE", with commas. */
static void read_directives(struct control *c, const char *s)
{
    while (*(s += strspn(s, ", \t"))) {
        const char *name = s, *value = "";
        const size_t len = strcspn(s, "=, \t");
        s += len;
        if (s[0] == '=' && s[1] == '"') {
            value = s + 2;
            for (s = value; *s && *s != '"'; s++)
                s += s[0] == '\\' && s[1];
            s += *s == '"';
        } else if (*s == '=') {
            value = s + 1;
            s += strcspn(s, ", \t");
        }
        read_directive(c, name, len, value);
    }
}

/* How old is the answer, in the caches on the way here? RFC 9111, 4.2.3: the clocks of the origin
 * and of this machine say it, or a cache. */
static uint64_t age_of(CURL *curl)
{
    struct curl_header *field;
    uint64_t age = 0;

    if (!curl_easy_header(curl, "Age", 0, CURLH_HEADER, -1, &field))
        age = seconds(field->value);
    if (!curl_easy_header(curl, "Date", 0, CURLH_HEADER, -1, &field)) {
        const time_t date = curl_getdate(field->value, NULL), now = time(NULL);
        if (date >= 0 && date < now && (uint64_t)(now - date) > age)
            age = (uint64_t)(now - date);
    }
    return age;
}

/* "Vary: *": what the answer depends on cannot be known, so it is for one request. */
static bool varies_always(CURL *curl)
{
    struct curl_header *field;

    for (size_t i = 0; !curl_easy_header(curl, "Vary", i, CURLH_HEADER, -1, &field); i++)
        if (strchr(field->value, '*'))
            return true;
    return false;
}

static void read_control(CURL *curl, struct answer *a)
{
    struct control c = { .max_age = UNSAID, .s_maxage = UNSAID };
    const uint64_t age = age_of(curl);
    struct curl_header *field;

    for (size_t i = 0; !curl_easy_header(curl, "Cache-Control", i, CURLH_HEADER, -1, &field); i++)
        read_directives(&c, field->value);
    c.no_cache |= varies_always(curl);
    if (c.s_maxage != UNSAID) /* it is for a cache that is shared, as this one */
        c.max_age = c.s_maxage;
    a->no_store = c.no_store;
    a->fresh = c.no_cache || c.max_age == UNSAID || c.max_age <= age ? 0 : c.max_age - age;
}

/* Is the body in chunks? Then its last one says that it is whole. */
static bool has_chunks(CURL *curl)
{
    struct curl_header *field;
    size_t len;

    if (curl_easy_header(curl, "Transfer-Encoding", 0, CURLH_HEADER, -1, &field) ||
        curl_easy_header(curl, "Transfer-Encoding", field->amount - 1, CURLH_HEADER, -1, &field))
        return false;
    len = strlen(field->value);
    return len >= 7 && strcasecmp(field->value + len - 7, "chunked") == 0;
}

/* Digits only: no sign, no blank. */
static bool read_number(const char **s, uint64_t *n)
{
    const char *begin = *s;

    for (*n = 0; **s >= '0' && **s <= '9'; ++*s) {
        if (*n > (INT64_MAX - 9) / 10)
            return false;
        *n = 10 * *n + (uint64_t)(**s - '0');
    }
    return *s > begin;
}

/* The total of a Content-Range that has a star in place of a part. */
static void read_total(CURL *curl, struct answer *a)
{
    struct curl_header *field;
    const char *s;
    uint64_t total;

    if (curl_easy_header(curl, "Content-Range", 0, CURLH_HEADER, -1, &field) ||
        strncasecmp(field->value, "bytes */", 8) != 0)
        return;
    s = field->value + 8;
    if (read_number(&s, &total) && !*s)
        a->total = total;
}

/* "bytes FROM-TO/TOTAL", of which TOTAL may be "*". A unit has no case (RFC 9110). */
static bool read_range(const char *s, struct answer *a)
{
    uint64_t from, to, total = CM_SIZE_UNKNOWN;

    if (strncasecmp(s, "bytes ", 6) != 0)
        return false;
    s += 6;
    if (!read_number(&s, &from) || *s++ != '-' || !read_number(&s, &to) || *s++ != '/')
        return false;
    if (*s == '*')
        s++;
    else if (!read_number(&s, &total))
        return false;
    if (*s || to < from || to >= total)
        return false;
    a->from = from;
    a->part = to - from + 1;
    a->total = total;
    return true;
}

/* Does a 206 say for sure which part its body is? Several parts in one body do not, and several
 * fields contradict each other. */
static void read_part(CURL *curl, struct answer *a)
{
    struct curl_header *field;

    if (!curl_easy_header(curl, "Content-Type", 0, CURLH_HEADER, -1, &field) &&
        strncasecmp(field->value, "multipart/byteranges", 20) == 0)
        return;
    if (!curl_easy_header(curl, "Content-Range", 0, CURLH_HEADER, -1, &field) && field->amount == 1)
        a->has_part = read_range(field->value, a);
}

/* What Content-Encoding says, also if it comes several times. False: it is too long. */
static bool read_coding(CURL *curl, struct answer *a)
{
    struct curl_header *field;

    for (size_t i = 0, n = 0;
         !curl_easy_header(curl, "Content-Encoding", i, CURLH_HEADER, -1, &field); i++) {
        if (strcasecmp(field->value, "identity") == 0) /* none */
            continue;
        n += (size_t)snprintf(a->coding + n, sizeof(a->coding) - n, "%s%s", n ? ", " : "",
                              field->value);
        if (n >= sizeof(a->coding))
            return false;
    }
    return true;
}

bool origin_is_redirection(long status)
{
    return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

const char *origin_field(long status)
{
    return origin_is_redirection(status)    ? "Location"
           : status == 401                  ? "WWW-Authenticate"
           : status == 405                  ? "Allow"
           : status == 429 || status == 503 ? "Retry-After"
                                            : NULL;
}

/* All but Location may come several times: then they are one list. */
static void read_field(CURL *curl, struct answer *a)
{
    const char *name = origin_field(a->status);
    struct curl_header *field;

    for (size_t i = 0, n = 0; name && !curl_easy_header(curl, name, i, CURLH_HEADER, -1, &field);
         i++) {
        n += (size_t)snprintf(a->field + n, sizeof(a->field) - n, "%s%s", i ? ", " : "",
                              field->value);
        if (n >= sizeof(a->field))
            a->field[0] = 0;
        if (n >= sizeof(a->field) || origin_is_redirection(a->status))
            return;
    }
}

static void read_head(CURL *curl, struct answer *a)
{
    struct curl_header *field;
    curl_off_t length = -1;

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    a->open_end = length < 0 && !has_chunks(curl);
    a->total = a->status == 200 && length >= 0 ? (uint64_t)length : CM_SIZE_UNKNOWN;
    if (!curl_easy_header(curl, "ETag", 0, CURLH_HEADER, -1, &field) &&
        strlen(field->value) < sizeof(a->etag))
        strcpy(a->etag, field->value);
    if (a->status == 206)
        read_part(curl, a);
    if (a->status == 416)
        read_total(curl, a);
    read_control(curl, a);
    read_field(curl, a);
}

bool origin_is_trouble(long status)
{
    return status == 0 || (status >= 500 && status != 501) || status == 408 || status == 429;
}

static void note_status(const struct request *r, long status)
{
    if (status && origin_is_trouble(status))
        origin_log(r->uri, "the origin answers with status %ld", status);
}

/* libcurl calls it at least once a second. Not 0: the transfer ends. */
static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                       curl_off_t up)
{
    struct request *r = ctx;
    const uint64_t now = cm_now();

    (void)down_all, (void)down, (void)up_all, (void)up;
    if (now < r->looked_at + LOOK_EVERY_NS)
        return 0;
    r->looked_at = now;
    return !object_is_wanted(r);
}

/* The caller has set what is special about the request. Not HTTP/2: a server that gives up in the
 * middle of a body may end its stream with RST_STREAM and NO_ERROR, as Node and Envoy do. libcurl
 * 7.88 says nothing then. A body without a length would be whole for us. With HTTP/1.1 such a body
 * has chunks. */
static CURLcode perform(struct request *r, CURL *curl, struct answer *a)
{
    bool whole_head = false;
    long sent = 0;
    CURLcode e;

    curl_easy_setopt(curl, CURLOPT_URL, origin_url);
    curl_easy_setopt(curl, CURLOPT_REQUEST_TARGET, r->uri);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* none of the environment: it would want a URL */
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECTS_IN);
#if LIBCURL_VERSION_NUM >= 0x075700 /* else it waits for the system's answer to a name */
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);      /* bytes a second ... */
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, PATIENCE); /* ... for so long: give up */
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_line);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &whole_head);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, r);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    *a = (struct answer){ 0 };
    e = object_is_wanted(r) ? curl_easy_perform(curl) : CURLE_ABORTED_BY_CALLBACK;
    if ((a->unwanted = e == CURLE_ABORTED_BY_CALLBACK))
        return e;
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent);
    a->reached = sent > 0;
    a->timed_out = e == CURLE_OPERATION_TIMEDOUT;
    read_head(curl, a);
    if (e == CURLE_OK || e == CURLE_HTTP_RETURNED_ERROR)
        note_status(r, a->status);
    if (!read_coding(curl, a) && e == CURLE_OK)
        return CURLE_BAD_CONTENT_ENCODING;
    return e == CURLE_OK && (!whole_head || a->status < 200) ? CURLE_GOT_NOTHING : e;
}

/* Where large bodies lie. */
static const char *directory(void)
{
    const char *named = getenv("TMPDIR");

    return named && *named ? named : P_tmpdir;
}

/* No complete answer came. b: where its body was to be, or NULL. So that a caller can return it. */
static bool failed(const struct request *r, CURLcode e, const struct body *b, struct answer *a)
{
    a->no_room = b && b->error;
    if (a->no_room)
        origin_log(r->uri, "no room for a temporary file in %s: %s", directory(),
                   strerror(b->error));
    else if (e != CURLE_ABORTED_BY_CALLBACK)
        origin_log(r->uri, "no answer of the origin: %s", curl_easy_strerror(e));
    return false;
}

static void drop(CURL **curl)
{
    curl_easy_cleanup(*curl);
    *curl = NULL;
}

/* A handle for a new request. It has its connection still, unless something waits there that nobody
 * has asked for. NULL: no memory. */
static CURL *ready(CURL **curl)
{
    curl_socket_t socket;
    char byte;

    if (*curl && curl_easy_getinfo(*curl, CURLINFO_ACTIVESOCKET, &socket) == CURLE_OK &&
        socket != CURL_SOCKET_BAD && recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        drop(curl);
    if (!*curl)
        *curl = curl_easy_init();
    if (*curl)
        curl_easy_reset(*curl);
    return *curl;
}

bool origin_head(struct request *r, struct answer *a)
{
    struct link *link = r->link;
    CURLcode e;
    CURL *curl;

    if (memcmp(&link->head_of, &r->id, sizeof(r->id)) != 0)
        drop(&link->head);
    link->head_of = r->id;
    curl = ready(&link->head);
    *a = (struct answer){ 0 };
    if (!curl)
        return failed(r, CURLE_OUT_OF_MEMORY, NULL, a);
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    e = perform(r, curl, a);
    return e == CURLE_OK || failed(r, e, NULL, a);
}

static struct body *new_body(void)
{
    struct body *b = calloc(1, sizeof(*b));

    if (b)
        b->users = 1;
    return b;
}

static bool no_room(struct body *b)
{
    b->error = errno;
    return false;
}

/* It has no name, so it goes with the process. */
static FILE *temporary_file(void)
{
    char path[PATH_MAX];
    FILE *file;
    int fd;

    if ((size_t)snprintf(path, sizeof(path), "%s/http-proxy.XXXXXX", directory()) >= sizeof(path) ||
        (fd = mkstemp(path)) < 0)
        return NULL;
    unlink(path);
    if ((file = fdopen(fd, "w+b")) == NULL)
        close(fd);
    return file;
}

/* Room for the next bytes in memory, or a file if there are too many. */
static bool make_room(struct body *b, size_t more)
{
    char *text;

    if (b->file)
        return true;
    if (b->len + more > IN_MEMORY_MAX) {
        b->file = temporary_file();
        return (b->file && fwrite(b->text, 1, b->len, b->file) == b->len) || no_room(b);
    }
    if ((text = realloc(b->text, b->len + more)) == NULL)
        return false;
    b->text = text;
    return true;
}

static size_t on_whole(char *data, size_t one, size_t len, void *ctx)
{
    struct body *b = ctx;

    (void)one;
    if (!make_room(b, len))
        return 0; /* an error, if len is not */
    if (!b->file)
        memcpy(b->text + b->len, data, len);
    else if (fwrite(data, 1, len, b->file) != len)
        return no_room(b); /* 0 */
    b->len += len;
    return len;
}

/* It is written, so that it can be read. */
static bool is_written(struct body *b)
{
    return !b->file || fflush(b->file) == 0 || no_room(b);
}

int64_t origin_body_read(const struct body *b, uint64_t at, void *buf, size_t len)
{
    size_t n = at < b->len ? b->len - (size_t)at : 0;

    n = n < len ? n : len;
    if (n == 0)
        return 0;
    if (b->file)
        return pread(fileno(b->file), buf, n, (off_t)at) == (ssize_t)n ? (int64_t)n : -1;
    memcpy(buf, b->text + at, n);
    return (int64_t)n;
}

void origin_body_free(struct body *b)
{
    if (!b || atomic_fetch_sub(&b->users, 1) > 1)
        return;
    if (b->file)
        fclose(b->file);
    free(b->text);
    free(b);
}

/* Where the body of origin_get() goes: a part into buf, a whole object into body. */
struct range {
    CURL *curl;
    char *buf;
    size_t room, got;
    struct body *body;
    uint64_t first_at; /* cm_now() when the first byte came; 0: none did */
    uint64_t last_at;  /* ... the last one until now */
    uint64_t tick_at;  /* ... when the last tick was counted */
    uint64_t ticks;    /* in which bytes came; one if the proxy itself was held up for long */
    bool slow;
};

static bool is_slow(struct range *r)
{
    const uint64_t now = cm_now();

    if (r->first_at == 0)
        r->first_at = r->tick_at = now;
    r->last_at = now;
    if (now >= r->tick_at + TICK_NS) {
        r->tick_at = now;
        r->ticks++;
    }
    return r->ticks >= SLOW_TICKS && r->got >= LEAST &&
           (r->room - r->got) * r->ticks >= r->got * 2 * SLOW_TICKS;
}

static size_t on_body(char *data, size_t one, size_t len, void *ctx)
{
    struct range *r = ctx;
    const size_t n = len < r->room - r->got ? len : r->room - r->got;
    long status = 0;

    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        return on_whole(data, one, len, r->body);
    memcpy(r->buf + r->got, data, n);
    r->got += n;
    r->slow = is_slow(r);
    return r->slow ? 0 : n; /* less than len: enough */
}

bool origin_get(struct request *r, const char *etag, uint64_t off, void *buf, size_t len,
                struct answer *a)
{
    CURL *curl = ready(&r->link->get);
    struct range to = { .curl = curl, .buf = buf, .room = len };
    char range[64], condition[ETAG_BYTES + 16];
    struct curl_slist *fields = NULL;
    bool complete;
    CURLcode e;

    *a = (struct answer){ 0 };
    snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, off, off + len - 1);
    snprintf(condition, sizeof(condition), "If-Match: %s", etag);
    if (!curl || (etag[0] && !(fields = curl_slist_append(NULL, condition))))
        return failed(r, CURLE_OUT_OF_MEMORY, NULL, a);
    to.body = new_body();
    curl_easy_setopt(curl, CURLOPT_RANGE, range);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L); /* no page about an error */
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &to);
    e = to.body ? perform(r, curl, a) : CURLE_OUT_OF_MEMORY;
    curl_slist_free_all(fields);
    a->got = to.got;
    a->slow = to.slow;
    a->took_ns = to.last_at - to.first_at;
    if (e == CURLE_OK && !is_written(to.body))
        e = CURLE_WRITE_ERROR;
    complete = e == CURLE_OK || e == CURLE_HTTP_RETURNED_ERROR ||
               (e == CURLE_WRITE_ERROR && (to.got == len || to.slow)) /* on_body() had enough */
               || failed(r, e, to.body, a);
    if (complete && a->status == 200)
        a->body = to.body;
    else
        origin_body_free(to.body);
    return complete;
}

bool origin_whole(struct request *r, struct answer *a)
{
    CURL *curl = ready(&r->link->get);
    struct body *b = new_body();
    CURLcode e;

    *a = (struct answer){ 0 };
    if (!curl || !b) {
        origin_body_free(b);
        return failed(r, CURLE_OUT_OF_MEMORY, NULL, a);
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_whole);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, b);
    e = perform(r, curl, a);
    if (e == CURLE_OK && !is_written(b))
        e = CURLE_WRITE_ERROR;
    if (e == CURLE_OK || failed(r, e, b, a))
        a->body = b;
    else
        origin_body_free(b);
    return a->body != NULL;
}
