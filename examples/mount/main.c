/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - the life of cachemax-mount.
 *
 *   parent       checks options and paths, opens the directory, forks, waits for the child's
 *                result, exits with it
 *   child        opens the cache (after the fork, because the library cannot be used across one),
 *                mounts the session on the directory, starts the threads, sends the result, leaves
 *                the terminal; of several directories cover.c mounts the session out of sight, and
 *                covers them when the threads run
 *   main thread  sleeps in sigtimedwait until a signal or the end of the session; now and then it
 *                looks for requests that wait long
 *   end          flushes dirty pages of mappings, detaches the mount, waits a moment for open
 *                files, takes the pages from the kernel, finishes requests, takes validators and
 *                syncs files, closes the cache cleanly
 *
 * The directory is opened before the mount covers it. Everything goes through that descriptor and
 * /proc/self/fd. Nothing is renamed or moved.
 */
#include "mount.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <syslog.h>

#include "../service/forbid.h"
#include "../service/privileges.h"
#include "../service/say_log.h"
#include "tool/os_start.h"
#include "tool/tool.h"

#define OUR_NAME "cachemax-mount: "
#define SAY_BYTES (PATH_MAX + 1024)
#define LOOK_MS 1000
#define LOG_MS 10000 /* at the begin and at the end, for whoever reads its log */
#define NOFILE_FEW 128
#define UNMOUNT_MS 200
#define SAY_AGAIN_NS 60000000000ull
#define GRACE_MS 5000 /* for a flush, and then for open files; a second signal ends both waits */

struct mount mnt;
static bool use_syslog;
static struct fuse_lowlevel_ops ops;

void say(int level, const char *fmt, ...)
{
    static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_INFO };
    char line[SAY_BYTES], shown[TOOL_PRINTABLE_MAX(SAY_BYTES)];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (use_syslog) /* a file's name must not begin another line, say */
        syslog(priority[level > CM_LOG_INFO ? CM_LOG_INFO : level], "%s",
               tool_printable(shown, line));
    else
        say_log(OUR_NAME, line, OUR_NAME); /* programs do not wait for whoever reads the log */
}

/* What libfuse says would go to the standard error by itself. Who waits for memory says the same
 * again and again. */
static void log_of_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char last[1024];
    static uint64_t said_ns;
    char text[sizeof(last)];
    bool again;

    (void)vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    pthread_mutex_lock(&lock);
    again = !strcmp(text, last) && cm_now() - said_ns < SAY_AGAIN_NS;
    if (!again) {
        memcpy(last, text, sizeof(last));
        said_ns = cm_now();
    }
    pthread_mutex_unlock(&lock);
    if (text[0] && !again)
        say(level <= FUSE_LOG_ERR       ? CM_LOG_ERROR
            : level == FUSE_LOG_WARNING ? CM_LOG_WARNING
                                        : CM_LOG_INFO,
            "%s", text);
}

/* ---- Session ------------------------------------------------------------------------------- */

static void op_init(void *user, struct fuse_conn_info *conn)
{
    (void)user;
    /* Splicing costs more than copying at the sizes of a hit. Truncation needs a bracket of its
     * own. As root our writes would not clear set-user-id bits, so the kernel must. */
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV);
    /* The kernel checks ACLs. Default ACLs replace the umask, so the origin applies it. */
    conn->want |= conn->capable & (FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK);
    /* Asynchronous direct writes leave old pages behind unless the mount drops them. */
    if (!direct_on())
        conn->want &= ~(unsigned)FUSE_CAP_ASYNC_DIO;
    if (mnt.opt.writeback)
        conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
    /* When the times of a file have changed, the kernel drops its pages, also those of a write()
     * that is on its way (file_keep_pages). The mount can tell its own changes from others'. But on
     * FUSE and overlayfs, which may be mounted below, a file may have several inodes. */
    if (!others_write() && direct_on() && !inode_places_doubtful() && !number_has_points()) {
        conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
        conn->want |= conn->capable & FUSE_CAP_EXPLICIT_INVAL_DATA;
    }
    mnt.kernel_drops = conn->want & FUSE_CAP_AUTO_INVAL_DATA;
    ops_open_agree(conn->capable);
    ops_ioctl_protocol(conn->proto_minor);
    conn->max_background = mnt.opt.max_background;
    conn->congestion_threshold = mnt.opt.max_background * 3 / 4;
}

