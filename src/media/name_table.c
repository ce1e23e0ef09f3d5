/* SPDX-License-Identifier: BSD-2-Clause
 *
 * name_table.c - names of files, for people.
 *
 * Owns: the table of names, and the word of each record that says whether the name in the same
 * place counts. A name counts iff this word is its sum. The sum belongs to the pool, its epoch, the
 * place and the file's id. So a torn name, a name of another file and random bytes are no names.
 * Both are written in any order, without a flush and without a fence. Nothing but what is shown to
 * people depends on a name.
 *
 * Locks: a file's own lock, or files_lock while it is not attached.
 * Who: api/, state/.
 */
#include "media/name_table.h"

static uint64_t *sum_at(const struct cm_media *m, uint64_t place)
{
    assert(place < m->geo.record_buckets * CM_RECORD_WAYS);
    uint8_t *record = m->base + m->geo.record_offset + place * sizeof(struct cm_record);
    return &((struct cm_record *)(void *)record)->words[CM_RECORD_NAME];
}

static struct cm_name *name_at(const struct cm_media *m, uint64_t place)
{
    assert(cm_names_exist(m));
    uint8_t *p = m->base + m->geo.name_offset + place * sizeof(struct cm_name);
    return (struct cm_name *)(void *)p;
}

void cm_name_read(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                  struct cm_name *name)
{
    uint64_t sum = 0;
    if (cm_names_exist(m) && cm_guard_load64(sum_at(m, place), &sum) == 0 && sum != 0 &&
        cm_guard_copy(name, name_at(m, place), sizeof(*name)) == 0 &&
        sum == cm_format_name_sum(cm_media_key(m), place, id, name) &&
        name->text[CM_FILE_NAME_MAX] == 0) /* who forges a pool can compute sums */
        return;
    memset(name, 0, sizeof(*name));
}

int cm_name_write(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                  const struct cm_name *name)
{
    const bool none = name->text[0] == 0;
    struct cm_name was;
    cm_name_read(m, place, id, &was);
    if (!none && memcmp(&was, name, sizeof(was)) == 0)
        return 0; /* mostly: a file is opened again. No page has to be written back */
    int e = none ? 0 : cm_media_write(m, name_at(m, place), name, sizeof(*name));
    if (e)
        return e;
    const uint64_t sum = none ? 0 : cm_format_name_sum(cm_media_key(m), place, id, name);
    return cm_media_store64(m, sum_at(m, place), sum);
}

void cm_name_clear(const struct cm_media *m, uint64_t place)
{
    (void)cm_media_store64(m, sum_at(m, place), 0);
}
