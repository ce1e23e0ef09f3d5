/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session_state.h - what a client of the service holds: its open files, the tickets of its misses,
 * the tokens of its open brackets and syncs. All of it is bounded.
 *
 * Several threads may handle messages of one client at a time. The lock is held only to look into
 * the tables, never for a call of the library.
 */
#ifndef CACHEMAX_SESSION_STATE_H
#define CACHEMAX_SESSION_STATE_H

#include "session.h"

#define TICKETS 1024u /* misses that wait for their fill: 64 reads of 1 MiB; then no more */
#define BRACKETS 256u /* that may be open at a time, with the syncs */
#define FILLS_LATE 8u /* times as long as others: such a ticket is not filled any more */
#define CHUNK 256u    /* handles that the table grows by */

struct handle {
    struct served *served; /* NULL: free */
    uint32_t file;         /* its number */
    cm_file *cf;
    uint32_t uses; /* requests that are handled now, and 1 until it is closed */
    bool closed;
};
struct ticket {
    uint64_t number; /* 0: none */
    uint64_t since;
    uint32_t file;
    cm_miss miss;
};
struct token {
    uint64_t number; /* 0: none */
    bool taken;      /* a request begins or ends it */
    uint32_t file;
    bool sync;
    cm_bracket bracket;
    cm_sync begun;
};

struct session {
    struct service *service;
    uint32_t client;
    uint32_t data_max;                   /* bytes in one message */
    uint64_t ring, ring_name, bell_name; /* bytes and names; 0: none */
    os_mutex lock;                       /* all that follows */
    bool greeted;
    uint64_t last;         /* number that was given out */
    struct handle **chunk; /* CHUNK of them each, which do not move; the rest is NULL */
    uint32_t room;         /* handles that there are */
    uint32_t used;         /* all handles below this place are in use */
    struct ticket *ticket; /* TICKETS of them; NULL: there was none yet */
    uint64_t full_until;   /* until then all of them are in use, unless one is taken */
    uint64_t fill_ns;      /* from a miss to its fill: the longest lately; 0: nothing was filled */
    struct token token[BRACKETS];
};

/* Keeps a handle for a file, which has 1 use. 0: all are in use. */
uint32_t state_add(struct session *s, const struct handle *h);
/* The handle, with one use more; NULL: the file is not open. */
struct handle *state_use(struct session *s, uint32_t file);
/* A request is done. The handle of a closed file goes with the last one. */
void state_leave(struct session *s, struct handle *h);
/* The caller uses the handle, and no request after it will. */
void state_close(struct session *s, struct handle *h);

/* Keeps a miss. Returns its ticket; 0: there are too many, and nobody may fill it. One that has
 * waited for much longer than others is void then: its client never fills it. */
uint64_t state_give_ticket(struct session *s, uint32_t file, const cm_miss *miss);
/* Takes what a ticket stands for. False: it is void, or, if *why is set, the connection has to end.
 */
bool state_take_ticket(struct session *s, uint64_t number, uint32_t file, cm_miss *miss,
                       const char **why);

/* A token for what is about to begin; NULL: all are in use. */
struct token *state_new_token(struct session *s);
/* The token of an open bracket or sync, to end it; NULL: there is none. */
struct token *state_take_token(struct session *s, uint64_t number, uint32_t file, bool sync);
/* Gives a token back. `begun`: it is that of an open bracket or sync now. Returns its number. */
uint64_t state_give_token(struct session *s, struct token *t, bool begun);

#endif
