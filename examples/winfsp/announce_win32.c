/* SPDX-License-Identifier: BSD-2-Clause
 *
 * announce_win32.c - says when the mount is there, on Windows.
 *
 * Owns: the thread that looks for the mount point, and the event that ends it. Who: main.c, ops.c.
 *
 * WinFsp makes the mount point in the loop, and calls nothing after that. So a thread looks. It
 * does not go through the mount point: nobody may answer there.
 */
#include "announce.h"
#include "names_win32.h"

#include <stddef.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define LOOK_MS 20

static struct {
    HANDLE thread, end;
    void (*say)(void);
    wchar_t folder[4096];
} announce;

static DWORD WINAPI look(void *arg)
{
    (void)arg;
    while (WaitForSingleObject(announce.end, LOOK_MS) == WAIT_TIMEOUT)
        if (GetFileAttributesW(announce.folder) != INVALID_FILE_ATTRIBUTES) {
            announce.say();
            break;
        }
    return 0;
}

/* Without memory for a thread nothing is said; the mount does not need it. */
void announce_begin(const char *folder, void (*say)(void))
{
    announce.say = say;
    if (!names_wide(folder, announce.folder, sizeof(announce.folder) / sizeof(*announce.folder)))
        return;
    announce.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    announce.thread = announce.end ? CreateThread(NULL, 0, look, NULL, 0, NULL) : NULL;
    if (!announce.thread && announce.end)
        CloseHandle(announce.end);
}

void announce_init(void)
{
}

void announce_end(void)
{
    if (!announce.thread)
        return;
    SetEvent(announce.end);
    WaitForSingleObject(announce.thread, INFINITE);
    CloseHandle(announce.thread);
    CloseHandle(announce.end);
    announce.thread = NULL;
}
