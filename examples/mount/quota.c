/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quota.c - --quota: how much of the pool the files below a directory may take.
 *
 * A directory is a group of the library (cm_group_set_quota). The pool remembers of each file in
 * which group it is, so the number of the group must be the same at the next mount, whatever other
 * quotas there are then: it is a hash of the path below DIR. (With several DIRs, what lies at that
 * path below any of them counts together.) A file joins the group when it is attached, by the path
 * by which it was found. The longest path counts.
 *
 * Owns: the numbers. Who: rules.c for the options; backing_pool.c, resize.c, control_ops.c.
 */
#include "control.h"
#include "mount.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- Options ------------------------------------------------------------------------------- */

/* A size, or a part of the pool. */
static bool take_size(const char *text, struct quota *q)
{
    char *end;
    const size_t n = strlen(text);

    if (n > 0 && text[n - 1] == '%' && text[0] >= '0' && text[0] <= '9') {
        q->percent = strtod(text, &end);
        return end == text + n - 1 && q->percent > 0 && q->percent <= 100;
    }
    return rules_size(text, &q->bytes) && q->bytes >= 4096;
}

/* Names between single slashes, none of them "." or "..". */
static bool is_path(const char *path)
{
    for (size_t n; *path; path += n + (path[n] == '/')) {
        n = strcspn(path, "/");
        if (n == 0 || (n <= 2 && !strncmp(path, "..", n)) || (path[n] == '/' && !path[n + 1]))
            return false;
    }
    return true;
}

int quota_take(const char *name, const char *value, struct quotas *q)
{
    const char *const equals = strrchr(value, '='), *path = value;
    struct quota one = { .bytes = 0 };
    size_t n;

    if (!equals || !take_size(equals + 1, &one))
        return rules_wrong(name, value,
                           "expected PATH=SIZE, such as logs=10G or logs=5%; SIZE is at most 100%, "
                           "or 4096 bytes or more: " RULES_SIZES);
    while (*path == '/')
        path++;
    n = path < equals ? (size_t)(equals - path) : 0;
    while (n > 0 && path[n - 1] == '/')
        n--;
    one.path = strndup(path, n);
    if (!one.path) {
        say(CM_LOG_ERROR, "%s: out of memory", name);
        return EXIT_RUNTIME;
    }
    for (unsigned k = 0; k < q->n && n > 0; k++)
        if (!strcmp(q->v[k].path, one.path)) {
            free(one.path);
            return rules_wrong(name, value, "this directory has a quota already");
        }
    if (n == 0 || !is_path(one.path) || q->n == CM_GROUPS_MAX) {
        const bool many = n > 0 && is_path(one.path);
        free(one.path);
        return rules_wrong(name, value,
                           many ? "there are 16 already, and not more are possible"
                                : "the path must be one below the directory, without . or ..");
    }
    q->v[q->n++] = one;
    return 0;
}

/* ---- Groups -------------------------------------------------------------------------------- */

