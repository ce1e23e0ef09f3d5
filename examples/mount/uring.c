/* SPDX-License-Identifier: BSD-2-Clause
 *
 * uring.c - FUSE over io_uring: the kernel hands a request to a sleeping thread and takes its
 * answer in one system call, instead of two on /dev/fuse.
 *
 * The kernel has a queue for each CPU, and wants buffers for all of them before it uses any. A
 * request goes to the queue of the CPU on which its program runs.
 *
 * - A queue has `depth` threads. Each one has an io_uring of its own with a single buffer, and
 *   stays at a request until it is answered. So a request that waits for a disk or a server holds
 *   up no other: the kernel gives the next one to another thread of the queue. It takes the thread
 *   that slept last, whose memory is warm.
 * - No thread is passed a request by another one. An io_uring with several buffers could not do
 *   that: the kernel fills a buffer only in the thread that submitted it, and if that waits for a
 *   disk, the buffers that it has left are dead.
 * - The threads of a queue run on its CPU, if this process may use it: the request is in its cache.
 *
 * FORGET and INTERRUPT still come by /dev/fuse, and notifications go there.
 *
 * A buffer has room before it, where the head of the request is put. So it lies as from /dev/fuse,
 * and nothing long is copied.
 *
 * Owns: the threads and their rings. Who: wire.c, loop.c, tests/bench/nullfuse.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "uring.h"

#include "uring_abi.h"

#include <errno.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <timed_wait.h> /* examples/wait */
#include <unistd.h>

#define DEPTH_MAX 64 /* as many requests as the kernel sends ahead by default */
#define DEPTH_MIN 24
#define THREADS 256  /* with many CPUs each queue has fewer */
#define DEPTH_AWAY 2 /* of a CPU that is not there, and may come */
#define HEAD_ROOM 4096
#define STACK_SIZE (512u << 10)
#define LATE_NS 1000000000u /* an end waits so long for an answer of another thread */
#define LONG_NS 2000000000u /* ... or for a request without a word */

enum order { WAIT, GO, KEEP, GIVE_UP };
enum phase { MAKING, READY, REGISTERED, FAILED };

struct worker {
    pthread_t id;
    unsigned qid;
    int fd;           /* its io_uring */
    enum phase phase; /* pool.lock */
    int error;        /* why it has no io_uring, or 0; before `phase` is FAILED */
    bool few;         /* its queue has DEPTH_AWAY threads */
    bool joined;      /* its queue; pool.lock, once `phase` says so */
    void *rings;
    size_t rings_size, sqes_size;
    struct abi_sqe *sqe;
    _Atomic unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
    const struct io_uring_cqe *cqes;
    unsigned cq_mask;
    struct abi_headers headers;
    struct iovec parts[2];
    char *room;              /* parts[1], after HEAD_ROOM bytes */
    bool room_used;          /* by a part of the request */
    _Atomic uint64_t unique; /* of its request, until that is answered; 0: it has none */
    pthread_mutex_t late;    /* an answer of another thread */
    pthread_cond_t answered;
    _Atomic bool waiting;  /* for the kernel */
    _Atomic unsigned seen; /* pool.fence: since then it has found the kernel without a request */
    _Atomic bool ended;
    _Atomic unsigned step; /* odd: at something that never waits for long */
    unsigned step_seen;    /* uring_moves() */
};
static _Thread_local struct worker *me;

static struct {
    struct uring_server server;
    int fd;      /* /dev/fuse */
    size_t size; /* of parts[1] */
    unsigned queues, depth, count;
    bool joined;
    struct worker *worker;
    pthread_mutex_t lock;
    pthread_cond_t change;
    enum order order;
    _Atomic bool used;
    _Atomic unsigned fence;
    _Atomic bool wrote, stop;
    _Atomic uint64_t settling; /* since when; 0: no end yet */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER };

/* ---- CPUs ----------------------------------------------------------------------------------- */

