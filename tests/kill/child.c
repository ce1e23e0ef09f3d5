/* SPDX-License-Identifier: BSD-2-Clause
 *
 * child.c - the embedding program that is killed; see truth.h.
 *
 * The program opens the pool and judges what the last kill left: every hit must equal the origin's
 * file, and what was stored of quiet files must hit. Then some threads read, fill, write, truncate,
 * append, sync, invalidate, forget, close and open, all at once, until the kill. Meanwhile every
 * hit must be a whole block, of the right place, and not older than the origin's content when the
 * read began.
 *
 * A thread that does something that may cost a file its blocks says so before and after (disturb,
 * settled). Blocks that are stored in between are not expected to hit. Lock order: pool, handle,
 * then the origin or the lock of a file.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tool/dump/dump.h"
#include "truth.h"

#define RUN_MAX 16u /* blocks of one read */
#define GROW_MAX (UINT64_C(1) << 30)

static struct {
    struct truth *t;
    const struct setting *set;
    cm_cache *cache;
    pthread_rwlock_t pool; /* held for writing while the pool is closed and opened */
    struct file {
        int fd;
        cm_file *file;
        cm_file_id id;
        pthread_rwlock_t handle; /* held for writing while the file is closed and opened */
        pthread_rwlock_t origin; /* under it whole blocks are read and written */
        pthread_mutex_t lock;    /* protects the next fields, and quiet, clean and stored */
        uint64_t changes;        /* number of disturbances begun, and of incarnations */
        uint64_t incarnation;
        unsigned busy; /* number of disturbances now */
    } file[FILES];
} c;

struct worker {
    struct rng rng;
    unsigned number;
    uint8_t *buf; /* RUN_MAX blocks */
};

/* ---- Small things ---------------------------------------------------------------------------- */

/* Prints what the pool has of a block at this moment. Other threads may be running. */
static void show(unsigned f, uint64_t block)
{
    char path[512];
    struct dump_pool p;
    truth_path(c.set, path, sizeof(path), "pool", 0);
    if (dump_pool_open(&p, path) != 0)
        return;
    dump_wrong_block(&p, &c.file[f].id, block, stdout);
    dump_pool_close(&p);
}

static void say(const char *what, unsigned f, uint64_t block, int64_t got, uint64_t want)
{
    dprintf(1, "FAIL %s: file %u block %llu: %lld, %llu (session %llu, seed %llu)\n", what, f,
            (unsigned long long)block, (long long)got, (unsigned long long)want,
            (unsigned long long)c.t->session, (unsigned long long)c.set->seed);
}

static _Noreturn void fail(const char *what, unsigned f, uint64_t block, int64_t got, uint64_t want)
{
    say(what, f, block, got, want);
    _exit(1);
}

/* The same for a block that is wrong or lost. */
static _Noreturn void fail_block(const char *what, unsigned f, uint64_t block, int64_t got,
                                 uint64_t want)
{
    say(what, f, block, got, want);
    show(f, block);
    _exit(1);
}

static int64_t must(int64_t code, const char *what, unsigned f)
{
    if (code < 0)
        fail(what, f, 0, code, 0);
    return code;
}

static void doing(const struct worker *w, enum doing what)
{
    __atomic_store_n(&c.t->doing[w->number], what, __ATOMIC_RELEASE);
}

static uint64_t blocks_of(uint64_t bytes)
{
    return (bytes + BLOCK - 1) / BLOCK;
}

/* ---- What the cache may not lose ------------------------------------------------------------- */

static uint64_t incarnation_of(unsigned f, cm_file_info *i)
{
    must(cm_file_get_info(c.file[f].file, i), "cm_file_get_info", f);
    return i->incarnation;
}

/* The lock is held. True: the incarnation is another one, so no earlier block is there. */
static bool is_new(unsigned f, uint64_t incarnation)
{
    struct file *x = &c.file[f];
    if (incarnation == x->incarnation)
        return false;
    x->incarnation = incarnation;
    x->changes++;
    c.t->file[f].quiet = 0;
    memset(c.t->file[f].stored, 0, sizeof(c.t->file[f].stored));
    return true;
}

