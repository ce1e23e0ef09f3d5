/* SPDX-License-Identifier: BSD-2-Clause
 *
 * crash.c - every state that a crash may leave, judged.
 *
 *   crash [--states N] [--seed S] [--length L] [--part K/N] [--rules adr|eadr|pagecache]
 *         [--warm|--full] [--sequence OP,OP..]
 *
 * Runs sequences of operations (all up to length L, then random longer ones, in which processes also
 * die in the middle of operations, until N distinct states were judged) on a tiny pool. At every
 * point of an operation's log where something is about to become durable, and where the origin
 * changes, it builds the images that a power cut there may leave: every combination of the words in
 * doubt if there are at most 4096, else none, all, each alone, all but each, every line, and 256 at
 * random. Each distinct image (by hash) is opened and every block read: wrong bytes, or a stored
 * block of a clean file that is lost, end the run. A crash of the process alone is an operation of
 * its own, after which what was in doubt still is; OP@N dies after event N of an operation, OP@fN
 * before its N-th fence. "beside-N,OP,OP": the first one runs in another thread, at the N-th fence of
 * the second.
 *
 * The last line counts: "crash: N states, N violations".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder.h"
#include "world.h"

#define AT_FENCE 1000000u /* more than the events of an operation */
#define EXHAUSTIVE 4096u
#define RANDOM_PICKS 256u
#define IMAGE_PROOF 1024u /* one image in so many is compared with what it should be */
#define LENGTH_MAX 64

static struct {
    struct rng rng;
    uint64_t states, duplicates, judged, hits, wanted, points;
    uint64_t *seen; /* hashes, open addressing */
    uint64_t seen_size, seen_used;
    uint8_t *image;
    uint32_t *current; /* the choices that the image is made of */
    size_t current_room;
    unsigned sequence[LENGTH_MAX], length;
    uint32_t cut[LENGTH_MAX]; /* 0, or the process dies at this event of the operation (from 1) */
    enum start start;
    enum rules rules;
    uint64_t part, parts, sequences, ran;
} t;

/* ---- Distinct images ------------------------------------------------------------------------- */

static bool remember(uint64_t hash);

static void grow_seen(void)
{
    uint64_t *old = t.seen, n = t.seen_size;
    t.seen_size = n ? n * 2 : 1u << 20;
    t.seen_used = 0;
    t.seen = calloc(t.seen_size, sizeof(*t.seen));
    if (!t.seen)
        abort();
    for (uint64_t i = 0; i < n; i++)
        if (old[i])
            remember(old[i]);
    free(old);
}

/* false: seen before. */
static bool remember(uint64_t hash)
{
    hash |= hash == 0;
    if (t.seen_used * 2 >= t.seen_size)
        grow_seen();
    uint64_t i = hash & (t.seen_size - 1);
    while (t.seen[i] != 0) {
        if (t.seen[i] == hash)
            return false;
        i = (i + 1) & (t.seen_size - 1);
    }
    t.seen[i] = hash;
    t.seen_used++;
    return true;
}

/* ---- Judging --------------------------------------------------------------------------------- */

static void violation(const char *what, size_t event, bool cut, int lost)
{
    printf("VIOLATION: %s\n  after %s:", what, t.start == FULL ? "full" : t.start == WARM ? "warm" : "fresh");
    for (unsigned i = 0; i < t.length; i++)
        printf(t.cut[i] ? " %s@%u" : " %s", world_op_name(t.sequence[i]), t.cut[i]);
    printf("\n  at event %zu of the last operation, %s, unsynced content %s\n", event,
           cut ? "power cut" : "process crash",
           lost == 0 ? "kept" : lost == 1 ? "lost, stamps kept" : "lost");
    printf("crash: %llu states, 1 violation\n", (unsigned long long)t.states);
    exit(1);
}

