/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_emptied.c - a pool that empties itself while it is open: all its slots are as good as never
 * used, the next session knows which were used since, and a slot that is in use just then is left
 * to its user.
 */
#include "fixture.h"

#include <stdio.h>

#include "../os.h"
#include "../plat_create.h"
#include "api/warm_room.h"
#include "protocol/evict.h"
#include "state/file_record.h"
#include "state/quota.h"
#include "state/settle.h"

#define G UINT32_C(7)
#define ALLOWED 200u /* blocks of the group; a pool of 4 MiB has some thousand slots */

/* ---- Pools ----------------------------------------------------------------------------------- */

static void set_quota(struct pool *p, uint64_t blocks)
{
    CHECK_EQ(cm_group_set_quota(p->c, G, blocks * BLK), 0);
}

static uint64_t used_by_group(struct pool *p)
{
    uint64_t has = 0, most = 0;
    CHECK_EQ(cm_group_usage(p->c, G, &has, &most), 0);
    return has / BLK;
}

static cm_file *attach_in_group(struct pool *p, uint64_t id)
{
    cm_file *f = attach(p, id, 3 * ALLOWED * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(f, G), 0);
    return f;
}

/* A pool all of whose slots were used, by blocks that were read three times. The group has a quota
 * and no blocks. */
static void full_pool(struct pool *p, bool buffered)
{
    pool_make(p, 4 * MIB, 0);
    pool_seed(p, 7);
    if (buffered)
        p->o.probation_bytes = 16 * BLK;
    REQUIRE(pool_up(p) == 0);
    set_quota(p, ALLOWED);
    const uint64_t slots = p->c->media.geo.slots;
    cm_file *f = attach(p, 1, 2 * slots * BLK, 1, 0);
    uint64_t n = 0;
    while (cm_ring_unused(&p->c->policy.ring) > 0 && n < 2 * slots)
        (void)put(f, n++, 1);
    for (unsigned i = 0; i < 3; i++)
        (void)hits(f, 0, n, 1);
    CHECK_EQ(cm_ring_unused(&p->c->policy.ring), 0);
    CHECK_EQ(pool_info(p->c).used_slots, slots);
}
#define full_pool(...) CALL(full_pool(__VA_ARGS__)) /* its checks say who called */

/* What a sync that fails does. */
static void empty(cm_cache *c)
{
    CHECK_EQ(cm_settle_failed(c), 0);
}

/* ---- Room ------------------------------------------------------------------------------------ */

/* The slots are used anew, for blocks that are read once, and no block leaves for another one. */
static void test_room(void)
{
    enum { NEW = 300 };
    for (unsigned buffered = 0; buffered < 2; buffered++) {
        struct pool p;
        CASE("buffered %u", buffered);
        full_pool(&p, buffered != 0);
        const uint64_t slots = p.c->media.geo.slots;
        cm_file *f = attach(&p, 2, NEW * BLK, 1, 0);
        CHECK(cm_room_is_short(cm_object_of(f)));
        empty(p.c);
        CHECK_EQ(pool_info(p.c).used_slots, 0);
        CHECK_EQ(cm_ring_unused(&p.c->policy.ring), slots);
        CHECK(!cm_room_is_short(cm_object_of(f)));
        const int64_t evicted = STAT(p.c, evicted);
        CHECK_EQ(put_all(f, 0, NEW, 2), NEW);
        CHECK_EQ(hits(f, 0, NEW, 2), NEW);
        CHECK_EQ(STAT(p.c, evicted), evicted);
        CHECK(pool_info(p.c).used_slots <= NEW + CM_BATCH_MAX);
        CHECK_EQ(slots_astray(p.c), 0);
        pool_end(&p);
    }
}

/* A group at its quota, of blocks that were read three times, in a pool that then empties itself.
 * They take slots until these are used. */
