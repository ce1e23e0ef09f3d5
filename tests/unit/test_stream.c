/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_stream.c - connections of the service that end, by a transport that the test makes up.
 */
#include "fixture.h"

#include "../../examples/service/stream.h"

static struct server server;
static _Atomic unsigned receives;
static _Atomic bool has_ended, is_freed;

/* What no message begins with. */
static int64_t receive_nonsense(struct stream *s, void *to, size_t n)
{
    (void)s;
    memset(to, 'x', n);
    return (int64_t)n;
}

/* Nothing comes. The client's process ends after a while; a child has inherited the connection, so
 * the stream does not. */
static int64_t receive_nothing(struct stream *s, void *to, size_t n)
{
    (void)s;
    (void)to;
    (void)n;
    os_sleep_ms(1);
    if (atomic_fetch_add(&receives, 1) == 20)
        has_ended = true;
    return STREAM_LATE;
}

static int64_t send_nothing(struct stream *s, const void *from, size_t n, const struct ring_pass *p)
{
    (void)s;
    (void)from;
    (void)n;
    (void)p;
    return 0;
}

static void shut(struct stream *s)
{
    (void)s;
}

static bool gone(struct stream *s, unsigned ms)
{
    (void)s;
    (void)ms;
    return has_ended;
}

static void set_free(struct stream *s)
{
    (void)s;
    is_freed = true;
}

static void no_log(enum log_weight w, const char *text)
{
    (void)w;
    (void)text;
}

static const struct stream_calls calls = { receive_nothing, send_nothing, shut, gone,
                                           set_free,        false };
static struct stream stream = { &calls, 1234 };

static void begin(struct pool *p, unsigned clients, void (*log)(enum log_weight, const char *))
{
    static struct outside outside;
    REQUIRE(pool_new(p, MIB) == 0);
    server = (struct server){ .clients_max = clients, .log = log };
    service_begin(&server.service, p->c, &outside, 5);
    server_begin(&server);
}

static void end(struct pool *p)
{
    server_end(&server);
    service_end(&server.service);
    pool_end(p);
}

static void test_inherited(void)
{
    struct pool p;
    CALL(begin(&p, 1, no_log));
    stream_take(&server, &stream);
    while (!is_freed)
        os_sleep_ms(1);
    CHECK(receives >= 20);
    CHECK_EQ(server.clients, 0);
    end(&p);
}

static unsigned lines, of_left_out;
static char last_line[512];

static void count_lines(enum log_weight w, const char *text)
{
    (void)w;
    lines++;
    of_left_out += strstr(text, "are not in the log") != NULL;
    (void)snprintf(last_line, sizeof(last_line), "%s", text);
}

/* Who is refused over and over again fills no log. First the time for the lines does not end, and
 * then it has ended whenever somebody comes. */
static void test_many_refused(void)
{
    struct pool p;
    CALL(begin(&p, 0, count_lines));
    server.lines_ms = UINT32_MAX;
    lines = of_left_out = 0;
    stream_take(&server, &stream);
    CHECK_EQ(lines, 1);
    CHECK(strstr(last_line, "was refused: there are too many clients") != NULL);
    for (unsigned i = 0; i < 1000; i++)
        stream_take(&server, &stream);
    CHECK_EQ(lines, SERVER_LINES);
    CHECK_EQ(of_left_out, 1);
    CHECK(strstr(last_line, "are not in the log") != NULL);
    server.lines_ms = 0;
    for (unsigned i = 0; i < 10; i++)
        stream_take(&server, &stream);
    CHECK_EQ(lines, SERVER_LINES + 10);
    CHECK_EQ(of_left_out, 1);
    end(&p);
}

/* Takes a client that is ended at once. Returns when its line was written, or left out. */
static void take_nonsense(void)
{
    static const struct stream_calls nonsense = { receive_nonsense, send_nothing, shut, gone,
                                                  set_free,         false };
    static struct stream s = { &nonsense, 1234 };
    is_freed = false;
    stream_take(&server, &s);
    while (!is_freed)
        os_sleep_ms(1);
}

/* So is it with who is let in, and ended because of what it sends. */
static void test_many_ended(void)
{
    struct pool p;
    CALL(begin(&p, 1, count_lines));
    server.lines_ms = UINT32_MAX;
    has_ended = true;
    lines = of_left_out = 0;
    take_nonsense();
    CHECK_EQ(lines, 1);
    CHECK(strstr(last_line, "connection 1 of process 1234 was ended: ") != NULL);
    for (unsigned i = 0; i < 100; i++)
        take_nonsense();
    CHECK_EQ(lines, SERVER_LINES);
    CHECK_EQ(of_left_out, 1);
    CHECK(strstr(last_line, "are not in the log") != NULL);
    server.clients_max = 0;
    stream_take(&server, &stream);
    CHECK_EQ(lines, SERVER_LINES + 1); /* a refusal has a count of its own */
    server.lines_ms = 0;
    server.clients_max = 1;
    for (unsigned i = 0; i < 10; i++)
        take_nonsense();
    CHECK_EQ(lines, SERVER_LINES + 11);
    CHECK_EQ(of_left_out, 1);
    end(&p);
}

static const struct harness_test tests[] = {
    TEST(inherited),
    TEST(many_refused),
    TEST(many_ended),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
