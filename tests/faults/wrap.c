/* SPDX-License-Identifier: BSD-2-Clause
 *
 * wrap.c - functions of the system and of the platform that fail when inject.h says so.
 *
 * Owns: no data but the counts of what is held (struct held). The program is linked with --wrap, so
 * that the library calls these. A call that fails does nothing, with three exceptions: close and
 * munmap do what they say and report an error, and a step of a clock is a result.
 *
 * Who: the library.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "inject.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "persist/persist.h"

/* A function that returns `bad` with an errno if it fails. */
#define FAILS(type, name, kind, err, bad, params, args)                                            \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        if (inject_fails(INJECT_##kind)) {                                                         \
            errno = (err);                                                                         \
            return bad;                                                                            \
        }                                                                                          \
        return __real_##name args;                                                                 \
    }

FAILS(int, stat64, stat, EIO, -1, (const char *p, struct stat64 *st), (p, st))
FAILS(int, fstat64, fstat, EIO, -1, (int fd, struct stat64 *st), (fd, st))
FAILS(int, lstat64, lstat, EIO, -1, (const char *p, struct stat64 *st), (p, st))
FAILS(int, fstatfs64, fstatfs, EIO, -1, (int fd, struct statfs64 *fs), (fd, fs))
FAILS(int, statx, statx, EIO, -1, (int d, const char *p, int f, unsigned m, struct statx *st),
      (d, p, f, m, st))
FAILS(ssize_t, read, read, EIO, -1, (int fd, void *buf, size_t n), (fd, buf, n))
FAILS(ssize_t, pread64, pread, EIO, -1, (int fd, void *buf, size_t n, off64_t at), (fd, buf, n, at))
FAILS(ssize_t, pwrite64, pwrite, ENOSPC, -1, (int fd, const void *buf, size_t n, off64_t at),
      (fd, buf, n, at))
FAILS(ssize_t, readlink, readlink, EACCES, -1, (const char *p, char *buf, size_t n), (p, buf, n))
FAILS(ssize_t, readlinkat, readlinkat, EACCES, -1, (int d, const char *p, char *buf, size_t n),
      (d, p, buf, n))
FAILS(int, ftruncate64, ftruncate, ENOSPC, -1, (int fd, off64_t n), (fd, n))
FAILS(int, fallocate64, fallocate, ENOSPC, -1, (int fd, int mode, off64_t from, off64_t n),
      (fd, mode, from, n))
FAILS(int, linkat, linkat, EIO, -1, (int d, const char *p, int e, const char *q, int flags),
      (d, p, e, q, flags))
FAILS(int, rename, rename, EIO, -1, (const char *p, const char *q), (p, q))
FAILS(int, renameat2, renameat2, EIO, -1,
      (int d, const char *p, int e, const char *q, unsigned flags), (d, p, e, q, flags))
FAILS(int, unlink, unlink, EIO, -1, (const char *p), (p))
FAILS(int, fchmod, fchmod, EPERM, -1, (int fd, mode_t mode), (fd, mode))
FAILS(int, fsync, fsync, EIO, -1, (int fd), (fd))
FAILS(int, msync, msync, EIO, -1, (void *p, size_t n, int flags), (p, n, flags))
FAILS(int, madvise, madvise, ENOMEM, -1, (void *p, size_t n, int advice), (p, n, advice))
FAILS(int, mincore, mincore, ENOMEM, -1, (void *p, size_t n, unsigned char *v), (p, n, v))
FAILS(ssize_t, getrandom, getrandom, EAGAIN, -1, (void *p, size_t n, unsigned f), (p, n, f))
FAILS(int, sigaction, sigaction, EINVAL, -1,
      (int sig, const struct sigaction *a, struct sigaction *old), (sig, a, old))
FAILS(int, name_to_handle_at, name_to_handle_at, EIO, -1,
      (int d, const char *p, struct file_handle *h, int *mount, int flags), (d, p, h, mount, flags))

/* ---- Files ----------------------------------------------------------------------------------- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (inject_fails(INJECT_open)) {
        errno = EMFILE;
        return -1;
    }
    const int fd = __real_open64(path, flags, mode);
    held.files += fd >= 0;
    return fd;
}

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...)
{
    if (inject_fails(INJECT_openat)) {
        errno = EMFILE;
        return -1;
    }
    const int fd = __real_openat64(dir, path, flags); /* never makes a file */
    held.files += fd >= 0;
    return fd;
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
    if (inject_fails(INJECT_opendir)) {
        errno = EMFILE;
        return NULL;
    }
    DIR *const dir = __real_opendir(path);
    held.files += dir != NULL;
    return dir;
}

