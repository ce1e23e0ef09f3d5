/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_identity.c - on Linux: the identity of an origin file.
 *
 * Owns: the rules that tell two files apart and recognise a file again, and what proves a file
 * unchanged.
 *
 * Who: api/, platform/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200 /* Linux 6.5: the handle only tells files apart */
#endif

uint64_t cm_posix_mix(uint64_t h, const char *what, const void *data, size_t n)
{
    return XXH3_64bits_withSeed(data, n, XXH3_64bits_withSeed(what, strlen(what), h));
}

/* The number that tells a file from an earlier file with the same inode number; 0 if there is none.
 * An error does not count as none: the file would get two ids. */
static int inode_generation(int fd, uint32_t type, uint64_t *number)
{
    long generation = 0; /* the size that the request names; file systems write an int */

    *number = 0;
    if (ioctl(fd, (posix_request)FS_IOC_GETVERSION, &generation) == 0) {
        *number = (uint64_t)generation;
        return 0;
    }
    switch (errno) {
    case ENOTTY:
    case EOPNOTSUPP:
    case ENOSYS:
    case EINVAL:
        return 0;
    default: /* EPERM, EACCES: refused by a filter of system calls */
        return type == FUSE_SUPER_MAGIC ? 0 : CM_EIO; /* a server may return any error */
    }
}

