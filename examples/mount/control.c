/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control.c - the control socket of a running mount: POOL.control, beside the pool, or with a
 * service SOCKET.DEVICE.control, beside its socket, where DEVICE is that of the mount.
 *
 * Owns the socket, a thread that accepts, and one thread for each client, CLIENTS_MAX at most. Only
 * the user of the mount and root are served: the socket has mode 0600, and the kernel tells who
 * connects. A request is one short line and the bytes of a path, so it takes a fixed buffer. A
 * client that stops in the middle of a request, or does not take its answer, is left after
 * STALL_MS, one that asks nothing after IDLE_MS. Nothing else waits for a client.
 *
 * The pool belongs to this process, and so does the number of the device. So a socket that is there
 * before belongs to a mount that was killed, and is replaced. If there can be no socket, the log
 * says so, and the mount serves without one. At the end control_cancel() lets all work stop, and
 * control_stop() waits for it: for STOP_NS, because a server below DIR may not answer.
 *
 * Callers: main.c; control_ops.c, quota.c, record.c and resize.c for the lines; backing_pool.c and
 * resize.c ask whether it ends.
 */
#include "control.h"
#include "control_head.h"
#include "mount.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <timed_wait.h> /* examples/wait */

#define CLIENTS_MAX 16u
#define HEAD_MAX 128u
#define LINE_MAX_ (3 * PATH_MAX + 128) /* every byte of a text may be escaped */
#define IDLE_MS 60000
#define STALL_MS 10000
#define AT_NS 100000000ull
#define STOP_NS 14000000000ull /* since the cancel */
#define LAST_NS 1000000000ull  /* once nobody uses the mount */

struct control_client {
    pthread_t thread;
    int fd;
    bool used;  /* control.lock; the thread has not been joined */
    bool ended; /* control.lock */
    bool gone;
    uint64_t at_ns; /* of the last "at" */
    size_t have;    /* bytes that were received and not used yet */
    char in[HEAD_MAX + PATH_MAX];
    char out[LINE_MAX_];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running;
    _Atomic bool stop;
    uint64_t cancelled_ns;    /* cm_now() of the first control_cancel(); main thread */
    int listener, dir, event; /* dir: where the socket is */
    char name[NAME_MAX + 1];  /* of the socket, in dir */
    ino_t ino;
    struct control_client clients[CLIENTS_MAX];
} control = { .lock = PTHREAD_MUTEX_INITIALIZER, .listener = -1, .dir = -1, .event = -1 };

/* ---- Lines to a client ----------------------------------------------------------------------- */

bool control_cancelled(struct control_client *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

    if (!c->gone && poll(&p, 1, 0) > 0)
        c->gone = true;
    return c->gone || atomic_load(&control.stop);
}

bool control_ending(void)
{
    return atomic_load(&control.stop);
}

bool control_wanted(struct control_client *c, int ms)
{
    struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

    return !atomic_load(&control.stop) && !c->gone && poll(&p, 1, ms) <= 0;
}

/* Sends all of it. */
static bool send_all(struct control_client *c, const char *text, size_t n)
{
    while (n > 0 && !c->gone) {
        struct pollfd p = { .fd = c->fd, .events = POLLOUT };
        const ssize_t sent = send(c->fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent > 0) {
            text += sent;
            n -= (size_t)sent;
        } else if (sent < 0 && errno == EINTR) {
            continue;
        } else if (sent >= 0 || errno != EAGAIN || poll(&p, 1, STALL_MS) <= 0) {
            c->gone = true;
        }
    }
    return !c->gone;
}

