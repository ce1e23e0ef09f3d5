/* SPDX-License-Identifier: BSD-2-Clause
 *
 * regions.pml - regions of a file, on media that only a sync makes durable: what survives a crash
 * of the system is what was checkpointed and not written since (docs/decisions/regions.md).
 *
 * One file, one region with one block, one slot. Each word of the pool is there twice: in the page
 * cache, and on the disk. The system writes any word back at any time. A header is written back
 * whole or torn. A sync writes a page back at once. The words are: the header (version,
 * incarnation, session in which it was stored); the cell (the same session); and in one page the
 * record (incarnation, session of its birth, validator), the intent and the generation of the
 * region, each with the incarnation that it speaks of, and the session that looked at them last.
 * The generation is a session, too: blocks that were stored earlier do not count.
 * The origin has a page cache and a disk, too. There are two writers, a filler, a sync of the
 * origin, a checkpoint, an eviction, kills and power cuts. Sessions are numbered by the superblock:
 * a new one after each power cut.
 *
 * Proves: what a session serves is the origin's present content.
 *
 * A record that is gone from memory may still be on the disk. It is "lost" until a checkpoint, and
 * also after a kill, because nobody knows then. A file that begins anew where none is lost has no
 * older record anywhere, so its first write needs no sync.
 *
 * EXCL: the validator proves nothing. Otherwise it is the version of the content. GENS: how many
 * numbers of sessions there are before they repeat. FOREIGN: another program changes the file, and
 * the validator is the time of the change, which a power cut may take while it keeps the data. Once
 * the cache has noticed the change, and was neither killed nor cut meanwhile, it serves no older
 * content ever again.
 *
 * Mutants: NO_INTENT a write leaves no intent   NO_INTENT_SYNC it is not synced   TRUST_SET a
 *          writer trusts an intent that it finds set in memory   TRUST_FOUND an attach trusts one
 *          INTENT_LATE it is synced after the origin was written   CLEAR_DIRTY it is cleared before
 *          the origin was synced   SYNC_NOGEN a write that began during the origin's sync counts as
 *          synced   CLEAR_UNSYNCED cleared before the pool was synced   CLEAR_SINCE cleared
 *          although a bracket has begun since the checkpoint's start   BORN_CLEAR a new incarnation
 *          has no intent   NO_BUMP an attach after a power cut keeps the generation   BUMP_CLEARS
 *          it clears the intent at once   NO_TAG words count for any incarnation   CELL_ANY a cell
 *          counts for a header of any session   NO_WRAP numbers repeat   NO_LOST (EXCL) a new
 *          incarnation's first write syncs nothing   LOST_KILL (EXCL) a kill loses no record
 *          LOST_OWN (EXCL) nor does a file that begins anew in its own place   NO_AGE headers of
 *          any session count   CLEAR_OPEN a bracket may be open at the checkpoint's start
 *          NO_NOTICE_SYNC (FOREIGN) what is noticed is not synced
 * Reachability: REACH_CLEAN a block hits after a power cut   REACH_BUMP one was dropped by its
 *          generation   REACH_KILL one hits after a kill   REACH_NOTICED one hits after a power
 *          cut that came after a change was noticed
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef WRITES
#define WRITES 2
#endif
#ifndef FILLS
#define FILLS 2
#endif
#ifndef CHECKS
#define CHECKS 2
#endif
#ifndef SYNCS
#define SYNCS 1
#endif
#ifndef EVICTS
#define EVICTS 0
#endif
#ifndef TAKES
#define TAKES 0
#endif
#ifndef ANEWS
#define ANEWS 0 /* so often a file begins anew although it could be kept */
#endif
#ifndef GENS
#define GENS 4
#endif
#ifdef FOREIGN
byte om = 1, dm = 1, nm = 1; /* time of the last change; on the disk; the last that was given out */
bit unnoticed, excused, noticed; /* a change; it may stay so for ever; one was noticed */
byte np;                         /* a notice waits for its sync */
byte change_left = 1;
#define TIME om
#define COUNTS (!unnoticed && !excused)
#else
#define TIME ov
#define COUNTS true
#endif
#ifdef EXCL
#define SAME true
#else
#define SAME (rv[0] == TIME)
#endif
#ifdef NO_WRAP
#define MAY_KEEP (ri[0] != 0 && SAME)
#else
#define MAY_KEEP (ri[0] != 0 && SAME && session - rb[0] < GENS)
#endif
#ifdef NO_TAG
#define OURS(i) true
#else
#define OURS(i) (i == inc)
#endif
#define AGE(s) ((session + GENS - (s)) % GENS)
#ifdef NO_AGE
#define KEY (hi[0] == inc)
#else
#define KEY (hi[0] == inc && AGE(hs[0]) <= AGE(gen))
#endif
#ifdef CELL_ANY
#define FOUND (cl[0] != 0 && hv[0] != 0)
#else
#define FOUND (cl[0] == hs[0] + 1 && hv[0] != 0)
#endif
#define HIT (att && FOUND && KEY)
#ifdef CLEAR_OPEN
#define IDLE true
#else
#define IDLE (!copen)
#endif
#ifdef CLEAR_SINCE
#define NONE_SINCE true
#else
#define NONE_SINCE (!cvoid)
#endif
#ifdef CLEAR_DIRTY
#define SYNCED true
#else
#define SYNCED (!sus)
#endif
/* [0]: in the page cache, [1]: on the disk */
byte ov = 1, dv = 1;                        /* the origin's version */
byte hv[2], hi[2], hs[2];                   /* header: version (0: invalid), incarnation, session
                                             * modulo GENS */
