/* SPDX-License-Identifier: BSD-2-Clause
 *
 * damage.c - changes a pool as the input says: bytes, words, whole structures; then computes the
 * checks anew, so that the change gets behind them.
 *
 * If no check is to be computed, no value of the input is written as it is. Else a fuzzer that sees
 * what the library compares would find the right sums, and that is forging, too.
 */
#include "world.h"

#include "media/index.h"

struct world_area world_area_of(const struct world *w, enum world_areas which)
{
    const struct cm_geometry *const g = &w->geo;
    const uint64_t records = g->record_buckets * CM_RECORD_WAYS;

    switch (which) {
    case WORLD_SUPERS:
        return (struct world_area){ 0, CM_SUPER_STRIDE, CM_SUPER_COPIES };
    case WORLD_STATS:
        return (struct world_area){ CM_STATS_OFFSET, sizeof(struct cm_stats_head), 1 };
    case WORLD_SHARDS:
        return (struct world_area){ CM_STATS_OFFSET + sizeof(struct cm_stats_head),
                                    sizeof(struct cm_stats_shard), CM_STATS_SHARDS };
    case WORLD_NAMES:
        if (g->name_offset)
            return (struct world_area){ g->name_offset, sizeof(struct cm_name), records };
        /* fallthrough */
    case WORLD_RECORDS:
        return (struct world_area){ g->record_offset, sizeof(struct cm_record), records };
    case WORLD_CELLS:
        return (struct world_area){ g->index_offset, sizeof(uint64_t),
                                    g->stripes * g->stripe_buckets * CM_BUCKET_CELLS };
    case WORLD_HEADERS:
        return (struct world_area){ g->header_offset, sizeof(struct cm_header), g->slots };
    case WORLD_MEMO:
        return (struct world_area){ g->memo_offset, sizeof(struct cm_memo_page), g->memo_pages };
    default:
        return (struct world_area){ g->slot_offset, CM_BLOCK_SIZE, g->slots };
    }
}

/* An item of it; of records, cells and headers one that is in use, if the input says so. */
static uint8_t *item_of(const struct world *w, struct fuzz_input *in, const struct world_area *a)
{
    uint64_t i = take_below(in, a->n);
    const bool used = take_byte(in) & 1;

    for (uint64_t k = 0; used && k < a->n; k++) {
        uint64_t word[2] = { 0, 0 };

        memcpy(word, w->base + a->at + i * a->item, a->item < 16 ? 8 : 16);
        if (word[0] | word[1])
            break;
        i = (i + 1) % a->n;
    }
    return w->base + a->at + i * a->item;
}

static uint64_t value_of(struct fuzz_input *in, bool as_it_is)
{
    const uint8_t kind = take_byte(in);
    uint64_t v;

    switch (kind % 6) {
    case 0:
        v = 0;
        break;
    case 1:
        v = UINT64_MAX;
        break;
    case 2:
        v = UINT64_C(1) << (take_byte(in) & 63);
        break;
    case 3:
        v = (UINT64_C(1) << (take_byte(in) & 63)) - 1;
        break;
    case 4:
        v = take_byte(in);
        break;
    default:
        v = take_number(in, 8);
        return as_it_is ? v : fuzz_mix(v);
    }
    return v;
}

static void change(struct world *w, struct fuzz_input *in, bool as_it_is)
{
    const struct world_area a = world_area_of(w, take_byte(in) % WORLD_AREAS);
    uint8_t *const p = item_of(w, in, &a), *q;
    const uint64_t size = a.item < 512 || a.at >= w->geo.slot_offset ? a.item : 512;
    const uint64_t at = take_below(in, size);
    uint64_t v;

    switch (take_byte(in) % 6) {
    case 0:
        p[at] ^= take_byte(in);
        break;
    case 1: /* a word */
        v = value_of(in, as_it_is);
        memcpy(p + (at & ~UINT64_C(7)), &v, sizeof(v));
        break;
    case 2: /* a half of one */
        v = value_of(in, as_it_is);
        memcpy(p + (at & ~UINT64_C(3)), &v, 4);
        break;
    case 3: /* another one of its kind */
        q = item_of(w, in, &a);
        memmove(p, q, a.item);
        break;
    case 4: /* change places */
        q = item_of(w, in, &a);
        for (uint64_t i = 0; p != q && i < a.item; i++) {
            const uint8_t byte = p[i];

            p[i] = q[i];
            q[i] = byte;
        }
        break;
    default:
        memset(p, at & 1 ? 0xff : 0, a.item);
    }
}

