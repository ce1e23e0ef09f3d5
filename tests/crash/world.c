/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.c - see world.h.
 *
 * Owns: the live pool, the origin, the session on it, and the list of operations. The system below
 * the library is replaced where a crash test must decide it (linked with --wrap): boot identity and
 * boot time, and whatever else would make two images of one history differ.
 */
#include "world.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../os.h"
#include "protocol/fill_buffered.h"
#include "protocol/lookup.h"
#include "media/file_table.h"
#include "media/stats.h"

#define POOL_SLOTS 64
#define MEMO_PAGES 2 /* of that many: they lie before the slots */
#define Z_BLOCKS 20
#define STRANGERS 99 /* their ids begin so */

static struct {
    enum rules rules;
    uint8_t *pool;
    uint64_t bytes;
    char path[512], judge_path[512]; /* of files that stand for pools where they are not DAX */
    uint8_t *mapped;                 /* what mapping one gives: the pool, or the judge's image */
    cm_cache *cache;
    cm_file *file[FILES];
    struct snapshot now;
    cm_file_id id[FILES];
    uint64_t size[FILES];       /* of the files that are never written */
    uint8_t *constant;          /* content of the blocks of C, then Z */
    uint64_t z_block[Z_BLOCKS]; /* of file Z, all at home in the two buckets of A's block 0 */
    bool torn;                  /* the next copy of a payload is interrupted */
    struct snapshot *past;
    size_t marks, room;
    bool failing;      /* something is to fail in the operation: no floor */
    jmp_buf give_up;   /* the end of it, when an error was returned */
    bool vague[FILES]; /* something failed: its record may say less than the library knows */
    /* Seen after a process died, but perhaps not durable: nobody was told that they are stored. */
    bool unsure[FILES][MAX_BLOCKS];
    struct floor *floors;
    size_t checkpoints, floor_room;
    cm_bracket open; /* on file A, block 1 */
    bool bracket, written;
    unsigned arm;        /* the operation after the next: the next one runs at this fence of it */
    void (*inner)(void); /* that one */
    bool tangled;        /* two operations at once: no floor in between */
    bool beside;         /* the inner one is running */
    bool forgets; /* the last operation was to forget B: if it was cut short, the next session
                   * does it, before it opens anything */
    struct rng rng;
    struct rng random; /* the system's: the same pool every time, or equal images would differ */
    uint64_t seed;     /* of what power cuts leave */
    unsigned boot;     /* identity and time that the library is told */
    int64_t boot_wall;
    uint8_t *buf, *other_buf;
    uint8_t *image[REC_LEVELS - 1]; /* what the judge opens: after a crash, after a crash in that */
    const char *wrong;              /* with the last operation */
    unsigned damaged;               /* words of the pool, by the media */
} w;

/* ---- The system below ------------------------------------------------------------------------ */

void __wrap_cm_plat_boot_id(uint8_t id[16]);
void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16]);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
void __wrap_cm_plat_file_close(struct cm_plat_file *f);
void __real_cm_plat_file_close(struct cm_plat_file *f);
void __wrap_cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns);
void __real_cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns);
int64_t __wrap_cm_plat_boot_wall_ns(void);
int __wrap_cm_plat_random(void *buf, size_t n);
int64_t __wrap_cm_plat_wall_ns(void);
uint32_t __wrap_cm_plat_pid(void);

void __wrap_cm_plat_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, "boot", 4);
    memcpy(id + 4, &w.boot, sizeof(w.boot));
}

/* One mount, the same that memory pools claim: the judge opens copies in memory. */
void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    (void)f;
    memset(id, 0xff, 16);
}

/* A pool "file" on a volume without DAX is memory, and a sync is an event of the log. */
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    (void)align;
    f->base = w.mapped;
    *durability = CM_DURABILITY_PAGECACHE;
    return 0;
}

int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    (void)f;
    return rec_sync(offset, len ? len : w.bytes);
}

int __real_cm_guard_load64(const uint64_t *p, uint64_t *v);
int __wrap_cm_guard_load64(const uint64_t *p, uint64_t *v);
int __wrap_cm_guard_load64(const uint64_t *p, uint64_t *v)
{
    return rec_load_fails() ? CM_EIO : __real_cm_guard_load64(p, v);
}

int __real_cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n);
int __wrap_cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n);
int __wrap_cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n)
{
    return rec_load_fails() ? CM_EIO : __real_cm_guard_load_words(p, v, n);
}

void __wrap_cm_plat_file_close(struct cm_plat_file *f)
{
    f->base = NULL; /* not a mapping */
    __real_cm_plat_file_close(f);
}

/* Nothing depends on the stats page, and it is no part of an image: the judge's session does not
 * spend half its time on clearing it. */
void __wrap_cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns)
{
    if (m->base == w.pool)
        __real_cm_stats_begin(m, pid, wall_ns);
}

int64_t __wrap_cm_plat_boot_wall_ns(void)
{
    return w.boot_wall;
}

int __wrap_cm_plat_random(void *buf, size_t n)
{
    /* No gap between the incarnations of two sessions: if they can meet, they shall. */
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)buf)[i] = n == CM_GAP_BYTES ? 0 : (uint8_t)rng_next(&w.random);
    return 0;
}

int64_t __wrap_cm_plat_wall_ns(void)
{
    return TICK_NS;
}

uint32_t __wrap_cm_plat_pid(void)
{
    return 1;
}

/* A session that crashes frees nothing: its memory comes from here and is dropped as a whole. Two
 * of them: the live session's and the judge's. */
struct arena {
    uint8_t *base;
    size_t used, size;
};
static struct arena live_arena, judge_arena;

static void *arena_alloc(void *ctx, size_t bytes)
{
    struct arena *a = ctx;
    bytes = (bytes + 63) / 64 * 64;
    if (!a->base) {
        a->size = 16u << 20;
        a->base = os_aligned(4096, a->size);
    }
    if (!a->base || a->used + bytes > a->size)
        return NULL;
    void *p = a->base + a->used;
    a->used += bytes;
    return memset(p, 0, bytes);
}

static void arena_free(void *ctx, void *p, size_t bytes)
{
    struct arena *a = ctx;
    bytes = (bytes + 63) / 64 * 64;
    if ((uint8_t *)p + bytes == a->base + a->used)
        a->used -= bytes; /* last in, first out: most of them */
}

static uint64_t probation; /* entries of the buffer */

void world_probation(unsigned entries)
{
    probation = entries;
}

static cm_options options(struct arena *a)
{
    cm_options o = CM_OPTIONS_INIT;
    o.policy = CM_POLICY_S3R; /* no sequence is long enough for another rule */
    o.probation_bytes = a == &judge_arena ? 0 : probation * BLOCK;
    o.flags = CM_OPEN_NO_GUARD;
    o.memory_durability = w.rules == RULES_PAGECACHE ? CM_DURABILITY_VOLATILE : CM_DURABILITY_DAX;
    /* The judge trusts the payload: checksums are for damaged media, not for crashes. */
    o.verify = a == &judge_arena ? CM_VERIFY_NEVER : CM_VERIFY_ALWAYS;
    o.alloc = arena_alloc;
    o.free = arena_free;
    o.alloc_ctx = a;
    return o;
}