union handle {
    struct file_handle h;
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

/* False: the kernel has no handles, or a filter of system calls refuses. */
static bool get_handle(int fd, union handle *u)
{
    static const int asked[] = { AT_EMPTY_PATH, AT_EMPTY_PATH | AT_HANDLE_FID };
    int mount;

    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        memset(u, 0, sizeof *u);
        u->h.handle_bytes = MAX_HANDLE_SZ;
        if (name_to_handle_at(fd, "", &u->h, &mount, asked[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* An overlay shows the inode number that the file has in its layer. Does the layer's file system
 * give every file a number of its own, and does the number last? Not on btrfs (numbers repeat in
 * each subvolume), not on FUSE, and not in an image without a UUID (squashfs, iso9660), because the
 * next image has the same numbers. The kernel's form of such a handle is struct ovl_fh: 3 bytes,
 * version, magic, length, flags, type of the layer's handle, its UUID. */
static bool layer_numbers_files(const union handle *u)
{
    enum { OVL_FILEID_V1 = 0xf8, INO32_GEN = 0x01, INO64_GEN = 0x81, TYPE = 7, UUID = 8 };
    static const uint8_t no_uuid[16];
    const uint8_t *of = u->h.f_handle;

    return u->h.handle_type == OVL_FILEID_V1 && u->h.handle_bytes >= UUID + sizeof no_uuid &&
           (of[TYPE] == INO32_GEN || of[TYPE] == INO64_GEN) &&
           memcmp(of + UUID, no_uuid, sizeof no_uuid) != 0;
}

/* The number that stands for the file in its volume: the inode number. But a FUSE server may give
 * one number to two files (of two devices below it). If the caller named the volume, the caller
 * knows better. The kernel itself knows a FUSE file by node and generation, which are in its
 * handle. The inode number counts in any case: some servers use a node again and leave the
 * generation as it is. overlayfs shows the numbers of its layers' files. They tell files apart if
 * those of the layers' file system do. */
static int file_number(int fd, const struct stat *st, const struct statfs *fs,
                       const cm_identify_options *o, uint64_t *number)
{
    union handle u;

    *number = (uint64_t)st->st_ino;
    if (o->volume_id != NULL) {
        return 0;
    }
    if ((uint32_t)fs->f_type == OVERLAYFS_SUPER_MAGIC) {
        return get_handle(fd, &u) && layer_numbers_files(&u) ? 0 : CM_ECLONE;
    }
    if ((uint32_t)fs->f_type != FUSE_SUPER_MAGIC) {
        return 0;
    }
    if (!get_handle(fd, &u)) {
        return CM_ECLONE;
    }
    *number = XXH3_64bits_withSeed(u.h.f_handle, u.h.handle_bytes, (uint64_t)st->st_ino);
    return 0;
}

#define NS_ALWAYS_FRESH INT64_C(20000000)

/* Two clocks, read before the attributes. `tick`: the clock that files get their times from. That
 * clock may stand still for a while in a virtual machine that waits for its processor. */
struct moment {
    int64_t wall, tick;
};

static struct moment now(void)
{
    struct timespec tick = { 0, 0 }; /* if the clock cannot be read, no time is old enough */

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &tick);
    return (struct moment){ .wall = cm_plat_wall_ns(), .tick = timespec_ns(tick) };
}

/* A stamp from the future proves nothing. */
static bool times_are_ahead(const struct stat *st, const struct moment *m)
{
    const int64_t latest_s = m->wall / NS_PER_S + 1;

    return st->st_mtim.tv_sec > latest_s || st->st_ctim.tv_sec > latest_s;
}

/* A timestamp that is not older than the clock's granularity may hide a second change. So a time of
 * the present tick is racy and, because kernels differ, a time of the last 20 ms. If both stamps
 * are whole seconds, the volume probably keeps no more (FAT: even seconds). */
static bool times_are_racy(const struct stat *st, const struct moment *m)
{
    const bool coarse = st->st_mtim.tv_nsec == 0 && st->st_ctim.tv_nsec == 0;
    const int64_t granule = NS_ALWAYS_FRESH + (coarse ? 2 * NS_PER_S : 0);
    const int64_t first = m->tick < m->wall - granule ? m->tick : m->wall - granule;

    return times_are_ahead(st, m) || timespec_ns(st->st_mtim) >= first ||
           timespec_ns(st->st_ctim) >= first;
}

/* Multigrain timestamps, in Linux since 6.13 (Documentation/filesystems/multigrain-ts.rst): after
 * somebody looked at a file's ctime, the next change of the file gets a later one, however soon it
 * comes. The file systems are those whose type has FS_MGTIME. They keep whole seconds in small
 * inodes of ext4, and there this is not so. */
static bool has_multigrain_times(uint32_t type, const struct stat *st)
{
    struct utsname u;
    unsigned major, minor;

    if (type != 0xef53 /* ext4 */ && type != 0x58465342 /* xfs */ &&
        type != 0x9123683e /* btrfs */ && type != 0x01021994 /* tmpfs */) {
        return false;
    }
    return st->st_ctim.tv_nsec != 0 && uname(&u) == 0 && strcmp(u.sysname, "Linux") == 0 &&
           sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 13));
}

/* times_are_racy() with multigrain timestamps. The kernel forgets that somebody looked when it
 * drops the inode from its memory. Then a change could get the time of the present tick again. The
 * open file keeps the inode in memory. So with `may_wait` wait for the next tick, in which no
 * change can get the old time. That takes a few ms, and only if the file changed in this tick. */
static bool fine_times_are_racy(const struct stat *st, const struct moment *m, bool may_wait)
{
    const int64_t changed = timespec_ns(st->st_ctim);
    struct moment then = *m;

    if (times_are_ahead(st, m) || changed - m->tick > NS_ALWAYS_FRESH) {
        return true;
    }
    for (unsigned i = 0; may_wait && changed >= then.tick && i < 20; i++) {
        const struct timespec ms = { .tv_nsec = 1000000 };
        (void)nanosleep(&ms, NULL);
        then = now();
    }
    return changed >= then.tick;
}

/* Does a later change have other times? */
static bool times_prove(const struct stat *st, const struct moment *m, uint32_t type, bool may_wait)
{
    return has_multigrain_times(type, st) ? !fine_times_are_racy(st, m, may_wait)
                                          : !times_are_racy(st, m);
}

/* File systems on which only this system writes, so it knows all writers. Their magic numbers are
 * the kernel's (linux/magic.h). overlayfs is not in the list: a writable mapping there holds the
 * file of the layer below. So a lease of the upper file is granted although a process can still
 * store. */
static bool writes_are_local(uint32_t type)
{
    static const uint32_t local[] = {
        0xef53 /* ext2, 3, 4 */,   0x58465342 /* xfs */,      0x9123683e /* btrfs */,
        0x01021994 /* tmpfs */,    0x858458f6 /* ramfs */,    0xf2f52010 /* f2fs */,
        0x2fc12fc1 /* zfs */,      0xca451a4e /* bcachefs */, 0x4d44 /* vfat */,
        0x2011bab0 /* exfat */,    0x7366746e /* ntfs3 */,    0x9660 /* iso9660 */,
        0x73717368 /* squashfs */, 0xe0f5e1e2 /* erofs */,    0x15013346 /* udf */,
        0x3153464a /* jfs */,      0x3434 /* nilfs2 */,       0x52654973 /* reiserfs */
    };
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        if (type == local[i]) {
            return true;
        }
    }
    return false;
}

/* Takes a read lease. It is granted only while no process has the file open for writing or mapped
 * writable. A process that then opens the file for writing waits until the lease is gone. The lease
 * is taken on a descriptor of its own: a lease belongs to the open file, and the caller's open file
 * may already have one, in this thread or another. The default signal to the holder is SIGIO, which
 * ends a process that does not expect it. SIGURG is ignored by default. Returns a descriptor to
 * close, or -1: none was granted. */
static int take_read_lease(int fd, const struct statfs *fs)
{
    char path[32];
    int own;

    if (!writes_are_local((uint32_t)fs->f_type)) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    own = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (own < 0) {
        return -1;
    }
    if (fcntl(own, F_SETSIG, SIGURG) != 0 || fcntl(own, F_SETLEASE, F_RDLCK) != 0) {
        (void)close(own);
        return -1;
    }
    return own;
}

/* Closing alone would be enough, but a fork() may have copied the descriptor meanwhile. */
static void drop_lease(int own)
{
    if (own >= 0) {
        (void)fcntl(own, F_SETLEASE, F_UNLCK);
        (void)close(own);
    }
}

/* Is it a file of memfd_create(), or of the kernel itself? It looks like a file of tmpfs that was
 * unlinked. The kernel does not count who writes it: a lease is granted beside a writer. */
static bool is_made_in_memory(const struct statfs *fs, const struct stat *st)
{
    return (uint32_t)fs->f_type == TMPFS_MAGIC && st->st_nlink == 0;
}

/* fstat() at a moment when no process writes, if the system can show that. CM_RACY_WRITER: it
 * cannot. The times show a write from its beginning on, but the last data of the write come later.
 * So no process may be in the middle of a write. */
static int stat_unwritten(int fd, const struct statfs *fs, struct stat *st, uint32_t *racy)
{
    const int lease = take_read_lease(fd, fs);
    const int rc = fstat(fd, st);

    drop_lease(lease);
    *racy = lease < 0 || (rc == 0 && is_made_in_memory(fs, st)) ? CM_RACY_WRITER : 0;
    return rc;
}

/* File systems that generate a file when it is read: its size and times say nothing about its
 * contents. Their magic numbers are the kernel's (linux/magic.h). */
static bool attributes_are_made_up(uint32_t type)
{
    static const uint32_t made_up[] = {
        0x9fa0 /* proc */,
        0x62656572 /* sysfs */,
        0x27e0eb /* cgroup */,
        0x63677270 /* cgroup2 */,
        0x64626720 /* debugfs */,
        0x74726163 /* tracefs */,
        0x73636673 /* securityfs */,
        0xcafe4a11 /* bpf */,
        0x6165676c /* pstore */,
        0x62656570 /* configfs */,
        0xde5e81e4 /* efivarfs */,
        0xf97cff8c /* selinuxfs */,
        0x42494e4d /* binfmt_misc */,
        0x65735543 /* fusectl */,
        0x7655821 /* resctrl */,
        0x6e667364 /* nfsd */,
        0x67596969 /* rpc_pipefs */,
        0x5a3c69f0 /* apparmorfs */,
        0x43415d53 /* smackfs */,
        0x19800202 /* mqueue */,
        0xabba1974 /* xenfs */,
        0x1cd1 /* devpts */,
        0x187 /* autofs */,
    };
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) {
        if (type == made_up[i]) {
            return true;
        }
    }
    return false;
}

