/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_win32_identity.c - the identity of boots, mounts and files on Windows.
 */
#include "platform/win32.h"
#include "platform_win32.h"
#include "racy_times.h"

#include <wnnc.h>

static void to_hex(const uint8_t id[16], char hex[33])
{
    for (unsigned i = 0; i < 16; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", id[i]);
    }
}

void boot_id_body(const char *expected)
{
    uint8_t id[16];
    char hex[33];

    cm_plat_boot_id(id);
    to_hex(id, hex);
    CHECK(strcmp(hex, expected) == 0);
}

static void test_boot_id(void)
{
    uint8_t a[16], b[16];
    char hex[33];

    cm_plat_boot_id(a);
    cm_plat_boot_id(b);
    CHECK(!all_zero(a, 16) && memcmp(a, b, 16) == 0);
    to_hex(a, hex);
    CHECK_EQ(os_run_self("boot_id", hex), 0); /* the same in every process */
}

/* The wall clock shows that the system has just booted: it was set forward, or a virtual machine
 * stood still. Or that it booted long before what it showed then: it was set back. */
static void test_boot_time(void)
{
    typedef LONG(NTAPI * query_fn)(int, PVOID, ULONG, PULONG);
    const query_fn query = (query_fn)(void *)win32_find(L"ntdll.dll", "NtQuerySystemInformation");
    uint64_t day[6] = { 0 }; /* SystemTimeOfDayInformation: [0] the boot, [4] its bias */
    const int64_t year = INT64_C(31536000) * 1000;

    REQUIRE(query != NULL && query(3, day, sizeof day, NULL) >= 0);
    fake_ticks = 1;
    CHECK_EQ(cm_plat_boot_wall_ns(),
             ((int64_t)(day[0] - day[4]) - INT64_C(116444736000000000)) * 100);
    fake_ticks = (uint64_t)year;
    CHECK(llabs((long long)(cm_plat_wall_ns() - cm_plat_boot_wall_ns() - year * 1000000)) <
          INT64_C(60000000000));
    fake_ticks = 0;
}

static void get_mount_id(const char *path, uint8_t id[16])
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    make_file(path, "x");
    REQUIRE(cm_plat_file_open(&f, path, true) == 0);
    cm_plat_mount_id(&f, id);
    cm_plat_file_close(&f);
    cm_plat_file_remove(path);
}

/* The id is the same for all files of a volume while it stays mounted, and other volumes differ. */
static void test_mount_id(void)
{
    static const wchar_t *const devices[] = { L"\\Device\\One\\a", L"\\Device\\One\\b\\c",
                                              L"\\Device\\Two\\a" };
    uint8_t own[16], id[5][16];

    volume.drive_type = DRIVE_FIXED;
    get_mount_id(in_dir("a"), own);
    get_mount_id(in_dir("b"), id[0]);
    CHECK(!all_zero(own, 16) && memcmp(own, id[0], 16) == 0);
    for (unsigned i = 0; i < 3; i++) {
        volume.device = devices[i];
        get_mount_id(in_dir("a"), id[i]);
        CHECK(!all_zero(id[i], 16) && memcmp(own, id[i], 16) != 0);
    }
    CHECK(memcmp(id[0], id[1], 16) == 0); /* the files differ, the device does not */
    CHECK(memcmp(id[0], id[2], 16) != 0);
    volume.serial = 1; /* formatted anew */
    get_mount_id(in_dir("a"), id[3]);
    CHECK(!all_zero(id[3], 16) && memcmp(id[2], id[3], 16) != 0);
    volume.serial = 0;
    volume.device = NULL;
    volume.drive_type = DRIVE_REMOVABLE;
    get_mount_id(in_dir("a"), id[4]);
    CHECK(all_zero(id[4], 16));
    volume.drive_type = DRIVE_REMOTE;
    get_mount_id(in_dir("a"), id[4]);
    CHECK(all_zero(id[4], 16));
    volume.drive_type = 0;
}

static int identify(const char *path, cm_file_id *id, cm_validator *v)
{
    const HANDLE h = open_shared(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE);
    int rc;

    CHECK(h != INVALID_HANDLE_VALUE);
    rc = cm_identify((intptr_t)h, id, v);
    CHECK(CloseHandle(h));
    return rc;
}