static void emptied_group(struct pool *p)
{
    REQUIRE(pool_new(p, 4 * MIB) == 0);
    set_quota(p, ALLOWED);
    cm_file *f = attach_in_group(p, 2);
    CHECK_EQ(put_all(f, 0, ALLOWED, 2), ALLOWED);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(hits(f, 0, ALLOWED, 2), ALLOWED);
    CHECK_EQ(used_by_group(p), ALLOWED);
    empty(p->c);
    CHECK_EQ(used_by_group(p), ALLOWED);
}
#define emptied_group(...) CALL(emptied_group(__VA_ARGS__)) /* its checks say who called */

/* A group at its quota fills its own slots anew: none of its new blocks leaves for another one,
 * before the slots have other blocks. */
static void test_group(void)
{
    struct pool p;
    emptied_group(&p);
    cm_file *g = attach_in_group(&p, 3);
    CHECK_EQ(put_all(g, 0, ALLOWED, 3), ALLOWED);
    CHECK_EQ(hits(g, 0, ALLOWED, 3), ALLOWED);
    CHECK(used_by_group(&p) <= ALLOWED);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A group whose quota becomes smaller first gives the slots that are left from the old epoch. */
static void test_smaller_quota(void)
{
    enum { NEW = ALLOWED / 4, OTHERS = 2 * ALLOWED };
    struct pool p;
    emptied_group(&p);
    cm_file *g = attach_in_group(&p, 3), *other = attach(&p, 4, OTHERS * BLK, 1, 0);
    CHECK_EQ(put_all(g, 0, NEW, 3), NEW);
    CHECK_EQ(used_by_group(&p), ALLOWED);
    set_quota(&p, NEW);
    CHECK_EQ(put_all(other, 0, OTHERS, 4), OTHERS);
    CHECK_EQ(used_by_group(&p), NEW);
    CHECK_EQ(hits(g, 0, NEW, 3), NEW);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Again and again, and each slot is found again. */
static void test_often(void)
{
    struct pool p;
    full_pool(&p, false);
    const uint64_t slots = p.c->media.geo.slots;
    for (uint64_t i = 0; i < 5; i++) {
        CASE("i %u", (unsigned)i);
        cm_file *f = attach(&p, 2 + i, slots * BLK, 1, 0);
        empty(p.c);
        CHECK_EQ(put_all(f, 0, slots * i / 4, 2), slots * i / 4);
        CHECK(hits(f, 0, slots * i / 4, 2) + CM_BATCH_MAX > slots * i / 4);
        CHECK_EQ(slots_astray(p.c), 0);
        detach(f);
    }
    pool_end(&p);
}

/* ---- The next session ------------------------------------------------------------------------ */

/* It knows the blocks that were stored since, so a group has no more than its quota; and it does
 * not take the whole pool for used. */
static void test_quota_after(void)
{
    for (unsigned killed = 0; killed < 2; killed++) {
        struct pool p;
        CASE("killed %u", killed);
        full_pool(&p, false);
        empty(p.c);
        cm_file *f = attach_in_group(&p, 2);
        CHECK_EQ(put_all(f, 0, ALLOWED, 2), ALLOWED);
        if (killed) {
            pool_crash(&p);
            REQUIRE(pool_up(&p) == 0);
        } else {
            detach(f);
            pool_again(&p);
        }
        CHECK(pool_info(p.c).used_slots >= ALLOWED);
        CHECK(pool_info(p.c).used_slots < p.c->media.geo.slots / 2);
        set_quota(&p, ALLOWED);
        f = attach_in_group(&p, 2);
        cm_file *g = attach_in_group(&p, 3);
        (void)put_all(g, 0, ALLOWED, 3);
        CHECK(hits(f, 0, ALLOWED, 2) + hits(g, 0, ALLOWED, 3) <= ALLOWED);
        CHECK(used_by_group(&p) <= ALLOWED);
        pool_end(&p);
    }
}

/* Nor after a group at its quota has stored some blocks, whose old slots lie far behind: the new
 * ones lie before those that were never used since. */
static void test_group_far(void)
{
    enum { FEW = 8 };
    for (unsigned killed = 0; killed < 2; killed++) {
        struct pool p;
        CASE("killed %u", killed);
        REQUIRE(pool_new(&p, 4 * MIB) == 0);
        set_quota(&p, FEW);
        const uint64_t slots = p.c->media.geo.slots;
        cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0), *g = attach_in_group(&p, 2);
        CHECK_EQ(put_all(f, 0, slots * 3 / 4, 1), slots * 3 / 4);
        CHECK_EQ(put_all(g, 0, FEW, 2), FEW);
        empty(p.c);
        f = attach_in_group(&p, 3);
        for (uint64_t i = 1; i <= FEW; i++) {
            CHECK_EQ(put(f, i - 1, 3), 0);
            CHECK(pool_info(p.c).used_slots >= i);
            CHECK(pool_info(p.c).used_slots <= FEW + CM_BATCH_MAX);
        }
        CHECK_EQ(hits(f, 0, FEW, 3), FEW);
        CHECK_EQ(used_by_group(&p), FEW);
        CHECK_EQ(slots_astray(p.c), 0);
        if (killed) {
            pool_crash(&p);
            REQUIRE(pool_up(&p) == 0);
        } else {
            detach(f);
            detach(g);
            pool_again(&p);
        }
        CHECK(pool_info(p.c).used_slots >= FEW);
        CHECK(pool_info(p.c).used_slots < slots / 4);
        pool_end(&p);
    }
}

/* The same of such a block that leaves the probation buffer unread: its group has room in time. */
static void test_group_far_buffer(void)
{
    enum { FEW = 32, NEW = 2 * FEW };
    struct pool p;
    pool_make(&p, 4 * MIB, 0);
    pool_seed(&p, 7);
    p.o.probation_bytes = 16 * BLK;
    REQUIRE(pool_up(&p) == 0);
    set_quota(&p, FEW);
    const uint64_t slots = p.c->media.geo.slots;
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0), *g = attach_in_group(&p, 2);
    (void)put_all(f, 0, slots * 3 / 4, 1);
    (void)put_all(g, 0, NEW, 2);
    (void)put_all(f, 0, 16, 1); /* they have left the buffer */
    CHECK_EQ(used_by_group(&p), FEW);
    empty(p.c);
    f = attach_in_group(&p, 3);
    (void)put_all(f, 0, FEW, 3);
    CHECK_EQ(hits(f, 0, FEW, 3), FEW);
    CHECK(pool_info(p.c).used_slots >= FEW / 2);
    CHECK(pool_info(p.c).used_slots <= FEW + CM_BATCH_MAX);
    CHECK(used_by_group(&p) <= FEW);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Nothing was stored since: nothing is used. */
static void test_nothing_since(void)
{
    struct pool p;
    full_pool(&p, false);
    empty(p.c);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).used_slots, 0);
    pool_end(&p);
}

