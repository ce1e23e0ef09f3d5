/* SPDX-License-Identifier: BSD-2-Clause
 *
 * format.c - the pool's bytes as pure functions.
 *
 * Owns: how the layout is planned and checked, how every checksum is computed, and where the record
 * of a file may live (of a block: placement.h). Touches no pool and no state; callable from
 * anywhere. All its hashes are XXH3 (xxHash library).
 *
 * Who: api/, protocol/, state/, media/.
 */
#include "media/format.h"

#include <string.h>

#include "media/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the pool format is little-endian and this library does not swap"
#endif

#define LARGE_ALIGN (UINT64_C(2) << 20) /* what a huge DAX mapping needs */
#define LARGE_POOL (UINT64_C(1) << 30)  /* below it 2 MiB of padding would cost too much */
#define DEFAULT_SLOTS_PER_FILE 16u
#define CELLS_PER_SLOT 2u                        /* index load <= 0.5 */
#define KEY_ID_SEED UINT64_C(0x63616368656b6579) /* pools hold the ids: it never changes */

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Chooses the number of stripes for `slots` slots. All stripes have the same number of buckets, as
 * near to CM_STRIPE_BUCKETS as possible. Small pools get one stripe: if a stripe had fewer buckets,
 * one group of neighbours could fill it. */
static void plan_index(uint64_t slots, struct cm_geometry *g)
{
    uint64_t buckets = (slots * CELLS_PER_SLOT + CM_BUCKET_CELLS - 1) / CM_BUCKET_CELLS;
    g->stripes = buckets / CM_STRIPE_BUCKETS;
    if (g->stripes == 0)
        g->stripes = 1;
    g->stripe_buckets = (buckets + g->stripes - 1) / g->stripes;
}

static void plan_memo(struct cm_geometry *g)
{
    uint64_t ring = (g->slots + CM_MEMO_SLOTS - 1) / CM_MEMO_SLOTS;
    uint64_t buckets = cm_ghost_buckets(g->slots);
    uint64_t all = ring + (buckets + CM_MEMO_BUCKETS - 1) / CM_MEMO_BUCKETS;
    g->memo_pages = all < CM_MEMO_PAGES_MAX ? all : CM_MEMO_PAGES_MAX;
    g->memo_ring_pages = ring < g->memo_pages ? ring : g->memo_pages;
}

/* Fills in the offsets that follow from the counts; returns the end of the last slot. */
static uint64_t lay_out(struct cm_geometry *g)
{
    g->record_offset = round_up(CM_STATS_OFFSET + CM_STATS_BYTES, CM_BLOCK_SIZE);
    const uint64_t records = g->record_buckets * CM_RECORD_WAYS;
    uint64_t end = g->record_offset + records * sizeof(struct cm_record);
    g->name_offset = 0;
    if (g->incompat & CM_INCOMPAT_NAMES) {
        g->name_offset = round_up(end, CM_BLOCK_SIZE);
        end = g->name_offset + records * sizeof(struct cm_name);
    }
    g->index_offset = round_up(end, CM_BLOCK_SIZE);
    uint64_t cells = g->stripes * g->stripe_buckets * sizeof(struct cm_bucket);
    g->header_offset = round_up(g->index_offset + cells, CM_BLOCK_SIZE);
    uint64_t headers = g->slots * sizeof(struct cm_header);
    g->memo_offset = round_up(g->header_offset + headers, CM_BLOCK_SIZE);
    plan_memo(g);
    g->slot_offset = round_up(g->memo_offset + g->memo_pages * CM_BLOCK_SIZE, g->data_align);
    g->plain = g->slots;
    return g->slot_offset + g->slots * CM_BLOCK_SIZE;
}

static void plan_slots(struct cm_geometry *g, uint64_t slots, uint64_t max_files)
{
    uint64_t files = max_files ? max_files : slots / DEFAULT_SLOTS_PER_FILE;
    g->slots = slots;
    /* With so many files the table is full to 8/9. Then one file in 20 000 finds both its buckets
     * full (test_record measures it). The unused records take little space. */
    uint64_t records = (files + 7) / 8 * 9;
    g->record_buckets = (records + CM_RECORD_WAYS - 1) / CM_RECORD_WAYS;
    if (g->record_buckets < CM_RECORD_CHOICES)
        g->record_buckets = CM_RECORD_CHOICES;
    plan_index(slots, g);
}

