/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.c - see world.h.
 *
 * Owns: the live pool, the origin, the session on it. Some functions of the system below the
 * library are replaced (linked with --wrap), where a crash test must decide the result: boot
 * identity, boot time, and all else that would make two images of one history differ.
 */
#include "world_parts.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../os.h"
#include "../toy_seal.h"
#include "media/file_table.h"
#include "media/stats.h"

struct world w;

/* ---- The system below ------------------------------------------------------------------------ */

void __wrap_cm_plat_boot_id(uint8_t id[16]);
void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16]);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_grow(struct cm_plat_file *f, uint64_t size);
int __wrap_cm_plat_file_cut(struct cm_plat_file *f, uint64_t size);
bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME]);
int __wrap_cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner,
                         bool *emptied);
int __real_cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner,
                         bool *emptied);
void __wrap_cm_plat_file_close(struct cm_plat_file *f);
uint32_t __wrap_cm_region_shift(uint64_t size);
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
    if (w.nameless)
        return;
    memcpy(id, "boot", 4);
    memcpy(id + 4, &w.boot, sizeof(w.boot));
}

/* The first mount is the one that memory pools report. The judge opens copies in memory. */
void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    (void)f;
    memset(id, 0xff, 16);
    memcpy(id, &w.mount, sizeof(w.mount));
}

/* The "file" of a pool on a volume without DAX is memory, and a sync is an event of the log. */
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
    return rec_sync(offset, len ? len : w.room);
}

/* The memory is long enough. What is in the new part is anything. */
int __wrap_cm_plat_file_grow(struct cm_plat_file *f, uint64_t size)
{
    f->size = f->mapped = size;
    return os_resize(f->base == w.pool ? w.path : w.judge_path, size) == 0 ? 0 : CM_EIO;
}

int __wrap_cm_plat_file_cut(struct cm_plat_file *f, uint64_t size)
{
    return __wrap_cm_plat_file_grow(f, size);
}

/* Gives the file of a pool a length that it may have: if a growth has begun, that of its end. */
void fit_file(const char *path, const uint8_t *pool)
{
    struct cm_super sb;
    uint32_t damaged;
    if (w.room == w.bytes || cm_super_read(pool, &sb, &damaged) < 0)
        return;
    if (os_resize(path, sb.growing ? sb.growing : cm_format_size(&sb)) != 0)
        abort();
}

bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f;
    what[0] = 0;
    return true;
}

/* The judge opens copies in memory. They are on the same volume. */
int __wrap_cm_super_open(struct cm_superblocks *s, const struct cm_super_owner *owner,
                         bool *emptied)
{
    struct cm_super_owner o = *owner;
    o.syncs = w.rules >= RULES_PAGECACHE;
    return __real_cm_super_open(s, &o, emptied);
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

int __real_cm_guard_find(const uint64_t *line, uint64_t tag, uint64_t *word);
int __wrap_cm_guard_find(const uint64_t *line, uint64_t tag, uint64_t *word);
int __wrap_cm_guard_find(const uint64_t *line, uint64_t tag, uint64_t *word)
{
    return rec_load_fails() ? CM_EIO : __real_cm_guard_find(line, tag, word);
}

int __real_cm_guard_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n);
int __wrap_cm_guard_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n);
int __wrap_cm_guard_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n)
{
    return rec_load_fails() ? CM_EIO : __real_cm_guard_find_each(line, hash, word, n);
}

int __real_cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2],
                                uint64_t *w0);
int __wrap_cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2],
                                uint64_t *w0);
int __wrap_cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2],
                                uint64_t *w0)
{
    return rec_load_fails() ? CM_EIO : __real_cm_guard_look_before(header, n, key, w0);
}

int __real_cm_guard_look_after(const uint64_t *header, size_t n, const uint64_t *w0);
int __wrap_cm_guard_look_after(const uint64_t *header, size_t n, const uint64_t *w0);
int __wrap_cm_guard_look_after(const uint64_t *header, size_t n, const uint64_t *w0)
{
    return rec_load_fails() ? CM_EIO : __real_cm_guard_look_after(header, n, w0);
}

