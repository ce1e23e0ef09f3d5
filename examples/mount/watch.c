/* SPDX-License-Identifier: BSD-2-Clause
 *
 * watch.c - the kernel tells when somebody changes an open file at the origin.
 *
 * A help only. coherence.c looks at what is open every now and then; with this it looks earlier,
 * and nothing else depends on it. Where there is no watch (too many, not allowed, a file system on
 * a network), where events were lost, and after a store in a mapping, of which the kernel tells
 * nothing, it is as without it.
 *
 * THE CHEAP FORM. A watch of inotify that ends with its first event (IN_ONESHOT): a writer that
 * writes 100000 times a second costs one event, and not 100000. The file is then looked at, and
 * watched anew BEFORE that look, so that no change falls between the two. A file is watched once it
 * was open for FRESH_NS, so that a program that opens many small files costs nothing.
 *
 * THE MOUNT'S OWN CHANGES are events, too. Changes are counted as they begin (inode.changes_begun).
 * If one has begun since the watch was set, nobody knows whose the event was. Then the file is
 * looked at once the mount has not changed it for OWN_NS, because a look drops its pages. Until
 * then the looks of coherence.c are all there is.
 *
 * Owns: the watches, a thread, and a list of files that it will look at. A file in the list is
 * held. A watch holds nothing: it is taken away when the file is closed. Who: coherence.c says what
 * is open, main.c begins and ends it. Nobody waits for the thread but the end of the mount.
 *
 * Locks: the list of open files -> watch.lock -> table lock.
 */
#include "mount.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <timed_wait.h> /* examples/wait */

#define BUCKETS 4096u
#define FRESH_NS 50000000ull
#define AGAIN_NS 20000000ull /* from one look at a file to the next */
#define OWN_NS 1000000000ull
#define TICK_MS 10
#define STOP_NS UINT64_C(5000000000)
#define BATCH 256u
#define CHANGES (IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF)

static struct {
    pthread_mutex_t lock;
    pthread_t thread;
    _Atomic bool running; /* a loop may open a file while it begins */
    _Atomic bool stop;
    int fd, event;
    bool refused;              /* the log says so */
    struct inode *list;        /* to be looked at */
    struct inode *of[BUCKETS]; /* by the number of their watch */
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .event = -1 };

/* ---- The list -------------------------------------------------------------------------------- */

/* watch.lock held. */
static void put_in_list(struct inode *i, uint64_t due_ns)
{
    const uint64_t one = 1;

    if (i->watch_listed) {
        i->watch_due_ns = due_ns < i->watch_due_ns ? due_ns : i->watch_due_ns;
        return;
    }
    inode_hold(i);
    i->watch_listed = true;
    i->watch_due_ns = due_ns;
    i->watch_next = watch.list;
    if (!watch.list) /* else the thread looks at it soon */
        (void)!write(watch.event, &one, sizeof(one));
    watch.list = i;
}

/* Takes those that are due out of the list, still held; at most BATCH. */
static unsigned take_due(struct inode *v[BATCH])
{
    const uint64_t now = cm_now();
    struct inode **at = &watch.list;
    unsigned n = 0;

    pthread_mutex_lock(&watch.lock);
    while (*at && n < BATCH) {
        struct inode *i = *at;

        if (i->watch_due_ns > now) {
            at = &i->watch_next;
            continue;
        }
        *at = i->watch_next;
        i->watch_listed = false;
        v[n++] = i;
    }
    pthread_mutex_unlock(&watch.lock);
    return n;
}

static bool list_is_empty(void)
{
    bool is;

    pthread_mutex_lock(&watch.lock);
    is = watch.list == NULL;
    pthread_mutex_unlock(&watch.lock);
    return is;
}

/* ---- Watches --------------------------------------------------------------------------------- */

/* watch.lock held, with the next two. */
static struct inode **place_of(int wd)
{
    struct inode **at = &watch.of[(unsigned)wd % BUCKETS];

    while (*at && (*at)->watch_number != wd)
        at = &(*at)->watch_same;
    return at;
}

/* NULL: there is no such watch any more. */
static struct inode *forget_watch(int wd)
{
    struct inode **at = place_of(wd), *i = *at;

    if (i) {
        *at = i->watch_same;
        i->watch_number = 0;
    }
    return i;
}

static void set_watch(struct inode *i)
{
    const uint64_t ended = atomic_load(&i->changes_ended), begun = atomic_load(&i->changes_begun);
    int wd;

    if (i->watch_number != 0 || !i->watch_open)
        return;
    /* Read in this order: if they are equal no change is going on. Else no count matches. */
    i->watch_begun = begun == ended ? begun : UINT64_MAX;
    wd = inotify_add_watch(watch.fd, procpath(i->fd).s, CHANGES | IN_ONESHOT);
    if (wd < 0 && !watch.refused) {
        watch.refused = true;
        say(CM_LOG_INFO,
            "%s: not all open files can be watched (%s): those are looked at now and "
            "then, as before",
            mnt.opt.dir, strerror(errno));
    }
    if (wd <= 0 || *place_of(wd)) /* another inode with the same file: that one is looked at */
        return;
    i->watch_number = wd;
    i->watch_same = watch.of[(unsigned)wd % BUCKETS];
    watch.of[(unsigned)wd % BUCKETS] = i;
}

