/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix_listen.c - the part of os.h that listens, on POSIX systems.
 *
 * Owns: nothing that lasts. Addresses are numeric: where a program listens is no question for a
 * name server.
 *
 * Who: server.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "tool/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 16

/* The two parts of the address; false: it has another form. */
static bool split(const char *text, char host[OS_WHERE], const char **port)
{
    const bool six = text[0] == '[';
    const char *end = six ? strchr(text, ']') : strrchr(text, ':');
    const char *begin = text + six;

    if (!end || end == begin || (size_t)(end - begin) >= OS_WHERE)
        return false;
    *port = six ? end + 2 : end + 1;
    if ((six && end[1] != ':') || **port == '\0' || strlen(*port) > 5 ||
        strspn(*port, "0123456789") != strlen(*port) || strtoul(*port, NULL, 10) > 65535)
        return false;
    (void)snprintf(host, OS_WHERE, "%.*s", (int)(end - begin), begin);
    return six == (strchr(host, ':') != NULL);
}

static void describe(int fd, char where[OS_WHERE], bool *only_here)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } a = { .six = { 0 } };
    socklen_t n = sizeof(a);
    char text[INET6_ADDRSTRLEN] = "";

    where[0] = '\0';
    *only_here = false;
    if (getsockname(fd, &a.any, &n) != 0)
        return;
    if (a.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &a.six.sin6_addr, text, sizeof(text));
        (void)snprintf(where, OS_WHERE, "[%s]:%u", text, ntohs(a.six.sin6_port));
        *only_here = IN6_IS_ADDR_LOOPBACK(&a.six.sin6_addr);
    } else {
        (void)inet_ntop(AF_INET, &a.four.sin_addr, text, sizeof(text));
        (void)snprintf(where, OS_WHERE, "%s:%u", text, ntohs(a.four.sin_port));
        *only_here = ntohl(a.four.sin_addr.s_addr) >> 24 == 127;
    }
}

int os_listen(const char *address, int *fd, char where[OS_WHERE], bool *only_here)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *a = NULL;
    char host[OS_WHERE];
    const char *port;
    int error = 0, on = 1;

    if (!split(address, host, &port) || getaddrinfo(host, port, &hints, &a) != 0)
        return OS_BAD_ADDRESS;
    *fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        error = errno;
    if (error == 0 && (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
                       bind(*fd, a->ai_addr, a->ai_addrlen) != 0 || listen(*fd, BACKLOG) != 0)) {
        error = errno;
        (void)close(*fd);
    }
    freeaddrinfo(a);
    if (error == 0)
        describe(*fd, where, only_here);
    return error;
}

void os_end_connection(int fd)
{
    (void)shutdown(fd, SHUT_RDWR);
}
