/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_filter_fills.c - brackets, reads, fills, and the rest of a file's life, as the driver for
 * Windows decides it: the rules B1 to B5 and H1 of filter_core.h.
 */
#include "filter_common.h"

/* ---- Brackets and fills ---------------------------------------------------------------------- */

/* B1, and what each kind of change asks for. */
static void test_brackets(void)
{
    struct fc_write w;
    struct cmp_range range;
    struct cmp_truncate size;
    struct cmp_end end;
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_write_begin(&file, NULL, &w, FC_RANGE, 4711, 5);
    memcpy(&range, first(0, CMP_WRITE_BEGIN)->body, sizeof(range));
    CHECK(range.offset == 4711 && range.len == 5);
    CHECK_EQ(times(0, CMP_WRITE_END), 0);
    CHECK(hits()); /* the service knows which blocks */
    fc_write_end(&w);
    memcpy(&end, first(0, CMP_WRITE_END)->body, sizeof(end));
    CHECK(end.token == 77 && end.ok == 1);
    unsigned from = n_asked;
    fc_write_begin(&file, NULL, &w, FC_SIZE, 99, 0);
    memcpy(&size, first(from, CMP_TRUNCATE_BEGIN)->body, sizeof(size));
    CHECK_EQ(size.size, 99);
    fc_write_end(&w);
    CHECK_EQ(times(from, CMP_WRITE_END), 1);
    from = n_asked;
    fc_write_begin(&file, NULL, &w, FC_ALL, 0, 0);
    memcpy(&range, first(from, CMP_WRITE_BEGIN)->body, sizeof(range));
    CHECK(range.offset == 0 && range.len == UINT64_MAX);
    fc_write_end(&w);
    CHECK(fc_is_settled(&fc));
    CHECK_EQ(fc.counter[FC_BRACKETS], 3);
}

/* B1: any place that a program may name; the made-up service looks whether messages are sound. What
 * ends beyond the largest file is anything. */
static void test_far_writes(void)
{
    static const struct {
        uint64_t off, len;
        bool all;
    } far[] = { { INT64_MAX - 5, 5, false },
                { INT64_MAX - 5, 6, true },
                { INT64_MAX, UINT32_MAX, true },
                { UINT64_MAX - 5, 100, true },
                { (uint64_t)INT64_MAX + 1, 0, true } };
    begin();
    CHECK(fc_connect(&fc, 1));
    for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        CASE("i %u", i);
        const unsigned from = n_asked;
        struct cmp_range range;
        fc_write_begin(&file, NULL, &pending, FC_RANGE, far[i].off, far[i].len);
        memcpy(&range, first(from, CMP_WRITE_BEGIN)->body, sizeof(range));
        CHECK_EQ(range.offset, far[i].all ? 0 : far[i].off);
        CHECK_EQ(range.len, far[i].all ? UINT64_MAX : far[i].len);
        fc_write_end(&pending);
    }
    const unsigned from = n_asked;
    fc_write_begin(&file, NULL, &pending, FC_SIZE, (uint64_t)INT64_MAX + 1, 0);
    CHECK_EQ(times(from, CMP_WRITE_BEGIN), 1);
    fc_write_end(&pending);
}

/* B2 */
static void test_fills(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    service.cached_to = BLOCK;
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK(missed.ticket != 0 && missed.offset == BLOCK && missed.len == BLOCK);
    fc_fill(&file, &missed, buf, BLOCK);
    struct cmp_fill m;
    memcpy(&m, first(0, CMP_FILL)->body, sizeof(m));
    CHECK(m.ticket == missed.ticket && m.flags == 0);
    CHECK_EQ(first(0, CMP_FILL)->head.file, first(0, CMP_READ)->head.file);
    unsigned from = n_asked;
    fc_fill(&file, &missed, buf, 100);
    memcpy(&m, first(from, CMP_FILL)->body, sizeof(m));
    CHECK_EQ(m.flags, CMP_FILL_EOF);
    from = n_asked;
    fc_fill(&file, &missed, buf, BLOCK + 1);
    CHECK_EQ(n_asked, from);
    connect_again(); /* the shell sends it through the life that it names, which is over */
    from = n_asked;
    fc_fill(&file, &missed, buf, BLOCK);
    CHECK_EQ(first(from, CMP_FILL)->life, 1);
    missed.ticket = 0;
    from = n_asked;
    fc_fill(&file, &missed, buf, BLOCK);
    CHECK_EQ(n_asked, from);
}

