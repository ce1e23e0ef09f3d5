/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_win32_files.c - opening, names, sharing, locking and mapping of pools on Windows,
 * and faults of mapped memory.
 */
#include "platform_win32.h"

#include <wchar.h>

#include "persist/persist.h"
#include "platform/win32_path.h"

/* ---- Opening ------------------------------------------------------------------------------- */

static void test_open(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char text[8] = { 0 };
    HANDLE pipe;
    unsigned handles;

    make_file(in_dir("file"), "0123456789");
    handles = open_files();
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), false), 0);
    CHECK_EQ(f.size, 10);
    CHECK(!f.readonly);
    CHECK_EQ(cm_plat_file_pread(&f, text, 4, 3), 0);
    CHECK(memcmp(text, "3456", 5) == 0);
    CHECK_EQ(cm_plat_file_pread(&f, text, 4, 7), CM_EIO);
    CHECK_EQ(cm_plat_file_pread(&f, text, 0, 99), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("missing"), false), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file/below"), false), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, "\\\\no.such.server.example\\share\\pool", true), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, dir, false), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, dir, true), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, "NUL", false), CM_ENOTFILE);
    pipe = CreateNamedPipeA("\\\\.\\pipe\\cachemax-test", PIPE_ACCESS_DUPLEX, 0, 1, 0, 0, 0, NULL);
    REQUIRE(pipe != INVALID_HANDLE_VALUE);
    CHECK_EQ(cm_plat_file_open(&f, "\\\\.\\pipe\\cachemax-test", false), CM_ENOTFILE);
    CHECK(CloseHandle(pipe));
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(open_files(), handles);
    cm_plat_file_remove(in_dir("file"));
}

static void test_open_denied(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    int rc;

    make_file(in_dir("file"), "text");
    CHECK(SetFileAttributesA(in_dir("file"), FILE_ATTRIBUTE_READONLY));
    rc = cm_plat_file_open(&f, in_dir("file"), false);
    if (rc == 0) { /* under Wine, root may write all that the kernel does not refuse */
        cm_plat_file_close(&f);
        rc = cm_plat_file_open(&f, "Z:\\sys\\kernel\\notes", false);
    }
    CHECK_EQ(rc, CM_EACCES);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), true), 0);
    cm_plat_file_close(&f);
    CHECK(SetFileAttributesA(in_dir("file"), FILE_ATTRIBUTE_NORMAL));
    cm_plat_file_remove(in_dir("file"));
}

/* Drive, prefix, both slashes, other alphabets, and names longer than the system once allowed. */
static void test_names(void)
{
    static const char *const names[] = { "p\xc3\xb6\xc3\xb6l", "\xe6\xb1\xa0",
                                         "\xf0\x9f\x92\xbe space" };
    char full[512], path[1200];
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (unsigned form = 0; form < 3; form++) {
            (void)snprintf(path, sizeof path, "%s%s%s%s", form == 1 ? "\\\\?\\" : "",
                           form == 2 ? dir : full, form == 2 ? "/" : "\\", names[i]);
            CHECK_EQ(plat_create(&f, path, PAGE, true, NULL, NULL), 0);
            cm_plat_file_close(&f);
            CHECK_EQ(cm_plat_file_open(&f, in_dir(names[i]), true), 0);
            cm_plat_file_close(&f);
            CHECK_EQ(cm_plat_file_sync_dir(path), 0);
            cm_plat_file_remove(path);
            CHECK_EQ(cm_plat_file_open(&f, path, true), CM_ENOENT);
        }
    }
}

/* After the prefix the system takes a name as it is. Without the prefix it leaves out dots at the
 * end. */
static void test_verbatim_names(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char full[512], path[600];

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0);
    (void)snprintf(path, sizeof path, "\\\\?\\%s\\dot.", full);
    CHECK_EQ(plat_create(&f, path, PAGE, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("dot"), true), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, path, true), 0);
    cm_plat_file_close(&f);
    cm_plat_file_remove(path);
    cm_plat_file_remove(in_dir("dot"));
    CHECK_EQ(plat_create(&f, path + 4, PAGE, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, path, true), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("dot"), true), 0);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("dot"));
}

