/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_warm.c - cmc_warm(): reads a range into the service's pool ahead of need, at a rate.
 *
 * Owns: nothing. It goes window by window: one that is cached is skipped, of another one the
 * missing parts are read and stored. It ends where going on is no use: the service is away or takes
 * nothing, or windows that were cached when it passed them are not any more, so the pool is full of
 * what it has done.
 *
 * Who: programs, by cachemax_client.h.
 */
#include <stdlib.h>

#include "client_file.h"
#include "os.h"

#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define SLICE_MS 100u
#define WINDOWS_A_SECOND 8u /* at least, with a rate */
#define IDLE_MAX 16u        /* windows in a row of which nothing could be stored */
#define WATCHED 8u
#define LOOK_EVERY 16u /* windows */

struct warm {
    cmc_file *file;
    cm_warm_options o;
    cm_origin_read_fn origin_read;
    void *ctx;
    uint64_t from, pos, end; /* multiples of a block, but for the end */
    uint8_t *buf;
    cm_warm_report r;
    int reason; /* the first one why something was left out */
    unsigned idle;
    uint64_t began;
    /* Windows that were cached when they were passed, evenly spread: every `every`th one. */
    struct {
        uint64_t at, bytes;
    } watch[WATCHED];
    unsigned watched;
    uint64_t windows, every;
};

static bool is_cancelled(const struct warm *w)
{
    const uint64_t done = w->pos < w->end ? w->pos - w->from : w->end - w->from;

    return w->o.progress && w->o.progress(w->o.progress_ctx, done, w->end - w->from) != 0;
}

/* Sleeps until the rate allows more. */
static int keep_pace(const struct warm *w)
{
    uint64_t due, now;

    if (w->o.bytes_per_second == 0)
        return is_cancelled(w) ? CM_ECANCELED : 0;
    /* Seconds and the rest, so that nothing overflows. */
    due = w->began + w->r.read / w->o.bytes_per_second * UINT64_C(1000000000) +
          (uint64_t)((double)(w->r.read % w->o.bytes_per_second) * 1e9 /
                     (double)w->o.bytes_per_second);
    while (!is_cancelled(w)) {
        now = os_now_ns();
        if (now >= due)
            return 0;
        os_sleep_ms(due - now < SLICE_MS * UINT64_C(1000000) ? (unsigned)((due - now) / 1000000) + 1
                                                             : SLICE_MS);
    }
    return CM_ECANCELED;
}

static uint64_t window_len(const struct warm *w)
{
    uint64_t n = CLIENT_WINDOW_MAX;
    const uint64_t rate = w->o.bytes_per_second / WINDOWS_A_SECOND;

    if (w->o.bytes_per_second && rate < n)
        n = rate < BLOCK ? BLOCK : rate - rate % BLOCK;
    if (w->end - w->pos < n)
        n = (w->end - w->pos + BLOCK - 1) / BLOCK * BLOCK;
    return n;
}

/* Keeps in mind that a window is cached. */
static void watch(struct warm *w, uint64_t at, uint64_t bytes)
{
    if (w->windows++ % w->every != 0)
        return;
    if (w->watched == WATCHED) {
        w->watched /= 2;
        for (unsigned k = 0; k < w->watched; k++)
            w->watch[k] = w->watch[2 * k];
        w->every *= 2;
    }
    w->watch[w->watched].at = at;
    w->watch[w->watched++].bytes = bytes;
}

/* What was cached is gone. Was it evicted? A pool with room evicts nothing: then it was written. */
static int why_gone(struct warm *w)
{
    cm_info info = CM_INFO_INIT;
    const int e = cmc_pool(client_of(w->file), &info);

    if (e < 0)
        return e;
    if (info.used_slots >= info.slots - info.slots / 32)
        return CM_NOT_STORED_ROOM;
    w->reason = w->reason ? w->reason : CM_NOT_STORED_STALE;
    w->watched = 0;
    return 0;
}

