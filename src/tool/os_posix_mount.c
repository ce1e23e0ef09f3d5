/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix_mount.c - os.h on POSIX systems: mounts, directories, and sockets.
 *
 * Owns nothing between two calls. Mounts and who is behind a socket are asked as Linux tells them;
 * elsewhere there is no cachemax-mount.
 *
 * Who: tool/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "tool/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Mounts ---------------------------------------------------------------------------------- */

/* Undoes the octal escapes of mountinfo in place. */
static char *unescape(char *text)
{
    char *w = text;

    for (const char *s = text; *s; s++)
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *w++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *w++ = *s;
        }
    *w = '\0';
    return text;
}

/* Reads "ID PARENT DEVICE ROOT POINT OPTIONS [TAG]... - TYPE SOURCE OPTIONS". 1: it is a mount of
 * ours; 0: another one; -1: no memory. */
static int parse_mount(char *line, struct os_mount *m)
{
    char *fields[5], *save = NULL, *more, *user;

    line[strcspn(line, "\n")] = '\0';
    more = strstr(line, " - fuse.cachemax ");
    if (!more)
        return 0;
    *more = '\0';
    for (int k = 0; k < 5; k++) {
        fields[k] = strtok_r(k ? NULL : line, " ", &save);
        if (!fields[k])
            return 0;
    }
    more += strlen(" - fuse.cachemax ");
    user = strstr(more + strcspn(more, " "), "user_id="); /* SOURCE may have anything in it */
    *m = (struct os_mount){ .id = strtoull(fields[0], NULL, 10),
                            .user = user ? strtoull(user + 8, NULL, 10) : UINT64_MAX,
                            .root = strdup(unescape(fields[3])),
                            .point = strdup(unescape(fields[4])) };
    (void)snprintf(m->device, sizeof(m->device), "%s", fields[2]);
    more[strcspn(more, " ")] = '\0';
    m->source = strdup(unescape(more));
    return m->root && m->point && m->source ? 1 : -1;
}

bool os_has_mounts(void)
{
    return true;
}

int os_read_mounts(struct os_mount **list, size_t *n)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t room = 0;
    int error = f ? 0 : errno;

    *list = NULL;
    *n = 0;
    while (f && error == 0 && getline(&line, &room, f) > 0) {
        struct os_mount m = { .id = 0 }, *wide;
        const int ours = parse_mount(line, &m);

        wide = ours > 0 ? realloc(*list, (*n + 1) * sizeof(m)) : NULL;
        if (wide) {
            *list = wide;
            wide[(*n)++] = m;
        } else if (ours != 0) {
            error = ENOMEM;
            free(m.root);
            free(m.point);
            free(m.source);
        }
    }
    if (f && error == 0 && !feof(f))
        error = errno ? errno : EIO; /* a part is missing */
    free(line);
    if (f)
        (void)fclose(f);
    if (error) {
        os_free_mounts(*list, *n);
        *list = NULL;
        *n = 0;
    }
    return error;
}

void os_free_mounts(struct os_mount *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].root);
        free(list[i].point);
        free(list[i].source);
    }
    free(list);
}

/* The number of the mount that fd is on. */
static bool mount_of(int fd, uint64_t *id)
{
    char name[40], line[128];
    bool found = false;
    FILE *f;

    (void)snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    f = fopen(name, "re");
    while (f && !found && fgets(line, sizeof(line), f))
        found = sscanf(line, "mnt_id: %" SCNu64, id) == 1;
    if (f)
        (void)fclose(f);
    return found;
}

