/* SPDX-License-Identifier: BSD-2-Clause
 *
 * keep.h - files whose blocks are not evicted (cm_file_set_keep).
 */
#ifndef CM_KEEP_H
#define CM_KEEP_H

#include "state/object.h"

/* May any file be kept? */
static inline bool cm_keep_any(const struct cm_cache *c)
{
    /* Relaxed: a new one may be seen late. */
    return at_load_relaxed(&c->keeping.files) > 0 || at_load_relaxed(&c->keeping.left) > 0;
}
/* At open. If a record may say that its file is kept, the file table will be looked at, a part at a
 * time, when something has to be evicted. */
void cm_keep_begin(struct cm_cache *c);
/* Looks at what is left of it. No lock is held. */
void cm_keep_complete(struct cm_cache *c);
/* At close. If no file is kept, the superblock says so, and the next session need not look. */
void cm_keep_end(struct cm_cache *c);
void cm_keep_free(struct cm_cache *c);

/* So many slots may be kept, and so many files. */
uint64_t cm_keep_most(const struct cm_cache *c);
uint64_t cm_keep_most_files(const struct cm_cache *c);
/* What is promised: the sum over the kept files. No lock is held. */
struct cm_keep_sum {
    uint64_t files, blocks;
};
struct cm_keep_sum cm_keep_sum(struct cm_cache *c);

/* Ensures that there is memory for more of them. No lock is held. CM_ENOMEM. */
int cm_keep_room(struct cm_cache *c);
/* Enters a file's incarnation, if there is room for its record and its blocks beside those of the
 * others. One that is there already stays as it is. CM_EKEEP CM_ENOMEM. */
int cm_keep_enter(struct cm_cache *c, uint64_t incarnation, uint64_t size);
/* A kept file gets another incarnation, or its present one another size. 0: it has none, or is not
 * kept any more. If the size is not known, it counts as many blocks as before. */
void cm_keep_move(struct cm_cache *c, uint64_t was, uint64_t now, uint64_t size);

/* May the block belong to a kept file? `incarnation`: as in a header. */
bool cm_keep_has(struct cm_cache *c, uint64_t incarnation);
/* Is it one of a kept file, for sure? Of one that was stored in this session: then its file was
 * attached, and has entered its incarnation, whether all records were looked at or not. */
bool cm_keep_is_listed(struct cm_cache *c, uint64_t incarnation);
static inline bool cm_keep_knows(struct cm_cache *c, uint64_t incarnation)
{
    /* Relaxed: as in cm_keep_any(). */
    return at_load_relaxed(&c->keeping.files) > 0 && cm_keep_is_listed(c, incarnation);
}
/* The policy's victim, an owned slot, has a block with this header. True: it stays. */
bool cm_keep_stays(struct cm_cache *c, uint64_t slot, uint64_t incarnation, uint64_t w0);
static inline bool cm_keep_spares(struct cm_cache *c, uint64_t slot, uint64_t incarnation,
                                  uint64_t w0)
{
    return cm_keep_any(c) && cm_keep_stays(c, slot, incarnation, w0);
}
/* Before victims are chosen; no lock is held. Looks at some more of the file table. If a file is
 * kept no more, the marks of its slots go. */
void cm_keep_prepare(struct cm_cache *c);

#endif
