/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_changes.c - the callbacks of the driver's shell for what changes a file.
 */
#include "shell_common.h"

/* ---- Changes --------------------------------------------------------------------------------- */

static const struct fm_how fast = { .fast = TRUE };

/* The bracket begins before the write and ends after it, however the write ends. */
static void test_writes(void)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch, &fast };
    static const NTSTATUS fails = STATUS_UNSUCCESSFUL;
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(o));
        service.slow = CMP_WRITE_END;
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, how[i]), STATUS_SUCCESS);
        CHECK(begun == 1 && ended == 0);
        CHECK_EQ(times(0, CMP_WRITE_END), 1); /* before the caller hears of it */
        struct cmp_range range;
        memcpy(&range, body_of(CMP_WRITE_BEGIN), sizeof(range));
        CHECK(range.offset == BLOCK && range.len == BLOCK);
        CHECK(!hits(o));
        CHECK(hits(o));
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, (void *)(uintptr_t)&fails, how[i]), fails);
        fm_settle();
        CHECK_EQ(times(0, CMP_WRITE_END), 2);
        /* At the handle's own place. */
        CHECK_EQ(fm_write(o, -2, BLOCK, change, NULL, how[i]), STATUS_SUCCESS);
        fm_settle();
        memcpy(&range, body_of(CMP_WRITE_BEGIN), sizeof(range));
        CHECK(range.offset == 0 && range.len == UINT64_MAX);
        fm_close(o);
        end();
    }
}

static NTSTATUS append(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o;
    memcpy(ctx, body_of(CMP_WRITE_BEGIN), sizeof(struct cmp_range));
    ended = times(0, CMP_WRITE_END);
    *information = BLOCK;
    return STATUS_SUCCESS;
}

/* FILE_WRITE_TO_END_OF_FILE, as each write of a log: what is cached stays. */
static void test_appends(void)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch, &fast };
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        struct cmp_range range = { 1, 1 };
        begin();
        PFILE_OBJECT const o =
            fm_open_how(&file.f, true, FILE_OPENED, i < 3 ? FO_SYNCHRONOUS_IO : 0, FM_PLAIN);
        (void)warm(o);
        CHECK(warm(o));
        CHECK_EQ(fm_write(o, -1, BLOCK, append, &range, how[i % 3]), STATUS_SUCCESS);
        CHECK(range.offset == CM_APPEND && range.len == BLOCK && ended == 0);
        fm_settle();
        CHECK_EQ(times(0, CMP_WRITE_END), 1);
        CHECK(hits(o));
        CHECK(fc_was_written(&((struct context *)file.f.context)->stream->file));
        fm_close(o);
        end();
    }
}

/* It ends inside the file system, where nobody may wait: the bracket ends later. */
static void test_asynchronous_writes(void)
{
    begin();
    PFILE_OBJECT const o = fm_open_how(&file.f, true, FILE_OPENED, 0, FM_PLAIN);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(begun == 1 && ended == 0);
    fm_settle();
    CHECK_EQ(times(0, CMP_WRITE_END), 1);
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* Programs are killed at any moment: before a message, while they wait for its reply, in the middle
 * of a write. Others do not notice. */
static void test_killed_programs(void)
{
    static const struct fm_thread t[] = { { .terminating = TRUE }, { .dying = TRUE } };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK(warm(o));
        *fm_me() = t[i];
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK(!by_driver && buf[0] == file.data[BLOCK]);
        *fm_me() = t[i];
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = t[i];
        fm_close(fm_open(&file.f, true, FILE_OPENED));
        *fm_me() = (struct fm_thread){ 0 };
        fm_settle();
        (void)hits(o);
        CHECK(!fm_is_cut(connection));
    }
    fm_close(o);
    end();
}

static NTSTATUS change_and_die(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_me()->terminating = TRUE;
    return change(ctx, o, information);
}

