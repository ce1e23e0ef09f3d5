/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_invariants.c - the checks of a build with -Dchecks=full: they find and name each kind of
 * disorder, and find none in a cache at work.
 */
#include "fixture.h"

#include "state/invariants.h"
#include "state/object.h"

#define HELD 8u /* blocks that the probation buffer holds */

/* A pool with blocks on probation, in the buffer, pinned, free and under an open bracket. */
struct work {
    struct pool p;
    cm_file *f;
    cm_bracket w;
    cm_pins pins;
    struct cm_ring *ring;
    struct cm_object *object;
};

static int work_begin_in(struct work *w, uint64_t bytes)
{
    cm_iovec iov;
    int used;
    pool_make(&w->p, bytes, 0);
    pool_seed(&w->p, 1);
    w->p.o.probation_bytes = HELD * BLK;
    w->p.o.policy = CM_POLICY_S3R;
    if (pool_up(&w->p))
        return -1;
    w->f = attach(&w->p, 1, CM_BLOCK_MAX / 2, 1, 0);
    (void)put_all(w->f, 0, w->p.c->media.geo.slots + 2 * HELD, 5);
    w->ring = &w->p.c->policy.ring;
    w->object = cm_object_of(w->f);
    if (cm_write_begin(w->f, 0, BLK, &w->w))
        return -1;
    for (uint64_t b = 100; b < w->p.c->media.geo.slots; b++)
        if (cm_pin_range(w->f, b * BLK, BLK, &iov, 1, &used, &w->pins, NULL) == (int64_t)BLK)
            return 0;
    return -1;
}

static int work_begin(struct work *w)
{
    return work_begin_in(w, MIB);
}

static void work_end(struct work *w)
{
    CHECK_EQ(cm_unpin(&w->pins), 0);
    CHECK(cm_write_end(w->f, &w->w, NULL) >= 0);
    pool_end(&w->p);
}

/* Changes a byte, word or long word of the cache, checks what is found, and restores it. */
#define EXPECT_FOUND(w, place, value, what)                                                        \
    do {                                                                                           \
        char disorder[CM_INVARIANTS_TEXT] = "";                                                    \
        const __typeof__(place) before = (place);                                                  \
        (place) = (__typeof__(place))(value);                                                      \
        CHECK(!cm_cache_in_order((w)->p.c, disorder));                                             \
        (place) = before;                                                                          \
        if (!strstr(disorder, what))                                                               \
            printf("# found: \"%s\", wanted: \"%s\"\n", disorder, what);                           \
        CHECK(strstr(disorder, what) != NULL);                                                     \
        CHECK(cm_cache_in_order((w)->p.c, disorder));                                              \
    } while (0)

/* What the last session kept of a slot may be loaded when the slot is free again. */
static void test_kept_counts_come_late(void)
{
    struct work w;
    const uint8_t kept[1] = { 0xbb };
    char found[CM_INVARIANTS_TEXT] = "";
    REQUIRE(work_begin(&w) == 0);
    REQUIRE(w.ring->free_count > 0);
    const uint64_t slot = w.ring->free[0] & ~UINT64_C(1);
    cm_ring_load(w.ring, slot, 2, kept);
    CHECK(w.ring->ref[w.ring->free[0]] & CM_REF_KNOWN);
    CHECK(cm_cache_in_order(w.p.c, found));
    work_end(&w);
}

static void test_in_order(void)
{
    struct work w;
    char found[CM_INVARIANTS_TEXT] = "";
    REQUIRE(work_begin(&w) == 0);
    CHECK(cm_cache_in_order(w.p.c, found));
    if (found[0])
        printf("# %s\n", found);
    work_end(&w);
}

