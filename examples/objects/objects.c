/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects.c - a cache of values under keys, from the command line: all calls of
 * cachemax_objects.h in one program.
 *
 *     objects POOL put KEY [SECONDS] <VALUE    # SECONDS: how long it lives
 *     objects POOL get KEY >VALUE
 *     objects POOL delete KEY
 *     objects POOL list                        # keys, lengths
 *     objects POOL info | clear | forget
 *
 * POOL is made if it is not there, with 64 MiB. The container is called "example". A key has up to
 * 255 bytes, a value less than 4 MiB here. Exit status 0; 1: there is no such object, or the value
 * of a put was not stored, and the old one is gone, too (a message says why); 2: it went wrong.
 * Keys may be any bytes. Where they are shown, what a terminal would take for a command is \xNN, as
 * are bytes that are no UTF-8, and a backslash is two.
 *
 * Read next: docs/objects.md.
 */
#include <cachemax_objects.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include "start_win32.h"
#endif

static cm_objects *objects;
static int output_error; /* the first one of standard output, as errno tells it; 0: none */

static int failed(const char *what, int e)
{
    fprintf(stderr, "objects: %s: %s\n", what, cm_strerror(e));
    return 2;
}

/* ---- Keys as text ---------------------------------------------------------------------------- */

/* No control character, no end of a line, no change of the direction of writing, no backslash. */
static int may_show(uint32_t c)
{
    return c >= 0x20 && c != '\\' && (c < 0x7f || c > 0x9f) && c != 0x061c &&
           (c < 0x200e || c > 0x200f) && (c < 0x2028 || c > 0x202e) && (c < 0x2066 || c > 0x2069);
}

/* How many bytes of text are a character of UTF-8 that may be shown; 0: it is none. */
static size_t shown(const unsigned char *p, size_t left)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    if (n > left || (n > 1 && (p[0] < 0xc2 || p[0] > 0xf4)))
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return may_show(c) ? n : 0;
}

/* A key as text for a terminal. */
static const char *printable(const char *key, size_t len)
{
    static char text[4 * CM_OBJECT_KEY_MAX + 1];
    char *to = text;
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = shown((const unsigned char *)key + i, len - i);
        memcpy(to, key + i, n);
        to += n;
        if (n == 0 && key[i] == '\\')
            to += snprintf(to, 3, "\\\\");
        else if (n == 0)
            to += snprintf(to, 5, "\\x%02x", (unsigned)(unsigned char)key[i]);
    }
    *to = '\0';
    return text;
}

/* ---- The pool -------------------------------------------------------------------------------- */

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level <= CM_LOG_WARNING)
        fprintf(stderr, "objects: %s\n", text);
}

