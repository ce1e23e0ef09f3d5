/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_room.c - a volume that copies on write and is full (Linux): what is rewritten needs room,
 * and there is none. An open leaves such a pool alone. A session whose pool can forget nothing goes
 * on with a file that is no pool.
 *
 * Without such a volume, stores and writes fail as they would there. The last tests mount btrfs and
 * xfs.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "file_common.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUPERS ((size_t)CM_SUPER_COPIES * CM_SUPER_STRIDE)

static char path[512]; /* of the pool */
static char said[512]; /* the last error in the log */

static void note_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    if (level == CM_LOG_ERROR)
        (void)snprintf(said, sizeof(said), "%s", line);
}

/* ---- A full volume, made up ------------------------------------------------------------------ */

static bool full;                /* no page can be written */
static unsigned room;            /* but so many pages, in each of which stores go on */
static const uint8_t *roomy[64]; /* these */
static int roomy_copy = -1;      /* not -1: and those of this copy of the superblock */
static unsigned roomy_pages;
static unsigned whole;          /* so many stores go on, and then */
static unsigned faults;         /* so many find no room, although writes do */
static int no_holes;            /* errno: the file system cannot make any, or a filter refuses */
static unsigned failing_sync;   /* so many syncs fail */
static unsigned lost_syncs;     /* so many syncs of a range fail */
static bool no_writes;          /* they fail for another reason than room */
static bool durable_hole;       /* the disk has no superblocks any more */
static unsigned session_writes; /* writes of the word, without the mapping */
static struct cm_persist_ops ops, real;

static bool lacks_room(const void *p)
{
    const uint8_t *page = (const uint8_t *)p - (uintptr_t)p % 4096;
    if (faults > 0 && whole > 0)
        whole--;
    else if (faults > 0)
        return faults-- > 0;
    for (unsigned i = 0; i < roomy_pages; i++)
        if (roomy[i] == page)
            return false;
    if (!full || (roomy_copy >= 0 && (uintptr_t)page / CM_SUPER_STRIDE % 2 == (unsigned)roomy_copy))
        return false;
    if (room == 0 || roomy_pages == 64)
        return true;
    room--;
    roomy[roomy_pages++] = page;
    return false;
}

static int room_write(void *ctx, void *dst, const void *src, size_t n)
{
    return lacks_room(dst) ? CM_EIO : real.write(ctx, dst, src, n);
}
static int room_store(void *ctx, uint64_t *p, uint64_t v)
{
    return lacks_room(p) ? CM_EIO : real.store64(ctx, p, v);
}
static int room_cas(void *ctx, uint64_t *p, uint64_t e, uint64_t v)
{
    return lacks_room(p) ? CM_EIO : real.cas64(ctx, p, e, v);
}
static int room_copy(void *ctx, void *dst, const void *src, size_t n)
{
    return lacks_room(dst) ? CM_EIO : real.copy(ctx, dst, src, n);
}

const struct cm_persist_ops *__real_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need)
{
    ops = real = *__real_cm_persist_choose(need);
    ops.write = room_write;
    ops.store64 = room_store;
    ops.cas64 = room_cas;
    ops.copy = room_copy;
    return &ops;
}

/* A reader may see some bytes of a write before the others. Then they are no session. */
static void check_session_write(int fd, const void *p)
{
    uint8_t was[8], now[8], mixed[8];
    uint64_t word;
    CHECK_EQ(pread(fd, was, sizeof(was), CM_SESSION_OFFSET), (ssize_t)sizeof(was));
    memcpy(now, p, sizeof(now));
    for (unsigned seen = 0; seen < 256; seen++) {
        for (unsigned i = 0; i < 8; i++)
            mixed[i] = (seen >> i & 1) ? now[i] : was[i];
        memcpy(&word, mixed, sizeof(word));
        CHECK(word % 2 == 1 || memcmp(mixed, was, 8) == 0 || memcmp(mixed, now, 8) == 0);
    }
    session_writes++;
}

