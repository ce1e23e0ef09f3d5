/* SPDX-License-Identifier: BSD-2-Clause
 *
 * watch.c - tells the log when the state of the pool changes.
 *
 * Owns: nothing but what it told last. It asks the library once a second, which also makes the
 * library look whether the pool file was truncated.
 *
 * Who: run.c.
 */
#include "watch.h"

#define FULL_NS UINT64_C(60000000000)

static const char *mode_text(uint32_t mode)
{
    switch (mode) {
    case CM_NORMAL:
        return "the pool serves and stores again";
    case CM_FREEZE:
        return "the pool stores nothing any more";
    default:
        return "safe mode: everything passes, and nothing comes from the pool any more; the lines "
               "before this one say why";
    }
}

/* A counter of damage has grown. */
static void tell_more(struct server *s, uint64_t *known, uint64_t now, const char *what)
{
    if (now > *known)
        server_log(s, LOG_WARN, "%llu %s", (unsigned long long)(now - *known), what);
    *known = now;
}

/* Clients come again with a file that was refused: a mount does so at once, with room for it. */
static void tell_full(struct watch *w, struct server *s)
{
    const uint64_t refused = atomic_load(&s->service.no_room), now = os_now_ns();

    if (refused == w->no_room || (w->full_told_ns && now - w->full_told_ns < FULL_NS))
        return;
    server_log(s, LOG_WARN,
               "%llu times a file was refused, perhaps only at first, because clients had %u files "
               "open: a mount lets go of what it does not use, and its log tells if that does not "
               "help; if this comes often, raise \"files\"",
               (unsigned long long)(refused - w->no_room), s->service.files_max);
    w->no_room = refused;
    w->full_told_ns = now;
}

void watch_begin(struct watch *w, struct server *s)
{
    cm_info info = CM_INFO_INIT;

    *w = (struct watch){ .mode = CM_NORMAL };
    if (cm_get_info(s->service.cache, &info) == 0 && info.emptied)
        server_log(s, LOG_WARN, "the pool was emptied after a crash of the system");
}

void watch_look(struct watch *w, struct server *s)
{
    cm_stats_data now = CM_STATS_INIT;
    cm_info info = CM_INFO_INIT;

    tell_full(w, s);
    if (cm_get_info(s->service.cache, &info) < 0 || cm_stats(s->service.cache, &now) < 0)
        return;
    if (info.mode != w->mode)
        server_log(s, info.mode == CM_NORMAL ? LOG_NOTE : LOG_TROUBLE, "%s", mode_text(info.mode));
    w->mode = info.mode;
    tell_more(s, &w->quarantined, now.quarantined,
              "slots of the pool were taken out of use: their memory is damaged");
    tell_more(s, &w->media, now.miss_media, "reads met pool memory that cannot be read");
    tell_more(s, &w->checksum, now.miss_checksum,
              "blocks were dropped: they were not what had been stored");
}
