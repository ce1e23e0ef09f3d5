/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp_calls.c - calls of one handle of the origin beside one another, on Windows (Wine).
 *
 * Windows lets a call of a handle begin when the one before has ended, unless the handle was opened
 * for overlapped calls: then a call may end after it has returned. Wine ends each before it
 * returns, so both is done here. And what the mount says of the space of a volume as Windows knows
 * them.
 */
#include "winfsp_case.h"

#include <winternl.h>

#define CALLS 3
#define MODE ((FILE_INFORMATION_CLASS)16) /* FileModeInformation */
#define SYNCHRONOUS UINT32_C(0x30)        /* FILE_SYNCHRONOUS_IO_ALERT, _NONALERT */

static void find_real(const char *dll, const char *name, void *call, size_t size)
{
    const FARPROC at = GetProcAddress(GetModuleHandleA(dll), name);

    memcpy(call, &at, size);
}

static bool is_overlapped(HANDLE h)
{
    static NTSTATUS(NTAPI * query)(HANDLE, IO_STATUS_BLOCK *, void *, ULONG,
                                   FILE_INFORMATION_CLASS);
    IO_STATUS_BLOCK io;
    ULONG mode = SYNCHRONOUS;

    if (!query)
        find_real("ntdll", "NtQueryInformationFile", &query, sizeof(query));
    return query(h, &io, &mode, sizeof(mode), MODE) == 0 && (mode & SYNCHRONOUS) == 0;
}

/* Of the handle that is watched: its reads and writes are held until they are let go. */
static struct held {
    void *into;
    const void *from;
    DWORD len;
    OVERLAPPED *o;
    HANDLE go; /* for a handle that is not for overlapped calls */
} held[CALLS];
static HANDLE watched, comes; /* comes: a semaphore */
static atomic_uint begun, ended;
static atomic_uint waits; /* calls that Windows would not have let begin */
static NTSTATUS late;     /* what the next call ends with, after it has returned */

static BOOL(WINAPI *real_read)(HANDLE, void *, DWORD, DWORD *, OVERLAPPED *);
static BOOL(WINAPI *real_write)(HANDLE, const void *, DWORD, DWORD *, OVERLAPPED *);

static BOOL do_it(const struct held *c, HANDLE h, DWORD *n)
{
    return c->into ? real_read(h, c->into, c->len, n, c->o)
                   : real_write(h, c->from, c->len, n, c->o);
}

static void look_for_others(HANDLE h)
{
    if (h == watched && !is_overlapped(h) && atomic_load(&begun) > atomic_load(&ended))
        atomic_fetch_add(&waits, 1);
}

static BOOL hold(struct held c, HANDLE h, DWORD *n)
{
    const unsigned before = atomic_load(&begun), i = before % CALLS;
    BOOL done;

    look_for_others(h);
    if (late != 0) {
        CHECK(is_overlapped(h));
        c.o->InternalHigh = 0;
        c.o->Internal = (ULONG_PTR)late;
        SetEvent(c.o->hEvent);
        SetLastError(ERROR_IO_PENDING);
        return FALSE;
    }
    CHECK(before < CALLS); /* the test begins one after the other */
    c.go = CreateEventA(NULL, TRUE, FALSE, NULL);
    held[i] = c;
    atomic_store(&begun, before + 1);
    if (is_overlapped(h)) {
        ResetEvent(c.o->hEvent);
        c.o->Internal = (ULONG_PTR)STATUS_PENDING;
        ReleaseSemaphore(comes, 1, NULL);
        SetLastError(ERROR_IO_PENDING);
        return FALSE;
    }
    ReleaseSemaphore(comes, 1, NULL);
    WaitForSingleObject(c.go, INFINITE);
    done = do_it(&c, h, n);
    atomic_fetch_add(&ended, 1);
    return done;
}

static void let_go(unsigned i)
{
    if (!is_overlapped(watched)) {
        SetEvent(held[i].go);
        return;
    }
    CHECK(do_it(&held[i], watched, NULL) || GetLastError() == ERROR_IO_PENDING);
    atomic_fetch_add(&ended, 1);
}

/* This is what the program calls: the linker takes it in the place of the library's pointer. */
static BOOL WINAPI read_it(HANDLE h, void *buf, DWORD len, DWORD *n, OVERLAPPED *o)
{
    if (!real_read)
        find_real("kernel32", "ReadFile", &real_read, sizeof(real_read));
    return h && h == watched ? hold((struct held){ .into = buf, .len = len, .o = o }, h, n)
                             : real_read(h, buf, len, n, o);
}
BOOL(WINAPI *const __imp_ReadFile)(HANDLE, void *, DWORD, DWORD *, OVERLAPPED *) = read_it;

