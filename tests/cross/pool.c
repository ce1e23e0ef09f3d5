/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool.c - one program, built for every system, that makes, warms, changes and verifies a pool
 * whose files have ids of its own: same-bytes.sh passes pools between systems with it.
 *
 *     pool [--dax] make POOL       a pool of 8 MiB
 *     pool [--dax] warm POOL       fills every block of three files
 *     pool [--dax] change POOL     writes over some blocks, syncs, fills them with the new bytes
 *     pool [--dax] verify POOL VERSION all|none   reads every block and compares every byte;
 * VERSION 1 before a change, 2 after it; all or none of the blocks must hit warm and change take
 * "hang" as a last word: not to close the pool, say "ready" and wait for the end.
 * --dax: take the volume for DAX, which it is not, so that a pool left open survives the other
 * system.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"

#define FILES 3u
#define BLOCKS 400u
#define TAIL 1234u /* valid bytes of each file's last block */
#define CHANGED_FROM 100u
#define CHANGED_TO 150u /* of file 0 */
#define BLK ((uint64_t)CM_BLOCK_SIZE)

static bool claim_dax;

int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __real_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    const int rc = __real_cm_plat_file_map(f, align, durability);

    if (rc == 0 && claim_dax) {
        *durability = CM_DURABILITY_DAX;
    }
    return rc;
}

static _Noreturn void die(const char *what, int code)
{
    printf("FAIL %s: %s (%d)\n", what, cm_strerror(code), code);
    exit(1);
}

static int must(int code, const char *what)
{
    if (code < 0) {
        die(what, code);
    }
    return code;
}

/* ---- Content ------------------------------------------------------------------------------- */

static void content(unsigned file, unsigned block, unsigned version, uint8_t *to)
{
    const bool changed = file == 0 && block >= CHANGED_FROM && block < CHANGED_TO;
    uint64_t word = ((uint64_t)file << 40) + ((uint64_t)block << 8) + (changed ? version : 1u);

    for (unsigned i = 0; i < BLK; i += 8) {
        word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        for (unsigned byte = 0; byte < 8; byte++) { /* byte by byte: the same on every machine */
            to[i + byte] = (uint8_t)(word >> (8 * byte));
        }
    }
}

static size_t length(unsigned block)
{
    return block == BLOCKS - 1 ? TAIL : (size_t)BLK;
}

static cm_validator validator(unsigned file, unsigned version)
{
    const uint64_t word = file == 0 ? version : 1; /* the same bytes on all systems */
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, &word, sizeof(word));
    v.size = (BLOCKS - 1) * BLK + TAIL;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    return v;
}

/* ---- Commands ------------------------------------------------------------------------------ */

static cm_file *attach(cm_cache *cache, unsigned file, unsigned version)
{
    const cm_file_id id = { .hi = UINT64_C(0x0123456789abcdef), .lo = file + 1 };
    const cm_validator v = validator(file, version);
    cm_file *f = NULL;

    (void)must(cm_file_open(cache, &id, &v, CM_SOLE_WRITER, &f), "cm_file_open");
    return f;
}

static void fill(cm_file *f, unsigned file, unsigned from, unsigned to, unsigned version)
{
    uint8_t bytes[CM_BLOCK_SIZE];

    for (unsigned b = from; b < to; b++) {
        const size_t n = length(b);
        cm_miss miss;

        content(file, b, version, bytes);
        if (cm_read(f, b * BLK, (uint8_t[CM_BLOCK_SIZE]){ 0 }, n, &miss) == 0 &&
            cm_fill(f, &miss, bytes, n, n < BLK ? CM_FILL_EOF : 0) != 0) {
            die("a block was not stored", CM_EIO);
        }
    }
}

static void make(const char *path)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;

    o.size = 32u << 20; /* so large that no bucket of the index is ever full: all must be found */
    (void)must(cm_create(path, &o), "cm_create");
}

static void warm(cm_cache *cache)
{
    for (unsigned i = 0; i < FILES; i++) {
        cm_file *f = attach(cache, i, 1);

        fill(f, i, 0, BLOCKS, 1);
        (void)must(cm_file_close(f), "cm_file_close");
    }
}

static void change(cm_cache *cache)
{
    cm_file *f = attach(cache, 0, 1);
    cm_validator after = CM_VALIDATOR_INIT;
    cm_bracket w;
    cm_sync s;

    (void)must(cm_write_begin(f, CHANGED_FROM * BLK, (CHANGED_TO - CHANGED_FROM) * BLK, &w),
               "cm_write_begin");
    after = validator(0, 2);
    (void)must(cm_write_end(f, &w, &after), "cm_write_end");
    (void)must(cm_sync_begin(f, &s), "cm_sync_begin");
    after = validator(0, 2);
    (void)must(cm_sync_end(f, &s, 1, &after), "cm_sync_end");
    fill(f, 0, CHANGED_FROM, CHANGED_TO, 2);
    (void)must(cm_file_close(f), "cm_file_close");
}

static int verify(cm_cache *cache, unsigned version, bool all)
{
    unsigned hits = 0, wrong = 0;

    for (unsigned i = 0; i < FILES; i++) {
        cm_file *f = attach(cache, i, version);

        for (unsigned b = 0; b < BLOCKS; b++) {
            uint8_t got[CM_BLOCK_SIZE], want[CM_BLOCK_SIZE];
            const int64_t n = cm_read(f, b * BLK, got, sizeof got, NULL);

            content(i, b, version, want);
            if (n > 0 && ((size_t)n != length(b) || memcmp(got, want, (size_t)n) != 0)) {
                wrong++;
            }
            hits += n > 0;
        }
        (void)must(cm_file_close(f), "cm_file_close");
    }
    printf("%u of %u blocks hit, %u wrong\n", hits, FILES * BLOCKS, wrong);
    return wrong == 0 && hits == (all ? FILES * BLOCKS : 0) ? 0 : 1;
}

static _Noreturn void hang(void)
{
    uint32_t forever = 0;

    printf("ready\n");
    (void)fflush(stdout);
    for (;;) {
        cm_plat_wait(&forever, 0);
    }
}

int main(int argc, char **argv)
{
    cm_cache *cache = NULL;
    const char *what;
    int rc = 0;

    claim_dax = argc > 1 && strcmp(argv[1], "--dax") == 0;
    argc -= claim_dax;
    argv += claim_dax;
    if (argc < 3) {
        printf("usage: pool [--dax] make|warm|change|verify POOL ...\n");
        return 2;
    }
    what = argv[1];
    if (strcmp(what, "make") == 0) {
        make(argv[2]);
        return 0;
    }
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE; /* every block must be found, also when this is killed */
    (void)must(cm_open(argv[2], &o, &cache), "cm_open");
    if (strcmp(what, "warm") == 0) {
        warm(cache);
    } else if (strcmp(what, "change") == 0) {
        change(cache);
    } else {
        rc = argc < 5 ? 2 : verify(cache, (unsigned)atoi(argv[3]), strcmp(argv[4], "all") == 0);
    }
    if (strcmp(argv[argc - 1], "hang") == 0) {
        hang();
    }
    (void)must(cm_close(cache), "cm_close");
    return rc;
}
