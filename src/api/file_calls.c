/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_calls.c - the public calls that open, close and describe files: argument checks, as in
 * calls.c, then the module that does the work.
 *
 * Owns: what the log says of an open that is refused, or of a file that will be cold each time.
 *
 * Who: users, through cachemax.h; objects/.
 */
#include "api/cache.h"
#include "state/attach.h"
#include "state/quota.h"
#include "state/region.h"
#include "state/shared.h"
#include "protocol/bracket.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define OPEN_FLAGS ((uint32_t)(CM_SOLE_WRITER | CM_ORIGIN_VOLATILE | CM_EXCLUSIVE))

static bool first_time(uint32_t *said)
{
    uint32_t no = 0;
    return at_cas_acq_rel(said, &no, 1);
}

/* Says why a file is cold each time it is opened. `flags`: with what they imply. */
static void say_racy(cm_cache *c, const cm_validator *v, uint32_t flags)
{
    if (!v || !(v->racy & CM_RACY_WRITER) || (flags & CM_EXCLUSIVE) || !first_time(&c->racy_said))
        return;
    if (flags & CM_SOLE_WRITER)
        cm_log(c, CM_LOG_INFO,
               "cm_file_open: a sole writer's validator says that somebody is writing, so the file "
               "is cold each time it is opened: take it with CM_IDENTIFY_SOLE_WRITER");
    else
        cm_log(c, CM_LOG_INFO,
               "cm_file_open: a validator cannot rule out that somebody writes the file, so it is "
               "cold each time it is opened. Either a process, perhaps this one, has it open for "
               "writing: %s. Or that could not be found out: it takes the file's owner or "
               "CAP_LEASE, and a local file system",
               c->shared ? "if only the owner of the pool writes it, take its validator with "
                           "CM_IDENTIFY_SOLE_WRITER, or present the owner's version of it with "
                           "CM_EXCLUSIVE, if the owner has it open so"
                         : "if nobody else writes it, take its validator with "
                           "CM_IDENTIFY_SOLE_WRITER, and open it with CM_SOLE_WRITER");
}

/* Says what was noted while files were attached. */
static void say_noted(cm_cache *c)
{
    if (cm_is_unsaid(&c->crowded))
        cm_log(c, CM_LOG_INFO,
               "%s: it has records for some %llu files, and there was none for one more: that "
               "file, or another one that was forgotten for it, is cold when it is opened next. If "
               "that happens often (cm_stats: unrecorded, records_evicted), keep fewer files, or "
               "make the pool anew, with a larger max_files",
               c->name, (unsigned long long)cm_format_max_files(&c->media.geo));
    if (cm_is_unsaid(&c->cold))
        cm_log(c, CM_LOG_INFO,
               "cm_file_open: a file is cold only because its validator is racy: %s",
               c->shared ? "that of now, or the one that the owner of the pool presented last. Let "
                           "the owner present one that is not; if it is a version of its own, "
                           "with racy 0. CM_EXCLUSIVE helps, too, if nobody but the owner ever "
                           "writes the file"
                         : "that of now, or the one that was accepted last, right after a change "
                           "or while the file was open for writing. Before cm_file_close wait some "
                           "milliseconds, identify it again and present that "
                           "(cm_file_revalidate), as long as cm_file_info.racy is set");
}

/* Says what is wrong with the arguments, or what makes the file cold each time. */
static void say_of_open(cm_cache *c, const cm_validator *v, uint32_t flags, int e)
{
    if (flags & ~OPEN_FLAGS)
        cm_log(c, CM_LOG_ERROR, "cm_file_open: unknown flags 0x%x", flags & ~OPEN_FLAGS);
    else if (e == CM_EINVAL)
        cm_log(c, CM_LOG_ERROR,
               "cm_file_open: CM_EXCLUSIVE needs a validator with a version of yours: "
               "cm_validator_set_proof");
    else
        say_racy(c, v, flags);
    if (e == CM_IGNORED && v && v->taken_at < c->opened_ns && /* else others came in between */
        first_time(&c->early_said))
        cm_log(
            c, CM_LOG_INFO,
            "cm_file_open: a validator was taken before the pool was opened, so it proves nothing, "
            "and the file is cold: open the pool first, and take the validator then");
}

int cm_file_open(cm_cache *c, const cm_file_id *id, const cm_validator *validator, uint32_t flags,
                 cm_file **file)
{
    cm_validator v;
    int e = cm_enter_files(c);
    if (e)
        return e;
    if (!cm_take_id(c, "cm_file_open", id) || !file ||
        (validator && !cm_take_validator(c, "cm_file_open", &v, validator, false)))
        return CM_EINVAL;
    const cm_validator *const given = validator ? &v : NULL;
    const uint32_t all = flags & CM_EXCLUSIVE ? flags | CM_SOLE_WRITER : flags; /* the stronger */
    e = flags & ~OPEN_FLAGS ? CM_EINVAL
        : c->shared         ? cm_shared_attach(c, id, given, all, file)
                            : cm_files_attach(c, id, given, all, file);
    say_of_open(c, given, all, e);
    say_noted(c);
    cm_report_trouble(c);
    return e;
}

