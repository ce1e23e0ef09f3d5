/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_grow.c - platform.h on Linux: a pool file that becomes longer while it is mapped.
 *
 * Owns: how a file gets more space, and how that is added to its mapping. The address space was
 * reserved when the file was mapped (f->room), so that nothing moves: other threads use the mapping
 * all the time. What is cut off becomes reserved address space again.
 *
 * Who: api/. Nothing here calls back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/posix.h"

int cm_plat_file_room(struct cm_plat_file *f, uint64_t size, uint64_t *missing)
{
    POSIX_NO_CANCEL;
    const uint64_t is = at_load_relaxed(&f->size);
    uint64_t has;

    *missing = 0;
    if (!cm_posix_size_allowed(size)) {
        return CM_ENOSPC;
    }
    if (f->sparse || size <= is || !cm_posix_free_bytes(f, &has) || size - is <= has) {
        return 0;
    }
    *missing = size - is - has;
    return CM_ENOSPC;
}

static int lengthen(const struct cm_plat_file *f, uint64_t size)
{
    const int fd = file_fd(f);

    if (f->sparse && !cm_posix_reaches(fd, f->size)) {
        return CM_EIO;
    }
    if (f->sparse) {
        return ftruncate(fd, (off_t)size) != 0 ? cm_posix_error(errno) : 0;
    }
    return cm_posix_allocate(f, f->size, size, NULL, NULL);
}

/* Maps what the file has more than is mapped. The last page is mapped again if a page is larger
 * than a block: in the same place, so nobody notices. */
static int map_rest(struct cm_plat_file *f, uint64_t size)
{
    POSIX_NO_FORK; /* as in cm_plat_file_map() */
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t from = f->mapped / page * page;
    const int flags = (f->map_sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED) | MAP_FIXED;
    uint8_t *const at = f->base + from;

    if (mmap(at, size - from, PROT_READ | PROT_WRITE, flags, file_fd(f), (off_t)from) ==
        MAP_FAILED) {
        return errno == ENOMEM ? CM_ENOMEM : CM_EIO;
    }
    if (madvise(at, size - from, MADV_DONTFORK) != 0) {
        return CM_EIO;
    }
    (void)madvise(at, size - from, MADV_DONTDUMP);
    return 0;
}

/* A fork may begin while the file gets its space, and while that is taken back, which both may take
 * seconds: no descriptor is opened or closed there, and nothing is mapped that a child could
 * inherit. The child closes its copy of the descriptor. Its parent goes on with its own. */
int cm_plat_file_grow(struct cm_plat_file *f, uint64_t size)
{
    POSIX_NO_CANCEL;
    const uint64_t was = f->size;
    int rc;

    assert(f->base != NULL && !f->readonly && size > was && f->mapped == was);
    if (size > f->held) {
        return CM_ENOTSUP;
    }
    if (!cm_posix_size_allowed(size)) {
        return CM_ENOSPC;
    }
    rc = lengthen(f, size);
    if (rc == 0) {
        rc = map_rest(f, size);
    }
    if (rc != 0) {
        struct stat st;
        if (cm_plat_file_cut(f, was) != 0 && fstat(file_fd(f), &st) == 0 &&
            (uint64_t)st.st_size > was) {
            at_store_seq_cst(&f->size, (uint64_t)st.st_size); /* what is to be cut off later */
        }
        return rc;
    }
    at_store_relaxed(&f->mapped, size);
    at_store_relaxed(&f->size, size);
    return 0;
}

int cm_plat_file_cut(struct cm_plat_file *f, uint64_t size)
{
    POSIX_NO_CANCEL;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t from = (size + page - 1) / page * page;

    assert(f->base != NULL && size > 0 && size <= f->held);
    at_store_relaxed(&f->mapped, size);
    /* The page in which the file ends now stays mapped. Nobody uses what is behind the end. */
    if (from < f->held &&
        mmap(f->base + from, f->held - from, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
        return CM_EIO;
    }
    /* First the size that it must have at least, then the file: cm_cache_whole() of another thread
     * compares them, and to take back much space takes long. seq_cst: no thread that sees the short
     * file may still see the old size. */
    const uint64_t was = at_load_relaxed(&f->size);
    at_store_seq_cst(&f->size, size);
    const int fd = file_fd(f);
    if (!cm_posix_reaches(fd, size) || ftruncate(fd, (off_t)size) != 0) {
        at_store_seq_cst(&f->size, was); /* it is as long as it was */
        return CM_EIO;
    }
    return 0;
}
