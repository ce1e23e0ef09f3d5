/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_replay.c - "cachemax replay": the share of a block trace that a pool of a given size serves.
 *
 * Owns the options and the output: one answer, or a row for each of several sizes, for people or as
 * JSON. trace.c reads the trace, run.c takes it through the library, policies.c simulates LRU and
 * CLOCK.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/replay/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    REPLAY_SIZE,
    REPLAY_SIZES,
    REPLAY_POLICY,
    REPLAY_WEAR_WEIGHT,
    REPLAY_CURVE,
    REPLAY_WRITES,
    REPLAY_PROBATION,
    REPLAY_THREADS,
    REPLAY_RESTART_AT,
    REPLAY_DIR,
    REPLAY_JSON,
    REPLAY_OPTIONS
};
_Static_assert(REPLAY_OPTIONS <= TOOL_OPTIONS_MAX, "struct tool_args has room");

static const struct tool_option replay_options[REPLAY_OPTIONS] = {
    [REPLAY_SIZE] = { "size", 's', TOOL_NEEDS_ARG, "N",
                      "of the pool: a share (0.1), blocks (5000) or bytes (64M)" },
    [REPLAY_SIZES] = { "sizes", 0, TOOL_NEEDS_ARG, "N,...", "several, a row each" },
    [REPLAY_POLICY] = { "policy", 'p', TOOL_NEEDS_ARG, "NAME",
                        "only this policy (default: all); a wrong NAME lists them" },
    [REPLAY_WEAR_WEIGHT] = { "wear-weight", 0, TOOL_NEEDS_ARG, "N",
                             "auto: a stored block costs N/1000 of a hit (20; with --probation "
                             "100)" },
    [REPLAY_CURVE] = { "curve", 'c', TOOL_NO_ARG, NULL,
                       "print what the library thinks of other sizes, too" },
    [REPLAY_WRITES] = { "writes", 'w', TOOL_NO_ARG, NULL,
                        "replay writes too, as brackets (default: ignored)" },
    [REPLAY_PROBATION] = { "probation", 'b', TOOL_NEEDS_ARG, "N",
                           "its probation buffer: as --size, of the pool; or: default" },
    [REPLAY_THREADS] = { "threads", 't', TOOL_NEEDS_ARG, "N", "that read (default 1)" },
    [REPLAY_RESTART_AT] = { "restart-at", 'r', TOOL_NEEDS_TWO, "F HOW",
                            "restart after share F: clean, crash, cold, grow or none" },
    [REPLAY_DIR] = { "dir", 'd', TOOL_NEEDS_ARG, "DIR",
                     "the pool is a file there (default: memory)" },
    [REPLAY_JSON] = { "json", 'j', TOOL_NO_ARG, NULL,
                      "print one JSON object, or an array of them" },
};

#define SIZES_MAX 64u
#define SHARE_END 1.5 /* a number below this is a share, else a number of blocks */
#define DIR_LENGTH 1024u

/* The most policies that can be requested at once. The reference policies have their own numbers,
 * and the library's follow. */
#define POLICIES_MAX (REPLAY_POLICIES + 16u)

static const char *policy_name(unsigned policy)
{
    static const char *const reference[REPLAY_POLICIES] = {
        [REPLAY_LRU] = "lru", [REPLAY_CLOCK] = "clock"
    };
    return policy < REPLAY_POLICIES ? reference[policy]
                                    : cm_policy_name((int)(policy - REPLAY_POLICIES));
}

static unsigned count_policies(void)
{
    unsigned n = REPLAY_POLICIES;
    while (n < POLICIES_MAX && policy_name(n))
        n++;
    return n;
}

static const char *const restart_names[] = { [REPLAY_GO_ON] = "none",
                                             [REPLAY_CLEAN] = "clean",
                                             [REPLAY_CRASH] = "crash",
                                             [REPLAY_COLD] = "cold",
                                             [REPLAY_GROW] = "grow" };

/* Blocks of the default probation buffer: 256 KiB, 256 MiB. */
#define DEFAULT_MIN UINT64_C(64)
#define DEFAULT_MAX UINT64_C(65536)

