/* SPDX-License-Identifier: BSD-2-Clause
 *
 * places.h - what lies at an offset of a pool, in the words of docs/format.md.
 */
#ifndef PLACES_H
#define PLACES_H

#include <stddef.h>
#include <stdint.h>

#include "media/format.h"

/* The word at `offset`, and what `value` says there. */
void place_word(const struct cm_geometry *g, uint64_t offset, uint64_t value, char *text, size_t n);
/* The structures and fields in [offset, offset + bytes), whole words. */
void place_range(const struct cm_geometry *g, uint64_t offset, uint64_t bytes, char *text,
                 size_t n);

#endif
