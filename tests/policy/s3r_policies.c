/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3r_policies.c - the library's policies for the simulator.
 *
 * Owns: which block is in which slot or entry of the buffer, and the order in which the policy's
 * hooks are called: that of src/protocol, for one reader and one block at a time. What a miss
 * stores it stores at once, and one slot is emptied for it. All decisions are those of src/policy.
 * Besides, what the settings mean, and the burst filter: a reader that touches a block again within
 * a few blocks (unaligned sequential reads do) says nothing about its reuse.
 *
 * Who: the simulator, through policy.h; replay.c.
 */
#include "s3r_policies.h"

#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "trace.h"

/* As state/policy_sample.c. */
#define WEAR_IN_PLACE 20u
#define WEAR_BUFFER 100u
/* As state/probation_buffer.h. */
#define BUFFER_COUNT 3u

struct adapter {
    struct world world;
    struct s3r_setting set;
    const struct cm_policy_kind *kind;
    struct cm_curve_pool pool;
    struct cm_policy_state policy;
    uint32_t *place; /* of each block: a slot; pool.slots and an entry of the buffer; or NONE */
    uint32_t *block; /* in each slot and, behind them, each entry of the buffer; or NONE */
    uint8_t *count;  /* of each entry: hits */
    uint64_t oldest; /* entry of the buffer, which is used in turn */
    struct cm_choice choice;
    uint32_t memory[CM_CHOICE_WORDS(CM_SIM_SLOTS)]; /* of its minis */
    struct recent recent;
};

void recent_init(struct recent *r)
{
    r->at = 0;
    for (unsigned i = 0; i < RECENT_MAX; i++)
        r->block[i] = NONE;
}

bool recent_touch(struct recent *r, unsigned count, uint32_t block)
{
    for (unsigned i = 0; i < count; i++)
        if (r->block[i] == block)
            return true;
    if (count > 0) {
        r->block[r->at] = block;
        r->at = (r->at + 1) % count;
    }
    return false;
}