/* One image: the choices, its hash, the origin at that point. */
static void judge(const uint32_t *choice, size_t doubts, size_t event, const struct snapshot *s,
                  const struct floor *must)
{
    uint64_t hash = rep_hash_guaranteed();
    for (size_t i = 0; i < doubts; i++)
        hash ^= rep_hash_choice(i, choice[i]);
    /* The same bytes with another origin are judged again, but count once. */
    if (remember(hash))
        t.states++;
    else if (!remember(hash * 31 + (uint64_t)s->file[0].stamp * 7 + s->file[0].unsynced +
                       s->file[0].data[0] + s->file[1].data[0] + 2))
        return (void)t.duplicates++;
    for (size_t i = 0; i < doubts; i++)
        if (choice[i] != t.current[i])
            rep_choose(t.image, i, t.current[i] = choice[i]);
    if (t.judged % IMAGE_PROOF == 0 && !rep_is(t.image, choice))
        abort();
    int variants = world_unsynced(s) ? 3 : 1;
    for (int lost = 0; lost < variants; lost++) {
        const char *wrong = world_judge(s, true, lost, must, &t.hits);
        t.judged++;
        if (wrong)
            violation(wrong, event, true, lost);
    }
}

/* All combinations: counts through the choices like an odometer. */
static void judge_all(const struct doubt *d, size_t n, size_t event, const struct snapshot *s,
                      const struct floor *must)
{
    uint32_t choice[64] = { 0 };
    for (;;) {
        judge(choice, n, event, s, must);
        size_t i = 0;
        while (i < n && ++choice[i] == d[i].choices)
            choice[i++] = 0;
        if (i == n)
            return;
    }
}

static void judge_some(const struct doubt *d, size_t n, size_t event, const struct snapshot *s,
                       const struct floor *must)
{
    uint32_t *choice = calloc(n, sizeof(*choice));
    if (!choice)
        abort();
    judge(choice, n, event, s, must);
    for (size_t i = 0; i < n; i++)
        choice[i] = d[i].choices - 1;
    judge(choice, n, event, s, must);
    for (size_t k = 0; k < n; k++) { /* each alone, all but each, and a line's prefix */
        for (int how = 0; how < 3; how++) {
            for (size_t i = 0; i < n; i++) {
                bool arrived = how == 0 ? i == k : how == 1 ? i != k : i <= k && d[i].at / 64 == d[k].at / 64;
                choice[i] = arrived ? d[i].choices - 1 : 0;
            }
            judge(choice, n, event, s, must);
        }
    }
    for (unsigned r = 0; r < RANDOM_PICKS; r++) {
        uint64_t bias = rng_below(&t.rng, 3);
        for (size_t i = 0; i < n; i++) {
            choice[i] = (uint32_t)rng_below(&t.rng, d[i].choices);
            if (bias && rng_below(&t.rng, 4))
                choice[i] = bias == 1 ? 0 : d[i].choices - 1;
        }
        judge(choice, n, event, s, must);
    }
    free(choice);
}

static void crash_here(size_t event, uint64_t mark, const struct floor *must)
{
    size_t n;
    if (t.rules == RULES_PAGECACHE && !must->clean)
        must = NULL; /* an open pool without DAX may come back empty */
    const struct doubt *d = rep_doubts(&n);
    uint64_t combinations = 1;
    for (size_t i = 0; i < n && combinations <= EXHAUSTIVE; i++)
        combinations *= d[i].choices;
    t.points++;
    if (n > t.current_room || !t.current) {
        t.current_room = n * 2 + 64;
        free(t.current);
        t.current = malloc(t.current_room * sizeof(*t.current));
        if (!t.current)
            abort();
    }
    memset(t.current, 0, n * sizeof(*t.current));
    rep_image_begin(t.image);
    if (combinations <= EXHAUSTIVE && n <= 64)
        judge_all(d, n, event, world_snapshot(mark), must);
    else
        judge_some(d, n, event, world_snapshot(mark), must);
}

/* ---- Sequences ------------------------------------------------------------------------------- */

/* What must hit at every point inside an operation: what was there before and is there after it. */
static void both(struct floor *must, const struct floor *after)
{
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < MAX_BLOCKS; i++)
            must->must[f][i] &= after->must[f][i] && must->incarnation[f] == after->incarnation[f];
}

