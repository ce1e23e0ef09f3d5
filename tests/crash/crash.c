/* SPDX-License-Identifier: BSD-2-Clause
 *
 * crash.c - builds and judges every state that a crash may leave.
 *
 *   crash [--states N] [--seed S] [--length L] [--rules adr|eadr|pagecache]
 *   crash --sequence OP,OP.. [--warm|--full] [--seed S] [--rules ...]
 *   crash --trace OP,OP.. [--warm|--full] [--seed S] [--rules ...]
 *   crash --failures N [--rules ...]
 *   crash --worker [--seed S] [--rules ...]          for `run`
 *   crash --merge OUT IN...                          for `run`
 *
 *   crash --grow [--states N] [--seed S] [--rules ...]
 *
 * --probation N, with any of these: blocks wait in a DRAM buffer of N before they are stored.
 *
 * Runs sequences of operations on a tiny pool: all up to length L, then random longer ones, until N
 * distinct states were judged. In the random ones processes also die in the middle of operations. A
 * crash point is a point of an operation's log at which something is about to become durable, or at
 * which the origin changes. At every crash point the program builds the images that a power cut
 * there may leave. If the words in doubt have at most 4096 combinations, these are all
 * combinations. Else they are: none, all, each alone, all but each, every line, and 256 at random.
 * Each distinct image (by hash) is opened and every block read. Wrong bytes, or a lost block that a
 * clean file had stored, end the run.
 *
 * Some of the sessions that judge an image also repair and close the pool. Their own log is walked
 * through in the same way: that is a crash while recovering from a crash.
 *
 * A crash of the process alone is an operation of its own; what was in doubt stays in doubt after
 * it. OP@N dies after event N of an operation, OP@fN before its N-th fence. OP~N and OP~fN are
 * power cuts, like the operation of that name: the sequence goes on in one of the images that the
 * cut may leave, and the operations after it have crash points as usual. In OP!N the N-th sync of
 * the pool fails (pagecache), or else the N-th guarded load, store or flush. In "beside-N,OP,OP"
 * the first operation runs in another thread, at the N-th fence of the second.
 *
 * --failures: instead of these, runs every operation with its first, second ... N-th failure, alone
 * and with a crash of the process after it.
 *
 * --grow: the pool may grow twice ("grow-pool", which does nothing otherwise; give it before
 * --sequence, too). Runs every operation before a growth and after one, then random sequences with
 * growths in them, until N distinct states were judged. With --failures: growths that fail.
 *
 * --seal, with any of these but --merge: the pools are sealed and encrypted (cm_options.seal), with
 * a cipher for tests.
 *
 * --trace: as --sequence, and prints every event of the sequence (trace.h). In each operation the
 * events count from 1, as in OP@N.
 *
 * Every sequence has a number. Its actions depend on that number and the seed alone. A worker reads
 * "FROM TO FILE" from its standard input, runs those sequences and writes the sorted hashes of the
 * states. --merge counts the distinct hashes of such files.
 *
 * The last line counts: "crash: N states, N violations".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hashes.h"
#include "recorder.h"
#include "trace.h"
#include "world.h"

#define AT_FENCE 1000000u /* more than the events of an operation */
#define NO_CUT 0
#define PROCESS_DIES '@' /* as in a sequence's text */
#define POWER_CUT '~'
#define FAILURE '!'
#define IMAGE_PROOF 1024u /* one of so many images is compared with what it should be */
/* One of so many judging sessions is crashed in, if its point has few images. */
#define AGAIN_FEW 32u
#define AGAIN_MANY 2048u /* the same for a point with many images */
#define FEW 256u
#define AGAIN_PAGECACHE 6u /* there AGAIN_* times this, because more is in doubt */
#define LENGTH_MAX 64
/* The greatest length of which all sequences have numbers. */
#define LENGTH_ALL 3u
#define RANDOM_FROM (UINT64_C(1) << 40) /* number of the first random sequence */
#define SCRAMBLE 1000003u               /* a prime: any run of numbers is a sample of its length */
#define JUDGED_SIZE (1u << 25)

