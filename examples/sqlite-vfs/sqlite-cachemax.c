/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sqlite-cachemax.c - a VFS for SQLite that reads the pages of a database through a pool.
 *
 *     sqlite> .load ./sqlite-cachemax
 *     sqlite> .open file:x.db?vfs=cachemax&pool=/mnt/pmem/pool
 *     (&key_file=/PATH/OF/KEY, if the pool is sealed; &volume_id=NAME, if the volume has no name)
 *
 * It owns the pool of the process and one entry for each database file. Everything else goes to the
 * VFS that was the default one when the extension was loaded: locks, journals, WAL, temporary
 * files.
 *
 * The rule that keeps old bytes away (docs/sqlite.md says why it holds):
 * - The proof of a file is its size, its times and its header of 100 bytes. Size and times show
 *   what anything wrote while no process had the pool. The header shows a commit that was durable
 *   without its times: in rollback mode a number there is counted up by the first commit under each
 *   lock of a writer, which is each commit but with locking_mode=exclusive. What own writes change
 *   is noted before the lock goes.
 * - The first read after a SHARED lock looks at them again. Others may have written while there was
 *   no lock. SQLite's own page cache trusts the same number. Without a lock nothing is served,
 *   nothing is stored.
 * - Between the first write of a transaction and its commit nothing is stored: a rollback could
 *   come from another process, after this one was killed.
 * - In WAL mode a commit need not move the number. Such a file is not cached. The number
 *   moves when the mode is entered, and when it is left.
 *
 * Read next: docs/sqlite.md, and docs/embedding.md, "Attach files".
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_CLOEXEC, F_OFD_GETLK */
#endif
#include <cachemax.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <pool_missing.h> /* examples/missing */
#include <seal_file.h>    /* examples/seal */
#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1

enum { HEADER = 100, FILES_MAX = 64, BOUNCE = 65536 + 2 * CM_BLOCK_SIZE };
enum { LAST_TRIES = 210 }; /* of 10 ms: until the times of a file that was written count */
enum { AHEAD_NS = 100000000, SECOND_NS = 1000000000 }; /* clocks may differ by so much */

/* A database file. POSIX drops all locks of a process on a file when it closes any descriptor of
 * it. So `fd` stays open until the process ends, or until the file is deleted and nobody here uses
 * it (entry_over). */
struct entry {
    dev_t dev;
    ino_t ino;
    int fd;
    char *path;            /* for messages; or NULL */
    pthread_mutex_t mutex; /* of all below. Who has it may wait for the file, so nobody takes it who
                              has the other one. */
    char *volume_id;       /* that the user gave, or NULL */
    int said;              /* the trouble that the log was told of last, CM_E* */
    bool refused;          /* it cannot be identified: nobody asks again before the next open */
    cm_file *file;         /* NULL: not attached */
    bool known;            /* the two below are those of the attached version */
    uint8_t header[HEADER];
    cm_validator noted; /* size, times and header */
    bool wrote;         /* this process has, since the last validator that proves something */
    unsigned conns;     /* open connections. Under the mutex of all */
    unsigned users;     /* ... and those that close. Gets more only under `opening`, too */
};

/* An open main database. `real`, the file of the parent, follows in memory. */
struct conn {
    sqlite3_file base;
    struct entry *entry; /* NULL: not cached */
    unsigned process;    /* `processes` when it was opened */
    int level;           /* lock of this connection: SQLITE_LOCK_* */
    bool looked;         /* the header was looked at under this lock */
    bool cached;         /* ... and the cache may be used */
    bool wrote;          /* since the last commit */
    uint8_t *bounce;
    sqlite3_file real[];
};

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER; /* one new entry at a time */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;   /* of all that follows */
static cm_cache *cache;
static char *pool_path;
static struct seal_openssl *seal; /* of `cache`, or NULL */
static unsigned pool_users;
static bool pool_named; /* once, here or before a fork: so no pool is trouble, and no mistake */
static struct entry entries[FILES_MAX]; /* fd < 0: free */
static unsigned entries_used;
static sqlite3_vfs *parent;
static unsigned processes; /* forks that lie behind this process */

static struct conn *conn_of(sqlite3_file *f)
{
    return (struct conn *)(void *)f;
}

