/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_filter_power.c - power cuts below the driver for Windows: its core, the service's session
 * and a pool that survives. Not the messages are judged, but what a read gets after the cut.
 *
 * The file has one block. Its content is in the system's cache and on the disk, and so are its
 * times. A power cut leaves what the disk has.
 */
#include "session_fixture.h"

#include "filter_core.h"

#define SLOTS 8u

struct state {
    uint8_t content;
    int64_t time; /* of the last change */
};
static struct state cached, disk;
static int64_t booted; /* time of the file before all tests: long before the boot */
static void (*at_facts)(void);
static void (*at_read)(void); /* happens before the service gets the second read from now on */
static unsigned reads;
static uint64_t blocks = 1; /* of the file */
static bool fresh;          /* its times are of this moment */

/* ---- The shell ------------------------------------------------------------------------------- */

static struct client k;
static uint32_t gone; /* the last life that has ended */

static int to_service(void *ctx, uint32_t life, const void *message, uint32_t bytes, void *to,
                      uint32_t room, bool patient)
{
    static uint8_t out[CMP_MESSAGE_MAX];
    void (*const meanwhile)(void) = at_read;
    struct cmp_head h;
    (void)ctx, (void)patient;
    if (life <= gone)
        return FC_GONE;
    memcpy(&h, message, sizeof(h));
    if (meanwhile && h.command == CMP_READ && ++reads == 2) {
        at_read = NULL;
        meanwhile();
    }
    const int64_t n = session_handle(k.s, true, message, bytes, out, sizeof(out), &why);
    CHECK(n >= 0 && n <= (int64_t)(room ? room : sizeof(out)));
    if (n > 0 && room > 0)
        memcpy(to, out, (size_t)n);
    return n < 0 ? FC_GONE : (int)n;
}

