/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.c - the bond between an inode and what is cached of it: attaching, brackets, giving up.
 *
 * An inode is attached at its first use. It stays attached while the kernel remembers it, up to a
 * limit: the one that is idle for the longest time is detached first. A file that the rules leave
 * out (rules.h) is not attached. If it was, it is forgotten at the end of its use. Every change of
 * the origin runs between change_begin() and change_end(). If nobody can promise that old bytes are
 * forgotten, the cache is given up before the origin is changed (backing.h). From then on nobody
 * takes a validator: one of a later version could vouch for old blocks. Any thread may call.
 * file_* and change_* may wait for the origin, for a service, and for the sync of a page of a
 * checkpointed pool, but for nothing else.
 */
#include "mount.h"

#include <limits.h>
#include <sys/resource.h>

#define AT_ONCE 64 /* files that an open lets go of, at most: it waits for that */

static struct {
    pthread_mutex_t lock; /* of the list */
    struct inode list;    /* ring of idle attached inodes, the longest idle one first */
    uint64_t count, limit;
} lru = { .lock = PTHREAD_MUTEX_INITIALIZER,
          .list = { .lru_prev = &lru.list, .lru_next = &lru.list } };

bool cache_on(void)
{
    return !atomic_load_explicit(&mnt.gave_up, memory_order_acquire) && !resize_runs();
}

void cache_limit(uint64_t most)
{
    struct rlimit rl = { .rlim_cur = 1024 };

    getrlimit(RLIMIT_NOFILE, &rl); /* an attached file takes a descriptor */
    lru.limit = rl.rlim_cur / 4 < most ? rl.rlim_cur / 4 : most;
}

/* ---- Giving up ----------------------------------------------------------------------------- */

static void give_up(int why)
{
    mnt.backing->give_up(why);
}

void cache_give_up(void)
{
    give_up(CM_EFORGET);
}

/* ---- The list of idle attached inodes ------------------------------------------------------ */

/* True: the inode was on the list, and the list's reference is now the caller's. */
static bool lru_take(struct inode *i)
{
    bool was;

    pthread_mutex_lock(&lru.lock);
    was = i->on_lru;
    if (was) {
        i->lru_prev->lru_next = i->lru_next;
        i->lru_next->lru_prev = i->lru_prev;
        i->on_lru = false;
        lru.count--;
    }
    pthread_mutex_unlock(&lru.lock);
    return was;
}

/* The newest idle one. Returns an inode that is to be detached, held, or NULL. */
static struct inode *lru_put(struct inode *i)
{
    struct inode *over = NULL;

    inode_hold(i);
    pthread_mutex_lock(&lru.lock);
    assert(!i->on_lru);
    i->on_lru = true;
    i->lru_next = &lru.list;
    i->lru_prev = lru.list.lru_prev;
    i->lru_prev->lru_next = i;
    lru.list.lru_prev = i;
    if (++lru.count > lru.limit && !keeper_ending()) { /* each thread detaches its own, then */
        over = lru.list.lru_next;
        inode_hold(over);
    }
    pthread_mutex_unlock(&lru.lock);
    return over;
}

/* ---- Attaching ----------------------------------------------------------------------------- */

static uint32_t attach_flags(const struct inode *i)
{
    return (others_write() ? 0 : CM_SOLE_WRITER) |
           (number_far(i->device) ? CM_ORIGIN_VOLATILE : 0); /* a loss there cannot be seen */
}

static const char *name_of(const struct inode *i, char path[PATH_MAX])
{
    return path_of_fd(i->fd, path, PATH_MAX) ? path : mnt.opt.dir;
}

/* One line, about the first file of which it is true. */
static void say_once(_Atomic bool *said, const struct inode *i, int level, const char *what)
{
    char path[PATH_MAX];

    if (!atomic_exchange(said, true))
        say(level, "%s: %s", name_of(i, path), what);
}

