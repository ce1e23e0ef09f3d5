/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops.c - the operations that FUSE asks for: those that libfuse3 and WinFsp both have.
 *
 * Owns: nothing but the handles of open files. Who: main.c. Every thread of FUSE.
 */
#include "ops.h"

#include "announce.h"
#include "cache.h"
#include "handles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <pthread.h>
#include <search.h>
#endif

#ifdef __linux__
#define KEEP_BOTH 1u /* RENAME_NOREPLACE */
#else
#define KEEP_BOTH 0u
#endif

#ifdef _WIN32
/* Files belong to who has started it. For everyone the rights are given as they are. Those that
 * WinFsp makes of a mode are too few: programs ask for FILE_WRITE_EA, too, to write a file. */
#define OPTIONS "-ouid=-1,gid=-1,FileSystemName=NTFS"
#define FOR_EVERYONE OPTIONS ",FileSecurity=D:P(A;;FA;;;WD)"
#else
#define SHOWN_AS "fsname=cachemax-winfsp,subtype=cachemax"
#define OPTIONS "-o" SHOWN_AS
#define FOR_EVERYONE "-oallow_other,default_permissions," SHOWN_AS
#endif

const char *ops_options(bool everyone)
{
    return everyone ? FOR_EVERYONE : OPTIONS;
}

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    return fi && fi->fh ? (struct handle *)(uintptr_t)fi->fh : NULL;
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
#ifdef FSP_FUSE_CAP_CASE_INSENSITIVE
    conn->want |= conn->capable & FSP_FUSE_CAP_CASE_INSENSITIVE; /* as Windows compares names */
#else
    /* The kernel drops no pages because of new times: nobody else changes a file, and the pages of
     * a write() that is on its way would go, too. A mapping would get the old content back. */
    conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
#endif
    config->use_ino = 1;
    /* What is deleted while it is open is deleted at once, and gets no hidden name: those would
     * stay after a kill. Then its calls have no path. All others have one: a directory has no
     * handle, so nullpath_ok would leave its calls with nothing. */
    config->hard_remove = 1;
    announce_init();
    return NULL;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static int open_file(const char *path, struct fuse_file_info *fi, bool create, api_mode mode)
{
    const int access = fi->flags & O_ACCMODE;
    const struct origin_how how = { .reads = access != O_WRONLY,
                                    .writes = access != O_RDONLY || (fi->flags & O_TRUNC),
                                    .create = create,
                                    .exclusive = create && (fi->flags & O_EXCL),
                                    .mode = mode };
    struct handle *h = calloc(1, sizeof(*h));
    api_stat st;
    int e = h ? origin_open(path, &how, &h->f) : -ENOMEM;

    if (e < 0) {
        free(h);
        return e;
    }
    h->writes = how.writes;
    cache_attach(h);
    if (fi->flags & O_TRUNC)
        e = cache_set_size(h, 0);
    if (e < 0) {
        (void)cache_detach(h, path);
        free(h);
        return e;
    }
    handles_add(h);
    (void)cache_stat(h, &st); /* names that another one has seen meanwhile, and is closed */
    fi->fh = (uintptr_t)h;
    return 0;
}

#ifdef __linux__
struct number {
    dev_t dev;
    ino_t ino;
};

static int compare_numbers(const void *a, const void *b)
{
    const struct number *x = a, *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Has the file several names, or has it had them at an open? */
static bool has_had_names(const api_stat *st)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static void *seen; /* struct number; they stay */
    static bool lost;  /* there was no memory to note one: then all have had several */
    const struct number is = { st->st_dev, st->st_ino };
    const bool several = st->st_nlink > 1;
    struct number *noted = several ? malloc(sizeof(*noted)) : NULL;
    struct number **at = NULL;
    bool has;

    pthread_mutex_lock(&lock);
    if (noted) {
        *noted = is;
        at = tsearch(noted, &seen, compare_numbers);
        if (!at || *at != noted)
            free(noted);
    }
    lost = lost || (several && !at);
    has = several || lost || tfind(&is, &seen, compare_numbers);
    pthread_mutex_unlock(&lock);
    return has;
}

/* Nor does an open. But each name of a file has pages of its own, which a write by another name
 * does not change: then there are none at all, also when one name is left. */
static int keep_pages(struct fuse_file_info *fi, int e)
{
    api_stat st;

    if (e == 0 && origin_stat_file(handle_of(fi)->f, &st) == 0) {
        fi->direct_io = has_had_names(&st);
        fi->keep_cache = !fi->direct_io;
    }
    return e;
}
#else
static int keep_pages(struct fuse_file_info *fi, int e)
{
    (void)fi; /* WinFsp keeps no pages */
    return e;
}
#endif

static int op_open(const char *path, struct fuse_file_info *fi)
{
    return keep_pages(fi, open_file(path, fi, false, 0));
}

static int op_create(const char *path, api_mode mode, struct fuse_file_info *fi)
{
    return keep_pages(fi, open_file(path, fi, true, mode));
}

static void close_file(struct handle *h, const char *path)
{
    handles_remove(h);
    (void)cache_detach(h, path);
    free(h);
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
    close_file(handle_of(fi), path);
    return 0;
}

/* Their names are not known any more, so those that were changed are cold next time. */
size_t ops_end(void)
{
    struct handle *h;
    size_t n = 0;

    for (; (h = handles_any()) != NULL; n++)
        close_file(h, NULL);
    return n;
}

static int op_read(const char *path, char *buf, size_t size, api_off off, struct fuse_file_info *fi)
{
    (void)path;
    return (int)cache_read(handle_of(fi), (uint64_t)off, buf, size);
}

