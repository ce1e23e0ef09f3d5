/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_win32.c - the operating system contract, against Windows (or Wine).
 *
 * Files go to a directory of their own below $TMPDIR or %TEMP%. Where a child process is needed the
 * program starts itself with "--child NAME ARG". What Wine has not (a change journal, DAX volumes,
 * read errors of a volume) is put in the place of single calls of the system, see "The system,
 * replaced".
 */
#include "platform_common.h"

#include <windows.h>

#include <aclapi.h>
#include <wchar.h>
#include <winioctl.h>

#include "persist/persist.h"
#include "platform/win32_path.h"

static unsigned open_files(void)
{
    DWORD n = 0;

    CHECK(GetProcessHandleCount(GetCurrentProcess(), &n));
    return n;
}

static HANDLE open_shared(const char *path, DWORD access, DWORD share)
{
    return CreateFileA(path, access, share, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
}

static void make_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* ---- The system, replaced ------------------------------------------------------------------ */

/* A program calls the system through pointers of these names; one that the program itself has is
 * taken before the import library's. */
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

/* The change journal: answers later, and with a record of this version. */
static struct {
    WORD version; /* 0: no such thing here, as Wine itself */
    uint64_t number;
    OVERLAPPED *call;
    BYTE *record;
    unsigned calls;
    bool port_spared; /* the event says so */
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

/* The volume: flags and a name for its file system that it has not, and files that count as
 * allocated as soon as they have a size. */
static struct {
    DWORD flags;
    const wchar_t *type; /* NULL: its own */
    bool allocates;
    uint64_t serial; /* added to its own */
    const wchar_t *device;
    UINT drive_type; /* 0: its own */
    bool denied;     /* new files are */
    DWORD end_error; /* of setting a file's end; 0: it works */
} volume;

/* What a new file is made with; not every system (Wine) keeps all of it. */
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
    if (known && what == FileIdInfo) {
        ((FILE_ID_INFO *)info)->VolumeSerialNumber += volume.serial;
    }
    return known;
}
extern const fn_GetFileInformationByHandleEx REPLACED(GetFileInformationByHandleEx);
const fn_GetFileInformationByHandleEx REPLACED(GetFileInformationByHandleEx) = get_file;

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
    CHECK_EQ(os_size(path), 3 * MIB + PAGE); /* the failed one touched nothing */
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

/* NTFS allocates with the size and writes the zeros later. A DAX volume gets them at once. */
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

/* More than the file system takes in one file is no matter of space. */
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

/* Gives access to nobody but the owner, the system and administrators. */
static void check_private(PSECURITY_DESCRIPTOR sd)
{
    static const WELL_KNOWN_SID_TYPE known[] = { WinCreatorOwnerRightsSid, WinLocalSystemSid,
                                                 WinBuiltinAdministratorsSid };
    BOOL present = FALSE, defaulted = FALSE;
    PSID owner = NULL;
    PACL acl = NULL;

    REQUIRE(GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted));
    REQUIRE(present && acl != NULL && acl->AceCount > 0); /* none would let everybody in */
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

/* Nobody gets in, and nothing of what the directory would hand down counts. */
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

/* The counterparts of the POSIX errors. */
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

/* ---- Opening ------------------------------------------------------------------------------- */

static void test_open(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char text[8] = { 0 };
    HANDLE pipe;
    unsigned handles;

    make_file(in_dir("file"), "0123456789");
    handles = open_files();
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), false), 0);
    CHECK_EQ(f.size, 10);
    CHECK(!f.readonly);
    CHECK_EQ(cm_plat_file_pread(&f, text, 4, 3), 0);
    CHECK(memcmp(text, "3456", 5) == 0);
    CHECK_EQ(cm_plat_file_pread(&f, text, 4, 7), CM_EIO);
    CHECK_EQ(cm_plat_file_pread(&f, text, 0, 99), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("missing"), false), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file/below"), false), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, "\\\\no.such.server.example\\share\\pool", true), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, dir, false), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, dir, true), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, "NUL", false), CM_ENOTFILE);
    pipe = CreateNamedPipeA("\\\\.\\pipe\\cachemax-test", PIPE_ACCESS_DUPLEX, 0, 1, 0, 0, 0, NULL);
    REQUIRE(pipe != INVALID_HANDLE_VALUE);
    CHECK_EQ(cm_plat_file_open(&f, "\\\\.\\pipe\\cachemax-test", false), CM_ENOTFILE);
    CHECK(CloseHandle(pipe));
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(open_files(), handles);
    cm_plat_file_remove(in_dir("file"));
}

