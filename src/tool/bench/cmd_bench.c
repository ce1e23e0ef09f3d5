/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_bench.c - "cachemax bench": the cost of the library, compared with its alternatives.
 *
 * Owns the options and the output: a table for people, row by row as it is measured, or one JSON
 * object at the end. ratio.c takes a ratio. The other files here have the operations.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/bench/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BENCH_SIZE, BENCH_ROUNDS, BENCH_MAX_THREADS, BENCH_ONLY, BENCH_JSON, BENCH_OPTIONS };

static const struct tool_option bench_options[BENCH_OPTIONS] = {
    [BENCH_SIZE] = { "size", 's', TOOL_NEEDS_ARG, "SIZE", "of the pool (default 2G, least 64M)" },
    [BENCH_ROUNDS] = { "rounds", 'r', TOOL_NEEDS_ARG, "N",
                       "of each ratio, 40 ms or more each (default 51)" },
    [BENCH_MAX_THREADS] = { "threads", 't', TOOL_NEEDS_ARG, "N",
                            "at most (default: one a processor)" },
    [BENCH_ONLY] = { "only", 'o', TOOL_NEEDS_ARG, "KEY,...",
                     "only these rows, or footprints, threads, index, latency" },
    [BENCH_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

#define MIB ((uint64_t)1 << 20)
#define RATIOS (BENCH_READS + BENCH_WRITES + BENCH_THREADS + BENCH_OTHERS)

static const struct bench_ratio *ratio_at(unsigned i)
{
    if (i < BENCH_READS)
        return &bench_reads[i];
    i -= BENCH_READS;
    if (i < BENCH_WRITES)
        return &bench_writes[i];
    i -= BENCH_WRITES;
    return i < BENCH_THREADS ? &bench_threads[i] : &bench_others[i - BENCH_THREADS];
}

struct run {
    struct bench b;
    struct os_machine machine;
    char dir[1024];
    bool json;
    char copy[16];  /* how hits are copied */
    uint32_t lines; /* that they request before */
    bool measured;
    bool wanted[RATIOS], more[BENCH_MORE];
    struct bench_result result[RATIOS];
};

/* ---- Options ------------------------------------------------------------------------------- */

static int unknown_key(const char *key)
{
    const char *names[RATIOS + BENCH_MORE], *near;

    for (unsigned i = 0; i < RATIOS; i++)
        names[i] = ratio_at(i)->key;
    for (unsigned i = 0; i < BENCH_MORE; i++)
        names[RATIOS + i] = bench_more[i].key;
    near = tool_nearest(key, names, sizeof(names[0]), RATIOS + BENCH_MORE);
    if (near)
        tool_message(NULL, "--only '%s': there is no such row; did you mean '%s'?", key, near);
    else
        tool_message(NULL, "--only '%s': there is no such row; 'cachemax bench --help' lists them",
                     key);
    return TOOL_USAGE;
}

static int read_only(struct run *u, const char *list)
{
    for (unsigned i = 0; i < RATIOS; i++)
        u->wanted[i] = list == NULL;
    for (unsigned i = 0; i < BENCH_MORE; i++)
        u->more[i] = list == NULL;
    while (list) {
        char key[64];
        bool known = false;
        (void)snprintf(key, sizeof(key), "%.*s", (int)strcspn(list, ","), list);
        for (unsigned i = 0; i < RATIOS; i++)
            if (!strcmp(key, ratio_at(i)->key))
                known = u->wanted[i] = true;
        for (unsigned i = 0; i < BENCH_MORE; i++)
            if (!strcmp(key, bench_more[i].key))
                known = u->more[i] = true;
        if (!known)
            return unknown_key(key);
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    return TOOL_OK;
}

static bool read_count(const char *text, unsigned most, unsigned *n)
{
    uint64_t v;

    if (tool_parse_count(text, &v) != TOOL_SIZE_OK || v < 1 || v > most)
        return false;
    *n = (unsigned)v;
    return true;
}

static int read_options(const struct tool_args *args, struct run *u)
{
    const char *v;
    struct os_volume volume;
    bool rough;

    u->b.bytes = 2048 * MIB;
    u->b.rounds = 51;
    u->b.plain = bench_plain();
    u->b.processors = u->machine.processors;
    u->b.threads = u->machine.processors < OS_THREADS_MAX ? u->machine.processors : OS_THREADS_MAX;
    u->json = args->value[BENCH_JSON] != NULL;
    u->b.quiet = u->json;
    if ((v = args->value[BENCH_SIZE]) != NULL) {
        if (tool_parse_size(v, &u->b.bytes, &rough) != TOOL_SIZE_OK || u->b.bytes < 64 * MIB ||
            u->b.bytes > 1024 * 1024 * MIB || u->b.bytes > SIZE_MAX / 4)
            return tool_bad_option("size", v, "a size from 64M to 1T, such as 2G");
        u->b.bytes -= u->b.bytes % MIB;
    }
    if ((v = args->value[BENCH_ROUNDS]) != NULL && !read_count(v, BENCH_ROUNDS_MAX, &u->b.rounds))
        return tool_bad_option("rounds", v, "a number from 1 to 9999");
    if ((v = args->value[BENCH_MAX_THREADS]) != NULL &&
        !read_count(v, OS_THREADS_MAX, &u->b.threads))
        return tool_bad_option("threads", v, "a number from 1 to 64");
    /* What does not exist is told by who makes the pool. */
    if (args->operand && !os_is_directory(args->operand) && os_volume(args->operand, &volume)) {
        tool_message(args->operand,
                     "is no directory: 'bench' makes a pool of its own in DIR, and removes it "
                     "('cachemax stats POOL' and 'top' show how well a pool does)");
        return TOOL_USAGE;
    }
    os_memory_directory(u->dir, sizeof(u->dir));
    if (args->operand && strlen(args->operand) >= sizeof(u->dir) - 64) {
        tool_message(NULL, "the name of DIR is too long");
        return TOOL_USAGE;
    }
    if (args->operand)
        (void)snprintf(u->dir, sizeof(u->dir), "%s", args->operand);
    u->b.dir = u->dir;
    return read_only(u, args->value[BENCH_ONLY]);
}

/* ---- Output -------------------------------------------------------------------------------- */

static bool is_met(const struct bench_ratio *q, const struct bench_result *r)
{
    return q->at_least ? r->ratio >= q->limit : r->ratio <= q->limit;
}

/* The limit of a row, as it is printed: two columns. */
static void print_limit(const struct bench_ratio *q, const struct bench_result *r)
{
    const char *met = r->why_not[0] ? "-" : is_met(q, r) ? "met" : "MISSED";

    if (q->limit > 0)
        (void)printf("%s %-5g %-6s  ", q->at_least ? ">=" : "<=", q->limit, met);
    else
        (void)printf("%-15s  ", "");
}

static void print_row(const struct bench_ratio *q, const struct bench_result *r)
{
    if (r->why_not[0]) {
        (void)printf("%-24s %8s  ", q->key, "-");
        print_limit(q, r);
        (void)printf("%s\n", r->why_not);
        return;
    }
    (void)printf("%-24s %8.3f  ", q->key, r->ratio);
    print_limit(q, r);
    (void)printf("%.3f to %.3f; %.5g", r->low, r->high, r->ours);
    if (r->rival > 0)
        (void)printf(" and %.5g", r->rival);
    (void)printf(" %s%s%s\n", q->unit, r->note[0] ? "; " : "", r->note);
    (void)fflush(stdout);
}

static const char *cache_size(char *text, uint64_t bytes)
{
    return bytes ? tool_bytes(text, bytes) : "not known";
}

static void print_head(struct run *u)
{
    const struct os_machine *m = &u->machine;
    char size[TOOL_NUMBER_MAX], c[3][TOOL_NUMBER_MAX];
    struct os_volume v = { "", 0, false, false };

    (void)os_volume(u->dir, &v);
    (void)printf("%s, %u processors, caches %s, %s, %s; %s",
                 m->cpu[0] ? m->cpu : "processor unknown", m->processors,
                 cache_size(c[0], m->cache[0]), cache_size(c[1], m->cache[1]),
                 cache_size(c[2], m->cache[2]), m->system);
    if (m->load >= 0)
        (void)printf("; load before %.2f", m->load);
    (void)printf("\npool of %s in ", tool_bytes(size, u->b.bytes));
    tool_print(stdout, u->dir);
    (void)printf("%s%s%s, %u round%s; cachemax %s, LMDB %s, SQLite %s\n\n", v.type[0] ? " (" : "",
                 v.type, v.type[0] ? ")" : "", u->b.rounds, u->b.rounds == 1 ? "" : "s",
                 cm_version(), bench_lmdb_version() ? bench_lmdb_version() : "not built in",
                 bench_sqlite_version() ? bench_sqlite_version() : "not built in");
    if (m->load > m->processors / 2.0)
        (void)printf(
            "the machine is busy: rows of threads, opens and latencies may be far off\n\n");
    (void)printf("%-24s %8s  %-8s %-6s  %s\n", "", "ratio", "limit", "",
                 "quartiles; ours and rival");
    (void)fflush(stdout);
}

static void json_machine(struct tool_json *j, const struct run *u)
{
    static const char *const level[3] = { "l1d_bytes", "l2_bytes", "l3_bytes" };
    const struct os_machine *m = &u->machine;

    json_open(j, "machine");
    json_string(j, "cpu", m->cpu);
    json_string(j, "system", m->system);
    json_number(j, "processors", m->processors);
    for (unsigned i = 0; i < 3; i++)
        if (m->cache[i])
            json_number(j, level[i], m->cache[i]);
        else
            json_null(j, level[i]);
    if (m->load >= 0)
        json_decimal(j, "load_before", m->load, 2);
    else
        json_null(j, "load_before");
    json_close(j);
}

static void json_version(struct tool_json *j, const char *rival, const char *version)
{
    if (version)
        json_string(j, rival, version);
    else
        json_null(j, rival);
}

static void json_setup(struct tool_json *j, const struct run *u)
{
    struct os_volume v = { "", 0, false, false };

    (void)os_volume(u->dir, &v);
    json_open(j, "setup");
    json_string(j, "version", cm_version());
    json_string(j, "directory", u->dir);
    json_string(j, "volume", v.type);
    json_number(j, "pool_bytes", u->b.bytes);
    json_number(j, "rounds", u->b.rounds);
    json_number(j, "threads", u->b.threads);
    json_string(j, "hit_copy", u->copy);
    json_number(j, "hit_lines", u->lines);
    json_bool(j, "hit_copy_measured", u->measured);
    json_version(j, "lmdb", bench_lmdb_version());
    json_version(j, "sqlite", bench_sqlite_version());
    json_close(j);
}

static void json_details(struct tool_json *j, const struct run *u)
{
    json_open(j, "details");
    for (unsigned i = 0; i < RATIOS; i++) {
        const struct bench_ratio *q = ratio_at(i);
        const struct bench_result *r = &u->result[i];
        if (!u->wanted[i])
            continue;
        json_open(j, q->key);
        json_string(j, "text", q->text);
        if (q->limit > 0)
            json_decimal(j, "limit", q->limit, 2);
        json_string(j, "kind", q->limit > 0 ? q->at_least ? "at least" : "at most" : "figure");
        if (r->why_not[0]) {
            json_string(j, "reason", r->why_not);
        } else {
            if (q->limit > 0)
                json_bool(j, "met", is_met(q, r));
            json_decimal(j, "low_quartile", r->low, 4);
            json_decimal(j, "high_quartile", r->high, 4);
            json_decimal(j, "ours", r->ours, 3);
            if (r->rival > 0)
                json_decimal(j, "rival", r->rival, 3);
            json_string(j, "unit", q->unit);
            json_string(j, "note", r->note);
        }
        json_close(j);
    }
    json_close(j);
}

static void json_ratios(struct tool_json *j, const struct run *u)
{
    json_open(j, "ratios");
    for (unsigned i = 0; i < RATIOS; i++) {
        if (!u->wanted[i])
            continue;
        if (u->result[i].why_not[0])
            json_null(j, ratio_at(i)->key);
        else
            json_decimal(j, ratio_at(i)->key, u->result[i].ratio, 4);
    }
    json_close(j);
}

/* ---- Running ------------------------------------------------------------------------------- */

/* How the pool that is open now copies hits. Each pool measures for itself. */
static void learn_copy(struct run *u)
{
    cm_info info = CM_INFO_INIT;

    if (u->measured || !u->b.cache || cm_get_info(u->b.cache, &info))
        return;
    (void)snprintf(u->copy, sizeof(u->copy), "%s", info.hit_copy);
    u->lines = info.hit_lines;
    u->measured = info.hit_copy_measured != 0;
}

static void run_ratio(struct run *u, unsigned i)
{
    const struct bench_ratio *q = ratio_at(i);
    struct bench_result *r = &u->result[i];

    if (bench_prepare(&u->b, q->needs, r->why_not)) {
        if (q->run)
            q->run(&u->b, r);
        else
            bench_turns(&u->b, &q->ours, &q->rival, q->at_least, r);
    }
    learn_copy(u);
    if (!u->json)
        print_row(q, r);
}

static void run_more(struct run *u, struct tool_json *j)
{
    char why_not[96];

    for (unsigned i = 0; i < BENCH_MORE; i++) {
        if (!u->more[i])
            continue;
        if (j)
            json_open(j, bench_more[i].key);
        if (bench_prepare(&u->b, bench_more[i].needs, why_not))
            bench_more[i].run(&u->b, j);
        if (j)
            json_close(j);
        (void)fflush(stdout);
    }
}

static unsigned all_needs(const struct run *u)
{
    unsigned needs = 0;

    for (unsigned i = 0; i < RATIOS; i++)
        needs |= u->wanted[i] ? ratio_at(i)->needs : 0;
    for (unsigned i = 0; i < BENCH_MORE; i++)
        needs |= u->more[i] ? bench_more[i].needs | bench_more[i].wants : 0;
    if (!bench_lmdb_version())
        needs &= ~(unsigned)BENCH_NEEDS_LMDB;
    return bench_sqlite_version() ? needs : needs & ~(unsigned)BENCH_NEEDS_SQLITE;
}

static int run_bench(const struct tool_args *args)
{
    static struct run u; /* large */
    struct tool_json j;
    int rc;

    os_describe_machine(&u.machine);
    rc = read_options(args, &u);
    if (rc != TOOL_OK)
        return rc;
    os_catch_interrupts();
    bench_check_room(&u.b, all_needs(&u));
    if (!u.json)
        print_head(&u);
    for (unsigned i = 0; i < RATIOS; i++)
        if (u.wanted[i])
            run_ratio(&u, i);
    if (u.json) {
        json_begin(&j, stdout, false);
        json_machine(&j, &u);
        json_setup(&j, &u);
        json_ratios(&j, &u);
        json_details(&j, &u);
    }
    run_more(&u, u.json ? &j : NULL);
    learn_copy(&u);
    if (u.json)
        json_end(&j);
    else if (u.copy[0])
        (void)printf(
            "\nhits were copied with %s behind requests for %u of 64 lines, %s\n", u.copy, u.lines,
            u.measured ? "which was measured to be the fastest here" : "as the table of CPUs says");
    bench_release(&u.b);
    return tool_end_output(TOOL_OK);
}

const struct tool_command tool_bench = {
    .name = "bench",
    .operand = "[DIR]",
    .summary = "Measure hits, fills and forgetting beside bare accesses, pread, LMDB",
    .help =
        "Both sides of a ratio take turns in slices of about 10 ms, in the order ours, rival,\n"
        "rival, ours: one round. The ratio is the median of the rounds; quartiles stand beside\n"
        "it. With a limit missed the exit status is still 0.\n"
        "\n"
        "Everything lies in files in DIR, by default in memory (/dev/shm), which takes about\n"
        "three times SIZE there. The names of the files are removed as soon as they are open, so\n"
        "nothing is left behind, Ctrl-C included. The pool is a file mapped as 'cm_open' does it,\n"
        "but opened as persistent memory, so that every flush and fence is executed.\n"
        "\n"
        "Random blocks come in an order that goes through the whole pool before one comes\n"
        "again, and all are read into the same buffer; each was read four times before, after\n"
        "which hits are no longer counted for the policy. The rivals:\n"
        "  chain      what no cache can leave out: a line of the index, a header, memcpy, the\n"
        "             header again, in the pool itself; nothing else\n"
        "  two lines  two lines of the pool's index\n"
        "  memcpy     of the C library, out of the pool itself, the same blocks\n"
        "  pread      of a file as large as the pool in DIR, that is in the page cache\n"
        "  LMDB get   MDB_WRITEMAP|MDB_NOSYNC, integer keys, one read transaction for all, and a\n"
        "             memcpy of the value; half as many blocks, because each takes two pages\n"
        "  LMDB put   overwrites a random block, a transaction each, no sync\n"
        "  NT copy    copies past the CPU's caches into a mapped file as large as the pool, with "
        "a\n"
        "             checksum (XXH3) of the block and a fence\n"
        "  flush      a store to a random block, its line written back (with the instruction that\n"
        "             the pool uses: clwb, or an older one), and a fence\n"
        "  SQLite get a mapped file, locked once: an open blob handle is moved and read; half as\n"
        "             many blocks, too\n"
        "Fills go into a full pool, and the lookups that lead to them are not timed, but in the\n"
        "latencies. A bracket is begin and end around one cached block. Of the latencies,\n"
        "flush_fence and nt_xxh3_fence are the rivals of bracket and fill.\n"
        "\n"
        "A limit is a goal of the project. MISSED says that it is not reached here; nothing is\n"
        "wrong with the machine. Less is better, but in rows with _speedup_ or two_threads.\n"
        "\n"
        "Rows for --only: hit_vs_chain read_many_vs_chain16 absent_vs_two_lines hit_vs_memcpy\n"
        "hit_speedup_vs_pread hit_speedup_vs_lmdb hit_speedup_vs_sqlite scattered_vs_hit\n"
        "buffered_vs_hit read_many_vs_memcpy hit_128k_vs_memcpy pin_vs_hit shared_vs_hit\n"
        "sealed_vs_hit encrypted_vs_hit absent_vs_hit fill_vs_nt fill_128k_vs_nt\n"
        "fill_speedup_vs_lmdb two_threads_random two_threads_hot readers_beside_filler\n"
        "invalidate_block_fences invalidate_file_us open_1tib_vs_1gib,\n"
        "and what has no limit: footprints threads index latency.\n"
        "\n"
        "Examples:\n"
        "  cachemax bench\n"
        "  cachemax bench --only hit_vs_memcpy,absent_vs_hit --rounds 501\n"
        "  cachemax bench --json | jq .ratios\n",
    .options = bench_options,
    .noptions = BENCH_OPTIONS,
    .run = run_bench,
};
