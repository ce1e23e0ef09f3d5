/* SPDX-License-Identifier: BSD-2-Clause
 *
 * direct.c - O_DIRECT writes of files whose pages the kernel may hold; files that others changed.
 *
 * The kernel drops the pages of a range before a direct write. A buffered reader may then read the
 * old content into new pages before the write reaches the origin. After a synchronous write the
 * kernel drops the pages once more; after an asynchronous one it does not. So the reply to such a
 * write waits until a notification has dropped them. Files that nobody reads through pages cost
 * nothing.
 *
 * When others have changed a file at the origin, all its pages go the same way (direct_drop).
 *
 * THE END OF A FILE that others made longer. The kernel has no message that tells it. But
 * FUSE_NOTIFY_STORE, which puts bytes into pages, first makes the file as long as these bytes need.
 * The byte is one that cannot be read (PROT_NONE). So the kernel knows the end, then finds EFAULT,
 * and no page has changed: a byte that was read a moment ago could go over what a program has just
 * written there. A kernel that does it in another order only keeps the old end. The pages go
 * before, because they have zeros behind the old end, and once more after it, because the kernel
 * may have put zeros there meanwhile (where it writes a page of a mapping). A truncation through
 * the mount tells its own end; none from before it is told after it (direct_cut_begin).
 *
 *   servers    the threads that serve requests (loop.c): do the write and queue it here
 *   notifiers  some threads: each passes one range after the other to the helper, then replies. Of
 *              one file only one at a time does, in the order of the queue. So a page that waits
 *              for its origin holds up what comes for its file, and for no other one, as long as
 *              there are notifiers left.
 *   helper     a process: a thread for each notifier notifies the kernel, one more watches it
 *
 * WHY NOTHING WAITS FOREVER. A notification waits for pages that are locked or written back. The
 * holder of such a page waits for a READ or WRITE of this mount.
 * - The threads that serve requests answer these. Five kinds of requests wait for a notification
 *   themselves, for a tenth of a second at most: an open of a file that others made longer or
 *   shorter; a question for the attributes of one that others made longer; a change that fails or
 *   goes elsewhere; a truncation, while the kernel is being told the end of that file; with
 *   --coherence=local a question for the attributes of a file with several names, while its pages
 *   are being dropped. Opens and questions do not wait at all if the file's own one, or each that
 *   is under way, has taken so long already. The kernel sends only READ and WRITE with pages
 * locked, so who opens or asks owns no page.
 * - No write that waits here owns a page. The buffered part of an O_DIRECT write has locked pages,
 *   but it has no lock owner, so it never waits here.
 * - The kernel sends max_background requests at a time, and waiting writes count. At most three
 *   quarters of them may wait. With io_uring each holds a thread of its CPU's queue; the kernel
 *   then sends no more ahead than a queue has threads. One more is answered at once, and its pages
 *   are dropped a moment later.
 * - If this process dies, nobody answers, and a thread that waits for a page cannot be killed. With
 *   that thread the connection would stay open, the readers would hang, and the pool would stay
 *   owned. Therefore the helper is a process that has neither the session's descriptor nor the
 *   pool. The kernel ends the requests that the session had read. The thread that watches refuses
 *   the rest, so the others return, and the connection ends with the helper. With io_uring the
 *   kernel keeps requests for the dead process, which nobody else can take. So this thread ends the
 *   connection. Where it cannot (no fusectl, not root), io_uring is not used.
 *
 * Without a helper (/dev/fuse cannot be opened) the mount asks the kernel for synchronous direct
 * I/O, and mappings keep what others have changed. If the helper ends later (somebody kills it),
 * the notifiers tell the kernel themselves. That is right as long as this process lives. No other
 * helper is started: it would hold a copy of all memory that the mount then changes.
 *
 * Called by main before and after the threads, and meanwhile to look; direct_reply is called by
 * threads that serve requests, direct_drop by all.
 */
