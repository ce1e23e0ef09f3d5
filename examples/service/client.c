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

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client_file.h"
#include "client_link.h"
#include "client_stream.h"
#include "failed.h"
#include "os.h"
#include "outside_file.h"

#define RETRY_NS UINT64_C(100000000)   /* a service that is away is looked for so often, */
#define CROWD_NS UINT64_C(30000000000) /* one that has too many clients: less and less often */
#define TIMEOUT_MS 2000
#define CLAIMS_MAX 64                  /* of a client; there are OUTSIDE_CLAIMS for all of them */
#define REOPEN_NS UINT64_C(1000000000) /* a file that was refused is tried again after so long */
#define RETRY_PART 10                  /* and for no more than a tenth of the time */
/* A service that takes connections and then does not answer in time is left alone for so many
 * time-outs, after the first, second, ... such connection in turn. */
static const unsigned char leave_alone[] = { 0, 2, 5, RETRY_PART };
#define LATE_MAX (sizeof(leave_alone) - 1)

struct cmc_client {
    struct cmc_options options;
    char *where;
    struct outside_file outside;
    os_mutex lock;
    struct link *link;      /* lock; NULL: none */
    uint32_t links;         /* lock; number of the last one */
    _Atomic uint32_t lives; /* links that came about */
    uint64_t retry_at;      /* lock */
    uint64_t since;         /* lock; of the link */
    uint64_t crowd_ns;      /* lock; how long to wait after the next refusal */
    _Atomic int away;       /* why there is no link: CMC_AWAY or CMC_CROWDED */
    unsigned late;          /* lock; links in turn whose service did not answer in time */
    bool trying;            /* lock; a thread looks for the service */
    _Atomic int claims;
    _Atomic bool astray; /* the service of the last link has another table */
};

struct cmc_file {
    cmc_client *client;
    cm_file_id id;
    uint64_t hash;
    uint32_t flags;
    cmc_identify identify;
    void *arg;
    os_mutex lock;              /* opening */
    _Atomic uint64_t reopen_at; /* if it was refused */
    _Atomic uint64_t opened; /* number of a link << 32 | handle; handle 0: it was refused there */
    _Atomic int refused;     /* why; before `opened` */
};

/* ---- Connections ----------------------------------------------------------------------------- */

/* The link is lost; lock held. Sets when the service is looked for again. */
static void leave(cmc_client *k)
{
    const uint64_t now = os_now_ns();
    const uint64_t timeout = UINT64_C(1000000) * k->options.timeout_ms;

    k->retry_at = 0;
    if (!link_was_late(k->link))
        return;
    if (now - k->since > timeout * RETRY_PART)
        k->late = 0; /* it was well for long */
    k->retry_at = now + leave_alone[k->late] * timeout;
    k->late += k->late < LATE_MAX;
}

/* There is a link, or none because of `why`; lock held. Sets when it is tried again. It took `ns`.
 */
static void settle_link(cmc_client *k, struct link *l, int why, uint64_t ns)
{
    const uint64_t now = os_now_ns();

    k->trying = false;
    k->retry_at = now + RETRY_NS + ns * RETRY_PART;
    if (l || why != CMC_CROWDED) {
        k->crowd_ns = RETRY_NS;
    } else {
        k->retry_at += k->crowd_ns;
        k->crowd_ns = 2 * k->crowd_ns < CROWD_NS ? 2 * k->crowd_ns : CROWD_NS;
    }
    atomic_store(&k->away, why);
    k->link = l;
    k->since = now;
}

/* The link, held; NULL: there is none now. */
static struct link *hold_link(cmc_client *k)
{
    struct link *l, *dead = NULL;
    uint32_t number = 0;
    uint64_t began = 0;
    int why = CMC_AWAY;