static void pass_time(void)
{
    clock_ns += 2 * env.timeout_ns;
}

/* B3, and the end of a file. A read of many parts does not take longer than one message may. */
static void test_parts(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    memset(buf, 0, sizeof(buf));
    CHECK_EQ(read_at(BLOCK, 5 * BLOCK), FC_DONE);
    CHECK_EQ(got, 5 * BLOCK);
    CHECK_EQ(times(0, CMP_READ), 3);
    CHECK(buf[0] == 'c' && buf[5 * BLOCK - 1] == 'c' && buf[5 * BLOCK] == 0);
    CHECK_EQ(read_at(12 * BLOCK, 10 * BLOCK), FC_DONE);
    CHECK_EQ(got, 4 * BLOCK);
    service.ends = 20 * BLOCK; /* the file goes on, and that is not cached */
    CHECK_EQ(read_at(12 * BLOCK, 6 * BLOCK), FC_PASS);
    CHECK_EQ(missed.offset, 16 * BLOCK);
    service.moves = true;
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK_EQ(missed.ticket, 0);
    CHECK(hits());
    service.moves = false;
    service.version = 0; /* not known */
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK(hits());
    service.version = 1;
    service.at = CMP_READ;
    service.meanwhile = pass_time;
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK(hits());
    fc_file_done(&file);
    const unsigned from = n_asked;
    service.at = CMP_OPEN; /* which counts */
    service.meanwhile = pass_time;
    CHECK(read_at(0, 3 * BLOCK) == FC_PASS && times(from, CMP_READ) == 0);
    CHECK(hits());
    service.at = CMP_READ;
    service.meanwhile = pass_time;
    service.cached_to = 0;
    CHECK(read_at(0, BLOCK) == FC_PASS && missed.ticket == 0); /* no fill */
    service.cached_to = service.ends;
    service.at = CMP_READ;
    service.meanwhile = write_some; /* and what it wrote is cached again */
    CHECK(read_at(0, 3 * BLOCK) == FC_PASS && missed.ticket == 0);
    service.meanwhile = write_some;
    CHECK(hits()); /* one block */
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_DONE);
}

static void maybe_write(void)
{
    fc_maybe_begin(&file);
}

static void change_size(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_SIZE, 9 * BLOCK, 0);
    fc_write_end(&w);
}

static void append(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_RANGE, UINT64_MAX, 5);
    fc_write_end(&w);
}

/* The file is forgotten, and may be filled again. */
static void write_outside_and_tend(void)
{
    write_outside();
    fc_tend(&fc);
}

static void write_anything_and_tend(void)
{
    write_anything();
    fc_tend(&fc);
}

/* B3: the service looks for one block after the other, and a write may come and go between two of
 * them. */
static void test_blocks(void)
{
    static const struct {
        void (*write)(void);
        uint64_t off;
        uint32_t len;
        bool hits;
    } c[] = {
        { write_some, 0, 2 * BLOCK, false },
        { write_some, BLOCK - 1, 2, false },
        { write_some, BLOCK, 2 * BLOCK, true }, /* it touches other blocks */
        { write_some, 0, BLOCK, true },         /* one block */
        { change_size, 4 * BLOCK, 2 * BLOCK, false },
        { append, 4 * BLOCK, 2 * BLOCK, false },
        { write_outside_and_tend, 4 * BLOCK, 2 * BLOCK, false },
        { write_outside_and_tend, 4 * BLOCK, BLOCK, true },
        { write_anything_and_tend, 4 * BLOCK, 2 * BLOCK, false },
    };
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        service.at = CMP_READ;
        service.meanwhile = c[i].write;
        CHECK_EQ(read_at(c[i].off, c[i].len), c[i].hits ? FC_DONE : FC_PASS);
        CHECK_EQ(read_at(c[i].off, c[i].len), FC_DONE);
        CHECK(!file.readings);
    }
}

