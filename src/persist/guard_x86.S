/* SPDX-License-Identifier: BSD-2-Clause
 *
 * guard_x86.S - the guarded routines of persist.h for x86-64.
 *
 * Owns every instruction of the library that touches pool memory on this CPU. Called through
 * persist.h and the tables of x86.c only.
 *
 * THE GUARD  All routines lie between cm_guard_begin and cm_guard_end, call nothing and never
 * touch the stack or a register that the caller expects back. So at each of their instructions
 * the return address is where RET looks for it. The fault handler of platform_*.c then needs no
 * unwinding: it sets the program counter to cm_guard_landing, which returns CM_EIO to the caller.
 * What was stored before the fault stays stored.
 *
 * REGISTERS  A0..A3 are the arguments of the platform's own calling convention (System V or
 * Windows). The routines also use RAX, R10, R11 and vector registers 0..5 and 16..23. Both
 * conventions let a routine change these. Where six arguments are passed in registers, those are
 * used, too. Windows needs no unwind data for such leaf functions.
 *
 * ORDER  x86 loads acquire and x86 stores release by themselves. The copies out of the pool use
 * plain loads. No later load of the header word overtakes them. The same is true for the loads of a
 * string move: the manuals loosen only the order of its stores, and kernels use string moves to
 * read behind sequence locks.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CM_TSAN 1
#endif
#endif
#ifndef CM_TSAN

#ifdef __CET__
#include <cet.h>
#endif
#ifndef _CET_ENDBR
#define _CET_ENDBR
#endif

#ifdef _WIN32
#define A0 %rcx
#define A1 %rdx
#define A1L %edx
#define A2 %r8
#define A3 %r9
#define HIDE(name)
#define TYPE(name)
#define END(name)
#else
#define A0 %rdi
#define A1 %rsi
#define A1L %esi
#define A2 %rdx
#define A3 %rcx
#define HIDE(name) .hidden name
#define TYPE(name) .type name, @function
/* The size: profilers and debuggers name what lies in a function only if it has one. */
#define END(name) .size name, . - name
#endif

#define FUNCTION(name) .globl name; HIDE(name); TYPE(name); .p2align 5; name: _CET_ENDBR
#define RETURN_0 xorl %eax, %eax; ret

        .data
        .globl  cm_guard_avx
        HIDE(cm_guard_avx)
        .p2align 2
cm_guard_avx: /* 1: the CPU has AVX, set by x86.c before an AVX routine can run */
        .long   0

        .text
        .globl  cm_guard_begin
        HIDE(cm_guard_begin)
        .p2align 6
cm_guard_begin:

/* ---- Words --------------------------------------------------------------------------------- */

/* int cm_guard_load64(const uint64_t *p, uint64_t *v) */
FUNCTION(cm_guard_load64)
        movq    (A0), %rax
        movq    %rax, (A1)
        RETURN_0
END(cm_guard_load64)

/* int cm_guard_touch(const uint8_t *p) */
FUNCTION(cm_guard_touch)
        movzbl  (A0), %eax
        RETURN_0
END(cm_guard_touch)

/* int cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n): in ascending order. It stores
 * to v in pairs; each word of a pair is loaded whole. A caller that compares the words in pairs,
 * too, need not wait until the stores to v have left the store buffer. A CPU with AVX loads an
 * aligned pair at one moment. An older CPU may load its halves in any order. So the first word of
 * four, that is w0 of a header, is loaded before its pair: readers of a known slot depend on it
 * (slot.h). */
FUNCTION(cm_guard_load_words)
        subq    $4, A2
        jb      2f
1:      movq    (A0), %xmm2 /* headers have four words, buckets eight */
        movdqu  (A0), %xmm0
        movdqu  16(A0), %xmm1
        movsd   %xmm2, %xmm0
        movdqu  %xmm0, (A1)
        movdqu  %xmm1, 16(A1)
        addq    $32, A0
        addq    $32, A1
        subq    $4, A2
        jae     1b
2:      addq    $4, A2
        jz      4f
3:      movq    (A0), %rax
        movq    %rax, (A1)
        addq    $8, A0
        addq    $8, A1
        decq    A2
        jnz     3b
4:      RETURN_0
END(cm_guard_load_words)

/* Compares the upper 22 bits of the eight words of a line, which are loaded in pairs, each whole,
 * with the lowest half of XMM4. XMM0: two bytes of ones for each that is equal. */
