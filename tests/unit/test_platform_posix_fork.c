/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix_fork.c - forks beside locks that are not the library's: those of the program,
 * and those of an allocator. Both may have handlers of pthread_atfork() that take them.
 */
#include "platform_posix.h"

#include "platform/posix.h"

#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

/* ---- A lock of the program ------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;         /* held over calls of the library, and by a fork */
    uint32_t armed, held, wanted; /* atomic */
} program = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void program_before_fork(void)
{
    if (at_load_acquire(&program.armed)) {
        at_store_release(&program.wanted, 1u); /* release: the fork has begun */
        (void)pthread_mutex_lock(&program.lock);
    }
}

static void program_after_fork(void)
{
    if (at_load_acquire(&program.armed))
        (void)pthread_mutex_unlock(&program.lock);
}

/* As early as a program does that: before its first call of the library. */
__attribute__((constructor)) static void program_begins(void)
{
    (void)pthread_atfork(program_before_fork, program_after_fork, program_after_fork);
}

/* Every call that waits for a fork. */
static void use_library(uint32_t minor_no)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct statfs fs = { .f_type = 0x6969 /* NFS */ };
    uint64_t word;

    memcpy(&fs.f_fsid, &(uint64_t){ minor_no }, sizeof fs.f_fsid);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("a"), true), 0);
    CHECK_EQ(cm_posix_volume_word(file_fd(&f), makedev(0, minor_no), &fs, &word), 0);
    cm_plat_file_close(&f);
}

static void *use_locked(void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&program.lock);
    at_store_release(&program.held, 1u); /* release: the lock is taken */
    while (!at_load_acquire(&program.wanted))
        sleep_ms(1);
    use_library(9998);
    (void)pthread_mutex_unlock(&program.lock);
    return NULL;
}

static void fork_beside_program(void *arg)
{
    pthread_t id;
    int status = -1;

    (void)arg;
    use_library(9997);
    (void)alarm(20); /* the end of a deadlock */
    CHECK_EQ(pthread_create(&id, NULL, use_locked, NULL), 0);
    while (!at_load_acquire(&program.held))
        sleep_ms(1);
    at_store_release(&program.armed, 1u);
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    CHECK_EQ(pthread_join(id, NULL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

/* The program's handler waits for a lock that is held over calls of the library. So the handlers of
 * the library run after it. */
static void test_fork_beside_program(void)
{
#ifdef CM_TSAN
    SKIP("a fork beside threads: not under this sanitizer");
#endif
    make_file(in_dir("a"), "one");
    CHECK_CHILD_OK(fork_beside_program, NULL);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* ---- Locks of an allocator ------------------------------------------------------------------- */

static struct {
    bool armed;
    unsigned forks;
} allocator;

/* An allocator holds its locks here, and another thread forks. If the library held a lock that a
 * fork takes, each would wait for the other. This thread forks itself: that shows it, too. */
static void allocator_called(void)
{
    if (!allocator.armed)
        return;
    allocator.armed = false;
    allocator.forks++;
    int status = -1;
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    allocator.armed = true;
}

#define ALLOCATES(ret, name, params, args)                                                         \
    ret __real_##name params;                                                                      \
    ret __wrap_##name params;                                                                      \
    ret __wrap_##name params                                                                       \
    {                                                                                              \
        allocator_called();                                                                        \
        return __real_##name args;                                                                 \
    }
ALLOCATES(void *, malloc, (size_t n), (n))
ALLOCATES(void *, calloc, (size_t n, size_t size), (n, size))
ALLOCATES(void *, realloc, (void *p, size_t n), (p, n))
ALLOCATES(void *, aligned_alloc, (size_t align, size_t n), (align, n))
ALLOCATES(void, free, (void *p), (p))
ALLOCATES(char *, strdup, (const char *s), (s))
ALLOCATES(char *, strndup, (const char *s, size_t n), (s, n))

static void allocate_and_fork(void *arg)
{
    struct cm_plat_file f[70], made = PLAT_FILE_INIT;
    struct statfs fs = { .f_type = 0x6969 };
    enum cm_durability durability;
    char why[PLAT_WHY];
    uint64_t word;

    (void)arg;
    (void)alarm(20); /* the end of a deadlock */
    allocator.armed = true;
    CHECK_EQ(cm_plat_file_create(&made, in_dir("new"), PAGE, true, NULL, NULL), 0);
    CHECK_EQ(cm_plat_file_link(&made, in_dir("new")), 0);
    CHECK(allocator.forks > 0);
    CHECK_EQ(cm_plat_file_map(&made, PAGE, &durability), 0);
    cm_plat_file_close(&made);
    for (unsigned i = 0; i < 70; i++) { /* more than a list begins with */
        f[i] = (struct cm_plat_file)PLAT_FILE_INIT;
        CHECK_EQ(i % 2 ? cm_plat_file_open(&f[i], in_dir("a"), true)
                       : cm_plat_file_open_trusted(&f[i], in_dir("a"), true, why),
                 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        memcpy(&fs.f_fsid, &(uint64_t){ i + 1 }, sizeof fs.f_fsid);
        CHECK_EQ(cm_posix_volume_word(file_fd(&f[0]), makedev(0, 8000 + i), &fs, &word), 0);
    }
    for (unsigned i = 0; i < 70; i++)
        cm_plat_file_close(&f[i]);
    allocator.armed = false;
    CHECK_EQ(unlink(in_dir("new")), 0);
}

/* Nothing is allocated, nor freed, under a lock that a fork takes. */
static void test_fork_in_allocator(void)
{
#ifdef CM_TSAN
    SKIP("forks in the allocator: not under this sanitizer");
#endif
    make_file(in_dir("a"), "one");
    CHECK_CHILD_OK(allocate_and_fork, NULL);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

const struct harness_test platform_posix_fork_tests[] = {
    TEST(fork_beside_program),
    TEST(fork_in_allocator),
    TEST_END,
};
