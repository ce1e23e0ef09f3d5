/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ended.c - blocks of an older version of a file do not hold back those of the new one: passes
 * over a file that has changed, or was forgotten, hit as often as passes over it in a new pool.
 *
 * The pool holds one version of a file, whose blocks were read so often that the policy takes them
 * for useful. Then another version begins, or all of it is written or dropped. Nothing leads to the
 * old blocks any more, so their slots are as good as never used.
 */
#include <inttypes.h>
#include <cachemax.h>

#include <stdlib.h>

#include "../os.h"
#include "../unit/harness.h"

#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define POOL_BYTES ((uint64_t)8 << 20)
#define PASSES 6u

static const struct setting {
    const char *name;
    uint32_t policy;
    uint64_t probation;
} settings[] = {
    { "s3r, no buffer", CM_POLICY_S3R, CM_PROBATION_NONE },
    { "s3r, buffer", CM_POLICY_S3R, 0 },
    { "auto, no buffer", CM_POLICY_AUTO, CM_PROBATION_NONE },
    { "auto, buffer (default)", CM_POLICY_AUTO, 0 },
    { "gclock", CM_POLICY_GCLOCK, CM_PROBATION_NONE },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

struct world {
    void *base;
    cm_cache *cache;
    uint64_t slots;
};

static void open_pool(struct world *w, const struct setting *s)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    o.policy = s->policy;
    o.probation_bytes = s->probation;
    CHECK_EQ(cm_open_memory(w->base, POOL_BYTES, &o, &w->cache), 0);
    CHECK_EQ(cm_get_info(w->cache, &info), 0);
    w->slots = info.slots;
}

static void begin(struct world *w, const struct setting *s)
{
    w->base = os_aligned(CM_BLOCK_SIZE, POOL_BYTES);
    CHECK_EQ(cm_format_memory(w->base, POOL_BYTES, NULL), 0);
    CALL(open_pool(w, s));
}

static void end(struct world *w)
{
    CHECK_EQ(cm_close(w->cache), 0);
    os_aligned_free(w->base);
}

static cm_validator version(uint64_t blocks, uint8_t number)
{
    cm_validator v = CM_VALIDATOR_INIT;
    v.size = blocks * BLOCK;
    cm_validator_set_proof(&v, &number, 1);
    v.taken_at = cm_now();
    return v;
}

static cm_file *open_version(struct world *w, uint64_t id, uint64_t blocks, uint8_t number)
{
    const cm_file_id file = { 7, id };
    const cm_validator v = version(blocks, number);
    cm_file *f = NULL;
    CHECK_EQ(cm_file_open(w->cache, &file, &v, CM_SOLE_WRITER, &f), 0);
    return f;
}

/* Reads the file once, in order, a block a call. How many hit? */
static uint64_t pass(cm_file *f, uint64_t blocks, uint8_t number)
{
    static uint8_t data[CM_BLOCK_SIZE];
    uint64_t hits = 0;
    for (uint64_t i = 0; i < blocks; i++) {
        CASE("block %" PRIu64, i);
        cm_miss miss;
        const int64_t got = cm_read(f, i * BLOCK, data, BLOCK, &miss);
        if (got == (int64_t)BLOCK) {
            hits++;
            CHECK_EQ(data[0], number); /* of this version */
            continue;
        }
        memset(data, number, BLOCK);
        CHECK(cm_fill(f, &miss, data, miss.len, 0) >= 0);
    }
    return hits;
}

/* Percent of the reads that hit, of PASSES passes. */
static double passes(cm_file *f, uint64_t blocks, uint8_t number)
{
    uint64_t hits = 0;
    for (unsigned i = 0; i < PASSES; i++)
        hits += pass(f, blocks, number);
    return 100.0 * (double)hits / (double)(PASSES * blocks);
}

/* A new pool. */
static double fresh(const struct setting *s, double share, uint64_t *blocks)
{
    struct world w;
    CALL(begin(&w, s));
    *blocks = (uint64_t)((double)w.slots * share);
    cm_file *f = open_version(&w, 1, *blocks, 2);
    const double percent = passes(f, *blocks, 2);
    CHECK_EQ(cm_file_close(f), 0);
    CALL(end(&w));
    return percent;
}