#define COMPARE_TAGS \
        pshufd  $0, %xmm4, %xmm4; \
        movaps  (A0), %xmm0; \
        movaps  32(A0), %xmm2; \
        shufps  $0xdd, 16(A0), %xmm0; /* the upper halves of four words */ \
        shufps  $0xdd, 48(A0), %xmm2; \
        psrld   $10, %xmm0; \
        psrld   $10, %xmm2; \
        pcmpeqd %xmm4, %xmm0; \
        pcmpeqd %xmm4, %xmm2; \
        packssdw %xmm2, %xmm0

/* int cm_guard_find(const uint64_t *line, uint64_t tag, uint64_t *word): the word given back
 * is loaded again. */
FUNCTION(cm_guard_find)
        movd    A1L, %xmm4
        COMPARE_TAGS
        packsswb %xmm0, %xmm0
        pmovmskb %xmm0, %eax
        movzbl  %al, %eax
        testl   %eax, %eax
        jz      1f
        bsfl    %eax, %r10d
        movq    (A0,%r10,8), %r11
        movq    %r11, (A2)
1:      ret
END(cm_guard_find)

/* int cm_guard_find_each(const uint64_t *line, const uint64_t *hash, uint64_t *word, size_t n) */
FUNCTION(cm_guard_find_each)
1:      movq    (A1), %xmm4
        psrlq   $42, %xmm4
        COMPARE_TAGS
        pmovmskb %xmm0, %eax /* two bits for each word */
        xorl    %r10d, %r10d
        testl   %eax, %eax
        jz      2f
        bsfl    %eax, %eax
        movq    (A0,%rax,4), %r10
2:      movq    %r10, (A2)
        addq    $64, A0
        addq    $8, A1
        addq    $8, A2
        decq    A3
        jnz     1b
        RETURN_0
END(cm_guard_find_each)

/* int cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2], uint64_t *w0):
 * the first word of each header is loaded before its others. */
FUNCTION(cm_guard_look_before)
        movq    8(A2), %r11
        movq    (A2), A2
        xorl    %eax, %eax
1:      movq    (A0), %r10
        cmpq    8(A0), A2
        jne     2f
        cmpq    16(A0), %r11
        jne     2f
        testl   %r10d, %r10d /* CM_GUARD_VALID */
        jns     2f
        movq    %r10, (A3,%rax,8)
        addq    $32, A0
        addq    $8192, %r11 /* CM_GUARD_NEXT */
        incl    %eax
        cmpq    A1, %rax
        jb      1b
2:      ret
END(cm_guard_look_before)

/* int cm_guard_look_after(const uint64_t *header, size_t n, const uint64_t *w0) */
FUNCTION(cm_guard_look_after)
        xorl    %eax, %eax
1:      movq    (A0), %r10
        cmpq    (A2,%rax,8), %r10
        jne     2f
        addq    $32, A0
        incl    %eax
        cmpq    A1, %rax
        jb      1b
2:      ret
END(cm_guard_look_after)

/* int cm_guard_add64(uint64_t *p, uint64_t v) */
FUNCTION(cm_guard_add64)
        lock addq A1, (A0)
        RETURN_0
END(cm_guard_add64)

/* int cm_guard_add64_own(uint64_t *p, uint64_t v) */
FUNCTION(cm_guard_add64_own)
        addq    A1, (A0)
        RETURN_0
END(cm_guard_add64_own)

/* int cm_guard_add64_own2(uint64_t *p, uint64_t v, uint64_t w) */
FUNCTION(cm_guard_add64_own2)
        addq    A1, (A0)
        addq    A2, 8(A0)
        RETURN_0
END(cm_guard_add64_own2)

/* int cm_x86_store64(void *ctx, uint64_t *p, uint64_t v) */
FUNCTION(cm_x86_store64)
        movq    A2, (A1)
        RETURN_0
END(cm_x86_store64)

/* int cm_x86_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired) */
FUNCTION(cm_x86_cas64)
        movq    A2, %rax
        lock cmpxchgq A3, (A1)
        sete    %al
        movzbl  %al, %eax
        ret
END(cm_x86_cas64)

/* int cm_x86_write(void *ctx, void *dst, const void *src, size_t n): 8-byte stores */
FUNCTION(cm_x86_write)
        xorl    %r10d, %r10d
        testq   A3, A3
        jz      2f
1:      movq    (A2,%r10), %rax
        movq    %rax, (A1,%r10)
        addq    $8, %r10
        cmpq    A3, %r10
        jb      1b