/* The service's log is a cached file. It must not wait for itself. */
static void test_service_that_writes(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK(warm(o));
        *fm_me() = (struct fm_thread){ .process = FM_SERVICE };
        if (i == 2) /* it begins a new one */
            memset(file.data + BLOCK, 'n', BLOCK);
        PFILE_OBJECT const log = fm_open(&file.f, true, i == 2 ? FILE_OVERWRITTEN : FILE_OPENED);
        if (i == 0)
            CHECK_EQ(fm_write(log, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        else if (i == 1)
            CHECK_EQ(fm_set(log, FileEndOfFileInformation, 5 * BLOCK, change, NULL, FM_PLAIN),
                     STATUS_SUCCESS);
        CHECK_EQ(fm_flush(log, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], file.data[BLOCK]);
        fm_settle();
        (void)warm(o);
        *fm_me() = (struct fm_thread){ .process = FM_SERVICE };
        fm_close(log);
        *fm_me() = (struct fm_thread){ 0 };
        fm_settle();
        CHECK(times(0, CMP_FORGET) > i);
        CHECK_EQ(times(0, CMP_FORGET_ALL) + times(0, CMP_WRITE_BEGIN), 0);
    }
    fm_close(o);
    end();
}

static void (*facts_of)(struct fm_file *f, struct fm_facts *to);
static unsigned n_facts;

static void count_facts(struct fm_file *f, struct fm_facts *to)
{
    n_facts++;
    facts_of(f, to);
}

/* It writes and syncs its log as long as it lives. It would not hear what it asks itself, and too
 * much of that ends a life (L6). At a close the file system is not asked for what it would not
 * hear. */
static void test_service_that_writes_for_long(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    *fm_me() = (struct fm_thread){ .process = FM_SERVICE };
    PFILE_OBJECT const log = fm_open(&file.f, true, FILE_OPENED);
    for (unsigned i = 0; i < 2 * (FC_LOST_MAX + 1); i++) {
        if (i % 2)
            CHECK_EQ(fm_flush(log, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        else
            CHECK_EQ(fm_write(log, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    }
    fm_settle();
    facts_of = file.f.facts;
    file.f.facts = count_facts;
    n_facts = 0;
    fm_close(log);
    CHECK_EQ(n_facts, 0);
    *fm_me() = (struct fm_thread){ 0 };
    fm_settle();
    CHECK(!fm_is_cut(connection));
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* It is killed while the file system writes: a thread of the system ends its bracket. */
static void test_killed_in_a_write(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change_and_die, NULL, FM_PLAIN), STATUS_SUCCESS);
    *fm_me() = (struct fm_thread){ 0 };
    fm_settle();
    CHECK_EQ(times(0, CMP_WRITE_END), 1);
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* What may not wait is outside: the service is told by another thread, and the file passes. Nor is
 * it kept waiting for that thread. */
static void test_writes_that_may_not_wait(void)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch };
    static const struct fm_thread t[] = { { .irql = APC_LEVEL },
                                          { .apcs_disabled = TRUE },
                                          { .top = (PIRP)1 } };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        CHECK(warm(o));
        const unsigned from = service.n;
        fm_hold(true);
        *fm_me() = t[i / 2];
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, how[i % 2]), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        fm_hold(false);
        CHECK(!hits(o) || times(from, CMP_FORGET) > 0);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
    }
    const unsigned from = service.n;
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, NULL, NULL, &paging), STATUS_SUCCESS);
    CHECK_EQ(service.n, from);
    fm_close(o);
    end();
}