#include "mount.h"

#include "threads.h"
#include "uring.h"

#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <timed_wait.h> /* examples/wait */

#define DRAIN_MS 1000
/* Of a thread that serves requests: the page may wait for an answer of this thread. */
#define WAIT_NS 100000000
/* Notifiers: so many files at a time may have a page that waits for its origin. */
#define LANES 8
#define HELPER_FD 3 /* the first one of the helper's descriptors */

struct held {
    struct held *next;
    uint64_t number;       /* in the order of the queue */
    bool begun;            /* a notifier has it in hand */
    fuse_req_t req;        /* NULL: answered before */
    bool drop;             /* nobody waits for it */
    struct inode *counted; /* held: one of its drops; or NULL */
    size_t done;
    struct fuse_notify_inval_inode_out range;
    struct inode *writes;  /* held: it was written; or NULL */
    struct inode *follows; /* held: the kernel then learns its end; or NULL */
    uint64_t end, cuts;    /* of a look at it */
};
/* To the helper. */
struct order {
    struct fuse_notify_inval_inode_out range;
    uint64_t end; /* > 0: first of all the file is so long */
};
/* A notifier. */
struct lane {
    pthread_t thread;
    int sock;                    /* to the helper; -1: none */
    struct held *now;            /* what it has in hand; or NULL */
    uint64_t begun_ns;           /* since when, by cm_now() */
    const struct inode *telling; /* whose end the kernel is being told */
};
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work, over;
    struct held *head, **tail; /* all that are not done */
    uint64_t queued;           /* how many, ever */
    unsigned waiting;          /* writes among them */
    bool stop;
    struct lane lane[LANES];
    unsigned lanes; /* that have a thread */
    pid_t pid;      /* the helper */
    bool aborts;    /* it can end the connection */
    bool gone;      /* it has ended before the mount; the log says so */
    void *hole;     /* nobody can read there; MAP_FAILED: none */
} n = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .tail = &n.head };

/* The file is so long: see above. */
static void tell_end(int dev, uint64_t node, uint64_t end)
{
    struct {
        struct fuse_out_header h;
        struct fuse_notify_store_out at;
    } m = { .h = { .len = sizeof(m) + 1, .error = FUSE_NOTIFY_STORE },
            .at = { .nodeid = node, .offset = end - 1, .size = 1 } };
    struct iovec iov[] = { { &m, sizeof(m) }, { n.hole, 1 } };

    if (n.hole != MAP_FAILED && writev(dev, iov, 2) < 0)
        (void)0; /* EFAULT, or ENOENT: no such inode */
}

/* ---- The helper ----------------------------------------------------------------------------- */

static struct {
    int dev, abort;        /* abort -1: none */
    _Atomic unsigned busy; /* threads that notify the kernel */
} helper;

/* When the mount's process is gone, helper_main() ends the helper. */
static void *helper_notify(void *arg)
{
    const int sock = (int)(intptr_t)arg;
    struct order o;
    struct {
        struct fuse_out_header h;
        struct fuse_notify_inval_inode_out range;
    } m = { .h = { .len = sizeof(m), .error = FUSE_NOTIFY_INVAL_INODE } };
    ssize_t rc;

    while (recv(sock, &o, sizeof(o), 0) == (ssize_t)sizeof(o)) {
        m.range = o.range;
        atomic_fetch_add(&helper.busy, 1);
        if (o.end)
            tell_end(helper.dev, o.range.ino, o.end);
        rc = write(helper.dev, &m, sizeof(m)); /* ENOENT: no such inode, no pages */
        atomic_fetch_sub(&helper.busy, 1);
        if (send(sock, &rc, sizeof(rc), MSG_NOSIGNAL) < 0)
            break;
    }
    return NULL;
}

/* The mount's process is gone: refuses the requests that it has not read, so that the notification
 * ends. */
