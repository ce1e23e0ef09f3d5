/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world_judge.c - judges an image of the pool: what must hit, and with which bytes.
 */
#include "world_parts.h"

#include <stdio.h>
#include <string.h>

#include "protocol/lookup.h"
#include "tool/dump/dump.h"

void suspect(uint8_t *pool, int f, unsigned i)
{
    w.suspect.pool = pool;
    w.suspect.f = f;
    w.suspect.i = i;
}

void world_show_wrong(void)
{
    struct dump_pool p;
    if (!w.suspect.pool)
        return;
    dump_pool_memory(&p, w.suspect.pool, w.room);
    if (w.suspect.f >= 0)
        dump_wrong_block(&p, &w.id[w.suspect.f], block_number(w.suspect.f, w.suspect.i), stdout);
    else
        dump_wrong_block(&p, NULL, 0, stdout);
    dump_pool_close(&p);
}

/* Groups are 0 and 1. */
static uint8_t bit_of(uint32_t keep, uint32_t group)
{
    return group > 1 ? 1u << 4 : (uint8_t)(1u << (2 * group + (keep != 0)));
}

#define NO_ATTR 1u /* bit_of(0, 0) */
#define ALL_ATTRS 0xffu

uint8_t attr_bit(int f)
{
    const struct cm_object *file = cm_object_of(w.file[f]);
    return bit_of(at_load_relaxed(&file->keep), at_load_relaxed(&file->group));
}

/* A file that is cold may have lost its record. */
bool is_attr_wrong(const struct floor *must, int f, bool warm, uint8_t bit)
{
    return (must->wrong_attr[f] & bit) && (warm || bit != NO_ATTR);
}

/* Where a block is cached. bytes 0: nowhere. */
static struct kept where(const struct cm_object *f, uint64_t block)
{
    const struct cm_media *m = &w.cache->media;
    const struct cm_key k = cm_region_key(f, f->incarnation, block);
    struct cm_cells cells;
    struct cm_header h;
    must(cm_index_load(m, &k, 0, &cells) | cm_index_load(m, &k, 1, &cells), "cells");
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        const uint64_t slot = cm_cell_slot(cells.cell[i]);
        if (cm_index_match(m, &k, cells.cell[i]) && cm_slot_header(m, slot, &h) == CM_SLOT_HIT &&
            cm_slot_leads(cells.cell[i], &h, &k))
            return (struct kept){ cm_header_valid(&h), i, slot, h.w0 };
    }
    return (struct kept){ 0 };
}

/* Nothing if the payload is torn. */
static struct kept whole(struct kept k)
{
    struct cm_header h;
    if (k.bytes > 0 && (cm_slot_header(&w.cache->media, k.slot, &h) != CM_SLOT_HIT ||
                        cm_slot_verify(&w.cache->media, k.slot, &h) != CM_SLOT_HIT))
        k.bytes = 0;
    return k;
}

static void find_floor(struct floor *fl, bool closed)
{
    memset(fl, 0, sizeof(*fl));
    fl->clean = closed;
    for (int f = 0; f < FILES && w.cache; f++) {
        const struct cm_object *file = cm_object_of(w.file[f]);
        if (w.forgotten[f])
            fl->wrong_attr[f] = ALL_ATTRS & ~NO_ATTR;
        if (!file)
            continue;
        fl->incarnation[f] = file->incarnation;
        memcpy(fl->proof[f], file->validator.proof, CM_PROOF_BYTES);
        if (!w.vague[f] && !w.cache->broken && file->place != CM_NO_PLACE)
            fl->wrong_attr[f] = ALL_ATTRS & ~attr_bit(f);
        bool covered = !w.vague[f] && !w.cache->broken && file->has_validator &&
                       !(w.was_nameless && w.cache->super.now.failed_boot != 0) &&
                       !file->validator.racy && !file->want && !file->bypassed &&
                       file->place != CM_NO_PLACE;
        for (unsigned i = 0; i < blocks_of(f); i++) {
            struct cm_key k = cm_region_key(file, file->incarnation, block_number(f, i));
            uint64_t version; /* a block that waits in DRAM is lost */
            bool held = cm_probation_find(&w.cache->probation, &k, &version) != CM_NO_ENTRY;
            uint32_t cached = held ? 0 : cm_lookup_cached(w.cache, &k);
            if (w.cache->torn && whole(where(file, block_number(f, i))).bytes == 0)
                cached = 0;
            fl->cached += cached > 0;
            const unsigned region = cm_format_region(file->regions.shift, block_number(f, i));
            const uint64_t lost =
                closed && cm_settling(w.cache) ? file->regions.unsynced : file->regions.intents;
            if (!covered || lost >> region & 1)
                continue;
            w.unsure[f][i] &= cached > 0; /* if the block is gone, a later one is judged anew */
            fl->must[f][i] = w.unsure[f][i] ? 0 : (uint16_t)cached;
        }
    }
}

