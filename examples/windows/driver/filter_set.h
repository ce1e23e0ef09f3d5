/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_set.h - the written-set: ids of files, in memory of fixed size.
 *
 * An open hash table with linear probing. It never grows. When it is full it stands for all files.
 * The caller serializes.
 */
#ifndef CACHEMAX_FILTER_SET_H
#define CACHEMAX_FILTER_SET_H

#include <stdbool.h>
#include <stdint.h>

struct fc_id {
    uint64_t hi, lo; /* not both 0 */
};
struct fc_set {
    struct fc_id *slot;
    uint32_t slots; /* a power of two */
    uint32_t used;
    uint32_t last; /* where fc_set_take() looks first */
    bool all;      /* it was full: every file is in it */
};

#define FC_SET_BYTES(slots) ((size_t)(slots) * sizeof(struct fc_id))

void fc_set_init(struct fc_set *s, void *memory, uint32_t slots);
void fc_set_add(struct fc_set *s, struct fc_id id);
/* Every file is in it from now on. */
void fc_set_add_all(struct fc_set *s);
/* Is this file in it? True for every file if it was full. */
bool fc_set_has(const struct fc_set *s, struct fc_id id);
/* Takes any id out. False: there is none, or every file is in it. */
bool fc_set_take(struct fc_set *s, struct fc_id *id);
void fc_set_clear(struct fc_set *s);
static inline bool fc_set_empty(const struct fc_set *s)
{
    return s->used == 0 && !s->all;
}

#endif
