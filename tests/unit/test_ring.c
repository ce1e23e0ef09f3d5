/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ring.c - the replacement policy: a bounded search, counts, hints, the frontier, the free
 * stack, and ownership that is always exclusive.
 */
#include "ring_common.h"

#include <inttypes.h>
#include <pthread.h>

/* ---- The hand -------------------------------------------------------------------------------- */

static void test_zero_wins(void)
{
    struct cm_ring r = make(1000);
    set_all(&r, 2);
    r.ref[40] = 0;
    CHECK_EQ(victim(&r), 40);
    CHECK_EQ(r.hand, 41);
    CHECK(cm_ring_is_owned(&r, 40));
    for (uint64_t s = 0; s < 40; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(r.ref[s], 1); /* each slot passed lost one */
    }
    CHECK_EQ(r.ref[41], 2);
    unmake(&r);
}

/* No slot with count zero within reach: 64 steps, no more, and the lowest count seen wins. */
static void test_bounded(void)
{
    struct cm_ring r = make(100000);
    set_all(&r, 3);
    r.ref[17] = 2;
    r.ref[64] = 0; /* out of reach */
    CHECK_EQ(victim(&r), 17);
    CHECK_EQ(r.hand, CM_RING_STEPS);
    CHECK_EQ(victim(&r), 64);
    unmake(&r);
}

/* Of equal slots the first one that was passed wins. */
static void test_first_of_equals(void)
{
    struct cm_ring r = make(1000);
    set_all(&r, 3);
    r.ref[7] = r.ref[9] = r.ref[50] = 2;
    CHECK_EQ(victim(&r), 7);
    unmake(&r);
}

static void test_all_owned(void)
{
    struct cm_ring r = make(1000);
    memset(r.owned, 0xff, (1000 + 63) / 64 * 8);
    CHECK_EQ(victim(&r), CM_NO_SLOT);
    CHECK_EQ(r.hand, CM_RING_STEPS);
    cm_ring_disown(&r, 100);
    CHECK_EQ(victim(&r), 100);
    unmake(&r);
}

/* A pool smaller than the bound, all in use: the hand may go around, but it stops. */
static void test_small_ring(void)
{
    struct cm_ring r = make(64);
    set_all(&r, 3);
    uint64_t s = victim(&r);
    CHECK(s < 64);
    CHECK(r.hand <= CM_RING_STEPS);
    for (unsigned i = 0; i < 63; i++) {
        CASE("i %u", i);
        CHECK(victim(&r) != CM_NO_SLOT);
    }
    CHECK_EQ(victim(&r), CM_NO_SLOT);
    unmake(&r);
}

/* Like a filler that does not give up: the hand goes on until it finds a slot without an owner. */
static uint64_t next_victim(struct cm_ring *r)
{
    uint64_t s = CM_NO_SLOT;
    for (uint64_t i = 0; i <= r->slots / CM_RING_STEPS && s == CM_NO_SLOT; i++)
        s = victim(r);
    return s;
}

/* Slots that are wanted outlive slots that are not. */
static void test_counts(void)
{
    struct cm_ring r = make(256);
    for (int i = 0; i < 9; i++)
        cm_ring_touch(&r, 5);
    CHECK_EQ(r.ref[5], CM_REF_MAX);
    cm_ring_set(&r, 6, 1);
    for (unsigned i = 0; i < 254; i++) {
        CASE("i %u", i);
        uint64_t s = next_victim(&r);
        CHECK(s != 5 && s != 6 && s != CM_NO_SLOT);
    }
    CHECK_EQ(next_victim(&r), 6);
    CHECK_EQ(next_victim(&r), 5);
    unmake(&r);
}

