/* SPDX-License-Identifier: BSD-2-Clause
 *
 * remove.c - the command that removes a cached folder.
 *
 * Owns: nothing. If no process has the pool, it opens the pool itself. Else it asks the service to
 * forget, as any client would.
 *
 * Who: command.c.
 */
#include "remove.h"

#include <assert.h>
#include <stdio.h>

#include "cachemax_client.h"
#include "key.h"
#include "os.h"
#include "run.h"
#include "say.h"
#include "walk.h"

struct forgetter {
    cm_cache *cache; /* one of the two */
    cmc_client *client;
    uint64_t files, kept; /* seen; and of these not forgotten */
    int why;              /* the first was not: as cm_forget() or cmc_forget() */
};

static void forget(void *arg, const char *path, intptr_t file)
{
    struct forgetter *f = arg;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_id id;
    int e;

    (void)path;
    e = cm_identify(file, &id, &v);
    if (e >= 0)
        e = f->cache ? cm_forget(f->cache, &id) : cmc_forget(f->client, &id, 0);
    f->files++;
    if (e == 0)
        return;
    f->why = f->kept == 0 ? e : f->why;
    f->kept++;
}

/* What has the pool: we, or a service. False: it was said what is wrong. */
static bool reach_pool(const struct config *c, struct forgetter *f)
{
    const struct cmc_options o = { .where = c->socket, .flags = CMC_NO_RING };
    cm_options pool = CM_OPTIONS_INIT;
    char why[RUN_WHY_ROOM], line[RUN_WHY_ROOM] = "";
    int e;

    static_assert(KEY_WHY_ROOM <= RUN_WHY_ROOM, "key_read() and cmc_connect() write into it");

    if (!key_read(c, why)) {
        say(stderr, "cachemax-service: %s", why);
        return false;
    }
    pool.seal = key_seal();
    pool.log = run_keep_line;
    pool.log_ctx = line;
    e = cm_open(c->pool, &pool, &f->cache);
    if (e == CM_EOWNED) {
        if (cmc_connect(&o, &f->client, why) != 0)
            say(stderr, "cachemax-service: %s", why);
        else if (cmc_is_connected(f->client))
            return true;
        else
            say(stderr,
                "cachemax-service: %s: another process has it open, and no service is at %s",
                c->pool, c->socket);
    } else if (e < 0) {
        run_say_why_not(why, c->pool, e, line);
        say(stderr, "cachemax-service: %s", why);
    }
    return e >= 0;
}

static void say_result(const struct forgetter *f, const char *folder, uint64_t unseen)
{
    const uint64_t files = f->files - f->kept;

    say(stdout, "%s: removed; what was cached of its %llu %s is forgotten", folder,
        (unsigned long long)files, files == 1 ? "file" : "files");
    if (unseen > 0)
        printf("%llu %s could not be opened: what is cached of %s stays in the pool until it is "
               "replaced\n",
               (unsigned long long)unseen, unseen == 1 ? "file or folder" : "files or folders",
               unseen == 1 ? "it" : "them");
    if (f->kept > 0)
        printf("%llu %s could not be forgotten: %s; what is cached of %s stays in the pool until "
               "it is replaced\n",
               (unsigned long long)f->kept, f->kept == 1 ? "file" : "files",
               f->why == CMC_UNTOLD ? "the service is gone" : cm_strerror(f->why),
               f->kept == 1 ? "it" : "them");
    printf("programs that were told of the folder go on until they are started again\n");
}

/* Forgets the files of the folder. False: it was said what is wrong. */
static bool forget_folder(const struct config *c, const char *folder, struct forgetter *f,
                          uint64_t *unseen, bool *closed)
{
    int e = 0;
    const bool reached = reach_pool(c, f);

    if (reached)
        *unseen = walk(folder, forget, f);
    cmc_disconnect(f->client);
    if (f->cache)
        e = cm_close(f->cache);
    if (e < 0)
        say(stderr, "cachemax-service: %s: the pool could not be closed cleanly: %s", c->pool,
            cm_strerror(e));
    *closed = e == 0;
    return reached;
}

int remove_folder(const struct config *c, const char *path, const char *folder)
{
    struct forgetter f = { .cache = NULL };
    uint64_t unseen = 0;
    bool done, closed;
    char why[512];

    if (os_path_fault(folder) || folders_path_fault(folder)) {
        say(stderr, "cachemax-service: %s: %s", folder,
            os_path_fault(folder) ? os_path_fault(folder) : folders_path_fault(folder));
        return RUN_BAD_USAGE;
    }
    if (!config_has_folder(c, folder)) {
        say(stderr, "cachemax-service: %s: it has no line \"folder = %s\"", path, folder);
        return RUN_BAD_USAGE;
    }
    done = forget_folder(c, folder, &f, &unseen, &closed);
    key_drop();
    if (!done)
        return RUN_NO_SERVICE;
    if (!config_remove_folder(path, folder, why)) {
        say(stderr, "cachemax-service: %s", why);
        return RUN_NO_SERVICE;
    }
    say_result(&f, folder, unseen);
    return closed ? 0 : RUN_NO_SERVICE;
}
