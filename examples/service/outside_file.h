/* SPDX-License-Identifier: BSD-2-Clause
 *
 * outside_file.h - the file that holds the outside writes (outside.h).
 */
#ifndef CACHEMAX_OUTSIDE_FILE_H
#define CACHEMAX_OUTSIDE_FILE_H

#include "outside.h"

#include <limits.h>

struct outside_file {
    struct outside *at;
    int fd;       /* POSIX */
    void *handle; /* Windows */
};

/* Opens or makes the file of a socket ("WHERE.writes") or pipe, and maps it. `service`: clears it
 * if no client lives, and no other service. Each keeps a shared lock on it as long as it lives. 0,
 * CM_ENOENT (its directory is not there) or CM_EACCES: *why says what is wrong. */
int outside_file_open(struct outside_file *o, const char *where, bool service, char why[256]);
/* POSIX: would that call refuse a file that is there, or find no room for it? Changes nothing. 0,
 * also if this user may not look; or CM_EACCES, and *why. */
int outside_file_look(const char *where, char why[256]);
void outside_file_close(struct outside_file *o);
/* Is the file that a service at `where` would open now another one? It was deleted, or the name
 * leads to another place. Then notes the begin of a write there, which never ends. */
void outside_file_follow(const struct outside_file *o, const char *where, uint64_t hash);
/* POSIX: where a service at `where` is: the name without links. As it is if nothing is there. */
void outside_file_place(const char *where, char place[PATH_MAX]);
/* POSIX: locks a file beside the socket, as flock(). A process that holds the lock may be stopped:
 * false, after a second, and errno is EWOULDBLOCK. */
bool outside_file_lock(int fd, int how);
/* POSIX: opens or makes a file beside the socket, which only the owner may use. NULL, or what is
 * wrong; *fd is the caller's, if it is not -1. */
const char *outside_file_beside(const char *path, int *fd);

#endif
