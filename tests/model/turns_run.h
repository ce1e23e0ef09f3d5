/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turns_run.h - shared by turns.c and turns_steps.c: the turn of two threads.
 */
#ifndef CM_TESTS_TURNS_RUN_H
#define CM_TESTS_TURNS_RUN_H

#include <pthread.h>

#include "state/settle.h"
#include "turns.h"

enum { FIRST, SECOND };

struct turns {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int turn;
    bool begun, done;         /* of the second operation */
    bool armed;               /* the first operation runs */
    bool over;                /* all runs are done */
    uint64_t pairs, runs;     /* counted so far */
    uint64_t step, switch_at; /* steps of the first operation so far; the step at which to switch */
    const void *wanted[2];    /* the lock or word that each thread waits for */
    char trace[64]; /* copies 'c', acquire fences 'f', loads of one word 'l', of several 'w' */
    char where[160];
    const struct cm_cache *cache; /* its stores are steps */
};
extern struct turns t;
extern _Thread_local int me; /* FIRST or SECOND */

_Noreturn void fail(const char *what, uint64_t a, uint64_t b);
void must(int64_t e, const char *what); /* fails if e is an error */
/* Lets the other thread run until it gives the turn back. */
void give_turn(void);
/* Runs what happens inside of public calls only. */
int in_a_call(struct cm_cache *c, int (*what)(struct cm_cache *c));
/* The superblock knows of each slot that has a block, whenever the pool emptied itself, and so does
 * the ring. */
void turns_judge_slots(const struct cm_cache *c);
/* When nobody is at work, the owned slots are the free ones. */
void turns_judge_owned(const struct cm_ring *r);

#endif
