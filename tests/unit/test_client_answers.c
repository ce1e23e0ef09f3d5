/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_client_answers.c - a client whose service answers what it may not answer, by the stream and
 * by the ring.
 *
 * The service is made up: client_service.h. In the ring this program answers itself.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#include "../../examples/service/os.h"
#include "../../examples/service/ring.h"

static void answer_at_once(struct ring_side *s, unsigned slot);

#define ring_ask(s, slot) answer_at_once(s, slot)
#include "../../examples/service/client.c"
#include "../../examples/service/client_link.c"
#include "../../examples/service/client_read.c"
#include "../../examples/service/client_steer.c"
#include "../../examples/service/client_through.c"
#undef BLOCK
#include "../../examples/service/client_warm.c"
#include "../../examples/service/failed_posix.c"
#include "../../examples/service/client_socket.c"
#include "../../examples/service/outside_file.c"
#undef ring_ask

#include "client_service.h"

#define BLK CM_BLOCK_SIZE

static cmc_client *client;
static cmc_file *file;

/* ---- Whose answer it is ---------------------------------------------------------------------- */

static int64_t tag_off;
static uint16_t says_command; /* 0: the right one */
static int32_t says_result;

static void answer_another(struct cmp_head *h, uint8_t *body)
{
    (void)body;
    if (h->command != CMP_WRITE_BEGIN)
        return;
    h->tag += (uint64_t)tag_off;
    h->command = says_command ? says_command : h->command;
    h->result = says_result;
    if (h->result < 0)
        h->bytes = sizeof(*h);
}

/* An answer to another request says nothing about this one, so the link is of no use any more. */
static void test_other_request(void)
{
    static const struct {
        int64_t tag_off;
        uint16_t command;
        int32_t result;
        bool is_lost;
    } v[] = {
        { 0, 0, 0, false },           { 0, 0, CM_ENOMEM, false }, { -1, 0, 0, true },
        { -1, 0, CM_ENOMEM, true },   { 1, 0, 0, true },          { 0, CMP_SYNC_BEGIN, 0, true },
        { -3, 0, CMP_CROWDED, true }, /* tag 0: to a hello only */
    };
    cmc_bracket w;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        CASE("i %zu", i);
        service_up(false);
        client = connect_here();
        file = open_here(client);
        struct link *l = client->link;
        link_hold(l);
        tag_off = v[i].tag_off;
        says_command = v[i].command;
        says_result = v[i].result;
        change = answer_another;
        CHECK_EQ(cmc_write_begin(file, 0, 1, &w), 0);
        change = NULL;
        CHECK_EQ(w.outside, v[i].is_lost || v[i].result < 0);
        CHECK_EQ(link_is_lost(l), v[i].is_lost);
        link_drop(l);
        CHECK_EQ(cmc_write_end(file, &w, NULL), 0);
        cmc_file_close(file);
        cmc_disconnect(client);
        service_down();
    }
}

/* ---- What is missing ------------------------------------------------------------------------- */

static struct cmp_read_reply says; /* the reply to a read */

static void answer_read(struct cmp_head *h, uint8_t *body)
{
    if (h->command == CMP_READ)
        memcpy(body, &says, sizeof(says));
}

static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    (void)ctx, (void)off;
    memset(buf, 1, len);
    return (int64_t)len;
}

/* A miss that is not of the read is none: what would be read and stored there is not the reader's
 * memory. */
static void test_miss_elsewhere(void)
{
    static const struct {
        uint64_t offset;
        uint32_t len;
        uint64_t miss_offset;
        uint32_t miss_len;
        bool is_taken;
    } v[] = {
        { 0, BLK, 0, BLK, true },
        { 0, BLK, 0, 5, true },
        { 0, BLK, 0, BLK + 1, false },
        { 0, BLK, 0, 2 * BLK, false }, /* a block more than was asked for */
        { 0, BLK, 0, UINT32_MAX, false },
        { 0, BLK, 0, 0, false },
        { 0, BLK, BLK, BLK, false },
        { BLK, BLK, 0, BLK, false },
        { BLK, BLK, 0, 2 * BLK, false },
        { BLK, BLK, BLK, BLK, true },
        { BLK, BLK, UINT64_MAX - BLK + 1, BLK, false },
        { 5, 10, 0, BLK, true },
        { 5, 10, 5, 10, false },
        { 5, BLK, 0, 2 * BLK, true },
        { 5, BLK, 0, 2 * BLK + 1, false },
    };
    static _Alignas(4096) uint8_t room[16 * BLK];
    cmc_miss miss;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    change = answer_read;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        CASE("i %zu", i);
        const bool is = v[i].is_taken;
        says = (struct cmp_read_reply){
            .ticket = 77, .miss_offset = v[i].miss_offset, .miss_len = v[i].miss_len, .version = 1
        };
        CHECK_EQ(cmc_read(file, v[i].offset, room, v[i].len, &miss), 0);
        CHECK_EQ(miss.ticket, is ? 77 : 0);
        CHECK_EQ(miss.flags, is ? 0 : CM_MISS_NOFILL);
        CHECK_EQ(miss.offset, is ? v[i].miss_offset : v[i].offset);
        CHECK_EQ(miss.len, is ? v[i].miss_len : v[i].len);
        filled = 0;
        CHECK_EQ(cmc_read_through(file, v[i].offset, room, v[i].len, read_origin, NULL), v[i].len);
        CHECK_EQ(cmc_invalidate(file, 0, CM_ALL), 0); /* its fills came before */
        CHECK(filled <= v[i].len + (v[i].offset % BLK ? 2 * BLK : 0));
        CHECK(is || v[i].offset % BLK || filled == 0);
    }
    change = NULL;
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
}

