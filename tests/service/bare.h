/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bare.h - a bare exchange between two processes: one asks, the other one answers with 4 KiB.
 *
 * What a hit through the service is compared with. bare_linux.c and bare_win32.c implement it.
 */
#ifndef BARE_H
#define BARE_H

#define BARE_BLOCK 4096u

/* Starts the other processes. After place_make(). */
void bare_begin(void);
void bare_end(void);
/* One exchange: through shared memory, where each side wakes the other one, and through a socket or
 * pipe. `arg` and `i` are not looked at. */
void bare_by_memory(void *arg, unsigned i);
void bare_by_stream(void *arg, unsigned i);
/* The life of another process that was started as "hits bare DIR HOW". */
int bare_main(const char *how);

#endif
