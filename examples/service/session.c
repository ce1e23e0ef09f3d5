/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session.c - one client of the service: messages in, replies out.
 *
 * Owns: nothing; what a client holds is in session_state.c. A function for each command judges the
 * request, calls the library and writes the reply.
 *
 * Who: server.c.
 */
#include "session_state.h"

/* A request and the place for its reply. */
struct call {
    struct session *s;
    bool may_wait; /* for a sync */
    struct cmp_head head;
    const uint8_t *body, *data;
    size_t data_len;
    struct handle *h; /* of head.file; NULL where the command has none */
    uint8_t *reply;   /* behind the head */
    size_t data_max;  /* bytes of data in the reply */
    size_t reply_len; /* what is there, if the result is no error */
    const char *why;  /* the connection has to end */
};

/* Sets *v and returns it; NULL: none was given. */
static const cm_validator *validator_of(const uint8_t *at, cm_validator *v)
{
    struct cmp_validator m;

    memcpy(&m, at, sizeof(m));
    *v = (cm_validator)CM_VALIDATOR_INIT;
    v->racy = m.racy;
    v->taken_at = m.taken_at;
    v->size = m.size;
    v->changed_ns = m.changed_ns;
    memcpy(v->proof, m.proof, sizeof(v->proof));
    return m.given ? v : NULL;
}

static void answer(struct call *c, const void *body, size_t n)
{
    memcpy(c->reply, body, n);
    c->reply_len = n;
}

static int64_t do_hello(struct call *c)
{
    const struct service *service = c->s->service;
    struct cmp_hello_reply r = { .life = service->life,
                                 .block = CM_BLOCK_SIZE,
                                 .data_max = c->s->data_max,
                                 .open_max = service->open_max,
                                 .flags = CMP_STEERS | CMP_FORGETS_ALL | CMP_TELLS_FILES |
                                          (c->s->ring ? CMP_HAS_RING | service->hello_flags : 0),
                                 .ring = c->s->ring,
                                 .ring_name = c->s->ring_name,
                                 .bell_name = c->s->bell_name,
                                 .client = c->s->client,
                                 .outside = atomic_load(&service->outside->name) };
    struct cmp_hello m;
    cm_info info = CM_INFO_INIT;

    memcpy(&m, c->body, sizeof(m));
    os_lock(&c->s->lock);
    if (c->s->greeted)
        c->why = "it said hello twice";
    else if (m.oldest > CMP_VERSION || c->head.version < CMP_VERSION)
        c->why = "it speaks other versions only";
    c->s->greeted = true;
    os_unlock(&c->s->lock);
    if (cm_get_info(service->cache, &info) == 0)
        memcpy(r.pool, info.uuid, sizeof(r.pool));
    c->head.version = CMP_VERSION;
    answer(c, &r, sizeof(r));
    return 0;
}

static int64_t do_open(struct call *c)
{
    struct service *service = c->s->service;
    struct handle h = { .uses = 1 };
    struct cmp_open_reply r;
    struct cmp_open m;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_validator v;
    int e;

    memcpy(&m, c->body, sizeof(m));
    e = service_open(service, &m, validator_of(c->body + offsetof(struct cmp_open, validator), &v),
                     &h.served, &h.cf);
    if (e < 0)
        return e;
    (void)cm_file_get_info(h.cf, &info);
    c->head.file = state_add(c->s, &h);
    if (c->head.file == 0) {
        service_close(service, h.served, h.cf);
        return CM_ENOMEM;
    }
    r = (struct cmp_open_reply){ .size = info.size, .version = info.incarnation };
    answer(c, &r, sizeof(r));
    return e;
}

static int64_t do_close(struct call *c)
{
    state_close(c->s, c->h);
    return 0;
}

/* The file's version. */
static uint64_t version_of(const struct call *c)
{
    cm_file_info info = CM_FILE_INFO_INIT;

    return cm_file_get_info(c->h->cf, &info) == 0 ? info.incarnation : 0;
}