/* Is it in a list such as "0-3,8"? */
static bool listed(const char *list, unsigned cpu)
{
    while (*list) {
        char *end;
        const unsigned long first = strtoul(list, &end, 10);
        const unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

        if (cpu >= first && cpu <= last)
            return true;
        list = *end == ',' ? end + 1 : "";
    }
    return false;
}

static bool read_cpus(const char *which, char list[static 4096])
{
    char path[64];
    FILE *f;
    bool ok;

    snprintf(path, sizeof(path), "/sys/devices/system/cpu/%s", which);
    f = fopen(path, "re");
    ok = f && fgets(list, 4096, f);
    if (f)
        fclose(f);
    return ok;
}

/* The kernel numbers its queues as the CPUs that it may ever have. 0: that cannot work. */
static unsigned count_queues(char online[static 4096])
{
    char possible[4096];
    unsigned n = 0;

    if (!read_cpus("possible", possible) || !read_cpus("online", online))
        return 0;
    while (listed(possible, n))
        n++;
    return strchr(possible, ',') ? 0 : n;
}

static void run_on(unsigned cpu)
{
    cpu_set_t *set = CPU_ALLOC(cpu + 1);
    const size_t size = CPU_ALLOC_SIZE(cpu + 1);

    if (!set)
        return;
    CPU_ZERO_S(size, set);
    CPU_SET_S(cpu, size, set);
    (void)sched_setaffinity(0, size, set); /* else it runs where it may */
    CPU_FREE(set);
}

/* ---- A ring --------------------------------------------------------------------------------- */

/* 0 or -errno. */
static int enter(struct worker *w, unsigned wanted)
{
    /* relaxed: only this thread submits, and the kernel takes commands only in its calls */
    const unsigned n = atomic_load_explicit(w->sq_tail, memory_order_relaxed) -
                       atomic_load_explicit(w->sq_head, memory_order_relaxed);

    return syscall(__NR_io_uring_enter, w->fd, n, wanted, IORING_ENTER_GETEVENTS, NULL, 0) < 0
               ? -errno
               : 0;
}

/* In the thread that uses it. A child of this process must not keep it alive. */
static int make_ring(struct worker *w)
{
    struct io_uring_params p = { .flags = ABI_SQE128 | ABI_SINGLE_ISSUER | ABI_DEFER_TASKRUN |
                                          ABI_NO_SQARRAY };
    const size_t room = HEAD_ROOM + pool.size;
    char *m;

    w->fd = (int)syscall(__NR_io_uring_setup, 1, &p);
    if (w->fd < 0)
        return -errno;
    w->rings_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    w->sqes_size = p.sq_entries * sizeof(struct abi_sqe);
    m = mmap(NULL, w->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, IORING_OFF_SQ_RING);
    if (m == MAP_FAILED)
        return -errno;
    w->rings = m;
    w->sq_head = (void *)(m + p.sq_off.head);
    w->sq_tail = (void *)(m + p.sq_off.tail);
    w->cq_head = (void *)(m + p.cq_off.head);
    w->cq_tail = (void *)(m + p.cq_off.tail);
    w->cqes = (void *)(m + p.cq_off.cqes);
    w->cq_mask = p.cq_entries - 1;
    w->sqe = mmap(NULL, w->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, IORING_OFF_SQES);
    if (w->sqe == MAP_FAILED)
        return -errno;
    m = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0);
    if (m == MAP_FAILED)
        return -errno;
    w->room = m + HEAD_ROOM;
    if (madvise(w->rings, w->rings_size, MADV_DONTFORK) < 0 ||
        madvise(w->sqe, w->sqes_size, MADV_DONTFORK) < 0 || madvise(m, room, MADV_DONTFORK) < 0)
        return -errno;
    return enter(w, 0); /* later it must not fail */
}

static void free_ring(struct worker *w)
{
    if (w->rings)
        munmap(w->rings, w->rings_size);
    if (w->sqe && w->sqe != MAP_FAILED)
        munmap(w->sqe, w->sqes_size);
    if (w->room)
        munmap(w->room - HEAD_ROOM, HEAD_ROOM + pool.size);
    if (w->fd >= 0)
        close(w->fd);
}

