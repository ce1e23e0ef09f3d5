/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sample.c - a pool with something in everything that cachemax.py prints. It prints what gdb shall
 * say of the variables below, a line each, and comes to gdb_looks_here(), where gdb looks at them.
 */
#include <inttypes.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#include "../later.h"
#include "state/object.h"
#include "protocol/fill_ticket.h"

#define BYTES (UINT64_C(1) << 20)
#define BLOCKS 12u
#define WRITTEN 3u /* blocks, from the second one on */
#define TAIL 100u  /* bytes of the last one */
#define SIZE ((BLOCKS - 1) * (uint64_t)CM_BLOCK_SIZE + TAIL)

static alignas(4096) uint8_t pool[BYTES], data[BLOCKS * CM_BLOCK_SIZE];

/* For gdb. */
cm_cache *cache;
cm_file *file;
struct cm_object *object;
struct cm_stripe *stripe;
struct cm_header header, unused;
struct cm_bucket bucket, empty;
cm_miss miss, none;
uint64_t cell;

__attribute__((noinline)) void gdb_looks_here(void);
__attribute__((noinline)) void gdb_looks_here(void)
{
    __asm__ volatile("" ::: "memory");
}

static void must(int64_t e, const char *what)
{
    if (e >= 0)
        return;
    printf("%s: %s\n", what, cm_strerror((int)e));
    exit(1);
}

static void expect_cache(void)
{
    const struct cm_geometry *g = &cache->media.geo;
    printf("cache: pool in memory: normal, %" PRIu64 " slots, 1 stripe, epoch %" PRIu64
           ", next incarnation %" PRIu64 ", frontier %u, pinned 0\n",
           g->slots, cache->super.now.epoch, cache->super.next_incarnation, BLOCKS);
    printf("file: generation %" PRIu64 " of object %p\n", (uint64_t)(uintptr_t)file >> 48,
           (void *)object);
    printf("object: file 00000000000000050000000000000007: incarnation %" PRIu64 ", %" PRIu64
           " bytes, record %" PRIu64 ", 1 ref, ticket %" PRIu64 ", 1 bracket, dirty\n",
           object->incarnation, SIZE, object->place, object->ticket);
    printf("stripe: lock free, ticket %" PRIu64 ", 1 intent\n", stripe->ticket);
    printf("lock: held\n");
}

static void expect_pool(void)
{
    const struct cm_ring *r = &cache->policy.ring;
    printf("header: VALID, sequence 1, incarnation %" PRIu64 ", block %u, %u bytes\n",
           object->incarnation, BLOCKS - 1, TAIL);
    printf("unused: not valid, sequence 0, incarnation 0, block 0, 0 bytes\n");
    printf("bucket: ");
    for (unsigned i = 0, any = 0; i < CM_BUCKET_CELLS; i++)
        if (bucket.cell[i])
            printf("%s%u: slot %" PRIu64 ", tag %06" PRIx64, any++ ? "; " : "", i,
                   cm_cell_slot(bucket.cell[i]), bucket.cell[i] >> CM_CELL_TAG_SHIFT);
    printf("\nempty: empty\n");
    printf("cell: slot %" PRIu64 ", tag %06" PRIx64 "\n", cm_cell_slot(cell),
           cell >> CM_CELL_TAG_SHIFT);
    printf("w0: VALID, sequence 1\n");
    printf("ring: hand 0 (slot 0), frontier %u of %" PRIu64 ", on probation %u of %" PRIu64
           ", free %" PRIu32 ", line of %u: 0 1 2 3 4 5 6 7 ...\n",
           BLOCKS, r->slots, BLOCKS - WRITTEN, r->probation, r->free_count, BLOCKS);
    printf("miss: blocks 1 to 3: file %" PRIu64 ", incarnation %" PRIu64 ", file ticket %" PRIu64
           ", stripe tickets %" PRIu64 ", NOFILL\n",
           object->serial, object->incarnation, object->ticket, stripe->ticket);
    printf("none: nothing is missing\n");
    fflush(stdout);
}

/* A file of BLOCKS blocks that are cached, and a bracket that is open over some of them. */
static void make(void)
{
    static const cm_file_id id = { 5, 7 };
    const cm_validator v = validator_of_version(SIZE, 1);
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    cm_validator now = v;
    cm_bracket bracket;
    must(cm_format_memory(pool, BYTES, &create), "cm_format_memory");
    options.probation_bytes = CM_PROBATION_NONE;
    options.policy = CM_POLICY_S3R;
    must(cm_open_memory(pool, BYTES, &options, &cache), "cm_open_memory");
    now.taken_at = cm_now();
    must(cm_file_open(cache, &id, &now, 0, &file), "cm_file_open");
    must(cm_read(file, 0, data, sizeof(data), &miss), "cm_read");
    must(cm_fill(file, &miss, data, SIZE, CM_FILL_EOF), "cm_fill");
    must(cm_write_begin(file, CM_BLOCK_SIZE, WRITTEN * CM_BLOCK_SIZE, &bracket), "cm_write_begin");
    must(cm_read(file, CM_BLOCK_SIZE, data, WRITTEN * CM_BLOCK_SIZE, &miss), "cm_read");
}

int main(void)
{
    make();
    object = cm_object_of(file);
    stripe = &cache->stripes[0];
    const struct cm_key k = cm_key_of(&cache->media, object->incarnation, BLOCKS - 1);
    header = *cm_slot_at(&cache->media, BLOCKS - 1);
    memcpy(&bucket, cm_index_bucket(&cache->media, k.place.bucket[0]), sizeof(bucket));
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++)
        if (cm_index_match(&cache->media, &k, bucket.cell[i]))
            cell = bucket.cell[i];
    cm_lock_acquire(&cache->super.lock);
    expect_cache();
    expect_pool();
    gdb_looks_here();
    cm_lock_release(&cache->super.lock);
    return 0;
}
