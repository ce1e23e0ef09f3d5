/* SPDX-License-Identifier: BSD-2-Clause
 *
 * race.c - readers, writers and disturbers on one tiny pool.
 *
 *   race [--seconds N] [--readers N] [--writers N] [--grow ROUNDS]
 *
 * Every block of the origin holds one version number, 512 times. A read that began when the origin
 * held version v must return a whole block of version v or later, and not later than the origin's
 * version when the read ends. So reads are linearizable against brackets, versions never go back,
 * and no block is torn.
 *
 * Visitors ask for a file's attributes, open it with them a little later, read or change it (also
 * its size), and close it. Event loops have several requests at once: they sleep when all of these
 * wait for other readers, and a lost wake ends the run. One file is changed as a whole by another
 * program, again and again, and revalidated: all that one read returns, and the size, must be of
 * one version. Disturbers change incarnations and modes and check the pool meanwhile. Another
 * thread moves files between groups, changes quotas and times to live, and keeps files. At the end
 * no intent may be left raised: every block must be storable again.
 *
 * --grow: instead of one pool for some seconds, so many pools one after the other, each of which
 * grows four times meanwhile.
 */
#include <unistd.h>

#include "race.h"
#include "../later.h"

#define RUN_MAX 8
#define VISITORS 2
#define LOOPS 2
#define JOBS 6

struct race t;

static struct {
    uint64_t seconds, readers, writers, waiting, rounds;
} args = { 3, 3, 2, 0, 0 };

static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    int f = *(const int *)ctx;
    uint64_t *w = buf;
    for (uint64_t b = offset / BLOCK; b < (offset + len) / BLOCK; b++, w += WORDS) {
        if (b >= BLOCKS)
            return (int64_t)(b * BLOCK - offset);
        pthread_mutex_lock(&t.lock[f][b]);
        uint64_t v = at_load_relaxed(&t.version[f][b]);
        pthread_mutex_unlock(&t.lock[f][b]);
        for (unsigned i = 0; i < WORDS; i++)
            w[i] = v;
    }
    return (int64_t)len;
}

static void check(const char *what, int f, uint64_t block, const uint64_t *data, uint64_t bytes,
                  const uint64_t *low)
{
    for (uint64_t k = 0; k < bytes / 8; k++) {
        uint64_t b = block + k / WORDS;
        uint64_t high = at_load_seq_cst(&t.version[f][b]);
        if (data[k] != data[k / WORDS * WORDS])
            die("torn block", f, b, data[k], data[k / WORDS * WORDS], high);
        if (data[k] < low[k / WORDS] || data[k] > high)
            die(what, f, b, data[k], low[k / WORDS], high);
    }
}

static void read_some(struct worker *w, int f, uint64_t b, uint64_t n, const uint64_t *low)
{
    cm_miss miss;
    int64_t got = cm_read(t.file[f], b * BLOCK, w->buf, n * BLOCK, &miss);
    must(got, "cm_read");
    check("cm_read", f, b, (uint64_t *)(void *)w->buf, (uint64_t)got, low);
    at_add_relaxed(&t.hits, got > 0);
    if (got == (int64_t)(n * BLOCK) || miss.len == 0)
        return;
    int64_t r = origin_read(&f, miss.offset, w->buf, miss.len);
    if (rng_below(&w->rng, 4) == 0) /* gives writers time to come in between */
        for (int i = 0; i < 2000; i++)
            at_pause();
    must(cm_fill(t.file[f], &miss, w->buf, (size_t)r, 0), "cm_fill");
}

static void pin_some(struct worker *w, int f, uint64_t b, uint64_t n, const uint64_t *low)
{
    cm_iovec iov[RUN_MAX];
    cm_pins pins;
    int count;
    int64_t got = cm_pin_range(t.file[f], b * BLOCK, n * BLOCK, iov, RUN_MAX, &count, &pins, NULL);
    if (got == CM_EBUSY)
        return;
    must(got, "cm_pin_range");
    if (pins.n == 0)
        return;
    at_add_relaxed(&t.pins, 1);
    for (int round = 0; round < 2; round++) { /* the bytes must be the same after a while */
        uint64_t done = 0;
        for (int i = 0; i < count; i++) {
            must(cm_guard_copy(w->buf + done + (round ? RUN_MAX * BLOCK : 0), iov[i].base,
                               iov[i].len),
                 "copy");
            done += iov[i].len;
        }
        for (int i = 0; i < 500; i++)
            at_pause();
    }
    check("cm_pin_range", f, b, (uint64_t *)(void *)w->buf, (uint64_t)got, low);
    if (memcmp(w->buf, w->buf + RUN_MAX * BLOCK, (size_t)got))
        die("pinned bytes changed", f, b, 0, 0, 0);
    must(cm_unpin(&pins), "cm_unpin");
}

