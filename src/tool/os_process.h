/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_process.h - where a process is: a part of os.h, for other programs than the tool, too.
 */
#ifndef CM_TOOL_OS_PROCESS_H
#define CM_TOOL_OS_PROCESS_H

#include <stdint.h>

/* Is that the number of the process that has `file` open? Its number is one of its PID namespace,
 * and what it has mounted may be in another mount namespace. What cannot be seen counts as here. */
enum os_whereabouts { OS_HERE, OS_OTHER_MOUNTS, OS_HIDDEN };
enum os_whereabouts os_whereabouts(uint64_t process, const char *file);

#endif
