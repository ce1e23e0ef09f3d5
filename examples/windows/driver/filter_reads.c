/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_reads.c - reads and fills of the filter's core (filter_core.h, B2 and B3).
 *
 * Owns: the list of a file's reads that are on their way. Each is on its thread's stack.
 *
 * Who: the driver's shell, and the tests; filter_core.c tells of brackets that end.
 */
#include "filter_inside.h"

#include <string.h>

/* A read on its way: of the parts that came so far. */
struct parts {
    uint8_t *scratch;
    uint32_t room;  /* bytes of scratch: a message */
    uint32_t most;  /* bytes of data in it */
    uint64_t until; /* no part is asked for later, but the first one */
    uint64_t version;
};

/* One part. Returns the bytes that came, or FC_GONE. What is missing is memory to come: the service
 * is a program, and the driver believes no length of it. A ticket for nothing is none. */
static int64_t read_part(struct fc_file *f, const struct fc_read *at, struct parts *p,
                         struct cmp_read_reply *r)
{
    const int around = (int)(sizeof(struct cmp_head) + sizeof(*r));
    struct message m;
    int n;

    memset(&m, 0, sizeof(m));
    m.body.read =
        (struct cmp_read){ .offset = at->offset, .len = at->len, .flags = CMP_READ_VERSION };
    fc_head(f->fc, &m.head, CMP_READ, at->handle, sizeof(m.head) + sizeof(m.body.read));
    n = fc_ask(f->fc, at->life, &m.head, p->scratch, p->room);
    if (n < around)
        return FC_GONE; /* an error has no body */
    memcpy(r, p->scratch + sizeof(m.head), sizeof(*r));
    if (r->miss_len == 0)
        r->ticket = 0;
    if (n - around <= (int)at->len && r->miss_len <= f->fc->data_max &&
        r->miss_offset <= (uint64_t)INT64_MAX - r->miss_len)
        return n - around;
    fc_give_up(f->fc, at->life);
    return FC_GONE;
}

/* Asks part by part, for as long as a message may take; the open counts. True: all of it has come,
 * and of one version. */
static bool read_parts(struct fc_file *f, uint64_t off, uint32_t len, uint8_t *buf, uint32_t *got,
                       struct fc_read *at, struct parts *p)
{
    const struct fc_env *env = f->fc->env;

    for (*got = 0; *got < len;) {
        struct cmp_read_reply r;
        int64_t n;

        if (*got > 0 && env->now_ns(env->ctx) > p->until)
            return false;
        at->offset = off + *got;
        at->len = len - *got < p->most ? len - *got : p->most;
        n = read_part(f, at, p, &r);
        if (n < 0 || (*got > 0 && (r.version == 0 || r.version != p->version)))
            return false;
        p->version = r.version;
        memcpy(buf + *got, p->scratch + p->room - p->most, (size_t)n);
        *got += (uint32_t)n;
        if ((uint64_t)n < at->len) {
            at->ticket = r.ticket;
            at->offset = r.miss_offset;
            at->len = r.miss_len;
            return r.flags & CMP_AT_END;
        }
    }
    return true;
}

/* In memory of its own. */
static bool read_all(struct fc_file *f, uint64_t off, uint32_t len, void *buf, uint32_t *got,
                     struct fc_read *at, uint64_t until)
{
    const struct fc_env *env = f->fc->env;
    struct parts p = { .most = len < f->fc->data_max ? len : f->fc->data_max, .until = until };
    bool whole;

    p.room = (uint32_t)(sizeof(struct cmp_head) + sizeof(struct cmp_read_reply)) + p.most;
    p.scratch = env->alloc(env->ctx, p.room);
    if (!p.scratch)
        return false;
    whole = read_parts(f, off, len, buf, got, at, &p);
    env->free(env->ctx, p.scratch);
    return whole;
}

/* A read of several blocks on its way. A write between two of them would give a mixture that was
 * never in the file, also in one part: the service looks for one block after the other. The version
 * tells of a file that was forgotten between two parts; a bracket does not make another version,
 * and what it forgets comes back only after its end. */