/* The record of an attached file. Its state word changes with each write and needs not be durable;
 * what was noted of its use is only for people. */
static struct cm_record record_of(const struct cm_object *f)
{
    struct cm_record r = { .incarnation = 0 };
    bool whole;
    if (f->place != CM_NO_PLACE)
        must(cm_record_at(&w.cache->media, f->place, &r, &whole), "record");
    r.state = 0;
    memset(r.intents, 0, sizeof(r.intents)); /* world_floor looks at them */
    memset(r.words, 0, sizeof(r.words));
    return r;
}

void keep_all(void)
{
    for (int f = 0; f < FILES; f++) {
        w.kept_record[f] = record_of(cm_object_of(w.file[f]));
        w.kept_attr[f] = attr_bit(f);
        for (unsigned i = 0; i < blocks_of(f); i++)
            w.kept[f][i] = whole(where(cm_object_of(w.file[f]), block_number(f, i)));
    }
}

/* Without DAX a block must hit if it was kept and is where it was. */
static void limit_to_kept(struct floor *fl)
{
    if (w.rules < RULES_PAGECACHE)
        return;
    for (int f = 0; f < FILES && w.cache; f++) {
        const struct cm_object *file = cm_object_of(w.file[f]);
        fl->wrong_attr[f] &= (uint8_t)~w.kept_attr[f];
        if (!file)
            continue;
        const struct cm_record r = record_of(file);
        const bool same = at_load_relaxed(&w.cache->settling.on) == CM_SETTLING_ON &&
                          memcmp(&r, &w.kept_record[f], sizeof(r)) == 0;
        for (unsigned i = 0; i < blocks_of(f); i++) {
            const struct kept now = where(file, block_number(f, i));
            if (!same || memcmp(&now, &w.kept[f][i], sizeof(now)) != 0)
                fl->must[f][i] = 0;
        }
    }
}

void world_floor(struct floor *fl)
{
    find_floor(fl, false);
    limit_to_kept(fl);
}

void world_floor_same_boot(struct floor *fl)
{
    find_floor(fl, false);
}

void world_floor_closed(struct floor *fl)
{
    find_floor(fl, true);
}

uint64_t world_context(const struct snapshot *s, const struct floor *must)
{
    uint64_t h = hash_words(s->hash, must->must, sizeof(must->must));
    h = hash_words(h, must->proof, sizeof(must->proof));
    for (int f = 0; f < FILES; f++)
        h = h * 257 + must->wrong_attr[f];
    return h * 4 + must->unborn * 2u + (w.damaged > 0);
}

/* Does to a file what a power cut may do to it. */
static void lose(struct ofile *o, int lost)
{
    if (!o->unsynced || lost == KEPT)
        return;
    if (lost == STAMPS_LOST) {
        o->stamp = o->synced_stamp;
        return;
    }
    o->data = o->synced;
    if (lost == ALL_LOST) {
        o->size = o->synced_size;
        o->stamp = o->synced_stamp;
    }
}

/* What a block must be, without a copy. *n: how much of it there is. */
static const uint8_t *expected(const struct snapshot *s, int f, unsigned i, int64_t *n)
{
    *n = BLOCK;
    if (f == FILE_C || f == FILE_Z)
        return w.constant + (f == FILE_C ? i : MAX_BLOCKS + i) * BLOCK;
    const struct ofile *o = &s->file[f];
    uint64_t at = i * BLOCK;
    *n = at >= o->size ? 0 : o->size - at < BLOCK ? (int64_t)(o->size - at) : BLOCK;
    return o->data + at;
}

