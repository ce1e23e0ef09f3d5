/* SPDX-License-Identifier: BSD-2-Clause
 *
 * forbidden.c - makes system calls in a program that refuses them to itself: loaded into the mount
 * or the service by LD_PRELOAD. tests/mount/privileges-test.sh.
 *
 * A thread waits until a file of the name FORBIDDEN.go is there, makes each call once, and writes
 * lines "NAME ERROR" to the file FORBIDDEN, with the error's number or 0. No call does anything if
 * it is not refused: its arguments make no sense to it. All other errors than EPERM show that the
 * call was made.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOWHERE "/does/not/exist"

/* The error of a call that returned `rc`, or 0. */
static int error_of(long rc)
{
    return rc < 0 ? errno : 0;
}

static int map(int protection)
{
    void *const p = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return errno;
    munmap(p, 4096);
    return 0;
}

static int make_executable(void)
{
    void *const p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int e = error_of(mprotect(p, 4096, PROT_READ | PROT_EXEC));

    munmap(p, 4096);
    return e;
}

/* The call that makes all memory that can be read executable. Here it sets what is set already. */
static int make_readable_executable(void)
{
    const int now = personality(0xffffffff); /* asks, and changes nothing */

    if (now < 0)
        return errno;
    return error_of(personality((unsigned long)now));
}

static int make_socket(int domain)
{
    const int s = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0), e = error_of(s);

    if (s >= 0)
        close(s);
    return e;
}

static int execute(void)
{
    char *const none[] = { NULL };

    return error_of(execve(NOWHERE, none, none));
}

/* In a process of its own, which then has other name spaces if it is permitted. */
static int take_name_space(int kind)
{
    int e = 0;
    const pid_t child = fork();

    if (child == 0)
        _exit(error_of(unshare(kind)));
    if (child > 0) {
        siginfo_t end = { .si_status = 0 };

        (void)waitid(P_PID, (id_t)child, &end, WEXITED);
        e = end.si_status;
    }
    return child < 0 ? errno : e;
}

static void make_calls(FILE *to)
{
    fprintf(to, "ptrace %d\n", error_of(syscall(SYS_ptrace, -1L, 0L, 0L, 0L)));
    fprintf(to, "keyctl %d\n", error_of(syscall(SYS_keyctl, -1L, 0L, 0L, 0L, 0L)));
    fprintf(to, "kcmp %d\n", error_of(syscall(SYS_kcmp, -1L, -1L, -1L, 0L, 0L)));
    fprintf(to, "process_madvise %d\n",
            error_of(syscall(SYS_process_madvise, -1L, NULL, 0L, 0L, 0L)));
    fprintf(to, "new_user %d\n", take_name_space(CLONE_NEWUSER));
    fprintf(to, "inet %d\n", make_socket(AF_INET));
    fprintf(to, "unix %d\n", make_socket(AF_UNIX));
    fprintf(to, "write_exec %d\n", map(PROT_READ | PROT_WRITE | PROT_EXEC));
    fprintf(to, "exec %d\n", map(PROT_READ | PROT_EXEC));
    fprintf(to, "made_exec %d\n", make_executable());
    fprintf(to, "read_exec %d\n", make_readable_executable());
    fprintf(to, "mount %d\n", error_of(syscall(SYS_mount, NULL, NOWHERE, "tmpfs", 0UL, NULL)));
    fprintf(to, "umount %d\n", error_of(syscall(SYS_umount2, NOWHERE, 0L)));
    fprintf(to, "io_uring %d\n", error_of(syscall(SYS_io_uring_setup, 0L, NULL)));
    fprintf(to, "execve %d\n", execute());
}

static void *wait_and_call(void *arg)
{
    const char *const name = arg;
    char go[600], part[600];
    FILE *to;

    snprintf(go, sizeof(go), "%s.go", name);
    snprintf(part, sizeof(part), "%s.part", name);
    while (access(go, F_OK) != 0)
        usleep(10000);
    to = fopen(part, "w");
    if (!to)
        return NULL;
    make_calls(to);
    fclose(to);
    (void)rename(part, name); /* it is there when it is whole */
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *const name = getenv("FORBIDDEN");
    pthread_t thread;
    sigset_t all, before;

    if (!name)
        return;
    sigfillset(&all); /* they are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, wait_and_call, (void *)(uintptr_t)name) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
