/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.c - finds the bucket that a key belongs to.
 *
 * Owns: how the hash of a key chooses one.
 *
 * Who: objects/.
 */
#include "objects/place.h"

unsigned cm_objects_hot_bit(const void *key, size_t key_len)
{
    return (unsigned)cm_entries_key_hash(key, key_len) & 15;
}

bool cm_objects_place(const cm_objects *o, const void *key, size_t key_len,
                      struct cm_object_place *p)
{
    if (key_len > CM_OBJECT_KEY_MAX || (!key && key_len))
        return false;
    const uint64_t hash = cm_entries_key_hash(key, key_len);
    /* Evenly, by the upper bits first: there are at most 2^31 buckets. */
    p->bucket = ((hash >> 32) * o->buckets + ((hash & 0xffffffff) * o->buckets >> 32)) >> 32;
    p->key_len = key_len;
    p->hot = (unsigned)hash & 15;
    return true;
}
