/* SPDX-License-Identifier: BSD-2-Clause
 *
 * export.c - owns the exports: which content a connection reads, under which id and validator the
 * pool knows it, and how long it stays attached.
 *
 * A content stays attached while no client is connected: its own writes have changed its times, and
 * at a new attach they would look like those of somebody else. It needs a descriptor for that. So
 * of the files without a client only the last ones stay, IDLE_MAX of them: an older one ends as
 * soon as its times prove that it is unchanged, and is as warm for its next client. One that was
 * deleted, or replaced, ends at the next begin or end of a connection: its room on the disk is free
 * then.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* asprintf, O_CLOEXEC */
#endif
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>
/* Behind it: */
#include "filter.h"
#include "tool/tool.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { LAST_TRIES = 105 }; /* of 20 ms: until the times of a file that was written count */
#define AHEAD_NS 100000000 /* clocks may differ by so much */
#define SEVERAL UINT64_MAX
/* Files without a client that stay open; and those whose times are too fresh to prove something. A
 * process may have 1024 descriptors, as a rule, and a connection needs some, too. */
enum { IDLE_MAX = 64, FRESH_MAX = 128 };

struct export
{
    struct export *next;
    cm_file_id id;
    cm_file *file;
    uint32_t flags; /* that all who have attached it gave */
    int fd;         /* own descriptor of the file that can be written, without cachemax-id; or -1 */
    bool counts_links; /* its volume tells how many names the file has */
    struct connection *connections;
    /* Who reads through the pool has it for reading; so reads that run can be waited for without
     * `lock`, and a connection may leave meanwhile. */
    pthread_rwlock_t reading;
    /* Of writes that are not proved flushed: */
    uint64_t writer; /* the connection that made them; 0: none; SEVERAL */
    uint64_t last;   /* the last connection there was when the first of them was made */
    uint64_t writes; /* a count */
    unsigned open;   /* writes that go on now */
};

/* While a connection comes or goes, and an export ends. That may wait for the file, so writes and
 * flushes do not need it. Before `lock`. */
static pthread_mutex_t attaching = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below, and inside them */
static struct export *exports; /* the newest first. Changes need both: with one it may be read */
static uint64_t connections;   /* a count */

/* ---- Id and validator ---------------------------------------------------------------------- */

/* A client chooses the name. What a message says of it must not be commands to a terminal, or a
 * line of its own in the log. */
static int show(struct connection *c, const char *name)
{
    free(c->shown);
    c->shown = malloc(TOOL_PRINTABLE_MAX(strlen(name)));
    if (c->shown) {
        (void)tool_printable(c->shown, name);
        return 0;
    }
    nbdkit_error("cachemax: out of memory");
    return -1;
}

static int find_named(const struct connection *c)
{
    if (c->name[0] == '\0' || settings.names != NAMES_NONE)
        return 0;
    nbdkit_error("cachemax: a client asks for the export \"%s\": give cachemax-exports=each if the "
                 "plugin has another content under each name, or cachemax-exports=same if it "
                 "ignores names",
                 c->shown);
    return -1;
}

static bool same_inode(const char *a, const char *b)
{
    struct stat sa, sb;
    return a && b && stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* The file that the export's name means. */
static int find_path(struct connection *c)
{
    if (settings.file)
        c->path = strdup(settings.file);
    else if (asprintf(&c->path, "%s/%s", settings.dir, c->name) < 0)
        c->path = NULL;
    if (!c->path) {
        nbdkit_error("cachemax: out of memory");
        return -1;
    }
    if (show(c, c->path) < 0)
        return -1;
    if (!same_inode(c->path, settings.pool) && !same_inode(c->path, settings.key_file))
        return 0;
    nbdkit_error("cachemax: %s is the pool or its key: clients must not have it", c->shown);
    return -1;
}

int export_find(struct connection *c)
{
    c->fd = -1;
    if (show(c, c->name) < 0)
        return -1;
    if (settings.id && find_named(c) < 0)
        return -1;
    if ((settings.file || settings.dir) && find_path(c) < 0)
        return -1;
    if (settings.id)
        return 0;
    if (settings.file || !strchr(c->name, '/')) /* a client must not make it open other files */
        c->fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return 0; /* if it is not open, the plugin's error is the one to report */
}

/* The plugin has opened the file by its name: is it the one that this filter has opened? */
static int same_file(const struct connection *c)
{
    struct stat own, now;
    if (c->fd >= 0 && fstat(c->fd, &own) == 0 && stat(c->path, &now) == 0 &&
        own.st_dev == now.st_dev && own.st_ino == now.st_ino)
        return 0;
    nbdkit_error("cachemax: %s cannot be opened for reading, or was replaced just now; connect "
                 "again",
                 c->shown);
    return -1;
}

static int identify_file(int fd, bool readonly, cm_file_id *id, cm_validator *v)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    o.flags = readonly ? 0 : CM_IDENTIFY_SOLE_WRITER;
    return cm_identify_with(fd, &o, id, v);
}

