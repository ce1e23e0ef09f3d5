/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.h - a tiny pool, a few origin files, and the operations that crash tests are made of.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "../model/origin.h"
#include "state/file.h"
#include "recorder.h"

#define BLOCK CM_BLOCK_SIZE

/* A and B are written; the rest never changes: C fills the pool, Z's blocks share
 * the two buckets of A's first one. */
enum { FILE_A, FILE_B, FILE_C, FILE_Z, FILES };
#define WRITTEN 2
#define MAX_BLOCKS 56 /* of one file that are looked at */

/* What the origin is at a point of the log. */
struct snapshot {
    struct ofile file[WRITTEN];
    int64_t tick, boot_tick;
    unsigned boot;
    uint64_t hash; /* of all of it */
};

/* Which blocks must hit after a crash. */
struct floor {
    uint16_t must[FILES][MAX_BLOCKS]; /* this many bytes of the block */
    uint64_t incarnation[FILES];
    unsigned cached; /* blocks, whether they must hit or not */
    bool clean;      /* the pool was just closed cleanly, and is not open yet */
    bool unborn;     /* it is being formatted: there may be none */
};

/* Starts over: a freshly formatted pool with all files attached; warm: full of blocks that were
 * evicted and read before; full: of blocks of A, B and C, A's the next victims. All is durable. */
enum start { FRESH, WARM, FULL, STARTS };
void world_probation(unsigned entries); /* of the buffer of all worlds to come */
void world_reset(enum rules rules, enum start start, uint64_t seed);
void world_end(void);

unsigned world_ops(void);
unsigned world_usual_ops(void); /* the first ones, of which all sequences are tried */
const char *world_op_name(unsigned op);
void world_op(unsigned op);
/* The same, and the n-th thing in it that can fail does (rec_fail_at): its caller gives up where it
 * is told so, and what it closed is opened again. false: nothing failed. */
bool world_op_failing(unsigned op, unsigned n);
/* Its log was replayed: of what is cached now, only what is durable must hit from now on. */
void world_trust_durable(void);
const char *world_wrong(void); /* with what it did, or NULL */
/* Prints what the pool has of the block that was found wrong last (by an operation, or by
 * world_judge: as the crash left it), or its superblocks where no block was. */
void world_show_wrong(void);
/* Did it run beside another one? Then there is no floor while the two run. */
bool world_tangled(void);

/* The process died, or (`power`) the power was cut, in the middle of the last operation, after this
 * mark: the origin is what it was then. A new session begins (its stores are recorded). `unborn`:
 * if there is no pool, it is formatted. What a power cut leaves depends on the state and the seed.
 */
void world_die(uint64_t mark, bool unborn, bool power);
/* One of a doubt's choices at random; bias 1: mostly the first, 2: mostly the last. */
uint32_t world_choice(struct rng *rng, uint64_t bias, uint32_t choices);
/* Something failed that cannot. The user defines it: it ends the run. */
_Noreturn void world_impossible(const char *what);

/* The snapshot a mark of the log stands for. */
const struct snapshot *world_snapshot(uint64_t mark);
uint64_t world_mark(void); /* the last one */

/* What is cached durably now. */
void world_floor(struct floor *f);
/* Operations made of several steps leave checkpoints between them: marks of their own, each with
 * the floor at that moment (a block may be evicted in one step and stored again in the next). */
#define CHECKPOINT (UINT64_C(1) << 32)
const struct floor *world_checkpoint_floor(uint64_t mark);
void world_forget_checkpoints(void);

/* The origin after a power cut: unsynced content is kept (`lost` 0), lost but for the stamps (1),
 * or lost (2). The result has no content of its own. */
struct snapshot world_after(const struct snapshot *s, int lost);
bool world_unsynced(const struct snapshot *s);

/* Where the image of the pool after a crash is built (depth 0), and after a crash in the session
 * that judges it (1). */
uint8_t *world_image(unsigned depth);
/* Opens the image in another boot, and reads every block; `closed` not NULL: and then checks and
 * repairs the pool, stores a block if it was emptied, and closes it; *closed is what must hit from
 * then on. Returns NULL or what is wrong. The image is as before then, and the session's stores are
 * in the log of the recorder's level depth + 1. */
const char *world_judge(unsigned depth, const struct snapshot *now, const struct floor *must,
                        struct floor *closed, uint64_t *hits);
/* Identity of what an image is judged by. */
uint64_t world_context(const struct snapshot *s, const struct floor *must);

#endif
