/* SPDX-License-Identifier: BSD-2-Clause
 *
 * paths.c - the files that a command is asked for, and the mounts that they lie on.
 *
 * Each operand leads to a mount: the system tells on which one a file lies, and the source of the
 * mount is its pool, beside which the control socket is. The mount gets the path below its root.
 * This process looks into directories, so that a mount has one file to do at a time.
 *
 * Who: control/.
 */
#include "tool/control/control.h"

#include <stdlib.h>
#include <string.h>

void files_complain(const struct control_file *file, const struct control_end *end)
{
    tool_message(file->path, "%s",
                 end->code == CM_ENOTSUP
                     ? "is not cached there: the mount cannot tell it from other files"
                     : end->text);
}

static char *copy_of(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = malloc(n);

    if (copy)
        memcpy(copy, text, n);
    return copy;
}

static int no_memory(void)
{
    tool_message(NULL, "out of memory");
    return TOOL_FAILED;
}

static size_t place_of(const struct control_files *f, uint64_t id)
{
    size_t k = 0;

    while (k < f->nmounts && (f->mounts[k].id != id || !f->mounts[k].point))
        k++;
    return k;
}

#define ANSWER_SECONDS 2

/* Who has the pool of a dead mount? */
static void complain_of_dead(const char *path, const struct os_mount *m)
{
    struct control *c = calloc(1, sizeof(*c));
    const int error = c ? control_open_mount(c, m, ANSWER_SECONDS) : CONTROL_DEAD;

    if (c)
        control_close(c);
    free(c);
    control_complain(path, m, control_is_dead(error) ? error : CONTROL_DEAD);
}

/* What is below a dead mount cannot be located. Its root can. */
bool files_on_dead(struct control_files *f, const char *path)
{
    char up[2][CONTROL_PATH_MAX], *real = NULL;
    uint64_t id = 0;
    size_t k;
    bool now = false;

    if (!os_mount_is_dead(path) || strlen(path) >= sizeof(up[0]) ||
        (!f->mounts && os_read_mounts(&f->mounts, &f->nmounts) != 0))
        return false;
    memcpy(up[now], path, strlen(path) + 1);
    while (os_is_dead(os_locate(up[now], &id, &real)) && strcmp(up[now], ".") != 0) {
        os_parent(up[now], up[!now], sizeof(up[0]));
        now = !now;
    }
    k = real ? place_of(f, id) : f->nmounts;
    if (k < f->nmounts)
        complain_of_dead(path, &f->mounts[k]);
    free(real);
    return k < f->nmounts;
}

int files_mount_of(struct control_files *f, const char *path, char **real, size_t *mount)
{
    uint64_t id = 0;
    int error;

    if (!f->mounts && (error = os_read_mounts(&f->mounts, &f->nmounts)) != 0) {
        tool_message(NULL, "the mounts cannot be listed: %s", os_error_text(error));
        return TOOL_FAILED;
    }
    error = os_locate(path, &id, real);
    if (os_is_dead(error) && files_on_dead(f, path))
        return TOOL_NO_MOUNT;
    if (error) {
        tool_message(path, "%s", os_error_text(error));
        return TOOL_FAILED;
    }
    *mount = place_of(f, id);
    if (*mount < f->nmounts && f->mounts[*mount].source[0] != '/') {
        tool_message(path, CONTROL_UNTOLD);
    } else if (*mount < f->nmounts) {
        return TOOL_OK;
    } else {
        tool_message(path, "is not on a mount of cachemax-mount; 'cachemax list' shows them");
    }
    free(*real);
    *real = NULL;
    return TOOL_NO_MOUNT;
}

static int found(void *ctx, const char *path, const struct os_found *file, int error)
{
    struct control_files *f = ctx;
    char *copy;

    if (error) {
        tool_message(path, "%s", os_error_text(error));
        f->failed++;
        return 0;
    }
    if (f->n == f->room) {
        const size_t room = f->room ? 2 * f->room : 64;
        struct control_file *wide = realloc(f->v, room * sizeof(*wide));

        if (!wide)
            return no_memory();
        f->v = wide;
        f->room = room;
    }
    copy = copy_of(path);
    if (!copy)
        return no_memory();
    f->v[f->n++] = (struct control_file){
        .path = copy, .is = *file, .size = file->size, .base = f->base, .mount = f->mount
    };
    return 0;
}

/* What cannot be looked at is told, and the others are done all the same. */
static int passed_over(struct control_files *f, int rc)
{
    f->failed++;
    if (!f->reason)
        f->reason = rc;
    return TOOL_OK;
}

