/* SPDX-License-Identifier: BSD-2-Clause
 *
 * record.pml - the file table: attaching, evicting, settling records; born dirty or clean
 * (file_table.c; attach_new, find_record, void_unreadable, choose_place, begin_anew, keep,
 * cm_file_renew in file.c).
 *
 * There are two places. With PLACES=2 each is a bucket of its own, and the two files try them in
 * different order: the rules treat all places of an id alike. The files' validators never change.
 * That is the worst case: all depends on the record. A record is written as many words. Until it is
 * fenced, the media may hold the old record, the new one, or one that is not whole (id 0). Its
 * state word is one persistent word: 0 clean, 1 dirty from this boot, 2 dirty from an earlier one.
 * Files are attached, written, synced, renewed, detached and forgotten. The process or the power
 * fails at any step.
 *
 * Proves: an attach keeps only the file's last incarnation, and keeps nothing after a power cut
 * that undid writes to the origin.
 *
 * Mutants: NO_FENCE6   RELEASE_EARLY the new incarnation is used before its record is durable
 *          NO_SETTLE a record is kept and was not made durable   EVICT_OPEN the record of an open
 *          file is given to another file   RECORD_FIRST born dirty: the record is written before
 *          the mark   CLEAN_FIRST born clean: the mark is cleared before the record is written
 *          NO_SETTLE_ALL (PLACES=2, CRASHES=3) records that look torn are not made durable before
 *          another place is taken
 *          NO_SETTLE_OTHER (PLACES=2, CRASHES=3) only those of one bucket are made durable
 *          NO_SETTLE_FORGET forgetting a closed file sees that a record is not the file's, and
 *          trusts that the media has the same
 *          MARK_OLD born dirty: the mark is set while the old record is still there
 *          NO_VOID (TRANSIENT, PLACES=2) a record that cannot be read is left in place
 * TRANSIENT: the second record cannot be read once; later it can be read.
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef OPS
#define OPS 5
#endif
#ifndef PLACES
#define PLACES 1 /* fewer places than files, so files evict each other */
#endif
#define FILES 2
#define BIT(x) (1 << (x))
#define NONE 3
typedef rec { byte id, inc };
rec mem[2], med[2];
bit pend[2];
byte state[2], statem[2] = 1; /* state words */
byte next = 1;
/* Files, by id - 1. For the proof only: the last incarnation in effect; whether the origin holds
 * unsynced writes; whether a power cut undid some since. */
byte last[FILES];
bit unsynced[FILES], lost[FILES];
/* DRAM: */
bit open[FILES], fenced[FILES];
byte place[FILES] = NONE, inc[FILES];
bit crash;
byte ncr, ops;
hidden byte i;
#define TAKEN(p, f) (FILES > 1 && open[1 - (f)] && place[1 - (f)] == (p))

