/* SPDX-License-Identifier: BSD-2-Clause
 *
 * values.h - values that are too large for a bucket.
 *
 * Each session that stores one takes a data file, a new one or the oldest. It gives it a new
 * incarnation: a number that the pool never uses again. It writes the values one behind the other,
 * and uses no block twice. So a block of an incarnation has one content for all times. A reference
 * names file, incarnation and block: it leads to its own value or to nothing, whatever has crashed
 * in between. Nothing has to be remembered for that, in the pool or outside.
 */
#ifndef CM_VALUES_H
#define CM_VALUES_H

#include "objects/container.h"

/* Attaches the data files that the pool knows, and forgets those that are too many for a table of
 * so many files. CM_ESEAL: none is attached. */
int cm_values_open(cm_objects *o, uint64_t max_files);
void cm_values_close(cm_objects *o);
/* Stores a value. 0: *ref leads to it; or CM_NOT_STORED_*, or an error. No lock is held. */
int cm_values_store(cm_objects *o, const uint8_t *value, size_t len, struct cm_value_ref *ref,
                    uint64_t *waited);
/* Copies [offset, offset+len) of a value; the range lies in it. False: not all of it is cached. */
bool cm_values_read(cm_objects *o, const struct cm_value_ref *ref, uint64_t offset, void *buf,
                    size_t len);
/* Nothing leads to the value any more: gives its blocks back. A hint. */
void cm_values_drop(cm_objects *o, const struct cm_value_ref *ref);
/* Forgets all values. All locks of buckets are held. */
int cm_values_clear(cm_objects *o);

#endif
