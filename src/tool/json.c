/* SPDX-License-Identifier: BSD-2-Clause
 *
 * json.c - writes one JSON object, which may hold others.
 *
 * The output is valid for any strings: control characters are escaped, and bytes that are not UTF-8
 * (possible in POSIX paths) become U+FFFD. Keys are trusted.
 *
 * Who: tool/.
 */
#include "tool/tool.h"

#include <inttypes.h>
#include <string.h>

static void put_text(FILE *out, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    (void)fputc('"', out);
    while (*p) {
        uint32_t code;
        size_t n = tool_utf8((const char *)p, &code);

        if (n == 0) {
            (void)fputs("\\ufffd", out);
            p++;
        } else if (*p < 0x20 || *p == 0x7f) {
            (void)fprintf(out, "\\u%04x", *p++);
        } else {
            if (*p == '"' || *p == '\\')
                (void)fputc('\\', out);
            (void)fwrite(p, 1, n, out);
            p += n;
        }
    }
    (void)fputc('"', out);
}

/* `key` NULL: the next value is an element of an array. */
static void put_key(struct tool_json *j, const char *key)
{
    if (j->any)
        (void)fputs(j->one_line ? ", " : ",\n", j->out);
    (void)fprintf(j->out, "%*s", j->one_line ? 0 : (int)(2 * j->depth), "");
    if (key)
        (void)fprintf(j->out, "\"%s\": ", key);
    j->any = true;
}

void json_begin(struct tool_json *j, FILE *out, bool one_line)
{
    j->out = out;
    j->one_line = one_line;
    j->any = false;
    j->depth = 1;
    (void)fputs(one_line ? "{" : "{\n", out);
}

void json_string(struct tool_json *j, const char *key, const char *value)
{
    put_key(j, key);
    put_text(j->out, value);
}

void json_number(struct tool_json *j, const char *key, uint64_t value)
{
    put_key(j, key);
    (void)fprintf(j->out, "%" PRIu64, value);
}

void json_bool(struct tool_json *j, const char *key, bool value)
{
    put_key(j, key);
    (void)fputs(value ? "true" : "false", j->out);
}

void json_decimal(struct tool_json *j, const char *key, double value, int digits)
{
    put_key(j, key);
    (void)fprintf(j->out, "%.*f", digits, value);
}

void json_null(struct tool_json *j, const char *key)
{
    put_key(j, key);
    (void)fputs("null", j->out);
}

void json_numbers(struct tool_json *j, const char *key, const uint64_t *values, size_t n)
{
    put_key(j, key);
    for (size_t i = 0; i < n; i++)
        (void)fprintf(j->out, "%s%" PRIu64, i ? ", " : "[", values[i]);
    (void)fputs(n ? "]" : "[]", j->out);
}

static void open_with(struct tool_json *j, const char *key, char bracket)
{
    put_key(j, key);
    (void)fprintf(j->out, j->one_line ? "%c" : "%c\n", bracket);
    j->any = false;
    j->depth++;
}

static void close_with(struct tool_json *j, char bracket)
{
    j->depth--;
    if (!j->one_line)
        (void)fprintf(j->out, "%s%*s", j->any ? "\n" : "", (int)(2 * j->depth), "");
    (void)fputc(bracket, j->out);
    j->any = true;
}

void json_open(struct tool_json *j, const char *key)
{
    open_with(j, key, '{');
}

void json_close(struct tool_json *j)
{
    close_with(j, '}');
}

void json_open_array(struct tool_json *j, const char *key)
{
    open_with(j, key, '[');
}

void json_close_array(struct tool_json *j)
{
    close_with(j, ']');
}

void json_curve(struct tool_json *j, const uint64_t hits[CM_CURVE_POINTS])
{
    json_open_array(j, "curve");
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++) {
        json_open(j, NULL);
        json_decimal(j, "factor", (double)(1u << i) / (1u << CM_CURVE_POINTS / 2), 3);
        if (hits[i] == CM_CURVE_UNKNOWN)
            json_null(j, "hit_ratio");
        else
            json_decimal(j, "hit_ratio", (double)hits[i] / 1e6, 6);
        json_close(j);
    }
    json_close_array(j);
}

void json_end(struct tool_json *j)
{
    (void)fputs(j->one_line ? "}\n" : "\n}\n", j->out);
}
