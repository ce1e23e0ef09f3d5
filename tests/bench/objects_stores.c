/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects_stores.c - the stores of objects-bench: cachemax, LMDB, RocksDB, memcached.
 *
 * Each is set up as a cache: what is lost in a crash of the system can be made again. A put is
 * whole and visible when it returns, and a get copies the value.
 */
#include <cachemax_objects.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "objects_bench.h"

/* ---- cachemax -------------------------------------------------------------------------------- */

static cm_cache *cache;
static cm_objects *objects;

static void say(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level <= CM_LOG_WARNING)
        fprintf(stderr, "objects-bench: %s\n", text);
}

static void cachemax_open(const char *dir, struct shared *s)
{
    char pool[600];
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    cm_objects_options expected = CM_OBJECTS_OPTIONS_INIT;
    path_in(pool, sizeof(pool), dir, "pool");
    /* Half a block of each large value is not used, and a third of the buckets. */
    create.size = (s->bytes * 2 + s->objects * 256) / 4096 * 4096 + (16 << 20);
    create.log = options.log = say;
    int e = cm_create(pool, &create);
    if (e == 0 || e == CM_EEXIST)
        e = cm_open(pool, &options, &cache);
    if (e < 0)
        fail(pool, cm_strerror(e));
    expected.objects = s->objects;
    expected.object_bytes = 330; /* of these objects in a bucket: 280; their lengths differ much */
    e = cm_objects_open(cache, "bench", &expected, &objects);
    if (e < 0)
        fail("cm_objects_open", cm_strerror(e));
}

static bool cachemax_put(const void *key, size_t key_len, const void *value, size_t len)
{
    return cm_objects_put(objects, key, key_len, value, len, 0) == 0;
}

static int64_t cachemax_get(const void *key, size_t key_len, void *buf)
{
    return cm_objects_get(objects, key, key_len, buf, LONGEST, NULL);
}

static void cachemax_close(void)
{
    int e = cm_objects_close(objects);
    if (e == 0)
        e = cm_close(cache);
    if (e)
        fail("close", cm_strerror(e));
}

struct store store_cachemax = { .name = "cachemax",
                                .what = "a container of objects in a pool",
                                .open = cachemax_open,
                                .put = cachemax_put,
                                .get = cachemax_get,
                                .close = cachemax_close };

/* ---- LMDB ------------------------------------------------------------------------------------ */

#ifdef HAVE_LMDB
#include <lmdb.h>

static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *reader; /* stays open over all gets: as little work as it can have */
static unsigned lmdb_flags;

static void lmdb_must(int e, const char *what)
{
    if (e)
        fail(what, mdb_strerror(e));
}

static void lmdb_open_with(const char *dir, struct shared *s, unsigned flags)
{
    char path[600];
    MDB_txn *t;
    lmdb_flags = flags;
    path_in(path, sizeof(path), dir, flags ? "lmdb" : "lmdb-sync");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        fail(path, strerror(errno));
    lmdb_must(mdb_env_create(&env), "mdb_env_create");
    lmdb_must(mdb_env_set_mapsize(env, s->bytes * 6 + (64 << 20)), "mdb_env_set_mapsize");
    lmdb_must(mdb_env_open(env, path, flags, 0600), path);
    lmdb_must(mdb_txn_begin(env, NULL, 0, &t), "mdb_txn_begin");
    lmdb_must(mdb_dbi_open(t, NULL, MDB_CREATE, &dbi), "mdb_dbi_open");
    lmdb_must(mdb_txn_commit(t), "mdb_txn_commit");
    reader = NULL;
}

static void lmdb_open(const char *dir, struct shared *s)
{
    lmdb_open_with(dir, s, MDB_WRITEMAP | MDB_NOSYNC);
}

static void lmdb_sync_open(const char *dir, struct shared *s)
{
    lmdb_open_with(dir, s, 0);
}

