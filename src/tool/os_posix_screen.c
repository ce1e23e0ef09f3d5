/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix_screen.c - the full-screen part of os.h on POSIX systems.
 *
 * Owns the state of the terminal while a view is shown: its modes as they were, and the two signals
 * that concern it. A changed size interrupts a wait. A wish to stop (Ctrl-Z) is carried out in the
 * wait: the terminal is as before while the process is stopped.
 *
 * Who: cmd_top.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "tool/os.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* The other screen, no cursor, no wrapping of long lines; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static struct termios before;
static bool has_keys; /* `before` is valid */
static volatile sig_atomic_t resized, stop_wanted;

static void on_signal(int number)
{
    if (number == SIGTSTP)
        stop_wanted = 1;
    else
        resized = 1;
}

static void on(int number, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL); /* no SA_RESTART: it ends a wait */
}

static void say(const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        const ssize_t n = write(STDOUT_FILENO, text, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        left -= (size_t)n;
    }
}

static void enter(void)
{
    struct termios now;

    if (has_keys) {
        now = before;
        now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        now.c_cc[VMIN] = 1;
        now.c_cc[VTIME] = 0;
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
    }
    say(ENTER);
}

bool os_screen_begin(void)
{
    const char *const kind = getenv("TERM");

    if (!kind || !*kind || !strcmp(kind, "dumb"))
        return false;
    has_keys = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before) == 0;
    on(SIGWINCH, on_signal);
    on(SIGTSTP, on_signal);
    enter();
    return true;
}

void os_screen_end(void)
{
    say(LEAVE);
    if (has_keys)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

static void stop(void)
{
    stop_wanted = 0;
    os_screen_end();
    on(SIGTSTP, SIG_DFL);
    (void)raise(SIGTSTP); /* goes on here when the process is continued */
    on(SIGTSTP, on_signal);
    enter();
}

int os_wait_key(double seconds)
{
    struct pollfd p = { .fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN };
    unsigned char key;
    int n = 0;

    if (!resized && !stop_wanted && !os_interrupted())
        n = poll(&p, 1, (int)(seconds * 1000) + 1);
    if (stop_wanted) {
        stop();
        return OS_KEY_REDRAW;
    }
    if (resized) {
        resized = 0;
        return OS_KEY_REDRAW;
    }
    if (n > 0 && read(STDIN_FILENO, &key, 1) == 1)
        return key;
    if (n > 0)
        has_keys = false; /* the terminal is gone */
    return OS_KEY_NONE;
}

void os_screen_size(int *columns, int *rows)
{
    struct winsize w;

    *columns = 80;
    *rows = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0) {
        *columns = w.ws_col;
        *rows = w.ws_row;
    }
}

bool os_shows_unicode(void)
{
    const char *set = setlocale(LC_CTYPE, "") ? nl_langinfo(CODESET) : "";
    const bool utf8 = strcmp(set, "UTF-8") == 0 || strcmp(set, "utf8") == 0;

    (void)setlocale(LC_CTYPE, "C"); /* as everything else expects it */
    return utf8;
}
