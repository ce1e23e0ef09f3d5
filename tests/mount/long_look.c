/* SPDX-License-Identifier: BSD-2-Clause
 *
 * long_look.c - the work of a client that takes long: loaded into the mount by LD_PRELOAD.
 *
 * Amid such work the mount looks whether the client is gone, and whether it must end itself. The
 * third look since the mount began makes the file $LOOK.begun, and waits for $LOOK.go.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *name(char path[4096], const char *end)
{
    snprintf(path, 4096, "%s.%s", getenv("LOOK"), end);
    return path;
}

int poll(struct pollfd *p, nfds_t n, int ms)
{
    static int (*next)(struct pollfd *, nfds_t, int);
    static atomic_uint looks;
    char path[4096];

    if (!next)
        next = (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
    if (n != 1 || p->events != POLLRDHUP || ms != 0)
        return next(p, n, ms);
    if (atomic_fetch_add(&looks, 1) == 2) {
        close(open(name(path, "begun"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        while (access(name(path, "go"), F_OK) != 0)
            next(NULL, 0, 10);
    }
    return next(p, n, ms);
}
