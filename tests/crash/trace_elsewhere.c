/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace_elsewhere.c - "crash --trace" in crash itself: it becomes crash-trace (trace.h), which is
 * in the same folder.
 */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <unistd.h>
#endif

static _Noreturn void become(char **argv)
{
#ifdef _WIN32
    (void)argv;
    fprintf(stderr, "crash: there are no traces on Windows\n");
#else
    char path[4096];
    if (snprintf(path, sizeof(path), "%s-trace", argv[0]) < (int)sizeof(path))
        (void)execvp(path, argv);
    fprintf(stderr, "crash: %s-trace cannot be run\n", argv[0]);
#endif
    exit(2);
}

trace_fn trace_begin(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--trace") == 0)
            become(argv);
    return NULL;
}
