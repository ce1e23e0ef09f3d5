/* SPDX-License-Identifier: BSD-2-Clause
 *
 * versions.c - processes that read and write one file, and know what a read may find.
 *
 *   versions FILE [--readers N] [--writers N]
 *
 * A block of the file holds one number, again and again: its version. The version is in memory that
 * all processes share, twice: of the last write that has begun, and of the last one that has ended.
 * A read must not find an older version than the one that had ended when the read began, nor a
 * newer one than had begun when it ended. Every other reader and writer uses O_DIRECT. Makes the
 * file, and goes on until SIGTERM. The last line is "versions: N reads, N writes, N wrong". Exits 0
 * if nothing was wrong, and nothing failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS 256u
#define MANY 8u       /* the most blocks of a call */
#define PAUSE_US 200u /* between two calls: the processors are for others, too */
#define PROCESSES_MAX 16u

static struct shared {
    struct {
        _Atomic uint64_t begun, ended;
    } block[BLOCKS];
    _Atomic uint64_t reads, writes, wrong;
    _Atomic bool stop;
} * shared;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "versions: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint32_t below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*seed >> 33) % n);
}

static void check(const uint64_t *at, unsigned block, uint64_t low, uint64_t high)
{
    for (unsigned i = 0; i < BLOCK / sizeof(*at); i++) {
        if (at[i] >= low && at[i] <= high)
            continue;
        atomic_fetch_add(&shared->wrong, 1);
        fprintf(stderr, "versions: block %u has version %llu, not %llu to %llu\n", block,
                (unsigned long long)at[i], (unsigned long long)low, (unsigned long long)high);
        return;
    }
}

static void read_some(int fd, uint64_t *seed, uint64_t *buf)
{
    const unsigned n = 1 + below(seed, MANY), first = below(seed, BLOCKS - n);
    uint64_t low[MANY];

    for (unsigned i = 0; i < n; i++)
        low[i] = atomic_load(&shared->block[first + i].ended);
    if (pread(fd, buf, n * BLOCK, (off_t)first * BLOCK) != (ssize_t)(n * BLOCK))
        die("read");
    for (unsigned i = 0; i < n; i++)
        check(buf + i * BLOCK / sizeof(*buf), first + i, low[i],
              atomic_load(&shared->block[first + i].begun));
    atomic_fetch_add(&shared->reads, 1);
}

/* The blocks of `mine` of `of` writers are its own, so versions go up one by one. */
static void write_some(int fd, uint64_t *seed, uint64_t *buf, unsigned mine, unsigned of)
{
    const unsigned room = BLOCKS / of, n = 1 + below(seed, MANY);
    const unsigned first = mine * room + below(seed, room - n);

    for (unsigned i = 0; i < n; i++) {
        const uint64_t v = atomic_fetch_add(&shared->block[first + i].begun, 1) + 1;
        for (unsigned k = 0; k < BLOCK / sizeof(*buf); k++)
            buf[i * BLOCK / sizeof(*buf) + k] = v;
    }
    if (pwrite(fd, buf, n * BLOCK, (off_t)first * BLOCK) != (ssize_t)(n * BLOCK))
        die("write");
    for (unsigned i = 0; i < n; i++)
        atomic_store(&shared->block[first + i].ended, atomic_load(&shared->block[first + i].begun));
    if (below(seed, 64) == 0 && fsync(fd) != 0)
        die("fsync");
    atomic_fetch_add(&shared->writes, 1);
}

/* `of` 0: a reader. */
static _Noreturn void work(const char *path, unsigned number, unsigned of)
{
    static _Alignas(4096) uint64_t buf[MANY * BLOCK / 8];
    uint64_t seed = number + 77 * of + 1;
    int fd = -1;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; !atomic_load(&shared->stop); i++) {
        /* Opened again now and then: that is when validators are looked at. */
        if (i % 256 == 0) {
            if (fd >= 0)
                close(fd);
            fd = open(path, (of ? O_RDWR : O_RDONLY) | (number % 2 ? O_DIRECT : 0));
            if (fd < 0)
                die(path);
        }
        if (of)
            write_some(fd, &seed, buf, number, of);
        else
            read_some(fd, &seed, buf);
        usleep(PAUSE_US);
    }
    exit(0);
}

static void stop(int sig)
{
    (void)sig;
    atomic_store(&shared->stop, true);
}

static void make(const char *path)
{
    static uint8_t zeros[BLOCKS * BLOCK];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, zeros, sizeof(zeros)) != (ssize_t)sizeof(zeros) || close(fd) != 0)
        die(path);
}

int main(int argc, char **argv)
{
    unsigned readers = 2, writers = 2;
    int status, failed = 0;

    for (int i = 2; i + 1 < argc; i += 2)
        *(strcmp(argv[i], "--readers") == 0 ? &readers : &writers) = (unsigned)atoi(argv[i + 1]);
    if (argc < 2 || readers + writers > PROCESSES_MAX || writers > BLOCKS / (2 * MANY))
        return 2;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    make(argv[1]);
    for (unsigned i = 0; i < readers + writers; i++) {
        const pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            work(argv[1], i < readers ? i : i - readers, i < readers ? 0 : writers);
    }
    signal(SIGTERM, stop);
    for (unsigned i = 0; i < readers + writers;) {
        const pid_t pid = wait(&status);
        if (pid < 0 && errno == EINTR)
            continue;
        failed |= pid < 0 || status != 0;
        i++;
    }
    printf("versions: %llu reads, %llu writes, %llu wrong\n", (unsigned long long)shared->reads,
           (unsigned long long)shared->writes, (unsigned long long)shared->wrong);
    return failed || shared->wrong != 0;
}
