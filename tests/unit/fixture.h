/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fixture.h - pools, files and origins for the unit tests.
 *
 * A pool here is in memory, so that a test can look at every byte of it, damage it, and "crash" it:
 * keep the image of one moment and open that. Content is a function of a tag and a block number, so
 * that a test knows the content of every block of every version of a file.
 */
#ifndef CM_FIXTURE_H
#define CM_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "../later.h"
#include "../os.h"
#include "harness.h"

#include "state/file.h"
#include "state/region.h"
#include "media/file_table.h"

#define FAIL(text) harness_fail(__FILE__, __LINE__, text)

#define BLK ((uint64_t)CM_BLOCK_SIZE)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define GROUP ((uint64_t)CM_GROUP_BLOCKS)

/* A name for --wrap of a call about files of any size: glibc has it with a 64 at its end. */
#ifdef __GLIBC__
#define LARGE(prefix, call) prefix##call##64
#else
#define LARGE(prefix, call) prefix##call
#endif

/* For a test that puts structures out of order: with -Dchecks=full calls then check nothing. */
static inline void out_of_order(cm_cache *c)
{
#ifdef CM_CHECKS_FULL
    c->inside++; /* a call seems to be inside at all times */
#else
    (void)c;
#endif
}

/* ---- Numbers and bytes ----------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014) */
static inline uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t next_random(uint64_t *state)
{
    return mix((*state)++);
}

/* The content of block `block` in version `tag` of a file. */
static inline void content(uint64_t tag, uint64_t block, void *to)
{
    uint8_t *p = to;
    uint64_t word = mix(tag * UINT64_C(0x100000001b3) + block);
    for (unsigned i = 0; i < BLK / 8; i++) {
        memcpy(p + 8 * i, &word, 8);
        word = word * UINT64_C(6364136223846793005) + 1;
    }
}

static inline bool is_content(uint64_t tag, uint64_t block, const void *p, size_t n)
{
    uint8_t want[CM_BLOCK_SIZE];
    content(tag, block, want);
    return memcmp(want, p, n) == 0;
}

/* Allocates whole pages from the system, also for a few bytes. os_protect() needs that. Some pages
 * are never freed, which a sanitizer would report as a leak. */
static inline size_t map_size(uint64_t bytes)
{
    return bytes < MIB ? (size_t)MIB : (size_t)bytes;
}

static inline void *map_bytes(uint64_t bytes)
{
    void *p = cm_plat_alloc(map_size(bytes));
    if (p == NULL) {
        printf("# no memory for %llu bytes\n", (unsigned long long)bytes);
        exit(1);
    }
    if (bytes >= 4 * MIB)
        os_large_pages(p, (size_t)bytes);
    return p;
}

static inline void unmap_bytes(void *p, uint64_t bytes)
{
    cm_plat_free(p, map_size(bytes));
}

/* Memory of the program, for cm_options.alloc and free; alloc_ctx is one of these. */
struct counted_memory {
    unsigned kept;   /* pieces that were not given back */
    unsigned wanted; /* how often it was asked */
    bool refuses;
};

static inline void *counted_alloc(void *ctx, size_t bytes)
{
    struct counted_memory *m = ctx;
    m->wanted++;
    if (m->refuses)
        return NULL;
    m->kept++;
    return map_bytes(bytes);
}

static inline void counted_free(void *ctx, void *p, size_t bytes)
{
    struct counted_memory *m = ctx;
    m->kept--;
    unmap_bytes(p, bytes);
}

static inline void sleep_ms(long ms)
{
    const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    (void)nanosleep(&t, NULL);
}

/* ---- Pools ----------------------------------------------------------------------------------- */

struct pool {
    uint8_t *base;
    uint64_t bytes;
    cm_options o; /* for the next open */
    cm_cache *c;  /* NULL: the pool is closed */
};

/* Can this build promise DAX? A build in plain C cannot write lines back, and says so. */
static inline bool cpu_flushes(void)
{
    return cm_persist_choose(CM_FLUSH_LINES)->flushes;
}

