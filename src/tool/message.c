/* SPDX-License-Identifier: BSD-2-Clause
 *
 * message.c - all error messages: what is wrong, where, and what to do about it.
 *
 * One table turns the library's error codes into a sentence with advice and an exit status. For a
 * few codes more can be said than a table can (who owns the pool, how long the file is, how much
 * space is left). Each of them has a function.
 *
 * Who: tool/.
 */
#include "tool/tool.h"
#include "tool/os.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "media/format.h"

/* What file systems take: Linux in all, and Windows but for a few. */
#define NAME_BYTES 255u
#define PATH_BYTES 4095u

#define NOTHING_LOST "nothing is lost by deleting it: a pool holds only copies"

static const struct {
    int code;
    enum tool_status status;
    const char *text;
} errors[] = {
    { CM_ENOENT, TOOL_FAILED, "no such file; make a pool with 'cachemax create'" },
    { CM_EACCES, TOOL_FAILED,
      "permission denied; a pool is readable and writable by its owner only, so run this as that "
      "user (Windows: or as administrator)" },
    { CM_EEXIST, TOOL_FAILED,
      "exists already, and nothing is ever overwritten; choose another name, or delete it first" },
    { CM_EIO, TOOL_FAILED,
      "input/output error; see the system's log, and delete the pool if its volume is failing "
      "(" NOTHING_LOST ")" },
    { CM_ENOMEM, TOOL_FAILED,
      "out of memory, or of open files; use a smaller pool ('cachemax info' shows what one takes), "
      "or allow this process more open files (see 'ulimit -n')" },
    { CM_EFORGET, TOOL_FAILED,
      "the volume refuses to make changes durable; delete the pool (" NOTHING_LOST ")" },
    { CM_EBUSY, TOOL_FAILED,
      "its mount is busy with it: a command such as warm or check is running, or as many as it "
      "takes, or it gets another size, or a file system below the mount does not answer; try again "
      "later" },
    { CM_ENOTSUP, TOOL_FAILED, "not supported on this system" },
    { CM_EPOOLSIZE, TOOL_USAGE,
      "the size is out of bounds, too small for so many files, or more than the volume's file "
      "system takes in one file; choose another size, or make the pool with a smaller "
      "--max-files" },
    { CM_EUNTRUSTED, TOOL_REFUSED,
      "others could have written the pool, or put another one in its place, so what is in it is "
      "not believed; make that right, or delete the pool and make it anew where only you may write "
      "(" NOTHING_LOST ")" },
    { CM_ENOTFILE, TOOL_REFUSED, "not a regular file, so not a pool; name the pool file itself" },
    { CM_ENOTPOOL, TOOL_REFUSED,
      "not a cachemax pool; check the name, it was left untouched ('cachemax create' makes a "
      "pool)" },
    { CM_EBYTEORDER, TOOL_REFUSED,
      "was made on a machine of the other byte order; delete it and make it anew here "
      "(" NOTHING_LOST ")" },
    { CM_EKEY, TOOL_REFUSED,
      "give the key that it was made with (--key-file FILE); a pool that is not sealed takes "
      "none" },
    { CM_ESEAL, TOOL_FAILED,
      "the key could not be used just now (is there memory left?); nothing was changed, try "
      "again" },
    { CM_EDAMAGED, TOOL_REFUSED,
      "both superblocks are damaged, so the pool cannot be used or repaired; delete it and make it "
      "anew (" NOTHING_LOST ")" },
};

/* Of a text that is longer than this, and has no memory, the end is left out. */
#define TEXT_BYTES 1024

void tool_message(const char *where, const char *format, ...)
{
    char text[TEXT_BYTES], *whole = NULL;
    va_list ap, again;
    int n;

    va_start(ap, format);
    va_copy(again, ap);
    n = vsnprintf(text, sizeof(text), format, ap);
    if (n >= (int)sizeof(text) && (whole = malloc((size_t)n + 1)) != NULL)
        (void)vsnprintf(whole, (size_t)n + 1, format, again);
    va_end(again);
    va_end(ap);
    (void)fflush(stdout);
    (void)fputs("cachemax: ", stderr);
    if (where) {
        tool_print(stderr, where);
        (void)fputs(": ", stderr);
    }
    tool_print(stderr, whole ? whole : text);
    (void)fputc('\n', stderr);
    free(whole);
}

