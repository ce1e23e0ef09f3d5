/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.c - the small pool of the fuzz targets, its files, and the model of what they hold.
 *
 * Owns the images, made once by the production code. Chance has no part in them: their identity and
 * the seed of their places are always the same. The origin of a file is a function of file, block
 * and version; a write gives the blocks another version when it begins.
 */
#include "world.h"

#include <sys/mman.h>

#include "../toy_seal.h"
#include "media/seal.h"
#include "media/superblock.h"

#define POOL_BYTES (UINT64_C(416) << 10)

static uint8_t *image[WORLD_IMAGES];
static struct cm_geometry image_geo[WORLD_IMAGES];
static struct world_file image_file[WORLD_IMAGES][WORLD_FILES];
static struct toy_key key = { .key = 5 };
static cm_seal seals[WORLD_IMAGES]; /* mac NULL: the image has none */
uint8_t *world_buffer_end;

/* ---- The origin ------------------------------------------------------------------------------ */

static uint32_t version_of(const struct world_file *f, uint64_t block)
{
    const uint64_t i = block / f->stride;

    return block % f->stride == 0 && i < WORLD_BLOCKS ? f->version[i] : 0;
}

static void content(uint64_t file, uint64_t block, uint32_t version, uint8_t *to)
{
    uint64_t word = fuzz_mix(fuzz_mix(file << 32 | version) + block);

    for (unsigned i = 0; i < BLK; i += 8) {
        memcpy(to + i, &word, 8);
        word = word * UINT64_C(6364136223846793005) + 1;
    }
}

int64_t world_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    const struct world_place *const at = ctx;
    const struct world_file *const f = &at->w->file[at->file];
    uint8_t block[CM_BLOCK_SIZE];
    size_t done = 0;

    while (done < len && off + done < f->size) {
        const uint64_t b = (off + done) / BLK, from = (off + done) % BLK;
        size_t n = BLK - from < len - done ? BLK - from : len - done;

        if (n > f->size - off - done)
            n = (size_t)(f->size - off - done);
        content(at->file, b, version_of(f, b), block);
        memcpy((uint8_t *)buf + done, block + from, n);
        done += n;
    }
    return (int64_t)done;
}

void world_change(struct world_file *f, uint64_t off, uint64_t len)
{
    for (uint64_t i = 0; i < WORLD_BLOCKS; i++) {
        const uint64_t at = i * f->stride * BLK;

        if (at + BLK > off && (len == CM_ALL || at < off + len))
            f->version[i]++;
    }
}

/* ---- What is served -------------------------------------------------------------------------- */

/* The pool before the last world_remember(). */
static uint8_t *before;

void world_remember(struct world *w)
{
    w->remembers = (w->forged || w->any) && !w->o.seal;
    if (!w->remembers)
        return;
    before = realloc(before, (size_t)w->bytes);
    FUZZ_CHECK(before != NULL);
    memcpy(before, w->base, (size_t)w->bytes);
}

/* Are these bytes of a block in some slot of the pool, or were they when the call began? */
static bool is_in_pool(const struct world *w, const uint8_t *got, uint64_t from, size_t n)
{
    for (uint64_t off = 0; off + BLK <= w->bytes; off += BLK)
        if (memcmp(w->base + off + from, got, n) == 0 ||
            (w->remembers && memcmp(before + off + from, got, n) == 0))
            return true;
    return false;
}

/* Are these bytes what the block was once? Who can write a sealed pool can put that back. */
static bool is_older(const struct world_file *f, uint64_t file, uint64_t block, const uint8_t *got,
                     uint64_t from, size_t n)
{
    uint8_t was[CM_BLOCK_SIZE];

    for (uint32_t v = version_of(f, block); v-- > 0;) {
        content(file, block, v, was);
        if (memcmp(was + from, got, n) == 0)
            return true;
    }
    return false;
}

void world_check(const struct world *w, uint64_t file, uint64_t off, const uint8_t *got,
                 uint64_t len)
{
    const struct world_file *const f = &w->file[file];
    uint8_t want[CM_BLOCK_SIZE];

    const bool loose = w->forged || w->any;

    if (!loose) /* else an older, longer version may be back */
        FUZZ_CHECK(off + len <= f->size);
    for (uint64_t done = 0; done < len;) {
        const uint64_t b = (off + done) / BLK, from = (off + done) % BLK;
        const size_t n = (size_t)(BLK - from < len - done ? BLK - from : len - done);

        content(file, b, version_of(f, b), want);
        FUZZ_CHECK(memcmp(want + from, got + done, n) == 0 ||
                   (loose && (w->o.seal ? is_older(f, file, b, got + done, from, n)
                                        : is_in_pool(w, got + done, from, n))));
        done += n;
    }
}

