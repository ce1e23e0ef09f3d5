/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session_state.c - what a client of the service holds.
 *
 * Owns: the tables of handles, tickets and tokens. A request uses its handle, and a handle that is
 * closed meanwhile goes when its last request is done. A token that a request has taken is nobody
 * else's until it is given back.
 *
 * Who: session.c, server.c, stream.c.
 */
#include "session_state.h"

#include <stdlib.h>

struct session *session_begin(struct service *service, uint32_t client, uint32_t data_max)
{
    struct session *s = calloc(1, sizeof(*s));

    if (s && (s->chunk = calloc(service->open_max / CHUNK + 1, sizeof(struct handle *))) == NULL) {
        free(s);
        return NULL;
    }
    if (s) {
        os_mutex_begin(&s->lock);
        s->service = service;
        s->client = client;
        s->data_max = data_max < service->data_max ? data_max : service->data_max;
    }
    return s;
}

void session_has_ring(struct session *s, uint64_t bytes, uint64_t name, uint64_t bell_name)
{
    s->ring = bytes;
    s->ring_name = name;
    s->bell_name = bell_name;
}

/* ---- Files ----------------------------------------------------------------------------------- */

/* Lock held. Of those that there are. */
static struct handle *handle_at(struct session *s, uint32_t place)
{
    return &s->chunk[place / CHUNK][place % CHUNK];
}

/* Lock held. NULL: it is not open. */
static struct handle *handle_of(struct session *s, uint32_t file)
{
    struct handle *h = file > 0 && file <= s->room ? handle_at(s, file - 1) : NULL;

    return h && h->served && !h->closed ? h : NULL;
}

struct handle *state_use(struct session *s, uint32_t file)
{
    struct handle *h;

    os_lock(&s->lock);
    h = handle_of(s, file);
    if (h)
        h->uses++;
    os_unlock(&s->lock);
    return h;
}

/* Ends a bracket of which nobody knows whether it wrote. The writes of a process that lives on may
 * come later: then the file is watched until it frees its claim. */
static void lose_token(const struct handle *h, const struct token *t, bool gone)
{
    if (t->sync)
        return;
    if (!gone)
        service_watch(h->served);
    (void)cm_invalidate(h->cf, 0, CM_ALL);
    (void)cm_write_end(h->cf, &t->bracket, NULL);
}

/* Takes a token of a file that is closed out of the table. False: there is none. */
static bool take_lost_token(struct session *s, uint32_t file, struct token *t)
{
    bool found = false;

    os_lock(&s->lock);
    for (unsigned i = 0; i < BRACKETS && !found; i++)
        if (s->token[i].number != 0 && s->token[i].file == file) {
            *t = s->token[i];
            s->token[i].number = 0;
            found = true;
        }
    os_unlock(&s->lock);
    return found;
}

/* The last request of a closed file is done: nobody uses the handle any more. */
static void free_file(struct session *s, struct handle *h, bool gone)
{
    const uint32_t file = h->file;
    struct token t;

    while (take_lost_token(s, file, &t))
        lose_token(h, &t, gone);
    service_close(s->service, h->served, h->cf);
    os_lock(&s->lock);
    for (unsigned i = 0; s->ticket && i < TICKETS; i++)
        if (s->ticket[i].file == file)
            s->ticket[i].number = 0;
    s->full_until = 0;
    *h = (struct handle){ .served = NULL };
    s->used = file - 1 < s->used ? file - 1 : s->used;
    os_unlock(&s->lock);
}

void state_leave(struct session *s, struct handle *h)
{
    bool last;

    os_lock(&s->lock);
    last = --h->uses == 0;
    os_unlock(&s->lock);
    if (last)
        free_file(s, h, true);
}

/* Lock held. Most clients have few files open, and some do nothing but connect. */
static void grow(struct session *s)
{
    const uint32_t left = s->service->open_max - s->room;

    if (left == 0 || !(s->chunk[s->room / CHUNK] = calloc(CHUNK, sizeof(struct handle))))
        return;
    s->room += left < CHUNK ? left : CHUNK;
}

uint32_t state_add(struct session *s, const struct handle *h)
{
    uint32_t file = 0;

    os_lock(&s->lock);
    while (s->used < s->room && handle_at(s, s->used)->served)
        s->used++;
    if (s->used == s->room)
        grow(s);
    if (s->used < s->room) {
        file = s->used + 1;
        *handle_at(s, s->used) = *h;
        handle_at(s, s->used++)->file = file;
    }
    os_unlock(&s->lock);
    return file;
}

void state_close(struct session *s, struct handle *h)
{
    os_lock(&s->lock);
    if (!h->closed)
        h->uses--; /* the caller still has its own */
    h->closed = true;
    os_unlock(&s->lock);
}

/* ---- Tickets --------------------------------------------------------------------------------- */

