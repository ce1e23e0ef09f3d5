/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_persist.c - every access routine that this CPU can run.
 */
#include "persist_common.h"

#include <inttypes.h>
#include <stdlib.h>

#include <pthread.h>
#if defined(__linux__)
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "../os.h"
#include "platform/atomic.h"
#include "persist/persist.h"

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
        CHECK_EQ(ops->flushes, strcmp(ops->flush_name, "none") != 0); /* the name that users see */
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
/* Do the first n bytes have an instruction 0F AE with this "reg" field? 0F AE F8 is SFENCE, 66 0F
 * AE /6 CLWB, 66 0F AE /7 with memory CLFLUSHOPT, 0F AE /7 with memory CLFLUSH. */
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
        CHECK(has_word(copy, 16, 0xd50b7c20u, ~31u)); /* the copies need the write-back, too */
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
        CASE("i %zu", i);
        CALL(check_instructions(ops));
    }
#endif
}

/* ---- Words --------------------------------------------------------------------------------- */

static void test_words(void)
{
    const struct cm_persist_ops *ops;
    uint64_t w[9], v[9];

    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        CASE("i %zu", i);
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
        CASE("n %zu", n);
        memset(v, 0xee, sizeof v);
        CHECK_EQ(cm_guard_load_words(w, v, n), 0);
        CHECK(memcmp(v, w, n * 8) == 0);
        CHECK(v[n] == UINT64_C(0xeeeeeeeeeeeeeeee));
    }
    CHECK_EQ(cm_guard_touch((const uint8_t *)w), 0);
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
            CASE("n %zu", n);
            const size_t skew = n / 8 % 9;

            memset(dst, 0xcc, sizeof dst);
            CHECK_EQ(ops->write(NULL, &dst[2], src + skew, n), 0);
            CHECK(memcmp(&dst[2], src + skew, n) == 0);
            CHECK(all_bytes((uint8_t *)dst, 16, 0xcc));
            CHECK(all_bytes((uint8_t *)&dst[2] + n, sizeof dst - 16 - n, 0xcc));
        }
    }
}

/* A process that does not own the pool stores nothing, whatever it calls. */
static void test_readonly_refuses(void)
{
    const struct cm_persist_ops *const ops = cm_persist_readonly();
    static uint64_t dst[16];
    static const uint64_t src[16] = { 1, 2, 3 };

    memset(dst, 0xcc, sizeof dst);
    CHECK_EQ(ops->store64(NULL, &dst[1], 7), CM_EIO);
    CHECK_EQ(ops->cas64(NULL, &dst[1], dst[1], 7), CM_EIO);
    CHECK_EQ(ops->write(NULL, dst, src, sizeof src), CM_EIO);
    CHECK_EQ(ops->copy(NULL, dst, src, sizeof src), CM_EIO);
    CHECK(!ops->flushes);
    CHECK_EQ(ops->flush(NULL, dst, sizeof dst), 0);
    ops->fence(NULL);
    CHECK(all_bytes((uint8_t *)dst, sizeof dst, 0xcc));
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
                CASE("s %zu", s);
                CALL(check_copy(copy, to, n + 128, from + skews[s % nskews], skews[s / nskews], n));
            }
        }
        for (size_t l = 0; l < sizeof large / sizeof large[0]; l++) {
            for (size_t s = 0; s < nskews * nskews; s++) {
                CASE("s %zu", s);
                CALL(check_copy(copy, to, large[l] + 128, from + skews[s % nskews],
                                skews[s / nskews], large[l]));
            }
        }
    }
    CHECK(name != NULL && cm_guard_copy_variant(SIZE_MAX, NULL) == NULL);
    CALL(check_copy(cm_guard_copy, to, 8192, from + 5, 7, 4096));
    cm_plat_free(from, 32768);
    cm_plat_free(to, 32768);
}

/* ---- Copies of what is behind a header ------------------------------------------------------- */

