/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dash.h - shared by the parts of cachemax-dash.
 */
#ifndef CM_TOOL_DASH_H
#define CM_TOOL_DASH_H

#include "tool/dash/web.h"
#include "tool/seen_files.h"
#include "tool/seen_history.h"

#define DASH_DEFAULT "127.0.0.1:9843"
#define DASH_POOLS 16u
#define DASH_SECONDS 2.0 /* between two looks at a pool */

enum { DASH_LISTEN, DASH_HOST, DASH_OPTIONS };

int dash_run(const struct tool_args *args);

struct dash_pool {
    const char *path;
    int error; /* of the last look; 0: the history is of now */
    struct seen_history history;
    struct seen_files files;
    int files_error;
    uint64_t files_at; /* cm_now() of the last look; 0: none */
};
struct dash {
    size_t n;
    struct dash_pool *pool;
    const char *hosts;  /* names that clients may use, with commas between them; "": none */
    uint64_t viewed_at; /* cm_now() when /stats.json was asked for last; 0: never */
};

/* host.c: may a request name this host? */
bool dash_may_call(const struct dash *d, const char *host);

/* metrics.c, report.c: write to `out`. */
void dash_metrics(const struct dash *d, FILE *out, bool open_metrics);
/* Does the client prefer OpenMetrics? `accept` may be NULL. */
bool dash_wants_open_metrics(const char *accept);
void dash_report(const struct dash *d, FILE *out);

/* Made by embed.py: the page, and the Content-Security-Policy that says what it may do. */
extern const unsigned char dash_page[];
extern const size_t dash_page_len;
extern const char dash_page_policy[];

/* answer.c: of web.h; ctx is a struct dash. */
void dash_answer(void *ctx, const struct web_request *r, struct web_answer *a, FILE *out);

#endif
