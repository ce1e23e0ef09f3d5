/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pipe_io.h - reads and writes of a Windows pipe that wait for a while at most.
 */
#ifndef CACHEMAX_PIPE_IO_H
#define CACHEMAX_PIPE_IO_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

/* One end of a pipe that was opened for overlapped calls. One call at a time. */
struct pipe_end {
    HANDLE pipe;
    HANDLE done; /* an event: the call has ended */
    HANDLE shut; /* an event: every call ends, from now on */
};

/* Makes the events. False: no memory. pipe_end_free() closes events and pipe. */
bool pipe_end_begin(struct pipe_end *e, HANDLE pipe);
void pipe_end_free(struct pipe_end *e);

/* At most n bytes that have come, and all n bytes. Return the bytes; 0: the other side has ended,
 * or `shut` is set; PIPE_LATE: `ms` have passed; another negative number: it failed. */
int64_t pipe_read(const struct pipe_end *e, void *to, size_t n, DWORD ms);
int64_t pipe_write(const struct pipe_end *e, const void *from, size_t n, DWORD ms);
#define PIPE_LATE (-1)

#endif
