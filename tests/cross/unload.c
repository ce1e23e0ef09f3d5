/* SPDX-License-Identifier: BSD-2-Clause
 *
 * unload.c - loads the library at run time and lets go of it again: once its fault handler is
 * installed it has to stay, or the next exception of the process would run into nothing.
 *
 *     unload LIBRARY POOL
 */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>

#include "cachemax.h"

static LONG seen;

static LONG CALLBACK last_handler(EXCEPTION_POINTERS *what)
{
    seen += what->ExceptionRecord->ExceptionCode == 0xe0001234;
    return EXCEPTION_CONTINUE_EXECUTION;
}

int main(int argc, char **argv)
{
    typedef int (*create_fn)(const char *, const cm_create_options *);
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    HMODULE library = NULL;
    create_fn create;

    for (int use = 0; use < 2 && argc == 3; use++) {
        library = LoadLibraryA(argv[1]);
        create = (create_fn)(void *)GetProcAddress(library, "cm_create");
        if (create == NULL) {
            printf("FAIL cannot load it: error %lu\n", (unsigned long)GetLastError());
            return 1;
        }
        o.size = 1u << 20;
        if (use && create(argv[2], &o) != 0) {
            printf("FAIL cannot make a pool\n");
            return 1;
        }
        if (!FreeLibrary(library) || (GetModuleHandleA("libcachemax-0.dll") != NULL) != use) {
            printf("FAIL %s\n", use ? "it is gone, with its handler" : "it stays unused");
            return 1;
        }
    }
    if (AddVectoredExceptionHandler(0, last_handler) == NULL) {
        return 1;
    }
    RaiseException(0xe0001234, 0, 0, NULL);
    printf("%s\n", seen == 1 ? "stays once used" : "FAIL an exception was lost");
    return seen != 1;
}
