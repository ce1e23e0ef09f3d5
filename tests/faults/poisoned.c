/* SPDX-License-Identifier: BSD-2-Clause
 *
 * poisoned.c - pages of every structure of a pool cannot be used for moments, beside threads.
 *
 *   poisoned [--rounds N] [--seed N] [--sealed N]
 *
 * Each round is a pool in memory of its own. Readers, writers and a thread that attaches, syncs,
 * lists and checks work on it. Three threads take pages away: of the superblocks, the counters,
 * the file table, the names, the index, the headers, the payload and what the policy keeps. A page
 * cannot be read, or only not be written, for up to some milliseconds, and is as before then.
 * --sealed: the pools are sealed and encrypted, and one in N calls of the callbacks fails, as those
 * of a program whose key is kept by a device or another process do. Pages are taken away in half of
 * the rounds then.
 *
 * A block of the origin holds one number, its version. A read that began when the origin had
 * version v returns a whole block of v or later, or fails over to the origin. A bracket may be
 * refused; then nothing is written. In the end all pages are back. The pool is closed, or says that
 * it cannot be, and another session reads only what the origin has.
 *
 * Owns: the pool and the origin of a round.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../later.h"
#include "../model/origin.h"
#include "../os.h"
#include "../toy_seal.h"
#include "media/memo.h"
#include "state/cache_state.h"

#define FILES 3
#define BLOCKS 40
#define BLOCK CM_BLOCK_SIZE
#define WORDS (BLOCK / 8)
#define RUN_MAX 6
#define ALL 9u /* threads; the poisoners are the last of them */
#define POISONERS 3u

static struct {
    cm_cache *cache;
    cm_file *file[FILES];
    cm_file_id id[FILES];
    pthread_mutex_t lock[FILES][BLOCKS];   /* held to read or write a block whole */
    uint64_t version[FILES][BLOCKS];       /* atomic */
    uint64_t stamp[FILES];                 /* atomic */
    uint32_t stop;                         /* atomic */
    uint64_t hits, writes, refused, taken; /* atomic */
    uint64_t one_in;                       /* calls of the seal fails; 0: none; atomic */
    uint64_t calls, failed;                /* atomic */
} t;

struct worker {
    pthread_t thread;
    struct rng rng;
    uint8_t *buf;
};

static void die(const char *what, int f, uint64_t b, uint64_t got, uint64_t low, uint64_t high)
{
    fprintf(stderr, "FAILED: %s: file %d block %llu: got %llx, allowed %llx..%llx\n", what, f,
            (unsigned long long)b, (unsigned long long)got, (unsigned long long)low,
            (unsigned long long)high);
    abort();
}

/* The call may return these codes only. */
static bool allowed(int64_t e, const char *what, int a, int b)
{
    if (e >= 0)
        return true;
    if (e != a && e != b && (e != CM_ESEAL || at_load_relaxed(&t.failed) == 0)) {
        fprintf(stderr, "FAILED: %s: %s\n", what, cm_errname((int)e));
        abort();
    }
    return false;
}

static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    const int f = *(const int *)ctx;
    uint64_t *w = buf;
    for (uint64_t b = offset / BLOCK; b < (offset + len) / BLOCK; b++, w += WORDS) {
        if (b >= BLOCKS)
            return (int64_t)(b * BLOCK - offset);
        pthread_mutex_lock(&t.lock[f][b]);
        const uint64_t v = at_load_relaxed(&t.version[f][b]);
        pthread_mutex_unlock(&t.lock[f][b]);
        for (unsigned i = 0; i < WORDS; i++)
            w[i] = v;
    }
    return (int64_t)len;
}

static void check(const char *what, int f, uint64_t block, const uint8_t *data, int64_t bytes,
                  const uint64_t *low)
{
    const uint64_t *const word = (const uint64_t *)(const void *)data;
    for (int64_t k = 0; k < bytes / 8; k++) {
        const uint64_t i = (uint64_t)k / WORDS, b = block + i;
        const uint64_t high = at_load_seq_cst(&t.version[f][b]);
        if (word[k] != word[i * WORDS])
            die("torn block", f, b, word[k], word[i * WORDS], high);
        if (word[k] < low[i] || word[k] > high)
            die(what, f, b, word[k], low[i], high);
    }
}

/* ---- A seal that fails ----------------------------------------------------------------------- */

