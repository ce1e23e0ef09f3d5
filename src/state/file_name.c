/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_name.c - the name of a file, for people.
 *
 * Owns: when a name is written, read and given up. The name is not kept in DRAM: it is read from
 * the pool when somebody asks. An object knows only that its record may have a name, so nobody
 * reads the pool for a file without one.
 *
 * Locks: a file's own lock, or files_lock while it is not attached.
 * Who: api/, state/.
 */
#include "state/file_name.h"

#include "media/name_table.h"

void cm_file_name_begin(struct cm_object *f, const struct cm_record *r)
{
    f->named = cm_names_exist(&f->cache->media) && r->words[CM_RECORD_NAME] != 0;
}

int cm_file_name_set(struct cm_object *f, const struct cm_name *name)
{
    const struct cm_media *m = &f->cache->media;
    assert(cm_lock_is_held(&f->lock));
    if (!cm_names_exist(m))
        return CM_ENOTSUP;
    if (f->place == CM_NO_PLACE)
        return name->text[0] ? CM_NOT_RECORDED : 0;
    f->named = true;
    return cm_name_write(m, f->place, &f->id, name) ? CM_NOT_RECORDED : 0;
}

void cm_file_name_end(struct cm_object *f)
{
    assert(cm_lock_is_held(&f->lock));
    if (f->named && f->place != CM_NO_PLACE)
        cm_name_clear(&f->cache->media, f->place);
    f->named = false;
}

void cm_file_name_end_recorded(const struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    if (cm_names_exist(&c->media) && r->words[CM_RECORD_NAME] != 0)
        cm_name_clear(&c->media, place);
}

void cm_file_name_describe(const struct cm_object *f, cm_file_info *info)
{
    if (f->named && f->place != CM_NO_PLACE)
        cm_file_name_recorded(f->cache, f->place, info);
}

void cm_file_name_recorded(const struct cm_cache *c, uint64_t place, cm_file_info *info)
{
    struct cm_name name;
    static_assert(sizeof(name.text) == sizeof(info->name), "room for the longest name");
    cm_name_read(&c->media, place, &info->id, &name);
    memcpy(info->name, name.text, sizeof(info->name));
}
