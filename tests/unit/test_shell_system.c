/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_system.c - the shell of the driver: what it costs files that it has nothing to do
 * with, and volumes that it does not see for a time.
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

/* ---- The work item that tends (W3) ----------------------------------------------------------- */

/* A program maps the file to store, and there is no memory left, or no thread. */
static void test_tends_without_memory(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_starve(0, 100);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    fm_starve(0, 0);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(!has_content());
    fm_refuse(true);
    CHECK_EQ(fm_control(o, CTL_CODE(9, 999, 0, 0), NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_refuse(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    fm_hold(true);
    CHECK_EQ(fm_control(o, CTL_CODE(9, 999, 0, 0), NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_hold(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 2);
    fm_close(o);
    end();
}

/* Codes that are not known change it, and no thread is free. */
static void test_tends_once(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_hold(true);
    for (unsigned i = 0; i < 10; i++)
        CHECK_EQ(fm_control(o, CTL_CODE(9, 999, 0, 0), NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_hold(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* ---- A service that connects while one of its threads works ---------------------------------- */

static void (*its_facts)(struct fm_file *f, struct fm_facts *to);

static void connects(struct fm_file *f, struct fm_facts *to)
{
    struct fm_thread *const t = fm_me(), before = *t;
    f->facts = its_facts;
    *t = (struct fm_thread){ .process = FM_SERVICE };
    connect_service();
    *t = before;
    f->facts(f, to);
}

/* The thread has begun its operation before, so nobody has known whose it is. It would wait for
 * itself, which the emulation notes. */
static void test_connects_in_its_write(void)
{
    begin();
    end_service();
    const unsigned from = service.n;
    fm_me()->top = (PIRP)1; /* so that it is judged later */
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    fm_me()->top = NULL;
    its_facts = file.f.facts;
    file.f.facts = connects;
    *fm_me() = (struct fm_thread){ .process = FM_SERVICE };
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    *fm_me() = (struct fm_thread){ 0 };
    fm_settle();
    CHECK(file.f.facts == its_facts);
    CHECK_EQ(times(from, CMP_HELLO), 1);
    CHECK_EQ(times(from, CMP_OPEN) + times(from, CMP_WRITE_BEGIN), 0);
    CHECK(times(from, CMP_FORGET) > 0); /* outside: at its begin, at its end, or for both */
    CHECK(warm(o));
    CHECK_EQ(times(from, CMP_HELLO), 1);
    fm_close(o);
    end();
}

/* ---- Volumes that nobody looks at (W6) ------------------------------------------------------- */

/* The file is changed, and no instance is there. Then the volume is mounted. Was all forgotten? */
static bool changes_unseen(void)
{
    const unsigned from = service.n;
    memset(file.data, 'X', sizeof(file.data));
    fm_attach(true);
    fm_settle();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(buf[0], 'X');
    fm_settle();
    fm_close(o);
    return times(from, CMP_FORGET_ALL) == 1;
}

static void begin_warm(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
}

/* fltmc detach; the volume is dismounted later, and mounted again. */
static void test_detached_and_mounted(void)
{
    begin_warm();
    fm_detach();
    fm_settle(); /* all is forgotten then, and once more later */
    CHECK(changes_unseen());
    fm_dismount();
    CHECK(changes_unseen()); /* it may have been another one that has come */
    end();
}

/* Somebody reads the file after all was forgotten, also by who tends, and before the driver is
 * gone.
 */
static void read_it(uint16_t command)
{
    CHECK_EQ(command, CMP_FORGET_ALL);
    service.after = NULL;
    fc_tend(&driver.core);
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!by_driver);
    fm_close(o);
}

/* fltmc detach, or unload, which the system may do for both. The file is changed, and its times are
 * as before. Then the system is started again, in order, and the driver with it. */
static void test_left_before_a_boot(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin_warm();
        CHECK(has_content());
        if (i == 0) {
            fm_detach();
            fm_settle();
            end_service();
            fm_unload();
        } else {
            service.after = read_it;
            fm_unload();
            CHECK(!service.after);
            end_service();
        }
        CHECK(!has_content());
        memset(file.data, 'X', sizeof(file.data));
        CHECK_EQ(fm_load(true), STATUS_SUCCESS);
        connect_service();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        CHECK_EQ(buf[0], 'X');
        fm_close(o);
        end();
    }
}

/* The same, and a service is just being greeted. It forgets all; or it refuses the greeting, and
 * nobody can be told. */
static void test_left_in_a_greeting(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin_warm();
        end_service();
        CHECK(has_content());
        service.slow = CMP_HELLO;
        service.refuse = i == 1 ? CMP_HELLO : 0;
        CHECK_EQ(connect_with(RULES, sizeof(RULES)), STATUS_SUCCESS);
        fm_unload();
        end_service();
        connection = NULL;
        CHECK_EQ(has_content(), i == 1);
        fm_end();
        CHECK_EQ(fm_faults(), 0);
    }
}

/* It is mounted while there is no memory for an instance. */
static void test_mounted_without_memory(void)
{
    for (unsigned skip = 0; skip < 2; skip++) {
        CASE("skip %u", skip);
        begin_warm();
        fm_dismount();
        fm_starve(skip, 1);
        fm_attach(true);
        fm_starve(0, 0);
        CHECK(changes_unseen());
        end();
    }
}

/* All was seen: a mount after a dismount, and a stick, which is not looked at. */
static void test_mounted_and_seen(void)
{
    begin_warm();
    fm_dismount();
    CHECK_EQ(fm_would_attach(FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS, FILE_REMOVABLE_MEDIA),
             STATUS_FLT_DO_NOT_ATTACH);
    fm_attach(true);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(hits(o));
    fm_close(o);
    end();
}

const struct harness_test shell_system_tests[] = {
    TEST(locks),
    TEST(tends_without_memory),
    TEST(tends_once),
    TEST(connects_in_its_write),
    TEST(detached_and_mounted),
    TEST(mounted_without_memory),
    TEST(left_before_a_boot),
    TEST(left_in_a_greeting),
    TEST(mounted_and_seen),
    TEST_END,
};
