/* SPDX-License-Identifier: BSD-2-Clause
 *
 * block-driver.c - a block device driver that caches a slow disk in memory it has: no operating
 * system, no files, no C library.
 *
 * It shows the engine where there is nothing below it. Three things are needed: this driver, a
 * platform (platform_none.c), and seven functions of a C library (environment.c; a kernel has
 * them). The program is linked with -nostdlib: it calls the system to print and to end, and for
 * nothing else. A real driver has its own memory instead of `pool`: of a DAX device, of a CXL card.
 *
 * HOW IT WORKS. A driver gets requests for sectors. submit() is that entry.
 * - A read takes what is cached (cm_read). It says what is missing, as a miss. The disk is read for
 *   that, and only THEN is it offered to the cache (cm_fill), with the miss. If somebody writes the
 *   sectors meanwhile, the library refuses the fill. So no old bytes are stored, without any lock
 * of the driver's own.
 * - A write stands in a bracket: the cache forgets the blocks before the disk has the new ones. It
 *   goes to the disk at once. The cache never has the only copy.
 * - A flush stands in a sync bracket. It tells the library that the writes are on the disk now, and
 *   would survive a power cut.
 *
 * A disk has no name and no times. Its id is a number. Its validator says that all writes come
 * through this driver, so it never changes. A driver of a disk that others may write, when this one
 * is away, counts a generation on the disk instead.
 *
 * Read next: platform_none.c; include/cachemax.h, "Reading" and "Writing: brackets".
 */
#include <cachemax.h>
#include <stdbool.h>
#include <string.h>

#include "environment.h"

enum { SECTOR = 512, SECTORS = 4096, POOL_BYTES = 4 << 20, SHARE = CM_BLOCK_SIZE / SECTOR };

struct request {
    enum { READ, WRITE, FLUSH } what;
    uint64_t sector;
    uint32_t sectors;
    void *data;
};

/* ---- The slow disk, and the memory ---------------------------------------------------------- */

static uint8_t disk[SECTORS * SECTOR], pool[POOL_BYTES] __attribute__((aligned(4096)));
static unsigned disk_reads;

static void disk_read(uint64_t offset, void *to, size_t n)
{
    disk_reads++;
    memcpy(to, disk + offset, n);
}

/* ---- The driver ------------------------------------------------------------------------------ */

static cm_cache *cache;
static cm_file *file;

static int start(bool format)
{
    const cm_file_id id = { .hi = 0, .lo = 1 };
    cm_validator always = CM_VALIDATOR_INIT;
    cm_options options = CM_OPTIONS_INIT;
    int e = format ? cm_format_memory(pool, sizeof(pool), NULL) : 0;

    options.memory_durability = CM_DURABILITY_DAX; /* say it only of memory that is */
    if (e == 0)
        e = cm_open_memory(pool, sizeof(pool), &options, &cache);
    if (e < 0)
        return e;
    cm_validator_set_proof(&always, "disk", 4);
    always.size = sizeof(disk);
    always.changed_ns = CM_CHANGED_LONG_AGO;
    always.taken_at = cm_now();
    return cm_file_open(cache, &id, &always, CM_EXCLUSIVE, &file);
}

static void stop(void)
{
    cm_file_close(file);
    cm_close(cache);
}

/* A read, block by block. */
static void read_blocks(const struct request *r)
{
    static uint8_t block[CM_BLOCK_SIZE];
    uint8_t *to = r->data;
    const uint64_t offset = r->sector * SECTOR, end = offset + (uint64_t)r->sectors * SECTOR;

    for (uint64_t at = offset, next; at < end; at = next) {
        const uint64_t begin = at / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
        cm_miss miss = CM_MISS_INIT;

        next = begin + CM_BLOCK_SIZE < end ? begin + CM_BLOCK_SIZE : end;
        if (cm_read(file, at, to + (at - offset), next - at, &miss) == (int64_t)(next - at))
            continue; /* it is cached */
        disk_read(begin, block, sizeof(block));
        memcpy(to + (at - offset), block + (at - begin), next - at);
        if (miss.len > 0)
            (void)cm_fill(file, &miss, block, sizeof(block), 0); /* no cache is no error */
    }
}

/* 0, or -1: the request is not done. */
static int submit(const struct request *r)
{
    const uint64_t offset = r->sector * SECTOR, len = (uint64_t)r->sectors * SECTOR;
    cm_bracket bracket;
    cm_sync sync;

    switch (r->what) {
    case READ:
        read_blocks(r);
        return 0;
    case WRITE:
        if (cm_write_begin(file, offset, len, &bracket) < 0)
            return -1; /* do not write: the old bytes could come back */
        memcpy(disk + offset, r->data, len);
        cm_write_end(file, &bracket, NULL);
        return 0;
    default:
        if (cm_sync_begin(file, &sync) == 0)
            cm_sync_end(file, &sync, 1, NULL); /* this disk has no cache of its own to be flushed */
        return 0;
    }
}

/* ---- A program that uses it ------------------------------------------------------------------ */

static uint8_t data[SECTORS * SECTOR];

static void expect(bool good, const char *what)
{
    print("%s %s\n", good ? "ok" : "FAIL", what);
    if (!good)
        end(1);
}

/* Reads all of the disk in requests of odd lengths. How often the disk itself was asked. */
static unsigned read_all(void)
{
    const unsigned before = disk_reads;

    memset(data, 0, sizeof(data));
    for (uint64_t s = 0, n; s < SECTORS; s += n) {
        n = 1 + s * 7 % 23;
        n = n < SECTORS - s ? n : SECTORS - s;
        const struct request r = { READ, s, (uint32_t)n, data + s * SECTOR };
        expect(submit(&r) == 0, "read");
    }
    expect(memcmp(data, disk, sizeof(disk)) == 0, "all bytes are right");
    return disk_reads - before;
}

_Noreturn void program(void)
{
    static uint8_t new_bytes[3 * SECTOR];
    const struct request write = { WRITE, 1001, 3, new_bytes }, flush = { .what = FLUSH };

    for (size_t i = 0; i < sizeof(disk); i++)
        disk[i] = (uint8_t)(i * 7 ^ i >> 9);
    memset(new_bytes, 0xAB, sizeof(new_bytes));
    expect(start(true) == 0, "starts with an empty pool");
    expect(read_all() == SECTORS / SHARE, "cold: each block is read once");
    expect(read_all() == 0, "warm: the disk is not asked");
    expect(submit(&write) == 0 && submit(&flush) == 0, "write and flush");
    expect(read_all() == 1, "what was written is read again");
    stop();
    expect(start(false) == 0, "starts with the pool as it was");
    expect(read_all() == 0, "warm after a restart");
    stop();
    end(0);
}
