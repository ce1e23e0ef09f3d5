/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_win32.c - the tests of platform.h on Windows (or Wine).
 *
 * Files are in a directory of their own below $TMPDIR or %TEMP%. If a child process is needed, the
 * program starts itself with "--child NAME ARG". Wine has no change journal, no DAX volumes and no
 * read errors of a volume. For these, single calls of the system are replaced; see "The system,
 * replaced".
 */
#include "platform/win32.h"
#include "platform_win32.h"

#include <aclapi.h>
#include <wchar.h>
#include <winioctl.h>

unsigned open_files(void)
{
    DWORD n = 0;

    CHECK(GetProcessHandleCount(GetCurrentProcess(), &n));
    return n;
}

/* ---- The system, replaced ------------------------------------------------------------------ */

/* A program calls the system through pointers with these names. If the program defines one itself,
 * the linker takes that instead of the import library's. */
#define REPLACED(name) __imp_##name

static FARPROC real(const char *name)
{
    const FARPROC f = GetProcAddress(GetModuleHandleA("kernel32.dll"), name);

    if (f == NULL) {
        abort();
    }
    return f;
}
#define REAL(name) ((fn_##name)(void *)real(#name))

/* The change journal. It answers later, and with a record of this version. */
static struct {
    WORD version; /* 0: there is no journal, as on Wine itself */
    uint64_t number;
    OVERLAPPED *call;
    BYTE *record;
    unsigned calls;
    bool port_spared; /* the event keeps the call out of the port */
} journal;

static DWORD WINAPI journal_answers(LPVOID unused)
{
    const DWORD n = journal.version == 2 ? 64 : 80;

    (void)unused;
    Sleep(30);
    memset(journal.record, 0, n);
    memcpy(journal.record, &n, 4);
    memcpy(journal.record + 4, &journal.version, 2);
    memcpy(journal.record + (journal.version == 2 ? 24 : 40), &journal.number, 8);
    journal.call->InternalHigh = n;
    journal.call->Internal = 0; /* STATUS_SUCCESS, after STATUS_PENDING */
    CHECK(SetEvent((HANDLE)((ULONG_PTR)journal.call->hEvent & ~(ULONG_PTR)3)));
    return 0;
}

typedef BOOL(WINAPI *fn_DeviceIoControl)(HANDLE, DWORD, LPVOID, DWORD, LPVOID, DWORD, LPDWORD,
                                         LPOVERLAPPED);

static BOOL WINAPI device_io_control(HANDLE h, DWORD code, LPVOID in, DWORD in_len, LPVOID out,
                                     DWORD out_len, LPDWORD n, LPOVERLAPPED call)
{
    if (code != FSCTL_READ_FILE_USN_DATA || journal.version == 0) {
        return REAL(DeviceIoControl)(h, code, in, in_len, out, out_len, n, call);
    }
    journal.calls++;
    if (call == NULL || call->hEvent == NULL || out_len < 80) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    journal.port_spared = ((ULONG_PTR)call->hEvent & 1) != 0;
    journal.call = call;
    journal.record = out;
    call->Internal = 0x103; /* STATUS_PENDING */
    CHECK(CloseHandle(CreateThread(NULL, 0, journal_answers, NULL, 0, NULL)));
    SetLastError(ERROR_IO_PENDING);
    return FALSE;
}
extern const fn_DeviceIoControl REPLACED(DeviceIoControl);
const fn_DeviceIoControl REPLACED(DeviceIoControl) = device_io_control;

/* The volume has these flags and this name of its file system. Its files count as allocated as soon
 * as they have a size. */
static struct {
    DWORD flags;
    const wchar_t *type; /* NULL: its real one */
    bool allocates;
    uint64_t serial; /* added to its real one */
    const wchar_t *device;
    UINT drive_type; /* 0: its real one */
    bool denied;     /* new files are denied */
    DWORD end_error; /* error of setting a file's end; 0: it works */
} volume;