/* B3: the same between the look for the handle and the first block. Some of the old blocks may be
 * there still, and forgotten while the service looks for them. */
static void test_outside_before_blocks(void)
{
    static void (*const outside[])(void) = { write_outside, write_anything, maybe_write };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        const unsigned from = n_asked;
        at_clock = outside[i];
        clock_calls = 2; /* the first one is before the look */
        CHECK_EQ(read_at(0, 2 * BLOCK), FC_PASS);
        CHECK(missed.ticket == 0 && times(from, CMP_READ) == 0);
        CHECK(!file.readings && !at_clock);
    }
}

/* B5: before the first read of each life, and after each outside write. */
static void test_not_synced(void)
{
    struct cmp_range range;
    begin();
    write_some();
    for (uint32_t life = 1; life < 4; life++) {
        CASE("life %u", life);
        const unsigned from = n_asked;
        CHECK(fc_connect(&fc, life));
        CHECK(hits() && hits());
        CHECK_EQ(times(from, CMP_INVALIDATE), 1);
        memcpy(&range, first(from, CMP_INVALIDATE)->body, sizeof(range));
        CHECK(range.offset == 0 && range.len == UINT64_MAX);
        write_some();
        CHECK(hits() && times(from, CMP_INVALIDATE) == 1);
        write_outside();
        fc_tend(&fc);
        CHECK(hits() && hits());
        CHECK_EQ(times(from, CMP_INVALIDATE), 2);
        fc_disconnect(&fc, life);
    }
    CHECK(fc_connect(&fc, 4));
    service.refuse = CMP_INVALIDATE;
    CHECK(!hits() && asked[n_asked - 1].head.command == CMP_INVALIDATE);
    begin();
    CHECK(fc_connect(&fc, 1));
    write_some();
    CHECK(hits() && times(0, CMP_INVALIDATE) == 0);
    fc_written_anything(&fc);
    fc_tend(&fc);
    CHECK(hits() && hits() && times(0, CMP_INVALIDATE) == 1);
    fc_disconnect(&fc, 1);
    service.pool = 9;
    CHECK(fc_connect(&fc, 2) && hits());
    CHECK_EQ(times(0, CMP_INVALIDATE), 2);
}

/* B4 */
static void test_settle(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0); /* nothing was written */
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    fc_write_end(&pending);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    fc_write_begin_outside(&file, &pending);
    fc_settle(&file, NULL);
    fc_write_end(&pending);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
}

/* B4: the times may be those of a write that the service does not know of yet. */
static void test_settle_and_outside(void)
{
    static void (*const outside[])(void) = { write_outside, write_anything, connect_again };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        write_some();
        at_facts = outside[i];
        fc_settle(&file, NULL);
        CHECK_EQ(times(0, CMP_REVALIDATE), 0);
        fc_tend(&fc);
        CHECK(hits());
        fc_settle(&file, NULL);
        CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    }
}

/* B9: a first read does not open the file, and what is read meanwhile is not stored. */
static void test_maybe_a_write(void)
{
    struct fc_read before;
    for (unsigned is = 0; is < 2; is++) {
        CASE("is %u", is);
        begin();
        CHECK(fc_connect(&fc, 1));
        fc_maybe_begin(&file);
        CHECK(!hits() && missed.ticket == 0);
        CHECK_EQ(times(0, CMP_OPEN), 0);
        fc_maybe_end(&file, is);
        fc_tend(&fc);
        CHECK_EQ(times(0, CMP_FORGET), is);
        CHECK(hits());
        service.cached_to = 0;
        CHECK(!hits() && missed.ticket != 0);
        before = missed;
        fc_maybe_begin(&file);
        fc_maybe_begin(&file);
        fc_maybe_end(&file, false);
        CHECK(!hits() && missed.ticket == 0);
        fc_fill(&file, &before, buf, BLOCK);
        CHECK_EQ(times(0, CMP_FILL), 0);
        fc_maybe_end(&file, false);
        fc_fill(&file, &before, buf, BLOCK); /* nothing has happened */
        CHECK_EQ(times(0, CMP_FILL), 1);
    }
}

/* B10: the file was written outside since the ticket was given, or is being written. When it is
 * forgotten, the service knows that the ticket is void. */
