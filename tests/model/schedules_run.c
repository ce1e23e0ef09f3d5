/* SPDX-License-Identifier: BSD-2-Clause
 *
 * schedules_run.c - runs threads one at a time, in an order that a seed decides.
 *
 * The order is that of Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of
 * Finding Bugs" (ASPLOS 2010). Each thread has a priority, at random, and the highest one that can
 * go on runs. At some steps, chosen at random, the thread that runs gets the lowest priority. So a
 * bug that needs d orders of two steps is found with a probability that does not fall with the
 * number of threads and falls with the (d-1)-th power of the number of steps. Where that is wanted,
 * a thread chosen at random gets the highest priority at many steps. Then threads are together in
 * the same few lines for long, which few changes of priority seldom bring about.
 *
 * A crash of the machine: a line that was written back is durable, with the content that it had
 * then, after the thread's next fence. Of all other stores nothing is known.
 */
#define TURNS_ITSELF
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedules_run.h"
#include "weak.h"

#define LINE CM_CACHE_LINE
#define STEPS_MAX 2000000u /* a run that takes longer does not end */
#define CHANGES_MAX 8u
#define PENDING_MAX 4096u /* lines that a thread has written back and not fenced */

enum state { READY, WAITS, DONE };

struct pending {
    uint64_t line, order;
    uint8_t bytes[LINE];
};

static struct {
    uint64_t seed, random;
    pthread_mutex_t lock;
    pthread_cond_t changed[THREADS + 1]; /* the last one: all are done */
    unsigned n, running;
    bool armed, begun, weak;
    void (*body)(unsigned thread);
    enum state state[THREADS];
    const uint32_t *wanted[THREADS]; /* a thread that waits goes on when this ... */
    uint32_t unlike[THREADS];        /* ... is another value */
    int priority[THREADS];
    int top;       /* of the priorities */
    uint64_t walk; /* one step of so many gives a thread, chosen at random, the highest one; or 0 */
    uint64_t step, change[CHANGES_MAX];
    unsigned changes, next;
    /* The crash. */
    uint64_t crash_at;
    void (*crash)(void);
    uint8_t *pool, *durable;
    uint64_t bytes, room;
    uint64_t order, *orders; /* which write-back of a line is durable */
    unsigned pendings[THREADS];
    struct pending pending[THREADS][PENDING_MAX];
} s = { .lock = PTHREAD_MUTEX_INITIALIZER };

const bool schedule_has_steps = true;

static _Thread_local unsigned me = THREADS;

void fail(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "FAILED: %s: %llx, %llx (--seed %llu, step %llu, thread %u)\n", what,
            (unsigned long long)a, (unsigned long long)b, (unsigned long long)s.seed,
            (unsigned long long)s.step, me);
    exit(1);
}

void must(int64_t e, const char *what)
{
    if (e < 0)
        fail(what, (uint64_t)-e, 0);
}

unsigned schedule_me(void)
{
    return me;
}

/* ---- Random numbers -------------------------------------------------------------------------- */

void schedule_seed(uint64_t seed)
{
    s.seed = s.random = seed;
}

uint64_t schedule_random(uint64_t below)
{
    uint64_t z = s.random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64: Steele et al. 2014 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

/* ---- Who runs -------------------------------------------------------------------------------- */

static bool can_run(unsigned i)
{
    return s.state[i] == READY ||
           (s.state[i] == WAITS && __atomic_load_n(s.wanted[i], __ATOMIC_SEQ_CST) != s.unlike[i]);
}

/* The thread that has to run now; THREADS: all are done. */
static unsigned best(void)
{
    unsigned found = THREADS, done = 0;
    for (unsigned i = 0; i < s.n; i++) {
        done += s.state[i] == DONE;
        if (can_run(i) && (found == THREADS || s.priority[i] > s.priority[found]))
            found = i;
    }
    if (found == THREADS && done < s.n)
        fail("all threads wait", done, s.n);
    return found;
}

/* Lets thread `to` run, and waits until this one may. */
static void let_run(unsigned to)
{
    if (to == me)
        return;
    pthread_mutex_lock(&s.lock);
    s.running = to;
    pthread_cond_signal(&s.changed[to]);
    while (s.running != me && s.state[me] != DONE)
        pthread_cond_wait(&s.changed[me], &s.lock);
    pthread_mutex_unlock(&s.lock);
}

void turns_step(void)
{
    if (me == THREADS || !s.armed)
        return;
    if (s.step == s.crash_at && s.crash) {
        s.armed = false; /* what the crash does is no step */
        s.crash();
        s.armed = true;
    }
    if (++s.step > STEPS_MAX)
        fail("the run does not end", s.step, 0);
    while (s.next < s.changes && s.step >= s.change[s.next])
        s.priority[me] = -(int)++s.next;
    if (s.walk && schedule_random(s.walk) == 0)
        s.priority[schedule_random(s.n)] = ++s.top;
    let_run(best());
}

/* This thread cannot go on before *word is another value than `unlike`. */
void turns_wait_for(const uint32_t *word, uint32_t unlike)
{
    if (me == THREADS)
        fail("nobody can end this wait", (uint64_t)(uintptr_t)word, unlike);
    s.wanted[me] = word;
    s.unlike[me] = unlike;
    s.state[me] = WAITS;
    let_run(best());
    s.state[me] = READY;
}

void turns_release(struct cm_lock *l)
{
    if (at_load_relaxed(&l->word) == 0)
        fail("released a lock that was not held", 0, 0);
    weak_unlocked(l);
    at_store_release(&l->word, 0);
    turns_step();
}

void turns_did(char what)
{
    (void)what;
}

/* ---- Threads --------------------------------------------------------------------------------- */

static void *thread(void *arg)
{
    const unsigned i = (unsigned)(uintptr_t)arg;
    for (;;) {
        pthread_mutex_lock(&s.lock);
        while (!s.begun || s.running != i)
            pthread_cond_wait(&s.changed[i], &s.lock);
        pthread_mutex_unlock(&s.lock);
        me = i;
        weak_thread(i);
        s.body(i);
        s.state[i] = DONE;
        const unsigned next = best();
        me = THREADS;
        pthread_mutex_lock(&s.lock);
        s.running = next;
        s.begun = next != THREADS;
        pthread_cond_signal(&s.changed[next]);
        pthread_mutex_unlock(&s.lock);
    }
    return NULL;
}

static void begin_threads(void)
{
    static bool begun;
    if (begun)
        return;
    begun = true;
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_cond_init(&s.changed[i], NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, thread, (void *)(uintptr_t)i) || pthread_detach(t))
            exit(1);
    }
}

