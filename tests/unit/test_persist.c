/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_persist.c - every access routine that this CPU can run, and what happens when the memory
 * under it is gone.
 *
 * "Poison" is simulated with a file that is truncated while it is mapped: the pages behind its
 * end raise SIGBUS exactly as an unreadable page does. Windows lets nobody truncate a mapped file;
 * there the pages become inaccessible. With CM_TEST_HWPOISON=1 in the environment
 * and the right to do so, a page is also poisoned for real (a machine check by MADV_HWPOISON).
 * CM_TEST_EMULATED=1 leaves out what a user-mode emulator cannot do: cache maintenance that
 * faults, signals with a code of the kernel's, and death by an ignored SIGBUS.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "harness.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>

#include <pthread.h>
#include <unistd.h>

#include "../os.h"
#include "../plat_create.h"
#include "platform/atomic.h"
#include "persist/persist.h"

#ifndef _WIN32
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#endif

#define PAGE 4096u
#define ROOM ((size_t)1 << 20) /* so much that it is whole pages from the system */

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 131u + (i >> 8) * 7u + 1u);
}

static void fill_pattern(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = pattern(i);
    }
}

static int all_bytes(const uint8_t *p, size_t n, uint8_t value)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != value) {
            return 0;
        }
    }
    return 1;
}

/* ---- The table ----------------------------------------------------------------------------- */

static void test_tables_are_complete(void)
{
    const struct cm_persist_ops *ops;
    size_t n = 0, unflushed = 0;

    for (; (ops = cm_persist_variant(n)) != NULL; n++) {
        printf("# table %zu: %s, %s\n", n, ops->flush_name, ops->copy_name);
        CHECK(ops->store64 && ops->cas64 && ops->write && ops->copy && ops->flush && ops->fence);
        CHECK(strlen(ops->flush_name) < sizeof((cm_info *)0)->flush);
        CHECK(strlen(ops->copy_name) < sizeof((cm_info *)0)->copy);
        unflushed += !ops->flushes;
        CHECK_EQ(ops->flushes, strcmp(ops->flush_name, "none") != 0); /* what users are told */
    }
    CHECK(n > 0);
    CHECK(unflushed > 0);
    CHECK(cm_persist_variant(n + 1) == NULL);
    CHECK(cm_persist_choose(CM_FLUSH_NONE) == cm_persist_choose(CM_FLUSH_NONE));
    CHECK(!cm_persist_choose(CM_FLUSH_NONE)->flushes);
    CHECK(cm_persist_choose(CM_FLUSH_LINES) == cm_persist_variant(0));
    if (cm_guard_available()) {
        CHECK(cm_persist_choose(CM_FLUSH_LINES)->flushes);
    }
}

/* ---- The instructions themselves ----------------------------------------------------------- */

#if defined(__x86_64__) && !defined(CM_TSAN)
/* Is there an instruction 0F AE with this "reg" field in the first n bytes; 0F AE F8 is SFENCE,
 * 66 0F AE /6 CLWB, 66 0F AE /7 with memory CLFLUSHOPT, 0F AE /7 with memory CLFLUSH. */
static int has_0fae(const uint8_t *code, size_t n, int prefix66, unsigned reg, int memory)
{
    for (size_t i = 1; i + 2 < n; i++) {
        const unsigned modrm = code[i + 2];

        if (code[i] == 0x0f && code[i + 1] == 0xae && (modrm >> 3 & 7) == reg &&
            (code[i - 1] == 0x66) == prefix66 && (modrm < 0xc0) == memory) {
            return 1;
        }
    }
    return code[0] == 0x0f && code[1] == 0xae && !prefix66 && (code[2] >> 3 & 7) == reg &&
           (code[2] < 0xc0) == memory;
}

/* MOVNTDQ in its legacy, VEX or EVEX encoding: the opcode is E7 in all of them. */
static int has_movntdq(const uint8_t *code, size_t n, const char *name)
{
    for (size_t i = 4; i < n; i++) {
        if (code[i] != 0xe7) {
            continue;
        }
        if (strcmp(name, "sse2-nt") == 0 && code[i - 1] == 0x0f) {
            return 1;
        }
        if (strcmp(name, "avx2-nt") == 0 && (code[i - 2] == 0xc5 || code[i - 3] == 0xc4)) {
            return 1;
        }
        if (strcmp(name, "avx512-nt") == 0 && code[i - 4] == 0x62) {
            return 1;
        }
    }
    return 0;
}

