/* SPDX-License-Identifier: BSD-2-Clause
 *
 * forbid.h - refuses this process, and what it executes, system calls that it never needs.
 */
#ifndef CACHEMAX_FORBID_H
#define CACHEMAX_FORBID_H

/* Groups of calls: for the kernel's code, the clock, keys, other processes and name spaces; to make
 * or change mounts; to take one away, and to execute a program; io_uring, which makes calls that no
 * filter sees. */
#define FORBID_SYSTEM 1u
#define FORBID_MOUNTS 2u
#define FORBID_REST 4u
#define FORBID_RINGS 8u

/* They fail with EPERM from now on, in all threads. 0, or an error of errno: nothing is refused.
 * ENOTSUP: this program was built without it. The process gets no new privileges any more. */
int forbid_calls(unsigned groups);

#endif