static int identify_path(const struct connection *c, cm_file_id *id, cm_validator *v)
{
    if (same_file(c) < 0)
        return -1;
    int e = identify_file(c->fd, c->readonly, id, v);
    if (e < 0)
        nbdkit_error("cachemax: %s: %s; give it a name with cachemax-id=NAME", c->shown,
                     cm_strerror(e));
    else if (v->size != c->size)
        nbdkit_error(
            "cachemax: %s: its size is %llu, but the export's is %llu; connect again if it "
            "was resized just now; if a filter changes the size (as blocksize does with a "
            "minblock that does not divide it), give cachemax-id=NAME",
            c->shown, (unsigned long long)v->size, (unsigned long long)c->size);
    return e < 0 || v->size != c->size ? -1 : 0;
}

/* The id is made of the name that the user gave, and of the export's. */
static void identify_name(const struct connection *c, cm_file_id *id, cm_validator *v)
{
    const char *name = settings.names == NAMES_EACH ? c->name : "";
    cm_file_id of[2];
    cm_file_id_set_key(&of[0], settings.id, strlen(settings.id));
    cm_file_id_set_key(&of[1], name, strlen(name));
    cm_file_id_set_key(id, of, sizeof(of));
    cm_validator_set_proof(v, settings.version, strlen(settings.version));
    v->taken_at = cm_now();
    v->size = c->size;
    v->changed_ns = c->readonly && !c->flushes ? CM_CHANGED_LONG_AGO : 0;
}

/* The volume of the files is one that a server keeps: it may lose unsynced writes by itself. */
static bool is_far(const struct connection *c)
{
    static const uint32_t
        remote[] = { 0x6969 /* nfs */,      0xFF534D42 /* cifs */, 0xFE534D42 /* smb2 */,
                     0x517B /* smb */,      0x01021997 /* 9p */,   0x00C36400 /* ceph */,
                     0x65735546 /* fuse */, 0x5346414F /* afs */,  0x0BD00BD0 /* lustre */ };
    const char *path = settings.file ? settings.file : settings.dir;
    struct statfs sf;
    if ((c->fd >= 0 ? fstatfs(c->fd, &sf) : path ? statfs(path, &sf) : -1) < 0)
        return true;
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
        if ((uint32_t)sf.f_type == remote[i])
            return true;
    return false;
}

static uint32_t flags_of(const struct connection *c)
{
    const uint32_t far = !settings.plain || is_far(c) ? CM_ORIGIN_VOLATILE : 0;
    if (c->readonly && (!settings.id || !c->flushes)) /* nobody could prove that it is synced: it */
        return 0;                                     /* counts as such */
    return (settings.id ? CM_EXCLUSIVE : CM_SOLE_WRITER) | far;
}

/* ---- The end of an export ------------------------------------------------------------------- */

/* Will the times of a file that are too fresh now prove something soon? Times of the future will
 * not. Whole seconds are those of a volume that keeps no more, and count after two seconds: who
 * wrote nothing does not wait for that. */
static bool worth_waiting(const struct export *e)
{
    struct stat st;
    struct timespec t;
    if (fstat(e->fd, &st) < 0 || clock_gettime(CLOCK_REALTIME, &t) < 0)
        return false;
    t.tv_sec += (t.tv_nsec += AHEAD_NS) / 1000000000;
    t.tv_nsec %= 1000000000;
    const struct timespec last[] = { st.st_mtim, st.st_ctim };
    for (int i = 0; i < 2; i++)
        if (last[i].tv_sec > t.tv_sec ||
            (last[i].tv_sec == t.tv_sec && last[i].tv_nsec > t.tv_nsec))
            return false;
    return e->writes > 0 || last[0].tv_nsec != 0 || last[1].tv_nsec != 0;
}

/* Times that are as fresh as the last write prove nothing in the next session: waits until they are
 * old enough. Without that the file is cold then. *tries: how often it may wait, for all files.
 * Returns whether the times prove something. */
static bool last_validator(const struct export *e, int *tries)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    for (;;) {
        cm_file_id id;
        cm_validator v = CM_VALIDATOR_INIT;
        if (cm_file_get_info(e->file, &info) < 0 || (!info.racy && !info.want_validator))
            return true;
        if (identify_file(e->fd, false, &id, &v) < 0)
            return false;
        if (!(v.racy & CM_RACY_TIMES) && cm_file_revalidate(e->file, &v) == 0)
            return true;
        if (*tries == 0 || !worth_waiting(e))
            return false;
        --*tries;
        nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
    }
}

