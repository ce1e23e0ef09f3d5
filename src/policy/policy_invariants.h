/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_invariants.h - checks that the policy's data is consistent, in builds with -Dchecks=full
 * and in tests.
 */
#ifndef CM_POLICY_INVARIANTS_H
#define CM_POLICY_INVARIANTS_H

#include <stdio.h>

#include "policy/policy.h"

#define CM_INVARIANTS_TEXT 160u

/* In a function with such a `text`: false, and the text says why, unless the condition holds. */
#define CM_MUST(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)snprintf(text, CM_INVARIANTS_TEXT, __VA_ARGS__);                                 \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* Looks at the whole ring and the whole ghost. No other thread may use them meanwhile. On false,
 * `text` says what is wrong. `lost`: there may be owned slots that nobody will free, because the
 * media failed there. */
bool cm_policy_in_order(const struct cm_policy_state *p, const uint8_t *pins, bool lost,
                        char text[CM_INVARIANTS_TEXT]);

#endif
