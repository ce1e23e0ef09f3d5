/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bracket.h - brackets around changes of the origin: write, truncate, sync, invalidate, abort.
 */
#ifndef CM_BRACKET_H
#define CM_BRACKET_H

#include "state/file.h"

/* As the public functions of the same names. calls.c, file_calls.c or inner.c has checked the
 * arguments. */
int cm_bracket_write(struct cm_object *f, uint64_t offset, uint64_t len, cm_bracket *w);
int cm_bracket_truncate(struct cm_object *f, uint64_t new_size, cm_bracket *w);
int cm_bracket_end(struct cm_object *f, const cm_bracket *w, const cm_validator *after);
int cm_bracket_invalidate(struct cm_object *f, uint64_t offset, uint64_t len);
int cm_bracket_abort(struct cm_object *f);
void cm_bracket_sync_begin(struct cm_object *f, cm_sync *s);
/* Begin and end at once, for a file without an origin. */
void cm_bracket_synced(struct cm_object *f);
int cm_bracket_sync_end(struct cm_object *f, const cm_sync *s, int ok, const cm_validator *after);

#endif
