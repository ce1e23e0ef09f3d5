/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loop.c - session loops, workers, and the queue between them.
 *
 * A loop thread reads one request from the kernel. The opcode alone decides what happens:
 *
 * - READ, and requests that never wait, are handled at once. So a hit needs no switch of threads,
 *   which would take most of its time. ops_read.c sends misses back here with loop_defer_read().
 * - All other requests may wait for the origin. The raw request goes to a worker, which lets
 *   libfuse call the operation. So operations may block. A small request is copied into the job, so
 *   that the loop keeps its warm buffer. A WRITE takes the buffer with it, and the loop continues
 *   with another one from a small stock.
 *
 * GETATTR is answered at once if the origin is local: the table holds the inode, so fstat never
 * waits for the disk. For the same reason a loop opens and closes an attached file for a reader.
 * LOOKUP may read a directory block, so it goes to a worker. FORGET may drop the last reference to
 * a deleted file, and freeing its extents takes long, so it goes to a worker, too.
 *
 * Workers are started when the queue needs them, and stay. When the loops are stopped, the kernel
 * may still have requests for us, pages of mappings among them. They are answered before the
 * session ends. Therefore the loops have a flag of their own: libfuse drops the request that it
 * reads after fuse_session_exit().
 */
#include "mount.h"

#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>

#define WORKERS_MAX 32 /* limits the origin reads at a time; the queue of a disk is not longer */
#define SMALL_MAX 16384
#define STOCK_MAX 8
#define DRAIN_MAX 65536 /* requests of others that an end waits for, per round */
#define DRAIN_ROUNDS 64

struct job {
    struct job *next;
    struct fuse_buf buf; /* raw request; mem NULL: a deferred read */
    bool big;            /* buf.mem has the session's buffer size, so it goes to the stock */
    fuse_req_t req;
    struct handle *handle;
    size_t size;
    off_t off;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *head, **tail;
    unsigned queued, idle, workers, loops;
    bool stop;             /* the workers */
    _Atomic bool stopping; /* the loops */
    pthread_t worker[WORKERS_MAX];
    pthread_t loop[64];
    void *stock[STOCK_MAX];
    unsigned in_stock;
} q = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .tail = &q.head };

static _Thread_local void *scratch;

void *loop_scratch(void)
{
    /* One block more than the largest read: an unaligned read ends in the next block. */
    if (!scratch && posix_memalign(&scratch, 4096, READ_MAX + 2 * CM_BLOCK_SIZE))
        abort();
    return scratch;
}

static void stock_put(void *mem)
{
    pthread_mutex_lock(&q.lock);
    if (q.in_stock < STOCK_MAX) {
        q.stock[q.in_stock++] = mem;
        mem = NULL;
    }
    pthread_mutex_unlock(&q.lock);
    free(mem);
}

static void *stock_get(void)
{
    void *mem = NULL;

    pthread_mutex_lock(&q.lock);
    if (q.in_stock)
        mem = q.stock[--q.in_stock];
    pthread_mutex_unlock(&q.lock);
    return mem; /* NULL: libfuse allocates */
}

static void run(struct job *j)
{
    if (!j->buf.mem) {
        read_worker(j->req, j->handle, j->size, j->off);
    } else {
        fuse_session_process_buf(mnt.se, &j->buf);
        if (j->big)
            stock_put(j->buf.mem);
    }
    free(j);
}

static void *worker_main(void *arg)
{
    (void)arg;
    creds_thread_init();
    pthread_mutex_lock(&q.lock);
    for (;;) {
        struct job *j = q.head;
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
        run(j);
        pthread_mutex_lock(&q.lock);
    }
    pthread_mutex_unlock(&q.lock);
    free(scratch);
    scratch = NULL;
    return NULL;
}

/* Queue lock held. */
static void start_worker(void)
{
    if (q.workers < WORKERS_MAX &&
        pthread_create(&q.worker[q.workers], NULL, worker_main, NULL) == 0)
        q.workers++;
}

