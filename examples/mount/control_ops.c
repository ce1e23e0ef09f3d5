/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control_ops.c - what the control socket is asked for: warming, pinning, forgetting and counting
 * what is cached of a file, the mode of the pool, what the mount says of itself, the files of the
 * pool.
 *
 * A path is looked up below the root of the mount, at the origin, as the kernel would do it: names
 * only, no "..", and no symbolic link is followed. With several DIRs it begins with the number of
 * one (inode.c). The inode is in the same table as the kernel's, so it is attached once, and a
 * write through the mount has its bracket. A file of a server that does not answer keeps the thread
 * of its client. With a service that is away a request ends with CONTROL_AWAY, within some
 * time-outs of its client library.
 *
 * Callers: the threads of control.c.
 */
#include "control.h"
#include "mount.h"
#include "uring.h"

#include <inttypes.h>
#include <stdio.h>

static int of_errno(int err)
{
    return CONTROL_ERRNO - err;
}

/* ---- Finding a file -------------------------------------------------------------------------- */

/* Holds the inode behind a path; NULL: errno says why. */
static struct inode *find(const char *path)
{
    struct inode *at = inode_of(FUSE_ROOT_ID), *next;
    char name[NAME_MAX + 1];
    struct stat st;

    inode_hold(at);
    while (*path) {
        const size_t n = strcspn(path, "/");

        if (n > NAME_MAX || n == 0) {
            inode_put(at);
            errno = n ? ENAMETOOLONG : EINVAL;
            return NULL;
        }
        memcpy(name, path, n);
        name[n] = '\0';
        errno = EINVAL;
        next = strcmp(name, ".") && strcmp(name, "..") ? inode_child(at, name, &st) : NULL;
        inode_put(at);
        if (!next)
            return NULL;
        at = next;
        path += n;
        path += *path == '/';
    }
    return at;
}

/* Nobody but the kernel remembers an inode: what was attached here alone is detached. */
static void let_go(struct inode *i)
{
    if (S_ISREG(i->type) && !inode_known(i)) {
        if (!number_far(i->device))
            file_detach_idle(i);
        else if (i->cf && !keeper_has(i)) /* closing it may wait */
            keeper_detach(i);
    }
    inode_put(i);
}

static bool is_attached(struct inode *i)
{
    return i->cf && cache_on() && !atomic_load(&i->linked);
}

/* What the file is now. 0: the pool knows it. CM_EABSENT: it does not. `flags`: of open(). */
static int look_up(const struct inode *i, int flags, cm_file_id *id, cm_validator *v)
{
    const int fd = open(procpath(i->fd).s, O_RDONLY | O_CLOEXEC | flags);
    int rc;

    if (fd < 0)
        return of_errno(errno);
    rc = file_identify(i, fd, id, v);
    close(fd);
    return rc == 0 ? mnt.backing->look_up(id) : rc;
}

/* Uses a file that the pool knows, without a new record for one that it does not. *code: 0 if it
 * knows nothing of it. *id: true: of the file. */
static bool use_known(struct inode *i, int *code, cm_file_id *id)
{
    cm_validator v;

    *code = 0;
    if (file_use_attached(i)) {
        *id = i->id;
        return true;
    }
    *code = look_up(i, 0, id, &v);
    if (*code == CM_EABSENT || *code == CM_ECLONE)
        *code = 0;
    else if (*code == 0) {
        (void)file_use(i);
        return true;
    }
    return false;
}

/* Of a file that is known, and cannot be attached: a rule leaves it out, say. Its pin goes, too. */
static int forget_known(const cm_file_id *id, int *kept)
{
    const int rc = cache_on() ? mnt.backing->unpin(id, kept) : CM_EFORGET;

    return rc < 0 && rc != CM_EABSENT ? rc : 0;
}

/* ---- Warming --------------------------------------------------------------------------------- */

#define WARM_TRIES 4 /* of a file that others change meanwhile */

struct warming {
    struct control_client *client;
    struct inode *inode;
    int fd;
    uint32_t flags;
    uint64_t verified, differed, undecided; /* of all tries */
};

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
    const struct warming *w = ctx;

    return !control_at(w->client, done, total);
}

static int64_t from_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    const struct warming *w = ctx;
    const int64_t n = read_origin(w->fd, off, buf, len);

    return n >= 0 && coherence_moved(w->inode) ? CM_EMOVED : n;
}