static void pool_log(void *ctx, int level, const char *text)
{
    (void)ctx;
    sqlite3_log(level == CM_LOG_INFO ? SQLITE_NOTICE : SQLITE_WARNING, "cachemax: %s", text);
}

static void trouble(const char *what, int e)
{
    sqlite3_log(SQLITE_WARNING, "cachemax: %s: %s", what, cm_strerror(e));
}

/* The same of a database, with the mutex of its entry: not for each transaction anew. The log of
 * SQLite cuts lines off at some 200 bytes: so the path comes last. */
static void trouble_with(struct entry *e, const char *what, int r)
{
    if (e->said != r)
        sqlite3_log(SQLITE_WARNING, "cachemax: %s: %s: %s", what,
                    r == CM_ECLONE ? "its volume (overlayfs, FUSE, a copy) does not tell which "
                                     "file it is; give volume_id=NAME (docs/sqlite.md)"
                                   : cm_strerror(r),
                    e->path ? e->path : "?");
    e->said = r;
}

/* The entry of a connection; NULL: it is not cached, or the process before a fork opened it. */
static struct entry *entry_now(const struct conn *c)
{
    return c->process == processes ? c->entry : NULL;
}

/* After a fork, in the child: the pool is the parent's. */
static void forked(void)
{
    pthread_mutex_init(&mutex, NULL);
    pthread_mutex_init(&opening, NULL);
    processes++;
    cache = NULL;
    pool_path = NULL;
    seal = NULL;
    pool_users = 0;
    entries_used = 0;
}

/* ---- The pool: under the mutex ------------------------------------------------------------- */

static void key_drop(void)
{
    seal_file_free(seal);
    seal = NULL;
}

static bool pool_open(const char *path, const char *key_file)
{
    cm_options o = CM_OPTIONS_INIT;
    const char *why = NULL;
    char missing[POOL_MISSING_TEXT];
    if (pool_missing(path, missing) != POOL_NOT_MISSING) {
        sqlite3_log(SQLITE_WARNING, "cachemax: %s: %s; going on without the cache", path, missing);
        return false;
    }
    if (key_file && *key_file) {
        seal = seal_file_read(key_file, seal_file_encrypts(path), &why);
        if (!seal) {
            sqlite3_log(SQLITE_WARNING, "cachemax: key_file=%s: %s; going on without the cache",
                        key_file, why);
            return false;
        }
    }
    o.log = pool_log;
    o.seal = seal_file_of(seal);
    int e = cm_open(path, &o, &cache);
    if (e >= 0)
        return true;
    sqlite3_log(
        SQLITE_WARNING, "cachemax: %s: %s%s; going on without the cache", path, cm_strerror(e),
        e == CM_EKEY ? " (give key_file=FILE for a sealed pool, for another one none)" : "");
    key_drop();
    return false;
}

static bool pool_take(const char *path, const char *key_file)
{
    if (pool_users == 0) {
        if (!pool_open(path, key_file))
            return false;
        pool_path = strdup(path);
    } else if (path && (!pool_path || strcmp(path, pool_path) != 0)) {
        sqlite3_log(SQLITE_WARNING,
                    "cachemax: %s: this process uses the pool %s; going on without the cache", path,
                    pool_path ? pool_path : "?");
        return false;
    }
    pool_users++;
    return true;
}

/* ---- Entries ------------------------------------------------------------------------------- */

static struct entry *entry_find(const struct stat *st)
{
    struct entry *e = NULL;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < entries_used && !e; i++)
        if (entries[i].dev == st->st_dev && entries[i].ino == st->st_ino)
            e = &entries[i];
    pthread_mutex_unlock(&mutex);
    return e;
}

/* With `opening`. May the entry be that of another file? Its own one is deleted, and no connection
 * with the cache uses it. To close it drops the locks that this process has on it. A connection
 * without the cache may still have some: they show as those of another owner, and then it stays
 * open. One that has no lock now loses nothing, unless it gets its lock before the close. */
