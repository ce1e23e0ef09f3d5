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
#include "protocol/lookup.h"
#include "protocol/steps.h"
#include "state/region.h"

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
    if (n->start != CM_START_ASK && n->start != CM_START_AHEAD)
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

/* Puts blocks back into the ghost that must_wait() took out of it and that were not stored. They
 * may come in the next time. */
static void remember_refused(struct cm_cache *c, const struct cm_newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (c->probation.entries > 0 && n[i].start == CM_START_KNOWN && n[i].result != 0 &&
            n[i].result != CM_NOT_STORED_PRESENT)
            cm_policy_remember(&c->policy, n[i].key.place.hash);
}

/* The rule refuses a block that comes for the first time, and there is no buffer where it could
 * wait. It is remembered, so the next time it may come in. False: it is there already, for example
 * a tail that has grown. */
static __attribute__((noinline)) bool refuse(struct cm_cache *c, const struct cm_key *k)
{
    struct cm_header h;
    uint64_t slot;
    if (cm_step_find(c, k, &slot, &h) != CM_FOUND_ABSENT)
        return false;
    cm_policy_remember(&c->policy, k->place.hash);
    cm_count(c, CM_STAT_refused_policy, 1);
    return true;
}

static inline bool is_refused(struct cm_cache *c, const struct cm_key *k)
{
    return cm_policy_refuses(&c->policy, k->place.hash) && c->probation.entries == 0 &&
           refuse(c, k);
}

/* What is offered. */
struct offer {
    struct cm_cache *c;
    struct cm_grant grant;
    uint64_t incarnation, first; /* of the miss; its first block */
    const uint8_t *data;
    uint64_t len, asked;
    struct cm_plat_thread *thread; /* the calling one */
    bool wanted, warm;
    struct cm_warmed done;
};

/* Some of its blocks, for which one fence will do. Newcomers are long, and to buffer a block may
 * publish others. So they are made where they are needed, or the stack would have to be deep. */
struct batch {
    uint64_t first; /* of the blocks of the offer */
    unsigned n;
    int result; /* why the first block was not stored, or 0 */
    unsigned waiting;
    uint32_t waits; /* a bit for each block that goes to the buffer */
    uint32_t ins;   /* ... that goes to the pool */
    enum cm_start start[CM_BATCH_MAX];
    struct cm_last_home home;
};

/* `start`: what the block is to the policy. Inline, so that the key is made where it stays. */
static inline __attribute__((always_inline)) void make_newcomer(const struct offer *o,
                                                                struct cm_last_home *home,
                                                                uint64_t block, enum cm_start start,
                                                                struct cm_newcomer *n)
{
    const uint64_t at = block * CM_BLOCK_SIZE;
    n->data = o->data + at;
    n->valid = o->len - at < CM_BLOCK_SIZE ? (uint32_t)(o->len - at) : CM_BLOCK_SIZE;
    n->start = start;
    n->share = at_load_relaxed(&o->grant.f->share); /* relaxed: it may change meanwhile */
    n->key = cm_region_key_next(o->grant.f, home, o->incarnation, o->first + block);
    n->result = 0;
}

/* The same of a block that was not judged yet. Its reader has touched it, if it was asked for.
 * false: the rule refuses it. */
static inline __attribute__((always_inline)) bool
judge(const struct offer *o, struct cm_last_home *home, uint64_t block, struct cm_newcomer *n)
{
    const bool asked = block * CM_BLOCK_SIZE < o->asked;
    make_newcomer(o, home, block,
                  o->wanted ? CM_START_WANTED
                  : o->warm ? CM_START_WARM
                  : asked   ? CM_START_ASK
                            : CM_START_AHEAD,
                  n);
    if (!asked)
        return true;
    (void)cm_step_first_touch_by(o->thread, n->key.place.hash);
    return o->wanted || !is_refused(o->c, &n->key);
}

/* Decides where each block goes, in a pool with a buffer. There the rule refuses none. */
static void sort_blocks(struct offer *o, struct batch *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        struct cm_newcomer n;
        (void)judge(o, &b->home, b->first + i, &n);
        if (!must_wait(o->c, &n)) {
            b->ins |= 1u << i;
        } else {
            b->waits |= 1u << i;
            b->waiting++;
        }
        b->start[i] = n.start;
    }
}

