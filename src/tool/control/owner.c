/* SPDX-License-Identifier: BSD-2-Clause
 *
 * owner.c - commands on a pool that a running mount has open: the mount is asked, through its
 * control socket.
 *
 * What the mount says is looked at as what a pool says: it is bounded, and of unknown origin.
 *
 * Who: the commands that work on a pool that a mount may have open.
 */
#include "tool/control/control.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_SECONDS 10

/* Asks the owner of the pool; a CM_* code. *lost: it was asked, and has ended the connection. */
static int ask_and_see(const char *pool, const char *verb, uint64_t number,
                       const struct control_listener *listener, bool *lost)
{
    struct control *c = calloc(1, sizeof(*c));
    struct control_end end = { .code = 0 };
    uint64_t user = 0;
    int rc = c ? CM_EOWNED : CM_ENOMEM, error;

    *lost = false;
    if (c && os_owner(pool, &user) && control_open(c, pool, user, ANSWER_SECONDS) == 0) {
        error = control_ask(c, verb, number, "", OS_FOREVER, listener, &end);
        control_close(c);
        *lost = error == CONTROL_ENDED || error > 0;
        if (error == OS_INTERRUPTED || error == CONTROL_STOPPED)
            rc = CM_ECANCELED;
        else if (error)
            rc = CM_EOWNED;
        else
            rc = end.code == CONTROL_BUSY || end.code == CONTROL_RESIZING ||
                         end.code == CONTROL_NO_POOL || end.code == CONTROL_CROWD
                     ? CM_EBUSY
                 : end.code == CONTROL_MOVED ? CM_EMOVED
                 : end.code <= CONTROL_ERRNO ? CM_EIO
                                             : end.code;
    }
    free(c);
    return rc;
}

static int ask(const char *pool, const char *verb, uint64_t number,
               const struct control_listener *listener)
{
    bool lost;

    return ask_and_see(pool, verb, number, listener, &lost);
}

/* ---- Files ----------------------------------------------------------------------------------- */

struct listing {
    bool (*add)(void *ctx, const cm_file_info *info);
    void *ctx;
    int error;
};

/* Moves *text behind a number and its blank. */
static bool take_number(const char **text, uint64_t *value)
{
    const char *blank = strchr(*text, ' ');

    if (!blank || !control_number(*text, value))
        return false;
    *text = blank + 1;
    return true;
}

