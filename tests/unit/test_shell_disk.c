/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shell_disk.c - the callbacks of the driver's shell where a hit and the file system could
 * part: what was written does not reach the disk, or has not reached the file system yet.
 */
#include "shell_common.h"

static const NTSTATUS device_error = (NTSTATUS)0xC0000185;
static const NTSTATUS no_error = STATUS_SUCCESS;
static const NTSTATUS lock_conflict = (NTSTATUS)0xC0000054;
static const struct fm_how paging_at_dispatch = { .irp_flags = IRP_PAGING_IO, .dispatch = TRUE };

static NTSTATUS fails(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    return *(const NTSTATUS *)ctx;
}

/* The lazy writer writes block 1 to the disk. */
static NTSTATUS write_lazily(PFILE_OBJECT o, const NTSTATUS *s, const struct fm_how *how)
{
    return fm_write(o, BLOCK, BLOCK, fails, (void *)(uintptr_t)s, how);
}

/* A program writes, and what it wrote is cached: a fill reads it from the system's cache. */
static PFILE_OBJECT write_and_fill(void)
{
    PFILE_OBJECT const o = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(o));
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(warm(o));
    CHECK_EQ(buf[0], 'c');
    return o;
}

/* The system gives up what it could not write, at any time, and says that all is well. */
static void give_up(void)
{
    memset(file.data + BLOCK, 'b', BLOCK);
}

/* Rule C7. From the moment on that the write has failed the file passes, until nobody uses it; and
 * the service forgets what the disk did not get. */
