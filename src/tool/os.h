/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os.h - everything that the cachemax tool needs from the operating system.
 *
 * One file for each system implements it (os_posix.c, os_win32.c); the build chooses. All other
 * files in src/tool call the system only through the C library and libcachemax. Errors are the
 * system's own positive numbers; os_error_text() names them. Paths are UTF-8.
 */
#ifndef CM_TOOL_OS_H
#define CM_TOOL_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tool/os_process.h"
#include "tool/os_start.h"

/* fd: 1 standard output, 2 standard error. */
bool os_is_terminal(int fd);
/* Columns of the terminal on standard error; 80 if unknown. */
int os_terminal_width(void);

/* A view that fills the terminal on standard output: between begin and end, keys come one by one
 * and are not echoed, if standard input is a terminal. False: the terminal knows no escape
 * sequences, and nothing has begun. (os_*_screen.c) */
bool os_screen_begin(void);
void os_screen_end(void);
/* Waits for a key: its byte. Or OS_KEY_NONE: the time is over, or os_interrupted(). Or
 * OS_KEY_REDRAW: the size has changed, or the process was stopped and goes on. */
enum { OS_KEY_NONE = -1, OS_KEY_REDRAW = -2 };
int os_wait_key(double seconds);
/* Of the terminal on standard output; 80 x 24 if unknown. */
void os_screen_size(int *columns, int *rows);
/* Does the user's locale have UTF-8? */
bool os_shows_unicode(void);

/* From now on Ctrl-C and requests to end only raise a flag (and interrupt waiting calls). Not those
 * on a FUSE file system that hangs: these end only by a signal that is fatal. */
void os_catch_interrupts(void);
bool os_interrupted(void);
void os_forget_interrupt(void); /* the request was answered; the next one counts again */
/* Ends the process like the caught signal would have. Call this when all is closed. */
_Noreturn void os_end_interrupted(void);
/* If the reader of standard output goes away, that is OS_BROKEN_PIPE instead of a signal. */
void os_ignore_broken_pipe(void);
/* Ends the process like the signal of a broken pipe would have. */
_Noreturn void os_end_broken_pipe(void);
void os_sleep(double seconds);

/* Becomes the program `name` that lies beside this one, or else where programs are looked for.
 * `argv` ends with NULL. Returns an error number only if that cannot be done, as on Windows, where
 * no such program is built. */
int os_become(const char *name, char *const argv[]);

/* Results of os_write_stdout() beside 0 and a system's error number. */
enum { OS_BROKEN_PIPE = -1, OS_INTERRUPTED = -2 };
int os_write_stdout(const void *data, size_t len);

/* Opens a file for reading. 0 or an error number; a directory is an error. */
int os_open_file(const char *path, intptr_t *file);
/* Is standard output this file, and has it bytes? A copy to there could go on for ever.
 * (os_*_output.c, as the next three) */
bool os_is_output(intptr_t file);
/* Makes a file that only this user may read, for lines. 0 or an error number, also if the name is
 * taken. */
int os_begin_lines(const char *path, intptr_t *file);
/* Appends whole lines to it, by one call of the system if that takes them so. 0 or an error number;
 * then the file has the whole lines that it took, if it can be cut. */
int os_write_lines(intptr_t file, const char *lines, size_t len);
/* Closes it. 0 or an error number, also of a write before. */
int os_end_lines(intptr_t file);
/* Is `path` a name of this open file? Opens nothing that could wait, such as a pipe. */
bool os_is_named(intptr_t file, const char *path);
/* Reads up to len bytes at `off` (from a pipe: the next bytes). Returns fewer only at the end, so a
 * short read means the end. Returns the number of bytes, or -1 with *error set, also if
 * interrupted. */
int64_t os_read_at(intptr_t file, uint64_t off, void *buf, size_t len, int *error);
/* Makes what was written to the file durable. 0, an error number, or -1: the system cannot do that
 * here. */
int os_sync_file(intptr_t file);
void os_close_file(intptr_t file);
int os_remove_file(const char *path);
/* 0, or the error number that says why nothing is seen at `path`. */
int os_find(const char *path);
bool os_file_size(const char *path, uint64_t *size);
bool os_is_directory(const char *path);
/* Was the working directory removed (POSIX only)? No file can be made in it. */
bool os_is_nowhere(void);
/* Do the symbolic links of `path` lead nowhere: are they a circle, or too many; or is `path` itself
 * one to a name that does not exist (POSIX only)? */