static void check_take(cm_guard_take_fn take)
{
    static const size_t sizes[] = { 128, 129, 192, 255, 256, 257, 512, 1535, 2048, 4095, 4096 };
    static uint8_t from[8192], to[8192];
    uint64_t h[3] = { CM_GUARD_VALID | 7, 11, 12 };

    fill_pattern(from, 8192);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t skew = 0; skew < 70; skew += 7) {
            CASE("skew %zu", skew);
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

static void test_take(void)
{
    const char *name;
    cm_guard_take_fn take;

    if (cm_guard_take_choose() == NULL) {
        SKIP("here copies are made in steps");
    }
    CHECK(cm_guard_take_choose() == cm_guard_take_variant(0, NULL));
    CHECK(cm_guard_take_variant(SIZE_MAX, NULL) == NULL);
    for (size_t i = 0; (take = cm_guard_take_variant(i, &name)) != NULL; i++) {
        CASE("%s", name);
        CALL(check_take(take));
    }
}

/* ---- Tags in a line of the index ------------------------------------------------------------- */

static void test_find(void)
{
    const uint64_t other = UINT64_C(0x155555) << CM_GUARD_TAG_SHIFT | UINT64_C(0x3ffffffffff);
    const uint64_t tags[] = { 0, 1, UINT64_C(0x200000), UINT64_C(0x3fffff), UINT64_C(0x2aaaaa) };
    uint64_t *line = cm_plat_alloc(4096), word;

    REQUIRE(line != NULL);
    for (size_t t = 0; t < sizeof tags / sizeof tags[0]; t++) {
        for (unsigned wanted = 0; wanted < 256; wanted++) {
            CASE("tag %zu, words %u", t, wanted);
            for (unsigned i = 0; i < 8; i++) { /* the lower bits do not count */
                line[i] = wanted >> i & 1 ? tags[t] << CM_GUARD_TAG_SHIFT | (i * 77 + 1) : other;
            }
            word = 99;
            CHECK_EQ(cm_guard_find(line, tags[t], &word), (int)wanted);
            const unsigned first = wanted != 0 ? (unsigned)at_lowest_bit(wanted) : 0;
            CHECK_EQ(word, wanted != 0 ? line[first] : 99);
        }
        for (unsigned bit = 42; bit < 64; bit++) { /* each bit of a tag counts */
            line[5] = tags[t] << CM_GUARD_TAG_SHIFT ^ UINT64_C(1) << bit;
            CHECK_EQ(cm_guard_find(line, tags[t], &word) >> 5 & 1, 0);
        }
    }
    cm_plat_free(line, 4096);
}

/* In lines one behind the other. */
static void test_find_each(void)
{
    enum { LINES = 9 };
    uint64_t *line = cm_plat_alloc(4096), hash[LINES], word[LINES + 1];

    REQUIRE(line != NULL);
    for (unsigned i = 0; i < LINES; i++) {
        hash[i] = (UINT64_C(0x9e3779b97f4a7c15) * (i + 1)) | UINT64_C(0x3ff);
    }
    for (unsigned n = 1; n <= LINES; n++) {
        for (unsigned at = 0; at <= 8; at++) { /* 8: nowhere */
            CASE("%u lines, word %u", n, at);
            memset(line, 0, 4096);
            memset(word, 0xcc, sizeof word);
            for (unsigned i = 0; i < LINES && at < 8; i++) {
                for (unsigned k = at; k < 8; k += 3) {
                    line[i * 8 + k] = hash[i] ^ (k + 1); /* the lower bits do not count */
                }
            }
            CHECK_EQ(cm_guard_find_each(line, hash, word, n), 0);
            for (unsigned i = 0; i < n; i++) {
                CHECK_EQ(word[i], at < 8 ? line[i * 8 + at] : 0);
            }
            CHECK(all_bytes((uint8_t *)&word[n], sizeof word[n], 0xcc));
        }
    }
    cm_plat_free(line, 4096);
}

/* ---- Headers that are neighbours ------------------------------------------------------------- */

static void test_look(void)
{
    enum { N = 8 };
    static const uint64_t key[2] = { 11, 7 };
    uint64_t h[N][4], w0[N + 1];

    for (unsigned i = 0; i < N; i++) {
        memcpy(h[i], (uint64_t[]){ CM_GUARD_VALID | i << 8, 11, 7 + i * CM_GUARD_NEXT, 99 },
               sizeof h[i]);
    }
    for (unsigned n = 1; n <= N; n++) {
        CASE("%u headers", n);
        memset(w0, 0xcc, sizeof w0);
        CHECK_EQ(cm_guard_look_before(h[0], n, key, w0), (int)n);
        for (unsigned i = 0; i < n; i++) {
            CHECK_EQ(w0[i], h[i][0]);
        }
        CHECK(all_bytes((uint8_t *)&w0[n], sizeof w0[n], 0xcc));
        CHECK_EQ(cm_guard_look_after(h[0], n, w0), (int)n);
    }
    CHECK_EQ(cm_guard_look_before(h[0], N, (uint64_t[]){ 12, 7 }, w0), 0);
    CHECK_EQ(cm_guard_look_before(h[1], N - 1, key, w0), 0);
    CHECK_EQ(cm_guard_look_before(h[0], N, key, w0), N);
    for (unsigned i = 0; i < N; i++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            CASE("header %u, bit %u", i, bit);
            const uint64_t flip = UINT64_C(1) << bit;
            uint64_t other[N];
            for (unsigned word = 1; word < 4; word++) { /* all bits of two words count */
                h[i][word] ^= flip;
                CHECK_EQ(cm_guard_look_before(h[0], N, key, other), word < 3 ? (int)i : N);
                CHECK_EQ(cm_guard_look_after(h[0], N, w0), N);
                h[i][word] ^= flip;
            }
            h[i][0] ^= flip; /* one bit of the first before a copy, and all of them after it */
            CHECK_EQ(cm_guard_look_before(h[0], N, key, other), bit == 31 ? (int)i : N);
            CHECK_EQ(cm_guard_look_after(h[0], N, w0), (int)i);
            h[i][0] ^= flip;
        }
    }
}

