/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.h - memory that one client and the service share, for short messages without system calls.
 *
 * The service makes it and passes it with its reply to CMP_HELLO. A slot takes a request, and then
 * the reply to it. Which slot is free is a matter of the client's own threads; the service does not
 * know. The service believes nothing that it reads here: it copies a request before it looks at it.
 *
 * One round: the client writes the request, sets the state to ASKED and the slot's bit in `asked`.
 * The service takes the bits, handles the requests, writes the replies and sets ANSWERED. Whoever
 * waits spins for a moment and then sleeps. So there are two places where a wake-up could be lost:
 *
 * - The service sleeps. It sets `sleeps`, and then looks at `asked`. The client sets its bit, and
 *   then looks at `sleeps`. Both are seq_cst, so at least one of them sees the other.
 * - The client sleeps. It changes ASKED to AWAITED; the service swaps in ANSWERED. Both change the
 *   same word, so the second one sees what the first one did.
 */
#ifndef CACHEMAX_RING_H
#define CACHEMAX_RING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "cachemax_protocol.h"

#define RING_SLOTS 32u
#define RING_DATA 65536u /* the most bytes of data in a message */
#define RING_ROOM (RING_DATA + 192u)

enum ring_state { RING_IDLE, RING_ASKED, RING_AWAITED, RING_ANSWERED };

struct ring_slot {
    _Atomic uint32_t state;
    uint32_t zero[15];
    uint8_t message[RING_ROOM]; /* a reply of 0 bytes: the request has none */
};
struct ring {
    _Atomic uint32_t asked;  /* a bit for each slot */
    _Atomic uint32_t sleeps; /* 1: the service waits until it is 0 */
    _Atomic uint32_t ended;  /* 1: the connection has ended */
    uint32_t zero[13];
    struct ring_slot slot[RING_SLOTS];
};
_Static_assert(sizeof(struct ring_slot) % 64 == 0 && offsetof(struct ring, slot) == 64, "lines");

/* A waiter spins before it sleeps, if that helped the last time. */
struct ring_patience {
    bool helps;
    unsigned waits;
};

/* ---- The client ------------------------------------------------------------------------------ */

/* The request is in the slot. */
void ring_ask(struct ring *r, unsigned slot);
/* Waits for the reply, for some `ns` at most. */
bool ring_await(struct ring *r, unsigned slot, struct ring_patience *p, uint64_t ns);

/* ---- The service ----------------------------------------------------------------------------- */

/* Waits for requests and returns their bits; 0: the ring has ended. */
uint32_t ring_wait(struct ring *r, struct ring_patience *p);
/* The reply is in the slot. */
void ring_answer(struct ring *r, unsigned slot);
/* Nobody uses it any more: wakes whoever waits. */
void ring_end(struct ring *r);

/* ---- The system: ring_linux.c ---------------------------------------------------------------- */

uint64_t ring_now_ns(void);
/* Sleeps while *word is `value`, at most until `until`; may return early. */
void ring_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t until);
void ring_wake(_Atomic uint32_t *word);
/* A new ring, all zeros; *fd is for the other side. NULL: no memory. */
struct ring *ring_make(int *fd);
/* The ring that came from the other side. Takes fd over. NULL: it is none. */
struct ring *ring_take(int fd);
void ring_leave(struct ring *r);

#endif