/* Call this before blocks [first, end) may be forgotten, and the file's validator may move. */
static void disturb(unsigned f, uint64_t first, uint64_t end)
{
    pthread_mutex_lock(&c.file[f].lock);
    c.file[f].busy++;
    c.file[f].changes++;
    c.t->file[f].quiet = 0;
    for (uint64_t b = first; b < end && b < BLOCKS; b++)
        c.t->file[f].stored[b] = 0;
    pthread_mutex_unlock(&c.file[f].lock);
}

/* Call this after it. */
static void settled(unsigned f)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    uint64_t incarnation = incarnation_of(f, &i);
    pthread_mutex_lock(&c.file[f].lock);
    is_new(f, incarnation);
    c.file[f].busy--;
    pthread_mutex_unlock(&c.file[f].lock);
}

/* The value that note_stored() needs; UINT64_MAX while the file is disturbed. */
static uint64_t changes(unsigned f)
{
    pthread_mutex_lock(&c.file[f].lock);
    uint64_t n = c.file[f].busy ? UINT64_MAX : c.file[f].changes;
    pthread_mutex_unlock(&c.file[f].lock);
    return n;
}

/* Notes that blocks [first, end) are stored, if nothing disturbed the file since changes() returned
 * `since`. */
static void note_stored(unsigned f, uint64_t first, uint64_t end, uint64_t since)
{
    pthread_mutex_lock(&c.file[f].lock);
    if (c.file[f].busy == 0 && c.file[f].changes == since)
        for (uint64_t b = first; b < end && b < BLOCKS; b++)
            c.t->file[f].stored[b] = 1;
    pthread_mutex_unlock(&c.file[f].lock);
}

/* Files with validators of our own are warm after a kill, whatever it leaves of a bracket. There
 * only the forgetting keeps old bytes from being served. */
static cm_validator identify(unsigned f)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    o.flags = f == FOREIGN ? 0 : CM_IDENTIFY_SOLE_WRITER;
    must(cm_identify_with(c.file[f].fd, &o, &c.file[f].id, &v), "cm_identify_with", f);
    if (truth_own_validator(f)) {
        cm_validator_set_proof(&v, "1000", 4);
        v.changed_ns = CM_CHANGED_LONG_AGO;
        v.racy = 0;
    }
    return v;
}

/* ---- Opening and judging --------------------------------------------------------------------- */

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Orders the kill in `ns` nanoseconds; 0: not now. */
static void kill_after(uint64_t ns)
{
    struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
    struct itimerspec at = { .it_value.tv_nsec = (long)ns };
    timer_t timer;
    if (ns > 0 &&
        (timer_create(CLOCK_MONOTONIC, &e, &timer) != 0 || timer_settime(timer, 0, &at, NULL) != 0))
        fail("timer", 0, 0, -1, ns);
}

static void attach(unsigned f)
{
    cm_validator v = identify(f);
    cm_file_info i = { .struct_size = sizeof(i) };
    must(cm_file_open(c.cache, &c.file[f].id, &v, f == FOREIGN ? 0 : CM_SOLE_WRITER,
                      &c.file[f].file),
         "cm_file_open", f);
    uint64_t incarnation = incarnation_of(f, &i);
    if (c.t->file[f].quiet && !i.kept)
        fail("a quiet file was attached cold", f, 0, i.racy, v.size);
    /* What is kept may be of another incarnation than what this program noted: cm_file_open() for
     * one more reference begins one if the file has no validator. */
    if (i.kept && c.file[f].incarnation == 0)
        c.file[f].incarnation = incarnation;
    else
        is_new(f, incarnation);
}

/* Adds the evictions of the session that ended. It may have died in the middle of one batch for
 * each thread. */
static void count_evicted(const cm_stats_data *s, uint64_t slots)
{
    if (s->evicted + s->displaced > 0)
        c.t->slack += s->evicted + s->displaced + THREADS * (slots / 16);
}