static void say_clone(const struct inode *i)
{
    static _Atomic bool said;

    say_once(&said, i, CM_LOG_WARNING,
             "its volume has the same identity as another mounted one, or does not tell its files "
             "apart, or a sandbox hides /sys, which names its disk; so they pass through uncached; "
             "show /sys, or else a mount of that volume alone with --volume-id NAME caches them");
}

static void say_refused(const struct inode *i)
{
    static _Atomic bool said;

    say_once(&said, i, CM_LOG_WARNING,
             "the system fails to tell which file it is, so it passes through uncached; a filter "
             "of system calls, if there is one, must allow the ioctl FS_IOC_GETVERSION");
}

/* Of a local file system it depends on who has the file open just now: nothing to be told. */
static void say_unknown(const struct inode *i)
{
    static _Atomic bool said;

    if (!number_local(i->device))
        say_once(&said, i, CM_LOG_INFO,
                 "its file system cannot say who writes a file, so its files are cold at each "
                 "open; where size and times can be trusted, --trust-times keeps them warm");
}

bool file_is_ours(const struct inode *i, int64_t *until)
{
    /* A file that has, or had, several names may have one where the mount is gone: others may have
     * used it, and may have removed it. */
    return place_still_ours(PLACE_ALL, until) ||
           (!atomic_load(&i->several) && place_still_ours(i->place, until));
}

/* May a file have changed at `until` or later? File systems cut their times off, and say nowhere to
 * which unit: to as many places as are 0 here, or two seconds (FAT). */
static bool may_be_since(int64_t changed_ns, int64_t until)
{
    int64_t unit = 1;

    while (unit < 1000000000 && changed_ns % (unit * 10) == 0)
        unit *= 10;
    if (unit == 1000000000)
        unit *= 2;
    return changed_ns > until - unit;
}

int file_identify(const struct inode *i, int fd, cm_file_id *id, cm_validator *v)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    struct timespec now;
    int64_t until;
    int rc;

    clock_gettime(CLOCK_REALTIME, &now); /* from before they are looked at */
    o.flags = others_write() && !times_tell(i) ? 0 : CM_IDENTIFY_SOLE_WRITER;
    /* The name is that of one volume. Other volumes below the directory have their own inode
     * numbers. */
    if (number_own(i->device))
        o.volume_id = mnt.opt.volume_id;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    rc = cm_identify_with(fd, &o, id, v);
    if (rc == CM_ECLONE)
        say_clone(i);
    if (rc == CM_EIO)
        say_refused(i);
    if (rc == 0 && others_write() && !times_tell(i) && (v->racy & CM_RACY_WRITER))
        say_unknown(i);
    if (rc == 0 && times_tell(i) && times_are_young(v->changed_ns, &now))
        v->racy |= CM_RACY_TIMES;
    /* Once the mount has lost its name, others write the origin. We cannot know whether a file that
     * changed since then, or at an unknown time, is still the same. Where times tell, others write
     * it all the time. */
    if (rc == 0 && !times_tell(i) && !file_is_ours(i, &until)) {
        if (!number_local(i->device) || may_be_since(v->changed_ns, until))
            v->racy |= CM_RACY_WRITER;
    }
    /* After it was given up, the origin is changed without brackets. What was taken before cannot
     * be the validator of a later version. */
    return cache_on() ? rc : CM_EFORGET;
}

/* The inode's own descriptor becomes one that can be read, so that an attached file takes one and
 * not two. Its number stays, so other threads may be using it meanwhile. */
static int open_to_read(struct inode *i)
{
    const int fd = fstab_open(i->fd, O_RDONLY | O_CLOEXEC | times_flags(i));

    if (fd < 0 || dup3(fd, i->fd, O_CLOEXEC) < 0)
        return fd;
    close(fd);
    return i->fd;
}

/* An open file may keep a server's file or a lease busy, and O_PATH does not. If there is no
 * descriptor for that, the inode keeps what it has. */