static BOOL WINAPI write_it(HANDLE h, const void *buf, DWORD len, DWORD *n, OVERLAPPED *o)
{
    if (!real_write)
        find_real("kernel32", "WriteFile", &real_write, sizeof(real_write));
    return h && h == watched ? hold((struct held){ .from = buf, .len = len, .o = o }, h, n)
                             : real_write(h, buf, len, n, o);
}
BOOL(WINAPI *const __imp_WriteFile)(HANDLE, const void *, DWORD, DWORD *, OVERLAPPED *) = write_it;

static BOOL WINAPI flush_it(HANDLE h)
{
    static BOOL(WINAPI * real)(HANDLE);

    if (!real)
        find_real("kernel32", "FlushFileBuffers", &real, sizeof(real));
    look_for_others(h);
    return real(h);
}
BOOL(WINAPI *const __imp_FlushFileBuffers)(HANDLE) = flush_it;

static BOOL WINAPI ask_it(HANDLE h, BY_HANDLE_FILE_INFORMATION *is)
{
    static BOOL(WINAPI * real)(HANDLE, BY_HANDLE_FILE_INFORMATION *);

    if (!real)
        find_real("kernel32", "GetFileInformationByHandle", &real, sizeof(real));
    look_for_others(h);
    return real(h, is);
}
BOOL(WINAPI *const __imp_GetFileInformationByHandle)
(HANDLE, BY_HANDLE_FILE_INFORMATION *) = ask_it;

static uint64_t used; /* by the threads */

static DWORD WINAPI read_some(void *at)
{
    CALL(is_right_at(used, (int)(intptr_t)at, 1000));
    return 0;
}

static DWORD WINAPI write_some(void *at)
{
    CALL(write_at(used, (int)(intptr_t)at, 1000));
    return 0;
}

static HANDLE begin(DWORD(WINAPI *what)(void *), intptr_t at)
{
    const HANDLE thread = CreateThread(NULL, 0, what, (void *)at, 0, NULL);

    CHECK(thread && WaitForSingleObject(comes, 60000) == 0);
    return thread;
}

static void end(unsigned i, HANDLE thread)
{
    CALL(let_go(i));
    CHECK(WaitForSingleObject(thread, INFINITE) == 0 && CloseHandle(thread));
    CloseHandle(held[i].go);
}

static void watch(uint64_t fh)
{
    watched = fh ? (HANDLE)((struct handle *)(uintptr_t)fh)->f : NULL;
}

/* A miss, a write and another miss are on their way to the disk. A hit waits for none of them, nor
 * do they for one another. */