static int add_operand(struct control_files *f, const char *path)
{
    const size_t n = f->n;
    const uint64_t failed = f->failed;
    char *real;
    int rc = files_mount_of(f, path, &real, &f->mount);

    if (rc != TOOL_OK)
        return passed_over(f, rc);
    f->base = strlen(real);
    rc = os_walk(real, found, f);
    if (rc < 0 && os_is_dead(-rc) && files_on_dead(f, path)) {
        rc = passed_over(f, TOOL_NO_MOUNT);
    } else if (rc < 0) {
        tool_message(path, "%s", os_error_text(-rc));
        rc = passed_over(f, TOOL_FAILED);
    } else if (rc == 0 && f->n == n && f->failed == failed && !os_is_directory(real)) {
        tool_message(path, "is no regular file, and no directory: nothing of it is cached");
        rc = passed_over(f, TOOL_FAILED);
    }
    free(real);
    return rc;
}

/* Adds a line of the list; an empty one is none. */
static int add_line(struct control_files *f, char *line, size_t n)
{
    line[n] = '\0';
    if (strlen(line) != n) {
        tool_message(NULL, "--list: a line has a byte 0 in it; write one path in a line");
        return TOOL_USAGE;
    }
    return n ? add_operand(f, line) : TOOL_OK;
}

static int read_list(struct control_files *f, const char *list)
{
    char line[CONTROL_PATH_MAX + 1];
    size_t have = 0;
    uint64_t off = 0;
    intptr_t file;
    int rc = TOOL_OK, error = os_open_file(strcmp(list, "-") ? list : "/dev/stdin", &file);

    if (error) {
        tool_message(list, "%s", os_error_text(error));
        return TOOL_FAILED;
    }
    while (rc == TOOL_OK) {
        char *end = memchr(line, '\n', have);
        int64_t n = 0;

        if (end) {
            const size_t taken = (size_t)(end - line) + 1;

            rc = add_line(f, line, taken - 1);
            memmove(line, line + taken, have - taken);
            have -= taken;
            continue;
        }
        if (have < CONTROL_PATH_MAX)
            n = os_read_at(file, off, line + have, CONTROL_PATH_MAX - have, &error);
        if (n <= 0)
            break;
        off += (uint64_t)n;
        have += (size_t)n;
    }
    os_close_file(file);
    if (rc == TOOL_OK && (have == CONTROL_PATH_MAX || error)) {
        tool_message(list, "%s", error ? os_error_text(error) : "a line is too long");
        rc = TOOL_FAILED;
    }
    return rc == TOOL_OK ? add_line(f, line, have) : rc;
}

static int by_path(const void *left, const void *right)
{
    const struct control_file *a = left, *b = right;
    const int order = strcmp(a->path, b->path);

    return order ? order : a->base < b->base ? -1 : a->base > b->base;
}

static void each_once(struct control_files *f)
{
    size_t n = 0;

    if (f->n > 0)
        qsort(f->v, f->n, sizeof(*f->v), by_path);
    for (size_t i = 0; i < f->n; i++) {
        if (n > 0 && !strcmp(f->v[i].path, f->v[n - 1].path)) {
            free(f->v[i].path);
            continue;
        }
        f->bytes += f->v[i].size;
        f->v[n++] = f->v[i];
    }
    f->n = n;
}

/* Those of one file lie together then, in the order of their paths. */
static int by_file(const void *left, const void *right)
{
    const struct control_file *a = *(struct control_file *const *)left;
    const struct control_file *b = *(struct control_file *const *)right;

    if (a->is.device != b->is.device)
        return a->is.device < b->is.device ? -1 : 1;
    if (a->is.number != b->is.number)
        return a->is.number < b->is.number ? -1 : 1;
    return a < b ? -1 : 1;
}

/* Finds the names of files that have an earlier one in the list. */
static int find_other_names(struct control_files *f)
{
    struct control_file **v;
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        n += f->v[i].is.number != 0;
    if (n == 0)
        return TOOL_OK;
    v = malloc(n * sizeof(struct control_file *));
    if (!v)
        return no_memory();
    n = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].is.number != 0)
            v[n++] = &f->v[i];
    qsort(v, n, sizeof(struct control_file *), by_file);
    for (size_t i = 1; i < n; i++) {
        v[i]->again =
            v[i]->is.device == v[i - 1]->is.device && v[i]->is.number == v[i - 1]->is.number;
        v[i]->other = (size_t)(v[i - 1] - f->v);
    }
    free(v);
    return TOOL_OK;
}

