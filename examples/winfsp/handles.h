/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handles.h - which files are open.
 */
#ifndef CACHEMAX_WINFSP_HANDLES_H
#define CACHEMAX_WINFSP_HANDLES_H

#include "cache.h"

void handles_add(struct handle *h);
void handles_remove(struct handle *h);
/* One of them, or NULL. */
struct handle *handles_any(void);

#endif
