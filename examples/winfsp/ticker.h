/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ticker.h - a thread that does something again and again.
 *
 * ticker_posix.c, ticker_win32.c. There is one at a time.
 */
#ifndef CACHEMAX_WINFSP_TICKER_H
#define CACHEMAX_WINFSP_TICKER_H

#include <stdbool.h>

/* Calls each() at once, also if the end follows at once, and from then on with so many milliseconds
 * before each call. The thread takes no request to end (SIGTERM and the like). False: there is no
 * room for another thread. */
bool ticker_begin(unsigned ms, void (*each)(void));
/* Returns when the last call has. Without a begin: nothing. */
void ticker_end(void);

#endif
