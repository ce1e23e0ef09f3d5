/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.pml - the rings of the service: a thread serves those of several clients, and sleeps on one
 * bell (examples/service/ring.h, ring_server.c).
 *
 * Two clients, each with a ring of one slot. The first one's ring is there from the beginning; the
 * second one's is added while the thread runs, and perhaps sleeps. Each asks some times and waits
 * for its answers; it may end at any moment while it asks, as if it was killed. A spin of a waiter
 * is left out: it is a look more. At the end the thread is told to end.
 *
 * Proves: no client waits for ever for its answer, and the thread ends when it is told to: there is
 * no state from which nobody can go on.
 *
 * Mutants: LOOK_FIRST the thread looks at `asked` before it sets `sleeps`   BIT_LATE a client looks
 *          at `sleeps` before it sets its bit   BELL_FORGETS a bell that nobody waits for is not
 *          heard later   ONE_RING the thread sets `sleeps` in the first ring only   ADD_SILENT no
 *          bell when a ring is added   AWAIT_BLIND a client sleeps without a look at the answer
 *          END_STALE the thread goes by what it knew of the end before it slept
 * Reachability: REACH_SLEEP the thread sleeps while a client waits for nothing
 *          REACH_WAKE a client that sleeps is woken
 */
#ifndef ASKS
#define ASKS 2
#endif
#define IDLE 0
#define ASKED 1
#define AWAITED 2
#define ANSWERED 3

bit asked[2], sleeps[2], wake[2], there[2], done[2];
byte state[2];
bit bell, waits, ends;

inline ring_bell() {
#ifdef BELL_FORGETS
  if
  :: waits -> bell = 1
  :: else
  fi
#else
  bell = 1
#endif
}

proctype client(byte c) {
  byte n;
  if
  :: c == 1 ->
    there[1] = 1; /* under the thread's lock */
#ifndef ADD_SILENT
    ring_bell();
#endif
  :: else
  fi;
  do
  :: n < ASKS ->
    n++;
    state[c] = ASKED;
#ifdef BIT_LATE
    bit was = sleeps[c];
    asked[c] = 1;
    if
    :: was -> sleeps[c] = 0; ring_bell()
    :: else
    fi;
#else
    asked[c] = 1;
    if
    :: sleeps[c] ->
      sleeps[c] = 0;
      if
      :: goto killed
      :: ring_bell()
      fi
    :: else
    fi;
#endif
#ifdef AWAIT_BLIND
    if
    :: state[c] == ANSWERED
    :: state[c] != ANSWERED -> state[c] = AWAITED; wake[c]; wake[c] = 0
    fi
#else
    atomic { /* compare and swap */
      if
      :: state[c] == ASKED -> state[c] = AWAITED
      :: else
      fi
    };
    do
    :: state[c] == ANSWERED -> break
    :: state[c] == AWAITED ->
      atomic { wake[c] || state[c] != AWAITED; wake[c] = 0 }; /* a futex: it compares first */
#ifdef REACH_WAKE
      assert(state[c] != ANSWERED)
#endif
    od
#endif
  :: n > 0 -> goto killed
  :: n == ASKS -> break
  od;
killed:
  done[c] = 1
}

proctype thread() {
  byte r;
  bit any, may, knows;
  do
  :: any = 0;
    knows = ends; /* under the lock */
    r = 0;
    do
    :: r < 2 ->
      if
      :: there[r] && asked[r] ->
        atomic { asked[r] = 0 };
        any = 1;
        atomic { /* swap */
          if
          :: state[r] == AWAITED -> state[r] = ANSWERED; wake[r] = 1
          :: else -> state[r] = ANSWERED
          fi
        }
      :: else
      fi;
      r++
    :: r == 2 -> break
    od;
#ifdef END_STALE
    if
    :: any
    :: else -> goto sleep
    fi;
    goto awake;
#else
    if
    :: knows -> goto ended
    :: else
    fi;
    if
    :: any -> goto awake
    :: else
    fi;
#endif
sleep:
    may = 1;
    r = 0;
    do
    :: r < 2 ->
      if
      :: there[r] ->
#ifdef LOOK_FIRST
        may = may && !asked[r];
        sleeps[r] = 1
#else
#ifdef ONE_RING
        if
        :: r == 0 -> sleeps[r] = 1
        :: else
        fi;
#else
        sleeps[r] = 1;
#endif
        may = may && !asked[r]
#endif
      :: else
      fi;
      r++
    :: r == 2 -> break
    od;
    if
    :: may ->
      waits = 1;
      atomic { bell; bell = 0; waits = 0 }
#ifdef REACH_SLEEP
      assert(ends)
#endif
    :: else
    fi;
    sleeps[0] = 0;
    sleeps[1] = 0;
#ifdef END_STALE
    if
    :: knows -> goto ended
    :: else
    fi;
#endif
awake:
    skip
  od;
ended:
  skip
}

init {
  there[0] = 1;
  atomic {
    run thread();
    run client(0);
    run client(1)
  };
  done[0] && done[1];
  ends = 1;
  ring_bell()
}
