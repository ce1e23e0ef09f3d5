/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cpu_x86.c - the features of this x86-64 CPU.
 *
 * Owns the detection of CPU features, and its result. A feature counts only if the operating system
 * saves the registers it needs (XGETBV). Every module may call it.
 *
 * Who: media/, persist/.
 */
#include "persist/cpu_x86.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdbool.h>

#include "platform/atomic.h"

/* The register sets that the OS saves (XCR0); 0 if the OS does not say. */
static uint64_t saved_state(void)
{
    uint32_t a, b, c, d, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0) {
        return 0;
    }
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | a;
}

/* Does the CPU have fast short string moves (FSRM)? AMD's family 19h counts as no, because hits by
 * AVX2 are faster there: measured with Zen 3, not with Zen 4, which is in that family, too. On Zen
 * 5 (family 1Ah) strings are faster: docs/performance.md. */
static bool strings_pay(uint32_t leaf_7_d)
{
    uint32_t a, b, c, d, family;
    bool amd;

    if ((leaf_7_d & (1u << 4)) == 0 || !__get_cpuid(0, &a, &b, &c, &d)) {
        return false;
    }
    amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return false;
    }
    family = (a >> 8 & 0xf) + (a >> 20 & 0xff);
    return !amd || family != 0x19;
}

static uint32_t detect(void)
{
    const uint64_t ymm_state = 0x6, zmm_state = 0xe6;
    const uint64_t state = saved_state();
    uint32_t features = CM_X86_KNOWN;
    uint32_t a, b, c, d;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return features;
    }
    features |= (b & (1u << 23)) != 0 ? (uint32_t)CM_X86_CLFLUSHOPT : 0u;
    features |= (b & (1u << 24)) != 0 ? (uint32_t)CM_X86_CLWB : 0u;
    features |= strings_pay(d) ? (uint32_t)CM_X86_STRINGS : 0u;
    if ((b & (1u << 5)) != 0 && (state & ymm_state) == ymm_state) {
        features |= CM_X86_AVX2;
    }
    if ((b & (1u << 16)) != 0 && (state & zmm_state) == zmm_state) {
        features |= CM_X86_AVX512;
    }
    return features;
}

uint32_t cm_x86_features(void)
{
    static uint32_t cached;
    uint32_t features = at_load_relaxed(&cached); /* all threads find the same: needs no order */

    if (features == 0) {
        features = detect();
        at_store_relaxed(&cached, features);
    }
    return features;
}
#else
typedef int cpu_x86_is_empty;
#endif
