/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_client.c - a client of the service at its worst moments. The service is made up: a thread
 * for each connection that answers as the test wants it.
 *
 * The client's files are part of this program, so that a test can do what another thread would do
 * between two of their steps.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#include "../../examples/service/os.h"

/* What another thread does before this one changes a word or takes a lock. Once. */
static void (*meanwhile)(void);
static void *before;

static void others_run(void *at)
{
    void (*const run)(void) = meanwhile;
    if (at != before || !run)
        return;
    meanwhile = NULL;
    run();
}

static uint32_t fetch_and(_Atomic uint32_t *at, uint32_t keep)
{
    others_run(at);
    return atomic_fetch_and_explicit(at, keep, memory_order_seq_cst);
}

static void take_lock(os_mutex *m)
{
    others_run(m);
    os_lock(m);
}

/* A signal comes in each poll(). */
static int poll_interrupted(const struct pollfd *p)
{
    (void)p;
    errno = EINTR;
    return -1;
}

static _Atomic unsigned allocations; /* of space for a file */

static int allocate(int fd, off_t from, off_t n)
{
    allocations++;
    return posix_fallocate(fd, from, n);
}

static __thread int mutexes; /* of this thread: begun and not ended */

#undef atomic_fetch_and
#define atomic_fetch_and(at, keep) fetch_and(at, keep)
#undef atomic_store
#define atomic_store(at, to) (others_run(at), atomic_store_explicit(at, to, memory_order_seq_cst))
#undef atomic_compare_exchange_strong
#define atomic_compare_exchange_strong(at, was, to)                                                \
    (others_run(at), atomic_compare_exchange_strong_explicit(at, was, to, memory_order_seq_cst,    \
                                                             memory_order_seq_cst))
#define os_lock(m) take_lock(m)
#define os_mutex_begin(m) (mutexes++, os_mutex_begin(m))
#define os_mutex_end(m) (mutexes--, os_mutex_end(m))
#define poll(p, n, ms) poll_interrupted(p)
#define posix_fallocate(fd, from, n) allocate(fd, from, n)
#include "../../examples/service/client.c"
#include "../../examples/service/client_link.c"
#include "../../examples/service/client_read.c"
#include "../../examples/service/client_steer.c"
#include "../../examples/service/client_through.c"
#undef BLOCK
#include "../../examples/service/client_warm.c"
#include "../../examples/service/failed_posix.c"
#include "../../examples/service/client_socket.c"
#include "../../examples/service/outside_file.c"
#undef os_lock
#undef os_mutex_begin
#undef os_mutex_end

#include "client_service.h"

/* ---- Slots of the ring ----------------------------------------------------------------------- */

static struct link raced;

static void another_fill(void)
{
    static const uint8_t data[16];
    const struct cmp_fill m = { .ticket = 1 };
    const struct request q = { CMP_FILL, 1, &m, data, sizeof(m), sizeof(data) };
    link_tell(&raced, &q);
}

/* A thread sees that a slot's fill was handled. Before it takes the slot, another one takes it and
 * asks again. */
static void test_slot_taken_again(void)
{
    struct ring *r = calloc(1, sizeof(*r));
    REQUIRE(r != NULL);
    raced = (struct link){ .refs = 1, .told = 1 };
    raced.ring.ring = r;
    raced.ring.bell = eventfd(0, 0);
    r->slot[0].state = RING_ANSWERED;
    before = &raced.told;
    meanwhile = another_fill;
    CHECK_EQ(claim_slot(&raced), RING_SLOTS);
    CHECK_EQ(r->slot[0].state, RING_ASKED);
    CHECK_EQ(raced.told, 1);
    r->slot[0].state = RING_ANSWERED;
    CHECK_EQ(claim_slot(&raced), 0);
    CHECK_EQ(raced.told, 0);
    close((int)raced.ring.bell);
    free(r);
}

/* ---- Signals --------------------------------------------------------------------------------- */

