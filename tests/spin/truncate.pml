/* SPDX-License-Identifier: BSD-2-Clause
 *
 * truncate.pml - brackets that cannot be expressed as a range of stripes: truncations and appends
 * (raise_limit in fill.c; cm_file_link, release_incarnation in file.c; enroll, limit_block in
 * bracket.c).
 *
 * A truncation forgets from the new size up to `limit`. Fillers raise the limit before they read
 * the file's ticket. A truncation moves the ticket before it reads the limit. So one of the two
 * must see the other's store. Each of these stores waits in a store buffer, which drains at any
 * time, or at the sequentially consistent fence behind the store. At first the block is behind the
 * limit. The model does not use the stripe's lock as a fence, although it is one on x86.
 *
 * Proves: after a truncation has begun, the block's old content is not cached. With -DRENEW this
 * also holds if the incarnation changes at the same time. With -DAPPEND, a tail that was read in
 * the middle of an append is never cached.
 *
 * Mutants: RAISE_LATE the limit is raised after the check   LIMIT_EARLY the limit is read before
 *          the ticket   NO_FENCE_FILL   NO_FENCE_TRUNC   NO_RAISE
 *          with RENEW: RESET_LATE the limit is reset after the new incarnation is released
 *          with APPEND: NO_STALE brackets are not counted  NO_TICKET the ticket is not moved (both
 *          at begin and end)
 * Reachability: REACH a block is cached after the truncation
 */
byte inc = 1, limit, ticket, stale, stripe_ticket, intents;
bit limit_pending, link_pending; /* store buffers of the filler, of the truncation */
byte cache[3];                   /* version, by incarnation */
byte ov = 1, lo = 1;
#define TORN 2
bit flk, slk, done;
byte fills = 2;

#define lock(l) atomic { !l -> l = 1 }
#define unlock(l) l = 0

proctype Filler() {
  byte mi, mt, ms, v;
  bit good;
  do
  :: fills > 0 ->
     fills--;
     mi = inc; mt = ticket; /* cm_ticket_take */
     atomic { ms = stripe_ticket; good = (intents == 0) };
     good = good && stale == 0;
     if
     :: good ->
        v = ov; /* the origin is read */
#if !defined(RAISE_LATE) && !defined(NO_RAISE)
        if
        :: limit < 2 ->
           limit_pending = 1; /* raise_limit */
#ifndef NO_FENCE_FILL
           limit_pending == 0
#endif
        :: else
        fi;
#endif
        lock(slk);
        /* cm_ticket_holds, each load is a step */
        good = (ms == stripe_ticket && intents == 0 && mi == inc);
        good = good && mt == ticket;
        good = good && stale == 0;
        if :: good -> cache[mi] = v :: else fi;
        unlock(slk);
#ifdef RAISE_LATE
        if :: good && limit < 2 -> limit_pending = 1; limit_pending == 0 :: else fi;
#endif
#ifdef REACH
        assert(!(good && done))
#endif
     :: else
     fi
  :: else -> break
  od;
  limit_pending == 0
}
proctype FillerBuffer() {
end:
  do
  :: atomic { limit_pending -> limit_pending = 0; limit = 2 }
  od
}
proctype Changer() { /* truncates, or appends */
  byte mine, lim;
  lock(flk);
  mine = inc;
#ifdef LIMIT_EARLY
  lim = limit;
#endif
#ifdef APPEND
#ifndef NO_STALE
  stale++;
#endif
#ifndef NO_TICKET
  ticket++
#endif
#else
  link_pending = 1; /* cm_file_link: stale, then ticket */
#ifndef NO_FENCE_TRUNC
  link_pending == 0
#endif
#endif
  ;
#ifndef LIMIT_EARLY
  lim = limit;      /* limit_block */
#endif
  unlock(flk);
#ifdef APPEND
  ov = TORN;        /* the origin is written in two steps; nothing was forgotten */
  ov = TORN + 1;
#else
  if
  :: lim > 1 ->     /* cm_forget_begin of the block */
     lock(slk);
     intents++; stripe_ticket++; cache[mine] = 0;
     unlock(slk)
  :: else
  fi;
  link_pending == 0;
  atomic { ov++; lo = ov };
#endif
  lock(flk);
#if !(defined(APPEND) && defined(NO_STALE))
  stale--;          /* cm_file_unlink */
#endif
#if !(defined(APPEND) && defined(NO_TICKET))
  ticket++;
#endif
  unlock(flk);
#ifndef APPEND
  if :: lim > 1 -> lock(slk); intents--; stripe_ticket++; unlock(slk) :: else fi;
#endif
  done = 1
}
proctype ChangerBuffer() {
end:
  do
  :: atomic { link_pending -> link_pending = 0; stale++; ticket++ }
  od
}
proctype Renewer() { /* release_incarnation; no bracket is open */
  lock(flk);
  if
  :: stale == 0 && !link_pending && !done ->
     ticket++;
#ifndef RESET_LATE
     limit = 0;
     inc = 2
#else
     inc = 2;
     limit = 0
#endif
  :: else
  fi;
  unlock(flk)
}
active proctype Check() {
#ifdef APPEND
  atomic { assert(cache[inc] != TORN) }
#else
  atomic { assert(cache[inc] == 0 || cache[inc] >= lo) }
#endif
}
init {
  atomic {
#ifdef APPEND
    limit = 2;
#endif
    run Filler(); run FillerBuffer(); run Changer(); run ChangerBuffer();
#ifdef RENEW
    run Renewer()
#endif
  }
}
