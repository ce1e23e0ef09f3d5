/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_guard.c - platform.h on Linux: the fault guard.
 *
 * Owns a table of address ranges (guard_ranges.h), the signal handlers of the process and the
 * handlers that were installed before.
 *
 * How: SIGBUS and SIGSEGV run guard_handler(). If the program counter lies in the guarded code of
 * persist and the address in a registered range, the handler moves the program counter to the
 * code's landing and returns. The routine then returns CM_EIO. The handler uses no unwinding, no
 * longjmp and no lock; it only reads a table that never shrinks. All other faults go to the handler
 * that was installed before, as if the kernel had called it. A thread that blocks the two signals
 * gets them unblocked when it first calls the library.
 *
 * Who: api/, persist/, platform/. It calls the previous handlers for all other faults.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "platform/atomic.h"
#include "platform/guard_ranges.h"
#include "platform/posix.h"

#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR 4
#define BUS_MCEERR_AO 5
#endif

/* Protected by POSIX_NO_FORK, which is a lock, too. So a child finds no table that is half made,
 * and no lock that nobody in it holds. */
static bool guard_installed;
/* Set before the handlers are installed, constant afterwards. */
static struct cm_plat_guard_code guard_code;
static struct sigaction guard_old_bus, guard_old_segv;

static void guard_handler(int sig, siginfo_t *info, void *context);

#if defined(__x86_64__)
#define GUARD_PC(uc) (&(uc)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
#define GUARD_PC(uc) (&(uc)->uc_mcontext.pc)
#endif

/* True: the fault belongs to the guard, and execution may go on. */
static bool guard_absorbs(int sig, const siginfo_t *info, void *context)
{
    uintptr_t addr = (uintptr_t)info->si_addr;
    uintptr_t span = 1;

    if (info->si_code <= 0 || info->si_code == SI_KERNEL) {
        return false; /* sent by a process, or no address (x86: not canonical) */
    }
    if (sig == SIGBUS && (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)) {
        /* Machine check: si_addr is the start of a damaged area of 2^lsb bytes. */
        const unsigned lsb = (unsigned)info->si_addr_lsb;

        span = (uintptr_t)1 << (lsb < 40 ? lsb : 12);
        addr &= ~(span - 1);
    }
    if (!guard_covers(addr, span)) {
        return false;
    }
    /* "Action optional": the kernel found damage that no thread has read yet. The program counter
     * says nothing. Nothing needs to be done: a thread that reads that page later gets a
     * synchronous fault. */
    if (sig == SIGBUS && info->si_code == BUS_MCEERR_AO) {
        return true;
    }
#ifdef GUARD_PC
    ucontext_t *uc = context;
    const uintptr_t pc = (uintptr_t)*GUARD_PC(uc);

    if (pc >= guard_code.begin && pc < guard_code.end) {
        *GUARD_PC(uc) = (__typeof__(*GUARD_PC(uc)))guard_code.landing;
        return true;
    }
#else
    (void)context;
#endif
    return false;
}

/* Calls the previous handler, with the signals blocked that its sigaction names. The return from
 * our own handler restores the mask. */
static void guard_call(int sig, siginfo_t *info, void *context, struct sigaction *old)
{
    const struct sigaction wanted = *old;
    sigset_t this_one;

    (void)sigemptyset(&this_one);
    (void)sigaddset(&this_one, sig);
    (void)pthread_sigmask(SIG_BLOCK, &wanted.sa_mask, NULL);
    if ((wanted.sa_flags & SA_NODEFER) != 0 && sigismember(&wanted.sa_mask, sig) == 0) {
        (void)pthread_sigmask(SIG_UNBLOCK, &this_one, NULL);
    }
    if (((unsigned)wanted.sa_flags & (unsigned)SA_RESETHAND) != 0) {
        old->sa_handler = SIG_DFL;
        old->sa_flags = 0;
    }
    if ((wanted.sa_flags & SA_SIGINFO) != 0) {
        wanted.sa_sigaction(sig, info, context);
    } else {
        wanted.sa_handler(sig);
    }
}

