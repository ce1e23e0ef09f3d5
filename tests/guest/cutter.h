/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cutter.h - cuts the guest's power at a chosen operation on the pool.
 */
#ifndef CUTTER_H
#define CUTTER_H

#include <stdint.h>

/* Counts every store, copy, flush and fence the library makes to the pool from now on, and cuts the
 * power at the n-th (1 is the first; 0: never): in the middle of it where it stores more than a
 * word, `part` telling where. */
void cutter_arm(uint64_t n, uint64_t part);
uint64_t cutter_count(void);
/* Cuts the power now. Does not return. */
_Noreturn void cutter_cut(const char *why);

#endif
