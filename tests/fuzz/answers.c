/* SPDX-License-Identifier: BSD-2-Clause
 *
 * answers.c - fuzz target: a client of the service, whose service is the input.
 *
 * Takes the place of the client's stream: each reply is sound, with fields and data of the input,
 * or any bytes, and comes in pieces. Nothing may be written outside of the caller's buffers, and no
 * call may return more than it was asked for. (No ring: tests/service has clients and services that
 * spoil one.)
 */
#include "fuzz.h"

#include "cachemax_client.h"
#include "cachemax_protocol.h"
#include "client_stream.h"
#include "failed.h"
#include "outside_file.h"

#define BUFFER (UINT64_C(20) << 10)

static struct fuzz_input *input;
static struct outside outside;
static uint8_t reply[CMP_REPLY_MIN + 70000];
static size_t reply_len, reply_at;

/* ---- What the client library needs of the system --------------------------------------------- */

int outside_file_open(struct outside_file *o, const char *where, bool service, char why[256])
{
    (void)where, (void)service, (void)why;
    o->at = &outside;
    return 0;
}
void outside_file_close(struct outside_file *o)
{
    o->at = NULL;
}
void outside_file_follow(const struct outside_file *o, const char *where, uint64_t hash)
{
    (void)o, (void)where, (void)hash;
}
bool failed_note(const char *where, const cm_file_id *id)
{
    (void)where, (void)id;
    return true;
}
const char *client_stream_fault(const char *where)
{
    (void)where;
    return NULL;
}
bool client_stream_open(struct client_stream *s, const char *where, uint64_t timeout_ns)
{
    (void)where;
    *s = (struct client_stream){ .handle = 1, .timeout_ns = timeout_ns };
    reply_len = reply_at = 0;
    return input->left > 0;
}
bool client_stream_is_cut(struct client_stream *s)
{
    (void)s;
    return input->left == 0;
}
void client_stream_shut(struct client_stream *s)
{
    (void)s;
}
void client_stream_close(struct client_stream *s)
{
    s->handle = CLIENT_STREAM_NONE;
}

/* ---- The service ----------------------------------------------------------------------------- */

static void sound_hello(uint8_t how)
{
    struct cmp_hello_reply r = { .life = 1, .block = CM_BLOCK_SIZE, .open_max = 100, .client = 7 };

    r.data_max = how & 4 ? 8192 : CMP_DATA_MAX;
    r.flags = how & 8 ? 0 : CMP_STEERS | CMP_FORGETS_ALL;
    r.outside = outside.name;
    memcpy(reply + sizeof(struct cmp_head), &r, sizeof(r));
}

static void make_reply(const struct cmp_head *q)
{
    const uint8_t how = take_byte(input);
    struct cmp_head h = { .version = CMP_VERSION, .command = q->command, .tag = q->tag };
    const uint8_t *bytes;
    int has_data;
    size_t body = cmp_body(q->command, 1, &has_data), data = 0, got;

    memset(reply, 0xcc, sizeof(reply));
    reply_at = 0;
    if (how & 1) { /* any bytes */
        reply_len = take_bytes(input, take_byte(input), &bytes);
        memcpy(reply, bytes, reply_len);
        return;
    }
    body = body == UINT32_MAX ? 0 : body;
    memset(reply, 0, sizeof(h) + body);
    h.file = how & 2 ? take_byte(input) : q->file + (q->command == CMP_OPEN);
    h.result = how & 16 ? -(int32_t)(take_byte(input) % 40) : 0;
    if (how & 32)
        h.result = (int32_t)take_number(input, 2);
    if (h.result < 0)
        body = 0;
    if (q->command == CMP_HELLO && body > 0)
        sound_hello(how);
    else if ((got = take_bytes(input, body, &bytes)) > 0)
        memcpy(reply + sizeof(h), bytes, got);
    if (has_data && h.result > 0)
        data = (size_t)h.result * (q->command == CMP_STATS ? 8 : 1);
    if (has_data && (how & 64))
        data = take_number(input, 2);
    data = data < 65000 ? data : 65000;
    h.bytes = (uint32_t)(sizeof(h) + body + data);
    memcpy(reply, &h, sizeof(h));
    reply_len = h.bytes;
}

bool client_stream_send(struct client_stream *s, const struct piece p[2])
{
    struct cmp_head q;
    size_t bytes;

    (void)s;
    FUZZ_CHECK(p[0].n >= sizeof(q));
    memcpy(&q, p[0].at, sizeof(q));
    FUZZ_CHECK(cmp_check_head(p[0].at, p[0].n, &bytes) == CMP_SOUND);
    FUZZ_CHECK(bytes == p[0].n + p[1].n);
    if (q.command != CMP_FILL)
        make_reply(&q);
    return input->left > 0;
}

int64_t client_stream_receive(struct client_stream *s, const struct piece p[2], bool wait,
                              struct ring_pass *pass)
{
    size_t done = 0, most = 1 + take_byte(input) * 17u;