struct size {
    const char *text;
    double share;    /* share of the blocks that are read, or of the slots; 0: */
    uint64_t blocks; /* a number of blocks */
};

struct command {
    struct replay replay;
    struct trace trace;
    const char *path;
    struct size size[SIZES_MAX];
    struct size probation;  /* a share is a share of the pool's slots */
    bool probation_default; /* instead: that of cm_options */
    unsigned sizes;
    bool table;        /* several sizes were requested */
    unsigned policies; /* number of policies */
    bool wanted[POLICIES_MAX];
    unsigned library; /* the library's policy that is reported in full; `policies`: none */
    bool writes, json, curve;
    double restart_at;
    char list[1024]; /* --sizes, cut up */
};

struct answer {
    uint64_t wanted; /* slots */
    struct replay_pool pool;
    struct replay_result library[POLICIES_MAX]; /* results of the library's policies */
    struct replay_counts counts[POLICIES_MAX];
};

/* ---- Options ------------------------------------------------------------------------------- */

/* A plain decimal number. */
static bool read_decimal(const char *text, double *v)
{
    char *end;

    if (strspn(text, "0123456789.") != strlen(text) || !strpbrk(text, "0123456789"))
        return false;
    *v = strtod(text, &end);
    return *end == '\0';
}

/* Reads a number of blocks, at least one, or a share of a total that is not known yet. */
static int read_size(const char *name, const char *text, struct size *s)
{
    double v;
    bool rough, good;

    s->text = text;
    s->share = 0;
    if (read_decimal(text, &v) && v < SHARE_END) {
        s->share = v;
        good = v > 0;
    } else if (tool_parse_count(text, &s->blocks) == TOOL_SIZE_OK) {
        good = true;
    } else {
        good = tool_parse_size(text, &s->blocks, &rough) == TOOL_SIZE_OK;
        s->blocks /= CM_BLOCK_SIZE;
    }
    good = good && (s->share > 0 || s->blocks > 0);
    return good ? TOOL_OK
                : tool_bad_option(name, text,
                                  "a share such as 0.1, a number of blocks such as 5000, or "
                                  "bytes of blocks such as 64M");
}

static int read_sizes(const struct tool_args *args, struct command *c)
{
    const char *one = args->value[REPLAY_SIZE], *list = args->value[REPLAY_SIZES];

    c->table = list != NULL;
    if (!one == !list) {
        tool_message(NULL, one ? "--size and --sizes exclude each other: give one of them"
                               : "'replay' needs the pool's size, such as --size 0.1 (a tenth of "
                                 "the blocks that are read), or several: --sizes 0.01,0.1");
        return TOOL_USAGE;
    }
    if (one) {
        c->sizes = 1;
        return read_size("size", one, &c->size[0]);
    }
    if (strlen(list) >= sizeof(c->list))
        return tool_bad_option("sizes", list, "up to 64 sizes");
    (void)snprintf(c->list, sizeof(c->list), "%s", list);
    for (char *p = c->list; p;) {
        char *end = strchr(p, ',');
        int status;
        if (end)
            *end++ = '\0';
        if (c->sizes == SIZES_MAX)
            return tool_bad_option("sizes", list, "up to 64 sizes");
        status = read_size("sizes", p, &c->size[c->sizes++]);
        if (status != TOOL_OK)
            return status;
        p = end;
    }
    return TOOL_OK;
}

/* The i-th policy in the output: the library's come first. */
static unsigned column(const struct command *c, unsigned i)
{
    const unsigned ours = c->policies - REPLAY_POLICIES;
    return i < ours ? i + REPLAY_POLICIES : i - ours;
}

static int bad_policy(const struct command *c, const char *name)
{
    char want[256];
    size_t n = 0;

    for (unsigned i = 0; i < c->policies && n < sizeof(want); i++)
        n += (size_t)snprintf(want + n, sizeof(want) - n, "%s%s", i ? ", " : "",
                              policy_name(column(c, i)));
    if (n < sizeof(want))
        (void)snprintf(want + n, sizeof(want) - n, " or all");
    return tool_bad_option("policy", name, want);
}

