/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring_server.c - a thread of the service that serves the rings of several clients.
 *
 * One thread for many rings: while one client is served the next one asks, so the thread seldom
 * sleeps, and a client that has just asked finds its answer while it spins. With a thread for each
 * ring all of them would spin and sleep in turns, on the processors that the clients need.
 *
 * Nothing that a ring may ask waits for a sync (cmp_ring_takes). But a page of the pool that is not
 * in memory is read from its volume first. Then all clients of this thread wait, some milliseconds
 * on a disk. A pool that is larger than the memory should be on DAX or a fast volume.
 *
 * Who: server.c, stream.c.
 */
#include "ring_server.h"

#define GUEST_MS 1 /* the lock is free for so long when another thread wants it */

/* The thread takes the lock again and again: without a word it would hardly let another one in. */
static void enter(struct ring_server *s)
{
    atomic_fetch_add(&s->guests, 1);
    os_lock(&s->lock);
    atomic_fetch_sub(&s->guests, 1);
}

/* Lock held. Serves what was asked. Returns whether there was anything. */
static bool serve_all(struct ring_server *s)
{
    bool any = false;

    for (struct ring_member *m = s->members; m; m = m->next)
        for (uint32_t bits = ring_asked(m->side.ring); bits; bits &= bits - 1) {
            m->serve(m->arg, (unsigned)__builtin_ctz(bits));
            any = true;
        }
    return any;
}

/* Sleeps, unless somebody has asked. */
static void sleep_all(struct ring_server *s)
{
    bool may = true;

    os_lock(&s->lock);
    for (struct ring_member *m = s->members; m; m = m->next)
        may &= ring_may_sleep(m->side.ring);
    os_unlock(&s->lock);
    if (may)
        ring_bell_wait(&s->bell);
    os_lock(&s->lock);
    for (struct ring_member *m = s->members; m; m = m->next)
        ring_is_awake(m->side.ring);
    os_unlock(&s->lock);
}

static void run(void *arg)
{
    struct ring_server *s = arg;
    struct ring_patience p = { 0 };
    bool ends, any;

    for (;;) {
        os_lock(&s->lock);
        any = serve_all(s);
        ends = s->ends;
        os_unlock(&s->lock);
        if (ends)
            return;
        if (atomic_load(&s->guests) > 0) {
            os_sleep_ms(GUEST_MS);
        } else if (any) {
            p.until = 0;
        } else if (!ring_spins(&p)) {
            sleep_all(s);
            p.until = 0;
        }
    }
}

bool ring_server_begin(struct ring_server *s)
{
    s->members = NULL;
    s->count = 0;
    s->ends = false;
    if (!ring_bell_make(&s->bell))
        return false;
    os_mutex_begin(&s->lock);
    if (os_thread_begin(&s->thread, run, s))
        return true;
    os_mutex_end(&s->lock);
    ring_bell_free(&s->bell);
    return false;
}

bool ring_server_add(struct ring_server *s, struct ring_member *m, struct ring_pass *p)
{
    if (!ring_make(&m->side, &s->bell, p))
        return false;
    enter(s);
    m->next = s->members;
    s->members = m;
    atomic_fetch_add(&s->count, 1);
    os_unlock(&s->lock);
    /* The thread may sleep without having looked at this ring. */
    ring_bell_ring(s->bell.own);
    return true;
}

void ring_server_remove(struct ring_server *s, struct ring_member *m)
{
    struct ring_member **p;

    enter(s);
    for (p = &s->members; *p != m; p = &(*p)->next)
        ;
    *p = m->next;
    atomic_fetch_sub(&s->count, 1);
    os_unlock(&s->lock);
    ring_end(&m->side);
}

void ring_server_end(struct ring_server *s)
{
    enter(s);
    s->ends = true;
    os_unlock(&s->lock);
    ring_bell_ring(s->bell.own);
    os_thread_join(&s->thread);
    os_mutex_end(&s->lock);
    ring_bell_free(&s->bell);
}