/* The floor at the next checkpoint of the log, or at its end. */
static const struct floor *next_floor(const struct event *e, size_t from, size_t n,
                                      const struct floor *end)
{
    for (size_t i = from; i < n; i++)
        if (e[i].kind == EV_MARK && e[i].value >= CHECKPOINT)
            return world_checkpoint_floor(e[i].value);
    return end;
}

/* Walks through the log of the operation that just ran and crashes at every point that counts. */
static void walk(const struct event *e, size_t n, uint64_t mark, const struct floor *before,
                 const struct floor *after)
{
    struct floor must = *before;
    both(&must, next_floor(e, 0, n, after));
    for (size_t i = 0; i < n; i++) {
        if (rep_settles(&e[i]))
            crash_here(i, mark, &must);
        rep_apply(&e[i]);
        if (e[i].kind != EV_MARK)
            continue;
        if (e[i].value < CHECKPOINT) {
            mark = e[i].value;
            continue;
        }
        must = *world_checkpoint_floor(e[i].value);
        if (must.clean)
            crash_here(i, mark, &must);
        must.clean = false;
        both(&must, next_floor(e, i + 1, n, after));
    }
    crash_here(n, mark, after);
}

static void step(unsigned op, bool crash)
{
    struct floor before, after;
    size_t n;
    uint64_t mark = world_mark();
    world_forget_checkpoints();
    world_floor(&before);
    rec_begin();
    world_op(op);
    world_floor(&after);
    if (world_tangled())
        memset(&before, 0, sizeof(before));
    const struct event *e = rec_log(&n);
    if (crash)
        walk(e, n, mark, &before, &after);
    for (size_t i = 0; i < n && !crash; i++)
        rep_apply(&e[i]);
    uint64_t at = rep_compare();
    if (at != UINT64_MAX) {
        printf("VIOLATION: a store to offset %llu bypassed the persist table in %s\n",
               (unsigned long long)at, world_op_name(op));
        exit(1);
    }
}

/* From 1: where to die. */
static uint32_t event_of(const struct event *e, size_t n, uint32_t cut)
{
    for (uint32_t i = 0; cut > AT_FENCE && i < n; i++)
        if (e[i].kind == EV_FENCE && --cut == AT_FENCE)
            return i > 0 ? i : 1;
    return (cut - 1) % (uint32_t)n + 1;
}

/* As step(), but the process dies after event `cut` (counted modulo the log) and another one takes
 * over; its opening is part of the log that is walked through. */
static void step_and_die(unsigned op, uint32_t *cut)
{
    struct floor nothing = { 0 };
    size_t n;
    uint64_t mark = world_mark();
    world_forget_checkpoints();
    rec_begin();
    world_op(op);
    const struct event *e = rec_log(&n);
    if (n == 0)
        return (void)(*cut = 0);
    *cut = event_of(e, n, *cut);
    for (size_t i = 0; i < *cut; i++) {
        rep_apply(&e[i]);
        if (e[i].kind == EV_MARK && e[i].value < CHECKPOINT)
            mark = e[i].value;
    }
    rec_rewind();
    rec_begin();
    world_die(mark);
    e = rec_log(&n);
    walk(e, n, mark, &nothing, &nothing);
}

/* The shorter prefixes of an exhaustive sequence are sequences of their own. */
static void run_sequence(void)
{
    if (t.sequences++ / 2 % t.parts != t.part) /* a sequence on the fresh and on the warm pool */
        return;
    t.ran++;
    world_reset(t.rules, t.start);
    unsigned n = t.length;
    for (unsigned i = 0; i < n; i++) {
        t.length = i + 1;
        if (t.cut[i])
            step_and_die(t.sequence[i], &t.cut[i]);
        else
            step(t.sequence[i], i + 1 == n || n > 3);
    }
    t.length = n;
}

