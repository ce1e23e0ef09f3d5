/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pipe.c - clients that come through a named pipe, on Windows.
 *
 * Owns: the pipe, which only its owner may use, and only from this machine. A file beside it that
 * nobody else can open says that a service lives. The pipe itself does not say that: what a killed
 * service has left stays as long as a client holds its end. So the pipe is made or joined, and then
 * must belong to the owner.
 *
 * Who: run.c, as transport_local.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pipe_files.h"
#include "pipe_io.h"
#include "pipe_name.h"
#include "stream.h"

#define PIPE_BYTES 65536u /* that wait in the system, each way */

/* ---- A client -------------------------------------------------------------------------------- */

struct pipe_stream {
    struct stream stream;
    struct pipe_end end;
    DWORD wait_ms;  /* each call */
    HANDLE process; /* NULL: it has ended, or may not be looked at */
    bool ended;     /* its process, before it could be looked at */
};
_Static_assert(STREAM_LATE == PIPE_LATE, "receive() and send() return what pipe_io.c does");

static int64_t stream_receive(struct stream *stream, void *to, size_t n)
{
    return pipe_read(&((struct pipe_stream *)stream)->end, to, n,
                     ((struct pipe_stream *)stream)->wait_ms);
}

/* The client finds what comes along by its name. */
static int64_t stream_send(struct stream *stream, const void *from, size_t n,
                           const struct ring_pass *pass)
{
    (void)pass;
    return pipe_write(&((struct pipe_stream *)stream)->end, from, n,
                      ((struct pipe_stream *)stream)->wait_ms);
}

static void stream_shut(struct stream *stream)
{
    (void)SetEvent(((struct pipe_stream *)stream)->end.shut);
}

static bool stream_gone(struct stream *stream, unsigned ms)
{
    const struct pipe_stream *s = (struct pipe_stream *)stream;

    return s->ended || (s->process && WaitForSingleObject(s->process, ms) == WAIT_OBJECT_0);
}

static void stream_free(struct stream *stream)
{
    struct pipe_stream *s = (struct pipe_stream *)stream;

    /* What the client has not read yet stays for it: the pipe is not disconnected. */
    pipe_end_free(&s->end);
    if (s->process)
        CloseHandle(s->process);
    free(s);
}

static const struct stream_calls calls = { stream_receive, stream_send, stream_shut,
                                           stream_gone,    stream_free, false };

/* ---- Waiting for clients --------------------------------------------------------------------- */

struct listener {
    struct server *server;
    wchar_t name[PIPE_NAME_ROOM];
    HANDLE lock;       /* the file */
    HANDLE next;       /* an end of the pipe that no client has yet */
    HANDLE came, stop; /* events: a client is there; the listener has to end */
    struct os_thread thread;
};

/* Takes the pipe over. */
static void take(struct listener *l, HANDLE pipe)
{
    struct pipe_stream *s = calloc(1, sizeof(*s));
    ULONG client = 0;

    if (!s || !pipe_end_begin(&s->end, pipe)) {
        free(s);
        CloseHandle(pipe);
        return;
    }
    (void)GetNamedPipeClientProcessId(pipe, &client);
    s->stream = (struct stream){ &calls, client };
    s->wait_ms = l->server->wait_ms;
    s->process = OpenProcess(SYNCHRONIZE, FALSE, client);
    /* The system has such a process as long as it lives or somebody holds it. */
    s->ended = client != 0 && !s->process && GetLastError() == ERROR_INVALID_PARAMETER;
    stream_take(l->server, &s->stream);
}

/* An end of the pipe that a client may come to, or INVALID_HANDLE_VALUE. */
static HANDLE make_end(const struct listener *l)
{
    SECURITY_ATTRIBUTES a;
    HANDLE h;

    if (!owner_only(&a))
        return INVALID_HANDLE_VALUE;
    h = CreateNamedPipeW(l->name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                         PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS,
                         PIPE_UNLIMITED_INSTANCES, PIPE_BYTES, PIPE_BYTES, 0, &a);
    owner_only_end(&a);
    return h;
}