/* Whatever the cache knows of A's size is right. */
void look_at_size(void)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    must(cm_file_get_info(w.file[FILE_A], &i), "cm_file_get_info");
    if (i.size != CM_SIZE_UNKNOWN && i.size != w.now.file[FILE_A].size)
        w.wrong = "a wrong size";
}

/* Reads all blocks in the session itself. */
void look_at_all(void)
{
    look_at_size();
    for (int f = 0; f < FILES; f++)
        for (unsigned i = 0; i < blocks_of(f); i++) {
            int64_t have, n = cm_read(w.file[f], block_number(f, i) * BLOCK, w.buf, BLOCK, NULL);
            const uint8_t *want = expected(&w.now, f, i, &have);
            if (n > have || (n > 0 && memcmp(w.buf, want, (size_t)n) != 0)) {
                w.wrong = "wrong bytes in the same boot";
                suspect(w.pool, f, i);
            }
        }
}

static const char *judge_file(cm_cache *c, const struct snapshot *s, int f,
                              const struct floor *must, uint64_t *hits, cm_file **file)
{
    static uint8_t got[BLOCK] __attribute__((aligned(4096)));
    static char text[120];
    cm_validator v = validator_of(s, f, s->tick);
    cm_file_info info = { .struct_size = sizeof(info) };
    const uint64_t size = v.size;
    const bool same = memcmp(v.proof, must->proof[f], CM_PROOF_BYTES) == 0;
    if (s->hash & 1) /* the program that comes next does not know the size */
        v.size = CM_SIZE_UNKNOWN;
    int e = cm_file_open(c, &w.id[f], &v, 0, file);
    if (e < 0 || cm_file_get_info(*file, &info))
        return "a file cannot be attached";
    if (info.size != size && info.size != CM_SIZE_UNKNOWN)
        return "a wrong size";
    if (!is_name(f, info.name))
        return "a wrong name";
    if (is_attr_wrong(must, f, info.kept != 0, bit_of(info.keep, info.group))) {
        snprintf(text, sizeof(text), "file %d is kept %u, in group %u, as nobody said last", f,
                 info.keep, info.group);
        return text;
    }
    for (unsigned i = 0; i < blocks_of(f); i++) {
        int64_t have, n = cm_read(*file, block_number(f, i) * BLOCK, got, BLOCK, NULL);
        const uint8_t *want = expected(s, f, i, &have);
        *hits += n > 0;
        suspect(w.mapped, f, i);
        if (n < 0 || n > have || memcmp(got, want, (size_t)n) != 0) {
            snprintf(text, sizeof(text), "wrong bytes: file %d block %u (%lld of %lld bytes)", f, i,
                     (long long)n, (long long)have);
            return text;
        }
        if (same && n < must->must[f][i]) {
            snprintf(text, sizeof(text), "stored block lost: file %d block %u", f, i);
            return text;
        }
    }
    suspect(w.mapped, -1, 0);
    return NULL;
}

struct snapshot world_after(const struct snapshot *s, int lost)
{
    struct snapshot after = *s;
    for (int f = 0; f < WRITTEN; f++) {
        /* Of a change of which nobody told the cache only the stamp tells. */
        if (lost != STAMPS_LOST || f != FILE_B || !s->unnoticed)
            lose(&after.file[f], lost);
        after.file[f].unsynced = false;
    }
    after.unnoticed = false;
    after.tick++;
    after.boot++;
    after.boot_tick = after.tick;
    after.hash = s->hash * 3 + (uint64_t)lost;
    return after;
}

/* A sync is an event of the log only for a pool in a file. A session that only reads needs none. */
static int open_image(bool recover, cm_cache **c)
{
    cm_options o = options(&judge_arena);
    judge_arena.used = 0;
    if (recover && w.rules >= RULES_PAGECACHE)
        fit_file(w.judge_path, w.mapped);
    return recover && w.rules >= RULES_PAGECACHE ? cm_open(w.judge_path, &o, c)
                                                 : cm_open_memory(w.mapped, w.bytes, &o, c);
}

