/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_run.c - platform.h on Windows: clocks, memory, threads, faults.
 *
 * Owns three pieces of process-wide state: the slot of the threads' own data, the counter of their
 * numbers, and the fault guard (a table of address ranges and the handler). Every module may call
 * it. It calls nothing back.
 *
 * THREADS  A thread's own data hangs on a fiber-local slot, because the slot's callback frees it
 * when the thread ends. (On this system the compiler's __thread may allocate at an access. A slot
 * can be read anywhere.)
 * FAULT GUARD  A vectored handler, the first in the list. If the program counter lies in the
 * guarded code of persist and the address in a registered range, it moves the program counter to
 * the code's landing and lets the thread continue. The routine then returns CM_EIO. The handler
 * uses no unwinding; it only reads a table that never shrinks. Every other exception goes on to the
 * next handler. Unreadable media is EXCEPTION_IN_PAGE_ERROR. A page that is gone may also come as
 * EXCEPTION_ACCESS_VIOLATION.
 *
 * Who: api/, objects/, protocol/, state/, media/, policy/, persist/, platform/.
 */
#include "platform/win32.h"

#include <assert.h>
#include <malloc.h>
#include <psapi.h>
#ifdef CM_CHECKS_FULL
#include <stdio.h>
#include <stdlib.h>
#endif

#include "platform/atomic.h"
#include "platform/guard_ranges.h"

/* Alignments that cm_plat_alloc promises. */
#define WIN32_LINE 64u
#define WIN32_PAGE 4096u
#define WIN32_SMALL (64u << 10) /* below: from malloc; above: pages, lazily zero */

/* Keeps this module loaded until the process ends, because the system has addresses in it. */
static void stay_loaded(void)
{
    static const char in_this_module;
    HMODULE module;

    (void)GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                             (LPCWSTR)(const void *)&in_this_module, &module);
}

FARPROC win32_find(const wchar_t *module, const char *name)
{
    const HMODULE m = GetModuleHandleW(module);

    return m == NULL ? NULL : GetProcAddress(m, name);
}

/* ---- Clocks -------------------------------------------------------------------------------- */

uint64_t cm_plat_now_ns(void)
{
    static uint64_t frequency; /* constant: all threads find the same */
    uint64_t hz = at_load_relaxed(&frequency);
    LARGE_INTEGER count;

    if (hz == 0) {
        LARGE_INTEGER f;

        (void)QueryPerformanceFrequency(&f);
        hz = (uint64_t)f.QuadPart;
        at_store_relaxed(&frequency, hz);
    }
    (void)QueryPerformanceCounter(&count);
    return (uint64_t)count.QuadPart / hz * 1000000000u +
           (uint64_t)count.QuadPart % hz * 1000000000u / hz;
}

void cm_plat_sleep(uint64_t ns)
{
    const uint64_t most = INFINITE - 1;
    const uint64_t ms = ns / 1000000u + 1;

    Sleep((DWORD)(ms < most ? ms : most));
}

/* ---- Memory -------------------------------------------------------------------------------- */

