/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stripes.pml - brackets and misses over several stripes; the lock-free miss against the two stores
 * of a begin (cm_stripe_begin, cm_stripe_end, cm_stripe_ticket in stripe.h; cm_forget_begin,
 * cm_forget_end in forget.c, cm_ticket_take in fill_ticket.c, publish in publish.c).
 *
 * Two blocks, in two stripes (-DSAME: in one stripe, like two groups with the same hash). One
 * writer brackets both blocks, the other one brackets block 1. A filler takes both tickets, reads
 * the origin once and publishes each block by itself. Every load and store of stripe words is a
 * step of its own.
 *
 * Proves: from the moment when a begin has returned, and after the end, no old content is cached.
 * At the end the intents of every stripe are zero.
 *
 * Mutants: ONE_TICKET the fill tests the first block's ticket for both blocks   BEGIN_ONE the begin
 *          returns after its first stripe   END_EARLY the end comes before the origin is written
 *          NO_INTENTS   NO_END_TICKET with BEGIN_NO_TICKET
 *          NO_END_TICKET with either  TICKET_FIRST (the begin moves the ticket before it raises
 *          the intents)  or  MISS_INTENTS_FIRST (the miss loads intents before the ticket)
 * Benign:  NO_END_TICKET or BEGIN_NO_TICKET alone; one of the two orders alone (each half suffices)
 */
#ifdef SAME
#define ST(b) 0
#else
#define ST(b) (b)
#endif
byte lk[2], ticket[2], intents[2];
byte cache[2] = 1, ov[2] = 1, lo[2] = 1;
#define lock(s) atomic { lk[s] == 0 -> lk[s] = 1 }
#define unlock(s) lk[s] = 0

inline begin(s) {
#ifdef TICKET_FIRST
  ticket[s]++; intents[s]++
#else
#ifndef NO_INTENTS
  intents[s]++;
#endif
#ifndef BEGIN_NO_TICKET
  ticket[s]++
#else
  skip
#endif
#endif
}
inline end(s) {
#ifndef NO_INTENTS
  assert(intents[s] > 0); intents[s]--;
#endif
#ifndef NO_END_TICKET
  ticket[s]++
#else
  skip
#endif
}
inline forget(b) { lock(ST(b)); begin(ST(b)); cache[b] = 0; unlock(ST(b)) }
inline release(b) { lock(ST(b)); end(ST(b)); unlock(ST(b)) }

proctype Writer(byte first) { /* blocks [first, 2) */
  if :: first == 0 -> forget(0) :: else fi;
#ifndef BEGIN_ONE
  forget(1);
#endif
#ifdef END_EARLY
  if :: first == 0 -> release(0) :: else fi;
  release(1);
#endif
  if :: first == 0 -> atomic { ov[0]++; lo[0] = ov[0] } :: else fi;
  atomic { ov[1]++; lo[1] = ov[1] };
#ifdef BEGIN_ONE
  forget(1);
#endif
#ifndef END_EARLY
  if :: first == 0 -> release(0) :: else fi;
  release(1)
#endif
}
inline take(b) {
#ifdef MISS_INTENTS_FIRST
  good = good && intents[ST(b)] == 0; t[b] = ticket[ST(b)]
#else
  t[b] = ticket[ST(b)]; good = good && intents[ST(b)] == 0
#endif
}
inline publish(b) {
  lock(ST(b));
#ifdef ONE_TICKET
  if :: t[0] == ticket[ST(0)] && intents[ST(b)] == 0 -> cache[b] = v[b] :: else fi;
#else
  if :: t[b] == ticket[ST(b)] && intents[ST(b)] == 0 -> cache[b] = v[b] :: else fi;
#endif
  unlock(ST(b))
}
proctype Filler() {
  byte t[2], v[2];
  bit good = 1;
  take(0); take(1);
  if
  :: good -> v[0] = ov[0]; v[1] = ov[1]; publish(0); publish(1)
  :: else
  fi
}
proctype Check() {
  atomic {
    assert(cache[0] == 0 || cache[0] >= lo[0]);
    assert(cache[1] == 0 || cache[1] >= lo[1])
  }
}
init {
  atomic { run Writer(0); run Writer(1); run Filler(); run Check() };
  _nr_pr == 1;
  assert(intents[0] == 0 && intents[1] == 0)
}
