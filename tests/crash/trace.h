/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace.h - "crash --trace": prints the events of a sequence, one a line.
 *
 * The names of the functions come from the stack and from the program's symbol table. Both are
 * complete only in code without optimization. So a second program, crash-trace, prints the events:
 * the same sources and the same library, compiled in that way. crash becomes that program when it
 * is asked for a trace.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stddef.h>

/* Prints the title, then the first n events of the recorder's log. Their numbers begin at 1. */
typedef void (*trace_fn)(const char *title, size_t n);

/* For main(), before anything else. NULL: no trace is wanted. */
trace_fn trace_begin(int argc, char **argv);

#endif
