/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_identity.c - on Windows: the identity of the boot, of a mount, and of a file.
 *
 * Owns only calls, no state.
 *
 * BOOT   The system's boot time as it was first set (later changes of the clock do not move it),
 * and its count of boots. A resume from hibernation (and "fast startup") is no new boot.
 * MOUNT  The volume's serial number and the name of its device. A disk that is removed and comes
 * back gets another name. A volume that was dismounted by force keeps both, so such a pool counts
 * as warm: Linux before 6.8 has the same limit. A removable volume is never the same.
 * FILES  Volume and file id. Ids may be reused. A time of birth can be set, and a successor of the
 * same name may inherit it, so it counts for the validator and not for the id. The change counter
 * is the number of the file's last record in the volume's journal, else the time of birth. All that
 * is the file's: its named streams have the same, so they are refused, and so are the files of a
 * shadow copy, which are those of the volume.
 * WRITERS  A write need not move the times or the journal until the writer's handle is closed (for
 * stores through a mapping, until much later). So a validator is racy while a process has the file
 * open for writing. An open that denies writing detects that.
 *
 * Who: api/, objects/, platform/, state/.
 */
#include "platform/win32.h"

#include <bcrypt.h>
#include <winioctl.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define NS_PER_S INT64_C(1000000000)
#define FILETIME_1970 UINT64_C(116444736000000000)

/* The system counts 100 ns from 1601; this gives ns since 1970. Right from 1678 to 2262. */
static int64_t time_ns(uint64_t filetime)
{
    return (int64_t)((filetime - FILETIME_1970) * 100);
}

static void hash_to_id(const uint64_t *words, size_t n, uint8_t id[16])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(words, n * sizeof *words));
    memcpy(id, canonical.digest, 16);
}

/* ---- Boot ---------------------------------------------------------------------------------- */

/* SystemTimeOfDayInformation: the fields needed here (see any list of the native API). */
struct time_of_day {
    LARGE_INTEGER boot_time, current_time, zone_bias;
    ULONG zone_id, reserved;
    ULONGLONG boot_time_bias; /* how far later changes of the clock moved boot_time */
    ULONGLONG sleep_time_bias;
};

static uint64_t original_boot_time(void)
{
    typedef LONG(NTAPI * query_fn)(int, PVOID, ULONG, PULONG);
    const query_fn query = (query_fn)(void *)win32_find(L"ntdll.dll", "NtQuerySystemInformation");
    struct time_of_day t;

    memset(&t, 0, sizeof t);
    if (query == NULL || query(3, &t, sizeof t, NULL) < 0) {
        return 0;
    }
    return (uint64_t)t.boot_time.QuadPart - t.boot_time_bias;
}

/* The number of the boot; 0 if the system does not count boots. */
static uint64_t boot_count(void)
{
    DWORD count = 0, n = sizeof count;

    if (RegGetValueW(HKEY_LOCAL_MACHINE,
                     L"SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management\\"
                     L"PrefetchParameters",
                     L"BootId", RRF_RT_REG_DWORD, NULL, &count, &n) != ERROR_SUCCESS) {
        return 0;
    }
    return count;
}

void cm_plat_boot_id(uint8_t id[16])
{
    const uint64_t words[2] = { original_boot_time(), boot_count() };

    memset(id, 0, 16);
    if (words[0] != 0) {
        hash_to_id(words, 2, id);
    }
}

/* The clock may have been set forward since the boot, or may have gone on while a virtual machine
 * stood still: so what it showed at the boot counts, if that is earlier. */
int64_t cm_plat_boot_wall_ns(void)
{
    const int64_t boot = cm_plat_wall_ns() - (int64_t)GetTickCount64() * 1000000; /* with sleep */
    const uint64_t shown = original_boot_time();
    const int64_t first = shown == 0 ? boot : time_ns(shown);

    return first < boot ? first : boot;
}

/* ---- Volumes ------------------------------------------------------------------------------- */

/* A hash of "\Device\HarddiskVolume3" in "\Device\HarddiskVolume3\dir\file"; 0 if unknown. */
static uint64_t device_of(HANDLE h)
{
    wchar_t *name = win32_nt_name(h);
    const size_t n = name == NULL ? 0 : win32_device_length(name);
    const uint64_t hash = n == 0 ? 0 : XXH3_64bits(name, n * sizeof *name);

    free(name);
    return hash;
}