static void open_pool(const struct worker *w)
{
    char path[512];
    cm_stats_data s = { .struct_size = sizeof(s) };
    cm_info i = { .struct_size = sizeof(i) };
    truth_path(c.set, path, sizeof(path), "pool", 0);
    must(cm_pool_info(path, &i), "cm_pool_info", 0);
    must(cm_pool_stats(path, &s), "cm_pool_stats", 0);
    count_evicted(&s, i.slots);
    doing(w, DOING_opening);
    kill_after(c.t->kill_opening);
    uint64_t began = clock_ns();
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE; /* what was stored must hit after a kill */
    o.grow_max = GROW_MAX;
    must(cm_open(path, &o, &c.cache), "cm_open", 0);
    c.t->open_ns = clock_ns() - began;
    must(cm_get_info(c.cache, &i), "cm_get_info", 0);
    if (i.emptied)
        fail("emptied, and no system crashed", 0, 0, 0, i.durability);
    doing(w, DOING_attaching);
    for (unsigned f = 0; f < FILES; f++)
        attach(f);
}

static void close_pool(const struct worker *w)
{
    doing(w, DOING_closing);
    kill_after(c.t->kill_closing);
    uint64_t began = clock_ns();
    for (unsigned f = 0; f < FILES; f++)
        must(cm_file_close(c.file[f].file), "cm_file_close", f);
    must(cm_close(c.cache), "cm_close", 0);
    c.t->close_ns = clock_ns() - began;
}

/* Compares a block's hit with the origin. Returns whether the block is cached whole. */
static bool judge_block(unsigned f, uint64_t b, struct judged *sum)
{
    uint8_t want[CM_BLOCK_SIZE], got[CM_BLOCK_SIZE];
    int64_t n = must(cm_read(c.file[f].file, b * BLOCK, got, BLOCK, NULL), "cm_read", f);
    ssize_t m = pread(c.file[f].fd, want, BLOCK, (off_t)(b * BLOCK));
    must(m, "pread", f);
    if (n > m || memcmp(got, want, (size_t)n) != 0)
        fail_block("a wrong hit after the kill", f, b, n, (uint64_t)m);
    sum->looked++;
    sum->hits += n > 0;
    return n > 0 && n == m;
}

static void check_pool(struct judged *sum)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    must(cm_check(c.cache, 0, NULL, NULL, &r), "cm_check", 0);
    sum->checks++;
    if (r.bad_headers + r.bad_payload + r.unreadable + r.bad_cells + r.duplicates > 0)
        fail("cm_check found damage", 0, r.bad_payload, (int64_t)r.bad_headers, r.duplicates);
}

static void judge(const struct worker *w)
{
    uint8_t before[FILES][BLOCKS], cached[FILES][BLOCKS];
    struct judged sum = c.t->sum;
    for (unsigned f = 0; f < FILES; f++)
        memcpy(before[f], c.t->file[f].stored, BLOCKS);
    open_pool(w);
    doing(w, DOING_judging);
    uint64_t missing = 0, lost = 0; /* one example of each: file * BLOCKS + block */
    for (unsigned f = 0; f < FILES; f++) {
        const struct truth_file *x = &c.t->file[f];
        for (uint64_t b = 0; b < BLOCKS; b++) {
            cached[f][b] = judge_block(f, b, &sum);
            sum.cached += before[f][b] || cached[f][b];
            sum.covered += x->quiet && x->stored[b];
            sum.clean += x->quiet && x->clean && x->stored[b];
            if (x->quiet && x->stored[b] && !cached[f][b]) {
                missing++;
                lost = f * BLOCKS + b;
            }
        }
    }
    if (missing > c.t->slack)
        fail_block("stored blocks of quiet files do not hit, such as; allowed",
                   (unsigned)(lost / BLOCKS), lost % BLOCKS, (int64_t)missing, c.t->slack);
    sum.missing += missing;
    if (c.t->session % 4 == 0)
        check_pool(&sum);
    sum.judged++;
    c.t->sum = sum;
    for (unsigned f = 0; f < FILES; f++)
        memcpy(c.t->file[f].stored, cached[f], BLOCKS);
    c.t->slack = 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void versions(unsigned f, uint64_t first, uint64_t *low)
{
    for (uint64_t i = 0; i < RUN_MAX && first + i < BLOCKS; i++)
        low[i] = __atomic_load_n(&c.t->file[f].version[first + i], __ATOMIC_SEQ_CST);
}

static void check(const char *what, unsigned f, uint64_t first, const uint8_t *p, int64_t n,
                  const uint64_t *low)
{
    for (int64_t at = 0; at < n; at += (int64_t)BLOCK) {
        uint64_t len = (uint64_t)(n - at) < BLOCK ? (uint64_t)(n - at) : BLOCK;
        uint64_t i = (uint64_t)at / BLOCK;
        uint64_t version = content_version(f, first + i, p + at, len);
        if (len >= 8 && (version == 0 || version < low[i]))
            fail_block(what, f, first + i, (int64_t)version, low[i]);
    }
}

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct file *x = ctx;
    pthread_rwlock_rdlock(&x->origin);
    ssize_t n = pread(x->fd, buf, len, (off_t)offset);
    pthread_rwlock_unlock(&x->origin);
    return n;
}

