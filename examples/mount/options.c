/* SPDX-License-Identifier: BSD-2-Clause
 *
 * options.c - the command line of cachemax-mount.
 *
 * Owns the option table, --help and the suggestion for a mistyped option. Called once by main.
 */
#include "mount.h"

#include <stdio.h>

static const char help[] =
    "usage: cachemax-mount DIR... --pool POOL | --service SOCKET [-f] [-o OPTION[,OPTION...]]\n"
    "\n"
    "Mounts a read cache over the directory DIR. Everything in DIR stays where it is and is\n"
    "served under the same path. POOL keeps the blocks that are read; 'cachemax create' makes it.\n"
    "Several DIRs share the pool and the process; that needs root. None may lie inside another.\n"
    "'mount -t fuse.cachemax POOL DIR' does the same, and so does a line of fstab.\n"
    "Unmount with 'fusermount3 -u DIR' or SIGTERM. The cache never holds the only copy of a file.\n"
    "\n"
    "  --pool POOL          pool file; must not lie inside DIR\n"
    "  --service SOCKET     use the pool of the cachemax-service that listens there, or will\n"
    "  --one-file-system    show directories on other devices than DIR's as empty; they cannot\n"
    "                       be written into (like rsync -x)\n"
    "  --volume-id NAME     name of the volume DIR is on, if the system cannot tell it from\n"
    "                       others, or names it differently each time: FUSE, network, copied\n"
    "                       disks\n"
    "  --include PATTERN    cache only files that match it, or another --include. A pattern "
    "without\n"
    "                       a slash means files and directories of that name; one with a slash,\n"
    "                       what lies at that path below DIR. * is any part of a name. This and\n"
    "                       the next options may be given several times\n"
    "  --exclude PATTERN    do not cache files that match it, whatever is included\n"
    "  --exclude-owner USER do not cache files of that user\n"
    "  --advise PATTERN=ADVICE\n"
    "                       how such files are read: sequential (reads ahead further), noreuse\n"
    "                       (nothing new of them is stored), keep (they stay longer)\n"
    "  --max-file-size SIZE do not cache files that are larger: bytes, or with K, M, G, T\n"
    "  --quota PATH=SIZE    the files below the directory PATH of DIR take at most so much of the\n"
    "                       pool: bytes, or with K, M, G, T, or a part of it, such as 10%. PATH\n"
    "                       is below DIR also if it begins with a slash\n"
    "  --coherence LEVEL    who else writes the files, and how soon that is seen: local (default:\n"
    "                       nobody does), close-to-open (a new open sees it at once, the rest\n"
    "                       about once per attr_timeout), strict (each read sees it)\n"
    "  --trust-times SECS   the times of a server below DIR show each change by others: its files\n"
    "                       stay cached. SECS is more than 1 s, the difference of any two clocks\n"
    "                       and the longest write together; 10 is a careful choice\n"
    "  --paranoid           compare everything that comes from the cache with the files: slow. "
    "The\n"
    "                       first difference is logged, and ends the use of the cache\n"
    "  -f                   stay in the foreground, log to stderr\n"
    "  -h, --help           this text\n"
    "  -V, --version        version of the program and of the library\n"
    "\n"
    "  -o pool=POOL, -o service=SOCKET, -o exclude=PATTERN and so on\n"
    "                       as the options above; \\, is a comma in a name\n"
    "  -o ro                mount read-only\n"
    "  -o nosuid, nodev, noexec, noatime, nodiratime, sync, dirsync\n"
    "                       as mount(8) has them; its other options are accepted, but not\n"
    "                       remount, nosymfollow and context=\n"
    "  -o entry_timeout=S   seconds the kernel remembers names (10; close-to-open: 1; strict: 0)\n"
    "  -o attr_timeout=S    seconds the kernel remembers attributes (the same)\n"
    "  -o verify=WHEN       checksum hits: first (default), always, never\n"
    "  -o probation=MIB     memory where new blocks wait; a full pool mostly stores those that\n"
    "                       had two hits there: 0 (none) to 1048576 (1 % of the pool, at most "
    "256)\n"
    "  -o fill_rate=SIZE    store at most so many bytes a second in the pool: saves its drive\n"
    "  -o drive_writes=N    store at most N times the pool's size a day\n"
    "  -o policy=NAME       which blocks stay: auto (default), s3r, gclock\n"
    "  -o key_file=FILE     the key of a sealed pool (cachemax create --key-file)\n"
    "  -o writeback         the kernel may hold writes back until fsync or close: fast small\n"
    "                       writes. If the mount is killed before that, they are lost\n"
    "  -o any_owner         accept a pool, or a directory of SOCKET, that others own or may "
    "write:\n"
    "                       they decide what is read\n"
    "  -o max_background=N  requests the kernel sends ahead, 1 to 65535 (64)\n"
    "  -o loops=N           1 to 64 threads that answer hits (one CPU: 1, up to 7: 2, else 4)\n"
    "  -o io_uring=WHEN     requests come by io_uring: off (default), or auto: if the kernel\n"
    "                       allows it (module parameter fuse.enable_uring)\n"
    "  -o allow_other, -o default_permissions\n"
    "                       accepted; used anyway wherever they are permitted\n"
    "\n"
    "Exit status:\n"
    "  0  mounted (with -f: unmounted, pool clean)\n"
    "  1  runtime error\n"
    "  2  wrong usage\n"
    "  3  the pool could not be opened or not be closed cleanly; or the service could not be told\n"
    "     what it must forget\n"
    "  4  data that programs stored in mappings, or that the kernel held back (-o writeback),\n"
    "     could not be written to its file, or was lost and no program was told; the log names it\n"
    "  5  --paranoid found wrong bytes in the cache; no program got them\n";