/* With other writers a difference proves nothing if the file has changed, or may have: the times of
 * a file that was changed just now do not tell. */
static void settle_difference(struct warming *w, uint64_t version)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    /* What was forgotten counts as written: the next validator is of after it. */
    const int rc = file_revalidate(w->inode, &info);

    if (!others_write() || (rc == 0 && !info.racy && info.incarnation == version))
        return;
    w->undecided += w->differed;
    w->differed = 0;
}

/* Adds what one try has found. */
static void note_comparison(struct warming *w, const cm_warm_report *r, uint64_t version)
{
    struct warming now = *w;

    now.differed = r->differed;
    now.undecided = r->undecided;
    if (r->differed || r->undecided)
        settle_difference(&now, version);
    w->verified = r->verified; /* the last try's: each begins anew */
    w->differed += now.differed;
    w->undecided += now.undecided;
}

static void tell_comparison(const struct warming *w)
{
    (void)control_is(w->client, "verified", w->verified);
    (void)control_is(w->client, "differed", w->differed);
    (void)control_is(w->client, "undecided", w->undecided);
}

/* The inode is in use. Its descriptor may be closed at an end that does not wait for this. What a
 * server's client keeps for it may be old (times.c). */
static int warm_attached(struct inode *i, struct warming *w, uint64_t rate, uint64_t off,
                         uint64_t len)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report report = CM_WARM_REPORT_INIT;
    cm_file_info info = { .struct_size = sizeof(info) };
    int rc = CM_EMOVED;

    w->inode = i;
    o.flags = w->flags;
    w->fd = times_tell(i) ? fstab_open(i->fd, O_RDONLY | O_CLOEXEC | times_flags(i))
                          : fcntl(i->rfd, F_DUPFD_CLOEXEC, 3);
    if (w->fd < 0)
        return of_errno(errno);
    o.bytes_per_second = rate;
    o.progress = on_progress;
    o.progress_ctx = w;
    for (int k = 0; k < WARM_TRIES && (rc == CM_EMOVED || rc == CM_NOT_STORED_STALE); k++) {
        if (k)
            (void)file_revalidate(i, &info);
        const uint64_t version = w->flags ? file_version(i) : 0;
        rc = mnt.backing->warm(i, off, len, &o, from_origin, w, &report);
        if (w->flags)
            note_comparison(w, &report, version);
    }
    close(w->fd);
    (void)control_is(w->client, "cached", report.cached);
    (void)control_is(w->client, "stored", report.stored);
    (void)control_is(w->client, "read", report.read);
    if (w->flags)
        tell_comparison(w);
    if (rc >= 0) /* also if all was stored: its end may have taken the places of its begin */
        quota_tell_full(w->client, i->fd);
    return rc;
}

/* Why it is not attached, for the client's message. */
static void tell_left_out(struct control_client *c, const struct inode *i)
{
    (void)control_is(c, "left_out", atomic_load(&i->left_out));
}

/* How much more may be pinned, for the client's message. */
static void tell_room(struct control_client *c)
{
    cm_info info = { .struct_size = sizeof(info) };
    uint64_t hits, misses;

    if (mnt.backing->info(&info, &hits, &misses))
        return;
    (void)control_is(c, "pinned_max", info.kept_max);
    (void)control_is(c, "room",
                     info.kept_max > info.kept_bytes ? info.kept_max - info.kept_bytes : 0);
}

/* What to read ahead of need. */
struct wanted {
    uint64_t rate, off, len;
    uint32_t flags;
    bool pins; /* before it is read: then nothing of it is evicted while the rest is read */
};

static int warm_range(struct control_client *c, struct inode *i, const struct wanted *n)
{
    struct warming w = { .client = c, .flags = n->flags };
    cm_file_info info = { .struct_size = sizeof(info) };
    bool fresh;
    int rc = CM_ENOTSUP;

    if (!S_ISREG(i->type))
        return CM_EINVAL;
    fresh = file_use(i);
    if (is_attached(i)) {
        if (!fresh && others_write())
            (void)file_revalidate(i, &info);
        rc = n->pins ? mnt.backing->keep(i, 1) : 0;
        if (rc == CM_EKEEP)
            tell_room(c);
        if (rc == 0)
            rc = warm_attached(i, &w, n->rate, n->off, n->len);
    } else {
        tell_left_out(c, i);
        pthread_mutex_lock(&i->lock);
        if (i->unread_errno && !atomic_load(&i->left_out))
            rc = of_errno(i->starved ? EMFILE : i->unread_errno);
        pthread_mutex_unlock(&i->lock);
    }
    file_unuse(i);
    return rc;
}

