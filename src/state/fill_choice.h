/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_choice.h - which copy routine fills use, by measurement.
 */
#ifndef CM_FILL_CHOICE_H
#define CM_FILL_CHOICE_H

#include "state/cache_state.h"

/* Called at an open. `measure`: else the routine of the persist table stays. */
void cm_fill_choice_begin(struct cm_cache *c, bool measure);
static inline bool cm_fill_choice_is_over(const struct cm_cache *c)
{
    return at_load_relaxed(&c->fill.over) != 0;
}
/* A batch of whole blocks is about to be copied. Returns the time if this thread measures it; then
 * cm_fill_choice_note() must follow. Else 0. */
uint64_t cm_fill_choice_turn(struct cm_cache *c);
/* The batch was copied, and the fence after it is done. `began`: what cm_fill_choice_turn()
 * returned. blocks: 0: they do not count. */
void cm_fill_choice_note(struct cm_cache *c, uint64_t began, unsigned blocks);
/* Name of the routine that fills use. *measured: it was chosen by measurement. */
const char *cm_fill_choice_name(const struct cm_cache *c, bool *measured);

#endif