/* Does the pool evict what this call has done? CM_NOT_STORED_ROOM, 0, or an error. */
static int is_leaking(struct warm *w)
{
    for (unsigned k = 0; k < w->watched; k++) {
        uint64_t now;
        const int e = cmc_file_cached(w->file, w->watch[k].at, CLIENT_WINDOW_MAX, &now, NULL);

        if (e < 0)
            return e;
        if (now < w->watch[k].bytes - w->watch[k].bytes / 8) /* a few have bad luck */
            return why_gone(w);
    }
    return 0;
}

/* The next window. A result other than 0 ends the call. */
static int do_window(struct warm *w)
{
    const uint64_t len = window_len(w), left = w->end - w->pos;
    struct client_window r = { .result = 0 };
    uint64_t cached;
    int64_t n = 0;
    int e = cmc_file_cached(w->file, w->pos, len, &cached, NULL);

    if (e < 0)
        return e;
    if (cached < (left < len ? left : len)) {
        n = client_warm_window(w->file, w->pos, w->buf, (size_t)len, w->origin_read, w->ctx, &r);
        w->r.read += r.read;
        w->r.stored += r.stored;
        w->reason = w->reason ? w->reason : r.result;
        w->idle = r.result > 0 && r.stored == 0 ? w->idle + 1 : 0;
        if (n < 0 || r.result < 0)
            return n < 0 ? (int)n : r.result;
        cached = r.result == 0 ? (left < len ? left : len) : 0;
    }
    if (cached > 0 && !r.ends)
        watch(w, w->pos, cached);
    w->pos = r.ends ? w->end : w->pos + len;
    if (r.result == CM_NOT_STORED_MODE || w->idle >= IDLE_MAX)
        return r.result;
    return 0;
}

/* What is cached of all that it has done. */
static int count(struct warm *w)
{
    const uint64_t to = w->pos < w->end ? w->pos : w->end;
    uint64_t n, bytes;
    int e = 0;

    for (uint64_t at = w->from; e == 0 && at < to; at += n) {
        n = to - at < CMC_COUNT_MAX ? to - at : CMC_COUNT_MAX;
        e = cmc_file_cached(w->file, at, n, &bytes, NULL);
        w->r.cached += e == 0 ? bytes : 0;
    }
    w->r.end = to;
    return e;
}

static int run(struct warm *w)
{
    int e = 0;

    while (e == 0 && w->pos < w->end) {
        e = keep_pace(w);
        if (e == 0)
            e = do_window(w);
        if (e == 0 && (w->windows % LOOK_EVERY == 0 || w->pos >= w->end))
            e = is_leaking(w);
    }
    return e;
}

int cmc_warm(cmc_file *f, uint64_t offset, uint64_t len, const cm_warm_options *opts,
             cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report)
{
    struct warm w = {
        .file = f, .origin_read = origin_read, .ctx = ctx, .r = CM_WARM_REPORT_INIT, .every = 1
    };
    void *memory;
    int e, counted;

    if (!f || !origin_read || len > INT64_MAX - BLOCK || offset > (uint64_t)INT64_MAX - BLOCK - len)
        return CM_EINVAL;
    if (!client_take(&w.o, sizeof(w.o), opts) || w.o.reserved[0] || w.o.reserved[1] ||
        (report && !client_can_give(report)))
        return CM_EINVAL;
    if (w.o.flags) /* what the service has cannot be compared from here */
        return CM_ENOTSUP;
    w.from = w.pos = offset - offset % BLOCK;
    w.end = offset + len;
    w.began = os_now_ns();
    memory = malloc(CLIENT_WINDOW_MAX + BLOCK);
    if (!memory)
        return CM_ENOMEM;
    w.buf = (uint8_t *)memory + (BLOCK - (uintptr_t)memory % BLOCK);
    e = run(&w);
    counted = count(&w);
    free(memory);
    if (report)
        client_give(report, &w.r, sizeof(w.r));
    return e ? e : counted ? counted : w.reason;
}