static inline struct cm_super *super_at(const struct pool *p, unsigned i)
{
    return (struct cm_super *)(void *)(p->base + i * CM_SUPER_STRIDE);
}

static inline void super_seal(struct cm_super *sb)
{
    sb->xxh3 = cm_format_super_sum(sb);
}

/* Gives a closed pool this hash seed and this identity instead of random ones, and no random gap
 * before its incarnations. So chance does not decide where things are in it, or whether a short
 * check misses a change. */
static inline void pool_seed(const struct pool *p, uint64_t seed)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(p, i)->hash_seed = seed;
        memset(super_at(p, i)->uuid, 0, sizeof(super_at(p, i)->uuid));
        memcpy(super_at(p, i)->uuid, &seed, sizeof(seed));
        super_at(p, i)->inc_mark = CM_GAP_END;
        super_seal(super_at(p, i));
    }
}

/* Makes a formatted pool, which is not open. `flags`: CM_CREATE_*. Every run of a test makes the
 * same pools: the first has seed 1, the second 2. */
static inline void pool_make_as(struct pool *p, uint64_t bytes, uint64_t max_files, uint32_t flags)
{
    static uint64_t made;
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    memset(p, 0, sizeof(*p));
    p->base = map_bytes(bytes);
    p->bytes = bytes;
    p->o = (cm_options)CM_OPTIONS_INIT;
    p->o.probation_bytes = CM_PROBATION_NONE; /* the pool alone; test_probation.c has the buffer */
    o.max_files = max_files;
    o.flags = flags;
    CHECK_EQ(cm_format_memory(p->base, bytes, &o), 0);
    pool_seed(p, ++made);
}
#define pool_make_as(...) CALL(pool_make_as(__VA_ARGS__)) /* its checks say who called */

static inline void pool_make(struct pool *p, uint64_t bytes, uint64_t max_files)
{
    pool_make_as(p, bytes, max_files, 0);
}
#define pool_make(...) CALL(pool_make(__VA_ARGS__)) /* its checks say who called */

static inline int pool_up(struct pool *p)
{
    int e = cm_open_memory(p->base, p->bytes, &p->o, &p->c);
    CHECK_EQ(e, 0);
    return e;
}

static inline void pool_down(struct pool *p)
{
    CHECK_EQ(cm_close(p->c), 0);
    p->c = NULL;
}
#define pool_down(...) CALL(pool_down(__VA_ARGS__)) /* its checks say who called */

static inline void pool_again(struct pool *p)
{
    pool_down(p);
    (void)pool_up(p);
}

static inline int pool_new(struct pool *p, uint64_t bytes)
{
    pool_make(p, bytes, 0);
    return pool_up(p);
}

static inline void pool_end(struct pool *p)
{
    if (p->c)
        pool_down(p);
    unmap_bytes(p->base, p->bytes);
    p->base = NULL;
}

/* The process dies now: only the image stays. Leaves the pool closed. */
static inline void pool_crash(struct pool *p)
{
    uint8_t *image = map_bytes(p->bytes);
    memcpy(image, p->base, (size_t)p->bytes);
    /* Free the old session without a trace in the image. */
    for (uint32_t i = 0; i < p->c->file_chains; i++)
        for (struct cm_object *f = p->c->file_hash[i]; f; f = f->next)
            (void)cm_file_abort((cm_file *)(uintptr_t)f->handle);
    (void)cm_close(p->c);
    unmap_bytes(p->base, p->bytes);
    p->base = image;
    p->c = NULL;
}

/* Makes the pool look as if another boot of the system had made it. */
static inline void pool_other_boot(struct pool *p)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(p, i)->boot_id[3] ^= 0x5a;
        super_at(p, i)->failed_boot_id[3] ^= 0x5a;
        super_seal(super_at(p, i));
    }
}

static inline cm_stats_data pool_stats(cm_cache *c)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    CHECK_EQ(cm_stats(c, &s), 0);
    return s;
}
#define STAT(c, name) ((int64_t)pool_stats(c).name)