2:      RETURN_0
END(cm_x86_write)

/* ---- Copies out of the pool: int f(void *dst, const void *src, size_t n) ------------------- */

#define MOVE_64(from, to, store) \
        movdqu  (from), %xmm0; \
        movdqu  16(from), %xmm1; \
        movdqu  32(from), %xmm2; \
        movdqu  48(from), %xmm3; \
        store   %xmm0, (to); \
        store   %xmm1, 16(to); \
        store   %xmm2, 32(to); \
        store   %xmm3, 48(to)

/* Up to 64 bytes: two (or four) moves that overlap in the middle. Bytes that are copied twice may
 * come from two different moments. The caller's second look at the header word detects such a race.
 */
FUNCTION(cm_x86_copy_sse2)
        cmpq    $64, A2
        ja      copy_sse2_long
copy_short:
        cmpq    $16, A2
        jb      copy_tiny
        movdqu  (A1), %xmm0
        movdqu  -16(A1,A2), %xmm1
        cmpq    $32, A2
        jbe     1f
        movdqu  16(A1), %xmm2
        movdqu  -32(A1,A2), %xmm3
        movdqu  %xmm2, 16(A0)
        movdqu  %xmm3, -32(A0,A2)
1:      movdqu  %xmm0, (A0)
        movdqu  %xmm1, -16(A0,A2)
        RETURN_0
copy_tiny:
        cmpq    $8, A2
        jb      2f
        movq    (A1), %rax
        movq    -8(A1,A2), %r10
        movq    %rax, (A0)
        movq    %r10, -8(A0,A2)
        RETURN_0
2:      cmpq    $4, A2
        jb      3f
        movl    (A1), %eax
        movl    -4(A1,A2), %r10d
        movl    %eax, (A0)
        movl    %r10d, -4(A0,A2)
        RETURN_0
3:      testq   A2, A2
        jz      4f
        movq    A2, %r11 /* 1..3 bytes: first, middle, last */
        shrq    $1, %r11
        movzbl  (A1), %eax
        movzbl  -1(A1,A2), %r10d
        movb    %al, (A0)
        movzbl  (A1,%r11), %eax
        movb    %al, (A0,%r11)
        movb    %r10b, -1(A0,A2)
4:      RETURN_0

/* More than 64 bytes: the first 64 unaligned, the rest with an aligned destination, the last 64
 * unaligned again. R10, R11: source and destination of the last 64. */
copy_sse2_long:
        leaq    -64(A1,A2), %r10
        leaq    -64(A0,A2), %r11
        MOVE_64(A1, A0, movdqu)
        movq    A0, %rax
        orq     $63, %rax
        incq    %rax /* next aligned destination */
        subq    A0, %rax
        addq    %rax, A0
        addq    %rax, A1
        jmp     2f
        .p2align 4
1:      MOVE_64(A1, A0, movdqa)
        addq    $64, A1
        addq    $64, A0
2:      cmpq    %r10, A1
        jb      1b
        MOVE_64(%r10, %r11, movdqu)
        RETURN_0
END(cm_x86_copy_sse2)

/* As above, in runs of 128. A copy of a block into an aligned buffer skips the unaligned start. */
FUNCTION(cm_x86_copy_avx2)
        cmpq    $64, A2
        jbe     copy_short
        cmpq    $128, A2
        jbe     copy_sse2_long
        leaq    -128(A1,A2), %r10
        leaq    -128(A0,A2), %r11
        movq    A0, %rax
        testb   $63, %al
        jz      2f
        vmovdqu (A1), %ymm0
        vmovdqu 32(A1), %ymm1
        vmovdqu %ymm0, (A0)
        vmovdqu %ymm1, 32(A0)
        orq     $63, %rax
        incq    %rax
        subq    A0, %rax
        addq    %rax, A0
        addq    %rax, A1
        jmp     2f
        .p2align 5
1:      vmovdqu (A1), %ymm0
        vmovdqu 32(A1), %ymm1
        vmovdqu 64(A1), %ymm2
        vmovdqu 96(A1), %ymm3
        addq    $128, A1
        vmovdqa %ymm0, (A0)
        vmovdqa %ymm1, 32(A0)
        vmovdqa %ymm2, 64(A0)
        vmovdqa %ymm3, 96(A0)
        addq    $128, A0
