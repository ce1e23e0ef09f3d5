/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_structs.c - structs of programs that were compiled with another header; what is declared
 * and not built.
 */
#include "api_common.h"

#include "api/cache.h"

static int open_sized(struct pool *p, uint32_t size, size_t nonzero)
{
    uint8_t o[CM_STRUCT_MAX + 8] = { 0 };
    cm_cache *c = NULL;
    memcpy(o, &size, sizeof(size));
    if (nonzero)
        o[nonzero] = 1;
    int e = cm_open_memory(p->base, p->bytes, (const cm_options *)(const void *)o, &c);
    if (c)
        CHECK_EQ(cm_close(c), 0);
    return e;
}

static void test_option_sizes(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    for (uint32_t size = 0; size < 8; size++) {
        CASE("size %u", size);
        CHECK_EQ(open_sized(&p, size, 0),
                 size == 0 ? 0 : CM_EINVAL); /* 0: that of the first release */
    }
    for (uint32_t size = 8; size <= 256; size += 8) {
        CASE("size %u", size);
        CHECK_EQ(open_sized(&p, size, 0), 0); /* older and newer callers */
    }
    for (uint32_t at = sizeof(cm_options); at < 200; at++) {
        CASE("at %u", at);
        CHECK_EQ(open_sized(&p, 200, at), CM_EINVAL);        /* an option we do not know */
        CHECK_EQ(open_sized(&p, sizeof(cm_options), at), 0); /* not part of the struct */
    }
    /* The call reads nothing behind the end of a short struct. */
    CHECK_EQ(open_sized(&p, 8, 8), 0);
    CHECK_EQ(open_sized(&p, CM_STRUCT_MAX, 0), 0);
    CHECK_EQ(open_sized(&p, CM_STRUCT_MAX + 8, 0), CM_EINVAL); /* no size of a struct */
    pool_end(&p);
}

/* The functions do what the macros do, for a struct of any size; nothing behind it is touched. */
static void test_init(void)
{
    static _Alignas(16) uint8_t room[4096], want[4096];
    const cm_options options = CM_OPTIONS_INIT;
    const cm_create_options create = CM_CREATE_OPTIONS_INIT;
    const cm_identify_options identify = CM_IDENTIFY_OPTIONS_INIT;
    const cm_validator validator = CM_VALIDATOR_INIT;
    const cm_resize_options resize = CM_RESIZE_OPTIONS_INIT;
    const cm_miss miss = CM_MISS_INIT;
    const cm_request request = CM_REQUEST_INIT;
    const struct {
        const void *macro;
        size_t size;
    } all[] = { { &options, sizeof(options) },   { &create, sizeof(create) },
                { &identify, sizeof(identify) }, { &validator, sizeof(validator) },
                { &resize, sizeof(resize) },     { &miss, sizeof(miss) },
                { &request, sizeof(request) } };
    for (unsigned i = 0; i < 7; i++)
        for (unsigned more = 0; more <= 64; more += 64) {
            CASE("i %u, %u more", i, more);
            const uint32_t size = (uint32_t)all[i].size + more;
            memset(room, 0xa5, sizeof(room));
            memset(want, 0xa5, sizeof(want));
            memset(want, 0, size);
            memcpy(want, all[i].macro, all[i].size);
            memcpy(want, &size, sizeof(size));
            if (i == 0)
                cm_options_init((cm_options *)(void *)room, size);
            else if (i == 1)
                cm_create_options_init((cm_create_options *)(void *)room, size);
            else if (i == 2)
                cm_identify_options_init((cm_identify_options *)(void *)room, size);
            else if (i == 3)
                cm_validator_init((cm_validator *)(void *)room, size);
            else if (i == 4)
                cm_resize_options_init((cm_resize_options *)(void *)room, size);
            else if (i == 5)
                cm_miss_init((cm_miss *)(void *)room, size);
            else
                cm_request_init((cm_request *)(void *)room, size);
            CHECK(memcmp(room, want, sizeof(room)) == 0);
        }
}