static void *reader(void *arg)
{
    struct worker *w = arg;
    while (!at_load_relaxed(&t.stop)) {
        int f = (int)rng_below(&w->rng, FILES);
        uint64_t n = 1 + rng_below(&w->rng, RUN_MAX - 1);
        uint64_t b = rng_below(&w->rng, BLOCKS - n), low[RUN_MAX + 1];
        for (uint64_t k = 0; k < n; k++)
            low[k] = at_load_seq_cst(&t.version[f][b + k]);
        uint64_t dice = rng_below(&w->rng, 4);
        if (dice < 2) {
            read_some(w, f, b, n, low);
        } else if (dice == 2) {
            pin_some(w, f, b, n, low);
        } else {
            int64_t r = cm_read_through(t.file[f], b * BLOCK, w->buf, n * BLOCK, origin_read, &f);
            if (r != (int64_t)(n * BLOCK))
                die("cm_read_through length", f, b, (uint64_t)r, n, n);
            check("cm_read_through", f, b, (uint64_t *)(void *)w->buf, (uint64_t)r, low);
        }
        at_add_relaxed(&t.reads, 1);
    }
    return NULL;
}

/* ---- Event loops ----------------------------------------------------------------------------- */

struct loop {
    pthread_mutex_t lock;
    pthread_cond_t posted;
    bool woken;
};

struct job {
    bool begun;
    int f;
    uint64_t b, n, low[RUN_MAX + 1];
    uint8_t *buf;
    cm_request r;
    cm_piece piece[CM_REQUEST_PIECES];
    unsigned given;
};

static void loop_wake(void *ctx, cm_request *r)
{
    struct loop *l = ctx;
    (void)r;
    pthread_mutex_lock(&l->lock);
    l->woken = true;
    pthread_cond_signal(&l->posted);
    pthread_mutex_unlock(&l->lock);
    at_add_relaxed(&t.wakes, 1);
}

static void job_begin(struct worker *w, struct loop *l, struct job *j)
{
    j->f = (int)rng_below(&w->rng, FILES);
    j->n = 1 + rng_below(&w->rng, RUN_MAX - 1);
    j->b = rng_below(&w->rng, BLOCKS - j->n);
    for (uint64_t k = 0; k < j->n; k++)
        j->low[k] = at_load_seq_cst(&t.version[j->f][j->b + k]);
    j->r = (cm_request)CM_REQUEST_INIT;
    j->r.offset = j->b * BLOCK;
    j->r.buf = j->buf;
    j->r.len = j->n * BLOCK;
    j->r.join_timeout_ns = rng_below(&w->rng, 8) ? UINT64_MAX : 1000;
    j->r.wake = loop_wake;
    j->r.wake_ctx = l;
    j->given = 0;
    j->begun = true;
    must(cm_request_begin(t.file[j->f], &j->r), "cm_request_begin");
}

static void job_end(struct job *j, bool cancelled)
{
    int64_t n = cm_request_end(&j->r);
    memset(&j->r, 0xee, sizeof(j->r)); /* nobody may touch it any more */
    j->begun = false;
    if (cancelled ? n != CM_ECANCELED : n != (int64_t)(j->n * BLOCK))
        die("request length", j->f, j->b, (uint64_t)n, j->n, j->n);
    if (!cancelled)
        check("request", j->f, j->b, (uint64_t *)(void *)j->buf, (uint64_t)n, j->low);
    at_add_relaxed(&t.requests, 1);
}

