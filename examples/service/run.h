/* SPDX-License-Identifier: BSD-2-Clause
 *
 * run.h - the life of the service: from an open pool to a closed one.
 */
#ifndef CACHEMAX_RUN_H
#define CACHEMAX_RUN_H

#include "config.h"
#include "server.h"

struct run {
    const struct config *config;
    void (*log)(enum log_weight w, const char *text); /* from any thread */
    /* Serves clients from now on. */
    void (*ready)(void);
    /* Waits for a second. Not NULL: the service has to end, and why. */
    const char *(*wait_second)(void);
    /* Has a process ended? False: not known. */
    bool (*has_ended)(uint32_t process);
    /* Gets room for so many clients, and gives up what is not needed any more. There are no threads
     * yet. NULL: nothing to do. */
    void (*prepare)(uint32_t clients);
    /* Why the driver will pass a path by, or NULL: driver_passes_by(). NULL: no system with one.
     */
    const char *(*passes_by)(const char *path, const char *pool);
    /* Is a path cached, as the driver compares? driver_judge(). NULL: no system with one. */
    enum folders_verdict (*judge)(const struct folders *f, const char *path, const char **by);
};

/* Exit statuses. */
#define RUN_NO_SERVICE 1 /* the pool or the place for clients cannot be used */
#define RUN_BAD_USAGE 2  /* command line, configuration */

#define RUN_WHY_ROOM 1400
/* For cm_options.log while a pool is opened, with `line`, char[RUN_WHY_ROOM], as its log_ctx: keeps
 * the last line that tells of an error. */
void run_keep_line(void *line, int level, const char *text);
/* Why a pool cannot be opened, with what to do. `e`: the error of cm_open(); `line`: what the
 * library has said, which begins with the name of the pool; "": nothing. */
void run_say_why_not(char why[RUN_WHY_ROOM], const char *pool, int e, const char *line);

/* Is there a pool, which another process may have open? False: `why` says what is wrong. */
bool run_pool_is_there(const struct config *c, char why[RUN_WHY_ROOM]);

/* What can be known of the key and the pool before they are used. False: the key cannot be read, or
 * does not fit a pool that is there and that nobody has open; it was said what is wrong. Of a pool
 * that cannot be opened for another reason, it is said why: it may be in order later. */
bool run_pool_fits(const struct config *c, void (*log)(enum log_weight w, const char *text));

/* Serves until it has to end. Returns the exit status. */
int run(const struct run *r);

#endif
