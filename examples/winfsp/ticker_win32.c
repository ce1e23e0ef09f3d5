/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ticker_win32.c - a thread that does something again and again, on Windows.
 *
 * Owns: the thread, and the event that ends it. Who: cache.c.
 */
#include "ticker.h"

#include <stddef.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static struct {
    HANDLE thread, end;
    unsigned ms;
    void (*each)(void);
} ticker;

static DWORD WINAPI tick(void *arg)
{
    (void)arg;
    do
        ticker.each();
    while (WaitForSingleObject(ticker.end, ticker.ms) == WAIT_TIMEOUT);
    return 0;
}

bool ticker_begin(unsigned ms, void (*each)(void))
{
    ticker.ms = ms;
    ticker.each = each;
    ticker.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    ticker.thread = ticker.end ? CreateThread(NULL, 0, tick, NULL, 0, NULL) : NULL;
    if (!ticker.thread && ticker.end)
        CloseHandle(ticker.end);
    return ticker.thread != NULL;
}

void ticker_end(void)
{
    if (!ticker.thread)
        return;
    SetEvent(ticker.end);
    WaitForSingleObject(ticker.thread, INFINITE);
    CloseHandle(ticker.thread);
    CloseHandle(ticker.end);
    ticker.thread = NULL;
}
