/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax.h - a crash-proof, persistent block read cache in one file.
 *
 * CAVEATS FIRST
 *  - The cache speeds up reads. It never holds the only copy of anything: a pool may be deleted
 *    at any time when no process has it open, and every error of the cache is a miss, not a loss.
 *  - Whoever changes the origin must say so BEFORE the change (cm_write_begin, cm_truncate_begin)
 *    or, for changes made by others, as soon as they are known (cm_invalidate,
 *    cm_file_revalidate). A change nobody reports stays unseen until the file's validator is
 *    presented again (cm_file_open, cm_file_revalidate).
 *  - One process owns a pool at a time. After fork() only the parent may go on using it.
 *  - A hit is never wrong; whether the pool survives a power cut depends on the volume it lies
 *    on. cm_get_info() says which durability the pool really has.
 *
 * THREADS   Any thread may call any function at any time, except that cm_close() must not run
 *           beside another call on the same cache, and cm_file_close() must not run beside
 *           another call that uses the same reference to that file.
 * BLOCKING  No function sleeps except on the short internal locks, unless it says so.
 * ERRORS    0 or a positive count / remark on success; a negative CM_E* otherwise. errno is
 *           neither used nor preserved. cm_strerror() names a code. Every function that takes a
 *           cache or a file can return CM_EHANDLE, CM_EFORKED and CM_ECALLBACK; the lists below
 *           name the other codes.
 * STRINGS   Paths are UTF-8 on every system.
 * UNITS     Offsets, lengths and sizes are bytes; times are nanoseconds.
 */
#ifndef CACHEMAX_H
#define CACHEMAX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(CM_SHARED)
#ifdef CM_BUILD
#define CM_API __declspec(dllexport)
#else
#define CM_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define CM_API __attribute__((visibility("default")))
#else
#define CM_API
#endif

#define CM_VERSION_MAJOR 0
#define CM_VERSION_MINOR 1
#define CM_VERSION_PATCH 0

/* Bytes in a block: the unit of caching. Misses start on a multiple of it. */
#define CM_BLOCK_SIZE 4096u

/* ---- Errors -------------------------------------------------------------------------------- */

/* X(name, value, text). Values are part of the ABI and never change or get reused; none will be
 * below -1000. */
#define CM_ERROR_MAP(X)                                                                            \
    X(CM_EINVAL, -1, "invalid argument")                                                           \
    X(CM_ENOMEM, -2, "out of memory")                                                              \
    X(CM_EIO, -3, "input/output error on the pool")                                                \
    X(CM_ENOENT, -4, "no such file or directory")                                                  \
    X(CM_EEXIST, -5, "file exists already")                                                        \
    X(CM_EACCES, -6, "permission denied")                                                          \
    X(CM_ENOSPC, -7, "no space left on the volume")                                                \
    X(CM_ENOTFILE, -8, "not a regular file")                                                       \
    X(CM_ENOTPOOL, -9, "not a cachemax pool")                                                      \
    X(CM_ETRUNCATED, -10, "pool file is smaller than its superblock says")                         \
    X(CM_EOVERSIZE, -11, "pool file is larger than its superblock says")                           \
    X(CM_EVERSION, -12, "pool has a format version this library does not know")                    \
    X(CM_EINCOMPAT, -13, "pool uses a feature this library does not know")                         \
    X(CM_EBYTEORDER, -14, "pool was made on a machine of the other byte order")                    \
    X(CM_EDAMAGED, -15, "both superblocks of the pool are damaged")                                \
    X(CM_EOWNED, -16, "pool is open already, in this process or another")                          \
    X(CM_EPOOLSIZE, -17, "pool size is out of bounds or not a multiple of 4096")                   \
    X(CM_ERANGE, -18, "offset plus length is beyond the largest file")                             \
    X(CM_EHANDLE, -19, "handle is NULL or was closed")                                             \
    X(CM_ETICKET, -20, "fill does not match the miss it answers")                                  \
    X(CM_EFOREIGN, -21, "miss, bracket or pins belong to another file or cache")                   \
    X(CM_EBRACKET, -22, "no such open bracket (ended already?)")                                   \
    X(CM_EBUSY, -23, "still in use")                                                               \
    X(CM_EFORKED, -24, "cache belongs to the process before fork(); a child opens one of its own") \
    X(CM_ECALLBACK, -25, "called from inside a callback of the same cache")                        \
    X(CM_EFORGET, -26, "old data cannot be forgotten durably; do not write")                       \
    X(CM_EREADONLY, -27, "pool is open read-only")                                                 \
    X(CM_ENOTDAX, -28, "volume does not offer DAX, which was required")                            \
    X(CM_ENOTSUP, -29, "not supported on this system")                                             \
    X(CM_EABSENT, -30, "not all of it is cached")                                                  \
    X(CM_EUNTRUSTED, -31, "others could have written the pool or replaced it")                     \
    X(CM_ECLONE, -32, "may be taken for a file of another volume; give its volume a volume id")

enum cm_error {
#define CM_X(name, value, text) name = value,
    CM_ERROR_MAP(CM_X)
#undef CM_X
};

/* Text of an error code; "unknown error" for anything else. Never NULL; static storage. */
CM_API const char *cm_strerror(int code);
/* Name of an error code, such as "CM_EOWNED"; "CM_?" for anything else. Static storage. */
CM_API const char *cm_errname(int code);
/* Version of the library that is running, such as "0.1.0". Static storage. */
CM_API const char *cm_version(void);

/* ---- Types --------------------------------------------------------------------------------- */

typedef struct cm_cache cm_cache; /* an open pool */
typedef struct cm_file cm_file;   /* an attached origin file; one object per id, counted */

/* 128-bit identity of an origin file, chosen by the front end (volume + inode + generation on
 * POSIX, volume + FileId128 on Windows; see cm_identify). It must never stand for two files at
 * once; a reused id is caught by the validator. All zero is not a valid id. */