static int open_all(const char *path, cm_cache **cache)
{
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    create.size = 64 << 20;
    create.log = options.log = log_line;
    int e = cm_create(path, &create);
    if (e == 0 || e == CM_EEXIST)
        e = cm_open(path, &options, cache);
    if (e == 0 && (e = cm_objects_open(*cache, "example", NULL, &objects)) < 0)
        cm_close(*cache);
    return e;
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* Seconds in nanoseconds; 0: it is not such a number, or more than some centuries. */
static uint64_t read_seconds(const char *text)
{
    char *end;
    const unsigned long long n = strtoull(text, &end, 10);
    const int digits = text[0] >= '0' && text[0] <= '9' && *end == '\0';
    return digits && n <= UINT64_MAX / 1000000000 ? n * 1000000000 : 0;
}

static int put(const char *key, const char *seconds)
{
    static char value[4 << 20];
    const uint64_t ttl = seconds ? read_seconds(seconds) : 0;
    if (seconds && ttl == 0) {
        fprintf(stderr, "objects: SECONDS '%s': give a number from 1 to 18446744073\n", seconds);
        return 2;
    }
    const size_t len = fread(value, 1, sizeof(value), stdin);
    if (ferror(stdin)) {
        fprintf(stderr, "objects: standard input: %s\n", strerror(errno));
        return 2;
    }
    if (len == sizeof(value)) {
        fprintf(stderr, "objects: the value: this program takes less than 4 MiB\n");
        return 2;
    }
    const int e = cm_objects_put(objects, key, strlen(key), value, len, ttl);
    if (e > 0) /* it was not stored; the old one is gone all the same */
        fprintf(stderr, "objects: %s\n", cm_strerror(e));
    return e < 0 ? failed(printable(key, strlen(key)), e) : e > 0;
}

/* In parts: a value need not fit into memory. */
static int get(const char *key)
{
    char part[16384];
    cm_object_info info = CM_OBJECT_INFO_INIT;
    uint64_t version = 0, at = 0;
    do {
        const int64_t n = cm_objects_read(objects, key, strlen(key), at, part, sizeof(part), &info);
        if (n == CM_EABSENT || (n >= 0 && at > 0 && info.version != version))
            return 1; /* it is not there, or another one has taken its place */
        if (n < 0)
            return failed(printable(key, strlen(key)), (int)n);
        if (fwrite(part, 1, (size_t)n, stdout) < (size_t)n) {
            output_error = errno;
            return 2;
        }
        version = info.version;
        at += (uint64_t)n;
    } while (at < info.size);
    return 0;
}

/* The same at once, for values that fit. Returns the length, or less than 0. */
static int64_t length_of(const char *key, size_t key_len)
{
    char buf[1024];
    return cm_objects_get(objects, key, key_len, buf, sizeof(buf), NULL);
}

static void print_object(const char *key, size_t key_len, uint64_t size)
{
    if (printf("%s %llu\n", printable(key, key_len), (unsigned long long)size) < 0 &&
        output_error == 0)
        output_error = errno;
}

static int list(void)
{
    char key[CM_OBJECT_KEY_MAX];
    cm_object_info info = CM_OBJECT_INFO_INIT;
    cm_objects_iter *iter;
    size_t n;
    int e = cm_objects_begin(objects, &iter);
    if (e < 0)
        return failed("list", e);
    while ((e = cm_objects_next(iter, key, &n, &info)) >= 0)
        if (e == 1 && length_of(key, n) >= 0)
            print_object(key, n, info.size);
    cm_objects_end(iter);
    return e == CM_EABSENT ? 0 : failed("list", e);
}

static int show_info(void)
{
    cm_objects_info info = CM_OBJECTS_INFO_INIT;
    const int e = cm_objects_get_info(objects, &info);
    if (e < 0)
        return failed("info", e);
    printf("%llu buckets, %llu bytes of memory\n", (unsigned long long)info.buckets,
           (unsigned long long)info.dram_bytes);
    return 0;
}

/* Is it one of the commands, with a key if it needs one, and with nothing else? */
static int is_command(int argc, char **argv)
{
    static const struct {
        const char *name;
        int least, most; /* argc */
    } commands[] = { { "put", 4, 5 },  { "get", 4, 4 },   { "delete", 4, 4 }, { "list", 3, 3 },
                     { "info", 3, 3 }, { "clear", 3, 3 }, { "forget", 3, 3 } };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (argc >= commands[i].least && argc <= commands[i].most &&
            strcmp(argv[2], commands[i].name) == 0)
            return 1;
    return 0;
}

static int run(int argc, char **argv)
{
    const char *command = argv[2], *key = argv[3];
    int e = 0;
    if (strcmp(command, "put") == 0)
        return put(key, argc > 4 ? argv[4] : NULL);
    if (strcmp(command, "get") == 0)
        return get(key);
    if (strcmp(command, "list") == 0)
        return list();
    if (strcmp(command, "info") == 0)
        return show_info();
    if (strcmp(command, "delete") == 0)
        e = cm_objects_delete(objects, key, strlen(key));
    else if (strcmp(command, "clear") == 0)
        e = cm_objects_clear(objects);
    return e == CM_EABSENT ? 1 : e < 0 ? failed(command, e) : 0;
}

int main(int argc, char **argv)
{
    cm_cache *cache;
#ifdef _WIN32 /* names in UTF-8, and values as they are */
    const int wrong = start_arguments("objects", &argc, &argv);
    if (wrong)
        return wrong;
    start_binary();
#endif
    if (argc < 3 || !is_command(argc, argv)) {
        fprintf(stderr, "usage: objects POOL put KEY [SECONDS] | get KEY | delete KEY |\n"
                        "       list | info | clear | forget\n");
        return 2;
    }
    if (argc > 3 && strlen(argv[3]) > CM_OBJECT_KEY_MAX) {
        fprintf(stderr, "objects: the key has %zu bytes: give at most %u\n", strlen(argv[3]),
                CM_OBJECT_KEY_MAX);
        return 2;
    }
    int e = open_all(argv[1], &cache);
    if (e < 0)
        return failed(argv[1], e);
    int status = run(argc, argv);
    if (fflush(stdout) != 0 && output_error == 0)
        output_error = errno;
    if (output_error != 0) {
        fprintf(stderr, "objects: standard output: %s\n", strerror(output_error));
        status = 2;
    }
    e = cm_objects_close(objects);
    if (e == 0 && strcmp(argv[2], "forget") == 0)
        e = cm_objects_forget(cache, "example"); /* not while it is open */
    const int closed = cm_close(cache);
    e = e ? e : closed;
    return e < 0 ? failed(argv[1], e) : status;
}
