/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_kinds.c - the callbacks of the driver's shell for files of a kind that is not cached,
 * and for files that become one.
 */
#include "shell_common.h"

/* The file system may fail for want of memory when it is asked for the kind. A file whose kind is
 * not known is not cached, and the next operation asks again. */
static void test_kinds_without_memory(void)
{
    static const ULONG kind[] = { FILE_ATTRIBUTE_ENCRYPTED, FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS,
                                  FILE_ATTRIBUTE_DIRECTORY, 0 };
    for (unsigned i = 0; i < 4 * 12; i++) {
        CASE("kind %u, allocation %u fails", i / 12, i % 12);
        begin();
        file.f.attributes = kind[i / 12];
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        fm_starve(i % 12, 1);
        (void)read_how(o, BLOCK, BLOCK, FM_PLAIN);
        fm_starve(0, 0);
        fm_settle();
        CHECK_EQ(warm(o), i / 12 == 3);
        CHECK_EQ(has_content(), i / 12 == 3);
        if (i / 12 < 3)
            CHECK_EQ(times(0, CMP_READ), 0);
        fm_close(o);
        end();
    }
}

/* Nor is it known later that a change was one of a plain file: so it counts. */
static void test_changes_of_unknown_kinds(void)
{
    for (unsigned skip = 0; skip < 12; skip++) {
        CASE("allocation %u fails", skip);
        begin();
        PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        fm_starve(skip, 1);
        (void)fm_control(o, CTL_CODE(9, 50, 0, 2), change, NULL, FM_PLAIN);
        fm_starve(0, 0);
        fm_settle();
        (void)warm(o);
        fm_close(o);
        end();
    }
}

/* ---- While it is open ------------------------------------------------------------------------ */

#define SET_ENCRYPTION CTL_CODE(9, 53, 3, 0)

static NTSTATUS encrypt(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    file.f.attributes |= FILE_ATTRIBUTE_ENCRYPTED;
    return STATUS_SUCCESS;
}

static PFILE_OBJECT other; /* what another thread does it with */

static void encrypt_by_another(void *arg)
{
    (void)arg;
    (void)fm_control(other, SET_ENCRYPTION, encrypt, NULL, FM_PLAIN);
}

static void read_by_another(void *arg)
{
    static uint8_t to[BLOCK];
    ULONG n;
    bool by;
    (void)arg;
    for (unsigned i = 0; i < 2; i++)
        (void)fm_read(other, BLOCK, BLOCK, to, &n, &by, FM_PLAIN);
}

static void by_another(void (*what)(void *))
{
    struct os_thread t;
    CHECK(os_thread_begin(&t, what, NULL));
    os_thread_join(&t);
}

/* The service has ended the bracket, and the driver has not heard of it yet. */
static void read_at_the_end(uint16_t command)
{
    if (command != CMP_WRITE_END)
        return;
    service.after = NULL;
    by_another(read_by_another);
}

static void encrypt_before_a_read(uint16_t command)
{
    if (command != CMP_READ)
        return;
    service.before = NULL;
    by_another(encrypt_by_another);
}