typedef struct cm_file_id {
    uint64_t hi, lo;
} cm_file_id;

/* What proves that an origin file is unchanged. Equal means all of size, mtime, ctime and change
 * are equal. `racy`: CM_RACY_* or 0; a validator that is racy never matches at attach. `taken_at`:
 * cm_now() from BEFORE the attributes were read. A validator proves nothing when it was taken
 * before the pool was opened, before a bracket of the file ended, before the file was forgotten, or
 * before another validator that was accepted for it. Of files that are not attached the library
 * remembers these moments in groups (4096 of them): such an event of another file counts, too, if
 * the two share one. So take validators right before you use them. */
enum {
    CM_RACY_TIMES = 1u << 0,  /* a timestamp was so fresh that a second change could hide behind the
                               * same value: soon a new validator will not be racy */
    CM_RACY_WRITER = 1u << 1, /* somebody had the file open for writing or mapped writable, or that
                               * could not be found out: his writes may show late or not at all */
    CM_RACY_VOLUME = 1u << 2  /* after a restart nothing may tell the file from another one of its
                               * size and times: it stays so on this volume */
};
typedef struct cm_validator {
    uint64_t size;
    int64_t mtime_ns;
    int64_t ctime_ns;
    uint64_t change; /* change counter of the file system, 0 where there is none */
    uint64_t taken_at;
    uint32_t racy;
    uint32_t reserved; /* 0 */
} cm_validator;

/* Durability of a pool, see cm_info.durability. */
enum cm_durability {
    CM_DURABILITY_VOLATILE = 1,  /* memory or tmpfs: lost with the OS */
    CM_DURABILITY_PAGECACHE = 2, /* warm after a process crash or a close, not an OS crash */
    CM_DURABILITY_DAX = 3        /* warm after a power cut; stores are flushed by the CPU */
};

enum cm_mode {
    CM_NORMAL = 0, /* serve hits, accept fills */
    CM_FREEZE = 1, /* serve hits, accept no fills */
    CM_BYPASS = 2  /* every read is a miss, no fills */
};

enum cm_verify {
    CM_VERIFY_FIRST_HIT = 0, /* checksum a slot on its first hit after open (default) */
    CM_VERIFY_ALWAYS = 1,    /* checksum on every hit */
    CM_VERIFY_NEVER = 2 /* trust the media; gives up "right bytes or a miss" on damaged media */
};

/* Which blocks stay (docs/policy.md). */
enum cm_policy {
    CM_POLICY_AUTO = 0,  /* S3R, with the rule of several that serves a sample of the blocks best */
    CM_POLICY_S3R = 1,   /* with one rule always: blocks that come once leave first */
    CM_POLICY_GCLOCK = 2 /* CLOCK with counts of two bits: every block is stored when it comes, and
                          * there is no probation buffer, whatever probation_bytes says */
};

/* Name of a policy, such as "s3r"; NULL: there is none with this number. They are numbered from 0
 * on without a gap. Static storage. */
CM_API const char *cm_policy_name(int policy);

enum cm_log_level { CM_LOG_ERROR = 0, CM_LOG_WARNING = 1, CM_LOG_INFO = 2 };

/* Callbacks. All of them must return, but the origin's (cm_origin_read_fn) and cm_check's progress,
 * in which, on POSIX, the thread may also end or a C++ exception be thrown. None may be left by
 * longjmp(). A thread that pthread_cancel() was called for ends in these two or outside of the
 * library, not in it: its other calls and callbacks come to their end first. (Asynchronous
 * cancellation is not supported.) */

/* Called with one complete line without newline; `text` is valid during the call only. Must be
 * safe to call from any thread. */
typedef void (*cm_log_fn)(void *ctx, int level, const char *text);
/* Must return zeroed memory aligned to 64 bytes, at an address below 2^48 (handles use the bits
 * above), or NULL. Large requests (one to eight bytes a slot) must be lazily zeroed, or opening a
 * large pool takes time in proportion to its size. */
typedef void *(*cm_alloc_fn)(void *ctx, size_t bytes);
typedef void (*cm_free_fn)(void *ctx, void *p, size_t bytes);

/* ---- Creating and opening pools ------------------------------------------------------------ */

enum {
    CM_CREATE_SPARSE = 1u << 0 /* do not preallocate: a full volume then turns fills into misses */
};

typedef struct cm_create_options {
    uint32_t struct_size; /* set by CM_CREATE_OPTIONS_INIT */
    uint32_t flags;       /* CM_CREATE_* */
    uint64_t size;        /* of the pool file in bytes; a multiple of 4096 */
    uint64_t max_files;   /* that are to find a record in the file table, attached or remembered
                           * (the table gets one for eight more); 0: one for every 16 slots */
    /* Called about once per 64 MiB preallocated with bytes done and total; return nonzero to
     * cancel (the file is removed, CM_EBUSY is returned). May be NULL. */
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
    cm_log_fn log; /* may be NULL */
    void *log_ctx;
    uint64_t reserved[4]; /* 0 */
} cm_create_options;
#ifdef __cplusplus
static inline cm_create_options cm_create_options_init_(void)
{
    cm_create_options o = cm_create_options();
    o.struct_size = sizeof(o);
    return o;
}
#define CM_CREATE_OPTIONS_INIT cm_create_options_init_()
#else
#define CM_CREATE_OPTIONS_INIT                                                                     \
    {                                                                                              \
        .struct_size = sizeof(cm_create_options)                                                   \
    }
#endif

/* Smallest pool that cm_create() accepts (64 slots) and the largest, in bytes. */
CM_API uint64_t cm_pool_size_min(void);
CM_API uint64_t cm_pool_size_max(void);

