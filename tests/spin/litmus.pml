/* SPDX-License-Identifier: BSD-2-Clause
 *
 * litmus.pml - the pairs of docs/orders.md under a weak memory: what an acquire, a release or a
 * fence is for.
 *
 * MEMORY. Each place has a list of the values that were stored there. A thread KNOWS, of each
 * place, the oldest value that it may still read; a load picks any value from there on. A store
 * with release carries what its thread knows, and a load with acquire takes it over (the model of
 * Kang et al., POPL 2017, without promises; tests/model/weak.c runs the library on it). So stores
 * may seem to change places, as may loads: as on arm64, and more than that. With -DTSO loads
 * acquire and stores release, as on x86-64. Then only a store and a later load change places.
 * A copy past the caches is ordered by a fence only, also under TSO.
 *
 * Pairs:   PUBLISH a value, and then the word that leads to it: stale and incarnation, intents and
 *          ticket, cell and index in use, place and number of a part, fill and `woken`, what was
 *          noted and its state   LOCKED what is done under a lock   DEKKER each stores and then
 *          looks at the other's: w0 and pins, limit and ticket, version and pins of the buffer,
 *          phase and `running`, kept bit and w0   COPY w0, payload, w0: also session, record,
 *          session of a shared reader   WAKE `waking` and `wakes`
 * Mutants: NO_RELEASE NO_ACQUIRE; DEKKER: NO_FENCE of the one that stores, PIN_RELAXED of the one
 *          that swaps; COPY: NO_FENCE1 no barrier between w0 invalid and the new payload, NO_FENCE2
 *          no fence between the payload and w0 valid, NO_ACQUIRE of the first look at w0,
 *          NO_READ_FENCE none before the second; WAKE: NO_ACQUIRE NO_RELEASE
 * Benign:  TSO: all but the fences of DEKKER and the fence after a copy past the caches   COPY
 *          NO_RELEASE: the fence before w0 does it
 * Not here: a load that is kept back behind a later store of its thread. No pair has two threads
 *          that each load first and then store what the other one loads, outside of a lock.
 */
#define PLACES 3
#define VALUES 4
#define THREADS 2
#ifdef TSO
#define WEAK_ACQ true
#define WEAK_REL true
#else
#define WEAK_ACQ false
#define WEAK_REL false
#endif
#ifdef NO_RELEASE
#define REL WEAK_REL
#else
#define REL true
#endif
#ifdef NO_ACQUIRE
#define ACQ WEAK_ACQ
#else
#define ACQ true
#endif

byte count[PLACES];                       /* of values, less one */
byte value[PLACES * VALUES];
byte carries[PLACES * VALUES * PLACES];   /* with a value: what its store knew */
byte knows[THREADS * PLACES];
byte tells[THREADS * PLACES];             /* the same without copies past the caches */
byte told[THREADS * PLACES];              /* what relaxed stores carry, since a fence */
byte heard[THREADS * PLACES];             /* what an acquire fence adds */
byte order[PLACES];                       /* what fences of all threads know */

#define RAISE(a, b) if :: (a) < (b) -> a = b :: else fi
#define AT(t, p) [(t) * PLACES + (p)]
#define CARRIED(p, i, k) carries[((p) * VALUES + (i)) * PLACES + (k)]

inline load(t, p, to, acquire) {
  atomic {
    i = knows AT(t, p);
    do :: i < count[p] -> i++ :: break od; /* any value from there on */
    to = value[(p) * VALUES + i];
    knows AT(t, p) = i;
    RAISE(tells AT(t, p), i);
    k = 0;
    do
    :: k < PLACES ->
       RAISE(heard AT(t, k), CARRIED(p, i, k));
       if
       :: acquire ->
          RAISE(knows AT(t, k), CARRIED(p, i, k));
          RAISE(tells AT(t, k), CARRIED(p, i, k))
       :: else
       fi;
       k++
    :: else -> break
    od;
    i = 0; k = 0
  }
}
/* past: a copy past the caches. after: it follows a load of the last value in the same step. */
inline put(t, p, v, release, past, after) {
  count[p]++;
  assert(count[p] < VALUES);
  value[(p) * VALUES + count[p]] = v;
  knows AT(t, p) = count[p];
  if :: !(past) -> tells AT(t, p) = count[p] :: else fi;
  k = 0;
  do
  :: k < PLACES ->
     CARRIED(p, count[p], k) = ((release) && !(past) -> tells AT(t, k) : told AT(t, k));
     if :: after -> RAISE(CARRIED(p, count[p], k), CARRIED(p, count[p] - 1, k)) :: else fi;
     k++
  :: else -> break
  od;
  k = 0
}
inline store(t, p, v, release) { atomic { put(t, p, v, release, false, false) } }
inline copy(t, p, v) { atomic { put(t, p, v, false, true, false) } }
/* An atomic swap always finds the last value. */
inline swap(t, p, v, was, acquire, release) {
  atomic {
    knows AT(t, p) = count[p];
    was = value[(p) * VALUES + count[p]];
    k = 0;
    do
    :: k < PLACES ->
       if
       :: acquire ->
          RAISE(knows AT(t, k), CARRIED(p, count[p], k));
          RAISE(tells AT(t, k), CARRIED(p, count[p], k))
       :: else
       fi;
       k++
    :: else -> break
    od;
    put(t, p, v, release, false, true)
  }
}
inline fence_acquire(t) {
  atomic {
    k = 0;
    do
    :: k < PLACES ->
       RAISE(knows AT(t, k), heard AT(t, k)); RAISE(tells AT(t, k), heard AT(t, k)); k++
    :: else -> break
    od;
    k = 0
  }
}
/* What was copied past the caches before it comes before all stores behind it. */
inline fence_release(t) {
  atomic {
    k = 0;
    do
    :: k < PLACES -> tells AT(t, k) = knows AT(t, k); told AT(t, k) = knows AT(t, k); k++
    :: else -> break
    od;
    k = 0
  }
}
inline fence_full(t) {
  atomic {
    k = 0;
    do
    :: k < PLACES ->
       RAISE(knows AT(t, k), heard AT(t, k));
       RAISE(knows AT(t, k), order[k]);
       order[k] = knows AT(t, k);
       tells AT(t, k) = knows AT(t, k);
       told AT(t, k) = knows AT(t, k);
       k++
    :: else -> break
    od;
    k = 0
  }
}