/* Could another file have the same id, size and times after a restart? Magic numbers as above. */
static bool may_be_another(uint32_t type, const cm_identify_options *o)
{
    /* Here inode numbers are counted as files are looked up, and the count starts anew with every
     * boot. */
    static const uint32_t counted[] = { 0x4d44 /* vfat */, 0x2011bab0 /* exfat */ };
    /* Here a program writes all files at once and may set all times and numbers, so that equal
     * contents make equal images. The next image has the same numbers. */
    static const uint32_t images[] = {
        0x73717368 /* squashfs */, 0x9660 /* iso9660 */,    0x15013346 /* udf */,
        0xe0f5e1e2 /* erofs */,    0x28cd3d45 /* cramfs */, 0x7275 /* romfs */
    };

    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
        if (type == counted[i]) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof images / sizeof images[0] && o->volume_id == NULL; i++) {
        if (type == images[i]) {
            return true;
        }
    }
    return false;
}

/* The word that stands for the volume in an id: from the caller's name for it or the system. */
static int volume_word(int fd, const struct stat *st, const struct statfs *fs,
                       const cm_identify_options *o, uint64_t *word)
{
    if (o->volume_id != NULL) {
        *word = XXH3_64bits(o->volume_id, strlen(o->volume_id));
        return 0;
    }
    return cm_posix_volume_word(fd, (uint64_t)st->st_dev, fs, word);
}