/* If the buffer's cells have no room for a block (one in some 10^5), it need not wait: it goes to
 * the pool with the others. */
static void buffer_blocks(struct offer *o, struct batch *b)
{
    struct cm_entries e = { 0 };
    for (uint32_t left = b->waits; left; left &= left - 1, b->waiting--) {
        const unsigned i = at_lowest_bit(left);
        struct cm_newcomer n;
        make_newcomer(o, &b->home, b->first + i, b->start[i], &n);
        cm_fill_buffered(o->c, &o->grant, &n, b->waiting, &e);
        if (n.result == CM_NOT_STORED_FULL) {
            b->ins |= 1u << i;
            b->start[i] = CM_START_KNOWN;
        } else if (n.result != 0) {
            cm_publish_count_refused(o->c, &n, 1);
            b->result = b->result ? b->result : n.result;
        } else {
            cm_object_filled(o->grant.f, 1);
        }
    }
    cm_fill_buffered_end(o->c, &e);
}

/* *why: why the first block was not stored, or 0; as it was, if it was not 0. */
static inline __attribute__((always_inline)) void publish(struct offer *o, struct cm_newcomer *in,
                                                          unsigned count, int *why)
{
    unsigned stored = 0;
    int first = 0;
    cm_publish_batch(o->c, &o->grant, in, count);
    for (unsigned i = 0; i < count; i++) {
        const bool present = in[i].result == CM_NOT_STORED_PRESENT;
        stored += in[i].result == 0;
        o->done.stored += in[i].result == 0 ? in[i].valid : 0;
        o->done.present += present ? in[i].valid : 0;
        first = first || (present && o->warm) ? first : in[i].result;
    }
    cm_object_filled(o->grant.f, stored);
    if (stored < count) {
        remember_refused(o->c, in, count);
        cm_publish_count_refused(o->c, in, count);
    }
    *why = *why ? *why : first;
}

static __attribute__((noinline)) void publish_blocks(struct offer *o, struct batch *b)
{
    struct cm_newcomer in[CM_BATCH_MAX];
    unsigned count = 0;
    for (uint32_t left = b->ins; left; left &= left - 1) {
        const unsigned i = at_lowest_bit(left);
        make_newcomer(o, &b->home, b->first + i, b->start[i], &in[count++]);
    }
    publish(o, in, count, &b->result);
}

/* Some of the blocks, in a pool without a buffer. None waits, so each newcomer is made once. Not
 * inline: sort_and_store() does not need so much stack. */
static __attribute__((noinline)) int store_blocks(struct offer *o, uint64_t first, unsigned n)
{
    struct cm_newcomer in[CM_BATCH_MAX];
    struct cm_last_home home = { 0 };
    const struct offer of = *o; /* a copy: the compiler knows that no newcomer is part of it */
    unsigned count = 0;
    int why = 0;
    for (unsigned i = 0; i < n; i++) {
        if (judge(&of, &home, first + i, &in[count]))
            count++;
        else
            why = why ? why : CM_NOT_STORED_POLICY;
    }
    if (count > 0)
        publish(o, in, count, &why);
    return why;
}

/* The same in a pool with a buffer. */
static int sort_and_store(struct offer *o, uint64_t first, unsigned n)
{
    struct batch b = { .first = first, .n = n };
    sort_blocks(o, &b);
    if (b.waits)
        buffer_blocks(o, &b);
    if (b.ins)
        publish_blocks(o, &b);
    return b.result;
}