/* At most so many combinations are all tried, else so many at random: for a crash, for a crash
 * after it. */
static const struct {
    uint64_t exhaustive;
    unsigned random;
} effort[] = { { 4096, 256 }, { 64, 16 } };

/* A point of a log. */
struct point {
    size_t event;
    struct snapshot origin; /* has no content of its own */
    struct floor must;
    uint64_t context, covered;
    uint64_t again; /* one of so many sessions is crashed in */
};

static struct {
    uint64_t seed;
    struct rng rng;
    uint64_t points, judged, again, hits, covered, cached, sequences;
    struct hashes seen;
    uint64_t *judged_before; /* hashes of images and of their measure; a lossy cache */
    unsigned depth;          /* 1: crashing in a session after a crash */
    size_t cut_after;        /* number of the last event before the first power cut */
    uint8_t *image[2];
    uint32_t *current[2]; /* the choices that the image is made of */
    size_t current_room[2];
    unsigned sequence[LENGTH_MAX], length;
    struct cut {
        char how;
        /* Number of an event, from 1; AT_FENCE + number of a fence; number of a failure. */
        uint32_t at;
    } cut[LENGTH_MAX];
    enum start start;
    enum rules rules;
    unsigned probation;
    bool grows, seals;
    trace_fn trace;  /* NULL: no trace is made */
    char title[160]; /* of the events that are to be printed next; or empty */
} t;

/* ---- Judging --------------------------------------------------------------------------------- */

/* An operation of the sequence, as parse_sequence() reads it. */
static void op_text(unsigned i, char *text, size_t n)
{
    const char *name = world_op_name(t.sequence[i]);
    const struct cut *cut = &t.cut[i];
    bool fence = cut->at > AT_FENCE;
    if (cut->how == NO_CUT)
        snprintf(text, n, "%s", name);
    else
        snprintf(text, n, "%s%c%s%u", name, cut->how, fence ? "f" : "",
                 cut->at - (fence ? AT_FENCE : 0));
}

/* The command that runs the sequence again. */
static void print_command(const char *option)
{
    static const char *const starts[] = { "", "--warm ", "--full " };
    static const char *const rules[] = { "adr", "eadr", "pagecache", "checkpoint" };
    char text[60];
    printf("crash --probation %u --rules %s --seed %llu %s%s%s%s '", t.probation, rules[t.rules],
           (unsigned long long)t.seed, starts[t.start], t.grows ? "--grow " : "",
           t.seals ? "--seal " : "", option);
    for (unsigned i = 0; i < t.length; i++) {
        op_text(i, text, sizeof(text));
        printf("%s%s", i ? "," : "", text);
    }
    printf("'\n");
}

/* The next events belong to the last operation, or to what `more` says. */
static void trace_title(const char *more)
{
    char text[60];
    if (!t.trace)
        return;
    op_text(t.length - 1, text, sizeof(text));
    snprintf(t.title, sizeof(t.title), "operation %u, %s%s", t.length, text, more);
}

/* Prints the first n events of the log, once. */
static void trace_next(size_t n)
{
    if (t.trace && t.title[0])
        t.trace(t.title, n);
    t.title[0] = 0;
}

static void trace_all(void)
{
    size_t n;
    (void)rec_log(&n);
    trace_next(n);
}

static _Noreturn void violation(const char *what, const char *where)
{
    trace_all();
    printf("VIOLATION: %s\n  ", what);
    print_command("--sequence");
    printf("  %s\n", where);
    world_show_wrong();
    if (!t.trace) {
        printf("  its events: ");
        print_command("--trace");
    }
    printf("crash: %llu states, 1 violation\n", (unsigned long long)t.seen.used);
    world_end();
    exit(1);
}

_Noreturn void world_impossible(const char *what)
{
    violation(what, "in the last operation");
}

