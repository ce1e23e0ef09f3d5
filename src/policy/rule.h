/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rule.h - the numbers that a policy goes by, in the pool and in its simulations.
 */
#ifndef CM_RULE_H
#define CM_RULE_H

#include <stdbool.h>
#include <stdint.h>

/* How blocks that come for the first time earn a place. */
struct cm_rule {
    uint32_t probation; /* thousandths of the slots that may be on probation before those go first;
                         * 0: nobody is, and all are members at once */
    uint8_t earn;       /* hits on probation, or in the buffer, that earn a place */
    /* When all slots have been used, a block gets one only if the ghost remembers it or, where
     * there is a buffer, if it has earned it in there. */
    bool remembered;
};

#endif
