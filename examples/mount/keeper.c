/* SPDX-License-Identifier: BSD-2-Clause
 *
 * keeper.c - what has to be done a little later, by one background thread.
 *
 *  - A validator taken right after a change proves nothing (racy): it is taken again a quarter of
 *    a second later, so that the file is warm after the next mount.
 *  - A file changed since boot is "born dirty" until an fsync proves that the origin holds it.
 *    Files that are only read get that fsync here, once per attachment, after all validators.
 *  - Descriptors run out before the kernel forgets names by itself: it is asked to.
 * The list is in order of time because the delay is constant. A listed inode is held.
 * keeper_finish() does the rest at unmount, when nothing else runs, within SYNC_BUDGET_NS.
 */
#include "mount.h"

#include <sys/resource.h>
#include <time.h>

#define DELAY_NS 250000000ull
#define TRIES_MAX 40 /* a time in the future stays racy; ten seconds are enough for any granule */
#define RACY_BUDGET_NS 3000000000ull
#define SYNC_BUDGET_NS 10000000000ull

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct inode *head, **tail;
    pthread_t thread;
    bool stop;
} k = { .lock = PTHREAD_MUTEX_INITIALIZER, .tail = &k.head };

static void append(struct inode *i)
{
    pthread_mutex_lock(&k.lock);
    if (!i->scheduled) {
        inode_hold(i);
        i->scheduled = true;
        i->due_ns = cm_now() + DELAY_NS;
        i->due_next = NULL;
        *k.tail = i;
        k.tail = &i->due_next;
        if (k.head == i)
            pthread_cond_signal(&k.wake);
    }
    pthread_mutex_unlock(&k.lock);
}

void keeper_schedule(struct inode *i)
{
    atomic_store(&i->tries, 0);
    append(i);
}

bool keeper_has(struct inode *i)
{
    bool has;

    pthread_mutex_lock(&k.lock);
    has = i->scheduled;
    pthread_mutex_unlock(&k.lock);
    return has;
}

/* More names than there should be. Listed inodes are held, so they are then done with at once,
 * at the price of being cold at the next mount. */
static bool pressed(void)
{
    return inode_count() >= keeper_names_max();
}

/* Due ones only; NULL when there is none. */
static struct inode *pop_due(void)
{
    struct inode *i = k.head;

    if (!i || (i->due_ns > cm_now() && !pressed()))
        return NULL;
    k.head = i->due_next;
    if (!k.head)
        k.tail = &k.head;
    i->scheduled = false;
    return i;
}

/* fsync of a file nobody wrote through the mount. A file system that cannot do it is left
 * alone: a failed sync would take the file out of the cache. */
static void prove_clean(struct inode *i)
{
    i->proved = true;
    if (fsync(i->rfd) < 0 && (errno == EINVAL || errno == EROFS || errno == ENOSYS))
        return;
    file_sync(i, i->rfd, false);
}

/* True: look again later. */
static bool check(struct inode *i)
{
    cm_file_info info = { .size = 0 };
    bool again = false;

    if (!file_use_attached(i))
        return false;
    if (cache_on() && file_revalidate(i, &info) >= 0) {
        again = (info.racy || info.want_validator) && atomic_fetch_add(&i->tries, 1) < TRIES_MAX;
        if (!again && info.dirty && !i->written && !i->proved && !info.bypassed)
            prove_clean(i);
    }
    file_unuse(i);
    return again;
}

/* The kernel drops the names of idle files when we say that they may have changed. It takes the
 * directory's lock for that and so gets in between two lookups, never inside one. Half of the
 * limit is for names, a quarter for attachments, the rest for open files. */
static void relieve_descriptors(void)
{
    struct idle_name v[256];
    uint64_t many = keeper_names_max() / 4 * 3;
    size_t n = sizeof(v) / sizeof(v[0]);

    if (!pressed())
        return;
    for (unsigned round = 0; n == sizeof(v) / sizeof(v[0]) && round < 4096; round++) {
        if (inode_count() < many)
            break;
        n = inode_idle_names(v, sizeof(v) / sizeof(v[0]));
        for (size_t j = 0; j < n; j++) {
            fuse_lowlevel_notify_inval_entry(mnt.se, v[j].parent, v[j].name, strlen(v[j].name));
            free(v[j].name);
        }
    }
}

