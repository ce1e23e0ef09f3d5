/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_persist_poison.c - the access routines when their memory is gone.
 *
 * "Poison" is simulated by a file that is truncated while it is mapped: the pages behind its end
 * raise SIGBUS exactly like an unreadable page. Windows does not truncate a mapped file; there the
 * pages become inaccessible. With CM_TEST_HWPOISON=1 in the environment, and the needed rights, a
 * page is also really poisoned (a machine check by MADV_HWPOISON). CM_TEST_EMULATED=1 leaves out
 * what a user-mode emulator cannot do: cache maintenance that faults, signals with a code of the
 * kernel, and death by an ignored SIGBUS.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "persist_common.h"

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

/* Maps a file, registers it with the guard if `guarded`, then makes half of it poison. */
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
    /* Already here, if the system allows: some children die without a clean-up. */
    (void)unlink(p->path);
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
    CHECK_EQ(cm_guard_touch(p->bad), CM_EIO);
    CHECK_EQ(cm_guard_touch(p->good), 0);
    CHECK_EQ(cm_guard_load_words(bad, v, 4), CM_EIO);
    CHECK_EQ(cm_guard_load_words(bad - 2, v, 4), CM_EIO); /* its last words are bad */
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
            CASE("s %zu", s);
            const size_t n = sizes[s];

            CHECK_EQ(copy(out, p->bad, n), CM_EIO);
            CHECK(upper_halves_clean());
            CHECK_EQ(copy(out, p->bad + 1 - n, n), CM_EIO); /* only its last byte is bad */
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
    cm_guard_take_fn take;
    const uint64_t h[3] = { CM_GUARD_VALID, 11, 12 };
    const uint64_t *bad = (const uint64_t *)(const void *)p->bad;

    for (size_t i = 0; (take = cm_guard_take_variant(i, NULL)) != NULL; i++) {
        CASE("routine %zu", i);
        memset(out, 0, PAGE);
        CHECK_EQ(take(h, p->bad, out, PAGE, 11, 12), CM_EIO);
        CHECK(upper_halves_clean());
        CHECK_EQ(take(h, p->bad + 1 - PAGE, out, PAGE, 11, 12), CM_EIO); /* its last byte is bad */
        CHECK(upper_halves_clean());
        CHECK_EQ(take(bad, p->good, out, PAGE, 11, 12), CM_EIO);
        CHECK_EQ(take(bad - 2, p->good, out, PAGE, 11, 12), CM_EIO);
        CHECK_EQ(take(h, p->good, out, PAGE, 11, 12), 1);
        CHECK(upper_halves_clean());
        CHECK(all_bytes(out, PAGE, 0x5a));
    }
}

static void check_guarded_find(const struct poison *p)
{
    uint64_t word = 99;

    CHECK_EQ(cm_guard_find((const uint64_t *)(const void *)p->bad, 1, &word), CM_EIO);
    CHECK_EQ(word, 99);
    CHECK_EQ(cm_guard_find((const uint64_t *)(const void *)p->good, 0, &word), 0);
}

