/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_names.c - the callbacks of the driver's shell for what gives files and streams other
 * names, and for changes under a name that is not cached.
 */
#include "shell_common.h"

#include "driver_rules.h"

static const FILE_INFORMATION_CLASS renames[] = { FileRenameInformation,
                                                  FileRenameInformationBypassAccessCheck,
                                                  FileRenameInformationEx,
                                                  FileRenameInformationExBypassAccessCheck };

/* It is the file's content now, and the file's times are what they were. */
static NTSTATUS rename_stream(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_settle();
    (void)warm(ctx);
    return change(NULL, o, information);
}

/* NTFS gives an alternate stream the name of the content. */
static void test_streams_that_become_content(void)
{
    static struct file stream;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        make_file(&stream, u"\\Device\\HarddiskVolume3\\data\\file:other", file.id);
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        PFILE_OBJECT const s = fm_open(&stream.f, i % 2, FILE_OPENED);
        CHECK(warm(o));
        CHECK_EQ(fm_rename(s, renames[i], u"::$DATA", rename_stream, o), STATUS_SUCCESS);
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0); /* it is known which file it is */
        CHECK(!hits(o));
        CHECK(warm(o));
        CHECK_EQ(fm_rename(s, renames[i], u"\\data\\name", NULL, NULL), STATUS_SUCCESS);
        CHECK(hits(o));
        fm_close(s);
        fm_close(o);
        end();
    }
}

/* And the content becomes an alternate stream. The file has another stream then, with the same id:
 * what is read of the one is not stored as the other's. */
static void test_content_that_becomes_a_stream(void)
{
    static struct file now;
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_rename(o, FileRenameInformation, u":other", NULL, NULL), STATUS_SUCCESS);
    fm_settle();
    (void)warm(o);
    make_file(&now, file.f.name, file.id);
    memset(now.data, 'n', sizeof(now.data));
    PFILE_OBJECT const n = fm_open(&now.f, false, FILE_OPENED);
    CHECK_EQ(read_how(n, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(buf[0], 'n');
    fm_close(n);
    fm_close(o);
    end();
}

static void change_unseen(PFILE_OBJECT o, bool maps)
{
    if (maps) {
        CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
        memset(file.data + BLOCK, 'Z', BLOCK);
    } else {
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    }
}

/* A cached file is changed by a name that is left out: a hard link. Its times stay. */
static void test_changes_by_another_name(void)
{
    static const WCHAR *const names[] = { u"\\Device\\HarddiskVolume3\\data\\file.tmp",
                                          u"\\Device\\HarddiskVolume3\\other\\link" };
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        fm_settle();
        const WCHAR *const name = file.f.name;
        file.f.name = names[i % 2];
        file.f.linked = TRUE;
        o = fm_open(&file.f, true, FILE_OPENED);
        CHECK(!warm(o));
        CHECK_EQ(fm_flush(o, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_SYNC_BEGIN), 0); /* it was only opened */
        change_unseen(o, i / 2);
        fm_close(o);
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET_ALL) + times(0, CMP_WRITE_BEGIN), 0);
        CHECK_EQ(times(0, CMP_OPEN), 1);
        file.f.name = name;
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

