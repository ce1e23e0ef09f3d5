/* SPDX-License-Identifier: BSD-2-Clause
 *
 * outside_file_win32.c - the file that holds the outside writes, on Windows.
 *
 * Owns: the file and the locks on it (docs/decisions/service.md, 4 and 5). It outlives service and
 * clients; it holds nothing once none of them lives. Only its owner may use it. Nobody can delete
 * or rename it while a process has it open.
 *
 * Who: run.c, client.c.
 */
#include "outside_file.h"

#include "cachemax.h"

#include <stdio.h>
#include <string.h>

#include "os.h"
#include "pipe_files.h"

/* The byte behind the memory is locked, and says whether a client lives. */
static bool lock(HANDLE h, DWORD how)
{
    OVERLAPPED at = { .Offset = sizeof(struct outside) };

    return LockFileEx(h, how, 0, 1, 0, &at);
}

static void unlock(HANDLE h)
{
    OVERLAPPED at = { .Offset = sizeof(struct outside) };

    (void)UnlockFileEx(h, 0, 1, 0, &at);
}

/* Nobody waits for long: a service that has the lock alone only clears the memory. */
static const char *map(struct outside_file *o, bool service)
{
    bool alone = false;
    HANDLE section;

    if (service)
        alone = lock(o->handle, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY);
    else if (!lock(o->handle, 0))
        return "it cannot be locked";
    /* A shorter file gets the size. */
    section = CreateFileMappingW(o->handle, NULL, PAGE_READWRITE, 0, sizeof(struct outside), NULL);
    if (!section)
        return "there is no space for it";
    o->at = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, sizeof(struct outside));
    CloseHandle(section); /* the view keeps it */
    if (!o->at)
        return "it cannot be mapped";
    /* No client uses it. A plain store may do: the next one maps it after it got the lock. */
    if (alone)
        memset(o->at, 0, sizeof(*o->at));
    outside_give_name(o->at, (uint32_t)os_wall_ns() | 1);
    if (alone)
        unlock(o->handle);
    return service && !lock(o->handle, 0) ? "it cannot be locked" : NULL;
}

int outside_file_open(struct outside_file *o, const char *where, bool service, char why[256])
{
    const char *wrong;

    *o = (struct outside_file){ .fd = -1 };
    o->handle = pipe_file_open(where, ".writes", FILE_SHARE_READ | FILE_SHARE_WRITE, why);
    if (o->handle == INVALID_HANDLE_VALUE)
        return CM_EACCES;
    wrong = map(o, service);
    if (!wrong)
        return 0;
    snprintf(why, 256, "%.120s: the file of its writes: %s (error %lu)", where, wrong,
             (unsigned long)GetLastError());
    outside_file_close(o);
    return CM_EACCES;
}

void outside_file_follow(const struct outside_file *o, const char *where, uint64_t hash)
{
    (void)o; /* it cannot be deleted while it is open, and no name leads elsewhere */
    (void)where;
    (void)hash;
}

void outside_file_close(struct outside_file *o)
{
    if (o->at)
        UnmapViewOfFile(o->at);
    CloseHandle(o->handle); /* the lock goes with it */
    *o = (struct outside_file){ .fd = -1 };
}
