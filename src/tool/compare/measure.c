/* SPDX-License-Identifier: BSD-2-Clause
 *
 * measure.c - reads a file with some threads, and counts and times the reads.
 *
 * Owns: what each thread counts. A thread has a part of the file of its own. Durations are counted
 * in buckets, 32 for each power of two, so the percentile is right to three percent.
 *
 * Who: here.c.
 */
#include "tool/compare/compare.h"
#include "tool/os.h"

#include <stdlib.h>
#include <string.h>

#define FINE 32u
#define BUCKETS (60u * FINE)

struct worker {
    uint64_t count, ns;
    uint32_t bucket[BUCKETS];
    int error;
};
struct measure {
    const struct compare_job *job;
    uint64_t until;
    struct worker *worker;
};

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift = 0;

    while (ns >> shift >= 2u * FINE)
        shift++;
    return shift * FINE + (unsigned)(ns >> shift);
}

static double bucket_end(unsigned bucket)
{
    const unsigned shift = bucket < 2u * FINE ? 0 : bucket / FINE - 1;

    return (double)((uint64_t)(bucket - shift * FINE + 1) << shift);
}

static uint64_t random_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The blocks of a thread's part, in the order in which it reads them; NULL: out of memory. */
static uint32_t *make_order(const struct compare_job *job, uint32_t n, unsigned i)
{
    uint32_t *order = malloc(n * sizeof(*order));
    uint64_t state = cm_now() * 2 + 1 + i;

    for (uint32_t k = 0; order && k < n; k++) {
        const uint32_t other = job->random ? (uint32_t)(random_number(&state) % (k + 1)) : k;

        order[k] = k;
        order[k] = order[other];
        order[other] = k;
    }
    return order;
}

static void read_part(struct measure *m, struct worker *w, unsigned i, void *buf, uint32_t n,
                      const uint32_t *order)
{
    const struct compare_job *job = m->job;
    const uint64_t first = (uint64_t)n * i * job->block;
    uint64_t now = cm_now();

    for (uint32_t k = 0; n > 0 && now < m->until && !os_interrupted(); k++) {
        const uint64_t began = now;

        if (k == n && job->once)
            return;
        if (k == n)
            k = 0;
        w->error = job->read(job->ctx, first + order[k] * (uint64_t)job->block, buf, job->block);
        now = cm_now();
        if (w->error != 0)
            return;
        w->count++;
        w->ns += now - began;
        w->bucket[bucket_of(now - began)]++;
    }
}

static void work(void *ctx, unsigned i)
{
    struct measure *m = ctx;
    const uint32_t n = (uint32_t)(m->job->bytes / m->job->block / m->job->threads);
    uint32_t *order = make_order(m->job, n, i);
    void *buf = os_alloc_pages(m->job->block);

    if (order && buf)
        read_part(m, &m->worker[i], i, buf, n, order);
    else
        m->worker[i].error = CM_ENOMEM;
    os_free_pages(buf);
    free(order);
}

static void sum_up(const struct measure *m, double seconds, struct compare_figures *f)
{
    struct worker *sum = &m->worker[0];
    uint64_t seen = 0;

    for (unsigned i = 1; i < m->job->threads; i++) {
        sum->count += m->worker[i].count;
        sum->ns += m->worker[i].ns;
        for (unsigned k = 0; k < BUCKETS; k++)
            sum->bucket[k] += m->worker[i].bucket[k];
    }
    memset(f, 0, sizeof(*f));
    if (sum->count == 0)
        return;
    f->iops = (double)sum->count / seconds;
    f->bytes_per_second = f->iops * (double)m->job->block;
    f->mean_us = (double)sum->ns / (double)sum->count / 1e3;
    for (unsigned k = 0; k < BUCKETS && f->p99_us == 0; k++) {
        seen += sum->bucket[k];
        if ((double)seen >= 0.99 * (double)sum->count)
            f->p99_us = bucket_end(k) / 1e3;
    }
}

int compare_measure(const struct compare_job *job, struct compare_figures *figures)
{
    const uint64_t began = cm_now();
    struct measure m = { .job = job, .until = began + (uint64_t)(job->seconds * 1e9) };
    int rc = CM_ENOMEM;

    m.worker = calloc(job->threads, sizeof(*m.worker));
    if (m.worker && os_run_threads(job->threads, work, &m) == 0) {
        rc = 0;
        for (unsigned i = 0; i < job->threads; i++)
            rc = m.worker[i].error ? m.worker[i].error : rc;
        sum_up(&m, (double)(cm_now() - began) / 1e9, figures);
    }
    free(m.worker);
    return rc;
}