void watch_opened(struct inode *i)
{
    if (!atomic_load(&watch.running) || number_far(i->device))
        return;
    pthread_mutex_lock(&watch.lock);
    i->watch_open = i->watch_own = i->watch_fresh = true;
    i->watch_busy = atomic_load(&i->changes_begun);
    put_in_list(i, cm_now() + FRESH_NS);
    pthread_mutex_unlock(&watch.lock);
}

void watch_closed(struct inode *i)
{
    int wd;

    if (!atomic_load(&watch.running) || number_far(i->device))
        return;
    pthread_mutex_lock(&watch.lock);
    i->watch_open = false;
    wd = i->watch_number;
    if (wd != 0) {
        (void)forget_watch(wd);
        (void)inotify_rm_watch(watch.fd, wd);
    }
    pthread_mutex_unlock(&watch.lock);
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* watch.lock held. */
static void changed(struct inode *i)
{
    const uint64_t now = cm_now(), next = i->watch_looked_ns + AGAIN_NS;

    i->watch_busy = atomic_load(&i->changes_begun);
    i->watch_own = i->watch_busy != i->watch_begun;
    put_in_list(i, i->watch_own ? now + OWN_NS : next > now ? next : now);
}

/* Events were lost: so all that is watched may have changed. watch.lock held. */
static void lost_events(void)
{
    for (unsigned k = 0; k < BUCKETS; k++)
        while (watch.of[k]) {
            struct inode *i = watch.of[k];

            (void)inotify_rm_watch(watch.fd, i->watch_number);
            (void)forget_watch(i->watch_number);
            changed(i);
        }
}

/* False: there are none now. */
static bool take_events(void)
{
    _Alignas(struct inotify_event) char buf[16384];
    const ssize_t n = read(watch.fd, buf, sizeof(buf));

    pthread_mutex_lock(&watch.lock);
    for (const char *p = buf; n > 0 && p < buf + n;) {
        const struct inotify_event *e = (const void *)p;
        struct inode *i = e->mask & IN_Q_OVERFLOW ? NULL : forget_watch(e->wd);

        if (e->mask & IN_Q_OVERFLOW)
            lost_events();
        if (i)
            changed(i);
        p += sizeof(*e) + e->len;
    }
    pthread_mutex_unlock(&watch.lock);
    return n > 0;
}

/* False: the mount itself goes on changing it. watch.lock held. */
static bool is_quiet(struct inode *i)
{
    const uint64_t begun = atomic_load(&i->changes_begun);
    const bool quiet =
        !i->watch_own || (begun == i->watch_busy && begun == atomic_load(&i->changes_ended));

    i->watch_busy = begun;
    return quiet;
}

static void look_at(struct inode *i)
{
    bool ready, first;

    pthread_mutex_lock(&watch.lock);
    first = i->watch_fresh;
    ready = i->watch_open && is_quiet(i);
    if (ready) {
        set_watch(i);
        i->watch_own = i->watch_fresh = false;
        i->watch_looked_ns = cm_now();
    } else if (i->watch_open) {
        put_in_list(i, cm_now() + OWN_NS);
    }
    pthread_mutex_unlock(&watch.lock);
    if (!ready || coherence_look_at(i, first))
        return;
    pthread_mutex_lock(&watch.lock);
    if (i->watch_open)
        put_in_list(i, cm_now() + OWN_NS);
    pthread_mutex_unlock(&watch.lock);
}

static void *watch_main(void *arg)
{
    struct pollfd p[2] = { { .fd = watch.fd, .events = POLLIN },
                           { .fd = watch.event, .events = POLLIN } };
    struct inode *v[BATCH];
    uint64_t count;
    unsigned n;

    (void)arg;
    while (!atomic_load(&watch.stop)) {
        if (poll(p, 2, list_is_empty() ? -1 : TICK_MS) < 0 && errno != EINTR)
            break;
        if (p[1].revents)
            (void)!read(watch.event, &count, sizeof(count));
        while (take_events())
            ;
        do {
            n = take_due(v);
            for (unsigned k = 0; k < n; k++) {
                gate_enter();
                look_at(v[k]);
                gate_leave();
                inode_put(v[k]);
            }
        } while (n == BATCH && !atomic_load(&watch.stop));
    }
    return NULL;
}

void watch_start(void)
{
    int err;

    if (!others_write())
        return;
    watch.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    watch.event = watch.fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = watch.event < 0 ? errno : pthread_create(&watch.thread, NULL, watch_main, NULL);
    atomic_store(&watch.running, err == 0);
    if (err)
        say(CM_LOG_INFO, "%s: open files cannot be watched (%s): they are looked at now and then",
            mnt.opt.dir, strerror(err));
}

bool watch_stop(void)
{
    const uint64_t one = 1;
    struct timespec until;
    struct inode *i;
    int err;

    if (!atomic_load(&watch.running))
        return true;
    atomic_store(&watch.stop, true);
    (void)!write(watch.event, &one, sizeof(one));
    until = wait_until(STOP_NS);
    while ((err = pthread_tryjoin_np(watch.thread, NULL)) == EBUSY && wait_a_little(&until)) {
    }
    if (err)
        return false;
    while ((i = watch.list) != NULL) {
        watch.list = i->watch_next;
        i->watch_listed = false;
        inode_put(i);
    }
    return true;
}

void watch_waiting(int sig)
{
    if (atomic_load(&watch.running))
        pthread_kill(watch.thread, sig);
}
