/* SPDX-License-Identifier: BSD-2-Clause
 *
 * socket.c - clients that come through a Unix socket.
 *
 * Owns: the socket, which only its owner may use (mode 0600; and each peer is asked who it is: the
 * owner or root). A lock on "SOCKET.lock" says that a service lives, so a socket that a killed one
 * has left can be replaced.
 *
 * Who: run.c, as transport_local.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "os.h"
#include "outside_file.h"
#include "stream.h"

/* ---- A client -------------------------------------------------------------------------------- */

struct socket_stream {
    struct stream stream;
    int fd;
    int process; /* pidfd; -1: the kernel has none, or the process is hidden */
};

static int64_t socket_receive(struct stream *stream, void *to, size_t n)
{
    struct socket_stream *s = (struct socket_stream *)stream;
    ssize_t got;

    do
        got = recv(s->fd, to, n, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_LATE : errno == ECONNRESET ? 0 : -2;
    return got;
}

/* Sends some bytes, the descriptors with the first of them. */
static ssize_t send_some(int to, const uint8_t *from, size_t n, const struct ring_pass *pass)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(pass->fd))];
    } control;
    struct iovec v = { .iov_base = (void *)from, .iov_len = n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    struct cmsghdr *c;

    if (!pass)
        return send(to, from, n, MSG_NOSIGNAL);
    memset(&control, 0, sizeof(control));
    m.msg_control = control.room;
    m.msg_controllen = sizeof(control.room);
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(pass->fd));
    memcpy(CMSG_DATA(c), pass->fd, sizeof(pass->fd));
    return sendmsg(to, &m, MSG_NOSIGNAL);
}

static int64_t socket_send(struct stream *stream, const void *from, size_t n,
                           const struct ring_pass *pass)
{
    struct socket_stream *s = (struct socket_stream *)stream;
    const uint8_t *at = from;
    size_t left = n;

    while (left > 0) {
        const ssize_t sent = send_some(s->fd, at, left, pass);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_LATE : 0;
        at += sent;
        left -= (size_t)sent;
        pass = NULL;
    }
    return (int64_t)n;
}

static void socket_shut(struct stream *stream)
{
    (void)shutdown(((struct socket_stream *)stream)->fd, SHUT_RDWR);
}

static bool socket_gone(struct stream *stream, unsigned ms)
{
    const struct socket_stream *s = (struct socket_stream *)stream;
    struct pollfd p = { .fd = s->process, .events = POLLIN };

    return s->process >= 0 && poll(&p, 1, (int)ms) == 1 && (p.revents & POLLIN);
}

static void socket_free(struct stream *stream)
{
    struct socket_stream *s = (struct socket_stream *)stream;

    close(s->fd);
    if (s->process >= 0)
        close(s->process);
    free(s);
}

static const struct stream_calls calls = { socket_receive, socket_send, socket_shut,
                                           socket_gone,    socket_free, true };

/* ---- Waiting for clients --------------------------------------------------------------------- */

struct listener {
    struct server *server;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int fd, lock;
    struct os_thread thread;
    _Atomic bool stopping;
};

/* The client's process, as something that can be waited for. */
static int process_of(int fd, pid_t pid)
{
    int process = -1;
#ifdef SO_PEERPIDFD
    socklen_t n = sizeof(process);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &process, &n) == 0)
        return process;
#endif
    (void)fd;
#ifdef SYS_pidfd_open
    if (pid > 0)
        process = (int)syscall(SYS_pidfd_open, pid, 0);
#endif
    return process;
}

static void take(struct listener *l, int fd)
{
    const uint32_t ms = l->server->wait_ms;
    const struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
    struct ucred peer = { .uid = (uid_t)-1 };
    socklen_t n = sizeof(peer);
    struct socket_stream *s;
    char why[64];

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 ||
        (peer.uid != geteuid() && peer.uid != 0)) {
        snprintf(why, sizeof(why), "its user %u is not the service's", (unsigned)peer.uid);
        server_log_refused(l->server, "process", (uint32_t)peer.pid, why);
        close(fd);
        return;
    }
    s = calloc(1, sizeof(*s));
    if (!s) {
        close(fd);
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    s->stream = (struct stream){ &calls, (uint32_t)peer.pid };
    s->fd = fd;
    s->process = process_of(fd, peer.pid);
    stream_take(l->server, &s->stream);
}

