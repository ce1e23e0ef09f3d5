/* SPDX-License-Identifier: BSD-2-Clause
 *
 * swap.c - the order of the steps in which a folder loses its name and gets it back.
 *
 * Owns: nothing but the journal that is open in a struct swap. Who: main.c, the service at its
 * start.
 *
 *   begin   journal written; FOLDER renamed aside; a place for the mount made
 *   end     the place cleared; the folder renamed back; journal removed
 *
 * Each step is on the disk before the next one begins. So whatever ends the process, the journal is
 * there as long as the folder may be aside. Recovery looks at what is there, and not at how far
 * somebody came: so it may be killed as well, and repeated. It renames the folder back only if the
 * journal names this very directory, and only to a name where nothing is. Others may make names
 * beside the folder: a journal that is not of this user, or root's, is not believed.
 */
#include "swap.h"

#include "swap_os.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAGIC                                                                                      \
    "cachemax-winfsp 1: a mount has the name of this folder, which is *.cachemax-origin "          \
    "now; \"cachemax-winfsp --recover FOLDER\" brings it back\n"
#define TEXT_ROOM (sizeof(MAGIC) + SWAP_ID + 16)

static void say_stderr(const char *text)
{
    fprintf(stderr, "cachemax-winfsp: %s\n", text);
}

void (*swap_say)(const char *text) = say_stderr;
int (*swap_fault)(enum swap_step step);

#ifdef __MINGW_PRINTF_FORMAT /* else the compiler takes it for the printf of old Windows */
#define PRINTF __MINGW_PRINTF_FORMAT
#else
#define PRINTF printf
#endif
static enum swap_result say(enum swap_result result, const char *format, ...)
    __attribute__((format(PRINTF, 2, 3)));
static enum swap_result say(enum swap_result result, const char *format, ...)
{
    char text[4 * SWAP_PATH];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    swap_say(text);
    return result;
}

static int fault(enum swap_step step)
{
    return swap_fault ? -swap_fault(step) : 0;
}

static int find_names(struct swap *s, const char *folder)
{
    const int e = swap_os_resolve(folder, s->folder, sizeof(s->folder));

    s->lock = -1;
    if (e < 0)
        return e;
    snprintf(s->aside, sizeof(s->aside), "%s.cachemax-origin", s->folder);
    snprintf(s->journal, sizeof(s->journal), "%s.cachemax-journal", s->folder);
    return 0;
}

static enum swap_result set_names(struct swap *s, const char *folder)
{
    const int e = find_names(s, folder);

    return e == 0
               ? SWAP_OK
               : say(SWAP_FAILED, "%s: %s", folder,
                     e == -EINVAL ? "name a folder, by its own name; a whole volume cannot be taken"
                                  : strerror(-e));
}

/* The folder that the journal names. False: it was not written to its end, so nothing was renamed.
 */
static bool read_id(const char *text, char id[SWAP_ID])
{
    const char *const at = text + strlen(MAGIC);
    char end = 0;

    return !strncmp(text, MAGIC, strlen(MAGIC)) && sscanf(at, "folder %79s%c", id, &end) == 2 &&
           end == '\n';
}

static bool is_there(const char *path)
{
    char id[SWAP_ID];

    return swap_os_id(path, id) != -ENOENT;
}

static enum swap_result stays(const struct swap *s, const char *why)
{
    return say(SWAP_FAILED,
               "%s: %s. Nothing was lost, and nothing was changed. The folder's content is in %s, "
               "if that exists. Put things right, then run: cachemax-winfsp --recover %s",
               s->folder, why, s->aside, s->folder);
}

#define PATIENCE 50 /* pauses */

/* On Windows a folder is not renamed while anything below it is open, and virus scanners and
 * indexers open files for a moment. */
static int move_patiently(const char *from, const char *to)
{
    int e = -EBUSY;

    for (unsigned i = 0; i < PATIENCE && (e == -EBUSY || e == -EAGAIN || e == -EACCES); i++) {
        if (i > 0)
            swap_os_pause();
        e = fault(SWAP_MOVE_BACK);
        e = e < 0 ? e : swap_os_move(from, to);
    }
    return e;
}

/* Renames the folder back. The lock is held. */
static enum swap_result move_back(const struct swap *s, const char *id)
{
    char is[SWAP_ID], why[SWAP_PATH];
    int e = swap_os_id(s->aside, is);

    if (!*id)
        return stays(s, "the journal is damaged, so no mount has renamed what is called "
                        "*.cachemax-origin");
    if (e < 0 || strcmp(id, is))
        return stays(s,
                     "what is called *.cachemax-origin is not the folder that the journal names");
    e = fault(SWAP_CLEAR_PLACE);
    e = e < 0 ? e : swap_os_clear_place(s->folder);
    if (e < 0) {
        snprintf(why, sizeof(why), "something else has this name now (%s)", strerror(-e));
        return stays(s, why);
    }
    e = move_patiently(s->aside, s->folder);
    if (e == 0)
        return SWAP_OK;
    snprintf(why, sizeof(why), "the folder cannot be renamed back (%s)", strerror(-e));
    return stays(s, why);
}

/* The lock is held, and is given up. Brings all to where it was, from any state. `id`: of the
 * journal, or "". */
static enum swap_result restore(struct swap *s, const char *id)
{
    char is[SWAP_ID] = "";
    enum swap_result r = SWAP_OK;
    int e;