/* Regions of two blocks, so that small files have several. */
uint32_t __wrap_cm_region_shift(uint64_t size)
{
    (void)size;
    return 1;
}

void __wrap_cm_plat_file_close(struct cm_plat_file *f)
{
    f->base = NULL; /* it is not a mapping */
    __real_cm_plat_file_close(f);
}

/* Nothing depends on the statistics page, and it is no part of an image. Without this the judge's
 * session would spend half its time on clearing it. */
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
    /* No gap between the incarnations of two sessions: if two can be equal, they shall be. */
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

struct arena live_arena, judge_arena;

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
        a->used -= bytes; /* most blocks are freed last in, first out */
}

static uint64_t probation; /* entries of the buffer */

void world_probation(unsigned entries)
{
    probation = entries;
}

static struct toy_key key = { .key = 77 };
static cm_seal seal;
static bool sealed;

void world_seals(void)
{
    seal = toy_seal(&key, 1);
    sealed = true;
}

const cm_seal *seal_of_pools(void)
{
    return sealed ? &seal : NULL;
}

cm_options options(struct arena *a)
{
    cm_options o = CM_OPTIONS_INIT;
    o.policy = CM_POLICY_S3R; /* no sequence is long enough for another rule */
    o.probation_bytes = a == &judge_arena || probation == 0 ? CM_PROBATION_NONE : probation * BLOCK;
    o.flags = CM_OPEN_NO_GUARD;
    o.grow_max = w.room > w.bytes ? w.room : 0;
    o.memory_durability = w.rules >= RULES_PAGECACHE ? CM_DURABILITY_VOLATILE : CM_DURABILITY_DAX;
    /* The judge does not test checksums: they are for damaged media, not for crashes. */
    o.verify = a == &judge_arena ? CM_VERIFY_NEVER : CM_VERIFY_ALWAYS;
    o.seal = seal_of_pools();
    o.alloc = arena_alloc;
    o.free = arena_free;
    o.alloc_ctx = a;
    return o;
}

/* The call must succeed, whatever the media does. */
void always(int64_t e, const char *what)
{
    static char text[120];
    snprintf(text, sizeof(text), "%s: %s", what, cm_errname((int)e));
    if (e < 0)
        world_impossible(text);
}

/* The call may fail only if the media does. Then the caller gives up. */
void must(int64_t e, const char *what)
{
    if (e < 0 && w.failing && rec_failed())
        longjmp(w.give_up, 1);
    always(e, what);
}

/* ---- Origin ---------------------------------------------------------------------------------- */

/* The content of the files that never change is a function of file and block. */
static void constant_block(int f, uint64_t block, uint64_t *words)
{
    struct rng g = { (uint64_t)f << 32 | block };
    uint64_t v = rng_next(&g);
    for (unsigned i = 0; i < BLOCK / 8; i++)
        words[i] = v + i;
}

int64_t origin_of(const struct snapshot *s, int f, uint64_t offset, void *buf, size_t len)
{
    if (f < WRITTEN) {
        struct ofile o = s->file[f];
        return ofile_read(&o, offset, buf, len);
    }
    for (size_t i = 0; i < len; i += BLOCK)
        constant_block(f, (offset + i) / BLOCK, (uint64_t *)(void *)((uint8_t *)buf + i));
    return (int64_t)len;
}

int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    int f = *(const int *)ctx;
    if (offset >= w.size[f] && f >= WRITTEN)
        return 0;
    return origin_of(&w.now, f, offset, buf, len);
}

cm_validator validator_of(const struct snapshot *s, int f, int64_t tick)
{
    if (f < WRITTEN)
        return ofile_validator(&s->file[f], tick);
    return validator_of_version(w.size[f], 5);
}

void copy_snapshot(struct snapshot *to, const struct snapshot *from)
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
    to->unnoticed = from->unnoticed;
}