    (void)s, (void)wait, (void)pass;
    for (unsigned i = 0; i < 2; i++) {
        size_t n = reply_len - reply_at < p[i].n ? reply_len - reply_at : p[i].n;

        n = n < most ? n : most;
        if (n > 0)
            memcpy(p[i].at, reply + reply_at, n);
        most -= n;
        reply_at += n;
        done += n;
    }
    return done > 0 ? (int64_t)done : -1;
}

/* ---- The program ----------------------------------------------------------------------------- */

static int identify(void *arg, cm_validator *v)
{
    (void)arg;
    v->taken_at = cm_now();
    v->size = 100000;
    v->changed_ns = CM_CHANGED_LONG_AGO;
    v->proof[0] = 1;
    return 0;
}

static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    (void)ctx, (void)off;
    memset(buf, 0x11, len);
    return (int64_t)len;
}

/* Is what a read misses in its own blocks? */
static bool is_in_read(const cmc_miss *miss, uint64_t offset, uint32_t len)
{
    const uint64_t from = offset / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    const uint64_t to = (offset + len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;

    return miss->len == 0 ||
           (miss->offset >= from && miss->offset < to && miss->len <= to - miss->offset);
}

static void read_some(cmc_file *f, uint8_t what)
{
    const uint64_t offset = take_number(input, 3);
    const uint32_t len = 1 + (uint32_t)take_below(input, BUFFER);
    uint8_t *const buf = malloc(len);
    cmc_miss miss = { 0 };
    int64_t n;

    FUZZ_CHECK(buf != NULL);
    switch (what % 3) {
    case 0:
        n = cmc_read(f, offset, buf, len, &miss);
        FUZZ_CHECK(is_in_read(&miss, offset, len));
        if (n >= 0 && miss.len > 0)
            (void)cmc_fill(f, &miss, buf, miss.len < len ? (uint32_t)miss.len / 4096 * 4096 : 0, 0);
        break;
    case 1:
        n = cmc_read_whole(f, offset, buf, len);
        break;
    default:
        n = cmc_read_through(f, offset, buf, len, read_origin, NULL);
    }
    FUZZ_CHECK(n <= (int64_t)len);
    free(buf);
}

static void write_some(cmc_file *f, uint8_t what)
{
    const uint64_t offset = take_number(input, 3);
    cm_validator v = CM_VALIDATOR_INIT;
    cmc_bracket w;

    (void)identify(NULL, &v);
    if (what & 1) {
        cmc_sync_begin(f, &w);
        (void)cmc_sync_end(f, &w, what & 2, &v);
    } else if (cmc_write_begin(f, offset, take_number(input, 2), &w) >= 0) {
        (void)cmc_write_end(f, &w, what & 2 ? &v : NULL);
    }
    if (what & 4)
        (void)cmc_invalidate(f, offset, what & 8 ? CM_ALL : 5000);
    if (what & 16)
        (void)cmc_file_revalidate(f);
}

static void ask_some(cmc_client *k, cmc_file *f, uint8_t what)
{
    const cm_file_id id = { 1, 3 };
    uint64_t bytes = 0, values[9];
    cm_info info = CM_INFO_INIT;
    int kept;

    switch (what % 7) {
    case 0:
        if (cmc_file_cached(f, 0, 100000, &bytes, &kept) == 0)
            FUZZ_CHECK(kept == 0 || kept == 1);
        break;
    case 1:
        (void)cmc_file_set_keep(f, 1);
        break;
    case 2:
        (void)cmc_look_up(k, &id);
        break;
    case 3:
        (void)cmc_pool(k, &info);
        break;
    case 4:
        FUZZ_CHECK(cmc_stats(k, values, 9) <= 9);
        break;
    case 5:
        (void)cmc_forget_kept(k, &id, what & 1, &kept);
        break;
    default:
        (void)cmc_warm(f, 0, 20000, NULL, read_origin, NULL, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct cmc_options o = { .where = "/none", .flags = CMC_NO_RING, .timeout_ms = 1 };
    const cm_file_id id = { 1, 2 };
    struct fuzz_input in = { data, size };
    cmc_client *k;
    cmc_file *f;
    char why[256];

    input = &in;
    memset(&outside, 0, sizeof(outside));
    outside_give_name(&outside, 9);
    if (cmc_connect(&o, &k, why) != 0)
        return 0;
    if (cmc_file_open(k, &id, 0, identify, NULL, &f) == 0) {
        for (unsigned i = 0; i < 30 && in.left > 0; i++) {
            const uint8_t what = take_byte(&in);

            if (what & 0x80)
                write_some(f, what);
            else if (what & 0x40)
                ask_some(k, f, what & 0x3f);
            else
                read_some(f, what);
        }
        cmc_file_close(f);
    }
    cmc_disconnect(k);
    return 0;
}
