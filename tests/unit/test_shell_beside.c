/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_beside.c - the callbacks of the driver's shell for changes that go past the system's
 * cache, which may keep old pages (rule C10).
 */
#include "shell_common.h"

static uint8_t disk[BLOCKS * BLOCK]; /* file.data is what the system's cache has */

static ULONG read_disk(struct fm_file *f, uint64_t off, ULONG n, void *to)
{
    (void)f;
    n = off >= sizeof(disk) ? 0 : sizeof(disk) - off < n ? (ULONG)(sizeof(disk) - off) : n;
    memcpy(to, disk + off, n);
    return n;
}

/* To the disk. The page of block 1 stays in the cache: somebody has it mapped. */
static NTSTATUS write_disk(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o;
    memset(disk + BLOCK, 'N', BLOCK);
    *information = BLOCK;
    return ctx ? *(const NTSTATUS *)ctx : STATUS_SUCCESS;
}

static void begin_with_disk(void)
{
    begin();
    file.f.read_disk = read_disk;
    memcpy(disk, file.data, sizeof(disk));
}

/* The byte of block 1 that this handle reads, and the fill is over. */
static uint8_t reads(PFILE_OBJECT o)
{
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    return buf[0];
}

/* The way of the change in test_past_the_cache(). */
static NTSTATUS write_past(PFILE_OBJECT o, unsigned way)
{
    static const struct fm_how direct = { .irp_flags = IRP_NOCACHE };
    static const struct fm_how direct_at_dispatch = { .irp_flags = IRP_NOCACHE, .dispatch = TRUE };
    switch (way) {
    case 0:
        return fm_write(o, BLOCK, BLOCK, write_disk, NULL, &direct);
    case 1:
        return fm_write(o, BLOCK, BLOCK, write_disk, NULL, &direct_at_dispatch);
    case 2: /* SET_ZERO_DATA, and a code that is not known */
    case 3:
        return fm_control(o, CTL_CODE(9, way == 2 ? 50 : 999, 0, 0), write_disk, NULL, FM_PLAIN);
    default: /* it may not wait */
        fm_me()->top = (PIRP)1;
        (void)fm_write(o, BLOCK, BLOCK, write_disk, NULL, &direct);
        fm_me()->top = NULL;
        return STATUS_SUCCESS;
    }
}

/* A program has the file mapped, to read; a database writes it past the system's cache; a third one
 * reads it through the cache, and gets what is mapped. What all others read stays right. */
static void test_past_the_cache(void)
{
    for (unsigned i = 0; i < 20; i++) {
        const bool mapped_later = i >= 10, asynchronous = i / 5 % 2;
        CASE("i %u", i);
        begin_with_disk();
        PFILE_OBJECT const db = fm_open_how(
            &file.f, true, FILE_OPENED,
            FO_NO_INTERMEDIATE_BUFFERING | (asynchronous ? 0 : FO_SYNCHRONOUS_IO), FM_PLAIN);
        PFILE_OBJECT const scan = fm_open(&file.f, false, FILE_OPENED);
        if (!mapped_later)
            CHECK_EQ(fm_section(scan, SyncTypeCreateSection, 2), STATUS_SUCCESS);
        CHECK_EQ(write_past(db, i % 5), STATUS_SUCCESS);
        fm_settle();
        if (mapped_later) { /* it has the new page */
            file.data[BLOCK] = 'n';
            CHECK_EQ(reads(scan), 'n');
            CHECK_EQ(reads(db), 'n');
        } else {
            CHECK(reads(scan) == 'b' && !by_driver);
            CHECK(reads(db) == 'N' && by_driver);
            CHECK(reads(scan) == 'N' && by_driver);
        }
        fm_close(scan);
        fm_close(db);
        end();
    }
}

/* A control code that is refused changes nothing past the cache, either, nor does a cached write.
 */
static void test_not_past_the_cache(void)
{
    static const NTSTATUS refused = (NTSTATUS)0xC0000010;
    /* Not known; SET_ZERO_DATA, OFFLOAD_WRITE, SET_INTEGRITY_INFORMATION; 0: a write. */
    static const ULONG function[] = { 999, 50, 154, 160, 0 };
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        begin_with_disk();
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_section(o, SyncTypeCreateSection, 2), STATUS_SUCCESS);
        if (function[i])
            CHECK_EQ(fm_control(o, CTL_CODE(9, function[i], 0, 0), write_disk,
                                (void *)(uintptr_t)&refused, FM_PLAIN),
                     refused);
        else
            CHECK_EQ(fm_write(o, BLOCK, BLOCK, write_disk, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(reads(o), 'b');
        CHECK_EQ(reads(o), 'b'); /* it is the cache that counts */
        CHECK(by_driver);
        fm_close(o);
        end();
    }
}

static ULONG not_read(struct fm_file *f, uint64_t off, ULONG n, void *to)
{
    harness_fail(__FILE__, __LINE__, "it is read from the disk");
    return read_disk(f, off, n, to);
}

/* The volume is written below the file system (SL_FORCE_DIRECT_WRITE), and the system's cache keeps
 * its page. */
