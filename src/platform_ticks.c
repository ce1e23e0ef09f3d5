/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_ticks.c - the part of the operating system contract that is the CPU's: cheap ticks.
 *
 * Owns the answer whether the CPU's counter is a clock. Beside every platform_*.c; any module may
 * call.
 */
#include "platform.h"

#include "atomic.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* The time stamp counter is a clock only if it neither stops nor changes speed. */
static bool ticks_from_tsc(void)
{
    static uint32_t answer; /* 0 unknown, 1 no, 2 yes: every thread finds the same */
    uint32_t known = at_load_relaxed(&answer);

    if (known == 0) {
        uint32_t a, b, c, d;

        known = __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & 1u << 8) != 0 ? 2 : 1;
        at_store_relaxed(&answer, known);
    }
    return known == 2;
}

uint64_t cm_plat_ticks(void)
{
    return ticks_from_tsc() ? (uint64_t)__builtin_ia32_rdtsc() : cm_plat_now_ns();
}

uint64_t cm_plat_ticks_per_ms(void)
{
    return 1000000; /* nanoseconds, or a counter of at least 1 GHz */
}
#elif defined(__aarch64__)
uint64_t cm_plat_ticks(void)
{
    uint64_t ticks;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

uint64_t cm_plat_ticks_per_ms(void)
{
    uint64_t hz;

    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
    return hz / 1000;
}
#else
uint64_t cm_plat_ticks(void)
{
    return cm_plat_now_ns();
}

uint64_t cm_plat_ticks_per_ms(void)
{
    return 1000000;
}
#endif
