/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_through.h - reading through with a function that reads the origin.
 */
#ifndef CM_READ_THROUGH_H
#define CM_READ_THROUGH_H

#include "state/file.h"

/* As cm_read_through_version(). */
int64_t cm_read_through_run(cm_file *file, uint64_t offset, void *buf, size_t len,
                            uint64_t *incarnation, cm_origin_read_fn origin_read, void *ctx,
                            uint64_t *served);

#endif
