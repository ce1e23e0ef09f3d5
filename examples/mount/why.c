/* SPDX-License-Identifier: BSD-2-Clause
 *
 * why.c - why a file is not cached, or only in part, as far as the mount can tell: one word, for
 *         "cachemax cached". docs/mount.md lists the words.
 *
 * What lasts comes first: a rule, the file's volume, the mode of the pool. A file of which only a
 * part was read has no reason, but that the quota of its directory may have let go of the rest.
 * Nothing is attached, and nothing is changed, to find one.
 *
 * No state. Who: control_ops.c; any thread. It may wait for the origin and for a service.
 */
#include "control.h"
#include "mount.h"

/* What the mode of the pool forbids. */
static const char *of_mode(void)
{
    cm_info info = { .struct_size = sizeof(info) };
    uint64_t hits, misses;

    if (mnt.backing->info(&info, &hits, &misses) < 0)
        return NULL;
    return info.mode == CM_FREEZE ? "freeze" : info.mode == CM_BYPASS ? "bypass" : NULL;
}

/* Of a file that is attached and in use. */
static const char *of_attached(const struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };

    if (cm_file_get_info(i->cf, &info) < 0)
        return NULL;
    return info.bypassed ? "sync" : info.brackets > 0 ? "written" : NULL;
}

static const char *of_validator(const cm_validator *v)
{
    return v->racy & CM_RACY_WRITER ? "written" : v->racy & CM_RACY_VOLUME ? "volume" : NULL;
}

/* As it is now, if others may write it. It is attached: no open breaks a lease then. */
static const char *of_writers(const struct inode *i)
{
    cm_validator v;
    cm_file_id id;

    if (!others_write() || file_identify(i, i->rfd, &id, &v) < 0)
        return NULL;
    return of_validator(&v);
}

const char *why_cold(const cm_file_id *id, const cm_validator *v, int *kept)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_validator known = CM_VALIDATOR_INIT;
    const char *const word = of_validator(v);

    if (mnt.backing != &backing_pool) /* a service does not tell what it knows */
        return NULL;
    if (cm_file_lookup(mnt.cache, id, &known, &info) != 0 || info.attached)
        return NULL;
    *kept = info.keep != 0;
    if (word)
        return word;
    return v->racy || known.racy || !cm_validator_equal(v, &known) ? "changed" : NULL;
}

/* A pinned file is stored all the same. */
static bool is_not_stored(const struct inode *i, bool attached)
{
    cm_file_info info = { .struct_size = sizeof(info) };

    if (!attached) /* it will be advised by the name that it has */
        return rules_advice(i->fd) == CM_ADVISE_NOREUSE;
    return i->advice == CM_ADVISE_NOREUSE && cm_file_get_info(i->cf, &info) == 0 && !info.keep;
}

/* What keeps a part of it out, or all that is read, also if it is read again. */
static const char *of_directory(const struct inode *i, const struct found *found)
{
    if (quota_is_less(i, found->attached, found->size))
        return "quota_size";
    return is_not_stored(i, found->attached) ? "noreuse" : NULL;
}

void why_tell(struct control_client *c, struct inode *i, const struct found *found)
{
    const char *why = rules_why(i->fd);

    if (!why && atomic_load(&i->linked))
        why = "names";
    if (!why)
        why = of_mode();
    if (!why && found->attached)
        why = of_attached(i);
    if (!why && found->attached)
        why = of_writers(i);
    if (!why)
        why = found->word;
    if (!why)
        why = of_directory(i, found);
    if (!why && found->nothing)
        why = "unknown";
    if (!why && found->attached && quota_is_full(i))
        why = "quota";
    if (why && *why)
        (void)control_is_text(c, "why", why);
}
