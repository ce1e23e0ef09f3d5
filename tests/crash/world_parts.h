/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_parts.h - what the parts of the world (world.h) know of each other.
 */
#ifndef WORLD_PARTS_H
#define WORLD_PARTS_H

#include "world.h"

#include <setjmp.h>

#define POOL_SLOTS 64
#define MEMO_PAGES 2 /* of that many: they lie before the slots */
#define Z_BLOCKS 20
#define STRANGERS 99 /* their ids begin so */

extern struct world {
    enum rules rules;
    uint8_t *pool;
    uint64_t bytes;
    char path[512], judge_path[512]; /* of files that stand for pools where they are not DAX */
    uint8_t *mapped;                 /* what mapping one gives: the pool, or the judge's image */
    cm_cache *cache;
    cm_file *file[FILES];
    struct snapshot now;
    cm_file_id id[FILES];
    uint64_t size[FILES];       /* of the files that are never written */
    uint8_t *constant;          /* content of the blocks of C, then Z */
    uint64_t z_block[Z_BLOCKS]; /* of file Z, all at home in the two buckets of A's block 0 */
    bool torn;                  /* the next copy of a payload is interrupted */
    struct snapshot *past;
    size_t marks, room;
    bool failing;      /* something is to fail in the operation: no floor */
    jmp_buf give_up;   /* the end of it, when an error was returned */
    bool vague[FILES]; /* something failed: its record may say less than the library knows */
    /* Seen after a process died, but perhaps not durable: nobody was told that they are stored. */
    bool unsure[FILES][MAX_BLOCKS];
    struct floor *floors;
    size_t checkpoints, floor_room;
    cm_bracket open; /* on file A, block 1 */
    bool bracket, written;
    unsigned arm;        /* the operation after the next: the next one runs at this fence of it */
    void (*inner)(void); /* that one */
    bool tangled;        /* two operations at once: no floor in between */
    bool beside;         /* the inner one is running */
    bool forgets; /* the last operation was to forget B: if it was cut short, the next session
                   * does it, before it opens anything */
    struct rng rng;
    struct rng random; /* the system's: the same pool every time, or equal images would differ */
    uint64_t seed;     /* of what power cuts leave */
    unsigned boot;     /* identity and time that the library is told */
    int64_t boot_wall;
    uint8_t *buf, *other_buf;
    uint8_t *image[REC_LEVELS - 1]; /* what the judge opens: after a crash, after a crash in that */
    const char *wrong;              /* with the last operation */
    unsigned damaged;               /* words of the pool, by the media */
    struct {
        uint8_t *pool; /* NULL: nothing was found wrong in a pool */
        int f;         /* file, or -1 */
        unsigned i;    /* and its block */
    } suspect;
} w;

/* ---- world.c --------------------------------------------------------------------------------- */

/* A session that crashes frees nothing: its memory comes from here and is dropped as a whole. Two
 * of them: the live session's and the judge's. */
extern struct arena {
    uint8_t *base;
    size_t used, size;
} live_arena, judge_arena;
extern const struct floor nothing; /* must hit */
cm_options options(struct arena *a);
void always(int64_t e, const char *what);
void must(int64_t e, const char *what);
int64_t origin_of(const struct snapshot *s, int f, uint64_t offset, void *buf, size_t len);
int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len);
cm_validator validator_of(const struct snapshot *s, int f, int64_t tick);
void copy_snapshot(struct snapshot *to, const struct snapshot *from);
uint64_t hash_words(uint64_t h, const void *p, size_t bytes);
void mark(void);
void attach(int f, bool sole);
int open_cache(void);
bool any_must(const struct floor *must, int f);
void attach_all(const struct floor *must);
void open_pool(const struct floor *must_hit);
uint64_t block_number(int f, unsigned i);
unsigned blocks_of(int f);
void gone(void);
void checkpoint(void);

/* ---- world_operations.c ---------------------------------------------------------------------- */

int fill(int f, unsigned first, unsigned n);
void op_churn_low(void);
void op_churn_high(void);
void op_overflow(void);
void visit(uint64_t stranger);
void end_open(bool validate);
void forget_closed_b(void);

/* ---- world_sessions.c ------------------------------------------------------------------------ */

void op_close(void);
void op_close_unsynced(void);
void op_process_crash(void);
void op_write_back_failed(void);
void op_power_cut(void);
void op_format(void);
void op_damage_repair(void);
void open_or_format(bool unborn);

/* ---- world_judge.c --------------------------------------------------------------------------- */

void look_at_all(void);
/* The block of the pool at `pool` that is wrong. */
void suspect(uint8_t *pool, int f, unsigned i);

#endif
