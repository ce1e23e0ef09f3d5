/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.h - a tiny pool, a few origin files, and the operations of crash tests.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "../model/origin.h"
#include "state/file.h"
#include "recorder.h"

#define BLOCK CM_BLOCK_SIZE

/* A and B are written. The rest never changes: C fills the pool, and Z's blocks have the same two
 * buckets as A's first one. */
enum { FILE_A, FILE_B, FILE_C, FILE_Z, FILES };
#define WRITTEN 2
#define MAX_BLOCKS 56 /* of one file that are checked */

/* The state of the origin at a point of the log. */
struct snapshot {
    struct ofile file[WRITTEN];
    int64_t tick, boot_tick;
    unsigned boot;
    bool unnoticed; /* another program wrote B, and the cache was not told yet */
    uint64_t hash;  /* of all of it */
};

/* What a power cut does to what was not synced of the origin. */
enum lost { KEPT, DATA_LOST, ALL_LOST, STAMPS_LOST, LOSSES };

/* Which blocks must hit after a crash. */
struct floor {
    uint16_t must[FILES][MAX_BLOCKS]; /* this many bytes of the block */
    uint64_t incarnation[FILES];
    /* Of the record. If the crash takes the origin back to an older version, nothing must hit. */
    uint8_t proof[FILES][CM_PROOF_BYTES];
    /* What its record must not say of a file, if it is still there: a bit for each attr_bit(). */
    uint8_t wrong_attr[FILES];
    unsigned cached; /* number of cached blocks, whether they must hit or not */
    bool clean;      /* the pool was just closed cleanly, and is not open yet */
    bool unborn;     /* the pool is being formatted: there may be none */
};

/* Starts over: a freshly formatted pool with all files attached. WARM: full of blocks that were
 * evicted and read before. FULL: full of blocks of A, B and C; A's are the next victims. All is
 * durable. */
enum start { FRESH, WARM, FULL, STARTS };
void world_probation(unsigned entries); /* entries of the buffer of all later worlds */
void world_grows(void);                 /* the pools may grow; before all others */
void world_seals(void);                 /* the pools are sealed and encrypted; before all others */
void world_reset(enum rules rules, enum start start, uint64_t seed);
void world_end(void);

unsigned world_ops(void);
/* Number of the first operations, of which all sequences are tried. */
unsigned world_usual_ops(void);
const char *world_op_name(unsigned op);
void world_op(unsigned op);
/* The same, but the n-th thing in it that can fail does fail (rec_fail_at). Its caller gives up at
 * the error. What it closed is opened again. False: nothing failed. */
bool world_op_failing(unsigned op, unsigned n);
/* The log of the last operation was replayed. Of the blocks cached now, only durable ones must hit
 * from now on. */
void world_trust_durable(void);
const char *world_wrong(void); /* what was wrong with the last operation, or NULL */
/* Prints what the pool has of the last block that was found wrong (by an operation, or by
 * world_judge: as the crash left it). If no block was wrong, prints the superblocks. */
void world_show_wrong(void);
/* Did the operation run beside another one? Then there is no floor while the two run. */
bool world_tangled(void);

/* The process died, or (`power`) the power was cut, in the middle of the last operation, after this
 * mark. The origin becomes what it was then. A new session begins (its stores are recorded).
 * `unborn`: if there is no pool, it is formatted. The state and the seed decide what a power cut
 * leaves. */
void world_die(uint64_t mark, bool unborn, bool power);
/* One of a doubt's choices at random; bias 1 prefers the first, 2 the last. */
uint32_t world_choice(struct rng *rng, uint64_t bias, uint32_t choices);
/* Reports a failure that cannot happen, and ends the run. The program that uses the world defines
 * it. */
_Noreturn void world_impossible(const char *what);

/* The snapshot of the origin that belongs to a mark of the log. */
const struct snapshot *world_snapshot(uint64_t mark);
uint64_t world_mark(void); /* the last mark */

/* The blocks that are cached durably now. */
void world_floor(struct floor *f);
/* The same after a crash of the process alone; after a clean close. */
void world_floor_same_boot(struct floor *f);
void world_floor_closed(struct floor *f);
/* An operation of several steps has checkpoints between them. These are marks of their own, each
 * with the floor at that moment (a block may be evicted in one step and stored again in the next).
 */
#define CHECKPOINT (UINT64_C(1) << 32)
const struct floor *world_checkpoint_floor(uint64_t mark);
void world_forget_checkpoints(void);

/* The origin after a power cut. `lost` 0: unsynced content is kept; 1: it is lost, but the stamps
 * are kept; 2: it is lost. The result has no content of its own. */
struct snapshot world_after(const struct snapshot *s, int lost);
bool world_unsynced(const struct snapshot *s);

/* Memory for the image of the pool after a crash (depth 0), and after a crash in the session that
 * judges it (1). */
uint8_t *world_image(unsigned depth);
/* Opens the image in another boot, and reads every block. If `closed` is not NULL, the session then
 * checks and repairs the pool, stores a block if the pool was emptied, and closes it; *closed is
 * what must hit from then on. Returns NULL or what is wrong. Afterwards the image is as it was
 * before. The session's stores are in the log of the recorder's level depth + 1. */
const char *world_judge(unsigned depth, const struct snapshot *now, const struct floor *must,
                        struct floor *closed, uint64_t *hits);
/* A hash of all by which an image is judged. */
uint64_t world_context(const struct snapshot *s, const struct floor *must);

#endif
