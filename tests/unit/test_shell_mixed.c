/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_mixed.c - the made-up service of these tests.
 */
#include "shell_common.h"

/* A read that is answered, between a read that missed and its fill, does not move the fill. */
static void test_fills_after_hits(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    PFILE_OBJECT const later = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
    CHECK(warm(o));
    fm_hold(true);
    CHECK_EQ(read_how(later, (int64_t)3 * BLOCK, BLOCK, &at_dispatch), STATUS_SUCCESS);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK(by_driver);
    fm_hold(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FILL), 2);
    CHECK(service.file[0].has[3] && !service.file[0].has[2]);
    fm_close(later);
    fm_close(o);
    end();
}

static PFILE_OBJECT reader;

static NTSTATUS read_meanwhile(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    ULONG n;
    bool by;
    CHECK_EQ(fm_read(reader, 0, BLOCK, buf, &n, &by, FM_PLAIN), STATUS_SUCCESS);
    return change(ctx, o, information);
}

/* Nothing is filled while a write is on its way. */
static void test_no_fills_in_a_bracket(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    reader = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, read_meanwhile, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(times(0, CMP_READ), 1);
    CHECK_EQ(times(0, CMP_FILL), 0);
    CHECK(warm(reader));
    fm_close(reader);
    fm_close(o);
    end();
}

const struct harness_test shell_mixed_tests[] = {
    TEST(fills_after_hits),
    TEST(no_fills_in_a_bracket),
    TEST_END,
};