static bool dies(const struct cut *cut)
{
    return cut->how == PROCESS_DIES || cut->how == POWER_CUT;
}

static void wrong_image(const char *what, const struct point *p, int lost)
{
    char cut[160], where[240];
    snprintf(cut, sizeof(cut), "a power cut after event %zu of %s", t.cut_after,
             dies(&t.cut[t.length - 1]) ? "the session after the last operation"
                                        : "the last operation");
    if (t.depth > 0) {
        snprintf(t.title, sizeof(t.title), "the session after that power cut");
        snprintf(where, sizeof(where), "a power cut after event %zu of the session after %s",
                 p->event, cut);
    } else {
        snprintf(where, sizeof(where), "%s", cut);
    }
    snprintf(where + strlen(where), sizeof(where) - strlen(where), ", unsynced content %s",
             lost == KEPT          ? "kept"
             : lost == DATA_LOST   ? "lost, stamps kept"
             : lost == STAMPS_LOST ? "kept, stamps lost"
                                   : "lost");
    violation(what, where);
}

/* False: this image was already judged by the same measure. An image may be judged twice, but is
 * never left out, because each entry is written as a whole. */
static bool to_judge(uint64_t hash)
{
    uint64_t *at = &t.judged_before[hash % JUDGED_SIZE];
    if (*at == hash)
        return false;
    *at = hash;
    return true;
}

static void crash_again(const struct snapshot *now, const struct floor *must,
                        const struct floor *closed);

/* Judges one image. It is given by the choices, its hash, and the origin at that point. */
static void judge(const uint32_t *choice, size_t doubts, const struct point *p)
{
    uint8_t *image = t.image[t.depth];
    uint32_t *current = t.current[t.depth];
    uint64_t hash = rep_hash_guaranteed();
    for (size_t i = 0; i < doubts; i++)
        hash ^= rep_hash_choice(i, choice[i]);
    hashes_add(&t.seen, hash);
    if (!to_judge((hash ^ p->context) * UINT64_C(0x9e3779b97f4a7c15)))
        return;
    for (size_t i = 0; i < doubts; i++)
        if (choice[i] != current[i])
            rep_choose(image, i, current[i] = choice[i]);
    if (t.judged % IMAGE_PROOF == 0 && !rep_is(image, choice)) {
        fprintf(stderr, "crash: an image is not what it should be\n");
        abort();
    }
    const int variants = world_unsynced(&p->origin) ? LOSSES : 1;
    for (int lost = 0; lost < variants; lost++) {
        struct snapshot now = world_after(&p->origin, lost);
        struct floor closed;
        const char *wrong = world_judge(t.depth, &now, &p->must, NULL, &t.hits);
        t.judged++;
        t.covered += p->covered;
        t.cached += p->must.cached;
        if (!wrong && t.depth == 0 && (hash >> 32) % p->again == 0) {
            wrong = world_judge(t.depth, &now, &p->must, &closed, &t.hits);
            if (!wrong)
                crash_again(&now, &p->must, &closed);
        }
        if (wrong)
            wrong_image(wrong, p, lost);
    }
}

/* All combinations: counts through the choices like an odometer. */
static void judge_all(const struct doubt *d, size_t n, const struct point *p)
{
    uint32_t choice[64] = { 0 };
    for (;;) {
        judge(choice, n, p);
        size_t i = 0;
        while (i < n && ++choice[i] == d[i].choices)
            choice[i++] = 0;
        if (i == n)
            return;
    }
}

