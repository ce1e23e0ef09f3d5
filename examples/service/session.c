/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session.c - one client of the service: messages in, replies out.
 *
 * Owns: the handles, tickets and tokens of a client, all of them bounded; and the look at the
 * outside writes that each answer needs (docs/decisions/service.md). A file that several sessions
 * have open is one file of the library.
 *
 * Who: the transports.
 */
#include "session.h"

#include <stdlib.h>

#define TICKETS 256u  /* misses that wait for their fill; the oldest one is void then */
#define BRACKETS 256u /* that may be open at a time, with the syncs */

struct handle {
    struct served *served; /* NULL: free */
    cm_file *cf;
};
struct ticket {
    uint64_t number; /* 0: none */
    uint32_t file;
    cm_miss miss;
};
struct token {
    uint64_t number; /* 0: none */
    uint32_t file;
    bool sync;
    cm_bracket bracket;
    cm_sync begun;
};

struct session {
    struct service *service;
    uint32_t client;
    uint64_t ring; /* bytes; 0: none */
    bool greeted;
    uint64_t last; /* number that was given out */
    struct handle *file;
    uint32_t used; /* all handles below this place are in use */
    struct ticket ticket[TICKETS];
    struct token token[BRACKETS];
};

/* ---- Files ----------------------------------------------------------------------------------- */

/* The service's lock is held. */
static struct served **find(struct service *s, const cm_file_id *id)
{
    struct served **p = &s->file[outside_hash(id) / 2 % SERVED_CHAINS];

    while (*p && ((*p)->id.hi != id->hi || (*p)->id.lo != id->lo))
        p = &(*p)->next;
    return p;
}

static struct served *serve(struct service *s, const cm_file_id *id)
{
    struct served **p, *f;

