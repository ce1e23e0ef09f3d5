/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32_http.c - web.h with the HTTP server of Windows (httpapi.dll, which talks to http.sys).
 *
 * Owns the names that are registered with the system, and what is under way: one receive, and up to
 * SENDS answers that clients have not taken yet. The system reads requests and writes answers in
 * its own time, so a slow client holds up nobody. It also has the limits of time and of size.
 *
 * The system listens on all addresses of the machine and looks at the name that the client called.
 * An ordinary user may register "localhost" and no other name. So that name has to be registered;
 * "127.0.0.1" is too, if the system lets us. A client elsewhere could call this machine
 * "localhost": what came to another address than a loopback one is refused.
 *
 * The body of an answer is written to a temporary file, because stdio has no stream in memory here.
 * The system keeps such a file in memory, and nobody else can open it.
 *
 * Who: serve.c, by web.h.
 */
#include <winsock2.h>
#include <ws2tcpip.h>

#include <http.h>

#include <fcntl.h>
#include <io.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tool/dash/web.h"
#include "tool/os.h"
#include "tool/os_win32.h"
#include "tool/tool.h"

#define SENDS 64u
#define REQUEST_BYTES (64u << 10) /* http.sys takes 16 KiB of a client */
#define FULL_SECONDS 0.05
#define PORT_FIRST 49152u /* those that nobody owns */
#define PORT_TRIES 200u

struct sending {
    bool used;
    OVERLAPPED state;
    HTTP_RESPONSE response;
    HTTP_DATA_CHUNK chunk;
    HTTP_UNKNOWN_HEADER other[WEB_HEADERS];
    char length[24];
    char *body;
};

struct web {
    web_fn fn;
    void *ctx;
    HANDLE queue;
    FILE *out;
    bool asking; /* a receive is under way, into `request` */
    OVERLAPPED asked;
    HTTP_REQUEST *request;
    struct sending sending[SENDS];
};

/* ---- Answers ------------------------------------------------------------------------------- */

static const char *reason(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 421:
        return "Misdirected Request";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

static void known(HTTP_RESPONSE *r, HTTP_HEADER_ID id, const char *value)
{
    r->Headers.KnownHeaders[id].pRawValue = value;
    r->Headers.KnownHeaders[id].RawValueLength = (USHORT)strlen(value);
}

static void put_header(struct sending *s, const struct web_header *h)
{
    static const struct {
        const char *name;
        HTTP_HEADER_ID id;
    } names[] = { { "Allow", HttpHeaderAllow },
                  { "Cache-Control", HttpHeaderCacheControl },
                  { "Content-Type", HttpHeaderContentType } };
    HTTP_RESPONSE *r = &s->response;
    HTTP_UNKNOWN_HEADER *u = &s->other[r->Headers.UnknownHeaderCount];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strcmp(h->name, names[i].name)) {
            known(r, names[i].id, h->value);
            return;
        }
    }
    u->pName = h->name;
    u->NameLength = (USHORT)strlen(h->name);
    u->pRawValue = h->value;
    u->RawValueLength = (USHORT)strlen(h->value);
    r->Headers.UnknownHeaderCount++;
}

/* What clients have taken is over. A place for another answer, or NULL. */
static struct sending *sweep(struct web *w)
{
    struct sending *place = NULL;

    for (size_t i = 0; i < SENDS; i++) {
        struct sending *s = &w->sending[i];

        if (s->used && HasOverlappedIoCompleted(&s->state)) {
            free(s->body);
            s->used = false;
        }
        if (!s->used)
            place = s;
    }
    return place;
}