static void test_open_denied(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    int rc;

    make_file(in_dir("file"), "text");
    CHECK(SetFileAttributesA(in_dir("file"), FILE_ATTRIBUTE_READONLY));
    rc = cm_plat_file_open(&f, in_dir("file"), false);
    if (rc == 0) { /* root under Wine may write everything but what the kernel itself refuses */
        cm_plat_file_close(&f);
        rc = cm_plat_file_open(&f, "Z:\\sys\\kernel\\notes", false);
    }
    CHECK_EQ(rc, CM_EACCES);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), true), 0);
    cm_plat_file_close(&f);
    CHECK(SetFileAttributesA(in_dir("file"), FILE_ATTRIBUTE_NORMAL));
    cm_plat_file_remove(in_dir("file"));
}

/* Drive, prefix, both slashes, other alphabets, and names longer than the system once allowed. */
static void test_names(void)
{
    static const char *const names[] = { "p\xc3\xb6\xc3\xb6l", "\xe6\xb1\xa0",
                                         "\xf0\x9f\x92\xbe space" };
    char full[512], path[1200];
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (unsigned form = 0; form < 3; form++) {
            (void)snprintf(path, sizeof path, "%s%s%s%s", form == 1 ? "\\\\?\\" : "",
                           form == 2 ? dir : full, form == 2 ? "/" : "\\", names[i]);
            CHECK_EQ(plat_create(&f, path, PAGE, true, NULL, NULL), 0);
            cm_plat_file_close(&f);
            CHECK_EQ(cm_plat_file_open(&f, in_dir(names[i]), true), 0);
            cm_plat_file_close(&f);
            CHECK_EQ(cm_plat_file_sync_dir(path), 0);
            cm_plat_file_remove(path);
            CHECK_EQ(cm_plat_file_open(&f, path, true), CM_ENOENT);
        }
    }
}

static void test_long_names(void)
{
    static const char part[] = "/a-name-of-fifty-characters-or-so-that-makes-it-longer";
    const size_t partlen = strlen(part);
    struct cm_plat_file f = PLAT_FILE_INIT;
    wchar_t wide[1200];
    char path[1200], full[1300];
    unsigned depth = 0;

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0);
    (void)snprintf(path, sizeof path, "\\\\?\\%s", full);
    for (; depth < 8; depth++) {
        (void)strcat(path, part);
        path[strlen(path) - partlen] = '\\';
        (void)mbstowcs(wide, path, 1200);
        REQUIRE(CreateDirectoryW(wide, NULL));
    }
    REQUIRE(strlen(path) > 300);
    (void)snprintf(full, sizeof full, "%s/pool", path + 4); /* without the prefix */
    CHECK_EQ(plat_create(&f, full, PAGE, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, full, false), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_sync_dir(full), 0);
    cm_plat_file_remove(full);
    CHECK_EQ(cm_plat_file_open(&f, full, false), CM_ENOENT);
    for (; depth > 0; depth--) {
        (void)mbstowcs(wide, path, 1200);
        CHECK(RemoveDirectoryW(wide));
        path[strlen(path) - partlen] = 0;
    }
}

/* The form that the system is given. */
static void check_form(const char *name, const wchar_t *begin, size_t length)
{
    wchar_t *form = win32_path(name);

    REQUIRE(form != NULL);
    CHECK(wcsncmp(form, begin, wcslen(begin)) == 0);
    CHECK_EQ(wcslen(form), length);
    free(form);
}

