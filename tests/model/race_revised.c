/* SPDX-License-Identifier: BSD-2-Clause
 *
 * race_revised.c - a file that another program changes as a whole, and its readers.
 *
 * Every word of a version is the same. Whatever is read in one call must be of one version, and so
 * must its length.
 */
#include "race.h"

#include "../later.h"

void race_revise(uint64_t blocks)
{
    struct visited *o = &t.revised;
    pthread_rwlock_wrlock(&o->lock); /* no origin read until the cache knows of the change */
    o->stamp++;
    o->size = blocks * BLOCK;
    for (uint64_t i = 0; i < o->size; i += 8) {
        uint64_t word = o->stamp << 16 | blocks;
        memcpy(o->data + i, &word, 8);
    }
    cm_validator v = validator_of_version(o->size, o->stamp);
    if (!t.revised_file)
        must(cm_file_open(t.cache, &o->id, &v, 0, &t.revised_file), "cm_file_open");
    must(cm_file_revalidate(t.revised_file, &v), "cm_file_revalidate");
    pthread_rwlock_unlock(&o->lock);
}

void *race_reviser(void *arg)
{
    struct worker *w = arg;
    while (!at_load_relaxed(&t.stop)) {
        race_revise(1 + rng_below(&w->rng, VISITED_MAX / BLOCK));
        at_add_relaxed(&t.revisions, 1);
        for (uint64_t i = rng_below(&w->rng, 20000); i > 0; i--)
            at_pause();
    }
    return NULL;
}

static int64_t revised_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct visited *o = ctx;
    pthread_rwlock_rdlock(&o->lock);
    int64_t n = visited_read(o, offset, buf, len);
    pthread_rwlock_unlock(&o->lock);
    return n;
}

#define UNTOUCHED UINT64_C(0xeeeeeeeeeeeeeeee)

/* Reads blocks side by side. Those that are cached are of one version. Of those that are not, no
 * byte is in the buffer. */
static void revised_many(struct worker *w)
{
    enum { N = VISITED_MAX / BLOCK };
    cm_read_vec v[N] = { 0 };
    const uint64_t *first = NULL;
    for (unsigned i = 0; i < N; i++) {
        v[i].offset = (i * 5 % N) * BLOCK;
        v[i].buf = w->buf + i * BLOCK;
        v[i].len = BLOCK;
    }
    memset(w->buf, UNTOUCHED & 0xff, N * BLOCK);
    must(cm_read_many(t.revised_file, v, N), "cm_read_many");
    for (unsigned i = 0; i < N; i++) {
        const uint64_t *word = v[i].buf;
        for (int64_t k = v[i].result / 8; v[i].result >= 0 && k < BLOCK / 8; k++)
            if (word[k] != 0 && word[k] != UNTOUCHED)
                die("bytes behind the result of cm_read_many", 0, i, word[k], 0, 0);
        if (v[i].result <= 0)
            continue;
        first = first ? first : word;
        for (int64_t k = 0; k < v[i].result / 8; k++)
            if (word[k] != first[0])
                die("two versions in one cm_read_many", 0, i, word[k], first[0], first[0]);
    }
}

/* A version that was read, and what is read of it later. */
static void revised_version(struct worker *w, uint64_t *incarnation, uint64_t *was)
{
    const uint64_t wanted = *incarnation;
    const int64_t n = cm_read_through_version(t.revised_file, 0, w->buf, VISITED_MAX, incarnation,
                                              revised_read, &t.revised);
    uint64_t word;
    must(n == CM_EMOVED ? 0 : n, "cm_read_through_version");
    memcpy(&word, w->buf, sizeof(word));
    if (n > 0 && wanted != 0 && (*incarnation != wanted || word != *was))
        die("cm_read_through_version", 0, *incarnation, word, *was, *was);
    *was = n > 0 ? word : 0;
    *incarnation = n > 0 ? *incarnation : 0;
}

/* All of a version, or nothing. */
static void revised_whole(struct worker *w)
{
    const uint64_t *word = (uint64_t *)(void *)w->buf;
    const int64_t n = cm_read_whole(t.revised_file, 0, w->buf, VISITED_MAX, 0);
    must(n == CM_EABSENT ? 0 : n, "cm_read_whole");
    for (int64_t i = 1; i < n / 8; i++)
        if (word[i] != word[0])
            die("two versions in cm_read_whole", 0, (uint64_t)i, word[i], word[0], word[0]);
    if (n > 0 && (uint64_t)n != (word[0] & 0xffff) * BLOCK)
        die("size of cm_read_whole", 0, 0, (uint64_t)n, word[0], word[0]);
}

void *race_revised_reader(void *arg)
{
    struct worker *w = arg;
    uint64_t incarnation = 0, was = 0;
    while (!at_load_relaxed(&t.stop)) {
        cm_miss miss = { 0 };
        switch (rng_below(&w->rng, 6)) {
        case 0:
            revised_version(w, &incarnation, &was);
            continue;
        case 1:
            revised_whole(w);
            continue;
        default:
            break;
        }
        if (rng_below(&w->rng, 3) == 0) {
            revised_many(w);
            continue;
        }
        bool through = rng_below(&w->rng, 2);
        int64_t n = through ? cm_read_through(t.revised_file, 0, w->buf, VISITED_MAX, revised_read,
                                              &t.revised)
                            : cm_read(t.revised_file, 0, w->buf, VISITED_MAX, &miss);
        must(n, "read of the revised file");
        const uint64_t *word = (uint64_t *)(void *)w->buf;
        for (int64_t i = 1; i < n / 8; i++)
            if (word[i] != word[0])
                die("two versions in one read", (int)through, (uint64_t)i, word[i], word[0],
                    word[0]);
        if (n > 0 && (through || (miss.len == 0 && (miss.flags & CM_MISS_EOF))) &&
            (uint64_t)n != (word[0] & 0xffff) * BLOCK)
            die("one version's bytes, another one's size", (int)through, word[0] >> 16, (uint64_t)n,
                (word[0] & 0xffff) * BLOCK, (word[0] & 0xffff) * BLOCK);
        at_add_relaxed(&t.revised_reads, 1);
    }
    return NULL;
}