/* Makes a pool file at `path`, which must not exist, readable and writable by its owner only
 * (mode 0600), preallocated unless CM_CREATE_SPARSE, durable when the call returns. It has its name
 * when it is done: until then `path` does not exist, and may be taken by somebody else (CM_EEXIST).
 * On any error nothing is left behind. If the process is killed, nothing either, or, on a file
 * system without files that have no name, a file `path`.cachemax-new: the next call removes what
 * has that name and is not in use. Blocks for the time the volume needs to allocate `size` bytes.
 * A fault guard as of cm_open() is there while it runs, so its handlers are installed.
 * CM_EINVAL CM_EPOOLSIZE (also: more than the file system takes) CM_EEXIST CM_ENOENT (directory
 * missing) CM_EACCES CM_ENOSPC CM_ENOTFILE CM_ENOMEM CM_EIO CM_EBUSY (cancelled). */
CM_API int cm_create(const char *path, const cm_create_options *opts);

enum {
    CM_OPEN_READONLY = 1u << 0,    /* look, change nothing: cm_check, cm_get_info, cm_stats only */
    CM_OPEN_REQUIRE_DAX = 1u << 1, /* CM_ENOTDAX unless stores can be made durable by the CPU */
    CM_OPEN_NO_GUARD = 1u << 2,    /* no fault guard for this pool: a damaged page ends the process.
                                    * Neither handlers nor signal masks are touched for it */
    CM_OPEN_ANY_OWNER = 1u << 3 /* a pool that others own or may write, too: serves their bytes */
};

#define CM_PROBATION_DEFAULT UINT64_MAX

typedef struct cm_options {
    uint32_t struct_size; /* set by CM_OPTIONS_INIT */
    uint32_t flags;       /* CM_OPEN_* */
    uint32_t verify;      /* enum cm_verify */
    /* cm_open_memory only: enum cm_durability; 0: CM_DURABILITY_VOLATILE */
    uint32_t memory_durability;
    /* Bytes a second that may be stored in the pool, metadata aside; 0: no limit. What a second
     * allows may come at once, and 64 KiB more. */
    uint64_t fill_rate_limit;
    cm_alloc_fn alloc; /* NULL: the system's lazily zeroed pages */
    cm_free_fn free;
    void *alloc_ctx;
    cm_log_fn log; /* NULL: silent */
    void *log_ctx;
    /* Bytes of DRAM in which blocks that were read for the first time wait to be wanted again
     * before they cost a write to the pool; what waits there is lost in a crash. While the pool has
     * slots that were never used, every block that leaves the buffer is stored, wanted again or
     * not; cm_close() stores what still waits, where there is room. 0: no such buffer.
     * CM_PROBATION_DEFAULT: 1 % of the pool, at least 256 KiB, at most 256 MiB. */
    uint64_t probation_bytes;
    uint32_t policy; /* enum cm_policy */
    /* CM_POLICY_AUTO: what storing a block is held to cost, in thousandths of a hit; more wears the
     * pool less and serves less. 0: the default, 100 with a probation buffer and 20 without one;
     * 1000 at most. */
    uint32_t wear_weight;
    uint64_t reserved[2]; /* 0 */
} cm_options;
#ifdef __cplusplus
static inline cm_options cm_options_init_(void)
{
    cm_options o = cm_options();
    o.struct_size = sizeof(o);
    o.probation_bytes = CM_PROBATION_DEFAULT;
    return o;
}
#define CM_OPTIONS_INIT cm_options_init_()
#else
#define CM_OPTIONS_INIT                                                                            \
    {                                                                                              \
        .struct_size = sizeof(cm_options), .probation_bytes = CM_PROBATION_DEFAULT                 \
    }
#endif

/* Opens a pool and becomes its only owner. Takes constant time whatever the pool's size.
 * Who can write a pool decides what its files hold. So the pool must belong to the effective user
 * or to root, and nobody else may write it; the same of every directory on the way from the root,
 * where others may write with the sticky bit only, and of the owners of symbolic links. Else:
 * CM_EUNTRUSTED, and a log line says what is wrong. Not asked with CM_OPEN_READONLY, which serves
 * nothing, nor with CM_OPEN_ANY_OWNER. (Windows: not asked so far; docs/security.md.)
 * `opts` may be NULL for defaults. *cache is set on success only; release it with cm_close().
 * After an OS crash a pool on a volume without DAX empties itself (a log line and
 * cm_info.emptied say so). At most 64 pools can be open in a process with the fault guard: handlers
 * of SIGBUS and SIGSEGV (Windows: a vectored handler) that turn a damaged page of a pool into a
 * miss and pass on everything else. A thread that blocks these signals would be ended by the
 * kernel, so the first call of every thread, and cm_open, unblocks them there; block them no more.
 * CM_EINVAL CM_ENOENT CM_EACCES CM_ENOTFILE CM_ENOTPOOL CM_ETRUNCATED CM_EOVERSIZE CM_EVERSION
 * CM_EUNTRUSTED CM_EINCOMPAT CM_EBYTEORDER CM_EDAMAGED CM_EOWNED CM_ENOTDAX CM_ENOMEM (memory, or
 * the 65th guarded pool) CM_EIO (also: one of the two superblocks cannot be written). Without DAX a
 * volume that fails to sync what the last owner wrote empties the pool, too; if nothing can be
 * synced the pool is void (CM_EIO, a log line): delete it and create it anew. */
CM_API int cm_open(const char *path, const cm_options *opts, cm_cache **cache);

/* The same for a pool in memory that the caller mapped (a driver, /dev/dax, CXL memory, tests).
 * `base` must be aligned to 4096 and hold a formatted pool of exactly `bytes` bytes; the caller
 * keeps it mapped until cm_close() and sees to it that nobody else opens it.
 * Errors as cm_open(), without those of files; who may write the memory is the caller's business.
 */
CM_API int cm_open_memory(void *base, uint64_t bytes, const cm_options *opts, cm_cache **cache);
/* Formats a pool in memory: what cm_create() writes to a file. `size` must be 0 or `bytes`.
 * CM_EINVAL CM_EPOOLSIZE CM_EIO. */
CM_API int cm_format_memory(void *base, uint64_t bytes, const cm_create_options *opts);