/* Rule S3. A file is encrypted while somebody reads it: the pool gets nothing of it any more. */
static void test_encrypted_while_read(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    other = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    service.after = read_at_the_end;
    CHECK_EQ(fm_control(o, SET_ENCRYPTION, encrypt, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!service.after);
    fm_settle();
    CHECK(!has_content());
    fm_close(other);
    fm_close(o);
    end();
}

/* It was a plain file when the read began. */
static void test_encrypted_in_a_read(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    other = fm_open(&file.f, true, FILE_OPENED);
    service.before = encrypt_before_a_read;
    CHECK(!hits(o));
    CHECK(!service.before);
    CHECK(!has_content());
    fm_close(other);
    fm_close(o);
    end();
}

static void (*facts_before)(struct fm_file *f, struct fm_facts *to);
static unsigned questions;

/* The first question is the one for its kind. */
static void encrypt_at_a_question(struct fm_file *f, struct fm_facts *to)
{
    if (++questions == 2) {
        file.f.facts = facts_before;
        by_another(encrypt_by_another);
    }
    facts_before(f, to);
}

/* It was a plain file when it was judged, and its verdict comes after that. */
static void test_encrypted_while_judged(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    other = fm_open(&file.f, false, FILE_OPENED);
    facts_before = file.f.facts;
    file.f.facts = encrypt_at_a_question;
    questions = 0;
    CHECK(!warm(o));
    CHECK_EQ(questions, 2);
    CHECK(!has_content());
    fm_close(other);
    fm_close(o);
    end();
}

/* ---- As it lies ------------------------------------------------------------------------------ */

static const struct fm_how as_it_lies = { .options = FILE_OPEN_REPARSE_POINT };

static NTSTATUS get_reparse_point(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    file.f.attributes = FILE_ATTRIBUTE_REPARSE_POINT;
    return STATUS_SUCCESS;
}

/* Rule S8. A plain file is opened as it lies there, and gets its reparse point afterwards: it is
 * deduplicated (FSCTL_SET_REPARSE_POINT), or a provider's (FSCTL_SET_EXTERNAL_BACKING). That may be
 * seen where nothing can be asked. From then on this handle reads what others do not. */
static void test_lies_later(void)
{
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const raw =
            fm_open_how(&file.f, false, FILE_OPENED, FO_SYNCHRONOUS_IO, &as_it_lies);
        PFILE_OBJECT const job = fm_open(&file.f, !(i & 4), FILE_OPENED);
        if (i & 2)
            CHECK(warm(raw));
        fm_me()->top = i & 4 ? (PIRP)1 : NULL;
        CHECK_EQ(
            fm_control(job, CTL_CODE(9, i & 1 ? 195 : 41, 0, 0), get_reparse_point, NULL, FM_PLAIN),
            STATUS_SUCCESS);
        fm_me()->top = NULL;
        fm_close(job);
        fm_settle();
        memset(file.data + BLOCK, 0, BLOCK); /* what this handle reads */
        CHECK(!warm(raw));
        memset(file.data + BLOCK, 'b', BLOCK); /* what others read */
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(!hits(o));
        fm_close(o);
        fm_close(raw);
        end();
    }
}

/* The handle cannot be noted. Nobody is refused, and nothing is forgotten: the open may have made
 * the file, or emptied it. All files of the volume that have a reparse point pass from then on (3:
 * that get one), and others are cached. */
static void test_lies_without_memory(void)
{
    static const ULONG outcome[] = { FILE_OPENED, FILE_CREATED, FILE_OVERWRITTEN, FILE_OPENED };
    unsigned noted = 0;
    for (unsigned i = 0; i < 4 * 10; i++) {
        static struct file plain;
        CASE("kind %u, no memory after %u allocations", i / 10, i % 10);
        begin();
        make_file(&plain, u"\\Device\\HarddiskVolume3\\data\\plain", 10);
        fm_starve(i % 10, 100);
        PFILE_OBJECT const raw =
            fm_open_how(&file.f, false, outcome[i / 10], FO_SYNCHRONOUS_IO, &as_it_lies);
        fm_starve(0, 0);
        CHECK(raw);
        if (i / 10 == 3)
            CHECK(warm(raw));
        PFILE_OBJECT const job = fm_open(&file.f, true, FILE_OPENED);
        (void)fm_control(job, CTL_CODE(9, 41, 0, 0), get_reparse_point, NULL, FM_PLAIN);
        fm_close(job);
        memset(file.data + BLOCK, 0, BLOCK); /* what this handle reads */
        CHECK(!warm(raw));
        memset(file.data + BLOCK, 'b', BLOCK);
        fm_close(raw);
        fm_settle();
        PFILE_OBJECT o = fm_open(&plain.f, false, FILE_OPENED);
        memcpy(plain.data, file.data, sizeof(plain.data)); /* which warm() looks at */
        CHECK(warm(o));
        fm_close(o);
        o = fm_open(&file.f, false, FILE_OPENED);
        noted += warm(o);
        fm_close(o);
        if (i / 10 != 2) /* it may have been emptied unseen */
            CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        end();
    }
    CHECK(noted > 0 && noted < 40);
}

static struct file left_out;
static unsigned asked;
static void (*facts_of)(struct fm_file *f, struct fm_facts *to);

static void count_questions(struct fm_file *f, struct fm_facts *to)
{
    asked++;
    facts_of(f, to);
}

/* Nor is the open of a directory, of a file that is left out, and of one on the pool's volume. For
 * a directory nothing is asked, and nothing is made. */
