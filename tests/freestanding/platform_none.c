/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_none.c - the contract of platform.h where there is no operating system.
 *
 * What a driver or a unikernel has to bring, in its smallest form: the pool is memory that somebody
 * mapped (cm_open_memory), so there are no files; one thread, so nobody to wait for; memory from an
 * arena; a clock that is the CPU's counter; no guard, so unreadable memory ends everything.
 */
#include "platform/platform.h"

#include <string.h>

#include "platform/atomic.h"

#define ARENA_BYTES (16u << 20)

static uint8_t arena[ARENA_BYTES] __attribute__((aligned(4096)));
static size_t arena_used;

/* ---- Files: none --------------------------------------------------------------------------- */

int cm_plat_file_create(struct cm_plat_file *f, const char *path, uint64_t size, bool prealloc,
                        int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    (void)f, (void)path, (void)size, (void)prealloc, (void)progress, (void)ctx;
    return CM_ENOTSUP;
}

int cm_plat_file_link(struct cm_plat_file *f, const char *path)
{
    (void)f, (void)path;
    return CM_ENOTSUP;
}

void cm_plat_file_abandon(struct cm_plat_file *f, const char *path)
{
    (void)f, (void)path;
}

int cm_plat_file_open(struct cm_plat_file *f, const char *path, bool readonly)
{
    (void)f, (void)path, (void)readonly;
    return CM_ENOTSUP;
}

int cm_plat_file_lock(struct cm_plat_file *f)
{
    (void)f;
    return CM_ENOTSUP;
}

int cm_plat_file_is_locked(struct cm_plat_file *f)
{
    (void)f;
    return 0;
}

uint32_t cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely)
{
    (void)f, (void)likely;
    return 0;
}

int cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    (void)f, (void)align, (void)durability;
    return CM_ENOTSUP;
}

int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    (void)f, (void)offset, (void)len;
    return CM_ENOTSUP;
}

void cm_plat_file_close(struct cm_plat_file *f)
{
    (void)f;
}

void cm_plat_file_void(struct cm_plat_file *f)
{
    (void)f;
}

void cm_plat_file_remove(const char *path)
{
    (void)path;
}

int cm_plat_file_sync_dir(const char *path)
{
    (void)path;
    return CM_ENOTSUP;
}

int cm_plat_file_state(struct cm_plat_file *f, uint64_t *size, bool *named)
{
    (void)f, (void)size, (void)named;
    return CM_ENOTSUP;
}

int cm_plat_file_replace(struct cm_plat_file *f, const char *made, struct cm_plat_file *old,
                         const char *path, bool *replaced)
{
    (void)f, (void)made, (void)old, (void)path, (void)replaced;
    return CM_ENOTSUP;
}

int cm_plat_real_path(const char *path, char real[PLAT_PATH])
{
    (void)path, (void)real;
    return CM_ENOTSUP;
}

int cm_plat_file_pread(struct cm_plat_file *f, void *buf, size_t n, uint64_t offset)
{
    (void)f, (void)buf, (void)n, (void)offset;
    return CM_ENOTSUP;
}

int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, char why[PLAT_WHY])
{
    (void)why;
    return cm_plat_file_open(f, path, false);
}

int cm_plat_identify(intptr_t os_file, const cm_identify_options *o, cm_file_id *id,
                     cm_validator *v)
{
    (void)o;
    (void)os_file, (void)id, (void)v;
    return CM_ENOTSUP;
}

/* ---- Identity: unknown, which matches nothing ---------------------------------------------- */

void cm_plat_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
}

void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    (void)f;
    memset(id, 0, 16);
}

bool cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f;
    what[0] = 0;
    return false;
}

uint32_t cm_plat_pid(void)
{
    return 1;
}

/* Not for secrets: pool ids and hash seeds. A driver has something better. */
int cm_plat_random(void *buf, size_t n)
{
    static uint64_t state;
    uint8_t *to = buf;

    for (size_t i = 0; i < n; i++) {
        state = (state + cm_plat_now_ns()) * UINT64_C(6364136223846793005) + 1;
        to[i] = (uint8_t)(state >> 56);
    }
    return 0;
}

/* ---- Calls back, and threads that end in them ----------------------------------------------- */

void cm_plat_call(void (*fn)(void *), void *arg, void (*cleanup)(void *), void *cleanup_arg)
{
    (void)cleanup, (void)cleanup_arg;
    fn(arg);
}

int cm_plat_cancel_off(void)
{
    return 0; /* nobody ends another's thread here in a way that could be told off */
}

void cm_plat_cancel_back(int was)
{
    (void)was;
}

/* ---- Clocks -------------------------------------------------------------------------------- */

uint64_t cm_plat_now_ns(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc(); /* of some speed, but it grows */
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks * 16;
#else
    static uint64_t calls;
    return ++calls * 1000;
#endif
}

int64_t cm_plat_wall_ns(void)
{
    return (int64_t)cm_plat_now_ns();
}

void cm_plat_sleep(uint64_t ns)
{
    (void)ns; /* nobody else is there to use the time */
}

int64_t cm_plat_boot_wall_ns(void)
{
    return INT64_MIN; /* unknown: every file is born dirty */
}

/* ---- Memory, threads, CPU ------------------------------------------------------------------ */

void *cm_plat_alloc(size_t bytes)
{
    void *p = arena + arena_used;

    bytes = (bytes + 4095) / 4096 * 4096;
    if (bytes > ARENA_BYTES - arena_used) {
        return NULL;
    }
    arena_used += bytes;
    return p; /* zeroed: nothing is handed out twice */
}

void cm_plat_free(void *p, size_t bytes)
{
    (void)p, (void)bytes;
}

bool cm_plat_is_resident(const void *p, size_t n)
{
    (void)p, (void)n;
    return true;
}

void cm_plat_will_need(void *p, size_t n)
{
    (void)p, (void)n;
}

int cm_plat_lock_pages(void *p, size_t n)
{
    (void)p, (void)n;
    return 0;
}

void cm_plat_unlock_pages(void *p, size_t n)
{
    (void)p, (void)n;
}

void cm_plat_wait(uint32_t *word, uint32_t expected)
{
    (void)word, (void)expected;
}

bool cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    (void)word, (void)expected;
    return deadline_ns == UINT64_MAX || cm_plat_now_ns() < deadline_ns;
}

void cm_plat_wake_one(uint32_t *word)
{
    (void)word;
}

void cm_plat_wake_all(uint32_t *word)
{
    (void)word;
}

struct cm_plat_thread *cm_plat_thread(void)
{
    static struct cm_plat_thread self = { .number = 1 };

    return &self;
}

uint32_t cm_plat_fork_count(void)
{
    return 0;
}

uint32_t cm_plat_cpu_flags(void)
{
    return 0;
}

int cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code)
{
    (void)base, (void)len, (void)code;
    return 0;
}

void cm_plat_guard_remove(const void *base)
{
    (void)base;
}

#ifdef CM_CHECKS_FULL
void cm_plat_fail(const char *text)
{
    (void)text;
    __builtin_trap();
}
#endif
