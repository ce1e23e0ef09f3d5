/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_table.h - the file table: which incarnation stands for which file, and what it is worth
 * after a crash.
 */
#ifndef CM_FILE_TABLE_H
#define CM_FILE_TABLE_H

#include <string.h>

#include "media/media.h"

/* A record's number in the whole file table. */
#define CM_NO_PLACE UINT64_MAX

#define CM_RECORD_PLACES (CM_RECORD_CHOICES * CM_RECORD_WAYS)

/* All places where the record of one id may be: both its buckets. A rule for the record of an id
 * applies in each of these places. */
struct cm_record_set {
    uint64_t first[CM_RECORD_CHOICES]; /* place of each bucket's first record */
    unsigned n;                        /* records below; a table of one bucket has half as many */
    struct cm_record record[CM_RECORD_PLACES];
    bool whole[CM_RECORD_PLACES]; /* readable and its checksum right */
    bool unreadable[CM_RECORD_PLACES];
    bool unproved[CM_RECORD_PLACES]; /* a seal failed: it may be whole. Its bytes are there */
    bool any_unproved, any_unreadable;
};
static inline uint64_t cm_record_place(const struct cm_record_set *s, unsigned i)
{
    return s->first[i / CM_RECORD_WAYS] + i % CM_RECORD_WAYS;
}
static inline bool cm_record_names(const struct cm_record_set *s, unsigned i, const cm_file_id *id)
{
    return s->whole[i] && s->record[i].id.hi == id->hi && s->record[i].id.lo == id->lo;
}

static inline bool cm_record_is_of_objects(const struct cm_record *r)
{
    return memcmp(r->proof, CM_PROOF_OBJECTS, sizeof(CM_PROOF_OBJECTS) - 1) == 0;
}

/* Also if nobody can tell whether it is whole. */
static inline bool cm_record_may_name(const struct cm_record_set *s, unsigned i,
                                      const cm_file_id *id)
{
    return (s->whole[i] || s->unproved[i]) && s->record[i].id.hi == id->hi &&
           s->record[i].id.lo == id->lo;
}

/* Reads the buckets an id belongs to. */
void cm_record_load(const struct cm_media *m, const cm_file_id *id, struct cm_record_set *s);

/* The sum of a record's body under a check key, or its tag if the pool is sealed. CM_ESEAL. */
int cm_record_sum(const struct cm_media *m, uint64_t key, uint64_t place, const struct cm_record *r,
                  uint64_t *sum);
/* Reads one record; *whole as above. CM_EIO: unreadable, and *r is zero. CM_ESEAL: *whole is false,
 * and is not known. */
int cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
/* Number of records in use. For a table of more than 8192 records it is an estimate from a sample
 * of that size. */
uint64_t cm_record_estimate(const struct cm_media *m);
/* What a record says of the regions of its incarnation. */
struct cm_record_regions {
    uint64_t intents; /* a bit each */
    uint8_t since[CM_REGIONS];
    uint64_t unknown; /* regions whose `since` is not known, a bit each */
    bool known;       /* false: the state word is damaged; then dirty is true, and boot is none */
    bool dirty;       /* the origin may lose writes */
    uint32_t boot;    /* in which the file was written last, or born */
};
void cm_record_regions(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                       struct cm_record_regions *g);
/* Writes the body, the size and the attr, durably. `g`: what to say of the regions of r's
 * incarnation; NULL: that stays as it is. CM_EIO; CM_ESEAL: nothing was written. */
int cm_record_write(const struct cm_media *m, uint64_t place, struct cm_record *r,
                    struct cm_record_attr attr, const struct cm_record_regions *g);
/* Writes the attributes of the file alone, durably. CM_EIO. */
int cm_record_write_attr(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                         struct cm_record_attr attr);
/* The same in a record that was read, or in none (NULL). */
struct cm_record_attr cm_record_attr(const struct cm_media *m, uint64_t place,
                                     const struct cm_record *r);
/* Writes parts of that. Durable after cm_record_settle(). CM_EIO. */
int cm_record_write_since(const struct cm_media *m, uint64_t place, uint64_t incarnation,
                          const struct cm_record_regions *g);
int cm_record_write_state(const struct cm_media *m, uint64_t place, uint64_t incarnation,
                          const struct cm_record_regions *g);
/* Writes the intents alone. Durable after cm_record_settle_intents(). CM_EIO. */
int cm_record_write_intents(const struct cm_media *m, uint64_t place, uint64_t incarnation,
                            uint64_t intents);
int cm_record_settle_intents(const struct cm_media *m, uint64_t place);
/* Writes r->size alone, for the body that `r` was read with: durably, unless it is not known. Then
 * the intent of the region where the old size ends must stand: with it, no size counts after a
 * power cut. The size must be made durable before that intent is cleared. If a seal fails, the size
 * is not known from here on, durably, and r->size says so. CM_EIO. */
int cm_record_write_size(const struct cm_media *m, uint64_t place, struct cm_record *r);
/* Writes the end of the life of a file, durably; 0: none. CM_EIO. */
int cm_record_write_expiry(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                           int64_t wall_ns);
/* The same in a record that was read; 0: none, or not known. */
int64_t cm_record_expiry(const struct cm_media *m, uint64_t place, const struct cm_record *r);
/* The size in a record that was read, or CM_SIZE_UNKNOWN. CM_ESEAL: nobody knows. */
int cm_record_load_size(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                        uint64_t *size);
/* The same where it does not matter why it is not known. */
uint64_t cm_record_size(const struct cm_media *m, uint64_t place, const struct cm_record *r);
/* Makes a record durable with its present bytes: a crashed owner may not have done so. CM_EIO. */
int cm_record_settle(const struct cm_media *m, uint64_t place);
/* The same for all records of both buckets. Errors are ignored. */
void cm_record_settle_set(const struct cm_media *m, const struct cm_record_set *s);
/* Was the record never written since the pool was formatted? Then the media holds no older bytes of
 * it, and there is nothing to settle. */
bool cm_record_is_unused(const struct cm_record_set *s, unsigned i);
/* Is the record unreadable only because a full volume has no room for its page? Then there is no
 * record. */
bool cm_record_is_hole(const struct cm_media *m, uint64_t place);
/* Notes when the file was used last, and how many of its blocks were served. Not flushed, and
 * errors are ignored: these are hints. */
void cm_record_write_use(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                         uint32_t seconds, uint64_t hits);
/* Reads what was noted in the record of a file. false: nothing is known, and both are 0. */
bool cm_record_use(const struct cm_media *m, uint64_t place, const struct cm_record *r,
                   uint32_t *seconds, uint64_t *hits);
/* What readers of other processes compare with each hit on a file: the incarnation that the record
 * names. */
const uint64_t *cm_record_told(const struct cm_media *m, uint64_t place);
uint64_t cm_record_place_of(const struct cm_media *m, const uint64_t *told);
/* Tells them that it is not, and nobody else: the record is not whole then, and may be whole again
 * after a crash of the system. CM_EIO. */
int cm_record_stop(const struct cm_media *m, uint64_t place);
/* Makes a record not whole, durably. CM_EIO. */
int cm_record_drop(const struct cm_media *m, uint64_t place);

#endif