static bool entry_over(const struct entry *e)
{
    struct flock any = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    struct stat st;
    pthread_mutex_lock(&mutex);
    const bool used = e->users > 0;
    pthread_mutex_unlock(&mutex);
    return !used && fstat(e->fd, &st) == 0 && st.st_nlink == 0 &&
           fcntl(e->fd, F_OFD_GETLK, &any) == 0 && any.l_type == F_UNLCK;
}

/* With `opening`. Nobody uses it, and the pool stays open meanwhile: the caller uses that. */
static void entry_close(struct entry *e)
{
    if (e->file)
        cm_file_close(e->file);
    close(e->fd);
    free(e->path);
    free(e->volume_id);
    pthread_mutex_destroy(&e->mutex);
    pthread_mutex_lock(&mutex);
    *e = (struct entry){ .fd = -1 };
    pthread_mutex_unlock(&mutex);
}

/* With `opening`. Room for one more file, or NULL. */
static struct entry *entry_room(void)
{
    struct entry *room = NULL;
    for (unsigned i = 0; i < entries_used; i++) {
        if (entries[i].fd >= 0 && entry_over(&entries[i]))
            entry_close(&entries[i]);
        if (entries[i].fd < 0 && !room)
            room = &entries[i];
    }
    return room || entries_used == FILES_MAX ? room : &entries[entries_used];
}

static struct entry *entry_add(struct entry *e, int fd, const struct stat *st, const char *path)
{
    pthread_mutex_lock(&mutex);
    *e = (struct entry){ .dev = st->st_dev, .ino = st->st_ino, .fd = fd, .path = strdup(path) };
    pthread_mutex_init(&e->mutex, NULL);
    if (e == &entries[entries_used])
        entries_used++;
    pthread_mutex_unlock(&mutex);
    return e;
}

/* With `opening`. The entry of the file that has the name, or NULL. */
static struct entry *entry_named(const char *path, const char **why)
{
    struct stat st;
    struct entry *e = stat(path, &st) == 0 ? entry_find(&st) : NULL;
    if (e)
        return e;
    struct entry *room = entry_room();
    *why = "64 other databases were used before";
    if (!room)
        return NULL;
    *why = "it cannot be opened once more";
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return NULL;
    /* A file that took the name since may be known. Its descriptor stays open all the same: a close
     * would drop SQLite's locks. */
    e = entry_find(&st);
    return e ? e : entry_add(room, fd, &st, path);
}

/* The entry of the file that the parent has just opened, or NULL, and why. */
static struct entry *entry_of(const char *path, sqlite3_file *real, const char **why)
{
    int moved = 1;
    pthread_mutex_lock(&opening);
    struct entry *e = entry_named(path, why);
    /* The path may lead to another file by now. */
    if (e && (real->pMethods->xFileControl(real, SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK ||
              moved)) {
        *why = "the file was moved";
        e = NULL;
    }
    if (e) {
        pthread_mutex_lock(&mutex);
        e->conns++;
        e->users++;
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_unlock(&opening);
    return e;
}

/* A connection begins: the database may be identified now. A name of its volume counts until it is
 * attached: then it has its id. */
static void entry_begin(struct entry *e, const char *volume_id)
{
    pthread_mutex_lock(&e->mutex);
    e->refused = false;
    if (volume_id && *volume_id && !e->file) {
        free(e->volume_id);
        e->volume_id = strdup(volume_id);
    }
    pthread_mutex_unlock(&e->mutex);
}

/* ---- The proof: under the mutex of the entry, and under a lock of the file ----------------- */

static bool forget_all(struct entry *e)
{
    int r = e->file ? cm_invalidate(e->file, 0, CM_ALL) : 0;
    e->known = false;
    if (r < 0)
        trouble_with(e, "not cached, for it cannot be forgotten", r);
    return r >= 0;
}

/* The header is a part of the proof, for its change counter: SQLite syncs with fdatasync, which
 * need not bring the times to the disk. So after a power cut the commit of another process may have
 * the times from before it. */
static int identify(const struct entry *e, const uint8_t *header, cm_file_id *id, cm_validator *v)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    uint8_t proof[CM_PROOF_BYTES + HEADER];
    o.flags = CM_IDENTIFY_SOLE_WRITER; /* the locks do that */
    o.volume_id = e->volume_id;
    int r = cm_identify_with(e->fd, &o, id, v);
    if (r < 0)
        return r;
    memcpy(proof, v->proof, CM_PROOF_BYTES);
    memcpy(proof + CM_PROOF_BYTES, header, HEADER);
    cm_validator_set_proof(v, proof, sizeof(proof));
    return r;
}

/* Makes what the file is now the proof of what is cached. `own`: since the last one only this
 * process has written. Returns whether the cache may be used now. */
static bool adopt(struct entry *e, const uint8_t *header, bool own)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_id id;
    if (header[18] == 2 || header[19] == 2) { /* WAL: checkpoints of others cannot be seen */
        forget_all(e);
        return false;
    }
    if (e->refused)
        return false;
    int r = identify(e, header, &id, &v); /* the lock keeps the file as it is */
    bool same = r == 0 && e->known && memcmp(e->header, header, HEADER) == 0 &&
                cm_validator_equal(&e->noted, &v);
    if (same && (v.racy || !e->noted.racy))
        return true;
    if (e->file && !own && !same) {
        if (!forget_all(e))
            return false;
        r = identify(e, header, &id, &v); /* the first one is older than that */
    }
    if (r == 0)
        r = e->file ? cm_file_revalidate(e->file, &v)
                    : cm_file_open(cache, &id, &v, CM_SOLE_WRITER, &e->file);
    e->known = r == 0;
    e->wrote = e->wrote && v.racy;
    memcpy(e->header, header, HEADER);
    e->noted = v;
    if (r != 0)
        trouble_with(e, "not cached", r);
    e->refused = r == CM_ECLONE;
    return e->known;
}

