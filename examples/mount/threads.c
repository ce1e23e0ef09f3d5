/* SPDX-License-Identifier: BSD-2-Clause
 *
 * threads.c - the mount's threads, and the queue of what waits for one.
 *
 * A thread has one of two roles, which it changes: a loop reads requests from the kernel, a worker
 * takes jobs from the queue. There are as many places for loops as -o loops says.
 *
 * - A loop handles what may wait for the origin itself, if the origin is local: mostly it does not
 *   wait, and to pass it to another thread takes longer than to do it.
 * - One thread watches. Where a loop has been at one request for RELIEF_NS, it gives the loop's
 *   place to a worker. The loop becomes a worker when it is done. So hits wait for a disk no longer
 *   than RELIEF_NS and one look more.
 * - The watcher sleeps while no loop handles such requests.
 *
 * Workers are started when the queue needs them, and stay.
 *
 * Owns: the threads, their roles, the queue. Who: loop.c; main.c for the begin and the end;
 * manager.c asks whether the loops answer.
 */
#include "threads.h"

#include "uring.h"

#include <linux/fuse.h>
#include <signal.h>

#define WORKERS_MAX 32 /* limits the origin reads at a time; the queue of a disk is not longer */
#define THREADS_MAX (WORKERS_MAX + 64)
#define RELIEF_NS 2000000u
#define LOOK_NS 2000000      /* how often the watcher looks */
#define QUIET_MAX 50u        /* after so many looks that saw nothing it sleeps */
#define LONG_NS 10000000000u /* so long nobody should wait for the origin */
#define END_NS 2000000000u   /* or at the end without a word */
#define RELIEVED 1u          /* struct thread.busy: another thread has got its place */

struct thread {
    pthread_t id;
    void *scratch;         /* until it has begun */
    _Atomic uint64_t busy; /* when it began what may wait; 0: nothing such */
    /* The same for loop_look(), which only tells: relaxed. A relieved loop keeps it. */
    _Atomic uint64_t since;
    _Atomic uint32_t opcode; /* of that */
    _Atomic int fd;          /* of the file that it is about, or of the directory; -1: none */
    _Atomic bool reading;    /* it may be waiting for the kernel */
    _Atomic unsigned step;   /* odd: as a loop it is at a request */
    unsigned seen;           /* manager.c's thread: the step that it saw last */
};
static _Thread_local struct thread *me;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work, watch;
    struct job *head, **tail;
    unsigned queued, idle;
    unsigned workers; /* threads with that role */
    unsigned loops;   /* places of loops */
    unsigned places;  /* those that nobody has taken yet */
    _Atomic unsigned threads;
    unsigned threads_max;
    bool stop;             /* the workers */
    _Atomic bool stopping; /* the loops */
    _Atomic bool watching;
    bool has_watcher;
    pthread_t watcher;
    struct thread thread[THREADS_MAX];
} q = { .lock = PTHREAD_MUTEX_INITIALIZER,
        .work = PTHREAD_COND_INITIALIZER,
        .watch = PTHREAD_COND_INITIALIZER,
        .tail = &q.head };

/* ---- Roles ---------------------------------------------------------------------------------- */

/* Takes a place, and reads requests until it loses the place or the session ends. The lock is held,
 * but not meanwhile. */
static void be_loop(void)
{
    bool relieved;

    q.places--;
    q.workers--;
    pthread_mutex_unlock(&q.lock);
    relieved = loop_serve();
    atomic_store(&me->step, (me->step + 1) & ~1u);
    pthread_mutex_lock(&q.lock);
    if (relieved)
        return; /* the watcher has counted it as a worker */
    q.workers++;
    if (--q.loops == 0)
        kill(getpid(), SIGUSR2);
}

/* now 0: it has ended. */
static void note(uint32_t opcode, int fd, uint64_t now)
{
    atomic_store_explicit(&me->opcode, opcode, memory_order_relaxed);
    atomic_store_explicit(&me->fd, fd, memory_order_relaxed);
    atomic_store_explicit(&me->since, now, memory_order_relaxed);
}

static uint32_t opcode_of(const struct job *j)
{
    return j->buf.mem ? ((const struct fuse_in_header *)j->buf.mem)->opcode : FUSE_READ;
}

static int fd_of(const struct job *j)
{
    return j->buf.mem ? loop_fd_of(j->buf.mem) : j->inode->fd;
}

static void *thread_main(void *arg)
{
    me = arg;
    loop_use_scratch(me->scratch);
    creds_thread_init();
    pthread_mutex_lock(&q.lock);
    for (;;) {
        struct job *j = q.head;

        if (q.places > 0) {
            be_loop();
            continue;
        }
        if (!j && q.stop)
            break;
        if (!j) {
            q.idle++;
            pthread_cond_wait(&q.work, &q.lock);
            q.idle--;
            continue;
        }
        q.head = j->next;
        if (!q.head)
            q.tail = &q.head;
        q.queued--;
        pthread_mutex_unlock(&q.lock);
        note(opcode_of(j), fd_of(j), cm_now());
        loop_run(j);
        note(0, -1, 0);
        pthread_mutex_lock(&q.lock);
    }
    pthread_mutex_unlock(&q.lock);
    loop_free_scratch();
    return NULL;
}

