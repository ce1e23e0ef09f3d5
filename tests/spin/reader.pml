/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reader.pml - the optimistic copy while an owner refills the slot (cm_slot_read,
 * copy_while_unchanged in slot.c).
 *
 * One slot. It holds block K of version 1. The owner refills it with B or with a newer K. The check
 * in w0 covers the key words, so the words of a valid header belong together: w0 is (valid,
 * sequence, key). With KNOWN the check is not computed (cm_slot_read_known, cm_x86_take_*,
 * cm_slot_read_neighbours, pin_known): the key is a word of its own, loaded after w0.
 *
 * The payload has two words. Without an acquire (NO_ACQUIRE), the reader's second load of w0 may
 * come before its payload loads. A bracket completes between an invalidation and a refill of K, so
 * from then on the old content is wrong for every read that begins later.
 *
 * Proves: a hit is the whole content of K at one moment inside the call. It is never torn, of
 * another block, or old.
 *
 * Mutants: NO_ACQUIRE  NO_RECHECK w0 is not loaded again  NO_SEQ only VALID is compared
 *          SEQ_LOST invalidation stores 0, so the sequence is lost  VALID_FIRST the header is valid
 *          before the payload is stored  TRUST_TAG the key words are not compared  OVERWRITE_VALID
 *          no invalidation before the payload  SEQ_BITS=1 the sequence wraps within one read
 *          (this shows why it has 23 bits)  KNOWN KEY_FIRST the key is loaded before w0  KNOWN
 *          KEY_LAST the key is loaded behind the second look at w0
 */
#ifndef SEQ_BITS
#define SEQ_BITS 3
#endif
#define MASK ((1 << SEQ_BITS) - 1)
#define K 1
#define B 2
byte key = K, seq = 1, d0 = 1, d1 = 1; /* payload: version of K, or 9 for B */
byte word = K; /* the key, as a word beside w0 */
bit valid = 1;
byte ov = 1, lo = 1;
byte fills = 3;

proctype Owner() {
  byte k, v;
  do
  :: fills > 0 ->
     fills--;
     if :: k = K :: k = B fi;
#ifndef OVERWRITE_VALID
     atomic { valid = 0;                        /* cm_slot_invalidate, fence */
#ifdef SEQ_LOST
       seq = 0
#endif
     };
#endif
     if :: atomic { k == K -> ov++; lo = ov; v = ov } :: else -> v = 9 fi;
#ifdef VALID_FIRST
     atomic { seq = (seq + 1) & MASK; key = k; word = k; valid = 1 };
     d0 = v; d1 = v
#else
     d0 = v; d1 = v; word = k;                  /* cm_slot_fill, fence 2 */
     atomic { seq = (seq + 1) & MASK; key = k; valid = 1 } /* cm_slot_publish */
#endif
  :: else -> break
  od
}
proctype Reader() {
  byte s, a, b, low, again, n = 2;
  bit ok, loaded, named = 1;
  do
  :: n > 0 ->
     n--; low = lo; loaded = 0; ok = 0;
#ifdef KEY_FIRST
     named = word == K;
#endif
     atomic { /* cm_slot_header: words that belong together */
       s = seq;
#if defined(TRUST_TAG) || defined(KNOWN)
       ok = valid
#else
       ok = valid && key == K
#endif
     };
#if defined(KNOWN) && !defined(KEY_FIRST) && !defined(KEY_LAST)
     named = word == K;
#endif
     if
     :: ok ->
#ifdef NO_ACQUIRE
        if :: atomic { again = seq; ok = valid; loaded = 1 } :: true fi;
#endif
        a = d0; b = d1;
        if :: !loaded -> atomic { again = seq; ok = valid } :: else fi;
#ifdef KEY_LAST
        named = word == K;
#endif
#ifdef NO_RECHECK
        ok = 1; again = s;
#endif
#ifdef NO_SEQ
        again = s;
#endif
        if
        :: ok && named && again == s -> assert(a == b && a != 9 && a >= low && a <= ov)
        :: else
        fi
     :: else
     fi
  :: else -> break
  od
}
init { atomic { run Owner(); run Reader() } } /* readers do not affect each other */
