/* SPDX-License-Identifier: BSD-2-Clause
 *
 * child.h - parts of a test that run in a child process, on systems with fork().
 */
#ifndef CM_CHILD_H
#define CM_CHILD_H

#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ends a child as _exit does; what it printed is kept. */
static _Noreturn inline void child_exit(int status)
{
    fflush(stdout);
    _exit(status);
}

/* Runs `prepare` (may be NULL), then `body` in a child; its CHECKs decide the exit status. Returns
 * the wait status. */
static inline int child_run(void (*prepare)(void), void (*body)(void *), void *arg)
{
    const struct rlimit no_core = { 0, 0 };
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        (void)setrlimit(RLIMIT_CORE, &no_core);
        if (prepare != NULL) {
            prepare();
        }
        alarm(60);
        harness_failures = 0;
        body(arg);
        child_exit(harness_failures != 0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* The file that includes this defines in_child(body, arg). */
#define CHECK_CHILD_OK(body, arg)                                                                  \
    do {                                                                                           \
        const int child_status = in_child(body, arg);                                              \
        CHECK(WIFEXITED(child_status));                                                            \
        CHECK_EQ(WEXITSTATUS(child_status), 0);                                                    \
    } while (0)

#endif
