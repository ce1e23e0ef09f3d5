/* SPDX-License-Identifier: BSD-2-Clause
 *
 * toy_seal.h - a seal for tests: fast, the same on every machine, and no protection against anybody
 * who tries.
 *
 * The hash is a sum of the words, each mixed with the key; the cipher adds a stream that depends on
 * key and tweak. Tests that look at bytes want only this much: another key, head, place or content
 * gives another tag, and another key or tweak other bytes.
 */
#ifndef CM_TOY_SEAL_H
#define CM_TOY_SEAL_H

#include <string.h>

#include "cachemax.h"

struct toy_key {
    uint64_t key;
    unsigned fails; /* so many of the next calls fail; more than 1000: all */
    unsigned after; /* but so many come first, which do not */
    unsigned failed;
    int right; /* a call that fails sets the right tag all the same */
};

/* splitmix64 (Steele, Lea, Flood 2014) */
static inline uint64_t toy_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline int toy_fails(struct toy_key *k)
{
    if (k->fails == 0)
        return 0;
    if (k->after > 0) {
        k->after--;
        return 0;
    }
    k->fails -= k->fails <= 1000;
    k->failed++;
    return 1;
}

static inline uint64_t toy_hash(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (uint64_t word; len > 0;) {
        const size_t n = len < sizeof(word) ? len : sizeof(word);
        word = 0;
        memcpy(&word, p, n);
        h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd); /* murmur3's finalizer */
        h ^= h >> 32;
        p += n;
        len -= n;
    }
    return h;
}

static inline int toy_mac(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *data, size_t len,
                          uint8_t tag[CM_SEAL_TAG])
{
    struct toy_key *k = ctx;
    const uint64_t h =
        toy_mix(toy_hash(toy_hash(toy_mix(k->key), head, CM_SEAL_HEAD), data, len) + len);
    const int e = toy_fails(k);
    memcpy(tag, &h, sizeof(h));
    if (e && !k->right)
        memset(tag, 0xee, sizeof(h));
    return e;
}

static inline int toy_encrypt(void *ctx, const uint8_t tweak[16], void *block)
{
    struct toy_key *k = ctx;
    uint64_t words[2], word;
    uint8_t *p = block;
    memcpy(words, tweak, sizeof(words));
    uint64_t stream = toy_mix(~k->key) ^ toy_mix(words[0] + toy_mix(words[1]));
    for (unsigned i = 0; i < CM_BLOCK_SIZE; i += sizeof(word)) {
        memcpy(&word, p + i, sizeof(word));
        stream = stream * UINT64_C(6364136223846793005) + 1;
        word ^= stream;
        memcpy(p + i, &word, sizeof(word));
    }
    return toy_fails(k);
}

static inline cm_seal toy_seal(struct toy_key *k, int encrypts)
{
    cm_seal s = CM_SEAL_INIT;
    s.ctx = k;
    s.mac = toy_mac;
    s.encrypt = encrypts ? toy_encrypt : NULL;
    s.decrypt = encrypts ? toy_encrypt : NULL; /* it is its own inverse */
    return s;
}

#endif