/* Reads all that is asked for, or nothing. *version: of the bytes; 0: not known. */
static int64_t read_whole(const struct call *c, const struct cmp_read *m, void *data,
                          uint64_t *version)
{
    const uint64_t before = m->flags & CMP_READ_VERSION ? version_of(c) : 0;
    const int64_t n = cm_read_whole(c->h->cf, m->offset, data, m->len, 0);

    if (before != 0 && version_of(c) == before)
        *version = before; /* a version never comes back, so it was this one all the time */
    return n;
}

/* What a read finds, whole or not. *version as above. */
static int64_t read_file(const struct call *c, const struct cmp_read *m, void *data, cm_miss *miss,
                         uint64_t *version)
{
    int64_t n;

    if (m->flags & CMP_READ_WHOLE)
        return read_whole(c, m, data, version);
    if (m->len == 0) {
        *version = version_of(c);
        return 0;
    }
    n = cm_read(c->h->cf, m->offset, data, m->len, miss);
    if (m->flags & CMP_READ_VERSION)
        *version = miss->incarnation;
    return n;
}

/* Its client reads the origin only when it has the ticket, so it counts from now on: until then
 * there is nothing to forget (do_forget_all()). */
static uint64_t give_ticket(const struct call *c, const cm_miss *miss)
{
    (void)atomic_fetch_add(&c->s->service->comings, 1); /* before its client can know of it */
    return state_give_ticket(c->s, c->head.file, miss);
}

static int64_t do_read(struct call *c)
{
    uint8_t *const data = c->reply + sizeof(struct cmp_read_reply);
    const uint64_t number = atomic_load(&c->h->served->number);
    struct cmp_read_reply r = { .ticket = 0 };
    cm_miss miss = CM_MISS_INIT;
    struct cmp_read m;
    bool whole;
    int64_t n;

    memcpy(&m, c->body, sizeof(m));
    if (m.len > c->data_max) {
        c->why = "it asks for more data than it was told";
        return 0;
    }
    whole = m.flags & CMP_READ_WHOLE;
    n = read_file(c, &m, data, &miss, &r.version);
    if (n < 0)
        return n;
    if (!service_may_answer(c->s->service, c->h->served, number, c->may_wait)) {
        if (whole)
            return CM_EABSENT;
        n = 0;
        r.version = 0;
    } else if (n < m.len && miss.len > 0) {
        r.ticket = miss.flags & CM_MISS_NOFILL ? 0 : give_ticket(c, &miss);
        r.miss_offset = miss.offset;
        r.miss_len = miss.len < c->s->data_max ? (uint32_t)miss.len : c->s->data_max;
    } else if (n < m.len) {
        r.flags = CMP_AT_END;
    }
    answer(c, &r, sizeof(r));
    c->reply_len += (size_t)n;
    return n;
}

static int64_t do_fill(struct call *c)
{
    struct cmp_fill m;
    cm_miss miss;

    memcpy(&m, c->body, sizeof(m));
    /* A ticket that is void is no fault: it was too old, or its file was closed. A fill has no
     * reply, so its client may close the file before another thread looks at the fill. */
    if (state_take_ticket(c->s, m.ticket, c->head.file, &miss, &c->why) && c->h &&
        cm_fill(c->h->cf, &miss, c->data, c->data_len, m.flags & CMP_FILL_EOF ? CM_FILL_EOF : 0) <
            0)
        c->why = "a fill is longer than its miss, or ends inside a block";
    return 0;
}

static int64_t do_warm(struct call *c)
{
    struct cmp_fill m;
    cm_miss miss;
    int e;

    memcpy(&m, c->body, sizeof(m));
    if (!state_take_ticket(c->s, m.ticket, c->head.file, &miss, &c->why))
        return CM_NOT_STORED_STALE;
    e = cm_fill(c->h->cf, &miss, c->data, c->data_len,
                CM_FILL_WARM | (m.flags & CMP_FILL_EOF ? CM_FILL_EOF : 0));
    if (e == CM_EINVAL || e == CM_ETICKET)
        c->why = "a fill is longer than its miss, or ends inside a block";
    return e;
}