2:      cmpq    %r10, A1
        jb      1b
        vmovdqu (%r10), %ymm0
        vmovdqu 32(%r10), %ymm1
        vmovdqu 64(%r10), %ymm2
        vmovdqu 96(%r10), %ymm3
        vmovdqu %ymm0, (%r11)
        vmovdqu %ymm1, 32(%r11)
        vmovdqu %ymm2, 64(%r11)
        vmovdqu %ymm3, 96(%r11)
        vzeroupper
        RETURN_0
END(cm_x86_copy_avx2)

#ifndef _WIN32 /* RDI and RSI belong to the caller there */
/* For CPUs whose microcode moves strings fast (CM_X86_STRINGS). It has few instructions, so the
 * next lookup begins before this copy's last lines have arrived. Compared with AVX2 (Zen 5), 128
 * KiB take 0.8 of the time, 16 scattered blocks 0.9. The count is calculated from the address. If
 * the CPU knew the count before the address, it would wait longer for memory (1.4 instead of 1.1
 * times a plain memcpy, Zen 5). */
FUNCTION(cm_x86_copy_rep)
        cmpq    $64, A2
        jbe     copy_short
        cmpq    $512, A2
        jb      copy_sse2_long
        leaq    (A1,A2), %rcx
        subq    A1, %rcx
        rep movsb
        RETURN_0
END(cm_x86_copy_rep)
#endif

/* ---- Copies behind a header: cm_guard_take_fn ---------------------------------------------------
 * int f(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1, uint64_t w2) */

/* RAX: zero if the second and the third word are the wanted ones. R10: the first word. */
#ifdef _WIN32
#define LOOK_BEFORE \
        movq    (A0), %r10; \
        movq    40(%rsp), %rax; \
        movq    48(%rsp), %r11; \
        xorq    8(A0), %rax; \
        xorq    16(A0), %r11; \
        orq     %r11, %rax
#else
#define LOOK_BEFORE \
        movq    (A0), %r10; \
        xorq    8(A0), %r8; \
        xorq    16(A0), %r9; \
        movq    %r8, %rax; \
        orq     %r9, %rax
#endif
/* Loads keep their order, so the first word is loaded here behind the copy. */
#define LOOK_AFTER(header) \
        testq   %rax, %rax; \
        jne     9f; \
        testl   %r10d, %r10d; /* CM_GUARD_VALID */ \
        jns     9f; \
        cmpq    %r10, (header); \
        sete    %al; \
        movzbl  %al, %eax; \
        ret; \
9:      RETURN_0

/* In runs of 128 bytes, the last 128 unaligned. n is at least 128. R11, A3: source and destination
 * of the last ones. */
FUNCTION(cm_x86_take_avx2)
        LOOK_BEFORE
        leaq    -128(A1,A3), %r11
        leaq    -128(A2,A3), A3
        cmpq    %r11, A1
        jae     2f
        .p2align 5
1:      vmovdqu (A1), %ymm0
        vmovdqu 32(A1), %ymm1
        vmovdqu 64(A1), %ymm2
        vmovdqu 96(A1), %ymm3
        subq    $-128, A1
        vmovdqu %ymm0, (A2)
        vmovdqu %ymm1, 32(A2)
        vmovdqu %ymm2, 64(A2)
        vmovdqu %ymm3, 96(A2)
        subq    $-128, A2
        cmpq    %r11, A1
        jb      1b
2:      vmovdqu (%r11), %ymm0
        vmovdqu 32(%r11), %ymm1
        vmovdqu 64(%r11), %ymm2
        vmovdqu 96(%r11), %ymm3
        vmovdqu %ymm0, (A3)
        vmovdqu %ymm1, 32(A3)
        vmovdqu %ymm2, 64(A3)
        vmovdqu %ymm3, 96(A3)
        vzeroupper
        LOOK_AFTER(A0)
END(cm_x86_take_avx2)

/* The same with registers of 64 bytes. ZMM16 and up do not change the state that VZEROUPPER
 * cleans. */
FUNCTION(cm_x86_take_avx512)
        LOOK_BEFORE
        leaq    -128(A1,A3), %r11
        leaq    -128(A2,A3), A3
        cmpq    %r11, A1
        jae     2f
        .p2align 5
1:      vmovdqu64 (A1), %zmm16
        vmovdqu64 64(A1), %zmm17
        subq    $-128, A1
        vmovdqu64 %zmm16, (A2)
        vmovdqu64 %zmm17, 64(A2)
        subq    $-128, A2
        cmpq    %r11, A1
        jb      1b
