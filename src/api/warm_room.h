/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_room.h - is there room for what a warming stores, or does it push out its own blocks?
 */
#ifndef CM_WARM_ROOM_H
#define CM_WARM_ROOM_H

#include "state/object.h"

/* Some of the blocks that a warming has passed, evenly spread. */
struct cm_passed {
    uint64_t first;  /* block of the file where it began */
    uint64_t every;  /* blocks from one to the next */
    uint64_t cached; /* bit i: block first + i * every was cached then */
};

void cm_passed_begin(struct cm_passed *a, uint64_t first);
/* Blocks [from, to) are cached now. */
void cm_passed_note(struct cm_passed *a, uint64_t from, uint64_t to);
/* About how many of the blocks are gone again. */
uint64_t cm_passed_gone(const struct cm_passed *a, struct cm_object *f, uint64_t version);

/* Slots that the blocks of the file may have, whoever has them now. */
uint64_t cm_room_all(const struct cm_object *f);
/* Is there no slot left to store more in, in the pool or in the file's group? Else no block is
 * evicted, and what is gone was invalidated. */
bool cm_room_is_short(const struct cm_object *f);

#endif
