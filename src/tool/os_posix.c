/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix.c - os.h on POSIX systems.
 *
 * Owns the tool's only mutable state that a signal handler changes: the number of the signal that
 * asked the process to end. The handler stores the number and returns. It is installed without
 * SA_RESTART, so that a call that waits for a slow pipe returns EINTR and its caller sees the
 * number. Signals that were ignored at the start (nohup, background jobs) stay ignored.
 *
 * Who: tool/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "tool/os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

static volatile sig_atomic_t caught_signal;

bool os_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

int os_terminal_width(void)
{
    struct winsize w;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        return w.ws_col;
    return 80;
}

static void on_signal(int number)
{
    caught_signal = number;
}

void os_catch_interrupts(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction action, old;

        memset(&action, 0, sizeof(action));
        action.sa_handler = on_signal;
        sigemptyset(&action.sa_mask);
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    }
}

bool os_interrupted(void)
{
    return caught_signal != 0;
}

void os_forget_interrupt(void)
{
    caught_signal = 0;
}

static _Noreturn void end_by(int number)
{
    sigset_t set;

    (void)fflush(NULL);
    (void)signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(number);
    _exit(128 + number);
}

void os_end_interrupted(void)
{
    end_by(caught_signal ? (int)caught_signal : SIGINT);
}

void os_ignore_broken_pipe(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
}

void os_end_broken_pipe(void)
{
    end_by(SIGPIPE);
}

void os_sleep(double seconds)
{
    struct timespec t;

    t.tv_sec = (time_t)seconds;
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    (void)nanosleep(&t, NULL);
}

int os_become(const char *name, char *const argv[])
{
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *slash;

    if (n > 0) {
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (slash && (size_t)(slash + 1 - path) + strlen(name) < sizeof(path)) {
            (void)snprintf(slash + 1, sizeof(path) - (size_t)(slash + 1 - path), "%s", name);
            (void)execv(path, argv);
        }
    }
    (void)execvp(name, argv);
    return errno;
}

int os_write_stdout(const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n;

        if (os_interrupted())
            return OS_INTERRUPTED;
        n = write(STDOUT_FILENO, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EPIPE ? OS_BROKEN_PIPE : errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int os_open_file(const char *path, intptr_t *file)
{
    struct stat st;
    int fd;

    do {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    } while (fd < 0 && errno == EINTR && !os_interrupted());
    if (fd < 0)
        return errno;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void)close(fd);
        return EISDIR;
    }
    *file = fd;
    return 0;
}

bool os_is_named(intptr_t file, const char *path)
{
    struct stat open_file, named;

    return fstat((int)file, &open_file) == 0 && stat(path, &named) == 0 &&
           open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

int64_t os_read_at(intptr_t file, uint64_t off, void *buf, size_t len, int *error)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread((int)file, (char *)buf + done, len - done, (off_t)(off + done));

        if (n < 0 && errno == ESPIPE)
            n = read((int)file, (char *)buf + done, len - done);
        if (n < 0 && errno == EINTR && !os_interrupted())
            continue;
        if (n < 0) {
            *error = errno;
            return -1;
        }
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

int os_sync_file(intptr_t file)
{
    return fsync((int)file) == 0 ? 0 : errno;
}

void os_close_file(intptr_t file)
{
    (void)close((int)file);
}

int os_remove_file(const char *path)
{
    return unlink(path) == 0 ? 0 : errno;
}

int os_find(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? 0 : errno;
}

bool os_file_size(const char *path, uint64_t *size)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    *size = (uint64_t)st.st_size;
    return true;
}

bool os_is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool os_is_nowhere(void)
{
    char here[4096];

    return getcwd(here, sizeof(here)) == NULL && errno == ENOENT;
}

enum os_links os_links(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 || (errno != ELOOP && errno != ENOENT))
        return OS_LINKS_LEAD;
    if (errno == ELOOP)
        return OS_LINKS_CIRCLE;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? OS_LINKS_DANGLE : OS_LINKS_LEAD;
}

/* Of a program that was replaced meanwhile, Linux says " (deleted)" behind it. */
void os_program(uint64_t process, char name[OS_PROGRAM])
{
    char link[48], path[4096];
    const char *base;
    ssize_t n;
    int fd;

    (void)snprintf(link, sizeof(link), "/proc/%" PRIu64 "/exe", process);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0 && errno == ENOENT) { /* a process that ends may only have its short name left */
        (void)snprintf(link, sizeof(link), "/proc/%" PRIu64 "/comm", process);
        fd = open(link, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, path, sizeof(path) - 1);
        if (fd >= 0)
            (void)close(fd);
    }
    path[n < 0 ? 0 : n] = '\0';
    path[strcspn(path, "\n")] = '\0';
    base = strrchr(path, '/');
    base = base ? base + 1 : path;
    (void)snprintf(name, OS_PROGRAM, "%.*s", (int)strcspn(base, " "), base);
}

void os_parent(const char *path, char *parent, size_t n)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        (void)snprintf(parent, n, ".");
    else if (slash == path)
        (void)snprintf(parent, n, "/");
    else
        (void)snprintf(parent, n, "%.*s", (int)(slash - path), path);
}