/* A thread has all the memory that it needs for a request when it begins: then no request has to
 * wait for it. */
static bool start_thread(struct thread *t)
{
    t->scratch = loop_new_scratch();
    if (t->scratch && pthread_create(&t->id, NULL, thread_main, t) == 0)
        return true;
    free(t->scratch);
    return false;
}

/* The lock is held. */
static void start_thread_if_needed(void)
{
    const unsigned n = q.threads;

    if (q.queued + q.places <= q.idle || n >= q.threads_max || !start_thread(&q.thread[n]))
        return;
    q.workers++;
    q.threads = n + 1;
}

void threads_push(struct job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&q.lock);
    *q.tail = j;
    q.tail = &j->next;
    q.queued++;
    start_thread_if_needed();
    pthread_mutex_unlock(&q.lock);
    pthread_cond_signal(&q.work);
}

/* ---- Relief --------------------------------------------------------------------------------- */

static void relieve(struct thread *t, uint64_t busy)
{
    /* The thread ends its work at this moment, or it has lost its place. */
    if (!atomic_compare_exchange_strong(&t->busy, &busy, RELIEVED))
        return;
    pthread_mutex_lock(&q.lock);
    q.workers++;
    q.places++;
    start_thread_if_needed();
    pthread_mutex_unlock(&q.lock);
    pthread_cond_signal(&q.work);
}

/* Does any loop handle what may wait? */
static bool look(void)
{
    const uint64_t now = cm_now();
    const unsigned n = q.threads;
    bool any = false;

    for (unsigned i = 0; i < n; i++) {
        const uint64_t busy = atomic_load(&q.thread[i].busy);

        any |= busy > RELIEVED;
        if (busy > RELIEVED && now > busy && now - busy > RELIEF_NS)
            relieve(&q.thread[i], busy);
    }
    return any;
}

static void *watcher_main(void *arg)
{
    const struct timespec nap = { .tv_nsec = LOOK_NS };
    unsigned quiet = 0;

    (void)arg;
    pthread_mutex_lock(&q.lock);
    while (!q.stop) {
        if (!atomic_load(&q.watching)) {
            pthread_cond_wait(&q.watch, &q.lock);
            continue;
        }
        pthread_mutex_unlock(&q.lock);
        nanosleep(&nap, NULL);
        quiet = look() ? 0 : quiet + 1;
        if (quiet > QUIET_MAX) {
            quiet = 0;
            /* seq_cst: a loop sets its time, and then looks whether somebody watches. Either it
             * sees that nobody does, or its time is seen here. */
            atomic_store(&q.watching, false);
            if (look())
                atomic_store(&q.watching, true);
        }
        pthread_mutex_lock(&q.lock);
    }
    pthread_mutex_unlock(&q.lock);
    return NULL;
}

bool threads_may_wait(void)
{
    return me != NULL && q.has_watcher;
}

void threads_begin_wait(const struct fuse_in_header *h)
{
    const uint64_t now = cm_now();

    assert(me);
    note(h->opcode, loop_fd_of(h), now);
    atomic_store(&me->busy, now); /* seq_cst: see watcher_main */
    if (atomic_load(&q.watching))
        return;
    pthread_mutex_lock(&q.lock);
    atomic_store(&q.watching, true);
    pthread_mutex_unlock(&q.lock);
    pthread_cond_signal(&q.watch);
}

void threads_will_wait(void)
{
    const uint64_t busy = me ? atomic_load(&me->busy) : 0;

    if (busy > RELIEVED)
        relieve(me, busy);
}

bool threads_end_wait(void)
{
    note(0, -1, 0);
    return atomic_exchange(&me->busy, 0) == RELIEVED;
}

void threads_reading(bool yes)
{
    unsigned step;

    if (!me)
        return;
    atomic_store_explicit(&me->reading, yes, memory_order_relaxed); /* a signal is repeated */
    step = atomic_load_explicit(&me->step, memory_order_relaxed);
    atomic_store_explicit(&me->step, yes ? (step + 1) & ~1u : step + 1, memory_order_relaxed);
}

/* ---- Begin and end -------------------------------------------------------------------------- */