/* true: the job can only wait. */
static bool job_step(struct worker *w, struct job *j)
{
    int what = CM_REQUEST_READ;
    if (j->given > 0 && rng_below(&w->rng, 2)) {
        const unsigned k = (unsigned)rng_below(&w->rng, j->given);
        const cm_piece p = j->piece[k];
        j->piece[k] = j->piece[--j->given];
        must(cm_request_complete(&j->r, &p, origin_read(&j->f, p.offset, p.buf, p.len)),
             "cm_request_complete");
    }
    while (j->given < CM_REQUEST_PIECES &&
           (what = cm_request_step(&j->r, &j->piece[j->given])) == CM_REQUEST_READ)
        j->given++;
    must(what, "cm_request_step");
    if (what == 0)
        job_end(j, false);
    else if (what == CM_REQUEST_WAIT && j->given == 0 && rng_below(&w->rng, 16) == 0)
        job_end(j, true);
    return j->begun && j->given == 0 && j->r.join_timeout_ns == UINT64_MAX;
}

static void *event_loop(void *arg)
{
    struct worker *w = arg;
    struct job job[JOBS] = { 0 };
    struct loop l = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
    for (unsigned i = 0; i < JOBS; i++)
        job[i].buf = os_aligned(BLOCK, RUN_MAX * BLOCK);
    for (bool running = true; running;) {
        unsigned waiting = 0, idle = 0;
        running = false;
        pthread_mutex_lock(&l.lock);
        l.woken = false; /* before the steps: what wakes during them counts */
        pthread_mutex_unlock(&l.lock);
        for (unsigned i = 0; i < JOBS; i++) {
            if (!job[i].begun && !at_load_relaxed(&t.stop))
                job_begin(w, &l, &job[i]);
            if (job[i].begun)
                waiting += job_step(w, &job[i]);
            else
                idle++;
            running |= job[i].begun || !at_load_relaxed(&t.stop);
        }
        if (waiting == 0 || waiting + idle < JOBS)
            continue;
        struct timespec end;
        (void)clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += 30;
        pthread_mutex_lock(&l.lock);
        while (!l.woken)
            if (pthread_cond_timedwait(&l.posted, &l.lock, &end))
                die("a wake was lost", 0, 0, waiting, 0, 0);
        pthread_mutex_unlock(&l.lock);
    }
    for (unsigned i = 0; i < JOBS; i++)
        os_aligned_free(job[i].buf);
    return NULL;
}

/* ---- Writers --------------------------------------------------------------------------------- */

static void *writer(void *arg)
{
    struct worker *w = arg;
    while (!at_load_relaxed(&t.stop)) {
        int f = (int)rng_below(&w->rng, FILES);
        uint64_t n = 1 + rng_below(&w->rng, 3), b = rng_below(&w->rng, BLOCKS - n);
        cm_bracket k;
        int e = cm_write_begin(t.file[f], b * BLOCK, n * BLOCK, &k);
        must(e, "cm_write_begin");
        for (uint64_t i = b; i < b + n; i++) {
            pthread_mutex_lock(&t.lock[f][i]);
            at_store_seq_cst(&t.version[f][i], at_load_relaxed(&t.version[f][i]) + 1);
            pthread_mutex_unlock(&t.lock[f][i]);
        }
        const uint64_t taken_at = cm_now();
        cm_validator v = validator_of_version(BLOCKS * BLOCK, at_add_relaxed(&t.stamp[f], 1) + 1);
        v.taken_at = taken_at;
        must(cm_write_end(t.file[f], &k, rng_below(&w->rng, 2) ? &v : NULL), "cm_write_end");
        at_add_relaxed(&t.writes, 1);
        for (uint64_t i = rng_below(&w->rng, 4000); i > 0; i--)
            at_pause();
    }
    return NULL;
}

/* Every file that is open all the time is listed, once. */
static void list_files(void)
{
    cm_file_iter *it;
    cm_file_info info = { .struct_size = sizeof(info) };
    unsigned seen[FILES] = { 0 };
    must(cm_files_begin(t.cache, CM_FILES_COUNT, &it), "cm_files_begin");
    while (cm_files_next(it, NULL, &info) == 0)
        if (info.id.hi == t.id[0].hi)
            seen[info.id.lo - 1]++;
    cm_files_end(it);
    for (int f = 0; f < FILES; f++)
        if (seen[f] != 1)
            die("listed", f, 0, seen[f], 1, 1);
}

static int cancel_late(void *left, uint64_t done, uint64_t total)
{
    return done > total || (*(uint64_t *)left)-- == 0;
}

