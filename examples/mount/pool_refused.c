/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_refused.c - why a pool could not be opened, and what to do about it, in one line.
 *
 * The library's log says what it has seen (its line comes here instead of to the log), the code of
 * the error what can be done. Of a pool that is in use more can be said: who has it, and where that
 * process is.
 *
 * Who: backing_pool.c. No state.
 */
#include "mount.h"
#include "tool/os_process.h"

#include <libgen.h>
#include <stdio.h>
#include <sys/statvfs.h>

#define NOTHING_LOST "nothing is lost by that: a pool holds only copies"
/* pool_program() */
#define SERVICE " (cachemax-service)"
#define MOUNT " (cachemax-mount)"

static const struct {
    int code;
    const char *advice;
} known[] = {
    { CM_EACCES, "a pool is readable and writable by its owner only, so mount it as that user" },
    { CM_ENOTFILE, "name the pool file itself" },
    { CM_ENOTPOOL, "check the name; it was left untouched ('cachemax create' makes a pool)" },
    { CM_ETRUNCATED,
      "it was cut off, or copied in part; delete it and make it anew (" NOTHING_LOST ")" },
    { CM_EOVERSIZE, "something was appended; cut it to its old length, or delete it and make it "
                    "anew (" NOTHING_LOST ")" },
    { CM_EVERSION,
      "use the version that made it, or delete it and make it anew (" NOTHING_LOST ")" },
    { CM_EINCOMPAT,
      "use the version that made it, or delete it and make it anew (" NOTHING_LOST ")" },
    { CM_EBYTEORDER, "delete it and make it anew here (" NOTHING_LOST ")" },
    { CM_EDAMAGED, "it cannot be used or repaired; delete it and make it anew (" NOTHING_LOST ")" },
    { CM_EIO, "see the system's log, and delete it if its volume is failing (" NOTHING_LOST ")" },
    { CM_ENOMEM, "use a smaller pool ('cachemax info' shows what one takes), or let the mount have "
                 "more descriptors (ulimit -n)" },
    { CM_EFORGET, "its volume refuses to make changes durable; delete it (" NOTHING_LOST ")" },
    { CM_EKEY, "give the key that it was made with (-o key_file=FILE); a pool that is not sealed "
               "takes none" },
    { CM_ESEAL, "the key could not be used just now; nothing was changed, try again" },
    { CM_EUNTRUSTED, "if you trust these others, give -o any_owner" },
    { CM_EOWNED, "wait for that process, or end it" },
};

/* ---- A pool that is in use ------------------------------------------------------------------- */

/* The kernel's short name of a process has 15 bytes at most. */
const char *pool_program(uint32_t pid, char text[POOL_PROGRAM])
{
    char path[64], name[PATH_MAX] = "";
    ssize_t n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%u/exe", pid);
    n = readlink(path, name, sizeof(name) - 1);
    if (n > 0) {
        name[n] = '\0';
    } else {
        snprintf(path, sizeof(path), "/proc/%u/comm", pid);
        f = fopen(path, "re");
        if (f && fgets(name, 30, f))
            name[strcspn(name, "\n")] = '\0';
        if (f)
            fclose(f);
    }
    text[0] = '\0';
    if (name[0]) { /* behind that of a program that was removed stands " (deleted)" */
        const char *const base = basename(name);

        snprintf(text, POOL_PROGRAM, " (%.*s)", (int)strcspn(base, " "), base);
    }
    return text;
}

static const char *what_to_do(uint32_t pid, enum os_whereabouts where, const char *program,
                              char hint[200])
{
    if (!strcmp(program, SERVICE)) /* its unit may give it mounts of its own */
        snprintf(hint, 200,
                 "it serves the pool to many: give --service SOCKET in place of --pool (its "
                 "configuration names the socket)");
    else if (where == OS_OTHER_MOUNTS)
        snprintf(hint, 200,
                 "it is in another mount namespace (a container, say): unmount it there ('nsenter "
                 "--target %u --mount' leads to it), or stop it",
                 pid);
    else
        snprintf(hint, 200,
                 "unmount or stop that ('cachemax list' shows mounts; one that was unmounted here "
                 "may go on by a bind or in another mount namespace: kill the process then)");
    return hint;
}

static void busy(uint32_t pid)
{
    const enum os_whereabouts where = os_whereabouts(pid, mnt.opt.pool);
    char program[POOL_PROGRAM], hint[200];

    if (where == OS_HIDDEN) {
        say(CM_LOG_ERROR,
            "pool %s is in use by a process that is not seen here, and has one owner at a time: in "
            "a container or another PID namespace its number is %u; stop it there ('fuser POOL' as "
            "root on the host tells its number), or use another pool",
            mnt.opt.pool, pid);
        return;
    }
    (void)pool_program(pid, program);
    say(CM_LOG_ERROR,
        "pool %s is in use by process %u%s, and has one owner at a time: %s, %suse another pool%s",
        mnt.opt.pool, pid, program, what_to_do(pid, where, program, hint),
        strcmp(program, MOUNT) ? "or " : "",
        strcmp(program, MOUNT) ? "" : ", or give one cachemax-mount all directories");
}

/* ---- All others ------------------------------------------------------------------------------ */

/* `why`: what the line of the library says. */
static const char *advice_for(int rc, const char *why)
{
    struct statvfs sv;

    if (strstr(why, " anew")) /* once is enough */
        return NULL;
    if (rc == CM_EACCES && statvfs(mnt.opt.pool, &sv) == 0 && sv.f_flag & ST_RDONLY)
        return "put it on another volume";
    if (rc == CM_EACCES && strcmp(why, cm_strerror(rc))) /* of its own user, with what to do */
        return NULL;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].code == rc)
            return known[i].advice;
    return NULL;
}

int pool_refused(int rc, const char *line)
{
    const size_t n = strlen(mnt.opt.pool);
    const bool has_name = !strncmp(line, mnt.opt.pool, n) && !strncmp(line + n, ": ", 2);
    const char *const why = !*line ? cm_strerror(rc) : has_name ? line + n + 2 : line;
    const char *const advice = advice_for(rc, why);
    cm_info info = { .struct_size = sizeof(info) };

    if (rc == CM_EOWNED && cm_pool_info(mnt.opt.pool, &info) == 0 && info.owner_pid)
        busy(info.owner_pid);
    else
        say(CM_LOG_ERROR, "pool %s: %s%s%s", mnt.opt.pool, why, advice ? ": " : "",
            advice ? advice : "");
    return EXIT_POOL;
}
