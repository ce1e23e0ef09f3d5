/* SPDX-License-Identifier: BSD-2-Clause
 *
 * run.c - the life of the service: from an open pool to a closed one.
 *
 * Owns: pool, table of outside writes, server and transport, in this order; and what is to be done
 * every few seconds.
 *
 * Who: command.c, service_run_win32.c; service_install_win32.c, which looks for the pool.
 */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "../missing/pool_missing.h"
#include "failed.h"
#include "key.h"
#include "os.h"
#include "outside_file.h"
#include "pool_use.h"
#include "recover.h"
#include "stream.h"
#include "watch.h"

#define CHECKPOINT_S 5

/* Who gets the lines of the library. */
struct log_state {
    const struct run *r;
    bool opens; /* the pool is being opened: one line tells of a failure, with what to do */
    char error[RUN_WHY_ROOM]; /* the last one meanwhile */
};

static void log_of_library(void *arg, int level, const char *text)
{
    struct log_state *l = arg;

    if (pool_use_is_hint(level, text))
        return;
    if (l->opens && level <= CM_LOG_ERROR) {
        snprintf(l->error, sizeof(l->error), "%s", text);
        return;
    }
    l->r->log(level <= CM_LOG_ERROR     ? LOG_TROUBLE
              : level == CM_LOG_WARNING ? LOG_WARN
                                        : LOG_NOTE,
              text);
}

/* As pool_use_changes(); 0: the pool does not tell. */
static uint64_t changes(cm_cache *cache)
{
    cm_info i = { .struct_size = sizeof(i) };
    uint64_t n;

    if (cm_get_info(cache, &i) < 0 || !pool_use_changes(cache, pool_use_syncs(i.durability), &n))
        return 0;
    return n;
}

/* Does what is to be done every few seconds until the service has to end: checkpoints, and claims
 * of processes that have ended. */
static void keep(const struct run *r, struct server *s)
{
    const char *end;
    uint64_t now, seen = 0;
    /* Checkpoints to come. One is for what others have left in the pool. What waits in DRAM is
     * stored by the second one. */
    unsigned rounds = 1;
    struct watch w;

    watch_begin(&w, s);
    for (unsigned second = 1; (end = r->wait_second()) == NULL; second++) {
        if (s->service.has_names)
            outside_sweep(s->service.outside, r->has_ended);
        failed_take(r->config->socket, service_sync_failed, &s->service);
        service_catch_up_all(&s->service);
        watch_look(&w, s);
        if (second % CHECKPOINT_S != 0)
            continue;
        now = changes(s->service.cache);
        if (now != seen)
            rounds = 2;
        seen = now;
        if (rounds == 0)
            continue;
        rounds--;
        (void)cm_checkpoint(s->service.cache); /* the library logs what is wrong */
    }
    server_log(s, LOG_NOTE, "ends: %s", end);
}