static void close_to_read(struct inode *i, int fd)
{
    const int path = fd == i->fd ? open(procpath(fd).s, O_PATH | O_CLOEXEC) : -1;

    if (path >= 0)
        dup3(path, fd, O_CLOEXEC);
    if (path >= 0 || fd != i->fd)
        close(path >= 0 ? path : fd);
}

static bool is_want(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM;
}

/* i->lock held. A failure is no error: the file then passes through. A descriptor is there if
 * cache_detach_used() has left it to handles. */
static void attach(struct inode *i)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info info = { .racy = 1 };
    int fd = i->rfd >= 0 ? i->rfd : open_to_read(i), rc;
    struct look l;
    bool remember;

    i->unread_errno = fd < 0 ? errno : 0;
    i->starved = is_want(i->unread_errno);
    if (fd < 0)
        return;
    remember = coherence_begin(i, &l);
    rc = file_identify(i, fd, &i->id, &v);
    if (rc == 0)
        rc = mnt.backing->attach(i, fd, &v, attach_flags(i));
    if (rc < 0) {
        if (rc == CM_EFORGET)
            give_up(rc);
        if (i->rfd < 0)
            close_to_read(i, fd);
        return;
    }
    i->rfd = fd;
    i->forgotten = false;
    i->marked = 0;
    i->attached = true; /* the pool may know it from now on, also when it is detached */
    i->unread = false;
    i->written = i->proved = false;
    atomic_store(&i->checked_ns, cm_now());
    proof_attached(i);
    cm_file_get_info(i->cf, &info);
    if (rc == 0 && remember)
        coherence_seen(i, &l, !info.racy);
    if (info.racy || info.dirty || info.want_validator)
        keeper_schedule(i);
}

/* i->lock held. */
static void take_attachment(struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    const bool dirty =
        cache_on() && cm_file_get_info(i->cf, &info) >= 0 && info.dirty && !info.bypassed;
    int rc = 0;

    mnt.backing->detach(i);
    /* Nobody will tell of what changes it from now on. */
    if (cache_on() && (i->linked || (i->left_out && !i->unlinked)))
        rc = mnt.backing->forget(&i->id, false);
    else if (i->unlinked && cache_on())
        number_forget(i->device, &i->id);
    else if (dirty && !number_far(i->device))
        number_leave(i->device, &i->id);
    if (rc < 0 && mnt.backing == &backing_pool) /* a service learns of it by the client's note */
        give_up(rc);
    i->cf = NULL;
}

/* i->lock held, users 0. */
static void detach(struct inode *i)
{
    if (i->cf)
        take_attachment(i);
    close_to_read(i, i->rfd);
    i->rfd = -1;
}

/* i->lock held; it is released. */
static void detach_idle(struct inode *i, bool always)
{
    bool taken = false;

    if (i->rfd >= 0 && i->users == 0 && (always || !keeper_has(i))) {
        taken = lru_take(i);
        detach(i);
    }
    pthread_mutex_unlock(&i->lock);
    if (taken)
        inode_put(i);
}

/* i->lock held. */
static void judge(struct inode *i)
{
    if (rules_any() && S_ISREG(i->type))
        i->left_out = rules_leave_out(i->fd);
}

/* At an open of a file that nobody uses and that is not attached, file_use() does it. */
void file_judge(struct inode *i)
{
    if (!rules_any())
        return;
    pthread_mutex_lock(&i->lock);
    if (i->users > 0 || i->cf)
        judge(i);
    pthread_mutex_unlock(&i->lock);
}

/* i->lock held. */
static bool may_attach(const struct inode *i)
{
    return !i->cf && S_ISREG(i->type) && !i->raw && !i->unlinked && !i->linked && !i->left_out &&
           !number_judges(i->device) && cache_on();
}

