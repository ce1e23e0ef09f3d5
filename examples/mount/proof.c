/* SPDX-License-Identifier: BSD-2-Clause
 *
 * proof.c - when a sync proves that the origin has what the cache has.
 *
 * If the kernel cannot write a page, it reports that once to every descriptor that is open then,
 * and to nobody later. It keeps the page and takes it for written. So the first error counts, and a
 * successful sync proves nothing on a descriptor that is younger than the loss. The descriptors of
 * the attachments may be younger: somebody else may have been told before, or the kernel may have
 * forgotten inode and error in between. Therefore every volume has a witness (number.c): a
 * descriptor as old as its first file here. syncfs on it reports every loss on the volume since
 * then, but not in which file. After such a report no sync there is a proof any more in this mount.
 * syncfs writes all dirty data of the volume, so proofs come in batches, with one syncfs for each.
 * Losses that were reported to others before the mount began cannot be seen.
 *
 * If a background sync gets an error, a user's descriptor that is opened later would not get it,
 * and readers share the descriptor of the attachment. So the error is kept with the inode. Every
 * handle that the kernel does not tell is told once: the handles that were open, and those that are
 * opened before any user was told. Until a user is told, the inode is held, because the kernel may
 * forget its name.
 *
 * A user's sync needs no witness if its descriptor is older than the unsynced data: no change was
 * unproved when it was opened, or all such changes have been proved since. Otherwise the keeper is
 * asked for a proof.
 *
 * Who: keeper.c; cache.c for the syncs of users; ops_open.c, number.c, main.c.
 */
#include "mount.h"
#include "relief.h"

#include <limits.h>

static _Atomic uint64_t kept; /* inodes that are held for a loss */

/* The file system cannot do it. That says nothing about the data. */
static bool cannot(int err)
{
    return err == EINVAL || err == EROFS || err == ENOSYS;
}

void proof_fail(struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    struct sync s;

    if (cm_file_get_info(i->cf, &info) >= 0 && info.dirty && !info.bypassed &&
        mnt.backing->sync_begin(i, &s) == 0)
        mnt.backing->sync_end(i, &s, false, NULL);
}

/* Attached files of the volume d: their cached blocks may be the ones that were lost. */
static void fail_on(struct inode *i, void *d)
{
    if (i->device == d && file_use_attached(i)) {
        proof_fail(i);
        file_unuse(i);
    }
}

static void ask_witness(struct device *d)
{
    if (syncfs(number_witness(d)) == 0 || cannot(errno) || number_lost(d, true))
        return;
    say(CM_LOG_ERROR,
        "%s: a volume lost data that was written to some file (%s): files on it that are not "
        "synced are not cached any more, and nothing counts as synced there until the next mount",
        mnt.opt.dir, strerror(errno));
    number_forget_left(d);
    inode_each(number_far(d), fail_on, d);
}

void proof_begin(struct proof *p, struct inode *i, int fd, bool datasync)
{
    *p = (struct proof){ .inode = i };
    p->open = mnt.backing->sync_begin(i, &p->sync) == 0;
    p->err = (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0;
}

/* Of the descriptor that all share. Lock held. */
static void note_loss(struct inode *i, int err, bool told)
{
    i->losses++;
    i->loss = err;
    i->told = told;
}

/* A loss of which no user was told outlives the name of the file. Lock held. */
static void keep(struct inode *i)
{
    if (i->kept || i->unlinked || atomic_load(&kept) >= relief_names_max() / 8)
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
    i->told_now = false;
    pthread_mutex_unlock(&i->lock);
    proof_begin(p, i, i->rfd, false);
    pthread_mutex_lock(&i->lock);
    i->proving = false;
    if (p->err && !cannot(p->err)) {
        note_loss(i, p->err, i->told_now);
        if (!i->told)
            keep(i);
    }
    pthread_mutex_unlock(&i->lock);
}

/* The number of proofs from which on a sync is a proof, with a descriptor that was opened just now.
 */
static uint64_t needs(const struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };

    return i->proofs + (!i->cf || cm_file_get_info(i->cf, &info) < 0 || info.dirty);
}

void proof_attached(struct inode *i)
{
    i->rfd_needs = needs(i);
}

void proof_opened(struct handle *h, bool made)
{
    struct inode *i = h->inode;

    pthread_mutex_lock(&i->lock);
    h->needs = made ? i->proofs : h->own_fd ? needs(i) : i->rfd_needs;
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
    /* A background sync that is running may be told of the same loss. Then the handle knows of it.
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
        i->told = i->told_now = true;
        h->owed = false;
        h->losses = i->losses;
        was = unkeep(i);
    }
    pthread_mutex_unlock(&i->lock);
    if (was)
        inode_put(i); /* the handle has another */
    return err;
}