int __real_closedir(DIR *dir);
int __wrap_closedir(DIR *dir);
int __wrap_closedir(DIR *dir)
{
    held.files--;
    return __real_closedir(dir);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    held.files--;
    const int result = __real_close(fd);
    if (inject_fails(INJECT_close)) {
        errno = EIO;
        return -1;
    }
    return result;
}

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...)
{
    va_list ap;
    va_start(ap, cmd);
    void *const arg = va_arg(ap, void *); /* as the C library itself does */
    va_end(ap);
    if (cmd != F_GETFL && inject_fails(INJECT_fcntl)) { /* what a descriptor is never fails */
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl64(fd, cmd, arg);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *const arg = va_arg(ap, void *);
    va_end(ap);
    if (inject_fails(INJECT_ioctl)) {
        errno = EIO;
        return -1;
    }
    return __real_ioctl(fd, request, arg);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static size_t in_pages(size_t n)
{
    return (n + 4095) / 4096;
}

void *__real_mmap64(void *p, size_t n, int prot, int flags, int fd, off64_t at);
void *__wrap_mmap64(void *p, size_t n, int prot, int flags, int fd, off64_t at);
void *__wrap_mmap64(void *p, size_t n, int prot, int flags, int fd, off64_t at)
{
    if (inject_fails(INJECT_mmap)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *const got = __real_mmap64(p, n, prot, flags, fd, at);
    if (got != MAP_FAILED && !(flags & MAP_FIXED)) /* else it replaces what was there */
        held.mapped += (int64_t)in_pages(n);
    return got;
}

void *__real_mremap(void *p, size_t was, size_t n, int flags, ...);
void *__wrap_mremap(void *p, size_t was, size_t n, int flags, ...);
void *__wrap_mremap(void *p, size_t was, size_t n, int flags, ...)
{
    if (inject_fails(INJECT_mremap)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *const got = __real_mremap(p, was, n, flags);
    if (got != MAP_FAILED)
        held.mapped += (int64_t)in_pages(n) - (int64_t)in_pages(was);
    return got;
}

int __real_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n)
{
    const int result = __real_munmap(p, n);
    if (result == 0)
        held.mapped -= (int64_t)in_pages(n);
    if (inject_fails(INJECT_munmap)) {
        errno = ENOMEM;
        return -1;
    }
    return result;
}

int __real_mlock2(const void *p, size_t n, unsigned flags);
int __wrap_mlock2(const void *p, size_t n, unsigned flags);
int __wrap_mlock2(const void *p, size_t n, unsigned flags)
{
    if (inject_fails(INJECT_mlock2)) {
        errno = ENOMEM;
        return -1;
    }
    const int result = __real_mlock2(p, n, flags);
    held.locked += result == 0;
    return result;
}

int __real_munlock(const void *p, size_t n);
int __wrap_munlock(const void *p, size_t n);
int __wrap_munlock(const void *p, size_t n)
{
    held.locked--;
    return __real_munlock(p, n);
}

static void *made(void *p)
{
    held.memory += p != NULL;
    return p;
}

/* Memory that a function of the C library returns; the library frees it. */
#define MAKES(name, kind, params, args)                                                            \
    void *__real_##name params;                                                                    \
    void *__wrap_##name params;                                                                    \
    void *__wrap_##name params                                                                     \
    {                                                                                              \
        if (inject_fails(INJECT_##kind)) {                                                         \
            errno = ENOMEM;                                                                        \
            return NULL;                                                                           \
        }                                                                                          \
        return made(__real_##name args);                                                           \
    }

MAKES(malloc, malloc, (size_t n), (n))
MAKES(aligned_alloc, aligned_alloc, (size_t align, size_t n), (align, n))
MAKES(strdup, strdup, (const char *s), (s))
MAKES(strndup, strdup, (const char *s, size_t n), (s, n))
MAKES(realpath, realpath, (const char *path, char *real), (path, real))

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
    if (inject_fails(INJECT_realloc)) {
        errno = ENOMEM;
        return NULL;
    }
    void *const got = __real_realloc(p, n);
    held.memory += p == NULL && got != NULL;
    return got;
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
    held.memory -= p != NULL;
    __real_free(p);
}

/* ---- The platform ---------------------------------------------------------------------------- */

/* A function of platform.h that returns one of its errors. */
#define REFUSES(name, kind, code, params, args)                                                    \
    int __real_##name params;                                                                      \
    int __wrap_##name params;                                                                      \
    int __wrap_##name params                                                                       \
    {                                                                                              \
        return inject_fails(INJECT_##kind) ? (code) : __real_##name args;                          \
    }

REFUSES(cm_plat_file_create, plat_create, CM_ENOSPC,
        (struct cm_plat_file * f, const char *path, uint64_t size, bool prealloc,
         int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx),
        (f, path, size, prealloc, progress, ctx))
REFUSES(cm_plat_file_link, plat_link, CM_EEXIST, (struct cm_plat_file * f, const char *path),
        (f, path))
REFUSES(cm_plat_file_replace, plat_replace, CM_EMOVED,
        (struct cm_plat_file * f, const char *made_as, struct cm_plat_file *old, const char *path,
         bool *replaced),
        (f, made_as, old, path, replaced))
REFUSES(cm_plat_file_open, plat_open, CM_EACCES,
        (struct cm_plat_file * f, const char *path, bool readonly), (f, path, readonly))
REFUSES(cm_plat_file_cut, plat_cut, CM_EIO, (struct cm_plat_file * f, uint64_t size), (f, size))
REFUSES(cm_plat_file_grow, plat_grow, CM_ENOSPC, (struct cm_plat_file * f, uint64_t size),
        (f, size))
REFUSES(cm_plat_file_sync, plat_sync, CM_EIO,
        (struct cm_plat_file * f, uint64_t offset, uint64_t len), (f, offset, len))
REFUSES(cm_plat_file_sync_dir, plat_sync_dir, CM_EIO, (const char *path), (path))
REFUSES(cm_plat_file_state, plat_state, CM_EIO,
        (struct cm_plat_file * f, uint64_t *size, bool *named), (f, size, named))
REFUSES(cm_plat_random, plat_random, CM_EIO, (void *buf, size_t n), (buf, n))

/* Nobody else can own a file that has no name yet. */
int __real_cm_plat_file_lock(struct cm_plat_file *f);
int __wrap_cm_plat_file_lock(struct cm_plat_file *f);
int __wrap_cm_plat_file_lock(struct cm_plat_file *f)
{
    struct stat64 st;
    if (!inject_fails(INJECT_plat_lock))
        return __real_cm_plat_file_lock(f);
    return __real_fstat64((int)f->handle, &st) == 0 && st.st_nlink > 0 ? CM_EOWNED : CM_EIO;
}

int __real_cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                                     char why[PLAT_WHY]);
int __wrap_cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                                     char why[PLAT_WHY]);
int __wrap_cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                                     char why[PLAT_WHY])
{
    if (!inject_fails(INJECT_plat_open))
        return __real_cm_plat_file_open_trusted(f, path, readonly, why);
    (void)snprintf(why, PLAT_WHY, "the test says so");
    return CM_EUNTRUSTED;
}

/* Says that the volume is a disk whose syncs last: so the library syncs what it must. */
int __real_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    if (inject_fails(INJECT_plat_map))
        return CM_ENOMEM;
    const int e = __real_cm_plat_file_map(f, align, durability);
    *durability = CM_DURABILITY_PAGECACHE;
    return e;
}

bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME]);
bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f;
    what[0] = 0;
    return true;
}

