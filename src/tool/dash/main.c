/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - cachemax-dash: serves what pools do, to browsers and to Prometheus.
 *
 * Owns the one loop: it answers requests until the next look at the pools is due. So there is one
 * thread, nothing needs a lock, and a client that asks often makes no more looks. The files are
 * looked at only while a page is open, because that reads many pages of the pool.
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

static int serve(struct dash *d, int fd)
{
    const uint64_t every = (uint64_t)(DASH_SECONDS * 1e9);
    struct MHD_Daemon *server = dash_server_begin(d, fd);
    uint64_t next = cm_now() + every;
    bool well = server != NULL;

    if (!server)
        tool_message(NULL, "the web server cannot begin: out of memory or of descriptors");
    while (well && !os_interrupted()) {
        const uint64_t now = cm_now();

        if (now >= next) {
            look(d);
            next = next + every > now ? next + every : now + every;
        }
        well = dash_server_run(server, (double)(next - now) / 1e9);
    }
    if (server)
        dash_server_end(server);
    if (os_interrupted())
        os_end_interrupted();
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
    char where[OS_WHERE];
    bool only_here;
    int fd, error, rc = take_pools(&d, args);

    if (rc == TOOL_OK && (error = os_listen(address, &fd, where, &only_here)) != 0) {
        if (error == OS_BAD_ADDRESS)
            tool_message(NULL, "--listen '%s' is no numeric address and port, such as %s", address,
                         DASH_DEFAULT);
        else
            tool_message(NULL, "cannot listen on %s: %s", address, os_error_text(error));
        rc = error == OS_BAD_ADDRESS ? TOOL_USAGE : TOOL_FAILED;
    }
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
        rc = serve(&d, fd);
    }
    free(d.pool);
    return rc;
}

int main(int argc, char **argv)
{
    struct tool_args args;
    bool help;
    int rc;

    os_start(&argc, &argv);
    rc = tool_read_args(&tool_dash, argc - 1, argv + 1, &args, &help);
    if (rc != TOOL_OK)
        return rc;
    if (help) {
        (void)puts("cachemax-dash is run by 'cachemax dash'; see 'cachemax dash --help'.");
        return tool_end_output(TOOL_OK);
    }
    return dash_run(&args);
}