static int warm(struct control_client *c, struct inode *i, const struct control_request *r)
{
    return warm_range(c, i, &(struct wanted){ .rate = r->number, .len = CM_ALL });
}

static int verify(struct control_client *c, struct inode *i, const struct control_request *r)
{
    return warm_range(
        c, i, &(struct wanted){ .rate = r->number, .len = CM_ALL, .flags = CM_WARM_VERIFY });
}

/* Moves *text behind a number and its blank. */
static bool take_number(const char **text, uint64_t *value)
{
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *value = strtoull(*text, &end, 10);
    *text = end + 1;
    return errno == 0 && *end == ' ';
}

/* "OFFSET LENGTH PATH". The size is told, because the file may have been larger once. */
static int warm_part(struct control_client *c, const struct control_request *r)
{
    const char *path = r->path;
    uint64_t off, len;
    struct inode *i;
    struct stat st;
    int rc;

    if (!take_number(&path, &off) || !take_number(&path, &len) || len > INT64_MAX ||
        off > INT64_MAX - len)
        return CM_EINVAL;
    i = find(path);
    if (!i)
        return of_errno(errno);
    rc = S_ISREG(i->type) ? of_errno(inode_stat(i, &st)) : CM_EINVAL;
    if (rc == CONTROL_ERRNO) { /* no error */
        (void)control_is(c, "size", (uint64_t)st.st_size);
        rc = warm_range(c, i, &(struct wanted){ .rate = r->number, .off = off, .len = len });
    }
    let_go(i);
    return rc;
}

/* ---- Pinning --------------------------------------------------------------------------------- */

static void tell_pinned(struct control_client *c, struct inode *i)
{
    uint64_t bytes;
    int kept;

    if (mnt.backing->cached(i, 0, 0, &bytes, &kept) == 0)
        (void)control_is(c, "pinned", (uint64_t)kept);
}

/* As warm(). If the client goes meanwhile, the file is pinned and read in part. */
static int pin(struct control_client *c, struct inode *i, const struct control_request *r)
{
    return warm_range(c, i, &(struct wanted){ .rate = r->number, .len = CM_ALL, .pins = true });
}

/* Tells whether there was a pin. */
static int unpin(struct control_client *c, struct inode *i, const struct control_request *r)
{
    cm_file_id id;
    int rc, kept = 0;

    (void)r;
    if (!S_ISREG(i->type))
        return CM_EINVAL;
    if (!use_known(i, &rc, &id))
        return rc;
    if (is_attached(i)) {
        tell_pinned(c, i);
        rc = mnt.backing->keep(i, 0);
    } else {
        rc = forget_known(&id, &kept);
        (void)control_is(c, "pinned", (uint64_t)kept);
    }
    file_unuse(i);
    return rc;
}

/* A file that nobody uses may be gone, so it is forgotten instead: it cannot be attached without
 * looking at it. The flags are those that change nothing of an attached file, and refuse one that
 * was let go of meanwhile. */
static int unpin_file(const cm_file_info *info)
{
    cm_file *f;
    int rc = info->attached
                 ? cm_file_open(mnt.cache, &info->id, NULL, CM_SOLE_WRITER | CM_EXCLUSIVE, &f)
                 : CM_EABSENT;

    if (rc < 0)
        return cm_forget(mnt.cache, &info->id);
    rc = cm_file_set_keep(f, 0);
    (void)cm_file_close(f);
    return rc;
}

/* In steps: to read the file table of a large pool takes longer than the end of the mount waits. */
int control_next_file(struct control_client *c, cm_file_iter *it, cm_file_info *info)
{
    int rc;

    do
        rc = control_cancelled(c) ? CM_ECANCELED : cm_files_next(it, NULL, info);
    while (rc == CM_EBUSY);
    return rc;
}