/* Closes the pool and leaves it clean. All files are detached by it. After 0, CM_EIO or
 * CM_ETRUNCATED the cache and all its cm_file pointers are gone: using them again is undefined.
 * CM_EBUSY: pins, brackets or reads in flight are still live; nothing was closed.
 * CM_EIO: the pool is closed, but its last state could not be made durable; it may open empty.
 * CM_ETRUNCATED: the pool file became smaller while it was open (said to the log when it was
 * noticed); it is closed, and empty or no pool any more. Delete it and make it anew. */
CM_API int cm_close(cm_cache *cache);

/* Current mode is CM_NORMAL after open. Brackets, cm_invalidate and cm_forget act in every mode.
 * CM_EINVAL for an unknown mode. */
CM_API int cm_set_mode(cm_cache *cache, int mode);

/* Monotonic clock of the library, for cm_validator.taken_at. */
CM_API uint64_t cm_now(void);

/* Derives id and validator of an open origin file from the operating system. `os_file` is a
 * POSIX file descriptor or a Windows HANDLE. On Linux the id is a 128-bit hash of volume, inode
 * number and inode generation, the validator comes from fstat. What stands for the volume is the
 * same after a restart, and differs between copies of one volume: the file system's id and what its
 * disk says of itself; the subvolume (btrfs), the layers (overlayfs), type and source of the mount
 * (network). Where two mounted volumes say the same, the first that this process identified a file
 * of has the ids; the other one's files are CM_ECLONE until the first is gone.
 * On FUSE nobody knows how the server numbers its files the next time. So an id is good for this
 * one mounted file system (wherever it is bound to) and as long as the kernel remembers the file,
 * whose handle counts beside its inode number: all files are cold after a remount, unless the
 * volume is named (volume_id below). CM_ECLONE where the kernel tells nothing of the mount (no
 * sysfs, before Linux 6.8) or of the file.
 * On overlayfs the inode numbers are those of the layers. Unless the volume is named, files are
 * CM_ECLONE where the kernel does not say which layer has the file (before Linux 6.5) or where that
 * layer has no numbers of its own that last: btrfs (its subvolumes), FUSE, images without a UUID.
 * Some file systems tell too little for a restart; files there are CM_RACY_VOLUME: vfat and exfat,
 * which number files as they are looked up; and images without an identity of their own (squashfs,
 * iso9660, udf, erofs, cramfs, romfs), where the next image may have the same numbers and times,
 * unless the volume is named: name it after what is in it.
 * On Windows the id is a hash of volume and 128-bit file id, the validator size, times and the
 * file's number in the volume's change journal (without a journal: its time of birth).
 * `racy` is judged. Whether somebody has the file open for writing (this process counts, too) is
 * found out by denying it for a moment: on Linux with a read lease, which takes a local file system
 * (not overlayfs, whose leases miss mappings) and the file's owner or CAP_LEASE, on Windows with an
 * open that does not share writing. Where that cannot be had the answer is CM_RACY_WRITER. Who
 * opens the file for writing in these microseconds waits on Linux (with O_NONBLOCK: EWOULDBLOCK)
 * and gets a sharing violation on Windows. Files that will be attached as CM_SOLE_WRITER are not
 * asked for: cm_identify_with(). The first call for a mount reads /proc and /sys. CM_EINVAL (NULL,
 * not a file that can be cached, opened with O_PATH) CM_EIO (also: the file system does not say
 * what it is, and no volume_id is given) CM_ENOMEM CM_ECLONE. */
CM_API int cm_identify(intptr_t os_file, cm_file_id *id, cm_validator *validator);

enum {
    /* The file will be attached as CM_SOLE_WRITER: do not look for other writers. */
    CM_IDENTIFY_SOLE_WRITER = 1u << 0
};

typedef struct cm_identify_options {
    uint32_t struct_size; /* set by CM_IDENTIFY_OPTIONS_INIT */
    uint32_t flags;       /* CM_IDENTIFY_* */
    /* Names the volume the file is on, instead of what the system says of it; NULL: ask the
     * system. Nobody checks then that no other volume is called the same. The caller vouches that
     * inode numbers on it are unique and stay the same: a FUSE server that gives one number to two
     * files, or another file's number after a remount, makes the cache serve the wrong file. Right
     * for a server that passes on the numbers of one device. Not "". */
    const char *volume_id;
    uint64_t reserved[2]; /* 0 */
} cm_identify_options;
#ifdef __cplusplus
static inline cm_identify_options cm_identify_options_init_(void)
{
    cm_identify_options o = cm_identify_options();
    o.struct_size = sizeof(o);
    return o;
}
#define CM_IDENTIFY_OPTIONS_INIT cm_identify_options_init_()
#else
#define CM_IDENTIFY_OPTIONS_INIT                                                                   \
    {                                                                                              \
        .struct_size = sizeof(cm_identify_options)                                                 \
    }
#endif
/* The same with options; `opts` may be NULL. Errors as cm_identify(). */
CM_API int cm_identify_with(intptr_t os_file, const cm_identify_options *opts, cm_file_id *id,
                            cm_validator *validator);

/* ---- Files --------------------------------------------------------------------------------- */

/* validator->size of a validator that knows no size: the file starts cold. */
#define CM_SIZE_UNKNOWN UINT64_MAX

enum {
    CM_SOLE_WRITER = 1u << 0,    /* nobody else writes the origin while the file is attached */
    CM_ORIGIN_VOLATILE = 1u << 1 /* it can lose power or connection alone: unsynced means lost */
};