#define TICK_US 10000
#define TICKS_MAX 1000 /* a call that has not returned by then never will */
static volatile sig_atomic_t ticks;

static void every(long us)
{
    const struct itimerval t = { { 0, us }, { 0, us } };
    (void)setitimer(ITIMER_REAL, &t, NULL);
}

static void tick(int sig)
{
    (void)sig;
    if (++ticks == TICKS_MAX)
        every(0);
}

static void ticks_begin(void)
{
    const struct sigaction a = { .sa_handler = tick };
    (void)sigaction(SIGALRM, &a, NULL);
    ticks = 0;
    every(TICK_US);
}

/* A program with a timer, and a service that does not answer. */
static void test_signals(void)
{
    const struct cmc_options o = { .where = where, .timeout_ms = 100 };
    struct client_stream s;
    int away;
    uint8_t *bytes = calloc(1, 8 << 20);
    const struct piece p[2] = { { bytes, 8 << 20 }, { NULL, 0 } };
    REQUIRE(bytes != NULL);
    service_up(true);
    ticks_begin();
    CHECK(link_open(&o, 1, &away) == NULL);
    CHECK(ticks < TICKS_MAX);
    ticks_begin();
    CHECK(client_stream_open(&s, where, 100000000));
    CHECK(!client_stream_send(&s, p));
    CHECK(ticks < TICKS_MAX);
    every(0);
    client_stream_close(&s);
    service_down();
    free(bytes);
}

/* ---- Connections that end -------------------------------------------------------------------- */

static cmc_client *client;
static cmc_file *file;

/* The link is lost, and another thread opens the file on the next one. */
static void another_link(void)
{
    uint8_t buf[16];
    cmc_miss miss;
    (void)lose(client->link);
    CHECK_EQ(cmc_read(file, 0, buf, sizeof(buf), &miss), 0);
    CHECK_EQ(file->opened >> 32, 3);
}

/* A thread comes late with a link that is lost. It leaves the handle of the next one alone. */
static void test_late_link(void)
{
    uint8_t buf[16];
    cmc_miss miss;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    CHECK_EQ(file->opened, UINT64_C(1) << 32 | 1);
    (void)lose(client->link);
    before = &file->lock;
    meanwhile = another_link;
    CHECK_EQ(cmc_read(file, 0, buf, sizeof(buf), &miss), 0);
    CHECK(cmc_read(file, 5, buf, 0, &miss) == 0 && miss.len == 0 &&
          !cmc_read_whole(file, 5, buf, 0));
    CHECK(file->opened == (UINT64_C(3) << 32 | 2) && handles == 2);
    cmc_file_close(file), cmc_disconnect(client);
    service_down();
}

/* A write and a sync end when their service is gone, and the next one is there. That one is not
 * told of them: the same tokens may be those of others there. */