#define LOOKS 5
#define LOOK_SECONDS 0.1

/* Where the owner has another number, or its mount is not one of those here. */
static void say_elsewhere(const char *pool, enum os_whereabouts where, uint32_t pid)
{
    if (where == OS_HIDDEN)
        tool_message(pool,
                     "is open in a process that is not seen here: in a container or another PID "
                     "namespace its number is %" PRIu32 "; stop it there. On the host 'fuser POOL' "
                     "as root tells its number; 'cachemax stats' watches the pool from here",
                     pid);
    else
        tool_message(pool,
                     "is open in process %" PRIu32 ", which is in another mount namespace (a "
                     "container, say); go there with 'nsenter --target %" PRIu32 " --mount', or "
                     "stop that process. 'cachemax stats' watches the pool from here",
                     pid, pid);
}

static enum os_whereabouts where_is(const char *pool, const cm_info *info)
{
    return info->owned && info->owner_pid ? os_whereabouts(info->owner_pid, pool) : OS_HERE;
}

/* Who has a pool open that is refused. */
struct finding {
    cm_info info;
    enum os_whereabouts where;
    bool passing; /* nobody in particular: processes come and go */
};

/* A process that has just opened the pool has not told its number yet, and one that ends has closed
 * its files before the system has: a moment later it is known. The superblock says "closed" until
 * the owner has told its number. */
static int find_owner(const char *pool, struct finding *f)
{
    int rc = cm_pool_info(pool, &f->info);
    const uint32_t first = f->info.owner_pid;
    enum os_lock lock;

    for (int i = 0; rc == 0; i++) {
        f->where = where_is(pool, &f->info);
        if (f->where != OS_HIDDEN || i == LOOKS)
            break;
        os_sleep(LOOK_SECONDS);
        rc = cm_pool_info(pool, &f->info);
    }
    if (rc == 0 && f->where == OS_HIDDEN)
        f->passing = f->info.clean || f->info.owner_pid != first;
    if (rc == 0 && !f->info.owned) {
        lock = os_lock(pool);
        f->passing = lock == OS_LOCK_NONE || lock == OS_LOCK_WRITE;
    }
    return rc;
}

/* CM_EVERSION or CM_EINCOMPAT: a pool of another library. */
static int foreign_error(const char *pool, int code)
{
    cm_info info = { .struct_size = sizeof(info) };
    char which[64] = "", who[32 + OS_PROGRAM] = "another process", program[OS_PROGRAM] = "";
    const char *const what = code == CM_EVERSION ? "has a pool format this version does not know"
                                                 : "uses a pool feature this version does not know";

    if (cm_pool_info(pool, &info) == CM_EVERSION)
        (void)snprintf(which, sizeof(which), " (it has version %" PRIu32 ", and this one knows %u)",
                       info.version, CM_FORMAT_VERSION);
    if (info.owner_pid) {
        os_program(info.owner_pid, program);
        (void)snprintf(who, sizeof(who), "process %" PRIu32 "%s%s%s", info.owner_pid,
                       program[0] ? " (" : "", program, program[0] ? ")" : "");
    }
    if (info.owned)
        tool_message(pool,
                     "%s%s; it is open in %s: use the cachemax that goes with that program, or end "
                     "it, then delete the pool and make it anew (" NOTHING_LOST ")",
                     what, which, who);
    else
        tool_message(pool,
                     "%s%s; use the cachemax that made it, or delete the pool and make it anew "
                     "(" NOTHING_LOST ")",
                     what, which);
    return TOOL_REFUSED;
}