static void check_instructions(const struct cm_persist_ops *ops)
{
    const uint8_t *fence = (const uint8_t *)(uintptr_t)ops->fence;
    const uint8_t *flush = (const uint8_t *)(uintptr_t)ops->flush;
    const uint8_t *copy = (const uint8_t *)(uintptr_t)ops->copy;

    CHECK(has_0fae(fence, 8, 0, 7, 0)); /* 0F AE F8 */
    CHECK(has_movntdq(copy, 64, ops->copy_name));
    if (strcmp(ops->flush_name, "clwb") == 0) {
        CHECK(has_0fae(flush, 28, 1, 6, 1));
    } else if (strcmp(ops->flush_name, "clflushopt") == 0) {
        CHECK(has_0fae(flush, 28, 1, 7, 1));
    } else if (strcmp(ops->flush_name, "clflush") == 0) {
        CHECK(has_0fae(flush, 28, 0, 7, 1));
    } else {
        CHECK(strcmp(ops->flush_name, "none") == 0);
    }
}
#elif defined(__aarch64__) && !defined(CM_TSAN)
static int has_word(const void *code, size_t n, uint32_t word, uint32_t mask)
{
    uint32_t w;

    for (size_t i = 0; i < n; i++) {
        memcpy(&w, (const uint8_t *)code + 4 * i, 4);
        if ((w & mask) == word) {
            return 1;
        }
    }
    return 0;
}

static void check_instructions(const struct cm_persist_ops *ops)
{
    const void *fence = (const void *)(uintptr_t)ops->fence;
    const void *flush = (const void *)(uintptr_t)ops->flush;
    const void *copy = (const void *)(uintptr_t)ops->copy;

    CHECK(has_word(copy, 20, 0xac000000u, 0xffc00000u)); /* STNP of two Q registers */
    if (strcmp(ops->flush_name, "dc cvap") == 0) {
        CHECK(has_word(fence, 2, 0xd5033f9fu, ~0u)); /* DSB SY */
        CHECK(has_word(flush, 10, 0xd50b7c20u, ~31u));
        CHECK(has_word(copy, 16, 0xd50b7c20u, ~31u)); /* stores need the write-back as well */
    } else if (strcmp(ops->flush_name, "dc cvac") == 0) {
        CHECK(has_word(fence, 2, 0xd5033f9fu, ~0u));
        CHECK(has_word(flush, 10, 0xd50b7a20u, ~31u));
        CHECK(has_word(copy, 16, 0xd50b7a20u, ~31u));
    } else {
        CHECK(has_word(fence, 2, 0xd5033bbfu, ~0u)); /* DMB ISH */
    }
}
#else
#define NO_INSTRUCTIONS 1
#endif

static void test_instructions_are_real(void)
{
#ifdef NO_INSTRUCTIONS
    SKIP("plain C routines in this build");
#else
    const struct cm_persist_ops *ops;

    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        check_instructions(ops);
    }
#endif
}

/* ---- Words --------------------------------------------------------------------------------- */

static void test_words(void)
{
    const struct cm_persist_ops *ops;
    uint64_t w[9], v[9];

    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        memset(w, 0, sizeof w);
        CHECK_EQ(ops->store64(NULL, &w[1], UINT64_C(0x123456789abcdef0)), 0);
        CHECK(w[0] == 0 && w[1] == UINT64_C(0x123456789abcdef0) && w[2] == 0);
        CHECK_EQ(ops->cas64(NULL, &w[1], 1, 2), 0);
        CHECK(w[1] == UINT64_C(0x123456789abcdef0));
        CHECK_EQ(ops->cas64(NULL, &w[1], UINT64_C(0x123456789abcdef0), UINT64_MAX), 1);
        CHECK(w[0] == 0 && w[1] == UINT64_MAX && w[2] == 0);
        CHECK_EQ(ops->cas64(NULL, &w[0], 0, 0), 1);
    }
    for (size_t i = 0; i < 9; i++) {
        w[i] = UINT64_C(0x0101010101010101) * i;
    }
    CHECK_EQ(cm_guard_load64(&w[3], v), 0);
    CHECK(v[0] == w[3]);
    for (size_t n = 0; n <= 8; n++) {
        memset(v, 0xee, sizeof v);
        CHECK_EQ(cm_guard_load_words(w, v, n), 0);
        CHECK(memcmp(v, w, n * 8) == 0);
        CHECK(v[n] == UINT64_C(0xeeeeeeeeeeeeeeee));
    }
    w[2] = UINT64_MAX - 1;
    CHECK_EQ(cm_guard_add64(&w[2], 1), 0);
    CHECK_EQ(cm_guard_add64_own(&w[2], 1), 0);
    w[1] -= 5;
    CHECK_EQ(cm_guard_add64_own2(&w[1], 5, 1), 0);
    CHECK(w[2] == 1 && w[1] == UINT64_C(0x0101010101010101));
}

static void test_write(void)
{
    const struct cm_persist_ops *ops;
    static uint64_t dst[80];
    static uint8_t src[80 * 8];

    fill_pattern(src, sizeof src);
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        for (size_t n = 0; n <= 64 * 8; n += 8) {
            const size_t skew = n / 8 % 9;

            memset(dst, 0xcc, sizeof dst);
            CHECK_EQ(ops->write(NULL, &dst[2], src + skew, n), 0);
            CHECK(memcmp(&dst[2], src + skew, n) == 0);
            CHECK(all_bytes((uint8_t *)dst, 16, 0xcc));
            CHECK(all_bytes((uint8_t *)&dst[2] + n, sizeof dst - 16 - n, 0xcc));
        }
    }
}

/* ---- Copies -------------------------------------------------------------------------------- */