/* Alternate streams of such a file have other content. */
static void test_another_name_of_a_stream(void)
{
    static struct file stream;
    begin();
    make_file(&stream, u"\\Device\\HarddiskVolume3\\other\\link:alternate", file.id);
    stream.f.linked = file.f.linked = TRUE;
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    PFILE_OBJECT const s = fm_open(&stream.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(s, BLOCK, BLOCK, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(hits(o));
    fm_close(s);
    fm_close(o);
    end();
}

static const FILE_INFORMATION_CLASS moves[] = {
    FileRenameInformation,   FileRenameInformationBypassAccessCheck,
    FileRenameInformationEx, FileRenameInformationExBypassAccessCheck,
    FileLinkInformation,     FileLinkInformationBypassAccessCheck,
    FileLinkInformationEx,   FileLinkInformationExBypassAccessCheck,
};

/* A cached file gets a name that is left out, is changed under it, and gets its old one back: while
 * somebody still has it open for writing, or by a handle that only renames. */
static void test_renamed_there_and_back(void)
{
    for (unsigned i = 0; i < 32; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        CHECK_EQ(fm_rename(o, moves[i / 4], u"\\other\\file", NULL, NULL), STATUS_SUCCESS);
        CHECK(hits(o));
        fm_close(o);
        fm_settle();
        const WCHAR *const name = file.f.name;
        file.f.name = u"\\Device\\HarddiskVolume3\\other\\file";
        PFILE_OBJECT const w = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_rename(w, moves[i / 4], u"\\other\\name", NULL, NULL), STATUS_SUCCESS);
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET), 0); /* neither of these names is cached */
        change_unseen(w, i & 1);
        if (!(i & 2))
            fm_close(w);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(fm_rename(o, moves[i / 4], u"\\data\\file", NULL, NULL), STATUS_SUCCESS);
        file.f.name = name;
        fm_close(o);
        if (i & 2) {
            change_unseen(w, i & 1);
            fm_close(w);
        }
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

static void close_now(PFILE_OBJECT o)
{
    fm_close(o);
    fm_settle();
}

/* The same without memory at that moment: the file gets its new name if the driver has noted it. */
static void test_renamed_without_memory(void)
{
    unsigned refused = 0;
    for (unsigned i = 0; i < 4 * 12; i++) {
        CASE("class %u, no memory after %u allocations", (unsigned)moves[i / 12 * 2], i % 12);
        begin();
        const WCHAR *const name = file.f.name;
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        close_now(o);
        file.f.name = u"\\Device\\HarddiskVolume3\\other\\file";
        o = fm_open(&file.f, true, FILE_OPENED);
        change_unseen(o, false);
        close_now(o);
        o = fm_open(&file.f, false, FILE_OPENED);
        fm_starve(i % 12, 100);
        const NTSTATUS s = fm_rename(o, moves[i / 12 * 2], u"\\data\\file", NULL, NULL);
        fm_starve(0, 0);
        CHECK(NT_SUCCESS(s) || s == STATUS_INSUFFICIENT_RESOURCES);
        close_now(o);
        refused += !NT_SUCCESS(s);
        if (NT_SUCCESS(s)) {
            file.f.name = name;
            o = fm_open(&file.f, false, FILE_OPENED);
            CHECK(warm(o));
            fm_close(o);
        }
        end();
    }
    CHECK(refused > 0 && refused < 4 * 12);
}

static NTSTATUS set_attributes(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    file.f.attributes = *(const ULONG *)ctx;
    return STATUS_SUCCESS;
}

static void set_kind(ULONG kind)
{
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(fm_set(o, FileBasicInformation, 0, set_attributes, &kind, FM_PLAIN), STATUS_SUCCESS);
    close_now(o);
}

/* A cached file is one for a time that is left out by its kind ("attrib +o"), and is changed then:
 * under its own name, under a hard link that is left out, and under a name that is left out before
 * it gets its own one back. */
static void test_changes_as_another_kind(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        const WCHAR *const name = file.f.name;
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        close_now(o);
        file.f.linked = i == 1;
        set_kind(FILE_ATTRIBUTE_OFFLINE);
        if (i > 0)
            file.f.name = u"\\Device\\HarddiskVolume3\\other\\file";
        o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(times(0, CMP_FORGET), 0); /* it was only opened */
        change_unseen(o, false);
        close_now(o);
        if (i == 2) {
            o = fm_open(&file.f, false, FILE_OPENED);
            CHECK_EQ(fm_rename(o, moves[0], u"\\data\\file", NULL, NULL), STATUS_SUCCESS);
            close_now(o);
        }
        file.f.name = name;
        set_kind(0);
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

/* What no other kind or name would make a cached one costs nothing. */
static void test_changes_of_what_stays_left_out(void)
{
    static const WCHAR *const names[] = { u"\\Device\\HarddiskVolume3\\other\\file",
                                          u"\\Device\\HarddiskVolume3\\data\\file:alternate" };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        file.f.attributes = FILE_ATTRIBUTE_ENCRYPTED | (i == 2 ? FILE_ATTRIBUTE_DIRECTORY : 0);
        if (i < 2)
            file.f.name = names[i];
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(fm_control(o, CTL_CODE(9, 50, 0, 2), NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        close_now(o);
        CHECK_EQ(times(0, CMP_FORGET), 0);
        end();
    }
}

/* The file system gives a short name the long one that another file had with it. */
static NTSTATUS tunnel(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    file.f.name = u"\\Device\\HarddiskVolume3\\data\\longer name.tmpl";
    return STATUS_SUCCESS;
}

/* A cached file is changed under a name that is left out, and gets a short name that is left out,
 * too. Its long name is not. */
static void test_renamed_to_a_short_name(void)
{
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        CHECK_EQ(fm_rename(o, moves[i], u"\\data\\~1\\~1", NULL, NULL), STATUS_SUCCESS);
        CHECK(hits(o)); /* it was cached under its first name */
        fm_close(o);
        fm_settle();
        file.f.name = u"\\Device\\HarddiskVolume3\\data\\file.tmp";
        o = fm_open(&file.f, true, FILE_OPENED);
        change_unseen(o, i & 1);
        CHECK_EQ(fm_rename(o, moves[i], u"\\data\\LONGER~1\\name.tmp", NULL, NULL), STATUS_SUCCESS);
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET), 0); /* only the last name may be brought back */
        CHECK_EQ(fm_rename(o, moves[i], u"\\data\\LONGER~1.TMP", tunnel, NULL), STATUS_SUCCESS);
        fm_close(o);
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

/* ---- Letters --------------------------------------------------------------------------------- */

/* Chinese and Japanese letters, one that takes two words, a letter of Latin with an accent, and one
 * that stands for what is no Unicode. */
#define DATA_ZH "\xe8\xb3\x87\xe6\x96\x99"
static const WCHAR *const letters[] = {
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\\u6587\u4ef6.txt",
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\\u30d5\u30a1\u30a4\u30eb",
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\\U0001f600",
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\\u00e9\u07ff\u0800\uffff",
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\\ufffd",
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\a.\u8cc7\u6599", /* excluded from here on */
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6599\\\U0001f600.\u8cc7\u6599",
    u"\\Device\\HarddiskVolume3\\\u8cc7\u6598\\a",
};

static void test_letters(void)
{
    static const char rules[] = "folder=" DEVICE "\\" DATA_ZH "\0exclude=*." DATA_ZH;
    for (unsigned i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        CASE("i %u", i);
        begin_without_service();
        CHECK_EQ(connect_with(rules, sizeof(rules)), STATUS_SUCCESS);
        fm_settle();
        file.f.name = letters[i];
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(warm(o), i < 5);
        fm_close(o);
        end();
    }
}

/* File systems take small and capital letters for the same, in all alphabets. Who opens a file may
 * use any of them, and the Filter Manager gives that name. */
#define BUECHER                                                                                    \
    "b\xc3\xbc"                                                                                    \
    "cher"
static const char cased_rules[] =
    "folder=" DEVICE "\\" BUECHER "\0exclude=*.m\xc3\xbcll\0pool=\\Device\\HarddiskVolume5";
static const WCHAR *const cased[] = {
    u"\\Device\\HarddiskVolume3\\b\u00fccher\\a",
    u"\\Device\\HarddiskVolume3\\B\u00dcCHER\\a",
    u"\\DEVICE\\harddiskvolume3\\b\u00dccher\\A",
    u"\\Device\\HarddiskVolume3\\b\u00fbcher\\a", /* another letter: left out from here on */
    u"\\Device\\HarddiskVolume3\\b\u00fccher\\a.M\u00dcLL",
};

static void test_letters_of_another_case(void)
{
    for (unsigned i = 0; i < sizeof(cased) / sizeof(cased[0]); i++) {
        CASE("i %u", i);
        begin_without_service();
        CHECK_EQ(connect_with(cased_rules, sizeof(cased_rules)), STATUS_SUCCESS);
        fm_settle();
        file.f.name = cased[i];
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(warm(o), i < 3);
        fm_close(o);
        end();
    }
}

/* The longest rules, of letters whose capitals take more bytes. */
static void test_capitals_that_take_more(void)
{
    static char rules[DRIVER_RULES_MAX];
    static const char folder[] = "folder=" DEVICE "\\data";
    begin_without_service();
    memcpy(rules, folder, sizeof(folder));
    memcpy(rules + sizeof(folder), "exclude=", 8);
    size_t n = sizeof(folder) + 8;
    for (; n + 2 < sizeof(rules); n += 2)
        memcpy(rules + n, "\xc8\xbf", 2);
    CHECK_EQ(connect_with(rules, n + 1), STATUS_SUCCESS);
    fm_settle();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* A cached file is changed by who calls it by other letters. Its times stay. */
static void test_changes_by_letters_of_another_case(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin_without_service();
        CHECK_EQ(connect_with(cased_rules, sizeof(cased_rules)), STATUS_SUCCESS);
        fm_settle();
        file.f.name = cased[0];
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        close_now(o);
        file.f.name = cased[1];
        o = fm_open(&file.f, true, FILE_OPENED);
        change_unseen(o, i);
        close_now(o);
        file.f.name = cased[0];
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

/* Names that are no Unicode: a half of a letter that takes two words. Two such names may look the
 * same to the rules. */
static void test_no_unicode(void)
{
    static const WCHAR halves[][2] = { { 0xd800, 'x' }, { 'x', 0xdbff },    { 0xdc00, 'x' },
                                       { 'x', 0xdfff }, { 0xd800, 0xd800 }, { 0xdfff, 0xd800 } };
    static WCHAR name[] = u"\\Device\\HarddiskVolume3\\data\\??";
    const unsigned at = sizeof(name) / sizeof(name[0]) - 3;
    for (unsigned i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        CASE("i %u", i);
        begin();
        memcpy(name + at, halves[i], sizeof(halves[i]));
        file.f.name = name;
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK(!warm(o));
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK(!warm(o));
        CHECK_EQ(times(0, CMP_OPEN), 0);
        fm_close(o);
        end();
    }
}

const struct harness_test shell_names_tests[] = {
    TEST(streams_that_become_content),
    TEST(content_that_becomes_a_stream),
    TEST(changes_by_another_name),
    TEST(another_name_of_a_stream),
    TEST(renamed_there_and_back),
    TEST(renamed_to_a_short_name),
    TEST(renamed_without_memory),
    TEST(changes_as_another_kind),
    TEST(changes_of_what_stays_left_out),
    TEST(letters),
    TEST(letters_of_another_case),
    TEST(capitals_that_take_more),
    TEST(changes_by_letters_of_another_case),
    TEST(no_unicode),
    TEST_END,
};