/* Succeeds, whatever the media does. */
static void always(int64_t e, const char *what)
{
    static char text[120];
    snprintf(text, sizeof(text), "%s: %s", what, cm_errname((int)e));
    if (e < 0)
        world_impossible(text);
}

/* Fails only with the media; its caller gives up. */
static void must(int64_t e, const char *what)
{
    if (e < 0 && w.failing && rec_failed())
        longjmp(w.give_up, 1);
    always(e, what);
}

/* ---- Origin ---------------------------------------------------------------------------------- */

/* The files that never change hold a function of file and block. */
static void constant_block(int f, uint64_t block, uint64_t *words)
{
    struct rng g = { (uint64_t)f << 32 | block };
    uint64_t v = rng_next(&g);
    for (unsigned i = 0; i < BLOCK / 8; i++)
        words[i] = v + i;
}

static int64_t origin_of(const struct snapshot *s, int f, uint64_t offset, void *buf, size_t len)
{
    if (f < WRITTEN) {
        struct ofile o = s->file[f];
        return ofile_read(&o, offset, buf, len);
    }
    for (size_t i = 0; i < len; i += BLOCK)
        constant_block(f, (offset + i) / BLOCK, (uint64_t *)(void *)((uint8_t *)buf + i));
    return (int64_t)len;
}

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    int f = *(const int *)ctx;
    if (offset >= w.size[f] && f >= WRITTEN)
        return 0;
    return origin_of(&w.now, f, offset, buf, len);
}

static cm_validator validator_of(const struct snapshot *s, int f, int64_t tick)
{
    if (f < WRITTEN)
        return ofile_validator(&s->file[f], tick);
    cm_validator v = { .size = w.size[f], .mtime_ns = 5, .ctime_ns = 5, .taken_at = cm_now() };
    return v;
}

static void copy_snapshot(struct snapshot *to, const struct snapshot *from)
{
    for (int f = 0; f < WRITTEN; f++) {
        uint8_t *data = to->file[f].data, *synced = to->file[f].synced;
        to->file[f] = from->file[f];
        to->file[f].data = data ? data : malloc(from->file[f].max);
        to->file[f].synced = synced ? synced : malloc(from->file[f].max);
        memcpy(to->file[f].data, from->file[f].data, from->file[f].max);
        memcpy(to->file[f].synced, from->file[f].synced, from->file[f].max);
    }
    to->tick = from->tick;
    to->boot_tick = from->boot_tick;
    to->boot = from->boot;
}

static uint64_t hash_words(uint64_t h, const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t v;
        memcpy(&v, (const uint8_t *)p + i, 8);
        h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return h;
}

static uint64_t hash_snapshot(const struct snapshot *s)
{
    uint64_t h = 1;
    for (int f = 0; f < WRITTEN; f++) {
        const struct ofile *o = &s->file[f];
        const uint64_t v[] = { o->size, o->synced_size, (uint64_t)o->stamp,
                               (uint64_t)o->synced_stamp, o->unsynced };
        h = hash_words(h, v, sizeof(v));
        h = hash_words(h, o->data, o->max);
        h = hash_words(h, o->synced, o->max);
    }
    const uint64_t v[] = { (uint64_t)s->tick, (uint64_t)s->boot_tick, s->boot };
    return hash_words(h, v, sizeof(v));
}

/* The origin is about to be what it was not: everything after this in the log sees the new one. */
static void mark(void)
{
    if (w.marks == w.room) {
        w.room = w.room * 2 + 16;
        w.past = realloc(w.past, w.room * sizeof(*w.past));
        if (!w.past)
            abort();
        memset(w.past + w.marks, 0, (w.room - w.marks) * sizeof(*w.past));
    }
    copy_snapshot(&w.past[w.marks], &w.now);
    w.past[w.marks].hash = hash_snapshot(&w.now);
    rec_mark(w.marks++);
}

const struct snapshot *world_snapshot(uint64_t m)
{
    return &w.past[m];
}

uint64_t world_mark(void)
{
    return w.marks - 1;
}

bool world_unsynced(const struct snapshot *s)
{
    return s->file[0].unsynced || s->file[1].unsynced;
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static void attach(int f, bool sole)
{
    cm_validator v = validator_of(&w.now, f, w.now.tick);
    must(cm_file_open(w.cache, &w.id[f], &v, sole ? CM_SOLE_WRITER : 0, &w.file[f]), "open");
    w.vague[f] = false;
}

static int open_cache(void)
{
    cm_options o = options(&live_arena);
    return w.rules == RULES_PAGECACHE ? cm_open(w.path, &o, &w.cache)
                                      : cm_open_memory(w.pool, w.bytes, &o, &w.cache);
}

static bool any_must(const struct floor *must, int f)
{
    unsigned any = 0;
    for (unsigned i = 0; i < MAX_BLOCKS; i++)
        any |= must->must[f][i];
    return any > 0;
}

/* Those of which something must hit first: one that has no record may take another's, if that is
 * not open. */
static void attach_all(const struct floor *must)
{
    for (int f = 0; f < FILES; f++)
        if (any_must(must, f))
            attach(f, f == FILE_A);
    for (int f = 0; f < FILES; f++)
        if (!any_must(must, f))
            attach(f, f == FILE_A);
    w.bracket = false;
}

static const struct floor nothing;

static void open_pool(const struct floor *must_hit)
{
    must(open_cache(), "open");
    attach_all(must_hit);
}

/* Blocks of file Z that have both buckets in common with A's first one, in the same order: 16 of
 * them overflow, and A's block, the first, is the first to be displaced. */
static void choose_z(void)
{
    const struct cm_media *m = &w.cache->media;
    uint64_t incarnation = cm_object_of(w.file[FILE_Z])->incarnation;
    unsigned n = 0;
    struct cm_key first = cm_key_of(m, cm_object_of(w.file[FILE_A])->incarnation, 0);
    for (uint64_t b = 0; n < Z_BLOCKS && b < 4000000; b++) {
        struct cm_key k = cm_key_of(m, incarnation, b);
        if (k.place.bucket[0] == first.place.bucket[0] &&
            k.place.bucket[1] == first.place.bucket[1])
            w.z_block[n++] = b;
    }
    if (n < Z_BLOCKS)
        abort();
    for (unsigned i = 0; i < MAX_BLOCKS + Z_BLOCKS; i++)
        constant_block(i < MAX_BLOCKS ? FILE_C : FILE_Z,
                       i < MAX_BLOCKS ? i : w.z_block[i - MAX_BLOCKS],
                       (uint64_t *)(void *)(w.constant + i * BLOCK));
}

static uint64_t block_number(int f, unsigned i)
{
    return f == FILE_Z ? w.z_block[i] : i;
}

static unsigned blocks_of(int f)
{
    static const unsigned n[FILES] = { 6, 4, MAX_BLOCKS, Z_BLOCKS };
    return n[f];
}

/* The session is over, one way or another. */
static void gone(void)
{
    w.cache = NULL;
    memset(w.file, 0, sizeof(w.file));
    w.bracket = false;
}

static void checkpoint(void)
{
    if (w.tangled)
        return;
    if (w.checkpoints == w.floor_room) {
        w.floor_room = w.floor_room * 2 + 16;
        w.floors = realloc(w.floors, w.floor_room * sizeof(*w.floors));
        if (!w.floors)
            abort();
    }
    struct floor *fl = &w.floors[w.checkpoints];
    world_floor(fl);
    if (w.failing) {
        memset(fl, 0, sizeof(*fl));
        fl->unborn = w.rules != RULES_PAGECACHE; /* both superblocks may be half written */
    }
    rec_mark(CHECKPOINT + w.checkpoints++);
}

const struct floor *world_checkpoint_floor(uint64_t m)
{
    return &w.floors[m - CHECKPOINT];
}

void world_forget_checkpoints(void)
{
    w.checkpoints = 0;
}

/* ---- Operations ------------------------------------------------------------------------------ */

static int fill(int f, unsigned first, unsigned n)
{
    cm_miss miss;
    uint64_t offset = block_number(f, first) * BLOCK;
    int64_t got = cm_read(w.file[f], offset, w.buf, (size_t)n * BLOCK, &miss);
    always(got, "cm_read");
    if (miss.len == 0)
        return 0;
    uint64_t len = (miss.len + BLOCK - 1) / BLOCK * BLOCK;
    int64_t r = read_origin(&f, miss.offset, w.buf, len);
    if (r <= 0)
        return 0;
    int e = cm_fill(w.file[f], &miss, w.buf, (size_t)r, r % BLOCK ? CM_FILL_EOF : 0);
    always(e, "cm_fill");
    return e;
}

static void op_fill_a0(void)
{
    fill(FILE_A, 0, 1);
}
static void op_fill_a(void)
{
    for (unsigned i = 0; i < 6; i += 2) {
        fill(FILE_A, i, 2);
        checkpoint();
    }
}
static void op_fill_b1(void)
{
    fill(FILE_B, 1, 1);
}
static void op_fill_b_tail(void)
{
    fill(FILE_B, 2, 2);
}
static void op_fill_z(void);
int __real_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n)
{
    if (rec_load_fails())
        return CM_EIO;
    size_t half = w.torn && n == BLOCK ? BLOCK / 2 : 0;
    int e = __real_cm_guard_copy(dst, src, half);
    if (half) {
        uint8_t *buf = w.buf;
        w.torn = false;
        w.buf = w.other_buf;
        op_fill_z();
        w.buf = buf;
    }
    return e ? e
             : __real_cm_guard_copy((uint8_t *)dst + half, (const uint8_t *)src + half, n - half);
}
/* All in one piece there would be no middle. */
cm_guard_take_fn __wrap_cm_guard_take_choose(void);
cm_guard_take_fn __wrap_cm_guard_take_choose(void)
{
    return NULL;
}
/* In pools as small as these every block is in the sample of the curve, and simulating with it what
 * other pools would serve, in DRAM alone, would be 40 % of the time. */
