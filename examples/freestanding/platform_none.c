/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_none.c - what the library wants from an operating system, where there is none.
 *
 * For a driver, a hypervisor or a unikernel. It is the contract of src/platform/platform.h in its
 * smallest form. Compile it with the files of `engine_sources` in src/meson.build, with
 * -ffreestanding, and with what environment.c has of a C library. Each part says what to put in its
 * place:
 * - No files: the pool is memory that somebody mapped (cm_open_memory).
 * - One thread. With more, cm_plat_wait() and its kin must wait and wake (a futex, an event), and
 *   cm_plat_thread() must give each thread a struct of its own.
 * - Memory from an arena that never takes anything back. Take your allocator of pages.
 * - A clock that is the CPU's counter. Take one that counts nanoseconds: the library compares its
 *   times with those that you put into validators (cm_now).
 * - No guard: memory that cannot be read ends everything. If the system survives machine checks,
 *   see src/platform/guard_ranges.h.
 * - No identity of boots and volumes: unknown, which matches nothing. So files are cold after a
 *   restart unless they say that their last change is long ago (CM_CHANGED_LONG_AGO).
 *
 * Read next: block-driver.c, which uses it.
 */
#include "platform/platform.h"

#include <string.h>

#include "platform/atomic.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* most of what is asked has one answer */

#define ARENA_BYTES (16u << 20)

/* clang-format off */
#define ANSWER(type, name, params, value) type name params { return value; }
#define NOTHING(name, params) void name params {}

/* ---- Files: none ----------------------------------------------------------------------------- */

ANSWER(int, cm_plat_file_create, (struct cm_plat_file *f, const char *path, uint64_t size,
       bool prealloc, int (*progress)(void *, uint64_t, uint64_t), void *ctx), CM_ENOTSUP)
void cm_plat_file_not_made(const char *path, uint64_t size, bool prealloc, int code,
                           char why[PLAT_WHY]) { why[0] = 0; }
ANSWER(int, cm_plat_file_link, (struct cm_plat_file *f, const char *path), CM_ENOTSUP)
NOTHING(cm_plat_file_abandon, (struct cm_plat_file *f, const char *path))
ANSWER(int, cm_plat_file_open, (struct cm_plat_file *f, const char *path, bool ro), CM_ENOTSUP)
ANSWER(int, cm_plat_file_open_trusted, (struct cm_plat_file *f, const char *path,
       bool ro, char why[PLAT_WHY]), CM_ENOTSUP)
ANSWER(bool, cm_plat_file_is_layered, (const struct cm_plat_file *f), false)
ANSWER(bool, cm_plat_file_is_elsewhere, (const struct cm_plat_file *f, char what[PLAT_VOLUME]),
       false)
ANSWER(int, cm_plat_file_lock, (struct cm_plat_file *f), CM_ENOTSUP)
ANSWER(int, cm_plat_file_is_locked, (struct cm_plat_file *f), 0)
NOTHING(cm_plat_file_say_taken, (struct cm_plat_file *f))
ANSWER(bool, cm_plat_file_is_taken, (struct cm_plat_file *f), false)
ANSWER(uint32_t, cm_plat_file_holder, (struct cm_plat_file *f, uint32_t likely), 0)
ANSWER(int, cm_plat_file_map, (struct cm_plat_file *f, uint64_t align, enum cm_durability *d),
       CM_ENOTSUP)
ANSWER(int, cm_plat_file_room, (struct cm_plat_file *f, uint64_t size, uint64_t *missing), 0)
ANSWER(int, cm_plat_file_grow, (struct cm_plat_file *f, uint64_t size), CM_ENOTSUP)
ANSWER(int, cm_plat_file_cut, (struct cm_plat_file *f, uint64_t size), CM_ENOTSUP)
ANSWER(int, cm_plat_file_sync, (struct cm_plat_file *f, uint64_t at, uint64_t len), CM_ENOTSUP)
ANSWER(int, cm_plat_file_sync_dir, (const char *path), CM_ENOTSUP)
ANSWER(int, cm_plat_file_state, (struct cm_plat_file *f, uint64_t *size, bool *named), CM_ENOTSUP)
ANSWER(bool, cm_plat_file_is_at, (const struct cm_plat_file *f, const char *path), true)
ANSWER(int, cm_plat_file_replace, (struct cm_plat_file *f, const char *made,
       struct cm_plat_file *old, const char *path, bool *replaced), CM_ENOTSUP)
