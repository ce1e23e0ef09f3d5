/* SPDX-License-Identifier: BSD-2-Clause
 *
 * coherence.c - changes that others make at the origin, beside programs that have files open.
 *
 * The kernel keeps pages of open files, and mappings use them without asking anybody. So when a
 * file has changed, the kernel is told to drop its pages (direct_drop). That a file has changed is
 * seen at each validation, and by a look at all files that are open and have pages: once per
 * attr_timeout, by the keeper. A look is an fstat; only what differs is validated. Where the kernel
 * tells of a change (watch.c), the look comes at once.
 *
 * THE ORDER is: fstat, validation, memory of what fstat said, pages. The blocks of the old version
 * are forgotten before the pages are dropped, so a page that is read again is new. A change after
 * the fstat differs from what is remembered, so the next look finds it.
 *
 * THE END. The kernel cuts what sendfile, splice, copy_file_range and mappings ask for at the end
 * that it knows, and asks nobody for another one. So after the drop it is told that the file has
 * become longer (direct_follow). A shorter one it notices when it reads.
 *
 * WHAT THE KERNEL KNOWS, AND WHEN. It has zeros behind the end in its last page. If it learns a
 * longer end, these are content: readers get them, and if a program stores in that page, they go
 * over what others have appended. So, of a file of which it may have pages:
 * 1. The mount knows the end that the kernel knows (inode.told_size): that of the last answer, of
 *    the last notification, or of an own write since.
 * 2. A longer end goes to the kernel in one way only: first the end is looked at, then all pages
 *    are dropped, then the kernel is told that end, then the pages are dropped once more. What is
 *    read into pages after the look has no zeros in front of the end that was looked at.
 * 3. Who asks for the size meanwhile gets the new one, in an answer of which the kernel takes no
 *    size (show_longer). It waits for the drop, for a tenth of a second at most, so that what it
 *    does next finds the end.
 * 4. A program may store in the page at any moment, also between the drops, and the kernel may put
 *    zeros behind the old end once more. Therefore zeros.c keeps such zeros away from the origin.
 * The mount's own write or truncation behind the end is told at once, by its answer. What others
 * have appended in front of it can then look like zeros until the next drop, and stays at the
 * origin.
 *
 * The mount's own writes look like those of others: nobody can say who changed a file that others
 * write, too. Their pages are dropped once.
 *
 * Owns: the list of open files; what was seen of each. Who: ops_open.c says what is open, cache.c
 * what was validated, the keeper and watch.c when to look; ops_read.c asks. With --coherence=local
 * only the look at one file runs (local): opens, closes and requests for attributes call it.
 */
#include "mount.h"

#include <time.h>

#define PERIOD_MIN_NS 200000000ull /* with attr_timeout=0 */
#define PERIOD_STRICT_NS 1000000000ull
#define TICK_NS 50000000      /* of the clock that times of files come from: much less */
#define SECONDS_NS 2100000000 /* where times are whole seconds, or two */
#define DAY_S (24 * 3600)     /* no age that counts is as high (--trust-times) */

static struct {
    pthread_mutex_t lock;
    struct inode *head;
    size_t count;
} open_files = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- What is open -------------------------------------------------------------------------- */

void coherence_opened(struct inode *i)
{
    struct look l;
    bool known;

    if (!others_write())
        return;
    pthread_mutex_lock(&open_files.lock);
    if (i->opens++ == 0) {
        i->open_prev = NULL;
        i->open_next = open_files.head;
        if (i->open_next)
            i->open_next->open_prev = i;
        open_files.head = i;
        open_files.count++;
        watch_opened(i);
    }
    pthread_mutex_unlock(&open_files.lock);
    pthread_mutex_lock(&i->lock);
    known = i->seen.known;
    pthread_mutex_unlock(&i->lock);
    if (!known && coherence_begin(i, &l)) /* it passes through: no validation has seen it */
        coherence_end(i, &l, false);
}

void coherence_closed(struct inode *i)
{
    if (!others_write())
        return;
    pthread_mutex_lock(&open_files.lock);
    if (--i->opens == 0) {
        *(i->open_prev ? &i->open_prev->open_next : &open_files.head) = i->open_next;
        if (i->open_next)
            i->open_next->open_prev = i->open_prev;
        open_files.count--;
        watch_closed(i);
    }
    pthread_mutex_unlock(&open_files.lock);
}

