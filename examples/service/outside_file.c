/* SPDX-License-Identifier: BSD-2-Clause
 *
 * outside_file.c - the file beside the socket that holds the outside writes.
 *
 * Owns: the file and the locks on it (docs/decisions/service.md, 4 and 5). It outlives service and
 * clients; it holds nothing once none of them lives. Only its owner may use it.
 *
 * Who: run.c, client.c.
 */
#include "outside_file.h"

#include "cachemax.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "os.h"
#include "platform/posix_above.h"

#define LOCK_NS UINT64_C(1000000000)

/* A file that root makes belongs to who owns the directory: the service may be that user. */
static void give_to_owner(int fd, const char *path)
{
    char dir[PATH_MAX];
    struct stat st;
    char *slash;

    if (geteuid() != 0)
        return;
    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir ? 1 : 0] = 0;
    if (stat(slash ? dir : ".", &st) == 0 && fchown(fd, st.st_uid, st.st_gid) != 0)
        return; /* it stays root's; the service will say so */
}

/* What is wrong with a file that is open. NULL: nothing. */
static const char *use_fault(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return "others may use it too; it should have mode 0600. Delete it while no client runs";
    return NULL;
}

static int open_beside(const char *path)
{
    return posix_above_standard(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

const char *outside_file_beside(const char *path, int *fd)
{
    *fd =
        posix_above_standard(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (*fd >= 0)
        give_to_owner(*fd, path);
    else if (errno == EEXIST)
        *fd = open_beside(path);
    return *fd < 0 ? strerror(errno) : use_fault(*fd);
}

bool outside_file_lock(int fd, int how)
{
    const uint64_t until = os_now_ns() + LOCK_NS;

    while (flock(fd, how | LOCK_NB) != 0) {
        if (errno != EINTR && (errno != EWOULDBLOCK || os_now_ns() >= until))
            return false;
        if (errno == EWOULDBLOCK)
            os_sleep_ms(1);
    }
    return true;
}

static const char *lock_fault(void)
{
    return errno == EWOULDBLOCK ? "another process holds its lock" : strerror(errno);
}

/* NULL: the file has its size. */
static const char *make_room(int fd)
{
    const int e = posix_fallocate(fd, 0, sizeof(struct outside));

    return e == 0       ? NULL
           : e == EFBIG ? "this process may not make a file of that size (ulimit -f)"
                        : "there is no space for it";
}

/* The lock says whether a client or a service lives. A service that has it alone only clears the
 * file. */
static const char *map(struct outside_file *o, bool service)
{
    const bool alone = service && flock(o->fd, LOCK_EX | LOCK_NB) == 0;
    const char *wrong = NULL;
    struct stat st;
    void *at;

    if (!service && !outside_file_lock(o->fd, LOCK_SH))
        return lock_fault();
    if (fstat(o->fd, &st) != 0)
        return strerror(errno);
    if (st.st_size < (off_t)sizeof(struct outside))
        wrong = make_room(o->fd);
    if (wrong)
        return wrong;
    at = mmap(NULL, sizeof(struct outside), PROT_READ | PROT_WRITE, MAP_SHARED, o->fd, 0);
    if (at == MAP_FAILED)
        return strerror(errno);
    o->at = at;
    /* Never shorter: another service may run here. It would die of SIGBUS. */
    if (alone)
        memset(at, 0, sizeof(struct outside));
    outside_give_name(o->at, (uint32_t)os_wall_ns() | 1);
    /* Another service that is started here by mistake must not clear what this one uses. */
    return service && !outside_file_lock(o->fd, LOCK_SH) ? lock_fault() : NULL;
}

int outside_file_open(struct outside_file *o, const char *where, bool service, char why[256])
{
    char path[PATH_MAX];
    const char *wrong = NULL;
    bool no_directory = false;

    *o = (struct outside_file){ .fd = -1 };
    if (snprintf(path, sizeof(path), "%s.writes", where) >= (int)sizeof(path))
        wrong = "the name is too long";
    if (!wrong)
        wrong = outside_file_beside(path, &o->fd);
    no_directory = wrong && o->fd < 0 && errno == ENOENT;
    if (!wrong)
        wrong = map(o, service);
    if (!wrong)
        return 0;
    snprintf(why, 256, "%.120s: %s", path, wrong);
    outside_file_close(o);
    return no_directory ? CM_ENOENT : CM_EACCES;
}

/* Has the volume of a file that is to be made no room for it? NULL: it has, as far as can be seen.
 * What is kept for root counts if this is root. */
static const char *room_fault(const char *path)
{
    const bool is_root = geteuid() == 0;
    char dir[PATH_MAX];
    struct statvfs v;
    uint64_t room;

    snprintf(dir, sizeof(dir), "%s", path);
    dir[strrchr(dir, '/') ? strrchr(dir, '/') - dir + 1 : 0] = 0;
    if (statvfs(dir[0] ? dir : ".", &v) != 0)
        return NULL;
    room = (uint64_t)(is_root ? v.f_bfree : v.f_bavail) * v.f_frsize;
    if (v.f_files > 0 && (is_root ? v.f_ffree : v.f_favail) == 0)
        return "there is no room for another file on its volume";
    /* Of a volume without a limit the system says 0 blocks. */
    return v.f_blocks > 0 && room < sizeof(struct outside) ? "there is no space for it" : NULL;
}

int outside_file_look(const char *where, char why[256])
{
    char path[PATH_MAX];
    const char *wrong;
    int fd;

    if (snprintf(path, sizeof(path), "%s.writes", where) >= (int)sizeof(path))
        return 0;
    fd = open_beside(path);
    if (fd < 0 && (errno == ENOTDIR || errno == EACCES))
        return 0;
    wrong = fd >= 0 ? use_fault(fd) : errno == ENOENT ? room_fault(path) : strerror(errno);
    if (wrong)
        snprintf(why, 256, "%.120s: %s", path, wrong);
    if (fd >= 0)
        close(fd);
    return wrong ? CM_EACCES : 0;
}

void outside_file_place(const char *where, char place[PATH_MAX])
{
    if (!realpath(where, place))
        snprintf(place, PATH_MAX, "%s", where); /* there is no socket now */
}

void outside_file_follow(const struct outside_file *o, const char *where, uint64_t hash)
{
    char real[PATH_MAX], path[PATH_MAX + 8], why[256];
    struct outside_file other;
    struct stat own, there;

    outside_file_place(where, real);
    snprintf(path, sizeof(path), "%s.writes", real);
    if (stat(path, &there) != 0 || fstat(o->fd, &own) != 0 ||
        (there.st_dev == own.st_dev && there.st_ino == own.st_ino))
        return;
    if (outside_file_open(&other, real, false, why) != 0)
        return; /* it is nobody's table */
    outside_begin(other.at, hash);
    outside_file_close(&other);
}

void outside_file_close(struct outside_file *o)
{
    if (o->at)
        munmap(o->at, sizeof(*o->at));
    if (o->fd >= 0)
        close(o->fd); /* the lock goes with it */
    *o = (struct outside_file){ .fd = -1 };
}