int cm_format_plan(uint64_t size, uint64_t max_files, uint64_t incompat, struct cm_geometry *g)
{
    if (size % CM_BLOCK_SIZE || size > CM_POOL_SIZE_MAX || size < cm_format_size_min(incompat))
        return CM_EPOOLSIZE;
    memset(g, 0, sizeof(*g));
    for (unsigned i = 0; i < CM_PARTS; i++)
        g->part[i].first = UINT64_MAX;
    g->pool_size = size;
    g->incompat = incompat;
    g->data_align = size >= LARGE_POOL ? LARGE_ALIGN : CM_BLOCK_SIZE;
    if (max_files > size / CM_BLOCK_SIZE)
        return CM_EINVAL;
    uint64_t low = CM_SLOTS_MIN, high = size / CM_BLOCK_SIZE;
    plan_slots(g, low, max_files);
    if (lay_out(g) > size)
        return CM_EINVAL; /* room for the smallest pool, but not with so many files */
    while (low < high) {  /* the most slots that fit; lay_out grows with slots */
        uint64_t mid = low + (high - low + 1) / 2;
        plan_slots(g, mid, max_files);
        if (lay_out(g) <= size)
            low = mid;
        else
            high = mid - 1;
    }
    plan_slots(g, low, max_files);
    uint64_t end = lay_out(g);
    assert(end <= size && g->slots >= CM_SLOTS_MIN);
    (void)end;
    return 0;
}

uint64_t cm_format_size_min(uint64_t incompat)
{
    struct cm_geometry g = { .data_align = CM_BLOCK_SIZE, .incompat = incompat };
    plan_slots(&g, CM_SLOTS_MIN, 0);
    return lay_out(&g);
}

/* ---- Parts ----------------------------------------------------------------------------------- */

#define STRIPE_BUCKETS_MAX (UINT64_C(1) << 16)

/* Adds a part with `slots` slots to a pool that has g->parts of them: its tables lie from the
 * pool's end on, then its slots. The stripes stay as they are, and get more buckets. Returns how
 * many bytes the tables need. */
static uint64_t lay_out_part(struct cm_geometry *g, uint64_t slots)
{
    const uint64_t start = g->pool_size, all = g->slots + slots;
    const uint64_t buckets = (all * CELLS_PER_SLOT + CM_BUCKET_CELLS - 1) / CM_BUCKET_CELLS;
    const uint64_t each = (buckets + g->stripes - 1) / g->stripes;
    struct cm_pool_part *const p = &g->part[g->parts++];
    g->stripe_buckets = each > g->stripe_buckets ? each : g->stripe_buckets;
    g->index_first = (start - g->index_offset) / sizeof(struct cm_bucket);
    uint64_t end = start + g->stripes * g->stripe_buckets * sizeof(struct cm_bucket);
    const uint64_t headers = round_up(end, CM_BLOCK_SIZE);
    p->first = g->slots;
    p->start = start;
    p->header_offset = headers - p->first * sizeof(struct cm_header);
    end = headers + slots * sizeof(struct cm_header);
    g->slots = all;
    g->memo_offset = round_up(end, CM_BLOCK_SIZE);
    plan_memo(g);
    end = g->memo_offset + g->memo_pages * CM_BLOCK_SIZE;
    return round_up(end, g->data_align) - start;
}

/* Where the slots of the part begin, and where it ends. */
static void end_part(struct cm_geometry *g, uint64_t tables, uint64_t end)
{
    struct cm_pool_part *const p = &g->part[g->parts - 1];
    p->slot_offset = g->pool_size + tables - p->first * CM_BLOCK_SIZE;
    g->pool_size = end;
}

int cm_format_grow(const struct cm_geometry *g, uint64_t size, struct cm_geometry *to,
                   uint64_t *word)
{
    *word = 0;
    if (g->parts == CM_PARTS)
        return CM_ENOTSUP;
    if (size % CM_BLOCK_SIZE || size > CM_POOL_SIZE_MAX || size <= g->pool_size)
        return CM_EPOOLSIZE;
    const uint64_t more = size - g->pool_size;
    uint64_t low = 0, high = more / CM_BLOCK_SIZE;
    while (low < high) { /* the most slots that fit */
        const uint64_t mid = low + (high - low + 1) / 2;
        *to = *g;
        if (lay_out_part(to, mid) + mid * CM_BLOCK_SIZE <= more)
            low = mid;
        else
            high = mid - 1;
    }
    *to = *g;
    /* What is left of the last pages becomes a part of the tables: the slots reach to the end. */
    (void)lay_out_part(to, low);
    const uint64_t tables = more - low * CM_BLOCK_SIZE;
    if (low < CM_SLOTS_MIN || to->stripe_buckets > STRIPE_BUCKETS_MAX)
        return CM_EPOOLSIZE;
    end_part(to, tables, size);
    to->incompat |= CM_INCOMPAT_GROWN;
    *word = size / CM_BLOCK_SIZE << CM_PART_TABLE_BITS | tables / CM_BLOCK_SIZE;
    return 0;
}

