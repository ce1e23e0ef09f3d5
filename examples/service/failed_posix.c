/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failed_posix.c - the list of syncs that have failed, beside the socket.
 *
 * Owns: nothing; the file has 16 bytes for each id. A lock on it orders writers and the service.
 *
 * Who: client.c, run.c.
 */
#include "failed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outside_file.h"

/* The file, locked; -1: it is not there, or cannot be used. */
static int open_list(const char *where, bool make)
{
    char path[PATH_MAX];
    int fd = -1, rc;

    if (snprintf(path, sizeof(path), "%s.failed", where) >= (int)sizeof(path))
        return -1;
    if (make)
        (void)outside_file_beside(path, &fd);
    else
        fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    do
        rc = flock(fd, LOCK_EX);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

bool failed_note(const char *where, const cm_file_id *id)
{
    const int fd = open_list(where, true);
    struct stat st;
    bool ok;

    if (fd < 0)
        return false;
    /* What a client has written in part, and was killed, is written over. */
    ok = fstat(fd, &st) == 0 &&
         pwrite(fd, id, sizeof(*id), st.st_size - st.st_size % (off_t)sizeof(*id)) ==
             (ssize_t)sizeof(*id);
    close(fd);
    return ok;
}

void failed_take(const char *where, bool (*take)(void *arg, const cm_file_id *id), void *arg)
{
    const int fd = open_list(where, false);
    bool all = true;
    cm_file_id id;

    if (fd < 0)
        return;
    for (off_t at = 0; pread(fd, &id, sizeof(id), at) == (ssize_t)sizeof(id);
         at += (off_t)sizeof(id))
        all &= take(arg, &id);
    if (all)
        (void)!ftruncate(fd, 0); /* if it fails they are taken once more, which does no harm */
    close(fd);
}
