/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config.c - the configuration file of the service: lines "KEY = VALUE", and comments after "#".
 *
 * Owns: nothing; the texts lie in the caller's struct config.
 *
 * Who: command.c, remove.c, service_install_win32.c, service_run_win32.c.
 */
#include "config.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

/* What a key has. */
enum kind { NUMBER, PATH, FOLDER, PATTERN };
struct key {
    const char *name;
    enum kind kind;
    size_t at;                              /* in struct config, of numbers and paths */
    uint32_t low, high;                     /* of a number */
    const char *(*fault)(const char *text); /* what is wrong with a path */
    const char *should;                     /* of a number */
};
#define LINE 2048u /* bytes of a line, with the zero behind it */
static const struct key keys[] = {
    { "pool", PATH, offsetof(struct config, pool), 0, 0, os_path_fault, NULL },
    { "socket", PATH, offsetof(struct config, socket), 0, 0, os_place_fault, NULL },
    { "key_file", PATH, offsetof(struct config, key_file), 0, 0, os_path_fault, NULL },
#ifdef _WIN32
    { "port", PATH, offsetof(struct config, port), 0, 0, os_port_fault, NULL },
#endif
    { "clients", NUMBER, offsetof(struct config, clients), 1, 1000, NULL,
      "it must be a number from 1 to 1000" },
    { "files", NUMBER, offsetof(struct config, files), 1, 10000000, NULL,
      "it must be a number from 1 to 10000000" },
    { "folder", FOLDER, 0, 0, 0, NULL, NULL },
    { "exclude", PATTERN, 0, 0, 0, NULL, NULL },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* From a "#" on that begins the line or follows a blank. */
static void cut_comment(char *line)
{
    for (size_t i = 0; line[i]; i++)
        if (line[i] == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
            line[i] = 0;
            return;
        }
}

/* Bytes of the mark that some editors put before the first line: it is UTF-8. */
static size_t mark_of(const char *line, unsigned number)
{
    static const char mark[] = "\xef\xbb\xbf";

    return number == 1 && strncmp(line, mark, sizeof(mark) - 1) == 0 ? sizeof(mark) - 1 : 0;
}

static char *trim(char *s)
{
    char *end = s + strlen(s);

    while (*s == ' ' || *s == '\t')
        s++;
    while (end > s && strchr(" \t\r\n", end[-1]))
        *--end = 0;
    return s;
}

/* The functions below return what is wrong with the value, or NULL. */

static const char *take_number(void *to, const struct key *k, const char *value)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || n < k->low || n > k->high)
        return k->should;
    memcpy(to, &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
    return NULL;
}

/* Keeps a text. NULL: there is no room for it. */
static const char *keep(struct config *c, const char *value)
{
    char *const to = c->text + c->text_used;
    const size_t n = strlen(value) + 1;

    if (n > sizeof(c->text) - c->text_used)
        return NULL;
    memcpy(to, value, n);
    c->text_used += (uint32_t)n;
    return to;
}

static const char *take_folder(struct config *c, const char *value)
{
    const char *const wrong = os_path_fault(value);

    if (wrong)
        return wrong;
    if (folders_path_fault(value))
        return folders_path_fault(value);
    if (config_has_folder(c, value))
        return "the folder was there before";
    if (c->folders.count == FOLDERS_MAX)
        return "there are too many folders";
    c->folders.folder[c->folders.count] = keep(c, value);
    return c->folders.folder[c->folders.count++] ? NULL : "the folders and patterns are too long";
}

static const char *take_pattern(struct config *c, const char *value)
{
    if (folders_pattern_fault(value))
        return folders_pattern_fault(value);
    if (c->folders.excludes == FOLDERS_EXCLUDES_MAX)
        return "there are too many patterns";
    c->folders.exclude[c->folders.excludes] = keep(c, value);
    return c->folders.exclude[c->folders.excludes++] ? NULL
                                                     : "the folders and patterns are too long";
}

static const char *take_path(char *to, const struct key *k, const char *value)
{
    const char *wrong = NULL;

    if (strlen(value) >= sizeof(((struct config *)0)->pool))
        return "the path is too long";
    wrong = k->fault(value);
    if (!wrong)
        strcpy(to, value);
    return wrong;
}

static const char *take(struct config *c, const struct key *k, const char *value)
{
    if ((k->kind == PATH || k->kind == FOLDER) && value[0] == '"')
        return "write it without quotes, also if there are blanks in it";
    switch (k->kind) {
    case NUMBER:
        return take_number((char *)c + k->at, k, value);
    case PATH:
        return take_path((char *)c + k->at, k, value);
    case FOLDER:
        return take_folder(c, value);
    default:
        return take_pattern(c, value);
    }
}

/* Takes a line apart, without its comment. False: it is no "KEY = VALUE". */
static bool split(char *line, const char **name, const char **value)
{
    char *const equals = strchr(line, '=');

    if (!equals)
        return false;
    *equals = 0;
    *name = trim(line);
    *value = trim(equals + 1);
    return true;
}

