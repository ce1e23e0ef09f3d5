/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3r_policies.c - S3R and AUTO for the simulator.
 *
 * Owns: what the settings mean, the rules that AUTO chooses from, and the burst filter: a reader
 * that touches a block again within a few blocks (unaligned sequential reads do) says nothing about
 * its reuse.
 *
 * Who: the simulator, through policy.h; replay.c.
 */
#include "s3r_policies.h"

#include <stdlib.h>

#include "auto.h"
#include "sample.h"

struct adapter {
    const uint64_t *key;
    struct s3r s3r;
    struct s3r_setting set;
    struct s3r_rule rule[AUTO_RULES];
    unsigned rules;
    bool automatic;
    struct auto_choice choice;
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

static uint32_t share(uint32_t slots, unsigned thousandths)
{
    uint32_t n = (uint32_t)(((uint64_t)slots * thousandths + 500) / 1000);
    return n == 0 && thousandths > 0 ? 1 : n;
}

/* What AUTO chooses from; the first is the default. With a buffer that one has nobody on probation
 * in place: who is from an earlier rule leaves before all others. */
struct choice {
    unsigned probation; /* thousandths */
    uint8_t earn;
    bool pass, remembered_only;
};
static const struct choice in_place[] = { { 100, 1, false, false },
                                          { 100, 1, false, true },
                                          { 500, 2, false, false },
                                          { 100, 2, false, false } };
static const struct choice with_buffer[] = { { 0, 2, false, false },
                                             { 100, 1, true, false },
                                             { 500, 2, true, false } };

static void make_rules(struct adapter *p, uint32_t slots)
{
    const struct choice fixed = { p->set.probation, (uint8_t)p->set.earn, false, false },
                        *from = &fixed;
    p->rules = 1;
    if (p->automatic) {
        from = p->set.buffer > 0 ? with_buffer : in_place;
        p->rules = p->set.buffer > 0 ? 3 : 4;
    }
    for (unsigned i = 0; i < p->rules; i++)
        p->rule[i] = (struct s3r_rule){ .probation = share(slots, from[i].probation),
                                        .window = share(slots, p->set.window),
                                        .earn = from[i].earn,
                                        .pass = from[i].pass,
                                        .remembered_only = from[i].remembered_only };
}

/* Of the world's slots, those that hold blocks in the pool. */
static struct s3r_size size_of(const struct adapter *p, uint32_t slots)
{
    struct s3r_size size = { .slots = slots, .buffer = share(slots, p->set.buffer) };
    if (p->set.inside > 0 && size.slots > size.buffer)
        size.slots -= size.buffer;
    size.window = share(slots, p->set.window);
    if (p->automatic)
        size.probation = share(slots, 500);
    else if (size.buffer == 0)
        size.probation = share(slots, p->set.probation);
    return size;
}

static bool begin_choice(struct adapter *p)
{
    double wear = p->set.wear != WEAR_DEFAULT ? p->set.wear : p->set.buffer > 0 ? 100 : 20;
    return !p->automatic ||
           auto_init(&p->choice, &p->s3r.size, p->rule, p->rules, p->set.entries, wear / 1000);
}

static void *create_as(const struct world *w, const struct s3r_setting *set, bool automatic)
{
    struct adapter *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->key = w->key;
    p->set = *set;
    p->automatic = automatic;
    struct s3r_size size = size_of(p, w->slots);
    make_rules(p, size.slots);
    recent_init(&p->recent);
    if (s3r_init(&p->s3r, &size, &p->rule[0], w->tally)) {
        if (begin_choice(p))
            return p;
        s3r_free(&p->s3r);
    }
    free(p);
    return NULL;
}

static void *create_s3r(const struct world *w, const void *setting)
{
    return create_as(w, setting, false);
}

static void *create_auto(const struct world *w, const void *setting)
{
    return create_as(w, setting, true);
}

static enum found read_block(void *policy, uint32_t block)
{
    struct adapter *p = policy;
    bool again = recent_touch(&p->recent, p->set.recent, block);
    if (p->automatic && auto_read(&p->choice, block, sample_place(p->key[block]), again))
        p->s3r.rule = p->rule[p->choice.chosen];
    return s3r_read(&p->s3r, block, again);
}

static void drop(void *policy, uint32_t block)
{
    struct adapter *p = policy;
    s3r_drop(&p->s3r, block);
    if (p->automatic)
        auto_drop(&p->choice, block, sample_place(p->key[block]));
}

static void destroy(void *policy)
{
    struct adapter *p = policy;
    s3r_free(&p->s3r);
    auto_free(&p->choice);
    free(p);
}

/* The minis live in DRAM: they begin anew. What they had chosen is kept by a clean close. */
static void restart(void *policy, enum restart how)
{
    struct adapter *p = policy;
    unsigned chosen = how == CLEAN ? p->choice.chosen : 0;
    s3r_restart(&p->s3r, how);
    auto_free(&p->choice);
    if (!begin_choice(p))
        abort(); /* it was there a moment ago */
    p->choice.chosen = chosen;
    p->s3r.rule = p->rule[chosen];
}

void s3r_scale(const struct s3r_setting *set, uint32_t slots, struct s3r_size *size,
               struct s3r_rule *rule)
{
    struct adapter p = { .set = *set };
    *size = size_of(&p, slots);
    make_rules(&p, size->slots);
    *rule = p.rule[0];
}

const struct policy policy_s3r = { "s3r", "S3R",   create_s3r, read_block,
                                   drop,  destroy, restart,    NULL };
const struct policy policy_auto = { "auto",      "S3R, its rule chosen by mini-simulations",
                                    create_auto, read_block,
                                    drop,        destroy,
                                    restart,     NULL };