/* Nobody can open it any more. */
static bool is_deleted(const struct export *e)
{
    struct stat st;
    if (fstat(e->fd, &st) < 0)
        return errno == ESTALE; /* another computer deleted it on the server */
    return e->counts_links && st.st_nlink == 0;
}

/* `place`: among those without a connection. */
static bool may_end(const struct export *e, unsigned place)
{
    int tries = 0;
    if (is_deleted(e))
        return true;
    /* With writes that are not proved flushed it is known only here which flush proves them. */
    if (place <= IDLE_MAX || e->writer != 0)
        return false;
    return last_validator(e, &tries) || place > FRESH_MAX;
}

static void end_export(struct export *e)
{
    if (e->fd >= 0)
        close(e->fd);
    cm_file_close(e->file);
    pthread_rwlock_destroy(&e->reading);
    free(e);
}

/* With `attaching`, without the lock: no connection can come meanwhile, and others go on. */
static void end_idle(void)
{
    unsigned idle = 0;
    for (struct export **at = &exports; *at;) {
        struct export *e = *at;
        if (e->fd < 0 || e->connections || !may_end(e, ++idle)) {
            at = &e->next;
            continue;
        }
        pthread_mutex_lock(&lock);
        *at = e->next;
        pthread_mutex_unlock(&lock);
        end_export(e);
    }
}

/* ---- Attach -------------------------------------------------------------------------------- */

/* With the lock. */
static struct export *find_export(const cm_file_id *id)
{
    struct export *e = exports;
    while (e && (e->id.hi != id->hi || e->id.lo != id->lo))
        e = e->next;
    return e;
}

static struct export *make_export(const cm_file_id *id)
{
    struct export *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    pthread_rwlock_init(&e->reading, NULL);
    e->id = *id;
    e->fd = -1;
    e->next = exports;
    exports = e;
    return e;
}

/* With the lock. If those before could not write, the file is attached without the claim of a
 * writer, and a second one cannot make it. So it is attached anew when they have left. */
static void renew(struct export *e, uint32_t flags)
{
    if (e->connections || !e->file || (flags & ~e->flags) == 0)
        return;
    cm_file_close(e->file);
    e->file = NULL;
}

/* With the lock. The export has a reference of its own to the file of c. */
static int hold(struct export *e, const struct connection *c, uint32_t flags)
{
    if (e->file) {
        e->flags &= flags;
    } else {
        const int r = cm_file_open(pool, &e->id, NULL, flags, &e->file);
        if (r < 0)
            return r;
        e->flags = flags;
    }
    if (e->fd < 0 && !settings.id && !c->readonly) {
        struct stat st;
        e->fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
        e->counts_links = fstat(c->fd, &st) == 0 && st.st_nlink > 0; /* it had a name just now */
    }
    return 0;
}

/* With the lock. Without multi-conn the next layer may show a connection late what another one
 * wrote, and then old bytes would get into the pool. So if somebody can write, a connection reads
 * through the pool only while it is alone, from its beginning on. Returns whether c must wait for
 * reads that have begun (wait_for_reads). */
static bool join(struct export *e, struct connection *c)
{
    bool safe = c->multi, writes = !c->readonly;
    for (const struct connection *o = e->connections; o; o = o->next) {
        safe &= o->multi;
        writes |= !o->readonly;
    }
    safe |= !writes;
    const bool beside = !safe && e->connections;
    for (struct connection *o = safe ? NULL : e->connections; o; o = o->next)
        o->cached = false; /* no further read begins: a writer's lock alone could wait for ever */
    c->cached = c->fits && !beside;
    c->number = ++connections;
    c->export = e;
    c->next = e->connections;
    e->connections = c;
    return beside;
}

/* Reads of other connections that began before c was there must not store what they read before c
 * wrote. c makes no request before this returns. It waits without the lock: the next layer may be
 * slow, and writes and flushes of all exports need the lock. Nobody reads through the pool here
 * from join() on, until all connections of now have left, and c does not leave before this ends. So
 * the reads that have begun are all that it waits for. */
static void wait_for_reads(struct export *e)
{
    pthread_rwlock_wrlock(&e->reading);
    pthread_rwlock_unlock(&e->reading);
}