static void check_guarded_stores(const struct poison *p)
{
    static uint8_t src[PAGE];
    uint64_t *bad = (uint64_t *)(void *)p->bad;
    const struct cm_persist_ops *ops;

    memset(src, 0x5a, sizeof src);
    for (size_t i = 0; (ops = cm_persist_variant(i)) != NULL; i++) {
        CASE("i %zu", i);
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
        CHECK_EQ(ops->copy(NULL, p->good, p->bad, 64), CM_EIO); /* the source may be bad, too */
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
    CALL(check_guarded_loads(&p));
    check_guarded_copies(&p);
    check_guarded_take(&p);
    check_guarded_find(&p);
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
        CASE("i %zu", i);
        t[i] = (struct poison_thread){ .p = i == 0 ? &p : &q, .stop = &stop };
        REQUIRE(pthread_create(&id[i], NULL, poison_thread_main, &t[i]) == 0);
    }
    /* Meanwhile ranges are registered and removed. */
    for (unsigned i = 0; i < 20000 && at_load_relaxed(&stop) == 0; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_guard_add((const void *)(uintptr_t)(0x1000 + i * 64), 64), 0);
        cm_guard_remove((const void *)(uintptr_t)(0x1000 + i * 64));
    }
    for (size_t i = 0; i < 3; i++) {
        CASE("i %zu", i);
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

#define GUARD_MANY 1000u /* ranges; several chunks of the table */

static const void *guard_made_up(unsigned n)
{
    return (const void *)(uintptr_t)(0x10000 + n * PAGE);
}

/* The table of ranges grows, and a fault in the range that was added last is absorbed. */
static void guard_table_body(void *arg)
{
    struct poison p;
    uint64_t v = 0;

    (void)arg;
    for (unsigned n = 0; n < GUARD_MANY; n++) {
        CASE("range %u", n);
        CHECK_EQ(cm_guard_add(guard_made_up(n), PAGE), 0);
    }
    REQUIRE(poison_make(&p, true) == 0);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)p.bad, &v), CM_EIO);
    cm_guard_remove((const void *)(uintptr_t)0x777); /* unknown: nothing happens */
    for (unsigned n = 0; n < GUARD_MANY; n++) {
        cm_guard_remove(guard_made_up(n));
    }
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)p.bad, &v), CM_EIO);
    poison_free(&p);
}

static void test_guard_table_grows(void)
{
    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
#ifdef _WIN32
    guard_table_body(NULL);
#else
    CHECK_CHILD_OK(guard_table_body, NULL);
#endif
}

#if !defined(_WIN32) && !defined(__SANITIZE_ADDRESS__)
/* Only if the system has no more memory, no range can be added; those that are there stay. */
static void guard_no_memory_body(void *arg)
{
    const struct rlimit none = { 0, 0 };
    unsigned n = 0, removed = 0;

    (void)arg;
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    while (n < 1000000 && cm_guard_add(guard_made_up(n), PAGE) == 0) {
        n++;
    }
    CHECK(n > 64);
    CHECK_EQ(cm_guard_add(guard_made_up(n), PAGE), CM_ENOMEM);
    for (; removed < n && removed < 10; removed++) {
        cm_guard_remove(guard_made_up(removed));
    }
    for (unsigned i = 0; i < removed; i++) { /* free entries are used again */
        CHECK_EQ(cm_guard_add(guard_made_up(i), PAGE), 0);
    }
    CHECK_EQ(cm_guard_add(guard_made_up(n), PAGE), CM_ENOMEM);
}

static void test_guard_table_without_memory(void)
{
    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    if (getenv("CM_TEST_EMULATED")) {
        SKIP("without memory the emulator ends itself");
    }
    CHECK_CHILD_OK(guard_no_memory_body, NULL);
}
#endif

#ifndef _WIN32
/* ---- Faults that are somebody else's ------------------------------------------------------- */

/* These run in children that are forked before this process has a guard of its own, because the
 * earlier handler must be installed first. So they are the first in the table of tests. */

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

/* The address is registered, but the code is not the guard's. */
static void chain_siginfo_body(void *arg)
{
    struct poison p;

    (void)arg;
    CALL(chain_install(SIGBUS, NULL, chain_handler_info, 0));
    REQUIRE(poison_make(&p, true) == 0);
    for (int i = 0; i < 3; i++) {
        CASE("i %d", i);
        chain_signal = 0;
        if (sigsetjmp(chain_back, 1) == 0) {
            touch(p.bad + 100);
            CHECK(0 == "survived"[0]);
        }
        CHECK_EQ(chain_signal, SIGBUS);
        CHECK_EQ(chain_mask_ok, 1);
        CHECK(chain_addr == (uintptr_t)p.bad + 100);
    }
    CALL(check_guarded_loads(&p)); /* and the guard still works */
    poison_free(&p);
}

