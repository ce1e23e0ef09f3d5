/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_through.c - cmc_read_through() over a made-up service and a made-up origin.
 *
 * The file gets other versions, and the service other lives, between any two steps of a read. A
 * byte says its version and its place. So a result of two versions shows, and so does what is
 * stored in the wrong place.
 */
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#include "../../examples/service/client_through.c"

#define BLOCKS 700u /* more than two windows */
#define PER_MESSAGE UINT64_C(65536)

static struct {
    uint64_t size;       /* of the origin */
    uint32_t content;    /* of all its bytes: another one for each version */
    uint32_t connection; /* 0: the service is away */
    uint64_t version;    /* as the service counts; 0: unknown */
    bool present[BLOCKS];
    uint32_t grows;   /* the origin has so many more bytes than the service knows of */
    uint64_t calls;   /* of anything, since the begin of the read */
    uint64_t changes; /* at this call, or a multiple of it if `often` */
    bool often, restarts, fails;
    unsigned reads, fills, wrong;
} now;

static uint64_t seed = 1;

/* The same numbers on all systems. */
static int rnd(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)(seed >> 33);
}

static uint8_t byte_of(uint32_t content, uint64_t at)
{
    return (uint8_t)(content * 101 + at * 7 + (at >> 12) * 31);
}

/* Another thread has its turn here. */
static void step(void)
{
    now.calls++;
    if (now.changes == 0 || (now.often ? now.calls % now.changes != 0 : now.calls != now.changes))
        return;
    if (now.connection == 0) { /* nobody knows of versions before it comes */
        now.connection++;
        return;
    }
    now.content++;
    memset(now.present, 0, sizeof(now.present));
    if (now.restarts)
        now.connection++; /* which begins to count anew */
    else
        now.version++;
    for (unsigned k = 0; k < BLOCKS; k++) /* others have read the new version already */
        now.present[k] = now.content % 2 || k % 3 == 0;
}

static void copy(uint8_t *to, uint64_t at, uint64_t n)
{
    for (uint64_t k = 0; k < n; k++)
        to[k] = byte_of(now.content, at + k);
}

int64_t client_read(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss,
                    struct client_version *v)
{
    uint64_t at = offset, to = offset + len, until;
    (void)f;
    step();
    *miss = (cmc_miss){ .offset = offset, .len = len, .flags = CM_MISS_NOFILL };
    *v = (struct client_version){ now.connection, now.connection ? now.version : 0 };
    if (now.connection == 0)
        return 0;
    while (at < to && at < now.size && now.present[at / BLOCK])
        at = (at / BLOCK + 1) * BLOCK;
    at = at < to ? at : to;
    at = at < now.size ? at : now.size > offset ? now.size : offset;
    copy(buf, offset, at - offset);
    if (at == to)
        return len;
    if (at >= now.size) {
        *miss = (cmc_miss){ .offset = at, .flags = CM_MISS_EOF };
        return (int64_t)(at - offset);
    }
    for (until = at; until < to && until < now.size && !now.present[until / BLOCK];)
        until += BLOCK;
    until = until < now.size ? until : now.size;
    if (until - at > PER_MESSAGE)
        until = at + PER_MESSAGE;
    *miss = (cmc_miss){
        .offset = at, .len = until - at, .ticket = now.version, .connection = now.connection
    };
    return (int64_t)(at - offset);
}

struct client_version client_version_now(cmc_file *f)
{
    (void)f;
    step();
    return (struct client_version){ now.connection, now.connection ? now.version : 0 };
}

int64_t cmc_read_whole(cmc_file *f, uint64_t offset, void *buf, uint32_t len)
{
    cmc_miss miss;
    struct client_version v;
    const int64_t n = client_read(f, offset, buf, len, &miss, &v);
    return n == len || (miss.flags & CM_MISS_EOF) ? n : CM_EABSENT;
}