static void test_identify_same_and_different(void)
{
    cm_file_id a, b, c;
    cm_validator va = CM_VALIDATOR_INIT, vb = CM_VALIDATOR_INIT, vc = CM_VALIDATOR_INIT;
    const uint64_t before = cm_plat_now_ns();

    make_file(in_dir("a"), "one");
    make_file(in_dir("c"), "one");
    CHECK_EQ(identify(in_dir("a"), &a, &va), 0);
    CHECK(va.taken_at >= before && va.taken_at <= cm_plat_now_ns());
    CHECK_EQ(va.size, 3);
    CHECK_EQ(va.struct_size, sizeof(va));
    CHECK(a.hi != 0 || a.lo != 0);
    CHECK(va.changed_ns / 1000000000 - cm_plat_wall_ns() / 1000000000 <= 1);
    CHECK(cm_plat_wall_ns() / 1000000000 - va.changed_ns / 1000000000 <= 60);
    CHECK_EQ(identify(in_dir("a"), &b, &vb), 0);
    CHECK(same_id(a, b) && same_version(&va, &vb));
    CHECK(CreateHardLinkA(in_dir("b"), in_dir("a"), NULL));
    CHECK_EQ(identify(in_dir("b"), &b, &vb), 0);
    CHECK(same_id(a, b));
    CHECK(MoveFileA(in_dir("a"), in_dir("d")));
    CHECK_EQ(identify(in_dir("d"), &b, &vb), 0);
    CHECK(same_id(a, b));
    CHECK_EQ(identify(in_dir("c"), &c, &vc), 0);
    CHECK(!same_id(a, c));
    CHECK_EQ(identify(in_dir("d"), &a, &va), 0);
    sleep_ms(30);
    make_file(in_dir("d"), "two"); /* same size */
    CHECK_EQ(identify(in_dir("b"), &b, &vb), 0);
    CHECK(same_id(a, b) && !same_version(&va, &vb));
    cm_plat_file_remove(in_dir("b"));
    cm_plat_file_remove(in_dir("c"));
    cm_plat_file_remove(in_dir("d"));
}

static void test_identify_refused(void)
{
    const HANDLE nul = open_shared("NUL", GENERIC_READ, FILE_SHARE_READ);
    const HANDLE folder = open_shared(dir, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE);
    HANDLE read_end, write_end;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;

    REQUIRE(nul != INVALID_HANDLE_VALUE && folder != INVALID_HANDLE_VALUE &&
            CreatePipe(&read_end, &write_end, NULL, 0));
    CHECK_EQ(cm_identify(-1, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(0, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(0x7ffffff0, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)nul, &id, &v), CM_ENOTFILE);
    CHECK_EQ(cm_identify((intptr_t)folder, &id, &v), CM_ENOTFILE);
    CHECK_EQ(cm_identify((intptr_t)read_end, &id, &v), CM_ENOTFILE);
    CHECK_EQ(cm_identify((intptr_t)folder, NULL, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)folder, &id, NULL), CM_EINVAL);
    CHECK(CloseHandle(nul) && CloseHandle(folder) && CloseHandle(read_end) &&
          CloseHandle(write_end));
}

/* No ids at all, or none for this file: such a value is not one that a file could have. */
static void test_identify_no_id(void)
{
    static const struct {
        int kind;
        uint64_t low, high;
        int rc;
    } cases[] = {
        { ID_128, 0, 0, CM_ENOTFILE },
        { ID_128, UINT64_MAX, UINT64_MAX, CM_ENOTFILE },
        { ID_128, UINT64_MAX, 0, CM_ENOTFILE },
        { ID_64, 0, 0, CM_ENOTFILE },
        { ID_64, UINT64_MAX, 0, CM_ENOTFILE },
        { ID_128, 5, 0, 0 },
        { ID_128, 0, 5, 0 },
        { ID_128, UINT64_MAX, 5, 0 },
        { ID_64, 5, 0, 0 },
    };
    const char *const names[] = { NULL, "the caller's" };
    HANDLE h;

    make_file(in_dir("a"), "one");
    h = open_shared(in_dir("a"), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE);
    REQUIRE(h != INVALID_HANDLE_VALUE);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
        cm_validator v = CM_VALIDATOR_INIT;
        cm_file_id id;

        o.volume_id = names[i % 2];
        origin.kind = cases[i / 2].kind;
        origin.low = cases[i / 2].low;
        origin.high = cases[i / 2].high;
        CHECK_EQ(cm_identify_with((intptr_t)h, &o, &id, &v), cases[i / 2].rc);
    }
    origin.kind = ID_REAL;
    CHECK(CloseHandle(h));
    cm_plat_file_remove(in_dir("a"));
}

