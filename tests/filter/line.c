/* SPDX-License-Identifier: BSD-2-Clause
 *
 * line.c - messages to the service over one connection (line.h).
 *
 * Owns: the socket, a thread that takes the replies, and a table of who waits for which tag.
 */
#include "line.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cachemax_protocol.h"
#include "filter_core.h"

#define WAITERS 64u

struct waiter {
    uint64_t tag; /* 0: free */
    void *reply;
    uint32_t room;
    int n; /* 0: it has not come */
};
static struct {
    char socket[108];
    unsigned ms;
    pthread_mutex_t lock, send; /* `send` first */
    pthread_cond_t changed;
    uint32_t life, last;
    unsigned users; /* threads that use fd */
    int fd;
    struct waiter waiter[WAITERS];
    pthread_t taker;
    bool taking;
} line = { .lock = PTHREAD_MUTEX_INITIALIZER, .send = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

void line_init(const char *socket, unsigned ms)
{
    pthread_condattr_t a;

    snprintf(line.socket, sizeof(line.socket), "%s", socket);
    line.ms = ms;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&line.changed, &a);
}

static bool take_all(int fd, void *to, size_t n)
{
    uint8_t *at = to;

    while (n > 0) {
        const ssize_t got = recv(fd, at, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static void deliver(const uint8_t *message, uint32_t n)
{
    struct cmp_head h;

    memcpy(&h, message, sizeof(h));
    pthread_mutex_lock(&line.lock);
    for (unsigned i = 0; i < WAITERS; i++)
        if (line.waiter[i].tag == h.tag && line.waiter[i].n == 0) {
            if (n <= line.waiter[i].room) {
                memcpy(line.waiter[i].reply, message, n);
                line.waiter[i].n = (int)n;
            }
            pthread_cond_broadcast(&line.changed);
        }
    pthread_mutex_unlock(&line.lock);
}

static void *take_replies(void *arg)
{
    static uint8_t message[CMP_MESSAGE_MAX];
    const int fd = line.fd;
    const uint32_t life = (uint32_t)(uintptr_t)arg;
    size_t n;

    while (take_all(fd, message, sizeof(struct cmp_head)) &&
           cmp_check_head(message, sizeof(struct cmp_head), &n) == CMP_SOUND &&
           take_all(fd, message + sizeof(struct cmp_head), n - sizeof(struct cmp_head)))
        deliver(message, (uint32_t)n);
    line_hang_up(NULL, life);
    return NULL;
}

uint32_t line_connect(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    uint32_t life;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0 && !line.taking && line.fd < 0);
    memcpy(a.sun_path, line.socket, sizeof(a.sun_path));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO,
               &(struct timeval){ line.ms / 1000, (long)(line.ms % 1000) * 1000 },
               sizeof(struct timeval));
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
        close(fd);
        return 0;
    }
    pthread_mutex_lock(&line.lock);
    line.fd = fd;
    life = line.life = ++line.last;
    pthread_mutex_unlock(&line.lock);
    line.taking = pthread_create(&line.taker, NULL, take_replies, (void *)(uintptr_t)life) == 0;
    assert(line.taking);
    return life;
}

void line_wait(uint32_t life)
{
    pthread_mutex_lock(&line.lock);
    while (line.life == life || line.users > 0)
        pthread_cond_wait(&line.changed, &line.lock);
    pthread_mutex_unlock(&line.lock);
    pthread_join(line.taker, NULL);
    line.taking = false;
    close(line.fd);
    line.fd = -1;
}

void line_hang_up(void *ctx, uint32_t life)
{
    (void)ctx;
    pthread_mutex_lock(&line.lock);
    if (line.life == life) {
        line.life = 0;
        shutdown(line.fd, SHUT_RDWR);
        pthread_cond_broadcast(&line.changed);
    }
    pthread_mutex_unlock(&line.lock);
}

/* Locked. */
static struct waiter *begin_wait(const void *message, void *reply, uint32_t room)
{
    struct cmp_head h;

    memcpy(&h, message, sizeof(h));
    for (unsigned i = 0; i < WAITERS; i++)
        if (line.waiter[i].tag == 0) {
            line.waiter[i] = (struct waiter){ .tag = h.tag, .reply = reply, .room = room };
            return &line.waiter[i];
        }
    assert(!"more threads than waiters");
    return NULL;
}

static bool send_all(const uint8_t *at, size_t n)
{
    bool ok = true;

    pthread_mutex_lock(&line.send);
    while (n > 0 && ok) {
        const ssize_t sent = send(line.fd, at, n, MSG_NOSIGNAL);

        ok = sent > 0 || (sent < 0 && errno == EINTR);
        at += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    pthread_mutex_unlock(&line.send);
    return ok;
}

/* Locked. Until the reply is there, the connection has ended, or the time is over. */
static void wait_reply(const struct waiter *w, uint32_t life, unsigned ms)
{
    struct timespec end;
    int e = 0;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += (long)(ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    while (w->n == 0 && line.life == life && e == 0)
        e = pthread_cond_timedwait(&line.changed, &line.lock, &end);
}

int line_ask(void *ctx, uint32_t life, const void *message, uint32_t bytes, void *reply,
             uint32_t room, bool patient)
{
    struct waiter *w = NULL;
    bool ok;
    int n = FC_GONE;

    (void)ctx;
    pthread_mutex_lock(&line.lock);
    ok = life != 0 && line.life == life;
    if (ok) {
        line.users++;
        w = room ? begin_wait(message, reply, room) : NULL;
    }
    pthread_mutex_unlock(&line.lock);
    if (!ok)
        return FC_GONE;
    ok = send_all(message, bytes);
    pthread_mutex_lock(&line.lock);
    if (ok && w)
        wait_reply(w, life, patient ? 60000 : line.ms);
    if (ok)
        n = !w ? 0 : w->n > 0 ? w->n : FC_GONE;
    if (w)
        w->tag = 0;
    line.users--;
    pthread_cond_broadcast(&line.changed);
    pthread_mutex_unlock(&line.lock);
    return n;
}