static struct toy_key key = { .key = 9 };

static bool fails(void)
{
    const uint64_t one_in = at_load_relaxed(&t.one_in);
    if (one_in == 0 || toy_mix(at_add_relaxed(&t.calls, 1)) % one_in != 0)
        return false;
    at_add_relaxed(&t.failed, 1);
    return true;
}

static int mac(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *data, size_t len,
               uint8_t tag[CM_SEAL_TAG])
{
    if (fails())
        return -1;
    return toy_mac(ctx, head, data, len, tag);
}

static int encrypt_or_fail(void *ctx, const uint8_t tweak[16], void *block)
{
    if (fails())
        return -1;
    return toy_encrypt(ctx, tweak, block);
}

static const cm_seal seal = { .struct_size = sizeof(seal),
                              .ctx = &key,
                              .mac = mac,
                              .encrypt = encrypt_or_fail,
                              .decrypt = encrypt_or_fail };

/* ---- Threads --------------------------------------------------------------------------------- */

static void *reader(void *arg)
{
    struct worker *const w = arg;
    while (!at_load_acquire(&t.stop)) {
        uint64_t low[RUN_MAX];
        cm_miss miss = CM_MISS_INIT;
        int f = (int)rng_below(&w->rng, FILES);
        const uint64_t b = rng_below(&w->rng, BLOCKS - RUN_MAX);
        const uint64_t n = 1 + rng_below(&w->rng, RUN_MAX);
        for (uint64_t i = 0; i < n; i++)
            low[i] = at_load_seq_cst(&t.version[f][b + i]);
        if (rng_below(&w->rng, 2)) {
            const int64_t got =
                cm_read_through(t.file[f], b * BLOCK, w->buf, n * BLOCK, origin_read, &f);
            if (got != (int64_t)(n * BLOCK))
                die("a read fails", f, b, (uint64_t)got, 0, 0);
            check("cm_read_through", f, b, w->buf, got, low);
            continue;
        }
        const int64_t got = cm_read(t.file[f], b * BLOCK, w->buf, n * BLOCK, &miss);
        (void)allowed(got, "cm_read", 0, 0);
        check("cm_read", f, b, w->buf, got, low);
        at_add_relaxed(&t.hits, got > 0);
        if (got == (int64_t)(n * BLOCK) || miss.len == 0)
            continue;
        const int64_t r = origin_read(&f, miss.offset, w->buf, miss.len);
        (void)allowed(cm_fill(t.file[f], &miss, w->buf, (size_t)r, 0), "cm_fill", 0, 0);
    }
    return NULL;
}

static cm_validator validator_now(int f)
{
    const uint64_t taken_at = cm_now();
    cm_validator v = validator_of_version(BLOCKS * BLOCK, at_load_seq_cst(&t.stamp[f]));
    v.taken_at = taken_at;
    return v;
}

static void *writer(void *arg)
{
    struct worker *const w = arg;
    while (!at_load_acquire(&t.stop)) {
        cm_bracket k;
        const int f = (int)rng_below(&w->rng, FILES);
        const uint64_t b = rng_below(&w->rng, BLOCKS - RUN_MAX);
        const uint64_t n = 1 + rng_below(&w->rng, RUN_MAX);
        const int e = cm_write_begin(t.file[f], b * BLOCK, n * BLOCK, &k);
        if (!allowed(e, "cm_write_begin", CM_EFORGET, CM_EBRACKET)) {
            at_add_relaxed(&t.refused, 1);
            usleep(100);
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            pthread_mutex_lock(&t.lock[f][b + i]);
            at_add_relaxed(&t.version[f][b + i], 1);
            pthread_mutex_unlock(&t.lock[f][b + i]);
        }
        at_add_relaxed(&t.stamp[f], 1);
        at_add_relaxed(&t.writes, 1);
        const cm_validator v = validator_now(f);
        (void)allowed(cm_write_end(t.file[f], &k, rng_below(&w->rng, 2) ? &v : NULL),
                      "cm_write_end", CM_EBRACKET, 0);
    }
    return NULL;
}