/* One command at a time, so it is always the first SQE. */
static void submit(struct worker *w, uint32_t op, uint64_t commit_id)
{
    *w->sqe = (struct abi_sqe){ .opcode = ABI_OP_URING_CMD,
                                .fd = pool.fd,
                                .cmd_op = op,
                                .addr = (uintptr_t)w->parts,
                                .len = 2,
                                .command = { .commit_id = commit_id, .qid = (uint16_t)w->qid } };
    /* release: the kernel reads the tail, and then the SQE */
    atomic_store_explicit(w->sq_tail, atomic_load_explicit(w->sq_tail, memory_order_relaxed) + 1,
                          memory_order_release);
}

/* The result of the command. False: it has none yet. */
static bool take_result(struct worker *w, int *result)
{
    const unsigned head = atomic_load_explicit(w->cq_head, memory_order_relaxed);

    /* acquire: the kernel has written the CQE, and then the tail */
    if (head == atomic_load_explicit(w->cq_tail, memory_order_acquire))
        return false;
    *result = w->cqes[head & w->cq_mask].res;
    /* release: it has been read before the kernel writes the next one there */
    atomic_store_explicit(w->cq_head, head + 1, memory_order_release);
    return true;
}

/* ---- A request ------------------------------------------------------------------------------ */

bool uring_thread(void)
{
    return me != NULL;
}

void *uring_room(void)
{
    return me && !me->room_used ? me->room : NULL;
}

void uring_at_once(bool yes)
{
    unsigned step;

    if (!me)
        return;
    /* relaxed: uring_moves() only wants to see that it changes */
    step = atomic_load_explicit(&me->step, memory_order_relaxed);
    atomic_store_explicit(&me->step, yes ? step | 1 : (step + 1) & ~1u, memory_order_relaxed);
}

bool uring_moves(void)
{
    bool all = true;

    for (unsigned n = 0; n < pool.count; n++) {
        struct worker *const w = &pool.worker[n];
        const unsigned step = atomic_load_explicit(&w->step, memory_order_relaxed);

        all = all && !(step % 2 && step == w->step_seen);
        w->step_seen = step;
    }
    return all;
}

/* Puts its parts together, before the long one. NULL: it is none. */
static void *assemble(struct worker *w, size_t *size)
{
    const struct fuse_in_header *const in = &w->headers.in_out.in;
    const size_t head = sizeof(*in), tail = w->headers.entry.payload_size;
    char *request;
    size_t op;

    if (in->len < head + tail || tail > pool.size ||
        (op = in->len - head - tail) > sizeof(w->headers.op_in))
        return NULL;
    request = w->room - op - head;
    memcpy(request, in, head);
    memcpy(request + head, w->headers.op_in, op);
    w->room_used = tail != 0;
    *size = in->len;
    return request;
}

static void put_answer(struct worker *w, const struct iovec *iov, int count)
{
    const struct fuse_out_header *const out = iov[0].iov_base;
    struct fuse_out_header answer = { .error = out->error, .unique = out->unique };
    size_t n = 0, at;

    for (int k = 1; k < count; k++)
        n += iov[k].iov_len;
    if (n > pool.size) { /* more than the kernel could have asked for */
        answer.error = -EIO;
        n = 0;
    }
    /* From the end, because a part may lie in the room already. */
    at = n;
    for (int k = count - 1; k > 0 && at > 0; k--) {
        at -= iov[k].iov_len;
        if (w->room + at != iov[k].iov_base)
            memmove(w->room + at, iov[k].iov_base, iov[k].iov_len);
    }
    answer.len = (uint32_t)(sizeof(answer) + n);
    w->headers.in_out.out = answer;
    w->headers.entry.payload_size = (uint32_t)n;
}