static void test_sizes(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_set(o, FileEndOfFileInformation, 4711, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(begun == 1 && ended == 0);
    struct cmp_truncate m;
    memcpy(&m, body_of(CMP_TRUNCATE_BEGIN), sizeof(m));
    CHECK_EQ(m.size, 4711);
    CHECK(!hits(o));
    CHECK_EQ(fm_set(o, FileAllocationInformation, 1, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_set(o, FileValidDataLengthInformation, 1, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(times(0, CMP_WRITE_BEGIN), 2);
    CHECK_EQ(times(0, CMP_WRITE_END), 3);
    CHECK_EQ(fm_set(o, FileDispositionInformation, 1, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(times(0, CMP_WRITE_BEGIN), 2);
    fm_close(o);
    end();
}

/* The lazy writer tells how far the file's data are on the disk. Nothing changes by that. */
static void test_advances(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_me()->top = (PIRP)1;
    CHECK_EQ(fm_set(o, FileEndOfFileInformation, 5 * BLOCK, NULL, NULL,
                    &(const struct fm_how){ .advance = TRUE }),
             STATUS_SUCCESS);
    fm_me()->top = NULL;
    CHECK(hits(o));
    fm_close(o);
    end();
}

#define SET_ENCRYPTION CTL_CODE(9, 53, 3, 0)

static NTSTATUS encrypt(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    file.f.attributes |= FILE_ATTRIBUTE_ENCRYPTED;
    return STATUS_SUCCESS;
}

/* A file that is encrypted while it is open is not cached any more. */
static void test_encrypts(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_control(o, SET_ENCRYPTION, encrypt, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!warm(o));
    fm_close(o);
    end();
}

static struct {
    os_mutex lock; /* all that follows */
    os_cond changed;
    bool begun, goes_on;
} decryption;

static NTSTATUS decrypt(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    os_lock(&decryption.lock);
    decryption.begun = true;
    os_cond_wake_all(&decryption.changed);
    while (!decryption.goes_on)
        os_cond_wait(&decryption.changed, &decryption.lock);
    os_unlock(&decryption.lock);
    file.f.attributes = 0;
    return STATUS_SUCCESS;
}

static void decrypts(void *o)
{
    (void)fm_control(o, SET_ENCRYPTION, decrypt, NULL, FM_PLAIN);
}

static struct os_thread decrypter;

static NTSTATUS change_when_decrypted(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    os_lock(&decryption.lock);
    decryption.goes_on = true;
    os_cond_wake_all(&decryption.changed);
    os_unlock(&decryption.lock);
    os_thread_join(&decrypter);
    (void)warm(ctx);
    return change(NULL, o, information);
}

/* A write that begins while the file is encrypted is not seen. Until it ends the file is plain
 * again. */
static void test_left_out_meanwhile(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    memset(&decryption, 0, sizeof(decryption));
    os_mutex_begin(&decryption.lock);
    os_cond_begin(&decryption.changed);
    CHECK(os_thread_begin(&decrypter, decrypts, o));
    os_lock(&decryption.lock);
    while (!decryption.begun)
        os_cond_wait(&decryption.changed, &decryption.lock);
    os_unlock(&decryption.lock);
    CHECK_EQ(fm_control(o, SET_ENCRYPTION, encrypt, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change_when_decrypted, o, FM_PLAIN), STATUS_SUCCESS);
    (void)warm(o);
    fm_close(o);
    end();
}

static NTSTATUS change_volume(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    ULONG n;
    bool by;
    static uint8_t to[BLOCK];
    fm_settle();
    for (unsigned i = 0; i < 2; i++) /* what was there before the write */
        CHECK_EQ(fm_read(ctx, BLOCK, BLOCK, to, &n, &by, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    fm_hold(true); /* if the end is put off, it comes late */
    return change(NULL, o, information);
}

/* A write to the volume may change any file. */
static void test_volume(void)
{
    static const struct fm_how *const how[] = { FM_PLAIN, &at_dispatch };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED), v = fm_open_volume();
        CHECK(warm(o));
        CHECK_EQ(fm_write(v, 0, BLOCK, change_volume, o, how[i]), STATUS_SUCCESS);
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], file.data[BLOCK]);
        fm_hold(false);
        CHECK(!hits(o) || times(0, CMP_FORGET_ALL) > 1);
        CHECK(warm(o));
        fm_close(v);
        fm_close(o);
        end();
    }
}

static void test_flushes(void)
{
    static const NTSTATUS fails = STATUS_UNSUCCESSFUL;
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    struct cmp_end m;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(fm_flush(o, change, i ? (void *)(uintptr_t)&fails : NULL, FM_PLAIN),
                 i ? fails : STATUS_SUCCESS);
        CHECK_EQ(times(0, CMP_SYNC_BEGIN), i + 1);
        CHECK_EQ(times(0, CMP_SYNC_END), i + 1);
        memcpy(&m, body_of(CMP_SYNC_END), sizeof(m));
        CHECK(m.token == 77 && m.ok == !i);
    }
    fm_close(o);
    end();
}

/* Flushes of less than all of the file, or without the disk's own cache: nothing is lasting. */
static void test_flushes_of_parts(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    for (UCHAR minor = 1; minor < 5; minor++) {
        CASE("minor %u", minor);
        CHECK_EQ(fm_flush(o, change, NULL, &(const struct fm_how){ .minor = minor }),
                 STATUS_SUCCESS);
        CHECK_EQ(times(0, CMP_SYNC_BEGIN), 0);
    }
    fm_close(o);
    end();
}

/* ---- What the cache cannot keep up with ------------------------------------------------------ */

/* Stores through a section are not seen: the file passes until nobody uses it. */
static void test_sections(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_section(o, SyncTypeOther, PAGE_READWRITE), STATUS_SUCCESS);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, 2 /* PAGE_READONLY */), STATUS_SUCCESS);
    CHECK(hits(o));
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1); /* and is forgotten now, not only then */
    memset(file.data + BLOCK, 'x', BLOCK);
    CHECK(!hits(o) && !hits(o));
    memset(file.data + BLOCK, 'y', BLOCK);
    fm_close(o);
    fm_settle();
    o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!hits(o));
    CHECK(hits(o));
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    CHECK(hits(o)); /* a handle that may not write */
    fm_close(o);
    end();
}

