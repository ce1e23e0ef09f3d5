/* SPDX-License-Identifier: BSD-2-Clause
 *
 * web.h - the web server that "cachemax dash" needs from the system.
 *
 * Two files implement it, and the build chooses: dash/server.c with libmicrohttpd, and
 * os_win32_http.c with the HTTP server of Windows. What is answered is none of their business: they
 * hand each request to a function, in the thread that calls web_run().
 */
#ifndef CM_TOOL_WEB_H
#define CM_TOOL_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct web_request {
    const char *method;
    const char *path;   /* without the query */
    const char *host;   /* the header; NULL: there is none */
    const char *accept; /* the header; NULL: there is none */
};

#define WEB_HEADERS 8
struct web_answer {
    unsigned status;
    size_t n;
    struct web_header {
        const char *name, *value; /* which outlive the answer */
    } header[WEB_HEADERS];
};

/* Fills the answer, and writes its body to `out`. If it is a HEAD request the server leaves the
 * body out. */
typedef void (*web_fn)(void *ctx, const struct web_request *request, struct web_answer *answer,
                       FILE *out);

struct web;
#define WEB_WHERE 80
/* Listens on "ADDRESS:PORT"; port 0: any. `hosts`: further names by which clients may call the
 * server, with commas between them. `where` gets the address and port by which it is reached.
 * TOOL_OK, or another exit status after a message. */
int web_begin(const char *address, const char *hosts, web_fn fn, void *ctx, struct web **web,
              char where[WEB_WHERE], bool *only_here);
/* Answers requests for about `seconds`, less if a request came or os_interrupted(). False: it
 * cannot go on. */
bool web_run(struct web *web, double seconds);
void web_end(struct web *web);

#endif