static void helper_refuse(void)
{
    size_t size = READ_MAX + (1u << 20);
    struct fuse_in_header *in = malloc(size);
    struct pollfd p = { .fd = helper.dev, .events = POLLIN };

    /* What came by io_uring, or would, can be refused by nobody. The kernel ends it all. */
    if (atomic_load(&helper.busy) && helper.abort >= 0 && write(helper.abort, "1", 1) < 0)
        (void)0; /* then only the others are refused */
    while (in && atomic_load(&helper.busy)) {
        struct fuse_out_header out = { .len = sizeof(out), .error = -ENOTCONN };
        if (poll(&p, 1, 10) <= 0)
            continue;
        if (read(helper.dev, in, size) < (ssize_t)sizeof(*in)) {
            if (errno == ENODEV)
                break;
            continue;
        }
        out.unique = in->unique;
        if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
            in->opcode != FUSE_INTERRUPT && write(helper.dev, &out, sizeof(out)) < 0 &&
            errno == ENODEV)
            break;
    }
    _exit(0);
}

/* `fd`: of the session, of what ends the connection (or one more of the session), and of the
 * lanes. */
static _Noreturn void helper_main(const int fd[2 + LANES], bool aborts)
{
    struct pollfd p = { .fd = HELPER_FD + 2 };
    pthread_t t;
    sigset_t all;

    sigfillset(&all); /* a signal to the group is meant for the mount */
    sigprocmask(SIG_SETMASK, &all, NULL);
    /* The helper must not keep the session's descriptor, the pool and the origin open. */
    for (int k = 0; k < 2 + LANES; k++)
        if (dup2(fd[k], HELPER_FD + k) < 0)
            _exit(1);
    close_from(HELPER_FD + 2 + LANES);
    for (int k = 0; k < HELPER_FD; k++)
        close(k);
    helper.dev = HELPER_FD;
    helper.abort = aborts ? HELPER_FD + 1 : -1;
    for (int k = 0; k < LANES; k++)
        if (pthread_create(&t, NULL, helper_notify, (void *)(intptr_t)(p.fd + k)))
            _exit(1);
    while (poll(&p, 1, -1) <= 0 || !(p.revents & (POLLHUP | POLLERR)))
        ;
    helper_refuse();
    _exit(0);
}

/* Another descriptor of the connection, or -1. */
static int clone_session(void)
{
    int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    uint32_t master = (uint32_t)fuse_session_fd(mnt.se);

    if (dev >= 0 && ioctl(dev, FUSE_DEV_IOC_CLONE, &master) < 0) {
        close(dev);
        dev = -1;
    }
    return dev;
}

/* What ends the connection when a byte is written there, or -1. Root needs no path to it. */
static int open_abort(void)
{
    const char *const minor = strchr(place_device(), ':'); /* names the connection */
    char name[96];
    int fd, dir, fs;

    if (!minor)
        return -1;
    snprintf(name, sizeof(name), "/sys/fs/fuse/connections/%s/abort", minor + 1);
    fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    fs = (int)syscall(SYS_fsopen, "fusectl", 1u /* FSOPEN_CLOEXEC */);
    if (fs < 0)
        return -1;
    dir = syscall(SYS_fsconfig, fs, 6u /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) < 0
              ? -1
              : (int)syscall(SYS_fsmount, fs, 1u /* FSMOUNT_CLOEXEC */, 0u);
    snprintf(name, sizeof(name), "%s/abort", minor + 1);
    fd = dir < 0 ? -1 : openat(dir, name, O_WRONLY | O_CLOEXEC);
    if (dir >= 0)
        close(dir);
    close(fs);
    return fd;
}

static void close_all(int *fd, unsigned count)
{
    for (unsigned k = 0; k < count; k++)
        if (fd[k] >= 0)
            close(fd[k]);
}

/* A copy of the descriptor that the helper can move to its place: above all of these. */
static int high(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, HELPER_FD + 2 + LANES);
}

