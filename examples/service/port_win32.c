/* SPDX-License-Identifier: BSD-2-Clause
 *
 * port_win32.c - the driver as a client, through the Filter Manager's communication port.
 *
 * Owns: the connection to the driver's port, the messages in flight, and the threads that answer
 * them. The driver comes and goes: a thread connects to its port, again and again, once a second,
 * and tells it which files to cache. A folder whose volume comes later is told with the next
 * connection.
 *
 * Several FilterGetMessage() are in flight, each with a buffer of its own. Any thread takes the
 * next message that has come, answers it with FilterReplyMessage(), and gives its buffer back to
 * FilterGetMessage(). So messages may be handled in another order than they were sent, but the
 * driver waits for each reply that it needs. A message without a reply (CMP_FILL) may be handled
 * late; session.c allows that.
 *
 * A driver that gives up a reply (FltSendMessage() returned STATUS_TIMEOUT) does not know the token
 * of its bracket. It has to close the port then: the end of the connection forgets what is open.
 * (So it is if a thread of the driver was ended meanwhile; of those brackets some may stay open.)
 *
 * Who: run.c, as transport_port.
 */
#include "port_win32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_rules.h"
#include "ring.h"

#define IN_FLIGHT 16u
#define THREADS 4u
#define RETRY_MS 1000u
#define ROOM RING_ROOM /* bytes of a message */

struct message {
    OVERLAPPED o; /* first: the completion names it */
    FILTER_MESSAGE_HEADER *in;
    FILTER_REPLY_HEADER *out;
};
struct port {
    struct connection connection; /* first */
    struct server *server;
    const struct port_calls *calls;
    struct port_calls system;
    WCHAR name[256];
    char rules[DRIVER_RULES_MAX];
    char said[2][512]; /* the last lines about rules, and about connections that did not come */
    HANDLE stop;       /* event */
    HANDLE port, completions;
    struct os_thread keeper, thread[THREADS];
    struct message message[IN_FLIGHT];
    _Atomic unsigned in_flight;
    _Atomic bool lost; /* no more messages */
};

/* ---- Messages -------------------------------------------------------------------------------- */

static void lose(struct port *p)
{
    atomic_store(&p->lost, true);
    (void)CancelIoEx(p->port, NULL);
}

static void shut(struct connection *c)
{
    lose((struct port *)c);
}

/* A driver that has gone may have left writes on their way. */
static bool gone(struct connection *c, unsigned ms)
{
    (void)c;
    (void)ms;
    return false;
}

/* Gives a buffer to the Filter Manager for the next message. */
static void get_message(struct port *p, struct message *m)
{
    HRESULT r;

    if (atomic_load(&p->lost))
        return;
    memset(m->in, 0,
           sizeof(*m->in) + sizeof(struct cmp_head)); /* nothing of the last one is left */
    memset(&m->o, 0, sizeof(m->o));
    atomic_fetch_add(&p->in_flight, 1);
    r = p->calls->get(p->port, m->in, (DWORD)(sizeof(*m->in) + ROOM), &m->o);
    if (FAILED(r) && r != HRESULT_FROM_WIN32(ERROR_IO_PENDING)) {
        atomic_fetch_sub(&p->in_flight, 1);
        lose(p);
    } else if (atomic_load(&p->lost)) {
        (void)CancelIoEx(p->port, NULL); /* lose() may have come before the call */
    }
}

/* The most that a reply to this message has. */
static size_t reply_max(const struct cmp_head *h)
{
    const size_t around = sizeof(*h) + sizeof(struct cmp_read_reply);
    struct cmp_read m;

    if (h->command != CMP_READ)
        return CMP_REPLY_MIN;
    memcpy(&m, h + 1, sizeof(m));
    return m.len < ROOM - around ? around + m.len : ROOM;
}

/* Room for the reply, without its header; 0: too little. Microsoft's page says that ReplyLength
 * includes the header (FILTER_REPLY_HEADER). If the page is wrong, the driver's buffer alone
 * counts, which has room for the reply and not for the header, too. Both are taken: else a wrong
 * page would mean that no driver could ever say hello. */
static size_t room_of(const struct message *m)
{
    const size_t wants = m->in->ReplyLength;
    const size_t most = reply_max((const struct cmp_head *)(m->in + 1));
    size_t room;

    if (wants == 0) /* there is no reply */
        return ROOM;
    if (wants < most)
        return 0;
    room = wants >= sizeof(*m->out) + most ? wants - sizeof(*m->out) : wants;
    return room < ROOM ? room : ROOM;
}

