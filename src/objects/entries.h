/* SPDX-License-Identifier: BSD-2-Clause
 *
 * entries.h - the bytes of a bucket: one block that holds the objects of some keys.
 *
 *     0   magic      4 bytes
 *     4   used       4 bytes: where the last entry ends
 *     8   number     8 bytes: of the bucket
 *    16   entries, one behind the other, the newest first
 *
 * An entry:
 *
 *     0   check      8 bytes: XXH3 of all that follows of it, seeded with the bucket's number
 *     8   expires    6 bytes: milliseconds since 1970; 0: never
 *    14   key_len    1 byte
 *    15   flags      1 byte: CM_ENTRY_LARGE
 *    16   n          2 bytes: of the payload
 *    18   key, payload: the value, or with CM_ENTRY_LARGE a struct cm_value_ref
 *
 * Blocks have a checksum in the pool. The check of an entry is for pools that somebody forged, and
 * for what only looks like a bucket. Nothing here trusts what it reads.
 */
#ifndef CM_ENTRIES_H
#define CM_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachemax_objects.h"

#define CM_ENTRIES_START 16u /* bytes before the first entry of a bucket */
#define CM_ENTRY_HEAD 18u
#define CM_ENTRY_LARGE 1u

struct cm_entry {
    const uint8_t *raw; /* the whole entry in its bucket */
    const uint8_t *key, *payload;
    uint32_t size; /* of the whole entry */
    uint32_t key_len, n, flags;
    uint64_t check;
    int64_t expires_ms;
};

/* Where a large value is. Positions of a version of a data file are used once (values.h). */
struct cm_value_ref {
    uint64_t len;
    uint64_t incarnation; /* of the data file */
    uint64_t block;       /* its first block; the data file's number is in the upper 8 bits */
};

/* How many of its bytes are used, if it is a bucket. */
uint32_t cm_entries_used(const uint8_t *bucket);
/* Is this block the bucket of this number? If not, it holds nothing. */
bool cm_entries_whole(const uint8_t *bucket, uint64_t number);
/* Goes over the entries of a bucket that is whole. *at: 0 at first. */
bool cm_entries_next(const uint8_t *bucket, uint32_t *at, struct cm_entry *e);
/* Is the check of the entry right, and what it says possible? */
bool cm_entries_sound(const struct cm_entry *e, uint64_t number);
/* The reference of a large entry. */
struct cm_value_ref cm_entries_ref(const struct cm_entry *e);
/* `key` may be NULL if it has no byte. */
uint64_t cm_entries_key_hash(const void *key, size_t key_len);
bool cm_entries_has_key(const struct cm_entry *e, const void *key, size_t key_len);
/* The sound entry of a key in a bucket, which need not be whole. */
bool cm_entries_find(const uint8_t *bucket, uint64_t number, const void *key, size_t key_len,
                     struct cm_entry *e);

/* A bucket is written in this order. Begin: it is empty. End: nothing else is in it. */
void cm_entries_begin(uint8_t *bucket, uint64_t number);
void cm_entries_end(uint8_t *bucket);
/* Puts a new entry behind the others, and returns its check. `e`: key, key_len, payload, n, flags,
 * expires_ms. There is always room for the first one. */
uint64_t cm_entries_add(uint8_t *bucket, uint64_t number, const struct cm_entry *e);
/* Puts copies of entries of another block of the same bucket behind the others. There is room. */
void cm_entries_copy(uint8_t *bucket, const uint8_t *entries, uint32_t bytes);
/* Bytes that are left. */
uint32_t cm_entries_room(const uint8_t *bucket);

#endif
