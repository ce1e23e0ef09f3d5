/* SPDX-License-Identifier: BSD-2-Clause
 *
 * torn.h - responses that broke off because the origin has another ETag now: has the object
 * changed, or has it several ETags at once?
 *
 * Two servers behind a balancer may make ETags of inodes. Then HEAD and GET differ by chance, and
 * responses would break off for ever. Such an object is passed on without the cache for a while.
 * One that has changed is not: each request would fetch all of it. What tells them apart: only of
 * the first kind does an ETag come back that was out of date before.
 */
#ifndef HTTP_PROXY_TORN_H
#define HTTP_PROXY_TORN_H

#include <cachemax.h>
#include <stdbool.h>

#define TORN_FIRST_NS UINT64_C(10000000000) /* for so long it is passed on, ... */
#define TORN_MOST_NS UINT64_C(300000000000) /* ... twice as long each time, up to this */
#define TORN_ROW_NS UINT64_C(600000000000)  /* after so much time without a break: as the first */

/* What is known of the object whose response broke off last. 0: nothing. All times are of cm_now().
 * The caller has a lock. */
struct torn {
    cm_file_id id;
    uint8_t old[2][CM_PROOF_BYTES]; /* ETags that were out of date, the newest first */
    uint64_t at;                    /* it broke off then */
    uint64_t until;                 /* it is passed on until then */
    unsigned times;                 /* an old ETag came back, in a row */
};

/* Has a response of this object broken off? */
bool torn_knows(const struct torn *t, const cm_file_id *id);
/* Is it to be passed on? */
bool torn_passes(const struct torn *t, const cm_file_id *id, uint64_t now);
/* The response to a request that came at `came_at` breaks off. `had`: the version of the response.
 * `has`: what the origin has in its place; all 0: not known. */
void torn_note(struct torn *t, const cm_file_id *id, const uint8_t had[CM_PROOF_BYTES],
               const uint8_t has[CM_PROOF_BYTES], uint64_t came_at, uint64_t now);

#endif
