/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file.h - an attached file: its incarnation, its validator, its open brackets.
 */
#ifndef CM_FILE_H
#define CM_FILE_H

#include "state/object.h"

/* The caller of each of these holds the file lock, unless it says otherwise. */

/* Gives the file a new incarnation: everything cached of it is unreachable, durably, when this
 * returns 0. Escalates to the pool's epoch when the record cannot be written. CM_EFORGET. */
int cm_file_renew(struct cm_object *f);
/* An attempt to forget something of the file has failed with `e`. Nothing that is cached of the
 * file now is used any more while it is attached. This also holds when the pool can forget again:
 * the new epoch then reaches neither blocks that wait in DRAM nor tickets that were given out.
 * Returns e. */
int cm_file_stop(struct cm_object *f, int e);
/* Nothing of the file is served or stored any more in this boot. */
void cm_file_bypass(struct cm_object *f);
/* An fsync failed: forgets the file and bypasses it until the next boot. CM_EFORGET. */
int cm_file_sync_failed(struct cm_object *f);

/* The file changed, or may have: validators taken until now prove nothing. */
void cm_file_moved(struct cm_object *f);
/* May `v` be believed? Yes, if no bracket was open when it was taken or later, and if no validator
 * that was taken later has been believed. */
bool cm_file_proves(const struct cm_object *f, const cm_validator *v);
/* Did only we write the file? Then only our own writes have changed its validator. */
bool cm_file_may_adopt(const struct cm_object *f);
/* Makes `v` the file's validator. From here on only validators that were taken later count. */
void cm_file_set_validator(struct cm_object *f, const cm_validator *v);
/* Drops all that is known of the file, also its size. */
void cm_file_drop_validator(struct cm_object *f);
/* Do two proofs show the same content? Is there a proof at all? */
bool cm_file_same(const cm_validator *v, const uint8_t proof[CM_PROOF_BYTES], uint64_t size);
bool cm_file_has_proof(const cm_validator *v);
/* May anything of the file be served now? Not if it is bypassed or has outlived its time. No lock.
 */
bool cm_file_serves_gated(const struct cm_object *f, uint32_t gate);
static inline bool cm_file_serves(const struct cm_object *f)
{
    const uint32_t gate = at_load_acquire(&f->gate); /* acquire: pairs with cm_file_live() */
    return gate == 0 || cm_file_serves_gated(f, gate);
}
/* Sets the time to live, from now on; 0: none. CM_EFORGET (the record cannot be written). */
int cm_file_live(struct cm_object *f, uint64_t ttl_ns);

/* Sets the size of unchanged content, also in the record. */
void cm_file_set_size(struct cm_object *f, uint64_t size);
/* A change that may move the end of the file begins: its size is not known from here on, nor to a
 * session that comes after a crash. The intent of the region where it ends is set. CM_EFORGET. */
int cm_file_forget_size(struct cm_object *f);
/* Makes `v` the validator of the present incarnation. */
void cm_file_adopt(struct cm_object *f, const cm_validator *v);
/* As cm_file_revalidate(). */
int cm_file_judge(struct cm_object *f, const cm_validator *v);

/* The origin ended at `size` when a fill of `incarnation` read it, whose miss saw `changes`. If no
 * size is known and nothing has changed since, that is the file's size. Takes the file's lock. */
void cm_file_learn_size(struct cm_object *f, uint64_t incarnation, uint64_t changes, uint64_t size);

/* Links a bracket. `stale`: it raises no stripes that fills of the present incarnation look at. */
void cm_file_link(struct cm_object *f, struct cm_open_bracket *b, bool stale);
/* Unlinks the bracket `id` if its begin has ended; with id 0 any bracket. NULL: there is none. */
struct cm_open_bracket *cm_file_unlink(struct cm_object *f, uint64_t id);

/* cm_file_set_keep(), cm_file_set_group(). No lock is held. */
int cm_file_keep(struct cm_object *f, bool keep);
int cm_file_group(struct cm_object *f, uint32_t group);

#endif
