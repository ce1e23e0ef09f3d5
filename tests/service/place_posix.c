/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place_posix.c - processes, shared memory and files for the tests of the service.
 *
 * Who: the programs of this directory, by place.h.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void place_die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

uint64_t place_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void place_sleep_us(unsigned us)
{
    usleep(us);
}

void place_name_socket(void)
{
    snprintf(place_socket, sizeof(place_socket), "%s/socket", place_dir);
}

void place_clean_socket(void)
{
    const char *const names[] = { "socket", "socket.lock", "socket.writes" };
    char path[700];

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", place_dir, names[i]);
        (void)unlink(path);
    }
}

/* ---- Processes ------------------------------------------------------------------------------- */

static void log_to_file(void)
{
    const int fd = open(place_log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(127);
}

place_process place_run(const char *program, const char *const *args)
{
    const char *const name = program ? program : "/proc/self/exe";
    const char *argv[16] = { name };
    const pid_t pid = fork();

    if (pid < 0)
        place_die("fork");
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no test leaves a program behind */
    if (place_log_path[0])
        log_to_file();
    for (unsigned i = 0; i < 14 && args[i]; i++)
        argv[i + 1] = args[i];
    execv(name, (char **)(uintptr_t)argv);
    _exit(127);
}

bool place_has_ended(place_process p, int *status)
{
    const pid_t ended = waitpid(p, status, WNOHANG);

    if (ended < 0)
        place_die("waitpid");
    return ended == p;
}

void place_kill(place_process p)
{
    kill(p, SIGKILL);
    (void)waitpid(p, NULL, 0);
}

void place_end(place_process p)
{
    kill(p, SIGTERM);
}

void place_suspend(place_process p)
{
    kill(p, SIGSTOP);
}

void place_resume(place_process p)
{
    kill(p, SIGCONT);
}

/* ---- Memory and files ------------------------------------------------------------------------ */

void *place_shared(const char *name, size_t n)
{
    char path[700];
    void *at;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", place_dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)n) != 0)
        place_die(path);
    at = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        place_die(path);
    close(fd);
    return at;
}

void place_forget(void *shared, size_t n)
{
    (void)munmap(shared, n);
}

intptr_t place_open(const char *path, bool write)
{
    const int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);

    if (fd < 0)
        place_die(path);
    return fd;
}

void place_close(intptr_t file)
{
    close((int)file);
}

int64_t place_read(intptr_t file, void *to, size_t n, uint64_t offset)
{
    return pread((int)file, to, n, (off_t)offset);
}

int64_t place_write(intptr_t file, const void *from, size_t n, uint64_t offset)
{
    return pwrite((int)file, from, n, (off_t)offset);
}

bool place_truncate(intptr_t file, uint64_t size)
{
    return ftruncate((int)file, (off_t)size) == 0;
}
