/* SPDX-License-Identifier: BSD-2-Clause
 *
 * overlay.c - for sqlite-test.py, loaded by LD_PRELOAD: all files lie on an overlayfs that does not
 * tell which layer has them. Each question for a handle adds a byte to the file $ASKED. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int fstatfs64(int fd, struct statfs64 *fs)
{
    if (syscall(SYS_fstatfs, fd, fs) != 0)
        return -1;
    fs->f_type = 0x794c7630;
    return 0;
}

/* A build may call either. */
int fstatfs(int fd, struct statfs *fs)
{
    _Static_assert(sizeof(struct statfs) == sizeof(struct statfs64), "64-bit Linux");
    return fstatfs64(fd, (struct statfs64 *)(void *)fs);
}

int name_to_handle_at(int dir, const char *name, struct file_handle *h, int *mount, int flags)
{
    const char *file = getenv("ASKED");
    int fd = file ? open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    (void)dir, (void)name, (void)h, (void)mount, (void)flags;
    if (fd >= 0 && write(fd, ".", 1) == 1)
        close(fd);
    errno = EOPNOTSUPP;
    return -1;
}
