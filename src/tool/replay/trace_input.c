/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace_input.c - the bytes of a trace file, unpacked if they are xz.
 *
 * Owns the open file and a buffer of what was read of it. The first bytes of the file, not its
 * name, say whether it is compressed. Pipes are allowed. xz needs liblzma at build time. It never
 * gets more memory than XZ_MEMORY, whatever the file asks for.
 *
 *
 * Who: recording.c, trace.c, profile.c.
 */
#include "tool/replay/replay.h"

#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LZMA
#include <lzma.h>
#endif

#define CHUNK ((size_t)1 << 16)
#define XZ_MEMORY (UINT64_C(512) << 20) /* xz -9 needs an eighth of it */

static const uint8_t xz_magic[6] = { 0xfd, '7', 'z', 'X', 'Z', 0 };

struct trace_input {
    const char *path;
    intptr_t file;
    uint64_t at;       /* in the file */
    size_t have, used; /* of the chunk */
    bool ended;        /* nothing follows the chunk */
#ifdef HAVE_LZMA
    bool packed, unpacked; /* unpacked: all of it is unpacked */
    lzma_stream xz;
#endif
    uint8_t chunk[CHUNK];
};

/* Reads the next chunk; the one before must be used up. */
static int next_chunk(struct trace_input *in)
{
    int error = 0;
    int64_t n = os_read_at(in->file, in->at, in->chunk, CHUNK, &error);

    if (n < 0) {
        tool_message(in->path, "%s", os_error_text(error));
        return TOOL_FAILED;
    }
    in->at += (uint64_t)n;
    in->have = (size_t)n;
    in->used = 0;
    in->ended = in->have < CHUNK;
    return TOOL_OK;
}

#ifdef HAVE_LZMA
static int begin_unpacking(struct trace_input *in)
{
    in->packed = true;
    in->xz = (lzma_stream)LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&in->xz, XZ_MEMORY, LZMA_CONCATENATED) == LZMA_OK)
        return TOOL_OK;
    tool_message(in->path, "out of memory");
    return TOOL_FAILED;
}

static int unpacking_failed(const struct trace_input *in, lzma_ret rc)
{
    if (rc == LZMA_MEM_ERROR || rc == LZMA_MEMLIMIT_ERROR) {
        tool_message(in->path, "takes too much memory to unpack; do it before: xz -dk FILE");
        return TOOL_FAILED;
    }
    if (rc == LZMA_BUF_ERROR)
        tool_message(in->path, "is cut off: the compressed data end too early");
    else
        tool_message(in->path, "is damaged: the compressed data cannot be unpacked");
    return TOOL_REFUSED;
}

static int read_packed(struct trace_input *in, void *buf, size_t len, size_t *got)
{
    in->xz.next_out = buf;
    in->xz.avail_out = len;
    while (in->xz.avail_out > 0 && !in->unpacked) {
        if (in->used == in->have && !in->ended) {
            int status = next_chunk(in);
            if (status != TOOL_OK)
                return status;
        }
        in->xz.next_in = in->chunk + in->used;
        in->xz.avail_in = in->have - in->used;
        lzma_ret rc = lzma_code(&in->xz, in->ended ? LZMA_FINISH : LZMA_RUN);
        in->used = in->have - in->xz.avail_in;
        in->unpacked = rc == LZMA_STREAM_END;
        if (rc != LZMA_OK && rc != LZMA_STREAM_END)
            return unpacking_failed(in, rc);
    }
    *got = len - in->xz.avail_out;
    return TOOL_OK;
}
#else
static int begin_unpacking(struct trace_input *in)
{
    tool_message(in->path, "is compressed, and this cachemax was built without liblzma; unpack it "
                           "before: xz -dk FILE");
    return TOOL_FAILED;
}
#endif

int trace_input_read(struct trace_input *in, void *buf, size_t len, size_t *got)
{
    size_t done = 0;

#ifdef HAVE_LZMA
    if (in->packed)
        return read_packed(in, buf, len, got);
#endif
    while (done < len && !(in->used == in->have && in->ended)) {
        if (in->used == in->have) {
            int status = next_chunk(in);
            if (status != TOOL_OK)
                return status;
        }
        size_t n = in->have - in->used < len - done ? in->have - in->used : len - done;
        memcpy((uint8_t *)buf + done, in->chunk + in->used, n);
        in->used += n;
        done += n;
    }
    *got = done;
    return TOOL_OK;
}

int trace_input_open(const char *path, struct trace_input **input)
{
    struct trace_input *in = calloc(1, sizeof(*in));
    int status, error;

    *input = NULL;
    if (!in) {
        tool_message(path, "out of memory");
        return TOOL_FAILED;
    }
    in->path = path;
    error = os_open_file(path, &in->file);
    if (error) {
        tool_message(path, "%s", os_error_text(error));
        free(in);
        return TOOL_FAILED;
    }
    *input = in;
    status = next_chunk(in);
    if (status == TOOL_OK && in->have >= sizeof(xz_magic) &&
        !memcmp(in->chunk, xz_magic, sizeof(xz_magic)))
        status = begin_unpacking(in);
    return status;
}

void trace_input_close(struct trace_input *in)
{
    if (!in)
        return;
#ifdef HAVE_LZMA
    if (in->packed)
        lzma_end(&in->xz);
#endif
    os_close_file(in->file);
    free(in);
}