byte cl[2];                                 /* cell: the session plus one, or 0: empty */
byte ri[2], rb[2], rv[2];                   /* record: incarnation (0: none), birth, validator */
bit wn[2];                                  /* intent */
byte wi[2];
byte gg[2], gi[2];                          /* generation */
byte rs; /* session that wrote intent and generation; what the disk has is of an earlier one */
bit lost;                                   /* a record may be on the disk only */
byte session = 1, ninc;                     /* the superblock's, always durable */
/* The process */
bit att, dur, own, sus;                       /* attached; the intent is durable, as this session
                                             * knows; the origin may lose what was written */
byte inc, gen, open;
byte wp[2], fp, ft, sp, cp;
bit fvoid, svoid, cvoid; /* a bracket was open at the begin of the origin read or of the sync, or
                          * has begun since; for the checkpoint only the latter */
bit copen;               /* one was open at the checkpoint's start */
byte ncr, nk, wn_left = WRITES, fn = FILLS, sn = SYNCS, cn = CHECKS, en = EVICTS, tn = TAKES;
byte an = ANEWS;
bit hitcut, hitkill, dropped;               /* for the reachability */

/* What an invalid header says otherwise does not matter. */
inline drop() { hv[0] = 0; hi[0] = 0; hs[0] = 0; cl[0] = 0 }
inline page_sync() {
  ri[1] = ri[0]; rb[1] = rb[0]; rv[1] = rv[0]; wn[1] = wn[0]; wi[1] = wi[0]; gg[1] = gg[0];
  gi[1] = gi[0]
}
inline pool_sync() {
  page_sync(); hv[1] = hv[0]; hi[1] = hi[0]; hs[1] = hs[0]; cl[1] = cl[0]
}
inline lose_dram() {
  att = 0; dur = 0; sus = 0; inc = 0; gen = 0; open = 0; wp[0] = 0; wp[1] = 0;
  fp = 0; ft = 0; fvoid = 0; sp = 0; svoid = 0; cp = 0; cvoid = 0; copen = 0;
#ifdef FOREIGN
  np = 0
#endif
}
/* A crash before the cache has noticed a change. */
inline excuse() {
#ifdef FOREIGN
  excused = excused || unnoticed; unnoticed = 0
#else
  skip
#endif
}
inline keep() {
  inc = ri[0];
  if
  :: rs == session && OURS(gi[0]) && OURS(wi[0]) -> /* a kill or a close in this session */
     gen = gg[0]
#ifndef NO_BUMP
  :: !(rs == session && OURS(gi[0]) && OURS(wi[0])) &&
     (!OURS(wi[0]) || wn[0] || !OURS(gi[0])) ->
     if :: FOUND && hi[0] == inc -> dropped = 1 :: else fi;
     gen = session % GENS; gg[0] = gen; gi[0] = inc; wi[0] = inc;
#ifdef BUMP_CLEARS
     wn[0] = 0
#else
     wn[0] = 1
#endif
  :: !(rs == session && OURS(gi[0]) && OURS(wi[0])) && OURS(wi[0]) && !wn[0] && OURS(gi[0]) ->
     gen = gg[0]
#else
  :: else -> gen = gg[0]
#endif
  fi;
  dur = 0;
#ifdef TRUST_FOUND
  dur = wn[0];
#endif
  sus = wn[0] /* a writer of this session may have been killed */
}
inline begin_anew() {
  ninc++; inc = ninc; gen = session % GENS;
#ifdef LOST_OWN
  own = 0;
#else
  own = (ri[0] != 0); lost = lost || own;
#endif
#ifdef FOREIGN
  if :: ri[0] != 0 -> np = 1 :: else -> unnoticed = 0 fi;
#endif
  ri[0] = inc; rb[0] = session; rv[0] = TIME; wi[0] = inc; gg[0] = gen; gi[0] = inc;
  rs = session;
#ifdef BORN_CLEAR
  wn[0] = 0;
#else
  wn[0] = 1;
#endif
#ifdef NO_LOST
  dur = 1;
#else
  dur = !lost && !own; /* then the disk has no record, or this one with the intent */
#endif
  if :: ov == dv -> sus = 0 /* its times say so */ :: sus = 1 fi
}
active proctype World() {
  do
  :: atomic { !att && MAY_KEEP -> att = 1; keep() }
  :: atomic { !att && ninc < 3 && !MAY_KEEP -> att = 1; begin_anew() }
  :: atomic { !att && ninc < 3 && MAY_KEEP && an > 0 -> an--; att = 1; begin_anew() }
  :: atomic { !att && tn > 0 && ri[0] != 0 -> /* another file takes the record */
     tn--; ri[0] = 0; rb[0] = 0; rv[0] = 0; lost = 1 }
  :: atomic { att && open == 0 && fp == 0 && cp == 0 && sp == 0 -> lose_dram() } /* close */
  :: atomic { nk < KILLS && (att || lost) ->
     nk++; excuse(); lose_dram(); hitkill = 1;
#ifdef LOST_KILL
     lost = 0
#else
     lost = 1
#endif
     }
  :: atomic { ncr < CRASHES -> /* power cut */
     ncr++; session++; excuse(); lose_dram(); ov = dv; hitcut = 1;
#ifdef FOREIGN
     om = dm;
#endif
     hv[0] = hv[1]; hi[0] = hi[1]; hs[0] = hs[1]; cl[0] = cl[1]; ri[0] = ri[1];
     rb[0] = rb[1]; rv[0] = rv[1]; wn[0] = wn[1]; wi[0] = wi[1]; gg[0] = gg[1]; gi[0] = gi[1];
     rs = 0; lost = 0 }
  od
}
/* The system writes back a word at any time. */
active proctype Disk() {
  do
  :: atomic { hv[1] != hv[0] || hi[1] != hi[0] || hs[1] != hs[0] ->
     hi[1] = hi[0]; hs[1] = hs[0];
     if :: hv[1] = hv[0] :: hv[1] = 0; hi[1] = 0; hs[1] = 0 fi }
  :: atomic { cl[1] != cl[0] -> cl[1] = cl[0] }
  :: atomic { ri[1] != ri[0] || rb[1] != rb[0] || rv[1] != rv[0] ->
     ri[1] = ri[0]; rb[1] = rb[0]; rv[1] = rv[0] }
  :: atomic { wn[1] != wn[0] || wi[1] != wi[0] -> wn[1] = wn[0]; wi[1] = wi[0] }
  :: atomic { gg[1] != gg[0] || gi[1] != gi[0] -> gg[1] = gg[0]; gi[1] = gi[0] }
  :: atomic { dv != ov -> dv = ov }
#ifdef FOREIGN
  :: atomic { dm != om -> dm = om }
#endif
  od
}
#ifdef FOREIGN
active proctype Foreign() {
  do
  :: atomic { change_left > 0 -> change_left--; ov++; nm++; om = nm; unnoticed = 1; sus = att }
  :: atomic { att && np == 0 && ninc < 3 && !SAME -> /* cm_file_revalidate */
     ninc++; inc = ninc; ri[0] = inc; rv[0] = om; wn[0] = 1; wi[0] = inc; gi[0] = inc; rs = session;
     sus = 1; fvoid = (fp > 0); svoid = (sp > 0); cvoid = (cp > 0); np = 1 }
  :: atomic { np == 1 -> /* it returns, or cm_file_open does */
#ifndef NO_NOTICE_SYNC
     page_sync(); dur = 1;
#endif
     unnoticed = 0; noticed = 1; np = 0 }
  od
}
#endif
proctype Writer(byte me) {
  do
  :: atomic { att && wp[me] == 0 && wn_left > 0 -> /* cm_write_begin */
     wn_left--; open++; sus = 1;
     fvoid = (fp > 0); svoid = (sp > 0); cvoid = (cp > 0); rs = session;
     if
     :: dur -> wp[me] = 2
     :: !dur ->
#ifdef TRUST_SET
        if :: wn[0] && wi[0] == inc -> wp[me] = 2
           :: else -> wn[0] = 1; wi[0] = inc; wp[me] = 1 fi
#elif defined(NO_INTENT)
        wp[me] = 2
#else
        wn[0] = 1; wi[0] = inc;
#if defined(NO_INTENT_SYNC) || defined(INTENT_LATE)
        wp[me] = 2
#else
        wp[me] = 1
#endif
#endif
     fi }
  :: atomic { wp[me] == 1 -> page_sync(); dur = 1; wp[me] = 2 }
  :: atomic { wp[me] == 2 -> /* the block is forgotten */
     if :: FOUND && KEY -> drop() :: else fi;
     wp[me] = 3 }
  :: atomic { wp[me] == 3 -> ov++; wp[me] = 4 } /* the origin's write */
  :: atomic { wp[me] == 4 -> /* cm_write_end, adopts */
#ifdef INTENT_LATE
     page_sync(); dur = 1;
#endif
     open--; fvoid = (fp > 0); wp[me] = 0;
     if :: open == 0 -> rv[0] = TIME :: else fi }
  od
}
active proctype Filler() {
  do
  :: atomic { att && fp == 0 && fn > 0 && open == 0 && !HIT -> fn--; ft = ov; fvoid = 0; fp = 1 }
  :: atomic { fp == 1 -> /* cm_fill */
     if
     :: !fvoid && open == 0 && !HIT -> /* what the slot had is evicted */
        hv[0] = ft; hi[0] = inc; hs[0] = session % GENS; cl[0] = hs[0] + 1
     :: else
     fi;
     fp = 0; ft = 0; fvoid = 0 }
  :: atomic { en > 0 && hv[0] != 0 -> en--; drop() } /* an eviction */
  :: atomic { HIT ->
     assert(!COUNTS || hv[0] == ov);
#ifdef REACH_NOTICED
     assert(!(noticed && hitcut && COUNTS))
#endif
#ifdef REACH_CLEAN
     assert(!(hitcut && fn == FILLS - 1))
#endif
#ifdef REACH_KILL
     assert(!(hitkill && !hitcut && fn == FILLS - 1))
#endif
     break }
#ifdef REACH_BUMP
  :: atomic { dropped -> assert(false) }
#endif
  od
}
active proctype Sync() { /* of the origin */
  do
  :: atomic { att && sp == 0 && sn > 0 -> sn--; svoid = (open > 0); sp = 1 }
  :: atomic { sp == 1 -> dv = ov;
#ifdef FOREIGN
     dm = om;
#endif
     sp = 2 }
  :: atomic { sp == 2 ->
#ifdef SYNC_NOGEN
     if :: open == 0 -> sus = 0 :: else fi;
#else
     if :: !svoid -> sus = 0 :: else fi;
#endif
     sp = 0; svoid = 0 }
  od
}
active proctype Checkpoint() {
  do
  :: atomic { att && cp == 0 && cn > 0 ->
     cn--; cvoid = 0; copen = (open > 0); cp = 1 }
  :: atomic { cp == 1 ->
#ifndef CLEAR_UNSYNCED
     pool_sync();
#endif
     cp = 2 }
  :: atomic { cp == 2 ->
     lost = 0; /* none is lost while the file is attached */
     if
     :: IDLE && NONE_SINCE && SYNCED -> wn[0] = 0; wi[0] = inc; dur = 0
     :: else
     fi;
     cp = 0; cvoid = 0; copen = 0 }
  od
}
init { atomic { run Writer(0); run Writer(1) } }