static void test_ring(void)
{
    struct work w;
    REQUIRE(work_begin(&w) == 0);
    struct cm_ring *r = w.ring;
    EXPECT_FOUND(&w, r->end, r->slots + 1, "ring: end");
    EXPECT_FOUND(&w, r->frontier, r->slots + 1, "ring: frontier");
    EXPECT_FOUND(&w, r->probation, r->slots, "ring: probation");
    EXPECT_FOUND(&w, r->free_count, r->free_max + 1, "free slots, room for");
    EXPECT_FOUND(&w, r->hint_count, CM_HINTS + 1, "hints");
    EXPECT_FOUND(&w, r->lock.word, 1, "ring: the lock is held");
    uint64_t none = 0; /* a slot that is not owned */
    while (cm_ring_is_owned(r, none) || w.p.c->pins[none])
        none++;
    EXPECT_FOUND(&w, r->owned[none / 64], r->owned[none / 64] | UINT64_C(1) << none % 64,
                 "slots are owned");
    const uint64_t room = r->free[r->free_count];
    char found[CM_INVARIANTS_TEXT] = "";
    r->free[r->free_count++] = none;
    CHECK(!cm_cache_in_order(w.p.c, found));
    CHECK(strstr(found, "is not owned") != NULL);
    r->free[--r->free_count] = room;
    work_end(&w);
}

static void test_line(void)
{
    struct work w;
    REQUIRE(work_begin(&w) == 0);
    struct cm_ring *r = w.ring;
    /* Puts the slot in the line, whatever the rule of the policy says. */
    uint64_t slot = 7;
    cm_ring_rule(r, r->slots / 4, 2, false);
    cm_ring_begin_probation(r, &slot, 1, 0);
    CHECK(r->ref[slot] & CM_REF_PROBATION);
    EXPECT_FOUND(&w, r->on_probation, r->on_probation + 1, "slots on probation");
    EXPECT_FOUND(&w, r->ref[slot], 0, "slots on probation");
    EXPECT_FOUND(&w, r->ref[slot], r->ref[slot] ^ 0x10, "of them in line");
    EXPECT_FOUND(&w, r->line_count, r->line_count - 1, "of them in line");
    EXPECT_FOUND(&w, r->line_count, r->line_max + 1, "line: first");
    cm_ring_set(r, slot, 0);
    work_end(&w);
}

static void test_ghost(void)
{
    struct work w;
    REQUIRE(work_begin(&w) == 0);
    struct cm_ghost *g = &w.p.c->policy.ghost;
    EXPECT_FOUND(&w, g->cell[3], 0x1234, "a cell of nothing");
    EXPECT_FOUND(&w, g->window, g->window * 2, "for a window of");
    work_end(&w);
}

static void test_files(void)
{
    struct work w;
    REQUIRE(work_begin(&w) == 0);
    struct cm_object *f = w.object;
    EXPECT_FOUND(&w, f->open_brackets, 0, "counted");
    EXPECT_FOUND(&w, f->open_data, 2, "counted");
    EXPECT_FOUND(&w, f->stale, 1, "stale brackets");
    EXPECT_FOUND(&w, f->own_used, false, "its own bracket");
    EXPECT_FOUND(&w, f->brackets->state, 0, "state 0");
    EXPECT_FOUND(&w, f->oldest, NULL, "the next one's place");
    EXPECT_FOUND(&w, f->open_regions, 0, "regions");
    EXPECT_FOUND(&w, f->refs, 0, "0 references");
    EXPECT_FOUND(&w, f->bypassed, 1, "bypassed, with incarnation");
    EXPECT_FOUND(&w, f->id.lo, f->id.lo + 1, "file");
    EXPECT_FOUND(&w, f->lock.word, 1, "its lock is held");
    EXPECT_FOUND(&w, w.p.c->open_places[f->place / 64], 0, "not marked as open");
    work_end(&w);
}