/* A mapping that is older than the service. */
static void test_mapped_before(void)
{
    begin();
    file.f.mapped_before = TRUE;
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!warm(o));
    fm_close(o);
    end();
}

static void test_pages(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    (void)fm_pages(o);
    CHECK(!warm(o));
    fm_close(o);
    fm_settle();
    PFILE_OBJECT const again = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(again));
    (void)fm_write(again, BLOCK, BLOCK, change, NULL, &mdl_read);
    CHECK(!warm(again));
    fm_close(again);
    end();
}

static void test_locks(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    (void)fm_lock(o);
    CHECK(!warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(begun, 1); /* writes are told all the same */
    fm_close(o);
    end();
}

static void test_transactions(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    PFILE_OBJECT const t = fm_open_how(&file.f, true, FILE_OPENED, 0, &transacted);
    CHECK(!warm(o));
    fm_close(t);
    fm_close(o);
    end();
    begin_without_service(); /* it is older than the service */
    PFILE_OBJECT const old = fm_open_how(&file.f, true, FILE_OPENED, 0, &transacted);
    connect_service();
    PFILE_OBJECT const r = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!warm(r));
    fm_close(r);
    fm_close(old);
    end();
}

/* A transaction has a stream of its own. What it has written others see when it commits, also after
 * its handle was closed: nobody tells the driver. */
static void test_commits(void)
{
    static struct file own;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        make_file(&own, file.f.name, file.id);
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        PFILE_OBJECT const t =
            fm_open_how(&own.f, true, FILE_OPENED, 0, i ? FM_PLAIN : &transacted);
        if (i == 1) /* by a handle that was opened without it */
            CHECK_EQ(fm_set(t, FileEndOfFileInformation, 5, NULL, NULL, &transacted),
                     STATUS_SUCCESS);
        fm_settle();
        (void)warm(o);
        memset(file.data + BLOCK, 'x', BLOCK); /* it commits */
        (void)warm(o);
        fm_close(t);
        fm_settle();
        (void)warm(o);
        memset(file.data + BLOCK, 'y', BLOCK); /* or now */
        CHECK(!warm(o));
        fm_close(o);
        end();
    }
}

/* ---- Opens and closes ------------------------------------------------------------------------ */

/* A filter below makes the content of such a file, but not for who opens it as it lies there. The
 * file system of this test has no handles that read differently: so what it has is changed. */
