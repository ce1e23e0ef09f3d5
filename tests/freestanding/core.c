/* SPDX-License-Identifier: BSD-2-Clause
 *
 * core.c - the engine without an operating system: a pool in memory it is given, filled, read,
 * written over, pinned, checked, closed and opened again.
 */
#include "cachemax.h"

#include <string.h>

#include "environment.h"

#define BLK ((uint64_t)CM_BLOCK_SIZE)
#define POOL_BYTES (4u << 20)
#define BLOCKS 300u

static uint8_t pool[POOL_BYTES] __attribute__((aligned(4096)));
static uint8_t got[4 * CM_BLOCK_SIZE], want[4 * CM_BLOCK_SIZE];
static unsigned passed, failed, origin_calls;

static void check(int good, const char *name)
{
    *(good ? &passed : &failed) += 1;
    print("%s %s\n", good ? "ok" : "FAIL", name);
}

static void content(uint64_t block, unsigned version, uint8_t *to)
{
    uint64_t word = (block << 8) + version;

    for (unsigned i = 0; i < BLK; i++) {
        word = word * UINT64_C(6364136223846793005) + 1;
        to[i] = (uint8_t)(word >> 56);
    }
}

static cm_validator validator(void)
{
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, "1", 1);
    v.size = BLOCKS * BLK;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    return v;
}

static cm_file *attach(cm_cache *cache, uint64_t number)
{
    const cm_file_id id = { .hi = 1, .lo = number };
    cm_validator v = validator();
    cm_file *f = NULL;

    check(cm_file_open(cache, &id, &v, CM_SOLE_WRITER, &f) == 0, "attach");
    if (f == NULL) {
        end(1);
    }
    return f;
}

static unsigned fill(cm_file *f, uint64_t from, uint64_t to, unsigned version)
{
    unsigned stored = 0;

    for (uint64_t b = from; b < to; b++) {
        cm_miss miss;

        content(b, version, want);
        if (cm_read(f, b * BLK, got, BLK, &miss) == 0) {
            stored += cm_fill(f, &miss, want, BLK, 0) == 0;
        }
    }
    return stored;
}

/* How many blocks hit; a wrong byte ends the test. */
static unsigned hits(cm_file *f, uint64_t from, uint64_t to, unsigned version)
{
    unsigned n = 0;

    for (uint64_t b = from; b < to; b++) {
        const int64_t bytes = cm_read(f, b * BLK, got, BLK, NULL);

        content(b, version, want);
        if (bytes < 0 || memcmp(got, want, (size_t)bytes) != 0) {
            print("FAIL wrong bytes in block %llu\n", (unsigned long long)b);
            end(1);
        }
        n += bytes == (int64_t)BLK;
    }
    return n;
}

static int64_t origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    origin_calls++;
    for (size_t done = 0; done < len; done += BLK) {
        content((offset + done) / BLK, 1, (uint8_t *)buf + done);
    }
    return (int64_t)len;
}

static void brackets(cm_file *f)
{
    cm_validator after = validator();
    cm_bracket w;
    cm_sync s;
    cm_miss miss;

    check(cm_write_begin(f, 50 * BLK, 10 * BLK, &w) == 0, "write_begin");
    check(hits(f, 50, 60, 1) == 0, "nothing hits in a bracket");
    check(cm_read(f, 50 * BLK, got, BLK, &miss) == 0 && (miss.flags & CM_MISS_NOFILL) != 0,
          "nothing is stored in a bracket");
    after.taken_at = cm_now();
    check(cm_write_end(f, &w, &after) >= 0, "write_end");
    check(hits(f, 50, 60, 1) == 0, "the old bytes are gone");
    check(hits(f, 0, 50, 1) == 50 && hits(f, 60, 200, 1) == 140, "the others are not");
    /* Without it the next open would drop what was written: it knows of no boots. */
    after.taken_at = cm_now();
    check(cm_sync_begin(f, &s) == 0 && cm_sync_end(f, &s, 1, &after) == 0, "sync");
    check(fill(f, 50, 60, 2) == 10 && hits(f, 50, 60, 2) == 10, "the new ones come in");
}

static void through(cm_file *f)
{
    origin_calls = 0;
    check(cm_read_through(f, 200 * BLK, got, 4 * BLK, origin, NULL) == 4 * (int64_t)BLK,
          "read_through, cold");
    content(203, 1, want);
    check(origin_calls == 1 && memcmp(got + 3 * BLK, want, BLK) == 0, "it asked the origin once");
    check(cm_read_through(f, 200 * BLK, got, 4 * BLK, origin, NULL) == 4 * (int64_t)BLK &&
              origin_calls == 1,
          "read_through, warm");
}

_Noreturn void program(void)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_check_report report = { .struct_size = sizeof report };
    cm_info info = { .struct_size = sizeof info };
    cm_cache *cache = NULL;
    cm_file *f, *unwritten;

    o.memory_durability = CM_DURABILITY_DAX;
    check(cm_create("pool", NULL) == CM_EINVAL && cm_open("pool", NULL, &cache) == CM_ENOTSUP,
          "there are no files");
    check(cm_format_memory(pool, POOL_BYTES, NULL) == 0, "format");
    check(cm_open_memory(pool, POOL_BYTES, &o, &cache) == 0, "open");
    if (cache == NULL) {
        end(1);
    }
    check(cm_get_info(cache, &info) == 0 && info.slots > BLOCKS, "info");
    print("# flush %s, copy %s\n", info.flush, info.copy);
    f = attach(cache, 2);
    check(fill(f, 0, 200, 1) == 200, "fills");
    check(hits(f, 0, 200, 1) == 200, "hits");
    brackets(f);
    through(f);
    unwritten = attach(cache, 3); /* its last change is long ago, so no sync is needed */
    check(fill(unwritten, 0, 20, 1) == 20, "fills of another file");
    check(cm_close(cache) == 0, "close");
    check(cm_open_memory(pool, POOL_BYTES, &o, &cache) == 0, "open again");
    f = attach(cache, 2);
    check(hits(f, 0, 50, 1) + hits(f, 50, 60, 2) + hits(f, 60, 204, 1) == 204, "all of it is warm");
    unwritten = attach(cache, 3);
    check(hits(unwritten, 0, 20, 1) == 20, "so is what never changes");
    check(cm_check(cache, 0, NULL, NULL, &report) == 0 && report.valid == 224, "check");
    check(cm_close(cache) == 0, "close again");
    print("%u passed, %u failed, 0 skipped\n", passed, failed);
    end(failed != 0);
}
