/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.c - see origin.h. Uses only types of the cache, none of its functions.
 */
#include "origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../later.h"

uint64_t rng_next(struct rng *r)
{
    /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (r->s += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

void ofile_init(struct ofile *f, uint64_t number, uint64_t max)
{
    memset(f, 0, sizeof(*f));
    f->id = (cm_file_id){ 0x6f726967696e, number + 1 };
    f->max = max;
    f->data = calloc(1, max);
    f->synced = calloc(1, max);
    if (!f->data || !f->synced)
        abort();
}

void ofile_free(struct ofile *f)
{
    free(f->data);
    free(f->synced);
}

void ofile_write(struct ofile *f, struct rng *r, int64_t tick, uint64_t offset, uint64_t len)
{
    uint64_t word = rng_next(r);
    for (uint64_t i = 0; i < len; i++)
        f->data[offset + i] = (uint8_t)((word >> (i % 8 * 8)) + i / 8 + offset / 8);
    if (offset + len > f->size)
        f->size = offset + len;
    f->stamp = tick;
    f->unsynced = true;
}

void ofile_truncate(struct ofile *f, int64_t tick, uint64_t size)
{
    if (size < f->size)
        memset(f->data + size, 0, f->size - size);
    f->size = size;
    f->stamp = tick;
    f->unsynced = true;
}

void ofile_sync(struct ofile *f)
{
    if (f->failed)
        return;
    memcpy(f->synced, f->data, f->max);
    f->synced_size = f->size;
    f->synced_stamp = f->stamp;
    f->unsynced = false;
}

void ofile_power_cut(struct ofile *f, struct rng *r)
{
    if (f->unsynced) {
        uint64_t how = rng_below(r, 3);
        if (how > 0)
            memcpy(f->data, f->synced, f->max);
        if (how > 1) {
            f->size = f->synced_size;
            f->stamp = f->synced_stamp;
        }
    }
    f->failed = false;
    ofile_sync(f);
}

cm_validator ofile_validator(const struct ofile *f, int64_t tick)
{
    cm_validator v = validator_of_version(f->size, (uint64_t)f->stamp);
    v.changed_ns = f->stamp * TICK_NS + 1;
    v.racy = f->stamp == tick;
    return v;
}

int64_t ofile_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    const struct ofile *f = ctx;
    if (offset % CM_BLOCK_SIZE || len % CM_BLOCK_SIZE || (uintptr_t)buf % CM_BLOCK_SIZE) {
        fprintf(stderr, "origin read is not aligned: %llu %zu %p\n", (unsigned long long)offset,
                len, buf);
        abort();
    }
    if (offset >= f->size)
        return 0;
    uint64_t n = f->size - offset < len ? f->size - offset : len;
    memcpy(buf, f->data + offset, n);
    return (int64_t)n;
}
