/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hashes.c - see hashes.h.
 *
 * Owns: no state. A file is a sorted array of 8-byte words in the machine's order. So merging
 * counts the distinct words of many files exactly, and needs no more memory than buffers. An error
 * ends the program, because an inexact count is worth nothing.
 */
#include "hashes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE (UINT64_C(1) << 16)
#define BUFFER (1u << 20)

static void fail(const char *what, const char *path)
{
    perror(path);
    fprintf(stderr, "crash: cannot %s %s\n", what, path);
    exit(2);
}

static void enlarge(struct hashes *h)
{
    struct hashes old = *h;
    h->size = old.size ? old.size * 2 : FIRST_SIZE;
    h->used = 0;
    h->at = calloc(h->size, sizeof(*h->at));
    if (!h->at)
        abort();
    for (uint64_t i = 0; i < old.size; i++)
        if (old.at[i])
            hashes_add(h, old.at[i]);
    free(old.at);
}

bool hashes_add(struct hashes *h, uint64_t hash)
{
    hash |= hash == 0;
    if (h->used * 2 >= h->size)
        enlarge(h);
    uint64_t i = hash & (h->size - 1);
    while (h->at[i] != 0) {
        if (h->at[i] == hash)
            return false;
        i = (i + 1) & (h->size - 1);
    }
    h->at[i] = hash;
    h->used++;
    return true;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void hashes_save(struct hashes *h, const char *path)
{
    uint64_t n = 0;
    FILE *f = fopen(path, "wb");
    if (!f)
        fail("create", path);
    for (uint64_t i = 0; i < h->size; i++)
        if (h->at[i])
            h->at[n++] = h->at[i];
    if (n > 0)
        qsort(h->at, n, sizeof(*h->at), by_value);
    if (fwrite(h->at, sizeof(*h->at), n, f) != n || fclose(f) != 0)
        fail("write", path);
    free(h->at);
    memset(h, 0, sizeof(*h));
}

struct input {
    FILE *f;
    const char *path;
    uint64_t head;
    bool more;
};

static void advance(struct input *i)
{
    i->more = fread(&i->head, sizeof(i->head), 1, i->f) == 1;
    if (!i->more && ferror(i->f))
        fail("read", i->path);
}

uint64_t hashes_merge(const char *out, char **in, unsigned n)
{
    struct input *input = calloc(n + 1, sizeof(*input));
    FILE *f = fopen(out, "wb");
    uint64_t count = 0;
    if (!f || !input)
        fail("create", out);
    setvbuf(f, NULL, _IOFBF, BUFFER);
    for (unsigned i = 0; i < n; i++) {
        input[i] = (struct input){ .f = fopen(in[i], "rb"), .path = in[i] };
        if (!input[i].f)
            fail("open", in[i]);
        setvbuf(input[i].f, NULL, _IOFBF, BUFFER);
        advance(&input[i]);
    }
    for (;;) {
        const struct input *least = NULL;
        for (unsigned i = 0; i < n; i++)
            if (input[i].more && (!least || input[i].head < least->head))
                least = &input[i];
        if (!least)
            break;
        uint64_t head = least->head;
        if (fwrite(&head, sizeof(head), 1, f) != 1)
            fail("write", out);
        count++;
        for (unsigned i = 0; i < n; i++)
            while (input[i].more && input[i].head == head)
                advance(&input[i]);
    }
    for (unsigned i = 0; i < n; i++)
        fclose(input[i].f);
    if (fclose(f) != 0)
        fail("write", out);
    free(input);
    return count;
}
