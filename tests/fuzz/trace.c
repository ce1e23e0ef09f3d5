/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace.c - fuzz target: block traces, in every format that "cachemax replay" reads.
 *
 * The first byte of the input says whether writes are wanted, the rest is the file: the lines of
 * "cachemax record", LCTRACE1, or either of them packed with xz. What was read must be in order,
 * and no path may lead out of the mount.
 */
#include "fuzz.h"

#include "tool/control/control.h"
#include "tool/replay/recording.h"

/* Little memory: a short trace may say that it touches many blocks. */
void __wrap_os_describe_machine(struct os_machine *m); /* NOLINT: the linker's name */
void __wrap_os_describe_machine(struct os_machine *m)  /* NOLINT */
{
    memset(m, 0, sizeof(*m));
    m->available = UINT64_C(8) << 20;
}

static int on_file(void *ctx, uint32_t file, const char *path)
{
    uint32_t *const last = ctx;

    FUZZ_CHECK(file > 0 && file <= *last + 1 && strlen(path) < RECORDING_PATH_MAX);
    *last = file > *last ? file : *last;
    FUZZ_CHECK(path[0] != '/');
    for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/') {
        const size_t n = strcspn(p, "/");

        FUZZ_CHECK(!(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.'));
    }
    return TOOL_OK;
}

static int on_io(void *ctx, uint32_t file, bool write, uint64_t off, uint64_t len)
{
    const uint32_t *const last = ctx;

    (void)write;
    FUZZ_CHECK(file > 0 && file <= *last);
    FUZZ_CHECK(len > 0 && len <= RECORDING_LEN_MAX && off <= (uint64_t)INT64_MAX - len);
    return TOOL_OK;
}

static void check_trace(const struct trace *t)
{
    uint64_t touches = 0;

    for (uint64_t i = 0; i < t->records; i++) {
        const struct trace_record *const r = &t->record[i];

        FUZZ_CHECK(r->file < t->files && r->touch == touches);
        FUZZ_CHECK(r->first + r->blocks <= t->file_end[r->file]);
        touches += r->blocks;
    }
    FUZZ_CHECK(touches == t->touches && t->reads + t->writes == touches);
    for (uint64_t i = 0; i < touches; i++)
        FUZZ_CHECK(t->touch[i] < t->numbers);
    FUZZ_CHECK(t->unique <= t->numbers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const bool writes = size > 0 && (data[0] & 1);
    const char *const path = fuzz_file(data + (size > 0), size - (size > 0));
    uint32_t last = 0;
    const struct recording_listener listener = { .file = on_file, .io = on_io, .ctx = &last };
    struct trace_input *in;
    struct trace t;
    uint8_t magic[8];
    size_t got;

    fuzz_quiet();
    if (trace_load(&t, path, writes) == TOOL_OK)
        check_trace(&t);
    trace_free(&t);
    if (trace_input_open(path, &in) == TOOL_OK &&
        trace_input_read(in, magic, sizeof(magic), &got) == TOOL_OK && got == sizeof(magic))
        (void)recording_read(in, path, &listener);
    trace_input_close(in);
    return 0;
}