/* The begin of a bracket or of a sync. */
static int64_t do_begin(struct call *c)
{
    struct token *t = state_new_token(c->s);
    struct cmp_token_reply r;
    struct cmp_truncate truncate;
    struct cmp_range range;
    int e;

    if (!t)
        return CM_ENOMEM;
    t->sync = c->head.command == CMP_SYNC_BEGIN;
    if (t->sync) {
        e = cm_sync_begin(c->h->cf, &t->begun);
    } else if (c->head.command == CMP_WRITE_BEGIN) {
        memcpy(&range, c->body, sizeof(range));
        e = cm_write_begin(c->h->cf, range.offset, range.len, &t->bracket);
    } else {
        memcpy(&truncate, c->body, sizeof(truncate));
        e = cm_truncate_begin(c->h->cf, truncate.size, &t->bracket);
    }
    t->file = c->head.file;
    r.token = state_give_token(c->s, t, e >= 0);
    answer(c, &r, sizeof(r));
    return e < 0 ? e : 0;
}

/* The end of a bracket or of a sync. */
static int64_t do_end(struct call *c)
{
    const bool sync = c->head.command == CMP_SYNC_END;
    struct token *t;
    struct cmp_end m;
    const cm_validator *given;
    cm_validator v;
    int e;

    memcpy(&m, c->body, sizeof(m));
    given = validator_of(c->body + offsetof(struct cmp_end, validator), &v);
    t = state_take_token(c->s, m.token, c->head.file, sync);
    if (!t) {
        c->why = "an end has no begin";
        return 0;
    }
    if (given)
        service_catch_up(c->s->service, c->h->served);
    e = sync ? cm_sync_end(c->h->cf, &t->begun, m.ok == 1, given)
             : cm_write_end(c->h->cf, &t->bracket, given);
    if (!sync && e == CM_EINVAL) /* the validator is none; the write has ended all the same */
        (void)cm_write_end(c->h->cf, &t->bracket, NULL);
    (void)state_give_token(c->s, t, false);
    return e;
}

static int64_t do_invalidate(struct call *c)
{
    struct cmp_range m;

    memcpy(&m, c->body, sizeof(m));
    return cm_invalidate(c->h->cf, m.offset, m.len);
}

static int64_t do_revalidate(struct call *c)
{
    cm_validator v;

    if (!validator_of(c->body, &v))
        return CM_EINVAL;
    service_catch_up(c->s->service, c->h->served);
    return service_judged(c->h->cf, cm_file_revalidate(c->h->cf, &v));
}

static int64_t do_forget(struct call *c)
{
    cm_cache *const cache = c->s->service->cache;
    cm_file_info info = CM_FILE_INFO_INIT;
    struct cmp_forget m;
    cm_file_id id;
    bool kept;
    int e;

    memcpy(&m, c->body, sizeof(m));
    id = (cm_file_id){ .hi = m.id_hi, .lo = m.id_lo };
    kept = cm_file_lookup(cache, &id, NULL, &info) == 0 && info.keep != 0;
    e = m.gone ? cm_forget_gone(cache, &id) : cm_forget(cache, &id);
    return e < 0 ? e : kept;
}

/* In steps: to read the file table of a large pool takes longer than the end of the service may. */
static int next_file(const struct service *service, cm_file_iter *it, cm_file_info *info)
{
    int e;

    do
        e = atomic_load(&service->ends) ? CM_ECANCELED : cm_files_next(it, NULL, info);
    while (e == CM_EBUSY);
    return e;
}

/* Files that come meanwhile are none of those that were meant. Returns how many files it was.
 * Looking through a large pool takes seconds. So it is not done again if nothing has come since:
 * what has begun before the count is taken has ended before the look, or is seen to be on its way;
 * a ticket that was given before it is void after the look. (Sequentially consistent, all of them:
 * a message shows itself, and then counts.) */
