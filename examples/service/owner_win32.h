/* SPDX-License-Identifier: BSD-2-Clause
 *
 * owner_win32.h - on Windows: who may use what the service and its clients share.
 *
 * The owner: the user of this process, administrators, and the system itself (SYSTEM).
 */
#ifndef CACHEMAX_OWNER_WIN32_H
#define CACHEMAX_OWNER_WIN32_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdbool.h>

/* An access list for the owner, and for nobody else. False: no memory. owner_only_end() frees it.
 */
bool owner_only(SECURITY_ATTRIBUTES *a);
void owner_only_end(SECURITY_ATTRIBUTES *a);

/* Does a file or a pipe belong to the owner? NULL: yes; else what is wrong. `alone`: may only the
 * owner use it? The handle needs READ_CONTROL. */
const char *owner_fault(HANDLE h, bool alone);

#endif