inline arrive(p) {
  if
  :: pend[p] ->
     if
     :: true -> med[p].id = mem[p].id; med[p].inc = mem[p].inc
     :: true -> med[p].id = 0
     :: true
     fi;
     pend[p] = 0
  :: else
  fi
}
inline settle(p) {
  med[p].id = mem[p].id; med[p].inc = mem[p].inc; pend[p] = 0; statem[p] = BIT(state[p])
}
inline write_record(f, n) {
  atomic { arrive(place[f]); mem[place[f]].id = f + 1; mem[place[f]].inc = n; pend[place[f]] = 1 };
#ifndef NO_FENCE6
  atomic { med[place[f]].id = f + 1; med[place[f]].inc = n; pend[place[f]] = 0 }
#endif
}
inline mark(f, v) { /* cm_record_mark: stores it, then fences */
  if
  :: place[f] != NONE ->
     atomic { state[place[f]] = v; statem[place[f]] = statem[place[f]] | BIT(v) };
     atomic { statem[place[f]] = BIT(v); fenced[f] = (v == 1) }
  :: else
  fi
}
inline release(f, n) { atomic { inc[f] = n; last[f] = n; lost[f] = 0 } }
inline renew(f) { /* cm_file_renew */
  atomic { n = next; next++ };
#ifdef RELEASE_EARLY
  release(f, n);
#endif
  if :: place[f] != NONE -> write_record(f, n) :: else fi;
#ifndef RELEASE_EARLY
  release(f, n)
#endif
}
inline attach(f) {
  atomic {
    place[f] = NONE; fenced[f] = 0; dup = 0;
#ifdef TRANSIENT
    if :: !blind -> blind = 1; seen = 0 :: true -> seen = 1 fi; /* record 1 cannot be read, once */
#endif
    if :: mem[0].id == f + 1 -> place[f] = 0 :: else fi;
#if PLACES > 1
    if
    :: mem[1].id == f + 1 && seen -> if :: place[f] == 0 -> dup = 1 :: else -> place[f] = 1 fi
    :: else
    fi
#endif
  };
  if
  :: dup -> /* two records of one id: both are dropped, one after the other */
     atomic { med[0].id = 0; mem[0].id = 0; pend[0] = 0 };
     atomic { med[1].id = 0; mem[1].id = 0; pend[1] = 0 }
  :: else
  fi;
  if
  :: !dup && place[f] != NONE && state[place[f]] != 2 -> /* may_keep, keep */
#ifndef NO_SETTLE
     atomic { settle(place[f]) };
#endif
     atomic {
       inc[f] = mem[place[f]].inc;
        /* It may be later, if a process crash cut a renewal short. Then it has nothing cached. */
       assert(inc[f] >= last[f]);
       if :: inc[f] > last[f] -> last[f] = inc[f]; lost[f] = 0 :: else fi;
       assert(!lost[f])
     }
  :: else -> /* begin_anew */
#if defined(TRANSIENT) && !defined(NO_VOID)
     if /* void_unreadable: drops the record if it can, else it bumps the epoch */
     :: place[f] == NONE && !seen && !TAKEN(1, f) ->
        if
        :: atomic { med[1].id = 0; mem[1].id = 0; pend[1] = 0 }
        :: atomic { for (i : 0..1) { med[i].id = 0; mem[i].id = 0; pend[i] = 0 } }
        fi
     :: else
     fi;
#endif
#ifndef NO_SETTLE_ALL
#ifdef NO_SETTLE_OTHER
     if :: place[f] == NONE -> settle(0) :: else fi;
#else
     if :: place[f] == NONE -> atomic { for (i : 0..1) { settle(i) } } :: else fi;
#endif
#endif
     atomic { /* choose_place: an unused place, else any; but not that of an open file */
       if
       :: place[f] == NONE ->
#ifdef EVICT_OPEN
#define FREE(p) true
#else
#define FREE(p) (!TAKEN(p, f) && (p == 0 || seen))
#endif
          if
#if PLACES > 1 /* the emptier bucket; if both are empty, its first: 0 of file 0, 1 of file 1 */
          :: mem[0].id == 0 && FREE(0) && (f == 0 || mem[1].id > 0 || !FREE(1)) -> place[f] = 0
          :: mem[1].id == 0 && FREE(1) && (f == 1 || mem[0].id > 0 || !FREE(0)) -> place[f] = 1
#else
          :: mem[0].id == 0 && FREE(0) -> place[f] = 0
#endif
#if PLACES > 1
          :: mem[0].id > 0 && mem[1].id > 0 && FREE(0) -> place[f] = 0
          :: mem[0].id > 0 && mem[1].id > 0 && FREE(1) -> place[f] = 1
#else
          :: mem[0].id > 0 && FREE(0) -> place[f] = 0
#endif
          :: else
          fi
       :: else
       fi;
       if :: dirty = 1 :: !unsynced[f] -> dirty = 0 fi /* born_dirty: unless proved clean */
     };
#ifdef RECORD_FIRST
     renew(f);
     if :: dirty -> mark(f, 1) :: else fi;
#else
 #ifndef MARK_OLD
    /* The mark would stamp the old record with this boot, be it of this file or of another one. */
    if :: dirty && place[f] != NONE ->
      atomic { med[place[f]].id = 0; mem[place[f]].id = 0; pend[place[f]] = 0 }
    :: else fi;
#endif
    if :: dirty -> mark(f, 1) :: else fi;
#ifdef CLEAN_FIRST
     if :: !dirty -> mark(f, 0) :: else fi;
#endif
     renew(f);
#endif
#ifndef CLEAN_FIRST
     if :: !dirty -> mark(f, 0) :: else fi
#endif
  fi;
  atomic { open[f] = 1; n = 0; dup = 0; dirty = 0; seen = 1 }
}
/* cm_files_forget, of a file that is not open. The origin may then be another file. */
inline forget(f) {
  p = 0;
  do
  :: p < 2 ->
     if
     :: mem[p].id == f + 1 -> atomic { med[p].id = 0; mem[p].id = 0; pend[p] = 0 }
#ifdef NO_SETTLE_FORGET
     :: else
#else
     :: else -> atomic { settle(p) }
#endif
     fi;
     p++
  :: else -> break
  od;
  atomic { last[f] = next; next++; p = 0 }
}
inline op(f) {
  if
  :: !open[f] -> attach(f)
  :: !open[f] -> forget(f)
  :: open[f] -> renew(f)
  :: open[f] -> /* enroll, and the origin is written */
     if :: !fenced[f] && place[f] != NONE -> mark(f, 1) :: else fi;
     unsynced[f] = 1
  :: open[f] && unsynced[f] -> unsynced[f] = 0; mark(f, 0) /* a sync that proves the file clean */
  :: open[f] -> atomic { open[f] = 0; place[f] = NONE; fenced[f] = 0 } /* cm_files_detach */
  fi
}
active proctype Owner() {
  byte n, p;
  bit dup, dirty, seen = 1, blind;
#if PLACES > 1
  if /* at first the second record may be in use */
  :: atomic { true -> mem[1].id = 1; mem[1].inc = 1; med[1].id = 1; med[1].inc = 1; last[0] = 1 };
     next = 2
  :: true
  fi;
#endif
again:
  {
    do
    :: ops < OPS ->
       ops++;
       if :: true -> op(0) :: true -> op(1) fi
    :: else -> break
    od
  } unless { crash };
  if
  :: atomic { crash -> /* all DRAM is lost */
       n = 0; p = 0; dup = 0; dirty = 0; seen = 1;
       for (i : 0 .. (FILES - 1)) { open[i] = 0; place[i] = NONE; fenced[i] = 0; inc[i] = 0 };
       crash = 0 };
     goto again
  :: !crash
  fi
}
active proctype Crash() {
  do
  :: ncr < CRASHES ->
     atomic {
       ncr++;
       if
       :: true -> /* the process, perhaps in the middle of a record */
          for (i : 0..1) { if :: pend[i] -> mem[i].id = 0 :: true fi }
       :: true -> /* the power */
          arrive(0); arrive(1);
          for (i : 0..1) {
            mem[i].id = med[i].id; mem[i].inc = med[i].inc;
            if
            :: statem[i] & 1 -> state[i] = 0
            :: statem[i] & 2 -> state[i] = 2
            :: statem[i] & 4 -> state[i] = 2
            fi;
            statem[i] = BIT(state[i])
          };
          for (i : 0 .. (FILES - 1)) {
            if :: unsynced[i] -> lost[i] = 1; unsynced[i] = 0 :: else fi
          }
       fi;
       crash = 1
     };
     !crash
  :: break
  od
}