static int owned_error(const char *pool)
{
    struct finding f = { .info = CM_INFO_INIT, .where = OS_HERE };
    char program[OS_PROGRAM] = "";
    const int rc = find_owner(pool, &f);
    const cm_info info = f.info;

    if (rc == CM_EVERSION || rc == CM_EINCOMPAT)
        return foreign_error(pool, rc);
    if (rc == 0 && info.owner_pid)
        os_program(info.owner_pid, program);
    /* systemd gives the service a mount namespace of its own, and that is no container. */
    if (f.passing)
        tool_message(pool, "was just opened or closed by another process; try again");
    else if (rc == 0 && !info.owned)
        tool_message(pool, "is being checked or looked at by another process; wait for it to end");
    else if (rc == 0 && f.where != OS_HIDDEN && !strcmp(program, "cachemax-service"))
        tool_message(pool,
                     "is open in process %" PRIu32 " (cachemax-service), a service: use 'cachemax "
                     "stats', 'info' or 'top' to watch it; for anything else stop it first, and "
                     "start it afterwards ('systemctl stop cachemax-service' if systemd runs it)",
                     info.owner_pid);
    else if (f.where != OS_HERE)
        say_elsewhere(pool, f.where, info.owner_pid);
    else if (rc == 0 && info.owner_pid)
        tool_message(pool,
                     "is open in process %" PRIu32 "%s%s%s"
                     "; use 'cachemax stats' to watch it, or stop that process",
                     info.owner_pid, program[0] ? " (" : "", program, program[0] ? ")" : "");
    else
        tool_message(pool, "is open in another process; use 'cachemax stats' to watch it, or stop "
                           "that process");
    return TOOL_OWNED;
}

static int length_error(const char *pool, int code)
{
    char now[64] = "", text[TOOL_NUMBER_MAX];
    cm_info info = CM_INFO_INIT;
    uint64_t size;

    if (os_file_size(pool, &size))
        (void)snprintf(now, sizeof(now), " (it has %s)", tool_bytes_exact(text, size));
    if (now[0] && code == CM_EOVERSIZE && cm_pool_info(pool, &info) == code && info.size > 0) {
        tool_message(pool,
                     "is longer than its superblock says (it has %" PRIu64 " bytes, not %" PRIu64
                     "): something was appended; cut it to its old length ('truncate -s %" PRIu64
                     "' and its path), or delete it and make it anew (" NOTHING_LOST ")",
                     size, info.size, info.size);
        return TOOL_REFUSED;
    }
    if (code == CM_ETRUNCATED)
        tool_message(pool,
                     "is shorter than its superblock says%s: cut off, or copied in part; delete it "
                     "and make it anew (" NOTHING_LOST ")",
                     now);
    else
        tool_message(pool,
                     "is longer than its superblock says%s: something was appended; cut it to its "
                     "old length, or delete it and make it anew (" NOTHING_LOST ")",
                     now);
    return TOOL_REFUSED;
}

/* Nobody's data is in an empty file. */
static int empty_error(const char *pool)
{
    tool_message(pool,
                 "not a cachemax pool: the file is empty (0 bytes). A pool is cut to that when its "
                 "volume fails; delete it and make it anew (" NOTHING_LOST ")");
    return TOOL_REFUSED;
}

const char *tool_volume_at(char text[TOOL_VOLUME], const char *path)
{
    char point[TOOL_VOLUME - sizeof(" at ")];

    text[0] = '\0';
    if (os_mount_point(path, point, sizeof(point)))
        (void)snprintf(text, TOOL_VOLUME, " at %s", point);
    return text;
}

bool tool_is_too_long(const char *path)
{
    size_t name = 0, longest = 0;

    for (const char *p = path; *p; p++) {
        name = *p == '/' || *p == '\\' ? 0 : name + 1; /* those of Windows, too */
        longest = name > longest ? name : longest;
    }
    return longest > NAME_BYTES || strlen(path) > PATH_BYTES;
}