static void *disturber(void *arg)
{
    struct worker *const w = arg;
    cm_sync s;
    while (!at_load_acquire(&t.stop)) {
        const int f = (int)rng_below(&w->rng, FILES);
        const cm_validator v = validator_now(f);
        cm_check_report r = CM_CHECK_REPORT_INIT;
        cm_stats_data stats = CM_STATS_INIT;
        cm_file_iter *it = NULL;
        cm_file *again = NULL;
        switch (rng_below(&w->rng, 7)) {
        case 0:
            (void)allowed(cm_invalidate(t.file[f], 3 * BLOCK, 5 * BLOCK), "cm_invalidate",
                          CM_EFORGET, 0);
            break;
        case 1:
            if (cm_sync_begin(t.file[f], &s) == 0)
                (void)allowed(cm_sync_end(t.file[f], &s, 1, &v), "cm_sync_end", CM_EFORGET, 0);
            break;
        case 2:
            if (allowed(cm_file_open(t.cache, &t.id[f], &v, CM_SOLE_WRITER, &again), "cm_file_open",
                        CM_EFORGET, 0))
                (void)allowed(cm_file_close(again), "cm_file_close", 0, 0);
            break;
        case 3:
            if (allowed(cm_files_begin(t.cache, CM_FILES_COUNT, &it), "cm_files_begin", 0, 0))
                cm_files_end(it);
            break;
        case 4:
            (void)allowed(cm_check(t.cache, CM_CHECK_REPAIR, NULL, NULL, &r), "cm_check", 0, 0);
            break;
        case 5:
            (void)allowed(cm_file_set_name(t.file[f], "a name"), "cm_file_set_name", 0, 0);
            break;
        default:
            (void)allowed(cm_stats(t.cache, &stats), "cm_stats", CM_EIO, CM_EVERSION);
        }
        usleep(50);
    }
    return NULL;
}

/* ---- Pages that go and come back ------------------------------------------------------------- */

static uint64_t pages_in(struct rng *rng, uint64_t from, uint64_t to)
{
    return from / BLOCK * BLOCK + rng_below(rng, (to - from + BLOCK - 1) / BLOCK) * BLOCK;
}

/* A page of a structure. */
static uint64_t page_of(struct rng *rng, const struct cm_geometry *g)
{
    switch (rng_below(rng, 12)) {
    case 0:
        return 0;
    case 1:
        return pages_in(rng, CM_STATS_OFFSET, CM_STATS_OFFSET + CM_STATS_BYTES);
    case 2:
        return pages_in(rng, g->name_offset, g->name_offset + BLOCK);
    case 3:
    case 4:
        return pages_in(rng, g->record_offset, g->record_offset + BLOCK);
    case 5:
        return pages_in(rng, g->memo_offset, g->memo_offset + BLOCK);
    case 6:
    case 7:
    case 8:
        return pages_in(rng, g->index_offset, g->header_offset);
    case 9:
    case 10:
        return pages_in(rng, g->header_offset, g->header_offset + BLOCK);
    default:
        return pages_in(rng, g->slot_offset, g->slot_offset + g->slots * BLOCK);
    }
}

static void *poisoner(void *arg)
{
    struct worker *const w = arg;
    while (!at_load_acquire(&t.stop)) {
        const uint64_t at = page_of(&w->rng, &t.cache->media.geo);
        uint8_t *const page = t.cache->media.base + at;
        /* Both superblocks: then nothing can be forgotten. */
        const uint64_t n = at == 0 ? 2 * CM_SUPER_STRIDE : BLOCK;
        os_protect(page, n, rng_below(&w->rng, 3) ? OS_NOTHING : OS_READ);
        usleep((unsigned)rng_below(&w->rng, 100));
        os_protect(page, n, OS_WRITE);
        at_add_relaxed(&t.taken, 1);
        usleep((unsigned)rng_below(&w->rng, 100));
    }
    return NULL;
}

/* ---- Rounds ---------------------------------------------------------------------------------- */

static void open_files(void)
{
    for (int f = 0; f < FILES; f++) {
        for (int i = 0; i < 100 && !t.file[f]; i++) {
            const cm_validator v = validator_now(f);
            (void)allowed(cm_file_open(t.cache, &t.id[f], &v, CM_SOLE_WRITER, &t.file[f]),
                          "cm_file_open", CM_EFORGET, 0);
        }
        if (!t.file[f])
            die("a file is not attached", f, 0, 0, 0, 0);
    }
}

