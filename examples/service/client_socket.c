/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_socket.c - the client's end of a Unix socket.
 *
 * Who: client_link.c.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client_stream.h"
#include "os.h"
#include "platform/posix_above.h"

const char *client_stream_fault(const char *where)
{
    const struct sockaddr_un a = { 0 };
    struct stat st;

    if (!where[0])
        return "it has no name";
    if (strlen(where) >= sizeof(a.sun_path))
        return "the name of a socket is too long";
    if (stat(where, &st) == 0)
        return S_ISSOCK(st.st_mode) ? NULL : "it is no socket";
    /* The service would have its table beside the socket, and cannot be asked for it. */
    return lstat(where, &st) == 0 ? "it is a link to nothing; name the socket itself" : NULL;
}

bool client_stream_open(struct client_stream *s, const char *where, uint64_t timeout_ns)
{
    const struct timeval wait = { .tv_sec = (time_t)(timeout_ns / 1000000000),
                                  .tv_usec = (suseconds_t)(timeout_ns % 1000000000 / 1000) };
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd;

    *s = (struct client_stream){ .handle = CLIENT_STREAM_NONE, .timeout_ns = timeout_ns };
    if (strlen(where) >= sizeof(a.sun_path))
        return false;
    strcpy(a.sun_path, where);
    fd = posix_above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)); /* of connect(), too */
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0) {
        close(fd);
        return false;
    }
    s->handle = fd;
    return true;
}

bool client_stream_send(struct client_stream *s, const struct piece p[2])
{
    const size_t all = p[0].n + p[1].n;
    const uint64_t until = os_now_ns() + s->timeout_ns;
    size_t done = 0;

    while (done < all) {
        const size_t in_second = done > p[0].n ? done - p[0].n : 0;
        const size_t in_first = done < p[0].n ? done : p[0].n;
        struct iovec v[2] = { { (uint8_t *)p[0].at + in_first, p[0].n - in_first },
                              { p[1].n > 0 ? (uint8_t *)p[1].at + in_second : NULL,
                                p[1].n - in_second } };
        const struct msghdr m = { .msg_iov = v, .msg_iovlen = p[1].n > 0 ? 2 : 1 };
        const ssize_t sent = sendmsg((int)s->handle, &m, MSG_NOSIGNAL);

        if (sent == 0 || (sent < 0 && errno != EINTR))
            return false;
        done += sent > 0 ? (size_t)sent : 0;
        /* Each signal, and each byte that goes, begins the socket's own time-out anew. */
        if (done < all && os_now_ns() >= until)
            return false;
    }
    return true;
}

/* The descriptors that came along with a message: the ring's memory and its bell. Less than both,
 * if this process has no room for more, are of no use. */
static void take_along(struct msghdr *m, struct ring_pass *pass)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(m);

    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return;
    memcpy(pass->fd, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    for (unsigned i = 0; i < 2; i++)
        pass->fd[i] = posix_above_standard(pass->fd[i]);
    if (c->cmsg_len != CMSG_LEN(sizeof(pass->fd)))
        ring_pass_end(pass);
}

int64_t client_stream_receive(struct client_stream *s, const struct piece p[2], bool wait,
                              struct ring_pass *pass)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(pass->fd))];
    } control;
    struct iovec v[2] = { { p[0].at, p[0].n }, { p[1].at, p[1].n } };
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
    ssize_t got;

    if (pass) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof(control.room);
    }
    got = recvmsg((int)s->handle, &m, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    /* The caller looks at the clock: with a signal now and then this would wait for ever. */
    if (got < 0 && (errno == EINTR || (!wait && (errno == EAGAIN || errno == EWOULDBLOCK))))
        return 0;
    if (got > 0 && pass)
        take_along(&m, pass);
    return got > 0 ? got : -1;
}

bool client_stream_is_cut(struct client_stream *s)
{
    struct pollfd p = { .fd = (int)s->handle, .events = POLLRDHUP };

    return poll(&p, 1, 0) > 0; /* negative: a signal came */
}

void client_stream_shut(struct client_stream *s)
{
    (void)shutdown((int)s->handle, SHUT_RDWR);
}

void client_stream_close(struct client_stream *s)
{
    if (s->handle != CLIENT_STREAM_NONE)
        close((int)s->handle);
    s->handle = CLIENT_STREAM_NONE;
}
