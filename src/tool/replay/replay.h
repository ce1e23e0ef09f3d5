/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay.h - shared by the parts of "cachemax replay".
 *
 * A trace is read once and numbered: every different block that it touches has a number from 0 up,
 * so that all data of blocks is in arrays. The library and the reference policies then go through
 * the same records with the same number of slots, and count in the same way. Each block of a read
 * record is a hit or a miss, once. A block of a write record is forgotten and not stored.
 */
#ifndef CM_TOOL_REPLAY_H
#define CM_TOOL_REPLAY_H

#include "tool/tool.h"
#include "tool/os.h"

/* ---- trace_input.c: the bytes of a trace file, unpacked ------------------------------------ */

struct trace_input;
/* TOOL_OK, or a status after a message. */
int trace_input_open(const char *path, struct trace_input **input);
/* Reads fewer than len bytes only at the end. TOOL_OK, or a status after a message. */
int trace_input_read(struct trace_input *in, void *buf, size_t len, size_t *got);
void trace_input_close(struct trace_input *in);

/* ---- trace.c: records, blocks by number ---------------------------------------------------- */

struct trace_record {
    uint64_t first; /* block */
    uint64_t touch; /* index of the first block's number in trace.touch */
    uint32_t file;  /* index in the arrays of files */
    uint16_t blocks;
    bool write;
};

struct trace {
    struct trace_record *record;
    uint64_t records;
    uint32_t *touch; /* the number of each block touched, in order */
    uint64_t touches;
    uint32_t numbers; /* different blocks */
    uint32_t files;
    uint32_t *file_id;  /* its id in the trace */
    uint64_t *file_end; /* behind its last block */
    uint64_t reads, writes,
        ignored;     /* blocks; ignored: of writes that are left out of the records */
    uint64_t unique; /* different blocks that are read */
};

/* TOOL_OK, or a status after a message. In both cases the caller calls trace_free(). */
int trace_load(struct trace *t, const char *path, bool with_writes);
void trace_free(struct trace *t);

/* ---- Replaying ----------------------------------------------------------------------------- */

/* REPLAY_GO_ON: blocks behind the split are counted separately, and nothing else happens there. */
enum replay_restart {
    REPLAY_WHOLE,
    REPLAY_GO_ON,
    REPLAY_CLEAN,
    REPLAY_CRASH,
    REPLAY_COLD,
    REPLAY_GROW /* no restart: the pool has a quarter of the size until then */
};

struct replay {
    const struct trace *trace;
    cm_options options; /* of the library */
    const char *dir;    /* directory of the pool file; NULL: the pool is in memory */
    unsigned threads;
    enum replay_restart restart;
    uint64_t split; /* first record after the restart; without one: trace->records */
    bool quiet;     /* no progress bar */
};

/* In blocks. `after`: those of them behind the split. */
struct replay_counts {
    uint64_t reads, hits;
    uint64_t reads_after, hits_after;
};

/* ---- policies.c: LRU and CLOCK, simulated ------------------------------------------- */

enum { REPLAY_LRU, REPLAY_CLOCK, REPLAY_POLICIES };
/* These ignore a restart. False: out of memory. */
bool replay_policy(const struct replay *r, unsigned policy, uint64_t slots,
                   struct replay_counts *counts);

/* ---- pool.c: the pool, and how it is closed and opened ------------------------------ */

struct replay_pool {
    const struct replay *replay;
    struct tool_log log;
    cm_cache *cache;
    uint64_t bytes, slots, max_files;
    uint64_t grown;  /* bytes that it will grow to; 0: it does not */
    void *base;      /* of a pool in memory */
    char path[1152]; /* of a pool file; "" if there is none */
};

/* The smallest pool with at least `wanted` slots: sets bytes, slots, max_files. */
int replay_pool_plan(struct replay_pool *p, const struct replay *r, uint64_t wanted);
/* Both: TOOL_OK, or a status after a message. */
int replay_pool_make(struct replay_pool *p);
int replay_pool_restart(struct replay_pool *p);
void replay_pool_drop(struct replay_pool *p);

/* ---- run.c: the records through the library ----------------------------------------- */

struct replay_result {
    struct replay_counts counts;
    uint64_t fills;       /* blocks stored in the pool */
    uint64_t first_fills; /* those of them in slots that were never used before */
    uint64_t probation_hits;
    /* Missed by two threads at the same time, stored by the other one. */
    uint64_t missed_twice;
    uint64_t curve[CM_CURVE_POINTS]; /* like in cm_stats_data, of the last session */
    double seconds;
};
/* TOOL_OK, or a status after a message; the pool is gone afterwards. */
int replay_library(struct replay_pool *p, struct replay_result *result);

#endif