uint64_t keeper_names_max(void)
{
    static _Atomic uint64_t max;
    struct rlimit rl;

    if (!atomic_load(&max))
        atomic_store(&max, getrlimit(RLIMIT_NOFILE, &rl) < 0 ? 512 : rl.rlim_cur / 2);
    return atomic_load(&max);
}

void keeper_throttle(uint64_t names)
{
    uint64_t max = keeper_names_max();

    if (names < max)
        return;
    pthread_cond_signal(&k.wake);
    if (names > max + max / 8)
        usleep(names > max + max / 4 ? 4000 : 500);
}

static void wait_for_work(void)
{
    struct timespec ts;
    uint64_t now = cm_now(), ns = 200000000;

    if (k.head && k.head->due_ns > now && k.head->due_ns - now < ns)
        ns = k.head->due_ns - now;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ns += (uint64_t)ts.tv_nsec;
    ts.tv_sec += (time_t)(ns / 1000000000);
    ts.tv_nsec = (long)(ns % 1000000000);
    pthread_cond_timedwait(&k.wake, &k.lock, &ts);
}

static void *keeper_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&k.lock);
    while (!k.stop) {
        struct inode *i = pop_due();
        if (!i)
            wait_for_work();
        pthread_mutex_unlock(&k.lock);
        if (i) {
            if (check(i) && !pressed())
                append(i);
            if (!inode_known(i))
                file_detach_idle(i);
            inode_put(i);
        }
        relieve_descriptors();
        pthread_mutex_lock(&k.lock);
    }
    pthread_mutex_unlock(&k.lock);
    return NULL;
}

int keeper_start(void)
{
    pthread_condattr_t a;

    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&k.wake, &a);
    pthread_condattr_destroy(&a);
    return pthread_create(&k.thread, NULL, keeper_main, NULL);
}

void keeper_stop(void)
{
    pthread_mutex_lock(&k.lock);
    k.stop = true;
    pthread_cond_signal(&k.wake);
    pthread_mutex_unlock(&k.lock);
    pthread_join(k.thread, NULL);
}

struct pass {
    uint64_t deadline;
    unsigned left, skipped;
};

static void sync_one(struct inode *i, void *ctx)
{
    struct pass *p = ctx;
    cm_file_info info;

    if (!i->cf || i->unlinked || cm_file_get_info(i->cf, &info) < 0 || !info.dirty)
        return;
    if (cm_now() > p->deadline)
        p->skipped++;
    else
        file_sync(i, i->rfd, false);
}

static void revalidate_one(struct inode *i, void *ctx)
{
    struct pass *p = ctx;
    cm_file_info info = { .racy = 0 };

    if (!i->cf || i->unlinked || cm_file_get_info(i->cf, &info) < 0)
        return;
    if (!info.racy && !info.want_validator)
        return;
    if (file_revalidate(i, &info) >= 0 && (info.racy || info.want_validator))
        p->left++;
}

void keeper_finish(void)
{
    struct pass p = { .deadline = cm_now() + SYNC_BUDGET_NS };

    if (!cache_on())
        return;
    inode_each(sync_one, &p);
    if (p.skipped)
        say(CM_LOG_WARNING, "%u files were not synced in time; a power cut now would cost them",
            p.skipped);
    p.deadline = cm_now() + RACY_BUDGET_NS;
    do {
        p.left = 0;
        inode_each(revalidate_one, &p);
        if (p.left)
            usleep(20000);
    } while (p.left && cm_now() < p.deadline);
}

void keeper_drop_all(void)
{
    while (k.head) {
        struct inode *i = k.head;
        k.head = i->due_next;
        i->scheduled = false;
        inode_put(i);
    }
    k.tail = &k.head;
}