void __wrap_cm_sample_read(struct cm_cache *c, const struct cm_key *k, bool again, bool missed);
void __wrap_cm_sample_read(struct cm_cache *c, const struct cm_key *k, bool again, bool missed)
{
    (void)c, (void)k, (void)again, (void)missed;
}
/* A block is evicted, and its slot filled again, while it is copied. */
static void op_read_torn(void)
{
    static uint8_t want[BLOCK] __attribute__((aligned(4096)));
    w.cache->opts.verify = CM_VERIFY_NEVER;
    for (uint64_t s = 0; s < POOL_SLOTS; s++) /* reads before this one make it no worse a victim */
        cm_ring_set(&w.cache->policy.ring, s, 0);
    w.torn = true;
    int64_t n = cm_read(w.file[FILE_A], 0, w.buf, BLOCK, NULL);
    w.torn = false;
    w.cache->opts.verify = CM_VERIFY_ALWAYS;
    always(n, "cm_read");
    origin_of(&w.now, FILE_A, 0, want, BLOCK);
    if (memcmp(w.buf, want, (size_t)n) != 0)
        always(CM_EIO, "a torn copy");
}
static void op_read_a(void)
{
    always(cm_read(w.file[FILE_A], 0, w.buf, 6 * BLOCK, NULL), "cm_read");
}
static void churn(unsigned first, unsigned end)
{
    int f = FILE_C;
    for (unsigned i = first; i < end; i++) {
        if (w.beside) /* would wait for the outer one's flight, which is this very thread's */
            fill(f, i, 1);
        else
            always(cm_read_through(w.file[f], i * BLOCK, w.buf, BLOCK, read_origin, &f), "churn");
        checkpoint();
    }
}
static void op_churn_low(void)
{
    churn(0, 16);
}
static void op_churn_high(void)
{
    churn(16, 40);
}
/* As many as fit beside A's first block. */
static void op_crowd(void)
{
    for (unsigned i = 0; i < 15; i++) {
        fill(FILE_Z, i, 1);
        checkpoint();
    }
}
static void op_fill_z(void)
{
    fill(FILE_Z, 15, 1);
}
static void op_overflow(void)
{
    for (unsigned i = 0; i < Z_BLOCKS; i++) {
        fill(FILE_Z, i, 1);
        checkpoint();
    }
}

static void write_a(uint64_t offset, uint64_t len)
{
    ofile_write(&w.now.file[FILE_A], &w.rng, w.now.tick, offset, len);
    mark();
}

static void write_bracket(uint64_t offset, uint64_t len, bool validate)
{
    cm_bracket k;
    must(cm_write_begin(w.file[FILE_A], offset, len, &k), "cm_write_begin");
    write_a(offset, len);
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_write_end(w.file[FILE_A], &k, validate ? &v : NULL), "cm_write_end");
}
static void op_write_adopt(void)
{
    write_bracket(100, 50, true);
}
static void op_write_plain(void)
{
    write_bracket(0, 2 * BLOCK, false);
}
static void op_begin(void)
{
    if (w.bracket)
        return;
    must(cm_write_begin(w.file[FILE_A], BLOCK, BLOCK, &w.open), "cm_write_begin");
    w.bracket = true;
    w.written = false;
}
static void op_write_open(void)
{
    if (w.bracket && !w.written)
        write_a(BLOCK, BLOCK);
    w.written = w.bracket;
}
static void end_open(bool validate)
{
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    if (w.bracket)
        must(cm_write_end(w.file[FILE_A], &w.open, validate ? &v : NULL), "cm_write_end");
    w.bracket = false;
}
static void op_end_adopt(void)
{
    end_open(true);
}
static void op_end_plain(void)
{
    end_open(false);
}
static void op_append(void)
{
    cm_bracket k;
    struct ofile *o = &w.now.file[FILE_A];
    if (o->size + 600 > o->max)
        return;
    must(cm_write_begin(w.file[FILE_A], CM_APPEND, 600, &k), "append");
    write_a(o->size, 600);
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_write_end(w.file[FILE_A], &k, &v), "cm_write_end");
}
static void truncate_a(uint64_t size)
{
    cm_bracket k;
    must(cm_truncate_begin(w.file[FILE_A], size, &k), "cm_truncate_begin");
    ofile_truncate(&w.now.file[FILE_A], w.now.tick, size);
    mark();
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_write_end(w.file[FILE_A], &k, &v), "cm_write_end");
}
static void op_shrink(void)
{
    truncate_a(BLOCK + 100);
}
static void op_grow(void)
{
    truncate_a(5 * BLOCK);
}
static void op_large(void)
{
    cm_bracket k;
    must(cm_write_begin(w.file[FILE_A], 0, UINT64_C(65) << 20, &k), "large");
    write_a(0, 10);
    must(cm_write_end(w.file[FILE_A], &k, NULL), "cm_write_end");
}
static void op_sync(void)
{
    cm_sync s;
    must(cm_sync_begin(w.file[FILE_A], &s), "cm_sync_begin");
    ofile_sync(&w.now.file[FILE_A]);
    mark();
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_sync_end(w.file[FILE_A], &s, 1, &v), "cm_sync_end");
}
/* A bracket that begins and ends while the sync runs: the sync proves nothing about it. */
static void op_sync_beside(void)
{
    cm_sync s;
    must(cm_sync_begin(w.file[FILE_A], &s), "cm_sync_begin");
    ofile_sync(&w.now.file[FILE_A]);
    mark();
    write_bracket(200, 20, false);
    must(cm_sync_end(w.file[FILE_A], &s, 1, NULL), "cm_sync_end");
}
static void op_write_sync(void)
{
    write_bracket(0, 2 * BLOCK, false);
    checkpoint();
    w.now.tick++; /* or the validator would be racy, and prove nothing after a crash */
    op_sync();
}
static void op_sync_failed(void)
{
    cm_sync s;
    must(cm_sync_begin(w.file[FILE_A], &s), "cm_sync_begin");
    must(cm_sync_end(w.file[FILE_A], &s, 0, NULL), "cm_sync_end");
}
/* Somebody else writes B. Fills read before are void from the moment it is known; between the
 * change and that moment nothing is promised, so the two are one step here. */