static void chain_plain_body(void *arg)
{
    const uint8_t *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct poison p;

    (void)arg;
    REQUIRE(nothing != MAP_FAILED);
    CALL(chain_install(SIGBUS, chain_handler_plain, NULL, 0));
    CALL(chain_install(SIGSEGV, chain_handler_plain, NULL, 0));
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

/* The code is the guard's, but the address is not registered. */
static void chain_unregistered_body(void *arg)
{
    struct poison registered, other;
    uint64_t v;

    (void)arg;
    CALL(chain_install(SIGBUS, NULL, chain_handler_info, 0));
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
    CALL(chain_install(SIGBUS, chain_handler_returns, NULL, (int)SA_RESETHAND));
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    CHECK_EQ(raise(SIGBUS), 0);
    CHECK_EQ(chain_signal, SIGBUS);
    (void)raise(SIGBUS); /* the second one is fatal */
}

static void chain_default_body(void *arg)
{
    struct poison p;

    CALL(chain_install(SIGBUS, arg == NULL ? SIG_DFL : SIG_IGN, NULL, 0));
    REQUIRE(poison_make(&p, true) == 0);
    touch(p.bad);
}

static void chain_sent_ignored_body(void *arg)
{
    (void)arg;
    CALL(chain_install(SIGBUS, SIG_IGN, NULL, 0));
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    CHECK_EQ(kill(getpid(), SIGBUS), 0);
    CHECK_EQ(raise(SIGBUS), 0);
    CHECK(cm_plat_guard_stands()); /* the guard goes on */
}

static uint8_t chain_stack[65536];
static bool chain_on_stack;

static void chain_handler_on_stack(int sig)
{
    uint8_t here;
    const uintptr_t at = (uintptr_t)&here, from = (uintptr_t)chain_stack;

    (void)sig;
    chain_on_stack = at >= from && at < from + sizeof chain_stack;
}

/* The handler before runs on the alternate stack that it relies on. */
static void chain_stack_body(void *arg)
{
    const stack_t stack = { .ss_sp = chain_stack, .ss_size = sizeof chain_stack };

    (void)arg;
    CHECK_EQ(sigaltstack(&stack, NULL), 0);
    CALL(chain_install(SIGSEGV, chain_handler_on_stack, NULL, SA_ONSTACK));
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    CHECK_EQ(raise(SIGSEGV), 0);
    CHECK(chain_on_stack);
}

static void chain_sent_default_body(void *arg)
{
    (void)arg;
    CALL(chain_install(SIGSEGV, SIG_DFL, NULL, 0));
    REQUIRE(cm_guard_add(&chain_back, sizeof chain_back) == 0);
    (void)kill(getpid(), SIGSEGV);
    (void)sleep(5);
}

/* A machine check that no thread has hit yet: the kernel only reports it. A process may send itself
 * any signal with any code. A test can do no more. */
static void chain_action_optional_body(void *arg)
{
    static uint8_t mine[64], others[64];
    siginfo_t info;

    (void)arg;
    CALL(chain_install(SIGBUS, NULL, chain_handler_info, 0));
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
    CHECK_CHILD_OK(chain_stack_body, NULL);
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
    CALL(chain_install(SIGBUS, chain_handler_returns, NULL,
                       0)); /* madvise itself may raise it too */
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

const struct harness_test persist_poison_tests[] = {
#ifndef _WIN32
    TEST(other_faults_reach_their_handler), /* these two must be first: see their comment */
    TEST(other_faults_are_fatal_without_one),
#endif
    TEST(poison_is_an_error),
    TEST(poison_in_two_threads),
    TEST(readonly_memory_is_an_error),
    TEST(guard_table_grows),
#if !defined(_WIN32) && !defined(__SANITIZE_ADDRESS__)
    TEST(guard_table_without_memory),
#endif
#ifndef _WIN32
    TEST(real_poison_is_an_error),
#endif
    TEST_END,
};
