/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_file.c - platform.h on Linux: the pool file.
 *
 * Owns the calls that open, map, sync, read and remove a pool file, and what an errno means
 * (cm_posix_error). It has no state of its own. posix_create.c makes the file.
 *
 * Who: api/, media/, platform/, protocol/, state/. Nothing here calls back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "platform/posix.h"
#include "platform/posix_above.h"
#include "platform/posix_calls.h"

#define PROBE_BYTES 4096u /* size of a mapping that tests whether such a mapping works */

/* ---- Errors -------------------------------------------------------------------------------- */

int cm_posix_error(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
        return CM_ENOENT;
    case EEXIST:
        return CM_EEXIST;
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY:
        return CM_EACCES;
    case ENOSPC:
    case EDQUOT:
        return CM_ENOSPC;
    case EFBIG: /* larger than this file system's largest file */
        return CM_EPOOLSIZE;
    case EISDIR:
    case ENXIO:
    case ENODEV:
        return CM_ENOTFILE;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return CM_ENOMEM;
    case EINVAL:
    case ENAMETOOLONG:
        return CM_EINVAL;
    default:
        return CM_EIO;
    }
}

/* ---- The pool file: opening ---------------------------------------------------------------- */

int cm_posix_file_take(struct cm_plat_file *f, int fd)
{
    int64_t mark;
    int rc;

    fd = posix_above_standard(fd);
    if (fd < 0) {
        return CM_ENOMEM;
    }
    mark = cm_posix_mark(fd);
    rc = cm_posix_fork_list(fd, mark);
    if (rc == 0) {
        cm_plat_fork_look(); /* before the count that is remembered */
        *f = (struct cm_plat_file){ .handle = fd, .forks = cm_plat_fork_count(), .mark = mark };
    }
    return rc;
}

/* Looks at a file that was taken. On error it is closed. */
static int file_judge(struct cm_plat_file *f, bool readonly)
{
    struct stat st;

    if (fstat(file_fd(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        cm_plat_file_close(f);
        return CM_ENOTFILE;
    }
    f->size = (uint64_t)st.st_size;
    f->readonly = readonly;
    f->sparse = (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size;
    return 0;
}

static int file_open(struct cm_plat_file *f, const char *path, bool readonly)
{
    POSIX_NO_FORK;
    const int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    return fd < 0 ? cm_posix_error(errno) : cm_posix_file_take(f, fd);
}

/* 0, CM_ENOMEM, or as cm_posix_open_trusted(). */
static int file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                             char why[PLAT_WHY])
{
    POSIX_NO_FORK;
    int fd;
    const int rc = cm_posix_open_trusted(path, readonly, why, &fd);

    return rc != 0 ? rc : cm_posix_file_take(f, fd);
}

int cm_plat_file_open(struct cm_plat_file *f, const char *path, bool readonly)
{
    POSIX_NO_CANCEL;
    struct stat st;
    int rc;

    assert(f != NULL && f->handle < 0 && path != NULL);
    /* Check before the open as well: opening a device may already do something. */
    if (stat(path, &st) != 0) {
        return cm_posix_error(errno);
    }
    if (!S_ISREG(st.st_mode)) {
        return CM_ENOTFILE;
    }
    rc = file_open(f, path, readonly);
    return rc != 0 ? rc : file_judge(f, readonly);
}

int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                              char why[PLAT_WHY])
{
    POSIX_NO_CANCEL;
    int rc;

    assert(f != NULL && f->handle < 0 && path != NULL);
    rc = file_open_trusted(f, path, readonly, why);
    if (rc == EROFS || rc == ELOOP) {
        (void)snprintf(why, PLAT_WHY, "%s", rc == EROFS ? POSIX_READ_ONLY : POSIX_LINKS);
    }
    if (rc != 0) {
        return rc < 0 ? rc : cm_posix_error(rc);
    }
    return file_judge(f, readonly);
}

void cm_plat_file_close(struct cm_plat_file *f)
{
    POSIX_NO_CANCEL;
    assert(f != NULL);
    if (f->handle < 0) {
        return;
    }
    /* No child has the mapping, and the lock is the parent's. The parent drops the lock explicitly:
     * a child that was made without the handlers of pthread_atfork() would keep it otherwise. */
    if (!file_inherited(f)) {
        if (f->base != NULL) {
            (void)munmap(f->base, f->held);
        }
        cm_posix_unlock(f);
        cm_posix_fork_close((int)f->handle, f->mark);
    }
    *f = (struct cm_plat_file)PLAT_FILE_INIT;
}

int cm_plat_file_sync_dir(const char *path)
{
    POSIX_NO_CANCEL;
    const int fd = cm_posix_open_dir(path, O_RDONLY);
    int rc = 0;

    if (fd < 0) {
        return cm_posix_error(errno);
    }
    /* EINVAL: this file system has nothing to sync in a directory. */
    if (cm_posix_sync(fd, NULL, 0) != 0 && errno != EINVAL) {
        rc = cm_posix_error(errno);
    }
    (void)close(fd);
    return rc;
}

void cm_plat_file_remove(const char *path)
{
    POSIX_NO_CANCEL;
    assert(path != NULL);
    (void)unlink(path);
    (void)cm_plat_file_sync_dir(path);
}

void cm_plat_file_void(struct cm_plat_file *f)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);

    if (ftruncate(fd, 0) == 0) {
        (void)cm_posix_sync(fd, NULL, 0);
    }
}