static void test_lost_writes(void)
{
    static const struct fm_how *const how[] = { &paging, &sync_paging, &paging_at_dispatch };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT o = write_and_fill();
        const unsigned from = service.n;
        fm_hold(true);
        fm_starve(0, 100);
        CHECK_EQ(write_lazily(o, &device_error, how[i]), device_error);
        CHECK_EQ(write_lazily(o, &device_error, how[i]), device_error);
        fm_starve(0, 0);
        give_up();
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK(!by_driver && buf[0] == 'b');
        fm_hold(false);
        fm_settle();
        CHECK_EQ(times(from, CMP_FORGET), 1);
        CHECK(!warm(o));
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
        CHECK(!warm(o));
        give_up();
        fm_close(o);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

/* The program has closed the file long before, and nobody uses it between the failure and the next
 * open. `held`: that comes before a thread of the system has noted the failure. */
static void test_lost_after_the_close(void)
{
    for (unsigned held = 0; held < 2; held++) {
        CASE("held %u", held);
        begin();
        PFILE_OBJECT o = write_and_fill();
        fm_hold(held);
        CHECK_EQ(write_lazily(o, &device_error, &paging_at_dispatch), device_error);
        give_up();
        fm_close(o);
        if (!held)
            fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK(!by_driver && buf[0] == 'b');
        fm_hold(false);
        CHECK_EQ(warm(o), !held); /* it passes until nobody uses it */
        fm_close(o);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

static NTSTATUS lose(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)information;
    CHECK_EQ(write_lazily(o, &device_error, &sync_paging), device_error);
    return STATUS_SUCCESS;
}

/* The flush succeeds: the system has given up before. What the service has is not on the disk. */
static void test_lost_before_a_flush(void)
{
    begin();
    PFILE_OBJECT const o = write_and_fill();
    struct cmp_end m;
    CHECK_EQ(fm_flush(o, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    memcpy(&m, body_of(CMP_SYNC_END), sizeof(m));
    CHECK_EQ(m.ok, 1);
    CHECK_EQ(fm_flush(o, lose, NULL, FM_PLAIN), STATUS_SUCCESS);
    memcpy(&m, body_of(CMP_SYNC_END), sizeof(m));
    CHECK_EQ(m.ok, 0);
    const unsigned from = service.n;
    CHECK_EQ(fm_flush(o, NULL, NULL, FM_PLAIN), STATUS_SUCCESS); /* nobody knows what it proves */
    fm_settle();
    CHECK_EQ(times(from, CMP_SYNC_BEGIN), 0);
    fm_close(o);
    end();
}

/* The program is killed in its flush. ctx: how that ends. */
static NTSTATUS killed(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)o, (void)information;
    fm_me()->terminating = TRUE;
    return *(const NTSTATUS *)ctx;
}

/* What the file system has said of it counts all the same. */
static void test_killed_in_a_flush(void)
{
    static const NTSTATUS s[] = { STATUS_SUCCESS, (NTSTATUS)0xC0000185 };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = write_and_fill();
        struct cmp_end m;
        CHECK_EQ(fm_flush(o, killed, (void *)(uintptr_t)&s[i], FM_PLAIN), s[i]);
        fm_me()->terminating = FALSE;
        fm_settle();
        CHECK_EQ(times(0, CMP_SYNC_END), 1);
        memcpy(&m, body_of(CMP_SYNC_END), sizeof(m));
        CHECK_EQ(m.ok, i == 0);
        fm_close(o);
        end();
    }
}

static NTSTATUS detached(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    fm_detach_all();
    return STATUS_SUCCESS;
}

/* The driver leaves the volume meanwhile. How the flush ends it does not see. */
static void test_detached_in_a_flush(void)
{
    begin();
    PFILE_OBJECT const o = write_and_fill();
    CHECK_EQ(fm_flush(o, detached, NULL, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    CHECK_EQ(times(0, CMP_SYNC_BEGIN), 1);
    CHECK_EQ(times(0, CMP_SYNC_END), 0);
    fm_close(o);
    end();
}

/* What reaches the disk costs nothing, nor what the system tries again by itself, nor a write of a
 * file that is not cached. */
static void test_not_lost(void)
{
    static const NTSTATUS s[] = { STATUS_SUCCESS, (NTSTATUS)0xC0000054, (NTSTATUS)0x80000016,
                                  (NTSTATUS)0xC0000433 };
    static struct file other;
    begin();
    PFILE_OBJECT const o = write_and_fill();
    unsigned from = service.n;
    for (unsigned i = 0; i < sizeof(s) / sizeof(s[0]); i++) {
        CASE("i %u", i);
        CHECK_EQ(write_lazily(o, &s[i], &paging_at_dispatch), s[i]);
        fm_settle();
        CHECK_EQ(service.n, from);
    }
    CHECK(hits(o));
    fm_close(o);
    make_file(&other, u"\\Device\\HarddiskVolume3\\other\\x", 77);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        other.f.no_contexts = i == 1;
        PFILE_OBJECT const x = fm_open(&other.f, true, FILE_OPENED);
        other.f.sections.DataSectionObject = &other;
        CHECK_EQ(write_lazily(x, &lock_conflict, &paging), lock_conflict);
        CHECK_EQ(write_lazily(x, &device_error, &paging), device_error);
        fm_close(x);
        fm_settle();
        CHECK_EQ(times(from, CMP_FORGET) + times(from, CMP_FORGET_ALL), 0);
        from = service.n;
    }
    end();
}

static NTSTATUS detach(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_detach();
    return fails(ctx, o, information);
}

/* The filter leaves the volume, or is unloaded, while the lazy writer writes. */
static void test_lost_while_it_leaves(void)
{
    begin();
    PFILE_OBJECT const o = write_and_fill();
    CHECK_EQ(fm_write(o, BLOCK, BLOCK, detach, (void *)(uintptr_t)&device_error, &paging),
             device_error);
    fm_close(o);
    end();
    begin();
    PFILE_OBJECT const x = write_and_fill();
    fm_refuse(true);
    CHECK_EQ(write_lazily(x, &device_error, &paging_at_dispatch), device_error);
    fm_refuse(false);
    give_up();
    CHECK(!hits(x));
    fm_close(x);
    end();
}

/* ---- Paging writes of others ----------------------------------------------------------------- */

static const struct fm_how *const of_a_driver[] = { &paging, &sync_paging, &paging_at_dispatch };
static const ULONG uncached = FO_SYNCHRONOUS_IO | FO_NO_INTERMEDIATE_BUFFERING;

/* Rule C1. A filter above may write as the memory manager does (FLTFL_IO_OPERATION_PAGING). Nothing
 * was a change before it then. The memory manager has a section of what it writes. */
static void test_paging_writes_of_drivers(void)
{
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT o = fm_open_how(&file.f, true, FILE_OPENED, uncached, FM_PLAIN);
        CHECK(warm(o));
        if (i >= 3)
            file.f.sections.DataSectionObject = &file;
        const unsigned from = service.n;
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, i < 3 ? change : NULL, NULL, of_a_driver[i % 3]),
                 STATUS_SUCCESS);
        fm_settle();
        CHECK_EQ(times(from, CMP_WRITE_BEGIN) + times(from, CMP_FORGET_ALL), 0);
        CHECK_EQ(times(from, CMP_FORGET) > 0, i < 3);
        CHECK_EQ(hits(o), i >= 3);
        CHECK(warm(o));
        CHECK_EQ(write_lazily(o, &device_error, of_a_driver[i % 3]), device_error);
        fm_settle();
        CHECK(!hits(o));
        CHECK_EQ(warm(o), i < 3); /* C7: what it had in memory may be lost */
        fm_close(o);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

/* If its end cannot be noted, it lasts. */
static void test_paging_writes_without_memory(void)
{
    for (unsigned i = 0; i < 3 * 4; i++) {
        CASE("i %u, no memory after %u allocations", i % 3, i / 3);
        begin();
        PFILE_OBJECT const o = fm_open_how(&file.f, true, FILE_OPENED, uncached, FM_PLAIN);
        CHECK(warm(o));
        fm_starve(i / 3, 100);
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, of_a_driver[i % 3]), STATUS_SUCCESS);
        fm_starve(0, 0);
        fm_settle();
        (void)warm(o);
        fm_close(o);
        end();
    }
}

