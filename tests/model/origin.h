/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.h - the naive model: origin files as plain arrays, and a clock that only the test moves.
 *
 * The clock has coarse ticks; every change stamps the file with the present tick. A validator
 * taken in the tick of the last change is racy: another change could hide behind the same stamp.
 */
#ifndef ORIGIN_H
#define ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "cachemax.h"

#define TICK_NS (INT64_C(1000) * 1000000000) /* far more than the library's boot margin */

struct ofile {
    cm_file_id id;
    uint64_t max;           /* size of the arrays */
    uint8_t *data, *synced; /* the present content, and the content that a power cut leaves */
    uint64_t size, synced_size;
    int64_t stamp, synced_stamp; /* tick of the last change */
    bool unsynced;
    bool failed; /* a sync has failed: until the power is cut, no later one writes what it lost */
};

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
/* A random number in [0, n), evenly distributed. */
uint64_t rng_below(struct rng *r, uint64_t n);

void ofile_init(struct ofile *f, uint64_t number, uint64_t max);
void ofile_free(struct ofile *f);
void ofile_write(struct ofile *f, struct rng *r, int64_t tick, uint64_t offset, uint64_t len);
void ofile_truncate(struct ofile *f, int64_t tick, uint64_t size);
void ofile_sync(struct ofile *f);
/* Does a power cut to a file. Either nothing changes, or its unsynced content is lost, with or
 * without the stamps of that content. */
void ofile_power_cut(struct ofile *f, struct rng *r);
cm_validator ofile_validator(const struct ofile *f, int64_t tick);
/* Like an origin_read callback; ctx is a struct ofile. Checks that the request is aligned. */
int64_t ofile_read(void *ctx, uint64_t offset, void *buf, size_t len);

#endif