static void check_copy(cm_guard_copy_fn copy, uint8_t *to, size_t room, const uint8_t *src,
                       size_t skew, size_t n)
{
    memset(to, 0xcc, room);
    CHECK_EQ(copy(to + skew, src, n), 0);
    CHECK(memcmp(to + skew, src, n) == 0);
    CHECK(all_bytes(to, skew, 0xcc));
    CHECK(all_bytes(to + skew + n, room - skew - n, 0xcc));
}

static void test_copy_sizes_and_alignments(void)
{
    static const size_t skews[] = { 0, 1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 63 };
    static const size_t large[] = { 1023, 1024, 2047, 4032, 4095, 4096, 4097, 8192, 16384 };
    const size_t nskews = sizeof skews / sizeof skews[0];
    uint8_t *from = cm_plat_alloc(32768), *to = cm_plat_alloc(32768);
    cm_guard_copy_fn copy;
    const char *name = NULL;

    REQUIRE(from != NULL && to != NULL);
    fill_pattern(from, 32768);
    for (size_t v = 0; (copy = cm_guard_copy_variant(v, &name)) != NULL; v++) {
        printf("# copy %zu: %s\n", v, name);
        for (size_t n = 0; n <= 700; n += n < 300 ? 1 : 13) {
            for (size_t s = 0; s < nskews * nskews; s++) {
                check_copy(copy, to, n + 128, from + skews[s % nskews], skews[s / nskews], n);
            }
        }
        for (size_t l = 0; l < sizeof large / sizeof large[0]; l++) {
            for (size_t s = 0; s < nskews * nskews; s++) {
                check_copy(copy, to, large[l] + 128, from + skews[s % nskews], skews[s / nskews],
                           large[l]);
            }
        }
    }
    CHECK(name != NULL && cm_guard_copy_variant(SIZE_MAX, NULL) == NULL);
    check_copy(cm_guard_copy, to, 8192, from + 5, 7, 4096);
    cm_plat_free(from, 32768);
    cm_plat_free(to, 32768);
}

/* ---- Copies of what is behind a header ------------------------------------------------------- */

static void test_take(void)
{
    static const size_t sizes[] = { 8, 9, 63, 64, 65, 512, 2048, 4095, 4096 };
    static uint8_t from[8192], to[8192];
    const cm_guard_take_fn take = cm_guard_take_any();
    uint64_t h[3] = { CM_GUARD_VALID | 7, 11, 12 };

    if (take == NULL) {
        SKIP("here copies are made in steps");
    }
    fill_pattern(from, 8192);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t skew = 0; skew < 70; skew += 7) {
            const size_t n = sizes[s];
            memset(to, 0xcc, 8192);
            CHECK_EQ(take(h, from + skew, to + 2 * skew, n, 11, 12), 1);
            CHECK(all_bytes(to, 2 * skew, 0xcc));
            CHECK(memcmp(to + 2 * skew, from + skew, n) == 0);
            CHECK(all_bytes(to + 2 * skew + n, 8192 - 2 * skew - n, 0xcc));
        }
    }
    CHECK_EQ(take(h, from, to, 4096, 10, 12), 0);
    CHECK_EQ(take(h, from, to, 4096, 11, 13), 0);
    CHECK_EQ(take(h, from, to, 4096, 12, 11), 0);
    h[0] = 7;
    CHECK_EQ(take(h, from, to, 4096, 11, 12), 0);
    h[0] = UINT64_MAX - CM_GUARD_VALID;
    CHECK_EQ(take(h, from, to, 4096, 11, 12), 0);
    h[0] = UINT64_MAX;
    CHECK_EQ(take(h, from, to, 4096, 11, 12), 1);
}

struct taken {
    uint64_t header[4], stop;
    uint64_t data[512];
};

/* Another life after the other: invalid, other bytes, valid with the next sequence. */
static void *rewriter(void *arg)
{
    struct taken *t = arg;
    for (uint64_t life = 1; !at_load_relaxed(&t->stop); life++) {
        at_store_seq_cst(&t->header[0], life);
        for (size_t i = 0; i < 512; i++) {
            at_store_relaxed(&t->data[i], life);
        }
        at_store_release(&t->header[0], CM_GUARD_VALID | life);
        for (uint64_t pause = life * UINT64_C(0x9e3779b97f4a7c15) >> 54; pause > 0; pause--) {
            at_pause();
        }
    }
    return NULL;
}

/* What was overwritten while it was copied is never passed off as whole. */
static void test_take_race(void)
{
    static struct taken t = { .header = { CM_GUARD_VALID, 11, 12, 0 } };
    const cm_guard_take_fn take = cm_guard_take_any();
    uint64_t out[512], whole = 0, others = 0;
    pthread_t other;

    if (take == NULL) {
        SKIP("here copies are made in steps");
    }
    REQUIRE(pthread_create(&other, NULL, rewriter, &t) == 0);
    const uint64_t end = cm_plat_now_ns() + UINT64_C(3000000000);
    while ((others < 1000 || whole < 1000) && harness_failures == 0 && cm_plat_now_ns() < end) {
        if (take(t.header, t.data, out, sizeof out, 11, 12) != 1) {
            others++;
            continue;
        }
        whole++;
        for (size_t i = 1; i < 512; i++) {
            CHECK_EQ(out[i], out[0]);
        }
    }
    printf("# take: %" PRIu64 " whole copies, %" PRIu64 " others\n", whole, others);
    CHECK(whole > 0);
    at_store_relaxed(&t.stop, UINT64_C(1));
    CHECK_EQ(pthread_join(other, NULL), 0);
}

