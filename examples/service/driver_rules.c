/* SPDX-License-Identifier: BSD-2-Clause
 *
 * driver_rules.c - what the driver has to know when the service connects (driver_rules.h).
 *
 * Owns: nothing.
 *
 * Who: port_win32.c, main_win32.c, and the driver's test.
 */
#include "driver_rules.h"

#include "../windows/driver/filter_rules.h"

#include <stdio.h>
#include <string.h>

/* Appends "KEY=TEXT". False: there is no room. */
static bool put(char *to, uint32_t *n, const char *key, const char *text)
{
    const int bytes = snprintf(to + *n, DRIVER_RULES_MAX - *n, "%s=%s", key, text);

    if (bytes < 0 || (uint32_t)bytes >= DRIVER_RULES_MAX - *n)
        return false;
    *n += (uint32_t)bytes + 1;
    return true;
}

/* The letters of the volume: "\Device\HarddiskVolume5\pool" begins with it. */
static size_t volume_of(const char *name)
{
    const char *at = strchr(name + 1, '\\');

    at = at ? strchr(at + 1, '\\') : NULL;
    return at ? (size_t)(at - name) : strlen(name);
}

/* A stream beside the file's content? `path` is one of a volume, so it has no drive letter. */
static bool is_stream(const char *path)
{
    static const char content[] = "::$DATA";
    const char *const colon = strchr(path, ':');

    /* In any case of letters. No separator follows a stream's name. */
    return colon && (strlen(colon) != strlen(content) || !folders_is_below(content, colon));
}

/* As driver_passes_by(). `name`: that in the kernel; NULL: it has none. */
static const char *passed_by(const char *name, const char *pools_volume)
{
    if (!name)
        return "is on no volume that is there; the driver passes it by. Start the service again "
               "when the volume has come";
    if (folders_is_below("\\Device\\Mup", name))
        return "is on a network; the driver passes it by. Run it on the machine that has the disk";
    if (folders_is_below(pools_volume, name))
        return "is on the pool's volume; the driver passes it by. Make the pool on another volume";
    if (fc_is_the_systems(name + volume_of(name)))
        return "is needed by the system itself; the driver never caches it. Name other folders";
    if (is_stream(name + volume_of(name)))
        return "is a stream beside a file's content; the driver caches the content only";
    return NULL;
}

const char *driver_passes_by(const char *path, const char *pool, driver_name name)
{
    char text[DRIVER_NAME_MAX], volume[DRIVER_NAME_MAX];

    if (!name(pool, volume))
        return NULL;
    volume[volume_of(volume)] = 0;
    return passed_by(name(path, text) ? text : NULL, volume);
}

enum folders_verdict driver_judge(const struct folders *f, const char *path, driver_name name,
                                  const char **by)
{
    char text[DRIVER_NAME_MAX], folder[DRIVER_NAME_MAX];
    struct folders one = *f;

    if (!name(path, text))
        return folders_judge(f, path, by);
    one.count = 1;
    one.folder[0] = folder;
    for (unsigned i = 0; i < f->count; i++) {
        const enum folders_verdict v =
            name(f->folder[i], folder) ? folders_judge(&one, text, by) : FOLDERS_ELSEWHERE;

        if (v == FOLDERS_CACHED)
            *by = f->folder[i];
        if (v != FOLDERS_ELSEWHERE)
            return v;
    }
    one = *f;
    one.excludes = 0;
    (void)folders_judge(&one, path, by); /* which one has it, as it is typed */
    return FOLDERS_ELSEWHERE;
}

uint32_t driver_rules(const struct folders *f, const char *pool, driver_name name,
                      driver_volume volume, char to[DRIVER_RULES_MAX],
                      char left_out[DRIVER_LEFT_OUT], char why[256])
{
    char text[DRIVER_NAME_MAX], pools[DRIVER_NAME_MAX];
    unsigned passed = 0;
    uint32_t n = 0;
    bool fits;

    left_out[0] = 0;
    if (!name(pool, pools)) {
        snprintf(why, 256, "%.150s: the system does not say on which volume it is", pool);
        return 0;
    }
    pools[volume_of(pools)] = 0;
    fits = put(to, &n, "pool", pools);
    for (unsigned i = 0; i < f->count && fits; i++) {
        const bool is_there = name(f->folder[i], text);
        const char *passes = passed_by(is_there ? text : NULL, pools);

        if (!passes && volume)
            passes = volume(f->folder[i]);
        if (passes && passed++ == 0)
            snprintf(left_out, DRIVER_LEFT_OUT, "%.300s %s", f->folder[i], passes);
        if (is_there)
            fits = put(to, &n, "folder", text);
    }
    if (passed > 1)
        snprintf(left_out + strlen(left_out), DRIVER_LEFT_OUT - strlen(left_out),
                 ". It passes by others, too (%u): check-config says which", passed - 1);
    for (unsigned i = 0; i < f->excludes && fits; i++)
        fits = put(to, &n, "exclude", f->exclude[i]);
    if (fits)
        return n;
    snprintf(why, 256, "the folders and patterns are too long for the driver");
    return 0;
}
