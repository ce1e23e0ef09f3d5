/* SPDX-License-Identifier: BSD-2-Clause
 *
 * persist_common.h - shared by the tests of the access routines.
 */
#ifndef CM_PERSIST_COMMON_H
#define CM_PERSIST_COMMON_H

#include "harness.h"

#include <stdint.h>

/* The tests of the other files. */
extern const struct harness_test persist_poison_tests[];

#define PAGE 4096u
#define ROOM ((size_t)1 << 20) /* large enough to get whole pages from the system */

static inline uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 131u + (i >> 8) * 7u + 1u);
}

static inline void fill_pattern(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = pattern(i);
    }
}

static inline int all_bytes(const uint8_t *p, size_t n, uint8_t value)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != value) {
            return 0;
        }
    }
    return 1;
}

#endif
