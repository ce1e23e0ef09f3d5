/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix_identity.c - which file it is, and which version of it, on Linux; also if the
 * file system or the clock is wrong.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform_posix.h"

#include "platform/posix.h"
#include "platform/posix_calls.h"

#include <errno.h>
#include <grp.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

/* ---- Another file system --------------------------------------------------------------------- */

static uint32_t says_type; /* the type that fstatfs() returns */
static int no_handles;     /* errno of name_to_handle_at() */
static int no_generation;  /* errno of FS_IOC_GETVERSION */
int no_uuid;
#define FSTATFS(name, kind)                                                                        \
    int __real_##name(int fd, struct kind *fs);                                                    \
    int __wrap_##name(int fd, struct kind *fs);                                                    \
    int __wrap_##name(int fd, struct kind *fs)                                                     \
    {                                                                                              \
        const int rc = __real_##name(fd, fs);                                                      \
        if (rc == 0 && says_type != 0)                                                             \
            fs->f_type = (__typeof__(fs->f_type))says_type;                                        \
        return rc;                                                                                 \
    }
FSTATFS(fstatfs, statfs)
#ifdef __USE_LARGEFILE64
FSTATFS(fstatfs64, statfs64)
#endif

int __real_name_to_handle_at(int at, const char *name, struct file_handle *h, int *mount, int how);
int __wrap_name_to_handle_at(int at, const char *name, struct file_handle *h, int *mount, int how);
int __wrap_name_to_handle_at(int at, const char *name, struct file_handle *h, int *mount, int how)
{
    if (no_handles) {
        errno = no_handles;
        return -1;
    }
    return __real_name_to_handle_at(at, name, h, mount, how);
}

static const char *kernel_is; /* the release that uname() returns; NULL: the system's */
int __real_uname(struct utsname *u);
int __wrap_uname(struct utsname *u);
int __wrap_uname(struct utsname *u)
{
    const int rc = __real_uname(u);
    if (kernel_is)
        (void)snprintf(u->release, sizeof u->release, "%s", kernel_is);
    return rc;
}

int __real_ioctl(int fd, posix_request what, void *arg);
int __wrap_ioctl(int fd, posix_request what, void *arg);
int __wrap_ioctl(int fd, posix_request what, void *arg)
{
    if (no_generation && what == (posix_request)FS_IOC_GETVERSION) {
        errno = no_generation;
        return -1;
    }
    if (no_uuid && _IOC_TYPE((unsigned)what) == 0x15 && _IOC_NR((unsigned)what) == 0) {
        errno = no_uuid;
        return -1;
    }
    return __real_ioctl(fd, what, arg);
}

/* On some file systems numbers and times do not tell files apart after a restart. On those of
 * images they do if the caller says which image it is. */
static void test_identify_volume(void)
{
    static const struct {
        uint32_t type;
        bool racy, racy_named;
    } of[] = { { 0, false, false },         { 0x4d44, true, true },
               { 0x2011bab0, true, true },  { 0x73717368, true, false },
               { 0x9660, true, false },     { 0x15013346, true, false },
               { 0xe0f5e1e2, true, false }, { 0x28cd3d45, true, false },
               { 0x7275, true, false },     { 0x58465342, false, false },
               { 0xef53, false, false } };
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;

    make_file(in_dir("a"), "one");
    const int fd = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        CASE("i %zu", i);
        says_type = of[i].type;
        o.volume_id = NULL;
        o.flags = CM_IDENTIFY_SOLE_WRITER; /* the sole writer knows no more about that */
        CHECK_EQ(cm_identify_with(fd, &o, &id, &v), 0);
        CHECK_EQ((v.racy & CM_RACY_VOLUME) != 0, of[i].racy);
        o.volume_id = "the image of Monday";
        CHECK_EQ(cm_identify_with(fd, &o, &id, &v), 0);
        CHECK_EQ((v.racy & CM_RACY_VOLUME) != 0, of[i].racy_named);
    }
    says_type = 0;
    CHECK_EQ(close(fd) + unlink(in_dir("a")), 0);
}

