/* SPDX-License-Identifier: BSD-2-Clause
 *
 * forbid.h - refuses this process, and what it executes, system calls that it never needs.
 */
#ifndef CACHEMAX_FORBID_H
#define CACHEMAX_FORBID_H

/* Groups of calls. */
#define FORBID_SYSTEM 1u /* for the kernel's code, the clock, keys, other processes, name spaces   \
                          */
#define FORBID_MOUNTS 2u /* that make or change mounts; those that take one away stay */
#define FORBID_REST 4u   /* to execute a program, to take a mount away, io_uring */

/* They fail with EPERM from now on, in all threads. 0, or an error of errno: nothing is refused.
 * ENOTSUP: this program was built without it. The process gets no new privileges any more. */
int forbid_calls(unsigned groups);

#endif
