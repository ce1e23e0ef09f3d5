/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_common.h - shared by the tests of platform.h on every system.
 */
#ifndef CM_PLATFORM_COMMON_H
#define CM_PLATFORM_COMMON_H

#include "harness.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "../os.h"
#include "../plat_create.h"
#include "platform/atomic.h"
#include "platform/platform.h"

/* The tests that run on every system. */
extern const struct harness_test platform_tests[];

#define PAGE 4096u
#define MIB (1u << 20)

extern char dir[256]; /* of this run; emptied and removed by main */

static inline const char *in_dir(const char *name)
{
    static char path[4][512];
    static unsigned next;
    char *p = path[next++ % 4];

    (void)snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static inline void sleep_ms(long ms)
{
    const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    (void)nanosleep(&t, NULL);
}

unsigned open_files(void); /* descriptors or handles of this process */

/* ---- Files --------------------------------------------------------------------------------- */

struct progress {
    unsigned calls, cancel_at;
    uint64_t last, total;
};

static inline int on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct progress *p = ctx;

    p->calls++;
    CHECK(done > p->last && done <= total);
    p->last = done;
    p->total = total;
    return p->calls == p->cancel_at;
}

/* ---- Identity ------------------------------------------------------------------------------ */

static inline int all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return 0;
        }
    }
    return 1;
}

static inline int same_id(cm_file_id a, cm_file_id b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

static inline int same_version(const cm_validator *a, const cm_validator *b)
{
    return a->size == b->size && memcmp(a->proof, b->proof, sizeof(a->proof)) == 0;
}

#endif
