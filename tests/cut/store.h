/* SPDX-License-Identifier: BSD-2-Clause
 *
 * store.h - shared by the parts of `store`, which uses the library on a disk that loses its power.
 */
#ifndef CM_STORE_H
#define CM_STORE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cachemax.h"

#define BLOCK 4096u
#define MIB (1u << 20)
#define SIZE (8u * MIB) /* of each file at first; none grows beyond MOST */
#define MOST (12u * MIB)
#define BLOCKS (MOST / BLOCK)
#define REGION_BLOCKS (MIB / BLOCK) /* a region of a file of this size is 1 MiB */

/* Files that nobody writes; that only this program ever writes, with a version as their proof; and
 * that it writes alone while it runs, with their times as proof. */
enum kind { STILL, OWN, SOLE, KINDS };
#define FILES 6u /* of each kind */
extern const char *const kind_name[KINDS];

/* A set of blocks of a file. */
struct blocks {
    uint64_t word[BLOCKS / 64];
};

struct file {
    enum kind kind;
    unsigned number;
    int fd, direct;
    cm_file_id id;
    cm_file *cf;
    pthread_mutex_t lock; /* around each change */
    /* Changes of the file are counted. The last one of each region, the last one that was synced.
     */
    uint64_t changes, changed[BLOCKS / REGION_BLOCKS], synced;
};

extern cm_cache *cache;
extern struct file files[KINDS][FILES];
extern char dir[512];

/* ---- store.c --------------------------------------------------------------------------------- */

_Noreturn void die(const char *what); /* with errno */
void must(int64_t e, const char *what);
uint64_t next_random(uint64_t *s);
void path_of(char *path, size_t n, enum kind kind, unsigned number);
void make_pool(uint64_t mib);
void open_pool(void);
/* The file as it is now. Of an exclusive file only the size matters. */
cm_validator identify(struct file *f);
void attach(struct file *f);
void sync_file(struct file *f);
/* What of these blocks is cached. */
void cached(struct file *f, struct blocks *b);

static inline bool has_block(const struct blocks *b, uint64_t n)
{
    return n < BLOCKS && b->word[n / 64] >> n % 64 & 1;
}

static inline void take_block(struct blocks *b, uint64_t n, bool in)
{
    const uint64_t bit = UINT64_C(1) << n % 64;
    b->word[n / 64] = in ? b->word[n / 64] | bit : b->word[n / 64] & ~bit;
}

/* ---- work.c ---------------------------------------------------------------------------------- */

/* Is told before blocks [first, end) of a file change, with the file's lock held. */
typedef void before_change(struct file *f, uint64_t first, uint64_t end);

struct work {
    uint64_t seed;
    bool hot; /* nine writes of ten go to the first eighth of a file; else they go anywhere */
    before_change *before;
};

void make_files(uint64_t *rng);
void open_files(void);   /* those of make_files, again */
void attach_files(void); /* and reads all of them */
void work_begin(const struct work *w);
void work_end(void);
extern atomic_ulong writes, syncs;

/* ---- notes.c --------------------------------------------------------------------------------- */

void notes_open(const char *log, const char *notes);
void notes_close(void);
before_change note_change;
void note_checkpoint_begins(void);
void note_checkpoint_ended(void);

/* What must hit where the log was cut, and what happened to the exclusive files before. */
struct floor {
    struct blocks of[KINDS][FILES]; /* none of sole writers */
    unsigned changes[FILES];        /* of each exclusive file since the last checkpoint began */
};
void floor_at(const char *notes, long long position, struct floor *f);

/* ---- judge.c --------------------------------------------------------------------------------- */

struct result {
    unsigned blocks, hits, wrong, floor, kept;
};
/* Attaches a file and compares what hits with it. `must_hit` may be NULL. */
void compare(const char *path, enum kind kind, const struct blocks *must_hit, struct result *r);
int judge(char **arg);

/* ---- killed.c -------------------------------------------------------------------------------- */

int killed(char **arg);

#endif
