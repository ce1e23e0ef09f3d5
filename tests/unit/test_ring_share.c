/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ring_share.c - the slots of a share are found in a few steps, wherever they lie in the ring.
 */
#include "ring_common.h"

#include <pthread.h>

/* A ring, and a share of it that may have all slots. */
static struct cm_share *share_of(struct cm_ring *r, uint64_t slots)
{
    *r = make(slots);
    CHECK_EQ(cm_share_begin(&r->shares, calloc(1, cm_share_bytes(slots)), slots), 1);
    return &r->shares.share[0];
}

static void end_share(struct cm_ring *r)
{
    free(r->shares.share[0].bits);
    unmake(r);
}

/* ---- The search ------------------------------------------------------------------------------ */

/* A small group in a pool of 64 GiB has slots at both ends. Each search finds one, and each of them
 * in turn. */
static void test_share_far(void)
{
    enum { HALF = 100, SLOTS = 1 << 24 };
    struct cm_ring r;
    struct cm_share *const h = share_of(&r, SLOTS);
    for (uint64_t i = 0; i < HALF; i++) {
        cm_share_found(&r.shares, h, i);
        cm_share_found(&r.shares, h, SLOTS - HALF + i);
    }
    for (uint64_t i = 0; i < 6 * HALF; i++) {
        const uint64_t at = i % (2 * HALF);
        bool remember;
        const uint64_t slot = cm_ring_share_victim(&r, h, &remember);
        CHECK_EQ((int64_t)slot, (int64_t)(at < HALF ? at : SLOTS - 2 * HALF + at));
        if (slot == CM_NO_SLOT)
            break;
        cm_ring_disown(&r, slot);
    }
    end_share(&r);
}

/* Slots in use lose one count in a search, all of them, and then the first one goes. */
static void test_share_worth(void)
{
    struct cm_ring r;
    struct cm_share *const h = share_of(&r, 1000);
    bool remember;
    for (uint64_t slot = 10; slot < 1000; slot += 100) {
        cm_share_found(&r.shares, h, slot);
        r.ref[slot] = slot == 510 ? 1 : 2;
    }
    CHECK_EQ(cm_ring_share_victim(&r, h, &remember), 510);
    for (uint64_t slot = 10; slot < 1000; slot += 100)
        CHECK_EQ(r.ref[slot], slot == 510 ? 0 : 1);
    end_share(&r);
}

/* ---- Which slots it has ---------------------------------------------------------------------- */

#define SOME 40u

/* The first of them from `at` on. */
static uint64_t first_of(const uint64_t *slot, uint64_t at)
{
    uint64_t first = CM_NO_SLOT;
    for (unsigned i = 0; i < SOME; i++)
        if (slot[i] >= at && slot[i] < first)
            first = slot[i];
    return first;
}

/* Slots come and go, and the next one from anywhere on is always found. The sizes have one to five
 * levels, with a last word that is full, and one that is not. */
static void test_share_next(void)
{
    static const uint64_t sizes[] = { 1, 64, 65, 1000, 4096, 4097, 262144, 262145, 20000000 };
    uint64_t seed = 1;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct cm_ring r;
        uint64_t slot[SOME];
        const uint64_t slots = sizes[i];
        struct cm_share *const h = share_of(&r, slots);
        CASE("%u slots", (unsigned)slots);
        memset(slot, 0xff, sizeof(slot)); /* CM_NO_SLOT */
        for (unsigned n = 0; n < 4000; n++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            uint64_t *const one = &slot[(seed >> 20) % SOME], at = (seed >> 28) % slots;
            const uint64_t was = *one;
            *one = n % 3 == 0 ? CM_NO_SLOT : n % 3 == 1 ? at : at / 64 * 64;
            if (was != CM_NO_SLOT && first_of(slot, was) != was) /* no other one is the same */
                cm_share_leave(&r.shares, was);
            if (*one != CM_NO_SLOT)
                cm_share_found(&r.shares, h, *one);
            CHECK_EQ((int64_t)cm_share_next(h, at), (int64_t)first_of(slot, at));
            CHECK_EQ((int64_t)cm_share_next(h, 0), (int64_t)first_of(slot, 0));
        }
        CHECK_EQ((int64_t)cm_share_next(h, slots), (int64_t)CM_NO_SLOT);
        for (unsigned k = 0; k < SOME; k++)
            if (slot[k] != CM_NO_SLOT)
                cm_share_leave(&r.shares, slot[k]);
        for (unsigned k = 0; k < h->bits->levels; k++) /* a search for a slot has no detours */
            CHECK_EQ(h->bits->level[k][0], 0);
        end_share(&r);
    }
}

/* ---- Several threads ------------------------------------------------------------------------- */

#define THREADS 4u
#define AREA 5000u /* slots */
#define ROUNDS 30000u

struct worker {
    pthread_t thread;
    struct cm_ring *r;
    unsigned number;
};

/* Some slots of each word, and each time most words of the share become empty. */
static void *come_and_go(void *arg)
{
    const struct worker *const w = arg;
    struct cm_share *const h = &w->r->shares.share[0];
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const uint64_t slot = (i * 64 % AREA / THREADS) * THREADS + w->number;
        cm_share_found(&w->r->shares, h, slot);
        cm_share_leave(&w->r->shares, slot);
    }
    for (uint64_t slot = w->number; slot < AREA; slot += 32 * THREADS)
        cm_share_found(&w->r->shares, h, slot);
    return NULL;
}

/* What they leave is found, wherever they met. */
static void test_share_together(void)
{
    for (unsigned n = 0; n < 4; n++) {
        struct cm_ring r;
        struct worker w[THREADS];
        struct cm_share *const h = share_of(&r, AREA);
        for (unsigned i = 0; i < THREADS; i++) {
            w[i] = (struct worker){ .r = &r, .number = i };
            REQUIRE(pthread_create(&w[i].thread, NULL, come_and_go, &w[i]) == 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
            (void)pthread_join(w[i].thread, NULL);
        uint64_t count = 0;
        for (uint64_t slot = 0; (slot = cm_share_next(h, slot)) != CM_NO_SLOT; slot++) {
            CHECK_EQ(slot % (32 * THREADS), slot % THREADS);
            count++;
        }
        CHECK_EQ(count, (AREA + 32 * THREADS - 1) / (32 * THREADS) * THREADS);
        CHECK_EQ(h->used, count);
        end_share(&r);
    }
}

const struct harness_test ring_share_tests[] = {
    TEST(share_far), TEST(share_worth), TEST(share_next), TEST(share_together), TEST_END,
};