static void hang_up(void *ctx, uint32_t life)
{
    (void)ctx;
    gone = life;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void *get_memory(void *ctx, size_t n)
{
    (void)ctx;
    return malloc(n);
}

static void give_back(void *ctx, void *at)
{
    (void)ctx;
    free(at);
}

static bool facts(void *ctx, const void *via, struct fc_facts *f, bool only_id)
{
    void (*const meanwhile)(void) = at_facts;
    (void)ctx, (void)via, (void)only_id;
    at_facts = NULL;
    if (meanwhile)
        meanwhile();
    *f = (struct fc_facts){ .volume = 1, .file = { 7 }, .size = blocks * BLK };
    f->written_ns = f->changed_ns = cached.time;
    f->racy = fresh;
    f->taken_at = later();
    return true;
}

static uint64_t no_time(void *ctx)
{
    (void)ctx;
    return 0;
}

static const struct fc_env env = { .ask = to_service,
                                   .hang_up = hang_up,
                                   .tend = nothing,
                                   .alloc = get_memory,
                                   .free = give_back,
                                   .lock = nothing,
                                   .unlock = nothing,
                                   .facts = facts,
                                   .now_ns = no_time,
                                   .timeout_ns = 1 };
static struct fc fc;
static struct fc_file file;
static struct fc_id set[SLOTS];

/* ---- What happens ---------------------------------------------------------------------------- */

static void start_service(void)
{
    service_begin(&service, p.c, &outside, 5);
    k = (struct client){ .s = session_begin(&service, 4, CMP_DATA_MAX) };
    REQUIRE(k.s != NULL);
}

static void stop_service(void)
{
    gone = fc.life;
    fc_disconnect(&fc, fc.life);
    session_end(k.s, true);
    service_end(&service);
}

static void start_driver(void)
{
    gone = 0;
    fc_init(&fc, &env, set, SLOTS);
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
}

static void begin(void)
{
    booted = 1000;
    cached = disk = (struct state){ 'a', booted };
    at_facts = NULL;
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    REQUIRE(pool_up(&p) == 0);
    memset(&outside, 0, sizeof(outside));
    start_service();
    start_driver();
    CHECK(fc_connect(&fc, 1));
}

static void end(void)
{
    fc_file_done(&file);
    stop_service();
    pool_end(&p);
}

/* Returns what a reader gets. *hit: from the pool. */
static uint8_t read_file(bool *hit)
{
    static uint8_t buf[BLK];
    struct fc_read missed;
    uint32_t got = 0;
    *hit = fc_read(&file, NULL, 0, BLK, buf, &got, &missed) == FC_DONE && got == BLK;
    if (*hit)
        return buf[0];
    memset(buf, cached.content, BLK);
    fc_fill(&file, &missed, buf, BLK);
    return cached.content;
}

static bool warm(void)
{
    bool hit;
    (void)read_file(&hit);
    CHECK_EQ(read_file(&hit), cached.content);
    return hit;
}

/* The disk has all of it, and the service knows. */
static void sync_file(void)
{
    struct fc_sync s;
    CHECK(fc_sync_begin(&file, NULL, &s));
    disk = cached;
    fc_sync_end(&file, &s, true);
}

/* The image of the pool is what it is now. */
static void power_cut(void)
{
    gone = fc.life;
    session_end(k.s, false);
    pool_crash(&p);
    service_end(&service);
    pool_other_boot(&p);
    cached = disk;
    REQUIRE(pool_up(&p) == 0);
    start_service();
    start_driver();
    CHECK(fc_connect(&fc, 1));
}

/* What a reader gets is what the file holds. */
static bool hits_after_cut(void)
{
    bool hit;
    power_cut();
    CHECK_EQ(read_file(&hit), cached.content);
    return hit;
}

/* ---- The tests ------------------------------------------------------------------------------- */

#define NEED_DAX                                                                                   \
    if (!cpu_flushes())                                                                            \
    SKIP("no flush instruction in this build")

/* A pool that forgets all would pass the other tests. */
static void test_warm(void)
{
    NEED_DAX;
    begin();
    CHECK(warm());
    CHECK(hits_after_cut());
    struct fc_write w; /* and what was written and synced is warm */
    fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
    cached.content = 'b';
    fc_write_end(&w);
    CHECK(warm());
    sync_file();
    CHECK(hits_after_cut());
    end();
}

/* A bracket whose write was never synced. */
static void test_bracket(void)
{
    struct fc_write w;
    NEED_DAX;
    begin();
    CHECK(warm());
    fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
    cached.content = 'b';
    fc_write_end(&w);
    CHECK(warm());
    CHECK(!hits_after_cut());
    end();
}

/* W3: a mapping lasts, and the disk gets what was stored through it. The times move late. */
static void test_mapping(void)
{
    struct fc_write w;
    NEED_DAX;
    begin();
    CHECK(warm());
    fc_write_begin_outside(&file, &w);
    fc_tend(&fc);
    cached.content = disk.content = 'b';
    CHECK(!hits_after_cut());
    end();
}

/* B5: what was written while there was no service is read, and lost with the power. The times are
 * the old ones: the writer set them so, or its handle is still open. */
static void test_written_without_service(void)
{
    NEED_DAX;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        struct fc_write w;
        begin();
        CHECK(warm());
        stop_service();
        fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
        CHECK(w.outside);
        cached.content = 'b';
        fc_write_end(&w);
        start_service();
        CHECK(fc_connect(&fc, 2));
        CHECK(warm());
        if (i == 1) /* what is on the disk stays */
            sync_file();
        CHECK_EQ(hits_after_cut(), i == 1);
        end();
    }
}

static void write_unseen(void)
{
    static struct fc_write w; /* it has not ended when the power fails */
    fc_write_begin_outside(&file, &w);
    cached = disk = (struct state){ 'c', booted + 5 };
}

/* B4: the times that a close tells are those of an outside write, which has begun meanwhile and is
 * on the disk. What the pool has is older. */
static void test_settled_too_late(void)
{
    struct fc_write w;
    NEED_DAX;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
        cached = (struct state){ 'b', booted + 3 };
        fc_write_end(&w);
        CHECK(warm());
        sync_file();
        at_facts = i ? write_unseen : NULL;
        fc_settle(&file, NULL);
        CHECK_EQ(hits_after_cut(), i == 0);
        end();
    }
}

static void begin_unknown(void)
{
    fc_maybe_begin(&file);
    cached = disk = (struct state){ 'c', booted + 5 };
}

static void close_in_unknown(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
    cached = (struct state){ 'b', booted + 3 };
    fc_write_end(&w);
    CHECK(warm());
    sync_file();
    at_facts = begin_unknown;
    fc_settle(&file, NULL);
}

/* The sync opens the file with times from the middle. */
static void sync_in_unknown(void)
{
    CHECK(warm());
    fc_file_done(&file);
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
    begin_unknown();
    sync_file();
    CHECK(!warm());
}