/* A file has one id or an error, but never two ids, however it was opened and whatever fails. */
static void test_identify_one_id(void)
{
    static const int unknown[] = { ENOTTY, EOPNOTSUPP, ENOSYS, EINVAL };
    static const int broken[] = { EIO, ENOMEM, EINTR, EBADF, EPERM, EACCES };
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id, same;
    cm_validator v = CM_VALIDATOR_INIT;

    make_file(in_dir("a"), "one");
    int fd = open(in_dir("a"), O_PATH | O_CLOEXEC);
    CHECK_EQ(cm_identify(fd, &id, &v), CM_EINVAL);
    CHECK_EQ(close(fd), 0);
    fd = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CASE("i %zu", i);
        no_generation = unknown[i];
        CHECK_EQ(cm_identify(fd, i == 0 ? &id : &same, &v), 0);
        CHECK(i == 0 || same_id(id, same));
    }
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        CASE("i %zu", i);
        no_generation = broken[i];
        CHECK_EQ(cm_identify(fd, &id, &v), CM_EIO);
    }
    no_generation = 0;
    /* On FUSE two files may have one inode number. */
    says_type = 0x65735546;
    no_handles = ENOSYS;
    CHECK_EQ(cm_identify(fd, &id, &v), CM_ECLONE);
    o.volume_id = "numbers of one device";
    CHECK_EQ(cm_identify_with(fd, &o, &id, &v), 0);
    no_generation = EPERM; /* the server's answer */
    CHECK_EQ(cm_identify_with(fd, &o, &same, &v), 0);
    no_handles = no_generation = 0;
    /* File systems that make up a file when it is read. For some, size 0 is all that the attributes
     * show. */
    static const uint32_t made_up[] = { 0x42494e4d, 0x65735543, 0x7655821, 0x6e667364, 0x67596969 };
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) {
        CASE("i %zu", i);
        says_type = made_up[i];
        CHECK_EQ(cm_identify(fd, &id, &v), CM_ENOTFILE);
    }
    says_type = 0;
    CHECK_EQ(close(fd) + unlink(in_dir("a")), 0);
}

/* ---- A clock that was set -------------------------------------------------------------------- */

static time_t clock_set_by;
static struct timespec tick_at; /* 0: the system's clock */
static bool tick_goes_on;       /* after the first look at it */
static unsigned ticks_read;
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    const int rc = __real_clock_gettime(clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec += clock_set_by;
    if (clock == CLOCK_REALTIME_COARSE && tick_at.tv_sec != 0) {
        *t = tick_at;
        if (ticks_read++ > 0 && tick_goes_on)
            t->tv_sec++;
    }
    return rc;
}

/* The wall clock is set after the boot, or stood still with a virtual machine. A file that changed
 * in this boot must not look older than the boot. */
static void test_clock_set_forward(void)
{
    struct stat proc;
    if (stat("/proc/self", &proc) != 0 || stat("/proc", &proc) != 0)
        SKIP("no /proc here");
    const int64_t before = cm_plat_boot_wall_ns();
    clock_set_by = 86400; /* in a container /proc may be younger than the boot, but no more */
    CHECK(cm_plat_boot_wall_ns() <= (int64_t)proc.st_ctim.tv_sec * 1000000000 + 999999999);
    clock_set_by = -86400;
    CHECK(cm_plat_boot_wall_ns() <= before);
    CHECK(cm_plat_boot_wall_ns() <= cm_plat_wall_ns());
    clock_set_by = 0;
}

/* What /proc says of the clocks takes four system calls. It is read again only if a clock shows
 * another boot, as in another time namespace, or if it could not be read. */
