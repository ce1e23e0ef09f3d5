/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_table.c - the file table.
 *
 * Owns: the 256-byte records. The body of a record is written in place. It is whole iff its
 * checksum is right. The checksum is seeded by the pool's check key and by the record's own place.
 * A torn body is no record: the file's blocks are lost, and nothing else. The words after the body
 * are outside the checksum, because each must change alone: a crash that tears a new size, or a
 * dirty mark, must not cost the file its blocks, and a file that is kept, or gets a group, loses
 * nothing by that. A file has two buckets of 16 places for its record. Attach looks at all of them
 * and assumes nothing about which one has the record.
 *
 * Who: api/, protocol/, state/.
 */
#include "media/file_table.h"

#include <string.h>

#include "media/seal.h"

#define SAMPLE_RECORDS 8192u /* 2 MiB: a larger pool takes no longer to look at */
#define SAMPLE_RUN 64u       /* buckets: 128 KiB, what Linux reads ahead */

/* The size and its sum. */
#define SIZE_BYTES (2 * sizeof(uint64_t))
static_assert(offsetof(struct cm_record, size_sum) == offsetof(struct cm_record, size) + 8, "pair");

static struct cm_record *record_at(const struct cm_media *m, uint64_t place)
{
    assert(place < m->geo.record_buckets * CM_RECORD_WAYS);
    uint8_t *p = m->base + m->geo.record_offset + place * sizeof(struct cm_record);
    return (struct cm_record *)(void *)p;
}

int cm_record_sum(const struct cm_media *m, uint64_t key, uint64_t place, const struct cm_record *r,
                  uint64_t *sum)
{
    if (cm_seal_known(m))
        return cm_seal_record(m, key, place, r, sum);
    /* Who looks at a sealed pool without its key serves nothing, and believes what is there. */
    *sum = m->seal ? r->xxh3 : cm_format_record_sum(key, place, r);
    return 0;
}

/* The same beside the size. */
static int size_sum(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                    uint64_t *sum)
{
    if (cm_seal_known(m))
        return cm_seal_size(m, cm_media_key(m), place, r, sum);
    *sum = m->seal ? r->size_sum : cm_format_size_sum(cm_media_key(m), place, r);
    return 0;
}

int cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole)
{
    uint64_t sum;
    *whole = false;
    int e = cm_guard_copy(r, record_at(m, place), sizeof(*r));
    if (e == 0 && (r->id.hi | r->id.lo) != 0) {
        const int failed = cm_record_sum(m, cm_media_key(m), place, r, &sum);
        *whole = !failed && r->xxh3 == sum;
        return failed;
    }
    if (e)
        memset(r, 0, sizeof(*r)); /* nothing is known of it */
    return e;
}

void cm_record_load(const struct cm_media *m, const cm_file_id *id, struct cm_record_set *s)
{
    uint64_t bucket[CM_RECORD_CHOICES];
    cm_format_record_buckets(&m->geo, m->hash_seed, id, bucket);
    s->n = bucket[0] == bucket[1] ? CM_RECORD_WAYS : CM_RECORD_PLACES;
    for (unsigned i = 0; i < CM_RECORD_CHOICES; i++)
        s->first[i] = bucket[i] * CM_RECORD_WAYS;
    s->any_unproved = s->any_unreadable = false;
    for (unsigned i = 0; i < s->n; i++) {
        const int e = cm_record_at(m, cm_record_place(s, i), &s->record[i], &s->whole[i]);
        s->unproved[i] = e == CM_ESEAL;
        s->any_unproved |= s->unproved[i];
        s->unreadable[i] = e != 0 && !s->unproved[i];
        s->any_unreadable |= s->unreadable[i];
    }
}

uint64_t cm_record_estimate(const struct cm_media *m)
{
    const uint64_t all = m->geo.record_buckets, most = SAMPLE_RECORDS / CM_RECORD_WAYS;
    const uint64_t n = all < most ? all : most, runs = n / SAMPLE_RUN;
    struct cm_record r;
    uint64_t used = 0;
    for (uint64_t i = 0; i < n * CM_RECORD_WAYS; i++) {
        /* Runs of neighbours: the system reads more than a page anyway. Files lie in the table by
         * chance, so these tell as much as others. The product is small enough for 64 bits. */
        const uint64_t k = i / CM_RECORD_WAYS;
        const uint64_t bucket = all == n ? k : k / SAMPLE_RUN * all / runs + k % SAMPLE_RUN;
        bool whole;
        (void)cm_record_at(m, bucket * CM_RECORD_WAYS + i % CM_RECORD_WAYS, &r, &whole);
        used += whole;
    }
    return all == n ? used : (uint64_t)((double)used * (double)all / (double)n);
}