/* FNV-1a. 0 is no group. */
static uint32_t group_number(const char *path)
{
    uint32_t h = 2166136261u;

    for (const char *p = path; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return h ? h : 1;
}

static uint64_t bytes_of(const struct quota *q, uint64_t pool)
{
    const uint64_t bytes = q->bytes ? q->bytes : (uint64_t)(q->percent / 100 * (double)pool);

    return bytes < 4096 ? 4096 : bytes;
}

static int set_one(struct quota *q, uint64_t pool)
{
    const uint64_t bytes = bytes_of(q, pool);
    const struct quotas *const all = &mnt.opt.rules.quotas;
    int rc;

    q->group = group_number(q->path);
    for (const struct quota *p = all->v; p < q; p++)
        if (p->group == q->group) { /* one in 2^32 */
            say(CM_LOG_ERROR, "quota=%s: the pool cannot tell it from %s: leave one out", q->path,
                p->path);
            return EXIT_USAGE;
        }
    rc = cm_group_set_quota(mnt.cache, q->group, bytes);
    if (rc == 0 && bytes > pool)
        say(CM_LOG_WARNING, "quota=%s: limits nothing: it is %.1f MiB, and the pool holds %.1f MiB",
            q->path, (double)bytes / (1 << 20), (double)pool / (1 << 20));
    if (rc == 0)
        return 0;
    say(CM_LOG_ERROR, "quota=%s: %s", q->path, cm_strerror(rc));
    return EXIT_RUNTIME;
}

/* A mistyped path would limit nothing. */
static void warn_missing(const struct quota *q)
{
    const char *file_in = NULL;
    struct stat st;

    for (unsigned k = 0; k < mnt.opt.places; k++) {
        if (fstatat(mnt.opt.place[k].fd, q->path, &st, 0))
            continue;
        if (S_ISDIR(st.st_mode))
            return;
        file_in = mnt.opt.place[k].path;
    }
    if (file_in)
        say(CM_LOG_WARNING,
            "quota=%s: limits nothing: %s in %s is no directory; name the one that it is in",
            q->path, q->path, file_in);
    else
        say(CM_LOG_WARNING,
            "quota=%s: there is no directory %s in %s now; the quota begins with it", q->path,
            q->path, mnt.opt.dir);
}

int quota_begin(void)
{
    struct quotas *const all = &mnt.opt.rules.quotas;
    cm_info info = { .struct_size = sizeof(info) };
    int rc = 0;

    if (all->n == 0)
        return 0;
    rc = cm_get_info(mnt.cache, &info);
    if (rc) {
        say(CM_LOG_ERROR, "quota=%s: pool %s does not tell how large it is: %s", all->v->path,
            mnt.opt.pool, cm_strerror(rc));
        return EXIT_RUNTIME;
    }
    for (unsigned k = 0; k < all->n && !rc; k++)
        if (!(rc = set_one(&all->v[k], info.slots * 4096)))
            warn_missing(&all->v[k]);
    return rc;
}

void quota_grown(void)
{
    const struct quotas *const all = &mnt.opt.rules.quotas;
    cm_info info = { .struct_size = sizeof(info) };

    if (all->n == 0 || cm_get_info(mnt.cache, &info))
        return;
    for (const struct quota *q = all->v; q < all->v + all->n; q++)
        if (q->percent > 0 &&
            cm_group_set_quota(mnt.cache, q->group, bytes_of(q, info.slots * 4096)))
            say(CM_LOG_WARNING, "quota=%s: stays as it was before the pool became larger", q->path);
}

/* NULL: none. */
static const struct quota *quota_of(const char *path)
{
    const struct quotas *const all = &mnt.opt.rules.quotas;
    const struct quota *found = NULL;
    size_t longest = 0;

    for (unsigned k = 0; k < all->n; k++) {
        const size_t n = strlen(all->v[k].path);

        if (n > longest && !strncmp(path, all->v[k].path, n) && path[n] == '/') {
            longest = n;
            found = &all->v[k];
        }
    }
    return found;
}

/* Of the path behind an O_PATH descriptor. *known: there is one. */
static const struct quota *quota_behind(int fd, bool *known)
{
    char whole[PATH_MAX];
    const char *path = NULL;

    if (mnt.opt.rules.quotas.n && path_of_fd(fd, whole, sizeof(whole)))
        path = place_below(whole);
    *known = path != NULL;
    return path ? quota_of(path) : NULL;
}

void quota_join(cm_file *cf, int fd)
{
    bool known;
    const struct quota *const q = quota_behind(fd, &known);

    /* A file that moves meanwhile stays in its group. What is left to do after an error is done at
     * the next attach: the pool serves nothing of a file whose record it could not write. */
    if (known)
        (void)cm_file_set_group(cf, q ? q->group : 0);
}

/* The one that the pool counts an attached file for. */
static const struct quota *quota_given(const struct inode *i)
{
    const struct quotas *const all = &mnt.opt.rules.quotas;
    cm_file_info info = { .struct_size = sizeof(info) };

    if (all->n == 0 || cm_file_get_info(i->cf, &info) < 0)
        return NULL;
    for (unsigned k = 0; k < all->n; k++)
        if (all->v[k].group == info.group)
            return &all->v[k];
    return NULL;
}

/* Blocks are stored as a whole. Nothing is counted. */
bool quota_is_less(const struct inode *i, bool attached, uint64_t size)
{
    bool known;
    const struct quota *const q = attached ? quota_given(i) : quota_behind(i->fd, &known);
    cm_info info = { .struct_size = sizeof(info) };

    return q && cm_get_info(mnt.cache, &info) == 0 &&
           (size + 4095) / 4096 > bytes_of(q, info.slots * 4096) / 4096;
}

static bool is_full(uint64_t used, uint64_t most)
{
    return used >= most - most / 16;
}

bool quota_is_full(const struct inode *i)
{
    const struct quota *const q = quota_given(i);
    uint64_t used, most;

    return q && cm_group_usage(mnt.cache, q->group, &used, &most) == 0 && is_full(used, most);
}

static void tell(struct control_client *c, const struct quota *q, bool only_full)
{
    char text[PATH_MAX + 64];
    uint64_t used, most;

    if (cm_group_usage(mnt.cache, q->group, &used, &most) || (only_full && !is_full(used, most)))
        return;
    snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %s", used, most, q->path);
    (void)control_is_text(c, "quota", text);
}

void quota_tell(struct control_client *c)
{
    const struct quotas *const all = &mnt.opt.rules.quotas;

    for (unsigned k = 0; k < all->n; k++)
        tell(c, &all->v[k], false);
}

void quota_tell_full(struct control_client *c, int fd)
{
    bool known;
    const struct quota *const q = quota_behind(fd, &known);

    if (q)
        tell(c, q, true);
}
