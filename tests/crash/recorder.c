/* SPDX-License-Identifier: BSD-2-Clause
 *
 * recorder.c - see recorder.h.
 *
 * Owns, for each level: the log, and three images. `live` is the library's. `seen` is the log
 * replayed: what the CPU sees at a point of the log. `sure` is what the media is guaranteed to hold
 * there. Linked with --wrap=cm_persist_choose, so that the production code uses the recorder's
 * table.
 */
#include "recorder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "persist/persist.h"

#define LINE 64u
#define BLOCK 4096u
#define PAST_MAX 6 /* number of values that are kept of a word since it was last sure */
#define PAYLOAD_CHOICES 5u
#define THREADS 4u /* threads are told apart by their number modulo this */

const struct cm_persist_ops *__real_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need);

/* A word whose media value is not sure. */
struct word {
    uint64_t value[PAST_MAX]; /* values stored since then; the last one is the present one */
    uint32_t n;
    uint32_t
        flushed[THREADS]; /* values up to here were flushed: sure after that thread's next fence */
    bool lost;            /* a sync failed, and the system thinks that the word was written */
};

static struct recorder {
    uint8_t *live, *seen, *sure;
    uint64_t bytes, ignore_from, ignore_to;
    struct range payload[REC_PAYLOADS];
    unsigned payloads;
    enum rules rules;
    struct event *log;
    size_t events, room;
    void *(*calls)[REC_CALLS]; /* of the events, while a trace is made */
    size_t calls_room;
    uint8_t *data;
    size_t data_bytes, data_room;
    struct word **word; /* by number of the word; NULL: the word is sure */
    uint64_t *open;     /* numbers of the words in doubt */
    size_t opens, open_room;
    struct doubt *doubt;
    size_t doubts, doubt_room;
    uint64_t *choice_hash; /* hashes of the choices of all doubts, one doubt after the other */
    size_t choice_room;
    uint64_t hash; /* of `sure` */
    void (*hook)(void);
    unsigned hook_after; /* fences left until the hook */
    unsigned fail_after; /* things that can fail, left until the failure */
    bool failed;
} levels[REC_LEVELS], *r = levels;

static void (*walk_calls)(void *calls[REC_CALLS]); /* NULL: no trace is made */

static void *grow(void *p, size_t *room, size_t need, size_t unit)
{
    if (need <= *room)
        return p;
    *room = need * 2 + 64;
    p = realloc(p, *room * unit);
    if (!p)
        abort();
    return p;
}

/* ---- Recording ------------------------------------------------------------------------------- */

static struct event *add(enum event_kind kind, uint64_t at, uint64_t value, uint64_t bytes)
{
    r->log = grow(r->log, &r->room, r->events + 1, sizeof(*r->log));
    r->log[r->events] = (struct event){ kind, cm_plat_thread()->number, at, value, bytes, 0 };
    if (walk_calls) {
        r->calls = grow(r->calls, &r->calls_room, r->events + 1, sizeof(*r->calls));
        walk_calls(r->calls[r->events]);
    }
    return &r->log[r->events++];
}

static bool fails(void)
{
    if (r->fail_after == 0 || --r->fail_after > 0)
        return false;
    r->failed = true;
    return true;
}

static bool access_fails(void)
{
    return r->rules < RULES_PAGECACHE && fails();
}

static uint64_t offset_of(const void *p)
{
    uint64_t at = (uint64_t)((const uint8_t *)p - r->live);
    if (at >= r->bytes) {
        fprintf(stderr, "recorder: access outside the pool\n");
        abort();
    }
    return at;
}

static void store(uint64_t *p, uint64_t v)
{
    add(EV_STORE, offset_of(p), v, 8)->old = *p;
    *p = v;
}

static int rec_store64(void *ctx, uint64_t *p, uint64_t v)
{
    (void)ctx;
    if (access_fails())
        return CM_EIO;
    store(p, v);
    return 0;
}