void cm_record_regions(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                       struct cm_record_regions *g)
{
    const uint64_t key = cm_media_key(m);
    g->intents = cm_format_intents(key, place, r);
    g->unknown = cm_format_since(key, place, r, g->since);
    g->known = cm_format_state_read(key, place, r, &g->dirty, &g->boot);
    if (g->known)
        return;
    g->dirty = true;
    g->boot = UINT32_MAX;
}

int cm_record_write_intents(const struct cm_media *m, uint64_t place, uint64_t incarnation,
                            uint64_t intents)
{
    struct cm_record *at = record_at(m, place);
    int e = 0;
    for (unsigned half = 0; half < CM_REGIONS / CM_INTENTS && e == 0; half++) {
        const uint32_t some = (uint32_t)(intents >> half * CM_INTENTS);
        e = cm_media_store64(
            m, &at->intents[half],
            cm_format_intent_word(cm_media_key(m), place, incarnation, half, some));
    }
    return e;
}

int cm_record_settle_intents(const struct cm_media *m, uint64_t place)
{
    struct cm_record *at = record_at(m, place);
    int e = cm_media_flush(m, at->intents, sizeof(at->intents));
    cm_media_fence(m); /* an intent is durable before the caller writes the origin */
    return e;
}

int cm_record_write_state(const struct cm_media *m, uint64_t place, uint64_t incarnation,
                          const struct cm_record_regions *g)
{
    const uint64_t key = cm_media_key(m);
    return cm_media_store64(m, &record_at(m, place)->state,
                            cm_format_state_word(key, place, incarnation, g->dirty, g->boot));
}

int cm_record_write_since(const struct cm_media *m, uint64_t place, uint64_t incarnation,
                          const struct cm_record_regions *g)
{
    const uint64_t key = cm_media_key(m);
    struct cm_record *at = record_at(m, place);
    int e = 0;
    for (unsigned i = 0; i < CM_SINCE_WORDS && e == 0; i++)
        e = cm_media_store64(m, &at->since[i],
                             cm_format_since_word(key, place, incarnation, i, g->since));
    return e;
}

struct cm_record_attr cm_record_attr(const struct cm_media *m, uint64_t place,
                                     const struct cm_record *r)
{
    const struct cm_record_attr none = { .keep = false };
    return r ? cm_format_attr(cm_media_key(m), place, &r->id, r->words[CM_RECORD_ATTR]) : none;
}

int cm_record_write_attr(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                         struct cm_record_attr attr)
{
    uint64_t *at = &record_at(m, place)->words[CM_RECORD_ATTR];
    int e = cm_media_store64(m, at, cm_format_attr_word(cm_media_key(m), place, id, attr));
    if (e == 0)
        e = cm_media_flush(m, at, sizeof(*at));
    cm_media_fence(m); /* before the caller is told, and before a body for which it is new */
    return e;
}

/* Mostly the word says this already. Of another file it counts for nobody, and that file may still
 * need it: a crash may bring its body back. */
static int change_attr(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                       struct cm_record_attr attr)
{
    uint64_t word;
    if (cm_guard_load64(&record_at(m, place)->words[CM_RECORD_ATTR], &word) == 0) {
        const struct cm_record_attr was = cm_format_attr(cm_media_key(m), place, id, word);
        if (was.keep == attr.keep && was.group == attr.group)
            return 0;
    }
    return cm_record_write_attr(m, place, id, attr);
}

int cm_record_write(const struct cm_media *m, uint64_t place, struct cm_record *r,
                    struct cm_record_attr attr, const struct cm_record_regions *g)
{
    struct cm_record *at = record_at(m, place);
    int e = cm_record_sum(m, cm_media_key(m), place, r, &r->xxh3);
    if (e == 0)
        e = size_sum(m, place, r, &r->size_sum);
    /* Before the body: a file that was forgotten must not come back with what it had. */
    if (e == 0)
        e = change_attr(m, place, &r->id, attr);
    /* In any order: what is said of regions counts for the incarnation that it names. */
    if (e == 0 && g)
        e = cm_record_write_since(m, place, r->incarnation, g);
    if (e == 0 && g)
        e = cm_record_write_state(m, place, r->incarnation, g);
    if (e == 0 && g)
        e = cm_record_write_intents(m, place, r->incarnation, g->intents);
    if (e == 0)
        e = cm_media_write(m, at, r, CM_RECORD_BODY_BYTES);
    if (e == 0)
        e = cm_media_write(m, &at->size, &r->size, SIZE_BYTES);
    if (e == 0)
        e = cm_media_flush(m, at, g ? sizeof(*at) : CM_RECORD_BODY_BYTES);
    if (e == 0 && !g)
        e = cm_media_flush(m, &at->size, SIZE_BYTES);
    /* The incarnation is used only after this: a crash must not bring the old one back. */
    cm_media_fence(m);
    return e;
}