static const char *const names[] = {
    "ro",           "rw",          "coherence",     "entry_timeout",
    "verify",       "probation",   "attr_timeout",  "max_background",
    "loops",        "any_owner",   "allow_other",   "default_permissions",
    "pool",         "service",     "volume-id",     "one-file-system",
    "include",      "exclude",     "exclude-owner", "max-file-size",
    "quota",        "advise",      "policy",        "fill_rate",
    "drive_writes", "trust-times", "writeback",     "io_uring",
    "key_file",     "paranoid"
};
static const char *const switches[] = { "--pool",
                                        "--service",
                                        "--one-file-system",
                                        "--volume-id",
                                        "--coherence",
                                        "--trust-times",
                                        "--paranoid",
                                        "--help",
                                        "--version",
                                        "--advise",
                                        "--quota",
                                        "--include",
                                        "--exclude",
                                        "--exclude-owner",
                                        "--max-file-size",
                                        "-f",
                                        "-o",
                                        "-h",
                                        "-V" };

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance. A word longer than 31 bytes is far from every other word. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[32];

    if (n > 31 || m > 31)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t up = row[j];
            row[j] = min3(up + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = up;
        }
    }
    return row[m];
}

/* Distance from what was typed. A correct beginning of a name, if it is long enough, counts as one
 * edit. */
static size_t edits(const char *word, const char *name)
{
    size_t n = strlen(word);

    return n > 3 && !strncmp(word, name, n) ? 1 : distance(word, name);
}

static int unknown(const char *what, const char *typed, const char *const *list, size_t n)
{
    const char *best = list[0];
    char word[64], near[64] = "";

    snprintf(word, sizeof(word), "%.*s", (int)strcspn(typed, "="), typed);
    for (size_t i = 1; i < n; i++)
        if (edits(word, list[i]) < edits(word, best))
            best = list[i];
    if (edits(word, best) <= strlen(word) / 3)
        snprintf(near, sizeof(near), "; did you mean '%s'?", best);
    say(CM_LOG_ERROR, "unknown %s '%s'%s (--help lists all)", what, typed, near);
    return EXIT_USAGE;
}