uint64_t cm_format_grow_least(const struct cm_geometry *g)
{
    struct cm_geometry to = *g;
    uint64_t word;
    if (g->parts == CM_PARTS)
        return 0;
    const uint64_t tables = lay_out_part(&to, CM_SLOTS_MIN);
    const uint64_t size = g->pool_size + tables + CM_SLOTS_MIN * CM_BLOCK_SIZE;
    return cm_format_grow(g, size, &to, &word) == 0 ? size : 0;
}

/* Adds the part that a word of a superblock describes. */
static int add_part(struct cm_geometry *g, uint64_t word)
{
    const uint64_t end = cm_part_end(word), tables = cm_part_tables(word);
    if (end > CM_POOL_SIZE_MAX || end <= g->pool_size || tables > end - g->pool_size)
        return CM_EDAMAGED;
    const uint64_t slots = (end - g->pool_size - tables) / CM_BLOCK_SIZE;
    if (slots < CM_SLOTS_MIN || lay_out_part(g, slots) > tables ||
        g->stripe_buckets > STRIPE_BUCKETS_MAX)
        return CM_EDAMAGED;
    end_part(g, tables, end);
    return 0;
}

static int add_parts(const struct cm_super *sb, struct cm_geometry *g)
{
    int e = 0;
    bool last = false;
    if (!(sb->incompat & CM_INCOMPAT_GROWN)) {
        for (unsigned i = 0; i < CM_PARTS; i++)
            last |= sb->part[i] != 0;
        return last || sb->growing != 0 ? CM_EDAMAGED : 0;
    }
    for (unsigned i = 0; i < CM_PARTS && e == 0; i++) {
        if (sb->part[i] == 0)
            last = true;
        else
            e = last ? CM_EDAMAGED : add_part(g, sb->part[i]);
    }
    if (e == 0 && sb->growing != 0 &&
        (sb->growing <= g->pool_size || sb->growing % CM_BLOCK_SIZE != 0 ||
         sb->growing > CM_POOL_SIZE_MAX))
        e = CM_EDAMAGED;
    return e;
}

static const struct cm_pool_part *part_of(const struct cm_geometry *g, uint64_t slot)
{
    unsigned i = CM_PARTS - 1;
    /* Acquire: pairs with the release in cm_media_add_part(). */
    while (i > 0 && slot < at_load_acquire(&g->part[i].first))
        i--;
    return &g->part[i];
}

uint64_t cm_format_part_header(const struct cm_geometry *g, uint64_t slot)
{
    return part_of(g, slot)->header_offset + slot * sizeof(struct cm_header);
}

uint64_t cm_format_part_payload(const struct cm_geometry *g, uint64_t slot)
{
    return part_of(g, slot)->slot_offset + slot * CM_BLOCK_SIZE;
}

uint64_t cm_format_tables(const struct cm_geometry *g, unsigned number, uint64_t *end)
{
    const struct cm_pool_part *const p = &g->part[number];
    assert(number < g->parts);
    *end = p->slot_offset + p->first * CM_BLOCK_SIZE;
    return p->start;
}

int cm_format_geometry(const struct cm_super *sb, struct cm_geometry *g)
{
    const uint64_t limit = CM_POOL_SIZE_MAX / CM_BLOCK_SIZE;
    /* Bounds first, so that no product below can overflow. */
    if (sb->pool_size > CM_POOL_SIZE_MAX || sb->pool_size % CM_BLOCK_SIZE ||
        sb->slots < CM_SLOTS_MIN || sb->slots > limit || sb->record_buckets == 0 ||
        sb->record_buckets > limit || sb->stripes == 0 || sb->stripes > limit ||
        sb->stripe_buckets < 2 || sb->stripe_buckets > 2 * CM_STRIPE_BUCKETS ||
        (sb->data_align != CM_BLOCK_SIZE && sb->data_align != LARGE_ALIGN) ||
        sb->inc_mark > CM_INCARNATION_MARK_MAX)
        return CM_EDAMAGED;
    memset(g, 0, sizeof(*g));
    g->pool_size = sb->pool_size;
    g->slots = sb->slots;
    g->record_buckets = sb->record_buckets;
    g->stripes = sb->stripes;
    g->stripe_buckets = sb->stripe_buckets;
    g->data_align = sb->data_align;
    g->incompat = sb->incompat;
    for (unsigned i = 0; i < CM_PARTS; i++)
        g->part[i].first = UINT64_MAX;
    if (lay_out(g) > sb->pool_size ||
        (sb->incompat & (CM_INCOMPAT_SEALED | CM_INCOMPAT_ENCRYPTED)) == CM_INCOMPAT_ENCRYPTED)
        return CM_EDAMAGED;
    return add_parts(sb, g);
}

