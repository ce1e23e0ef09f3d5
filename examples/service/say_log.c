/* SPDX-License-Identifier: BSD-2-Clause
 *
 * say_log.c - see say_log.h: lines for a log whose reader may have stopped.
 *
 * Owns: a second way to the pipe or terminal that is the standard error, which never waits. The
 * first one may belong to other programs, too, so it stays as it is. And how many lines are
 * missing, and how long a thread may wait.
 *
 * Who: main.c; the mount's main.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"
#include "say_log.h"
#include "tool/tool.h"

#define SAY_BYTES 8000
#define AT_ONCE 4000 /* a pipe that is ready takes 4096 bytes */
#define STEP_MS 10u
#define TURNS_MS 100u /* to wait for other threads that write, none of which waits */

/* Of whose turn it is. */
struct way {
    bool known;
    mode_t kind; /* S_IF... of the standard error */
    int fd;      /* of a pipe or a terminal; -1: it cannot be opened anew, such as one of root */
    bool cut;    /* the last line is there in part */
};

static void look(struct way *w)
{
    struct stat st;

    if (w->known)
        return;
    *w = (struct way){ .known = true, .kind = S_IFREG, .fd = -1 };
    if (fstat(STDERR_FILENO, &st) == 0)
        w->kind = st.st_mode & S_IFMT;
    if (S_ISFIFO(w->kind) || S_ISCHR(w->kind))
        w->fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static bool may_wait(const struct way *w)
{
    return S_ISFIFO(w->kind) || S_ISCHR(w->kind) || S_ISSOCK(w->kind);
}

/* A pipe that is ready takes a whole line. So may a terminal; if it takes only a part, this waits.
 */
static bool write_if_ready(const struct way *w, const char *text, size_t n)
{
    struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

    if (may_wait(w) && poll(&p, 1, 0) != 1)
        return false;
    (void)fwrite(text, 1, n, stderr);
    (void)fflush(stderr); /* some C libraries keep it */
    return true;
}

/* `line` begins with a line end, for after a line of which only a part was taken. */
static bool write_line(struct way *w, const char *line, size_t n)
{
    const char *const from = w->cut ? line : line + 1;
    const size_t all = w->cut ? n : n - 1;
    ssize_t did;

    errno = EAGAIN; /* if it takes a part only, or is not ready */
    if (S_ISSOCK(w->kind))
        did = send(STDERR_FILENO, from, all, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (w->fd >= 0)
        did = write(w->fd, from, all);
    else
        return write_if_ready(w, from, all);
    if (did > 0)
        w->cut = (size_t)did < all;
    return did == (ssize_t)all;
}

/* One at a time: what a pipe is ready for is one line. */
static bool take_turn(_Atomic bool *busy)
{
    for (unsigned ms = 0; atomic_exchange(busy, true); ms++) {
        if (ms == TURNS_MS)
            return false;
        os_sleep_ms(1);
    }
    return true;
}

static struct way way;
static _Atomic bool busy;

void say_log_begin(void)
{
    if (!take_turn(&busy))
        return;
    look(&way);
    atomic_store(&busy, false);
}

void say_log_for_all(void)
{
    if (!take_turn(&busy))
        return;
    look(&way);
    if (way.fd >= 0)
        (void)dup2(way.fd, STDERR_FILENO);
    atomic_store(&busy, false);
}

void say_log_end(void)
{
    if (!take_turn(&busy))
        return;
    if (way.known && way.fd >= 0)
        close(way.fd);
    way = (struct way){ .known = false };
    atomic_store(&busy, false);
}

/* False: it did not write the line; errno is EAGAIN if it would have had to wait. */
static bool say_at_once(const char *before, const char *text)
{
    char both[SAY_BYTES], line[1 + TOOL_PRINTABLE_MAX(SAY_BYTES) + 1];
    bool written;
    size_t n;

    (void)snprintf(both, sizeof(both), "%s%s", before, text);
    line[0] = '\n';
    tool_printable(line + 1, both);
    if (!take_turn(&busy)) {
        errno = EAGAIN;
        return false;
    }
    look(&way);
    n = strlen(line);
    if (may_wait(&way) && n > AT_ONCE)
        n = AT_ONCE;
    line[n++] = '\n';
    written = write_line(&way, line, n);
    atomic_store(&busy, false);
    return written;
}

static _Thread_local unsigned wait_ms;

void say_log_waits(unsigned ms)
{
    wait_ms = ms;
}

/* Between its attempts others may have their turn. */
static bool say_in_time(const char *before, const char *text)
{
    while (!say_at_once(before, text)) {
        if (errno != EAGAIN || wait_ms < STEP_MS)
            return false;
        wait_ms -= STEP_MS;
        os_sleep_ms(STEP_MS);
    }
    return true;
}

void say_log(const char *before, const char *text, const char *warns)
{
    static _Atomic unsigned left_out;
    unsigned n = atomic_exchange(&left_out, 0);
    const int error = errno; /* callers may look at it afterwards */
    char line[100];

    snprintf(line, sizeof(line), "%u lines are missing here: nobody had read those before them", n);
    if (n == 0 || say_in_time(warns, line))
        n = 0;
    n += !say_in_time(before, text);
    atomic_fetch_add(&left_out, n);
    errno = error;
}