/* "--key-file" is an option of -o, with another spelling. */
static int unknown_switch(const char *typed)
{
    const size_t length = strcspn(typed, "=");
    char word[64] = "";

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        if (strlen(switches[i]) != length || strncmp(typed, switches[i], length) != 0)
            continue;
        say(CM_LOG_ERROR, "option '%s': %s takes no value", typed, switches[i]);
        return EXIT_USAGE;
    }
    if (typed[1] == '-')
        snprintf(word, sizeof(word), "%.*s", (int)strcspn(typed + 2, "="), typed + 2);
    for (char *c = word; *c; c++)
        *c = *c == '-' ? '_' : *c;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(word, names[i]) != 0)
            continue;
        char as[72];
        snprintf(as, sizeof(as), "-o %s", word);
        const char *known = strstr(help, as); /* there its value has a name */
        if (!known)
            known = as;
        say(CM_LOG_ERROR, "unknown option '%s'; write it as %.*s (--help lists all)", typed,
            (int)strcspn(known + 3, " ,\n") + 3, known);
        return EXIT_USAGE;
    }
    return unknown("option", typed, switches, sizeof(switches) / sizeof(switches[0]));
}

static int bad_value(const char *key, const char *value, const char *want)
{
    say(CM_LOG_ERROR, "-o %s=%s: expected %s", key, value ? value : "", want);
    return EXIT_USAGE;
}

static int parse_seconds(const char *key, const char *value, double *out)
{
    char *end = NULL;
    double d = value ? strtod(value, &end) : -1;

    if (!value || end == value || *end || !(d >= 0 && d <= 1e9))
        return bad_value(key, value, "a number of seconds");
    *out = d;
    return 0;
}

static int parse_count(const char *key, const char *value, unsigned min, unsigned max,
                       unsigned *out)
{
    char *end = NULL;
    unsigned long n = value ? strtoul(value, &end, 10) : 0;

    if (!value || end == value || *end || value[0] == '-' || n < min || n > max) {
        char want[48];
        snprintf(want, sizeof(want), "a number from %u to %u", min, max);
        return bad_value(key, value, want);
    }
    *out = (unsigned)n;
    return 0;
}

static int parse_mib(const char *key, const char *value, uint64_t *bytes)
{
    unsigned n = 0;

    if (parse_count(key, value, 0, 1u << 20, &n))
        return EXIT_USAGE;
    *bytes = (uint64_t)n << 20;
    return 0;
}

/* 0 MiB: no buffer. */
static int parse_probation(const char *key, const char *value, uint64_t *bytes)
{
    const int rc = parse_mib(key, value, bytes);

    if (*bytes == 0)
        *bytes = CM_PROBATION_NONE;
    return rc;
}

static int parse_verify(const char *value, unsigned *out)
{
    static const struct {
        const char *word;
        unsigned v;
    } words[] = { { "first", CM_VERIFY_FIRST_HIT },
                  { "always", CM_VERIFY_ALWAYS },
                  { "never", CM_VERIFY_NEVER } };

    for (size_t i = 0; value && i < sizeof(words) / sizeof(words[0]); i++)
        if (!strcmp(value, words[i].word)) {
            *out = words[i].v;
            return 0;
        }
    return bad_value("verify", value, "first, always or never");
}

static int usage_error(const char *why)
{
    say(CM_LOG_ERROR, "%s", why);
    fprintf(stderr, "%.*s", (int)(strchr(help, '\n') - help + 1), help);
    return EXIT_USAGE;
}

static int no_memory(void)
{
    say(CM_LOG_ERROR, "out of memory");
    return EXIT_RUNTIME;
}

/* `what`: "OPTION needs ...". mount(8) gives the options of fstab before those of its command line,
 * so there the last one counts. */
