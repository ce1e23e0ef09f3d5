/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects.c - opens, closes and describes containers of objects.
 *
 * Owns: how many buckets a container has; that one handle has it open.
 *
 * Who: users, through cachemax_objects.h; objects/.
 */
#include <string.h>

#include "api/cache.h"
#include "api/inner.h"
#include "objects/values.h"

#define SMALL 1024u                     /* bytes of an average object, at most */
#define LOST_OF 64                      /* at most one object of so many finds its bucket full */
#define OBJECTS_MAX (UINT64_C(1) << 56) /* more are not counted */
#define BUCKETS_MAX (UINT64_C(1) << 31) /* cm_objects_place() */

/* As in api/structs.c. */
CM_FIRST_SIZE(cm_objects_options, 56);
CM_FIRST_SIZE(cm_objects_info, 88);
CM_FIRST_SIZE(cm_object_info, 32);

/* ---- Opening --------------------------------------------------------------------------------- */

/* The part of the objects that find their bucket full, if `fits` of them fit into one, and it has
 * `mean` on the average. The number in a bucket has a Poisson distribution. */
static double lost(unsigned fits, double mean)
{
    double p = 1, all = 0, beyond = 0; /* p: how often there are n; how often there is none is 1 */
    for (unsigned n = 1; n <= 2 * fits + 16; n++) {
        p *= mean / n;
        all += n * p;
        if (n > fits)
            beyond += (n - fits) * p;
    }
    return beyond / all;
}

/* How many objects of this size a bucket shall have on the average, in 64ths. The mean and 1.8
 * standard deviations fit: then less than one object in a hundred finds no room, if they are small.
 * Of large ones few fit, and more would be lost than LOST_OF allows. */
static uint64_t load_of(uint64_t bytes)
{
    const uint64_t fits = (CM_BLOCK_SIZE - CM_ENTRIES_START) / (bytes + CM_ENTRY_HEAD);
    const uint64_t most = 64 * fits;
    uint64_t mean = most;
    while (25 * (most - mean) * (most - mean) < 81 * 64 * mean ||
           LOST_OF * lost((unsigned)fits, (double)mean / 64) > 1)
        mean--;
    return mean;
}

static void tell_few(const cm_objects *o, const cm_objects_options *opts, uint64_t wanted,
                     uint64_t most)
{
    cm_log(o->cache, CM_LOG_WARNING,
           "%s: objects: %s: %llu objects of %llu bytes want %llu buckets, and the pool has room "
           "for %llu: objects will leave full buckets. Make the pool larger (docs/objects.md tells "
           "how large), and this container anew: cm_objects_forget",
           o->cache->name, o->name, (unsigned long long)opts->objects,
           (unsigned long long)opts->object_bytes, (unsigned long long)wanted,
           (unsigned long long)most);
}

/* How many buckets a new container gets. */
static uint64_t choose_buckets(const cm_objects *o, const cm_objects_options *opts, uint64_t slots)
{
    /* Who tells both knows what lies in buckets. Else there may be many large values. */
    const bool told = opts->objects && opts->object_bytes;
    const uint64_t room = slots - slots / (told ? 16 : 4);
    const uint64_t most = room < BUCKETS_MAX ? room : BUCKETS_MAX;
    const uint64_t objects = opts->objects < OBJECTS_MAX ? opts->objects : OBJECTS_MAX;
    if (objects == 0)
        return most;
    const uint64_t bytes = told ? opts->object_bytes : slots * CM_BLOCK_SIZE / objects;
    const uint64_t wanted = (objects - 1) * 64 / load_of(bytes < SMALL ? bytes : SMALL) + 1;
    if (wanted <= most)
        return wanted;
    if (told)
        tell_few(o, opts, wanted, most);
    return most;
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
    if (cm_objects_is_proof(&proof) && proof.buckets <= BUCKETS_MAX)
        *buckets = proof.buckets;
    return 0;
}

/* Makes sure that nobody else has the container open, and that cm_close() refuses. */
static int own(cm_objects *o)
{
    cm_file_id id;
    cm_objects_id(&id, o->name, 'o', 0);
    int e = cm_file_open(o->cache, &id, NULL, 0, &o->owner);
    if (e < 0)
        return e;
    e = cm_inner_claim(o->owner, true);
    if (e == 0) {
        e = cm_write_begin(o->owner, 0, 0, &o->owned);
        if (e == 0)
            return 0;
        (void)cm_inner_claim(o->owner, false);
    }
    (void)cm_file_close(o->owner);
    return e;
}

static void disown(cm_file *owner, cm_bracket *owned)
{
    (void)cm_write_end(owner, owned, NULL);
    (void)cm_inner_claim(owner, false);
    (void)cm_file_close(owner);
}

