/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize.h - what the two parts of cm_resize() share.
 */
#ifndef CM_RESIZE_H
#define CM_RESIZE_H

#include "api/cache.h"
#include "state/file_list.h"

/* Of the memo pages of a new pool. Later ones are above it. */
#define CM_RESIZE_GENERATION UINT64_C(1)

/* One call. `old` is locked and not changed; the new pool is no pool yet. */
struct cm_resizing {
    struct cm_cache *old;
    struct cm_super was; /* its superblock, as it is in the file */
    cm_resize_options opts;
    cm_resize_report *report;

    /* resize_carry.c: what is there, and what of it is carried over. */
    struct cm_file_list list;
    uint64_t files;
    uint8_t *rank;       /* of each slot; 0: no block that a lookup finds */
    uint8_t *top;        /* of each file: the highest rank among its blocks */
    uint8_t *file;       /* of each file: CM_CARRY_* */
    uint64_t found[8];   /* blocks by rank */
    uint64_t hand;       /* the slot whose block would leave next */
    unsigned lowest;     /* rank of which not all have room; all above have */
    uint64_t skip;       /* so many of the lowest rank are left out, the oldest */
    uint64_t chosen;     /* blocks that have room */
    bool older;          /* the superblock is older than the rest of the pool */
    bool unnamed;        /* a record that named a failed fsync is lost */
    uint64_t slots_used; /* of the new pool */

    struct cm_media to;        /* the new pool */
    struct cm_sealing sealing; /* as the old one, with its own uuid */
    struct cm_super super;     /* its superblock, not written yet */
    struct cm_plat_file new_file;
    bool synced, guarded;
    bool said;          /* the log has a line that says why it fails */
    uint64_t done, all; /* of the progress, in bytes */
    unsigned calls;
};

/* Looks at the old pool: which files there are, and which blocks a lookup finds. CM_ENOMEM
 * CM_ECANCELED. cm_carry_free() in any case. */
int cm_carry_look(struct cm_resizing *z);
void cm_carry_free(struct cm_resizing *z);
/* Chooses what stays in a pool of so many slots. */
void cm_carry_choose(struct cm_resizing *z, uint64_t slots);
/* Files that have a chosen block, or must not be forgotten; and of these the kept ones. */
struct cm_carry_files {
    uint64_t all, kept;
};
struct cm_carry_files cm_carry_files(const struct cm_resizing *z);
/* Copies records, names and blocks to the new pool, and what the policy knows of them. Nothing is
 * synced. CM_EIO CM_ECANCELED. */
int cm_carry(struct cm_resizing *z);

/* So many more bytes are done: says how far it is, now and then. CM_ECANCELED. */
int cm_resize_step(struct cm_resizing *z, uint64_t bytes);

#endif
