/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_file.h - what the parts of the client library know of a file of theirs.
 */
#ifndef CLIENT_FILE_H
#define CLIENT_FILE_H

#include "cachemax_client.h"
#include "client_link.h"

/* client.c: the link, held, and the file's handle there. Looks for the service, and opens the file,
 * if that is due. NULL: pass. */
struct link *client_hold(cmc_file *f, uint32_t *handle);
/* client.c: the same, without looking and opening: for a thread that must not wait. */
struct link *client_hold_open(cmc_file *f, uint32_t *handle);

/* A version of a file, as one connection knows it. Another connection counts anew. */
struct client_version {
    uint32_t connection; /* number of the link; 0: there was none */
    uint64_t number;     /* the incarnation; 0: unknown */
};

/* client_read.c: as cmc_read(); and *v: the version that the bytes and the miss are of. */
int64_t client_read(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss,
                    struct client_version *v);
/* client_read.c: the file's version now. */
struct client_version client_version_now(cmc_file *f);

#endif
