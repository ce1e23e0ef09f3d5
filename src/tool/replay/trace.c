/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace.c - reads a block trace and numbers its blocks.
 *
 * A trace of "cachemax record" has lines (recording.h): what they read and write counts in whole
 * blocks. The other format is little-endian: 8 bytes "LCTRACE1", a u64 with the count of records,
 * then the records. Each has 16 bytes:
 *
 * - at 0: u64, the first block
 * - at 8: u32, the file
 * - at 12: u16, how many blocks
 * - at 14: u8, 0 for a read, 1 for a write
 * - at 15: u8, 0
 *
 * The count is used only after that many records were read. Memory grows with the records that are
 * there, and no array takes more than half of the free memory.
 *
 * Who: cmd_replay.c.
 */
#include "tool/replay/recording.h"
#include "tool/replay/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 8u
#define HEADER 16u
#define RECORD 16u
#define BATCH 4096u /* records read at a time */
#define NONE UINT32_MAX
#define END_MAX                                                                                    \
    (UINT64_C(1) << 51) /* a file ends at byte 2^63 - 1, its last whole block before that */

/* ---- Memory -------------------------------------------------------------------------------- */

struct loader {
    struct trace *t;
    const char *path;
    uint64_t memory;       /* free at the beginning */
    uint64_t records_room; /* of t->record */
    bool with_writes;
};

static int no_memory(const struct loader *l)
{
    tool_message(l->path, "not enough memory for so long a trace");
    return TOOL_FAILED;
}

/* Resizes an array to n items and keeps its content. False: there is not enough memory. */
static bool resize(const struct loader *l, void *array, uint64_t n, size_t item)
{
    void *old, *p;

    if (n > l->memory / 2 / item)
        return false;
    memcpy(&old, array, sizeof(old));
    p = realloc(old, (size_t)n * item + 1); /* never 0 */
    if (!p)
        return false;
    memcpy(array, &p, sizeof(p));
    return true;
}

/* ---- Numbers for keys ---------------------------------------------------------------------- */

struct key {
    uint64_t block;
    uint32_t file;
};

/* Open addressing; at most half full. */
struct numbering {
    struct key *key; /* by number */
    uint32_t *table; /* numbers; NONE: a free place */
    uint64_t size;   /* of the table, a power of two */
    uint32_t n;
};

static uint64_t place_of(const struct numbering *m, const struct key *k)
{
    uint64_t x = k->block * UINT64_C(0x9e3779b97f4a7c15) + k->file;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) & (m->size - 1);
}

/* The place of the key, or the place where it belongs. */
static uint64_t find(const struct numbering *m, const struct key *k)
{
    uint64_t at = place_of(m, k);

    for (; m->table[at] != NONE; at = (at + 1) & (m->size - 1)) {
        const struct key *other = &m->key[m->table[at]];
        if (other->block == k->block && other->file == k->file)
            break;
    }
    return at;
}

static bool grow(const struct loader *l, struct numbering *m)
{
    uint64_t size = m->size ? 2 * m->size : 1024;

    if (size > NONE || !resize(l, &m->table, size, sizeof(*m->table)) ||
        !resize(l, &m->key, size / 2, sizeof(*m->key)))
        return false;
    memset(m->table, 0xff, (size_t)size * sizeof(*m->table));
    m->size = size;
    for (uint32_t i = 0; i < m->n; i++)
        m->table[find(m, &m->key[i])] = i;
    return true;
}

/* The number of the key, a new one if it has none; NONE: out of memory. */
static uint32_t number_of(const struct loader *l, struct numbering *m, uint64_t block,
                          uint32_t file)
{
    struct key k = { block, file };
    uint64_t at;

    if (m->n >= m->size / 2 && !grow(l, m))
        return NONE;
    at = find(m, &k);
    if (m->table[at] == NONE) {
        m->key[m->n] = k;
        m->table[at] = m->n++;
    }
    return m->table[at];
}

static void free_numbering(struct numbering *m)
{
    free(m->key);
    free(m->table);
}