static void test_as_it_lies(void)
{
    static const struct fm_how as_it_lies = { .options = FILE_OPEN_REPARSE_POINT };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        file.f.attributes = i < 2 ? FILE_ATTRIBUTE_REPARSE_POINT : 0;
        PFILE_OBJECT const o = i != 1 ? fm_open(&file.f, false, FILE_OPENED) : NULL;
        CHECK(!o || warm(o));
        PFILE_OBJECT const raw =
            fm_open_how(&file.f, false, FILE_OPENED, FO_SYNCHRONOUS_IO, &as_it_lies);
        fm_settle();
        memset(file.data + BLOCK, i == 2 ? file.data[BLOCK] : 0, BLOCK);
        CHECK_EQ(warm(raw), i == 2);
        memset(file.data + BLOCK, 'b', BLOCK);
        CHECK_EQ(warm(raw), i == 2);
        fm_close(raw);
        if (o)
            fm_close(o);
        end();
    }
}

/* An open inside another operation of the file system, or with APCs off: the file system must not
 * be asked for anything. What it may have changed counts all the same. */
static void test_opens_inside(void)
{
    static const struct fm_thread t[] = { { .top = (PIRP)1 }, { .apcs_disabled = TRUE } };
    static const struct fm_how as_it_lies = { .options = FILE_OPEN_REPARSE_POINT };
    begin();
    *fm_me() = t[0]; /* nobody else has it open */
    fm_close(fm_open(&file.f, true, FILE_OPENED));
    *fm_me() = (struct fm_thread){ 0 };
    end();
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        if (i / 2 == 1)
            memset(file.data, 'z', sizeof(file.data));
        if (i / 2 == 2)
            file.f.attributes = FILE_ATTRIBUTE_REPARSE_POINT;
        *fm_me() = t[i % 2];
        PFILE_OBJECT const in =
            fm_open_how(&file.f, i / 2 == 0, i / 2 == 1 ? FILE_OVERWRITTEN : FILE_OPENED,
                        FO_SYNCHRONOUS_IO, i / 2 == 2 ? &as_it_lies : FM_PLAIN);
        *fm_me() = (struct fm_thread){ 0 };
        fm_settle();
        if (i / 2 == 2) /* what this handle reads */
            memset(file.data + BLOCK, 0, BLOCK);
        CHECK_EQ(warm(i / 2 == 2 ? in : o), i / 2 < 2);
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        fm_close(in);
        fm_close(o);
        end();
    }
}

/* A program is killed in an open that empties a file: that file is forgotten, and no other. */
static void test_killed_in_an_open(void)
{
    begin();
    *fm_me() = (struct fm_thread){ .terminating = TRUE };
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OVERWRITTEN);
    *fm_me() = (struct fm_thread){ 0 };
    fm_settle();
    CHECK(times(0, CMP_FORGET) > 0);
    CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
    fm_close(o);
    end();
}

/* Links to directories are opened so all the time. */
static void test_links_as_they_lie(void)
{
    begin();
    file.f.attributes = FILE_ATTRIBUTE_REPARSE_POINT | FILE_ATTRIBUTE_DIRECTORY;
    fm_close(fm_open_how(&file.f, false, FILE_OPENED, 0,
                         &(const struct fm_how){ .options = FILE_OPEN_REPARSE_POINT }));
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0);
    end();
}

/* A name that is a link: the same result as FILE_SUPERSEDED, and nothing is open. */
static void test_links(void)
{
    begin();
    fm_close(
        fm_open_how(&file.f, true, FILE_SUPERSEDED, 0, &(const struct fm_how){ .reparse = TRUE }));
    end();
}

static void delete_at_cleanup(struct fm_file *f, PFILE_OBJECT o)
{
    (void)o;
    ((struct file *)f)->deleted = true;
}

static void test_closes(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_REVALIDATE), 0); /* nothing was written */
    struct cmp_open opened;
    memcpy(&opened, body_of(CMP_OPEN), sizeof(opened));
    CHECK_EQ(opened.validator.racy, 0); /* nor before it */
    o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    file.f.cleanup = delete_at_cleanup;
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    struct cmp_forget m;
    memcpy(&m, body_of(CMP_FORGET), sizeof(m));
    CHECK_EQ(m.gone, 1);
    end();
}

/* Two have the file open for writing. When the one that wrote closes it, its times say nothing of
 * what the other one writes: so they are told when the last one closes it, also if it is killed. */
