/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_volume.c - on Windows: the word that stands for a volume in the id of a file.
 *
 * Owns: the claims, which say which local volume has which serial number.
 *
 * How: the word must differ between volumes that are there side by side, and must be the same after
 * a restart. The serial number lasts, but a copy of a volume has that of the original: two servers
 * from one template, two disks from one image. So the word is made from
 *   share    serial number, and \\SERVER\SHARE. Two names of one server give two words. Below the
 *            root of a DFS namespace are links to shares of several servers, and all have the
 *            \\SERVER\SHARE of the namespace. For what is or may be there the answer is CM_ECLONE.
 *   local    the serial number. The name of the device does not last. So the first device that is
 *            seen with a serial number has it while it is there. For another one the answer is
 *            CM_ECLONE.
 *
 * Who: platform/.
 */
#include "platform/win32.h"

#include <wnnc.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

wchar_t *win32_nt_name(HANDLE h)
{
    const DWORD how = VOLUME_NAME_NT | FILE_NAME_OPENED;
    wchar_t *name = NULL;
    DWORD room = 0, n = GetFinalPathNameByHandleW(h, NULL, 0, how);

    while (n >= room && n != 0) { /* at first, and if the file was renamed meanwhile */
        free(name);
        room = n + 1;
        name = malloc(room * sizeof *name);
        if (name == NULL) {
            return NULL;
        }
        n = GetFinalPathNameByHandleW(h, name, room, how);
    }
    if (n == 0) {
        free(name);
        return NULL;
    }
    return name;
}

size_t win32_device_length(const wchar_t *nt_name)
{
    const wchar_t *end;

    if (_wcsnicmp(nt_name, L"\\Device\\", 8) != 0) {
        return 0;
    }
    end = wcschr(nt_name + 8, L'\\');
    return end == NULL ? wcslen(nt_name) : (size_t)(end - nt_name);
}

/* ---- Shares ---------------------------------------------------------------------------------- */

/* Is that a file of a server? Its name is \Device\Mup\SERVER\SHARE\PATH. If a drive letter was
 * used, words that begin with ; come before SERVER. Below another device that is ;Z: and a number:
 * no file has a colon in its name. */
static bool is_remote(const wchar_t *nt_name, size_t device)
{
    const wchar_t *first = nt_name + device;

    return (device == 11 && _wcsnicmp(nt_name, L"\\Device\\Mup", 11) == 0) ||
           (first[0] == L'\\' && first[1] == L';' && first[2] != 0 && first[3] == L':');
}

/* "SERVER\SHARE" in such a name; its length is 0 if the name has none. */
static const wchar_t *share_of(const wchar_t *nt_name, size_t device, size_t *n)
{
    const wchar_t *server = nt_name + device, *share;
    size_t length;

    *n = 0;
    while (server[0] == L'\\' && server[1] == L';') {
        server += 1 + wcscspn(server + 1, L"\\");
    }
    server += server[0] == L'\\';
    share = server + wcscspn(server, L"\\");
    length = share[0] == L'\\' ? wcscspn(share + 1, L"\\") : 0;
    if (share != server && length != 0 && share[1] != L';') { /* \DfsClient\;Z:NUMBER\... */
        *n = (size_t)(share - server) + 1 + length;
    }
    return server;
}

/* Is that in a DFS namespace, or may it be? `h` is a file or the root of a share. Each namespace
 * begins at a share of SMB, and the server says of this share that it belongs to one
 * (RPI_FLAG_SMB2_SHARECAP_DFS, [MS-SMB2] 2.2.10). SMB 1 and the structure of Windows 7 do not have
 * that word. A redirector of another protocol may not know the question. */
static bool may_be_dfs(HANDLE h)
{
    enum { SHARECAP_DFS = 8 };
    FILE_REMOTE_PROTOCOL_INFO info;

    if (!GetFileInformationByHandleEx(h, FileRemoteProtocolInfo, &info, sizeof info)) {
        const DWORD error = GetLastError();

        return error != ERROR_INVALID_PARAMETER && error != ERROR_INVALID_FUNCTION &&
               error != ERROR_NOT_SUPPORTED && error != ERROR_CALL_NOT_IMPLEMENTED;
    }
    if (info.Protocol != WNNC_NET_SMB) {
        return info.Protocol == WNNC_NET_DFS;
    }
    return info.StructureVersion < 2 || info.ProtocolMajorVersion < 2 ||
           (info.ProtocolSpecific.Smb2.Share.Capabilities & SHARECAP_DFS) != 0;
}

/* Is SERVER\SHARE the root of a DFS namespace, or may it be? A file that a link leads to says
 * nothing of that: it is on a plain share of another server. So the root is opened and asked. */
