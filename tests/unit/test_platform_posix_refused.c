/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix_refused.c - a process that may not make some system calls: they go through a
 * filter (seccomp), as in containers and services.
 */
#include "platform_posix.h"

#include "platform/posix.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct refused {
    const char *name;
    int number;
};

/* From here on the call fails with the error in this process. */
static bool refuse(int number, int error)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog p = { 4, f };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0;
}

/* ---- fallocate() ----------------------------------------------------------------------------- */

static void fallocate_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const int *error = arg;
    char byte = 1;

    if (!refuse(SYS_fallocate, *error))
        child_exit(CHILD_CANNOT);
    CHECK_EQ(cm_plat_file_create(&f, in_dir("new"), 3 * PAGE, true, NULL, NULL), 0);
    CHECK_EQ(cm_plat_file_pread(&f, &byte, 1, 3 * PAGE - 1), 0);
    CHECK_EQ(byte, 0);
    CHECK_EQ(cm_plat_file_link(&f, in_dir("new")), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(in_dir("new")), 0);
}

/* Where fallocate() is refused to the process, the space comes with zeros that are written. */
static void test_fallocate_refused(void)
{
    static int errors[] = { EPERM, ENOSYS };
    for (unsigned i = 0; i < 2; i++) {
        CASE("error %d", errors[i]);
        CHECK_CHILD_OR_SKIP(fallocate_body, &errors[i], "no filter of system calls here");
    }
}

/* A file that may not be written is refused by the write, too. */
static void test_allocate_sealed(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        SKIP("no memfd_create() here");
    CHECK_EQ(ftruncate(fd, (off_t)PAGE), 0);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), 0);
    f.handle = fd;
    f.forks = cm_plat_fork_count();
    CHECK_EQ(cm_posix_allocate(&f, 0, 2 * PAGE, NULL, NULL), CM_EACCES);
    CHECK_EQ(close(fd), 0);
}

/* ---- The log says which one ------------------------------------------------------------------ */

static void keep_text(void *ctx, int level, const char *text)
{
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(ctx, 1000, "%s", text);
}

static void check_named(const struct refused *r, int e, const char *text)
{
    if (r->number == SYS_msync && e == 0)
        return; /* nothing is synced on tmpfs */
    CHECK_EQ(e, CM_EIO);
    CHECK(strstr(text, r->name) != NULL && strstr(text, "filter of system calls") != NULL);
    if (strstr(text, r->name) == NULL)
        printf("# said: %s\n", text);
}

static void refused_body(void *arg)
{
    const struct refused *r = arg;
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_options how = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    char text[1000] = "";

    o.size = MIB;
    o.log = how.log = keep_text;
    o.log_ctx = how.log_ctx = text;
    if (!refuse(r->number, EPERM))
        child_exit(CHILD_CANNOT);
    CALL(check_named(r, cm_create(in_dir("new"), &o), text));
    (void)unlink(in_dir("new"));
    CALL(check_named(r, cm_open(in_dir("pool"), &how, &c), text));
}

static void make_body(void *arg)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;

    (void)arg;
    o.size = MIB;
    CHECK_EQ(cm_create(in_dir("pool"), &o), 0);
}

static void check_refused(struct refused *r)
{
    CHECK_CHILD_OK(make_body, NULL);
    CHECK_CHILD_OR_SKIP(refused_body, r, "no filter of system calls here");
    CHECK_EQ(unlink(in_dir("pool")), 0);
}

/* Where a pool cannot be made or opened because of a filter, the log names the call. This process
 * has no guard yet, which its children would inherit. */
static void test_refused_call_is_named(void)
{
    static struct refused calls[] = { { "getrandom()", SYS_getrandom },
                                      { "madvise()", SYS_madvise },
                                      { "msync()", SYS_msync },
                                      { "sigaction()", SYS_rt_sigaction },
                                      { "fcntl()", SYS_fcntl } };

    for (unsigned i = 0; i < 5 && harness_skip == NULL; i++) {
        CASE("%s", calls[i].name);
        CALL(check_refused(&calls[i]));
    }
    (void)unlink(in_dir("pool"));
}

const struct harness_test platform_posix_refused_tests[] = {
    TEST(fallocate_refused),
    TEST(allocate_sealed),
    TEST(refused_call_is_named),
    TEST_END,
};