static void test_beside_one_another(void)
{
    struct fuse_file_info fi = { 0 };
    HANDLE thread[CALLS];
    api_stat st;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    comes = CreateSemaphoreA(NULL, 0, CALLS, NULL);
    fi.fh = used = open_it("/file", O_RDWR);
    for (unsigned i = 0; i < 4; i++)
        CALL(is_right_at(used, LAST, 1000));
    REQUIRE(hits() > 0);
    CALL(watch(used));
    thread[0] = begin(read_some, 1 * BLOCK);
    for (unsigned i = 0; i < 1000; i++)
        wrote[2 * BLOCK + i]++;
    thread[1] = begin(write_some, 2 * BLOCK);
    thread[2] = begin(read_some, 3 * BLOCK);
    CALL(is_right_at(used, LAST, 1000));
    CHECK_EQ(ops.fsync(NULL, 0, &fi), 0);
    CHECK(ops.getattr(NULL, &st, &fi) == 0 && st.st_size == SIZE);
    CHECK_EQ(atomic_load(&begun), CALLS);
    CHECK_EQ(atomic_load(&ended), 0);
    CALL(end(1, thread[1]));
    CALL(end(2, thread[2]));
    CALL(end(0, thread[0]));
    CHECK_EQ(atomic_load(&waits), 0);
    CALL(watch(0));
    CALL(is_right(used, SIZE));
    close_it(used);
    CloseHandle(comes);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* An error, or the end of the file, may come after the call has returned. */
static void test_late_errors(void)
{
    char buf[100];
    struct fuse_file_info fi = { 0 };

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fi.fh = open_it("/file", O_RDWR);
    CALL(watch(fi.fh));
    late = (NTSTATUS)0xc0000011; /* STATUS_END_OF_FILE */
    CHECK_EQ(ops.read(NULL, buf, 100, 0, &fi), 0);
    late = (NTSTATUS)0xc0000022; /* STATUS_ACCESS_DENIED */
    CHECK_EQ(ops.read(NULL, buf, 100, 0, &fi), -EACCES);
    late = (NTSTATUS)0xc000007f; /* STATUS_DISK_FULL */
    CHECK_EQ(ops.write(NULL, wrote, 100, 0, &fi), -ENOSPC);
    late = 0;
    CALL(watch(0));
    CALL(is_right(fi.fh, SIZE));
    close_it(fi.fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* However a file is opened. */
static void test_ways_to_open(void)
{
    const struct origin_how ways[] = { { .reads = true },
                                       { .reads = true, .writes = true },
                                       { .writes = true, .create = true },
                                       { .writes = true, .create = true, .exclusive = true } };
    origin_file f, again;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    for (unsigned k = 0; k < 4; k++) {
        CASE("way %u", k);
        REQUIRE(origin_open(k < 3 ? "/file" : "/new", &ways[k], &f) == 0);
        CHECK(is_overlapped((HANDLE)f));
        REQUIRE(origin_reopen(f, &again) == 0);
        CHECK(is_overlapped((HANDLE)again));
        CHECK(origin_close(again) == 0 && origin_close(f) == 0);
    }
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/new") == 0);
    CALL(end_test());
}

/* The volume: bytes of a sector, and of all; 0: the real one. `mine`: what a quota leaves of
 * `left`.
 */
static struct {
    DWORD sector;
    uint64_t all, left, mine;
} disk;

static BOOL WINAPI say_sectors(LPCWSTR root, DWORD *of_cluster, DWORD *bytes, DWORD *left,
                               DWORD *all)
{
    const size_t n = wcslen(root);

    CHECK(n >= 3 && !wcscmp(root + n - 2, L":\\")); /* Windows takes no other path */
    *of_cluster = 8;
    *bytes = disk.sector;
    *left = *all = 1;
    return TRUE;
}
BOOL(WINAPI *const __imp_GetDiskFreeSpaceW)
(LPCWSTR, DWORD *, DWORD *, DWORD *, DWORD *) = say_sectors;

static BOOL WINAPI say_space(LPCWSTR dir, ULARGE_INTEGER *mine, ULARGE_INTEGER *all,
                             ULARGE_INTEGER *left)
{
    static BOOL(WINAPI * real)(LPCWSTR, ULARGE_INTEGER *, ULARGE_INTEGER *, ULARGE_INTEGER *);

    if (!real)
        find_real("kernel32", "GetDiskFreeSpaceExW", &real, sizeof(real));
    if (disk.sector == 0)
        return real(dir, mine, all, left);
    mine->QuadPart = disk.mine;
    all->QuadPart = disk.all;
    if (left)
        left->QuadPart = disk.left;
    return TRUE;
}
BOOL(WINAPI *const __imp_GetDiskFreeSpaceExW)
(LPCWSTR, ULARGE_INTEGER *, ULARGE_INTEGER *, ULARGE_INTEGER *) = say_space;

/* WinFsp takes f_frsize for the size of a sector, and multiplies by it. */
static void test_space(void)
{
    static const DWORD sectors[] = { 512, 4096 };
    api_statvfs s;

    CALL(begin_test());
    for (unsigned i = 0; i < 2; i++) {
        CASE("sector %lu", sectors[i]);
        disk.sector = sectors[i];
        disk.all = UINT64_C(3) << 44;
        disk.left = UINT64_C(5) << 40;
        disk.mine = (UINT64_C(1) << 40) - sectors[i];
        CHECK_EQ(ops.statfs("/", &s), 0);
        CHECK_EQ(s.f_frsize, sectors[i]);
        CHECK_EQ(s.f_bsize, sectors[i]);
        CHECK_EQ(s.f_blocks * s.f_frsize, disk.all);
        CHECK_EQ(s.f_bfree * s.f_frsize, disk.mine);
        CHECK_EQ(s.f_bavail * s.f_frsize, disk.mine);
    }
    disk.sector = 0;
    CHECK(ops.statfs("/", &s) < 0);
    CALL(end_test());
}

static const struct harness_test tests[] = { TEST(beside_one_another), TEST(late_errors),
                                             TEST(ways_to_open), TEST(space) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
