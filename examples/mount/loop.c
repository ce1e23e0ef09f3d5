/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loop.c - requests of the kernel: reads them, and decides who handles each.
 *
 * A loop thread reads one request. The opcode, and where the file is, decide:
 *
 * - READ, and requests that never wait, are handled at once. So a hit needs no switch of threads,
 *   which would take most of its time. ops_read.c sends misses back here with loop_defer_read().
 * - What a local origin does in memory, as a rule, is handled at once, too: writes, names,
 *   attributes. If it does wait for the disk, another thread becomes a loop (threads.c).
 * - All other requests go to a worker. A small request is copied into the job, so that the loop
 *   keeps its warm buffer. A WRITE takes the buffer with it, and the loop continues with another
 *   one from a small stock.
 *
 * libfuse takes a request apart and calls the operation; ops_raw.c does so for those that libfuse
 * does not know.
 *
 * GETATTR never waits if the origin is local: the table holds the inode. For the same reason a loop
 * opens and closes an attached file for a reader. Not so if others write a file of which the kernel
 * has pages: then both may wait until these are dropped, and that may need a loop.
 *
 * With io_uring (uring.c) the loops get little: FORGET and INTERRUPT. All other requests come to
 * loop_take_ring(), each in a thread that has nothing else to do: it also does what waits.
 *
 * When the loops are stopped, the kernel may still have requests for us, pages of mappings among
 * them. They are answered before the session ends. Therefore the loops have a flag of their own:
 * libfuse drops the request that it reads after fuse_session_exit().
 *
 * Owns: the spare buffers of requests. Who: main.c; threads.c runs the loops.
 */
#include "threads.h"

#include "uring.h"

#include <linux/fuse.h>
#include <sys/statvfs.h>

#define SMALL_MAX 16384
#define READ_AHEAD_KIB 1024 /* an answer takes long: FUSE's 128 are few */
#define STOCK_MAX 8
#define DRAIN_MAX 65536 /* requests of others that an end waits for, per round */
#define DRAIN_ROUNDS 64
#define NAP_NS 10000000l /* until memory is looked for again; then twice as long, and so on */
#define NAP_DOUBLES 6
#define NAPS_MAX 50 /* half a minute */

static struct {
    pthread_mutex_t lock;
    void *buf[STOCK_MAX];
    unsigned n;
} stock = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local void *scratch;

void *loop_scratch(void)
{
    void *room = uring_room();

    assert(room || scratch);
    return room ? room : scratch;
}

void *loop_new_scratch(void)
{
    void *mem = NULL;

    return posix_memalign(&mem, 4096, READ_MAX) ? NULL : mem;
}

void loop_use_scratch(void *mem)
{
    scratch = mem;
}

void loop_free_scratch(void)
{
    free(scratch);
    scratch = NULL;
}

static void stock_put(void *mem)
{
    pthread_mutex_lock(&stock.lock);
    if (stock.n < STOCK_MAX) {
        stock.buf[stock.n++] = mem;
        mem = NULL;
    }
    pthread_mutex_unlock(&stock.lock);
    free(mem);
}

static void *stock_get(void)
{
    void *mem = NULL;

    pthread_mutex_lock(&stock.lock);
    if (stock.n)
        mem = stock.buf[--stock.n];
    pthread_mutex_unlock(&stock.lock);
    return mem; /* NULL: libfuse allocates */
}

static void process(struct fuse_buf *buf)
{
    if (mnt.opt.ro && raw_refuse_change(buf->mem))
        return;
    if (!raw_request(buf->mem))
        fuse_session_process_buf(mnt.se, buf);
}

void loop_run(struct job *j)
{
    gate_enter();
    if (!j->buf.mem) {
        read_worker(j->req, j->inode, j->handle, j->size, j->off, j->pages);
    } else {
        process(&j->buf);
        if (j->big)
            stock_put(j->buf.mem);
    }
    gate_leave();
    free(j);
}

