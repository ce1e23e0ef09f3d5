/* SPDX-License-Identifier: BSD-2-Clause
 *
 * event_log_win32.c - the log of the service in the event log of Windows.
 *
 * Owns: the handle to the event log, and the key of the event source in the registry. An event is
 * its id (event_ids.h) and the line as its one string. The texts of the ids are in this program
 * (events_win32.rc), and the key says so.
 *
 * Who: service_run_win32.c (lines), service_install_win32.c (the source).
 */
#include "event_log_win32.h"

#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "event_ids.h"
#include "service_win32.h"
#include "text_win32.h"

#define SOURCE_KEY L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\" SERVICE_NAME

static HANDLE source;

/* ---- Lines ----------------------------------------------------------------------------------- */

void event_log_begin(void)
{
    source = RegisterEventSourceW(NULL, SERVICE_NAME);
}

/* Event Viewer takes a % before a digit for the place of a string. */
static void separate_percents(wchar_t *line)
{
    for (wchar_t *p = line; *p; p++)
        if (p[0] == L'%' && p[1] >= L'0' && p[1] <= L'9')
            *p = L'\uff05'; /* FULLWIDTH PERCENT SIGN looks the same */
}

void event_log_line(enum log_weight w, const char *text)
{
    const WORD type = w == LOG_TROUBLE ? EVENTLOG_ERROR_TYPE
                      : w == LOG_WARN  ? EVENTLOG_WARNING_TYPE
                                       : EVENTLOG_INFORMATION_TYPE;
    const DWORD id = w == LOG_TROUBLE ? EVENT_TROUBLE : w == LOG_WARN ? EVENT_WARN : EVENT_NOTE;
    wchar_t *line = text_wide(text);

    if (!line)
        return;
    separate_percents(line);
    if (source)
        (void)ReportEventW(source, type, 0, id, NULL, 1, 0, (const wchar_t **)&line, NULL);
    free(line);
}

/* ---- The source ------------------------------------------------------------------------------ */

unsigned long event_log_install(const wchar_t *program)
{
    const DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    const DWORD n = (DWORD)((wcslen(program) + 1) * sizeof(*program));
    HKEY key;
    LSTATUS e = RegCreateKeyExW(HKEY_LOCAL_MACHINE, SOURCE_KEY, 0, NULL, 0, KEY_SET_VALUE, NULL,
                                &key, NULL);

    if (e != ERROR_SUCCESS)
        return (unsigned long)e;
    e = RegSetValueExW(key, L"EventMessageFile", 0, REG_EXPAND_SZ, (const BYTE *)program, n);
    if (e == ERROR_SUCCESS)
        e = RegSetValueExW(key, L"TypesSupported", 0, REG_DWORD, (const BYTE *)&types,
                           sizeof(types));
    RegCloseKey(key);
    if (e != ERROR_SUCCESS)
        (void)event_log_uninstall();
    return (unsigned long)e;
}

unsigned long event_log_uninstall(void)
{
    const LSTATUS e = RegDeleteKeyW(HKEY_LOCAL_MACHINE, SOURCE_KEY);

    return e == ERROR_FILE_NOT_FOUND ? 0 : (unsigned long)e;
}
