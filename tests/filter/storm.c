/* SPDX-License-Identifier: BSD-2-Clause
 *
 * storm.c - the filter's core and the real service: threads that read and change files, while the
 * service is killed, stopped and started again. No reader may see what was changed before.
 *
 *   storm SERVICE [--operations N] [--threads N] [--troubles N] [--seed N]
 *
 * THE FILES are in memory, and are the file system below the filter. Each block holds its file's
 * number and a version. Every change gives the blocks that it touches the next version, under the
 * file's lock: a write, a truncation (the blocks are absent), a store through a mapping. What a
 * reader may see: a version that is not older than the last one whose change had ended when the
 * read began, and not newer than the last one that had begun when it ended. As in NTFS, a file's
 * times move when a writer closes it, and not with each write.
 *
 * OPERATIONS read, write, append, truncate, map and store, sync, close, delete and make again. Each
 * goes through the core as the driver's shell does it.
 *
 * The last line is "filter: N operations, ..., N wrong, N slow". Exits 0 if nothing was wrong, and
 * nothing took longer than the driver's time-outs allow.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter_core.h"
#include "line.h"
#include "place.h"

#define FILES 24u
#define BLOCKS 64u /* of a file, at most */
#define BLOCK 4096u
#define TIMEOUT_MS 400u
#define THREADS_MAX 64u
#define POOL_BYTES (16u << 20)
#define SLOTS 16u /* of the written-set: small, so that it gets full */

/* A version: even, a block of data; odd, the block is absent. */
struct block {
    uint64_t file, version, fills[BLOCK / 8 - 2];
};
struct file {
    pthread_rwlock_t in_use; /* the stream: written when it is deleted */
    pthread_mutex_t lock;    /* the file system's, for the content */
    struct block block[BLOCKS];
    uint32_t blocks;                        /* size */
    uint64_t id;                            /* another one after each deletion */
    uint64_t change;                        /* of the journal */
    bool written;                           /* since the last close */
    uint64_t begun[BLOCKS], absent[BLOCKS]; /* lock: the last version, and the last odd one */
    _Atomic uint64_t ended[BLOCKS];         /* the last version whose change has ended */
    struct fc_file stream;
};
static struct file files[FILES];
static struct fc filter;
static _Atomic uint64_t ids = 1;
static _Atomic unsigned long wrong, done, slow;
static _Atomic bool over, enough;
static unsigned long operations = 100000;

/* ---- Time and chance ------------------------------------------------------------------------- */

/* Marsaglia's xorshift64. */
static uint32_t below(uint64_t *rng, uint32_t n)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (uint32_t)(*rng >> 32) % n;
}

/* ---- The shell's part ------------------------------------------------------------------------ */

static pthread_mutex_t core_lock = PTHREAD_MUTEX_INITIALIZER;

static void lock(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&core_lock);
}

static void unlock(void *ctx)
{
    (void)ctx;
    pthread_mutex_unlock(&core_lock);
}

static void *get_memory(void *ctx, size_t n)
{
    (void)ctx;
    return malloc(n);
}

static void give_back(void *ctx, void *at)
{
    (void)ctx;
    free(at);
}

static bool facts(void *ctx, const void *via, struct fc_facts *to)
{
    struct file *const f = (struct file *)(uintptr_t)via;

    (void)ctx;
    *to = (struct fc_facts){ .volume = 7, .taken_at = place_now_ns() };
    pthread_mutex_lock(&f->lock);
    to->file[0] = f->id;
    to->size = f->blocks * (uint64_t)BLOCK;
    to->written_ns = to->changed_ns = 1000000000 + (int64_t)f->change;
    to->change = f->change;
    pthread_mutex_unlock(&f->lock);
    return true;
}

/* The thread that tends. */
static pthread_mutex_t tend_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tend_wanted = PTHREAD_COND_INITIALIZER;
static bool tend_now; /* tend_lock */

static void tend(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&tend_lock);
    tend_now = true;
    pthread_cond_signal(&tend_wanted);
    pthread_mutex_unlock(&tend_lock);
}

