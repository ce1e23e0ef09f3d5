/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform.c - the tests of platform.h that are the same on every system. The others are in
 * test_platform_posix*.c or test_platform_win32*.c.
 *
 * CM_TEST_EMULATED=1 leaves out what a user-mode emulator cannot do.
 */
#include "platform_common.h"

#ifdef _WIN32
#define BOOT_CLOCK_STEP 50000000 /* more than two ticks of 15.6 ms */
#else
#define BOOT_CLOCK_STEP 20000000
#endif

/* ---- Files --------------------------------------------------------------------------------- */

static void test_create_progress_and_cancel(void)
{
    const uint64_t size = 130 * MIB;
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct progress p = { 0 };
    const unsigned fds = open_files();
    int rc = plat_create(&f, in_dir("pool"), size, true, on_progress, &p);

    if (rc == CM_ENOSPC) {
        SKIP("less than 130 MiB free");
    }
    CHECK_EQ(rc, 0);
    CHECK_EQ(p.calls, 3);
    CHECK(p.last == size && p.total == size);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
    for (unsigned at = 1; at <= 3; at++) {
        CASE("at %u", at);
        p = (struct progress){ .cancel_at = at };
        CHECK_EQ(plat_create(&f, in_dir("pool"), size, true, on_progress, &p), CM_ECANCELED);
        CHECK_EQ(p.calls, at);
        CHECK_EQ(f.handle, -1);
        CHECK_EQ(os_size(in_dir("pool")), -1);
    }
    CHECK_EQ(open_files(), fds);
}

static void test_random(void)
{
    static uint8_t a[MIB], b[64], c[64];
    unsigned seen[256] = { 0 };

    CHECK_EQ(cm_plat_random(a, 0), 0);
    CHECK_EQ(cm_plat_random(a, sizeof a), 0);
    CHECK_EQ(cm_plat_random(b, sizeof b), 0);
    CHECK_EQ(cm_plat_random(c, sizeof c), 0);
    CHECK(memcmp(b, c, sizeof b) != 0);
    for (size_t i = 0; i < sizeof a; i++) {
        seen[a[i]]++;
    }
    for (size_t i = 0; i < 256; i++) { /* 4096 expected, 64 the deviation */
        CASE("i %zu", i);
        CHECK(seen[i] > 3500 && seen[i] < 4700);
    }
    CHECK(!all_zero(a + MIB - 64, 64));
    CHECK(cm_plat_pid() != 0);
}

/* ---- Clocks -------------------------------------------------------------------------------- */

static void test_clocks(void)
{
    const uint64_t now = cm_plat_now_ns();
    const int64_t wall = cm_plat_wall_ns(), boot = cm_plat_boot_wall_ns();
    uint64_t waited;

    CHECK(wall / 1000000000 - (int64_t)time(NULL) <= 1);
    CHECK(boot == INT64_MIN || (boot > 0 && boot < wall));
    sleep_ms(50);
    waited = cm_plat_now_ns() - now;
    CHECK(waited >= 50000000 && waited < UINT64_C(30000000000));
    CHECK(cm_plat_wall_ns() - wall >= 40000000);
    CHECK(boot == INT64_MIN || llabs((long long)(cm_plat_boot_wall_ns() - boot)) < BOOT_CLOCK_STEP);
    for (unsigned i = 0; i < 1000; i++) {
        CASE("i %u", i);
        const uint64_t a = cm_plat_now_ns(), b = cm_plat_now_ns();

        CHECK(b >= a);
    }
}

static int all_ones(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 1) {
            return 0;
        }
    }
    return 1;
}

/* ---- Memory -------------------------------------------------------------------------------- */

/* Small memory shares pages. A page for each made 32 open brackets of a file 100 times as slow. */
static void test_alloc_small(void)
{
    enum { PIECES = 256, PIECE = 96 };
    uint8_t *piece[PIECES];
    unsigned pages = 0;

    for (unsigned i = 0; i < PIECES; i++) {
        bool is_new = true;

        piece[i] = cm_plat_alloc(PIECE);
        REQUIRE(piece[i] != NULL);
        for (unsigned j = 0; j < i && is_new; j++) {
            is_new = (uintptr_t)piece[i] / 4096 != (uintptr_t)piece[j] / 4096;
        }
        pages += is_new;
    }
    CHECK(pages <= PIECES / 2);
    for (unsigned i = 0; i < PIECES; i++) {
        cm_plat_free(piece[i], PIECE);
    }
}

static void test_alloc(void)
{
    static const size_t sizes[] = { 1, 100, 4096, 4097, 65535, 65536, 65537, MIB, 10 * MIB + 1 };

    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            CASE("i %zu", i);
            uint8_t *p = cm_plat_alloc(sizes[i]);

            REQUIRE(p != NULL);
            CHECK_EQ((uintptr_t)p % (sizes[i] < 4096 ? 64 : 4096), 0);
            CHECK(all_zero(p, sizes[i]));
            memset(p, 0xff, sizes[i]);
            cm_plat_free(p, sizes[i]);
        }
    }
    CHECK(cm_plat_alloc(SIZE_MAX) == NULL);
    CHECK(cm_plat_alloc(0) == NULL);
    cm_plat_free(NULL, 0);
    cm_plat_free(NULL, MIB);