void *__real_cm_plat_alloc(size_t bytes);
void *__wrap_cm_plat_alloc(size_t bytes);
void *__wrap_cm_plat_alloc(size_t bytes)
{
    return inject_fails(INJECT_plat_alloc) ? NULL : __real_cm_plat_alloc(bytes);
}

int __real_cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code);
int __wrap_cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code);
int __wrap_cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code)
{
    const int e =
        inject_fails(INJECT_plat_guard_add) ? CM_ENOMEM : __real_cm_plat_guard_add(base, len, code);
    held.guarded += e == 0;
    return e;
}

void __real_cm_plat_guard_remove(const void *base);
void __wrap_cm_plat_guard_remove(const void *base);
void __wrap_cm_plat_guard_remove(const void *base)
{
    held.guarded--;
    __real_cm_plat_guard_remove(base);
}

/* A wait that fails ends at once, as one that ends for no reason. */
bool __real_cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
bool __wrap_cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
bool __wrap_cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    return inject_fails(INJECT_plat_wait) || __real_cm_plat_wait_until(word, expected, deadline_ns);
}

/* ---- Loads and stores in the pool ------------------------------------------------------------ */

REFUSES(cm_guard_load64, media_load, CM_EIO, (const uint64_t *p, uint64_t *v), (p, v))
REFUSES(cm_guard_load_words, media_load, CM_EIO, (const uint64_t *p, uint64_t *v, size_t n),
        (p, v, n))
