/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.c - a directory with a pool and a configuration, and a service that runs there.
 *
 * Who: the programs of this directory.
 */
#include "place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cachemax.h"

char place_dir[512], place_socket[600];

void place_die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

uint64_t place_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void place_make(uint64_t pool_bytes)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    char path[700];
    FILE *f;

    snprintf(place_dir, sizeof(place_dir), "%s/cachemax-service-XXXXXX",
             getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(place_dir))
        place_die(place_dir);
    snprintf(place_socket, sizeof(place_socket), "%s/socket", place_dir);
    snprintf(path, sizeof(path), "%s/pool", place_dir);
    o.size = pool_bytes;
    if (cm_create(path, &o) != 0)
        place_die(path);
    snprintf(path, sizeof(path), "%s/service.conf", place_dir);
    f = fopen(path, "w");
    if (!f || fprintf(f, "pool = %s/pool\nsocket = %s\n", place_dir, place_socket) < 0 ||
        fclose(f) != 0)
        place_die(path);
}

pid_t place_start(const char *service)
{
    char config[700];
    const pid_t pid = fork();

    if (pid < 0)
        place_die("fork");
    if (pid != 0)
        return pid;
    snprintf(config, sizeof(config), "%s/service.conf", place_dir);
    execl(service, service, config, (char *)NULL);
    _exit(127);
}

void place_clean(void)
{
    const char *const names[] = { "pool", "service.conf", "socket", "socket.lock",
                                  "socket.writes" };
    char path[700];

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", place_dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(place_dir);
}