#if !defined(CM_TSAN) && !defined(_WIN32) /* there all memory counts against the page file */
    if (getenv("CM_TEST_EMULATED") == NULL) {
        const size_t much = (size_t)256 << 30; /* works only if it is lazy */
        uint8_t *p = cm_plat_alloc(much);

        REQUIRE(p != NULL);
        p[much - 1] = 1;
        CHECK_EQ(p[much / 2], 0);
        cm_plat_free(p, much);
    }
#endif
}

/* Memory that nobody has touched is not there yet. */
static void test_is_resident(void)
{
    const size_t bytes = 100 * PAGE; /* more pages than one system call asks for */
    uint8_t *p;

    if (getenv("CM_TEST_EMULATED") != NULL) {
        SKIP("not with an emulator");
    }
    p = cm_plat_alloc(bytes);
    REQUIRE(p != NULL);
    CHECK(!cm_plat_is_resident(p, bytes));
    CHECK(!cm_plat_is_resident(p + 7 * PAGE, 1));
    p[7 * PAGE + 100] = 1;
    CHECK(cm_plat_is_resident(p + 7 * PAGE, 1));
    CHECK(cm_plat_is_resident(p + 8 * PAGE - 1, 1));
    memset(p, 1, bytes);
    CHECK(cm_plat_is_resident(p, bytes));
    CHECK(cm_plat_is_resident(p + 100, bytes - 200));
    cm_plat_will_need(p + 100, bytes - 200); /* no harm */
    CHECK(all_ones(p, bytes));
    cm_plat_free(p, bytes);
}

static void test_lock_pages(void)
{
    const size_t bytes = 4 * 65536;
    uint8_t *p = cm_plat_alloc(bytes);
    int rc;

    REQUIRE(p != NULL);
    rc = cm_plat_lock_pages(p, bytes - 1);
    CHECK(rc == 0 || rc == CM_ENOMEM);
    memset(p, 1, bytes);
    if (rc == 0) {
        cm_plat_unlock_pages(p, bytes - 1);
    }
    CHECK(all_ones(p, bytes));
    cm_plat_free(p, bytes);
}

/* ---- Threads ------------------------------------------------------------------------------- */

static uint32_t wait_word, wait_awake, wait_ready;

static void *waiter_main(void *arg)
{
    (void)arg;
    at_add_acq_rel(&wait_ready, 1u);
    while (at_load_acquire(&wait_word) == 0) { /* pairs with the release of the waker */
        cm_plat_wait(&wait_word, 0);
    }
    at_add_acq_rel(&wait_awake, 1u);
    return NULL;
}

static void test_wait_and_wake(void)
{
    const uint64_t begin = cm_plat_now_ns();
    pthread_t id[4];

    wait_word = 1;
    cm_plat_wait(&wait_word, 0);  /* differs: returns at once */
    cm_plat_wake_one(&wait_word); /* no thread waits: no harm */
    cm_plat_wake_all(&wait_word);
    for (unsigned round = 0; round < 50; round++) {
        CASE("round %u", round);
        wait_word = wait_awake = wait_ready = 0;
        for (unsigned i = 0; i < 4; i++) {
            CASE("i %u", i);
            REQUIRE(pthread_create(&id[i], NULL, waiter_main, NULL) == 0);
        }
        while (at_load_acquire(&wait_ready) < 4) {
            at_pause();
        }
        sleep_ms((long)(round % 3)); /* the thread is asleep, falling asleep, or still awake */
        CHECK_EQ(at_load_acquire(&wait_awake), 0);
        at_store_release(&wait_word, 1u);
        if (round % 2 == 0) {
            cm_plat_wake_all(&wait_word);
        } else {
            for (unsigned i = 0; i < 4; i++) {
                cm_plat_wake_one(&wait_word);
            }
        }
        for (unsigned i = 0; i < 4; i++) {
            CASE("i %u", i);
            CHECK_EQ(pthread_join(id[i], NULL), 0);
        }
        CHECK_EQ(wait_awake, 4);
    }
    CHECK(cm_plat_now_ns() - begin < UINT64_C(60000000000));
}

/* How long a wait for a word that nobody changes takes, until it says that the time is over. */
static uint64_t waited_until(uint64_t ns)
{
    uint32_t word = 7;
    const uint64_t begin = cm_plat_now_ns(), deadline = begin + ns;

    while (cm_plat_wait_until(&word, 7, deadline)) {
        CHECK(cm_plat_now_ns() - begin < UINT64_C(30000000000));
    }
    CHECK(cm_plat_now_ns() >= deadline);
    return cm_plat_now_ns() - begin;
}

