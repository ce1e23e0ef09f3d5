/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sqlite.c - the rival SQLite, if its library was there at build time: the library that programs
 * embed most to keep data in a file.
 *
 * Owns the database, while its row is measured. Its settings make it do as little as it can: the
 * file is mapped, locked once and never synced, and a get moves an open blob handle and makes one
 * copy. A page of 8192 bytes holds one block of 4096. So the database has half as many blocks as
 * the pool, and both sides use the same memory. Pages beyond the part that SQLite maps (usually 2
 * GiB at most) are left out.
 *
 * Who: cmd_bench.c, reads.c, world.c.
 */
#include "tool/bench/bench.h"

#ifdef HAVE_SQLITE
#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>

#define PAGE 8192u
static sqlite3 *db;
static sqlite3_blob *value;
static uint32_t keys, at, *order;

static void must(int rc, const char *what)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        bench_fail(what, sqlite3_errstr(rc));
}

static void run(const char *sql)
{
    must(sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}

const char *bench_sqlite_version(void)
{
    return sqlite3_libversion();
}

/* How many of `wanted` bytes of the file SQLite will map. */
static uint64_t map_most(uint64_t wanted)
{
    sqlite3_stmt *ask;
    char text[64];
    uint64_t most = 0;

    (void)snprintf(text, sizeof(text), "PRAGMA mmap_size = %" PRIu64, wanted);
    must(sqlite3_prepare_v2(db, text, -1, &ask, NULL), text);
    if (sqlite3_step(ask) == SQLITE_ROW)
        most = (uint64_t)sqlite3_column_int64(ask, 0);
    must(sqlite3_finalize(ask), text);
    return most;
}

static void load(const struct bench *b)
{
    sqlite3_stmt *put;

    run("PRAGMA page_size = 8192");
    run("PRAGMA journal_mode = OFF");
    run("PRAGMA synchronous = OFF");
    run("PRAGMA locking_mode = EXCLUSIVE");
    const uint64_t pages = map_most(b->bytes * 2) / PAGE;
    keys = (uint32_t)(b->bytes / BENCH_BLOCK / 2);
    if (keys > pages - pages / 64) /* the pages above the leaves are fewer */
        keys = (uint32_t)(pages - pages / 64);
    if (keys == 0)
        bench_fail("SQLite", "it maps no files");
    run("CREATE TABLE blocks (key INTEGER PRIMARY KEY, value BLOB)");
    run("BEGIN");
    must(sqlite3_prepare_v2(db, "INSERT INTO blocks VALUES (?, ?)", -1, &put, NULL), "INSERT");
    for (uint32_t key = 0; key < keys; key++) {
        must(sqlite3_bind_int64(put, 1, key), "sqlite3_bind_int64");
        must(sqlite3_bind_blob(put, 2, b->data, BENCH_BLOCK, SQLITE_STATIC), "sqlite3_bind_blob");
        must(sqlite3_step(put), "sqlite3_step");
        must(sqlite3_reset(put), "sqlite3_reset");
        if (key % 8192 == 0)
            bench_stop_if_asked();
    }
    must(sqlite3_finalize(put), "sqlite3_finalize");
    run("COMMIT");
    must(sqlite3_blob_open(db, "main", "blocks", "value", 0, 0, &value), "sqlite3_blob_open");
}

static void get(struct bench *b, unsigned n)
{
    while (n--) {
        at = at + 1 < keys ? at + 1 : 0;
        must(sqlite3_blob_reopen(value, order[at]), "sqlite3_blob_reopen");
        must(sqlite3_blob_read(value, b->buffer, BENCH_BLOCK, 0), "sqlite3_blob_read");
    }
}

void bench_sqlite_run(struct bench *b, struct bench_result *r)
{
    static const struct bench_side ours = { .op = bench_hit }, rival = { .op = get };
    const char *path = bench_path(b, "sqlite");

    must(sqlite3_open_v2(path, &db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL),
         "sqlite3_open_v2");
    bench_remove(path);
    load(b);
    order = bench_alloc(keys * sizeof(*order));
    for (uint32_t i = 0; i < keys; i++)
        order[i] = i;
    bench_shuffle(order, keys);
    bench_settle(b, get, keys);
    bench_turns(b, &ours, &rival, true, r);
    must(sqlite3_blob_close(value), "sqlite3_blob_close");
    must(sqlite3_close(db), "sqlite3_close");
    free(order);
}

#else

const char *bench_sqlite_version(void)
{
    return NULL;
}

/* Never called, because of BENCH_NEEDS_SQLITE. */
void bench_sqlite_run(struct bench *b, struct bench_result *r)
{
    (void)b, (void)r;
}

#endif
