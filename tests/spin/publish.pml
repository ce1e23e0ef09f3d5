/* SPDX-License-Identifier: BSD-2-Clause
 *
 * publish.pml - cells and headers: filling, evicting, displacing, forgetting, crashing (publish.c,
 * evict.c, forget.c).
 *
 * Two slots and two blocks. The origin content of block K has versions 1, 2, .... The content of
 * block B never changes. NC cells. Two fillers, and one or two writers on K. A crash may come at
 * any time.
 *
 * PERSISTENCE. Each 8-byte word of the pool has a value and a MASK: the set of values that the
 * media may hold now. A store adds to the mask. Flush and fence narrow it to the value. A power cut
 * picks each word from its mask by itself: there is no order and no line atomicity, and the model
 * does not rely on checks. A process crash keeps values and masks, and resets all DRAM. It may come
 * between any two stores (cut()). A power cut between two stores under one lock is covered by the
 * cut after them, because masks only grow. Threads are loops of guarded commands over global
 * program counters, so that a crash can reset them. lk[] stays 1 across a fence.
 *
 * Bounds:    -DNC=1..3 cells   -DSTR2 K and B in two stripes (3 cells)   -DNW=0..2 writers
 *            -DF0= -DF1= fills of each filler   -DP2F= -DP2W= fills, writes after the first crash
 *            -DMAXCR= crashes   -DPROC also process crashes   -DNO_POWER no power cuts
 *            -DTAIL a cached block may be a shorter tail, which is displaced
 * Mutants (each must be violated):
 *   NO_EVICT_FENCE  evict has no fence 1             CLEAR_EARLY  evict drops cells before fence 1
 *   NO_DATA_FENCE   no fence 2 for the payload       NO_KEY_FLUSH ... for the key words
 *   NO_FENCE3       "stored" without fence 3         VALID_FIRST  publish before the payload
 *   CHECK_UNLOCKED  cm_ticket_holds outside the lock NO_TICKET TICKET_LATE NO_INTENTS
 *   NO_FENCE4       cm_forget_begin has no fence     UNLOCK_EARLY  cells dropped, lock released,
 *   NO_HELP         invalid headers are not flushed                and only then fence 4
 *   NO_SETTLE       make_room without settle_stale   TRUST_TAG    a reader trusts the cell's tag
 *   BLIND_REUSE     (with NO_SETTLE) make_room takes a stale cell whose slot has an owner
 *   DROP_CELL       displaces by overwriting the cell DROP_UNFENCED  displaces without its fence
 *   HEADER_FIRST    publish stores the header before the cell
 * Reachability (violated = reached): REACH_WARM a hit after a power cut; REACH_NEW of new content
 */
#ifdef STR2
#define NC 3
#define ST(k) ((k) - 1)
#define LO(k) ((k) == 2 -> 2 : 0)
#define HI(k) ((k) == 2 -> 2 : 1)
#else
#ifndef NC
#define NC 2
#endif
#define ST(k) 0
#define LO(k) 0
#define HI(k) (NC - 1)
#endif
#ifndef NW
#define NW 2
#endif
#ifndef F0
#define F0 1
#endif
#ifndef F1
#define F1 1
#endif
#ifndef P2F
#define P2F 1
#endif
#ifndef P2W
#define P2W 1
#endif
#ifndef MAXCR
#define MAXCR 2
#endif
#define K 1
#define B 2
#define BDATA 7 /* B's content */
#define NONE 2  /* no slot */
#define BIT(x) (1 << (x))
#define CELL(k, s) (1 + ((k) - 1) * 2 + (s))
#define CKEY(v) (((v) - 1) / 2 + 1)
#define CSLOT(v) (((v) - 1) % 2)

/* The pool: value and mask of each word. */
byte cell[NC], cellm[NC];
bit hv[2];
byte hm[2];                          /* w0: VALID */
byte hk[2], hkm[2], d[2], dm[2];     /* key words, payload */
/* DRAM */
bit lk[2], own[2];
byte tick[2], intents[2];
/* Fillers: pc, fills left, key, ticket, data, slot, key that was evicted from it, second victim and
 * its key, displaced slot. */