static void test_old_tickets(void)
{
    static void (*const outside[])(void) = { write_outside, write_anything };
    begin();
    CHECK(fc_connect(&fc, 1));
    service.cached_to = 0;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        unsigned from = n_asked;
        CHECK(!hits() && missed.ticket != 0);
        outside[i]();
        fc_fill(&file, &missed, buf, BLOCK);
        CHECK_EQ(times(from, CMP_FILL), 0);
        fc_tend(&fc);
        CHECK(!hits() && missed.ticket != 0);
        fc_fill(&file, &missed, buf, BLOCK);
        CHECK_EQ(times(from, CMP_FILL), 1);
        CHECK(!hits() && missed.ticket != 0);
        from = n_asked;
        if (i == 0)
            fc_write_begin_outside(&file, &pending);
        else
            fc_anything_begin(&fc);
        fc_tend(&fc); /* it goes on */
        fc_fill(&file, &missed, buf, BLOCK);
        CHECK_EQ(times(from, CMP_FILL), 0);
        if (i == 0)
            fc_write_end(&pending);
        else
            fc_anything_end(&fc);
        fc_tend(&fc);
    }
}

/* B9: the times are asked for, and what may be a write begins before they are told. */
static void test_settle_and_maybe(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    write_some();
    fc_maybe_begin(&file);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    fc_maybe_end(&file, false);
    at_facts = maybe_write;
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    CHECK(fc_is_unsettled(&file));
    fc_maybe_end(&file, false);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
}

static struct fc_volume volume, other_volume;

static void empty_any(void)
{
    fc_emptying_begin(&fc, &volume);
}

/* B11: while an open is on its way that may empty a file of the volume, all of them pass, nothing
 * is filled, and no times are told. Those of another volume do not mind. */
static void test_emptied(void)
{
    struct fc_read before;
    struct fc_file far;
    begin();
    fc_file_is_on(&file, &volume);
    fc_file_init(&far, &fc);
    fc_file_is_on(&far, &other_volume);
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    write_some();
    at_facts = empty_any;
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    CHECK(fc_is_unsettled(&file));
    CHECK(!hits() && missed.ticket == 0);
    CHECK_EQ(fc_read(&far, NULL, 0, BLOCK, buf, &got, &missed), FC_DONE);
    empty_any();
    fc_emptying_end(&fc, &volume);
    CHECK(!hits()); /* there were two */
    fc_settle(&file, NULL);
    fc_emptying_end(&fc, &volume);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    service.cached_to = 0;
    CHECK(!hits() && missed.ticket != 0);
    before = missed;
    empty_any();
    fc_fill(&file, &before, buf, BLOCK);
    CHECK_EQ(times(0, CMP_FILL), 0);
    fc_emptying_end(&fc, &volume);
    fc_fill(&file, &before, buf, BLOCK);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_FILL) + times(0, CMP_REVALIDATE), 2);
}

/* B7: times that are too fresh, or that the service did not take, are told again. */
static void test_told_too_early(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        CHECK(!fc_is_unsettled(&file));
        write_some();
        CHECK(fc_is_unsettled(&file));
        facts_are_racy = i == 0;
        service.refuse = i == 0 ? 0 : CMP_REVALIDATE;
        fc_settle(&file, NULL);
        CHECK(fc_is_unsettled(&file));
        facts_are_racy = false;
        service.refuse = 0;
        fc_settle(&file, NULL);
        CHECK(!fc_is_unsettled(&file));
        CHECK_EQ(times(0, CMP_REVALIDATE), 2);
    }
}

