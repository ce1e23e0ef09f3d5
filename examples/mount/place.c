/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.c - what must be true of the directories and the path of the pool or of the service's
 *           socket before mounting.
 *
 * Makes the paths absolute, finds mounts of ours (mountinfo.h), removes the dead mounts
 * that a killed process left, refuses a pool or a socket inside a directory, and opens the
 * directories. main calls it before the fork. Later it knows where each mount is, and detaches it.
 *
 * WHY DIRECTORIES MAY NOT OVERLAP. All are in one file system of the kernel, in which a directory
 * is at one place. If it could be reached below two DIRs, each look at it would move it from one to
 * the other, away from the programs that are in it.
 */
#include "mount.h"
#include "mountinfo.h"

#include "../missing/pool_missing.h"
#include "../service/os.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define MOUNTS "/proc/self/mountinfo"
#define STAYS_NS UINT64_C(5000000000) /* an unmount ends sooner, mostly */

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

/* What `path` is below `dir`, without a slash before it; "": the same; NULL: it is not there. */
static const char *rest_of(const char *path, const char *dir)
{
    const size_t n = strcmp(dir, "/") ? strlen(dir) : 0;

    if (strncmp(path, dir, n) || (path[n] && path[n] != '/'))
        return NULL;
    return path + n + (path[n] == '/');
}

/* A mount of ours. Ids and devices of mounts are used again, but not both at the same time. */
struct found {
    unsigned long long id; /* in mountinfo; 0: none of ours there */
    char device[32];
};

/* The topmost mount on dir. `like`: only that one. dir NULL: anywhere; *path is then its path,
 * which the caller frees. False: the mounts cannot be read at the moment (errno). */
static bool find_mount(const char *dir, const struct found *like, struct found *f, char **path)
{
    struct mountinfo mounts;
    struct mount_line l;

    f->id = 0;
    mountinfo_begin(&mounts);
    while (mountinfo_next(&mounts, &l)) {
        if ((dir && strcmp(l.point, dir)) ||
            (like && (l.id != like->id || strcmp(l.device, like->device))))
            continue;
        f->id = l.ours ? l.id : 0;
        snprintf(f->device, sizeof(f->device), "%s", l.device);
        if (!dir)
            *path = strdup(l.point);
        if (like) /* there is one */
            break;
    }
    return mountinfo_end(&mounts);
}

/* 1: a mount of ours is the topmost one; 0: none; -1: the mounts cannot be read (errno). */
static int is_ours(const char *dir)
{
    struct found f;

    return find_mount(dir, NULL, &f, NULL) ? f.id != 0 : -1;
}

static bool is_below_any(const char *point)
{
    for (unsigned k = 0; k < mnt.opt.places; k++) {
        const char *const rest = rest_of(point, mnt.opt.place[k].path);

        if (rest && *rest)
            return true;
    }
    return false;
}

bool place_mount_points(char ***names, size_t *n)
{
    struct mountinfo mounts;
    struct mount_line l;
    char **list = NULL, **more;
    size_t found = 0;
    bool room = true;

    mountinfo_begin(&mounts);
    while (room && mountinfo_next(&mounts, &l)) {
        if (!is_below_any(l.point))
            continue;
        more = realloc(list, (found + 1) * sizeof(*list));
        list = more ? more : list;
        room = more && (list[found] = strdup(strrchr(l.point, '/') + 1));
        found += room;
    }
    if (mountinfo_end(&mounts) && room) {
        *names = list;
        *n = found;
        return true;
    }
    while (found > 0)
        free(list[--found]);
    free(list);
    return false;
}

const char *place_below(const char *path)
{
    for (unsigned k = 0; k < mnt.opt.places; k++) {
        const char *const seen = mnt.opt.place[k].seen, *rest = seen ? rest_of(path, seen) : NULL;

        if (rest && *rest)
            return rest;
    }
    return NULL;
}

/* ---- Are the mounts still where they were made? ---------------------------------------------- */

