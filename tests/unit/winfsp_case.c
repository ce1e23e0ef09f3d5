/* SPDX-License-Identifier: BSD-2-Clause
 *
 * winfsp_case.c - a folder, a pool and the operations of cachemax-winfsp, for its tests.
 */
#include "winfsp_case.h"

char base[512], folder[600], pool[600];
bool everyone;
char wrote[SIZE];
static char got[SIZE + 1];

void begin_test(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    char dir[512];

    o.size = UINT64_C(8) << 20;
    REQUIRE(os_make_dir(base, sizeof(base), NULL, "winfsp"));
    (void)snprintf(folder, sizeof(folder), "%s/folder", base);
    (void)snprintf(pool, sizeof(pool), "%s/pool", base);
    REQUIRE(os_make_dir(dir, sizeof(dir), base, "new"));
    CHECK_EQ(rename(dir, folder), 0);
    CHECK_EQ(cm_create(pool, &o), 0);
    REQUIRE(cache_begin(pool) == 0);
    REQUIRE(origin_begin(folder, everyone) == 0);
    for (int i = 0; i < SIZE; i++)
        wrote[i] = (char)(1 + i % 251);
}

void end_test(void)
{
    CHECK_EQ(ops_end(), 0);
    origin_end();
    CHECK_EQ(cache_end(), 0);
    CHECK_EQ(remove(pool), 0);
    CHECK(os_remove_dir(folder) && os_remove_dir(base));
}

uint64_t hits(void)
{
    cm_stats_data s = CM_STATS_INIT;

    CHECK_EQ(cm_pool_stats(pool, &s), 0);
    return s.hit_blocks;
}

uint64_t open_it(const char *path, int flags)
{
    struct fuse_file_info fi = { .flags = flags };
    const int e = flags & O_CREAT ? ops.create(path, 0644, &fi) : ops.open(path, &fi);

    CHECK_EQ(e, 0);
    return fi.fh;
}

void close_it(uint64_t fh)
{
    struct fuse_file_info fi = { .fh = fh };

    CHECK_EQ(ops.release(NULL, &fi), 0);
}

void write_at(uint64_t fh, int off, int len)
{
    struct fuse_file_info fi = { .fh = fh };

    CHECK_EQ(ops.write(NULL, wrote + off, (size_t)len, off, &fi), len);
}

void is_right_at(uint64_t fh, int off, int len)
{
    struct fuse_file_info fi = { .fh = fh };
    char some[BLOCK];

    CHECK_EQ(ops.read(NULL, some, (size_t)len, off, &fi), len);
    CHECK_EQ(memcmp(some, wrote + off, (size_t)len), 0);
}

void is_right(uint64_t fh, int size)
{
    struct fuse_file_info fi = { .fh = fh };
    api_stat st;

    CHECK_EQ(ops.read(NULL, got, sizeof(got), 0, &fi), size);
    CHECK_EQ(memcmp(got, wrote, (size_t)size), 0);
    CHECK_EQ(ops.read(NULL, got, 100, size, &fi), 0);
    CHECK_EQ(ops.getattr(NULL, &st, &fi), 0);
    CHECK_EQ(st.st_size, size);
}

void make_it(const char *path, int size)
{
    const uint64_t fh = open_it(path, O_CREAT | O_RDWR);

    REQUIRE(fh != 0);
    write_at(fh, 0, size);
    close_it(fh);
}
