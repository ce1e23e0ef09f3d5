/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_client_turns.c - threads of a client that wait for each other on its stream.
 *
 * The service is made up: client_service.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#include "../../examples/service/os.h"

/* Waits for the stream that are to fail: other threads had it all the time, while this runs. */
static unsigned unlucky_waits;
static void (*others_ask)(void);

static bool *taken_by_others;

static bool wait_unlucky(os_cond *c, os_mutex *m, uint64_t ns)
{
    if (!taken_by_others)
        return os_cond_wait_within(c, m, ns);
    if (unlucky_waits == 0) {
        *taken_by_others = false; /* now it is its turn */
        taken_by_others = NULL;
        return true;
    }
    unlucky_waits--;
    others_ask();
    return false;
}

#define os_cond_wait_within(c, m, ns) wait_unlucky(c, m, ns)
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

#include "client_service.h"

static cmc_client *client;
static cmc_file *file;

/* The next thread that wants the stream will wait in vain for so many times, and then get it. */
static void others_take_it(unsigned waits, void (*how)(void))
{
    unlucky_waits = waits;
    others_ask = how;
    client->link->taken = true;
    taken_by_others = &client->link->taken;
}

static void others_leave_it(void)
{
    CHECK_EQ(unlucky_waits, 0);
    CHECK(taken_by_others != NULL);
    taken_by_others = NULL;
    if (client->link)
        client->link->taken = false;
}

/* Others get answers while this thread waits. Their last one comes late, so that no clock has a
 * say.
 */
static void others_get_answers(void)
{
    if (client->link)
        atomic_store(&client->link->moved, os_now_ns() + UINT64_C(3600000000000));
}

/* A thread does not get the stream because other threads have it, and the service answers them.
 * That is no fault of the service: a begin is noted as outside, and an end waits until it is told.
 */
static void test_stream_of_others(void)
{
    cmc_bracket w, s;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    others_take_it(1, others_get_answers);
    CHECK_EQ(cmc_write_begin(file, 0, 1, &w), 0);
    CHECK_EQ(w.outside, 1);
    others_leave_it();
    CHECK_EQ(cmc_write_end(file, &w, NULL), 0);
    CHECK(cmc_is_connected(client));
    CHECK_EQ(client->links, 1);
    refusal = CM_WANT_VALIDATOR; /* an answer that shows that it was asked */
    refused = CMP_WRITE_END;
    CHECK_EQ(cmc_write_begin(file, 0, 1, &w), 0);
    CHECK_EQ(w.outside, 0);
    others_take_it(3, others_get_answers);
    CHECK_EQ(cmc_write_end(file, &w, NULL), CM_WANT_VALIDATOR);
    CHECK(!taken_by_others);
    refusal = CM_ENOMEM;
    refused = 0;
    others_take_it(1, others_get_answers);
    CHECK_EQ(cmc_sync_begin(file, &s), 0);
    CHECK_EQ(s.token, 0);
    others_leave_it();
    others_take_it(3, others_get_answers);
    CHECK_EQ(cmc_file_revalidate(file), 0);
    CHECK(!taken_by_others);
    others_take_it(3, others_get_answers);
    cmc_file_close(file);
    CHECK(!taken_by_others);
    CHECK_EQ(client->links, 1);
    cmc_disconnect(client);
    service_down();
}

/* The same, and then the service ends. It has answered until then: it was not late. */
static void others_lose_it(void)
{
    others_get_answers();
    client->link->timeout_ns = 0; /* any wait was a long one */
    (void)lose(client->link);
}

static void test_stream_of_others_ends(void)
{
    cmc_bracket w;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    struct link *l = client->link;
    link_hold(l);
    others_take_it(1, others_lose_it);
    CHECK_EQ(cmc_write_begin(file, 0, 1, &w), 0);
    CHECK_EQ(w.outside, 1);
    CHECK(link_is_lost(l) && !link_was_late(l));
    taken_by_others = NULL;
    link_drop(l);
    CHECK_EQ(cmc_write_end(file, &w, NULL), 0);
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

static struct link turns;
static _Atomic unsigned got;

#define HOUR UINT64_C(3600000000000)

/* A thread's place in the order, and for what it wants the stream. */
struct turn {
    unsigned number;
    uint16_t command;
};

static void wait_for_turn(void *arg)
{
    const struct turn *const mine = arg;
    CHECK(take_stream(&turns, mine->command));
    CHECK_EQ(atomic_fetch_add(&got, 1), mine->number);
}

static bool is_last(unsigned n)
{
    unsigned waiting = 0;
    os_lock(&turns.lock);
    for (const struct waiter *w = turns.first; w; w = w->next)
        waiting++;
    os_unlock(&turns.lock);
    return waiting == n;
}

/* A thread that does not wait. */
static bool try_stream(void)
{
    turns.timeout_ns = 0;
    return take_stream(&turns, CMP_READ);
}

/* The stream is taken, and others get answers by it. */
static void turns_begin(void)
{
    turns = (struct link){ .refs = 1, .moved = os_now_ns() + HOUR };
    os_mutex_begin(&turns.lock);
    got = 0;
    CHECK(try_stream());
}

static void turns_end(void)
{
    leave_stream(&turns);
    CHECK(try_stream());
    leave_stream(&turns);
    os_mutex_end(&turns.lock);
}

/* It waits for so long, behind `n` others. */
static void begin_turn(struct os_thread *t, const struct turn *turn, unsigned n, uint64_t ns)
{
    turns.timeout_ns = ns;
    REQUIRE(os_thread_begin(t, wait_for_turn, (void *)(uintptr_t)turn));
    while (!is_last(n + 1))
        os_sleep_ms(1);
}

/* Each leaves the stream to the next one. */
static void take_turns(struct os_thread *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CHECK_EQ(got, i);
        leave_stream(&turns);
        const bool mine = try_stream();
        CHECK(!mine);
        if (mine)
            leave_stream(&turns);
        while (got == i)
            os_sleep_ms(1);
    }
    for (unsigned i = 0; i < n; i++)
        os_thread_join(&t[i]);
}

/* Threads that wait for long get the stream in their order, from hand to hand: who comes at once
 * finds it taken. One in the midst gives up. */
static void test_turns(void)
{
    const struct turn turn[] = { { 0, CMP_READ }, { 1, CMP_READ }, { 2, CMP_READ } };
    struct os_thread t[3];
    turns_begin();
    for (unsigned i = 0; i < 3; i++) {
        begin_turn(&t[i], &turn[i], i, HOUR);
        CHECK(!try_stream());
    }
    os_sleep_ms(1 + LONG_NS / 1000000);
    take_turns(t, 3);
    turns_end();
}

/* What must be told waits on when its time is over, and those that came later are still behind it.
 * Else nobody would have to be told as long as more threads wait than get answers in that time. */
static void test_turn_is_kept(void)
{
    const struct turn turn[] = { { 0, CMP_WRITE_END }, { 1, CMP_READ }, { 2, CMP_READ } };
    struct os_thread t[3];
    turns_begin();
    begin_turn(&t[0], &turn[0], 0, UINT64_C(50000000));
    begin_turn(&t[1], &turn[1], 1, HOUR);
    begin_turn(&t[2], &turn[2], 2, HOUR);
    os_sleep_ms(100);
    take_turns(t, 3);
    turns_end();
}

static const struct harness_test tests[] = {
    TEST(stream_of_others),
    TEST(stream_of_others_ends),
    TEST(turns),
    TEST(turn_is_kept),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
