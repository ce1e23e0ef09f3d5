/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix.c - threads, locks, the clock and names on POSIX systems.
 *
 * Who: all files of this directory, by os.h.
 */
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* pthread_cond_clockwait(): since glibc 2.30. The thread sanitizer of clang 14 does not know it. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAVE_CLOCKWAIT 0
#endif
#endif
#if !defined(HAVE_CLOCKWAIT) && defined(__GLIBC_PREREQ)
#define HAVE_CLOCKWAIT __GLIBC_PREREQ(2, 30)
#endif

/* Linux needs no memory for these, so the only errors are those of a program that is wrong. */
static void must(int error)
{
    assert(error == 0);
    (void)error;
}

void os_mutex_begin(os_mutex *m)
{
    must(pthread_mutex_init(m, NULL));
}

void os_mutex_end(os_mutex *m)
{
    must(pthread_mutex_destroy(m));
}

void os_lock(os_mutex *m)
{
    must(pthread_mutex_lock(m));
}

bool os_try_lock(os_mutex *m)
{
    return pthread_mutex_trylock(m) == 0;
}

void os_unlock(os_mutex *m)
{
    must(pthread_mutex_unlock(m));
}

void os_cond_begin(os_cond *c)
{
    must(pthread_cond_init(c, NULL));
}

void os_cond_end(os_cond *c)
{
    must(pthread_cond_destroy(c));
}

void os_cond_wait(os_cond *c, os_mutex *m)
{
    must(pthread_cond_wait(c, m));
}

bool os_cond_wait_within(os_cond *c, os_mutex *m, uint64_t ns)
{
#if defined(HAVE_CLOCKWAIT) && HAVE_CLOCKWAIT
    const uint64_t at = os_now_ns() + ns;
    const struct timespec until = { .tv_sec = (time_t)(at / UINT64_C(1000000000)),
                                    .tv_nsec = (long)(at % UINT64_C(1000000000)) };

    return pthread_cond_clockwait(c, m, CLOCK_MONOTONIC, &until) == 0;
#else
    /* pthread_cond_timedwait() has the wall clock, which may be set meanwhile. The caller looks
     * again and again. */
    (void)c;
    os_unlock(m);
    os_sleep_ms(1);
    os_lock(m);
    return ns > UINT64_C(1000000);
#endif
}

void os_cond_wake_all(os_cond *c)
{
    must(pthread_cond_broadcast(c));
}

static void *run(void *arg)
{
    struct os_thread *t = arg;

    t->main(t->arg);
    return NULL;
}

bool os_thread_begin(struct os_thread *t, void (*main)(void *arg), void *arg)
{
    pthread_t thread;

    t->main = main;
    t->arg = arg;
    if (pthread_create(&thread, NULL, run, t) != 0)
        return false;
    memcpy(&t->handle, &thread, sizeof(thread));
    return true;
}
_Static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "os_thread.handle");

void os_thread_join(struct os_thread *t)
{
    pthread_t thread;

    memcpy(&thread, &t->handle, sizeof(thread));
    must(pthread_join(thread, NULL));
}

static void *run_alone(void *arg)
{
    const struct os_thread t = *(struct os_thread *)arg;

    free(arg);
    t.main(t.arg);
    return NULL;
}

