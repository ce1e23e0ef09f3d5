/* SPDX-License-Identifier: BSD-2-Clause
 *
 * wire.c - what the mount agrees with the kernel that libfuse does not know of.
 *
 * FUSE_HANDLE_KILLPRIV_V2: the mount clears set-user-id and set-group-id bits, and capabilities,
 * when the content changes (creds.c). Then the kernel does not ask for security.capability before
 * every write, which would be a second request for each.
 *
 * FUSE_DIRECT_IO_ALLOW_MMAP (Linux 6.6), with --coherence=strict or -o writeback: files that are
 * read or written past the kernel's pages can be mapped shared all the same.
 *
 * FUSE_OVER_IO_URING (Linux 6.14): requests come by io_uring (uring.c).
 *
 * It reads and writes for libfuse, and adds to the first reply, that to INIT. Replies to requests
 * that came by io_uring go back there. libfuse can be told to use these functions since 3.13; with
 * an older one nothing is agreed.
 *
 * Owns: what was agreed. Who: main.c begins; creds.c asks; all who answer without libfuse.
 */
#include "mount.h"

#include "uring.h"
#include "threads.h"

#include <linux/fuse.h>

#define ALLOW_MMAP (1u << (36 - 32)) /* FUSE_DIRECT_IO_ALLOW_MMAP, of flags2 */
#define INIT_EXT (1u << 30)          /* FUSE_INIT_EXT: flags2 counts */

static struct {
    uint64_t init;     /* number of the INIT request, until it is answered */
    bool offers_kills; /* the kernel can */
    bool offers_maps;
    bool offers_ring;
    bool ring;          /* the answer to INIT agrees to it */
    _Atomic bool kills; /* it was agreed */
} agreed;

bool wire_kills(void)
{
    return atomic_load_explicit(&agreed.kills, memory_order_relaxed);
}

#ifdef HAVE_CUSTOM_IO
static void look_at_init(const void *buf, size_t n)
{
    const struct fuse_in_header *const h = buf;
    const struct fuse_init_in *const in = (const void *)(h + 1);

    if (n < sizeof(*h) + offsetof(struct fuse_init_in, flags2) || h->opcode != FUSE_INIT)
        return;
    agreed.init = h->unique;
    agreed.offers_kills = in->flags & FUSE_HANDLE_KILLPRIV_V2;
    agreed.offers_maps =
        n >= sizeof(*h) + sizeof(*in) && (in->flags & INIT_EXT) && (in->flags2 & ALLOW_MMAP);
    agreed.offers_ring = uring_offered(buf, n);
}

/* Then libfuse must not know of it: it would write to the standard error by itself, and wait for
 * whoever reads that. */
static void complain(const char *what)
{
    if (!fuse_session_exited(mnt.se))
        say(CM_LOG_ERROR, "cannot %s: %s", what, strerror(errno));
}

static ssize_t wire_read(int fd, void *buf, size_t room, void *user)
{
    const ssize_t n = read(fd, buf, room);

    (void)user;
    if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT && errno != ENODEV) {
        complain("read requests");
        errno = ENODEV; /* the loops end as with any other error */
    }
    /* The kernel sends nothing else before INIT is answered. */
    if (n >= (ssize_t)sizeof(struct fuse_in_header) && !wire_kills())
        look_at_init(buf, (size_t)n);
    return n;
}

static const char *remedy(int error)
{
    return error == EPERM    ? "; look at sysctl kernel.io_uring_disabled"
           : error == ENOMEM ? "; look at the limit of locked memory (ulimit -l)"
           : error == EMFILE ? "; look at the limit of descriptors (ulimit -n)"
                             : "";
}

static bool begin_thread(void)
{
    void *const mem = loop_new_scratch();

    creds_thread_init();
    loop_use_scratch(mem);
    return mem != NULL;
}