/* Is the volume fixed, so that it cannot be pulled out while the system runs? */
static bool is_fixed(HANDLE h)
{
    wchar_t *slash;
    const DWORD n = GetFinalPathNameByHandleW(h, NULL, 0, VOLUME_NAME_DOS);
    wchar_t *path = n == 0 ? NULL : malloc((n + 1) * sizeof *path);
    wchar_t *name = n == 0 ? NULL : malloc((n + 2) * sizeof *name);
    bool fixed = false;

    if (path != NULL && name != NULL &&
        GetFinalPathNameByHandleW(h, path, n + 1, VOLUME_NAME_DOS) != 0 &&
        GetVolumePathNameW(path, name, n + 2)) {
        slash = name + wcslen(name);
        fixed = slash > name && GetDriveTypeW(name) == DRIVE_FIXED;
    }
    free(path);
    free(name);
    return fixed;
}

void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    uint64_t words[2] = { 0, 0 };
    FILE_ID_INFO info;

    memset(id, 0, 16);
    if (!is_fixed(win32_handle(f))) {
        return;
    }
    if (GetFileInformationByHandleEx(win32_handle(f), FileIdInfo, &info, sizeof info)) {
        words[0] = info.VolumeSerialNumber;
    }
    words[1] = device_of(win32_handle(f));
    if (words[1] != 0) {
        hash_to_id(words, 2, id);
    }
}

/* ---- Files --------------------------------------------------------------------------------- */

/* Is that no id? [MS-FSCC] 2.1.9 and 2.1.10: 0, the file system has none; all ones, it has none for
 * this file. An id of 64 bits has zeros in its upper half. */
static bool is_no_id(uint64_t low, uint64_t high)
{
    return (low == 0 && high == 0) || (low == UINT64_MAX && (high == 0 || high == UINT64_MAX));
}

int win32_file_words(HANDLE h, uint64_t word[3])
{
    BY_HANDLE_FILE_INFORMATION old;
    FILE_ID_INFO info;

    if (GetFileInformationByHandleEx(h, FileIdInfo, &info, sizeof info)) {
        word[0] = info.VolumeSerialNumber;
        memcpy(&word[1], &info.FileId, 16);
    } else if (GetFileInformationByHandle(h, &old)) { /* FAT, some servers */
        word[0] = old.dwVolumeSerialNumber;
        word[1] = (uint64_t)old.nFileIndexHigh << 32 | old.nFileIndexLow;
        word[2] = 0;
    } else {
        return CM_EIO;
    }
    return is_no_id(word[1], word[2]) ? CM_ENOTFILE : 0;
}

int win32_name_refused(const wchar_t *nt_name)
{
    static const wchar_t copy[] = L"\\Device\\HarddiskVolumeShadowCopy", whole[] = L"::$DATA";
    const wchar_t *last = wcsrchr(nt_name, L'\\');
    const wchar_t *colon = wcschr(last == NULL ? nt_name : last, L':');

    if (colon != NULL && _wcsicmp(colon, whole) != 0) {
        return CM_ENOTFILE;
    }
    return _wcsnicmp(nt_name, copy, sizeof copy / sizeof copy[0] - 1) == 0 ? CM_ECLONE : 0;
}

