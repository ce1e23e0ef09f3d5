/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slot.c - slots: 32-byte headers, 4 KiB payloads.
 *
 * Owns: the words of a header and the order in which they are read and written. A header is the
 * truth about its slot. w0 alone makes it valid: it carries VALID, a sequence that survives
 * invalidation, and a check over everything else. So a header whose words do not belong together is
 * not valid. In a sealed pool a tag stands in place of the sum of the payload (seal.h), and every
 * read computes it, over a copy of its own: nobody can change that between the test and the use.
 *
 * Who: api/, protocol/. Writers own the slot (ring.h); invalidating needs no ownership,
 * only the stripe of the key, because it is a compare-and-swap of w0 and touches nothing else.
 */
#include "media/slot.h"

#include <string.h>

#include "media/checksum.h"
#include "media/seal.h"
#include "platform/platform.h"

bool cm_slot_is_hole(const struct cm_media *m, uint64_t slot)
{
    return cm_media_is_hole(m, cm_slot_at(m, slot), sizeof(struct cm_header));
}

bool cm_slot_has_no_room(const struct cm_media *m, uint64_t slot)
{
    return cm_slot_is_hole(m, slot) || cm_media_is_hole(m, cm_slot_payload(m, slot), CM_BLOCK_SIZE);
}

/* THE DELIBERATE RACE. The payload may be overwritten while it is copied. cm_guard_copy reads it
 * without any order. The bytes are used only if w0 is the same word after the copy as before. Why
 * that suffices: only the owner of the slot overwrites the payload. Before its first store to the
 * payload, w0 was replaced (cm_slot_invalidate, a full barrier) and the owner has fenced. So if any
 * copied byte is from a later life, the acquire fence below orders the second load of w0 after the
 * load of that byte, and the second load sees that w0 has changed. w0 cannot have its old value
 * again: each life has its own sequence. The reader would have to be stopped for exactly 2^23 lives
 * of the slot, and w0's check would have to be the same in the last one (docs/concurrency.md).
 * Under TSan cm_guard_copy consists of relaxed atomic loads, so there it is no data race. */
static bool copy_while_unchanged(const struct cm_media *m, uint64_t slot, uint64_t w0, void *dst,
                                 uint32_t from, uint32_t len, int *error)
{
    uint64_t again;
    *error = cm_guard_copy(dst, cm_slot_payload(m, slot) + from, len);
    at_fence_acquire();
    if (*error == 0)
        *error = cm_guard_load64(&cm_slot_at(m, slot)->w0, &again);
    return *error == 0 && again == w0;
}

unsigned cm_slot_read_neighbours(const struct cm_media *m, uint64_t slot, unsigned n,
                                 uint64_t incarnation, uint64_t block, void *dst)
{
    const uint64_t key[2] = { incarnation, block << CM_VALID_BITS | CM_BLOCK_SIZE };
    uint64_t w0[CM_SLOT_NEIGHBOURS];
    const uint64_t *at = &cm_slot_at(m, slot)->w0; /* headers of neighbours are neighbours, too */
    /* NOLINTNEXTLINE(misc-redundant-expression): that they are equal is the point. */
    static_assert(CM_GUARD_NEXT == UINT64_C(1) << CM_VALID_BITS, "the next block's word");
    static_assert(sizeof(struct cm_header) == 4 * sizeof(uint64_t), "a header has four words");
    assert(n > 0 && n <= CM_SLOT_NEIGHBOURS && slot + n <= cm_media_slots(m));
    if (slot + n > m->geo.plain && !cm_format_in_one(&m->geo, slot, n))
        return 0;
    int right = cm_guard_look_before(at, n, key, w0);
    if (right <= 0 || cm_guard_copy(dst, cm_slot_payload(m, slot), (size_t)right * CM_BLOCK_SIZE))
        return 0;
    at_fence_acquire(); /* THE DELIBERATE RACE, for each of them */
    right = cm_guard_look_after(at, (size_t)right, w0);
    return right < 0 ? 0 : (unsigned)right;
}

