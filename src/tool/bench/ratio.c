/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ratio.c - takes ratios: two operations in turns, medians over many short rounds.
 *
 * Owns: no state. A slice is a number of operations. It is chosen before the first round, so that a
 * slice takes about 10 ms. Nothing reads the clock inside a slice. Its time is the thread's own, so
 * it does not matter which other threads used the processor. A round is A B B A, so that a steady
 * drift (a clock speed, another process that grows) has no effect on its ratio.
 *
 * Who: bench/.
 */
#include "tool/bench/bench.h"

#include <stdlib.h>

void bench_stop_if_asked(void)
{
    if (!os_interrupted())
        return;
    bench_remove_all();
    tool_message("bench", "interrupted; nothing was left behind");
    os_end_interrupted();
}

void bench_fail(const char *what, const char *why)
{
    bench_stop_if_asked(); /* a call that was cancelled for that is no error */
    tool_message("bench", "%s: %s", what, why);
    bench_remove_all();
    exit(TOOL_FAILED);
}

void bench_must(int64_t code, const char *what)
{
    if (code < 0)
        bench_fail(what, cm_strerror((int)code));
}

void *bench_alloc(size_t bytes)
{
    void *p = malloc(bytes);

    if (!p)
        bench_fail("memory", "there is not enough; try a smaller --size");
    return p;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return a < b ? -1 : a > b;
}

double bench_median(double *v, unsigned n)
{
    qsort(v, n, sizeof(*v), by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

void bench_quartiles(double *v, unsigned n, struct bench_result *r)
{
    r->ratio = bench_median(v, n);
    r->low = v[n / 4];
    r->high = v[n - 1 - n / 4];
}

/* Nanoseconds of one unit of work. */
static double slice(struct bench *b, const struct bench_side *s, unsigned n)
{
    uint64_t ns = 0;

    for (unsigned left = n; left > 0;) {
        unsigned part = s->most && left > s->most ? s->most : left;
        uint64_t began = os_thread_time();
        s->op(b, part);
        ns += os_thread_time() - began;
        if (s->repair)
            s->repair(b, part);
        left -= part;
    }
    bench_stop_if_asked();
    return (double)ns / (double)n / (s->units > 0 ? s->units : 1);
}

/* The number of operations that fill a slice. */
static unsigned calibrate(struct bench *b, const struct bench_side *s)
{
    double units = s->units > 0 ? s->units : 1, ns = 0;
    unsigned n = 16;

    while (ns * units * n < BENCH_SLICE_NS / 4) { /* also warms up */
        n *= 2;
        ns = slice(b, s, n);
    }
    return (unsigned)(BENCH_SLICE_NS / (ns * units)) + 1;
}

void bench_turns(struct bench *b, const struct bench_side *ours, const struct bench_side *rival,
                 bool at_least, struct bench_result *r)
{
    double *v = bench_alloc(3 * b->rounds * sizeof(*v));
    double *o = v, *v_rival = v + b->rounds, *ratio = v + 2 * b->rounds;
    unsigned n = calibrate(b, ours), m = calibrate(b, rival);

    for (unsigned i = 0; i < b->rounds; i++) {
        double first = slice(b, ours, n);
        v_rival[i] = slice(b, rival, m);
        v_rival[i] = (v_rival[i] + slice(b, rival, m)) / 2;
        o[i] = (first + slice(b, ours, n)) / 2;
        ratio[i] = at_least ? v_rival[i] / o[i] : o[i] / v_rival[i];
    }
    bench_quartiles(ratio, b->rounds, r);
    r->ours = bench_median(o, b->rounds);
    r->rival = bench_median(v_rival, b->rounds);
    free(v);
}