static void fill_in_unknown(void)
{
    static uint8_t half[BLK];
    struct fc_read missed;
    uint32_t got = 0;
    CHECK_EQ(fc_read(&file, NULL, 0, BLK, half, &got, &missed), FC_PASS);
    begin_unknown();
    cached.time = disk.time = booted;
    memset(half, cached.content, BLK);
    fc_fill(&file, &missed, half, BLK);
}

static void read_in_unknown(void)
{
    begin_unknown();
    CHECK(!warm());
}

/* B9: a control code that is not known has done a half. Meanwhile somebody reads the file for the
 * first time, or a handle is closed, or a fill comes that was on its way, or the file is synced.
 * The code goes on, which need not move the times, and the power fails. */
static void test_unknown_code(void)
{
    static void (*const meanwhile[])(void) = { read_in_unknown, close_in_unknown, fill_in_unknown,
                                               sync_in_unknown };
    NEED_DAX;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        meanwhile[i]();
        cached.content = disk.content = 'd';
        CHECK(!hits_after_cut());
        end();
    }
}

/* B10: a fill whose ticket is older than an outside write. The power fails before the file is
 * forgotten. */
static void test_fill_in_outside(void)
{
    static uint8_t half[BLK];
    NEED_DAX;
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        struct fc_write w;
        struct fc_read missed;
        uint32_t got = 0;
        begin();
        CHECK_EQ(fc_read(&file, NULL, 0, BLK, half, &got, &missed), FC_PASS);
        memset(half, 'a', BLK);
        if (i == 1)
            fc_maybe_begin(&file);
        else
            fc_write_begin_outside(&file, &w);
        if (i == 2) { /* what was read before gets to the pool, what is written to the disk */
            fc_fill(&file, &missed, half, BLK);
            disk.content = 'd';
        } else { /* only the system's cache has what was written, and what was read after that */
            if (i == 0)
                fc_write_end(&w);
            else
                fc_maybe_end(&file, true);
            memset(half, 'b', BLK);
            fc_fill(&file, &missed, half, BLK);
        }
        CHECK(!hits_after_cut());
        end();
    }
}

/* Nobody uses the file any more, so its stream ends. Then it is opened again. */
static void next_use(void)
{
    fc_file_done(&file);
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
}

static struct fc_read old_ticket;

/* The old ticket's fill is read after that, as the second part will be. */
static void write_and_fill(void)
{
    static uint8_t b[BLK];
    struct fc_write w;
    fc_write_begin_outside(&file, &w);
    fc_write_end(&w);
    memset(b, 'b', BLK);
    fc_fill(&file, &old_ticket, b, BLK);
}

/* B3, B10: a read of two blocks, each in a message of its own. Between them both are written
 * outside, and somebody else has missed the second one before. */
static void test_mixture(void)
{
    static uint8_t b[2 * BLK];
    struct fc_read missed;
    uint32_t got = 0;
    NEED_DAX;
    begin();
    blocks = 2;
    next_use();
    fc.data_max = BLK;
    CHECK(warm());
    CHECK_EQ(fc_read(&file, NULL, BLK, BLK, b, &got, &old_ticket), FC_PASS);
    reads = 0;
    at_read = write_and_fill;
    CHECK_EQ(fc_read(&file, NULL, 0, 2 * BLK, b, &got, &missed), FC_PASS);
    CHECK_EQ(reads, 2);
    blocks = 1;
    end();
}

/* A sync whose end nobody knows proves nothing, and takes nothing away. */
static void test_dropped_sync(void)
{
    NEED_DAX;
    for (unsigned written = 0; written < 2; written++) {
        CASE("written %u", written);
        struct fc_write w;
        struct fc_sync s;
        bool hit;
        begin();
        if (written) {
            fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
            cached.content = 'b';
            fc_write_end(&w);
        }
        CHECK(warm());
        CHECK(fc_sync_begin(&file, NULL, &s));
        fc_sync_drop(&file, &s);
        CHECK_EQ(read_file(&hit), cached.content);
        CHECK(hit);
        CHECK_EQ(hits_after_cut(), !written);
        CHECK(warm());
        end();
    }
}

/* A write of a handle that is open all the time. The journal gets one record of such a handle until
 * it is closed, and so does the disk. */
static void write_journaled(bool first)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
    cached.content++;
    cached.time += first;
    disk = cached;
    fc_write_end(&w);
}

