/* SPDX-License-Identifier: BSD-2-Clause
 *
 * keeper.c - work that is done a little later, by background threads.
 *
 * - A validator that was taken right after a change proves nothing (racy). It is taken again a
 *   quarter of a second later, so that the file is warm after the next mount. Until then the keeper
 *   checks every few milliseconds that the mount is still there: changes up to that moment are
 *   ours.
 * - A file that changed since the boot is "born dirty" until an fsync proves that the origin holds
 *   it. The keeper does that fsync for files that are only read, once per attachment. It waits
 *   until the origin was not read for a second, because an fsync may hold up reads, but at most
 *   half a minute. It works in batches (proof.c). It does the same half a minute later for files
 *   for which a user's sync proved nothing; and for files that were written through the mount, if
 *   then they are warm after a power cut. (The kernel writes dirty pages back as late as that.)
 * - Once a second what has the blocks is asked to look around (backing.h).
 * - What is open is looked at for changes of others (coherence.c).
 * - Names are given back before descriptors run out (relief.c).
 *
 * There are two lists, each in order of time, because the delay of each is constant. What
 * keeper_detach() adds is due at once, but comes behind what waits: for DELAY_NS at most. If a DIR
 * lost its mount, its files come first, so that its file system can be unmounted. A listed inode is
 * held. A file that loses its last name leaves the lists, so that its room on the disk is free. At
 * the end finish() does the rest, within SYNC_BUDGET_NS.
 *
 * There are two such threads. One is for file systems that may wait for a server, and detaches
 * their idle files. The other one is for all other file systems, and for work that belongs to no
 * file system. A server that does not answer stops only the first thread. The end waits for that
 * thread for FAR_BUDGET_NS.
 */
#include "mount.h"
#include "relief.h"

#include <timed_wait.h> /* examples/wait */

#define DELAY_NS 250000000ull
#define TICK_NS 10000000ull /* a program that unmounts takes longer to start */
#define POLL_NS 200000000ull
#define LOOK_NS 1000000000ull
#define GONE_NS 10000000000ull
#define QUIET_NS 1000000000ull
#define PROOF_NS 30000000000ull
#define PROOFS_MAX 64 /* one syncfs for so many */
/* A time in the future stays racy. Ten seconds are enough for any granularity of times. */
#define TRIES_MAX 40
#define RACY_BUDGET_NS 3000000000ull
#define SYNC_BUDGET_NS 10000000000ull
#define FAR_BUDGET_NS (SYNC_BUDGET_NS + RACY_BUDGET_NS + 1000000000)

struct list {
    struct inode *head, **tail;
};
static struct keeper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list validators, proofs;
    pthread_t thread;
    bool far; /* number_far */
    bool stop, ended;
    uint64_t looked_ns; /* by the thread itself */
} keepers[2];
static _Atomic bool ending;
static _Atomic uint64_t origin_read_ns; /* cm_now() of the last read of the origin */

static struct keeper *keeper_of(const struct inode *i)
{
    return &keepers[number_far(i->device)];
}

/* `named`: only if it has a name. A listed inode is held, and a file without a name would keep its
 * room on the disk for as long. */
static void append(struct keeper *k, struct list *l, struct inode *i, uint64_t delay_ns, bool named)
{
    pthread_mutex_lock(&k->lock);
    if (!i->scheduled && !(named && atomic_load(&i->unlinked))) {
        inode_hold(i);
        i->scheduled = true;
        i->due_ns = cm_now() + delay_ns;
        i->due_next = NULL;
        i->due_at = l->tail;
        *l->tail = i;
        l->tail = &i->due_next;
        if (l->head == i)
            pthread_cond_signal(&k->wake);
    }
    pthread_mutex_unlock(&k->lock);
}

void keeper_schedule(struct inode *i)
{
    struct keeper *k = keeper_of(i);

    atomic_store(&i->tries, 0);
    append(k, &k->validators, i, DELAY_NS, true);
}

void keeper_prove(struct inode *i)
{
    struct keeper *k = keeper_of(i);

    atomic_store(&i->asked, true);
    append(k, &k->proofs, i, PROOF_NS, true);
}