ssize_t LARGE(__real_, pwrite)(int fd, const void *p, size_t n, off_t at);
ssize_t LARGE(__wrap_, pwrite)(int fd, const void *p, size_t n, off_t at);
ssize_t LARGE(__wrap_, pwrite)(int fd, const void *p, size_t n, off_t at)
{
    errno = full ? EDQUOT : EIO;
    if (full || no_writes)
        return -1;
    if (at == CM_SESSION_OFFSET && n == sizeof(uint64_t))
        check_session_write(fd, p);
    return LARGE(__real_, pwrite)(fd, p, n, at);
}

int LARGE(__real_, fallocate)(int fd, int mode, off_t at, off_t n);
int LARGE(__wrap_, fallocate)(int fd, int mode, off_t at, off_t n);
int LARGE(__wrap_, fallocate)(int fd, int mode, off_t at, off_t n)
{
    errno = no_holes;
    return no_holes && (mode & FALLOC_FL_PUNCH_HOLE) ? -1
                                                     : LARGE(__real_, fallocate)(fd, mode, at, n);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    static const uint8_t zero[SUPERS];
    uint8_t now[SUPERS];
    if (failing_sync > 0) {
        failing_sync--;
        errno = EIO;
        return -1;
    }
    durable_hole = pread(fd, now, sizeof(now), 0) == (ssize_t)sizeof(now) &&
                   memcmp(now, zero, sizeof(now)) == 0;
    return __real_fsync(fd);
}

int __real_msync(void *p, size_t n, int flags);
int __wrap_msync(void *p, size_t n, int flags);
int __wrap_msync(void *p, size_t n, int flags)
{
    if (lost_syncs == 0)
        return __real_msync(p, n, flags);
    lost_syncs--;
    roomy_pages = 0; /* and others have taken what room there was */
    errno = EIO;
    return -1;
}

static unsigned flagged; /* files that were to be written in their place, and had no data yet */
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    struct stat st;
    unsigned flags;
    if (request == FS_IOC_GETFLAGS) { /* a file that is compressed cannot have the other flag */
        const unsigned get[2] = { FS_COMPR_FL | FS_NOATIME_FL, 0 };
        memcpy(arg, get, sizeof(get)); /* as an old kernel with FUSE */
        return 0;
    }
    if (request == FS_IOC_SETFLAGS) {
        memcpy(&flags, arg, sizeof(flags));
        flagged += flags == (FS_NOCOW_FL | FS_NOATIME_FL) && fstat(fd, &st) == 0 &&
                   st.st_size == 0 && st.st_blocks == 0;
        return __real_ioctl(fd, request, arg);
    }
    return __real_ioctl(fd, request, arg);
}

/* ---- Pools ----------------------------------------------------------------------------------- */

static void open_again(struct pool *p)
{
    p->o.log = note_log;
    REQUIRE(cm_open(path, &p->o, &p->c) == 0);
    p->base = p->c->media.base;
}

/* Ten blocks of a file are cached, and the pool is checkpointed. */
static cm_file *file_pool(struct pool *p, const cm_validator *v)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.size = MIB;
    full = no_writes = durable_hole = false;
    no_holes = 0;
    room = roomy_pages = failing_sync = lost_syncs = whole = faults = 0;
    said[0] = 0;
    memset(p, 0, sizeof(*p));
    p->o = (cm_options)CM_OPTIONS_INIT;
    p->o.probation_bytes = CM_PROBATION_NONE; /* all is in the pool */
    (void)remove(path);
    CHECK_EQ(cm_create(path, &o), 0);
    open_again(p);
    cm_file *f = warm(p, 1, v, 0);
    CHECK_EQ(cm_checkpoint(p->c), 0);
    return f;
}

/* Where a checkpoint is not known to last (tmpfs, an emulator), the pools of these tests cannot be
 * made. */