/* A session after a kill fills first what the one before has left empty, which lies far behind. But
 * not once it has emptied itself: the next session would take all before it for used. */
static void test_holes(void)
{
    for (unsigned killed = 0; killed < 2; killed++) {
        struct pool p;
        CASE("killed %u", killed);
        REQUIRE(pool_new(&p, 4 * MIB) == 0);
        const uint64_t slots = p.c->media.geo.slots;
        cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
        CHECK_EQ(put_all(f, 0, slots - slots / 8, 1), slots - slots / 8);
        pool_crash(&p);
        REQUIRE(pool_up(&p) == 0);
        CHECK(at_load_relaxed(&p.c->hole) < p.c->holes_end);
        empty(p.c);
        f = attach(&p, 2, CM_BLOCK_MAX / 2, 1, 0);
        CHECK_EQ(put_all(f, 0, 16, 2), 16);
        CHECK(pool_info(p.c).used_slots >= 16);
        if (killed) {
            pool_crash(&p);
            REQUIRE(pool_up(&p) == 0);
        } else {
            detach(f);
            pool_again(&p);
        }
        CHECK(pool_info(p.c).used_slots >= 16);
        CHECK(pool_info(p.c).used_slots < slots / 4);
        pool_end(&p);
    }
}

/* So does a superblock that is older than its pool. */
static void test_disbelieved(void)
{
    struct pool p;
    full_pool(&p, false);
    CHECK_EQ(cm_file_disbelieve(p.c, cm_media_key(&p.c->media)), 0);
    CHECK_EQ(pool_info(p.c).used_slots, 0);
    pool_end(&p);
}

