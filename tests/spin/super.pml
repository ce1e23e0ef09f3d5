/* SPDX-License-Identifier: BSD-2-Clause
 *
 * super.pml - the superblock pair: epoch, OPEN, incarnation mark (superblock.c).
 *
 * Each copy is written as many words. Until it is fenced the media may hold the old copy, the new
 * one, or a torn one that fails its checksum (seq 0). An owner opens, bumps the epoch, takes
 * incarnations, moves the frontier (writes one copy, not durably), closes, and opens again. Crashes
 * come at any step: of the process (what is in memory stays, durable or not) or of the power.
 *
 * With -DLOSS the media destroys one copy, once, at a crash. With -DFAILS=N the pool is in the page
 * cache, and up to N syncs of a copy fail. Then the system drops what it could not write and
 * reports that once. From then on it takes the copy for written, until the copy is stored again.
 * The system may also find the error while no sync runs, and read again what is on the media; the
 * next sync reports it.
 *
 * Proves: an epoch that took effect, an incarnation that was handed out, and a session that had
 * begun are never forgotten. Without LOSS one copy is always whole.
 *
 * Mutants: ONE_COPY (LOSS) a state takes effect when one copy holds it   NO_FENCE the first copy is
 *          not durable before the second is written   HAND_EARLY an incarnation is handed out
 *          before its mark is durable   NO_RANGE cm_super_open begins at the mark and does not
 *          raise it   OPEN_EARLY the session begins before OPEN is durable   NO_SETTLE
 *          cm_super_open does not make the believed copy durable   WRONG_FIRST the believed copy is
 *          overwritten first
 *          (FAILS) NO_AGAIN cm_super_open syncs the believed copy and does not store it again
 *          NO_SWAP, NO_SWAP_OPEN the copy whose sync failed is not the next one to be written
 *          SWAP_ANYWAY it is the next one, although the other one is torn   ONE_NUMBER both copies
 *          have one number   FIRST_ANYWAY the second copy is written although the first could not
 *          be synced
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef OPS
#define OPS 3
#endif
#ifndef FAILS
#define FAILS 0
#endif
typedef copy { byte seq, epoch, mark; bit open };
copy mem[2], med[2], now; /* the copies in memory; on the media if pend; the owner's state */
bit pend[2];              /* the media may hold med, mem, or neither */
byte epoch, used;         /* in effect: epoch, highest incarnation handed out */
bit session;              /* stores to the pool may have happened since the last CLEAN */
bit crash, lossy;
byte ncr, ops;
byte pick, first, nextinc;
byte writing;             /* 1 + the copy that is being stored */
bit unsaid;               /* the system could not write something; the next sync reports it */
bit lost[2], bad, failed; /* taken for written; a sync failed; one failed in the last write */
byte nfails;