static void test_nt_copy(void)
{
    const struct cm_persist_ops *ops;
    uint8_t *from = cm_plat_alloc(16384), *to = cm_plat_alloc(16384);

    REQUIRE(from != NULL && to != NULL);
    fill_pattern(from, 16384);
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        for (size_t n = 0; n <= 8192; n += n < 512 ? 64 : 448) {
            for (size_t skew = 0; skew < 64; skew += 7) {
                memset(to, 0xcc, 64 + n + 64);
                CHECK_EQ(ops->copy(NULL, to + 64, from + skew, n), 0);
                ops->fence(NULL);
                CHECK(memcmp(to + 64, from + skew, n) == 0);
                CHECK(all_bytes(to, 64, 0xcc));
                CHECK(all_bytes(to + 64 + n, 64, 0xcc));
            }
        }
    }
    cm_plat_free(from, 16384);
    cm_plat_free(to, 16384);
}

static void test_flush_changes_nothing(void)
{
    const struct cm_persist_ops *ops;
    uint8_t *p = cm_plat_alloc(8192);

    REQUIRE(p != NULL);
    fill_pattern(p, 8192);
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        CHECK_EQ(ops->flush(NULL, p, 8192), 0);
        CHECK_EQ(ops->flush(NULL, p + 8191, 1), 0);
        CHECK_EQ(ops->flush(NULL, p + 63, 2), 0);
        CHECK_EQ(ops->flush(NULL, NULL, 0), 0);
        ops->fence(NULL);
    }
    for (size_t i = 0; i < 8192; i++) {
        CHECK(p[i] == pattern(i));
    }
    cm_plat_free(p, 8192);
}

/* A routine that reads or writes one byte beyond its range dies at the edge of a mapping. */
static void test_nothing_beyond_the_edge(void)
{
    uint8_t *a = cm_plat_alloc(ROOM), *b = cm_plat_alloc(ROOM);
    const struct cm_persist_ops *ops;
    cm_guard_copy_fn copy;

    REQUIRE(a != NULL && b != NULL);
    os_protect(a, ROOM, OS_NOTHING);
    os_protect(b, ROOM, OS_NOTHING);
    os_protect(a + PAGE, 2 * PAGE, OS_WRITE);
    os_protect(b + PAGE, 2 * PAGE, OS_WRITE);
    fill_pattern(a + PAGE, 2 * PAGE);
    for (size_t v = 0; (copy = cm_guard_copy_variant(v, NULL)) != NULL; v++) {
        for (size_t n = 0; n <= PAGE; n += n < 300 ? 1 : 64) {
            CHECK_EQ(copy(b + 3 * PAGE - n, a + 3 * PAGE - n, n), 0); /* both end at the edge */
            CHECK(memcmp(b + 3 * PAGE - n, a + 3 * PAGE - n, n) == 0);
            CHECK_EQ(copy(b + PAGE, a + 3 * PAGE - n, n), 0);
            CHECK_EQ(copy(b + 3 * PAGE - n, a + PAGE, n), 0);
            CHECK(memcmp(b + 3 * PAGE - n, a + PAGE, n) == 0);
        }
    }
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        for (size_t n = 64; n <= 2 * PAGE; n += 64) {
            CHECK_EQ(ops->copy(NULL, b + 3 * PAGE - n, a + 3 * PAGE - n, n), 0);
            CHECK_EQ(ops->flush(NULL, b + 3 * PAGE - n, n), 0);
            CHECK_EQ(ops->write(NULL, b + 3 * PAGE - n, a + 3 * PAGE - n, n), 0);
        }
        CHECK_EQ(ops->flush(NULL, b + PAGE, 1), 0);
        ops->fence(NULL);
    }
    cm_plat_free(a, ROOM);
    cm_plat_free(b, ROOM);
}

#ifndef _WIN32
/* ---- Children ------------------------------------------------------------------------------ */

static int in_child(void (*body)(void *), void *arg)
{
    return child_run(NULL, body, arg);
}
#endif

/* ---- Poison -------------------------------------------------------------------------------- */

#define POISON_PAGES 16u
#define POISON_GOOD 8u /* pages that stay; the rest is poisoned */

struct poison {
    struct cm_plat_file file;
    char path[300];
    uint8_t *good, *bad; /* the last good page, the first bad one behind it */
};