static void test_long_names(void)
{
    static const char part[] = "/a-name-of-fifty-characters-or-so-that-makes-it-longer";
    const size_t partlen = strlen(part);
    struct cm_plat_file f = PLAT_FILE_INIT;
    wchar_t wide[1200];
    char path[1200], full[1300];
    unsigned depth = 0;

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0);
    (void)snprintf(path, sizeof path, "\\\\?\\%s", full);
    for (; depth < 8; depth++) {
        (void)strcat(path, part);
        path[strlen(path) - partlen] = '\\';
        (void)mbstowcs(wide, path, 1200);
        REQUIRE(CreateDirectoryW(wide, NULL));
    }
    REQUIRE(strlen(path) > 300);
    (void)snprintf(full, sizeof full, "%s/pool", path + 4); /* without the prefix */
    CHECK_EQ(plat_create(&f, full, PAGE, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, full, false), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_sync_dir(full), 0);
    cm_plat_file_remove(full);
    CHECK_EQ(cm_plat_file_open(&f, full, false), CM_ENOENT);
    for (; depth > 0; depth--) {
        (void)mbstowcs(wide, path, 1200);
        CHECK(RemoveDirectoryW(wide));
        path[strlen(path) - partlen] = 0;
    }
}

/* Checks the form of a name that the system gets. */
static void check_form(const char *name, const wchar_t *begin, size_t length)
{
    wchar_t *form = win32_path(name);

    REQUIRE(form != NULL);
    CHECK(wcsncmp(form, begin, wcslen(begin)) == 0);
    CHECK_EQ(wcslen(form), length);
    free(form);
}

static void test_long_forms(void)
{
    char name[700], part[301];

    memset(part, 'n', 300);
    part[300] = 0;
    check_form("\\\\server\\share\\pool", L"\\\\server\\share\\pool", 19); /* short: unchanged */
    check_form("C:/pool", L"C:/pool", 7);
    (void)snprintf(name, sizeof name, "\\\\server\\share\\%s\\pool", part);
    check_form(name, L"\\\\?\\UNC\\server\\share\\nnn", 8 + 13 + 300 + 5);
    (void)snprintf(name, sizeof name, "//server/share/%s/../%s", part, part);
    check_form(name, L"\\\\?\\UNC\\server\\share\\nnn", 8 + 13 + 300);
    (void)snprintf(name, sizeof name, "C:/%s/pool", part);
    check_form(name, L"\\\\?\\C:\\nnn", 4 + 3 + 300 + 5);
    (void)snprintf(name, sizeof name, "\\\\?\\C:\\%s", part);
    check_form(name, L"\\\\?\\C:\\nnn", 4 + 3 + 300);
    (void)snprintf(name, sizeof name, "//?/C:/%s", part); /* has the prefix already */
    check_form(name, L"\\\\?\\C:\\nnn", 4 + 3 + 300);
    (void)snprintf(name, sizeof name, "//?/UNC/server/share/%s", part);
    check_form(name, L"\\\\?\\UNC\\server\\share\\nnn", 8 + 13 + 300);
    (void)snprintf(name, sizeof name, "//./C:/%s", part);
    check_form(name, L"\\\\.\\C:\\nnn", 4 + 3 + 300);
}

/* A short name in a directory whose own name is nearly as long as allowed. */
static void test_long_relative_names(void)
{
    static const char name[] = "twenty-characters.xx";
    wchar_t before[MAX_PATH], deep[MAX_PATH];
    struct cm_plat_file f = PLAT_FILE_INIT;
    char full[MAX_PATH];
    size_t n;

    REQUIRE(GetCurrentDirectoryW(MAX_PATH, before) != 0);
    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0 && strlen(full) < 200);
    n = strlen(full);
    full[n] = '\\';
    memset(full + n + 1, 'd', 230 - n - 1);
    full[230] = 0;
    (void)mbstowcs(deep, full, MAX_PATH);
    REQUIRE(CreateDirectoryW(deep, NULL) && SetCurrentDirectoryW(deep));
    check_form(name, L"\\\\?\\", 4 + 230 + 1 + 20);
    /* 245 characters, and more while a pool of that name is made */
    check_form("fourteen-chars", L"\\\\?\\", 4 + 230 + 1 + 14);
    check_form("a", L"a", 1);
    CHECK_EQ(plat_create(&f, name, PAGE, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_open(&f, name, false), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_sync_dir(name), 0);
    cm_plat_file_remove(name);
    CHECK_EQ(cm_plat_file_open(&f, name, false), CM_ENOENT);
    CHECK(SetCurrentDirectoryW(before));
    CHECK(RemoveDirectoryW(deep));
}