int cm_file_revalidate(cm_file *file, const cm_validator *validator)
{
    struct cm_object *f;
    cm_validator v;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    if (!cm_take_validator(f->cache, "cm_file_revalidate", &v, validator, true))
        return CM_EINVAL;
    if (cm_object_is_shared(f)) {
        cm_cache *const c = f->cache;
        e = cm_shared_revalidate(f, &v);
        say_noted(c);
        cm_report_trouble(c);
        return e;
    }
    cm_lock_acquire(&f->lock);
    const uint64_t was = f->incarnation;
    e = cm_file_judge(f, &v);
    cm_lock_release(&f->lock);
    return cm_report_error(f->cache, e == 0 ? cm_region_settle_version(f, was) : e);
}

int cm_file_advise(cm_file *file, int advice)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    if (advice < CM_ADVISE_NORMAL || advice > CM_ADVISE_KEEP)
        return CM_EINVAL;
    at_store_relaxed(&f->advice, (uint32_t)advice);
    return 0;
}

int cm_file_get_info(cm_file *file, cm_file_info *info)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    if (!info)
        return CM_EINVAL;
    cm_file_info now;
    if (cm_object_is_shared(f))
        cm_shared_look(f); /* as the next read would */
    cm_files_get_info(f, &now);
    return cm_give_result(info, &now, sizeof(now));
}

int cm_file_lookup(cm_cache *c, const cm_file_id *id, cm_validator *validator, cm_file_info *info)
{
    cm_validator v;
    cm_file_info now;
    int e = cm_enter_files(c);
    if (e)
        return e;
    if (!cm_take_id(c, "cm_file_lookup", id) || (validator && !cm_can_give_result(validator)) ||
        (info && !cm_can_give_result(info)))
        return CM_EINVAL;
    e = cm_files_lookup(c, id, NULL, &v, &now);
    if (e == 0 && now.bypassed && !now.attached)
        e = CM_EABSENT; /* what the record says of its content proves nothing */
    if (e == 0 && validator)
        e = cm_give_result(validator, &v, sizeof(v));
    if (e == 0 && info)
        e = cm_give_result(info, &now, sizeof(now));
    return e;
}

int cm_file_set_keep(cm_file *file, int keep)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    return e ? e : cm_report_error(f->cache, cm_file_keep(f, keep != 0));
}

int cm_file_set_group(cm_file *file, uint32_t group)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    return e ? e : cm_report_error(f->cache, cm_file_group(f, group));
}

int cm_group_set_quota(cm_cache *c, uint32_t group, uint64_t most)
{
    int e = cm_enter_owner(c);
    if (e)
        return e;
    if (group == 0 || (most > 0 && most < CM_BLOCK_SIZE))
        return CM_EINVAL;
    e = cm_quota_set(c, group, most > 0 ? most / CM_BLOCK_SIZE : CM_SHARE_ALL);
    if (e == CM_ERANGE)
        cm_log(c, CM_LOG_ERROR,
               "cm_group_set_quota: group %u: %u groups have a quota in this session, and no more "
               "can",
               group, CM_GROUPS_MAX);
    return e;
}

int cm_group_usage(cm_cache *c, uint32_t group, uint64_t *used, uint64_t *most)
{
    int e = cm_enter_owner(c);
    if (e)
        return e;
    const uint32_t share = cm_quota_share(c, group);
    if (!used || !most)
        return CM_EINVAL;
    if (share == 0)
        return CM_EABSENT;
    cm_quota_complete(c);
    const struct cm_share *h = cm_quota_of(c, share);
    const uint64_t slots = at_load_relaxed(&h->most); /* relaxed: as they are now */
    *used = at_load_relaxed(&h->used) * CM_BLOCK_SIZE;
    *most = slots == CM_SHARE_ALL ? 0 : slots * CM_BLOCK_SIZE;
    return 0;
}

int cm_file_set_ttl(cm_file *file, uint64_t ttl_ns)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    const uint64_t was = f->ttl_ns;
    e = cm_file_live(f, ttl_ns);
    /* An end that comes earlier than the disk says must not be lost where the disk has no intents
     * either. */
    const bool settle = e == 0 && ttl_ns != 0 && (was == 0 || ttl_ns < was) &&
                        !cm_region_is_settled(f, CM_REGIONS_ALL);
    cm_lock_release(&f->lock);
    if (settle)
        e = cm_region_settle(f, NULL);
    return cm_report_error(f->cache, e);
}

int cm_file_abort(cm_file *file)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    return e ? e : cm_report_error(f->cache, cm_bracket_abort(f));
}

int cm_file_close(cm_file *file)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    return e ? e : cm_files_detach(f);
}
