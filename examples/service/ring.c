/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.c - how client and service wait for each other in the memory that they share.
 *
 * Owns: the words `asked`, `sleeps` and the slots' states (ring.h says why no wake-up is lost).
 *
 * Who: connection.c, client_link.c.
 */
#include "ring.h"

/* Some 20 to 50 us: as long as it takes to wake a process whose processor sleeps, in a virtual
 * machine. With less, two sides that have both slept never find each other awake. */
#define SPINS 1024u
#define TRY_EVERY 256u /* where spinning does not help it is tried again so often */
#define FOREVER UINT64_MAX

static void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* How often to look before sleeping. */
static unsigned spins(struct ring_patience *p)
{
    return p->helps || ++p->waits % TRY_EVERY == 0 ? SPINS : 1;
}

void ring_ask(struct ring *r, unsigned slot)
{
    atomic_store_explicit(&r->slot[slot].state, RING_ASKED, memory_order_relaxed);
    /* seq_cst: the request before its bit; and the bit before the look at `sleeps`, see ring.h. */
    atomic_fetch_or(&r->asked, UINT32_C(1) << slot);
    if (atomic_load(&r->sleeps) != 0) {
        atomic_store(&r->sleeps, 0);
        ring_wake(&r->sleeps);
    }
}

bool ring_await(struct ring *r, unsigned slot, struct ring_patience *p, uint64_t ns)
{
    _Atomic uint32_t *const state = &r->slot[slot].state;
    uint32_t asked = RING_ASKED;
    uint64_t until;

    for (unsigned left = spins(p); left > 0; left--, pause_a_moment())
        /* Acquire: pairs with the swap in ring_answer(); the reply is there. */
        if (atomic_load_explicit(state, memory_order_acquire) == RING_ANSWERED) {
            p->helps = true;
            return true;
        }
    p->helps = false;
    until = ring_now_ns() + ns;
    /* Acquire where it fails: as above. */
    if (!atomic_compare_exchange_strong(state, &asked, RING_AWAITED) && asked == RING_ANSWERED)
        return true;
    while (atomic_load_explicit(state, memory_order_acquire) != RING_ANSWERED) {
        if (atomic_load(&r->ended) || ring_now_ns() >= until)
            return false;
        ring_sleep(state, RING_AWAITED, until);
    }
    return true;
}

uint32_t ring_wait(struct ring *r, struct ring_patience *p)
{
    for (unsigned left = spins(p); left > 0; left--, pause_a_moment())
        if (atomic_load_explicit(&r->asked, memory_order_relaxed) != 0) {
            p->helps = true;
            /* Acquire: pairs with ring_ask(); the requests are there. */
            return atomic_exchange_explicit(&r->asked, 0, memory_order_acquire);
        }
    p->helps = false;
    while (!atomic_load(&r->ended)) {
        /* seq_cst: `sleeps` before the look at `asked`, see ring.h. */
        atomic_store(&r->sleeps, 1);
        if (atomic_load(&r->asked) == 0 && !atomic_load(&r->ended))
            ring_sleep(&r->sleeps, 1, FOREVER);
        atomic_store(&r->sleeps, 0);
        const uint32_t bits = atomic_exchange(&r->asked, 0);
        if (bits != 0)
            return bits;
    }
    return 0;
}

void ring_answer(struct ring *r, unsigned slot)
{
    /* Release: the reply before the state. Acquire is not needed. */
    if (atomic_exchange_explicit(&r->slot[slot].state, RING_ANSWERED, memory_order_release) ==
        RING_AWAITED)
        ring_wake(&r->slot[slot].state);
}

void ring_end(struct ring *r)
{
    atomic_store(&r->ended, 1);
    atomic_store(&r->sleeps, 0);
    ring_wake(&r->sleeps);
    for (unsigned i = 0; i < RING_SLOTS; i++)
        ring_wake(&r->slot[i].state);
}
