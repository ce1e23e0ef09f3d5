/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dirty.pml - dirty marks and syncs: the cache is never newer than the origin (cm_file_mark_dirty,
 * cm_file_mark_clean, cm_file_sync_failed, may_keep, keep, begin_anew in file.c; enroll,
 * cm_bracket_sync_begin, cm_bracket_sync_end in bracket.c).
 *
 * One block of one file. The origin's content is in its page cache (ov) and on its disk (dv). There
 * are two writers, a filler, two syncs that may fail, and crashes. A crash of the process leaves
 * the page cache. A crash of the power leaves what is on the origin's disk, or all was written back
 * before. After a failed sync the page cache may lose what the disk does not have, at any time
 * until the power goes. The system takes the lost data for written, so a later sync succeeds and
 * may have done nothing. The mark is one persistent word: 0 clean, 1 dirty from this boot, 2 dirty
 * from an earlier one. Two assumptions: the origin is durable after a sync that succeeds if none
 * failed before, and it loses no pages before the failure is reported.
 *
 * Proves: at an attach that keeps the file, and at every moment of a session, the cached content is
 * not newer than the origin.
 *
 * Mutants: NO_MARK  NO_MARK_FENCE  TRUST_FOUND (with NO_SETTLE) a writer trusts a mark that it
 *          finds set, and attach has not fenced the mark   UNLOCK_FENCE the file lock is released
 *          before the mark's fence   SYNC_INFLIGHT a write that is open at sync_begin does not
 *          count   SYNC_NOGEN a write that begins after sync_begin does not count   SYNC_BLIND any
 *          sync makes the file clean   FAIL_KEEP a failed sync forgets nothing   NO_BYPASS after a
 *          failed sync fills go on   LIFT a later sync that succeeds ends the bypass   IGNORE_MARK
 *          attach keeps a dirty file   NO_NOTE a file without a record has a failed sync, and the
 *          superblock does not note it   NO_NOTE_EPOCH the same for a file whose record goes with
 *          an epoch
 */
#define BIT(x) (1 << (x))
byte ov = 1, dv = 1, cache = 1;
byte mark, markm = 1;     /* the record's state word */
bit dirty, fenced;        /* f->dirty, f->mark_fenced */
byte begun;               /* f->data_begun */
byte opened;              /* f->open_data */
bit bypassed, broke;      /* a sync failed in this boot */
bit named;                /* the file's record says that a sync failed */
bit unnamed;              /* the superblock says so, of some file without a record */
bit flk;
byte ncr, wn = 2, sn = 2, fn = 2;
byte wp[2], wv[2];        /* writers: pc */
byte sp[2], sb[2];        /* syncs: pc, data_begun at sync_begin */
bit sidle[2];             /* no write was open then */
hidden byte i;
#ifndef CRASHES
#define CRASHES 2
#endif

inline set_mark(v) { mark = v; markm = markm | BIT(v) }
inline fence_mark() { markm = BIT(mark) }
inline renew() { cache = 0 } /* cm_file_renew; incarnation.pml has its durability */