static bool say_line(struct control_client *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static bool say_line(struct control_client *c, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(c->out, sizeof(c->out), fmt, ap);
    va_end(ap);
    return n > 0 && (size_t)n < sizeof(c->out) && send_all(c, c->out, (size_t)n);
}

bool control_is(struct control_client *c, const char *name, uint64_t value)
{
    return say_line(c, "is %s %" PRIu64 "\n", name, value);
}

bool control_is_text(struct control_client *c, const char *name, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    char *w = c->out + snprintf(c->out, 64, "is %.40s ", name);

    for (; *text && w < c->out + sizeof(c->out) - 4; text++) {
        const unsigned char b = (unsigned char)*text;

        if (b > 0x20 && b != '%' && b != 0x7f) {
            *w++ = (char)b;
            continue;
        }
        *w++ = '%';
        *w++ = digits[b >> 4];
        *w++ = digits[b & 15];
    }
    *w++ = '\n';
    return send_all(c, c->out, (size_t)(w - c->out));
}

bool control_at(struct control_client *c, uint64_t done, uint64_t total)
{
    struct pollfd p = { .fd = c->fd, .events = POLLOUT };

    if (control_cancelled(c))
        return false;
    if (cm_now() - c->at_ns < AT_NS || poll(&p, 1, 0) <= 0) /* the client is slow: the next one */
        return true;
    c->at_ns = cm_now();
    return say_line(c, "at %" PRIu64 " %" PRIu64 "\n", done, total);
}

static bool say_end(struct control_client *c, int code)
{
    const bool system = code <= CONTROL_ERRNO;

    return say_line(
        c, "end %d %s\n", code,
        code == 0                 ? "done"
        : code == CONTROL_AWAY    ? "the service of the mount does not answer"
        : code == CONTROL_CROWDED ? "the service of the mount has too many clients: raise "
                                    "\"clients\" in its configuration"
        : code == CONTROL_FULL
            ? "the service has too many files open: raise \"files\" in its configuration"
        : code == CONTROL_RESIZING ? "the pool gets another size at this moment"
        : code == CONTROL_NO_POOL
            ? "the pool cannot be opened again yet; the mount tries every 5 s, and "
              "passes all through meanwhile"
        : code == CONTROL_NOT_OURS ? "the pool belongs to a service; a mount of it cannot do that"
        : code == CONTROL_ERRNO - EMFILE
            ? "the mount has no descriptor or memory left for it: use fewer files at "
              "a time, or raise its limit (ulimit -Hn, LimitNOFILE=) and mount anew"
        : system   ? strerror(CONTROL_ERRNO - code)
        : code < 0 ? cm_strerror(code)
                   : cm_errname(code));
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* Waits for more bytes. False: none come. */
static bool receive(struct control_client *c, uint64_t deadline)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    const uint64_t now = cm_now();
    ssize_t n;
    int ready;

    if (now >= deadline || c->have == sizeof(c->in))
        return false;
    ready = poll(&p, 1, (int)((deadline - now) / 1000000) + 1);
    if (ready <= 0)
        return ready < 0 && errno == EINTR;
    n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);
    if (n > 0)
        c->have += (size_t)n;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Takes n bytes from the front. */
static void consume(struct control_client *c, size_t n)
{
    c->have -= n;
    memmove(c->in, c->in + n, c->have);
}

/* False: the connection ends, after a message if the request was wrong. */
static bool read_request(struct control_client *c, struct control_request *r)
{
    uint64_t deadline = cm_now() + IDLE_MS * 1000000ull;
    bool begun = false;
    struct control_head h;
    size_t head;
    char *end;

    while (!(end = memchr(c->in, '\n', c->have < HEAD_MAX ? c->have : HEAD_MAX))) {
        if (c->have >= HEAD_MAX)
            break;
        if (c->have > 0 && !begun) {
            begun = true;
            deadline = cm_now() + STALL_MS * 1000000ull;
        }
        if (!receive(c, deadline) || atomic_load(&control.stop))
            return false;
    }
    if (end)
        *end = '\0';
    if (!end || memchr(c->in, 0, (size_t)(end - c->in)) || !control_head_read(c->in, &h)) {
        say_end(c, CM_EINVAL);
        return false;
    }
    if (h.version != CONTROL_VERSION) {
        say_end(c, CM_EVERSION);
        return false;
    }
    head = (size_t)(end - c->in) + 1;
    deadline = cm_now() + STALL_MS * 1000000ull;
    while (c->have < head + h.len)
        if (!receive(c, deadline) || atomic_load(&control.stop))
            return false;
    memcpy(r->verb, h.verb, sizeof(r->verb));
    r->number = h.number;
    memcpy(r->path, c->in + head, h.len);
    r->path[h.len] = '\0';
    consume(c, head + h.len);
    return strlen(r->path) == h.len;
}

static bool is_allowed(int fd)
{
    struct ucred peer = { .uid = (uid_t)-1 };
    socklen_t n = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static void *client_main(void *arg)
{
    struct control_client *c = arg;
    struct control_request r;

    if (!is_allowed(c->fd))
        say_end(c, CM_EACCES);
    else
        while (!atomic_load(&control.stop) && read_request(c, &r) &&
               say_end(c, control_serve(c, &r)))
            ;
    pthread_mutex_lock(&control.lock);
    close(c->fd);
    c->fd = -1;
    c->ended = true;
    pthread_cond_broadcast(&control.wake);
    pthread_mutex_unlock(&control.lock);
    return NULL;
}

/* ---- The socket ------------------------------------------------------------------------------ */

/* A place for one more client; NULL: there is none. */
static struct control_client *free_client(void)
{
    struct control_client *found = NULL;

    pthread_mutex_lock(&control.lock);
    for (unsigned k = 0; k < CLIENTS_MAX && !found; k++) {
        struct control_client *c = &control.clients[k];

        if (c->used && c->ended) { /* so the join does not wait */
            pthread_join(c->thread, NULL);
            c->used = false;
        }
        if (!c->used)
            found = c;
    }
    pthread_mutex_unlock(&control.lock);
    return found;
}

static void take(int fd)
{
    struct control_client *c = free_client();
    int err = c ? 0 : EAGAIN;

    if (c) {
        c->fd = fd;
        c->gone = c->ended = false;
        c->have = 0;
        c->at_ns = 0;
        pthread_mutex_lock(&control.lock);
        err = pthread_create(&c->thread, NULL, client_main, c);
        c->used = err == 0;
        pthread_mutex_unlock(&control.lock);
    }
    if (err) {
        static const char busy[] = "end -100011 too many clients\n";

        (void)!send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
    }
}

static void *listener_main(void *arg)
{
    struct pollfd p[2] = { { .fd = control.listener, .events = POLLIN },
                           { .fd = control.event, .events = POLLIN } };

    (void)arg;
    while (!atomic_load(&control.stop)) {
        int fd;

        if (poll(p, 2, -1) <= 0 || !(p[0].revents & POLLIN))
            continue;
        fd = accept4(control.listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            take(fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            poll(p + 1, 1, 200);
    }
    return NULL;
}

/* A socket has 107 bytes for its name, so it is named by the descriptor of its directory. */
static bool address(struct sockaddr_un *a)
{
    const int n = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", control.dir,
                           control.name);

    a->sun_family = AF_UNIX;
    return n > 0 && (size_t)n < sizeof(a->sun_path);
}

/* The directory of the pool itself, whatever links lead to it. The socket of a service may be away;
 * several mounts use it, and no two have the same device. */
static bool find_place(void)
{
    char *const path = strdup(mnt.opt.pool ? mnt.opt.pool : mnt.opt.service);
    char *slash = path ? strrchr(path, '/') : NULL;
    int n = -1;

    if (slash) {
        n = snprintf(control.name, sizeof(control.name), "%s%s%s.control", slash + 1,
                     mnt.opt.pool ? "" : ".", mnt.opt.pool ? "" : place_device());
        slash[slash == path] = '\0';
        control.dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    free(path);
    if ((size_t)n >= sizeof(control.name))
        errno = ENAMETOOLONG;
    return control.dir >= 0 && (size_t)n < sizeof(control.name);
}

static bool listen_there(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct stat st;

    if (!find_place())
        return false;
    if (!address(&a)) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (fstatat(control.dir, control.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
        (void)unlinkat(control.dir, control.name, 0);
    control.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Its mode before it has a name: this process has no umask. */
    if (control.listener < 0 || fchmod(control.listener, 0600) < 0 ||
        bind(control.listener, (struct sockaddr *)&a, sizeof(a)) < 0)
        return false;
    if (fstatat(control.dir, control.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    control.ino = st.st_ino;
    control.event = eventfd(0, EFD_CLOEXEC);
    return control.event >= 0 && listen(control.listener, 64) == 0;
}

static void remove_socket(void)
{
    struct stat st;

    if (control.ino && fstatat(control.dir, control.name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISSOCK(st.st_mode) && st.st_ino == control.ino)
        (void)unlinkat(control.dir, control.name, 0);
    control.ino = 0;
    if (control.listener >= 0)
        close(control.listener);
    if (control.dir >= 0)
        close(control.dir);
    if (control.event >= 0)
        close(control.event);
    control.listener = control.dir = control.event = -1;
}

void control_start(void)
{
    int err = wait_init(&control.wake);

    if (!err)
        err = listen_there() ? pthread_create(&control.thread, NULL, listener_main, NULL) : errno;
    control.running = err == 0;
    if (control.running)
        return;
    say(CM_LOG_WARNING, "%s%s.control: there is no control socket (%s): cachemax cannot steer %s",
        mnt.opt.pool ? mnt.opt.pool : mnt.opt.service, mnt.opt.pool ? "" : ".*", strerror(err),
        mnt.opt.dir);
    remove_socket();
}

void control_cancel(void)
{
    const uint64_t one = 1;

    if (!control.running)
        return;
    if (!atomic_exchange(&control.stop, true))
        control.cancelled_ns = cm_now();
    (void)!write(control.event, &one, sizeof(one));
    pthread_mutex_lock(&control.lock);
    for (unsigned k = 0; k < CLIENTS_MAX; k++)
        if (control.clients[k].used && !control.clients[k].ended)
            (void)shutdown(control.clients[k].fd, SHUT_RDWR);
    pthread_mutex_unlock(&control.lock);
}

/* Waits for one client until then. */
static bool has_ended(struct control_client *c, const struct timespec *until)
{
    bool ended;

    pthread_mutex_lock(&control.lock);
    while (c->used && !c->ended && wait_on(&control.wake, &control.lock, until)) {
    }
    ended = !c->used || c->ended;
    pthread_mutex_unlock(&control.lock);
    if (ended && c->used) {
        pthread_join(c->thread, NULL);
        c->used = false;
    }
    return ended;
}

bool control_stop(void)
{
    struct timespec until;
    uint64_t ns;
    bool all = true;

    if (!control.running)
        return true;
    control_cancel();
    pthread_join(control.thread, NULL);
    control_cancel(); /* a client that was accepted meanwhile */
    ns = cm_now() - control.cancelled_ns;
    ns = ns < STOP_NS - LAST_NS ? STOP_NS - ns : LAST_NS;
    until = wait_until(ns);
    for (unsigned k = 0; k < CLIENTS_MAX; k++)
        all = has_ended(&control.clients[k], &until) && all;
    remove_socket();
    control.running = false;
    return all;
}

void control_waiting(int sig)
{
    pthread_mutex_lock(&control.lock);
    for (unsigned k = 0; k < CLIENTS_MAX; k++)
        if (control.clients[k].used && !control.clients[k].ended)
            pthread_kill(control.clients[k].thread, sig);
    pthread_mutex_unlock(&control.lock);
}