    os_lock(&k->lock);
    if (k->link && link_is_lost(k->link)) {
        leave(k);
        dead = k->link;
        k->link = NULL;
        atomic_store(&k->away, CMC_AWAY);
    }
    l = k->link;
    if (l) {
        link_hold(l);
    } else if (!k->trying && (began = os_now_ns()) >= k->retry_at) {
        k->trying = true;
        number = ++k->links;
    }
    os_unlock(&k->lock);
    if (dead)
        link_drop(dead);
    if (number == 0)
        return l;
    l = link_open(&k->options, number, &why);
    if (l)
        atomic_store(&k->astray, link_outside(l) != atomic_load(&k->outside.at->name));
    if (l)
        atomic_fetch_add(&k->lives, 1);
    os_lock(&k->lock);
    settle_link(k, l, why, os_now_ns() - began);
    if (l)
        link_hold(l);
    os_unlock(&k->lock);
    return l;
}

static int set_up(cmc_client *k, const struct cmc_options *o, char why[256])
{
    const char *fault;
    int e;

    k->where = os_place_for_good(o->where);
    if (!k->where) {
        snprintf(why, 256, "%.160s: %s", o->where, strerror(errno));
        return errno == ENOMEM ? CM_ENOMEM : CM_ENOENT;
    }
    fault = client_stream_fault(k->where);
    if (fault) {
        snprintf(why, 256, "%.160s: %s", k->where, fault);
        return CM_EINVAL;
    }
    k->away = CMC_AWAY;
    k->crowd_ns = RETRY_NS;
    k->options = *o;
    k->options.where = k->where;
    if (k->options.timeout_ms == 0)
        k->options.timeout_ms = TIMEOUT_MS;
    e = outside_file_open(&k->outside, k->where, false, why);
    if (e == 0)
        os_mutex_begin(&k->lock);
    return e;
}

/* Does the service look at the memory where this client notes its writes? If it is not there it
 * cannot be asked. */
static bool is_known(cmc_client *k, char why[256])
{
    struct link *l = hold_link(k);
    const bool is = !atomic_load(&k->astray);

    if (l)
        link_drop(l);
    if (!is)
        snprintf(why, 256,
                 "%.100s.writes is not the file of the service that listens there: it was "
                 "deleted (start the service anew), or this is a link to the socket",
                 k->where);
    return is;
}

int cmc_connect(const struct cmc_options *o, cmc_client **out, char why[256])
{
    cmc_client *k;
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
    if (!is_known(k, why ? why : own)) {
        cmc_disconnect(k);
        return CM_EACCES;
    }
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
    os_mutex_end(&k->lock);
    free(k->where);
    free(k);
}

/* As hold_link(), but it does not look for the service. */
static struct link *hold_present(cmc_client *k)
{
    struct link *l;

    os_lock(&k->lock);
    l = k->link && !link_is_lost(k->link) ? k->link : NULL;
    if (l)
        link_hold(l);
    os_unlock(&k->lock);
    return l;
}

static bool is_present(cmc_client *k)
{
    struct link *l = hold_present(k);

    if (l)
        link_drop(l);
    return l != NULL;
}

cmc_client *client_of(const cmc_file *f)
{
    return f->client;
}

struct link *client_link(cmc_client *k)
{
    return hold_link(k);
}

int client_away(cmc_client *k)
{
    return atomic_load(&k->away);
}

int cmc_is_connected(cmc_client *k)
{
    struct link *l = hold_link(k);

    if (l)
        link_drop(l);
    return l != NULL;
}

int cmc_state(cmc_client *k)
{
    return cmc_is_connected(k) ? 0 : client_away(k);
}

/* ---- Structs that grow ----------------------------------------------------------------------- */

#define STRUCT_MAX 4096u /* a struct_size beyond this is not one */

/* The struct_size; 0, which is that of the first release: `size`. UINT32_MAX: it is none. */
static uint32_t size_of(const void *given, uint32_t size)
{
    uint32_t n;

    memcpy(&n, given, sizeof(n));
    if (n == 0)
        return size;
    return n < 2 * sizeof(n) || n > STRUCT_MAX ? UINT32_MAX : n;
}

