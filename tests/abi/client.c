/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client.c - a program that was compiled with the header of the release before, and runs with the
 * library as it is.
 *
 * The header is previous/cachemax.h, and is replaced at each release. So the program knows fewer
 * counters, options and fields than the library, which must fill in what both know and touch
 * nothing behind it. Also loads a plugin that has a static copy of the library. Prints "ok NAME" or
 * "FAIL NAME" and a summary as the last line.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax.h"

#define POOL_BYTES (UINT64_C(2) << 20)
#define GUARD 0xa5

static unsigned passed, failed;

static void check(const char *name, int good)
{
    *(good ? &passed : &failed) += 1;
    printf("%s %s\n", good ? "ok" : "FAIL", name);
}

/* Structs of this program, and what may not be touched behind them. */
struct guarded_stats {
    cm_stats_data s;
    uint8_t behind[64];
};
struct guarded_info {
    cm_info s;
    uint8_t behind[64];
};
struct guarded_report {
    cm_check_report s;
    uint8_t behind[64];
};

static int untouched(const uint8_t behind[64])
{
    for (unsigned i = 0; i < 64; i++)
        if (behind[i] != GUARD)
            return 0;
    return 1;
}

static cm_cache *open_pool(void *base)
{
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    cm_cache *cache = NULL;
    options.probation_bytes = CM_PROBATION_NONE;
    options.policy = CM_POLICY_S3R;
    options.memory_durability = CM_DURABILITY_DAX;
    check("format", cm_format_memory(base, POOL_BYTES, &create) == 0);
    check("open", cm_open_memory(base, POOL_BYTES, &options, &cache) == 0);
    return cache;
}

static void use_it(cm_cache *cache)
{
    static uint8_t data[CM_BLOCK_SIZE], got[CM_BLOCK_SIZE];
    const cm_file_id id = { 1, 2 };
    cm_read_vec vec = { .struct_size = sizeof(vec), .buf = got, .len = sizeof(got) };
    cm_file *file;
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_miss miss;
    cm_bracket w;
    cm_sync sync;
    cm_iovec piece;
    cm_pins pins;
    int n = 0;
    memset(data, 'x', sizeof(data));
    check("open a file", cm_file_open(cache, &id, NULL, CM_SOLE_WRITER, &file) == 0);
    check("miss", cm_read(file, 0, got, sizeof(got), &miss) == 0 && miss.len == sizeof(got));
    check("fill", cm_fill(file, &miss, data, sizeof(data), 0) == 0);
    for (unsigned i = 0; i < 4; i++)
        check("hit", cm_read(file, 0, got, sizeof(got), NULL) == (int64_t)sizeof(got) &&
                         memcmp(got, data, sizeof(got)) == 0);
    check("read many", cm_read_many(file, &vec, 1) == 1);
    check("pin",
          cm_pin_range(file, 0, sizeof(got), &piece, 1, &n, &pins, NULL) == (int64_t)sizeof(got) &&
              n == 1 && cm_unpin(&pins) == 0);
    check("write", cm_write_begin(file, 0, 100, &w) == 0 && cm_write_end(file, &w, NULL) >= 0);
    check("forgotten", cm_read(file, 0, got, sizeof(got), NULL) == 0);
    check("dirty", cm_file_get_info(file, &info) == 0 && info.dirty == 1 && info.brackets == 0);
    check("sync", cm_sync_begin(file, &sync) == 0 && cm_sync_end(file, &sync, 1, NULL) == 0 &&
                      cm_file_get_info(file, &info) == 0 && info.dirty == 0);
    check("close the file", cm_file_close(file) == 0);
}

/* PLUGIN has a copy of its own, although this program's functions are found before its. */
static void look_at_plugin(void)
{
    typedef const char *(*version_fn)(void);
    void *plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    version_fn (*version)(void) = NULL;
    if (plugin)
        *(void **)&version = dlsym(plugin, "plugin_version");
    check("a plugin is loaded", version != NULL);
    check("it calls its own copy", version && version() != cm_version);
}

int main(void)
{
    struct guarded_stats stats;
    struct guarded_info info;
    struct guarded_report report;
    void *base = aligned_alloc(CM_BLOCK_SIZE, POOL_BYTES);
    if (!base)
        return 1;
    memset(base, 0, POOL_BYTES);
    memset(&stats, GUARD, sizeof(stats));
    memset(&info, GUARD, sizeof(info));
    memset(&report, GUARD, sizeof(report));
    cm_cache *cache = open_pool(base);
    if (!cache)
        return 1;
    use_it(cache);

    stats.s.struct_size = sizeof(stats.s);
    check("statistics", cm_stats(cache, &stats.s) == 0);
    check("of this program's size", stats.s.struct_size == sizeof(stats.s));
    check("nothing behind them", untouched(stats.behind));
    check("counters in their places", stats.s.hit_blocks == 6 && stats.s.fill_blocks == 1 &&
                                          stats.s.fill_bytes == CM_BLOCK_SIZE &&
                                          stats.s.brackets == 1 && stats.s.forgotten == 1);
    check("times in their places", stats.s.opened_at_ns > UINT64_C(1500000000) * 1000000000 &&
                                       stats.s.closed_at_ns == 0 && stats.s.curve_reads <= 100);

    info.s.struct_size = sizeof(info.s);
    check("info", cm_get_info(cache, &info.s) == 0);
    check("info of this program's size", info.s.struct_size == sizeof(info.s));
    check("nothing behind it", untouched(info.behind));
    check("info in its places", info.s.size == POOL_BYTES && info.s.owned == 1 &&
                                    info.s.used_files == 1 && info.s.mode == CM_NORMAL);

    report.s.struct_size = sizeof(report.s);
    check("check", cm_check(cache, 0, NULL, NULL, &report.s) == 0);
    check("nothing behind its report", untouched(report.behind));
    check("report in its places", report.s.slots == info.s.slots && report.s.records == 1);
    check("close", cm_close(cache) == 0);
    free(base);
    look_at_plugin();
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