/* The message for a pool that could not be made, which names its directory. */
static int create_error(const char *pool, int code)
{
    char parent[1024], space[TOOL_NUMBER_MAX], left[96] = "";
    struct os_volume volume;
    uint64_t size, user;

    os_parent(pool, parent, sizeof(parent));
    if (pool[0] != '/' && os_is_nowhere()) {
        tool_message(pool, "the working directory was removed; change to another one, or give the "
                           "whole path");
    } else if (code == CM_ENOENT && os_is_directory(parent)) {
        tool_message(pool, "its file system takes no new files; choose another place");
    } else if (code == CM_ENOENT && (os_file_size(parent, &size) || os_owner(parent, &user))) {
        tool_message(pool, "'%s' is no directory; choose another place", parent);
    } else if (code == CM_ENOENT) {
        tool_message(pool, "there is no directory '%s'; make it first, or choose another place",
                     parent);
    } else if (code == CM_EACCES && os_volume(parent, &volume) && volume.read_only) {
        tool_message(pool, "the volume of '%s' is mounted read-only; choose another place", parent);
    } else if (code == CM_EACCES) {
        tool_message(pool,
                     "permission denied; you may not make files in '%s': choose another place, or "
                     "have its owner allow it",
                     parent);
    } else {
        char at[TOOL_VOLUME];

        if (os_volume(parent, &volume))
            (void)snprintf(left, sizeof(left), " (%s free)", tool_bytes(space, volume.free));
        tool_message(pool,
                     "not enough space on the volume%s%s; nothing was left behind: make room, or "
                     "choose a smaller --size. (A quota or 'ulimit -f' may allow less than is "
                     "free)",
                     tool_volume_at(at, parent), left);
    }
    return TOOL_FAILED;
}

static int link_error(const char *pool)
{
    if (os_links(pool) == OS_LINKS_DANGLE)
        tool_message(pool, "is a symbolic link to a file that does not exist; delete the link, or "
                           "choose another name");
    else
        tool_message(pool, "symbolic links in this path lead in a circle, or there are too many; "
                           "mend them, or choose another path");
    return TOOL_FAILED;
}

/* CM_EVERSION is also said of a page of statistics. true: it is that, and it was said. */
static bool say_counters(const char *pool)
{
    cm_info info = { .struct_size = sizeof(info) };

    if (cm_pool_info(pool, &info) != 0)
        return false;
    tool_message(pool, "its counters are damaged, or of a version this one does not know; that "
                       "harms no cached block, and the next use of the pool, as with 'cat' or a "
                       "mount, begins them anew");
    return true;
}

/* true: what keeps the pool from this user was said, and it is not another user's. */
static bool say_bar(const char *pool)
{
    unsigned mode = 0;
    const enum os_bar bar = os_bar(pool, &mode);

    if (bar == OS_BAR_MODE)
        tool_message(pool,
                     "permission denied by its mode, %04o: its owner must be able to read and "
                     "write it (chmod u+rw)",
                     mode);
    else if (bar != OS_BAR_NONE)
        tool_message(pool,
                     "may not be changed by anybody: it has the flag of 'chattr +%c'; take "
                     "that away (as root, 'chattr -%c')",
                     bar == OS_BAR_IMMUTABLE ? 'i' : 'a', bar == OS_BAR_IMMUTABLE ? 'i' : 'a');
    return bar != OS_BAR_NONE;
}

int tool_pool_error(const char *pool, int code, enum tool_action action)
{
    struct os_volume volume;
    uint64_t size;

    if ((code == CM_ENOENT || code == CM_EEXIST) && os_links(pool) != OS_LINKS_LEAD)
        return link_error(pool);
    if (action == TOOL_CREATING && (code == CM_ENOENT || code == CM_EACCES || code == CM_ENOSPC))
        return create_error(pool, code);
    if (action == TOOL_CREATING && code == CM_EEXIST && os_is_directory(pool)) {
        tool_message(pool, "is a directory; name the file in it that shall be made");
        return TOOL_FAILED;
    }
    if (action == TOOL_CREATING && code == CM_ENOTFILE) {
        tool_message(pool, "not a place where a regular file can be made; choose another name");
        return TOOL_FAILED;
    }
    if (code == CM_EINVAL && tool_is_too_long(pool)) {
        tool_message(pool,
                     "the path is too long: each name in it has %u bytes at most, and all of it %u",
                     NAME_BYTES, PATH_BYTES);
        return TOOL_FAILED;
    }
    if (code == CM_EOWNED)
        return owned_error(pool);
    if (code == CM_ETRUNCATED || code == CM_EOVERSIZE)
        return length_error(pool, code);
    if (code == CM_ENOTPOOL && os_file_size(pool, &size) && size == 0)
        return empty_error(pool);
    if (code == CM_EVERSION && say_counters(pool))
        return TOOL_REFUSED;
    if (code == CM_EVERSION || code == CM_EINCOMPAT)
        return foreign_error(pool, code);
    if (code == CM_EACCES && os_volume(pool, &volume) && volume.read_only) {
        tool_message(pool,
                     "lies on a volume that is mounted read-only, so it can only be looked at");
        return TOOL_FAILED;
    }
    if (code == CM_EACCES && say_bar(pool))
        return TOOL_FAILED;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].code == code) {
            tool_message(pool, "%s", errors[i].text);
            return (int)errors[i].status;
        }
    }
    tool_message(pool, "%s (%s)", cm_strerror(code), cm_errname(code));
    return TOOL_FAILED;
}