static void listener_main(void *arg)
{
    struct listener *l = arg;
    bool said = false;

    while (!atomic_load(&l->stopping)) {
        const int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            said = false;
            take(l, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            if (!said)
                server_log(l->server, LOG_WARN, "no client can come: %s", strerror(errno));
            said = true;
            os_sleep_ms(100); /* until a client has gone */
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return; /* shut down */
        }
    }
}

#define NO_SOCKET "it is no socket; move it away"
#define LOCK_FAULT_MAX 136 /* with the longest path: 256 at most */

/* Is it new, or did a service leave it: one line, the word of a lock and the path of a pool? Else
 * it is a file of somebody else, who must not lose it: the rest of a message. The end of the line
 * is missing if the volume was full. NULL: it is a lock. */
static const char *content_fault(int fd, const struct stat *st)
{
    static const char other[] = "it is no lock of a service; move it away";
    static const char old[] =
        "it lacks the first word of a service's lock. If an older service has made it, delete it "
        "when that has ended; else move it away";
    char text[sizeof(OS_LOCK_WORD) + PATH_MAX];
    const char *end;
    ssize_t n;

    if (!S_ISREG(st->st_mode) || st->st_size > (off_t)sizeof(text))
        return other;
    n = pread(fd, text, sizeof(text), 0);
    if (n <= 0)
        return n == 0 ? NULL : other;
    end = memchr(text, '\n', (size_t)n);
    if (memchr(text, '\0', (size_t)n) || (end && end != text + n - 1))
        return other;
    if (text[0] == '/')
        return old;
    return (size_t)n >= strlen(OS_LOCK_WORD) && !memcmp(text, OS_LOCK_WORD, strlen(OS_LOCK_WORD))
               ? NULL
               : other;
}

/* What looks like a lock may still be a copy of one, or a name of something else. False: it is the
 * service's own. */
static bool lock_fault(int fd, char fault[LOCK_FAULT_MAX])
{
    const char *content;
    struct stat st;

    if (fstat(fd, &st) != 0) {
        snprintf(fault, LOCK_FAULT_MAX, "%s", strerror(errno));
        return true;
    }
    content = content_fault(fd, &st);
    if (content)
        snprintf(fault, LOCK_FAULT_MAX, "%s", content);
    else if (st.st_nlink != 1)
        snprintf(fault, LOCK_FAULT_MAX,
                 "it has %lu names; a service's lock has one: remove the others, or move it away",
                 (unsigned long)st.st_nlink);
    else if (st.st_size > 0 && (st.st_mode & 077) != 0)
        snprintf(fault, LOCK_FAULT_MAX,
                 "its mode is %04o; a service's lock has 0600: if it is one, set that; else move "
                 "it away",
                 (unsigned)st.st_mode & 07777);
    else
        return false;
    return true;
}

/* Nobody else may serve here. */
static int lock_path(struct listener *l, char why[256])
{
    char path[sizeof(l->path) + 8], fault[LOCK_FAULT_MAX];

    snprintf(path, sizeof(path), "%s.lock", l->path);
    l->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (l->lock >= 0 && lock_fault(l->lock, fault)) {
        snprintf(why, 256, "%s: %s", path, fault);
        return -1;
    }
    if (l->lock >= 0 && flock(l->lock, LOCK_EX | LOCK_NB) == 0) {
        (void)!fchmod(l->lock, 0600); /* an empty one; else the next start would refuse it */
        /* For a mount, which must not cover the pool: the next start would not find it. If there is
         * no room for the word, the next start finds an empty file. */
        if (ftruncate(l->lock, 0) == 0 &&
            dprintf(l->lock, OS_LOCK_WORD "%s\n", l->server->pool) < (int)strlen(OS_LOCK_WORD))
            (void)!ftruncate(l->lock, 0);
        return 0;
    }
    if (l->lock >= 0 && errno == EWOULDBLOCK)
        snprintf(why, 256, "%s: another service listens there", l->path);
    else
        snprintf(why, 256, "%s: %s", path, strerror(errno));
    return -1;
}

