/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - cachemax-service: owns a pool and serves clients until it is told to end.
 *
 * It stays in the foreground and writes its log to the standard error, as service managers want it.
 * SIGTERM and SIGINT end it with a clean pool.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "outside_file.h"
#include "server.h"

#define CHECKPOINT_S 5
/* Exit statuses. */
#define BAD_USAGE 2  /* command line, configuration */
#define NO_SERVICE 1 /* the pool or the socket cannot be used */

static bool with_weights; /* the journal reads "<4>" at the begin of a line as its weight */

static void log_line(enum log_weight w, const char *text)
{
    if (with_weights)
        fprintf(stderr, "<%d>%s\n", (int)w, text);
    else
        fprintf(stderr, "cachemax-service: %s\n", text);
}

static void log_of_library(void *arg, int level, const char *text)
{
    (void)arg;
    log_line(level <= CM_LOG_ERROR     ? LOG_TROUBLE
             : level == CM_LOG_WARNING ? LOG_WARN
                                       : LOG_NOTE,
             text);
}

static bool has_ended(uint32_t process)
{
    return kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

/* Does what is to be done every few seconds until a signal to end comes: checkpoints, and claims of
 * processes that have ended. */
static void keep(struct server *s, const sigset_t *ends)
{
    const struct timespec wait = { .tv_sec = 1 };
    bool checkpoints = true;
    uint64_t seen = 0;

    for (unsigned second = 1;; second++) {
        cm_stats_data now = { .struct_size = sizeof(now) };
        const int sig = sigtimedwait(ends, NULL, &wait);

        if (sig > 0) {
            server_log(s, LOG_NOTE, "ends: %s", strsignal(sig));
            return;
        }
        service_sweep(&s->service, has_ended);
        if (!checkpoints || second % CHECKPOINT_S != 0 || cm_stats(s->service.cache, &now) < 0 ||
            now.pool_bytes + now.brackets == seen)
            continue;
        seen = now.pool_bytes + now.brackets;
        checkpoints = cm_checkpoint(s->service.cache) != CM_ENOTSUP;
    }
}

/* The pool is open. */
static int serve(const struct config *c, cm_cache *cache, const sigset_t *ends)
{
    struct server s = { .clients_max = c->clients, .log = log_line };
    struct outside_file outside;
    struct timespec now;
    char why[256] = "no memory";
    void *transport;
    int status = NO_SERVICE;

    if (outside_file_open(&outside, c->socket, true, why) != 0) {
        log_line(LOG_TROUBLE, why);
        return NO_SERVICE;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    if (service_begin(&s.service, cache, outside.at,
                      (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) == 0) {
        s.service.files_max = c->files;
        if (server_begin(&s) == 0) {
            if (transport_socket.start(&s, c->socket, &transport, why) == 0) {
                server_log(&s, LOG_NOTE, "serves %s at %s", c->pool, c->socket);
                keep(&s, ends);
                transport_socket.stop(transport);
                status = 0;
            }
            server_end(&s);
        }
        service_end(&s.service);
    }
    if (status != 0)
        log_line(LOG_TROUBLE, why);
    outside_file_close(&outside);
    return status;
}

static int open_and_serve(const struct config *c)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *cache = NULL;
    sigset_t ends;
    char text[1400];
    int e, status;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* all threads; keep() waits for them */
    o.log = log_of_library;
    e = cm_open(c->pool, &o, &cache);
    if (e < 0) {
        snprintf(text, sizeof(text), "%s: %s%s", c->pool, cm_strerror(e),
                 e == CM_ENOENT ? "; make it with \"cachemax create\"" : "");
        log_line(LOG_TROUBLE, text);
        return NO_SERVICE;
    }
    status = serve(c, cache, &ends);
    e = cm_close(cache);
    if (e < 0) {
        snprintf(text, sizeof(text), "%s: at the end: %s", c->pool, cm_strerror(e));
        log_line(LOG_TROUBLE, text);
    }
    return e < 0 ? NO_SERVICE : status;
}

int main(int argc, char **argv)
{
    const bool check = argc == 3 && strcmp(argv[1], "check-config") == 0;
    struct config c;
    char why[512];

    if ((argc != 2 || argv[1][0] == '-') && !check) {
        fprintf(stderr, "usage: cachemax-service FILE | check-config FILE\n"
                        "Serves the pool that the configuration FILE names; docs/service.md.\n");
        return BAD_USAGE;
    }
    with_weights = getenv("JOURNAL_STREAM") != NULL;
    if (!config_read(&c, argv[argc - 1], why)) {
        log_line(LOG_TROUBLE, why);
        return BAD_USAGE;
    }
    if (check) {
        printf("%s: in order\n", argv[2]);
        return 0;
    }
    return open_and_serve(&c);
}