/* Attaches an origin file. One handle per id: a second open returns the same one and treats
 * the validator as cm_file_revalidate() does. Blocks cached earlier are kept iff the validator
 * equals the recorded one, neither is racy, and no unsynced write was lost in a crash.
 * `validator` NULL: the file is new at its first attach, and a second open asks nothing. Of size
 * CM_SIZE_UNKNOWN: the same, but a second open compares what else is in the two validators, unless
 * all of it is 0. `flags`: CM_SOLE_WRITER holds until a second open comes without it.
 * Returns 0, or CM_IGNORED, which is positive and no error: the file is attached, but the validator
 * proves nothing (see cm_validator.taken_at). A file that was not open starts cold and of unknown
 * size then, and its blocks of earlier sessions are forgotten for good. So take the validator after
 * cm_open(). Take a new one now and present it with cm_file_revalidate().
 * CM_EINVAL (also: taken_at is later than cm_now()) CM_EHANDLE CM_ENOMEM CM_EREADONLY CM_EFORKED
 * CM_ECALLBACK CM_EFORGET. */
CM_API int cm_file_open(cm_cache *cache, const cm_file_id *id, const cm_validator *validator,
                        uint32_t flags, cm_file **file);

/* Presents the origin's current validator. Unchanged: 0. Changed by somebody else, or (unless
 * CM_SOLE_WRITER) one of the two racy, which hides changes: everything cached of the file is
 * forgotten, 0. Own writes of a CM_SOLE_WRITER that no validator was
 * adopted for: adopted. CM_IGNORED: a bracket was open at or after validator->taken_at, so it
 * proves nothing; take it again later.
 * CM_EINVAL CM_EHANDLE CM_EFORGET. */
CM_API int cm_file_revalidate(cm_file *file, const cm_validator *validator);
#define CM_IGNORED 2

enum cm_advice {
    CM_ADVISE_NORMAL = 0,
    CM_ADVISE_SEQUENTIAL = 1, /* widen origin reads at once */
    CM_ADVISE_NOREUSE = 2,    /* serve hits, store no fills of this file */
    CM_ADVISE_KEEP = 3        /* blocks filled from now on count as used often */
};
/* Holds for the file until the next advice or its last cm_file_close().
 * CM_EINVAL: unknown advice. */
CM_API int cm_file_advise(cm_file *file, int advice);

typedef struct cm_file_info {
    cm_file_id id;
    uint64_t incarnation;
    uint64_t size;           /* adopted size, or CM_SIZE_UNKNOWN */
    uint32_t dirty;          /* 1: unsynced writes may exist; a power cut would drop the file */
    uint32_t racy;           /* 1: revalidate once more, or the file is cold at the next attach */
    uint32_t kept;           /* 1: blocks of an earlier session were kept at attach */
    uint32_t brackets;       /* open now */
    uint32_t bypassed;       /* 1: a failed fsync keeps the file out of the cache in this boot */
    uint32_t want_validator; /* 1: own writes moved the validator and none was adopted */
} cm_file_info;
/* CM_EINVAL: info is NULL. */
CM_API int cm_file_get_info(cm_file *file, cm_file_info *info);

/* Ends every open bracket of the file whose owner is gone, and forgets the file's blocks.
 * CM_EHANDLE CM_EFORGET. */
CM_API int cm_file_abort(cm_file *file);

/* Drops one reference. CM_EBUSY: it is the last one and brackets are open (cm_file_abort). After
 * the last one every call on the handle returns CM_EHANDLE, for as long as the cache is open. */
CM_API int cm_file_close(cm_file *file);

/* ---- Reading ------------------------------------------------------------------------------- */

#define CM_MISS_STRIPES 8u

enum {
    CM_MISS_EOF = 1u << 0,   /* the adopted size ends the request: nothing more to read */
    CM_MISS_NOFILL = 1u << 1 /* read the origin, but do not offer the data: it would be refused */
};

/* The first absent run of a read, and the right to fill it: hand it to cm_fill() unchanged.
 * Plain data, owned by the caller, no release needed. */
typedef struct cm_miss {
    uint64_t offset; /* of the run, a multiple of CM_BLOCK_SIZE */
    uint64_t len;    /* 0: nothing is missing */
    uint32_t flags;  /* CM_MISS_* */
    uint32_t reserved;
    uint64_t opaque[3 + CM_MISS_STRIPES]; /* file, incarnation, tickets */
} cm_miss;

/* Copies the cached prefix of [offset, offset+len) to buf and returns its length in bytes.
 * When that is less than len, *miss is the first absent run: its offset is block-aligned, at or
 * before offset + the returned length. With CM_MISS_EOF and len 0 the file ends there.
 * Bytes of buf past the returned length are unspecified: zeros or what was there before, never
 * bytes of another block; while the call runs they may be, so buf must not be memory that others
 * read who may not see the other files. Takes no lock, never blocks.
 * `miss` may be NULL (then nothing can be filled).
 * CM_EINVAL CM_EHANDLE CM_ERANGE CM_EFORKED CM_ECALLBACK CM_EREADONLY. */
CM_API int64_t cm_read(cm_file *file, uint64_t offset, void *buf, size_t len, cm_miss *miss);

/* cm_read() for who turns to cm_read_through() unless all of it is cached, such as a thread that
 * must not wait for the origin: returns len, or fewer where the adopted size ends the file, or
 * CM_EABSENT. What is missing, and what of it is cached, is not counted then: cm_read_through()
 * will.
 * CM_EINVAL CM_EHANDLE CM_ERANGE CM_EFORKED CM_ECALLBACK CM_EREADONLY. */
CM_API int64_t cm_read_whole(cm_file *file, uint64_t offset, void *buf, size_t len);

/* One piece of a cm_read_many(). `result`: bytes copied or a negative CM_E*. */
typedef struct cm_read_vec {
    uint64_t offset;
    void *buf;
    size_t len;
    int64_t result;
    cm_miss *miss; /* may be NULL */
} cm_read_vec;
/* As n times cm_read(), but faster: scattered pieces wait for memory side by side. Returns how many
 * were served whole, or a negative CM_E*; what is wrong with one piece is said in its result. */
CM_API int64_t cm_read_many(cm_file *file, cm_read_vec *v, size_t n);

