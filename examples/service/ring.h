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
 * - The service sleeps. Its thread serves several rings, and waits for one bell; on Linux each
 *   client has one of its own, and the thread waits for all. It sets `sleeps` in each ring, then
 *   looks at `asked` in each, and then waits for the bell, which remembers that it was rung. The
 *   client sets its bit, and then looks at `sleeps`. Both are seq_cst, so at least one of them sees
 *   the other.
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
    _Atomic uint32_t sleeps; /* 1: the service's thread has to be woken by its bell */
    _Atomic uint32_t ended;  /* 1: the connection has ended */
    uint32_t zero[13];
    struct ring_slot slot[RING_SLOTS];
};
_Static_assert(sizeof(struct ring_slot) % 64 == 0 && offsetof(struct ring, slot) == 64, "lines");

/* One side of a ring. */
struct ring_side {
    struct ring *ring;         /* NULL: there is none */
    intptr_t bell;             /* Windows: of the client's side */
    intptr_t memory;           /* Windows: the section */
    intptr_t all;              /* Linux, the service's side: where the bell is waited for */
    intptr_t wake[RING_SLOTS]; /* Windows: an event for each slot */
};

/* A waiter spins before it sleeps, if that helped the last time. */
struct ring_patience {
    bool helps;
    unsigned waits;
    uint64_t until; /* of the wait that is going on; 0: none */
};
/* Looks again? False: it is time to sleep. Begin a wait with until = 0. */
bool ring_spins(struct ring_patience *p);

/* ---- The client ------------------------------------------------------------------------------ */

/* The request is in the slot. */
void ring_ask(struct ring_side *s, unsigned slot);
/* Waits for the reply, for some `ns` at most. */
bool ring_await(struct ring_side *s, unsigned slot, struct ring_patience *p, uint64_t ns);

/* ---- The service ----------------------------------------------------------------------------- */

/* The bits of the slots that wait; they are the caller's now. */
uint32_t ring_asked(struct ring *r);
/* Before the thread waits for its bell: true, it may, as far as this ring is concerned. */
bool ring_may_sleep(struct ring *r);
/* The thread is awake again. */
void ring_is_awake(struct ring *r);
/* The reply is in the slot. */
void ring_answer(struct ring_side *s, unsigned slot);
/* Nobody will answer any more: wakes whoever waits. */
void ring_end(struct ring_side *s);

/* ---- The system: ring_linux.c, ring_win32.c -------------------------------------------------- */

/* How the client finds what the service made. */
struct ring_pass {
    int fd[2];     /* Linux: memory and bell; passed along with the message */
    uint64_t name; /* Windows: names of the memory and of the bell; else 0 */
    uint64_t bell;
};
#define RING_PASS_NONE                                                                             \
    {                                                                                              \
        { -1, -1 }, 0, 0                                                                           \
    }

/* The bell of a thread of the service. On Linux each client has one of its own, which the thread
 * waits for, too: whoever has an eventfd can read it, and so take the rings of all others. */
struct ring_bell {
    intptr_t own;  /* what the service rings */
    intptr_t all;  /* Linux: what its thread waits for */
    uint64_t name; /* Windows */
};
/* False: no memory. */
bool ring_bell_make(struct ring_bell *b);
void ring_bell_free(struct ring_bell *b);
void ring_bell_ring(intptr_t bell);
/* Sleeps until the bell has been rung since the last time. May return early. */
void ring_bell_wait(const struct ring_bell *b);

/* A new ring, all zeros. *p is for the client, and the caller's to end. False: no memory. */
bool ring_make(struct ring_side *s, const struct ring_bell *b, struct ring_pass *p);
void ring_pass_end(struct ring_pass *p);
/* The ring that came from the service. Takes *p over. False: it is none. */
bool ring_take(struct ring_side *s, struct ring_pass *p);
void ring_leave(struct ring_side *s);
/* Sleeps while the slot's state is RING_AWAITED, at most until the moment `until` of os_now_ns();
 * may return early. */
void ring_sleep(struct ring_side *s, unsigned slot, uint64_t until);
void ring_wake(struct ring_side *s, unsigned slot);

#endif