/* Sends; there is a place. `body` is of malloc(), and is freed in the end. */
static void reply(struct web *w, HTTP_REQUEST_ID id, bool is_head, const struct web_answer *a,
                  char *body, size_t len)
{
    struct sending *s = sweep(w);
    ULONG error;

    memset(s, 0, sizeof(*s));
    s->body = body;
    s->response.StatusCode = (USHORT)a->status;
    s->response.pReason = reason(a->status);
    s->response.ReasonLength = (USHORT)strlen(s->response.pReason);
    s->response.Headers.pUnknownHeaders = s->other;
    for (size_t i = 0; i < a->n; i++)
        put_header(s, &a->header[i]);
    (void)snprintf(s->length, sizeof(s->length), "%lu", (unsigned long)len);
    known(&s->response, HttpHeaderContentLength, s->length);
    if (!is_head && len > 0) {
        s->chunk.DataChunkType = HttpDataChunkFromMemory;
        s->chunk.FromMemory.pBuffer = body;
        s->chunk.FromMemory.BufferLength = (ULONG)len;
        s->response.EntityChunkCount = 1;
        s->response.pEntityChunks = &s->chunk;
    }
    s->used = true;
    error =
        HttpSendHttpResponse(w->queue, id, 0, &s->response, NULL, NULL, NULL, 0, &s->state, NULL);
    if (error != NO_ERROR && error != ERROR_IO_PENDING) { /* the client is gone */
        free(s->body);
        s->used = false;
    }
}

static void refuse(struct web *w, HTTP_REQUEST_ID id, unsigned status, const char *text)
{
    const struct web_answer a = { status, 1, { { "Content-Type", "text/plain; charset=utf-8" } } };
    char *body = _strdup(text);

    reply(w, id, false, &a, body, body ? strlen(body) : 0);
}

/* What was written to the file; NULL: it could not be. */
static char *take_body(FILE *out, size_t *len)
{
    const long n = fflush(out) == 0 ? ftell(out) : -1;
    char *body = n >= 0 && !ferror(out) ? malloc((size_t)n + 1) : NULL;

    rewind(out);
    if (body && fread(body, 1, (size_t)n, out) != (size_t)n) {
        free(body);
        body = NULL;
    }
    *len = body ? (size_t)n : 0;
    return body;
}

/* ---- Requests ------------------------------------------------------------------------------ */

static bool is_here(const SOCKADDR *local)
{
    const struct sockaddr_in *four = (const void *)local;
    const struct sockaddr_in6 *six = (const void *)local;

    if (!local)
        return false;
    if (local->sa_family == AF_INET)
        return four->sin_addr.S_un.S_un_b.s_b1 == 127;
    return local->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.u.Byte[12] == 127));
}

/* NULL: there is no such header. */
static const char *header(const HTTP_REQUEST *q, HTTP_HEADER_ID id, char *text, size_t n)
{
    const HTTP_KNOWN_HEADER *h = &q->Headers.KnownHeaders[id];

    if (h->RawValueLength == 0)
        return NULL;
    (void)snprintf(text, n, "%.*s", (int)h->RawValueLength, h->pRawValue);
    return text;
}

static void answer(struct web *w)
{
    const HTTP_REQUEST *q = w->request;
    const bool is_head = q->Verb == HttpVerbHEAD;
    char path[1024], host[512], accept[2048];
    const int n = WideCharToMultiByte(CP_UTF8, 0, q->CookedUrl.pAbsPath,
                                      q->CookedUrl.AbsPathLength / (int)sizeof(wchar_t), path,
                                      (int)sizeof(path) - 1, NULL, NULL);
    const struct web_request r = { is_head                  ? "HEAD"
                                   : q->Verb == HttpVerbGET ? "GET"
                                                            : "another",
                                   path, header(q, HttpHeaderHost, host, sizeof(host)),
                                   header(q, HttpHeaderAccept, accept, sizeof(accept)) };
    struct web_answer a = { 0 };
    char *body;
    size_t len;

    path[n > 0 ? n : 0] = '\0'; /* a name that is too long is no path of ours */
    if (!is_here(q->Address.pLocalAddress)) {
        refuse(w, q->RequestId, 403, "this server is for programs on the same machine\n");
        return;
    }
    rewind(w->out);
    w->fn(w->ctx, &r, &a, w->out);
    body = take_body(w->out, &len);
    if (body)
        reply(w, q->RequestId, is_head, &a, body, len);
    else
        refuse(w, q->RequestId, 500, "out of memory, or no room for temporary files\n");
}

static void refuse_long(struct web *w)
{
    refuse(w, w->request->RequestId, 431, "the request is too long\n");
}

