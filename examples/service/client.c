/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client.c - the cache of a service, for programs that may not open its pool.
 *
 * Owns: files and brackets of a client, over all connections that it has in its life; and the order
 * of steps that keeps what is served right while there is no service (docs/decisions/service.md).
 *
 * A file is opened once for each connection. Its word `opened` says for which one, with the handle
 * that the service gave. A new connection has another number, so the next call opens the file anew.
 *
 * Who: programs, by cachemax_client.h.
 */
#include "cachemax_client.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client_link.h"
#include "outside_file.h"
#include "ring.h"

#define RETRY_NS UINT64_C(100000000) /* a service that is away is looked for so often, */
#define RETRY_PART 10                /* and for no more than a tenth of the time */

struct cmc_client {
    struct cmc_options options;
    char *where;
    struct outside_file outside;
    pthread_mutex_t lock;
    struct link *link; /* lock; NULL: none */
    uint32_t links;    /* lock; number of the last one */
    uint64_t retry_at; /* lock */
    bool trying;       /* lock; a thread looks for the service */
};

struct cmc_file {
    cmc_client *client;
    cm_file_id id;
    uint64_t hash;
    uint32_t flags;
    cmc_identify identify;
    void *arg;
    pthread_mutex_t lock;    /* opening */
    _Atomic uint64_t opened; /* number of a link << 32 | handle; handle 0: it was refused there */
};

/* ---- Connections ----------------------------------------------------------------------------- */

/* The link, held; NULL: there is none now. */
static struct link *hold_link(cmc_client *k)
{
    struct link *l, *dead = NULL;
    uint32_t number = 0;
    uint64_t began = 0, now;

    pthread_mutex_lock(&k->lock);
    if (k->link && link_is_lost(k->link)) {
        dead = k->link;
        k->link = NULL;
        k->retry_at = 0;
    }
    l = k->link;
    if (l) {
        link_hold(l);
    } else if (!k->trying && (began = ring_now_ns()) >= k->retry_at) {
        k->trying = true;
        number = ++k->links;
    }
    pthread_mutex_unlock(&k->lock);
    if (dead)
        link_drop(dead);
    if (number == 0)
        return l;
    l = link_open(&k->options, number);
    pthread_mutex_lock(&k->lock);
    k->trying = false;
    now = ring_now_ns();
    k->retry_at = now + RETRY_NS + (now - began) * RETRY_PART;
    k->link = l;
    if (l)
        link_hold(l);
    pthread_mutex_unlock(&k->lock);
    return l;
}

static int set_up(cmc_client *k, const struct cmc_options *o, char why[256])
{
    k->where = strdup(o->where);
    k->options = *o;
    k->options.where = k->where;
    if (!k->where)
        return CM_ENOMEM;
    pthread_mutex_init(&k->lock, NULL);
    return outside_file_open(&k->outside, k->where, false, why) == 0 ? 0 : CM_EACCES;
}

int cmc_connect(const struct cmc_options *o, cmc_client **out, char why[256])
{
    cmc_client *k;
    struct link *l;
    char own[256];
    int e;

    if (!out)
        return CM_EINVAL;
    *out = NULL;
    if (!o || !o->where || o->flags & ~CMC_NO_RING)
        return CM_EINVAL;
    k = calloc(1, sizeof(*k));
    if (!k)
        return CM_ENOMEM;
    e = set_up(k, o, why ? why : own);
    if (e < 0) {
        free(k->where);
        free(k);
        return e;
    }
    l = hold_link(k);
    if (l)
        link_drop(l);
    *out = k;
    return 0;
}

void cmc_disconnect(cmc_client *k)
{
    if (!k)
        return;
    if (k->link)
        link_drop(k->link);
    outside_file_close(&k->outside);
    pthread_mutex_destroy(&k->lock);
    free(k->where);
    free(k);
}

