/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_header.cpp - the public header in a C++ program: it compiles without a warning, its
 * initializers work, and a pool in memory does what it does in C.
 */
#include "cachemax.h"

#include <cstdio>
#include <cstring>

static int64_t read_origin(void *, uint64_t offset, void *buf, size_t len)
{
    std::memset(buf, static_cast<int>(offset / CM_BLOCK_SIZE % 251), len);
    return static_cast<int64_t>(len);
}

/* An exception passes through the library and leaves no trace: the read can be repeated, and
 * cm_close() does not return busy. On Windows exceptions may not pass. */
static int64_t throw_once(void *thrown, uint64_t offset, void *buf, size_t len)
{
    int *count = static_cast<int *>(thrown);
    if ((*count)++ == 0)
        throw 46;
    return read_origin(nullptr, offset, buf, len);
}

static bool read_thrown(cm_cache *cache)
{
#ifdef _WIN32
    return cache && throw_once;
#else
    const cm_file_id id = { 1, 3 };
    cm_file *file = nullptr;
    unsigned char buf[100];
    int count = 0, caught = 0;
    bool right = cm_file_open(cache, &id, nullptr, CM_SOLE_WRITER, &file) == 0;
    try {
        (void)cm_read_through(file, 7 * CM_BLOCK_SIZE, buf, sizeof buf, throw_once, &count);
    } catch (int e) {
        caught = e;
    }
    right = right && caught == 46 &&
            cm_read_through(file, 7 * CM_BLOCK_SIZE, buf, sizeof buf, throw_once, &count) ==
                static_cast<int64_t>(sizeof buf) &&
            count == 2 && buf[0] == 7;
    return cm_file_close(file) == 0 && right;
#endif
}

static bool read_twice(cm_cache *cache)
{
    const cm_file_id id = { 1, 2 };
    cm_file *file = nullptr;
    unsigned char buf[100];
    bool right = cm_file_open(cache, &id, nullptr, CM_SOLE_WRITER, &file) == 0;
    for (int i = 0; i < 2 && right; i++)
        right = cm_read_through(file, 7 * CM_BLOCK_SIZE, buf, sizeof buf, read_origin, nullptr) ==
                    static_cast<int64_t>(sizeof buf) &&
                buf[0] == 7 && buf[99] == 7;
    cm_stats_data stats;
    stats.struct_size = sizeof stats;
    right = right && cm_stats(cache, &stats) == 0 && stats.hit_blocks == 1;
    return cm_file_close(file) == 0 && right;
}

int main()
{
    const size_t bytes = 1u << 20;
    alignas(4096) static unsigned char base[bytes];
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    const cm_warm_options warm = CM_WARM_OPTIONS_INIT;
    cm_cache *cache = nullptr;
    bool right = cm_format_memory(base, bytes, &create) == 0 &&
                 cm_open_memory(base, bytes, &options, &cache) == 0 && read_twice(cache) &&
                 read_thrown(cache) && cm_close(cache) == 0 && warm.struct_size == sizeof warm &&
                 warm.progress == nullptr && std::strcmp(cm_errname(CM_EINVAL), "CM_EINVAL") == 0;
    std::printf("1..1\n%s 1 - cplusplus\n", right ? "ok" : "not ok");
    return right ? 0 : 1;
}
