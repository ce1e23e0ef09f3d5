/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_versions.c - pools of every version of the format, and of versions to come: each is
 * either used or refused with a reason, and a pool that is refused stays as it is.
 */
#include "api_common.h"

#include "../later.h"
#include "../os.h"
#include "golden/pools.h"

#define FIRST_USED 10u /* the oldest version that this library uses */

static uint8_t *image_of(unsigned version, size_t *bytes)
{
    *bytes = (size_t)golden_pool[version - 1].bytes;
    uint8_t *image = calloc(1, *bytes);
    for (unsigned i = 0; image && i < golden_pool[version - 1].runs; i++) {
        const struct golden_run *r = &golden_pool[version - 1].run[i];
        for (uint32_t k = 0; k < r->words; k++)
            memcpy(image + ((size_t)r->first + k) * 8, &r->value, 8);
    }
    return image;
}

static void write_image(const char *path, const uint8_t *image, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(image, 1, bytes, f) == bytes && fclose(f) == 0);
}

static void expect_image(const char *path, const uint8_t *image, size_t bytes)
{
    uint8_t *now = malloc(bytes);
    FILE *f = fopen(path, "rb");
    CHECK(f && now && fread(now, 1, bytes, f) == bytes && fgetc(f) == EOF && fclose(f) == 0);
    CHECK(now && memcmp(now, image, bytes) == 0);
    free(now);
}

static char last_line[400];

static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level;
    (void)snprintf(last_line, sizeof(last_line), "%s", text);
}

/* Which version the pool has is told: by the log, and by cm_pool_info(). */
static void expect_version(const char *path, uint32_t version)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = CM_INFO_INIT;
    cm_cache *c = NULL;
    char want[100];
    memset(&info, 0x55, sizeof(info));
    info.struct_size = sizeof(info);
    o.log = keep_line;
    CHECK_EQ(cm_open(path, &o, &c), CM_EVERSION);
    (void)snprintf(want, sizeof(want),
                   "does not know: it has version %u, and this library has %u; delete it",
                   (unsigned)version, (unsigned)CM_FORMAT_VERSION);
    CHECK(strstr(last_line, want) != NULL);
    CHECK_EQ(cm_pool_info(path, &info), CM_EVERSION);
    CHECK_EQ(info.version, version);
    CHECK_EQ(info.size, 0); /* nothing else is known */
    CHECK_EQ(info.owned | info.owner_pid, 0);
}

/* Which features a pool has that are not known here. */
static void expect_features(const char *path, uint64_t features)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = CM_INFO_INIT;
    cm_cache *c = NULL;
    char want[100];
    memset(&info, 0x55, sizeof(info));
    info.struct_size = sizeof(info);
    o.log = keep_line;
    CHECK_EQ(cm_open(path, &o, &c), CM_EINCOMPAT);
    (void)snprintf(want, sizeof(want), "does not know: features 0x%llx (",
                   (unsigned long long)features);
    CHECK(strstr(last_line, want) != NULL);
    CHECK_EQ(cm_pool_info(path, &info), CM_EINCOMPAT);
    CHECK_EQ(info.version, CM_FORMAT_VERSION);
    CHECK_EQ(info.size, 0); /* nothing else is known */
    CHECK_EQ(info.owned | info.owner_pid, 0);
}

/* Every call that takes a pool's path gives the reason, and changes nothing. */
static void expect_refused(const uint8_t *image, size_t bytes, int code)
{
    const char *path = path_of("versions");
    cm_info info = { .struct_size = sizeof(info) };
    cm_stats_data stats = { .struct_size = sizeof(stats) };
    cm_resize_options bigger = CM_RESIZE_OPTIONS_INIT;
    cm_create_options anew = CM_CREATE_OPTIONS_INIT;
    write_image(path, image, bytes);
    CHECK_EQ(try_open(path, 0), code);
    CHECK_EQ(try_open(path, CM_OPEN_READONLY), code);
#ifndef _WIN32
    CHECK_EQ(try_open(path, CM_OPEN_SHARED), code);
#endif
    CHECK_EQ(cm_pool_info(path, &info), code);
    if (code == CM_EVERSION)
        CALL(expect_version(path, ((const struct cm_super *)(const void *)image)->version));
    if (code == CM_EINCOMPAT)
        CALL(expect_features(path, CM_INCOMPAT_KNOWN + 1));
    CHECK(cm_pool_stats(path, &stats) < 0);
    bigger.size = MIB;
    CHECK_EQ(cm_resize(path, &bigger, NULL), code);
    anew.size = MIB;
    CHECK_EQ(cm_create(path, &anew), CM_EEXIST);
    CALL(expect_image(path, image, bytes));
    CHECK_EQ(unlink(path), 0);
}