/* ---- Files ----------------------------------------------------------------------------------- */

cm_file_id world_id(uint64_t file)
{
    return (cm_file_id){ .hi = 0xf11e, .lo = file + 1 };
}

cm_validator world_validator(const struct world *w, uint64_t file)
{
    const struct world_file *const f = &w->file[file];
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, &f->tag, sizeof(f->tag));
    v.size = file == 2 ? CM_SIZE_UNKNOWN : f->size;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    return v;
}

void world_attach(struct world *w, uint64_t file, uint32_t flags)
{
    const cm_file_id id = world_id(file);
    const cm_validator v = world_validator(w, file);
    struct world_file *const f = &w->file[file];

    if (cm_file_open(w->c, &id, &v, flags, &f->f) != 0)
        f->f = NULL;
}

void world_read(struct world *w, uint64_t file, uint64_t off, size_t len, uint32_t flags)
{
    struct world_file *const f = &w->file[file];
    struct world_place at = { w, file };
    uint8_t *const buf = world_buffer_end - len;
    cm_miss miss = CM_MISS_INIT;
    const int64_t n = cm_read(f->f, off, buf, len, &miss);

    FUZZ_CHECK(n <= (int64_t)len);
    if (n > 0)
        world_check(w, file, off, buf, (uint64_t)n);
    if (n < 0 || miss.len == 0 || (flags & 1))
        return;
    f->miss = miss;
    FUZZ_CHECK(miss.offset % BLK == 0);
    const size_t want = (size_t)(miss.len < WORLD_READ_MAX ? miss.len : WORLD_READ_MAX);
    const int64_t got = world_origin(&at, miss.offset, world_buffer_end - want, want);
    (void)cm_fill(f->f, &miss, world_buffer_end - want, (size_t)got,
                  (flags & 2 ? CM_FILL_WARM : 0) | (got < (int64_t)want ? CM_FILL_EOF : 0));
}

/* ---- Images ---------------------------------------------------------------------------------- */

static uint8_t *map_guarded(uint64_t bytes)
{
    uint8_t *const p = mmap(NULL, (size_t)(bytes + 2 * BLK), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    FUZZ_CHECK(p != MAP_FAILED && mprotect(p, BLK, PROT_NONE) == 0 &&
               mprotect(p + BLK + bytes, BLK, PROT_NONE) == 0);
    return p + BLK;
}

static void format_as(struct world *w, uint32_t flags)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    struct cm_sealing as = { .cache = NULL };

    if (w->seal)
        as.hooks = *w->seal;
    o.flags = flags;
    o.seal = w->seal;
    o.max_files = 24;
    FUZZ_CHECK(cm_format_memory(w->base, w->bytes, &o) == 0);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super *const sb = (struct cm_super *)(void *)(w->base + i * CM_SUPER_STRIDE);

        sb->hash_seed = 1;
        memset(sb->uuid, 7, sizeof(sb->uuid));
        sb->inc_mark = CM_GAP_END; /* no random gap */
        if (w->seal)
            FUZZ_CHECK(cm_seal_super(&as, sb) == 0);
        sb->xxh3 = cm_format_super_sum(sb);
        FUZZ_CHECK(cm_format_geometry(sb, &w->geo) == 0);
    }
}

static const cm_seal *seal_of(enum world_image which)
{
    return seals[which].mac ? &seals[which] : NULL;
}

static void make_image(struct world *w, enum world_image which)
{
    const uint64_t sizes[WORLD_FILES] = { 24 * BLK, 47 * BLK - 100, 9 * BLK + 1,
                                          UINT64_C(1) << 40 };
    const uint64_t many = which == WORLD_FULL ? WORLD_BLOCKS : 12;

    const bool writing = which == WORLD_WRITING || which >= WORLD_SEALED;

    if (which >= WORLD_SEALED)
        seals[which] = toy_seal(&key, which == WORLD_SEALED);
    w->seal = seal_of(which);
    format_as(w, writing ? CM_CREATE_NAMES : 0);
    w->o = (cm_options)CM_OPTIONS_INIT;
    w->o.seal = w->seal;
    w->o.probation_bytes = CM_PROBATION_NONE;
    w->o.memory_durability = which == WORLD_KILLED ? CM_DURABILITY_PAGECACHE : 0;
    FUZZ_CHECK(world_open(w));
    for (uint64_t i = 0; i < WORLD_FILES; i++) {
        w->file[i] =
            (struct world_file){ .size = sizes[i], .stride = i < 3 ? 1 : 100003, .tag = 1 };
        world_attach(w, i, i == 1 ? CM_SOLE_WRITER : 0);
        for (uint64_t k = 0; k < many; k++)
            world_read(w, i, k * w->file[i].stride * BLK, BLK, 0);
    }
    if (writing) {
        FUZZ_CHECK(cm_file_set_name(w->file[0].f, "etc/name of a file") == 0);
        FUZZ_CHECK(cm_file_set_keep(w->file[0].f, 1) == 0);
        FUZZ_CHECK(cm_file_set_group(w->file[1].f, 3) == 0);
        FUZZ_CHECK(cm_file_set_ttl(w->file[2].f, UINT64_C(3600000000000)) == 0);
        FUZZ_CHECK(cm_write_begin(w->file[1].f, 5 * BLK, 9 * BLK, &w->file[1].bracket[0]) == 0);
        w->file[1].is_open[0] = true;
        world_change(&w->file[1], 5 * BLK, 9 * BLK);
        w->file[1].tag++;
    }
    if (which == WORLD_KILLED || writing)
        world_kill(w);
    else
        world_close(w);
}

