/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hostile_many.c - clients that take too much: connections, files, handles, tickets, brackets,
 * descriptors. What the service gives is bounded, and so is its memory.
 *
 * Who: hostile.c.
 */
#include "hostile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cachemax_client.h"
#include "place.h"

#define CONNECTS 2000u
#define HANDLES 65536u /* of one connection, and of all of them, without "files" in the file */
#define WITNESS_HANDLES 2u
#define BRACKETS 256u
#define READS 20000u
#define MIB 1024u /* in KiB, as /proc has it */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- Clients --------------------------------------------------------------------------------- */

/* Has the service taken it? Else the connection has ended. */
static bool is_taken(struct raw *r)
{
    const struct message hello = raw_hello(r, 0);

    return raw_ask(r, &hello, NULL, 0) == 0;
}

static int no_version(void *arg, cm_validator *v)
{
    (void)arg;
    v->taken_at = cm_now();
    return 0;
}

/* A program whose client finds no room is served by its origin: no call fails. */
static void check_passes(void)
{
    const struct cmc_options o = { .where = place_socket };
    const cm_file_id id = { .hi = 1, .lo = 1 };
    uint8_t buf[RAW_BLOCK];
    cmc_client *k;
    cmc_file *f;
    cmc_miss miss;
    cmc_bracket w;

    if (cmc_connect(&o, &k, NULL) != 0 || cmc_file_open(k, &id, 0, no_version, NULL, &f) != 0) {
        case_fail("the client library fails");
        return;
    }
    if (cmc_read(f, 0, buf, sizeof(buf), &miss) != 0 || !(miss.flags & CM_MISS_NOFILL))
        case_fail("a read does not pass");
    if (cmc_write_begin(f, 0, 10, &w) != 0 || !w.outside || cmc_write_end(f, &w, NULL) < 0)
        case_fail("a write does not go on outside");
    cmc_file_close(f);
    cmc_disconnect(k);
}

/* The witness has two connections, and the new client of each case needs one. */
static void client_cases(const char *program)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    struct raw r[2], more;
    bool taken;

    service_up(program, "clients = 4\n");
    case_begin("a client too many");
    for (unsigned i = 0; i < 2; i++)
        raw_greet(&r[i], i);
    raw_connect(&more);
    case_ended(&more, "was refused: there are too many clients");
    check_passes();
    raw_close(&r[0]);
    do { /* as soon as the service knows that this one has gone */
        raw_connect(&more);
        taken = is_taken(&more);
        if (!taken)
            raw_close(&more);
    } while (!taken && place_now_ns() < until);
    if (!taken)
        case_fail("nobody is taken after one has gone");
    else
        raw_close(&more);
    raw_close(&r[1]);
    case_end();
    service_down("the end after too many clients");
}

/* Connects and is taken, as soon as there is a place. Returns the nanoseconds that it took. */
static uint64_t get_place(struct raw *r)
{
    const uint64_t begun = place_now_ns();
    bool taken;

    do {
        raw_connect(r);
        taken = is_taken(r);
        if (!taken)
            raw_close(r);
    } while (!taken && place_now_ns() - begun < PLACE_PATIENCE_NS);
    return place_now_ns() - begun;
}

/* A client whose connection ends with an open bracket is watched for a second: its process lives
 * on. The place is free at once all the same: the shortest wait for it is no such second. */
static void leaving_case(const char *program)
{
    uint64_t shortest = UINT64_MAX;
    struct raw r, more;

    service_up(program, "clients = 3\n"); /* the witness has two */
    case_begin("places of clients that end with an open bracket");
    for (unsigned i = 0; i < 3; i++) {
        (void)get_place(&r);
        (void)raw_begin(&r, CMP_WRITE_BEGIN, raw_open(&r, 700 + i), 0);
        raw_close(&r);
        const uint64_t waited = get_place(&more);
        shortest = waited < shortest ? waited : shortest;
        raw_close(&more);
    }
    if (shortest >= UINT64_C(1000000000))
        case_fail("each place was free only after a second, the first after %" PRIu64 " ns",
                  shortest);
    case_end();
    service_down("the end after clients that left brackets");
}

/* As many clients as the configuration allows come, although the soft limit of descriptors would
 * not be enough for them. */