static void all_of_length(unsigned length, unsigned at)
{
    if (at == length) {
        t.length = length;
        for (t.start = FRESH; t.start <= WARM; t.start++)
            run_sequence();
        return;
    }
    for (unsigned op = 0; op < world_usual_ops(); op++) {
        t.sequence[at] = op;
        all_of_length(length, at + 1);
    }
}

static void random_sequence(void)
{
    t.start = (enum start)rng_below(&t.rng, 3);
    t.length = 4 + (unsigned)rng_below(&t.rng, 12);
    for (unsigned i = 0; i < t.length; i++) {
        t.sequence[i] = (unsigned)rng_below(&t.rng, world_ops());
        t.cut[i] = rng_below(&t.rng, 4) ? 0 : 1 + (uint32_t)rng_below(&t.rng, 1000);
    }
    run_sequence();
}

/* ---- Main ------------------------------------------------------------------------------------ */

static int usage(void)
{
    fprintf(stderr, "usage: crash [--states N] [--seed S] [--length L] [--part K/N] "
                    "[--rules adr|eadr|pagecache] [--warm|--full] [--sequence OP,OP...]\n");
    return 2;
}

/* "op,op,op" by name. */
static bool parse_sequence(char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        unsigned op = 0;
        char *at = strchr(name, '@');
        if (at && t.length < LENGTH_MAX) {
            *at = 0;
            t.cut[t.length] = at[1] == 'f' ? AT_FENCE + (uint32_t)strtoul(at + 2, NULL, 10)
                                           : (uint32_t)strtoul(at + 1, NULL, 10);
        }
        while (op < world_ops() && strcmp(world_op_name(op), name) != 0)
            op++;
        if (op == world_ops() || t.length == LENGTH_MAX)
            return false;
        t.sequence[t.length++] = op;
    }
    return t.length > 0;
}

static void run_all(unsigned length)
{
    for (unsigned l = 1; l <= length; l++)
        all_of_length(l, 0);
    printf("crash: all sequences up to length %u of %u operations: %llu sequences, %llu states\n",
           length, world_usual_ops(), (unsigned long long)t.ran, (unsigned long long)t.states);
    while (t.states < t.wanted)
        random_sequence();
}

int main(int argc, char **argv)
{
    unsigned length = 2;
    bool given = false;
    uint64_t seed = 1;
    t.wanted = 100000;
    t.parts = 1;
    for (int i = 1; i < argc; i++) {
        char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--warm") == 0) {
            t.start = WARM;
            continue;
        }
        if (strcmp(argv[i], "--full") == 0) {
            t.start = FULL;
            continue;
        }
        if (!v)
            return usage();
        if (strcmp(argv[i], "--states") == 0)
            t.wanted = strtoull(v, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(v, NULL, 10);
        else if (strcmp(argv[i], "--length") == 0)
            length = (unsigned)strtoul(v, NULL, 10);
        else if (strcmp(argv[i], "--part") == 0 && strchr(v, '/'))
            t.part = strtoull(v, NULL, 10), t.parts = strtoull(strchr(v, '/') + 1, NULL, 10);
        else if (strcmp(argv[i], "--rules") == 0)
            t.rules = strcmp(v, "eadr") == 0        ? RULES_EADR
                      : strcmp(v, "pagecache") == 0 ? RULES_PAGECACHE
                                                    : RULES_ADR;
        else if (strcmp(argv[i], "--sequence") == 0 && parse_sequence(v))
            given = true;
        else
            return usage();
        i++;
    }
    if (t.parts == 0)
        return usage();
    t.rng.s = seed;
    world_reset(t.rules, FRESH);
    t.image = world_image();
    if (given)
        run_sequence();
    else
        run_all(length);
    printf("crash: seed %llu, %llu points, %llu opens, %llu hits after a crash\n",
           (unsigned long long)seed, (unsigned long long)t.points, (unsigned long long)t.judged,
           (unsigned long long)t.hits);
    printf("crash: %llu states, 0 violations\n", (unsigned long long)t.states);
    free(t.current);
    free(t.seen);
    world_end();
    return 0;
}