/* With the mutex: nobody uses the pool. */
static void pool_close(void)
{
    for (unsigned i = 0; i < entries_used; i++) {
        entries[i].file = NULL;
        entries[i].known = false;
        entries[i].wrote = entries[i].refused = false;
    }
    int e = cm_close(cache); /* closes the files, too */
    if (e < 0)
        trouble(pool_path ? pool_path : "pool", e);
    free(pool_path);
    pool_path = NULL;
    cache = NULL;
    key_drop();
}

static void pool_release(void)
{
    pthread_mutex_lock(&mutex);
    if (--pool_users == 0)
        pool_close();
    pthread_mutex_unlock(&mutex);
}

/* Will times that are too fresh now prove something soon? Those of the future will not. Whole
 * seconds are those of a volume that keeps no more, and count after two seconds: who wrote nothing
 * does not wait for that. */
static bool worth_waiting(const struct entry *e)
{
    struct stat st;
    struct timespec t;
    if (fstat(e->fd, &st) < 0 || clock_gettime(CLOCK_REALTIME, &t) < 0)
        return false;
    t.tv_sec += (t.tv_nsec += AHEAD_NS) / SECOND_NS;
    t.tv_nsec %= SECOND_NS;
    const struct timespec last[] = { st.st_mtim, st.st_ctim };
    for (int i = 0; i < 2; i++)
        if (last[i].tv_sec > t.tv_sec ||
            (last[i].tv_sec == t.tv_sec && last[i].tv_nsec > t.tv_nsec))
            return false;
    return e->wrote || last[0].tv_nsec != 0 || last[1].tv_nsec != 0;
}

/* The last look at a file that this connection used. Returns whether there is no more to do. Under
 * a SHARED lock, as every look: a write of another process may have set the times, and not yet the
 * bytes. If that process has the lock, the file stays cold. */
static bool note_last(struct conn *c)
{
    struct entry *e = c->entry;
    uint8_t header[HEADER];
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    bool done = true;
    pthread_mutex_lock(&e->mutex);
    if (e->known && e->noted.racy &&
        c->real->pMethods->xLock(c->real, SQLITE_LOCK_SHARED) == SQLITE_OK) {
        if (identify(e, e->header, &id, &v) >= 0 && cm_validator_equal(&e->noted, &v) &&
            pread(e->fd, header, HEADER, 0) == HEADER && memcmp(e->header, header, HEADER) == 0)
            done = !(v.racy & CM_RACY_TIMES) || !worth_waiting(e);
        else
            v.racy = 1; /* somebody else has written */
        if (done && !v.racy && cm_file_revalidate(e->file, &v) == 0)
            e->noted = v;
        c->real->pMethods->xUnlock(c->real, SQLITE_LOCK_NONE);
    }
    pthread_mutex_unlock(&e->mutex);
    return done;
}

