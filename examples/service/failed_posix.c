/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failed_posix.c - the list of syncs that have failed, beside the socket.
 *
 * Owns: nothing; the file has 16 bytes for each id. A lock on it orders writers and the service.
 *
 * Who: client.c, run.c.
 */
#include "failed.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "outside_file.h"
#include "platform/posix_above.h"

/* The file; -1: it is not there, or cannot be used. */
static int open_list(const char *where, bool make)
{
    char path[PATH_MAX];
    int fd = -1;

    if (snprintf(path, sizeof(path), "%s.failed", where) >= (int)sizeof(path))
        return -1;
    if (make)
        (void)outside_file_beside(path, &fd);
    else
        fd = posix_above_standard(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    return fd;
}

/* Reads the id at *at, and moves on. */
static bool next(int fd, off_t *at, cm_file_id *id)
{
    const bool is_there = pread(fd, id, sizeof(*id), *at) == (ssize_t)sizeof(*id);

    *at += is_there ? (off_t)sizeof(*id) : 0;
    return is_there;
}

/* Locked. A program tries again and again while there is no service: each id is there once. What a
 * client has written in part, and was killed, is written over. */
static bool add(int fd, const cm_file_id *id)
{
    cm_file_id other;
    off_t at = 0;

    while (next(fd, &at, &other))
        if (other.hi == id->hi && other.lo == id->lo)
            return true;
    return pwrite(fd, id, sizeof(*id), at) == (ssize_t)sizeof(*id);
}

bool failed_note(const char *where, const cm_file_id *id)
{
    char place[PATH_MAX];
    bool ok;
    int fd;

    outside_file_place(where, place);
    fd = open_list(place, true);
    if (fd < 0)
        return false;
    ok = outside_file_lock(fd, LOCK_EX) && add(fd, id);
    close(fd);
    return ok;
}

/* The service does not wait for the lock: who has it may be stopped. Then it reads what is there,
 * which is right: half of an id would keep a file out that nobody has. */
void failed_take(const char *where, bool (*take)(void *arg, const cm_file_id *id), void *arg)
{
    const int fd = open_list(where, false);
    off_t at = 0;
    cm_file_id id;
    bool all;

    if (fd < 0)
        return;
    all = flock(fd, LOCK_EX | LOCK_NB) == 0;
    while (next(fd, &at, &id))
        all &= take(arg, &id);
    if (all)
        (void)!ftruncate(fd, 0); /* if it fails they are taken once more, which does no harm */
    close(fd);
}