static void foreign_write_b(void)
{
    w.now.tick++;
    ofile_write(&w.now.file[FILE_B], &w.rng, w.now.tick, 10, 50);
    w.now.tick++;
}
/* The same, and no stamp shows it: only the caller knows. */
static void rewrite_b(void)
{
    struct ofile *o = &w.now.file[FILE_B];
    ofile_write(o, &w.rng, o->stamp, 0, 2 * BLOCK);
    ofile_sync(o);
    mark();
}
static void op_invalidate(void)
{
    must(cm_invalidate(w.file[FILE_B], 0, BLOCK), "cm_invalidate");
    foreign_write_b();
    mark();
}
static void op_revalidate_b(void)
{
    foreign_write_b();
    cm_validator v = validator_of(&w.now, FILE_B, w.now.tick);
    mark();
    must(cm_file_revalidate(w.file[FILE_B], &v), "cm_file_revalidate");
}
static void op_revalidate_a(void)
{
    w.now.tick++;
    cm_validator v = validator_of(&w.now, FILE_A, w.now.tick);
    must(cm_file_revalidate(w.file[FILE_A], &v), "cm_file_revalidate");
}
static void op_forget_a(void)
{
    must(cm_forget(w.cache, &w.id[FILE_A]), "cm_forget");
}
static void op_rewrite_b(void)
{
    cm_sync s;
    must(cm_invalidate(w.file[FILE_B], 0, 2 * BLOCK), "cm_invalidate");
    rewrite_b();
    must(cm_sync_begin(w.file[FILE_B], &s), "cm_sync_begin");
    must(cm_sync_end(w.file[FILE_B], &s, 1, NULL), "cm_sync_end");
}
static void op_forget_b(void)
{
    must(cm_forget(w.cache, &w.id[FILE_B]), "cm_forget");
    rewrite_b();
}
static void detach(int f)
{
    must(cm_file_close(w.file[f]), "cm_file_close");
    w.file[f] = NULL;
}
static void forget_closed_b(void)
{
    must(cm_forget(w.cache, &w.id[FILE_B]), "cm_forget");
    rewrite_b();
}
static void op_forget_closed(void)
{
    detach(FILE_B);
    forget_closed_b();
    attach(FILE_B, false);
}
static void op_reattach(void)
{
    if (w.bracket)
        return;
    detach(FILE_A);
    attach(FILE_A, true);
}
static void visit(uint64_t stranger)
{
    cm_file_id id = { STRANGERS, stranger };
    cm_validator v = { .size = 1, .mtime_ns = 5, .ctime_ns = 5, .taken_at = cm_now() };
    cm_file *f;
    must(cm_file_open(w.cache, &id, &v, 0, &f), "cm_file_open");
    must(cm_file_close(f), "cm_file_close");
}
static bool has_record(const cm_file_id *id)
{
    struct cm_record_set b;
    bool found = false;
    cm_record_load(&w.cache->media, id, &b);
    for (unsigned i = 0; i < b.n; i++)
        found |= cm_record_names(&b, i, id);
    return found;
}
/* Others come, until one of them is given the record of a file that is not open. Not for ever: a
 * record that tells of a failed sync stays. */
static void push_out(const cm_file_id *id)
{
    for (uint64_t i = 1000; has_record(id) && i < 1200; i++) { /* all have the same two buckets */
        visit(i);
        checkpoint();
    }
}
static void op_evict_a(void)
{
    if (w.bracket)
        return;
    detach(FILE_A);
    checkpoint();
    push_out(&w.id[FILE_A]);
    attach(FILE_A, true);
}
static void op_evict_b(void)
{
    detach(FILE_B);
    checkpoint();
    push_out(&w.id[FILE_B]);
    forget_closed_b();
    attach(FILE_B, false);
}
static void op_offline(void)
{
    detach(FILE_B);
    foreign_write_b();
    mark();
    attach(FILE_B, false);
}
static void op_abort(void)
{
    must(cm_file_abort(w.file[FILE_A]), "cm_file_abort");
    w.bracket = false;
}
/* What was cached durably is there in the next session. */
static void open_warm(const struct floor *before)
{
    live_arena.used = 0;
    open_pool(before);
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < blocks_of(f); i++) {
            struct cm_key k = cm_key_of(&w.cache->media, cm_object_of(w.file[f])->incarnation,
                                        block_number(f, i));
            if (cm_lookup_cached(w.cache, &k) < before->must[f][i] && !rec_failed())
                w.wrong = "a stored block is lost in the next session";
        }
}
static void close_pool(void)
{
    cm_cache *c = w.cache;
    gone();
    must(cm_close(c), "cm_close");
}
/* What waits in DRAM goes to the pool first, which may evict others. */
static void settle(void)
{
    end_open(false);
    checkpoint();
    cm_fill_buffered_drain(w.cache);
    checkpoint();
}
static void op_close(void)
{
    settle();
    close_pool();
    struct floor closed = w.floors[w.checkpoints - 1];
    closed.clean = true;
    checkpoint();
    w.floors[w.checkpoints - 1] = closed;
    open_warm(&closed);
}
/* The same, and the system cannot write the pool back. Without syncs (DAX) it is the same. */
static void op_close_unsynced(void)
{
    settle();
    if (w.rules == RULES_PAGECACHE)
        rec_fail_at(1);
    (void)cm_close(w.cache);
    rec_fail_at(0);
    gone();
    checkpoint();
    live_arena.used = 0;
    open_pool(&nothing);
}
static void op_process_crash(void)
{
    struct floor before;
    world_floor(&before);
    cm_plat_file_close(&w.cache->file); /* the system drops its lock */
    gone();
    open_warm(&before);
}

