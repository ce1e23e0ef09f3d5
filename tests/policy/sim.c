/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sim.c - replays block traces against replacement policies.
 *
 * Owns: the command line and the runs; report of each run on standard output.
 *
 * usage: see below. A policy may be followed by settings: s3r:buffer=10:earn=1
 */
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "replay.h"

#define MAX 32u

struct chosen {
    const struct policy *policy;
    const char *name;
    struct s3r_setting setting;
};

static struct {
    struct chosen policy[MAX];
    unsigned policies;
    double size[MAX]; /* below 1: a share of the blocks that are read; else slots */
    unsigned sizes;
    bool writes, json;
    enum restart restart;
    bool curve;
    unsigned rows;
} o = { .size = { 0.001, 0.01, 0.1, 0.3 }, .sizes = 4 };

/* Beside the library's; the one of a name that is here is ours. */
static const struct policy *const known[] = { &policy_lru,   &policy_clock,  &policy_gclock,
                                              &policy_sieve, &policy_s3fifo, &policy_arc };
#define KNOWN (sizeof(known) / sizeof(*known))

static bool is_named(const char *spec, const char *name)
{
    return strcspn(spec, ":") == strlen(name) && strncmp(spec, name, strlen(name)) == 0;
}

/* The name of the i-th policy there is; NULL behind the last one. */
static const char *name_of(size_t i)
{
    return i < KNOWN ? known[i]->name : cm_policy_name((int)(i - KNOWN));
}

static bool is_ours(const char *spec)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (is_named(spec, known[i]->name))
            return true;
    return false;
}

static void print_setting(FILE *out, const char *name, unsigned value, const char *text)
{
    if (value == AS_LIBRARY)
        fprintf(out, "  %-10s %s\n", name, text);
    else
        fprintf(out, "  %-10s %s (%u)\n", name, text, value);
}

static void usage(FILE *out)
{
    fputs("usage: policy-sim [--policies P,...] [--sizes S,...] [--writes] [--restart "
          "clean|crash|cold] [--curve] [--json] TRACE...\n"
          "Sizes below 1 are shares of the blocks that are read. Policies:\n",
          out);
    for (size_t i = 0; i < KNOWN; i++)
        fprintf(out, "  %-8s %s\n", known[i]->name, known[i]->text);
    for (size_t i = KNOWN; name_of(i); i++)
        if (!is_ours(name_of(i)))
            fprintf(out, "  %-8s %s\n", name_of(i), policy_library.text);
    fputs("Settings of the library's, as in s3r:buffer=10:earn=1; shares are in thousandths of the "
          "pool, and\n"
          "where no default is named it is the library's:\n",
          out);
#define X(name, value, text) print_setting(out, #name, value, text);
    S3R_SETTINGS(X)
#undef X
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "policy-sim: %s: %s\n", what, why);
    exit(2);
}

static void set(struct s3r_setting *s, const char *text)
{
    const char *is = strchr(text, '=');
    char *end;
    unsigned long value = is ? strtoul(is + 1, &end, 10) : 0;
    if (!is || end == is + 1 || (*end && *end != ':') || value > 100000)
        fail(text, "not of the form SETTING=NUMBER");
    size_t length = (size_t)(is - text);
#define X(name, standard, text_)                                                                   \
    if (length == strlen(#name) && strncmp(text, #name, length) == 0) {                            \
        s->name = (unsigned)value;                                                                 \
        return;                                                                                    \
    }
    S3R_SETTINGS(X)
#undef X
    fail(text, "no such setting");
}

static void find_policy(struct chosen *c, const char *spec)
{
    size_t i = 0;
    while (name_of(i) && !is_named(spec, name_of(i)))
        i++;
    if (!name_of(i))
        fail(spec, "no such policy");
    c->policy = i < KNOWN ? known[i] : &policy_library;
    c->setting.kind = i < KNOWN ? 0 : (uint32_t)(i - KNOWN);
}

static bool is_automatic(const struct chosen *c)
{
    return c->policy == &policy_library && cm_policy_kind_of(c->setting.kind)->automatic;
}

/* What the library cannot do. */
static void check_settings(const struct chosen *c)
{
    const struct s3r_setting *set = &c->setting;
    if (set->entries == 0 || set->entries > CM_SIM_SLOTS)
        fail(c->name, "a mini-simulation has 1 to 512 slots");
    if (set->recent > RECENT_MAX)
        fail(c->name, "at most 64 blocks are recent ones");
    if (is_automatic(c) &&
        (set->window != 1000 || set->probation != AS_LIBRARY || set->earn != AS_LIBRARY))
        fail(c->name, "auto chooses its rule itself, for a window of the pool's size");
    if (o.curve && set->window != 1000)
        fail(c->name, "the curve is that of a window of the pool's size");
}

static void add_policy(const char *spec)
{
    struct chosen *c = &o.policy[o.policies];
    size_t length = strcspn(spec, ":");
    if (o.policies == MAX)
        fail(spec, "too many policies");
    *c = (struct chosen){ .name = spec,
                          .setting = {
#define X(name, value, text) .name = value,
                              S3R_SETTINGS(X)
#undef X
                          } };
    find_policy(c, spec);
    while (spec[length] == ':') {
        if (c->policy != &policy_library)
            fail(spec, "this policy has no settings");
        set(&c->setting, spec + length + 1);
        length += 1 + strcspn(spec + length + 1, ":");
    }
    o.policies++;
}

static void add_policies(char *list)
{
    for (char *p = strtok(list, ","); p; p = strtok(NULL, ","))
        add_policy(p);
}

static void add_sizes(char *list)
{
    o.sizes = 0;
    for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
        if (o.sizes == MAX || (o.size[o.sizes++] = strtod(p, NULL)) <= 0)
            fail(p, "not a size, or one too many");
    }
}

