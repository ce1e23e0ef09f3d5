/* SPDX-License-Identifier: BSD-2-Clause
 *
 * watch.h - tells the log when the state of the pool changes.
 */
#ifndef CACHEMAX_WATCH_H
#define CACHEMAX_WATCH_H

#include "server.h"

struct watch {
    uint32_t mode;                         /* enum cm_mode, as the log knows it */
    uint64_t quarantined, media, checksum; /* counters, as the log knows them */
    uint64_t no_room;                      /* the same */
    uint64_t full_told_ns;                 /* when it was told last; 0: never */
};

/* The pool was opened. */
void watch_begin(struct watch *w, struct server *s);
/* Once a second. */
void watch_look(struct watch *w, struct server *s);

#endif
