/* SPDX-License-Identifier: BSD-2-Clause
 *
 * incarnation.pml - a file's incarnation changes while brackets are open (cm_file_renew,
 * release_incarnation, cm_file_link, cm_file_unlink in file.c; enroll, raise, cm_bracket_end,
 * cm_bracket_abort in bracket.c; cm_ticket_take, cm_ticket_holds in fill_ticket.c).
 *
 * Stripes depend on the incarnation. So the stripe of a new incarnation has no intents from
 * brackets that began under the old one. The model has one block, two writers (ordinary or large
 * brackets; a large one forgets by renewing), one filler, revalidations after foreign changes,
 * aborts, and a power cut at any time. Each renewal holds the file lock, but the filler sees its
 * stores one by one, because a miss loads one word at a time. The record is one persistent word
 * with a mask.
 *
 * Proves: no content from before a bracket that has begun or completed is cached in the present
 * incarnation, nor, after a power cut at any moment, in the one that the record then names.
 *
 * Mutants: NO_STALE brackets of the old incarnation are not counted   STALE_LATE they are counted
 *          after the new incarnation is released   MISS_STALE_FIRST the miss loads stale before the
 *          incarnation   NO_DOWN cm_file_unlink leaves stale up: nothing is ever filled
 *          (reachability)   NO_MISS_CHECK with NO_FILE_TICKET: neither half refuses   END_NEW the
 *          end releases stripes of the present incarnation instead of its own   ABORT_KEEP an abort
 *          renews nothing   NO_FENCE6 no fence after the record   RELEASE_EARLY the new incarnation
 *          is used before that fence
 * Benign:  NO_FILE_TICKET (a caller that obeys NOFILL), NO_MISS_CHECK alone
 */
#ifndef FILLS
#define FILLS 1
#endif
#ifndef N
#define N 4 /* incarnations 1..N-1 */
#endif
byte inc = 1, next = 2, fticket, stale;
byte ticket[N], intents[N];
byte cache[N];            /* the version that is cached under each incarnation; 0: none */
byte recm = 2;            /* the record's mask of incarnations */
byte ov = 1, lo = 1;
bit flk;
byte brackets;                /* brackets in the list */
bit linked[2], isstale[2], aborted[2], raised[2], isbig[2];
byte winc[2];
hidden byte i;
#define BIT(x) (1 << (x))

inline lock() { atomic { flk == 0 -> flk = 1 } }
inline unlock() { flk = 0 }
inline renew() { /* the file lock is held; each store that others may see is a step */
  atomic { recm = recm | BIT(next); /* cm_record_write */ };
#ifdef RELEASE_EARLY
  inc = next;
#endif
  atomic {
#ifndef NO_FENCE6
    recm = BIT(next); /* fence 6 */
#endif
#if !defined(NO_STALE) && !defined(STALE_LATE)
    for (i : 0..1) { isstale[i] = linked[i] };
    stale = brackets;
#endif
  };
  fticket++;
  inc = next;
#ifdef STALE_LATE
  atomic { for (i : 0..1) { isstale[i] = linked[i] }; stale = brackets };
#endif
  atomic { next++ }
}
proctype Writer(byte me) {
  bit large;
  if :: large = 0 :: large = 1 fi;
  lock();
  atomic { /* enroll, cm_file_link */
    linked[me] = 1; brackets++; winc[me] = inc; isstale[me] = 0
  };
  if :: large && next < N -> isbig[me] = 1; renew() :: else -> large = 0 fi;
  unlock();
  if
  :: !large -> /* cm_forget_begin, under the stripe's lock; lock-free misses see the stores */
     atomic { intents[winc[me]]++; cache[winc[me]] = 0 };
     ticket[winc[me]]++
  :: else
  fi;
  lock(); /* raise() */
  if
  :: aborted[me] -> /* CM_EBRACKET: the caller does not write; it lowers what it raised */
     unlock();
     if :: !large -> atomic { intents[winc[me]]--; ticket[winc[me]]++ } :: else fi
  :: else ->
     raised[me] = 1;
     unlock();
     if
     :: atomic { !aborted[me] -> ov++; lo = ov }; /* the caller writes the origin */
        lock();
        if
        :: aborted[me] -> unlock() /* the abort has ended it, and lowers the intents */
        :: else ->
           atomic { /* cm_file_unlink */
             linked[me] = 0; brackets--;
#ifndef NO_DOWN
             if :: isstale[me] -> assert(stale > 0); stale--; fticket++ :: else fi
#endif
           };
           unlock();
#ifdef END_NEW
           if
           :: !large -> atomic { intents[inc] = intents[inc] - (intents[inc] > 0); ticket[inc]++ }
           :: else
           fi
#else
           if :: !large -> atomic { intents[winc[me]]--; ticket[winc[me]]++ } :: else fi
#endif
        fi
     :: atomic { aborted[me] -> skip } /* the owner is gone */
     fi
  fi
}
proctype Filler() {
  byte n = FILLS, mi, mf, mt, v;
  bit good;
  do
  :: n > 0 ->
     n--; good = 1;
#ifdef MISS_STALE_FIRST
     good = (stale == 0);
#endif
     mi = inc;      /* cm_ticket_take: each load by itself, in this order */
     mf = fticket;
     mt = ticket[mi];
     good = good && intents[mi] == 0;
#ifndef MISS_STALE_FIRST
     good = good && stale == 0;
#endif
#ifdef NO_MISS_CHECK
     good = 1;
#endif
     if
     :: good ->
        v = ov;     /* the origin is read */
        atomic {    /* publish, cm_ticket_holds: decisive under the stripe's lock */
          good = (mt == ticket[mi] && intents[mi] == 0);
#ifndef NO_FILE_TICKET
          good = good && mi == inc && mf == fticket && stale == 0;
#endif
          if
          :: good -> cache[mi] = v
#ifdef NO_DOWN
             /* Reachable: the block is filled again after a bracket. */
             ; assert(!(ov > 1 && brackets == 0 && v == ov))
#endif
          :: else
          fi
        }
     :: else
     fi
  :: else -> break
  od
}
proctype Revalidate() { /* a foreign change, then cm_file_judge finds it */
  byte v;
  atomic { ov++; v = ov };
  lock();
  if :: next < N -> renew(); atomic { if :: lo < v -> lo = v :: else fi } :: else fi;
  unlock()
}
proctype Abort() {
  byte j;
  lock();
  atomic {
    for (i : 0..1) {
      if
      :: linked[i] ->
         linked[i] = 0; brackets--; aborted[i] = 1;
         if :: isstale[i] -> stale--; fticket++ :: else fi
      :: else
      fi
    }
  };
  if :: next < N -> renew() :: else fi;
  unlock();
  for (j : 0..1) { /* cm_forget_end of those that were through their begin */
    if
    :: aborted[j] && raised[j] && !isbig[j] -> atomic { intents[winc[j]]--; ticket[winc[j]]++ }
    :: else
    fi
  }
}
/* At one arbitrary moment: checks what a lookup finds, and what it would find after a power cut. */
active proctype Check() {
  atomic {
    assert(cache[inc] == 0 || (cache[inc] >= lo && cache[inc] <= ov));
    for (i : 1..(N - 1)) {
      assert(!(recm & BIT(i)) || cache[i] == 0 || cache[i] >= lo)
    }
  }
}
init {
  atomic {
    cache[1] = 1;
    run Writer(0); run Writer(1); run Filler()
#ifdef REVALIDATE
    ; run Revalidate()
#endif
#ifdef ABORT
    ; run Abort()
#endif
  }
}