/* The file system writes zeros where nothing was written yet, inside of a change: for a write
 * behind that place without the system's cache, and for FSCTL_SET_ZERO_DATA. */
static NTSTATUS zero_before(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    static const struct fm_how how = { .irp_flags = IRP_NOCACHE | IRP_PAGING_IO |
                                                    IRP_SYNCHRONOUS_PAGING_IO };
    struct fm_thread *const t = fm_me(), before = *t;
    t->top = (PIRP)1;
    CHECK_EQ(fm_write(o, 2 * BLOCK, BLOCK, fails, (void *)(uintptr_t)&no_error, &how), no_error);
    *t = before;
    return change(ctx, o, information);
}

/* They do not make the file pass. */
static void test_zeros_of_the_file_system(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open_how(&file.f, true, FILE_OPENED, uncached, FM_PLAIN);
        CHECK(warm(o));
        if (i == 0)
            CHECK_EQ(fm_write(o, BLOCK, BLOCK, zero_before, NULL, FM_PLAIN), STATUS_SUCCESS);
        else
            CHECK_EQ(fm_control(o, CTL_CODE(9, 50, 0, 2), zero_before, NULL, FM_PLAIN),
                     STATUS_SUCCESS);
        fm_settle();
        CHECK(!hits(o));
        CHECK(warm(o));
        fm_close(o);
        end();
    }
}

static PFILE_OBJECT reader;

