/* SPDX-License-Identifier: BSD-2-Clause
 *
 * answer.c - which request gets which answer, on every system.
 *
 * Owns the rules: only GET and HEAD, only known paths, and only under names that host.c accepts.
 * Answers are not kept by anybody, and no other page may embed or read them.
 *
 * Who: serve.c.
 */
#include "tool/dash/dash.h"

#include <string.h>

enum {
    OK = 200,
    NOT_FOUND = 404,
    METHOD_NOT_ALLOWED = 405,
    MISDIRECTED_REQUEST = 421,
    SERVICE_UNAVAILABLE = 503
};

static const char text_type[] = "text/plain; charset=utf-8";

static void add(struct web_answer *a, const char *name, const char *value)
{
    a->header[a->n++] = (struct web_header){ name, value };
}

static void begin(struct web_answer *a, unsigned status, const char *type)
{
    static const struct web_header always[] = {
        { "Cache-Control", "no-store" },
        { "X-Content-Type-Options", "nosniff" },
        { "Referrer-Policy", "no-referrer" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
        { "Content-Security-Policy", dash_page_policy },
    };

    _Static_assert(sizeof(always) / sizeof(always[0]) + 2 <= WEB_HEADERS, "a type, and Allow");
    a->status = status;
    memcpy(a->header, always, sizeof(always));
    a->n = sizeof(always) / sizeof(always[0]);
    add(a, "Content-Type", type);
}

static void say(struct web_answer *a, unsigned status, const char *text, FILE *out)
{
    begin(a, status, text_type);
    (void)fputs(text, out);
}

static void answer_health(const struct dash *d, struct web_answer *a, FILE *out)
{
    unsigned status = OK;

    for (size_t i = 0; i < d->n; i++) {
        char name[TOOL_PRINTABLE_MAX(1024)], path[1025];

        if (!d->pool[i].error)
            continue;
        (void)snprintf(path, sizeof(path), "%s", d->pool[i].path);
        (void)fprintf(out, "%s: %s\n", tool_printable(name, path), cm_strerror(d->pool[i].error));
        status = SERVICE_UNAVAILABLE;
    }
    if (status == OK)
        (void)fputs("ok\n", out);
    begin(a, status, text_type);
}

static void answer_path(struct dash *d, const struct web_request *r, struct web_answer *a,
                        FILE *out)
{
    const bool open_metrics = dash_wants_open_metrics(r->accept);

    if (!strcmp(r->path, "/")) {
        begin(a, OK, "text/html; charset=utf-8");
        (void)fwrite(dash_page, 1, dash_page_len, out);
    } else if (!strcmp(r->path, "/metrics")) {
        begin(a, OK,
              open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8");
        dash_metrics(d, out, open_metrics);
    } else if (!strcmp(r->path, "/stats.json")) {
        begin(a, OK, "application/json");
        d->viewed_at = cm_now();
        dash_report(d, out);
    } else if (!strcmp(r->path, "/health")) {
        answer_health(d, a, out);
    } else {
        say(a, NOT_FOUND, "there is /, /metrics, /stats.json and /health\n", out);
    }
}

void dash_answer(void *ctx, const struct web_request *r, struct web_answer *a, FILE *out)
{
    struct dash *d = ctx;

    if (!dash_may_call(d, r->host)) {
        say(a, MISDIRECTED_REQUEST,
            "call this server by its address, as localhost, or by a name given with --host\n", out);
    } else if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
        say(a, METHOD_NOT_ALLOWED, "only GET and HEAD\n", out);
        add(a, "Allow", "GET, HEAD");
    } else {
        answer_path(d, r, a, out);
    }
}
