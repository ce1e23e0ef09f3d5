/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin.h - the files of the folder, where it lies while the mount has its name.
 *
 * origin_posix.c, origin_win32.c. Paths are those of FUSE: UTF-8, "/" is the folder. Results: 0 or
 * more, or -errno.
 */
#ifndef CACHEMAX_WINFSP_ORIGIN_H
#define CACHEMAX_WINFSP_ORIGIN_H

#include "fuse_api.h"

#include <stdbool.h>
#include <stdint.h>

typedef intptr_t origin_file; /* descriptor or HANDLE, as cm_identify() takes it */

/* Once, before the others. The folder may then have any name. Windows, `everyone`: the modes give
 * all users all rights; else only those that the files belong to, who started the mount. */
int origin_begin(const char *folder, bool everyone);
void origin_end(void);

struct origin_how {
    bool reads, writes, create, exclusive;
    api_mode mode; /* of a new file */
};
/* A regular file. -ELOOP: a link. */
int origin_open(const char *path, const struct origin_how *how, origin_file *f);
/* Another handle of the same file, whatever its name is now, for reading and writing. */
int origin_reopen(origin_file f, origin_file *writer);
int origin_close(origin_file f);
/* Fewer bytes only at the end of the file. */
int64_t origin_read(origin_file f, uint64_t off, void *buf, size_t len);
/* Fewer bytes: an error came after them. */
int64_t origin_write(origin_file f, uint64_t off, const void *buf, size_t len);
int origin_set_size(origin_file f, uint64_t size);
int origin_sync(origin_file f, bool datasync);
int origin_stat_file(origin_file f, api_stat *st);

int origin_stat(const char *path, api_stat *st);
/* `each` returns false: enough. */
int origin_list(const char *path, bool (*each)(void *ctx, const char *name, const api_stat *st),
                void *ctx);
int origin_mkdir(const char *path, api_mode mode);
int origin_rmdir(const char *path);
int origin_unlink(const char *path);
/* Replaces what is at `to`; with `keep`: -EEXIST. */
int origin_rename(const char *from, const char *to, bool keep);
int origin_chmod(const char *path, api_mode mode);
int origin_set_times(const char *path, const api_timespec tv[2]);
/* The same of an open file. Windows: -EACCES if it was opened for reading only. */
int origin_set_times_of(origin_file f, const api_timespec tv[2]);
int origin_space(api_statvfs *s);
int origin_read_link(const char *path, char *buf, size_t room);
int origin_make_link(const char *to, const char *path);
/* Syncs the names of a directory. */
int origin_sync_names(const char *path);

#endif