static int take_text(struct options *o, char **to, const char *value, const char *what)
{
    char why[80];

    if (*to && !o->helper) {
        snprintf(why, sizeof(why), "option '%.*s' is there twice, and takes one value",
                 (int)(strstr(what, " needs") - what), what);
        return usage_error(why);
    }
    free(*to);
    *to = NULL;
    if (!value || !*value)
        return usage_error(what);
    *to = strdup(value);
    return *to ? 0 : no_memory();
}

static int parse_coherence(const char *value, enum coherence *out)
{
    static const char *const words[] = { "local", "close-to-open", "strict" };

    for (int i = 0; value && i < 3; i++)
        if (!strcmp(value, words[i])) {
            *out = (enum coherence)i;
            return 0;
        }
    return bad_value("coherence", value, "local, close-to-open or strict");
}

/* Below 2 s, whole seconds would hide a change. */
static int parse_trust(const char *value, double *out)
{
    char *end = NULL;
    const double d = value ? strtod(value, &end) : -1;

    if (!value || end == value || *end || !(d >= 2 && d <= 3600))
        return bad_value("trust-times", value, "2 to 3600 seconds");
    *out = d;
    return 0;
}

/* What is a switch, too. -1: it is none of them. */
static int parse_switch_o(const char *key, const char *value, struct options *o)
{
    if (!strcmp(key, "pool"))
        return take_text(o, &o->pool, value, "-o pool needs a file name");
    if (!strcmp(key, "service"))
        return take_text(o, &o->service, value, "-o service needs the name of a socket");
    if (!strcmp(key, "volume-id"))
        return take_text(o, &o->volume_id, value, "-o volume-id needs a name");
    if (!strcmp(key, "coherence"))
        return parse_coherence(value, &o->coherence);
    if (!strcmp(key, "trust-times"))
        return parse_trust(value, &o->trust_times);
    if (strcmp(key, "one-file-system") && strcmp(key, "paranoid"))
        return rules_has(key) ? rules_take(key, value, &o->rules) : -1;
    *(key[0] == 'p' ? &o->paranoid : &o->one_file_system) = true;
    return value ? bad_value(key, value, "no value") : 0;
}

/* One of mount(8), or none. */
static int parse_fstab_o(const char *key, const char *value, struct options *o)
{
    const enum taken taken = fstab_take(key, value, o);

    if (taken == NEEDS_NO_VALUE)
        return bad_value(key, value, "no value");
    if (taken == NOT_KEPT && !o->sloppy) {
        say(CM_LOG_ERROR, "-o %s: is refused, because the mount could not keep to it", key);
        return EXIT_USAGE;
    }
    if (!strcmp(key, "remount")) {
        fprintf(
            stderr,
            "cachemax-mount: -o remount: the options of a running mount cannot be changed; "
            "unmount it and mount it again (mount -o remount,bind,ro DIR makes it read-only)\n");
        return EXIT_USAGE;
    }
    return taken == TAKEN || o->sloppy
               ? 0
               : unknown("option -o", key, names, sizeof(names) / sizeof(names[0]));
}

static int parse_policy(const char *value, unsigned *out)
{
    const char *name;

    for (int k = 0; value && (name = cm_policy_name(k)); k++)
        if (!strcmp(value, name)) {
            *out = (unsigned)k;
            return 0;
        }
    return bad_value("policy", value, "auto, s3r or gclock");
}

static int parse_drive_writes(const char *value, double *out)
{
    char *end = NULL;
    const double d = value ? strtod(value, &end) : -1;

    if (!value || end == value || *end || !(d > 0 && d <= 1e6))
        return bad_value("drive_writes", value, "a number of drive writes a day");
    *out = d;
    return 0;
}

static int parse_ring(const char *value, bool *ring)
{
    *ring = value && !strcmp(value, "auto");
    return *ring || (value && !strcmp(value, "off")) ? 0
                                                     : bad_value("io_uring", value, "auto or off");
}

