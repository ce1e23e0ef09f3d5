/* SPDX-License-Identifier: BSD-2-Clause
 *
 * preload.c - makes calls of a program fail: loaded into the mount and the service by LD_PRELOAD.
 *
 * Calls that the program itself makes are counted, not those of the libraries that it uses: the
 * place that a call returns to lies in the program. $FAULTS says which fails: KIND:N, the N-th call
 * of a kind, or KIND:N:on, that one and all later ones. $FAULTS_COUNT is a file of zeros that gets
 * the counts, a 64-bit number for each kind in the order of kinds[]. Reads and writes of /dev/fuse,
 * of pipes and of events never fail: the kernel, or a thread, would wait for ever for what is lost.
 *
 * Owns: the counts. Who: programs.py.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define KINDS(X)                                                                                   \
    X(malloc)                                                                                      \
    X(calloc)                                                                                      \
    X(realloc)                                                                                     \
    X(aligned_alloc)                                                                               \
    X(posix_memalign)                                                                              \
    X(strdup)                                                                                      \
    X(mmap)                                                                                        \
    X(munmap)                                                                                      \
    X(madvise)                                                                                     \
    X(msync)                                                                                       \
    X(pthread_create)                                                                              \
    X(open)                                                                                        \
    X(openat)                                                                                      \
    X(opendir)                                                                                     \
    X(fdopendir)                                                                                   \
    X(dup)                                                                                         \
    X(read)                                                                                        \
    X(pread)                                                                                       \
    X(write)                                                                                       \
    X(pwrite)                                                                                      \
    X(fstat)                                                                                       \
    X(fstatat)                                                                                     \
    X(statx)                                                                                       \
    X(fstatfs)                                                                                     \
    X(fcntl)                                                                                       \
    X(ioctl)                                                                                       \
    X(fsync)                                                                                       \
    X(fdatasync)                                                                                   \
    X(ftruncate)                                                                                   \
    X(fallocate)                                                                                   \
    X(name_to_handle_at)                                                                           \
    X(getrandom)                                                                                   \
    X(eventfd)                                                                                     \
    X(epoll_create1)                                                                               \
    X(epoll_ctl)                                                                                   \
    X(pipe2)                                                                                       \
    X(memfd_create)                                                                                \
    X(inotify_init1)                                                                               \
    X(inotify_add_watch)                                                                           \
    X(socket)                                                                                      \
    X(socketpair)                                                                                  \
    X(bind)                                                                                        \
    X(listen)                                                                                      \
    X(accept4)                                                                                     \
    X(connect)                                                                                     \
    X(sendmsg)                                                                                     \
    X(recvmsg)                                                                                     \
    X(send)                                                                                        \
    X(recv)                                                                                        \
    X(sigaction)

enum kind {
#define X(name) KIND_##name,
    KINDS(X)
#undef X
        KIND_COUNT
};
static const char *const kinds[KIND_COUNT] = {
#define X(name) #name,
    KINDS(X)
#undef X
};

static uintptr_t code, code_end; /* of the program */
static _Atomic uint64_t here[KIND_COUNT], *count = here;
static int failing = -1;
static uint64_t at;
static bool on;

static int find_code(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size, (void)data;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
            code = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            code_end = code + info->dlpi_phdr[i].p_memsz;
        }
    return 1; /* the first is the program */
}

static void begin(void) __attribute__((constructor));
static void begin(void)
{
    const char *what = getenv("FAULTS"), *file = getenv("FAULTS_COUNT");
    char name[40];
    const int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    void *p =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(here), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED)
        count = p;
    if (fd >= 0)
        (void)close(fd);
    unsigned long long n = 0;
    if (what && sscanf(what, "%39[^:]:%llu", name, &n) == 2)
        for (int i = 0; i < KIND_COUNT; i++)
            if (strcmp(kinds[i], name) == 0)
                failing = i;
    at = n;
    on = what && strstr(what, ":on") != NULL;
    (void)dl_iterate_phdr(find_code, NULL);
    (void)unsetenv("LD_PRELOAD"); /* not in what the program starts */
}

static bool fails(enum kind k, const void *from)
{
    if ((uintptr_t)from < code || (uintptr_t)from >= code_end)
        return false;
    const uint64_t n = atomic_fetch_add(&count[k], 1) + 1;
    return (int)k == failing && (n == at || (on && n > at));
}