/* All files of the pool, also those that were deleted while nobody looked. */
static int unpin_all(struct control_client *c, const struct control_request *r)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_file_iter *it;
    uint64_t files = 0;
    int rc = cache_on() ? cm_files_begin(mnt.cache, CM_FILES_STEPS, &it) : CM_EFORGET, first = 0;

    (void)r;
    if (rc < 0)
        return rc;
    while ((rc = control_next_file(c, it, &info)) == 0) {
        if (!info.keep)
            continue;
        rc = unpin_file(&info);
        first = first ? first : rc;
        files += rc == 0;
    }
    cm_files_end(it);
    (void)control_is(c, "files", files);
    return rc < 0 && rc != CM_EABSENT ? rc : first;
}

/* ---- Forgetting, counting -------------------------------------------------------------------- */

/* Also looks whether somebody has changed the file without the mount. What the kernel has of it
 * is the matter of the client: this process must not wait for the kernel's pages. A service that is
 * away learns of it later, as of a write. */
static int forget(struct control_client *c, struct inode *i, const struct control_request *r)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_file_id id;
    int rc, kept;

    (void)r;
    if (!S_ISREG(i->type))
        return CM_EINVAL;
    if (!use_known(i, &rc, &id)) {
        if (rc != CMC_AWAY && rc != CMC_CROWDED)
            return rc;
        (void)file_use(i);
    }
    if (is_attached(i)) {
        rc = mnt.backing->drop(i);
        (void)file_revalidate(i, &info);
        tell_pinned(c, i);
    } else if (rc == 0) {
        rc = forget_known(&id, &kept);
    }
    file_unuse(i);
    return rc;
}

static int count(struct control_client *c, struct inode *i, uint64_t size, uint64_t *bytes)
{
    const uint64_t most = mnt.backing->count_max;
    uint64_t at = 0, n, some;
    int kept, rc = 0;

    *bytes = 0;
    for (; at < size && rc == 0 && !control_cancelled(c); at += n) {
        n = size - at < most ? size - at : most;
        rc = mnt.backing->cached(i, at, n, &some, &kept);
        *bytes += some;
    }
    return rc;
}

/* Of a file in use. */
static int count_used(struct control_client *c, struct inode *i, uint64_t size, uint64_t *bytes)
{
    struct found found = { .size = size, .attached = is_attached(i) };
    int rc = 0;

    if (found.attached) {
        rc = count(c, i, size, bytes);
        tell_pinned(c, i);
        found.nothing = *bytes == 0;
        if (*bytes < size) /* 'cachemax warm' asks so at its end */
            quota_tell_full(c, i->fd);
    }
    if (*bytes < size && rc == 0)
        why_tell(c, i, &found);
    return rc;
}

/* Nothing is attached that would begin cold: so the answer to the same question stays the same. Nor
 * does anybody wait for a program that has a lease of the file, as of an oplock of Samba. It is
 * told that somebody reads, because the id of a file cannot be had without an open. */
static int cached(struct control_client *c, struct inode *i, const struct control_request *r)
{
    struct found found = { .attached = false };
    uint64_t bytes = 0;
    cm_validator v;
    struct stat st;
    cm_file_id id;
    int rc, kept = 0;
    bool used;

    (void)r;
    if (!S_ISREG(i->type))
        return CM_EINVAL;
    rc = inode_stat(i, &st);
    if (rc)
        return of_errno(rc);
    used = file_use_attached(i);
    if (!used && !rules_why(i->fd)) { /* else nothing is cached, and it need not be opened */
        rc = look_up(i, O_NONBLOCK, &id, &v);
        found.nothing = rc == CM_EABSENT;
        found.word = rc == CM_ECLONE               ? "volume"
                     : rc == of_errno(EWOULDBLOCK) ? "written"
                     : rc == 0                     ? why_cold(&id, &v, &kept)
                                                   : NULL;
        if (rc == 0 && !found.word) {
            (void)file_use(i);
            used = true;
        }
        rc = found.nothing || found.word ? 0 : rc;
    }
    if (used) {
        rc = count_used(c, i, (uint64_t)st.st_size, &bytes);
        file_unuse(i);
    } else if (rc == 0) {
        (void)control_is(c, "pinned", (uint64_t)kept);
        found.size = (uint64_t)st.st_size;
        if (found.size > 0)
            why_tell(c, i, &found);
    }
    (void)control_is(c, "size", (uint64_t)st.st_size);
    (void)control_is(c, "cached", bytes);
    return rc;
}

