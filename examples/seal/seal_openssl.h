/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal_openssl.h - the seal of a pool (cm_options.seal) with OpenSSL 3: SipHash-2-4 for the tags,
 * AES-256-XTS for the blocks.
 */
#ifndef SEAL_OPENSSL_H
#define SEAL_OPENSSL_H

#include "cachemax.h"

#define SEAL_KEY_MIN 32u   /* bytes of a key */
#define SEAL_KEY_MAX 4096u /* of a file with one */

struct seal_openssl;

/* Makes a seal of a secret of `len` bytes, SEAL_KEY_MIN at least, which is not kept. `encrypts`:
 * blocks are encrypted, too. NULL: *why says what is wrong (static storage). */
struct seal_openssl *seal_openssl_new(const void *key, size_t len, int encrypts, const char **why);
/* The same, with the bytes of a file that nobody but its owner may read. `fd` is that file. */
struct seal_openssl *seal_openssl_read(int fd, int encrypts, const char **why);
/* What cm_options.seal takes. It is valid until seal_openssl_free(). */
const cm_seal *seal_openssl_of(const struct seal_openssl *s);
/* All pools that use it are closed. */
void seal_openssl_free(struct seal_openssl *s);

#endif
