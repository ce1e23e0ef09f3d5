/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fstab.c - what mount(8) and fstab(5) give: the command line of a mount helper, and the options
 *           that all file systems have.
 *
 * mount(8) runs /sbin/mount.TYPE. This program is the helper if its name begins with "mount.": the
 * names mount.fuse.cachemax and mount.cachemax are links to it. An option that says how the mount
 * behaves is kept as a flag of statvfs(3). Options that only mount(8), systemd or other programs
 * use are accepted.
 *
 * Who: options.c, main.c, and those that open files of the origin. No state.
 */
#include "mount.h"
#include "relief.h"

#include <getopt.h>
#include <stdio.h>
#include <sys/statvfs.h>

/* mount(8)'s own statuses: wrong usage, and a mount that failed. */
enum { HELPER_USAGE = 1, HELPER_FAILED = 32 };

#define OF_USERS (ST_NOSUID | ST_NODEV | ST_NOEXEC)

static const struct {
    const char *name;
    unsigned long set, clear;
    bool value; /* it may have one */
} known[] = {
    { "defaults", 0, 0, false },
    { "suid", 0, ST_NOSUID, false },
    { "nosuid", ST_NOSUID, 0, false },
    { "dev", 0, ST_NODEV, false },
    { "nodev", ST_NODEV, 0, false },
    { "exec", 0, ST_NOEXEC, false },
    { "noexec", ST_NOEXEC, 0, false },
    { "async", 0, ST_SYNCHRONOUS, false },
    { "sync", ST_SYNCHRONOUS, 0, false },
    { "dirsync", 0, 0, false },
    { "atime", 0, ST_NOATIME, false },
    { "noatime", ST_NOATIME, 0, false },
    { "diratime", 0, ST_NODIRATIME, false },
    { "nodiratime", ST_NODIRATIME, 0, false },
    { "relatime", 0, ST_NOATIME, false },
    { "norelatime", 0, 0, false },
    { "strictatime", 0, ST_NOATIME | ST_NODIRATIME, false },
    { "nostrictatime", 0, 0, false },
    { "lazytime", 0, 0, false },
    { "nolazytime", 0, 0, false },
    /* Who may mount is mount(8)'s matter. The flags are those of mount(8). */
    { "user", OF_USERS, 0, true },
    { "nouser", 0, 0, false },
    { "users", OF_USERS, 0, false },
    { "nousers", 0, 0, false },
    { "owner", ST_NOSUID | ST_NODEV, 0, false },
    { "noowner", 0, 0, false },
    { "group", ST_NOSUID | ST_NODEV, 0, false },
    { "nogroup", 0, 0, false },
    { "auto", 0, 0, false },
    { "noauto", 0, 0, false },
    { "fail", 0, 0, false },
    { "nofail", 0, 0, false },
    { "_netdev", 0, 0, false },
    /* The kernel ignores these on FUSE, and mand everywhere since Linux 5.15. */
    { "iversion", 0, 0, false },
    { "noiversion", 0, 0, false },
    { "mand", 0, 0, false },
    { "nomand", 0, 0, false },
    { "symfollow", 0, 0, false },
    { "silent", 0, 0, false },
    { "loud", 0, 0, false },
    { "comment", 0, 0, true },
    { "uhelper", 0, 0, true },
    { "helper", 0, 0, true },
};

/* Who gives these relies on them, and the mount cannot keep to them. */
static bool is_refused(const char *key)
{
    static const char *const names[] = { "nosymfollow", "context", "fscontext", "defcontext",
                                         "rootcontext" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(key, names[i]))
            return true;
    return false;
}

enum taken fstab_take(const char *key, const char *value, struct options *o)
{
    if (is_refused(key))
        return NOT_KEPT;
    if (!strncmp(key, "x-", 2) || !strncmp(key, "X-", 2))
        return TAKEN;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(key, known[i].name))
            continue;
        if (value && !known[i].value)
            return NEEDS_NO_VALUE;
        o->flags = (o->flags & ~known[i].clear) | known[i].set;
        if (!strcmp(key, "dirsync") || !strcmp(key, "sync") || !strcmp(key, "async"))
            o->dirsync = key[0] != 'a';
        return TAKEN;
    }
    return NOT_TAKEN;
}

int fstab_open(int fd, int flags)
{
    const unsigned long quiet = ST_NOATIME | (flags & O_DIRECTORY ? ST_NODIRATIME : 0);
    int got = -1;

    if ((flags & O_ACCMODE) != O_RDONLY && mnt.opt.flags & ST_SYNCHRONOUS)
        flags |= O_SYNC;
    if (mnt.opt.flags & quiet)
        got = open(procpath(fd).s, flags | O_NOATIME);
    /* EPERM: an ordinary user's mount may not do that with files of others. */
    if (!(mnt.opt.flags & quiet) || (got < 0 && errno == EPERM))
        got = open(procpath(fd).s, flags);
    return got;
}

