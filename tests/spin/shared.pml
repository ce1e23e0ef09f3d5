/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shared.pml - readers of other processes (CM_OPEN_SHARED, state/shared.c): what the owner forgets,
 * no reader serves, also where the header of the block stays valid.
 *
 * One file, one block, one slot, one place in the file table. An owner fills, writes (small: it
 * kills the header; large: a new incarnation), drops a record that it cannot write, empties the
 * pool if even that fails, gives the record to another file, and gives up the file without any of
 * this (cm_file_stop). It dies between any two stores, and another one takes over; meanwhile
 * somebody may change the origin, whose validator then shows it. RESIZE: before that somebody tries
 * to give the pool another size, and cannot, or dies: the pool stays, and its readers may go on.
 * ALONE: nobody takes over. A reader judges the record, reads
 * in steps, and stalls between any two of them.
 *
 * The pool's memory is shared and coherent; nothing is lost, because a power cut ends the readers,
 * too. A record is whole iff its sum is that of its words. `told` is the incarnation word of the
 * record, at which each hit looks: that of one block before its copy, that of more behind it. The
 * session is odd while an owner changes what all readers depend on. A header is judged once: then
 * its epoch is not looked at again (cm_slot_read_known).
 *
 * Proves: when the read began, the origin held nothing newer than the hit of which the owner was
 * told, or which the reader's own validator shows. A hit is whole. The same holds for the end of
 * the file that a read tells. FAILS: records cannot be written, or are damaged. FEW: only what
 * changes the record.
 *
 * Mutants: NO_TOLD  NO_SESSION  a hit does not look at it  NO_RECHECK w0 is not loaded again
 *          DROP_SUM a dropped record keeps its incarnation  NO_VOID so does a record that is not
 *          whole, when its file begins anew elsewhere  STOP_DRAM so does a file that is given up
 *          SILENT a new owner does not change the session  LATE the session changes after the
 *          caller has gone on  ODD_OK a reader begins in an odd session  TRUST_SUM a record counts
 *          though it is not whole  ANY_PROOF the validator is not compared  SIZE_KEPT the record
 *          keeps the old size while the file changes  SIZE_ONCE a reader keeps the size of its
 *          attach  UNSHUT_ANY a resize that fails lets readers go on whom an owner had told not to
 */
#ifdef FAILS
#define FAILING 1
#else
#define FAILING 0
#endif
#define F 1 /* the file; 2: another one */
#define SUM(id, i, v, e) ((id)*1000 + (i)*100 + (v)*10 + (e))
#ifndef OPS
#define OPS 2
#endif
#ifndef READS
#define READS 1
#endif
#ifndef OWNERS
#define OWNERS 1
#endif

byte session = 2, epoch = 0;
byte rid = F, told = 1, rval = 1, rsize = 1; /* the record; rsize: the version whose size it is, or
                                             * 0: not known */
short rsum = SUM(F, 1, 1, 0);
bit valid = 1;
byte seq, hinc = 1, hepoch, d0 = 1, d1 = 1; /* the slot */
byte ov = 1, lo = 1;            /* the origin; what a read that begins now must not be older than */
byte next = 1;                  /* incarnations that were given out */
byte left = OPS, owners = OWNERS;
bit dead, gone;

/* ---- The owner ------------------------------------------------------------------------------- */

byte inc = 1;   /* DRAM; 0: nothing is cached */
bit placed = 1; /* it has the record */

inline shut() {
  if :: session % 2 == 0 -> session++ :: else fi
}
inline open() { session = session + 1 }
inline write_record(i, v) { /* cm_record_write */
  rid = F; told = i; d_step { rval = v; rsize = v }; rsum = SUM(F, i, v, epoch)
}
inline drop_record() { /* cm_record_drop */
#ifndef DROP_SUM
  told = 0;
#endif
  rsum = 0
}
inline bump() { /* cm_super_bump_epoch */
#ifdef LATE
  epoch++
#else
  shut(); epoch++; open()
#endif
}
/* cm_file_renew: a new number; the record may not be writable, and then perhaps not droppable */
inline renew(v) {
  next++;
  if
  :: placed -> write_record(next, v)
#ifdef FAILS
  :: placed -> placed = 0; drop_record()
  :: placed -> placed = 0; bump()
#endif
  :: !placed
  fi;
  inc = next
}
inline attach() { /* cm_files_attach: the validator is that of now */
  v = ov;
  if
  :: rid == F && rsum == SUM(F, told, rval, epoch) && told != 0 && rval == v ->
     placed = 1; inc = told
  :: rid == F && rsum == SUM(F, told, rval, epoch) && rval != v -> placed = 1; renew(v)
  :: else -> /* none: it takes the place, or finds none */
#ifndef NO_VOID
     if :: rsum != SUM(rid, told, rval, epoch) -> told = 0 :: else fi;
#endif
     if :: placed = 1; renew(v) :: placed = 0; next++; inc = next fi
  fi;
  /* What the owner found counts from here on. */
  d_step { lo = (v > lo -> v : lo); v = 0 }
}