/* Three touches are worth three rounds of the hand. */
static void test_ageing(void)
{
    struct cm_ring r = make(64);
    set_all(&r, 0);
    cm_ring_set(&r, 10, 3);
    unsigned rounds = 0;
    for (unsigned i = 0; i < 1000 && rounds == 0; i++) {
        uint64_t s = victim(&r);
        if (s == 10)
            rounds = i / 63;
        cm_ring_disown(&r, s);
    }
    CHECK_EQ(rounds, 3);
    unmake(&r);
}

/* Kept slots are no victims, whatever their counts. A search comes to its end also if there are
 * more of them than it may pass by, and the next one goes on behind them. */
static void test_kept_slots(void)
{
    const uint64_t slots = 64 * CM_RING_PASSES + 1000;
    struct cm_ring r = make(slots);
    unsigned tries = 0;
    uint64_t got;
    r.hand = 3;
    for (uint64_t s = 0; s < slots; s++) {
        CHECK(cm_ring_own(&r, s));
        CHECK_EQ(cm_ring_keep(&r, s, slots - 1), s != slots - 1);
        cm_ring_disown(&r, s);
    }
    CHECK_EQ(r.kept_count, slots - 1);
    while ((got = victim(&r)) == CM_NO_SLOT && tries < 2)
        tries++;
    CHECK_EQ(got, slots - 1);
    for (unsigned i = 0; i < 10; i++)
        CHECK_EQ(victim(&r), CM_NO_SLOT);
    cm_ring_unkeep(&r, 77);
    cm_ring_unkeep(&r, 77);
    CHECK_EQ(r.kept_count, slots - 2);
    for (got = CM_NO_SLOT, tries = 0; got == CM_NO_SLOT && tries < 4; tries++)
        got = victim(&r);
    CHECK_EQ(got, 77);
    cm_ring_unkeep_all(&r);
    CHECK_EQ(r.kept_count, 0);
    CHECK(victim(&r) != CM_NO_SLOT);
    unmake(&r);
}

/* ---- Probation ------------------------------------------------------------------------------- */

static uint64_t remembered_victim(struct cm_ring *r, bool remember)
{
    struct cm_victim v;
    CHECK_EQ(cm_ring_victims(r, &v, 1), 1);
    CHECK_EQ(v.remember, remember);
    return v.slot;
}

/* First in, first out, but only when the line is as long as it may be, and not a slot that was
 * wanted again: that one is a member from then on. */
static void test_line(void)
{
    struct cm_ring r = make(100); /* ten may be on probation */
    set_all(&r, 1);
    for (uint64_t s = 50; s < 59; s++)
        begin(&r, s);
    r.ref[3] = CM_REF_KNOWN;
    CHECK_EQ(remembered_victim(&r, false), 3); /* nine on probation: by the hand */
    begin(&r, 59);
    cm_ring_touch(&r, 51);
    CHECK_EQ(remembered_victim(&r, true), 50);
    begin(&r, 50);
    CHECK_EQ(remembered_victim(&r, true), 52);
    CHECK_EQ(r.on_probation, 8);
    CHECK_EQ(r.ref[51] & ~CM_REF_GENERATION, 0); /* a member, and its count starts anew */
    unmake(&r);
}

/* The first reader of a block that was read ahead of need does not earn it a place; the second
 * does. */
static void test_line_ahead(void)
{
    struct cm_ring r = make(100);
    const uint64_t slot[2] = { 50, 51 };
    set_all(&r, 1);
    cm_ring_begin_probation(&r, slot, 2, 1u << 0 | 1u << 1);
    for (uint64_t s = 52; s < 60; s++)
        begin(&r, s);
    cm_ring_touch(&r, 50);
    cm_ring_touch(&r, 51);
    cm_ring_touch(&r, 51);
    cm_ring_touch(&r, 52);
    CHECK_EQ(remembered_victim(&r, true), 50);
    begin(&r, 50);
    CHECK_EQ(remembered_victim(&r, true), 53);
    unmake(&r);
}

