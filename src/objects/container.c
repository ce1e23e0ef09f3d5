/* SPDX-License-Identifier: BSD-2-Clause
 *
 * container.c - what all parts of a container of objects use.
 *
 * Owns: the ids and the proofs of the files that a container consists of; its clock and its
 * counters.
 *
 * Who: objects/.
 */
#include "objects/container.h"

#include <string.h>

#include "api/cache.h"
#include "api/inner.h"

#define SPINS 50u /* before the first sleep */
/* Less is no clock that was set back: the ends of what is put then are not remembered. */
#define SET_BACK_NS INT64_C(100000000)
#define SLOWER 1024u /* clocks of computers agree better than that */

static const uint8_t buckets_tag[8] = CM_PROOF_OBJECTS "b1", data_tag[8] = CM_PROOF_OBJECTS "d1";

int cm_objects_enter(const cm_objects *o)
{
    return o ? cm_enter_owner(o->cache) : CM_EHANDLE;
}

/* ---- Files ----------------------------------------------------------------------------------- */

/* Writes `start` and the container's name behind it. Returns their length, without the NUL. */
static size_t join(char to[2 * CM_OBJECTS_NAME_MAX], const char *start, const char *name)
{
    const size_t n = cm_objects_length(start), m = cm_objects_length(name);
    memcpy(to, start, n);
    memcpy(to + n, name, m + 1);
    return n + m;
}

void cm_objects_id(cm_file_id *id, const char *name, char part, uint32_t number)
{
    char key[2 * CM_OBJECTS_NAME_MAX];
    const size_t n = join(key, "cachemax objects PN ", name);
    key[17] = part;
    key[18] = (char)number;
    cm_file_id_set_key(id, key, n);
}

static cm_validator validator_of(uint64_t buckets)
{
    struct cm_objects_proof proof = { .buckets = buckets };
    cm_validator v = CM_VALIDATOR_INIT;
    memcpy(proof.tag, buckets ? buckets_tag : data_tag, sizeof(proof.tag));
    cm_validator_set_proof(&v, &proof, sizeof(proof));
    v.size = buckets ? buckets * CM_BLOCK_SIZE : CM_SIZE_UNKNOWN;
    v.changed_ns = CM_CHANGED_LONG_AGO; /* no power cut takes anything from it */
    /* Later than everything that was, also where the clock has long ticks: an older one would prove
     * nothing. */
    const uint64_t began = cm_now();
    do
        v.taken_at = cm_now();
    while (v.taken_at == began);
    return v;
}

int cm_objects_file(cm_objects *o, char part, uint32_t number, uint64_t buckets, cm_file **file)
{
    const cm_validator v = validator_of(buckets);
    cm_file_id id;
    char name[2 * CM_OBJECTS_NAME_MAX];
    cm_objects_id(&id, o->name, part, number);
    const int e = cm_file_open(o->cache, &id, &v, CM_EXCLUSIVE, file);
    if (e < 0)
        return e;
    (void)join(name, "objects: ", o->name);
    (void)cm_file_set_name(*file, name); /* for people; a pool need not have room for names */
    (void)cm_inner_no_origin(*file, part == 'b'); /* entries have checks */
    cm_objects_synced(*file);
    return 0;
}

uint64_t cm_objects_unrecorded(const cm_objects *o)
{
    uint64_t n = !cm_inner_recorded(o->buckets_file);
    for (unsigned i = 0; i < CM_DATA_FILES; i++) {
        const cm_file *file = at_load_acquire(&o->data[i].file); /* as in values.c */
        n += file && !cm_inner_recorded(file);
    }
    return n;
}

void cm_objects_tell_unrecorded(cm_objects *o)
{
    if (cm_objects_unrecorded(o) == 0 || at_or_relaxed(&o->told_unrecorded, 1u) != 0)
        return;
    cm_log(o->cache, CM_LOG_WARNING,
           "%s: objects: %s: a part of this container has no record, and is empty after the next "
           "open: the file table is full of files in use (make the pool with more max_files), or "
           "it cannot be written (if the pool is sparse, make room on its volume)",
           o->cache->name, o->name);
}

void cm_objects_synced(cm_file *file)
{
    (void)cm_inner_synced(file);
}

int cm_objects_forget_all(cm_file *file, uint64_t len)
{
    cm_bracket w;
    int e = cm_write_begin(file, 0, len, &w);
    if (e == 0) {
        e = cm_write_end(file, &w, NULL);
        cm_objects_synced(file);
    }
    return e > 0 ? 0 : e;
}

bool cm_objects_passes(const cm_file *file, int result)
{
    return result == CM_NOT_STORED_STALE || (result == CM_NOT_STORED_MODE && cm_inner_takes(file));
}