static void test_boot_read_again(void)
{
    const char *const own = in_dir("own clock");
    FILE *const f = fopen(own, "w");
    struct stat proc;
    if (stat("/proc/self", &proc) != 0)
        SKIP("no /proc here");
    REQUIRE(f && fputs("monotonic 0 0\nboottime 1000 0\n", f) >= 0 && fclose(f) == 0);
    clock_set_by = 10000;
    timens_is = "/nowhere"; /* an old kernel */
    const int64_t boot = cm_plat_boot_wall_ns();
    CHECK(boot != INT64_MIN);
    timens_opened = 0;
    timens_is = own;
    for (unsigned i = 0; i < 5; i++)
        CHECK(cm_plat_boot_wall_ns() != INT64_MIN);
    CHECK_EQ(timens_opened, 0);
    clock_set_by += 1000;
    CHECK(cm_plat_boot_wall_ns() == INT64_MIN);
    CHECK(cm_plat_boot_wall_ns() == INT64_MIN);
    CHECK_EQ(timens_opened, 1);
    clock_set_by -= 1000;
    timens_is = "/"; /* cannot be read: nobody knows, until it can be */
    CHECK(cm_plat_boot_wall_ns() == INT64_MIN);
    CHECK(cm_plat_boot_wall_ns() == INT64_MIN);
    CHECK_EQ(timens_opened, 3);
    timens_is = "/nowhere";
    CHECK(cm_plat_boot_wall_ns() != INT64_MIN);
    CHECK_EQ(timens_opened, 4);
    clock_set_by = 0;
    timens_is = NULL;
    CHECK_EQ(unlink(own), 0);
}

/* ---- Identity ------------------------------------------------------------------------------ */

