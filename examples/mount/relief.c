/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relief.c - relief.h: descriptors run out before the kernel forgets names by itself.
 *
 * The kernel drops a name that nobody uses when it is told that the name may have changed. It takes
 * the directory's lock for that, so it comes between two lookups, never inside one. Half of the
 * limit is for names, a quarter for attachments, the rest for open files.
 *
 * - Files come first.
 * - Directories follow when names take three quarters of the limit, and files do not help. A
 * program may be in such a directory, and the kernel does not tell. It then finds its way, but
 * getcwd() fails until somebody looks the path up again. Only directories in which the kernel knows
 * nothing are given back. Those above them are such ones a moment later.
 * - The kernel also takes away what is mounted on such a name, and a program in a bind mount of it
 *   would not get its path again. So these names stay, as far as this process can see the mounts.
 *   What is above them is kept by them.
 *
 * A place for a descriptor cannot be reserved, but it can be taken. So each thread that makes names
 * has a descriptor that it can close. If another thread takes the place in that instant, it waits
 * for the next one.
 *
 * Owns: the spare descriptors, and when names were given back. Who: relief.h.
 */
#include "relief.h"

#include "mount.h"
#include "mountinfo.h"
#include "threads.h"

#include <sys/resource.h>

#define TICK_NS 10000000ull   /* to look for idle names takes long, so not again at once */
#define SAY_NS 60000000000ull /* the log is told no more often */
#define AT_ONCE 256u
#define TRIES 1000u

static struct {
    uint64_t ran_ns; /* by the thread itself */
    /* Who makes fewer names than this waits for nothing. Relaxed: it is a guess. */
    _Atomic uint64_t helps_from;
} relief[2] = { [true] = { .helps_from = UINT64_MAX } };
static _Thread_local int spare = -1;

uint64_t relief_names_max(void)
{
    static _Atomic uint64_t max;
    struct rlimit rl;

    if (!atomic_load(&max))
        atomic_store(&max, getrlimit(RLIMIT_NOFILE, &rl) < 0 ? 512 : rl.rlim_cur / 2);
    return atomic_load(&max);
}

/* From so many names on, directories are given back, too. */
static uint64_t last_resort(void)
{
    return relief_names_max() + relief_names_max() / 2;
}

static bool stays(const struct mount_names *mounts, const char *name)
{
    for (size_t k = 0; k < mounts->n; k++)
        if (!strcmp(mounts->v[k], name))
            return true;
    return false;
}

/* Returns how many names the kernel has dropped. What it holds it forgets later. Without the list
 * of mounts there are none. */
static uint64_t give_back(bool far, bool directories, uint64_t want)
{
    struct mount_names mounts;
    struct idle_name v[AT_ONCE];
    uint64_t given = 0;
    size_t most, n;

    do {
        if (!mountinfo_on(place_device(), mnt.opt.places > 1, &mounts))
            break;
        most = want - given < AT_ONCE ? want - given : AT_ONCE;
        n = inode_idle_names(far, directories, v, most);
        for (size_t j = 0; j < n; j++) {
            if (!stays(&mounts, v[j].name))
                given += fuse_lowlevel_notify_inval_entry(mnt.se, v[j].parent, v[j].name,
                                                          strlen(v[j].name)) == 0;
            inode_put(inode_of(v[j].parent));
            free(v[j].name);
        }
        mountinfo_names_end(&mounts);
    } while (n == most && given < want);
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
        "open (RLIMIT_NOFILE): idle directories are given back, too, and programs may get EMFILE; "
        "raise the hard limit (ulimit -Hn, LimitNOFILE=)",
        (unsigned long long)names, (unsigned long long)relief_names_max() * 2);
}

void relief_run(bool far)
{
    const uint64_t many = relief_names_max() / 4 * 3, last = last_resort();
    uint64_t names = inode_count(), given;

    if (names < relief_names_max() || cm_now() - relief[far].ran_ns < TICK_NS)
        return;
    given = give_back(far, false, names - many);
    names = inode_count();
    if (names >= last + given) {
        say_few(names);
        given += give_back(far, true, names - given - many);
    }
    atomic_store_explicit(&relief[far].helps_from,
                          given          ? 0
                          : names < last ? last
                                         : UINT64_MAX,
                          memory_order_relaxed);
    relief[far].ran_ns = cm_now();
}

void relief_throttle(uint64_t names)
{
    const uint64_t max = relief_names_max(), last = last_resort();
    const uint64_t near = atomic_load_explicit(&relief[false].helps_from, memory_order_relaxed);
    const uint64_t far = atomic_load_explicit(&relief[true].helps_from, memory_order_relaxed);
    const uint64_t from = near < far ? near : far;

    if (names < max || (names < from && names < last))
        return;
    keeper_wake();
    if (names < from || names <= max + max / 8)
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