byte fp[2], fn[2], fk[2], ft[2], fd[2], fs[2], fo[2], fo2[2], fx[2];
bit fb[2], fw[2]; /* there is a second victim; the displaced slot is not given back yet */
/* Writers: pc, writes left, headers flushed. */
byte wp[2], wn[2], wf[2];
/* The origin: content of K, and the oldest content that may still be served. Crashes. */
byte ov = 1, lo = 1, ncr;
bit dead, dying;
bit stored[2]; /* reported stored and not forgotten since, so it must survive (P4) */
hidden byte c, s, h, ok;

/* ---- The media ---- */
#ifdef PROC
inline cut() { if :: !dying && ncr < MAXCR -> dying = 1 :: true fi }
#else
#define cut() skip
#endif
inline invalidate(S) { /* cm_slot_invalidate: w0 := its sequence */
  cut();
  if :: !dying -> hv[S] = 0; hm[S] = hm[S] | 1; stored[S] = 0 :: else fi
}
inline set_valid(S) { /* cm_slot_publish */
  cut();
  if :: !dying -> hv[S] = 1; hm[S] = hm[S] | 2 :: else fi
}
inline store_cell(C, V) { /* cm_index_store */
  cut();
  if :: !dying -> cell[C] = V; cellm[C] = cellm[C] | BIT(V) :: else fi
}
inline fence_dead(S) { /* it was flushed while invalid, and now it is fenced */
  cut();
  if :: !dying && hv[S] == 0 -> hm[S] = 1 :: else fi
}
inline drop_cells(k, S) {
  for (c : LO(k)..HI(k)) { if :: cell[c] == CELL(k, S) -> store_cell(c, 0) :: else fi }
}

/* ---- What a reader would get now ------------ */
inline check() {
  for (c : 0..(NC - 1)) {
    if
    :: cell[c] != 0 ->
       s = CSLOT(cell[c]);
#ifdef TRUST_TAG
       if :: hv[s] ->
#else
       if :: hv[s] && hk[s] == CKEY(cell[c]) ->
#endif
          if
          :: CKEY(cell[c]) == B -> assert(d[s] == BDATA)
          :: else -> assert(d[s] >= lo && d[s] <= ov);
#ifdef REACH_WARM
             assert(!(ncr > 0 && d[s] == ov))
#endif
#ifdef REACH_NEW
             assert(!(ncr > 0 && d[s] > 1))
#endif
          fi
       :: else
       fi
    :: else
    fi
  }
}

