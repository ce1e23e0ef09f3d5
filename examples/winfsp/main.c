/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - cachemax-winfsp: a folder under its own path, through the cache, with FUSE 3 of WinFsp
 * or Linux.
 *
 *   cachemax-winfsp FOLDER --pool POOL
 *   cachemax-winfsp --recover FOLDER
 *
 * Owns: the order in which the pool is opened, the folder is renamed aside (swap.c) and the mount
 * takes its name; and of the way back. It stays in the foreground until it is unmounted, or gets
 * SIGTERM or Ctrl-C. --recover gives a folder its name back after a crash; a mount of the same
 * folder begins with that, too. README.md says more.
 */
#include "announce.h"
#include "cache.h"
#include "ops.h"
#include "swap.h"
#include "swap_os.h"
#ifdef _WIN32
#include "start_win32.h"
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAD_USAGE 2
#ifdef _WIN32
#define NEEDS "look whether WinFsp is installed, and whether the folder is on a local NTFS volume"
#else
#define NEEDS "look whether there is /dev/fuse, and whether you may use it"
#endif

static bool everyone; /* --everyone */

static int usage(void)
{
    fprintf(stderr,
            "usage: cachemax-winfsp FOLDER --pool POOL [--everyone]\n"
            "       cachemax-winfsp --recover FOLDER\n"
            "The first serves FOLDER under its own name through POOL, until Ctrl-C. The\n"
            "second gives FOLDER its name back after a crash. Only the account that starts\n"
            "it may use FOLDER then; --everyone: all users, with the rights of that\n"
            "account. More: README.md\n");
    return BAD_USAGE;
}

static struct fuse *make_fuse(void)
{
    char *argv[] = { (char *)"cachemax-winfsp", (char *)ops_options(everyone) };
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    struct fuse *f = fuse_new(&args, &ops, sizeof(ops), NULL);

    fuse_opt_free_args(&args);
    return f;
}

static void say_mounted(void)
{
    fprintf(stderr, "cachemax-winfsp: is mounted\n");
}

/* The folder is aside: serves it under its name until the end. Returns the exit status. */
static int serve(const struct swap *s)
{
    struct fuse *f = make_fuse();
    int e;

    if (!f) {
        fprintf(stderr, "cachemax-winfsp: %s: FUSE does not begin; " NEEDS "\n", s->folder);
        return SWAP_FAILED;
    }
    e = fuse_mount(f, s->folder);
    if (e == 0) {
        (void)fuse_set_signal_handlers(fuse_get_session(f));
        swap_os_hold(false);
        announce_begin(s->folder, say_mounted);
        e = fuse_loop_mt(f, 0);
        announce_end();
        swap_os_hold(true);
        fuse_remove_signal_handlers(fuse_get_session(f));
        fuse_unmount(f);
        e = e < 0; /* a signal is no failure */
        if (e)     /* WinFsp mounts in the loop */
            fprintf(stderr, "cachemax-winfsp: %s: FUSE has failed; " NEEDS "\n", s->folder);
    } else
        fprintf(stderr, "cachemax-winfsp: %s: cannot be mounted; " NEEDS "\n", s->folder);
    fuse_destroy(f);
    return e == 0 ? SWAP_OK : SWAP_FAILED;
}

static int serve_aside(const struct swap *s)
{
    int e = origin_begin(s->aside, everyone);
    size_t n;

    if (e < 0) {
        fprintf(stderr, "cachemax-winfsp: %s: %s\n", s->aside, strerror(-e));
        return SWAP_FAILED;
    }
    e = serve(s);
    n = ops_end();
    if (n > 0)
        fprintf(stderr,
                "cachemax-winfsp: %s: files that were open at the end: %zu. What programs had not "
                "written yet is lost\n",
                s->folder, n);
    origin_end();
    return e;
}

static int run(const char *folder, const char *pool)
{
    static struct swap s;
    int status, back;

    if (swap_is_below(folder, pool)) {
        fprintf(stderr, "cachemax-winfsp: %s: the pool may not lie in the folder\n", pool);
        return SWAP_FAILED;
    }
    if (cache_begin(pool) < 0)
        return SWAP_FAILED;
    swap_os_hold(true); /* but for the time in which FUSE takes signals */
    status = (int)swap_begin(&s, folder);
    if (status == SWAP_OK) {
        status = serve_aside(&s);
        back = (int)swap_end(&s);
        status = status == SWAP_OK ? back : status;
    }
    if (cache_end() < 0 && status == SWAP_OK)
        status = SWAP_FAILED;
    return status;
}

int main(int argc, char **argv)
{
    const char *folder = NULL, *pool = NULL;
    bool recovers = false;

#ifdef _WIN32 /* in UTF-8 */
    const int wrong = start_arguments("cachemax-winfsp", &argc, &argv);
    if (wrong)
        return wrong;
    start_console();
#endif
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--recover"))
            recovers = true;
        else if (!strcmp(argv[i], "--everyone"))
            everyone = true;
        else if (!strcmp(argv[i], "--pool") && i + 1 < argc && !pool)
            pool = argv[++i];
        else if (argv[i][0] != '-' && !folder)
            folder = argv[i];
        else
            return usage();
    }
    if (!folder || recovers == (pool != NULL) || (recovers && everyone))
        return usage();
    return recovers ? (int)swap_recover(folder) : run(folder, pool);
}
