/* SPDX-License-Identifier: BSD-2-Clause
 *
 * compress.c - what compressed blocks would bring, and what a hit on one would cost.
 *
 *   compress NAME [MIB] < LIST
 *
 * LIST has the paths of files, one in a line. Of them blocks are taken, spread evenly, MIB in all
 * (256), in runs of 16. A line for each codec and number of blocks that are compressed together
 * (1, 4, 16):
 *
 *   ratio    bytes before : after, if each group takes as many bytes as it needs
 *   sectors  the same, if it takes whole pieces of 512 bytes, and is stored as it is if that saves
 *            nothing
 *   half     share of groups that fit into half of their slots, in percent
 *   pairs    blocks for each slot if a slot holds two neighbours whose sum fits, or one block
 *            (groups of 1 only)
 *   in       ns to compress, for each block
 *   out      ns until a random block is there: the whole group is decompressed; beside that:
 *   copy     ns to copy a random block of 4 KiB
 *
 * The groups are visited in a random order, in more memory than the CPU caches have. Times are CPU
 * times, and medians of batches: a busy machine changes them less. The decision
 * that was made with it: docs/decisions/compression.md. Built if liblz4 and libzstd are there.
 */
#include <lz4.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zstd.h>

#define BLOCK 4096u
#define RUN 16u
#define BATCH 64u    /* blocks between two looks at the clock */
#define BATCHES 301u /* the median of them counts */
#define SECTOR 512u

static struct {
    uint8_t *data; /* runs, one after the other */
    size_t runs, room;
    uint8_t *packed; /* of one codec and group size */
    uint32_t *size;  /* of each group */
    size_t *at;
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
} w;

struct codec {
    const char *name;
    bool zstd;
    int level;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* others may be at work here, too */
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "compress: %s\n", what);
    exit(1);
}

static void *need(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p)
        fail("out of memory");
    return p;
}

/* ---- Data ------------------------------------------------------------------------------------ */

/* Takes every n-th run of a file. */
static void take(const char *path, uint64_t every, uint64_t *skipped)
{
    FILE *f = fopen(path, "rb");
    uint8_t *to;
    if (!f)
        return;
    for (uint64_t run = 0; w.runs < w.room; run++) {
        if (++*skipped < every)
            continue;
        *skipped = 0;
        to = w.data + w.runs * RUN * BLOCK;
        if (fseek(f, (long)(run * RUN * BLOCK), SEEK_SET) || fread(to, BLOCK, RUN, f) < RUN)
            break;
        w.runs++;
    }
    fclose(f);
}

/* Also the shorter files count: their tails are left out. */
static uint64_t runs_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size / (RUN * BLOCK) : 0;
}

static void load(void)
{
    static char line[4096];
    char **path = NULL;
    size_t n = 0;
    uint64_t all = 0, skipped = 0;
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (runs_of(line) == 0)
            continue;
        path = realloc(path, (n + 1) * sizeof(*path));
        if (!path || !(path[n++] = strdup(line)))
            fail("out of memory");
        all += runs_of(line);
    }
    w.data = need(w.room * RUN * BLOCK);
    for (size_t i = 0; i < n; i++) {
        take(path[i], all / w.room + 1, &skipped);
        free(path[i]);
    }
    free(path);
    if (w.runs == 0)
        fail("no file of the list has 64 KiB");
}

/* ---- Measuring ------------------------------------------------------------------------------- */

static size_t pack(const struct codec *k, const void *from, size_t len, void *to, size_t room)
{
    if (k->zstd) {
        const size_t n = ZSTD_compressCCtx(w.c, to, room, from, len, k->level);
        return ZSTD_isError(n) ? len : n;
    }
    const int n = LZ4_compress_fast(from, to, (int)len, (int)room, k->level);
    return n > 0 ? (size_t)n : len;
}

static void unpack(const struct codec *k, const void *from, size_t n, void *to, size_t len)
{
    const bool good = n >= len  ? memcpy(to, from, len) != NULL
                      : k->zstd ? ZSTD_decompressDCtx(w.d, to, len, from, n) == len
                                : LZ4_decompress_safe(from, to, (int)n, (int)len) == (int)len;
    if (!good)
        fail("what was compressed is damaged");
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), compare);
    return v[n / 2];
}