static void test_long_forms(void)
{
    char name[700], part[301];

    memset(part, 'n', 300);
    part[300] = 0;
    check_form("\\\\server\\share\\pool", L"\\\\server\\share\\pool", 19); /* short: as it is */
    check_form("C:/pool", L"C:/pool", 7);
    (void)snprintf(name, sizeof name, "\\\\server\\share\\%s\\pool", part);
    check_form(name, L"\\\\?\\UNC\\server\\share\\nnn", 8 + 13 + 300 + 5);
    (void)snprintf(name, sizeof name, "//server/share/%s/../%s", part, part);
    check_form(name, L"\\\\?\\UNC\\server\\share\\nnn", 8 + 13 + 300);
    (void)snprintf(name, sizeof name, "C:/%s/pool", part);
    check_form(name, L"\\\\?\\C:\\nnn", 4 + 3 + 300 + 5);
    (void)snprintf(name, sizeof name, "\\\\?\\C:\\%s", part);
    check_form(name, L"\\\\?\\C:\\nnn", 4 + 3 + 300);
}

/* A short name in a directory whose own is nearly as long as one may be. */
static void test_long_relative_names(void)
{
    static const char name[] = "twenty-characters.xx";
    wchar_t before[MAX_PATH], deep[MAX_PATH];
    struct cm_plat_file f = PLAT_FILE_INIT;
    char full[MAX_PATH];
    size_t n;

    REQUIRE(GetCurrentDirectoryW(MAX_PATH, before) != 0);
    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0 && strlen(full) < 200);
    n = strlen(full);
    full[n] = '\\';
    memset(full + n + 1, 'd', 240 - n - 1);
    full[240] = 0;
    (void)mbstowcs(deep, full, MAX_PATH);
    REQUIRE(CreateDirectoryW(deep, NULL) && SetCurrentDirectoryW(deep));
    check_form(name, L"\\\\?\\", 4 + 240 + 1 + 20);
    check_form("a", L"a", 1);
    CHECK_EQ(plat_create(&f, name, PAGE, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, name, false), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_sync_dir(name), 0);
    cm_plat_file_remove(name);
    CHECK_EQ(cm_plat_file_open(&f, name, false), CM_ENOENT);
    CHECK(SetCurrentDirectoryW(before));
    CHECK(RemoveDirectoryW(deep));
}

/* By a share: of this machine itself, where it has one. */
static void test_share(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char full[300], path[400];

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0 && full[1] == ':');
    (void)snprintf(path, sizeof path, "\\\\localhost\\%c$\\", full[0]);
    if (GetFileAttributesA(path) == INVALID_FILE_ATTRIBUTES) {
        SKIP("no share \\\\localhost\\c$ here");
    }
    for (unsigned form = 0; form < 2; form++) {
        (void)snprintf(path, sizeof path, "%slocalhost\\%c$%s\\pool",
                       form ? "\\\\?\\UNC\\" : "\\\\", full[0], full + 2);
        CHECK_EQ(plat_create(&f, path, PAGE, true, NULL, NULL), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(cm_plat_file_open(&f, in_dir("pool"), true), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(cm_plat_file_open(&f, path, false), 0);
        CHECK_EQ(cm_plat_file_lock(&f), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(cm_plat_file_sync_dir(path), 0);
        cm_plat_file_remove(path);
        CHECK_EQ(os_size(in_dir("pool")), -1);
    }
}

/* ---- Locking ------------------------------------------------------------------------------- */

static void lock_other_process_body(const char *path)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(cm_plat_file_open(&f, path, false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 1);
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&f, path, true) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 1); /* also for one that may only read */
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
}

static void lock_and_die_body(const char *path)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(cm_plat_file_open(&f, path, false) == 0);
    REQUIRE(cm_plat_file_lock(&f) == 0);
    (void)TerminateProcess(GetCurrentProcess(), 9);
}

