/* SPDX-License-Identifier: BSD-2-Clause
 *
 * times.c - servers whose times tell who changed what (--trust-times).
 *
 * Nobody on this machine can say who writes a server's file. If the user says so, its size and its
 * times tell. docs/decisions/trusted-times.md says why the following is enough, and needed:
 *
 * - Times count only when they are old: trust_times. A later change then has another time.
 * - What is stored in the pool is read at the server, past the pages that the client of the file
 *   system keeps on this machine. These can be older than the times: clients look whether they are
 *   right when somebody opens the file, and readers of this mount may have it open for long. So a
 *   reader's descriptor is opened with O_DIRECT, and a writer who reads has a second one for that.
 *   A file that cannot be read so is not cached.
 * - Some servers (MooseFS) show the time of a write up to a second after its fsync. Such times are
 *   whole seconds. There this mount sets the time of the last access, to what it is, before the
 *   first write and before an fsync or a close is answered. With it the server shows a new time of
 *   change at once. The one before the write is for a machine that dies before it could do the
 *   other one.
 *
 * Owns: announced and shown of an inode, store_fd of a handle. Who: cache.c and coherence.c ask for
 * the age, ops_open.c, ops_read.c and control_ops.c open and read, ops_write.c tells of writes.
 */
#include "mount.h"

#include <time.h>

#define NOT_YET (-2)
#define PAST_PAGES O_DIRECT

bool times_tell(const struct inode *i)
{
    return mnt.opt.trust_times > 0 && others_write() && !number_local(i->device);
}

bool times_are_young(int64_t changed_ns, const struct timespec *now)
{
    return (double)changed_ns >
           (double)now->tv_sec * 1e9 + (double)now->tv_nsec - mnt.opt.trust_times * 1e9;
}

/* ---- Reading what is stored ----------------------------------------------------------------- */

int times_flags(const struct inode *i)
{
    return times_tell(i) && !i->linked && !i->left_out ? PAST_PAGES : 0;
}

void times_opened(struct handle *h)
{
    const bool direct =
        !times_tell(h->inode) || (!h->writable && fcntl(h->fd, F_GETFL) & PAST_PAGES);

    atomic_init(&h->store_fd, direct ? h->fd : NOT_YET);
}

/* -1: none can be opened. */
int times_store_fd(struct handle *h)
{
    int fd = atomic_load(&h->store_fd), none = NOT_YET;

    if (fd != NOT_YET)
        return fd;
    fd = fstab_open(h->inode->fd, O_RDONLY | O_CLOEXEC | PAST_PAGES);
    if (fd < 0 || atomic_compare_exchange_strong(&h->store_fd, &none, fd))
        return fd;
    close(fd); /* another thread was faster */
    return none;
}

void times_closed(struct handle *h)
{
    const int fd = atomic_load(&h->store_fd);

    if (fd >= 0 && fd != h->fd)
        close(fd);
}

/* ---- Showing what was written --------------------------------------------------------------- */

/* By what its last validation saw. */
static bool shows_late(struct inode *i)
{
    bool late;

    if (!times_tell(i))
        return false;
    pthread_mutex_lock(&i->lock);
    late = i->seen.known && i->seen.mtim.tv_nsec == 0 && i->seen.ctim.tv_nsec == 0;
    pthread_mutex_unlock(&i->lock);
    return late;
}

static void set_change_time(int fd)
{
    struct timespec t[2] = { { 0, 0 }, { 0, UTIME_OMIT } };
    struct stat st;

    if (fstat(fd, &st) == 0) {
        t[0] = st.st_atim;
        (void)futimens(fd, t); /* fails: others see the write a second later */
    }
}

void times_write_begin(struct handle *h)
{
    if (shows_late(h->inode) && !atomic_exchange(&h->inode->announced, true))
        set_change_time(h->fd);
}

uint64_t times_sync_begin(const struct inode *i)
{
    return atomic_load(&i->changes_ended);
}

/* Changes up to `ended` are at the server. `shown` is set last: who syncs at the same time does it
 * once more. */
void times_sync_end(struct handle *h, uint64_t ended)
{
    struct inode *const i = h->inode;
    uint64_t shown = atomic_load(&i->shown);

    if (!h->writable || shown >= ended || !shows_late(i))
        return;
    atomic_store(&i->announced, false);
    set_change_time(h->fd);
    while (shown < ended && !atomic_compare_exchange_weak(&i->shown, &shown, ended))
        ;
}
