/* SPDX-License-Identifier: BSD-2-Clause
 *
 * output.c - what is seen in a pool, as lines or as JSON.
 *
 * Owns the form: "key: value" in lines, indented by what holds it, and one JSON object. Numbers
 * that mean bits or hashes are hexadecimal, in JSON as strings, so that no reader rounds them.
 *
 * Who: dump/.
 */
#include "tool/dump/dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define KEY_COLUMNS 26
#define TEXT_MAX 8192 /* twice the longest path of Linux */

void dump_begin(struct dump_out *o, FILE *file, bool as_json)
{
    *o = (struct dump_out){ .file = file, .as_json = as_json };
    if (as_json)
        json_begin(&o->json, file, false);
}

void dump_end(struct dump_out *o)
{
    if (o->as_json)
        json_end(&o->json);
}

/* The key, with blanks, up to the column of values. */
static void put_key(const struct dump_out *o, const char *key)
{
    int n = fprintf(o->file, "%*s", 2 * o->depth, "");

    for (const char *p = key; *p; p++, n++)
        (void)fputc(*p == '_' ? ' ' : *p, o->file);
    (void)fprintf(o->file, ":%*s", n < KEY_COLUMNS ? KEY_COLUMNS - n : 1, "");
}

void dump_open(struct dump_out *o, const char *key, const char *title, ...)
{
    va_list ap;

    if (o->as_json) {
        json_open(&o->json, key);
        return;
    }
    (void)fprintf(o->file, "%*s", 2 * o->depth, "");
    va_start(ap, title);
    (void)vfprintf(o->file, title, ap);
    va_end(ap);
    (void)fputs(":\n", o->file);
    o->depth++;
}

void dump_close(struct dump_out *o)
{
    if (o->as_json)
        json_close(&o->json);
    else
        o->depth--;
}

void dump_open_array(struct dump_out *o, const char *key)
{
    if (o->as_json)
        json_open_array(&o->json, key);
}

void dump_close_array(struct dump_out *o)
{
    if (o->as_json)
        json_close_array(&o->json);
}

void dump_text(struct dump_out *o, const char *key, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (o->as_json) {
        json_string(&o->json, key, text);
        return;
    }
    put_key(o, key);
    (void)fprintf(o->file, "%s\n", text);
}

void dump_number(struct dump_out *o, const char *key, uint64_t value)
{
    if (o->as_json)
        json_number(&o->json, key, value);
    else
        dump_text(o, key, "%" PRIu64, value);
}

void dump_name(struct dump_out *o, const char *key, uint64_t value)
{
    if (o->as_json)
        json_number(&o->json, key, value);
}

void dump_numbers(struct dump_out *o, const char *key, const uint64_t *values, size_t n)
{
    if (o->as_json) {
        json_numbers(&o->json, key, values, n);
        return;
    }
    put_key(o, key);
    for (size_t i = 0; i < n; i++)
        (void)fprintf(o->file, "%s%" PRIu64, i ? " " : "", values[i]);
    (void)fputc('\n', o->file);
}

void dump_bool(struct dump_out *o, const char *key, bool value)
{
    if (o->as_json)
        json_bool(&o->json, key, value);
    else
        dump_text(o, key, "%s", value ? "yes" : "no");
}

void dump_hex(struct dump_out *o, const char *key, uint64_t value, int digits)
{
    dump_text(o, key, "0x%0*" PRIx64, digits, value);
}

void dump_bytes(struct dump_out *o, const char *key, const uint8_t *bytes, size_t n)
{
    char text[2 * 64 + 1] = "";

    for (size_t i = 0; i < n && i < 64; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    dump_text(o, key, "%s", text);
}

void dump_conclude(struct dump_verdict *v, const char *verdict, const char *why, ...)
{
    va_list ap;

    (void)snprintf(v->verdict, sizeof(v->verdict), "%s", verdict);
    va_start(ap, why);
    (void)vsnprintf(v->why, sizeof(v->why), why, ap);
    va_end(ap);
}

void dump_put_verdict(struct dump_out *o, const struct dump_verdict *v)
{
    dump_text(o, "verdict", "%s", v->verdict);
    dump_text(o, "why", "%s", v->why);
}

void dump_where(struct dump_out *o, uint64_t offset, uint64_t bytes)
{
    dump_number(o, "offset", offset);
    dump_number(o, "bytes", bytes);
}

void dump_id(struct dump_out *o, const char *key, const cm_file_id *id)
{
    dump_text(o, key, "%016" PRIx64 "%016" PRIx64, id->hi, id->lo);
}
