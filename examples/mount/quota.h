/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quota.h - --quota: how much of the pool the files below a directory may take.
 */
#ifndef CACHEMAX_MOUNT_QUOTA_H
#define CACHEMAX_MOUNT_QUOTA_H

#include "cachemax.h"

struct control_client;
struct inode;

struct quota {
    char *path;     /* below a DIR */
    uint64_t bytes; /* 0: a part of the pool */
    double percent; /* ... this one */
    uint32_t group; /* its number in the pool; set by quota_begin() */
};
struct quotas {
    struct quota v[CM_GROUPS_MAX];
    unsigned n;
};

/* Takes PATH=SIZE. 0, or an exit status after a message. */
int quota_take(const char *name, const char *value, struct quotas *q);

/* The rest uses mnt.opt.rules.quotas, and does nothing if there are none. */
/* The pool has just been opened. 0, or an exit status after a message. */
int quota_begin(void);
/* The pool became larger while it was open: a quota in percent is that part of the new size. */
void quota_grown(void);
/* Puts an attached file into the group of the path behind an O_PATH descriptor. */
void quota_join(cm_file *cf, int fd);
/* A line for each of them: bytes used, bytes allowed, path. */
void quota_tell(struct control_client *c);
/* The line of the one that counts for the path behind an O_PATH descriptor, if it has (nearly) no
 * room left: then it is what keeps blocks of the file out. */
void quota_tell_full(struct control_client *c, int fd);
/* Of a file of `size` bytes in a directory with a quota. `attached`: it is, and in use; then that
 * counts which it had at that moment. */
bool quota_is_less(const struct inode *i, bool attached, uint64_t size); /* than the file */
bool quota_is_full(const struct inode *i);                               /* attached */

#endif
