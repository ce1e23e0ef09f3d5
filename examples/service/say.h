/* SPDX-License-Identifier: BSD-2-Clause
 *
 * say.h - lines for a terminal, with names that come from elsewhere.
 */
#ifndef CACHEMAX_SAY_H
#define CACHEMAX_SAY_H

#include <stdbool.h>
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
/* POSIX: the same to the standard error, for the log of a service: it waits for nobody who should
 * read it.
 * False: it did not write the line, because it would have had to wait. To a pipe or a terminal a
 * text of more than 4000 bytes is cut. */
bool say_at_once(const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 1, 2)))
#endif
    ;

#endif
