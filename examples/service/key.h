/* SPDX-License-Identifier: BSD-2-Clause
 *
 * key.h - the key of a sealed pool: key_file of the configuration.
 */
#ifndef CACHEMAX_KEY_H
#define CACHEMAX_KEY_H

#include "cachemax.h"
#include "config.h"

#define KEY_WHY_ROOM 1400
/* What to do about CM_EKEY. */
#define KEY_ADVICE                                                                                 \
    "give the key that it was made with (\"key_file = FILE\"); a pool that is not sealed takes "   \
    "none"

/* Reads the key, if the configuration names one. False: `why` says what is wrong. */
bool key_read(const struct config *c, char why[KEY_WHY_ROOM]);
/* Of the key that was read; NULL: there is none. It is valid until key_drop(). */
const cm_seal *key_seal(void);
/* The pool is closed. */
void key_drop(void);

#endif
