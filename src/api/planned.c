/* SPDX-License-Identifier: BSD-2-Clause
 *
 * planned.c - calls that are declared and not built: arguments are checked, nothing is done.
 *
 * Owns: nothing.
 *
 * Who: users, through cachemax.h.
 */
#include "api/cache.h"

#define GROUPS 256u

int cm_file_set_group(cm_file *file, uint32_t group)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    return group < GROUPS ? CM_ENOTSUP : CM_EINVAL;
}

int cm_group_set_quota(cm_cache *c, uint32_t group, uint64_t most, uint64_t keep)
{
    int e = cm_enter_owner(c);
    if (e)
        return e;
    return group < GROUPS && (most == 0 || keep <= most) ? CM_ENOTSUP : CM_EINVAL;
}