/* Detaches an inode that nobody uses; its reference is taken. Closing a far one may wait, and this
 * may be a loop, so the keeper does it. Of another one, if its lock is taken, somebody uses the
 * inode again, and may be waiting for the origin. */
static bool detach_over(struct inode *i)
{
    const bool far = number_far(i->device), mine = !far && pthread_mutex_trylock(&i->lock) == 0;

    if (far && lru_take(i))
        inode_put(i);
    if (far)
        keeper_detach(i);
    if (mine)
        detach_idle(i, true);
    inode_put(i);
    return far || mine;
}

/* Up to `n` of those that are idle for the longest time, held. */
static size_t lru_oldest(struct inode **v, size_t n)
{
    size_t have = 0;

    pthread_mutex_lock(&lru.lock);
    for (struct inode *i = lru.list.lru_next; i != &lru.list && have < n; i = i->lru_next) {
        inode_hold(i);
        v[have++] = i;
    }
    pthread_mutex_unlock(&lru.lock);
    return have;
}

bool cache_make_room(uint64_t most)
{
    struct inode *v[64];
    uint64_t n, done = 0;
    size_t have = 1, gone = 1;

    pthread_mutex_lock(&lru.lock);
    n = lru.count > 4 ? lru.count / 4 : lru.count > 0;
    pthread_mutex_unlock(&lru.lock);
    n = n < most ? n : most;
    while (done < n && gone > 0 && !keeper_ending()) { /* each thread detaches its own, then */
        have = lru_oldest(v, n - done < 64 ? (size_t)(n - done) : 64);
        gone = 0;
        for (size_t k = 0; k < have; k++)
            gone += detach_over(v[k]);
        done += gone;
    }
    return done > 0;
}

/* A file was attached that the service has no room for: those that nobody uses make it. */
static void make_room_for(struct inode *i)
{
    if (mnt.backing->no_room && mnt.backing->no_room(i, false)) {
        (void)cache_make_room(AT_ONCE);
        (void)mnt.backing->no_room(i, true);
    }
}

static bool use(struct inode *i, bool reads)
{
    bool taken = false, fresh;

    pthread_mutex_lock(&i->lock);
    if (i->users++ == 0 && i->cf)
        taken = lru_take(i);
    fresh = !i->cf;
    if (fresh && i->users == 1)
        judge(i);
    if (may_attach(i) && (reads || !i->unread))
        attach(i);
    fresh = fresh && i->cf;
    pthread_mutex_unlock(&i->lock);
    if (taken)
        inode_put(i);
    if (fresh)
        make_room_for(i);
    return fresh;
}

bool file_use(struct inode *i)
{
    return use(i, true);
}

bool file_use_to_change(struct inode *i)
{
    return use(i, false);
}

/* With a service another client may have read it before its writer. */
void file_made(struct inode *i)
{
    pthread_mutex_lock(&i->lock);
    i->unread = S_ISREG(i->type) && !i->attached && mnt.backing == &backing_pool;
    if (!others_write())
        atomic_store(&i->no_caps, true);
    pthread_mutex_unlock(&i->lock);
}

bool file_is_unread(struct inode *i)
{
    bool is;

    pthread_mutex_lock(&i->lock);
    is = i->unread;
    pthread_mutex_unlock(&i->lock);
    return is;
}

/* i->lock held; it is released. */
static bool use_attached(struct inode *i)
{
    bool attached = i->cf != NULL, taken = false;

    if (attached && i->users++ == 0)
        taken = lru_take(i);
    pthread_mutex_unlock(&i->lock);
    if (taken)
        inode_put(i);
    return attached;
}

bool file_use_attached(struct inode *i)
{
    pthread_mutex_lock(&i->lock);
    return use_attached(i);
}

bool file_try_use(struct inode *i)
{
    return pthread_mutex_trylock(&i->lock) == 0 && use_attached(i);
}

