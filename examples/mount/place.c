/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.c - what must be true of the directory and the path of the pool or of the service's socket
 *           before mounting.
 *
 * Makes the paths absolute, finds mounts of ours in /proc/self/mountinfo, removes the dead mount
 * that a killed process left, refuses a pool or a socket inside the directory, and opens the
 * directory. main calls it before the fork. Later it knows where the mount is, and detaches it.
 */
#include "mount.h"

#include "../service/os.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* Resolves all parts but the last one, which may be a dead mount, and realpath cannot look at that.
 * A live last part is resolved, too. */
static char *absolute(const char *path)
{
    char *whole = realpath(path, NULL), *copy, *slash, *dir, *out = NULL;
    size_t n;

    if (whole)
        return whole;
    copy = strdup(path);
    if (!copy)
        return NULL;
    for (n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    slash = strrchr(copy, '/');
    if (slash)
        *slash = '\0';
    dir = realpath(slash ? (slash == copy ? "/" : copy) : ".", NULL);
    if (dir && asprintf(&out, "%s/%s", strcmp(dir, "/") ? dir : "", slash ? slash + 1 : copy) < 0)
        out = NULL;
    free(dir);
    free(copy);
    return out;
}

/* The same path from the root. Its links stay, because cm_open checks who made them. */
static char *from_root(const char *path)
{
    char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0), *out = NULL;

    if (path[0] == '/')
        return strdup(path);
    if (cwd && asprintf(&out, "%s/%s", cwd, path) < 0)
        out = NULL;
    free(cwd);
    return out;
}

/* Undoes the octal escapes of mountinfo in place. */
static void unescape(char *s)
{
    char *w = s;

    for (; *s; s++)
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *w++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *w++ = *s;
        }
    *w = '\0';
}

/* The mount point of a line of mountinfo, cut out in place; NULL: none. */
static char *mount_point(char *line, char **save)
{
    char *tok = strtok_r(line, " ", save);

    for (int k = 0; k < 4 && tok; k++)
        tok = strtok_r(NULL, " ", save);
    if (tok)
        unescape(tok);
    return tok;
}

/* A mount of ours. Ids and devices of mounts are used again, but not both at the same time. */
struct found {
    unsigned long long id; /* in mountinfo; 0: none of ours there */
    char device[32];
};

/* The topmost mount on dir. `like`: only that one. dir NULL: anywhere; *path is then its path,
 * which the caller frees. False: the mounts cannot be read at the moment. */
static bool find_mount(const char *dir, const struct found *like, struct found *f, char **path)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *save;
    size_t cap = 0;

    f->id = 0;
    if (!mounts)
        return false;
    while (getline(&line, &cap, mounts) > 0) {
        const bool ours = strstr(line, " - fuse.cachemax ") != NULL;
        struct found here = { .id = 0 };
        const char *at;
        if (sscanf(line, "%llu %*u %31s", &here.id, here.device) != 2)
            continue;
        at = mount_point(line, &save);
        if (!at || (dir && strcmp(at, dir)) ||
            (like && (here.id != like->id || strcmp(here.device, like->device))))
            continue;
        *f = here;
        f->id = ours ? here.id : 0;
        if (!dir)
            *path = strdup(at);
    }
    free(line);
    fclose(mounts);
    return true;
}

static bool is_ours(const char *dir)
{
    struct found f;

    return find_mount(dir, NULL, &f, NULL) && f.id != 0;
}

size_t place_mount_points(const char *dir, char ***names)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    size_t prefix = strcmp(dir, "/") ? strlen(dir) : 0, cap = 0, n = 0;
    char *line = NULL, *save = NULL, *path, **list = NULL, **more;

    while (f && getline(&line, &cap, f) > 0) {
        path = mount_point(line, &save);
        if (!path || strncmp(path, dir, prefix) || path[prefix] != '/' || !path[prefix + 1])
            continue;
        more = realloc(list, (n + 1) * sizeof(*list));
        if (!more)
            break;
        list = more;
        list[n] = strdup(strrchr(path, '/') + 1);
        n += list[n] != NULL;
    }
    free(line);
    if (f)
        fclose(f);
    *names = list;
    return n;
}