void keeper_detach(struct inode *i)
{
    struct keeper *k = keeper_of(i);

    atomic_store(&i->surplus, true);
    append(k, &k->validators, i, 0, false);
}

void keeper_origin_read(void)
{
    atomic_store_explicit(&origin_read_ns, cm_now(), memory_order_relaxed);
}

bool keeper_has(struct inode *i)
{
    struct keeper *k = keeper_of(i);
    bool has;

    pthread_mutex_lock(&k->lock);
    has = i->scheduled;
    pthread_mutex_unlock(&k->lock);
    return has;
}

/* There are more names than there should be. Listed inodes are held, so they are finished at once,
 * although their files are then cold at the next mount. */
static bool pressed(void)
{
    return inode_count() >= relief_names_max();
}

/* Lock held. */
static void take(struct list *l, struct inode *i)
{
    *i->due_at = i->due_next;
    if (i->due_next)
        i->due_next->due_at = i->due_at;
    else
        l->tail = i->due_at;
    i->scheduled = false;
}

static struct inode *pop(struct list *l)
{
    struct inode *i = l->head;

    take(l, i);
    return i;
}

static bool quiet(void)
{
    return cm_now() - atomic_load_explicit(&origin_read_ns, memory_order_relaxed) > QUIET_NS;
}

/* A file that is asked for, or was written, may be written all the time: do not prove it more
 * often.
 */
static bool proof_due(const struct inode *i)
{
    return i->due_ns <= cm_now() || pressed() ||
           (quiet() && !atomic_load(&i->asked) && !i->written);
}

/* NULL: there is nothing to do yet. *proof: it is the turn of a proof. */
static struct inode *pop_due(struct keeper *k, bool *proof)
{
    struct inode *v = k->validators.head, *p = k->proofs.head;

    *proof = false;
    if (v && (v->due_ns <= cm_now() || pressed()))
        return pop(&k->validators);
    *proof = true;
    if (p && proof_due(p))
        return pop(&k->proofs);
    return NULL;
}

/* Done with an inode that was listed. */
static void let_go(struct inode *i)
{
    if (!inode_known(i))
        file_detach_idle(i);
    inode_put(i);
}

void keeper_gone(struct inode *i)
{
    struct keeper *k = keeper_of(i);
    bool was;

    pthread_mutex_lock(&k->lock);
    was = i->scheduled;
    if (was)
        take(k->proofs.tail == &i->due_next ? &k->proofs : &k->validators, i);
    pthread_mutex_unlock(&k->lock);
    if (was)
        let_go(i);
}

struct batch {
    size_t n;
    struct proof v[PROOFS_MAX];
};

static void settle(struct batch *b)
{
    proofs_end(b->v, b->n);
    for (size_t n = 0; n < b->n; n++) {
        file_unuse(b->v[n].inode);
        let_go(b->v[n].inode);
    }
    b->n = 0;
}

static bool wants_proof(const struct inode *i, const cm_file_info *info)
{
    return info->dirty && !info->bypassed &&
           (atomic_load(&i->asked) || (i->written ? mnt.backing->pays_to_sync() : !i->proved));
}

/* Looks at a file, or with `proof` syncs it: a file that nobody wrote through the mount, or one
 * that is asked for. True: it is in the batch, and in use. */
static bool check(struct keeper *k, struct inode *i, bool proof, struct batch *b)
{
    cm_file_info info = { .size = 0 };
    struct list *again = NULL;
    const bool last = inode_left(i);

    if (!file_use_attached(i))
        return false;
    if (cache_on() && file_revalidate(i, &info) >= 0) {
        if ((info.racy || info.want_validator) && !last &&
            atomic_fetch_add(&i->tries, 1) < TRIES_MAX) {
            again = &k->validators;
        } else if (wants_proof(i, &info) && !proof && !last) {
            again = &k->proofs;
        } else if (wants_proof(i, &info)) {
            i->proved = true;
            i->written = false; /* what is written from now on is not proved */
            atomic_store(&i->asked, false);
            proof_begin_alone(&b->v[b->n++], i);
            return true;
        }
    }
    file_unuse(i);
    if (again && !pressed())
        append(k, again, i, again == &k->proofs ? PROOF_NS : DELAY_NS, true);
    return false;
}