REFUSES(cm_guard_find, media_load, CM_EIO, (const uint64_t *line, uint64_t tag, uint64_t *word),
        (line, tag, word))
REFUSES(cm_guard_find_each, media_load, CM_EIO,
        (const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n),
        (line, hash, word, n))
REFUSES(cm_guard_look_before, media_load, CM_EIO,
        (const uint64_t *header, size_t n, const uint64_t key[2], uint64_t *w0),
        (header, n, key, w0))
REFUSES(cm_guard_look_after, media_load, CM_EIO,
        (const uint64_t *header, size_t n, const uint64_t *w0), (header, n, w0))
REFUSES(cm_guard_copy, media_load, CM_EIO, (void *dst, const void *src, size_t n), (dst, src, n))

/* So that hits go through the calls above. */
cm_guard_take_fn __wrap_cm_guard_take_choose(void);
cm_guard_take_fn __wrap_cm_guard_take_choose(void)
{
    return NULL;
}

static struct cm_persist_ops table;
static const struct cm_persist_ops *own;

static int store(void *ctx, uint64_t *p, uint64_t v)
{
    return inject_fails(INJECT_media_store) ? CM_EIO : own->store64(ctx, p, v);
}

static int cas(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    return inject_fails(INJECT_media_store) ? CM_EIO : own->cas64(ctx, p, expected, desired);
}

/* A write that fails is half done. */
static int put(void *ctx, void *dst, const void *src, size_t n)
{
    if (!inject_fails(INJECT_media_store))
        return own->write(ctx, dst, src, n);
    (void)own->write(ctx, dst, src, n / 16 * 8);
    return CM_EIO;
}

static int copy(void *ctx, void *dst, const void *src, size_t n)
{
    return inject_fails(INJECT_media_store) ? CM_EIO : own->copy(ctx, dst, src, n);
}

static int flush(void *ctx, const void *p, size_t n)
{
    return inject_fails(INJECT_media_store) ? CM_EIO : own->flush(ctx, p, n);
}

const struct cm_persist_ops *__real_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need)
{
    own = __real_cm_persist_choose(need);
    table = *own;
    table.store64 = store;
    table.cas64 = cas;
    table.write = put;
    table.copy = copy;
    table.flush = flush;
    return &table;
}

/* ---- Clocks ---------------------------------------------------------------------------------- */

#define HOUR_NS UINT64_C(3600000000000)
#define YEARS_NS (INT64_C(10) * 365 * 24 * (int64_t)HOUR_NS)

/* A monotonic clock jumps forwards (a virtual machine was stopped), and stays there. */
uint64_t __real_cm_plat_now_ns(void);
uint64_t __wrap_cm_plat_now_ns(void);
uint64_t __wrap_cm_plat_now_ns(void)
{
    static uint64_t ahead;
    if (inject_fails(INJECT_clock_now))
        ahead += HOUR_NS;
    return __real_cm_plat_now_ns() + ahead;
}

/* The wall clock is set back or forwards by ten years; once: and then right again. */
int64_t __real_cm_plat_wall_ns(void);
int64_t __wrap_cm_plat_wall_ns(void);
int64_t __wrap_cm_plat_wall_ns(void)
{
    const int64_t now = __real_cm_plat_wall_ns();
    const bool back = inject_fails(INJECT_clock_wall_back), on = inject_fails(INJECT_clock_wall_on);
    return now - (back ? YEARS_NS : 0) + (on ? YEARS_NS : 0);
}
