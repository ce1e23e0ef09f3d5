/* SPDX-License-Identifier: BSD-2-Clause
 *
 * open_pool.c - fuzz target: a pool that another process changes while this one has it open.
 *
 * As pool.c, but bytes change between the calls. A block is compared with its sum at every hit if
 * the pool is opened so (CM_VERIFY_ALWAYS), and then no wrong byte may be served. Otherwise a block
 * that was compared before is believed, so it only has to be from the pool.
 */
#include "world.h"

#define STEPS 40u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct fuzz_input in = { data, size };
    const uint8_t steps = (world_begin(&w, world_choose(&in)), take_byte(&in));

    world_options(&w, &in, CM_OPEN_READONLY);
    if (w.o.verify != CM_VERIFY_ALWAYS)
        w.any = true;
    if (!world_open(&w))
        return 0;
    for (unsigned k = 0; k < steps % STEPS && in.left > 0; k++) {
        world_damage(&w, &in, 3);
        world_step(&w, &in);
    }
    if (steps & 0x80)
        world_kill(&w);
    else
        world_close(&w);
    w.forged = w.forged || w.any; /* what was changed behind a check is in the pool */
    if (!world_open(&w))
        return 0;
    for (unsigned k = 0; k < 12; k++)
        world_step(&w, &in);
    world_close(&w);
    return 0;
}
