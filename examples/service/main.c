/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - cachemax-service on POSIX systems: owns a pool and serves clients until it has to end.
 *
 * It stays in the foreground and writes its log to the standard error, as service managers want it.
 * SIGTERM and SIGINT end it: at once as long as it has no pool, then with a clean pool.
 */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "forbid.h"
#include "notify.h"
#include "privileges.h"
#include "say_log.h"
#include "tool/os_start.h"

#define OUR_NAME "cachemax-service: "
#define LOG_MS 10000       /* at the begin, for whoever reads its log */
#define JOURNAL_WARN "<4>" /* LOG_WARN */

static bool with_weights; /* the journal reads "<4>" at the begin of a line as its weight */
static sigset_t ends;

/* Does the journal read our standard error? Then JOURNAL_STREAM has its device and inode. */
static bool logs_to_journal(void)
{
    const char *const stream = getenv("JOURNAL_STREAM");
    char own[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return false;
    snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    return strcmp(own, stream) == 0;
}

/* Clients do not wait for whoever reads the log. */
static void log_line(enum log_weight w, const char *text)
{
    char weight[8];

    snprintf(weight, sizeof(weight), "<%d>", (int)w);
    say_log(with_weights ? weight : OUR_NAME, text, with_weights ? JOURNAL_WARN : OUR_NAME);
}

/* Clients are taken. */
static void ready(void)
{
    say_log_waits(0);
    notify("READY=1");
}

static const char *wait_second(void)
{
    const struct timespec wait = { .tv_sec = 1 };
    const int sig = sigtimedwait(&ends, NULL, &wait);

    return sig > 0 ? strsignal(sig) : NULL;
}

static bool has_ended(uint32_t process)
{
    return kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

/* A client has three descriptors of the service, and two more while it gets its ring. Two more may
 * still be open of a client that has just left. So seven for each client: more than the soft limit,
 * if the configuration allows many clients. */
static void allow_descriptors(uint32_t clients)
{
    const rlim_t need = 7 * (rlim_t)clients + 64;
    struct rlimit n;
    char text[200];

    if (getrlimit(RLIMIT_NOFILE, &n) != 0 || n.rlim_cur >= need)
        return;
    n.rlim_cur = n.rlim_max < need ? n.rlim_max : need;
    if (setrlimit(RLIMIT_NOFILE, &n) == 0 && n.rlim_cur == need)
        return;
    snprintf(text, sizeof(text), "%u clients may need %llu open files, and %llu are allowed",
             clients, (unsigned long long)need, (unsigned long long)n.rlim_cur);
    log_line(LOG_WARN, text);
}

static void cannot_give_up(const char *what, int error)
{
    char text[200];

    snprintf(text, sizeof(text), "cannot give up %s that it does not need: %s", what,
             strerror(error));
    log_line(LOG_WARN, text);
}

/* It opens files of others, and makes sockets for them. So does its unit for systemd. It executes
 * nothing. */
static void give_up_privileges(void)
{
    int e;

    if (!privileges_keep(PRIVILEGE(CAP_DAC_OVERRIDE) | PRIVILEGE(CAP_FOWNER) |
                         PRIVILEGE(CAP_CHOWN)))
        cannot_give_up("capabilities", errno);
    e = forbid_calls(FORBID_SYSTEM | FORBID_MOUNTS | FORBID_REST | FORBID_RINGS);
    if (e != 0 && e != ENOTSUP)
        cannot_give_up("system calls", e);
}

/* From here on the signals wait for wait_second(), in all threads: this one is the only one yet.
 * Not earlier: a configuration or a key may come from a pipe, and who waits for it must be able to
 * end the service. */
static void prepare(uint32_t clients)
{
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    allow_descriptors(clients);
    give_up_privileges();
}

int main(int argc, char **argv)
{
    const struct run r = { NULL, log_line, ready, wait_second, has_ended, prepare, NULL, NULL };

    os_start(&argc, &argv);
    with_weights = logs_to_journal();
    say_log_waits(LOG_MS);
    (void)signal(SIGPIPE, SIG_IGN); /* who reads the log may end earlier */
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP); /* its terminal was closed */
    return command(argc, argv, &r, "");
}