/* ---- Filling ---- */
inline filled(i) {
  fp[i] = 0; fk[i] = 0; ft[i] = 0; fd[i] = 0; fs[i] = 0; fo[i] = 0; fo2[i] = 0; fb[i] = 0;
  fx[i] = NONE
}
inline own_victim(i, S) { /* cm_ring_victim, and the header read of invalidate() */
  own[S] = 1; fs[i] = S;
  if :: hv[S] -> fo[i] = hk[S]; fp[i] = 3 :: else -> fp[i] = 4 fi
}
inline miss(i, k) { /* cm_ticket_take */
  fn[i]--;
#ifndef NO_INTENTS
  if :: intents[ST(k)] > 0 :: else ->
#else
  if :: true ->
#endif
     fk[i] = k; ft[i] = tick[ST(k)]; fp[i] = 1
  fi
}
/* displace(): evicts the entry of cell h by the whole protocol. The lock is held already. */
inline displace(i) {
  s = CSLOT(cell[h]);
#ifndef DROP_CELL
  if
  :: own[s] -> ok = 0
  :: else ->
     own[s] = 1; fx[i] = s;
     invalidate(s);
#ifndef DROP_UNFENCED
     fence_dead(s)
#endif
  fi
#endif
}
/* make_room(): no cell is empty. */
inline make_room(i) {
  for (c : LO(fk[i])..HI(fk[i])) {
    s = CSLOT(cell[c]);
    if
#ifdef BLIND_REUSE
    :: h == 255 && !(hv[s] && hk[s] == CKEY(cell[c])) -> h = c
#else
    :: h == 255 && !(hv[s] && hk[s] == CKEY(cell[c])) && (!own[s] || s == fs[i]) -> h = c
#endif
    :: else
    fi
  };
  if
  :: h != 255 ->
#ifndef NO_SETTLE
     s = CSLOT(cell[h]); fence_dead(s) /* settle_stale() */
#else
     skip
#endif
  :: else ->
     for (c : LO(fk[i])..HI(fk[i])) {
       if :: h == 255 && (!own[CSLOT(cell[c])]) -> h = c :: else fi
     };
     if :: h != 255 -> displace(i) :: else fi
  fi
}
/* choose_cell(): sets h to the cell, or ok to 0. */
inline choose_cell(i) {
  h = 255;
  for (c : LO(fk[i])..HI(fk[i])) {
    if
    :: cell[c] == 0 -> if :: h == 255 -> h = c :: else fi
    :: else ->
       s = CSLOT(cell[c]);
       if
       :: CKEY(cell[c]) == fk[i] && hv[s] && hk[s] == fk[i] ->
#ifdef TAIL
          if :: ok = 0 :: h = c; displace(i); ok = 2 * ok fi; /* a shorter tail is replaced */
#else
          ok = 0;
#endif
          break
       :: else
       fi
    fi
  };
  if :: ok == 1 && h == 255 -> make_room(i) :: else fi;
  if :: h == 255 -> ok = 0 :: else fi
}
proctype Filler(byte i) {
  do
  :: atomic { !dying && fp[i] == 0 && fn[i] > 0 -> miss(i, K) }
  :: atomic { !dying && fp[i] == 0 && fn[i] > 0 -> miss(i, B) }
  :: atomic { !dying && fp[i] == 1 -> /* the origin is read */
     fd[i] = (fk[i] == B -> BDATA : ov); fp[i] = 2 }
  /* evict(): own, make invalid under the stripe of the old key */
  :: atomic { !dying && fp[i] == 2 && !own[0] -> own_victim(i, 0) }
  :: atomic { !dying && fp[i] == 2 && !own[1] -> own_victim(i, 1) }
  :: atomic { !dying && fp[i] == 3 && !lk[ST(fo[i])] ->
     if :: hv[fs[i]] -> invalidate(fs[i]) :: else fi; /* else a bracket did it before */
#ifdef CLEAR_EARLY
     drop_cells(fo[i], fs[i]); fo[i] = 0;
#endif
     fp[i] = 4 }
  /* A second victim shares the fence. It goes to the free stack; in the model it is disowned. */
  :: atomic { !dying && fp[i] == 4 && !fb[i] && !own[1 - fs[i]] && hv[1 - fs[i]] &&
              !lk[ST(hk[1 - fs[i]])] ->
     own[1 - fs[i]] = 1; fb[i] = 1; fo2[i] = hk[1 - fs[i]];
#ifdef CLEAR_EARLY
     drop_cells(fo2[i], (1 - fs[i]));
#endif
     invalidate((1 - fs[i])) }
  :: atomic { !dying && fp[i] == 4 -> /* fence 1 */
#ifndef NO_EVICT_FENCE
     fence_dead(fs[i]);
     if :: fb[i] -> fence_dead((1 - fs[i])) :: else fi;
#endif
     fp[i] = (fo[i] -> 5 : (fb[i] -> 6 : 7)) }
  :: atomic { !dying && fp[i] == 5 && !lk[ST(fo[i])] ->
     drop_cells(fo[i], fs[i]); fo[i] = 0; fp[i] = (fb[i] -> 6 : 7) }
  :: atomic { !dying && fp[i] == 6 && !lk[ST(fo2[i])] ->
     drop_cells(fo2[i], (1 - fs[i])); fo2[i] = 0; own[1 - fs[i]] = 0; fb[i] = 0; fp[i] = 7 }
  /* prepare(): stores payload and key while the header is invalid */
  :: atomic { !dying && fp[i] == 7 ->
#ifdef VALID_FIRST
     hk[fs[i]] = fk[i]; hkm[fs[i]] = BIT(fk[i]); set_valid(fs[i]);
     for (c : LO(fk[i])..HI(fk[i])) {
       if :: cell[c] == 0 -> store_cell(c, CELL(fk[i], fs[i])); break :: else fi };
#endif
     cut();
     if :: !dying -> d[fs[i]] = fd[i]; dm[fs[i]] = dm[fs[i]] | BIT(fd[i]) :: else fi;
     cut();
     if :: !dying -> hk[fs[i]] = fk[i]; hkm[fs[i]] = hkm[fs[i]] | BIT(fk[i]) :: else fi;
#ifdef TICKET_LATE
     ft[i] = tick[ST(fk[i])];
#endif
     fp[i] = 8 }
  :: atomic { !dying && fp[i] == 8 -> /* fence 2 */
#ifndef NO_DATA_FENCE
     dm[fs[i]] = BIT(fd[i]);
#endif
#ifndef NO_KEY_FLUSH
     hkm[fs[i]] = BIT(fk[i]);
#endif
#ifdef CHECK_UNLOCKED
     if :: ft[i] == tick[ST(fk[i])] && intents[ST(fk[i])] == 0 -> fp[i] = 9
     :: else -> own[fs[i]] = 0; filled(i) fi
#else
     fp[i] = 9
#endif
     }
  :: atomic { !dying && fp[i] == 9 && !lk[ST(fk[i])] -> /* publish() */
     ok = 1;
#if !defined(NO_TICKET) && !defined(CHECK_UNLOCKED)
     if :: ft[i] != tick[ST(fk[i])] -> ok = 0 :: else fi;
#endif
#if !defined(NO_INTENTS) && !defined(CHECK_UNLOCKED)
     if :: intents[ST(fk[i])] > 0 -> ok = 0 :: else fi;
#endif
#ifdef VALID_FIRST
     ok = 0;
#endif
     if :: ok -> choose_cell(i) :: else fi;
     if
     :: ok ->
#ifdef HEADER_FIRST
        set_valid(fs[i]); store_cell(h, CELL(fk[i], fs[i]));
#else
        store_cell(h, CELL(fk[i], fs[i])); set_valid(fs[i]);
#endif
        fp[i] = 10
     :: else ->
        own[fs[i]] = 0;
        if :: fx[i] != NONE -> own[fx[i]] = 0 :: else fi;
        filled(i)
     fi }
  :: atomic { !dying && fp[i] == 10 -> /* fence 3, then finish(): stored, disowned */
#ifndef NO_FENCE3
     if :: hv[fs[i]] -> hm[fs[i]] = 2 :: else fi;
     for (c : LO(fk[i])..HI(fk[i])) {
       if :: cell[c] == CELL(fk[i], fs[i]) -> cellm[c] = BIT(cell[c]) :: else fi };
#endif
     stored[fs[i]] = hv[fs[i]];
     own[fs[i]] = 0;
     if :: fx[i] != NONE -> own[fx[i]] = 0 :: else fi;
     filled(i) }
  od
}