uint64_t cm_format_size(const struct cm_super *sb)
{
    uint64_t size = sb->pool_size;
    for (unsigned i = 0; i < CM_PARTS && (sb->incompat & CM_INCOMPAT_GROWN); i++)
        if (sb->part[i] != 0)
            size = cm_part_end(sb->part[i]);
    return size;
}

int cm_format_size_is(const struct cm_super *sb, uint64_t size, uint64_t bytes)
{
    if (bytes < size)
        return CM_ETRUNCATED;
    /* A growth that began and did not end leaves more, or a part of it. */
    const bool grows = (sb->incompat & CM_INCOMPAT_GROWN) && bytes <= sb->growing;
    return bytes > size && !grows ? CM_EOVERSIZE : 0;
}

uint64_t cm_format_super_sum(const struct cm_super *sb)
{
    return XXH3_64bits(sb, offsetof(struct cm_super, xxh3));
}

int cm_format_super_check(const struct cm_super *sb)
{
    if (memcmp(sb->magic, "CACHEMAX", 8) != 0)
        return CM_ENOTPOOL;
    /* These three are judged before the checksum: a newer format may sum differently. */
    if (sb->byte_order == 0x04030201u)
        return CM_EBYTEORDER;
    if (sb->byte_order == CM_BYTE_ORDER_MARK && sb->version != CM_FORMAT_VERSION)
        return CM_EVERSION;
    if (sb->byte_order == CM_BYTE_ORDER_MARK && (sb->incompat & ~CM_INCOMPAT_KNOWN))
        return CM_EINCOMPAT;
    if (sb->byte_order != CM_BYTE_ORDER_MARK || sb->xxh3 != cm_format_super_sum(sb) ||
        (sb->state != CM_SUPER_CLEAN && sb->state != CM_SUPER_OPEN))
        return CM_EDAMAGED;
    return 0;
}

uint64_t cm_format_check_key(const uint8_t uuid[16], uint64_t epoch)
{
    return XXH3_64bits_withSeed(uuid, 16, epoch);
}

uint16_t cm_format_boot_sum(const uint8_t boot_id[16])
{
    static const uint8_t unknown[16];
    const uint16_t sum = (uint16_t)XXH3_64bits(boot_id, 16);
    if (memcmp(boot_id, unknown, sizeof(unknown)) == 0)
        return CM_BOOT_UNKNOWN;
    return sum == 0 ? 1 : sum == CM_BOOT_UNKNOWN ? CM_BOOT_UNKNOWN - 1 : sum;
}

uint64_t cm_format_w0(uint64_t key, uint64_t slot, const struct cm_header *h, uint32_t life)
{
    const uint64_t w[5] = { slot, life | CM_W0_VALID, h->incarnation, h->block_valid, h->xxh3 };
    uint64_t check = XXH3_64bits_withSeed(w, sizeof(w), key) << 32;
    return check | CM_W0_VALID | life;
}

bool cm_format_header_ok(uint64_t key, uint64_t slot, const struct cm_header *h)
{
    uint32_t valid = cm_header_valid(h);
    if (!(h->w0 & CM_W0_VALID) || valid == 0 || valid > CM_BLOCK_SIZE)
        return false;
    return h->w0 == cm_format_w0(key, slot, h, (uint32_t)(h->w0 & CM_W0_LIFE_MASK));
}

uint64_t cm_format_payload_sum(uint64_t key, uint64_t slot, uint64_t incarnation, uint64_t block,
                               const void *data, size_t valid)
{
    /* These words are not the seed of the long sum: XXH3 would first make 192 bytes from the seed,
     * which takes as long as half a block. */
    return cm_format_payload_bind(key, slot, incarnation, block, cm_checksum(data, valid));
}