/* With the lock. */
static int attach_locked(struct connection *c, const cm_file_id *id, const cm_validator *v,
                         bool *wait)
{
    const uint32_t flags = flags_of(c);
    struct export *e = find_export(id);
    if (e)
        renew(e, flags);
    int r = cm_file_open(pool, id, v, flags, &c->file);
    if (r < 0)
        return r;
    if (!e)
        e = make_export(id);
    r = e ? hold(e, c, flags) : CM_ENOMEM;
    if (r >= 0) {
        *wait = join(e, c);
        return r;
    }
    cm_file_close(c->file);
    c->file = NULL;
    return r;
}

static int attach(struct connection *c, const cm_file_id *id, const cm_validator *v)
{
    bool wait = false;
    pthread_mutex_lock(&attaching);
    pthread_mutex_lock(&lock);
    const int r = attach_locked(c, id, v, &wait);
    pthread_mutex_unlock(&lock);
    end_idle();
    pthread_mutex_unlock(&attaching);
    if (wait)
        wait_for_reads(c->export);
    return r;
}

void export_attach(struct connection *c)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int e = 0;
    if (settings.id)
        identify_name(c, &id, &v);
    else
        e = identify_path(c, &id, &v);
    if (e == 0) {
        e = attach(c, &id, &v);
        if (e < 0)
            nbdkit_error("cachemax: %s: %s", settings.pool, cm_strerror(e));
    }
    if (e >= 0)
        return;
    c->file = NULL;
    nbdkit_error("cachemax: this connection is not cached%s",
                 c->readonly ? "" : ", and cannot write: its writes could not be told to the pool");
    c->readonly = true;
}

/* With `attaching` and the lock. */
static void leave(struct connection *c)
{
    struct connection **o = &c->export->connections;
    while (*o != c)
        o = &(*o)->next;
    *o = c->next;
    cm_file_close(c->file);
}

void export_detach(struct connection *c)
{
    if (c->export) {
        pthread_mutex_lock(&attaching);
        pthread_mutex_lock(&lock);
        leave(c);
        pthread_mutex_unlock(&lock);
        end_idle();
        pthread_mutex_unlock(&attaching);
    }
    if (c->fd >= 0)
        close(c->fd);
    free(c->name);
    free(c->path);
    free(c->shown);
}

/* ---- Reads, writes and flushes ------------------------------------------------------------- */

bool export_read_begin(struct connection *c)
{
    if (!c->cached)
        return false;
    pthread_rwlock_rdlock(&c->export->reading);
    if (c->cached)
        return true;
    pthread_rwlock_unlock(&c->export->reading);
    return false;
}

void export_read_end(struct connection *c)
{
    pthread_rwlock_unlock(&c->export->reading);
}

void export_write_begin(struct connection *c)
{
    struct export *e = c->export;
    pthread_mutex_lock(&lock);
    if (e->writer == 0)
        e->last = connections;
    e->writer = e->writer == 0 || e->writer == c->number ? c->number : SEVERAL;
    e->writes++;
    e->open++;
    pthread_mutex_unlock(&lock);
    c->wrote = true;
}

void export_write_end(struct connection *c)
{
    pthread_mutex_lock(&lock);
    c->export->open--;
    pthread_mutex_unlock(&lock);
}

/* A system may report a write that failed only to descriptors that were open then. So a flush
 * counts if its connection is older than the writes. */
bool export_flush_begin(const struct connection *c, uint64_t *writes)
{
    const struct export *e = c->export;
    pthread_mutex_lock(&lock);
    const bool whole =
        e->writer == 0 || e->writer == c->number || (c->multi && c->number <= e->last);
    *writes = e->open ? UINT64_MAX : e->writes;
    pthread_mutex_unlock(&lock);
    return whole;
}

void export_flush_end(const struct connection *c, uint64_t writes)
{
    pthread_mutex_lock(&lock);
    if (c->export->writes == writes)
        c->export->writer = 0;
    pthread_mutex_unlock(&lock);
}

bool export_unflushed(const struct connection *c)
{
    if (!c->wrote)
        return false;
    pthread_mutex_lock(&lock);
    const bool some = c->export->writer != 0;
    pthread_mutex_unlock(&lock);
    return some;
}

bool export_unproved(const struct connection *c)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    if (!c->file || cm_file_get_info(c->file, &info) < 0 || !info.dirty)
        return false;
    pthread_mutex_lock(&lock);
    const bool none = c->export->writer == 0;
    pthread_mutex_unlock(&lock);
    return none;
}

bool export_validator(const struct connection *c, cm_validator *v)
{
    cm_file_id id;
    return !settings.id && !c->readonly && identify_file(c->fd, false, &id, v) == 0;
}

void exports_end(void)
{
    int tries = LAST_TRIES; /* what gets old gets old for all files at the same time */
    while (exports) {
        struct export *e = exports;
        exports = e->next;
        if (e->fd >= 0)
            (void)last_validator(e, &tries);
        end_export(e);
    }
}