/* All that hits now is what the origin has. */
static void read_all(const char *what, uint8_t *buf)
{
    uint64_t low[BLOCKS];
    for (int f = 0; f < FILES; f++)
        for (uint64_t b = 0; b < BLOCKS; b++) {
            low[0] = t.version[f][b];
            check(what, f, b, buf, cm_read(t.file[f], b * BLOCK, buf, BLOCK, NULL), low);
        }
}

static void round_of(uint64_t seed, void *pool, uint64_t bytes, uint64_t sealed, struct worker *w)
{
    static void *(*const mains[ALL])(void *) = { reader,    reader,   reader,   writer,  writer,
                                                 disturber, poisoner, poisoner, poisoner };
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    const unsigned all = sealed && seed % 2 ? ALL - POISONERS : ALL;
    create.flags = CM_CREATE_NAMES;
    create.seal = o.seal = sealed ? &seal : NULL;
    o.verify = seed % 2 ? CM_VERIFY_FIRST_HIT : CM_VERIFY_ALWAYS;
    o.memory_durability = seed % 3 ? CM_DURABILITY_VOLATILE : CM_DURABILITY_DAX;
    o.probation_bytes = seed % 4 ? CM_PROBATION_NONE : 4 * BLOCK;
    memset(t.file, 0, sizeof(t.file));
    (void)allowed(cm_format_memory(pool, bytes, &create), "cm_format_memory", 0, 0);
    (void)allowed(cm_open_memory(pool, bytes, &o, &t.cache), "cm_open_memory", 0, 0);
    open_files();
    at_store_relaxed(&t.one_in, sealed);
    at_store_release(&t.stop, 0u);
    for (unsigned i = 0; i < all; i++) {
        w[i].rng.s = seed * 16 + i;
        if (pthread_create(&w[i].thread, NULL, mains[i], &w[i]) != 0)
            abort();
    }
    usleep(30000);
    at_store_release(&t.stop, 1u);
    for (unsigned i = 0; i < all; i++)
        (void)pthread_join(w[i].thread, NULL);
    read_all("a hit at the end", w[0].buf);
    for (int f = 0; f < FILES; f++)
        (void)allowed(cm_file_close(t.file[f]), "cm_file_close", 0, 0);
    (void)allowed(cm_close(t.cache), "cm_close", CM_EIO, 0);
    at_store_relaxed(&t.one_in, 0);
    memset(t.file, 0, sizeof(t.file));
    t.cache = NULL;
    if (!allowed(cm_open_memory(pool, bytes, &o, &t.cache), "cm_open_memory again", CM_EDAMAGED,
                 CM_ENOTPOOL))
        return;
    open_files();
    read_all("a hit of the next session", w[0].buf);
    for (int f = 0; f < FILES; f++)
        (void)allowed(cm_file_close(t.file[f]), "cm_file_close", 0, 0);
    (void)allowed(cm_close(t.cache), "cm_close", 0, 0);
}

int main(int argc, char **argv)
{
    static struct worker w[ALL];
    uint64_t rounds = 100, seed = 1, sealed = 0;
    const uint64_t bytes = cm_format_size_min(CM_INCOMPAT_NAMES) + 64 * BLOCK;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--sealed") == 0)
            sealed = strtoull(argv[i + 1], NULL, 10);
    }
    if (!cm_guard_available()) {
        printf("skip poisoned: no fault guard in this build\n");
        return 77;
    }
    void *const pool = cm_plat_alloc(bytes);
    for (unsigned i = 0; i < ALL; i++)
        w[i].buf = os_aligned(4096, RUN_MAX * BLOCK);
    for (int f = 0; f < FILES; f++) {
        t.id[f] = (cm_file_id){ 1, (uint64_t)f + 1 };
        for (int b = 0; b < BLOCKS; b++)
            (void)pthread_mutex_init(&t.lock[f][b], NULL);
    }
    for (uint64_t i = 0; i < rounds; i++)
        round_of(seed + i, pool, bytes, sealed, w);
    printf("poisoned: %llu rounds, %llu pages taken, %llu hits, %llu writes, %llu refused\n",
           (unsigned long long)rounds, (unsigned long long)t.taken, (unsigned long long)t.hits,
           (unsigned long long)t.writes, (unsigned long long)t.refused);
    if (sealed)
        printf("poisoned: %llu of %llu calls of the seal failed\n", (unsigned long long)t.failed,
               (unsigned long long)t.calls);
    return t.taken == 0 || t.hits == 0 || t.writes == 0 || (sealed && t.failed == 0);
}