int os_locate(const char *path, uint64_t *mount, char **real)
{
    int fd, error = 0;

    *real = realpath(path, NULL);
    if (!*real)
        return errno;
#ifdef O_PATH
    fd = open(*real, O_PATH | O_CLOEXEC | O_NOFOLLOW);
#else
    fd = open(*real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
#endif
    if (fd < 0)
        error = errno;
    else if (!mount_of(fd, mount))
        error = ENOTSUP;
    if (fd >= 0)
        (void)close(fd);
    if (error) {
        free(*real);
        *real = NULL;
    }
    return error;
}

/* Does the process live and run the program? *parent: who has started it. */
static bool runs(uint64_t process, const char *program, uint64_t *parent)
{
    char path[48], text[256];
    const size_t n = strlen(program);
    const char *name, *end;
    size_t have;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", process);
    f = fopen(path, "re");
    have = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        (void)fclose(f);
    text[have] = '\0';
    name = strchr(text, '('); /* "NUMBER (NAME) STATE PARENT ..." */
    end = strrchr(text, ')');
    if (!name || !end || strncmp(name + 1, program, n) != 0 || end != name + 1 + n)
        return false;
    *parent = strlen(end) > 4 ? strtoull(end + 4, NULL, 10) : 0;
    return end[1] == ' ' && end[2] != 'Z' && end[2] != 'X';
}

size_t os_processes(const char *program, uint64_t *list, size_t most)
{
    DIR *dir = opendir("/proc");
    const struct dirent *e;
    size_t n = 0;

    while (dir && n < most && (e = readdir(dir))) {
        const uint64_t process = strtoull(e->d_name, NULL, 10);
        uint64_t parent, other;
        char path[48];
        struct stat st;

        (void)snprintf(path, sizeof(path), "/proc/%" PRIu64, process);
        if (process > 0 && runs(process, program, &parent) && !runs(parent, program, &other) &&
            stat(path, &st) == 0 && (geteuid() == 0 || geteuid() == st.st_uid))
            list[n++] = process;
    }
    if (dir)
        (void)closedir(dir);
    return n;
}

bool os_mount_point(const char *path, char *point, size_t n)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *real = NULL, *field, *save;
    size_t room = 0;
    uint64_t id = 0;
    bool found = false;

    while (f && !found && (real || os_locate(path, &id, &real) == 0) &&
           getline(&line, &room, f) > 0) {
        if (strtoull(line, NULL, 10) != id)
            continue;
        field = strtok_r(line, " ", &save);
        for (int k = 0; k < 4 && field; k++)
            field = strtok_r(NULL, " ", &save);
        found = field && (size_t)snprintf(point, n, "%s", unescape(field)) < n;
    }
    free(real);
    free(line);
    if (f)
        (void)fclose(f);
    return found;
}

char *os_real_path(const char *path)
{
    return realpath(path, NULL);
}

bool os_owner(const char *path, uint64_t *user)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return false;
    *user = st.st_uid;
    return true;
}

bool os_is_user(uint64_t user)
{
    return geteuid() == user;
}

void os_act_end(void)
{
    (void)!seteuid(getuid());
    (void)!setegid(getgid());
}

bool os_act_as_owner(const char *path)
{
    struct stat st;

    if (getuid() != 0 || geteuid() != 0 || stat(path, &st) != 0 || st.st_uid == 0)
        return false;
    if (setegid(st.st_gid) == 0 && seteuid(st.st_uid) == 0) /* in this order: the last needs root */
        return true;
    os_act_end();
    return false;
}

void os_user_name(uint64_t user, char *name, size_t n)
{
    const struct passwd *p = getpwuid((uid_t)user);

    if (p)
        (void)snprintf(name, n, "%s", p->pw_name);
    else
        (void)snprintf(name, n, "%" PRIu64, user);
}

bool os_is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

bool os_may_write(const char *path)
{
    return access(path, W_OK) == 0;
}

/* OS_BAR_NONE also where the file system has no such flags. */
static enum os_bar flag_bars(const char *path)
{
#ifdef STATX_ATTR_IMMUTABLE
    struct statx x;

    if (statx(AT_FDCWD, path, 0, STATX_TYPE, &x) != 0)
        return OS_BAR_NONE;
    if (x.stx_attributes & STATX_ATTR_IMMUTABLE)
        return OS_BAR_IMMUTABLE;
    if (x.stx_attributes & STATX_ATTR_APPEND)
        return OS_BAR_APPEND;
#else
    (void)path;
#endif
    return OS_BAR_NONE;
}