/* A header with lengths and numbers near the bounds of what they may be. */
static void change_header(struct world *w, struct fuzz_input *in)
{
    const struct world_area a = world_area_of(w, WORLD_HEADERS);
    struct cm_header *const h = (struct cm_header *)(void *)item_of(w, in, &a);
    static const uint32_t valid[] = { 0, 1, 4095, 4096, 4097, 8191 };
    const uint8_t what = take_byte(in);

    if (what & 1)
        h->block_valid = (h->block_valid & ~UINT64_C(8191)) | valid[(what >> 4) % 6];
    if (what & 2)
        h->block_valid = (h->block_valid & 8191) | take_byte(in) % WORLD_BLOCKS << CM_VALID_BITS;
    if (what & 4)
        h->incarnation ^= UINT64_C(1) << (take_byte(in) & 63);
    if (what & 8)
        h->w0 ^= UINT64_C(1) << (take_byte(in) & 31);
}

/* A word of both superblocks, behind the magic and the version. */
static void change_supers(struct world *w, struct fuzz_input *in, bool as_it_is)
{
    const uint64_t at = 16 + take_below(in, 37) * 8;
    const uint64_t v = value_of(in, as_it_is);

    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        memcpy(w->base + i * CM_SUPER_STRIDE + at, &v, sizeof(v));
}

