/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.c - the web server: which request gets which answer.
 *
 * Owns the limits. There is one thread: a connection that is slow waits in the library's poll() and
 * holds up nobody. There are CONNECTIONS of them at most, each is ended when it is idle, and a
 * request has a little memory. Only GET and HEAD, only known paths, and only under names that
 * host.c accepts. Answers are not kept by anybody, and no other page may embed or read them.
 */
#include "tool/dash/dash.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "tool/os.h"

#define CONNECTIONS 64u
#define IDLE 15u           /* seconds */
#define MEMORY (32u << 10) /* of a connection: headers */

static const char text_type[] = "text/plain; charset=utf-8";

struct answer {
    unsigned status;
    const char *type;
    char *body; /* of malloc(); NULL: `page` */
    const void *page;
    size_t len;
};

static void say(struct answer *a, unsigned status, const char *text)
{
    a->status = status;
    a->type = text_type;
    a->page = text;
    a->len = strlen(text);
}

static void answer_health(const struct dash *d, FILE *out, struct answer *a)
{
    a->status = MHD_HTTP_OK;
    a->type = text_type;
    for (size_t i = 0; i < d->n; i++) {
        char name[TOOL_PRINTABLE_MAX(1024)], path[1025];

        if (!d->pool[i].error)
            continue;
        (void)snprintf(path, sizeof(path), "%s", d->pool[i].path);
        (void)fprintf(out, "%s: %s\n", tool_printable(name, path), cm_strerror(d->pool[i].error));
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    if (a->status == MHD_HTTP_OK)
        (void)fputs("ok\n", out);
}

/* An answer that is made anew each time; false: there is none at this path. */
static bool answer_made(struct dash *d, struct MHD_Connection *c, const char *path, FILE *out,
                        struct answer *a)
{
    const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    const bool open_metrics = dash_wants_open_metrics(accept);

    a->status = MHD_HTTP_OK;
    if (!strcmp(path, "/metrics")) {
        a->type = open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                               : "text/plain; version=0.0.4; charset=utf-8";
        dash_metrics(d, out, open_metrics);
    } else if (!strcmp(path, "/stats.json")) {
        a->type = "application/json";
        d->viewed_at = cm_now();
        dash_report(d, out);
    } else if (!strcmp(path, "/health")) {
        answer_health(d, out, a);
    } else {
        return false;
    }
    return true;
}

static void answer_path(struct dash *d, struct MHD_Connection *c, const char *path,
                        struct answer *a)
{
    FILE *out;
    bool found;

    if (!strcmp(path, "/")) {
        a->status = MHD_HTTP_OK;
        a->type = "text/html; charset=utf-8";
        a->page = dash_page;
        a->len = dash_page_len;
        return;
    }
    out = open_memstream(&a->body, &a->len);
    found = out && answer_made(d, c, path, out, a);
    if (!out || fclose(out) != 0) {
        free(a->body);
        a->body = NULL;
        say(a, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    } else if (!found) {
        free(a->body);
        a->body = NULL;
        say(a, MHD_HTTP_NOT_FOUND, "there is /, /metrics, /stats.json and /health\n");
    }
}

static enum MHD_Result send_answer(struct MHD_Connection *c, const struct answer *a)
{
    static const char *const headers[][2] = {
        { MHD_HTTP_HEADER_CACHE_CONTROL, "no-store" },
        { "X-Content-Type-Options", "nosniff" },
        { "Referrer-Policy", "no-referrer" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
        { "Content-Security-Policy", dash_page_policy },
    };
    struct MHD_Response *r =
        a->body ? MHD_create_response_from_buffer(a->len, a->body, MHD_RESPMEM_MUST_FREE)
                : MHD_create_response_from_buffer(a->len, (void *)(uintptr_t)a->page,
                                                  MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_NO;

    if (!r) {
        free(a->body);
        return MHD_NO;
    }
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        (void)MHD_add_response_header(r, headers[i][0], headers[i][1]);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
    if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(c, a->status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **seen)
{
    static char once;
    struct answer a = { 0 };

    (void)version, (void)data;
    if (!*seen) { /* the head has come; an answer now would end a body that is under way */
        *seen = &once;
        return MHD_YES;
    }
    if (*len > 0) { /* of a body, which nobody wants */
        *len = 0;
        return MHD_YES;
    }
    if (!dash_may_call(ctx, MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST)))
        say(&a, MHD_HTTP_MISDIRECTED_REQUEST,
            "call this server by its address, as localhost, or by a name given with --host\n");
    else if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        say(&a, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    else
        answer_path(ctx, c, path, &a);
    return send_answer(c, &a);
}

struct MHD_Daemon *dash_server_begin(struct dash *d, int fd)
{
    return MHD_start_daemon(MHD_USE_AUTO, 0, NULL, NULL, on_request, d, MHD_OPTION_LISTEN_SOCKET,
                            fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
                            MHD_OPTION_CONNECTION_TIMEOUT, IDLE, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)MEMORY, MHD_OPTION_END);
}

bool dash_server_run(struct MHD_Daemon *server, double seconds)
{
    /* Interrupted by a signal it fails, which is the caller's business. */
    return MHD_run_wait(server, (int)(seconds * 1000) + 1) == MHD_YES || os_interrupted();
}

void dash_server_end(struct MHD_Daemon *server)
{
    MHD_stop_daemon(server);
}
