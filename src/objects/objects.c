/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects.c - opens, closes and describes containers of objects.
 *
 * Owns: the files that a container consists of, and their ids and proofs; how many buckets it has;
 * that one handle has it open; its clock and its counters.
 *
 * Who: users, through cachemax_objects.h; objects/.
 */
#include "objects/objects.h"

#include <stdio.h>
#include <string.h>

#include "api/cache.h"
#include "objects/values.h"

#define SMALL 1024u /* bytes of an average object, if nothing is said of it */
#define SPINS 50u
#define TRIES 2000u /* some 100 ms */
#define BUCKETS_MAX (UINT64_C(1) << 40)

static const uint8_t buckets_tag[8] = "cmobjb1", data_tag[8] = "cmobjd1";

/* ---- Files ----------------------------------------------------------------------------------- */

void cm_objects_id(cm_file_id *id, const char *name, char part, uint32_t number)
{
    char key[CM_OBJECTS_NAME_MAX + 64];
    const int n = snprintf(key, sizeof(key), "cachemax objects %c %u %s", part, number, name);
    cm_file_id_set_key(id, key, (size_t)n);
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
    char name[CM_OBJECTS_NAME_MAX + 32];
    cm_objects_id(&id, o->name, part, number);
    const int e = cm_file_open(o->cache, &id, &v, CM_EXCLUSIVE, file);
    if (e < 0)
        return e;
    snprintf(name, sizeof(name), "objects %s: %c%u", o->name, part, number);
    (void)cm_file_set_name(*file, name); /* for people; a pool need not have room for names */
    cm_objects_synced(*file);
    return 0;
}

