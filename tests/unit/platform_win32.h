/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_win32.h - shared by the tests of platform.h on Windows.
 */
#ifndef CM_TEST_PLATFORM_WIN32_H
#define CM_TEST_PLATFORM_WIN32_H

#include "platform_common.h"

#include <windows.h>

/* The tests of the other files. */
extern const struct harness_test platform_win32_files_tests[];
extern const struct harness_test platform_win32_identity_tests[];

/* What the system seems to have; see "The system, replaced" in test_platform_win32.c. */

/* The change journal. It answers later, and with a record of this version. */
extern struct fake_journal {
    WORD version; /* 0: there is no journal, as on Wine itself */
    uint64_t number;
    OVERLAPPED *call;
    BYTE *record;
    unsigned calls;
    bool port_spared; /* the event keeps the call out of the port */
} journal;

/* The volume has these flags and this name of its file system. Its files count as allocated as soon
 * as they have a size. */
extern struct fake_volume {
    DWORD flags;
    const wchar_t *type; /* NULL: its real one */
    bool allocates;
    uint64_t serial; /* added to its real one */
    const wchar_t *device;
    UINT drive_type; /* 0: its real one */
    bool denied;     /* new files are denied */
    DWORD end_error; /* error of setting a file's end; 0: it works */
    /* What is at the device of a volume that is looked for: an error, or a directory of a volume
     * with this serial number, added to the real one. */
    DWORD root_error;
    uint64_t root_serial;
    HANDLE root;
} volume;

/* A volume with sums of what its files hold, as ReFS has them. */
extern struct fake_sums {
    bool there;   /* else the real system is asked */
    bool refused; /* the setting stays as it is */
    WORD kind;    /* of new files; 0: none */
    DWORD flags;
    unsigned sets;
} sums;

/* What a file on a share, and the root of the share, say of the protocol (FileRemoteProtocolInfo).
 */
struct fake_remote {
    DWORD error; /* 0: they say it */
    DWORD protocol, capabilities;
    WORD structure, major; /* versions */
};
extern struct fake_share {
    struct fake_remote file, root;
    DWORD root_error; /* of opening the root */
    HANDLE opened;
    wchar_t name[64]; /* the root that was opened last */
} remote;

/* The id and the times that a file has. */
extern struct fake_origin {
    enum { ID_REAL, ID_128, ID_64 } kind; /* ID_64: the volume has no ids of 128 bits */
    uint64_t low, high;
    bool no_write_time, no_change_time;
} origin;

/* Milliseconds since the boot; 0: the real ones. */
extern uint64_t fake_ticks;

static inline HANDLE open_shared(const char *path, DWORD access, DWORD share)
{
    return CreateFileA(path, access, share, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
}

static inline void make_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* The bodies of children, started with "--child NAME ARG". */
void lock_other_process_body(const char *path);
void lock_and_die_body(const char *path);
void boot_id_body(const char *expected);
void fault_body(const char *arg);

#endif
