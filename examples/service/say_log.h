/* SPDX-License-Identifier: BSD-2-Clause
 *
 * say_log.h - POSIX: the log of a program that others wait for, on the standard error.
 */
#ifndef CACHEMAX_SAY_LOG_H
#define CACHEMAX_SAY_LOG_H

/* Writes a line. It waits for nobody who should read it: a line that nobody takes is left out, and
 * the next one that is taken has a line before it that says how many are missing. `before` stands
 * before the text, and `warns` before that other line. What a terminal should not get becomes \\x1b
 * and the like. To a pipe or a terminal a text of more than 4000 bytes is cut. Any thread. */
void say_log(const char *before, const char *text, const char *warns);
/* The lines of this thread wait for whoever reads them, from now on so many milliseconds in all.
 * For a begin or an end, when nobody waits for the program but who has started it; 0 ends that. */
void say_log_waits(unsigned ms);
/* What others write to the standard error waits no more either: a library, or an assert(). Not so
 * if it is a socket, or a pipe that cannot be opened anew. */
void say_log_for_all(void);
/* For a program whose threads act as other users, or which leaves its standard error. It looks at
 * the standard error, as the first line would; and lets go of it. */
void say_log_begin(void);
void say_log_end(void);

#endif