/* ---- Records ------------------------------------------------------------------------------- */

static uint64_t little(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes-- > 0)
        v = v << 8 | p[bytes];
    return v;
}

static int bad_record(const struct loader *l, uint64_t n, const char *what)
{
    tool_message(l->path, "is damaged: record %" PRIu64 " %s", n, what);
    return TOOL_REFUSED;
}

static int add_record(struct loader *l, struct trace_record r)
{
    struct trace *t = l->t;

    if (r.write && !l->with_writes) {
        t->ignored += r.blocks;
        return TOOL_OK;
    }
    if (t->records == l->records_room) {
        l->records_room = l->records_room ? 2 * l->records_room : BATCH;
        if (!resize(l, &t->record, l->records_room, sizeof(*t->record)))
            return no_memory(l);
    }
    r.touch = t->touches;
    t->touches += r.blocks;
    *(r.write ? &t->writes : &t->reads) += r.blocks;
    t->record[t->records++] = r;
    return TOOL_OK;
}

static int take_record(struct loader *l, uint64_t n, const uint8_t *p)
{
    struct trace_record r = { .first = little(p, 8),
                              .file = (uint32_t)little(p + 8, 4),
                              .blocks = (uint16_t)little(p + 12, 2),
                              .write = p[14] == 1 };

    if (p[14] > 1 || p[15] != 0)
        return bad_record(l, n, "is neither a read nor a write");
    if (r.blocks == 0)
        return bad_record(l, n, "touches no block");
    if (r.first >= END_MAX || r.first + r.blocks >= END_MAX)
        return bad_record(l, n, "touches blocks beyond the end of the largest file");
    return add_record(l, r);
}

/* A read or write of a recording: as many records as it needs. */
static int take_io(void *ctx, uint32_t file, bool write, uint64_t off, uint64_t len)
{
    uint64_t first = off / CM_BLOCK_SIZE, end = (off + len - 1) / CM_BLOCK_SIZE + 1;
    int status = TOOL_OK;

    while (first < end && status == TOOL_OK) {
        const uint64_t n = end - first < UINT16_MAX ? end - first : UINT16_MAX;

        status = add_record(
            ctx, (struct trace_record){
                     .first = first, .file = file, .blocks = (uint16_t)n, .write = write });
        first += n;
    }
    return status;
}

static int read_count(struct loader *l, struct trace_input *in, uint64_t *count)
{
    uint8_t number[HEADER - MAGIC];
    size_t got;
    int status = trace_input_read(in, number, sizeof(number), &got);

    if (status != TOOL_OK)
        return status;
    if (got < sizeof(number)) {
        tool_message(l->path, "is cut off: it ends within its header");
        return TOOL_REFUSED;
    }
    *count = little(number, sizeof(number));
    return TOOL_OK;
}

static int read_records(struct loader *l, struct trace_input *in)
{
    static uint8_t batch[BATCH * RECORD];
    uint64_t count, n = 0;
    size_t got = sizeof(batch);
    int status = read_count(l, in, &count);

    while (status == TOOL_OK && got == sizeof(batch)) {
        size_t at = 0;
        status = trace_input_read(in, batch, sizeof(batch), &got);
        for (; status == TOOL_OK && at + RECORD <= got && n < count; at += RECORD)
            status = take_record(l, n++, batch + at);
        if (status == TOOL_OK && n == count && at < got) {
            tool_message(l->path,
                         "is longer than its header says: more follows %" PRIu64 " records", count);
            return TOOL_REFUSED;
        }
    }
    if (status == TOOL_OK && n < count) {
        tool_message(l->path, "is cut off: its header says %" PRIu64 " records, it has %" PRIu64,
                     count, n);
        return TOOL_REFUSED;
    }
    return status;
}