static bool may_allow_other(void)
{
    FILE *f;
    char line[256];
    bool yes = geteuid() == 0;

    f = yes ? NULL : fopen("/etc/fuse.conf", "re");
    while (f && !yes && fgets(line, sizeof(line), f))
        yes = !strncmp(line, "user_allow_other", 16);
    if (f)
        fclose(f);
    return yes;
}

/* The mount allows what the one below it and the options allow, and nothing more. */
unsigned long mount_flags(unsigned place)
{
    struct statvfs sv = { .f_flag = ST_NOSUID | ST_NODEV };
    unsigned long f = mnt.opt.flags | (mnt.opt.ro ? ST_RDONLY : 0);

    fstatvfs(mnt.opt.place[place].fd, &sv);
    if (mnt.root_user)
        f |= sv.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC);
    return f & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME);
}

/* As words of mount(8). fusermount3 takes set-user-id bits and devices from ordinary users anyway.
 */
static const char *words_of(unsigned long f)
{
    static const struct {
        unsigned long flag;
        const char *yes, *no;
    } words[] = { { ST_RDONLY, "ro", "rw" },
                  { ST_NOSUID, ",nosuid", ",suid" },
                  { ST_NODEV, ",nodev", ",dev" },
                  { ST_NOEXEC, ",noexec", ",exec" },
                  { ST_NOATIME, ",noatime", "" } };
    static char flags[80];
    size_t n = 0;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const bool says_no = mnt.root_user || words[i].flag == ST_RDONLY;
        n += (size_t)snprintf(flags + n, sizeof(flags) - n, "%s",
                              f & words[i].flag ? words[i].yes
                              : says_no         ? words[i].no
                                                : "");
    }
    return flags;
}

/* Else libfuse would ask fusermount3, which says little. False after a message. */
static bool check_device(void)
{
    const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), err = errno;
    struct stat st;

    if (fd < 0 && (err == ENOENT || err == ENODEV || err == ENXIO))
        say(CM_LOG_ERROR, "/dev/fuse is missing: load the module with 'modprobe fuse'; a container "
                          "must be given the device (such as docker run --device /dev/fuse "
                          "--cap-add SYS_ADMIN)");
    else if (fd < 0 && err != EACCES && err != EPERM)
        say(CM_LOG_ERROR, "/dev/fuse cannot be opened: %s", strerror(err));
    else if (fd < 0)
        say(CM_LOG_ERROR,
            "/dev/fuse may not be opened: %s: its mode must be 0666 (or this user in its group), "
            "and a container must allow the device (such as docker run --device /dev/fuse "
            "--cap-add SYS_ADMIN)",
            strerror(err));
    else if (fstat(fd, &st) == 0 && (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(10, 229)))
        say(CM_LOG_ERROR, "/dev/fuse is no device of FUSE: make it with 'mknod -m 666 /dev/fuse c "
                          "10 229'");
    else
        return close(fd) == 0;
    if (fd >= 0)
        close(fd);
    return false;
}

static int mount_session(const char *at)
{
    return fuse_session_mount(mnt.se, at) == 0 && wire_begin() == 0 ? 0 : EXIT_RUNTIME;
}

/* The source of the mount tells where its control socket is (docs/control.md), unless mount(8) was
 * given another one. It compares the source with that of fstab. */
