/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.h - what control.c (the socket) and control_ops.c (what is asked for) share.
 * docs/control.md describes the protocol.
 */
#ifndef CACHEMAX_MOUNT_CONTROL_H
#define CACHEMAX_MOUNT_CONTROL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define CONTROL_VERSION 1u
#define CONTROL_VERB_MAX 16u

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

/* control_ops.c: does what is asked for. Returns what the last line says: 0, a CM_* code, or
 * CONTROL_ERRNO - errno. */
#define CONTROL_ERRNO (-100000) /* as -ORIGIN_ERROR */
int control_serve(struct control_client *c, const struct control_request *r);

#endif
