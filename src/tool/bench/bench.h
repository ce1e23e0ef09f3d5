/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bench.h - shared by the parts of "cachemax bench".
 *
 * A ratio compares two operations that do comparable work: ours and a rival's. They take turns in
 * slices of some milliseconds, in the order A B B A. One such round gives one ratio, and the median
 * over the rounds counts. So other work of the machine affects both sides alike.
 */
#ifndef CM_TOOL_BENCH_H
#define CM_TOOL_BENCH_H

#include "tool/tool.h"
#include "tool/os.h"
#include "persist/persist.h"

#include <math.h>

#define BENCH_BLOCK ((size_t)CM_BLOCK_SIZE)
#define BENCH_MANY 16u  /* blocks of one cm_read_many */
#define BENCH_GROUP 32u /* blocks of a large request: 128 KiB */
#define BENCH_BUFFER ((size_t)1 << 20)
#define BENCH_SLICE_NS 10e6
#define BENCH_ROUNDS_MAX 9999u
/* Number of blocks that are forgotten before they are stored again. The pool remembers about this
 * many places. With more it would evict other blocks, which are then missing. */
#define BENCH_BRACKETS 250u
#define BENCH_KNOWN 64u /* misses looked up before their fills */

/* The content of the pool. */
enum bench_state {
    BENCH_NOTHING, /* there is no pool */
    BENCH_FRESH,   /* file 1, and never anything else */
    BENCH_CHURNED  /* full of file 2, whose blocks were all stored by evicting */
};

struct bench {
    uint64_t bytes;   /* of the pool */
    unsigned rounds;  /* for every ratio */
    unsigned threads; /* at most */
    unsigned processors;
    const char *dir; /* directory of the files */
    bool quiet;      /* no progress bar */

    enum bench_state state;
    uint8_t *base;
    cm_cache *cache;
    cm_info info;
    cm_file *file, *endless; /* file 1, file 2 */

    uint32_t blocks;       /* of file 1 in the pool */
    uint32_t *order;       /* the same blocks in random order */
    const uint8_t **where; /* the address of each in the pool */
    uint32_t at, span;     /* the next one; it goes around the first `span` */
    uint64_t next_block;   /* of file 2 */
    uint64_t fills, refused;

    uint8_t *buffer; /* reads copy to it */
    uint8_t *data;   /* random bytes, which writes take */

    uint8_t *scratch; /* a file like the pool, full of random bytes: for pread and NT copies */
    intptr_t scratch_file;
    uint64_t scratch_at;
    const struct cm_persist_ops *plain; /* the rivals copy, flush and fence with these */
    struct bench_lmdb *lmdb;
};

/* Does the operation n times. */
typedef void (*bench_op)(struct bench *b, unsigned n);

struct bench_side {
    bench_op op;
    double units;    /* units of work in one operation; 0: 1 */
    bench_op repair; /* undoes n operations, and is not timed; or NULL */
    unsigned most;   /* most operations before a repair; 0: those of a slice */
};

struct bench_result {
    double ours, rival;      /* medians, for one unit of work; rival 0: there is none */
    double ratio, low, high; /* median and quartiles over the rounds */
    char why_not[96];        /* "", or why there is no ratio */
    char note[96];           /* for people */
};

/* The needs of a ratio. */
enum {
    BENCH_NEEDS_FRESH = 1u << 0,
    BENCH_NEEDS_CHURNED = 1u << 1,
    BENCH_NEEDS_SCRATCH = 1u << 2,
    BENCH_NEEDS_LMDB = 1u << 3,
    BENCH_NEEDS_THREADS = 1u << 4, /* two processors */
    BENCH_NEEDS_FLUSH = 1u << 5,
    BENCH_NEEDS_ROOM = 1u << 6,  /* no pool, but room for twice its size */
    BENCH_NEEDS_SQLITE = 1u << 7 /* and room for as much as the pool */
};

/* One row of the table. It has either the two sides, or `run`, which does all. */
struct bench_ratio {
    const char *key;
    const char *text; /* the two values of the ratio */
    const char *unit; /* "ns", "us", "x" */
    double limit;     /* 0: a figure for people, which nothing judges */
    bool at_least;    /* the ratio is rival / ours, at least `limit`; else ours / rival, at most */
    unsigned needs;
    struct bench_side ours, rival;
    void (*run)(struct bench *b, struct bench_result *r);
};

/* ---- ratio.c: turns, medians ----------------------------------------------------------- */

/* If code is an error of the library, or the user asked the program to end, this cleans up and ends
 * the program. */
void bench_must(int64_t code, const char *what);
_Noreturn void bench_fail(const char *what, const char *why);
void bench_stop_if_asked(void);

double bench_median(double *v, unsigned n); /* sorts */
void bench_quartiles(double *v, unsigned n, struct bench_result *r);
void *bench_alloc(size_t bytes);
void bench_turns(struct bench *b, const struct bench_side *ours, const struct bench_side *rival,
                 bool at_least, struct bench_result *r);