static void read_what_is_there(void *arg)
{
    static uint8_t to[BLOCK];
    ULONG n;
    bool by;
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(fm_read(reader, 2 * BLOCK, BLOCK, to, &n, &by, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(to[0], file.data[2 * BLOCK]);
        fm_settle();
    }
}

/* A driver's paging write to block 2, while a program's write to block 1 is on its way. Others read
 * meanwhile. */
static NTSTATUS store_meanwhile(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    struct os_thread t;
    (void)ctx, (void)o;
    for (unsigned i = 0; i < 2; i++) {
        memset(file.data + 2 * BLOCK, i ? 'x' : 'y', BLOCK);
        CHECK(os_thread_begin(&t, read_what_is_there, NULL));
        os_thread_join(&t);
    }
    *information = BLOCK;
    return STATUS_SUCCESS;
}

static NTSTATUS write_of_a_driver(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    struct fm_thread *const t = fm_me(), before = *t;
    CHECK_EQ(fm_write(o, 2 * BLOCK, BLOCK, store_meanwhile, NULL, of_a_driver[*(unsigned *)ctx]),
             STATUS_SUCCESS);
    *t = before;
    return change(NULL, o, information);
}

/* It is seen all the same. */
static void test_paging_writes_inside(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = fm_open_how(&file.f, true, FILE_OPENED, uncached, FM_PLAIN);
        reader = fm_open_how(&file.f, false, FILE_OPENED, uncached, FM_PLAIN);
        CHECK_EQ(read_how(reader, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        fm_settle();
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, write_of_a_driver, &i, FM_PLAIN), STATUS_SUCCESS);
        fm_settle();
        CHECK_EQ(read_how(reader, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], 'x');
        fm_close(reader);
        fm_close(o);
        end();
    }
}

/* A file that the driver does not know yet, and cannot ask for: it may be any. A paging file is the
 * memory manager's, and nothing is made for it. */
static void test_paging_writes_of_files(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        file.f.paging = i == 1;
        PFILE_OBJECT const o = i == 3 ? fm_open_volume() : fm_open(&file.f, false, FILE_OPENED);
        const unsigned from = service.n;
        fm_starve(0, i == 1 || i == 2 ? 100 : 0);
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, NULL, NULL, of_a_driver[i % 2]),
                 i == 2 ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS);
        fm_starve(0, 0);
        fm_settle();
        CHECK_EQ(times(from, CMP_FORGET_ALL) > 0, i == 0 || i == 3);
        CHECK_EQ(file.f.context != NULL, i == 0);
        fm_close(o);
        end();
    }
}

/* A volume is dismounted by force, or its disk is pulled out: the system drops what it has not
 * written yet. The file's times may be on the disk. */
static void test_dismounts(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT o = i < 2 ? write_and_fill() : fm_open(&file.f, i == 3, FILE_OPENED);
        if (i >= 2)
            CHECK(warm(o));
        if (i == 1) { /* it is closed, but the system has not written all yet */
            PFILE_OBJECT const other = fm_open(&file.f, false, FILE_OPENED);
            fm_close(o);
            o = other;
        }
        fm_dismount();
        give_up();
        CHECK(!hits(o));
        fm_close(o);
        fm_attach(true);
        fm_settle();
        o = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(hits(o), i >= 2);
        CHECK(hits(o));
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        fm_close(o);
        end();
    }
}

/* ---- Mounted again --------------------------------------------------------------------------- */

#define DISMOUNT CTL_CODE(9, 8, 0, 0)
#define OTHER_DEVICE u"\\Device\\HarddiskVolume7"
static const NTSTATUS access_denied = (NTSTATUS)0xC0000022;

/* A program dismounts the volume. */
static void dismount(ULONG flags, fm_below below, const NTSTATUS *s, const struct fm_how *how)
{
    PFILE_OBJECT const v = fm_open_volume();
    v->Flags |= flags;
    CHECK_EQ(fm_control(v, DISMOUNT, below, (void *)(uintptr_t)s, how), *s);
    fm_close(v);
}

/* The old mount ends, in a way that the driver hears of (from 2 on), or does not. Then the disk is
 * mounted again. */
#define WAYS 7u
static void mount_again(unsigned way)
{
    static const NTSTATUS success = STATUS_SUCCESS;
    if (way == 2 || way == 3)
        fm_pnp(way == 2 ? IRP_MN_SURPRISE_REMOVAL : IRP_MN_REMOVE_DEVICE);
    if (way >= 4)
        dismount(way == 4 ? FO_SYNCHRONOUS_IO : 0, fails, &success,
                 way == 6 ? &at_dispatch : FM_PLAIN);
    fm_mount_again(way == 0 ? u"\\Device\\HarddiskVolume3" : way == 1 ? NULL : OTHER_DEVICE, false);
}