int fstab_sync_names(int dirfd)
{
    int fd, err;

    if (!mnt.opt.dirsync)
        return 0;
    fd = relief_open(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err = fd < 0 || fsync(fd) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    (void)relief_reserve(); /* its place: what was made may need it */
    return err;
}

bool fstab_is_helper(const char *argv0)
{
    const char *name = argv0 ? strrchr(argv0, '/') : NULL;

    name = name ? name + 1 : argv0;
    return name && !strncmp(name, "mount.", 6);
}

int fstab_status(int status)
{
    return status == EXIT_OK ? 0 : status == EXIT_USAGE ? HELPER_USAGE : HELPER_FAILED;
}

static int usage_error(const char *why, const char *what)
{
    fprintf(
        stderr,
        "cachemax-mount: %s%s\n"
        "usage: mount.fuse.cachemax POOL|SOCKET DIR [-sfnv] [-o OPTION[,OPTION...]] [-t TYPE]\n",
        why, what);
    return EXIT_USAGE;
}

/* `c`: what getopt_long() has returned, for the word before argv[optind] or a letter in it. */
static int wrong_option(int c, char *const *argv)
{
    /* "--help=x" has the letter of --help. */
    const bool is_word = optopt == 0 || optopt == 'h' || optopt == 'V';
    const char letter[] = { '-', (char)optopt, '\0' };

    return usage_error(c == ':' ? "a value is missing after " : "unknown option ",
                       is_word ? argv[optind - 1] : letter);
}

static int parse_switch(int c, char *const *argv, struct options *o, bool *fake)
{
    switch (c) {
    case 'o':
        return options_take_list(optarg, o);
    case 't':
        if (strcmp(optarg, "fuse.cachemax") && strcmp(optarg, "cachemax"))
            return usage_error("this is the helper of fuse.cachemax and of cachemax, not of ",
                               optarg);
        return 0;
    case 's':
        o->sloppy = true;
        return 0;
    case 'f':
        *fake = true;
        return 0;
    case 'n': /* there is no mtab */
    case 'v':
        return 0;
    case 'h':
    case 'V':
        return options_answer(c);
    default:
        return wrong_option(c, argv);
    }
}

/* The source is the pool, or the socket of a service. If an option names that, the source may be
 * "none" or the directory, too. 0 or an exit status. */
static int take_source(struct options *o)
{
    const char *const dir = o->place[0].path;
    char why[512];
    struct stat st, at;

    if (o->pool || o->service)
        return 0; /* place.c looks whether the source fits */
    if (!strcmp(o->source, "none"))
        return usage_error("no pool given: the source, -o pool=POOL, or -o service=SOCKET", "");
    if (stat(o->source, &st) < 0)
        st.st_mode = 0;
    if (S_ISDIR(st.st_mode) && stat(dir, &at) == 0 && !S_ISDIR(at.st_mode)) {
        snprintf(why, sizeof(why),
                 "'mount -t fuse.cachemax %s %s': the pool stands before the directory", dir,
                 o->source);
        return usage_error("write ", why);
    }
    if (S_ISDIR(st.st_mode))
        return usage_error("no pool given: the source is a directory: name the pool in its place, "
                           "or with -o pool=POOL: ",
                           o->source);
    if (S_ISSOCK(st.st_mode))
        o->service = strdup(o->source);
    else
        o->pool = strdup(o->source);
    return o->pool || o->service ? 0 : EXIT_RUNTIME;
}

int fstab_parse(int argc, char **argv, struct options *o)
{
    static const struct option words[] = { { "help", no_argument, NULL, 'h' },
                                           { "version", no_argument, NULL, 'V' },
                                           { NULL, 0, NULL, 0 } };
    bool fake = false, sloppy = false;
    int c, rc = 0;

    o->helper = true;
    opterr = 0;
    /* -s counts wherever it stands. "-": this pass leaves the words in their order. Else an option
     * without its value would come before the source, and the source would be its value. */
    while ((c = getopt_long(argc, argv, "-:sfnvo:t:hV", words, NULL)) != -1)
        sloppy = sloppy || c == 's';
    o->sloppy = sloppy;
    optind = 0;
    while (!rc && (c = getopt_long(argc, argv, ":sfnvo:t:hV", words, NULL)) != -1)
        rc = parse_switch(c, argv, o, &fake);
    if (rc)
        return rc;
    if (argc - optind != 2)
        return usage_error("a source and a directory are needed", "");
    o->source = strdup(argv[optind]);
    if (!o->source)
        return EXIT_RUNTIME;
    rc = options_take_dir(argv[optind + 1], o);
    if (!rc)
        rc = take_source(o);
    if (rc)
        return rc;
    rc = options_complete(o);
    return rc ? rc : fake ? -1 : 0;
}