struct taken {
    uint64_t header[4], stop;
    uint64_t data[512];
};

/* Rewrites a slot again and again: invalid, other bytes, valid with the next sequence. */
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

/* A copy that was overwritten meanwhile never counts as whole. */
static void race_take(cm_guard_take_fn take, const char *name)
{
    static struct taken t;
    uint64_t out[512], whole = 0, others = 0;
    pthread_t other;

    t = (struct taken){ .header = { CM_GUARD_VALID, 11, 12, 0 } };
    REQUIRE(pthread_create(&other, NULL, rewriter, &t) == 0);
    const uint64_t end = cm_plat_now_ns() + UINT64_C(3000000000);
    while ((others < 1000 || whole < 1000) && harness_failures == 0 && cm_plat_now_ns() < end) {
        if (take(t.header, t.data, out, sizeof out, 11, 12) != 1) {
            others++;
            continue;
        }
        whole++;
        for (size_t i = 1; i < 512; i++) {
            CASE("i %zu", i);
            CHECK_EQ(out[i], out[0]);
        }
    }
    printf("# %s: %" PRIu64 " whole copies, %" PRIu64 " others\n", name, whole, others);
    CHECK(whole > 0);
    at_store_relaxed(&t.stop, UINT64_C(1));
    CHECK_EQ(pthread_join(other, NULL), 0);
}

static void test_take_race(void)
{
    const char *name;
    cm_guard_take_fn take;

    if (cm_guard_take_choose() == NULL) {
        SKIP("here copies are made in steps");
    }
    for (size_t i = 0; (take = cm_guard_take_variant(i, &name)) != NULL; i++) {
        CALL(race_take(take, name));
    }
}

/* The header changes in the middle of the copy: when the second page of the data is touched. */
#if defined(__linux__)
static struct {
    uint64_t header[4];
    uint8_t *data;
} faulty;