static void all_clients_case(const char *program)
{
    enum { N = 61 }; /* of 64: the witness has two, the new client one */
    struct rlimit was, few;
    struct raw r[N];
    unsigned n = 0;

    if (getrlimit(RLIMIT_NOFILE, &was) != 0)
        place_die("getrlimit");
    few = (struct rlimit){ 64, was.rlim_max };
    (void)setrlimit(RLIMIT_NOFILE, &few);
    service_up(program, "clients = 64\n");
    (void)setrlimit(RLIMIT_NOFILE, &was);
    case_begin("as many clients as there may be");
    for (unsigned i = 0; i < N; i++) {
        raw_connect(&r[i]);
        const struct message hello = raw_hello(&r[i], CMP_WANT_RING);
        raw_put(&r[i], &hello);
    }
    for (unsigned i = 0; i < N; i++) {
        const bool taken = raw_receive(&r[i]) > 0 && r[i].side.ring;
        n += taken;
    }
    if (n != N)
        case_fail("%u of %u were taken, with a ring", n, N);
    case_end();
    for (unsigned i = 0; i < N; i++)
        raw_close(&r[i]);
    service_down("the end after all clients");
}

/* Opens a file. Returns the result. */
static int64_t try_open(struct raw *r, uint64_t id)
{
    const struct cmp_open m = { .id_hi = 7, .id_lo = id, .validator = raw_validator() };
    const struct message open = raw_message(r, CMP_OPEN, 0, &m);

    return raw_ask(r, &open, NULL, 0);
}

static void file_cases(const char *program)
{
    struct raw r;
    unsigned n = 0;

    service_up(program, "files = 10\n");
    for (unsigned ring = 0; ring < 2; ring++) {
        case_begin("a file too many %s", ring ? "by ring" : "by socket");
        raw_greet(&r, ring);
        for (n = 0; n < 100 && try_open(&r, n + 1) == 0; n++)
            ;
        if (n != 10 - WITNESS_HANDLES || try_open(&r, n + 1) != CMP_FULL)
            case_fail("%u files were opened, then another error than CMP_FULL came", n);
        check_passes();
        const struct message close = raw_message(&r, CMP_CLOSE, 1, NULL);
        if (raw_ask(&r, &close, NULL, 0) != 0 || try_open(&r, 1000) != 0)
            case_fail("there is no room after a close");
        raw_close(&r);
        case_settled();
        case_end();
    }
    service_down("the end after too many files");
}

/* ---- Connections and descriptors ------------------------------------------------------------- */

/* They come and go: without a word, after a hello, after one that brings a ring, and in the middle
 * of a head. */
static void connect_case(void)
{
    struct raw r;

    case_begin("%u connections come and go", CONNECTS);
    for (unsigned i = 0; i < CONNECTS; i++) {
        if (i % 4 == 1 || i % 4 == 2) {
            raw_greet(&r, i % 4 == 2);
        } else {
            raw_connect(&r);
            (void)raw_send(&r, "head", i % 4);
        }
        raw_close(&r);
    }
    case_settled();
    case_end();
}

/* A client sends a descriptor with each of its bytes. */
static void passed_descriptor_case(void)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct raw r;

    case_begin("descriptors that nobody wants");
    raw_greet(&r, false);
    const struct message stats = raw_message(&r, CMP_STATS, 0, NULL);
    for (unsigned i = 0; i < 50 * stats.n; i++) {
        struct iovec v = { .iov_base = (void *)(stats.bytes + i % stats.n), .iov_len = 1 };
        struct msghdr m = { .msg_iov = &v,
                            .msg_iovlen = 1,
                            .msg_control = control.room,
                            .msg_controllen = sizeof(control.room) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &r.fd, sizeof(int));
        if (sendmsg(r.fd, &m, MSG_NOSIGNAL) != 1)
            case_fail("they are refused");
        if (i % stats.n == stats.n - 1 && raw_receive(&r) <= 0)
            case_fail("there is no reply");
    }
    raw_close(&r);
    case_settled();
    case_end();
}