static void test_lies_and_is_not_cached(void)
{
    static const WCHAR *const name[] = { u"\\Device\\HarddiskVolume3\\data\\folder",
                                         u"\\Device\\HarddiskVolume3\\Windows\\x.db",
                                         u"\\Device\\HarddiskVolume5\\pool" };
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        begin();
        make_file(&left_out, name[i / 2], 44);
        left_out.f.attributes = i / 2 == 0 ? FILE_ATTRIBUTE_DIRECTORY : 0;
        facts_of = left_out.f.facts;
        left_out.f.facts = count_questions;
        asked = 0;
        fm_starve(0, i % 2 ? 100 : 0);
        PFILE_OBJECT const o =
            fm_open_how(&left_out.f, false, FILE_OPENED, FO_SYNCHRONOUS_IO, &as_it_lies);
        fm_starve(0, 0);
        CHECK(o);
        CHECK(asked == 0 || i / 2 > 0);
        CHECK(!left_out.f.context || i / 2 > 0);
        fm_close(o);
        end();
    }
}

/* A program that deletes, or only asks, opens so, too. It reads nothing, and nothing is made. */
static void test_lies_and_is_not_read(void)
{
    begin();
    file.f.attributes = FILE_ATTRIBUTE_REPARSE_POINT;
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(fm_open_how(
        &file.f, false, FILE_OPENED, FO_SYNCHRONOUS_IO,
        &(const struct fm_how){ .options = FILE_OPEN_REPARSE_POINT, .asks_only = TRUE }));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* Nor does such an open make a file count that is left out, when it is changed where nothing can be
 * asked: nothing is forgotten for a file whose name (0, 1) or volume (2, 3) leaves it out. So many
 * of them would fill the written-set. A rename into the folder counts (4, 5). */
static void test_lies_and_is_left_out(void)
{
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        begin();
        make_file(&left_out,
                  i / 2 == 1 ? u"\\Device\\HarddiskVolume5\\pool"
                             : u"\\Device\\HarddiskVolume3\\Windows\\x.db",
                  44);
        PFILE_OBJECT const o = fm_open(&left_out.f, true, FILE_OPENED);
        if (i % 2)
            fm_close(fm_open_how(&left_out.f, false, FILE_OPENED, FO_SYNCHRONOUS_IO, &as_it_lies));
        if (i / 2 == 2)
            CHECK_EQ(fm_rename(o, FileRenameInformation, u"\\data\\x.db", NULL, NULL),
                     STATUS_SUCCESS);
        else
            CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
        CHECK_EQ(fc_was_written(&((struct context *)left_out.f.context)->stream->file), i / 2 == 2);
        fm_close(o);
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET) > 0, i / 2 == 2);
        end();
    }
}

/* It is in the folders of other rules: it passes until nobody uses it, as it did. */
static void test_lies_and_other_rules(void)
{
    static const char rules[] = "folder=" DEVICE "\\other";
    for (unsigned i = 0; i < 2; i++) {
        CASE("it may write %u", i);
        begin();
        file.f.name = u"\\Device\\HarddiskVolume3\\other\\x.db";
        file.f.attributes = FILE_ATTRIBUTE_REPARSE_POINT;
        PFILE_OBJECT const raw =
            fm_open_how(&file.f, i, FILE_OPENED, FO_SYNCHRONOUS_IO, &as_it_lies);
        end_service();
        CHECK_EQ(connect_with(rules, sizeof(rules)), STATUS_SUCCESS);
        fm_settle();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        memset(file.data + BLOCK, 0, BLOCK); /* what the first handle reads */
        CHECK(!warm(raw));
        memset(file.data + BLOCK, 'b', BLOCK);
        CHECK(!warm(o));
        fm_close(raw);
        fm_close(o);
        end();
    }
}

const struct harness_test shell_kinds_tests[] = {
    TEST(kinds_without_memory), TEST(changes_of_unknown_kinds), TEST(encrypted_while_read),
    TEST(encrypted_in_a_read),  TEST(encrypted_while_judged),   TEST(lies_later),
    TEST(lies_without_memory),  TEST(lies_and_is_not_read),     TEST(lies_and_is_not_cached),
    TEST(lies_and_is_left_out), TEST(lies_and_other_rules),     TEST_END,
};
