/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relief.c - relief.h: descriptors run out before the kernel forgets names by itself.
 *
 * The kernel drops a name that nobody uses when it is told that the name may have changed. It takes
 * the directory's lock for that, so it comes between two lookups, never inside one. Half of the
 * limit is for names, a quarter for attachments, the rest for open files.
 *
 * Only files are given back. A program may have its working directory in a directory that nobody
 * else uses, and the kernel does not tell. If it dropped that name, getcwd() would fail, and what
 * is mounted below would be gone. So directories stay until the kernel forgets them by itself, and
 * a tree with more directories than descriptors needs a higher limit: the log says so.
 *
 * A place for a descriptor cannot be reserved, but it can be taken. So each thread that makes names
 * has a descriptor that it can close. If another thread takes the place in that instant, it waits
 * for the next one.
 *
 * Owns: the spare descriptors, and when names were given back. Who: relief.h.
 */
#include "relief.h"

#include "mount.h"
#include "threads.h"

#include <sys/resource.h>

#define TICK_NS 10000000ull   /* to look for idle names takes long, so not again at once */
#define SAY_NS 60000000000ull /* the log is told no more often */
#define AT_ONCE 256u
#define ROUNDS 4096u
#define TRIES 1000u

static struct {
    uint64_t ran_ns; /* by the thread itself */
    /* The last time gave something back. Else nobody waits for the next. Relaxed: it is a guess. */
    _Atomic bool helps;
} relief[2] = { [false] = { .helps = true } };
static _Thread_local int spare = -1;

uint64_t relief_names_max(void)
{
    static _Atomic uint64_t max;
    struct rlimit rl;

    if (!atomic_load(&max))
        atomic_store(&max, getrlimit(RLIMIT_NOFILE, &rl) < 0 ? 512 : rl.rlim_cur / 2);
    return atomic_load(&max);
}

/* With so many names somebody is told. */
static uint64_t few_left(void)
{
    return relief_names_max() + relief_names_max() / 2;
}

/* Returns how many names the kernel has dropped. What it holds it forgets later. */
static uint64_t give_back(bool far, uint64_t many)
{
    struct idle_name v[AT_ONCE];
    uint64_t given = 0;
    size_t n = AT_ONCE;

    for (unsigned round = 0; n == AT_ONCE && round < ROUNDS && inode_count() >= many; round++) {
        n = inode_idle_names(far, v, AT_ONCE);
        for (size_t j = 0; j < n; j++) {
            given += fuse_lowlevel_notify_inval_entry(mnt.se, v[j].parent, v[j].name,
                                                      strlen(v[j].name)) == 0;
            free(v[j].name);
        }
    }
    return given;
}

static void say_few(uint64_t names)
{
    static _Atomic uint64_t said_ns;
    const uint64_t now = cm_now();
    uint64_t before = atomic_load(&said_ns);

    if ((before && now - before < SAY_NS) ||
        !atomic_compare_exchange_strong(&said_ns, &before, now))
        return;
    say(CM_LOG_WARNING,
        "the kernel knows %llu names, and each takes one of the %llu files that this process may "
        "open (RLIMIT_NOFILE); directories stay known, so programs may get EMFILE: raise the hard "
        "limit (ulimit -Hn, LimitNOFILE=)",
        (unsigned long long)names, (unsigned long long)relief_names_max() * 2);
}

void relief_run(bool far)
{
    uint64_t given;

    if (inode_count() < relief_names_max() || cm_now() - relief[far].ran_ns < TICK_NS)
        return;
    given = give_back(far, relief_names_max() / 4 * 3);
    if (inode_count() >= few_left() + given)
        say_few(inode_count());
    atomic_store_explicit(&relief[far].helps, given > 0, memory_order_relaxed);
    relief[far].ran_ns = cm_now();
}

void relief_throttle(uint64_t names)
{
    const uint64_t max = relief_names_max();

    if (names < max)
        return;
    keeper_wake();
    if (names <= max + max / 8 ||
        (!atomic_load_explicit(&relief[false].helps, memory_order_relaxed) &&
         !atomic_load_explicit(&relief[true].helps, memory_order_relaxed)))
        return;
    threads_will_wait(); /* others are served meanwhile */
    usleep(names > max + max / 4 ? 4000 : 500);
}

int relief_reserve(void)
{
    if (spare < 0)
        spare = open("/", O_PATH | O_CLOEXEC);
    return spare < 0 ? errno : 0;
}

int relief_open(int dirfd, const char *name, int flags)
{
    int fd = openat(dirfd, name, flags);

    if (fd >= 0 || errno != EMFILE || spare < 0)
        return fd;
    close(spare);
    spare = -1;
    fd = openat(dirfd, name, flags);
    for (unsigned n = 0; fd < 0 && errno == EMFILE && n < TRIES; n++) {
        keeper_wake();
        threads_will_wait();
        usleep(1000);
        fd = openat(dirfd, name, flags);
    }
    return fd;
}
