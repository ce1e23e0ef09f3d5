/* SPDX-License-Identifier: BSD-2-Clause
 *
 * service_scm_win32.h - what the commands for the service manager of Windows share.
 */
#ifndef CACHEMAX_SERVICE_SCM_WIN32_H
#define CACHEMAX_SERVICE_SCM_WIN32_H

#include <stdbool.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winsvc.h>

/* Prints what could not be done, why, and what helps. Returns the exit status. */
int scm_failed(const char *what, DWORD error);

struct scm {
    SC_HANDLE manager;
    SC_HANDLE service; /* NULL: it is not installed */
    char *file;        /* its configuration file, in UTF-8 */
};
/* Opens the manager, and the service if it is installed, with these access rights of the system.
 * False: *status is the exit status, and why is printed; nothing is open. */
bool scm_open(struct scm *m, DWORD manager, DWORD service, int *status);
void scm_close(struct scm *m);

/* Both print what they did. The handle has the rights SERVICE_SCM_CONTROL. */
#define SERVICE_SCM_CONTROL (SERVICE_START | SERVICE_STOP | SERVICE_QUERY_STATUS)
int scm_start(SC_HANDLE service);
int scm_stop(SC_HANDLE service);

/* service_install_win32.c */
int service_install(const char *file, bool start);
int service_uninstall(void);

#endif