2:      vmovdqu64 (%r11), %zmm16
        vmovdqu64 64(%r11), %zmm17
        vmovdqu64 %zmm16, (A3)
        vmovdqu64 %zmm17, 64(A3)
        LOOK_AFTER(A0)
END(cm_x86_take_avx512)

FUNCTION(cm_x86_take_sse2)
        LOOK_BEFORE
        leaq    -64(A1,A3), %r11
        leaq    -64(A2,A3), A3
        cmpq    %r11, A1
        jae     2f
        .p2align 4
1:      MOVE_64(A1, A2, movdqu)
        addq    $64, A1
        addq    $64, A2
        cmpq    %r11, A1
        jb      1b
2:      MOVE_64(%r11, A3, movdqu)
        LOOK_AFTER(A0)
END(cm_x86_take_sse2)

#ifndef _WIN32
/* The caller has prefetched the first lines of src. The count depends on the first of these lines.
 * So the copy does not fill the reorder buffer while it can do nothing (a fifth of a hit's time:
 * docs/performance.md). */
FUNCTION(cm_x86_take_rep)
        LOOK_BEFORE
        movq    %rdi, %r9
        movq    %rdx, %rdi
        xorl    %edx, %edx
        andq    (%rsi), %rdx
        addq    %rdx, %rcx
        rep movsb
        LOOK_AFTER(%r9)
END(cm_x86_take_rep)
#endif

/* ---- Non-temporal copies into the pool: int f(void *ctx, void *dst, const void *src, size_t n),
 * dst aligned to 64, n a multiple of 64 -------------------------------------------------------- */

#define NT_COPY(name, move_64, end) \
FUNCTION(name); \
        xorl    %r10d, %r10d; \
        testq   A3, A3; \
        jz      2f; \
        .p2align 4; \
1:      move_64; \
        addq    $64, %r10; \
        cmpq    A3, %r10; \
        jb      1b; \
        end; \
2:      RETURN_0; \
END(name)

#define NT_SSE2(at) movdqu at(A2,%r10), %xmm0; movntdq %xmm0, at(A1,%r10)
#define NT_AVX2(at) vmovdqu at(A2,%r10), %ymm0; vmovntdq %ymm0, at(A1,%r10)
/* ZMM16 and up do not change the state that VZEROUPPER cleans. */
#define NT_AVX512 vmovdqu64 (A2,%r10), %zmm16; vmovntdq %zmm16, (A1,%r10)
#define NOTHING

NT_COPY(cm_x86_nt_sse2, NT_SSE2(0); NT_SSE2(16); NT_SSE2(32); NT_SSE2(48), NOTHING)
NT_COPY(cm_x86_nt_avx2, NT_AVX2(0); NT_AVX2(32), vzeroupper)
NT_COPY(cm_x86_nt_avx512, NT_AVX512, NOTHING)

/* ---- Write-back of lines: int f(void *ctx, const void *p, size_t n) ------------------------ */

#define FLUSH(name, instruction) \
FUNCTION(name); \
        testq   A2, A2; \
        jz      2f; \
        addq    A1, A2; /* the end */ \
        andq    $-64, A1; \
1:      instruction (A1); \
        addq    $64, A1; \
        cmpq    A2, A1; \
        jb      1b; \
2:      RETURN_0; \
END(name)

FLUSH(cm_x86_clwb, clwb)
FLUSH(cm_x86_clflushopt, clflushopt)
FLUSH(cm_x86_clflush, clflush)

/* ---- Where a fault continues --------------------------------------------------------------- */

        .p2align 5
        .globl  cm_guard_landing
        HIDE(cm_guard_landing)
cm_guard_landing:
        cmpl    $0, cm_guard_avx(%rip)
        je      1f
        vzeroupper /* the fault may have come from the middle of an AVX routine */
1:      movl    $-3, %eax /* CM_EIO */
        ret

        .globl  cm_guard_end
        HIDE(cm_guard_end)
cm_guard_end:

/* void cm_x86_sfence(void *ctx): not guarded, because it touches no memory. It is a real
 * instruction. A compiler may take an intrinsic's name for a mere compiler barrier: that once cost
 * other programs their durability. */
FUNCTION(cm_x86_sfence)
        sfence
        ret
END(cm_x86_sfence)

#endif
#endif

#if defined(__linux__) && defined(__ELF__)
        .section .note.GNU-stack, "", @progbits
#endif