/* Compresses all; a group that does not get smaller stays as it is. Returns ns for each block. */
static double pack_all(const struct codec *k, size_t group, size_t groups)
{
    const size_t len = group * BLOCK;
    size_t end = 0, n_batches = 0;
    double *batch = need((groups * group / BATCH + 1) * sizeof(*batch)), start = now();
    for (size_t i = 0; i < groups; i++) {
        if (i > 0 && i * group % BATCH == 0) {
            const double t = now();
            batch[n_batches++] = (t - start) / BATCH;
            start = t;
        }
        size_t n = pack(k, w.data + i * len, len, w.packed + end, len - 1);
        if (n >= len)
            memcpy(w.packed + end, w.data + i * len, n = len);
        w.at[i] = end;
        w.size[i] = (uint32_t)n;
        end += n;
    }
    const double result = n_batches > 0 ? median(batch, n_batches) : 0;
    free(batch);
    return result;
}

static uint64_t next_random(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

static double unpack_some(const struct codec *k, size_t group, size_t groups)
{
    static uint8_t to[RUN * BLOCK];
    double batch[BATCHES];
    for (unsigned b = 0; b < BATCHES; b++) {
        const double start = now();
        for (unsigned n = 0; n < BATCH; n++) {
            const size_t i = next_random() % groups;
            unpack(k, w.packed + w.at[i], w.size[i], to, group * BLOCK);
        }
        batch[b] = (now() - start) / BATCH;
    }
    return median(batch, BATCHES);
}

static double copy_some(void)
{
    static uint8_t to[BLOCK];
    double batch[BATCHES];
    for (unsigned b = 0; b < BATCHES; b++) {
        const double start = now();
        for (unsigned n = 0; n < BATCH; n++) {
            memcpy(to, w.data + next_random() % (w.runs * RUN) * BLOCK, BLOCK);
            __asm__ volatile("" ::"r"(to) : "memory");
        }
        batch[b] = (now() - start) / BATCH;
    }
    return median(batch, BATCHES);
}

static void measure(const char *name, const struct codec *k, size_t group)
{
    const size_t groups = w.runs * RUN / group, len = group * BLOCK;
    const double in = pack_all(k, group, groups), out = unpack_some(k, group, groups);
    double bytes = 0, sectors = 0, halves = 0, slots = 0;
    for (size_t i = 0; i < groups; i++) {
        const size_t up = (w.size[i] + SECTOR - 1) / SECTOR * SECTOR;
        bytes += w.size[i];
        sectors += (double)(up < len ? up : len);
        halves += w.size[i] <= len / 2;
        if (i % 2)
            slots += w.size[i] + w.size[i - 1] <= BLOCK ? 1 : 2;
    }
    const double all = (double)(groups * len);
    printf("%-12s %-8s %2zu  %6.2f  %6.2f  %5.1f  ", name, k->name, group, all / bytes,
           all / sectors, 100 * halves / (double)groups);
    if (group == 1)
        printf("%5.2f", (double)groups / slots);
    else
        printf("    -");
    printf("  %6.0f  %6.0f  %5.0f\n", in, out, copy_some());
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct codec codecs[] = {
        { "lz4", false, 1 }, { "zstd-1f", true, -1 }, { "zstd-1", true, 1 }, { "zstd-3", true, 3 }
    };
    if (argc < 2 || argc > 3)
        return fprintf(stderr, "usage: compress NAME [MIB] < LIST\n"), 2;
    w.room = (argc > 2 ? strtoul(argv[2], NULL, 10) : 256) * 1024 * 1024 / (RUN * BLOCK);
    load();
    w.packed = need(w.runs * RUN * BLOCK);
    w.size = need(w.runs * RUN * sizeof(*w.size));
    w.at = need(w.runs * RUN * sizeof(*w.at));
    w.c = ZSTD_createCCtx();
    w.d = ZSTD_createDCtx();
    printf("%s: %zu MiB\n", argv[1], w.runs * RUN * BLOCK >> 20);
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
        for (size_t group = 1; group <= RUN; group *= 4)
            measure(argv[1], &codecs[i], group);
    ZSTD_freeCCtx(w.c);
    ZSTD_freeDCtx(w.d);
    free(w.data);
    free(w.packed);
    free(w.size);
    free(w.at);
    return 0;
}
