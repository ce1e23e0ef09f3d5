/* SPDX-License-Identifier: BSD-2-Clause
 *
 * key.c - see key.h. The callbacks are those of examples/seal.
 *
 * Owns: the seal, from key_read() to key_drop().
 *
 * Who: run.c, remove.c. Only before there are threads, and after them.
 */
#include "key.h"

#include <stdio.h>

#include <seal_file.h> /* examples/seal */

static struct seal_openssl *seal;

bool key_read(const struct config *c, char why[KEY_WHY_ROOM])
{
    const char *reason = NULL;

    if (!c->key_file[0])
        return true;
    seal = seal_file_read(c->key_file, seal_file_encrypts(c->pool), &reason);
    if (!seal)
        snprintf(why, KEY_WHY_ROOM, "key_file = %.1000s: %s", c->key_file, reason);
    return seal != NULL;
}

const cm_seal *key_seal(void)
{
    return seal_file_of(seal);
}

void key_drop(void)
{
    seal_file_free(seal);
    seal = NULL;
}
