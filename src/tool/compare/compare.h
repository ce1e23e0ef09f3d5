/* SPDX-License-Identifier: BSD-2-Clause
 *
 * compare.h - shared by the parts of "cachemax compare".
 */
#ifndef CM_TOOL_COMPARE_H
#define CM_TOOL_COMPARE_H

#include "tool/tool.h"

enum {
    COMPARE_ORIGIN,
    COMPARE_POOL_VOLUME,
    COMPARE_MOUNT,
    COMPARE_SIZE,
    COMPARE_SECONDS,
    COMPARE_ROUNDS,
    COMPARE_JSON,
    COMPARE_SVG,
    COMPARE_CLEAN,
    COMPARE_OPTIONS
};

#define COMPARE_COUNT_MOST 9999u

/* Does the work; the values have been checked. An exit status. (run_compare.c; on Windows here.c)
 */
int compare_run(const struct tool_args *args, uint64_t size);

/* ---- Without a mount ----------------------------------------------------------------------- */

/* place.c: a directory of our own below a directory of the user. */
#define COMPARE_PATH 1024
struct compare_place {
    const char *parent;
    char dir[COMPARE_PATH], mark[COMPARE_PATH], data[COMPARE_PATH], pool[COMPARE_PATH];
    intptr_t held; /* the mark, while nobody else may use the directory; -1: it is not ours */
};
int place_begin(struct compare_place *p, const char *parent);
/* Removes what a killed run left. */
int place_clean(struct compare_place *p, const char *parent);
/* A file of random bytes that is on the volume. TOOL_OK, or TOOL_FAILED after a message. */
int place_write(const struct compare_place *p, uint64_t bytes);
void place_end(struct compare_place *p);

/* measure.c */
struct compare_figures {
    double iops, bytes_per_second, mean_us, p99_us;
};
struct compare_job {
    /* Reads all of it; 0, or an error of the library. Several threads call it. */
    int (*read)(void *ctx, uint64_t off, void *buf, size_t len);
    void *ctx;
    uint64_t bytes; /* of the file */
    size_t block;   /* of one read */
    unsigned threads;
    bool random, once; /* once: no block twice, and an end before the time if all are read */
    double seconds;
};
/* 0, or an error of the library. The figures are of what was read before os_interrupted(), too. */
int compare_measure(const struct compare_job *job, struct compare_figures *figures);

/* report.c */
enum compare_where { WHERE_ORIGIN, WHERE_FAST, WHERE_COLD, WHERE_WARM, WHERES };
enum { WORK_RANDOM, WORK_SEQUENTIAL, WORKS };
struct compare_result {
    const char *origin, *pool_volume; /* directories */
    char origin_type[24], pool_type[24];
    uint64_t bytes, pool_bytes;
    unsigned seconds, rounds;
    double hit_percent; /* the least of all warm runs */
    bool mapped;        /* the pool is no DAX: the system may keep its pages in memory */
    struct compare_figures *figures[WORKS][WHERES]; /* one for each round */
};
extern const char *const compare_titles[WORKS];
void compare_table(const struct compare_result *r, FILE *out);
void compare_json(const struct compare_result *r, FILE *out);

#endif