    pthread_mutex_lock(&s->lock);
    p = find(s, id);
    f = s->handles < s->files_max ? *p : NULL;
    if (!f && s->handles < s->files_max && (f = calloc(1, sizeof(*f))) != NULL) {
        f->id = *id;
        f->hash = outside_hash(id);
        pthread_mutex_init(&f->lock, NULL);
        /* A claim that is there now may be of an older life. One of this life costs some answers.
         */
        atomic_store(&f->watched, outside_is_claimed(s->outside, f->hash));
        *p = f;
    }
    if (f) {
        f->refs++;
        s->handles++;
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

static void leave(struct service *s, struct served *f)
{
    struct served **p;

    pthread_mutex_lock(&s->lock);
    s->handles--;
    if (--f->refs == 0) {
        p = find(s, &f->id);
        *p = f->next;
        pthread_mutex_destroy(&f->lock);
        free(f);
    }
    pthread_mutex_unlock(&s->lock);
}

/* The answer was copied when the file had `number`. May it be given? Else it is "pass", and a file
 * that was written outside is forgotten. */
static bool may_answer(struct session *s, const struct handle *h, uint64_t number)
{
    struct outside *o = s->service->outside;
    struct served *f = h->served;
    uint64_t begun;

    if (outside_quiet(o, f->hash, number) && !atomic_load(&f->watched))
        return true;
    if (atomic_load(&f->watched) && !outside_is_claimed(o, f->hash))
        atomic_store(&f->watched, false);
    pthread_mutex_lock(&f->lock); /* else an older number could replace a newer one */
    begun = outside_begun(o, f->hash);
    if (begun != atomic_load(&f->number)) {
        (void)cm_invalidate(h->cf, 0, CM_ALL);
        atomic_store(&f->number, begun);
    }
    pthread_mutex_unlock(&f->lock);
    return false;
}

int service_begin(struct service *s, cm_cache *cache, struct outside *outside, uint64_t life)
{
    *s = (struct service){ .cache = cache,
                           .outside = outside,
                           .life = life,
                           .data_max = CMP_DATA_MAX,
                           .open_max = 65536,
                           .files_max = 65536 };
    return pthread_mutex_init(&s->lock, NULL) ? CM_ENOMEM : 0;
}

void service_sweep(struct service *s, bool (*has_ended)(uint32_t client))
{
    for (unsigned i = 0; i < OUTSIDE_CLAIMS; i++) {
        const uint32_t client = outside_claimant(s->outside, i);

        if (client != 0 && has_ended(client))
            outside_client_ended(s->outside, client);
    }
}

void service_end(struct service *s)
{
    pthread_mutex_destroy(&s->lock);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

struct session *session_begin(struct service *service, uint32_t client)
{
    struct session *s = calloc(1, sizeof(*s));

    if (s && (s->file = calloc(service->open_max, sizeof(*s->file))) == NULL) {
        free(s);
        return NULL;
    }
    if (s) {
        s->service = service;
        s->client = client;
    }
    return s;
}

void session_has_ring(struct session *s, uint64_t bytes)
{
    s->ring = bytes;
}

static struct handle *handle_of(struct session *s, uint32_t file)
{
    struct handle *h = file > 0 && file <= s->service->open_max ? &s->file[file - 1] : NULL;

    return h && h->served ? h : NULL;
}

/* Ends a bracket of which nobody knows whether it wrote. The writes of a process that lives on may
 * come later: then the file is watched until it frees its claim. */
static void lose_token(struct session *s, struct token *t, bool gone)
{
    struct handle *h = handle_of(s, t->file);

    if (!t->sync) {
        if (!gone)
            atomic_store(&h->served->watched, true);
        (void)cm_invalidate(h->cf, 0, CM_ALL);
        (void)cm_write_end(h->cf, &t->bracket, NULL);
    }
    t->number = 0;
}

static void close_file(struct session *s, uint32_t file, bool gone)
{
    struct handle *h = handle_of(s, file);

    for (unsigned i = 0; i < BRACKETS; i++)
        if (s->token[i].number != 0 && s->token[i].file == file)
            lose_token(s, &s->token[i], gone);
    for (unsigned i = 0; i < TICKETS; i++)
        if (s->ticket[i].file == file)
            s->ticket[i].number = 0;
    (void)cm_file_close(h->cf);
    leave(s->service, h->served);
    h->served = NULL;
    s->used = file - 1 < s->used ? file - 1 : s->used;
}

bool session_is_writing(const struct session *s)
{
    for (unsigned i = 0; i < BRACKETS; i++)
        if (s->token[i].number != 0 && !s->token[i].sync)
            return true;
    return false;
}

void session_end(struct session *s, bool gone)
{
    if (gone)
        outside_client_ended(s->service->outside, s->client);
    for (uint32_t file = 1; file <= s->service->open_max; file++)
        if (handle_of(s, file))
            close_file(s, file, gone);
    free(s->file);
    free(s);
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* A request and the place for its reply. */
struct call {
    struct session *s;
    struct cmp_head head;
    const uint8_t *body, *data;
    size_t data_len;
    struct handle *h; /* of head.file; NULL where the command has none */
    uint8_t *reply;   /* behind the head */
    size_t data_max;  /* bytes of data in the reply */
    size_t reply_len; /* what is there, if the result is no error */
    const char *why;  /* the connection has to end */
};

static cm_validator validator_of(const uint8_t *at, bool *given)
{
    struct cmp_validator m;
    cm_validator v = CM_VALIDATOR_INIT;

    memcpy(&m, at, sizeof(m));
    *given = m.given;
    v.racy = m.racy;
    v.taken_at = m.taken_at;
    v.size = m.size;
    v.changed_ns = m.changed_ns;
    memcpy(v.proof, m.proof, sizeof(v.proof));
    return v;
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
                                 .data_max = service->data_max,
                                 .open_max = service->open_max,
                                 .flags = c->s->ring ? CMP_HAS_RING : 0,
                                 .ring = c->s->ring,
                                 .client = c->s->client };
    struct cmp_hello m;
    cm_info info = CM_INFO_INIT;

    memcpy(&m, c->body, sizeof(m));
    if (c->s->greeted)
        c->why = "it said hello twice";
    else if (m.oldest > CMP_VERSION || c->head.version < CMP_VERSION)
        c->why = "it speaks other versions only";
    c->s->greeted = true;
    if (cm_get_info(service->cache, &info) == 0)
        memcpy(r.pool, info.uuid, sizeof(r.pool));
    c->head.version = CMP_VERSION;
    answer(c, &r, sizeof(r));
    return 0;
}

/* 0: all are in use. */
static uint32_t free_handle(struct session *s)
{
    while (s->used < s->service->open_max && s->file[s->used].served)
        s->used++;
    return s->used < s->service->open_max ? s->used + 1 : 0;
}

static int64_t do_open(struct call *c)
{
    struct service *service = c->s->service;
    const uint32_t file = free_handle(c->s);
    struct cmp_open_reply r;
    struct cmp_open m;
    struct served *served;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id;
    cm_file *cf = NULL;
    cm_validator v;
    bool given;
    int e;

    memcpy(&m, c->body, sizeof(m));
    id = (cm_file_id){ .hi = m.id_hi, .lo = m.id_lo };
    v = validator_of(c->body + offsetof(struct cmp_open, validator), &given);
    served = file ? serve(service, &id) : NULL;
    if (!served)
        return CM_ENOMEM;
    e = cm_file_open(service->cache, &id, given ? &v : NULL, m.flags & service->flags, &cf);
    if (e < 0) {
        leave(service, served);
        return e;
    }
    /* After the validator was judged: else another session could answer with what was cached before
     * a write that this number knows. */
    atomic_store(&served->number, m.outside);
    c->s->file[file - 1] = (struct handle){ .served = served, .cf = cf };
    (void)cm_file_get_info(cf, &info);
    r = (struct cmp_open_reply){ .size = info.size, .version = info.incarnation };
    c->head.file = file;
    answer(c, &r, sizeof(r));
    return e;
}

static int64_t do_close(struct call *c)
{
    close_file(c->s, c->head.file, true);
    return 0;
}

static uint64_t give_ticket(struct session *s, uint32_t file, const cm_miss *miss)
{
    const uint64_t number = ++s->last;

    s->ticket[number % TICKETS] = (struct ticket){ .number = number, .file = file, .miss = *miss };
    return number;
}

static int64_t do_read(struct call *c)
{
    uint8_t *const data = c->reply + sizeof(struct cmp_read_reply);
    const uint64_t number = atomic_load(&c->h->served->number);
    struct cmp_read_reply r = { .ticket = 0 };
    cm_miss miss = CM_MISS_INIT;
    struct cmp_read m;
    int64_t n;

    memcpy(&m, c->body, sizeof(m));
    if (m.len > c->data_max) {
        c->why = "it asks for more data than it was told";
        return 0;
    }
    n = cm_read(c->h->cf, m.offset, data, m.len, &miss);
    if (n < 0)
        return n;
    if (!may_answer(c->s, c->h, number)) {
        n = 0;
    } else if (n < m.len && !(miss.flags & CM_MISS_EOF) && (m.flags & CMP_READ_WHOLE)) {
        n = 0;
    } else if (n < m.len && miss.len > 0) {
        r.ticket = miss.flags & CM_MISS_NOFILL ? 0 : give_ticket(c->s, c->head.file, &miss);
        r.miss_offset = miss.offset;
        r.miss_len =
            miss.len < c->s->service->data_max ? (uint32_t)miss.len : c->s->service->data_max;
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
    struct ticket *t;
    int64_t e;

    memcpy(&m, c->body, sizeof(m));
    t = &c->s->ticket[m.ticket % TICKETS];
    if (m.ticket == 0 || m.ticket > c->s->last) {
        c->why = "a fill has a ticket that it never got";
    } else if (t->number == m.ticket) {
        if (t->file != c->head.file) {
            c->why = "a fill has the ticket of another file";
            return 0;
        }
        t->number = 0;
        e = cm_fill(c->h->cf, &t->miss, c->data, c->data_len,
                    m.flags & CMP_FILL_EOF ? CM_FILL_EOF : 0);
        if (e < 0)
            c->why = "a fill is longer than its miss, or ends inside a block";
    }
    return 0; /* a ticket that is void is no fault: it was the oldest, or its file was closed */
}

static struct token *free_token(struct session *s)
{
    for (unsigned i = 0; i < BRACKETS; i++)
        if (s->token[i].number == 0)
            return &s->token[i];
    return NULL;
}

/* The begin of a bracket or of a sync. */
static int64_t do_begin(struct call *c)
{
    struct token *t = free_token(c->s);
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
    if (e < 0)
        return e;
    t->number = r.token = ++c->s->last;
    t->file = c->head.file;
    answer(c, &r, sizeof(r));
    return 0;
}

/* The end of a bracket or of a sync. */
static int64_t do_end(struct call *c)
{
    const bool sync = c->head.command == CMP_SYNC_END;
    struct token *t = NULL;
    struct cmp_end m;
    cm_validator v;
    bool given;

    memcpy(&m, c->body, sizeof(m));
    v = validator_of(c->body + offsetof(struct cmp_end, validator), &given);
    for (unsigned i = 0; i < BRACKETS && m.token != 0; i++)
        if (c->s->token[i].number == m.token)
            t = &c->s->token[i];
    if (!t || t->file != c->head.file || t->sync != sync) {
        c->why = "an end has no begin";
        return 0;
    }
    t->number = 0;
    if (sync)
        return cm_sync_end(c->h->cf, &t->begun, m.ok == 1, given ? &v : NULL);
    return cm_write_end(c->h->cf, &t->bracket, given ? &v : NULL);
}

static int64_t do_invalidate(struct call *c)
{
    struct cmp_range m;

    memcpy(&m, c->body, sizeof(m));
    return cm_invalidate(c->h->cf, m.offset, m.len);
}

static int64_t do_revalidate(struct call *c)
{
    bool given;
    const cm_validator v = validator_of(c->body, &given);

    return given ? cm_file_revalidate(c->h->cf, &v) : CM_EINVAL;
}

static int64_t do_forget(struct call *c)
{
    struct cmp_forget m;
    cm_file_id id;

    memcpy(&m, c->body, sizeof(m));
    id = (cm_file_id){ .hi = m.id_hi, .lo = m.id_lo };
    return m.gone ? cm_forget_gone(c->s->service->cache, &id)
                  : cm_forget(c->s->service->cache, &id);
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
    for (; e == 0 && cm_stat_name(n); n++) {
        const uint64_t value = cm_stat_value(&u.s, n);
        memcpy(c->reply + n * sizeof(value), &value, sizeof(value));
    }
    c->reply_len = n * sizeof(uint64_t);
    return e < 0 ? e : (int64_t)n;
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
};

/* What is wrong with a sound message at this place of the conversation; NULL: nothing. */
static const char *out_of_place(struct call *c)
{
    if (!c->s->greeted && c->head.command != CMP_HELLO)
        return "it did not say hello";
    if (cmp_has_file(c->head.command) && !(c->h = handle_of(c->s, c->head.file)))
        return "a message names a file that is not open";
    return c->data_len > c->s->service->data_max ? "more data than it was told" : NULL;
}

int64_t session_handle(struct session *s, const void *message, size_t n, void *reply, size_t room,
                       const char **why)
{
    struct call c = { .s = s, .reply = (uint8_t *)reply + sizeof(struct cmp_head) };
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
    c.data_max = room - around < s->service->data_max ? room - around : s->service->data_max;
    *why = out_of_place(&c);
    if (*why)
        return -1;
    result = commands[c.head.command](&c);
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
