/* SPDX-License-Identifier: BSD-2-Clause
 *
 * weak.c - a weak memory for threads that run one at a time.
 *
 * It is the operational model of Kang et al., "A Promising Semantics for Relaxed-Memory
 * Concurrency" (POPL 2017), without promises. Each place in memory has the values that were stored
 * there, in order. A thread has a view: of each place, the oldest value that it may still read. A
 * load picks any value from there on. A store with release carries the view of its thread, and a
 * load with acquire takes over the view that comes with its value. So an order that is missing in
 * the code shows as an old value that the code does not expect.
 *
 * What it leaves out: a load never gives a value that is stored later, so a load that needs an
 * order towards later accesses of its own thread is not found wanting (tests/spin/litmus.pml has
 * those); plain accesses always give the present value; of a place the last values only are kept.
 * Memory that was changed by an access that is no step begins anew, with one value.
 *
 * Who: schedules_run.c and steps.c call it, one thread at a time.
 */
#define TURNS_ITSELF
#include "weak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 4u
#define PLACES 4096u
#define TABLE 16384u
#define KEPT 8u /* values of a place */
/* Bytes of views in one run: 20 checkpoints, each with a lock for each chain of files, take 65 MiB
 * of them. The system gives only what is touched. */
#define VIEWS (UINT64_C(512) << 20)

/* Of each place the number of a value; places behind `n`: 0. */
struct view {
    uint32_t n;
    uint32_t at[]; /* n numbers */
};

struct value {
    uint64_t v;
    const struct view *carries; /* or NULL */
};

struct place {
    const void *p;
    size_t bytes;
    uint32_t count; /* of values; the last one has this number */
    struct value kept[KEPT];
};

/* knows: what the thread may not read before. tells: what its stores with release carry: all that
 * it knows, but its stores past the caches. told: what its other stores carry, since a fence.
 * heard: what an acquire fence adds. behind: what guarded loads may not read before either. */
struct mind {
    uint32_t knows[PLACES], tells[PLACES], told[PLACES], heard[PLACES], behind[PLACES];
};

static struct {
    bool on;
    uint64_t random, older;
    unsigned rate; /* one of so many loads gives an older value, if it can */
    uint32_t places;
    struct place place[PLACES];
    uint32_t table[TABLE]; /* number of a place + 1 */
    struct mind mind[THREADS_MAX];
    uint32_t in_order[PLACES], clock[PLACES]; /* of seq_cst; of weak_synchronize */
    uint8_t *views;
    size_t used;
} m;

static _Thread_local unsigned me = THREADS_MAX;

static uint64_t dice(void)
{
    uint64_t z = m.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ z >> 31;
}

void weak_begin(uint64_t seed)
{
    if (!m.views)
        m.views = malloc(VIEWS);
    if (!m.views)
        exit(1);
    m.on = true;
    m.random = seed;
    m.rate = 2u + (unsigned)(dice() % 3); /* not every load: who waits has to see it some time */
    for (unsigned t = 0; t < THREADS_MAX; t++) {
        const size_t n = m.places * sizeof(uint32_t);
        memset(m.mind[t].knows, 0, n);
        memset(m.mind[t].tells, 0, n);
        memset(m.mind[t].told, 0, n);
        memset(m.mind[t].heard, 0, n);
        memset(m.mind[t].behind, 0, n);
    }
    memset(m.in_order, 0, m.places * sizeof(uint32_t));
    memset(m.clock, 0, m.places * sizeof(uint32_t));
    memset(m.table, 0, sizeof(m.table));
    m.places = 0;
    m.used = 0;
}

void weak_end(void)
{
    m.on = false;
}

void weak_thread(unsigned thread)
{
    me = thread;
}

uint64_t weak_older(void)
{
    return m.older;
}

static bool off(void)
{
    return !m.on || me >= THREADS_MAX;
}

/* ---- Views ----------------------------------------------------------------------------------- */

static void join(uint32_t *to, const uint32_t *from)
{
    for (uint32_t i = 0; i < m.places; i++)
        if (to[i] < from[i])
            to[i] = from[i];
}

static void join_view(uint32_t *to, const struct view *v)
{
    for (uint32_t i = 0; v && i < v->n; i++)
        if (to[i] < v->at[i])
            to[i] = v->at[i];
}

/* What a store carries: a view, and what the value before it carried (NULL: nothing). */
static const struct view *view_of(const uint32_t *at, const struct view *before)
{
    struct view *v = (void *)(m.views + m.used);
    const size_t bytes = (sizeof(*v) + m.places * sizeof(uint32_t) + 15) / 16 * 16;
    if (bytes > VIEWS - m.used)
        fprintf(stderr, "FAILED: the run is too long for the weak memory\n"), exit(1);
    m.used += bytes;
    v->n = m.places;
    memcpy(v->at, at, m.places * sizeof(uint32_t));
    join_view(v->at, before);
    return v;
}