/* The id by which the pool knows the file, or would. */
static int identify(struct control_client *c, struct inode *i, const struct control_request *r)
{
    char text[40];
    cm_validator v;
    cm_file_id id;
    int fd, rc;

    (void)r;
    if (!S_ISREG(i->type))
        return CM_EINVAL;
    fd = open(procpath(i->fd).s, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return of_errno(errno);
    rc = file_identify(i, fd, &id, &v);
    close(fd);
    if (rc < 0)
        return rc;
    snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, id.hi, id.lo);
    (void)control_is_text(c, "id", text);
    return 0;
}

/* ---- The pool and the mount ------------------------------------------------------------------ */

static int set_mode(struct control_client *c, const struct control_request *r)
{
    int rc;

    (void)c;
    if (!cache_on())
        return CM_EFORGET;
    if (r->number > CM_BYPASS)
        return CM_EINVAL;
    rc = cm_set_mode(mnt.cache, (int)r->number);
    if (rc == 0)
        say(CM_LOG_INFO, "pool %s: mode %s", mnt.opt.pool,
            r->number == CM_NORMAL   ? "normal"
            : r->number == CM_FREEZE ? "freeze"
                                     : "bypass");
    return rc;
}

static void tell_uuid(struct control_client *c, const cm_info *info)
{
    char text[2 * sizeof(info->uuid) + 1];

    for (size_t k = 0; k < sizeof(info->uuid); k++)
        snprintf(text + 2 * k, 3, "%02x", info->uuid[k]);
    (void)control_is_text(c, "uuid", text);
}

/* What there is to say of the pool. */
static int tell_pool(struct control_client *c)
{
    cm_info info = { .struct_size = sizeof(info) };
    cm_stats_data own = { .struct_size = sizeof(own) };
    uint64_t hits, misses;
    int rc;

    (void)cm_stats(mnt.cache, &own);
    (void)control_is(c, "since", own.opened_at_ns);
    rc = mnt.backing->info(&info, &hits, &misses);
    if (rc < 0)
        return rc;
    tell_uuid(c, &info);
    (void)control_is(c, "mode", info.mode);
    (void)control_is(c, "size", info.size);
    (void)control_is(c, "slots", info.slots);
    (void)control_is(c, "used", info.used_slots);
    (void)control_is(c, "pinned_files", info.kept_files);
    (void)control_is(c, "pinned", info.kept_bytes);
    (void)control_is(c, "pinned_max", info.kept_max);
    (void)control_is(c, "hits", hits);
    (void)control_is(c, "misses", misses);
    quota_tell(c);
    return 0;
}

/* False: it was given up while it was away (resize.c). */
static bool has_pool(void)
{
    return !mnt.opt.pool || mnt.cache;
}

static int status(struct control_client *c, const struct control_request *r)
{
    const bool here = resize_hold();
    int rc;

    (void)r;
    for (unsigned k = 0; k < mnt.opt.places; k++)
        (void)control_is_text(c, "directory", mnt.opt.place[k].path);
    (void)control_is_text(c, mnt.opt.pool ? "pool" : "service",
                          mnt.opt.pool ? mnt.opt.pool : mnt.opt.service);
    (void)control_is(c, "process", (uint64_t)getpid());
    (void)control_is(c, "serves", cache_on());
    (void)control_is_text(c, "requests", uring_queues() ? "io_uring" : "/dev/fuse");
    if (!here)
        return resize_lost_pool() ? CONTROL_NO_POOL : CONTROL_RESIZING;
    rc = has_pool() ? tell_pool(c) : CM_EFORGET;
    resize_release();
    return rc;
}

/* Whose socket is this? A client asks before all else: another mount may use the path of a pool
 * that was moved away. */
static int tell_mount(struct control_client *c, const struct control_request *r)
{
    (void)r;
    return control_is_text(c, "device", place_device()) ? 0 : CM_ECANCELED;
}

/* One line for a file: a pool may know millions of them. */
static int tell_file(struct control_client *c, const cm_file_info *f)
{
    char text[CM_FILE_NAME_MAX + 200];

    snprintf(text, sizeof(text),
             "%016" PRIx64 " %016" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %u %s",
             f->id.hi, f->id.lo, f->size, f->cached_bytes, f->hits, f->last_used_ns,
             f->dirty | f->racy << 1 | f->bypassed << 2 | f->keep << 3, f->name);
    return control_is_text(c, "file", text) ? 0 : CM_ECANCELED;
}

