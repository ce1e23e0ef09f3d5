/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bare_win32.c - a bare exchange between two processes, by event and by named pipe.
 *
 * Who: hits.c.
 */
#include "bare.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "place.h"

static HANDLE asked, answered, stream;
static uint8_t *data; /* shared */
static place_process others[2];
static uint8_t buf[BARE_BLOCK];

/* The names of all that both processes use end like the directory's. */
static const char *named(char name[200], const char *format)
{
    snprintf(name, 200, format, strrchr(place_dir, '\\') + 1);
    return name;
}

static void open_memory(void)
{
    char name[200];

    asked = CreateEventA(NULL, FALSE, FALSE, named(name, "Local\\%s-asked"));
    answered = CreateEventA(NULL, FALSE, FALSE, named(name, "Local\\%s-answered"));
    data = place_shared("bare", BARE_BLOCK);
    if (!asked || !answered)
        place_die("CreateEvent");
}

void bare_by_memory(void *arg, unsigned i)
{
    (void)arg;
    (void)i;
    (void)SetEvent(asked);
    (void)WaitForSingleObject(answered, INFINITE);
    memcpy(buf, data, BARE_BLOCK);
}

static void must_write(const void *from, DWORD n)
{
    DWORD put;

    if (!WriteFile(stream, from, n, &put, NULL) || put != n)
        place_die("WriteFile");
}

static void must_read(void *to, DWORD n)
{
    DWORD got;

    for (DWORD have = 0; have < n; have += got)
        if (!ReadFile(stream, (uint8_t *)to + have, n - have, &got, NULL) || got == 0)
            place_die("ReadFile");
}

void bare_by_stream(void *arg, unsigned i)
{
    uint8_t in[BARE_BLOCK + 48] = { 0 };

    (void)arg;
    (void)i;
    must_write(in, 40);
    must_read(in, sizeof(in));
    memcpy(buf, in + 48, BARE_BLOCK);
}

void bare_begin(void)
{
    const char *const memory[] = { "bare", place_dir, "memory", NULL };
    const char *const pipe[] = { "bare", place_dir, "stream", NULL };
    char name[200];

    open_memory();
    stream =
        CreateNamedPipeA(named(name, "\\\\.\\pipe\\%s-bare"), PIPE_ACCESS_DUPLEX,
                         PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, 65536, 65536, 0, NULL);
    if (stream == INVALID_HANDLE_VALUE)
        place_die(name);
    others[0] = place_run(NULL, memory);
    others[1] = place_run(NULL, pipe);
    if (!ConnectNamedPipe(stream, NULL) && GetLastError() != ERROR_PIPE_CONNECTED)
        place_die("ConnectNamedPipe");
}

void bare_end(void)
{
    char path[700];

    place_kill(others[0]);
    place_kill(others[1]);
    place_forget(data, BARE_BLOCK);
    snprintf(path, sizeof(path), "%s/bare", place_dir);
    (void)remove(path);
}

int bare_main(const char *how)
{
    uint8_t out[BARE_BLOCK + 48] = { 0 };
    char name[200];

    if (strcmp(how, "memory") == 0) {
        open_memory();
        for (;;) {
            (void)WaitForSingleObject(asked, INFINITE);
            memcpy(data, buf, BARE_BLOCK);
            (void)SetEvent(answered);
        }
    }
    stream = CreateFileA(named(name, "\\\\.\\pipe\\%s-bare"), GENERIC_READ | GENERIC_WRITE, 0, NULL,
                         OPEN_EXISTING, 0, NULL);
    if (stream == INVALID_HANDLE_VALUE)
        place_die(name);
    for (;;) {
        must_read(out, 40);
        memcpy(out + 48, buf, BARE_BLOCK);
        must_write(out, sizeof(out));
    }
}
