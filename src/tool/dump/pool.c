/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool.c - a pool to look into, whatever state it is in.
 *
 * Owns the bounds: the file is mapped as long as it is, and nothing is read that its superblock
 * places beyond that. What becomes unreadable afterwards is an error of the guarded loads. What
 * counts is decided by the functions that an open uses.
 *
 * Who: dump/, cmd_info.c, seen_files.c.
 */
#include "tool/dump/dump.h"

#include <string.h>

#include "api/cache.h"

#define TRIES 3      /* the owner may be writing one copy, then the other */
#define EPOCHS 1024u /* how far back left-overs are recognised */
#define RECORDS_MAX (UINT64_C(1) << 24)

bool dump_inside(const struct dump_pool *p, uint64_t offset, uint64_t n)
{
    return offset <= p->bytes && n <= p->bytes - offset;
}

static void read_copies(struct dump_pool *p)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        memset(&p->copy[i], 0, sizeof(p->copy[i]));
        if (!dump_inside(p, i * CM_SUPER_STRIDE, sizeof(p->copy[i])))
            p->judged[i] = CM_ETRUNCATED;
        else if (cm_guard_copy(&p->copy[i], p->media.base + i * CM_SUPER_STRIDE,
                               sizeof(p->copy[i])))
            p->judged[i] = CM_EIO;
        else
            p->judged[i] = cm_format_super_check(&p->copy[i]);
    }
}

/* As cm_super_read(): what cannot be read is damaged. */
static int choose(const struct dump_pool *p)
{
    int e[CM_SUPER_COPIES];

    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        e[i] = p->judged[i] == CM_EIO || p->judged[i] == CM_ETRUNCATED ? CM_EDAMAGED : p->judged[i];
    return cm_super_choose(p->copy, e);
}

static void look(struct dump_pool *p)
{
    for (int i = 0; i < TRIES; i++) {
        read_copies(p);
        p->counts = choose(p);
        if (p->counts >= 0)
            break;
    }
    if (p->counts < 0) {
        p->error = p->counts;
        return;
    }
    p->super = p->copy[p->counts];
    p->error = cm_format_geometry(&p->super, &p->media.geo);
    if (p->error)
        return;
    p->laid_out = true;
    p->media.hash_seed = p->super.hash_seed;
    p->media.check_key = cm_format_check_key(p->super.uuid, p->super.epoch);
    p->media.seal = p->super.incompat & CM_INCOMPAT_SEALED ? &cm_seal_unknown : NULL;
    cm_media_lay_out(&p->media);
    p->error = cm_format_size_is(&p->super, p->media.geo.pool_size, p->bytes);
}

int dump_pool_open(struct dump_pool *p, const char *path)
{
    enum cm_durability durability;
    int e;

    memset(p, 0, sizeof(*p));
    p->file = (struct cm_plat_file)PLAT_FILE_INIT;
    e = cm_plat_file_open(&p->file, path, true);
    if (e == 0 && p->file.size > 0)
        e = cm_plat_file_map(&p->file, CM_BLOCK_SIZE, &durability);
    if (e == 0 && p->file.base)
        e = cm_guard_add(p->file.base, (size_t)p->file.size);
    if (e) {
        cm_plat_file_close(&p->file);
        return e;
    }
    p->media.base = p->file.base;
    p->media.file = &p->file;
    p->bytes = p->file.size;
    p->owned = cm_plat_file_is_locked(&p->file) == 1;
    look(p);
    if (cm_file_too_small(&p->file))
        p->error = cm_judge_small_file(&p->file);
    return 0;
}

void dump_pool_memory(struct dump_pool *p, uint8_t *base, uint64_t bytes)
{
    memset(p, 0, sizeof(*p));
    p->file = (struct cm_plat_file)PLAT_FILE_INIT;
    p->media.base = base;
    p->bytes = bytes;
    look(p);
}

void dump_pool_close(struct dump_pool *p)
{
    if (p->file.base)
        cm_guard_remove(p->file.base);
    cm_plat_file_close(&p->file);
}

/* ---- What is left of earlier epochs -------------------------------------------------------- */

static uint64_t first_epoch(const struct dump_pool *p)
{
    return p->super.epoch > EPOCHS ? p->super.epoch - EPOCHS : 1;
}

uint64_t dump_header_epoch(const struct dump_pool *p, uint64_t slot, const struct cm_header *h)
{
    for (uint64_t e = first_epoch(p); e < p->super.epoch; e++)
        if (cm_format_header_ok(cm_format_check_key(p->super.uuid, e), slot, h))
            return e;
    return 0;
}

uint64_t dump_record_epoch(const struct dump_pool *p, uint64_t place, const struct cm_record *r)
{
    for (uint64_t e = first_epoch(p); e < p->super.epoch; e++)
        if (r->xxh3 == cm_format_record_sum(cm_format_check_key(p->super.uuid, e), place, r))
            return e;
    return 0;
}

/* ---- Whose incarnation it is --------------------------------------------------------------- */

void dump_owners(const struct dump_pool *p, struct dump_owner *owner, size_t n)
{
    const uint64_t all = p->media.geo.record_buckets * CM_RECORD_WAYS;
    const uint64_t places = all < RECORDS_MAX ? all : RECORDS_MAX;
    const uint64_t from = p->media.geo.record_offset;
    struct cm_record r;
    bool whole;

    bool wanted = false; /* the table may have gigabytes */
    for (size_t i = 0; i < n; i++) {
        owner[i].place = CM_NO_PLACE;
        owner[i].all = places == all;
        wanted |= owner[i].incarnation != 0;
    }
    for (uint64_t place = 0; wanted && place < places; place++) {
        if (!dump_inside(p, from + place * sizeof(r), sizeof(r)))
            break;
        if (cm_record_at(&p->media, place, &r, &whole) || !whole)
            continue;
        for (size_t i = 0; i < n; i++)
            if (owner[i].incarnation != 0 && owner[i].incarnation == r.incarnation) {
                owner[i].place = place;
                owner[i].id = r.id;
            }
    }
}

bool dump_volume_keeps_syncs(const char *path)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char what[PLAT_VOLUME];
    const bool keeps = cm_plat_file_open(&f, path, true) == 0 && cm_plat_file_sync_lasts(&f, what);

    cm_plat_file_close(&f);
    return keeps;
}