static void test_closes_with_others(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const a = fm_open(&file.f, true, FILE_OPENED);
        PFILE_OBJECT const b = fm_open(&file.f, true, FILE_OPENED);
        PFILE_OBJECT const r = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(fm_write(a, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ .terminating = i == 1 };
        fm_close(i == 1 ? b : a);
        *fm_me() = (struct fm_thread){ 0 };
        fm_settle();
        CHECK_EQ(times(0, CMP_REVALIDATE), 0);
        if (i == 2) { /* the next service */
            CHECK(warm(r));
            end_service();
            connect_service();
            struct cmp_open m;
            (void)warm(r);
            memcpy(&m, body_of(CMP_OPEN), sizeof(m));
            CHECK_EQ(m.validator.racy, CM_RACY_WRITER);
        }
        fm_close(i == 1 ? a : b);
        fm_settle();
        CHECK_EQ(times(0, CMP_REVALIDATE), 1);
        fm_close(r);
        end();
    }
}

/* Each operation with each allocation failing, or three in a row, on a file that is warm and was
 * just opened: what is read is right, and nothing is left behind. */
static void without_memory(unsigned what, unsigned skip, unsigned fail)
{
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    NTSTATUS s = STATUS_SUCCESS;
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    fm_starve(skip, fail);
    if (what == 7)
        memset(file.data + BLOCK, 'z', BLOCK);
    o = fm_open(&file.f, what != 1, what == 7 ? FILE_OVERWRITTEN : FILE_OPENED);
    if (what == 0)
        s = fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN);
    else if (what == 1)
        CHECK_EQ(read_how(o, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    else if (what == 2)
        s = fm_write(o, BLOCK, BLOCK, change, NULL, &at_dispatch);
    else if (what == 3)
        s = fm_write(o, BLOCK, BLOCK, change, NULL, &fast);
    else if (what == 4)
        s = fm_set(o, FileEndOfFileInformation, 5 * BLOCK, change, NULL, FM_PLAIN);
    else if (what == 5)
        s = fm_flush(o, NULL, NULL, FM_PLAIN);
    else if (what == 6 && NT_SUCCESS(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE)))
        memset(file.data + BLOCK, 'x', BLOCK);
    fm_starve(0, 0);
    CHECK(NT_SUCCESS(s) || s == STATUS_INSUFFICIENT_RESOURCES);
    (void)warm(o);
    fm_close(o);
    fm_settle();
    o = fm_open(&file.f, false, FILE_OPENED); /* and by the next one that opens it */
    (void)warm(o);
    fm_close(o);
}

static void test_without_memory(void)
{
    for (unsigned what = 0; what < 8; what++)
        for (unsigned skip = 0; skip < 32; skip++) {
            CASE("operation %u, allocation %u fails", what, skip / 2);
            begin();
            CALL(without_memory(what, skip / 2, skip % 2 ? 3 : 1));
            end();
        }
}

/* A program that deletes opens the file for nothing else. */
static void test_deletes(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    o = fm_open(&file.f, false, FILE_OPENED);
    o->DeleteAccess = TRUE;
    file.f.cleanup = delete_at_cleanup;
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    end();
}

const struct harness_test shell_changes_tests[] = {
    TEST(without_memory),
    TEST(writes),
    TEST(appends),
    TEST(asynchronous_writes),
    TEST(killed_programs),
    TEST(killed_in_a_write),
    TEST(service_that_writes),
    TEST(service_that_writes_for_long),
    TEST(writes_that_may_not_wait),
    TEST(sizes),
    TEST(advances),
    TEST(encrypts),
    TEST(volume),
    TEST(flushes),
    TEST(flushes_of_parts),
    TEST(links),
    TEST(as_it_lies),
    TEST(links_as_they_lie),
    TEST(opens_inside),
    TEST(killed_in_an_open),
    TEST(deletes),
    TEST(sections),
    TEST(mapped_before),
    TEST(pages),
    TEST(locks),
    TEST(transactions),
    TEST(commits),
    TEST(left_out_meanwhile),
    TEST(closes),
    TEST(closes_with_others),
    TEST_END,
};
