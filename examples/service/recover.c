/* SPDX-License-Identifier: BSD-2-Clause
 *
 * recover.c - folders that a killed cachemax-winfsp has left under another name get it back when
 * the service starts.
 *
 * Owns: nothing. Who: run.c, before there are clients; one thread.
 */
#include "recover.h"

#include <stdio.h>

#include "../winfsp/swap.h"

static char said[2 * SWAP_PATH];

static void hear(const char *text)
{
    snprintf(said, sizeof(said), "%s", text);
}

void recover_folders(const struct config *c, void (*log)(enum log_weight w, const char *text))
{
    swap_say = hear;
    for (unsigned i = 0; i < c->folders.count; i++) {
        said[0] = '\0';
        const enum swap_result r = swap_recover_if_left(c->folders.folder[i]);
        if (said[0] && r != SWAP_IN_USE)
            log(r == SWAP_OK ? LOG_NOTE : LOG_WARN, said);
    }
}