/* Reads with the basic calls: the cached prefix, then a fill of the miss. */
static void do_read(struct worker *w, unsigned f)
{
    uint64_t first = rng_below(&w->rng, BLOCKS), low[RUN_MAX], since = changes(f);
    cm_miss miss;
    versions(f, first, low);
    doing(w, DOING_reading);
    int64_t n = must(cm_read(c.file[f].file, first * BLOCK, w->buf,
                             1 + rng_below(&w->rng, RUN_MAX * BLOCK), &miss),
                     "cm_read", f);
    check("a wrong hit", f, first, w->buf, n, low);
    note_stored(f, first, first + (uint64_t)n / BLOCK, since);
    if (miss.len == 0)
        return;
    uint64_t len = blocks_of(miss.len) * BLOCK;
    if (len > RUN_MAX * BLOCK) /* a fill may be shorter than the miss */
        len = RUN_MAX * BLOCK;
    n = must(read_origin(&c.file[f], miss.offset, w->buf, len), "pread", f);
    if (n == 0)
        return;
    doing(w, DOING_filling);
    first = miss.offset / BLOCK;
    if (must(cm_fill(c.file[f].file, &miss, w->buf, (size_t)n, (uint64_t)n < len ? CM_FILL_EOF : 0),
             "cm_fill", f) == 0)
        note_stored(f, first, first + blocks_of((uint64_t)n), since);
}

static void do_read_through(struct worker *w, unsigned f)
{
    uint64_t first = rng_below(&w->rng, BLOCKS), low[RUN_MAX];
    versions(f, first, low);
    doing(w, DOING_filling);
    int64_t n =
        must(cm_read_through(c.file[f].file, first * BLOCK, w->buf,
                             1 + rng_below(&w->rng, RUN_MAX * BLOCK), read_origin, &c.file[f]),
             "cm_read_through", f);
    check("wrong bytes read through", f, first, w->buf, n, low);
}

static void do_pin(struct worker *w, unsigned f)
{
    uint64_t first = rng_below(&w->rng, BLOCKS), low[RUN_MAX];
    cm_iovec iov[RUN_MAX];
    cm_pins pins;
    int count;
    versions(f, first, low);
    doing(w, DOING_reading);
    int64_t n = cm_pin_range(c.file[f].file, first * BLOCK, RUN_MAX * BLOCK, iov, (int)RUN_MAX,
                             &count, &pins, NULL);
    if (n == CM_EBUSY || must(n, "cm_pin_range", f) == 0)
        return;
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        memcpy(w->buf + at, iov[i].base, iov[i].len);
        at += iov[i].len;
    }
    check("wrong bytes pinned", f, first, w->buf, n, low);
    must(cm_unpin(&pins), "cm_unpin", f);
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* Writes whole blocks, if there is no gap before them; true if it did. */
static bool change_origin(unsigned f, uint64_t first, uint64_t n, uint8_t *buf)
{
    struct truth_file *x = &c.t->file[f];
    off_t size = lseek(c.file[f].fd, 0, SEEK_END);
    uint64_t version = __atomic_fetch_add(&x->next, 1, __ATOMIC_SEQ_CST);
    if ((uint64_t)size < first * BLOCK)
        return false;
    for (uint64_t i = 0; i < n; i++)
        content_make(f, first + i, version, buf + i * BLOCK);
    if (pwrite(c.file[f].fd, buf, n * BLOCK, (off_t)(first * BLOCK)) != (ssize_t)(n * BLOCK))
        fail("pwrite", f, first, -1, n);
    return true;
}

