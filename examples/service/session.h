/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session.h - one client of the service: messages in, replies out. It knows no transport.
 */
#ifndef CACHEMAX_SESSION_H
#define CACHEMAX_SESSION_H

#include "cachemax_protocol.h"
#include "served.h"

struct session;
/* `client`: the number of its process, for its claims. `data_max`: bytes of data in a message that
 * its transport takes. NULL: no memory. */
struct session *session_begin(struct service *s, uint32_t client, uint32_t data_max);
/* The transport has made a ring; the reply to hello will say so. */
void session_has_ring(struct session *s, uint64_t bytes, uint64_t name, uint64_t bell_name);
/* Handles a message of n bytes, as it arrived. `may_wait`: for a sync; the thread of rings may not.
 * Writes the reply to `reply` and returns its length;
 * 0: there is none. `room`: its bytes, at least CMP_REPLY_MIN; the reply is only written, so
 * it may be memory that the client sees. Returns -1 if the connection has to end: *why says in a
 * few words what the client did. From any thread. */
int64_t session_handle(struct session *s, bool may_wait, const void *message, size_t n, void *reply,
                       size_t room, const char **why);
/* Has it an open bracket? */
bool session_is_writing(struct session *s);
/* The connection has ended, and no message is handled. `gone`: the client's process has ended, so
 * it writes no more, and its claims are freed. Else the files of its open brackets are watched. */
void session_end(struct session *s, bool gone);

#endif