enum os_bar os_bar(const char *path, unsigned *mode)
{
    const uid_t user = geteuid();
    struct stat st;

    if (stat(path, &st) != 0 || (st.st_uid != user && user != 0))
        return OS_BAR_NONE;
    *mode = st.st_mode & 07777u;
    if (user != 0 && (~st.st_mode & (S_IRUSR | S_IWUSR)) != 0)
        return OS_BAR_MODE;
    return flag_bars(path);
}

enum os_lock os_lock(const char *path)
{
    enum os_lock found = OS_LOCK_UNKNOWN;
#ifdef F_OFD_GETLK
    struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 && fcntl(fd, F_OFD_GETLK, &range) == 0)
        found = range.l_type == F_UNLCK   ? OS_LOCK_NONE
                : range.l_type == F_RDLCK ? OS_LOCK_READ
                                          : OS_LOCK_WRITE;
    if (fd >= 0)
        (void)close(fd);
#else
    (void)path;
#endif
    return found;
}

bool os_is_dead(int error)
{
    return error == ENOTCONN;
}

bool os_is_refused(int error)
{
    return error == ECONNREFUSED || error == ENOENT;
}

/* The kernel may still have the attributes, but statvfs always asks the process. */
static bool is_dead(const char *point)
{
    struct statvfs sv;
    struct stat st;

    return (stat(point, &st) != 0 || statvfs(point, &sv) != 0) && os_is_dead(errno);
}

#define DEAD_MS 3000
#define DESCRIPTORS 1024 /* more than the tool ever has */

/* In a process of its own, which ends here. It may hang, and nobody may wait for it: whoever reads
 * the tool's output up to its end, or has a connection with it. So it keeps no descriptor but that
 * of the answer. */
static void answer_dead(const char *point, int answer)
{
    sigset_t none;
    char dead;

    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (fd != answer)
            (void)close(fd);
    (void)sigemptyset(&none);
    (void)signal(SIGALRM, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)alarm(DEAD_MS / 1000 + 1);
    dead = (char)is_dead(point);
    _exit(write(answer, &dead, 1) != 1);
}

/* A process asks, and is left alone if it does not come back: then the mount lives. It is the child
 * of a child that ends at once, so the system takes it when it ends, and no zombie is left to a
 * tool that runs for long. It ends by itself soon afterwards. But if the mount's process has begun
 * with its question, no signal ends it: it ends when the mount answers, or that process ends. */
bool os_mount_is_dead(const char *point)
{
    struct pollfd wait = { .events = POLLIN };
    char dead = 0;
    bool answers;
    pid_t child;
    int ends[2];

    if (pipe(ends) != 0)
        return false;
    child = fork();
    if (child == 0) {
        child = fork();
        if (child == 0)
            answer_dead(point, ends[1]);
        _exit(child < 0);
    }
    (void)close(ends[1]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    wait.fd = ends[0];
    answers = child > 0 && poll(&wait, 1, DEAD_MS) > 0 && read(ends[0], &dead, 1) == 1;
    (void)close(ends[0]);
    return answers && dead;
}

/* ---- Directories ----------------------------------------------------------------------------- */

/* Passes on what fts has found. 0; other: the walk ends. */
static int visit(const FTSENT *e, dev_t device, os_walk_fn fn, void *ctx)
{
    const bool fails = e->fts_info == FTS_NS || e->fts_info == FTS_DNR || e->fts_info == FTS_ERR;

    if (fails && ((e->fts_level == 0 && e->fts_info == FTS_NS) || os_is_dead(e->fts_errno)))
        return -e->fts_errno;
    if (fails && e->fts_level > 0 && (e->fts_errno == ENOENT || e->fts_errno == ENOTDIR))
        return 0; /* it was there when its directory was read */
    if (fails)
        return fn(ctx, e->fts_path, NULL, e->fts_errno);
    const struct stat *s = e->fts_statp;
    const struct os_found file = { (uint64_t)s->st_size, (uint64_t)device,
                                   s->st_nlink > 1 ? s->st_ino : 0 };
    return e->fts_info == FTS_F && s->st_dev == device ? fn(ctx, e->fts_path, &file, 0) : 0;
}

int os_walk(const char *path, os_walk_fn fn, void *ctx)
{
    char *const roots[] = { (char *)path, NULL };
    FTS *const walk = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
    const FTSENT *e;
    dev_t device = 0;
    int rc = 0, error;

    if (!walk)
        return -errno;
    while (rc == 0 && (e = fts_read(walk))) {
        if (e->fts_level == 0 && e->fts_info != FTS_NS)
            device = e->fts_statp->st_dev;
        rc = visit(e, device, fn, ctx);
    }
    error = errno; /* 0: that was all */
    (void)fts_close(walk);
    return rc == 0 ? -error : rc;
}

void os_drop_pages(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return;
#ifdef POSIX_FADV_DONTNEED
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#endif
    (void)close(fd);
}

/* ---- Sockets --------------------------------------------------------------------------------- */

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

/* Asks who listens. False: this system does not tell. */
static bool peer_of(int fd, uint64_t *user, uint64_t *process)
{
#ifdef SO_PEERCRED
    struct ucred peer;
    socklen_t n = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0)
        return false;
    *user = peer.uid;
    *process = (uint64_t)peer.pid;
    return true;
#else
    (void)fd;
    (void)user;
    (void)process;
    return false;
#endif
}