static void report(const char *trace, const struct trace *t, const struct chosen *c, double size,
                   uint32_t slots, const struct result *r)
{
    uint64_t fills = r->tally.fills;
    if (o.json) {
        printf("%s\n{\"trace\": \"%s\", \"writes\": %s, \"policy\": \"%s\", \"size\": %g, "
               "\"slots\": %u, \"reads\": %zu,"
               " \"hits\": %llu, \"buffer_hits\": %llu, \"fills\": %llu, \"first_fills\": %llu, "
               "\"late_reads\": %llu,"
               " \"late_hits\": %llu}",
               o.rows++ ? "," : "[", trace, o.writes ? "true" : "false", c->name, size, slots,
               t->reads, (unsigned long long)r->hits, (unsigned long long)r->buffer_hits,
               (unsigned long long)fills, (unsigned long long)r->tally.first_fills,
               (unsigned long long)r->late_reads, (unsigned long long)r->late_hits);
        return;
    }
    if (o.rows++ == 0)
        printf("%-16s %-24s %6s %8s %8s %8s %8s %8s\n", "trace", "policy", "size", "slots", "hit %",
               "buffer %", "fills %", "no first");
    double reads = (double)t->reads / 100;
    printf("%-16s %-24s %6g %8u %8.2f %8.2f %8.2f %8.2f\n", trace, c->name, size, slots,
           (double)r->hits / reads, (double)r->buffer_hits / reads, (double)fills / reads,
           (double)(fills - r->tally.first_fills) / reads);
}

static void run_curve(const char *trace, const struct trace *t, const struct chosen *c, double size,
                      uint32_t slots)
{
    struct curve_result r;
    if (c->policy != &policy_library || is_automatic(c))
        fail(c->name, "only a policy of the library with one rule has a curve here");
    if (!replay_curve(t, &c->setting, slots, &r))
        fail(c->name, "not enough memory");
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        double truth = 100 * r.truth[i], estimate = 100 * r.estimate[i];
        if (o.json)
            printf("%s\n{\"trace\": \"%s\", \"policy\": \"%s\", \"size\": %g, \"slots\": %u, "
                   "\"hits\": %.4f,"
                   " \"estimate\": %.4f}",
                   o.rows++ ? "," : "[", trace, c->name, size, r.slots[i], truth, estimate);
        else if (o.rows++ == 0)
            printf("%-16s %-24s %6s %8s %8s %8s %8s\n", "trace", "policy", "size", "slots", "hit %",
                   "estimate", "error");
        if (!o.json)
            printf("%-16s %-24s %6g %8u %8.2f %8.2f %+8.2f\n", trace, c->name, size, r.slots[i],
                   truth, estimate, estimate - truth);
    }
}

static void run_trace(const char *path)
{
    struct trace t;
    struct result r;
    FILE *in = fopen(path, "rb");
    if (!in)
        fail(path, "cannot be opened");
    const char *why = trace_read(&t, in, o.writes), *slash = strrchr(path, '/');
    fclose(in);
    if (why)
        fail(path, why);
    for (unsigned s = 0; s < o.sizes; s++) {
        double slots = o.size[s] < 1 ? o.size[s] * t.read_blocks + 0.5 : o.size[s];
        uint32_t n = slots < 1 ? 1 : (uint32_t)slots;
        for (unsigned i = 0; i < o.policies; i++) {
            if (o.curve) {
                run_curve(slash ? slash + 1 : path, &t, &o.policy[i], o.size[s], n);
                continue;
            }
            if (!replay(&t, o.policy[i].policy, &o.policy[i].setting, n, o.restart, &r))
                fail(o.policy[i].name, "not enough memory");
            report(slash ? slash + 1 : path, &t, &o.policy[i], o.size[s],
                   slots < 1 ? 1 : (uint32_t)slots, &r);
        }
    }
    trace_free(&t);
}

static enum restart restart_of(const char *name)
{
    static const char *const names[] = { "none", "clean", "crash", "cold" };
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(names[i], name) == 0)
            return (enum restart)i;
    fail(name, "no such restart");
    return NO_RESTART;
}

int main(int argc, char **argv)
{
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--writes") == 0)
            o.writes = true;
        else if (strcmp(option, "--curve") == 0)
            o.curve = true;
        else if (strcmp(option, "--json") == 0)
            o.json = true;
        else if (strcmp(option, "--help") == 0)
            return usage(stdout), 0;
        else if (i + 1 == argc)
            return usage(stderr), 2;
        else if (strcmp(option, "--policies") == 0)
            add_policies(argv[++i]);
        else if (strcmp(option, "--sizes") == 0)
            add_sizes(argv[++i]);
        else if (strcmp(option, "--restart") == 0)
            o.restart = restart_of(argv[++i]);
        else
            return usage(stderr), 2;
    }
    if (i == argc)
        return usage(stderr), 2;
    if (o.policies == 0)
        for (size_t k = 0; name_of(k); k++)
            if (k < KNOWN || !is_ours(name_of(k)))
                add_policy(name_of(k));
    for (unsigned k = 0; k < o.policies; k++)
        check_settings(&o.policy[k]);
    while (i < argc)
        run_trace(argv[i++]);
    fputs(o.json ? "\n]\n" : "", stdout);
    return 0;
}