/* ---- Forgetting ---- */
proctype Writer(byte j) {
  do
  /* cm_forget_begin: cm_stripe_begin and kill_range, up to the fence */
  :: atomic { !dying && wp[j] == 0 && wn[j] > 0 && !lk[ST(K)] ->
     wn[j]--; intents[ST(K)]++; tick[ST(K)]++;
     for (c : LO(K)..HI(K)) {
       if
       :: cell[c] != 0 && CKEY(cell[c]) == K ->
          s = CSLOT(cell[c]);
          if
          :: hv[s] && hk[s] == K -> wf[j] = wf[j] | BIT(s); invalidate(s)
          :: !hv[s] ->
#ifndef NO_HELP
             wf[j] = wf[j] | BIT(s)
#else
             skip
#endif
          :: else
          fi
       :: else
       fi
     };
#ifdef UNLOCK_EARLY
     for (c : LO(K)..HI(K)) {
       if :: cell[c] != 0 && CKEY(cell[c]) == K && !hv[CSLOT(cell[c])] -> store_cell(c, 0)
       :: else fi };
#else
     lk[ST(K)] = 1;
#endif
     wp[j] = 1 }
  :: atomic { !dying && wp[j] == 1 -> /* fence 4, clear_cells */
#ifndef NO_FENCE4
     if :: wf[j] & 1 -> fence_dead(0) :: else fi;
     if :: wf[j] & 2 -> fence_dead(1) :: else fi;
#endif
#ifndef UNLOCK_EARLY
     for (c : LO(K)..HI(K)) {
       if :: wf[j] && cell[c] != 0 && CKEY(cell[c]) == K && !hv[CSLOT(cell[c])] -> store_cell(c, 0)
       :: else fi };
     lk[ST(K)] = 0;
#endif
     wf[j] = 0; wp[j] = 2 }
  :: atomic { !dying && wp[j] == 2 -> ov++; lo = ov; wp[j] = 3 } /* the caller writes the origin */
  :: atomic { !dying && wp[j] == 3 && !lk[ST(K)] -> /* cm_forget_end */
     intents[ST(K)]--; tick[ST(K)]++; wp[j] = 0 }
  od
}

