/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_parts.h - shared by the parts of the world (world.h).
 */
#ifndef WORLD_PARTS_H
#define WORLD_PARTS_H

#include "world.h"

#include <setjmp.h>

#include "../later.h"
#include "recorder.h"
#include "media/file_table.h"
#include "state/region.h"

#define POOL_SLOTS 64
#define GROWTHS 2    /* of a pool, if there are any */
#define MEMO_PAGES 2 /* number of memo pages; they lie before the slots */
#define Z_BLOCKS 20
#define STRANGERS 99 /* the first word of their ids */

extern struct world {
    enum rules rules;
    uint8_t *pool;
    uint64_t bytes;          /* of a new pool */
    uint64_t room;           /* that it may have at last, and of its memory */
    uint64_t grown[GROWTHS]; /* its size after each growth */
    struct range payload[1 + GROWTHS];
    char path[512], judge_path[512]; /* of the files that stand for pools without DAX */
    /* The memory that mapping one gives: the pool, or the judge's image. */
    uint8_t *mapped;
    cm_cache *cache;
    cm_file *file[FILES];
    struct snapshot now;
    cm_file_id id[FILES];
    uint64_t size[FILES]; /* of the files that are never written */
    uint8_t *constant;    /* content of the blocks of C, then Z */
    /* Of file Z, all have their home in the two buckets of A's block 0. */
    uint64_t z_block[Z_BLOCKS];
    bool torn; /* the next copy of a payload is interrupted */
    struct snapshot *past;
    size_t marks, marks_room;
    bool failing;      /* something will fail in the operation: no floor */
    jmp_buf give_up;   /* the end of such an operation, after an error */
    bool vague[FILES]; /* something failed: its record may say less than the library knows */
    /* Without DAX: what was durable at the last checkpoint, and where it was. */
    struct kept {
        uint32_t bytes;
        unsigned cell;
        uint64_t slot, w0;
    } kept[FILES][MAX_BLOCKS];
    struct cm_record kept_record[FILES];
    uint8_t kept_attr[FILES]; /* all that may be durable, as attr_bit() */
    bool forgotten[FILES];    /* and not attached since */
    /* Seen after a process died, but perhaps not durable: no caller was told that it is stored. */
    bool unsure[FILES][MAX_BLOCKS];
    struct floor *floors;
    size_t checkpoints, floor_room;
    cm_bracket open; /* on file A, block 1 */
    bool bracket, written;
    unsigned arm;        /* the next operation runs at this fence of the one after it */
    void (*inner)(void); /* the operation that runs there */
    bool tangled;        /* two operations run at once: no floor in between */
    bool beside;         /* the inner one is running */
    bool forgets; /* the last operation was to forget B. If it was cut short, the next session
                   * forgets B before it opens anything */
    struct rng rng;
    /* The system's random numbers: the same each time, so that equal images are equal. */
    struct rng random;
    uint64_t seed; /* for what power cuts leave */
    unsigned boot; /* identity and time that the library is told */
    bool nameless; /* it is not told the boot */
    /* It was not, so a failed fsync may count for any boot: then nothing must hit. */
    bool was_nameless;
    unsigned mount;
    int64_t boot_wall;
    uint8_t *buf, *other_buf;
    /* Images that the judge opens: after a crash, after a crash in that session. */
    uint8_t *image[REC_LEVELS - 1];
    const char *wrong; /* what was wrong with the last operation */
    unsigned damaged;  /* number of words that the media damaged */
    struct {
        uint8_t *pool; /* NULL: no pool was wrong */
        int f;         /* file, or -1 */
        unsigned i;    /* and its block */
    } suspect;
} w;

/* ---- world.c --------------------------------------------------------------------------------- */

/* A session that crashes frees nothing. Its memory comes from an arena and is dropped as a whole.
 * There are two: the live session's and the judge's. */
extern struct arena {
    uint8_t *base;
    size_t used, size;
} live_arena, judge_arena;
extern const struct floor nothing;  /* a floor where nothing must hit */
const cm_seal *seal_of_pools(void); /* NULL: they are not sealed */
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
void fit_file(const char *path, const uint8_t *pool);
bool any_must(const struct floor *must, int f);
void attach_all(const struct floor *must);
void open_pool(const struct floor *must_hit);
uint64_t block_number(int f, unsigned i);
unsigned blocks_of(int f);
void gone(void);
void checkpoint(void);
void format_pool(void);
const char *known_name(int f, unsigned i); /* of two names of a file */
bool is_name(int f, const char *name);

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
void op_elsewhere(void);
void op_elsewhere_failed(void);
void op_elsewhere_attached(void);
void op_elsewhere_nameless(void);
void op_nameless(void);
void op_put_back(void);
void op_process_crash(void);
void op_write_back_failed(void);
void op_power_cut(void);
void op_pool_checkpoint(void);
void op_format(void);
void op_damage_repair(void);
void open_or_format(bool unborn);

/* ---- world_judge.c --------------------------------------------------------------------------- */

void look_at_size(void);
void look_at_all(void);
/* Notes the wrong block of the pool at `pool`. */
void suspect(uint8_t *pool, int f, unsigned i);
/* Without DAX: all that is cached now is durable. */
void keep_all(void);
/* What an attached file is: whether it is kept, and its group. */
uint8_t attr_bit(int f);
/* Is that what it must not be? */
bool is_attr_wrong(const struct floor *must, int f, bool warm, uint8_t bit);

#endif