/* Slots that wait to be filled count as if they were on probation. */
static void test_line_taken(void)
{
    struct cm_ring r = make(100);
    struct cm_victim v[3];
    set_all(&r, 1);
    for (uint64_t s = 50; s < 58; s++)
        begin(&r, s);
    r.ref[60] = 0;
    r.ref[61] = 0;
    CHECK_EQ(cm_ring_victims(&r, v, 3), 3);
    CHECK_EQ(v[0].slot, 60);
    CHECK_EQ(v[1].slot, 61); /* eight on probation and one taken */
    CHECK_EQ(v[2].slot, 50);
    const uint64_t two[2] = { 60, 50 };
    cm_ring_give_free(&r, two, 2);
    r.ref[80] = 0;
    CHECK_EQ(cm_ring_victims(&r, v, 2), 2);
    CHECK_EQ(v[0].slot, 80); /* seven on probation and two taken */
    CHECK_EQ(v[1].slot, 51);
    unmake(&r);
}

/* A hundred slots. Ten may be on probation; those from 50 to `end` are. Of these one has earned its
 * place, and one has an owner, who decides about it. Besides, one slot was emptied, and the hand
 * would take two others. */
static struct cm_ring make_line(uint64_t end)
{
    struct cm_ring r = make(100);
    set_all(&r, 1);
    for (uint64_t s = 50; s < end; s++)
        begin(&r, s);
    cm_ring_hint(&r, 90);
    cm_ring_touch(&r, 51);
    CHECK(cm_ring_own(&r, 53));
    r.ref[7] = 0;
    r.ref[3] = CM_REF_KNOWN;
    return r;
}

/* Many victims at once are the same as those one after the other: first the emptied slot, then the
 * line while it is full, past the slot that has earned its place, then the hand. */
static void test_victims_at_once(void)
{
    struct cm_ring r = make_line(62);
    struct cm_victim v[6];
    CHECK_EQ(r.on_probation, 12);
    CHECK_EQ(cm_ring_victims(&r, v, 6), 6);
    const uint64_t slot[6] = { 90, 50, 52, 54, 55, 56 };
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        CHECK_EQ(v[i].slot, slot[i]);
        CHECK_EQ(v[i].remember, i > 0);
        CHECK(cm_ring_is_owned(&r, slot[i]));
    }
    CHECK_EQ(r.on_probation, 5); /* 57 to 61 */
    for (unsigned i = 0; i < 6; i++)
        cm_ring_disown(&r, v[i].slot);
    CHECK_EQ(cm_ring_victims(&r, v, 3), 3); /* five of ten on probation: by the hand */
    CHECK(v[0].slot == 3 && !v[0].remember);
    CHECK(v[1].slot == 7 && v[1].remember);
    CHECK(v[2].slot != 3 && v[2].slot != 7);
    CHECK_EQ(r.on_probation, 5);
    unmake(&r);
}

/* Victims come from the line only while it is full, and again when it is full again. */
static void test_victims_by_turns(void)
{
    struct cm_ring r = make_line(60);
    struct cm_victim v[6];
    const uint64_t slot[6] = { 90, 50, 52, 54, 3, 55 };
    CHECK_EQ(cm_ring_victims(&r, v, 6), 6);
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        CHECK_EQ(v[i].slot, slot[i]);
    }
    unmake(&r);
}

/* A slot that was never used but has an owner (a reader took it out of use) is skipped. The slots
 * behind it still come first. */
static void test_frontier_owned(void)
{
    struct cm_ring r = make(1000);
    struct cm_victim v[4];
    const uint64_t slot[4] = { 500, 503, 504, 505 };
    r.frontier = 500;
    set_all(&r, 1);
    CHECK(cm_ring_own(&r, 501));
    CHECK(cm_ring_own(&r, 502));
    CHECK_EQ(cm_ring_victims(&r, v, 4), 4);
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        CHECK(v[i].slot == slot[i] && !v[i].remember);
    }
    unmake(&r);
}

