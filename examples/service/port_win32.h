/* SPDX-License-Identifier: BSD-2-Clause
 *
 * port_win32.h - the driver as a client, through the Filter Manager's communication port.
 */
#ifndef CACHEMAX_PORT_WIN32_H
#define CACHEMAX_PORT_WIN32_H

#include "stream.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <fltuser.h>

/* The calls of fltlib.dll, so that a test can be the Filter Manager. */
struct port_calls {
    HRESULT(WINAPI *connect)
    (LPCWSTR name, DWORD options, LPCVOID context, WORD context_bytes,
     LPSECURITY_ATTRIBUTES security, HANDLE *port);
    HRESULT(WINAPI *get)(HANDLE port, PFILTER_MESSAGE_HEADER to, DWORD bytes, LPOVERLAPPED o);
    HRESULT(WINAPI *reply)(HANDLE port, PFILTER_REPLY_HEADER from, DWORD bytes);
};

/* As transport_port.start(), with other calls. They must stay until the transport has stopped. */
int port_start(struct server *s, const char *name, const struct port_calls *calls, void **state,
               char why[256]);

#endif