static void test_boot_id(void)
{
    uint8_t a[16], b[16];
    char text[64] = "", hex[64] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

    cm_plat_boot_id(a);
    cm_plat_boot_id(b);
    CHECK(memcmp(a, b, 16) == 0);
    if (f == NULL || fgets(text, sizeof text, f) == NULL) {
        CHECK(all_zero(a, 16));
        SKIP("no boot id in this system");
    }
    (void)fclose(f);
    for (unsigned i = 0; i < 16; i++) {
        const size_t n = strlen(hex);

        (void)snprintf(hex + n, sizeof hex - n, "%s%02x",
                       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", a[i]);
    }
    CHECK(strncmp(text, hex, 36) == 0);
}

static int identify(const char *path, cm_file_id *id, cm_validator *v)
{
    const int fd = open(path, O_RDONLY);
    int rc;

    CHECK(fd >= 0);
    rc = cm_identify(fd, id, v);
    CHECK_EQ(close(fd), 0);
    return rc;
}

static void test_identify_same_and_different(void)
{
    cm_file_id a, b, c;
    cm_validator va = CM_VALIDATOR_INIT, vb = CM_VALIDATOR_INIT, vc = CM_VALIDATOR_INIT;
    const uint64_t before = cm_plat_now_ns();

    make_file(in_dir("a"), "one");
    make_file(in_dir("c"), "one");
    CHECK_EQ(identify(in_dir("a"), &a, &va), 0);
    CHECK(va.taken_at >= before && va.taken_at <= cm_plat_now_ns());
    CHECK_EQ(va.size, 3);
    CHECK_EQ(va.struct_size, sizeof(va));
    CHECK(a.hi != 0 || a.lo != 0);
    CHECK_EQ(identify(in_dir("a"), &b, &vb), 0);
    CHECK(same_id(a, b) && same_version(&va, &vb));
    CHECK_EQ(link(in_dir("a"), in_dir("b")), 0);
    CHECK_EQ(identify(in_dir("b"), &b, &vb), 0);
    CHECK(same_id(a, b));
    CHECK_EQ(rename(in_dir("a"), in_dir("d")), 0);
    CHECK_EQ(identify(in_dir("d"), &b, &vb), 0);
    CHECK(same_id(a, b));
    CHECK_EQ(identify(in_dir("c"), &c, &vc), 0);
    CHECK(!same_id(a, c));

    CHECK_EQ(identify(in_dir("d"), &a, &va), 0);
    sleep_ms(30);
    make_file(in_dir("d"), "two"); /* same size */
    CHECK_EQ(identify(in_dir("b"), &b, &vb), 0);
    CHECK(same_id(a, b) && !same_version(&va, &vb));
    CHECK_EQ(unlink(in_dir("b")), 0);
    CHECK_EQ(unlink(in_dir("c")), 0);
    CHECK_EQ(unlink(in_dir("d")), 0);
}

static void test_identify_refused(void)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int pipe_fd[2];
    const int null_fd = open("/dev/null", O_RDONLY), dir_fd = open(dir, O_RDONLY);

    REQUIRE(null_fd >= 0 && dir_fd >= 0 && pipe(pipe_fd) == 0);
    CHECK_EQ(cm_identify(-1, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(9999, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(null_fd, &id, &v), CM_ENOTFILE);
    CHECK_EQ(cm_identify(dir_fd, &id, &v), CM_ENOTFILE);
    CHECK_EQ(cm_identify(pipe_fd[0], &id, &v), CM_ENOTFILE);
    CHECK_EQ(cm_identify(null_fd, NULL, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(null_fd, &id, NULL), CM_EINVAL);
    CHECK_EQ(close(null_fd) + close(dir_fd) + close(pipe_fd[0]) + close(pipe_fd[1]), 0);
}

static void test_identify_racy(void)
{
    kernel_is = "6.12.99"; /* before multigrain timestamps */
    struct timespec times[2];
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    unsigned waited = 0;

    /* Identify within the granule. A busy machine may not manage that at once. */
    for (int i = 0; i < 1000; i++) {
        CASE("i %d", i);
        const uint64_t began = cm_now();
        make_file(in_dir("a"), "one");
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        if (v.racy != 0 || cm_now() - began < 3000000)
            break;
    }
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1);
    do { /* whole-second volumes take two seconds, others 20 ms */
        sleep_ms(25);
        waited += 25;
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    } while (v.racy != 0 && waited < 5000);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    memset(times, 0, sizeof times);
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    times[1].tv_sec += 3600;
    times[1].tv_nsec = 5; /* now the volume does not look like one of whole seconds, or 5 is lost */
    times[0] = times[1];
    CHECK_EQ(utimensat(AT_FDCWD, in_dir("a"), times, 0), 0);
    sleep_ms(50); /* ctime is old again, mtime is in the future */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1);
    times[1].tv_sec = 15000000000; /* beyond 64 bits of nanoseconds, if the volume can keep it */
    (void)utimensat(AT_FDCWD, in_dir("a"), times, 0);
    sleep_ms(50);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1);
    times[1].tv_sec = -1000000; /* before 1970 */
    for (int i = 0; i < 1000; i++) {
        CASE("i %d", i);
        const uint64_t began = cm_now();
        (void)utimensat(AT_FDCWD, in_dir("a"), times, 0);
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        if (v.racy != 0 || cm_now() - began < 3000000)
            break;
    }
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1); /* because of its ctime alone */
    sleep_ms(2200);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    CHECK_EQ(unlink(in_dir("a")), 0);
    kernel_is = NULL;
}

/* ---- Multigrain timestamps ------------------------------------------------------------------- */

/* Is a validator racy right after a change? */
static bool fresh_is_racy(uint32_t type, const char *kernel)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    bool fresh = false;

    says_type = type;
    kernel_is = kernel;
    for (int i = 0; i < 1000 && !fresh; i++) { /* a busy machine may not be fast enough at once */
        const uint64_t began = cm_now();
        make_file(in_dir("a"), "one");
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        fresh = cm_now() - began < 18000000;
    }
    CHECK(fresh);
    says_type = 0;
    kernel_is = NULL;
    return (v.racy & CM_RACY_TIMES) != 0;
}