static int read_all(struct loader *l, struct trace_input *in)
{
    const struct recording_listener listener = { .io = take_io, .ctx = l };
    uint8_t magic[MAGIC];
    size_t got;
    int status = trace_input_read(in, magic, sizeof(magic), &got);

    if (status != TOOL_OK)
        return status;
    if (got == sizeof(magic) && !memcmp(magic, RECORDING_BEGIN, MAGIC))
        return recording_read(in, l->path, &listener);
    if (got == sizeof(magic) && !memcmp(magic, "LCTRACE1", MAGIC))
        return read_records(l, in);
    tool_message(l->path, "not a block trace: it begins neither with LCTRACE1 nor with %s",
                 RECORDING_FIRST);
    return TOOL_REFUSED;
}

/* ---- Numbers ------------------------------------------------------------------------------- */

static int number_files(struct loader *l, struct numbering *m)
{
    struct trace *t = l->t;

    for (uint64_t i = 0; i < t->records; i++) {
        struct trace_record *r = &t->record[i];
        uint32_t file = number_of(l, m, r->file, 0);
        if (file == NONE)
            return no_memory(l);
        r->file = file;
    }
    t->files = m->n;
    if (!resize(l, &t->file_id, t->files, sizeof(*t->file_id)) ||
        !resize(l, &t->file_end, t->files, sizeof(*t->file_end)))
        return no_memory(l);
    for (uint32_t i = 0; i < t->files; i++) {
        t->file_id[i] = (uint32_t)m->key[i].block;
        t->file_end[i] = 0;
    }
    for (uint64_t i = 0; i < t->records; i++) {
        const struct trace_record *r = &t->record[i];
        if (t->file_end[r->file] < r->first + r->blocks)
            t->file_end[r->file] = r->first + r->blocks;
    }
    return TOOL_OK;
}

/* Counts the different blocks that are read. */
static int count_unique(struct loader *l)
{
    struct trace *t = l->t;
    uint8_t *seen = calloc(1, (size_t)t->numbers + 1);

    if (!seen)
        return no_memory(l);
    for (uint64_t i = 0; i < t->records; i++) {
        const struct trace_record *r = &t->record[i];
        for (uint32_t k = 0; !r->write && k < r->blocks; k++) {
            uint8_t *s = &seen[t->touch[r->touch + k]];
            t->unique += !*s;
            *s = 1;
        }
    }
    free(seen);
    return TOOL_OK;
}

static int number_blocks(struct loader *l, struct numbering *m)
{
    struct trace *t = l->t;

    if (!resize(l, &t->touch, t->touches, sizeof(*t->touch)))
        return no_memory(l);
    for (uint64_t i = 0; i < t->records; i++) {
        const struct trace_record *r = &t->record[i];
        for (uint32_t k = 0; k < r->blocks; k++) {
            uint32_t number = number_of(l, m, r->first + k, r->file);
            if (number == NONE)
                return no_memory(l);
            t->touch[r->touch + k] = number;
        }
    }
    t->numbers = m->n;
    return count_unique(l);
}

/* ---- All of it ----------------------------------------------------------------------------- */

int trace_load(struct trace *t, const char *path, bool with_writes)
{
    struct numbering files = { 0 }, blocks = { 0 };
    struct loader l = { .t = t, .path = path, .with_writes = with_writes };
    struct os_machine machine;
    struct trace_input *in;
    int status;

    memset(t, 0, sizeof(*t));
    os_describe_machine(&machine);
    l.memory = machine.available;
    status = trace_input_open(path, &in);
    if (status == TOOL_OK)
        status = read_all(&l, in);
    trace_input_close(in);
    if (status == TOOL_OK && t->reads == 0) {
        tool_message(path, "has no reads, so there is nothing to replay");
        return TOOL_REFUSED;
    }
    if (status == TOOL_OK)
        status = number_files(&l, &files);
    if (status == TOOL_OK)
        status = number_blocks(&l, &blocks);
    free_numbering(&files);
    free_numbering(&blocks);
    return status;
}

void trace_free(struct trace *t)
{
    free(t->record);
    free(t->touch);
    free(t->file_id);
    free(t->file_end);
    memset(t, 0, sizeof(*t));
}
