/* SPDX-License-Identifier: BSD-2-Clause
 *
 * random_do.c - makes the operations of random.c, in a process for each of the two openers.
 *
 * A worker gets an operation in shared memory, makes it, and leaves the result there. A byte in a
 * pipe says that there is one, and another byte that it is done. A worker decides nothing: which of
 * its descriptors are open, and what a call must give, is known to the master alone. A store or a
 * load that raises SIGBUS is an error of that operation (EFAULT).
 */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const kind_names[KINDS] = { "open",  "close", "read",  "write", "append",   "map",
                                        "unmap", "load",  "store", "msync", "truncate", "fallocate",
                                        "copy",  "seek",  "sync",  "drop",  "rename",   "unlink",
                                        "link",  "stat",  "whole" };

static struct {
    pid_t pid;
    int to, from; /* pipes */
} workers[WORKERS];

/* ---- Of one worker --------------------------------------------------------------------------- */

static struct {
    int dir;
    int fd[FILES][SIDES];
    uint8_t *map[FILES];
} own;

static sigjmp_buf no_page;

static void on_bus(int sig)
{
    (void)sig;
    siglongjmp(no_page, 1);
}

static int64_t do_open(struct op *o)
{
    int *fd = &own.fd[o->file][o->side];
    char name[NAME_MAX_LEN];

    if (*fd >= 0)
        close(*fd);
    name_of(o->name, name);
    *fd = openat(own.dir, name, o->arg | O_CLOEXEC, 0644);
    return *fd < 0 ? -1 : 0;
}

static int64_t do_close(struct op *o)
{
    int *fd = &own.fd[o->file][o->side];
    const int rc = close(*fd);

    *fd = -1;
    return rc;
}

static int64_t do_map(struct op *o)
{
    void *at = mmap(NULL, FILE_MAX, o->arg, MAP_SHARED, own.fd[o->file][o->side], 0);

    if (at == MAP_FAILED)
        return -1;
    own.map[o->file] = at;
    return 0;
}

static int64_t do_memory(struct op *o, uint8_t *buf)
{
    uint8_t *at = own.map[o->file] + o->off;

    if (sigsetjmp(no_page, 1)) {
        errno = EFAULT;
        return -1;
    }
    if (o->kind == OP_STORE)
        memcpy(at, buf, (size_t)o->len);
    else
        memcpy(buf, at, (size_t)o->len);
    return o->len;
}

static int64_t do_append(struct op *o, uint8_t *buf, int fd)
{
    struct iovec v = { buf, (size_t)o->len };

    /* The raw call: not every C library has pwritev2(), nor its flags. */
    return syscall(SYS_pwritev2, fd, &v, 1, 0L, 0L, 0x10 /* RWF_APPEND */);
}

static int64_t do_truncate(struct op *o, int fd)
{
    char name[NAME_MAX_LEN], path[64];

    if (o->name < 0)
        return ftruncate(fd, o->off);
    name_of(o->name, name);
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", own.dir, name);
    return truncate(path, o->off);
}

static int64_t do_copy(struct op *o, int fd)
{
    off_t from = o->off_from, to = o->off;

    return copy_file_range(own.fd[o->from][o->from_side], &from, fd, &to, (size_t)o->len, 0);
}

static int64_t do_stat(struct op *o, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -1;
    o->links = st.st_nlink;
    return st.st_size;
}