    if (is_there(s->aside))
        r = move_back(s, id);
    else if (swap_os_id(s->folder, is) < 0 || (*id && strcmp(id, is)))
        r = stays(s, "the folder that the journal names is at neither of its names");
    if (r == SWAP_OK) {
        e = fault(SWAP_REMOVE);
        e = e < 0 ? e : swap_os_remove(s->journal, s->lock);
        if (e == 0)
            return SWAP_OK;
        r = say(SWAP_FAILED, "%s: cannot be removed: %s. The folder has its name", s->journal,
                strerror(-e));
    }
    swap_os_close(s->lock);
    return r;
}

static enum swap_result recover(struct swap *s)
{
    char text[TEXT_ROOM] = "", id[SWAP_ID] = "";
    enum swap_result r;
    const char *why = "";
    const int e = swap_os_open(s->journal, text, sizeof(text), &s->lock, &why);

    if (e == -ENOENT && is_there(s->aside))
        return stays(s, "*.cachemax-origin exists without a journal");
    if (e == -ENOENT && !is_there(s->folder))
        return say(SWAP_FAILED,
                   "%s: there is no such folder, and none that was renamed aside. "
                   "Give the name that the mount was given",
                   s->folder);
    if (e == -ENOENT)
        return SWAP_OK;
    if (e == -EAGAIN)
        return say(SWAP_IN_USE, "%s: is mounted by a process that is running", s->folder);
    if (e == -EPERM)
        return say(SWAP_FAILED,
                   "%s: %s, so it is not believed, and nothing was changed. If a mount of another "
                   "user has died here, that user has to run: cachemax-winfsp --recover %s. Else "
                   "look who made it, and delete it",
                   s->journal, why, s->folder);
    if (e < 0)
        return say(SWAP_FAILED, "%s: %s", s->journal, strerror(-e));
    if (!read_id(text, id))
        *id = '\0';
    r = restore(s, id);
    return r == SWAP_OK ? say(r, "%s: has its name again, after a crash", s->folder) : r;
}

enum swap_result swap_recover(const char *folder)
{
    struct swap s;
    const enum swap_result r = set_names(&s, folder);

    return r == SWAP_OK ? recover(&s) : r;
}

/* Something that a mount has left. What may not be looked at is there; what cannot be reached, as
 * on a volume that is not ready, is not. */
static bool is_left(const char *path)
{
    char id[SWAP_ID];
    const int e = swap_os_id(path, id);

    return e == 0 || e == -ENOTDIR || e == -EACCES;
}

enum swap_result swap_recover_if_left(const char *folder)
{
    struct swap s;

    return find_names(&s, folder) == 0 && (is_left(s.journal) || is_left(s.aside)) ? recover(&s)
                                                                                   : SWAP_OK;
}

/* By the names that both really have: links, and other letters on Windows, hide it otherwise. What
 * is not there has the name that was given. */
bool swap_is_below(const char *folder, const char *file)
{
    char top[SWAP_PATH], path[SWAP_PATH];
    size_t n;

    if ((swap_os_real(folder, top, sizeof(top)) < 0 ||
         swap_os_real(file, path, sizeof(path)) < 0) &&
        (swap_os_resolve(folder, top, sizeof(top)) < 0 ||
         swap_os_resolve(file, path, sizeof(path)) < 0))
        return false;
    n = strlen(top);
    return !strncmp(top, path, n) && (path[n] == '/' || path[n] == '\\');
}

/* The journal is there, and on the disk. */
static int write_journal(struct swap *s, const char *id)
{
    char text[TEXT_ROOM];
    int e = fault(SWAP_WRITE);

    snprintf(text, sizeof(text), "%sfolder %s\n", MAGIC, id);
    return e < 0 ? e : swap_os_write(s->lock, text);
}

static int move_aside(struct swap *s)
{
    int e = fault(SWAP_MOVE_ASIDE);

    e = e < 0 ? e : swap_os_move(s->folder, s->aside);
    e = e < 0 ? e : fault(SWAP_MAKE_PLACE);
    return e < 0 ? e : swap_os_make_place(s->folder);
}

enum swap_result swap_begin(struct swap *s, const char *folder)
{
    enum swap_result r = set_names(s, folder);
    int e;

    if (r == SWAP_OK)
        r = recover(s);
    if (r != SWAP_OK)
        return r;
    e = swap_os_id(s->folder, s->id);
    if (e < 0)
        return say(SWAP_FAILED, "%s: %s", s->folder, strerror(-e));
    e = fault(SWAP_CREATE);
    e = e < 0 ? e : swap_os_create(s->journal, &s->lock);
    if (e == -EEXIST)
        return say(SWAP_IN_USE, "%s: is being mounted by another process", s->folder);
    if (e < 0 && s->lock == -1)
        return say(SWAP_FAILED, "%s: %s", s->journal, strerror(-e));
    e = e < 0 ? e : write_journal(s, s->id);
    if (e == -EAGAIN) { /* what is there now is another's: nothing of it is to be undone */
        swap_os_close(s->lock);
        return say(SWAP_IN_USE, "%s: is being mounted by another process", s->folder);
    }
    e = e < 0 ? e : move_aside(s);
    if (e == 0)
        return SWAP_OK;
    say(SWAP_FAILED,
        "%s: cannot be renamed aside: %s. End the programs that have files of it open, and look "
        "whether you may rename it",
        s->folder, strerror(-e));
    restore(s, s->id);
    return SWAP_FAILED;
}

enum swap_result swap_end(struct swap *s)
{
    char id[SWAP_ID] = "";

    /* What is aside is what was renamed there: only that is compared. If nothing is, what has the
     * folder's name may be the place of the mount: then it must be the folder itself. */
    return restore(s, swap_os_id(s->aside, id) == 0 ? id : s->id);
}