static uint8_t read_by(PFILE_OBJECT o)
{
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    fm_settle();
    return buf[0];
}

/* Rule C8. A disk is pulled out, and what was written is lost, times too. It comes back while a
 * program still has handles of the old mount. The new one has streams of its own for the same
 * files. What was only read stays warm. */
static void test_mounted_again(void)
{
    static struct file again, only, only_again;
    for (unsigned i = 0; i < WAYS; i++) {
        CASE("i %u", i);
        begin();
        make_file(&again, file.f.name, file.id);
        make_file(&only, u"\\Device\\HarddiskVolume3\\data\\only", 10);
        make_file(&only_again, only.f.name, 10);
        PFILE_OBJECT const r = fm_open(&only.f, false, FILE_OPENED);
        CHECK(read_by(r) == 'b' && read_by(r) == 'b' && by_driver);
        PFILE_OBJECT const o = write_and_fill();
        mount_again(i);
        PFILE_OBJECT const n = fm_open(&again.f, false, FILE_OPENED);
        CHECK(read_by(n) == 'b' && !by_driver);
        CHECK(read_by(o) == 'c' && !by_driver); /* what the old mount has in memory */
        CHECK(read_by(n) == 'b');
        CHECK(read_by(r) == 'b' && !by_driver);
        const unsigned from = service.n;
        CHECK_EQ(fm_write(o, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
        CHECK(read_by(o) == 'd' && !by_driver);
        CHECK(read_by(n) == 'b');
        PFILE_OBJECT const m = fm_open(&only_again.f, false, FILE_OPENED);
        CHECK(read_by(m) == 'b' && by_driver);
        fm_close(o);
        fm_close(r);
        fm_old_goes();
        fm_settle();
        CHECK(read_by(n) == 'b' && read_by(n) == 'b' && by_driver);
        CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
        fm_close(m);
        fm_close(n);
        end();
    }
}

static NTSTATUS another_comes(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    fm_mount_again(OTHER_DEVICE, false);
    return fails(ctx, o, information);
}

/* Another volume is mounted: of this one nothing is forgotten. So it is if somebody tries just then
 * to dismount this one. */
static void test_another_is_mounted(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        PFILE_OBJECT const o = write_and_fill();
        if (i == 0)
            fm_mount_again(OTHER_DEVICE, false);
        else
            dismount(FO_SYNCHRONOUS_IO, another_comes, &access_denied, FM_PLAIN);
        CHECK(hits(o));
        CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0);
        fm_close(o);
        end();
    }
}

/* The filter comes to a volume that is dismounted already. */
static void test_comes_to_a_detached(void)
{
    static struct file old;
    begin();
    fm_mount_again(OTHER_DEVICE, true);
    fm_settle(); /* it was in use, and nobody looked: all is forgotten */
    make_file(&old, file.f.name, file.id);
    PFILE_OBJECT const o = fm_open(&old.f, false, FILE_OPENED);
    CHECK(!warm(o));
    fm_close(o);
    end();
}

/* A read is on its way when the disk is pulled out. */
static void test_removed_before_a_fill(void)
{
    begin();
    PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
    fm_hold(true);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
    fm_pnp(IRP_MN_SURPRISE_REMOVAL);
    fm_hold(false);
    fm_settle();
    CHECK_EQ(times(0, CMP_FILL), 0);
    fm_close(o);
    end();
}

static PFILE_OBJECT used; /* while a dismount is on its way */

static NTSTATUS look(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    CHECK(!hits(used));
    return fails(ctx, o, information);
}

