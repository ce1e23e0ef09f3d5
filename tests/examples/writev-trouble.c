/* SPDX-License-Identifier: BSD-2-Clause
 *
 * writev-trouble.c - writev-test.sh links it to examples/writev: each call of the library changes
 * errno, and large reads, which are those of the origin, fail if BAD_ORIGIN is set.
 */
#define _GNU_SOURCE
#include <cachemax.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
    ssize_t (*next)(int, void *, size_t, off_t);
    *(void **)&next = dlsym(RTLD_NEXT, "pread");
    if (n >= 1 << 16 && getenv("BAD_ORIGIN"))
        return errno = EIO, -1;
    return next(fd, buf, n, off);
}

int cm_unpin(cm_pins *pins)
{
    int (*next)(cm_pins *), e;
    *(void **)&next = dlsym(RTLD_NEXT, "cm_unpin");
    e = next(pins);
    errno = 0;
    return e;
}

int64_t cm_read_through(cm_file *f, uint64_t off, void *buf, size_t n, cm_origin_read_fn origin,
                        void *ctx)
{
    int64_t (*next)(cm_file *, uint64_t, void *, size_t, cm_origin_read_fn, void *), got;
    *(void **)&next = dlsym(RTLD_NEXT, "cm_read_through");
    got = next(f, off, buf, n, origin, ctx);
    errno = 0;
    return got;
}