static void judge_some(const struct doubt *d, size_t n, const struct point *p)
{
    uint32_t *choice = calloc(n, sizeof(*choice));
    if (!choice)
        abort();
    judge(choice, n, p);
    for (size_t i = 0; i < n; i++)
        choice[i] = d[i].choices - 1;
    judge(choice, n, p);
    for (size_t k = 0; k < n; k++) { /* each alone, all but each, and a line's prefix */
        for (int how = 0; how < 3; how++) {
            for (size_t i = 0; i < n; i++) {
                bool arrived = how == 0   ? i == k
                               : how == 1 ? i != k
                                          : i <= k && d[i].at / 64 == d[k].at / 64;
                choice[i] = arrived ? d[i].choices - 1 : 0;
            }
            judge(choice, n, p);
        }
    }
    struct rng rng = { t.seed ^ rep_hash_guaranteed() ^ p->event << 32 };
    for (unsigned r = 0; r < effort[t.depth].random; r++) {
        uint64_t bias = rng_below(&rng, 3);
        for (size_t i = 0; i < n; i++)
            choice[i] = world_choice(&rng, bias, d[i].choices);
        judge(choice, n, p);
    }
    free(choice);
}

static void crash_here(size_t event, const struct snapshot *origin, const struct floor *must)
{
    struct point p = { .event = event, .origin = *origin, .must = *must };
    if (t.depth == 0)
        t.cut_after = event;
    uint64_t combinations = 1;
    size_t n;
    const struct doubt *d = rep_doubts(&n);
    p.context = world_context(origin, &p.must) + t.depth;
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < MAX_BLOCKS; i++)
            p.covered += p.must.must[f][i] > 0;
    t.points++;
    if (n >= t.current_room[t.depth]) {
        t.current_room[t.depth] = n * 2 + 64;
        free(t.current[t.depth]);
        t.current[t.depth] = malloc(t.current_room[t.depth] * sizeof(uint32_t));
        if (!t.current[t.depth])
            abort();
    }
    memset(t.current[t.depth], 0, n * sizeof(uint32_t));
    rep_image_begin(t.image[t.depth]);
    for (size_t i = 0; i < n && combinations <= effort[t.depth].exhaustive; i++)
        combinations *= d[i].choices;
    p.again = (combinations <= FEW ? AGAIN_FEW : AGAIN_MANY) *
              (t.rules >= RULES_PAGECACHE ? AGAIN_PAGECACHE : 1);
    if (combinations <= effort[t.depth].exhaustive && n <= 64)
        judge_all(d, n, &p);
    else
        judge_some(d, n, &p);
}

/* A power cut in a session that judged an image, repaired and closed the pool. */
static void crash_again(const struct snapshot *now, const struct floor *must,
                        const struct floor *closed)
{
    size_t n;
    struct floor floor = *must;
    floor.clean = false;
    memcpy(floor.wrong_attr, closed->wrong_attr, sizeof(floor.wrong_attr));
    unsigned level = rec_level(++t.depth);
    rep_reset();
    const struct event *e = rec_log(&n);
    for (size_t i = 0; i < n; i++) {
        if (rep_settles(&e[i]))
            crash_here(i, now, &floor);
        rep_apply(&e[i]);
    }
    crash_here(n, now, closed);
    rec_level(level);
    t.depth--;
    t.again++;
}

/* ---- Sequences ------------------------------------------------------------------------------- */

/* What must hit at every point inside an operation: blocks that are there before and after it. A
 * tail that got longer counts as another block, because the shorter one was evicted first. While a
 * record gets another validator, a crash may tear it. */
static void both(struct floor *must, const struct floor *after)
{
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < MAX_BLOCKS; i++)
            if (must->must[f][i] != after->must[f][i] ||
                must->incarnation[f] != after->incarnation[f] ||
                memcmp(must->proof[f], after->proof[f], CM_PROOF_BYTES) != 0)
                must->must[f][i] = 0;
    for (int f = 0; f < FILES; f++)
        must->wrong_attr[f] &= after->wrong_attr[f];
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