static int rec_cas64(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    (void)ctx;
    if (access_fails())
        return CM_EIO;
    if (*p != expected)
        return 0;
    store(p, desired);
    return 1;
}

static int rec_write(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx;
    bool fail = access_fails();
    for (size_t i = 0; i < (fail ? n / 2 : n); i += 8) {
        uint64_t v;
        memcpy(&v, (const uint8_t *)src + i, 8);
        store((uint64_t *)(void *)((uint8_t *)dst + i), v);
    }
    return fail ? CM_EIO : 0;
}

static int rec_copy(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx;
    bool fail = access_fails();
    n = fail ? n / 2 / LINE * LINE : n;
    r->data = grow(r->data, &r->data_room, r->data_bytes + 2 * n, 1);
    memcpy(r->data + r->data_bytes, src, n);
    memcpy(r->data + r->data_bytes + n, dst, n);
    add(EV_COPY, offset_of(dst), r->data_bytes, n)->old = r->data_bytes + n;
    r->data_bytes += 2 * n;
    memcpy(dst, src, n);
    return fail ? CM_EIO : 0;
}

static int rec_flush(void *ctx, const void *p, size_t n)
{
    (void)ctx;
    if (access_fails())
        return CM_EIO;
    uint64_t first = offset_of(p) / LINE, last = (offset_of(p) + n - 1) / LINE;
    for (uint64_t line = first; line <= last; line++)
        add(EV_FLUSH, line * LINE, 0, LINE);
    return 0;
}

static void call_hook(void)
{
    if (r->hook && r->hook_after > 0)
        r->hook_after--;
    if (r->hook && r->hook_after == 0)
        r->hook();
}

static void rec_fence(void *ctx)
{
    (void)ctx;
    call_hook();
    add(EV_FENCE, 0, 0, 0);
}

static const struct cm_persist_ops table = {
    .flush_name = "recorded",
    .copy_name = "recorded",
    .flushes = true,
    .store64 = rec_store64,
    .cas64 = rec_cas64,
    .write = rec_write,
    .copy = rec_copy,
    .flush = rec_flush,
    .fence = rec_fence,
};

const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need)
{
    return r->live ? &table : __real_cm_persist_choose(need);
}

void rec_at_fence(unsigned n, void (*hook)(void))
{
    r->hook_after = n;
    r->hook = hook;
}

unsigned rec_level(unsigned level)
{
    unsigned was = (unsigned)(r - levels);
    r = &levels[level];
    return was;
}

void rec_mark(uint64_t number)
{
    add(EV_MARK, 0, number, 0);
}

int rec_sync(uint64_t offset, uint64_t bytes)
{
    call_hook();
    bool fail = fails();
    add(fail ? EV_LOST : EV_SYNC, offset, bytes, bytes);
    return fail ? CM_EIO : 0;
}

void rec_fail_at(unsigned n)
{
    r->fail_after = n;
    r->failed = false;
}

bool rec_failed(void)
{
    return r->failed;
}

bool rec_load_fails(void)
{
    return access_fails();
}

void rec_media(uint64_t offset, uint64_t bytes, uint64_t value)
{
    for (uint64_t at = offset; at < offset + bytes; at += 8)
        memcpy(r->live + at, &value, 8);
    add(EV_MEDIA, offset, value, bytes);
}

void rec_rewind(void)
{
    memcpy(r->live, r->seen, r->ignore_from);
    memcpy(r->live + r->ignore_to, r->seen + r->ignore_to, r->bytes - r->ignore_to);
}

void rec_undo(void)
{
    for (size_t i = r->events; i > 0; i--) {
        const struct event *e = &r->log[i - 1];
        if (e->kind == EV_STORE)
            memcpy(r->live + e->at, &e->old, 8);
        else if (e->kind == EV_COPY)
            memcpy(r->live + e->at, r->data + e->old, e->bytes);
    }
}