/* A zeroed struct has the defaults. */
static void test_zeroed_options(void)
{
    struct pool p;
    const cm_options zero = { 0 };
    cm_create_options create = { 0 };
    pool_make(&p, MIB, 0);
    CHECK_EQ(cm_open_memory(p.base, p.bytes, &zero, &p.c), 0);
    CHECK(p.c->probation.entries > 0);
    CHECK_EQ(p.c->opts.struct_size, 0);
    pool_down(&p);
    create.size = p.bytes;
    CHECK_EQ(cm_format_memory(p.base, p.bytes, &create), 0);
    pool_end(&p);
}

/* What is declared and not built says so, once its arguments are right. */
static void test_planned(void)
{
    struct pool p;
    cm_file *f = NULL;
    cm_file_id id = id_of(1);
    cm_validator v;
    pool_make(&p, MIB, 0);
    REQUIRE(pool_up(&p) == 0);
    v = val(100, 1);
    CHECK_EQ(cm_file_open(p.c, &id, &v, 8, &f), CM_EINVAL);
    f = attach(&p, 1, 100, 1, 0);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    CHECK_EQ(cm_checkpoint(NULL), CM_EHANDLE);
    CHECK_EQ(cm_file_set_keep(NULL, 1), CM_EHANDLE);
    detach(f);
    pool_end(&p);
}

static void test_create_option_sizes(void)
{
    uint8_t o[256] = { 0 };
    void *base = map_bytes(MIB);
    for (uint32_t size = 0; size <= 200; size += 4) {
        CASE("size %u", size);
        memcpy(o, &size, sizeof(size));
        int e = cm_format_memory(base, MIB, (const cm_create_options *)(const void *)o);
        CHECK_EQ(e, size > 0 && size < 8 ? CM_EINVAL : 0);
    }
    o[199] = 1;
    CHECK_EQ(cm_format_memory(base, MIB, (const cm_create_options *)(const void *)o), CM_EINVAL);
    unmap_bytes(base, MIB);
}

enum { INFO, STATS, REPORT };

static int result_into(struct pool *p, unsigned which, uint8_t *to)
{
    if (which == INFO)
        return cm_get_info(p->c, (cm_info *)(void *)to);
    if (which == STATS)
        return cm_stats(p->c, (cm_stats_data *)(void *)to);
    return cm_check(p->c, 0, NULL, NULL, (cm_check_report *)(void *)to);
}

/* Results: the call writes nothing beyond the caller's size. A larger struct is allowed. */
static void test_result_sizes(void)
{
    const size_t sizes[] = { sizeof(cm_info), sizeof(cm_stats_data), sizeof(cm_check_report) };
    struct pool p;
    static _Alignas(16) uint8_t r[2048];
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned which = INFO; which <= REPORT; which++) { /* never set: nothing is touched */
        CASE("which %u", which);
        memset(r, 0xa5, sizeof(r));
        CHECK_EQ(result_into(&p, which, r), CM_EINVAL);
        for (size_t i = 0; i < sizeof(r); i++) {
            CASE("i %zu", i);
            CHECK(r[i] == 0xa5);
        }
    }
    for (unsigned which = INFO; which <= REPORT; which++)
        for (uint32_t size = 4; size <= 2000; size += 4) {
            uint32_t filled;
            CASE("result %u of size %u", which, size);
            const uint32_t known = size < sizes[which] ? size : (uint32_t)sizes[which];
            memset(r, 0xa5, sizeof(r));
            memcpy(r, &size, sizeof(size));
            CHECK_EQ(result_into(&p, which, r), size < 8 ? CM_EINVAL : 0);
            memcpy(&filled, r, sizeof(filled));
            CHECK_EQ(filled, size < 8 ? size : known); /* as much as both know */
            for (size_t i = known; i < size && size >= 8; i++) {
                CASE("i %zu", i);
                CHECK(r[i] == 0); /* what a newer caller knows beyond that */
            }
            for (size_t i = size < 4 ? 4 : size; i < size + 40; i++) {
                CASE("i %zu", i);
                CHECK(r[i] == 0xa5);
            }
            if (size >= 64)
                CHECK(r[16] != 0xa5 || r[17] != 0xa5 || which != INFO);
        }
    pool_end(&p);
}

const struct harness_test api_structs_tests[] = {
    TEST(option_sizes), TEST(init), TEST(zeroed_options), TEST(planned), TEST(create_option_sizes),
    TEST(result_sizes), TEST_END,
};