static bool answer_late(uint64_t unique, const struct iovec *iov, int count)
{
    bool found = false;

    for (unsigned k = 0; k < pool.count && !found; k++) {
        struct worker *const w = &pool.worker[k];

        if (atomic_load(&w->unique) != unique)
            continue;
        pthread_mutex_lock(&w->late);
        found = atomic_load(&w->unique) == unique; /* it may have given up */
        if (found) {
            put_answer(w, iov, count);
            atomic_store(&w->unique, 0);
            pthread_cond_signal(&w->answered);
        }
        pthread_mutex_unlock(&w->late);
    }
    return found;
}

bool uring_answer(const struct iovec *iov, int count)
{
    const uint64_t unique = ((const struct fuse_out_header *)iov[0].iov_base)->unique;

    if (unique == 0)
        return false; /* a notification */
    if (!me || atomic_load_explicit(&me->unique, memory_order_relaxed) != unique)
        return answer_late(unique, iov, count);
    put_answer(me, iov, count);
    atomic_store_explicit(&me->unique, 0, memory_order_relaxed); /* its own thread looks */
    return true;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Another thread will answer it. False: it does not, and an end cannot wait longer. */
static bool wait_for_answer(struct worker *w)
{
    bool give_up = false;

    pthread_mutex_lock(&w->late);
    while (atomic_load(&w->unique) && !give_up) {
        const uint64_t since = atomic_load(&pool.settling);
        const struct timespec until = wait_until(50000000);

        (void)wait_on(&w->answered, &w->late, &until);
        give_up = since && now_ns() - since > LATE_NS;
    }
    give_up = atomic_exchange(&w->unique, 0) != 0;
    pthread_mutex_unlock(&w->late);
    return !give_up;
}

/* False: the thread has to end. */
static bool serve(struct worker *w)
{
    const uint64_t id = w->headers.entry.commit_id;
    struct fuse_out_header bad = { .error = -EIO, .unique = w->headers.in_out.in.unique };
    const struct iovec refusal = { &bad, sizeof(bad) };
    const uint32_t opcode = w->headers.in_out.in.opcode;
    size_t size;
    void *request = assemble(w, &size);

    if (request) {
        atomic_store(&w->unique, bad.unique); /* answer_late() of other threads looks for it */
        pool.server.serve(request, size);
        if (atomic_load(&w->unique) && !wait_for_answer(w))
            return false;
    } else {
        put_answer(w, &refusal, 1);
    }
    if (opcode == FUSE_WRITE && atomic_load_explicit(&pool.settling, memory_order_relaxed))
        atomic_store(&pool.wrote, true);
    submit(w, ABI_COMMIT_AND_FETCH, id);
    return true;
}

/* ---- The threads ---------------------------------------------------------------------------- */

static void tell_phase(struct worker *w, enum phase phase)
{
    pthread_mutex_lock(&pool.lock);
    w->phase = phase;
    pthread_cond_broadcast(&pool.change);
    pthread_mutex_unlock(&pool.lock);
}

/* The order that comes after this one. */
static enum order order_after(enum order before)
{
    enum order order;

    pthread_mutex_lock(&pool.lock);
    while (pool.order <= before)
        pthread_cond_wait(&pool.change, &pool.lock);
    order = pool.order;
    pthread_mutex_unlock(&pool.lock);
    return order;
}

/* The kernel holds back all requests until it has all queues, or has refused a buffer. If it has
 * them, this must not be done: from then on it would look at its parameter with each command. */
static void be_refused(struct worker *w)
{
    w->qid = UINT16_MAX;
    submit(w, ABI_REGISTER, 0);
    (void)enter(w, 0);
}

/* False: the connection has ended, or this thread has to. */
static bool next(struct worker *w)
{
    const unsigned fence = atomic_load(&pool.fence);
    int rc, result;

    /* seq_cst: the fence was read before, so whoever raises it then finds this thread waiting */
    atomic_store(&w->waiting, true);
    rc = enter(w, 1);
    atomic_store(&w->waiting, false);
    if (!take_result(w, &result)) {
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
            return false;
        atomic_store(&w->seen, fence);
        return !atomic_load(&pool.stop);
    }
    return result == 0 && serve(w);
}

/* Offers its buffer. The kernel says at once if it does not want it. */
static bool join_queue(struct worker *w)
{
    int result = 0;
    bool first;

    w->parts[0] = (struct iovec){ &w->headers, sizeof(w->headers) };
    w->parts[1] = (struct iovec){ w->room, pool.size };
    submit(w, ABI_REGISTER, 0);
    if (enter(w, 0) < 0)
        return false;
    first = take_result(w, &result);
    if (first && result != 0)
        return false;
    w->joined = true;
    tell_phase(w, REGISTERED);
    return !first || serve(w);
}

static void *worker_main(void *arg)
{
    struct worker *const w = arg;

    run_on(w->qid);
    w->error = pool.server.begin && !pool.server.begin() ? -ENOMEM : make_ring(w);
    tell_phase(w, w->error ? FAILED : READY);
    if (order_after(WAIT) != GIVE_UP && !w->error) {
        me = w;
        if (join_queue(w))
            while (next(w))
                ;
        me = NULL;
        if (!w->joined)
            tell_phase(w, FAILED);
        if (!w->joined && order_after(GO) == GIVE_UP)
            be_refused(w);
    }
    atomic_store(&w->ended, true);
    free_ring(w);
    if (pool.server.end)
        pool.server.end();
    return NULL;
}

/* Waits until all have at least this phase, or have failed. Returns how many have not failed of the
 * queue that has the fewest. */
static unsigned wait_for_all(enum phase phase)
{
    unsigned have, fewest = UINT_MAX;

    pthread_mutex_lock(&pool.lock);
    do {
        have = 0;
        for (unsigned n = 0; n < pool.count; n++)
            have += pool.worker[n].phase >= phase;
        if (have < pool.count)
            pthread_cond_wait(&pool.change, &pool.lock);
    } while (have < pool.count);
    for (unsigned q = 0; q < pool.queues; q++) {
        unsigned sound = 0;

        for (unsigned n = 0; n < pool.count; n++)
            sound += pool.worker[n].qid == q && pool.worker[n].phase != FAILED;
        fewest = sound < fewest ? sound : fewest;
    }
    pthread_mutex_unlock(&pool.lock);
    return fewest;
}

/* Why a thread has no io_uring: 0 if all have one. With some of them a queue would have fewer than
 * what waits may hold. */
static int make_rings(void)
{
    int error = 0;

    (void)wait_for_all(READY);
    for (unsigned n = 0; n < pool.count && !error; n++)
        error = pool.worker[n].error;
    return error;
}

static void give_order(enum order order)
{
    pthread_mutex_lock(&pool.lock);
    pool.order = order;
    pthread_cond_broadcast(&pool.change);
    pthread_mutex_unlock(&pool.lock);
}

static bool start(unsigned qid, bool few)
{
    struct worker *const w = &pool.worker[pool.count];
    pthread_attr_t a;
    bool ok;

    w->qid = qid;
    w->few = few;
    w->fd = -1;
    pthread_mutex_init(&w->late, NULL);
    (void)wait_init(&w->answered);
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, STACK_SIZE);
    ok = pthread_create(&w->id, &a, worker_main, w) == 0;
    pthread_attr_destroy(&a);
    pool.count += ok;
    return ok;
}

