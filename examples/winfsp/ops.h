/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops.h - the operations of the mount.
 */
#ifndef CACHEMAX_WINFSP_OPS_H
#define CACHEMAX_WINFSP_OPS_H

#include "fuse_api.h"

extern const struct fuse_operations ops;

#endif