/* Waits until a client has come to l->next. False: the listener has to end. */
static bool await_client(struct listener *l)
{
    const HANDLE either[2] = { l->stop, l->came };
    OVERLAPPED call = { .hEvent = l->came };
    DWORD n, woke = WAIT_OBJECT_0 + 1;

    if (!ConnectNamedPipe(l->next, &call)) {
        if (GetLastError() == ERROR_PIPE_CONNECTED)
            return true;
        if (GetLastError() != ERROR_IO_PENDING)
            return WaitForSingleObject(l->stop, 0) != WAIT_OBJECT_0; /* it came and has gone */
        woke = WaitForMultipleObjects(2, either, FALSE, INFINITE);
        if (woke == WAIT_OBJECT_0)
            (void)CancelIoEx(l->next, &call);
        /* The system writes to `call` until the call has ended. */
        (void)GetOverlappedResult(l->next, &call, &n, TRUE);
    }
    return woke != WAIT_OBJECT_0;
}

static void listener_main(void *arg)
{
    struct listener *l = arg;

    while (await_client(l)) {
        const HANDLE pipe = l->next;

        /* First the next end, so that the name is never without one: it stays ours. */
        do
            l->next = make_end(l);
        while (l->next == INVALID_HANDLE_VALUE &&
               WaitForSingleObject(l->stop, 100) == WAIT_TIMEOUT);
        take(l, pipe);
        if (l->next == INVALID_HANDLE_VALUE)
            return;
    }
}

static int listen_at(struct listener *l, const char *where, char why[256])
{
    const char *wrong;

    l->lock = pipe_file_open(where, ".lock", 0, why);
    if (l->lock == INVALID_HANDLE_VALUE) {
        if (GetLastError() == ERROR_SHARING_VIOLATION)
            snprintf(why, 256, "%.120s: another service listens there", where);
        return -1;
    }
    l->next = make_end(l);
    if (l->next == INVALID_HANDLE_VALUE) {
        snprintf(why, 256, "%.120s: the pipe cannot be made (error %lu)%s", where,
                 (unsigned long)GetLastError(),
                 GetLastError() == ERROR_ACCESS_DENIED ? "; another program has it" : "");
        return -1;
    }
    wrong = owner_fault(l->next, OWNER_ALONE);
    if (wrong)
        snprintf(why, 256, "%.120s: another program has the pipe: %s", where, wrong);
    return wrong ? -1 : 0;
}

static void close_listener(struct listener *l)
{
    if (l->next != INVALID_HANDLE_VALUE)
        CloseHandle(l->next);
    if (l->lock != INVALID_HANDLE_VALUE)
        CloseHandle(l->lock);
    if (l->came)
        CloseHandle(l->came);
    if (l->stop)
        CloseHandle(l->stop);
    free(l);
}

static int pipe_start(struct server *server, const char *where, void **state, char why[256])
{
    struct listener *l = calloc(1, sizeof(*l));

    if (!l || !pipe_name(where, l->name)) {
        snprintf(why, 256, l ? "%.200s: that is no name of a pipe" : "no memory", where);
        free(l);
        return -1;
    }
    l->server = server;
    l->lock = l->next = INVALID_HANDLE_VALUE;
    l->came = CreateEventW(NULL, TRUE, FALSE, NULL);
    l->stop = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!l->came || !l->stop) {
        snprintf(why, 256, "no memory");
    } else if (listen_at(l, where, why) == 0) {
        *state = l;
        if (os_thread_begin(&l->thread, listener_main, l))
            return 0;
        snprintf(why, 256, "there is no thread for %.200s", where);
    }
    close_listener(l);
    return -1;
}

static void pipe_stop(void *state)
{
    struct listener *l = state;

    (void)SetEvent(l->stop);
    os_thread_join(&l->thread);
    close_listener(l);
}

const struct transport transport_local = { "pipe", pipe_start, pipe_stop, NULL };