static void test_identify_multigrain(void)
{
    static const uint32_t has[] = { 0xef53, 0x58465342, 0x9123683e, 0x01021994 };
    static const uint32_t has_not[] = { 0xf2f52010 /* f2fs */, 0x3153464a /* jfs */ };
    struct stat st;

    make_file(in_dir("a"), "one");
    CHECK_EQ(stat(in_dir("a"), &st), 0);
    for (size_t i = 0; i < sizeof has / sizeof has[0]; i++) {
        CASE("i %zu", i);
        CHECK_EQ(fresh_is_racy(has[i], "6.13.0-1-amd64"), st.st_ctim.tv_nsec == 0);
        CHECK_EQ(fresh_is_racy(has[i], "7.0"), st.st_ctim.tv_nsec == 0);
        CHECK(fresh_is_racy(has[i], "6.12.90"));
        CHECK(fresh_is_racy(has[i], "5.99-6.13"));
        CHECK(fresh_is_racy(has[i], "unknown"));
    }
    for (size_t i = 0; i < sizeof has_not / sizeof has_not[0]; i++) {
        CASE("i %zu", i);
        CHECK(fresh_is_racy(has_not[i], "6.18.0"));
    }
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* A kernel that dropped the inode from its memory does not know that somebody looked. So the
 * present tick must be over. Nobody waits for that who would learn nothing by it. */
static void test_identify_multigrain_tick(void)
{
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    struct timespec past[2] = { { .tv_sec = 1000000000, .tv_nsec = 5 } };
    struct stat st;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int fd, writer;

    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    past[1] = past[0];
    says_type = 0xef53;
    kernel_is = "6.13.0";
    make_file(in_dir("a"), "one");
    CHECK_EQ(utimensat(AT_FDCWD, in_dir("a"), past, 0), 0); /* only ctime is of today */
    sleep_ms(30);
    fd = open(in_dir("a"), O_RDONLY);
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    tick_at = st.st_ctim;
    if (st.st_ctim.tv_nsec != 0) {
        ticks_read = 0;
        CHECK_EQ(cm_identify(fd, &id, &v), 0);
        CHECK_EQ(v.racy & CM_RACY_TIMES, CM_RACY_TIMES);
        CHECK_EQ(ticks_read > 2, (v.racy & CM_RACY_WRITER) == 0);
        tick_goes_on = true;
        ticks_read = 0;
        CHECK_EQ(cm_identify(fd, &id, &v), 0);
        CHECK_EQ(v.racy & CM_RACY_TIMES, v.racy & CM_RACY_WRITER ? CM_RACY_TIMES : 0);
        CHECK_EQ(ticks_read, v.racy & CM_RACY_WRITER ? 1 : 2);
        tick_goes_on = false;
        ticks_read = 0;
        CHECK_EQ(cm_identify_with(fd, &sole, &id, &v), 0);
        CHECK_EQ(v.racy, CM_RACY_TIMES);
        CHECK_EQ(ticks_read, 1);
        writer = open(in_dir("a"), O_WRONLY);
        ticks_read = 0;
        CHECK_EQ(cm_identify(fd, &id, &v), 0);
        CHECK_EQ(v.racy, CM_RACY_TIMES | CM_RACY_WRITER);
        CHECK_EQ(ticks_read, 1);
        CHECK_EQ(close(writer), 0);
        /* A time that lies ahead proves nothing, and waiting would take too long. */
        tick_at.tv_sec -= 1;
        ticks_read = 0;
        CHECK_EQ(cm_identify(fd, &id, &v), 0);
        CHECK_EQ(v.racy & CM_RACY_TIMES, CM_RACY_TIMES);
        CHECK_EQ(ticks_read, 1);
    }
    tick_at.tv_sec = 0;
    says_type = 0;
    kernel_is = NULL;
    CHECK_EQ(close(fd) + unlink(in_dir("a")), 0);
}

/* ---- Pairs of a validator and a change, for real --------------------------------------------- */

#define PAIR_THREADS 64u

struct pairs {
    unsigned thread, count;
    unsigned unproved, missed; /* of all; of those that said they prove */
    unsigned unseen;           /* writers that were at work and nobody saw */
    const char *dir;
};

static void change_file(int fd, unsigned n)
{
    switch (n % 3) {
    case 0:
        CHECK_EQ(pwrite(fd, &n, sizeof n, n % 4096), sizeof n);
        break;
    case 1:
        CHECK_EQ(ftruncate(fd, 4096 + n % 100), 0);
        break;
    default: {
        volatile unsigned *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        REQUIRE(at != MAP_FAILED);
        *at = n;
        CHECK_EQ(munmap((void *)(uintptr_t)at, 4096), 0);
    }
    }
}

/* Each round: a change, a validator at once, another change, which another validator must show. In
 * every fifth round the writer is still there. */
static void make_pairs(struct pairs *p)
{
    const bool maps = strcmp(p->dir, "/dev/shm") != 0; /* there a store changes no time */
    char path[600];
    cm_file_id id;

    (void)snprintf(path, sizeof path, "%s/cachemax-pair-%d-%u", p->dir, (int)getpid(), p->thread);
    make_file(path, "a file of some length");
    for (unsigned i = 0; i < p->count; i++) {
        const unsigned how = !maps && i % 3 == 2 ? i + 1 : i;
        cm_validator one = CM_VALIDATOR_INIT, two = CM_VALIDATOR_INIT;
        int fd = open(path, O_RDWR);
        REQUIRE(fd >= 0);
        change_file(fd, how);
        if (i % 5 == 0) {
            CHECK_EQ(identify(path, &id, &one), 0);
            p->unseen += (one.racy & CM_RACY_WRITER) == 0;
        }
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(identify(path, &id, &one), 0);
        fd = open(path, O_RDWR);
        REQUIRE(fd >= 0);
        change_file(fd, how + 3);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(identify(path, &id, &two), 0);
        p->unproved += one.racy != 0;
        p->missed += one.racy == 0 && memcmp(one.proof, two.proof, sizeof one.proof) == 0;
    }
    CHECK_EQ(unlink(path), 0);
}

static void *pair_thread(void *arg)
{
    make_pairs(arg);
    return NULL;
}

/* 6400 pairs; CM_TEST_PAIRS sets another number. */
static void test_identify_pairs(void)
{
    static const char *const dirs[] = { NULL, "/dev/shm" };
    const char *number = getenv("CM_TEST_PAIRS");
    const unsigned all = number ? (unsigned)atoi(number) : 6400;

    const bool racy = fresh_is_racy(0, NULL);

    CHECK_EQ(unlink(in_dir("a")), 0);
    if (racy)
        SKIP("no multigrain timestamps here (Linux 6.13; ext4, xfs, btrfs, tmpfs)");
    for (size_t d = 0; d < sizeof dirs / sizeof dirs[0]; d++) {
        struct pairs p[PAIR_THREADS], sum = { .count = 0 };
        pthread_t thread[PAIR_THREADS];
        CASE("d %zu", d);
        for (unsigned i = 0; i < PAIR_THREADS; i++) {
            p[i] = (struct pairs){ .thread = i,
                                   .count = all / PAIR_THREADS,
                                   .dir = dirs[d] ? dirs[d] : dir };
            REQUIRE(pthread_create(&thread[i], NULL, pair_thread, &p[i]) == 0);
        }
        for (unsigned i = 0; i < PAIR_THREADS; i++) {
            CHECK_EQ(pthread_join(thread[i], NULL), 0);
            sum.count += p[i].count;
            sum.unproved += p[i].unproved;
            sum.missed += p[i].missed;
            sum.unseen += p[i].unseen;
        }
        printf("# %s: %u pairs, %u racy, %u changes missed, %u writers not seen\n", p[0].dir,
               sum.count, sum.unproved, sum.missed, sum.unseen);
        CHECK_EQ(sum.missed, 0);
        CHECK_EQ(sum.unseen, 0);
        CHECK(sum.unproved < sum.count / 10); /* a clock that stood still for long */
    }
}

/* The clock that files get their times from may stand still for longer than the granule. Then a
 * later write has the same time. */
static void test_identify_tick(void)
{
    struct stat st;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;

    make_file(in_dir("a"), "one");
    sleep_ms(2200);
    CHECK_EQ(stat(in_dir("a"), &st), 0);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    tick_at = st.st_ctim;
    kernel_is = "6.12.0";
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, CM_RACY_TIMES);
    kernel_is = NULL;
    tick_at.tv_nsec += 1; /* may exceed a second: any time will do here */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    tick_at.tv_sec = 0;
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* The times need not show a write before the writer is gone: a kernel sets them before it copies
 * the data, and once for each call, however long the call takes. */
static void test_identify_writer(void)
{
    static const int writing[] = { O_WRONLY, O_RDWR, O_WRONLY | O_APPEND };
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id, same;
    cm_validator v = CM_VALIDATOR_INIT;
    void *view;
    int fd, reader;

    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    make_file(in_dir("a"), "one");
    sleep_ms(2200);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    if (v.racy == CM_RACY_WRITER) {
        CHECK_EQ(unlink(in_dir("a")), 0);
        SKIP("this volume does not say who writes");
    }
    CHECK_EQ(v.racy, 0);
    for (size_t i = 0; i < sizeof writing / sizeof writing[0]; i++) {
        CASE("i %zu", i);
        fd = open(in_dir("a"), writing[i]);
        REQUIRE(fd >= 0);
        CHECK_EQ(identify(in_dir("a"), &same, &v), 0);
        CHECK(same_id(id, same));
        CHECK_EQ(v.racy, CM_RACY_WRITER);
        CHECK_EQ(cm_identify(fd, &same, &v), 0); /* the writer itself is one */
        CHECK_EQ(v.racy, CM_RACY_WRITER);
        CHECK_EQ(cm_identify_with(fd, &sole, &same, &v), 0);
        CHECK_EQ(v.racy, 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(identify(in_dir("a"), &same, &v), 0);
        CHECK_EQ(v.racy, 0);
    }
    fd = open(in_dir("a"), O_RDWR);
    view = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(view != MAP_FAILED && close(fd) == 0);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_WRITER); /* a mapping without a descriptor is a writer, too */
    CHECK_EQ(munmap(view, 1), 0);
    reader = open(in_dir("a"), O_RDONLY); /* readers do not matter */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    /* The lease is gone: an open for writing does not wait. */
    fd = open(in_dir("a"), O_WRONLY | O_NONBLOCK);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd) + close(reader), 0);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* The kernel counts no writer of a file that it made for memfd_create(), so a lease of one proves
 * nothing. */