bool client_take(void *to, uint32_t size, const void *from)
{
    const uint32_t given = from ? size_of(from, size) : 0;

    memset(to, 0, size);
    if (given == UINT32_MAX)
        return false;
    if (given > 0)
        memcpy(to, from, given < size ? given : size);
    for (uint32_t i = size; i < given; i++)
        if (((const uint8_t *)from)[i])
            return false;
    return true;
}

bool client_can_give(const void *to)
{
    return size_of(to, 0) != UINT32_MAX;
}

void client_give(void *to, const void *from, uint32_t size)
{
    const uint32_t room = size_of(to, size), both = room < size ? room : size;

    memcpy(to, from, both);
    memset((uint8_t *)to + both, 0, room - both);
    memcpy(to, &both, sizeof(both));
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

/* Why a service has refused a file. An older one says with the same code that too many are open, as
 * a rule, and that it is out of memory. */
static int refusal_of(const struct link *l, int64_t e)
{
    if (e == LINK_LOST)
        return CMC_AWAY;
    return e == CM_ENOMEM && !link_tells_files(l) ? CMC_FULL : (int)e;
}

/* File lock held. Opens it on a link. Returns the handle, or 0: f->refused says why not. */
static uint32_t open_on(cmc_file *f, struct link *l)
{
    struct cmp_open m = { .id_hi = f->id.hi, .id_lo = f->id.lo, .flags = f->flags };
    const struct request q = { .command = CMP_OPEN, .body = &m, .body_len = sizeof(m) };
    struct cmp_open_reply r;
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    cm_validator v = CM_VALIDATOR_INIT;
    int64_t e;

    /* Before the validator: else a write in between would be taken for one that it shows. */
    m.outside = outside_ended(f->client->outside.at, f->hash);
    e = f->identify(f->arg, &v);
    if (e >= 0) {
        m.validator = validator(&v);
        e = link_ask(l, &q, &a);
        e = e < 0 ? refusal_of(l, e) : e;
    }
    atomic_store(&f->refused, (int)e);
    return e >= 0 ? a.file : 0;
}

/* Is it to be opened on this link? Also if it was refused there a while ago: its version could not
 * be taken, or the service had too many files. */
static bool wants_open(const cmc_file *f, const struct link *l, uint64_t opened)
{
    return opened >> 32 != link_number(l) ||
           ((uint32_t)opened == 0 && os_now_ns() >= atomic_load(&f->reopen_at));
}

struct link *client_hold(cmc_file *f, uint32_t *handle)
{
    struct link *l = hold_link(f->client);
    uint64_t opened;

    if (!l)
        return NULL;
    opened = atomic_load(&f->opened);
    if (wants_open(f, l, opened)) {
        os_lock(&f->lock);
        opened = atomic_load(&f->opened);
        /* If the link is lost, the file may be open on the next one already. */
        if (wants_open(f, l, opened) && !link_is_lost(l)) {
            opened = (uint64_t)link_number(l) << 32 | open_on(f, l);
            atomic_store(&f->reopen_at, os_now_ns() + REOPEN_NS);
            atomic_store(&f->opened, opened);
        }
        os_unlock(&f->lock);
    }
    *handle = opened >> 32 == link_number(l) ? (uint32_t)opened : 0;
    if (*handle != 0)
        return l;
    link_drop(l);
    return NULL;
}

int client_why_not(cmc_file *f)
{
    struct link *l = hold_present(f->client);
    const uint64_t opened = atomic_load(&f->opened);
    int why = client_away(f->client);

    if (l && opened >> 32 == link_number(l))
        why = (uint32_t)opened == 0 ? atomic_load(&f->refused) : 0;
    if (l)
        link_drop(l);
    return why;
}

struct link *client_hold_open(cmc_file *f, uint32_t *handle)
{
    struct link *l = hold_present(f->client);
    const uint64_t opened = atomic_load(&f->opened);

    *handle = (uint32_t)opened;
    if (!l || (opened >> 32 == link_number(l) && *handle != 0))
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
    if (!k || !id || (id->hi | id->lo) == 0 || !identify ||
        (flags & ~(uint32_t)(CM_SOLE_WRITER | CM_ORIGIN_VOLATILE)))
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
    os_mutex_begin(&f->lock);
    l = client_hold(f, &handle);
    if (l)
        link_drop(l);
    *out = f;
    return 0;
}

void cmc_file_close(cmc_file *f)
{
    struct link *l;
    uint32_t handle;

    if (!f)
        return;
    l = client_hold_open(f, &handle);
    if (l) {
        link_settle(l); /* a fill that came after the close would name no file */
        (void)ask(l, CMP_CLOSE, handle, NULL, 0, NULL, 0);
        link_drop(l);
    }
    os_mutex_end(&f->lock);
    free(f);
}

/* ---- Changes --------------------------------------------------------------------------------- */

/* A claim, or -1: write outside. All clients of a service have the same few. */
static int claim(cmc_client *k, uint64_t hash, uint32_t client)
{
    int at = -1;

    if (atomic_fetch_add(&k->claims, 1) < CLAIMS_MAX)
        at = outside_claim(k->outside.at, hash, client);
    if (at < 0)
        atomic_fetch_sub(&k->claims, 1);
    return at;
}

static void unclaim(cmc_client *k, cmc_bracket *w)
{
    outside_free(k->outside.at, w->claim);
    atomic_fetch_sub(&k->claims, 1);
    w->claim = -1;
}

/* Asks for a token. Without one the caller is on its own. If there was no answer, the claim stays
 * with the bracket: the service may have begun it and be gone. */
static void ask_token(cmc_file *f, uint16_t command, const void *body, size_t n, cmc_bracket *w)
{
    const bool sync = command == CMP_SYNC_BEGIN;
    struct cmp_token_reply r;
    uint32_t handle;
    struct link *l = client_hold(f, &handle);
    int64_t e = LINK_LOST;

    if (!l)
        return;
    if (!sync)
        w->claim = claim(f->client, f->hash, link_client(l));
    if (sync || w->claim >= 0)
        e = ask(l, command, handle, body, n, &r, sizeof(r));
    if (e == 0) {
        w->token = r.token;
        w->connection = link_number(l);
    } else if (e != LINK_LOST && w->claim >= 0) {
        unclaim(f->client, w); /* it was refused */
    }
    link_drop(l);
}

static void begin(cmc_file *f, uint16_t command, const void *body, size_t n, cmc_bracket *w)
{
    *w = (cmc_bracket){ .claim = -1 };
    ask_token(f, command, body, n, w);
    if (command == CMP_SYNC_BEGIN)
        return;
    if (w->token == 0) {
        outside_begin(f->client->outside.at, f->hash);
        w->outside = 1;
        w->connection = is_present(f->client) ? 0 : atomic_load(&f->client->lives) + UINT64_C(1);
    }
    if (w->token == 0 || atomic_load(&f->client->astray))
        outside_file_follow(&f->client->outside, f->client->where, f->hash);
}

/* CM_EINVAL. The bracket can be ended all the same, which does nothing. */
static int refuse(cmc_bracket *w)
{
    if (w)
        *w = (cmc_bracket){ .claim = -1 };
    return CM_EINVAL;
}

static bool in_file(uint64_t offset, uint64_t len)
{
    return offset <= INT64_MAX && (len == CM_ALL || len <= (uint64_t)INT64_MAX - offset);
}

int cmc_write_begin(cmc_file *f, uint64_t offset, uint64_t len, cmc_bracket *w)
{
    const struct cmp_range m = {
        .offset = offset,
        .len =
            offset == CM_APPEND && len > INT64_MAX ? INT64_MAX : len, /* what a message may say */
    };

    if (!f || !w || (offset != CM_APPEND && !in_file(offset, len)))
        return refuse(w);
    begin(f, CMP_WRITE_BEGIN, &m, sizeof(m), w);
    return 0;
}

int cmc_truncate_begin(cmc_file *f, uint64_t size, cmc_bracket *w)
{
    const struct cmp_truncate m = { .size = size };

    if (!f || !w || size > INT64_MAX)
        return refuse(w);
    begin(f, CMP_TRUNCATE_BEGIN, &m, sizeof(m), w);
    return 0;
}

/* The end of what has a token, if the link is still the same. Else the service has ended it.
 * Returns the service's answer, or CMC_UNTOLD. */
static int tell_end(cmc_file *f, uint16_t command, const cmc_bracket *w, int ok,
                    const cm_validator *after)
{
    struct cmp_end m = { .token = w->token, .ok = ok != 0 };
    uint32_t handle;
    struct link *l;
    int64_t e = LINK_LOST;

    if (w->token == 0)
        return CMC_UNTOLD;
    l = client_hold(f, &handle);
    if (!l)
        return CMC_UNTOLD;
    m.validator = validator(after);
    if (link_number(l) == w->connection)
        e = ask(l, command, handle, &m, sizeof(m), NULL, 0);
    link_drop(l);
    return e < 0 ? CMC_UNTOLD : (int)e;
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
        unclaim(f->client, w); /* the write has ended; before the service is told */
    return tell_end(f, CMP_WRITE_END, w, 1, after) == CM_WANT_VALIDATOR ? CM_WANT_VALIDATOR : 0;
}

int cmc_sync_begin(cmc_file *f, cmc_bracket *s)
{
    if (!f || !s)
        return refuse(s);
    begin(f, CMP_SYNC_BEGIN, NULL, 0, s);
    return 0;
}

int cmc_sync_end(cmc_file *f, cmc_bracket *s, int ok, const cm_validator *after)
{
    if (!f || !s)
        return CM_EINVAL;
    if (tell_end(f, CMP_SYNC_END, s, ok, after) != CMC_UNTOLD)
        return 0;
    if (!ok)
        (void)failed_note(f->client->where, &f->id); /* if this program has no time to tell it */
    return CMC_UNTOLD;
}

/* What has changed, and cannot be told: as a write that nobody told of. */
static void note(cmc_client *k, uint64_t hash)
{
    outside_begin(k->outside.at, hash);
    outside_end(k->outside.at, hash);
    outside_file_follow(&k->outside, k->where, hash);
}

int cmc_invalidate(cmc_file *f, uint64_t offset, uint64_t len)
{
    const struct cmp_range m = { .offset = offset, .len = len };
    uint32_t handle;
    struct link *l;
    bool told = false;

    if (!f || !in_file(offset, len))
        return CM_EINVAL;
    l = client_hold(f, &handle);
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
    struct link *l = f ? client_hold(f, &handle) : NULL;
    int e;

    if (!f)
        return CM_EINVAL;
    e = f->identify(f->arg, &v);
    if (!l && e >= 0) {
        atomic_store(&f->reopen_at, 0); /* it may be that it could not be identified before */
        l = client_hold(f, &handle);
        if (l)
            link_drop(l);
        return 0;
    }
    if (!l)
        return e;
    if (e >= 0) {
        m.validator = validator(&v);
        (void)ask(l, CMP_REVALIDATE, handle, &m, sizeof(m), NULL, 0);
    }
    link_drop(l);
    return e < 0 ? e : 0;
}

int cmc_forget(cmc_client *k, const cm_file_id *id, int gone)
{
    int kept;

    return cmc_forget_kept(k, id, gone, &kept);
}

int cmc_forget_kept(cmc_client *k, const cm_file_id *id, int gone, int *kept)
{
    struct cmp_forget m = { .gone = gone != 0 };
    int64_t pins = -1;
    struct link *l;

    if (!k || !id || (id->hi | id->lo) == 0 || !kept)
        return CM_EINVAL;
    m.id_hi = id->hi;
    m.id_lo = id->lo;
    l = hold_link(k);
    if (l) {
        pins = ask(l, CMP_FORGET, 0, &m, sizeof(m), NULL, 0);
        link_drop(l);
    }
    if (pins < 0)
        note(k, outside_hash(id));
    *kept = pins > 0;
    return pins < 0 ? CMC_UNTOLD : 0;
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
