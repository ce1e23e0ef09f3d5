/* SPDX-License-Identifier: BSD-2-Clause
 *
 * recording.h - the lines of a trace that "cachemax record" has made. cachemax(1) describes them.
 */
#ifndef CM_TOOL_RECORDING_H
#define CM_TOOL_RECORDING_H

#include "tool/replay/replay.h"

#define RECORDING_BEGIN "cachemax"         /* these 8 bytes tell it from other traces */
#define RECORDING_FIRST "cachemax-trace 1" /* the first line */
#define RECORDING_PATH_MAX 4096u           /* bytes of a path, with its end */
#define RECORDING_LEN_MAX (UINT64_C(1) << 30)

/* Each returns TOOL_OK, or a status after a message, which ends the reading. */
struct recording_listener {
    /* A file has this path from now on; "": it has none. Numbers begin with 1, and a new one is the
     * next. Below the root of the mount, without a slash at its begin, "." and "..". NULL: not
     * wanted. */
    int (*file)(void *ctx, uint32_t file, const char *path);
    int (*io)(void *ctx, uint32_t file, bool write, uint64_t off, uint64_t len);
    void *ctx;
};

/* Reads all that is behind RECORDING_BEGIN. TOOL_OK, or a status after a message. */
int recording_read(struct trace_input *in, const char *trace, const struct recording_listener *l);

#endif
