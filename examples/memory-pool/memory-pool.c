/* SPDX-License-Identifier: BSD-2-Clause
 *
 * memory-pool.c - a pool in memory that the program maps itself.
 *
 *     memory-pool FILE                    # in memory without a name
 *     memory-pool FILE /dev/dax0.0 [--format]
 *
 * It shows cm_format_memory() and cm_open_memory(). The library then opens no file: the memory may
 * come from anywhere. Two uses:
 *
 * WITHOUT A NAME (memfd_create). Nobody else can open the pool, and it ends with the last process
 * that has it. But it need not end with this program: a server that is updated starts its new
 * version with exec(), which inherits the descriptor. The new version finds the cache warm. The
 * program does that once: it reads FILE, closes the pool, starts itself again, and reads FILE from
 * memory. (A server that can crash keeps the descriptor in its service manager: systemd's
 * FDSTORE=1.)
 *
 * A DEVICE (/dev/dax, memory of a CXL card): persistent, and without a file system. --format writes
 * an empty pool over whatever was there. memory_durability says what the memory is, because the
 * library cannot ask: CM_DURABILITY_DAX makes it flush its stores, and keeps the pool through a
 * power cut. Say it only of memory that survives one.
 *
 * WHAT THE PROGRAM OWES. The library takes no lock here, so nobody else may open the pool or write
 * the memory meanwhile. (A device: flock() its descriptor, as below.) It stays mapped until
 * cm_close(). Its length is the pool's: as long as when it was formatted.
 *
 * Read next: include/cachemax.h, cm_open_memory(); docs/embedding.md, "In memory that you mapped".
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include <cachemax.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    POOL_BYTES = 64 << 20,
    ORIGIN_FAILED = -1000 /* minus errno: the library's own errors are above */
};

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "memory-pool: %s: %s\n", what, why);
    exit(1);
}

/* ---- The memory ----------------------------------------------------------------------------- */

static int new_memory(void)
{
    const int fd = memfd_create("cachemax", 0); /* no MFD_CLOEXEC: the next version inherits it */
    if (fd < 0 || ftruncate(fd, POOL_BYTES) < 0)
        fail("memfd_create", strerror(errno));
    return fd;
}

static int open_device(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fail(path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        fail(path, "another process has it");
    return fd;
}

/* A character device has no size that fstat() tells. */
static uint64_t size_of(int fd)
{
    char path[64], text[32] = "";
    struct stat st;
    FILE *f;

    if (fstat(fd, &st) < 0)
        fail("fstat", strerror(errno));
    if (!S_ISCHR(st.st_mode))
        return (uint64_t)st.st_size;
    snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/size", (unsigned)(st.st_rdev >> 8 & 0xfff),
             (unsigned)(st.st_rdev & 0xff));
    f = fopen(path, "r");
    if (!f || !fgets(text, sizeof(text), f))
        fail(path, "the size of the device is not there");
    fclose(f);
    return strtoull(text, NULL, 10);
}

/* ---- Reading -------------------------------------------------------------------------------- */

static int64_t origin_read(void *fd, uint64_t off, void *buf, size_t len)
{
    for (size_t done = 0;;) { /* a server may give less, or a signal interrupt it */
        const ssize_t n =
            pread(*(const int *)fd, (char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno != EINTR)
            return ORIGIN_FAILED - errno;
        if (n == 0 || (n > 0 && (done += (size_t)n) == len))
            return (int64_t)done; /* less than len: the file ends here */
    }
}

/* NULL: there is no cache for the file, which is no reason not to read it. */
static cm_file *attach(cm_cache *cache, int fd, const char *name)
{
    cm_validator validator = CM_VALIDATOR_INIT;
    cm_file *file = NULL;
    cm_file_id id;
    int e = cm_identify(fd, &id, &validator);

    if (e == 0)
        e = cm_file_open(cache, &id, &validator, 0, &file);
    if (e < 0)
        fprintf(stderr, "memory-pool: %s: no cache: %s\n", name, cm_strerror(e));
    return file;
}

/* Blocks that were read once may wait beside the pool. The close stores them, as far as there is
 * room. */
static uint64_t read_all(cm_cache *cache, const char *name)
{
    static char buf[1 << 20];
    cm_file *file;
    uint64_t off = 0;
    int64_t n;
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fail(name, strerror(errno));
    file = attach(cache, fd, name);
    do {
        n = file ? cm_read_through(file, off, buf, sizeof(buf), origin_read, &fd) : CM_EINVAL;
        if (n < 0 && n >= ORIGIN_FAILED) /* no cache, or trouble with it */
            n = origin_read(&fd, off, buf, sizeof(buf));
        if (n < 0)
            fail(name, strerror((int)(ORIGIN_FAILED - n)));
        off += (uint64_t)n;
    } while (n > 0);
    if (file)
        cm_file_close(file);
    close(fd);
    return off;
}

static void use_pool(int fd, const char *name, int durability, int format)
{
    cm_options options = CM_OPTIONS_INIT;
    cm_stats_data stats = CM_STATS_INIT;
    const uint64_t bytes = size_of(fd);
    cm_cache *cache;
    int e;

    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        fail("mmap", strerror(errno));
    if (format && (e = cm_format_memory(memory, bytes, NULL)) < 0)
        fail("format", cm_strerror(e));
    options.memory_durability = (uint32_t)durability;
    e = cm_open_memory(memory, bytes, &options, &cache);
    if (e < 0)
        fail("open",
             e == CM_ENOTPOOL ? "there is no pool in it; --format makes one" : cm_strerror(e));
    const uint64_t all = read_all(cache, name);
    cm_stats(cache, &stats);
    printf("%llu bytes read, %llu of them from memory\n", (unsigned long long)all,
           (unsigned long long)stats.hit_bytes);
    e = cm_close(cache);
    if (e < 0)
        fail("close", cm_strerror(e));
    munmap(memory, bytes);
}

int main(int argc, char **argv)
{
    const char *inherited = getenv("MEMORY_POOL_FD");

    if (argc < 2 || argc > 4 || (argc == 4 && strcmp(argv[3], "--format") != 0)) {
        fprintf(stderr, "usage: memory-pool FILE [DEVICE [--format]]\n");
        return 2;
    }
    if (argc > 2) {
        use_pool(open_device(argv[2]), argv[1], CM_DURABILITY_DAX, argc == 4);
    } else if (inherited) { /* this is the new version */
        use_pool(atoi(inherited), argv[1], CM_DURABILITY_VOLATILE, 0);
    } else {
        const int fd = new_memory();
        char number[16];

        use_pool(fd, argv[1], CM_DURABILITY_VOLATILE, 1);
        fflush(stdout);
        snprintf(number, sizeof(number), "%d", fd);
        setenv("MEMORY_POOL_FD", number, 1);
        execv("/proc/self/exe", argv); /* the update */
        fail("exec", strerror(errno));
    }
    return 0;
}