void file_unuse(struct inode *i)
{
    struct inode *over = NULL;

    pthread_mutex_lock(&i->lock);
    assert(i->users > 0);
    if (--i->users == 0 && i->rfd >= 0) {
        if (i->cf && !i->unlinked && !i->linked && !i->left_out) {
            over = lru_put(i);
        } else if (i->cf || !number_far(i->device)) {
            detach(i);
        } else { /* what cache_detach_used() has left */
            inode_hold(i);
            over = i;
        }
    }
    pthread_mutex_unlock(&i->lock);
    if (over)
        (void)detach_over(over);
}

/* An inode that the keeper still has to look at stays until the keeper has done so. */
void file_detach_idle(struct inode *i)
{
    pthread_mutex_lock(&i->lock);
    detach_idle(i, false);
}

void file_detach_linked(struct inode *i)
{
    pthread_mutex_lock(&i->lock);
    detach_idle(i, true);
}

static void detach_any(struct inode *i, void *ctx)
{
    bool taken = false;

    (void)ctx;
    if (i->rfd >= 0) {
        taken = lru_take(i);
        detach(i);
    }
    i->users = 0; /* handles of an aborted mount are never released */
    if (taken)
        inode_put(i);
}

void cache_detach_all(bool far)
{
    inode_each(far, detach_any, NULL);
}

/* Its descriptor stays for handles; that of a far one is closed by the keeper, because it may wait.
 * The kernel's pages are of a version that a later attachment knows nothing of. */
static void detach_used(struct inode *i, void *ctx)
{
    bool taken = false, surplus = false;

    (void)ctx;
    pthread_mutex_lock(&i->lock);
    if (i->cf) {
        taken = lru_take(i);
        i->kernel_incarnation = 0;
        surplus = i->users == 0 && number_far(i->device);
        if (i->users == 0 && !surplus)
            detach(i);
        else
            take_attachment(i);
    }
    pthread_mutex_unlock(&i->lock);
    if (surplus)
        keeper_detach(i);
    if (taken)
        inode_put(i);
}

bool cache_detach_used(bool far)
{
    return inode_each(far, detach_used, NULL);
}

static void attach_used(struct inode *i, void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&i->lock);
    if (i->users > 0 && may_attach(i) && !i->unread)
        attach(i);
    pthread_mutex_unlock(&i->lock);
}

void cache_attach_used(bool far)
{
    inode_each(far, attach_used, NULL);
}

uint64_t file_version(const struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };

    return cm_file_get_info(i->cf, &info) < 0 ? 0 : info.incarnation;
}

int file_revalidate(struct inode *i, cm_file_info *info)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    struct look l;
    const bool remember = coherence_begin(i, &l);
    int rc = file_identify(i, i->rfd, &id, &v);

    if (rc < 0)
        return rc;
    rc = mnt.backing->revalidate(i, &v);
    if (rc == CM_EFORGET)
        give_up(rc);
    if (rc == 0)
        atomic_store(&i->checked_ns, cm_now());
    cm_file_get_info(i->cf, info);
    if (rc == 0 && remember)
        coherence_end(i, &l, !info->racy);
    return rc;
}

void file_must_validate(struct inode *i)
{
    atomic_store(&i->checked_ns, 0);
}

bool file_keep_pages(struct inode *i, uint64_t *fresh)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    bool keep = false;

    *fresh = 0;
    /* Then all changes go through the kernel's pages. To drop them would not only be in vain: the
     * pages of a write() that is on its way are clean, and the old content would come back. */
    if (!others_write() && !atomic_load(&i->linked)) {
        coherence_look_local(i);
        return !atomic_exchange(&i->others_changed, false) && !paranoid_found();
    }
    pthread_mutex_lock(&i->lock);
    if (i->cf && !i->linked && !i->left_out && /* this open looked at nothing */
        cache_on() && cm_file_get_info(i->cf, &info) >= 0) {
        /* The mount's own writes go through the kernel's pages and keep the incarnation. Any other
         * change of the content starts a new one. */
        keep = i->kernel_incarnation != 0 && i->kernel_incarnation == info.incarnation;
        *fresh = keep ? 0 : info.incarnation;
    } else {
        i->kernel_incarnation = 0;
    }
    pthread_mutex_unlock(&i->lock);
    return keep;
}