/* Joins the readers, and is joined by them. They look at what it stores. No block may differ from
 * the origin, whatever the writers do. */
static void warm_some(struct worker *w, int f)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = { .struct_size = sizeof(r) };
    uint64_t left = rng_below(&w->rng, 16);
    o.flags = rng_below(&w->rng, 2) ? CM_WARM_VERIFY : 0;
    o.bytes_per_second = rng_below(&w->rng, 4) ? 0 : BLOCKS * BLOCK * 16;
    o.progress = cancel_late;
    o.progress_ctx = &left;
    int e = cm_warm(t.file[f], rng_below(&w->rng, BLOCKS) * BLOCK,
                    rng_below(&w->rng, 2) ? 20 * BLOCK : CM_ALL, &o, origin_read, &f, &r);
    must(e == CM_ECANCELED ? 0 : e, "cm_warm");
    if (r.differed)
        die("differs", f, r.end, r.differed, r.verified, r.undecided);
    at_add_relaxed(&t.warmed, r.stored);
    at_add_relaxed(&t.verified, r.verified);
}

/* Makes new incarnations, empty brackets, syncs, modes, checks, drops, warmings and second handles.
 */
static void *disturber(void *arg)
{
    struct worker *w = arg;
    while (!at_load_relaxed(&t.stop)) {
        int f = (int)rng_below(&w->rng, FILES);
        cm_file *again;
        cm_sync s;
        cm_check_report r = { .struct_size = sizeof(r) };
        cm_range runs[4];
        switch (rng_below(&w->rng, 9)) {
        case 0:
            must(cm_forget(t.cache, &t.id[f]), "cm_forget");
            break;
        case 1:
            must(cm_sync_begin(t.file[f], &s), "cm_sync_begin");
            must(cm_sync_end(t.file[f], &s, 1, NULL), "cm_sync_end");
            break;
        case 2:
            must(cm_set_mode(t.cache, (int)rng_below(&w->rng, 3)), "cm_set_mode");
            must(cm_set_mode(t.cache, CM_NORMAL), "cm_set_mode");
            break;
        case 3:
            must(cm_file_open(t.cache, &t.id[f], NULL, CM_SOLE_WRITER, &again), "cm_file_open");
            must(cm_file_close(again), "cm_file_close");
            break;
        case 4:
            must(cm_invalidate(t.file[f], rng_below(&w->rng, BLOCKS) * BLOCK,
                               rng_below(&w->rng, 2) ? BLOCK : CM_ALL),
                 "cm_invalidate");
            break;
        case 5:
            must(cm_file_ranges(t.file[f], 0, runs, 4), "cm_file_ranges");
            must(cm_drop(t.file[f], rng_below(&w->rng, BLOCKS) * BLOCK,
                         rng_below(&w->rng, 2) ? 4 * BLOCK : CM_ALL),
                 "cm_drop");
            list_files();
            break;
        case 6:
            warm_some(w, f);
            break;
        case 7:
            (void)cm_checkpoint(t.cache); /* promotes; more is not possible in memory */
            break;
        default:
            if (rng_below(&w->rng, 10) == 0)
                must(cm_check(t.cache, 0, NULL, NULL, &r), "cm_check");
            if (r.bad_payload + r.duplicates + r.bad_cells)
                die("cm_check", f, r.bad_payload, r.duplicates, r.bad_cells, 0);
        }
        for (uint64_t i = rng_below(&w->rng, 30000); i > 0; i--)
            at_pause();
    }
    return NULL;
}

static cm_validator visited_validator(struct visited *o)
{
    const uint64_t taken_at = cm_now();
    pthread_rwlock_rdlock(&o->lock);
    cm_validator v = validator_of_version(o->size, o->stamp);
    pthread_rwlock_unlock(&o->lock);
    v.taken_at = taken_at;
    return v;
}

static void visit_read(struct worker *w, cm_file *f, struct visited *o)
{
    pthread_rwlock_rdlock(&o->lock);
    int64_t n = cm_read_through(f, 0, w->buf, VISITED_MAX, visited_read, o);
    if (n != (int64_t)o->size || memcmp(w->buf, o->data, o->size))
        die("visited file", (int)o->id.lo, o->stamp, (uint64_t)n, o->size, o->size);
    pthread_rwlock_unlock(&o->lock);
}

