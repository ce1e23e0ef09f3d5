/* SPDX-License-Identifier: BSD-2-Clause
 *
 * proof.c - when a sync proves that the origin has what the cache has.
 *
 * The kernel reports a page that it could not write once to every descriptor that was open then,
 * and after that to nobody; it keeps the page and takes it for written. So the first error counts,
 * and a descriptor that is younger than the loss proves nothing by a sync that succeeds. The
 * descriptors of the attachments may be such: somebody else may have been told before, or the
 * kernel may have forgotten inode and error in between. Hence a witness for every volume
 * (number.c): a descriptor as old as its first file here. syncfs on it tells of every loss on the
 * volume since, though not in which file; after one no sync there is a proof any more in this
 * mount. syncfs writes all that is dirty on the volume, so proofs come in batches, one syncfs for
 * each. Losses that somebody was told of before the mount began cannot be seen.
 *
 * An error that a background sync was told of would be news to a user's descriptor opened later,
 * and readers share the descriptor of the attachment. So it is kept with the inode, and every
 * handle that the kernel does not tell is told once: those that were open, and those opened before
 * any user was. Until a user is told, the inode is held: the kernel may forget the name.
 *
 * Callers: keeper.c, and cache.c for the syncs of users, which have older descriptors.
 */
#include "mount.h"

static _Atomic uint64_t kept; /* inodes that are held for a loss */

/* The file system cannot do it; that says nothing about the data. */
static bool cannot(int err)
{
    return err == EINVAL || err == EROFS || err == ENOSYS;
}

static void ask_witness(struct device *d)
{
    if (syncfs(number_witness(d)) == 0 || cannot(errno) || number_lost(d, true))
        return;
    say(CM_LOG_ERROR,
        "%s: a volume lost data that was written to some file (%s): nothing on it counts as synced "
        "any more until the next mount, and a power cut then costs the blocks of changed files",
        mnt.opt.dir, strerror(errno));
}

void proof_begin(struct proof *p, struct inode *i, int fd, bool datasync)
{
    *p = (struct proof){ .inode = i };
    p->open = cm_sync_begin(i->cf, &p->sync) == 0;
    p->err = (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0;
}

/* Of the descriptor that all share. Lock held. */
static void note_loss(struct inode *i, int err, bool told)
{
    i->losses++;
    i->loss = err;
    i->told = told;
}

/* A loss that no user was told of outlives the name of the file. Lock held. */
static void keep(struct inode *i)
{
    if (i->kept || i->unlinked || atomic_load(&kept) >= keeper_names_max() / 8)
        return;
    i->kept = true;
    atomic_fetch_add(&kept, 1);
    inode_hold(i);
}

/* True: the reference is the caller's. Lock held. */
static bool unkeep(struct inode *i)
{
    bool was = i->kept;

    if (was)
        atomic_fetch_sub(&kept, 1);
    i->kept = false;
    return was;
}

void proof_gone(struct inode *i)
{
    bool was;

    pthread_mutex_lock(&i->lock);
    was = unkeep(i);
    pthread_mutex_unlock(&i->lock);
    if (was)
        inode_put(i);
}

void proof_begin_alone(struct proof *p, struct inode *i)
{
    pthread_mutex_lock(&i->lock);
    i->proving = true;
    pthread_mutex_unlock(&i->lock);
    proof_begin(p, i, i->rfd, false);
    pthread_mutex_lock(&i->lock);
    i->proving = false;
    if (p->err && !cannot(p->err)) {
        note_loss(i, p->err, false);
        keep(i);
    }
    pthread_mutex_unlock(&i->lock);
}

void proof_opened(struct handle *h)
{
    struct inode *i = h->inode;

    pthread_mutex_lock(&i->lock);
    h->owed = i->losses > 0 && !i->told;
    h->shares = !h->own_fd || i->proving; /* which may have been told already */
    h->losses = i->losses;
    pthread_mutex_unlock(&i->lock);
}

int proof_tell(struct handle *h, int err)
{
    struct inode *i = h->inode;
    bool was = false;

    if (cannot(err))
        return err;
    pthread_mutex_lock(&i->lock);
    /* A background sync that is under way may be told of the same loss: the handle knows it then.
     */
    while (h->shares && i->proving) {
        pthread_mutex_unlock(&i->lock);
        usleep(1000);
        pthread_mutex_lock(&i->lock);
    }
    if (err && !h->own_fd)
        note_loss(i, err, true);
    if (!err && (h->owed || (h->shares && h->losses != i->losses)))
        err = i->loss;
    if (err) {
        i->told = true;
        h->owed = false;
        h->losses = i->losses;
        was = unkeep(i);
    }
    pthread_mutex_unlock(&i->lock);
    if (was)
        inode_put(i); /* the handle has another */
    return err;
}

void proof_end(struct proof *p)
{
    cm_file_id id;
    cm_validator v;
    bool fresh;

    if (!p->open || cannot(p->err) || (p->err == 0 && number_lost(p->inode->device, false)))
        return; /* nothing is known: what was dirty stays so */
    fresh = file_identify(p->inode, p->inode->rfd, &id, &v) == 0;
    cm_sync_end(p->inode->cf, &p->sync, p->err == 0, fresh ? &v : NULL);
    keeper_schedule(p->inode);
}

/* Was the device of v[k] asked for an earlier one? */
static bool asked(const struct proof *v, size_t k)
{
    for (size_t j = 0; j < k; j++)
        if (v[j].err == 0 && v[j].inode->device == v[k].inode->device)
            return true;
    return false;
}

void proofs_end(struct proof *v, size_t n)
{
    /* After the syncs: what they wrote, or found written, has been reported to the volume. */
    for (size_t k = 0; k < n; k++) {
        struct device *d = v[k].inode->device;
        if (v[k].err == 0 && !asked(v, k) && number_witness(d) >= 0 && !number_lost(d, false))
            ask_witness(d);
    }
    for (size_t k = 0; k < n; k++) {
        if (v[k].err == 0 && number_witness(v[k].inode->device) < 0)
            v[k].open = false; /* nobody can tell what was lost before */
        proof_end(&v[k]);
    }
}
