/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pin.h - pins: a slot that is pinned is not overwritten. Each slot has one byte of DRAM: bits 6..0
 * are the number of pins, bit 7 is doomed. So a pin is one compare-and-swap, and fails only at 127
 * pins on one slot. A bounded table could be full.
 *
 * Life of a pinned victim: the evictor invalidates, flushes, fences and drops the cells as for any
 * other slot. Only then it looks at the pins. If there are some, it sets `doomed` and leaves the
 * slot. The thread whose compare-and-swap takes the count of a doomed slot to zero frees the slot.
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
        assert((was & CM_PIN_COUNT) != 0);
        now = (uint8_t)(was - 1);
        if (now == CM_PIN_DOOMED)
            now = 0;
    } while (!at_cas_seq_cst(pin, &was, now)); /* release: our reads of the slot come before */
    return was == (CM_PIN_DOOMED | 1);
}

/* Each set of pins that is held has an entry: a number that is odd while the set lives. Each life
 * has its own number, so that a copy of a set that was released is detected. */
#define CM_PIN_SETS 4096u

/* Takes an entry for a new set. CM_PIN_SETS: all are taken. First it looks at one of 64 entries at
 * `home`: each thread has its own home, so that threads do not write the same cache lines. If that
 * one is taken, the search begins at any place of the table, which `key` decides: a search that
 * always began at home would pass all sets that the thread holds. */
static inline uint32_t cm_pin_set_take(uint32_t *sets, uint32_t home, uint64_t key, uint32_t *life)
{
    const uint32_t from = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 52);
    static_assert(CM_PIN_SETS == 1u << 12, "64 - 52 bits: a place of the table");
    uint32_t at = (home + key % 64) % CM_PIN_SETS;
    for (uint32_t i = 0; i <= CM_PIN_SETS; at = (from + i++) % CM_PIN_SETS) {
        uint32_t was = at_load_relaxed(&sets[at]); /* the exchange decides */
        if ((was & 1) == 0 && at_cas_acq_rel(&sets[at], &was, was + 1)) {
            *life = was + 1;
            return at;
        }
    }
    return CM_PIN_SETS;
}

/* false: no such set is held. true: the caller must release the pins. */
static inline bool cm_pin_set_drop(uint32_t *sets, uint32_t at, uint32_t life)
{
    uint32_t was = life;
    return at < CM_PIN_SETS && (life & 1) != 0 && at_cas_acq_rel(&sets[at], &was, life + 1);
}

/* Called by the evictor after a seq_cst fence. true: the slot is pinned and now doomed; its last
 * pin will free it. false: it has no pins and stays with the evictor. */
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