static unsigned depth_for(unsigned queues)
{
    const unsigned d = THREADS / queues;

    return d > DEPTH_MAX ? DEPTH_MAX : d < DEPTH_MIN ? DEPTH_MIN : d;
}

/* ---- Begin ---------------------------------------------------------------------------------- */

bool uring_offered(const void *in, size_t n)
{
    const struct fuse_in_header *const h = in;
    const struct fuse_init_in *const init = (const void *)(h + 1);

    return n >= sizeof(*h) + sizeof(*init) && h->opcode == FUSE_INIT &&
           (init->flags & ABI_INIT_EXT) && (init->flags2 & ABI_OVER_IO_URING);
}

/* What the kernel wants a buffer to have: the longest request or answer. */
static size_t longest(const struct fuse_init_out *out)
{
    const size_t pages = out->flags & ABI_MAX_PAGES ? out->max_pages : 32;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return out->max_write > pages * page ? out->max_write : pages * page;
}

int uring_prepare(const struct uring_server *s, int fd, struct fuse_init_out *out)
{
    char online[4096];
    const unsigned queues = count_queues(online);
    struct rlimit rl;
    int error;
    bool ok;

    if (!queues)
        return -ENOTSUP;
    pool.server = *s;
    pool.fd = fd;
    pool.queues = queues;
    pool.depth = depth_for(queues);
    /* Each thread has a descriptor. Those of files need the others. */
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur / 8 < (rlim_t)queues * pool.depth)
        return -EMFILE;
    pool.size = longest(out) > URING_ROOM ? longest(out) : URING_ROOM;
    pool.worker = calloc((size_t)queues * pool.depth, sizeof(*pool.worker));
    ok = pool.worker != NULL;
    for (unsigned q = 0; ok && q < queues; q++) {
        const bool few = !listed(online, q);
        for (unsigned n = few ? DEPTH_AWAY : pool.depth; ok && n > 0; n--)
            ok = start(q, few);
    }
    error = ok ? make_rings() : -EAGAIN;
    if (error) {
        (void)uring_begin(false);
        return error;
    }
    out->flags |= ABI_INIT_EXT;
    out->flags2 |= ABI_OVER_IO_URING;
    return (int)pool.depth;
}

