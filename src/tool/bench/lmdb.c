/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lmdb.c - the rival LMDB, if its library was there at build time: the fastest embedded store that
 * survives a crash of the process.
 *
 * Owns the database. Its settings make it do as little as it can: a writable map, no sync, integer
 * keys, one read transaction that stays open over all gets. A put is a transaction of its own,
 * because a fill is also whole and visible when it returns. A value of 4096 bytes takes two pages
 * of the file (it has a header). So the database has half as many blocks as the pool, and both
 * sides use the same memory.
 *
 * Who: bench/.
 */
#include "tool/bench/bench.h"

#ifdef HAVE_LMDB
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

struct bench_lmdb {
    const char *path;
    char lock[1100];
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *reader;
    uint32_t keys, at;
    uint32_t *order;
};

static void must(int rc, const char *what)
{
    if (rc)
        bench_fail(what, mdb_strerror(rc));
}

const char *bench_lmdb_version(void)
{
    static char text[32];
    int major, minor, patch;

    (void)mdb_version(&major, &minor, &patch);
    (void)snprintf(text, sizeof(text), "%d.%d.%d", major, minor, patch);
    return text;
}

static void load(struct bench *b, struct bench_lmdb *s)
{
    MDB_txn *t;

    must(mdb_txn_begin(s->env, NULL, 0, &t), "mdb_txn_begin");
    must(mdb_dbi_open(t, NULL, MDB_INTEGERKEY, &s->dbi), "mdb_dbi_open");
    for (size_t key = 0; key < s->keys; key++) {
        MDB_val k = { sizeof(key), &key }, v = { BENCH_BLOCK, b->data };
        must(mdb_put(t, s->dbi, &k, &v, MDB_APPEND), "mdb_put");
        if (key % 8192 == 0)
            bench_stop_if_asked();
    }
    must(mdb_txn_commit(t), "mdb_txn_commit");
    must(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader), "mdb_txn_begin");
}

bool bench_lmdb_make(struct bench *b, char why_not[96])
{
    struct bench_lmdb *s = bench_alloc(sizeof(*s));

    memset(s, 0, sizeof(*s));
    s->path = bench_path(b, "lmdb");
    (void)snprintf(s->lock, sizeof(s->lock), "%s-lock", s->path);
    s->keys = (uint32_t)(b->bytes / BENCH_BLOCK / 2);
    must(mdb_env_create(&s->env), "mdb_env_create");
    must(mdb_env_set_mapsize(s->env, (size_t)b->bytes * 2), "mdb_env_set_mapsize");
    int rc =
        mdb_env_open(s->env, s->path, MDB_NOSUBDIR | MDB_WRITEMAP | MDB_NOSYNC | MDB_NOTLS, 0600);
    bench_remove(s->path);
    (void)os_remove_file(s->lock);
    if (rc) {
        (void)snprintf(why_not, 96, "LMDB cannot open a database there: %.50s", mdb_strerror(rc));
        mdb_env_close(s->env);
        free(s);
        return false;
    }
    load(b, s);
    s->order = bench_alloc(s->keys * sizeof(*s->order));
    for (uint32_t i = 0; i < s->keys; i++)
        s->order[i] = i;
    bench_shuffle(s->order, s->keys);
    b->lmdb = s;
    bench_settle(b, bench_lmdb_get, s->keys);
    return true;
}

void bench_lmdb_drop(struct bench *b)
{
    struct bench_lmdb *s = b->lmdb;

    if (!s)
        return;
    mdb_txn_abort(s->reader);
    mdb_env_close(s->env);
    free(s->order);
    free(s);
    b->lmdb = NULL;
}

/* It goes around as many keys as the others have blocks to go around, if there are so many. */
static size_t next_key(const struct bench *b, struct bench_lmdb *s)
{
    const uint32_t span = b->span < s->keys ? b->span : s->keys;

    s->at = s->at + 1 < span ? s->at + 1 : 0;
    return s->order[s->at];
}

void bench_lmdb_get(struct bench *b, unsigned n)
{
    struct bench_lmdb *s = b->lmdb;

    while (n--) {
        size_t key = next_key(b, s);
        MDB_val k = { sizeof(key), &key }, v;
        must(mdb_get(s->reader, s->dbi, &k, &v), "mdb_get");
        (void)bench_copy(b->buffer, v.mv_data, BENCH_BLOCK);
    }
}

void bench_lmdb_put(struct bench *b, unsigned n)
{
    struct bench_lmdb *s = b->lmdb;

    mdb_txn_reset(s->reader); /* else no page could be used again */
    while (n--) {
        size_t key = next_key(b, s);
        MDB_val k = { sizeof(key), &key }, v = { BENCH_BLOCK, b->data };
        MDB_txn *t;
        must(mdb_txn_begin(s->env, NULL, 0, &t), "mdb_txn_begin");
        must(mdb_put(t, s->dbi, &k, &v, 0), "mdb_put");
        must(mdb_txn_commit(t), "mdb_txn_commit");
    }
    must(mdb_txn_renew(s->reader), "mdb_txn_renew");
}

#else

const char *bench_lmdb_version(void)
{
    return NULL;
}

bool bench_lmdb_make(struct bench *b, char why_not[96])
{
    (void)b, (void)why_not;
    return false;
}

void bench_lmdb_drop(struct bench *b)
{
    (void)b;
}

/* Never called, because of BENCH_NEEDS_LMDB. */
void bench_lmdb_get(struct bench *b, unsigned n)
{
    (void)b, (void)n;
}

void bench_lmdb_put(struct bench *b, unsigned n)
{
    (void)b, (void)n;
}

#endif
