/* SPDX-License-Identifier: BSD-2-Clause
 *
 * winfsp_types.h - what the mount uses of WinFsp's FUSE 3, for a check of types without the SDK.
 *
 * Names and types only. It says nothing about the layout of WinFsp's structures: what is built with
 * it cannot run. With the SDK (HAVE_WINFSP) its own headers are used, and this file is not.
 */
#ifndef CACHEMAX_WINFSP_TYPES_H
#define CACHEMAX_WINFSP_TYPES_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t fuse_off_t;
typedef uint32_t fuse_mode_t, fuse_uid_t, fuse_gid_t, fuse_dev_t;
typedef uint64_t fuse_ino_t, fuse_fsblkcnt_t, fuse_fsfilcnt_t;
typedef uint16_t fuse_nlink_t;
typedef int32_t fuse_blksize_t;
typedef int64_t fuse_blkcnt_t;

struct fuse_timespec {
    intptr_t tv_sec, tv_nsec;
};
struct fuse_stat {
    fuse_dev_t st_dev, st_rdev;
    fuse_ino_t st_ino;
    fuse_mode_t st_mode;
    fuse_nlink_t st_nlink;
    fuse_uid_t st_uid;
    fuse_gid_t st_gid;
    fuse_off_t st_size;
    struct fuse_timespec st_atim, st_mtim, st_ctim, st_birthtim;
    fuse_blksize_t st_blksize;
    fuse_blkcnt_t st_blocks;
};
struct fuse_statvfs {
    uint64_t f_bsize, f_frsize;
    fuse_fsblkcnt_t f_blocks, f_bfree, f_bavail;
    fuse_fsfilcnt_t f_files, f_ffree, f_favail;
    uint64_t f_fsid, f_flag, f_namemax;
};

struct fuse;
struct fuse_session;
struct fuse_conn_info {
    unsigned capable, want;
};
#define FSP_FUSE_CAP_CASE_INSENSITIVE (1u << 29)
struct fuse_file_info {
    int flags;
    uint64_t fh;
};
struct fuse_config {
    int use_ino, hard_remove, nullpath_ok;
};
struct fuse_args {
    int argc;
    char **argv;
    int allocated;
};
#define FUSE_ARGS_INIT(argc, argv)                                                                 \
    {                                                                                              \
        argc, argv, 0                                                                              \
    }
enum fuse_readdir_flags { FUSE_READDIR_PLUS = 1 << 0 };
enum fuse_fill_dir_flags { FUSE_FILL_DIR_PLUS = 1 << 1 };
typedef int (*fuse_fill_dir_t)(void *buf, const char *name, const struct fuse_stat *st,
                               fuse_off_t off, enum fuse_fill_dir_flags flags);

struct fuse_operations {
    int (*getattr)(const char *, struct fuse_stat *, struct fuse_file_info *);
    int (*readlink)(const char *, char *, size_t);
    int (*mkdir)(const char *, fuse_mode_t);
    int (*unlink)(const char *);
    int (*rmdir)(const char *);
    int (*symlink)(const char *, const char *);
    int (*rename)(const char *, const char *, unsigned);
    int (*chmod)(const char *, fuse_mode_t, struct fuse_file_info *);
    int (*truncate)(const char *, fuse_off_t, struct fuse_file_info *);
    int (*open)(const char *, struct fuse_file_info *);
    int (*read)(const char *, char *, size_t, fuse_off_t, struct fuse_file_info *);
    int (*write)(const char *, const char *, size_t, fuse_off_t, struct fuse_file_info *);
    int (*statfs)(const char *, struct fuse_statvfs *);
    int (*release)(const char *, struct fuse_file_info *);
    int (*fsync)(const char *, int, struct fuse_file_info *);
    int (*readdir)(const char *, void *, fuse_fill_dir_t, fuse_off_t, struct fuse_file_info *,
                   enum fuse_readdir_flags);
    int (*fsyncdir)(const char *, int, struct fuse_file_info *);
    void *(*init)(struct fuse_conn_info *, struct fuse_config *);
    int (*create)(const char *, fuse_mode_t, struct fuse_file_info *);
    int (*utimens)(const char *, const struct fuse_timespec[2], struct fuse_file_info *);
};

struct fuse *fuse_new(struct fuse_args *args, const struct fuse_operations *ops, size_t size,
                      void *data);
int fuse_mount(struct fuse *f, const char *at);
int fuse_loop_mt(struct fuse *f, int clone_fd);
void fuse_unmount(struct fuse *f);
void fuse_destroy(struct fuse *f);
struct fuse_session *fuse_get_session(struct fuse *f);
int fuse_set_signal_handlers(struct fuse_session *s);
void fuse_remove_signal_handlers(struct fuse_session *s);
void fuse_opt_free_args(struct fuse_args *args);

#endif
