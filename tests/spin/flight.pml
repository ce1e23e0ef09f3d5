/* SPDX-License-Identifier: BSD-2-Clause
 *
 * flight.pml - single flight: a reader misses a block that another reader is already reading from
 * the origin. It waits and then looks the block up again (start_flight, land, round_trip in
 * read_through.c).
 *
 * One block, one flight entry that is used again and again, two readers or more, a writer, and an
 * origin read that may fail. The cache and the bracket's ticket and intents are those of
 * stripes.pml, simplified to atomic steps. A deadlock counts as a violation.
 *
 * Proves: what a read returns was the origin's content at a moment inside the read. No reader waits
 * for ever, even if the leader's origin read fails or its fill is refused.
 *
 * Mutants: TAKE_DATA a waiter returns the leader's bytes, and did not check the ticket when it
 *          joined   NO_LAND a leader whose origin read fails does not land   LATE_LOAD the waiter
 *          loads `landed` after the table is unlocked   JOIN_AGAIN round_trip keeps `join` set: a
 *          reader may wait without bound (the model allows one wait)
 * Benign:  BLIND_JOIN a reader joins and does not check the ticket; LAND_EARLY the leader lands
 *          before its fill
 */
byte cache, ticket, intents;
byte ov = 1, lo = 1;
bit tlk;
bit flying;             /* the entry is in use */
byte landed, fticket;   /* its counter (small, wraps); the ticket of its miss */
byte fdata;             /* TAKE_DATA only: the content that the leader read */
#ifndef READERS
#define READERS 2
#endif
#define lock() atomic { !tlk -> tlk = 1 }
#define unlock() tlk = 0

inline land() { lock(); atomic { flying = 0; landed++; tlk = 0 } }

proctype Reader() {
  byte low, t, l, v, waits;
  bit join = 1, lead, nofill;
  low = lo;
again:
  v = cache;                              /* cm_range_read */
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
#ifdef LATE_LOAD
        unlock();
        l = landed;
#else
        l = landed;
        unlock();
#endif
        waits++;
        assert(waits <= 1);
        landed != l;                      /* cm_plat_wait */
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
     goto gone
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
gone: skip
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
    for (i : 1 .. READERS) { run Reader() };
    run Writer(); run Evictor()
  }
}