void file_has_pages(struct inode *i, uint64_t incarnation)
{
    pthread_mutex_lock(&i->lock);
    i->kernel_incarnation = incarnation;
    pthread_mutex_unlock(&i->lock);
}

void file_gone(struct inode *i)
{
    struct stat st;

    if (inode_stat(i, &st) || st.st_nlink)
        return;
    pthread_mutex_lock(&i->lock);
    i->unlinked = true;
    pthread_mutex_unlock(&i->lock);
    proof_gone(i);
    keeper_gone(i);
}

void file_named(struct inode *i)
{
    pthread_mutex_lock(&i->lock);
    i->unlinked = false;
    pthread_mutex_unlock(&i->lock);
    file_gone(i); /* if that name was removed at the same time */
}

/* ---- Changing the origin ------------------------------------------------------------------- */

#define RAW_MARK UINT_MAX /* no number of mark() that others use */

/* Does a change need neither a bracket nor mark()? The pool has nothing of it. */
static bool is_unknown(const struct inode *i)
{
    return i->linked || i->unread || !S_ISREG(i->type);
}

/* The change that follows is refused for the same reason; or the file system has no disk. */
static bool is_refusal(int err)
{
    return err == EROFS || err == EPERM || err == EACCES || err == EINVAL;
}

/* A change without a bracket is shown by the validator only. A power cut may leave the new content
 * beside the old times, because fdatasync need not bring times to the disk. So a new ctime is
 * durable before the first such change of a file. `number`: of the time in which changes have no
 * bracket; 0: before each change. i->lock held. 0, or an errno. */