static int64_t do_forget_all(struct call *c)
{
    struct service *const service = c->s->service;
    cm_cache *const cache = service->cache;
    const uint64_t comings = atomic_load(&service->comings);
    const bool quiet = atomic_load(&service->coming) == 0;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_iter *it;
    int64_t n = 0;
    int e;

    if (atomic_load(&service->emptied) == comings)
        return 0;
    e = cm_files_begin(cache, CM_FILES_STEPS, &it);
    if (e < 0)
        return e;
    while ((e = next_file(service, it, &info)) == 0 && (e = cm_forget(cache, &info.id)) >= 0)
        n += n < INT32_MAX;
    cm_files_end(it);
    if (e == CM_EABSENT && quiet)
        atomic_store(&service->emptied, comings);
    return e == CM_EABSENT ? n : e;
}

static int64_t do_stats(struct call *c)
{
    union {
        cm_stats_data s;
        char room[4096];
    } u;
    unsigned n = 0;
    int e;

    memset(&u, 0, sizeof(u));
    u.s.struct_size = sizeof(u);
    e = cm_stats(c->s->service->cache, &u.s);
    for (; e == 0 && cm_stat_name(n) && (n + 1) * sizeof(uint64_t) <= c->data_max; n++) {
        const uint64_t value = cm_stat_value(&u.s, n);
        memcpy(c->reply + n * sizeof(value), &value, sizeof(value));
    }
    c->reply_len = n * sizeof(uint64_t);
    return e < 0 ? e : (int64_t)n;
}

/* ---- Steering -------------------------------------------------------------------------------- */

static int64_t do_look_up(struct call *c)
{
    struct cmp_look_up m;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id;

    memcpy(&m, c->body, sizeof(m));
    id = (cm_file_id){ .hi = m.id_hi, .lo = m.id_lo };
    return cm_file_lookup(c->s->service->cache, &id, NULL, &info);
}

static int64_t do_count(struct call *c)
{
    struct cmp_count_reply r = { .cached = 0 };
    cm_file_info info = CM_FILE_INFO_INIT;
    struct cmp_count m;
    int64_t n;

    memcpy(&m, c->body, sizeof(m));
    n = cm_file_cached(c->h->cf, m.offset, m.len);
    if (n < 0)
        return n;
    r.cached = (uint64_t)n;
    r.kept = cm_file_get_info(c->h->cf, &info) == 0 && info.keep != 0;
    answer(c, &r, sizeof(r));
    return 0;
}

static int64_t do_keep(struct call *c)
{
    struct cmp_keep m;

    memcpy(&m, c->body, sizeof(m));
    return cm_file_set_keep(c->h->cf, (int)m.keep);
}

static int64_t do_pool(struct call *c)
{
    cm_info info = CM_INFO_INIT;
    const int e = cm_get_info(c->s->service->cache, &info);
    struct cmp_pool_reply r = { .size = info.size,
                                .slots = info.slots,
                                .used = info.used_slots,
                                .kept_files = info.kept_files,
                                .kept_bytes = info.kept_bytes,
                                .kept_max = info.kept_max,
                                .mode = info.mode };

    memcpy(r.uuid, info.uuid, sizeof(r.uuid));
    answer(c, &r, sizeof(r));
    return e;
}

static int64_t do_files(struct call *c)
{
    const struct cmp_files_reply r = { .open = service_files(c->s->service),
                                       .max = c->s->service->files_max };

    answer(c, &r, sizeof(r));
    return 0;
}