/* From now on no read may see older versions. */
static void set_versions(unsigned f, uint64_t first, uint64_t end)
{
    struct truth_file *x = &c.t->file[f];
    for (uint64_t b = first; b < end; b++)
        __atomic_store_n(&x->version[b], x->next - 1, __ATOMIC_SEQ_CST);
}

static void end_bracket(struct worker *w, unsigned f, const cm_bracket *b)
{
    cm_validator v = identify(f);
    doing(w, DOING_ending);
    must(cm_write_end(c.file[f].file, b, rng_below(&w->rng, 4) ? &v : NULL), "cm_write_end", f);
    settled(f);
}

static void do_write(struct worker *w, unsigned f)
{
    uint64_t end = blocks_of((uint64_t)lseek(c.file[f].fd, 0, SEEK_END));
    uint64_t first = rng_below(&w->rng, end + 1), n = 1 + rng_below(&w->rng, 8);
    if (rng_below(&w->rng, 2))
        first = end;
    first = first < BLOCKS ? first : BLOCKS - 1;
    n = n < BLOCKS - first ? n : BLOCKS - first;
    bool append = first == end && rng_below(&w->rng, 2) != 0;
    cm_bracket b;
    disturb(f, first > 0 ? first - 1 : 0, first + n); /* the block before may have been the tail */
    doing(w, DOING_beginning);
    must(cm_write_begin(c.file[f].file, append ? CM_APPEND : first * BLOCK, n * BLOCK, &b),
         "cm_write_begin", f);
    doing(w, DOING_writing);
    pthread_rwlock_wrlock(&c.file[f].origin);
    if (!append || lseek(c.file[f].fd, 0, SEEK_END) == (off_t)(first * BLOCK))
        if (change_origin(f, first, n, w->buf))
            set_versions(f, first, first + n);
    pthread_rwlock_unlock(&c.file[f].origin);
    end_bracket(w, f, &b);
}

static void do_truncate(struct worker *w, unsigned f)
{
    uint64_t size = (uint64_t)lseek(c.file[f].fd, 0, SEEK_END);
    uint64_t most = size < BLOCKS / 2 * BLOCK ? BLOCK : rng_below(&w->rng, 16) ? 8 * BLOCK : size;
    uint64_t less = rng_below(&w->rng, most);
    uint64_t new_size = less < size ? size - less : 0;
    cm_bracket b;
    disturb(f, new_size / BLOCK, BLOCKS);
    doing(w, DOING_beginning);
    must(cm_truncate_begin(c.file[f].file, new_size, &b), "cm_truncate_begin", f);
    doing(w, DOING_writing);
    pthread_rwlock_wrlock(&c.file[f].origin);
    if (lseek(c.file[f].fd, 0, SEEK_END) >= (off_t)new_size) { /* so the file never gets a hole */
        c.t->file[f].next++;
        if (ftruncate(c.file[f].fd, (off_t)new_size) != 0)
            fail("ftruncate", f, 0, -1, new_size);
        set_versions(f, blocks_of(new_size), BLOCKS);
    }
    pthread_rwlock_unlock(&c.file[f].origin);
    end_bracket(w, f, &b);
}

static void do_attributes(struct worker *w, unsigned f)
{
    cm_bracket b;
    disturb(f, 0, 0);
    doing(w, DOING_beginning);
    must(cm_write_begin(c.file[f].file, 0, 0, &b), "cm_write_begin", f);
    doing(w, DOING_writing);
    (void)fchmod(c.file[f].fd, 0600);
    end_bracket(w, f, &b);
}

static void do_sync(struct worker *w, unsigned f)
{
    cm_sync s;
    bool ok = rng_below(&w->rng, 64) != 0;
    disturb(f, 0, 0);
    doing(w, DOING_syncing);
    must(cm_sync_begin(c.file[f].file, &s), "cm_sync_begin", f);
    ok = fsync(c.file[f].fd) == 0 && ok;
    cm_validator v = identify(f);
    must(cm_sync_end(c.file[f].file, &s, ok, rng_below(&w->rng, 4) ? &v : NULL), "cm_sync_end", f);
    settled(f);
}

