/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_stack.c - the calls on files fit a small stack.
 *
 * Each call runs on a stack of its own that was painted before. What is left of the paint shows how
 * deep the call went. Many calls in random order meet most states: empty and full pools, blocks
 * that wait, tails, first hits after an open, evictions, large brackets.
 */
#include "../toy_seal.h"
#include "flight_common.h"

#include <ucontext.h>

#include "state/policy_sample.h"

#define STACK_MAX 8192u         /* the header's promise */
#define STACK_MAX_SEALED 12288u /* of a sealed pool */
#define STACK_BYTES 65536u
#define PAINT UINT64_C(0xa5c3a5c3a5c3a5c3)
#define FILE_BLOCKS 600u

static struct {
    cm_cache *cache;
    cm_file *file;
    struct origin origin;
    uint64_t rng;
    /* Of the call that comes next. */
    uint64_t offset;
    size_t len;
    cm_miss miss;
    cm_request request;
    cm_piece piece;
    int request_state; /* what the last step returned; -1: not begun */
    cm_bracket bracket;
    bool open; /* the bracket */
    cm_pins pins;
} t;
static uint8_t room[1024 * 1024] __attribute__((aligned(4096)));

/* ---- Calls ----------------------------------------------------------------------------------- */

static int64_t quick_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    uint64_t end = FILE_BLOCKS * BLK + 100, n = offset >= end ? 0 : end - offset;
    (void)buf;
    return (int64_t)(n < len ? n : len);
}

static void call_read(void)
{
    (void)cm_read(t.file, t.offset, room, t.len, &t.miss);
}
static void call_read_whole(void)
{
    (void)cm_read_whole(t.file, t.offset, room, t.len, t.rng % 4 ? 0 : CM_READ_RESIDENT);
}
static void call_read_many(void)
{
    static cm_read_vec v[40];
    static cm_miss m[40];
    for (unsigned i = 0; i < 40; i++)
        v[i] = (cm_read_vec){ .offset = (t.offset + i * 7 * BLK) % (FILE_BLOCKS * BLK),
                              .buf = room,
                              .miss = &m[i] };
    for (unsigned i = 0; i < 40; i++)
        v[i].len = t.len % (2 * BLK);
    (void)cm_read_many(t.file, v, 40);
}
static void call_fill(void)
{
    uint64_t end = FILE_BLOCKS * BLK + 100, len = (t.miss.len + BLK - 1) / BLK * BLK;
    if (t.miss.len == 0 || t.miss.opaque[0] == 0)
        return;
    const bool eof = t.miss.offset + len >= end;
    if (eof)
        len = end - t.miss.offset;
    (void)cm_fill(t.file, &t.miss, room, (size_t)len, eof ? CM_FILL_EOF : 0);
    t.miss.len = 0;
}
static void call_read_through(void)
{
    (void)cm_read_through(t.file, t.offset, room + t.offset % 3, t.len, quick_read, NULL);
}
static void call_read_through_version(void)
{
    uint64_t incarnation = 0;
    (void)cm_read_through_version(t.file, t.offset, room, t.len, &incarnation, quick_read, NULL);
}
static int hardly_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    return total - done < t.rng % MIB; /* cancels now and then */
}
static void call_warm(void)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = { .struct_size = sizeof(r) };
    o.progress = hardly_progress;
    (void)cm_warm(t.file, t.offset, t.rng % 3 ? t.len : CM_ALL, &o, quick_read, NULL, &r);
}
static void call_request_begin(void)
{
    if (t.request_state >= 0)
        return;
    t.request = (cm_request)CM_REQUEST_INIT;
    t.request.offset = t.offset;
    t.request.buf = room + t.offset % 3;
    t.request.len = t.len;
    if (cm_request_begin(t.file, &t.request) == 0)
        t.request_state = CM_REQUEST_WAIT;
}
static void call_request_step(void)
{
    if (t.request_state == CM_REQUEST_WAIT)
        t.request_state = cm_request_step(&t.request, &t.piece);
}
static void call_request_complete(void)
{
    if (t.request_state != CM_REQUEST_READ)
        return;
    const int64_t n = quick_read(NULL, t.piece.offset, t.piece.buf, t.piece.len);
    (void)cm_request_complete(&t.request, &t.piece, t.rng % 9 ? n : -5000);
    t.request_state = CM_REQUEST_WAIT;
}
static void call_request_end(void)
{
    if (t.request_state == 0 && cm_request_end(&t.request) != CM_EBUSY)
        t.request_state = -1;
}
static void call_pin_range(void)
{
    static cm_iovec iov[8];
    int n;
    if (t.pins.n == 0)
        (void)cm_pin_range(t.file, t.offset, t.len, iov, 8, &n, &t.pins, NULL);
}
static void call_unpin(void)
{
    (void)cm_unpin(&t.pins);
}
static void call_write_begin(void)
{
    if (!t.open)
        t.open =
            cm_write_begin(t.file, t.offset % 5 ? t.offset : CM_APPEND, t.len, &t.bracket) == 0;
}
static void call_write_begin_large(void)
{
    if (!t.open && t.rng % 8 == 0)
        t.open = cm_write_begin(t.file, 0, 100 * MIB, &t.bracket) == 0;
}
static void call_truncate_begin(void)
{
    if (!t.open && t.rng % 8 == 0)
        t.open = cm_truncate_begin(t.file, t.offset, &t.bracket) == 0;
}
static void call_write_end(void)
{
    cm_validator v = val(FILE_BLOCKS * BLK + 100, t.rng);
    if (t.open)
        (void)cm_write_end(t.file, &t.bracket, t.rng % 2 ? &v : NULL);
    t.open = false;
}
static void call_sync(void)
{
    cm_sync s;
    (void)cm_sync_begin(t.file, &s);
    (void)cm_sync_end(t.file, &s, 1, NULL);
}
static void call_invalidate(void)
{
    if (t.rng % 8 == 0)
        (void)cm_invalidate(t.file, t.offset, t.rng % 16 ? t.len : CM_ALL);
}
static void call_abort(void)
{
    if (t.rng % 16 == 0 && cm_file_abort(t.file) == 0)
        t.open = false;
}
static void call_revalidate(void)
{
    cm_validator v = val(FILE_BLOCKS * BLK + 100, t.rng % 4);
    if (t.rng % 16 == 0)
        (void)cm_file_revalidate(t.file, &v);
}
static void call_others(void)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    (void)cm_file_advise(t.file, (int)(t.rng % 4));
    (void)cm_file_get_info(t.file, &info);
}