uint32_t world_choice(struct rng *rng, uint64_t bias, uint32_t choices)
{
    uint32_t choice = (uint32_t)rng_below(rng, choices);
    return bias && rng_below(rng, 4) ? (bias == 1 ? 0 : choices - 1) : choice;
}

/* The pool becomes what it may be when only a part of what is in doubt reached the media. `pages`:
 * of most pages all of it or nothing. */
static void lose_writes(struct rng *rng, bool pages)
{
    size_t n;
    const struct doubt *d = rep_doubts(&n);
    rng->s = w.seed ^ rep_hash_guaranteed();
    for (size_t i = 0; i < n; i++)
        rng->s ^= rep_hash_choice(i, d[i].choices - 1);
    uint64_t bias = rng_below(rng, 3), seed = rng->s;
    rep_image_begin(w.pool);
    for (size_t i = 0; i < n; i++) {
        struct rng page = { seed + d[i].at / BLOCK * UINT64_C(0x9e3779b97f4a7c15) };
        uint64_t how = pages ? rng_below(&page, 3) : 2;
        uint32_t choice = how == 0   ? 0
                          : how == 1 ? d[i].choices - 1
                                     : world_choice(rng, bias, d[i].choices);
        rep_choose(w.pool, i, choice);
    }
    rep_reset();
    memset(w.unsure, 0, sizeof(w.unsure)); /* what is there now is durable */
}

/* The pool becomes what a power cut may leave of it, and so does the origin. */
static void lose_power(void)
{
    struct rng rng;
    lose_writes(&rng, false);
    for (int f = 0; f < WRITTEN; f++)
        ofile_power_cut(&w.now.file[f], &rng);
    w.now.boot_tick = ++w.now.tick;
    w.boot_wall = w.now.boot_tick * TICK_NS;
    w.boot = ++w.now.boot;
    cm_plat_thread()->number++;
    mark();
}
static void look_at_all(void);
/* The process crashes, and the system could not write the pool back: it drops what did not reach
 * the media, and says so at the next sync, once. Who gets an error from the open tries again.
 * Without syncs (DAX) it is a crash of the process. */
static void op_write_back_failed(void)
{
    if (w.rules != RULES_PAGECACHE) {
        op_process_crash();
        return;
    }
    struct rng rng;
    cm_plat_file_close(&w.cache->file);
    gone();
    lose_writes(&rng, true);
    live_arena.used = 0;
    rec_fail_at(1);
    int e = open_cache();
    rec_fail_at(0);
    if (e) {
        live_arena.used = 0;
        e = open_cache();
    }
    must(e, "open after the error");
    attach_all(&nothing);
    look_at_all(); /* the images of this boot are not judged: another one empties the pool */
}
static void op_power_cut(void)
{
    struct floor before;
    world_floor(&before);
    if (w.rules == RULES_PAGECACHE)
        memset(&before, 0, sizeof(before));
    cm_plat_file_close(&w.cache->file);
    gone();
    lose_power();
    open_warm(&before);
    if (w.rules == RULES_PAGECACHE && !w.cache->emptied && !rec_failed())
        w.wrong = "a pool in the page cache is kept after a power cut";
}
static void format(void)
{
    checkpoint();
    w.floors[w.checkpoints - 1].unborn = true; /* until it is done, there may be no pool */
    if (w.rules == RULES_PAGECACHE) {
        cm_create_options o = CM_CREATE_OPTIONS_INIT;
        o.size = w.bytes;
        rec_media(0, w.bytes, 0); /* a new file */
        (void)unlink(w.path);     /* gone where creating it failed */
        must(cm_create(w.path, &o), "cm_create");
    } else {
        must(cm_format_memory(w.pool, w.bytes, NULL), "cm_format_memory");
    }
    checkpoint();
}
/* The pool is formatted over an old one. */
static void op_format(void)
{
    end_open(false);
    close_pool();
    format();
    live_arena.used = 0;
    open_pool(&nothing);
}
static void damage(uint64_t offset, uint64_t value)
{
    rec_media(offset, 8, value);
    w.damaged++;
}
/* The media damages headers, cells and records of files that are not attached; then repair. */
static void op_damage_repair(void)
{
    const struct cm_media *m = &w.cache->media;
    const struct cm_geometry *g = &m->geo;
    struct cm_key k = cm_key_of(m, cm_object_of(w.file[FILE_A])->incarnation, 0);
    cm_check_report c = { .struct_size = sizeof(c) };
    unsigned before = w.damaged;
    struct cm_cells cells;
    struct cm_header h;
    must(cm_index_load(m, &k, 0, &cells), "cells");
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) {
        uint64_t slot = cm_cell_slot(cells.cell[i]);
        if (cells.cell[i] == 0)
            damage(g->index_offset + (k.place.bucket[0] * CM_BUCKET_CELLS + i) * 8,
                   (UINT64_C(1) << CM_CELL_SLOT_BITS) - 1);
        else if (slot < g->slots && cm_slot_header(m, slot, &h) == CM_SLOT_HIT)
            damage(g->header_offset + slot * sizeof(h) + offsetof(struct cm_header, xxh3), ~h.xxh3);
    }
    for (uint64_t p = 0; p < g->record_buckets * CM_RECORD_WAYS; p++) {
        struct cm_record r;
        bool whole;
        must(cm_record_at(m, p, &r, &whole), "record");
        if (whole && r.id.hi == STRANGERS)
            damage(g->record_offset + p * sizeof(r) + offsetof(struct cm_record, size), ~r.size);
    }
    checkpoint();
    must(cm_check(w.cache, CM_CHECK_REPAIR, NULL, NULL, &c), "cm_check");
    /* What an emptied pool without DAX has of headers that do not check counts as left over. */
    bool emptied = w.rules == RULES_PAGECACHE && w.cache->super.now.epoch > 1;
    if (c.dropped < w.damaged - before && !emptied)
        must(CM_EDAMAGED, "damage that repairing does not see");
}
static bool cached_for_sure(const struct cm_key *k)
{
    const struct cm_media *m = &w.cache->media;
    const struct cm_geometry *g = &m->geo;
    struct cm_cells cells;
    struct cm_header h;
    must(cm_index_load(m, k, 0, &cells) | cm_index_load(m, k, 1, &cells), "cells");
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        uint64_t slot = cm_cell_slot(cells.cell[i]);
        uint64_t cell =
            (k->place.bucket[i / CM_BUCKET_CELLS] * CM_BUCKET_CELLS + i % CM_BUCKET_CELLS) * 8;
        if (cm_index_match(m, k, cells.cell[i]) && cm_slot_header(m, slot, &h) == CM_SLOT_HIT &&
            cm_slot_is(&h, k) && !rep_doubtful(g->index_offset + cell, 8) &&
            !rep_doubtful(g->header_offset + slot * sizeof(h), sizeof(h)))
            return true;
    }
    return false;
}