int cm_plat_file_state(struct cm_plat_file *f, uint64_t *size, bool *named)
{
    const int fd = file_fd(f);
    struct stat st;

    if (fd < 0) {
        return CM_EHANDLE;
    }
    if (fstat(fd, &st) != 0) {
        return CM_EIO;
    }
    *size = (uint64_t)st.st_size;
    *named = st.st_nlink > 0;
    return 0;
}

int cm_plat_file_pread(struct cm_plat_file *f, void *buf, size_t n, uint64_t offset)
{
    POSIX_NO_CANCEL;
    uint8_t *to = buf;

    assert(buf != NULL || n == 0);
    while (n > 0) {
        const ssize_t got = pread(file_fd(f), to, n, (off_t)offset);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return CM_EIO;
        }
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- The pool file: pages in memory -------------------------------------------------------- */

/* mincore() takes each page for one in memory if the caller neither owns the file nor may write it,
 * however it is open (Linux, can_do_mincore()). Then a read that must not wait (RWF_NOWAIT) tells:
 * it begins to read a page that is not there, and gets nothing. tmpfs has no such reads; its pages
 * are in memory, or swapped out as any other. */

static ssize_t file_read_at_once(int fd, off_t at)
{
    char byte;
    struct iovec v = { &byte, 1 };

    return preadv2(fd, &v, 1, at, RWF_NOWAIT);
}

/* With the rights of this moment. */
static uint8_t file_pages(int fd)
{
    struct statfs s;
    struct stat st;

    if (faccessat(fd, "", W_OK, AT_EACCESS | AT_EMPTY_PATH) == 0 ||
        (fstat(fd, &st) == 0 && st.st_uid == geteuid()) ||
        (fstatfs(fd, &s) == 0 && s.f_type == TMPFS_MAGIC)) {
        return POSIX_PAGES_BY_MAPPING;
    }
    return file_read_at_once(fd, 0) >= 0 || errno == EAGAIN ? POSIX_PAGES_BY_READ
                                                            : POSIX_PAGES_UNKNOWN;
}

bool cm_plat_file_is_resident(const struct cm_plat_file *f, const void *p, size_t n)
{
    POSIX_NO_CANCEL;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t from = (uint64_t)((const uint8_t *)p - f->base), end = from + n;

    assert(f->base != NULL && n > 0);
    if (f->pages != POSIX_PAGES_BY_READ) {
        return f->pages == POSIX_PAGES_BY_MAPPING && cm_plat_is_resident(p, n);
    }
    for (uint64_t at = from / page * page; at < end; at += page) {
        /* Of another file this would only be a wrong hint: nothing is asked before. */
        if (file_read_at_once((int)f->handle, (off_t)at) != 1) {
            return false;
        }
    }
    return true;
}

/* ---- The pool file: mapping ---------------------------------------------------------------- */

static bool file_is_volatile(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0) {
        return false;
    }
    return fs.f_type == TMPFS_MAGIC || (uint32_t)fs.f_type == RAMFS_MAGIC ||
           (uint32_t)fs.f_type == HUGETLBFS_MAGIC;
}

/* Does the file system promise synchronous mappings? This is tested with a page of its own: a
 * failed mapping at a fixed address may already have removed part of what was reserved there. */
static bool file_has_map_sync(int fd, int prot)
{
    void *probe = mmap(NULL, PROBE_BYTES, prot, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

    if (probe == MAP_FAILED) {
        return false;
    }
    (void)munmap(probe, PROBE_BYTES);
    return true;
}

#define MAP_TRIES 16

/* An address that has room for `size` bytes at the moment; NULL: there is none. */
static void *find_aligned(size_t size, size_t align)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t slack = align > page ? align : page;
    uint8_t *raw;

    if (size > SIZE_MAX / 2 || align > SIZE_MAX / 4) {
        return NULL;
    }
    raw = mmap(NULL, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED || munmap(raw, size + slack) != 0) {
        return NULL;
    }
    return raw + (-(uintptr_t)raw & (slack - 1));
}

