/* SPDX-License-Identifier: BSD-2-Clause
 *
 * raw.h - a client that sends whatever a test wants: bare messages, by socket or by ring.
 */
#ifndef RAW_H
#define RAW_H

#include <stdbool.h>
#include <stdint.h>

#include "ring.h"

#define RAW_BLOCK 4096u
#define RAW_MAX (2 * RAW_BLOCK + 256u) /* bytes of a message that a test makes */

struct raw {
    int fd;
    struct ring_side side; /* of its ring, if it has one */
    uint32_t flags;        /* of the reply to its hello */
    uint64_t tag;          /* of the last request */
    size_t have;           /* bytes of `in` */
    uint8_t *in;           /* CMP_MESSAGE_MAX */
    const uint8_t *reply;  /* that raw_ask() got */
};
struct message {
    size_t n;
    uint8_t bytes[RAW_MAX];
};

/* Connects to place_socket. Ends the program if that fails. */
void raw_connect(struct raw *r);
/* From now on all messages go by socket. */
void raw_leave_ring(struct raw *r);
/* Ends the connection, and gives back its memory. */
void raw_close(struct raw *r);

/* A sound message with the next tag. `body` has the size that the command wants. */
struct message raw_message(struct raw *r, unsigned command, uint32_t file, const void *body);
void raw_add_data(struct message *m, const void *data, size_t n);

/* Sends bytes by the socket. False: the connection has ended. */
bool raw_send(struct raw *r, const void *bytes, size_t n);
/* Takes a whole reply from the socket; it is at r->in, of at most CMP_MESSAGE_MAX bytes, until the
 * next call. Returns its length; 0: the connection has ended; -1: there was no reply for
 * PLACE_PATIENCE_NS, or it is malformed. */
int64_t raw_receive(struct raw *r);
/* The service has ended the connection, without another word by socket but replies. */
bool raw_is_ended(struct raw *r);

/* Sends a message by the ring or, if there is none, by the socket. */
void raw_put(struct raw *r, const struct message *m);
/* The same, but by the socket if it is not for a ring, and waits for the reply. Returns its result,
 * or RAW_ENDED. The first n bytes behind its head go to `body`. A CMP_FILL has no reply: 0. */
int64_t raw_ask(struct raw *r, const struct message *m, void *body, size_t n);
#define RAW_ENDED INT64_MIN
/* Waits until the service has handled slot 0 of the ring; false: the connection has ended. */
bool raw_await(struct raw *r);

/* ---- Requests that are in order -------------------------------------------------------------- */

struct message raw_hello(struct raw *r, uint32_t flags);
/* raw_connect(), and a hello that must succeed. */
void raw_greet(struct raw *r, bool want_ring);
struct cmp_validator raw_validator(void);
uint32_t raw_open(struct raw *r, uint64_t id);
/* Is the block cached? If not, *miss says more. */
bool raw_has(struct raw *r, uint32_t file, uint64_t block, struct cmp_read_reply *miss);
/* Reads a block that is not cached. Returns the ticket. Waits while there is none: a bracket is
 * open, or one of another file that the library cannot tell from it. */
uint64_t raw_miss(struct raw *r, uint32_t file, uint64_t block);
struct message raw_fill(struct raw *r, uint32_t file, uint64_t ticket, size_t n);
/* CMP_WRITE_BEGIN, CMP_TRUNCATE_BEGIN at the block; CMP_SYNC_BEGIN. Returns the token. */
uint64_t raw_begin(struct raw *r, unsigned command, uint32_t file, uint64_t block);
struct message raw_end(struct raw *r, unsigned command, uint32_t file, uint64_t token);

#endif