void loop_defer_read(fuse_req_t req, struct inode *i, struct handle *h, size_t size, off_t off,
                     bool pages)
{
    struct job *j;

    if (uring_thread()) { /* nobody waits for this thread */
        uring_at_once(false);
        read_worker(req, i, h, size, off, pages);
        return;
    }
    j = calloc(1, sizeof(*j));
    if (!j) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    j->req = req;
    j->inode = i;
    j->handle = h;
    j->size = size;
    j->off = off;
    j->pages = pages;
    threads_push(j);
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

/* Answers about it may wait until the kernel has dropped its pages (coherence.c). */
static bool waits_for_pages(const struct inode *i)
{
    return others_write() && atomic_load(&i->pages);
}

/* Opening an attached file again to read it, and closing it, take an fstat of a held inode and list
 * work. A file in use stays attached, so nobody holds its lock while waiting for the origin. */
static bool opens_attached(const struct fuse_in_header *h, struct inode **used)
{
    const struct fuse_open_in *in = (const void *)(h + 1);
    struct inode *i = inode_of(h->nodeid);

    if (number_far(i->device) || i->linked || waits_for_pages(i) ||
        (in->flags & O_ACCMODE) != O_RDONLY || !file_try_use(i))
        return false;
    inode_hold(i);
    *used = i;
    return true;
}

static bool closes_reader(const struct fuse_in_header *h)
{
    const struct fuse_release_in *in = (const void *)(h + 1);
    const struct handle *handle = (const struct handle *)(uintptr_t)in->fh;

    return !number_far(handle->inode->device) && !handle->own_fd && !handle->inode->unlinked &&
           !handle->inode->left_out; /* forgetting may wait for the pool */
}

/* *used: it is in use, and held, until the request has been handled. */
static bool never_waits(const struct fuse_in_header *h, struct inode **used)
{
    switch (h->opcode) {
    case FUSE_READ:
    case FUSE_INIT:
    case FUSE_DESTROY:
    case FUSE_INTERRUPT:
        return true;
    case FUSE_GETATTR:
        return !number_far(inode_of(h->nodeid)->device) && !waits_for_pages(inode_of(h->nodeid));
    case FUSE_GETXATTR:
        return asks_for_caps(h);
    case FUSE_OPEN:
        return opens_attached(h, used);
    case FUSE_RELEASE:
        return closes_reader(h);
    default:
        return raw_reads_attributes(h->opcode) && !number_far(inode_of(h->nodeid)->device) &&
               !waits_for_pages(inode_of(h->nodeid));
    }
}

/* The origin takes it into memory. Not so a write that has to reach the disk. */
static bool is_short_write(const struct fuse_in_header *h)
{
    const struct fuse_write_in *in = (const void *)(h + 1);

    return !(in->flags & O_DSYNC) && !(mnt.opt.flags & ST_SYNCHRONOUS);
}

/* The last close of a file without a name frees its blocks. */
static bool is_short_close(const struct fuse_in_header *h)
{
    const struct fuse_release_in *in = (const void *)(h + 1);

    return !((const struct handle *)(uintptr_t)in->fh)->inode->unlinked;
}

/* Does a local origin mostly do it at once? What is left out is long: syncs, moving data, freeing
 * the blocks of a file (FORGET), for which nobody waits. */
static bool is_short(const struct fuse_in_header *h)
{
    switch (h->opcode) {
    case FUSE_WRITE:
        return is_short_write(h);
    case FUSE_RELEASE:
        return is_short_close(h);
    case FUSE_LOOKUP:
    case FUSE_GETATTR:
    case FUSE_SETATTR:
    case FUSE_READLINK:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_OPEN:
    case FUSE_CREATE:
    case FUSE_FLUSH:
    case FUSE_STATFS:
    case FUSE_ACCESS:
    case FUSE_GETXATTR:
    case FUSE_SETXATTR:
    case FUSE_LISTXATTR:
    case FUSE_REMOVEXATTR:
    case FUSE_OPENDIR:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_RELEASEDIR:
        return true;
    default:
        return raw_reads_attributes(h->opcode);
    }
}

int loop_fd_of(const struct fuse_in_header *h)
{
    return h->nodeid ? inode_of(h->nodeid)->fd : -1;
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
    threads_push(j);
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
        return raw_gives_pages(h->opcode);
    }
}

/* The same answer as if the session had ended already. */
static void refuse(const struct fuse_in_header *h)
{
    struct fuse_out_header out = { .len = sizeof(out), .error = -ENOTCONN, .unique = h->unique };
    const struct iovec iov = { &out, sizeof(out) };
    const int rc = wire_answer(&iov, 1);

    if (rc < 0 && rc != -ENOENT)
        say(CM_LOG_WARNING, "cannot answer a request: %s", strerror(-rc));
}

