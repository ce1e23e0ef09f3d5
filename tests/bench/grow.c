/* SPDX-License-Identifier: BSD-2-Clause
 *
 * grow.c - what a growth costs: how long it takes, and what it does to reads and brackets
 * meanwhile.
 *
 *   grow DIR [MIB [MIB]]
 *
 * Makes a pool of 1024 MiB in DIR and fills it. One thread reads blocks that are cached, another
 * one opens and closes brackets on blocks of its own, and the pool grows to 4096 MiB. Every byte
 * that hits is compared. Prints how long the growth took, how many reads hit before, during and
 * after it, and the longest bracket before and during it. The last line is "N passed, N failed".
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cachemax.h"
#include "platform/atomic.h"

#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define MIB (UINT64_C(1) << 20)
enum phase { BEFORE, DURING, AFTER, ENDED };

static struct {
    cm_cache *cache;
    cm_file *file, *written;
    uint64_t blocks;
    uint32_t phase; /* atomic */
    uint64_t reads[ENDED], hits[ENDED], wrong, brackets[ENDED], longest[ENDED];
} t;

static void must(int64_t e, const char *what)
{
    if (e < 0) {
        printf("FAIL %s: %s\n", what, cm_strerror((int)e));
        exit(1);
    }
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void content(uint64_t block, uint64_t *to)
{
    for (unsigned i = 0; i < BLOCK / 8; i++)
        to[i] = mix(block) + i;
}

static void *read_all(void *arg)
{
    static uint64_t got[CM_BLOCK_SIZE / 8], want[CM_BLOCK_SIZE / 8];
    uint32_t phase;
    (void)arg;
    for (uint64_t n = 1; (phase = at_load_acquire(&t.phase)) != ENDED; n++) {
        const uint64_t block = mix(n) % t.blocks;
        const int64_t r = cm_read(t.file, block * BLOCK, got, BLOCK, NULL);
        must(r, "cm_read");
        content(block, want);
        t.reads[phase]++;
        t.hits[phase] += r == (int64_t)BLOCK;
        t.wrong += r != 0 && memcmp(got, want, (size_t)r) != 0;
    }
    return NULL;
}

static void *bracket_all(void *arg)
{
    uint32_t phase;
    (void)arg;
    for (uint64_t n = 0; (phase = at_load_acquire(&t.phase)) != ENDED; n++) {
        cm_bracket w;
        const uint64_t began = cm_now();
        must(cm_write_begin(t.written, mix(n) % 100000 * BLOCK, BLOCK, &w), "cm_write_begin");
        must(cm_write_end(t.written, &w, NULL), "cm_write_end");
        const uint64_t took = cm_now() - began;
        t.brackets[phase]++;
        t.longest[phase] = took > t.longest[phase] ? took : t.longest[phase];
        usleep(100);
    }
    return NULL;
}

static cm_file *attach(uint64_t number)
{
    const cm_file_id id = { 1, number };
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file *f;
    cm_validator_set_proof(&v, &number, sizeof(number));
    v.size = UINT64_C(1) << 40;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    must(cm_file_open(t.cache, &id, &v, CM_SOLE_WRITER | CM_EXCLUSIVE, &f), "cm_file_open");
    return f;
}

static void fill(void)
{
    static uint64_t data[CM_BLOCK_SIZE / 8];
    cm_info info = CM_INFO_INIT;
    must(cm_get_info(t.cache, &info), "cm_get_info");
    t.blocks = info.slots - info.slots / 16;
    for (uint64_t b = 0; b < t.blocks; b++) {
        cm_miss miss = CM_MISS_INIT;
        uint8_t buf[CM_BLOCK_SIZE];
        must(cm_read(t.file, b * BLOCK, buf, BLOCK, &miss), "cm_read");
        content(b, data);
        if (miss.len > 0)
            must(cm_fill(t.file, &miss, data, BLOCK, 0), "cm_fill");
    }
}

static void phase(enum phase p, unsigned seconds)
{
    at_store_release(&t.phase, (uint32_t)p);
    sleep(seconds);
}

static bool say(void)
{
    static const char *const names[] = { "before", "during", "after" };
    bool good = t.wrong == 0;
    for (unsigned i = 0; i < ENDED; i++) {
        const double share = t.reads[i] ? 100.0 * (double)t.hits[i] / (double)t.reads[i] : 0;
        printf("%-6s %9llu reads, %6.2f %% hits; %7llu brackets, longest %.3f ms\n", names[i],
               (unsigned long long)t.reads[i], share, (unsigned long long)t.brackets[i],
               (double)t.longest[i] / 1e6);
        good = good && share > 95;
    }
    printf("%llu wrong\n", (unsigned long long)t.wrong);
    return good;
}

int main(int argc, char **argv)
{
    const uint64_t from = argc > 2 ? strtoull(argv[2], NULL, 0) : 1024;
    const uint64_t to = argc > 3 ? strtoull(argv[3], NULL, 0) : 4 * from;
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_grow_report r = CM_GROW_REPORT_INIT;
    pthread_t reader, writer;
    char path[1024];
    if (argc < 2)
        return fprintf(stderr, "usage: grow DIR [MIB [MIB]]\n"), 2;
    (void)snprintf(path, sizeof(path), "%s/cachemax-grow.pool", argv[1]);
    (void)unlink(path);
    c.size = from * MIB;
    must(cm_create(path, &c), "cm_create");
    o.policy = CM_POLICY_GCLOCK;
    o.grow_max = to * MIB;
    must(cm_open(path, &o, &t.cache), "cm_open");
    t.file = attach(1);
    t.written = attach(2);
    fill();
    pthread_create(&reader, NULL, read_all, NULL);
    pthread_create(&writer, NULL, bracket_all, NULL);
    phase(BEFORE, 1);
    at_store_release(&t.phase, (uint32_t)DURING);
    const int e = cm_grow(t.cache, to * MIB, &r);
    phase(AFTER, 1);
    at_store_release(&t.phase, (uint32_t)ENDED);
    pthread_join(reader, NULL);
    pthread_join(writer, NULL);
    must(e, "cm_grow");
    printf("%llu MiB -> %llu MiB in %.3f s; %llu blocks stay, %llu found no place\n",
           (unsigned long long)from, (unsigned long long)to, (double)r.elapsed_ns / 1e9,
           (unsigned long long)r.blocks, (unsigned long long)r.dropped);
    const bool good = say();
    must(cm_file_close(t.file), "cm_file_close");
    must(cm_file_close(t.written), "cm_file_close");
    must(cm_close(t.cache), "cm_close");
    (void)unlink(path);
    printf("%d passed, %d failed\n", good, !good);
    return !good;
}