uint64_t hash_words(uint64_t h, const void *p, size_t bytes)
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
    const uint64_t v[] = { (uint64_t)s->tick, (uint64_t)s->boot_tick, s->boot, s->unnoticed };
    return hash_words(h, v, sizeof(v));
}

/* The origin is about to change. All events after this in the log see the new origin. */
void mark(void)
{
    if (w.marks == w.marks_room) {
        w.marks_room = w.marks_room * 2 + 16;
        w.past = realloc(w.past, w.marks_room * sizeof(*w.past));
        if (!w.past)
            abort();
        memset(w.past + w.marks, 0, (w.marks_room - w.marks) * sizeof(*w.past));
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

void attach(int f, bool sole)
{
    cm_validator v = validator_of(&w.now, f, w.now.tick);
    must(cm_file_open(w.cache, &w.id[f], &v, sole ? CM_SOLE_WRITER : 0, &w.file[f]), "open");
    w.vague[f] = w.forgotten[f] = false;
    w.kept_attr[f] |= attr_bit(f); /* as the record says, which need not be durable */
}

int open_cache(void)
{
    cm_options o = options(&live_arena);
    if (w.rules >= RULES_PAGECACHE)
        fit_file(w.path, w.pool);
    return w.rules >= RULES_PAGECACHE ? cm_open(w.path, &o, &w.cache)
                                      : cm_open_memory(w.pool, w.bytes, &o, &w.cache);
}

bool any_must(const struct floor *must, int f)
{
    unsigned any = 0;
    for (unsigned i = 0; i < MAX_BLOCKS; i++)
        any |= must->must[f][i];
    return any > 0;
}

/* Attaches the files of which something must hit first. A file without a record may take the record
 * of another file, if that one is not open. */
void attach_all(const struct floor *must)
{
    for (int f = 0; f < FILES; f++)
        if (any_must(must, f))
            attach(f, f == FILE_A);
    for (int f = 0; f < FILES; f++)
        if (!any_must(must, f))
            attach(f, f == FILE_A);
    w.bracket = false;
}

const struct floor nothing;

void open_pool(const struct floor *must_hit)
{
    must(open_cache(), "open");
    attach_all(must_hit);
}

/* Chooses blocks of file Z that have both buckets in common with A's first one, in the same order.
 * 16 of them overflow the buckets, and A's block came first, so it is the first to be displaced. */
static void choose_z(void)
{
    const struct cm_media *m = &w.cache->media;
    uint64_t incarnation = cm_object_of(w.file[FILE_Z])->incarnation;
    unsigned n = 0;
    struct cm_key first =
        cm_region_key(cm_object_of(w.file[FILE_A]), cm_object_of(w.file[FILE_A])->incarnation, 0);
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

uint64_t block_number(int f, unsigned i)
{
    return f == FILE_Z ? w.z_block[i] : i;
}

unsigned blocks_of(int f)
{
    static const unsigned n[FILES] = { 6, 4, MAX_BLOCKS, Z_BLOCKS };
    return n[f];
}

/* The session has ended in one of several ways. */
void gone(void)
{
    w.cache = NULL;
    memset(w.file, 0, sizeof(w.file));
    w.bracket = false;
}

void checkpoint(void)
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
        fl->unborn = w.rules < RULES_PAGECACHE; /* both superblocks may be half written */
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

/* Every slot is in use, none was read, and A's first blocks are the next victims. Every record is
 * in use, too: one more file takes the record of another. */
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
    rec_attach(pool, w.room, CM_STATS_OFFSET, CM_STATS_OFFSET + CM_STATS_BYTES, w.payload,
               w.room > w.bytes ? 1 + GROWTHS : 1, w.rules);
}

uint8_t *world_image(unsigned depth)
{
    if (!w.image[depth]) {
        w.image[depth] = os_aligned(4096, w.room);
        if (!w.image[depth])
            abort();
        memset(w.image[depth], 0, w.room);
        unsigned level = rec_level(depth + 1);
        attach_recorder(w.image[depth]);
        rec_level(level);
    }
    return w.image[depth];
}

static bool grows;

void world_grows(void)
{
    grows = true;
}

/* Each growth is as small as it may be. */
static void plan_growths(void)
{
    struct cm_geometry g, to;
    uint64_t word;
    if (cm_format_plan(w.bytes, 0, CM_INCOMPAT_NAMES, &g))
        abort();
    for (unsigned i = 0; i < GROWTHS; i++) {
        uint64_t size = w.room;
        while (cm_format_grow(&g, size, &to, &word))
            size += BLOCK;
        w.room = w.grown[i] = size;
        w.payload[1 + i] = (struct range){ to.memo_offset, size };
        g = to;
    }
}

/* Allocates what every world needs, once. */
static void make_room(void)
{
    w.bytes = w.room = cm_format_size_min(CM_INCOMPAT_NAMES);
    /* A page of what the policy keeps is one doubt, like the payload of a slot. */
    w.payload[0] = (struct range){ w.bytes - (POOL_SLOTS + MEMO_PAGES) * BLOCK, w.bytes };
    if (grows)
        plan_growths();
    w.pool = os_aligned(4096, w.room);
    w.buf = os_aligned(4096, 64 * BLOCK);
    w.other_buf = os_aligned(4096, 64 * BLOCK);
    w.constant = os_aligned(4096, (MAX_BLOCKS + Z_BLOCKS) * BLOCK);
    for (int f = 0; f < WRITTEN; f++)
        ofile_init(&w.now.file[f], (uint64_t)f, 8 * BLOCK);
    if (!w.pool || !w.buf || !w.other_buf || !w.constant)
        abort();
}

const char *known_name(int f, unsigned i)
{
    static const char *const names[FILES][2] = { { "a", "directory/a file with a longer name" },
                                                 { "b", "directory/b file with a longer name" },
                                                 { "c", "c" },
                                                 { "z", "z" } };
    return names[f][i % 2];
}

/* May the file be called so? After a crash a name may be an old one, or none, and never a mixture
 * or that of another file. */
bool is_name(int f, const char *name)
{
    return name[0] == 0 || strcmp(name, known_name(f, 0)) == 0 ||
           strcmp(name, known_name(f, 1)) == 0;
}

/* With a table of names, so that it is there in all sequences. */
void format_pool(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.flags = CM_CREATE_NAMES;
    o.seal = seal_of_pools();
    must(cm_format_memory(w.pool, w.bytes, &o), "cm_format_memory");
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
    if (rules >= RULES_PAGECACHE && !w.path[0]) {
        make_file(w.path, sizeof(w.path));
        make_file(w.judge_path, sizeof(w.judge_path));
    }
    w.rng.s = 7;
    /* With this seed, no block of B has its home in the buckets of A's first one. */
    w.random.s = 46;
    w.now.tick = 1000;
    w.now.boot_tick = 990;
    w.boot = w.now.boot = 1;
    w.nameless = w.was_nameless = false;
    w.mount = UINT_MAX; /* as of memory */
    w.boot_wall = w.now.boot_tick * TICK_NS;
    memset(w.pool, 0, w.room);
    format_pool();
    for (int f = 0; f < FILES; f++)
        w.id[f] = (cm_file_id){ 1, (uint64_t)f + 1 };
    w.size[FILE_C] = MAX_BLOCKS * BLOCK;
    w.size[FILE_Z] = UINT64_C(4000000) * BLOCK;
    for (int f = 0; f < WRITTEN; f++) {
        struct ofile *o = &w.now.file[f];
        o->size = 0;
        o->failed = false;
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
    if (rules == RULES_CHECKPOINT) {
        must(cm_checkpoint(w.cache), "cm_checkpoint");
        keep_all();
    }
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
    for (size_t i = 0; i < w.marks_room; i++)
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
