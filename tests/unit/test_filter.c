/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_filter.c - what the driver for Windows decides, without any system: the rules at the head of
 * filter_core.h, by their numbers: lives, and writes outside. Brackets and fills are in
 * test_filter_fills.c, the rules of filter_rules.h in test_filter_rules.c.
 */
#include "filter_common.h"

/* ---- Lives ----------------------------------------------------------------------------------- */

/* L2: nobody is asked. L1: a handle is of one life. */
static void test_lives(void)
{
    begin();
    CHECK(!hits());
    CHECK_EQ(missed.ticket, 0);
    write_some();
    CHECK_EQ(n_asked, 0);
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    CHECK_EQ(buf[0], 'c');
    CHECK_EQ(first(0, CMP_READ)->head.file, 1);
    CHECK(hits());
    CHECK_EQ(times(0, CMP_OPEN), 1);
    fc_disconnect(&fc, 1);
    CHECK(!hits());
    const unsigned from = n_asked;
    service.handles = 40;
    CHECK(fc_connect(&fc, 2));
    CHECK(hits());
    CHECK_EQ(first(from, CMP_READ)->head.file, 41);
    CHECK_EQ(first(from, CMP_READ)->life, 2);
    fc_disconnect(&fc, 1); /* an old one */
    CHECK(hits());
    CHECK(!fc_connect(&fc, 1) && service.hung_up == 0); /* its thread comes late */
    CHECK(hits());
    CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0); /* nothing was written */
}

/* L3: silence and nonsense end the life, and the read passes. */
static void test_bad_replies(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        service.silent = i == 0;
        service.nonsense = i == 1;
        CHECK(!hits());
        CHECK_EQ(service.hung_up, 1);
        CHECK_EQ(fc.counter[FC_LATE], 1);
        service.silent = service.nonsense = false;
        const unsigned from = n_asked;
        CHECK(!hits());
        write_some();
        CHECK_EQ(n_asked, from);
    }
    begin(); /* at the hello */
    service.silent = true;
    CHECK(!fc_connect(&fc, 1));
    CHECK_EQ(service.hung_up, 1);
}

/* L3: lengths that cannot be. A fill would take so much memory, and more than its message has. */
static void test_bad_lengths(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        service.cached_to = 0;
        service.too_long = i == 0 ? DATA_MAX - BLOCK + 1 : i == 1 ? UINT32_MAX - BLOCK : 0;
        service.too_far = i == 2 ? (uint64_t)INT64_MAX - BLOCK + 1 : 0;
        service.too_much = i == 3 ? CMP_DATA_MAX - DATA_MAX + 1 : 0;
        CHECK_EQ(fc_connect(&fc, 1), i != 3);
        CHECK(read_at(0, BLOCK) == FC_PASS && missed.ticket == 0);
        CHECK_EQ(service.hung_up, 1);
    }
    begin(); /* nothing is missing, and there is a ticket for it: no memory of 0 bytes for a fill */
    CHECK(fc_connect(&fc, 1));
    service.cached_to = 0;
    service.too_long = UINT32_MAX - BLOCK + 1;
    CHECK(read_at(0, BLOCK) == FC_PASS && missed.ticket == 0);
}

/* Something that asks this command, in a thread that is ended meanwhile. */
static void ask_and_stop(int command)
{
    struct fc_sync s;
    const uint64_t outsides = fc.counter[FC_OUTSIDES];
    if (command == CMP_INVALIDATE) {
        write_outside();
        fc_tend(&fc);
    }
    if (command == CMP_OPEN)
        fc_file_done(&file);
    service.stops = command;
    if (command == CMP_SYNC_BEGIN)
        CHECK(!fc_sync_begin(&file, NULL, &s));
    else if (command == CMP_READ || command == CMP_INVALIDATE || command == CMP_OPEN)
        CHECK(!hits());
    else
        write_some();
    if (command == CMP_REVALIDATE)
        fc_settle(&file, NULL);
    service.stops = 0;
    if (command == CMP_REVALIDATE)
        CHECK(file.unsettled);
    CHECK_EQ(fc.counter[FC_OUTSIDES] - outsides,
             command == CMP_INVALIDATE || command == CMP_WRITE_BEGIN);
    fc_tend(&fc);
}