/* ---- Places ---------------------------------------------------------------------------------- */

static struct value *last(struct place *l)
{
    return &l->kept[l->count % KEPT];
}

static uint32_t number_of(const struct place *l)
{
    return (uint32_t)(l - m.place);
}

static void append(struct place *l, uint64_t v, const struct view *carries)
{
    l->count++;
    *last(l) = (struct value){ v, carries };
}

/* A plain store, by nobody knows which thread: it carries what any thread knows, so nothing is
 * found wanting that may be in order. No thread reads an older value any more. */
static void begin_anew(struct place *l, uint64_t v)
{
    uint32_t all[PLACES] = { 0 };
    for (unsigned t = 0; t < THREADS_MAX; t++)
        join(all, m.mind[t].knows);
    append(l, v, view_of(all, NULL));
    for (unsigned t = 0; t < THREADS_MAX; t++)
        m.mind[t].knows[number_of(l)] = m.mind[t].tells[number_of(l)] = l->count;
}

/* NULL: there are too many. */
static struct place *find(const void *p, size_t bytes, uint64_t v)
{
    const uint64_t hash = (uint64_t)(uintptr_t)p * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t i = (uint32_t)(hash >> 40) % TABLE;
    for (; m.table[i] != 0; i = (i + 1) % TABLE) {
        struct place *l = &m.place[m.table[i] - 1];
        if (l->p != p)
            continue;
        if (l->bytes != bytes) {
            l->bytes = bytes;
            begin_anew(l, v);
        }
        return l;
    }
    if (m.places == PLACES)
        return NULL;
    struct place *l = &m.place[m.places];
    for (unsigned t = 0; t < THREADS_MAX; t++) {
        struct mind *d = &m.mind[t];
        d->knows[m.places] = d->tells[m.places] = d->told[m.places] = 0;
        d->heard[m.places] = d->behind[m.places] = 0;
    }
    m.in_order[m.places] = m.clock[m.places] = 0;
    m.table[i] = ++m.places;
    *l = (struct place){ .p = p, .bytes = bytes };
    append(l, v, NULL);
    return l;
}

static uint64_t widened(const void *v, size_t n)
{
    uint8_t b = 0;
    uint16_t h = 0;
    uint32_t w = 0;
    uint64_t q = 0;
    switch (n) {
    case 1:
        memcpy(&b, v, 1);
        return b;
    case 2:
        memcpy(&h, v, 2);
        return h;
    case 4:
        memcpy(&w, v, 4);
        return w;
    default:
        memcpy(&q, v, 8);
        return q;
    }
}

static void narrowed(void *to, uint64_t v, size_t n)
{
    const uint8_t b = (uint8_t)v;
    const uint16_t h = (uint16_t)v;
    const uint32_t w = (uint32_t)v;
    memcpy(to, n == 1 ? (const void *)&b : n == 2 ? (const void *)&h : n == 4 ? (void *)&w : &v, n);
}

/* ---- Accesses -------------------------------------------------------------------------------- */

static void heard(struct mind *d, const struct view *carries, enum weak_order order)
{
    const bool takes = order == WEAK_ACQUIRE || order == WEAK_GUARDED || order >= WEAK_ACQ_REL;
    join_view(takes ? d->knows : d->heard, carries);
    if (takes)
        join_view(d->tells, carries);
}

/* Picks one of the values that the thread may read. */
static const struct value *pick(struct place *l, enum weak_order order)
{
    struct mind *d = &m.mind[me];
    const uint32_t i = number_of(l);
    uint32_t from = l->count < KEPT ? 1 : l->count - KEPT + 1;
    if (from < d->knows[i])
        from = d->knows[i];
    if (order == WEAK_SEQ_CST && from < m.in_order[i])
        from = m.in_order[i];
    if (order == WEAK_GUARDED && from < d->behind[i])
        from = d->behind[i];
    uint32_t chosen = l->count;
    if (from < l->count && dice() % m.rate == 0) {
        chosen = from + (uint32_t)(dice() % (l->count - from));
        m.older++;
    }
    d->knows[i] = chosen;
    if (d->tells[i] < chosen)
        d->tells[i] = chosen;
    const struct value *v = &l->kept[chosen % KEPT];
    heard(d, v->carries, order);
    return v;
}

void weak_loaded(const void *p, void *v, size_t n, enum weak_order order)
{
    if (off())
        return;
    const uint64_t is = widened(v, n);
    struct place *l = find(p, n, is);
    if (!l)
        return;
    if (last(l)->v != is)
        begin_anew(l, is);
    narrowed(v, pick(l, order)->v, n);
}

