/* SPDX-License-Identifier: BSD-2-Clause
 *
 * writev.c - sends a file straight from the pool: no copy between the pool and the system call.
 *
 *     cachemax create POOL --size 64M     # once
 *     writev FILE POOL > OUT              # a pipe, a file, or a socket of inetd
 *
 * It shows pins. cm_pin_range() returns addresses in the pool, as a list of pieces. They are what
 * writev(2) takes. The pinned blocks stay as they are until cm_unpin(), whatever is written or
 * evicted meanwhile. Then the next part of the file is pinned.
 *
 * At most CM_PINS_MAX blocks (256 KiB) are pinned by one call, and only from where the first block
 * is cached. What is not cached comes through cm_read_through(), which also stores it.
 *
 * THREE THINGS TO KNOW
 * - A reader that takes its time holds the pins meanwhile, and a pinned slot cannot be used for
 *   another block. Pin for a short time. A server with slow clients copies instead (cm_read()).
 * - The memory is read-only. If the pool's media is damaged, or its file was truncated, the system
 *   call fails with EFAULT. Then cm_read_through() brings the same bytes, and takes the damaged
 * slot out of use. A load of the program's own would raise SIGBUS instead.
 * - Is it faster? Measure. writev() into a pipe or a socket copies once, from the pool; cm_read()
 *   and write() copy twice, but the second copy comes from the CPU's cache. It pays from some 64
 * KiB on, and where the pages of the pool are in memory.
 *
 * Read next: include/cachemax.h, "Zero copy"; ../event-loop, which does it in steps, for many
 * clients at once.
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* pread */
#endif
#include <cachemax.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PART = 1 << 18, ORIGIN_FAILED = -1000 /* minus errno: the library's own are above */ };

static const char NO_OUTPUT[] = "output cannot be written";
static uint64_t pinned, copied;

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

static void say(const char *what, int error)
{
    fprintf(stderr, "writev: the %s: %s\n", what, strerror(error));
}

/* Somebody may have made the output non-blocking: then a pipe that is full says so. Waits for its
 * reader. */
static int wait_for_reader(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    while (poll(&out, 1, -1) < 0)
        if (errno != EINTR)
            return -1;
    return 0;
}

/* The bytes written. If they are not all, *error says why: errno does so only until the next call
 * of the library. */
static int64_t write_pieces(struct iovec *v, int n, int *error)
{
    int64_t all = 0;

    while (n > 0) {
        ssize_t done = writev(STDOUT_FILENO, v, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN && wait_for_reader() == 0)
            continue;
        if (done < 0) {
            *error = errno;
            break;
        }
        all += done;
        for (; n > 0 && (size_t)done >= v->iov_len; v++, n--)
            done -= (ssize_t)v->iov_len;
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + done;
            v->iov_len -= (size_t)done;
        }
    }
    return all;
}

/* Sends what is cached at `off`. The bytes sent; 0: the first block is not cached, or its memory
 * cannot be read; -1: the output failed. */
static int64_t send_pinned(cm_file *file, uint64_t off)
{
    cm_iovec piece[CM_PINS_MAX];
    struct iovec v[CM_PINS_MAX];
    cm_pins pins;
    int64_t sent;
    int n, error = 0;

    const int64_t bytes = cm_pin_range(file, off, PART, piece, CM_PINS_MAX, &n, &pins, NULL);
    if (bytes <= 0) /* nothing is pinned; an error of the cache is a miss, too */
        return 0;
    for (int k = 0; k < n; k++) /* writev(2) only reads it, though its type does not say so */
        v[k] = (struct iovec){ (void *)(uintptr_t)piece[k].base, piece[k].len };
    sent = write_pieces(v, n, &error);
    cm_unpin(&pins);
    pinned += (uint64_t)sent;
    if (sent == bytes || error == EFAULT)
        return sent;
    say(NO_OUTPUT, error);
    return -1;
}

/* Sends a part that is not cached, or all parts if there is no cache. 0: the end; -1: an error. */
static int64_t send_copied(cm_file *file, int fd, uint64_t off)
{
    static char buf[PART];
    int error = 0;
    int64_t n = file ? cm_read_through(file, off, buf, sizeof(buf), origin_read, &fd) : CM_EINVAL;

    if (n < 0 && n >= ORIGIN_FAILED) /* trouble of the cache is no reason to fail */
        n = origin_read(&fd, off, buf, sizeof(buf));
    if (n < 0) {
        say("file cannot be read", (int)(ORIGIN_FAILED - n));
        return -1;
    }
    struct iovec all = { .iov_base = buf, .iov_len = (size_t)n };
    if (write_pieces(&all, 1, &error) < n) {
        say(NO_OUTPUT, error);
        return -1;
    }
    copied += (uint64_t)n;
    return n;
}

static cm_file *attach(cm_cache *cache, int fd)
{
    cm_validator validator = CM_VALIDATOR_INIT;
    cm_file *file = NULL;
    cm_file_id id;
    int e = cm_identify(fd, &id, &validator);

    if (e == 0)
        e = cm_file_open(cache, &id, &validator, 0, &file);
    if (e < 0)
        fprintf(stderr, "writev: no cache for the file: %s\n", cm_strerror(e));
    return file;
}

int main(int argc, char **argv)
{
    cm_cache *cache = NULL;
    cm_file *file = NULL;
    uint64_t off = 0;
    int64_t n;
    int e, fd = argc == 3 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0) {
        fprintf(stderr, "usage: writev FILE POOL > OUT; FILE must be readable\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error: the pool must be closed */
    e = cm_open(argv[2], NULL, &cache);
    if (e < 0)
        fprintf(stderr, "writev: %s: %s; going on without it\n", argv[2], cm_strerror(e));
    else
        file = attach(cache, fd);
    do {
        n = file ? send_pinned(file, off) : 0;
        if (n == 0)
            n = send_copied(file, fd, off);
        off += n > 0 ? (uint64_t)n : 0;
    } while (n > 0);
    if (file)
        cm_file_close(file);
    if (cache)
        cm_close(cache);
    fprintf(stderr, "writev: %llu bytes straight from the pool, %llu copied\n",
            (unsigned long long)pinned, (unsigned long long)copied);
    return n < 0;
}
