/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops.h - the operations of the mount.
 */
#ifndef CACHEMAX_WINFSP_OPS_H
#define CACHEMAX_WINFSP_OPS_H

#include "fuse_api.h"

#include <stdbool.h>
#include <stddef.h>

extern const struct fuse_operations ops;

/* Of the mount. `everyone`: all users may use it, else only who has started it. */
const char *ops_options(bool everyone);

/* FUSE has ended: closes the files that it has left open. Returns how many. */
size_t ops_end(void);

#endif
