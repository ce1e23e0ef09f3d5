/* SPDX-License-Identifier: BSD-2-Clause
 *
 * histories_free.c - runs the threads of histories.c as the system lets them: what schedules_run.c
 * does step by step.
 *
 * The library has no steps here. The steps of the test itself are pauses, of random length.
 */
#define TURNS_ITSELF
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedules_run.h"

const bool schedule_has_steps = false;

static struct {
    uint64_t seed, random;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    uint64_t round;
    unsigned n, done;
    uint32_t ready; /* atomic */
    void (*body)(unsigned thread);
} s = { .lock = PTHREAD_MUTEX_INITIALIZER,
        .begin = PTHREAD_COND_INITIALIZER,
        .end = PTHREAD_COND_INITIALIZER };

static _Thread_local uint64_t pauses;

void fail(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "FAILED: %s: %llx, %llx (--seed %llu)\n", what, (unsigned long long)a,
            (unsigned long long)b, (unsigned long long)s.seed);
    exit(1);
}

void must(int64_t e, const char *what)
{
    if (e < 0)
        fail(what, (uint64_t)-e, 0);
}

void schedule_seed(uint64_t seed)
{
    s.seed = s.random = seed;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64: Steele et al. 2014 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t schedule_random(uint64_t below)
{
    return next_random(&s.random) % below;
}

void turns_step(void)
{
    const uint64_t dice = next_random(&pauses);
    if (dice % 4 == 0)
        for (uint64_t i = dice >> 32 & 1023; i > 0; i--)
            at_pause();
}

void turns_begin_steps(struct cm_cache *c)
{
    (void)c;
}

void turns_end_steps(struct cm_cache *c)
{
    (void)c;
}

void schedule_walk(uint64_t walk)
{
    (void)walk;
}

void schedule_weak(bool weak)
{
    (void)weak; /* the memory is that of the machine */
}

static void *thread(void *arg)
{
    const unsigned i = (unsigned)(uintptr_t)arg;
    for (uint64_t round = 1;; round++) {
        pthread_mutex_lock(&s.lock);
        while (s.round < round)
            pthread_cond_wait(&s.begin, &s.lock);
        pthread_mutex_unlock(&s.lock);
        if (i < s.n) {
            pauses = s.seed * 7 + i;
            (void)at_add_seq_cst(&s.ready, 1u);
            for (unsigned k = 0; at_load_acquire(&s.ready) < s.n && k < 2000; k++)
                at_pause();
            s.body(i);
        }
        pthread_mutex_lock(&s.lock);
        if (++s.done == THREADS)
            pthread_cond_signal(&s.end);
        pthread_mutex_unlock(&s.lock);
    }
    return NULL;
}

uint64_t schedule_run(unsigned n, void (*body)(unsigned thread), uint64_t steps, unsigned changes)
{
    static bool begun;
    (void)steps, (void)changes;
    for (unsigned i = 0; i < THREADS && !begun; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, thread, (void *)(uintptr_t)i) || pthread_detach(t))
            exit(1);
    }
    begun = true;
    pthread_mutex_lock(&s.lock);
    s.n = n;
    s.body = body;
    s.done = 0;
    at_store_relaxed(&s.ready, 0u);
    s.round++;
    pthread_cond_broadcast(&s.begin);
    while (s.done < THREADS)
        pthread_cond_wait(&s.end, &s.lock);
    pthread_mutex_unlock(&s.lock);
    return 0;
}