static int new_session(void)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    char *name = NULL, *list = NULL;
    const char *source = mnt.opt.source ? mnt.opt.source
                         : mnt.opt.pool ? mnt.opt.pool
                                        : mnt.opt.service;
    const bool several = mnt.opt.places > 1, has_device = check_device();
    int rc = EXIT_RUNTIME;

    ops.init = op_init;
    ops_read_init(&ops);
    ops_write_init(&ops);
    ops_open_init(&ops);
    ops_name_init(&ops);
    ops_dir_init(&ops);
    ops_attr_init(&ops);
    ops_ioctl_init(&ops);
    if (has_device && asprintf(&name, "fsname=%s", source) > 0 &&
        fuse_opt_add_opt_escaped(&list, name) == 0 &&
        fuse_opt_add_opt(&list, "subtype=cachemax,default_permissions") == 0 &&
        /* Each of several has its own flags: cover.c. */
        fuse_opt_add_opt(&list, words_of(!several     ? mount_flags(0)
                                         : mnt.opt.ro ? ST_RDONLY
                                                      : 0)) == 0 &&
        (!may_allow_other() || fuse_opt_add_opt(&list, "allow_other") == 0) &&
        fuse_opt_add_arg(&args, "cachemax-mount") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
        fuse_opt_add_arg(&args, list) == 0) {
        mnt.se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
        if (mnt.se)
            rc = several ? cover_mount(mount_session) : mount_session(mnt.opt.place[0].path);
        if (!rc && !several)
            place_mounted(0);
    }
    if (rc && has_device)
        say(CM_LOG_ERROR,
            "cannot mount on %s: an ordinary user needs fusermount3 (package fuse3), a container "
            "CAP_SYS_ADMIN",
            mnt.opt.dir);
    fuse_opt_free_args(&args);
    free(list);
    free(name);
    return rc;
}

static void nothing(int sig)
{
    (void)sig; /* only interrupts a read of a loop */
}

static sigset_t end_signals(void)
{
    sigset_t s;

    sigemptyset(&s);
    sigaddset(&s, SIGINT);
    sigaddset(&s, SIGTERM);
    sigaddset(&s, SIGHUP);
    sigaddset(&s, SIGUSR2); /* the last loop has ended */
    return s;
}

static void setup_signals(void)
{
    struct sigaction sa = { .sa_handler = nothing };
    const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
    struct rlimit rl;
    sigset_t s = end_signals();

    sigaction(SIGUSR1, &sa, NULL);
    /* It may have been ignored by the program that started the mount. Then the kernel would give
     * the number of a helper that has ended to another process, and the mount would kill that one.
     */
    sa.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &sa, NULL);
    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);
    /* The limit of the program that started the mount is not its users' limit. Where it stays, a
     * write only fails: os_start(). */
    if (setrlimit(RLIMIT_FSIZE, &none) < 0 && getrlimit(RLIMIT_FSIZE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_FSIZE, &rl);
    }
    pthread_sigmask(SIG_BLOCK, &s, NULL); /* inherited by every thread */
}

/* Waits up to ms for the end of the session. True: a signal asked for an end. */
static bool wait_end(int ms)
{
    struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
    sigset_t s = end_signals();
    int sig = sigtimedwait(&s, NULL, &ts);

    return sig > 0 && sig != SIGUSR2;
}

/* The name is free as soon as the origin has the data that was stored before. Programs with open
 * files may finish with them. A second signal ends both waits. Returns the exit status. */
static int leave(void)
{
    bool hurry = false, all;
    int64_t until;

    flush_begin();
    for (int ms = 0; flush_running() && loop_running() && !hurry && ms < GRACE_MS; ms += 10)
        hurry = wait_end(10);
    (void)place_still_ours(PLACE_ALL, &until); /* the last moment at which it was */
    all = place_leave();
    for (int ms = 0; loop_running() && !hurry && ms < GRACE_MS; ms += 50)
        hurry = wait_end(50);
    return all ? 0 : EXIT_RUNTIME;
}

/* Also where somebody has moved it (mount --move), or below another mount. */
static bool stays_anywhere(void)
{
    const int fd = place_open();

    if (fd >= 0)
        close(fd);
    return fd >= 0 || fd == -EBUSY || place_stays();
}

/* An unmount ends the session, and then the mount is gone; `umount -f -l` a moment later. The
 * session also ends if the kernel cuts the connection (an abort), or if there is no memory any
 * more: then a dead mount would stay. Exit status. */
static int ended_by_itself(void)
{
    int64_t until;

    if (stays_anywhere())
        wait_end(UNMOUNT_MS);
    if (!stays_anywhere())
        return 0;
    say(CM_LOG_ERROR,
        "%s: the kernel has ended the connection (umount -f, an abort, a request that took longer "
        "than fs.fuse.max_request_timeout), or there was no memory to go on: the mount is taken "
        "away",
        mnt.opt.dir);
    (void)place_still_ours(PLACE_ALL, &until);
    (void)place_leave();
    return EXIT_RUNTIME;
}