/* Maps a file, registers it with the guard if `guarded`, then takes half of it away. */
static int poison_make(struct poison *p, bool guarded)
{
    static unsigned number;
    enum cm_durability durability;

    *p = (struct poison){ .file = PLAT_FILE_INIT };
    (void)snprintf(p->path, sizeof p->path, "%s/cachemax-poison-%u-%u", os_temp(), cm_plat_pid(),
                   number++);
    if (plat_create(&p->file, p->path, POISON_PAGES * PAGE, false, NULL, NULL) != 0) {
        return -1;
    }
    (void)unlink(p->path); /* where it may go: some children die without cleaning up */
    if (cm_plat_file_map(&p->file, PAGE, &durability) != 0) {
        return -1;
    }
    memset(p->file.base, 0x5a, POISON_PAGES * PAGE);
    if (guarded && cm_guard_add(p->file.base, POISON_PAGES * PAGE) != 0) {
        return -1;
    }
    p->good = p->file.base + (POISON_GOOD - 1) * PAGE;
    p->bad = p->file.base + POISON_GOOD * PAGE;
#ifdef _WIN32
    os_protect(p->bad, (POISON_PAGES - POISON_GOOD) * PAGE, OS_NOTHING);
    return 0;
#else
    return ftruncate((int)p->file.handle, POISON_GOOD * PAGE);
#endif
}

static void poison_free(struct poison *p)
{
    cm_guard_remove(p->file.base);
    cm_plat_file_close(&p->file);
    (void)unlink(p->path);
}

/* With AVX, every routine must leave the upper halves of the vector registers clean. */
static int upper_halves_clean(void)
{
#if defined(__x86_64__) && !defined(CM_TSAN)
    uint64_t upper[2] = { 0, 0 };

    if (__builtin_cpu_supports("avx2")) {
        __asm__ volatile("vextracti128 $1, %%ymm0, %%xmm4\n\t"
                         "vextracti128 $1, %%ymm1, %%xmm5\n\t"
                         "vpor %%xmm4, %%xmm5, %%xmm4\n\t"
                         "vextracti128 $1, %%ymm2, %%xmm5\n\t"
                         "vpor %%xmm4, %%xmm5, %%xmm4\n\t"
                         "vextracti128 $1, %%ymm3, %%xmm5\n\t"
                         "vpor %%xmm4, %%xmm5, %%xmm4\n\t"
                         "vmovdqu %%xmm4, %0"
                         : "=m"(upper)
                         :
                         : "xmm4", "xmm5");
    }
    return upper[0] == 0 && upper[1] == 0;
#else
    return 1;
#endif
}

static void check_guarded_loads(const struct poison *p)
{
    uint64_t v[64];
    uint64_t *bad = (uint64_t *)(void *)p->bad, *good = (uint64_t *)(void *)p->good;

    memset(v, 0, sizeof v);
    CHECK_EQ(cm_guard_load64(bad, v), CM_EIO);
    CHECK_EQ(cm_guard_load64(good, v), 0);
    CHECK(v[0] == UINT64_C(0x5a5a5a5a5a5a5a5a));
    CHECK_EQ(cm_guard_load_words(bad, v, 4), CM_EIO);
    CHECK_EQ(cm_guard_load_words(bad - 2, v, 4), CM_EIO); /* runs into it */
    CHECK_EQ(cm_guard_load_words(bad - 4, v, 4), 0);
    CHECK_EQ(cm_guard_add64(bad, 1), CM_EIO);
    CHECK_EQ(cm_guard_add64_own(bad, 1), CM_EIO);
    CHECK_EQ(cm_guard_add64_own2(bad, 1, 1), CM_EIO);
}

static void check_guarded_copies(const struct poison *p)
{
    static const size_t sizes[] = { 1,  2,  3,  4,   7,   8,   15,  16,  31,   32,
                                    33, 64, 65, 128, 129, 256, 511, 512, 1000, 4096 };
    static uint8_t out[8192];
    cm_guard_copy_fn copy;

    for (size_t v = 0; (copy = cm_guard_copy_variant(v, NULL)) != NULL; v++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const size_t n = sizes[s];

            CHECK_EQ(copy(out, p->bad, n), CM_EIO);
            CHECK(upper_halves_clean());
            CHECK_EQ(copy(out, p->bad + 1 - n, n), CM_EIO); /* only the last byte is bad */
            CHECK(upper_halves_clean());
            CHECK_EQ(copy(out, p->bad - n, n), 0);
            CHECK(upper_halves_clean());
        }
    }
    CHECK_EQ(cm_guard_copy(out, p->bad, PAGE), CM_EIO);
    CHECK_EQ(cm_guard_copy(out, p->good, PAGE), 0);
    CHECK(all_bytes(out, PAGE, 0x5a));
}

static void check_guarded_take(const struct poison *p)
{
    static uint8_t out[PAGE];
    const cm_guard_take_fn take = cm_guard_take_any();
    const uint64_t h[3] = { CM_GUARD_VALID, 11, 12 };
    const uint64_t *bad = (const uint64_t *)(const void *)p->bad;

    if (take == NULL) {
        return;
    }
    CHECK_EQ(take(h, p->bad, out, PAGE, 11, 12), CM_EIO);
    CHECK_EQ(take(h, p->bad + 1 - PAGE, out, PAGE, 11, 12), CM_EIO); /* only the last byte */
    CHECK_EQ(take(bad, p->good, out, PAGE, 11, 12), CM_EIO);
    CHECK_EQ(take(bad - 2, p->good, out, PAGE, 11, 12), CM_EIO);
    CHECK_EQ(take(h, p->good, out, PAGE, 11, 12), 1);
    CHECK(all_bytes(out, PAGE, 0x5a));
}

