/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_table.h - the file table: which incarnation stands for which file, and dirty marks.
 */
#ifndef CM_FILE_TABLE_H
#define CM_FILE_TABLE_H

#include "media/media.h"

/* A record's number in the whole file table. */
#define CM_NO_PLACE UINT64_MAX

#define CM_RECORD_PLACES (CM_RECORD_CHOICES * CM_RECORD_WAYS)

/* Everything that may be the record of one id: both its buckets. What holds for a record of the id
 * holds wherever among them it is. */
struct cm_record_set {
    uint64_t first[CM_RECORD_CHOICES]; /* place of each bucket's first record */
    unsigned n;                        /* records below; a table of one bucket has half as many */
    struct cm_record record[CM_RECORD_PLACES];
    bool whole[CM_RECORD_PLACES]; /* readable and its checksum right */
    bool unreadable[CM_RECORD_PLACES];
};
static inline uint64_t cm_record_place(const struct cm_record_set *s, unsigned i)
{
    return s->first[i / CM_RECORD_WAYS] + i % CM_RECORD_WAYS;
}
static inline bool cm_record_names(const struct cm_record_set *s, unsigned i, const cm_file_id *id)
{
    return s->whole[i] && s->record[i].id.hi == id->hi && s->record[i].id.lo == id->lo;
}

/* Reads the buckets an id belongs to. */
void cm_record_load(const struct cm_media *m, const cm_file_id *id, struct cm_record_set *s);

/* Reads one record; *whole as above. CM_EIO: unreadable. */
int cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
/* Records in use; beyond 8192 records an estimate from so many of them. */
uint64_t cm_record_estimate(const struct cm_media *m);
/* Writes everything but the state word, durably. CM_EIO. */
int cm_record_write(const struct cm_media *m, uint64_t place, struct cm_record *r);
/* Makes a record durable as it is there to be seen: a crashed owner may not have. CM_EIO. */
int cm_record_settle(const struct cm_media *m, uint64_t place);
/* The same for both buckets, as far as that can be done. */
void cm_record_settle_set(const struct cm_media *m, const struct cm_record_set *s);
/* Never written since the pool was formatted, on the media neither: nothing to settle. */
bool cm_record_is_unused(const struct cm_record_set *s, unsigned i);
/* Cannot be read, because a full volume has no room for the page it would be in: no record. */
bool cm_record_is_hole(const struct cm_media *m, uint64_t place);
/* Makes a record not whole, durably. CM_EIO. */
int cm_record_drop(const struct cm_media *m, uint64_t place);
/* Writes the dirty mark; durable when it returns. CM_EIO. */
int cm_record_mark(const struct cm_media *m, uint64_t place, bool dirty, uint32_t boot_number);
/* Is a state word that was read with a record the mark of another boot (or damaged)? */
bool cm_record_lost(const struct cm_media *m, uint64_t place, uint64_t state, uint32_t boot_number);

#endif