byte ended;

#ifdef PUBLISH /* 0: the value; 1: the word that leads to it */
proctype A() { byte i, k; store(0, 0, 1, WEAK_REL); store(0, 1, 1, REL) }
proctype B() {
  byte i, k, word, v;
  load(1, 1, word, ACQ);
  load(1, 0, v, WEAK_ACQ);
  assert(!(word == 1 && v == 0))
}
#endif
#ifdef LOCKED /* 0: what was done; 1: the lock, 1 when held */
bit held;
proctype A() {
  byte i, k, was;
  atomic { !held -> held = 1 }
  swap(0, 1, 1, was, true, true);
  store(0, 0, 1, WEAK_REL);
  store(0, 1, 0, REL);
  held = 0;
  ended++
}
proctype B() {
  byte i, k, was, v;
  atomic { !held && ended == 1 -> held = 1 }
  swap(1, 1, 1, was, ACQ, true);
  load(1, 0, v, WEAK_ACQ);
  assert(v == 1)
}
#endif
#ifdef DEKKER /* 0: w0, 1 when invalid; 1: the pins */
byte saw0 = 9, saw1 = 9;
proctype A() { /* evicts */
  byte i, k;
  store(0, 0, 1, true);
#ifndef NO_FENCE
  fence_full(0);
#endif
  load(0, 1, saw0, true);
  ended++
}
proctype B() { /* pins */
  byte i, k, was;
#ifdef PIN_RELAXED
  store(1, 1, 1, WEAK_REL);
#else
  swap(1, 1, 1, was, true, true);
  fence_full(1); /* an atomic operation of the order seq_cst, beside the fence of the other one */
#endif
  load(1, 0, saw1, true);
  ended++
}
active proctype Judge() { ended == 2; assert(saw0 == 1 || saw1 == 1) }
#endif
#ifdef COPY /* 0: w0, life * 2 + 1 when valid; 1: the payload, a life */
proctype A() { /* another life begins */
  byte i, k, was;
#ifdef NO_FENCE1
  store(0, 0, 2, WEAK_REL);
#else
  store(0, 0, 2, true);
  fence_full(0);
#endif
  copy(0, 1, 1);
#ifndef NO_FENCE2
  fence_release(0);
#endif
  store(0, 0, 3, REL)
}
proctype B() {
  byte i, k, first, v, again;
  load(1, 0, first, ACQ);
  load(1, 1, v, WEAK_ACQ);
#ifndef NO_READ_FENCE
  fence_acquire(1);
#endif
  load(1, 0, again, WEAK_ACQ);
  assert(!(first == 1 && again == 1 && v != 0)); /* bytes of the next life */
  assert(!(first == 3 && again == 3 && v != 1))  /* bytes of the life before */
}
#endif
#ifdef WAKE /* 0: `waking`, 1 while the waiter is touched; 1: `wakes` */
proctype A() {
  byte i, k, was;
  swap(0, 0, 0, was, true, REL);
  swap(0, 1, 1, was, true, REL);
  ended++
}
proctype B() {
  byte i, k, seen, waking;
  load(1, 1, seen, ACQ);
  load(1, 0, waking, ACQ);
  /* It sleeps until `wakes` is not what was seen. */
  assert(!(waking == 1 && seen == 1))
}
#endif

init {
  atomic {
#ifdef COPY
    value[0] = 1;
#endif
#ifdef WAKE
    value[0] = 1;
#endif
    run A();
    run B()
  }
}