/* One for each DIR. */
struct spot {
    struct found mount;
    bool covered; /* this process has mounted there */
    bool left;    /* and the mount is gone */
    bool told;    /* place_lost() has said so */
    int64_t until;
    int starting;             /* DIR, locked until this process has mounted there; or -1 */
    unsigned long long below; /* the mount that DIR is on, before; see read_parts() */
};

static struct {
    pthread_mutex_t lock;
    int mounts;          /* polled: the kernel says when mounts change */
    bool changed;        /* the mounts, since they were read */
    unsigned read_ahead; /* KiB; 0: not known yet */
    struct spot *spot;
} here = { .lock = PTHREAD_MUTEX_INITIALIZER, .mounts = -1 };

const char *place_device(void)
{
    return here.spot[0].mount.device;
}

/* All mounts are of one file system, and so of one device. Lock held. */
static void set_read_ahead(void)
{
    char path[80];
    FILE *f;

    if (!here.read_ahead || !here.spot[0].covered)
        return;
    snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", here.spot[0].mount.device);
    f = fopen(path, "we");
    if (f) {
        fprintf(f, "%u\n", here.read_ahead);
        fclose(f); /* a container may not write it: the kernel then reads ahead less */
    }
}

void place_mounted(unsigned place)
{
    const char *const path = mnt.opt.place[place].path;
    struct spot *const s = &here.spot[place];

    pthread_mutex_lock(&here.lock);
    if (here.mounts < 0)
        here.mounts = open(MOUNTS, O_RDONLY | O_CLOEXEC);
    if (!find_mount(path, NULL, &s->mount, NULL)) {
        mountinfo_at(path, &s->mount.id, s->mount.device, sizeof(s->mount.device));
        here.changed = true;
    }
    s->covered = true;
    set_read_ahead();
    pthread_mutex_unlock(&here.lock);
    if (s->starting >= 0)
        close(s->starting);
    s->starting = -1;
}

void place_read_ahead(unsigned kib)
{
    pthread_mutex_lock(&here.lock);
    here.read_ahead = kib;
    set_read_ahead();
    pthread_mutex_unlock(&here.lock);
}

/* Reads the list of mounts again if it has changed. False: it cannot be read now. Lock held. */
static bool look_again(void)
{
    struct pollfd p = { .fd = here.mounts, .events = POLLPRI };
    struct found f;

    here.changed = here.changed || here.mounts < 0 || poll(&p, 1, 0) != 0;
    for (unsigned k = 0; here.changed && k < mnt.opt.places; k++) {
        struct spot *const s = &here.spot[k];

        if (!s->covered || s->left)
            continue;
        if (!find_mount(mnt.opt.place[k].path, &s->mount, &f, NULL))
            return false;
        s->left = f.id == 0;
    }
    here.changed = false;
    return true;
}

bool place_still_ours(unsigned place, int64_t *until)
{
    struct timespec now; /* coarse, like the times of files */
    bool ours = true, known;

    *until = INT64_MAX;
    pthread_mutex_lock(&here.lock);
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    known = look_again();
    for (unsigned k = 0; k < mnt.opt.places; k++) {
        struct spot *const s = &here.spot[k];
        const bool there = known && s->covered && !s->left;

        if (there)
            s->until = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
        if (!there && (place == k || place == PLACE_ALL)) {
            ours = false;
            *until = s->until < *until ? s->until : *until;
        }
    }
    pthread_mutex_unlock(&here.lock);
    return ours;
}

int place_lost(void)
{
    int lost = -1;
    bool stays = false;

    pthread_mutex_lock(&here.lock);
    for (unsigned k = 0; k < mnt.opt.places; k++) {
        const struct spot *const s = &here.spot[k];

        stays = stays || !s->left;
        if (s->left && !s->told)
            lost = (int)k;
    }
    if (!stays)
        lost = -1;
    if (lost >= 0)
        here.spot[lost].told = true;
    pthread_mutex_unlock(&here.lock);
    return lost;
}

