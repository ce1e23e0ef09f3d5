/* SPDX-License-Identifier: BSD-2-Clause
 *
 * record.h - the file table: which incarnation stands for which file, and dirty marks.
 */
#ifndef CM_RECORD_H
#define CM_RECORD_H

#include "media.h"

/* A record's number in the whole file table. */
#define CM_NO_PLACE UINT64_MAX

struct cm_record_bucket {
    uint64_t first;                          /* place of the first record */
    struct cm_record record[CM_RECORD_WAYS];
    bool whole[CM_RECORD_WAYS];              /* readable and its checksum right */
    bool unreadable[CM_RECORD_WAYS];
};

/* Reads the bucket an id belongs to. */
void cm_record_load(const struct cm_media *m, const cm_file_id *id, struct cm_record_bucket *b);

/* Reads one record; *whole as above. CM_EIO: unreadable. */
int cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
/* Writes everything but the state word, durably. CM_EIO. */
int cm_record_write(const struct cm_media *m, uint64_t place, struct cm_record *r);
/* Makes `n` records durable as they are there to be seen: a crashed owner may not have. CM_EIO. */
int cm_record_settle(const struct cm_media *m, uint64_t place, unsigned n);
/* Cannot be read, because a full volume has no room for the page it would be in: no record. */
bool cm_record_is_hole(const struct cm_media *m, uint64_t place);
/* Makes a record not whole, durably. CM_EIO. */
int cm_record_drop(const struct cm_media *m, uint64_t place);
/* Writes the dirty mark; durable when it returns. CM_EIO. */
int cm_record_mark(const struct cm_media *m, uint64_t place, bool dirty, uint32_t boot_number);
/* Is a state word that was read with a record the mark of another boot (or damaged)? */
bool cm_record_lost(const struct cm_media *m, uint64_t place, uint64_t state, uint32_t boot_number);

#endif