/* Fills the pool with a version that is read often. Its file may become as long as `room`. */
static cm_file *make_old(struct world *w, uint64_t blocks, uint64_t room)
{
    cm_file *f = open_version(w, 1, room, 1);
    for (unsigned i = 0; i < 12; i++)
        (void)pass(f, blocks, 1);
    return f;
}

enum end_of_version {
    CHANGED,
    WRITTEN,
    DROPPED,
    FORGOTTEN,
    CHANGED_CLOSED,
    FORGOTTEN_CLOSED,
    CHANGED_RESTART,
    ENDS
};
static const char *const ends[] = {
    [CHANGED] = "changed",
    [WRITTEN] = "written",
    [DROPPED] = "dropped",
    [FORGOTTEN] = "forgotten",
    [CHANGED_CLOSED] = "changed while closed",
    [FORGOTTEN_CLOSED] = "forgotten while closed",
    [CHANGED_RESTART] = "changed while the pool was closed",
};

/* Somebody writes all of the file. It is the same version then, but no block of it stays. */
static void write_all(cm_file *f)
{
    cm_bracket b;
    CHECK_EQ(cm_write_begin(f, 0, CM_ALL, &b), 0);
    CHECK(cm_write_end(f, &b, NULL) >= 0);
}

/* The version ends that f has, and another one begins. */
static cm_file *end_version(struct world *w, const struct setting *s, enum end_of_version how,
                            cm_file *f, uint64_t blocks)
{
    const cm_file_id id = { 7, 1 };
    const cm_validator v = version(blocks, 2);
    if (how == CHANGED) {
        CHECK(cm_file_revalidate(f, &v) >= 0);
        return f;
    }
    if (how == WRITTEN) {
        CALL(write_all(f));
        return f;
    }
    if (how == DROPPED) {
        CHECK(cm_drop(f, 0, CM_ALL) > 0);
        return f;
    }
    if (how == FORGOTTEN)
        CHECK_EQ(cm_forget(w->cache, &id), 0);
    CHECK_EQ(cm_file_close(f), 0);
    if (how == FORGOTTEN_CLOSED)
        CHECK_EQ(cm_forget(w->cache, &id), 0);
    if (how == CHANGED_RESTART) {
        CHECK_EQ(cm_close(w->cache), 0);
        CALL(open_pool(w, s));
    }
    return open_version(w, 1, blocks, 2);
}

/* The old version fills nine tenths of the pool. Then it ends, and another one is read. */
static double after(const struct setting *s, enum end_of_version how, uint64_t blocks)
{
    struct world w;
    CALL(begin(&w, s));
    cm_file *f = end_version(&w, s, how, make_old(&w, w.slots * 9 / 10, 2 * w.slots), blocks);
    const double percent = passes(f, blocks, 2);
    CHECK_EQ(cm_file_close(f), 0);
    CALL(end(&w));
    return percent;
}

/* Files that fit the pool, and one that is a little larger: of that the policy cannot store all.
 * What it remembers of the old version still matters a little there (AUTO's simulations, the
 * ghost). `less`: so many points. */
static const struct {
    double share, less;
} files[] = { { 0.5, 2 }, { 0.9, 2 }, { 1.25, 15 } };

static void test_versions(void)
{
    for (unsigned i = 0; i < SETTINGS; i++)
        for (unsigned j = 0; j < sizeof(files) / sizeof(files[0]); j++) {
            uint64_t blocks;
            const double in_new = fresh(&settings[i], files[j].share, &blocks);
            for (unsigned how = CHANGED; how < ENDS; how++) {
                const double in_old = after(&settings[i], how, blocks);
                CASE("%s, %.2f of the pool, %s", settings[i].name, files[j].share, ends[how]);
                printf("# %s, a file of %.2f of the pool: new pool %.1f %% hits, %s: %.1f %%\n",
                       settings[i].name, files[j].share, in_new, ends[how], in_old);
                CHECK(in_old >= in_new - files[j].less);
            }
        }
}

static const struct harness_test tests[] = { TEST(versions) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