/* The last connection to a file closes. Times that are as fresh as the last write prove nothing in
 * the next session: waits until they are old enough, without a lock. */
static void last_note(struct conn *c)
{
    pthread_mutex_lock(&mutex);
    bool last = --c->entry->conns == 0;
    pthread_mutex_unlock(&mutex);
    for (int i = 0; last && i < LAST_TRIES && !note_last(c); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
}

/* Whether this connection may use the cache now. */
static bool usable(struct conn *c)
{
    if (!entry_now(c) || c->level < SQLITE_LOCK_SHARED)
        return false;
    if (!c->looked && !c->wrote && c->level < SQLITE_LOCK_EXCLUSIVE) {
        uint8_t header[HEADER];
        pthread_mutex_lock(&c->entry->mutex);
        c->cached = !c->entry->refused &&
                    c->real->pMethods->xRead(c->real, header, HEADER, 0) == SQLITE_OK &&
                    adopt(c->entry, header, false);
        c->looked = true;
        pthread_mutex_unlock(&c->entry->mutex);
    }
    return c->looked && c->cached;
}

/* The transaction of this connection has ended, and its lock is still there. If the connection had
 * not looked before it wrote, others may have written, too. */
static void note_own(struct conn *c, bool commit)
{
    uint8_t header[HEADER];
    if (!entry_now(c) || !c->wrote)
        return;
    pthread_mutex_lock(&c->entry->mutex);
    bool own = c->looked && c->cached;
    bool read = c->real->pMethods->xRead(c->real, header, HEADER, 0) == SQLITE_OK;
    /* After a rollback the header is the old one, unless the rollback failed. */
    if (commit || (read && own && memcmp(header, c->entry->header, HEADER) == 0)) {
        c->cached = read && adopt(c->entry, header, own);
        c->looked = true;
        c->wrote = false;
    }
    pthread_mutex_unlock(&c->entry->mutex);
}

/* ---- Methods of a main database ------------------------------------------------------------ */

/* Reads what is missing in whole blocks, offers it to the pool, and copies what was asked for. */
static bool read_missed(struct conn *c, uint8_t *buf, int len, sqlite3_int64 off, cm_miss *miss)
{
    uint64_t end =
        ((uint64_t)off + (uint64_t)len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    uint64_t most = (miss->len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    uint64_t n = end - miss->offset;
    if (c->wrote || (miss->flags & CM_MISS_NOFILL) || miss->len == 0 || n > BOUNCE ||
        miss->offset > (uint64_t)off)
        return false;
    if (!c->bounce && !(c->bounce = malloc(BOUNCE)))
        return false;
    if (c->real->pMethods->xRead(c->real, c->bounce, (int)n, (sqlite3_int64)miss->offset))
        return false; /* also where the file ends inside of the last block */
    memcpy(buf, c->bounce + ((uint64_t)off - miss->offset), (size_t)len);
    cm_fill(c->entry->file, miss, c->bounce, (size_t)(n < most ? n : most), 0);
    return true;
}

static int file_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 off)
{
    struct conn *c = conn_of(f);
    if (usable(c)) {
        cm_miss miss = CM_MISS_INIT;
        int64_t n = cm_read(c->entry->file, (uint64_t)off, buf, (size_t)len, &miss);
        if (n == len)
            return SQLITE_OK;
        if (n < 0)
            n = 0, miss.len = 0;
        if (read_missed(c, (uint8_t *)buf + n, len - (int)n, off + n, &miss))
            return SQLITE_OK;
    }
    return c->real->pMethods->xRead(c->real, buf, len, off);
}

/* NULL: the file is not attached. */
static cm_file *file_of(const struct conn *c)
{
    if (!entry_now(c))
        return NULL;
    pthread_mutex_lock(&c->entry->mutex);
    cm_file *file = c->entry->file;
    c->entry->wrote |= c->wrote;
    pthread_mutex_unlock(&c->entry->mutex);
    return file;
}

/* The file that brackets are for, or NULL. A transaction begins with its first write. */
static cm_file *writing(struct conn *c)
{
    c->wrote = true;
    return file_of(c);
}

/* The log of SQLite cuts lines off at some 200 bytes: so the path comes last. */
static int refused(int e)
{
    sqlite3_log(SQLITE_IOERR_WRITE, "cachemax: nothing is written%s (%s): %s",
                e == CM_EFORGET ? ", not even a rollback, and reads fail, too, until you close the "
                                  "database and delete the pool"
                                : "",
                cm_errname(e), pool_path ? pool_path : "?");
    return SQLITE_IOERR_WRITE;
}

static int file_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 off)
{
    struct conn *c = conn_of(f);
    cm_file *file = writing(c);
    cm_bracket w;
    int e = file ? cm_write_begin(file, (uint64_t)off, (uint64_t)len, &w) : 0;
    if (e < 0)
        return refused(e);
    int r = c->real->pMethods->xWrite(c->real, buf, len, off);
    if (file)
        cm_write_end(file, &w, NULL);
    return r;
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    struct conn *c = conn_of(f);
    cm_file *file = writing(c);
    cm_bracket w;
    int e = file ? cm_truncate_begin(file, (uint64_t)size, &w) : 0;
    if (e < 0)
        return refused(e);
    int r = c->real->pMethods->xTruncate(c->real, size);
    if (file)
        cm_write_end(file, &w, NULL);
    return r;
}

static int file_sync(sqlite3_file *f, int flags)
{
    struct conn *c = conn_of(f);
    cm_file *file = file_of(c);
    cm_sync s;
    bool begun = file && cm_sync_begin(file, &s) == 0;
    int r = c->real->pMethods->xSync(c->real, flags);
    if (begun)
        cm_sync_end(file, &s, r == SQLITE_OK, NULL);
    return r;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    struct conn *c = conn_of(f);
    return c->real->pMethods->xFileSize(c->real, size);
}

static int file_lock(sqlite3_file *f, int level)
{
    struct conn *c = conn_of(f);
    int r = c->real->pMethods->xLock(c->real, level);
    if (r != SQLITE_OK)
        return r;
    if (level > c->level)
        c->level = level;
    return r;
}

static int file_unlock(sqlite3_file *f, int level)
{
    struct conn *c = conn_of(f);
    if (level < c->level) {
        note_own(c, false);
        /* Without a lock others may write. After own writes without a commit look again, too. */
        if (level == SQLITE_LOCK_NONE || c->wrote)
            c->looked = false;
        c->wrote = false;
        c->level = level;
    }
    return c->real->pMethods->xUnlock(c->real, level);
}

static int file_reserved(sqlite3_file *f, int *out)
{
    struct conn *c = conn_of(f);
    return c->real->pMethods->xCheckReservedLock(c->real, out);
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
    struct conn *c = conn_of(f);
    if (op == SQLITE_FCNTL_COMMIT_PHASETWO)
        note_own(c, true);
    int r = c->real->pMethods->xFileControl(c->real, op, arg);
    if (op == SQLITE_FCNTL_VFSNAME && r == SQLITE_OK)
        *(char **)arg = sqlite3_mprintf("cachemax/%z", *(char **)arg);
    return r;
}

static int file_sector(sqlite3_file *f)
{
    struct conn *c = conn_of(f);
    return c->real->pMethods->xSectorSize(c->real);
}

static int file_traits(sqlite3_file *f)
{
    struct conn *c = conn_of(f);
    /* A batch that the file system takes back would leave brackets that say nothing of it. */
    return c->real->pMethods->xDeviceCharacteristics(c->real) & ~SQLITE_IOCAP_BATCH_ATOMIC;
}

static int file_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    struct conn *c = conn_of(f);
    return c->real->pMethods->xShmMap(c->real, page, size, extend, out);
}

