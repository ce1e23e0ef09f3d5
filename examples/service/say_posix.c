/* SPDX-License-Identifier: BSD-2-Clause
 *
 * say_posix.c - say_at_once() of say.h: lines for a log whose reader may have stopped.
 *
 * Owns: nothing but whose turn it is.
 *
 * Who: main.c.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"
#include "say.h"
#include "tool/tool.h"

#define SAY_BYTES 8000
#define AT_ONCE 4000  /* a pipe that is ready takes 4096 bytes */
#define TURNS_MS 100u /* to wait for other threads that write, none of which waits */

/* Does the standard error take a line now? A pipe whose reader has gone is ready, too: the write
 * fails then. *waits: it is something that may have to wait for a reader. */
static bool is_taken(bool *waits)
{
    struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
    struct stat st;

    *waits = fstat(STDERR_FILENO, &st) == 0 &&
             (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode));
    return !*waits || poll(&p, 1, 0) == 1;
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

bool say_at_once(const char *format, ...)
{
    static _Atomic bool busy;
    char text[SAY_BYTES], shown[TOOL_PRINTABLE_MAX(SAY_BYTES) + 1];
    bool waits, ready;
    size_t n;
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    tool_printable(shown, text);
    if (!take_turn(&busy))
        return false;
    ready = is_taken(&waits);
    n = strlen(shown);
    if (waits && n > AT_ONCE)
        n = AT_ONCE;
    shown[n] = '\n';
    if (ready) {
        (void)fwrite(shown, 1, n + 1, stderr);
        (void)fflush(stderr); /* some C libraries keep it */
    }
    atomic_store(&busy, false);
    return ready;
}