/* B8: an empty bracket, or nothing at all. Whatever becomes of it, nothing is to be forgotten. */
static void test_attributes(void)
{
    struct fc_write w;
    struct cmp_range range;
    struct cmp_end end;
    begin();
    CHECK(!fc_attributes_begin(&file, NULL, &w));
    CHECK(fc_is_settled(&fc) && !fc.writes);
    CHECK(fc_connect(&fc, 1));
    service.refuse = CMP_WRITE_BEGIN;
    CHECK(!fc_attributes_begin(&file, NULL, &w));
    service.refuse = 0;
    CHECK(!fc_is_unsettled(&file) && hits());
    const unsigned from = n_asked;
    CHECK(fc_attributes_begin(&file, NULL, &w));
    memcpy(&range, first(from, CMP_WRITE_BEGIN)->body, sizeof(range));
    CHECK(range.offset == 0 && range.len == 0);
    CHECK(hits());
    fc_settle(&file, NULL); /* too early */
    fc_attributes_end(&w);
    memcpy(&end, first(from, CMP_WRITE_END)->body, sizeof(end));
    CHECK_EQ(end.token, 77);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    CHECK(fc_attributes_begin(&file, NULL, &w)); /* and its life ends */
    connect_again();
    fc_attributes_end(&w);
    CHECK(fc_is_settled(&fc) && hits());
    CHECK(!fc_was_written(&file));
}

static void test_syncs(void)
{
    struct fc_sync s;
    struct cmp_end end;
    begin();
    CHECK(!fc_sync_begin(&file, NULL, &s));
    fc_sync_end(&file, &s, true);
    CHECK_EQ(n_asked, 0);
    CHECK(fc_connect(&fc, 1));
    CHECK(fc_sync_begin(&file, NULL, &s));
    fc_sync_end(&file, &s, false);
    memcpy(&end, first(0, CMP_SYNC_END)->body, sizeof(end));
    CHECK(end.token == 77 && end.ok == 0);
    for (unsigned i = 0; i <= FC_LOST_MAX; i++) { /* nobody knows how they ended */
        CHECK_EQ(service.hung_up, 0);
        CHECK(fc_sync_begin(&file, NULL, &s));
        fc_sync_drop(&file, &s);
    }
    CHECK_EQ(service.hung_up, 1); /* its tokens would come to an end */
    CHECK_EQ(times(0, CMP_SYNC_END), 1);
    CHECK(!fc_sync_begin(&file, NULL, &s));
    fc_sync_drop(&file, &s);
}

/* Handles go when nobody uses the file; a deleted one is forgotten for good. */
static void test_ends(void)
{
    struct cmp_forget m;
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_file_done(&file);
    CHECK_EQ(first(0, CMP_CLOSE)->head.file, 1);
    CHECK(hits());
    fc_gone(&file, true);
    CHECK_EQ(times(0, CMP_CLOSE), 1);
    fc_file_done(&file);
    CHECK_EQ(times(0, CMP_CLOSE), 2);
    memcpy(&m, first(0, CMP_FORGET)->body, sizeof(m));
    CHECK_EQ(m.gone, 1);
    CHECK(hits());
    fc_gone(&file, true);
    fc_gone(&file, false); /* it was taken back: H2 */
    fc_file_done(&file);
    CHECK_EQ(times(0, CMP_CLOSE), 3);
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(hits());
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
    fc_file_done(&file); /* its handle was of the old life */
    CHECK_EQ(times(0, CMP_CLOSE), 3);
}

static void delete_it(void)
{
    fc_gone(&file, true);
}

/* H1: it is deleted while others read and write it. */
static void test_deleted_in_use(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    service.at = CMP_READ;
    service.meanwhile = delete_it;
    CHECK(hits());
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    fc_gone(&file, true);
    fc_write_end(&pending);
    CHECK(hits() && times(0, CMP_OPEN) == 1);
    CHECK_EQ(times(0, CMP_CLOSE) + times(0, CMP_FORGET), 0);
    fc_file_done(&file);
    CHECK(times(0, CMP_CLOSE) == 1 && times(0, CMP_FORGET) == 1);
}

const struct harness_test filter_fills_tests[] = { TEST(brackets),
                                                   TEST(far_writes),
                                                   TEST(fills),
                                                   TEST(parts),
                                                   TEST(blocks),
                                                   TEST(outside_before_blocks),
                                                   TEST(not_synced),
                                                   TEST(settle),
                                                   TEST(settle_and_outside),
                                                   TEST(maybe_a_write),
                                                   TEST(old_tickets),
                                                   TEST(settle_and_maybe),
                                                   TEST(emptied),
                                                   TEST(told_too_early),
                                                   TEST(attributes),
                                                   TEST(syncs),
                                                   TEST(ends),
                                                   TEST(deleted_in_use),
                                                   TEST_END };