int files_collect(struct control_files *f, const struct tool_args *args, const char *list)
{
    int rc = TOOL_OK;

    *f = (struct control_files){ .v = NULL };
    for (size_t i = 0; i < args->noperands && rc == TOOL_OK; i++)
        rc = add_operand(f, args->operands[i]);
    if (rc == TOOL_OK && list)
        rc = read_list(f, list);
    each_once(f);
    if (rc == TOOL_OK)
        rc = find_other_names(f);
    if (rc == TOOL_OK && f->n == 0 && f->reason)
        rc = f->reason;
    if (rc == TOOL_OK)
        os_catch_interrupts();
    return rc;
}

/* One that is gone since, or failed, counts for nothing: then the next one does. */
bool files_counts(const struct control_files *f, size_t i, size_t from)
{
    for (; f->v[i].again && f->v[i].other >= from; i = f->v[i].other)
        if (f->v[f->v[i].other].known)
            return false;
    return true;
}

void files_free(struct control_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->v[i].path);
    free(f->v);
    os_free_mounts(f->mounts, f->nmounts);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void on_is(void *ctx, const char *name, const char *value)
{
    struct sweep *s = ctx;
    uint64_t *const at = !strcmp(name, "size")         ? &s->size
                         : !strcmp(name, "cached")     ? &s->cached
                         : !strcmp(name, "stored")     ? &s->stored
                         : !strcmp(name, "read")       ? &s->read
                         : !strcmp(name, "pinned")     ? &s->pinned
                         : !strcmp(name, "pinned_max") ? &s->pinned_max
                         : !strcmp(name, "room")       ? &s->room
                         : !strcmp(name, "left_out")   ? &s->left_out
                         : !strcmp(name, "verified")   ? &s->verified
                         : !strcmp(name, "differed")   ? &s->differed
                         : !strcmp(name, "undecided")  ? &s->undecided
                                                       : NULL;

    if (!strcmp(name, "quota"))
        control_limit_take(&s->limit, value);
    else if (!strcmp(name, "why"))
        (void)snprintf(s->why, sizeof(s->why), "%s", value);
    else if (at && !control_number(value, at))
        *at = 0;
}

static int on_at(void *ctx, uint64_t done, uint64_t total)
{
    struct sweep *s = ctx;

    return s->at ? s->at(s, done, total) : os_interrupted();
}

/* What is behind the point of the mount, below the directory that is mounted there. */
static bool below(const struct os_mount *m, const char *path, char text[CONTROL_PATH_MAX])
{
    const char *root = m->root + strspn(m->root, "/");
    const size_t skip = strcmp(m->point, "/") ? strlen(m->point) : 0;
    const char *rest = path + (strlen(path) > skip ? skip : strlen(path));
    int n;

    rest += strspn(rest, "/");
    n = snprintf(text, CONTROL_PATH_MAX, "%s%s%s", root, *root && *rest ? "/" : "", rest);
    return n >= 0 && (size_t)n < CONTROL_PATH_MAX;
}

static int ask(struct control_files *f, struct control *c, struct sweep *s,
               struct control_file *file, size_t *connected)
{
    const struct control_listener listener = { .is = on_is, .at = on_at, .ctx = s };
    const struct os_mount *m = &f->mounts[file->mount];
    char path[CONTROL_PATH_MAX];
    int error = 0;

    if (*connected != file->mount || !c->open) {
        control_close(c);
        error = control_open_mount(c, m, OS_FOREVER);
        *connected = file->mount;
    }
    s->size = s->cached = s->stored = s->read = s->pinned = s->left_out = s->limit.most = 0;
    s->verified = s->differed = s->undecided = 0;
    s->why[0] = '\0';
    if (error == 0 && !below(m, file->path, path)) {
        s->end.code = CM_EINVAL;
        (void)snprintf(s->end.text, sizeof(s->end.text), "its path is too long");
    } else if (error == 0) {
        error = control_ask_again(c, m, s->verb, s->number, path, &listener, s->progress, &s->end);
    }
    if (error == 0 && control_is_away(s->end.code))
        error = s->end.code; /* the other files would get the same answer */
    if (os_interrupted() || error == 0 || error == CONTROL_STOPPED)
        return error;
    control_complain(m->point, m, error);
    return error;
}

/* It was found in a directory, and has gone since: then there is nothing to do for it. */
static bool has_gone(const struct sweep *s, const struct control_file *file)
{
    return (s->end.code == CONTROL_NO_FILE || s->end.code == CONTROL_NO_DIRECTORY) &&
           file->path[file->base] != '\0';
}