static int identify_at(const wchar_t *name, const char *volume_name, cm_file_id *id)
{
    const HANDLE h = open_shared(in_dir("a"), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE);
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;
    int rc;

    CHECK(h != INVALID_HANDLE_VALUE);
    o.volume_id = volume_name;
    volume.device = name;
    rc = cm_identify_with((intptr_t)h, &o, id, &v);
    volume.device = NULL;
    CHECK(CloseHandle(h));
    return rc;
}

/* SMB 3, and no part of a DFS namespace. */
static const struct fake_remote plain_share = { 0, WNNC_NET_SMB, 0x10, 4, 3 };

/* Volumes of two servers may have one serial number: both were made from one template. */
static void test_identify_shares(void)
{
    static const struct {
        const wchar_t *name;
        bool same; /* as the first */
    } names[] = {
        { L"\\Device\\Mup\\srv1\\\x00f6\\a", true },
        { L"\\Device\\Mup\\SRV1\\\x00d6\\dir\\a", true },
        { L"\\device\\mup\\srv1\\\x00f6\\a", true },
        { L"\\Device\\Mup\\;LanmanRedirector\\;Z:00000000000a1b2c\\srv1\\\x00f6\\a", true },
        { L"\\Device\\LanmanRedirector\\;Z:00000000000a1b2c\\srv1\\\x00f6\\a", true },
        { L"\\Device\\Mup\\srv1\\\x00f6", true },
        { L"\\Device\\Mup\\srv2\\\x00f6\\a", false },
        { L"\\Device\\Mup\\srv1\\d\\a", false },
        { L"\\Device\\Mup\\srv1\\\x00f6z\\a", false },
    };
    static const wchar_t *const incomplete[] = {
        L"\\Device\\Mup\\srv1",   L"\\Device\\Mup\\",
        L"\\Device\\Mup\\;X",     L"\\Device\\Mup\\srv1\\",
        L"\\Device\\Mup\\\\d\\a", L"\\Device\\Mup\\DfsClient\\;Z:00000000000a1b2c\\corp\\dfs\\a",
    };
    cm_file_id first, id;

    make_file(in_dir("a"), "one");
    remote.file = remote.root = plain_share;
    CHECK_EQ(identify_at(names[0].name, NULL, &first), 0);
    CHECK(wcscmp(remote.name, L"\\\\?\\UNC\\srv1\\\x00f6\\") == 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK_EQ(identify_at(names[i].name, NULL, &id), 0);
        CHECK_EQ(same_id(id, first), names[i].same);
    }
    volume.serial = 1;
    CHECK_EQ(identify_at(names[0].name, NULL, &id), 0);
    CHECK(!same_id(id, first));
    volume.serial = 0;
    for (size_t i = 0; i < sizeof incomplete / sizeof incomplete[0]; i++) {
        CHECK_EQ(identify_at(incomplete[i], NULL, &id), CM_ECLONE);
    }
    CHECK_EQ(identify_at(names[0].name, "the caller's", &first), 0);
    CHECK_EQ(identify_at(L"\\Device\\Mup\\srv2\\e\\a", "the caller's", &id), 0);
    CHECK(same_id(id, first));
    cm_plat_file_remove(in_dir("a"));
}

/* The links of one DFS namespace lead to several servers, and the names of their files begin with
 * the same server and share: those of the namespace. */