enum os_links { OS_LINKS_LEAD, OS_LINKS_CIRCLE, OS_LINKS_DANGLE };
enum os_links os_links(const char *path);
/* The name of the program that a process runs; "": not known. */
#define OS_PROGRAM 64
void os_program(uint64_t process, char name[OS_PROGRAM]);
/* The directory of `path`, cut to n bytes. */
void os_parent(const char *path, char *parent, size_t n);

struct os_volume {
    char type[24];  /* name of the file system, such as "ext4"; "" if unknown */
    uint64_t free;  /* bytes this user may still allocate */
    bool in_memory; /* tmpfs and the like: lost when the system stops */
    bool read_only; /* mounted read-only */
};
/* Describes the volume of an existing `path`. */
bool os_volume(const char *path, struct os_volume *volume);

/* Does a file take less of its volume than its size? *takes: so many bytes. */
bool os_is_sparse(const char *path, uint64_t *takes);

const char *os_error_text(int error);

/* Memory aligned to 4096 bytes, or NULL. */
void *os_alloc_pages(size_t bytes);
void os_free_pages(void *p);

/* Maps a whole file, for reading and writing, shared. With `make` the file must not exist; it is
 * made with `bytes`, allocated at once. 0 or an error number (then nothing is left behind). */
int os_map_file(const char *path, uint64_t bytes, bool make, void **base);
void os_unmap(void *base, uint64_t bytes);

/* Nanoseconds that the calling thread has run, without the time it waited for a processor. If the
 * system does not measure that finely, the time of the clock. */
uint64_t os_thread_time(void);
/* Nanoseconds since 1970, as in the library's time stamps. */
uint64_t os_wall_time(void);

/* Runs fn(ctx, 0) to fn(ctx, n - 1) in threads of their own and waits for them. 0, or an error
 * number if a thread could not be started (the threads before it ran). */
#define OS_THREADS_MAX 64u
int os_run_threads(unsigned n, void (*fn)(void *ctx, unsigned i), void *ctx);

struct os_machine {
    char cpu[64];    /* "" if unknown */
    char system[96]; /* name and release */
    unsigned processors;
    uint64_t cache[3];  /* bytes of level 1 (data), 2, 3; 0 unknown */
    uint64_t available; /* bytes of memory that are available; UINT64_MAX unknown */
    double load;        /* runnable processes, average of the last minute; < 0 unknown */
};
void os_describe_machine(struct os_machine *m);
/* A directory whose files lie in memory. If there is none, a directory for temporary files. */
void os_memory_directory(char *path, size_t n);

/* ---- Mounts and their control sockets (os_posix_mount.c, os_win32_mount.c) ------------------ */

/* A mount of cachemax-mount that this process can see. */
struct os_mount {
    uint64_t id;
    uint64_t user;   /* who mounted it */
    char *point;     /* where it is */
    char *root;      /* which of its directories is there: "/", or that of a bind mount */
    char *source;    /* its pool, or the socket of its service */
    char device[24]; /* "MAJOR:MINOR" */
};
bool os_has_mounts(void); /* is there a cachemax-mount for this system? */
/* 0 or an error number, also if the list could not be read whole; then it is empty.
 * os_free_mounts() frees the list. */
int os_read_mounts(struct os_mount **list, size_t *n);
void os_free_mounts(struct os_mount *list, size_t n);
/* The mount that `path` lies on, and its path without links, which the caller frees. 0 or an error
 * number. */
int os_locate(const char *path, uint64_t *mount, char **real);
/* The numbers of processes that run `program` (15 bytes of its name at most): this user's, or for
 * root all. Without those that one of them has started. Returns how many it has put in the list. */
size_t os_processes(const char *program, uint64_t *list, size_t most);
/* Where the volume of an existing `path` is mounted. False: that is not known, or longer. */
bool os_mount_point(const char *path, char *point, size_t n);
/* The path without links, which the caller frees; NULL: there is no such file. */
char *os_real_path(const char *path);
/* Who owns the file. */
bool os_owner(const char *path, uint64_t *user);
/* Does this process run as that user? */
bool os_is_user(uint64_t user);
/* Root acts as the user and the group of this file, another user's, until os_act_end(). False: all
 * stays as it is; so on Windows. */
