/* SPDX-License-Identifier: BSD-2-Clause
 *
 * guard_arm64.S - the guarded routines of persist.h for 64-bit ARM.
 *
 * Owns every instruction of the library that touches pool memory on this CPU. Called through
 * persist.h and the tables of arm64.c only.
 *
 * THE GUARD  All routines lie between cm_guard_begin and cm_guard_end, call nothing and never
 * touch the stack, the link register or a register that the caller expects back. So the fault
 * handler of platform_*.c needs no unwinding: it sets the program counter to cm_guard_landing,
 * which returns CM_EIO to the caller. What was stored before the fault stays stored.
 *
 * ORDER  Single words are loaded with LDAR and stored with STLR. The copies use plain loads. The
 * reader has an acquire fence after the copy: it keeps the second load of the header behind the
 * loads of the copy.
 */
#if defined(__aarch64__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CM_TSAN 1
#endif
#endif
#ifndef CM_TSAN

        .arch   armv8.2-a

#define FUNCTION(name) .globl name; .hidden name; .type name, %function; .p2align 5; name: hint 34
/* The size: profilers and debuggers name what lies in a function only if it has one. */
#define END(name) .size name, . - name
#define RETURN_0 mov w0, 0; ret

        .data
        .globl  cm_guard_line
        .hidden cm_guard_line
        .p2align 3
cm_guard_line: /* bytes in the CPU's smallest cache line; the architecture's minimum is 16 */
        .xword  16

        .text
        .globl  cm_guard_begin
        .hidden cm_guard_begin
        .p2align 6
cm_guard_begin:

/* ---- Words --------------------------------------------------------------------------------- */

/* int cm_guard_load64(const uint64_t *p, uint64_t *v) */
FUNCTION(cm_guard_load64)
        ldar    x2, [x0]
        str     x2, [x1]
        RETURN_0
END(cm_guard_load64)

/* int cm_guard_touch(const uint8_t *p) */
FUNCTION(cm_guard_touch)
        ldrb    w1, [x0]
        RETURN_0
END(cm_guard_touch)

/* int cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n): in ascending order */
FUNCTION(cm_guard_load_words)
        cbz     x2, 2f
1:      ldar    x3, [x0]
        add     x0, x0, 8
        str     x3, [x1], 8
        subs    x2, x2, 1
        b.ne    1b
2:      RETURN_0
END(cm_guard_load_words)

/* int cm_guard_add64(uint64_t *p, uint64_t v) */
FUNCTION(cm_guard_add64)
1:      ldxr    x2, [x0]
        add     x2, x2, x1
        stxr    w3, x2, [x0]
        cbnz    w3, 1b
        RETURN_0
END(cm_guard_add64)

/* int cm_guard_add64_own(uint64_t *p, uint64_t v) */
FUNCTION(cm_guard_add64_own)
        ldr     x2, [x0]
        add     x2, x2, x1
        str     x2, [x0]
        RETURN_0
END(cm_guard_add64_own)

/* int cm_guard_add64_own2(uint64_t *p, uint64_t v, uint64_t w) */
FUNCTION(cm_guard_add64_own2)
        ldp     x3, x4, [x0]
        add     x3, x3, x1
        add     x4, x4, x2
        stp     x3, x4, [x0]
        RETURN_0
END(cm_guard_add64_own2)

/* int cm_arm64_store64(void *ctx, uint64_t *p, uint64_t v) */
FUNCTION(cm_arm64_store64)
        stlr    x2, [x1]
        RETURN_0
END(cm_arm64_store64)

/* int cm_arm64_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired): with barriers on
 * both sides, because later loads may pass the store of an exclusive pair. */
FUNCTION(cm_arm64_cas64)
        dmb     ish
1:      ldxr    x4, [x1]
        cmp     x4, x2
        b.ne    2f
        stxr    w5, x3, [x1]
        cbnz    w5, 1b
        dmb     ish
        mov     w0, 1
        ret
2:      clrex
        dmb     ish
        RETURN_0
END(cm_arm64_cas64)

/* int cm_arm64_write(void *ctx, void *dst, const void *src, size_t n): 8-byte stores */
FUNCTION(cm_arm64_write)
        cbz     x3, 2f
1:      ldr     x4, [x2], 8
        str     x4, [x1], 8
        subs    x3, x3, 8
        b.ne    1b
2:      RETURN_0
END(cm_arm64_write)

/* ---- Copy out of the pool: int cm_arm64_copy(void *dst, const void *src, size_t n) --------- */

/* Up to 64 bytes: two (or four) moves that overlap in the middle. Bytes that are copied twice may
 * come from two different moments. The caller's second look at the header word detects such a race.
 * x3, x4: ends of source and destination. */
FUNCTION(cm_arm64_copy)
        add     x3, x1, x2
        add     x4, x0, x2
        cmp     x2, 64
        b.hi    copy_long
        cmp     x2, 16
        b.lo    copy_tiny
        ldr     q0, [x1]
        ldr     q1, [x3, -16]
        cmp     x2, 32
        b.ls    1f
        ldr     q2, [x1, 16]
        ldr     q3, [x3, -32]
        str     q2, [x0, 16]
        str     q3, [x4, -32]
