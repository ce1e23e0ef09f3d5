/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.h - what control.c (the socket) and control_ops.c (what is asked for) share.
 * docs/control.md describes the protocol.
 */
#ifndef CACHEMAX_MOUNT_CONTROL_H
#define CACHEMAX_MOUNT_CONTROL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "cachemax.h"
#include "control_head.h"

#define CONTROL_VERSION 1u

struct control_client;

struct control_request {
    char verb[CONTROL_VERB_MAX];
    uint64_t number;
    char path[PATH_MAX]; /* below the root of the mount; "": the root */
};

/* A line "is NAME VALUE". False: the client is gone. */
bool control_is(struct control_client *c, const char *name, uint64_t value);
/* The same for text of any bytes. */
bool control_is_text(struct control_client *c, const char *name, const char *text);
/* A line "at DONE TOTAL", some ten times a second; never waits. False: end the work. */
bool control_at(struct control_client *c, uint64_t done, uint64_t total);
/* The client has gone, or the mount ends. */
bool control_cancelled(struct control_client *c);
/* The next file of a listing with CM_FILES_STEPS. CM_ECANCELED: end the work. */
int control_next_file(struct control_client *c, cm_file_iter *it, cm_file_info *info);

/* Waits so long, or until the client wants no more of this answer: it has closed its side or the
 * half of it that asks, or the mount ends. False: so it is. What is said then may still arrive. */
bool control_wanted(struct control_client *c, int ms);

/* resize.c: gives the pool the size that is the request's number. */
int resize_serve(struct control_client *c, const struct control_request *r);

/* record.c: sends what programs read and write, until the client wants no more. */
int record_serve(struct control_client *c, const struct control_request *r);

struct inode;
/* What was found of a file that is not cached as a whole. */
struct found {
    uint64_t size;    /* of the file */
    bool attached;    /* it is, and in use */
    bool nothing;     /* of it is cached */
    const char *word; /* why it is not attached, or NULL */
};
/* why.c: why it is not, in one word, if that is known: a line "is why WORD". */
void why_tell(struct control_client *c, struct inode *i, const struct found *found);
/* Would a file that the pool knows begin cold, if it was attached with this validator? Then a word
 * for why_tell(), and *kept: is it pinned? */
const char *why_cold(const cm_file_id *id, const cm_validator *v, int *kept);

/* control_ops.c: does what is asked for. Returns what the last line says: 0, a CM_* code, or
 * CONTROL_ERRNO - errno. */
#define CONTROL_ERRNO (-100000)                        /* as -ORIGIN_ERROR */
#define CONTROL_AWAY (CONTROL_ERRNO - ENOTCONN)        /* the service is */
#define CONTROL_FULL (CONTROL_ERRNO - EXFULL)          /* it has no room for the file */
#define CONTROL_CROWDED (CONTROL_ERRNO - EUSERS)       /* it has no room for the mount */
#define CONTROL_NOT_OURS (CONTROL_ERRNO - EOPNOTSUPP)  /* it is the service's matter */
#define CONTROL_RESIZING (CONTROL_ERRNO - EINPROGRESS) /* the mount is without its pool */
#define CONTROL_NO_POOL (CONTROL_ERRNO - ENODEV)       /* and could not open it again yet */
int control_serve(struct control_client *c, const struct control_request *r);

#endif
