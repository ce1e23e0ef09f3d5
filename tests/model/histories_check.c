/* SPDX-License-Identifier: BSD-2-Clause
 *
 * histories_check.c - is there an order of a history's operations that the sequential specification
 * allows, in which each takes effect between its call and its return?
 *
 * The search is that of Wing and Gong ("Testing and verifying concurrent objects", JPDC 1993), with
 * the memory of Lowe ("Testing for linearizability", 2017): a state that was left in vain is not
 * entered again. Linearizability is local (Herlihy and Wing, TOPLAS 1990), so each block is
 * searched by itself. What concerns the whole file (its size, its versions) is compared directly.
 */
#define TURNS_ITSELF
#include "histories_check.h"

#include <stdio.h>
#include <string.h>

#include "platform/atomic.h"

#define OPS_MAX 4096u
#define BLOCK_OPS 64u /* of one block: a bit for each */
#define SIZES 64u
#define TOLD 512u
#define MEMO 32768u

struct op {
    uint32_t call, ret;
    uint8_t kind, block;
    uint16_t stamp;
};

struct told {
    uint64_t value;
    uint32_t call, ret;
    bool in_parts;
};

static struct {
    uint32_t clock, ops, told_ends, told_versions; /* atomic */
    struct op op[OPS_MAX];
    unsigned sizes;
    struct told size[SIZES]; /* ret: not used */
    struct told end[TOLD], version[TOLD];
    uint64_t missed_in[HISTORY_STAMPS], served_in[HISTORY_STAMPS]; /* incarnations; atomic */
    bool mixed;                                                    /* atomic */
} h;

void history_reset(void)
{
    h.clock = h.ops = h.told_ends = h.told_versions = 0;
    h.sizes = 0;
    h.mixed = false;
    memset(h.missed_in, 0, sizeof(h.missed_in));
    memset(h.served_in, 0, sizeof(h.served_in));
}

uint32_t history_now(void)
{
    return at_add_seq_cst(&h.clock, 1u) + 1;
}

void history_add(enum history_kind kind, unsigned block, unsigned stamp, uint32_t call,
                 uint32_t ret)
{
    const uint32_t i = at_add_relaxed(&h.ops, 1u);
    if (i < OPS_MAX)
        h.op[i] = (struct op){ call, ret, (uint8_t)kind, (uint8_t)block, (uint16_t)stamp };
}

void history_size(uint32_t at, uint64_t size)
{
    if (h.sizes < SIZES)
        h.size[h.sizes++] = (struct told){ size, at, 0, false };
}

void history_end_told(uint64_t size, bool in_parts, uint32_t call, uint32_t ret)
{
    const uint32_t i = at_add_relaxed(&h.told_ends, 1u);
    if (i < TOLD)
        h.end[i] = (struct told){ size, call, ret, in_parts };
}

void history_version(uint64_t incarnation, uint32_t call, uint32_t ret)
{
    const uint32_t i = at_add_relaxed(&h.told_versions, 1u);
    if (i < TOLD)
        h.version[i] = (struct told){ incarnation, call, ret, false };
}

void history_version_of(unsigned stamp, uint64_t incarnation, bool is_miss)
{
    if (incarnation == 0 || stamp == 0 || stamp >= HISTORY_STAMPS)
        return;
    uint64_t *of = is_miss ? &h.missed_in[stamp] : &h.served_in[stamp];
    const uint64_t before = at_load_relaxed(of);
    if (before != 0 && before != incarnation) /* of one fill, all hits are of one version */
        at_store_relaxed(&h.mixed, true);
    at_store_relaxed(of, incarnation);
}

/* ---- The specification of a block ------------------------------------------------------------ */

/* The state of a block between two operations. `cached`: which read's bytes, as a number of the
 * search, from 1 up; 0: none. `dropped`: the bytes that cm_drop() took away, a bit for each read;
 * they may stay or come back. `good`: misses whose fill may still be stored, a bit for each.
 * `open`: brackets. */
struct state {
    uint64_t done, good, dropped;
    uint16_t cached, open;
};

static uint64_t bit_of(unsigned i)
{
    return UINT64_C(1) << i;
}

/* Does one operation; false: it cannot happen in this state. `store`: of a fill that may be
 * refused. */
