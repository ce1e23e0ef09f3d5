/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stalls.c - clients that stop in the middle: of a message, of a reply. The service runs in this
 * process, with limits that are shorter than those of the program.
 *
 *   stalls
 *
 * The last line is "N passed, N failed, N skipped". Exits 0 if no case failed.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cases.h"
#include "outside_file.h"
#include "place.h"
#include "stream.h"

#define POOL_BYTES (16u << 20)
#define MESSAGE_MS 300u
#define WAIT_MS 50u
#define LONG_MS (uint32_t)(2 * PLACE_PATIENCE_NS / 1000000)

/* ---- The service ----------------------------------------------------------------------------- */

static struct server server;
static struct outside_file outside;
static cm_cache *cache;
static void *transport;
static FILE *log_file;

static void log_line(enum log_weight w, const char *text)
{
    fprintf(log_file, "<%d>%s\n", (int)w, text);
    fflush(log_file);
}

static void server_up(uint32_t message_ms, uint32_t wait_ms)
{
    char path[700], why[256] = "no memory";

    server = (struct server){ .pool = place_dir,
                              .clients_max = 64,
                              .message_ms = message_ms,
                              .wait_ms = wait_ms,
                              .lines_ms = SERVER_LINES_MS,
                              .log = log_line };
    snprintf(path, sizeof(path), "%s/pool", place_dir);
    if (cm_open(path, NULL, &cache) != 0)
        place_die(path);
    if (outside_file_open(&outside, place_socket, true, why) != 0)
        place_die(why);
    service_begin(&server.service, cache, outside.at, 1);
    server_begin(&server);
    if (transport_local.start(&server, place_socket, &transport, why) != 0)
        place_die(why);
    service_is_here();
}

/* Clients that have stalled are still there, and the service does not wait for them. */
static void server_down(const char *name)
{
    const uint64_t start = place_now_ns();

    case_begin("%s", name);
    witness_down();
    transport_local.stop(transport);
    server_end(&server);
    service_end(&server.service);
    if (place_now_ns() - start > PLACE_PATIENCE_NS)
        case_fail("it took %u s", (unsigned)((place_now_ns() - start) / 1000000000));
    outside_file_close(&outside);
    if (cm_close(cache) != 0)
        case_fail("the pool is not closed");
    case_end();
}

/* ---- Stalls ---------------------------------------------------------------------------------- */

static struct message some_fill(struct raw *r)
{
    return raw_fill(r, raw_open(r, 1), 1, RAW_BLOCK);
}

/* Some bytes come, and then no more of them. */
static void half_cases(void)
{
    static const size_t lengths[] = { 1, 23, 24, 40, 1000, RAW_BLOCK + 39 };
    struct raw r;

    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        case_begin("%zu bytes of a message", lengths[i]);
        raw_greet(&r, i % 2);
        raw_leave_ring(&r); /* what follows goes by socket */
        const struct message m = some_fill(&r);
        const uint64_t start = place_now_ns();
        (void)raw_send(&r, m.bytes, lengths[i]);
        case_ended(&r, "it stalled in the middle of a message");
        if (place_now_ns() - start < MESSAGE_MS * UINT64_C(1000000))
            case_fail("it was ended too early");
        case_settled();
        case_end();
    }
}

/* Each byte comes soon after the one before, and the message does not end. */
static void slow_case(void)
{
    struct raw r;

    case_begin("one byte after the other");
    raw_greet(&r, false);
    const struct message m = some_fill(&r);
    for (size_t at = 0; at < m.n && raw_send(&r, m.bytes + at, 1); at++)
        usleep(WAIT_MS * 1000 / 10);
    case_ended(&r, "it stalled in the middle of a message");
    case_settled();
    case_end();
}

/* Sends requests as long as the service takes them, and never reads a reply. */
static void fill_pipe(struct raw *r)
{
    const struct message m = raw_message(r, CMP_STATS, 0, NULL);
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    struct pollfd p = { .fd = r->fd, .events = POLLOUT };
    ssize_t sent;

    do
        sent = send(r->fd, m.bytes, m.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while ((sent == (ssize_t)m.n || poll(&p, 1, WAIT_MS) == 1) && place_now_ns() < until &&
           !(p.revents & POLLHUP));
}

static void flood_case(void)
{
    struct raw r;

    case_begin("replies that nobody takes");
    raw_greet(&r, false);
    fill_pipe(&r);
    struct pollfd p = { .fd = r.fd };
    if (poll(&p, 1, (int)(PLACE_PATIENCE_NS / 1000000)) != 1 || !(p.revents & POLLHUP))
        case_fail("the connection goes on");
    case_logged(case_own_process(), "it does not take its replies");
    raw_close(&r);
    case_settled();
    case_end();
}

/* A client that has nothing to ask has not stalled, however long that takes. */
static void idle_case(void)
{
    struct raw r;

    case_begin("a pause between two messages");
    raw_greet(&r, false);
    usleep(2 * MESSAGE_MS * 1000);
    const struct message m = raw_message(&r, CMP_STATS, 0, NULL);
    if (raw_ask(&r, &m, NULL, 0) <= 0)
        case_fail("the connection was ended");
    raw_close(&r);
    case_settled();
    case_end();
}

int main(void)
{
    char path[700];
    struct raw half, flood;

    place_make(POOL_BYTES);
    place_log();
    snprintf(path, sizeof(path), "%s/log", place_dir);
    log_file = fopen(path, "a");
    if (!log_file)
        place_die(path);
    server_up(MESSAGE_MS, WAIT_MS);
    half_cases();
    slow_case();
    flood_case();
    server_down("the end");
    server_up(MESSAGE_MS, LONG_MS);
    idle_case();
    raw_greet(&half, false);
    (void)raw_send(&half, "half", 4);
    raw_greet(&flood, false);
    fill_pipe(&flood);
    server_down("the end while clients stall");
    raw_close(&half);
    raw_close(&flood);
    fclose(log_file);
    place_clean();
    return cases_report();
}
