/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_misses.c - what a client believes of a reply that says what is missing.
 *
 * The link and the file are made up: each read gets the same reply.
 */
#include <string.h>

#include "harness.h"

#include "../../examples/service/client_read.c"

#define BLK CM_BLOCK_SIZE
#define LIFE 3u /* number of the link */

static struct cmp_read_reply reply;
static size_t served; /* bytes that come with it */

int64_t link_ask(struct link *l, const struct request *q, struct answer *a)
{
    (void)l;
    memcpy(a->body, &reply, sizeof(reply));
    memset(a->data, 'x', served);
    a->data_len = served;
    a->file = q->file;
    return (int64_t)served;
}
void link_tell(struct link *l, const struct request *q)
{
    (void)l, (void)q;
}
void link_drop(struct link *l)
{
    (void)l;
}
uint32_t link_number(const struct link *l)
{
    (void)l;
    return LIFE;
}
uint32_t link_data_max(const struct link *l)
{
    (void)l;
    return 1u << 20;
}
bool link_steers(const struct link *l)
{
    (void)l;
    return true;
}
struct link *client_hold(cmc_file *f, uint32_t *handle)
{
    *handle = 1;
    return (struct link *)f;
}
struct link *client_hold_open(cmc_file *f, uint32_t *handle)
{
    return client_hold(f, handle);
}

/* Reads [offset, offset + len), of which `n` bytes are served. */
static cmc_miss miss_of(const struct cmp_read_reply *r, uint64_t offset, uint32_t len, size_t n)
{
    static uint8_t buf[4 * BLK];
    static int any;
    cmc_miss miss;
    reply = *r;
    served = n;
    CHECK_EQ(cmc_read((cmc_file *)(void *)&any, offset, buf, len, &miss), n);
    return miss;
}

/* It is about blocks that were not asked for: they would be read and stored outside of the reader's
 * memory. So nothing is stored, and what the read lacks is read at the origin. */
static void test_elsewhere(void)
{
    static const struct cmp_read_reply wrong[] = {
        { .ticket = 1, .miss_offset = 0, .miss_len = BLK },
        { .ticket = 1, .miss_offset = 2 * BLK, .miss_len = BLK },
        { .ticket = 1, .miss_offset = 3 * BLK, .miss_len = BLK },
        { .ticket = 1, .miss_offset = UINT64_C(1) << 40, .miss_len = BLK },
        { .ticket = 1, .miss_offset = UINT64_MAX - BLK + 1, .miss_len = 2 * BLK },
        { .ticket = 1, .miss_offset = BLK + 1, .miss_len = 100 },
        { .ticket = 1, .miss_offset = BLK, .miss_len = 2 * BLK + 1 },
        { .ticket = 1, .miss_offset = BLK, .miss_len = UINT32_MAX },
        { .ticket = 1, .miss_offset = BLK, .miss_len = 0 },
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CASE("reply %u", i);
        const cmc_miss miss = miss_of(&wrong[i], BLK, 2 * BLK, 0);
        CHECK_EQ(miss.offset, BLK);
        CHECK_EQ(miss.len, 2 * BLK);
        CHECK_EQ(miss.flags, CM_MISS_NOFILL);
        CHECK_EQ(miss.ticket, 0);
    }
}

/* All of it came, and a miss as well. */
static void test_nothing_missing(void)
{
    const struct cmp_read_reply r = { .ticket = 1, .miss_offset = 3 * BLK, .miss_len = BLK };
    const cmc_miss miss = miss_of(&r, BLK, 2 * BLK, 2 * BLK);
    CHECK_EQ(miss.len, 0);
    CHECK_EQ(miss.ticket, 0);
}

/* Blocks of the read: also the whole of those that it begins and ends in. */
static void test_within(void)
{
    const struct cmp_read_reply all = { .ticket = 7, .miss_offset = BLK, .miss_len = 3 * BLK };
    const struct cmp_read_reply last = { .ticket = 7, .miss_offset = 3 * BLK, .miss_len = 100 };
    cmc_miss miss = miss_of(&all, BLK + 5, 2 * BLK, 0);
    CHECK_EQ(miss.offset, BLK);
    CHECK_EQ(miss.len, 3 * BLK);
    CHECK_EQ(miss.ticket, 7);
    CHECK_EQ(miss.connection, LIFE);
    miss = miss_of(&last, BLK + 5, 2 * BLK, 2 * BLK - 5);
    CHECK_EQ(miss.offset, 3 * BLK);
    CHECK_EQ(miss.len, 100);
    CHECK_EQ(miss.ticket, 7);
}

static const struct harness_test tests[] = {
    TEST(elsewhere),
    TEST(nothing_missing),
    TEST(within),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
