/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_through.h - read-through: origin reads on behalf of callers.
 */
#ifndef CM_READ_THROUGH_H
#define CM_READ_THROUGH_H

#include "state/file.h"

#define CM_STAGING_BYTES                                                                           \
    (256u * 1024u)          /* largest origin read that is not into the caller's buffer */
#define CM_STAGING_SPARE 8u /* buffers kept for the next read */

struct cm_flight {
    uint64_t incarnation; /* 0: free */
    uint64_t first, end;  /* blocks being read */
    cm_miss miss;         /* the leader's */
    uint32_t landed;      /* atomic; grows when the flight lands; readers wait on it */
};

struct cm_flight_table {
    struct cm_lock lock;
    uint32_t spares;
    uint32_t top; /* flights from here on are free: keeps the search short */
    void *spare[CM_STAGING_SPARE];
    struct cm_flight flight[CM_FLIGHTS];
};

int64_t cm_flight_read(struct cm_object *f, uint64_t offset, void *buf, size_t len,
                       cm_origin_read_fn origin_read, void *ctx);
/* Frees the spare buffers; no read is running. */
void cm_flight_free(struct cm_cache *c);

#endif
