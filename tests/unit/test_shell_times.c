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
        fm_dismount();
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

/* The file system cannot tell the times at the writer's close, for want of memory. A later close
 * tells them. */
static void test_told_without_memory(void)
{
    for (unsigned skip = 0; skip < 12; skip++) {
        CASE("allocation %u fails", skip);
        begin_times();
        file.f.cleanup = NULL;
        PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK(warm(stays));
        fm_starve(skip, 1);
        close_now(o);
        fm_starve(0, 0);
        CHECK(hits(stays));
        for (unsigned i = 0; i < 2; i++)
            close_now(fm_open(&file.f, false, FILE_OPENED));
        CHECK(times(0, CMP_REVALIDATE) > 0);
        CHECK_EQ(racy_told(), 0);
        fm_close(stays);
        end();
    }
}

/* Rule B6. A handle is closed that was not counted when it was opened: the driver was not there
 * (0, 2), or there was no memory to mark it. Another one that may write is still open. */
static void test_writers_not_counted(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(stays));
        if (i != 1)
            fm_detach();
        fm_starve(0, i == 1);
        PFILE_OBJECT const old = fm_open(&file.f, true, FILE_OPENED);
        fm_starve(0, 0);
        if (i != 1)
            fm_attach(true);
        fm_settle(); /* all was forgotten (W6) */
        PFILE_OBJECT const counted = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_write(i == 2 ? old : counted, BLOCK, BLOCK, change, NULL, FM_PLAIN),
                 STATUS_SUCCESS);
        close_now(i == 0 ? old : counted);
        CHECK_EQ(times(0, CMP_REVALIDATE), 0);
        close_now(i == 0 ? counted : old);
        CHECK_EQ(times(0, CMP_REVALIDATE), i != 1);
        fm_close(stays);
        end();
    }
}

/* The clock does not matter. */
static void times_of_2022(struct fm_file *f, struct fm_facts *to)
{
    times_of(f, to);
    to->created = to->written = to->changed = INT64_C(133000000000000001) + stamp * 10000000;
}

static PFILE_OBJECT reader;

static void close_reader(void *arg)
{
    (void)arg;
    fm_close(reader);
}

/* The file system is about to move the times, and another thread closes its handle. */
static void reader_at_cleanup(struct fm_file *f, PFILE_OBJECT o)
{
    struct os_thread t;
    (void)f;
    if (!o->WriteAccess)
        return;
    CHECK(os_thread_begin(&t, close_reader, NULL));
    os_thread_join(&t);
    stamp = -50;
}

/* Rule B7. The reader's close does not tell the old times for good: the writer's own tells the new
 * ones, or, if its thread is being ended (1) or is the service's (2), a later one. */
static void test_reader_in_a_writers_close(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        struct cmp_revalidate m;
        struct fm_facts now;
        int64_t told;
        begin_times();
        file.f.facts = times_of_2022;
        file.f.cleanup = reader_at_cleanup;
        PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
        reader = fm_open(&file.f, false, FILE_OPENED);
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ .terminating = i == 1, .process = i == 2 ? FM_SERVICE : 0 };
        close_now(o);
        *fm_me() = (struct fm_thread){ 0 };
        if (i > 0)
            close_now(fm_open(&file.f, false, FILE_OPENED));
        CHECK_EQ(times(0, CMP_REVALIDATE), 1);
        memcpy(&m, body_of(CMP_REVALIDATE), sizeof(m));
        memcpy(&told, m.validator.proof + 8, sizeof(told));
        times_of_2022(&file.f, &now);
        CHECK_EQ(told, (now.written - INT64_C(116444736000000000)) * 100);
        fm_close(stays);
        end();
    }
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

/* ---- What moves the times only --------------------------------------------------------------- */

static NTSTATUS moves(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    begun = times(0, CMP_WRITE_BEGIN);
    ended = times(0, CMP_WRITE_END);
    stamp = -50;
    return ctx ? *(const NTSTATUS *)ctx : STATUS_SUCCESS;
}

#define CREATE_OR_GET_OBJECT_ID CTL_CODE(9, 48, 0, 0)
#define WRITE_USN_CLOSE_RECORD CTL_CODE(9, 59, 3, 0)
#define KINDS 18u
static NTSTATUS set_one(PFILE_OBJECT o, unsigned kind, const struct fm_how *how)
{
    static const FILE_INFORMATION_CLASS names[] = {
        FileRenameInformation,   FileRenameInformationBypassAccessCheck,
        FileRenameInformationEx, FileRenameInformationExBypassAccessCheck,
        FileLinkInformation,     FileLinkInformationBypassAccessCheck,
        FileLinkInformationEx,   FileLinkInformationExBypassAccessCheck,
    };
    static const NTSTATUS refused = (NTSTATUS)0xC0000022;
    switch (kind) {
    case 0:
        return fm_set(o, FileBasicInformation, 0, moves, NULL, how);
    case 1:
        return fm_set_rights(o, IRP_MJ_SET_SECURITY, moves, NULL);
    case 2:
        return fm_set_rights(o, IRP_MJ_SET_EA, moves, NULL);
    case 3:
        CHECK_EQ(fm_set(o, FileBasicInformation, 0, moves, (void *)(uintptr_t)&refused, how),
                 refused);
        return STATUS_SUCCESS;
    case 12:
        return fm_set(o, FileShortNameInformation, 0, moves, NULL, how);
    case 13:
        return fm_control(o, CREATE_OR_GET_OBJECT_ID, moves, NULL, how);
    case 14:
        return fm_control(o, WRITE_USN_CLOSE_RECORD, moves, NULL, how);
    case 15: /* SET_OBJECT_ID, DELETE_OBJECT_ID, SET_OBJECT_ID_EXTENDED */
    case 16:
    case 17:
        return fm_control(o,
                          CTL_CODE(9,
                                   kind == 15   ? 38
                                   : kind == 16 ? 40
                                                : 47,
                                   0, 0),
                          moves, NULL, how);
    default:
        return fm_rename(o, names[kind - 4], u"\\data\\other", moves, NULL);
    }
}

