/* SPDX-License-Identifier: BSD-2-Clause
 *
 * gate.c - a moment at which nobody uses what is attached.
 *
 * Each piece of work that may use an attachment runs between gate_enter() and gate_leave(): a
 * request of the kernel, a turn of the keeper, a look of watch.c. (Requests of the control socket
 * do not: resize.c excludes them by a lock of its own.) gate_close() waits until all work has left,
 * and until gate_open() nobody enters. So its caller may take attachments away from their users.
 *
 * Work that waits for a server keeps the gate open. Then gate_close() gives up after PATIENCE_NS,
 * because programs wait meanwhile.
 *
 * Owns: counters of those who are inside. Each thread uses one of them, so that threads seldom
 * share a cache line. Who: loop.c, keeper.c and watch.c enter; resize.c closes.
 */
#include "mount.h"

#define COUNTERS 64u
#define LINE 64
#define PATIENCE_NS 5000000000ull
#define NAP_US 200

struct counter {
    _Alignas(LINE) _Atomic unsigned inside;
};
static struct counter counters[COUNTERS];
static _Atomic unsigned threads;
static _Thread_local struct counter *mine;
static _Thread_local unsigned depth;
static _Atomic bool closed; /* written with the lock */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t open;
} gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };

static void wait_until_open(void)
{
    pthread_mutex_lock(&gate.lock);
    while (atomic_load(&closed))
        pthread_cond_wait(&gate.open, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

void gate_enter(void)
{
    if (depth++ > 0)
        return;
    if (!mine) /* Relaxed: it only spreads threads over the counters. */
        mine = &counters[atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % COUNTERS];
    for (;;) {
        /* Sequentially consistent, both, as the store and the loads of gate_close(): of who enters
         * and who closes at the same time, at least one sees the other. */
        atomic_fetch_add(&mine->inside, 1);
        if (!atomic_load(&closed))
            return;
        atomic_fetch_sub(&mine->inside, 1);
        wait_until_open();
    }
}

void gate_leave(void)
{
    assert(depth > 0);
    /* Release: who has closed the gate sees what was done inside. */
    if (--depth == 0)
        atomic_fetch_sub_explicit(&mine->inside, 1, memory_order_release);
}

static bool is_empty(void)
{
    for (unsigned k = 0; k < COUNTERS; k++)
        if (atomic_load(&counters[k].inside) != 0)
            return false;
    return true;
}

bool gate_close(void)
{
    const uint64_t until = cm_now() + PATIENCE_NS;

    pthread_mutex_lock(&gate.lock);
    assert(!atomic_load(&closed) && depth == 0);
    atomic_store(&closed, true);
    pthread_mutex_unlock(&gate.lock);
    while (!is_empty()) {
        if (cm_now() > until) {
            gate_open();
            return false;
        }
        usleep(NAP_US);
    }
    return true;
}

void gate_open(void)
{
    pthread_mutex_lock(&gate.lock);
    atomic_store(&closed, false);
    pthread_cond_broadcast(&gate.open);
    pthread_mutex_unlock(&gate.lock);
}
