/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http2_first.c - loaded into a program by LD_PRELOAD: libcurl speaks HTTP/2 from the first byte,
 * also without TLS, where it speaks HTTP/1.1 else. So a test needs no certificate. Each request has
 * a connection of its own: libcurl 7.88 sends no second one this way.
 */
#include <curl/curl.h>
#include <dlfcn.h>

CURLcode curl_easy_perform(CURL *curl)
{
    CURLcode (*next)(CURL *) = (CURLcode(*)(CURL *))dlsym(RTLD_NEXT, "curl_easy_perform");

    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    return next(curl);
}
