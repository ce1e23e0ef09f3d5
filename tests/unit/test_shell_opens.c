/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_opens.c - the callbacks of the driver's shell for opens that empty a file.
 */
#include "shell_common.h"

/* CreateFile(GENERIC_READ, CREATE_ALWAYS) empties a file by a handle that may only read. */
static void test_overwrites(void)
{
    static const ULONG outcome[] = { FILE_OVERWRITTEN, FILE_SUPERSEDED };
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        memset(file.data, 'z', sizeof(file.data));
        PFILE_OBJECT const w = fm_open(&file.f, i / 2, outcome[i % 2]);
        CHECK(!hits(o));
        CHECK(warm(o));
        fm_close(w);
        fm_close(o);
        end();
    }
}

static PFILE_OBJECT writer;
static bool looked;

/* Right before that is noted. */
static void read_once_more(struct fm_file *f, PFILE_OBJECT o)
{
    (void)o;
    f->looks = NULL;
    looked = true;
    CHECK(!hits(writer));
}

/* The open has emptied the file, and has not ended. The gap before what is written now is zeros. */
static void write_behind(struct fm_file *f, PFILE_OBJECT o)
{
    f->opens = NULL;
    memset(file.data, 0, sizeof(file.data));
    CHECK_EQ(fm_write(writer, (int64_t)5 * BLOCK, BLOCK, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!hits(writer));
    CHECK(!warm(writer));
    looked = !o->WriteAccess;
    f->looks = looked ? NULL : read_once_more;
}

/* An open empties a file that somebody else writes and reads: what was there before is not read any
 * more once his write behind the new end is over, also while the open has not ended. */
static void test_overwrites_on_their_way(void)
{
    static const ULONG what[] = { FILE_SUPERSEDE, FILE_OVERWRITE, FILE_OVERWRITE_IF };
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        const struct fm_how how = { .options = what[i / 2] << 24 };
        begin();
        writer = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(writer));
        file.f.opens = write_behind;
        fm_close(fm_open_how(&file.f, i % 2, i < 2 ? FILE_SUPERSEDED : FILE_OVERWRITTEN,
                             FO_SYNCHRONOUS_IO, &how));
        CHECK(looked && !hits(writer));
        CHECK(warm(writer));
        fm_close(writer);
        end();
    }
}

static bool is_hit, detaches;

static void look(struct fm_file *f, PFILE_OBJECT o)
{
    (void)o;
    f->opens = NULL;
    is_hit = hits(writer);
    if (detaches)
        fm_detach();
}

/* While any open is on its way that may empty a file, the file passes. So it does for no other
 * open, and not when it is over: it has made another file, has failed, or was drained. */
static void test_opens_that_may_empty(void)
{
    static const struct {
        ULONG what, outcome;
        bool reparse, detaches;
    } c[] = { { FILE_OVERWRITE_IF, FILE_CREATED, false, false },
              { FILE_OVERWRITE, FILE_OPENED, true, false },
              { FILE_OVERWRITE, FILE_OPENED, false, true },
              { 1 /* FILE_OPEN */, FILE_OPENED, false, false },
              { 2 /* FILE_CREATE */, FILE_CREATED, false, false },
              { 3 /* FILE_OPEN_IF */, FILE_CREATED, false, false } };
    struct file other;
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        const struct fm_how how = { .options = c[i].what << 24, .reparse = c[i].reparse };
        begin();
        make_file(&other, u"\\Device\\HarddiskVolume3\\data\\other", 10);
        writer = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(writer));
        other.f.opens = look;
        detaches = c[i].detaches;
        PFILE_OBJECT const o = fm_open_how(&other.f, false, c[i].outcome, FO_SYNCHRONOUS_IO, &how);
        CHECK_EQ(is_hit, i >= 3);
        if (detaches)
            fm_attach(false);
        fm_settle();
        CHECK_EQ(hits(writer), !detaches);
        CHECK(warm(writer));
        fm_close(o);
        fm_close(writer);
        end();
    }
}

/* CREATE_ALWAYS also gives the file that it empties other attributes: it may be encrypted now. */
static void test_overwrites_as_another_kind(void)
{
    static const ULONG kind[] = { FILE_ATTRIBUTE_ENCRYPTED, FILE_ATTRIBUTE_OFFLINE };
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        file.f.attributes = kind[i % 2];
        fm_close(fm_open(&file.f, i / 2, FILE_OVERWRITTEN));
        fm_settle();
        CHECK(!warm(o));
        fm_close(o);
        end();
    }
}

/* A filter below takes an open back when the file is emptied already. Nothing is open then that
 * would say which file it was. */
static void test_overwrites_cancelled_below(void)
{
    static const ULONG what[] = { FILE_SUPERSEDE, FILE_OVERWRITE, FILE_OVERWRITE_IF,
                                  FILE_OVERWRITE_IF, 1 /* FILE_OPEN */ };
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        const struct fm_how how = { .options = what[i] << 24,
                                    .cancelled = TRUE,
                                    .reparse = i == 3 };
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        if (i < 4)
            memset(file.data, 'z', sizeof(file.data));
        PFILE_OBJECT const x = fm_open_how(&file.f, true, 0, FO_SYNCHRONOUS_IO, &how);
        fm_settle();
        CHECK_EQ(hits(o), i == 4);
        CHECK(warm(o));
        CHECK_EQ(times(0, CMP_FORGET_ALL), i < 4);
        if (x)
            fm_close(x);
        fm_close(o);
        end();
    }
}

const struct harness_test shell_opens_tests[] = {
    TEST(overwrites),
    TEST(overwrites_on_their_way),
    TEST(opens_that_may_empty),
    TEST(overwrites_as_another_kind),
    TEST(overwrites_cancelled_below),
    TEST_END,
};
