/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.c - asks the origin server, with libcurl. It knows nothing of the cache.
 */
#include "http-proxy.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *origin_url;

void origin_begin(const char *url)
{
    origin_url = url;
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* libcurl calls this for each line of the head. */
static size_t on_header(char *data, size_t one, size_t len, void *ctx)
{
    struct answer *a = ctx;
    char line[1024];
    const char *age;
    size_t n = len < sizeof(line) ? len : sizeof(line) - 1;

    (void)one;
    memcpy(line, data, n);
    line[n] = '\0';
    if (strncasecmp(line, "HTTP/", 5) == 0) { /* a head begins; an interim answer has one, too */
        sscanf(line, "%*s %ld", &a->status);
        a->etag[0] = '\0';
        a->total = TOTAL_UNKNOWN;
    } else if (strncasecmp(line, "ETag:", 5) == 0) {
        sscanf(line + 5, " %255[^\r\n]", a->etag);
    } else if (strncasecmp(line, "Content-Range:", 14) == 0) {
        sscanf(line + 14, " bytes %" SCNu64 "-%*u/%" SCNu64, &a->from, &a->total);
    } else if (strncasecmp(line, "Cache-Control:", 14) == 0) {
        a->no_store = strstr(line, "no-store") || strstr(line, "private");
        age = strstr(line, "max-age=");
        if (age && !strstr(line, "no-cache"))
            sscanf(age + 8, "%9" SCNu64, &a->max_age);
    }
    return len;
}

/* libcurl calls this for each part of the body. */
static size_t on_body(char *data, size_t one, size_t len, void *ctx)
{
    struct answer *a = ctx;
    size_t skip, n = len;

    (void)one;
    if (a->grows) {
        uint8_t *more = realloc(a->buf, a->got + len);
        if (!more)
            return 0;
        a->buf = more;
        a->room = a->got + len;
    } else if (a->status != 200 && a->status != 206) {
        return len; /* a page about an error */
    }
    /* A server that ignores the range sends the object from its beginning. */
    skip = a->status != 200 ? 0 : a->skip < len ? (size_t)a->skip : len;
    a->skip -= skip;
    n -= skip;
    if (n > a->room - a->got)
        n = a->room - a->got;
    memcpy(a->buf + a->got, data + skip, n);
    a->got += n;
    return skip + n; /* less than len: enough */
}

/* `range` and `condition` (a header field) may be NULL. */
static bool fetch(struct origin *o, const char *uri, const char *range, const char *condition,
                  bool head, struct answer *a)
{
    char url[URL_BYTES];
    struct curl_slist *fields = NULL;
    curl_off_t length = -1;
    CURLcode e;
    CURL *curl;

    if (snprintf(url, sizeof(url), "%s%s", origin_url, uri) >= (int)sizeof(url))
        return false;
    if (!o->curl && !(o->curl = curl_easy_init()))
        return false;
    curl = o->curl;
    if (condition && !(fields = curl_slist_append(NULL, condition)))
        return false;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L); /* bytes a second ... */
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 20L); /* ... for so many seconds: give up */
    curl_easy_setopt(curl, CURLOPT_NOBODY, head ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_RANGE, range);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    e = curl_easy_perform(curl);
    if (e == CURLE_WRITE_ERROR && a->room && a->got == a->room && !a->grows)
        e = CURLE_OK; /* on_body() had enough */
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (a->status == 200 && length >= 0)
        a->total = (uint64_t)length;
    curl_slist_free_all(fields);
    return e == CURLE_OK;
}

bool origin_head(struct origin *o, const char *uri, struct answer *a)
{
    return fetch(o, uri, NULL, NULL, true, a);
}

bool origin_get(struct origin *o, const char *uri, uint64_t off, const char *etag, struct answer *a)
{
    char range[64], condition[ETAG_BYTES + 16];

    if (a->grows)
        return fetch(o, uri, NULL, NULL, false, a);
    a->skip = off;
    snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, off, off + a->room - 1);
    snprintf(condition, sizeof(condition), "If-Match: %s", etag);
    return fetch(o, uri, range, etag[0] ? condition : NULL, false, a);
}

void origin_end(struct origin *o)
{
    if (o->curl)
        curl_easy_cleanup(o->curl);
}
