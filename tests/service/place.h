/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place.h - a directory with a pool and a configuration, and a service that runs there.
 *
 * place.c has what is the same on all systems; place_posix.c and place_win32.c have the rest.
 */
#ifndef PLACE_H
#define PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
typedef void *place_process;
#else
#include <sys/types.h>
typedef pid_t place_process;
#endif

extern char place_dir[512], place_socket[600]; /* after place_make() or place_join() */
extern char place_log_path[600];               /* after place_log(); else "" */

/* Ends the program with status 2: what failed, and the system's reason. */
_Noreturn void place_die(const char *what);
uint64_t place_now_ns(void);
void place_sleep_us(unsigned us);

/* How long a test waits for what should come at once: only what is broken takes so long. */
#define PLACE_PATIENCE_NS UINT64_C(60000000000)

/* A new directory below TMPDIR. */
void place_make(uint64_t pool_bytes);
/* Writes the configuration again, with `more` lines. */
void place_configure(const char *more);
/* POSIX: programs that are started from now on write their log to a file of the directory. */
void place_log(void);
/* Where the log ends now. */
long place_log_end(void);
/* The lines behind byte `from` of the log that have both texts. */
unsigned place_log_lines(long from, const char *a, const char *b);
/* Waits for such a line. */
bool place_log_has(long from, const char *a, const char *b);
/* The place that another process has made. */
void place_join(const char *dir);
/* Removes the directory. What the caller made there is gone already. */
void place_clean(void);
/* Where clients come, for a directory. */
void place_name_socket(void);
/* Removes what the service leaves outside of the directory. */
void place_clean_socket(void);

/* Starts a program with its arguments, the last one NULL. `program`: NULL: this one. */
place_process place_run(const char *program, const char *const *args);
/* Starts the service; it may take clients a little later. */
place_process place_start(const char *service);
/* Has it ended? Then it is forgotten; *status: 0 if it ended well. */
bool place_has_ended(place_process p, int *status);
/* The same, and waits for it. */
int place_await(place_process p);
/* Ends a process at once; it is forgotten. */
void place_kill(place_process p);
/* Asks the service to end. place_await() waits for it. */
void place_end(place_process p);
/* Nothing of it runs, until place_resume(). */
void place_suspend(place_process p);
void place_resume(place_process p);

/* Memory of all processes that name it, zeros at first: the file NAME of the directory. */
void *place_shared(const char *name, size_t n);
void place_forget(void *shared, size_t n);

/* A file as the library's calls take it. */
intptr_t place_open(const char *path, bool write);
void place_close(intptr_t file);
/* Return the bytes; negative: it failed. */
int64_t place_read(intptr_t file, void *to, size_t n, uint64_t offset);
int64_t place_write(intptr_t file, const void *from, size_t n, uint64_t offset);
bool place_truncate(intptr_t file, uint64_t size);

#endif