inline set(to, from) {
  to.seq = from.seq; to.epoch = from.epoch; to.mark = from.mark; to.open = from.open
}
#define same(a, b) (a.seq == b.seq && a.epoch == b.epoch && a.mark == b.mark && a.open == b.open)
inline arrive(i) { /* the pending write reached the media, or not, or in part */
  if
  :: pend[i] && same(med[i], mem[i]) -> pend[i] = 0 /* writes the same bytes again */
  :: pend[i] && !same(med[i], mem[i]) ->
     if :: set(med[i], mem[i]) :: med[i].seq = 0 :: true fi; pend[i] = 0
  :: else
  fi
}
inline settle_copy(i) {
  atomic {
    bad = 0;
    if
    :: pend[i] -> set(med[i], mem[i]); pend[i] = 0
    :: !pend[i] /* the system has nothing to write */
    :: nfails < FAILS -> /* of this copy, the other one, or anything else in the file */
       nfails++; bad = 1;
       if :: pend[0] -> arrive(0); lost[0] = 1 :: else fi;
       if :: pend[1] -> arrive(1); lost[1] = 1 :: else fi
    fi;
    bad = bad || unsaid; unsaid = 0
  }
}
inline write_copy(i) {
  atomic { arrive(i); set(mem[i], now); pend[i] = 1; lost[i] = 0; writing = 1 + i };
  writing = 0;
#ifndef NO_FENCE
  settle_copy(i)
#endif
}
inline swap() {
#ifdef NO_SWAP
  skip
#else
  first = 1 - first
#endif
}
inline write_both() {
  now.seq++;
  write_copy(first);
#ifdef ONE_COPY
  effect();
#endif
  if
#ifndef FIRST_ANYWAY
  :: bad
#endif
  :: else ->
#ifndef ONE_NUMBER
     now.seq++;
#endif
     write_copy((1 - first));
     if :: bad -> swap() :: else fi
  fi;
#ifdef NO_FENCE
  settle_copy(first); settle_copy((1 - first));
#endif
  failed = bad;
  if :: bad :: else -> effect() fi
}
inline effect() {
  atomic {
    epoch = now.epoch;
#ifdef ONE_COPY
    if :: handing && nextinc > used -> used = nextinc :: else fi
#endif
  }
}
inline read_super() { /* cm_super_read */
  atomic {
    if
    :: mem[0].seq == 0 && mem[1].seq == 0 -> assert(lossy); goto dead
    :: mem[0].seq == 0 && mem[1].seq > 0 -> pick = 1
    :: mem[1].seq == 0 && mem[0].seq > 0 -> pick = 0
    :: mem[0].seq > 0 && mem[1].seq > 0 -> pick = (mem[1].seq > mem[0].seq -> 1 : 0)
    fi;
    set(now, mem[pick]);
    assert(now.epoch >= epoch);
    assert(now.mark > used);
    assert(now.open || !session);
#ifdef WRONG_FIRST
    first = pick
#else
    first = 1 - pick
#endif
  }
}
active proctype Owner() {
  bit handing;
  atomic {
    mem[0].seq = 1; mem[0].epoch = 1; mem[0].mark = 1;
    set(mem[1], mem[0]); set(med[0], mem[0]); set(med[1], mem[0]); epoch = 1
  };
again:
  {
    read_super();
    /* cm_super_open */
    atomic {
      now.open = 1; nextinc = now.mark; handing = 0; bad = 0;
#ifndef NO_RANGE
      now.mark++
#endif
    };
#ifndef NO_AGAIN
    atomic { /* stores the copy again, unchanged */
      if :: lost[1 - first] -> lost[1 - first] = 0; pend[1 - first] = 1 :: else fi
    };
#endif
#ifndef NO_SETTLE
    settle_copy((1 - first));
#endif
    if
    :: bad -> /* the system lost writes of a crashed owner: the pool is emptied */
       now.epoch++;
       if
#ifndef NO_SWAP_OPEN
#ifdef SWAP_ANYWAY
       :: first = 1 - first
#else
       :: mem[first].seq > 0 -> first = 1 - first /* the copy is whole, so it is durable */
#endif
#endif
       :: else
       fi;
       bad = 0
    :: else
    fi;
#ifdef OPEN_EARLY
    session = 1;
#endif
    write_both();
    if
    :: failed -> now.epoch++; write_both()
    :: else
    fi;
    if :: failed -> goto dead :: else fi;                             /* cm_super_void */
    session = 1;
    do
    :: ops < OPS -> atomic { ops++; now.epoch++ }; write_both()       /* cm_super_bump_epoch */
    :: ops < OPS && !(failed && nextinc == now.mark) ->               /* cm_super_incarnation */
       ops++;
#ifndef NO_RANGE
       if
       :: nextinc == now.mark ->
#ifdef HAND_EARLY
          used = nextinc;
#endif
          atomic { now.mark++; handing = 1 }; write_both();
          if :: failed -> now.mark-- :: else fi
       :: else
       fi;
#endif
       atomic {
         if
         :: nextinc < now.mark -> used = nextinc; nextinc++
         :: else
#ifdef NO_RANGE
            -> used = nextinc; nextinc++
#endif
         fi;
         handing = 0
       }
    :: ops < OPS && !failed ->                                        /* cm_super_frontier */
       ops++; now.seq++;
       atomic {
         arrive(first); set(mem[first], now); pend[first] = 1; lost[first] = 0; writing = 1 + first
       };
       writing = 0
    :: failed ->                                                      /* cm_super_close */
       ops++; now.epoch++;
       write_both();
       if :: failed -> goto dead :: else fi;
       break
    :: !failed -> atomic { now.open = 0; now.mark = nextinc };
       ops++; session = 0; /* the data was synced before this */
       write_both();
       break
    od;
    if :: ops < OPS -> goto again :: else fi
  } unless { crash };
  if :: crash -> crash = 0; goto again :: else fi;
dead: skip
}
active proctype Crash() {
  epoch > 0;
  do
  :: ncr < CRASHES ->
     atomic {
       ncr++;
       if
       :: true -> /* the process, perhaps in the middle of a copy */
          if :: writing > 0 -> mem[writing - 1].seq = 0 :: true fi;
          if
          :: nfails < FAILS -> /* the system drops what it did not write */
             nfails++; unsaid = 1;
             arrive(0); arrive(1); set(mem[0], med[0]); set(mem[1], med[1]);
             lost[0] = 0; lost[1] = 0
          :: true
          fi
       :: true -> /* the power */
          arrive(0); arrive(1); set(mem[0], med[0]); set(mem[1], med[1]);
          lost[0] = 0; lost[1] = 0; unsaid = 0
       fi;
#ifdef LOSS
       if
       :: !lossy -> lossy = 1; if :: mem[0].seq = 0; med[0].seq = 0; pend[0] = 0
                                  :: mem[1].seq = 0; med[1].seq = 0; pend[1] = 0 fi
       :: true
       fi;
#endif
       writing = 0; crash = 1
     };
     !crash
  :: break
  od
}