static bool lmdb_put(const void *key, size_t key_len, const void *value, size_t len)
{
    MDB_txn *t;
    MDB_val k = { key_len, (void *)(uintptr_t)key }, v = { len, (void *)(uintptr_t)value };
    if (reader) { /* an old reader would keep freed pages from being used again */
        mdb_txn_abort(reader);
        reader = NULL;
    }
    return mdb_txn_begin(env, NULL, 0, &t) == 0 && mdb_put(t, dbi, &k, &v, 0) == 0 &&
           mdb_txn_commit(t) == 0;
}

static int64_t lmdb_get(const void *key, size_t key_len, void *buf)
{
    MDB_val k = { key_len, (void *)(uintptr_t)key }, v;
    if (!reader)
        lmdb_must(mdb_txn_begin(env, NULL, MDB_RDONLY, &reader), "mdb_txn_begin");
    if (mdb_get(reader, dbi, &k, &v) != 0 || v.mv_size > LONGEST)
        return -1;
    memcpy(buf, v.mv_data, v.mv_size);
    return (int64_t)v.mv_size;
}

static void lmdb_close(void)
{
    if (reader)
        mdb_txn_abort(reader);
    mdb_env_close(env);
}
#define LMDB_NEEDS NULL
#else
#define LMDB_NEEDS "liblmdb-dev was not there at build time"
#define lmdb_open NULL
#define lmdb_sync_open NULL
#define lmdb_put NULL
#define lmdb_get NULL
#define lmdb_close NULL
#endif

struct store store_lmdb = { .name = "LMDB",
                            .what = "MDB_WRITEMAP | MDB_NOSYNC, a transaction for each put",
                            .needs = LMDB_NEEDS,
                            .open = lmdb_open,
                            .put = lmdb_put,
                            .get = lmdb_get,
                            .close = lmdb_close };
struct store store_lmdb_sync = { .name = "LMDB, sync",
                                 .what = "the default: each put waits for the volume",
                                 .needs = LMDB_NEEDS,
                                 .open = lmdb_sync_open,
                                 .put = lmdb_put,
                                 .get = lmdb_get,
                                 .close = lmdb_close,
                                 .slow_puts = true };

/* ---- RocksDB --------------------------------------------------------------------------------- */

#ifdef HAVE_ROCKSDB
#include <rocksdb/c.h>

static rocksdb_t *rocks;
static rocksdb_readoptions_t *rocks_read;
static rocksdb_writeoptions_t *rocks_write;

static void rocksdb_open_(const char *dir, struct shared *s)
{
    char path[600], *e = NULL;
    path_in(path, sizeof(path), dir, "rocksdb");
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    /* Half of the data, and a Bloom filter. The page cache has all of it, too. */
    rocksdb_block_based_options_set_block_cache(t, rocksdb_cache_create_lru(s->bytes / 2));
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(o, t);
    rocks = rocksdb_open(o, path, &e);
    if (e)
        fail(path, e);
    rocks_read = rocksdb_readoptions_create();
    rocks_write = rocksdb_writeoptions_create(); /* with a log, which is not synced */
}

static bool rocksdb_put_(const void *key, size_t key_len, const void *value, size_t len)
{
    char *e = NULL;
    rocksdb_put(rocks, rocks_write, key, key_len, value, len, &e);
    return e == NULL;
}

static int64_t rocksdb_get_(const void *key, size_t key_len, void *buf)
{
    char *e = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(rocks, rocks_read, key, key_len, &e);
    size_t len;
    if (e || !slice)
        return -1;
    const char *p = rocksdb_pinnableslice_value(slice, &len);
    if (len <= LONGEST)
        memcpy(buf, p, len);
    rocksdb_pinnableslice_destroy(slice);
    return len <= LONGEST ? (int64_t)len : -1;
}

static void rocksdb_close_(void)
{
    rocksdb_close(rocks);
}
#define ROCKSDB_NEEDS NULL
#else
#define ROCKSDB_NEEDS "librocksdb-dev was not there at build time"
#define rocksdb_open_ NULL
#define rocksdb_put_ NULL
#define rocksdb_get_ NULL
#define rocksdb_close_ NULL
#endif

struct store store_rocksdb = { .name = "RocksDB",
                               .what = "no compression, Bloom filter, a log without sync",
                               .needs = ROCKSDB_NEEDS,
                               .open = rocksdb_open_,
                               .put = rocksdb_put_,
                               .get = rocksdb_get_,
                               .close = rocksdb_close_ };

