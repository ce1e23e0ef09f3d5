/* SPDX-License-Identifier: BSD-2-Clause
 *
 * privileges.h - gives up what a process never needs. For the mount and the service, on Linux.
 */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include <stdbool.h>
#include <stdint.h>

#define PRIVILEGE(capability) (UINT64_C(1) << (capability)) /* CAP_* of linux/capability.h */

/* From here on this process, and what it executes, has no capabilities but those of `keep` that it
 * had before, and cannot get others by executing a program (PR_SET_NO_NEW_PRIVS). Call it before
 * there are threads. False: the system refused it, and errno says why; a part may be done. */
bool privileges_keep(uint64_t keep);

#endif