static int mark(struct inode *i, unsigned number)
{
    struct stat st;
    int fd, err = 0;

    if ((number && i->marked == number) || is_unknown(i))
        return 0;
    fd = fstab_open(i->fd, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fd = fstab_open(i->fd, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 ||
        (futimens(fd, (struct timespec[]){ st.st_atim, { .tv_nsec = UTIME_OMIT } }) < 0 &&
         futimens(fd, NULL) < 0) || /* who may only write it can set no other times */
        fsync(fd) < 0)
        err = errno;
    if (err == 0)
        i->marked = number;
    if (fd >= 0)
        close(fd);
    return is_refusal(err) ? 0 : err;
}

/* A file that the rules leave out may have been cached under others: the pool forgets it before the
 * first change. i->lock held. 0, why it cannot, or an errno: for want of a descriptor or memory. */
static int forget_left_out(struct inode *i)
{
    cm_validator v;
    cm_file_id id;
    int fd, rc = 0;

    if (i->forgotten || is_unknown(i) || atomic_load(&i->unlinked))
        return 0;
    fd = fstab_open(i->fd, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* who cannot read it now could not before, as a rule */
        return is_want(errno) ? errno : 0;
    if (file_identify(i, fd, &id, &v) == 0) {
        rc = mnt.backing->forget(&id, false);
        i->forgotten = rc >= 0;
    }
    close(fd);
    return rc < 0 ? rc : 0;
}

/* Before a change of content that has no bracket. i->lock held, and the file is not attached. 0;
 * CM_EFORGET: the pool may know the file, and no change of it would show; an errno: the same for
 * want of a descriptor or memory, so there must be no change now. */
static int prepare_raw(struct inode *i)
{
    int err = 0, rc;

    if (resize_runs())
        err = mark(i, resize_number());
    else if (!cache_on() || i->marked == RAW_MARK)
        return 0;
    else if (i->starved && !i->left_out)
        err = mark(i, RAW_MARK);
    else if (!i->left_out)
        return 0;
    else if ((rc = forget_left_out(i)) >= 0)
        return rc;
    else if (mnt.backing != &backing_pool) /* the service is away */
        (void)mark(i, RAW_MARK);
    else
        return CM_EFORGET;
    return is_want(err) ? err : err ? CM_EFORGET : 0;
}

/* The service is away, and the note of this change is in memory. */
static void mark_away(struct inode *i, const cmc_bracket *w)
{
    pthread_mutex_lock(&i->lock);
    (void)mark(i, (unsigned)w->connection);
    pthread_mutex_unlock(&i->lock);
}

int change_begin(struct change *c, struct inode *i, enum change_kind kind, uint64_t off,
                 uint64_t len)
{
    int rc;

    *c = (struct change){ .inode = i, .kind = kind };
    if (kind != CHANGE_ATTR)
        atomic_store_explicit(&i->changed, true, memory_order_relaxed);
    inode_changes(i);
    file_use_to_change(i);
    if (i->cf && cache_on()) {
        rc = kind == CHANGE_SIZE ? mnt.backing->truncate_begin(i, off, &c->w)
                                 : mnt.backing->write_begin(i, off, len, &c->w);
        if (rc >= 0) {
            if (c->w.told.outside && kind != CHANGE_ATTR)
                mark_away(i, &c->w.told);
            c->bracketed = true;
            i->written |= kind != CHANGE_ATTR;
            atomic_fetch_add(&i->changes_begun, 1);
            return 0;
        }
        if (rc == CM_ERANGE) {
            file_unuse(i);
            return -EFBIG;
        }
        give_up(rc);
    }
    pthread_mutex_lock(&i->lock);
    rc = i->cf || kind == CHANGE_ATTR ? 0 : prepare_raw(i);
    if (rc > 0) {
        pthread_mutex_unlock(&i->lock);
        file_unuse(i);
        return -rc;
    }
    if (rc < 0)
        give_up(rc);
    if (!i->cf || !cache_on()) {
        i->raw++;
        pthread_mutex_unlock(&i->lock);
        atomic_fetch_add(&i->changes_begun, 1);
        return 0;
    }
    /* Another thread has attached it since: try again, with a bracket. */
    pthread_mutex_unlock(&i->lock);
    file_unuse(i);
    return change_begin(c, i, kind, off, len);
}

void change_end(struct change *c)
{
    struct inode *i = c->inode;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    bool fresh = false;

    if (c->bracketed) {
        /* After a write the keeper takes the validator. A validator for every write would be too
         * fresh to prove anything. Attributes change rarely, and that should not make the file
         * cold. A file without a name is forgotten when nobody uses it any more. */
        if (c->kind != CHANGE_RANGE && !atomic_load(&i->unlinked))
            fresh = file_identify(i, i->rfd, &id, &v) == 0;
        mnt.backing->write_end(i, &c->w, fresh ? &v : NULL);
        keeper_schedule(i);
    } else {
        pthread_mutex_lock(&i->lock);
        i->raw--;
        pthread_mutex_unlock(&i->lock);
        inode_changes(i); /* this may have copied it up */
    }
    atomic_fetch_add(&i->changes_ended, 1);
    file_unuse(i);
}

int file_sync(struct handle *h, bool datasync)
{
    struct proof p = { .err = 0 };
    struct inode *i = h->inode;

    file_use(i);
    if (i->cf && cache_on()) {
        proof_begin(&p, i, h->fd, datasync);
        proof_end_of(&p, h);
    } else if ((datasync ? fdatasync(h->fd) : fsync(h->fd)) < 0) {
        p.err = errno;
        /* Nobody notes the loss for the pool, and the origin may have older data then. */
        if (resize_runs() && (p.err == EIO || p.err == ENOSPC || p.err == EDQUOT))
            give_up(CM_EFORGET);
    }
    p.err = proof_tell(h, p.err);
    file_unuse(i);
    return p.err;
}