static void proof_end(struct proof *p)
{
    struct inode *i = p->inode;
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    bool fresh;

    if (!p->open || cannot(p->err) || (p->err == 0 && number_lost(i->device, false)))
        return; /* nothing is known: what was dirty stays dirty */
    fresh = file_identify(i, i->rfd, &id, &v) == 0;
    mnt.backing->sync_end(i, &p->sync, p->err == 0, fresh ? &v : NULL);
    if (p->err == 0 && cm_file_get_info(i->cf, &info) >= 0 && !info.dirty) {
        pthread_mutex_lock(&i->lock);
        i->proofs++;
        pthread_mutex_unlock(&i->lock);
        checkpoint_proof();
    }
    keeper_schedule(i);
}

void proof_end_of(struct proof *p, const struct handle *h)
{
    struct inode *i = p->inode;
    bool proves;

    pthread_mutex_lock(&i->lock);
    proves = i->proofs >= h->needs && number_proves(i->device);
    pthread_mutex_unlock(&i->lock);
    if (p->err || proves)
        proof_end(p);
    else
        keeper_prove(i);
}

static bool is_kept(struct inode *i)
{
    bool is;

    pthread_mutex_lock(&i->lock);
    is = i->kept;
    pthread_mutex_unlock(&i->lock);
    return is;
}

enum untold { NOTHING, LOST, UNANSWERED };

/* A server's error may be no more than that it is gone: then nothing is lost that this mount has
 * not written there. The error of a local file system is of pages that somebody wrote. */
static enum untold untold_of(struct inode *i)
{
    enum untold u = NOTHING;

    pthread_mutex_lock(&i->lock);
    if (i->losses > 0 && !i->told && !i->unlinked)
        u = number_local(i->device) || atomic_load(&i->changed) ? LOST : UNANSWERED;
    pthread_mutex_unlock(&i->lock);
    return u;
}

struct untold_files {
    unsigned lost, unanswered;
    char path[PATH_MAX]; /* of the first one that is unanswered, with its errno */
    int err;
};

/* A user who opens it later would be told, but nobody can open it later. */
static void say_untold(struct inode *i, void *ctx)
{
    const enum untold u = untold_of(i);
    struct untold_files *f = ctx;
    char path[PATH_MAX];

    if (u == LOST) {
        f->lost++;
        (void)path_of_fd(i->fd, path, sizeof(path));
        say(CM_LOG_ERROR, "%s: data that was written to it is lost, and no program was told: %s",
            path, strerror(i->loss));
    } else if (u == UNANSWERED && f->unanswered++ == 0) {
        (void)path_of_fd(i->fd, f->path, sizeof(f->path));
        f->err = i->loss;
    }
}

bool proof_untold(bool far)
{
    struct untold_files f = { .lost = 0 };

    inode_each(far, say_untold, &f);
    if (f.unanswered)
        say(CM_LOG_WARNING,
            "%s: its file system does not answer a sync (%s). This mount has not written to it, "
            "nor to %u others without an answer: look whether that file system is there",
            f.path, strerror(f.err), f.unanswered - 1);
    return f.lost > 0;
}

/* Files without a name whose loss is kept take room. */
static void let_go_of_gone(struct inode *i, void *ctx)
{
    struct stat st;

    (void)ctx;
    if (is_kept(i) && !inode_stat(i, &st) && !st.st_nlink)
        proof_gone(i);
}

void proof_look(bool far)
{
    if (atomic_load(&kept))
        inode_each(far, let_go_of_gone, NULL);
}

bool proof_vouched(struct device *d)
{
    if (number_witness(d) >= 0 && !number_lost(d, false))
        ask_witness(d);
    return !number_lost(d, false);
}

/* Was the device of v[k] already asked for an earlier one? */
static bool asked(const struct proof *v, size_t k)
{
    for (size_t j = 0; j < k; j++)
        if (v[j].err == 0 && v[j].inode->device == v[k].inode->device)
            return true;
    return false;
}

void proofs_end(struct proof *v, size_t n)
{
    /* After the syncs: errors in what they wrote, or found written, were reported to the volume. */
    for (size_t k = 0; k < n; k++) {
        struct device *d = v[k].inode->device;
        if (v[k].err == 0 && !asked(v, k) && number_witness(d) >= 0 && !number_lost(d, false))
            ask_witness(d);
    }
    for (size_t k = 0; k < n; k++) {
        if (v[k].err == 0 && number_witness(v[k].inode->device) < 0)
            v[k].open = false; /* what was lost before is not known */
        proof_end(&v[k]);
    }
}