static int file_shm_lock(sqlite3_file *f, int off, int n, int flags)
{
    struct conn *c = conn_of(f);
    return c->real->pMethods->xShmLock(c->real, off, n, flags);
}

static void file_shm_barrier(sqlite3_file *f)
{
    struct conn *c = conn_of(f);
    c->real->pMethods->xShmBarrier(c->real);
}

static int file_shm_unmap(sqlite3_file *f, int remove)
{
    struct conn *c = conn_of(f);
    return c->real->pMethods->xShmUnmap(c->real, remove);
}

static int file_close(sqlite3_file *f)
{
    struct conn *c = conn_of(f);
    bool uses = entry_now(c) != NULL;
    if (uses)
        last_note(c);
    int r = c->real->pMethods->xClose(c->real);
    free(c->bounce);
    if (uses) {
        pthread_mutex_lock(&mutex);
        c->entry->users--;
        pthread_mutex_unlock(&mutex);
        pool_release();
    }
    return r;
}

/* Version 2: with shared memory for WAL, and without xFetch, so nothing is mapped. */
static const sqlite3_io_methods methods = {
    2,           file_close,   file_read,     file_write,       file_truncate,  file_sync,
    file_size,   file_lock,    file_unlock,   file_reserved,    file_control,   file_sector,
    file_traits, file_shm_map, file_shm_lock, file_shm_barrier, file_shm_unmap, NULL,
    NULL
};

