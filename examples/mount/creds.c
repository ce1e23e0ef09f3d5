/* SPDX-License-Identifier: BSD-2-Clause
 *
 * creds.c - acting as the requesting user while something is created.
 *
 * The kernel has checked the permissions (default_permissions); what is left is that new files
 * get the right owner, group, set-group-id bit and default ACL, all of which the origin's file
 * system derives from the creating thread. So a privileged worker takes the caller's fsuid, fsgid,
 * supplementary groups and umask for the time of the call. All of these are per thread: the raw
 * system calls avoid the C library, which would change every thread, and CLONE_FS gives the
 * thread its own umask. Called by workers, around the creating call only.
 */
#include "mount.h"

#include <grp.h>
#include <sched.h>
#include <sys/syscall.h>

#define GROUPS_MAX 256

static _Thread_local bool own_umask;
static gid_t daemon_groups[GROUPS_MAX];
static int daemon_ngroups;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_groups(void)
{
    daemon_ngroups = getgroups(GROUPS_MAX, daemon_groups);
    if (daemon_ngroups < 0)
        daemon_ngroups = 0;
}

void creds_thread_init(void)
{
    pthread_once(&once, read_groups);
    own_umask = unshare(CLONE_FS) == 0;
}

mode_t creds_mode(fuse_req_t req, mode_t mode)
{
    return own_umask ? mode : mode & ~fuse_req_ctx(req)->umask;
}

void creds_enter(struct creds *c, fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    gid_t groups[GROUPS_MAX];
    int n = 0;

    c->switched = false;
    if (own_umask)
        umask(ctx->umask);
    if (!mnt.root_user || (ctx->uid == 0 && ctx->gid == 0))
        return;
    if (ctx->uid != 0)
        n = fuse_req_getgroups(req, GROUPS_MAX, groups);
    if (n < 0 || n > GROUPS_MAX)
        n = 0; /* the caller is gone or in another pid namespace */
    c->switched = true;
    if (ctx->uid != 0)
        syscall(SYS_setgroups, (size_t)n, groups);
    syscall(SYS_setfsgid, ctx->gid);
    syscall(SYS_setfsuid, ctx->uid);
}

void creds_leave(struct creds *c)
{
    int err = errno;

    if (c->switched) {
        syscall(SYS_setfsuid, geteuid());
        syscall(SYS_setfsgid, getegid());
        syscall(SYS_setgroups, (size_t)daemon_ngroups, daemon_groups);
    }
    if (own_umask)
        umask(0);
    errno = err;
}