int loop_start(unsigned loops)
{
    bool ok;

    pthread_mutex_lock(&q.lock);
    q.has_watcher = pthread_create(&q.watcher, NULL, watcher_main, NULL) == 0;
    q.threads_max = WORKERS_MAX + loops;
    q.places = q.loops = loops;
    while (q.threads < loops + 1) {
        const unsigned before = q.threads;

        q.queued++; /* the first worker */
        start_thread_if_needed();
        q.queued--;
        if (q.threads == before)
            break;
    }
    ok = q.threads > loops;
    pthread_mutex_unlock(&q.lock);
    return ok ? 0 : EAGAIN;
}

bool loop_running(void)
{
    bool r;

    pthread_mutex_lock(&q.lock);
    r = q.loops > 0;
    pthread_mutex_unlock(&q.lock);
    return r;
}

/* A loop that has lost its place is none any more. */
bool loop_answers(void)
{
    const unsigned n = q.threads;
    bool all = uring_moves();

    for (unsigned i = 0; i < n; i++) {
        struct thread *const t = &q.thread[i];
        const unsigned step = atomic_load(&t->step);

        all = all && !(step % 2 && step == t->seen && atomic_load(&t->busy) != RELIEVED);
        t->seen = step;
    }
    return all;
}

static const char *name_of(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_READ:
        return "read";
    case FUSE_WRITE:
        return "write";
    case FUSE_LOOKUP:
        return "lookup of a name";
    case FUSE_GETATTR:
        return "stat";
    case FUSE_GETXATTR:
        return "extended attribute";
    case FUSE_LISTXATTR:
        return "list of extended attributes";
    case FUSE_READLINK:
        return "target of a symbolic link";
    case FUSE_ACCESS:
        return "check of rights";
    case FUSE_LSEEK:
        return "seek";
    case FUSE_IOCTL:
        return "call of ioctl()";
    case FUSE_OPEN:
        return "open";
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return "close";
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        return "fsync";
    case FUSE_OPENDIR:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        return "list of a directory";
    case FUSE_STATFS:
        return "statfs";
    default:
        return "change";
    }
}

/* The path of what a request that began at `since` is about; "" if it has ended meanwhile. Another
 * file may have the descriptor then. */
static const char *path_waited_for(const struct thread *t, uint64_t since, char path[PATH_MAX])
{
    const int fd = atomic_load_explicit(&t->fd, memory_order_relaxed);

    if (!path_of_fd(fd, path, PATH_MAX) ||
        atomic_load_explicit(&t->since, memory_order_relaxed) != since)
        return "";
    return path;
}

void loop_look(void)
{
    static bool told;
    static char path[PATH_MAX]; /* one thread calls this */
    const uint64_t now = cm_now();
    const unsigned n = q.threads;
    uint64_t first = now;
    unsigned waiting = 0, oldest = 0;

    for (unsigned i = 0; i < n; i++) {
        const uint64_t since = atomic_load_explicit(&q.thread[i].since, memory_order_relaxed);

        if (!since || now < since + LONG_NS)
            continue;
        waiting++;
        if (since < first) {
            first = since;
            oldest = i;
        }
    }
    if (waiting && !told)
        say(CM_LOG_WARNING,
            "%s: the origin has not answered for %u s: a program waits for a %s (%s); such "
            "requests: %u",
            mnt.opt.dir, (unsigned)((now - first) / 1000000000),
            name_of(atomic_load_explicit(&q.thread[oldest].opcode, memory_order_relaxed)),
            path_waited_for(&q.thread[oldest], first, path), waiting);
    else if (!waiting && told)
        say(CM_LOG_INFO, "%s: the origin answers again", mnt.opt.dir);
    told = waiting > 0;
}

bool threads_stopping(void)
{
    return atomic_load(&q.stopping);
}

void loop_interrupt(void)
{
    atomic_store(&q.stopping, true);
    for (unsigned i = 0; i < q.threads; i++)
        if (atomic_load(&q.thread[i].reading))
            pthread_kill(q.thread[i].id, SIGUSR1); /* not joined yet, so the id is valid */
}

void threads_late(unsigned requests)
{
    static bool told;

    if (!told)
        say(CM_LOG_WARNING, "%s: the end waits for %u requests, which the origin does not answer",
            mnt.opt.dir, requests);
    told = true;
}

void threads_settle(void)
{
    const uint64_t begun = cm_now();
    unsigned busy = 1;

    while (busy) {
        pthread_mutex_lock(&q.lock);
        busy = q.queued + q.workers - q.idle;
        pthread_mutex_unlock(&q.lock);
        if (busy && cm_now() - begun > END_NS)
            threads_late(busy);
        if (busy)
            usleep(1000);
    }
}

void threads_finish(void)
{
    pthread_mutex_lock(&q.lock);
    q.stop = true;
    pthread_mutex_unlock(&q.lock);
    pthread_cond_broadcast(&q.work);
    pthread_cond_broadcast(&q.watch);
    for (unsigned i = 0; i < q.threads; i++)
        pthread_join(q.thread[i].id, NULL);
    if (q.has_watcher)
        pthread_join(q.watcher, NULL);
}
