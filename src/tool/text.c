/* SPDX-License-Identifier: BSD-2-Clause
 *
 * text.c - text of unknown origin, such as the names in a pool, for a terminal.
 *
 * Owns: what may reach a terminal as it is. A pool may hold any bytes, and some of them are
 * commands to a terminal, or change the order of what follows.
 *
 * Who: tool/; cachemax-mount and cachemax-service.
 */
#include "tool/tool.h"

#include <string.h>

size_t tool_utf8(const char *text, uint32_t *code)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *p = (const unsigned char *)text;
    uint32_t value;
    size_t n;

    *code = p[0];
    if (p[0] < 0x80)
        return 1;
    n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    value = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    *code = value;
    if (value < smallest[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    return n;
}

int tool_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#ifdef _WIN32
static const bool backslashes_separate = true;
#else
static const bool backslashes_separate = false;
#endif

/* No control character, no end of a line, no change of the direction of writing; and no backslash,
 * which begins an escape, but on Windows, where each path has some. */
static bool may_show(uint32_t c)
{
    return c >= 0x20 && (c != '\\' || backslashes_separate) && (c < 0x7f || c > 0x9f) &&
           c != 0x061c && (c < 0x200e || c > 0x200f) && (c < 0x2028 || c > 0x202e) &&
           (c < 0x2066 || c > 0x2069);
}

#define PIECE 16u /* bytes that one sequence becomes, at most */

/* Writes what is shown of the sequence at *from to `to`, which has room for PIECE bytes and a zero,
 * and moves *from behind it. Returns how many bytes it has written. */
static size_t show_one(char *to, const char **from)
{
    char *const begin = to;
    uint32_t code;
    size_t n = tool_utf8(*from, &code);
    const bool show = n > 0 && may_show(code);

    for (n = n ? n : 1; n > 0; n--, (*from)++)
        if (show)
            *to++ = **from;
        else if (**from == '\\')
            to += snprintf(to, 3, "\\\\");
        else
            to += snprintf(to, 5, "\\x%02x", (unsigned)(unsigned char)**from);
    return (size_t)(to - begin);
}

const char *tool_printable(char *text, const char *name)
{
    char *to = text;

    while (*name)
        to += show_one(to, &name);
    *to = '\0';
    return text;
}

/* Without memory, because a message may be that there is none. */
void tool_print(FILE *to, const char *name)
{
    char text[512];
    size_t n = 0;

    while (*name) {
        n += show_one(text + n, &name);
        if (*name && n + PIECE < sizeof(text))
            continue;
        (void)fwrite(text, 1, n, to);
        n = 0;
    }
}
