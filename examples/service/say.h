/* SPDX-License-Identifier: BSD-2-Clause
 *
 * say.h - lines for a terminal, with names that come from elsewhere.
 */
#ifndef CACHEMAX_SAY_H
#define CACHEMAX_SAY_H

#include <stdio.h>

#if defined(__GNUC__)
#define SAY_PRINTF __attribute__((format(printf, 2, 3)))
#else
#define SAY_PRINTF
#endif

/* Writes a line to a stream, by one call, so that lines of two threads do not mix. `format` has no
 * line end. What a terminal should not get becomes \\x1b and the like; a text of more than 8000
 * bytes is cut. Any thread. */
void say(FILE *to, const char *format, ...) SAY_PRINTF;

#endif
