/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_lock.c - the locks of a pool file, and who holds them.
 *
 * Owns: which bytes are locked, no state. A byte behind all that a file can have says that the
 * owner has judged what was there.
 *
 * The owner holds an open-file-description lock (F_OFD_SETLK) over the whole file. Unlike
 * POSIX record locks it belongs to the open file: a second open in the same process is refused, and
 * closing another descriptor does not drop it. Unlike with flock(), F_OFD_GETLK can test it without
 * taking it for a moment; taking it would refuse an owner who opens at that moment. On NFS it
 * protects against other clients only if the mount passes locks on to the server (not with
 * local_lock or nolock). A child shares its parent's open files. So a child of fork() closes them
 * at once, before fork() returns (posix_fork.c). A child that was made without the handlers of
 * pthread_atfork() (a raw clone()) shares the lock until it execs or exits. cm_plat_file_holder()
 * finds such a child. Whatever uses the descriptor asks first whether it is still ours
 * (posix_ours.c).
 *
 * Who: api/, platform/, state/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

/* ---- The pool file: lock ------------------------------------------------------------------- */

#define LOCK_TAKEN ((off_t)1 << 62) /* no file is that long; all bytes before it are the lock */

static int file_lock_call(const struct cm_plat_file *f, int cmd, short type, struct flock *range)
{
    *range = (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_len = LOCK_TAKEN };
    return fcntl(file_fd(f), cmd, range);
}

static int file_taken_call(const struct cm_plat_file *f, int cmd, struct flock *range)
{
    *range = (struct flock){
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_TAKEN, .l_len = 1
    };
    return fcntl(file_fd(f), cmd, range);
}

int cm_plat_file_lock(struct cm_plat_file *f)
{
    struct flock range;

    /* A descriptor that is open for reading can only hold a shared lock. Such a lock still keeps an
     * owner out. CM_OPEN_READONLY takes it; readers of a shared pool take none. */
    if (file_lock_call(f, F_OFD_SETLK, f->readonly ? F_RDLCK : F_WRLCK, &range) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? CM_EOWNED : CM_EIO;
}

void cm_posix_unlock(const struct cm_plat_file *f)
{
    struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    (void)fcntl(file_fd(f), F_OFD_SETLK, &all);
}

int cm_plat_file_is_locked(struct cm_plat_file *f)
{
    struct flock range;

    if (file_lock_call(f, F_OFD_GETLK, F_WRLCK, &range) != 0) {
        return CM_EIO;
    }
    return range.l_type == F_WRLCK; /* F_RDLCK is a lock of a reader */
}

void cm_plat_file_say_taken(struct cm_plat_file *f)
{
    struct flock range;

    (void)file_taken_call(f, F_OFD_SETLK, &range);
}

bool cm_plat_file_is_taken(struct cm_plat_file *f)
{
    struct flock range;

    /* The lock of an older library has no end, and it takes that before it has judged anything. */
    return file_taken_call(f, F_OFD_GETLK, &range) == 0 && range.l_type == F_WRLCK &&
           range.l_len != 0;
}

/* ---- The pool file: who holds the lock ----------------------------------------------------- */

#define HOLDER_LOOKS 100000u /* descriptors that are looked at; then the search ends */
#define HOLDER_TEXT 1024     /* of a descriptor's text: each lock takes a line of it */

/* Opens /proc/PID/fdinfo. NULL: no such process, or another user's. */
static DIR *open_fdinfo(const char *pid)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%.20s/fdinfo", pid);
    return opendir(path);
}

/* Does descriptor `fd` of a process hold a lock like ours on the file of `ours`? */
static bool holds_lock(const char *pid, const char *fd, const struct stat *ours)
{
    char path[96], text[HOLDER_TEXT];
    struct stat st;

    (void)snprintf(path, sizeof path, "/proc/%.20s/fdinfo/%.20s", pid, fd);
    /* The text names locks of this open file only. It names the file by the numbers of its
     * superblock, which st_dev is not everywhere. So the link is asked whether it is our file. */
    if (cm_posix_read_text(path, text, sizeof text) <= 0 || strstr(text, "OFDLCK") == NULL) {
        return false;
    }
    (void)snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, fd);
    return stat(path, &st) == 0 && st.st_dev == ours->st_dev && st.st_ino == ours->st_ino;
}

static bool process_holds_lock(const char *pid, const struct stat *ours, unsigned *looks)
{
    DIR *const dir = open_fdinfo(pid);
    const struct dirent *e;
    bool holds = false;

    while (dir != NULL && !holds && *looks > 0 && (e = readdir(dir)) != NULL) {
        if (isdigit((unsigned char)e->d_name[0])) {
            (*looks)--;
            holds = holds_lock(pid, e->d_name, ours);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return holds;
}

uint32_t cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely)
{
    POSIX_NO_CANCEL;
    unsigned looks = HOLDER_LOOKS;
    const struct dirent *e;
    uint32_t holder = 0;
    char pid[24];
    struct stat ours;
    DIR *dir;

    if (fstat(file_fd(f), &ours) != 0) {
        return 0;
    }
    (void)snprintf(pid, sizeof pid, "%u", likely);
    if (process_holds_lock(pid, &ours, &looks)) {
        return likely;
    }
    dir = opendir("/proc");
    while (dir != NULL && holder == 0 && looks > 0 && (e = readdir(dir)) != NULL) {
        if (isdigit((unsigned char)e->d_name[0]) && process_holds_lock(e->d_name, &ours, &looks)) {
            holder = (uint32_t)strtoul(e->d_name, NULL, 10);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return holder;
}