static void *tend_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        pthread_mutex_lock(&tend_lock);
        while (!tend_now)
            pthread_cond_wait(&tend_wanted, &tend_lock);
        tend_now = false;
        pthread_mutex_unlock(&tend_lock);
        fc_tend(&filter);
    }
    return NULL;
}

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return place_now_ns();
}

static const struct fc_env env = { .ask = line_ask,
                                   .hang_up = line_hang_up,
                                   .tend = tend,
                                   .now_ns = now_ns,
                                   .timeout_ns = TIMEOUT_MS * UINT64_C(1000000),
                                   .alloc = get_memory,
                                   .free = give_back,
                                   .lock = lock,
                                   .unlock = unlock,
                                   .facts = facts };

/* ---- The file system ------------------------------------------------------------------------- */

/* Locked. Gives blocks the next version. */
static void change_blocks(struct file *f, uint32_t from, uint32_t to, bool absent)
{
    for (uint32_t b = from; b < to; b++) {
        const uint64_t next = f->begun[b] + 1 + ((f->begun[b] & 1) == (absent ? 1u : 0u));

        f->begun[b] = next;
        if (next & 1)
            f->absent[b] = next;
        f->block[b].file = f->id;
        f->block[b].version = next;
        memset(f->block[b].fills, (int)(next & 0xff), sizeof(f->block[b].fills));
    }
    f->written = true;
}

static void end_blocks(struct file *f, uint32_t from, uint32_t to, const uint64_t *version)
{
    for (uint32_t b = from; b < to; b++) {
        uint64_t old = atomic_load(&f->ended[b]);

        while (old < version[b] && !atomic_compare_exchange_weak(&f->ended[b], &old, version[b]))
            ;
    }
}

/* Bytes that the file system has there. */
static uint32_t read_below(struct file *f, uint64_t off, uint32_t len, void *to)
{
    const uint64_t from = off;
    uint64_t size;

    pthread_mutex_lock(&f->lock);
    size = f->blocks * (uint64_t)BLOCK;
    len = from >= size ? 0 : size - from < len ? (uint32_t)(size - from) : len;
    memcpy(to, (const uint8_t *)f->block + from, len);
    pthread_mutex_unlock(&f->lock);
    return len;
}

/* ---- What a reader may see ------------------------------------------------------------------- */

static void complain(const struct file *f, uint32_t b, const char *what, uint64_t got, uint64_t low,
                     uint64_t high)
{
    if (atomic_fetch_add(&wrong, 1) < 20)
        printf("WRONG file %u block %u: %s: %llu, not %llu to %llu\n", (unsigned)(f - files), b,
               what, (unsigned long long)got, (unsigned long long)low, (unsigned long long)high);
}

static void check_block(const struct file *f, uint32_t b, const struct block *got, uint64_t low,
                        uint64_t high)
{
    if (got->file != f->id)
        complain(f, b, "another file's", got->file, f->id, f->id);
    else if (got->version < low || got->version > high || (got->version & 1))
        complain(f, b, "its version", got->version, low, high);
    else if (((const uint8_t *)got->fills)[0] != (uint8_t)(got->version & 0xff) ||
             memcmp(got->fills, &got->fills[1], sizeof(got->fills) - 8) != 0)
        complain(f, b, "torn", got->version, low, high);
}

/* A read of `blocks` from `from` on has given `n` bytes. */
static void check_read(struct file *f, uint32_t from, uint32_t blocks, const struct block *got,
                       uint32_t n, const uint64_t *low)
{
    uint64_t high[BLOCKS], absent[BLOCKS];

    pthread_mutex_lock(&f->lock);
    memcpy(high, f->begun, sizeof(high));
    memcpy(absent, f->absent, sizeof(absent));
    pthread_mutex_unlock(&f->lock);
    if (n % BLOCK)
        complain(f, from, "bytes", n, 0, blocks * BLOCK);
    for (uint32_t i = 0; i < blocks; i++) {
        const uint32_t b = from + i;

        if (i < n / BLOCK)
            check_block(f, b, &got[i], low[b], high[b]);
        else if (absent[b] < low[b])
            complain(f, b, "absent", absent[b], low[b], high[b]);
    }
}

