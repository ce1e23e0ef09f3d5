/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_kinds.c - the callbacks of the driver's shell for files of a kind that is not cached,
 * and for files that become one.
 */
#include "shell_common.h"

/* The file system may fail for want of memory when it is asked for the kind. A file whose kind is
 * not known is not cached, and the next operation asks again. */
static void test_kinds_without_memory(void)
{
    static const ULONG kind[] = { FILE_ATTRIBUTE_ENCRYPTED, FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS,
                                  FILE_ATTRIBUTE_DIRECTORY, 0 };
    for (unsigned i = 0; i < 4 * 12; i++) {
        CASE("kind %u, allocation %u fails", i / 12, i % 12);
        begin();
        file.f.attributes = kind[i / 12];
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        fm_starve(i % 12, 1);
        (void)read_how(o, BLOCK, BLOCK, FM_PLAIN);
        fm_starve(0, 0);
        fm_settle();
        CHECK_EQ(warm(o), i / 12 == 3);
        CHECK_EQ(has_content(), i / 12 == 3);
        if (i / 12 < 3)
            CHECK_EQ(times(0, CMP_READ), 0);
        fm_close(o);
        end();
    }
}

/* Nor is it known later that a change was one of a plain file: so it counts. */
static void test_changes_of_unknown_kinds(void)
{
    for (unsigned skip = 0; skip < 12; skip++) {
        CASE("allocation %u fails", skip);
        begin();
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        fm_starve(skip, 1);
        (void)fm_control(o, CTL_CODE(9, 50, 0, 2), change, NULL, FM_PLAIN);
        fm_starve(0, 0);
        fm_settle();
        (void)warm(o);
        fm_close(o);
        end();
    }
}

const struct harness_test shell_kinds_tests[] = {
    TEST(kinds_without_memory),
    TEST(changes_of_unknown_kinds),
    TEST_END,
};
