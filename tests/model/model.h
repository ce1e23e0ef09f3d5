/* SPDX-License-Identifier: BSD-2-Clause
 *
 * model.h - shared by model.c, model_names.c and model_requests.c: the state of a run.
 */
#ifndef CM_TESTS_MODEL_H
#define CM_TESTS_MODEL_H

#include "state/cache_state.h"
#include "origin.h"

#define FILES 6
#define BLOCK CM_BLOCK_SIZE
#define MAX_MISSES 6
#define MAX_BRACKETS 5
#define MAX_PINS 3
#define MAX_OLD 8
#define MAX_ASKED 4
#define BUF (96 * BLOCK)

/* A miss on its way to a fill. */
struct pending {
    bool used, read;
    int file;
    cm_miss miss;
    uint8_t *data;
    uint64_t wanted; /* bytes that the origin was asked for */
    int64_t got;
};

enum kind { WRITE, APPEND, TRUNCATE, TOUCH };
struct bracket {
    bool used, written;
    int file;
    enum kind kind;
    cm_bracket w;
    uint64_t offset, len;
};

struct pinned {
    bool used;
    cm_pins pins;
    cm_iovec iov[8];
    int n;
    uint64_t len;
    uint8_t *copy;
};

/* A request, and the pieces that it has given out. What the file holds now and at the end of a
 * request must be what the request read, so it is dropped when its file changes. */
struct asked {
    bool used, changed;
    int file;
    cm_request r;
    unsigned given;
    cm_piece piece[CM_REQUEST_PIECES];
    uint8_t *buf;
};

/* A validator that was taken and is not presented yet. */
struct old {
    bool used;
    int file;
    cm_validator v;
};

struct model {
    struct rng rng;
    uint64_t seed, op;
    int64_t tick, boot_tick;
    uint8_t *pool;
    uint64_t pool_bytes;
    cm_cache *cache;
    int mode;
    struct ofile origin[FILES];
    cm_file *file[FILES];
    bool sole[FILES], bypassed[FILES];
    struct pending pending[MAX_MISSES];
    struct bracket bracket[MAX_BRACKETS];
    struct pinned pin[MAX_PINS];
    struct old old[MAX_OLD];
    struct asked asked[MAX_ASKED];
    uint8_t *buf;
    uint64_t hits, reads, stored, refused, crashes, cuts, closes, kept, asked_done, warmed, names;
    bool verbose;
};
extern struct model t;

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void must(int e, const char *what);
/* A range of file i, or a bit beyond it. */
void random_range(int i, uint64_t *offset, uint64_t *len);
void check_bytes(int i, uint64_t offset, const uint8_t *got, uint64_t n, const char *what);
bool file_has_bracket(int i);

/* Sets a name, or looks at one. */
void op_name(void);
/* Ends if file i has a name that it cannot have. */
void check_name(int i);
/* After a crash any earlier name of a file may be back; an end makes its name "". */
void doubt_names(void);
void end_name(int i);
/* Reads the origin for a miss; offers what it gave, sometimes less, or more than the file has. */
void op_read_origin(void);
void op_fill(void);
/* One step of a request, or of several. */
void op_request(void);
/* File i is about to change: what a request has read of it so far may be older. */
void note_change(int i);
void cancel_asked(struct asked *a);

#endif