bool cm_objects_again(unsigned tries, uint64_t *waited)
{
    if (tries < SPINS) {
        at_pause();
        return true;
    }
    if (*waited >= CM_OBJECTS_WAIT_NS)
        return false;
    const uint64_t began = cm_plat_now_ns();
    cm_plat_sleep(20000); /* its thread may have lost its CPU */
    *waited += cm_plat_now_ns() - began;
    return true;
}

bool cm_objects_is_proof(const struct cm_objects_proof *proof)
{
    return memcmp(proof->tag, buckets_tag, sizeof(proof->tag)) == 0;
}

/* ---- Clock, counters ------------------------------------------------------------------------- */

struct cm_object_now cm_objects_now(cm_objects *o)
{
    struct cm_object_now now;
    /* In this order. If the process stands still between the two looks, `ahead` is too small, for
     * this call only. It would be too large in the other order, and for the rest of the session
     * the wall clock would seem to have been set back. */
    now.wall_ns = cm_plat_wall_ns();
    now.ticks = cm_plat_now_ns();
    /* How far the wall clock is ahead of the one that nobody sets: the largest that was seen. That
     * one is taken for slower than it is by 1/SLOWER, or a wall clock that loses a little against
     * it, as on Windows, would seem to be set back further and further. So an object may live
     * longer by 1/SLOWER of its time. */
    const int64_t ahead = now.wall_ns - (int64_t)(now.ticks - now.ticks / SLOWER);
    int64_t most = at_load_relaxed(&o->ahead_ns); /* relaxed: it orders nothing */
    while (ahead > most && !at_cas_acq_rel(&o->ahead_ns, &most, ahead))
        ;
    now.back_ns = ahead < most ? most - ahead : 0;
    return now;
}

/* The ends in DRAM, if they are needed, and there is memory. */
static struct cm_object_end *make_ends(cm_objects *o)
{
    const size_t bytes = CM_OBJECT_ENDS * sizeof(struct cm_object_end);
    struct cm_object_end *there = at_load_acquire(&o->ends); /* pairs with the CAS: zeros */
    if (there)
        return there;
    struct cm_object_end *mine = cm_cache_alloc(o->cache, bytes);
    if (!mine || at_cas_acq_rel(&o->ends, &there, mine))
        return mine;
    cm_cache_free(o->cache, mine, bytes);
    return there;
}

static struct cm_object_end *end_at(struct cm_object_end *ends, const struct cm_entry *e)
{
    return &ends[cm_entries_key_hash(e->key, e->key_len) % CM_OBJECT_ENDS];
}

void cm_objects_keep_end(cm_objects *o, const struct cm_object_now *now, const struct cm_entry *e,
                         uint64_t check, uint64_t ttl_ns)
{
    struct cm_object_end *const ends = now->back_ns < SET_BACK_NS ? NULL : make_ends(o);
    const uint64_t end = now->ticks + ttl_ns; /* too large: cm_objects_end_of() does not ask */
    if (!ends)
        return;
    struct cm_object_end *const at = end_at(ends, e);
    at_store_relaxed(&at->sum, check ^ end); /* relaxed: who sees one of them finds nothing */
    at_store_relaxed(&at->ends, end);
}

/* What cm_objects_keep_end() has remembered of it. False: nothing. */
static bool has_end(const cm_objects *o, const struct cm_entry *e, uint64_t *end)
{
    struct cm_object_end *const ends = at_load_acquire(&o->ends); /* as in make_ends() */
    if (!ends)
        return false;
    const struct cm_object_end *const at = end_at(ends, e);
    *end = at_load_relaxed(&at->ends);
    return at_load_relaxed(&at->sum) == (e->check ^ *end);
}

int64_t cm_objects_end_of(const cm_objects *o, const struct cm_object_now *now,
                          const struct cm_entry *e)
{
    uint64_t ticks;
    if (e->expires_ms > INT64_MAX / 1000000)
        return INT64_MAX;
    const int64_t end = e->expires_ms * 1000000;
    if (now->back_ns < SET_BACK_NS)
        return end;
    if (!has_end(o, e, &ticks))
        /* Perhaps the wall clock was ahead when it was put: nobody knows how far. Or it was put
         * when the clock was set back by less than SET_BACK_NS. That one must not end early. */
        return end - (now->back_ns - SET_BACK_NS);
    const uint64_t left = ticks > now->ticks ? ticks - now->ticks : 0;
    /* No overflow: it is added only if the sum is below `end`. */
    return left < INT64_MAX && now->wall_ns < end - (int64_t)left ? now->wall_ns + (int64_t)left
                                                                  : end;
}

void cm_objects_count(cm_objects *o, enum cm_object_counter what, uint64_t n)
{
    struct cm_object_shard *s = &o->shards[cm_plat_thread()->number % CM_OBJECT_SHARDS];
    at_add_relaxed(&s->counter[what], n); /* relaxed: a number, and nothing else */
}
