/* SPDX-License-Identifier: BSD-2-Clause
 *
 * flight_common.h - shared by the tests of reading through: an origin that can be slow, wrong and
 * stopped.
 */
#ifndef CM_FLIGHT_COMMON_H
#define CM_FLIGHT_COMMON_H

#include "fixture.h"

/* The tests of the other files. */
extern const struct harness_test flight_readers_tests[];

/* ---- An origin ------------------------------------------------------------------------------- */

struct origin {
    uint64_t tag, size;
    uint32_t calls;
    uint32_t misaligned;       /* calls that an O_DIRECT descriptor would have refused */
    uint64_t first, end;       /* range of the last call */
    uint64_t most;             /* longest call */
    uint64_t bad_block;        /* reads that touch it fail; 0: none */
    int64_t fail;              /* all calls fail with this code */
    uint32_t rest;             /* closed gate: all calls but the first wait */
    uint32_t gate, waiting;    /* closed gate: all calls wait; number of waiting calls */
    void (*during)(void *ctx); /* runs in the middle of a call */
    void *during_ctx;
};

static inline void origin_bytes(const struct origin *o, uint64_t offset, uint8_t *p, uint64_t n)
{
    uint8_t whole[CM_BLOCK_SIZE];
    for (uint64_t i = 0; i < n; i += BLK) {
        content(o->tag, (offset + i) / BLK, whole);
        memcpy(p + i, whole, (size_t)(n - i < BLK ? n - i : BLK));
    }
}

static inline int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct origin *o = ctx;
    const uint32_t *gate = at_add_relaxed(&o->calls, 1u) == 0 ? &o->gate : &o->rest;
    if (offset % BLK || len % BLK || (uintptr_t)buf % BLK || len == 0)
        at_add_relaxed(&o->misaligned, 1u);
    at_store_relaxed(&o->first, offset);
    at_store_relaxed(&o->end, offset + len);
    if (len > at_load_relaxed(&o->most))
        at_store_relaxed(&o->most, len);
    at_add_acq_rel(&o->waiting, 1u); /* who sees it may look at first and end */
    while (at_load_acquire(&o->gate) || at_load_acquire(gate))
        sleep_ms(1);
    at_sub_acq_rel(&o->waiting, 1u);
    if (o->during)
        o->during(o->during_ctx);
    if (o->fail)
        return o->fail;
    if (o->bad_block && offset <= o->bad_block * BLK && o->bad_block * BLK < offset + len)
        return -1234;
    uint64_t n = offset >= o->size ? 0 : o->size - offset < len ? o->size - offset : len;
    memset(buf, 0xee, len);
    origin_bytes(o, offset, buf, n);
    return (int64_t)n;
}

static inline struct origin make_origin(uint64_t size)
{
    return (struct origin){ .tag = 5, .size = size };
}

static inline cm_file *open_both(struct pool *p, uint64_t bytes, uint64_t size)
{
    pool_make(p, bytes, 0);
    pool_seed(p, 1); /* chance does not decide which blocks find room */
    (void)pool_up(p);
    return attach(p, 1, size, 1, CM_SOLE_WRITER);
}

/* Are these the bytes [offset, offset+n) of the origin? */
static inline bool is_range(const struct origin *o, uint64_t offset, const uint8_t *p, uint64_t n)
{
    uint8_t whole[CM_BLOCK_SIZE];
    for (uint64_t at = offset; at < offset + n;) {
        uint64_t k = BLK - at % BLK < offset + n - at ? BLK - at % BLK : offset + n - at;
        content(o->tag, at / BLK, whole);
        if (memcmp(whole + at % BLK, p + (at - offset), (size_t)k))
            return false;
        at += k;
    }
    return true;
}

/* Reads through the cache, and checks the count and every byte. */
static inline void check_read(cm_file *f, struct origin *o, uint64_t offset, uint8_t *buf,
                              size_t len)
{
    uint64_t want = offset >= o->size ? 0 : o->size - offset < len ? o->size - offset : len;
    memset(buf, 0xdd, len);
    int64_t n = cm_read_through(f, offset, buf, len, origin_read, o);
    if (n != (int64_t)want || !is_range(o, offset, buf, want)) {
        printf("# read of [%llu, +%zu) of %llu bytes: %lld\n", (unsigned long long)offset, len,
               (unsigned long long)o->size, (long long)n);
        FAIL("right bytes");
    }
}

/* ---- Without memory -------------------------------------------------------------------------- */

static uint32_t no_memory; /* 1: all allocations of a poor pool fail, */
static size_t spared;      /* but those of so many bytes */

static inline void *poor_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return at_load_relaxed(&no_memory) && bytes != spared ? NULL : map_bytes(bytes);
}

static inline void poor_free(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    unmap_bytes(at, bytes);
}

/* Before the pool is opened. It has memory, so far. */
static inline void make_poor(struct pool *p)
{
    p->o.alloc = poor_alloc;
    p->o.free = poor_free;
    no_memory = 0;
    spared = 0;
}

#endif
