/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_common.h - shared by the tests of warming.
 */
#ifndef CM_WARM_COMMON_H
#define CM_WARM_COMMON_H

#include "flight_common.h"

#include "protocol/lookup.h"

/* The tests of the other files. */
extern const struct harness_test warm_stops_tests[], warm_threads_tests[], warm_verify_tests[];

/* What progress was told, and what it answers. */
struct told {
    uint32_t calls; /* atomic */
    uint64_t done, total;
    bool ordered;         /* `done` never went back */
    uint32_t cancel_at;   /* the call that cancels; 0: none */
    void (*act)(void *f); /* what the calls number act_at and act_again do first */
    uint32_t act_at, act_again;
    void *f;
};

static inline int tell(void *ctx, uint64_t done, uint64_t total)
{
    struct told *w = ctx;
    const uint32_t call = at_add_acq_rel(&w->calls, 1u) + 1;
    w->ordered = (call == 1 || w->ordered) && done >= w->done && done <= total;
    w->done = done;
    w->total = total;
    if (w->act && (call == w->act_at || call == w->act_again))
        w->act(w->f);
    return call == w->cancel_at;
}

static inline cm_warm_options options(struct told *w)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    o.progress = tell;
    o.progress_ctx = w;
    return o;
}

/* Warms a range, and checks what the report says of itself. */
static inline int warm(cm_file *f, uint64_t offset, uint64_t len, const cm_warm_options *opts,
                       struct origin *o, cm_warm_report *r)
{
    *r = (cm_warm_report){ .struct_size = sizeof(*r) };
    const int e = cm_warm(f, offset, len, opts, origin_read, o, r);
    CHECK_EQ(r->struct_size, sizeof(*r));
    CHECK(r->end >= offset && (len == CM_ALL || r->end <= offset + len));
    CHECK(r->cached <= r->end - offset);
    CHECK(r->stored <= r->read);
    CHECK_EQ(o->misaligned, 0);
    return e;
}

/* How many of these blocks are in the pool? */
static inline unsigned in_pool(cm_file *f, uint64_t first, uint64_t n)
{
    struct cm_cache *c = cm_object_of(f)->cache;
    unsigned found = 0;
    for (uint64_t b = first; b < first + n; b++) {
        const struct cm_key k = key_of(f, b);
        uint64_t slot;
        struct cm_header h;
        found += cm_step_find(c, &k, &slot, &h) == CM_FOUND_HIT;
    }
    return found;
}

static inline unsigned count_of(cm_file *f, uint64_t block)
{
    return cm_ring_count(&cm_object_of(f)->cache->policy.ring, slot_of(f, block));
}

/* The blocks of another file are used. */
static inline void use_all(void *f)
{
    struct cm_cache *c = cm_object_of(f)->cache;
    for (uint64_t s = 0; s < c->media.geo.slots; s++)
        if (slot_ok(c, s) && header_of(c, s)->incarnation == cm_object_of(f)->incarnation)
            for (unsigned i = 0; i < CM_REF_MAX; i++)
                cm_ring_touch(&c->policy.ring, s);
}

#endif
