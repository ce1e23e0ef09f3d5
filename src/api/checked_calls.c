/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checked_calls.c - the public calls of a build with -Dchecks=full: after each of them all of the
 * cache's structures are looked at (state/invariants.c).
 *
 * Owns: cm_cache.inside, the number of threads that are in a call on the cache. If a thread leaves
 * a call and no other thread is inside, it looks at the structures. Calls that begin meanwhile
 * wait. In a large pool only some calls look, because each look goes over all slots. If a structure
 * is not in order, the process is ended.
 *
 * Who: users, through cachemax.h.
 */
#include "api/cache.h"
#include "api/checked_calls.h"
#include "api/read_range.h"
#include "api/request.h"
#include "state/file_list.h"
#include "state/invariants.h"
#include "state/object.h"

#define EVERY_SLOTS 1024u /* one call in slots / EVERY_SLOTS + 1 looks */
#define EVERY_READ 16u    /* so many times fewer for reads */

/* A call, from its begin to its end. */
struct call {
    struct cm_cache *cache; /* NULL: it will be refused */
    unsigned every;
};

static struct call enter(struct cm_cache *c, unsigned every)
{
    uint32_t n = c ? at_load_relaxed(&c->inside) : 0;
    while (c) {
        if (n & CM_INSIDE_LOOKING) {
            cm_plat_wait(&c->inside, n);
            n = at_load_relaxed(&c->inside);
        } else if (at_cas_acq_rel(&c->inside, &n, n + 1)) { /* acquire: what the look found */
            break;
        }
    }
    return (struct call){ c, every };
}

/* Also where the thread ends inside the call, in the caller's function that reads the origin. */
static void leave(struct call *call)
{
    struct cm_cache *c = call->cache;
    char text[CM_INVARIANTS_TEXT];
    uint32_t alone = 1;
    if (!c)
        return;
    const uint64_t turn = at_add_relaxed(&c->calls, 1);
    const bool due = turn % (call->every * (cm_media_slots(&c->media) / EVERY_SLOTS + 1)) == 0;
    /* Acquire: what all who left before have stored. */
    if (!due || !at_cas_acq_rel(&c->inside, &alone, CM_INSIDE_LOOKING)) {
        (void)at_sub_acq_rel(&c->inside, 1u);
        return;
    }
    if (!cm_cache_in_order(c, text))
        cm_plat_fail(text);
    at_store_release(&c->inside, 0u);
    cm_plat_wake_all(&c->inside);
}
#define CALL __attribute__((cleanup(leave), unused)) struct call

/* NULL: the call will refuse it. */
static struct cm_cache *cache_if_open(cm_cache *c)
{
    return cm_cache_state(c) == 0 ? c : NULL;
}
static struct cm_cache *cache_of(const cm_file *file)
{
    const struct cm_object *f = cm_object_of(file);
    return cm_object_attached(f, file) ? cache_if_open(f->cache) : NULL;
}

static struct cm_cache *cache_of_request(const cm_request *r)
{
    return r && cm_run_begun(r) ? cache_if_open(cm_run_cache(r)) : NULL;
}

#define DECLARE(type, name, parameters, arguments) type name parameters;
CM_CALLS_OF_OBJECTS(DECLARE)
#define CHECKED(cache_of_it, every, type, name, parameters, arguments)                             \
    type name parameters                                                                           \
    {                                                                                              \
        CALL call = enter(cache_of_it, every);                                                     \
        return name##_unchecked arguments;                                                         \
    }
#define CALL_OF_CACHE(...) CHECKED(cache_if_open(cache), 1, __VA_ARGS__)
#define CALL_OF_FILE(...) CHECKED(cache_of(file), 1, __VA_ARGS__)
#define CALL_OF_REQUEST(...) CHECKED(cache_of_request(r), 1, __VA_ARGS__)
#define READ_OF_FILE(...) CHECKED(cache_of(file), EVERY_READ, __VA_ARGS__)
CM_CALLS_OF_CACHES(CALL_OF_CACHE)
CM_CALLS_OF_FILES(CALL_OF_FILE)
CM_CALLS_OF_OBJECTS(CALL_OF_FILE)
CM_CALLS_OF_REQUESTS(CALL_OF_REQUEST)
CM_READS_OF_FILES(READ_OF_FILE)

int cm_files_next(cm_file_iter *iter, cm_validator *validator, cm_file_info *info)
{
    CALL call = enter(iter ? cache_if_open(iter->list.cache) : NULL, EVERY_READ);
    return cm_files_next_unchecked(iter, validator, info);
}

int cm_unpin(cm_pins *pins)
{
    CALL call = enter(pins ? cm_range_pins_cache(pins) : NULL, 1);
    return cm_unpin_unchecked(pins);
}