static NTSTATUS writes(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    CHECK(hits(used));
    CHECK_EQ(fm_write(used, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    return fails(ctx, o, information);
}

/* The file system gives up what is not on the disk, and lets go of the stream. */
static NTSTATUS let_go(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    give_up();
    fm_close(used);
    return fails(ctx, o, information);
}

/* A program asks a file to dismount its volume. The file system refuses that; meanwhile nothing
 * passes. */
static void test_dismounts_of_files(void)
{
    begin();
    used = write_and_fill();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    const unsigned from = service.n;
    CHECK_EQ(fm_control(o, DISMOUNT, writes, (void *)(uintptr_t)&access_denied, FM_PLAIN),
             access_denied);
    fm_settle();
    CHECK_EQ(times(from, CMP_WRITE_BEGIN), 1); /* of the write that came meanwhile */
    CHECK_EQ(times(from, CMP_FORGET), 0);
    CHECK(warm(used));
    fm_close(o);
    fm_close(used);
    end();
}

/* A dismount that is refused ends nothing. What ends during one may be lost. Other
 * messages of the system mean nothing. */
static void test_dismounts_on_their_way(void)
{
    static const NTSTATUS success = STATUS_SUCCESS;
    begin();
    used = write_and_fill();
    dismount(FO_SYNCHRONOUS_IO, look, &access_denied, FM_PLAIN);
    dismount(0, look, &access_denied, &at_dispatch);
    fm_pnp(0x01); /* IRP_MN_QUERY_REMOVE_DEVICE */
    CHECK(hits(used));
    CHECK_EQ(times(0, CMP_FORGET), 0);
    dismount(FO_SYNCHRONOUS_IO, let_go, &success, FM_PLAIN);
    fm_settle();
    CHECK(times(0, CMP_FORGET) > 0);
    end();
}

static unsigned dismount_from; /* what was asked when the file system began with it */

static NTSTATUS write_and_move(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    dismount_from = service.n;
    CHECK(!hits(used));
    CHECK_EQ(fm_write(used, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK_EQ(fm_set(used, FileBasicInformation, 0, NULL, NULL, FM_PLAIN), STATUS_SUCCESS);
    CHECK(!hits(used) && !hits(used));
    CHECK_EQ(times(dismount_from, CMP_WRITE_BEGIN), 2);
    CHECK_EQ(times(dismount_from, CMP_FORGET) + times(dismount_from, CMP_FILL), 0);
    return fails(ctx, o, information);
}

/* As long as a dismount is only on its way, writes have brackets: it may be denied, and then the
 * rest of the file stays cached. If it is done, what was written meanwhile may be lost. */
static void test_writes_in_a_dismount(void)
{
    static struct file again;
    for (unsigned i = 0; i < 4; i++) {
        const NTSTATUS s = i % 2 ? STATUS_SUCCESS : access_denied;
        CASE("i %u", i);
        begin();
        make_file(&again, file.f.name, file.id);
        used = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(used));
        dismount(i < 2 ? FO_SYNCHRONOUS_IO : 0, write_and_move, &s,
                 i < 2 ? FM_PLAIN : &at_dispatch);
        fm_settle();
        CHECK_EQ(times(dismount_from, CMP_FORGET) > 0, i == 1);
        CHECK(warm(used) == (s != STATUS_SUCCESS) && buf[0] == 'c');
        if (s == STATUS_SUCCESS) {
            fm_mount_again(OTHER_DEVICE, false);
            PFILE_OBJECT const n = fm_open(&again.f, false, FILE_OPENED);
            CHECK(read_by(n) == 'b' && !by_driver);
            fm_close(n);
        }
        fm_close(used);
        if (s == STATUS_SUCCESS)
            fm_old_goes();
        end();
    }
}

/* ---- Oplocks --------------------------------------------------------------------------------- */

static const struct fm_how early = { .breaks = TRUE };
static PFILE_OBJECT owner; /* of an oplock: it has written into a cache of its own */

/* It hears that another one reads, writes its cache back, and says that it has done so. Until then
 * the file system keeps the reader waiting. */
static void write_back(struct fm_file *f, PFILE_OBJECT o)
{
    if (o == owner)
        return;
    f->wait = NULL;
    CHECK_EQ(fm_write(owner, BLOCK, BLOCK, change, NULL, FM_PLAIN), STATUS_SUCCESS);
}

/* Rule R9. Who does not wait for the owner at the open (FILE_COMPLETE_IF_OPLOCKED) waits at the
 * first read. */
static void test_oplocks(void)
{
    static const struct fm_how fast = { .fast = TRUE };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        owner = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(owner));
        file.f.wait = write_back;
        PFILE_OBJECT const o = fm_open_how(&file.f, i == 1, FILE_OPENED, FO_SYNCHRONOUS_IO, &early);
        CHECK(hits(owner)); /* who reads its own cache first */
        CHECK_EQ(read_how(o, BLOCK, BLOCK, i == 0 ? FM_PLAIN : &fast), STATUS_SUCCESS);
        CHECK(!by_driver && buf[0] == 'c');
        PFILE_OBJECT const other = fm_open(&file.f, false, FILE_OPENED);
        CHECK(warm(other)); /* it was opened after that */
        CHECK(!warm(o));
        fm_close(o);
        CHECK(hits(other));
        fm_close(other);
        fm_close(owner);
        end();
    }
}

/* The handle cannot be noted: then all pass that use the stream, or it is not opened. */
static void test_oplocks_without_memory(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        owner = fm_open(&file.f, true, FILE_OPENED);
        CHECK(warm(owner));
        if (i >= 2) { /* its stream is not known */
            fm_dismount();
            fm_attach(true);
        }
        file.f.wait = write_back;
        const unsigned from = service.n;
        fm_starve(0, i > 0);
        PFILE_OBJECT const o = fm_open_how(&file.f, true, i == 3 ? FILE_OVERWRITTEN : FILE_OPENED,
                                           FO_SYNCHRONOUS_IO, &early);
        fm_starve(0, 0);
        CHECK_EQ(o != NULL, i < 2);
        fm_settle();
        CHECK_EQ(times(from, CMP_FORGET_ALL), i == 3);
        if (o) {
            CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
            CHECK(!by_driver && buf[0] == 'c');
            CHECK_EQ(warm(owner), i == 0);
            fm_close(o);
        } else {
            file.f.wait = NULL;
            CHECK(warm(owner));
        }
        fm_close(owner);
        end();
    }
}

