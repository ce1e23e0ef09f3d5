/* SPDX-License-Identifier: BSD-2-Clause
 *
 * number.c - sizes, counts and durations in the form that people read and write.
 *
 * Reading is exact integer arithmetic, and every overflow is detected. A bare letter and "KiB" mean
 * powers of 1024, the units of pools. "KB" means powers of 1000, as on the box of a drive. A
 * fraction is evaluated from its last digit to its first, so that the division by ten at each step
 * rounds down exactly.
 *
 * Who: tool/.
 */
#include "tool/tool.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static const char unit_letters[] = "KMGTP";

/* The factor that `suffix` stands for; 0 if there is no such suffix. */
static uint64_t size_unit(const char *suffix, bool *decimal)
{
    const char *letter;
    uint64_t base = 1024, factor = 1;

    *decimal = false;
    if (*suffix == ' ')
        suffix++;
    if (*suffix == '\0' || ((*suffix == 'B' || *suffix == 'b') && suffix[1] == '\0'))
        return 1;
    letter = strchr(unit_letters, toupper((unsigned char)*suffix));
    if (!letter)
        return 0;
    suffix++;
    if (*suffix == 'i' || *suffix == 'I') {
        suffix++;
        if (*suffix == 'B' || *suffix == 'b')
            suffix++;
    } else if (*suffix == 'B' || *suffix == 'b') {
        suffix++;
        *decimal = true;
        base = 1000;
    }
    if (*suffix != '\0')
        return 0;
    for (ptrdiff_t i = 0; i <= letter - unit_letters; i++)
        factor *= base;
    return factor;
}

/* Reads decimal digits from *text and moves *text behind them; false on overflow. */
static bool read_digits(const char **text, uint64_t *value)
{
    bool fits = true;

    for (*value = 0; isdigit((unsigned char)**text); (*text)++) {
        uint64_t digit = (uint64_t)(**text - '0');

        if (*value > (UINT64_MAX - digit) / 10)
            fits = false;
        else
            *value = *value * 10 + digit;
    }
    return fits;
}

enum tool_size_result tool_parse_size(const char *text, uint64_t *bytes, bool *rough)
{
    const char *fraction = NULL, *end;
    uint64_t whole, part = 0, unit;
    bool fits, decimal;

    if (*text == '-' && isdigit((unsigned char)text[1]))
        return TOOL_SIZE_NEGATIVE;
    if (!isdigit((unsigned char)*text))
        return TOOL_SIZE_JUNK;
    fits = read_digits(&text, &whole);
    if (*text == '.') {
        fraction = ++text;
        while (isdigit((unsigned char)*text))
            text++;
        if (text == fraction)
            return TOOL_SIZE_JUNK;
    }
    end = text;
    unit = size_unit(text, &decimal);
    if (unit == 0 || (fraction && unit == 1))
        return TOOL_SIZE_JUNK;
    if (!fits || whole > UINT64_MAX / unit)
        return TOOL_SIZE_OVERFLOW;
    for (const char *p = end; fraction && p > fraction; p--)
        part = ((uint64_t)(p[-1] - '0') * unit + part) / 10;
    if (whole * unit > UINT64_MAX - part)
        return TOOL_SIZE_OVERFLOW;
    *bytes = whole * unit + part;
    *rough = decimal || fraction;
    return TOOL_SIZE_OK;
}

enum tool_size_result tool_parse_count(const char *text, uint64_t *count)
{
    bool fits;

    if (*text == '-' && isdigit((unsigned char)text[1]))
        return TOOL_SIZE_NEGATIVE;
    if (!isdigit((unsigned char)*text))
        return TOOL_SIZE_JUNK;
    fits = read_digits(&text, count);
    if (*text != '\0')
        return TOOL_SIZE_JUNK;
    return fits ? TOOL_SIZE_OK : TOOL_SIZE_OVERFLOW;
}

char *tool_bytes(char *text, uint64_t bytes)
{
    double value = (double)bytes;
    size_t n = 0;

    if (bytes < 1024) {
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " bytes", bytes);
        return text;
    }
    for (value /= 1024; value >= 1023.995 && n + 1 < sizeof(unit_letters) - 1; n++)
        value /= 1024;
    (void)snprintf(text, TOOL_NUMBER_MAX, "%.*f %ciB", value < 99.995 ? 2 : 1, value,
                   unit_letters[n]);
    return text;
}

char *tool_bytes_exact(char *text, uint64_t bytes)
{
    size_t n;

    (void)tool_bytes(text, bytes);
    n = strlen(text);
    if (bytes >= 1024)
        (void)snprintf(text + n, TOOL_NUMBER_MAX - n, " (%" PRIu64 " bytes)", bytes);
    return text;
}

char *tool_count(char *text, uint64_t count)
{
    if (count >= 1000000000000)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " (%.1f trillion)", count,
                       (double)count / 1e12);
    else if (count >= 1000000000)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " (%.1f billion)", count,
                       (double)count / 1e9);
    else if (count >= 1000000)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " (%.1f million)", count,
                       (double)count / 1e6);
    else
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64, count);
    return text;
}

char *tool_duration(char *text, uint64_t ns)
{
    if (ns < 1000)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " ns", ns);
    else if (ns < 1000000)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%.1f us", (double)ns / 1e3);
    else if (ns < 1000000000)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%.1f ms", (double)ns / 1e6);
    else
        (void)snprintf(text, TOOL_NUMBER_MAX, "%.2f s", (double)ns / 1e9);
    return text;
}

double tool_percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

double tool_share(uint64_t part, uint64_t whole)
{
    double percent = tool_percent(part, whole);

    return part < whole && percent > 99.99 ? 99.99 : percent;
}
