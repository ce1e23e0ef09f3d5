/* SPDX-License-Identifier: BSD-2-Clause
 *
 * announce.h - says when the mount is there.
 *
 * announce_posix.c, announce_win32.c. On Linux the mount is there when FUSE calls init. WinFsp
 * calls that first, and makes the mount point after it.
 */
#ifndef CACHEMAX_WINFSP_ANNOUNCE_H
#define CACHEMAX_WINFSP_ANNOUNCE_H

/* Before FUSE begins; nothing has the name `folder` then, or an empty directory. Calls say() once,
 * maybe in another thread, when the mount is there. */
void announce_begin(const char *folder, void (*say)(void));
/* FUSE calls init. */
void announce_init(void);
/* FUSE has ended. say() is not called any more. Without a begin: nothing. */
void announce_end(void);

#endif