static bool is_up(void)
{
    bool up;

    lock(NULL);
    up = filter.greeted;
    unlock(NULL);
    return up;
}

/* ---- Operations ------------------------------------------------------------------------------ */

static void too_long(uint64_t began)
{
    if (place_now_ns() - began > 20 * (uint64_t)TIMEOUT_MS * 1000000u)
        atomic_fetch_add(&slow, 1);
}

static void do_read(struct file *f, uint64_t *rng)
{
    static _Thread_local struct block buf[BLOCKS], more[BLOCKS];
    const uint32_t from = below(rng, BLOCKS);
    const uint32_t blocks = 1 + below(rng, below(rng, 4) ? 2 : BLOCKS - from) % (BLOCKS - from);
    uint64_t low[BLOCKS];
    struct fc_read missed;
    uint32_t n = 0;

    for (uint32_t b = 0; b < BLOCKS; b++)
        low[b] = atomic_load(&f->ended[b]);
    if (fc_read(&f->stream, f, from * (uint64_t)BLOCK, blocks * BLOCK, buf, &n, &missed) ==
        FC_DONE) {
        check_read(f, from, blocks, buf, n, low);
        return;
    }
    n = read_below(f, from * (uint64_t)BLOCK, blocks * BLOCK, buf);
    check_read(f, from, blocks, buf, n, low);
    if (missed.ticket && missed.len <= sizeof(more)) {
        if (below(rng, 16) == 0)
            place_sleep_us(below(rng, 3000)); /* a fill may come late */
        n = read_below(f, missed.offset, missed.len, more);
        if (below(rng, 16) == 0)
            place_sleep_us(below(rng, 3000));
        fc_fill(&f->stream, &missed, more, n);
    }
}

/* Changes blocks of the file below, as a file system does: all of it at a time. */
static void change_below(struct file *f, uint32_t from, uint32_t to, bool absent, uint64_t *version)
{
    pthread_mutex_lock(&f->lock);
    if (absent) {
        to = f->blocks > from ? f->blocks : from;
        f->blocks = f->blocks > from ? from : f->blocks;
    } else {
        change_blocks(f, f->blocks, from > f->blocks ? from : f->blocks, false);
        f->blocks = f->blocks > to ? f->blocks : to;
    }
    change_blocks(f, from, to, absent);
    memcpy(version, f->begun, sizeof(f->begun));
    pthread_mutex_unlock(&f->lock);
}

static void do_write(struct file *f, uint64_t *rng)
{
    const uint32_t from = below(rng, BLOCKS), n = 1 + below(rng, 3);
    const uint32_t to = from + n > BLOCKS ? BLOCKS : from + n;
    uint64_t version[BLOCKS];
    struct fc_write w;
    uint32_t begin;

    if (below(rng, 200) == 0)
        fc_write_begin_outside(&f->stream, &w);
    else
        fc_write_begin(&f->stream, f, &w, below(rng, 8) ? FC_RANGE : FC_ALL, from * (uint64_t)BLOCK,
                       (to - from) * (uint64_t)BLOCK);
    if (below(rng, 32) == 0)
        place_sleep_us(below(rng, 2000));
    else if (below(rng, 100) == 0) /* over the end of a life and the begin of another */
        place_sleep_us(below(rng, 300000));
    pthread_mutex_lock(&f->lock);
    begin = f->blocks < from ? f->blocks : from; /* what lies before it appears, too */
    pthread_mutex_unlock(&f->lock);
    change_below(f, from, to, false, version);
    if (below(rng, 32) == 0)
        place_sleep_us(below(rng, 2000));
    fc_write_end(&w);
    end_blocks(f, begin, to, version);
}

static void do_truncate(struct file *f, uint64_t *rng)
{
    const uint32_t to = BLOCKS / 2 + below(rng, BLOCKS / 2);
    uint64_t version[BLOCKS];
    struct fc_write w;

    fc_write_begin(&f->stream, f, &w, FC_SIZE, to * (uint64_t)BLOCK, 0);
    change_below(f, to, to, true, version);
    fc_write_end(&w);
    end_blocks(f, to, BLOCKS, version);
}