/* Of a handle that may only read. CREATE_ALWAYS truncates by such a one, and Windows writes what is
 * mapped by any handle of the file. */
static int open_writer(const struct handle *h, struct handle *own)
{
    const int e = origin_reopen(h->f, &own->f);

    if (e < 0)
        return e;
    cache_attach(own);
    if (own->id.hi == h->id.hi && own->id.lo == h->id.lo)
        return 0;
    (void)cache_detach(own, NULL); /* Wine opens what has the name now */
    return -EACCES;
}

static int op_write(const char *path, const char *buf, size_t size, api_off off,
                    struct fuse_file_info *fi)
{
    struct handle own = { 0 };
    int n;

    if (handle_of(fi)->writes)
        return (int)cache_write(handle_of(fi), (uint64_t)off, buf, size);
    n = open_writer(handle_of(fi), &own);
    if (n < 0)
        return n;
    n = (int)cache_write(&own, (uint64_t)off, buf, size);
    (void)cache_detach(&own, path);
    return n;
}

static int op_truncate(const char *path, api_off size, struct fuse_file_info *fi)
{
    const struct origin_how how = { .writes = true };
    struct handle own = { 0 };
    int e;

    if (handle_of(fi) && handle_of(fi)->writes)
        return cache_set_size(handle_of(fi), (uint64_t)size);
    if (handle_of(fi))
        e = open_writer(handle_of(fi), &own);
    else if ((e = origin_open(path, &how, &own.f)) == 0)
        cache_attach(&own);
    if (e < 0)
        return e;
    e = cache_set_size(&own, (uint64_t)size);
    (void)cache_detach(&own, path);
    return e;
}

static int op_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)path;
    return cache_sync(handle_of(fi), datasync != 0);
}

/* ---- Attributes ------------------------------------------------------------------------------ */

static int op_getattr(const char *path, api_stat *st, struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);

    return h ? cache_stat(h, st) : origin_stat(path, st);
}

static int op_chmod(const char *path, api_mode mode, struct fuse_file_info *fi)
{
    struct cache_change c;
    int e;

    (void)fi;
    if (!path)
        return -ENOENT;
    cache_change_begin(&c, path);
    e = origin_chmod(path, mode);
    cache_change_end(&c, path);
    return e;
}

static int op_utimens(const char *path, const api_timespec tv[2], struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);
    struct cache_change c;
    int e = -EACCES;

    if (h)
        atomic_store(&h->changed, true);
    if (h && !path)
        return origin_set_times_of(h->f, tv);
    if (!path)
        return -ENOENT;
    cache_change_begin(&c, path);
    if (h)
        e = origin_set_times_of(h->f, tv);
    if (e == -EACCES) /* there is none, or it may only read */
        e = origin_set_times(path, tv);
    /* NTFS sets the time of the last write anew when a handle is closed that has written, but not
     * if the time was set by that handle. It may be any of them: WinFsp gives none. */
    if (e == 0)
        handles_set_times(&c.h.id, tv);
    cache_change_end(&c, path);
    return e;
}

static int op_statfs(const char *path, api_statvfs *s)
{
    (void)path;
    return origin_space(s);
}

/* ---- Names ----------------------------------------------------------------------------------- */

struct listing {
    void *buf;
    fuse_fill_dir_t fill;
};

static bool list_one(void *ctx, const char *name, const api_stat *st)
{
    const struct listing *l = ctx;

    return l->fill(l->buf, name, st, 0, (enum fuse_fill_dir_flags)0) == 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, api_off off,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    struct listing l = { buf, fill };

    (void)off, (void)fi, (void)flags;
    return path ? origin_list(path, list_one, &l) : -ENOENT;
}

static int op_mkdir(const char *path, api_mode mode)
{
    return origin_mkdir(path, mode);
}

static int op_rmdir(const char *path)
{
    return origin_rmdir(path);
}

static int op_unlink(const char *path)
{
    struct cache_victim v;
    int e;

    cache_victim(&v, path);
    e = origin_unlink(path);
    if (e == 0)
        cache_victim_gone(&v);
    return e;
}

/* The file at `to` loses that name, as with unlink. It is not forgotten if both are names of one
 * file: with other letters, on Windows, it gets a new name; else it has two, and nothing happens.
 */
static int op_rename(const char *from, const char *to, unsigned flags)
{
    struct cache_change moved;
    struct cache_victim v;
    bool same;
    int e;

    if (flags & ~KEEP_BOTH)
        return -EINVAL;
    cache_victim(&v, to);
    cache_change_begin(&moved, from);
    same = cache_victim_is(&v, &moved);
    e = origin_rename(from, to, (flags & KEEP_BOTH) != 0);
    cache_change_end(&moved, e == 0 ? to : from);
    if (e == 0 && !same)
        cache_victim_gone(&v);
    return e;
}

static int op_readlink(const char *path, char *buf, size_t room)
{
    return origin_read_link(path, buf, room);
}

static int op_symlink(const char *to, const char *path)
{
    return origin_make_link(to, path);
}

static int op_fsyncdir(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)datasync, (void)fi;
    return path ? origin_sync_names(path) : -ENOENT;
}

const struct fuse_operations ops = {
    .init = op_init,
    .getattr = op_getattr,
    .readlink = op_readlink,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .chmod = op_chmod,
    .truncate = op_truncate,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .statfs = op_statfs,
    .release = op_release,
    .fsync = op_fsync,
    .readdir = op_readdir,
    .fsyncdir = op_fsyncdir,
    .create = op_create,
    .utimens = op_utimens,
};