bool uring_begin(bool sent)
{
    give_order(sent ? GO : GIVE_UP);
    atomic_store(&pool.used, sent && wait_for_all(REGISTERED) > 0); /* then the kernel uses them */
    give_order(uring_queues() ? KEEP : GIVE_UP);
    if (!uring_queues())
        uring_finish();
    return uring_queues() != 0;
}

unsigned uring_queues(void)
{
    return atomic_load(&pool.used) ? pool.queues : 0;
}

unsigned uring_depth(void)
{
    if (!atomic_load(&pool.used))
        return 0;
    return me && me->few ? DEPTH_AWAY : pool.depth;
}

/* ---- End ------------------------------------------------------------------------------------ */

/* Interrupts all that wait for the kernel, until each of them has said what `done` asks. */
static void interrupt(bool (*done)(const struct worker *w))
{
    const struct timespec nap = { .tv_nsec = 1000000 };
    const uint64_t begun = now_ns();
    bool told = !pool.server.late;
    unsigned left;

    do {
        left = 0;
        for (unsigned n = 0; n < pool.count; n++) {
            struct worker *const w = &pool.worker[n];

            if (atomic_load(&w->ended) || done(w))
                continue;
            left++;
            if (atomic_load(&w->waiting))
                pthread_kill(w->id, SIGUSR1); /* not joined yet, so the id is valid */
        }
        if (left && !told && now_ns() - begun > LONG_NS) {
            told = true;
            pool.server.late(left);
        }
        if (left)
            nanosleep(&nap, NULL);
    } while (left);
}

static bool has_settled(const struct worker *w)
{
    return atomic_load(&w->seen) == atomic_load(&pool.fence);
}

/* A thread that was interrupted in the kernel, and found no request there, has none. */
bool uring_settle(void)
{
    if (!uring_queues())
        return false;
    if (!atomic_load(&pool.settling))
        atomic_store(&pool.settling, now_ns());
    atomic_fetch_add(&pool.fence, 1);
    interrupt(has_settled);
    return atomic_exchange(&pool.wrote, false);
}

static bool never(const struct worker *w)
{
    (void)w;
    return false;
}

void uring_finish(void)
{
    if (pool.joined)
        return;
    if (!atomic_load(&pool.settling))
        atomic_store(&pool.settling, now_ns());
    atomic_store(&pool.stop, true);
    interrupt(never); /* until all have ended */
    for (unsigned n = 0; n < pool.count; n++)
        pthread_join(pool.worker[n].id, NULL);
    pool.joined = true; /* the table stays: a late answer may look into it */
    atomic_store(&pool.used, false);
}