/* ---- A slot that is in use just then --------------------------------------------------------- */

static const struct cm_persist_ops *whole;
static cm_cache *to_empty;

static void empty_at_fence(void *ctx)
{
    cm_cache *c = to_empty;
    whole->fence(ctx);
    to_empty = NULL;
    if (c)
        empty(c);
}

#define BEFORE 500u

/* A pool with BEFORE blocks empties itself between the eviction that has got a slot for block 0 of
 * a file of the group, and its fill. *slot: that slot, the next one. Not called of a full pool. */
static cm_file *fill_beside(struct pool *p, uint64_t *slot)
{
    CHECK_EQ(pool_new(p, 4 * MIB), 0);
    set_quota(p, ALLOWED);
    cm_file *f = attach(p, 1, 2 * BEFORE * BLK, 1, 0), *g = attach_in_group(p, 2);
    uint64_t n = 0;
    while (n < BEFORE || (p->c->policy.ring.free_count > 0 && n < 2 * BEFORE))
        CHECK_EQ(put(f, n++, 1), 0);
    CHECK_EQ(p->c->policy.ring.free_count, 0);
    *slot = p->c->policy.ring.frontier;
    whole = p->c->media.ops;
    struct cm_persist_ops ops = *whole;
    ops.fence = empty_at_fence;
    p->c->media.ops = &ops;
    to_empty = p->c;
    (void)put(g, 0, 2);
    p->c->media.ops = whole;
    CHECK(to_empty == NULL);
    CHECK_EQ(hits(f, 0, n, 1), 0);
    detach(g); /* writes the file's record again */
    return attach_in_group(p, 2);
}

/* The block is cached, also in the next session, where its group's quota counts it. The slots
 * before it were not used since. */
static void test_filled_beside(void)
{
    for (unsigned killed = 0; killed < 2; killed++) {
        struct pool p;
        uint64_t slot;
        CASE("killed %u", killed);
        cm_file *g = fill_beside(&p, &slot);
        CHECK_EQ(look(g, 0, 2), RIGHT);
        CHECK_EQ(slot_of(g, 0), slot);
        CHECK_EQ(p.c->policy.ring.frontier, 0);
        CHECK(cm_ring_used(&p.c->policy.ring) > slot);
        if (killed) {
            pool_crash(&p);
            REQUIRE(pool_up(&p) == 0);
        } else {
            detach(g);
            pool_again(&p);
        }
        CHECK(pool_info(p.c).used_slots > slot);
        set_quota(&p, ALLOWED);
        g = attach_in_group(&p, 2);
        CHECK_EQ(look(g, 0, 2), RIGHT);
        cm_quota_complete(p.c);
        CHECK_EQ(used_by_group(&p), 1);
        pool_end(&p);
    }
}

