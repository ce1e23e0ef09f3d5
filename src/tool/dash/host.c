/* SPDX-License-Identifier: BSD-2-Clause
 *
 * host.c - by which names a client may call the server.
 *
 * Owns the rule against DNS rebinding. A page of a stranger may give its own name the address of
 * this server, and then read it from the user's browser as if it were its own. Its requests still
 * carry the stranger's name. So a name must be "localhost" or one that the user gave. An address is
 * always good: it is no name that somebody could point elsewhere.
 *
 * Who: answer.c.
 */
#include "tool/dash/dash.h"

#include <string.h>

static bool is_digits(const char *p, size_t n)
{
    return n > 0 && strspn(p, "0123456789") >= n;
}

/* Four numbers up to 255. */
static bool is_ipv4(const char *p, size_t n)
{
    unsigned parts = 0;

    while (n > 0) {
        const size_t digits = strspn(p, "0123456789") < n ? strspn(p, "0123456789") : n;
        unsigned value = 0;

        if (digits == 0 || digits > 3)
            return false;
        for (size_t i = 0; i < digits; i++)
            value = value * 10 + (unsigned)(p[i] - '0');
        if (value > 255 || ++parts > 4)
            return false;
        p += digits;
        n -= digits;
        if (n > 0 && (*p != '.' || n == 1))
            return false;
        if (n > 0)
            p++, n--;
    }
    return parts == 4;
}

/* What may stand between the brackets of an address; no name has a colon. */
static bool is_ipv6(const char *p, size_t n)
{
    return n >= 2 && strspn(p, "0123456789abcdefABCDEF:.") >= n && memchr(p, ':', n) != NULL;
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool same(const char *a, size_t n, const char *b, size_t m)
{
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

bool dash_may_call(const struct dash *d, const char *host)
{
    const bool six = host && host[0] == '[';
    const char *end = !host ? NULL : six ? strchr(host, ']') : host + strcspn(host, ":");
    const char *port = end ? end + six : NULL;
    size_t n;

    if (!end || (*port != '\0' && (*port != ':' || !is_digits(port + 1, strlen(port + 1)))))
        return false;
    if (six)
        return is_ipv6(host + 1, (size_t)(end - host - 1));
    n = (size_t)(end - host);
    if (is_ipv4(host, n))
        return true;
    if (n > 1 && host[n - 1] == '.')
        n--; /* the root, written out */
    if (n == 0)
        return false;
    if (same(host, n, "localhost", strlen("localhost")))
        return true;
    for (const char *name = d->hosts; *name;) {
        const size_t m = strcspn(name, ",");

        if (same(host, n, name, m))
            return true;
        name += m + (name[m] == ',');
    }
    return false;
}