int files_sweep(struct control_files *f, struct sweep *s)
{
    struct control *c = calloc(1, sizeof(*c));
    size_t connected = f->nmounts;
    int error = 0, stop = 0;

    if (!c)
        return no_memory();
    for (size_t i = 0; i < f->n && error == 0 && !stop; i++) {
        error = ask(f, c, s, &f->v[i], &connected);
        if (error == 0 && has_gone(s, &f->v[i])) {
            s->gone++;
            s->gone_bytes += f->v[i].size;
            stop = os_interrupted();
        } else if (error == 0) {
            f->v[i].known = s->end.code >= 0;
            f->v[i].cached = s->cached;
            f->v[i].pinned = s->pinned != 0;
            stop = s->done(s, &f->v[i]) || os_interrupted();
        }
    }
    control_close(c);
    free(c);
    return error && error != CONTROL_STOPPED && !os_interrupted() ? TOOL_NO_MOUNT : TOOL_OK;
}

static bool has_file(const struct control_files *f, size_t mount)
{
    size_t i = 0;

    while (i < f->n && f->v[i].mount != mount)
        i++;
    return i < f->n;
}

/* Once for each: the files of one need not come one after the other. */
bool files_say_lost(const struct control_files *f)
{
    bool lost = false;

    for (size_t k = 0; k < f->nmounts; k++)
        if (has_file(f, k) && control_pool_is_lost(&f->mounts[k])) {
            tool_message(f->mounts[k].point, CONTROL_POOL_LOST);
            lost = true;
        }
    return lost;
}

/* ---- One mount ------------------------------------------------------------------------------- */

/* A mount may be in several places, and several mounts may use one service. */
bool control_same_mount(const struct os_mount *a, const struct os_mount *b)
{
    return !strcmp(a->source, b->source) && !strcmp(a->device, b->device);
}

static int only_mount(struct control_files *f, size_t *mount)
{
    const int error = os_read_mounts(&f->mounts, &f->nmounts);
    size_t n = 0;

    if (error) {
        tool_message(NULL, "the mounts cannot be listed: %s", os_error_text(error));
        return TOOL_FAILED;
    }
    for (size_t i = 0; i < f->nmounts; i++) {
        const char *source = f->mounts[i].source;

        if (source[0] != '/' || /* its pool is not known */
            (n > 0 && control_same_mount(&f->mounts[i], &f->mounts[*mount])))
            continue;
        *mount = i;
        n++;
    }
    if (n == 1)
        return TOOL_OK;
    tool_message(NULL, n ? "there are several mounts: name a path on the one that is meant"
                         : "there is no mount of cachemax-mount");
    return n ? TOOL_USAGE : TOOL_NO_MOUNT;
}

static int add_below(struct control_scope *s, const char *path)
{
    char text[CONTROL_PATH_MAX], *real, *copy = NULL;
    size_t mount;
    int rc = files_mount_of(&s->files, path, &real, &mount);

    if (rc != TOOL_OK)
        return rc;
    if (s->n > 0 && !control_same_mount(&s->files.mounts[mount], &s->files.mounts[s->mount])) {
        tool_message(path, "is on another mount; name paths on one");
        rc = TOOL_USAGE;
    } else if (!below(&s->files.mounts[mount], real, text)) {
        tool_message(path, "its path is too long");
        rc = TOOL_FAILED;
    } else if (!(copy = copy_of(text))) {
        rc = no_memory();
    } else {
        s->mount = mount;
        s->below[s->n++] = copy;
    }
    free(real);
    return rc;
}

int control_scope_find(struct control_scope *s, char *const *paths, size_t n)
{
    int rc = TOOL_OK;

    *s = (struct control_scope){ .n = 0 };
    if (n == 0)
        return only_mount(&s->files, &s->mount);
    s->below = calloc(n, sizeof(*s->below));
    if (!s->below)
        return no_memory();
    for (size_t i = 0; i < n && rc == TOOL_OK; i++)
        rc = add_below(s, paths[i]);
    return rc;
}

bool control_in_scope(const struct control_scope *s, const char *path)
{
    bool is = s->n == 0;

    for (size_t i = 0; i < s->n && !is; i++) {
        const size_t n = strlen(s->below[i]);

        is = n == 0 || (!strncmp(path, s->below[i], n) && (!path[n] || path[n] == '/'));
    }
    return is;
}

void control_scope_free(struct control_scope *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->below[i]);
    free(s->below);
    files_free(&s->files);
}
