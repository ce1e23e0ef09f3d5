/* SPDX-License-Identifier: BSD-2-Clause
 *
 * curl_options.c - loaded into a program by LD_PRELOAD: gives libcurl other options.
 *
 * It trusts each certificate, so a test can make its own. With CURL_HTTP2 in the environment it
 * speaks HTTP/2 from the first byte, also without TLS, and whatever the program says. Then each
 * request has a connection of its own: libcurl 7.88 sends no second one this way. It sometimes does
 * not see the end of a stream either, and waits until it gives up. So that is soon.
 *
 * With CURL_LOW_SPEED_TIME it waits for so many seconds for the next byte. With SLOW_NAMES a name
 * is resolved after so many seconds.
 */
#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    const char *seconds = getenv("SLOW_NAMES");

    if (seconds)
        sleep((unsigned)atol(seconds));
    return next(name, service, hints, found);
}

CURLcode curl_easy_perform(CURL *curl)
{
    CURLcode (*next)(CURL *) = (CURLcode(*)(CURL *))dlsym(RTLD_NEXT, "curl_easy_perform");
    const char *seconds = getenv("CURL_LOW_SPEED_TIME");

    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    if (getenv("CURL_HTTP2")) {
        curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
        curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 1L);
    }
    if (seconds)
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, atol(seconds));
    return next(curl);
}
