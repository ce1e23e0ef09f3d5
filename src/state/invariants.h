/* SPDX-License-Identifier: BSD-2-Clause
 *
 * invariants.h - are the structures of an open cache in order? For builds with -Dchecks=full and
 * tests.
 */
#ifndef CM_INVARIANTS_H
#define CM_INVARIANTS_H

#include "policy/policy_invariants.h"
#include "state/cache_state.h"

/* Looks at all of the cache's structures in DRAM, and at the headers and cells that they name. No
 * other thread may be inside the cache. false: `text` says what is wrong, and where. Structures
 * that are on the media are judged only by what this session itself has read or written there. */
bool cm_cache_in_order(struct cm_cache *c, char text[CM_INVARIANTS_TEXT]);

#endif