static void print_log_line(const struct tool_log *log, int level, const char *text)
{
    const char *kind = level == CM_LOG_ERROR     ? "error: "
                       : level == CM_LOG_WARNING ? "warning: "
                                                 : "";
    const size_t n = log->pool ? strlen(log->pool) : 0;

    if (n && strncmp(text, log->pool, n) == 0 && strncmp(text + n, ": ", 2) == 0)
        text += n + 2; /* skip the name: the message begins with it */
    if (level <= log->max_level)
        tool_message(log->pool, "%s%s", kind, text);
}

static void print_held(struct tool_log *log)
{
    if (log->held[0])
        print_log_line(log, CM_LOG_ERROR, log->held);
    log->held[0] = '\0';
}

void tool_log_line(void *ctx, int level, const char *text)
{
    struct tool_log *log = ctx;

    if (!log->opening || level != CM_LOG_ERROR) {
        print_log_line(log, level, text);
        return;
    }
    print_held(log);
    (void)snprintf(log->held, sizeof(log->held), "%s", text);
}

/* Does tool_pool_error() say all that the line of the log says? */
static bool says_more(const struct tool_log *log, int rc)
{
    const size_t n = strlen(log->held), m = strlen(cm_strerror(rc));

    return rc == CM_EOWNED || rc == CM_EACCES || rc == CM_ETRUNCATED || rc == CM_EOVERSIZE ||
           rc == CM_EVERSION || rc == CM_ENOTPOOL || rc == CM_ENOENT || rc == CM_ENOSPC ||
           (rc == CM_EINVAL && log->pool && tool_is_too_long(log->pool)) ||
           (rc < 0 && n >= m && strcmp(log->held + n - m, cm_strerror(rc)) == 0);
}

void tool_print_held(struct tool_log *log, int rc)
{
    if (says_more(log, rc))
        log->held[0] = '\0';
    print_held(log);
}

int tool_open(struct tool_log *log, cm_options *options, cm_cache **cache)
{
    int rc;

    options->log = tool_log_line;
    options->log_ctx = log;
    log->opening = true;
    rc = cm_open(log->pool, options, cache);
    log->opening = false;
    tool_print_held(log, rc);
    return rc;
}

static void keep_line(void *ctx, int level, const char *text)
{
    (void)level;
    (void)snprintf(ctx, TOOL_WHY, "%s", text);
}

bool tool_is_untrusted(const char *pool, char why[TOOL_WHY])
{
    cm_options options = CM_OPTIONS_INIT;
    const size_t n = strlen(pool);
    cm_cache *cache;
    int rc;

    why[0] = '\0';
    options.log = keep_line;
    options.log_ctx = why;
    rc = cm_open(pool, &options, &cache);
    if (rc == 0) /* no process had it open */
        (void)cm_close(cache);
    if (rc == CM_EUNTRUSTED && strncmp(why, pool, n) == 0 && strncmp(why + n, ": ", 2) == 0)
        (void)memmove(why, why + n + 2, strlen(why + n + 2) + 1);
    return rc == CM_EUNTRUSTED;
}

int tool_end_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    tool_message(NULL, "standard output: cannot be written; the result is incomplete");
    return status == TOOL_OK ? TOOL_FAILED : status;
}