/* Walks through the log of the operation that just ran, and crashes at every crash point. */
static void walk(const struct event *e, size_t n, uint64_t mark, const struct floor *before,
                 const struct floor *after)
{
    struct floor must = *before;
    both(&must, next_floor(e, 0, n, after));
    for (size_t i = 0; i < n; i++) {
        if (rep_settles(&e[i]))
            crash_here(i, world_snapshot(mark), &must);
        rep_apply(&e[i]);
        if (e[i].kind != EV_MARK)
            continue;
        if (e[i].value < CHECKPOINT) {
            mark = e[i].value;
            continue;
        }
        must = *world_checkpoint_floor(e[i].value);
        if (must.clean)
            crash_here(i, world_snapshot(mark), &must);
        must.clean = false;
        both(&must, next_floor(e, i + 1, n, after));
    }
    crash_here(n, world_snapshot(mark), after);
}

static void step(unsigned op, struct cut *cut, bool crash)
{
    struct floor before, after;
    size_t n;
    uint64_t mark = world_mark();
    world_forget_checkpoints();
    world_floor(&before);
    trace_title("");
    rec_begin();
    if (cut->how == NO_CUT)
        world_op(op);
    else if (!world_op_failing(op, cut->at))
        cut->how = NO_CUT; /* the operation ended before it */
    world_floor(&after);
    if (world_tangled() || cut->how != NO_CUT)
        memset(&before, 0, sizeof(before));
    before.unborn = cut->how != NO_CUT && t.rules < RULES_PAGECACHE;
    const struct event *e = rec_log(&n);
    trace_next(n);
    if (crash)
        walk(e, n, mark, &before, &after);
    for (size_t i = 0; i < n && !crash; i++)
        rep_apply(&e[i]);
    if (cut->how != NO_CUT)
        world_trust_durable();
    uint64_t at = rep_compare();
    char where[60];
    snprintf(where, sizeof(where), "at offset %llu of the pool", (unsigned long long)at);
    if (at != UINT64_MAX)
        violation("a store bypassed the persist table", where);
    if (world_wrong())
        violation(world_wrong(), "in the last operation");
}

/* The event at which to die, from 1. */
static uint32_t event_of(const struct event *e, size_t n, uint32_t cut)
{
    for (uint32_t i = 0; cut > AT_FENCE && i < n; i++)
        if (e[i].kind == EV_FENCE && --cut == AT_FENCE)
            return i > 0 ? i : 1;
    return (cut - 1) % (uint32_t)n + 1;
}

/* Like step(), but the process dies, or the power is cut, after event `cut` (modulo the length of
 * the log). Another process takes over. The log that is walked through is that of its opening. */
static void step_and_die(unsigned op, struct cut *cut)
{
    struct floor before = { 0 }, after = { 0 };
    size_t n;
    uint64_t mark = world_mark();
    world_forget_checkpoints();
    trace_title("");
    rec_begin();
    world_op(op);
    const struct event *e = rec_log(&n);
    if (n == 0)
        return (void)(cut->how = NO_CUT);
    cut->at = event_of(e, n, cut->at);
    trace_title(cut->how == POWER_CUT ? ": up to the power cut" : ": until the process dies");
    trace_next(cut->at);
    for (size_t i = 0; i < cut->at; i++) {
        rep_apply(&e[i]);
        if (e[i].kind == EV_MARK && e[i].value < CHECKPOINT)
            mark = e[i].value;
        else if (e[i].kind == EV_MARK)
            before.unborn = world_checkpoint_floor(e[i].value)->unborn;
    }
    rec_rewind();
    trace_title(cut->how == POWER_CUT ? ": the session after the power cut"
                                      : ": the session after the process died");
    rec_begin();
    world_die(mark, before.unborn, cut->how == POWER_CUT);
    e = rec_log(&n);
    trace_next(n);
    walk(e, n, mark, &before, &after);
}

/* Runs a sequence. Its prefixes up to LENGTH_ALL are sequences of their own, so only the last
 * operation is crashed in there. */
