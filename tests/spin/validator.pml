/* SPDX-License-Identifier: BSD-2-Clause
 *
 * validator.pml - which validator may stand for what is cached (cm_file_proves, cm_file_judge,
 * cm_file_adopt, may_keep in file.c; cm_bracket_end, cm_bracket_abort in bracket.c).
 *
 * One cached block of a file. The origin has a version of that block and the file's timestamp. The
 * timestamp is the clock granule of the last write, so two writes in one granule look alike. The
 * clock steps at any time. A validator is (timestamp, racy: taken in the granule of the timestamp,
 * taken_at). Only the order of taken_at and last_end_ns matters: outdated[i] says that a bracket
 * has ended since stat i was taken.
 *
 * Own writers bracket a write to the block or to another one of the file: begin, write, stat, end.
 * With -DFOREIGN another program writes without brackets, and the file is not opened with
 * CM_SOLE_WRITER. A stat and the use of its result are separate steps. The block is filled while no
 * bracket on it is open (other models have the tickets). At any one moment the file is closed, or
 * the process dies, and the file is attached again.
 *
 * Proves: whenever an attach keeps the file, the cached content is the origin's. With a sole writer
 * the adopted size is right or unknown at any moment.
 *
 * Mutants: NO_TAKEN_AT a stat from before another bracket's end counts   NO_OPEN a stat that was
 *          taken while another bracket was open counts   KEEP_RACY attach accepts a racy validator
 *          FOREIGN: END_ADOPTS write_end adopts without CM_SOLE_WRITER   WANT_ADOPTS judge does
 *          RACY_SAME judge takes a racy validator for unchanged
 *          LATE_WRITE (an aborted owner writes once more, before the next judgement): ABORT_ADOPTS
 *          the first validator after an abort may be adopted
 * Reachability: REACH an attach keeps the file with new content cached
 */
byte clock = 1, content = 1, stamp = 1, size = 1; /* every write of the block changes the size */
byte fsize = 1;                  /* the adopted size; 0: unknown, no end of file is reported */
byte cache = 1;                  /* version cached in the present incarnation; 0: none */
/* The file object; its record holds the same validator, durably. */
byte fstamp = 1;
bit fracy, want, has = 1, disowned;
byte brackets, here;             /* open brackets; those of them on the block */
bit outdated[3];
hidden byte i;
#ifdef FOREIGN
#define SOLE 0
#else
#define SOLE 1
#endif
#ifdef ABORT_ADOPTS
#define MAY_ADOPT SOLE
#else
#define MAY_ADOPT (SOLE && !disowned) /* cm_file_may_adopt */
#endif
#ifdef NO_OPEN
#define ALONE true
#else
#define ALONE (brackets == 0)
#endif
#ifdef NO_TAKEN_AT
#define FRESH true
#else
#define FRESH (!outdated[me])
#endif

inline write_block() { atomic { content++; size = content; stamp = clock } }
inline stat_origin() { /* the time is read before the stat */
  outdated[me] = 0;
  atomic { vs = stamp; vr = (stamp == clock); vz = size }
}
inline adopt() { fsize = vz; fstamp = vs; fracy = vr; want = 0; has = 1 }
inline ended() { for (i : 0..2) { outdated[i] = 1 } } /* last_end_ns = now */

proctype Writer(byte me) {
  byte vs, vz;
  bit vr, mine;
  if :: mine = 1 :: mine = 0 fi;
  atomic { brackets++; if :: mine -> here++; cache = 0; fsize = 0 :: else fi };
  atomic { if :: mine -> content++; size = content :: else fi; stamp = clock };
  stat_origin();
  atomic { /* cm_bracket_end */
    brackets--; here = here - mine;
    if
#ifdef END_ADOPTS
    :: ALONE && FRESH -> adopt()
#else
    :: MAY_ADOPT && ALONE && FRESH -> adopt()
#endif
    :: else -> want = 1
    fi;
    ended();
    vs = 0; vr = 0; vz = 0
  }
}
proctype Filler() { atomic { here == 0 -> cache = content } }
#ifdef RACY_SAME
#define SAME (has && vs == fstamp)
#else
#define SAME (has && vs == fstamp && (SOLE || (!fracy && !vr)))
#endif
#ifdef WANT_ADOPTS
#define OURS (want)
#else
#define OURS (want && MAY_ADOPT)
#endif
proctype Revalidate(byte me) { /* stat, then cm_file_judge */
  byte vs, vz;
  bit vr;
  stat_origin();
  atomic {
    if
    :: !(ALONE && FRESH) -> skip                       /* CM_IGNORED */
    :: ALONE && FRESH && SAME -> want = 0; fsize = vz; if :: fracy && !vr -> adopt() :: else fi
    :: ALONE && FRESH && !SAME && OURS -> adopt()
    :: ALONE && FRESH && !SAME && !OURS -> cache = 0; disowned = 0; adopt() /* ..., cm_file_renew */
    fi;
    vs = 0; vr = 0; vz = 0
  }
}
proctype Clock() { clock++; clock++ }
proctype Foreign() { write_block(); write_block() }
proctype Abort() { /* a bracket is aborted, and its owner writes once more */
  atomic { brackets++; here++; cache = 0; fsize = 0 };
  write_block();
  atomic { brackets == 1; /* cm_bracket_abort; it would end other brackets, too */
    brackets--; here--; cache = 0; fsize = 0; ended();
    has = 0; want = 0; disowned = 1
  };
  atomic { disowned -> write_block() } /* before the next validator is presented */
}
/* At any one moment: a close or a death of the process, and then an attach (may_keep). */
proctype Attach() {
  atomic {
    if
#ifdef KEEP_RACY
    :: has && stamp == fstamp ->
#else
    :: has && !fracy && stamp == fstamp && stamp != clock ->
#endif
       assert(cache == 0 || cache == content);
#ifdef REACH
       assert(!(content > 1 && cache == content))
#endif
    :: else
    fi
  }
}
/* All writers are own ones, and bracket every write: the size is always right or unknown. */
proctype Size() { atomic { assert(fsize == 0 || fsize == size) } }
init {
  atomic {
    if :: fracy = 1 :: clock = 2 fi; /* the first validator was racy, or taken later */
    run Writer(0); run Filler(); run Clock(); run Revalidate(1); run Attach();
#ifdef FOREIGN
    run Foreign()
#elif defined(LATE_WRITE)
    run Abort()
#else
    run Writer(2); run Size()
#endif
  }
}
