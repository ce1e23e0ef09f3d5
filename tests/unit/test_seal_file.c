/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seal_file.c - sealed pools in files: made, looked at, resized, grown, and with objects.
 */
#include "seal_common.h"

#include "cachemax_objects.h"

#include <unistd.h>

#include "../os.h"

static char path[300];

static void make(struct sealed *s, uint64_t size, int encrypts, uint32_t flags)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    memset(s, 0, sizeof(*s));
    (void)snprintf(path, sizeof(path), "%s/pool", seal_dir);
    (void)unlink(path);
    s->key.key = 99;
    s->seal = toy_seal(&s->key, encrypts);
    o.size = size;
    o.flags = flags | CM_CREATE_SPARSE;
    o.seal = s->p.o.seal = &s->seal;
    REQUIRE(cm_create(path, &o) == 0);
    s->p.o.struct_size = sizeof(s->p.o);
    s->p.o.probation_bytes = CM_PROBATION_NONE;
    s->p.o.policy = CM_POLICY_GCLOCK; /* every block is stored */
    s->p.o.log = sealed_log;
    s->p.o.log_ctx = s;
}

static cm_file *up(struct sealed *s)
{
    CHECK_EQ(cm_open(path, &s->p.o, &s->p.c), 0);
    if (!s->p.c)
        exit(1);
    return attach(&s->p, 1, 100 * BLK, 1, 0);
}

static void down(struct sealed *s, cm_file *f)
{
    detach(f);
    CHECK_EQ(cm_close(s->p.c), 0);
    s->p.c = NULL;
}

/* ---- Looking at one -------------------------------------------------------------------------- */

static void test_info(void)
{
    struct sealed s;
    cm_info i = CM_INFO_INIT;
    cm_stats_data stats = CM_STATS_INIT;
    make(&s, 4 * MIB, 1, 0);
    cm_file *f = up(&s);
    CHECK_EQ(put_all(f, 0, 10, 7), 10);
    down(&s, f);
    CHECK_EQ(cm_pool_info(path, &i), 0); /* without the key */
    CHECK_EQ(i.sealed, CM_SEALED_ENCRYPTED);
    CHECK_EQ((int64_t)i.used_files, 1);
    CHECK_EQ(cm_pool_stats(path, &stats), 0);
    CHECK_EQ((int64_t)stats.fill_blocks, 10);
    make(&s, 4 * MIB, 0, 0);
    i = (cm_info)CM_INFO_INIT;
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CHECK_EQ(i.sealed, CM_SEALED_MAC);
}

static void test_names(void)
{
    struct sealed s;
    make(&s, 4 * MIB, 1, CM_CREATE_NAMES);
    cm_file *f = up(&s);
    CHECK_EQ(cm_file_set_name(f, "a name"), 0);
    down(&s, f);
    f = up(&s);
    CHECK(strcmp(info_of(f).name, "a name") == 0);
    down(&s, f);
}

/* ---- Another size ---------------------------------------------------------------------------- */

static void resized(int encrypts, uint64_t to)
{
    struct sealed s;
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    cm_info i = CM_INFO_INIT;
    make(&s, 4 * MIB, encrypts, CM_CREATE_NAMES);
    cm_file *f = up(&s);
    CHECK_EQ(put_all(f, 0, 40, 7), 40);
    CHECK_EQ(cm_file_set_name(f, "a name"), 0);
    content(8, 1, payload_of(s.p.c, slot_of(f, 1))); /* planted: it is not carried over */
    down(&s, f);
    o.size = to;
    CHECK_EQ(cm_resize(path, &o, &r), CM_EKEY);
    o.seal = &s.seal;
    CHECK_EQ(cm_resize(path, &o, &r), 0);
    CHECK_EQ((int64_t)r.blocks, 40);
    CHECK_EQ((int64_t)r.damaged, 1);
    CHECK_EQ((int64_t)os_size(path), (int64_t)to);
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CHECK_EQ(i.sealed, (uint32_t)(encrypts ? CM_SEALED_ENCRYPTED : CM_SEALED_MAC));
    f = up(&s);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK(strcmp(info_of(f).name, "a name") == 0);
    CHECK_EQ(hits(f, 0, 40, 7), 39);
    down(&s, f);
}

static void test_resize(void)
{
    CALL(resized(0, 8 * MIB));
    CALL(resized(1, 8 * MIB));
    CALL(resized(1, 3 * MIB));
}

static void test_grow(void)
{
#ifdef _WIN32
    SKIP("there no pool grows");
#endif
    struct sealed s;
    make(&s, 4 * MIB, 1, 0);
    s.p.o.grow_max = 16 * MIB;
    cm_file *f = up(&s);
    CHECK_EQ(put_all(f, 0, 40, 7), 40);
    CHECK_EQ(cm_grow(s.p.c, 12 * MIB, NULL), 0);
    CHECK_EQ(hits(f, 0, 40, 7), 40);
    CHECK_EQ(put_all(f, 40, 40, 7), 40);
    down(&s, f);
    f = up(&s);
    CHECK_EQ(hits(f, 0, 80, 7), 80);
    down(&s, f);
}

/* ---- Objects --------------------------------------------------------------------------------- */

static void test_objects(void)
{
    static uint8_t value[5 * CM_BLOCK_SIZE + 77], got[sizeof(value)];
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    struct sealed s;
    cm_objects *o;
    opts.objects = 100;
    for (unsigned i = 0; i < 5; i++)
        content(3, i, value + i * BLK);
    make(&s, 8 * MIB, 1, 0);
    for (unsigned round = 0; round < 2; round++) { /* the second finds what the first has put */
        REQUIRE(cm_open(path, &s.p.o, &s.p.c) == 0);
        REQUIRE(cm_objects_open(s.p.c, "box", &opts, &o) == 0);
        if (round == 0) {
            CHECK_EQ(cm_objects_put(o, "small", 5, "content", 7, 0), 0);
            CHECK_EQ(cm_objects_put(o, "large", 5, value, sizeof(value), 0), 0);
        }
        CHECK_EQ(cm_objects_get(o, "small", 5, got, sizeof(got), NULL), 7);
        CHECK(memcmp(got, "content", 7) == 0);
        CHECK_EQ(cm_objects_get(o, "large", 5, got, sizeof(got), NULL), (int64_t)sizeof(value));
        CHECK(memcmp(got, value, sizeof(value)) == 0);
        CHECK_EQ(cm_objects_close(o), 0);
        CHECK_EQ(cm_close(s.p.c), 0);
    }
}

const struct harness_test seal_file_tests[] = {
    TEST(info), TEST(names), TEST(resize), TEST(grow), TEST(objects), TEST_END,
};
