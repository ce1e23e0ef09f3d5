/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_ahead.c - how far requests read past what was asked for.
 *
 * Owns: the hints `last_end` and `window` of each file.
 *
 * How: when a read begins where the last one ended, the window doubles, up to a quarter of the
 * largest origin read. With the advice SEQUENTIAL it is that long from the first read on. The
 * library starts no threads, so the reader itself spends the time to read ahead.
 *
 * What is read ahead and not stored is read again by the next request: with a window of 64 blocks
 * the origin would give each block 64 times. So once something was not stored, nothing is read
 * ahead, until something is. Then the window begins with one block: where a few blocks a second are
 * stored (a rate limit), it stays short.
 *
 * The hints are racy: two threads that read one file in turns look random. That costs the
 * read-ahead and nothing else.
 *
 * Who: api/.
 */
#include "api/read_ahead.h"

#include "api/cache.h"

#define WINDOW_MIN 4u /* blocks, when a sequence is first noticed */
#define WINDOW_AGAIN 1u
#define WINDOW_REFUSED UINT32_MAX /* the last blocks that were offered were not stored */

uint64_t cm_ahead_begin(struct cm_object *f, uint64_t offset, size_t len)
{
    const uint32_t advice = at_load_relaxed(&f->advice); /* relaxed, as all here: hints */
    const uint32_t longest = (uint32_t)(f->cache->opts.read_size_max / 4 / CM_BLOCK_SIZE);
    /* A longer read-ahead would evict what it has just read. */
    uint64_t most = cm_media_slots(&f->cache->media) / 32, waiting = f->cache->probation.entries;
    if (waiting > 0 && most > waiting / 2)
        most = waiting / 2;
    const uint64_t last = at_load_relaxed(&f->last_end);
    uint32_t window = at_load_relaxed(&f->window);
    at_store_relaxed(&f->last_end, offset + len);
    if (window == WINDOW_REFUSED)
        return 0;
    if (advice == CM_ADVISE_NOREUSE || (advice != CM_ADVISE_SEQUENTIAL && last != offset))
        window = 0;
    else if (window == 0)
        window = advice == CM_ADVISE_SEQUENTIAL ? longest : WINDOW_MIN;
    else
        window *= 2;
    window = window < longest ? window : longest;
    at_store_relaxed(&f->window, window);
    const uint64_t wanted = len / CM_BLOCK_SIZE, reach = window < most ? window : most;
    return reach > wanted ? reach - wanted : 0; /* long requests are their own read-ahead */
}

void cm_ahead_offered(struct cm_object *f, int why)
{
    const bool refused = why != 0 && why != CM_NOT_STORED_PRESENT;
    const uint32_t window = at_load_relaxed(&f->window);
    if (refused && window != WINDOW_REFUSED)
        at_store_relaxed(&f->window, WINDOW_REFUSED);
    else if (!refused && window == WINDOW_REFUSED)
        at_store_relaxed(&f->window, WINDOW_AGAIN);
}
