/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bracket.h - brackets around changes of the origin: write, truncate, sync, invalidate, abort.
 */
#ifndef CM_BRACKET_H
#define CM_BRACKET_H

#include "file.h"

/* As the public functions of the same names; arguments checked by cache.c. */
int cm_bracket_write(cm_file *f, uint64_t offset, uint64_t len, cm_bracket *w);
int cm_bracket_truncate(cm_file *f, uint64_t new_size, cm_bracket *w);
int cm_bracket_end(cm_file *f, const cm_bracket *w, const cm_validator *after);
int cm_bracket_invalidate(cm_file *f, uint64_t offset, uint64_t len);
int cm_bracket_abort(cm_file *f);
void cm_bracket_sync_begin(cm_file *f, cm_sync *s);
int cm_bracket_sync_end(cm_file *f, const cm_sync *s, int ok, const cm_validator *after);

#endif
