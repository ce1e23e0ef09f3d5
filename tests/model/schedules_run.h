/* SPDX-License-Identifier: BSD-2-Clause
 *
 * schedules_run.h - shared by schedules.c and schedules_run.c: threads that run one at a time, in
 * an order that a seed decides; what a crash of the machine leaves of the pool.
 */
#ifndef CM_TESTS_SCHEDULES_RUN_H
#define CM_TESTS_SCHEDULES_RUN_H

#include "state/cache_state.h"
#include "turns.h"

#define THREADS 4u

/* Whether the library has a step before each access (schedules_run.c), or none
 * (histories_free.c). */
extern const bool schedule_has_steps;

_Noreturn void fail(const char *what, uint64_t a, uint64_t b);
void must(int64_t e, const char *what); /* fails if e is an error */

/* Begins anew with a seed: the same seed, the same numbers, the same schedule. */
void schedule_seed(uint64_t seed);
uint64_t schedule_random(uint64_t below);

/* Runs `body` in n threads. `steps`: about as many as the run will have. `changes`: how often a
 * thread loses its priority. Returns the number of steps. */
uint64_t schedule_run(unsigned n, void (*body)(unsigned thread), uint64_t steps, unsigned changes);
/* In later runs one step of so many gives the word to a thread that is chosen at random; 0: none.
 */
void schedule_walk(uint64_t walk);
/* The threads of later runs share a weak memory (weak.h), or one without such effects. */
void schedule_weak(bool weak);
/* The number of the calling thread; THREADS: it is none of a run. */
unsigned schedule_me(void);

/* Before step `at` of the next run, crash(ctx) is called. `pool` of `bytes` bytes is what a crash
 * leaves something of; schedule_leave() says what. */
void schedule_crash(uint64_t at, void (*crash)(void), uint8_t *pool, uint64_t bytes);
/* Writes to `to` what a crash leaves of the pool now. Power cut: of each 8 bytes that are not
 * durable it is open whether they are there. Else all is there. */
void schedule_leave(uint8_t *to, bool power_cut);

#endif