inline lose_dram() {
  for (i : 0..1) { wp[i] = 0; sp[i] = 0; sb[i] = 0; sidle[i] = 0 };
  flk = 0; opened = 0; bypassed = 0; fenced = 0; begun = 0
}
inline attach() { /* may_keep, keep; else begin_anew */
  if
#ifdef IGNORE_MARK
  :: true ->
#else
  :: mark != 2 ->
#endif
#ifndef NO_SETTLE
     fence_mark(); /* cm_record_settle */
#endif
     dirty = (mark > 0);
     assert(cache == 0 || cache <= ov)
#ifndef IGNORE_MARK
  :: else ->
     renew(); set_mark(0); fence_mark(); dirty = 0 /* record.pml has the order of these steps */
#endif
  fi
}
active proctype World() {
  do
  :: atomic { assert(cache == 0 || cache <= ov); break }
  :: atomic { ncr < CRASHES -> /* the process; a failed sync stays known */
       ncr++; lose_dram(); attach(); bypassed = (named || unnamed) }
  :: atomic { named -> /* all records go at once: cm_super_bump_epoch */
       named = 0; cache = 0;
#ifndef NO_NOTE_EPOCH
       unnamed = 1
#endif
     }
  :: atomic { ncr < CRASHES -> /* the power */
       ncr++; lose_dram(); broke = 0; named = 0; unnamed = 0;
       if :: dv = ov :: true fi; ov = dv;
       if
       :: markm & 1 -> mark = 0
       :: markm & 2 -> mark = 2
       :: markm & 4 -> mark = 2
       fi;
       markm = BIT(mark);
       attach() }
  :: atomic { broke && dv != ov -> ov = dv } /* the page cache drops what could not be written */
  od
}
proctype Writer(byte me) {
  do
  :: atomic { wp[me] == 0 && wn > 0 && !flk -> /* enroll: cm_file_mark_dirty, cm_file_link */
     wn--;
#ifndef UNLOCK_FENCE
     flk = 1;
#endif
#ifdef TRUST_FOUND
     if :: dirty -> fenced = 1 :: else fi;
#endif
#ifdef NO_MARK
     fenced = 1;
#endif
     if
     :: !fenced -> dirty = 1; set_mark(1); wp[me] = 1
#ifdef UNLOCK_FENCE
        ; fenced = 1
#endif
     :: else -> wp[me] = 2
     fi }
  :: atomic { wp[me] == 1 -> /* fence 5 */
#ifndef NO_MARK_FENCE
     if :: mark == 1 -> fence_mark() :: else fi;
#endif
     fenced = 1; wp[me] = 2 }
  :: atomic { wp[me] == 2 ->
     opened++; begun++; flk = 0;
     cache = 0; /* cm_forget_begin */
     wp[me] = 3 }
  :: atomic { wp[me] == 3 -> ov++; wp[me] = 4 }
  :: atomic { wp[me] == 4 && !flk -> opened--; wp[me] = 0 } /* cm_bracket_end */
  od
}
proctype Filler() {
  do
  :: atomic { fn > 0 && opened == 0 && !flk && !bypassed -> fn--; cache = ov }
#ifdef NO_BYPASS
  :: atomic { fn > 0 && opened == 0 && !flk -> fn--; cache = ov }
#endif
  od
}
proctype Sync(byte me) {
  do
  :: atomic { sp[me] == 0 && sn > 0 && !flk -> /* cm_bracket_sync_begin */
     sn--; sb[me] = begun; sidle[me] = (opened == 0);
#ifdef SYNC_INFLIGHT
     sidle[me] = 1;
#endif
     sp[me] = 1 }
  :: atomic { sp[me] == 1 -> /* fsync; after a failure it may find nothing to do */
     if :: dv = ov :: broke -> skip fi;
     sp[me] = 2 }
  :: atomic { sp[me] == 1 -> sp[me] = 3 } /* it fails */
  :: atomic { sp[me] == 2 && !flk -> /* cm_bracket_sync_end, ok */
#ifdef LIFT
     bypassed = 0;
#endif
#if defined(SYNC_BLIND)
     if :: dirty -> dirty = 0; fenced = 0; set_mark(0); fence_mark() :: else fi;
#elif defined(SYNC_NOGEN)
     if :: sidle[me] && opened == 0 && dirty -> dirty = 0; fenced = 0; set_mark(0); fence_mark()
     :: else fi;
#else
     if :: sidle[me] && begun == sb[me] && dirty -> dirty = 0; fenced = 0; set_mark(0); fence_mark()
     :: else fi;
#endif
     sp[me] = 0; sb[me] = 0; sidle[me] = 0 }
  :: atomic { sp[me] == 3 && !flk -> /* cm_file_sync_failed */
     broke = 1; bypassed = 1; begun++;
     if
     :: named = 1
     :: !named -> /* it has no record */
#ifdef NO_NOTE
        skip
#else
        unnamed = 1
#endif
     fi;
     if :: !fenced -> dirty = 1; set_mark(1); fence_mark(); fenced = 1 :: else fi;
#ifndef FAIL_KEEP
     renew();
#endif
     sp[me] = 0; sb[me] = 0; sidle[me] = 0 }
  od
}
init { atomic { run Writer(0); run Writer(1); run Filler(); run Sync(0); run Sync(1) } }
