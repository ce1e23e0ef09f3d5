/* SPDX-License-Identifier: BSD-2-Clause
 *
 * manager.c - what a service manager is told (sd_notify(3)): ready, state, ending, and that the
 *             loops answer.
 *
 * Only a mount in the foreground tells it. If the manager has a watchdog ($WATCHDOG_USEC), a thread
 * looks at the loops four times in that period, and tells it if none of them is busy with the same
 * request as at the look before. So a request on a loop may take three quarters of the period.
 * Requests that wait for the origin do not count, because other threads take the places of such
 * loops: a server that does not answer is no reason to kill the mount.
 *
 * Owns: the thread. Who: main.c; the backings say their state.
 */
#include "mount.h"

#include "../service/notify.h"
#include "tool/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <timed_wait.h> /* examples/wait */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    uint64_t period_us; /* 0: no thread */
    bool stop;
} watchdog = { .lock = PTHREAD_MUTEX_INITIALIZER };

void manager_status(const char *fmt, ...)
{
    char line[1024], text[sizeof("STATUS=") + TOOL_PRINTABLE_MAX(sizeof(line))] = "STATUS=";
    va_list ap;

    if (!mnt.opt.foreground)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    (void)tool_printable(text + strlen(text), line); /* an end of a line would end the status */
    notify(text);
}

/* 0: nobody wants to know. */
static uint64_t period(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end;
    unsigned long long n;

    if (!us || !*us || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    n = strtoull(us, &end, 10);
    return *end || us[0] == '-' ? 0 : n;
}

static void *watch(void *arg)
{
    struct timespec at;

    (void)arg;
    clock_gettime(CLOCK_MONOTONIC, &at);
    pthread_mutex_lock(&watchdog.lock);
    while (!watchdog.stop) {
        const uint64_t ns = (uint64_t)at.tv_nsec + watchdog.period_us * 250;

        at.tv_sec += (time_t)(ns / 1000000000);
        at.tv_nsec = (long)(ns % 1000000000);
        while (!watchdog.stop && wait_on(&watchdog.wake, &watchdog.lock, &at)) {
        }
        if (!watchdog.stop && loop_answers())
            notify("WATCHDOG=1");
    }
    pthread_mutex_unlock(&watchdog.lock);
    return NULL;
}

void manager_ready(void)
{
    if (!mnt.opt.foreground)
        return;
    notify("READY=1");
    watchdog.period_us = period();
    if (!watchdog.period_us)
        return;
    if (wait_init(&watchdog.wake) || pthread_create(&watchdog.thread, NULL, watch, NULL)) {
        say(CM_LOG_WARNING, "no thread for the watchdog");
        watchdog.period_us = 0;
    }
}

void manager_stopping(void)
{
    if (!mnt.opt.foreground)
        return;
    notify("STOPPING=1");
    manager_status("%s: ending", mnt.opt.dir);
    if (!watchdog.period_us)
        return;
    pthread_mutex_lock(&watchdog.lock);
    watchdog.stop = true;
    pthread_mutex_unlock(&watchdog.lock);
    pthread_cond_signal(&watchdog.wake);
    pthread_join(watchdog.thread, NULL);
}