static void test_intents(void)
{
    struct work w;
    REQUIRE(work_begin_in(&w, 40 * MIB) == 0); /* of several stripes */
    struct cm_cache *c = w.p.c;
    const uint64_t mine = cm_key_stripe(&c->media, w.object->incarnation, 0);
    const uint64_t other = mine == 0 ? 1 : 0;
    REQUIRE(c->media.geo.stripes > 1);
    EXPECT_FOUND(&w, c->stripes[mine].intents, 0, "0 intents");
    EXPECT_FOUND(&w, c->stripes[other].intents, 1, "2 intents");
    c->stripes[mine].intents = 0; /* the same number, but on another stripe */
    char found[CM_INVARIANTS_TEXT] = "";
    c->stripes[other].intents = 1;
    CHECK(!cm_cache_in_order(c, found));
    CHECK(strstr(found, "not all where brackets are open") != NULL);
    c->stripes[other].intents = 0;
    c->stripes[mine].intents = 1;
    EXPECT_FOUND(&w, c->stripes[other].lock.word, 1, "the lock is held");
    work_end(&w);
}

/* A valid header that no cell leads to; a free slot with a valid header; pins. */
static void test_slots(void)
{
    struct work w;
    struct cm_cells cells;
    struct cm_header h;
    REQUIRE(work_begin(&w) == 0);
    struct cm_cache *c = w.p.c;
    const struct cm_media *m = &c->media;
    uint64_t slot = 0;
    while (slot < m->geo.slots && (cm_slot_header(m, slot, &h) != CM_SLOT_HIT || w.p.c->pins[slot]))
        slot++;
    REQUIRE(slot < m->geo.slots);
    cm_ring_set(w.ring, slot, 0);
    const struct cm_key k = cm_key_of(m, h.incarnation, cm_header_block(&h));
    for (unsigned which = 0; which < 2; which++)
        REQUIRE(cm_index_load(m, &k, which, &cells) == 0);
    unsigned i = 0;
    while (i < CM_PLACE_CELLS && (!cells.cell[i] || cm_cell_slot(cells.cell[i]) != slot))
        i++;
    REQUIRE(i < CM_PLACE_CELLS);
    uint64_t *cell = cm_index_bucket(m, k.place.bucket[i / CM_BUCKET_CELLS]) + i % CM_BUCKET_CELLS;
    EXPECT_FOUND(&w, *cell, 0, "no cell leads to it");
    EXPECT_FOUND(&w, c->pins[slot], CM_PIN_DOOMED, "doomed, pins 0x80");
    EXPECT_FOUND(&w, c->pinned, 0, "1 blocks are pinned, 0 are counted");
    /* The slot is owned and in the stack, like a free slot, but its block was not forgotten. */
    const uint32_t count = w.ring->free_count;
    char found[CM_INVARIANTS_TEXT] = "";
    CHECK(cm_ring_own(w.ring, slot));
    REQUIRE(count < w.ring->free_max);
    w.ring->free[count] = slot;
    w.ring->free_count++;
    CHECK(!cm_cache_in_order(c, found));
    CHECK(strstr(found, "free, and its header is valid") != NULL);
    w.ring->free_count--;
    cm_ring_disown(w.ring, slot);
    work_end(&w);
}

static void test_buffer(void)
{
    struct work w;
    REQUIRE(work_begin(&w) == 0);
    struct cm_probation *b = &w.p.c->probation;
    uint64_t live = 0, cell = 0;
    while (live < b->entries && !(b->entry[live].version & 1))
        live++;
    while (cell < b->buckets * CM_PROBATION_WAYS && b->cell[cell] == 0)
        cell++;
    REQUIRE(live < b->entries && cell < b->buckets * CM_PROBATION_WAYS);
    EXPECT_FOUND(&w, b->entry[live].version, b->entry[live].version + 1, "leads to dead entry");
    EXPECT_FOUND(&w, b->cell[cell], 0, "live entries");
    EXPECT_FOUND(&w, b->cell[cell], b->entries + 1, "names entry");
    EXPECT_FOUND(&w, b->entry[live].busy, 1, "is claimed");
    EXPECT_FOUND(&w, b->next, b->entries, "buffer: next");
    work_end(&w);
}

static const struct harness_test tests[] = {
    TEST(in_order), TEST(kept_counts_come_late),
    TEST(ring),     TEST(line),
    TEST(ghost),    TEST(files),
    TEST(intents),  TEST(slots),
    TEST(buffer),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