/* ---- Is the mount still where it was made? --------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    const char *dir;
    int mounts; /* polled: the kernel says when mounts change */
    struct found mount;
    bool changed; /* the mounts, since they were read */
    bool left;
    int64_t until;
    int starting; /* DIR, locked until this process has mounted there */
} here = { .lock = PTHREAD_MUTEX_INITIALIZER, .mounts = -1, .starting = -1 };

void place_mounted(const char *dir)
{
    here.dir = dir;
    here.mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (!find_mount(dir, NULL, &here.mount, NULL))
        here.changed = true;
    if (here.starting >= 0)
        close(here.starting);
    here.starting = -1;
}

void place_read_ahead(unsigned kib)
{
    char path[80];
    FILE *f;

    snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", here.mount.device);
    f = fopen(path, "we");
    if (f) {
        fprintf(f, "%u\n", kib);
        fclose(f); /* a container may not write it: the kernel then reads ahead less */
    }
}

bool place_still_ours(void)
{
    struct pollfd p = { .fd = here.mounts, .events = POLLPRI };
    struct timespec now; /* coarse, like the times of files */
    struct found f;
    bool ours;

    pthread_mutex_lock(&here.lock);
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    here.changed = here.changed || here.mounts < 0 || poll(&p, 1, 0) != 0;
    if (!here.left && here.changed && find_mount(here.dir, &here.mount, &f, NULL)) {
        here.left = f.id == 0;
        here.changed = false;
    }
    ours = !here.left && !here.changed;
    if (ours)
        here.until = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    pthread_mutex_unlock(&here.lock);
    return ours;
}

int64_t place_ours_until(void)
{
    int64_t until;

    pthread_mutex_lock(&here.lock);
    until = here.until;
    pthread_mutex_unlock(&here.lock);
    return until;
}

/* ---- Taking it away -------------------------------------------------------------------------- */