/* Its path from the root: the process that reads it has another working directory. */
static int parse_key(const char *value, struct options *o)
{
    const int rc = take_text(o, &o->key_file, value, "-o key_file needs the name of a file");
    char *const real = rc || value[0] == '/' ? NULL : realpath(value, NULL);

    if (real) { /* else it is missing, which the open says */
        free(o->key_file);
        o->key_file = real;
    }
    return rc;
}

/* Options of a pool that this process opens. -1: it is none of them. */
static int parse_pool_o(const char *key, const char *value, struct options *o)
{
    static const char *const keys[] = { "-o probation",    "-o verify",    "-o policy",
                                        "-o drive_writes", "-o fill_rate", "-o key_file" };
    int rc = -1;

    if (!strcmp(key, "probation"))
        rc = parse_probation(key, value, &o->probation_bytes);
    else if (!strcmp(key, "verify"))
        rc = parse_verify(value, &o->verify);
    else if (!strcmp(key, "policy"))
        rc = parse_policy(value, &o->policy);
    else if (!strcmp(key, "drive_writes"))
        rc = parse_drive_writes(value, &o->drive_writes);
    else if (!strcmp(key, "fill_rate"))
        rc = value && rules_size(value, &o->fill_rate)
                 ? 0
                 : bad_value(key, value, "a rate, such as 20M: " RULES_SIZES);
    else if (!strcmp(key, "key_file"))
        rc = parse_key(value, o);
    for (size_t i = 0; rc >= 0 && i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!strcmp(key, keys[i] + strlen("-o ")))
            o->of_pool = keys[i];
    return rc;
}

static int parse_o(char *key, struct options *o)
{
    char *value = strchr(key, '=');
    int rc;

    if (value)
        *value++ = '\0';
    rc = parse_switch_o(key, value, o);
    if (rc >= 0)
        return rc;
    if (!strcmp(key, "entry_timeout"))
        return parse_seconds(key, value, &o->entry_timeout);
    if (!strcmp(key, "attr_timeout"))
        return parse_seconds(key, value, &o->attr_timeout);
    if (!strcmp(key, "max_background"))
        return parse_count(key, value, 1, 65535, &o->max_background);
    if (!strcmp(key, "loops"))
        return parse_count(key, value, 1, 64, &o->loops);
    if (!strcmp(key, "io_uring"))
        return parse_ring(value, &o->ring);
    rc = parse_pool_o(key, value, o);
    if (rc >= 0)
        return rc;
    if (value && !(strcmp(key, "ro") && strcmp(key, "rw") && strcmp(key, "any_owner") &&
                   strcmp(key, "writeback") && strcmp(key, "allow_other") &&
                   strcmp(key, "default_permissions")))
        return bad_value(key, value, "no value");
    if (!strcmp(key, "ro") || !strcmp(key, "rw"))
        o->ro = key[1] == 'o';
    else if (!strcmp(key, "any_owner"))
        o->any_owner = true;
    else if (!strcmp(key, "writeback"))
        o->writeback = true;
    else if (strcmp(key, "allow_other") && strcmp(key, "default_permissions"))
        return parse_fstab_o(key, value, o);
    return 0;
}

/* Ends the option at `s` and returns the next one. A comma or a backslash after a backslash is part
 * of the option, as in libfuse and mount(8). */
static char *cut_option(char *s)
{
    char *w = s;

    for (; *s && *s != ','; s++) {
        if (s[0] == '\\' && (s[1] == ',' || s[1] == '\\'))
            s++;
        *w++ = *s;
    }
    s += *s == ',';
    *w = '\0';
    return s;
}

int options_take_list(const char *list, struct options *o)
{
    char *copy = strdup(list), *next;
    int rc = copy ? 0 : no_memory();

    for (char *k = copy; k && *k && !rc; k = next) {
        next = cut_option(k);
        rc = *k ? parse_o(k, o) : 0;
    }
    free(copy);
    return rc;
}

