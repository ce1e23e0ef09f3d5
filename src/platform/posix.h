/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix.h - shared by the files of the Linux platform.
 */
#ifndef CM_PLATFORM_POSIX_H
#define CM_PLATFORM_POSIX_H

#include <assert.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <time.h>

#include "platform/platform.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546 /* linux/magic.h, since Linux 5.11 */
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

#define NS_PER_S INT64_C(1000000000)

/* Wraps in the year 2262. A different time still gives a different value. */
static inline int64_t timespec_ns(struct timespec t)
{
    return (int64_t)((uint64_t)t.tv_sec * (uint64_t)NS_PER_S + (uint64_t)t.tv_nsec);
}

/* A cancelled thread ends at its next system call that may wait, whatever locks it holds and
 * whatever it opened. Every function that makes such calls has this as its first line. It delays
 * the cancellation until the function returns. */
static inline void posix_cancel_back(const int *was)
{
    cm_plat_cancel_back(*was);
}
#define POSIX_NO_CANCEL                                                                            \
    __attribute__((cleanup(posix_cancel_back), unused)) const int posix_cancel =                   \
        cm_plat_cancel_off()

/* posix_ours.c */

/* The count gets its page. Once, before anybody reads it. */
void cm_posix_count_forks(void);
/* In a child: it is counted. */
void cm_posix_fork_counted(void);
/* Marks an open file. */
int64_t cm_posix_mark(int fd);
/* Does the descriptor lead to the file with this mark? Also if the system does not say, but not if
 * it is closed. */
bool cm_posix_is_marked(int fd, int64_t mark);

/* A child of fork() has closed the pool files that it inherited (posix_fork.c). Their numbers may
 * belong to something else by now. A child that was made without the handlers of pthread_atfork()
 * has them, but they are its parent's. */
static inline bool file_inherited(const struct cm_plat_file *f)
{
    return f->forks != cm_plat_fork_count();
}

/* -1, so that every call fails: it is a child's copy, or the program has closed the descriptor,
 * whose number may be that of another file now. So it is asked for each use. */
static inline int file_fd(const struct cm_plat_file *f)
{
    assert(f != NULL && f->handle >= 0);
    return file_inherited(f) || !cm_posix_is_marked((int)f->handle, f->mark) ? -1 : (int)f->handle;
}

/* posix_lock.c */

/* Gives back all locks of the file. */
void cm_posix_unlock(const struct cm_plat_file *f);

/* posix_create.c */

/* Opens the directory of `path`; with O_TMPFILE a file in it that has no name. -1 with errno. */
int cm_posix_open_dir(const char *path, int flags);

/* posix_file.c */

/* cm_plat_file.pages: what says which pages are in memory. */
enum { POSIX_PAGES_BY_MAPPING, POSIX_PAGES_BY_READ, POSIX_PAGES_UNKNOWN };

/* The CM_E* code for an errno. */
int cm_posix_error(int err);

/* Takes over a new descriptor of a pool file: sets *f, and lists the descriptor in posix_fork.c. It
 * gets another number than 0, 1 and 2. No fork begins (POSIX_NO_FORK). CM_ENOMEM: it was closed. */
int cm_posix_file_take(struct cm_plat_file *f, int fd);

/* posix_fork.c */

/* From here to the end of the block no fork of this process begins. Then a child gets a descriptor
 * of a pool file only if it is in the list, and no mapping that is half made. Hold no other lock,
 * and make no callback meanwhile. */
void cm_posix_no_fork(void);
void cm_posix_fork_again(const bool *held);
#define POSIX_NO_FORK                                                                              \
    __attribute__((cleanup(cm_posix_fork_again), unused)) const bool posix_no_fork =               \
        (cm_posix_no_fork(), true)
/* The handlers of a fork are registered before main(), as early as possible: those that are
 * registered first run last before a fork. So those of the program, which may wait for a lock that
 * a thread holds over calls of the library, have run when these wait. 102: after a test's, which
 * are at 101. A library that is loaded later registers then. The allocator of a program may have
 * such handlers, too, registered later than these, for locks that a thread takes under one of the
 * library's. So nothing is allocated or freed while a lock is held that these handlers take. */
#define POSIX_AT_FORKS __attribute__((constructor(102)))
/* Memory that no allocator gives: zeroed, of whole pages. `was` bytes at p become `bytes`; with p
 * NULL it is new. NULL: there is none, and p stays. cm_posix_unmap() takes NULL, too. */
void *cm_posix_remap(void *p, size_t was, size_t bytes);
void cm_posix_unmap(void *p, size_t bytes);
/* A child will close this descriptor, which has this mark. It was opened under the same
 * POSIX_NO_FORK. CM_ENOMEM: it was closed. */
int cm_posix_fork_list(int fd, int64_t mark);
/* Closes a descriptor and takes it off the list. If it leads to another file by now, its number is
 * left alone. */
void cm_posix_fork_close(int fd, int64_t mark);

/* posix_guard.c */

/* Values of cm_plat_ready (platform.h): the state that a thread must have. */
#define THREAD_BEGUN 1u
#define THREAD_GUARDED 2u /* has unblocked the signals of faults */
/* Unblocks these signals in this thread. */
void cm_posix_guard_unblock(void);

/* posix_identity.c */

/* Continues the hash `h` with `n` bytes; `what` names them. Ids of files are made with it, so it
 * must never change. */
uint64_t cm_posix_mix(uint64_t h, const char *what, const void *data, size_t n);