static bool spared(int fd)
{
    struct stat st;
    return fstat(fd, &st) != 0 ||
           !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISSOCK(st.st_mode));
}

#define NEXT(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))
#define FAIL_AT(kind, err, bad)                                                                    \
    do {                                                                                           \
        if (fails(KIND_##kind, __builtin_return_address(0))) {                                     \
            errno = (err);                                                                         \
            return bad;                                                                            \
        }                                                                                          \
    } while (0)
/* A function that fails with an errno. */
#define FAILS(type, name, kind, err, bad, params, args)                                            \
    type name params                                                                               \
    {                                                                                              \
        FAIL_AT(kind, err, bad);                                                                   \
        return NEXT(name) args;                                                                    \
    }
/* The same, but only for files, directories and sockets. */
#define FAILS_FD(type, name, kind, err, params, args)                                              \
    type name params                                                                               \
    {                                                                                              \
        if (!spared(fd))                                                                           \
            FAIL_AT(kind, err, -1);                                                                \
        return NEXT(name) args;                                                                    \
    }

/* ---- Memory: dlsym() itself needs some ------------------------------------------------------- */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
    FAIL_AT(malloc, ENOMEM, NULL);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    FAIL_AT(calloc, ENOMEM, NULL);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    FAIL_AT(realloc, ENOMEM, NULL);
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    FAIL_AT(aligned_alloc, ENOMEM, NULL);
    return __libc_memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    FAIL_AT(posix_memalign, ENOMEM, ENOMEM);
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

FAILS(char *, strdup, strdup, ENOMEM, NULL, (const char *s), (s))
FAILS(void *, mmap64, mmap, ENOMEM, MAP_FAILED,
      (void *p, size_t n, int prot, int flags, int fd, off64_t from), (p, n, prot, flags, fd, from))
FAILS(int, madvise, madvise, ENOMEM, -1, (void *p, size_t n, int advice), (p, n, advice))
FAILS(int, msync, msync, EIO, -1, (void *p, size_t n, int flags), (p, n, flags))

int munmap(void *p, size_t n)
{
    const int result = NEXT(munmap)(p, n);
    FAIL_AT(munmap, ENOMEM, -1);
    return result;
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    FAIL_AT(pthread_create, EAGAIN, EAGAIN);
    return NEXT(pthread_create)(t, a, fn, arg);
}

/* ---- Files ----------------------------------------------------------------------------------- */

int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (strcmp(path, "/dev/fuse") != 0)
        FAIL_AT(open, EMFILE, -1);
    return NEXT(open64)(path, flags, mode);
}