/* Does with a signal what the kernel would have done without guard_handler(). */
static void guard_chain(int sig, siginfo_t *info, void *context)
{
    struct sigaction *old = sig == SIGBUS ? &guard_old_bus : &guard_old_segv;
    const bool repeats = info->si_code > 0 && !(sig == SIGBUS && info->si_code == BUS_MCEERR_AO);

    if (old->sa_handler == SIG_IGN && !repeats) {
        return;
    }
    if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
        /* On return the instruction faults again and the kernel decides. Its core dump then shows
         * the true place. A signal that will not repeat is sent again (and held back until the
         * return). */
        (void)sigaction(sig, old, NULL);
        if (!repeats) {
            (void)raise(sig);
        }
        return;
    }
    guard_call(sig, info, context, old);
}

static void guard_handler(int sig, siginfo_t *info, void *context)
{
    const int saved_errno = errno;

    if (!guard_absorbs(sig, info, context)) {
        guard_chain(sig, info, context);
    }
    errno = saved_errno;
}

static int guard_install_one(int sig, struct sigaction *old)
{
    struct sigaction ours;

    /* Read the old handler first: a fault may arrive as soon as the new handler is installed. */
    if (sigaction(sig, NULL, old) != 0) {
        return CM_EIO;
    }
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = guard_handler;
    /* Use a thread's alternate stack if it has one: the previous handler may rely on that. */
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (old->sa_flags & SA_RESTART);
    (void)sigemptyset(&ours.sa_mask);
    return sigaction(sig, &ours, NULL) == 0 ? 0 : CM_EIO;
}

/* No fork begins (POSIX_NO_FORK). */
static int guard_install(const struct cm_plat_guard_code *code)
{
    if (guard_installed) {
        assert(code->begin == guard_code.begin && code->end == guard_code.end);
        return 0;
    }
    guard_code = *code;
    if (guard_install_one(SIGBUS, &guard_old_bus) != 0) {
        return CM_EIO;
    }
    if (guard_install_one(SIGSEGV, &guard_old_segv) != 0) {
        (void)sigaction(SIGBUS, &guard_old_bus, NULL);
        return CM_EIO;
    }
    guard_installed = true;
    at_store_release(&cm_plat_ready, THREAD_GUARDED); /* every thread passes cm_plat_thread_begin */
    return 0;
}

/* If a thread blocks the signal and faults, the kernel ends the process, with or without a handler.
 * So this unblocks them once. A thread that blocks them again later loses that protection. */
void cm_posix_guard_unblock(void)
{
    sigset_t faults;

    (void)sigemptyset(&faults);
    (void)sigaddset(&faults, SIGBUS);
    (void)sigaddset(&faults, SIGSEGV);
    (void)pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
}

static void *new_memory(size_t bytes)
{
    return cm_posix_remap(NULL, 0, bytes);
}

int cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code)
{
    assert(base != NULL && len > 0 && code != NULL);
    cm_posix_guard_unblock(); /* this thread is about to read the pool */
    POSIX_NO_FORK;
    const int rc = guard_install(code);

    return rc == 0 ? guard_range_add(base, len, new_memory) : rc;
}

void cm_plat_guard_remove(const void *base)
{
    POSIX_NO_FORK;
    guard_range_remove(base);
}

static bool guard_has(int sig)
{
    struct sigaction now;

    return sigaction(sig, NULL, &now) != 0 ||
           ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == guard_handler);
}

bool cm_plat_guard_stands(void)
{
    /* Pairs with the release in guard_install(): the handlers were installed before. */
    return at_load_acquire(&cm_plat_ready) != THREAD_GUARDED ||
           (guard_has(SIGBUS) && guard_has(SIGSEGV));
}
