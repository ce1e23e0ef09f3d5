/* SPDX-License-Identifier: BSD-2-Clause
 *
 * objects_common.h - for the tests of containers of objects.
 *
 * A value is a function of its key, a version and its length, so that a test knows each byte.
 */
#ifndef OBJECTS_COMMON_H
#define OBJECTS_COMMON_H

#include "fixture.h"

#include "objects/container.h"

#define SECOND INT64_C(1000000000)
#define VALUE_MAX ((size_t)4 * 1024 * 1024)

extern const struct harness_test objects_hostile_tests[];
extern const struct harness_test objects_threads_tests[];
extern const struct harness_test objects_grow_tests[];
extern const struct harness_test objects_large_tests[];
extern const struct harness_test objects_told_tests[];
extern const struct harness_test objects_ttl_tests[];

/* What the library takes for the wall clock is this much later (test_objects.c). */
extern int64_t clock_step_ns;
/* And so much time has passed since the open. */
extern uint64_t passed_ns;
/* The process stands still for so long after its next look at a clock. */
extern uint64_t stop_ns;
/* Each sleep takes 30 ms, and slept_ns is their sum (test_objects.c). */
extern bool oversleeps;
extern uint64_t slept_ns;
/* This pool grows until a put waits for that. */
extern struct cm_cache *grows;

static inline void value_of(uint64_t key, uint64_t version, uint8_t *to, size_t len)
{
    uint64_t word = mix(key * UINT64_C(0x100000001b3) + version);
    for (size_t i = 0; i < len; i += 8) {
        memcpy(to + i, &word, len - i < 8 ? len - i : 8);
        word = word * UINT64_C(6364136223846793005) + 1;
    }
}

static inline bool is_value(uint64_t key, uint64_t version, const uint8_t *p, size_t len)
{
    uint64_t word = mix(key * UINT64_C(0x100000001b3) + version);
    for (size_t i = 0; i < len; i += 8) {
        if (memcmp(p + i, &word, len - i < 8 ? len - i : 8) != 0)
            return false;
        word = word * UINT64_C(6364136223846793005) + 1;
    }
    return true;
}

static inline cm_objects *objects_up(cm_cache *c, const char *name, uint64_t objects)
{
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    cm_objects *o = NULL;
    opts.objects = objects;
    CHECK_EQ(cm_objects_open(c, name, &opts, &o), 0);
    if (!o) {
        printf("# cannot open the container, giving up\n");
        exit(1);
    }
    return o;
}

static inline void objects_down(cm_objects *o)
{
    CHECK_EQ(cm_objects_close(o), 0);
}
#define objects_down(...) CALL(objects_down(__VA_ARGS__)) /* its checks say who called */

/* The process has died (pool_crash): nothing of the container is in the pool's hands any more. */
static inline void objects_lost(cm_objects *o)
{
    cm_plat_free(o->hint, (size_t)o->buckets * sizeof(*o->hint));
    cm_plat_free(o, sizeof(*o));
}

/* Keys are numbers here. */
static inline int put_value(cm_objects *o, uint64_t key, uint64_t version, size_t len,
                            uint64_t ttl_ns)
{
    uint8_t *value = malloc(len + 1);
    value_of(key, version, value, len);
    const int e = cm_objects_put(o, &key, sizeof(key), value, len, ttl_ns);
    free(value);
    return e;
}

/* Gets it. RIGHT, MISS or WRONG. */
static inline int get_value(cm_objects *o, uint64_t key, uint64_t version, size_t len)
{
    uint8_t *buf = malloc(len + 1);
    cm_object_info info = CM_OBJECT_INFO_INIT;
    const int64_t n = cm_objects_get(o, &key, sizeof(key), buf, len, &info);
    const bool right = n == (int64_t)len && info.size == len && is_value(key, version, buf, len);
    free(buf);
    return n == CM_EABSENT ? MISS : right ? RIGHT : WRONG;
}

static inline cm_objects_info objects_info(cm_objects *o)
{
    cm_objects_info info = CM_OBJECTS_INFO_INIT;
    CHECK_EQ(cm_objects_get_info(o, &info), 0);
    return info;
}

#endif
