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

struct fake_journal journal;

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

struct fake_sums sums;

/* FSCTL_GET_INTEGRITY_INFORMATION, FSCTL_SET_INTEGRITY_INFORMATION, with their structures. */
#define GET_SUMS 0x9027cu
#define SET_SUMS 0x9c280u

static BOOL control_sums(HANDLE h, DWORD code, const void *in, DWORD in_len, void *out,
                         DWORD out_len)
{
    LARGE_INTEGER size;

    CHECK(GetFileSizeEx(h, &size) && size.QuadPart == 0); /* ReFS took it for empty files only */
    if (code == GET_SUMS) {
        CHECK_EQ(out_len, 16);
        memset(out, 0x55, 16);
        memcpy(out, &sums.kind, 2);
        memcpy((char *)out + 4, &sums.flags, 4);
        return TRUE;
    }
    CHECK_EQ(in_len, 8);
    sums.sets++;
    if (sums.refused) {
        SetLastError(ERROR_ACCESS_DENIED);
        return FALSE;
    }
    memcpy(&sums.kind, in, 2);
    CHECK(memcmp((const char *)in + 2, "\0", 2) == 0);
    memcpy(&sums.flags, (const char *)in + 4, 4);
    return TRUE;
}

typedef BOOL(WINAPI *fn_DeviceIoControl)(HANDLE, DWORD, LPVOID, DWORD, LPVOID, DWORD, LPDWORD,
                                         LPOVERLAPPED);

static BOOL WINAPI device_io_control(HANDLE h, DWORD code, LPVOID in, DWORD in_len, LPVOID out,
                                     DWORD out_len, LPDWORD n, LPOVERLAPPED call)
{
    if (sums.there && (code == GET_SUMS || code == SET_SUMS)) {
        *n = code == GET_SUMS ? 16 : 0;
        return control_sums(h, code, in, in_len, out, out_len);
    }
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

struct fake_volume volume;
struct fake_share remote;
struct fake_origin origin;

/* The security with which a new file is made; not every system (Wine) keeps all of it. */
static struct {
    bool look;
    unsigned creations;
    bool protected;
} asked;
static void check_private(PSECURITY_DESCRIPTOR sd);

typedef HANDLE(WINAPI *fn_CreateFileW)(LPCWSTR, DWORD, DWORD, LPSECURITY_ATTRIBUTES, DWORD, DWORD,
                                       HANDLE);

static HANDLE open_root(void)
{
    if (volume.root_error != 0) {
        SetLastError(volume.root_error);
        return INVALID_HANDLE_VALUE;
    }
    volume.root = open_shared(dir, 0, FILE_SHARE_READ | FILE_SHARE_WRITE);
    CHECK(volume.root != INVALID_HANDLE_VALUE);
    return volume.root;
}

static HANDLE open_share(const wchar_t *path)
{
    (void)swprintf(remote.name, sizeof remote.name / sizeof remote.name[0], L"%ls", path);
    if (remote.root_error != 0) {
        SetLastError(remote.root_error);
        return INVALID_HANDLE_VALUE;
    }
    remote.opened = open_shared(dir, 0, FILE_SHARE_READ | FILE_SHARE_WRITE);
    CHECK(remote.opened != INVALID_HANDLE_VALUE);
    return remote.opened;
}

static BOOL get_remote(HANDLE h, FILE_REMOTE_PROTOCOL_INFO *info)
{
    const struct fake_remote *r = h == remote.opened ? &remote.root : &remote.file;

    if (h == remote.opened) {
        remote.opened = NULL; /* the next file may get the same handle */
    }
    if (r->error != 0) {
        SetLastError(r->error);
        return FALSE;
    }
    memset(info, 0, sizeof *info);
    info->StructureVersion = r->structure;
    info->StructureSize = sizeof *info;
    info->Protocol = r->protocol;
    info->ProtocolMajorVersion = r->major;
    info->ProtocolSpecific.Smb2.Share.Capabilities = r->capabilities;
    return TRUE;
}

static HANDLE WINAPI create_file(LPCWSTR path, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES sa,
                                 DWORD how, DWORD flags, HANDLE like)
{
    if (wcsncmp(path, L"\\\\?\\GLOBALROOT\\Device\\", 22) == 0) {
        return open_root();
    }
    if (volume.device != NULL && wcsncmp(path, L"\\\\?\\UNC\\", 8) == 0) {
        return open_share(path);
    }
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
    BOOL known;

    if (what == FileRemoteProtocolInfo) {
        return get_remote(h, info);
    }
    known = REAL(GetFileInformationByHandleEx)(h, what, info, n);
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
        if (h == volume.root) {
            id->VolumeSerialNumber += volume.root_serial;
            volume.root = NULL; /* the next file may get the same handle */
        }
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

uint64_t fake_ticks;

typedef ULONGLONG(WINAPI *fn_GetTickCount64)(void);

static ULONGLONG WINAPI get_ticks(void)
{
    return fake_ticks != 0 ? fake_ticks : REAL(GetTickCount64)();
}
extern const fn_GetTickCount64 REPLACED(GetTickCount64);
const fn_GetTickCount64 REPLACED(GetTickCount64) = get_ticks;

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

/* ReFS writes what it has sums of to a new place each time. A pool has none; nothing depends on it.
 */
static void test_create_without_sums(void)
{
    for (unsigned i = 0; i < 3; i++) {
        struct cm_plat_file f = PLAT_FILE_INIT;

        CASE("i %u", i);
        sums = (struct fake_sums){ .there = true, .refused = i == 1, .kind = 2, .flags = 1 };
        volume.flags = i == 2 ? 0 : FILE_SUPPORTS_INTEGRITY_STREAMS;
        CHECK_EQ(plat_create(&f, in_dir("pool"), 3 * MIB, true, NULL, NULL), 0);
        CHECK_EQ(sums.sets, i == 2 ? 0 : 1);
        CHECK_EQ(sums.kind, i == 0 ? 0 : 2);
        CHECK_EQ(sums.flags, 1); /* what else was set stays */
        cm_plat_file_close(&f);
        cm_plat_file_remove(in_dir("pool"));
    }
    volume.flags = 0;
    sums.there = false;
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

/* ---- Threads ------------------------------------------------------------------------------- */

static void test_fork_count(void)
{
    CHECK_EQ(cm_plat_fork_count(), 0);
}

static const struct harness_test platform_win32_tests[] = {
    TEST(create),
    TEST(create_zeros),
    TEST(create_without_sums),
    TEST(create_size_refused),
    TEST(create_private),
    TEST(create_refused),
    TEST(fork_count),
    TEST_END,
};

static const struct harness_test *const tables[] = {
    platform_win32_tests, platform_win32_files_tests, platform_win32_identity_tests, platform_tests
};

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
