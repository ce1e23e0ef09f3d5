/* SPDX-License-Identifier: BSD-2-Clause
 *
 * harness.h - the parts of a unit test program.
 *
 * A program is harness.c and a .c file: functions that check, one table of their names, one main:
 *
 *     static void test_addition(void) { CHECK_EQ(1 + 1, 2); }
 *     static const struct harness_test tests[] = { TEST(addition) };
 *     int main(int argc, char **argv) { return HARNESS_MAIN(tests, argc, argv); }
 *
 * A long program, test_NAME.c, has further files, test_NAME_*.c. The table of each ends with
 * TEST_END and is declared in the header that they share. main lists all tables:
 *
 *     const struct harness_test sum_far_tests[] = { TEST(addition_far_off), TEST_END };
 *
 *     static const struct harness_test *const tables[] = { sum_tests, sum_far_tests };
 *     int main(int argc, char **argv) { return HARNESS_TABLES(tables, argc, argv); }
 *
 * Without arguments a program runs all tests; with one argument, those whose name contains it. It
 * prints TAP and a closing line. Exit status: 0 passed, 1 failed, 77 nothing was run (all skipped).
 * After a failure CHECK and CHECK_EQ go on; threads may use them, too. REQUIRE and SKIP return from
 * the test function. Plain C11 for every compiler and system.
 *
 * A failure, and an abort, are printed with the test's name, the case, and the lines of the calls:
 *
 *     for (unsigned i = 0; i < 3; i++) {
 *         CASE("size %u", i);
 *         CALL(check_one(i)); // a function with checks of its own
 *     }
 */
#ifndef CM_HARNESS_H
#define CM_HARNESS_H

#include <stdio.h>
#include <string.h>

#include "platform/atomic.h"

struct harness_test {
    const char *name;
    void (*run)(void);
};
#define TEST_END                                                                                   \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }
#define TEST(name)                                                                                 \
    {                                                                                              \
#name, test_##name                                                                         \
    }

extern unsigned harness_failures; /* of the running test */
extern const char *harness_skip;  /* reason, or NULL */

/* Reports one failure. Only the first few of a test are printed. */
void harness_fail(const char *file, int line, const char *what);
void harness_fail_eq(const char *file, int line, const char *what, long long a, long long b);

static inline void harness_check_eq(const char *file, int line, const char *what, long long a,
                                    long long b)
{
    if (a != b) {
        harness_fail_eq(file, line, what, a, b);
    }
}

#ifdef __MINGW_PRINTF_FORMAT /* else the compiler takes it for the printf of old Windows */
#define HARNESS_PRINTF __MINGW_PRINTF_FORMAT
#else
#define HARNESS_PRINTF printf
#endif
/* Which case of a test this thread is in, formatted as by printf; until the end of the block, as
 * the body of a loop. A case within a case is added to it. */
size_t harness_case(const char *format, ...) __attribute__((format(HARNESS_PRINTF, 1, 2)));
void harness_case_end(const size_t *before);
#define HARNESS_JOIN2(a, b) a##b
#define HARNESS_JOIN(a, b) HARNESS_JOIN2(a, b)
#define CASE(...)                                                                                  \
    __attribute__((cleanup(harness_case_end), unused)) const size_t HARNESS_JOIN(                  \
        case_at_, __LINE__) = harness_case(__VA_ARGS__)
/* This thread is about to call, and is back. */
void harness_call(int line);
void harness_return(void);
#define CALL(call)                                                                                 \
    do {                                                                                           \
        harness_call(__LINE__);                                                                    \
        call;                                                                                      \
        harness_return();                                                                          \
    } while (0)

#define CHECK(cond) ((cond) ? (void)0 : harness_fail(__FILE__, __LINE__, #cond))
#define CHECK_EQ(a, b)                                                                             \
    harness_check_eq(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b))
#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            harness_fail(__FILE__, __LINE__, #cond);                                               \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define SKIP(reason)                                                                               \
    do {                                                                                           \
        harness_skip = (reason);                                                                   \
        return;                                                                                    \
    } while (0)

/* Runs the `n` tests of the table, or the wanted ones of them. Returns the exit status. */
int harness_main(const struct harness_test *tests, size_t n, int argc, char **argv);
#define HARNESS_MAIN(tests, argc, argv)                                                            \
    harness_main((tests), sizeof(tests) / sizeof((tests)[0]), (argc), (argv))
/* The same with `n` tables. */
int harness_tables(const struct harness_test *const *tables, size_t n, int argc, char **argv);
#define HARNESS_TABLES(tables, argc, argv)                                                         \
    harness_tables((tables), sizeof(tables) / sizeof((tables)[0]), (argc), (argv))

#endif