static void change_header(int signal)
{
    (void)signal;
    faulty.header[0]++;
    if (mprotect(faulty.data + 4096, 4096, PROT_READ | PROT_WRITE) != 0) {
        _exit(9);
    }
}

static void check_changed(cm_guard_take_fn take)
{
    static uint8_t to[4096];
    const struct sigaction change = { .sa_handler = change_header };
    struct sigaction segv, bus;

    for (size_t from = 64; from < 4096; from += 128) {
        CASE("from %zu", from);
        faulty.header[0] = CM_GUARD_VALID | 6, faulty.header[1] = 11, faulty.header[2] = 12;
        CHECK_EQ(take(faulty.header, faulty.data + from, to, 4096, 11, 12), 1);
        CHECK_EQ(mprotect(faulty.data + 4096, 4096, PROT_NONE), 0);
        CHECK(sigaction(SIGSEGV, &change, &segv) == 0 && sigaction(SIGBUS, &change, &bus) == 0);
        CHECK_EQ(take(faulty.header, faulty.data + from, to, 4096, 11, 12), 0);
        CHECK(sigaction(SIGSEGV, &segv, NULL) == 0 && sigaction(SIGBUS, &bus, NULL) == 0);
        CHECK_EQ(faulty.header[0], CM_GUARD_VALID | 7);
    }
}
#endif

static void test_take_changed(void)
{
#if defined(__linux__)
    const char *name;
    cm_guard_take_fn take;

    if (cm_guard_take_choose() == NULL) {
        SKIP("here copies are made in steps");
    }
    faulty.data = cm_plat_alloc(8192);
    REQUIRE(faulty.data != NULL && (uintptr_t)faulty.data % 4096 == 0);
    for (size_t i = 0; (take = cm_guard_take_variant(i, &name)) != NULL; i++) {
        CASE("%s", name);
        CALL(check_changed(take));
    }
    cm_plat_free(faulty.data, 8192);
#else
    SKIP("made for Linux' signals");
#endif
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
                CASE("skew %zu", skew);
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
        CASE("i %zu", i);
        CHECK_EQ(ops->flush(NULL, p, 8192), 0);
        CHECK_EQ(ops->flush(NULL, p + 8191, 1), 0);
        CHECK_EQ(ops->flush(NULL, p + 63, 2), 0);
        CHECK_EQ(ops->flush(NULL, NULL, 0), 0);
        ops->fence(NULL);
    }
    for (size_t i = 0; i < 8192; i++) {
        CASE("i %zu", i);
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
            CASE("n %zu", n);
            CHECK_EQ(copy(b + 3 * PAGE - n, a + 3 * PAGE - n, n), 0); /* both end at the edge */
            CHECK(memcmp(b + 3 * PAGE - n, a + 3 * PAGE - n, n) == 0);
            CHECK_EQ(copy(b + PAGE, a + 3 * PAGE - n, n), 0);
            CHECK_EQ(copy(b + 3 * PAGE - n, a + PAGE, n), 0);
            CHECK(memcmp(b + 3 * PAGE - n, a + PAGE, n) == 0);
        }
    }
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        CASE("i %zu", i);
        for (size_t n = 64; n <= 2 * PAGE; n += 64) {
            CASE("n %zu", n);
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

static const struct harness_test persist_tests[] = {
    TEST(tables_are_complete),
    TEST(instructions_are_real),
    TEST(words),
    TEST(write),
    TEST(readonly_refuses),
    TEST(copy_sizes_and_alignments),
    TEST(take),
    TEST(find),
    TEST(find_each),
    TEST(look),
    TEST(take_race),
    TEST(take_changed),
    TEST(nt_copy),
    TEST(flush_changes_nothing),
    TEST(nothing_beyond_the_edge),
    TEST_END,
};

/* The tests of faults come first; other_faults_reach_their_handler says why. */
static const struct harness_test *const tables[] = { persist_poison_tests, persist_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