proctype Owner(bit second) {
  byte v;
  {
    if
    :: second ->
#ifndef SILENT
       shut();
#endif
       if :: epoch == 0 -> epoch++ :: true fi; /* cm_super_open: emptied, or not */
#ifndef SILENT
       open();
#endif
       attach()
    :: else
    fi;
    do
    :: left > 0 -> left--;
       if
#ifndef FEW
       :: inc != 0 -> /* fill */
          atomic { valid = 0 };
          d0 = ov; d1 = ov; hepoch = epoch; hinc = inc;
          atomic { seq++; valid = 1 }
       :: ov < 5 -> /* a small bracket */
          if :: placed && rsum == SUM(F, told, rval, epoch) ->
#ifndef SIZE_KEPT
             rsize = 0
#else
             skip
#endif
             :: else fi;
          atomic { if :: valid && hinc == inc && hepoch == epoch -> valid = 0 :: else fi };
          ov++; lo = ov;
          if
          :: placed && inc != 0 -> /* adopted */
             rval = ov; rsum = SUM(F, inc, ov, epoch); rsize = ov
          :: true
          fi
       :: ov < 5 -> /* cm_file_stop, a bump that fails: the origin has changed already */
          inc = 0;
#ifndef STOP_DRAM
          if :: placed -> told = 0 :: FAILING -> shut() :: !placed fi;
#endif
          ov++; lo = ov
#endif
       :: ov < 5 -> /* a large one */
          renew(0); ov++; lo = ov
       :: placed -> /* detached; another file takes the record; attached again */
          placed = 0; inc = 0; next++; v = next;
          if :: FAILING -> rsum = rsum + 1; goto again /* or the media damages the record */
          :: true fi;
          rid = 2; told = v; d_step { rval = 1; rsize = 1 }; rsum = SUM(2, v, 1, epoch);
again:    attach()
       fi
#ifdef LATE
       ; if :: session == 2 && epoch > 0 -> shut(); open() :: else fi
#endif
    :: else -> break
    od
  } unless { dead };
  gone = 1
}

/* cm_resize(): exchange(), whose rename fails. Nothing of the pool has changed meanwhile. */
inline resize() {
  if
  :: session % 2 == 0 -> shut(); if :: open() :: true fi
#ifdef UNSHUT_ANY
  :: session % 2 == 1 -> open()
#else
  :: session % 2 == 1
#endif
  fi
}

proctype Killer() {
  do
  :: owners > 0 ->
     owners--;
     dead = 1;
     gone;
     atomic { placed = 0; inc = 0; dead = 0; gone = 0 };
#ifdef RESIZE
     resize();
#endif
     if :: ov < 5 -> ov++ :: true fi; /* nobody was told; the next attach finds it */
#ifndef ALONE
     run Owner(1)
#endif
  :: break
  od
}

/* ---- The reader ------------------------------------------------------------------------------ */

inline look() { /* cm_told_holds */
#ifndef NO_TOLD
  ok = told == mine;
#else
  ok = 1;
#endif
#ifndef NO_SESSION
  ok = ok && session == sess
#endif
}
inline block() {
  atomic { s = seq; ok = ok && valid && hinc == mine && (hepoch == ep || known == ep);
           known = (ok -> ep : known) };
  if
  :: ok ->
     a = d0; b = d1;
#ifndef NO_RECHECK
     ok = valid && seq == s;
#endif
     if :: ok && !first -> look() :: else fi;
     if :: ok -> assert(a == b && a >= low && a <= ov) :: else fi
  :: else
  fi
}

proctype Reader() {
  byte mine, sess, ep, i, v, n, s, a, b, low, proof, seen, size, end, reads = READS;
  byte known = 255; /* epoch in which the slot was judged */
  short m;
  bit ok, first;
  do
  :: reads > 0 ->
     reads--;
     if
     :: true -> /* cm_shared_judge */
        d_step { mine = 0; proof = ov };
        sess = session;
#ifndef ODD_OK
        if :: sess % 2 == 1 -> goto read :: else fi;
#endif
        ep = epoch;
        n = rid; i = told; v = rval; size = rsize; m = rsum;
        d_step {
#ifdef TRUST_SUM
          ok = n == F && i != 0;
#else
          ok = n == F && i != 0 && m == SUM(n, i, v, ep);
#endif
#ifndef ANY_PROOF
          ok = ok && v == proof;
#endif
          if :: ok -> mine = i; seen = proof :: else fi;
          n = 0; i = 0; v = 0; m = 0; proof = 0; ok = 0
        }
     :: mine != 0
     fi;
read:
     low = (lo > seen -> lo : seen);
     if
     :: mine != 0 ->
        if
        :: true -> first = 1; look(); block() /* read_shared */
        :: true -> first = 0; ok = 1; block()  /* read_run */
        :: true -> /* the end of the file */
#ifdef SIZE_ONCE
           end = size;
#else
           end = rsize;
#endif
           look();
           if :: ok && end != 0 -> assert(end >= low && end <= ov) :: else fi
        fi
     :: else
     fi;
     d_step { /* what is not needed any more makes no states */
       n = 0; i = 0; v = 0; m = 0; s = 0; a = 0; b = 0; end = 0; low = 0; proof = 0;
       first = 0; ok = 0
     }
  :: else -> break
  od
}
init { atomic { run Reader(); run Killer(); run Owner(0) } }