/* The service may not open any more descriptors: those who come wait, and come in later. */
static void no_descriptor_case(void)
{
    enum { N = 40 };
    struct rlimit was, few;
    struct raw r[N];
    unsigned n = 0;

    case_begin("no descriptors left");
    if (prlimit(service_pid, RLIMIT_NOFILE, NULL, &was) != 0)
        place_die("prlimit");
    few = (struct rlimit){ 24, was.rlim_max };
    if (prlimit(service_pid, RLIMIT_NOFILE, &few, NULL) != 0)
        place_die("prlimit");
    for (unsigned i = 0; i < N; i++) {
        raw_connect(&r[i]);
        const struct message hello = raw_hello(&r[i], i % 2 ? CMP_WANT_RING : 0);
        raw_put(&r[i], &hello);
    }
    case_logged("", "no client can come");
    if (prlimit(service_pid, RLIMIT_NOFILE, &was, NULL) != 0)
        place_die("prlimit");
    for (unsigned i = 0; i < N; i++)
        n += raw_receive(&r[i]) > 0;
    if (n != N)
        case_fail("%u of %u clients were served at last", n, N);
    for (unsigned i = 0; i < N; i++)
        raw_close(&r[i]);
    case_settled();
    case_end();
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Sends `n` messages made by `make`, many at a time, and counts the replies with result 0. */
static unsigned flood(struct raw *r, unsigned n, struct message (*make)(struct raw *r, unsigned i))
{
    static uint8_t all[100 * 128];
    unsigned count = 0;

    for (unsigned i = 0, end; i < n; i = end) {
        size_t bytes = 0;
        for (end = i; end < n && end < i + 100; end++) {
            const struct message m = make(r, end);
            memcpy(all + bytes, m.bytes, m.n);
            bytes += m.n;
        }
        (void)raw_send(r, all, bytes);
        for (; i < end; i++) {
            struct cmp_head h;
            if (raw_receive(r) <= 0) {
                case_fail("a flood is not answered");
                return count;
            }
            memcpy(&h, r->in, sizeof(h));
            count += h.result == 0;
        }
    }
    return count;
}

static struct message make_open(struct raw *r, unsigned i)
{
    const struct cmp_open m = { .id_hi = 8, .id_lo = i + 1, .validator = raw_validator() };

    return raw_message(r, CMP_OPEN, 0, &m);
}

static struct message make_bracket(struct raw *r, unsigned i)
{
    const struct cmp_range m = { .offset = i % 100 * RAW_BLOCK, .len = RAW_BLOCK };

    return raw_message(r, CMP_WRITE_BEGIN, 1 + i % (HANDLES / 4), &m);
}

static struct message make_read(struct raw *r, unsigned i)
{
    const struct cmp_read m = { .offset = i % 100 * RAW_BLOCK, .len = RAW_BLOCK };

    return raw_message(r, CMP_READ, HANDLES / 4, &m);
}

/* One client takes all that a client can have, or `files` of its handles. */
static void take_all(unsigned files)
{
    struct raw r;
    unsigned n;

    raw_greet(&r, true);
    raw_leave_ring(&r);
    n = flood(&r, files, make_open);
    if (n != (files < HANDLES ? files : HANDLES - WITNESS_HANDLES))
        case_fail("%u files were opened", n);
    n = flood(&r, BRACKETS + 50, make_bracket);
    if (n != BRACKETS)
        case_fail("%u brackets were begun", n);
    n = flood(&r, READS, make_read);
    if (n != READS)
        case_fail("%u reads were misses", n);
    raw_close(&r);
    case_settled();
}

/* What one client can make the service use, by session.c: of each file its handle (16 bytes), the
 * file that is served (96 and malloc's 16) and the library's object (1024): 1152 in all, here 1280.
 * Of each bracket a page of the library, which malloc may surround with another one. Of the
 * connection two messages (2 MiB), the ring with its copy (2.2 MiB), tickets and tokens (57 KiB),
 * the stacks of two threads; rounded up to 8 MiB. And the pages of the pool, which count as the
 * service's, too. */
static void memory_case(uint64_t pool_bytes)
{
    const uint64_t bound =
        (uint64_t)HANDLES * 1280 / 1024 + BRACKETS * 8 + 8 * MIB + pool_bytes / 1024;
    uint64_t before, first, second;

    if (SANITIZED) {
        case_skip("memory", "the sanitizer's own counts, too");
        return;
    }
    case_begin("memory");
    before = service_status("VmHWM");
    take_all(HANDLES + 100);
    first = service_status("VmHWM");
    take_all(HANDLES / 4);
    second = service_status("VmHWM");
    printf(
        "# VmHWM: %llu KiB, with all that a client can have %llu, again %llu; %llu more may be\n",
        (unsigned long long)before, (unsigned long long)first, (unsigned long long)second,
        (unsigned long long)bound);
    if (before == 0 || first > before + bound)
        case_fail("%llu KiB more, and %llu may be", (unsigned long long)(first - before),
                  (unsigned long long)bound);
    if (second > first + MIB)
        case_fail("the second time it takes %llu KiB more", (unsigned long long)(second - first));
    case_end();
}

void many_cases(const char *program, uint64_t pool_bytes)
{
    service_up(program, "");
    memory_case(pool_bytes);
    connect_case();
    passed_descriptor_case();
    no_descriptor_case();
    service_down("the end after floods");
    client_cases(program);
    leaving_case(program);
    all_clients_case(program);
    file_cases(program);
}