static void test_identify_dfs(void)
{
    static const wchar_t london[] = L"\\Device\\Mup\\corp\\dfs\\london\\a";
    static const wchar_t paris[] = L"\\Device\\Mup\\corp\\dfs\\paris\\a";
    static const struct {
        struct fake_remote file, root;
        DWORD root_error;
        int rc;
    } cases[] = {
        /* The link leads to a share that is none of DFS; the root of the namespace is. */
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { 0, WNNC_NET_SMB, 8, 4, 3 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { 0, WNNC_NET_SMB, 0x18, 2, 2 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_SMB, 8, 4, 3 }, { 0, WNNC_NET_SMB, 0, 4, 3 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_DFS, 0, 4, 3 }, { 0, WNNC_NET_SMB, 0, 4, 3 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { 0, WNNC_NET_DFS, 0, 4, 1 }, 0, CM_ECLONE },
        /* Nobody knows: SMB 1 and the structure of Windows 7 do not say it. */
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { 0, WNNC_NET_SMB, 0, 4, 1 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { 0, WNNC_NET_SMB, 0, 1, 3 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { ERROR_NETNAME_DELETED, 0, 0, 0, 0 }, 0, CM_ECLONE },
        { { 0, WNNC_NET_SMB, 0, 4, 3 }, { 0, WNNC_NET_SMB, 0, 4, 3 }, 5, CM_ECLONE },
        /* Other protocols have no namespaces, and may know nothing of the question. */
        { { ERROR_INVALID_PARAMETER, 0, 0, 0, 0 }, { ERROR_NOT_SUPPORTED, 0, 0, 0, 0 }, 0, 0 },
        { { 0, WNNC_NET_DAV, 0, 1, 1 }, { 0, WNNC_NET_DAV, 0, 1, 1 }, 0, 0 },
        { { 0, WNNC_NET_SMB, 0x10, 4, 3 }, { 0, WNNC_NET_SMB, 0x70, 4, 3 }, 0, 0 },
    };
    cm_file_id one, two;
    unsigned handles;

    make_file(in_dir("a"), "one");
    handles = open_files();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE("i %zu", i);
        remote.file = cases[i].file;
        remote.root = cases[i].root;
        remote.root_error = cases[i].root_error;
        CHECK_EQ(identify_at(london, NULL, &one), cases[i].rc);
        CHECK_EQ(identify_at(paris, NULL, &two), cases[i].rc);
        CHECK_EQ(identify_at(london, "london", &one), 0);
        CHECK_EQ(identify_at(paris, "paris", &two), 0);
        CHECK(!same_id(one, two));
    }
    CHECK_EQ(open_files(), handles);
    remote.root_error = 0;
    cm_plat_file_remove(in_dir("a"));
}

/* Of two volumes with one serial number the first one that was seen has it, until it is gone. */
static void test_identify_clones(void)
{
    static const wchar_t one[] = L"\\Device\\One\\a", two[] = L"\\Device\\Two\\a";
    cm_file_id first, id;
    unsigned handles;

    make_file(in_dir("a"), "one");
    volume.serial = 4711; /* as none that is there really */
    CHECK_EQ(identify_at(one, NULL, &first), 0);
    handles = open_files();
    CHECK_EQ(identify_at(L"\\Device\\One\\;Z\\srv1\\d\\a", NULL, &id), 0); /* no drive letter */
    CHECK(same_id(id, first));
    CHECK_EQ(identify_at(two, NULL, &id), CM_ECLONE);
    CHECK_EQ(identify_at(two, "the caller's", &id), 0);
    CHECK_EQ(identify_at(one, NULL, &id), 0);
    CHECK(same_id(id, first));
    volume.root_error = ERROR_ACCESS_DENIED; /* it is not known to be gone */
    CHECK_EQ(identify_at(two, NULL, &id), CM_ECLONE);
    volume.root_error = ERROR_PATH_NOT_FOUND;
    CHECK_EQ(identify_at(two, NULL, &id), 0);
    CHECK(same_id(id, first));
    volume.root_error = 0;
    CHECK_EQ(identify_at(one, NULL, &id), CM_ECLONE); /* now it is the second one's */
    volume.root_serial = 1; /* another volume has the second one's device */
    CHECK_EQ(identify_at(one, NULL, &id), 0);
    CHECK(same_id(id, first));
    volume.root_serial = 0;
    CHECK_EQ(identify_at(L"\\??\\X:\\a", NULL, &id), CM_ECLONE); /* no device is known */
    CHECK_EQ(identify_at(L"\\??\\X:\\a", "the caller's", &id), 0);
    CHECK_EQ(open_files(), handles);
    volume.serial = 0;
    cm_plat_file_remove(in_dir("a"));
}

static void set_written(const char *path, int64_t seconds_ahead)
{
    const HANDLE h = open_shared(path, FILE_WRITE_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE);
    ULARGE_INTEGER t;
    FILETIME ft;

    CHECK(h != INVALID_HANDLE_VALUE);
    GetSystemTimeAsFileTime(&ft);
    t.LowPart = ft.dwLowDateTime;
    t.HighPart = ft.dwHighDateTime;
    t.QuadPart += (ULONGLONG)(seconds_ahead * 10000000 + 5);
    ft.dwLowDateTime = t.LowPart;
    ft.dwHighDateTime = t.HighPart;
    CHECK(SetFileTime(h, NULL, NULL, &ft));
    CHECK(CloseHandle(h));
}

/* The system that the tests run on may have neither, so the names are given. */
static void test_identify_names(void)
{
    static const struct {
        const wchar_t *name;
        int refused;
    } names[] = {
        { L"\\Device\\HarddiskVolume3\\dir\\file", 0 },
        { L"\\Device\\HarddiskVolume3\\dir\\file::$DATA", 0 },
        { L"\\Device\\HarddiskVolume3\\dir\\file::$data", 0 },
        { L"\\Device\\HarddiskVolume3\\dir\\file:stream", CM_ENOTFILE },
        { L"\\Device\\HarddiskVolume3\\dir\\file:stream:$DATA", CM_ENOTFILE },
        { L"\\Device\\HarddiskVolume3\\file:$I30:$INDEX_ALLOCATION", CM_ENOTFILE },
        { L"\\Device\\Mup\\server\\share\\file", 0 },
        { L"\\Device\\HarddiskVolumeShadowCopy12\\dir\\file", CM_ECLONE },
        { L"\\device\\harddiskvolumeshadowcopy1\\file", CM_ECLONE },
        { L"\\Device\\HarddiskVolumeShadowCopy12\\file:stream", CM_ENOTFILE },
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK_EQ(win32_name_refused(names[i].name), names[i].refused);
    CHECK(win32_may_be_another(L"FAT32", false) && win32_may_be_another(L"exFAT", true));
    CHECK(win32_may_be_another(L"UDF", false) && !win32_may_be_another(L"UDF", true));
    CHECK(!win32_may_be_another(L"NTFS", false) && !win32_may_be_another(L"ReFS", true));
    CHECK(!win32_may_be_another(L"CSVFS", false));
    CHECK(win32_may_be_another(L"VBoxSharedFolderFS", false)); /* and all that are not known */
    CHECK(!win32_may_be_another(L"VBoxSharedFolderFS", true));
    CHECK(win32_may_be_another(L"", false));
}

static void test_racy_times(void)
{
    for (size_t i = 0; i < RACY_TIMES; i++) {
        CASE("i %zu", i);
        CHECK_EQ(win32_times_are_racy(racy_times[i].written, racy_times[i].changed, RACY_NOW,
                                      racy_times[i].tick),
                 racy_times[i].racy);
    }
}

static void test_identify_racy(void)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    unsigned waited = 0;

    make_file(in_dir("a"), "one");
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 1);
    do { /* whole-second volumes take two seconds, others 20 ms */
        sleep_ms(25);
        waited += 25;
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    } while (v.racy != 0 && waited < 5000);
    CHECK_EQ(v.racy, 0);
    set_written(in_dir("a"), 3600);
    sleep_ms(50); /* the change is old again, the write is in the future */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 1);
    set_written(in_dir("a"), -3600);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 1); /* because of its change alone */
    sleep_ms(2200);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    cm_plat_file_remove(in_dir("a"));
}

