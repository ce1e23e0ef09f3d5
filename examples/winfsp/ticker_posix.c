/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ticker_posix.c - a thread that does something again and again, on Linux.
 *
 * Owns: the thread. Who: cache.c.
 */
#include "ticker.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

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
    struct timespec ts;
    bool ends;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += ticker.ms / 1000;
    ts.tv_nsec += (long)(ticker.ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&ticker.lock);
    while (!ticker.ends && rc == 0)
        rc = pthread_cond_timedwait(&ticker.wake, &ticker.lock, &ts);
    ends = ticker.ends;
    pthread_mutex_unlock(&ticker.lock);
    return ends;
}

static void *tick(void *arg)
{
    while (!wait_for_end())
        ticker.each();
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
    pthread_condattr_t a;
    sigset_t were;

    ticker.ms = ms;
    ticker.each = each;
    ticker.ends = false;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&ticker.wake, &a);
    pthread_condattr_destroy(&a);
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
