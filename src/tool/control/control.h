/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.h - what the commands share that steer a running mount through its control socket.
 * docs/control.md describes the protocol.
 */
#ifndef CM_TOOL_CONTROL_H
#define CM_TOOL_CONTROL_H

#include "tool/os.h"
#include "tool/tool.h"

/* With the rest of their last block. The mount tells bytes: the last block of a file may have
 * fewer. */
static inline uint64_t in_blocks(uint64_t bytes)
{
    return (bytes + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
}

/* ---- One connection (control.c) ------------------------------------------------------------ */

struct control_end {
    int code; /* 0, a CM_* code, or CONTROL_ERRNO - errno */
    char text[128];
};
struct control {
    intptr_t stream;
    uint64_t user, process; /* behind the socket */
    bool open;
    bool met;    /* somebody listens there, whoever it is */
    bool waited; /* and said so */
    /* Not 0: who is there takes no request, and this is the answer to each. */
    struct control_end refused;
    size_t have, used; /* bytes in `in` */
    char in[16384];
};

/* Gets what an answer says before its end. A return value other than 0 ends the connection, and so
 * the work of the mount. */
struct control_listener {
    void (*is)(void *ctx, const char *name, const char *value);
    int (*at)(void *ctx, uint64_t done, uint64_t total); /* NULL: not wanted */
    bool to_the_end; /* after a first interrupt, the answer is ended by control_enough() */
    void *ctx;
};
#define CONTROL_ERRNO (-100000)
#define CONTROL_AWAY (-100107) /* the service of the mount is: ENOTCONN of Linux */
/* The service refuses the mount, because it has too many clients: EUSERS of Linux. */
#define CONTROL_CROWDED (-100087)
/* Of Linux, where the mount runs. */
#define CONTROL_NO_FILE (CONTROL_ERRNO - 2)
#define CONTROL_BUSY (CONTROL_ERRNO - 16)
#define CONTROL_CROWD (CONTROL_ERRNO - 11)    /* too many clients */
#define CONTROL_NOT_OURS (CONTROL_ERRNO - 95) /* the pool belongs to a service */
#define CONTROL_RESIZING (CONTROL_ERRNO - 115)
#define CONTROL_MOVED (CONTROL_ERRNO - 116)  /* its pool is not at the path that it knows */
#define CONTROL_NO_POOL (CONTROL_ERRNO - 19) /* after a resize it cannot be opened again yet */
#define CONTROL_NO_DIRECTORY (CONTROL_ERRNO - 20)

/* Beside numbers of the system, OS_TIMED_OUT and OS_INTERRUPTED. */
enum {
    CONTROL_STRANGER = -10, /* another user listens there */
    CONTROL_ENDED = -11,    /* the mount has ended the connection */
    CONTROL_JUNK = -12,     /* that is no answer */
    CONTROL_STOPPED = -13,  /* `at` wanted no more */
    CONTROL_DEAD = -14,     /* the process of the mount is gone, and the mount is still there */
    CONTROL_OTHER = -15,    /* another mount has its socket there */
    CONTROL_TAKEN = -16     /* CONTROL_DEAD, and somebody has its pool, or a socket there */
};
/* Of fstab: the source of a mount may be "none", or its directory. */
#define CONTROL_UNTOLD                                                                             \
    "the source of its mount does not tell the pool: name the pool where a command takes one, "    \
    "or, in fstab, make it the source"
const char *control_error_text(int error);
/* The same of a mount that could not be asked: more can be said if its socket is gone. */
const char *control_why(const struct os_mount *m, int error);
/* What is said behind that; "" is nothing. */
const char *control_after_why(int error);
/* Its pool file was moved or removed. If it still answers: */
#define CONTROL_POOL_LOST                                                                          \
    "its pool file is not at its path any more: if it was moved, mount it from there next time, "  \
    "and what is cached stays; if it was removed, what is cached is lost with the unmount"
bool control_pool_is_gone(const struct os_mount *m);
/* The same, and whether another pool is at the path by now: the mount is asked. */
bool control_pool_is_lost(const struct os_mount *m);
bool control_is_dead(int error);
/* Can the mount not ask its service, so that it would answer the same for each file? */
bool control_is_away(int code);
/* What to do with a dead mount when it is unmounted: the rest of a line. `error`: what an attempt
 * to open it gave. */
const char *control_after_dead(const struct os_mount *m, int error);
/* Says what is wrong with `path`, of which the mount `m` was asked. */
void control_complain(const char *path, const struct os_mount *m, int error);

/* Connects to the control socket of a pool, if the process behind it is `user`'s or root's, and if
 * that is a mount with this pool (control_has_pool). */
int control_open(struct control *c, const char *pool, uint64_t user, int seconds);
/* The same of a mount, which may use a service. Asks who is there: `seconds` as control_ask(). */
int control_open_mount(struct control *c, const struct os_mount *m, int seconds);
/* Has the pool this uuid, as `status` tells it? True also if the pool cannot be read. */
#define CONTROL_UUID (2 * sizeof(((cm_info *)NULL)->uuid) + 1)
bool control_is_pool(const char *pool, const char uuid[CONTROL_UUID]);
/* Is it the pool of the mount, its own or that of its service? At the path of a pool there may be
 * another one by now. A mount that takes no request now is believed, and so is any if the pool
 * cannot be read. 0, CONTROL_OTHER, or another error; then the connection is closed. */
int control_has_pool(struct control *c, const char *pool, int seconds);
void control_close(struct control *c);
/* While an answer comes that has no end of its own: the mount shall end it. */
void control_enough(struct control *c);
/* Asks, and waits for the end of the answer: `seconds`, or OS_FOREVER; if listener->to_the_end, so
 * long for each part of it. After an error the connection is closed. */
int control_ask(struct control *c, const char *verb, uint64_t number, const char *path, int seconds,
                const struct control_listener *listener, struct control_end *end);
/* The same without a limit. While the pool of the mount `m` gets another size, it waits, says so,
 * and asks again. CONTROL_STOPPED: the user wants no more. */
int control_ask_again(struct control *c, const struct os_mount *m, const char *verb,
                      uint64_t number, const char *path, const struct control_listener *listener,
                      struct tool_progress *progress, struct control_end *end);
bool control_number(const char *text, uint64_t *value); /* decimal, up to a blank or the end */

#define CONTROL_PATH_MAX 4096u /* with its end */
struct control_quota {
    uint64_t used, most; /* bytes */
    const char *path;    /* within what was parsed; below the directory of the mount */
};
/* "USED MOST PATH" of a line `quota`. */
bool control_quota(const char *text, struct control_quota *q);
/* A quota that is full. */
struct control_limit {
    uint64_t most; /* bytes; 0: there is none */
    char path[CONTROL_PATH_MAX];
};
void control_limit_take(struct control_limit *l, const char *text);
/* A word of why a file is not cached (docs/mount.md), with its end. */
#define CONTROL_WHY_MAX 16u

/* ---- Files on mounts (paths.c) --------------------------------------------------------------- */

struct control_reason;
struct control_file {
    char *path; /* without links */
    struct os_found is;
    uint64_t size, cached;
    size_t base;  /* length of the operand below which it was found */
    size_t mount; /* in `mounts` */
    bool known;   /* the mount has answered */
    bool again;   /* another name (hard link) of it stands before this one, */
    size_t other; /* the next one before it in the list here */
    bool pinned;
    bool whole;                       /* it was when it was warmed */
    bool apart;                       /* the mount could not compare it: it is in no sum */
    bool first;                       /* of those that were warmed first: first_files.c */
    const struct control_reason *why; /* cmd_cached.c; NULL: not known */
};
struct control_files {
    struct control_file *v;
    size_t n, room;
    struct os_mount *mounts;
    size_t nmounts;
    uint64_t bytes;
    uint64_t failed;    /* what could not be looked at, after a message */
    int reason;         /* the status of the first operand of these */
    size_t base, mount; /* of the operand that is being looked at */
};
/* The files at and below the operands, and the lines of the file `list` (NULL: none), sorted, each
 * once. What cannot be looked at is told and counted, and the others are there. TOOL_OK, or a
 * status after a message: nothing could be looked at. If it is TOOL_OK, interrupts are caught from
 * now on, and not before: a look-up on a mount that hangs ends only by a signal that is fatal. */
int files_collect(struct control_files *f, const struct tool_args *args, const char *list);
void files_free(struct control_files *f);
/* Has the mount answered for no other name of file i from `from` on to i? Then it counts as a file.
 */
bool files_counts(const struct control_files *f, size_t i, size_t from);
/* The mount that `path` lies on, as its place in `mounts`. TOOL_OK, or a status after a message. */
int files_mount_of(struct control_files *f, const char *path, char **real, size_t *mount);
/* Says so if `path` is on a mount that is dead. */
bool files_on_dead(struct control_files *f, const char *path);

/* Asks the mounts for each file, in order. */
struct sweep {
    const char *verb;
    uint64_t number;
    /* The same for all: 0, or the sweep ends. `at` may be NULL. */
    int (*at)(struct sweep *s, uint64_t done, uint64_t total);
    int (*done)(struct sweep *s, struct control_file *file);
    void *ctx;
    struct tool_progress *progress;
    /* Of the file that was asked for last. */
    struct control_end end;
    uint64_t size, cached, stored, read, pinned, pinned_max, room, left_out;
    uint64_t verified, differed, undecided;
    struct control_limit limit; /* why it is not cached as a whole */
    char why[CONTROL_WHY_MAX];  /* the same, in the mount's word; "": it did not say */
    /* Of files that were found in a directory, and went away before they were asked for: `done` is
     * not called for them. */
    uint64_t gone, gone_bytes;
};
/* TOOL_OK, also if `done` has ended it; or a status after a message. */
int files_sweep(struct control_files *f, struct sweep *s);
/* Says which mounts of the files have lost their pool file. Is there one? */
bool files_say_lost(const struct control_files *f);
/* Says what is wrong with a file. */
void files_complain(const struct control_file *file, const struct control_end *end);

/* What was warmed first (first_files.c). Begin with `all`, `progress` and zeros. */
struct first_files {
    const struct control_files *all;
    struct tool_progress *progress;
    struct control_file *file; /* the first of them, and how many files there are up to the last */
    size_t n;
    uint64_t bytes;         /* of them */
    uint64_t stored, asked; /* bytes: of all files; when the mount was asked last */
};
/* A file is done, in their order; so many bytes of it were stored. Does the pool push out what was
 * warmed first? Asks the mount now and then. */
bool files_first_leave(struct first_files *w, struct control_file *file, uint64_t stored);
/* They were written or forgotten: those that follow are asked for from now on. */
void files_first_anew(struct first_files *w);

/* One mount, and what of it is meant (paths.c): at and below n paths of it, or all. */
struct control_scope {
    struct control_files files; /* for its mounts */
    size_t mount;
    char **below;
    size_t n;
};
/* Without a path: the only mount that there is. TOOL_OK, or a status after a message;
 * control_scope_free() in both cases. */
int control_scope_find(struct control_scope *s, char *const *paths, size_t n);
void control_scope_free(struct control_scope *s);
/* Do they have the same pool, and the same process? */
bool control_same_mount(const struct os_mount *a, const struct os_mount *b);
bool control_in_scope(const struct control_scope *s, const char *path); /* below the mount's root */

/* ---- What a trace reads (profile.c) ---------------------------------------------------------- */

struct profile_part {
    uint32_t file;     /* in `path` */
    unsigned often;    /* its blocks were read 2^often to 2^(often + 1) - 1 times */
    uint64_t off, len; /* whole blocks */
};
struct profile {
    char **path;               /* below the root of the mount, sorted */
    size_t files, read;        /* read: those that a part is of */
    size_t named, numbered;    /* also outside the scope: all; those whose path begins "N/" */
    struct profile_part *part; /* what was read most often comes first */
    size_t parts;
    uint64_t bytes;
};
/* What of the scope the trace of "cachemax record" reads. TOOL_OK, or a status after a message;
 * profile_free() in both cases. */
int profile_load(struct profile *p, const char *trace, const struct control_scope *scope);
void profile_free(struct profile *p);

/* "cachemax warm --trace" (warm_trace.c) */
struct warm_trace {
    const char *trace;
    uint64_t rate; /* 0: no limit */
    bool quiet, json;
};
int profile_warm(const struct tool_args *args, const struct warm_trace *w);

/* ---- The mount that has a pool (owner.c) ----------------------------------------------------- */

/* What cm_files_begin() and cm_check() say, from the mount that has the pool open. CM_EOWNED: its
 * owner is no mount that could be asked. CM_EBUSY: it has too many clients, or gets another size.
 * `add` returns false if there is no memory. */
int owner_files(const char *pool, uint32_t flags, bool (*add)(void *ctx, const cm_file_info *info),
                void *ctx);
int owner_check(const char *pool, uint32_t flags,
                int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                cm_check_report *report);
/* What cm_resize() does, by the mount. CM_EBUSY: it is at work with the pool. CM_EOWNED also: it is
 * too old for that, or the connection was lost. */
struct owner_resizing {
    bool in_place; /* the pool grows; else it is made anew */
    bool lost;     /* the mount has ended the connection: the pool tells what it has done */
    bool moved;    /* CM_EMOVED: the mount has said so before it began */
    bool told;
    void (*on_course)(const struct owner_resizing *w); /* it has begun */
    const char *pool;
};
int owner_resize(const char *pool, const cm_resize_options *options, cm_resize_report *report,
                 struct owner_resizing *course);
/* Has a process the pool open, and may this user ask it, as its own user or as root? Then it is
 * asked before the library tries to open the pool: the library would judge whether this user can
 * trust the pool, but that process has judged it for its own user. */
bool owner_is_asked(const char *pool);
/* Where the pool is mounted, of the mounts that this process can see; NULL: nowhere. Free it. */
char *owner_mounted_at(const char *pool);
/* Does the owner of a pool serve a mount that is seen here, which knows the pool by another path?
 * Ask it of a pool that is mounted nowhere. */
bool owner_moved(uint32_t process);
/* The same of the pool at this path. */
bool owner_has_moved(const char *pool);
/* Says so, and what to do: "or unmount, ", then `then`. */
void owner_say_moved(const char *pool, const char *then);
/* Waits so long if the owner of the pool is a mount that is ending. Has it closed the pool? One
 * that is mounted and answers is not ending. A mount that does not get an end to its work ends
 * after 15 seconds. */
#define OWNER_LEAVE_SECONDS 10
#define OWNER_WORK_SECONDS 30
bool owner_leaves(const char *pool, unsigned seconds);
/* Does the file lie on a mount that has this pool? Then a plain read of it uses the pool. */
bool owner_serves(const char *pool, const char *path);
/* The id that the file has in the pool, from the mount it lies on. CM_EABSENT: it lies on no mount.
 * CM_EOWNED: on one that has another pool, or does not tell. CM_EIO: maybe on one, but the mounts
 * cannot be listed. With these two, `why` says why, for a terminal. */
#define OWNER_WHY 640
int owner_file_id(const char *pool, const char *path, cm_file_id *id, char why[OWNER_WHY]);

#endif