static bool apply(struct state *s, enum history_kind kind, unsigned stamp, bool store)
{
    switch (kind) {
    case HISTORY_HIT:
        return s->cached == stamp || (s->dropped & bit_of(stamp));
    case HISTORY_MISS:
        if (s->open == 0)
            s->good |= bit_of(stamp);
        return true;
    case HISTORY_STORED:
    case HISTORY_FILLED:
        if (!store)
            return kind == HISTORY_FILLED;
        if (s->open > 0 || !(s->good & bit_of(stamp)))
            return false;
        s->good &= ~bit_of(stamp);
        s->cached = (uint16_t)stamp;
        return true;
    case HISTORY_BEGIN:
        s->open++;
        s->good = s->dropped = 0;
        s->cached = 0;
        return true;
    case HISTORY_END:
        s->open--;
        s->good = 0;
        return true;
    case HISTORY_CLEAR:
        s->good = s->dropped = 0;
        s->cached = 0;
        return true;
    case HISTORY_DROP:
        if (s->cached != 0)
            s->dropped |= bit_of(s->cached);
        s->cached = 0;
        return true;
    }
    return false;
}

/* ---- The search ------------------------------------------------------------------------------ */

static struct {
    struct op op[BLOCK_OPS];
    unsigned n;
    struct state memo[MEMO];
    uint32_t used[MEMO], turn;
    uint64_t states;
    bool full;
} g;

static bool is_new(const struct state *s)
{
    uint64_t x = s->done * UINT64_C(0x9e3779b97f4a7c15) ^ s->good * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ s->dropped << 7 ^ (uint64_t)s->cached << 40 ^ s->open) * UINT64_C(0x94d049bb133111eb);
    for (unsigned tries = 0, i = (unsigned)(x >> 40) % MEMO; tries < MEMO / 2;
         tries++, i = (i + 1) % MEMO) {
        const struct state *m = &g.memo[i];
        if (g.used[i] != g.turn) {
            g.used[i] = g.turn;
            g.memo[i] = *s;
            g.states++;
            return true;
        }
        if (m->done == s->done && m->good == s->good && m->cached == s->cached &&
            m->dropped == s->dropped && m->open == s->open)
            return false;
    }
    g.full = true;
    return false;
}

/* The reads whose bytes are still hit, and those whose fill still matters: it was surely stored, or
 * its bytes are hit. What is stored and never hit might as well have been refused. */
static void wanted(const struct state *s, uint64_t *hits, uint64_t *fills)
{
    *hits = *fills = 0;
    for (unsigned i = 0; i < g.n; i++)
        if (!(s->done & bit_of(i)) && g.op[i].kind == HISTORY_HIT)
            *hits |= bit_of(g.op[i].stamp);
    for (unsigned i = 0; i < g.n; i++)
        if (!(s->done & bit_of(i)) &&
            (g.op[i].kind == HISTORY_STORED ||
             (g.op[i].kind == HISTORY_FILLED && (*hits & bit_of(g.op[i].stamp)))))
            *fills |= bit_of(g.op[i].stamp);
}

/* It can happen now, and changes nothing that matters: to do it at once is never wrong. */
static bool is_free(const struct state *s, const struct op *o, uint64_t hits, uint64_t fills)
{
    struct state same = *s;
    switch (o->kind) {
    case HISTORY_HIT:
        return apply(&same, HISTORY_HIT, o->stamp, false);
    case HISTORY_MISS:
        return !(fills & bit_of(o->stamp));
    case HISTORY_FILLED:
        return !(hits & bit_of(o->stamp));
    default:
        return false;
    }
}

/* Does all that is free, and forgets of the state what no longer matters, so that states that
 * differ in nothing else are one. Returns the first moment at which some operation has to be over.
 */
static uint32_t settle(struct state *s)
{
    for (;;) {
        uint64_t hits, fills;
        uint32_t first = UINT32_MAX;
        bool any = false;
        wanted(s, &hits, &fills);
        s->good &= fills;
        s->dropped &= hits;
        if (!(hits & bit_of(s->cached)))
            s->cached = 0;
        for (unsigned i = 0; i < g.n; i++)
            if (!(s->done & bit_of(i)) && g.op[i].ret < first)
                first = g.op[i].ret;
        for (unsigned i = 0; i < g.n; i++)
            if (!(s->done & bit_of(i)) && g.op[i].call < first &&
                is_free(s, &g.op[i], hits, fills)) {
                s->done |= bit_of(i);
                any = true;
            }
        if (!any)
            return first;
    }
}

