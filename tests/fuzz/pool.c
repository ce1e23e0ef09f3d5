/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool.c - fuzz target: a pool that was changed while nobody had it open.
 *
 * The input says which image it is, what is changed in it, which checks are computed anew, and what
 * a program then does: opens it (also read-only), uses its files, closes it or is killed, opens it
 * again. Nothing may crash or hang, and no wrong byte may be served.
 */
#include "world.h"

#define SESSIONS 3u
#define STEPS 24u /* of a session */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct fuzz_input in = { data, size };

    world_begin(&w, world_choose(&in));
    for (unsigned i = 0; i < SESSIONS; i++) {
        const uint8_t steps = take_byte(&in);

        world_options(&w, &in, CM_OPEN_READONLY);
        world_damage(&w, &in, 12);
        if (!world_open(&w))
            continue;
        for (unsigned k = 0; k < steps % STEPS; k++)
            world_step(&w, &in);
        if (steps & 0x80)
            world_kill(&w);
        else
            world_close(&w);
    }
    return 0;
}