void rec_begin(void)
{
    r->events = 0;
    r->data_bytes = 0;
}

const struct event *rec_log(size_t *n)
{
    *n = r->events;
    return r->log;
}

void rec_trace(void (*walk)(void *calls[REC_CALLS]))
{
    walk_calls = walk;
}

void *const *rec_calls(size_t event)
{
    return r->calls[event];
}

void rec_attach(uint8_t *live, uint64_t bytes, uint64_t ignore_from, uint64_t ignore_to,
                const struct range *payload, unsigned payloads, enum rules rules)
{
    rec_detach();
    r->live = live;
    r->bytes = bytes;
    r->ignore_from = ignore_from;
    r->ignore_to = ignore_to;
    memcpy(r->payload, payload, payloads * sizeof(*payload));
    r->payloads = payloads;
    r->rules = rules;
    r->seen = malloc(bytes);
    r->sure = malloc(bytes);
    r->word = calloc(bytes / 8, sizeof(*r->word));
    if (!r->seen || !r->sure || !r->word)
        abort();
    rep_reset();
}

void rec_detach(void)
{
    for (size_t i = 0; i < r->opens; i++)
        free(r->word[r->open[i]]);
    free(r->seen);
    free(r->sure);
    free(r->word);
    free(r->log);
    free(r->calls);
    free(r->data);
    free(r->open);
    free(r->doubt);
    free(r->choice_hash);
    memset(r, 0, sizeof(*r));
}

/* ---- Replaying ------------------------------------------------------------------------------- */

static uint64_t load(const uint8_t *image, uint64_t at)
{
    uint64_t v;
    memcpy(&v, image + at, 8);
    return v;
}

static bool ignored(uint64_t at)
{
    return at >= r->ignore_from && at < r->ignore_to;
}