/* A socket has some 100 bytes for its name: a long one is named by the descriptor of its directory.
 */
static bool address_of(const char *path, struct sockaddr_un *a, int *dir)
{
    const char *slash = strrchr(path, '/');
    char parent[4096];
    int n = (int)strlen(path);

    *dir = -1;
    if ((size_t)n < sizeof(a->sun_path)) {
        memcpy(a->sun_path, path, (size_t)n + 1);
        return true;
    }
    if (!slash)
        return false;
    os_parent(path, parent, sizeof(parent));
    *dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    n = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", *dir, slash + 1);
    return *dir >= 0 && n > 0 && (size_t)n < sizeof(a->sun_path);
}

int os_connect(const char *path, intptr_t *stream, uint64_t *user, uint64_t *process)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int dir, error = 0, fd = -1;

    if (!address_of(path, &a, &dir))
        error = ENAMETOOLONG;
    else if ((fd = socket(AF_UNIX, SOCK_STREAM, 0)) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
             fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
             connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
        error = errno; /* EAGAIN: too many wait already */
    else if (!peer_of(fd, user, process))
        error = ENOTSUP;
    if (dir >= 0)
        (void)close(dir);
    if (error && fd >= 0)
        (void)close(fd);
    *stream = fd;
    return error;
}

#define SEND_MS 10000

int os_send(intptr_t stream, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        struct pollfd wait = { .fd = (int)stream, .events = POLLOUT };
        const ssize_t n = send((int)stream, p, len, MSG_NOSIGNAL);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return errno;
        } else if (poll(&wait, 1, SEND_MS) == 0) {
            return ETIMEDOUT;
        }
        if (os_interrupted())
            return EINTR;
    }
    return 0;
}

int64_t os_receive(intptr_t stream, void *buf, size_t len, int seconds, int *error)
{
    for (;;) {
        struct pollfd wait = { .fd = (int)stream, .events = POLLIN };
        const int ready = poll(&wait, 1, seconds < 0 ? -1 : seconds * 1000);
        ssize_t n = -1;

        if (ready == 0 || os_interrupted()) {
            *error = os_interrupted() ? OS_INTERRUPTED : OS_TIMED_OUT;
            return -1;
        }
        if (ready > 0)
            n = recv((int)stream, buf, len, 0);
        if (n >= 0)
            return n;
        if (errno == ECONNRESET)
            return 0;
        if (errno != EAGAIN && errno != EINTR) {
            *error = errno;
            return -1;
        }
    }
}

void os_end_sending(intptr_t stream)
{
    (void)shutdown((int)stream, SHUT_WR);
}

void os_disconnect(intptr_t stream)
{
    (void)close((int)stream);
}
