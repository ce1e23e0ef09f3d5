/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config.c - the configuration file of the service: lines "KEY = VALUE", and comments after "#".
 *
 * Who: main.c.
 */
#include "config.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key {
    const char *name;
    size_t at;          /* in struct config */
    uint32_t low, high; /* of a number; 0: a path */
};
static const struct key keys[] = {
    { "pool", offsetof(struct config, pool), 0, 0 },
    { "socket", offsetof(struct config, socket), 0, 0 },
    { "clients", offsetof(struct config, clients), 1, 1000 },
    { "files", offsetof(struct config, files), 1, 10000000 },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static char *trim(char *s)
{
    char *end = s + strlen(s);

    while (*s == ' ' || *s == '\t')
        s++;
    while (end > s && strchr(" \t\r\n", end[-1]))
        *--end = 0;
    return s;
}

/* Returns what is wrong with the value, or NULL. */
static const char *take(struct config *c, const struct key *k, const char *value)
{
    char *const to = (char *)c + k->at, *end;
    unsigned long n;

    if (k->high == 0) {
        if (value[0] != '/')
            return "it must be an absolute path";
        if (strlen(value) >= sizeof(c->pool))
            return "the path is too long";
        strcpy(to, value);
        return NULL;
    }
    errno = 0;
    n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || n < k->low || n > k->high)
        return "it must be a number in the range that docs/service.md names";
    memcpy(to, &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
    return NULL;
}

/* One line without its comment. `seen`: keys that were there, a bit each. */
static const char *take_line(struct config *c, char *line, unsigned *seen)
{
    char *const equals = strchr(line, '=');
    const char *name, *value;

    if (!equals)
        return "it should be \"KEY = VALUE\"";
    *equals = 0;
    name = trim(line);
    value = trim(equals + 1);
    for (unsigned i = 0; i < KEYS; i++) {
        if (strcmp(name, keys[i].name) != 0)
            continue;
        if (*seen >> i & 1)
            return "the key was there before";
        *seen |= 1u << i;
        return take(c, &keys[i], value);
    }
    return "there is no such key (pool, socket, clients, files)";
}

static const char *take_file(struct config *c, FILE *f, unsigned *number)
{
    char line[2048], *text;
    const char *wrong = NULL;
    unsigned seen = 0;

    for (*number = 1; !wrong && fgets(line, sizeof(line), f); ++*number) {
        if (!strchr(line, '\n') && !feof(f))
            return "the line is too long";
        line[strcspn(line, "#")] = 0;
        text = trim(line);
        wrong = *text ? take_line(c, text, &seen) : NULL;
        if (wrong)
            return wrong;
    }
    if (ferror(f))
        return strerror(errno);
    if (!c->pool[0])
        return "\"pool = FILE\" is missing";
    return c->socket[0] ? NULL : "\"socket = PATH\" is missing";
}

bool config_read(struct config *c, const char *path, char why[512])
{
    FILE *f = fopen(path, "r");
    const char *wrong;
    unsigned number = 0;

    *c = (struct config){ .clients = 64, .files = 65536 };
    if (!f) {
        snprintf(why, 512, "%s: %s", path, strerror(errno));
        return false;
    }
    wrong = take_file(c, f, &number);
    fclose(f);
    if (wrong)
        snprintf(why, 512, "%s:%u: %s", path, number, wrong);
    return !wrong;
}
