/* SPDX-License-Identifier: BSD-2-Clause
 *
 * line.c - messages to the service over one connection (line.h).
 *
 * Owns: the stream, a thread that takes the replies, a table of who waits for which tag, and a
 * thread that has the waiters look at the clock.
 *
 * Who: storm.c.
 */
#include "line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax_protocol.h"
#include "client_stream.h"
#include "os.h"

#define WAITERS 64u
#define STREAM_NS UINT64_C(600000000000) /* of the stream's own calls: longer than any test */
#define TICK_MS 10u

struct waiter {
    uint64_t tag; /* 0: free */
    void *reply;
    uint32_t room;
    int n; /* 0: it has not come */
};
static struct {
    char where[1024];
    os_mutex lock, send; /* `send` first */
    os_cond changed;
    uint32_t life, last;
    unsigned users; /* threads that use the stream */
    struct client_stream stream;
    struct waiter waiter[WAITERS];
    struct os_thread taker;
} line;

static void tick(void *arg)
{
    (void)arg;
    for (;;) {
        os_sleep_ms(TICK_MS);
        os_lock(&line.lock);
        os_cond_wake_all(&line.changed);
        os_unlock(&line.lock);
    }
}

void line_init(const char *where)
{
    snprintf(line.where, sizeof(line.where), "%s", where);
    os_mutex_begin(&line.lock);
    os_mutex_begin(&line.send);
    os_cond_begin(&line.changed);
    if (!os_thread_begin_alone(tick, NULL))
        abort();
}

/* Bytes that have come; 0: look again. The client's end of a pipe has one call at a time, so it
 * must not wait in it. */
static int64_t take_some(const struct piece p[2])
{
#ifdef _WIN32
    int64_t got;

    os_lock(&line.send);
    got = client_stream_receive(&line.stream, p, false, NULL);
    os_unlock(&line.send);
    if (got == 0)
        os_sleep_ms(1);
    return got;
#else
    return client_stream_receive(&line.stream, p, true, NULL);
#endif
}

static bool take_all(void *to, size_t n)
{
    uint8_t *at = to;

    while (n > 0) {
        const struct piece p[2] = { { at, n }, { NULL, 0 } };
        const int64_t got = take_some(p);

        if (got < 0)
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
    os_lock(&line.lock);
    for (unsigned i = 0; i < WAITERS; i++)
        if (line.waiter[i].tag == h.tag && line.waiter[i].n == 0) {
            if (n <= line.waiter[i].room) {
                memcpy(line.waiter[i].reply, message, n);
                line.waiter[i].n = (int)n;
            }
            os_cond_wake_all(&line.changed);
        }
    os_unlock(&line.lock);
}

static void take_replies(void *arg)
{
    static uint8_t message[CMP_MESSAGE_MAX];
    size_t n;

    while (take_all(message, sizeof(struct cmp_head)) &&
           cmp_check_head(message, sizeof(struct cmp_head), &n) == CMP_SOUND &&
           take_all(message + sizeof(struct cmp_head), n - sizeof(struct cmp_head)))
        deliver(message, (uint32_t)n);
    line_hang_up((uint32_t)(uintptr_t)arg);
}

uint32_t line_connect(void)
{
    uint32_t life;

    if (!client_stream_open(&line.stream, line.where, STREAM_NS))
        return 0;
    os_lock(&line.lock);
    life = line.life = ++line.last;
    os_unlock(&line.lock);
    if (!os_thread_begin(&line.taker, take_replies, (void *)(uintptr_t)life))
        abort();
    return life;
}

void line_wait(uint32_t life)
{
    os_lock(&line.lock);
    while (line.life == life || line.users > 0)
        os_cond_wait(&line.changed, &line.lock);
    os_unlock(&line.lock);
    os_thread_join(&line.taker);
    client_stream_close(&line.stream);
}

void line_hang_up(uint32_t life)
{
    os_lock(&line.lock);
    if (line.life == life) {
        line.life = 0;
        client_stream_shut(&line.stream);
        os_cond_wake_all(&line.changed);
    }
    os_unlock(&line.lock);
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
    abort(); /* more threads than waiters */
}

static bool send_all(const void *message, size_t n)
{
    const struct piece p[2] = { { (void *)(uintptr_t)message, n }, { NULL, 0 } };
    bool ok;

    os_lock(&line.send);
    ok = client_stream_send(&line.stream, p);
    os_unlock(&line.send);
    return ok;
}

int line_ask(uint32_t life, const void *message, uint32_t bytes, void *reply, uint32_t room,
             uint64_t ns)
{
    const uint64_t now = os_now_ns(), until = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
    struct waiter *w = NULL;
    int n = LINE_CUT;
    bool ok;

    os_lock(&line.lock);
    ok = life != 0 && line.life == life;
    if (ok) {
        line.users++;
        w = room ? begin_wait(message, reply, room) : NULL;
    }
    os_unlock(&line.lock);
    if (!ok)
        return LINE_CUT;
    ok = send_all(message, bytes);
    os_lock(&line.lock);
    while (ok && w && w->n == 0 && line.life == life && os_now_ns() < until)
        os_cond_wait(&line.changed, &line.lock);
    if (ok && line.life == life)
        n = !w ? 0 : w->n > 0 ? w->n : LINE_LATE;
    if (w)
        w->tag = 0;
    line.users--;
    os_cond_wake_all(&line.changed);
    os_unlock(&line.lock);
    return n;
}
