/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_session_state.c - what a client of the service holds, while several of its requests are
 * handled at a time.
 */
#include "session_fixture.h"

#include "../../examples/service/session_state.h"

/* Two requests close a file at a time. It ends with the last one that is done, once. */
static void test_closed_twice(void)
{
    service_up();
    struct client a = client();
    const uint32_t file = open_file(&a, 1, 7);
    struct handle *const h = state_use(a.s, file);
    REQUIRE(h != NULL && state_use(a.s, file) == h);
    state_close(a.s, h), state_close(a.s, h);
    CHECK(state_use(a.s, file) == NULL);
    state_leave(a.s, h);
    CHECK_EQ(service_files(&service), 1);
    state_leave(a.s, h);
    CHECK_EQ(service_files(&service), 0);
    session_end(a.s, true);
    service_down();
}

/* A token that a request ends is nobody else's until then. */
static void test_token_in_use(void)
{
    service_up();
    struct client a = client();
    struct token *const t = state_new_token(a.s);
    t->file = 1;
    const uint64_t number = state_give_token(a.s, t, true);
    CHECK(state_take_token(a.s, number, 1, false) == t);
    CHECK(state_take_token(a.s, number, 1, false) == NULL);
    struct token *const other = state_new_token(a.s);
    CHECK(other != NULL && other != t);
    (void)state_give_token(a.s, other, false);
    (void)state_give_token(a.s, t, false);
    CHECK(state_new_token(a.s) == t);
    session_end(a.s, true);
    service_down();
}

static const struct harness_test tests[] = {
    TEST(closed_twice),
    TEST(token_in_use),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