/* ---- world.c: the pool, files, cleaning up ------------------------------------------- */

/* Prepares what a ratio needs (BENCH_NEEDS_*). False: it cannot, and why. */
bool bench_prepare(struct bench *b, unsigned needs, char why_not[96]);
/* Goes through the pool, the rivals' file and n operations until a pass is no longer an eighth
 * faster than the one before. Memory that a virtual machine used for the first time answers slowly
 * for a while: its host still arranges the pages. So whoever filled a new file calls this. */
void bench_settle(struct bench *b, bench_op op, unsigned n);
/* Ends the program with advice if there is no room for what is needed. */
void bench_check_room(const struct bench *b, unsigned needs);
void bench_release(struct bench *b);
/* The path of a new file in b->dir. The file is removed when the program ends, in any way. */
const char *bench_path(struct bench *b, const char *name);
/* Maps the file at such a path and never unmaps it; with `make` the file is made. */
void *bench_map(const char *path, uint64_t bytes, bool make);
/* Removes the file's name now, if the system allows that while the file is open. */
void bench_remove(const char *path);
void bench_remove_all(void);
uint64_t bench_random(void);
void bench_shuffle(uint32_t *v, uint32_t n);
cm_file *bench_open_file(cm_cache *cache, uint64_t id);
/* Stores the blocks [from, to) of a file that are not in the pool. */
void bench_fill_range(struct bench *b, cm_file *f, uint64_t from, uint64_t to, const char *label);
void bench_fill_block(struct bench *b, cm_file *f, uint64_t block);

static inline uint32_t bench_next(struct bench *b)
{
    b->at = b->at + 1 < b->span ? b->at + 1 : 0;
    return b->at;
}

/* ---- operations ------------------------------------------------------------------------------ */

void bench_hit(struct bench *b, unsigned n);      /* random, 4 KiB */
void bench_memcpy(struct bench *b, unsigned n);   /* copies the same blocks */
void bench_pread(struct bench *b, unsigned n);    /* as many, out of the page cache */
void bench_fill_one(struct bench *b, unsigned n); /* evicts */
void bench_store(struct bench *b, unsigned n);    /* NT copy, XXH3, fence */
void bench_bracket(struct bench *b, unsigned n);
void bench_bracket_repair(struct bench *b, unsigned n);
void bench_write_back(struct bench *b, unsigned n); /* a store, its line written back, a fence */
const struct cm_persist_ops *bench_plain(void);
/* Writes a block past the CPU's caches, then a fence. */
void bench_nt_fence(const struct bench *b, void *dst, const void *src);
/* Called through a pointer: the compiler's own code for memcpy with a constant size is slower. */
extern void *(*volatile bench_copy)(void *dst, const void *src, size_t n);

/* chain.c: the accesses that no cache can leave out. */
bool bench_chain_make(struct bench *b); /* false: the pool's superblock cannot be read */
void bench_chain(struct bench *b, unsigned n);
void bench_chain_many(struct bench *b, unsigned n);
void bench_two_lines(struct bench *b, unsigned n);

/* lmdb.c */
bool bench_lmdb_make(struct bench *b, char why_not[96]);
void bench_lmdb_drop(struct bench *b);
const char *bench_lmdb_version(void); /* NULL: not built in */
void bench_lmdb_get(struct bench *b, unsigned n);
void bench_lmdb_put(struct bench *b, unsigned n);

/* sqlite.c */
const char *bench_sqlite_version(void); /* NULL: not built in */
void bench_sqlite_run(struct bench *b, struct bench_result *r);

/* sealed.c */
void bench_run_sealed(struct bench *b, struct bench_result *r);
void bench_run_encrypted(struct bench *b, struct bench_result *r);

/* reads.c, threads.c, writes.c: the rows, in the order of the table. */
#define BENCH_READS 16u
#define BENCH_WRITES 3u
#define BENCH_THREADS 3u
#define BENCH_OTHERS 3u
extern const struct bench_ratio bench_reads[BENCH_READS], bench_writes[BENCH_WRITES],
    bench_threads[BENCH_THREADS], bench_others[BENCH_OTHERS];

/* ---- What is not a ratio with a limit (figures.c) --------------------------------------- */

struct bench_more {
    const char *key;
    void (*run)(struct bench *b, struct tool_json *j); /* j NULL: prints for people */
    unsigned needs;
    unsigned wants; /* it prepares this itself, and does without what cannot be had */
};
#define BENCH_MORE 4u
extern const struct bench_more bench_more[BENCH_MORE];
/* threads.c: operations per second of n threads: hits or memcpy. */
double bench_rate(struct bench *b, unsigned n, bool hits);
/* The same of fills, of brackets around blocks that are not cached, and of 19 hits to one fill. The
 * pool is full of other blocks after it. */
void bench_rate_changes(struct bench *b, unsigned n, double *fills, double *mixed,
                        double *brackets);

#endif
