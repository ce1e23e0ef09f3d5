/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_invariants.h - checks that the policy's data is consistent, in builds with -Dchecks=full
 * and in tests.
 */
#ifndef CM_POLICY_INVARIANTS_H
#define CM_POLICY_INVARIANTS_H

#include <stddef.h>

#include "policy/policy.h"

/* Looks at the whole ring and the whole ghost. No other thread may use them meanwhile. On false,
 * `text` says what is wrong. `lost`: there may be owned slots that nobody will free, because the
 * media failed there. */
bool cm_policy_in_order(const struct cm_policy_state *p, const uint8_t *pins, bool lost, char *text,
                        size_t size);

#endif