static void make_images(void)
{
    static struct world w;

    world_buffer_end = map_guarded(WORLD_READ_MAX) + WORLD_READ_MAX;
    w.bytes = POOL_BYTES;
    w.base = map_guarded(POOL_BYTES);
    for (unsigned i = 0; i < WORLD_IMAGES; i++) {
        memset(w.base, 0, POOL_BYTES);
        memset(w.file, 0, sizeof(w.file));
        make_image(&w, i);
        image[i] = malloc(POOL_BYTES);
        FUZZ_CHECK(image[i] != NULL);
        memcpy(image[i], w.base, POOL_BYTES);
        memcpy(image_file[i], w.file, sizeof(w.file));
        image_geo[i] = w.geo;
    }
}

enum world_image world_choose(struct fuzz_input *in)
{
    const uint8_t which = take_byte(in);

    if ((which & 0xf0) == 0xc0)
        return WORLD_TAGGED;
    return which & 0x80 ? WORLD_SEALED : which % WORLD_SEALED;
}

void world_begin(struct world *w, enum world_image which)
{
    static uint8_t *base;

    if (!base) {
        make_images();
        base = map_guarded(POOL_BYTES);
    }
    memset(w, 0, sizeof(*w));
    w->seal = seal_of(which);
    w->base = base;
    w->bytes = POOL_BYTES;
    w->geo = image_geo[which];
    memcpy(w->base, image[which], POOL_BYTES);
    memcpy(w->file, image_file[which], sizeof(w->file));
}

/* ---- Sessions -------------------------------------------------------------------------------- */

void world_options(struct world *w, struct fuzz_input *in, uint32_t flags)
{
    static const uint32_t durability[] = { 0, CM_DURABILITY_PAGECACHE, CM_DURABILITY_DAX,
                                           CM_DURABILITY_DAX };
    const unsigned what = take_byte(in), more = take_byte(in);

    w->o = (cm_options)CM_OPTIONS_INIT;
    w->o.seal = w->seal;
    w->o.verify = what % 3;
    w->o.memory_durability = durability[what >> 2 & 3];
    w->o.policy = (what >> 4) % 3;
    w->o.probation_bytes = what & 0x40 ? CM_PROBATION_NONE : 0;
    w->o.flags = (more & 1 ? CM_OPEN_READONLY : 0) & flags;
    w->o.flags |= more & 2 ? CM_OPEN_NO_TUNING : 0;
    w->o.join_timeout_ns = 1000;
    if (w->o.verify == CM_VERIFY_NEVER)
        w->any = true;
}

bool world_open(struct world *w)
{
    FUZZ_CHECK(w->c == NULL);
    return cm_open_memory(w->base, w->bytes, &w->o, &w->c) == 0;
}

void world_close(struct world *w)
{
    int e;

    for (uint64_t i = 0; i < WORLD_FILES; i++) {
        struct world_file *const f = &w->file[i];

        for (unsigned k = 0; f->f && k < WORLD_BRACKETS; k++)
            if (f->is_open[k])
                (void)cm_write_end(f->f, &f->bracket[k], NULL);
        if (f->f)
            (void)cm_file_close(f->f);
        f->f = NULL;
        memset(f->is_open, 0, sizeof(f->is_open));
    }
    e = cm_close(w->c);
    FUZZ_CHECK(e != CM_EBUSY && e != CM_EHANDLE);
    w->c = NULL;
}

void world_kill(struct world *w)
{
    uint8_t *const now = malloc((size_t)w->bytes);

    FUZZ_CHECK(now != NULL);
    memcpy(now, w->base, (size_t)w->bytes);
    world_close(w);
    memcpy(w->base, now, (size_t)w->bytes);
    free(now);
}
