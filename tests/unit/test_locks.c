/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_locks.c - the locks and conditions of the service and its clients. Of the locks: that nobody
 * waits for ever while others get the lock again and again.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../../examples/service/os.h"

#define MS UINT64_C(1000000)
#define THREADS 8u

static os_mutex lock;
static os_cond cond;

/* ---- Turns ----------------------------------------------------------------------------------- */

/* Time is counted in turns of the others: a machine that has other work makes all turns longer. */
#define TURNS 3000u /* of each thread */
/* Of the others while one waits. */
#ifdef _WIN32
#define TURNS_MAX 4000u
#else
#define TURNS_MAX (THREADS * TURNS) /* the system's own lock promises nothing */
#endif
#define HELD_NS UINT64_C(100000)

static struct {
    _Atomic unsigned seen; /* turns, for all */
    _Atomic bool inside;   /* somebody holds it */
    /* Under the lock. */
    unsigned turns, both; /* both: holders beside another one */
    unsigned waited;      /* the most turns of others that one has waited for */
} t;

static void take_turns(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < TURNS; i++) {
        const unsigned before = atomic_load(&t.seen);
        unsigned waited;
        uint64_t until;

        os_lock(&lock);
        t.both += atomic_exchange(&t.inside, true);
        waited = t.turns++ - before;
        atomic_store(&t.seen, t.turns);
        t.waited = waited > t.waited ? waited : t.waited;
        for (until = os_now_ns() + HELD_NS; os_now_ns() < until;)
            ;
        atomic_store(&t.inside, false);
        os_unlock(&lock);
    }
}

static void test_turns(void)
{
    struct os_thread thread[THREADS];

    memset(&t, 0, sizeof(t));
    os_mutex_begin(&lock);
    for (unsigned i = 0; i < THREADS; i++)
        REQUIRE(os_thread_begin(&thread[i], take_turns, NULL));
    for (unsigned i = 0; i < THREADS; i++)
        os_thread_join(&thread[i]);
    CHECK_EQ(t.turns, TURNS * THREADS);
    CHECK_EQ(t.both, 0);
    printf("# waited for %u turns of others\n", t.waited);
    CHECK(t.waited < TURNS_MAX);
    os_mutex_end(&lock);
}

/* ---- A condition ----------------------------------------------------------------------------- */

#define STEPS 2000u

static unsigned step;

/* Each thread makes the steps that are its own. */
static void make_steps(void *arg)
{
    const unsigned mine = *(unsigned *)arg;

    os_lock(&lock);
    while (step < STEPS) {
        if (step % THREADS == mine) {
            step++;
            os_cond_wake_all(&cond);
        } else {
            os_cond_wait(&cond, &lock);
        }
    }
    os_unlock(&lock);
}

static void test_condition(void)
{
    struct os_thread thread[THREADS];
    unsigned number[THREADS];

    step = 0;
    os_mutex_begin(&lock);
    os_cond_begin(&cond);
    for (unsigned i = 0; i < THREADS; i++) {
        number[i] = i;
        REQUIRE(os_thread_begin(&thread[i], make_steps, &number[i]));
    }
    for (unsigned i = 0; i < THREADS; i++)
        os_thread_join(&thread[i]);
    CHECK_EQ(step, STEPS);
    os_cond_end(&cond);
    os_mutex_end(&lock);
}

/* Nobody wakes it. It has the lock all the same. */
static void test_condition_limit(void)
{
    const uint64_t start = os_now_ns(), until = start + 50 * MS;

    os_mutex_begin(&lock);
    os_cond_begin(&cond);
    os_lock(&lock);
    for (uint64_t now = start; now < until; now = os_now_ns())
        if (!os_cond_wait_within(&cond, &lock, until - now))
            break;
    CHECK(os_now_ns() - start >= 45 * MS);
    CHECK(!os_try_lock(&lock));
    os_unlock(&lock);
    os_cond_end(&cond);
    os_mutex_end(&lock);
}

/* ---- The last one frees it ------------------------------------------------------------------- */

#define ROUNDS 2000u

struct shared {
    os_mutex lock;
    unsigned users;
};

static void use_once(void *arg)
{
    struct shared *s = arg;
    unsigned left;

    os_lock(&s->lock);
    left = --s->users;
    os_unlock(&s->lock);
    if (left > 0)
        return;
    os_mutex_end(&s->lock);
    memset(s, 0xff, sizeof(*s));
    free(s);
}

/* Whoever unlocks does not look at the lock afterwards. */
static void test_freed(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct shared *s = calloc(1, sizeof(*s));
        struct os_thread thread[2];

        REQUIRE(s);
        os_mutex_begin(&s->lock);
        s->users = 3;
        for (unsigned k = 0; k < 2; k++)
            REQUIRE(os_thread_begin(&thread[k], use_once, s));
        use_once(s);
        for (unsigned k = 0; k < 2; k++)
            os_thread_join(&thread[k]);
    }
}

static const struct harness_test tests[] = { TEST(turns), TEST(condition), TEST(condition_limit),
                                             TEST(freed) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