/* Makes the file longer or shorter, or changes its bytes. */
static void visit_change(struct worker *w, cm_file *f, struct visited *o)
{
    cm_bracket k;
    uint64_t at = rng_below(&w->rng, VISITED_MAX), len = 1 + rng_below(&w->rng, 2 * BLOCK);
    if (len > VISITED_MAX - at)
        len = VISITED_MAX - at;
    pthread_rwlock_wrlock(&o->lock);
    bool cut = rng_below(&w->rng, 2);
    must(cut ? cm_truncate_begin(f, at, &k) : cm_write_begin(f, at, len, &k), "begin");
    if (cut) {
        memset(o->data + at, 0, VISITED_MAX - at);
        o->size = at;
    } else {
        memset(o->data + at, (int)(o->stamp & 0xff), len);
        o->size = at + len > o->size ? at + len : o->size;
    }
    o->stamp++;
    must(cm_write_end(f, &k, NULL), "cm_write_end");
    pthread_rwlock_unlock(&o->lock);
}

/* A visited file has its own name or none, whoever else is being named, and whichever record it
 * has. */
static void visit_name(struct worker *w, cm_file *f, const struct visited *o, const char *found)
{
    char name[CM_FILE_NAME_MAX + 1];
    const int n = snprintf(name, sizeof(name), "%016llx", (unsigned long long)o->id.lo);
    if (found[0] && strncmp(found, name, (size_t)n) != 0)
        fprintf(stderr, "FAILED: a visited file has the name %s\n", found), abort();
    const size_t len = (size_t)n + rng_below(&w->rng, sizeof(name) - (size_t)n);
    memset(name + n, 'x', len - (size_t)n);
    name[len] = '\0';
    must(cm_file_set_name(f, name), "cm_file_set_name");
}

static void *visitor(void *arg)
{
    struct worker *w = arg;
    while (!at_load_relaxed(&t.stop)) {
        struct visited *o = &t.visited[rng_below(&w->rng, VISITED)];
        cm_validator v = visited_validator(o);
        cm_file_info info = { .struct_size = sizeof(info) };
        cm_file *f;
        for (uint64_t i = rng_below(&w->rng, 4000); i > 0; i--)
            at_pause();
        must(cm_file_open(t.cache, &o->id, &v, 0, &f), "cm_file_open");
        must(cm_file_get_info(f, &info), "cm_file_get_info");
        at_add_relaxed(&t.kept, info.kept);
        visit_name(w, f, o, info.name);
        for (uint64_t n = rng_below(&w->rng, 4); n > 0; n--)
            switch (rng_below(&w->rng, 8)) {
            case 0:
                visit_change(w, f, o);
                break;
            case 1:
                v = visited_validator(o);
                for (uint64_t i = rng_below(&w->rng, 2000); i > 0; i--)
                    at_pause();
                must(cm_file_revalidate(f, &v), "cm_file_revalidate");
                break;
            case 2:
                pthread_rwlock_rdlock(&o->lock); /* so no owner of a bracket goes on writing */
                must(cm_file_abort(f), "cm_file_abort");
                pthread_rwlock_unlock(&o->lock);
                break;
            default:
                visit_read(w, f, o);
            }
        must(cm_file_close(f), "cm_file_close");
        at_add_relaxed(&t.visits, 1);
    }
    return NULL;
}

/* Says what the library has counted since `before`. */
static void say_counted(const cm_stats_data *before)
{
    cm_stats_data now = { .struct_size = sizeof(now) };
    (void)cm_stats(t.cache, &now);
    for (unsigned i = 0; cm_stat_name(i); i++)
        if (cm_stat_value(&now, i) != cm_stat_value(before, i))
            fprintf(stderr, "%s: %llu more\n", cm_stat_name(i),
                    (unsigned long long)(cm_stat_value(&now, i) - cm_stat_value(before, i)));
}

/* Reads a block, and returns whether it is cached then. */
static bool is_stored(int f, uint64_t b, uint8_t *buf)
{
    int64_t n = cm_read_through(t.file[f], b * BLOCK, buf, BLOCK, origin_read, &f);
    uint64_t low = t.version[f][b];
    check("quiet", f, b, (uint64_t *)(void *)buf, (uint64_t)n, &low);
    return cm_read(t.file[f], b * BLOCK, buf, BLOCK, NULL) == BLOCK;
}