void loop_take_ring(void *request, size_t size)
{
    struct fuse_buf buf = { .mem = request, .size = size };
    const struct fuse_in_header *const h = request;

    if (flush_refuses() && refused(h)) {
        refuse(h);
        return;
    }
    uring_at_once(h->opcode == FUSE_READ);
    gate_enter();
    process(&buf);
    gate_leave();
    uring_at_once(false);
}

/* Handles what never waits. False: it may wait. */
static bool taken_at_once(struct fuse_buf *buf)
{
    struct inode *used = NULL;

    if (!never_waits(buf->mem, &used))
        return false;
    process(buf);
    if (((const struct fuse_in_header *)buf->mem)->opcode == FUSE_INIT)
        place_read_ahead(READ_AHEAD_KIB);
    if (used) {
        file_unuse(used);
        if (!inode_known(used)) /* nobody else would answer it */
            file_detach_idle(used);
        inode_put(used);
    }
    return true;
}

/* True: the thread has lost its place. */
static bool take_inside(struct fuse_buf *buf)
{
    const struct fuse_in_header *const h = buf->mem;

    if (taken_at_once(buf))
        return false;
    if (threads_may_wait() && is_short(h) && !number_far(inode_of(h->nodeid)->device)) {
        threads_begin_wait(h);
        process(buf);
        return threads_end_wait();
    }
    if (!hand_over(buf))
        process(buf);
    return false;
}

static bool take(struct fuse_buf *buf)
{
    bool relieved;

    if (flush_refuses() && refused(buf->mem)) {
        refuse(buf->mem);
        return false;
    }
    gate_enter();
    relieved = take_inside(buf);
    gate_leave();
    return relieved;
}

/* libfuse had no memory for a buffer. The other loops go on, and workers give buffers back. False:
 * this lasts too long. *naps: in a row. */
static bool nap(unsigned *naps)
{
    const long ns = NAP_NS << (*naps < NAP_DOUBLES ? *naps : NAP_DOUBLES);
    const struct timespec t = { .tv_nsec = ns };

    if (*naps >= NAPS_MAX)
        return false;
    ++*naps;
    nanosleep(&t, NULL);
    return true;
}

bool loop_serve(void)
{
    struct fuse_buf buf = { .mem = NULL };
    bool relieved = false;
    unsigned naps = 0;

    while (!relieved && !fuse_session_exited(mnt.se) && !threads_stopping()) {
        int n;

        if (!buf.mem)
            buf.mem = stock_get();
        threads_reading(true);
        n = fuse_session_receive_buf(mnt.se, &buf);
        threads_reading(false);
        if (n == -ENOMEM && nap(&naps))
            continue;
        naps = 0;
        if (n > 0)
            relieved = take(&buf);
        else if (n != -EINTR)
            fuse_session_exit(mnt.se);
    }
    if (buf.mem)
        stock_put(buf.mem);
    return relieved;
}

/* Reads everything that the kernel has for us; nobody else reads any more. False: it is too much.
 */
static bool take_all(struct fuse_buf *buf, bool *wrote)
{
    for (unsigned n = 0; n < DRAIN_MAX; n++) {
        int rc;

        if (!buf->mem)
            buf->mem = stock_get();
        rc = fuse_session_receive_buf(mnt.se, buf);
        if (rc == -ENOMEM)
            return false;
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
    struct fuse_buf buf = { .mem = stock_get() };
    int fd = fuse_session_fd(mnt.se), flags = fcntl(fd, F_GETFL);
    bool wrote = true, all = flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;

    for (unsigned round = 0; all && wrote && !fuse_session_exited(mnt.se); round++) {
        wrote = false;
        all = round < DRAIN_ROUNDS && take_all(&buf, &wrote);
        threads_settle();
        wrote |= uring_settle();
    }
    free(buf.mem);
    if (!all)
        flush_incomplete("the kernel's requests do not end");
}

void loop_finish(void)
{
    if (!fuse_session_exited(mnt.se))
        drain();
    fuse_session_exit(mnt.se);
    uring_finish();
    threads_finish();
    while (stock.n)
        free(stock.buf[--stock.n]);
}
