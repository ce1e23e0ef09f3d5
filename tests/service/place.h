/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.h - a directory with a pool and a configuration, and a service that runs there.
 */
#ifndef PLACE_H
#define PLACE_H

#include <stdint.h>
#include <sys/types.h>

extern char place_dir[512], place_socket[600]; /* after place_make() */

/* Ends the program with status 2: what failed, and errno. */
_Noreturn void place_die(const char *what);
uint64_t place_now_ns(void);
/* A new directory below TMPDIR. */
void place_make(uint64_t pool_bytes);
/* Starts the service; it may take clients a little later. */
pid_t place_start(const char *service);
/* Removes the directory. What the caller made there is gone already. */
void place_clean(void);

#endif