static int read_policy(const char *name, struct command *c)
{
    const bool all = !name || !strcmp(name, "all");
    bool known = all;

    c->policies = c->library = count_policies();
    for (unsigned i = c->policies; i-- > 0;) {
        c->wanted[i] = all || !strcmp(name, policy_name(i));
        known = known || c->wanted[i];
        if (c->wanted[i] && i >= REPLAY_POLICIES)
            c->library = i; /* in the end it is the first one */
    }
    return known ? TOOL_OK : bad_policy(c, name);
}

static int read_restart(const char *at, const char *how, struct command *c)
{
    if (!at)
        return TOOL_OK;
    if (!read_decimal(at, &c->restart_at) || c->restart_at <= 0 || c->restart_at >= 1)
        return tool_bad_option("restart-at", at, "a share between 0 and 1, such as 0.5");
    for (unsigned i = REPLAY_GO_ON; i <= REPLAY_GROW; i++)
        if (!strcmp(how, restart_names[i]))
            c->replay.restart = (enum replay_restart)i;
    if (c->replay.restart != REPLAY_WHOLE)
        return TOOL_OK;
    tool_message(NULL, "--restart-at %s '%s': expected clean, crash, cold, grow or none", at, how);
    return TOOL_USAGE;
}

static int read_probation(const char *text, struct command *c)
{
    if (!text || !strcmp(text, "0"))
        return TOOL_OK;
    c->probation_default = !strcmp(text, "default");
    return c->probation_default ? TOOL_OK : read_size("probation", text, &c->probation);
}

static int read_options(const struct tool_args *args, struct command *c)
{
    const char *threads = args->value[REPLAY_THREADS], *wear = args->value[REPLAY_WEAR_WEIGHT];
    uint64_t n = 1, weight = 0;
    int status = read_sizes(args, c);

    if (status == TOOL_OK)
        status = read_policy(args->value[REPLAY_POLICY], c);
    if (status == TOOL_OK)
        status = read_probation(args->value[REPLAY_PROBATION], c);
    if (status == TOOL_OK)
        status = read_restart(args->value[REPLAY_RESTART_AT], args->second[REPLAY_RESTART_AT], c);
    if (status != TOOL_OK)
        return status;
    if (threads && (tool_parse_count(threads, &n) != TOOL_SIZE_OK || n < 1 || n > OS_THREADS_MAX))
        return tool_bad_option("threads", threads, "a number from 1 to 64");
    if (wear && (tool_parse_count(wear, &weight) != TOOL_SIZE_OK || weight < 1 || weight > 1000))
        return tool_bad_option("wear-weight", wear, "a number from 1 to 1000");
    c->path = args->operand;
    c->json = args->value[REPLAY_JSON] != NULL;
    c->writes = args->value[REPLAY_WRITES] != NULL;
    c->curve = args->value[REPLAY_CURVE] != NULL;
    c->replay.options = (cm_options)CM_OPTIONS_INIT;
    c->replay.options.probation_bytes = CM_PROBATION_NONE;
    c->replay.options.wear_weight = (uint32_t)weight;
    c->replay.threads = (unsigned)n;
    c->replay.quiet = c->json;
    c->replay.dir = args->value[REPLAY_DIR];
    if (c->replay.dir && strlen(c->replay.dir) >= DIR_LENGTH)
        return tool_bad_option("dir", c->replay.dir, "a shorter name");
    return TOOL_OK;
}

/* ---- Output -------------------------------------------------------------------------------- */

static void json_counts(struct tool_json *j, const struct command *c, const struct replay_counts *n,
                        bool with_reads)
{
    if (with_reads)
        json_number(j, "reads", n->reads);
    json_number(j, "hits", n->hits);
    json_decimal(j, "hit_ratio", tool_percent(n->hits, n->reads) / 100, 6);
    if (c->replay.restart == REPLAY_WHOLE)
        return;
    if (with_reads)
        json_number(j, "reads_after", n->reads_after);
    json_number(j, "hits_after", n->hits_after);
}

/* At most the slots of the pool, as in the library. The default is what cm_options says. */
/* Of the pool, at the end. */
static uint64_t bytes_of(const struct answer *a)
{
    return a->pool.grown ? a->pool.grown : a->pool.bytes;
}