static void check_guarded_stores(const struct poison *p)
{
    static uint8_t src[PAGE];
    uint64_t *bad = (uint64_t *)(void *)p->bad;
    const struct cm_persist_ops *ops;

    memset(src, 0x5a, sizeof src);
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        CHECK_EQ(ops->store64(NULL, bad, 1), CM_EIO);
        CHECK_EQ(ops->cas64(NULL, bad, 0, 1), CM_EIO);
        CHECK_EQ(ops->write(NULL, bad, src, 64), CM_EIO);
        CHECK_EQ(ops->write(NULL, bad - 4, src, 64), CM_EIO);
        CHECK_EQ(ops->write(NULL, bad - 8, src, 64), 0);
        CHECK_EQ(ops->copy(NULL, bad, src, PAGE), CM_EIO);
        CHECK(upper_halves_clean());
        CHECK_EQ(ops->copy(NULL, bad - 8, src, 128), CM_EIO);
        CHECK(upper_halves_clean());
        CHECK_EQ(ops->copy(NULL, p->good, src, PAGE), 0);
        CHECK(upper_halves_clean());
        CHECK_EQ(ops->copy(NULL, p->good, p->bad, 64), CM_EIO); /* the source may be bad too */
        if (ops->flushes && getenv("CM_TEST_EMULATED") == NULL) {
            CHECK_EQ(ops->flush(NULL, bad, 8), CM_EIO);
            CHECK_EQ(ops->flush(NULL, bad - 8, 128), CM_EIO);
            CHECK_EQ(ops->flush(NULL, p->bad - 4, 5), CM_EIO); /* two lines, not one */
            CHECK_EQ(ops->flush(NULL, p->good, PAGE), 0);
        }
        ops->fence(NULL);
    }
}

static void test_poison_is_an_error(void)
{
    struct poison p;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    REQUIRE(poison_make(&p, true) == 0);
    check_guarded_loads(&p);
    check_guarded_copies(&p);
    check_guarded_take(&p);
    check_guarded_stores(&p);
    poison_free(&p);
}

struct poison_thread {
    const struct poison *p;
    uint32_t *stop;
    unsigned done;
};

static void *poison_thread_main(void *arg)
{
    struct poison_thread *t = arg;
    uint8_t out[PAGE];
    uint64_t v = 0;

    while (t->done < 3000 || (at_load_relaxed(t->stop) == 0 && t->done < 100000)) {
        CHECK_EQ(cm_guard_copy(out, t->p->bad - t->done % PAGE, PAGE), CM_EIO);
        CHECK_EQ(cm_guard_copy(out, t->p->good, PAGE), 0);
        CHECK(out[t->done % PAGE] == 0x5a);
        CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)t->p->bad, &v), CM_EIO);
        t->done++;
    }
    at_store_relaxed(t->stop, 1u);
    return NULL;
}

static void test_poison_in_two_threads(void)
{
    struct poison p, q;
    uint32_t stop = 0;
    struct poison_thread t[3];
    pthread_t id[3];

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    REQUIRE(poison_make(&p, true) == 0 && poison_make(&q, true) == 0);
    for (size_t i = 0; i < 3; i++) {
        t[i] = (struct poison_thread){ .p = i == 0 ? &p : &q, .stop = &stop };
        REQUIRE(pthread_create(&id[i], NULL, poison_thread_main, &t[i]) == 0);
    }
    /* Meanwhile ranges come and go. */
    for (unsigned i = 0; i < 20000 && at_load_relaxed(&stop) == 0; i++) {
        CHECK_EQ(cm_guard_add((const void *)(uintptr_t)(0x1000 + i * 64), 64), 0);
        cm_guard_remove((const void *)(uintptr_t)(0x1000 + i * 64));
    }
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(pthread_join(id[i], NULL), 0);
        CHECK(t[i].done >= 3000);
    }
    poison_free(&p);
    poison_free(&q);
}

static void test_readonly_memory_is_an_error(void)
{
    uint64_t *p = cm_plat_alloc(ROOM);
    uint64_t v = 1;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    REQUIRE(p != NULL);
    os_protect(p, ROOM, OS_READ);
    REQUIRE(cm_guard_add(p, PAGE) == 0);
    CHECK_EQ(cm_persist_variant(0)->store64(NULL, p, 1), CM_EIO);
    CHECK_EQ(cm_persist_variant(0)->cas64(NULL, p, 0, 1), CM_EIO);
    CHECK_EQ(cm_guard_load64(p, &v), 0);
    CHECK(v == 0);
    cm_plat_free(p, ROOM);
    CHECK_EQ(cm_guard_load64(p, &v), CM_EIO); /* unmapped, still registered */
    cm_guard_remove(p);
}

