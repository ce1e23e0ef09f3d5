/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.c - web.h with libmicrohttpd.
 *
 * Owns the limits. There is one thread: a connection that is slow waits in the library's poll() and
 * holds up nobody. There are CONNECTIONS of them at most, each is ended when it is idle, and a
 * request has a little memory.
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
#define IDLE 15u           /* seconds */
#define MEMORY (32u << 10) /* of a connection: headers */

struct web {
    web_fn fn;
    void *ctx;
    struct MHD_Daemon *daemon;
};

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
            MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_END);
    }
    if (w && w->daemon)
        return TOOL_OK;
    free(w);
    tool_message(NULL, "the web server cannot begin: out of memory or of descriptors");
    return TOOL_FAILED;
}

bool web_run(struct web *web, double seconds)
{
    /* Interrupted by a signal it fails, which is the caller's business. */
    return MHD_run_wait(web->daemon, (int)(seconds * 1000) + 1) == MHD_YES || os_interrupted();
}

void web_end(struct web *web)
{
    MHD_stop_daemon(web->daemon);
    free(web);
}