/* A search that finds only owned slots ends, and returns how many victims it found before. */
static void test_victims_run_out(void)
{
    struct cm_ring r = make(64);
    struct cm_victim v[32];
    for (uint64_t s = 0; s < 60; s++) {
        CASE("s %" PRIu64, s);
        CHECK(cm_ring_own(&r, s));
    }
    CHECK_EQ(cm_ring_victims(&r, v, 32), 4);
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        CHECK_EQ(v[i].slot, 60 + i);
    }
    CHECK_EQ(cm_ring_victims(&r, v, 32), 0);
    unmake(&r);
}

/* The hand passes by slots on probation, and lowers no count there. */
static void test_hand_passes_by(void)
{
    struct cm_ring r = make(40);
    set_all(&r, 2);
    r.probation = 39;
    for (uint64_t s = 0; s < 30; s++)
        begin(&r, s);
    cm_ring_touch(&r, 5);
    r.ref[35] = 0;
    CHECK_EQ(victim(&r), 35);
    CHECK_EQ(cm_ring_count(&r, 5), 1);
    r.probation = 1000; /* all are on probation: then one of those is taken */
    for (uint64_t s = 30; s < 40; s++)
        begin(&r, s);
    CHECK(victim(&r) < 40);
    unmake(&r);
}

/* Slots on probation are emptied, filled anew or evicted in another way. Their old entries in the
 * line are stale, and the number of slots on probation stays right. */
static void test_stale_places(void)
{
    struct cm_ring r = make(100);
    set_all(&r, 1);
    for (uint64_t s = 0; s < 10; s++)
        begin(&r, s);
    cm_ring_hint(&r, 0);
    cm_ring_set(&r, 1, CM_REF_KNOWN);
    begin(&r, 2); /* again: it goes to the end */
    CHECK_EQ(r.on_probation, 8);
    CHECK_EQ(victim(&r), 0); /* the hint */
    begin(&r, 10);
    begin(&r, 11);
    CHECK_EQ(r.on_probation, 10);
    CHECK_EQ(victim(&r), 3); /* past two stale entries, and the first entry of 2 */
    unmake(&r);
}

/* A line full of stale entries does no harm. */
static void test_line_full(void)
{
    struct cm_ring r = make(100);
    for (uint64_t i = 0; i < 5 * r.line_max; i++) {
        CASE("i %" PRIu64, i);
        begin(&r, i % 3);
        CHECK(r.line_count <= r.line_max);
        CHECK(r.on_probation <= 3);
    }
    unmake(&r);
}

/* While the pool fills for the first time, more blocks come than may be on probation. The surplus
 * are members, and the ghost need not remember them. */
static void test_spared(void)
{
    struct cm_ring r = make(100);
    for (uint64_t s = 0; s < 100; s++)
        begin(&r, s);
    CHECK_EQ(r.on_probation, 16); /* ten, half as many more, and the one that is too many */
    for (uint64_t s = 0; s < 100; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(!(r.ref[s] & CM_REF_PROBATION), (r.ref[s] & CM_REF_KNOWN) != 0);
    }
    unmake(&r);
}

/* The same if they come together. */
static void test_spared_together(void)
{
    struct cm_ring r = make(100);
    uint64_t slot[32];
    for (unsigned i = 0; i < 32; i++)
        slot[i] = i;
    cm_ring_begin_probation(&r, slot, 32, 0);
    CHECK_EQ(r.on_probation, 16);
    for (unsigned i = 0; i < 32; i++) {
        CASE("i %u", i);
        CHECK_EQ((r.ref[i] & CM_REF_PROBATION) != 0, i < 16);
    }
    unmake(&r);
}

/* Threads fill at the same time. Each takes its victims from the line, and its blocks go there, in
 * any order. No block is spared probation because it came last. */
