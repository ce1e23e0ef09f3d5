/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_posix.h - shared by the tests of platform.h on Linux.
 */
#ifndef CM_TEST_PLATFORM_POSIX_H
#define CM_TEST_PLATFORM_POSIX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "child.h"
#include "platform_common.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* The tests of the other files. */
extern const struct harness_test platform_posix_create_tests[], platform_posix_identity_tests[],
    platform_posix_fork_tests[], platform_posix_mounts_tests[], platform_posix_refused_tests[],
    platform_posix_unseen_tests[];

/* ---- Files and children -------------------------------------------------------------------- */

/* Makes faults end the child, whatever handler a sanitizer has installed. */
static inline void default_faults(void)
{
    (void)signal(SIGBUS, SIG_DFL);
    (void)signal(SIGSEGV, SIG_DFL);
}

static inline int in_child(void (*body)(void *), void *arg)
{
    return child_run(default_faults, body, arg);
}

/* Exit status of a child that cannot do what the test needs. */
#define CHILD_CANNOT 77
#define CHECK_STATUS_OR_SKIP(status, reason)                                                       \
    do {                                                                                           \
        const int child_status = status;                                                           \
        if (WIFEXITED(child_status) && WEXITSTATUS(child_status) == CHILD_CANNOT) {                \
            SKIP(reason);                                                                          \
        }                                                                                          \
        CHECK(WIFEXITED(child_status));                                                            \
        CHECK_EQ(WEXITSTATUS(child_status), 0);                                                    \
    } while (0)
#define CHECK_CHILD_OR_SKIP(body, arg, reason) CHECK_STATUS_OR_SKIP(in_child(body, arg), reason)

/* In a child: mounts over `at`, for this process only. Exits if that is not allowed. */
void mount_here(const char *type, const char *at, const char *options);

/* The file that the library reads instead of /proc/self/mountinfo; NULL: none. */
extern const char *mountinfo_is;
/* The same for /proc/self/timens_offsets, and how often it was opened. */
extern const char *timens_is;
extern unsigned timens_opened;
/* errno of each open() of a file in sysfs. */
extern int sysfs_refuses;
/* errno of the ioctl that tells a file system's UUID. */
extern int no_uuid;

static inline void make_file(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_EQ(close(fd), 0);
}

#endif