uint64_t cm_format_payload_bind(uint64_t key, uint64_t slot, uint64_t incarnation, uint64_t block,
                                uint64_t sum)
{
    const uint64_t w[4] = { sum, slot, incarnation, block };
    return XXH3_64bits_withSeed(w, sizeof(w), key);
}

void cm_format_header_sums(uint64_t key, uint64_t slot, struct cm_header *h, uint32_t life,
                           const void *data)
{
    h->xxh3 = cm_format_payload_sum(key, slot, h->incarnation, cm_header_block(h), data,
                                    cm_header_valid(h));
    h->w0 = cm_format_w0(key, slot, h, life);
}

uint64_t cm_format_record_sum(uint64_t key, uint64_t place, const struct cm_record *r)
{
    return XXH3_64bits_withSeed(r, offsetof(struct cm_record, xxh3), key ^ (place + 1));
}

uint64_t cm_format_size_sum(uint64_t key, uint64_t place, const struct cm_record *r)
{
    const uint64_t w[3] = { r->size, place, r->xxh3 };
    return XXH3_64bits_withSeed(w, sizeof(w), key);
}

/* The check of a word of a record: a hash of what it says, and where. `kind` differs between words
 * that must not stand for one another. */
enum word_kind { STATE_WORD, INTENT_WORD, SINCE_WORD = INTENT_WORD + CM_REGIONS / CM_INTENTS };
static uint64_t word_check(uint64_t key, uint64_t place, uint64_t incarnation, unsigned kind,
                           uint64_t body)
{
    const uint64_t w[4] = { body, place, incarnation, kind };
    return XXH3_64bits_withSeed(w, sizeof(w), key);
}

uint64_t cm_format_state_word(uint64_t key, uint64_t place, uint64_t incarnation, bool dirty,
                              uint32_t boot_number)
{
    const uint64_t body =
        (dirty ? CM_STATE_DIRTY : 0) | ((uint64_t)(boot_number & 0x7fffffff) << 32);
    return body | (uint32_t)word_check(key, place, incarnation, STATE_WORD, body);
}

bool cm_format_state_read(uint64_t key, uint64_t place, const struct cm_record *r, bool *dirty,
                          uint32_t *boot_number)
{
    *dirty = (r->state & CM_STATE_DIRTY) != 0;
    *boot_number = (uint32_t)(r->state >> 32) & 0x7fffffff;
    return r->state == cm_format_state_word(key, place, r->incarnation, *dirty, *boot_number);
}

uint64_t cm_format_intent_word(uint64_t key, uint64_t place, uint64_t incarnation, unsigned number,
                               uint32_t intents)
{
    return intents | word_check(key, place, incarnation, INTENT_WORD + number, intents) << 32;
}

uint64_t cm_format_intents(uint64_t key, uint64_t place, const struct cm_record *r)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < CM_REGIONS / CM_INTENTS; i++) {
        const uint32_t intents = (uint32_t)r->intents[i];
        const bool right =
            r->intents[i] == cm_format_intent_word(key, place, r->incarnation, i, intents);
        all |= (uint64_t)(right ? intents : UINT32_MAX) << i * CM_INTENTS;
    }
    return all;
}

uint64_t cm_format_since_word(uint64_t key, uint64_t place, uint64_t incarnation, unsigned number,
                              const uint8_t since[CM_REGIONS])
{
    uint64_t body = 0;
    for (unsigned i = 0; i < CM_SINCES && number * CM_SINCES + i < CM_REGIONS; i++)
        body |= (uint64_t)since[number * CM_SINCES + i] << 8 * i;
    return body | word_check(key, place, incarnation, SINCE_WORD + number, body) << 48;
}

uint64_t cm_format_since(uint64_t key, uint64_t place, const struct cm_record *r,
                         uint8_t since[CM_REGIONS])
{
    uint64_t unknown = 0;
    for (unsigned i = 0; i < CM_REGIONS; i++)
        since[i] = (uint8_t)(r->since[i / CM_SINCES] >> i % CM_SINCES * 8);
    for (unsigned i = 0; i < CM_SINCE_WORDS; i++)
        if (r->since[i] != cm_format_since_word(key, place, r->incarnation, i, since))
            unknown |= ((UINT64_C(1) << CM_SINCES) - 1) << i * CM_SINCES;
    return unknown;
}

#define SECOND INT64_C(1000000000)

