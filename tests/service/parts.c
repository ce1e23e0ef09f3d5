/* SPDX-License-Identifier: BSD-2-Clause
 *
 * parts.c - a long read takes several messages, and its bytes are of one version of the file.
 *
 *   parts SERVICE [--no-ring]
 *
 * A file gets one version after the other: a new validator, and then blocks that hold nothing but
 * the version's number. Another thread reads all of it, again and again. The last line is "parts: N
 * reads, ... wrong". Exits 0 if nothing was wrong, and 1 also if too little was read to tell.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax_client.h"
#include "os.h"
#include "place.h"

#define BYTES (2u << 20)
#define BLOCK 4096u
#define VERSIONS 150u

static const cm_file_id file_id = { .hi = 5, .lo = 5 };
static _Atomic uint64_t version = 1;
static _Atomic bool ends;
static uint32_t flags;
static uint64_t reads, longer, wrong; /* of the reader, until it has ended */

static int identify(void *arg, cm_validator *v)
{
    const uint64_t n = atomic_load(&version);

    (void)arg;
    cm_validator_set_proof(v, &n, sizeof(n));
    v->taken_at = cm_now();
    v->size = BYTES;
    v->changed_ns = CM_CHANGED_LONG_AGO;
    return 0;
}

static cmc_file *open_file(cmc_client **k)
{
    const struct cmc_options o = { .where = place_socket, .flags = flags };
    cmc_file *f = NULL;
    char why[256];

    if (cmc_connect(&o, k, why) != 0)
        place_die(why);
    for (unsigned tries = 0; !cmc_is_connected(*k) && tries < 60000; tries++)
        os_sleep_ms(1);
    if (cmc_file_open(*k, &file_id, 0, identify, NULL, &f) != 0)
        place_die("cmc_file_open");
    return f;
}

static void read_all(void *arg)
{
    static uint64_t buf[BYTES / 8];
    cmc_client *k;
    cmc_file *f = open_file(&k);
    cmc_miss miss;

    (void)arg;
    while (!atomic_load(&ends)) {
        const int64_t n = cmc_read(f, 0, buf, BYTES, &miss);

        reads++;
        longer += n > 1 << 20; /* more than any message has */
        for (int64_t i = 0; i < n / 8; i += BLOCK / 8)
            if (buf[i] != buf[0]) {
                wrong++;
                break;
            }
    }
    cmc_file_close(f);
    cmc_disconnect(k);
}

/* Stores a version of the file, the last block first: so parts of it are hits early. */
static void store(cmc_file *f, uint64_t n)
{
    static uint64_t block[BLOCK / 8], read[BLOCK / 8];
    cmc_miss miss;

    for (unsigned i = 0; i < BLOCK / 8; i++)
        block[i] = n;
    for (uint64_t at = 0; at < BYTES; at += BLOCK)
        if (cmc_read(f, at, read, BLOCK, &miss) == 0 && miss.ticket != 0)
            (void)cmc_fill(f, &miss, block, BLOCK, 0);
}

int main(int argc, char **argv)
{
    struct os_thread reader;
    cmc_client *k;
    cmc_file *f;

    if (argc < 2)
        return 2;
    flags = argc > 2 && strcmp(argv[2], "--no-ring") == 0 ? CMC_NO_RING : 0;
    place_make(16u << 20);
    const place_process service = place_start(argv[1]);
    f = open_file(&k);
    if (!os_thread_begin(&reader, read_all, NULL))
        place_die("os_thread_begin");
    for (unsigned n = 1; n <= VERSIONS; n++) {
        atomic_store(&version, n);
        (void)cmc_file_revalidate(f);
        store(f, n);
    }
    atomic_store(&ends, true);
    os_thread_join(&reader);
    cmc_file_close(f);
    cmc_disconnect(k);
    place_end(service);
    (void)place_await(service);
    place_clean();
    printf("parts: %llu reads, %llu of them long, %llu wrong\n", (unsigned long long)reads,
           (unsigned long long)longer, (unsigned long long)wrong);
    return wrong > 0 || longer < 10;
}