/* The id and the times that a file has. */
static struct {
    enum { ID_REAL, ID_128, ID_64 } kind; /* ID_64: the volume has no ids of 128 bits */
    uint64_t low, high;
    bool no_write_time, no_change_time;
} origin;

/* The security with which a new file is made; not every system (Wine) keeps all of it. */
static struct {
    bool look;
    unsigned creations;
    bool protected;
} asked;
static void check_private(PSECURITY_DESCRIPTOR sd);

typedef HANDLE(WINAPI *fn_CreateFileW)(LPCWSTR, DWORD, DWORD, LPSECURITY_ATTRIBUTES, DWORD, DWORD,
                                       HANDLE);

static HANDLE WINAPI create_file(LPCWSTR path, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES sa,
                                 DWORD how, DWORD flags, HANDLE like)
{
    if (how == CREATE_NEW && sa != NULL && asked.look) {
        SECURITY_DESCRIPTOR_CONTROL control = 0;
        DWORD revision = 0;

        asked.creations++;
        CHECK(GetSecurityDescriptorControl(sa->lpSecurityDescriptor, &control, &revision));
        asked.protected = (control & SE_DACL_PROTECTED) != 0;
        check_private(sa->lpSecurityDescriptor);
    }
    if (how == CREATE_NEW && volume.denied) {
        SetLastError(ERROR_ACCESS_DENIED);
        return INVALID_HANDLE_VALUE;
    }
    return REAL(CreateFileW)(path, access, share, sa, how, flags, like);
}
extern const fn_CreateFileW REPLACED(CreateFileW);
const fn_CreateFileW REPLACED(CreateFileW) = create_file;

typedef BOOL(WINAPI *fn_GetVolumeInformationByHandleW)(HANDLE, LPWSTR, DWORD, LPDWORD, LPDWORD,
                                                       LPDWORD, LPWSTR, DWORD);

static BOOL WINAPI get_volume(HANDLE h, LPWSTR name, DWORD room, LPDWORD serial, LPDWORD longest,
                              LPDWORD flags, LPWSTR type, DWORD type_room)
{
    const BOOL known =
        REAL(GetVolumeInformationByHandleW)(h, name, room, serial, longest, flags, type, type_room);

    if (flags != NULL) {
        *flags |= volume.flags;
    }
    if (type != NULL && volume.type != NULL) {
        (void)wcsncpy(type, volume.type, type_room);
    }
    return known;
}
extern const fn_GetVolumeInformationByHandleW REPLACED(GetVolumeInformationByHandleW);
const fn_GetVolumeInformationByHandleW REPLACED(GetVolumeInformationByHandleW) = get_volume;

typedef BOOL(WINAPI *fn_GetFileInformationByHandleEx)(HANDLE, FILE_INFO_BY_HANDLE_CLASS, LPVOID,
                                                      DWORD);

static BOOL WINAPI get_file(HANDLE h, FILE_INFO_BY_HANDLE_CLASS what, LPVOID info, DWORD n)
{
    const BOOL known = REAL(GetFileInformationByHandleEx)(h, what, info, n);

    if (known && what == FileStandardInfo && volume.allocates) {
        FILE_STANDARD_INFO *s = info;

        s->AllocationSize = s->EndOfFile;
    }
    if (what == FileIdInfo && origin.kind == ID_64) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }
    if (known && what == FileIdInfo) {
        FILE_ID_INFO *id = info;

        id->VolumeSerialNumber += volume.serial;
        if (origin.kind == ID_128) {
            memcpy(&id->FileId, &origin.low, 8);
            memcpy((char *)&id->FileId + 8, &origin.high, 8);
        }
    }
    if (known && what == FileBasicInfo) {
        FILE_BASIC_INFO *times = info;

        times->LastWriteTime.QuadPart *= !origin.no_write_time;
        times->ChangeTime.QuadPart *= !origin.no_change_time;
    }
    return known;
}
extern const fn_GetFileInformationByHandleEx REPLACED(GetFileInformationByHandleEx);
const fn_GetFileInformationByHandleEx REPLACED(GetFileInformationByHandleEx) = get_file;