int cm_plat_identify(intptr_t os_file, const cm_identify_options *o, cm_file_id *id,
                     cm_validator *v)
{
    POSIX_NO_CANCEL;
    const int fd = (int)os_file;
    struct statfs fs;
    struct stat st;
    uint64_t word[3] = { 0, 0, 0 };
    XXH128_hash_t hash;
    const uint64_t taken_at = cm_plat_now_ns();
    const struct moment before = now();
    const bool sole = (o->flags & CM_IDENTIFY_SOLE_WRITER) != 0;
    uint32_t racy = 0;
    int rc;

    if (id == NULL || v == NULL || os_file < 0 || os_file > INT_MAX) {
        return CM_EINVAL;
    }
    if (fstat(fd, &st) != 0) {
        return errno == EBADF ? CM_EINVAL : CM_EIO;
    }
    if ((fcntl(fd, F_GETFL) & O_PATH) != 0) {
        return CM_EINVAL; /* this file system does not tell the generation */
    }
    /* If the content of a block device changes, none of its attributes shows it. */
    if (!S_ISREG(st.st_mode)) {
        return CM_ENOTFILE;
    }
    memset(&fs, 0, sizeof fs);
    if (fstatfs(fd, &fs) != 0 && o->volume_id == NULL) {
        return CM_EIO; /* a FUSE server may refuse; then nothing shows that it is FUSE */
    }
    if (attributes_are_made_up((uint32_t)fs.f_type)) {
        return CM_ENOTFILE;
    }
    if (!sole && stat_unwritten(fd, &fs, &st, &racy) != 0) {
        return CM_EIO;
    }
    rc = volume_word(fd, &st, &fs, o, &word[0]);
    if (rc != 0) {
        return rc;
    }
    rc = file_number(fd, &st, &fs, o, &word[1]);
    rc = rc != 0 ? rc : inode_generation(fd, (uint32_t)fs.f_type, &word[2]);
    if (rc != 0) {
        return rc;
    }
    hash = XXH3_128bits(word, sizeof word);
    *id = (cm_file_id){ .hi = hash.high64, .lo = hash.low64 };
    if (id->hi == 0 && id->lo == 0) {
        id->lo = 1;
    }
    cm_plat_validator(v, (uint64_t)st.st_size, timespec_ns(st.st_mtim), timespec_ns(st.st_ctim), 0);
    v->taken_at = taken_at;
    v->racy =
        racy |
        (times_prove(&st, &before, (uint32_t)fs.f_type, !sole && racy == 0) ? 0 : CM_RACY_TIMES) |
        (may_be_another((uint32_t)fs.f_type, o) ? CM_RACY_VOLUME : 0);
    return 0;
}