/* Begins to receive. False: the server has failed. */
static bool ask(struct web *w)
{
    const ULONG error = HttpReceiveHttpRequest(w->queue, HTTP_NULL_ID, 0, w->request, REQUEST_BYTES,
                                               NULL, &w->asked);

    w->asking = error == NO_ERROR || error == ERROR_IO_PENDING;
    if (error == ERROR_MORE_DATA)
        refuse_long(w);
    return w->asking || error == ERROR_MORE_DATA || error == ERROR_CONNECTION_INVALID;
}

bool web_run(struct web *w, double seconds)
{
    const HANDLE wait[2] = { w->asked.hEvent, os_win32_interrupt() };
    DWORD n;

    if (!sweep(w)) { /* the system keeps what comes meanwhile */
        os_sleep(FULL_SECONDS);
        return true;
    }
    if (!w->asking && !ask(w))
        return false;
    if (!w->asking || WaitForMultipleObjects(wait[1] ? 2 : 1, wait, FALSE,
                                             (DWORD)(seconds * 1000) + 1) != WAIT_OBJECT_0)
        return true;
    w->asking = false;
    if (GetOverlappedResult(w->queue, &w->asked, &n, FALSE))
        answer(w);
    else if (GetLastError() == ERROR_MORE_DATA)
        refuse_long(w);
    return true;
}

/* ---- Begin and end ------------------------------------------------------------------------- */

/* Of an address of this machine alone. */
static bool read_port(const char *address, unsigned *port)
{
    static const char *const hosts[] = { "localhost:", "127.0.0.1:", "[::1]:" };

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        const size_t n = strlen(hosts[i]);
        const char *digits = address + n;

        if (strncmp(address, hosts[i], n) != 0 || *digits == '\0' || strlen(digits) > 5 ||
            strspn(digits, "0123456789") != strlen(digits))
            continue;
        *port = (unsigned)strtoul(digits, NULL, 10);
        return *port <= 65535;
    }
    return false;
}

static ULONG add_name(struct web *w, const char *host, size_t n, unsigned port)
{
    wchar_t wide[300];
    char url[300];

    (void)snprintf(url, sizeof(url), "http://%.*s:%u/", (int)(n < 256 ? n : 256), host, port);
    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, url, -1, wide,
                             (int)(sizeof(wide) / sizeof(wide[0]))))
        return ERROR_INVALID_NAME;
    return HttpAddUrl(w->queue, wide, NULL);
}

static ULONG add_localhost(struct web *w, unsigned *port)
{
    const bool any = *port == 0;
    const unsigned first = GetCurrentProcessId() * 7;
    ULONG error = ERROR_SHARING_VIOLATION;

    for (unsigned i = 0; error == ERROR_SHARING_VIOLATION || error == ERROR_ALREADY_EXISTS; i++) {
        if (i == (any ? PORT_TRIES : 1))
            break;
        if (any)
            *port = PORT_FIRST + (first + i) % (65536 - PORT_FIRST);
        error = add_name(w, "localhost", strlen("localhost"), *port);
    }
    return error;
}

static int cannot(const char *host, size_t n, unsigned port, ULONG error)
{
    if (error == ERROR_ACCESS_DENIED)
        tool_message(NULL,
                     "may not listen on http://%.*s:%u/; once, as administrator: netsh http add "
                     "urlacl url=http://%.*s:%u/ user=%%USERNAME%%",
                     (int)n, host, port, (int)n, host, port);
    else
        tool_message(NULL, "cannot listen on http://%.*s:%u/: %s", (int)n, host, port,
                     error == ERROR_SHARING_VIOLATION || error == ERROR_ALREADY_EXISTS
                         ? "another program has this port; name another one with --listen"
                         : os_error_text((int)error));
    return TOOL_FAILED;
}

static int add_names(struct web *w, const char *hosts, unsigned *port)
{
    static const char here[] = "localhost", four[] = "127.0.0.1";
    ULONG error = add_localhost(w, port);

    if (error != NO_ERROR)
        return cannot(here, strlen(here), *port, error);
    (void)add_name(w, four, strlen(four), *port); /* an ordinary user may not */
    for (const char *name = hosts; *name;) {
        const size_t n = strcspn(name, ",");

        error = n > 0 ? add_name(w, name, n, *port) : NO_ERROR;
        if (error != NO_ERROR && error != ERROR_ALREADY_EXISTS)
            return cannot(name, n, *port, error);
        name += n + (name[n] == ',');
    }
    return TOOL_OK;
}