static void push(struct job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&q.lock);
    *q.tail = j;
    q.tail = &j->next;
    q.queued++;
    if (q.queued > q.idle)
        start_worker();
    pthread_mutex_unlock(&q.lock);
    pthread_cond_signal(&q.work);
}

void loop_defer_read(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    j->req = req;
    j->handle = h;
    j->size = size;
    j->off = off;
    push(j);
}

/* The kernel asks for this attribute before every write. */
static bool asks_for_caps(const struct fuse_in_header *h)
{
    const char *name = (const char *)(h + 1) + sizeof(struct fuse_getxattr_in);

    return h->len > sizeof(*h) + sizeof(struct fuse_getxattr_in) &&
           !strncmp(name, "security.capability",
                    h->len - sizeof(*h) - sizeof(struct fuse_getxattr_in)) &&
           atomic_load(&inode_of(h->nodeid)->no_caps) && !inode_of(h->nodeid)->linked;
}

/* Opening an attached file again to read it, and closing it, take an fstat of a held inode and list
 * work. A file in use stays attached, so nobody holds its lock while waiting for the origin. */
static bool opens_attached(const struct fuse_in_header *h, struct inode **used)
{
    const struct fuse_open_in *in = (const void *)(h + 1);
    struct inode *i = inode_of(h->nodeid);

    if (number_far(i->device) || i->linked || (in->flags & O_ACCMODE) != O_RDONLY ||
        !file_try_use(i))
        return false;
    inode_hold(i);
    *used = i;
    return true;
}

static bool closes_reader(const struct fuse_in_header *h)
{
    const struct fuse_release_in *in = (const void *)(h + 1);
    const struct handle *handle = (const struct handle *)(uintptr_t)in->fh;

    return !number_far(handle->inode->device) && !handle->own_fd && !handle->inode->unlinked;
}

/* *used: it is in use, and held, until the request has been handled. */
static bool handled_here(const struct fuse_in_header *h, struct inode **used)
{
    switch (h->opcode) {
    case FUSE_READ:
    case FUSE_INIT:
    case FUSE_DESTROY:
    case FUSE_INTERRUPT:
        return true;
    case FUSE_GETATTR:
        return !number_far(inode_of(h->nodeid)->device);
    case FUSE_GETXATTR:
        return asks_for_caps(h);
    case FUSE_OPEN:
        return opens_attached(h, used);
    case FUSE_RELEASE:
        return closes_reader(h);
    default:
        return false;
    }
}

/* Passes it to a worker: a copy, or the buffer if that is cheaper. False: no memory. */
static bool hand_over(struct fuse_buf *buf)
{
    bool big = buf->size > SMALL_MAX;
    struct job *j = malloc(sizeof(*j) + (big ? 0 : buf->size));

    if (!j)
        return false;
    *j = (struct job){ .buf = *buf, .big = big };
    if (big) {
        buf->mem = stock_get();
    } else {
        j->buf.mem = memcpy(j + 1, buf->mem, buf->size);
    }
    push(j);
    return true;
}

/* At the end: a request that would give somebody a page, or a way to get one. Pages that the kernel
 * writes back are accepted. */
static bool refused(const struct fuse_in_header *h)
{
    const struct fuse_write_in *in = (const void *)(h + 1);

    switch (h->opcode) {
    case FUSE_READ:
    case FUSE_OPEN:
    case FUSE_CREATE:
        return true;
    case FUSE_WRITE:
        return !(in->write_flags & FUSE_WRITE_CACHE);
    default:
        return false;
    }
}

/* The same answer as if the session had ended already. */
static void refuse(const struct fuse_in_header *h)
{
    struct fuse_out_header out = { .len = sizeof(out), .error = -ENOTCONN, .unique = h->unique };

    if (write(fuse_session_fd(mnt.se), &out, sizeof(out)) < 0 && errno != ENOENT)
        say(CM_LOG_WARNING, "cannot answer a request: %s", strerror(errno));
}