/* Presents the validator if the cache wants it, or syncs. After that the file may be quiet. */
static void do_settle(struct worker *w, unsigned f)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    uint64_t since = changes(f);
    incarnation_of(f, &i);
    if (i.racy || i.want_validator || f == FOREIGN || rng_below(&w->rng, 8) == 0) {
        cm_validator v = identify(f);
        must(cm_file_revalidate(c.file[f].file, &v), "cm_file_revalidate", f);
        incarnation_of(f, &i);
    }
    if (i.dirty && f >= CHANGING && rng_below(&w->rng, 2))
        do_sync(w, f);
    pthread_mutex_lock(&c.file[f].lock);
    if (!is_new(f, i.incarnation) && c.file[f].busy == 0 && c.file[f].changes == since && !i.racy &&
        !i.want_validator && !i.bypassed && i.brackets == 0) {
        c.t->file[f].clean = !i.dirty;
        c.t->file[f].quiet = 1;
    }
    pthread_mutex_unlock(&c.file[f].lock);
}

static void do_invalidate(struct worker *w, unsigned f)
{
    uint64_t first = rng_below(&w->rng, BLOCKS), n = 1 + rng_below(&w->rng, 8);
    bool all = rng_below(&w->rng, 8) == 0;
    disturb(f, first, all ? BLOCKS : first + n);
    doing(w, DOING_forgetting);
    must(cm_invalidate(c.file[f].file, first * BLOCK, all ? CM_ALL : n * BLOCK), "cm_invalidate",
         f);
    settled(f);
}

static void do_forget(struct worker *w, unsigned f)
{
    disturb(f, 0, BLOCKS);
    doing(w, DOING_forgetting);
    must(cm_forget(c.cache, &c.file[f].id), "cm_forget", f);
    settled(f);
}

/* Another program changes the file; then the cache is told. */
static void do_foreign_write(struct worker *w)
{
    unsigned f = FOREIGN;
    uint64_t b = rng_below(&w->rng, BLOCKS);
    disturb(f, 0, BLOCKS);
    doing(w, DOING_writing);
    pthread_rwlock_wrlock(&c.file[f].origin);
    bool changed = change_origin(f, b, 1, w->buf);
    doing(w, DOING_forgetting);
    if (changed && rng_below(&w->rng, 2))
        must(cm_invalidate(c.file[f].file, b * BLOCK, BLOCK), "cm_invalidate", f);
    else if (changed)
        must(cm_forget(c.cache, &c.file[f].id), "cm_forget", f);
    if (changed)
        set_versions(f, b, b + 1);
    pthread_rwlock_unlock(&c.file[f].origin);
    settled(f);
}

/* ---- Closing and opening --------------------------------------------------------------------- */

/* Closes and opens a file. The stored blocks of a quiet file stay. */
static void do_reopen_file(struct worker *w, unsigned f)
{
    cm_file *again;
    if (rng_below(&w->rng, 2)) { /* take one more reference */
        cm_validator v = identify(f);
        doing(w, DOING_attaching);
        must(cm_file_open(c.cache, &c.file[f].id, &v, f == FOREIGN ? 0 : CM_SOLE_WRITER, &again),
             "cm_file_open", f);
        must(cm_file_close(again), "cm_file_close", f);
        return;
    }
    pthread_rwlock_unlock(&c.file[f].handle);
    pthread_rwlock_wrlock(&c.file[f].handle);
    doing(w, DOING_closing);
    must(cm_file_close(c.file[f].file), "cm_file_close", f);
    doing(w, DOING_attaching);
    attach(f);
}

static void do_reopen_pool(struct worker *w)
{
    pthread_rwlock_wrlock(&c.pool);
    close_pool(w);
    open_pool(w);
    pthread_rwlock_unlock(&c.pool);
}

/* ---- Growing --------------------------------------------------------------------------------- */