#ifdef __linux__
static void volume_type(const char *path, struct os_volume *volume)
{
    static const struct {
        unsigned long magic;
        const char *name;
        bool in_memory;
    } types[] = {
        { 0x01021994, "tmpfs", true },     { 0x858458f6, "ramfs", true },
        { 0x958458f6, "hugetlbfs", true }, { 0xef53, "ext4", false },
        { 0x58465342, "xfs", false },      { 0x9123683e, "btrfs", false },
        { 0x2fc12fc1, "zfs", false },      { 0x6969, "nfs", false },
        { 0x65735546, "fuse", false },     { 0x794c7630, "overlayfs", false },
        { 0xca451a4e, "bcachefs", false }, { 0xf2f52010, "f2fs", false },
        { 0xff534d42, "cifs", false },     { 0xfe534d42, "smb", false },
        { 0x4e4f5641, "nova", false },
    };
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (((unsigned long)fs.f_type & 0xffffffffu) == types[i].magic) {
            (void)snprintf(volume->type, sizeof(volume->type), "%s", types[i].name);
            volume->in_memory = types[i].in_memory;
        }
    }
}
#else
static void volume_type(const char *path, struct os_volume *volume)
{
    (void)path;
    (void)volume;
}
#endif

bool os_volume(const char *path, struct os_volume *volume)
{
    struct statvfs fs;

    memset(volume, 0, sizeof(*volume));
    if (statvfs(path, &fs) != 0)
        return false;
    volume->free = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    volume->read_only = (fs.f_flag & ST_RDONLY) != 0;
    volume_type(path, volume);
    return true;
}

bool os_is_sparse(const char *path, uint64_t *takes)
{
    struct stat st;

    if (stat(path, &st) != 0 || st.st_blocks < 0 || st.st_size < 0)
        return false;
    *takes = (uint64_t)st.st_blocks * 512;
    return *takes < (uint64_t)st.st_size;
}

const char *os_error_text(int error)
{
    return strerror(error);
}

void *os_alloc_pages(size_t bytes)
{
    void *p = NULL;

    return posix_memalign(&p, 4096, bytes) == 0 ? p : NULL;
}

void os_free_pages(void *p)
{
    free(p);
}

/* ---- For measuring ------------------------------------------------------------------------- */

int os_map_file(const char *path, uint64_t bytes, bool make, void **base)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | (make ? O_CREAT | O_EXCL : 0), 0600);
    int error = 0;

    if (fd < 0)
        return errno;
    if (make)
        error = posix_fallocate(fd, 0, (off_t)bytes);
    if (error == 0) {
        *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = *base == MAP_FAILED ? errno : 0;
    }
    (void)close(fd);
    if (error && make)
        (void)unlink(path);
    return error;
}

void os_unmap(void *base, uint64_t bytes)
{
    (void)munmap(base, bytes);
}

uint64_t os_thread_time(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t os_wall_time(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct worker {
    pthread_t thread;
    void (*fn)(void *ctx, unsigned i);
    void *ctx;
    unsigned i;
};

static void *work(void *p)
{
    struct worker *w = p;

    w->fn(w->ctx, w->i);
    return NULL;
}

int os_run_threads(unsigned n, void (*fn)(void *ctx, unsigned i), void *ctx)
{
    struct worker w[OS_THREADS_MAX];
    unsigned started = 0;
    int error = 0;

    while (started < n && started < OS_THREADS_MAX && error == 0) {
        w[started] = (struct worker){ .fn = fn, .ctx = ctx, .i = started };
        error = pthread_create(&w[started].thread, NULL, work, &w[started]);
        started += error == 0;
    }
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(w[i].thread, NULL);
    return error;
}

/* The text behind `key` in the first line of a kernel file that begins with it; "": none does. */
static void proc_line(const char *path, const char *key, char *text, size_t n)
{
    char line[256];
    FILE *f = fopen(path, "r");

    text[0] = '\0';
    while (f && !text[0] && fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        const char *value = line + strlen(key);
        value += strspn(value, " \t:");
        (void)snprintf(text, n, "%.*s", (int)strcspn(value, "\n"), value);
    }
    if (f)
        (void)fclose(f);
}

/* Data caches of the first processor, as the kernel reports them. Some virtual machines report
 * none; then as the C library finds them. */
static void cache_sizes(uint64_t cache[3])
{
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int kinds[3] = { _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE,
                                  _SC_LEVEL3_CACHE_SIZE };
    for (unsigned i = 0; i < 3; i++) {
        const long n = sysconf(kinds[i]);
        cache[i] = n > 0 ? (uint64_t)n : 0;
    }
#endif
    for (unsigned i = 0; i < 8; i++) {
        char path[80], text[3][32];
        static const char *const names[3] = { "level", "type", "size" };
        for (unsigned k = 0; k < 3; k++) {
            (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%u/%s", i,
                           names[k]);
            proc_line(path, "", text[k], sizeof(text[k]));
        }
        unsigned long level = strtoul(text[0], NULL, 10);
        if (level >= 1 && level <= 3 && strcmp(text[1], "Instruction") != 0)
            cache[level - 1] = strtoull(text[2], NULL, 10) * 1024; /* "32K" */
    }
}

void os_describe_machine(struct os_machine *m)
{
    char text[64];
    struct utsname u;
    long n;

    memset(m, 0, sizeof(*m));
    proc_line("/proc/cpuinfo", "model name", m->cpu, sizeof(m->cpu));
    if (uname(&u) == 0)
        (void)snprintf(m->system, sizeof(m->system), "%.40s %.50s", u.sysname, u.release);
    n = sysconf(_SC_NPROCESSORS_ONLN);
    m->processors = n > 0 ? (unsigned)n : 1;
    cache_sizes(m->cache);
    proc_line("/proc/meminfo", "MemAvailable", text, sizeof(text));
    m->available = text[0] ? strtoull(text, NULL, 10) * 1024 : UINT64_MAX;
    if (getloadavg(&m->load, 1) != 1)
        m->load = -1;
}

void os_memory_directory(char *path, size_t n)
{
    const char *temporary = getenv("TMPDIR");
    struct stat st;

    if (stat("/dev/shm", &st) == 0 && S_ISDIR(st.st_mode))
        temporary = "/dev/shm";
    (void)snprintf(path, n, "%s", temporary && *temporary ? temporary : "/tmp");
}