ANSWER(int, cm_plat_file_pread, (struct cm_plat_file *f, void *buf, size_t n, uint64_t at),
       CM_ENOTSUP)
ANSWER(bool, cm_plat_is_mount_point, (const char *path), false)
ANSWER(int, cm_plat_real_path, (const char *path, char real[PLAT_PATH]), CM_ENOTSUP)
NOTHING(cm_plat_file_close, (struct cm_plat_file *f))
NOTHING(cm_plat_file_void, (struct cm_plat_file *f))
ANSWER(bool, cm_plat_file_has_no_room, (const struct cm_plat_file *f, uint64_t offset), false)
ANSWER(int, cm_plat_file_write,
       (const struct cm_plat_file *f, const void *bytes, size_t n, uint64_t offset), CM_ENOTSUP)
ANSWER(int, cm_plat_file_zero, (const struct cm_plat_file *f, uint64_t n), CM_ENOTSUP)
NOTHING(cm_plat_file_remove, (const char *path))
ANSWER(int, cm_plat_identify, (intptr_t os_file, const cm_identify_options *o, cm_file_id *id,
       cm_validator *v), CM_ENOTSUP)

/* ---- Threads: one; processes: one ------------------------------------------------------------ */

ANSWER(uint32_t, cm_plat_pid, (void), 1)
ANSWER(uint32_t, cm_plat_fork_count, (void), 0)
ANSWER(int, cm_plat_cancel_off, (void), 0)
NOTHING(cm_plat_cancel_back, (int was))
NOTHING(cm_plat_wait, (uint32_t *word, uint32_t expected))
ANSWER(bool, cm_plat_wait_until, (uint32_t *word, uint32_t expected, uint64_t deadline_ns),
       deadline_ns == UINT64_MAX || cm_plat_now_ns() < deadline_ns)
NOTHING(cm_plat_wake_one, (uint32_t *word))
NOTHING(cm_plat_wake_all, (uint32_t *word))
NOTHING(cm_plat_sleep, (uint64_t ns))

/* ---- Pages of the pool: always in memory ----------------------------------------------------- */

ANSWER(bool, cm_plat_is_resident, (const void *p, size_t n), true)
ANSWER(bool, cm_plat_file_is_resident, (const struct cm_plat_file *f, const void *p, size_t n),
       true)
ANSWER(size_t, cm_plat_cut_page, (void), 0) /* there are no files */
NOTHING(cm_plat_will_need, (void *p, size_t n))
ANSWER(int, cm_plat_lock_pages, (void *p, size_t n), 0)
NOTHING(cm_plat_unlock_pages, (void *p, size_t n))
ANSWER(int, cm_plat_guard_add, (const void *base, size_t len, const struct cm_plat_guard_code *c),
       0)
NOTHING(cm_plat_guard_remove, (const void *base))
ANSWER(bool, cm_plat_guard_stands, (void), true)
ANSWER(uint32_t, cm_plat_cpu_flags, (void), 0) /* instructions that every CPU of its kind has */
/* clang-format on */

struct cm_plat_thread *cm_plat_thread(void)
{
    static struct cm_plat_thread self = { .number = 1 };

    return &self;
}

void cm_plat_call(void (*fn)(void *), void *arg, void (*cleanup)(void *), void *cleanup_arg)
{
    fn(arg); /* nobody ends a thread in it */
}

/* ---- Memory ---------------------------------------------------------------------------------- */

void *cm_plat_alloc(size_t bytes)
{
    static uint8_t arena[ARENA_BYTES] __attribute__((aligned(4096)));
    static size_t used;
    void *p = arena + used;

    bytes = (bytes + 4095) / 4096 * 4096;
    if (bytes > ARENA_BYTES - used)
        return NULL;
    used += bytes;
    return p; /* zeroed: nothing is handed out twice */
}

void cm_plat_free(void *p, size_t bytes)
{
}

/* ---- Clocks ---------------------------------------------------------------------------------- */

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

int64_t cm_plat_boot_wall_ns(void)
{
    return INT64_MIN; /* unknown: files are born dirty, but for CM_CHANGED_LONG_AGO */
}

/* ---- Identity: unknown ----------------------------------------------------------------------- */

void cm_plat_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
}

void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    memset(id, 0, 16);
}

bool cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    what[0] = 0;
    return false;
}

void cm_plat_refuses(char why[PLAT_WHY])
{
    why[0] = 0;
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

#ifdef CM_CHECKS_FULL
void cm_plat_fail(const char *text)
{
    __builtin_trap();
}
#endif