/* `seen`: keys that were there, a bit each. *key: the line's, if there is such a key. */
static const char *take_line(struct config *c, char *line, unsigned *seen, const char **key)
{
    const char *name, *value;

    if (!split(line, &name, &value))
        return "it should be \"KEY = VALUE\"";
    for (unsigned i = 0; i < KEYS; i++) {
        if (strcmp(name, keys[i].name) != 0)
            continue;
        *key = keys[i].name;
        if ((*seen >> i & 1) && keys[i].kind < FOLDER)
            return "it was there before";
        *seen |= 1u << i;
        return take(c, &keys[i], value);
    }
    return "no option has this name: see cachemax-service(1), docs/service.md";
}

/* The next line, without its end. Returns what is wrong with it, or NULL. *is_there: false at the
 * end of the file. */
static const char *read_line(FILE *f, char line[LINE], bool *is_there)
{
    size_t n = 0;
    int c;

    while ((c = getc(f)) != EOF && c != '\n') {
        if (c == 0)
            return "there is a zero byte; save the file as UTF-8, not as UTF-16 (\"Unicode\")";
        if (n == LINE - 1)
            return "the line is too long";
        line[n++] = (char)c;
    }
    line[n] = 0;
    *is_there = c != EOF || n > 0;
    return ferror(f) ? strerror(errno) : os_line_fault(line);
}

/* *number: the line where it is wrong; 0: none of them. *key: that of the line, or
 * NULL. */
static const char *take_file(struct config *c, FILE *f, unsigned *number, const char **key)
{
    char line[LINE], *text;
    unsigned seen = 0;

    for (*number = 1;; ++*number) {
        bool is_there = true;
        const char *wrong = read_line(f, line, &is_there);

        *key = NULL;
        if (wrong) {
            *number = ferror(f) ? 0 : *number;
            return wrong;
        }
        if (!is_there)
            break;
        text = line + mark_of(line, *number);
        cut_comment(text);
        text = trim(text);
        wrong = *text ? take_line(c, text, &seen, key) : NULL;
        if (wrong)
            return wrong;
    }
    *number = 0;
    if (!c->pool[0])
        return "\"pool = FILE\" is missing";
    return c->socket[0] ? NULL : "\"socket = PATH\" is missing";
}

bool config_read(struct config *c, const char *path, char why[CONFIG_WHY_ROOM])
{
    FILE *f = os_read_file(path);
    const char *wrong, *key = NULL;
    unsigned number = 0;

    memset(c, 0, sizeof(*c));
    c->clients = 64;
    c->files = 65536;
    if (!f) {
        snprintf(why, CONFIG_WHY_ROOM, "%.300s: %s", path, strerror(errno));
        return false;
    }
    wrong = take_file(c, f, &number, &key);
    fclose(f);
    if (wrong && number > 0)
        snprintf(why, CONFIG_WHY_ROOM, "%.300s:%u: %s%s%s", path, number, key ? key : "",
                 key ? ": " : "", wrong);
    else if (wrong)
        snprintf(why, CONFIG_WHY_ROOM, "%.300s: %s", path, wrong);
    return !wrong;
}

bool config_has_folder(const struct config *c, const char *folder)
{
    for (unsigned i = 0; i < c->folders.count; i++)
        if (folders_is_below(c->folders.folder[i], folder) &&
            folders_is_below(folder, c->folders.folder[i]))
            return true;
    return false;
}

/* Is this the line of the folder? */
static bool is_of_folder(const char *raw, const char *folder)
{
    char line[LINE];
    const char *name, *value;

    snprintf(line, sizeof(line), "%s", raw);
    cut_comment(line);
    return split(line, &name, &value) && strcmp(name, "folder") == 0 &&
           folders_is_below(value, folder) && folders_is_below(folder, value);
}

bool config_remove_folder(const char *path, const char *folder, char why[CONFIG_WHY_ROOM])
{
    struct os_replacement r;
    FILE *from = os_read_file(path), *to = from ? os_replace_begin(&r, path) : NULL;
    char line[LINE];
    bool done = to != NULL, found = false;

    for (unsigned number = 1; done && fgets(line, sizeof(line), from); number++) {
        const size_t mark = mark_of(line, number);

        if (is_of_folder(line + mark, folder)) {
            found = true;
            line[mark] = 0;
        }
        done = fputs(line, to) >= 0;
    }
    done = done && !ferror(from);
    if (from)
        fclose(from); /* Windows replaces no file that is open */
    if (done && !found) {
        (void)os_replace_end(&r, false);
        snprintf(why, CONFIG_WHY_ROOM, "%.250s: it has no line \"folder = %.200s\"", path, folder);
        return false;
    }
    if (to)
        done = os_replace_end(&r, done);
    if (!done && to && r.left)
        snprintf(why, CONFIG_WHY_ROOM,
                 "%.300s: it cannot be changed: %s; "
                 "its new content has this name and \"%s\" at the end",
                 path, strerror(errno), r.beside + strlen(r.path));
    else if (!done)
        snprintf(why, CONFIG_WHY_ROOM, "%.300s: it cannot be changed: %s", path, strerror(errno));
    return done;
}