void keeper_wake(void)
{
    pthread_cond_signal(&keepers[false].wake);
    pthread_cond_signal(&keepers[true].wake);
}

/* Waits up to `ns` for a signal. Lock held. */
static void wait_for_signal(struct keeper *k, uint64_t ns)
{
    const struct timespec until = wait_until(ns);

    (void)wait_on(&k->wake, &k->lock, &until);
}

/* Takes all of a place to the front. Lock held. */
static void hurry(struct list *l, uint32_t place)
{
    struct inode *rest = NULL, **first = &l->head, **last = &rest;

    for (struct inode *i = l->head, *next; i; i = next) {
        struct inode ***const to = i->place == place ? &first : &last;

        next = i->due_next;
        if (i->place == place)
            i->due_ns = 0;
        i->due_at = *to;
        **to = i;
        *to = &i->due_next;
    }
    *last = NULL;
    *first = rest;
    if (rest)
        rest->due_at = first;
    l->tail = rest ? last : first;
}

/* A DIR that lost its mount while the others go on: its files are finished at once. */
static void leave_places(void)
{
    int lost;

    while ((lost = place_lost()) >= 0) {
        say(CM_LOG_INFO,
            "%s: unmounted; the other directories stay. To get it back, end this process and "
            "start it with all of them",
            mnt.opt.place[lost].path);
        inode_leave((unsigned)lost);
        for (int far = 0; far < 2; far++) {
            struct keeper *k = &keepers[far];

            pthread_mutex_lock(&k->lock);
            hurry(&k->validators, (uint32_t)lost);
            hurry(&k->proofs, (uint32_t)lost);
            pthread_cond_signal(&k->wake);
            pthread_mutex_unlock(&k->lock);
        }
    }
}

static void look_around(struct keeper *k)
{
    int64_t until;

    (void)place_still_ours(PLACE_ALL, &until);
    if (!k->far)
        leave_places();
    relief_run(k->far);
    gate_enter();
    coherence_look(k->far);
    if (cm_now() - k->looked_ns >= (k->far ? GONE_NS : LOOK_NS)) {
        k->looked_ns = cm_now();
        proof_look(k->far);
        if (!k->far)
            mnt.backing->look();
    }
    gate_leave();
}

/* ---- The end -------------------------------------------------------------------------------- */

struct pass {
    const struct keeper *keeper;
    uint64_t deadline;
    unsigned left, skipped;
    struct device *asked; /* its witness, just now */
    struct batch batch;
};

static bool to_finish(const struct inode *i, cm_file_info *info)
{
    return i->cf && !i->unlinked && cm_file_get_info(i->cf, info) >= 0;
}

/* An fsync that fails reports the error to us and to nobody after us. So the witness is asked
 * first: then the kernel still tells the next program what the volume lost. */
static void sync_one(struct inode *i, void *ctx)
{
    struct pass *p = ctx;
    cm_file_info info = { .struct_size = sizeof(info) };

    if (!to_finish(i, &info) || !info.dirty || info.bypassed)
        return;
    if (cm_now() > p->deadline) {
        p->skipped++;
        return;
    }
    if (!p->keeper->far && p->asked != i->device && !proof_vouched(i->device)) {
        proof_fail(i);
        return;
    }
    p->asked = i->device;
    proof_begin_alone(&p->batch.v[p->batch.n++], i);
    if (p->batch.n == PROOFS_MAX) {
        proofs_end(p->batch.v, p->batch.n);
        p->batch.n = 0;
    }
}

static void revalidate_one(struct inode *i, void *ctx)
{
    struct pass *p = ctx;
    cm_file_info info = { .racy = 0 };

    if (!to_finish(i, &info) || (!info.racy && !info.want_validator))
        return;
    if (file_revalidate(i, &info) >= 0 && (info.racy || info.want_validator))
        p->left++;
}

/* How long it may sleep, if nothing signals. Lock held. What is in a list is due at a time, or when
 * the origin is quiet. What others write may have to be seen earlier than what is looked at once in
 * a while. */
