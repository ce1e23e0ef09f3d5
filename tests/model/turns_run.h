/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turns_run.h - what turns.c and turns_steps.c share: the turn of two threads.
 */
#ifndef CM_TESTS_TURNS_RUN_H
#define CM_TESTS_TURNS_RUN_H

#include <pthread.h>

#include "state/cache_state.h"
#include "turns.h"

enum { FIRST, SECOND };

struct turns {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int turn;
    bool begun, done;         /* the second one */
    bool armed;               /* the first one is at work */
    bool over;                /* all of it */
    uint64_t pairs, runs;     /* so far */
    uint64_t step, switch_at; /* of the first one */
    const void *wanted[2];    /* a lock or a word that each of them waits for */
    char trace[64]; /* copies 'c', acquire fences 'f', loads of one word 'l', of several 'w' */
    char where[160];
    const struct cm_cache *cache; /* whose stores are steps */
};
extern struct turns t;
extern _Thread_local int me; /* FIRST or SECOND */

_Noreturn void fail(const char *what, uint64_t a, uint64_t b);
void must(int64_t e, const char *what); /* fails where e is an error */
/* Lets the other one run until it gives the turn back. */
void give_turn(void);
void turns_begin_steps(struct cm_cache *c);
void turns_end_steps(struct cm_cache *c);

#endif