static void run_sequence(void)
{
    unsigned n = t.length;
    t.sequences++;
    world_reset(t.rules, t.start, t.seed);
    for (unsigned i = 0; i < n; i++) {
        t.length = i + 1;
        if (dies(&t.cut[i]))
            step_and_die(t.sequence[i], &t.cut[i]);
        else
            step(t.sequence[i], &t.cut[i], i + 1 == n || n > LENGTH_ALL);
    }
    t.length = n;
}

/* Number of sequences of a length, over all pools. */
static uint64_t count_of(unsigned length)
{
    uint64_t n = STARTS;
    for (unsigned i = 0; i < length; i++)
        n *= world_usual_ops();
    return n;
}

static void random_sequence(uint64_t number)
{
    struct rng rng = { t.seed * UINT64_C(0x9e3779b97f4a7c15) + number };
    rng.s = rng_next(&rng);
    t.start = (enum start)rng_below(&rng, STARTS);
    t.length = 4 + (unsigned)rng_below(&rng, 12);
    for (unsigned i = 0; i < t.length; i++) {
        t.sequence[i] = (unsigned)rng_below(&rng, world_ops());
        t.cut[i].how = "\0\0\0\0\0@~!"[rng_below(&rng, 8)];
        t.cut[i].at = 1 + (uint32_t)rng_below(&rng, 1000);
        if (t.cut[i].how == FAILURE) /* there are few syncs */
            t.cut[i].at = 1 + t.cut[i].at % (t.rules >= RULES_PAGECACHE ? 8 : 100);
    }
}

/* The order of the numbers: sequences of length 1, of length 2 ..., and from RANDOM_FROM longer
 * ones. */
static void run_number(uint64_t number)
{
    memset(t.cut, 0, sizeof(t.cut));
    if (number >= RANDOM_FROM) {
        random_sequence(number);
    } else {
        t.length = 1;
        while (number >= count_of(t.length))
            number -= count_of(t.length++);
        number = (number * SCRAMBLE + t.seed) % count_of(t.length);
        t.start = (enum start)(number % STARTS);
        number /= STARTS;
        for (unsigned i = 0; i < t.length; i++, number /= world_usual_ops())
            t.sequence[i] = (unsigned)(number % world_usual_ops());
    }
    run_sequence();
}

/* ---- Main ------------------------------------------------------------------------------------ */

static int usage(void)
{
    fprintf(
        stderr,
        "usage: crash [--states N] [--seed S] [--length L] [--rules adr|eadr|pagecache|checkpoint] "
        "[--warm|--full] [--sequence OP,OP...] [--trace OP,OP...] [--failures N] "
        "[--probation N] [--grow] [--seal] [--worker] | crash --merge OUT IN...\n");
    return 2;
}

static unsigned op_named(const char *name)
{
    unsigned op = 0;
    while (op < world_ops() && strcmp(world_op_name(op), name) != 0)
        op++;
    return op;
}

static void say_unknown(const char *name)
{
    fprintf(stderr, "crash: there is no operation '%s'. There are:", name);
    for (unsigned op = 0; op < world_ops(); op++)
        fprintf(stderr, " %s", world_op_name(op));
    fputc('\n', stderr);
}

/* "op,op,op" by name. */
static bool parse_sequence(char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        char *at = strpbrk(name, "@~!");
        if (at && t.length < LENGTH_MAX) {
            bool fence = at[1] == 'f';
            uint32_t number = (uint32_t)strtoul(at + 1 + fence, NULL, 10);
            t.cut[t.length] = (struct cut){ *at, number + (fence ? AT_FENCE : 0) };
            *at = 0;
        }
        unsigned op = op_named(name);
        if (op == world_ops())
            say_unknown(name);
        if (op == world_ops() || t.length == LENGTH_MAX)
            return false;
        t.sequence[t.length++] = op;
    }
    return t.length > 0;
}

static void run_all(unsigned length, uint64_t states)
{
    uint64_t number = 0, end = 0;
    for (unsigned l = 1; l <= length; l++)
        end += count_of(l);
    while (number < end)
        run_number(number++);
    printf("crash: all %llu sequences up to length %u of %u operations: %llu states\n",
           (unsigned long long)end, length, world_usual_ops(), (unsigned long long)t.seen.used);
    for (number = RANDOM_FROM; t.seen.used < states; number++)
        run_number(number);
}

