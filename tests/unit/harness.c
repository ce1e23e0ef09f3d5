/* SPDX-License-Identifier: BSD-2-Clause
 *
 * harness.c - runs the tests of a program and prints their results (harness.h).
 */
#include "harness.h"

#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdlib.h>

#define PRINTED 10u /* failures of one test that are printed */
#define CALLS 8u

unsigned harness_failures;
const char *harness_skip;

static const char *filter = "";
static bool list; /* names only */
static unsigned passed, failed, skipped, number;
static const char *running = ""; /* name of the running test */

/* Of a thread. */
static _Thread_local char in_case[128];
static _Thread_local int line_of[CALLS];
static _Thread_local unsigned calls;

/* Where this thread is: "TEST (CASE), called from lines 17, 42". */
static const char *where(char text[256])
{
    size_t n = (size_t)snprintf(text, 200, "%s%s%s%s", running, in_case[0] ? " (" : "", in_case,
                                in_case[0] ? ")" : "");
    if (n >= 200) {
        n = 199;
    }
    for (unsigned i = 0; i < calls && i < CALLS && n < 240; i++) {
        n += (size_t)snprintf(text + n, 256 - n, "%s%d", i > 0 ? ", " : ", called from line ",
                              line_of[i]);
    }
    return text;
}

void harness_fail(const char *file, int line, const char *what)
{
    char text[256];

    if (at_add_relaxed(&harness_failures, 1u) < PRINTED) {
        printf("# %s:%d: %s: in %s\n", file, line, what, where(text));
    }
}

void harness_fail_eq(const char *file, int line, const char *what, long long a, long long b)
{
    char text[256];

    if (at_add_relaxed(&harness_failures, 1u) < PRINTED) {
        printf("# %s:%d: %s: %lld (0x%llx) != %lld (0x%llx): in %s\n", file, line, what, a,
               (unsigned long long)a, b, (unsigned long long)b, where(text));
    }
}

/* How long it was before: harness_case_end takes that. */
size_t harness_case(const char *format, ...)
{
    const size_t before = strlen(in_case);
    size_t n = before;
    va_list ap;

    if (n > 0 && n + 2 < sizeof(in_case)) {
        memcpy(in_case + n, ", ", 3);
        n += 2;
    }
    va_start(ap, format);
    (void)vsnprintf(in_case + n, sizeof(in_case) - n, format, ap);
    va_end(ap);
    return before;
}

void harness_case_end(const size_t *before)
{
    in_case[*before] = '\0';
}

void harness_call(int line)
{
    if (calls < CALLS) {
        line_of[calls] = line;
    }
    calls++;
}

void harness_return(void)
{
    calls--;
}

/* An assert of the library or of a test has printed what is wrong. This prints where it was called.
 * Signal handlers should not print, but the program ends here. */
static void on_abort(int sig)
{
    char text[256];

    printf("# aborted in %s\nnot ok %u - %s\n", where(text), number + 1, running);
    (void)fflush(stdout);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static void run(const struct harness_test *test)
{
    if (strstr(test->name, filter) == NULL) {
        return;
    }
    if (list) {
        printf("%s\n", test->name);
        number++;
        return;
    }
    harness_failures = 0;
    harness_skip = NULL;
    running = test->name;
    in_case[0] = '\0';
    calls = 0;
    test->run();
    number++;
    if (harness_failures != 0) {
        printf("not ok %u - %s\n", number, test->name);
        failed++;
    } else if (harness_skip != NULL) {
        printf("ok %u - %s # SKIP %s\n", number, test->name, harness_skip);
        skipped++;
    } else {
        printf("ok %u - %s\n", number, test->name);
        passed++;
    }
}

static void begin(int argc, char **argv)
{
    filter = argc > 1 ? argv[1] : "";
    if (filter[0] == '-') { /* --list, and whoever asks for help */
        list = true;
        filter = "";
        printf("usage: [TEXT]: runs the tests whose names contain TEXT; they are:\n");
    }
    setvbuf(stdout, NULL, _IOLBF, 1024); /* a crash must not lose earlier output */
    (void)signal(SIGABRT, on_abort);
}

static int end(void)
{
    if (list) {
        return 0;
    }
    if (number == 0) {
        printf("no test has a name with \"%s\"; --list shows all names\n", filter);
    }
    printf("1..%u\n", number);
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    if (failed != 0 || number == 0) {
        return 1;
    }
    return passed == 0 ? 77 : 0;
}

int harness_main(const struct harness_test *tests, size_t n, int argc, char **argv)
{
    begin(argc, argv);
    for (size_t i = 0; i < n; i++) {
        run(&tests[i]);
    }
    return end();
}

int harness_tables(const struct harness_test *const *tables, size_t n, int argc, char **argv)
{
    begin(argc, argv);
    for (size_t i = 0; i < n; i++) {
        for (const struct harness_test *t = tables[i]; t->name != NULL; t++) {
            run(t);
        }
    }
    return end();
}