struct fc_reading {
    struct fc_reading *next; /* fc_file.readings */
    uint64_t from, to;
    bool torn;         /* a bracket that touches it has ended */
    uint64_t outsides; /* of the file, when it began */
};

/* False: an outside write has begun since the handle was given. It may have ended, too, and the
 * blocks that are there are not forgotten yet. */
static bool begin_reading(struct fc_file *f, struct fc_reading *r, uint64_t off, uint32_t len)
{
    bool usable;

    lock(f->fc);
    usable = fc_is_usable(f, true);
    *r = (struct fc_reading){
        .next = f->readings, .from = off, .to = off + len, .outsides = fc_outsides_of(f)
    };
    if (usable)
        f->readings = r;
    unlock(f->fc);
    return usable;
}

/* False: it is torn. A single block never is. */
static bool end_reading(struct fc_file *f, const struct fc_reading *r)
{
    struct fc *fc = f->fc;
    struct fc_reading **at;
    bool whole;

    lock(fc);
    for (at = &f->readings; *at != r;)
        at = &(*at)->next;
    *at = r->next;
    whole = (!r->torn && fc_outsides_of(f) == r->outsides) ||
            (fc->block && r->from / fc->block == (r->to - 1) / fc->block);
    unlock(fc);
    return whole;
}

void fc_tear_readings(const struct fc_write *w)
{
    for (struct fc_reading *r = w->file->readings; r; r = r->next)
        r->torn |= w->from < r->to && r->from < w->to;
}

enum fc_answer fc_read(struct fc_file *f, const void *via, uint64_t off, uint32_t len, void *buf,
                       uint32_t *got, struct fc_read *missed)
{
    struct fc *fc = f->fc;
    const uint64_t until = fc->env->now_ns(fc->env->ctx) + fc->env->timeout_ns;
    struct fc_reading reading;
    bool hit;

    memset(missed, 0, sizeof(*missed));
    missed->handle = fc_handle_of(f, via, true, &missed->life);
    if (missed->handle == 0 || fc->env->now_ns(fc->env->ctx) > until ||
        !begin_reading(f, &reading, off, len)) {
        fc_count(fc, FC_PASSED);
        return FC_PASS;
    }
    hit = read_all(f, off, len, buf, got, missed, until);
    if (!end_reading(f, &reading))
        hit = false;
    if (fc->env->now_ns(fc->env->ctx) > until)
        missed->ticket = 0; /* a fill may take as long again */
    fc_count(fc, hit ? FC_HITS : FC_MISSES);
    return hit ? FC_DONE : FC_PASS;
}

/* B10: a write that has begun before this look voids the ticket only when the file is forgotten.
 * One that begins later begins after the data was read. */
static bool may_fill(struct fc_file *f)
{
    bool may;

    lock(f->fc);
    may = fc_is_usable(f, true);
    unlock(f->fc);
    return may;
}

/* It has no reply, and nothing is lost if it does not arrive. */
void fc_fill(struct fc_file *f, const struct fc_read *missed, const void *data, uint32_t n)
{
    struct fc *fc = f->fc;
    const struct fc_env *env = fc->env;
    const uint32_t bytes = (uint32_t)(sizeof(struct cmp_head) + sizeof(struct cmp_fill)) + n;
    const struct cmp_fill fill = { .ticket = missed->ticket,
                                   .flags = n < missed->len ? CMP_FILL_EOF : 0 };
    struct cmp_head h;
    uint8_t *message;
    int sent;

    if (missed->ticket == 0 || n > missed->len || !may_fill(f))
        return;
    message = env->alloc(env->ctx, bytes);
    if (!message)
        return;
    fc_head(fc, &h, CMP_FILL, missed->handle, bytes);
    memcpy(message, &h, sizeof(h));
    memcpy(message + sizeof(h), &fill, sizeof(fill));
    memcpy(message + sizeof(h) + sizeof(fill), data, n);
    sent = env->ask(env->ctx, missed->life, message, bytes, NULL, 0, false);
    if (sent >= 0)
        fc_count(fc, FC_FILLS);
    else if (sent != FC_STOPPED)
        fc_give_up(fc, missed->life);
    env->free(env->ctx, message);
}
