/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hits.c - what a hit of 4 KiB costs through a service, beside a bare exchange of the same bytes.
 *
 *   hits SERVICE
 *
 * Prints the median of several rounds, in nanoseconds: cm_read in this process; a bare exchange
 * between two processes (bare.h), by shared memory and by stream; and a hit through the service by
 * ring and by stream. Then the bytes a second of four clients at once, and of four pairs of bare
 * processes. Exits 1 if a hit missed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"
#include "cachemax_client.h"
#include "place.h"

#define BLOCK BARE_BLOCK
#define BLOCKS 1024u
#define ROUNDS 9u
#define EACH 20000u
#define CLIENTS 4u
#define POOL_BYTES (16u << 20)

static uint8_t buf[BLOCK];

static int by_number(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median time of one call. */
static double measure(void (*once)(void *arg, unsigned i), void *arg)
{
    double ns[ROUNDS];

    for (unsigned r = 0; r < ROUNDS; r++) {
        const uint64_t start = place_now_ns();
        for (unsigned i = 0; i < EACH; i++)
            once(arg, i);
        ns[r] = (double)(place_now_ns() - start) / EACH;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), by_number);
    return ns[ROUNDS / 2];
}

/* ---- Hits ------------------------------------------------------------------------------------ */

static void must(int64_t got)
{
    if (got == BLOCK)
        return;
    fprintf(stderr, "hits: a hit missed (%lld)\n", (long long)got);
    exit(1);
}

static void hit_directly(void *arg, unsigned i)
{
    must(cm_read(arg, (uint64_t)(i * 7919u % BLOCKS) * BLOCK, buf, BLOCK, NULL));
}

static void hit(void *arg, unsigned i)
{
    cmc_miss miss;

    must(cmc_read(arg, (uint64_t)(i * 7919u % BLOCKS) * BLOCK, buf, BLOCK, &miss));
}

static int version(void *arg, cm_validator *v)
{
    (void)arg;
    cm_validator_set_proof(v, "1", 1);
    v->taken_at = cm_now();
    v->size = (uint64_t)BLOCKS * BLOCK;
    return 0;
}

static const cm_file_id file_id = { .hi = 9, .lo = 9 };

/* A client with all blocks cached. */
static cmc_file *warm_client(uint32_t flags)
{
    const struct cmc_options o = { .where = place_socket, .flags = flags };
    cmc_client *k;
    cmc_file *f;
    cmc_miss miss;
    char why[256];

    if (cmc_connect(&o, &k, why) != 0)
        place_die(why);
    for (unsigned tries = 0; !cmc_is_connected(k) && tries < 10000; tries++)
        place_sleep_us(1000);
    if (cmc_file_open(k, &file_id, 0, version, NULL, &f) != 0)
        place_die("cmc_file_open");
    for (unsigned b = 0; b < BLOCKS; b++)
        if (cmc_read(f, (uint64_t)b * BLOCK, buf, BLOCK, &miss) == 0 && miss.ticket != 0)
            (void)cmc_fill(f, &miss, buf, BLOCK, 0);
    return f;
}

static double direct(void)
{
    char path[700];
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_cache *c;
    cm_file *f;
    cm_miss miss = CM_MISS_INIT;

    snprintf(path, sizeof(path), "%s/own", place_dir);
    o.size = POOL_BYTES;
    (void)version(NULL, &v);
    if (cm_create(path, &o) != 0 || cm_open(path, NULL, &c) != 0 ||
        cm_file_open(c, &file_id, &v, 0, &f) < 0)
        place_die(path);
    for (unsigned b = 0; b < BLOCKS; b++)
        if (cm_read(f, (uint64_t)b * BLOCK, buf, BLOCK, &miss) == 0)
            (void)cm_fill(f, &miss, buf, BLOCK, 0);
    const double ns = measure(hit_directly, f);
    (void)cm_file_close(f);
    (void)cm_close(c);
    (void)remove(path);
    return ns;
}

/* One of several clients at once. */
static int client_main(uint32_t flags, unsigned number)
{
    cmc_file *f = warm_client(flags);

    for (unsigned i = 0; i < 10 * EACH; i++)
        hit(f, i + number * 100);
    return 0;
}

/* One of several bare pairs at once, in a place of its own. */
static int pair_main(const char *how)
{
    void (*const once)(void *arg, unsigned i) =
        strcmp(how, "memory") == 0 ? bare_by_memory : bare_by_stream;

    place_make(POOL_BYTES);
    bare_begin();
    for (unsigned i = 0; i < 10 * EACH; i++)
        once(NULL, i);
    bare_end();
    place_clean();
    return 0;
}

/* Bytes a second of several processes, "WHAT DIR HOW NUMBER", in GB. */
static double together(const char *what, const char *how)
{
    const uint64_t start = place_now_ns();
    place_process client[CLIENTS];

    for (unsigned k = 0; k < CLIENTS; k++) {
        char number[16];
        const char *const args[] = { what, place_dir, how, number, NULL };

        snprintf(number, sizeof(number), "%u", k);
        client[k] = place_run(NULL, args);
    }
    for (unsigned k = 0; k < CLIENTS; k++)
        if (place_await(client[k]) != 0)
            exit(1);
    return (double)CLIENTS * 10 * EACH * BLOCK / (double)(place_now_ns() - start);
}

int main(int argc, char **argv)
{
    if (argc >= 4)
        place_join(argv[2]);
    if (argc == 4 && strcmp(argv[1], "bare") == 0)
        return bare_main(argv[3]);
    if (argc == 5 && strcmp(argv[1], "client") == 0)
        return client_main(strcmp(argv[3], "ring") == 0 ? 0 : CMC_NO_RING, (unsigned)atoi(argv[4]));
    if (argc == 5 && strcmp(argv[1], "pair") == 0)
        return pair_main(argv[3]);
    if (argc != 2)
        return 2;
    place_make(POOL_BYTES);
    bare_begin();
    const place_process service = place_start(argv[1]);
    const double own = direct(), bare_memory = measure(bare_by_memory, NULL);
    const double bare_stream = measure(bare_by_stream, NULL);
    const double ring = measure(hit, warm_client(0));
    const double stream = measure(hit, warm_client(CMC_NO_RING));

    bare_end();
    printf("ns a hit of 4 KiB: %.0f in this process\n", own);
    printf("ring: %.0f, bare memory %.0f, %+.0f\n", ring, bare_memory, ring - bare_memory);
    printf("stream: %.0f, bare stream %.0f, %+.0f\n", stream, bare_stream, stream - bare_stream);
    printf("%u clients: %.2f GB/s by ring, %.2f GB/s by stream\n", CLIENTS,
           together("client", "ring"), together("client", "stream"));
    printf("%u bare pairs: %.2f GB/s by memory, %.2f GB/s by stream\n", CLIENTS,
           together("pair", "memory"), together("pair", "stream"));
    place_end(service);
    (void)place_await(service);
    place_clean();
    return 0;
}
