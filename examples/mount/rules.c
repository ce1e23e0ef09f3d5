/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rules.c - which files are cached: --include, --exclude, --max-file-size, --exclude-owner; and how
 *           they are read: --advise. (--quota: quota.c.)
 *
 * A file is judged when it is opened, and before it is attached for another reason (cache.c), by
 * what it is at that moment: its path, size and owner. Of several names that counts by which it was
 * found. A file whose path cannot be told is left out if there are patterns.
 *
 * Advice is asked for when a file is attached.
 *
 * No state. Who: options.c, quota.c, cache.c, ops_open.c, backing_pool.c; any thread.
 */
#include "mount.h"

#include "../service/folders.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>

/* ---- Options ------------------------------------------------------------------------------- */

int rules_wrong(const char *name, const char *value, const char *why)
{
    say(CM_LOG_ERROR, "%s=%s: %s", name, value, why);
    return EXIT_USAGE;
}

static int no_memory(const char *name)
{
    say(CM_LOG_ERROR, "%s: out of memory", name);
    return EXIT_RUNTIME;
}

static int add_pattern(const char *name, const char *value, struct patterns *p)
{
    const char *const fault = folders_pattern_fault(value);
    char **more;

    if (fault)
        return rules_wrong(name, value, fault);
    more = realloc(p->v, (p->n + 1) * sizeof(*more));
    if (!more)
        return no_memory(name);
    p->v = more;
    p->v[p->n] = strdup(value);
    return p->v[p->n++] ? 0 : no_memory(name);
}

/* PATTERN=ADVICE. */
static int add_advice(const char *name, const char *value, struct rules *r)
{
    static const struct {
        const char *word;
        int advice;
    } words[] = { { "=sequential", CM_ADVISE_SEQUENTIAL },
                  { "=noreuse", CM_ADVISE_NOREUSE },
                  { "=keep", CM_ADVISE_KEEP } };
    const char *const equals = strrchr(value, '=');
    struct patterns pattern = { .n = 0 };
    struct advice *more;
    char *copy;
    int rc;

    for (size_t k = 0; equals && k < sizeof(words) / sizeof(words[0]); k++) {
        if (strcmp(equals, words[k].word))
            continue;
        copy = strndup(value, (size_t)(equals - value));
        more = realloc(r->advice, (r->advised + 1) * sizeof(*more));
        if (more)
            r->advice = more;
        rc = copy && more ? add_pattern(name, copy, &pattern) : no_memory(name);
        if (rc == 0)
            more[r->advised++] = (struct advice){ pattern.v[0], words[k].advice };
        free(pattern.v);
        free(copy);
        return rc;
    }
    return rules_wrong(name, value, "expected PATTERN=ADVICE: sequential, noreuse or keep");
}

/* A name or a number. */
static int add_owner(const char *name, const char *value, struct rules *r)
{
    const struct passwd *const user = getpwnam(value);
    char *end;
    const unsigned long n = strtoul(value, &end, 10);
    uid_t *more;

    if (!user && (value[0] < '0' || value[0] > '9' || *end || n > (uid_t)-2))
        return rules_wrong(name, value, "there is no such user");
    more = realloc(r->owner, (r->owners + 1) * sizeof(*more));
    if (!more)
        return no_memory(name);
    r->owner = more;
    r->owner[r->owners++] = user ? user->pw_uid : (uid_t)n;
    return 0;
}

bool rules_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end;
    const char *unit;
    unsigned shift = 0;
    const unsigned long long n = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9')
        return false;
    unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        end += !strcmp(end + 1, "iB") ? 3 : 1;
    }
    *bytes = n << shift;
    return !*end && n > 0 && n <= (uint64_t)INT64_MAX >> shift;
}

bool rules_has(const char *name)
{
    static const char *const names[] = { "include",       "exclude", "exclude-owner",
                                         "max-file-size", "advise",  "quota" };

    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
        if (!strcmp(name, names[k]))
            return true;
    return false;
}

int rules_take(const char *name, const char *value, struct rules *r)
{
    if (!value || !*value)
        return rules_wrong(name, "", "a value is missing");
    if (!strcmp(name, "include"))
        return add_pattern(name, value, &r->include);
    if (!strcmp(name, "exclude"))
        return add_pattern(name, value, &r->exclude);
    if (!strcmp(name, "exclude-owner"))
        return add_owner(name, value, r);
    if (!strcmp(name, "advise"))
        return add_advice(name, value, r);
    if (!strcmp(name, "quota"))
        return quota_take(name, value, &r->quotas);
    return rules_size(value, &r->size_max)
               ? 0
               : rules_wrong(name, value, "expected a size, such as 64M: " RULES_SIZES);
}

/* ---- Judging ------------------------------------------------------------------------------- */

bool rules_any(void)
{
    const struct rules *const r = &mnt.opt.rules;

    return r->include.n || r->exclude.n || r->owners || r->size_max;
}

static bool matches(const struct patterns *p, const char *path)
{
    for (unsigned k = 0; k < p->n; k++)
        if (folders_pattern_matches(p->v[k], path))
            return true;
    return false;
}

const char *rules_why(int fd)
{
    const struct rules *const r = &mnt.opt.rules;
    char whole[PATH_MAX];
    const char *path;
    struct stat st;

    if (r->size_max || r->owners) {
        if (fstat(fd, &st) < 0)
            return "";
        if (r->size_max && (uint64_t)st.st_size > r->size_max)
            return "size";
        for (unsigned k = 0; k < r->owners; k++)
            if (r->owner[k] == st.st_uid)
                return "owner";
    }
    if (!r->include.n && !r->exclude.n)
        return NULL;
    path = path_of_fd(fd, whole, sizeof(whole)) ? place_below(whole) : NULL;
    if (!path)
        return "";
    return matches(&r->exclude, path)                    ? "exclude"
           : r->include.n && !matches(&r->include, path) ? "include"
                                                         : NULL;
}

bool rules_leave_out(int fd)
{
    return rules_why(fd) != NULL;
}

int rules_advice(int fd)
{
    const struct rules *const r = &mnt.opt.rules;
    char whole[PATH_MAX];
    const char *const path =
        r->advised && path_of_fd(fd, whole, sizeof(whole)) ? place_below(whole) : NULL;

    for (unsigned k = 0; path && k < r->advised; k++)
        if (folders_pattern_matches(r->advice[k].pattern, path))
            return r->advice[k].advice;
    return CM_ADVISE_NORMAL;
}
