/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_controls.c - the callbacks of the driver's shell for control codes.
 */
#include "shell_common.h"

#define SET_ZERO_DATA CTL_CODE(9, 50, 0, 2)
#define GET_COMPRESSION CTL_CODE(9, 15, 0, 0)

/* The flags of a control code that has an output buffer, as FSCTL_OFFLOAD_WRITE always has. One of
 * them, IRP_INPUT_OPERATION, has the value of IRP_SYNCHRONOUS_PAGING_IO. */
static void test_control_with_output(void)
{
    static const struct fm_how how = { .irp_flags = 0x70 };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, CTL_CODE(9, 154, 0, 2), change, NULL, &how), STATUS_SUCCESS);
    CHECK_EQ(begun, 1);
    CHECK(!hits(o));
    fm_close(o);
    end();
}

static void test_controls(void)
{
    static const ULONG flags[] = { FO_SYNCHRONOUS_IO, 0 };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open_how(&file.f, true, FILE_OPENED, flags[i], FM_PLAIN);
        CHECK(warm(o));
        CHECK_EQ(fm_control(o, SET_ZERO_DATA, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK(begun == 1 && ended == 0);
        if (i == 1) /* it does not wait */
            fm_settle();
        CHECK_EQ(times(0, CMP_WRITE_END), 1);
        CHECK(!hits(o));
        const unsigned from = service.n;
        CHECK_EQ(fm_control(o, GET_COMPRESSION, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(fm_control(o, FSCTL_READ_FILE_USN_DATA, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(service.n, from);
        fm_close(o);
        end();
    }
}

/* Programs send these with a handle that may only read: the Explorer asks for the object's id of
 * each document (if it may have to be made: test_shell_times.c), a copy may begin with an offloaded
 * read, a game asks for BypassIO. A virus scanner's sections bring two of them
 * (SET_PURGE_FAILURE_MODE, from the Filter Manager). The numbers are those of winioctl.h. */
static void test_controls_that_only_read(void)
{
    static const ULONG harmless[] = {
        CTL_CODE(9, 0, 0, 0),   CTL_CODE(9, 10, 0, 0),  CTL_CODE(9, 24, 0, 0),
        CTL_CODE(9, 28, 3, 0),  CTL_CODE(9, 39, 0, 0),  CTL_CODE(9, 42, 0, 0),
        CTL_CODE(9, 51, 3, 1),  CTL_CODE(9, 144, 0, 0), CTL_CODE(9, 146, 0, 0),
        CTL_CODE(9, 151, 0, 0), CTL_CODE(9, 153, 0, 1), CTL_CODE(9, 159, 0, 0),
        CTL_CODE(9, 161, 0, 0), CTL_CODE(9, 182, 0, 0), CTL_CODE(9, 196, 0, 0),
        CTL_CODE(9, 244, 3, 0), CTL_CODE(9, 266, 3, 0), CTL_CODE(9, 274, 0, 0),
        CTL_CODE(9, 156, 0, 0),
    };
    /* Those of filter_rules.c that change the content. */
    static const ULONG others[] = {
        CTL_CODE(9, 16, 0, 3),  CTL_CODE(9, 41, 0, 0),  CTL_CODE(9, 43, 0, 0),
        CTL_CODE(9, 49, 0, 0),  CTL_CODE(9, 50, 0, 2),  CTL_CODE(9, 53, 3, 0),
        CTL_CODE(9, 54, 3, 0),  CTL_CODE(9, 55, 3, 0),  CTL_CODE(9, 130, 0, 2),
        CTL_CODE(9, 154, 0, 2), CTL_CODE(9, 160, 0, 3), CTL_CODE(9, 195, 0, 0),
        CTL_CODE(9, 197, 0, 0), CTL_CODE(9, 209, 0, 2), CTL_CODE(9, 250, 0, 2),
    };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    for (unsigned i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        CASE("%#x is harmless", (unsigned)harmless[i]);
        CHECK(hits(o) || i == 0);
        const unsigned from = service.n;
        CHECK_EQ(fm_control(o, harmless[i], NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
        CHECK(warm(o));
    }
    CHECK(!fc_was_written(&((struct context *)file.f.context)->stream->file));
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        CASE("%#x is not", (unsigned)others[i]);
        const unsigned from = service.n;
        CHECK_EQ(fm_control(o, others[i], NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 1);
        CHECK(!hits(o));
        CHECK(hits(o));
    }
    fm_close(o);
    end();
}

/* ---- Codes that are not known (C9) ----------------------------------------------------------- */

#define UNKNOWN CTL_CODE(9, 999, 0, 0)

#define ENDS 9u
static const struct {
    NTSTATUS s;
    bool is_change;
} ends[ENDS] = {
    { (NTSTATUS)0xC0000002, false }, /* STATUS_NOT_IMPLEMENTED */
    { (NTSTATUS)0xC0000010, false }, /* STATUS_INVALID_DEVICE_REQUEST */
    { STATUS_NOT_SUPPORTED, false },
    { STATUS_SUCCESS, true },
    { STATUS_TIMEOUT, true },           /* a success code */
    { STATUS_BUFFER_OVERFLOW, true },   /* a warning */
    { STATUS_INVALID_PARAMETER, true }, /* the third of some ranges, perhaps */
    { (NTSTATUS)0xC000007F, true },     /* STATUS_DISK_FULL */
    { STATUS_INSUFFICIENT_RESOURCES, true },
};

/* Of `how` in test_unknown_controls(). */
enum { WAITS, DOES_NOT_WAIT, AT_DISPATCH, WAYS };

static NTSTATUS refuse_or_change(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    const unsigned end = *(const unsigned *)ctx;
    if (ends[end].is_change)
        (void)change(NULL, o, information);
    return ends[end].s;
}

/* One that the file system refuses has changed nothing: nothing is forgotten. Whatever else it
 * says, it may have changed the file, and nobody reads old bytes who has seen the end. */
static void test_unknown_controls(void)
{
    static const struct fm_how *const how[WAYS] = { FM_PLAIN, FM_PLAIN, &at_dispatch };
    static const ULONG codes[] = { UNKNOWN, CTL_CODE(20, 39, 0, 0) };
    for (unsigned i = 0; i < ENDS * WAYS * 2; i++) {
        const unsigned which = i % ENDS, way = i / ENDS % WAYS, code = i / (ENDS * WAYS);
        CASE("end %u, way %u, code %u", which, way, code);
        begin();
        PFILE_OBJECT const r = fm_open(&file.f, false, FILE_OPENED);
        PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED,
                                           way != WAITS ? 0 : FO_SYNCHRONOUS_IO, FM_PLAIN);
        CHECK(warm(r));
        const unsigned from = service.n;
        fm_hold(way == DOES_NOT_WAIT);
        CHECK_EQ(fm_control(o, codes[code], refuse_or_change, (void *)(uintptr_t)&which, how[way]),
                 ends[which].s);
        CHECK_EQ(read_how(r, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], file.data[BLOCK]);
        CHECK_EQ(by_driver, !ends[which].is_change);
        fm_hold(false);
        fm_settle();
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
        CHECK_EQ(times(from, CMP_FORGET) > 0, ends[which].is_change);
        CHECK_EQ(fc_was_written(&((struct context *)file.f.context)->stream->file),
                 ends[which].is_change);
        CHECK(warm(r));
        fm_close(o);
        fm_close(r);
        end();
    }
}

static NTSTATUS encrypt(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    file.f.attributes |= FILE_ATTRIBUTE_ENCRYPTED;
    return STATUS_SUCCESS;
}

static void test_unknown_that_encrypts(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, UNKNOWN, encrypt, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle(); /* it is forgotten, and would be filled */
    CHECK(!warm(o));
    fm_close(o);
    end();
}

static const NTSTATUS refused = (NTSTATUS)0xC0000010;

static NTSTATUS refuse(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    return refused;
}

/* What scanners and other programs send while there is no service leaves nothing to forget. What
 * may not wait counts from its begin on. */
static void test_unknown_without_service(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        end_service();
        const unsigned from = service.n;
        fm_me()->top = i == 2 ? (PIRP)1 : NULL;
        CHECK_EQ(fm_control(o, i == 1 ? CTL_CODE(9, 156, 0, 0) : UNKNOWN, refuse, NULL, FM_PLAIN),
                 refused);
        fm_me()->top = NULL;
        fm_settle();
        connect_service();
        CHECK_EQ(times(from, CMP_FORGET), i == 2);
        CHECK_EQ(hits(o), i != 2);
        fm_close(o);
        end();
    }
}

static NTSTATUS close_it(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_close(ctx);
    fm_settle();
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    return change(NULL, o, information);
}

/* Times that are told in the middle may be those of the change, and the content is the old one. */
static void test_closes_in_an_unknown(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    PFILE_OBJECT const w = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(w, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, UNKNOWN, close_it, w, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    fm_close(fm_open(&file.f, false, FILE_OPENED));
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    fm_close(o);
    end();
}

static NTSTATUS read_between(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    const NTSTATUS s = change(NULL, o, information);
    CHECK(!warm(ctx));
    CHECK_EQ(times(0, CMP_OPEN), 0);
    CHECK(!has_content());
    return s;
}

/* It has done a half. Neither the file's times are told then, nor is its content stored. */
static void test_reads_in_an_unknown(void)
{
    begin();
    PFILE_OBJECT const r = fm_open(&file.f, false, FILE_OPENED);
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(fm_control(o, UNKNOWN, read_between, r, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK(warm(r));
    fm_close(o);
    fm_close(r);
    end();
}

static NTSTATUS detach_and_change(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_detach();
    return change(ctx, o, information);
}

/* Its end is not seen: it counts. */
static void test_detaches_in_an_unknown(void)
{
    begin();
    PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
    (void)warm(o);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, UNKNOWN, detach_and_change, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(driver.core.counter[FC_OUTSIDES], 1);
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1); /* W6 */
    fm_close(o);
    end();
}

const struct harness_test shell_controls_tests[] = {
    TEST(controls),
    TEST(control_with_output),
    TEST(controls_that_only_read),
    TEST(unknown_controls),
    TEST(unknown_that_encrypts),
    TEST(unknown_without_service),
    TEST(closes_in_an_unknown),
    TEST(reads_in_an_unknown),
    TEST(detaches_in_an_unknown),
    TEST_END,
};