/* Lazy; 0 or -errno. `at` leads to the mount on dir. */
static int detach(const char *at, const char *dir)
{
    char cmd[] = "fusermount3", unmount[] = "-u", lazy[] = "-z", end[] = "--";
    char *const argv[] = { cmd, unmount, lazy, end, (char *)(uintptr_t)dir, NULL };
    pid_t pid;
    int status;

    if (umount2(at, MNT_DETACH) == 0)
        return 0;
    if (errno != EPERM)
        return -errno;
    pid = vfork();
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* The number of the mount that fd is on; 0: not known. */
static unsigned long long mount_of(int fd)
{
    char name[40], line[128];
    unsigned long long id = 0;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    f = fopen(name, "re");
    while (f && !id && fgets(line, sizeof(line), f))
        if (sscanf(line, "mnt_id: %llu", &id) != 1)
            id = 0;
    if (f)
        fclose(f);
    return id;
}

/* *dir: where it is now. The caller frees it, also after an error. */
static int open_ours(char **dir)
{
    struct found f;
    int fd;

    *dir = NULL;
    if (!here.mount.id)
        return -EIO; /* it could not be found when it was made */
    if (!find_mount(NULL, &here.mount, &f, dir))
        return -errno;
    if (!f.id || !*dir)
        return -ENOENT;
    /* O_PATH: the open itself does not ask the file system. */
    fd = open(*dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (mount_of(fd) == f.id)
        return fd;
    close(fd);
    return -EBUSY;
}

int place_open(void)
{
    char *dir;
    int fd = open_ours(&dir);

    free(dir);
    return fd;
}

int place_leave(void)
{
    char *dir;
    int fd = open_ours(&dir), rc = fd;

    if (fd >= 0) {
        rc = detach(procpath(fd).s, dir);
        close(fd);
    }
    free(dir);
    return rc;
}

bool place_is_local(int fd)
{
    static const long
        remote[] = { 0x6969 /* nfs */,      0xFF534D42 /* cifs */, 0xFE534D42 /* smb2 */,
                     0x517B /* smb */,      0x01021997 /* 9p */,   0x00C36400 /* ceph */,
                     0x65735546 /* fuse */, 0x5346414F /* afs */,  0x0BD00BD0 /* lustre */ };
    struct statfs sf;

    if (fstatfs(fd, &sf) < 0)
        return false;
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
        if ((uint32_t)sf.f_type == (uint32_t)remote[i])
            return false;
    return true;
}

/* Every inode that the kernel remembers takes a descriptor. */
void place_raise_nofile(void)
{
    struct rlimit rl;
    unsigned long long nr_open = 1u << 20;
    FILE *f = fopen("/proc/sys/fs/nr_open", "re");

    if (f) {
        if (fscanf(f, "%llu", &nr_open) != 1)
            nr_open = 1u << 20;
        fclose(f);
    }
    rl = (struct rlimit){ nr_open, nr_open };
    if (setrlimit(RLIMIT_NOFILE, &rl) == 0 || getrlimit(RLIMIT_NOFILE, &rl) < 0)
        return;
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
}

/* Walks from the directory of the path to the root. A pool inside the mount would be read through
 * itself. 1: inside, 0: not, -1: errno. */
static int is_inside(const char *path, int rootfd)
{
    char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
    struct stat root, st, last = { 0 };
    int fd, inside = -1;

    if (!slash || fstat(rootfd, &root) < 0) {
        free(dir);
        return -1;
    }
    slash[slash == dir] = '\0';
    fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(dir);
    while (fd >= 0 && inside < 0 && fstat(fd, &st) == 0) {
        int up;
        if (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
            inside = 1;
        else if (st.st_dev == last.st_dev && st.st_ino == last.st_ino)
            inside = 0; /* the root is its own ".." */
        last = st;
        up = inside < 0 ? openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        close(fd);
        fd = up;
    }
    return inside;
}

static int fail(const char *what, const char *path, const char *why)
{
    fprintf(stderr, "cachemax-mount: %s %s: %s\n", what, path, why);
    return EXIT_RUNTIME;
}

/* Opens the directory and checks that its file system answers. A dead mount can be opened, and the
 * kernel still has its attributes, but statfs always asks the server. 0 or errno. */
static int open_alive(const char *dir, int *fd)
{
    struct statfs sf;
    int err;

    *fd = open(dir, O_PATH | O_CLOEXEC);
    if (*fd < 0)
        return errno;
    if (fstatfs(*fd, &sf) == 0)
        return 0;
    err = errno;
    close(*fd);
    *fd = -1;
    return err;
}

/* Two mounts that start at the same time would both find the directory free, and cover each other.
 * If somebody else has a lock of it, this waits for a while, and no longer. */
static void one_at_a_time(const char *dir)
{
    here.starting = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 100; here.starting >= 0 && tries > 0; tries--) {
        if (flock(here.starting, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            break;
        usleep(50000);
    }
}

static int open_dir(const char *dir, int *rootfd)
{
    struct stat st;
    int err = open_alive(dir, rootfd), rc;

    /* ECONNABORTED: it died during the call; another process of it may be the last one. */
    if ((err == ENOTCONN || err == ECONNABORTED) && is_ours(dir)) {
        rc = detach(dir, dir);
        if (rc < 0)
            return fail("cannot detach the dead mount on", dir, strerror(-rc));
        fprintf(stderr, "cachemax-mount: detached the dead mount on %s\n", dir);
        err = open_alive(dir, rootfd);
    }
    if (!err && fstat(*rootfd, &st) < 0)
        err = errno;
    if (err)
        return fail("mount point", dir, strerror(err));
    if (!S_ISDIR(st.st_mode))
        return fail("mount point", dir, "not a directory");
    one_at_a_time(dir);
    if (is_ours(dir))
        return fail("mount point", dir, "is mounted by cachemax-mount already");
    return 0;
}

/* 0 or an exit status. */
static int prepare_pool(struct options *o, int rootfd)
{
    char *pool = from_root(o->pool), *real = realpath(o->pool, NULL);
    bool inside;

    if (!pool || !real) {
        fail("pool", o->pool,
             errno == ENOENT ? "does not exist; make a pool with 'cachemax create'"
                             : strerror(errno));
        free(pool);
        free(real);
        return EXIT_POOL;
    }
    free(o->pool);
    o->pool = pool;
    inside = is_inside(real, rootfd) != 0;
    if (inside)
        fail("pool", real, "lies inside the directory to be mounted; put it elsewhere");
    free(real);
    return inside ? EXIT_POOL : 0;
}

/* A service writes the path of its pool into the file of its lock. The pool is open, so it would
 * only be in the way when the service starts again. */
static bool its_pool_is_inside(const char *where, int rootfd)
{
    char pool[PATH_MAX] = "", *lock = NULL;
    FILE *f = asprintf(&lock, "%s.lock", where) > 0 ? fopen(lock, "re") : NULL;
    bool read = f && fgets(pool, sizeof(pool), f);

    if (f)
        fclose(f);
    free(lock);
    pool[strcspn(pool, "\n")] = '\0';
    return read && pool[0] == '/' && is_inside(pool, rootfd) == 1;
}

/* The socket need not be there yet, but its directory must. 0 or an exit status. */
static int prepare_service(struct options *o, int rootfd)
{
    char *where = absolute(o->service);
    const char *wrong = NULL;
    struct stat st;

    if (!where) {
        fail("service", o->service,
             errno == ENOENT ? "its directory does not exist" : strerror(errno));
        return EXIT_POOL;
    }
    free(o->service);
    o->service = where;
    if (strlen(where) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        wrong = "the name of a socket cannot be so long";
    else if (lstat(where, &st) == 0 && !S_ISSOCK(st.st_mode))
        wrong = "is no socket";
    else if (is_inside(where, rootfd) != 0)
        wrong = "lies inside the directory to be mounted; put it elsewhere";
    else if (its_pool_is_inside(where, rootfd))
        wrong = "its pool lies inside the directory to be mounted; put it elsewhere";
    else if (!o->any_owner && os_place_is_exposed(where))
        wrong = "others own or may write the directory, or one above it, and could put another "
                "service there; -o any_owner trusts them";
    if (wrong)
        fail("service", where, wrong);
    return wrong ? EXIT_POOL : 0;
}

/* What mount(8) calls the source: the pool, the socket, the directory, or "none". If it is the pool
 * or the socket, it is shown with its real path. 0 or an exit status. */
static int check_source(struct options *o, const char *dir)
{
    const char *const named = o->pool ? o->pool : o->service;
    char *source, *pool;
    bool is_pool, fits;

    if (!o->source || !strcmp(o->source, "none"))
        return 0;
    source = absolute(o->source);
    pool = absolute(named);
    is_pool = !strcmp(o->source, named) || (source && pool && !strcmp(source, pool));
    fits = is_pool || (source && !strcmp(source, dir));
    free(pool);
    if (!fits) {
        fprintf(stderr,
                "cachemax-mount: source %s: it is neither the pool nor the directory: a directory "
                "can only be mounted on itself\n",
                o->source);
        free(source);
        return EXIT_USAGE;
    }
    free(o->source);
    o->source = is_pool ? NULL : source;
    if (is_pool)
        free(source);
    return 0;
}

int place_prepare(struct options *o, int *rootfd)
{
    char *dir = absolute(o->dir);
    int rc;

    if (!dir)
        return fail("mount point", o->dir, strerror(errno));
    rc = check_source(o, dir);
    if (rc)
        return rc;
    if (access("/proc/self/fd", X_OK) < 0)
        return fail("cannot use", "/proc/self/fd", strerror(errno));
    free(o->dir);
    o->dir = dir;
    rc = open_dir(dir, rootfd);
    if (rc)
        return rc;
    return o->service ? prepare_service(o, *rootfd) : prepare_pool(o, *rootfd);
}