static uint64_t probation_blocks(const struct command *c, const struct answer *a)
{
    const struct size *s = &c->probation;
    uint64_t n = s->share > 0 ? (uint64_t)(s->share * (double)a->pool.slots + 0.5) : s->blocks;

    if (c->probation_default) {
        n = a->pool.slots / 100;
        n = n < DEFAULT_MIN ? DEFAULT_MIN : n > DEFAULT_MAX ? DEFAULT_MAX : n;
    }
    return n < a->pool.slots ? n : a->pool.slots;
}

static void json_answer(const struct command *c, const struct answer *a)
{
    const bool library = c->library != c->policies;
    struct tool_json j;

    json_begin(&j, stdout, c->table);
    json_string(&j, "trace", c->path);
    json_number(&j, "wanted", a->wanted);
    json_number(&j, "slots", a->pool.slots);
    json_number(&j, "pool_bytes", bytes_of(a));
    json_number(&j, "unique_blocks", c->trace.unique);
    json_number(&j, "writes", c->trace.writes);
    json_number(&j, "writes_ignored", c->trace.ignored);
    json_number(&j, "threads", c->replay.threads);
    if (c->replay.restart != REPLAY_WHOLE) {
        json_string(&j, "restart", restart_names[c->replay.restart]);
        json_decimal(&j, "restart_at", c->restart_at, 6);
    }
    if (library) {
        const struct replay_result *r = &a->library[c->library];
        json_string(&j, "policy", policy_name(c->library));
        json_counts(&j, c, &a->counts[c->library], true);
        json_number(&j, "pool_fills", r->fills);
        json_number(&j, "first_fills", r->first_fills);
        json_number(&j, "missed_twice", r->missed_twice);
        json_number(&j, "probation_blocks", probation_blocks(c, a));
        json_number(&j, "probation_hits", r->probation_hits);
        json_decimal(&j, "seconds", r->seconds, 6);
        if (c->curve)
            json_curve(&j, r->curve);
    }
    json_open(&j, "policies");
    for (unsigned i = 0; i < c->policies; i++) {
        if (!c->wanted[i] || i == c->library)
            continue;
        json_open(&j, policy_name(i));
        json_counts(&j, c, &a->counts[i], !library);
        if (i >= REPLAY_POLICIES) {
            json_number(&j, "pool_fills", a->library[i].fills);
            json_number(&j, "first_fills", a->library[i].first_fills);
        }
        json_close(&j);
    }
    json_close(&j);
    json_end(&j);
}

static void print_head(const struct command *c)
{
    const struct trace *t = &c->trace;
    char reads[TOOL_NUMBER_MAX], unique[TOOL_NUMBER_MAX], writes[TOOL_NUMBER_MAX];

    tool_print(stdout, c->path);
    (void)printf(": %s blocks read, %s different ones, in %" PRIu32 " file%s",
                 tool_count(reads, t->reads), tool_count(unique, t->unique), t->files,
                 t->files == 1 ? "" : "s");
    if (t->writes || t->ignored)
        (void)printf("; %s written%s", tool_count(writes, t->writes + t->ignored),
                     t->ignored ? ", which was ignored (--writes)" : "");
    (void)fputs("\n", stdout);
    if (c->replay.restart == REPLAY_GO_ON)
        (void)printf("after %g of it counting begins anew\n", c->restart_at);
    else if (c->replay.restart == REPLAY_GROW)
        (void)printf("the pool has a quarter of its size until %g of it; the others have all\n",
                     c->restart_at);
    else if (c->replay.restart != REPLAY_WHOLE)
        (void)printf("the library is restarted after %g of it (%s); the others go on\n",
                     c->restart_at, restart_names[c->replay.restart]);
    (void)fputs("\n", stdout);
}

static void print_counts(const struct command *c, const char *name, const struct replay_counts *n)
{
    (void)printf("%-8s %12" PRIu64 " %8.2f %%", name, n->hits, tool_percent(n->hits, n->reads));
    if (c->replay.restart != REPLAY_WHOLE)
        (void)printf(" %12" PRIu64 " %8.2f %%", n->hits_after,
                     tool_percent(n->hits_after, n->reads_after));
}