bool place_stays(void)
{
    bool stays = false;

    pthread_mutex_lock(&here.lock);
    if (look_again())
        for (unsigned k = 0; k < mnt.opt.places; k++)
            stays = stays || (here.spot[k].covered && !here.spot[k].left);
    pthread_mutex_unlock(&here.lock);
    return stays;
}

static void say_stays(void)
{
    char *const at = mountinfo_place(here.spot[0].mount.device);

    say(CM_LOG_WARNING,
        "%s: no longer mounted here, but %s%s: the process and the pool stay until that is gone, "
        "too; kill %ld ends them",
        mnt.opt.dir, at ? "still at " : "",
        at ? at
           : "another mount namespace (a container, say) has it, or a program has a file of it "
             "open",
        (long)getpid());
    free(at);
}

void place_look(void)
{
    static uint64_t gone_ns;
    static bool said;
    bool gone;

    pthread_mutex_lock(&here.lock);
    gone = look_again();
    for (unsigned k = 0; k < mnt.opt.places; k++)
        gone = gone && here.spot[k].left;
    pthread_mutex_unlock(&here.lock);
    if (!gone || said)
        return;
    if (!gone_ns)
        gone_ns = cm_now();
    said = cm_now() - gone_ns >= STAYS_NS;
    if (said)
        say_stays();
}

/* ---- Taking them away ------------------------------------------------------------------------ */

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