/* The argument of an option: glued on, or the next word. */
static const char *argument(const char *glued, int argc, char **argv, int *i)
{
    if (*glued)
        return glued;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

/* -1: the answer is on standard output. */
static int printed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return -1;
    say(CM_LOG_ERROR, "standard output: cannot be written");
    return EXIT_RUNTIME;
}

int options_answer(int letter)
{
    if (letter == 'h')
        fputs(help, stdout);
    else
        printf("cachemax-mount %d.%d.%d, libcachemax %s, libfuse %s\n", CM_VERSION_MAJOR,
               CM_VERSION_MINOR, CM_VERSION_PATCH, cm_version(), fuse_pkgversion());
    return printed();
}

int options_take_dir(const char *dir, struct options *o)
{
    struct place *more;

    if (!*dir)
        return usage_error("the directory's name is empty");
    more = realloc(o->place, (o->places + 1) * sizeof(*more));
    if (!more)
        return no_memory();
    o->place = more;
    more[o->places] = (struct place){ .path = strdup(dir), .fd = -1 };
    return more[o->places++].path ? 0 : no_memory();
}

/* --NAME VALUE or --NAME=VALUE of a rule. -1: it is none. */
static int parse_rule(int argc, char **argv, int *i, struct options *o)
{
    const char *word = argv[*i] + 2, *equals = strchr(word, '=');
    char name[32];

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    if (strncmp(argv[*i], "--", 2) || !rules_has(name))
        return -1;
    return rules_take(name, equals ? equals + 1 : argument("", argc, argv, i), &o->rules);
}

static int parse_word(int argc, char **argv, int *i, struct options *o)
{
    const char *a = argv[*i], *v;
    int rc;

    if (!strcmp(a, "-h") || !strcmp(a, "--help"))
        return options_answer('h');
    if (!strcmp(a, "-V") || !strcmp(a, "--version"))
        return options_answer('V');
    if (!strcmp(a, "-f")) {
        o->foreground = true;
        return 0;
    }
    if (!strcmp(a, "--one-file-system") || !strcmp(a, "--paranoid")) {
        *(a[2] == 'p' ? &o->paranoid : &o->one_file_system) = true;
        return 0;
    }
    if (!strncmp(a, "-o", 2)) {
        v = argument(a + 2, argc, argv, i);
        return v ? options_take_list(v, o) : usage_error("-o needs an option");
    }
    if (!strcmp(a, "--pool") || !strncmp(a, "--pool=", 7)) {
        v = a[6] ? a + 7 : argument("", argc, argv, i);
        return take_text(o, &o->pool, v, "--pool needs a file name");
    }
    if (!strcmp(a, "--service") || !strncmp(a, "--service=", 10)) {
        v = a[9] ? a + 10 : argument("", argc, argv, i);
        return take_text(o, &o->service, v, "--service needs the name of a socket");
    }
    if (!strcmp(a, "--volume-id") || !strncmp(a, "--volume-id=", 12)) {
        v = a[11] ? a + 12 : argument("", argc, argv, i);
        return take_text(o, &o->volume_id, v, "--volume-id needs a name");
    }
    if (!strcmp(a, "--coherence") || !strncmp(a, "--coherence=", 12))
        return parse_coherence(a[11] ? a + 12 : argument("", argc, argv, i), &o->coherence);
    if (!strcmp(a, "--trust-times") || !strncmp(a, "--trust-times=", 14))
        return parse_trust(a[13] ? a + 14 : argument("", argc, argv, i), &o->trust_times);
    rc = parse_rule(argc, argv, i, o);
    if (rc >= 0)
        return rc;
    if (a[0] == '-' && a[1])
        return unknown_switch(a);
    return options_take_dir(a, o);
}

