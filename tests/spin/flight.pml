/* SPDX-License-Identifier: BSD-2-Clause
 *
 * flight.pml - single flight: a reader misses a block that another reader is already reading from
 * the origin. It waits and then looks the block up again (cm_flight_start, cm_flight_land and
 * wake_list in flight.c; look, still_waits and cm_run_end in request.c).
 *
 * One block, one flight entry that is used again and again, two readers or more, a writer, and an
 * origin read that may fail. The cache and the bracket's ticket and intents are those of
 * stripes.pml, simplified to atomic steps. A reader is a request: it is woken by the thread that
 * lands the flight, its deadline may pass at any time, and it may be cancelled while it waits.
 * After it ends, its memory is gone. A deadlock counts as a violation.
 *
 * Proves: what a read returns was the origin's content at a moment inside the read. No reader waits
 * for ever, even if the leader's origin read fails or its fill is refused. No thread touches a
 * reader's waiter after the reader's end, and the end never sleeps through the moment when the last
 * thread has let go.
 *
 * Variants: PATIENT no deadline passes and nobody is cancelled: so every wake is needed
 * Mutants: TAKE_DATA a waiter returns the leader's bytes, and did not check the ticket when it
 *          joined   NO_LAND a leader whose origin read fails does not land   JOIN_AGAIN a reader
 *          may wait without bound (the model allows one wait)   LATE_ENTER the waiter enters the
 *          list after the table was unlocked   NO_WAKE a landing wakes only the first waiter
 *          NO_LEAVE a reader whose deadline passes, or which is cancelled, stays in the list
 *          NO_SETTLE a reader ends without a look at `waking`   WAKING_LATE `waking` is raised
 *          after the lock is released   WAKES_LATE the end looks at `waking` before `wakes`
 *          WAKES_FIRST `wakes` grows before `waking` is lowered
 * Benign:  BLIND_JOIN a reader joins and does not check the ticket; LAND_EARLY the leader lands
 *          before its fill
 */
byte cache, ticket, intents;
byte ov = 1, lo = 1;
bit tlk;
bit flying;             /* the entry is in use */
byte fticket;           /* the ticket of its miss */
byte fdata;             /* TAKE_DATA only: the content that the leader read */
#ifndef READERS
#define READERS 2
#endif
/* The waiters, by reader. `list`: waits for the flight; `leaving`: a thread that landed it has
 * taken over the list and wakes one after the other. */
bit list[READERS], leaving[READERS], woken[READERS], gone[READERS];
byte waking[READERS];
byte wakes;             /* of the table (small, wraps) */
#define lock() atomic { !tlk -> tlk = 1 }
#define unlock() tlk = 0

/* A thread touches the waiter of reader j. */
inline touch(j) { assert(!gone[j]) }

/* Takes the flight out of the table, and wakes who waits for it. */
inline land() {
  lock();
  atomic {
    flying = 0;
    j = 0;
    do
    :: j < READERS ->
       if :: list[j] -> touch(j); list[j] = 0; leaving[j] = 1 :: else fi;
       j++
    :: else -> break
    od
  };
  j = 0;
  do
  :: j < READERS ->
     if
     :: leaving[j] ->                     /* wake_list: the lock is held */
        touch(j);
        leaving[j] = 0;
#ifndef WAKING_LATE
        waking[j]++;
#endif
        woken[j] = 1;
        unlock();
#ifdef WAKING_LATE
        touch(j);
        waking[j]++;
#endif
        touch(j);                         /* the call of wake */
#ifdef WAKES_FIRST
        wakes = (wakes + 1) % 4;
#endif
        atomic { touch(j); waking[j]-- };
#ifndef WAKES_FIRST
        wakes = (wakes + 1) % 4;
#endif
#ifdef NO_WAKE
        lock();
        atomic { k = 0; do :: k < READERS -> leaving[k] = 0; k++ :: else -> break od };
#else
        lock()
#endif
     :: else
     fi;
     j++
  :: else -> break
  od;
  j = 0; k = 0;
  unlock()
}

/* cm_waiter_leave */
inline leave() {
  lock();
#ifndef NO_LEAVE
  atomic { list[me] = 0; leaving[me] = 0 };
#endif
  unlock()
}

/* cm_waiter_settle, and the memory is gone */
inline end() {
#ifndef NO_SETTLE
  do
  ::
#ifndef WAKES_LATE
     s = wakes;
#endif
     if :: waking[me] == 0 -> break :: else fi;
#ifdef WAKES_LATE
     s = wakes;
#endif
     wakes != s                           /* cm_plat_wait */
  od;
#endif
  atomic { s = 0; gone[me] = 1 }
}

proctype Reader(byte me) {
  byte low, t, v, waits, j, k, s;
  bit join = 1, lead, nofill;
  low = lo;
again:
  v = cache;                              /* read_cached */
  if :: v != 0 -> goto out :: else fi;
  atomic { t = ticket; nofill = (intents > 0) };
  lead = 0;
  if
  :: nofill -> goto origin                /* ALONE */
  :: else
  fi;
  lock();
  if
  :: flying ->
#if defined(BLIND_JOIN) || defined(TAKE_DATA)
     if
     :: join ->
#else
     if
     :: join && fticket == ticket && intents == 0 -> /* cm_ticket_may_hold */
#endif
#ifdef LATE_ENTER
        unlock();
        atomic { woken[me] = 0; list[me] = 1 };
#else
        atomic { woken[me] = 0; list[me] = 1 };
        unlock();
#endif
        waits++;
        assert(waits <= 1);
        if
        :: woken[me]
#ifndef PATIENT
        :: leave()                        /* the deadline has passed */
        :: leave(); goto ended            /* cancelled */
#endif
        fi;
#ifdef TAKE_DATA
        v = fdata;
        if :: v != 0 -> goto out :: else fi;
#endif
#ifndef JOIN_AGAIN
        join = 0;
#endif
        goto again
     :: else -> unlock(); goto origin     /* ALONE */
     fi
  :: else ->
     atomic { flying = 1; fticket = t; lead = 1; fdata = 0; tlk = 0 }
  fi;
origin:
  if
  :: v = ov                               /* the origin is read */
  :: lead ->                              /* ... and fails: an error for this reader, no data */
#ifndef NO_LAND
     land();
#endif
     goto ended
  fi;
  if :: lead -> fdata = v :: else fi;
#ifdef LAND_EARLY
  if :: lead -> land() :: else fi;
#endif
  if
  :: !nofill ->                           /* offer, publish */
     atomic { if :: t == ticket && intents == 0 && cache == 0 -> cache = v :: else fi }
  :: else
  fi;
#ifndef LAND_EARLY
  if :: lead -> land() :: else fi;
#endif
out:
  assert(v >= low && v <= ov);
ended:
  end()
}
proctype Writer() {
  atomic { intents++; ticket++; cache = 0 };
  atomic { ov++; lo = ov };
  atomic { intents--; ticket++ }
}
proctype Evictor() { cache = 0 }
init {
  byte i;
  atomic {
    for (i : 1 .. READERS) { run Reader(i - 1) };
    run Writer(); run Evictor()
  }
}
