/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pin.h - pins: a slot that is pinned is not overwritten. One byte of DRAM a slot: bits 6..0 the
 * number of pins, bit 7 doomed. A byte a slot instead of a bounded table: a pin is one
 * compare-and-swap, can only fail at 127 pins on one slot, and costs one byte.
 *
 * Life of a pinned victim: the evictor invalidates, flushes, fences and drops the cells as for any
 * other, and only then looks at the pins. If there are some it sets `doomed` and walks away; the
 * compare-and-swap that takes a doomed slot's count to zero makes its caller the one that frees
 * the slot.
 */
#ifndef CM_PIN_H
#define CM_PIN_H

#include <stdbool.h>

#include "platform/atomic.h"

#define CM_PIN_COUNT 0x7fu
#define CM_PIN_DOOMED 0x80u

enum cm_pin_result { CM_PIN_OK, CM_PIN_TOO_MANY, CM_PIN_GONE };

/* The caller must look at the slot's w0 again after this, and unpin if it changed.
 * seq_cst: store (the count) before load (w0), against the evictor's store (w0) before load (the
 * count): one of the two must see the other. */
static inline enum cm_pin_result cm_pin_add(uint8_t *pin)
{
    uint8_t was = at_load_relaxed(pin);
    do {
        if (was & CM_PIN_DOOMED)
            return CM_PIN_GONE; /* being evicted: w0 is invalid already */
        if ((was & CM_PIN_COUNT) == CM_PIN_COUNT)
            return CM_PIN_TOO_MANY;
    } while (!at_cas_seq_cst(pin, &was, (uint8_t)(was + 1)));
    return CM_PIN_OK;
}

/* true: this was the last pin of a doomed slot, and the caller frees the slot. */
static inline bool cm_pin_drop(uint8_t *pin)
{
    uint8_t was = at_load_relaxed(pin), now;
    do {
        now = (uint8_t)(was - 1);
        if (now == CM_PIN_DOOMED)
            now = 0;
    } while (!at_cas_seq_cst(pin, &was, now)); /* release: our reads of the slot come before */
    return was == (CM_PIN_DOOMED | 1);
}

/* Sets of pins that are held: each has an entry, odd while it lives. The number stands for this
 * life alone, so that a copy of a set that was released is found out. */
#define CM_PIN_SETS 4096u

/* An entry for a new set, or CM_PIN_SETS: all are taken. Threads that search from places of their
 * own do not meet. */
static inline uint32_t cm_pin_set_take(uint32_t *sets, uint32_t from, uint32_t *life)
{
    for (uint32_t i = 0; i < CM_PIN_SETS; i++) {
        const uint32_t at = (from + i) % CM_PIN_SETS;
        uint32_t was = at_load_relaxed(&sets[at]); /* the exchange decides */
        if ((was & 1) == 0 && at_cas_acq_rel(&sets[at], &was, was + 1)) {
            *life = was + 1;
            return at;
        }
    }
    return CM_PIN_SETS;
}

/* false: no such set is held. Who gets true releases the pins. */
static inline bool cm_pin_set_drop(uint32_t *sets, uint32_t at, uint32_t life)
{
    uint32_t was = life;
    return at < CM_PIN_SETS && (life & 1) != 0 && at_cas_acq_rel(&sets[at], &was, life + 1);
}

/* Called by the evictor after a seq_cst fence. true: it is pinned and now doomed, the slot belongs
 * to its last pin. false: no pins, the slot is the evictor's. */
static inline bool cm_pin_doom(uint8_t *pin)
{
    uint8_t was = at_load_seq_cst(pin);
    do {
        if (was == 0)
            return false;
    } while (!at_cas_seq_cst(pin, &was, (uint8_t)(was | CM_PIN_DOOMED)));
    return true;
}

#endif
