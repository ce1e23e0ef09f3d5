/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pipe_io.c - reads and writes of a Windows pipe that wait for a while at most.
 *
 * Owns no state. A call that nobody waits for any more is cancelled. The system writes to its
 * OVERLAPPED and its buffer until it has ended, so that is waited for in any case.
 *
 * Who: pipe.c, client_pipe.c.
 */
#include "pipe_io.h"

bool pipe_end_begin(struct pipe_end *e, HANDLE pipe)
{
    e->pipe = pipe;
    /* They stay set until a call begins anew, or for ever: more than one waits for them. */
    e->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    e->shut = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (e->done && e->shut)
        return true;
    e->pipe = INVALID_HANDLE_VALUE;
    pipe_end_free(e);
    return false;
}

void pipe_end_free(struct pipe_end *e)
{
    if (e->pipe != INVALID_HANDLE_VALUE)
        CloseHandle(e->pipe);
    if (e->done)
        CloseHandle(e->done);
    if (e->shut)
        CloseHandle(e->shut);
}

static int64_t failed(DWORD error)
{
    return error == ERROR_BROKEN_PIPE || error == ERROR_NO_DATA || error == ERROR_PIPE_NOT_CONNECTED
               ? 0
               : -2;
}

/* Waits for a call. `ended`: it has ended already, well. */
static int64_t await(const struct pipe_end *e, BOOL ended, OVERLAPPED *call, DWORD ms)
{
    const HANDLE either[2] = { e->shut, e->done };
    DWORD n = 0, woke = WAIT_OBJECT_0 + 1;

    if (!ended && GetLastError() != ERROR_IO_PENDING)
        return failed(GetLastError());
    if (!ended)
        woke = WaitForMultipleObjects(2, either, FALSE, ms);
    if (woke != WAIT_OBJECT_0 + 1)
        (void)CancelIoEx(e->pipe, call);
    if (!GetOverlappedResult(e->pipe, call, &n, TRUE)) {
        const DWORD error = GetLastError();

        if (error != ERROR_OPERATION_ABORTED)
            return failed(error);
        return woke == WAIT_TIMEOUT ? PIPE_LATE : 0;
    }
    return woke == WAIT_OBJECT_0 ? 0 : n;
}

static bool is_shut(const struct pipe_end *e)
{
    return WaitForSingleObject(e->shut, 0) == WAIT_OBJECT_0;
}

int64_t pipe_read(const struct pipe_end *e, void *to, size_t n, DWORD ms)
{
    OVERLAPPED call = { .hEvent = e->done };

    if (is_shut(e))
        return 0;
    return await(e, ReadFile(e->pipe, to, (DWORD)n, NULL, &call), &call, ms);
}

int64_t pipe_write(const struct pipe_end *e, const void *from, size_t n, DWORD ms)
{
    OVERLAPPED call = { .hEvent = e->done };

    if (is_shut(e))
        return 0;
    return await(e, WriteFile(e->pipe, from, (DWORD)n, NULL, &call), &call, ms);
}