static void answer(struct port *p, struct message *m)
{
    uint8_t *const reply = (uint8_t *)(m->out + 1);
    const struct cmp_head *h = (const struct cmp_head *)(m->in + 1);
    const size_t room = room_of(m);
    int64_t n;

    /* The driver is a part of the kernel; still, nothing behind the buffer is looked at. */
    if (h->bytes > ROOM) {
        server_drop(&p->connection, cmp_fault_text(CMP_LENGTH));
        return;
    }
    if (room == 0) {
        server_drop(&p->connection, "it has no room for the reply");
        return;
    }
    n = server_handle(&p->connection, true, m->in + 1, h->bytes, reply, room);
    if (n <= 0)
        return;
    m->out->Status = 0;
    m->out->MessageId = m->in->MessageId;
    /* An error: the driver waits no more for this one. */
    (void)p->calls->reply(p->port, m->out, (DWORD)(sizeof(*m->out) + (size_t)n));
}

/* Answers messages until the connection is lost and nothing is in flight. */
static void serve(void *arg)
{
    struct port *p = arg;
    OVERLAPPED *o;
    ULONG_PTR key;
    DWORD n;

    for (;;) {
        const BOOL ok = GetQueuedCompletionStatus(p->completions, &n, &key, &o, INFINITE);

        if (o) {
            struct message *m = (struct message *)o;

            atomic_fetch_sub(&p->in_flight, 1);
            if (ok) {
                answer(p, m);
                get_message(p, m);
            } else {
                lose(p);
            }
        }
        if (atomic_load(&p->lost) && atomic_load(&p->in_flight) == 0) {
            (void)PostQueuedCompletionStatus(p->completions, 0, 0, NULL); /* for the next thread */
            return;
        }
    }
}

/* ---- The connection -------------------------------------------------------------------------- */

/* The port is open. Returns when it is lost. */
static void serve_driver(struct port *p)
{
    unsigned threads = 0;

    atomic_store(&p->lost, false);
    p->connection.kind = "driver";
    p->connection.client = 0;
    p->connection.data_max = RING_DATA;
    p->connection.shut = shut;
    p->connection.gone = gone;
    if (!server_enter(p->server, &p->connection))
        return;
    while (threads < THREADS && os_thread_begin(&p->thread[threads], serve, p))
        threads++;
    if (threads > 0) {
        server_log(p->server, LOG_NOTE, "the driver is connected");
        if (WaitForSingleObject(p->stop, 0) == WAIT_OBJECT_0)
            lose(p); /* stop() came before the server knew the connection */
        for (unsigned i = 0; i < IN_FLIGHT; i++)
            get_message(p, &p->message[i]);
    } else {
        server_drop(&p->connection, "there is no thread for it");
    }
    /* If nothing is in flight, nothing comes: a thread has to look. */
    if (atomic_load(&p->lost))
        (void)PostQueuedCompletionStatus(p->completions, 0, 0, NULL);
    for (unsigned i = 0; i < threads; i++)
        os_thread_join(&p->thread[i]);
    server_leave(&p->connection);
    server_log(p->server, LOG_NOTE, "the driver is not connected any more");
}

/* Says it once, and not every second. */
static void say(struct port *p, unsigned of, enum log_weight w, const char *text)
{
    if (strcmp(p->said[of], text) == 0)
        return;
    snprintf(p->said[of], sizeof(p->said[of]), "%s", text);
    server_log(p->server, w, "%s", text);
}

/* *bytes of rules for the driver. False: there are none. */
static bool make_rules(struct port *p, WORD *bytes)
{
    static const struct folders none;
    const struct folders *const f = p->server->folders ? p->server->folders : &none;
    char why[256], left_out[DRIVER_LEFT_OUT];
    const uint32_t n = driver_rules(f, p->server->pool, driver_name_win32, driver_volume_win32,
                                    p->rules, left_out, why);

    if (n == 0)
        say(p, 0, LOG_TROUBLE, why);
    else if (left_out[0])
        say(p, 0, LOG_WARN, left_out);
    *bytes = (WORD)n;
    return n > 0;
}