static void test_wait_until(void)
{
    static const uint64_t lengths[] = { 1, 1000, 999999, 1000001, 20000000, 50000000 };
    uint32_t word = 7;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        CASE("%llu ns", (unsigned long long)lengths[i]);
        CHECK(waited_until(lengths[i]) < UINT64_C(20000000000));
    }
    CHECK(!cm_plat_wait_until(&word, 7, 0)); /* long past: does not wait */
    CHECK(!cm_plat_wait_until(&word, 7, cm_plat_now_ns()));
    CHECK(!cm_plat_wait_until(&word, 8, cm_plat_now_ns() - 1)); /* also if the word differs */
    /* The word differs: returns at once, and there is time left. */
    CHECK(cm_plat_wait_until(&word, 8, cm_plat_now_ns() + UINT64_C(3600000000000)));
    CHECK(cm_plat_wait_until(&word, 8, UINT64_MAX));
    CHECK(cm_plat_wait_until(&word, 8, UINT64_MAX - 1));
}

/* *arg: the deadline of each wait. */
static void *waiter_until_main(void *arg)
{
    at_add_acq_rel(&wait_ready, 1u);
    while (at_load_acquire(&wait_word) == 0) { /* pairs with the release of the waker */
        CHECK(cm_plat_wait_until(&wait_word, 0, *(const uint64_t *)arg));
    }
    at_add_acq_rel(&wait_awake, 1u);
    return NULL;
}

/* A wake ends the wait long before the deadline. */
static void test_wait_until_and_wake(void)
{
    static uint64_t deadlines[3]; /* the last one: more seconds than a timer can count */
    const uint64_t begin = cm_plat_now_ns();

    deadlines[0] = begin + UINT64_C(3600000000000);
    deadlines[1] = UINT64_MAX;
    deadlines[2] = UINT64_MAX - 1;
    for (unsigned i = 0; i < 3; i++) {
        CASE("deadline %u", i);
        pthread_t id;

        wait_word = wait_awake = wait_ready = 0;
        REQUIRE(pthread_create(&id, NULL, waiter_until_main, &deadlines[i]) == 0);
        while (at_load_acquire(&wait_ready) == 0) {
            at_pause();
        }
        sleep_ms(20);
        CHECK_EQ(at_load_acquire(&wait_awake), 0); /* it sleeps */
        at_store_release(&wait_word, 1u);
        cm_plat_wake_one(&wait_word);
        CHECK_EQ(pthread_join(id, NULL), 0);
        CHECK_EQ(wait_awake, 1);
    }
    CHECK(cm_plat_now_ns() - begin < UINT64_C(30000000000));
}

static void *thread_main(void *arg)
{
    struct cm_plat_thread *t = cm_plat_thread();

    CHECK_EQ(t->sample, 0);
    CHECK(t->callback == NULL);
    t->sample = 5;
    t->callback = arg;
    CHECK(cm_plat_thread() == t && t->sample == 5 && t->callback == arg);
    *(uint32_t *)arg = t->number;
    return NULL;
}

static void test_thread(void)
{
    pthread_t id[8];
    uint32_t number[9];

    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        REQUIRE(pthread_create(&id[i], NULL, thread_main, &number[i]) == 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        CHECK_EQ(pthread_join(id[i], NULL), 0);
    }
    number[8] = cm_plat_thread()->number;
    for (unsigned i = 0; i < 9; i++) {
        CASE("i %u", i);
        CHECK(number[i] != 0);
        for (unsigned j = 0; j < i; j++) {
            CASE("j %u", j);
            CHECK(number[i] != number[j]);
        }
    }
}

/* ---- Mapping ------------------------------------------------------------------------------- */

static void test_map_alignment(void)
{
    static const uint64_t aligns[] = { 1, PAGE, 65536, 2 * MIB, 1024ull * MIB };
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;
    char text[6];

    REQUIRE(plat_create(&f, in_dir("pool"), MIB + 3 * PAGE, false, NULL, NULL) == 0);
    cm_plat_file_close(&f);
    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        for (unsigned n = 0; n < 5; n++) {
            CASE("n %u", n);
            REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
            durability = 0;
            REQUIRE(cm_plat_file_map(&f, aligns[i], &durability) == 0);
            CHECK(durability >= CM_DURABILITY_VOLATILE && durability <= CM_DURABILITY_DAX);
            CHECK_EQ((uintptr_t)f.base % aligns[i], 0);
            CHECK_EQ(f.mapped, MIB + 3 * PAGE);
            memcpy(f.base + MIB + 3 * PAGE - 6, "end!!", 6);
            CHECK_EQ(cm_plat_file_sync(&f, 0, 0), 0);
            CHECK_EQ(cm_plat_file_sync(&f, MIB + 100, 200), 0);
            CHECK_EQ(cm_plat_file_pread(&f, text, 6, MIB + 3 * PAGE - 6), 0);
            CHECK(memcmp(text, "end!!", 6) == 0);
            cm_plat_file_close(&f);
            CHECK(f.base == NULL);
        }
    }
    cm_plat_file_remove(in_dir("pool"));
}

const struct harness_test platform_tests[] = {
    TEST(create_progress_and_cancel),
    TEST(random),
    TEST(clocks),
    TEST(alloc),
    TEST(alloc_small),
    TEST(is_resident),
    TEST(lock_pages),
    TEST(wait_and_wake),
    TEST(wait_until),
    TEST(wait_until_and_wake),
    TEST(thread),
    TEST(map_alignment),
    TEST_END,
};
