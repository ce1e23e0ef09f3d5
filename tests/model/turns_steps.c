/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turns_steps.c - two threads take turns: the turn, and what counts as a step.
 *
 * Owns the turn. turns.c says which thread runs which operation and after which step the first one
 * gives the turn away; the library, compiled with turns.h, calls the turns_* functions.
 */
#define TURNS_ITSELF
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "turns_run.h"

/* ---- Turns ----------------------------------------------------------------------------------- */

struct turns t;

_Thread_local int me;

void fail(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "FAILED: %s: %llx, %llx (%s, step %llu)\n", what, (unsigned long long)a,
            (unsigned long long)b, t.where, (unsigned long long)t.switch_at);
    exit(1);
}

void must(int64_t e, const char *what)
{
    if (e < 0)
        fail(what, (uint64_t)-e, 0);
}

void give_turn(void)
{
    pthread_mutex_lock(&t.lock);
    t.turn = !me;
    pthread_cond_broadcast(&t.changed);
    while (t.turn != me)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
}

/* With -Dchecks=full a call ends with a check of all structures. That check waits for no thread. */
static bool looking(void)
{
#ifdef CM_CHECKS_FULL
    return me == FIRST && t.cache && t.cache->inside == CM_INSIDE_LOOKING;
#else
    return false;
#endif
}

/* Its check waits until no thread is inside of a call, so it has to know of this. */
int in_a_call(struct cm_cache *c, int (*what)(struct cm_cache *c))
{
#ifdef CM_CHECKS_FULL
    c->inside++; /* the other thread waits for its turn */
    const int e = what(c);
    c->inside--;
    return e;
#else
    return what(c);
#endif
}

void turns_step(void)
{
    if (me != FIRST || !t.armed || looking() || t.step++ != t.switch_at)
        return;
    t.begun = true;
    give_turn();
}

/* This thread cannot go on until the other one has run. */
void turns_wait_for(const uint32_t *word, uint32_t unlike)
{
    (void)unlike; /* steps.c asks again */
    if (!t.armed || (me == FIRST ? !t.begun || t.done : false) || t.wanted[!me])
        fail("both wait, or nobody can wake the one that waits", (uint64_t)me, t.step);
    t.wanted[me] = word;
    give_turn();
    t.wanted[me] = NULL;
}

void turns_release(struct cm_lock *l)
{
    if (at_load_relaxed(&l->word) == 0)
        fail("released a lock that was not held", 0, 0);
    at_store_release(&l->word, 0);
    if (t.wanted[!me] == &l->word)
        give_turn();
}

/* ---- The order of copies --------------------------------------------------------------------- */

void turns_did(char what)
{
    size_t n = strlen(t.trace);
    if (!t.armed && n + 1 < sizeof(t.trace))
        t.trace[n] = what;
}

/* ---- Nothing is asked of what is durable ----------------------------------------------------- */

void turns_flushed(const void *p, size_t n)
{
    (void)p, (void)n;
}

void turns_fenced(void)
{
}

/* ---- Slots ----------------------------------------------------------------------------------- */

void turns_judge_slots(const struct cm_cache *c)
{
    struct cm_header h;
    for (uint64_t s = 0; s < c->policy.ring.slots; s++)
        if (cm_slot_header(&c->media, s, &h) == CM_SLOT_HIT &&
            (s >= c->super.covered || s >= c->super.now.frontier ||
             s >= cm_ring_used(&c->policy.ring)))
            fail("a block in a slot that is called unused", s, c->super.now.frontier);
}

void turns_judge_owned(const struct cm_ring *r)
{
    int64_t astray = -(int64_t)r->free_count;
    for (uint64_t s = 0; s < r->slots; s++)
        astray += cm_ring_is_owned(r, s);
    if (astray != 0)
        fail("slots are lost", (uint64_t)astray, r->free_count);
}