typedef BOOL(WINAPI *fn_GetFileInformationByHandle)(HANDLE, LPBY_HANDLE_FILE_INFORMATION);

static BOOL WINAPI get_index(HANDLE h, LPBY_HANDLE_FILE_INFORMATION info)
{
    const BOOL known = REAL(GetFileInformationByHandle)(h, info);

    if (known && origin.kind == ID_64) {
        info->nFileIndexLow = (DWORD)origin.low;
        info->nFileIndexHigh = (DWORD)(origin.low >> 32);
    }
    return known;
}
extern const fn_GetFileInformationByHandle REPLACED(GetFileInformationByHandle);
const fn_GetFileInformationByHandle REPLACED(GetFileInformationByHandle) = get_index;

typedef DWORD(WINAPI *fn_GetFinalPathNameByHandleW)(HANDLE, LPWSTR, DWORD, DWORD);

static DWORD WINAPI get_path(HANDLE h, LPWSTR path, DWORD room, DWORD flags)
{
    if ((flags & VOLUME_NAME_NT) == 0 || volume.device == NULL) {
        return REAL(GetFinalPathNameByHandleW)(h, path, room, flags);
    }
    if (room <= wcslen(volume.device)) {
        return (DWORD)wcslen(volume.device) + 1;
    }
    (void)wcscpy(path, volume.device);
    return (DWORD)wcslen(volume.device);
}
extern const fn_GetFinalPathNameByHandleW REPLACED(GetFinalPathNameByHandleW);
const fn_GetFinalPathNameByHandleW REPLACED(GetFinalPathNameByHandleW) = get_path;

typedef UINT(WINAPI *fn_GetDriveTypeW)(LPCWSTR);

static UINT WINAPI get_drive(LPCWSTR root)
{
    return volume.drive_type != 0 ? volume.drive_type : REAL(GetDriveTypeW)(root);
}
extern const fn_GetDriveTypeW REPLACED(GetDriveTypeW);
const fn_GetDriveTypeW REPLACED(GetDriveTypeW) = get_drive;

typedef BOOL(WINAPI *fn_SetEndOfFile)(HANDLE);

static BOOL WINAPI set_end(HANDLE h)
{
    if (volume.end_error == 0) {
        return REAL(SetEndOfFile)(h);
    }
    SetLastError(volume.end_error);
    return FALSE;
}
extern const fn_SetEndOfFile REPLACED(SetEndOfFile);
const fn_SetEndOfFile REPLACED(SetEndOfFile) = set_end;

/* ---- Creating ------------------------------------------------------------------------------ */

static void test_create(void)
{
    const char *path = in_dir("pool");
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;

    make_file(in_dir("pool.cachemax-new"), "left by one that was killed");
    CHECK_EQ(cm_plat_file_create(&f, path, 3 * MIB + PAGE, true, NULL, NULL), 0);
    CHECK_EQ(os_size(path), -1);
    CHECK_EQ(cm_plat_file_create(&g, path, PAGE, true, NULL, NULL), CM_EEXIST);
    CHECK_EQ(cm_plat_file_link(&f, path), 0);
    CHECK_EQ(os_size(in_dir("pool.cachemax-new")), -1);
    CHECK_EQ(os_size(path), 3 * MIB + PAGE);
    CHECK(os_space(path) >= 3 * MIB + PAGE);
    CHECK_EQ(f.size, 3 * MIB + PAGE);
    CHECK_EQ(plat_create(&g, path, PAGE, true, NULL, NULL), CM_EEXIST);
    CHECK_EQ(g.handle, -1);
    CHECK_EQ(os_size(path), 3 * MIB + PAGE); /* the failed call changed nothing */
    cm_plat_file_close(&f);
    cm_plat_file_close(&f); /* safe after itself */
    CHECK_EQ(f.handle, -1);
    cm_plat_file_remove(path);
    CHECK_EQ(os_size(path), -1);
    CHECK_EQ(plat_create(&f, path, 64 * MIB, false, NULL, NULL), 0);
    CHECK_EQ(os_size(path), 64 * MIB);
    CHECK(os_space(path) < MIB);
    cm_plat_file_close(&f);
    cm_plat_file_remove(path);
}

