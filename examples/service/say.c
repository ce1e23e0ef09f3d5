/* SPDX-License-Identifier: BSD-2-Clause
 *
 * say.c - see say.h.
 *
 * Owns: nothing. What a terminal may get is decided by the command, src/tool/text.c.
 *
 * Who: main.c, main_win32.c, command.c, remove.c, service_*_win32.c.
 */
#include "say.h"

#include <stdarg.h>

#include "tool/tool.h"

#define SAY_BYTES 8000

void say(FILE *to, const char *format, ...)
{
    char text[SAY_BYTES], shown[TOOL_PRINTABLE_MAX(SAY_BYTES)];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    (void)fprintf(to, "%s\n", tool_printable(shown, text));
    if (to == stderr)
        (void)fflush(to); /* some C libraries keep it */
}
