/* SPDX-License-Identifier: BSD-2-Clause
 *
 * paranoid.c - --paranoid: every answer from the cache is compared with the origin.
 *
 * The reader always gets the origin's bytes. The first difference is logged, and from then on
 * nothing is answered from the cache. All changes keep their brackets, so the pool does not become
 * more wrong than it is, and it is left as evidence. The exit status of the mount tells, too.
 *
 * NO FALSE ALARM  A change that runs beside the read may come between the two reads. So a
 * difference counts only if no change through the mount was open when the cache was read, none has
 * begun since, and nobody else writes: with other writers the file is validated after both reads,
 * and must be of the version of before.
 *
 * Owns: whether there was a difference. Who: ops_read.c on a worker; main.c at the end.
 */
#include "mount.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static _Atomic bool found;

bool paranoid_found(void)
{
    return atomic_load_explicit(&found, memory_order_relaxed);
}

void paranoid_begin(struct paranoid *p, struct inode *i)
{
    /* In this order: they are equal only if no change was open at a moment in between. */
    const uint64_t ended = atomic_load(&i->changes_ended);

    p->inode = i;
    p->begun = atomic_load(&i->changes_begun);
    p->quiet = p->begun == ended;
    p->version = file_version(i);
}

/* Could nothing have changed between the two reads? */
static bool is_certain(const struct paranoid *p)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    int64_t until;

    if (!p->quiet || atomic_load(&p->inode->changes_begun) != p->begun ||
        !file_is_ours(p->inode, &until))
        return false;
    return !others_write() ||
           (file_revalidate(p->inode, &info) == 0 && !info.racy && info.incarnation == p->version);
}

static size_t first_difference(const uint8_t *a, size_t na, const uint8_t *b, size_t nb)
{
    const size_t both = na < nb ? na : nb;
    size_t at = 0;

    while (at < both && a[at] == b[at])
        at++;
    return at;
}

/* Checksum of what a buffer, which begins at `off`, has of the block at `block`. */
static uint64_t sum(const uint8_t *buf, size_t n, uint64_t off, uint64_t block)
{
    const uint64_t from = block > off ? block - off : 0, end = block + CM_BLOCK_SIZE - off;

    return from >= n ? 0 : XXH3_64bits(buf + from, (size_t)((end < n ? end : n) - from));
}

static void alarm_once(const struct paranoid *p, const uint8_t *had, size_t n,
                       const uint8_t *origin, size_t is, uint64_t off)
{
    const uint64_t block =
        (off + first_difference(had, n, origin, is)) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    char path[PATH_MAX];

    if (atomic_exchange(&found, true))
        return;
    (void)path_of_fd(p->inode->fd, path, sizeof(path));
    say(CM_LOG_ERROR,
        "%s: WRONG BYTES IN THE CACHE at offset %llu: XXH3 %016llx, at the origin %016llx; "
        "programs got those of the origin, and nothing is read from the cache any more",
        path, (unsigned long long)block, (unsigned long long)sum(had, n, off, block),
        (unsigned long long)sum(origin, is, off, block));
}

int64_t paranoid_end(const struct paranoid *p, void *buf, int64_t n, int64_t is, const void *origin,
                     uint64_t off)
{
    if (is < 0)
        return is;
    if (n == is && !memcmp(buf, origin, (size_t)n))
        return n;
    if (is_certain(p))
        alarm_once(p, buf, (size_t)n, origin, (size_t)is, off);
    memcpy(buf, origin, (size_t)is);
    return is;
}