static inline cm_info pool_info(cm_cache *c)
{
    cm_info i = { .struct_size = sizeof(i) };
    CHECK_EQ(cm_get_info(c, &i), 0);
    return i;
}

static inline int bump_epoch(cm_cache *c)
{
    return cm_cache_empty(c);
}

/* ---- The pool's bytes ------------------------------------------------------------------------ */

static inline struct cm_header *header_of(cm_cache *c, uint64_t slot)
{
    uint8_t *p = c->media.base + cm_format_header_at(&c->media.geo, slot);
    return (struct cm_header *)(void *)p;
}

static inline uint8_t *payload_of(cm_cache *c, uint64_t slot)
{
    return c->media.base + cm_format_payload_at(&c->media.geo, slot);
}

static inline uint64_t *cell_of(cm_cache *c, uint64_t bucket, unsigned i)
{
    uint8_t *p = c->media.base + c->media.geo.index_offset + bucket * sizeof(struct cm_bucket);
    return (uint64_t *)(void *)p + i;
}

/* Writes a record as of a file that is attached in this boot, with no intent. */
static inline int put_record_attr(const cm_cache *c, uint64_t place, struct cm_record *r,
                                  struct cm_record_attr attr)
{
    const struct cm_record_regions g = { .known = true, .boot = c->super.now.boot_number };
    return cm_record_write(&c->media, place, r, attr, &g);
}

static inline int put_record(const cm_cache *c, uint64_t place, struct cm_record *r)
{
    return put_record_attr(c, place, r, (struct cm_record_attr){ 0 });
}

/* The same of a file that is kept. */
static inline int put_kept(const cm_cache *c, uint64_t place, struct cm_record *r)
{
    return put_record_attr(c, place, r, (struct cm_record_attr){ .keep = true });
}

static inline struct cm_record *record_of(cm_cache *c, uint64_t place)
{
    uint8_t *p = c->media.base + c->media.geo.record_offset + place * sizeof(struct cm_record);
    return (struct cm_record *)(void *)p;
}

static inline bool slot_ok(cm_cache *c, uint64_t slot)
{
    return cm_format_header_ok(c->media.check_key, slot, header_of(c, slot));
}

/* The slot of a block of an attached file, found without the index; CM_NO_SLOT: none. */
static inline uint64_t slot_of(cm_file *f, uint64_t block)
{
    cm_cache *c = cm_object_of(f)->cache;
    for (uint64_t s = 0; s < c->media.geo.slots; s++) {
        struct cm_header *h = header_of(c, s);
        if (slot_ok(c, s) && cm_header_block(h) == block &&
            h->incarnation ==
                cm_region_incarnation(cm_object_of(f), cm_object_of(f)->incarnation, block))
            return s;
    }
    return CM_NO_SLOT;
}

static inline struct cm_key key_of(cm_file *f, uint64_t block)
{
    return cm_key_of(&cm_object_of(f)->cache->media, cm_object_of(f)->incarnation, block);
}

/* The cell that leads to a block's slot, or NULL. */
static inline uint64_t *cell_to(cm_file *f, uint64_t block)
{
    struct cm_key k = key_of(f, block);
    uint64_t cell =
        cm_cell_make(k.place.tag, cm_object_of(f)->cache->media.boot, slot_of(f, block));
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        uint64_t *at = cell_of(cm_object_of(f)->cache, k.place.bucket[i / CM_BUCKET_CELLS],
                               i % CM_BUCKET_CELLS);
        if (*at == cell)
            return at;
    }
    return NULL;
}

/* The number of owned slots that are not on the free stack. They leaked, unless a thread is at
 * work. */
static inline int64_t slots_astray(cm_cache *c)
{
    int64_t n = 0;
    for (uint64_t s = 0; s < c->media.geo.slots; s++)
        n += cm_ring_is_owned(&c->policy.ring, s);
    return n - c->policy.ring.free_count;
}

/* ---- Files ----------------------------------------------------------------------------------- */

/* A validator. Equal versions and sizes make equal validators. The change lies long before any
 * boot, so such files are born clean. */
static inline cm_validator val(uint64_t size, uint64_t version)
{
    return validator_of_version(size, version);
}

