/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.h - a tiny pool, a few origin files, and the operations that crash tests are made of.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "../model/origin.h"
#include "file.h"
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
};

/* Which blocks must hit after a crash. */
struct floor {
    bool must[FILES][MAX_BLOCKS];
    uint64_t incarnation[FILES];
    bool clean; /* the pool was just closed cleanly, and is not open yet */
};

/* Starts over: a freshly formatted pool with all files attached; warm: full of blocks that were
 * evicted and read before; full: of blocks of A, B and C, A's the next victims. All is durable. */
enum start { FRESH, WARM, FULL };
void world_reset(enum rules rules, enum start start);
void world_end(void);

unsigned world_ops(void);
unsigned world_usual_ops(void); /* the first ones, of which all sequences are tried */
const char *world_op_name(unsigned op);
void world_op(unsigned op);
/* Did it run beside another one? Then there is no floor while the two run. */
bool world_tangled(void);

/* The process died in the middle of the last operation, after this mark: the origin is what it was
 * then. A new session begins (its stores are recorded). */
void world_die(uint64_t mark);

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

/* Where the image of the pool after a crash is built. */
uint8_t *world_image(void);
/* Opens it and reads every block. `cut`: the power was cut, so that
 * another boot begins and unsynced content may be lost (`lost` 0: none, 1: without the stamps, 2:
 * with them). `must` NULL: no floor. Returns NULL or what is wrong. The
 * image is as before then. */
const char *world_judge(const struct snapshot *s, bool cut, int lost,
                        const struct floor *must, uint64_t *hits);
bool world_unsynced(const struct snapshot *s);

#endif
