/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.c - web.h with libmicrohttpd.
 *
 * Owns the limits. There is one thread: a connection that is slow waits in the library's poll() and
 * holds up nobody. There are CONNECTIONS of them at most: one more ends the oldest one whose
 * request has not come as a whole; if there is none, the one that takes its answer for longest.
 * Each is ended when it is idle, or does not send its request or take its answer in time, and a
 * request has a little memory. The library's own limit is higher, so that it takes the one more.
 *
 * Who: serve.c, by web.h.
 */
#include "tool/dash/web.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "tool/os.h"
#include "tool/tool.h"

#define CONNECTIONS 64u
#define MORE 16u                         /* that may come before those are gone that they end */
#define IDLE 15u                         /* seconds */
#define REQUEST_NS UINT64_C(15000000000) /* from the end of the last answer, if there was one */
#define ANSWER_NS UINT64_C(60000000000)  /* the same; of an answer that is under way */
#define MEMORY (32u << 10)               /* of a connection: headers */

struct client {
    struct client *next;
    int socket;
    uint64_t since_ns; /* when it came, or the end of its last answer */
    bool answered;     /* its request has come as a whole */
    bool ended;        /* and the library has still to see it */
};

struct web {
    web_fn fn;
    void *ctx;
    struct MHD_Daemon *daemon;
    struct client *clients; /* the newest one first */
    unsigned count;         /* that have not ended */
};

/* ---- Connections ----------------------------------------------------------------------------- */

/* The library sees it, and closes it. */
static void end_client(struct web *w, struct client *k)
{
    os_end_connection(k->socket);
    k->ended = true;
    w->count--;
}

/* NULL: none but `but` is such a one. */
static struct client *oldest(struct web *w, const struct client *but, bool answered)
{
    struct client *old = NULL;

    for (struct client *k = w->clients; k; k = k->next)
        if (!k->ended && k != but && k->answered == answered &&
            (!old || k->since_ns <= old->since_ns))
            old = k;
    return old;
}

/* Never the one that has just come: those that take no answers would keep everybody out. */
static void make_room(struct web *w, const struct client *come)
{
    struct client *k = oldest(w, come, false);

    if (!k)
        k = oldest(w, come, true);
    if (k)
        end_client(w, k);
}

static void end_late(struct web *w)
{
    const uint64_t now = cm_now();

    for (struct client *k = w->clients; k; k = k->next)
        if (!k->ended && now - k->since_ns > (k->answered ? ANSWER_NS : REQUEST_NS))
            end_client(w, k);
}

static struct client *client_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *const i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return i ? i->socket_context : NULL;
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *const i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct web *w = ctx;
    struct client *k = *context, **p;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        k = i ? calloc(1, sizeof(*k)) : NULL;
        if (!k)
            return;
        *k = (struct client){ .next = w->clients, .socket = i->connect_fd, .since_ns = cm_now() };
        *context = w->clients = k;
        if (++w->count > CONNECTIONS)
            make_room(w, k);
    } else if (k) {
        for (p = &w->clients; *p != k; p = &(*p)->next)
            ;
        *p = k->next;
        w->count -= !k->ended;
        free(k);
    }
}

/* An answer was taken, or the connection is lost. */
static void on_completed(void *ctx, struct MHD_Connection *c, void **seen,
                         enum MHD_RequestTerminationCode code)
{
    struct client *const k = client_of(c);

    (void)ctx, (void)seen, (void)code;
    if (!k)
        return;
    k->answered = false;
    k->since_ns = cm_now();
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* `body` is of malloc(); this frees it. */
static enum MHD_Result send_answer(struct MHD_Connection *c, const struct web_answer *a, char *body,
                                   size_t len)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result result;

    if (!r) {
        free(body);
        return MHD_NO;
    }
    for (size_t i = 0; i < a->n; i++)
        (void)MHD_add_response_header(r, a->header[i].name, a->header[i].value);
    result = MHD_queue_response(c, a->status, r);
    MHD_destroy_response(r);
    return result;
}

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **seen)
{
    static char once;
    const struct web *w = ctx;
    const struct web_request r = { method, path, header(c, MHD_HTTP_HEADER_HOST),
                                   header(c, MHD_HTTP_HEADER_ACCEPT) };
    struct client *const k = client_of(c);
    struct web_answer a = { 0 };
    char *body = NULL;
    size_t n = 0;
    FILE *out;

    (void)version, (void)data;
    if (!*seen) { /* the head has come; an answer now would end a body that is under way */
        *seen = &once;
        return MHD_YES;
    }
    if (*len > 0) { /* of a body, which nobody wants */
        *len = 0;
        return MHD_YES;
    }
    if (k)
        k->answered = true;
    out = open_memstream(&body, &n);
    if (out)
        w->fn(w->ctx, &r, &a, out);
    if (!out || fclose(out) != 0) {
        free(body);
        body = NULL;
        n = 0;
        a = (struct web_answer){ .status = MHD_HTTP_INTERNAL_SERVER_ERROR };
    }
    return send_answer(c, &a, body, n);
}

/* A socket that listens; -1 after a message, with *status. */
static int listen_on(const char *address, char where[WEB_WHERE], bool *only_here, int *status)
{
    int fd = -1;
    const int error = os_listen(address, &fd, where, only_here);

    *status = error == OS_BAD_ADDRESS ? TOOL_USAGE : TOOL_FAILED;
    if (error == OS_BAD_ADDRESS)
        tool_message(NULL, "--listen '%s' is no numeric address and port, such as 127.0.0.1:9843",
                     address);
    else if (error != 0)
        tool_message(NULL, "cannot listen on %s: %s", address, os_error_text(error));
    return error ? -1 : fd;
}

int web_begin(const char *address, const char *hosts, web_fn fn, void *ctx, struct web **web,
              char where[WEB_WHERE], bool *only_here)
{
    struct web *w;
    int status;
    const int fd = listen_on(address, where, only_here, &status);

    (void)hosts; /* the names are in no address of this server */
    if (fd < 0)
        return status;
    *web = w = calloc(1, sizeof(*w));
    if (w) {
        w->fn = fn;
        w->ctx = ctx;
        w->daemon = MHD_start_daemon(
            MHD_USE_AUTO, 0, NULL, NULL, on_request, w, MHD_OPTION_LISTEN_SOCKET, fd,
            MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS + MORE, MHD_OPTION_CONNECTION_TIMEOUT, IDLE,
            MHD_OPTION_NOTIFY_CONNECTION, on_connection, w, MHD_OPTION_NOTIFY_COMPLETED,
            on_completed, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
    }
    if (w && w->daemon)
        return TOOL_OK;
    free(w);
    tool_message(NULL, "the web server cannot begin: out of memory or of descriptors");
    return TOOL_FAILED;
}

bool web_run(struct web *web, double seconds)
{
    end_late(web);
    /* Interrupted by a signal it fails, which is the caller's business. */
    return MHD_run_wait(web->daemon, (int)(seconds * 1000) + 1) == MHD_YES || os_interrupted();
}

void web_end(struct web *web)
{
    MHD_stop_daemon(web->daemon);
    free(web);
}