void *cm_plat_alloc(size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    if (bytes < WIN32_SMALL) {
        void *p = _aligned_malloc(bytes, bytes < WIN32_PAGE ? WIN32_LINE : WIN32_PAGE);

        return p == NULL ? NULL : memset(p, 0, bytes);
    }
    /* Lazily zeroed, but the system counts all of it against memory and page file. */
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void cm_plat_free(void *p, size_t bytes)
{
    if (p == NULL) {
        return;
    }
    if (bytes < WIN32_SMALL) {
        _aligned_free(p);
    } else {
        const BOOL freed = VirtualFree(p, 0, MEM_RELEASE);

        assert(freed);
        (void)freed;
    }
}

#define RESIDENT_STEP 64u /* pages in one system call */

static size_t page_size(void)
{
    SYSTEM_INFO system;

    GetSystemInfo(&system);
    return system.dwPageSize;
}

bool cm_plat_file_is_resident(const struct cm_plat_file *f, const void *p, size_t n)
{
    (void)f;
    return cm_plat_is_resident(p, n);
}

size_t cm_plat_cut_page(void)
{
    return 0; /* the system refuses to cut what has a view */
}

/* A page that is in memory, but not in the working set of this process, counts as not resident. */
bool cm_plat_is_resident(const void *p, size_t n)
{
    const size_t page = page_size();
    const uintptr_t end = (uintptr_t)p + n;
    uintptr_t at = (uintptr_t)p & ~(uintptr_t)(page - 1);
    PSAPI_WORKING_SET_EX_INFORMATION in[RESIDENT_STEP];

    assert(p != NULL && n > 0);
    while (at < end) {
        DWORD count = 0;

        for (; count < RESIDENT_STEP && at < end; at += page) {
            in[count++] = (PSAPI_WORKING_SET_EX_INFORMATION){ .VirtualAddress = (PVOID)at };
        }
        if (!K32QueryWorkingSetEx(GetCurrentProcess(), in, count * (DWORD)sizeof in[0])) {
            return false;
        }
        for (DWORD i = 0; i < count; i++) {
            if (!in[i].VirtualAttributes.Valid) {
                return false;
            }
        }
    }
    return true;
}

void cm_plat_will_need(void *p, size_t n)
{
    WIN32_MEMORY_RANGE_ENTRY range = { .VirtualAddress = p, .NumberOfBytes = n };

    (void)PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

/* The system locks no more than the smallest working set of the process has room for. */
int cm_plat_lock_pages(void *p, size_t n)
{
    SIZE_T least, most;

    assert(p != NULL && n > 0);
    if (VirtualLock(p, n)) {
        return 0;
    }
    if (!GetProcessWorkingSetSize(GetCurrentProcess(), &least, &most) ||
        !SetProcessWorkingSetSize(GetCurrentProcess(), least + n, most + n) || !VirtualLock(p, n)) {
        return CM_ENOMEM;
    }
    return 0;
}

void cm_plat_unlock_pages(void *p, size_t n)
{
    (void)VirtualUnlock(p, n);
}

/* ---- Threads ------------------------------------------------------------------------------- */

void cm_plat_wait(uint32_t *word, uint32_t expected)
{
    assert(word != NULL);
    (void)WaitOnAddress(word, &expected, sizeof expected, INFINITE);
}

bool cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    const uint64_t now = cm_plat_now_ns();
    DWORD ms = INFINITE;

    assert(word != NULL);
    if (deadline_ns <= now) {
        return false;
    }
    if (deadline_ns != UINT64_MAX) {
        /* Rounded up: rounded down, the last millisecond would be a loop without sleep. */
        const uint64_t left = (deadline_ns - now - 1) / 1000000u + 1;

        ms = left < INFINITE ? (DWORD)left : INFINITE - 1;
    }
    (void)WaitOnAddress(word, &expected, sizeof expected, ms);
    return deadline_ns == UINT64_MAX || cm_plat_now_ns() < deadline_ns;
}

void cm_plat_wake_one(uint32_t *word)
{
    WakeByAddressSingle(word);
}

void cm_plat_wake_all(uint32_t *word)
{
    WakeByAddressAll(word);
}

static INIT_ONCE thread_once = INIT_ONCE_STATIC_INIT;
static DWORD thread_slot; /* set under thread_once */

static VOID NTAPI thread_ends(PVOID self)
{
    free(self);
}

static BOOL CALLBACK thread_slot_make(PINIT_ONCE once, PVOID parameter, PVOID *context)
{
    (void)once, (void)parameter, (void)context;
    stay_loaded();
    thread_slot = FlsAlloc(thread_ends);
    return thread_slot != FLS_OUT_OF_INDEXES;
}

struct cm_plat_thread *cm_plat_thread(void)
{
    static uint32_t numbers;
    struct cm_plat_thread *self;

    if (!InitOnceExecuteOnce(&thread_once, thread_slot_make, NULL, NULL)) {
        abort(); /* no slot is left: threads can no longer be told apart */
    }
    self = FlsGetValue(thread_slot);
    if (self == NULL) {
        self = calloc(1, sizeof *self);
        if (self == NULL || !FlsSetValue(thread_slot, self)) {
            abort(); /* like the compilers' own thread variables */
        }
        while (self->number == 0) {
            self->number = at_add_relaxed(&numbers, 1u) + 1; /* relaxed: it need only be unique */
        }
    }
    return self;
}

void cm_plat_call(void (*fn)(void *), void *arg, void (*cleanup)(void *), void *cleanup_arg)
{
    (void)cleanup, (void)cleanup_arg;
    fn(arg);
}

int cm_plat_cancel_off(void)
{
    return 0; /* no thread is cancelled here in a way that could be delayed */
}

void cm_plat_cancel_back(int was)
{
    (void)was;
}

uint32_t cm_plat_fork_count(void)
{
    return 0; /* no process here is a copy of another */
}

uint32_t cm_plat_cpu_flags(void)
{
    return 0;
}

/* ---- Fault guard --------------------------------------------------------------------------- */

static SRWLOCK guard_lock = SRWLOCK_INIT;
static bool guard_installed; /* protected by guard_lock */
/* Set before the handler is installed, constant afterwards. */
static struct cm_plat_guard_code guard_code;

#if defined(_M_ARM64) || defined(__aarch64__)
#define GUARD_PC(context) ((context)->Pc)
#else
#define GUARD_PC(context) ((context)->Rip)
#endif

static LONG CALLBACK guard_handler(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *what = fault->ExceptionRecord;
    const uintptr_t pc = (uintptr_t)GUARD_PC(fault->ContextRecord);

    if ((what->ExceptionCode != EXCEPTION_ACCESS_VIOLATION &&
         what->ExceptionCode != EXCEPTION_IN_PAGE_ERROR) ||
        what->NumberParameters < 2 || pc < guard_code.begin || pc >= guard_code.end ||
        !guard_covers((uintptr_t)what->ExceptionInformation[1], 1)) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    GUARD_PC(fault->ContextRecord) = guard_code.landing;
    return EXCEPTION_CONTINUE_EXECUTION;
}

/* guard_lock is held. */
static int guard_install(const struct cm_plat_guard_code *code)
{
    if (guard_installed) {
        assert(code->begin == guard_code.begin && code->end == guard_code.end);
        return 0;
    }
    guard_code = *code;
    stay_loaded();
    if (AddVectoredExceptionHandler(1, guard_handler) == NULL) {
        return CM_EIO;
    }
    guard_installed = true;
    return 0;
}

int cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code)
{
    int rc;

    assert(base != NULL && len > 0 && code != NULL);
    AcquireSRWLockExclusive(&guard_lock);
    rc = guard_install(code);
    if (rc == 0) {
        rc = guard_range_add(base, len, cm_plat_alloc);
    }
    ReleaseSRWLockExclusive(&guard_lock);
    return rc;
}

void cm_plat_guard_remove(const void *base)
{
    AcquireSRWLockExclusive(&guard_lock);
    guard_range_remove(base);
    ReleaseSRWLockExclusive(&guard_lock);
}

/* Nobody else can remove a vectored handler, or take its place. */
bool cm_plat_guard_stands(void)
{
    return true;
}

#ifdef CM_CHECKS_FULL
void cm_plat_fail(const char *text)
{
    (void)fprintf(stderr, "libcachemax: out of order: %s\n", text);
    abort();
}
#endif