/* ---- What was seen ------------------------------------------------------------------------- */

static bool equal(const struct sight *a, const struct stat *b)
{
    return a->size == b->st_size && !memcmp(&a->mtim, &b->st_mtim, sizeof(a->mtim)) &&
           !memcmp(&a->ctim, &b->st_ctim, sizeof(a->ctim));
}

/* Could it change once more without another time? */
static bool is_young(const struct inode *i, const struct stat *st)
{
    struct timespec now;
    int64_t age;

    clock_gettime(CLOCK_REALTIME, &now);
    /* More than a day apart: nanoseconds might be too many to count. */
    if (st->st_ctim.tv_sec > now.tv_sec + DAY_S)
        return times_tell(i); /* a time of the future proves nothing */
    if (st->st_ctim.tv_sec < now.tv_sec - DAY_S)
        return false;
    if (times_tell(i))
        return times_are_young((int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
                               &now);
    age =
        (int64_t)(now.tv_sec - st->st_ctim.tv_sec) * 1000000000 + now.tv_nsec - st->st_ctim.tv_nsec;
    return age >= 0 && age < (st->st_ctim.tv_nsec ? TICK_NS : SECONDS_NS);
}

/* Does the kernel drop the pages of this file by itself when it learns another size or mtime? Of a
 * file with several names it has to: a change that seems to be another's may be the mount's own, by
 * another name. A drop by notification would hide the new size until it is done, and would wait for
 * the page that an append holds. */
bool coherence_kernel_drops(const struct inode *i)
{
    return mnt.kernel_drops && atomic_load(&i->linked);
}

static bool size_or_mtime_moved(const struct sight *was, const struct stat *is)
{
    return was->size != is->st_size || memcmp(&was->mtim, &is->st_mtim, sizeof(was->mtim)) != 0;
}

/* Nobody else should change the file. If somebody has, all the same, his change is told from the
 * mount's own by the count of the mount's changes: the kernel only sees that there is another time.
 * One that comes between an own change and the next look is not seen, so a writer's close looks,
 * too. Loops call it, so it waits for nothing. What is cached is validated by the next open. */
void coherence_look_local(struct inode *i)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* inode.lock may be held for long */
    const uint64_t ended = atomic_load(&i->changes_ended), begun = atomic_load(&i->changes_begun);
    struct sight *const s = &i->seen;
    struct stat st;
    bool quiet, changed;

    if (others_write() || !S_ISREG(i->type) || fstatat(i->fd, "", &st, AT_EMPTY_PATH) < 0)
        return;
    quiet = begun == ended && atomic_load(&i->changes_begun) == begun;
    pthread_mutex_lock(&lock);
    changed = quiet && s->known && s->changes == begun && !equal(s, &st);
    if (changed) {
        /* Otherwise the kernel still has the size from before an earlier change of others. */
        if (atomic_load(&i->drops) == 0 || atomic_load(&i->size_changes) != begun) {
            atomic_store(&i->size_before, s->size);
            atomic_store(&i->size_changes, begun);
        }
        atomic_store(&i->others_changed, true);
        atomic_store(&i->others_seen, true);
        if (atomic_load(&i->pages) && !(coherence_kernel_drops(i) && size_or_mtime_moved(s, &st)))
            direct_drop_counted(i);
    }
    *s = (struct sight){
        .size = st.st_size, .mtim = st.st_mtim, .ctim = st.st_ctim, .known = quiet, .changes = begun
    };
    pthread_mutex_unlock(&lock);
}

/* False: nobody looks, or it cannot be looked at. */
static bool stat_of(const struct inode *i, struct stat *st)
{
    return others_write() && fstat(i->fd, st) == 0;
}

bool coherence_begin(const struct inode *i, struct look *l)
{
    l->cuts = atomic_load(&i->cuts);
    return stat_of(i, &l->st);
}

