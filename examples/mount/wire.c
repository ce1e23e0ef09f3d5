/* SPDX-License-Identifier: BSD-2-Clause
 *
 * wire.c - what the mount agrees with the kernel that libfuse does not know of.
 *
 * FUSE_HANDLE_KILLPRIV_V2: the mount clears set-user-id and set-group-id bits, and capabilities,
 * when the content changes (creds.c). Then the kernel does not ask for security.capability before
 * every write, which would be a second request for each.
 *
 * FUSE_DIRECT_IO_ALLOW_MMAP (Linux 6.6), with --coherence=strict: files that are read past the
 * kernel's pages can be mapped shared all the same.
 *
 * It reads and writes for libfuse, and adds to the first reply, that to INIT. libfuse can be told
 * to use these functions since 3.13; with an older one nothing is agreed.
 *
 * Owns: what was agreed. Who: main.c begins; creds.c asks.
 */
#include "mount.h"

#include <linux/fuse.h>
#include <sys/uio.h>

#define ALLOW_MMAP (1u << (36 - 32)) /* FUSE_DIRECT_IO_ALLOW_MMAP, of flags2 */
#define INIT_EXT (1u << 30)          /* FUSE_INIT_EXT: flags2 counts */

static struct {
    uint64_t init;     /* number of the INIT request, until it is answered */
    bool offers_kills; /* the kernel can */
    bool offers_maps;
    _Atomic bool kills; /* it was agreed */
} agreed;

bool wire_kills(void)
{
    return atomic_load_explicit(&agreed.kills, memory_order_relaxed);
}

#ifdef HAVE_CUSTOM_IO
static void look_at_init(const struct fuse_in_header *h, size_t n)
{
    const struct fuse_init_in *const in = (const void *)(h + 1);

    if (n < sizeof(*h) + offsetof(struct fuse_init_in, flags2) || h->opcode != FUSE_INIT)
        return;
    agreed.init = h->unique;
    agreed.offers_kills = in->flags & FUSE_HANDLE_KILLPRIV_V2;
    agreed.offers_maps =
        n >= sizeof(*h) + sizeof(*in) && (in->flags & INIT_EXT) && (in->flags2 & ALLOW_MMAP);
}

static ssize_t wire_read(int fd, void *buf, size_t room, void *user)
{
    const ssize_t n = read(fd, buf, room);

    (void)user;
    /* The kernel sends nothing else before INIT is answered. */
    if (n >= (ssize_t)sizeof(struct fuse_in_header) && !wire_kills())
        look_at_init(buf, (size_t)n);
    return n;
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
    if (is_strict() && agreed.offers_maps && iov[1].iov_len >= sizeof(*out)) {
        out->flags |= INIT_EXT;
        out->flags2 |= ALLOW_MMAP;
    }
    if (!agreed.offers_kills)
        return;
    out->flags |= FUSE_HANDLE_KILLPRIV_V2;
    atomic_store(&agreed.kills, true);
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *user)
{
    (void)user;
    if (agreed.init != 0)
        add_to_init(iov, count);
    return writev(fd, iov, count);
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