int cmc_fill(cmc_file *f, const cmc_miss *miss, const void *data, uint32_t len, uint32_t flags)
{
    const uint8_t *at = data;
    (void)f;
    step();
    if (len > miss->len || (len % BLOCK != 0 && !(flags & CM_FILL_EOF)))
        now.wrong++; /* what the real call refuses */
    if (miss->ticket == 0 || miss->ticket != now.version || miss->connection != now.connection)
        return 0;
    if ((flags & CM_FILL_EOF) && miss->offset + len != now.size + now.grows)
        now.wrong++;
    for (uint32_t k = 0; k < len; k++)
        now.wrong += at[k] != byte_of(now.content, miss->offset + k);
    for (uint64_t k = miss->offset; k < miss->offset + len; k += BLOCK)
        now.present[k / BLOCK] = true;
    now.fills++;
    return 0;
}

static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    const uint64_t size = now.size + now.grows;
    uint64_t n = off >= size ? 0 : size - off;
    (void)ctx;
    step();
    now.reads++;
    if (now.fails)
        return -5000;
    if ((off | len | (uintptr_t)buf) % BLOCK != 0)
        now.wrong++;
    n = n < len ? n : len;
    copy(buf, off, n);
    return (int64_t)n;
}

static uint8_t room[(BLOCKS + 2) * CM_BLOCK_SIZE];

/* Reads, and looks at the result: of one version, the whole length, nothing beyond. */
static void look(uint64_t offset, size_t len, size_t shift)
{
    const uint64_t size = now.size + now.grows;
    const uint64_t want = offset >= size ? 0 : size - offset < len ? size - offset : len;
    uint8_t *const buf = (uint8_t *)(((uintptr_t)room + BLOCK - 1) / BLOCK * BLOCK) + shift;
    const uint32_t first = now.content;
    int64_t n;
    bool found = false;
    memset(room, 0xa5, sizeof(room));
    now.calls = 0;
    now.reads = 0;
    n = cmc_read_through((cmc_file *)&now, offset, buf, len, read_origin, NULL);
    if (now.fails && n < 0) {
        CHECK_EQ(n, -5000);
        return;
    }
    /* The service may know an older length. */
    if (now.grows == 0 || n > (int64_t)want)
        REQUIRE(n == (int64_t)want);
    for (uint32_t c = first; c <= now.content && !found; c++) {
        uint64_t k = 0;
        while (k < (uint64_t)n && buf[k] == byte_of(c, offset + k))
            k++;
        found = k == (uint64_t)n;
    }
    /* What needs a buffer is read window by window, also in the end. */
    REQUIRE(found || (now.often && (shift > 0 || offset % BLOCK || len % BLOCK) && len > WINDOW));
    if (shift == 0 && offset % BLOCK == 0 && len % BLOCK == 0)
        return;
    for (uint64_t k = len; k < len + 64; k++)
        REQUIRE(buf[k] == 0xa5);
}

static void begin(uint64_t size, unsigned pattern)
{
    memset(&now, 0, sizeof(now));
    now.size = size;
    now.connection = 1;
    now.version = 1;
    for (unsigned k = 0; k < BLOCKS; k++)
        now.present[k] = pattern == 1 || (pattern == 2 && k % 2 == 0) ||
                         (pattern == 3 && rnd() % 4 > 0) || (pattern == 4 && rnd() % 40 > 0);
}

