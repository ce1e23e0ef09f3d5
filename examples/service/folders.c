/* SPDX-License-Identifier: BSD-2-Clause
 *
 * folders.c - which files a configuration wants to be cached.
 *
 * Owns: the rules of paths and patterns. No state.
 *
 * Who: config.c, remove.c; the mount's rules.c.
 */
#include "folders.h"

#include <stdint.h>
#include <string.h>

/* The driver's tests on other systems have names of Windows, too. */
#if defined(_WIN32) || defined(NAMES_OF_WINDOWS)
static const bool on_windows = true;
#else
static const bool on_windows = false;
#endif

static bool is_separator(char c)
{
    return c == '/' || (on_windows && c == '\\');
}

/* A byte as it is compared. */
static char fold(char c)
{
    if (is_separator(c))
        return '/';
    return on_windows && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* Bytes up to the next separator or the end. */
static size_t name_len(const char *at)
{
    size_t n = 0;

    while (at[n] && !is_separator(at[n]))
        n++;
    return n;
}

/* Does a pattern match all of `text`? After Krauss 2008, "Matching Wildcards: An Algorithm": one
 * place to go back to is enough, the last star. */
static bool matches(const char *pattern, size_t p_len, const char *text, size_t t_len)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;

    while (t < t_len) {
        if (p < p_len && pattern[p] == '*') {
            star = p++;
            from = t;
        } else if (p < p_len && (fold(pattern[p]) == fold(text[t]) ||
                                 (pattern[p] == '?' && !is_separator(text[t])))) {
            p++;
            t++;
        } else if (star != SIZE_MAX && !is_separator(text[from])) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < p_len && pattern[p] == '*')
        p++;
    return p == p_len;
}

static bool has_separator(const char *pattern)
{
    return pattern[name_len(pattern)] != 0;
}

bool folders_pattern_matches(const char *pattern, const char *path)
{
    const size_t p_len = strlen(pattern);
    size_t end = 0;

    for (const char *name = path; *name;) {
        const size_t n = name_len(name);
        const bool whole = has_separator(pattern);

        end = (size_t)(name - path) + n;
        if (whole ? matches(pattern, p_len, path, end) : matches(pattern, p_len, name, n))
            return true;
        name += n;
        name += *name ? 1 : 0;
    }
    return false;
}

const char *folders_path_fault(const char *path)
{
    const char *name = path;

    while (*name) {
        const size_t n = name_len(name);

        if ((n == 1 || n == 2) && strncmp(name, "..", n) == 0)
            return "the path must not have \".\" or \"..\" in it";
        if (n == 0 && name > path + 1)
            return "the path must not have two separators in a row";
        name += n;
        if (*name && !*++name && name > path + 1 && !(on_windows && name == path + 3))
            return "the path must not end with a separator";
    }
    return NULL;
}

const char *folders_pattern_fault(const char *pattern)
{
    const size_t n = strlen(pattern);

    if (n == 0)
        return "a pattern is missing";
    if (is_separator(pattern[0]) || is_separator(pattern[n - 1]))
        return "a pattern is a path below the directory, such as images or *.tmp: "
               "it must not begin or end with a separator";
    return strstr(pattern, "**") ? "a pattern must not have two stars in a row" : NULL;
}

bool folders_is_below(const char *folder, const char *path)
{
    size_t i = 0;

    for (; folder[i]; i++)
        if (fold(folder[i]) != fold(path[i]))
            return false;
    return !path[i] || is_separator(path[i]) || (i > 0 && is_separator(folder[i - 1]));
}

enum folders_verdict folders_judge(const struct folders *f, const char *path, const char **by)
{
    *by = NULL;
    for (unsigned i = 0; i < f->count; i++) {
        const char *rest = path + strlen(f->folder[i]);

        if (!folders_is_below(f->folder[i], path))
            continue;
        *by = f->folder[i];
        rest += is_separator(*rest) ? 1 : 0;
        for (unsigned k = 0; k < f->excludes; k++)
            if (folders_pattern_matches(f->exclude[k], rest)) {
                *by = f->exclude[k];
                return FOLDERS_EXCLUDED;
            }
        return FOLDERS_CACHED;
    }
    return FOLDERS_ELSEWHERE;
}
