/* SPDX-License-Identifier: BSD-2-Clause
 *
 * key.c - the key of a sealed pool: -o key_file.
 *
 * The file is read once, before the first open of the pool; it may be gone later. The callbacks are
 * those of examples/seal.
 *
 * Owns the seal, which stays until the process ends: a resize opens the pool again.
 */
#include "mount.h"

#include <seal_file.h> /* examples/seal */

static struct seal_openssl *seal;

int key_read(void)
{
    const char *why = NULL;

    if (!mnt.opt.key_file || seal)
        return 0;
    seal = seal_file_read(mnt.opt.key_file, seal_file_encrypts(mnt.opt.pool), &why);
    if (seal)
        return 0;
    say(CM_LOG_ERROR, "key_file %s: %s", mnt.opt.key_file, why);
    return EXIT_POOL;
}

const cm_seal *key_seal(void)
{
    return seal_file_of(seal);
}
