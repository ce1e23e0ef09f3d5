/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cpu_x86.h - the features of this x86-64 CPU.
 */
#ifndef CM_CPU_X86_H
#define CM_CPU_X86_H

#include <stdint.h>

enum {
    CM_X86_KNOWN = 1u << 0, /* detection has run */
    CM_X86_CLFLUSHOPT = 1u << 1,
    CM_X86_CLWB = 1u << 2,
    CM_X86_AVX2 = 1u << 3,
    CM_X86_AVX512 = 1u << 4,
    CM_X86_STRINGS = 1u << 5 /* string moves copy blocks fastest */
};

/* Detected once, at run time. */
uint32_t cm_x86_features(void);

#endif
