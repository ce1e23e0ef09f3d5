/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell.c - the shell of the driver for Windows: each of its callbacks, on an emulated Filter
 * Manager (tests/filter/fltmgr.h), with a service that the test makes up. test_shell_changes.c has
 * what changes a file, test_shell_controls.c control codes, test_shell_names.c what gives it
 * another name, test_shell_disk.c what does not reach the disk, test_shell_beside.c what goes past
 * the system's cache, test_shell_opens.c what empties a file, test_shell_times.c what is told of
 * times, test_shell_kinds.c what becomes a file of another kind, test_shell_system.c what is taken
 * of the system, test_shell_mixed.c all of it in random order.
 */
#include "shell_common.h"

#include "driver_rules.h"

/* ---- Life ------------------------------------------------------------------------------------ */

static void test_loads(void)
{
    fm_begin();
    unsigned failed = 0;
    for (unsigned skip = 0; skip < 20; skip++) {
        CASE("allocation %u fails", skip);
        fm_starve(skip, 1);
        if (NT_SUCCESS(fm_load(true))) {
            fm_starve(0, 0);
            fm_unload();
        } else {
            failed++;
        }
        fm_end();
        CHECK_EQ(fm_faults(), 0);
    }
    CHECK(failed > 3);
    begin_without_service();
    static const struct {
        DEVICE_TYPE device;
        FLT_FILESYSTEM_TYPE system;
        ULONG characteristics;
        NTSTATUS s;
    } c[] = {
        { FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS, 0, STATUS_SUCCESS },
        { FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_REFS, 0x100, STATUS_SUCCESS },
        { FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_FAT, 0, STATUS_FLT_DO_NOT_ATTACH },
        { FILE_DEVICE_DISK_FILE_SYSTEM, 0x1e, 0, STATUS_FLT_DO_NOT_ATTACH }, /* CIMFS */
        { 0x14, FLT_FSTYPE_NTFS, 0, STATUS_FLT_DO_NOT_ATTACH },              /* a network */
        { FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS, FILE_REMOVABLE_MEDIA | 0x100,
          STATUS_FLT_DO_NOT_ATTACH },
        { FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS, FILE_REMOTE_DEVICE,
          STATUS_FLT_DO_NOT_ATTACH },
    };
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        CHECK_EQ(fm_would_attach(c[i].device, c[i].system, c[i].characteristics), c[i].s);
    }
    fm_starve(0, 1); /* it cannot be told */
    CHECK_EQ(fm_would_attach(FILE_DEVICE_DISK_FILE_SYSTEM, FLT_FSTYPE_NTFS, 0),
             STATUS_FLT_DO_NOT_ATTACH);
    fm_starve(0, 0);
    end();
}

/* A volume that was in use before: all is forgotten. */
static void test_late(void)
{
    begin_without_service();
    fm_unload();
    CHECK_EQ(fm_load(false), STATUS_SUCCESS);
    connect_service();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    end();
    begin();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
    end();
}

static void test_connects(void)
{
    static const struct {
        const char *rules;
        size_t bytes;
    } bad[] = {
        { NULL, 0 },
        { "folder=x", 8 }, /* does not end */
        { "folder=\\Device\\H\0", 18 },
        { "what=\\Device\\H", 15 },
        { "pool=", 6 },
        { "folder=\\\xc3", 10 }, /* no UTF-8 */
    };
    begin_without_service();
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CASE("i %u", i);
        CHECK_EQ(connect_with(bad[i].rules, bad[i].bytes), STATUS_INVALID_PARAMETER);
    }
    connect_service();
    CHECK_EQ(times(0, CMP_HELLO), 1);
    struct fm_connection *const one = connection;
    CHECK_EQ(connect_with(RULES, sizeof(RULES)), STATUS_CONNECTION_COUNT_LIMIT);
    connection = one;
    end_service();
    connect_service();
    CHECK_EQ(times(0, CMP_HELLO), 2);
    end();
}

static bool name_of(const char *path, char to[DRIVER_NAME_MAX])
{
    if (path[0] == 'Q')
        return false;
    snprintf(to, DRIVER_NAME_MAX, "%s%s",
             path[0] == 'P'   ? "\\Device\\HarddiskVolume5"
             : path[0] == 'N' ? "\\Device\\Mup\\server\\share"
                              : DEVICE,
             path + 2);
    return true;
}