/* Uses an emptied pool again: new blocks must not be mixed up with old ones. */
static const char *store_again(cm_file *c_file, struct floor *closed)
{
    static uint8_t buf[BLOCK] __attribute__((aligned(4096)));
    cm_miss miss;
    memset(closed->must, 0, sizeof(closed->must));
    if (w.was_nameless && cm_object_of(c_file)->bypassed)
        return NULL; /* a failed fsync may be of this boot */
    if (cm_read(c_file, 0, buf, BLOCK, &miss) < 0 ||
        cm_fill(c_file, &miss, w.constant, BLOCK, 0) != 0)
        return "an emptied pool stores nothing";
    closed->must[FILE_C][0] = BLOCK;
    return NULL;
}

/* What this session has found is durable. A file that is cold begins anew. */
static void note_attrs(cm_file **file, struct floor *closed)
{
    for (int f = 0; f < FILES; f++) {
        const struct cm_object *o = cm_object_of(file[f]);
        closed->wrong_attr[f] = o->kept ? ALL_ATTRS & ~bit_of(o->keep, o->group) : 0;
    }
}

static const char *recover(cm_cache *c, cm_file **file, struct floor *closed)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    const char *wrong = NULL;
    note_attrs(file, closed);
    if (cm_check(c, CM_CHECK_REPAIR, NULL, NULL, &r) < 0)
        return "the pool cannot be repaired";
    if (c->emptied)
        wrong = store_again(file[FILE_C], closed);
    for (int f = 0; f < FILES && !wrong; f++)
        if (cm_file_close(file[f]))
            wrong = "a file cannot be closed";
    if (!wrong && cm_close(c))
        wrong = "the pool does not close";
    return wrong;
}

/* Where stores are durable in their order the superblock knows of each slot that has a block: a
 * session that has just begun counts the blocks of groups up to there. */
static bool knows_slots(const cm_cache *c)
{
    struct cm_header h;
    for (uint64_t s = c->super.now.frontier; s < c->media.geo.slots; s++)
        if (cm_slot_header(&c->media, s, &h) == CM_SLOT_HIT)
            return false;
    return true;
}

/* The first session after a crash. */
static const char *session(const struct snapshot *now, const struct floor *must,
                           struct floor *closed, uint64_t *hits)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    const char *wrong = NULL;
    cm_file *file[FILES];
    cm_cache *c;
    int e = open_image(closed != NULL, &c);
    if (closed) {
        *closed = *must;
        closed->clean = true;
    }
    if ((e == CM_ENOTPOOL || e == CM_EDAMAGED) && must->unborn)
        return NULL;
    if (e)
        return "the pool does not open";
    if (w.rules < RULES_PAGECACHE && !w.damaged && !rec_failed() && !knows_slots(c))
        return "a block is in a slot that the superblock calls unused";
    for (int k = 0; k < 2 * FILES && !wrong; k++) /* in the order of attach_all() */
        if (any_must(must, k % FILES) == (k < FILES))
            wrong = judge_file(c, now, k % FILES, must, hits, &file[k % FILES]);
    if (wrong)
        return wrong;
    if (cm_check(c, CM_CHECK_METADATA, NULL, NULL, &r) < 0 || (r.bad_headers && !w.damaged))
        return "damaged headers after a crash";
    return closed ? recover(c, file, closed) : NULL;
}

const char *world_judge(unsigned depth, const struct snapshot *now, const struct floor *must,
                        struct floor *closed, uint64_t *hits)
{
    unsigned boot = w.boot, level = rec_level(depth + 1);
    const bool nameless = w.nameless;
    int64_t wall = w.boot_wall;
    w.boot = now->boot;
    w.nameless = false;
    w.boot_wall = now->boot_tick * TICK_NS;
    w.mapped = w.image[depth];
    suspect(w.mapped, -1, 0);
    rec_begin();
    const char *wrong = session(now, must, closed, hits);
    rec_undo();
    if (!wrong)
        suspect(NULL, -1, 0);
    w.mapped = w.pool;
    rec_level(level);
    w.boot = boot;
    w.nameless = nameless;
    w.boot_wall = wall;
    return wrong;
}
