/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trouble.h - what went wrong in the pool, until a line of the log tells it.
 *
 * Trouble is found deep in the protocol, where locks may be held. So it is only noted there; a call
 * of the API tells it when no lock is held (api/trouble.c). Each kind has its own notes, and a line
 * for each kind comes at most once in CM_TROUBLE_PAUSE_NS. The first event since the last line is
 * kept, the others are counted.
 */
#ifndef CM_TROUBLE_H
#define CM_TROUBLE_H

#include <stdbool.h>

#include "platform/atomic.h"

/* What the log has to say once. cm_report_trouble() tests the bit of DUE. */
enum cm_say { CM_SAY_NOTHING = 0, CM_SAY_DUE = 1, CM_SAY_DONE = 2 };

/* Notes something that the log has not said yet. The caller holds the lock under which all do that:
 * who says it changes nothing before. Relaxed: nothing is read because of it. */
static inline void cm_say_once(uint32_t *say)
{
    if (at_load_relaxed(say) == CM_SAY_NOTHING)
        at_store_relaxed(say, (uint32_t)CM_SAY_DUE);
}

enum cm_trouble_kind {
    CM_TROUBLE_CHECKSUM,   /* a payload's checksum was wrong */
    CM_TROUBLE_MEDIA,      /* a part of the pool cannot be read */
    CM_TROUBLE_QUARANTINE, /* a slot is out of use */
    CM_TROUBLES
};

#define CM_TROUBLE_PAUSE_NS UINT64_C(60000000000)

/* Where it happened. */
struct cm_trouble_place {
    uint64_t offset; /* in the pool */
    uint64_t slot;   /* CM_NO_SLOT: it is no slot */
    /* The block that was wanted; incarnation 0: none. */
    uint64_t incarnation, block;
};

struct cm_trouble {
    uint64_t count;                /* atomic; events that no line has told yet */
    uint64_t said_at;              /* atomic; time of the last line; 0: there was none */
    uint32_t state;                /* atomic; TROUBLE_* */
    struct cm_trouble_place first; /* of these events */
};

enum { TROUBLE_NONE, TROUBLE_BEING_NOTED, TROUBLE_NOTED };

/* Takes no lock and may be called with locks held. */
static inline void cm_trouble_note(struct cm_trouble *t, const struct cm_trouble_place *at)
{
    uint32_t none = TROUBLE_NONE;
    at_add_relaxed(&t->count, 1); /* relaxed: a number for people */
    /* Acquire: pairs with the release in cm_trouble_take: whoever read `first` is done with it. */
    if (!at_cas_acq_rel(&t->state, &none, TROUBLE_BEING_NOTED))
        return;
    t->first = *at;
    at_store_release(&t->state, TROUBLE_NOTED); /* pairs with the acquire in cm_trouble_take */
}

/* True: a line is due, for *count events, the first of them at *at. The next one is due after the
 * pause. `anyway`: do not wait for the end of the pause. */
static inline bool cm_trouble_take(struct cm_trouble *t, uint64_t now, bool anyway,
                                   struct cm_trouble_place *at, uint64_t *count)
{
    uint64_t said = at_load_relaxed(&t->said_at); /* relaxed: the swap below decides */
    if (at_load_acquire(&t->state) != TROUBLE_NOTED)
        return false;
    if (said != 0 && now < said + CM_TROUBLE_PAUSE_NS && !anyway)
        return false;
    if (!at_cas_acq_rel(&t->said_at, &said, now))
        return false; /* another thread tells it */
    *at = t->first;
    *count = at_swap_acq_rel(&t->count, 0);
    at_store_release(&t->state, TROUBLE_NONE); /* pairs with the acquire in cm_trouble_note */
    return true;
}

#endif
