/* SPDX-License-Identifier: BSD-2-Clause
 *
 * plugin.c - a plugin with a copy of the library of its own, linked statically as docs/embedding.md
 * ("Two copies in one process") says.
 */
#include "cachemax.h"

typedef const char *(*version_fn)(void);
version_fn plugin_version(void);

/* Which function does a call in this plugin reach? */
__attribute__((visibility("default"))) version_fn plugin_version(void)
{
    return cm_version;
}
