/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pins.pml - pins against eviction, doomed slots (pin.h; cm_lookup_pin in lookup.c,
 * cm_step_settle_pins in steps.c).
 *
 * One slot that holds block 1. Two pinners pin block 1, twice each. An evictor takes the slot and
 * fills it with another block. A filler takes the slot if the last pin put it on the free stack. w0
 * is a number: 0 invalid, else life * 2 + 1, so that the sequence is explicit.
 *
 * The evictor's store to w0 may stay in its store buffer while it loads the pins. The fence of
 * cm_step_settle_pins drains it, or it drains at any earlier time. A pinner's count would do the
 * same if its compare-and-swap were no barrier. The header and the payload are persistent words
 * with masks, as in publish.pml.
 *
 * Proves: a pinned slot is not overwritten. A slot is never given out twice and never lost. A slot
 * is doomed only if its invalidity is durable.
 *
 * Mutants: NO_FENCE cm_step_settle_pins has no seq_cst fence   PIN_RELAXED cm_pin_add is no
 *          barrier   NO_RECHECK w0 is not read again after the pin   RECHECK_VALID only VALID is
 *          checked, not the same w0   IGNORE_PINS the evictor does not read the pins   DOOM_EARLY
 *          it reads the pins before fence 1   LOST the last unpin of a doomed slot frees nothing
 *          DOUBLE every unpin to zero frees the slot
 */
#define PINNERS 2
#define EVICTOR 1 /* the owner: 0 none, 1 evictor, 2 on the free stack, 3 doomed, 4 filler */
byte w0 = 3;      /* the value that others see */
bit w0pending;    /* the evictor's invalidation is in its store buffer */
bit vmask_old;    /* the media may still hold VALID of an old life (life 1) */
byte data = 1, life = 1;
byte pins, pinpend[PINNERS]; /* counts; whose store is not yet visible */
bit doomed;
byte owner, held, ended;
byte freed;

#define VALID(w) ((w) & 1)

proctype Pinner(byte me) {
  byte was, n = 2;
  do
  :: n > 0 ->
     n--;
     was = w0;                                   /* cm_step_find */
     if
     :: !VALID(was) || data != 1 -> skip         /* absent, or of another block */
     :: else ->
        if                                       /* cm_pin_add */
        :: atomic { doomed -> skip }
        :: atomic { !doomed ->
#ifdef PIN_RELAXED
           pinpend[me] = 1
#else
           pins++
#endif
           };
           if
#ifdef NO_RECHECK
           :: true ->
#elif defined(RECHECK_VALID)
           :: atomic { VALID(w0) ->
#else
           :: atomic { w0 == was ->
#endif
#ifdef NO_RECHECK
              atomic {
#endif
              held++ };
              assert(data == 1);                 /* the caller reads in place */
              assert(data == 1);
              held--
#ifndef NO_RECHECK
#ifdef RECHECK_VALID
           :: atomic { !VALID(w0) -> skip }
#else
           :: atomic { w0 != was -> skip }
#endif
#endif
           fi;
#ifdef PIN_RELAXED
           pinpend[me] == 0; /* a thread sees its own stores in order */
#endif
           atomic {                              /* cm_lookup_unpin */
              pins--;
              if
#ifdef DOUBLE
              :: pins == 0 && (doomed || owner == EVICTOR) ->
#else
              :: pins == 0 && doomed ->
#endif
                 doomed = 0;
#ifndef LOST
                 assert(owner == 3); owner = 2; freed++
#endif
              :: else
              fi
           }
        fi
     fi
  :: else -> break
  od;
  ended++
}
#ifdef PIN_RELAXED
proctype Drain(byte me) { /* a pinner's store buffer */
  do
  :: atomic { pinpend[me] -> pinpend[me] = 0; pins++ }
  :: ended >= PINNERS + 1 -> break
  od
}
#endif

/* Overwrites the slot it owns with another block, and publishes. */
inline fill() {
  assert(!vmask_old); /* after fence 1, so no power cut leaves an old VALID with new bytes */
  assert(held == 0);
  data = 2;
  life++;
  w0 = life * 2 + 1
}
#define DOOM                                                                                       \
  atomic {                                                                                         \
    if                                                                                             \
    :: pins > 0 -> doomed = 1; owner = 3; mine = 0                                                 \
    :: else                                                                                        \
    fi                                                                                             \
  }
proctype Evictor() {
  bit mine = 1;
  atomic { owner = EVICTOR; w0pending = 1; vmask_old = 1 }; /* cm_slot_invalidate */
#ifdef DOOM_EARLY
  atomic { w0pending = 0; w0 = 0 };
  DOOM;
  vmask_old = 0; /* fence 1, too late */
#else
  vmask_old = 0;                                            /* flush, fence 1; cells dropped */
#ifndef NO_FENCE
  atomic { w0pending = 0; w0 = 0 };                         /* seq_cst fence drains the buffer */
#endif
#ifndef IGNORE_PINS
  DOOM;
#endif
#endif
  if
  :: mine -> atomic { w0pending = 0; w0 = 0; fill() }; owner = 0
  :: else
  fi;
  ended++
}
proctype Buffer() { /* the evictor's store buffer, drained at any time */
  do
  :: atomic { w0pending -> w0pending = 0; w0 = 0 }
  :: ended >= PINNERS + 1 -> break
  od
}
proctype Filler() { /* cm_evict_slots: takes the slot from the free stack */
  do
  :: atomic { owner == 2 -> owner = 4; fill(); owner = 0 }
  :: ended >= PINNERS + 1 -> break
  od
}
init {
  atomic {
    run Pinner(0); run Pinner(1); run Evictor(); run Buffer(); run Filler();
#ifdef PIN_RELAXED
    run Drain(0); run Drain(1)
#endif
  };
  /* Nothing is lost: the slot was filled again or is on the free stack, and no thread dooms it. */
  _nr_pr == 1;
  assert(freed <= 1 && !doomed && pins == 0);
  assert(owner == 0 || owner == 2)
}
