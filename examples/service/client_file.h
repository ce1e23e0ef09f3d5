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
/* client.c: why client_hold() has returned NULL. 0: it would not do so now. */
int client_why_not(cmc_file *f);
/* client.c: the link of a client, held. Looks for the service if that is due. NULL: there is none.
 */
struct link *client_link(cmc_client *k);
cmc_client *client_of(const cmc_file *f); /* client.c */
int client_away(cmc_client *k); /* client.c: why there is no link, CMC_AWAY or CMC_CROWDED */

/* client.c: structs that pass between a program and a client library of another version: the rules
 * of the library (src/api/structs.c), which is not linked. */
/* Copies options of the program, of its own size; NULL: zeros. False: another size than one, or an
 * option that is not known here is set. */
bool client_take(void *to, uint32_t size, const void *from);
/* Has a result of the program a struct_size? */
bool client_can_give(const void *to);
/* Gives the part of a result that both sides know. The rest of the program's struct gets zeros. */
void client_give(void *to, const void *from, uint32_t size);
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

/* What became of a window of a warming. */
struct client_window {
    uint64_t read, stored; /* bytes */
    int result;            /* 0, the first CM_NOT_STORED_*, or an error of the service */
    bool ends;             /* the file ends in it */
};
#define CLIENT_WINDOW_MAX (UINT64_C(1) << 20)
/* client_through.c: reads what of a window is not cached, and stores it. offset, len and buf are
 * multiples of a block. 0, or what origin_read returned. */
int64_t client_warm_window(cmc_file *f, uint64_t offset, void *buf, size_t len,
                           cm_origin_read_fn origin_read, void *ctx, struct client_window *r);

#endif