static inline __attribute__((always_inline)) int fill_blocks(struct offer *o)
{
    const uint64_t blocks = (o->len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
    const unsigned most = cm_evict_batch(o->c);
    int first = 0;
    assert(o->grant.miss->offset % CM_BLOCK_SIZE == 0 && most > 0 && most <= CM_BATCH_MAX);
    raise_limit(o->grant.f, o->grant.miss->offset + o->len);
    for (uint64_t i = 0; i < blocks; i += most) {
        const unsigned n = blocks - i < most ? (unsigned)(blocks - i) : most;
        const int why =
            o->c->probation.entries > 0 ? sort_and_store(o, i, n) : store_blocks(o, i, n);
        first = first ? first : why;
    }
    return first;
}

/* Why nothing of the miss may be stored, or 0. Counts the blocks that are refused. */
static inline int refused_whole(struct cm_object *f, const cm_miss *miss, uint64_t blocks)
{
    struct cm_cache *c = f->cache;
    if (cm_cache_mode(c) != CM_NORMAL || at_load_relaxed(&f->bypassed) ||
        at_load_relaxed(&c->growing)) { /* a hint: publish.c decides */
        cm_count(c, CM_STAT_refused_mode, blocks);
        return CM_NOT_STORED_MODE;
    }
    if ((miss->flags & CM_MISS_NOFILL) || !cm_file_serves(f)) { /* its time to live is over */
        cm_count(c, CM_STAT_refused_stale, blocks);
        return CM_NOT_STORED_STALE;
    }
    return 0;
}

/* A miss ends inside a block only where the file ends. What the origin gave beyond that is no part
 * of the file: an append, which forgets nothing, would uncover it. */
static inline struct offer make_offer(struct cm_object *f, const cm_miss *miss, const uint8_t *data,
                                      uint64_t len)
{
    return (struct offer){ .c = f->cache,
                           .grant = { f, miss },
                           .incarnation = miss->incarnation,
                           .first = miss->offset / CM_BLOCK_SIZE,
                           .data = data,
                           .len = len < miss->len ? len : miss->len,
                           .thread = cm_plat_thread() };
}

int cm_fill_offer(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked)
{
    struct cm_cache *c = f->cache;
    uint64_t blocks = (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
    const uint32_t advice = at_load_relaxed(&f->advice);
    const bool keep = at_load_relaxed(&f->keep) != 0;
    int e = blocks > 0 ? refused_whole(f, miss, blocks) : 0;
    if (e || blocks == 0)
        return e;
    if (advice == CM_ADVISE_NOREUSE && !keep) {
        cm_count(c, CM_STAT_refused_policy, blocks);
        return CM_NOT_STORED_POLICY;
    }
    struct offer o = make_offer(f, miss, data, len);
    o.asked = asked;
    o.wanted = keep || advice == CM_ADVISE_KEEP;
    return fill_blocks(&o);
}

int cm_fill_warm(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                 struct cm_warmed *done)
{
    struct offer o = make_offer(f, miss, data, len);
    int e = len > 0 ? refused_whole(f, miss, (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE) : 0;
    o.wanted = at_load_relaxed(&f->keep) || at_load_relaxed(&f->advice) == CM_ADVISE_KEEP;
    o.warm = true;
    if (e == 0 && len > 0)
        e = fill_blocks(&o);
    cm_count(f->cache, CM_STAT_prefetch_blocks, cm_blocks_of(o.done.stored));
    *done = o.done;
    return e;
}

/* Nothing was read where the miss begins: the file ends there, or before. It ends there if the
 * block before is cached whole. Another version has other keys, and what shortens a file forgets
 * the block before it counts as a change. If it counted before the miss, the block is gone here
 * (cm_file_unlink). If not, cm_file_learn_size() sees the change. */
static bool ends_at_miss(struct cm_object *f, const cm_miss *miss)
{
    if (miss->offset == 0)
        return true;
    const struct cm_key k = cm_region_key(f, miss->incarnation, miss->offset / CM_BLOCK_SIZE - 1);
    return cm_lookup_cached(f->cache, &k) == CM_BLOCK_SIZE;
}

void cm_fill_ends(struct cm_object *f, const cm_miss *miss, uint64_t len)
{
    /* What may not be stored may be another version: its end says nothing either. */
    if ((miss->flags & CM_MISS_NOFILL) || !cm_file_serves(f))
        return;
    if (len > 0 || ends_at_miss(f, miss))
        cm_file_learn_size(f, miss->incarnation, miss->opaque[CM_MISS_CHANGES], miss->offset + len);
}