void world_trust_durable(void)
{
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < blocks_of(f); i++) {
            struct cm_key k = cm_key_of(&w.cache->media, cm_object_of(w.file[f])->incarnation,
                                        block_number(f, i));
            if (cm_lookup_cached(w.cache, &k) > 0 && !cached_for_sure(&k))
                w.unsure[f][i] = true;
        }
}

static void open_or_format(bool unborn)
{
    live_arena.used = 0;
    int e = open_cache();
    if (unborn && e) {
        format();
        live_arena.used = 0;
        e = open_cache();
    }
    must(e, "open after a crash");
}

void world_die(uint64_t m, bool unborn, bool power)
{
    if (w.cache)
        world_trust_durable();
    w.arm = 0;
    cm_plat_thread()->number++;
    copy_snapshot(&w.now, &w.past[m]);
    mark(); /* the last one again, whatever the rest of the operation would have done */
    if (power)
        lose_power();
    if (w.cache)
        cm_plat_file_close(&w.cache->file); /* the system drops its lock */
    gone();
    open_or_format(unborn);
    if (w.forgets)
        forget_closed_b();
    attach_all(&nothing);
}
/* From here on another thread does everything. */
static void op_thread(void)
{
    cm_plat_thread()->number++;
}
/* A's first block is found to be damaged. */
static void op_drop(void)
{
    struct cm_key k = cm_key_of(&w.cache->media, cm_object_of(w.file[FILE_A])->incarnation, 0);
    struct cm_header h;
    uint64_t slot;
    uint32_t valid;
    bool busy;
    enum cm_found r = cm_lookup_pin(w.cache, &k, &slot, &valid, &busy);
    if (r != CM_FOUND_HIT && r != CM_FOUND_BUFFERED)
        return;
    cm_lookup_unpin(w.cache, slot);
    if (slot >= POOL_SLOTS) /* it waits in DRAM */
        return;
    if (cm_slot_header(&w.cache->media, slot, &h) == CM_SLOT_HIT)
        cm_step_drop(w.cache, slot, &k, h.w0);
}
static void op_check(void)
{
    cm_check_report c = { .struct_size = sizeof(c) };
    must(cm_check(w.cache, 0, NULL, NULL, &c), "cm_check");
}
static void op_repair(void)
{
    cm_check_report c = { .struct_size = sizeof(c) };
    must(cm_check(w.cache, CM_CHECK_REPAIR, NULL, NULL, &c), "cm_check");
}
static void op_many_files(void)
{
    for (uint64_t i = 1; i <= 10; i++)
        visit(i);
}
static void op_pin(void)
{
    cm_iovec iov[4];
    cm_pins pins;
    int n;
    must(cm_pin_range(w.file[FILE_A], 0, 2 * BLOCK, iov, 4, &n, &pins, NULL), "cm_pin_range");
    op_churn_low();
    if (pins.n)
        must(cm_unpin(&pins), "cm_unpin");
}

/* The next operation runs at the n-th fence of the one after it, in another thread. */
static void beside_at(unsigned n)
{
    w.arm = n;
    w.inner = NULL;
}
static void op_beside_1(void)
{
    beside_at(1);
}
static void op_beside_2(void)
{
    beside_at(2);
}
static void op_beside_3(void)
{
    beside_at(3);
}

static const struct {
    const char *name;
    void (*op)(void);
    enum { PLAIN, ALONE, FORGETS, ARMS } kind; /* ALONE, FORGETS: not beside another one */
} ops[] = {
    { "fill-a0", op_fill_a0, PLAIN },
    { "fill-a", op_fill_a, PLAIN },
    { "fill-b1", op_fill_b1, PLAIN },
    { "fill-b-tail", op_fill_b_tail, PLAIN },
    { "read-a", op_read_a, PLAIN },
    { "churn-low", op_churn_low, PLAIN },
    { "churn-high", op_churn_high, PLAIN },
    { "overflow", op_overflow, PLAIN },
    { "write-adopt", op_write_adopt, PLAIN },
    { "write-plain", op_write_plain, PLAIN },
    { "begin", op_begin, PLAIN },
    { "write-open", op_write_open, PLAIN },
    { "end-adopt", op_end_adopt, PLAIN },
    { "end-plain", op_end_plain, PLAIN },
    { "append", op_append, PLAIN },
    { "shrink", op_shrink, PLAIN },
    { "grow", op_grow, PLAIN },
    { "large", op_large, PLAIN },
    { "sync", op_sync, PLAIN },
    { "sync-beside", op_sync_beside, PLAIN },
    { "sync-failed", op_sync_failed, PLAIN },
    { "invalidate", op_invalidate, PLAIN },
    { "revalidate-a", op_revalidate_a, PLAIN },
    { "revalidate-b", op_revalidate_b, PLAIN },
    { "forget-a", op_forget_a, PLAIN },
    { "forget-closed", op_forget_closed, FORGETS },
    { "reattach", op_reattach, ALONE },
    { "offline", op_offline, ALONE },
    { "abort", op_abort, ALONE },
    { "close", op_close, ALONE },
    { "process-crash", op_process_crash, ALONE },
    { "check", op_check, PLAIN },
    { "repair", op_repair, PLAIN },
    { "many-files", op_many_files, PLAIN },
    { "pin", op_pin, PLAIN },
    { "write-sync", op_write_sync, PLAIN },
    { "forget-b", op_forget_b, PLAIN },
    { "rewrite-b", op_rewrite_b, PLAIN },
    { "format", op_format, ALONE },
    { "damage-repair", op_damage_repair, ALONE },
/* From here on: not in all sequences up to a length, they would cost too much. */
#define RARE_OPS 13
    { "fill-z", op_fill_z, PLAIN },
    { "drop", op_drop, PLAIN },
    { "crowd", op_crowd, PLAIN },
    { "thread", op_thread, PLAIN },
    { "read-torn", op_read_torn, ALONE },
    { "close-unsynced", op_close_unsynced, ALONE },
    { "write-back-failed", op_write_back_failed, ALONE },
    { "power-cut", op_power_cut, ALONE },
    { "evict-a", op_evict_a, ALONE },
    { "evict-b", op_evict_b, FORGETS },
    { "beside-1", op_beside_1, ARMS },
    { "beside-2", op_beside_2, ARMS },
    { "beside-3", op_beside_3, ARMS },
};

unsigned world_ops(void)
{
    return sizeof(ops) / sizeof(*ops);
}

unsigned world_usual_ops(void)
{
    return world_ops() - RARE_OPS;
}

const char *world_op_name(unsigned op)
{
    return ops[op].name;
}

/* Would another thread have to wait? */
static bool locked(void)
{
    const cm_cache *c = w.cache;
    uint32_t any = c->files_lock.word | c->super.lock.word | c->policy.ring.lock.word;
    for (uint64_t s = 0; s < c->media.geo.stripes; s++)
        any |= c->stripes[s].lock.word;
    for (int f = 0; f < FILES; f++)
        any |= cm_object_of(w.file[f])->lock.word;
    return any != 0;
}

static void run_inner(void)
{
    void (*inner)(void) = w.inner;
    uint8_t *buf = w.buf;
    struct cm_plat_thread *t = cm_plat_thread(), outer = *t;
    w.inner = NULL;
    rec_at_fence(0, NULL);
    w.buf = w.other_buf;
    t->number++;
    t->callback = NULL;
    w.beside = true;
    inner();
    w.beside = false;
    *t = outer;
    w.buf = buf;
}