/* All is quiet. Every block must be storable, or an intent was left raised or slots leaked. The
 * rule of the policy may refuse a block that comes for the first time; then it comes in the next
 * time. */
static void check_quiet(void)
{
    static uint8_t buf[BLOCK] __attribute__((aligned(4096)));
    cm_stats_data before = { .struct_size = sizeof(before) };
    for (int f = 0; f < FILES; f++)
        for (uint64_t b = BLOCKS; b-- > 0;) { /* downwards: read-ahead would evict again */
            (void)cm_stats(t.cache, &before);
            if (!is_stored(f, b, buf) && !is_stored(f, b, buf)) {
                say_counted(&before);
                die("not storable when all is quiet", f, b, 0, 0, 0);
            }
        }
}

static void set_up(void *pool, uint64_t bytes, uint64_t waiting, uint64_t room)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_validator v = validator_of_version(BLOCKS * BLOCK, 0);
    o.verify = CM_VERIFY_FIRST_HIT;
    o.grow_max = room;
    o.probation_bytes = waiting > 0 ? waiting * BLOCK : CM_PROBATION_NONE;
    cm_create_options named = CM_CREATE_OPTIONS_INIT;
    named.flags = CM_CREATE_NAMES;
    must(cm_format_memory(pool, bytes, &named), "cm_format_memory");
    must(cm_open_memory(pool, bytes, &o, &t.cache), "cm_open_memory");
    /* With this rule all blocks go to the pool in the end, which makes more races. */
    if (waiting > 0)
        cm_ring_rule(&t.cache->policy.ring, t.cache->policy.ring.slots / 10, 1, false);
    v.taken_at = later();
    t.room = room > 0 ? room : bytes;
    for (uint32_t group = 1; group <= GROUPS; group++)
        must(cm_group_set_quota(t.cache, group, 20 * BLOCK), "cm_group_set_quota");
    for (int f = 0; f < FILES; f++) {
        t.id[f] = (cm_file_id){ 7, (uint64_t)f + 1 };
        must(cm_file_open(t.cache, &t.id[f], &v, CM_SOLE_WRITER, &t.file[f]), "cm_file_open");
        for (int b = 0; b < BLOCKS; b++)
            pthread_mutex_init(&t.lock[f][b], NULL);
    }
    for (int i = 0; i < VISITED; i++) {
        t.visited[i].id = (cm_file_id){ 8, (uint64_t)i + 1 };
        pthread_rwlock_init(&t.visited[i].lock, NULL);
    }
    t.revised_file = NULL;
    t.revised.id = (cm_file_id){ 9, 1 };
    pthread_rwlock_init(&t.revised.lock, NULL);
    race_revise(3);
}

static uint64_t number(const char *s)
{
    return strtoull(s, NULL, 10);
}

/* ---- Growing --------------------------------------------------------------------------------- */

#define ROUND_MS 400

static uint64_t grown_size[CM_PARTS]; /* of the pool after each growth */

/* Each growth is as small as it may be: the more often the pool is full again. Returns the last
 * size. */
static uint64_t plan_growths(uint64_t bytes)
{
    struct cm_geometry g, to;
    uint64_t word;
    must(cm_format_plan(bytes, 0, CM_INCOMPAT_NAMES, &g), "cm_format_plan");
    for (unsigned i = 0; i < CM_PARTS; i++) {
        while (cm_format_grow(&g, bytes, &to, &word))
            bytes += BLOCK;
        grown_size[i] = bytes;
        g = to;
    }
    return bytes;
}

static void *grower(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < CM_PARTS; i++) {
        usleep(1000 * (unsigned)(10 + rng_below(&w->rng, ROUND_MS / CM_PARTS)));
        must(cm_grow(t.cache, grown_size[i], NULL), "cm_grow");
        at_add_relaxed(&t.growths, 1);
    }
    return NULL;
}

/* ---- Main ------------------------------------------------------------------------------------ */

