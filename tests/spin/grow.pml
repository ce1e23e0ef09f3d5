/* SPDX-License-Identifier: BSD-2-Clause
 *
 * grow.pml - a pool grows while it is used: a second index takes the place of the first (grow.c,
 * reindex.c; publish.c, evict.c, forget.c).
 *
 * Two slots and one block, whose origin content has versions 1, 2, .... The old index and the new
 * one have NC cells each. What is in the new one's place at first is anything: an earlier growth
 * may have begun there. Headers and payloads are shared. A key is made before the lock is taken,
 * for one of the two indexes. A reader may use a key of the old index at any time, also after the
 * switch.
 *
 * PERSISTENCE, crashes and threads as in publish.pml: a word has a value and a MASK, the set of
 * values that the media may hold; a power cut picks each word by itself; a process crash keeps
 * values and masks, and may come between two steps. The superblock pair is one word (super.pml): a
 * session uses the index that it names.
 *
 * Bounds:    -DNC= cells   -DFILLS= -DWRITES= -DEVICTS= -DMAXCR=   -DPROC also process crashes
 * Mutants (each must be violated):
 *   FROM_HEADERS  the new index leads to every valid header, with or without a cell
 *   NO_DRAIN      the copy begins without passing through the locks
 *   NO_GROWING    publish does not ask whether the pool grows
 *   OLD_FILL      publish uses a key of the old index     OLD_WRITE  a bracket does
 *   NO_EMPTY      empty cells of the new index are not stored
 *   NO_FENCE      the superblock says so before the new index is fenced
 *   SWITCH_EARLY  the session uses the new index before the superblock is durable
 *   OPEN_EARLY    fills are let in again before the switch
 * Benign (not needed for safety): FLUSH_DEAD headers of dead cells are fenced before the switch.
 * Reachability (violated = reached): REACH_NEW a hit through the new index after a crash;
 *   REACH_BARE a valid header without a cell
 */
#ifndef NC
#define NC 1
#endif
#ifndef FILLS
#define FILLS 2
#endif
#ifndef WRITES
#define WRITES 1
#endif
#ifndef EVICTS
#define EVICTS 1
#endif
#ifndef MAXCR
#define MAXCR 2
#endif
#define NONE 2
#define BIT(x) (1 << (x))
#define AT(i, n) ((i) * NC + (n))
#define LEADS(v, s) ((v) == (s) + 1)

/* The pool. A cell is 0 or slot + 1. */
byte cell[2 * NC], cellm[2 * NC];
bit hv[2], d_any;
byte hm[2];
bit hk[2];           /* the key words are there: only a slot that was filled can be valid */
byte d[2], dm[2];    /* payload: a version; its mask */
bit sb;              /* the index that the superblock names */
byte sbm = 1;
/* DRAM */
bit first; /* the index when the session began */
bit use, growing, lk, own[2];
byte tick, intents;
/* Filler: pc, fills left, its key's index, ticket, data, slot, cell. */
byte fp, fn = FILLS, ft, fd, fs = NONE, fc;
bit fj;
/* Evictor: pc, left, slot, key's index. */
byte ep, en = EVICTS, es = NONE;
bit ei;
/* Writer: pc, left, headers that it flushes. */
byte wp, wn = WRITES, wf;
bit wi;
/* Growth: pc, cell to copy, what goes where. */
byte gp, gc, gn, gv[NC];
/* Origin: content, oldest content that may be served. */
byte ov = 1, lo = 1, ncr;
bit stored;
hidden byte c, s, ok, slot0;

/* ---- What a reader may get now ---- */
inline check() {
  for (c : 0..(2 * NC - 1)) {
    if
    :: cell[c] != 0 && (c < NC && !first || c >= NC && use) ->
       s = cell[c] - 1;
       if
       :: hv[s] && hk[s] ->
          assert(d[s] >= lo && d[s] <= ov);
#ifdef REACH_NEW
          assert(!(c >= NC && ncr > 0))
#endif
       :: else
       fi
    :: else
    fi
  }
}
inline found_in(i, r) { /* is the block cached, by index i? */
  r = 0;
  for (c : 0..(NC - 1)) {
    if :: cell[AT(i, c)] != 0 && hv[cell[AT(i, c)] - 1] && hk[cell[AT(i, c)] - 1] -> r = 1
       :: else fi
  }
}
inline drop_cells(i, S) {
  for (c : 0..(NC - 1)) {
    if :: LEADS(cell[AT(i, c)], S) ->
          cell[AT(i, c)] = 0; cellm[AT(i, c)] = cellm[AT(i, c)] | 1
       :: else fi
  }
}

#ifdef NO_GROWING
#define GROWING 0
#else
#define GROWING growing
#endif
#ifdef OLD_FILL
#define STALE_KEY 0
#else
#define STALE_KEY (fj != use)
#endif