static bool start_helper(void)
{
    int fd[2 + LANES], s[2];
    const int dev = clone_session(), end = dev < 0 ? -1 : open_abort();
    bool all = true;

    fd[0] = high(dev);
    n.aborts = end >= 0;
    fd[1] = high(n.aborts ? end : dev);
    for (unsigned k = 0; k < LANES; k++) {
        n.lane[k].sock = fd[2 + k] = -1;
        if (dev < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) < 0)
            continue;
        n.lane[k].sock = s[0];
        fd[2 + k] = high(s[1]);
        close(s[1]);
    }
    for (unsigned k = 0; k < 2 + LANES; k++)
        all &= fd[k] >= 0;
    n.pid = all ? fork() : -1;
    if (n.pid == 0)
        helper_main(fd, n.aborts);
    close_all(fd, 2 + LANES);
    close_all((int[]){ dev, end }, 2);
    for (unsigned k = 0; k < LANES && n.pid < 0; k++) {
        close_all(&n.lane[k].sock, 1);
        n.lane[k].sock = -1;
    }
    return n.pid > 0;
}

/* ---- The notifiers -------------------------------------------------------------------------- */

/* Lock held. */
static void say_gone(void)
{
    if (!n.gone && !n.stop)
        say(CM_LOG_ERROR,
            "the helper process %ld is gone (was it killed?): the mount goes on without it. Mount "
            "anew when it suits: if this process is killed beside a direct write, programs may "
            "hang",
            (long)n.pid);
    n.gone = true;
}

static void notify(struct lane *l, const struct order *o)
{
    ssize_t rc; /* of the helper's write */
    bool stops;

    if (l->sock >= 0 && send(l->sock, o, sizeof(*o), MSG_NOSIGNAL) > 0 &&
        recv(l->sock, &rc, sizeof(rc), 0) > 0)
        return;
    pthread_mutex_lock(&n.lock);
    if (l->sock >= 0) {
        say_gone();
        kill(n.pid, SIGKILL); /* if it lives all the same: see direct_start() */
        close(l->sock);
    }
    l->sock = -1;
    stops = n.stop;
    pthread_mutex_unlock(&n.lock);
    if (stops)
        return;
    if (o->end)
        tell_end(fuse_session_fd(mnt.se), o->range.ino, o->end);
    fuse_lowlevel_notify_inval_inode(mnt.se, o->range.ino, o->range.off, o->range.len);
}

/* Drops the pages of a file. `end` > 0: first the kernel learns it. */
static void drop_pages(struct lane *l, struct inode *i, const struct held *h, uint64_t end)
{
    const uint64_t notes = zeros_notes(i);

    notify(l, &(struct order){ h->range, end });
    zeros_dropped(i, notes);
}

/* Since the look others may have truncated it. (A file system on a network may not answer, and
 * other files wait for this notifier.) */
static bool is_so_long(const struct inode *i, uint64_t end)
{
    struct stat st;

    return number_far(i->device) || fstat(i->fd, &st) < 0 || (uint64_t)st.st_size >= end;
}

/* Without pages the end goes first: at no moment the kernel then ignores an answer with that end
 * before it has learned it here. */
static void follow(struct lane *l, const struct held *h)
{
    struct inode *const i = h->follows;
    const bool pages = atomic_load(&i->pages);
    bool tells;

    if (pages)
        drop_pages(l, i, h, 0);
    tells = h->end > 0 && is_so_long(i, h->end);
    pthread_mutex_lock(&n.lock);
    tells = tells && atomic_load(&i->cuts) == h->cuts && h->cuts % 2 == 0;
    l->telling = tells ? i : NULL;
    pthread_mutex_unlock(&n.lock);
    if (tells) {
        zeros_hold(i, h->end);
        drop_pages(l, i, h, h->end);
        zeros_release(i);
    } else if (!pages) {
        notify(l, &(struct order){ .range = h->range });
    }
    pthread_mutex_lock(&n.lock);
    l->telling = NULL;
    pthread_mutex_unlock(&n.lock);
    inode_put(i);
}