/* Frees the container while the cache is still open: from disown() on cm_close() may free that. */
static void free_owned(cm_objects *o)
{
    cm_cache *const c = o->cache;
    cm_file *const owner = o->owner;
    cm_bracket owned = o->owned;
    cm_cache_free(c, o->hint, (size_t)o->buckets * sizeof(*o->hint));
    cm_cache_free(c, o->ends, CM_OBJECT_ENDS * sizeof(*o->ends));
    cm_cache_free(c, o, sizeof(*o));
    disown(owner, &owned);
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
        o->buckets = choose_buckets(o, opts, info.slots);
    o->hint = cm_cache_alloc(o->cache, (size_t)o->buckets * sizeof(*o->hint));
    if (!o->hint)
        return CM_ENOMEM;
    e = cm_objects_file(o, 'b', 0, o->buckets, &o->buckets_file);
    if (e == 0) {
        /* Buckets do not wait in DRAM, and leave later than values. */
        (void)cm_file_advise(o->buckets_file, CM_ADVISE_KEEP);
        e = cm_values_open(o, info.max_files);
        if (e == 0) {
            cm_objects_tell_unrecorded(o);
            return 0;
        }
        (void)cm_file_close(o->buckets_file);
    }
    return e;
}

static bool is_name(const char *name)
{
    return name && *name && cm_objects_length(name) <= CM_OBJECTS_NAME_MAX;
}

static bool take_options(cm_cache *cache, cm_objects_options *to, const cm_objects_options *from)
{
    if (cm_take_options(to, sizeof(*to), from) == 0 && to->flags == 0 &&
        cm_all_zero(to->reserved, 4))
        return true;
    cm_log(cache, CM_LOG_ERROR,
           "cm_objects_options: a flag or reserved is set, or an option, that this library "
           "(version %s) does not know: begin with CM_OBJECTS_OPTIONS_INIT",
           cm_version());
    return false;
}

int cm_objects_open(cm_cache *cache, const char *name, const cm_objects_options *opts,
                    cm_objects **objects)
{
    cm_objects_options given;
    if (!cache)
        return CM_EHANDLE;
    if (!objects || !is_name(name))
        return CM_EINVAL;
    int e = cm_enter_files(cache); /* before it is asked for memory */
    if (e)
        return e;
    if (!take_options(cache, &given, opts))
        return CM_EINVAL;
    cm_objects *o = cm_cache_alloc(cache, sizeof(*o));
    if (!o)
        return CM_ENOMEM;
    o->cache = cache;
    memcpy(o->name, name, cm_objects_length(name) + 1);
    (void)cm_objects_now(o);
    e = own(o);
    if (e) {
        cm_cache_free(cache, o, sizeof(*o));
        return e;
    }
    e = open_files(o, &given);
    if (e) {
        free_owned(o);
        return e;
    }
    *objects = o;
    return 0;
}

int cm_objects_close(cm_objects *o)
{
    if (!o)
        return CM_EHANDLE;
    const int refused = cm_objects_enter(o); /* before anything is freed */
    if (refused)
        return refused;
    if (at_load_acquire(&o->iterations)) /* pairs with the release of cm_objects_end() */
        return CM_EBUSY;
    cm_values_close(o);
    const int e = cm_file_close(o->buckets_file);
    free_owned(o);
    return e;
}

int cm_objects_forget(cm_cache *cache, const char *name)
{
    cm_objects o = { .cache = cache };
    cm_file_id id;
    if (!cache)
        return CM_EHANDLE;
    if (!is_name(name))
        return CM_EINVAL;
    memcpy(o.name, name, cm_objects_length(name) + 1);
    int e = own(&o);
    if (e)
        return e;
    cm_objects_id(&id, name, 'b', 0);
    e = cm_forget(cache, &id);
    for (uint32_t i = 0; i < CM_DATA_FILES && e == 0; i++) {
        cm_objects_id(&id, name, 'd', i);
        e = cm_file_lookup(cache, &id, NULL, NULL);
        if (e != CM_ESEAL) /* else nobody can tell now */
            e = e == CM_EABSENT ? 0 : cm_forget(cache, &id);
    }
    disown(o.owner, &o.owned);
    /* The owner has no blocks, so nothing depends on whether its record goes, or when: another
     * thread may have opened the container in the meantime. */
    cm_objects_id(&id, name, 'o', 0);
    (void)cm_forget(cache, &id);
    return e;
}

/* ---- Describing ------------------------------------------------------------------------------ */

int cm_objects_get_info(cm_objects *o, cm_objects_info *info)
{
    uint64_t sum[CM_OBJECT_COUNTERS] = { 0 };
    cm_objects_info now = { .struct_size = sizeof(now) };
    const int refused = cm_objects_enter(o);
    if (refused)
        return refused;
    if (!cm_can_give_result(info))
        return CM_EINVAL;
    for (unsigned i = 0; i < CM_OBJECT_SHARDS; i++)
        for (unsigned k = 0; k < CM_OBJECT_COUNTERS; k++)
            sum[k] += at_load_relaxed(&o->shards[i].counter[k]); /* as they are now */
    now.buckets = o->buckets;
    now.dram_bytes = sizeof(*o) + o->buckets * sizeof(*o->hint);
    if (at_load_acquire(&o->ends))
        now.dram_bytes += CM_OBJECT_ENDS * sizeof(*o->ends);
    now.hits = sum[CM_OBJECT_HITS];
    now.misses = sum[CM_OBJECT_MISSES];
    now.puts = sum[CM_OBJECT_PUTS];
    now.deletes = sum[CM_OBJECT_DELETES];
    now.not_stored = sum[CM_OBJECT_NOT_STORED];
    now.dropped = sum[CM_OBJECT_DROPPED];
    now.expired = sum[CM_OBJECT_EXPIRED];
    now.unrecorded = cm_objects_unrecorded(o);
    return cm_give_result(info, &now, sizeof(now));
}