static void test_written_as_a_whole(void)
{
    static struct file other;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin_with_disk();
        PFILE_OBJECT const v = fm_open_volume(), o = fm_open(&file.f, false, FILE_OPENED);
        make_file(&other, u"\\Device\\HarddiskVolume3\\data\\other", 10);
        CHECK_EQ(reads(o), 'b');
        CHECK_EQ(fm_write(v, BLOCK, BLOCK, write_disk, NULL, i ? &at_dispatch : FM_PLAIN),
                 STATUS_SUCCESS);
        fm_settle();
        CHECK(reads(o) == 'b' && !by_driver); /* as without the driver */
        CHECK(reads(o) == 'N' && by_driver);
        other.f.read_disk = not_read;
        PFILE_OBJECT const later = fm_open(&other.f, false, FILE_OPENED);
        CHECK_EQ(reads(later), 'b'); /* filled from the system's cache */
        CHECK(reads(later) == 'b' && by_driver);
        fm_close(later);
        fm_close(o);
        fm_close(v);
        end();
    }
}

/* The file's old page is in the system's cache as long as `o` is open. What is filled is on the
 * disk, and who uses the file after that fills it from the system's cache again. */
static void old_page_goes(PFILE_OBJECT o)
{
    CHECK(reads(o) == 'b' && !by_driver); /* as without the driver */
    CHECK(reads(o) == 'N' && by_driver);
    fm_close(o);
    fm_settle();
    memcpy(file.data, disk, sizeof(disk));
    file.f.read_disk = not_read;
    PFILE_OBJECT const later = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(reads(later), 'N');
    CHECK_EQ(read_how(later, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(read_how(later, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK(buf[0] == 'c' && by_driver);
    fm_close(later);
}

/* Until the volume is written the driver has seen no operation of the file that it keeps a context
 * for: somebody has it mapped, to read, or has read it while no service was there. */
static void test_written_before_the_first_read(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        if (i < 2)
            begin();
        else
            begin_without_service();
        file.f.read_disk = read_disk;
        memcpy(disk, file.data, sizeof(disk));
        PFILE_OBJECT const v = fm_open_volume(), o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(fm_section(o, SyncTypeCreateSection, 2), STATUS_SUCCESS);
        if (i > 0)
            CHECK_EQ(read_how(o, BLOCK, BLOCK, i == 1 ? &paging : FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(fm_write(v, BLOCK, BLOCK, write_disk, NULL, FM_PLAIN), STATUS_SUCCESS);
        if (i == 2)
            connect_service();
        fm_settle();
        old_page_goes(o);
        fm_close(v);
        end();
    }
}

/* Nobody has written past the cache, and the driver would have seen it. */
static void test_pages_before_the_first_read(void)
{
    begin_with_disk();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, 2), STATUS_SUCCESS);
    file.f.read_disk = not_read;
    CHECK_EQ(reads(o), 'b');
    CHECK(reads(o) == 'b' && by_driver);
    fm_close(o);
    end();
}

static NTSTATUS refuse(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    return *(const NTSTATUS *)ctx;
}

/* The file system denies a raw write to what a file has. After another error a part of it may be
 * on the disk. */
static void test_refused_as_a_whole(void)
{
    static const NTSTATUS refused[] = { (NTSTATUS)0xC0000022, STATUS_NOT_SUPPORTED };
    static const NTSTATUS failed[] = { STATUS_UNSUCCESSFUL, STATUS_INSUFFICIENT_RESOURCES };
    for (unsigned i = 0; i < 4; i++) {
        const NTSTATUS *const s = i < 2 ? &refused[i] : &failed[i - 2];
        CASE("i %u", i);
        begin_with_disk();
        PFILE_OBJECT const v = fm_open_volume(), o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(reads(o), 'b');
        if (i < 2)
            file.f.read_disk = not_read;
        CHECK_EQ(
            fm_write(v, BLOCK, BLOCK, i < 2 ? refuse : write_disk, (void *)(uintptr_t)s, FM_PLAIN),
            *s);
        fm_settle();
        if (i < 2) {
            CHECK_EQ(reads(o), 'b');
            CHECK(reads(o) == 'b' && by_driver);
            fm_close(o);
        } else {
            old_page_goes(o);
        }
        fm_close(v);
        end();
    }
}

/* What came into use after one such write may have old pages after the next one. */
static void test_written_as_a_whole_again(void)
{
    begin_with_disk();
    PFILE_OBJECT const v = fm_open_volume();
    CHECK_EQ(fm_write(v, BLOCK, BLOCK, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(reads(o), 'b');
    CHECK(reads(o) == 'b' && by_driver);
    CHECK_EQ(fm_write(v, BLOCK, BLOCK, write_disk, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    old_page_goes(o);
    fm_close(v);
    end();
}

/* A program had the file mapped, and another one wrote it past the cache, before the driver came.
 */
static void test_written_before_the_driver(void)
{
    begin_with_disk();
    end_service();
    fm_unload();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, 2), STATUS_SUCCESS);
    memset(disk + BLOCK, 'N', BLOCK);
    CHECK_EQ(fm_load(false), STATUS_SUCCESS);
    connect_service();
    old_page_goes(o);
    end();
}

const struct harness_test shell_beside_tests[] = {
    TEST(past_the_cache),
    TEST(not_past_the_cache),
    TEST(written_as_a_whole),
    TEST(written_before_the_first_read),
    TEST(pages_before_the_first_read),
    TEST(refused_as_a_whole),
    TEST(written_as_a_whole_again),
    TEST(written_before_the_driver),
    TEST_END,
};