/* The ways for clients to come, and where the configuration has their places. */
static const struct {
    const struct transport *transport;
    size_t at;
} ways[] = {
    { &transport_local, offsetof(struct config, socket) },
#ifdef _WIN32
    { &transport_port, offsetof(struct config, port) },
#endif
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Lets clients come, by the ways from `i` on, until the service has to end. */
static int serve_ways(const struct run *r, struct server *s, size_t i)
{
    const char *where;
    char why[256];
    void *state;
    int status;

    if (i == WAYS) {
        server_log(s, LOG_NOTE, "serves %s at %s", r->config->pool, r->config->socket);
        r->ready();
        keep(r, s);
        return 0;
    }
    where = (const char *)r->config + ways[i].at;
    if (!*where)
        return serve_ways(r, s, i + 1);
    if (ways[i].transport->start(s, where, &state, why) != 0) {
        r->log(LOG_TROUBLE, why);
        return RUN_NO_SERVICE;
    }
    status = serve_ways(r, s, i + 1);
    atomic_store(&s->service.ends, true);
    ways[i].transport->stop(state);
    return status;
}

/* The pool is open. */
static int serve(const struct run *r, cm_cache *cache)
{
    const struct config *c = r->config;
    struct server s = { .pool = c->pool,
                        .folders = &c->folders,
                        .clients_max = c->clients,
                        .message_ms = SERVER_MESSAGE_MS,
                        .wait_ms = SERVER_WAIT_MS,
                        .lines_ms = SERVER_LINES_MS,
                        .log = r->log };
    struct outside_file outside;
    char why[256];
    int status;

    if (outside_file_open(&outside, c->socket, true, why) != 0) {
        r->log(LOG_TROUBLE, why);
        return RUN_NO_SERVICE;
    }
    service_begin(&s.service, cache, outside.at, os_wall_ns());
    s.service.files_max = c->files;
    failed_take(c->socket, service_sync_failed, &s.service);
    server_begin(&s);
    status = serve_ways(r, &s, 0);
    server_end(&s);
    service_end(&s.service);
    outside_file_close(&outside);
    return status;
}

/* Does the library's line end with the text of the error, so that it does not say what to do? */
static bool is_plain(const char *line, int e)
{
    const char *const text = cm_strerror(e);
    const size_t n = strlen(line), tail = strlen(text);

    return n == 0 || (n >= tail && strcmp(line + n - tail, text) == 0);
}

void run_say_why_not(char why[RUN_WHY_ROOM], const char *pool, int e, const char *line)
{
    const char *const more =
        e == CM_ENOENT ? "; make it with \"cachemax create\""
        : e == CM_EKEY ? "; " KEY_ADVICE
        : e == CM_EACCES && is_plain(line, e)
            ? "; it is for its owner, so run this as that user, or as " OS_WHO_MAY_ALL
            : "";

    const int n = (int)(RUN_WHY_ROOM - 1 - strlen(more)); /* of a long line the end is cut */
    char missing[POOL_MISSING_TEXT];

    if (e == CM_ENOENT && pool_missing(pool, missing) != POOL_NOT_MISSING)
        snprintf(why, RUN_WHY_ROOM, "%s: %.*s", pool, RUN_WHY_ROOM / 2, missing);
    else if (*line)
        snprintf(why, RUN_WHY_ROOM, "%.*s%s", n, line, more);
    else
        snprintf(why, RUN_WHY_ROOM, "%s: %s%s", pool, cm_strerror(e), more);
}

void run_keep_line(void *line, int level, const char *text)
{
    if (level <= CM_LOG_ERROR)
        snprintf(line, RUN_WHY_ROOM, "%s", text);
}

/* Opens the pool to look at it. If that fails, `line` is what the library says about it. */
static int look_at_pool(const struct config *c, char line[RUN_WHY_ROOM])
{
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = CM_INFO_INIT;
    cm_cache *cache = NULL;
    char who[32] = "another process", which[16] = "";
    int e, known;

    line[0] = 0;
    o.flags = CM_OPEN_READONLY;
    o.log = run_keep_line;
    o.log_ctx = line;
    o.seal = key_seal();
    e = cm_open(c->pool, &o, &cache);
    if (cache)
        (void)cm_close(cache);
    if (e != CM_EOWNED)
        return e;
    known = cm_pool_info(c->pool, &info);
    if (known != CM_EVERSION && known != CM_EINCOMPAT)
        return e;
    if (info.owner_pid) /* of another user's process it is not known */
        snprintf(who, sizeof(who), "process %u", (unsigned)info.owner_pid);
    if (known == CM_EVERSION)
        snprintf(which, sizeof(which), " (%u)", (unsigned)info.version);
    snprintf(line, RUN_WHY_ROOM,
             "%s: is open in %s, with a pool %s that this version does not know%s; end that "
             "process, and delete the pool and make it anew",
             c->pool, who, known == CM_EVERSION ? "format" : "feature", which);
    return known;
}

bool run_pool_is_there(const struct config *c, char why[RUN_WHY_ROOM])
{
    char line[RUN_WHY_ROOM];
    int e;

    if (!key_read(c, why))
        return false;
    e = look_at_pool(c, line);
    key_drop();
    if (e < 0 && e != CM_EOWNED) {
        run_say_why_not(why, c->pool, e, line);
        return false;
    }
    return true;
}

bool run_pool_fits(const struct config *c, void (*log)(enum log_weight w, const char *text))
{
    static const char now[] = "the service would not start now: ";
    char said[sizeof(now) + RUN_WHY_ROOM], line[RUN_WHY_ROOM];
    char *const why = strcpy(said, now) + strlen(now);
    const bool fits = key_read(c, why);

    const int e = fits ? look_at_pool(c, line) : 0;
    if (e < 0 && e != CM_EOWNED)
        run_say_why_not(why, c->pool, e, line);
    key_drop();
    if (!fits || e == CM_EKEY)
        log(LOG_TROUBLE, why);
    else if (e < 0 && e != CM_EOWNED) /* it may come later */
        log(LOG_WARN, said);
    return fits && e != CM_EKEY;
}

/* Opens the pool and serves it. */
static int run_pool(const struct run *r)
{
    const char *const pool = r->config->pool;
    struct log_state log = { .r = r, .opens = true };
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *cache = NULL;
    char text[RUN_WHY_ROOM];
    int e, status;

    o.log = log_of_library;
    o.log_ctx = &log;
    o.seal = key_seal();
    e = cm_open(pool, &o, &cache);
    log.opens = false;
    if (e < 0) {
        run_say_why_not(text, pool, e, log.error);
        r->log(LOG_TROUBLE, text);
        return RUN_NO_SERVICE;
    }
    if (*log.error)
        r->log(LOG_TROUBLE, log.error);
    status = serve(r, cache);
    e = cm_close(cache);
    if (e < 0) {
        snprintf(text, sizeof(text), "%s: at the end: %s", pool, cm_strerror(e));
        r->log(LOG_TROUBLE, text);
    }
    return e < 0 ? RUN_NO_SERVICE : status;
}

int run(const struct run *r)
{
    char why[RUN_WHY_ROOM];
    int status;

    recover_folders(r->config, r->log);
    if (!key_read(r->config, why)) {
        r->log(LOG_TROUBLE, why);
        return RUN_BAD_USAGE;
    }
    if (r->prepare)
        r->prepare(r->config->clients);
    status = run_pool(r);
    key_drop();
    return status;
}