/* *dir: where it is now. The caller frees it, also after an error. */
static int open_ours(const struct spot *s, char **dir)
{
    struct found f;
    int fd;

    *dir = NULL;
    if (!s->mount.id)
        return -EIO; /* it could not be found when it was made */
    if (!find_mount(NULL, &s->mount, &f, dir))
        return -errno;
    if (!f.id || !*dir)
        return -ENOENT;
    /* O_PATH: the open itself does not ask the file system. */
    fd = open(*dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (mountinfo_of(fd) == f.id)
        return fd;
    close(fd);
    return -EBUSY;
}

int place_open(void)
{
    int fd = -ENOENT;

    for (unsigned k = 0; k < mnt.opt.places && fd < 0; k++) {
        char *dir;
        const int rc = open_ours(&here.spot[k], &dir);

        if (rc >= 0 || fd == -ENOENT) /* an error says more than that it is gone */
            fd = rc;
        free(dir);
    }
    return fd;
}

static int leave(const struct spot *s)
{
    char *dir;
    int fd = open_ours(s, &dir), rc = fd;

    if (fd >= 0) {
        rc = detach(procpath(fd).s, dir);
        close(fd);
    }
    free(dir);
    return rc;
}

bool place_leave(void)
{
    bool all = true;

    for (unsigned k = 0; k < mnt.opt.places; k++) {
        const int rc = here.spot[k].covered ? leave(&here.spot[k]) : 0;

        if (rc == 0 || rc == -ENOENT) /* somebody else has */
            continue;
        all = false;
        say(CM_LOG_ERROR, "cannot unmount %s, which stays as a dead mount: %s",
            mnt.opt.place[k].path, rc == -EBUSY ? "another mount covers it" : strerror(-rc));
    }
    return all;
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

/* Walks from the directory of the path to the root. A pool inside the mount would be read through
 * itself. 1: inside, 0: not, -1: errno. */
static int is_inside_of(const char *path, int rootfd)
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

/* The same for all DIRs. */
static int is_inside(const char *path)
{
    int inside = 0;

    for (unsigned k = 0; k < mnt.opt.places && inside == 0; k++)
        inside = is_inside_of(path, mnt.opt.place[k].fd);
    return inside;
}

static int fail(const char *what, const char *path, const char *why)
{
    say(CM_LOG_ERROR, "%s %s: %s", what, path, why);
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
static void one_at_a_time(const char *dir, struct spot *s)
{
    s->starting = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 100; s->starting >= 0 && tries > 0; tries--) {
        if (flock(s->starting, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            break;
        usleep(50000);
    }
}

static int open_dir(struct place *p, struct spot *s)
{
    const char *const dir = p->path;
    char seen[PATH_MAX];
    struct stat st;
    int err = open_alive(dir, &p->fd), rc, ours;

    /* ECONNABORTED, with io_uring ECANCELED: it died during the call; another process of it may be
     * the last one. */
    if ((err == ENOTCONN || err == ECONNABORTED || err == ECANCELED) && is_ours(dir) == 1) {
        rc = detach(dir, dir);
        if (rc < 0)
            return fail("cannot detach the dead mount on", dir, strerror(-rc));
        say(CM_LOG_INFO, "detached the dead mount on %s", dir);
        err = open_alive(dir, &p->fd);
    }
    if (!err && fstat(p->fd, &st) < 0)
        err = errno;
    if (err)
        return fail("mount point", dir, strerror(err));
    if (!S_ISDIR(st.st_mode))
        return fail("mount point", dir, "not a directory");
    one_at_a_time(dir, s);
    ours = is_ours(dir);
    if (ours < 0)
        return fail("cannot read", MOUNTS, strerror(errno));
    if (ours)
        return fail("mount point", dir, "is mounted by cachemax-mount already");
    p->seen = path_of_fd(p->fd, seen, sizeof(seen)) ? strdup(seen) : NULL;
    return 0;
}

/* ---- Several of them ------------------------------------------------------------------------- */

/* A part of a file system that can be seen below a DIR. */
struct part {
    unsigned place;
    char *device, *root; /* which one, and from which of its directories on */
    char *at;            /* where it is seen */
};
struct parts {
    struct part *v;
    size_t n;
};

static bool add_part(struct parts *p, unsigned place, const struct mount_line *l, const char *below,
                     const char *at)
{
    struct part *const more = realloc(p->v, (p->n + 1) * sizeof(*more)), *one;

    if (!more)
        return false;
    p->v = more;
    one = &more[p->n++]; /* counted, so it is freed also if it is not whole */
    one->place = place;
    one->device = strdup(l->device);
    one->at = strdup(at);
    if (asprintf(&one->root, "%s%s%s", l->root, *below && strcmp(l->root, "/") ? "/" : "", below) <
        0)
        one->root = NULL;
    return one->device && one->at && one->root;
}

/* What a mount shows of its file system below the DIRs: it is mounted there, or they are on it. */
static bool add_line(struct parts *p, const struct mount_line *l)
{
    bool ok = true;

    for (unsigned k = 0; k < mnt.opt.places && ok; k++) {
        const struct place *const place = &mnt.opt.place[k];
        const char *const in_place = rest_of(l->point, place->path);

        if (here.spot[k].below == l->id)
            ok = add_part(p, k, l, rest_of(place->path, l->point), place->path);
        else if (in_place && *in_place)
            ok = add_part(p, k, l, "", l->point);
    }
    return ok;
}

/* False: the mounts cannot be read (errno). */
static bool read_parts(struct parts *p)
{
    struct mountinfo mounts;
    struct mount_line l;
    bool room = true, whole;

    for (unsigned k = 0; k < mnt.opt.places; k++)
        if (!(here.spot[k].below = mountinfo_of(mnt.opt.place[k].fd)))
            return false;
    mountinfo_begin(&mounts);
    while (room && mountinfo_next(&mounts, &l))
        room = add_line(p, &l);
    whole = mountinfo_end(&mounts);
    if (!room)
        errno = ENOMEM;
    return room && whole;
}

static bool overlap(const struct part *a, const struct part *b)
{
    return a->place != b->place && !strcmp(a->device, b->device) &&
           (rest_of(a->root, b->root) || rest_of(b->root, a->root));
}

static int refuse_overlap(const char *a, const char *b)
{
    say(CM_LOG_ERROR,
        "%s and %s show the same files; directories of one mount must not: "
        "leave one out, or give each a process of its own (--service)",
        a, b);
    return EXIT_USAGE;
}

/* Can a directory be reached below two DIRs? 0 or an exit status. */
static int check_overlap(void)
{
    struct parts p = { .n = 0 };
    int rc = read_parts(&p) ? 0 : fail("cannot read", MOUNTS, strerror(errno));

    for (size_t a = 0; a < p.n && !rc; a++)
        for (size_t b = a + 1; b < p.n && !rc; b++)
            if (overlap(&p.v[a], &p.v[b]))
                rc = refuse_overlap(p.v[a].at, p.v[b].at);
    for (size_t k = 0; k < p.n; k++) {
        free(p.v[k].device);
        free(p.v[k].root);
        free(p.v[k].at);
    }
    free(p.v);
    return rc;
}

/* One name for two volumes would be one id for two files. */
static int check_volume(const struct options *o)
{
    struct stat first, st;

    if (!o->volume_id || fstat(o->place[0].fd, &first) < 0)
        return 0;
    for (unsigned k = 1; k < o->places; k++)
        if (fstat(o->place[k].fd, &st) < 0 || st.st_dev != first.st_dev) {
            say(CM_LOG_ERROR,
                "--volume-id %s: %s and %s are on two volumes, and one name "
                "cannot mean both",
                o->volume_id, o->place[0].path, o->place[k].path);
            return EXIT_USAGE;
        }
    return 0;
}

/* The paths; before anything is opened: a dead mount on the outer one would hide the inner one. */
static int check_several(const struct options *o)
{
    if (o->places > 1 && geteuid() != 0)
        return fail("mount point", o->place[1].path,
                    "several directories in one process need root; start a process for each, with "
                    "a pool of its own or --service");
    for (unsigned a = 0; a < o->places; a++)
        for (unsigned b = 0; b < o->places; b++)
            if (a != b && rest_of(o->place[a].path, o->place[b].path))
                return refuse_overlap(o->place[a].path, o->place[b].path);
    return 0;
}

/* ---- The pool, or the socket ----------------------------------------------------------------- */

/* Would a file be inside that is not there yet, and maybe not its directory? */
static bool will_be_inside(const char *path)
{
    char *copy = strdup(path), *slash;
    int inside = -1;

    while (copy && (inside = is_inside(copy)) < 0 && (slash = strrchr(copy, '/')))
        *slash = '\0';
    free(copy);
    return inside == 1;
}

/* `pool`: from the root on. `text`: room for it. */
static const char *why_no_pool(const struct options *o, const char *pool, int error,
                               char text[POOL_MISSING_TEXT])
{
    const enum pool_missing missing = pool ? pool_missing(pool, text) : POOL_NOT_MISSING;

    if (missing == POOL_LINKED)
        return text;
    if (error != ENOENT)
        return strerror(error);
    if (pool && will_be_inside(pool))
        return "does not exist, and may not lie inside the directory to be mounted: make one "
               "elsewhere with 'cachemax create'";
    if (o->helper && !o->source) /* mount(8)'s source, and what is missing counts as a pool */
        return "does not exist; make a pool with 'cachemax create', or, if it is the socket of a "
               "service, start that first";
    if (missing == POOL_NO_PLACE)
        return text;
    return "does not exist; make a pool with 'cachemax create'";
}

/* 0 or an exit status. */
static int prepare_pool(struct options *o)
{
    char *pool = from_root(o->pool), *real = realpath(o->pool, NULL), text[POOL_MISSING_TEXT];
    bool inside;

    if (!pool || !real) {
        fail("pool", o->pool, why_no_pool(o, pool, errno, text));
        free(pool);
        free(real);
        return EXIT_POOL;
    }
    free(o->pool);
    o->pool = pool;
    inside = is_inside(real) != 0;
    if (inside)
        fail("pool", real, "lies inside the directory to be mounted; put it elsewhere");
    free(real);
    return inside ? EXIT_POOL : 0;
}

/* A service writes the path of its pool into the file of its lock. The pool is open, so it would
 * only be in the way when the service starts again. */
static bool its_pool_is_inside(const char *where)
{
    const size_t skip = strlen(OS_LOCK_WORD);
    char text[sizeof(OS_LOCK_WORD) + PATH_MAX] = "", *lock = NULL;
    FILE *f = asprintf(&lock, "%s.lock", where) > 0 ? fopen(lock, "re") : NULL;
    const bool read = f && fgets(text, sizeof(text), f) && !strncmp(text, OS_LOCK_WORD, skip);

    if (f)
        fclose(f);
    free(lock);
    text[strcspn(text, "\n")] = '\0';
    return read && text[skip] == '/' && is_inside(text + skip) == 1;
}

#define OUT_OF_SIGHT                                                                               \
    "its directory is closed to this user: a service is for the user that runs it, and for root; " \
    "mount as one of them"

/* The socket need not be there yet, but its directory must. 0 or an exit status. */
static int prepare_service(struct options *o)
{
    char *where = absolute(o->service);
    const char *wrong = NULL;
    struct stat st;

    if (!where) {
        fail("service", o->service,
             errno == ENOENT   ? "its directory does not exist"
             : errno == EACCES ? OUT_OF_SIGHT
                               : strerror(errno));
        return EXIT_POOL;
    }
    free(o->service);
    o->service = where;
    if (strlen(where) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        wrong = "the name of a socket cannot be so long";
    else if (lstat(where, &st) == 0 && !S_ISSOCK(st.st_mode))
        wrong = "is no socket";
    else if (lstat(where, &st) < 0 && errno == EACCES)
        wrong = OUT_OF_SIGHT;
    else if (is_inside(where) != 0)
        wrong = "lies inside the directory to be mounted; put it elsewhere";
    else if (its_pool_is_inside(where))
        wrong = "its pool lies inside the directory to be mounted; put it elsewhere";
    else if (!o->any_owner && os_place_is_exposed(where))
        wrong = "others own or may write the directory, or one above it, and could put another "
                "service there; if you trust these others, give -o any_owner";
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
        say(CM_LOG_ERROR,
            "source %s: it is neither the pool nor the directory: a directory "
            "can only be mounted on itself",
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

/* Paths for messages. */
static char *join_paths(const struct options *o)
{
    size_t room = 1;
    char *all;

    for (unsigned k = 0; k < o->places; k++)
        room += strlen(o->place[k].path) + 2;
    all = calloc(room, 1);
    for (unsigned k = 0; k < o->places && all; k++) {
        strcat(all, k ? ", " : "");
        strcat(all, o->place[k].path);
    }
    return all;
}

/* Makes the paths absolute. 0 or an exit status. */
static int resolve(struct options *o)
{
    int rc = 0;

    for (unsigned k = 0; k < o->places && !rc; k++) {
        char *const dir = absolute(o->place[k].path);

        if (!dir)
            return fail("mount point", o->place[k].path, strerror(errno));
        if (k == 0)
            rc = check_source(o, dir);
        free(o->place[k].path);
        o->place[k].path = dir;
    }
    return rc;
}

int place_prepare(struct options *o)
{
    int rc = resolve(o);

    if (rc)
        return rc;
    if (access("/proc/self/fd", X_OK) < 0)
        return fail("cannot use", "/proc/self/fd", strerror(errno));
    rc = check_several(o);
    o->dir = join_paths(o);
    here.spot = calloc(o->places, sizeof(*here.spot));
    if (!rc && (!o->dir || !here.spot))
        rc = fail("cannot begin at", o->place[0].path, strerror(ENOMEM));
    for (unsigned k = 0; k < o->places && !rc; k++)
        rc = open_dir(&o->place[k], &here.spot[k]);
    if (!rc && o->places > 1)
        rc = check_overlap();
    if (!rc)
        rc = check_volume(o);
    if (rc)
        return rc;
    return o->service ? prepare_service(o) : prepare_pool(o);
}