static void print_library(const struct command *c, const struct answer *a,
                          const struct replay_result *r)
{
    (void)printf("   %" PRIu64 " blocks stored", r->fills);
    if (probation_blocks(c, a) > 0)
        (void)printf("; %" PRIu64 " hits in the probation buffer of %" PRIu64 " blocks",
                     r->probation_hits, probation_blocks(c, a));
    (void)printf("; %.2f s", r->seconds);
}

static void print_answer(const struct command *c, const struct answer *a)
{
    char size[TOOL_NUMBER_MAX];

    (void)printf("%" PRIu64 " slots wanted, the pool has %" PRIu64 " (%s)%s\n\n", a->wanted,
                 a->pool.slots, tool_bytes(size, bytes_of(a)),
                 bytes_of(a) == cm_pool_size_min() ? ", the smallest there is" : "");
    (void)printf("%-8s %12s %10s", "", "hits", "of reads");
    if (c->replay.restart != REPLAY_WHOLE)
        (void)printf(" %12s %10s", "hits after", "of reads");
    (void)fputs("\n", stdout);
    for (unsigned i = 0; i < c->policies; i++) {
        const unsigned policy = column(c, i);
        if (!c->wanted[policy])
            continue;
        print_counts(c, policy_name(policy), &a->counts[policy]);
        if (policy >= REPLAY_POLICIES)
            print_library(c, a, &a->library[policy]);
        (void)fputs("\n", stdout);
    }
    if (c->curve && c->library != c->policies) {
        (void)printf("\nwhat %s thinks of other sizes:\n", policy_name(c->library));
        tool_print_curve(a->library[c->library].curve, bytes_of(a));
    }
}

static void print_cell(bool known, uint64_t hits, uint64_t reads)
{
    if (known)
        (void)printf(" %8.2f %%", tool_percent(hits, reads));
    else
        (void)printf(" %10s", "-");
}

static void print_table_head(const struct command *c)
{
    (void)printf("%10s %10s", "wanted", "slots");
    for (unsigned i = 0; i < c->policies; i++)
        (void)printf(" %10s", policy_name(column(c, i)));
    for (unsigned i = 0; i < c->policies && c->replay.restart != REPLAY_WHOLE; i++)
        (void)printf(" %s%*s", i ? "" : "after:", i ? 10 : 4, policy_name(column(c, i)));
    (void)printf(" %12s %9s\n", "stored", "seconds");
}

static void print_row(const struct command *c, const struct answer *a)
{
    (void)printf("%10" PRIu64 " %10" PRIu64, a->wanted, a->pool.slots);
    for (unsigned i = 0; i < c->policies; i++) {
        const struct replay_counts *n = &a->counts[column(c, i)];
        print_cell(c->wanted[column(c, i)], n->hits, n->reads);
    }
    for (unsigned i = 0; i < c->policies && c->replay.restart != REPLAY_WHOLE; i++) {
        const struct replay_counts *n = &a->counts[column(c, i)];
        print_cell(c->wanted[column(c, i)], n->hits_after, n->reads_after);
    }
    if (c->library != c->policies)
        (void)printf(" %12" PRIu64 " %9.2f\n", a->library[c->library].fills,
                     a->library[c->library].seconds);
    else
        (void)printf(" %12s %9s\n", "-", "-");
    (void)fflush(stdout);
}

/* ---- Running ------------------------------------------------------------------------------- */

/* The first record behind the given share of the trace. The restart comes before it. */
static uint64_t find_split(const struct command *c)
{
    const struct trace *t = &c->trace;
    const double touch = c->restart_at * (double)t->touches;
    uint64_t i = 0;

    if (c->replay.restart == REPLAY_WHOLE)
        return t->records;
    while (i < t->records && (double)t->record[i].touch < touch)
        i++;
    return i;
}

