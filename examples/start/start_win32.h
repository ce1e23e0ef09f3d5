/* SPDX-License-Identifier: BSD-2-Clause
 *
 * start_win32.h - how a program begins on Windows: shared by the examples.
 *
 * The C library gives main() arguments in the system's ANSI page, where not every name has a form.
 * The library takes UTF-8. Standard input and output are in text mode at first: ^Z is the end of
 * the input, and each line feed of the output gets a carriage return.
 */
#ifndef START_WIN32_H
#define START_WIN32_H

/* Replaces main()'s arguments by the command line in UTF-8. It is never freed. Returns 0, or the
 * exit status after a message to standard error that begins with `program`: 2: an argument is not
 * valid Unicode (U+FFFD in its place would name another file), 1: no memory. Before other threads
 * begin. */
int start_arguments(const char *program, int *argc, char ***argv);
/* The console takes what is written for UTF-8, as names and messages are, and for what it did
 * before when the program calls exit(). */
void start_console(void);
/* Standard input and output move bytes as they are. Before the first byte. */
void start_binary(void);

#endif
