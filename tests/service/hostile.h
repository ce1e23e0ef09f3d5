/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hostile.h - the parts of the program hostile. Each runs its cases; the service is up.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "cases.h"

/* hostile.c: whoever sends a message that may not be. hostile_noise.c: every byte of a conversation
 * changed, random messages, memory of a ring that changes all the time. */
void noise_cases(void);
/* Leaves two clients whose rings change all the time. They end with the second call, after the
 * service has ended. */
void ring_cases(void);
void ring_cases_end(void);
/* hostile_many.c: whoever takes too much. Begins and ends services of its own. */
void many_cases(const char *program, uint64_t pool_bytes);

#endif
