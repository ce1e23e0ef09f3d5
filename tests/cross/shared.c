/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shared.c - a program that uses the shared library as others would: by the header alone.
 *
 *     shared POOL      makes the pool, reads this program's own file through it twice, cold and
 *                      warm, and removes the pool
 */
#ifdef _WIN32
#define CM_SHARED /* before the header */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <unistd.h>
#endif

#include <stdio.h>
#include <string.h>

#include "cachemax.h"

#define CHUNK (8u << 10)

static FILE *own; /* this program's file */

static intptr_t open_own(const char *name)
{
#ifdef _WIN32
    return (intptr_t)CreateFileA(name, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
#else
    return open(name, O_RDONLY);
#endif
}

static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    (*(unsigned *)ctx)++;
    return fseek(own, (long)off, SEEK_SET) == 0 ? (int64_t)fread(buf, 1, len, own) : -1;
}

/* 0 when every byte is right. */
static int read_through(cm_file *file, unsigned *origin_reads)
{
    static char got[CHUNK], want[CHUNK];
    uint64_t off = 0;
    int64_t n;

    while ((n = cm_read_through(file, off, got, CHUNK, read_origin, origin_reads)) > 0) {
        if (fseek(own, (long)off, SEEK_SET) != 0 || fread(want, 1, (size_t)n, own) != (size_t)n ||
            memcmp(got, want, (size_t)n) != 0) {
            return 1;
        }
        off += (uint64_t)n;
    }
    return n != 0 || off < CHUNK;
}

int main(int argc, char **argv)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    unsigned cold = 0, warm = 0;
    cm_cache *cache = NULL;
    cm_file *file = NULL;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int wrong;

    own = fopen(argv[0], "rb");
    if (argc == 2)
        (void)remove(argv[1]); /* of a run that was ended */
    o.size = 16u << 20;
    if (argc != 2 || own == NULL || cm_create(argv[1], &o) != 0 ||
        cm_open(argv[1], NULL, &cache) != 0 || cm_identify(open_own(argv[0]), &id, &v) != 0 ||
        cm_file_open(cache, &id, &v, 0, &file) != 0) {
        printf("FAIL cannot begin\n");
        return 1;
    }
    wrong = read_through(file, &cold) + read_through(file, &warm);
    if (cm_file_close(file) != 0 || cm_close(cache) != 0 || wrong != 0 || cold == 0 || warm != 0) {
        printf("FAIL %d wrong, %u reads of the origin cold, %u warm\n", wrong, cold, warm);
        return 1;
    }
    if (remove(argv[1]) != 0) {
        printf("FAIL the pool cannot be removed\n");
        return 1;
    }
    printf("version %s: right bytes, %u reads of the origin cold, none warm\n", cm_version(), cold);
    return 0;
}