static bool keeps_syncs(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    const cm_options opts = CM_OPTIONS_INIT;
    cm_cache *c;
    o.size = MIB;
    if (cm_create(path, &o) != 0 || cm_open(path, &opts, &c) != 0)
        return true; /* the tests say why */
    const bool keeps = cm_checkpoint(c) != CM_ENOTSUP;
    CHECK_EQ(cm_close(c), 0);
    (void)remove(path);
    return keeps;
}
static bool syncs;
#define NEEDS_SYNCS()                                                                              \
    do {                                                                                           \
        if (!syncs)                                                                                \
            SKIP("this volume may not keep what it syncs");                                        \
    } while (0)

static long long file_size(void)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long long)st.st_size : -1;
}

/* ---- Creation -------------------------------------------------------------------------------- */

static void test_written_in_place(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    struct pool p;
    flagged = 0;
    cm_file *f = file_pool(&p, &v);
    CHECK_EQ(flagged, 1);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    o.size = 2 * MIB;
    CHECK_EQ(cm_resize(path, &o, NULL), 0);
    CHECK_EQ(flagged, 2); /* its new file, too */
    (void)remove(path);
}

/* ---- Open ------------------------------------------------------------------------------------ */

/* However far it gets, the pool has what it had, and the next open with room finds it warm. */
static void test_open(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned pages = 0; pages < 3; pages++) {
        CASE("room for %u pages", pages);
        struct pool p;
        detach(file_pool(&p, &v));
        CHECK_EQ(cm_close(p.c), 0);
        full = true;
        for (unsigned i = 0; i < 2; i++) {
            room = pages;
            roomy_pages = 0;
            const int e = cm_open(path, &p.o, &p.c);
            CHECK_EQ(e, pages < 2 ? CM_ENOSPC : 0);
            if (e == 0)
                break;
            CHECK(strstr(said, "volume is full") != NULL);
            CHECK(file_size() == (long long)MIB);
        }
        full = false;
        if (pages < 2)
            open_again(&p);
        expect_kept(&p, 1, &v, true);
        CHECK_EQ(cm_close(p.c), 0);
        (void)remove(path);
    }
}

/* One copy cannot be written. The other one stays as well: another system finds the pool closed. */
static void test_open_copies(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned n = 0; n < 2 * CM_SUPER_COPIES; n++) {
        CASE("n %u", n);
        const unsigned i = n % 2; /* that is whole */
        struct pool p;
        struct cm_super sb[CM_SUPER_COPIES];
        detach(file_pool(&p, &v));
        CHECK_EQ(cm_close(p.c), 0);
        const int fd = open(path, O_RDWR | O_CLOEXEC);
        CHECK_EQ(pwrite(fd, "torn", 4, (off_t)(1 - i) * CM_SUPER_STRIDE), 4);
        full = true;
        roomy_copy = (int)n / 2; /* the mapping may begin with either kind of page */
        CHECK_EQ(cm_open(path, &p.o, &p.c), CM_ENOSPC);
        roomy_copy = -1;
        for (unsigned j = 0; j < CM_SUPER_COPIES; j++)
            CHECK(pread(fd, &sb[j], sizeof(sb[j]), (off_t)j * CM_SUPER_STRIDE) > 0);
        (void)close(fd);
        CHECK_EQ(sb[i].state, CM_SUPER_CLEAN);
        full = false;
        (void)remove(path);
    }
}

/* A sync failed as well: the system may have lost what the last owner stored. Nothing counts. */
static void test_open_lost(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    struct pool p;
    detach(file_pool(&p, &v));
    CHECK_EQ(cm_close(p.c), 0);
    full = true;
    room = 2;
    lost_syncs = 1;
    CHECK_EQ(cm_open(path, &p.o, &p.c), CM_EIO);
    CHECK_EQ(file_size(), 0);
    (void)remove(path);
}