void schedule_walk(uint64_t walk)
{
    s.walk = walk;
}

void schedule_weak(bool weak)
{
    s.weak = weak;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t schedule_run(unsigned n, void (*body)(unsigned thread), uint64_t steps, unsigned changes)
{
    begin_threads();
    s.n = n;
    s.body = body;
    s.step = 0;
    s.next = 0;
    s.changes = changes < CHANGES_MAX ? changes : CHANGES_MAX;
    for (unsigned i = 0; i < s.changes; i++)
        s.change[i] = 1 + schedule_random(steps ? steps : 1);
    qsort(s.change, s.changes, sizeof(s.change[0]), by_number);
    for (unsigned i = 0; i < n; i++) {
        const unsigned j = (unsigned)schedule_random(i + 1); /* Fisher and Yates */
        s.priority[i] = s.priority[j];
        s.priority[j] = s.top = (int)i + 1;
        s.state[i] = READY;
    }
    s.armed = true;
    if (s.weak)
        weak_begin(schedule_random(UINT64_MAX));
    pthread_mutex_lock(&s.lock);
    s.running = best();
    s.begun = true;
    pthread_cond_signal(&s.changed[s.running]);
    while (s.begun)
        pthread_cond_wait(&s.changed[THREADS], &s.lock);
    pthread_mutex_unlock(&s.lock);
    weak_end();
    s.armed = false;
    s.crash = NULL;
    return s.step;
}

/* ---- The crash ------------------------------------------------------------------------------- */

void schedule_crash(uint64_t at, void (*crash)(void), uint8_t *pool, uint64_t bytes)
{
    if (s.room < bytes) {
        free(s.durable);
        free(s.orders);
        s.durable = malloc((size_t)bytes);
        s.orders = malloc((size_t)(bytes / LINE * sizeof(*s.orders)));
        s.room = bytes;
        if (!s.durable || !s.orders)
            exit(1);
    }
    s.crash_at = at;
    s.crash = crash;
    s.pool = pool;
    s.bytes = bytes;
    s.order = 0;
    memcpy(s.durable, pool, (size_t)bytes);
    memset(s.orders, 0, (size_t)(bytes / LINE * sizeof(*s.orders)));
    memset(s.pendings, 0, sizeof(s.pendings));
}

void turns_flushed(const void *p, size_t n)
{
    const uint64_t at = (uint64_t)((const uint8_t *)p - s.pool);
    if (me == THREADS || !s.crash || n == 0 || at >= s.bytes)
        return;
    for (uint64_t line = at / LINE; line <= (at + n - 1) / LINE; line++) {
        if (s.pendings[me] == PENDING_MAX)
            fail("too many lines were written back without a fence", line, 0);
        struct pending *d = &s.pending[me][s.pendings[me]++];
        d->line = line;
        d->order = ++s.order;
        memcpy(d->bytes, s.pool + line * LINE, LINE);
    }
}

void turns_fenced(void)
{
    if (me == THREADS || !s.crash)
        return;
    for (unsigned i = 0; i < s.pendings[me]; i++) {
        const struct pending *d = &s.pending[me][i];
        if (d->order < s.orders[d->line])
            continue; /* a later content is durable already */
        s.orders[d->line] = d->order;
        memcpy(s.durable + d->line * LINE, d->bytes, LINE);
    }
    s.pendings[me] = 0;
}

void schedule_leave(uint8_t *to, bool power_cut)
{
    if (!power_cut) {
        memcpy(to, s.pool, (size_t)s.bytes);
        return;
    }
    /* Mostly few words or most of them are there: then each order of two stores comes up. */
    const uint64_t odds = schedule_random(4), of = 1 + schedule_random(16);
    for (uint64_t line = 0; line < s.bytes / LINE; line++) {
        uint64_t was[LINE / 8], is[LINE / 8];
        memcpy(was, s.durable + line * LINE, LINE);
        memcpy(is, s.pool + line * LINE, LINE);
        for (unsigned i = 0; i < LINE / 8; i++)
            if (was[i] != is[i] && (odds == 0   ? true
                                    : odds == 1 ? false
                                                : (schedule_random(of + 1) == 0) == (odds == 2)))
                was[i] = is[i];
        memcpy(to + line * LINE, was, LINE);
    }
}