/* ---- The ring -------------------------------------------------------------------------------- */

#define AROUND ((uint32_t)(sizeof(struct cmp_head) + sizeof(struct cmp_read_reply)))

static uint32_t says_bytes; /* of the whole answer */

static void answer_at_once(struct ring_side *s, unsigned slot)
{
    uint8_t *const m = s->ring->slot[slot].message;
    struct cmp_head h;
    memcpy(&h, m, sizeof(h));
    memset(m, 0x5a, RING_ROOM);
    h.bytes = says_bytes;
    h.tag += (uint64_t)tag_off;
    h.command = says_command ? says_command : h.command;
    memcpy(m, &h, sizeof(h));
    memset(m + sizeof(h), 0, sizeof(struct cmp_read_reply));
    atomic_store(&s->ring->slot[slot].state, RING_ANSWERED);
}

static bool has_only(const uint8_t *bytes, size_t n, uint8_t what)
{
    size_t k = 0;
    while (k < n && bytes[k] == what)
        k++;
    return k == n;
}

/* No answer is longer than what was asked for, or than a slot, and each is of its own request. */
static void test_ring(void)
{
    static const struct {
        uint32_t bytes;
        int64_t tag_off;
        uint16_t command;
        bool is_sound;
    } v[] = {
        { AROUND + BLK, 0, 0, true },
        { AROUND, 0, 0, true },
        { AROUND + BLK + 1, 0, 0, false },
        { AROUND - 1, 0, 0, false },
        { RING_ROOM, 0, 0, false },
        { RING_ROOM + 1, 0, 0, false },
        { CMP_MESSAGE_MAX, 0, 0, false },
        { UINT32_MAX, 0, 0, false },
        { 0, 0, 0, false },
        { AROUND + BLK, -1, 0, false },
        { AROUND + BLK, 1, 0, false },
        { AROUND + BLK, 0, CMP_STATS, false },
    };
    static uint8_t data[CMP_MESSAGE_MAX];
    const struct cmp_read m = { .len = BLK };
    const struct request q = { CMP_READ, 1, &m, NULL, sizeof(m), 0 };
    struct cmp_read_reply r;
    struct ring *ring = calloc(1, sizeof(*ring));
    REQUIRE(ring != NULL);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        CASE("i %zu", i);
        struct link l = { .refs = 1, .free = UINT32_MAX, .timeout_ns = 1000000000, .ring_tag = 7 };
        struct answer a = { .body = &r, .body_room = sizeof(r), .data = data, .data_room = BLK };
        l.stream.handle = CLIENT_STREAM_NONE;
        l.ring.ring = ring;
        says_bytes = v[i].bytes;
        tag_off = v[i].tag_off;
        says_command = v[i].command;
        memset(data, 0, sizeof(data));
        CHECK_EQ(link_ask(&l, &q, &a), v[i].is_sound ? 0 : LINK_LOST);
        CHECK_EQ(link_is_lost(&l), !v[i].is_sound);
        if (v[i].is_sound)
            CHECK_EQ(a.data_len, v[i].bytes - AROUND);
        CHECK(has_only(data, BLK, v[i].is_sound && v[i].bytes > AROUND ? 0x5a : 0));
        CHECK(has_only(data + BLK, sizeof(data) - BLK, 0));
    }
    free(ring);
}

static const struct harness_test tests[] = {
    TEST(other_request),
    TEST(miss_elsewhere),
    TEST(ring),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
