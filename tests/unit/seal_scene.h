/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal_scene.h - a sealed pool whose callbacks fail for a moment: nothing that was cached is lost
 * for it.
 *
 * Each act runs once for each call of a callback that it makes, and that call fails; then once more
 * for each, and all calls from there on fail until the act ends. Afterwards the pool is opened as
 * usual, and must have what it had.
 */
#ifndef CM_SEAL_SCENE_H
#define CM_SEAL_SCENE_H

#include "seal_common.h"

#include <unistd.h>

#define MANY 5u /* blocks of each file */
#define FILES 2u
#define CALLS_MOST 2000u
#define SIZE (MIB / 2)

struct scene {
    struct sealed s;
    char path[300];
    cm_file *f[FILES];
    bool cold[FILES]; /* what the act is to forget */
};

static inline void up(struct scene *t)
{
    REQUIRE(cm_open(t->path, &t->s.p.o, &t->s.p.c) == 0);
    for (unsigned i = 0; i < FILES; i++)
        t->f[i] = attach(&t->s.p, i + 1, 20 * BLK, 1, 0);
}

static inline void detach_all(struct scene *t)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (t->f[i])
            detach(t->f[i]);
        t->f[i] = NULL;
    }
}

static inline void down(struct scene *t)
{
    detach_all(t);
    CHECK_EQ(cm_close(t->s.p.c), 0);
    t->s.p.c = NULL;
}

/* Not on a tmpfs, for one. */
static inline bool can_checkpoint(const struct scene *t)
{
    return t->s.p.c->sync_lasts;
}
#define NEEDS_CHECKPOINTS(t)                                                                       \
    do {                                                                                           \
        if (!can_checkpoint(t)) {                                                                  \
            CHECK_EQ(cm_checkpoint((t)->s.p.c), CM_ENOTSUP);                                       \
            down(t);                                                                               \
            SKIP("this volume may not keep what it syncs");                                        \
        }                                                                                          \
    } while (0)

/* A pool in a file, open, with both files warm. */
static inline void begin(struct scene *t, bool checkpointed)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    memset(t, 0, sizeof(*t));
    (void)snprintf(t->path, sizeof(t->path), "%s/failing", seal_dir);
    (void)unlink(t->path);
    t->s.key.key = 5;
    t->s.seal = toy_seal(&t->s.key, 1);
    o.size = SIZE;
    o.flags = CM_CREATE_SPARSE;
    o.seal = t->s.p.o.seal = &t->s.seal;
    REQUIRE(cm_create(t->path, &o) == 0);
    t->s.p.o.struct_size = sizeof(t->s.p.o);
    t->s.p.o.probation_bytes = CM_PROBATION_NONE;
    t->s.p.o.policy = CM_POLICY_GCLOCK; /* every block is stored */
    up(t);
    for (unsigned i = 0; i < FILES; i++)
        CHECK_EQ(put_all(t->f[i], 0, MANY, 7 + i), MANY);
    if (checkpointed && can_checkpoint(t))
        CHECK_EQ(cm_checkpoint(t->s.p.c), 0);
}

/* Opens the pool as usual, and looks for what it had. */
static inline void judge(struct scene *t)
{
    t->s.key.fails = 0;
    if (t->s.p.c)
        down(t);
    up(t);
    CHECK_EQ(t->s.p.c->super.damaged, 0);
    for (unsigned i = 0; i < FILES; i++)
        CHECK_EQ(hits(t->f[i], 0, MANY, 7 + i), t->cold[i] ? 0 : MANY);
    down(t);
}

static inline cm_validator valid_now(void)
{
    cm_validator v = val(20 * BLK, 1);
    v.taken_at = later();
    return v;
}

/* Returns what the call returned that is tried. It may close the pool. */
typedef int act(struct scene *t);

static inline int try_it(act *a, bool checkpointed, unsigned after, unsigned fails)
{
    struct scene t;
    CASE("call %u", after);
    begin(&t, checkpointed);
    t.s.key.after = after;
    t.s.key.fails = fails;
    const int e = a(&t);
    const bool failed = t.s.key.failed > 0;
    CHECK(e == CM_ESEAL || e >= 0);
    judge(&t);
    return failed;
}

static inline void try_all(act *a)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        const unsigned fails = kind & 1 ? UINT32_MAX : 1;
        unsigned n = 0;
        CASE("kind %u", kind);
        while (n < CALLS_MOST && try_it(a, kind & 2, n, fails) && harness_failures == 0)
            n++;
        CHECK(n < CALLS_MOST && (n > 0 || kind > 1)); /* the act makes some calls */
    }
}
#define try_all(...) CALL(try_all(__VA_ARGS__))

#endif