/* NTFS allocates with the size and writes the zeros later. On a DAX volume the zeros are written at
 * once. */
static void test_create_zeros(void)
{
    const uint64_t size = 3 * MIB;
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;

    for (unsigned dax = 0; dax < 2; dax++) {
        volume.flags = dax ? 0x20000000 /* FILE_DAX_VOLUME */ : 0;
        volume.allocates = true;
        CHECK_EQ(plat_create(&f, in_dir("pool"), size, true, NULL, NULL), 0);
        REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
        CHECK_EQ(durability, dax ? CM_DURABILITY_DAX : CM_DURABILITY_PAGECACHE);
        volume.allocates = false;
        CHECK_EQ((uint64_t)os_space(in_dir("pool")) >= size, dax);
        cm_plat_file_close(&f);
        cm_plat_file_remove(in_dir("pool"));
    }
    CHECK_EQ(plat_create(&f, in_dir("pool"), size, false, NULL, NULL), 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    CHECK_EQ(durability, CM_DURABILITY_PAGECACHE); /* DAX, but sparse */
    volume.flags = 0;
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* A size that is too large for the file system is not reported as a lack of space. */
static void test_create_size_refused(void)
{
    static const struct {
        DWORD error;
        const wchar_t *type;
        uint64_t size;
        int rc;
    } cases[] = {
        { ERROR_INVALID_PARAMETER, L"exFAT", MIB, CM_EPOOLSIZE },
        { ERROR_FILE_TOO_LARGE, L"NTFS", MIB, CM_EPOOLSIZE },
        { ERROR_DISK_FULL, L"FAT32", UINT64_C(5) << 30, CM_EPOOLSIZE },
        { ERROR_DISK_FULL, L"FAT32", MIB, CM_ENOSPC },
        { ERROR_DISK_FULL, L"NTFS", UINT64_C(5) << 30, CM_ENOSPC },
    };
    struct cm_plat_file f = PLAT_FILE_INIT;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        volume.end_error = cases[i].error;
        volume.type = cases[i].type;
        CHECK_EQ(plat_create(&f, in_dir("pool"), cases[i].size, false, NULL, NULL), cases[i].rc);
        CHECK_EQ(f.handle, -1);
        CHECK_EQ(os_size(in_dir("pool")), -1);
    }
    volume.end_error = 0;
    volume.type = NULL;
}

/* Checks that only the owner, the system and administrators have access. */
static void check_private(PSECURITY_DESCRIPTOR sd)
{
    static const WELL_KNOWN_SID_TYPE known[] = { WinCreatorOwnerRightsSid, WinLocalSystemSid,
                                                 WinBuiltinAdministratorsSid };
    BOOL present = FALSE, defaulted = FALSE;
    PSID owner = NULL;
    PACL acl = NULL;

    REQUIRE(GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted));
    REQUIRE(present && acl != NULL && acl->AceCount > 0); /* without an ACL everybody has access */
    CHECK(GetSecurityDescriptorOwner(sd, &owner, &defaulted));
    for (DWORD i = 0; i < acl->AceCount; i++) {
        ACCESS_ALLOWED_ACE *ace;
        bool expected;

        REQUIRE(GetAce(acl, i, (void **)&ace));
        expected = ace->Header.AceType == ACCESS_DENIED_ACE_TYPE ||
                   (owner != NULL && EqualSid(&ace->SidStart, owner));
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            expected = expected || IsWellKnownSid(&ace->SidStart, known[k]);
        }
        CHECK(expected);
    }
}