void cm_objects_synced(cm_file *file)
{
    cm_sync s;
    if (cm_sync_begin(file, &s) == 0)
        (void)cm_sync_end(file, &s, 1, NULL);
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

bool cm_objects_again(unsigned tries)
{
    if (tries < SPINS)
        at_pause();
    else if (tries < TRIES) /* its thread may have lost its CPU */
        cm_plat_sleep(20000);
    return tries < TRIES;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* How many objects of this size a bucket shall have on the average, in sixteenths. The number in a
 * bucket has a Poisson distribution. Its mean and 1.8 standard deviations fit, so that less than
 * one object in a hundred finds no room. */
static uint64_t load_of(uint64_t bytes)
{
    const uint64_t fits = 16 * (CM_BLOCK_SIZE / (bytes + CM_ENTRY_HEAD));
    uint64_t mean = fits;
    while (mean > 1 && 25 * (fits - mean) * (fits - mean) < 81 * 16 * mean)
        mean--;
    return mean;
}

/* How many buckets a new container gets. */
static uint64_t choose_buckets(const cm_objects_options *opts, uint64_t slots)
{
    const uint64_t most = slots - slots / 4;
    const uint64_t objects = opts->objects < BUCKETS_MAX ? opts->objects : BUCKETS_MAX;
    uint64_t bytes = opts->object_bytes;
    if (objects == 0)
        return most;
    if (bytes == 0)
        bytes = slots * CM_BLOCK_SIZE / objects;
    const uint64_t buckets = objects * 16 / load_of(bytes < SMALL ? bytes : SMALL) + 1;
    return buckets < most ? buckets : most;
}

/* The number of buckets that the pool has recorded, or 0: the container is new. CM_EBUSY: it is
 * open. */
static int recorded_buckets(cm_cache *cache, const char *name, uint64_t *buckets)
{
    struct cm_objects_proof proof;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id;
    size_t len;
    *buckets = 0;
    cm_objects_id(&id, name, 'b', 0);
    const int e = cm_file_lookup(cache, &id, &v, &info);
    if (e)
        return e == CM_EABSENT ? 0 : e;
    if (info.attached)
        return CM_EBUSY;
    const void *p = cm_validator_get_proof(&v, &len);
    if (!p || len != sizeof(proof))
        return 0;
    memcpy(&proof, p, len);
    if (memcmp(proof.tag, buckets_tag, sizeof(proof.tag)) == 0 && proof.buckets <= BUCKETS_MAX)
        *buckets = proof.buckets;
    return 0;
}

/* Makes sure that nobody else has the container open, and that cm_close() refuses. */
static int own(cm_objects *o)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id;
    cm_objects_id(&id, o->name, 'o', 0);
    int e = cm_file_open(o->cache, &id, NULL, 0, &o->owner);
    if (e < 0)
        return e;
    e = cm_write_begin(o->owner, 0, 0, &o->owned);
    if (e == 0) {
        e = cm_file_get_info(o->owner, &info);
        if (e == 0 && info.brackets == 1)
            return 0;
        (void)cm_write_end(o->owner, &o->owned, NULL);
        e = e ? e : CM_EBUSY;
    }
    (void)cm_file_close(o->owner);
    return e;
}

static void disown(cm_objects *o)
{
    (void)cm_write_end(o->owner, &o->owned, NULL);
    (void)cm_file_close(o->owner);
}

/* The container is owned. */
static int open_files(cm_objects *o, const cm_objects_options *opts)
{
    cm_info info = CM_INFO_INIT;
    int e = cm_get_info(o->cache, &info);
    if (e == 0)
        e = recorded_buckets(o->cache, o->name, &o->buckets);
    if (e)
        return e;
    if (o->buckets == 0)
        o->buckets = choose_buckets(opts, info.slots);
    o->value_max = info.slots / 8 * CM_BLOCK_SIZE;
    o->hot = cm_plat_alloc((size_t)o->buckets * sizeof(*o->hot));
    if (!o->hot)
        return CM_ENOMEM;
    e = cm_objects_file(o, 'b', 0, o->buckets, &o->buckets_file);
    if (e == 0) {
        /* Buckets do not wait in DRAM, and leave later than values. */
        (void)cm_file_advise(o->buckets_file, CM_ADVISE_KEEP);
        cm_values_open(o);
        return 0;
    }
    cm_plat_free(o->hot, (size_t)o->buckets * sizeof(*o->hot));
    return e;
}

static bool is_name(const char *name)
{
    return name && *name && strlen(name) <= CM_OBJECTS_NAME_MAX;
}

int cm_objects_open(cm_cache *cache, const char *name, const cm_objects_options *opts,
                    cm_objects **objects)
{
    cm_objects_options given;
    int e = cm_take_options(&given, sizeof(given), opts);
    if (e || !cache || !objects || !is_name(name) || given.flags ||
        (given.reserved[0] | given.reserved[1] | given.reserved[2] | given.reserved[3]))
        return CM_EINVAL;
    cm_objects *o = cm_plat_alloc(sizeof(*o));
    if (!o)
        return CM_ENOMEM;
    o->cache = cache;
    memcpy(o->name, name, strlen(name) + 1);
    o->opened_wall_ns = cm_plat_wall_ns();
    o->opened_ns = cm_plat_now_ns();
    e = own(o);
    if (e == 0) {
        e = open_files(o, &given);
        if (e)
            disown(o);
    }
    if (e) {
        cm_plat_free(o, sizeof(*o));
        return e;
    }
    *objects = o;
    return 0;
}

int cm_objects_close(cm_objects *o)
{
    if (!o)
        return CM_EHANDLE;
    if (at_load_acquire(&o->iterations)) /* pairs with the release of cm_objects_end() */
        return CM_EBUSY;
    cm_values_close(o);
    const int e = cm_file_close(o->buckets_file);
    disown(o);
    cm_plat_free(o->hot, (size_t)o->buckets * sizeof(*o->hot));
    cm_plat_free(o, sizeof(*o));
    return e;
}

int cm_objects_forget(cm_cache *cache, const char *name)
{
    cm_objects o = { .cache = cache };
    cm_file_id id;
    if (!is_name(name))
        return CM_EINVAL;
    memcpy(o.name, name, strlen(name) + 1);
    int e = own(&o);
    if (e)
        return e;
    cm_objects_id(&id, name, 'b', 0);
    e = cm_forget(cache, &id);
    for (uint32_t i = 0; i < CM_DATA_FILES && e == 0; i++) {
        cm_objects_id(&id, name, 'd', i);
        if (cm_file_lookup(cache, &id, NULL, NULL) == 0)
            e = cm_forget(cache, &id);
    }
    disown(&o);
    return e;
}

/* ---- Clock, counters ------------------------------------------------------------------------- */

int64_t cm_objects_clock(const cm_objects *o)
{
    const int64_t wall = cm_plat_wall_ns();
    const int64_t least = o->opened_wall_ns + (int64_t)(cm_plat_now_ns() - o->opened_ns);
    return wall > least ? wall : least;
}

void cm_objects_count(cm_objects *o, enum cm_object_counter what, uint64_t n)
{
    struct cm_object_shard *s = &o->shards[cm_plat_thread()->number % CM_OBJECT_SHARDS];
    at_add_relaxed(&s->counter[what], n); /* relaxed: a number, and nothing else */
}

int cm_objects_get_info(cm_objects *o, cm_objects_info *info)
{
    uint64_t sum[CM_OBJECT_COUNTERS] = { 0 };
    cm_objects_info now = { .struct_size = sizeof(now) };
    if (!o)
        return CM_EHANDLE;
    if (!cm_can_give_result(info))
        return CM_EINVAL;
    for (unsigned i = 0; i < CM_OBJECT_SHARDS; i++)
        for (unsigned k = 0; k < CM_OBJECT_COUNTERS; k++)
            sum[k] += at_load_relaxed(&o->shards[i].counter[k]); /* as they are now */
    now.buckets = o->buckets;
    now.dram_bytes = sizeof(*o) + o->buckets * sizeof(*o->hot);
    now.hits = sum[CM_OBJECT_HITS];
    now.misses = sum[CM_OBJECT_MISSES];
    now.puts = sum[CM_OBJECT_PUTS];
    now.deletes = sum[CM_OBJECT_DELETES];
    now.not_stored = sum[CM_OBJECT_NOT_STORED];
    now.dropped = sum[CM_OBJECT_DROPPED];
    now.expired = sum[CM_OBJECT_EXPIRED];
    return cm_give_result(info, &now, sizeof(now));
}
