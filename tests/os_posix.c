/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix.c - os.h on POSIX systems.
 */
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *os_temp(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp != NULL ? tmp : "/tmp";
}

bool os_make_dir(char *dir, size_t n, const char *place, const char *name)
{
    (void)snprintf(dir, n, "%s/cachemax-%s-XXXXXX", place != NULL ? place : os_temp(), name);
    return mkdtemp(dir) != NULL;
}

bool os_remove_dir(const char *dir)
{
    return rmdir(dir) == 0;
}

bool os_make_file(char *path, size_t n, const char *name)
{
    int fd;

    (void)snprintf(path, n, "%s/cachemax-%s-XXXXXX", os_temp(), name);
    fd = mkstemp(path);
    return fd >= 0 && close(fd) == 0;
}

int os_resize(const char *path, uint64_t size)
{
    return truncate(path, (off_t)size);
}

int64_t os_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

int64_t os_space(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (int64_t)st.st_blocks * 512 : -1;
}

void *os_aligned(size_t align, size_t bytes)
{
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

void os_aligned_free(void *p)
{
    free(p);
}

void os_protect(void *p, size_t n, enum os_access access)
{
    const int prot = access == OS_NOTHING ? PROT_NONE
                     : access == OS_READ  ? PROT_READ
                                          : PROT_READ | PROT_WRITE;

    if (mprotect(p, n, prot) != 0) {
        perror("mprotect");
        abort();
    }
}

void os_large_pages(void *p, size_t n)
{
#ifdef MADV_HUGEPAGE
    (void)madvise(p, n, MADV_HUGEPAGE); /* refused: small pages do */
#else
    (void)p;
    (void)n;
#endif
}