static inline cm_file_id id_of(uint64_t n)
{
    return (cm_file_id){ .hi = 0xf11e, .lo = n };
}

/* Attaches with the content of `v`, taken just now. Tests of the time of taking call
 * cm_file_open(). */
static inline cm_file *attach_v(struct pool *p, uint64_t id, const cm_validator *v, uint32_t flags)
{
    cm_file *f = NULL;
    cm_file_id fid = id_of(id);
    cm_validator now = { 0 };
    if (v) {
        now = *v;
        now.taken_at = later();
    }
    CHECK_EQ(cm_file_open(p->c, &fid, v ? &now : NULL, flags, &f), 0);
    if (!f) {
        printf("# cannot attach, giving up\n");
        exit(1);
    }
    return f;
}

static inline cm_file *attach(struct pool *p, uint64_t id, uint64_t size, uint64_t version,
                              uint32_t flags)
{
    cm_validator v = val(size, version);
    return attach_v(p, id, &v, flags);
}

static inline void detach(cm_file *f)
{
    CHECK_EQ(cm_file_close(f), 0);
}
#define detach(...) CALL(detach(__VA_ARGS__)) /* its checks say who called */

static inline cm_file_info info_of(cm_file *f)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    CHECK_EQ(cm_file_get_info(f, &i), 0);
    return i;
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

enum { MISS = 0, RIGHT = 1, WRONG = 2, TOO_SHORT = 3 };

/* Reads one block. MISS, or whether the bytes are those of `tag`. */
static inline int look(cm_file *f, uint64_t block, uint64_t tag)
{
    uint8_t got[CM_BLOCK_SIZE];
    int64_t n = cm_read(f, block * BLK, got, BLK, NULL);
    if (n == 0)
        return MISS;
    if (n < 0)
        return (int)n;
    if (!is_content(tag, block, got, (size_t)n))
        return WRONG;
    return n == (int64_t)BLK ? RIGHT : TOO_SHORT;
}

static inline cm_miss miss_of(cm_file *f, uint64_t offset, uint64_t len)
{
    cm_miss m;
    void *buf = malloc((size_t)len + 1);
    memset(&m, 0, sizeof(m));
    CHECK(cm_read(f, offset, buf, (size_t)len, &m) >= 0);
    free(buf);
    return m;
}

/* Fills one block like a front end. Returns the result of cm_fill. */
static inline int put(cm_file *f, uint64_t block, uint64_t tag)
{
    uint8_t data[CM_BLOCK_SIZE];
    cm_miss m = miss_of(f, block * BLK, BLK);
    if (m.len == 0)
        return CM_NOT_STORED_PRESENT;
    content(tag, block, data);
    return cm_fill(f, &m, data, BLK, 0);
}

/* Fills the first `n` bytes of one block, like at the end of a file. */
static inline int put_tail(cm_file *f, uint64_t block, size_t n, uint64_t tag)
{
    uint8_t data[CM_BLOCK_SIZE];
    cm_miss m = miss_of(f, block * BLK, BLK);
    content(tag, block, data);
    return cm_fill(f, &m, data, n, CM_FILL_EOF);
}

static inline unsigned put_all(cm_file *f, uint64_t first, uint64_t n, uint64_t tag)
{
    unsigned stored = 0;
    for (uint64_t b = first; b < first + n; b++)
        stored += put(f, b, tag) == 0;
    return stored;
}

/* Returns how many of n blocks hit with the right bytes. A wrong byte fails the test. */
static inline unsigned hits(cm_file *f, uint64_t first, uint64_t n, uint64_t tag)
{
    unsigned right = 0;
    for (uint64_t b = first; b < first + n; b++) {
        int r = look(f, b, tag);
        CHECK(r == RIGHT || r == MISS);
        right += r == RIGHT;
    }
    return right;
}

static inline cm_bracket begin_write(cm_file *f, uint64_t offset, uint64_t len)
{
    cm_bracket w = { 0 };
    CHECK_EQ(cm_write_begin(f, offset, len, &w), 0);
    return w;
}

#endif
