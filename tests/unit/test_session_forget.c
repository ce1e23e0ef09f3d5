/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_session_forget.c - the service without its transports: a client has all files forgotten.
 */
#include "session_fixture.h"

/* Any file may have changed: open by somebody, or known from before. */
static void test_forget_all(void)
{
    service_up();
    struct client a = client(), b = client();
    const uint32_t file = open_file(&a, 1, 7), other = open_file(&b, 2, 7);
    store(&a, file, 3, 'x');
    store(&b, other, 3, 'y');
    uint32_t closed = open_file(&a, 3, 7);
    store(&a, closed, 3, 'z');
    CHECK_EQ(ask(&a, CMP_CLOSE, closed, NULL, 0, NULL, 0), 0);
    CHECK_EQ(read_block(&b, other, 5), 0);
    const uint64_t ticket = miss().ticket, token = begin_block(&a, file, 9);
    CHECK_EQ(ask(&a, CMP_FORGET_ALL, 0, NULL, 0, NULL, 0), 3);
    CHECK_EQ(block_is(&a, file, 3), 0);
    CHECK_EQ(block_is(&b, other, 3), 0);
    CHECK_EQ(fill(&b, other, ticket, 'Y'), 0); /* it was read before */
    CHECK_EQ(block_is(&b, other, 5), 0);
    closed = open_file(&a, 3, 7);
    CHECK_EQ(block_is(&a, closed, 3), 0);
    CHECK(end_token(&a, file, CMP_WRITE_END, token, 0) >= 0);
    store(&b, other, 3, 'Z');
    store(&a, file, 9, 'X');
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

static unsigned looked_through; /* how often the list of files was asked for */
static struct client *forgets;  /* while a fill is on its way */

int __real_cm_files_begin(cm_cache *cache, uint32_t flags, cm_file_iter **it);
int __wrap_cm_files_begin(cm_cache *cache, uint32_t flags, cm_file_iter **it);
int __wrap_cm_files_begin(cm_cache *cache, uint32_t flags, cm_file_iter **it)
{
    looked_through++;
    return __real_cm_files_begin(cache, flags, it);
}

static unsigned busy, listed;           /* results of the steps: not all is read yet, a file */
static unsigned ends_busy, ends_listed; /* the service ends after so many of them; 0: it does not */

int __real_cm_files_next(cm_file_iter *it, cm_validator *v, cm_file_info *info);
int __wrap_cm_files_next(cm_file_iter *it, cm_validator *v, cm_file_info *info);
int __wrap_cm_files_next(cm_file_iter *it, cm_validator *v, cm_file_info *info)
{
    const int e = __real_cm_files_next(it, v, info);
    busy += e == CM_EBUSY;
    listed += e == 0;
    if ((e == CM_EBUSY && busy == ends_busy) || (e == 0 && listed == ends_listed))
        atomic_store(&service.ends, true);
    return e;
}

static int64_t forget_all(struct client *k)
{
    return ask(k, CMP_FORGET_ALL, 0, NULL, 0, NULL, 0);
}

int __real_cm_fill(cm_file *f, const cm_miss *miss, const void *buf, size_t len, uint32_t flags);
int __wrap_cm_fill(cm_file *f, const cm_miss *miss, const void *buf, size_t len, uint32_t flags);
int __wrap_cm_fill(cm_file *f, const cm_miss *miss, const void *buf, size_t len, uint32_t flags)
{
    struct client *const k = forgets;
    forgets = NULL;
    const int e = __real_cm_fill(f, miss, buf, len, flags);
    if (k)
        CHECK(forget_all(k) >= 0);
    return e;
}

/* A driver asks twice for each raw write to a volume. The files are looked through only if
 * something may have come since the last time, from whatever client; a ticket is enough. */
static void test_forget_all_again(void)
{
    const struct cmp_forget one = { .id_lo = 1 };
    const struct cmp_look_up one_id = { .id_lo = 1 };
    const struct cmp_range some = { .offset = BLK, .len = BLK };
    service_up();
    struct client a = client(), b = client();
    const uint32_t file = open_file(&a, 1, 7);
    store(&a, file, 3, 'x');
    looked_through = 0;
    CHECK_EQ(forget_all(&a), 1);
    CHECK_EQ(looked_through, 1);
    CHECK(forget_all(&a) == 0 && ASK(&b, CMP_FORGET, 0, one) == 0 && forget_all(&b) == 0);
    CHECK_EQ(looked_through, 1);
    struct client late = client(); /* its hello, and what others look at or forget */
    CHECK(ask(&b, CMP_FILES, 0, NULL, 0, NULL, 0) == 0 && ASK(&b, CMP_LOOK_UP, 0, one_id) <= 0);
    CHECK(count_of(&a, file, 0, 9).cached == 0 && ASK(&a, CMP_INVALIDATE, file, some) >= 0);
    CHECK_EQ(forget_all(&late), 0);
    CHECK_EQ(looked_through, 1);
    session_end(late.s, true);
    CHECK_EQ(read_block(&a, file, 5), 0);
    const uint64_t ticket = miss().ticket;
    CHECK(forget_all(&b) >= 0);
    CHECK_EQ(looked_through, 2);
    CHECK_EQ(fill(&a, file, ticket, 'X'), 0);
    CHECK_EQ(block_is(&a, file, 5), 0);
    store(&a, file, 3, 'y');
    CHECK_EQ(forget_all(&b), 1);
    CHECK_EQ(looked_through, 3);
    CHECK_EQ(block_is(&a, file, 3), 0);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* A fill that is on its way meanwhile may have stored before that or not. */
static void test_forget_all_beside(void)
{
    service_up();
    struct client a = client(), b = client();
    const uint32_t file = open_file(&a, 1, 7);
    CHECK_EQ(read_block(&a, file, 3), 0);
    looked_through = 0;
    forgets = &b;
    CHECK_EQ(fill(&a, file, miss().ticket, 'x'), 0);
    CHECK(looked_through == 1 && !forgets);
    CHECK(forget_all(&b) >= 0);
    CHECK_EQ(looked_through, 2);
    CHECK(forget_all(&b) >= 0);
    CHECK_EQ(looked_through, 2);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* The service ends meanwhile. In a large pool there is much to read; what is left is forgotten when
 * a client asks again. */
static void test_forget_all_ends(void)
{
    memset(&outside, 0, sizeof(outside));
    pool_make(&p, 64 * MIB, 12288);
    REQUIRE(pool_up(&p) == 0);
    service_begin(&service, p.c, &outside, 5);
    struct client a = client();
    const uint32_t file = open_file(&a, 1, 7), other = open_file(&a, 2, 7);
    store(&a, file, 3, 'x');
    store(&a, other, 3, 'y');
    busy = listed = 0;
    ends_busy = 2;
    CHECK_EQ(forget_all(&a), CM_ECANCELED);
    CHECK(busy == 2 && listed == 0);
    CHECK_EQ(block_is(&a, file, 3), 'x');
    CHECK_EQ(block_is(&a, other, 3), 'y');
    atomic_store(&service.ends, false);
    busy = 0;
    ends_busy = 0;
    ends_listed = 1;
    CHECK_EQ(forget_all(&a), CM_ECANCELED);
    CHECK(busy > 2 && listed == 1);
    CHECK_EQ((block_is(&a, file, 3) == 0) + (block_is(&a, other, 3) == 0), 1);
    atomic_store(&service.ends, false);
    ends_listed = 0;
    CHECK_EQ(forget_all(&a), 2);
    CHECK_EQ(block_is(&a, file, 3), 0);
    CHECK_EQ(block_is(&a, other, 3), 0);
    session_end(a.s, true);
    service_down();
}

static const struct harness_test tests[] = {
    TEST(forget_all),
    TEST(forget_all_again),
    TEST(forget_all_beside),
    TEST(forget_all_ends),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