/* `number`: flags of cm_files_begin. */
static int files(struct control_client *c, const struct control_request *r)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_file_iter *it;
    int rc =
        cm_files_begin(mnt.cache, ((uint32_t)r->number & CM_FILES_COUNT) | CM_FILES_STEPS, &it);

    if (rc < 0)
        return rc;
    while ((rc = control_next_file(c, it, &info)) == 0 && (rc = tell_file(c, &info)) == 0) {
    }
    cm_files_end(it);
    return rc == CM_EABSENT ? 0 : rc;
}

/* The fields of cm_check_report that are told. */
#define REPORT_MAP(X)                                                                              \
    X(slots)                                                                                       \
    X(valid)                                                                                       \
    X(orphaned)                                                                                    \
    X(bad_headers)                                                                                 \
    X(bad_payload)                                                                                 \
    X(unreadable)                                                                                  \
    X(stale_cells)                                                                                 \
    X(bad_cells)                                                                                   \
    X(duplicates)                                                                                  \
    X(records)                                                                                     \
    X(torn_records)                                                                                \
    X(dropped)                                                                                     \
    X(would_empty)                                                                                 \
    X(superblocks_damaged)                                                                         \
    X(second_bucket)                                                                               \
    X(torn)

static int on_check(void *ctx, uint64_t done, uint64_t total)
{
    return !control_at(ctx, done, total);
}

/* `number`: flags of cm_check. */
static int check(struct control_client *c, const struct control_request *r)
{
    cm_check_report report = CM_CHECK_REPORT_INIT;
    const int rc = cm_check(mnt.cache, (uint32_t)r->number & (CM_CHECK_REPAIR | CM_CHECK_METADATA),
                            on_check, c, &report);

    if (rc < 0)
        return rc;
#define TELL(name) (void)control_is(c, #name, report.name);
    REPORT_MAP(TELL)
#undef TELL
    return rc;
}

/* ---- What is asked for ----------------------------------------------------------------------- */

enum {
    OWN = 1u << 0,  /* only if the pool is this mount's */
    APART = 1u << 1 /* it does not use the pool, or sees to it itself */
};

static const struct {
    const char *verb;
    int (*of_file)(struct control_client *c, struct inode *i, const struct control_request *r);
    int (*of_mount)(struct control_client *c, const struct control_request *r);
    unsigned flags;
} verbs[] = { { "warm", warm, NULL, 0 },
              { "verify", verify, NULL, OWN },
              { "forget", forget, NULL, 0 },
              { "cached", cached, NULL, 0 },
              { "status", NULL, status, APART },
              { "mount", NULL, tell_mount, APART },
              { "mode", NULL, set_mode, OWN },
              { "files", NULL, files, OWN },
              { "check", NULL, check, OWN },
              { "pin", pin, NULL, 0 },
              { "unpin", unpin, NULL, 0 },
              { "id", identify, NULL, 0 },
              { "unpinall", NULL, unpin_all, OWN },
              { "warmpart", NULL, warm_part, 0 },
              { "record", NULL, record_serve, APART },
              { "resize", NULL, resize_serve, OWN | APART } };

static int serve_file(struct control_client *c, const struct control_request *r, size_t k)
{
    struct inode *i = find(r->path);
    int rc;

    if (!i)
        return of_errno(errno);
    rc = verbs[k].of_file(c, i, r);
    let_go(i);
    return rc;
}

static int serve(struct control_client *c, const struct control_request *r, size_t k)
{
    const bool holds = !(verbs[k].flags & APART);
    int rc;

    if (holds && !resize_hold())
        return resize_lost_pool() ? CONTROL_NO_POOL : CONTROL_RESIZING;
    rc = holds && !has_pool() ? CM_EFORGET
         : verbs[k].of_mount  ? verbs[k].of_mount(c, r)
                              : serve_file(c, r, k);
    if (holds)
        resize_release();
    return rc == CMC_AWAY      ? CONTROL_AWAY
           : rc == CMC_CROWDED ? CONTROL_CROWDED
           : rc == CMC_FULL    ? CONTROL_FULL
                               : rc;
}

int control_serve(struct control_client *c, const struct control_request *r)
{
    for (size_t k = 0; k < sizeof(verbs) / sizeof(verbs[0]); k++) {
        if (strcmp(r->verb, verbs[k].verb))
            continue;
        return (verbs[k].flags & OWN) && !mnt.opt.pool ? CONTROL_NOT_OURS : serve(c, r, k);
    }
    return CM_ENOTSUP;
}
