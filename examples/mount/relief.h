/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relief.h - descriptors for names: they are given back before they run out, and what is made has
 * one.
 *
 * Each name that the kernel knows takes one. Who: keeper.c's threads run it; inode.c, and what
 * makes names.
 */
#ifndef CACHEMAX_MOUNT_RELIEF_H
#define CACHEMAX_MOUNT_RELIEF_H

#include <stdbool.h>
#include <stdint.h>

uint64_t relief_names_max(void); /* with so many they are given back */
/* By a keeper, often: on file systems that are far, or on the others. It waits for locks of the
 * kernel, so not in a thread that answers requests. */
void relief_run(bool far);
/* A lookup made this many names. If there are too many, this waits until some are dropped. */
void relief_throttle(uint64_t names);

/* Before something is made that gets a name: keeps a place for its descriptor, for this thread. 0
 * or errno: then nothing may be made. */
int relief_reserve(void);
/* As openat(). If there is no place, the one that this thread keeps is used. */
int relief_open(int dirfd, const char *name, int flags);

#endif