/* Nobody else has access, and nothing that the directory hands down counts. */
static void test_create_private(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    PSECURITY_DESCRIPTOR sd = NULL;

    asked.look = true;
    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    asked.look = false;
    CHECK_EQ(asked.creations, 1);
    CHECK(asked.protected);
    REQUIRE(GetSecurityInfo((HANDLE)f.handle, SE_FILE_OBJECT,
                            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, NULL, NULL,
                            NULL, NULL, &sd) == ERROR_SUCCESS);
    check_private(sd);
    (void)LocalFree(sd);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* The same errors as on POSIX. */
static void test_create_refused(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const unsigned handles = open_files();

    CHECK_EQ(plat_create(&f, in_dir("no/such/dir"), PAGE, true, NULL, NULL), CM_ENOENT);
    CHECK_EQ(plat_create(&f, "Q:\\pool", PAGE, true, NULL, NULL), CM_ENOENT);
    CHECK_EQ(plat_create(&f, dir, PAGE, true, NULL, NULL), CM_EEXIST);
    CHECK_EQ(plat_create(&f, in_dir("\xff\xfe"), PAGE, true, NULL, NULL), CM_EINVAL);
    CHECK_EQ(plat_create(&f, in_dir("a*b?"), PAGE, true, NULL, NULL), CM_EINVAL);
    CHECK_EQ(plat_create(&f, "", PAGE, true, NULL, NULL), CM_ENOENT);
    volume.denied = true;
    CHECK_EQ(plat_create(&f, in_dir("denied"), PAGE, true, NULL, NULL), CM_EACCES);
    volume.denied = false;
    CHECK(plat_create(&f, "NUL", PAGE, true, NULL, NULL) < 0);
    CHECK_EQ(plat_create(&f, in_dir("huge"), UINT64_MAX / 2 + 1, true, NULL, NULL), CM_ENOSPC);
    CHECK_EQ(plat_create(&f, in_dir("full"), UINT64_C(1) << 50, true, NULL, NULL), CM_ENOSPC);
    CHECK_EQ(os_size(in_dir("huge")), -1);
    CHECK_EQ(os_size(in_dir("full")), -1);
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(open_files(), handles);
}

/* ---- Identity ------------------------------------------------------------------------------ */

static void to_hex(const uint8_t id[16], char hex[33])
{
    for (unsigned i = 0; i < 16; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", id[i]);
    }
}

static void boot_id_body(const char *expected)
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

/* ---- Threads ------------------------------------------------------------------------------- */

static void test_fork_count(void)
{
    CHECK_EQ(cm_plat_fork_count(), 0);
}

static const struct harness_test platform_win32_tests[] = {
    TEST(create),
    TEST(create_zeros),
    TEST(create_size_refused),
    TEST(create_private),
    TEST(create_refused),
    TEST(boot_id),
    TEST(mount_id),
    TEST(identify_same_and_different),
    TEST(identify_refused),
    TEST(identify_no_id),
    TEST(identify_names),
    TEST(identify_racy),
    TEST(identify_no_times),
    TEST(identify_writer),
    TEST(identify_overlapped),
    TEST(fork_count),
    TEST_END,
};

static const struct harness_test *const tables[] = { platform_win32_tests,
                                                     platform_win32_files_tests, platform_tests };

char dir[256];

static const struct {
    const char *name;
    void (*body)(const char *arg);
} children[] = {
    { "lock_other_process", lock_other_process_body },
    { "lock_and_die", lock_and_die_body },
    { "boot_id", boot_id_body },
    { "fault", fault_body },
};

int main(int argc, char **argv)
{
    int rc;

    for (size_t i = 0; i < sizeof children / sizeof children[0]; i++) {
        if (argc == 4 && strcmp(argv[1], "--child") == 0 &&
            strcmp(argv[2], children[i].name) == 0) {
            children[i].body(argv[3]);
            (void)fflush(stdout);
            return harness_failures != 0;
        }
    }
    if (!os_make_dir(dir, sizeof dir, NULL, "test")) {
        printf("# no directory for temporary files\n");
        return 1;
    }
    rc = HARNESS_TABLES(tables, argc, argv);
    if (!os_remove_dir(dir)) {
        printf("# left behind: %s\n", dir);
        rc = 1;
    }
    return rc;
}
