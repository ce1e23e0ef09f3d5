/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_service.h - a made-up service, which answers as the test wants it: a thread for each
 * connection. And clients of it.
 *
 * Behind the client's files, which are part of the test program.
 */
#ifndef CLIENT_SERVICE_H
#define CLIENT_SERVICE_H

static char where[100];
static int listener;
static bool is_silent;               /* it takes connections and nothing else */
static _Atomic uint32_t handles;     /* that it gave */
static _Atomic uint64_t filled;      /* bytes of data that came */
static _Atomic int refused;          /* command that it refuses, or 0 */
static _Atomic int swallowed;        /* command that it does not answer, or 0 */
static int refusal = CM_ENOMEM;      /* how */
static uint32_t hello_flags;         /* of its hello */
static _Atomic uint32_t opened_with; /* flags of the last open */
static _Atomic unsigned n_swallowed;
static _Atomic unsigned came[CMP_COMMANDS]; /* messages */
static _Atomic uint64_t opened_outside;     /* outside writes, of the last open */
static _Atomic uint32_t fill_flags;         /* of the last fill */
static void (*_Atomic change)(struct cmp_head *h, uint8_t *body); /* of a reply; NULL: it stays */
static struct os_thread acceptor;
static struct outside_file table_file;

static bool receive_all(int fd, void *to, size_t n)
{
    return n == 0 || recv(fd, to, n, MSG_WAITALL) == (ssize_t)n;
}

static void note_open(const uint8_t *body)
{
    struct cmp_open m;
    memcpy(&m, body, sizeof(m));
    opened_with = m.flags;
    opened_outside = m.outside;
}

static void note_fill(const uint8_t *body, size_t n)
{
    struct cmp_fill m;
    memcpy(&m, body, sizeof(m));
    fill_flags = m.flags;
    atomic_fetch_add(&filled, n - sizeof(m));
}

/* Answers one message. False: the client has ended. */
static bool serve_one(int fd)
{
    static __thread uint8_t body[CMP_MESSAGE_MAX], out[CMP_REPLY_MIN];
    struct cmp_hello_reply hello = { .block = CM_BLOCK_SIZE, .data_max = 65536, .client = 1 };
    void (*changes)(struct cmp_head *, uint8_t *);
    struct cmp_head h;
    int data;
    if (!receive_all(fd, &h, sizeof(h)) || !receive_all(fd, body, h.bytes - sizeof(h)))
        return false;
    atomic_fetch_add(&came[h.command % CMP_COMMANDS], 1);
    if (h.command == CMP_FILL) {
        note_fill(body, h.bytes - sizeof(h));
        return true;
    }
    if (h.command == swallowed) {
        atomic_fetch_add(&n_swallowed, 1);
        return true;
    }
    memset(out, 0, sizeof(out));
    hello.outside = atomic_load(&table_file.at->name);
    hello.flags = hello_flags;
    if (h.command == CMP_HELLO)
        memcpy(out + sizeof(h), &hello, sizeof(hello));
    if (h.command == CMP_OPEN)
        note_open(body);
    if (h.command == CMP_WRITE_BEGIN || h.command == CMP_TRUNCATE_BEGIN ||
        h.command == CMP_SYNC_BEGIN)
        out[sizeof(h)] = 1; /* the token */
    h.result = h.command == refused ? refusal : 0;
    if (h.command == CMP_OPEN && h.result == 0)
        h.file = atomic_fetch_add(&handles, 1) + 1;
    h.bytes = (uint32_t)sizeof(h) + (h.result < 0 ? 0 : cmp_body(h.command, 1, &data));
    changes = atomic_load(&change);
    if (changes)
        changes(&h, out + sizeof(h));
    memcpy(out, &h, sizeof(h));
    return send(fd, out, h.bytes, MSG_NOSIGNAL) == (ssize_t)h.bytes;
}

static void serve(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    while (serve_one(fd))
        ;
    close(fd);
}

static void accept_all(void *arg)
{
    int fd;
    (void)arg;
    while ((fd = accept(listener, NULL, NULL)) >= 0 || errno == EINTR)
        if (fd >= 0 && !is_silent && !os_thread_begin_alone(serve, (void *)(intptr_t)fd))
            close(fd);
}

static void service_up(bool silent)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    char path[256];
    const char *dir = getenv("TMPDIR");
    snprintf(where, sizeof(where), "%.60s/client-test-%d", dir ? dir : "/tmp", (int)getpid());
    memcpy(a.sun_path, where, sizeof(where));
    if (outside_file_open(&table_file, where, true, path) != 0)
        abort();
    is_silent = silent;
    handles = 0;
    filled = 0;
    for (unsigned i = 0; i < CMP_COMMANDS; i++)
        came[i] = 0;
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(listener, 8) != 0 ||
        !os_thread_begin(&acceptor, accept_all, NULL))
        abort();
}

static void service_down(void)
{
    char path[120];
    (void)shutdown(listener, SHUT_RDWR);
    os_thread_join(&acceptor);
    close(listener);
    outside_file_close(&table_file);
    (void)unlink(where);
    snprintf(path, sizeof(path), "%s.writes", where);
    (void)unlink(path);
}

static int identify(void *arg, cm_validator *v)
{
    (void)arg;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    return 0;
}

static cmc_client *connect_here(void)
{
    const struct cmc_options o = { .where = where, .timeout_ms = 60000 };
    cmc_client *k = NULL;
    CHECK_EQ(cmc_connect(&o, &k, NULL), 0);
    CHECK(cmc_is_connected(k));
    return k;
}

static cmc_file *open_here(cmc_client *k)
{
    const cm_file_id id = { .lo = 1 };
    cmc_file *f = NULL;
    CHECK_EQ(cmc_file_open(k, &id, 0, identify, NULL, &f), 0);
    return f;
}

#endif
