/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_core.c - what a file system filter keeps of the service (filter_core.h). Reads and fills
 * are in filter_reads.c, what may be a write in filter_maybe.c.
 *
 * Owns all of struct fc and struct fc_file. Its lock is held to look and to change, and never while
 * the service is asked. So each function that asks looks again afterwards: what it was told counts
 * only in the life that it was told in.
 *
 * Who: the driver's shell (filter_ops.c, filter_opens.c, filter_port.c, filter_streams.c), the
 * tests.
 */
#include "filter_inside.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

void fc_count(struct fc *fc, enum fc_counter c)
{
    lock(fc);
    fc->counter[c]++;
    unlock(fc);
}

/* ---- The written-set ------------------------------------------------------------------------- */

/* Locked. Its file, or all files if its id is not known. */
static void note_outside(struct fc_file *f)
{
    f->outsides++;
    if (f->known)
        fc_set_add(&f->fc->written, f->id);
    else
        fc_set_add_all(&f->fc->written);
}

/* Locked. All files. */
static void note_all(struct fc *fc)
{
    fc->outsides++;
    fc_set_add_all(&fc->written);
}

static bool is_same(struct fc_id a, struct fc_id b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* Locked. May the service have what the file held before an outside write? */
static bool is_stale(const struct fc_file *f)
{
    const struct fc *fc = f->fc;

    if (fc->forgets_all || fc->written.all)
        return true;
    return f->known && (is_same(fc->forgets, f->id) || fc_set_has(&fc->written, f->id));
}

/* Locked. */
static bool is_settled(const struct fc *fc)
{
    return fc_set_empty(&fc->written) && !fc->forgets_all && (fc->forgets.hi | fc->forgets.lo) == 0;
}

bool fc_is_settled(struct fc *fc)
{
    bool settled;

    lock(fc);
    settled = is_settled(fc);
    unlock(fc);
    return settled;
}

/* ---- Lives ----------------------------------------------------------------------------------- */

/* Locked. The write has begun in a bracket, and that does not count any more. */
static void put_outside(struct fc_write *w)
{
    w->outside = true;
    w->file->brackets--;
    w->file->outside++;
    note_outside(w->file);
}

/* Locked. */
static void end_life(struct fc *fc)
{
    fc->greeted = false;
    fc->life = 0;
    for (struct fc_write *w = fc->writes; w; w = w->next)
        if (!w->outside)
            put_outside(w);
}

void fc_disconnect(struct fc *fc, uint32_t life)
{
    lock(fc);
    if (fc->life == life)
        end_life(fc);
    unlock(fc);
}

void fc_give_up(struct fc *fc, uint32_t life)
{
    lock(fc);
    if (fc->life == life) {
        end_life(fc);
        fc->counter[FC_LATE]++;
    }
    unlock(fc);
    fc->env->hang_up(fc->env->ctx, life);
}

/* ---- Messages -------------------------------------------------------------------------------- */

void fc_head(struct fc *fc, struct cmp_head *h, unsigned command, uint32_t file, uint32_t bytes)
{
    lock(fc);
    *h = (struct cmp_head){ .bytes = bytes,
                            .version = CMP_VERSION,
                            .command = (uint16_t)command,
                            .tag = ++fc->tag,
                            .file = file };
    unlock(fc);
}

/* A thread that is being ended has asked, and hears no reply; or nobody can tell the end (L6). */
static void lost(struct fc *fc, uint32_t life, unsigned command)
{
    bool over = false;

    if (command == CMP_READ || command == CMP_INVALIDATE || command == CMP_REVALIDATE)
        return; /* they leave nothing behind */
    lock(fc);
    if (fc->life == life)
        over = ++fc->lost > FC_LOST_MAX;
    unlock(fc);
    if (over)
        fc_give_up(fc, life);
}

int fc_ask(struct fc *fc, uint32_t life, const struct cmp_head *h, void *reply, uint32_t room)
{
    const int n =
        fc->env->ask(fc->env->ctx, life, h, h->bytes, reply, room, h->command == CMP_FORGET_ALL);
    struct cmp_head r;

    if (n == FC_STOPPED) {
        lost(fc, life, h->command);
        return FC_GONE;
    }
    if (n >= (int)sizeof(r) && cmp_check(reply, (size_t)n, 1) == CMP_SOUND) {
        memcpy(&r, reply, sizeof(r));
        if (r.tag == h->tag && r.command == h->command)
            return n;
    }
    fc_give_up(fc, life);
    return FC_GONE;
}

/* A request without data, whose body is in *m. Returns the result, and the reply. */
static int request(struct fc *fc, uint32_t life, unsigned command, uint32_t file, struct message *m,
                   struct reply *r)
{
    int data;

    fc_head(fc, &m->head, command, file, (uint32_t)sizeof(m->head) + cmp_body(command, 0, &data));
    memset(r, 0, sizeof(*r));
    return fc_ask(fc, life, &m->head, r, sizeof(*r)) < 0 ? FC_GONE : r->head.result;
}

/* ---- Forgetting ------------------------------------------------------------------------------ */

/* Has the service forget a file. `gone`: its id will not come back. */
static bool forget(struct fc *fc, uint32_t life, struct fc_id id, bool gone)
{
    struct message m = { .body.forget = { .id_hi = id.hi, .id_lo = id.lo, .gone = gone } };
    struct reply r;

    return request(fc, life, CMP_FORGET, 0, &m, &r) >= 0;
}

static bool forget_all(struct fc *fc, uint32_t life)
{
    struct message m;
    struct reply r;

    return request(fc, life, CMP_FORGET_ALL, 0, &m, &r) >= 0;
}

/* Locked. Takes out of the set what is to be forgotten next. False: there is nothing, or nobody to
 * tell. */
static bool take(struct fc *fc)
{
    if (!fc->greeted)
        return false;
    if (fc->written.all) {
        fc->forgets_all = true;
        fc_set_clear(&fc->written);
        return true;
    }
    return fc_set_take(&fc->written, &fc->forgets);
}

/* Locked. What was taken out goes back if the service has not forgotten it. */
static void taken(struct fc *fc, bool ok)
{
    if (ok)
        fc->counter[fc->forgets_all ? FC_FORGOT_ALL : FC_FORGOTTEN]++;
    else if (fc->forgets_all)
        fc_set_add_all(&fc->written);
    else
        fc_set_add(&fc->written, fc->forgets);
    fc->forgets_all = false;
    fc->forgets = (struct fc_id){ 0, 0 };
}

/* A service that refuses to forget is as good as none. */
void fc_tend(struct fc *fc)
{
    lock(fc);
    if (fc->tending) {
        unlock(fc);
        return; /* that thread looks once more before it leaves */
    }
    fc->tending = true;
    while (take(fc)) {
        const uint32_t life = fc->life;
        const struct fc_id id = fc->forgets;
        const bool all = fc->forgets_all;
        bool ok;

        unlock(fc);
        ok = all ? forget_all(fc, life) : forget(fc, life, id, false);
        if (!ok)
            fc_give_up(fc, life);
        lock(fc);
        taken(fc, ok);
    }
    fc->tending = false;
    unlock(fc);
}

/* Something may be in the set. A thread that is there looks once more before it leaves. */
static void tend_soon(struct fc *fc)
{
    bool some;

    lock(fc);
    some = fc->greeted && !fc->tending && !fc_set_empty(&fc->written);
    unlock(fc);
    if (some)
        fc->env->tend(fc->env->ctx);
}

void fc_written_anything(struct fc *fc)
{
    lock(fc);
    note_all(fc);
    unlock(fc);
    tend_soon(fc);
}

/* The write never ends. It is not left to fc_tend(), where another thread may be at it. */
void fc_leave(struct fc *fc)
{
    uint32_t life;

    lock(fc);
    fc->all_outside++;
    note_all(fc);
    life = fc->greeted ? fc->life : 0;
    unlock(fc);
    if (life && !forget_all(fc, life))
        fc_give_up(fc, life);
}

void fc_anything_begin(struct fc *fc)
{
    lock(fc);
    fc->all_outside++;
    unlock(fc);
    fc_written_anything(fc);
}

/* Noted first: else a read could come between. */
void fc_anything_end(struct fc *fc)
{
    fc_written_anything(fc);
    lock(fc);
    fc->all_outside--;
    unlock(fc);
}

/* ---- Connecting ------------------------------------------------------------------------------ */

/* Locked. From now on writes use brackets. */
static bool greet(struct fc *fc, uint32_t life, const struct cmp_hello_reply *r)
{
    if (fc->life != life)
        return false;
    if (fc->met && memcmp(fc->pool, r->pool, sizeof(fc->pool)) != 0)
        note_all(fc);
    fc->met = true;
    memcpy(fc->pool, r->pool, sizeof(fc->pool));
    fc->block = r->block;
    fc->data_max = r->data_max;
    fc->greeted = true;
    return true;
}

bool fc_connect(struct fc *fc, uint32_t life)
{
    struct message m = { .body.hello = { .magic = CMP_MAGIC, .oldest = CMP_VERSION } };
    struct reply r;
    bool greeted;

    lock(fc);
    greeted = life > fc->last_life;
    if (greeted) {
        end_life(fc);
        fc->life = fc->last_life = life;
        fc->lost = 0;
    }
    unlock(fc);
    if (!greeted) /* its thread comes late, and the next connection is there */
        return false;
    if (request(fc, life, CMP_HELLO, 0, &m, &r) < 0 || r.head.version != CMP_VERSION ||
        r.body.hello.block == 0 || r.body.hello.data_max == 0 ||
        r.body.hello.data_max > CMP_DATA_MAX || !(r.body.hello.flags & CMP_FORGETS_ALL)) {
        fc_give_up(fc, life);
        return false;
    }
    lock(fc);
    greeted = greet(fc, life, &r.body.hello);
    unlock(fc);
    fc_tend(fc);
    return greeted;
}

void fc_init(struct fc *fc, const struct fc_env *env, void *written, uint32_t slots)
{
    memset(fc, 0, sizeof(*fc));
    fc->env = env;
    fc_set_init(&fc->written, written, slots);
    fc_set_init(&fc->transacted, fc->transacted_slot, FC_TRANSACTED);
}

/* ---- Files ----------------------------------------------------------------------------------- */

void fc_file_init(struct fc_file *f, struct fc *fc)
{
    memset(f, 0, sizeof(*f));
    f->fc = fc;
}

void fc_file_is_portable(struct fc_file *f)
{
    f->portable = true;
}

static struct fc_id id_of(const struct fc_facts *facts)
{
    const uint64_t word[3] = { facts->volume, facts->file[0], facts->file[1] };
    const XXH128_hash_t hash = XXH3_128bits(word, sizeof(word));
    struct fc_id id = { hash.high64, hash.low64 };

    if (id.hi == 0 && id.lo == 0)
        id.lo = 1;
    return id;
}

static void know(struct fc_file *f, const struct fc_facts *facts)
{
    lock(f->fc);
    f->id = id_of(facts);
    f->known = true;
    unlock(f->fc);
}

/* B6. Asked after the facts: a write that they do not show has begun before. */
static bool has_writer(struct fc_file *f)
{
    bool has;

    lock(f->fc);
    has = f->writers > 0 && f->wrote;
    unlock(f->fc);
    return has;
}

/* The id and the validator of the file: the same that cm_identify() makes on Windows. */
static bool identify(struct fc_file *f, const void *via, struct cmp_validator *v)
{
    struct fc *fc = f->fc;
    struct fc_facts facts;

    if (!fc->env->facts(fc->env->ctx, via, &facts, false))
        return false;
    know(f, &facts);
    *v = (struct cmp_validator){ .taken_at = facts.taken_at,
                                 .size = facts.size,
                                 .racy = (facts.racy ? CM_RACY_TIMES : 0) |
                                         (has_writer(f) ? CM_RACY_WRITER : 0),
                                 .given = 1 };
    v->changed_ns = facts.written_ns > facts.changed_ns ? facts.written_ns : facts.changed_ns;
    if (v->changed_ns <= CM_CHANGED_LONG_AGO) /* it means more than an old time */
        v->changed_ns = CM_CHANGED_LONG_AGO + 1;
    memcpy(v->proof, &facts.size, 8);
    memcpy(v->proof + 8, &facts.written_ns, 8);
    memcpy(v->proof + 16, &facts.changed_ns, 8);
    memcpy(v->proof + 24, &facts.change, 8);
    return true;
}

void fc_know(struct fc_file *f, const void *via)
{
    const struct fc_env *env = f->fc->env;
    struct fc_facts facts;
    bool known;

    lock(f->fc);
    known = f->known;
    unlock(f->fc);
    if (!known && env->facts(env->ctx, via, &facts, true))
        know(f, &facts);
}

void fc_writer(struct fc_file *f, bool *counted, bool comes)
{
    lock(f->fc);
    if (comes != *counted) {
        *counted = comes;
        if (comes)
            f->writers++;
        else
            f->writers--;
        if (f->writers == (comes ? 1 : 0))
            f->wrote = false;
    }
    unlock(f->fc);
}

bool fc_was_written(struct fc_file *f)
{
    bool was;

    lock(f->fc);
    was = f->written;
    unlock(f->fc);
    return was;
}

static void close_handle(struct fc *fc, uint32_t life, uint32_t handle)
{
    struct message m;
    struct reply r;

    (void)request(fc, life, CMP_CLOSE, handle, &m, &r);
}

/* Opens the file at the service. Two threads may do so at a time; then the second handle goes. The
 * claim CM_SOLE_WRITER is right: the filter sees all writes of a local volume. CM_ORIGIN_VOLATILE
 * would make each file cold that was written and not synced. Only a disk that may be pulled out
 * needs that: of others a loss is seen (C7, C8), or the power of all fails, and the pool knows. */
static bool open_file(struct fc_file *f, const void *via, uint32_t life)
{
    struct message m;
    struct reply r;
    bool mine;

    memset(&m, 0, sizeof(m));
    m.body.open.flags = CM_SOLE_WRITER | (f->portable ? CM_ORIGIN_VOLATILE : 0);
    if (!identify(f, via, &m.body.open.validator))
        return false;
    m.body.open.id_hi = f->id.hi;
    m.body.open.id_lo = f->id.lo;
    if (request(f->fc, life, CMP_OPEN, 0, &m, &r) < 0)
        return false;
    lock(f->fc);
    mine = f->fc->life == life && (f->life != life || f->handle == 0);
    if (mine) {
        f->life = life;
        f->handle = r.head.file;
    }
    unlock(f->fc);
    if (!mine)
        close_handle(f->fc, life, r.head.file);
    return true;
}

/* Has the service take all of the file for not synced. `n`: the outside writes so far. */
static bool mark(struct fc_file *f, uint32_t life, uint32_t handle, uint64_t n)
{
    struct message m = { .body.range = { .offset = 0, .len = UINT64_MAX } };
    struct reply r;

    if (request(f->fc, life, CMP_INVALIDATE, handle, &m, &r) < 0)
        return false;
    lock(f->fc);
    f->marked = n;
    f->marked_life = life;
    unlock(f->fc);
    return true;
}

uint64_t fc_outsides_of(const struct fc_file *f)
{
    return f->outsides + f->fc->outsides;
}

/* Locked. Rule B5. */
static bool is_marked(const struct fc_file *f)
{
    const uint64_t n = fc_outsides_of(f);

    return n == 0 || (f->marked == n && f->marked_life == f->fc->life);
}

/* What may be a write counts as one here (B9, B11). */
bool fc_is_usable(const struct fc_file *f, bool reads)
{
    const bool outside = f->outside > 0 || f->fc->all_outside > 0 || fc_is_maybe_written(f);
    const bool apart = f->known && fc_set_has(&f->fc->transacted, f->id);

    return f->fc->greeted && !(reads && (outside || apart || is_stale(f)));
}

uint32_t fc_handle_of(struct fc_file *f, const void *via, bool reads, uint32_t *life)
{
    struct fc *fc = f->fc;

    for (unsigned tries = 0; tries < 3; tries++) {
        uint32_t handle = 0;
        uint64_t outsides;
        bool usable, marked;

        lock(fc);
        *life = fc->life;
        usable = fc_is_usable(f, reads);
        marked = !reads || is_marked(f);
        outsides = fc_outsides_of(f);
        if (usable && f->life == fc->life)
            handle = f->handle;
        unlock(fc);
        if (!usable || (handle && marked))
            return handle;
        if (!(handle ? mark(f, *life, handle, outsides) : open_file(f, via, *life)))
            return 0;
    }
    return 0;
}

void fc_file_done(struct fc_file *f)
{
    struct fc *fc = f->fc;
    uint32_t life, handle;
    bool gone;

    lock(fc);
    life = fc->life;
    handle = f->life == life && fc->greeted ? f->handle : 0;
    gone = f->gone && fc->greeted;
    f->handle = 0;
    unlock(fc);
    if (handle)
        close_handle(fc, life, handle);
    if (gone)
        (void)forget(fc, life, f->id, true);
}

/* ---- Writes ---------------------------------------------------------------------------------- */

/* Locked. */
static void link_write(struct fc *fc, struct fc_write *w)
{
    w->prev = NULL;
    w->next = fc->writes;
    if (w->next)
        w->next->prev = w;
    fc->writes = w;
    w->file->unsettled = w->file->wrote = w->file->written = true;
}

/* Locked. */
static void unlink_write(struct fc *fc, struct fc_write *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        fc->writes = w->next;
    if (w->next)
        w->next->prev = w->prev;
}

/* The file is forgotten now, and once more after the end: a mapping may last for weeks, and after a
 * power cut neither the written-set nor the file's times tell of it. */
void fc_write_begin_outside(struct fc_file *f, struct fc_write *w)
{
    struct fc *fc = f->fc;

    *w = (struct fc_write){ .file = f, .outside = true };
    lock(fc);
    link_write(fc, w);
    f->outside++;
    note_outside(f);
    fc->counter[FC_OUTSIDES]++;
    unlock(fc);
    tend_soon(fc);
}

void fc_transacted(struct fc_file *f)
{
    struct fc *fc = f->fc;

    lock(fc);
    if (f->known)
        fc_set_add(&fc->transacted, f->id);
    else
        fc_set_add_all(&fc->transacted);
    unlock(fc);
}

/* Does it lie in the largest file? A program may name any place. The file system refuses such a
 * write, and the service ends a connection that asks for it. */
static bool is_in_a_file(enum fc_kind kind, uint64_t off, uint64_t len)
{
    if (kind == FC_SIZE)
        return off <= INT64_MAX;
    return len <= INT64_MAX && (off == UINT64_MAX || off <= (uint64_t)INT64_MAX - len);
}

/* What a write may change, at most: where a file ended before is not known, nor where "at the end"
 * is. */
static void set_range(struct fc_write *w, enum fc_kind kind, uint64_t off, uint64_t len)
{
    const bool known = kind == FC_RANGE && off != UINT64_MAX;

    w->from = known ? off : 0;
    w->to = known ? off + len : UINT64_MAX;
}

/* Asks for the bracket. The token; 0: there is none. */
static uint64_t ask_bracket(const struct fc_write *w, enum fc_kind kind, uint64_t off, uint64_t len)
{
    unsigned command = CMP_WRITE_BEGIN;
    struct message m;
    struct reply r;

    memset(&m, 0, sizeof(m));
    if (kind == FC_SIZE) {
        command = CMP_TRUNCATE_BEGIN;
        m.body.truncate.size = off;
    } else if (kind == FC_RANGE) {
        m.body.range = (struct cmp_range){ .offset = off, .len = len };
    } else {
        m.body.range = (struct cmp_range){ .offset = 0, .len = UINT64_MAX };
    }
    if (request(w->file->fc, w->life, command, w->handle, &m, &r) < 0)
        return 0;
    return r.body.token.token;
}

/* Is the life of the write's handle still there? Then it is in flight in it: if the life ends from
 * now on, it is outside. */
static bool enter_bracket(struct fc_write *w)
{
    struct fc *fc = w->file->fc;
    bool in;

    lock(fc);
    in = fc->life == w->life;
    if (in) {
        link_write(fc, w);
        w->file->brackets++;
    }
    unlock(fc);
    return in;
}

void fc_write_begin(struct fc_file *f, const void *via, struct fc_write *w, enum fc_kind kind,
                    uint64_t off, uint64_t len)
{
    struct fc *fc = f->fc;
    uint64_t token;

    *w = (struct fc_write){ .file = f };
    if (!is_in_a_file(kind, off, len))
        kind = FC_ALL;
    set_range(w, kind, off, len);
    w->handle = fc_handle_of(f, via, false, &w->life);
    if (w->handle == 0 || !enter_bracket(w)) {
        fc_write_begin_outside(f, w);
        return;
    }
    token = ask_bracket(w, kind, off, len);
    lock(fc);
    w->token = token;
    if (!w->outside && token == 0) /* refused, in a life that goes on */
        put_outside(w);
    fc->counter[w->outside ? FC_OUTSIDES : FC_BRACKETS]++;
    unlock(fc);
    if (token == 0)
        tend_soon(fc);
}

static void end_bracket(const struct fc_write *w)
{
    struct message m;
    struct reply r;

    memset(&m, 0, sizeof(m));
    m.body.end.token = w->token;
    m.body.end.ok = 1;
    (void)request(w->file->fc, w->life, CMP_WRITE_END, w->handle, &m, &r);
}

/* What the service has forgotten since an outside write began was too early: it is noted again. */
void fc_write_end(struct fc_write *w)
{
    struct fc_file *f = w->file;
    struct fc *fc = f->fc;

    lock(fc);
    unlink_write(fc, w);
    if (w->outside) {
        note_outside(f);
        f->outside--;
    } else {
        f->brackets--;
        fc_tear_readings(w);
    }
    unlock(fc);
    if (w->outside)
        tend_soon(fc);
    else
        end_bracket(w);
}

/* It is in no list of writes in flight: if the life ends, nothing of the content has changed. */
bool fc_attributes_begin(struct fc_file *f, const void *via, struct fc_write *w)
{
    *w = (struct fc_write){ .file = f };
    w->handle = fc_handle_of(f, via, false, &w->life);
    if (w->handle == 0)
        return false;
    lock(f->fc);
    f->brackets++;
    unlock(f->fc);
    w->token = ask_bracket(w, FC_RANGE, 0, 0);
    if (w->token)
        return true;
    lock(f->fc);
    f->brackets--;
    unlock(f->fc);
    return false;
}

/* Until the service has ended it, it takes no times. */
void fc_attributes_end(struct fc_write *w)
{
    struct fc_file *f = w->file;

    end_bracket(w);
    lock(f->fc);
    f->brackets--;
    f->unsettled = true;
    unlock(f->fc);
}

/* ---- The rest of a file's life --------------------------------------------------------------- */

bool fc_sync_begin(struct fc_file *f, const void *via, struct fc_sync *s)
{
    struct message m;
    struct reply r;

    memset(&m, 0, sizeof(m));
    s->token = 0;
    s->handle = fc_handle_of(f, via, false, &s->life);
    if (s->handle && request(f->fc, s->life, CMP_SYNC_BEGIN, s->handle, &m, &r) >= 0)
        s->token = r.body.token.token;
    return s->token != 0;
}

void fc_sync_end(struct fc_file *f, const struct fc_sync *s, bool ok)
{
    struct message m;
    struct reply r;

    if (s->token == 0)
        return;
    memset(&m, 0, sizeof(m));
    m.body.end.token = s->token;
    m.body.end.ok = ok;
    (void)request(f->fc, s->life, CMP_SYNC_END, s->handle, &m, &r);
}

/* As one of which the reply was lost. */
void fc_sync_drop(struct fc_file *f, const struct fc_sync *s)
{
    if (s->token)
        lost(f->fc, s->life, CMP_SYNC_BEGIN);
}

/* Has no outside write begun since there were so many of them, nor what may be one? Else it is to
 * be settled later. */
static bool is_as_before(struct fc_file *f, uint32_t life, uint64_t outsides)
{
    bool is;

    lock(f->fc);
    is = f->fc->life == life && fc_outsides_of(f) == outsides && !fc_is_maybe_written(f);
    if (!is)
        f->unsettled = true;
    unlock(f->fc);
    return is;
}

bool fc_is_unsettled(struct fc_file *f)
{
    bool is;

    lock(f->fc);
    is = f->unsettled || f->gone;
    unlock(f->fc);
    return is;
}

/* With a write in flight a validator proves nothing, nor while somebody else may write (B6). The
 * next close tries again. So does one after an outside write that began meanwhile, or what may be
 * one: it is noted before it changes anything, so what was asked before that is older than it. So
 * does one after what could not be asked, proved nothing (B7), or was not taken: the service may
 * have had a bracket still. */
void fc_settle(struct fc_file *f, const void *via)
{
    struct fc *fc = f->fc;
    struct message m;
    struct reply r;
    uint32_t life, handle = 0;
    uint64_t outsides;
    bool known;

    lock(fc);
    life = fc->life;
    outsides = fc_outsides_of(f);
    if (fc_is_usable(f, true) && f->unsettled && f->brackets == 0 && f->writers == 0 &&
        f->life == life)
        handle = f->handle;
    if (handle)
        f->unsettled = false;
    unlock(fc);
    if (!handle)
        return;
    memset(&m, 0, sizeof(m));
    known = identify(f, via, &m.body.revalidate.validator);
    if (known && !is_as_before(f, life, outsides))
        return;
    if (!known || request(fc, life, CMP_REVALIDATE, handle, &m, &r) != 0 ||
        m.body.revalidate.validator.racy) {
        lock(fc);
        f->unsettled = true;
        unlock(fc);
    }
}

/* Others may have it open, and be on their way with its handle. The service gives the number of a
 * closed handle to another file: so it is closed when nobody uses the file any more. */
void fc_gone(struct fc_file *f, bool is)
{
    lock(f->fc);
    f->gone = is && f->known;
    unlock(f->fc);
}