/* Lock held. An older ticket may be void. Some are never filled, and more of them come each second
 * where the origin is fast. So it depends on how long this client's fills take. */
static uint64_t most_age(const struct session *s)
{
    const struct service *const v = s->service;
    const uint64_t fits = FILLS_LATE * s->fill_ns;

    return s->fill_ns == 0 || fits > v->ticket_ns ? v->ticket_ns
           : fits < v->ticket_least_ns            ? v->ticket_least_ns
                                                  : fits;
}

/* Lock held. A miss was filled after `ns`. The longest one counts, and less from fill to fill. */
static void learn_fill(struct session *s, uint64_t ns)
{
    const uint64_t less = s->fill_ns - s->fill_ns / 64;

    s->fill_ns = ns > less ? ns : less > 0 ? less : 1;
}

/* Lock held. A place for the ticket with the next number, which is s->last then; NULL: all are in
 * use. What is there counts for long, because the newest ones would void those that are about to be
 * filled; but not for ever. */
static struct ticket *next_place(struct session *s, uint64_t now)
{
    const uint64_t most = most_age(s);
    uint64_t oldest = now;

    if (now < s->full_until || (!s->ticket && !(s->ticket = calloc(TICKETS, sizeof(*s->ticket)))))
        return NULL;
    for (unsigned i = 0; i < TICKETS; i++) {
        struct ticket *const t = &s->ticket[++s->last % TICKETS];

        if (t->number == 0 || now >= t->since + most)
            return t;
        oldest = t->since < oldest ? t->since : oldest;
    }
    s->full_until = oldest + most;
    return NULL;
}

uint64_t state_give_ticket(struct session *s, uint32_t file, const cm_miss *miss)
{
    const uint64_t now = os_now_ns();
    uint64_t number = 0;
    struct ticket *t;

    os_lock(&s->lock);
    t = next_place(s, now);
    if (t) {
        number = s->last;
        *t = (struct ticket){ .number = number, .since = now, .file = file, .miss = *miss };
    }
    os_unlock(&s->lock);
    return number;
}

bool state_take_ticket(struct session *s, uint64_t number, uint32_t file, cm_miss *miss,
                       const char **why)
{
    bool is_there = false;
    struct ticket *t;

    os_lock(&s->lock);
    t = s->ticket ? &s->ticket[number % TICKETS] : NULL;
    if (number == 0 || number > s->last) {
        *why = "a fill has a ticket that it never got";
    } else if (t && t->number == number && t->file != file) {
        *why = "a fill has the ticket of another file";
    } else if (t && t->number == number) {
        is_there = true;
        *miss = t->miss;
        t->number = 0;
        s->full_until = 0;
        learn_fill(s, os_now_ns() - t->since);
    }
    os_unlock(&s->lock);
    return is_there;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

struct token *state_new_token(struct session *s)
{
    struct token *t = NULL;

    os_lock(&s->lock);
    for (unsigned i = 0; i < BRACKETS && !t; i++)
        if (s->token[i].number == 0 && !s->token[i].taken)
            t = &s->token[i];
    if (t)
        t->taken = true;
    os_unlock(&s->lock);
    return t;
}

struct token *state_take_token(struct session *s, uint64_t number, uint32_t file, bool sync)
{
    struct token *found = NULL;

    os_lock(&s->lock);
    for (unsigned i = 0; i < BRACKETS && number != 0 && !found; i++) {
        struct token *t = &s->token[i];

        if (t->number == number && t->file == file && t->sync == sync)
            found = t;
    }
    if (found) {
        found->number = 0;
        found->taken = true;
    }
    os_unlock(&s->lock);
    return found;
}

uint64_t state_give_token(struct session *s, struct token *t, bool begun)
{
    uint64_t number;

    os_lock(&s->lock);
    t->taken = false;
    t->number = number = begun ? ++s->last : 0;
    os_unlock(&s->lock);
    return number;
}

/* ---- The end --------------------------------------------------------------------------------- */

bool session_is_writing(struct session *s)
{
    bool any = false;

    os_lock(&s->lock);
    for (unsigned i = 0; i < BRACKETS; i++)
        any |= s->token[i].number != 0 && !s->token[i].sync;
    os_unlock(&s->lock);
    return any;
}

void session_end(struct session *s, bool gone)
{
    if (gone && s->client != 0) /* 0: all processes that the service cannot see */
        outside_client_ended(s->service->outside, s->client);
    for (uint32_t place = 0; place < s->room; place++)
        if (handle_at(s, place)->served)
            free_file(s, handle_at(s, place), gone);
    os_mutex_end(&s->lock);
    for (uint32_t place = 0; place < s->room; place += CHUNK)
        free(s->chunk[place / CHUNK]);
    free(s->chunk);
    free(s->ticket);
    free(s);
}