static int listen_at(struct listener *l, char why[256])
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    mode_t mask;
    struct stat st;
    int rc;

    memcpy(a.sun_path, l->path, sizeof(a.sun_path));
    if (lstat(l->path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            snprintf(why, 256, "%s: " NO_SOCKET, l->path);
            return -1;
        }
        (void)unlink(l->path); /* of a service that was killed: we have the lock */
    }
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mask = umask(0177);
    rc = l->fd < 0 ? -1 : bind(l->fd, (const struct sockaddr *)&a, sizeof(a));
    umask(mask);
    if (rc == 0 && listen(l->fd, 64) == 0)
        return 0;
    snprintf(why, 256, "%s: %s", l->path, strerror(errno));
    return -1;
}

static void close_listener(struct listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->lock >= 0)
        close(l->lock);
    free(l);
}

static int socket_start(struct server *server, const char *where, void **state, char why[256])
{
    struct listener *l = calloc(1, sizeof(*l));

    if (!l || strlen(where) >= sizeof(l->path)) {
        snprintf(why, 256, l ? "%.200s: the name of a socket is too long" : "no memory", where);
        free(l);
        return -1;
    }
    l->server = server;
    l->fd = l->lock = -1;
    strcpy(l->path, where);
    if (lock_path(l, why) == 0 && listen_at(l, why) == 0) {
        *state = l;
        if (os_thread_begin(&l->thread, listener_main, l))
            return 0;
        snprintf(why, 256, "there is no thread for %s", where);
    }
    close_listener(l);
    return -1;
}

static void socket_stop(void *state)
{
    struct listener *l = state;

    atomic_store(&l->stopping, true);
    (void)shutdown(l->fd, SHUT_RDWR); /* accept4() fails from now on; without descriptors it did */
    os_thread_join(&l->thread);
    (void)unlink(l->path);
    close_listener(l);
}

/* Is its directory on a volume that is mounted read-only? */
static bool is_readonly(const char *where)
{
    char dir[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    const char *const slash = strrchr(where, '/');

    snprintf(dir, sizeof(dir), "%.*s.", slash ? (int)(slash - where) + 1 : 0, where);
    return os_is_readonly(dir);
}

/* A service manager makes a directory below /run when the service begins (RuntimeDirectory= of a
 * unit). A path that goes up again may lead anywhere. */
static bool may_come(const char *where)
{
    return (strncmp(where, "/run/", 5) == 0 || strncmp(where, "/var/run/", 9) == 0) &&
           !strstr(where, "/../");
}

/* What this user may not look at may be in order for the service's. */
static int socket_look(const char *where, char why[256])
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8], fault[LOCK_FAULT_MAX];
    struct stat st;
    bool wrong;
    int fd;

    if (lstat(where, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        snprintf(why, 256, "%.200s: " NO_SOCKET, where);
        return -1;
    }
    errno = 0;
    if (os_place_is_missing(where) && errno != EACCES && !may_come(where)) {
        snprintf(why, 256, "%.120s: there is no such directory; make it first", where);
        return -1;
    }
    if (is_readonly(where)) {
        snprintf(why, 256,
                 "%.120s: its volume is mounted read-only, and the service makes its socket there",
                 where);
        return -1;
    }
    if (outside_file_look(where, why) != 0)
        return -1;
    snprintf(path, sizeof(path), "%.*s.lock", (int)sizeof(path) - 6, where);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno != ELOOP)
        return 0;
    wrong = fd < 0 || lock_fault(fd, fault);
    if (wrong)
        snprintf(why, 256, "%s: %s", path, fd < 0 ? strerror(ELOOP) : fault);
    if (fd >= 0)
        close(fd);
    return wrong ? -1 : 0;
}

const struct transport transport_local = { "socket", socket_start, socket_stop, socket_look };
