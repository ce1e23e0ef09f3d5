/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal_file.h - the seal of a pool from a file with its key, for front ends that take such a file.
 *
 * It also builds without OpenSSL (HAVE_OPENSSL is not defined). Then there are no keys, and it says
 * so.
 */
#ifndef SEAL_FILE_H
#define SEAL_FILE_H

#include "cachemax.h"

struct seal_openssl;

/* Reads the key in `file`, which nobody but its owner may read. `encrypts`: blocks are encrypted,
 * too. NULL: *why says what is wrong with the file (static storage). */
struct seal_openssl *seal_file_read(const char *file, int encrypts, const char **why);
/* Is this pool an encrypted one? It says so without a proof; if it lies, its open is refused. 0
 * also if there is no pool. */
int seal_file_encrypts(const char *pool);
/* What cm_options.seal takes; NULL without a seal. It is valid until seal_file_free(). */
const cm_seal *seal_file_of(const struct seal_openssl *s);
/* All pools that use it are closed. */
void seal_file_free(struct seal_openssl *s);

#endif