/* ---- The VFS ------------------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct conn *c = conn_of(f);
    (void)vfs;
    if (!(flags & SQLITE_OPEN_MAIN_DB) ||
        !name) /* journal, WAL, temporary: the parent's own file */
        return parent->xOpen(parent, name, f, flags, out);
    memset(c, 0, sizeof(*c));
    const char *pool = sqlite3_uri_parameter(name, "pool");
    const char *key_file = sqlite3_uri_parameter(name, "key_file");
    if (!pool)
        pool = getenv("CACHEMAX_POOL");
    if (!key_file)
        key_file = getenv("CACHEMAX_KEY_FILE");
    pthread_mutex_lock(&mutex);
    pool_named |= pool && *pool;
    bool named = pool_named;
    pthread_mutex_unlock(&mutex);
    if (!named || (pool && !*pool)) {
        sqlite3_log(
            SQLITE_CANTOPEN,
            "cachemax: %s: no pool is named: open file:NAME?vfs=cachemax&pool=/PATH/OF/POOL, "
            "or set CACHEMAX_POOL",
            name);
        return SQLITE_CANTOPEN;
    }
    int r = parent->xOpen(parent, name, c->real, flags, out);
    if (r != SQLITE_OK)
        return r;
    c->base.pMethods = &methods;
    pthread_mutex_lock(&mutex);
    c->process = processes;
    bool none = !pool && pool_users == 0;
    bool taken = !none && pool_take(pool, key_file);
    pthread_mutex_unlock(&mutex);
    if (none)
        sqlite3_log(SQLITE_WARNING,
                    "cachemax: not cached: no pool is open now, and none is named for it: %s",
                    name);
    const char *why = NULL;
    c->entry = taken ? entry_of(name, c->real, &why) : NULL;
    if (c->entry)
        entry_begin(c->entry, sqlite3_uri_parameter(name, "volume_id"));
    if (taken && !c->entry) {
        sqlite3_log(SQLITE_WARNING, "cachemax: not cached: %s: %s", why, name);
        pool_release();
    }
    return r;
}

__attribute__((visibility("default"))) int
sqlite3_sqlitecachemax_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

int sqlite3_sqlitecachemax_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
    static sqlite3_vfs vfs;
    SQLITE_EXTENSION_INIT2(api)
    (void)db;
    if (sqlite3_vfs_find("cachemax"))
        return SQLITE_OK_LOAD_PERMANENTLY;
    parent = sqlite3_vfs_find(NULL);
    if (!parent) {
        *error = sqlite3_mprintf("cachemax: SQLite has no default VFS");
        return SQLITE_ERROR;
    }
    pthread_atfork(NULL, NULL, forked);
    vfs = *parent; /* all calls but xOpen; they do not look at their first parameter's name */
    vfs.zName = "cachemax";
    vfs.szOsFile = (int)sizeof(struct conn) + parent->szOsFile;
    vfs.pNext = NULL;
    vfs.xOpen = vfs_open;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) {
        *error = sqlite3_mprintf("cachemax: the VFS cannot be registered");
        return SQLITE_ERROR;
    }
    return SQLITE_OK_LOAD_PERMANENTLY;
}