/* Copies the valid part aside, in chunks that fit a small stack, and sums it. Takes the wanted part
 * [from, from+len) to dst on the way. The sum and the bytes count only if w0 is the same word after
 * the call: see copy_while_unchanged. */
static int copy_and_sum(const struct cm_media *m, uint64_t slot, uint32_t valid, uint32_t from,
                        uint32_t len, uint8_t *dst, uint64_t *sum)
{
    struct cm_checksum_parts parts;
    uint8_t chunk[1024];
    cm_checksum_begin(&parts);
    for (uint32_t at = 0, n; at < valid; at += n) {
        n = valid - at < sizeof(chunk) ? valid - at : (uint32_t)sizeof(chunk);
        int e = cm_guard_copy(chunk, cm_slot_payload(m, slot) + at, n);
        if (e)
            return e;
        cm_checksum_add(&parts, chunk, n);
        const uint32_t low = from > at ? from : at;
        const uint32_t high = from + len < at + n ? from + len : at + n;
        if (low < high)
            memcpy(dst + (low - from), chunk + (low - at), high - low);
    }
    *sum = cm_checksum_end(&parts);
    return 0;
}

static bool sum_ok(const struct cm_media *m, uint64_t slot, const struct cm_header *h, uint64_t sum)
{
    return h->xxh3 ==
           cm_format_payload_bind(cm_media_key(m), slot, h->incarnation, cm_header_block(h), sum);
}

/* The rare case: tests the sum of the whole valid part, and takes the wanted part. */
static enum cm_slot_verdict read_verified(const struct cm_media *m, uint64_t slot,
                                          const struct cm_header *h, uint32_t from, uint32_t len,
                                          uint8_t *dst)
{
    uint64_t sum, again;
    int e = copy_and_sum(m, slot, cm_header_valid(h), from, len, dst, &sum);
    at_fence_acquire(); /* as in copy_while_unchanged */
    if (e == 0)
        e = cm_guard_load64(&cm_slot_at(m, slot)->w0, &again);
    if (e || again != h->w0)
        return e ? CM_SLOT_UNREADABLE : CM_SLOT_CHANGED;
    return sum_ok(m, slot, h, sum) ? CM_SLOT_HIT : CM_SLOT_BAD_SUM;
}

void cm_slot_prefetch_header(const struct cm_media *m, uint64_t slot)
{
    at_prefetch(cm_slot_at(m, slot));
}

void cm_slot_prefetch(const struct cm_media *m, uint64_t slot)
{
    cm_slot_prefetch_header(m, slot);
    at_prefetch(cm_slot_payload(m, slot));
}

/* ---- Sealed pools ---------------------------------------------------------------------------- */

/* Copies what is stored to `block`, and makes of it the plain content that the tag covers. */
static enum cm_slot_verdict open_block(const struct cm_media *m, uint64_t slot,
                                       const struct cm_header *h, uint8_t *block)
{
    const uint32_t stored = cm_seal_encrypts(m) ? CM_BLOCK_SIZE : cm_header_valid(h);
    uint64_t tag;
    int e = 0;
    if (!copy_while_unchanged(m, slot, h->w0, block, 0, stored, &e))
        return e ? CM_SLOT_UNREADABLE : CM_SLOT_CHANGED;
    if (cm_seal_decrypt(m, slot, h->xxh3, block) ||
        cm_seal_slot(m, slot, h->incarnation, h->block_valid, block, &tag))
        return CM_SLOT_CHANGED; /* a callback failed: nothing is known of the slot */
    return tag == h->xxh3 ? CM_SLOT_HIT : CM_SLOT_BAD_SUM;
}

/* For a part of a block. */
static __attribute__((noinline)) enum cm_slot_verdict open_part(const struct cm_media *m,
                                                                uint64_t slot,
                                                                const struct cm_header *h,
                                                                const struct cm_part *part)
{
    uint8_t block[CM_BLOCK_SIZE];
    const enum cm_slot_verdict v = open_block(m, slot, h, block);
    if (v == CM_SLOT_HIT && part->len > 0)
        memcpy(part->dst, block + part->from, part->len);
    return v;
}