/* The frontier comes to it, and passes it by. */
static void test_passed_by(void)
{
    struct pool p;
    uint64_t slot;
    cm_file *g = fill_beside(&p, &slot), *f = attach(&p, 3, CM_BLOCK_MAX / 2, 1, 0);
    uint64_t n = 0;
    for (; p.c->policy.ring.frontier <= slot + CM_BATCH_MAX && n <= 2 * slot; n++)
        CHECK_EQ(put(f, n, 3), 0);
    CHECK(p.c->policy.ring.frontier > slot);
    CHECK_EQ(look(g, 0, 2), RIGHT);
    CHECK_EQ(hits(f, 0, n, 3), n);
    CHECK_EQ(STAT(p.c, evicted), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A group that moves is counted there, too. */
static void test_moved(void)
{
    struct pool p;
    uint64_t slot;
    cm_file *g = fill_beside(&p, &slot);
    CHECK_EQ(used_by_group(&p), 1);
    CHECK_EQ(cm_file_set_group(g, 0), 0);
    cm_quota_complete(p.c);
    CHECK_EQ(used_by_group(&p), 0);
    CHECK_EQ(cm_file_set_group(g, G), 0);
    cm_quota_complete(p.c);
    CHECK_EQ(used_by_group(&p), 1);
    pool_end(&p);
}

/* Pinned memory stays as it is, whatever is stored, and is a slot again after that. */
static void test_pinned(void)
{
    enum { PINNED = 40 };
    struct pool p;
    cm_iovec v[PINNED];
    cm_pins pins;
    int n;
    REQUIRE(pool_new(&p, MIB) == 0);
    const uint64_t slots = p.c->media.geo.slots;
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, PINNED, 5), PINNED);
    CHECK_EQ(cm_pin_range(f, 0, PINNED * BLK, v, PINNED, &n, &pins, NULL), PINNED * BLK);
    empty(p.c);
    (void)put_all(f, 100, 4 * slots, 6);
    uint64_t block = 0;
    for (int i = 0; i < n; i++)
        for (uint64_t at = 0; at < v[i].len; at += BLK)
            CHECK(is_content(5, block++, (const uint8_t *)v[i].base + at, BLK));
    CHECK_EQ(block, PINNED);
    CHECK_EQ(slots_astray(p.c), PINNED);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* The slot has no room, because the volume of a sparse pool is full. All that were used before
 * have. */
static void test_full_volume(void)
{
    struct pool p;
    struct cm_plat_file holes = PLAT_FILE_INIT; /* plain reads find holes there */
    char path[256];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    (void)snprintf(path, sizeof(path), "%s/cachemax-emptied.%u", os_temp(), cm_plat_pid());
    REQUIRE(plat_create(&holes, path, 4 * MIB, false, NULL, NULL) == 0);
    p.c->media.file = &holes;
    const uint64_t used = p.c->policy.ring.frontier, slots = p.c->media.geo.slots;
    while (p.c->policy.ring.free_count > 0)
        CHECK_EQ(put(f, 200 + p.c->policy.ring.free_count, 5), 0);
    os_protect(payload_of(p.c, used), (size_t)((slots - used) * BLK), OS_NOTHING);
    whole = p.c->media.ops;
    struct cm_persist_ops ops = *whole;
    ops.fence = empty_at_fence;
    p.c->media.ops = &ops;
    to_empty = p.c;
    (void)put(f, 300, 5);
    p.c->media.ops = whole;
    CHECK(to_empty == NULL);
    CHECK(STAT(p.c, quarantined) > 0);
    CHECK(p.c->policy.ring.end >= used && p.c->policy.ring.end <= used + 2);
    CHECK(put_all(f, 400, used, 5) >= used - 2);
    os_protect(payload_of(p.c, used), (size_t)((slots - used) * BLK), OS_WRITE);
    CHECK(hits(f, 400, used, 5) >= used - 2);
    pool_end(&p);
    cm_plat_file_close(&holes);
    cm_plat_file_remove(path);
}

static const struct harness_test tests[] = {
    TEST(disbelieved),   TEST(group),       TEST(room),
    TEST(often),         TEST(quota_after), TEST(nothing_since),
    TEST(filled_beside), TEST(passed_by),   TEST(moved),
    TEST(pinned),        TEST(full_volume), TEST(holes),
    TEST(smaller_quota), TEST(group_far),   TEST(group_far_buffer),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