/* "C:\\data\\link" leads to "P:\\far", "C:\\alias" and "P:\\near" to "C:\\data". */
static bool linked_name_of(const char *path, char to[DRIVER_NAME_MAX])
{
    static const char *const links[][2] = { { "C:\\data\\link", "P:\\far" },
                                            { "C:\\alias", "C:\\data" },
                                            { "P:\\near", "C:\\data" } };
    char real[300];
    for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        if (folders_is_below(links[i][0], path)) {
            snprintf(real, sizeof(real), "%s%s", links[i][1], path + strlen(links[i][0]));
            return name_of(real, to);
        }
    return name_of(path, to);
}

static const char *volume_fault(const char *path)
{
    return path[0] == 'F' ? "is on FAT" : NULL;
}

/* The driver takes the rules that the service writes. */
static void test_rules_of_the_service(void)
{
    static char text[DRIVER_RULES_MAX];
    struct folders f = { .folder = { "C:\\other", "Q:\\data", "C:\\data" }, .count = 3 };
    char why[256], left_out[DRIVER_LEFT_OUT];
    f.exclude[f.excludes++] = "*.tmp";
    const uint32_t n = driver_rules(&f, "P:\\a\\pool", name_of, volume_fault, text, left_out, why);
    CHECK(n > 0 && strstr(left_out, "Q:\\data is on no volume that is there") != NULL);
    begin_without_service();
    CHECK_EQ(connect_with(text, n), STATUS_SUCCESS);
    fm_settle();
    PFILE_OBJECT o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    fm_settle();
    file.f.name = u"\\Device\\HarddiskVolume5\\data\\file";
    o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!warm(o));
    fm_close(o);
    end();
    f.folder[1] = "P:\\data"; /* rule S6: files of the pool's volume pass */
    CHECK(driver_rules(&f, "P:\\a\\pool", name_of, volume_fault, text, left_out, why) > 0);
    CHECK(strstr(left_out, "P:\\data is on the pool's volume") != NULL);
    f.folder[1] = "N:\\data";
    CHECK(driver_rules(&f, "P:\\a\\pool", name_of, volume_fault, text, left_out, why) > 0);
    CHECK(strstr(left_out, "N:\\data is on a network") != NULL);
    f.folder[1] = "F:\\data";
    CHECK(driver_rules(&f, "P:\\a\\pool", name_of, volume_fault, text, left_out, why) > 0);
    CHECK(strcmp(left_out, "F:\\data is on FAT") == 0);
    f.folder[0] = f.folder[2] = "P:\\data"; /* one is told, and how many others there are */
    CHECK(driver_rules(&f, "P:\\a\\pool", name_of, volume_fault, text, left_out, why) > 0);
    CHECK(strstr(left_out, "P:\\data is on the pool's volume") == left_out);
    CHECK(strstr(left_out, "It passes by others, too (2): check-config says which"));
    CHECK(driver_rules(&f, "P:\\a\\pool", name_of, NULL, text, left_out, why) > 0);
    CHECK(strstr(left_out, "others, too (1)"));
    f.folder[0] = "C:\\other";
    f.folder[2] = "C:\\data";
    f.folder[1] = "C:\\more";
    CHECK(driver_rules(&f, "P:\\a\\pool", name_of, volume_fault, text, left_out, why) > 0 &&
          !left_out[0]);
    CHECK_EQ(driver_rules(&f, "Q:\\pool", name_of, volume_fault, text, left_out, why), 0);
    CHECK(strstr(why, "Q:\\pool: the system does not say") != NULL);
    CHECK(strstr(driver_passes_by("P:\\data", "P:\\a\\pool", name_of), "is on the pool's volume"));
    CHECK(strstr(driver_passes_by("Q:\\data", "P:\\a\\pool", name_of), "is on no volume"));
    CHECK(driver_passes_by("C:\\more", "P:\\a\\pool", name_of) == NULL);
    CHECK(driver_passes_by("Q:\\data", "Q:\\pool", name_of) == NULL); /* not known */
    static const char *const passed[] = { "C:\\windows", "C:\\Windows\\a",    "C:\\pagefile.sys",
                                          "C:\\$Mft",    "C:\\a:stream",      "C:\\a:s:$DATA",
                                          "C:\\a::$dat", "C:\\x\\NTUSER.DAT", "C:\\EFI\\boot" };
    static const char *const taken[] = { "C:\\",         "C:",           "C:\\windows2",
                                         "C:\\a::$DATA", "C:\\a::$data", "C:\\x\\efi" };
    for (unsigned i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        CHECK(driver_passes_by(passed[i], "P:\\a\\pool", name_of) != NULL);
    for (unsigned i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        CHECK(driver_passes_by(taken[i], "P:\\a\\pool", name_of) == NULL);
    static char long_name[DRIVER_NAME_MAX];
    memset(long_name, 'x', DRIVER_NAME_MAX - 40);
    for (f.count = 0; f.count < 9; f.count++)
        f.folder[f.count] = long_name;
    CHECK_EQ(driver_rules(&f, "P:\\pool", name_of, volume_fault, text, left_out, why), 0);
}

/* As the driver compares: by the names in the kernel. What is typed is only shown. */
static void test_judges_as_the_driver(void)
{
    const struct folders f = { .folder = { "Q:\\data", "C:\\data", "P:\\alike" },
                               .count = 3,
                               .exclude = { "*.tmp", "link" },
                               .excludes = 2 };
    static const struct {
        const char *path;
        enum folders_verdict verdict;
        const char *by;
    } cases[] = {
        { "C:\\data\\a", FOLDERS_CACHED, "C:\\data" },
        { "C:\\DATA\\a", FOLDERS_CACHED, "C:\\data" },
        { "C:\\data\\a.tmp", FOLDERS_EXCLUDED, "*.tmp" },
        { "C:\\other\\a", FOLDERS_ELSEWHERE, NULL },
        { "C:\\data\\link\\a", FOLDERS_ELSEWHERE, "C:\\data" }, /* out of it, not left out */
        { "C:\\alias\\a", FOLDERS_CACHED, "C:\\data" },
        { "P:\\near", FOLDERS_CACHED, "C:\\data" },
        { "P:\\near\\b.tmp\\a", FOLDERS_EXCLUDED, "*.tmp" },
        { "Q:\\data\\a", FOLDERS_CACHED, "Q:\\data" }, /* driver_passes_by() knows better */
        { "Q:\\other", FOLDERS_ELSEWHERE, NULL },
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE("%s", cases[i].path);
        const char *by = "?";
        CHECK_EQ(driver_judge(&f, cases[i].path, linked_name_of, &by), cases[i].verdict);
        CHECK(cases[i].by ? by && strcmp(by, cases[i].by) == 0 : !by);
    }
}

/* A service that cannot be greeted for want of memory is refused, and may come again. */
static void test_connects_without_memory(void)
{
    begin_without_service();
    unsigned refused = 0;
    for (unsigned skip = 0; skip < 5; skip++) {
        CASE("allocation %u fails", skip);
        fm_starve(skip, 1);
        const NTSTATUS s = connect_with(RULES, sizeof(RULES));
        refused += s == STATUS_INSUFFICIENT_RESOURCES;
        if (NT_SUCCESS(s)) {
            fm_settle();
            end_service();
        }
    }
    CHECK_EQ(refused, 2); /* the rules, and the greeting */
    fm_starve(0, 0);
    connect_service();
    end();
}

/* ---- Reads ----------------------------------------------------------------------------------- */

static void test_reads(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(!hits(o));
    CHECK_EQ(times(0, CMP_FILL), 1);
    CHECK(hits(o));
    CHECK_EQ(o->CurrentByteOffset.QuadPart, 2 * BLOCK);
    CHECK_EQ(times(0, CMP_OPEN), 1);
    CHECK_EQ(read_how(o, BLOCK + 5, 100, FM_PLAIN), STATUS_SUCCESS);
    CHECK(by_driver && got == 100 && buf[99] == 'b' && buf[100] == 0);
    CHECK_EQ(o->CurrentByteOffset.QuadPart, BLOCK + 105);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, &(const struct fm_how){ .mdl = TRUE }), STATUS_SUCCESS);
    CHECK(by_driver && buf[0] == 'b');
    CHECK_EQ(read_how(o, BLOCK, BLOCK, &(const struct fm_how){ .fast = TRUE }), STATUS_SUCCESS);
    CHECK(by_driver && buf[0] == 'b');
    CHECK_EQ(read_how(o, 3 * BLOCK, BLOCK, &(const struct fm_how){ .dispatch = TRUE }),
             STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(read_how(o, 3 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK(by_driver && buf[0] == 'd');
    CHECK_EQ(read_how(o, BLOCKS * BLOCK, BLOCK, FM_PLAIN), STATUS_END_OF_FILE);
    CHECK(by_driver && got == 0);
    fm_close(o);
    fm_settle();
    CHECK_EQ(times(0, CMP_CLOSE), 1); /* nobody uses it */
    end();
}

/* None of these is asked for. */
static void test_reads_that_pass(void)
{
    const struct {
        struct fm_thread t;
        const struct fm_how *how;
        int64_t off;
        ULONG n;
    } c[] = {
        { { 0 }, &paging, BLOCK, BLOCK },
        { { 0 }, &sync_paging, BLOCK, BLOCK },
        { { 0 }, &transacted, BLOCK, BLOCK },
        { { 0 }, &mdl_read, BLOCK, BLOCK },
        { { .process = FM_SERVICE }, FM_PLAIN, BLOCK, BLOCK },
        { { .irql = APC_LEVEL }, FM_PLAIN, BLOCK, BLOCK },
        { { .apcs_disabled = TRUE }, FM_PLAIN, BLOCK, BLOCK },
        { { .top = (PIRP)1 }, FM_PLAIN, BLOCK, BLOCK },
        { { 0 }, FM_PLAIN, -2, BLOCK },
        { { 0 }, FM_PLAIN, BLOCK, 0 },
    };
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        const unsigned from = service.n;
        o->CurrentByteOffset.QuadPart = BLOCK;
        *fm_me() = c[i].t;
        CHECK_EQ(read_how(o, c[i].off, c[i].n, c[i].how), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        CHECK(!by_driver && got == c[i].n);
        fm_settle();
        CHECK_EQ(service.n, from);
    }
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* A handle without the system's cache: whole blocks. */
static void test_non_cached(void)
{
    begin();
    PFILE_OBJECT const o =
        fm_open_how(&file.f, false, FILE_OPENED, FO_NO_INTERMEDIATE_BUFFERING, FM_PLAIN);
    CHECK(warm(o));
    CHECK_EQ(read_how(o, BLOCK + 512, 512, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!by_driver);
    fm_close(o);
    end();
}

/* A file whose last block is not whole. */
static void test_tail(void)
{
    begin();
    file.size = BLOCK + 100;
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(got, 100);
    fm_settle();
    struct cmp_fill m;
    memcpy(&m, body_of(CMP_FILL), sizeof(m));
    CHECK_EQ(m.flags, CMP_FILL_EOF);
    fm_close(o);
    end();
}

/* Small files are read and closed at once, and a handle that is closed reads no more. So their
 * blocks are sent before the reader goes on. Where that may not wait they stay cold. */
static void test_closed_at_once(void)
{
    static const struct fm_how *const how[] = { &at_dispatch, FM_PLAIN, FM_PLAIN };
    begin();
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        fm_hold(true);
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(read_how(o, BLOCK, BLOCK, how[i]), STATUS_SUCCESS);
        CHECK_EQ(buf[0], 'b');
        CHECK_EQ(by_driver, i == 2);
        fm_close(o);
        fm_hold(false);
        fm_settle();
    }
    end();
}

/* Another thread closes the handle while its read is on its way. */
static void close_it(struct fm_file *f, PFILE_OBJECT o)
{
    f->wait = NULL;
    fm_close(o);
}
static void test_closed_in_a_read(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        ObReferenceObject(o);
        file.f.wait = close_it;
        CHECK_EQ(read_how(o, BLOCK, BLOCK, i ? &at_dispatch : FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], 'b');
        ObDereferenceObject(o);
        fm_settle();
        CHECK_EQ(times(0, CMP_FILL), 0);
        end();
    }
}

/* What threads of the system are to read is limited: they serve others, too. */
static void test_many_fills(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        const unsigned from = service.n;
        fm_hold(true);
        for (unsigned n = 0; n < 100; n++)
            CHECK_EQ(read_how(o, BLOCK, BLOCK, &at_dispatch), STATUS_SUCCESS);
        fm_hold(false);
        fm_settle();
        CHECK_EQ(times(from, CMP_FILL), 64);
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    }
    fm_close(o);
    end();
}

/* ---- Streams --------------------------------------------------------------------------------- */

static void test_streams(void)
{
#define V u"\\Device\\HarddiskVolume3"
    static const struct {
        const WCHAR *name;
        ULONG attributes;
        bool paging, cached;
    } c[] = {
        { V u"\\data\\x", 0, false, true },
        { V u"\\DATA\\sub\\x", 0, false, true },
        { V u"\\data\\x", FILE_ATTRIBUTE_DIRECTORY, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_ENCRYPTED, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_OFFLINE, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_RECALL_ON_OPEN, false, false },
        { V u"\\data\\x", FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS, false, false },
        { V u"\\data\\x", 0, true, false },
        { V u"\\data\\x:alternate", 0, false, false },
        { V u"\\data\\x.tmp", 0, false, false },
        { V u"\\other\\x", 0, false, false },
        { V u"\\data\\ntuser.dat", 0, false, false },
        { u"\\Device\\HarddiskVolume5\\data\\x", 0, false, false },
        { V u"\\data\\\xd800", 0, false, false }, /* no Unicode */
        { V u"\\data\\\u00e4", 0, false, true },
    };
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        begin();
        file.f.name = c[i].name;
        file.f.attributes = c[i].attributes;
        file.f.paging = c[i].paging;
        PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
        CHECK_EQ(warm(o), c[i].cached);
        const unsigned from = service.n;
        (void)fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), c[i].cached);
        CHECK(!hits(o));
        fm_close(o);
        end();
    }
}

