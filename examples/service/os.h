/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os.h - threads, locks, the clock and names, for the service and its clients.
 *
 * One file for each system implements it: os_posix.c, os_win32.c.
 */
#ifndef CACHEMAX_OS_H
#define CACHEMAX_OS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef _WIN32
typedef struct {
    _Atomic unsigned state;
    void *guard;                    /* an SRWLOCK */
    struct os_waiter *first, *last; /* who waits, under the guard */
} os_mutex;
typedef struct {
    void *word;  /* a CONDITION_VARIABLE */
    void *guard; /* its SRWLOCK */
} os_cond;
#else
#include <pthread.h>
typedef pthread_mutex_t os_mutex;
typedef pthread_cond_t os_cond;
#endif

void os_mutex_begin(os_mutex *m);
void os_mutex_end(os_mutex *m);
void os_lock(os_mutex *m);
bool os_try_lock(os_mutex *m);
void os_unlock(os_mutex *m);

void os_cond_begin(os_cond *c);
void os_cond_end(os_cond *c);
/* The lock is held. May return early. */
void os_cond_wait(os_cond *c, os_mutex *m);
/* The same, for some `ns` at most. False: they are over. */
bool os_cond_wait_within(os_cond *c, os_mutex *m, uint64_t ns);
void os_cond_wake_all(os_cond *c);

/* A thread that os_thread_join() waits for. */
struct os_thread {
    uint64_t handle;
    void (*main)(void *arg);
    void *arg;
};
/* False: there is no room for another thread. *t must stay where it is until the thread has ended.
 */
bool os_thread_begin(struct os_thread *t, void (*main)(void *arg), void *arg);
void os_thread_join(struct os_thread *t);
/* A thread that nobody waits for. */
bool os_thread_begin_alone(void (*main)(void *arg), void *arg);

/* Nanoseconds of a clock that never goes back. */
uint64_t os_now_ns(void);
/* Of the clock on the wall, since 1970. */
uint64_t os_wall_ns(void);
void os_sleep_ms(unsigned ms);
/* Lets another thread have the processor. */
void os_yield(void);
unsigned os_processors(void);
/* Which processes the numbers of this system mean: the same for all that see the same ones. Not 0.
 */
uint64_t os_process_space(void);

/* What is wrong with a line of a file that names others. NULL: nothing. Linux: their names are any
 * bytes. Windows: a line that is not UTF-8 names none, or another one. */
const char *os_line_fault(const char *line);
/* Opens a file for reading; `path` is UTF-8. NULL: errno says why. */
FILE *os_read_file(const char *path);

/* A file that gets other content: all of it at once, or it stays as it was. */
struct os_replacement {
    FILE *to;
    char path[1024], beside[1060];
    bool left; /* the file may be gone; its new content has the name `beside` */
};
/* Begins to write the content. NULL: errno says why. */
FILE *os_replace_begin(struct os_replacement *r, const char *path);
/* `ok`: it is whole. False: the file stays as it was, or see `left`; errno says why. */
bool os_replace_end(struct os_replacement *r, bool ok);

/* What is wrong with the name of a file that does not depend on where the program was started, and
 * with the name of a place for clients (socket, pipe). NULL: nothing. */
const char *os_path_fault(const char *path);
const char *os_place_fault(const char *where);
/* The name of a place that stays right if the process goes to another directory, in memory of its
 * own. NULL: errno says why. Windows: all names of pipes do. */
char *os_place_for_good(const char *where);
/* Who may put a socket at `where` decides what clients read. True: others than this user and root
 * may. Windows: false; a pipe's owner is looked at by those who connect. */
bool os_place_is_exposed(const char *where);
/* The directory for that socket is not there. Windows: false. */
bool os_place_is_missing(const char *where);
/* A service with a socket at WHERE has a lock on the file WHERE.lock: one line, this and the path
 * of its pool. (With a pipe the file is empty.) */
#define OS_LOCK_WORD "cachemax-lock "
/* Is it a file that service and clients make beside the socket `where`: WHERE.writes, .lock or
 * .failed, by its name or by a link? Windows: false; they lie in a directory of their own. */
bool os_is_beside(const char *where, const char *path);
/* Are these two names of one file, or the same name? */
bool os_is_same(const char *one, const char *other);
/* Does it lie on a volume on which nothing can be written? Windows: false. */
bool os_is_readonly(const char *path);
bool os_is_directory(const char *path);
/* What is wrong with where a file lies, or will lie; NULL: nothing. */
const char *os_mount_fault(const char *path);
#ifdef _WIN32
const char *os_port_fault(const char *where); /* of the driver's port */
#define OS_PIPES_LEN 9u                       /* of "\\\\.\\pipe\\" in the name of a place */
#define OS_WHO_MAY_ALL "administrator"        /* in messages: "run it as" ... */
#else
#define OS_WHO_MAY_ALL "root"
#endif

#endif