static int64_t (*const commands[CMP_COMMANDS])(struct call *c) = {
    [CMP_HELLO] = do_hello,
    [CMP_OPEN] = do_open,
    [CMP_CLOSE] = do_close,
    [CMP_READ] = do_read,
    [CMP_FILL] = do_fill,
    [CMP_WRITE_BEGIN] = do_begin,
    [CMP_TRUNCATE_BEGIN] = do_begin,
    [CMP_WRITE_END] = do_end,
    [CMP_SYNC_BEGIN] = do_begin,
    [CMP_SYNC_END] = do_end,
    [CMP_INVALIDATE] = do_invalidate,
    [CMP_REVALIDATE] = do_revalidate,
    [CMP_FORGET] = do_forget,
    [CMP_STATS] = do_stats,
    [CMP_WARM] = do_warm,
    [CMP_LOOK_UP] = do_look_up,
    [CMP_COUNT] = do_count,
    [CMP_KEEP] = do_keep,
    [CMP_POOL] = do_pool,
    [CMP_FORGET_ALL] = do_forget_all,
    [CMP_FILES] = do_files,
};

/* What is wrong with a sound message at this place of the conversation; NULL: nothing, and the
 * file is in use. */
static const char *out_of_place(struct call *c)
{
    bool greeted;

    os_lock(&c->s->lock);
    greeted = c->s->greeted;
    os_unlock(&c->s->lock);
    if (!greeted && c->head.command != CMP_HELLO)
        return "it did not say hello";
    if (c->data_len > c->s->data_max)
        return "more data than it was told";
    if (cmp_has_file(c->head.command) && !(c->h = state_use(c->s, c->head.file)) &&
        c->head.command != CMP_FILL)
        return "a message names a file that is not open";
    return NULL;
}

/* May there be something to forget after such a message? A block comes into the pool by a ticket, a
 * fill or a warming, and a file by an open; the end of a bracket or of a sync, and a validator, may
 * make valid what is there. Those below do none of that: they forget, or close, or only look (a
 * mount does so once a second). A read tells by itself: most of them are hits, and shall not
 * share a line of memory that is written. */
static bool may_bring(unsigned command)
{
    switch (command) {
    case CMP_HELLO:
    case CMP_CLOSE:
    case CMP_READ:
    case CMP_INVALIDATE:
    case CMP_FORGET:
    case CMP_FORGET_ALL:
    case CMP_STATS:
    case CMP_LOOK_UP:
    case CMP_COUNT:
    case CMP_POOL:
    case CMP_FILES:
        return false;
    default:
        return true;
    }
}

/* Does what a message asks for. The counts: do_forget_all(). */
static int64_t handle(struct call *c)
{
    struct service *const service = c->s->service;
    const bool brings = may_bring(c->head.command);
    int64_t result;

    if (brings) {
        (void)atomic_fetch_add(&service->coming, 1); /* first, and for all that follows */
        (void)atomic_fetch_add(&service->comings, 1);
    }
    result = commands[c->head.command](c);
    if (brings)
        (void)atomic_fetch_sub(&service->coming, 1);
    return result;
}

int64_t session_handle(struct session *s, bool may_wait, const void *message, size_t n, void *reply,
                       size_t room, const char **why)
{
    struct call c = { .s = s,
                      .may_wait = may_wait,
                      .reply = (uint8_t *)reply + sizeof(struct cmp_head) };
    const size_t around = sizeof(struct cmp_head) + sizeof(struct cmp_read_reply);
    const enum cmp_fault f = cmp_check(message, n, 0);
    uint32_t body;
    int64_t result;
    int data;

    *why = cmp_fault_text(f);
    if (f != CMP_SOUND)
        return -1;
    memcpy(&c.head, message, sizeof(c.head));
    body = cmp_body(c.head.command, 0, &data);
    c.body = (const uint8_t *)message + sizeof(c.head);
    c.data = c.body + body;
    c.data_len = n - sizeof(c.head) - body;
    c.data_max = room - around < s->data_max ? room - around : s->data_max;
    *why = out_of_place(&c);
    if (*why)
        return -1;
    result = handle(&c);
    if (c.h)
        state_leave(s, c.h);
    *why = c.why;
    if (c.why)
        return -1;
    if (c.head.command == CMP_FILL)
        return 0;
    c.head.result = (int32_t)result;
    c.head.bytes = (uint32_t)(sizeof(c.head) + (result < 0 ? 0 : c.reply_len));
    memcpy(reply, &c.head, sizeof(c.head));
    return c.head.bytes;
}
