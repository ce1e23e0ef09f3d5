/* SPDX-License-Identifier: BSD-2-Clause
 *
 * random_model.h - what the files of random.c must contain.
 */
#ifndef RANDOM_MODEL_H
#define RANDOM_MODEL_H

#include "random.h"

/* A descriptor of a worker. */
struct side {
    bool open, reads, writes, appends;
};

struct file {
    bool used;
    unsigned links;
    int64_t size;
    bool stored;            /* into a mapping, and not synced since: the origin may be older */
    uint8_t data[FILE_MAX]; /* zeros behind the size */
};

extern struct model {
    struct file file[FILES];
    int name[NAMES]; /* the file that it leads to, or -1 */
    struct side side[WORKERS][FILES][SIDES];
    int mapped[WORKERS][FILES]; /* PROT_ flags; 0: not mapped */
    bool no_links;              /* the number of a file's names says nothing */
    unsigned refused;           /* operations that the file system does not have */
} model;

/* What an operation touches. Two operations whose touches do not meet give the same in any order.
 */
struct touch {
    unsigned names; /* a bit for each */
    bool names_change;
    struct {
        int file;
        int64_t from, to;
        bool changes;
    } data[2];
};
struct touch touch_of(const struct op *o);
bool touches_meet(const struct touch *a, const struct touch *b);

/* What is wrong with a result: false, and what is written to `text`. If a byte differs, *at is its
 * offset, and -1 otherwise. True: the model is now as the operation left the files. `alone`: no
 * other one ran beside it. */
bool model_judge(const struct op *o, const uint8_t *buf, bool alone, char *text, size_t room,
                 int64_t *at);
/* Compares a whole file: the offset of the first difference, or -1. */
int64_t model_compare(int file, const uint8_t *buf, int64_t size);
/* Any name of the file, or -1. */
int model_name(int file);

#endif