/* How many of the three blocks of a stored pool are there, with the right bytes. */
static unsigned blocks_of(const char *path)
{
    const cm_file_id id = { 1, 2 };
    static uint8_t block[BLK];
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file *f;
    unsigned hits = 0;
    cm_cache *c = open_pool(path, 0);
    if (!c)
        return 0;
    cm_validator_set_proof(&v, "golden", 6);
    v.size = 3 * BLK;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = later();
    CHECK_EQ(cm_file_open(c, &id, &v, CM_SOLE_WRITER, &f), 0);
    CHECK_EQ(info_of(f).keep, 1);
    CHECK_EQ(info_of(f).group, 7);
    for (unsigned b = 0; b < 3; b++) {
        const int64_t n = cm_read(f, b * BLK, block, BLK, NULL);
        CHECK(n == 0 || n == (int64_t)BLK);
        for (unsigned i = 0; n > 0 && i < BLK; i++)
            CHECK_EQ(block[i], 'a' + b);
        hits += n > 0;
    }
    CHECK_EQ(cm_file_close(f), 0);
    CHECK_EQ(cm_close(c), 0);
    return hits;
}

/* A new version of the format needs a stored pool here, and FIRST_USED says what becomes of the
 * older ones. */
static void test_stored_versions(void)
{
    size_t bytes;
    CHECK_EQ(sizeof(golden_pool) / sizeof(golden_pool[0]), CM_FORMAT_VERSION);
    for (unsigned version = 1; version <= CM_FORMAT_VERSION; version++) {
        CASE("version %u", version);
        uint8_t *image = image_of(version, &bytes);
        REQUIRE(image);
        if (version < FIRST_USED) {
            CALL(expect_refused(image, bytes, CM_EVERSION));
        } else {
            const char *path = path_of("stored");
            write_image(path, image, bytes);
            CHECK_EQ(blocks_of(path), 3);
            CHECK_EQ(blocks_of(path), 3); /* still a good pool when it was used */
            CHECK_EQ(unlink(path), 0);
        }
        free(image);
    }
}

/* Changes both superblocks of the newest stored pool. Sums are those of this version: a newer
 * library's may be others, and are not looked at before version and bits. */
static uint8_t *patched(size_t *bytes, uint32_t version, uint64_t compat, uint64_t incompat)
{
    uint8_t *image = image_of(CM_FORMAT_VERSION, bytes);
    for (unsigned i = 0; image && i < 2; i++) {
        struct cm_super *sb = (void *)(image + (size_t)i * CM_SUPER_STRIDE);
        sb->version = version;
        sb->compat |= compat;
        sb->incompat |= incompat;
        sb->xxh3 = version == CM_FORMAT_VERSION ? cm_format_super_sum(sb) : 0;
    }
    return image;
}

/* A pool of a library to come. It goes back to that library as it was. */
static void test_newer_pool(void)
{
    size_t bytes;
    uint8_t *image = patched(&bytes, CM_FORMAT_VERSION + 1, 0, 0);
    REQUIRE(image);
    CALL(expect_refused(image, bytes, CM_EVERSION));
    free(image);
    image = patched(&bytes, CM_FORMAT_VERSION, 0, CM_INCOMPAT_KNOWN + 1);
    REQUIRE(image);
    CALL(expect_refused(image, bytes, CM_EINCOMPAT));
    free(image);
}

/* What an older library may ignore: it uses the pool, and the bits stay for the newer one. */
static void test_newer_remarks(void)
{
    const uint64_t bit = UINT64_C(1) << 40;
    const char *path = path_of("remarks");
    size_t bytes;
    struct cm_super sb[2];
    uint8_t *image = patched(&bytes, CM_FORMAT_VERSION, bit, 0);
    REQUIRE(image);
    write_image(path, image, bytes);
    free(image);
    CHECK_EQ(blocks_of(path), 3);
    CHECK_EQ(blocks_of(path), 3);
    FILE *f = fopen(path, "rb");
    REQUIRE(f);
    CHECK_EQ(fread(&sb[0], sizeof(sb[0]), 1, f), 1);
    CHECK_EQ(fseek(f, CM_SUPER_STRIDE, SEEK_SET), 0);
    CHECK_EQ(fread(&sb[1], sizeof(sb[1]), 1, f), 1);
    CHECK_EQ(fclose(f), 0);
    CHECK((sb[0].compat & bit) && (sb[1].compat & bit));
    CHECK_EQ(unlink(path), 0);
}

const struct harness_test api_versions_tests[] = {
    TEST(stored_versions),
    TEST(newer_pool),
    TEST(newer_remarks),
    TEST_END,
};