/* A file that the file system has no contexts for is not cached, and works. */
static void test_no_contexts(void)
{
    begin();
    file.f.no_contexts = TRUE;
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(!warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_section(o, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
    fm_close(o);
    end();
}

/* Another service brings other rules. */
static void test_other_rules(void)
{
    static const char other[] = "folder=" DEVICE "\\elsewhere\0pool=\\Device\\HarddiskVolume5";
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    end_service();
    CHECK_EQ(connect_with(other, sizeof(other)), STATUS_SUCCESS);
    fm_settle();
    CHECK(!warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    end_service();
    connect_service();
    CHECK(!hits(o)); /* it is not what was there before the write */
    CHECK(!warm(o));
    fm_close(o);
    fm_settle();
    PFILE_OBJECT const again = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(again));
    fm_close(again);
    end();
}

/* A file outside of the folders is open for writing while the service is started again, with the
 * same rules or with others. What then happens to it without a question to the file system (it is
 * mapped, or written with APCs off) makes nothing cold that is cached. */
static void test_left_out_over_services(void)
{
    static const char more[] =
        "folder=" DEVICE "\\more\0folder=" DEVICE "\\data\0pool=\\Device\\HarddiskVolume5";
    static struct file log;
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        begin();
        make_file(&log,
                  i & 1 ? u"\\Device\\HarddiskVolume3\\Windows\\x.etl"
                        : u"\\Device\\HarddiskVolume3\\other\\x.log",
                  77);
        PFILE_OBJECT const l = fm_open(&log.f, true, FILE_OPENED);
        end_service();
        CHECK_EQ(i & 4 ? connect_with(more, sizeof(more)) : connect_with(RULES, sizeof(RULES)),
                 STATUS_SUCCESS);
        fm_settle();
        PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        *fm_me() = (struct fm_thread){ .apcs_disabled = TRUE };
        if (i & 2)
            CHECK_EQ(fm_section(l, SyncTypeCreateSection, PAGE_READWRITE), STATUS_SUCCESS);
        else
            CHECK_EQ(fm_write(l, BLOCK, BLOCK, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
        *fm_me() = (struct fm_thread){ 0 };
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        CHECK(hits(o));
        CHECK(times(0, CMP_FORGET) == 0 || i & 4); /* the same rules leave it out */
        fm_close(l);
        fm_close(o);
        end();
    }
}

/* Rules that were refused between two services with the same ones: what was written meanwhile has
 * been kept track of. */
static void test_same_rules_again(void)
{
    static struct file log;
    begin();
    make_file(&log, u"\\Device\\HarddiskVolume3\\other\\x.log", 77);
    end_service();
    connection = NULL;
    CHECK_EQ(connect_with(RULES, sizeof(RULES) - 1), STATUS_INVALID_PARAMETER);
    PFILE_OBJECT const l = fm_open(&log.f, true, FILE_OPENED);
    connect_service();
    CHECK_EQ(fm_write(l, BLOCK, BLOCK, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(times(0, CMP_WRITE_BEGIN), 0); /* it is judged by the rules again */
    fm_close(l);
    end();
}

static NTSTATUS change_later(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    end_service();
    connect_service();
    (void)warm(ctx);
    return change(NULL, o, information);
}

/* A write that began while nobody looked at the file, and ends when it is cached. */
static void test_write_over_other_rules(void)
{
    static const char other[] = "folder=" DEVICE "\\elsewhere\0pool=\\Device\\HarddiskVolume5";
    begin_without_service();
    CHECK_EQ(connect_with(other, sizeof(other)), STATUS_SUCCESS);
    fm_settle();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change_later, o, FM_PLAIN), STATUS_SUCCESS);
    (void)warm(o);
    fm_close(o);
    fm_settle();
    PFILE_OBJECT const again = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(again));
    fm_close(again);
    end();
}

/* ---- A service that comes and goes ----------------------------------------------------------- */

/* What was written without a service is forgotten when one comes. */
static void test_without_service(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    end_service();
    CHECK(!hits(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    connect_service();
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* The system has started, and the driver sees each volume from its mount on. What is written before
 * the first service comes is forgotten then, as the writer has not closed it yet: its times are the
 * old ones. */
static void test_before_the_first_service(void)
{
    begin();
    PFILE_OBJECT o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    fm_close(o);
    end_service();
    fm_unload();
    CHECK_EQ(fm_load(true), STATUS_SUCCESS);
    o = fm_open(&file.f, true, FILE_OPENED);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    const unsigned from = service.n;
    CHECK(!hits(o));
    connect_service();
    CHECK_EQ(times(from, CMP_FORGET), 1);
    CHECK_EQ(times(from, CMP_FORGET_ALL), 0);
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* Byte ranges that are locked when nobody asks for them are known later. */
static void test_locked_before(void)
{
    begin_without_service();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    (void)fm_lock(o);
    connect_service();
    CHECK(!warm(o));
    fm_close(o);
    end();
}

/* A service whose rules are refused changes nothing of that. */
static void test_refused_service(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    end_service();
    connection = NULL;
    CHECK_EQ(connect_with("what=x", 7), STATUS_INVALID_PARAMETER);
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    connect_service();
    CHECK(!hits(o));
    CHECK(warm(o));
    fm_close(o);
    end();
}

/* A reply that does not come closes the driver's end. The service closes its own later. */
static void test_late_reply(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    os_lock(&service.lock);
    service.silent = true;
    os_unlock(&service.lock);
    CHECK(!hits(o));
    CHECK(fm_is_cut(connection));
    CHECK(!hits(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    end_service();
    connect_service();
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

static NTSTATUS change_and_lose(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    end_service();
    connect_service();
    return change(ctx, o, information);
}

/* The life ends in a bracket, and another one begins. */
static void test_lost_bracket(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change_and_lose, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK(!hits(o));
    CHECK(hits(o));
    fm_close(o);
    end();
}

/* ---- The end of the filter ------------------------------------------------------------------- */

static NTSTATUS detach(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o;
    fm_detach();
    *information = BLOCK;
    return STATUS_SUCCESS;
}

/* The filter leaves the volume while an operation is on its way. It would wait for one that is
 * synchronized. */
static void test_detaches(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, detach, NULL, &at_dispatch), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(times(0, CMP_WRITE_END), 1);
    CHECK(!hits(o));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1); /* W6 */
    fm_attach(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FORGET_ALL), 2);
    CHECK(warm(o));
    fm_close(o);
    end();
}

static NTSTATUS change_and_refuse(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_refuse(true);
    return change(ctx, o, information);
}

/* A write ends at a raised IRQL while the driver is unloaded, and no thread takes its end. */
static void test_ends_that_nobody_takes(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED), v = fm_open_volume();
    CHECK(warm(o));
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(fm_write(i < 2 ? o : v, BLOCK, BLOCK, change_and_refuse, NULL, &at_dispatch),
                 STATUS_SUCCESS);
        fm_refuse(false);
        CHECK(!hits(o));
    }
    CHECK_EQ(times(0, CMP_WRITE_END), 0);
    fm_detach();
    CHECK_EQ(times(0, CMP_WRITE_END), 2);
    fm_close(v);
    fm_close(o);
    end();
}

static ULONG detaching_read(struct fm_file *f, uint64_t off, ULONG n, void *to)
{
    f->read = read_file;
    fm_detach();
    return read_file(f, off, n, to);
}

static void test_detaches_in_a_read(void)
{
    begin();
    PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
    file.f.read = detaching_read;
    CHECK(!hits(o));
    fm_close(o);
    end();
}

static NTSTATUS unload(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o;
    fm_unload();
    *information = BLOCK;
    return STATUS_SUCCESS;
}

/* The driver is unloaded while a write is on its way. */
static void test_unloads(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, unload, NULL, &at_dispatch), STATUS_SUCCESS);
    cut(NULL);
    fm_disconnect(connection);
    fm_close(o);
    fm_end();
    CHECK_EQ(fm_faults(), 0);
}

/* ---- The emulation itself -------------------------------------------------------------------- */

/* It notices what it says that it notices. */
static void test_emulation(void)
{
    FAST_MUTEX m;
    fm_begin();
    fm_forgive(true);
    struct fm_thread *const t = fm_me();
    unsigned n = 0;
    PFLT_PORT none = NULL;
    t->irql = DISPATCH_LEVEL;
    ExInitializeFastMutex(&m);
    ExAcquireFastMutex(&m);
    CHECK_EQ(fm_faults(), ++n);
    CHECK_EQ(KeGetCurrentIrql(), APC_LEVEL);
    ExReleaseFastMutex(&m);
    CHECK_EQ(KeGetCurrentIrql(), DISPATCH_LEVEL);
    static const struct fm_thread wrong[] = { { .irql = APC_LEVEL }, { .apcs_disabled = TRUE },
                                              { .top = (PIRP)1 },    { .process = FM_SERVICE },
                                              { .paging = TRUE },    { .connecting = TRUE },
                                              { .locks = 1 } };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CASE("i %u", i);
        *t = wrong[i];
        (void)FltSendMessage(NULL, &none, buf, 1, NULL, NULL, NULL);
        CHECK_EQ(fm_faults(), ++n);
    }
    *t = (struct fm_thread){ 0 };
    (void)FltSendMessage(NULL, &none, buf, 1, NULL, NULL, NULL);
    CHECK_EQ(fm_faults(), n);
    PVOID const p = nt_allocate(10, 5);
    ExFreePoolWithTag(p, 6);
    CHECK_EQ(fm_faults(), ++n);
    ExFreePoolWithTag(p, 5);
    CHECK_EQ(fm_faults(), n);
    fm_forgive(false);
}

/* A program marks a file to be deleted and closes another handle, and takes the deletion back. Its
 * id comes back then: the file is not to be forgotten as one that is gone. */
static void test_deletions_taken_back(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const stays = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(stays));
        PFILE_OBJECT const o = fm_open(&file.f, i == 0, FILE_OPENED);
        PFILE_OBJECT const writer = fm_open(&file.f, true, FILE_OPENED);
        file.deleted = true; /* no name is left: FileDispositionInformation */
        fm_close(writer);
        file.deleted = i == 3;
        CHECK(hits(stays));
        fm_me()->terminating = i == 2; /* that one cannot ask */
        fm_close(o);
        fm_close(stays);
        fm_me()->terminating = FALSE;
        fm_settle();
        CHECK_EQ(times(0, CMP_FORGET), i == 3);
        end();
    }
}