static void test_lock(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    char first[4] = { 0 };

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 0); /* by another, that is */
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&g), 1);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK_EQ(cm_plat_file_pread(&g, first, 4, 0), 0); /* to say who the owner is */
    CHECK_EQ(os_run_self("lock_other_process", in_dir("pool")), 0);
    cm_plat_file_close(&g);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* it has it already */
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), true) == 0);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), true) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* two who only look */
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    cm_plat_file_close(&g);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    cm_plat_file_close(&g);
    CHECK_EQ(os_run_self("lock_and_die", in_dir("pool")), 9);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* died with its owner */
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* Other programs may read a pool beside its owner, and not write it; and what they hold open
 * keeps an owner out. */
static void test_sharing(void)
{
    const DWORD all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    struct cm_plat_file f = PLAT_FILE_INIT;
    HANDLE h;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    h = open_shared(in_dir("pool"), GENERIC_READ, all);
    CHECK(h != INVALID_HANDLE_VALUE);
    CHECK(CloseHandle(h));
    CHECK(open_shared(in_dir("pool"), GENERIC_WRITE, all) == INVALID_HANDLE_VALUE);
    CHECK_EQ(GetLastError(), ERROR_SHARING_VIOLATION);
    CHECK(!DeleteFileA(in_dir("pool")));
    cm_plat_file_close(&f);
    h = open_shared(in_dir("pool"), GENERIC_READ | GENERIC_WRITE, 0);
    REQUIRE(h != INVALID_HANDLE_VALUE);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("pool"), false), CM_EOWNED); /* not even to look */
    CHECK_EQ(cm_plat_file_open(&f, in_dir("pool"), true), CM_EOWNED);
    CHECK(CloseHandle(h));
    h = open_shared(in_dir("pool"), GENERIC_WRITE, all); /* somebody who holds no lock */
    REQUIRE(h != INVALID_HANDLE_VALUE);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
    CHECK(CloseHandle(h));
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* What a virus scanner does: opens the file so that nobody else gets in, and is gone soon. */
struct scanner {
    const char *path;
    DWORD share;
    uint32_t there;
};

static void *scan(void *arg)
{
    struct scanner *s = arg;
    const HANDLE h = open_shared(s->path, GENERIC_READ, s->share);

    CHECK(h != INVALID_HANDLE_VALUE);
    at_store_release(&s->there, 1u);
    sleep_ms(120);
    CHECK(CloseHandle(h));
    return NULL;
}

static void scan_while(struct scanner *s, pthread_t *thread)
{
    s->there = 0;
    REQUIRE(pthread_create(thread, NULL, scan, s) == 0);
    while (at_load_acquire(&s->there) == 0) {
        at_pause();
    }
}