/* Lock held. The next one: the first of a file that no notifier has in hand. NULL: there is none.
 */
static struct held *next_held(void)
{
    struct held *h;

    for (h = n.head; h; h = h->next) {
        bool in_hand = h->begun;
        for (unsigned k = 0; k < LANES && !in_hand; k++)
            in_hand = n.lane[k].now && n.lane[k].now->range.ino == h->range.ino;
        if (!in_hand)
            break;
    }
    return h;
}

/* Lock held. It is done. */
static void take_out(const struct held *h)
{
    struct held **at = &n.head;

    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    if (n.tail == &h->next)
        n.tail = at;
}

/* What follows a write. A page that came before is gone after it: the kernel has locked it until
 * its READ is answered. */
static void drop_written(struct lane *l, const struct held *h)
{
    struct inode *const i = h->writes;

    if (h->range.len == 0) { /* all of them; who looks finds `bare` last */
        atomic_store(&i->bare, false);
        atomic_store(&i->paged, false);
    }
    notify(l, &(struct order){ .range = h->range });
    if (h->range.len == 0)
        atomic_store(&i->bare, true);
    inode_put(i);
}

static void carry_out(struct lane *l, const struct held *h)
{
    if (h->follows)
        follow(l, h);
    else if (h->writes)
        drop_written(l, h);
    else
        notify(l, &(struct order){ .range = h->range });
    if (h->req)
        fuse_reply_write(h->req, h->done);
    if (h->counted) {
        atomic_fetch_sub(&h->counted->drops, 1);
        inode_put(h->counted);
    }
}

static void *notifier_main(void *arg)
{
    struct lane *const l = arg;

    pthread_mutex_lock(&n.lock);
    while (n.head || !n.stop) {
        struct held *h = next_held();
        if (!h) {
            if (n.stop) /* who has the file of the rest in hand looks again */
                break;
            pthread_cond_wait(&n.work, &n.lock);
            continue;
        }
        h->begun = true;
        l->now = h;
        l->begun_ns = cm_now();
        pthread_mutex_unlock(&n.lock);
        carry_out(l, h);
        pthread_mutex_lock(&n.lock);
        l->now = NULL;
        take_out(h);
        n.waiting -= !h->drop;
        pthread_cond_broadcast(&n.over);
        free(h);
    }
    pthread_mutex_unlock(&n.lock);
    return NULL;
}

bool direct_on(void)
{
    return n.pid > 0;
}

bool direct_survives_ring(void)
{
    return !direct_on() || n.aborts;
}

/* So many writes may wait. */
static unsigned waiting_max(void)
{
    const unsigned depth = uring_depth();

    return (depth && depth < mnt.opt.max_background ? depth : mnt.opt.max_background) * 3 / 4;
}

static void close_lanes(void)
{
    for (unsigned k = 0; k < LANES; k++) {
        if (n.lane[k].sock >= 0)
            close(n.lane[k].sock);
        n.lane[k].sock = -1;
    }
}

void direct_start(void)
{
    (void)wait_init(&n.over);
    n.hole = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start_helper()) {
        while (n.lanes < LANES &&
               !pthread_create(&n.lane[n.lanes].thread, NULL, notifier_main, &n.lane[n.lanes]))
            n.lanes++;
        if (n.lanes == 0) {
            kill(n.pid, SIGKILL); /* else it would end the connection, as that of a dead mount */
            close_lanes();
            waitpid(n.pid, NULL, 0);
            n.pid = -1;
        }
    }
    if (others_write() && !direct_on())
        say(CM_LOG_WARNING, "/dev/fuse cannot be opened: a mapping that exists will not show what "
                            "others change");
}