/* L6: programs that are killed. */
static void test_stopped(void)
{
    static const int commands[] = { CMP_READ,      CMP_INVALIDATE, CMP_REVALIDATE, CMP_OPEN,
                                    CMP_WRITE_END, CMP_SYNC_BEGIN, CMP_WRITE_BEGIN };
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        CASE("command %d", commands[i]);
        begin();
        CHECK(fc_connect(&fc, 1));
        for (unsigned n = 0; n < FC_LOST_MAX; n++) {
            CHECK(hits());
            CALL(ask_and_stop(commands[i]));
        }
        CHECK(hits() && service.hung_up == 0);
        CALL(ask_and_stop(commands[i]));
        CHECK_EQ(service.hung_up != 0, i >= 3); /* it may have left something */
        CHECK(fc_connect(&fc, 2) && hits());
        service.hung_up = 0;
        CALL(ask_and_stop(commands[i])); /* and what it left is gone */
        CHECK_EQ(service.hung_up, 0);
    }
    begin();
    CHECK(fc_connect(&fc, 1));
    service.cached_to = 0;
    CHECK_EQ(read_at(0, BLOCK), FC_PASS);
    service.stops = CMP_FILL;
    fc_fill(&file, &missed, buf, BLOCK);
    CHECK(service.hung_up == 0 && fc.counter[FC_FILLS] == 0);
}

/* L4 */
static void test_old_service(void)
{
    begin();
    service.hello_flags = CMP_STEERS;
    CHECK(!fc_connect(&fc, 1));
    CHECK_EQ(service.hung_up, 1);
    CHECK(!hits());
}

/* L5 */
static void test_another_pool(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
    fc_disconnect(&fc, 2);
    service.pool = 9;
    CHECK(fc_connect(&fc, 3));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    CHECK(first(0, CMP_FORGET_ALL)->patient);
    CHECK(hits());
}

/* ---- Outside writes -------------------------------------------------------------------------- */

/* W3: what was written without a service is forgotten before anything is asked of it. */
static void test_written_before(void)
{
    begin();
    write_some();
    CHECK(!fc_is_settled(&fc));
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(asked[1].head.command, CMP_FORGET);
    CHECK(fc_is_settled(&fc));
    CHECK(hits());
    CHECK_EQ(times(0, CMP_FORGET), 1);
    struct cmp_forget m;
    struct cmp_open o;
    memcpy(&m, first(0, CMP_FORGET)->body, sizeof(m));
    memcpy(&o, first(0, CMP_OPEN)->body, sizeof(o));
    CHECK(m.id_hi == o.id_hi && m.id_lo == o.id_lo && m.gone == 0);
}

static void end_the_life(void)
{
    fc_disconnect(&fc, 1);
}

/* W1: the life ends in a bracket, or the bracket is refused, or not confirmed. */
static void test_lost_brackets(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(!pending.outside);
    CHECK(fc_is_settled(&fc));
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(!hits()); /* W2: it lasts */
    CHECK_EQ(tends, 0);
    fc_write_end(&pending);
    CHECK_EQ(times(0, CMP_WRITE_END), 0);
    CHECK_EQ(tends, 1);
    CHECK(!hits()); /* W4 */
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 2);
    CHECK(hits());

    begin();
    CHECK(fc_connect(&fc, 1));
    service.refuse = CMP_WRITE_BEGIN;
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(pending.outside && !hits());
    CHECK_EQ(tends, 1); /* W3 */
    fc_write_end(&pending);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(hits());
    CHECK_EQ(fc.counter[FC_OUTSIDES], 1);

    begin();
    CHECK(fc_connect(&fc, 1));
    service.at = CMP_WRITE_BEGIN;
    service.meanwhile = end_the_life;
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(pending.outside && !fc_is_settled(&fc));
    fc_write_end(&pending);
    CHECK_EQ(file.outside + file.brackets, 0);
}

/* The life changes while the file is opened for a bracket: its handle is void. */
static void test_other_life_at_open(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    service.at = CMP_OPEN;
    service.meanwhile = connect_again;
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(pending.outside || first(0, CMP_WRITE_BEGIN)->life == 2);
    fc_write_end(&pending);
    for (unsigned i = 0; i < n_asked; i++)
        CHECK(asked[i].life == 1 || asked[i].head.command != CMP_READ || asked[i].head.file != 1);
}

/* W2: an outside write in a life that goes on, as that of a mapping. */
static void test_lasting(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_write_begin_outside(&file, &pending);
    CHECK_EQ(tends, 1); /* its end may never come */
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(!hits());
    CHECK_EQ(times(0, CMP_FORGET), 1);
    fc_write_end(&pending);
    CHECK_EQ(tends, 2);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 2); /* what was stored during it is known */
    CHECK(hits());
}

static void look(void)
{
    const unsigned from = n_asked;
    CHECK(!hits());
    CHECK_EQ(n_asked, from);
    fc_tend(&fc); /* another thread is there */
    CHECK_EQ(n_asked, from);
    CHECK(!fc_is_settled(&fc));
}

static void look_and_write(void)
{
    const unsigned before = tends;
    look();
    write_outside();
    CHECK_EQ(tends, before); /* somebody is there */
    look();                  /* two at a time would lose what the first one has taken out */
}

