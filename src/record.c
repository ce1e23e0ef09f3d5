/* SPDX-License-Identifier: BSD-2-Clause
 *
 * record.c - the file table.
 *
 * Owns: the 128-byte records. A record is written in place and is whole iff its checksum, seeded
 * by the pool's check key and its own place, is right; a torn one is no record, which costs the
 * file's blocks and nothing else. The state word stands outside the checksum, because the dirty
 * mark must change atomically and alone.
 *
 * Who: file.c (holding the files lock or owning the open file's record) and check.c.
 */
#include "record.h"

#include <string.h>

static struct cm_record *record_at(const struct cm_media *m, uint64_t place)
{
    assert(place < m->geo.record_buckets * CM_RECORD_WAYS);
    uint8_t *p = m->base + m->geo.record_offset + place * sizeof(struct cm_record);
    return (struct cm_record *)(void *)p;
}

int cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole)
{
    *whole = false;
    int e = cm_guard_copy(r, record_at(m, place), sizeof(*r));
    if (e == 0)
        *whole = (r->id.hi | r->id.lo) != 0 &&
                 r->xxh3 == cm_format_record_sum(cm_media_key(m), place, r);
    return e;
}

void cm_record_load(const struct cm_media *m, const cm_file_id *id, struct cm_record_bucket *b)
{
    b->first = cm_format_record_bucket(&m->geo, m->hash_seed, id) * CM_RECORD_WAYS;
    for (unsigned i = 0; i < CM_RECORD_WAYS; i++)
        b->unreadable[i] = cm_record_at(m, b->first + i, &b->record[i], &b->whole[i]) != 0;
}

int cm_record_write(const struct cm_media *m, uint64_t place, struct cm_record *r)
{
    struct cm_record *at = record_at(m, place);
    r->xxh3 = cm_format_record_sum(cm_media_key(m), place, r);
    int e = cm_media_write(m, at, r, CM_RECORD_BODY_BYTES);
    if (e == 0)
        e = cm_media_flush(m, at, CM_RECORD_BODY_BYTES);
    /* The incarnation is used only after this: a crash must not bring the old one back. */
    cm_media_fence(m);
    return e;
}

int cm_record_settle(const struct cm_media *m, uint64_t place, unsigned n)
{
    int e = cm_media_flush(m, record_at(m, place), n * sizeof(struct cm_record));
    /* Before anything is based on it: a power cut must not bring back an older incarnation. */
    cm_media_fence(m);
    return e;
}

bool cm_record_is_hole(const struct cm_media *m, uint64_t place)
{
    return cm_media_is_hole(m, record_at(m, place), sizeof(struct cm_record));
}

int cm_record_drop(const struct cm_media *m, uint64_t place)
{
    struct cm_record *at = record_at(m, place);
    int e = cm_media_store64(m, &at->xxh3, 0);
    if (e == 0)
        e = cm_media_flush(m, &at->xxh3, sizeof(at->xxh3));
    cm_media_fence(m); /* dropped when this returns, whatever crashes next */
    return e;
}

int cm_record_mark(const struct cm_media *m, uint64_t place, bool dirty, uint32_t boot_number)
{
    struct cm_record *at = record_at(m, place);
    uint64_t word = cm_format_state_word(cm_media_key(m), place, dirty, boot_number);
    int e = cm_media_store64(m, &at->state, word);
    if (e == 0)
        e = cm_media_flush(m, &at->state, sizeof(at->state));
    /* DIRTY: durable before the caller writes the origin. Clean: the record it vouches for was
     * made durable earlier. */
    cm_media_fence(m);
    return e;
}

bool cm_record_lost(const struct cm_media *m, uint64_t place, uint64_t state, uint32_t boot_number)
{
    bool dirty;
    uint32_t boot;
    if (!cm_format_state_read(cm_media_key(m), place, state, &dirty, &boot))
        return true;
    return dirty && boot != boot_number;
}
