/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuse_api.h - one FUSE 3 for libfuse3 and WinFsp: the names of the types that differ.
 *
 * On Windows: with HAVE_WINFSP the headers of WinFsp's SDK (inc/fuse3 on the include path); without
 * it winfsp_types.h, for a check of types only.
 */
#ifndef CACHEMAX_WINFSP_FUSE_API_H
#define CACHEMAX_WINFSP_FUSE_API_H

#define FUSE_USE_VERSION 31 /* what both have */

#include <fcntl.h>
#include <sys/stat.h>

#ifdef _WIN32
#ifdef HAVE_WINFSP
#include <fuse.h>
#else
#include "winfsp_types.h"
#endif
typedef struct fuse_stat api_stat;
typedef struct fuse_statvfs api_statvfs;
typedef struct fuse_timespec api_timespec;
typedef fuse_off_t api_off;
typedef fuse_mode_t api_mode;
#ifndef O_ACCMODE
#define O_ACCMODE (O_RDONLY | O_WRONLY | O_RDWR)
#endif
#else
#include <fuse.h>
#include <sys/statvfs.h>
typedef struct stat api_stat;
typedef struct statvfs api_statvfs;
typedef struct timespec api_timespec;
typedef off_t api_off;
typedef mode_t api_mode;
#endif

#endif