/* A store finds no room, and a write finds some: nothing is lost. Each store to the superblocks. */
static void test_open_faults(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned n = 0; n < 4; n++) {
        CASE("n %u", n);
        struct pool p;
        detach(file_pool(&p, &v));
        CHECK_EQ(cm_close(p.c), 0);
        whole = n; /* the session is shut, and three copies are written */
        faults = 1;
        open_again(&p);
        CHECK_EQ(faults, 0);
        expect_kept(&p, 1, &v, true);
        CHECK_EQ(cm_close(p.c), 0);
        CHECK(said[0] == 0);
        (void)remove(path);
    }
}

/* Stores find no room for so long, or ever, and writes do: the pool opens, and is warm. */
static void test_open_written(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    const unsigned some[] = { 2, 3, 4, 5, 6, 8, UINT_MAX };
    for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        CASE("%u stores", some[i]);
        struct pool p;
        detach(file_pool(&p, &v));
        CHECK_EQ(cm_close(p.c), 0);
        faults = some[i];
        open_again(&p);
        expect_kept(&p, 1, &v, true);
        CHECK_EQ(cm_close(p.c), 0);
        CHECK(said[0] == 0);
        faults = 0;
        open_again(&p);
        expect_kept(&p, 1, &v, true);
        CHECK_EQ(cm_close(p.c), 0);
        (void)remove(path);
    }
}

/* Neither a store nor a write of the session's word works, which comes first: nothing has changed.
 */
static void test_open_unheard(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    struct pool p;
    detach(file_pool(&p, &v));
    CHECK_EQ(cm_close(p.c), 0);
    faults = 4; /* enough for all that may be tried */
    no_writes = true;
    CHECK_EQ(cm_open(path, &p.o, &p.c), CM_EIO);
    faults = 0;
    CHECK(strstr(said, "What is cached stays") != NULL);
    no_writes = false;
    CHECK(file_size() == (long long)MIB);
    open_again(&p);
    expect_kept(&p, 1, &v, true);
    CHECK_EQ(cm_close(p.c), 0);
    (void)remove(path);
}

/* The same for a new epoch, which also opens the session again. */
static void test_epoch_faults(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned n = 0; n < 4; n++) {
        CASE("n %u", n);
        struct pool p;
        cm_file *f = file_pool(&p, &v);
        whole = n;
        faults = 1;
        CHECK_EQ(bump_epoch(p.c), 0);
        CHECK_EQ(faults, 0);
        CHECK(*cm_super_session_at(&p.c->media) % 2 == 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        detach(f);
        CHECK_EQ(cm_close(p.c), 0);
        open_again(&p);
        expect_kept(&p, 1, &v, false);
        CHECK_EQ(cm_close(p.c), 0);
        (void)remove(path);
    }
}

/* ---- Sessions -------------------------------------------------------------------------------- */

/* Nothing can be written. The bracket begins all the same: the file is no pool, durably. */
static void test_give_up(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned failed = 0; failed < 2; failed++) {
        CASE("%u syncs fail", failed);
        struct pool p;
        cm_file *f = file_pool(&p, &v);
        full = true;
        failing_sync = failed; /* the first one may tell of other pages */
        cm_bracket w = begin_write(f, 3 * BLK, BLK);
        CHECK(durable_hole);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        CHECK(put(f, 5, 1) != 0);
        CHECK(strstr(said, "volume is full") != NULL);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(pool_info(p.c).mode, CM_FREEZE);
        CHECK(file_size() == (long long)MIB); /* who has it mapped reads on */
        full = false; /* nothing makes it a pool again: what is forgotten now need not be durable */
        const cm_sync s = sync_begin(f);
        write_and_end(f);
        CHECK_EQ(cm_checkpoint(p.c), CM_EIO);
        CHECK_EQ(pool_stats(p.c).checkpoints, 1); /* that of file_pool() */
        (void)cm_sync_end(f, &s, 0, NULL);
        detach(f);
        CHECK(super_at(&p, 0)->seq == 0 && super_at(&p, 1)->seq == 0);
        CHECK_EQ(cm_close(p.c), CM_EIO);
        CHECK_EQ(file_size(), 0);
        CHECK_EQ(cm_open(path, &p.o, &p.c), CM_ENOTPOOL);
        (void)remove(path);
    }
}

