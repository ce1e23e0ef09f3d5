/* SPDX-License-Identifier: BSD-2-Clause
 *
 * swap_os.h - what swap.c needs of the system: swap_posix.c, swap_win32.c.
 *
 * All return 0 or -errno. What changes a name is on the disk when it returns.
 */
#ifndef CACHEMAX_WINFSP_SWAP_OS_H
#define CACHEMAX_WINFSP_SWAP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "swap.h"

/* The absolute path of a folder that may not exist; its parent must. Its own name is the one that
 * the directory has, if it is there or aside: Windows finds it by other letters and by a short
 * name, too, and those must not become its name. -EINVAL: it has none of its own, as "/" and "..".
 */
int swap_os_resolve(const char *folder, char *path, size_t room);
/* The absolute path of what is there, without links. */
int swap_os_real(const char *given, char *path, size_t room);
/* What the directory is, whatever it is called: a word. -ENOTDIR: something else, or a link. */
int swap_os_id(const char *path, char id[SWAP_ID]);
/* Makes an empty journal, locked. -EEXIST. */
int swap_os_create(const char *path, intptr_t *journal);
/* -EAGAIN: somebody has removed the journal meanwhile. */
int swap_os_write(intptr_t journal, const char *text);
/* Opens it, locks it, and reads it. -EAGAIN: another process has the lock. -ENOENT. -EPERM: another
 * user may have made, written or replaced it; *why says how. Users are this one and root, or
 * administrators and the system. */
int swap_os_open(const char *path, char *text, size_t room, intptr_t *journal, const char **why);
/* Removes the journal; then the lock is gone. After an error it is still there. */
int swap_os_remove(const char *path, intptr_t journal);
/* Gives the lock up. The journal stays. */
void swap_os_close(intptr_t journal);
/* Renames a directory. Never replaces anything: -EEXIST. */
int swap_os_move(const char *from, const char *to);
/* Others have had something open there for a moment: lets some time pass. */
void swap_os_pause(void);
/* Makes what a mount needs at its name. */
int swap_os_make_place(const char *folder);
/* Removes what a mount has left there: a dead mount, an empty directory. Nothing there: 0.
 * -ENOTEMPTY, -EBUSY, -ENOTDIR: it is something else, and stays. */
int swap_os_clear_place(const char *folder);
/* Requests to end (SIGTERM, Ctrl-C) wait from now on, or are let through. */
void swap_os_hold(bool hold);

#endif
