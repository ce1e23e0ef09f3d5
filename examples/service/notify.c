/* SPDX-License-Identifier: BSD-2-Clause
 *
 * notify.c - tells a service manager how a program is doing, as sd_notify(3) does.
 *
 * $NOTIFY_SOCKET is the path of a Unix socket, or an abstract one behind '@'. No state. Any thread.
 *
 * Who: main.c, the mount's manager.c.
 */
#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify(const char *text)
{
    const char *const where = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const size_t n = where ? strlen(where) : 0;
    int fd;

    if (n < 2 || n >= sizeof(a.sun_path) || (where[0] != '/' && where[0] != '@'))
        return;
    memcpy(a.sun_path, where, n);
    if (where[0] == '@')
        a.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&a,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}
