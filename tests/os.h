/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os.h - what the tests want from the operating system beyond C and threads.
 *
 * os_posix.c or os_win32.c implements it; the build chooses. A test whose very subject is one
 * system stays with that system (test_platform_posix*.c, test_platform_win32*.c).
 */
#ifndef CM_TESTS_OS_H
#define CM_TESTS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The directory for temporary files. */
const char *os_temp(void);
/* Makes a new directory `place`/cachemax-NAME-something; place NULL: os_temp(). */
bool os_make_dir(char *dir, size_t n, const char *place, const char *name);
bool os_remove_dir(const char *dir);
/* The same for an empty file, which nobody else uses. */
bool os_make_file(char *path, size_t n, const char *name);

/* 0, or -1 with nothing changed. */
int os_resize(const char *path, uint64_t size);
/* Size of a file, and the bytes it occupies; -1: no such file. */
int64_t os_size(const char *path);
int64_t os_space(const char *path);

/* C11's aligned_alloc, which one system's library lacks. */
void *os_aligned(size_t align, size_t bytes);
void os_aligned_free(void *p);

enum os_access { OS_NOTHING, OS_READ, OS_WRITE };
/* Whole pages of a mapping or of cm_plat_alloc(). */
void os_protect(void *p, size_t n, enum os_access access);
/* Large pages for what will mostly be used: a test of a memory pool spends most of its time where a
 * page is first used. Does nothing if the system has none. */
void os_large_pages(void *p, size_t n);

/* Starts this program again with "--child NAME ARG" and waits for it; returns its exit status.
 * Where there is fork() the tests use that: an emulator cannot start a program by itself. */
int os_run_self(const char *name, const char *arg);

#endif