static void agree_on_ring(struct fuse_init_out *out)
{
    static const struct uring_server server = { .serve = loop_take_ring,
                                                .begin = begin_thread,
                                                .end = loop_free_scratch,
                                                .late = threads_late };
    int rc;

    if (!agreed.offers_ring && mnt.opt.ring)
        say(CM_LOG_INFO, "io_uring is not used: the kernel does not offer it (Linux 6.14, "
                         "/sys/module/fuse/parameters/enable_uring)");
    if (!agreed.offers_ring || !mnt.opt.ring)
        return;
    if (mnt.opt.places > 1) {
        say(CM_LOG_INFO, "io_uring is not used with several directories in one process");
        return;
    }
    if (!direct_survives_ring()) {
        say(CM_LOG_INFO, "io_uring is not used: nobody could end the connection after a kill; "
                         "mount fusectl on /sys/fs/fuse/connections");
        return;
    }
    rc = uring_prepare(&server, fuse_session_fd(mnt.se), out);
    agreed.ring = rc > 0;
    if (rc < 0)
        say(CM_LOG_INFO, "io_uring is not used: %s%s", strerror(-rc), remedy(-rc));
    if (rc <= 0 || out->max_background <= rc)
        return;
    /* What the kernel sends ahead must not hold all threads of a CPU; direct.c counts on it. */
    out->max_background = (uint16_t)rc;
    out->congestion_threshold = (uint16_t)(rc * 3 / 4);
}

/* After the reply. */
static void begin_ring(bool sent)
{
    agreed.ring = false;
    if (uring_begin(sent))
        say(CM_LOG_INFO, "requests come by io_uring: %u CPUs, up to %u requests of each at a time",
            uring_queues(), uring_depth());
    else if (sent)
        say(CM_LOG_INFO, "io_uring is not used: the kernel refuses it");
}

/* Its head, then its body. */
static void add_to_init(struct iovec *iov, int count)
{
    const struct fuse_out_header *const h = iov[0].iov_base;
    struct fuse_init_out *const out = count > 1 ? iov[1].iov_base : NULL;

    if (h->unique != agreed.init)
        return;
    agreed.init = 0;
    if (h->error != 0 || !out || iov[1].iov_len < offsetof(struct fuse_init_out, max_pages))
        return;
    if ((is_strict() || mnt.opt.writeback) && agreed.offers_maps &&
        iov[1].iov_len >= sizeof(*out)) {
        out->flags |= INIT_EXT;
        out->flags2 |= ALLOW_MMAP;
    }
    if (agreed.offers_kills) {
        out->flags |= FUSE_HANDLE_KILLPRIV_V2;
        atomic_store(&agreed.kills, true);
    }
    if (iov[1].iov_len >= sizeof(*out))
        agree_on_ring(out);
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *user)
{
    const struct fuse_out_header *const head = iov[0].iov_base;
    bool failed;
    ssize_t n;

    (void)user;
    if (uring_answer(iov, count))
        return (ssize_t)head->len;
    if (agreed.init != 0)
        add_to_init(iov, count);
    n = writev(fd, iov, count);
    failed = n < 0 && errno != ENOENT; /* that is no fault: interrupted */
    if (failed)
        complain(head->unique ? "answer a request" : "notify the kernel");
    if (agreed.ring)
        begin_ring(n > 0);
    return failed ? (ssize_t)head->len : n; /* who answers counts it as taken either way */
}

int wire_begin(void)
{
    static const struct fuse_custom_io io = { .read = wire_read, .writev = wire_writev };

    return fuse_session_custom_io(mnt.se, &io, fuse_session_fd(mnt.se));
}
#else
int wire_begin(void)
{
    return 0;
}
#endif

int wire_answer(const struct iovec *iov, int count)
{
    if (uring_answer(iov, count))
        return 0;
    return writev(fuse_session_fd(mnt.se), iov, count) < 0 ? -errno : 0;
}

int wire_drop_pages(const struct inode *i)
{
    struct {
        struct fuse_out_header h;
        struct fuse_notify_inval_inode_out range; /* off and len 0: all */
    } m = { .h = { .len = sizeof(m), .error = FUSE_NOTIFY_INVAL_INODE },
            .range = { .ino = (uintptr_t)i } };
    const struct iovec iov = { &m, sizeof(m) };

    return wire_answer(&iov, 1);
}
