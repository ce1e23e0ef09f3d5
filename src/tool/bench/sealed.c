/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sealed.c - hits of a sealed pool, and of one that is encrypted, too, beside plain hits.
 *
 * The sealed pool is small and in memory: what is measured is the tag of a block and its
 * decryption, beside which a cache miss of the CPU is little. The callbacks are those of
 * examples/seal (SipHash-2-4 and AES-256-XTS of OpenSSL).
 *
 * Owns the sealed pool while its row runs.
 *
 * Who: reads.c.
 */
#include "tool/bench/bench.h"

#ifdef HAVE_OPENSSL
#include <seal_openssl.h> /* examples/seal */
#include <stdlib.h>

#define SEALED_BYTES ((uint64_t)32 << 20)

static cm_file *sealed_file;
static uint32_t *sealed, sealed_blocks, sealed_at; /* the blocks that are there */

static void sealed_hit(struct bench *b, unsigned n)
{
    while (n--) {
        sealed_at = (sealed_at + 1021) % sealed_blocks; /* a prime: all blocks, in no run */
        if (cm_read(sealed_file, (uint64_t)sealed[sealed_at] * BENCH_BLOCK, b->buffer, BENCH_BLOCK,
                    NULL) != (int64_t)BENCH_BLOCK)
            bench_fail("a sealed pool", "a block is missing");
    }
}

/* Half of the pool. A block whose two buckets are full evicts another one: of 50 pools one lacks
 * some blocks, and these are left out. */
static void store_all(struct bench *b, const cm_info *info)
{
    const uint32_t wanted = (uint32_t)(info->slots / 2);
    cm_miss miss;

    sealed = bench_alloc(wanted * sizeof(*sealed));
    sealed_blocks = sealed_at = 0;
    for (uint32_t i = 0; i < wanted; i++) {
        if (cm_read(sealed_file, i * (uint64_t)BENCH_BLOCK, b->buffer, BENCH_BLOCK, &miss) != 0)
            bench_fail("a sealed pool", "it is not empty");
        bench_must(cm_fill(sealed_file, &miss, b->data, BENCH_BLOCK, 0), "cm_fill");
    }
    for (uint32_t i = 0; i < wanted; i++)
        if (cm_read(sealed_file, i * (uint64_t)BENCH_BLOCK, b->buffer, BENCH_BLOCK, NULL) ==
            (int64_t)BENCH_BLOCK)
            sealed[sealed_blocks++] = i;
    if (sealed_blocks < wanted / 2)
        bench_fail("a sealed pool", "most of what was stored is not there");
}

static void run(struct bench *b, int encrypts, struct bench_result *r)
{
    static const char key[] = "a key that only this process uses"; /* 34 bytes */
    static const struct bench_side ours = { .op = sealed_hit }, rival = { .op = bench_hit };
    cm_create_options made = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = CM_INFO_INIT;
    const char *why;
    struct seal_openssl *const seal = seal_openssl_new(key, sizeof(key), encrypts, &why);
    void *const base = os_alloc_pages(SEALED_BYTES);
    cm_cache *cache;

    if (!seal || !base)
        bench_fail("a sealed pool", seal ? "out of memory" : why);
    o.seal = made.seal = seal_openssl_of(seal);
    o.probation_bytes = CM_PROBATION_NONE;
    bench_must(cm_format_memory(base, SEALED_BYTES, &made), "cm_format_memory");
    bench_must(cm_open_memory(base, SEALED_BYTES, &o, &cache), "cm_open_memory");
    bench_must(cm_get_info(cache, &info), "cm_get_info");
    sealed_file = bench_open_file(cache, 1);
    store_all(b, &info);
    bench_turns(b, &ours, &rival, false, r);
    bench_must(cm_close(cache), "cm_close");
    free(sealed);
    os_free_pages(base);
    seal_openssl_free(seal);
}
#else
static void run(struct bench *b, int encrypts, struct bench_result *r)
{
    (void)b, (void)encrypts;
    (void)snprintf(r->why_not, sizeof(r->why_not), "built without OpenSSL");
}
#endif

void bench_run_sealed(struct bench *b, struct bench_result *r)
{
    run(b, 0, r);
}

void bench_run_encrypted(struct bench *b, struct bench_result *r)
{
    run(b, 1, r);
}
