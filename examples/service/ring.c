/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.c - how client and service wait for each other in the memory that they share.
 *
 * Owns: the words `asked`, `sleeps` and the slots' states (ring.h says why no wake-up is lost).
 *
 * Who: ring_server.c, client_link.c.
 */
#include "ring.h"

#include "os.h"

/* As long as it takes to wake a process whose processor sleeps, in a virtual machine. With less,
 * two sides that have both slept never find each other awake. */
#define SPIN_NS UINT64_C(30000)
/* What a hit takes if both sides run. Who waits longer may be in the way of the other side: more
 * threads than processors. */
#define ALONE_NS UINT64_C(2000)
/* Where spinning does not help it is tried again, for TRY_TIMES waits of TRY_EVERY. Once would not
 * do: it helps only if both sides try. */
#define TRY_EVERY 64u
#define TRY_TIMES 8u

static void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool ring_spins(struct ring_patience *p)
{
    const uint64_t now = os_now_ns();

    if (p->until == 0)
        p->until = p->helps || ++p->waits % TRY_EVERY < TRY_TIMES ? now + SPIN_NS : now;
    p->helps = now < p->until;
    if (p->helps && p->until - now < SPIN_NS - ALONE_NS)
        os_yield();
    for (unsigned i = 0; i < 8 && p->helps; i++)
        pause_a_moment();
    return p->helps;
}

void ring_ask(struct ring_side *s, unsigned slot)
{
    struct ring *const r = s->ring;

    atomic_store_explicit(&r->slot[slot].state, RING_ASKED, memory_order_relaxed);
    /* seq_cst: the request before its bit; and the bit before the look at `sleeps`, see ring.h. */
    atomic_fetch_or(&r->asked, UINT32_C(1) << slot);
    if (atomic_load(&r->sleeps) != 0) {
        atomic_store(&r->sleeps, 0);
        ring_bell_ring(s->bell);
    }
}

bool ring_await(struct ring_side *s, unsigned slot, struct ring_patience *p, uint64_t ns)
{
    _Atomic uint32_t *const state = &s->ring->slot[slot].state;
    uint32_t asked = RING_ASKED;
    uint64_t until;

    p->until = 0;
    do {
        /* Acquire: pairs with the swap in ring_answer(); the reply is there. */
        if (atomic_load_explicit(state, memory_order_acquire) == RING_ANSWERED)
            return true;
    } while (ring_spins(p));
    until = os_now_ns() + ns;
    /* Acquire where it fails: as above. */
    if (!atomic_compare_exchange_strong(state, &asked, RING_AWAITED) && asked == RING_ANSWERED)
        return true;
    while (atomic_load_explicit(state, memory_order_acquire) != RING_ANSWERED) {
        if (atomic_load(&s->ring->ended) || os_now_ns() >= until)
            return false;
        ring_sleep(s, slot, until);
    }
    return true;
}

uint32_t ring_asked(struct ring *r)
{
    if (atomic_load_explicit(&r->asked, memory_order_relaxed) == 0)
        return 0;
    /* Acquire: pairs with ring_ask(); the requests are there. */
    return atomic_exchange_explicit(&r->asked, 0, memory_order_acquire);
}

bool ring_may_sleep(struct ring *r)
{
    /* seq_cst: `sleeps` before the look at `asked`, see ring.h. */
    atomic_store(&r->sleeps, 1);
    return atomic_load(&r->asked) == 0;
}

void ring_is_awake(struct ring *r)
{
    /* Relaxed: a client that still sees 1 rings the bell once too often. */
    atomic_store_explicit(&r->sleeps, 0, memory_order_relaxed);
}

void ring_answer(struct ring_side *s, unsigned slot)
{
    /* Release: the reply before the state. Acquire is not needed. */
    if (atomic_exchange_explicit(&s->ring->slot[slot].state, RING_ANSWERED, memory_order_release) ==
        RING_AWAITED)
        ring_wake(s, slot);
}

void ring_end(struct ring_side *s)
{
    atomic_store(&s->ring->ended, 1);
    for (unsigned i = 0; i < RING_SLOTS; i++)
        ring_wake(s, i);
}
