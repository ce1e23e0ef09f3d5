/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill.c - takes in blocks that were read from the origin.
 *
 * Owns: the decision where each block goes: to the pool, to the probation buffer, or nowhere. It
 * depends on the mode, the caller's advice and the policy's rule.
 *
 * Who: api/.
 */
#include "protocol/fill.h"

#include "protocol/evict.h"
#include "protocol/fill_buffered.h"
#include "protocol/fill_ticket.h"
#include "protocol/steps.h"

/* Raises the file's limit before anything is published. Pairs with the seq_cst ticket move and
 * limit load of a truncate bracket. A filler and a truncation that run at the same time: at least
 * one of them sees the other. */
static void raise_limit(struct cm_object *f, uint64_t end)
{
    uint64_t limit = at_load_relaxed(&f->limit);
    while (limit < end && !at_cas_seq_cst(&f->limit, &limit, end))
        ;
    at_fence_seq_cst();
}

/* Does a block that was missed have to wait in the buffer? */
static bool must_wait(struct cm_cache *c, struct cm_newcomer *n)
{
    if (c->probation.entries == 0 || (n->start != CM_START_ASK && n->start != CM_START_AHEAD))
        return false;
    struct cm_header h;
    uint64_t slot;
    /* A block that is in the pool already stays there: its tail has grown. */
    if (cm_policy_is_first_fill(&c->policy, n->key.place.hash) &&
        cm_step_find(c, &n->key, &slot, &h) == CM_FOUND_ABSENT)
        return true;
    n->start = CM_START_KNOWN;
    return false;
}

/* If the buffer's cells have no room for a block (one in some 10^5), it need not wait: it goes to
 * the pool with the others. Returns how many waiting blocks are left. */
static unsigned keep_buffered(struct cm_newcomer *waits, unsigned waiting, struct cm_newcomer *in,
                              unsigned *ins)
{
    unsigned left = 0;
    for (unsigned i = 0; i < waiting; i++) {
        if (waits[i].result != CM_NOT_STORED_FULL) {
            waits[left++] = waits[i];
            continue;
        }
        in[*ins] = waits[i];
        in[(*ins)++].start = CM_START_KNOWN;
    }
    return left;
}

/* Puts blocks back into the ghost that must_wait() took out of it and that were not stored. They
 * may come in the next time. */
static void remember_refused(struct cm_cache *c, const struct cm_newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (c->probation.entries > 0 && n[i].start == CM_START_KNOWN && n[i].result != 0 &&
            n[i].result != CM_NOT_STORED_PRESENT)
            cm_policy_remember(&c->policy, n[i].key.place.hash);
}

static int first_of(int first, const struct cm_newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count && first == 0; i++)
        first = n[i].result;
    return first;
}

/* Does the rule refuse a block because it comes for the first time, and there is no buffer where it
 * could wait? It is remembered, so the next time it may come in. */
static bool is_refused(struct cm_cache *c, const struct cm_key *k)
{
    struct cm_header h;
    uint64_t slot;
    if (c->probation.entries > 0 || !cm_policy_refuses(&c->policy, k->place.hash) ||
        cm_step_find(c, k, &slot, &h) != CM_FOUND_ABSENT) /* for example a tail that has grown */
        return false;
    cm_policy_remember(&c->policy, k->place.hash);
    cm_count(c, CM_STAT_refused_policy, 1);
    return true;
}

static int fill_blocks(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                       uint64_t asked, bool wanted)
{
    struct cm_cache *c = f->cache;
    const struct cm_grant g = { f, miss };
    uint64_t block = miss->offset / CM_BLOCK_SIZE;
    uint64_t blocks = (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
    unsigned batch = cm_evict_batch(c);
    struct cm_last_home last = { 0 };
    int first = 0, refused = 0;
    assert(miss->offset % CM_BLOCK_SIZE == 0 && batch > 0 && batch <= CM_BATCH_MAX);
    raise_limit(f, miss->offset + len);
    for (uint64_t i = 0; i < blocks;) {
        struct cm_newcomer in[CM_BATCH_MAX], waits[CM_BATCH_MAX];
        unsigned ins = 0, waiting = 0;
        for (; i < blocks && ins + waiting < batch; i++) {
            uint64_t at = i * CM_BLOCK_SIZE;
            struct cm_newcomer *n = &in[ins];
            n->data = data + at;
            n->valid = len - at < CM_BLOCK_SIZE ? (uint32_t)(len - at) : CM_BLOCK_SIZE;
            n->start = wanted ? CM_START_WANTED : at < asked ? CM_START_ASK : CM_START_AHEAD;
            n->key = cm_key_next(&c->media, &last, miss->opaque[CM_MISS_INCARNATION], block + i);
            if (at < asked)
                (void)cm_step_first_touch(n->key.place.hash); /* its reader has touched it */
            if (!wanted && at < asked && is_refused(c, &n->key))
                refused = CM_NOT_STORED_POLICY;
            else if (must_wait(c, n))
                waits[waiting++] = *n;
            else
                ins++;
        }
        assert(ins + waiting <= batch);
        if (waiting > 0) {
            cm_fill_buffered(c, &g, waits, waiting);
            waiting = keep_buffered(waits, waiting, in, &ins);
        }
        cm_publish_batch(c, &g, in, ins);
        first = first_of(first_of(first, in, ins), waits, waiting);
        if (first != 0) { /* some of them are neither stored nor waiting */
            remember_refused(c, in, ins);
            cm_publish_count_refused(c, in, ins);
            cm_publish_count_refused(c, waits, waiting);
        }
        first = first ? first : refused;
    }
    return first;
}

int cm_fill_offer(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked)
{
    struct cm_cache *c = f->cache;
    uint64_t blocks = (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
    uint32_t advice = at_load_relaxed(&f->advice);
    if (blocks == 0)
        return 0;
    if (cm_cache_mode(c) != CM_NORMAL || at_load_relaxed(&f->bypassed)) {
        cm_count(c, CM_STAT_refused_mode, blocks);
        return CM_NOT_STORED_MODE;
    }
    if (miss->flags & CM_MISS_NOFILL) {
        cm_count(c, CM_STAT_refused_stale, blocks);
        return CM_NOT_STORED_STALE;
    }
    if (advice == CM_ADVISE_NOREUSE) {
        cm_count(c, CM_STAT_refused_policy, blocks);
        return CM_NOT_STORED_POLICY;
    }
    return fill_blocks(f, miss, data, len, asked, advice == CM_ADVISE_KEEP);
}
