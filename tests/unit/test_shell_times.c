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

/* ---- Closes ---------------------------------------------------------------------------------- */

static int64_t stamp; /* of the file's times, as seconds from now */

static void times_of(struct fm_file *f, struct fm_facts *to)
{
    struct file *const x = (struct file *)f;
    LARGE_INTEGER now;
    KeQuerySystemTimePrecise(&now);
    *to = (struct fm_facts){ .volume = 7, .id = { x->id }, .size = x->size, .usn = 5 };
    to->created = to->written = to->changed = now.QuadPart + stamp * 10000000 + 1;
    to->usn_version = 3;
}

/* The file system moves the times when the writer closes. In the future: however long this thread
 * is kept from running, that is too fresh. */
static void now_at_cleanup(struct fm_file *f, PFILE_OBJECT o)
{
    (void)f;
    if (o->WriteAccess)
        stamp = 5;
}

static void begin_times(void)
{
    begin();
    stamp = -100;
    file.f.facts = times_of;
    file.f.cleanup = now_at_cleanup;
}

static unsigned racy_told(void)
{
    struct cmp_revalidate m;
    memcpy(&m, body_of(CMP_REVALIDATE), sizeof(m));
    return m.validator.racy;
}

static void close_now(PFILE_OBJECT o)
{
    fm_close(o);
    fm_settle();
}

/* Rule B7. Somebody has the stream in use all the time, as the system's cache does. */
static void test_told_too_early(void)
{
    begin_times();
    PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    close_now(o);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    CHECK_EQ(racy_told(), CM_RACY_TIMES);
    for (unsigned i = 0; i < 4; i++) { /* too early; old enough; nothing to tell any more */
        CASE("i %u", i);
        if (i == 1)
            stamp = -5;
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        close_now(o);
        CHECK_EQ(times(0, CMP_REVALIDATE), i == 0 ? 2 : 3);
        CHECK_EQ(racy_told(), i == 0 ? CM_RACY_TIMES : 0);
    }
    fm_close(stays);
    end();
}

/* A handle that only reads asks for nothing if there is nothing to tell, and makes nothing. */
static void test_closes_of_readers(void)
{
    begin_times();
    PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
    close_now(fm_open(&file.f, false, FILE_OPENED));
    CHECK(!file.f.context);
    fm_close(stays);
    end();
}

/* Files get their times from a clock that may stand still, in a virtual machine: then times of ten
 * seconds ago may be of the present tick. */
static void test_clock_that_stands(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin_times();
        file.f.cleanup = NULL;
        stamp = -10;
        fm_clock_stands(i ? 60000 : 0);
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        close_now(o);
        CHECK_EQ(racy_told(), i ? CM_RACY_TIMES : 0);
        end();
    }
}

const struct harness_test shell_times_tests[] = {
    TEST(portable), TEST(told_too_early), TEST(closes_of_readers), TEST(clock_that_stands),
    TEST_END,
};