/* ---- memcached ------------------------------------------------------------------------------- */

static int mc = -1;
static struct shared *mc_shared;
static char mc_in[LONGEST + 4096];

static void start_server(const char *dir, struct shared *s, const char *socket_path)
{
    char memory[600], megabytes[32];
    path_in(memory, sizeof(memory), dir, "memcached");
    snprintf(megabytes, sizeof(megabytes), "%llu",
             (unsigned long long)((s->bytes * 2 + s->objects * 128) >> 20) + 64);
    const pid_t pid = fork();
    if (pid > 0)
        s->server = pid;
    if (pid < 0)
        fail("memcached", "no process");
    if (pid == 0) {
        execlp("memcached", "memcached", "-u", "root", "-s", socket_path, "-m", megabytes, "-e",
               memory, (char *)NULL);
        _exit(127);
    }
}

static void memcached_open(const char *dir, struct shared *s)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    path_in(a.sun_path, sizeof(a.sun_path), dir, "memcached.socket");
    mc_shared = s;
    signal(SIGCHLD, SIG_IGN); /* the server is reaped at once */
    unlink(a.sun_path);
    start_server(dir, s, a.sun_path);
    mc = socket(AF_UNIX, SOCK_STREAM, 0);
    for (unsigned i = 0; i < 60000; i++, usleep(1000))
        if (connect(mc, (struct sockaddr *)&a, sizeof(a)) == 0)
            return;
    fail("memcached", "it does not start");
}

static bool mc_send(const void *p, size_t n)
{
    for (ssize_t done; n > 0; p = (const char *)p + done, n -= (size_t)done)
        if ((done = write(mc, p, n)) <= 0)
            return false;
    return true;
}

/* Receives until the answer ends with `end`. Returns its length. */
static size_t mc_receive(const char *end)
{
    size_t have = 0;
    const size_t n = strlen(end);
    for (;;) {
        const ssize_t got = read(mc, mc_in + have, sizeof(mc_in) - have);
        if (got <= 0)
            fail("memcached", "it has closed the connection");
        have += (size_t)got;
        if (have >= n && memcmp(mc_in + have - n, end, n) == 0)
            return have;
    }
}

static bool memcached_put(const void *key, size_t key_len, const void *value, size_t len)
{
    static char out[LONGEST + 400];
    const int n = snprintf(out, 400, "set %.*s 0 0 %zu\r\n", (int)key_len, (const char *)key, len);
    memcpy(out + n, value, len);
    memcpy(out + (size_t)n + len, "\r\n", 2);
    if (!mc_send(out, (size_t)n + len + 2))
        return false;
    const size_t got = mc_receive("\r\n");
    return got == 8 && memcmp(mc_in, "STORED\r\n", 8) == 0;
}

static int64_t memcached_get(const void *key, size_t key_len, void *buf)
{
    char out[400];
    const int n = snprintf(out, sizeof(out), "get %.*s\r\n", (int)key_len, (const char *)key);
    if (!mc_send(out, (size_t)n))
        return -1;
    const size_t got = mc_receive("END\r\n");
    const char *line = memchr(mc_in, '\n', got);
    if (memcmp(mc_in, "VALUE ", 6) != 0 || !line)
        return -1;
    const size_t head = (size_t)(line + 1 - mc_in), len = got - head - 7;
    if (got < head + 7 || len > LONGEST)
        return -1;
    memcpy(buf, mc_in + head, len);
    return (int64_t)len;
}

/* SIGUSR1: it keeps what it has, in the file and a second one. */
static void memcached_close(void)
{
    close(mc);
    kill(mc_shared->server, SIGUSR1);
    while (kill(mc_shared->server, 0) == 0)
        usleep(1000);
    mc_shared->server = 0;
}

struct store store_memcached = { .name = "memcached",
                                 .what = "memcached -e, through a Unix socket",
                                 .open = memcached_open,
                                 .put = memcached_put,
                                 .get = memcached_get,
                                 .close = memcached_close };
