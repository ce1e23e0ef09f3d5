/* SPDX-License-Identifier: BSD-2-Clause
 *
 * plat_create.h - a file of the platform layer with its name, for tests.
 */
#ifndef CM_PLAT_CREATE_H
#define CM_PLAT_CREATE_H

#include "platform/platform.h"

static inline int plat_create(struct cm_plat_file *f, const char *path, uint64_t size,
                              bool prealloc,
                              int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    int rc = cm_plat_file_create(f, path, size, prealloc, progress, ctx);
    if (rc == 0) {
        rc = cm_plat_file_link(f, path);
        if (rc != 0)
            cm_plat_file_abandon(f, path);
    }
    return rc;
}

#endif