/* ---- Filling: evict has made the slot durably invalid (the slot is free) ---- */
#define F_MISS 0
#define F_KEY 1
#define F_DATA 2
#define F_LOCK 3
#define F_CELL 4
#define F_VALID 5
#define F_FENCE 6
inline filler() {
  if
  :: fp == F_MISS && fn > 0 && intents == 0 -> /* ticket, then the origin */
     ft = tick; fd = ov; fj = use; fp = F_KEY
  :: fp == F_KEY -> /* a slot: free, with a header that is made durably invalid (evict's flush) */
     if
     :: !own[0] && !hv[0] -> fs = 0; own[0] = 1; hm[0] = 1; fp = F_DATA
     :: !own[1] && !hv[1] -> fs = 1; own[1] = 1; hm[1] = 1; fp = F_DATA
     :: fp = F_MISS; fn--
     fi
  :: fp == F_DATA -> /* payload, key words, fence 2 */
     d[fs] = fd; dm[fs] = BIT(fd); hk[fs] = 1; fp = F_LOCK
  :: fp == F_LOCK && !lk ->
     found_in(fj, ok);
     if
     :: ft != tick || intents > 0 || ok || GROWING || STALE_KEY ->
        own[fs] = 0; fs = NONE; fp = F_MISS; fn--
     :: else -> lk = 1; fp = F_CELL
     fi
  :: fp == F_CELL -> /* a cell that is empty, or whose header was flushed just now (settle_stale) */
     fc = NC;
     for (c : 0..(NC - 1)) {
       if
       :: fc == NC && cell[AT(fj, c)] == 0 -> fc = c
       :: fc == NC && cell[AT(fj, c)] != 0 ->
          s = cell[AT(fj, c)] - 1;
          if :: !hv[s] && (!own[s] || s == fs) -> hm[s] = 1; fc = c :: else fi
       :: else
       fi
     };
     if
     :: fc == NC -> lk = 0; own[fs] = 0; fs = NONE; fp = F_MISS; fn--
     :: else -> cell[AT(fj, fc)] = fs + 1;
        cellm[AT(fj, fc)] = cellm[AT(fj, fc)] | BIT(fs + 1); fp = F_VALID
     fi
  :: fp == F_VALID -> hv[fs] = 1; hm[fs] = hm[fs] | 2; lk = 0; fp = F_FENCE
  :: fp == F_FENCE -> /* flush, fence 3 */
     if :: LEADS(cell[AT(fj, fc)], fs) -> cellm[AT(fj, fc)] = BIT(fs + 1) :: else fi;
     if :: hv[fs] -> hm[fs] = 2; stored = 1 :: else -> hm[fs] = 1 fi;
     own[fs] = 0; fs = NONE; fp = F_MISS; fn--
  fi
}

/* ---- Evicting ---- */
inline evictor() {
  if
  :: ep == 0 && en > 0 -> /* the key is made of the header */
     if
     :: !own[0] && hv[0] -> es = 0; own[0] = 1; ei = use; ep = 1
     :: !own[1] && hv[1] -> es = 1; own[1] = 1; ei = use; ep = 1
     fi
  :: ep == 1 && !lk -> /* under the lock */
     if :: hv[es] -> hv[es] = 0; hm[es] = hm[es] | 1; stored = 0 :: else fi;
     ep = 2
  :: ep == 2 -> hm[es] = 1; ep = 3 /* fence 1 */
  :: ep == 3 && !lk -> drop_cells(ei, es); own[es] = 0; es = NONE; en--; ep = 0
  fi
}

/* ---- A bracket ---- */
inline writer() {
  if
  :: wp == 0 && wn > 0 -> wi = use; wp = 1 /* the key */
  :: wp == 1 && !lk ->
     lk = 1; intents++; tick++;
#ifndef OLD_WRITE
     wi = use;
#endif
     wf = 0; wp = 2
  :: wp == 2 ->
     for (c : 0..(NC - 1)) {
       if
       :: cell[AT(wi, c)] != 0 ->
          s = cell[AT(wi, c)] - 1;
          if :: hv[s] && hk[s] -> hv[s] = 0; hm[s] = hm[s] | 1; wf = wf | BIT(s); stored = 0
             :: !hv[s] -> wf = wf | BIT(s)
             :: else
          fi
       :: else
       fi
     };
     wp = 3
  :: wp == 3 -> /* fence 4, the lock is held */
     for (s : 0..1) { if :: (wf & BIT(s)) && !hv[s] -> hm[s] = 1; drop_cells(wi, s) :: else fi };
     stored = 0; lk = 0; wp = 4
  :: wp == 4 -> ov++; lo = ov; wp = 5 /* the caller writes the origin */
  :: wp == 5 && !lk -> intents--; tick++; wn--; wp = 0
  fi
}