static void test_end_elsewhere(void)
{
    cmc_bracket w, s;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    for (unsigned lives = 0; lives < 2; lives++) {
        CASE("lives %u", lives);
        CHECK_EQ(cmc_write_begin(file, 0, 1, &w), 0);
        CHECK_EQ(cmc_sync_begin(file, &s), 0);
        CHECK(w.token != 0 && s.token != 0);
        if (!lives)
            (void)lose(client->link);
        CHECK(cmc_is_connected(client));
        CHECK_EQ(cmc_write_end(file, &w, NULL), 0);
        CHECK_EQ(cmc_sync_end(file, &s, 1, NULL), lives ? 0 : CMC_UNTOLD);
        CHECK_EQ(client->links, 2);
        CHECK_EQ(handles, 2);
        CHECK_EQ(came[CMP_WRITE_END], lives);
        CHECK_EQ(came[CMP_SYNC_END], lives);
    }
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

/* ---- Fills and descriptors ------------------------------------------------------------------- */

/* A read that does not begin at a block misses one block more than a message may have. */
static void test_long_fill(void)
{
    static const uint8_t data[17 * CM_BLOCK_SIZE];
    service_up(false);
    cmc_client *k = connect_here();
    cmc_file *f = open_here(k);
    const cmc_miss miss = { .len = sizeof(data), .handle = 1, .ticket = 5, .connection = 1 };
    CHECK_EQ(cmc_fill(f, &miss, data, sizeof(data), CM_FILL_EOF), 0);
    CHECK_EQ(cmc_invalidate(f, 0, CM_ALL), 0); /* the fill came before */
    CHECK_EQ(filled, 65536);
    CHECK_EQ(fill_flags, 0); /* the file does not end there */
    CHECK_EQ(cmc_fill(f, &miss, data, 65536, CM_FILL_EOF), 0);
    CHECK_EQ(cmc_invalidate(f, 0, CM_ALL), 0);
    CHECK_EQ(fill_flags, CMP_FILL_EOF);
    cmc_file_close(f);
    cmc_disconnect(k);
    service_down();
}

/* A connection is lost between a miss and its fill. On the next one the file may have the same
 * handle, and a miss of another version the same ticket. */
static void test_fill_elsewhere(void)
{
    static const uint8_t data[CM_BLOCK_SIZE];
    service_up(false);
    client = connect_here();
    file = open_here(client);
    (void)lose(client->link);
    CHECK_EQ(cmc_invalidate(file, 0, CM_ALL), 0);
    CHECK_EQ(file->opened, UINT64_C(2) << 32 | 2);
    for (uint32_t connection = 1; connection < 4; connection++)
        for (uint32_t handle = 1; handle < 4; handle++) {
            CASE("connection %u, handle %u", connection, handle);
            const cmc_miss miss = {
                .len = sizeof(data), .handle = handle, .ticket = 5, .connection = connection
            };
            filled = 0;
            CHECK_EQ(cmc_fill(file, &miss, data, sizeof(data), 0), 0);
            CHECK_EQ(cmc_invalidate(file, 0, CM_ALL), 0); /* the fill came before */
            CHECK_EQ(filled, connection == 2 && handle == 2 ? sizeof(data) : 0);
        }
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

static int next_descriptor(void)
{
    const int fd = dup(0);
    close(fd);
    return fd;
}

/* There is room for one of the two descriptors of a ring. */
static void test_one_descriptor(void)
{
    struct client_stream s = { .handle = CLIENT_STREAM_NONE };
    struct ring_pass pass = RING_PASS_NONE;
    struct rlimit all, few;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = { .room = { 0 } };
    uint8_t byte = 0;
    struct iovec v = { &byte, 1 };
    const struct msghdr m = { .msg_iov = &v,
                              .msg_iovlen = 1,
                              .msg_control = control.room,
                              .msg_controllen = sizeof(control.room) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    const struct piece p[2] = { { &byte, 1 }, { NULL, 0 } };
    const int two[2] = { 0, 1 };
    int fd[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0 && getrlimit(RLIMIT_NOFILE, &all) == 0);
    c->cmsg_len = CMSG_LEN(sizeof(two));
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(c), two, sizeof(two));
    REQUIRE(sendmsg(fd[0], &m, 0) == 1);
    s.handle = fd[1];
    const int next = next_descriptor();
    few = (struct rlimit){ (rlim_t)next + 1, all.rlim_max };
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_EQ(client_stream_receive(&s, p, true, &pass), 1);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
    CHECK(pass.fd[0] < 0 && pass.fd[1] < 0);
    CHECK_EQ(next_descriptor(), next);
    close(fd[0]);
    close(fd[1]);
}

/* A signal says nothing about the service. */
static void test_interrupted_look(void)
{
    struct client_stream s = { .handle = CLIENT_STREAM_NONE };
    service_up(true);
    REQUIRE(client_stream_open(&s, where, 100000000));
    CHECK(!client_stream_is_cut(&s));
    client_stream_close(&s);
    service_down();
}

/* A service that takes connections and opens files, but does not answer what a write asks. It costs
 * no more than a tenth of the time in the long run. */
static void test_half_dead(void)
{
    enum { MS = 50, ALL_MS = 3000 };
    const struct cmc_options o = { .where = where, .timeout_ms = MS };
    const cm_file_id id = { .hi = 1, .lo = 2 };
    char why[256];
    cmc_client *k;
    cmc_file *f;
    cmc_bracket w;
    service_up(false);
    swallowed = CMP_WRITE_BEGIN;
    n_swallowed = 0;
    REQUIRE(cmc_connect(&o, &k, why) == 0);
    REQUIRE(cmc_file_open(k, &id, 0, identify, NULL, &f) == 0);
    for (const uint64_t end = os_now_ns() + ALL_MS * UINT64_C(1000000); os_now_ns() < end;) {
        CHECK_EQ(cmc_write_begin(f, 0, 4096, &w), 0);
        CHECK_EQ(cmc_write_end(f, &w, NULL), 0);
        os_sleep_ms(1);
    }
    /* Four quick ones, and then one in eleven time-outs. */
    CHECK(n_swallowed >= 2 && n_swallowed <= 4 + ALL_MS / (11 * MS));
    swallowed = 0;
    cmc_file_close(f);
    cmc_disconnect(k);
    service_down();
}

/* ---- The table of outside writes ------------------------------------------------------------- */

/* A second service is started at the same place by mistake. The first one's memory stays whole at
 * every moment. */
static void test_second_service(void)
{
    struct outside_file first, second;
    allocations = 0;
    char why[256];
    const char *dir = getenv("TMPDIR");
    snprintf(where, sizeof(where), "%.60s/client-test-%d", dir ? dir : "/tmp", (int)getpid());
    REQUIRE(outside_file_open(&first, where, true, why) == 0);
    CHECK_EQ(allocations, 1);
    first.at->place[5].begun = 7;
    REQUIRE(outside_file_open(&second, where, true, why) == 0);
    CHECK_EQ(allocations, 1);              /* it was never shorter */
    CHECK_EQ(first.at->place[5].begun, 7); /* nor cleared */
    outside_file_close(&first);
    outside_file_close(&second);
    REQUIRE(outside_file_open(&first, where, true, why) == 0);
    CHECK_EQ(first.at->place[5].begun, 0); /* nobody had it */
    outside_file_close(&first);
    snprintf(why, sizeof(why), "%s.writes", where);
    CHECK_EQ(unlink(why), 0);
}

static struct outside table;

/* Another thread frees the place of the client that has ended, and then a client takes it. */
static void another_claim(void)
{
    table.claim[0] = UINT64_C(9) << 32 | 77;
}

static void test_claim_taken_again(void)
{
    table.claim[0] = UINT64_C(9) << 32 | 66;
    before = &table.claim[0];
    meanwhile = another_claim;
    outside_client_ended(&table, 66);
    CHECK_EQ(table.claim[0], UINT64_C(9) << 32 | 77);
    outside_client_ended(&table, 77);
    CHECK_EQ(table.claim[0], 0);
}

/* Have so many writes of the file begun and ended outside, since this was asked last? */
static bool were_outside(uint64_t begun, uint64_t ended)
{
    static uint64_t had_begun, had_ended;
    const uint64_t new_begun = outside_begun(table_file.at, file->hash) - had_begun;
    const uint64_t new_ended = outside_ended(table_file.at, file->hash) - had_ended;
    had_begun += new_begun;
    had_ended += new_ended;
    return new_begun == begun && new_ended == ended;
}

/* What the service cannot be told, or does not take, is noted where it looks: a write as long as it
 * lasts, and a change or a file that is gone as a write that has ended. */
static void test_untold(void)
{
    enum { TOLD, REFUSED, AWAY, CASES };
    const cm_file_id id = { .lo = 1 };
    cmc_bracket w;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    (void)were_outside(0, 0);
    for (unsigned how = TOLD; how < CASES; how++) {
        CASE("how %u", how);
        const unsigned noted = how != TOLD;
        if (how == AWAY) {
            (void)lose(client->link);
            client->trying = true; /* and it is not looked for */
        }
        for (unsigned truncates = 0; truncates < 2; truncates++) {
            refused = how == REFUSED ? truncates ? CMP_TRUNCATE_BEGIN : CMP_WRITE_BEGIN : 0;
            CHECK_EQ(truncates ? cmc_truncate_begin(file, 1, &w) : cmc_write_begin(file, 0, 1, &w),
                     0);
            CHECK(were_outside(noted, 0));
            CHECK_EQ(cmc_write_end(file, &w, NULL), 0);
            CHECK(were_outside(0, noted));
        }
        refused = how == REFUSED ? CMP_INVALIDATE : 0;
        CHECK_EQ(cmc_invalidate(file, 0, CM_ALL), 0);
        CHECK(were_outside(noted, noted));
        refused = how == REFUSED ? CMP_FORGET : 0;
        CHECK_EQ(cmc_forget(client, &id, 1), noted ? CMC_UNTOLD : 0);
        CHECK(were_outside(noted, noted));
    }
    refused = 0;
    client->trying = false;
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

static unsigned claims(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < OUTSIDE_CLAIMS; i++)
        n += table_file.at->claim[i] != 0;
    return n;
}

/* A client leaves claims for the others: it keeps none of a begin that was refused, and has a
 * share of them only. */
static void test_share_of_claims(void)
{
    static cmc_bracket w[100];
    service_up(false);
    client = connect_here();
    file = open_here(client);
    refused = CMP_WRITE_BEGIN;
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQ(cmc_write_begin(file, 0, 1, &w[i]), 0);
        CHECK_EQ(w[i].outside, 1);
    }
    CHECK_EQ(claims(), 0);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(cmc_write_end(file, &w[i], NULL), 0);
    refused = 0;
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQ(cmc_write_begin(file, 0, 1, &w[i]), 0);
        CHECK_EQ(w[i].outside, i >= CLAIMS_MAX);
    }
    CHECK_EQ(claims(), CLAIMS_MAX);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(cmc_write_end(file, &w[i], NULL), 0);
    CHECK_EQ(claims(), 0);
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

/* A file that was refused is tried again. */
static void test_refused_file(void)
{
    uint8_t buf[16];
    cmc_miss miss;
    service_up(false);
    client = connect_here();
    refused = CMP_OPEN;
    file = open_here(client);
    refused = 0;
    for (unsigned i = 0; i < 60000 && handles == 0; i++) {
        CHECK_EQ(cmc_read(file, 0, buf, sizeof(buf), &miss), 0);
        os_sleep_ms(1);
    }
    CHECK_EQ(handles, 1);
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

/* Another thread has the stream, and does not get its answer: nobody waits for ever. */
static void test_stream_in_use(void)
{
    cmc_bracket w;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    struct link *l = client->link;
    link_hold(l);
    l->timeout_ns = 1000000;
    CHECK(take_stream(l, CMP_READ));
    CHECK_EQ(cmc_write_begin(file, 0, 1, &w), 0);
    CHECK_EQ(w.outside, 1);
    CHECK(link_is_lost(l));
    leave_stream(l);
    link_drop(l);
    CHECK_EQ(cmc_write_end(file, &w, NULL), 0);
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

/* A file that could not be identified at first. */
static int unlucky(void *arg, cm_validator *v)
{
    unsigned *left = arg;
    if (*left == 0)
        return identify(NULL, v);
    --*left;
    return -1234;
}

static void test_revalidate_refused(void)
{
    const cm_file_id id = { .hi = 1, .lo = 2 };
    unsigned left = 2;
    cmc_file *f;
    service_up(false);
    cmc_client *k = connect_here();
    CHECK_EQ(cmc_file_open(k, &id, 0, unlucky, &left, &f), 0);
    CHECK_EQ(cmc_file_revalidate(f), -1234);
    CHECK_EQ(left, 0);
    CHECK_EQ(handles, 0);
    CHECK_EQ(cmc_file_revalidate(f), 0);
    CHECK_EQ(handles, 1); /* now it is open */
    cmc_file_close(f);
    cmc_disconnect(k);
    service_down();
}

/* Where there can be no service. Nothing is made there. */
static void test_no_place(void)
{
    char name[200], why[256];
    const struct cmc_options o = { .where = name, .timeout_ms = 100 };
    const int had = mutexes;
    cmc_client *k;
    name[0] = 0;
    CHECK_EQ(cmc_connect(&o, &k, why), CM_EINVAL);
    memset(name, 'x', 150);
    name[150] = 0;
    CHECK_EQ(cmc_connect(&o, &k, why), CM_EINVAL);
    CHECK(strstr(why, "too long") != NULL);
    strcpy(name, "/tmp");
    CHECK_EQ(cmc_connect(&o, &k, why), CM_EINVAL);
    CHECK(strcmp(why, "/tmp: it is no socket") == 0);
    CHECK_EQ(access("/tmp.writes", F_OK), -1);
    strcpy(name, "/no such directory/socket");
    CHECK_EQ(cmc_connect(&o, &k, why), CM_ENOENT);
    CHECK(strcmp(why, "/no such directory/socket.writes: No such file or directory") == 0);
    CHECK_EQ(mutexes, had);
}

/* The name is a link, and no service is there that could be asked for its table. It would be the
 * one beside the socket. */
static void test_link_to_nothing(void)
{
    char link[120], why[256];
    const char *dir = getenv("TMPDIR");
    const struct cmc_options o = { .where = link, .timeout_ms = 100 };
    cmc_client *k;
    snprintf(link, sizeof(link), "%.60s/client-link-%d", dir ? dir : "/tmp", (int)getpid());
    REQUIRE(symlink("/no such directory/socket", link) == 0);
    CHECK_EQ(cmc_connect(&o, &k, why), CM_EINVAL);
    CHECK(k == NULL && strstr(why, "a link") != NULL);
    cmc_disconnect(k);
    CHECK_EQ(unlink(link), 0);
    strcat(link, ".writes");
    CHECK_EQ(access(link, F_OK), -1);
    (void)unlink(link);
}

/* The service is reached by a link to its socket, whose table is another file. */
static void test_other_table(void)
{
    char link[120], why[256];
    const struct cmc_options o = { .where = link, .timeout_ms = 60000 };
    cmc_client *k;
    service_up(false);
    snprintf(link, sizeof(link), "%s-link", where);
    REQUIRE(symlink(where, link) == 0);
    CHECK_EQ(cmc_connect(&o, &k, why), CM_EACCES);
    CHECK(k == NULL && strstr(why, "-link.writes is not the file") != NULL);
    cmc_disconnect(k);
    CHECK_EQ(unlink(link), 0);
    strcat(link, ".writes");
    CHECK_EQ(unlink(link), 0);
    cmc_disconnect(connect_here());
    service_down();
}

/* Has a write begun there, of this file, and not ended? */
static bool has_begun(const struct outside_file *o, const cm_file_id *id)
{
    return outside_begun(o->at, outside_hash(id)) != outside_ended(o->at, outside_hash(id));
}

/* The table of the socket becomes another file while a client lives: it was deleted, and a service
 * has made a new one; or the name leads to another place now. What the client writes without a
 * bracket is noted where the service looks. */
static void test_table_moved(void)
{
    char own[120], own_table[140], why[256];
    const struct cmc_options o = { .where = own, .timeout_ms = 100 };
    const cm_file_id id = { .hi = 1, .lo = 2 };
    for (unsigned how = 0; how < 2; how++) {
        CASE("how %u", how);
        struct outside_file other;
        cmc_bracket w;
        cmc_client *k;
        cmc_file *f;
        service_up(true);
        snprintf(own, sizeof(own), "%s-own", where);
        snprintf(own_table, sizeof(own_table), "%s.writes", own);
        REQUIRE(cmc_connect(&o, &k, why) == 0);
        REQUIRE(cmc_file_open(k, &id, 0, identify, NULL, &f) == 0);
        if (how == 0) {
            CHECK_EQ(unlink(own_table), 0);
            REQUIRE(outside_file_open(&other, own, true, why) == 0);
        } else {
            other = table_file;
            CHECK_EQ(symlink(where, own), 0);
        }
        CHECK(!has_begun(&other, &id));
        CHECK_EQ(cmc_write_begin(f, 0, 4096, &w), 0);
        CHECK(has_begun(&other, &id));
        CHECK_EQ(cmc_write_end(f, &w, NULL), 0);
        CHECK(has_begun(&other, &id)); /* for good: it is not known when it was noted there */
        cmc_file_close(f);
        cmc_disconnect(k);
        if (how == 0)
            outside_file_close(&other);
        (void)unlink(own_table);
        (void)unlink(own);
        service_down();
    }
}

/* ---- Failed syncs ---------------------------------------------------------------------------- */

static cm_file_id taken[8];
static unsigned n_taken;
static bool may_take;

static bool take(void *arg, const cm_file_id *id)
{
    (void)arg;
    if (n_taken < 8)
        taken[n_taken++] = *id;
    return may_take;
}

/* A sync fails while there is no service, and then the program is killed. A service that starts
 * later finds the file's id, once. */
static void test_failed_sync(void)
{
    char why[256], list[140];
    const char *dir = getenv("TMPDIR");
    const struct cmc_options o = { .where = where, .timeout_ms = 100 };
    const cm_file_id id[2] = { { .hi = 1, .lo = 2 }, { .hi = 3, .lo = 4 } };
    cmc_bracket s;
    cmc_client *k;
    cmc_file *f[2];
    int fd;
    snprintf(where, sizeof(where), "%.60s/client-test-%d", dir ? dir : "/tmp", (int)getpid());
    snprintf(list, sizeof(list), "%s.failed", where);
    failed_take(where, take, NULL);
    CHECK_EQ(access(list, F_OK), -1); /* it is not made for nothing */
    REQUIRE(cmc_connect(&o, &k, why) == 0);
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(cmc_file_open(k, &id[i], 0, identify, NULL, &f[i]) == 0);
        cmc_sync_begin(f[i], &s);
        CHECK_EQ(cmc_sync_end(f[i], &s, 1, NULL), CMC_UNTOLD); /* it has not failed */
        CHECK_EQ(access(list, F_OK), i == 0 ? -1 : 0);
        cmc_sync_begin(f[i], &s);
        CHECK_EQ(cmc_sync_end(f[i], &s, 0, NULL), CMC_UNTOLD);
        if (i == 0) { /* a client was killed while it wrote */
            fd = open(list, O_WRONLY | O_APPEND);
            CHECK_EQ(write(fd, "part", 4), 4);
            close(fd);
        }
    }
    n_taken = 0;
    may_take = false;
    failed_take(where, take, NULL);
    CHECK_EQ(n_taken, 2);
    may_take = true; /* what could not be taken comes again */
    failed_take(where, take, NULL);
    CHECK_EQ(n_taken, 4);
    CHECK(memcmp(taken, id, sizeof(id)) == 0 && memcmp(taken + 2, id, sizeof(id)) == 0);
    failed_take(where, take, NULL);
    CHECK_EQ(n_taken, 4);
    for (unsigned i = 0; i < 2; i++)
        cmc_file_close(f[i]);
    cmc_disconnect(k);
    CHECK_EQ(unlink(list), 0);
    snprintf(list, sizeof(list), "%s.writes", where);
    CHECK_EQ(unlink(list), 0);
}

/* The program tries again and again, as it should: the list does not grow. The name of the socket
 * leads to another place meanwhile: the service looks there. */
static void test_failed_sync_again(void)
{
    char own[120], list[140], why[256];
    const struct cmc_options o = { .where = own, .timeout_ms = 100 };
    const cm_file_id id = { .hi = 1, .lo = 2 };
    struct stat st;
    cmc_bracket s;
    cmc_client *k;
    cmc_file *f;
    service_up(true);
    snprintf(own, sizeof(own), "%s-own", where);
    REQUIRE(cmc_connect(&o, &k, why) == 0);
    REQUIRE(cmc_file_open(k, &id, 0, identify, NULL, &f) == 0);
    for (unsigned led = 0; led < 2; led++) {
        CASE("led %u", led);
        for (unsigned i = 0; i < 3; i++) {
            cmc_sync_begin(f, &s);
            CHECK_EQ(cmc_sync_end(f, &s, 0, NULL), CMC_UNTOLD);
        }
        snprintf(list, sizeof(list), "%s.failed", led ? where : own);
        CHECK_EQ(stat(list, &st), 0);
        CHECK_EQ(st.st_size, sizeof(id));
        (void)unlink(list);
        if (!led)
            REQUIRE(symlink(where, own) == 0);
    }
    cmc_file_close(f);
    cmc_disconnect(k);
    (void)unlink(own);
    strcat(own, ".writes");
    (void)unlink(own);
    service_down();
}

static int held;

/* Only what is broken waits for this. */
static void let_go(void *arg)
{
    (void)arg;
    os_sleep_ms(5000);
    close(held);
}

static void hold_lock(const char *suffix, struct os_thread *t)
{
    char path[140];
    snprintf(path, sizeof(path), "%s%s", where, suffix);
    held = open(path, O_RDWR);
    REQUIRE(held >= 0 && flock(held, LOCK_EX) == 0);
    REQUIRE(os_thread_begin(t, let_go, NULL));
}

/* A process was stopped while it had one of the files beside the socket locked. Nobody waits for
 * it for long: no client, and not the service, which could not even end. */
static void test_lock_is_held(void)
{
    const cm_file_id id[2] = { { .hi = 1, .lo = 2 }, { .hi = 3, .lo = 4 } };
    const struct cmc_options o = { .where = where, .timeout_ms = 100 };
    char path[140], why[256];
    struct os_thread t;
    uint64_t began;
    cmc_client *k;
    service_up(true);
    CHECK(failed_note(where, &id[0]));
    hold_lock(".failed", &t);
    n_taken = 0;
    may_take = true;
    began = os_now_ns();
    failed_take(where, take, NULL);
    CHECK_EQ(n_taken, 1);
    CHECK(os_now_ns() - began < UINT64_C(1000000000));
    CHECK(!failed_note(where, &id[1]));
    CHECK(os_now_ns() - began < UINT64_C(4000000000));
    os_thread_join(&t);
    failed_take(where, take, NULL); /* it was not emptied */
    CHECK_EQ(n_taken, 2);
    CHECK(failed_note(where, &id[1]));
    outside_file_close(&table_file); /* its own lock */
    hold_lock(".writes", &t);
    began = os_now_ns();
    CHECK_EQ(cmc_connect(&o, &k, why), CM_EACCES);
    CHECK(strstr(why, "lock") != NULL);
    CHECK(os_now_ns() - began < UINT64_C(4000000000));
    os_thread_join(&t);
    REQUIRE(outside_file_open(&table_file, where, true, why) == 0);
    snprintf(path, sizeof(path), "%s.failed", where);
    CHECK_EQ(unlink(path), 0);
    service_down();
}

static const struct harness_test tests[] = {
    TEST(slot_taken_again), TEST(signals),          TEST(half_dead),       TEST(revalidate_refused),
    TEST(no_place),         TEST(failed_sync),      TEST(late_link),       TEST(long_fill),
    TEST(one_descriptor),   TEST(interrupted_look), TEST(second_service),  TEST(claim_taken_again),
    TEST(other_table),      TEST(table_moved),      TEST(share_of_claims), TEST(refused_file),
    TEST(stream_in_use),    TEST(link_to_nothing),  TEST(lock_is_held),    TEST(failed_sync_again),
    TEST(end_elsewhere),    TEST(fill_elsewhere),   TEST(untold),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