/* W4: while it is being forgotten it passes, and what is written meanwhile counts. */
static void test_while_forgotten(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    write_outside();
    service.at = CMP_FORGET;
    service.meanwhile = look;
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 1);
    write_outside();
    service.meanwhile = look_and_write;
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 3);
    CHECK(fc_is_settled(&fc) && hits());
    fc_written_anything(&fc); /* the same of all */
    CHECK(!hits());
    service.at = CMP_FORGET_ALL;
    service.meanwhile = look_and_write;
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    CHECK_EQ(times(0, CMP_FORGET), 4);
    CHECK(fc_is_settled(&fc) && hits());
}

/* W3: a service that does not forget is none, and the file stays in the set. */
static void test_not_forgotten(void)
{
    static const int commands[] = { CMP_FORGET, CMP_FORGET_ALL };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        write_outside();
        if (i == 1)
            fc_written_anything(&fc);
        service.refuse = commands[i];
        (void)fc_connect(&fc, 1);
        CHECK_EQ(service.hung_up, 1);
        CHECK(!hits() && !fc_is_settled(&fc));
        service.refuse = 0;
        CHECK(fc_connect(&fc, 2));
        CHECK_EQ(times(0, (uint16_t)commands[i]), 2);
        CHECK(hits());
    }
}

/* W7: another stream of the same file, which a transaction has. */
static void test_transacted(void)
{
    struct fc_file own, other;
    const uint64_t id = 8;
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_file_init(&own, &fc);
    fc_know(&own, NULL);
    fc_transacted(&own);
    CHECK(!hits());
    fc_file_done(&own);
    fc_tend(&fc);
    connect_again();
    CHECK(!hits());
    write_some(); /* is told all the same */
    CHECK_EQ(fc.counter[FC_BRACKETS], 1);
    fc_file_init(&other, &fc);
    CHECK_EQ(fc_read(&other, &id, 0, BLOCK, buf, &got, &missed), FC_DONE);
    for (uint64_t i = 0; i < FC_TRANSACTED; i++) { /* so many: all files pass */
        uint64_t n = 100 + i;
        fc_file_init(&own, &fc);
        fc_know(&own, &n);
        fc_transacted(&own);
    }
    CHECK_EQ(fc_read(&other, &id, 0, BLOCK, buf, &got, &missed), FC_PASS);
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_file_init(&own, &fc); /* it may be any */
    fc_transacted(&own);
    CHECK(!hits());
}

static void write_file(uint64_t id)
{
    struct fc_file f;
    struct fc_write w;
    fc_file_init(&f, &fc);
    fc_know(&f, &id);
    fc_write_begin_outside(&f, &w);
    fc_write_end(&w);
}

/* W5: the set has a fixed size. What it has not room for is not lost. */
static void test_full_set(void)
{
    for (uint64_t n = 1; n <= 2 * SLOTS; n++) {
        CASE("%u files", (unsigned)n);
        begin();
        for (uint64_t i = 0; i < n; i++)
            write_file(100 + i);
        CHECK(fc_connect(&fc, 1));
        CHECK(fc_is_settled(&fc));
        if (n <= SLOTS - SLOTS / 4)
            CHECK(times(0, CMP_FORGET) == n && times(0, CMP_FORGET_ALL) == 0);
        else
            CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    }
    begin();
    for (unsigned i = 0; i < 100; i++)
        write_file(100); /* one file takes one place */
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(times(0, CMP_FORGET), 1);
}

/* W5: a file whose id is not known may be any. */
static void test_unknown_id(void)
{
    begin();
    facts_fail = true;
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
    write_some();
    facts_fail = false;
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    facts_fail = true; /* and it is not opened */
    fc_file_init(&file, &fc);
    CHECK(!hits());
    CHECK_EQ(times(0, CMP_OPEN), 0);
}

/* W6 */
static void test_used_before(void)
{
    begin();
    fc_written_anything(&fc);
    CHECK_EQ(tends, 0); /* there is nobody to tell */
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(asked[1].head.command, CMP_FORGET_ALL);
    CHECK(hits());
    fc_written_anything(&fc);
    CHECK_EQ(tends, 1);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(hits());
    fc_anything_begin(&fc); /* W2 */
    fc_tend(&fc);
    CHECK(!hits());
    fc_anything_end(&fc);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(hits());
}

static const struct harness_test tests[] = { TEST(lives),
                                             TEST(bad_replies),
                                             TEST(bad_lengths),
                                             TEST(stopped),
                                             TEST(old_service),
                                             TEST(another_pool),
                                             TEST(written_before),
                                             TEST(lost_brackets),
                                             TEST(other_life_at_open),
                                             TEST(lasting),
                                             TEST(while_forgotten),
                                             TEST(not_forgotten),
                                             TEST(transacted),
                                             TEST(full_set),
                                             TEST(unknown_id),
                                             TEST(used_before),
                                             TEST_END };

static const struct harness_test *const tables[] = { filter_rules_tests, tests,
                                                     filter_fills_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