static int64_t do_whole(struct op *o, uint8_t *buf)
{
    char name[NAME_MAX_LEN];
    int64_t done = 0;
    ssize_t n = 0;
    int fd, error;

    name_of(o->name, name);
    fd = openat(own.dir, name, o->arg | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (done < (int64_t)FILE_MAX + PAGE &&
           (n = pread(fd, buf + done, FILE_MAX + PAGE - (size_t)done, done)) > 0)
        done += n;
    error = errno;
    close(fd);
    errno = error;
    return n < 0 ? -1 : done;
}

static int64_t do_names(struct op *o)
{
    char name[NAME_MAX_LEN], to[NAME_MAX_LEN];

    name_of(o->name, name);
    if (o->kind == OP_UNLINK)
        return unlinkat(own.dir, name, 0);
    name_of(o->name_to, to);
    if (o->kind == OP_LINK)
        return linkat(own.dir, name, own.dir, to, 0);
    return syscall(SYS_renameat2, own.dir, name, own.dir, to, o->arg);
}

static int64_t make(struct op *o, uint8_t *buf)
{
    const int fd = o->file >= 0 ? own.fd[o->file][o->side] : -1;

    switch (o->kind) {
    case OP_OPEN:
        return do_open(o);
    case OP_CLOSE:
        return do_close(o);
    case OP_READ:
        return pread(fd, buf, (size_t)o->len, o->off);
    case OP_WRITE:
        return pwrite(fd, buf, (size_t)o->len, o->off);
    case OP_APPEND:
        return do_append(o, buf, fd);
    case OP_MAP:
        return do_map(o);
    case OP_UNMAP:
        return munmap(own.map[o->file], FILE_MAX);
    case OP_LOAD:
    case OP_STORE:
        return do_memory(o, buf);
    case OP_MSYNC:
        return msync(own.map[o->file], FILE_MAX, o->arg);
    case OP_TRUNCATE:
        return do_truncate(o, fd);
    case OP_FALLOCATE:
        return fallocate(fd, o->arg, o->off, o->len);
    case OP_COPY:
        return do_copy(o, fd);
    case OP_SEEK:
        return lseek(fd, o->off, o->arg);
    case OP_SYNC:
        return o->arg ? fdatasync(fd) : fsync(fd);
    case OP_DROP:
        errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return errno ? -1 : 0;
    case OP_STAT:
        return do_stat(o, fd);
    case OP_WHOLE:
        return do_whole(o, buf);
    case OP_RENAME:
    case OP_UNLINK:
    case OP_LINK:
        return do_names(o);
    case KINDS:
        break;
    }
    abort();
}

static _Noreturn void work(struct channel *c, int dir, int from, int to)
{
    struct sigaction bus = { .sa_handler = on_bus };
    char byte;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_IGN); /* the master ends at a step */
    signal(SIGINT, SIG_IGN);
    sigaction(SIGBUS, &bus, NULL);
    own.dir = dir;
    for (int f = 0; f < FILES; f++)
        for (int s = 0; s < SIDES; s++)
            own.fd[f][s] = -1;
    while (read(from, &byte, 1) == 1) {
        errno = 0;
        c->op.rc = make(&c->op, c->buf);
        c->op.error = c->op.rc < 0 ? errno : 0;
        if (write(to, &byte, 1) != 1)
            break;
    }
    _exit(0);
}

/* ---- For the master -------------------------------------------------------------------------- */

void worker_start(int number, struct channel *c, int dir)
{
    int there[2], back[2];

    if (pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0 ||
        (workers[number].pid = fork()) < 0) {
        perror("random: a worker");
        exit(2);
    }
    if (workers[number].pid == 0) {
        for (int w = 0; w < number; w++) {
            close(workers[w].to);
            close(workers[w].from);
        }
        close(there[1]);
        close(back[0]);
        work(c, dir, there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    workers[number].to = there[1];
    workers[number].from = back[0];
}

bool worker_begin(int number)
{
    return write(workers[number].to, "", 1) == 1;
}

bool worker_wait(int number)
{
    char byte;
    ssize_t n;

    do
        n = read(workers[number].from, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

void worker_stop(int number)
{
    close(workers[number].to);
    close(workers[number].from);
    waitpid(workers[number].pid, NULL, 0);
}

void name_of(int name, char text[NAME_MAX_LEN])
{
    snprintf(text, NAME_MAX_LEN, "r%d", name);
}

void op_print(const struct op *o, FILE *to)
{
    char name[NAME_MAX_LEN] = "", name_to[NAME_MAX_LEN] = "";

    if (o->name >= 0)
        name_of(o->name, name);
    if (o->name_to >= 0)
        name_of(o->name_to, name_to);
    fprintf(to, "step %llu, process %d: %s", (unsigned long long)o->step, o->worker,
            kind_names[o->kind]);
    if (o->file >= 0)
        fprintf(to, " file %d (%s)", o->file, o->side ? "direct" : "buffered");
    if (o->kind == OP_COPY)
        fprintf(to, " from file %d (%s) at %lld", o->from, o->from_side ? "direct" : "buffered",
                (long long)o->off_from);
    fprintf(to, " %s%s%s at %lld, %lld bytes, %#x: %lld", name, name_to[0] ? " to " : "", name_to,
            (long long)o->off, (long long)o->len, (unsigned)o->arg, (long long)o->rc);
    if (o->rc < 0)
        fprintf(to, " (%s)", strerror(o->error));
    fputc('\n', to);
}