static void old_file(const char *path, uint64_t age)
{
    cm_file_id id;
    cm_validator v = { .racy = 1 };

    make_file(path, "one");
    set_written(path, -(int64_t)age);
    for (unsigned i = 0; i < 100 && v.racy != 0; i++) { /* its change is still young */
        sleep_ms(50);
        CHECK_EQ(identify(path, &id, &v), 0);
    }
    CHECK_EQ(v.racy, 0);
}

/* A file system may leave out times. Without them they prove nothing, however old the file is. The
 * number of the journal moves with each write, as the time of the change does. */
static void test_identify_no_times(void)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;

    old_file(in_dir("a"), 3600);
    origin.no_write_time = true;
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_VOLUME);
    CHECK(v.changed_ns > CM_CHANGED_LONG_AGO); /* that is known */
    origin.no_change_time = true;
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_VOLUME);
    CHECK_EQ(v.changed_ns, 0); /* not known: the time of the last write can be set */
    origin.no_write_time = false;
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_VOLUME);
    CHECK_EQ(v.changed_ns, 0);
    journal.version = 2;
    journal.number = 77;
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    CHECK_EQ(v.changed_ns, 0);
    journal.version = 0;
    origin.no_change_time = false;
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    CHECK(v.changed_ns > CM_CHANGED_LONG_AGO);
    volume.type = L"VBoxSharedFolderFS";
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_VOLUME);
    volume.type = NULL;
    cm_plat_file_remove(in_dir("a"));
}