static void test_passing_opens(void)
{
    static const DWORD shares[] = { 0, FILE_SHARE_READ, FILE_SHARE_READ | FILE_SHARE_DELETE };
    struct scanner s = { .path = in_dir("pool") };
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    uint64_t began;
    pthread_t thread;

    REQUIRE(plat_create(&f, s.path, PAGE, true, NULL, NULL) == 0);
    began = cm_plat_now_ns();
    REQUIRE(cm_plat_file_open(&g, s.path, false) == 0); /* the owner does not pass: at once */
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK(cm_plat_now_ns() - began < 300000000);
    cm_plat_file_close(&g);
    cm_plat_file_close(&f);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        s.share = shares[i];
        scan_while(&s, &thread);
        CHECK_EQ(cm_plat_file_open(&f, s.path, false), 0);
        CHECK_EQ(cm_plat_file_lock(&f), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        scan_while(&s, &thread);
        CHECK_EQ(cm_plat_file_open(&f, s.path, true), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    s.share = 0;
    scan_while(&s, &thread);
    cm_plat_file_remove(s.path);
    CHECK_EQ(os_size(s.path), -1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- Mapping ------------------------------------------------------------------------------- */

static void test_map_leaves_nothing_behind(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;
    unsigned handles;

    REQUIRE(plat_create(&f, in_dir("pool"), MIB + PAGE, false, NULL, NULL) == 0);
    cm_plat_file_close(&f);
    handles = open_files();
    for (unsigned i = 0; i < 100; i++) {
        REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
        REQUIRE(cm_plat_file_map(&f, 1024ull * MIB, &durability) == 0);
        cm_plat_file_close(&f);
    }
    CHECK_EQ(open_files(), handles);
    /* 100 GiB of address space that stayed would show as a file that cannot be deleted, too. */
    CHECK(DeleteFileA(in_dir("pool")));
}

static void test_map_protection(void)
{
    MEMORY_BASIC_INFORMATION page;
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;

    make_file(in_dir("file"), "some text");
    for (int readonly = 0; readonly < 2; readonly++) {
        REQUIRE(cm_plat_file_open(&f, in_dir("file"), readonly) == 0);
        REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
        REQUIRE(VirtualQuery(f.base, &page, sizeof page) != 0);
        CHECK_EQ(page.Protect, readonly ? PAGE_READONLY : PAGE_READWRITE);
        CHECK(memcmp(f.base, "some text", 9) == 0);
        cm_plat_file_close(&f);
    }
    make_file(in_dir("file"), "");
    REQUIRE(cm_plat_file_open(&f, in_dir("file"), false) == 0);
    CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), CM_EIO); /* nothing to map */
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("file"));
}

/* What raises SIGBUS elsewhere cannot happen: nobody may cut off what is mapped. */
static void test_cut_refused(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;

    make_file(in_dir("file"), "some text");
    REQUIRE(cm_plat_file_open(&f, in_dir("file"), true) ==
            0); /* an owner lets nobody write at all */
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    CHECK_EQ(os_resize(in_dir("file"), 2), -1);
    CHECK_EQ(os_size(in_dir("file")), 9);
    cm_plat_file_close(&f);
    CHECK_EQ(os_resize(in_dir("file"), 2), 0);
    cm_plat_file_remove(in_dir("file"));
}

static void test_durability(void)
{
    const char *expected = getenv("CM_TEST_DURABILITY"); /* of the test directory, as a number */
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    printf("# durability of %s: %d\n", dir, (int)durability);
    CHECK_EQ(durability, expected != NULL ? atoi(expected) : CM_DURABILITY_PAGECACHE);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

static void test_sync_dir(void)
{
    CHECK_EQ(cm_plat_file_sync_dir(in_dir("anything")), 0);
    CHECK_EQ(cm_plat_file_sync_dir("anything"), 0);
    CHECK_EQ(cm_plat_file_sync_dir("C:\\anything"), 0);
    CHECK_EQ(cm_plat_file_sync_dir(in_dir("no/such")), CM_ENOENT);
    cm_plat_file_remove(in_dir("missing")); /* nothing to remove: no harm */
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

/* The same for all files of a volume and as long as it stays; nobody else's. */
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
    cm_validator va, vb, vc;
    const uint64_t before = cm_plat_now_ns();

    make_file(in_dir("a"), "one");
    make_file(in_dir("c"), "one");
    CHECK_EQ(identify(in_dir("a"), &a, &va), 0);
    CHECK(va.taken_at >= before && va.taken_at <= cm_plat_now_ns());
    CHECK_EQ(va.size, 3);
    CHECK_EQ(va.reserved, 0);
    CHECK(a.hi != 0 || a.lo != 0);
    CHECK(va.mtime_ns / 1000000000 - cm_plat_wall_ns() / 1000000000 <= 1);
    CHECK(cm_plat_wall_ns() / 1000000000 - va.mtime_ns / 1000000000 <= 60);
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
    cm_validator v;

    REQUIRE(nul != INVALID_HANDLE_VALUE && folder != INVALID_HANDLE_VALUE &&
            CreatePipe(&read_end, &write_end, NULL, 0));
    CHECK_EQ(cm_identify(-1, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(0, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(0x7ffffff0, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)nul, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)folder, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)read_end, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)folder, NULL, &v), CM_EINVAL);
    CHECK_EQ(cm_identify((intptr_t)folder, &id, NULL), CM_EINVAL);
    CHECK(CloseHandle(nul) && CloseHandle(folder) && CloseHandle(read_end) &&
          CloseHandle(write_end));
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

static void test_identify_racy(void)
{
    cm_file_id id;
    cm_validator v;
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
    sleep_ms(50); /* the change is old again, the write lies ahead */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 1);
    set_written(in_dir("a"), -3600);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 1); /* for its change alone */
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
    for (unsigned i = 0; i < 100 && v.racy != 0; i++) { /* its change is young still */
        sleep_ms(50);
        CHECK_EQ(identify(path, &id, &v), 0);
    }
    CHECK_EQ(v.racy, 0);
}