/* The filter leaves the volume, and the handle stays. */
static void test_oplocks_while_it_leaves(void)
{
    begin();
    owner = fm_open(&file.f, true, FILE_OPENED);
    CHECK(warm(owner));
    PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED, FO_SYNCHRONOUS_IO, &early);
    fm_detach();
    CHECK(!hits(o));
    fm_close(o);
    fm_close(owner);
    end();
}

/* ---- Handles that are marked ----------------------------------------------------------------- */

#define MARK_HANDLE CTL_CODE(9, 63, 0, 0)
static bool by_marked; /* who reads now */

/* A mirror of two disks. Everybody reads the good one, and a marked handle may read the other. */
static ULONG read_copy(struct fm_file *f, uint64_t off, ULONG n, void *to)
{
    n = read_file(f, off, n, to);
    if (by_marked)
        memset(to, 'R', n);
    return n;
}

/* FSCTL_MARK_HANDLE, MARK_HANDLE_READ_COPY. */
static NTSTATUS mark(void *ctx, PFILE_OBJECT o, ULONG_PTR *information)
{
    (void)ctx, (void)o, (void)information;
    by_marked = true;
    return STATUS_SUCCESS;
}

/* What a marked handle reads is not asked of the service, nor sent to it. Without memory to note
 * the handle nobody's is. One that may write is noted already. */
