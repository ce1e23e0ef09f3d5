/* SPDX-License-Identifier: BSD-2-Clause
 *
 * command.c - what the arguments of cachemax-service ask for.
 *
 * Owns: the configuration that was read.
 *
 * Who: main.c, main_win32.c.
 */
#include "command.h"

#include <stdio.h>
#include <string.h>

#include "os.h"
#include "remove.h"
#include "say.h"
#include "stream.h"

static struct config config;

static int usage(FILE *to, const char *more)
{
    fprintf(to,
            "usage: cachemax-service FILE\n"
            "       cachemax-service check-config FILE [PATH...]\n"
            "       cachemax-service remove FILE FOLDER\n%s"
            "FILE is the configuration. With it alone the pool that it names is served, until\n"
            "Ctrl-C or SIGTERM. check-config looks at FILE, and says of each PATH whether it is\n"
            "cached. remove forgets what is cached of FOLDER, and takes its line out of FILE.\n"
            "More: cachemax-service(1), docs/service.md\n",
            more);
    return to == stdout ? 0 : RUN_BAD_USAGE;
}

/* What is wrong with where a file lies; NULL: nothing. */
static const char *place_fault(const char *path)
{
    if (path != config.socket && os_is_same(config.socket, path))
        return "is the socket, too; choose another name for one of them";
    if (os_is_beside(config.socket, path))
        return "is a file of the service itself, beside its socket, which it would write over; "
               "choose another name";
    return os_mount_fault(path);
}

/* False: it was said what lies at a wrong place. */
static bool lie_well(const char *file, void (*log)(enum log_weight w, const char *text))
{
    const char *const paths[] = { file, config.pool, config.socket, config.key_file };
    char text[RUN_WHY_ROOM];

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const char *const wrong = *paths[i] ? place_fault(paths[i]) : NULL;

        if (!wrong)
            continue;
        snprintf(text, sizeof(text), "%.1000s: %s", paths[i], wrong);
        log(LOG_TROUBLE, text);
        return false;
    }
    return true;
}

/* What a start would refuse. False: it was said. */
static bool could_start(void (*log)(enum log_weight w, const char *text))
{
    char text[RUN_WHY_ROOM], why[256];

    if (transport_local.look && transport_local.look(config.socket, why) != 0) {
        log(LOG_TROUBLE, why);
        return false;
    }
    if (!os_is_readonly(config.pool))
        return true;
    snprintf(text, sizeof(text),
             "%.1000s: its volume is mounted read-only, and the service writes its pool",
             config.pool);
    log(LOG_TROUBLE, text);
    return false;
}

static void warn_of_place(void (*log)(enum log_weight w, const char *text))
{
    char text[RUN_WHY_ROOM];

    if (os_place_is_missing(config.socket)) {
        snprintf(text, sizeof(text), "socket = %.1000s: there is no such directory now",
                 config.socket);
        log(LOG_WARN, text);
        return;
    }
    if (!os_place_is_exposed(config.socket))
        return;
    snprintf(text, sizeof(text),
             "%.1000s: others may put a socket of their own there, because they own or may write "
             "a directory of this path; cachemax-mount refuses it. Take that from them (chmod "
             "go-w), or choose another directory",
             config.socket);
    log(LOG_WARN, text);
}

/* Why the driver, if there is one, will pass a folder or a file by; or NULL. */
static const char *passes_by(const struct run *r, const char *path)
{
    return r->passes_by && config.port[0] ? r->passes_by(path, config.pool) : NULL;
}

/* A folder may come later; a name that is written wrong never does. */
static void warn_of_folders(const struct run *r)
{
    char text[RUN_WHY_ROOM];

    for (unsigned i = 0; i < config.folders.count; i++) {
        const char *const folder = config.folders.folder[i], *const why = passes_by(r, folder);

        if (!why && os_is_directory(folder))
            continue;
        snprintf(text, sizeof(text), "folder = %.1000s%s %s", folder, why ? "" : ":",
                 why ? why : "there is no such directory now");
        r->log(LOG_WARN, text);
    }
}

static void say_cached(const struct run *r, const char *path, const char *folder)
{
    const char *const why = passes_by(r, folder), *const own = why ? NULL : passes_by(r, path);

    if (why)
        say(stdout, "%s: not cached (folder = %s %s)", path, folder, why);
    else if (own)
        say(stdout, "%s: not cached (it %s)", path, own);
    else
        say(stdout, "%s: cached (folder = %s)", path, folder);
}

/* Of a driver's folder a link or a mount point may lead out, or in. */
static enum folders_verdict judge_path(const struct run *r, const char *path, const char **by)
{
    return r->judge && config.port[0] ? r->judge(&config.folders, path, by)
                                      : folders_judge(&config.folders, path, by);
}

/* Says of each path whether it should be cached. */
static int judge(const struct run *r, int n, char **paths)
{
    int status = 0;

    for (int i = 0; i < n; i++) {
        const char *wrong = os_path_fault(paths[i]), *by;

        wrong = wrong ? wrong : folders_path_fault(paths[i]);
        if (wrong) {
            say(stderr, "cachemax-service: %s: %s", paths[i], wrong);
            status = RUN_BAD_USAGE;
            continue;
        }
        switch (judge_path(r, paths[i], &by)) {
        case FOLDERS_CACHED:
            say_cached(r, paths[i], by);
            break;
        case FOLDERS_EXCLUDED:
            say(stdout, "%s: not cached (exclude = %s)", paths[i], by);
            break;
        default:
            if (by)
                say(stdout,
                    "%s: not cached (it leads out of folder = %s through a link or a mount point; "
                    "name the folder that has it)",
                    paths[i], by);
            else
                say(stdout, "%s: not cached (no folder of this configuration has it)", paths[i]);
        }
    }
    return status;
}

int command(int argc, char **argv, const struct run *calls, const char *more_usage)
{
    const bool checks = argc >= 3 && strcmp(argv[1], "check-config") == 0;
    const bool removes = argc == 4 && strcmp(argv[1], "remove") == 0;
    const char *const file = argc >= 2 ? argv[checks || removes ? 2 : 1] : "";
    struct run r = *calls;
    char why[CONFIG_WHY_ROOM];

    if (argc == 2 && (strcmp(file, "--help") == 0 || strcmp(file, "-h") == 0))
        return usage(stdout, more_usage);
    if (argc == 2 && (strcmp(file, "--version") == 0 || strcmp(file, "-V") == 0))
        return printf("cachemax-service %s\n", cm_version()) < 0 ? RUN_NO_SERVICE : 0;
    if (!checks && !removes &&
        (argc != 2 || file[0] == '-' || strcmp(file, "check-config") == 0 ||
         strcmp(file, "remove") == 0)) {
        if (argc == 2 && file[0] == '-')
            say(stderr, "cachemax-service: unknown option '%s'", file);
        return usage(stderr, more_usage);
    }
    if (!config_read(&config, file, why)) {
        r.log(LOG_TROUBLE, why);
        return RUN_BAD_USAGE;
    }
    if (!lie_well(file, r.log))
        return RUN_BAD_USAGE;
    if (removes)
        return remove_folder(&config, file, argv[3]);
    if (checks && !could_start(r.log))
        return RUN_BAD_USAGE;
    warn_of_place(r.log);
    if (checks) {
        if (!run_pool_fits(&config, r.log))
            return RUN_BAD_USAGE;
        warn_of_folders(&r);
        say(stdout, "%s: in order", file);
        return judge(&r, argc - 3, argv + 3);
    }
    r.config = &config;
    return run(&r);
}