/* A name on a share: of this machine itself, if it has one. */
static void test_share(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char full[300], path[400];

    REQUIRE(GetFullPathNameA(dir, sizeof full, full, NULL) != 0 && full[1] == ':');
    (void)snprintf(path, sizeof path, "\\\\localhost\\%c$\\", full[0]);
    if (GetFileAttributesA(path) == INVALID_FILE_ATTRIBUTES) {
        SKIP("no share \\\\localhost\\c$ here");
    }
    for (unsigned form = 0; form < 2; form++) {
        (void)snprintf(path, sizeof path, "%slocalhost\\%c$%s\\pool",
                       form ? "\\\\?\\UNC\\" : "\\\\", full[0], full + 2);
        CHECK_EQ(plat_create(&f, path, PAGE, true, NULL, NULL), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(cm_plat_file_open(&f, in_dir("pool"), true), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(cm_plat_file_open(&f, path, false), 0);
        CHECK_EQ(cm_plat_file_lock(&f), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(cm_plat_file_sync_dir(path), 0);
        cm_plat_file_remove(path);
        CHECK_EQ(os_size(in_dir("pool")), -1);
    }
}

/* ---- Locking ------------------------------------------------------------------------------- */

void lock_other_process_body(const char *path)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(cm_plat_file_open(&f, path, false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 1);
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&f, path, true) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 1); /* also for a handle that may only read */
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
}

void lock_and_die_body(const char *path)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(cm_plat_file_open(&f, path, false) == 0);
    REQUIRE(cm_plat_file_lock(&f) == 0);
    (void)TerminateProcess(GetCurrentProcess(), 9);
}

static void test_lock(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    char first[4] = { 0 };

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 0); /* not locked by another open */
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&g), 1);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK(!cm_plat_file_is_taken(&g));
    cm_plat_file_say_taken(&f);
    CHECK(cm_plat_file_is_taken(&g));
    CHECK_EQ(cm_plat_file_pread(&g, first, 4, 0), 0); /* to say who the owner is */
    CHECK_EQ(os_run_self("lock_other_process", in_dir("pool")), 0);
    cm_plat_file_close(&g);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* it has the lock already */
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), true) == 0);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), true) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* two opens for reading */
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    cm_plat_file_close(&g);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    cm_plat_file_close(&g);
    CHECK_EQ(os_run_self("lock_and_die", in_dir("pool")), 9);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* the lock died with its owner */
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* Other programs may read a pool beside its owner, but not write it. A file that they hold open
 * keeps an owner out. */
static void test_sharing(void)
{
    const DWORD all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    struct cm_plat_file f = PLAT_FILE_INIT;
    HANDLE h;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    h = open_shared(in_dir("pool"), GENERIC_READ, all);
    CHECK(h != INVALID_HANDLE_VALUE);
    CHECK(CloseHandle(h));
    CHECK(open_shared(in_dir("pool"), GENERIC_WRITE, all) == INVALID_HANDLE_VALUE);
    CHECK_EQ(GetLastError(), ERROR_SHARING_VIOLATION);
    CHECK(!DeleteFileA(in_dir("pool")));
    cm_plat_file_close(&f);
    h = open_shared(in_dir("pool"), GENERIC_READ | GENERIC_WRITE, 0);
    REQUIRE(h != INVALID_HANDLE_VALUE);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("pool"), false), CM_EOWNED); /* not even for reading */
    CHECK_EQ(cm_plat_file_open(&f, in_dir("pool"), true), CM_EOWNED);
    CHECK(CloseHandle(h));
    h = open_shared(in_dir("pool"), GENERIC_WRITE, all); /* a program that holds no lock */
    REQUIRE(h != INVALID_HANDLE_VALUE);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
    CHECK(CloseHandle(h));
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* Acts like a virus scanner: opens the file so that no other program can open it, and soon closes
 * it. */
struct scanner {
    const char *path;
    DWORD share;
    uint32_t there;
};

static void *scan(void *arg)
{
    struct scanner *s = arg;
    const HANDLE h = open_shared(s->path, GENERIC_READ, s->share);

    CHECK(h != INVALID_HANDLE_VALUE);
    at_store_release(&s->there, 1u);
    sleep_ms(120);
    CHECK(CloseHandle(h));
    return NULL;
}

static void scan_while(struct scanner *s, pthread_t *thread)
{
    s->there = 0;
    REQUIRE(pthread_create(thread, NULL, scan, s) == 0);
    while (at_load_acquire(&s->there) == 0) {
        at_pause();
    }
}

