/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rule.h - the numbers by which a policy decides, in the pool and in its simulations.
 */
#ifndef CM_RULE_H
#define CM_RULE_H

#include <stdbool.h>
#include <stdint.h>

/* How blocks that come for the first time earn a place. */
struct cm_rule {
    /* In thousandths of the slots. At so many slots on probation, victims come from those. 0: no
     * probation, all blocks are members at once. */
    uint32_t probation;
    uint8_t earn; /* hits on probation, or in the buffer, that earn a place */
    /* When all slots have been used, a block gets one only if the ghost remembers it or, where
     * there is a buffer, if it has earned it in there. */
    bool remembered;
};

#endif