static void run_growth(uint64_t number)
{
    random_sequence(number);
    for (unsigned i = 0; i < t.length; i++)
        if ((number + i * 7) % 4 == 0)
            t.sequence[i] = op_named("grow-pool");
    run_sequence();
}

static void run_growths(uint64_t states)
{
    const unsigned growth = op_named("grow-pool");
    for (unsigned i = 0; i < STARTS * world_usual_ops(); i++)
        for (unsigned first = 0; first < 2; first++) {
            t.start = (enum start)(i % STARTS);
            t.sequence[first] = growth;
            t.sequence[!first] = i / STARTS;
            t.length = 2;
            run_sequence();
        }
    printf("crash: every operation before a growth and after one: %llu states\n",
           (unsigned long long)t.seen.used);
    for (uint64_t number = RANDOM_FROM; t.seen.used < states; number++)
        run_growth(number);
}

static void run_failures(unsigned most)
{
    for (unsigned i = 0; i < STARTS * world_usual_ops(); i++)
        for (unsigned n = 1, met = 1; n <= most && met; n++)
            for (unsigned length = 1; length <= 2 && met; length++) {
                t.start = (enum start)(i % STARTS);
                t.sequence[0] = i / STARTS;
                t.sequence[1] = op_named("process-crash");
                t.length = length;
                t.cut[0] = (struct cut){ FAILURE, n };
                run_sequence();
                met = t.cut[0].how == FAILURE;
            }
}

/* Runs the sequences of each line "FROM TO FILE", and prints what was done since the last line.
 * First it prints how many sequences of each length there are. */
static int work(void)
{
    unsigned long long from, to;
    char line[4200], path[4096];
    for (unsigned l = 1; l <= LENGTH_ALL; l++)
        printf("%llu%s", (unsigned long long)count_of(l), l < LENGTH_ALL ? " " : "\n");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%llu %llu %4095[^\n]", &from, &to, path) != 3)
            return usage();
        t.sequences = t.points = t.judged = t.again = t.hits = t.covered = t.cached = 0;
        while (from < to)
            run_number(from++);
        hashes_save(&t.seen, path);
        printf("%llu %llu %llu %llu %llu %llu %llu\n", (unsigned long long)t.sequences,
               (unsigned long long)t.points, (unsigned long long)t.judged,
               (unsigned long long)t.again, (unsigned long long)t.hits,
               (unsigned long long)t.covered, (unsigned long long)t.cached);
        fflush(stdout);
    }
    return 0;
}

static void report(void)
{
    printf(
        "crash: seed %llu, %llu sequences, %llu points, %llu opens, %llu sessions crashed again\n",
        (unsigned long long)t.seed, (unsigned long long)t.sequences, (unsigned long long)t.points,
        (unsigned long long)t.judged, (unsigned long long)t.again);
    printf("crash: of %llu cached blocks %llu had to hit after the crash (%.1f %%), %llu hits\n",
           (unsigned long long)t.cached, (unsigned long long)t.covered,
           t.cached ? 100.0 * (double)t.covered / (double)t.cached : 0.0,
           (unsigned long long)t.hits);
    printf("crash: %llu states, 0 violations\n", (unsigned long long)t.seen.used);
}

