/* SPDX-License-Identifier: BSD-2-Clause
 *
 * names.h - the names of this program's functions.
 */
#ifndef NAMES_H
#define NAMES_H

/* Reads the names. The program ends if it has none. */
void names_load(void);
/* The function that a return address leads to, static ones included. NULL: it is in a shared
 * library. */
const char *name_of(const void *return_address);

#endif