static void guard_table_body(void *arg)
{
    unsigned n = 0;

    (void)arg;
    while (n < 1000 && cm_guard_add((const void *)(uintptr_t)(0x10000 + n * PAGE), PAGE) == 0) {
        n++;
    }
    CHECK_EQ(n, 64);
    CHECK_EQ(cm_guard_add((const void *)(uintptr_t)0x9000, PAGE), CM_ENOMEM);
    cm_guard_remove((const void *)(uintptr_t)(0x10000 + 17 * PAGE));
    CHECK_EQ(cm_guard_add((const void *)(uintptr_t)0x9000, PAGE), 0);
    cm_guard_remove((const void *)(uintptr_t)0x777); /* unknown: nothing happens */
    CHECK_EQ(cm_guard_add((const void *)(uintptr_t)0x8000, PAGE), CM_ENOMEM);
}

static void test_guard_table_is_bounded(void)
{
    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
#ifdef _WIN32
    guard_table_body(NULL);
    for (unsigned n = 0; n < 64; n++) {
        cm_guard_remove((const void *)(uintptr_t)(0x10000 + n * PAGE));
    }
    cm_guard_remove((const void *)(uintptr_t)0x9000);
#else
    CHECK_CHILD_OK(guard_table_body, NULL);
#endif
}

#ifndef _WIN32
/* ---- Faults that are somebody else's ------------------------------------------------------- */

/* These run in children forked before this process has a guard of its own: the earlier handler
 * has to be there first. So they come first in the table of tests. */

static sigjmp_buf chain_back;
static volatile uintptr_t chain_addr;
static volatile int chain_signal, chain_mask_ok;

static void chain_note(int sig)
{
    sigset_t now;

    chain_signal = sig;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &now);
    chain_mask_ok = sigismember(&now, sig) == 1 && sigismember(&now, SIGUSR1) == 1;
}

static void chain_handler_info(int sig, siginfo_t *info, void *context)
{
    CHECK(context != NULL);
    chain_note(sig);
    chain_addr = (uintptr_t)info->si_addr;
    siglongjmp(chain_back, 1);
}

static void chain_handler_plain(int sig)
{
    chain_note(sig);
    siglongjmp(chain_back, 1);
}

static void chain_handler_returns(int sig)
{
    chain_note(sig);
}

static void chain_install(int sig, void (*plain)(int), void (*info)(int, siginfo_t *, void *),
                          int flags)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    (void)sigemptyset(&sa.sa_mask);
    (void)sigaddset(&sa.sa_mask, SIGUSR1);
    sa.sa_flags = flags;
    if (info != NULL) {
        sa.sa_sigaction = info;
        sa.sa_flags |= SA_SIGINFO;
    } else {
        sa.sa_handler = plain;
    }
    CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

static void touch(const uint8_t *p)
{
    (void)*(const volatile uint8_t *)p;
}

/* The address is registered, the code is not the guard's. */
static void chain_siginfo_body(void *arg)
{
    struct poison p;

    (void)arg;
    chain_install(SIGBUS, NULL, chain_handler_info, 0);
    REQUIRE(poison_make(&p, true) == 0);
    for (int i = 0; i < 3; i++) {
        chain_signal = 0;
        if (sigsetjmp(chain_back, 1) == 0) {
            touch(p.bad + 100);
            CHECK(0 == "survived"[0]);
        }
        CHECK_EQ(chain_signal, SIGBUS);
        CHECK_EQ(chain_mask_ok, 1);
        CHECK(chain_addr == (uintptr_t)p.bad + 100);
    }
    check_guarded_loads(&p); /* and the guard still works */
    poison_free(&p);
}

static void chain_plain_body(void *arg)
{
    const uint8_t *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct poison p;

    (void)arg;
    REQUIRE(nothing != MAP_FAILED);
    chain_install(SIGBUS, chain_handler_plain, NULL, 0);
    chain_install(SIGSEGV, chain_handler_plain, NULL, 0);
    REQUIRE(poison_make(&p, true) == 0);
    if (sigsetjmp(chain_back, 1) == 0) {
        touch(p.bad);
        CHECK(0 == "survived"[0]);
    }
    CHECK_EQ(chain_signal, SIGBUS);
    chain_signal = 0;
    if (sigsetjmp(chain_back, 1) == 0) {
        touch(nothing);
        CHECK(0 == "survived"[0]);
    }
    CHECK_EQ(chain_signal, SIGSEGV);
    CHECK_EQ(chain_mask_ok, 1);
}

/* The code is the guard's, the address is nobody's. */
static void chain_unregistered_body(void *arg)
{
    struct poison registered, other;
    uint64_t v;

    (void)arg;
    chain_install(SIGBUS, NULL, chain_handler_info, 0);
    REQUIRE(poison_make(&registered, true) == 0);
    REQUIRE(poison_make(&other, false) == 0);
    if (sigsetjmp(chain_back, 1) == 0) {
        (void)cm_guard_load64((const uint64_t *)(const void *)other.bad, &v);
        CHECK(0 == "survived"[0]);
    }
    CHECK_EQ(chain_signal, SIGBUS);
    CHECK(chain_addr == (uintptr_t)other.bad);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)registered.bad, &v), CM_EIO);
}

static void chain_once_body(void *arg)
{
    (void)arg;
    chain_install(SIGBUS, chain_handler_returns, NULL, (int)SA_RESETHAND);
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    CHECK_EQ(raise(SIGBUS), 0);
    CHECK_EQ(chain_signal, SIGBUS);
    (void)raise(SIGBUS); /* the second one is fatal */
}