/* Why a fill was not stored: positive results of cm_fill(), the first reason met. */
enum cm_not_stored {
    CM_NOT_STORED_STALE = 1,   /* a write came between miss and fill, or is going on */
    CM_NOT_STORED_PRESENT = 2, /* the block is cached already */
    CM_NOT_STORED_BUSY = 3,    /* every slot looked at was pinned or in use */
    CM_NOT_STORED_FULL = 4,    /* no place in the index */
    CM_NOT_STORED_MODE = 5,    /* CM_FREEZE or CM_BYPASS, or the file is bypassed */
    CM_NOT_STORED_POLICY = 6,  /* CM_ADVISE_NOREUSE, the fill rate limit, or CM_POLICY_AUTO holds
                                  back what comes for the first time */
    CM_NOT_STORED_MEDIA = 7    /* the pool could not be written there */
};
#define CM_FILL_EOF 1u /* data ends where the origin ends, possibly in the middle of a block */

/* Offers data read from the origin AFTER the miss was handed out. `data` begins at miss->offset;
 * len <= miss->len rounded up to a block; only with CM_FILL_EOF may it end inside a block.
 * 0: every block is stored (durable on DAX) or, where there is a probation buffer, waits in it.
 * Positive: enum cm_not_stored, others may be stored. Nobody may change `data` during the call:
 * what is stored is what others read. CM_EINVAL CM_EHANDLE CM_ETICKET (longer than its miss)
 * CM_EFOREIGN. */
CM_API int cm_fill(cm_file *file, const cm_miss *miss, const void *data, size_t len,
                   uint32_t flags);

/* Reads the origin: returns bytes (fewer than len only at the end of the file) or a negative
 * error of the caller's own, which cm_read_through() returns unchanged: one below -1000 cannot be
 * taken for the library's. off, len and buf are multiples of 4096, so that an O_DIRECT descriptor
 * works. No lock is held; it must not call back into the same cache. Returning more than len is
 * CM_EINVAL, and nothing is stored. If its thread ends in it (cancelled, pthread_exit) or an
 * exception leaves it, nothing is stored and those who waited for the read go to the origin
 * themselves; one that never returns keeps them waiting. Windows: it must return. */
typedef int64_t (*cm_origin_read_fn)(void *ctx, uint64_t off, void *buf, size_t len);

/* cm_read, the origin and cm_fill in one: returns bytes read, fewer than len only at the end of
 * the file, or a negative error. Threads that miss the same block wait for one origin read;
 * sequential readers get wider ones. Trouble of the cache never fails the read. The origin may be
 * read into `buf` and stored from there, so it must not be memory that others can write meanwhile
 * (of a guest, of a client): read those into memory of your own. Blocks as long as the origin does.
 * Its own errors: CM_EINVAL (buf or origin_read is NULL, or the origin gave more than was asked
 * for) CM_EHANDLE CM_ERANGE CM_EFORKED CM_ECALLBACK. */
CM_API int64_t cm_read_through(cm_file *file, uint64_t offset, void *buf, size_t len,
                               cm_origin_read_fn origin_read, void *ctx);

/* ---- Zero copy ----------------------------------------------------------------------------- */

typedef struct cm_iovec {
    const void *base;
    size_t len;
} cm_iovec;

#define CM_PINS_MAX 64u
/* Owned by the caller; n > 0 until cm_unpin(). */
typedef struct cm_pins {
    uint32_t n;
    uint32_t reserved;
    uint64_t opaque[2 + CM_PINS_MAX];
} cm_pins;

/* Like cm_read(), but returns addresses inside the pool or the probation buffer (read-only,
 * physically adjacent pieces merged): at most n pieces and CM_PINS_MAX blocks. They stay readable
 * and unchanged until cm_unpin(), even when the block is written or evicted meanwhile; hold them
 * briefly.
 * Returns bytes covered by iov; *iovcnt is set to the pieces used.
 * The lookup is guarded: damage to the index, to a header, or to a payload that this session has
 * not verified yet is a miss. Later damage is not noticed, because the guard covers the library's
 * own accesses only: a load by the caller raises SIGBUS, for the handler that was there before
 * cm_open(), and a system call that is given the address fails with EFAULT. Who cannot live with
 * that uses cm_read(); who gives the addresses to system calls only answers EFAULT with
 * cm_read_through(), which also takes the slot out of use.
 * CM_EINVAL CM_EHANDLE CM_ERANGE; CM_EBUSY: too many pins on one slot (127), or too many sets of
 * pins in this cache (4096), use cm_read(). */
CM_API int64_t cm_pin_range(cm_file *file, uint64_t offset, size_t len, cm_iovec *iov, int n,
                            int *iovcnt, cm_pins *pins, cm_miss *miss);
/* Releases pins from any thread, once. CM_EINVAL: nothing pinned, or released already by way of a
 * copy of the struct. */
CM_API int cm_unpin(cm_pins *pins);

/* ---- Writing: brackets --------------------------------------------------------------------- */

/* Names an open bracket. Plain data; any thread may end it, once. */
typedef struct cm_bracket {
    uint64_t id;
} cm_bracket;

#define CM_APPEND UINT64_MAX /* offset: wherever the end of the file will be */

/* Before writing [offset, offset+len) of the origin. When it returns 0, the old bytes can never
 * be served again, whatever crashes next, and nothing read from the origin before or during the
 * bracket will be stored. len 0: only attributes change (chmod, rename).
 * Any error: do not write (CM_EFORGET: not until the pool is deleted).
 * CM_EINVAL CM_EHANDLE CM_ERANGE CM_ENOMEM CM_EFORGET CM_EBRACKET (aborted meanwhile). */
CM_API int cm_write_begin(cm_file *file, uint64_t offset, uint64_t len, cm_bracket *w);
/* The same for setting the size (also for punching holes up to the end). */
CM_API int cm_truncate_begin(cm_file *file, uint64_t new_size, cm_bracket *w);

