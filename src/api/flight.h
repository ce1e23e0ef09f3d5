/* SPDX-License-Identifier: BSD-2-Clause
 *
 * flight.h - origin reads in flight, readers that wait for them, and buffers to read into.
 */
#ifndef CM_FLIGHT_H
#define CM_FLIGHT_H

#include "state/file.h"

#define CM_COPY_MAX (256u * 1024u) /* more than this is not copied if it can be read in place */
#define CM_STAGING_SPARE 8u        /* buffers of up to CM_COPY_MAX kept for the next read */
#define CM_STAGING_LONG 2u         /* longer ones */
#define CM_RESERVE 4u              /* blocks for when there is no memory */

/* A reader that waits for a flight, or for a buffer. One wait at a time. */
struct cm_waiter {
    struct cm_waiter *next;
    struct cm_waiter **link; /* what points to it; NULL: it is in no list */
    uint32_t woken;          /* atomic; 1: the wait is over. A thread may sleep on it */
    uint32_t waking;         /* atomic; threads that will still touch this waiter */
    cm_request *request;     /* to be woken; request->wake NULL: only `woken` tells */
};

/* An origin read that others may wait for. */
struct cm_flight {
    uint64_t incarnation; /* 0: free */
    uint64_t first, end;  /* blocks being read, which others may wait for */
    cm_miss miss;         /* the leader's */
    struct cm_waiter *waiters;
    struct cm_flight *next; /* of the same leader's read */
};

enum cm_buffer_kind { CM_BUFFER_NONE, CM_BUFFER_SHORT, CM_BUFFER_LONG, CM_BUFFER_RESERVE };

/* A buffer for an origin read. */
struct cm_buffer {
    uint8_t *p; /* aligned to a block */
    void *memory;
    size_t room;
    enum cm_buffer_kind kind;
};

struct cm_flight_table {
    struct cm_lock lock; /* everything below but `wakes` */
    uint32_t wakes;      /* atomic; grows when a thread has let go of a waiter */
    uint32_t spares, long_spares;
    uint32_t reserve_used;  /* a bit for each block */
    uint32_t top;           /* flights from here on are free: keeps the search short */
    struct cm_waiter *poor; /* wait for a block of the reserve */
    void *spare[CM_STAGING_SPARE];
    void *long_spare[CM_STAGING_LONG];
    struct cm_flight flight[CM_FLIGHTS];
    uint8_t reserve[(CM_RESERVE + 1) * CM_BLOCK_SIZE];
};

enum cm_flight_start { CM_FLIGHT_LEAD, CM_FLIGHT_JOINED, CM_FLIGHT_ALONE };

/* LEAD: *flight is a flight over the miss, which may be shortened. JOINED: another flight reads the
 * first block, and `w` waits for it. ALONE: neither is possible; *flight holds the miss, but nobody
 * can wait for it, or it is NULL: nothing may be stored, or the table is full. `w` NULL: the caller
 * does not want to wait. A flight that is not NULL must land. */
enum cm_flight_start cm_flight_start(struct cm_object *f, cm_miss *miss, struct cm_waiter *w,
                                     struct cm_flight **flight);
/* Ends flights, linked by next (may be NULL), and wakes who waits for them. What they read has been
 * offered. */
void cm_flight_land(struct cm_cache *c, struct cm_flight *fl);
/* Not all of it will be read: nobody can wait any more for blocks from `end` on. */
void cm_flight_cut(struct cm_cache *c, struct cm_flight *fl, uint64_t end);

/* Is the wait over? After it, what was read for the waiter can be found. */
static inline bool cm_waiter_is_woken(const struct cm_waiter *w)
{
    return at_load_acquire(&w->woken) != 0; /* pairs with the release in wake_list */
}
/* Gives up waiting. false: it was woken before. */
bool cm_waiter_leave(struct cm_cache *c, struct cm_waiter *w);
/* Waits until no other thread touches the waiter. It waits for nothing any more. */
void cm_waiter_settle(struct cm_cache *c, struct cm_waiter *w);

/* Gets a buffer for `len` bytes. If there is not enough memory it is shorter, but at least a block.
 * false: there is none; if w is not NULL, it waits for one. */
bool cm_buffer_get(struct cm_cache *c, size_t len, struct cm_waiter *w, struct cm_buffer *b);
/* Gives it back; nothing happens with CM_BUFFER_NONE. */
void cm_buffer_put(struct cm_cache *c, struct cm_buffer *b);
/* Frees the spare buffers; no read is running. */
void cm_buffers_free(struct cm_cache *c);

#endif