static void call_attach(void)
{
    const uint64_t n = 2 + t.rng % 300;
    cm_file_id id = id_of(n);
    cm_validator v = val(t.rng % 2 ? CM_SIZE_UNKNOWN : n, t.rng % 3);
    cm_file *f;
    if (cm_file_open(t.cache, &id, &v, 0, &f) >= 0)
        (void)cm_file_close(f);
}
static void call_forget(void)
{
    cm_file_id id = id_of(2 + t.rng % 300);
    (void)cm_forget(t.cache, &id);
}
static void call_lookup(void)
{
    cm_file_id id = id_of(1 + t.rng % 300);
    (void)cm_file_lookup(t.cache, &id, NULL, NULL);
}
static void call_ttl(void)
{
    (void)cm_file_set_ttl(t.file, t.rng % 4);
}

static struct {
    const char *name;
    void (*call)(void);
    size_t deepest;
} calls[] = {
    { "cm_read", call_read, 0 },
    { "cm_read_whole", call_read_whole, 0 },
    { "cm_read_many", call_read_many, 0 },
    { "cm_fill", call_fill, 0 },
    { "cm_read_through", call_read_through, 0 },
    { "cm_read_through_version", call_read_through_version, 0 },
    { "cm_warm", call_warm, 0 },
    { "cm_request_begin", call_request_begin, 0 },
    { "cm_request_step", call_request_step, 0 },
    { "cm_request_complete", call_request_complete, 0 },
    { "cm_request_end", call_request_end, 0 },
    { "cm_pin_range", call_pin_range, 0 },
    { "cm_unpin", call_unpin, 0 },
    { "cm_write_begin", call_write_begin, 0 },
    { "cm_write_begin, large", call_write_begin_large, 0 },
    { "cm_truncate_begin", call_truncate_begin, 0 },
    { "cm_write_end", call_write_end, 0 },
    { "cm_sync_begin, cm_sync_end", call_sync, 0 },
    { "cm_invalidate", call_invalidate, 0 },
    { "cm_file_abort", call_abort, 0 },
    { "cm_file_revalidate", call_revalidate, 0 },
    { "cm_file_advise, cm_file_get_info", call_others, 0 },
    { "cm_file_open, cm_file_close", call_attach, 0 },
    { "cm_forget", call_forget, 0 },
    { "cm_file_lookup", call_lookup, 0 },
    { "cm_file_set_ttl", call_ttl, 0 },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- A painted stack ------------------------------------------------------------------------- */

static uint64_t stack[STACK_BYTES / 8] __attribute__((aligned(4096)));
static ucontext_t outside, inside;
static void (*next_call)(void);
static uint64_t *top; /* the stack of the caller of next_call */

/* Runs one call after the other on the painted stack. */
static void run_calls(void)
{
    for (;;) {
        top = __builtin_frame_address(0);
        next_call();
        (void)swapcontext(&inside, &outside);
    }
}

/* How many bytes below the caller's frame a call has touched. The frame is counted, too. */
static size_t depth_of(void (*call)(void))
{
    next_call = call;
    (void)swapcontext(&outside, &inside);
    uint64_t *low = stack;
    while (*low == PAINT)
        low++;
    const size_t depth = (size_t)(top - low) * sizeof(*low);
    while (low < top - 64) /* run_calls() itself keeps what is near the top */
        *low++ = PAINT;
    return depth;
}

/* `seal`: NULL: the pool is not sealed. */
static void run_sessions(const cm_seal *seal)
{
    cm_create_options made = CM_CREATE_OPTIONS_INIT;
    struct pool p;
    pool_make(&p, 2 * MIB, 0);
    made.seal = p.o.seal = seal;
    if (seal)
        CHECK_EQ(cm_format_memory(p.base, p.bytes, &made), 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    p.o.join_timeout_ns = 1; /* a request of this thread may read the same block */
    for (unsigned session = 0; session < 24; session++) {
        p.o.probation_bytes = session % 3 ? session % 3 * 40 * BLK : CM_PROBATION_NONE;
        p.o.policy = session % 2 ? CM_POLICY_S3R : CM_POLICY_AUTO;
        REQUIRE(pool_up(&p) == 0);
        t.cache = p.c;
        t.file =
            attach(&p, 1, FILE_BLOCKS * BLK + 100, session / 4, session % 2 ? CM_SOLE_WRITER : 0);
        t.request_state = -1;
        t.open = false;
        t.miss.len = 0;
        for (unsigned i = 0; i < 4000; i++) {
            const uint64_t x = next_random(&t.rng);
            t.offset = x % (x >> 60 ? 60 * BLK : (FILE_BLOCKS + 1) * BLK);
            t.offset -= x >> 32 & 1 ? t.offset % BLK : 0;
            t.len = x >> 20 & (x >> 33 & 7 ? 0x7fff : 0x7ffff);
            const size_t k = (x >> 44) % CALLS;
            const size_t depth = depth_of(calls[k].call);
            if (depth > calls[k].deepest)
                calls[k].deepest = depth;
        }
        while (t.request_state >= 0) {
            call_request_step();
            call_request_complete();
            call_request_end();
        }
        (void)cm_unpin(&t.pins);
        call_write_end();
        (void)cm_file_advise(t.file, CM_ADVISE_NORMAL);
        detach(t.file);
        pool_down(&p);
    }
    pool_end(&p);
}

static void judge(size_t most)
{
    for (size_t k = 0; k < CALLS; k++) {
        CASE("%s", calls[k].name);
        printf("# %5zu of %5zu bytes: %s\n", calls[k].deepest, most, calls[k].name);
        CHECK(calls[k].deepest > 0);
        CHECK(calls[k].deepest <= most);
        calls[k].deepest = 0;
    }
}

static void test_depth(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(CM_TSAN)
    SKIP("a sanitizer makes every frame longer");
#endif
#ifdef CM_CHECKS_FULL
    SKIP("-Dchecks=full looks at all structures in every call");
#endif
    for (size_t i = 0; i < STACK_BYTES / 8; i++)
        stack[i] = PAINT;
    (void)getcontext(&inside);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof(stack);
    inside.uc_link = NULL;
    makecontext(&inside, run_calls, 0);
    struct toy_key key = { .key = 3 };
    const cm_seal seal = toy_seal(&key, 1);
    run_sessions(NULL);
    judge(STACK_MAX);
    run_sessions(&seal);
    judge(STACK_MAX_SEALED);
}

static const struct harness_test tests[] = { TEST(depth) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