bool os_thread_begin_alone(void (*main)(void *arg), void *arg)
{
    struct os_thread *t = calloc(1, sizeof(*t));
    pthread_t thread;

    if (!t)
        return false;
    t->main = main;
    t->arg = arg;
    if (pthread_create(&thread, NULL, run_alone, t) == 0) {
        must(pthread_detach(thread));
        return true;
    }
    free(t);
    return false;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t os_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t os_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void os_yield(void)
{
    (void)sched_yield();
}

void os_sleep_ms(unsigned ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
}

unsigned os_processors(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (unsigned)n : 1;
}

FILE *os_read_file(const char *path)
{
    return fopen(path, "re");
}

const char *os_line_fault(const char *line)
{
    (void)line;
    return NULL;
}

const char *os_path_fault(const char *path)
{
    return path[0] == '/' ? NULL : "it must be an absolute path";
}

const char *os_place_fault(const char *where)
{
    const struct sockaddr_un a = { 0 };
    const char *const fault = os_path_fault(where);

    return !fault && strlen(where) >= sizeof(a.sun_path) ? "the name of a socket is too long"
                                                         : fault;
}

char *os_place_for_good(const char *where)
{
    char dir[PATH_MAX], *place = NULL;

    if (!where[0] || where[0] == '/')
        return strdup(where);
    if (!getcwd(dir, sizeof(dir)))
        return NULL;
    if (asprintf(&place, "%s/%s", dir[1] ? dir : "", where) < 0)
        return NULL; /* there is no memory */
    return place;
}

static bool is_strange(const struct stat *st)
{
    return st->st_uid != 0 && st->st_uid != geteuid();
}

/* May others put something else in the place of what lies in a directory? */
static bool may_others_change(const char *dir, bool of_socket)
{
    struct stat st;

    return stat(dir, &st) < 0 || is_strange(&st) ||
           ((st.st_mode & 022) && (of_socket || !(st.st_mode & S_ISVTX)));
}

/* A path without its last part. */
static void go_up(char *path)
{
    char *const slash = strrchr(path, '/');

    slash[slash == path] = '\0';
}

bool os_is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Looks at the socket, at its directory and at all above it: those of its name, which may be links
 * in directories of others, and those that it leads to. */
bool os_place_is_exposed(const char *where)
{
    char dir[2][PATH_MAX];
    bool exposed;
    struct stat st;

    snprintf(dir[0], PATH_MAX, "%s", where);
    go_up(dir[0]);
    exposed = !realpath(dir[0], dir[1]) || may_others_change(dir[1], true);
    for (unsigned i = 0; i < 2; i++)
        while (!exposed && dir[i][1]) {
            exposed = lstat(dir[i], &st) < 0 || is_strange(&st);
            go_up(dir[i]);
            exposed |= may_others_change(dir[i], false);
        }
    return exposed || (lstat(where, &st) == 0 && is_strange(&st));
}

bool os_place_is_missing(const char *where)
{
    char dir[PATH_MAX];

    snprintf(dir, sizeof(dir), "%s", where);
    go_up(dir);
    return !os_is_directory(dir);
}

bool os_is_same(const char *one, const char *other)
{
    struct stat st, of_other;

    return strcmp(one, other) == 0 ||
           (stat(one, &st) == 0 && stat(other, &of_other) == 0 && st.st_dev == of_other.st_dev &&
            st.st_ino == of_other.st_ino);
}

bool os_is_readonly(const char *path)
{
    return access(path, W_OK) != 0 && errno == EROFS;
}

bool os_is_beside(const char *where, const char *path)
{
    static const char *const endings[] = { ".writes", ".lock", ".failed" };
    char own[PATH_MAX];
    bool is = false;

    for (unsigned i = 0; !is && i < sizeof(endings) / sizeof(endings[0]); i++) {
        snprintf(own, sizeof(own), "%s%s", where, endings[i]);
        is = os_is_same(own, path);
    }
    return is;
}

uint64_t os_process_space(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino != 0 ? st.st_ino : 1;
}

/* A mount may wait for the service, so the service must not wait for a mount. A system without the
 * list has no such mounts; a list of which a part cannot be read may have one there. */
const char *os_mount_fault(const char *path)
{
    char dir[1100], number[32], *line = NULL;
    FILE *f = NULL;
    struct stat st = { .st_dev = 0 };
    size_t room = 0;
    bool found = false, unread = false;

    snprintf(dir, sizeof(dir), "%s", path);
    if (stat(path, &st) != 0 && strrchr(dir, '/'))
        strrchr(dir, '/')[1] = 0;
    if (stat(dir, &st) == 0) {
        f = fopen("/proc/self/mountinfo", "re");
        unread = !f && errno != ENOENT;
    }
    snprintf(number, sizeof(number), " %u:%u ", major(st.st_dev), minor(st.st_dev));
    while (f && !found && getline(&line, &room, f) > 0)
        found = strstr(line, number) && strstr(line, " - fuse.cachemax ");
    unread = unread || (f && !found && !feof(f));
    free(line);
    if (f)
        fclose(f);
    return found    ? "lies in a directory that cachemax-mount serves; put it elsewhere"
           : unread ? "it cannot be seen on which mount it lies: the list of mounts "
                      "(/proc/self/mountinfo) cannot be read; try again"
                    : NULL;
}

/* The file itself, and not a link that leads to it. False: errno says why. */
static bool name_replacement(struct os_replacement *r, const char *path)
{
    char *const real = realpath(path, NULL);
    const int n = real ? snprintf(r->path, sizeof(r->path), "%s", real) : -1;

    free(real);
    if (n >= (int)sizeof(r->path))
        errno = ENAMETOOLONG;
    return n >= 0 && n < (int)sizeof(r->path);
}

/* The new file has the owner and the mode of the old one before it has any content. Its name is one
 * that no file has. */
FILE *os_replace_begin(struct os_replacement *r, const char *path)
{
    struct stat st;
    int fd;

    *r = (struct os_replacement){ .to = NULL };
    if (!name_replacement(r, path) || stat(r->path, &st) != 0)
        return NULL;
    snprintf(r->beside, sizeof(r->beside), "%s.XXXXXX", r->path);
    fd = mkostemp(r->beside, O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fchown(fd, st.st_uid, st.st_gid) == 0 && fchmod(fd, st.st_mode & 07777) == 0)
        r->to = fdopen(fd, "w");
    if (!r->to) {
        close(fd);
        unlink(r->beside);
    }
    return r->to;
}

bool os_replace_end(struct os_replacement *r, bool ok)
{
    int error;

    /* On the disk before it gets the name. */
    ok = ok && fflush(r->to) == 0 && fsync(fileno(r->to)) == 0;
    ok = fclose(r->to) == 0 && ok && rename(r->beside, r->path) == 0;
    error = errno;
    if (!ok)
        unlink(r->beside);
    errno = error;
    return ok;
}