static int find_answer(struct command *c, const struct size *s, struct answer *a)
{
    int status;

    memset(a, 0, sizeof(*a));
    a->wanted = s->share > 0 ? (uint64_t)(s->share * (double)c->trace.unique + 0.5) : s->blocks;
    status = replay_pool_plan(&a->pool, &c->replay, a->wanted);
    for (unsigned i = 0; i < REPLAY_POLICIES && status == TOOL_OK; i++) {
        if (!c->wanted[i] || replay_policy(&c->replay, i, a->pool.slots, &a->counts[i]))
            continue;
        tool_message(NULL, "not enough memory to simulate %s", policy_name(i));
        status = TOOL_FAILED;
    }
    c->replay.options.probation_bytes =
        probation_blocks(c, a) > 0 ? probation_blocks(c, a) * CM_BLOCK_SIZE : CM_PROBATION_NONE;
    for (unsigned i = REPLAY_POLICIES; i < c->policies && status == TOOL_OK; i++) {
        if (!c->wanted[i])
            continue;
        c->replay.options.policy = i - REPLAY_POLICIES;
        status = replay_library(&a->pool, &a->library[i]);
        a->counts[i] = a->library[i].counts;
    }
    return status;
}

static int replay_all(struct command *c)
{
    static struct answer a; /* large */
    unsigned rows = 0;
    int status = TOOL_OK;

    if (!c->json)
        print_head(c);
    if (!c->json && c->table)
        print_table_head(c);
    for (unsigned i = 0; i < c->sizes; i++) {
        status = find_answer(c, &c->size[i], &a);
        if (status != TOOL_OK || os_interrupted())
            break;
        if (c->json && c->table)
            (void)fputs(rows++ ? "," : "[", stdout);
        if (c->json)
            json_answer(c, &a);
        else if (c->table)
            print_row(c, &a);
        else
            print_answer(c, &a);
    }
    if (c->json && c->table && rows > 0)
        (void)fputs("]\n", stdout);
    return status;
}

static int run_replay(const struct tool_args *args)
{
    static struct command c; /* large */
    int status = read_options(args, &c);

    if (status != TOOL_OK)
        return status;
    os_catch_interrupts();
    status = trace_load(&c.trace, c.path, c.writes);
    c.replay.trace = &c.trace;
    c.replay.split = find_split(&c);
    if (status == TOOL_OK)
        status = replay_all(&c);
    trace_free(&c.trace);
    if (os_interrupted())
        os_end_interrupted();
    return tool_end_output(status);
}

const struct tool_command tool_replay = {
    .name = "replay",
    .operand = "TRACE",
    .summary = "Replay a block trace: hit ratio for a pool of a given size",
    .help =
        "TRACE was made by 'cachemax record', or is in the format LCTRACE1; plain, or compressed\n"
        "with xz. cachemax(1) describes both. The library itself replays it, in a pool in memory,\n"
        "once for each of its policies. Every byte of every hit is compared with the expected\n"
        "one. The output also shows what LRU and CLOCK would do with as many slots; those two are\n"
        "simulated.\n"
        "\n"
        "N below 1.5 is a share of the different blocks that are read. Otherwise it is a number\n"
        "of blocks, or with a unit (64M) the bytes of so many. The pool is the smallest with so\n"
        "many slots; no pool has less than 64.\n"
        "\n"
        "Each block of a read counts once, as a hit or a miss. A miss is offered to the pool.\n"
        "With --writes a write forgets its blocks and stores nothing.\n"
        "\n"
        "--curve also prints what share the library estimates for other sizes, as 'cachemax "
        "advise'\n"
        "does for a pool in use. With all policies it is the estimate of auto.\n"
        "\n"
        "--restart-at 0.5 crash restarts the library after half of the trace, and also counts the\n"
        "second half apart. HOW is one of:\n"
        "  clean   closes the pool and opens it again\n"
        "  crash   opens the pool as a killed process leaves it\n"
        "  cold    starts with a new pool\n"
        "  grow    restarts nothing: the pool has a quarter of the size, and grows then\n"
        "  none    changes nothing, it is only counted\n"
        "\n"
        "Examples:\n"
        "  cachemax replay p3.lct.xz --size 0.1\n"
        "  cachemax replay p3.lct.xz --sizes 0.001,0.01,0.1,0.3 --json\n"
        "  cachemax replay p3.lct.xz --size 64M --restart-at 0.5 crash --dir /mnt/pmem\n",
    .options = replay_options,
    .noptions = REPLAY_OPTIONS,
    .run = run_replay,
};