/* Each pool grows as often as it may. Every other growth is killed at some instant. */
static void do_grow(struct worker *w)
{
    cm_info i = { .struct_size = sizeof(i) };
    cm_grow_report r = CM_GROW_REPORT_INIT;
    must(cm_get_info(c.cache, &i), "cm_get_info", 0);
    doing(w, DOING_growing);
    if (rng_below(&w->rng, 2))
        kill_after(1 + rng_below(&w->rng, c.t->grow_ns * 5 / 4 + 100000));
    const int e = cm_grow(c.cache, i.size + i.size / 4 / BLOCK * BLOCK, &r);
    if (e == CM_ENOTSUP) /* it has grown four times */
        return;
    must(e, "cm_grow", 0);
    c.t->grow_ns = r.elapsed_ns;
    c.t->slack += r.dropped;
}

/* ---- The load -------------------------------------------------------------------------------- */

static void change(struct worker *w, unsigned f)
{
    uint64_t what = rng_below(&w->rng, 100);
    if (f == FOREIGN && what < 30)
        do_foreign_write(w);
    else if (what < 45)
        do_write(w, f);
    else if (what < 58)
        do_truncate(w, f);
    else if (what < 62)
        do_attributes(w, f);
    else if (what < 80)
        do_sync(w, f);
    else if (what < 90)
        do_invalidate(w, f);
    else
        do_forget(w, f);
}

static void step(struct worker *w)
{
    unsigned f = (unsigned)rng_below(&w->rng, FILES);
    uint64_t what = rng_below(&w->rng, 4096);
    if (w->number == 0 && (__atomic_load_n(&c.t->kill_closing, __ATOMIC_ACQUIRE) || what == 0))
        do_reopen_pool(w);
    pthread_rwlock_rdlock(&c.pool);
    if (w->number == 1 && what == 1)
        do_grow(w);
    pthread_rwlock_rdlock(&c.file[f].handle);
    if (what < (f < CHANGING ? 700u : f < CHANGING + 2 ? 30u : 3u))
        change(w, f);
    else if (what < 1800)
        do_read(w, f);
    else if (what < 3000)
        do_read_through(w, f);
    else if (what < 3600)
        do_pin(w, f);
    else if (what < 3650)
        do_reopen_file(w, f);
    else
        do_settle(w, f);
    doing(w, DOING_reading);
    pthread_rwlock_unlock(&c.file[f].handle);
    pthread_rwlock_unlock(&c.pool);
}

static void *work(void *arg)
{
    for (;;)
        step(arg);
    return NULL;
}

static void init(struct truth *t, const struct setting *s)
{
    pthread_rwlockattr_t a;
    char path[512];
    c.t = t;
    c.set = s;
    pthread_rwlockattr_init(&a);
#ifdef __GLIBC__ /* musl prefers writers as it is */
    pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    pthread_rwlock_init(&c.pool, &a);
    for (unsigned f = 0; f < FILES; f++) {
        struct file *x = &c.file[f];
        truth_path(s, path, sizeof(path), "origin", f);
        x->fd = open(path, O_RDWR | O_CLOEXEC);
        must(x->fd, "open", f);
        pthread_rwlock_init(&x->handle, &a);
        pthread_rwlock_init(&x->origin, &a);
        pthread_mutex_init(&x->lock, NULL);
    }
}

_Noreturn void child_run(struct truth *t, const struct setting *s, bool last)
{
    static struct worker w[THREADS];
    pthread_t thread;
    for (unsigned i = 0; i < THREADS; i++) {
        w[i].number = i;
        w[i].rng.s = (s->seed << 40) + (t->session << 8) + i;
        w[i].buf = aligned_alloc(BLOCK, RUN_MAX * BLOCK);
        if (!w[i].buf)
            _exit(2);
        memset(w[i].buf, 0, RUN_MAX * BLOCK);
    }
    init(t, s);
    judge(&w[0]);
    if (last) {
        check_pool(&t->sum);
        close_pool(&w[0]);
        open_pool(&w[0]);
        close_pool(&w[0]);
        _exit(0);
    }
    for (unsigned i = 1; i < THREADS; i++)
        if (pthread_create(&thread, NULL, work, &w[i]) != 0)
            fail("pthread_create", 0, 0, -1, i);
    work(&w[0]);
    _exit(1);
}