/* posix_sysfs.c */

/* Reads a small text file of the kernel; returns its length, or -1 with errno. */
ssize_t cm_posix_read_text(const char *path, char *buf, size_t size);
/* Reads a whole file of the kernel, to memory of *bytes; the caller gives it to cm_posix_unmap().
 * NULL: it cannot be read, or not all of it. */
char *cm_posix_read_all(const char *path, size_t *bytes);
/* What it means if something of the kernel's that tells files apart cannot be read. 0: there is no
 * such thing. */
int cm_posix_unseen(int err);
/* Does sysfs have an entry `name` in its directory `dir`? 1: yes; *number is its inode number,
 * which the kernel gives to no other before the next boot. 0: no. CM_ECLONE: it cannot be looked
 * at, as in a sandbox. */
int cm_posix_sysfs_shows(const char *dir, const char *name, uint64_t *number);
/* The directory of a disk or partition in sysfs. 1: there it is. 0: sysfs has none, and `dir` is
 * where it would be. CM_ECLONE: it cannot be looked at; CM_EIO, CM_ENOMEM: not now. */
#define POSIX_DISK_DIR 64
int cm_posix_disk_dir(uint32_t major_no, uint32_t minor_no, char dir[POSIX_DISK_DIR]);
/* The name of the directory that sysfs has for a file system on a disk. False: not known. */
bool cm_posix_disk_name(uint32_t major_no, uint32_t minor_no, char name[64]);
/* The kernel numbers every disk that it finds. The same device number with another sequence number
 * is another disk, or the same disk pulled out and put back. 0 if unknown. */
uint64_t cm_posix_disk_sequence(uint32_t major_no, uint32_t minor_no);

/* posix_mounts.c */

/* A line of mountinfo. */
struct mount_line {
    unsigned long long id;
    unsigned major_no, minor_no;
    const char *type;
    uint64_t source;
    int64_t fuse_user; /* the user who mounted it, says FUSE; -1: it does not say */
    bool no_barriers;  /* a sync does not reach the disk */
    bool no_upper;     /* an overlay that has nowhere to copy a file to */
};
/* All mounts that this process can see. */
struct mounts {
    struct mount_line *line;
    size_t count, room;
    char *text;       /* NULL: /proc cannot be read, or not all of it. Then there is no line */
    size_t text_room; /* bytes */
};
/* The caller gives the result to cm_posix_mounts_free. */
void cm_posix_mounts_read(struct mounts *m);
void cm_posix_mounts_free(struct mounts *m);
/* The line of the mount through which a file was opened; NULL: it is not listed. */
const struct mount_line *cm_posix_mount_of(const struct mounts *m, int fd);
/* Which user's program answers for the FUSE file system of an open file? False: the kernel's own
 * client does (virtiofs), or it is not FUSE. *user is UINT32_MAX if the mount is not listed. */
bool cm_posix_fuse_user(int fd, uint32_t *user);

/* The number of the mount through which a file was opened. `unique`: a number that is never used
 * again (Linux 6.8), else that of mountinfo. 0: the kernel does not say. */
uint64_t cm_posix_mount_number(int fd, bool unique);

/* posix_trust.c */

/* Opens a file for reading, and for writing unless `readonly`, if nobody else could have written it
 * or put it there. 0, an errno, CM_EUNTRUSTED with the reason in `why`, or CM_EMOVED as
 * cm_plat_file_open_trusted(). */
int cm_posix_open_trusted(const char *path, bool readonly, char why[PLAT_WHY], int *fd);

/* posix_volume.c */

/* The word that stands for the volume of an open file whose st_dev is `dev`. CM_ECLONE: another
 * mounted volume has the same word, or something that the word depends on cannot be looked at.
 * CM_EIO CM_ENOMEM. */
int cm_posix_volume_word(int fd, uint64_t dev, const struct statfs *fs, uint64_t *word);

/* posix_create.c */

/* Is the file so long? If it is shorter, somebody has cut it. What makes it longer then leaves a
 * hole there, and zeros are read as if they were cached. */
bool cm_posix_reaches(int fd, uint64_t offset);
/* Allocates [from, size) of a file that is at least `from` long, as cm_plat_file_create() does.
 * CM_EIO: also if somebody cuts it meanwhile. */
int cm_posix_allocate(const struct cm_plat_file *f, uint64_t from, uint64_t size,
                      int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx);
/* Syncs an open file or, unless `base` is NULL, this part of its mapping. 0, or -1 with errno. On
 * FUSE a sync ends with EINTR if a signal comes and its server stops for that, so signals are
 * blocked. A sync that says EINTR all the same has failed: the server may have answered so to the
 * write of a page, and then the page is lost, and the next sync says nothing of it. */
int cm_posix_sync(int fd, void *base, size_t n);
/* How errors are told whose code says too little, by an open and by a create. */
#define POSIX_READ_ONLY "its volume is mounted read-only"
#define POSIX_LINKS "its path has too many symbolic links (do they lead in a circle?)"
/* Bytes that the volume of a file has free. False: not known, or there is no limit. */
bool cm_posix_free_bytes(const struct cm_plat_file *f, uint64_t *bytes);
/* May the process make files of this size? Else it would get SIGXFSZ and end. */
bool cm_posix_size_allowed(uint64_t size);
/* posix_room.c: asks the file system to write the pages of a file without data in their place. */
void cm_posix_write_in_place(int fd);

#endif