static void test_arguments(void)
{
    uint8_t b[8];
    cmc_file *f = (cmc_file *)&now;
    begin(100 * BLOCK, 0);
    CHECK_EQ(cmc_read_through(NULL, 0, b, 8, read_origin, NULL), CM_EINVAL);
    CHECK_EQ(cmc_read_through(f, 0, NULL, 8, read_origin, NULL), CM_EINVAL);
    CHECK_EQ(cmc_read_through(f, 0, b, 8, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cmc_read_through(f, INT64_MAX, b, 8, read_origin, NULL), CM_EINVAL);
    CHECK_EQ(cmc_read_through(f, UINT64_MAX, b, 8, read_origin, NULL), CM_EINVAL);
    CHECK_EQ(cmc_read_through(f, 0, b, SIZE_MAX, read_origin, NULL), CM_EINVAL);
    CHECK_EQ(cmc_read_through(f, 0, b, 0, read_origin, NULL), 0);
    CHECK_EQ(now.calls, 0);
}

/* What is stored once is not read at the origin again. */
static void test_fills(void)
{
    for (unsigned pattern = 0; pattern < 5; pattern++) {
        begin(600 * BLOCK + 77, pattern);
        CALL(look(0, 600 * BLOCK + 77, 3));
        CHECK(pattern == 1 || now.reads > 0);
        if (pattern == 2) /* more pieces than a window stores */
            CALL(look(0, 600 * BLOCK + 77, 3));
        if (pattern == 2)
            CALL(look(0, 600 * BLOCK + 77, 3));
        now.reads = 0;
        CALL(look(0, 600 * BLOCK + 77, 0));
        CHECK_EQ(now.reads, 0);
        CHECK_EQ(now.wrong, 0);
    }
}

/* Without a service the origin is read once. */
static void test_away(void)
{
    begin(600 * BLOCK, 0);
    now.connection = 0;
    CALL(look(0, 600 * BLOCK, 0));
    CHECK_EQ(now.reads, 3); /* a window each */
    CHECK_EQ(now.fills, 0);
}

/* A version for each read: all of it comes from the origin in one call. */
static void test_restless(void)
{
    begin(600 * BLOCK, 2);
    now.changes = 1;
    now.often = true;
    CALL(look(0, 600 * BLOCK, 0));
    CHECK_EQ(now.wrong, 0);
}

static int64_t read_too_much(void *ctx, uint64_t off, void *buf, size_t len)
{
    (void)ctx, (void)off, (void)buf;
    return (int64_t)len + 1;
}

static void test_origin_errors(void)
{
    begin(600 * BLOCK, 3);
    now.fails = true;
    CALL(look(5, 600 * BLOCK - 9, 0));
    CHECK_EQ(now.fills, 0);
    begin(600 * BLOCK, 0);
    CHECK_EQ(cmc_read_through((cmc_file *)&now, 0, room, 99, read_too_much, NULL), CM_EINVAL);
}

/* Another version at each step of a read of two windows. */
static void test_each_step(void)
{
    for (unsigned k = 0; k < 2 * 60; k++) {
        begin(280 * BLOCK, 0);
        now.changes = 1 + k / 2;
        now.restarts = k % 2;
        CALL(look(0, 280 * BLOCK, 0));
        REQUIRE(now.wrong == 0);
    }
}

static void test_random(void)
{
    unsigned seen_changes = 0;
    seed = 1;
    for (unsigned round = 0; round < 3000; round++) {
        const uint64_t size = (uint64_t)rnd() % (BLOCKS * BLOCK - 3 * BLOCK) + 1;
        uint64_t offset = (uint64_t)rnd() % (rnd() % 4 ? size : size + BLOCK);
        size_t len = (size_t)rnd() % (rnd() % 2 ? 20000 : BLOCKS * BLOCK - offset) + 1, shift = 0;
        begin(size, (unsigned)rnd() % 5);
        if (rnd() % 2) {
            offset -= offset % BLOCK;
            len = (len / BLOCK + 1) * BLOCK;
        } else {
            shift = (size_t)rnd() % 99;
        }
        if (offset + len > BLOCKS * BLOCK)
            len = BLOCKS * BLOCK - offset;
        now.changes = rnd() % 4 ? (uint64_t)rnd() % (rnd() % 2 ? 12 : 120) : 0;
        now.often = rnd() % 4 == 0;
        now.restarts = rnd() % 2;
        now.grows = rnd() % 8 == 0 && size + 5000 < BLOCKS * BLOCK ? (uint32_t)rnd() % 5000 : 0;
        if (rnd() % 16 == 0)
            now.connection = 0;
        CALL(look(offset, len, shift));
        REQUIRE(now.wrong == 0);
        seen_changes += now.content > 0;
    }
    CHECK(seen_changes > 500);
}

static const struct harness_test tests[] = {
    TEST(arguments),     TEST(fills),     TEST(away),   TEST(restless),
    TEST(origin_errors), TEST(each_step), TEST(random),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