static void test_many_fill(void)
{
    struct cm_ring r = make(1000); /* a hundred may be on probation */
    uint64_t slot[2][16];
    set_all(&r, 1);
    for (uint64_t s = 0; s < 100; s++)
        begin(&r, s);
    for (unsigned round = 0; round < 50; round++) {
        CASE("round %u", round);
        for (unsigned i = 0; i < 2; i++) { /* what the other one took is not counted */
            CASE("i %u", i);
            struct cm_victim v[16];
            CHECK_EQ(cm_ring_victims(&r, v, 16), 16);
            for (unsigned n = 0; n < 16; n++) {
                CASE("n %u", n);
                CHECK(v[n].remember && v[n].slot < 1000);
                slot[i][n] = v[n].slot;
            }
        }
        for (unsigned i = 0; i < 2; i++) {
            CASE("i %u", i);
            cm_ring_begin_probation(&r, slot[i], 16, 0);
            for (unsigned n = 0; n < 16; n++) {
                CASE("n %u", n);
                CHECK(r.ref[slot[i][n]] & CM_REF_PROBATION);
                CHECK(cm_ring_is_owned(&r, slot[i][n]));
            }
            cm_ring_disown_all(&r, slot[i], 16);
            for (unsigned n = 0; n < 16; n++) {
                CASE("n %u", n);
                CHECK(!cm_ring_is_owned(&r, slot[i][n]));
            }
        }
        CHECK(r.on_probation >= 100 && r.on_probation <= 132);
    }
    unmake(&r);
}

/* At most half of the existing slots are on probation. Nothing is refused while some slots were
 * never used. */
static void test_rule(void)
{
    struct cm_ring r = make(100);
    cm_ring_rule(&r, 80, 2, true);
    CHECK_EQ(r.probation, 50);
    CHECK_EQ(r.earn, 2);
    CHECK(cm_ring_refuses(&r));
    r.frontier = 99;
    CHECK(!cm_ring_refuses(&r));
    cm_ring_stop(&r, r.frontier);
    cm_ring_stop(&r, 100); /* another thread came later, and knew less */
    CHECK_EQ(r.end, 99);
    CHECK(cm_ring_refuses(&r));
    cm_ring_rule(&r, 10, 1, false);
    CHECK_EQ(r.probation, 10);
    CHECK(!cm_ring_refuses(&r));
    unmake(&r);
}

/* ---- Hints and frontier ---------------------------------------------------------------------- */

static void test_hints_first(void)
{
    struct cm_ring r = make(1000);
    cm_ring_set(&r, 700, 3);
    cm_ring_hint(&r, 700);
    CHECK_EQ(r.ref[700] & CM_REF_MAX, 0); /* it is empty, so its count is zero */
    cm_ring_hint(&r, 800);
    CHECK(!cm_ring_is_owned(&r, 700));
    CHECK(cm_ring_own(&r, 800)); /* it is owned meanwhile, so it is skipped */
    cm_ring_hint(&r, 900);
    cm_ring_set(&r, 900, 0); /* it is filled meanwhile, so it is not empty */
    CHECK_EQ(victim(&r), 700);
    CHECK_EQ(victim(&r), 0);
    CHECK_EQ(r.hint_count, 0);
    unmake(&r);
}

static void test_hints_bounded(void)
{
    struct cm_ring r = make(10000);
    for (uint64_t s = 0; s < 2 * CM_HINTS; s++)
        cm_ring_hint(&r, s);
    CHECK_EQ(r.hint_count, CM_HINTS);
    CHECK_EQ(r.hint[CM_HINTS], 0); /* nothing is written behind the end */
    unmake(&r);
}

static void test_frontier(void)
{
    struct cm_ring r = make(200);
    r.frontier = 150;
    for (uint64_t s = 150; s < 200; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(victim(&r), s);
    }
    CHECK_EQ(r.frontier, 200);
    CHECK_EQ(r.hand, 0);
    CHECK_EQ(victim(&r), 0);
    CHECK_EQ(r.frontier, 200);
    unmake(&r);
}