static void test_identify_memfd(void)
{
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    const int fd = memfd_create("one", MFD_CLOEXEC);

    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    REQUIRE(fd >= 0 && write(fd, "one", 3) == 3);
    sleep_ms(50);
    CHECK_EQ(cm_identify(fd, &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_WRITER, CM_RACY_WRITER);
    CHECK_EQ(cm_identify_with(fd, &sole, &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_WRITER, 0);
    CHECK_EQ(close(fd), 0);
}

/* A user who may not take a lease is not told that there is no writer. */
static void stranger_body(void *arg)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;

    (void)arg;
    if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0) {
        exit(77);
    }
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_WRITER);
}

static void test_identify_stranger(void)
{
    make_file(in_dir("a"), "one");
    CHECK_EQ(chmod(dir, 0755) + chmod(in_dir("a"), 0644), 0);
    sleep_ms(2200);
    const int status = in_child(stranger_body, NULL);
    CHECK_EQ(unlink(in_dir("a")), 0);
    CHECK_STATUS_OR_SKIP(status, "may not become another user");
}

/* The same inode number must not mean the same file, if the volume can tell them apart. */
static void test_identify_reused_inode(void)
{
    cm_file_id a, b;
    cm_validator v = CM_VALIDATOR_INIT;
    struct stat st;
    ino_t inode;
    long generation = 0;
    int fd, rc;

    make_file(in_dir("a"), "one");
    fd = open(in_dir("a"), O_RDONLY);
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    inode = st.st_ino;
    rc = ioctl(fd, (posix_request)FS_IOC_GETVERSION, &generation);
    CHECK_EQ(cm_identify(fd, &a, &v), 0);
    CHECK_EQ(close(fd), 0);
    if (rc != 0) {
        CHECK_EQ(unlink(in_dir("a")), 0);
        SKIP("this volume has no inode generations");
    }
    for (unsigned i = 0; i < 200; i++) {
        CASE("i %u", i);
        CHECK_EQ(unlink(in_dir("a")), 0);
        make_file(in_dir("a"), "one");
        REQUIRE(stat(in_dir("a"), &st) == 0);
        CHECK_EQ(identify(in_dir("a"), &b, &v), 0);
        CHECK(!same_id(a, b));
        if (st.st_ino == inode) {
            CHECK_EQ(unlink(in_dir("a")), 0);
            return;
        }
    }
    CHECK_EQ(unlink(in_dir("a")), 0);
    SKIP("the volume did not use the inode number again");
}