/* Stores find no room in a session, and writes do. Each bracket begins, after a new epoch, which is
 * written. A reader in another process is told so, and of the next session. */
static void test_written(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    struct pool p, r = { 0 };
    cm_file *f = file_pool(&p, &v);
    uint64_t *const word = cm_super_session_at(&p.c->media);
    *word = 0xfe; /* the next session has other bytes */
    r.o = (cm_options)CM_OPTIONS_INIT;
    r.o.flags = CM_OPEN_SHARED;
    REQUIRE(cm_open(path, &r.o, &r.c) == 0);
    cm_file *g = attach_v(&r, 1, &v, 0);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    faults = UINT_MAX;
    session_writes = 0;
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK(session_writes > 0);
    CHECK_EQ(*word, 0x100);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK(!cm_super_is_zeroed(&p.c->super));
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);
    faults = 0; /* there is room again */
    CHECK_EQ(put(f, 5, 1), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 1);
    CHECK(said[0] == 0);
    detach(g);
    CHECK_EQ(cm_close(r.c), 0);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    open_again(&p);
    expect_kept(&p, 1, &v, false);
    CHECK_EQ(cm_close(p.c), 0);
    (void)remove(path);
}

enum { UNSYNCED, UNALLOWED, CUT, HOWS };

/* The write does not help, or must not be made. */
static void test_write_fails(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned how = 0; how < HOWS; how++) {
        CASE("how %u", how);
        struct pool p;
        struct rlimit was;
        cm_bracket w;
        cm_file *f = file_pool(&p, &v);
        faults = UINT_MAX;
        REQUIRE(getrlimit(RLIMIT_FSIZE, &was) == 0);
        const struct rlimit none = { 1, was.rlim_max };
        if (how == UNSYNCED) { /* as with DAX: it is synced at once */
            p.c->super.sync = false;
            lost_syncs = 1;
        } else if (how == UNALLOWED) { /* SIGXFSZ would end this process */
            REQUIRE(setrlimit(RLIMIT_FSIZE, &none) == 0);
        } else {
            REQUIRE(truncate(path, 0) == 0);
        }
        CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
        CHECK_EQ(lost_syncs, 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        REQUIRE(setrlimit(RLIMIT_FSIZE, &was) == 0);
        if (how != CUT) /* now the write helps */
            write_and_end(f);
        faults = 0;
        detach(f);
        CHECK_EQ(cm_close(p.c), how == CUT ? CM_ETRUNCATED : 0);
        CHECK_EQ(file_size(), how == CUT ? 0 : (long long)MIB);
        (void)remove(path);
    }
}

/* The hole is not durable, or there can be none: nothing may be written, until something works. In
 * the first case the next bracket makes it durable: its zeros stay. */
static void test_cannot_give_up(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    static const int refused[] = { EOPNOTSUPP, ENOSYS, EPERM, EIO, 0 }; /* 0: the sync fails */
    for (unsigned how = 0; how < sizeof(refused) / sizeof(refused[0]); how++) {
        const bool stays = refused[how] != 0;
        CASE("how %u", how);
        struct pool p;
        cm_bracket w;
        cm_file *f = file_pool(&p, &v);
        full = true;
        no_holes = refused[how];
        failing_sync = stays ? 0 : 2;
        CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
        CHECK(strstr(said, "its volume is full") != NULL);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        full = false;
        write_and_end(f);
        CHECK_EQ(pool_info(p.c).mode, stays ? CM_NORMAL : CM_FREEZE);
        CHECK(durable_hole == !stays);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        detach(f);
        CHECK_EQ(cm_close(p.c), stays ? 0 : CM_EIO);
        if (stays) {
            open_again(&p);
            expect_kept(&p, 1, &v, false);
            CHECK_EQ(cm_close(p.c), 0);
        }
        CHECK_EQ(file_size(), stays ? (long long)MIB : 0);
        (void)remove(path);
    }
}

