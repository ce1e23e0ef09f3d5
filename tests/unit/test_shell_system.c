/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_system.c - the shell of the driver: what it costs files that it has nothing to do
 * with.
 */
#include "shell_common.h"

/* ---- Locks ----------------------------------------------------------------------------------- */

static struct {
    unsigned mutexes, push_locks;
} locks;

/* Since the last call. */
static void count_locks(void)
{
    static unsigned mutexes, push_locks;
    const unsigned m = mutexes, p = push_locks;
    fm_locks(&mutexes, &push_locks);
    locks.mutexes = mutexes - m;
    locks.push_locks = push_locks - p;
}

/* An operation on a file takes no lock that all files share, unless it asks the service. */
static void test_locks(void)
{
    static const struct fm_how fast = { .fast = TRUE };
    static const struct fm_how *const how[] = { FM_PLAIN, &fast };
    static struct file other;
    begin();
    make_file(&other, u"\\Device\\HarddiskVolume3\\Windows\\x.db", 33);
    PFILE_OBJECT const o = fm_open(&other.f, true, FILE_OPENED);
    PFILE_OBJECT const r = fm_open(&file.f, false, FILE_OPENED);
    count_locks();
    (void)read_how(o, 0, 10, FM_PLAIN);
    CHECK(warm(r));
    fm_settle();
    count_locks();
    CHECK(locks.push_locks > 0); /* `file` is judged */
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        (void)read_how(o, 0, 10, how[i]);
        count_locks();
        CHECK(locks.mutexes == 1 && locks.push_locks == 0); /* the stream's */
        CHECK_EQ(fm_write(o, 0, 10, NULL, NULL, how[i]), STATUS_SUCCESS);
        count_locks();
        CHECK(locks.mutexes == 1 && locks.push_locks == 0);
        CHECK_EQ(fm_flush(o, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        count_locks();
        CHECK(locks.mutexes <= 1 && locks.push_locks == 0);
    }
    CHECK(hits(r));
    count_locks();
    CHECK(locks.mutexes <= 9 && locks.push_locks == 0); /* the stream's, and the core's */
    fm_close(o);
    fm_close(r);
    end();
}

const struct harness_test shell_system_tests[] = {
    TEST(locks),
    TEST_END,
};
