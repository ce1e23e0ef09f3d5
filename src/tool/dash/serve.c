/* SPDX-License-Identifier: BSD-2-Clause
 *
 * serve.c - serves what pools do, to browsers and to Prometheus.
 *
 * Owns the one loop: it answers requests until the next look at the pools is due. So there is one
 * thread, nothing needs a lock, and a client that asks often makes no more looks. The files are
 * looked at only while a page is open, because that reads many pages of the pool.
 *
 * Who: main.c, cmd_dash.c on Windows.
 */
#include "tool/dash/dash.h"
#include "tool/os.h"

#include <stdlib.h>
#include <string.h>

#define FILES_EVERY_NS UINT64_C(10000000000)
#define VIEWED_NS UINT64_C(30000000000) /* a page asks every other second */

static void look(struct dash *d)
{
    const uint64_t now = cm_now();

    for (size_t i = 0; i < d->n; i++) {
        struct dash_pool *p = &d->pool[i];

        p->error = seen_history_add(&p->history, p->path);
        if (p->error != 0) {
            memset(&p->files, 0, sizeof(p->files));
            p->files_at = 0;
        } else if (d->viewed_at != 0 && now - d->viewed_at < VIEWED_NS &&
                   (p->files_at == 0 || now - p->files_at >= FILES_EVERY_NS)) {
            p->files_error = seen_files_look(p->path, &p->files);
            p->files_at = now;
        }
    }
}

static int serve(struct dash *d, struct web *web)
{
    const uint64_t every = (uint64_t)(DASH_SECONDS * 1e9);
    uint64_t next = cm_now() + every;
    bool well = true;

    while (well && !os_interrupted()) {
        const uint64_t now = cm_now();

        if (now >= next) {
            look(d);
            next = next + every > now ? next + every : now + every;
        }
        well = web_run(web, (double)(next - now) / 1e9);
    }
    web_end(web);
    if (os_interrupted())
        os_end_interrupted();
    tool_message(NULL, "the web server has failed");
    return TOOL_FAILED;
}

static int take_pools(struct dash *d, const struct tool_args *args)
{
    d->n = 1;
    while (d->n < DASH_POOLS && args->more[d->n - 1])
        d->n++;
    d->pool = calloc(d->n, sizeof(*d->pool));
    if (!d->pool) {
        tool_message(NULL, "out of memory");
        return TOOL_FAILED;
    }
    for (size_t i = 0; i < d->n; i++) {
        d->pool[i].path = i == 0 ? args->operand : args->more[i - 1];
        for (size_t k = 0; k < i; k++)
            if (!strcmp(d->pool[k].path, d->pool[i].path)) {
                tool_message(d->pool[i].path, "is named twice");
                return TOOL_USAGE;
            }
    }
    return TOOL_OK;
}

int dash_run(const struct tool_args *args)
{
    const char *address = args->value[DASH_LISTEN] ? args->value[DASH_LISTEN] : DASH_DEFAULT;
    struct dash d = { .hosts = args->value[DASH_HOST] ? args->value[DASH_HOST] : "" };
    char where[WEB_WHERE];
    struct web *web = NULL;
    bool only_here;
    int rc = take_pools(&d, args);

    if (rc == TOOL_OK)
        rc = web_begin(address, d.hosts, dash_answer, &d, &web, where, &only_here);
    if (rc == TOOL_OK) {
        os_catch_interrupts();
        os_ignore_broken_pipe();
        look(&d);
        for (size_t i = 0; i < d.n; i++)
            if (d.pool[i].error)
                (void)tool_pool_error(d.pool[i].path, d.pool[i].error, TOOL_OPENING);
        if (!only_here)
            tool_message(NULL, "whoever reaches %s sees what is shown, names of files, too", where);
        (void)printf("listening on http://%s/\n", where);
        (void)fflush(stdout);
        rc = serve(&d, web);
    }
    free(d.pool);
    return rc;
}
