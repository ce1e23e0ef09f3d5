/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control_head.c - reads the first line of a request of the control socket.
 *
 * No state. Who: control.c, and a fuzzer.
 */
#include "control_head.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* "cachemax VERSION VERB NUMBER LENGTH" */
bool control_head_read(const char *line, struct control_head *h)
{
    int end = -1;

    if (strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789 ") != strlen(line) ||
        sscanf(line, "cachemax %3u %15s %" SCNu64 " %zu%n", &h->version, h->verb, &h->number,
               &h->len, &end) != 4)
        return false;
    return end > 0 && line[end] == '\0' && h->len < PATH_MAX;
}