/* What these two are in a program that was built with _FORTIFY_SOURCE. */
int __open64_2(const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
int __open64_2(const char *path, int flags)
{
    return open64(path, flags);
}
int __openat64_2(int dir, const char *path, int flags)
{
    return openat64(dir, path, flags);
}

int openat64(int dir, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    FAIL_AT(openat, EMFILE, -1);
    return NEXT(openat64)(dir, path, flags, mode);
}

int fcntl64(int fd, int cmd, ...)
{
    va_list ap;
    va_start(ap, cmd);
    void *const arg = va_arg(ap, void *);
    va_end(ap);
    if (cmd == F_DUPFD_CLOEXEC)
        FAIL_AT(dup, EMFILE, -1);
    else if (cmd != F_GETFL && cmd != F_SETFL && cmd != F_GETFD && cmd != F_SETFD)
        FAIL_AT(fcntl, ENOLCK, -1);
    return NEXT(fcntl64)(fd, cmd, arg);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *const arg = va_arg(ap, void *);
    va_end(ap);
    if (!spared(fd))
        FAIL_AT(ioctl, EIO, -1);
    return NEXT(ioctl)(fd, request, arg);
}

FAILS(DIR *, opendir, opendir, EMFILE, NULL, (const char *path), (path))
FAILS(DIR *, fdopendir, fdopendir, ENOMEM, NULL, (int fd), (fd))
FAILS_FD(ssize_t, read, read, EIO, (int fd, void *buf, size_t n), (fd, buf, n))
FAILS_FD(ssize_t, write, write, EIO, (int fd, const void *buf, size_t n), (fd, buf, n))
FAILS(ssize_t, pread64, pread, EIO, -1, (int fd, void *buf, size_t n, off64_t from),
      (fd, buf, n, from))
FAILS(ssize_t, pwrite64, pwrite, ENOSPC, -1, (int fd, const void *buf, size_t n, off64_t from),
      (fd, buf, n, from))
FAILS(ssize_t, pwritev64v2, pwrite, ENOSPC, -1,
      (int fd, const struct iovec *v, int n, off64_t from, int flags), (fd, v, n, from, flags))
FAILS(int, fstat64, fstat, EIO, -1, (int fd, struct stat64 *st), (fd, st))
FAILS(int, fstatat64, fstatat, EIO, -1, (int d, const char *p, struct stat64 *st, int flags),
      (d, p, st, flags))
FAILS(int, statx, statx, EIO, -1, (int d, const char *p, int f, unsigned m, struct statx *st),
      (d, p, f, m, st))
FAILS(int, fstatfs64, fstatfs, EIO, -1, (int fd, struct statfs64 *fs), (fd, fs))
FAILS(int, fsync, fsync, EIO, -1, (int fd), (fd))
FAILS(int, fdatasync, fdatasync, EIO, -1, (int fd), (fd))
FAILS(int, ftruncate64, ftruncate, ENOSPC, -1, (int fd, off64_t n), (fd, n))
FAILS(int, fallocate64, fallocate, ENOSPC, -1, (int fd, int mode, off64_t from, off64_t n),
      (fd, mode, from, n))
FAILS(int, name_to_handle_at, name_to_handle_at, EIO, -1,
      (int d, const char *p, struct file_handle *h, int *mount, int flags), (d, p, h, mount, flags))
FAILS(ssize_t, getrandom, getrandom, EAGAIN, -1, (void *p, size_t n, unsigned f), (p, n, f))

/* ---- Events and sockets ---------------------------------------------------------------------- */

FAILS(int, eventfd, eventfd, EMFILE, -1, (unsigned n, int flags), (n, flags))
FAILS(int, epoll_create1, epoll_create1, EMFILE, -1, (int flags), (flags))
FAILS(int, epoll_ctl, epoll_ctl, ENOMEM, -1, (int e, int op, int fd, struct epoll_event *ev),
      (e, op, fd, ev))
FAILS(int, pipe2, pipe2, EMFILE, -1, (int fd[2], int flags), (fd, flags))
FAILS(int, memfd_create, memfd_create, EMFILE, -1, (const char *name, unsigned f), (name, f))
FAILS(int, inotify_init1, inotify_init1, EMFILE, -1, (int flags), (flags))
FAILS(int, inotify_add_watch, inotify_add_watch, ENOSPC, -1,
      (int fd, const char *path, uint32_t mask), (fd, path, mask))
FAILS(int, socket, socket, EMFILE, -1, (int d, int type, int p), (d, type, p))
FAILS(int, socketpair, socketpair, EMFILE, -1, (int d, int type, int p, int fd[2]),
      (d, type, p, fd))
FAILS(int, bind, bind, EACCES, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILS(int, listen, listen, EADDRINUSE, -1, (int fd, int n), (fd, n))
FAILS(int, accept4, accept4, EMFILE, -1, (int fd, struct sockaddr *a, socklen_t *n, int flags),
      (fd, a, n, flags))
FAILS(int, connect, connect, ECONNREFUSED, -1, (int fd, const struct sockaddr *a, socklen_t n),
      (fd, a, n))
FAILS(ssize_t, sendmsg, sendmsg, EPIPE, -1, (int fd, const struct msghdr *m, int f), (fd, m, f))
FAILS(ssize_t, recvmsg, recvmsg, ECONNRESET, -1, (int fd, struct msghdr *m, int f), (fd, m, f))
FAILS(ssize_t, send, send, EPIPE, -1, (int fd, const void *p, size_t n, int f), (fd, p, n, f))
FAILS(ssize_t, recv, recv, ECONNRESET, -1, (int fd, void *p, size_t n, int f), (fd, p, n, f))
FAILS(int, sigaction, sigaction, EINVAL, -1,
      (int sig, const struct sigaction *a, struct sigaction *old), (sig, a, old))
