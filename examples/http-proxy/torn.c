/* SPDX-License-Identifier: BSD-2-Clause
 *
 * torn.c - see torn.h. It looks at no clock.
 */
#include "torn.h"

#include <string.h>

bool torn_knows(const struct torn *t, const cm_file_id *id)
{
    return t->at && memcmp(&t->id, id, sizeof(*id)) == 0;
}

bool torn_passes(const struct torn *t, const cm_file_id *id, uint64_t now)
{
    return torn_knows(t, id) && now < t->until;
}

static bool is_old(const struct torn *t, const uint8_t version[CM_PROOF_BYTES])
{
    /* The length of a proof is its last byte. 0: it is none. */
    return version[CM_PROOF_BYTES - 1] && (memcmp(version, t->old[0], CM_PROOF_BYTES) == 0 ||
                                           memcmp(version, t->old[1], CM_PROOF_BYTES) == 0);
}

void torn_note(struct torn *t, const cm_file_id *id, const uint8_t had[CM_PROOF_BYTES],
               const uint8_t has[CM_PROOF_BYTES], uint64_t came_at, uint64_t now)
{
    if (!torn_knows(t, id))
        *t = (struct torn){ .id = *id };
    else if (came_at <= t->at)
        return; /* several responses break off for one change */
    if (now > t->at + TORN_ROW_NS && now > t->until + TORN_ROW_NS)
        t->times = 0;
    if (is_old(t, had) || is_old(t, has)) {
        uint64_t window = TORN_FIRST_NS;
        for (unsigned i = 0; i < t->times && window < TORN_MOST_NS; i++)
            window *= 2;
        t->times++;
        t->until = now + (window < TORN_MOST_NS ? window : TORN_MOST_NS);
    }
    if (memcmp(had, t->old[0], CM_PROOF_BYTES) != 0) {
        memcpy(t->old[1], t->old[0], CM_PROOF_BYTES);
        memcpy(t->old[0], had, CM_PROOF_BYTES);
    }
    t->at = now;
}