static bool search(struct state s) // NOLINT(misc-no-recursion): as deep as a block has operations
{
    const uint32_t first = settle(&s);
    if (first == UINT32_MAX)
        return true;
    if (!is_new(&s))
        return false;
    for (unsigned i = 0; i < g.n; i++) {
        const struct op *o = &g.op[i];
        if ((s.done & bit_of(i)) || o->call > first || o->kind == HISTORY_HIT)
            continue;
        for (int store = 1; store >= 0; store--) {
            struct state next = s;
            next.done |= bit_of(i);
            if (apply(&next, o->kind, o->stamp, store) && search(next))
                return true;
            if (o->kind != HISTORY_FILLED)
                break;
        }
    }
    return false;
}

static void print_block(unsigned block)
{
    static const char *const name[] = { "hit",   "miss", "stored", "filled",
                                        "begin", "end",  "clear",  "drop" };
    fprintf(stderr, "block %u: operation, number of the read, call, return\n", block);
    for (uint32_t t = 0; t <= h.clock; t++)
        for (uint32_t i = 0; i < h.ops; i++)
            if (h.op[i].block == block && h.op[i].call == t)
                fprintf(stderr, "  %-6s %3u  %4u %4u\n", name[h.op[i].kind], h.op[i].stamp,
                        h.op[i].call, h.op[i].ret);
}

/* Gives the reads of one block small numbers. */
static const char *gather(unsigned block)
{
    uint16_t number[HISTORY_STAMPS] = { 0 }, next = 1;
    g.n = 0;
    for (uint32_t i = 0; i < h.ops; i++) {
        struct op o = h.op[i];
        if (o.block != block)
            continue;
        if (o.stamp >= HISTORY_STAMPS || g.n == BLOCK_OPS)
            return "too many operations for the search";
        if (o.stamp > 0 && number[o.stamp] == 0)
            number[o.stamp] = next++;
        o.stamp = number[o.stamp];
        g.op[g.n++] = o;
    }
    return next <= 64 ? NULL : "too many reads of the origin for the search";
}

static const char *check_block(unsigned block)
{
    const char *wrong = gather(block);
    if (wrong)
        return wrong;
    g.turn++;
    g.full = false;
    if (search((struct state){ 0 }))
        return NULL;
    print_block(block);
    return g.full ? "the search is too large" : "no order of the operations is right";
}

/* ---- The file -------------------------------------------------------------------------------- */

/* An end that was told is the file's at a moment between call and return. In parts: it was there or
 * before it at one moment, there or behind it at another. */
static bool end_is_true(const struct told *e)
{
    bool was_there = false, was_shorter = false, was_longer = false;
    for (unsigned i = 0; i < h.sizes; i++)
        if (h.size[i].call < e->ret && (i + 1 == h.sizes || h.size[i + 1].call > e->call)) {
            was_there |= h.size[i].value == e->value;
            was_shorter |= h.size[i].value <= e->value;
            was_longer |= h.size[i].value >= e->value;
        }
    return was_there || (e->in_parts && was_shorter && was_longer);
}

static const char *check_file(void)
{
    for (uint32_t i = 0; i < h.told_ends; i++)
        if (!end_is_true(&h.end[i])) {
            fprintf(stderr, "end %llu told from %u to %u\n", (unsigned long long)h.end[i].value,
                    h.end[i].call, h.end[i].ret);
            for (unsigned k = 0; k < h.sizes; k++)
                fprintf(stderr, "  size %llu from %u on\n", (unsigned long long)h.size[k].value,
                        h.size[k].call);
            return "a wrong end of the file was told";
        }
    for (uint32_t i = 0; i < h.told_versions; i++)
        for (uint32_t k = 0; k < h.told_versions; k++)
            if (h.version[i].ret < h.version[k].call && h.version[i].value > h.version[k].value)
                return "a version came back";
    for (unsigned i = 0; i < HISTORY_STAMPS; i++)
        if (h.missed_in[i] != 0 && h.served_in[i] != 0 && h.missed_in[i] != h.served_in[i])
            return "what was read for one version is served as of another";
    return h.mixed ? "one read of the origin is served as of two versions" : NULL;
}

const char *history_check(void)
{
    if (h.ops > OPS_MAX || h.told_ends > TOLD || h.told_versions > TOLD || h.sizes == SIZES)
        return "the history is too long";
    const char *wrong = check_file();
    for (unsigned b = 0; b < HISTORY_BLOCKS && !wrong; b++)
        wrong = check_block(b);
    return wrong;
}

uint64_t history_states(void)
{
    return g.states;
}