/* Who has it open for writing may write behind the same times; when he is gone, they have moved. */
static void test_identify_writer(void)
{
    static const DWORD writing[] = { GENERIC_WRITE, FILE_APPEND_DATA,
                                     GENERIC_READ | GENERIC_WRITE };
    const DWORD all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    cm_validator v;
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
    CHECK_EQ(v.racy, CM_RACY_WRITER); /* no handle, and yet */
    CHECK(UnmapViewOfFile(view));
    h = open_shared(in_dir("a"), GENERIC_READ, all); /* readers are nobody's trouble */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    CHECK(CloseHandle(h));
    CHECK_EQ(open_files(), handles);
    cm_plat_file_remove(in_dir("a"));
}

/* A handle for overlapped calls: the answer of the journal is waited for, and its port hears of
 * nothing. */
static void test_identify_overlapped(void)
{
    DWORD n = 0;
    ULONG_PTR key = 0;
    OVERLAPPED *packet = NULL;
    cm_file_id id, same;
    cm_validator v, w;
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
        CHECK_EQ(v.change, journal.number);
    }
    journal.version = 4; /* unknown: the time of birth instead */
    CHECK_EQ(cm_identify((intptr_t)h, &id, &v), 0);
    CHECK(same_version(&v, &w));
    journal.version = 0;
    CHECK_EQ(open_files(), handles);
    CHECK(!GetQueuedCompletionStatus(port, &n, &key, &packet, 0));
    CHECK_EQ(GetLastError(), WAIT_TIMEOUT);
    CHECK(CloseHandle(h) && CloseHandle(port));
    cm_plat_file_remove(in_dir("a"));
}

/* ---- Faults -------------------------------------------------------------------------------- */

static LONG fault_seen; /* by the handlers below */
static uint8_t *fault_page;

/* What unreadable media raises, made of what a forbidden page raises. */
static LONG CALLBACK turn_into_page_error(EXCEPTION_POINTERS *fault)
{
    if (fault->ExceptionRecord->ExceptionCode == EXCEPTION_ACCESS_VIOLATION &&
        fault->ExceptionRecord->ExceptionInformation[1] == (ULONG_PTR)fault_page) {
        fault->ExceptionRecord->ExceptionCode = (DWORD)EXCEPTION_IN_PAGE_ERROR;
        fault->ExceptionRecord->NumberParameters = 3;
        fault->ExceptionRecord->ExceptionInformation[2] = 0xc000009c; /* a bad block */
        fault_seen++;
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

/* Somebody else's handler, after the guard's: makes the page accessible and tries again. */
static LONG CALLBACK repair_page(EXCEPTION_POINTERS *fault)
{
    DWORD old;

    if (fault->ExceptionRecord->ExceptionCode != EXCEPTION_ACCESS_VIOLATION ||
        fault->ExceptionRecord->ExceptionInformation[1] != (ULONG_PTR)fault_page) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    fault_seen++;
    return VirtualProtect(fault_page, PAGE, PAGE_READWRITE, &old) ? EXCEPTION_CONTINUE_EXECUTION
                                                                  : EXCEPTION_CONTINUE_SEARCH;
}

static void test_page_errors_are_errors(void)
{
    uint64_t v = 0;
    void *handler;

    fault_page = cm_plat_alloc(64 * PAGE);
    REQUIRE(fault_page != NULL && cm_guard_add(fault_page, PAGE) == 0);
    handler = AddVectoredExceptionHandler(1, turn_into_page_error);
    REQUIRE(handler != NULL);
    os_protect(fault_page, PAGE, OS_NOTHING);
    fault_seen = 0;
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)fault_page, &v), CM_EIO);
    CHECK_EQ(fault_seen, 1);
    CHECK_EQ(RemoveVectoredExceptionHandler(handler) != 0, 1);
    cm_guard_remove(fault_page);
    cm_plat_free(fault_page, 64 * PAGE);
}

