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
 * POOL is made if it is not there, with 64 MiB. The container is called "example". A value has less
 * than 4 MiB here. Exit status 0; 1: there is no such object; 2: it went wrong.
 *
 * Read next: docs/objects.md.
 */
#include <cachemax_objects.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cm_objects *objects;

static int failed(const char *what, int e)
{
    fprintf(stderr, "objects: %s: %s\n", what, cm_strerror(e));
    return 2;
}

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
    if (ferror(stdin))
        return failed("the value", CM_EIO);
    if (len == sizeof(value)) {
        fprintf(stderr, "objects: the value: this program takes less than 4 MiB\n");
        return 2;
    }
    const int e = cm_objects_put(objects, key, strlen(key), value, len, ttl);
    if (e > 0) /* it was not stored; the old one is gone all the same */
        fprintf(stderr, "objects: %s\n", cm_strerror(e));
    return e < 0 ? failed(key, e) : e > 0;
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
            return failed(key, (int)n);
        fwrite(part, 1, (size_t)n, stdout);
        version = info.version;
        at += (uint64_t)n;
    } while (at < info.size);
    return fflush(stdout) || ferror(stdout) ? failed("standard output", CM_EIO) : 0;
}

/* The same at once, for values that fit. Returns the length, or less than 0. */
static int64_t length_of(const char *key, size_t key_len)
{
    char buf[1024];
    return cm_objects_get(objects, key, key_len, buf, sizeof(buf), NULL);
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
            printf("%.*s %llu\n", (int)n, key, (unsigned long long)info.size);
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

/* Is it one of the commands, with a key if it needs one? */
static int is_command(int argc, char **argv)
{
    static const char *const with_key[] = { "put", "get", "delete" };
    static const char *const alone[] = { "list", "info", "clear", "forget" };
    for (size_t i = 0; argc > 3 && i < sizeof(with_key) / sizeof(with_key[0]); i++)
        if (strcmp(argv[2], with_key[i]) == 0)
            return 1;
    for (size_t i = 0; argc == 3 && i < sizeof(alone) / sizeof(alone[0]); i++)
        if (strcmp(argv[2], alone[i]) == 0)
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
    if (argc < 3 || !is_command(argc, argv)) {
        fprintf(stderr, "usage: objects POOL put KEY [SECONDS] | get KEY | delete KEY |\n"
                        "       list | info | clear | forget\n");
        return 2;
    }
    int e = open_all(argv[1], &cache);
    if (e < 0)
        return failed(argv[1], e);
    int status = run(argc, argv);
    e = cm_objects_close(objects);
    if (e == 0 && strcmp(argv[2], "forget") == 0)
        e = cm_objects_forget(cache, "example"); /* not while it is open */
    const int closed = cm_close(cache);
    e = e ? e : closed;
    return e < 0 ? failed(argv[1], e) : status;
}
