/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.h - which bucket a key belongs to.
 */
#ifndef CM_PLACE_OF_OBJECT_H
#define CM_PLACE_OF_OBJECT_H

#include "objects/container.h"

struct cm_object_place {
    uint64_t bucket;
    size_t key_len;
    unsigned hot; /* the key's bit of cm_bucket_hint.hot */
};

/* False: no key can be like this. */
bool cm_objects_place(const cm_objects *o, const void *key, size_t key_len,
                      struct cm_object_place *p);
unsigned cm_objects_hot_bit(const void *key, size_t key_len);

#endif