int cm_record_write_size(const struct cm_media *m, uint64_t place, struct cm_record *r)
{
    struct cm_record *at = record_at(m, place);
    const bool sealed = size_sum(m, place, r, &r->size_sum) == 0;
    if (!sealed) { /* a tag that is wrong for every size */
        r->size = CM_SIZE_UNKNOWN;
        r->size_sum = 0;
    }
    int e = cm_media_write(m, &at->size, &r->size, SIZE_BYTES);
    if (e || (sealed && r->size == CM_SIZE_UNKNOWN))
        return e;
    e = cm_media_flush(m, &at->size, SIZE_BYTES);
    cm_media_fence(m); /* a later session knows it, as it knows the block of its fill */
    return e;
}

int cm_record_load_size(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                        uint64_t *size)
{
    uint64_t sum;
    const int e = size_sum(m, place, r, &sum);
    *size = e == 0 && r->size_sum == sum ? r->size : CM_SIZE_UNKNOWN;
    return e;
}

uint64_t cm_record_size(const struct cm_media *m, uint64_t place, const struct cm_record *r)
{
    uint64_t size;
    (void)cm_record_load_size(m, place, r, &size);
    return size;
}

int cm_record_settle(const struct cm_media *m, uint64_t place)
{
    int e = cm_media_flush(m, record_at(m, place), sizeof(struct cm_record));
    /* Before the record is used: a power cut must not bring back an older incarnation. */
    cm_media_fence(m);
    return e;
}

int cm_record_write_expiry(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                           int64_t wall_ns)
{
    struct cm_record *at = record_at(m, place);
    const uint64_t word = cm_format_time_word(cm_media_key(m), place, r, wall_ns);
    int e = cm_media_store64(m, &at->expires, word);
    if (e == 0)
        e = cm_media_flush(m, &at->expires, sizeof(at->expires));
    cm_media_fence(m); /* before the caller relies on it: a later session must know the end, too */
    return e;
}

int64_t cm_record_expiry(const struct cm_media *m, uint64_t place, const struct cm_record *r)
{
    return cm_format_time_read(cm_media_key(m), place, r, r->expires);
}

bool cm_record_is_unused(const struct cm_record_set *s, unsigned i)
{
    static const uint8_t zero[CM_RECORD_BODY_BYTES];
    return !s->unreadable[i] && memcmp(&s->record[i], zero, sizeof(zero)) == 0;
}

void cm_record_settle_set(const struct cm_media *m, const struct cm_record_set *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (!cm_record_is_unused(s, i))
            (void)cm_media_flush(m, record_at(m, cm_record_place(s, i)), sizeof(struct cm_record));
    cm_media_fence(m); /* as in cm_record_settle */
}

bool cm_record_is_hole(const struct cm_media *m, uint64_t place)
{
    return cm_media_is_hole(m, record_at(m, place), sizeof(struct cm_record));
}

void cm_record_write_use(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                         uint32_t seconds, uint64_t hits)
{
    struct cm_record *at = record_at(m, place);
    const uint64_t word = cm_format_used_word(cm_media_key(m), place, id, seconds, hits);
    (void)cm_media_store64(m, &at->words[CM_RECORD_HITS], hits);
    (void)cm_media_store64(m, &at->words[CM_RECORD_USED], word);
}

bool cm_record_use(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                   uint32_t *seconds, uint64_t *hits)
{
    const uint64_t word = r->words[CM_RECORD_USED];
    *seconds = (uint32_t)(word >> 32);
    *hits = r->words[CM_RECORD_HITS];
    if (word == cm_format_used_word(cm_media_key(m), place, &r->id, *seconds, *hits))
        return true;
    *seconds = 0;
    *hits = 0;
    return false;
}

const uint64_t *cm_record_told(const struct cm_media *m, uint64_t place)
{
    return &record_at(m, place)->incarnation;
}

uint64_t cm_record_place_of(const struct cm_media *m, const uint64_t *told)
{
    const uint64_t at = (uint64_t)((const uint8_t *)told - m->base);
    return (at - m->geo.record_offset) / sizeof(struct cm_record);
}

int cm_record_stop(const struct cm_media *m, uint64_t place)
{
    return cm_media_store64(m, &record_at(m, place)->incarnation, 0);
}

int cm_record_drop(const struct cm_media *m, uint64_t place)
{
    struct cm_record *at = record_at(m, place);
    int e = cm_record_stop(m, place);
    if (e == 0)
        e = cm_media_store64(m, &at->xxh3, 0);
    if (e == 0)
        e = cm_media_flush(m, at, CM_RECORD_BODY_BYTES);
    cm_media_fence(m); /* dropped when this returns, whatever crashes next */
    return e;
}