static bool take_id(const char **text, uint64_t *value)
{
    const char *p = *text;

    *value = 0;
    for (; (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'); p++)
        *value = *value << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
    if (p - *text != 16 || *p != ' ')
        return false;
    *text = p + 1;
    return true;
}

static void on_file(void *ctx, const char *name, const char *value)
{
    struct listing *l = ctx;
    cm_file_info info = { .struct_size = sizeof(info) };
    uint64_t used, state;

    if (strcmp(name, "file") != 0 || l->error)
        return;
    if (!take_id(&value, &info.id.hi) || !take_id(&value, &info.id.lo) ||
        !take_number(&value, &info.size) || !take_number(&value, &info.cached_bytes) ||
        !take_number(&value, &info.hits) || !take_number(&value, &used) ||
        !take_number(&value, &state)) {
        l->error = CM_EOWNED;
        return;
    }
    info.last_used_ns = used <= INT64_MAX ? (int64_t)used : 0;
    info.dirty = state & 1;
    info.racy = state >> 1 & 1;
    info.bypassed = state >> 2 & 1;
    info.keep = state >> 3 & 1;
    (void)snprintf(info.name, sizeof(info.name), "%s", value);
    if (!l->add(l->ctx, &info))
        l->error = CM_ENOMEM;
}

int owner_files(const char *pool, uint32_t flags, bool (*add)(void *ctx, const cm_file_info *info),
                void *ctx)
{
    struct listing l = { .add = add, .ctx = ctx };
    const struct control_listener listener = { .is = on_file, .ctx = &l };
    const int rc = ask(pool, "files", flags, &listener);

    return rc ? rc : l.error;
}

/* ---- Check ----------------------------------------------------------------------------------- */

struct checking {
    cm_check_report *report;
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

static void on_count(void *ctx, const char *name, const char *text)
{
    const struct checking *k = ctx;
    uint64_t value;

    if (!control_number(text, &value))
        return;
#define TAKE(member)                                                                               \
    if (!strcmp(name, #member))                                                                    \
        k->report->member = value;
    TAKE(slots)
    TAKE(valid)
    TAKE(orphaned)
    TAKE(bad_headers)
    TAKE(bad_payload)
    TAKE(unreadable)
    TAKE(stale_cells)
    TAKE(bad_cells)
    TAKE(duplicates)
    TAKE(records)
    TAKE(torn_records)
    TAKE(dropped)
    TAKE(second_bucket)
    TAKE(torn)
#undef TAKE
    if (!strcmp(name, "would_empty"))
        k->report->would_empty = value != 0;
    if (!strcmp(name, "superblocks_damaged"))
        k->report->superblocks_damaged = value != 0;
}

static int on_at(void *ctx, uint64_t done, uint64_t total)
{
    const struct checking *k = ctx;

    return k->progress(k->ctx, done, total);
}

int owner_check(const char *pool, uint32_t flags,
                int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                cm_check_report *report)
{
    struct checking k = { .report = report, .progress = progress, .ctx = ctx };
    const struct control_listener listener = { .is = on_count, .at = on_at, .ctx = &k };

    return ask(pool, "check", flags, &listener);
}

/* ---- Another size ---------------------------------------------------------------------------- */

struct resizing {
    const cm_resize_options *options;
    cm_resize_report *report;
    struct owner_resizing *course;
};

/* Once for each way, when it has begun: a copy may be refused before that. */
static void on_course(struct owner_resizing *w, bool begun)
{
    if (begun && !w->told)
        w->on_course(w);
    w->told = w->told || begun;
}

static void on_way(struct owner_resizing *w, bool in_place)
{
    w->in_place = in_place;
    w->told = false;
    on_course(w, in_place);
}

static void on_resized(void *ctx, const char *name, const char *value)
{
    const struct resizing *const z = ctx;
    cm_resize_report *const r = z->report;
    uint64_t *const at = !strcmp(name, "old_size")     ? &r->old_size
                         : !strcmp(name, "blocks")     ? &r->blocks
                         : !strcmp(name, "no_room")    ? &r->no_room
                         : !strcmp(name, "damaged")    ? &r->damaged
                         : !strcmp(name, "files")      ? &r->files
                         : !strcmp(name, "files_lost") ? &r->files_lost
                         : !strcmp(name, "kept_files") ? &r->kept_files
                                                       : NULL;

    if (!strcmp(name, "in_place"))
        on_way(z->course, strcmp(value, "0") != 0);
    else if (!strcmp(name, "emptied"))
        r->emptied = strcmp(value, "0") != 0;
    else if (at && !control_number(value, at))
        *at = 0;
}

static int on_resizing(void *ctx, uint64_t done, uint64_t total)
{
    const struct resizing *const z = ctx;
    const cm_resize_options *const o = z->options;

    on_course(z->course, true);
    return o->progress ? o->progress(o->progress_ctx, done, total) : 0;
}

int owner_resize(const char *pool, const cm_resize_options *options, cm_resize_report *report,
                 struct owner_resizing *course)
{
    struct resizing r = { options, report, course };
    const struct control_listener listener = { .is = on_resized, .at = on_resizing, .ctx = &r };
    const int rc = ask_and_see(pool, "resize", options->size, &listener, &course->lost);

    course->moved = rc == CM_EMOVED && !course->told;
    return rc == CM_ENOTSUP ? CM_EOWNED : rc;
}

bool owner_is_asked(const char *pool)
{
    cm_info info = { .struct_size = sizeof(info) };
    uint64_t user;

    return cm_pool_info(pool, &info) == 0 && info.owned && os_owner(pool, &user) &&
           (os_is_user(user) || os_is_user(0));
}

/* ---- The end of the mount -------------------------------------------------------------------- */

#define LOOK_SECONDS 0.05
#define SOON_SECONDS 1

/* A mount that ends still takes clients for a while, but has no answer for them. */
static bool answers(const char *pool)
{
    struct control *c = calloc(1, sizeof(*c));
    uint64_t user = 0;
    const bool does = c && os_owner(pool, &user) && control_open(c, pool, user, SOON_SECONDS) == 0;

    if (does)
        control_close(c);
    free(c);
    return does;
}

char *owner_mounted_at(const char *pool)
{
    struct os_mount *mounts = NULL;
    char *const real = os_real_path(pool), *point = NULL;
    size_t n = 0;

    if (real && os_read_mounts(&mounts, &n) == 0) {
        for (size_t i = 0; i < n && !point; i++) {
            char *source = mounts[i].source ? os_real_path(mounts[i].source) : NULL;

            if (source && !strcmp(source, real)) {
                point = mounts[i].point;
                mounts[i].point = NULL;
            }
            free(source);
        }
    }
    os_free_mounts(mounts, n);
    free(real);
    return point;
}

/* One that was unmounted just now may still answer. */
static bool serves(const char *pool)
{
    char *point = owner_mounted_at(pool);
    const bool mounted = point != NULL;

    free(point);
    return mounted && answers(pool);
}

/* The file of the pool was moved alone, so its socket is still at the old path. There may be
 * another pool by now. */
bool owner_moved(uint32_t process)
{
    struct control *c = calloc(1, sizeof(*c));
    struct os_mount *mounts = NULL;
    size_t n = 0;
    bool moved = false;

    if (c && process && os_read_mounts(&mounts, &n) == 0)
        for (size_t i = 0; i < n && !moved; i++) {
            const struct os_mount *const m = &mounts[i];
            const int error = m->source[0] == '/'
                                  ? control_open(c, m->source, m->user, SOON_SECONDS)
                                  : CONTROL_ENDED;

            moved = (error == 0 || error == CONTROL_OTHER) && c->process == process;
            control_close(c);
        }
    os_free_mounts(mounts, n);
    free(c);
    return moved;
}

bool owner_has_moved(const char *pool)
{
    cm_info info = { .struct_size = sizeof(info) };
    char *const point = owner_mounted_at(pool);
    const bool moved = !point && cm_pool_info(pool, &info) == 0 && owner_moved(info.owner_pid);

    free(point);
    return moved;
}

void owner_say_moved(const char *pool, const char *then)
{
    tool_message(pool,
                 "the pool was moved or renamed, and its mount knows it by the old path ('cachemax "
                 "list'): move the pool back; or unmount, %s. What is cached stays",
                 then);
}

/* `umount` returns before the mount has closed its pool, and before it has closed its socket. Of a
 * killed one the memory goes before its files. */
bool owner_leaves(const char *pool, unsigned seconds)
{
    const uint64_t most = seconds * UINT64_C(1000000000);
    const uint64_t begun = cm_now();
    cm_info info = { .struct_size = sizeof(info) };
    char program[OS_PROGRAM];

    while (!os_interrupted() && cm_now() - begun < most) {
        if (cm_pool_info(pool, &info) != 0 || !info.owned)
            return true;
        os_program(info.owner_pid, program);
        if (strcmp(program, "cachemax-mount") != 0 || serves(pool) || owner_moved(info.owner_pid))
            return false;
        os_sleep(LOOK_SECONDS);
    }
    return false;
}

/* ---- Cat ------------------------------------------------------------------------------------- */

/* Is this pool the mount's, or that of its service? It is asked. 0: it is. Else an error, and `why`
 * is the text. */
static int ask_for_pool(const struct os_mount *m, const char *pool, char why[OWNER_WHY])
{
    struct control *c = calloc(1, sizeof(*c));
    int error = c ? control_open_mount(c, m, ANSWER_SECONDS) : CONTROL_ENDED;

    if (error)
        (void)snprintf(why, OWNER_WHY, "%s%s", control_why(m, error), control_after_why(error));
    else if ((error = control_has_pool(c, pool, ANSWER_SECONDS)) != 0)
        (void)snprintf(why, OWNER_WHY, "%s",
                       error == CONTROL_OTHER ? "it has another pool" : control_error_text(error));
    if (c)
        control_close(c);
    free(c);
    return error;
}

/* 0: the file lies on a mount that has the pool. CM_EABSENT: on no mount. CM_EOWNED: on one that
 * has another pool, or does not say. CM_EIO: maybe on one. With these two, `why` is the text. */
static int mount_with(const char *pool, const char *path, char why[OWNER_WHY])
{
    struct os_volume volume;
    struct os_mount *mounts = NULL;
    size_t n = 0;
    uint64_t id = 0;
    char *real = NULL;
    int error = os_locate(path, &id, &real), rc = CM_EABSENT;

    if (error == 0)
        error = os_read_mounts(&mounts, &n);
    if (error && os_volume(path, &volume) && !strcmp(volume.type, "fuse")) {
        (void)snprintf(why, OWNER_WHY, "%s", os_error_text(error));
        rc = CM_EIO;
    }
    for (size_t i = 0; i < n && rc != 0; i++)
        if (mounts[i].id == id)
            rc = ask_for_pool(&mounts[i], pool, why) ? CM_EOWNED : 0;
    os_free_mounts(mounts, n);
    free(real);
    return rc;
}

bool owner_serves(const char *pool, const char *path)
{
    char why[OWNER_WHY];

    return mount_with(pool, path, why) == 0;
}

static void on_id(void *ctx, const char *name, const char *value)
{
    cm_file_id *id = ctx;
    char text[2 * 16 + 2];
    const char *p = text;

    if (strcmp(name, "id") != 0 || strlen(value) != 32)
        return;
    (void)snprintf(text, sizeof(text), "%.16s ", value);
    if (!take_id(&p, &id->hi))
        return;
    p = text;
    (void)snprintf(text, sizeof(text), "%.16s ", value + 16);
    (void)take_id(&p, &id->lo);
}

/* The mount at `path` is asked; as owner_file_id(). */
static int ask_for_id(const char *path, cm_file_id *id, char why[OWNER_WHY])
{
    const struct control_listener listener = { .is = on_id, .ctx = id };
    struct control_end end = { .code = 0 };
    struct control_scope scope;
    struct control *c = calloc(1, sizeof(*c));
    char *paths[] = { (char *)path };
    int error = c ? CONTROL_STOPPED : CONTROL_ENDED;

    if (c && control_scope_find(&scope, paths, 1) == TOOL_OK) {
        error = control_open_mount(c, &scope.files.mounts[scope.mount], ANSWER_SECONDS);
        if (error == 0)
            error = control_ask(c, "id", 0, scope.below[0], ANSWER_SECONDS, &listener, &end);
        control_close(c);
    }
    if (c)
        control_scope_free(&scope);
    free(c);
    if (error == 0 && end.code == 0 && (id->hi | id->lo) != 0)
        return 0;
    (void)snprintf(why, OWNER_WHY, "%s",
                   error      ? control_error_text(error)
                   : end.code ? end.text
                              : control_error_text(CONTROL_JUNK));
    return CM_EOWNED;
}

int owner_file_id(const char *pool, const char *path, cm_file_id *id, char why[OWNER_WHY])
{
    const int rc = mount_with(pool, path, why);

    *id = (cm_file_id){ 0, 0 };
    return rc ? rc : ask_for_id(path, id, why);
}