uint64_t cm_format_time_word(uint64_t key, uint64_t place, const struct cm_record *r,
                             int64_t wall_ns)
{
    const int64_t s = wall_ns / SECOND;
    const uint64_t body = (s < 0 ? 0 : s > UINT32_MAX ? UINT32_MAX : (uint64_t)s) << 32;
    const uint64_t w[3] = { body, place, r->incarnation };
    return wall_ns == 0 ? 0 : body | (uint32_t)XXH3_64bits_withSeed(w, sizeof(w), key);
}

int64_t cm_format_time_read(uint64_t key, uint64_t place, const struct cm_record *r, uint64_t word)
{
    const int64_t wall_ns = (int64_t)(word >> 32) * SECOND;
    return word == cm_format_time_word(key, place, r, wall_ns) ? wall_ns : 0;
}

uint64_t cm_format_used_word(uint64_t key, uint64_t place, const cm_file_id *id, uint32_t seconds,
                             uint64_t hits)
{
    const uint64_t w[5] = { seconds, hits, place, id->hi, id->lo };
    return (uint64_t)seconds << 32 | (uint32_t)XXH3_64bits_withSeed(w, sizeof(w), key);
}

uint64_t cm_format_attr_word(uint64_t key, uint64_t place, const cm_file_id *id,
                             struct cm_record_attr attr)
{
    const uint64_t body = (uint64_t)attr.group << 32 | (attr.keep ? CM_ATTR_KEEP : 0);
    const uint64_t w[4] = { body, place, id->hi, id->lo };
    return body == 0 ? 0 : body | (XXH3_64bits_withSeed(w, sizeof(w), key) & (CM_ATTR_KEEP - 1));
}

struct cm_record_attr cm_format_attr(uint64_t key, uint64_t place, const cm_file_id *id,
                                     uint64_t word)
{
    const struct cm_record_attr none = { .keep = false };
    const struct cm_record_attr attr = { (word & CM_ATTR_KEEP) != 0, (uint32_t)(word >> 32) };
    return word == cm_format_attr_word(key, place, id, attr) ? attr : none;
}

uint64_t cm_format_name_sum(uint64_t key, uint64_t place, const cm_file_id *id,
                            const struct cm_name *name)
{
    /* In two steps: as in cm_format_payload_sum. */
    const uint64_t w[4] = { XXH3_64bits(name, sizeof(*name)), place, id->hi, id->lo };
    return XXH3_64bits_withSeed(w, sizeof(w), key);
}

void cm_format_proof(uint8_t proof[CM_PROOF_BYTES], const void *bytes, size_t len)
{
    const size_t last = CM_PROOF_BYTES - 1;
    memset(proof, 0, CM_PROOF_BYTES);
    if (len <= last) {
        if (len > 0)
            memcpy(proof, bytes, len);
        proof[last] = (uint8_t)len;
        return;
    }
    XXH128_canonical_t hash; /* the same bytes on every machine */
    XXH128_canonicalFromHash(&hash, XXH3_128bits(bytes, len));
    memcpy(proof, hash.digest, sizeof(hash.digest));
    proof[last] = CM_PROOF_BYTES; /* more than any number of bytes that are stored as they are */
}

void cm_format_key_id(cm_file_id *id, const void *key, size_t len)
{
    const XXH128_hash_t hash = XXH3_128bits_withSeed(len > 0 ? key : "", len, KEY_ID_SEED);
    id->hi = hash.high64;
    id->lo = hash.low64 | (uint64_t)((hash.high64 | hash.low64) == 0); /* zero is no id */
}

size_t cm_format_proof_length(const uint8_t proof[CM_PROOF_BYTES])
{
    const size_t len = proof[CM_PROOF_BYTES - 1];
    return len < CM_PROOF_BYTES ? len : 0;
}

uint64_t cm_format_memo_sum(uint64_t key, const struct cm_memo_page *p)
{
    const size_t from = offsetof(struct cm_memo_page, generation);
    return XXH3_64bits_withSeed((const uint8_t *)p + from, sizeof(*p) - from, key);
}

void cm_format_record_buckets(const struct cm_geometry *g, uint64_t seed, const cm_file_id *id,
                              uint64_t bucket[CM_RECORD_CHOICES])
{
    uint64_t h = XXH3_64bits_withSeed(id, sizeof(*id), seed), n = g->record_buckets;
    bucket[0] = cm_format_reduce((uint32_t)h, n);
    bucket[1] = n == 1 ? 0 : (bucket[0] + 1 + cm_format_reduce((uint32_t)(h >> 32), n - 1)) % n;
}