/* ---- Free stack ------------------------------------------------------------------------------ */

static void test_free_stack(void)
{
    struct cm_ring r = make(320);
    CHECK_EQ(r.free_max, 10);
    CHECK_EQ(take_free(&r), CM_NO_SLOT);
    for (uint64_t s = 0; s < 12; s++) {
        CASE("s %" PRIu64, s);
        CHECK(cm_ring_own(&r, s));
        cm_ring_set(&r, s, 3);
        cm_ring_give_free(&r, &s, 1);
        CHECK_EQ(r.ref[s] & CM_REF_MAX, 0);
    }
    CHECK_EQ(r.free_count, 10);
    CHECK_EQ(r.free[10], 0); /* nothing is written behind the end */
    CHECK(cm_ring_is_owned(&r, 9));
    CHECK(!cm_ring_is_owned(&r, 10)); /* too many: disowned, but hinted */
    CHECK(!cm_ring_is_owned(&r, 11));
    CHECK_EQ(r.hint_count, 2);
    for (unsigned i = 0; i < 10; i++) {
        CASE("i %u", i);
        CHECK(cm_ring_is_owned(&r, take_free(&r)));
    }
    CHECK_EQ(take_free(&r), CM_NO_SLOT);
    CHECK_EQ(victim(&r), 11);
    unmake(&r);
}

/* Slots that are given together come out in their order. When not all of them fit, each is either
 * in the stack and owned, or disowned and hinted. */
static void test_free_together(void)
{
    struct cm_ring r = make(320);
    uint64_t slot[14], out[14], hinted;
    unsigned seen[14] = { 0 };
    for (unsigned i = 0; i < 14; i++) {
        slot[i] = 20 + i;
        CHECK(cm_ring_own(&r, slot[i]));
    }
    cm_ring_give_free(&r, slot, 6);
    CHECK_EQ(cm_ring_take_free(&r, out, 6), 6);
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(out[i], slot[i]);
    cm_ring_give_free(&r, slot, 14);
    CHECK_EQ(r.free_count, r.free_max);
    CHECK_EQ(cm_ring_take_free(&r, out, 14), 10);
    for (unsigned i = 0; i < 10; i++) {
        CHECK(cm_ring_is_owned(&r, out[i]));
        CHECK(out[i] >= 20 && out[i] < 34 && seen[out[i] - 20]++ == 0);
    }
    CHECK_EQ(r.hint_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        hinted = r.hint[i];
        CHECK(!cm_ring_is_owned(&r, hinted));
        CHECK(hinted >= 20 && hinted < 34 && seen[hinted - 20]++ == 0);
    }
    unmake(&r);
}

static void test_verified_flag(void)
{
    struct cm_ring r = make(130);
    cm_ring_set_verified(&r, 0);
    cm_ring_set_verified(&r, 64);
    cm_ring_set_verified(&r, 129);
    for (uint64_t s = 0; s < 130; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(cm_ring_is_verified(&r, s), s == 0 || s == 64 || s == 129);
    }
    /* Beside the count, neither touches the other. */
    cm_ring_touch(&r, 64);
    cm_ring_touch(&r, 65);
    CHECK_EQ(cm_ring_count(&r, 64), 1);
    CHECK(cm_ring_is_verified(&r, 64) && !cm_ring_is_verified(&r, 65));
    cm_ring_set(&r, 64, CM_REF_MAX);
    cm_ring_touch(&r, 64);
    CHECK_EQ(cm_ring_count(&r, 64), CM_REF_MAX);
    cm_ring_set_verified(&r, 65);
    CHECK_EQ(cm_ring_count(&r, 65), 1);
    for (unsigned i = 0; i < 130 * (CM_REF_MAX + 1); i++)
        cm_ring_disown(&r, victim(&r));
    CHECK_EQ(cm_ring_count(&r, 64), 0);
    CHECK(cm_ring_is_verified(&r, 64));
    unmake(&r);
}

