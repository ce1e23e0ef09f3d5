/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http.c - fuzz target: what "cachemax dash" makes of a request.
 *
 * The HTTP of a request is read by the system's library; this begins where the command does: with
 * method, path and the two headers that it looks at. The input has these and the names of --host,
 * the path of the pool and the name of a file, each up to a zero byte. Only the page, the counters
 * and the messages may be answered, in UTF-8, and a stranger's name must be refused.
 */
#include "fuzz.h"

#include "tool/dash/dash.h"

enum { METHOD, PATH, HOST, ACCEPT, HOSTS, POOL, TEXTS };
#define TEXT 256u

static void take_text(struct fuzz_input *in, char text[TEXT])
{
    size_t n = 0;
    uint8_t c;

    while (in->left > 0 && (c = take_byte(in)) != 0)
        if (n < TEXT - 1)
            text[n++] = (char)c;
    text[n] = '\0';
}

static bool is_numeric(const char *host)
{
    return host[0] == '[' || strspn(host, "0123456789.:") == strlen(host);
}

/* Is it one of `hosts`, or localhost, up to the port? */
static bool is_named(const char *host, const char *hosts)
{
    size_t n = strcspn(host, ":");

    n -= n > 1 && host[n - 1] == '.';
    if (n == strlen("localhost") && strncasecmp(host, "localhost", n) == 0)
        return true;
    for (const char *p = hosts; n > 0 && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && strncasecmp(p, host, n) == 0)
            return true;
    return false;
}

static void check_text(const char *body, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t code;
        const size_t k = tool_utf8(body + i, &code);

        FUZZ_CHECK(k > 0 && code != 0);
        i += k;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dash_pool pool;
    struct fuzz_input in = { data, size };
    const uint8_t what = take_byte(&in);
    char text[TEXTS][TEXT], *body = NULL;
    struct dash d = { .n = 1, .pool = &pool };
    struct web_answer a = { 0 };
    size_t n = 0;
    FILE *out;

    for (unsigned i = 0; i < TEXTS; i++)
        take_text(&in, text[i]);
    const struct web_request r = { text[METHOD], text[PATH], what & 1 ? NULL : text[HOST],
                                   what & 2 ? NULL : text[ACCEPT] };

    d.hosts = text[HOSTS];
    pool.path = text[POOL];
    pool.error = what & 4 ? CM_ENOENT : 0;
    out = open_memstream(&body, &n);
    FUZZ_CHECK(out != NULL);
    dash_answer(&d, &r, &a, out);
    FUZZ_CHECK(fclose(out) == 0 && a.n <= WEB_HEADERS && a.status >= 200 && a.status < 600);
    if (a.status != 421) /* it believed the name */
        FUZZ_CHECK(r.host && (is_numeric(r.host) || is_named(r.host, d.hosts)));
    if (a.status == 200)
        FUZZ_CHECK(!strcmp(r.method, "GET") || !strcmp(r.method, "HEAD"));
    check_text(body, n);
    free(body);
    return 0;
}
