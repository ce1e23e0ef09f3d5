/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http-proxy.h - what the proxy asks of its origin server (origin.c).
 */
#ifndef HTTP_PROXY_H
#define HTTP_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETAG_BYTES 256
#define URL_BYTES 8192
#define TOTAL_UNKNOWN UINT64_MAX /* the same as CM_SIZE_UNKNOWN */

/* A connection to the origin, for one thread. It begins with zeros. */
struct origin {
    void *curl;
};

struct answer {
    /* Where the body goes. The caller sets buf and room, or grows. */
    uint8_t *buf;
    size_t room, got;
    bool grows; /* buf is allocated, for any body; the caller frees it */
    /* What the head says. */
    long status;
    char etag[ETAG_BYTES]; /* "": none */
    uint64_t from, total;  /* first byte of the body in the object; bytes of the object */
    uint64_t max_age;      /* seconds */
    bool no_store;
    uint64_t skip; /* bytes of the body before those that were asked for */
};

/* Once, before all other calls. `url` stays valid. */
void origin_begin(const char *url);
/* Each returns true if the origin gave a complete answer, with whatever status.
 * origin_get: a.room bytes from `off` on, or all if a.grows. If `etag` is not "", the status is 412
 * when the object has another one. */
bool origin_head(struct origin *o, const char *uri, struct answer *a);
bool origin_get(struct origin *o, const char *uri, uint64_t off, const char *etag,
                struct answer *a);
void origin_end(struct origin *o);

#endif