int cmc_is_connected(cmc_client *k)
{
    struct link *l = hold_link(k);

    if (l)
        link_drop(l);
    return l != NULL;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static int64_t ask(struct link *l, uint16_t command, uint32_t file, const void *body, size_t n,
                   void *reply, size_t room)
{
    const struct request q = { .command = command, .file = file, .body = body, .body_len = n };
    struct answer a = { .body = reply, .body_room = room };

    return link_ask(l, &q, &a);
}

static struct cmp_validator validator(const cm_validator *v)
{
    struct cmp_validator m;

    memset(&m, 0, sizeof(m));
    if (!v)
        return m;
    m.given = 1;
    m.racy = v->racy;
    m.taken_at = v->taken_at;
    m.size = v->size;
    m.changed_ns = v->changed_ns;
    memcpy(m.proof, v->proof, sizeof(m.proof));
    return m;
}

/* File lock held. Opens it on a link. Returns the handle, or 0: the service does not cache it. */
static uint32_t open_on(cmc_file *f, struct link *l)
{
    struct cmp_open m = { .id_hi = f->id.hi, .id_lo = f->id.lo, .flags = f->flags };
    const struct request q = { .command = CMP_OPEN, .body = &m, .body_len = sizeof(m) };
    struct cmp_open_reply r;
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    cm_validator v = CM_VALIDATOR_INIT;

    /* Before the validator: else a write in between would be taken for one that it shows. */
    m.outside = outside_ended(f->client->outside.at, f->hash);
    if (f->identify(f->arg, &v) < 0)
        return 0;
    m.validator = validator(&v);
    return link_ask(l, &q, &a) >= 0 ? a.file : 0;
}

/* The link and the file's handle there; NULL: pass. */
static struct link *hold_file(cmc_file *f, uint32_t *handle)
{
    struct link *l = hold_link(f->client);
    uint64_t opened;

    if (!l)
        return NULL;
    opened = atomic_load(&f->opened);
    if (opened >> 32 != link_number(l)) {
        pthread_mutex_lock(&f->lock);
        opened = atomic_load(&f->opened);
        if (opened >> 32 != link_number(l)) {
            opened = (uint64_t)link_number(l) << 32 | open_on(f, l);
            atomic_store(&f->opened, opened);
        }
        pthread_mutex_unlock(&f->lock);
    }
    *handle = (uint32_t)opened;
    if (*handle != 0)
        return l;
    link_drop(l);
    return NULL;
}

int cmc_file_open(cmc_client *k, const cm_file_id *id, uint32_t flags, cmc_identify identify,
                  void *arg, cmc_file **out)
{
    cmc_file *f;
    struct link *l;
    uint32_t handle;

    if (!out)
        return CM_EINVAL;
    *out = NULL;
    if (!k || !id || (id->hi | id->lo) == 0 || !identify)
        return CM_EINVAL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return CM_ENOMEM;
    f->client = k;
    f->id = *id;
    f->hash = outside_hash(id);
    f->flags = flags;
    f->identify = identify;
    f->arg = arg;
    pthread_mutex_init(&f->lock, NULL);
    l = hold_file(f, &handle);
    if (l)
        link_drop(l);
    *out = f;
    return 0;
}

void cmc_file_close(cmc_file *f)
{
    struct link *l;

    if (!f)
        return;
    pthread_mutex_lock(&f->client->lock);
    l = f->client->link;
    if (l)
        link_hold(l);
    pthread_mutex_unlock(&f->client->lock);
    if (l && f->opened >> 32 == link_number(l) && (uint32_t)f->opened != 0) {
        link_settle(l); /* a fill that came after the close would name no file */
        (void)ask(l, CMP_CLOSE, (uint32_t)f->opened, NULL, 0, NULL, 0);
    }
    if (l)
        link_drop(l);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- Reads ----------------------------------------------------------------------------------- */

/* Reads what one message holds. Returns the bytes; *miss says what is missing, unless all of it is
 * there. */
static int64_t read_some(struct link *l, uint32_t handle, uint64_t offset, void *buf, uint32_t len,
                         cmc_miss *miss)
{
    const struct cmp_read m = { .offset = offset, .len = len };
    const struct request q = {
        .command = CMP_READ, .file = handle, .body = &m, .body_len = sizeof(m)
    };
    struct cmp_read_reply r;
    struct answer a = { .body = &r, .body_room = sizeof(r), .data = buf, .data_room = len };
    int64_t n = link_ask(l, &q, &a);

    if (n < 0 || (uint64_t)n != a.data_len)
        n = 0;
    *miss = (cmc_miss){ .offset = offset + (uint64_t)n,
                        .len = len - (uint64_t)n,
                        .flags = CM_MISS_NOFILL };
    if (a.data_len != (uint64_t)n || a.file != handle)
        return 0;
    if (r.flags & CMP_AT_END) {
        miss->flags = CM_MISS_EOF;
        miss->len = 0;
    } else if (r.ticket != 0) {
        *miss = (cmc_miss){ .offset = r.miss_offset,
                            .len = r.miss_len,
                            .handle = handle,
                            .ticket = r.ticket,
                            .connection = link_number(l) };
    }
    return n;
}

int64_t cmc_read(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss)
{
    struct link *l;
    uint32_t handle, done = 0;

    if (!f || !buf || !miss || len == 0 || offset > (uint64_t)INT64_MAX - len)
        return CM_EINVAL;
    *miss = (cmc_miss){ .offset = offset, .len = len, .flags = CM_MISS_NOFILL };
    l = hold_file(f, &handle);
    while (l && done < len) {
        const uint32_t most = link_data_max(l), left = len - done, some = left < most ? left : most;
        const int64_t n = read_some(l, handle, offset + done, (uint8_t *)buf + done, some, miss);

        done += (uint32_t)n;
        if ((uint32_t)n < some)
            break;
    }
    if (l)
        link_drop(l);
    return done;
}

int cmc_fill(cmc_file *f, const cmc_miss *miss, const void *data, uint32_t len, uint32_t flags)
{
    struct cmp_fill m;
    struct request q;
    struct link *l;
    uint32_t handle;

    if (!f || !miss || (!data && len > 0) || flags & ~(uint32_t)CM_FILL_EOF || len > miss->len)
        return CM_EINVAL;
    if (miss->ticket == 0)
        return 0;
    l = hold_file(f, &handle);
    if (!l)
        return 0;
    if (link_number(l) == miss->connection && handle == miss->handle && len <= link_data_max(l)) {
        m = (struct cmp_fill){ .ticket = miss->ticket,
                               .flags = flags & CM_FILL_EOF ? CMP_FILL_EOF : 0 };
        q = (struct request){ CMP_FILL, handle, &m, data, sizeof(m), len };
        link_tell(l, &q);
    }
    link_drop(l);
    return 0;
}

/* ---- Changes --------------------------------------------------------------------------------- */

/* Asks for a token. Without one the caller is on its own. The claim stays with the bracket even
 * then: the service may have begun it and be gone. */
static void ask_token(cmc_file *f, uint16_t command, const void *body, size_t n, cmc_bracket *w)
{
    struct cmp_token_reply r;
    uint32_t handle;
    struct link *l = hold_file(f, &handle);

    if (!l)
        return;
    if (command != CMP_SYNC_BEGIN)
        w->claim = outside_claim(f->client->outside.at, f->hash, link_client(l));
    if ((command == CMP_SYNC_BEGIN || w->claim >= 0) &&
        ask(l, command, handle, body, n, &r, sizeof(r)) == 0) {
        w->token = r.token;
        w->connection = link_number(l);
    }
    link_drop(l);
}

static void begin(cmc_file *f, uint16_t command, const void *body, size_t n, cmc_bracket *w)
{
    *w = (cmc_bracket){ .claim = -1 };
    ask_token(f, command, body, n, w);
    if (w->token == 0 && command != CMP_SYNC_BEGIN) {
        outside_begin(f->client->outside.at, f->hash);
        w->outside = 1;
    }
}

int cmc_write_begin(cmc_file *f, uint64_t offset, uint64_t len, cmc_bracket *w)
{
    const struct cmp_range m = { .offset = offset, .len = len };

    if (!f || !w || (offset != CM_APPEND && offset > INT64_MAX) ||
        len > (uint64_t)INT64_MAX - (offset == CM_APPEND ? 0 : offset))
        return CM_EINVAL;
    begin(f, CMP_WRITE_BEGIN, &m, sizeof(m), w);
    return 0;
}

int cmc_truncate_begin(cmc_file *f, uint64_t size, cmc_bracket *w)
{
    const struct cmp_truncate m = { .size = size };

    if (!f || !w || size > INT64_MAX)
        return CM_EINVAL;
    begin(f, CMP_TRUNCATE_BEGIN, &m, sizeof(m), w);
    return 0;
}

/* The end of what has a token, if the link is still the same. Else the service has ended it. */
static int tell_end(cmc_file *f, uint16_t command, const cmc_bracket *w, int ok,
                    const cm_validator *after)
{
    struct cmp_end m = { .token = w->token, .ok = ok != 0 };
    uint32_t handle;
    struct link *l;
    int64_t e = 0;

    if (w->token == 0)
        return 0;
    l = hold_file(f, &handle);
    if (!l)
        return 0;
    m.validator = validator(after);
    if (link_number(l) == w->connection)
        e = ask(l, command, handle, &m, sizeof(m), NULL, 0);
    link_drop(l);
    return e == CM_WANT_VALIDATOR ? CM_WANT_VALIDATOR : 0;
}

int cmc_write_end(cmc_file *f, cmc_bracket *w, const cm_validator *after)
{
    struct outside *o;

    if (!f || !w)
        return CM_EINVAL;
    o = f->client->outside.at;
    if (w->outside)
        outside_end(o, f->hash);
    if (w->claim >= 0)
        outside_free(o, w->claim); /* the write has ended; before the service is told */
    return tell_end(f, CMP_WRITE_END, w, 1, after);
}

void cmc_sync_begin(cmc_file *f, cmc_bracket *s)
{
    begin(f, CMP_SYNC_BEGIN, NULL, 0, s);
}

int cmc_sync_end(cmc_file *f, cmc_bracket *s, int ok, const cm_validator *after)
{
    return f && s ? tell_end(f, CMP_SYNC_END, s, ok, after) : CM_EINVAL;
}

/* What has changed, and cannot be told: as a write that nobody told of. */
static void note(cmc_client *k, uint64_t hash)
{
    outside_begin(k->outside.at, hash);
    outside_end(k->outside.at, hash);
}

int cmc_invalidate(cmc_file *f, uint64_t offset, uint64_t len)
{
    const struct cmp_range m = { .offset = offset, .len = len };
    uint32_t handle;
    struct link *l;
    bool told = false;

    if (!f || offset > INT64_MAX || (len != CM_ALL && len > (uint64_t)INT64_MAX - offset))
        return CM_EINVAL;
    l = hold_file(f, &handle);
    if (l) {
        told = ask(l, CMP_INVALIDATE, handle, &m, sizeof(m), NULL, 0) >= 0;
        link_drop(l);
    }
    if (!told)
        note(f->client, f->hash);
    return 0;
}

int cmc_file_revalidate(cmc_file *f)
{
    struct cmp_revalidate m;
    cm_validator v = CM_VALIDATOR_INIT;
    uint32_t handle;
    struct link *l = f ? hold_file(f, &handle) : NULL;
    int e;

    if (!f)
        return CM_EINVAL;
    if (!l)
        return 0;
    e = f->identify(f->arg, &v);
    if (e >= 0) {
        m.validator = validator(&v);
        (void)ask(l, CMP_REVALIDATE, handle, &m, sizeof(m), NULL, 0);
    }
    link_drop(l);
    return e < 0 ? e : 0;
}

int cmc_forget(cmc_client *k, const cm_file_id *id, int gone)
{
    struct cmp_forget m = { .gone = gone != 0 };
    struct link *l;
    bool told = false;

    if (!k || !id || (id->hi | id->lo) == 0)
        return CM_EINVAL;
    m.id_hi = id->hi;
    m.id_lo = id->lo;
    l = hold_link(k);
    if (l) {
        told = ask(l, CMP_FORGET, 0, &m, sizeof(m), NULL, 0) >= 0;
        link_drop(l);
    }
    if (!told)
        note(k, outside_hash(id));
    return 0;
}

unsigned cmc_stats(cmc_client *k, uint64_t *values, unsigned n)
{
    uint64_t all[512];
    const struct request q = { .command = CMP_STATS };
    struct answer a = { .data = all, .data_room = sizeof(all) };
    struct link *l = k && values ? hold_link(k) : NULL;
    unsigned have = 0;

    if (!l)
        return 0;
    if (link_ask(l, &q, &a) >= 0)
        have = (unsigned)(a.data_len / sizeof(all[0]));
    link_drop(l);
    have = have < n ? have : n;
    memcpy(values, all, have * sizeof(all[0]));
    return have;
}