/* Maps a file at an aligned address. The address is a hint: if another thread has taken it
 * meanwhile, the kernel chooses another address and nothing is overwritten. (MAP_FIXED_NOREPLACE
 * would do the same, but does not work together with MAP_SHARED_VALIDATE.) */
static void *map_aligned(int fd, size_t size, size_t align, int prot, int flags)
{
    for (unsigned i = 0; i < MAP_TRIES; i++) {
        void *const hint = find_aligned(size, align);
        void *p;

        if (hint == NULL) {
            break;
        }
        p = mmap(hint, size, prot, flags, fd, 0);
        if (p == MAP_FAILED || ((uintptr_t)p & (align - 1)) == 0) {
            return p;
        }
        (void)munmap(p, size);
    }
    errno = ENOMEM;
    return MAP_FAILED;
}

/* The same, in address space of `room` bytes: the rest of it stays ours. */
static void *map_with_room(int fd, size_t size, size_t room, size_t align, int prot, int flags)
{
    const size_t slack = align > (size_t)sysconf(_SC_PAGESIZE) ? align : 0;
    uint8_t *raw, *p;

    if (room > SIZE_MAX / 2) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    raw = mmap(NULL, room + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) {
        return MAP_FAILED;
    }
    p = raw + (slack > 0 ? -(uintptr_t)raw & (slack - 1) : 0);
    if (p > raw) {
        (void)munmap(raw, (size_t)(p - raw));
    }
    if (raw + slack > p) {
        (void)munmap(p + room, (size_t)(raw + slack - p));
    }
    if (mmap(p, size, prot, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
        const int e = errno;

        (void)munmap(p, room);
        errno = e;
        return MAP_FAILED;
    }
    return p;
}

int cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    POSIX_NO_CANCEL;
    POSIX_NO_FORK; /* a child must not get the mapping, not even for a moment: it holds the file */
    const int fd = file_fd(f);
    const int prot = f->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    bool sync;
    int flags;
    uint8_t *base;

    assert(f->base == NULL && durability != NULL);
    assert(align != 0 && (align & (align - 1)) == 0);
    if (f->size == 0) {
        return CM_EIO;
    }
    sync = file_has_map_sync(fd, prot);
    flags = sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
    f->held = f->room > f->size ? (f->room + page - 1) / page * page : f->size;
    base = f->room > f->size ? map_with_room(fd, f->size, f->held, align, prot, flags)
                             : map_aligned(fd, f->size, align, prot, flags);
    if (base == MAP_FAILED) {
        return errno == ENOMEM ? CM_ENOMEM : CM_EIO;
    }
    /* Without MADV_DONTFORK a child's stores would reach the pool. The second only keeps the pool
     * out of core dumps. */
    if (madvise(base, f->held, MADV_DONTFORK) != 0) {
        (void)munmap(base, f->held);
        return CM_EIO;
    }
    (void)madvise(base, f->held, MADV_DONTDUMP);
    f->base = base;
    f->mapped = f->size;
    f->map_sync = sync;
    f->pages = file_pages(fd);
    if (sync) {
        *durability = CM_DURABILITY_DAX;
    } else {
        *durability = file_is_volatile(fd) ? CM_DURABILITY_VOLATILE : CM_DURABILITY_PAGECACHE;
    }
    return 0;
}

int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    POSIX_NO_CANCEL;
    /* The mapping knows its file. To sync the whole of it takes the descriptor: if that leads to
     * another file, a sync of it would say nothing about this one. */
    const int fd = len == 0 || f->base == NULL ? file_fd(f) : (int)f->handle;

    if (fd < 0) {
        return CM_EIO;
    }
    if (f->base != NULL) {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        const uint64_t start = offset / page * page;
        const uint64_t mapped = at_load_relaxed(&f->mapped); /* it may grow meanwhile */
        const uint64_t end = len == 0 ? mapped : offset + len;

        assert(offset <= mapped && len <= mapped - offset);
        /* It syncs the file for this range, and tells of any page of it that was lost. */
        if (cm_posix_sync(fd, f->base + start, end - start) != 0) {
            return CM_EIO;
        }
        if (len != 0) {
            return 0;
        }
    }
    return cm_posix_sync(fd, NULL, 0) == 0 ? 0 : CM_EIO;
}
