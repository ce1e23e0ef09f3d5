/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bare_linux.c - a bare exchange between two processes, by futex and by Unix socket.
 *
 * Who: hits.c.
 */
#include "bare.h"

#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "place.h"

static struct exchange {
    _Atomic uint32_t asked, answered;
    uint8_t data[BARE_BLOCK];
} * exchange;
static int pair[2];
static place_process others[2];
static uint8_t buf[BARE_BLOCK];

static void futex_wait(_Atomic uint32_t *word, uint32_t is)
{
    while (atomic_load(word) == is)
        (void)syscall(SYS_futex, word, FUTEX_WAIT, is, NULL, NULL, 0);
}

static void futex_set(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store(word, value);
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void bare_by_memory(void *arg, unsigned i)
{
    const uint32_t n = atomic_load(&exchange->asked);

    (void)arg;
    (void)i;
    futex_set(&exchange->asked, n + 1);
    futex_wait(&exchange->answered, n);
    memcpy(buf, exchange->data, BARE_BLOCK);
}

void bare_by_stream(void *arg, unsigned i)
{
    uint8_t in[BARE_BLOCK + 64] = { 0 };
    size_t have = 0;

    (void)arg;
    (void)i;
    if (send(pair[0], in, 40, 0) != 40)
        place_die("send");
    while (have < BARE_BLOCK + 48) {
        const ssize_t n = recv(pair[0], in + have, sizeof(in) - have, 0);
        if (n <= 0)
            place_die("recv");
        have += (size_t)n;
    }
    memcpy(buf, in + 48, BARE_BLOCK);
}

static pid_t answer_by_futex(void)
{
    const pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint32_t n = 0;; n++) {
        futex_wait(&exchange->asked, n);
        memcpy(exchange->data, buf, BARE_BLOCK);
        futex_set(&exchange->answered, n + 1);
    }
}

static pid_t answer_by_socket(void)
{
    const pid_t pid = fork();
    uint8_t out[BARE_BLOCK + 48], in[64];

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memset(out, 0, sizeof(out));
    while (recv(pair[1], in, sizeof(in), 0) > 0) {
        memcpy(out + 48, buf, BARE_BLOCK);
        if (send(pair[1], out, sizeof(out), 0) != (ssize_t)sizeof(out))
            break;
    }
    _exit(0);
}

void bare_begin(void)
{
    exchange =
        mmap(NULL, sizeof(*exchange), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (exchange == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        place_die("mmap, socketpair");
    others[0] = answer_by_futex();
    others[1] = answer_by_socket();
}

void bare_end(void)
{
    place_kill(others[0]);
    place_kill(others[1]);
}

int bare_main(const char *how)
{
    (void)how;
    return 2; /* the others are forked */
}