static void store(struct place *l, uint64_t v, enum weak_order order, const struct view *before)
{
    struct mind *d = &m.mind[me];
    const uint32_t i = number_of(l);
    d->knows[i] = l->count + 1;
    if (order != WEAK_PAST)
        d->tells[i] = l->count + 1;
    append(l, v, view_of(order >= WEAK_RELEASE ? d->tells : d->told, before));
    if (order == WEAK_SEQ_CST)
        m.in_order[i] = l->count;
}

void weak_storing(const void *p, size_t n)
{
    struct place *l = off() ? NULL : find(p, n, widened(p, n));
    if (l && last(l)->v != widened(p, n))
        begin_anew(l, widened(p, n));
}

void weak_stored(const void *p, size_t n, enum weak_order order)
{
    const uint64_t v = widened(p, n);
    struct place *l = off() ? NULL : find(p, n, v);
    if (l)
        store(l, v, order, NULL);
}

void weak_updated(const void *p, const void *old, size_t n, enum weak_order order)
{
    const uint64_t was = widened(old, n), v = widened(p, n);
    struct place *l = off() ? NULL : find(p, n, was);
    if (!l)
        return;
    if (last(l)->v != was)
        begin_anew(l, was);
    const struct view *before = last(l)->carries;
    m.mind[me].knows[number_of(l)] = m.mind[me].tells[number_of(l)] = l->count;
    heard(&m.mind[me], before, order);
    if (v != was)
        store(l, v, order, before);
    if (order == WEAK_SEQ_CST)
        join(m.mind[me].behind, m.in_order);
}

static bool in_pieces(const void *p, size_t n)
{
    return n % WEAK_CHUNK == 0 && (uintptr_t)p % WEAK_CHUNK == 0;
}

void weak_copied_from(const void *p, void *to, size_t n)
{
    if (off())
        return;
    if (!in_pieces(p, n)) { /* not tracked: as if it were all of plain stores */
        for (unsigned t = 0; t < THREADS_MAX; t++)
            join(m.mind[me].heard, m.mind[t].knows);
        return;
    }
    for (size_t at = 0; at < n; at += WEAK_CHUNK) {
        uint64_t is, v;
        memcpy(&is, (uint8_t *)to + at, 8);
        v = is;
        const uint32_t places = m.places;
        struct place *l = find((const uint8_t *)p + at, 8, is);
        if (l && m.places > places)
            begin_anew(l, is); /* the buffer's blocks are stored without steps */
        weak_loaded((const uint8_t *)p + at, &v, 8, WEAK_RELAXED);
        for (size_t i = 0; v != is && i < WEAK_CHUNK; i += 8)
            memcpy((uint8_t *)to + at + i, &v, 8);
    }
}

static size_t piece_of(const void *p, size_t n)
{
    return in_pieces(p, n) ? WEAK_CHUNK : 8;
}

void weak_copying_to(const void *p, size_t n)
{
    for (size_t at = 0; !off() && at < n; at += piece_of(p, n))
        weak_storing((const uint8_t *)p + at, 8);
}

void weak_copied_to(const void *p, size_t n, enum weak_order order)
{
    for (size_t at = 0; !off() && at < n; at += piece_of(p, n))
        weak_stored((const uint8_t *)p + at, 8, order);
}

/* ---- Orders ---------------------------------------------------------------------------------- */

void weak_fence_acquire(void)
{
    if (off())
        return;
    join(m.mind[me].knows, m.mind[me].heard);
    join(m.mind[me].tells, m.mind[me].heard);
}

void weak_fence_release(void)
{
    if (off())
        return;
    join(m.mind[me].tells, m.mind[me].knows);
    join(m.mind[me].told, m.mind[me].tells);
}

void weak_fence_seq_cst(void)
{
    if (off())
        return;
    weak_fence_acquire();
    join(m.mind[me].knows, m.in_order);
    weak_fence_release();
    join(m.in_order, m.mind[me].knows);
}

/* The word of a lock counts as a place of one byte: its values do not matter, their views do. */
void weak_locked(const void *lock)
{
    struct place *l = off() ? NULL : find(lock, 1, 0);
    if (l)
        heard(&m.mind[me], last(l)->carries, WEAK_ACQUIRE);
}

void weak_unlocked(const void *lock)
{
    struct place *l = off() ? NULL : find(lock, 1, 0);
    if (l)
        append(l, 0, view_of(m.mind[me].tells, last(l)->carries));
}

void weak_synchronize(void)
{
    if (off())
        return;
    join(m.mind[me].knows, m.clock);
    join(m.mind[me].tells, m.clock);
    join(m.clock, m.mind[me].tells);
}
