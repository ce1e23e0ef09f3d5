/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.c - a directory with a pool and a configuration, and a service that runs there.
 *
 * Who: the programs of this directory.
 */
#include "place.h"

#include <stdio.h>
#include <string.h>

#include "../os.h"
#include "cachemax.h"

char place_dir[512], place_socket[600], place_log_path[600];

void place_join(const char *dir)
{
    snprintf(place_dir, sizeof(place_dir), "%s", dir);
    place_name_socket();
}

void place_make(uint64_t pool_bytes)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    char path[700];

    if (!os_make_dir(place_dir, sizeof(place_dir), NULL, "service"))
        place_die(place_dir);
    place_name_socket();
    snprintf(path, sizeof(path), "%s/pool", place_dir);
    o.size = pool_bytes;
    if (cm_create(path, &o) != 0)
        place_die(path);
    place_configure("");
}

void place_configure(const char *more)
{
    char path[700];
    FILE *f;

    snprintf(path, sizeof(path), "%s/service.conf", place_dir);
    f = fopen(path, "w");
    if (!f || fprintf(f, "pool = %s/pool\nsocket = %s\n%s", place_dir, place_socket, more) < 0 ||
        fclose(f) != 0)
        place_die(path);
}

/* ---- The log --------------------------------------------------------------------------------- */

void place_log(void)
{
    snprintf(place_log_path, sizeof(place_log_path), "%s/log", place_dir);
}

long place_log_end(void)
{
    FILE *f = fopen(place_log_path, "r");
    long end = 0;

    if (f && fseek(f, 0, SEEK_END) == 0)
        end = ftell(f);
    if (f)
        fclose(f);
    return end;
}

unsigned place_log_lines(long from, const char *a, const char *b)
{
    FILE *f = fopen(place_log_path, "r");
    char line[1024];
    unsigned n = 0;

    if (f && fseek(f, from, SEEK_SET) == 0)
        while (fgets(line, sizeof(line), f)) /* a line that is not whole yet does not count */
            n += strchr(line, '\n') && strstr(line, a) && strstr(line, b);
    if (f)
        fclose(f);
    return n;
}

bool place_log_has(long from, const char *a, const char *b)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;

    while (place_log_lines(from, a, b) == 0) {
        if (place_now_ns() > until)
            return false;
        place_sleep_us(1000);
    }
    return true;
}

/* ---- The service ----------------------------------------------------------------------------- */

place_process place_start(const char *service)
{
    char config[700];
    const char *const args[] = { config, NULL };

    snprintf(config, sizeof(config), "%s/service.conf", place_dir);
    return place_run(service, args);
}

int place_await(place_process p)
{
    int status;

    while (!place_has_ended(p, &status))
        place_sleep_us(1000);
    return status;
}

void place_clean(void)
{
    const char *const names[] = { "pool", "service.conf", "log" };
    char path[700];

    place_clean_socket();
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", place_dir, names[i]);
        (void)remove(path);
    }
    (void)os_remove_dir(place_dir);
}