bool win32_may_be_another(const wchar_t *type, bool named)
{
    static const wchar_t *const reused[] = { L"FAT", L"FAT12", L"FAT16", L"FAT32", L"exFAT" };
    static const wchar_t *const lasting[] = { L"NTFS", L"ReFS", L"CSVFS" };

    for (size_t i = 0; i < sizeof reused / sizeof reused[0]; i++) {
        if (_wcsicmp(type, reused[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++) {
        if (_wcsicmp(type, lasting[i]) == 0) {
            return false;
        }
    }
    return !named;
}

/* Could another file have the same id, size and times after a restart? A type that cannot be known
 * is none of those that are. */
static bool may_be_another(HANDLE h, const cm_identify_options *o)
{
    wchar_t type[MAX_PATH + 1] = L"";

    if (!GetVolumeInformationByHandleW(h, NULL, 0, NULL, NULL, NULL, type, MAX_PATH + 1)) {
        type[0] = 0;
    }
    return win32_may_be_another(type, o->volume_id != NULL);
}

/* DeviceIoControl for a handle of either kind. A handle for overlapped calls may belong to a
 * completion port. The lowest bit of the event keeps this call out of that port. */
static bool control(HANDLE h, DWORD code, void *in, DWORD in_len, void *out, DWORD out_len,
                    DWORD *n)
{
    const HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    OVERLAPPED call = { .hEvent = (HANDLE)((ULONG_PTR)event | 1) };
    bool done;

    if (event == NULL) {
        return false;
    }
    done = DeviceIoControl(h, code, in, in_len, out, out_len, n, &call) != 0;
    if (!done && GetLastError() == ERROR_IO_PENDING) {
        done = GetOverlappedResult(h, &call, n, TRUE) != 0;
    }
    (void)CloseHandle(event);
    return done;
}

/* The number of the file's last record in its volume's journal; 0 if there is none. */
static uint64_t journal_number(HANDLE h)
{
    static const WORD versions[2] = { 2, 3 };
    /* USN_RECORD_V2 or _V3: length, version, ids, number, and a name of up to 255 characters. */
    _Alignas(8) uint8_t record[80 + 2 * MAX_PATH];
    WORD version = 0;
    DWORD n = 0;
    int64_t number = 0;

    if (!control(h, FSCTL_READ_FILE_USN_DATA, (void *)(uintptr_t)versions, sizeof versions, record,
                 sizeof record, &n) ||
        n < 48) {
        return 0;
    }
    memcpy(&version, record + 4, sizeof version);
    if (version == 2 || version == 3) {
        memcpy(&number, record + (version == 2 ? 24 : 40), sizeof number);
    }
    return (uint64_t)number;
}

/* May this handle itself write? True also if that cannot be known. */
static bool may_write(HANDLE h)
{
    typedef LONG(NTAPI * query_fn)(HANDLE, PVOID, PVOID, ULONG, int);
    const query_fn query = (query_fn)(void *)win32_find(L"ntdll.dll", "NtQueryInformationFile");
    ULONG_PTR status[2]; /* IO_STATUS_BLOCK */
    ACCESS_MASK access = 0;

    return query == NULL || query(h, status, &access, sizeof access, 8 /* access */) < 0 ||
           (access & (FILE_WRITE_DATA | FILE_APPEND_DATA)) != 0;
}

/* Does a process have the file open, or mapped, for writing? Then an open that denies writing is
 * refused. A handle that may write itself is such a writer. If the file cannot be opened again
 * (rights given up meanwhile, some servers), the answer is unknown, which counts as yes. */
static bool may_have_writer(HANDLE h)
{
    HANDLE again;

    if (may_write(h)) {
        return true;
    }
    again = ReOpenFile(h, FILE_READ_DATA, FILE_SHARE_READ | FILE_SHARE_DELETE, 0);
    if (again == INVALID_HANDLE_VALUE) {
        return true;
    }
    (void)CloseHandle(again);
    return false;
}

/* A timestamp that is not older than the clock's granularity may hide a second change. So a time of
 * the present `tick` is racy, and a time of the last 20 ms. `tick` is of the clock that files get
 * their times from; that clock may stand still in a virtual machine. Whole seconds hint at FAT
 * (even seconds). A stamp from the future proves nothing. */
bool win32_times_are_racy(uint64_t written, uint64_t changed, uint64_t now, uint64_t tick)
{
    const bool coarse = written % 10000000 == 0 && changed % 10000000 == 0;
    const uint64_t granule = 200000 + (coarse ? 20000000 : 0);
    const uint64_t latest = now + 10000000;

    return written > latest || changed > latest || written + granule >= now ||
           changed + granule >= now || written >= tick || changed >= tick;
}

static uint64_t filetime_tick(void)
{
    FILETIME t;

    GetSystemTimeAsFileTime(&t);
    return (uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime;
}

static uint64_t filetime_now(void)
{
    FILETIME t;

    GetSystemTimePreciseAsFileTime(&t);
    return (uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime;
}

/* The word that stands for the volume in an id, from the caller's name for it, or from the serial
 * number that *word has. CM_ENOTFILE: a named stream. CM_ECLONE: a file of a shadow copy, or of a
 * copy of a volume, and its volume has no name. CM_ENOMEM. */
static int volume_word(HANDLE h, const cm_identify_options *o, uint64_t *word)
{
    wchar_t *name = win32_nt_name(h);
    int rc = name == NULL ? CM_ECLONE : win32_name_refused(name);

    if (o->volume_id != NULL) {
        *word = XXH3_64bits(o->volume_id, strlen(o->volume_id));
        rc = rc == CM_ECLONE ? 0 : rc;
    } else if (rc == 0) {
        rc = win32_volume_word(h, name, *word, word);
    }
    free(name);
    return rc;
}

/* The id, which is a hash of volume and file. CM_ENOTFILE CM_ECLONE CM_ENOMEM CM_EIO. */
static int make_id(HANDLE h, const cm_identify_options *o, cm_file_id *id)
{
    uint64_t word[3] = { 0, 0, 0 };
    XXH128_hash_t hash;
    int rc = win32_file_words(h, word);

    rc = rc != 0 ? rc : volume_word(h, o, &word[0]);
    if (rc != 0) {
        return rc;
    }
    hash = XXH3_128bits(word, sizeof word);
    *id = (cm_file_id){ .hi = hash.high64, .lo = hash.low64 };
    if (id->hi == 0 && id->lo == 0) {
        id->lo = 1;
    }
    return 0;
}

/* What proves the file unchanged, and CM_RACY_VOLUME if this does not last. A file system may leave
 * out times (0). Without the time of the last write a change of equal size does not show. Without
 * the time of the change, and without a journal, it does not show if the program set the time of
 * the last write back. And nobody knows whether the file changed since the boot: changed_ns is 0.
 */
static void make_proof(HANDLE h, uint64_t size, const FILE_BASIC_INFO *t, cm_validator *v)
{
    const uint64_t written = (uint64_t)t->LastWriteTime.QuadPart;
    const uint64_t changed = (uint64_t)t->ChangeTime.QuadPart;
    const uint64_t number = journal_number(h);

    cm_plat_validator(v, size, written != 0 ? time_ns(written) : 0,
                      changed != 0 ? time_ns(changed) : 0,
                      number != 0 ? number : (uint64_t)t->CreationTime.QuadPart);
    if (changed == 0) {
        v->changed_ns = 0;
    }
    if (written == 0 || (changed == 0 && number == 0)) {
        v->racy |= CM_RACY_VOLUME;
    }
}

int cm_plat_identify(intptr_t os_file, const cm_identify_options *o, cm_file_id *id,
                     cm_validator *v)
{
    const HANDLE h = (HANDLE)os_file;
    const uint64_t taken_at = cm_plat_now_ns();
    const uint64_t tick = filetime_tick(), wall = filetime_now();
    FILE_STANDARD_INFO size;
    FILE_BASIC_INFO times;
    bool written;
    int rc;

    if (id == NULL || v == NULL || h == NULL || h == INVALID_HANDLE_VALUE ||
        GetFileType(h) == FILE_TYPE_UNKNOWN) {
        return CM_EINVAL;
    }
    if (GetFileType(h) != FILE_TYPE_DISK ||
        !GetFileInformationByHandleEx(h, FileStandardInfo, &size, sizeof size) || size.Directory) {
        return CM_ENOTFILE; /* a volume or a disk: a change of its content shows nowhere */
    }
    rc = make_id(h, o, id);
    if (rc != 0) {
        return rc;
    }
    /* Ask before reading the times: later the writer may be gone, and the times have moved. */
    written = !(o->flags & CM_IDENTIFY_SOLE_WRITER) && may_have_writer(h);
    if (!GetFileInformationByHandleEx(h, FileStandardInfo, &size, sizeof size) ||
        !GetFileInformationByHandleEx(h, FileBasicInfo, &times, sizeof times)) {
        return CM_EIO;
    }
    make_proof(h, (uint64_t)size.EndOfFile.QuadPart, &times, v);
    v->taken_at = taken_at;
    v->racy |= written ? CM_RACY_WRITER : 0;
    if (win32_times_are_racy((uint64_t)times.LastWriteTime.QuadPart,
                             (uint64_t)times.ChangeTime.QuadPart, wall, tick)) {
        v->racy |= CM_RACY_TIMES;
    }
    if (may_be_another(h, o)) {
        v->racy |= CM_RACY_VOLUME;
    }
    return 0;
}

uint32_t cm_plat_pid(void)
{
    return GetCurrentProcessId();
}

void cm_plat_refuses(char why[PLAT_WHY])
{
    why[0] = '\0';
}

int cm_plat_random(void *buf, size_t n)
{
    uint8_t *to = buf;

    while (n > 0) {
        const ULONG step = n < (1u << 30) ? (ULONG)n : 1u << 30;

        if (BCryptGenRandom(NULL, to, step, BCRYPT_USE_SYSTEM_PREFERRED_RNG) < 0) {
            return CM_EIO;
        }
        to += step;
        n -= step;
    }
    return 0;
}

int64_t cm_plat_wall_ns(void)
{
    return time_ns(filetime_now());
}