/* Rule B8. Names, attributes and rights get an empty bracket, and the new times are told when a
 * handle is closed. Nothing is forgotten. The handle need not be one that may write. */
static void test_attributes(void)
{
    for (unsigned i = 0; i < KINDS; i++) {
        CASE("i %u", i);
        struct cmp_range range = { 1, 1 };
        begin_times();
        file.f.cleanup = NULL;
        PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(stays));
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(set_one(o, i, FM_PLAIN), STATUS_SUCCESS);
        CHECK(begun == 1 && ended == 0);
        memcpy(&range, body_of(CMP_WRITE_BEGIN), sizeof(range));
        CHECK(range.offset == 0 && range.len == 0);
        CHECK_EQ(times(0, CMP_WRITE_END), 1);
        CHECK_EQ(times(0, CMP_REVALIDATE), 0);
        CHECK(hits(stays));
        close_now(o);
        CHECK_EQ(times(0, CMP_REVALIDATE), 1);
        CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0);
        CHECK(hits(stays));
        CHECK(!fc_was_written(&((struct context *)file.f.context)->stream->file));
        fm_close(stays);
        end();
    }
}

/* The Explorer's handles, and those of file servers, need not wait. */
static void test_object_ids(void)
{
    struct cmp_range range = { 1, 1 };
    begin_times();
    file.f.cleanup = NULL;
    PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
    (void)warm(o);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, CREATE_OR_GET_OBJECT_ID, moves, NULL, FM_PLAIN), STATUS_SUCCESS);
    memcpy(&range, body_of(CMP_WRITE_BEGIN), sizeof(range));
    CHECK(range.offset == 0 && range.len == 0);
    fm_settle();
    CHECK_EQ(times(0, CMP_WRITE_END), 1);
    CHECK(hits(o));
    close_now(o);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    end();
}

/* Where there is no bracket for it, it passes. The content is right, so nothing is forgotten, and
 * the set of files that were written unseen gets no entry. */
static void test_attributes_that_pass(void)
{
    static const struct fm_thread as[] = {
        { .process = FM_SERVICE },
        { .apcs_disabled = TRUE },
        { .top = (PIRP)1 },
        { 0 },
        { 0 },
        { 0 },
        { 0 },
        { 0 },
    };
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        begin_times();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        if (i == 3)
            end_service();
        service.refuse = i == 4 ? CMP_WRITE_BEGIN : 0;
        fm_starve(0, i == 5 ? 100 : 0);
        *fm_me() = as[i];
        const unsigned from = service.n;
        CHECK_EQ(set_one(o, 0, i == 6 ? &transacted : i == 7 ? &paging : FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        fm_starve(0, 0);
        service.refuse = 0;
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), i == 4);
        CHECK_EQ(times(from, CMP_WRITE_END), 0);
        CHECK(fc_is_settled(&driver.core));
        if (i == 3)
            connect_service();
        CHECK(hits(o));
        CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0);
        fm_close(o);
        end();
    }
}

static NTSTATUS service_goes(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    end_service();
    return moves(ctx, o, information);
}

/* The service goes while it lasts: nothing is forgotten by the next one. */
static void test_attributes_and_the_end(void)
{
    begin_times();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_set(o, FileBasicInformation, 0, service_goes, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(fc_is_settled(&driver.core));
    connect_service();
    CHECK(hits(o));
    CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0);
    fm_close(o);
    end();
}

/* A thread writes through a handle that another thread closes meanwhile. */
static PFILE_OBJECT shut;

static void close_it(void *arg)
{
    (void)arg;
    fm_close(shut);
}

static void close_meanwhile(struct fm_file *f, PFILE_OBJECT o)
{
    struct os_thread t;

    if (o != shut)
        return;
    f->looks = NULL;
    CHECK(os_thread_begin(&t, close_it, NULL));
    os_thread_join(&t);
}

static NTSTATUS closed_below(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx;
    (void)o;
    (void)information;
    return STATUS_FILE_CLOSED;
}

/* Later closes of writers tell the times all the same. */
static void test_write_during_close(void)
{
    begin_times();
    file.f.cleanup = NULL;
    PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(stays));
    shut = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(shut, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    ObReferenceObject(shut);
    file.f.looks = close_meanwhile;
    CHECK_EQ(fm_write(shut, BLOCK, BLOCK, closed_below, NULL, FM_PLAIN), STATUS_FILE_CLOSED);
    CHECK(!file.f.looks);
    ObfDereferenceObject(shut);
    shut = NULL;
    const unsigned told = times(0, CMP_REVALIDATE);
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    close_now(o);
    CHECK_EQ(times(0, CMP_REVALIDATE), told + 1);
    fm_close(stays);
    end();
}

const struct harness_test shell_times_tests[] = {
    TEST(portable),
    TEST(told_too_early),
    TEST(told_without_memory),
    TEST(writers_not_counted),
    TEST(reader_in_a_writers_close),
    TEST(closes_of_readers),
    TEST(clock_that_stands),
    TEST(attributes),
    TEST(object_ids),
    TEST(attributes_that_pass),
    TEST(attributes_and_the_end),
    TEST(write_during_close),
    TEST_END,
};