/* cm_slot_read() of a sealed pool. */
static enum cm_slot_verdict read_sealed(const struct cm_media *m, uint64_t slot,
                                        const struct cm_key *k, uint8_t boot,
                                        const struct cm_part *part, uint32_t *got, uint64_t *w0)
{
    enum cm_slot_verdict v = CM_SLOT_OTHER;
    struct cm_header h;
    *got = 0;
    if (cm_slot_load_header(m, slot, &h))
        return CM_SLOT_UNREADABLE;
    if (cm_format_header_ok(cm_media_key(m), slot, &h) && cm_slot_is(&h, k) &&
        cm_header_boot(&h) == boot)
        v = part->len == CM_BLOCK_SIZE ? open_block(m, slot, &h, part->dst)
                                       : open_part(m, slot, &h, part);
    if (v == CM_SLOT_HIT) {
        const uint32_t valid = cm_header_valid(&h);
        *got = valid <= part->from              ? 0
               : valid - part->from < part->len ? valid - part->from
                                                : part->len;
    }
    if (*got < part->len) /* it may hold what was not proved */
        memset((uint8_t *)part->dst + *got, 0, part->len - *got);
    *w0 = h.w0;
    return v;
}

/* Stores the block, and sets h->xxh3 to its tag. The rest of *h is set. */
static __attribute__((noinline)) int fill_sealed(const struct cm_media *m, uint64_t slot,
                                                 const void *data, struct cm_header *h)
{
    const uint32_t valid = cm_header_valid(h);
    uint8_t block[CM_BLOCK_SIZE];
    memcpy(block, data, valid);
    memset(block + valid, 0, sizeof(block) - valid);
    int e = cm_seal_slot(m, slot, h->incarnation, h->block_valid, block, &h->xxh3);
    if (e == 0)
        e = cm_seal_encrypt(m, slot, h->xxh3, block);
    return e ? e : cm_media_fill(m, cm_slot_payload(m, slot), block);
}

/* ---- Reading --------------------------------------------------------------------------------- */

enum cm_slot_verdict cm_slot_read(const struct cm_media *m, uint64_t slot, const struct cm_key *k,
                                  uint8_t boot, const struct cm_part *part, bool verify,
                                  uint32_t *got, uint64_t *w0)
{
    if (m->seal)
        return read_sealed(m, slot, k, boot, part, got, w0);
    const uint32_t from = part->from, len = part->len;
    uint8_t *const dst = part->dst;
    assert(from + len <= CM_BLOCK_SIZE);
    struct cm_header h;
    int e = 0;
    if (cm_slot_load_header(m, slot, &h))
        return CM_SLOT_UNREADABLE;
    /* The copy comes before any test of the header. It does not depend on the header then, so the
     * cache misses of header and payload run side by side. */
    bool same = copy_while_unchanged(m, slot, h.w0, dst, from, len, &e);
    enum cm_slot_verdict v = CM_SLOT_HIT;
    if (!cm_format_header_ok(cm_media_key(m), slot, &h) || !cm_slot_is(&h, k) ||
        cm_header_boot(&h) != boot)
        v = CM_SLOT_OTHER;
    else if (e)
        v = CM_SLOT_UNREADABLE;
    else if (!same)
        v = CM_SLOT_CHANGED;
    *got = 0;
    if (v == CM_SLOT_HIT) {
        uint32_t valid = cm_header_valid(&h);
        *got = valid <= from ? 0 : valid - from < len ? valid - from : len;
        if (verify)
            v = read_verified(m, slot, &h, from, *got, dst);
    }
    if (v != CM_SLOT_HIT)
        *got = 0;
    /* Bytes copied in vain may be another file's: they must not stay in the caller's buffer. */
    if (*got < len)
        memset(dst + *got, 0, len - *got);
    *w0 = h.w0;
    return v;
}

enum cm_slot_verdict cm_slot_verify(const struct cm_media *m, uint64_t slot,
                                    const struct cm_header *h)
{
    uint64_t sum;
    const struct cm_part none = { 0, 0, NULL };
    if (m->seal)
        return open_part(m, slot, h, &none);
    if (copy_and_sum(m, slot, cm_header_valid(h), 0, 0, NULL, &sum))
        return CM_SLOT_UNREADABLE;
    return sum_ok(m, slot, h, sum) ? CM_SLOT_HIT : CM_SLOT_BAD_SUM;
}

