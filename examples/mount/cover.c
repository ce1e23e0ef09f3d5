/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cover.c - several directories in one mount: one session, bound over each of them.
 *
 * The root of the session is a directory that nobody sees. It has one child for each DIR (inode.c).
 * A thread takes a mount namespace of its own and mounts the session there, on /proc: that is a
 * mount for certain, so it can be made private, and nothing gets out. When the threads of the
 * session run, this one makes a copy of the mount for each child, with the flags that DIR has, and
 * ends. Its namespace ends with it. Each copy is then moved over its DIR. The session lives as long
 * as one of them.
 *
 * If one cannot be moved, those before it are detached.
 *
 * Owns: the thread, and the copies until they are moved. Who: main.c; first cover_mount(), then
 * cover_all(). Needs CAP_SYS_ADMIN and Linux 5.2.
 */
#include "mount.h"

#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

/* Of newer <linux/mount.h>; the calls have the same numbers everywhere. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#endif

#define HIDDEN "/proc"

static struct {
    int (*mount)(const char *at);
    pthread_t thread;
    sem_t mounted, served; /* the thread waits for the second one */
    int rc;                /* exit status */
    int *copy;             /* descriptors, for each DIR */
    int err;               /* the copies cannot be made */
} cover;

/* The same flags have the same values in both lists. */
#define EQUAL(name) _Static_assert((int)ST_##name == (int)MS_##name, "a flag of two values")
EQUAL(RDONLY);
EQUAL(NOSUID);
EQUAL(NODEV);
EQUAL(NOEXEC);
EQUAL(NOATIME);

static void await(sem_t *s)
{
    while (sem_wait(s) < 0) /* a signal */
        ;
}

/* In the thread. 0 or errno. */
static int take_namespace(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, HIDDEN, NULL, MS_PRIVATE, NULL) < 0)
        return errno;
    return 0;
}

/* A copy of the mount that shows one child. It gets the flags that the mount has at that moment. */
static int copy_of(unsigned place)
{
    char path[40];

    if (mount(NULL, HIDDEN, NULL, MS_REMOUNT | MS_BIND | mount_flags(place), NULL) < 0)
        return -1;
    snprintf(path, sizeof(path), HIDDEN "/%u", place + 1);
    return (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC);
}

static void *hide(void *arg)
{
    const int err = take_namespace();

    (void)arg;
    if (err)
        say(CM_LOG_ERROR, "several directories in one process need a mount namespace: %s",
            strerror(err));
    cover.rc = err ? EXIT_RUNTIME : cover.mount(HIDDEN);
    sem_post(&cover.mounted);
    if (cover.rc)
        return NULL;
    await(&cover.served);
    for (unsigned k = 0; k < mnt.opt.places && !cover.err; k++) {
        cover.copy[k] = copy_of(k);
        if (cover.copy[k] < 0)
            cover.err = errno;
    }
    return NULL;
}

int cover_mount(int (*mount)(const char *at))
{
    cover.mount = mount;
    cover.copy = malloc(mnt.opt.places * sizeof(*cover.copy));
    for (unsigned k = 0; cover.copy && k < mnt.opt.places; k++)
        cover.copy[k] = -1;
    sem_init(&cover.mounted, 0, 0);
    sem_init(&cover.served, 0, 0);
    if (!cover.copy || pthread_create(&cover.thread, NULL, hide, NULL))
        return EXIT_RUNTIME;
    await(&cover.mounted);
    if (cover.rc)
        pthread_join(cover.thread, NULL);
    return cover.rc;
}

/* Over what was opened before: its path may lead elsewhere now. 0 or errno. */
static int move_over(int copy, int dir)
{
    return syscall(SYS_move_mount, copy, "", dir, "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
               ? errno
               : 0;
}

static int failed(const char *dir, int err)
{
    say(CM_LOG_ERROR, "cannot mount on %s: %s; nothing is mounted", dir,
        err == ENOSYS ? "several directories in one process need Linux 5.2" : strerror(err));
    (void)place_leave();
    return EXIT_RUNTIME;
}

int cover_all(void)
{
    int rc = 0;

    sem_post(&cover.served);
    pthread_join(cover.thread, NULL);
    if (cover.err)
        rc = failed(mnt.opt.dir, cover.err);
    for (unsigned k = 0; k < mnt.opt.places; k++) {
        const int err = rc ? 0 : move_over(cover.copy[k], mnt.opt.place[k].fd);

        if (err)
            rc = failed(mnt.opt.place[k].path, err);
        else if (!rc)
            place_mounted(k);
        if (cover.copy[k] >= 0)
            close(cover.copy[k]);
    }
    free(cover.copy);
    return rc;
}
