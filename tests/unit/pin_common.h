/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pin_common.h - shared by the tests of what happens between two looks at a header.
 */
#ifndef CM_PIN_COMMON_H
#define CM_PIN_COMMON_H

#include "../os.h"
#include "fixture.h"

/* Once, after the header of slot `between_slot` was loaded, `between` runs: a thing that another
 * thread could do at that moment. */
extern void (*between)(void);
extern uint64_t between_slot;
extern struct cm_cache *between_cache;

void forbid_headers(void);

extern const struct harness_test pin_between_tests[];

#endif
