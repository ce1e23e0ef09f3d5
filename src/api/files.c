/* SPDX-License-Identifier: BSD-2-Clause
 *
 * files.c - the public calls that tell what is cached of the pool, file by file.
 *
 * Owns: iterations. An iteration takes the ids of all files at its begin, and looks each of them up
 * when it comes to it. So it holds no lock between two calls, and what it says is true at that
 * moment. And the call that names a file for those who look.
 *
 * Who: users, through cachemax.h; objects/.
 */
#include "api/cache.h"
#include "protocol/survey.h"
#include "state/attach.h"
#include "state/file_list.h"
#include "state/file_name.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define STEP 4096u /* records, chains of files, or headers that are read at once */

/* ---- Names ----------------------------------------------------------------------------------- */

/* `text` may be NULL. */
static int take_name(struct cm_name *name, const char *text)
{
    *name = (struct cm_name){ { 0 } };
    for (size_t i = 0; text && text[i]; i++) {
        if (i == CM_FILE_NAME_MAX)
            return CM_EINVAL;
        name->text[i] = text[i];
    }
    return 0;
}

int cm_file_set_name(cm_file *file, const char *name)
{
    struct cm_object *f;
    struct cm_name n;
    int e = cm_enter_change(file, &f);
    if (e == 0)
        e = take_name(&n, name);
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    e = cm_file_name_set(f, &n);
    cm_lock_release(&f->lock);
    return e;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool is_listed(void *ctx, uint64_t incarnation, uint64_t block)
{
    return cm_file_list_find_block(ctx, incarnation, block) != NULL;
}

static int count_bytes(void *ctx, const struct cm_surveyed *b)
{
    cm_file_list_find(ctx, cm_incarnation_number(b->key.incarnation))->bytes += b->valid;
    return 0;
}

static int count(cm_file_iter *it, uint64_t most)
{
    struct cm_cache *c = it->list.cache;
    const struct cm_survey s = { is_listed, count_bytes, &it->list };
    const uint64_t slots = cm_media_slots(&c->media), first = it->slot;
    it->slot = slots - first < most ? slots : first + most;
    (void)cm_survey_slots(c, &s, first, it->slot);
    if (it->slot < slots)
        return CM_EBUSY;
    (void)cm_survey_buffer(c, &s);
    const int e = it->list.error;
    if (e) { /* the next call counts anew */
        cm_file_list_uncount(&it->list);
        it->slot = 0;
    }
    return e;
}

/* Goes on with the reading, by `most` records, chains of files, or headers. CM_EBUSY: there are
 * more. */
static int read_on(cm_file_iter *it, uint64_t most)
{
    int e = it->whole || it->slot > 0 ? 0 : cm_file_list_collect(&it->list, most);
    if (e == 0 && it->counted && !it->whole)
        e = count(it, most);
    it->whole |= e == 0;
    return e;
}

int cm_files_begin(cm_cache *c, uint32_t flags, cm_file_iter **iter)
{
    int e = cm_enter_cache(c);
    if (e)
        return e;
    if (!iter || (flags & ~(uint32_t)(CM_FILES_COUNT | CM_FILES_STEPS)))
        return CM_EINVAL;
    cm_file_iter *it = cm_cache_alloc(c, sizeof(*it));
    if (!it)
        return CM_ENOMEM;
    it->list.cache = c;
    it->counted = (flags & CM_FILES_COUNT) != 0;
    e = flags & CM_FILES_STEPS ? 0 : read_on(it, UINT64_MAX);
    if (e) {
        cm_file_list_free(&it->list);
        cm_cache_free(c, it, sizeof(*it));
        return e;
    }
    at_add_acq_rel(&c->live, 1); /* acquire, release: as in request.c, for cm_close */
    *iter = it;
    return 0;
}

int cm_files_next(cm_file_iter *it, cm_validator *validator, cm_file_info *info)
{
    cm_validator v;
    cm_file_info now;
    int e = it ? cm_enter_cache(it->list.cache) : CM_EHANDLE;
    if (e)
        return e;
    if ((validator && !cm_can_give_result(validator)) || (info && !cm_can_give_result(info)))
        return CM_EINVAL;
    e = read_on(it, STEP);
    if (e)
        return e;
    for (e = CM_EABSENT; e == CM_EABSENT && it->next < it->list.n;) {
        const struct cm_listed *f = &it->list.file[it->next];
        e = cm_files_lookup(it->list.cache, &f->id, &it->records, &v, &now); /* or it is gone */
        it->next += e == 0 || e == CM_EABSENT; /* else the call may be repeated */
        if (e == 0 && it->counted)
            now.cached_bytes = now.incarnation == f->incarnation ? f->bytes : 0;
    }
    if (e == 0 && validator)
        e = cm_give_result(validator, &v, sizeof(v));
    if (e == 0 && info)
        e = cm_give_result(info, &now, sizeof(now));
    return e;
}

void cm_files_end(cm_file_iter *it)
{
    struct cm_cache *c = it ? it->list.cache : NULL;
    if (!c || cm_cache_state(c) != 0)
        return; /* after fork() all of it belongs to the parent */
    cm_file_list_free(&it->list);
    cm_cache_free(c, it, sizeof(*it));
    at_sub_acq_rel(&c->live, 1); /* the last: from here on cm_close() may free the cache */
}