bool os_act_as_owner(const char *path);
void os_act_end(void);
/* The name of a user; his number if he has no name. */
void os_user_name(uint64_t user, char *name, size_t n);
bool os_is_socket(const char *path);
/* Is it there, and may this user write it? Of a directory: make files in it. */
bool os_may_write(const char *path);
/* What keeps a file from its own user, or from root: its mode (*mode: the bits), or a flag of its
 * file system, such as that of `chattr +i` (Linux only). Of Windows nothing is known. */
enum os_bar { OS_BAR_NONE, OS_BAR_MODE, OS_BAR_IMMUTABLE, OS_BAR_APPEND };
enum os_bar os_bar(const char *path, unsigned *mode);
/* Has somebody a lock of a pool's kind on the file: for reading, or for writing? On Windows, and if
 * the file cannot be read, that is not known. */
enum os_lock { OS_LOCK_UNKNOWN, OS_LOCK_NONE, OS_LOCK_READ, OS_LOCK_WRITE };
enum os_lock os_lock(const char *path);
/* Is this the error of a path on a mount whose process is gone? Of a connection to a socket that
 * has no process? */
bool os_is_dead(int error);
bool os_is_refused(int error);
/* Does the mount at `point` have no process any more? If it has one, that is asked,
 * for some seconds. */
bool os_mount_is_dead(const char *point);

/* Calls `fn` for each regular file at or below `path`, in the same file system, and with an error
 * number for what cannot be looked at (`file` is NULL then). No link is followed. What goes away
 * meanwhile is passed over. Stops if `fn` returns other than 0, and returns that. 0, or an error
 * number that was negated: `path` itself cannot be looked at, or lies on a mount that is dead. */
struct os_found {
    uint64_t size;
    uint64_t device, number; /* which file it is; `number` is 0 if it has no other name */
};
typedef int (*os_walk_fn)(void *ctx, const char *path, const struct os_found *file, int error);
int os_walk(const char *path, os_walk_fn fn, void *ctx);
/* Lets the system drop its pages of a file that are not in use. */
void os_drop_pages(const char *path);

/* What "cachemax compare" needs on Windows, where it is no program of its own (os_win32_disk.c).
 * Each returns 0 or an error number. */
/* Makes a file that only this user may read, for writing. An error, too, if the name is taken. */
int os_make_file(const char *path, FILE **file);
int os_make_directory(const char *path);
int os_remove_directory(const char *path);
/* For reading without the system's cache: whole pages, to whole pages of memory. */
int os_open_direct(const char *path, intptr_t *file);
/* Opens a file that nobody else can open meanwhile, or makes it. */
int os_hold_file(const char *path, bool make, intptr_t *file);

/* Connects to a socket, which has a process of `user` behind it. 0 or an error number. */
int os_connect(const char *path, intptr_t *stream, uint64_t *user, uint64_t *process);
/* Sends all of it. 0 or an error number. */
int os_send(intptr_t stream, const void *data, size_t len);
#define OS_FOREVER (-1)
/* Receives some bytes; 0: the other side has ended. -1: *error says why; OS_TIMED_OUT: nothing came
 * for so many seconds; OS_INTERRUPTED: the user asked the process to end. */
enum { OS_TIMED_OUT = -3 };
int64_t os_receive(intptr_t stream, void *buf, size_t len, int seconds, int *error);
void os_end_sending(intptr_t stream); /* what the other side still sends can be received */
void os_disconnect(intptr_t stream);

/* Listens on "ADDRESS:PORT"; the address is numeric, an IPv6 one in brackets. *fd does not wait.
 * `where` gets the address and port that it is. 0, an error number, or OS_BAD_ADDRESS.
 * (os_posix_listen.c; Windows has a web server of its own, and needs no socket.) */
enum { OS_BAD_ADDRESS = -1 };
#define OS_WHERE 80
int os_listen(const char *address, int *fd, char where[OS_WHERE], bool *only_here);
void os_end_connection(int fd); /* both sides see its end; it stays open */

#endif