static uint64_t rest(const struct keeper *k)
{
    if (k->validators.head)
        return TICK_NS;
    if (k->proofs.head || others_write())
        return POLL_NS;
    return k->far ? GONE_NS : LOOK_NS;
}

/* The loops and workers have ended. Leaves files warm if possible, and detaches all. */
static void finish(struct keeper *k)
{
    struct pass p = { .keeper = k, .deadline = cm_now() + SYNC_BUDGET_NS };

    if (cache_on()) {
        number_ask_left(k->far);
        inode_each(k->far, sync_one, &p);
        proofs_end(p.batch.v, p.batch.n);
        if (p.skipped)
            say(CM_LOG_WARNING, "%u files were not synced in time; a power cut now would cost them",
                p.skipped);
        p.deadline = cm_now() + RACY_BUDGET_NS;
        do {
            p.left = 0;
            inode_each(k->far, revalidate_one, &p);
            if (p.left)
                usleep(20000);
        } while (p.left && cm_now() < p.deadline);
    }
    cache_detach_all(k->far); /* first: what is listed may have no other reference */
    while (k->validators.head)
        inode_put(pop(&k->validators));
    while (k->proofs.head)
        inode_put(pop(&k->proofs));
}

/* ---- The threads ---------------------------------------------------------------------------- */

/* What is due next, if anything is. What is in the batch is in the middle of its sync, so the
 * keeper stays inside the gate as long as something is there. */
static void do_next(struct inode *i, bool proof, struct keeper *k, struct batch *b)
{
    if (b->n == 0)
        gate_enter();
    if (i && atomic_exchange(&i->surplus, false))
        file_detach_linked(i);
    if (i && !check(k, i, proof, b))
        let_go(i);
    if (b->n == PROOFS_MAX || !i)
        settle(b);
    if (b->n == 0)
        gate_leave();
}

static void *keeper_main(void *arg)
{
    struct keeper *k = arg;
    struct batch b = { .n = 0 };

    pthread_mutex_lock(&k->lock);
    while (!k->stop) {
        bool proof;
        struct inode *i = pop_due(k, &proof);
        if (!i && !b.n)
            wait_for_signal(k, rest(k));
        pthread_mutex_unlock(&k->lock);
        do_next(i, proof, k, &b);
        if (b.n == 0) /* outside of the gate: it waits for locks of the kernel */
            look_around(k);
        pthread_mutex_lock(&k->lock);
    }
    pthread_mutex_unlock(&k->lock);
    do_next(NULL, false, k, &b);
    finish(k);
    pthread_mutex_lock(&k->lock);
    k->ended = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int keeper_start(void)
{
    int err = 0;

    for (int far = 0; far < 2 && !err; far++) {
        struct keeper *k = &keepers[far];

        k->far = far;
        k->validators.tail = &k->validators.head;
        k->proofs.tail = &k->proofs.head;
        pthread_mutex_init(&k->lock, NULL);
        err = wait_init(&k->wake);
        err = err ? err : pthread_create(&k->thread, NULL, keeper_main, k);
    }
    return err;
}

/* False: it waits for a server, and continues to wait. */
static bool end(struct keeper *k)
{
    const uint64_t deadline = cm_now() + FAR_BUDGET_NS;
    bool ended;

    pthread_mutex_lock(&k->lock);
    while (!k->ended && (!k->far || cm_now() < deadline))
        wait_for_signal(k, 100000000);
    ended = k->ended;
    pthread_mutex_unlock(&k->lock);
    if (ended)
        pthread_join(k->thread, NULL);
    return ended;
}

bool keeper_ending(void)
{
    return atomic_load(&ending);
}

bool keeper_stop(pthread_t *waiting)
{
    bool ended = true;

    atomic_store(&ending, true);
    for (int far = 0; far < 2; far++) {
        pthread_mutex_lock(&keepers[far].lock);
        keepers[far].stop = true;
        pthread_cond_signal(&keepers[far].wake);
        pthread_mutex_unlock(&keepers[far].lock);
    }
    for (int far = 0; far < 2; far++)
        ended = end(&keepers[far]) && ended;
    *waiting = keepers[true].thread;
    return ended;
}