/* Stores through a mapping, which nobody sees. */
static void do_map(struct file *f, uint64_t *rng)
{
    struct fc_write w;

    fc_write_begin_outside(&f->stream, &w);
    for (uint32_t i = below(rng, 8); i > 0; i--) {
        uint64_t version[BLOCKS];
        uint32_t b;

        pthread_mutex_lock(&f->lock);
        b = f->blocks ? below(rng, f->blocks) : BLOCKS;
        if (b < BLOCKS)
            change_blocks(f, b, b + 1, false);
        memcpy(version, f->begun, sizeof(version));
        pthread_mutex_unlock(&f->lock);
        if (b < BLOCKS)
            end_blocks(f, b, b + 1, version);
        place_sleep_us(below(rng, 4000)); /* others read meanwhile */
    }
    fc_write_end(&w);
}

static void do_sync(struct file *f)
{
    struct fc_sync s;

    (void)fc_sync_begin(&f->stream, f, &s);
    fc_sync_end(&f->stream, &s, true);
}

/* A writer closes the file: only now its times move. */
static void do_close(struct file *f)
{
    pthread_mutex_lock(&f->lock);
    if (f->written)
        f->change++;
    f->written = false;
    pthread_mutex_unlock(&f->lock);
    fc_settle(&f->stream, f);
}

/* The file is deleted, and another one is made in its place. Nobody uses it meanwhile. */
static void do_delete(struct file *f)
{
    uint64_t version[BLOCKS];

    fc_gone(&f->stream);
    fc_file_init(&f->stream, &filter);
    f->id = atomic_fetch_add(&ids, 1);
    change_below(f, 0, BLOCKS, false, version);
    end_blocks(f, 0, BLOCKS, version);
}

/* Every other file is *quiet*: it is written only while the service is away, and not closed then.
 * So its times do not tell, and a service that comes back takes it for warm. */
static void operation(struct file *f, uint64_t *rng)
{
    const bool quiet = (f - files) % 2;
    const uint32_t what = !quiet    ? below(rng, 1000)
                          : is_up() ? 10 + below(rng, 790)
                                    : 600 + below(rng, 355);

    if (what < 1) {
        pthread_rwlock_wrlock(&f->in_use);
        do_delete(f);
        pthread_rwlock_unlock(&f->in_use);
        return;
    }
    pthread_rwlock_rdlock(&f->in_use);
    if (what < 800)
        do_read(f, rng);
    else if (what < 940)
        do_write(f, rng);
    else if (what < 950)
        do_truncate(f, rng);
    else if (what < 953)
        do_map(f, rng);
    else if (what < 975)
        do_sync(f);
    else
        do_close(f);
    pthread_rwlock_unlock(&f->in_use);
}

/* Without the service they work slower, so that most of the operations meet it. */
static void *work(void *seed)
{
    uint64_t rng = (uintptr_t)seed;

    while (!atomic_load(&enough) && !atomic_load(&wrong)) {
        const uint64_t began = place_now_ns();

        if (!is_up())
            place_sleep_us(1000);

        atomic_fetch_add(&done, 1);
        operation(&files[below(&rng, 1 + below(&rng, FILES))], &rng); /* some more than others */
        too_long(began);
    }
    return NULL;
}

/* ---- The service ----------------------------------------------------------------------------- */

static const char *service_program;
static place_process service;

/* Connects the filter again and again. */
static void *connect_again(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        const uint32_t life = line_connect();

        if (life == 0) {
            place_sleep_us(5000);
            continue;
        }
        (void)fc_connect(&filter, life);
        line_wait(life);
        fc_disconnect(&filter, life);
    }
    return NULL;
}

/* Until the filter answers reads from the service, at most `ms`. */
static void wait_up(unsigned ms)
{
    while (!is_up() && ms-- > 0 && !atomic_load(&wrong))
        place_sleep_us(1000);
}