static void test_marked_handles(void)
{
    static const ULONG flags[] = { FO_SYNCHRONOUS_IO,
                                   FO_SYNCHRONOUS_IO | FO_NO_INTERMEDIATE_BUFFERING, 0 };
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        begin();
        file.f.read = read_copy;
        PFILE_OBJECT const other = fm_open(&file.f, false, FILE_OPENED);
        CHECK(i == 5 || warm(other));
        PFILE_OBJECT const o =
            fm_open_how(&file.f, i % 3 == 1, FILE_OPENED, flags[i % 3], FM_PLAIN);
        const unsigned from = service.n;
        fm_starve(0, i >= 3 ? 100 : 0);
        CHECK_EQ(fm_control(o, MARK_HANDLE, mark, NULL, FM_PLAIN),
                 i == 5 ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS);
        fm_starve(0, 0);
        CHECK_EQ(times(from, CMP_WRITE_BEGIN), 0);
        for (unsigned at = 1; at < 3 && i < 5; at++) {
            CHECK_EQ(read_how(o, at * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
            fm_settle();
            CHECK(!by_driver && buf[0] == 'R');
        }
        by_marked = false;
        CHECK_EQ(read_how(other, 2 * BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        fm_settle();
        CHECK(!by_driver && buf[0] == 'c');
        CHECK_EQ(warm(other), i != 3);
        fm_close(o);
        fm_close(other);
        end();
    }
}

/* A read of it is on its way when it is marked, and the fill comes later. The other one may be
 * marked: it is the same stream. */
static void test_marked_before_a_fill(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        file.f.read = read_copy;
        PFILE_OBJECT const o = fm_open_how(&file.f, false, FILE_OPENED, 0, FM_PLAIN);
        PFILE_OBJECT const other = fm_open(&file.f, false, FILE_OPENED);
        fm_hold(true);
        CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_SUCCESS);
        CHECK_EQ(buf[0], 'b');
        fm_starve(0, i == 1 ? 100 : 0);
        CHECK_EQ(fm_control(i < 2 ? o : other, MARK_HANDLE, mark, NULL, FM_PLAIN), STATUS_SUCCESS);
        fm_starve(0, 0);
        by_marked = i < 2;
        fm_hold(false);
        fm_settle();
        by_marked = false;
        CHECK_EQ(times(0, CMP_FILL), i == 2);
        fm_close(other);
        PFILE_OBJECT const later = fm_open(&file.f, false, FILE_OPENED);
        CHECK_EQ(hits(later), i == 2);
        fm_close(later);
        fm_close(o);
        end();
    }
}

/* ---- Closed handles -------------------------------------------------------------------------- */

/* Rule R10. Another driver keeps the file object of a handle that is closed, and reads with it. */
static void test_closed_handles(void)
{
    begin();
    PFILE_OBJECT const o = fm_open(&file.f, false, FILE_OPENED);
    CHECK(warm(o));
    ObReferenceObject(o);
    fm_close(o);
    CHECK_EQ(read_how(o, BLOCK, BLOCK, FM_PLAIN), STATUS_FILE_CLOSED);
    ObDereferenceObject(o);
    end();
}

const struct harness_test shell_disk_tests[] = {
    TEST(lost_writes),
    TEST(lost_after_the_close),
    TEST(lost_before_a_flush),
    TEST(killed_in_a_flush),
    TEST(detached_in_a_flush),
    TEST(not_lost),
    TEST(lost_while_it_leaves),
    TEST(paging_writes_of_drivers),
    TEST(paging_writes_without_memory),
    TEST(zeros_of_the_file_system),
    TEST(paging_writes_inside),
    TEST(paging_writes_of_files),
    TEST(dismounts),
    TEST(mounted_again),
    TEST(another_is_mounted),
    TEST(comes_to_a_detached),
    TEST(removed_before_a_fill),
    TEST(dismounts_on_their_way),
    TEST(writes_in_a_dismount),
    TEST(dismounts_of_files),
    TEST(oplocks),
    TEST(oplocks_without_memory),
    TEST(oplocks_while_it_leaves),
    TEST(marked_handles),
    TEST(marked_before_a_fill),
    TEST(closed_handles),
    TEST_END,
};