/* ---- Crashes ---- */
inline pick(m, v) { /* one of the values in the mask */
  if
  :: m & 1 -> v = 0 :: m & 2 -> v = 1 :: m & 4 -> v = 2 :: m & 8 -> v = 3
  :: m & 16 -> v = 4 :: m & 32 -> v = 5 :: m & 64 -> v = 6 :: m & 128 -> v = 7
  fi;
  m = BIT(v)
}
inline lose_dram() {
  for (c : 0..1) {
    lk[c] = 0; own[c] = 0; tick[c] = 0; intents[c] = 0;
    filled(c); fn[c] = 0; wp[c] = 0; wn[c] = 0; wf[c] = 0
  }
}
inline next_session() { if :: ncr == 1 -> fn[0] = P2F; wn[0] = P2W :: else fi }
active proctype main() {
  /* Durable at first: nothing | K and B | K, and another K without a cell | K, a stale cell. */
  atomic {
    for (c : 0..1) { hm[c] = 1; hkm[c] = 1; dm[c] = 1; fx[c] = NONE };
    for (c : 0..(NC - 1)) { cellm[c] = 1 };
    if
    :: true
    :: true ->
       hv[0] = 1; hm[0] = 2; hk[0] = K; hkm[0] = BIT(K); d[0] = 1; dm[0] = 2;
       cell[0] = CELL(K, 0); cellm[0] = BIT(CELL(K, 0));
#if NC > 1
       if
       :: hv[1] = 1; hm[1] = 2; hk[1] = B; hkm[1] = BIT(B); d[1] = BDATA; dm[1] = BIT(BDATA);
          cell[NC - 1] = CELL(B, 1); cellm[NC - 1] = BIT(CELL(B, 1))
       :: hv[1] = 1; hm[1] = 2; hk[1] = K; hkm[1] = BIT(K); d[1] = 1; dm[1] = 2
       :: cell[1] = CELL(K, 1); cellm[1] = BIT(CELL(K, 1))
       fi
#else
       skip
#endif
    fi;
    fn[0] = F0; fn[1] = F1; wn[0] = (NW > 0 -> 1 : 0); wn[1] = (NW > 1 -> 1 : 0);
    run Filler(0); run Filler(1); run Writer(0); run Writer(1)
  }
  do
  :: atomic { !dead && !dying -> check(); /* in every state; then a power cut may follow */
     if
#ifndef NO_POWER
     :: ncr < MAXCR ->
        ncr++; dead = 1; lose_dram();
        for (c : 0..1) { hv[c] = 0; hk[c] = 0; d[c] = 0 }; /* only the masks matter now */
        for (c : 0..(NC - 1)) { cell[c] = 0 }
#endif
     :: true
     fi }
#ifdef PROC
  :: atomic { !dead && (dying || ncr < MAXCR) ->
       ncr++; dying = 0; lose_dram(); next_session(); check() }
#endif
  :: atomic { dead ->
     dead = 0;
     for (c : 0..1) { pick(hm[c], hv[c]); pick(hkm[c], hk[c]); pick(dm[c], d[c]) };
     for (c : 0..(NC - 1)) { pick(cellm[c], cell[c]) };
     for (c : 0..1) { /* what was reported stored and not forgotten must be there (P4) */
       if
       :: stored[c] ->
          assert(hv[c]); ok = 0;
          for (s : 0..(NC - 1)) { if :: cell[s] == CELL(hk[c], c) -> ok = 1 :: else fi };
          assert(ok)
       :: else
       fi
     };
     next_session(); check() }
  od
}