/* What to do when the driver does not want to. */
static const char *advice(HRESULT r)
{
    if (r == HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED))
        return "; run the service as administrator, or install it (\"cachemax-service install\")";
    if (r == HRESULT_FROM_WIN32(ERROR_CONNECTION_COUNT_LIMIT) ||
        r == HRESULT_FROM_WIN32(ERROR_CONNECTION_REFUSED))
        return "; it serves another service: stop that one";
    if (r == E_INVALIDARG)
        return "; it does not understand the folders: install driver and service of one version";
    return "";
}

/* False: the driver is not there, or does not want to. */
static bool connect_driver(struct port *p)
{
    char line[256];
    WORD bytes;
    HRESULT r;

    if (!make_rules(p, &bytes))
        return false;
    r = p->calls->connect(p->name, 0, p->rules, bytes, NULL, &p->port);
    if (FAILED(r)) {
        if (r != HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND)) {
            snprintf(line, sizeof(line), "the driver refuses: error 0x%08lx%s", (unsigned long)r,
                     advice(r));
            say(p, 1, LOG_WARN, line);
        } else {
            say(p, 1, LOG_NOTE,
                "waits for the driver; \"fltmc load CacheFilter\", as administrator, loads it");
        }
        return false;
    }
    p->said[1][0] = 0;
    p->completions = CreateIoCompletionPort(p->port, NULL, 0, THREADS);
    if (p->completions)
        return true;
    CloseHandle(p->port);
    return false;
}

static void keep(void *arg)
{
    struct port *p = arg;

    do {
        if (connect_driver(p)) {
            serve_driver(p);
            CloseHandle(p->completions);
            CloseHandle(p->port);
        }
    } while (WaitForSingleObject(p->stop, RETRY_MS) == WAIT_TIMEOUT);
}

/* ---- The transport --------------------------------------------------------------------------- */

static void free_port(struct port *p)
{
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        free(p->message[i].in);
        free(p->message[i].out);
    }
    if (p->stop)
        CloseHandle(p->stop);
    free(p);
}

static bool make_buffers(struct port *p)
{
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        struct message *m = &p->message[i];

        m->in = malloc(sizeof(*m->in) + ROOM);
        m->out = malloc(sizeof(*m->out) + ROOM);
        if (!m->in || !m->out)
            return false;
        memset(m->out, 0, sizeof(*m->out));
    }
    p->stop = CreateEventW(NULL, TRUE, FALSE, NULL);
    return p->stop != NULL;
}

/* The calls of the system. They are looked up, because a Windows without the Filter Manager's
 * library can run the service, too. */
static bool load_calls(struct port_calls *c)
{
    HMODULE lib = LoadLibraryExW(L"fltlib.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    FARPROC f[3] = { NULL, NULL, NULL };

    if (lib) {
        f[0] = GetProcAddress(lib, "FilterConnectCommunicationPort");
        f[1] = GetProcAddress(lib, "FilterGetMessage");
        f[2] = GetProcAddress(lib, "FilterReplyMessage");
    }
    memcpy(&c->connect, &f[0], sizeof(f[0]));
    memcpy(&c->get, &f[1], sizeof(f[1]));
    memcpy(&c->reply, &f[2], sizeof(f[2]));
    return f[0] && f[1] && f[2];
}

int port_start(struct server *s, const char *name, const struct port_calls *calls, void **state,
               char why[256])
{
    struct port *p = calloc(1, sizeof(*p));
    const char *wrong = "no memory";

    if (p && make_buffers(p)) {
        p->server = s;
        p->calls = calls ? calls : &p->system;
        if (!calls && !load_calls(&p->system))
            wrong = "this system has no fltlib.dll";
        else if (!MultiByteToWideChar(CP_UTF8, 0, name, -1, p->name, 256))
            wrong = "the name is too long";
        else if (!os_thread_begin(&p->keeper, keep, p))
            wrong = "there is no thread for it";
        else {
            *state = p;
            return 0;
        }
    }
    snprintf(why, 256, "%.200s: %s", name, wrong);
    if (p)
        free_port(p);
    return -1;
}

static int start(struct server *s, const char *where, void **state, char why[256])
{
    return port_start(s, where, NULL, state, why);
}

static void stop(void *state)
{
    struct port *p = state;

    SetEvent(p->stop);
    server_shut(p->server, &p->connection);
    os_thread_join(&p->keeper);
    free_port(p);
}

const struct transport transport_port = { "port", start, stop, NULL };