void coherence_seen(struct inode *i, const struct look *l, bool sound)
{
    const struct stat *const st = &l->st;
    struct sight *const s = &i->seen;
    const bool changed = s->known && (s->young || !equal(s, st));
    const bool longer =
        s->known && (st->st_size > s->size || st->st_size > atomic_load(&i->told_size));
    const uint64_t ended = atomic_load(&i->changes_ended), begun = atomic_load(&i->changes_begun);

    *s = (struct sight){ .size = st->st_size,
                         .mtim = st->st_mtim,
                         .ctim = st->st_ctim,
                         .known = true,
                         /* Beside a truncation its answer says the end, or the next look. */
                         .young = is_young(i, st) || l->cuts % 2 != 0,
                         .sound = sound,
                         .changes = begun == ended ? begun : UINT64_MAX };
    if (changed && (longer || atomic_load(&i->pages)))
        direct_follow(i, l);
}

void coherence_end(struct inode *i, const struct look *l, bool sound)
{
    pthread_mutex_lock(&i->lock);
    coherence_seen(i, l, sound);
    pthread_mutex_unlock(&i->lock);
}

bool coherence_unchanged(struct inode *i)
{
    struct stat st;
    bool same;

    if (number_far(i->device) || fstat(i->fd, &st) < 0 || pthread_mutex_trylock(&i->lock))
        return false;
    same = i->seen.sound && equal(&i->seen, &st);
    pthread_mutex_unlock(&i->lock);
    return same;
}

bool coherence_moved(struct inode *i)
{
    struct stat st;
    bool moved;

    /* Beside a network nobody asks the server once more for each read. */
    if (number_far(i->device) || times_tell(i) || !stat_of(i, &st))
        return false;
    if (pthread_mutex_trylock(&i->lock))
        return true; /* being validated, mostly */
    moved =
        i->seen.known && !equal(&i->seen, &st) && atomic_load(&i->changes_begun) == i->seen.changes;
    pthread_mutex_unlock(&i->lock);
    return moved;
}

/* ---- The look ------------------------------------------------------------------------------ */

/* Ends a use of the file. */
static int validate_used(struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    const int rc = file_revalidate(i, &info);

    if (rc >= 0 && (info.racy || info.want_validator))
        keeper_schedule(i);
    file_unuse(i);
    if (!inode_known(i))
        file_detach_idle(i);
    return rc;
}

static void look_at(struct inode *i)
{
    struct look l;
    bool same;

    if (!coherence_begin(i, &l))
        return;
    pthread_mutex_lock(&i->lock);
    same = i->seen.known && !i->seen.young && equal(&i->seen, &l.st);
    pthread_mutex_unlock(&i->lock);
    if (same)
        return;
    if (!cache_on() || !file_use_attached(i))
        coherence_end(i, &l, false);
    else if (validate_used(i) == CM_IGNORED && atomic_load(&i->pages))
        direct_follow(i, &l); /* a write through the mount is going on */
}

/* For what was written by another name the kernel's next read has to be right. It has no page
 * locked while it asks for attributes: see direct.c. */
void coherence_follow_local(struct inode *i)
{
    if (!atomic_load(&i->pages))
        return;
    coherence_look_local(i);
    if (coherence_kernel_drops(i) && atomic_load(&i->drops) > 0)
        direct_wait(i);
}

/* Only those: the kernel waits for nobody then. It ignores the end of a READ that it sent before.
 */
static void drop_attributes(struct inode *i)
{
    fuse_lowlevel_notify_inval_inode(mnt.se, (uintptr_t)i, -1, 0);
    atomic_fetch_add(&i->tells, 1);
}

/* The kernel may have zeros in front of that end, so it must not learn it from this answer. It
 * ignores the size of an answer to a question that it asked before a notification: who asked sees
 * it all the same. The notification of the end sets it, after the drop of the pages. If that takes
 * long, because a page waits for the origin, only attributes are dropped, which waits for nobody.
 */
static void show_longer(struct inode *i)
{
    struct look l;

    if (coherence_begin(i, &l)) {
        direct_follow(i, &l);
        direct_wait(i);
    }
    drop_attributes(i);
}

/* The kernel puts zeros behind the end. But if this mount has made the file longer since it was
 * looked at, the kernel ignores this answer. */
