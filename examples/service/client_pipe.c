/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_pipe.c - the client's end of a named pipe, on Windows.
 *
 * Owns: the pipe and its events. A pipe has no way to say that one end will not be used any more,
 * but to close it. So calls count themselves in `uses`, and the last one closes the pipe once it
 * was shut.
 *
 * Who: client_link.c.
 */
#include "client_stream.h"

#include "os.h"
#include "owner_win32.h"
#include "pipe_io.h"
#include "pipe_name.h"

#define CONNECT_NS UINT64_C(1000000000) /* a service has an end of its pipe free again within */

static DWORD ms_of(uint64_t ns)
{
    return (DWORD)((ns + 999999) / 1000000);
}

static struct pipe_end end_of(const struct client_stream *s)
{
    return (struct pipe_end){ (HANDLE)s->handle, (HANDLE)s->event[0], (HANDLE)s->event[1] };
}

/* Begins a call. False: the stream was shut. */
static bool enter(struct client_stream *s)
{
    unsigned uses = atomic_load(&s->uses);

    while (uses > 0)
        if (atomic_compare_exchange_weak(&s->uses, &uses, uses + 1))
            return true;
    return false;
}

static void leave(struct client_stream *s)
{
    /* Acquire and release: what the others did with the pipe comes before it is closed. */
    if (atomic_fetch_sub_explicit(&s->uses, 1, memory_order_acq_rel) == 1)
        CloseHandle((HANDLE)s->handle);
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* A free end of the pipe, or INVALID_HANDLE_VALUE. */
static HANDLE connect_to(const wchar_t *name, uint64_t ns)
{
    /* A server that is not ours must not act in our name: it may only see who we are. */
    const DWORD flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
    const uint64_t until = os_now_ns() + ns;
    uint64_t now;
    HANDLE h;

    for (;;) {
        h = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, flags, NULL);
        if (h != INVALID_HANDLE_VALUE || GetLastError() != ERROR_PIPE_BUSY)
            return h;
        now = os_now_ns();
        /* 0 ms would mean as long as the server likes. It fails if there is no server any more. */
        if (now >= until || !WaitNamedPipeW(name, ms_of(until - now)))
            return INVALID_HANDLE_VALUE;
    }
}

const char *client_stream_fault(const char *where)
{
    return os_place_fault(where);
}

bool client_stream_open(struct client_stream *s, const char *where, uint64_t timeout_ns)
{
    wchar_t name[PIPE_NAME_ROOM];
    struct pipe_end e;
    HANDLE h;

    *s = (struct client_stream){ .handle = CLIENT_STREAM_NONE, .timeout_ns = timeout_ns };
    if (!pipe_name(where, name))
        return false;
    h = connect_to(name, timeout_ns < CONNECT_NS ? timeout_ns : CONNECT_NS);
    if (h == INVALID_HANDLE_VALUE)
        return false;
    /* Whoever came first has the name: it must be the owner. */
    if (owner_fault(h, 0) || !pipe_end_begin(&e, h)) {
        CloseHandle(h);
        return false;
    }
    s->handle = (intptr_t)h;
    s->event[0] = (intptr_t)e.done;
    s->event[1] = (intptr_t)e.shut;
    atomic_store(&s->uses, 1);
    return true;
}

/* ---- Messages -------------------------------------------------------------------------------- */

bool client_stream_send(struct client_stream *s, const struct piece p[2])
{
    const struct pipe_end e = end_of(s);
    bool sent = true;

    if (!enter(s))
        return false;
    for (unsigned i = 0; i < 2 && sent; i++)
        if (p[i].n > 0)
            sent = pipe_write(&e, p[i].at, p[i].n, ms_of(s->timeout_ns)) == (int64_t)p[i].n;
    leave(s);
    return sent;
}

/* Bytes that have come; negative: the stream has ended. */
static int64_t waiting(const struct client_stream *s)
{
    DWORD n = 0;

    return PeekNamedPipe((HANDLE)s->handle, NULL, 0, NULL, &n, NULL) ? (int64_t)n : -1;
}

int64_t client_stream_receive(struct client_stream *s, const struct piece p[2], bool wait,
                              struct ring_pass *pass)
{
    const struct pipe_end e = end_of(s);
    const struct piece *const to = p[0].n > 0 ? &p[0] : &p[1];
    int64_t n;

    (void)pass; /* the names in the message are all that comes along */
    if (!enter(s))
        return -1;
    n = wait ? 1 : waiting(s);
    if (n > 0) {
        n = pipe_read(&e, to->at, to->n, ms_of(s->timeout_ns));
        n = n > 0 ? n : -1;
    }
    leave(s);
    return n;
}

bool client_stream_is_cut(struct client_stream *s)
{
    bool is_cut;

    if (!enter(s))
        return true;
    is_cut = waiting(s) < 0;
    leave(s);
    return is_cut;
}

void client_stream_shut(struct client_stream *s)
{
    if (atomic_exchange(&s->shut, true))
        return;
    (void)SetEvent((HANDLE)s->event[1]);
    leave(s);
}

void client_stream_close(struct client_stream *s)
{
    if (s->handle == CLIENT_STREAM_NONE)
        return;
    client_stream_shut(s);
    CloseHandle((HANDLE)s->event[0]);
    CloseHandle((HANDLE)s->event[1]);
    s->handle = CLIENT_STREAM_NONE;
}
