/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.h - what the commands share that steer a running mount through its control socket.
 * docs/control.md describes the protocol.
 */
#ifndef CM_TOOL_CONTROL_H
#define CM_TOOL_CONTROL_H

#include "tool/os.h"
#include "tool/tool.h"

/* ---- One connection (control.c) ------------------------------------------------------------ */

struct control {
    intptr_t stream;
    uint64_t user, process; /* behind the socket */
    bool open;
    size_t have, used; /* bytes in `in` */
    char in[16384];
};

/* Gets what an answer says before its end. A return value other than 0 ends the connection, and so
 * the work of the mount. */
struct control_listener {
    void (*is)(void *ctx, const char *name, const char *value);
    int (*at)(void *ctx, uint64_t done, uint64_t total); /* NULL: not wanted */
    void *ctx;
};
struct control_end {
    int code; /* 0, a CM_* code, or CONTROL_ERRNO - errno */
    char text[128];
};
#define CONTROL_ERRNO (-100000)

/* Beside numbers of the system, OS_TIMED_OUT and OS_INTERRUPTED. */
enum {
    CONTROL_STRANGER = -10, /* another user listens there */
    CONTROL_ENDED = -11,    /* the mount has ended the connection */
    CONTROL_JUNK = -12,     /* that is no answer */
    CONTROL_STOPPED = -13   /* `at` wanted no more */
};
const char *control_error_text(int error);

/* The control socket of a pool; free it. NULL: no memory. */
char *control_path(const char *pool);
/* Connects to the control socket of a pool, if the process behind it is `user`'s or root's. */
int control_open(struct control *c, const char *pool, uint64_t user);
void control_close(struct control *c);
/* Asks, and waits for the end of the answer; `seconds` for each part of it, or OS_FOREVER. After an
 * error the connection is closed. */
int control_ask(struct control *c, const char *verb, uint64_t number, const char *path, int seconds,
                const struct control_listener *listener, struct control_end *end);
bool control_number(const char *text, uint64_t *value); /* decimal, up to a blank or the end */

/* ---- Files on mounts (paths.c) --------------------------------------------------------------- */

struct control_file {
    char *path; /* without links */
    uint64_t size, cached;
    size_t base;  /* length of the operand below which it was found */
    size_t mount; /* in `mounts` */
    bool known;   /* the mount has answered */
    bool pinned;
};
struct control_files {
    struct control_file *v;
    size_t n, room;
    struct os_mount *mounts;
    size_t nmounts;
    uint64_t bytes;
    uint64_t failed;    /* what could not be looked at, after a message */
    size_t base, mount; /* of the operand that is being looked at */
};
/* The files at and below the operands, and the lines of the file `list` (NULL: none), sorted, each
 * once. TOOL_OK, or a status after a message. */
int files_collect(struct control_files *f, const struct tool_args *args, const char *list);
void files_free(struct control_files *f);
/* The mount that `path` lies on, as its place in `mounts`. TOOL_OK, or a status after a message. */
int files_mount_of(struct control_files *f, const char *path, char **real, size_t *mount);

/* Asks the mounts for each file, in order. */
struct sweep {
    const char *verb;
    uint64_t number;
    /* The same for all: 0, or the sweep ends. `at` may be NULL. */
    int (*at)(struct sweep *s, uint64_t done, uint64_t total);
    int (*done)(struct sweep *s, struct control_file *file);
    void *ctx;
    /* Of the file that was asked for last. */
    struct control_end end;
    uint64_t size, cached, stored, read, pinned, pinned_max, room;
};
/* TOOL_OK, also if `done` has ended it; or a status after a message. */
int files_sweep(struct control_files *f, struct sweep *s);
/* Says what is wrong with a file. */
void files_complain(const struct control_file *file, const struct control_end *end);

/* ---- The mount that has a pool (owner.c) ----------------------------------------------------- */

/* What cm_files_begin() and cm_check() say, from the mount that has the pool open. CM_EOWNED: its
 * owner is no mount that could be asked. `add` returns false if there is no memory. */
int owner_files(const char *pool, uint32_t flags, bool (*add)(void *ctx, const cm_file_info *info),
                void *ctx);
int owner_check(const char *pool, uint32_t flags,
                int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                cm_check_report *report);
/* Does the file lie on a mount that has this pool? Then a plain read of it uses the pool. */
bool owner_serves(const char *pool, const char *path);

#endif