/* DRAM of the ring, beside a byte and a bit for each slot: the line takes 3 1/8 bytes for each, and
 * the stack of free slots is bounded. (api/dram has the sum of all tables.) */
static void test_bytes(void)
{
    for (uint64_t slots = UINT64_C(1) << 18; slots < UINT64_C(1) << 35; slots *= 2) {
        CASE("slots %" PRIu64, slots);
        const uint64_t line = cm_ring_line(slots) * CM_LINE_ENTRY;
        CHECK(line >= slots && line <= slots / 8 * 25 + 128);
        CHECK(cm_ring_free_max(slots) > 0 && cm_ring_free_max(slots) <= CM_FREE_MAX);
    }
}

/* What is kept of any run of slots comes back, also of odd ones, and nothing behind it changes. */
static void test_kept(void)
{
    struct cm_ring r = make(100), again = make(100);
    for (uint64_t s = 0; s < r.slots; s++)
        r.ref[s] = (uint8_t)(mix(s) & CM_RING_KEPT);
    for (uint64_t n = 0; n < 40; n++) {
        CASE("n %" PRIu64, n);
        uint8_t kept[32] = { 0 };
        set_all(&again, 0);
        cm_ring_save(&r, 5, n, kept);
        for (uint64_t i = (n + 1) / 2; i < sizeof(kept); i++) {
            CASE("i %" PRIu64, i);
            CHECK_EQ(kept[i], 0);
        }
        cm_ring_load(&again, 5, n, kept);
        for (uint64_t s = 0; s < r.slots; s++) {
            CASE("s %" PRIu64, s);
            CHECK_EQ(again.ref[s], s >= 5 && s < 5 + n ? r.ref[s] : 0);
        }
    }
    unmake(&r);
    unmake(&again);
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS 100000

static struct cm_ring shared;
static uint32_t holders[512]; /* number of owners of a slot; more than one is a violation */
static uint32_t violations;
static bool emptying; /* now and then the frontier goes back */

static void hold(uint64_t slot)
{
    if (at_add_relaxed(&holders[slot], 1u) != 0)
        at_add_relaxed(&violations, 1u);
}

static void let_go(uint64_t slot)
{
    at_add_relaxed(&holders[slot], -1u);
}

/* Takes slots and gives them back in every possible way. */
static void *owner(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t way = next_random(&rng), slot = way % shared.slots;
        if (way >> 32 & 1)
            slot = victim(&shared);
        else if (way >> 33 & 1)
            slot = take_free(&shared);
        else if (!cm_ring_own(&shared, slot))
            slot = CM_NO_SLOT;
        if (slot == CM_NO_SLOT)
            continue;
        hold(slot);
        cm_ring_touch(&shared, way % shared.slots);
        let_go(slot);
        if (way >> 34 & 1)
            cm_ring_give_free(&shared, &slot, 1);
        else
            cm_ring_disown(&shared, slot);
        if (way >> 35 & 1)
            cm_ring_hint(&shared, slot);
        if (emptying && (way >> 36) % 64 == 0)
            cm_ring_emptied(&shared);
    }
    return NULL;
}

static void run_threads(void *(*body)(void *))
{
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, body, (void *)(i * 1000003)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
}

static void check_exclusive(void)
{
    shared = make(512);
    shared.frontier = 100;
    violations = 0;
    memset(holders, 0, sizeof(holders));
    CALL(run_threads(owner));
    CHECK_EQ(violations, 0);
    /* At the end the owned slots are those on the free stack. */
    uint64_t owned = 0;
    for (uint64_t s = 0; s < 512; s++)
        owned += cm_ring_is_owned(&shared, s);
    CHECK_EQ(owned, shared.free_count);
    CHECK(shared.free_count <= shared.free_max);
    CHECK(cm_ring_used(&shared) <= 512 && cm_ring_used(&shared) >= 100);
    unmake(&shared);
}

