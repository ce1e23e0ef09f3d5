/* SPDX-License-Identifier: BSD-2-Clause
 *
 * outside.pml - writes outside of the service: a front end that has lost its service writes the
 * origin without a bracket, and no reader of the service gets what was there before
 * (docs/decisions/service.md).
 *
 * One file with one block. The service has the block or not, and a number: how many outside writes
 * it knows of. Two clients read, fill and open the file; a writer writes with a bracket or outside.
 * A bracket may also be of another block: then this one stays. The clients are the file's only
 * writer (CM_SOLE_WRITER), so the file gets a new validator and keeps its block after a bracket.
 * The service may be killed at any moment, also inside a bracket, whose write goes on. The pool
 * stays, and a new life opens it. A writer claims a place in memory that outlives the service
 * before it asks for a bracket. The first open in a life watches what it finds claimed. A validator
 * is the time of the file. A write sets it before it changes the content.
 *
 * Proves: a read that begins after a write has ended does not get older content.
 *
 * Variant: SHARED others write the file, too: another validator always forgets the block
 * Mutants: NO_LOOK an answer does not look at the table   NO_PASS it serves while somebody writes
 *          SEND_BEGUN an open says how many writes have begun, not how many have ended   SEND_LATE
 *          it says so after it took the validator   SEEN_LATE an answer compares with a number that
 *          it read after the copy, which another reader may have changed   NO_VOID tickets stay
 *          valid when the file is forgotten   NO_CLAIM a bracket is not known to the next life
 *          CLAIM_LATE it is claimed when the bracket is open   JUDGE_BLIND a validator is judged
 *          without a look at the table; with SHARED that is right   END_BLIND the one at the end of
 *          a bracket is   SEEN_AGAIN (SHARED JUDGE_BLIND) the open of a file that is open brings a
 *          number, too
 * Reachability: REACH_HIT a block is served after an outside write   REACH_LIFE one is kept over a
 *          kill   REACH_ADOPT one is kept under a new validator
 */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef OPENS
#define OPENS 3
#endif
#ifndef READS
#define READS 3
#endif
#ifndef KILLS
#define KILLS 1
#endif
byte ov = 1, tv = 1;     /* the origin's version, and its time */
byte done = 1;           /* the version of the last write that has ended */
byte begun, ended;       /* the table */
byte cv, rv;             /* the pool: version of the block, 0: none; recorded validator */
bit up = 1, att, brack;  /* the service; the file is open there; a bracket of the block is open */
bit other;               /* a bracket of another block is open */
bit want;                /* a bracket has ended, and no validator was taken for it */
byte moved;              /* validators that were taken before prove nothing */
bit claim, watch;        /* of the bracket's write; it is one of an older life */
byte seen, ticket, life; /* ticket: those that are older are void */
byte opens = OPENS, reads = READS, kills = KILLS, writes = WRITES, outs, kept;

inline forget() {
  cv = 0;
#ifndef NO_VOID
  ticket++
#endif
}
inline catch_up() {
  if
  :: begun != seen -> forget(); seen = begun; want = 1; moved++
  :: else
  fi
}
/* A validator v that was taken when `moved` was t. */
inline judge(v, t) {
#ifndef JUDGE_BLIND
  catch_up();
#endif
  if
  :: brack || other || t != moved /* it proves nothing */
  :: else ->
     if
     :: v == rv
#ifndef SHARED
     :: v != rv && want ->
#ifdef REACH_ADOPT
        assert(cv == 0);
#endif
        rv = v; moved++
#endif
     :: else -> forget(); rv = v; moved++
     fi;
     want = 0
  fi
}
proctype Client() {
  byte s, v, d, r, t, f, l;
  do
  :: atomic { up && opens > 0 -> opens--; l = life;
#ifdef SEND_LATE
     v = tv; t = moved }
     atomic { s = ended }
#elif defined(SEND_BEGUN)
     s = begun }
     atomic { v = tv; t = moved }
#else
     s = ended }
     atomic { v = tv; t = moved }
#endif
     atomic {
       if
       :: up && l == life && !att ->
          if
          :: v != rv -> forget(); rv = v
          :: else -> if :: cv != 0 -> kept = 1 :: else fi
          fi;
          watch = claim; att = 1; seen = s
       :: up && l == life && att ->
          judge(v, t);
#ifdef SEEN_AGAIN
          seen = s
#endif
       :: else
       fi; s = 0; v = 0; l = 0; t = 0 }
  :: atomic { up && att && reads > 0 -> reads--; r = done; l = life; t = ticket; s = seen;
     d = (brack -> 0 : cv) }
     atomic {
#ifdef SEEN_LATE
       s = seen;
#endif
       f = (begun == s && begun == ended && !watch);
#ifdef NO_PASS
       f = (begun == s);
#endif
#ifdef NO_LOOK
       f = 1;
#endif
       if
       :: up && l == life && f && d != 0 ->
          assert(d >= r);
#ifdef REACH_HIT
          assert(!(outs > 0 && d > 1));
#endif
#ifdef REACH_LIFE
          assert(!(kept && life > 0));
#endif
          t = 0; f = 0
       :: up && l == life && f && d == 0 && !brack -> f = 1 /* a ticket */
       :: up && l == life && !f ->
          catch_up();
          if
          :: watch && !claim -> watch = 0 /* its blocks were forgotten at its begin */
          :: else
          fi;
          t = 0
       :: else -> t = 0; f = 0
       fi; d = 0; r = 0; s = 0 }
     if
     :: f ->
        atomic { v = ov } /* reads the origin */
        atomic {
          if
          :: up && l == life && t == ticket && att && !brack -> cv = v
          :: else
          fi; v = 0; f = 0; t = 0; l = 0 }
     :: else -> l = 0
     fi
  od
}
/* The end of a bracket, with a validator or without one. */
inline end() {
  brack = 0; other = 0;
  if
  :: want = 1; moved++
#if !defined(SHARED) && defined(END_BLIND)
  :: rv = tv; want = 0; moved++
#elif !defined(SHARED)
  :: begun == seen -> rv = tv; want = 0; moved++
  :: begun != seen -> catch_up()
#endif
  fi
}
active proctype Writer() {
  byte l;
  bit o;
  do
  :: atomic { up && att && writes > 0 -> writes--; l = life;
#if !defined(NO_CLAIM) && !defined(CLAIM_LATE)
     claim = 1
#endif
     }
     if
     :: atomic { up && att && l == life ->
          if
          :: brack = 1; forget()
          :: other = 1; o = 1
          fi }
#ifdef CLAIM_LATE
        claim = 1;
#endif
        atomic { tv++ }
        atomic { if :: !o -> ov++; done = ov :: else fi; o = 0 }
        claim = 0;
        atomic { if :: up && l == life -> end() :: else fi; l = 0 }
     :: atomic { !(up && att && l == life) -> claim = 0; l = 0 }
     fi
  :: atomic { writes > 0 -> writes--; outs++; begun++ }
     atomic { tv++ }
     atomic { ov++ }
     atomic { done = ov }
     atomic { ended++ }
  od
}
active proctype Killer() {
  do
  :: atomic { up && kills > 0 -> kills--; up = 0; att = 0; seen = 0; brack = 0; other = 0;
     watch = 0; want = 0; moved = 0; ticket++; life++ }
  :: atomic { !up -> up = 1 }
  od
}
init { atomic { run Client(); run Client() } }