/* The same of a growth, with one before it or none, and something after it. */
static void run_failing_growths(unsigned most)
{
    static const char *const after[] = { "process-crash", "write-adopt", "fill-a", "grow-pool",
                                         "power-cut" };
    const unsigned growth = op_named("grow-pool"), afters = sizeof(after) / sizeof(*after);
    for (unsigned i = 0; i < STARTS * 2 * (afters + 1); i++)
        for (unsigned n = 1, met = 1; n <= most && met; n++) {
            const unsigned at = i / STARTS % 2, then = i / STARTS / 2;
            memset(t.cut, 0, sizeof(t.cut));
            t.start = (enum start)(i % STARTS);
            t.sequence[0] = t.sequence[at] = growth;
            t.cut[at] = (struct cut){ FAILURE, n };
            t.length = at + 1;
            if (then > 0)
                t.sequence[t.length++] = op_named(after[then - 1]);
            run_sequence();
            met = t.cut[at].how == FAILURE;
        }
    memset(t.cut, 0, sizeof(t.cut));
}

struct arguments {
    uint64_t states;
    unsigned length, failures;
    bool given, worker;
};

static bool parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 1; i < argc; i++) {
        char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--warm") == 0)
            t.start = WARM;
        else if (strcmp(argv[i], "--full") == 0)
            t.start = FULL;
        else if (strcmp(argv[i], "--worker") == 0)
            a->worker = true;
        else if (strcmp(argv[i], "--grow") == 0)
            t.grows = true;
        else if (strcmp(argv[i], "--seal") == 0)
            t.seals = true;
        else if (!v)
            return false;
        else if (i++, strcmp(argv[i - 1], "--states") == 0)
            a->states = strtoull(v, NULL, 10);
        else if (strcmp(argv[i - 1], "--seed") == 0)
            t.seed = strtoull(v, NULL, 10);
        else if (strcmp(argv[i - 1], "--length") == 0)
            a->length = (unsigned)strtoul(v, NULL, 10);
        else if (strcmp(argv[i - 1], "--failures") == 0)
            a->failures = (unsigned)strtoul(v, NULL, 10);
        else if (strcmp(argv[i - 1], "--probation") == 0)
            world_probation(t.probation = (unsigned)strtoul(v, NULL, 10));
        else if (strcmp(argv[i - 1], "--rules") == 0 && strcmp(v, "adr") == 0)
            t.rules = RULES_ADR;
        else if (strcmp(argv[i - 1], "--rules") == 0 && strcmp(v, "eadr") == 0)
            t.rules = RULES_EADR;
        else if (strcmp(argv[i - 1], "--rules") == 0 && strcmp(v, "pagecache") == 0)
            t.rules = RULES_PAGECACHE;
        else if (strcmp(argv[i - 1], "--rules") == 0 && strcmp(v, "checkpoint") == 0)
            t.rules = RULES_CHECKPOINT;
        else if ((strcmp(argv[i - 1], "--sequence") == 0 || strcmp(argv[i - 1], "--trace") == 0) &&
                 parse_sequence(v))
            a->given = true;
        else
            return false;
    }
    return a->length <= LENGTH_ALL;
}

int main(int argc, char **argv)
{
    struct arguments a = { .states = 100000, .length = 2 };
    int status = 0;
    t.seed = 1;
    t.trace = trace_begin(argc, argv);
    if (argc > 2 && strcmp(argv[1], "--merge") == 0) {
        printf("%llu\n", (unsigned long long)hashes_merge(argv[2], argv + 3, (unsigned)argc - 3));
        return 0;
    }
    if (!parse(argc, argv, &a))
        return usage();
    if (t.grows)
        world_grows();
    if (t.seals)
        world_seals();
    world_reset(t.rules, FRESH, t.seed);
    t.image[0] = world_image(0);
    t.image[1] = world_image(1);
    t.judged_before = calloc(JUDGED_SIZE, sizeof(*t.judged_before));
    if (!t.judged_before)
        abort();
    if (a.worker)
        status = work();
    else if (a.given)
        run_sequence();
    else if (a.failures)
        (t.grows ? run_failing_growths : run_failures)(a.failures);
    else if (t.grows)
        run_growths(a.states);
    else
        run_all(a.length, a.states);
    if (!a.worker)
        report();
    free(t.judged_before);
    free(t.current[0]);
    free(t.current[1]);
    free(t.seen.at);
    world_end();
    return status;
}