static void test_exclusive(void)
{
    for (unsigned i = 0; i < 2; i++) {
        emptying = i != 0;
        CALL(check_exclusive());
    }
    emptying = false;
}

/* Batches of slots: taken from the stack and from the policy, put on probation, given back in both
 * ways. */
static void *filler(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    for (unsigned i = 0; i < ROUNDS / 20; i++) {
        uint64_t way = next_random(&rng), slot[32];
        struct cm_victim v[32];
        unsigned n = 1 + (unsigned)(way % 32), got = cm_ring_take_free(&shared, slot, n);
        unsigned more = cm_ring_victims(&shared, v, n - got);
        for (unsigned j = 0; j < more; j++)
            slot[got + j] = v[j].slot;
        got += more;
        for (unsigned j = 0; j < got; j++)
            hold(slot[j]);
        cm_ring_touch(&shared, (way >> 8) % shared.slots);
        unsigned kept = got ? (unsigned)(way >> 40) % (got + 1) : 0; /* the rest is not stored */
        cm_ring_begin_probation(&shared, slot, kept, (uint32_t)(way >> 16));
        for (unsigned j = 0; j < got; j++)
            let_go(slot[j]);
        cm_ring_disown_all(&shared, slot, kept);
        if (got > kept)
            cm_ring_give_free(&shared, slot + kept, got - kept);
        if (way >> 60 & 1)
            cm_ring_hint(&shared, (way >> 24) % shared.slots);
    }
    return NULL;
}

/* No slot has two owners, no slot is lost, and the counts match the slots. */
static void test_batches(void)
{
    uint64_t probation = 0, owned = 0;
    shared = make(512);
    violations = 0;
    memset(holders, 0, sizeof(holders));
    CALL(run_threads(filler));
    CHECK_EQ(violations, 0);
    for (uint64_t s = 0; s < 512; s++) {
        probation += (shared.ref[s] & CM_REF_PROBATION) != 0;
        owned += cm_ring_is_owned(&shared, s);
    }
    CHECK_EQ(shared.on_probation, probation);
    CHECK_EQ(shared.free_count, owned);
    unmake(&shared);
}

/* Victims are never given back: every slot is given out exactly once. */
static void *taker(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t s = victim(&shared);
        if (s != CM_NO_SLOT)
            hold(s);
    }
    return NULL;
}

static void test_victims_once(void)
{
    shared = make(512);
    shared.frontier = 0;
    violations = 0;
    memset(holders, 0, sizeof(holders));
    CALL(run_threads(taker));
    CHECK_EQ(violations, 0);
    for (uint64_t s = 0; s < 512; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(holders[s], 1);
    }
    unmake(&shared);
}

static const struct harness_test ring_tests[] = {
    TEST(zero_wins),
    TEST(kept_slots),
    TEST(bounded),
    TEST(first_of_equals),
    TEST(all_owned),
    TEST(small_ring),
    TEST(counts),
    TEST(ageing),
    TEST(line),
    TEST(line_ahead),
    TEST(line_taken),

    TEST(hand_passes_by),
    TEST(stale_places),
    TEST(line_full),
    TEST(victims_at_once),
    TEST(victims_run_out),
    TEST(spared),
    TEST(many_fill),
    TEST(rule),
    TEST(hints_first),
    TEST(hints_bounded),
    TEST(frontier),
    TEST(free_stack),
    TEST(free_together),
    TEST(verified_flag),
    TEST(bytes),
    TEST(kept),
    TEST(exclusive),
    TEST(batches),
    TEST(victims_by_turns),
    TEST(frontier_owned),
    TEST(spared_together),
    TEST(victims_once),
    TEST_END,
};

static const struct harness_test *const tables[] = { ring_tests, ring_empties_tests,
                                                     ring_share_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