/* Does the slot's header lie directly before that of `low`, or directly behind that of `high`? */
static inline bool is_next(const struct cm_media *m, uint64_t slot, uint64_t low, uint64_t high)
{
    return (slot == high + 1 || slot + 1 == low) &&
           cm_format_in_one(&m->geo, slot == high + 1 ? high : slot, 2);
}

uint32_t cm_slot_flush_some(const struct cm_media *m, const uint64_t *slot, unsigned n)
{
    uint32_t failed = 0;
    for (unsigned i = 0, end; i < n; i = end) {
        uint64_t low = slot[i], high = low;
        for (end = i + 1; end < n && is_next(m, slot[end], low, high); end++) {
            low = slot[end] < low ? slot[end] : low;
            high = slot[end] > high ? slot[end] : high;
        }
        if (cm_media_flush(m, cm_slot_at(m, low),
                           (size_t)(high - low + 1) * sizeof(struct cm_header)) == 0)
            continue;
        for (unsigned j = i; j < end; j++) /* one of them failed: find out which */
            failed |= (uint32_t)(cm_slot_flush(m, slot[j]) != 0) << j;
    }
    return failed;
}

/* Stores a tail, and zeros after it: defined bytes, though never served. */
static int fill_tail(const struct cm_media *m, uint8_t *to, const uint8_t *data, uint32_t valid)
{
    static const uint8_t zeros[CM_BLOCK_SIZE];
    const uint32_t lines = valid / CM_CACHE_LINE * CM_CACHE_LINE;
    uint8_t last[CM_CACHE_LINE] = { 0 };
    memcpy(last, data + lines, valid - lines);
    int e = lines > 0 ? cm_media_copy(m, to, data, lines) : 0;
    if (e == 0)
        e = cm_media_copy(m, to + lines, last, CM_CACHE_LINE);
    if (e == 0 && lines + CM_CACHE_LINE < CM_BLOCK_SIZE)
        e = cm_media_copy(m, to + lines + CM_CACHE_LINE, zeros,
                          CM_BLOCK_SIZE - lines - CM_CACHE_LINE);
    return e;
}

int cm_slot_fill(const struct cm_media *m, uint64_t slot, const struct cm_key *k, const void *data,
                 uint32_t valid, struct cm_header *h)
{
    assert(valid >= 1 && valid <= CM_BLOCK_SIZE && k->block <= CM_BLOCK_MAX);
    struct cm_header *at = cm_slot_at(m, slot);
    int e = cm_guard_load64(&at->w0, &h->w0);
    if (e == 0 && (h->w0 & CM_W0_VALID))
        e = CM_EIO; /* it was invalid: the media or a foreign program made it valid again */
    if (e)
        return e;
    h->incarnation = k->incarnation;
    h->block_valid = k->block << CM_VALID_BITS | valid;
    /* Header and sum are of one epoch: if the pool is emptied from here on, the block is of the old
     * one. The key of a seal's tag is loaded later, and is this one or a newer one. */
    const uint64_t key = cm_media_key(m);
    const uint64_t seq = (h->w0 + 1) & CM_W0_SEQ_MASK;
    const uint64_t life = seq | (uint64_t)m->boot << CM_W0_BOOT_SHIFT;
    if (m->seal) {
        e = fill_sealed(m, slot, data, h);
        h->w0 = cm_format_w0(key, slot, h, (uint32_t)life);
    } else {
        e = valid == CM_BLOCK_SIZE ? cm_media_fill(m, cm_slot_payload(m, slot), data)
                                   : fill_tail(m, cm_slot_payload(m, slot), data, valid);
        /* The sum comes after the copy: the copy's stores drain meanwhile, and the fence waits
         * less. */
        cm_format_header_sums(key, slot, h, (uint32_t)life, data);
    }
    return e ? e : cm_media_write(m, &at->incarnation, &h->incarnation, 24);
}
