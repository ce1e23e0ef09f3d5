/* SPDX-License-Identifier: BSD-2-Clause
 *
 * random.h - what random.c, which chooses operations and knows what they must find, shares with
 * random_do.c, which makes them.
 */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WORKERS 2 /* processes that have the files open */
#define FILES 6   /* files that may be there at once, with names or open */
#define NAMES 10  /* names for them */
#define SIDES 2   /* descriptors of a file in a process: 0 buffered, 1 direct */
#define FILE_MAX (192u << 10)
#define CALL_MAX (64u << 10) /* bytes of one read or write */
#define PAGE 4096u
#define NAME_MAX_LEN 16

enum kind {
    OP_OPEN, /* closes what the side had; with O_CREAT makes the file, with O_TRUNC empties it */
    OP_CLOSE,
    OP_READ,
    OP_WRITE,
    OP_APPEND,
    OP_MAP,
    OP_UNMAP,
    OP_LOAD,  /* reads from the mapping */
    OP_STORE, /* writes into it */
    OP_MSYNC,
    OP_TRUNCATE,
    OP_FALLOCATE,
    OP_COPY,
    OP_SEEK,
    OP_SYNC,
    OP_DROP, /* the kernel's pages of the file */
    OP_RENAME,
    OP_UNLINK,
    OP_LINK,
    OP_STAT,
    OP_WHOLE, /* opens it anew and reads all of it */
    KINDS
};

/* One operation, and what came of it. */
struct op {
    enum kind kind;
    int worker;
    int file, side;      /* which descriptor */
    int from, from_side; /* OP_COPY: the source */
    int64_t off, off_from, len;
    int arg;           /* flags of open and rename, mode of fallocate, whence */
    int name, name_to; /* -1: none */
    uint64_t step;
    int64_t rc; /* -1: error says why */
    int error;
    uint64_t links; /* OP_STAT */
};

/* Memory that a worker shares with its master. */
struct channel {
    struct op op;
    _Alignas(4096) uint8_t buf[FILE_MAX + PAGE];
};

extern const char *const kind_names[KINDS];

/* Starts a worker in the directory that the descriptor leads to. */
void worker_start(int number, struct channel *c, int dir);
/* Begins an operation there, and waits for its end. False: the worker is gone. */
bool worker_begin(int number);
bool worker_wait(int number);
void worker_stop(int number);

void name_of(int name, char text[NAME_MAX_LEN]);
void op_print(const struct op *o, FILE *to);

#endif