static void test_passing_opens(void)
{
    static const DWORD shares[] = { 0, FILE_SHARE_READ, FILE_SHARE_READ | FILE_SHARE_DELETE };
    struct scanner s = { .path = in_dir("pool") };
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    uint64_t began;
    pthread_t thread;

    REQUIRE(plat_create(&f, s.path, PAGE, true, NULL, NULL) == 0);
    began = cm_plat_now_ns();
    REQUIRE(cm_plat_file_open(&g, s.path, false) == 0); /* an owner stays: fails at once */
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK(cm_plat_now_ns() - began < 300000000);
    cm_plat_file_close(&g);
    cm_plat_file_close(&f);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        s.share = shares[i];
        scan_while(&s, &thread);
        CHECK_EQ(cm_plat_file_open(&f, s.path, false), 0);
        CHECK_EQ(cm_plat_file_lock(&f), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        scan_while(&s, &thread);
        CHECK_EQ(cm_plat_file_open(&f, s.path, true), 0);
        cm_plat_file_close(&f);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    s.share = 0;
    scan_while(&s, &thread);
    cm_plat_file_remove(s.path);
    CHECK_EQ(os_size(s.path), -1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- Mapping ------------------------------------------------------------------------------- */

static void test_map_leaves_nothing_behind(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;
    unsigned handles;

    REQUIRE(plat_create(&f, in_dir("pool"), MIB + PAGE, false, NULL, NULL) == 0);
    cm_plat_file_close(&f);
    handles = open_files();
    for (unsigned i = 0; i < 100; i++) {
        REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
        REQUIRE(cm_plat_file_map(&f, 1024ull * MIB, &durability) == 0);
        cm_plat_file_close(&f);
    }
    CHECK_EQ(open_files(), handles);
    /* If 100 GiB of address space stayed mapped, the file could not be deleted either. */
    CHECK(DeleteFileA(in_dir("pool")));
}

static void test_map_protection(void)
{
    MEMORY_BASIC_INFORMATION page;
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;

    make_file(in_dir("file"), "some text");
    for (int readonly = 0; readonly < 2; readonly++) {
        REQUIRE(cm_plat_file_open(&f, in_dir("file"), readonly) == 0);
        REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
        REQUIRE(VirtualQuery(f.base, &page, sizeof page) != 0);
        CHECK_EQ(page.Protect, readonly ? PAGE_READONLY : PAGE_READWRITE);
        CHECK(memcmp(f.base, "some text", 9) == 0);
        cm_plat_file_close(&f);
    }
    make_file(in_dir("file"), "");
    REQUIRE(cm_plat_file_open(&f, in_dir("file"), false) == 0);
    CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), CM_EIO); /* nothing to map */
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("file"));
}

/* What raises SIGBUS on POSIX cannot happen: a mapped file cannot be cut off. */
static void test_cut_refused(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;

    make_file(in_dir("file"), "some text");
    REQUIRE(cm_plat_file_open(&f, in_dir("file"), true) ==
            0); /* an owner lets no other program write */
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    CHECK_EQ(os_resize(in_dir("file"), 2), -1);
    CHECK_EQ(os_size(in_dir("file")), 9);
    cm_plat_file_close(&f);
    CHECK_EQ(os_resize(in_dir("file"), 2), 0);
    cm_plat_file_remove(in_dir("file"));
}