uint64_t s3r_hash(uint32_t block)
{
    uint64_t x = block + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint32_t s3r_place(uint64_t key)
{
    const uint64_t block = key & ((UINT64_C(1) << TRACE_BLOCK_BITS) - 1);
    return cm_sample_place((key >> TRACE_BLOCK_BITS) + 1, block); /* no incarnation is zero */
}

/* ---- Settings -------------------------------------------------------------------------------- */

static uint64_t share(uint64_t slots, unsigned thousandths)
{
    uint64_t n = (slots * thousandths + 500) / 1000;
    return n == 0 && thousandths > 0 ? 1 : n;
}

struct cm_curve_pool s3r_pool(const struct s3r_setting *set, uint32_t slots)
{
    struct cm_curve_pool pool = { slots, 0 };
    if (cm_policy_kind_of(set->kind)->buffer)
        pool.buffer = share(slots, set->buffer);
    if (set->inside > 0 && pool.slots > pool.buffer)
        pool.slots -= pool.buffer;
    if (pool.buffer > pool.slots)
        pool.buffer = pool.slots; /* as cm_probation_entries */
    return pool;
}

struct cm_rule s3r_rule(const struct s3r_setting *set)
{
    const struct cm_policy_kind *kind = cm_policy_kind_of(set->kind);
    if (kind->automatic) /* what its simulations choose among are S3R's rules */
        kind = cm_policy_kind_of(CM_POLICY_S3R);
    struct cm_rule rule = kind->rule[set->buffer > 0];
    if (set->probation != AS_LIBRARY)
        rule.probation = set->probation;
    if (set->earn != AS_LIBRARY)
        rule.earn = (uint8_t)set->earn;
    return rule;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

static void free_state(struct cm_policy_state *s)
{
    free(s->ring.ref);
    free(s->ring.owned);
    free(s->ring.hint);
    free(s->ring.line);
    free(s->ghost.cell);
}

/* As cache.c has it, but for the free stack: no slot ever waits to be filled. */
static bool begin_state(struct adapter *p)
{
    const uint64_t slots = p->pool.slots, window = share(slots, p->set.window);
    struct cm_ring *r = &p->policy.ring;
    p->policy = (struct cm_policy_state){ .ring.slots = slots, .ring.end = slots };
    r->line_max = cm_ring_line(slots);
    r->ref = calloc(slots, 1);
    r->owned = calloc((slots + 63) / 64, sizeof(*r->owned));
    r->hint = calloc(CM_HINTS, sizeof(*r->hint));
    r->line = calloc(r->line_max, CM_LINE_ENTRY);
    uint32_t *cell = calloc(1, cm_ghost_bytes(window));
    cm_ghost_begin(&p->policy.ghost, window, cell);
    return r->ref && r->owned && r->hint && r->line && cell;
}

static void begin_rule(struct adapter *p)
{
    struct cm_rule rule = s3r_rule(&p->set);
    if (p->kind->automatic) {
        uint32_t wear = p->set.wear != AS_LIBRARY ? p->set.wear
                        : p->pool.buffer > 0      ? WEAR_BUFFER
                                                  : WEAR_IN_PLACE;
        p->choice = (struct cm_choice){ 0 };
        memset(p->memory, 0, sizeof(p->memory));
        cm_choice_begin(&p->choice, p->memory, p->set.entries, &p->pool, wear);
        rule = *cm_choice_rule(&p->choice);
    }
    cm_policy_set_rule(&p->policy, &rule);
}

static void forget_blocks(struct adapter *p)
{
    for (uint32_t b = 0; b < p->world.blocks; b++)
        p->place[b] = NONE;
    for (uint64_t i = 0; i < p->pool.slots + p->pool.buffer; i++)
        p->block[i] = NONE;
}

static void destroy(void *policy)
{
    struct adapter *p = policy;
    free_state(&p->policy);
    free(p->place);
    free(p->block);
    free(p->count);
    free(p);
}

static void *create(const struct world *w, const void *setting)
{
    struct adapter *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->world = *w;
    p->set = *(const struct s3r_setting *)setting;
    p->kind = cm_policy_kind_of(p->set.kind);
    p->pool = s3r_pool(&p->set, w->slots);
    p->place = malloc(w->blocks * sizeof(*p->place));
    p->block = malloc((p->pool.slots + p->pool.buffer) * sizeof(*p->block));
    p->count = malloc(p->pool.buffer + 1);
    if (!p->place || !p->block || !p->count || !begin_state(p)) {
        destroy(p);
        return NULL;
    }
    recent_init(&p->recent);
    forget_blocks(p);
    begin_rule(p);
    return p;
}

/* ---- Fills ----------------------------------------------------------------------------------- */

static void enter(struct adapter *p, uint64_t at, uint32_t block)
{
    p->block[at] = block;
    p->place[block] = (uint32_t)at;
}

static void leave(struct adapter *p, uint64_t at)
{
    p->place[p->block[at]] = NONE;
    p->block[at] = NONE;
}

/* As evict.c and publish.c. */
static void store(struct adapter *p, uint32_t block, enum cm_start start)
{
    const uint64_t used = p->policy.ring.frontier;
    struct cm_policy_batch batch = { .n = 0 };
    struct cm_victim v;
    if (cm_policy_victims(&p->policy, &v, 1) == 0)
        abort(); /* nobody else owns any */
    p->world.tally->fills++;
    p->world.tally->first_fills += v.slot >= used;
    if (p->block[v.slot] != NONE) { /* else it was dropped */
        cm_policy_evicted(&p->policy, v.remember, s3r_hash(p->block[v.slot]));
        leave(p, v.slot);
    }
    enter(p, v.slot, block);
    cm_policy_stored(&p->policy, &batch, v.slot, s3r_hash(block), start);
    cm_policy_stored_all(&p->policy, &batch);
    cm_ring_disown(&p->policy.ring, v.slot);
}

/* What is in an entry of the buffer leaves it, as in fill_buffered.c. */
static void let_go(struct adapter *p, uint64_t entry)
{
    const uint32_t block = p->block[p->pool.slots + entry];
    if (block == NONE)
        return;
    leave(p, p->pool.slots + entry);
    enum cm_start start = cm_policy_leaves_buffer(&p->policy, p->count[entry], false);
    if (start == CM_START_NOT)
        cm_policy_remember(&p->policy, s3r_hash(block));
    else
        store(p, block, start);
}

static uint64_t next_entry(struct adapter *p)
{
    const uint64_t entry = p->oldest;
    p->oldest = entry + 1 == p->pool.buffer ? 0 : entry + 1;
    return entry;
}

/* As fill.c. */
static void miss(struct adapter *p, uint32_t block)
{
    const uint64_t hash = s3r_hash(block);
    if (p->pool.buffer == 0 && cm_policy_refuses(&p->policy, hash)) {
        cm_policy_remember(&p->policy, hash);
    } else if (p->pool.buffer == 0) {
        store(p, block, CM_START_ASK);
    } else if (!cm_policy_is_first_fill(&p->policy, hash)) {
        store(p, block, CM_START_KNOWN);
    } else {
        uint64_t entry = next_entry(p);
        let_go(p, entry);
        enter(p, p->pool.slots + entry, block);
        p->count[entry] = 0;
    }
}

/* ---- Operations ------------------------------------------------------------------------------ */

/* As lookup.c. */
static void hit(struct adapter *p, uint64_t at)
{
    if (at >= p->pool.slots) {
        uint8_t *count = &p->count[at - p->pool.slots];
        *count = (uint8_t)(*count + (*count < BUFFER_COUNT));
    } else if (cm_policy_notes_hit(&p->policy, at)) {
        cm_policy_hit(&p->policy, at);
    }
}

/* As state/policy_sample.c. */
static void sample(struct adapter *p, uint32_t block, bool again)
{
    if (p->kind->automatic && cm_choice_read(&p->choice, (uint32_t)s3r_hash(block),
                                             s3r_place(p->world.key[block]), again))
        cm_policy_set_rule(&p->policy, cm_choice_rule(&p->choice));
}

static enum found read_block(void *policy, uint32_t block)
{
    struct adapter *p = policy;
    const uint32_t at = p->place[block];
    const bool again = recent_touch(&p->recent, p->set.recent, block);
    if (at != NONE && !again)
        hit(p, at);
    sample(p, block, again);
    if (at == NONE)
        miss(p, block);
    return at == NONE ? MISS : at < p->pool.slots ? POOL_HIT : BUFFER_HIT;
}

static void drop(void *policy, uint32_t block)
{
    struct adapter *p = policy;
    const uint32_t at = p->place[block];
    if (at != NONE && at < p->pool.slots)
        cm_policy_forget(&p->policy, at);
    if (at != NONE)
        leave(p, at); /* an entry of the buffer stays empty until its turn */
    if (p->kind->automatic)
        cm_choice_drop(&p->choice, (uint32_t)s3r_hash(block), s3r_place(p->world.key[block]));
}

/* ---- Restart --------------------------------------------------------------------------------- */

/* What the memo of a clean close keeps; `was` is the policy of the session before. */
static void keep(struct adapter *p, const struct cm_policy_state *was)
{
    struct cm_policy_state *now = &p->policy;
    const uint64_t slots = was->ring.slots, buckets = was->ghost.buckets;
    uint8_t *kept = calloc(1, slots / 2 + 1 + cm_ghost_bytes(was->ghost.window));
    if (!kept)
        abort();
    cm_policy_save_slots(was, 0, slots, kept);
    cm_policy_load_slots(now, 0, slots, kept);
    cm_policy_save_ghost(was, 0, buckets, kept);
    cm_policy_load_ghost(now, 0, buckets, kept);
    now->ring.hand = was->ring.hand % slots;
    now->ghost.time = was->ghost.time;
    free(kept);
}

/* A clean close empties the buffer, oldest first. After it, and after a crash, what is in the slots
 * is still there; after a crash nothing is known of it. The minis begin anew in any case. */
static void restart(void *policy, enum restart how)
{
    struct adapter *p = policy;
    for (uint64_t i = 0; i < p->pool.buffer; i++) {
        uint64_t entry = next_entry(p);
        if (how == CLEAN)
            let_go(p, entry);
        else if (p->block[p->pool.slots + entry] != NONE)
            leave(p, p->pool.slots + entry);
    }
    p->oldest = 0;
    struct cm_policy_state was = p->policy;
    if (!begin_state(p))
        abort(); /* there was enough memory a moment ago */
    if (how == COLD)
        forget_blocks(p);
    else
        p->policy.ring.frontier = was.ring.frontier;
    if (how == CLEAN)
        keep(p, &was);
    free_state(&was);
    begin_rule(p);
}

const struct policy policy_library = {
    "library", "a policy of the library", create, read_block, drop, destroy, restart, NULL
};