static void chain_default_body(void *arg)
{
    struct poison p;

    chain_install(SIGBUS, arg == NULL ? SIG_DFL : SIG_IGN, NULL, 0);
    REQUIRE(poison_make(&p, true) == 0);
    touch(p.bad);
}

static void chain_sent_ignored_body(void *arg)
{
    (void)arg;
    chain_install(SIGBUS, SIG_IGN, NULL, 0);
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    CHECK_EQ(kill(getpid(), SIGBUS), 0);
    CHECK_EQ(raise(SIGBUS), 0);
}

static void chain_sent_default_body(void *arg)
{
    (void)arg;
    chain_install(SIGSEGV, SIG_DFL, NULL, 0);
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    (void)kill(getpid(), SIGSEGV);
    (void)sleep(5);
}

/* A machine check that nobody ran into yet: the kernel only tells. A process may send itself any
 * signal with any code, which is as near as a test can get. */
static void chain_action_optional_body(void *arg)
{
    static uint8_t mine[64], others[64];
    siginfo_t info;

    (void)arg;
    chain_install(SIGBUS, NULL, chain_handler_info, 0);
    REQUIRE(cm_guard_add(mine, sizeof mine) == 0);
    memset(&info, 0, sizeof info);
    info.si_signo = SIGBUS;
    info.si_code = 5; /* BUS_MCEERR_AO */
    info.si_addr = mine + 8;
    info.si_addr_lsb = 0;
    if (sigsetjmp(chain_back, 1) == 0) {
        CHECK_EQ(syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &info), 0);
    }
    CHECK_EQ(chain_signal, 0); /* swallowed */
    info.si_addr = others;
    if (sigsetjmp(chain_back, 1) == 0) {
        (void)syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &info);
    }
    CHECK_EQ(chain_signal, SIGBUS);
}

static void test_other_faults_reach_their_handler(void)
{
    int status;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    CHECK_CHILD_OK(chain_siginfo_body, NULL);
    CHECK_CHILD_OK(chain_plain_body, NULL);
    CHECK_CHILD_OK(chain_unregistered_body, NULL);
    CHECK_CHILD_OK(chain_sent_ignored_body, NULL);
    if (getenv("CM_TEST_EMULATED") == NULL) {
        CHECK_CHILD_OK(chain_action_optional_body, NULL);
    }
    status = in_child(chain_once_body, NULL);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void test_other_faults_are_fatal_without_one(void)
{
    int status;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    status = in_child(chain_default_body, NULL); /* SIG_DFL */
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    if (getenv("CM_TEST_EMULATED") == NULL) {
        status = in_child(chain_default_body, &status); /* SIG_IGN: a real fault kills as well */
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
    status = in_child(chain_sent_default_body, NULL);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* ---- A real machine check ------------------------------------------------------------------ */

static void hwpoison_body(void *arg)
{
    uint8_t *base = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint8_t out[PAGE];
    uint64_t v = 0;

    (void)arg;
    REQUIRE(base != MAP_FAILED);
    memset(base, 0x5a, 4 * PAGE);
    chain_install(SIGBUS, chain_handler_returns, NULL, 0); /* madvise itself may raise it too */
    REQUIRE(cm_guard_add(base, 4 * PAGE) == 0);
    if (madvise(base + PAGE, PAGE, 100 /* MADV_HWPOISON */) != 0) {
        _exit(77);
    }
    CHECK_EQ(cm_guard_copy(out, base + PAGE, PAGE), CM_EIO);
    CHECK_EQ(cm_guard_copy(out, base + PAGE - 64, PAGE), CM_EIO);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)(base + PAGE), &v), CM_EIO);
    CHECK_EQ(cm_guard_copy(out, base, PAGE), 0);
    CHECK_EQ(cm_guard_copy(out, base + 2 * PAGE, PAGE), 0);
}

static void test_real_poison_is_an_error(void)
{
    int status;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    if (getenv("CM_TEST_HWPOISON") == NULL) {
        SKIP("takes a page from the machine until its next boot: CM_TEST_HWPOISON=1 to allow it");
    }
    status = in_child(hwpoison_body, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        SKIP("MADV_HWPOISON is refused here");
    }
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}
#endif

static const struct harness_test tests[] = {
#ifndef _WIN32
    TEST(other_faults_reach_their_handler), /* these two first, see there */
    TEST(other_faults_are_fatal_without_one),
#endif
    TEST(tables_are_complete),
    TEST(instructions_are_real),
    TEST(words),
    TEST(write),
    TEST(copy_sizes_and_alignments),
    TEST(take),
    TEST(take_race),
    TEST(nt_copy),
    TEST(flush_changes_nothing),
    TEST(nothing_beyond_the_edge),
    TEST(poison_is_an_error),
    TEST(poison_in_two_threads),
    TEST(readonly_memory_is_an_error),
    TEST(guard_table_is_bounded),
#ifndef _WIN32
    TEST(real_poison_is_an_error),
#endif
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
