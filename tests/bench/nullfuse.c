/* SPDX-License-Identifier: BSD-2-Clause
 *
 * nullfuse.c - the yardstick of cachemax-mount: a FUSE file system that does nothing.
 *
 * One file, "data", of a given size, whose bytes lie in memory. Each loop thread receives a
 * request and replies to it at once, the same way as the loops of cachemax-mount do, so the
 * difference between the two is what the cache costs. No table, no locks, no copies but the
 * kernel's; with "copy" one more, into a buffer of the thread's, as a mount makes that does not
 * reply straight from its pool. With "uring" requests come by io_uring, as the mount has it
 * (examples/mount/uring.c): the reply is copied into the ring.
 *
 * usage: nullfuse DIR BYTES [LOOPS [copy|uring]]     (foreground; ends when DIR is unmounted)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FUSE_USE_VERSION 312

#include "../../examples/mount/uring.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DATA_INO 2

static struct fuse_session *se;
static char *data;
static size_t data_size;
static int copies;
#define BUFFER (1u << 20)
static _Thread_local char *buffer; /* of a loop; a thread of the ring has none */

static void attr_of(fuse_ino_t ino, struct stat *st)
{
    *st = (struct stat){ .st_ino = ino, .st_nlink = 1 };
    st->st_mode = ino == DATA_INO ? S_IFREG | 0444 : S_IFDIR | 0555;
    st->st_size = ino == DATA_INO ? (off_t)data_size : 0;
}

static void op_init(void *user, struct fuse_conn_info *conn)
{
    (void)user;
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    conn->max_background = 64;
    conn->congestion_threshold = 48;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = { .ino = DATA_INO, .attr_timeout = 10, .entry_timeout = 10 };

    if (parent != FUSE_ROOT_ID || strcmp(name, "data")) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    attr_of(DATA_INO, &e.attr);
    fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    attr_of(ino, &st);
    fuse_reply_attr(req, &st, 10);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    if ((size_t)off >= data_size)
        size = 0;
    else if (size > data_size - (size_t)off)
        size = data_size - (size_t)off;
    if (uring_room())
        fuse_reply_buf(req, memcpy(uring_room(), data + off, size), size);
    else if (copies && buffer && size <= BUFFER)
        fuse_reply_buf(req, memcpy(buffer, data + off, size), size);
    else
        fuse_reply_buf(req, data + off, size);
}

static const struct fuse_lowlevel_ops ops = {
    .init = op_init, .lookup = op_lookup, .getattr = op_getattr, .open = op_open, .read = op_read
};

static void *loop(void *arg)
{
    struct fuse_buf buf = { .mem = NULL };

    buffer = copies ? aligned_alloc(4096, BUFFER) : NULL;
    while (!fuse_session_exited(se)) {
        int n = fuse_session_receive_buf(se, &buf);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            break;
        fuse_session_process_buf(se, &buf);
    }
    free(buf.mem);
    free(buffer);
    fuse_session_exit(se);
    return arg;
}

#ifdef HAVE_CUSTOM_IO
static int offered, agreed;

static void serve(void *request, size_t size)
{
    const struct fuse_buf buf = { .mem = request, .size = size };

    fuse_session_process_buf(se, &buf);
}

static ssize_t ring_read(int fd, void *buf, size_t room, void *user)
{
    const ssize_t n = read(fd, buf, room);

    (void)user;
    if (n > 0 && uring_offered(buf, (size_t)n))
        offered = 1;
    return n;
}

static ssize_t ring_writev(int fd, struct iovec *iov, int count, void *user)
{
    static const struct uring_server server = { .serve = serve };
    ssize_t n;

    (void)user;
    if (uring_answer(iov, count))
        return (ssize_t)((const struct fuse_out_header *)iov[0].iov_base)->len;
    /* The first reply is that to INIT. */
    agreed = offered && count > 1 && iov[1].iov_len >= sizeof(struct fuse_init_out) &&
             uring_prepare(&server, fd, iov[1].iov_base) > 0;
    if (offered && !agreed)
        fprintf(stderr, "nullfuse: io_uring cannot be used\n");
    offered = 0;
    n = writev(fd, iov, count);
    if (agreed && !uring_begin(n > 0))
        fprintf(stderr, "nullfuse: the kernel refuses io_uring\n");
    agreed = 0;
    return n;
}

static int use_ring(void)
{
    static const struct fuse_custom_io io = { .read = ring_read, .writev = ring_writev };

    return fuse_session_custom_io(se, &io, fuse_session_fd(se));
}
#else
static int use_ring(void)
{
    return -ENOTSUP;
}
#endif

static void nothing(int sig)
{
    (void)sig; /* interrupts the threads of the ring at the end */
}

int main(int argc, char **argv)
{
    char *fuse_argv[] = { argv[0], NULL };
    struct fuse_args args = FUSE_ARGS_INIT(1, fuse_argv);
    int loops = argc > 3 ? atoi(argv[3]) : 1;
    pthread_t thread[64];

    copies = argc > 4 && strcmp(argv[4], "copy") == 0;
    data_size = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (!data_size || loops < 1 || loops > 64) {
        fprintf(stderr, "usage: nullfuse DIR BYTES [LOOPS [copy|uring]]\n");
        return 2;
    }
    data = mmap(NULL, data_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
                -1, 0);
    if (data == MAP_FAILED)
        return 1;
    memset(data, 0x5a, data_size);
    se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
    if (!se || fuse_session_mount(se, argv[1]))
        return 1;
    signal(SIGUSR1, nothing);
    if (argc > 4 && strcmp(argv[4], "uring") == 0 && use_ring() < 0)
        return 1;
    for (int i = 1; i < loops; i++)
        if (pthread_create(&thread[i], NULL, loop, NULL))
            return 1;
    loop(NULL);
    for (int i = 1; i < loops; i++)
        pthread_join(thread[i], NULL);
    uring_finish();
    fuse_session_destroy(se);
    return 0;
}
