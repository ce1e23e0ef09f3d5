/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checkpoint.c - checkpoints of the pool, by a thread of their own.
 *
 * There is one when the mount begins, and then one every few seconds, as long as something changes.
 * Each stores what waits in the probation buffer and may go to the pool. Without DAX each also
 * syncs what was written to the pool, where that is possible: else a power cut empties it.
 *
 * Callers: backing_pool.c, resize.c; proof.c says what was proved.
 */
#include "mount.h"

#include "../service/pool_use.h"

#include <timed_wait.h> /* examples/wait */

#define PERIOD_NS UINT64_C(5000000000)
/* What changes while one runs, and what it clears, is durable after the next one. What waits in the
 * probation buffer is stored by the second one that finds it there. */
#define ROUNDS 2

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop;
    bool syncs; /* the thread's: a checkpoint of this pool is a sync of its volume */
} checkpoints = { .lock = PTHREAD_MUTEX_INITIALIZER };
static _Atomic uint64_t proofs; /* syncs of the origin that proved something */
static _Atomic bool helps;

void checkpoint_proof(void)
{
    atomic_fetch_add(&proofs, 1);
}

static uint32_t durability(void)
{
    cm_info info = { .struct_size = sizeof(info) };

    return cm_get_info(mnt.cache, &info) < 0 ? CM_DURABILITY_VOLATILE : info.durability;
}

bool checkpoint_helps(void)
{
    return atomic_load(&helps);
}

/* Once for each checkpoint, and not for each file: cm_get_info looks at thousands of records. */
static void look_at_pool(void)
{
    const uint32_t d = durability();

    checkpoints.syncs = pool_use_syncs(d);
    atomic_store(&helps, d == CM_DURABILITY_DAX || d == CM_DURABILITY_CHECKPOINT);
}

/* As pool_use_changes(), with the proofs; 0: the pool does not tell. */
static uint64_t changes(void)
{
    uint64_t n;

    return pool_use_changes(mnt.cache, checkpoints.syncs, &n) ? n + atomic_load(&proofs) : 0;
}

/* True: it is time to end. */
static bool wait_for_stop(void)
{
    const struct timespec until = wait_until(PERIOD_NS);
    bool stop;

    pthread_mutex_lock(&checkpoints.lock);
    while (!checkpoints.stop && wait_on(&checkpoints.wake, &checkpoints.lock, &until)) {
    }
    stop = checkpoints.stop;
    pthread_mutex_unlock(&checkpoints.lock);
    return stop;
}

static void *checkpoint_main(void *arg)
{
    uint64_t seen = 0;
    unsigned rounds = 1;

    (void)arg;
    do {
        const uint64_t now = changes();

        if (now != seen)
            rounds = ROUNDS;
        seen = now;
        if (rounds == 0)
            continue;
        rounds--;
        (void)cm_checkpoint(mnt.cache); /* the library logs what is wrong */
        look_at_pool();
    } while (!wait_for_stop());
    return NULL;
}

int checkpoint_start(void)
{
    int err;

    look_at_pool();
    checkpoints.stop = false;
    if ((err = wait_init(&checkpoints.wake)) != 0)
        return err;
    err = pthread_create(&checkpoints.thread, NULL, checkpoint_main, NULL);
    checkpoints.running = err == 0;
    if (err)
        pthread_cond_destroy(&checkpoints.wake);
    return err;
}

void checkpoint_again(void)
{
    if (checkpoint_start())
        say(CM_LOG_WARNING, "pool %s: no checkpoints any more: a power cut empties it",
            mnt.opt.pool);
}

void checkpoint_stop(void)
{
    if (!checkpoints.running)
        return;
    pthread_mutex_lock(&checkpoints.lock);
    checkpoints.stop = true;
    pthread_cond_signal(&checkpoints.wake);
    pthread_mutex_unlock(&checkpoints.lock);
    pthread_join(checkpoints.thread, NULL);
    pthread_cond_destroy(&checkpoints.wake); /* checkpoint_start() makes it again */
    checkpoints.running = false;
}
