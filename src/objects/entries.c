/* SPDX-License-Identifier: BSD-2-Clause
 *
 * entries.c - reads and writes the bytes of a bucket.
 *
 * Owns: the layout of a bucket, the hash of keys, and the rule that nothing in a bucket is
 * believed: each length is compared with what is left of the block.
 *
 * Who: objects/.
 */
#include "objects/entries.h"

#include <assert.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAGIC UINT32_C(0x6a626f63)
#define ENTRIES CM_ENTRIES_START

struct head {
    uint32_t magic, used;
    uint64_t number;
};
static_assert(sizeof(struct head) == ENTRIES, "no gaps");
static_assert(sizeof(struct cm_value_ref) == 24, "no gaps");
static_assert(ENTRIES + CM_ENTRY_HEAD + CM_OBJECT_KEY_MAX + CM_OBJECT_INLINE_MAX <= CM_BLOCK_SIZE,
              "a bucket has room for an entry");

static struct head head_of(const uint8_t *bucket)
{
    struct head h;
    memcpy(&h, bucket, sizeof(h));
    return h;
}

uint32_t cm_entries_used(const uint8_t *bucket)
{
    return head_of(bucket).used;
}

bool cm_entries_whole(const uint8_t *bucket, uint64_t number)
{
    const struct head h = head_of(bucket);
    return h.magic == MAGIC && h.number == number && h.used >= ENTRIES && h.used <= CM_BLOCK_SIZE;
}

bool cm_entries_next(const uint8_t *bucket, uint32_t *at, struct cm_entry *e)
{
    const uint32_t used = head_of(bucket).used, here = *at ? *at : ENTRIES;
    uint16_t n;
    uint64_t word;
    if (used > CM_BLOCK_SIZE || here > used || used - here < CM_ENTRY_HEAD)
        return false;
    e->raw = bucket + here;
    memcpy(&e->check, e->raw, sizeof(e->check));
    memcpy(&word, e->raw + 8, sizeof(word));
    memcpy(&n, e->raw + 16, sizeof(n));
    e->expires_ms = (int64_t)(word & ((UINT64_C(1) << 48) - 1));
    e->key_len = (uint32_t)(word >> 48) & 0xff;
    e->flags = (uint32_t)(word >> 56);
    e->n = n;
    e->size = CM_ENTRY_HEAD + e->key_len + e->n;
    e->key = e->raw + CM_ENTRY_HEAD;
    e->payload = e->key + e->key_len;
    if (e->size > used - here)
        return false;
    *at = here + e->size;
    return true;
}

static uint64_t check_of(const uint8_t *raw, uint32_t size, uint64_t number)
{
    return XXH3_64bits_withSeed(raw + 8, size - 8, number);
}

bool cm_entries_sound(const struct cm_entry *e, uint64_t number)
{
    const bool possible = e->flags == 0
                              ? e->n <= CM_OBJECT_INLINE_MAX
                              : e->flags == CM_ENTRY_LARGE && e->n == sizeof(struct cm_value_ref);
    return possible && e->check == check_of(e->raw, e->size, number);
}

struct cm_value_ref cm_entries_ref(const struct cm_entry *e)
{
    struct cm_value_ref r;
    assert(e->flags == CM_ENTRY_LARGE && e->n == sizeof(r));
    memcpy(&r, e->payload, sizeof(r));
    return r;
}

uint64_t cm_entries_key_hash(const void *key, size_t key_len)
{
    return XXH3_64bits(key_len ? key : "", key_len);
}

bool cm_entries_has_key(const struct cm_entry *e, const void *key, size_t key_len)
{
    return e->key_len == key_len && (key_len == 0 || memcmp(e->key, key, key_len) == 0);
}

bool cm_entries_find(const uint8_t *bucket, uint64_t number, const void *key, size_t key_len,
                     struct cm_entry *e)
{
    if (!cm_entries_whole(bucket, number))
        return false;
    for (uint32_t at = 0; cm_entries_next(bucket, &at, e);)
        if (cm_entries_has_key(e, key, key_len))
            return cm_entries_sound(e, number);
    return false;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void set_used(uint8_t *bucket, uint32_t used)
{
    memcpy(bucket + offsetof(struct head, used), &used, sizeof(used));
}

void cm_entries_begin(uint8_t *bucket, uint64_t number)
{
    const struct head h = { MAGIC, ENTRIES, number };
    memcpy(bucket, &h, sizeof(h));
}

void cm_entries_end(uint8_t *bucket)
{
    const uint32_t used = head_of(bucket).used;
    memset(bucket + used, 0, CM_BLOCK_SIZE - used);
}

uint32_t cm_entries_room(const uint8_t *bucket)
{
    return CM_BLOCK_SIZE - head_of(bucket).used;
}

uint64_t cm_entries_add(uint8_t *bucket, uint64_t number, const struct cm_entry *e)
{
    const uint32_t used = head_of(bucket).used, size = CM_ENTRY_HEAD + e->key_len + e->n;
    uint8_t *const raw = bucket + used;
    const uint64_t word =
        (uint64_t)e->expires_ms | (uint64_t)e->key_len << 48 | (uint64_t)e->flags << 56;
    const uint16_t n = (uint16_t)e->n;
    assert(size <= CM_BLOCK_SIZE - used && e->expires_ms >> 48 == 0);
    memcpy(raw + 8, &word, sizeof(word));
    memcpy(raw + 16, &n, sizeof(n));
    if (e->key_len)
        memcpy(raw + CM_ENTRY_HEAD, e->key, e->key_len);
    if (e->n)
        memcpy(raw + CM_ENTRY_HEAD + e->key_len, e->payload, e->n);
    const uint64_t check = check_of(raw, size, number);
    memcpy(raw, &check, sizeof(check));
    set_used(bucket, used + size);
    return check;
}

void cm_entries_copy(uint8_t *bucket, const uint8_t *entries, uint32_t bytes)
{
    const uint32_t used = head_of(bucket).used;
    assert(bytes <= CM_BLOCK_SIZE - used);
    memcpy(bucket + used, entries, bytes);
    set_used(bucket, used + bytes);
}