void direct_look(void)
{
    siginfo_t info = { .si_pid = 0 };

    /* It is not reaped: direct_finish() does that, and until then no other process gets its number.
     */
    if (n.pid <= 0 || waitid(P_PID, (id_t)n.pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid != n.pid)
        return;
    pthread_mutex_lock(&n.lock);
    say_gone();
    pthread_mutex_unlock(&n.lock);
}

void direct_finish(void)
{
    unsigned left = 1;

    if (!direct_on())
        return;
    for (int ms = 0; left && ms < DRAIN_MS; ms += 10) {
        pthread_mutex_lock(&n.lock);
        left = n.waiting;
        pthread_mutex_unlock(&n.lock);
        if (left)
            usleep(10000);
    }
    pthread_mutex_lock(&n.lock);
    n.stop = true;
    for (unsigned k = 0; k < LANES; k++)
        if (n.lane[k].sock >= 0)
            shutdown(n.lane[k].sock, SHUT_RDWR); /* a helper that waits for a page now refuses its
                                                  * reader */
    pthread_cond_broadcast(&n.work);
    pthread_mutex_unlock(&n.lock);
    for (unsigned k = 0; k < n.lanes; k++)
        pthread_join(n.lane[k].thread, NULL);
    close_lanes();
    waitpid(n.pid, NULL, 0);
}

/* ---- Writes --------------------------------------------------------------------------------- */

/* The kernel names an owner of locks in requests that bypass its pages, and in no others. */
bool direct_bypasses(const struct fuse_file_info *fi)
{
    return fi->lock_owner != 0 && !fi->writepage;
}

void direct_note_pages(struct inode *i, bool read)
{
    if (read && !atomic_load_explicit(&i->pages_read, memory_order_relaxed))
        atomic_store(&i->pages_read, true);
    /* seq_cst: before the content is read. A write reaches the origin before it checks the flags.
     * So either the write finds them, or the reader finds the new content. */
    if (!atomic_load_explicit(&i->pages, memory_order_acquire))
        atomic_store(&i->pages, true);
    if (!atomic_load_explicit(&i->paged, memory_order_acquire))
        atomic_store(&i->paged, true);
}

/* Has the kernel none? A program that appends beside others has all pages dropped after each write:
 * once is enough, until somebody gets new ones. */
static bool is_bare(struct inode *i)
{
    return !atomic_load(&i->pages) || (atomic_load(&i->bare) && !atomic_load(&i->paged));
}

/* Lock held. */
static void queue(struct held *h)
{
    h->number = ++n.queued;
    *n.tail = h;
    n.tail = &h->next;
    pthread_cond_signal(&n.work);
}

void direct_reply(fuse_req_t req, struct inode *i, off_t off, size_t done, bool anywhere)
{
    struct held *h = !is_bare(i) && direct_on() ? malloc(sizeof(*h)) : NULL;
    bool early;

    if (!h) {
        fuse_reply_write(req, done);
        return;
    }
    inode_hold(i);
    *h = (struct held){ .req = req,
                        .done = done,
                        .writes = i,
                        .range = { .ino = (uintptr_t)i,
                                   .off = anywhere ? 0 : off,
                                   .len = anywhere ? 0 : (int64_t)done } };
    pthread_mutex_lock(&n.lock);
    early = n.waiting >= waiting_max();
    if (early)
        h->req = NULL;
    n.waiting++;
    queue(h);
    pthread_mutex_unlock(&n.lock);
    if (early)
        fuse_reply_write(req, done);
}

/* `l`: and then the kernel learns the end that was seen there; or NULL. */
static void queue_drop(struct inode *i, bool counted, const struct look *l)
{
    struct held *h = direct_on() ? malloc(sizeof(*h)) : NULL;
    bool queued = false;

    if (!h)
        return;
    if (counted) {
        inode_hold(i);
        atomic_fetch_add(&i->drops, 1);
    }
    *h = (struct held){ .drop = true,
                        .counted = counted ? i : NULL,
                        .range = { .ino = (uintptr_t)i } };
    if (l) {
        inode_hold(i);
        h->follows = i;
        h->end = (uint64_t)l->st.st_size;
        h->cuts = l->cuts;
    }
    pthread_mutex_lock(&n.lock);
    for (struct held *q = n.head; q && !queued; q = q->next)
        if (!counted && q->drop && !q->begun && q->range.ino == h->range.ino &&
            (!l || q->follows)) {
            queued = true;
            if (l) {
                q->end = h->end;
                q->cuts = h->cuts;
            }
        }
    if (!queued)
        queue(h);
    pthread_mutex_unlock(&n.lock);
    if (queued && l)
        inode_put(i);
    if (queued)
        free(h);
}

/* Lock held. Is one of this file, up to this number, not done? */
static bool has_held(const struct inode *i, uint64_t number)
{
    const struct held *h;

    for (h = n.head; h && !(h->range.ino == (uintptr_t)i && h->number <= number); h = h->next)
        ;
    return h != NULL;
}

/* Lock held, but not all the time. Waits for what is queued of this file now. */
static void wait_for_queued(const struct inode *i, uint64_t ns)
{
    const struct timespec until = wait_until(ns);
    const uint64_t mark = n.queued;

    if (has_held(i, mark)) {
        pthread_mutex_unlock(&n.lock);
        threads_will_wait();
        pthread_mutex_lock(&n.lock);
    }
    while (has_held(i, mark) && !n.stop && wait_on(&n.over, &n.lock, &until)) {
    }
}

/* Lock held. For how long what the file waits for has been under way, at least. */
static uint64_t stuck_for(const struct inode *i)
{
    const uint64_t now = cm_now();
    uint64_t least = UINT64_MAX;

    for (unsigned k = 0; k < n.lanes; k++) {
        const struct lane *const l = &n.lane[k];
        const uint64_t spent = l->now ? now - l->begun_ns : 0;
        if (l->now && l->now->range.ino == (uintptr_t)i)
            return spent;
        least = spent < least ? spent : least;
    }
    return least;
}

/* One that is stuck holds up each thread that serves requests once, and not at each open. */
void direct_wait(const struct inode *i)
{
    uint64_t spent;

    pthread_mutex_lock(&n.lock);
    spent = n.lanes ? stuck_for(i) : 0;
    if (spent < WAIT_NS)
        wait_for_queued(i, WAIT_NS - spent);
    pthread_mutex_unlock(&n.lock);
}

/* The inode is not held: if its address is used again by then, another file loses its pages. */
void direct_drop(struct inode *i)
{
    queue_drop(i, false, NULL);
}

void direct_drop_now(struct inode *i)
{
    direct_drop(i);
    pthread_mutex_lock(&n.lock);
    wait_for_queued(i, WAIT_NS);
    pthread_mutex_unlock(&n.lock);
}

void direct_drop_counted(struct inode *i)
{
    queue_drop(i, true, NULL);
}

void direct_follow(struct inode *i, const struct look *l)
{
    queue_drop(i, false, l);
}

/* Lock held. */
static bool is_told(const struct inode *i)
{
    bool is = false;

    for (unsigned k = 0; k < LANES; k++)
        is |= n.lane[k].telling == i;
    return is;
}

void direct_cut_begin(struct inode *i)
{
    const struct timespec until = wait_until(WAIT_NS);

    pthread_mutex_lock(&n.lock);
    atomic_fetch_add(&i->cuts, 1);
    while (is_told(i) && !n.stop && wait_on(&n.over, &n.lock, &until)) {
    }
    pthread_mutex_unlock(&n.lock);
}

void direct_cut_end(struct inode *i)
{
    atomic_fetch_add(&i->cuts, 1);
}