static void take(struct fuse_buf *buf)
{
    struct inode *used = NULL;

    if (flush_refuses() && refused(buf->mem))
        refuse(buf->mem);
    else if (handled_here(buf->mem, &used) || !hand_over(buf))
        fuse_session_process_buf(mnt.se, buf);
    if (used) {
        file_unuse(used);
        if (!inode_known(used)) /* nobody else would answer it */
            file_detach_idle(used);
        inode_put(used);
    }
}

static void *loop_main(void *arg)
{
    struct fuse_buf buf = { .mem = NULL };

    (void)arg;
    while (!fuse_session_exited(mnt.se) && !atomic_load(&q.stopping)) {
        int n = fuse_session_receive_buf(mnt.se, &buf);
        if (n > 0)
            take(&buf);
        else if (n != -EINTR)
            fuse_session_exit(mnt.se);
    }
    free(buf.mem);
    free(scratch);
    scratch = NULL;
    pthread_mutex_lock(&q.lock);
    if (--q.loops == 0)
        kill(getpid(), SIGUSR2);
    pthread_mutex_unlock(&q.lock);
    return NULL;
}

static unsigned started;

int loop_start(unsigned loops)
{
    bool ok;

    pthread_mutex_lock(&q.lock);
    start_worker();
    while (started < loops && pthread_create(&q.loop[started], NULL, loop_main, NULL) == 0)
        started++;
    q.loops = started;
    ok = started && q.workers;
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

void loop_interrupt(void)
{
    atomic_store(&q.stopping, true);
    for (unsigned n = 0; n < started; n++)
        pthread_kill(q.loop[n], SIGUSR1); /* not joined yet, so the id is valid */
}

static void wait_for_workers(void)
{
    bool busy = true;

    while (busy) {
        pthread_mutex_lock(&q.lock);
        busy = q.queued || q.idle < q.workers;
        pthread_mutex_unlock(&q.lock);
        if (busy)
            usleep(1000);
    }
}

/* Reads everything that the kernel has for us; nobody else reads any more. False: it is too much.
 */
static bool take_all(struct fuse_buf *buf, bool *wrote)
{
    for (unsigned n = 0; n < DRAIN_MAX; n++) {
        int rc = fuse_session_receive_buf(mnt.se, buf);
        if (rc <= 0 && rc != -EINTR)
            return true; /* none left, or the session has ended */
        if (rc > 0) {
            *wrote |= ((struct fuse_in_header *)buf->mem)->opcode == FUSE_WRITE;
            take(buf);
        }
    }
    return false;
}

/* The kernel sends a limited number of pages ahead, and the next ones after our answers. So this
 * continues until no page came. Nothing makes new ones after flush_end(). */
static void drain(void)
{
    struct fuse_buf buf = { .mem = NULL };
    int fd = fuse_session_fd(mnt.se), flags = fcntl(fd, F_GETFL);
    bool wrote = true, all = flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;

    for (unsigned round = 0; all && wrote && !fuse_session_exited(mnt.se); round++) {
        wrote = false;
        all = round < DRAIN_ROUNDS && take_all(&buf, &wrote);
        wait_for_workers();
    }
    free(buf.mem);
    if (!all)
        flush_incomplete("the kernel's requests do not end");
}

void loop_finish(void)
{
    for (unsigned n = 0; n < started; n++)
        pthread_join(q.loop[n], NULL);
    started = 0;
    if (!fuse_session_exited(mnt.se))
        drain();
    fuse_session_exit(mnt.se);
    pthread_mutex_lock(&q.lock);
    q.stop = true;
    pthread_mutex_unlock(&q.lock);
    pthread_cond_broadcast(&q.work);
    for (unsigned n = 0; n < q.workers; n++)
        pthread_join(q.worker[n], NULL);
    while (q.in_stock)
        free(q.stock[--q.in_stock]);
}