static void show_shorter(struct inode *i, off_t size)
{
    const uint64_t ended = atomic_load(&i->changes_ended), begun = atomic_load(&i->changes_begun);
    struct stat st;

    if (begun == ended && stat_of(i, &st) && st.st_size <= size)
        zeros_shorter(i, (uint64_t)st.st_size, begun);
}

/* With local coherence: until the kernel has dropped the pages, it must not learn the new size: it
 * has zeros in them behind the old end. But after a change of the mount's own the kernel has a size
 * of its own, which must not become smaller again. */
double coherence_shown(struct inode *i, struct stat *st)
{
    const bool dropping = atomic_load(&i->drops) > 0;

    if (others_write() && S_ISREG(i->type) && atomic_load(&i->pages) && direct_on()) {
        const off_t told = atomic_load(&i->told_size);
        if (st->st_size > told || zeros_before(i, (uint64_t)st->st_size)) {
            show_longer(i);
            return 0;
        }
        if (st->st_size < told)
            show_shorter(i, st->st_size);
    }
    if (dropping && atomic_load(&i->size_changes) == atomic_load(&i->changes_begun))
        st->st_size = atomic_load(&i->size_before);
    coherence_told(i, st);
    return dropping ? 0 : inode_attr_timeout(i);
}

void coherence_told(struct inode *i, const struct stat *st)
{
    zeros_told(i, (uint64_t)st->st_size);
}

/* The kernel keeps the size for attr_timeout. (After an own write it asks.) With an old one it
 * would end a read too early, or find the end for an append where others have written. Only
 * attributes are dropped: the kernel waits for nobody then. */
void coherence_tell_end(struct inode *i)
{
    struct stat st;

    if (is_strict() || !S_ISREG(i->type) || !stat_of(i, &st) ||
        atomic_load(&i->told_size) == st.st_size)
        return;
    /* First the pages: the kernel ignores a size that it asked for before they went. */
    if (atomic_load(&i->pages))
        direct_wait(i);
    drop_attributes(i);
}

/* What the kernel knows of the attributes goes with the pages, also if there are none. Others may
 * have seen the change first, who drop pages only. What the kernel was told at the open is not
 * known here. */
bool coherence_look_at(struct inode *i, bool first)
{
    const struct sight was = i->watch_saw;
    struct sight is;
    struct stat st;

    look_at(i);
    pthread_mutex_lock(&i->lock);
    is = i->seen;
    pthread_mutex_unlock(&i->lock);
    if (first ? !atomic_load(&i->pages)
              : is.size != was.size || memcmp(&is.ctim, &was.ctim, sizeof(is.ctim)) != 0)
        direct_drop(i);
    i->watch_saw = is;
    return !stat_of(i, &st) || equal(&is, &st);
}

/* Those that the kernel may read or map, held; NULL: there are none, or no memory. With `strict` it
 * reads past its pages: those of which it has pages. */
static struct inode **take_open(bool far, size_t *n)
{
    struct inode **v;

    *n = 0;
    pthread_mutex_lock(&open_files.lock);
    v = open_files.count ? malloc(open_files.count * sizeof(struct inode *)) : NULL;
    for (struct inode *i = open_files.head; v && i; i = i->open_next)
        if (number_far(i->device) == far && (atomic_load(&i->pages) || !is_strict())) {
            inode_hold(i);
            v[(*n)++] = i;
        }
    pthread_mutex_unlock(&open_files.lock);
    return v;
}

static uint64_t period_ns(void)
{
    const double ns = mnt.opt.attr_timeout * 1e9;

    if (is_strict())
        return PERIOD_STRICT_NS;
    return ns < PERIOD_MIN_NS ? PERIOD_MIN_NS : (uint64_t)ns;
}

void coherence_look(bool far)
{
    static uint64_t looked_ns[2]; /* each by its keeper */
    struct inode **v;
    size_t n;

    if (!others_write() || cm_now() - looked_ns[far] < period_ns())
        return;
    looked_ns[far] = cm_now();
    v = take_open(far, &n);
    for (size_t k = 0; k < n; k++) {
        look_at(v[k]);
        inode_put(v[k]);
    }
    free(v);
}
