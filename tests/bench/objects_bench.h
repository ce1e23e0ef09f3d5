/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects_bench.h - the stores that objects-bench compares.
 */
#ifndef OBJECTS_BENCH_H
#define OBJECTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LONGEST 65536u /* bytes of a value */

/* Microseconds that an operation took, and those in which the process had a processor. */
struct took {
    double wall, cpu;
};

/* What the phases of a run share: they are processes. */
struct shared {
    uint64_t objects, bytes; /* of all values */
    pid_t server;            /* 0: the store has none */
    struct took put_new, put_again, get;
    double opened; /* milliseconds */
    uint64_t hits, wrong;
    uint32_t ready, go_on;
};

/* Functions fail the program, but for get() and put(). */
struct store {
    const char *name;
    const char *what;  /* how it is set up */
    const char *needs; /* NULL: it can be run; else what is missing */
    void (*open)(const char *dir, struct shared *s);
    bool (*put)(const void *key, size_t key_len, const void *value, size_t len);
    /* The length; below 0: there is none. */
    int64_t (*get)(const void *key, size_t key_len, void *buf);
    void (*close)(void);
    bool slow_puts; /* only some are measured, and nothing else */
};

extern struct store store_cachemax, store_lmdb, store_lmdb_sync, store_rocksdb, store_memcached;

_Noreturn void fail(const char *what, const char *why);
void path_in(char *path, size_t n, const char *dir, const char *name);

#endif