/* A reader in another process is served nothing from the moment on in which the bracket begins. */
static void test_readers(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        const bool durable = how == 2;
        struct pool p, r = { 0 };
        cm_bracket w;
        cm_file *f = file_pool(&p, &v);
        r.o = (cm_options)CM_OPTIONS_INIT;
        r.o.flags = CM_OPEN_SHARED;
        REQUIRE(cm_open(path, &r.o, &r.c) == 0);
        cm_file *g = attach_v(&r, 1, &v, 0);
        CHECK_EQ(hits(g, 0, 10, 1), 10);
        full = true;
        failing_sync = durable ? 0 : 2;
        CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), durable ? 0 : CM_EFORGET);
        if (how != 1) /* it reads only after the next epochs have begun */
            CHECK_EQ(hits(g, 0, 10, 1), 0);
        if (durable)
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        full = false;
        write_and_end(f); /* a new epoch, and not a session that the reader has seen before */
        CHECK_EQ(bump_epoch(p.c), 0); /* from zero on, this would be the reader's own */
        CHECK_EQ(hits(g, 0, 10, 1), 0);
        detach(g);
        CHECK_EQ(cm_close(r.c), 0);
        detach(f);
        CHECK_EQ(cm_close(p.c), CM_EIO);
        (void)remove(path);
    }
}

/* A reader is idle from the hole on. No later session comes to the number that it knows. */
static void test_reader_idle(void)
{
    NEEDS_SYNCS();
    const cm_validator v = val(100 * BLK, 7);
    for (unsigned ever = 0; ever < 2; ever++) {
        CASE("ever %u", ever);
        struct pool p, r = { 0 };
        cm_bracket w;
        cm_file *f = file_pool(&p, &v);
        r.o = (cm_options)CM_OPTIONS_INIT;
        r.o.flags = CM_OPEN_SHARED;
        REQUIRE(cm_open(path, &r.o, &r.c) == 0);
        cm_file *g = attach_v(&r, 1, &v, 0);
        CHECK_EQ(hits(g, 0, 10, 1), 10);
        const uint64_t known = *cm_super_session_at(&r.c->media);
        full = true;
        failing_sync = ever ? UINT_MAX : 2; /* the hole is made, and its syncs fail */
        CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
        full = false;
        if (ever)
            CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
        else
            write_and_end(f);
        detach(f);
        CHECK_EQ(cm_close(p.c), CM_EIO);
        CHECK_EQ(file_size(), 0);
        failing_sync = 0;
        const int e = cm_open(path, &p.o, &p.c);
        CHECK_EQ(e, CM_ENOTPOOL);
        for (unsigned i = 0; e == 0 && i < 9 && *cm_super_session_at(&p.c->media) != known; i++)
            CHECK_EQ(bump_epoch(p.c), 0);
        CHECK_EQ(hits(g, 0, 10, 1), 0);
        if (e == 0)
            (void)cm_close(p.c);
        detach(g);
        CHECK_EQ(cm_close(r.c), 0);
        (void)remove(path);
    }
}

/* ---- Volumes --------------------------------------------------------------------------------- */

static char dir[128]; /* of this run */
static const char *cannot;

static int sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *format, ...)
{
    char text[1024], line[1400];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    (void)snprintf(line, sizeof(line), "cd %s && PATH=$PATH:/sbin:/usr/sbin && { %s; } >out 2>&1",
                   dir, text);
    return system(line);
}

/* Takes all room of the volume, with one file: xfs may have none for another inode, and yet some
 * for data. A sync may free some that was only set aside. */
static void fill(void)
{
    (void)sh("dd if=/dev/zero of=m/fill bs=1M; sync; "
             "for i in 2 3 4 5 6; do dd if=/dev/zero bs=4k >>m/fill; sync; done");
}

