/* SPDX-License-Identifier: BSD-2-Clause
 *
 * scm_look.c - looks at the service of Windows from outside, for scm.sh:
 *
 *     scm_look hit PIPE          a client reads a block through the service, twice: the second time
 *                                it has to be a hit
 *     scm_look hold PIPE         a client that does nothing, for a minute at most
 *     scm_look event PROGRAM ID  the text that PROGRAM has for an event whose string is "a line"
 *     scm_look kill PROCESS      kills a process and waits until it has ended
 *     scm_look value KEY NAME    a text in the registry, below HKEY_LOCAL_MACHINE
 *
 * Exit status 0; 1: it is not so.
 */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax_client.h"

#define BYTES 4096u

/* ---- hit ------------------------------------------------------------------------------------- */

static int identify(void *arg, cm_validator *out)
{
    (void)arg;
    *out = (cm_validator)CM_VALIDATOR_INIT;
    cm_validator_set_proof(out, "version 1", 9);
    out->taken_at = cm_now();
    return 0;
}

/* Reads the block; the origin has bytes of one value. Returns how many came from the cache. */
static int64_t read_block(cmc_file *f)
{
    static uint8_t block[BYTES], origin[BYTES];
    cmc_miss miss;
    int64_t n;

    memset(origin, 0x5a, BYTES);
    n = cmc_read(f, 0, block, BYTES, &miss);
    if (n < (int64_t)BYTES)
        (void)cmc_fill(f, &miss, origin + n, (uint32_t)(BYTES - n), 0);
    return n > 0 && memcmp(block, origin, (size_t)n) != 0 ? -1 : n;
}

static int hit(const char *pipe)
{
    const struct cmc_options o = { .where = pipe };
    const cm_file_id id = { 7, 7 };
    cmc_client *k;
    cmc_file *f;
    char why[256];
    int64_t n = 0;

    if (cmc_connect(&o, &k, why) != 0) {
        printf("%s\n", why);
        return 1;
    }
    if (cmc_file_open(k, &id, 0, identify, NULL, &f) != 0)
        return 1;
    /* A fill does not wait, and a client that was just made may not be connected yet. */
    for (unsigned i = 0; i < 400 && n == 0; i++) {
        n = read_block(f);
        Sleep(n == 0 ? 50 : 0);
    }
    printf("%s, %d bytes hit\n", cmc_is_connected(k) ? "connected" : "not connected", (int)n);
    cmc_file_close(f);
    cmc_disconnect(k);
    return n == BYTES ? 0 : 1;
}

/* ---- hold ------------------------------------------------------------------------------------ */

static int hold(const char *pipe)
{
    const struct cmc_options o = { .where = pipe };
    cmc_client *k;

    if (cmc_connect(&o, &k, NULL) != 0)
        return 1;
    printf("holds, process %lu,\n", GetCurrentProcessId());
    fflush(stdout);
    Sleep(60000);
    cmc_disconnect(k);
    return 0;
}

/* ---- event ----------------------------------------------------------------------------------- */

static int event(const wchar_t *program, DWORD id)
{
    const HMODULE module = LoadLibraryExW(program, NULL, LOAD_LIBRARY_AS_DATAFILE);
    wchar_t line[] = L"a line", text[100];
    DWORD_PTR arg[] = { (DWORD_PTR)line };

    if (!module || !FormatMessageW(FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY,
                                   module, id, 0, text, 100, (va_list *)arg))
        return 1;
    printf("%ls", text);
    return 0;
}

/* ---- value ----------------------------------------------------------------------------------- */

static int value(const wchar_t *key, const wchar_t *name)
{
    wchar_t text[1000];
    char utf8[3000];
    DWORD n = sizeof(text);

    if (RegGetValueW(HKEY_LOCAL_MACHINE, key, name,
                     RRF_RT_REG_SZ | RRF_RT_REG_EXPAND_SZ | RRF_NOEXPAND, NULL, text,
                     &n) != ERROR_SUCCESS ||
        !WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, sizeof(utf8), NULL, NULL))
        return 1;
    printf("%s\n", utf8);
    return 0;
}

/* ---- kill ------------------------------------------------------------------------------------ */

static int kill_process(DWORD process)
{
    const HANDLE h = OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, process);

    if (!h || !TerminateProcess(h, 9) || WaitForSingleObject(h, 10000) != WAIT_OBJECT_0)
        return 1;
    printf("ended\n");
    return 0;
}

int main(int argc, char **argv)
{
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &argc);

    if (wide && argc == 3 && strcmp(argv[1], "hit") == 0)
        return hit(argv[2]);
    if (wide && argc == 3 && strcmp(argv[1], "hold") == 0)
        return hold(argv[2]);
    if (wide && argc == 4 && strcmp(argv[1], "event") == 0)
        return event(wide[2], (DWORD)atoi(argv[3]));
    if (wide && argc == 3 && strcmp(argv[1], "kill") == 0)
        return kill_process((DWORD)atoi(argv[2]));
    if (wide && argc == 4 && strcmp(argv[1], "value") == 0)
        return value(wide[2], wide[3]);
    fprintf(stderr, "usage: scm_look hit PIPE | hold PIPE | event PROGRAM ID | kill PROCESS | "
                    "value KEY NAME\n");
    return 2;
}