/* Exit status. */
static int serve(void)
{
    bool asked = false;
    int rc;

    while (loop_running() && !asked) {
        asked = wait_end(LOOK_MS);
        loop_look();
        direct_look();
        place_look();
    }
    manager_stopping();
    control_cancel();
    rc = loop_running() ? leave() : ended_by_itself();
    if (loop_running())
        flush_end();
    return rc;
}

/* ---- Daemon -------------------------------------------------------------------------------- */

static void verdict(int *pipe_fd, int status)
{
    char c = (char)status;

    if (*pipe_fd < 0)
        return;
    if (write(*pipe_fd, &c, 1) != 1) {
        say(CM_LOG_WARNING, "the process that started the mount is gone: it ends");
        kill(getpid(), SIGTERM); /* who gave up must not find it mounted later */
    }
    close(*pipe_fd);
    *pipe_fd = -1;
}

static void let_go_of_terminal(void)
{
    int fd = open("/dev/null", O_RDWR);

    openlog("cachemax-mount", LOG_PID, LOG_DAEMON);
    use_syslog = true;
    for (int i = 0; fd >= 0 && i < 3; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
    say_log_end(); /* who reads what it said waits for the end of it */
}

/* In the parent: the exit status, >= 0. In the child: -1. */
static int daemonize(int *pipe_fd)
{
    int p[2];
    pid_t pid;
    char c;

    if (pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        say(CM_LOG_ERROR, "cannot go to the background: %s", strerror(errno));
        return EXIT_RUNTIME;
    }
    if (pid == 0) {
        close(p[0]);
        *pipe_fd = p[1];
        setsid();
        return -1;
    }
    close(p[1]);
    return read(p[0], &c, 1) == 1 ? c : EXIT_RUNTIME;
}

/* In the background nobody sees the exit status. `closed`: what the pool's end gives for it.
 * `stays`: a mount is still there, and dead. */
static void say_end(int closed, bool stays, int status)
{
    char number[32] = "";

    if (status)
        snprintf(number, sizeof(number), "; exit status %d", status);
    say(CM_LOG_INFO, "%s: %s; %s%s", mnt.opt.dir, stays ? "ended" : "unmounted",
        !mnt.opt.pool               ? "the service was left"
        : atomic_load(&mnt.gave_up) ? "the pool had been given up"
        : closed                    ? "the pool was not closed cleanly"
                                    : "the pool was closed",
        number);
}

static void rest(int sig)
{
    (void)sig;
    for (;;)
        pause();
}

/* Threads wait for a server: that of the keeper, or (NULL) only those of clients of the control
 * socket. One of these may also wait for the volume of the pool, which gets another size. When one
 * returns, it must not meet a closed pool. The kernel frees the process, and the pool if it is
 * open, only when the server answers. */
static _Noreturn void end_without(const pthread_t *keeper)
{
    struct sigaction sa = { .sa_handler = rest };
    int closed, status;

    if (resize_runs() || resize_grows())
        say(CM_LOG_ERROR, "pool %s: its volume does not answer: ended without it", mnt.opt.pool);
    if (keeper || !(resize_runs() || resize_grows()))
        say(CM_LOG_ERROR, "a file system below %s does not answer: ended without it", mnt.opt.dir);
    sigaction(SIGUSR1, &sa, NULL);
    if (keeper)
        pthread_kill(*keeper, SIGUSR1);
    control_waiting(SIGUSR1);
    watch_waiting(SIGUSR1);
    alarm(10); /* if it holds a lock of the pool at this moment: then it is as after a kill */
    close(fuse_session_fd(mnt.se)); /* or users wait for it, too, if the mount still has its name */
    closed = mnt.backing->close();
    status = proof_untold(false) || flush_lost() ? EXIT_LOST : EXIT_RUNTIME;
    say_end(closed, false, status);
    _exit(status);
}

static void say_what_is_mounted(void)
{
    static const char *const levels[] = { "local", "close-to-open", "strict" };
    const char *const pool = mnt.opt.pool ? mnt.opt.pool : mnt.opt.service;
    const char *const level = levels[mnt.opt.coherence];
    cm_info info = { .struct_size = sizeof(info) };
    uint64_t hits, misses;

    if (mnt.backing->info(&info, &hits, &misses) == 0)
        say(CM_LOG_INFO, "%s: mounted; pool %s, %.0f MiB, %.0f %% in use; coherence=%s",
            mnt.opt.dir, pool, (double)info.size / (1 << 20),
            info.slots ? 100.0 * (double)info.used_slots / (double)info.slots : 0, level);
    else if (mnt.opt.pool)
        say(CM_LOG_INFO, "%s: mounted; pool %s, a part of which cannot be read; coherence=%s",
            mnt.opt.dir, pool, level);
    else
        say(CM_LOG_INFO, "%s: mounted; the service at %s is not there yet; coherence=%s",
            mnt.opt.dir, pool, level);
}

/* System calls; docs/security.md. The mount of an ordinary user keeps them: fusermount3 would have
 * none of its privileges then. */
static void give_up_calls(unsigned groups)
{
    const int err = mnt.root_user ? forbid_calls(groups) : 0;

    if (err && err != ENOTSUP)
        say(CM_LOG_WARNING, "cannot give up system calls that it does not need: %s", strerror(err));
}

/* The session is mounted, and its threads run. 0 or an exit status: of the start, or of the end. */
static int live(int *pipe_fd, bool *mounted)
{
    int rc = mnt.opt.places > 1 ? cover_all() : 0;

    give_up_calls(FORBID_MOUNTS); /* what was mounted is all */
    *mounted = !rc;
    if (!rc) {
        control_start();
        watch_start();
        say_log_waits(0); /* from now on programs may wait for this thread, too */
        verdict(pipe_fd, EXIT_OK);
        manager_ready();
        if (!mnt.opt.foreground)
            let_go_of_terminal();
        if (resize_hold()) { /* a client may resize the pool already */
            say_what_is_mounted();
            resize_release();
        }
        rc = serve();
    }
    while (loop_running()) {
        loop_interrupt();
        wait_end(10);
    }
    return rc;
}

/* What root has and a mount never needs: the network, modules, raw devices, the clock and the like.
 * It acts as other users, mounts, and looks at their processes. For an ordinary user there is
 * nothing to give up, and fusermount3 has to get its privileges when the mount ends. */
static void give_up_privileges(void)
{
    const uint64_t keep =
        PRIVILEGE(CAP_CHOWN) | PRIVILEGE(CAP_DAC_OVERRIDE) | PRIVILEGE(CAP_DAC_READ_SEARCH) |
        PRIVILEGE(CAP_FOWNER) | PRIVILEGE(CAP_FSETID) | PRIVILEGE(CAP_KILL) |
        PRIVILEGE(CAP_SETGID) | PRIVILEGE(CAP_SETUID) | PRIVILEGE(CAP_SETPCAP) |
        PRIVILEGE(CAP_LINUX_IMMUTABLE) | PRIVILEGE(CAP_IPC_LOCK) | PRIVILEGE(CAP_SYS_PTRACE) |
        PRIVILEGE(CAP_SYS_ADMIN) | PRIVILEGE(CAP_SYS_NICE) | PRIVILEGE(CAP_SYS_RESOURCE) |
        PRIVILEGE(CAP_MKNOD) | PRIVILEGE(CAP_LEASE) | PRIVILEGE(CAP_SETFCAP) |
        PRIVILEGE(CAP_MAC_OVERRIDE) | PRIVILEGE(CAP_MAC_ADMIN);

    if (mnt.root_user && !privileges_keep(keep))
        say(CM_LOG_WARNING, "cannot give up capabilities that it does not need: %s",
            strerror(errno));
    give_up_calls(FORBID_SYSTEM | (mnt.opt.ring ? 0 : FORBID_RINGS));
}

/* The threads that read requests have ended. `left`: of live(). The exit status. */
static int end(int left, bool was_mounted)
{
    bool untold, answers, ended;
    pthread_t waiting;
    int closed, status;

    loop_finish();
    direct_finish();
    answers = control_stop();
    answers = watch_stop() && answers;
    ended = keeper_stop(&waiting);
    if (!answers || !ended)
        end_without(ended ? NULL : &waiting);
    untold = proof_untold(false);
    untold = proof_untold(true) || untold;
    closed = mnt.backing->close();
    fuse_session_destroy(mnt.se); /* not unmount: a mount may lie below */
    status = untold || flush_lost() ? EXIT_LOST
             : paranoid_found()     ? EXIT_WRONG
             : left                 ? left
                                    : closed;
    if (status)
        say_log_waits(LOG_MS); /* no program waits for it any more */
    if (flush_lost())
        say(CM_LOG_ERROR, "%s: data that %s was lost", mnt.opt.dir,
            mnt.opt.writeback ? "the kernel held back" : "programs stored in mappings");
    if (was_mounted)
        say_end(closed, left && place_stays(), status);
    return status;
}

static int run(int *pipe_fd)
{
    bool mounted = false;
    int rc, err, left;

    setup_signals();
    give_up_privileges(); /* before there are threads */
    rc = mnt.backing->open();
    if (rc)
        return rc;
    err = inode_init();
    if (err)
        say(CM_LOG_ERROR, "cannot begin at %s: %s", mnt.opt.dir, strerror(err));
    rc = err ? EXIT_RUNTIME : new_session();
    if (rc) {
        mnt.backing->close();
        if (mnt.se)
            fuse_session_destroy(mnt.se);
        return rc;
    }
    say_log_for_all(); /* programs wait for its threads from now on */
    direct_start();
    /* The loops last: a request may need any of the others. */
    if (keeper_start() || mnt.backing->start() || loop_start(mnt.opt.loops)) {
        say(CM_LOG_ERROR, "cannot start threads");
        (void)place_leave(); /* or a dead mount would stay */
        _exit(EXIT_RUNTIME);
    }
    left = live(pipe_fd, &mounted);
    return end(left, mounted);
}

/* Every inode that the kernel remembers takes a descriptor. */
static void raise_nofile(void)
{
    struct rlimit rl;
    unsigned long long nr_open = 1u << 20;
    FILE *f = fopen("/proc/sys/fs/nr_open", "re");

    if (f) {
        if (fscanf(f, "%llu", &nr_open) != 1)
            nr_open = 1u << 20;
        fclose(f);
    }
    rl = (struct rlimit){ nr_open, nr_open };
    if (setrlimit(RLIMIT_NOFILE, &rl) == 0 || getrlimit(RLIMIT_NOFILE, &rl) < 0)
        return;
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    if (rl.rlim_max < NOFILE_FEW)
        say(CM_LOG_WARNING,
            "it may open %llu files only (RLIMIT_NOFILE), and each file and directory that "
            "programs use takes one: they will get EMFILE; raise the hard limit (ulimit -Hn, "
            "LimitNOFILE=) to 1024 or more",
            (unsigned long long)rl.rlim_max);
}

/* Exit status. */
static int whole_life(int argc, char **argv)
{
    int pipe_fd = -1, rc;

    say_log_begin();
    say_log_waits(LOG_MS);
    fuse_set_log_func(log_of_fuse);
    rc = options_parse(argc, argv, &mnt.opt);
    if (rc)
        return rc < 0 ? EXIT_OK : rc;
    mnt.backing = mnt.opt.service ? &backing_service : &backing_pool;
    rc = place_prepare(&mnt.opt);
    if (rc)
        return rc;
    if (!mnt.opt.foreground) {
        rc = daemonize(&pipe_fd);
        if (rc >= 0)
            return rc;
    }
    if (chdir("/") < 0)
        say(CM_LOG_WARNING, "cannot leave the working directory: %s", strerror(errno));
    umask(0);
    raise_nofile();
    mnt.root_user = geteuid() == 0;
    rc = run(&pipe_fd);
    verdict(&pipe_fd, rc);
    return rc;
}

int main(int argc, char **argv)
{
    int rc;

    os_start(&argc, &argv);
    rc = whole_life(argc, argv);
    return mnt.opt.helper ? fstab_status(rc) : rc;
}