static bool may_be_namespace(const wchar_t *share, size_t n)
{
    wchar_t *root = malloc((n + 10) * sizeof *root);
    bool may_be = true;
    HANDLE h;

    if (root == NULL) {
        return true;
    }
    memcpy(root, L"\\\\?\\UNC\\", 8 * sizeof *root);
    memcpy(root + 8, share, n * sizeof *root);
    memcpy(root + 8 + n, L"\\", 2 * sizeof *root);
    h = CreateFileW(root, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h != INVALID_HANDLE_VALUE) {
        may_be = may_be_dfs(h);
        (void)CloseHandle(h);
    }
    free(root);
    return may_be;
}

/* Windows compares names without regard to case, so capitals go into the word. */
static int word_of_share(HANDLE h, const wchar_t *nt_name, size_t device, uint64_t serial,
                         uint64_t *word)
{
    size_t n;
    const wchar_t *share = share_of(nt_name, device, &n);
    wchar_t *upper;
    int rc = 0;

    if (n == 0 || may_be_dfs(h) || may_be_namespace(share, n)) {
        return CM_ECLONE;
    }
    upper = malloc(n * sizeof *upper);
    if (upper == NULL || LCMapStringEx(LOCALE_NAME_INVARIANT, LCMAP_UPPERCASE, share, (int)n, upper,
                                       (int)n, NULL, NULL, 0) != (int)n) {
        rc = CM_ENOMEM;
    } else {
        *word = XXH3_64bits_withSeed(upper, n * sizeof *upper, serial);
    }
    free(upper);
    return rc;
}

/* ---- Claims ---------------------------------------------------------------------------------- */

/* The volume at this device has the serial number. */
struct claim {
    struct claim *next;
    uint64_t serial;
    size_t length;
    wchar_t device[]; /* \Device\HarddiskVolume3 */
};

/* Guards the list: any thread may identify a file. It is held while a volume's root is opened,
 * which is needed only for a copy. */
static SRWLOCK claims_lock = SRWLOCK_INIT;
static struct claim *claims;

/* \\?\GLOBALROOT\Device\HarddiskVolume3\, to be freed; NULL: no memory. */
static wchar_t *root_of(const struct claim *c)
{
    static const wchar_t prefix[] = L"\\\\?\\GLOBALROOT";
    const size_t n = sizeof prefix / sizeof prefix[0] - 1;
    wchar_t *root = malloc((n + c->length + 2) * sizeof *root);

    if (root != NULL) {
        memcpy(root, prefix, n * sizeof *root);
        memcpy(root + n, c->device, c->length * sizeof *root);
        memcpy(root + n + c->length, L"\\", 2 * sizeof *root);
    }
    return root;
}

/* Does the error say that there is no such volume? After any other one nobody knows. */
static bool says_gone(DWORD error)
{
    return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ||
           error == ERROR_NOT_READY || error == ERROR_DEV_NOT_EXIST ||
           error == ERROR_DEVICE_NOT_CONNECTED || error == ERROR_UNRECOGNIZED_VOLUME;
}

/* Is the volume that made the claim still there? If nobody knows, no other volume gets its word. */
static bool is_alive(const struct claim *c)
{
    wchar_t *root = root_of(c);
    uint64_t word[3] = { 0, 0, 0 };
    bool alive = true;
    HANDLE h;

    if (root == NULL) {
        return true;
    }
    h = CreateFileW(root, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        alive = !says_gone(GetLastError());
    } else {
        alive = win32_file_words(h, word) == CM_EIO || word[0] == c->serial;
        (void)CloseHandle(h);
    }
    free(root);
    return alive;
}

static int claim(const wchar_t *device, size_t length, uint64_t serial)
{
    struct claim *c;

    for (struct claim **at = &claims; (c = *at) != NULL;) {
        const bool same = c->length == length && wcsncmp(c->device, device, length) == 0;

        if (c->serial == serial && same) {
            return 0;
        }
        if (c->serial == serial && is_alive(c)) {
            return CM_ECLONE;
        }
        if (c->serial == serial || same) { /* it is gone, or another volume is in its place */
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
    c = malloc(sizeof *c + length * sizeof *device);
    if (c == NULL) {
        return CM_ENOMEM;
    }
    *c = (struct claim){ .next = claims, .serial = serial, .length = length };
    memcpy(c->device, device, length * sizeof *device);
    claims = c;
    return 0;
}

int win32_volume_word(HANDLE h, const wchar_t *nt_name, uint64_t serial, uint64_t *word)
{
    const size_t device = win32_device_length(nt_name);
    int rc;

    if (device == 0) {
        return CM_ECLONE;
    }
    if (is_remote(nt_name, device)) {
        return word_of_share(h, nt_name, device, serial, word);
    }
    *word = serial;
    AcquireSRWLockExclusive(&claims_lock);
    rc = claim(nt_name, device, serial);
    ReleaseSRWLockExclusive(&claims_lock);
    return rc;
}
