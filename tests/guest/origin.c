/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.c - see origin.h. Every store to the state is ordered: in the guest it is durable at once.
 */
#include "origin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x6f726967696e3031)
#define TICK_NS (INT64_C(1000) * 1000000000) /* stamps lie decades before the boot */

static void set(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

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

struct origin *origin_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct origin)) != 0) {
        perror(path);
        exit(1);
    }
    struct origin *o =
        mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
    if (o == MAP_FAILED) {
        perror("MAP_SYNC");
        exit(1);
    }
    close(fd);
    return o;
}

bool origin_ready(const struct origin *o)
{
    return o->magic == MAGIC;
}

void origin_init(struct origin *o, struct rng *r)
{
    set(&o->magic, 0);
    memset(o, 0, sizeof(*o));
    o->next_version = 1;
    for (unsigned f = 0; f < FILES; f++) {
        uint64_t size = BLOCK * (BLOCKS / 2) + rng_below(r, BLOCK * BLOCKS / 2);
        origin_write(o, f, 0, (size + BLOCK - 1) / BLOCK, size);
        origin_sync(o, f);
    }
    set(&o->magic, MAGIC);
}

void origin_block(const struct origin *o, unsigned f, uint64_t block, void *to)
{
    struct rng r = { (o->file[f].version[block] * FILES + f) * BLOCKS + block };
    uint64_t word = rng_next(&r);
    for (uint64_t i = 0; i < BLOCK; i += 8) {
        memcpy((uint8_t *)to + i, &word, 8);
        word = word * UINT64_C(6364136223846793005) + 1;
    }
}

bool origin_is(const struct origin *o, unsigned f, uint64_t offset, const void *p, uint64_t n)
{
    uint8_t want[CM_BLOCK_SIZE];
    const uint8_t *got = p;
    if (n > 0 && offset + n > o->file[f].size)
        return false;
    while (n > 0) {
        uint64_t from = offset % BLOCK, len = BLOCK - from < n ? BLOCK - from : n;
        origin_block(o, f, offset / BLOCK, want);
        if (memcmp(got, want + from, len) != 0)
            return false;
        got += len;
        offset += len;
        n -= len;
    }
    return true;
}

void origin_stamp(struct origin *o, unsigned f, int64_t stamp)
{
    set(&o->file[f].unsynced, 1);
    if (stamp == 0) {
        o->tick++;
        stamp = o->tick * TICK_NS;
    }
    __atomic_store_n(&o->file[f].stamp, stamp, __ATOMIC_SEQ_CST);
}

void origin_write(struct origin *o, unsigned f, uint64_t first, uint64_t blocks, uint64_t size)
{
    struct origin_file *x = &o->file[f];
    origin_stamp(o, f, 0);
    for (uint64_t b = first; b < first + blocks; b++) {
        set(&o->next_version, o->next_version + 1);
        set(&x->version[b], o->next_version);
    }
    set(&x->size, size);
}

void origin_sync(struct origin *o, unsigned f)
{
    struct origin_file *x = &o->file[f];
    for (uint64_t b = 0; b < BLOCKS; b++)
        set(&x->synced[b], x->version[b]);
    set(&x->synced_size, x->size);
    __atomic_store_n(&x->synced_stamp, x->stamp, __ATOMIC_SEQ_CST);
    set(&x->unsynced, 0);
}

void origin_power_cut(struct origin *o, unsigned f, struct rng *r)
{
    struct origin_file *x = &o->file[f];
    uint64_t how = rng_below(r, 4), kept = how == 3 ? rng_next(r) : 0;
    if (!x->unsynced)
        return;
    if (how > 0)
        for (uint64_t b = 0; b < BLOCKS; b++)
            if (!(kept >> b % 64 & 1))
                set(&x->version[b], x->synced[b]);
    if (how > 1) {
        set(&x->size, x->synced_size);
        __atomic_store_n(&x->stamp, x->synced_stamp, __ATOMIC_SEQ_CST);
    }
    origin_sync(o, f);
}

cm_file_id origin_id(unsigned f)
{
    return (cm_file_id){ UINT64_C(0x6775657374), f + 1 };
}

cm_validator origin_validator(const struct origin *o, unsigned f, bool racy)
{
    const uint64_t taken_at = cm_now();
    cm_validator v = CM_VALIDATOR_INIT;
    cm_validator_set_proof(&v, &o->file[f].stamp, sizeof(o->file[f].stamp));
    v.size = o->file[f].size;
    v.changed_ns = o->file[f].stamp > 0 ? o->file[f].stamp : CM_CHANGED_LONG_AGO;
    v.taken_at = taken_at;
    v.racy = racy;
    return v;
}