/* After the write, successful or not. `after`: the validator taken after the write, inside the
 * bracket, or NULL. Returns 0, or CM_WANT_VALIDATOR: the last bracket is closed and no validator
 * was adopted; present one later (cm_file_revalidate, or an empty bracket).
 * CM_EHANDLE CM_EBRACKET (unknown or ended already). */
CM_API int cm_write_end(cm_file *file, const cm_bracket *w, const cm_validator *after);
#define CM_WANT_VALIDATOR 1

/* Around the origin's fsync. Only a successful sync during which no write was open proves that
 * the origin holds what was written. `after` as in cm_write_end().
 * ok: 0 when fsync failed: the file is forgotten and bypasses the cache until the system is booted
 * again. No later sync ends that: a system may keep pages that it could not write as if they were
 * written, and report them once, so that the next fsync succeeds with nothing done. For the same
 * reason a sync is a proof only on a descriptor that was opened before the writes, and the first
 * error counts: do not sync again and hand in that result. Where fsync is not possible at all
 * (EINVAL, EROFS) nothing is known: leave the cm_sync unended. */
typedef struct cm_sync {
    uint64_t opaque[2];
} cm_sync;
/* CM_EINVAL: s is NULL. */
CM_API int cm_sync_begin(cm_file *file, cm_sync *s);
/* 0, or CM_IGNORED: `after` proves nothing, a bracket was open at or after its taken_at.
 * With ok 0 the failure counts even so.
 * CM_EINVAL (s is NULL, or `after` is no validator) CM_EFOREIGN CM_EFORGET (of a failed sync). */
CM_API int cm_sync_end(cm_file *file, const cm_sync *s, int ok, const cm_validator *after);

#define CM_ALL UINT64_MAX /* len: to the end of the file */
/* Somebody else changed the origin: forget the range, durably, and refuse fills read before now.
 * CM_ERANGE CM_EFORGET. */
CM_API int cm_invalidate(cm_file *file, uint64_t offset, uint64_t len);
/* Forget a file by id, durably, attached or not (deleted, id reused).
 * CM_EINVAL (id is zero) CM_EFORGET CM_EREADONLY. */
CM_API int cm_forget(cm_cache *cache, const cm_file_id *id);

/* ---- What it says about itself ------------------------------------------------------------- */

/* The structs below grow at their end. The caller sets struct_size before each call (CM_EINVAL
 * below 8 and above 4096: it was not set). What his struct and the library's both have is filled
 * in, the rest of his is zeroed, and struct_size is the number of bytes that were filled in. */

typedef struct cm_info {
    uint32_t struct_size; /* set by the caller to sizeof(cm_info) */
    uint32_t version;     /* format version */
    uint8_t uuid[16];     /* of the pool */
    uint64_t size;        /* of the pool file */
    uint64_t slots;
    uint64_t max_files;      /* that find a record; with more, the later ones may not */
    uint64_t metadata_bytes; /* all that is not slots */
    uint64_t dram_bytes; /* that an open pool of this geometry takes, beside the probation buffer */
    uint64_t epoch;
    uint64_t used_slots; /* slots ever used in this epoch (a hint) */
    uint32_t durability; /* enum cm_durability of the present owner or, if none, of the last */
    uint32_t clean;      /* 1: closed cleanly */
    uint32_t emptied;    /* 1: this open emptied the pool after a crash without DAX */
    uint32_t owner_pid;  /* process that owns or last owned it; 0 unknown */
    uint32_t owned;      /* 1: has an owner right now; who only looks is none (cm_pool_info) */
    uint32_t mode;       /* enum cm_mode */
    uint32_t superblocks_damaged; /* 0 or 1 */
    uint32_t reserved;
    char flush[16];         /* instruction: "clwb", "clflushopt", "clflush", "dc cvap", "none" */
    char copy[16];          /* "avx512-nt", "avx2-nt", "sse2-nt", "stnp", "generic" */
    uint64_t memo_bytes;    /* of the metadata: room for what the policy keeps at a clean close */
    uint64_t created_at_ns; /* wall clock */
    uint64_t used_files;    /* records in use; estimated from 8192 of them where there are more */
} cm_info;
/* Also looks whether the pool file still has its size; one that was truncated is said to the log,
 * once, and nothing is cached any more (cm_close()).
 * CM_EINVAL: NULL, or struct_size not set. */
CM_API int cm_get_info(cm_cache *cache, cm_info *info);
/* The same for a pool file that need not be open, or is open elsewhere. Errors as cm_open(); with
 * a fault guard, see cm_create(). */
CM_API int cm_pool_info(const char *path, cm_info *info);

/* X(name, text): counters since open. New ones come last: their numbers are part of the ABI. */
#define CM_STAT_MAP(X)                                                                             \
    X(hit_blocks, "blocks served from the pool or the probation buffer")                           \
    X(hit_bytes, "bytes served from there")                                                        \
    X(miss_blocks, "blocks looked up and not served")                                              \
    X(miss_absent, "misses: not cached")                                                           \
    X(miss_short, "misses: cached, but fewer valid bytes than wanted")                             \
    X(miss_conflict, "misses: changed while being read")                                           \
    X(miss_checksum, "misses: checksum wrong, slot dropped")                                       \
    X(miss_media, "misses: pool memory unreadable")                                                \
    X(miss_mode, "misses: bypassed by mode or failed fsync")                                       \
    X(fill_blocks, "blocks stored")                                                                \
    X(fill_bytes, "bytes of payload stored")                                                       \
    X(refused_stale, "fills refused: a write came between")                                        \
    X(refused_present, "fills refused: cached already")                                            \
    X(refused_busy, "fills refused: no slot to be had")                                            \
    X(refused_full, "fills refused: no place in the index")                                        \
    X(refused_mode, "fills refused: mode")                                                         \
    X(refused_policy, "fills refused: advice, rate limit or held back")                            \
    X(refused_media, "fills refused: pool memory not writable")                                    \
    X(evicted, "blocks evicted")                                                                   \
    X(displaced, "blocks evicted to make room in the index")                                       \
    X(forgotten, "blocks forgotten by brackets and invalidations")                                 \
    X(quarantined, "slots taken out of use")                                                       \
    X(brackets, "brackets begun")                                                                  \
    X(incarnations, "whole files forgotten or begun anew")                                         \
    X(escalations, "forgetting that had to go beyond a block")                                     \
    X(attach_kept, "files attached warm")                                                          \
    X(attach_new, "files attached cold")                                                           \
    X(records_evicted, "files forgotten to make room in the file table")                           \
    X(flights_joined, "reads that waited for another reader's origin read")                        \
    X(origin_reads, "reads of the origin by cm_read_through")                                      \
    X(origin_bytes, "bytes read from the origin by cm_read_through")                               \
    X(prefetch_blocks, "blocks read ahead of need")                                                \
    X(pool_bytes, "bytes written to the pool, payload and metadata")                               \
    X(probation_hits, "of the blocks served: from the probation buffer")                           \
    X(buffered, "blocks that came for the first time: to the probation buffer")                    \
    X(promoted, "blocks that left it for the pool")                                                \
    X(unrecorded, "files attached without a record: cold at the next open")

