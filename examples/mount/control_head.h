/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control_head.h - the first line of a request of the control socket (docs/control.md).
 */
#ifndef CACHEMAX_MOUNT_CONTROL_HEAD_H
#define CACHEMAX_MOUNT_CONTROL_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_VERB_MAX 16u

struct control_head {
    char verb[CONTROL_VERB_MAX];
    unsigned version;
    uint64_t number;
    size_t len; /* of the path that follows: less than PATH_MAX */
};

/* `line`: without its end. False: it is no such line. */
bool control_head_read(const char *line, struct control_head *h);

#endif