/* What the platform says of volumes, by their types. */
static void test_kinds_of_volumes(void)
{
    static const struct {
        uint32_t type;
        bool elsewhere, layered;
    } of[] = { { 0x65735546, true, false },  { 0x6969, true, false },
               { 0x517b, true, false },      { 0xff534d42, true, false },
               { 0xfe534d42, true, false },  { 0x01021997, true, false },
               { 0x786f4256, true, false },  { 0xbacbacbc, true, false },
               { 0xef53, false, false },     { 0x58465342, false, false },
               { 0x01021994, false, false }, { 0x794c7630, false, true } };
    struct cm_plat_file f = PLAT_FILE_INIT;
    char what[PLAT_VOLUME], path[64];
    const int no_disk = memfd_create("file", MFD_CLOEXEC);
    struct stat st;

    make_file(in_dir("file"), "1");
    REQUIRE(no_disk >= 0 && write(no_disk, "1", 1) == 1);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", no_disk);
    /* A FUSE volume with a disk of its own (fuseblk) has its device number. */
    REQUIRE(stat(in_dir("file"), &st) == 0);
    REQUIRE(cm_plat_file_open(&f, in_dir("file"), false) == 0);
    says_type = 0x65735546;
    CHECK_EQ(cm_plat_file_is_elsewhere(&f, what), major(st.st_dev) == 0);
    says_type = 0;
    cm_plat_file_close(&f);
    f = (struct cm_plat_file)PLAT_FILE_INIT;
    REQUIRE(cm_plat_file_open(&f, path, false) == 0);
    (void)close(no_disk);
    for (unsigned i = 0; i < sizeof of / sizeof of[0]; i++) {
        CASE("type %x", of[i].type);
        what[0] = '\0';
        says_type = of[i].type;
        CHECK_EQ(cm_plat_file_is_elsewhere(&f, what), of[i].elsewhere);
        CHECK_EQ(what[0] != '\0', of[i].elsewhere);
        CHECK_EQ(cm_plat_file_is_layered(&f), of[i].layered);
    }
    says_type = 0;
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(in_dir("file")), 0);
}

const struct harness_test platform_posix_identity_tests[] = {
    TEST(clock_set_forward),
    TEST(boot_read_again),
    TEST(kinds_of_volumes),
    TEST(identify_tick),
    TEST(identify_volume),
    TEST(identify_one_id),
    TEST(boot_id),
    TEST(identify_same_and_different),
    TEST(identify_refused),
    TEST(identify_racy),
    TEST(identify_multigrain),
    TEST(identify_multigrain_tick),
    TEST(identify_pairs),
    TEST(identify_writer),
    TEST(identify_memfd),
    TEST(identify_stranger),
    TEST(identify_reused_inode),
    TEST_END,
};