static bool mount_new(const char *mkfs)
{
    return sh("mkdir -p m && rm -f img && truncate -s %s img && %s img && mount -o loop img m",
              strstr(mkfs, "xfs") ? "300M" : "128M", mkfs) == 0;
}

/* `copied`: a copy of the pool, or a snapshot, makes its pages copied on write. */
static void on_volume(const char *mkfs, const char *copy, bool copied)
{
    const cm_validator v = val(100 * BLK, 7);
    struct pool p;
    if (!mount_new(mkfs))
        SKIP("cannot make or mount a volume of that kind here");
    (void)snprintf(path, sizeof(path), "%s/m/pool", dir);
    cm_file *f = file_pool(&p, &v);
    if (sh("%s", copy) != 0)
        SKIP("no copies of files here");
    fill();
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(hits(f, 0, 10, 1), copied ? 0 : 9);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    write_and_end(f);
    detach(f);
    CHECK_EQ(cm_close(p.c), copied ? CM_EIO : 0);
    (void)sh("umount m");
}

/* The volume is full when the pool is opened. It keeps what it has. */
static void opened_full(const char *mkfs, const char *copy)
{
    const cm_validator v = val(100 * BLK, 7);
    struct pool p;
    if (!mount_new(mkfs))
        SKIP("cannot make or mount a volume of that kind here");
    (void)snprintf(path, sizeof(path), "%s/m/pool", dir);
    detach(file_pool(&p, &v));
    CHECK_EQ(cm_close(p.c), 0);
    if (sh("%s", copy) != 0)
        SKIP("no copies of files here");
    fill();
    CHECK_EQ(cm_open(path, &p.o, &p.c), CM_ENOSPC);
    REQUIRE(sh("rm m/fill* && sync") == 0);
    open_again(&p);
    expect_kept(&p, 1, &v, true);
    CHECK_EQ(cm_close(p.c), 0);
    (void)sh("umount m");
}

#define NEED(program)                                                                              \
    if (cannot)                                                                                    \
        SKIP(cannot);                                                                              \
    if (sh("command -v %s", program) != 0)                                                         \
    SKIP("no " program " here")

static void test_btrfs(void)
{
    NEEDS_SYNCS();
    NEED("mkfs.btrfs");
    CALL(on_volume("mkfs.btrfs -q", "true", false));
}

static void test_btrfs_snapshot(void)
{
    NEEDS_SYNCS();
    NEED("btrfs");
    CALL(on_volume("mkfs.btrfs -q", "btrfs subvolume snapshot m m/s", true));
}

static void test_btrfs_opened(void)
{
    NEEDS_SYNCS();
    NEED("btrfs");
    CALL(opened_full("mkfs.btrfs -q", "btrfs subvolume snapshot m m/s"));
}

static void test_xfs_copy(void)
{
    NEEDS_SYNCS();
    NEED("mkfs.xfs");
    CALL(on_volume("mkfs.xfs -q", "cp --reflink=always m/pool m/copy", true));
}

static const struct harness_test tests[] = {
    TEST(written_in_place), TEST(open),         TEST(open_copies),  TEST(open_lost),
    TEST(open_faults),      TEST(open_written), TEST(open_unheard), TEST(epoch_faults),
    TEST(give_up),          TEST(written),      TEST(write_fails),  TEST(cannot_give_up),
    TEST(readers),          TEST(reader_idle),  TEST(btrfs),        TEST(btrfs_snapshot),
    TEST(btrfs_opened),     TEST(xfs_copy),
};

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof(dir), "%s/cm-room-XXXXXX", tmp && strlen(tmp) < 64 ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    if (geteuid() != 0)
        cannot = "needs root";
    else if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        cannot = "no mount namespace of its own here";
    syncs = keeps_syncs();
    const int status = HARNESS_MAIN(tests, argc, argv);
    (void)sh("umount m");
    char line[200];
    (void)snprintf(line, sizeof(line), "rm -rf %s", dir);
    return system(line) == 0 ? status : 1;
}
