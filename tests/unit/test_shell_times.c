/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_times.c - what the driver's shell tells the service of a file's times, so that the
 * file is warm at its next use.
 */
#include "shell_common.h"

/* A disk that may be pulled out loses what was not synced, and nobody tells. The power of others
 * fails with the machine. */
static void test_portable(void)
{
    for (unsigned portable = 0; portable < 2; portable++) {
        CASE("portable %u", portable);
        begin();
        fm_detach();
        fm_disk_is(portable ? FILE_PORTABLE_DEVICE : 0);
        fm_attach(true);
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        struct cmp_open m;
        CHECK(warm(o));
        memcpy(&m, body_of(CMP_OPEN), sizeof(m));
        CHECK_EQ(m.flags, CM_SOLE_WRITER | (portable ? CM_ORIGIN_VOLATILE : 0));
        fm_close(o);
        end();
    }
}

const struct harness_test shell_times_tests[] = {
    TEST(portable),
    TEST_END,
};