static const struct harness_test tests[] = {
    TEST(emulation),
    TEST(loads),
    TEST(late),
    TEST(connects),
    TEST(connects_without_memory),
    TEST(rules_of_the_service),
    TEST(judges_as_the_driver),
    TEST(reads),
    TEST(reads_that_pass),
    TEST(non_cached),
    TEST(tail),
    TEST(deletions_taken_back),
    TEST(closed_at_once),
    TEST(closed_in_a_read),
    TEST(many_fills),
    TEST(streams),
    TEST(no_contexts),
    TEST(other_rules),
    TEST(left_out_over_services),
    TEST(same_rules_again),
    TEST(write_over_other_rules),
    TEST(without_service),
    TEST(before_the_first_service),
    TEST(locked_before),
    TEST(refused_service),
    TEST(late_reply),
    TEST(lost_bracket),
    TEST(detaches),
    TEST(ends_that_nobody_takes),
    TEST(detaches_in_a_read),
    TEST(unloads),
    TEST_END,
};

static const struct harness_test *const tables[] = { tests,
                                                     shell_changes_tests,
                                                     shell_controls_tests,
                                                     shell_names_tests,
                                                     shell_disk_tests,
                                                     shell_beside_tests,
                                                     shell_opens_tests,
                                                     shell_times_tests,
                                                     shell_kinds_tests,
                                                     shell_system_tests,
                                                     shell_mixed_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
