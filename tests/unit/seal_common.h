/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal_common.h - sealed pools in memory.
 */
#ifndef CM_SEAL_COMMON_H
#define CM_SEAL_COMMON_H

#include "../toy_seal.h"
#include "fixture.h"

#include <stdio.h>

/* The tests of the other files, and the directory for their pools. */
extern const struct harness_test seal_file_tests[], seal_failing_tests[];
extern const struct harness_test seal_failing_pool_tests[], seal_media_tests[];
extern char seal_dir[256];

struct sealed {
    struct pool p;
    struct toy_key key;
    cm_seal seal;
    char said[512]; /* the last line of the log */
};

static inline void sealed_log(void *ctx, int level, const char *text)
{
    struct sealed *s = ctx;
    (void)level;
    (void)snprintf(s->said, sizeof(s->said), "%s", text);
}

/* Makes a pool that is not open. *s must stay where it is. */
static inline void sealed_make(struct sealed *s, uint64_t bytes, int encrypts)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    memset(s, 0, sizeof(*s));
    s->key.key = 1234;
    s->seal = toy_seal(&s->key, encrypts);
    s->p.base = map_bytes(bytes);
    s->p.bytes = bytes;
    s->p.o = (cm_options)CM_OPTIONS_INIT;
    s->p.o.probation_bytes = CM_PROBATION_NONE;
    s->p.o.seal = o.seal = &s->seal;
    s->p.o.log = sealed_log;
    s->p.o.log_ctx = s;
    CHECK_EQ(cm_format_memory(s->p.base, bytes, &o), 0);
}
#define sealed_make(...) CALL(sealed_make(__VA_ARGS__))

/* Opens it, and attaches file 1 in a version. */
static inline cm_file *sealed_up(struct sealed *s, uint64_t version)
{
    CHECK_EQ(pool_up(&s->p), 0);
    return attach(&s->p, 1, 100 * BLK, version, CM_SOLE_WRITER);
}

static inline void sealed_down(struct sealed *s, cm_file *f)
{
    detach(f);
    pool_down(&s->p);
}

static inline void sealed_again(struct sealed *s, cm_file **f)
{
    sealed_down(s, *f);
    *f = sealed_up(s, 1);
}

static inline void sealed_end(struct sealed *s)
{
    pool_end(&s->p);
}

#endif
