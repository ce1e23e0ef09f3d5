/* SPDX-License-Identifier: BSD-2-Clause
 *
 * told.c - what the owner of a pool tells readers in other processes: the size of a file.
 *
 * Owns: no state. What the two words mean is in told.h, who stores them in
 * docs/decisions/shared-readers.md.
 *
 * Who: api/, state/.
 */
#include "state/told.h"

#include "media/file_table.h"

uint64_t cm_told_size(struct cm_object *f, uint64_t incarnation)
{
    const struct cm_media *m = &f->cache->media;
    const uint64_t *const told = at_load_acquire(&f->told);
    struct cm_record r;
    bool whole;
    if (!told)
        return CM_SIZE_UNKNOWN;
    const uint64_t place = cm_record_place_of(m, told);
    /* The size has its own check, of one version of the body. It was the file's when it was loaded,
     * if the two words still hold then: an owner that may move the end takes it away first. */
    const uint64_t size = cm_record_at(m, place, &r, &whole) == 0 && whole
                              ? cm_record_size(m, place, &r)
                              : CM_SIZE_UNKNOWN;
    at_fence_acquire();
    if (!cm_told_holds(f, incarnation))
        return CM_SIZE_UNKNOWN;
    at_store_relaxed(&f->size, size); /* the hint of the short way */
    return size;
}