/* One of: it is stopped for longer than anybody waits; it ends, or is killed, and comes again. */
static void trouble(uint64_t *rng)
{
    const uint32_t what = below(rng, 4);

    if (what == 0) {
        place_suspend(service);
        place_sleep_us(TIMEOUT_MS * 1000 + 100000);
        place_resume(service);
        return;
    }
    if (what == 1) {
        place_end(service);
        (void)place_await(service);
    } else {
        place_kill(service);
    }
    place_sleep_us(below(rng, 20000));
    service = place_start(service_program);
}

static void print_counts(unsigned troubles)
{
    static const char *const name[FC_COUNTERS] = { "hits",  "misses",    "passed",
                                                   "fills", "brackets",  "outside",
                                                   "late",  "forgotten", "forgot-all" };

    printf("filter: %lu operations, %u troubles of the service", atomic_load(&done), troubles);
    for (unsigned i = 0; i < FC_COUNTERS; i++)
        printf(", %s %llu", name[i], (unsigned long long)filter.counter[i]);
    printf("; %lu wrong, %lu slow\n", atomic_load(&wrong), atomic_load(&slow));
}

/* Operations and troubles go on until there were enough of both. */
static unsigned run(unsigned threads, unsigned troubles, uint64_t seed)
{
    pthread_t t[THREADS_MAX], connector, tender;
    uint64_t rng = seed * 2654435761u + 1;
    unsigned had = 0;

    pthread_create(&connector, NULL, connect_again, NULL);
    pthread_create(&tender, NULL, tend_main, NULL);
    wait_up(20000);
    for (unsigned i = 0; i < threads; i++)
        pthread_create(&t[i], NULL, work, (void *)(uintptr_t)(seed * THREADS_MAX + i + 1));
    while (!atomic_load(&wrong) && (atomic_load(&done) < operations || had < troubles)) {
        place_sleep_us(1000);
        if (had < troubles && atomic_load(&done) * (troubles + 1) / operations > had) {
            trouble(&rng);
            had++;
            wait_up(20000);
        }
    }
    atomic_store(&enough, true);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    atomic_store(&over, true);
    place_end(service);
    (void)place_await(service);
    pthread_join(connector, NULL);
    tend(NULL);
    pthread_join(tender, NULL);
    return had;
}

static bool take_option(const char *name, const char *value, unsigned *threads, unsigned *troubles,
                        uint64_t *seed)
{
    const uint64_t n = strtoull(value, NULL, 10);

    if (!strcmp(name, "--operations"))
        operations = (unsigned long)n;
    else if (!strcmp(name, "--threads") && n > 0 && n <= THREADS_MAX)
        *threads = (unsigned)n;
    else if (!strcmp(name, "--troubles"))
        *troubles = (unsigned)n;
    else if (!strcmp(name, "--seed"))
        *seed = n;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static uint8_t set[FC_SET_BYTES(SLOTS)];
    unsigned threads = 8, troubles = 20;
    uint64_t seed = place_now_ns() % 1000000;
    bool ok = argc >= 2 && argc % 2 == 0;

    for (int i = 2; ok && i < argc; i += 2)
        ok = take_option(argv[i], argv[i + 1], &threads, &troubles, &seed);
    if (!ok) {
        fprintf(stderr, "usage: storm SERVICE [--operations N] [--threads N] [--troubles N] "
                        "[--seed N]\n");
        return 2;
    }
    printf("filter: seed %llu\n", (unsigned long long)seed);
    place_make(POOL_BYTES);
    fc_init(&filter, &env, set, SLOTS);
    line_init(place_socket, TIMEOUT_MS);
    for (unsigned i = 0; i < FILES; i++) {
        pthread_rwlock_init(&files[i].in_use, NULL);
        pthread_mutex_init(&files[i].lock, NULL);
        fc_file_init(&files[i].stream, &filter);
        do_delete(&files[i]);
    }
    service_program = argv[1];
    service = place_start(service_program);
    troubles = run(threads, troubles, seed);
    place_clean();
    print_counts(troubles);
    return atomic_load(&wrong) || atomic_load(&slow) ? 1 : 0;
}