/* Hash of one word at one place (splitmix64's finalizer). An image's hash is the XOR of these. */
static uint64_t mix(uint64_t at, uint64_t v)
{
    uint64_t z = v ^ (at * UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rep_reset(void)
{
    for (size_t i = 0; i < r->opens; i++) {
        free(r->word[r->open[i]]);
        r->word[r->open[i]] = NULL;
    }
    r->opens = 0;
    memcpy(r->seen, r->live, r->bytes);
    memcpy(r->sure, r->live, r->bytes);
    r->hash = 0;
    for (uint64_t at = 0; at < r->bytes; at += 8)
        if (!ignored(at))
            r->hash ^= mix(at, load(r->sure, at));
}

static void settle(uint64_t at, uint64_t v)
{
    if (!ignored(at))
        r->hash ^= mix(at, load(r->sure, at)) ^ mix(at, v);
    memcpy(r->sure + at, &v, 8);
}

/* A word was stored. `durable`: it is sure at once; `nt`: after the thread's next fence. */
static void stored(uint64_t at, uint64_t v, bool durable, bool nt, uint32_t thread)
{
    uint64_t k = at / 8;
    memcpy(r->seen + at, &v, 8);
    if (durable || ignored(at)) {
        settle(at, v);
        return;
    }
    struct word *w = r->word[k];
    if (!w) {
        if (v == load(r->sure, at))
            return; /* stored with the same value: nothing to lose */
        w = r->word[k] = calloc(1, sizeof(*w));
        if (!w)
            abort();
        r->open = grow(r->open, &r->open_room, r->opens + 1, sizeof(*r->open));
        r->open[r->opens++] = k;
    }
    w->lost = false;
    if (w->n > 0 && w->value[w->n - 1] == v) {
        if (nt)
            w->flushed[thread] = w->n;
        return;
    }
    if (w->n == PAST_MAX) { /* forgets the oldest of the values in between */
        memmove(&w->value[0], &w->value[1], (PAST_MAX - 1) * sizeof(w->value[0]));
        w->n--;
        for (unsigned t = 0; t < THREADS; t++)
            w->flushed[t] -= w->flushed[t] > 0;
    }
    w->value[w->n++] = v;
    if (nt)
        w->flushed[thread] = w->n;
}

static void drop_settled(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->opens; i++) {
        uint64_t k = r->open[i];
        if (r->word[k]->n == 0) {
            free(r->word[k]);
            r->word[k] = NULL;
        } else {
            r->open[kept++] = k;
        }
    }
    r->opens = kept;
}

/* What this thread flushed is sure now. What other threads flushed becomes sure at their fences. */
static void fence(uint32_t thread)
{
    for (size_t i = 0; i < r->opens; i++) {
        uint64_t k = r->open[i];
        struct word *w = r->word[k];
        uint32_t done = w->flushed[thread];
        if (done == 0)
            continue;
        settle(k * 8, w->value[done - 1]);
        w->n -= done;
        memmove(&w->value[0], &w->value[done], w->n * sizeof(w->value[0]));
        for (unsigned t = 0; t < THREADS; t++)
            w->flushed[t] -= w->flushed[t] < done ? w->flushed[t] : done;
    }
    drop_settled();
}

static void flush(uint64_t from, uint64_t bytes, uint32_t thread)
{
    for (uint64_t k = from / 8; k < (from + bytes) / 8; k++)
        if (r->word[k] && !r->word[k]->lost)
            r->word[k]->flushed[thread] = r->word[k]->n;
}

static void lose(uint64_t from, uint64_t bytes)
{
    for (uint64_t k = from / 8; k < (from + bytes) / 8; k++)
        if (r->word[k])
            r->word[k]->lost = true;
}

static void media(uint64_t from, uint64_t bytes, uint64_t v)
{
    for (uint64_t at = from; at < from + bytes; at += 8) {
        struct word *w = r->word[at / 8];
        memcpy(r->seen + at, &v, 8);
        settle(at, v);
        if (w)
            w->n = 0;
    }
    drop_settled();
}

void rep_apply(const struct event *e)
{
    bool eadr = r->rules == RULES_EADR;
    uint32_t thread = e->thread % THREADS;
    switch (e->kind) {
    case EV_STORE:
        stored(e->at, e->value, eadr, false, thread);
        break;
    case EV_COPY:
        for (uint64_t i = 0; i < e->bytes; i += 8)
            stored(e->at + i, load(r->data, e->value + i), false, r->rules < RULES_PAGECACHE,
                   thread);
        break;
    case EV_FLUSH:
        if (r->rules == RULES_ADR)
            flush(e->at, e->bytes, thread);
        break;
    case EV_FENCE:
        if (r->rules < RULES_PAGECACHE)
            fence(thread);
        break;
    case EV_SYNC:
        flush(e->at, e->value, thread);
        fence(thread);
        break;
    case EV_LOST:
        lose(e->at, e->value);
        break;
    case EV_MEDIA:
        media(e->at, e->bytes, e->value);
        break;
    case EV_MARK:
        break;
    }
}

bool rep_settles(const struct event *e)
{
    return e->kind == EV_MARK || e->kind == EV_SYNC || e->kind == EV_LOST ||
           (e->kind == EV_FENCE && r->rules < RULES_PAGECACHE && r->opens > 0);
}

/* ---- Crash images ---------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Which words of a payload have arrived? None, all, the first, every other, all but the last. */
static bool arrived(uint32_t choice, uint64_t i)
{
    switch (choice) {
    case 0:
        return false;
    case 1:
        return true;
    case 2:
        return i == 0;
    case 3:
        return i % 2;
    default:
        return i != BLOCK / 8 - 1;
    }
}

static bool is_payload(uint64_t at)
{
    bool is = false;
    for (unsigned i = 0; i < r->payloads; i++)
        is |= at >= r->payload[i].from && at < r->payload[i].to;
    return is;
}

static uint64_t chosen(const struct doubt *d, uint32_t choice, uint64_t i)
{
    uint64_t at = d->at + i * 8;
    const struct word *w = r->word[at / 8];
    if (!w)
        return load(r->sure, at);
    if (is_payload(d->at))
        return arrived(choice, i) ? w->value[w->n - 1] : load(r->sure, at);
    return choice == 0 ? load(r->sure, at) : w->value[choice - 1];
}

static uint64_t words_of(const struct doubt *d)
{
    return is_payload(d->at) ? BLOCK / 8 : 1;
}

/* The hash of the choice, XORed with that of the guaranteed value. */
static uint64_t hash_choice(const struct doubt *d, uint32_t choice)
{
    uint64_t h = 0;
    for (uint64_t i = 0; choice != 0 && i < words_of(d); i++) {
        uint64_t at = d->at + i * 8;
        h ^= mix(at, load(r->sure, at)) ^ mix(at, chosen(d, choice, i));
    }
    return h;
}

const struct doubt *rep_doubts(size_t *n)
{
    size_t hashes = 0;
    if (r->opens > 0)
        qsort(r->open, r->opens, sizeof(*r->open), by_number);
    r->doubts = 0;
    for (size_t i = 0; i < r->opens; i++) {
        uint64_t at = r->open[i] * 8;
        bool payload = is_payload(at);
        if (payload)
            at = at / BLOCK * BLOCK;
        if (payload && r->doubts > 0 && r->doubt[r->doubts - 1].at == at)
            continue; /* the payload of a slot is one doubt */
        r->doubt = grow(r->doubt, &r->doubt_room, r->doubts + 1, sizeof(*r->doubt));
        struct doubt *d = &r->doubt[r->doubts++];
        *d = (struct doubt){ at, payload ? PAYLOAD_CHOICES : r->word[at / 8]->n + 1, hashes };
        r->choice_hash =
            grow(r->choice_hash, &r->choice_room, hashes + d->choices, sizeof(*r->choice_hash));
        for (uint32_t c = 0; c < d->choices; c++)
            r->choice_hash[hashes++] = hash_choice(d, c);
    }
    *n = r->doubts;
    return r->doubt;
}

void rep_image_begin(uint8_t *image)
{
    memcpy(image, r->sure, r->bytes);
}

bool rep_is(const uint8_t *image, const uint32_t *choice)
{
    size_t next = 0;
    for (uint64_t at = 0; at < r->bytes; at += 8) {
        while (next < r->doubts && at >= r->doubt[next].at + 8 * words_of(&r->doubt[next]))
            next++;
        const struct doubt *d = next < r->doubts ? &r->doubt[next] : NULL;
        uint64_t v =
            d && at >= d->at ? chosen(d, choice[next], (at - d->at) / 8) : load(r->sure, at);
        if (!ignored(at) && load(image, at) != v)
            return false;
    }
    return true;
}

void rep_choose(uint8_t *image, size_t doubt, uint32_t choice)
{
    const struct doubt *d = &r->doubt[doubt];
    for (uint64_t i = 0; i < words_of(d); i++) {
        uint64_t v = chosen(d, choice, i);
        memcpy(image + d->at + i * 8, &v, 8);
    }
}

uint64_t rep_hash_guaranteed(void)
{
    return r->hash;
}

uint64_t rep_hash_choice(size_t doubt, uint32_t choice)
{
    return r->choice_hash[r->doubt[doubt].first_hash + choice];
}

bool rep_doubtful(uint64_t offset, uint64_t bytes)
{
    for (uint64_t k = offset / 8; k < (offset + bytes) / 8; k++)
        if (r->word[k])
            return true;
    return false;
}

uint64_t rep_compare(void)
{
    for (uint64_t at = 0; at < r->bytes; at += 8)
        if (!ignored(at) && load(r->live, at) != load(r->seen, at))
            return at;
    return UINT64_MAX;
}