/* With two loops one is mostly awake and on the CPU next to the reader. Measured on two CPUs
 * against one loop: 4 KiB hits of one reader double, those of two readers triple. More loops than
 * CPUs only compete. */
static unsigned default_loops(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 2 ? 1 : n < 8 ? 2 : 4;
}

/* How long the kernel remembers names and attributes. With `strict` not at all. */
static int complete_timeouts(struct options *o)
{
    static const double seconds[] = {
        [COHERENCE_LOCAL] = 10, [COHERENCE_CLOSE_TO_OPEN] = 1, [COHERENCE_STRICT] = 0
    };

    if (o->coherence == COHERENCE_STRICT && (o->entry_timeout > 0 || o->attr_timeout > 0))
        return usage_error("--coherence=strict has no time-outs: leave out entry_timeout and "
                           "attr_timeout");
    if (o->entry_timeout < 0)
        o->entry_timeout = seconds[o->coherence];
    if (o->attr_timeout < 0)
        o->attr_timeout = seconds[o->coherence];
    return 0;
}

int options_complete(struct options *o)
{
    if (o->pool && o->service)
        return usage_error("--pool and --service exclude each other");
    if (o->service && (o->of_pool || o->rules.advised || o->rules.quotas.n)) {
        char why[160];

        snprintf(why, sizeof(why),
                 "%s needs --pool: with --service the pool is the service's; leave it out",
                 o->of_pool         ? o->of_pool
                 : o->rules.advised ? "--advise"
                                    : "--quota");
        return usage_error(why);
    }
    if (o->trust_times > 0 && o->coherence == COHERENCE_LOCAL)
        return usage_error("--trust-times needs --coherence=close-to-open or strict: with local "
                           "nobody else writes");
    if (o->writeback && o->coherence != COHERENCE_LOCAL)
        return usage_error("-o writeback needs --coherence=local: the kernel would write old data "
                           "over what others have written");
    if (o->writeback && (o->flags & ST_SYNCHRONOUS))
        return usage_error("-o writeback and -o sync exclude each other");
    if (!o->loops)
        o->loops = default_loops();
    return complete_timeouts(o);
}

/* "DIR POOL" and "POOL DIR": what is no directory is meant to be the pool, or a socket. */
static int no_pool(const struct options *o)
{
    const char *dir = "DIR", *named = NULL;
    char why[512];
    struct stat st;

    for (unsigned k = 0; k < o->places; k++) {
        const char *const path = o->place[k].path;

        if (stat(path, &st) < 0 || S_ISDIR(st.st_mode))
            dir = path;
        else
            named = path;
    }
    if (!named)
        return usage_error("no pool given (--pool POOL, or --service SOCKET)");
    if (stat(named, &st) == 0 && S_ISSOCK(st.st_mode))
        snprintf(why, sizeof(why),
                 "no pool given; is %s the socket of a service? write 'cachemax-mount %s --service "
                 "%s'",
                 named, dir, named);
    else
        snprintf(why, sizeof(why),
                 "no pool given; is %s the pool? write 'cachemax-mount %s --pool "
                 "%s'",
                 named, dir, named);
    return usage_error(why);
}

int options_parse(int argc, char **argv, struct options *o)
{
    bool switches_end = false;

    *o = (struct options){ .entry_timeout = -1, .attr_timeout = -1, .max_background = 64 };
    if (fstab_is_helper(argv[0]))
        return fstab_parse(argc, argv, o);
    for (int i = 1, rc; i < argc; i++) {
        if (!switches_end && !strcmp(argv[i], "--")) {
            switches_end = true;
            continue;
        }
        rc = switches_end ? options_take_dir(argv[i], o) : parse_word(argc, argv, &i, o);
        if (rc)
            return rc;
    }
    if (!o->places)
        return usage_error("no directory given");
    if (!o->pool && !o->service)
        return no_pool(o);
    return options_complete(o);
}
