/* SPDX-License-Identifier: BSD-2-Clause
 *
 * judge.c - what is left: all that hits must be what the file system says, and what was cached a
 * checkpoint ago must hit.
 */
#include "store.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void compare(const char *path, enum kind kind, const struct blocks *must_hit, struct result *r)
{
    static uint8_t got[BLOCK] __attribute__((aligned(4096))), want[BLOCK];
    struct file f = { .kind = kind };
    struct stat st;

    f.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f.fd < 0 || fstat(f.fd, &st) != 0)
        return; /* it was not there yet, or not any more */
    attach(&f);
    for (uint64_t b = 0; b <= ((uint64_t)st.st_size + BLOCK - 1) / BLOCK; b++) {
        const int64_t n = cm_read(f.cf, b * BLOCK, got, BLOCK, NULL);
        const ssize_t have = pread(f.fd, want, BLOCK, (off_t)(b * BLOCK));
        const bool floor = must_hit && has_block(must_hit, b) && have > 0;
        r->blocks += have > 0;
        r->hits += n > 0;
        r->floor += floor;
        r->kept += floor && n > 0;
        if (floor && n <= 0 && kind != SOLE && r->floor - r->kept < 10)
            printf("MISSING: %s: block %llu\n", path, (unsigned long long)b);
        if (n < 0 || n > have || memcmp(got, want, (size_t)n) != 0) {
            printf("WRONG: %s: block %llu: %lld of %zd bytes\n", path, (unsigned long long)b,
                   (long long)n, have);
            r->wrong++;
        }
    }
    must(cm_file_close(f.cf), "cm_file_close");
    close(f.fd);
}

int judge(char **arg)
{
    struct result r[KINDS + 1] = { { 0, 0, 0, 0, 0 } };
    static struct floor floor;
    double expected = 0;
    cm_info info = CM_INFO_INIT;
    unsigned wrong = 0;
    bool lost = false;
    char path[600];

    (void)snprintf(dir, sizeof(dir), "%s", arg[0]);
    floor_at(arg[1], strtoll(arg[2], NULL, 10), &floor);
    open_pool();
    must(cm_get_info(cache, &info), "cm_get_info");
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            path_of(path, sizeof(path), (enum kind)k, i);
            compare(path, (enum kind)k, &floor.of[k][i], &r[k]);
        }
    for (unsigned i = 0; i < 50; i++) {
        (void)snprintf(path, sizeof(path), "%s/small%u", dir, i);
        compare(path, SOLE, NULL, &r[KINDS]);
    }
    for (unsigned k = 0; k <= KINDS; k++) {
        printf("%s %u of %u floor %u kept %u, ", k < KINDS ? kind_name[k] : "small", r[k].hits,
               r[k].blocks, r[k].floor, r[k].kept);
        wrong += r[k].wrong;
        lost |= r[k].kept * 100ull < r[k].floor * 99ull;
    }
    for (unsigned i = 0; i < FILES; i++)
        expected += exp(-(double)floor.changes[i] / (SIZE / MIB)) / FILES;
    printf("expected %.4f, emptied %u, wrong %u\n", expected, info.emptied, wrong);
    must(cm_close(cache), "cm_close");
    return wrong > 0 ? 2 : lost ? 3 : 0;
}