/* Has each kind of thread done its work at least once? */
static bool is_exercised(void)
{
    return at_load_relaxed(&t.hits) > 0 && at_load_relaxed(&t.pins) > 0 &&
           at_load_relaxed(&t.writes) > 0 && at_load_relaxed(&t.visits) > 0 &&
           at_load_relaxed(&t.kept) > 0 && at_load_relaxed(&t.requests) > 0 &&
           at_load_relaxed(&t.wakes) > 0 && at_load_relaxed(&t.warmed) > 0 &&
           at_load_relaxed(&t.verified) > 0 && at_load_relaxed(&t.shares) > 0;
}

/* The seconds that were asked for, and on a busy machine a minute more. */
static void wait_until_exercised(void)
{
    sleep((unsigned)args.seconds);
    for (unsigned i = 0; i < 600 && !is_exercised(); i++)
        usleep(100000);
}

static void run_threads(struct worker *w, uint64_t all)
{
    const uint64_t readers = args.readers, writers = args.writers, three = all - 4;
    uint64_t n;
    pthread_t grows;
    struct worker g = { .rng = { t.growths * 13 + 5 } };
    at_store_relaxed(&t.stop, 0u);
    for (n = 0; n < all; n++) {
        w[n].rng.s = n * 77 + 1 + t.growths;
        w[n].buf = os_aligned(BLOCK, VISITED_MAX + RUN_MAX * BLOCK);
        pthread_create(&w[n].thread, NULL,
                       n < readers             ? reader
                       : n < readers + writers ? writer
                       : n < three - VISITORS  ? event_loop
                       : n < three             ? visitor
                       : n < all - 3           ? race_reviser
                       : n < all - 2           ? race_revised_reader
                       : n < all - 1           ? disturber
                                               : race_sharer,
                       &w[n]);
    }
    if (args.rounds > 0) {
        pthread_create(&grows, NULL, grower, &g);
        pthread_join(grows, NULL);
        usleep(1000 * 30);
    } else {
        wait_until_exercised();
    }
    at_store_relaxed(&t.stop, 1u);
    for (uint64_t i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        os_aligned_free(w[i].buf);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0)
            args.seconds = number(argv[i + 1]);
        else if (strcmp(argv[i], "--probation") == 0) /* number of blocks in the buffer */
            args.waiting = number(argv[i + 1]);
        else if (strcmp(argv[i], "--readers") == 0)
            args.readers = number(argv[i + 1]);
        else if (strcmp(argv[i], "--writers") == 0)
            args.writers = number(argv[i + 1]);
        else if (strcmp(argv[i], "--grow") == 0)
            args.rounds = number(argv[i + 1]);
    }
    const uint64_t bytes = cm_pool_size_min() + 48 * (BLOCK + 64) / BLOCK * BLOCK;
    const uint64_t room = args.rounds > 0 ? plan_growths(bytes) : 0;
    void *pool = os_aligned(BLOCK, room ? room : bytes);
    const uint64_t all = args.readers + args.writers + VISITORS + LOOPS + 4;
    struct worker *w = calloc(all, sizeof(*w));
    int e = 0;
    if (!pool || !w)
        return 1;
    for (uint64_t round = 0; round < (args.rounds ? args.rounds : 1) && e == 0; round++) {
        set_up(pool, bytes, args.waiting, room);
        run_threads(w, all);
        race_end_shares(args.waiting > 0);
        check_quiet();
        e = cm_close(t.cache);
    }
    printf("race: %llu reads (%llu with hits), %llu pins, %llu writes, %llu visits (%llu warm), "
           "%llu revisions (%llu reads), %llu requests (%llu wakes), %llu bytes warmed, "
           "%llu growths, %llu shares, %llu threads, %llu s\n",
           (unsigned long long)t.reads, (unsigned long long)t.hits, (unsigned long long)t.pins,
           (unsigned long long)t.writes, (unsigned long long)t.visits, (unsigned long long)t.kept,
           (unsigned long long)t.revisions, (unsigned long long)t.revised_reads,
           (unsigned long long)t.requests, (unsigned long long)t.wakes,
           (unsigned long long)t.warmed, (unsigned long long)t.growths,
           (unsigned long long)t.shares, (unsigned long long)all, (unsigned long long)args.seconds);
    free(w);
    os_aligned_free(pool);
    if (e || !is_exercised())
        return fprintf(stderr, "FAILED: close %s, or nothing was exercised\n", cm_errname(e)), 1;
    return 0;
}