1:      str     q0, [x0]
        str     q1, [x4, -16]
        RETURN_0
copy_tiny:
        cmp     x2, 8
        b.lo    2f
        ldr     x5, [x1]
        ldr     x6, [x3, -8]
        str     x5, [x0]
        str     x6, [x4, -8]
        RETURN_0
2:      cmp     x2, 4
        b.lo    3f
        ldr     w5, [x1]
        ldr     w6, [x3, -4]
        str     w5, [x0]
        str     w6, [x4, -4]
        RETURN_0
3:      cbz     x2, 4f
        lsr     x7, x2, 1 /* 1..3 bytes: first, middle, last */
        ldrb    w5, [x1]
        ldrb    w6, [x3, -1]
        ldrb    w8, [x1, x7]
        strb    w5, [x0]
        strb    w8, [x0, x7]
        strb    w6, [x4, -1]
4:      RETURN_0

/* More than 64 bytes: whole runs of 64, then the last 64 unaligned. */
copy_long:
        sub     x3, x3, 64
        sub     x4, x4, 64
        .p2align 4
1:      ldp     q0, q1, [x1]
        ldp     q2, q3, [x1, 32]
        add     x1, x1, 64
        stp     q0, q1, [x0]
        stp     q2, q3, [x0, 32]
        add     x0, x0, 64
        cmp     x1, x3
        b.lo    1b
        ldp     q0, q1, [x3]
        ldp     q2, q3, [x3, 32]
        stp     q0, q1, [x4]
        stp     q2, q3, [x4, 32]
        RETURN_0
END(cm_arm64_copy)

/* ---- Non-temporal copies into the pool: int f(void *ctx, void *dst, const void *src, size_t n),
 * dst aligned to 64, n a multiple of 64. STNP is only a hint, the lines may stay in the cache. So
 * where a write-back is needed, each run of 64 is written back, too. x6: line size. -------------
 * */

#define NT_COPY(name, ...) \
FUNCTION(name); \
        cbz     x3, 3f; \
        adrp    x6, cm_guard_line; \
        ldr     x6, [x6, :lo12:cm_guard_line]; \
1:      ldp     q0, q1, [x2]; \
        ldp     q2, q3, [x2, 32]; \
        add     x2, x2, 64; \
        stnp    q0, q1, [x1]; \
        stnp    q2, q3, [x1, 32]; \
        add     x4, x1, 64; \
2:      __VA_ARGS__; \
        add     x1, x1, x6; \
        cmp     x1, x4; \
        b.lo    2b; \
        mov     x1, x4; \
        subs    x3, x3, 64; \
        b.ne    1b; \
3:      RETURN_0; \
END(name)

NT_COPY(cm_arm64_nt_cvap, dc cvap, x1)
NT_COPY(cm_arm64_nt_cvac, dc cvac, x1)

FUNCTION(cm_arm64_nt)
        cbz     x3, 2f
1:      ldp     q0, q1, [x2]
        ldp     q2, q3, [x2, 32]
        add     x2, x2, 64
        stnp    q0, q1, [x1]
        stnp    q2, q3, [x1, 32]
        add     x1, x1, 64
        subs    x3, x3, 64
        b.ne    1b
2:      RETURN_0
END(cm_arm64_nt)

/* ---- Write-back of lines: int f(void *ctx, const void *p, size_t n) ------------------------ */

#define FLUSH(name, ...) \
FUNCTION(name); \
        cbz     x2, 2f; \
        adrp    x6, cm_guard_line; \
        ldr     x6, [x6, :lo12:cm_guard_line]; \
        add     x2, x2, x1; \
        neg     x5, x6; \
        and     x1, x1, x5; \
1:      __VA_ARGS__; \
        add     x1, x1, x6; \
        cmp     x1, x2; \
        b.lo    1b; \
2:      RETURN_0; \
END(name)

FLUSH(cm_arm64_cvap, dc cvap, x1)
FLUSH(cm_arm64_cvac, dc cvac, x1)

/* ---- Where a fault continues --------------------------------------------------------------- */

        .p2align 5
        .globl  cm_guard_landing
        .hidden cm_guard_landing
cm_guard_landing:
        hint    34
        clrex   /* the fault may have come from between LDXR and STXR */
        mov     w0, -3 /* CM_EIO */
        ret

        .globl  cm_guard_end
        .hidden cm_guard_end
cm_guard_end:

/* void cm_arm64_dsb(void *ctx): the write-backs before it have reached the media. */
FUNCTION(cm_arm64_dsb)
        dsb     sy
        ret
END(cm_arm64_dsb)

/* void cm_arm64_dmb(void *ctx): if nothing is written back, order is enough. */
FUNCTION(cm_arm64_dmb)
        dmb     ish
        ret
END(cm_arm64_dmb)

#ifdef __ARM_FEATURE_BTI_DEFAULT /* every entry is a BTI landing pad (hint 34) */
        .section .note.gnu.property, "a"
        .p2align 3
        .word   4, 16, 5
        .asciz  "GNU"
        .word   0xc0000000, 4, 1, 0
#endif
#endif
#endif

#if defined(__linux__) && defined(__ELF__)
        .section .note.GNU-stack, "", %progbits
#endif