#define CM_LATENCY_BUCKETS 32
#define CM_CURVE_POINTS 7
#define CM_CURVE_UNKNOWN UINT64_MAX
typedef struct cm_stats_data {
    uint32_t struct_size;  /* set by the caller to sizeof(cm_stats_data) */
    uint32_t counters;     /* that the pool has; a newer library's may be more than are below */
    uint64_t opened_at_ns; /* wall clock of the open these counters began with */
    uint64_t closed_at_ns; /* wall clock of the close; 0: open, or not closed cleanly */
    uint64_t lifetime_pool_bytes; /* bytes written to the pool since it was made: its wear */
    /* What the pool would serve if it had 1/8, 1/4, 1/2 of its size, its own, 2, 4, 8 times it, in
     * parts per million of all blocks looked up: estimated from a sample of the blocks. Not known
     * before enough of them were read: CM_CURVE_UNKNOWN, for large sizes longer than for small
     * ones. The older half of what was seen counts half now and then. */
    uint64_t curve_hits[CM_CURVE_POINTS];
    uint64_t curve_reads;   /* reads of blocks in the sample that stands for the pool's own size */
    uint64_t curve_skipped; /* ... and those left out, because threads met at it */
    /* Sampled (1 in 64) duration of cm_read calls served whole; bucket i counts calls of
     * [2^i, 2^(i+1)) ns. */
    uint64_t hit_latency[CM_LATENCY_BUCKETS];
    /* Duration of origin reads made by cm_read_through, every one of them. */
    uint64_t origin_latency[CM_LATENCY_BUCKETS];
    uint64_t reserved[16]; /* 0; for what is no counter */
#define CM_X(name, text) uint64_t name;
    CM_STAT_MAP(CM_X)
#undef CM_X
} cm_stats_data;
/* CM_EINVAL (NULL, or struct_size not set) CM_EIO CM_EVERSION (statistics of a library that this
 * one does not understand). */
CM_API int cm_stats(cm_cache *cache, cm_stats_data *stats);
/* Counters of a pool that another process has open, read from the pool file. Errors as cm_open().
 */
CM_API int cm_pool_stats(const char *path, cm_stats_data *stats);

/* The counters by number, for programs that show all there are, also those that came after the
 * program was compiled. Name, such as "hit_blocks", and what it counts; NULL beyond the last one.
 * Static storage. */
CM_API const char *cm_stat_name(unsigned i);
CM_API const char *cm_stat_text(unsigned i);
/* The value of the i-th; 0 where `stats`, by its struct_size, has none. A program that wants
 * counters that came after it gives cm_stats() more room: union { cm_stats_data s; char room[4096];
 * } with s.struct_size = 4096. */
CM_API uint64_t cm_stat_value(const cm_stats_data *stats, unsigned i);

enum {
    CM_CHECK_REPAIR = 1u << 0,  /* drop what is wrong */
    CM_CHECK_METADATA = 1u << 1 /* leave payload unread */
};
typedef struct cm_check_report {
    uint32_t struct_size; /* set by the caller to sizeof(cm_check_report) */
    uint32_t reserved;
    uint64_t slots;        /* looked at */
    uint64_t valid;        /* hold a block that a lookup finds */
    uint64_t orphaned;     /* valid header, but no cell leads there: wasted until reused */
    uint64_t bad_headers;  /* VALID without a right check */
    uint64_t bad_payload;  /* checksum wrong */
    uint64_t unreadable;   /* media errors */
    uint64_t stale_cells;  /* cells that lead nowhere: harmless */
    uint64_t bad_cells;    /* cells that name a slot that does not exist */
    uint64_t duplicates;   /* a key cached twice: a bug, reported if ever seen */
    uint64_t records;      /* files known */
    uint64_t torn_records; /* cut short by a crash, or damaged: cost their files' blocks, no harm */
    uint64_t dropped;      /* by repair */
    /* 1: read-only check of a pool that its next owner will empty: at open, or as soon as he meets
     * a block that is newer than the superblock */
    uint32_t would_empty;
    uint32_t superblocks_damaged; /* 0 or 1: torn or damaged, until the pool is opened to be used */
    uint64_t second_bucket; /* of the valid ones: found in the second of their two index buckets */
} cm_check_report;
/* Verifies the whole pool, online (beside other calls) or opened read-only. Returns 0 when the
 * pool is sound or was repaired, 1 when damage is left (unreadable media cannot be repaired). What
 * a crash alone may leave is not damage. Reads every slot: takes long.
 * `progress` may be NULL; nonzero cancels (CM_EBUSY).
 * CM_EINVAL CM_EHANDLE CM_EREADONLY (repair of a read-only pool). */
CM_API int cm_check(cm_cache *cache, uint32_t flags,
                    int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                    cm_check_report *report);

#ifdef __cplusplus
}
#endif
#endif
