/* SPDX-License-Identifier: BSD-2-Clause
 *
 * harness.c - runs the tests of a program and says how they went (harness.h).
 */
#include "harness.h"

unsigned harness_failures;
const char *harness_skip;

static const char *filter = "";
static unsigned passed, failed, skipped, number;

static void run(const struct harness_test *test)
{
    if (strstr(test->name, filter) == NULL) {
        return;
    }
    harness_failures = 0;
    harness_skip = NULL;
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
    setvbuf(stdout, NULL, _IOLBF, 1024); /* a crash must not swallow what was said before */
}

static int end(void)
{
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