static void at_fence(void)
{
    if (!locked()) /* else it waits, at least until the next fence */
        run_inner();
}

void world_op(unsigned op)
{
    w.tangled = false;
    w.forgets = ops[op].kind == FORGETS;
    if (ops[op].kind == ALONE || w.forgets)
        w.arm = 0;
    if (w.arm == 0 || ops[op].kind == ARMS) {
        ops[op].op();
        return;
    }
    if (!w.inner) {
        w.inner = ops[op].op;
        return;
    }
    w.tangled = true;
    rec_at_fence(w.arm, at_fence);
    w.arm = 0;
    ops[op].op();
    if (w.inner)
        run_inner();
    rec_at_fence(0, NULL);
}

bool world_op_failing(unsigned op, unsigned n)
{
    if (w.arm != 0 || ops[op].kind == ARMS) { /* nobody gives up with another one beside him */
        world_op(op);
        return false;
    }
    rec_fail_at(n);
    w.failing = true;
    if (setjmp(w.give_up) == 0)
        world_op(op);
    w.failing = false;
    bool failed = rec_failed();
    rec_fail_at(0);
    if (!failed)
        return false;
    if (!w.cache)
        open_or_format(ops[op].op == op_format);
    for (int f = 0; f < FILES; f++) {
        if (!w.file[f])
            attach(f, f == FILE_A);
        w.vague[f] = true;
    }
    return true;
}

const char *world_wrong(void)
{
    return w.wrong;
}

bool world_tangled(void)
{
    return w.tangled;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

static void warm_up(void)
{
    for (int f = FILE_A; f <= FILE_B; f++)
        fill(f, 0, blocks_of(f));
    op_churn_low();
    op_churn_high();
    op_overflow();
    for (int f = FILE_A; f <= FILE_B; f++)
        fill(f, 0, blocks_of(f));
}

/* Every slot is in use, none was read, and A's first blocks are the next victims. So is every
 * record: a further file takes another's. */
static void fill_up(void)
{
    for (uint64_t i = 1; i <= CM_RECORD_PLACES - FILES; i++)
        visit(2000 + i);
    for (int f = FILE_A; f <= FILE_C; f++)
        for (unsigned i = 0; i < blocks_of(f); i += 2)
            fill(f, i, 2);
}

static void make_file(char *path, size_t n)
{
    if (!os_make_file(path, n, "crash") || os_resize(path, w.bytes) != 0)
        abort();
}

static void attach_recorder(uint8_t *pool)
{
    /* A page of what the policy keeps is one thing, as the payload of a slot. */
    rec_attach(pool, w.bytes, CM_STATS_OFFSET, CM_STATS_OFFSET + CM_STATS_BYTES,
               w.bytes - (POOL_SLOTS + MEMO_PAGES) * BLOCK, w.rules);
}

uint8_t *world_image(unsigned depth)
{
    if (!w.image[depth]) {
        w.image[depth] = os_aligned(4096, w.bytes);
        if (!w.image[depth])
            abort();
        memset(w.image[depth], 0, w.bytes);
        unsigned level = rec_level(depth + 1);
        attach_recorder(w.image[depth]);
        rec_level(level);
    }
    return w.image[depth];
}

/* What every world needs, once. */
static void make_room(void)
{
    w.bytes = cm_pool_size_min();
    w.pool = os_aligned(4096, w.bytes);
    w.buf = os_aligned(4096, 64 * BLOCK);
    w.other_buf = os_aligned(4096, 64 * BLOCK);
    w.constant = os_aligned(4096, (MAX_BLOCKS + Z_BLOCKS) * BLOCK);
    for (int f = 0; f < WRITTEN; f++)
        ofile_init(&w.now.file[f], (uint64_t)f, 8 * BLOCK);
    if (!w.pool || !w.buf || !w.other_buf || !w.constant)
        abort();
}

void world_reset(enum rules rules, enum start start, uint64_t seed)
{
    if (!w.pool)
        make_room();
    rec_detach();
    if (w.cache)
        cm_plat_file_close(&w.cache->file);
    w.cache = NULL;
    live_arena.used = 0;
    w.arm = 0;
    w.inner = NULL;
    w.damaged = 0;
    w.wrong = NULL;
    memset(w.unsure, 0, sizeof(w.unsure));
    memset(w.vague, 0, sizeof(w.vague));
    w.rules = rules;
    w.seed = seed;
    w.mapped = w.pool;
    if (rules == RULES_PAGECACHE && !w.path[0]) {
        make_file(w.path, sizeof(w.path));
        make_file(w.judge_path, sizeof(w.judge_path));
    }
    w.rng.s = 7;
    w.random.s = 46; /* with it, no block of B is at home in the buckets of A's first one */
    w.now.tick = 1000;
    w.now.boot_tick = 990;
    w.boot = w.now.boot = 1;
    w.boot_wall = w.now.boot_tick * TICK_NS;
    memset(w.pool, 0, w.bytes);
    must(cm_format_memory(w.pool, w.bytes, NULL), "cm_format_memory");
    for (int f = 0; f < FILES; f++)
        w.id[f] = (cm_file_id){ 1, (uint64_t)f + 1 };
    w.size[FILE_C] = MAX_BLOCKS * BLOCK;
    w.size[FILE_Z] = UINT64_C(4000000) * BLOCK;
    for (int f = 0; f < WRITTEN; f++) {
        struct ofile *o = &w.now.file[f];
        o->size = 0;
        memset(o->data, 0, o->max);
        ofile_write(o, &w.rng, 900, 0, f == FILE_A ? 4 * BLOCK + 1000 : 2 * BLOCK + 300);
        ofile_sync(o);
    }
    attach_recorder(w.pool);
    w.marks = 0;
    open_pool(&nothing);
    choose_z();
    if (start == WARM)
        warm_up();
    else if (start == FULL)
        fill_up();
    rep_reset();
    w.marks = w.checkpoints = 0;
    mark();
}

void world_end(void)
{
    for (unsigned i = 0; i < REC_LEVELS; i++) {
        (void)rec_level(i);
        rec_detach();
    }
    for (unsigned i = 0; i < REC_LEVELS - 1; i++)
        os_aligned_free(w.image[i]);
    if (w.path[0]) {
        unlink(w.path);
        unlink(w.judge_path);
    }
    for (size_t i = 0; i < w.room; i++)
        for (int f = 0; f < WRITTEN; f++)
            ofile_free(&w.past[i].file[f]);
    for (int f = 0; f < WRITTEN; f++)
        ofile_free(&w.now.file[f]);
    free(w.past);
    free(w.floors);
    os_aligned_free(w.pool);
    os_aligned_free(w.buf);
    os_aligned_free(w.other_buf);
    os_aligned_free(w.constant);
    os_aligned_free(live_arena.base);
    os_aligned_free(judge_arena.base);
}

/* ---- Judging --------------------------------------------------------------------------------- */

void world_floor(struct floor *fl)
{
    memset(fl, 0, sizeof(*fl));
    for (int f = 0; f < FILES && w.cache; f++) {
        const struct cm_object *file = cm_object_of(w.file[f]);
        if (!file)
            continue;
        fl->incarnation[f] = file->incarnation;
        bool covered = !w.vague[f] && !w.cache->broken && !file->dirty && file->has_validator &&
                       !file->validator.racy && !file->want && !file->bypassed &&
                       file->place != CM_NO_PLACE;
        for (unsigned i = 0; i < blocks_of(f); i++) {
            struct cm_key k = cm_key_of(&w.cache->media, file->incarnation, block_number(f, i));
            uint64_t version; /* what waits in DRAM is lost */
            bool held = cm_probation_find(&w.cache->probation, &k, &version) != CM_NO_ENTRY;
            uint32_t cached = held ? 0 : cm_lookup_cached(w.cache, &k);
            fl->cached += cached > 0;
            if (!covered)
                continue;
            w.unsure[f][i] &= cached > 0; /* gone: what comes next is another story */
            fl->must[f][i] = w.unsure[f][i] ? 0 : (uint16_t)cached;
        }
    }
}

uint64_t world_context(const struct snapshot *s, const struct floor *must)
{
    uint64_t h = hash_words(s->hash, must->must, sizeof(must->must));
    return h * 4 + must->unborn * 2u + (w.damaged > 0);
}

/* What a power cut made of a file. */
static void lose(struct ofile *o, int lost)
{
    if (!o->unsynced || lost == 0)
        return;
    o->data = o->synced;
    if (lost > 1) {
        o->size = o->synced_size;
        o->stamp = o->synced_stamp;
    }
}

/* What a block must be, in place; *n: how much of it there is. */
static const uint8_t *expected(const struct snapshot *s, int f, unsigned i, int64_t *n)
{
    *n = BLOCK;
    if (f == FILE_C || f == FILE_Z)
        return w.constant + (f == FILE_C ? i : MAX_BLOCKS + i) * BLOCK;
    const struct ofile *o = &s->file[f];
    uint64_t at = i * BLOCK;
    *n = at >= o->size ? 0 : o->size - at < BLOCK ? (int64_t)(o->size - at) : BLOCK;
    return o->data + at;
}

/* What the session itself reads. */
static void look_at_all(void)
{
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < blocks_of(f); i++) {
            int64_t have, n = cm_read(w.file[f], block_number(f, i) * BLOCK, w.buf, BLOCK, NULL);
            const uint8_t *want = expected(&w.now, f, i, &have);
            if (n > have || (n > 0 && memcmp(w.buf, want, (size_t)n) != 0))
                w.wrong = "wrong bytes in the same boot";
        }
}