/* A file that vanishes with its handle, and that nobody else can open; NULL: none. */
static FILE *open_scratch(void)
{
    wchar_t folder[MAX_PATH + 1], name[MAX_PATH + 1];
    HANDLE h = INVALID_HANDLE_VALUE;
    FILE *file;
    int fd;

    if (GetTempPathW(MAX_PATH + 1, folder) && GetTempFileNameW(folder, L"cmx", 0, name))
        h = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS,
                        FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    fd = h == INVALID_HANDLE_VALUE ? -1 : _open_osfhandle((intptr_t)h, _O_RDWR | _O_BINARY);
    if (fd < 0) {
        if (h != INVALID_HANDLE_VALUE)
            (void)CloseHandle(h);
        return NULL;
    }
    file = _fdopen(fd, "w+b");
    if (!file)
        (void)_close(fd);
    return file;
}

static int begin(struct web *w, const char *hosts, unsigned *port)
{
    ULONG error = HttpInitialize((HTTPAPI_VERSION)HTTPAPI_VERSION_1, HTTP_INITIALIZE_SERVER, NULL);

    if (error != NO_ERROR) {
        tool_message(NULL,
                     "the HTTP service of Windows does not start: %s; 'sc query http' says "
                     "its state",
                     os_error_text((int)error));
        return TOOL_FAILED;
    }
    error = HttpCreateHttpHandle(&w->queue, 0);
    if (error != NO_ERROR) {
        tool_message(NULL, "the HTTP service of Windows gives no queue: %s",
                     os_error_text((int)error));
        w->queue = NULL;
        return TOOL_FAILED;
    }
    w->out = open_scratch();
    w->asked.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    w->request = malloc(REQUEST_BYTES);
    if (!w->out)
        tool_message(NULL, "cannot make a temporary file; %%TEMP%% says where");
    else if (!w->asked.hEvent || !w->request)
        tool_message(NULL, "out of memory");
    else
        return add_names(w, hosts, port);
    return TOOL_FAILED;
}

int web_begin(const char *address, const char *hosts, web_fn fn, void *ctx, struct web **web,
              char where[WEB_WHERE], bool *only_here)
{
    struct web *w;
    unsigned port;
    int rc;

    if (!read_port(address, &port)) {
        tool_message(NULL,
                     "--listen '%s': on Windows only this machine can be served; say "
                     "localhost:PORT, 127.0.0.1:PORT or [::1]:PORT",
                     address);
        return TOOL_USAGE;
    }
    *web = w = calloc(1, sizeof(*w));
    if (!w) {
        tool_message(NULL, "out of memory");
        return TOOL_FAILED;
    }
    w->fn = fn;
    w->ctx = ctx;
    rc = begin(w, hosts, &port);
    if (rc != TOOL_OK)
        web_end(w);
    (void)snprintf(where, WEB_WHERE, "localhost:%u", port);
    *only_here = true;
    return rc;
}

/* Nothing may be under way when its memory is freed. */
static void wait_for(HANDLE queue, OVERLAPPED *state)
{
    DWORD n;

    (void)CancelIoEx(queue, state);
    (void)GetOverlappedResult(queue, state, &n, TRUE);
}

void web_end(struct web *w)
{
    if (w->asking)
        wait_for(w->queue, &w->asked);
    (void)sweep(w);
    for (size_t i = 0; i < SENDS; i++) {
        if (w->sending[i].used) {
            wait_for(w->queue, &w->sending[i].state);
            free(w->sending[i].body);
        }
    }
    if (w->queue)
        (void)CloseHandle(w->queue); /* with its names */
    if (w->asked.hEvent)
        (void)CloseHandle(w->asked.hEvent);
    if (w->out)
        (void)fclose(w->out);
    free(w->request);
    free(w);
    (void)HttpTerminate(HTTP_INITIALIZE_SERVER, NULL);
}
