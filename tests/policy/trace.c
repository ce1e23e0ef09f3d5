/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace.c - reads a block trace.
 *
 * Owns: the format of the file, and the numbering of blocks by a hash table that lives only while
 * the file is read. Numbers are dense, so that policies may use them as indices.
 *
 * Who: any program that replays a trace; it depends on nothing here.
 */
#include "trace.h"

#include <stdlib.h>
#include <string.h>

#define RECORD 16u
#define UNUSED UINT32_MAX

struct numbering {
    uint32_t *number; /* by hash; UNUSED: nothing here */
    uint64_t *key;    /* by number */
    bool *read;       /* by number */
    size_t mask, count;
};

static uint64_t little_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | p[bytes];
    return v;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static bool numbering_begin(struct numbering *n, size_t accesses)
{
    *n = (struct numbering){ .mask = 16 };
    while (n->mask < 2 * accesses)
        n->mask *= 2;
    n->number = malloc(n->mask * sizeof(*n->number));
    n->key = malloc((accesses + 1) * sizeof(*n->key));
    n->read = calloc(accesses + 1, sizeof(*n->read));
    if (n->number)
        memset(n->number, 0xff, n->mask * sizeof(*n->number));
    n->mask--;
    return n->key && n->number && n->read;
}

static void numbering_end(struct numbering *n)
{
    free(n->number);
    free(n->read);
}

static uint32_t number_of(struct numbering *n, uint64_t key)
{
    size_t at = mix(key + 1) & n->mask;
    while (n->number[at] != UNUSED && n->key[n->number[at]] != key)
        at = (at + 1) & n->mask;
    if (n->number[at] == UNUSED) {
        n->key[n->count] = key;
        n->number[at] = (uint32_t)n->count++;
    }
    return n->number[at];
}

/* All records, to be freed; *count of them. */
static uint8_t *read_records(FILE *in, size_t *count, const char **why)
{
    uint8_t head[16];
    *why = "not a trace in format LCTRACE1";
    if (fread(head, sizeof(head), 1, in) != 1 || memcmp(head, "LCTRACE1", 8) != 0)
        return NULL;
    uint64_t n = little_endian(head + 8, 8);
    if (n > SIZE_MAX / RECORD / 2 || n >= UINT32_MAX)
        return NULL;
    *why = "not enough memory";
    uint8_t *records = malloc((size_t)n * RECORD + 1);
    if (!records)
        return NULL;
    *count = (size_t)n;
    *why = "the trace ends too early, or is longer than it says";
    if (fread(records, RECORD, *count, in) == *count && fgetc(in) == EOF)
        return records;
    free(records);
    return NULL;
}

static bool is_write(const uint8_t *record)
{
    return record[14] != 0;
}

static void expand(struct trace *t, struct numbering *n, const uint8_t *record)
{
    uint64_t block = little_endian(record, 8), file = little_endian(record + 8, 4);
    uint64_t length = little_endian(record + 12, 2);
    bool write = is_write(record);
    for (uint64_t i = 0; i < length; i++) {
        uint32_t number = number_of(n, file << TRACE_BLOCK_BITS ^ (block + i));
        t->access[t->accesses++] = number << 1 | (write ? TRACE_WRITE : 0);
        if (write) {
            t->writes++;
            continue;
        }
        t->reads++;
        t->read_blocks += !n->read[number];
        n->read[number] = true;
    }
}

const char *trace_read(struct trace *t, FILE *in, bool writes)
{
    const char *why;
    struct numbering n;
    size_t count = 0, total = 0;
    *t = (struct trace){ 0 };
    uint8_t *records = read_records(in, &count, &why);
    if (!records)
        return why;
    for (size_t i = 0; i < count; i++)
        if (writes || !is_write(records + i * RECORD))
            total += (size_t)little_endian(records + i * RECORD + 12, 2);
    why = "more accesses than fit into 31 bits";
    if (total < UINT32_MAX / 2) {
        bool room = numbering_begin(&n, total);
        t->access = malloc((total + 1) * sizeof(*t->access));
        t->key = n.key;
        why = "not enough memory";
        if (room && t->access) {
            for (size_t i = 0; i < count; i++)
                if (writes || !is_write(records + i * RECORD))
                    expand(t, &n, records + i * RECORD);
            t->blocks = (uint32_t)n.count;
            why = NULL;
        }
        numbering_end(&n);
    }
    free(records);
    if (why)
        trace_free(t);
    return why;
}

void trace_free(struct trace *t)
{
    free(t->access);
    free(t->key);
    t->access = NULL;
    t->key = NULL;
}