static void test_other_faults_reach_their_handler(void)
{
    uint64_t v = 1;
    void *handler;

    fault_page = cm_plat_alloc(64 * PAGE);
    REQUIRE(fault_page != NULL && cm_guard_add(fault_page, PAGE) == 0);
    handler = AddVectoredExceptionHandler(0, repair_page);
    REQUIRE(handler != NULL);
    fault_seen = 0;
    os_protect(fault_page, PAGE, OS_NOTHING);
    CHECK_EQ(*(volatile uint8_t *)fault_page, 0); /* the address is registered, not the code */
    CHECK_EQ(fault_seen, 1);
    os_protect(fault_page, PAGE, OS_NOTHING);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)fault_page, &v), CM_EIO);
    CHECK_EQ(fault_seen, 1); /* the guard's own is nobody else's business */
    cm_guard_remove(fault_page);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)fault_page, &v), 0);
    CHECK_EQ(fault_seen, 2); /* the code is the guard's, the address nobody's */
    CHECK_EQ(v, 0);
    CHECK_EQ(RemoveVectoredExceptionHandler(handler) != 0, 1);
    cm_plat_free(fault_page, 64 * PAGE);
}

static void fault_body(const char *arg)
{
    uint8_t *p = cm_plat_alloc(64 * PAGE);

    (void)arg;
    REQUIRE(p != NULL && cm_guard_add(p, PAGE) == 0);
    (void)SetErrorMode(SEM_NOGPFAULTERRORBOX);
    os_protect(p, PAGE, OS_NOTHING);
    *(volatile uint8_t *)p = 1; /* the end */
}

static void test_other_faults_are_fatal_without_one(void)
{
    CHECK_EQ((DWORD)os_run_self("fault", ""), EXCEPTION_ACCESS_VIOLATION);
}

/* ---- Threads ------------------------------------------------------------------------------- */

static void test_fork_count(void)
{
    CHECK_EQ(cm_plat_fork_count(), 0);
}

static const struct harness_test tests[] = {
    TEST(create),
    TEST(create_zeros),
    TEST(create_size_refused),
    TEST(create_private),
    TEST(create_refused),
    TEST(create_progress_and_cancel),
    TEST(open),
    TEST(open_denied),
    TEST(names),
    TEST(long_names),
    TEST(long_forms),
    TEST(long_relative_names),
    TEST(share),
    TEST(lock),
    TEST(sharing),
    TEST(passing_opens),
    TEST(map_alignment),
    TEST(map_leaves_nothing_behind),
    TEST(map_protection),
    TEST(cut_refused),
    TEST(durability),
    TEST(sync_dir),
    TEST(boot_id),
    TEST(mount_id),
    TEST(identify_same_and_different),
    TEST(identify_refused),
    TEST(identify_racy),
    TEST(identify_writer),
    TEST(identify_overlapped),
    TEST(random),
    TEST(clocks),
    TEST(alloc),
    TEST(wait_and_wake),
    TEST(thread),
    TEST(page_errors_are_errors),
    TEST(other_faults_reach_their_handler),
    TEST(other_faults_are_fatal_without_one),
    TEST(fork_count),
};

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
    rc = HARNESS_MAIN(tests, argc, argv);
    if (!os_remove_dir(dir)) {
        printf("# left behind: %s\n", dir);
        rc = 1;
    }
    return rc;
}
