/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_dash.c - "cachemax dash": what a pool does, for browsers and for Prometheus.
 *
 * Owns the options. On Windows, which has a web server, the command serves itself. Elsewhere the
 * work is done by a program of its own, cachemax-dash, so that the command does not load a web
 * server's libraries whenever it runs, and works where they are not installed. Both have this file:
 * the command reads the options and becomes the program, which reads them again.
 *
 * Who: main.c, by its table of commands; main.c of dash/, run_dash.c.
 */
#include "tool/dash/dash.h"

static const struct tool_option dash_options[DASH_OPTIONS] = {
    [DASH_LISTEN] = { "listen", 'l', TOOL_NEEDS_ARG, "ADDRESS:PORT",
                      "where to listen (default " DASH_DEFAULT "); port 0: any" },
    [DASH_HOST] = { "host", 0, TOOL_NEEDS_ARG, "NAME[,NAME]...",
                    "names by which clients may call this machine" },
};

const struct tool_command tool_dash = {
    .name = "dash",
    .operand = "POOL",
    .more = "[POOL]...",
    .more_max = DASH_POOLS - 1,
    .summary = "Show what pools do in a browser, and to Prometheus",
    .help =
        "Serves a page at http://" DASH_DEFAULT "/ that draws what 'cachemax top' shows, and:\n"
        "\n"
        "  /metrics     the counters, for Prometheus (OpenMetrics if the client accepts it)\n"
        "  /stats.json  what the page draws\n"
        "  /health      status 200 while all pools can be read, else 503\n"
        "\n"
        "Works on any pool, also while another process has it open; it may be missing at first.\n"
        "There is no password: whoever can reach the address sees the names of files. A client\n"
        "must call the server by an IP address, as localhost, or by a name given with --host;\n"
        "else a page of a stranger could read it through the user's browser (DNS rebinding).\n"
        "SIGTERM and Ctrl-C end it. On Windows only the machine itself is served, at\n"
        "http://localhost:PORT/.\n"
        "\n"
        "Examples:\n"
        "  cachemax dash /pmem/cache.pool\n"
        "  cachemax dash /pmem/a.pool /pmem/b.pool --listen 0.0.0.0:9843 --host cache1.example\n"
        "  curl http://" DASH_DEFAULT "/metrics\n",
    .options = dash_options,
    .noptions = DASH_OPTIONS,
    .run = dash_run,
};
