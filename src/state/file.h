/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file.h - an attached file: its incarnation, its validator, its open brackets.
 */
#ifndef CM_FILE_H
#define CM_FILE_H

#include "state/object.h"

/* The file lock is held by the caller of all of these. */

/* Gives the file a new incarnation: everything cached of it is unreachable, durably, when this
 * returns 0. Escalates to the pool's epoch when the record cannot be written. CM_EFORGET. */
int cm_file_renew(struct cm_object *f);
/* e: why something of the file could not be forgotten. If it is an error, nothing of the file that
 * is known now is used any more while it is attached: not when the pool can forget again, either,
 * for the new epoch then reaches neither what waits in DRAM nor tickets that were given out.
 * Returns e. */
int cm_file_stop(struct cm_object *f, int e);
/* An fsync failed: forgets the file and bypasses it until the next boot. CM_EFORGET. */
int cm_file_sync_failed(struct cm_object *f);

/* The file changed, or may have: validators taken until now prove nothing. */
void cm_file_moved(struct cm_object *f);
/* May `v` be believed: no bracket was open at or after it was taken, and none that was taken later
 * has been believed? */
bool cm_file_proves(const struct cm_object *f, const cm_validator *v);
/* Did only we write, so that a validator that moved is our own doing? */
bool cm_file_may_adopt(const struct cm_object *f);
/* Takes `v` for the file's validator. From here on only what was taken later counts. */
void cm_file_set_validator(struct cm_object *f, const cm_validator *v);
/* Nothing is known of the file any more, its size neither. */
void cm_file_drop_validator(struct cm_object *f);
/* Takes `v` for the validator of the present incarnation. */
void cm_file_adopt(struct cm_object *f, const cm_validator *v);
/* cm_file_revalidate(). */
int cm_file_judge(struct cm_object *f, const cm_validator *v);

/* Links a bracket. `stale`: it raises no stripes that fills of the present incarnation look at. */
void cm_file_link(struct cm_object *f, struct cm_open_bracket *b, bool stale);
/* Unlinks the bracket `id`, if its begin is through, or any with id 0; NULL: there is none. */
struct cm_open_bracket *cm_file_unlink(struct cm_object *f, uint64_t id);

#endif
