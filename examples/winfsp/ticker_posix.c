/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ticker_posix.c - a thread that does something again and again, on Linux.
 *
 * Owns: the thread. Who: cache.c.
 */
#include "ticker.h"

#include <pthread.h>
#include <signal.h>
#include <timed_wait.h> /* examples/wait */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool runs, ends;
    unsigned ms;
    void (*each)(void);
} ticker = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* True: it is time to end. */
static bool wait_for_end(void)
{
    const struct timespec until = wait_until(UINT64_C(1000000) * ticker.ms);
    bool ends;

    pthread_mutex_lock(&ticker.lock);
    while (!ticker.ends && wait_on(&ticker.wake, &ticker.lock, &until)) {
    }
    ends = ticker.ends;
    pthread_mutex_unlock(&ticker.lock);
    return ends;
}

static void *tick(void *arg)
{
    do
        ticker.each();
    while (!wait_for_end());
    return arg;
}

/* Signals of faults stay: the library makes misses of them. */
static void block_others(sigset_t *were)
{
    static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL };
    sigset_t set;

    sigfillset(&set);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&set, faults[i]);
    pthread_sigmask(SIG_BLOCK, &set, were);
}

bool ticker_begin(unsigned ms, void (*each)(void))
{
    sigset_t were;

    ticker.ms = ms;
    ticker.each = each;
    ticker.ends = false;
    if (wait_init(&ticker.wake))
        return false;
    block_others(&were);
    ticker.runs = pthread_create(&ticker.thread, NULL, tick, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &were, NULL);
    if (!ticker.runs)
        pthread_cond_destroy(&ticker.wake);
    return ticker.runs;
}

void ticker_end(void)
{
    if (!ticker.runs)
        return;
    pthread_mutex_lock(&ticker.lock);
    ticker.ends = true;
    pthread_cond_signal(&ticker.wake);
    pthread_mutex_unlock(&ticker.lock);
    pthread_join(ticker.thread, NULL);
    pthread_cond_destroy(&ticker.wake);
    ticker.runs = false;
}