/* ---- The growth ---- */
inline put(S) { if :: gn < NC -> gv[gn] = (S) + 1; gn++ :: else fi }
inline grower() {
  if
  :: gp == 0 && !use && !sb -> growing = 1; gp = 1; gn = 0; gc = 0;
     for (c : 0..(NC - 1)) { gv[c] = 0 };
#ifdef NO_DRAIN
  :: gp == 1 -> gp = 2
#else
  :: gp == 1 && !lk -> gp = 2
#endif
  :: gp == 2 && gc < NC ->
#ifdef FROM_HEADERS
     if :: gc == 0 -> for (s : 0..1) { if :: hv[s] && hk[s] -> put(s) :: else fi } :: else fi;
#else
     if
     :: cell[AT(0, gc)] != 0 && hv[cell[AT(0, gc)] - 1] && hk[cell[AT(0, gc)] - 1] ->
        put(cell[AT(0, gc)] - 1)
     :: else
     fi;
#endif
#ifdef FLUSH_DEAD
     if :: cell[AT(0, gc)] != 0 && !hv[cell[AT(0, gc)] - 1] -> hm[cell[AT(0, gc)] - 1] = 1
        :: else fi;
#endif
     gc++
  :: gp == 2 && gc == NC -> /* all of the new index is stored */
     for (c : 0..(NC - 1)) {
       if
#ifdef NO_EMPTY
       :: gv[c] == 0
#endif
       :: else -> cell[AT(1, c)] = gv[c]; cellm[AT(1, c)] = cellm[AT(1, c)] | BIT(gv[c])
       fi
     };
     gp = 3
  :: gp == 3 ->
#ifndef NO_FENCE
     for (c : 0..(NC - 1)) { cellm[AT(1, c)] = BIT(cell[AT(1, c)]) };
#endif
     gp = 4
  :: gp == 4 -> sb = 1; sbm = 3; gp = 5
#ifdef SWITCH_EARLY
  :: gp == 5 -> use = 1; growing = 0; gp = 6
  :: gp == 6 -> sbm = 2; gp = 7
#else
  :: gp == 5 -> sbm = 2; gp = 6 /* both copies are durable */
#ifdef OPEN_EARLY
  :: gp == 6 -> growing = 0; gp = 7
  :: gp == 7 -> use = 1; gp = 8
#else
  :: gp == 6 -> use = 1; gp = 7
  :: gp == 7 -> growing = 0; gp = 8
#endif
#endif
  fi
}

/* ---- Crashes ---- */
inline pick(v, m) {
  if
  :: (m & 1) -> v = 0
  :: (m & 2) -> v = 1
  :: (m & 4) -> v = 2
  fi;
  m = BIT(v)
}
inline pick_data(v, m) {
  if
  :: (m & 1) -> v = 0
  :: (m & 2) -> v = 1
  :: (m & 4) -> v = 2
  :: (m & 8) -> v = 3
  fi;
  m = BIT(v)
}
inline reset() {
  first = sb; use = sb; growing = 0; lk = 0; own[0] = 0; own[1] = 0; tick = 0; intents = 0;
  fp = 0; fs = NONE; fj = 0; ft = 0; fd = 0; fc = 0;
  ep = 0; es = NONE; ei = 0;
  if :: wp >= 4 && wn > 0 -> wn-- :: else fi;
  wp = 0; wf = 0; wi = 0; gp = 0; gc = 0; gn = 0;
  for (c : 0..(NC - 1)) { gv[c] = 0 };
  if :: fn == 0 -> fn = 1 :: else fi;
  if :: wn == 0 && ncr < 2 -> wn = 1 :: else fi;
  ncr++
}
inline crash(power) {
  if
  :: power ->
     for (c : 0..(2 * NC - 1)) { pick(cell[c], cellm[c]) };
     pick(hv[0], hm[0]); pick(hv[1], hm[1]);
     pick_data(d[0], dm[0]); pick_data(d[1], dm[1]);
     pick(sb, sbm)
  :: else /* the next open makes the superblock that it believes durable */
     sbm = BIT(sb)
  fi;
  reset();
  found_in(use, ok);
  assert(!stored || ok); /* P4 */
  stored = 0
}

init {
  d_step {
    for (c : 0..(NC - 1)) { cellm[c] = 1; cellm[AT(1, c)] = 1 };
    hm[0] = 1; hm[1] = 1; dm[0] = 1; dm[1] = 1
  }
  atomic { /* whatever is where the new index will be */
    if :: cell[AT(1, 0)] = 1; cellm[AT(1, 0)] = 2 :: cell[AT(1, 0)] = 2; cellm[AT(1, 0)] = 4
       :: skip fi
  }
  do
  :: atomic { (fp > 0 || fn > 0) -> filler(); check() }
  :: atomic { (ep > 0 || en > 0) -> evictor(); check() }
  :: atomic { (wp > 0 || wn > 0) -> writer(); check() }
  :: atomic { gp < 8 -> grower(); check() }
  :: atomic { ncr < MAXCR -> crash(1); check() }
#ifdef PROC
  :: atomic { ncr < MAXCR -> crash(0); check() }
#endif
#ifdef REACH_BARE
  :: atomic { hv[0] && hk[0] && ncr > 0 && !own[0] && cell[0] != 1 -> assert(0) }
#endif
  od
}
