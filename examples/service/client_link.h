/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_link.h - one connection of a client. It is lost once, and then another one is opened.
 */
#ifndef CACHEMAX_CLIENT_LINK_H
#define CACHEMAX_CLIENT_LINK_H

#include <stdbool.h>

#include "cachemax_client.h"
#include "cachemax_protocol.h"

struct link;
/* Says hello to the service, and holds the link once. `number`: of this link, not 0. NULL: there is
 * no service, or it speaks another version (*why: CMC_AWAY), or it has too many clients
 * (CMC_CROWDED). */
struct link *link_open(const struct cmc_options *o, uint32_t number, int *why);
void link_hold(struct link *l);
void link_drop(struct link *l);

uint32_t link_number(const struct link *l);
uint32_t link_client(const struct link *l);   /* this client's name in its claims */
uint32_t link_outside(const struct link *l);  /* name of the service's outside.h */
uint32_t link_data_max(const struct link *l); /* bytes that a message should have */
bool link_steers(const struct link *l);       /* does the service know CMP_WARM and so on? */
bool link_tells_files(const struct link *l);  /* does it know CMP_FILES? */
bool link_is_lost(const struct link *l);
bool link_was_late(const struct link *l); /* the service did not answer in time */

struct request {
    uint16_t command;
    uint32_t file;
    const void *body, *data;
    size_t body_len, data_len;
};
struct answer {
    uint32_t file;    /* of the head */
    void *body;       /* gets the body, all of it if the result is no error */
    size_t body_room; /* must be its size */
    void *data;
    size_t data_room, data_len;
};
#define LINK_LOST INT64_MIN
/* Sends a request and waits for its reply. Returns its result, or LINK_LOST. If the link is not
 * lost, other threads have had it for too long, and the request was not sent: no such end, close or
 * revalidation, which waits on. From any thread. */
int64_t link_ask(struct link *l, const struct request *q, struct answer *a);
/* Sends a request that has no reply, or drops it, as above. */
void link_tell(struct link *l, const struct request *q);
/* Waits until the service has handled what link_tell() has sent. */
void link_settle(struct link *l);

#endif