/* B6: a program has the file open for writing, and has written. What is told of its times is from
 * after that: when the next service opens the file, or when another writer closes it. Then the
 * service goes, the program writes again, and the power fails. */
static void test_open_all_the_time(void)
{
    NEED_DAX;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        bool stays = false, other = false;
        begin();
        CHECK(warm());
        fc_writer(&file, &stays, true);
        if (i < 3) /* else the other one is older than the filter */
            fc_writer(&file, &other, true);
        write_journaled(true);
        sync_file();
        if (i == 0) {
            stop_service();
            start_service();
            CHECK(fc_connect(&fc, 2));
        } else {
            fc_writer(&file, &other, false);
            fc_settle(&file, NULL);
        }
        CHECK(warm());
        if (i == 2) { /* both have closed it, and it is opened again */
            fc_writer(&file, &stays, false);
            fc_settle(&file, NULL);
            fc_writer(&file, &other, true);
        }
        stop_service();
        if (i != 2)
            write_journaled(false);
        start_service();
        gone = 0;
        CHECK_EQ(hits_after_cut(), i == 2);
        end();
    }
}

/* A file that is written and closed, and never synced: as long as the system runs, its disk gets
 * all of it. Not so if the disk may be pulled out. */
static void test_next_use(void)
{
    static uint8_t buf[BLK];
    NEED_DAX;
    for (unsigned portable = 0; portable < 2; portable++) {
        CASE("portable %u", portable);
        unsigned hits = 0;
        bool writer = false;
        struct fc_write w;
        struct fc_read missed;
        uint32_t got;
        begin();
        blocks = 64;
        next_use();
        if (portable)
            fc_file_is_portable(&file);
        for (uint64_t i = 0; i < blocks; i++) {
            CHECK_EQ(fc_read(&file, NULL, i * BLK, BLK, buf, &got, &missed), FC_PASS);
            fc_fill(&file, &missed, buf, BLK);
        }
        fc_writer(&file, &writer, true);
        fc_write_begin(&file, NULL, &w, FC_RANGE, 63 * BLK, BLK);
        cached.time++;
        fc_write_end(&w);
        fc_writer(&file, &writer, false);
        fc_settle(&file, NULL);
        next_use();
        if (portable)
            fc_file_is_portable(&file);
        for (uint64_t i = 0; i < blocks; i++)
            hits += fc_read(&file, NULL, i * BLK, BLK, buf, &got, &missed) == FC_DONE;
        CHECK_EQ(hits, portable ? 0 : 63);
        end();
        blocks = 1;
    }
}

/* B7: the close itself moves the times. Somebody closes the file once more, later, or nobody does.
 * Then the power fails, or nobody uses the file any more. */
static void test_told_too_early(void)
{
    NEED_DAX;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        struct fc_write w;
        bool hit;
        begin();
        CHECK(warm());
        fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLK);
        cached = (struct state){ 'b', booted + 3 };
        fc_write_end(&w);
        CHECK(warm());
        sync_file();
        fresh = true;
        fc_settle(&file, NULL);
        fresh = false;
        if (i & 1)
            fc_settle(&file, NULL);
        if (i & 2) {
            CHECK_EQ(hits_after_cut(), i & 1);
        } else {
            next_use();
            CHECK_EQ(read_file(&hit), 'b');
            CHECK_EQ(hit, i & 1);
        }
        end();
    }
}

/* B8: a backup clears the archive bit. The content stays, and the times move. */
static void test_attributes(void)
{
    NEED_DAX;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        struct fc_write w;
        bool hit;
        begin();
        CHECK(warm());
        if (i & 1)
            CHECK(fc_attributes_begin(&file, NULL, &w));
        cached.time++;
        disk = cached;
        if (i & 1)
            fc_attributes_end(&w);
        CHECK(warm());
        fc_settle(&file, NULL);
        if (i & 2) {
            CHECK_EQ(hits_after_cut(), i & 1);
        } else {
            next_use();
            CHECK_EQ(read_file(&hit), 'a');
            CHECK_EQ(hit, i & 1);
        }
        end();
    }
}

static const struct harness_test tests[] = {
    TEST(warm),
    TEST(bracket),
    TEST(mapping),
    TEST(written_without_service),
    TEST(settled_too_late),
    TEST(unknown_code),
    TEST(fill_in_outside),
    TEST(mixture),
    TEST(dropped_sync),
    TEST(open_all_the_time),
    TEST(next_use),
    TEST(told_too_early),
    TEST(attributes),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