static void test_durability(void)
{
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    printf("# durability of %s: %d\n", dir, (int)durability);
    CHECK_EQ(durability, CM_DURABILITY_PAGECACHE);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

static void test_sync_dir(void)
{
    CHECK_EQ(cm_plat_file_sync_dir(in_dir("anything")), 0);
    CHECK_EQ(cm_plat_file_sync_dir("anything"), 0);
    CHECK_EQ(cm_plat_file_sync_dir("C:\\anything"), 0);
    CHECK_EQ(cm_plat_file_sync_dir(in_dir("no/such")), CM_ENOENT);
    cm_plat_file_remove(in_dir("missing")); /* there is nothing to remove: no harm */
}

/* ---- Faults -------------------------------------------------------------------------------- */

static LONG fault_seen; /* by the handlers below */
static uint8_t *fault_page;

/* Turns the fault of a forbidden page into the one that unreadable media raises. */
static LONG CALLBACK turn_into_page_error(EXCEPTION_POINTERS *fault)
{
    if (fault->ExceptionRecord->ExceptionCode == EXCEPTION_ACCESS_VIOLATION &&
        fault->ExceptionRecord->ExceptionInformation[1] == (ULONG_PTR)fault_page) {
        fault->ExceptionRecord->ExceptionCode = (DWORD)EXCEPTION_IN_PAGE_ERROR;
        fault->ExceptionRecord->NumberParameters = 3;
        fault->ExceptionRecord->ExceptionInformation[2] = 0xc000009c; /* a bad block */
        fault_seen++;
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

/* Another handler, called after the guard's: makes the page accessible and tries again. */
static LONG CALLBACK repair_page(EXCEPTION_POINTERS *fault)
{
    DWORD old;

    if (fault->ExceptionRecord->ExceptionCode != EXCEPTION_ACCESS_VIOLATION ||
        fault->ExceptionRecord->ExceptionInformation[1] != (ULONG_PTR)fault_page) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    fault_seen++;
    return VirtualProtect(fault_page, PAGE, PAGE_READWRITE, &old) ? EXCEPTION_CONTINUE_EXECUTION
                                                                  : EXCEPTION_CONTINUE_SEARCH;
}

static void test_page_errors_are_errors(void)
{
    uint64_t v = 0;
    void *handler;

    fault_page = cm_plat_alloc(64 * PAGE);
    REQUIRE(fault_page != NULL && cm_guard_add(fault_page, PAGE) == 0);
    handler = AddVectoredExceptionHandler(1, turn_into_page_error);
    REQUIRE(handler != NULL);
    os_protect(fault_page, PAGE, OS_NOTHING);
    fault_seen = 0;
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)fault_page, &v), CM_EIO);
    CHECK_EQ(fault_seen, 1);
    CHECK_EQ(RemoveVectoredExceptionHandler(handler) != 0, 1);
    cm_guard_remove(fault_page);
    cm_plat_free(fault_page, 64 * PAGE);
}

static void test_other_faults_reach_their_handler(void)
{
    uint64_t v = 1;
    void *handler;

    fault_page = cm_plat_alloc(64 * PAGE);
    REQUIRE(fault_page != NULL && cm_guard_add(fault_page, PAGE) == 0);
    handler = AddVectoredExceptionHandler(0, repair_page);
    REQUIRE(handler != NULL);
    fault_seen = 0;
    os_protect(fault_page, PAGE, OS_NOTHING);
    CHECK_EQ(*(volatile uint8_t *)fault_page, 0); /* the address is registered, not the code */
    CHECK_EQ(fault_seen, 1);
    os_protect(fault_page, PAGE, OS_NOTHING);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)fault_page, &v), CM_EIO);
    CHECK_EQ(fault_seen, 1); /* other handlers do not see a fault of the guard */
    cm_guard_remove(fault_page);
    CHECK_EQ(cm_guard_load64((const uint64_t *)(const void *)fault_page, &v), 0);
    CHECK_EQ(fault_seen, 2); /* the code is the guard's, but the address is not registered */
    CHECK_EQ(v, 0);
    CHECK_EQ(RemoveVectoredExceptionHandler(handler) != 0, 1);
    cm_plat_free(fault_page, 64 * PAGE);
}

void fault_body(const char *arg)
{
    uint8_t *p = cm_plat_alloc(64 * PAGE);

    (void)arg;
    REQUIRE(p != NULL && cm_guard_add(p, PAGE) == 0);
    (void)SetErrorMode(SEM_NOGPFAULTERRORBOX);
    os_protect(p, PAGE, OS_NOTHING);
    *(volatile uint8_t *)p = 1; /* ends the process */
}

static void test_other_faults_are_fatal_without_one(void)
{
    CHECK_EQ((DWORD)os_run_self("fault", ""), EXCEPTION_ACCESS_VIOLATION);
}

const struct harness_test platform_win32_files_tests[] = {
    TEST(open),
    TEST(open_denied),
    TEST(names),
    TEST(verbatim_names),
    TEST(long_names),
    TEST(long_forms),
    TEST(long_relative_names),
    TEST(share),
    TEST(lock),
    TEST(sharing),
    TEST(passing_opens),
    TEST(map_leaves_nothing_behind),
    TEST(map_protection),
    TEST(cut_refused),
    TEST(durability),
    TEST(sync_dir),
    TEST(page_errors_are_errors),
    TEST(other_faults_reach_their_handler),
    TEST(other_faults_are_fatal_without_one),
    TEST_END,
};