/* A word of a record that is in use. */
static void change_record(struct world *w, struct fuzz_input *in, bool as_it_is)
{
    const struct world_area a = world_area_of(w, WORLD_RECORDS);
    uint8_t *const p = item_of(w, in, &a);
    const uint64_t at = take_below(in, a.item / 8) * 8;
    const uint64_t v = value_of(in, as_it_is);

    memcpy(p + at, &v, sizeof(v));
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static struct cm_super *super_at(const struct world *w, unsigned i)
{
    return (struct cm_super *)(void *)(w->base + i * CM_SUPER_STRIDE);
}

/* The words of a record, those that the input chooses. */
static void fix_record(const struct world *w, uint64_t key, uint64_t place, unsigned which)
{
    struct cm_record *const r =
        (struct cm_record *)(void *)(w->base + w->geo.record_offset) + place;
    const struct cm_name *const name =
        (const struct cm_name *)(const void *)(w->base + w->geo.name_offset) + place;
    uint8_t since[CM_REGIONS];

    if (!r->id.hi && !r->id.lo)
        return;
    if (!w->seal || (which & 32)) { /* else its tags stay right, unless it was changed */
        r->xxh3 = cm_format_record_sum(key, place, r);
        r->size_sum = cm_format_size_sum(key, place, r);
    }
    if (which & 1)
        r->state = cm_format_state_word(key, place, r->incarnation, r->state >> 63,
                                        (uint32_t)(r->state >> 32) & 0x7fffffff);
    for (unsigned i = 0; (which & 2) && i < CM_REGIONS / CM_INTENTS; i++)
        r->intents[i] =
            cm_format_intent_word(key, place, r->incarnation, i, (uint32_t)r->intents[i]);
    for (unsigned i = 0; (which & 4) && i < CM_SINCE_WORDS; i++) {
        for (unsigned k = 0; k < CM_REGIONS; k++)
            since[k] = (uint8_t)(r->since[k / CM_SINCES] >> (8 * (k % CM_SINCES)));
        r->since[i] = cm_format_since_word(key, place, r->incarnation, i, since);
    }
    if (which & 8) {
        r->expires =
            cm_format_time_word(key, place, r, (int64_t)(r->expires >> 32) * INT64_C(1000000000));
        r->words[CM_RECORD_USED] =
            cm_format_used_word(key, place, &r->id, (uint32_t)(r->words[CM_RECORD_USED] >> 32),
                                r->words[CM_RECORD_HITS]);
    }
    if (which & 64) {
        const uint64_t word = r->words[CM_RECORD_ATTR];
        const struct cm_record_attr attr = { (word & CM_ATTR_KEEP) != 0, (uint32_t)(word >> 32) };

        r->words[CM_RECORD_ATTR] = cm_format_attr_word(key, place, &r->id, attr);
    }
    if ((which & 16) && w->geo.name_offset)
        r->words[CM_RECORD_NAME] = cm_format_name_sum(key, place, &r->id, name);
}

static void fix_header(const struct world *w, uint64_t key, uint64_t slot, unsigned which)
{
    struct cm_header *const h = (struct cm_header *)(void *)(w->base + w->geo.header_offset) + slot;
    const uint32_t valid = cm_header_valid(h);
    const uint64_t at = w->geo.slot_offset + slot * CM_BLOCK_SIZE;

    if (!h->incarnation && !h->block_valid)
        return;
    if ((which & 1) && at + valid <= w->bytes) /* also of more than a block */
        h->xxh3 = cm_format_payload_sum(key, slot, h->incarnation, cm_header_block(h), w->base + at,
                                        valid);
    h->w0 = cm_format_w0(key, slot, h, (uint32_t)(h->w0 & CM_W0_LIFE_MASK));
}

/* A cell that leads to the slot, as its header is. */
static void fix_cell(const struct world *w, const struct cm_super *sb, uint64_t slot)
{
    struct cm_media m = { .geo = w->geo, .hash_seed = sb->hash_seed };
    const struct cm_header *const h =
        (const struct cm_header *)(const void *)(w->base + w->geo.header_offset) + slot;
    cm_media_lay_out(&m);
    const struct cm_key k =
        cm_key_of(&m, cm_incarnation_number(h->incarnation), cm_header_block(h));
    uint64_t *const cells = (uint64_t *)(void *)(w->base + w->geo.index_offset);

    cells[k.place.bucket[slot & 1] * CM_BUCKET_CELLS + slot % CM_BUCKET_CELLS] =
        cm_cell_make(k.place.tag, cm_header_boot(h), slot);
}

static void fix(struct world *w, struct fuzz_input *in)
{
    const unsigned what = take_byte(in), record = take_byte(in), header = take_byte(in);
    const struct cm_super *sb = super_at(w, 0);
    uint64_t key;

    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        if (what >> i & 1)
            super_at(w, i)->xxh3 = cm_format_super_sum(super_at(w, i));
        if (super_at(w, i)->seq > sb->seq)
            sb = super_at(w, i);
    }
    key = cm_format_check_key(sb->uuid, sb->epoch);
    for (uint64_t i = 0; (what & 4) && i < w->geo.record_buckets * CM_RECORD_WAYS; i++)
        fix_record(w, key, i, record);
    for (uint64_t i = 0; (what & 8) && i < w->geo.slots; i++)
        fix_header(w, key, i, header);
    for (uint64_t i = 0; (what & 16) && i < w->geo.slots; i++)
        fix_cell(w, sb, i);
    for (uint64_t i = 0; (what & 32) && i < w->geo.memo_pages; i++) {
        struct cm_memo_page *const p =
            (struct cm_memo_page *)(void *)(w->base + w->geo.memo_offset) + i;

        p->xxh3 = cm_format_memo_sum(key, p);
    }
}

void world_damage(struct world *w, struct fuzz_input *in, unsigned most)
{
    const uint8_t how = take_byte(in);
    const bool fixes = how & 0x80;

    for (unsigned i = 0; i < how % (most + 1); i++) {
        switch (how >> 5 & 3) {
        case 0:
            change(w, in, fixes);
            break;
        case 1:
            change_supers(w, in, fixes);
            break;
        case 2:
            change_header(w, in);
            break;
        default:
            change_record(w, in, fixes);
        }
    }
    if (!fixes)
        return;
    w->forged = true;
    fix(w, in);
}
