/* SPDX-License-Identifier: BSD-2-Clause
 *
 * mountinfo.h - the mounts that this process can see, in /proc/self/mountinfo.
 *
 * A list that could be read only in part is no list: what is looked for may be in the other part.
 * So whoever has read up to the end asks mountinfo_end() whether that was all.
 *
 * Who: place.c.
 */
#ifndef CACHEMAX_MOUNT_MOUNTINFO_H
#define CACHEMAX_MOUNT_MOUNTINFO_H

#include <stdbool.h>
#include <stdio.h>

struct mountinfo {
    FILE *f;
    char *text;
    size_t room;
    int error; /* an errno */
};

/* One mount. Its texts are valid until the next call. */
struct mount_line {
    unsigned long long id;
    char *device, *root, *point; /* "MAJOR:MINOR", and two paths */
    bool ours;                   /* a mount of cachemax-mount */
};

void mountinfo_begin(struct mountinfo *m);
/* The next mount of the list. False: there is none, or the list cannot be read on. */
bool mountinfo_next(struct mountinfo *m, struct mount_line *l);
/* Closes the list, which need not be read to its end. False: a part could not be read; errno. */
bool mountinfo_end(struct mountinfo *m);

/* Where a mount of this device is; the caller frees it. NULL: there is none, or they cannot be
 * read.
 */
char *mountinfo_place(const char *device);
/* The id of the mount that fd is on; 0: not known (errno). */
unsigned long long mountinfo_of(int fd);
/* The id and the device of the mount at the directory, of which the list has told nothing. Its file
 * system is not asked. False: not known. */
bool mountinfo_at(const char *dir, unsigned long long *id, char *device, size_t n);

#endif