static const char *judge_file(cm_cache *c, const struct snapshot *s, int f,
                              const struct floor *must, uint64_t *hits, cm_file **file)
{
    static uint8_t got[BLOCK] __attribute__((aligned(4096)));
    static char text[120];
    cm_validator v = validator_of(s, f, s->tick);
    int e = cm_file_open(c, &w.id[f], &v, 0, file);
    if (e < 0)
        return "a file cannot be attached";
    for (unsigned i = 0; i < blocks_of(f); i++) {
        int64_t have, n = cm_read(*file, block_number(f, i) * BLOCK, got, BLOCK, NULL);
        const uint8_t *want = expected(s, f, i, &have);
        *hits += n > 0;
        if (n < 0 || n > have || memcmp(got, want, (size_t)n) != 0) {
            snprintf(text, sizeof(text), "wrong bytes: file %d block %u (%lld of %lld bytes)", f, i,
                     (long long)n, (long long)have);
            return text;
        }
        if (n < must->must[f][i]) {
            snprintf(text, sizeof(text), "stored block lost: file %d block %u", f, i);
            return text;
        }
    }
    return NULL;
}

struct snapshot world_after(const struct snapshot *s, int lost)
{
    struct snapshot after = *s;
    for (int f = 0; f < WRITTEN; f++) {
        lose(&after.file[f], lost);
        after.file[f].unsynced = false;
    }
    after.tick++;
    after.boot++;
    after.boot_tick = after.tick;
    after.hash = s->hash * 3 + (uint64_t)lost;
    return after;
}

/* Syncs are events of the log only where they are a file's; reading alone needs none. */
static int open_image(bool recover, cm_cache **c)
{
    cm_options o = options(&judge_arena);
    judge_arena.used = 0;
    return recover && w.rules == RULES_PAGECACHE ? cm_open(w.judge_path, &o, c)
                                                 : cm_open_memory(w.mapped, w.bytes, &o, c);
}

/* An emptied pool is used again: what is stored now must not be mixed up with what was there. */
static const char *store_again(cm_file *c_file, struct floor *closed)
{
    static uint8_t buf[BLOCK] __attribute__((aligned(4096)));
    cm_miss miss;
    memset(closed->must, 0, sizeof(closed->must));
    if (cm_read(c_file, 0, buf, BLOCK, &miss) < 0 ||
        cm_fill(c_file, &miss, w.constant, BLOCK, 0) != 0)
        return "an emptied pool stores nothing";
    closed->must[FILE_C][0] = BLOCK;
    return NULL;
}

static const char *recover(cm_cache *c, cm_file **file, struct floor *closed)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    const char *wrong = NULL;
    if (cm_check(c, CM_CHECK_REPAIR, NULL, NULL, &r) < 0)
        return "the pool cannot be repaired";
    if (c->emptied)
        wrong = store_again(file[FILE_C], closed);
    for (int f = 0; f < FILES && !wrong; f++)
        if (cm_file_close(file[f]))
            wrong = "a file cannot be closed";
    if (!wrong && cm_close(c))
        wrong = "the pool does not close";
    return wrong;
}

/* The first session after a crash. */
static const char *session(const struct snapshot *now, const struct floor *must,
                           struct floor *closed, uint64_t *hits)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    const char *wrong = NULL;
    cm_file *file[FILES];
    cm_cache *c;
    int e = open_image(closed != NULL, &c);
    if (closed) {
        *closed = *must;
        closed->clean = true;
    }
    if ((e == CM_ENOTPOOL || e == CM_EDAMAGED) && must->unborn)
        return NULL;
    if (e)
        return "the pool does not open";
    for (int k = 0; k < 2 * FILES && !wrong; k++) /* as attach_all() */
        if (any_must(must, k % FILES) == (k < FILES))
            wrong = judge_file(c, now, k % FILES, must, hits, &file[k % FILES]);
    if (wrong)
        return wrong;
    if (cm_check(c, CM_CHECK_METADATA, NULL, NULL, &r) < 0 || (r.bad_headers && !w.damaged))
        return "damaged headers after a crash";
    return closed ? recover(c, file, closed) : NULL;
}

const char *world_judge(unsigned depth, const struct snapshot *now, const struct floor *must,
                        struct floor *closed, uint64_t *hits)
{
    unsigned boot = w.boot, level = rec_level(depth + 1);
    int64_t wall = w.boot_wall;
    w.boot = now->boot;
    w.boot_wall = now->boot_tick * TICK_NS;
    w.mapped = w.image[depth];
    rec_begin();
    const char *wrong = session(now, must, closed, hits);
    rec_undo();
    w.mapped = w.pool;
    rec_level(level);
    w.boot = boot;
    w.boot_wall = wall;
    return wrong;
}