/* A writer that has the file open may write behind the same times. When it is gone, they have
 * moved. */
static void test_identify_writer(void)
{
    static const DWORD writing[] = { GENERIC_WRITE, FILE_APPEND_DATA,
                                     GENERIC_READ | GENERIC_WRITE };
    const DWORD all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    unsigned handles;
    HANDLE h, mapping;
    void *view;

    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    old_file(in_dir("a"), 3600);
    handles = open_files();
    for (size_t i = 0; i < sizeof writing / sizeof writing[0]; i++) {
        h = open_shared(in_dir("a"), writing[i], all);
        REQUIRE(h != INVALID_HANDLE_VALUE);
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        CHECK_EQ(v.racy, CM_RACY_WRITER);
        CHECK_EQ(cm_identify((intptr_t)h, &id, &v), 0);
        CHECK_EQ(v.racy, CM_RACY_WRITER); /* the writer itself is one */
        CHECK_EQ(cm_identify_with((intptr_t)h, &sole, &id, &v), 0);
        CHECK_EQ(v.racy, 0);
        CHECK(CloseHandle(h));
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        CHECK_EQ(v.racy, 0);
    }
    h = open_shared(in_dir("a"), GENERIC_READ | GENERIC_WRITE, all);
    mapping = CreateFileMappingA(h, NULL, PAGE_READWRITE, 0, 0, NULL);
    view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    REQUIRE(view != NULL);
    CHECK(CloseHandle(mapping) && CloseHandle(h));
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_WRITER); /* a mapping without a handle is a writer, too */
    CHECK(UnmapViewOfFile(view));
    h = open_shared(in_dir("a"), GENERIC_READ, all); /* readers do not matter */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    CHECK(CloseHandle(h));
    CHECK_EQ(open_files(), handles);
    cm_plat_file_remove(in_dir("a"));
}

/* A handle for overlapped calls: the call waits for the answer of the journal, and the handle's
 * port gets no message. */
static void test_identify_overlapped(void)
{
    DWORD n = 0;
    ULONG_PTR key = 0;
    OVERLAPPED *packet = NULL;
    cm_file_id id, same;
    cm_validator v = CM_VALIDATOR_INIT, w = CM_VALIDATOR_INIT;
    unsigned handles;
    HANDLE h, port;

    make_file(in_dir("a"), "one");
    CHECK_EQ(identify(in_dir("a"), &same, &w), 0);
    h = CreateFileA(in_dir("a"), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                    OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    port = CreateIoCompletionPort(h, NULL, 1, 1);
    REQUIRE(h != INVALID_HANDLE_VALUE && port != NULL);
    CHECK_EQ(cm_identify((intptr_t)h, &id, &v), 0);
    CHECK(same_id(id, same) && same_version(&v, &w));
    handles = open_files();
    for (WORD version = 2; version <= 3; version++) {
        journal.version = version;
        journal.number = UINT64_C(0x123456789abc) + version;
        journal.calls = 0;
        CHECK_EQ(cm_identify((intptr_t)h, &id, &v), 0);
        CHECK_EQ(journal.calls, 1);
        CHECK(journal.port_spared);
        CHECK(memcmp(v.proof + 24, &journal.number, 8) == 0);
    }
    journal.version = 4; /* unknown version: the time of birth is used instead */
    CHECK_EQ(cm_identify((intptr_t)h, &id, &v), 0);
    CHECK(same_version(&v, &w));
    journal.version = 0;
    CHECK_EQ(open_files(), handles);
    CHECK(!GetQueuedCompletionStatus(port, &n, &key, &packet, 0));
    CHECK_EQ(GetLastError(), WAIT_TIMEOUT);
    CHECK(CloseHandle(h) && CloseHandle(port));
    cm_plat_file_remove(in_dir("a"));
}

const struct harness_test platform_win32_identity_tests[] = {
    TEST(boot_id),
    TEST(boot_time),
    TEST(mount_id),
    TEST(identify_same_and_different),
    TEST(identify_refused),
    TEST(identify_no_id),
    TEST(identify_shares),
    TEST(identify_dfs),
    TEST(identify_clones),
    TEST(identify_names),
    TEST(racy_times),
    TEST(identify_racy),
    TEST(identify_no_times),
    TEST(identify_writer),
    TEST(identify_overlapped),
    TEST_END,
};
