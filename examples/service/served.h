/* SPDX-License-Identifier: BSD-2-Clause
 *
 * served.h - the files that clients have open, and the writes that the service does not see.
 */
#ifndef CACHEMAX_SERVED_H
#define CACHEMAX_SERVED_H

#include "cachemax_protocol.h"
#include "os.h"
#include "outside.h"

#define SERVED_CHAINS 1024u

/* A file that at least one session has open. */
struct served {
    struct served *next;
    cm_file_id id;
    uint64_t hash;
    unsigned refs;           /* lock of the service */
    os_mutex lock;           /* a change of the number; opening and closing */
    unsigned opens;          /* lock */
    cm_file *cf;             /* lock; while it is open */
    _Atomic uint64_t number; /* of outside writes that the service knows of */
    /* Changed under the lock. A write of an older life, or of a lost connection, may go on. */
    _Atomic bool watched;
    _Atomic bool behind; /* service_catch_up_all() has to look at it */
};

struct service {
    cm_cache *cache;
    struct outside *outside;
    uint64_t life;            /* another one at each start */
    uint32_t data_max;        /* bytes in one message */
    uint32_t open_max;        /* files of one session */
    uint32_t files_max;       /* of all of them */
    uint64_t ticket_ns;       /* a ticket that is older may be void (session_state.h) */
    uint64_t ticket_least_ns; /* one that is not so old is not, whatever others are */
    uint32_t flags;           /* of cm_file_open() that clients may use; others refuse the file */
    bool has_names;           /* the numbers of processes count in the claims (outside_is_space) */
    uint32_t hello_flags;     /* CMP_RING_WRITES: to forget a block waits for no disk */
    _Atomic bool behind;      /* some files are */
    os_mutex lock;
    struct served *file[SERVED_CHAINS];
    uint32_t handles;         /* lock; that are given out */
    _Atomic uint64_t no_room; /* opens that were refused, because files_max were open */
    /* Of messages after which there may be something to forget, and tickets (session.c). */
    _Atomic uint64_t comings; /* that have begun, or were given */
    _Atomic uint32_t coming;  /* messages that are on their way */
    /* All files were forgotten when so many had begun, and none was on its way. */
    _Atomic uint64_t emptied;
    _Atomic bool ends; /* the service does: what takes long is given up */
};

/* The pool is open, and `outside` is mapped. Files that are claimed now are watched until their
 * writes have ended. */
void service_begin(struct service *s, cm_cache *cache, struct outside *outside, uint64_t life);
void service_end(struct service *s); /* no session is left */

/* A session opens a file, and closes it. `v`: as cm_file_open(). Returns as it does; or CMP_FULL:
 * too many files are open. */
int service_open(struct service *s, const struct cmp_open *m, const cm_validator *v,
                 struct served **f, cm_file **cf);
void service_close(struct service *s, struct served *f, cm_file *cf);
uint32_t service_files(struct service *s); /* how many are open */
/* What a validator was taken for: `e`, which is returned. One that could not be judged, because a
 * bracket is open, may show a change that nobody has told: the file is forgotten. */
int service_judged(cm_file *cf, int e);
/* A sync of a file has failed, and nobody could tell. `arg`: the service. False: not now. */
bool service_sync_failed(void *arg, const cm_file_id *id);
/* The answer was copied when the file had `number`. May it be given? Else it is "pass", and a file
 * that was written outside is forgotten. If that waits for a sync, and the caller may not, it is
 * left to service_catch_up_all(). */
bool service_may_answer(struct service *s, struct served *f, uint64_t number, bool may_wait);
/* Call it every second. */
void service_catch_up_all(struct service *s);
/* A write of a lost connection may go on, and its claim is there: no answers until it is free. */
void service_watch(struct served *f);
/* Before a validator is judged, which may show a write outside that is not known yet: a file with a
 * sole writer keeps its blocks under a new validator, for later lives, too. */
void service_catch_up(struct service *s, struct served *f);

#endif
